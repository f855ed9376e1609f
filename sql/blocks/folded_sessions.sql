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
-- Each bar goes into one of two parts of its session, by the cutoff and after it: half the work of folding it into both.
WITH stockscan_parts AS (
    SELECT
        bar.symbol,
        bar.session_date,
        bar.by_cutoff,
        arg_min(bar.open, bar.ts) AS open,
        max(bar.high) AS high,
        min(bar.low) AS low,
        arg_max(bar.close, bar.ts) AS close,
        sum(bar.volume) AS volume,
        count(*) AS bars
    FROM query_table(bars) AS bar
    GROUP BY bar.symbol, bar.session_date, bar.by_cutoff
)

SELECT
    part.symbol,
    part.session_date,
    max(part.open) FILTER (WHERE part.by_cutoff) AS open,
    max(part.high) FILTER (WHERE part.by_cutoff) AS high,
    min(part.low) FILTER (WHERE part.by_cutoff) AS low,
    max(part.close) FILTER (WHERE part.by_cutoff) AS price,
    CAST(coalesce(sum(part.volume) FILTER (WHERE part.by_cutoff), 0) AS BIGINT) AS volume,
    CAST(coalesce(sum(part.bars) FILTER (WHERE part.by_cutoff), 0) AS BIGINT) AS bars,
    -- The part by the cutoff is the earlier one.
    arg_max(part.open, part.by_cutoff) AS whole_open,
    max(part.high) AS whole_high,
    min(part.low) AS whole_low,
    arg_min(part.close, part.by_cutoff) AS whole_close,
    CAST(sum(part.volume) AS BIGINT) AS whole_volume
FROM stockscan_parts AS part
GROUP BY part.symbol, part.session_date
