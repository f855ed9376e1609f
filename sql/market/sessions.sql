-- One session in the data: a date on which at least one symbol has a bar, however the calendar names the day.
--
-- @inherit session_bars
-- @column session_date date of the session.
-- @column symbols symbols with at least one bar.
-- @column bars bars of all symbols.
-- @column first_bar start of the earliest bar, exchange time.
-- @column last_bar start of the latest bar, exchange time.
-- @column volume shares traded.
-- @example FROM sessions() ORDER BY session_date DESC LIMIT 5
-- @example SELECT max(session_date) AS latest FROM sessions()
CREATE MACRO sessions(source := 'bars', bar_minutes := 1, session_start := NULL, session_end := NULL, symbols := NULL) AS TABLE
SELECT
    bar.session_date,
    count(DISTINCT bar.symbol) AS symbols,
    count(*) AS bars,
    min(bar.ts) AS first_bar,
    max(bar.ts) AS last_bar,
    CAST(sum(bar.volume) AS BIGINT) AS volume
FROM session_bars(
    -- Every date that a TIMESTAMP_NS can be compared with.
    '1678-01-01',
    '2261-12-31',
    source := source,
    bar_minutes := bar_minutes,
    session_start := session_start,
    session_end := session_end,
    symbols := symbols,
    called_by := 'sessions'
) AS bar
GROUP BY bar.session_date
ORDER BY bar.session_date
