-- One bar of a scanned session that had ended by the cutoff.
--
-- The block for scanners that look at the bars of the session itself rather than at its totals. A bar that has not ended by the cutoff of
-- its own session is not there, and no bar of any other session is.
--
-- @inherit sessions_as_of session_bars
-- @column session_date date of the session.
-- @column symbol name of the stock.
-- @column ts start of the bar, exchange time.
-- @column open currency, first price.
-- @column high currency, highest price.
-- @column low currency, lowest price.
-- @column close currency, last price.
-- @column volume shares traded in the bar.
-- @example FROM visible_bars('2025-01-15', cutoff_time := '09:20', symbols := ['DEMO0001'])
CREATE MACRO visible_bars(
    scan_date,
    cutoff_time := '24:00',
    end_date := NULL,
    source := 'bars',
    bar_minutes := 1,
    session_start := NULL,
    session_end := NULL,
    symbols := NULL,
    called_by := 'visible_bars'
) AS TABLE
SELECT bar.session_date, bar.symbol, bar.ts, bar.open, bar.high, bar.low, bar.close, bar.volume
FROM session_bars(
    session_date(scan_date, called_by, 'scan_date'),
    session_date(coalesce(CAST(end_date AS VARCHAR), CAST(scan_date AS VARCHAR)), called_by, 'end_date'),
    cutoff_time := cutoff_time,
    source := source,
    bar_minutes := bar_minutes,
    session_start := session_start,
    session_end := session_end,
    symbols := symbols,
    called_by := called_by
) AS bar
WHERE
    bar.by_cutoff
    AND in_order(
        session_date(scan_date, called_by, 'scan_date'),
        session_date(coalesce(CAST(end_date AS VARCHAR), CAST(scan_date AS VARCHAR)), called_by, 'end_date'),
        called_by,
        'scan_date',
        'end_date'
    )
