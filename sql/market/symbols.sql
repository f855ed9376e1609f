-- One symbol of the source: since when it is there, up to when, and how much it trades.
--
-- With `search`, those whose name contains the text, in upper or lower case: the name itself first, then those that begin with it, then the
-- others, each by name. Every letter stands for itself, % and _ as well. Bars that scanners leave out do not count here either, so a symbol
-- that has no others is not listed. Reads the source whole.
--
-- @param search VARCHAR: a part of the name, in upper or lower case. NULL: all.
-- @param max_results INTEGER rows, 1 to 1000000: how many symbols are returned, best match first. NULL: all.
-- @inherit session_bars
-- @column symbol name of the stock.
-- @column first_session date of its first session.
-- @column last_session date of its last session.
-- @column sessions dates with at least one bar.
-- @column bars bars of all sessions.
-- @column last_close currency, close of its last bar.
-- @column avg_volume shares, mean volume of its last 20 sessions, or of all if they are fewer.
-- @column is_trading whether its last session is the latest of the source.
-- @example FROM symbols()
-- @example FROM symbols('demo00', max_results := 5)
-- @example SELECT symbol, last_session FROM symbols() WHERE NOT is_trading
CREATE MACRO symbols(search := NULL, max_results := NULL, source := 'bars', bar_minutes := 1, session_start := NULL, session_end := NULL) AS TABLE
WITH symbol_sessions AS (
    SELECT
        bar.symbol,
        bar.session_date,
        count(*) AS bars,
        arg_max(bar.close, bar.ts) AS close,
        sum(bar.volume) AS volume
    FROM session_bars(
        -- Every date that a TIMESTAMP_NS can be compared with.
        '1678-01-01',
        '2261-12-31',
        source := source,
        bar_minutes := bar_minutes,
        session_start := session_start,
        session_end := session_end,
        called_by := 'symbols'
    ) AS bar
    GROUP BY bar.symbol, bar.session_date
),

-- All of them, since which session is the latest is not for the search to decide.
listed AS (
    SELECT
        symbol_sessions.symbol,
        min(symbol_sessions.session_date) AS first_session,
        max(symbol_sessions.session_date) AS last_session,
        count(*) AS sessions,
        CAST(sum(symbol_sessions.bars) AS BIGINT) AS bars,
        arg_max(symbol_sessions.close, symbol_sessions.session_date) AS last_close,
        list_avg(arg_max(symbol_sessions.volume, symbol_sessions.session_date, 20)) AS avg_volume,
        max(max(symbol_sessions.session_date)) OVER () AS latest_session
    FROM symbol_sessions
    GROUP BY symbol_sessions.symbol
),

matching AS (
    SELECT
        listed.*,
        row_number() OVER (
            ORDER BY
                CASE
                    WHEN lower(listed.symbol) = lower(CAST(search AS VARCHAR)) THEN 1
                    WHEN starts_with(lower(listed.symbol), lower(CAST(search AS VARCHAR))) THEN 2
                    ELSE 3
                END,
                listed.symbol
        ) AS place
    FROM listed
    WHERE search IS NULL OR contains(lower(listed.symbol), lower(CAST(search AS VARCHAR)))
)

SELECT
    matching.symbol,
    matching.first_session,
    matching.last_session,
    matching.sessions,
    matching.bars,
    matching.last_close,
    matching.avg_volume,
    matching.last_session = matching.latest_session AS is_trading
FROM matching
WHERE max_results IS NULL OR matching.place <= integer_in_range_or_null(max_results, 1, 1000000, 'symbols', 'max_results')
ORDER BY matching.place
