-- One session of one symbol, folded from its bars: as of the cutoff, and whole.
--
-- Serves sessions_as_of(), which shows the whole sessions only shifted by one. Scanners never read this: the `whole_…` columns of the scanned
-- session hold what came after the cutoff.
--
-- @param bars VARCHAR: name of a relation with the columns of session_bars(); a CTE of the caller will do.
-- @column symbol name of the stock.
-- @column session_date date of the session.
-- @column open currency, open of the session's first bar; NULL if none had ended by the cutoff.
-- @column high currency, highest high by the cutoff.
-- @column low currency, lowest low by the cutoff.
-- @column price currency, close of the latest bar that had ended by the cutoff.
-- @column volume shares traded by the cutoff.
-- @column bars bars that had ended by the cutoff.
-- @column whole_open currency, open of the session's first bar.
-- @column whole_high currency, highest high of the session.
-- @column whole_low currency, lowest low of the session.
-- @column whole_close currency, last close of the session.
-- @column whole_volume shares traded in the session.
-- @example WITH day AS (FROM session_bars('2025-01-15', '2025-01-15', cutoff_time := '09:50')) FROM folded_sessions('day')
CREATE MACRO folded_sessions(bars) AS TABLE
SELECT
    bar.symbol,
    bar.session_date,
    arg_min(bar.open, bar.ts) FILTER (WHERE bar.by_cutoff) AS open,
    max(bar.high) FILTER (WHERE bar.by_cutoff) AS high,
    min(bar.low) FILTER (WHERE bar.by_cutoff) AS low,
    arg_max(bar.close, bar.ts) FILTER (WHERE bar.by_cutoff) AS price,
    CAST(coalesce(sum(bar.volume) FILTER (WHERE bar.by_cutoff), 0) AS BIGINT) AS volume,
    count(*) FILTER (WHERE bar.by_cutoff) AS bars,
    arg_min(bar.open, bar.ts) AS whole_open,
    max(bar.high) AS whole_high,
    min(bar.low) AS whole_low,
    arg_max(bar.close, bar.ts) AS whole_close,
    CAST(sum(bar.volume) AS BIGINT) AS whole_volume
FROM query_table(bars) AS bar
GROUP BY bar.symbol, bar.session_date
