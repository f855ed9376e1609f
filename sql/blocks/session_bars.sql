-- One bar of the source that can be trusted, with its session and whether it had ended by the cutoff.
--
-- This is the one place that reads the source; everything else stands on it. A bar with a price that is NULL, NaN, infinite or not above
-- zero, with a high below its low, or with a volume that is NULL, NaN, infinite or negative is left out (check_bars() counts them), and so
-- is a bar that starts before or ends after the regular hours, if they are given. So that nothing overflows, a price below 1e-9 counts as
-- zero, and a price or a volume above 1e15 as infinite. Bars of the last day that end after the cutoff are not read at all; those of
-- earlier days are marked by `by_cutoff`. Scanners read sessions_as_of() or visible_bars(), never this.
--
-- @param first_date DATE: first session.
-- @param last_date DATE: last session; it is read up to the cutoff.
-- @param cutoff_time TIME exchange time, 00:00 to 24:00: a bar counts as seen if it ended by then.
-- @param source VARCHAR: the relation with the bars: a table, a view, a qualified name, a Parquet file, a CTE, a DataFrame, or a list.
-- @param bar_minutes INTEGER minutes, 1 to 1440: length of a bar; 1440 for daily bars, with the cutoff at 24:00.
-- @param session_start TIME exchange time, 00:00 to 24:00: start of regular hours; bars that start earlier are left out. NULL: all.
-- @param session_end TIME exchange time, 00:00 to 24:00: end of regular hours; bars that end later are left out. NULL: all.
-- @param symbols VARCHAR[]: only these symbols. NULL: all.
-- @param called_by VARCHAR: the function that error messages name.
-- @column symbol name of the stock.
-- @column session_date date of the session.
-- @column ts start of the bar, exchange time.
-- @column open currency, first price.
-- @column high currency, highest price.
-- @column low currency, lowest price.
-- @column close currency, last price.
-- @column volume shares traded in the bar.
-- @column by_cutoff whether the bar had ended by the cutoff of its own session.
-- @example FROM session_bars('2025-01-14', '2025-01-15', cutoff_time := '09:20', symbols := ['DEMO0001'])
CREATE MACRO session_bars(
    first_date,
    last_date,
    cutoff_time := '24:00',
    source := 'bars',
    bar_minutes := 1,
    session_start := NULL,
    session_end := NULL,
    symbols := NULL,
    called_by := 'session_bars'
) AS TABLE
SELECT
    CAST(bar.symbol AS VARCHAR) AS symbol,
    CAST(bar.ts AS DATE) AS session_date,
    CAST(bar.ts AS TIMESTAMP) AS ts,
    CAST(bar.open AS DOUBLE) AS open,
    CAST(bar.high AS DOUBLE) AS high,
    CAST(bar.low AS DOUBLE) AS low,
    CAST(bar.close AS DOUBLE) AS close,
    CAST(bar.volume AS BIGINT) AS volume,
    bar.ts
    <= CAST(bar.ts AS DATE)
    + latest_visible_start(cutoff_time, integer_in_range(bar_minutes, 1, 1440, called_by, 'bar_minutes'), called_by, 'cutoff_time') AS by_cutoff
FROM query_table(source, true) AS bar
WHERE
    is_bar_time(typeof(bar.ts), called_by)
    AND in_order(session_start, session_end, called_by, 'session_start', 'session_end')
    AND bar.ts >= session_date(first_date, called_by, 'first_date')
    AND bar.ts
    <= session_date(last_date, called_by, 'last_date')
    + latest_visible_start(cutoff_time, integer_in_range(bar_minutes, 1, 1440, called_by, 'bar_minutes'), called_by, 'cutoff_time')
    AND (session_start IS NULL OR CAST(CAST(bar.ts AS TIMESTAMP) AS TIME) >= clock_time(session_start, called_by, 'session_start'))
    AND (
        session_end IS NULL
        OR CAST(CAST(bar.ts AS TIMESTAMP) AS TIME)
        <= latest_visible_start(
            coalesce(CAST(session_end AS VARCHAR), '24:00'),
            integer_in_range(bar_minutes, 1, 1440, called_by, 'bar_minutes'),
            called_by,
            'session_end'
        )
    )
    AND (symbols IS NULL OR list_contains(CAST(symbols AS VARCHAR[]), CAST(bar.symbol AS VARCHAR)))
    AND bar.symbol IS NOT NULL
    AND CAST(bar.open AS DOUBLE) >= 1e-9
    AND CAST(bar.open AS DOUBLE) <= 1e15
    AND CAST(bar.low AS DOUBLE) >= 1e-9
    AND CAST(bar.high AS DOUBLE) >= CAST(bar.low AS DOUBLE)
    AND CAST(bar.high AS DOUBLE) <= 1e15
    AND CAST(bar.close AS DOUBLE) >= 1e-9
    AND CAST(bar.close AS DOUBLE) <= 1e15
    AND CAST(bar.volume AS DOUBLE) >= 0
    AND CAST(bar.volume AS DOUBLE) <= 1e15
