-- One kind of defect that bars can have, with how many bars of the source have it.
--
-- A first look at data before it is trusted. Every kind has a row, so that a count of 0 says that it was looked for. An error is one for
-- certain, a warning may be one, a note need not be. Scanners leave out the bars of the first four kinds (`ignored_by_scanners`), and read the
-- others as they are. What is missing, moved by a split or stale is told from the bars that scanners read, by comparing symbols and sessions:
-- missing_bars() and likely_splits() say how, and list each. Reads the source as it is, whole, and several times.
--
-- @inherit session_bars missing_bars
-- @param stale_sessions INTEGER sessions, 1 to 1000: how many in a row make a symbol stale, if all their prices are the close before.
-- @param vanished_sessions INTEGER sessions, 1 to 1000: how many of the latest a symbol lacks that has vanished.
-- @column defect name of the defect.
-- @column severity error, warning or note.
-- @column bars bars that have it. Of a duplicate, the bars beyond the first; of what is missing, the missing ones; of a split, its first; of a vanished symbol, its last.
-- @column symbols symbols with such bars; 0 where it is the market.
-- @column first_symbol symbol of the earliest such bar; NULL where it is the market.
-- @column first_ts start of the earliest such bar.
-- @column details the earliest five of them: symbol, start, and to when or with which ratio.
-- @column ignored_by_scanners whether scanners leave such bars out.
-- @column meaning what the defect is.
-- @example FROM check_bars()
-- @example SELECT defect, bars, details FROM check_bars(session_start := '09:15', session_end := '15:30') WHERE bars > 0
-- @example SELECT count(*) = 0 AS is_sound FROM check_bars() WHERE severity = 'error' AND bars > 0
CREATE MACRO check_bars(
    source := 'bars',
    bar_minutes := 1,
    session_start := NULL,
    session_end := NULL,
    gap_minutes := 15,
    stale_sessions := 5,
    vanished_sessions := 5
) AS TABLE
-- A relation of the caller's with the name of one of the steps that read would be taken for it, hence their first word.
-- NaN is above every number in a comparison. As NULL it is no less bad, and has no other defect on top.
WITH stockscan_values AS (
    SELECT
        CAST(bar.symbol AS VARCHAR) AS symbol,
        CAST(bar.ts AS TIMESTAMP) AS ts,
        nullif(CAST(bar.open AS DOUBLE), CAST('NaN' AS DOUBLE)) AS open,
        nullif(CAST(bar.high AS DOUBLE), CAST('NaN' AS DOUBLE)) AS high,
        nullif(CAST(bar.low AS DOUBLE), CAST('NaN' AS DOUBLE)) AS low,
        nullif(CAST(bar.close AS DOUBLE), CAST('NaN' AS DOUBLE)) AS close,
        nullif(CAST(bar.volume AS DOUBLE), CAST('NaN' AS DOUBLE)) AS volume,
        CASE WHEN isfinite(CAST(bar.ts AS TIMESTAMP)) THEN CAST(CAST(bar.ts AS TIMESTAMP) AS TIME) END AS clock
    FROM query_table(source, true) AS bar
    WHERE is_bar_time(typeof(bar.ts), 'check_bars')
),

-- Most bars have no defect, so only those that have one become rows.
stockscan_defects AS (
    SELECT
        stockscan_values.symbol,
        stockscan_values.ts,
        list_filter(
            [
                CASE WHEN stockscan_values.symbol IS NULL OR stockscan_values.clock IS NULL THEN 'no_symbol_or_time' END,
                CASE
                    WHEN stockscan_values.open IS NULL OR stockscan_values.high IS NULL OR stockscan_values.low IS NULL OR stockscan_values.close IS NULL
                        OR least(stockscan_values.open, stockscan_values.high, stockscan_values.low, stockscan_values.close) < 1e-9
                        OR greatest(stockscan_values.open, stockscan_values.high, stockscan_values.low, stockscan_values.close) > 1e15
                        THEN 'bad_price'
                END,
                CASE WHEN stockscan_values.high < stockscan_values.low THEN 'high_below_low' END,
                CASE WHEN stockscan_values.volume IS NULL OR stockscan_values.volume < 0 OR stockscan_values.volume > 1e15 THEN 'bad_volume' END,
                CASE
                    WHEN stockscan_values.low <= stockscan_values.high
                        AND (
                            greatest(stockscan_values.open, stockscan_values.close) > stockscan_values.high
                            OR least(stockscan_values.open, stockscan_values.close) < stockscan_values.low
                        )
                        THEN 'outside_high_low'
                END,
                CASE WHEN stockscan_values.volume = 0 THEN 'zero_volume' END,
                CASE
                    WHEN stockscan_values.clock IS NOT NULL
                        AND epoch_us(stockscan_values.ts) % 86400000000
                        % (60000000 * integer_in_range(bar_minutes, 1, 1440, 'check_bars', 'bar_minutes')) != 0
                        THEN 'off_the_grid'
                END,
                CASE
                    WHEN stockscan_values.clock = TIME '00:00:00' AND integer_in_range(bar_minutes, 1, 1440, 'check_bars', 'bar_minutes') < 1440
                        THEN 'at_midnight'
                END,
                CASE
                    WHEN stockscan_values.clock < clock_time(session_start, 'check_bars', 'session_start')
                        OR (
                            session_end IS NOT NULL
                            AND stockscan_values.clock > latest_visible_start(
                                coalesce(CAST(session_end AS VARCHAR), '24:00'),
                                integer_in_range(bar_minutes, 1, 1440, 'check_bars', 'bar_minutes'),
                                'check_bars',
                                'session_end'
                            )
                        )
                        THEN 'outside_regular_hours'
                END
            ],
            lambda defect: defect IS NOT NULL
        ) AS defects
    FROM stockscan_values
    WHERE in_order(session_start, session_end, 'check_bars', 'session_start', 'session_end')
),

-- An hour of a symbol has at most one bar for each of its minutes: only where there are more, the bars themselves are compared.
stockscan_crowded_hours AS (
    SELECT CAST(bar.symbol AS VARCHAR) AS symbol, epoch_us(CAST(bar.ts AS TIMESTAMP)) // 3600000000 AS hour
    FROM query_table(source, true) AS bar
    WHERE bar.symbol IS NOT NULL AND isfinite(CAST(bar.ts AS TIMESTAMP))
    GROUP BY ALL
    HAVING count(*) > bit_count(bit_or(CAST(1 AS BIGINT) << (epoch_us(CAST(bar.ts AS TIMESTAMP)) // 60000000 % 60)))
),

stockscan_repeated AS (
    SELECT CAST(bar.symbol AS VARCHAR) AS symbol, CAST(bar.ts AS TIMESTAMP) AS ts, count(*) - 1 AS extra_bars
    FROM query_table(source, true) AS bar
    JOIN stockscan_crowded_hours
        ON CAST(bar.symbol AS VARCHAR) = stockscan_crowded_hours.symbol
        AND epoch_us(CAST(bar.ts AS TIMESTAMP)) // 3600000000 = stockscan_crowded_hours.hour
    WHERE isfinite(CAST(bar.ts AS TIMESTAMP))
    GROUP BY ALL
    HAVING count(*) > 1
),

stockscan_sessions AS (
    SELECT
        bar.symbol,
        bar.session_date,
        count(*) AS bars,
        max(bar.ts) AS last_ts,
        max(bar.high) AS high,
        min(bar.low) AS low,
        arg_max(bar.close, bar.ts) AS close
    FROM session_bars(
        -- Every date that a TIMESTAMP_NS can be compared with.
        '1678-01-01',
        '2261-12-31',
        source := source,
        bar_minutes := bar_minutes,
        session_start := session_start,
        session_end := session_end,
        called_by := 'check_bars'
    ) AS bar
    GROUP BY bar.symbol, bar.session_date
),

stockscan_splits AS (
    SELECT split.symbol, split.ex_date, split.ratio_text
    FROM likely_splits(
        source := source, bar_minutes := bar_minutes, session_start := session_start, session_end := session_end, called_by := 'check_bars'
    ) AS split
),

stockscan_missing AS (
    SELECT missing.kind, missing.symbol, missing.first_ts, missing.last_ts, missing.bars
    FROM missing_bars(
        source := source,
        bar_minutes := bar_minutes,
        session_start := session_start,
        session_end := session_end,
        gap_minutes := gap_minutes,
        called_by := 'check_bars'
    ) AS missing
),

moves AS (
    SELECT
        stockscan_sessions.*,
        coalesce(
            stockscan_sessions.high = stockscan_sessions.low AND stockscan_sessions.low = lag(stockscan_sessions.close) OVER by_session,
            false
        ) AS is_still,
        row_number() OVER by_session AS place
    FROM stockscan_sessions
    WINDOW by_session AS (PARTITION BY stockscan_sessions.symbol ORDER BY stockscan_sessions.session_date)
),

still_sessions AS (
    SELECT moves.*, moves.place - row_number() OVER (PARTITION BY moves.symbol ORDER BY moves.session_date) AS stretch
    FROM moves
    WHERE moves.is_still
),

stale AS (
    SELECT
        still_sessions.symbol,
        min(still_sessions.session_date) AS first_date,
        max(still_sessions.session_date) AS last_date,
        sum(still_sessions.bars) AS bars
    FROM still_sessions
    GROUP BY still_sessions.symbol, still_sessions.stretch
    HAVING count(*) >= integer_in_range(stale_sessions, 1, 1000, 'check_bars', 'stale_sessions')
),

dates AS (
    SELECT stockscan_sessions.session_date, row_number() OVER (ORDER BY stockscan_sessions.session_date DESC) - 1 AS later_dates
    FROM stockscan_sessions
    GROUP BY stockscan_sessions.session_date
),

vanished AS (
    SELECT
        stockscan_sessions.symbol,
        max(stockscan_sessions.last_ts) AS last_ts,
        min(dates.later_dates) AS later_dates
    FROM stockscan_sessions
    JOIN dates ON stockscan_sessions.session_date = dates.session_date
    GROUP BY stockscan_sessions.symbol
    HAVING min(dates.later_dates) >= integer_in_range(vanished_sessions, 1, 1000, 'check_bars', 'vanished_sessions')
),

found AS (
    SELECT stockscan_defects.symbol, stockscan_defects.ts, unnest(stockscan_defects.defects) AS defect, 1 AS bars, NULL AS note
    FROM stockscan_defects
    WHERE len(stockscan_defects.defects) > 0
    UNION ALL
    SELECT stockscan_repeated.symbol, stockscan_repeated.ts, 'duplicate', stockscan_repeated.extra_bars, NULL
    FROM stockscan_repeated
    UNION ALL
    SELECT stockscan_splits.symbol, CAST(stockscan_splits.ex_date AS TIMESTAMP), 'likely_split', 1, stockscan_splits.ratio_text
    FROM stockscan_splits
    UNION ALL
    SELECT
        stockscan_missing.symbol,
        stockscan_missing.first_ts,
        stockscan_missing.kind,
        stockscan_missing.bars,
        CASE
            WHEN CAST(stockscan_missing.last_ts AS DATE) > CAST(stockscan_missing.first_ts AS DATE)
                THEN 'to ' || CAST(stockscan_missing.last_ts AS DATE)
            WHEN stockscan_missing.last_ts > stockscan_missing.first_ts THEN 'to ' || strftime(stockscan_missing.last_ts, '%H:%M')
        END
    FROM stockscan_missing
    UNION ALL
    SELECT stale.symbol, CAST(stale.first_date AS TIMESTAMP), 'stale', stale.bars, 'to ' || stale.last_date
    FROM stale
    UNION ALL
    SELECT vanished.symbol, vanished.last_ts, 'vanished', 1, vanished.later_dates || ' sessions before the last'
    FROM vanished
),

kinds AS (
    SELECT kind.position, kind.defect, kind.severity, kind.ignored_by_scanners, kind.meaning
    FROM (
        VALUES
        (1, 'no_symbol_or_time', 'error', true, 'symbol or ts is NULL, or ts is infinite'),
        (2, 'bad_price', 'error', true, 'a price is NULL, NaN, not above zero (below 1e-9) or infinite (above 1e15)'),
        (3, 'high_below_low', 'error', true, 'the high is below the low'),
        (4, 'bad_volume', 'error', true, 'the volume is NULL, NaN, negative or infinite (above 1e15)'),
        (5, 'duplicate', 'error', false, 'another bar has the same symbol and ts'),
        (
            6,
            'at_midnight',
            'error',
            false,
            'starts at 00:00; daily bars need bar_minutes := 1440 and the cutoff 24:00, or their close is seen all day'
        ),
        (7, 'likely_split', 'warning', false, 'the session opens where a split would put it: prices are not adjusted; likely_splits() has each'),
        (8, 'outside_high_low', 'warning', false, 'open or close lies outside of low to high'),
        (9, 'off_the_grid', 'warning', false, 'ts is not a multiple of the bar length, counted from midnight'),
        (10, 'market_break', 'warning', false, 'no symbol has a bar for more than a week; missing_bars() has each'),
        (11, 'market_outage', 'warning', false, 'most symbols have no bar at times when most usually have one, or the session is a short one'),
        (12, 'partial_session', 'warning', false, 'on a date, most of the symbols listed then have no bar'),
        (13, 'missing_session', 'warning', false, 'a symbol has no bar on dates on which most others have one: a halt, or missing data'),
        (14, 'gap', 'warning', false, 'a symbol has no bar while most others have one, for longer than its trading explains'),
        (15, 'stale', 'warning', false, 'session after session, every price is the last close'),
        (16, 'vanished', 'note', false, 'the last bar of a symbol that has none in the latest sessions'),
        (17, 'zero_volume', 'note', false, 'nothing was traded'),
        (18, 'outside_regular_hours', 'note', false, 'starts before session_start or ends after session_end')
    ) AS kind (position, defect, severity, ignored_by_scanners, meaning)
)

SELECT
    kinds.defect,
    any_value(kinds.severity) AS severity,
    CAST(coalesce(sum(found.bars), 0) AS BIGINT) AS bars,
    count(DISTINCT found.symbol) AS symbols,
    arg_min_null(found.symbol, {'ts': found.ts, 'symbol': found.symbol}) FILTER (WHERE found.defect IS NOT NULL) AS first_symbol,
    min(found.ts) AS first_ts,
    array_to_string(
        list_transform(
            min({'ts': found.ts, 'symbol': found.symbol, 'note': found.note}, 5) FILTER (WHERE found.defect IS NOT NULL),
            lambda place: concat_ws(' ', place.symbol, regexp_replace(CAST(place.ts AS VARCHAR), '( 00:00)?:00$', ''), place.note)
        ),
        '; '
    ) AS details,
    any_value(kinds.ignored_by_scanners) AS ignored_by_scanners,
    any_value(kinds.meaning) AS meaning
FROM kinds
LEFT JOIN found ON kinds.defect = found.defect
GROUP BY kinds.position, kinds.defect
ORDER BY kinds.position
