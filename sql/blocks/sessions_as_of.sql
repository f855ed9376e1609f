-- One session of one symbol as it stood at the cutoff: what had happened by then, and the session before it, whole.
--
-- The block that scanners with a baseline stand on. Nothing in a row was unknown at its cutoff: the session's own columns are made of bars
-- that had ended, and whole sessions appear only behind the names `previous_…`, shifted by one. So any window over the rows of a symbol up
-- to the current one is free of look-ahead: `max(previous_high) OVER (… ROWS BETWEEN 4 PRECEDING AND CURRENT ROW)` is the highest high of
-- the five sessions before this one.
--
-- A session of a symbol is a date with at least one bar in the source, never a weekday. If none of them ended by the cutoff, the row has
-- `bars` 0, `volume` 0 and NULL prices: it still belongs to the baseline of later sessions. Rows before `scan_date` are there to look back
-- on, not to be returned: for each symbol that still trades its latest `history_sessions` sessions within 2 · history_sessions + 10 calendar
-- days, and perhaps some more. `end_date` NULL means `scan_date` alone.
--
-- @inherit session_bars
-- @param scan_date DATE: the session to look at, or the first of a range.
-- @param end_date DATE: the last session of the range. NULL: the same session.
-- @param history_sessions INTEGER sessions, 0 to 1000: how many earlier sessions must be there to look back on.
-- @column session_date date of the session.
-- @column symbol name of the stock.
-- @column open currency, open of the session's first bar; NULL if none had ended.
-- @column high currency, highest high so far.
-- @column low currency, lowest low so far.
-- @column price currency, close of the latest bar that had ended.
-- @column volume shares traded so far.
-- @column bars bars that had ended.
-- @column previous_session_date date of the symbol's session before; NULL for its first row.
-- @column previous_open currency, open of the first bar of the session before.
-- @column previous_high currency, highest high of the whole session before.
-- @column previous_low currency, lowest low of the whole session before.
-- @column previous_close currency, last close of the session before.
-- @column previous_volume shares traded in the whole session before.
-- @column previous_volume_by_cutoff shares traded by the same time of day in the session before.
-- @column history_complete whether the symbol's history_sessions latest sessions before this one all lie within 2 · history_sessions + 10 calendar days before it; else it is new or was halted. Says nothing about rows before scan_date, whose own history may not have been read.
-- @example FROM sessions_as_of('2025-01-15', cutoff_time := '09:50', history_sessions := 5, symbols := ['DEMO0001'])
CREATE MACRO sessions_as_of(
    scan_date,
    cutoff_time := '24:00',
    end_date := NULL,
    history_sessions := 0,
    source := 'bars',
    bar_minutes := 1,
    session_start := NULL,
    session_end := NULL,
    symbols := NULL,
    called_by := 'sessions_as_of'
) AS TABLE
-- A relation of the caller's with the name of one of these steps would be taken for it, hence their first word.
WITH stockscan_recent_bars AS (
    SELECT bar.*
    FROM session_bars(
        session_date(scan_date, called_by, 'scan_date')
        - CAST(3 * integer_in_range(history_sessions, 0, 1000, called_by, 'history_sessions') // 2 + 4 AS INTEGER),
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
        in_order(
            session_date(scan_date, called_by, 'scan_date'),
            session_date(coalesce(CAST(end_date AS VARCHAR), CAST(scan_date AS VARCHAR)), called_by, 'end_date'),
            called_by,
            'scan_date',
            'end_date'
        )
),

-- Exchanges are open about two days in three, so nearly every symbol has its history in these days; the others look further back.
stockscan_recent_sessions AS (
    SELECT session.*
    FROM folded_sessions('stockscan_recent_bars') AS session
),

stockscan_symbols AS (
    SELECT
        stockscan_recent_sessions.symbol,
        count(*) FILTER (WHERE stockscan_recent_sessions.session_date < session_date(scan_date, called_by, 'scan_date')) AS earlier_sessions
    FROM stockscan_recent_sessions
    GROUP BY stockscan_recent_sessions.symbol
),

-- Not with HAVING: there the parameter of a macro around this one would be a column outside GROUP BY.
stockscan_short_symbols AS (
    SELECT stockscan_symbols.symbol
    FROM stockscan_symbols
    WHERE stockscan_symbols.earlier_sessions < integer_in_range(history_sessions, 0, 1000, called_by, 'history_sessions')
),

stockscan_earlier_bars AS (
    SELECT bar.*
    FROM session_bars(
        session_date(scan_date, called_by, 'scan_date')
        - CAST(2 * integer_in_range(history_sessions, 0, 1000, called_by, 'history_sessions') + 10 AS INTEGER),
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
        bar.ts < session_date(scan_date, called_by, 'scan_date')
        - CAST(3 * integer_in_range(history_sessions, 0, 1000, called_by, 'history_sessions') // 2 + 4 AS INTEGER)
        AND bar.symbol IN (SELECT stockscan_short_symbols.symbol FROM stockscan_short_symbols)
),

symbol_sessions AS (
    SELECT stockscan_recent_sessions.*
    FROM stockscan_recent_sessions
    UNION ALL
    SELECT session.*
    FROM folded_sessions('stockscan_earlier_bars') AS session
)

SELECT
    symbol_sessions.session_date,
    symbol_sessions.symbol,
    symbol_sessions.open,
    symbol_sessions.high,
    symbol_sessions.low,
    symbol_sessions.price,
    symbol_sessions.volume,
    symbol_sessions.bars,
    lag(symbol_sessions.session_date) OVER by_session AS previous_session_date,
    lag(symbol_sessions.whole_open) OVER by_session AS previous_open,
    lag(symbol_sessions.whole_high) OVER by_session AS previous_high,
    lag(symbol_sessions.whole_low) OVER by_session AS previous_low,
    lag(symbol_sessions.whole_close) OVER by_session AS previous_close,
    lag(symbol_sessions.whole_volume) OVER by_session AS previous_volume,
    lag(symbol_sessions.volume) OVER by_session AS previous_volume_by_cutoff,
    coalesce(
        lag(symbol_sessions.session_date, integer_in_range(history_sessions, 0, 1000, called_by, 'history_sessions')) OVER by_session
        >= symbol_sessions.session_date - CAST(2 * integer_in_range(history_sessions, 0, 1000, called_by, 'history_sessions') + 10 AS INTEGER),
        FALSE
    ) AS history_complete
FROM symbol_sessions
WINDOW by_session AS (PARTITION BY symbol_sessions.symbol ORDER BY symbol_sessions.session_date)
