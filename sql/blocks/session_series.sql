-- One scanned session of one symbol with the series of its sessions: the earlier ones whole, and itself, as of the cutoff, at the end.
--
-- The block for scanners that need indicators of sessions. The lists opens, highs, lows and closes hold at most history_sessions + 1 bars,
-- oldest first; the last is the running session as it stood at the cutoff, so it is provisional. The others are the symbol's latest
-- sessions before it that lie within 2 · history_sessions + 10 calendar days. Where the lists start depends on nothing but the symbol and
-- the date: averages that remember their start have the same value in every scan. A session in which nothing had ended by the cutoff has
-- no row.
--
-- @inherit sessions_as_of
-- @param history_sessions INTEGER sessions, 1 to 500: how many earlier sessions a series holds at most.
-- @column session_date date of the session.
-- @column symbol name of the stock.
-- @column open currency, open of the session's first bar.
-- @column high currency, highest high so far.
-- @column low currency, lowest low so far.
-- @column price currency, close of the latest bar that had ended.
-- @column volume shares traded so far.
-- @column bars bars that had ended.
-- @column previous_close currency, last close of the session before; NULL if that is further back than the calendar days.
-- @column history earlier sessions in the series.
-- @column opens currency, opens of the sessions in their order.
-- @column highs currency, highs of the sessions.
-- @column lows currency, lows of the sessions.
-- @column closes currency, closes of the sessions; the last is the price.
-- @example FROM session_series('2025-01-15', cutoff_time := '09:50', history_sessions := 20)
-- @example SELECT symbol, ti_rsi_last(closes) AS rsi FROM session_series('2025-01-15', cutoff_time := '09:50', history_sessions := 60)
CREATE MACRO session_series(
    scan_date,
    cutoff_time := '24:00',
    end_date := NULL,
    history_sessions := 20,
    source := 'bars',
    bar_minutes := 1,
    session_start := NULL,
    session_end := NULL,
    symbols := NULL,
    called_by := 'session_series'
) AS TABLE
WITH sessions AS (
    SELECT
        session.*,
        -- How many of its sessions come before, and how many of those are near enough.
        row_number() OVER (PARTITION BY session.symbol ORDER BY session.session_date) - 1 AS earlier,
        count(*) OVER (
            PARTITION BY session.symbol
            ORDER BY session.session_date
            RANGE BETWEEN
                to_days(CAST(2 * integer_in_range(history_sessions, 1, 500, called_by, 'history_sessions') + 10 AS INTEGER)) PRECEDING
                AND CURRENT ROW
        ) - 1 AS near
    FROM sessions_as_of(
        scan_date,
        cutoff_time := cutoff_time,
        end_date := end_date,
        history_sessions := integer_in_range(history_sessions, 1, 500, called_by, 'history_sessions'),
        source := source,
        bar_minutes := bar_minutes,
        session_start := session_start,
        session_end := session_end,
        symbols := symbols,
        called_by := called_by
    ) AS session
),

-- The earlier sessions of a symbol in parts of up to twice history_sessions, each of which overlaps the next by half: those of any session
-- are in one of them. From lists of all its sessions each scanned one would have to take a copy, and a long range would never end.
with_parts AS (
    SELECT
        sessions.*,
        sessions.earlier // integer_in_range(history_sessions, 1, 500, called_by, 'history_sessions') + step.range AS part
    FROM sessions
    CROSS JOIN range(2) AS step
),

parts AS (
    SELECT
        with_parts.symbol,
        with_parts.part,
        greatest(min(with_parts.earlier), 1) AS first_place,
        series(with_parts.previous_open, CAST(with_parts.previous_session_date AS TIMESTAMP)) AS opens,
        series(with_parts.previous_high, CAST(with_parts.previous_session_date AS TIMESTAMP)) AS highs,
        series(with_parts.previous_low, CAST(with_parts.previous_session_date AS TIMESTAMP)) AS lows,
        series(with_parts.previous_close, CAST(with_parts.previous_session_date AS TIMESTAMP)) AS closes
    FROM with_parts
    GROUP BY with_parts.symbol, with_parts.part
),

scanned AS (
    SELECT
        sessions.*,
        least(sessions.near, integer_in_range(history_sessions, 1, 500, called_by, 'history_sessions')) AS history,
        sessions.earlier // integer_in_range(history_sessions, 1, 500, called_by, 'history_sessions') AS part
    FROM sessions
    WHERE sessions.session_date >= session_date(scan_date, called_by, 'scan_date') AND sessions.bars > 0
),

with_part AS (
    SELECT
        scanned.*,
        parts.opens,
        parts.highs,
        parts.lows,
        parts.closes,
        scanned.earlier - parts.first_place + 1 AS last_place,
        scanned.earlier - parts.first_place + 2 - scanned.history AS first_place
    FROM scanned
    JOIN parts ON scanned.symbol = parts.symbol AND scanned.part = parts.part
)

SELECT
    with_part.session_date,
    with_part.symbol,
    with_part.open,
    with_part.high,
    with_part.low,
    with_part.price,
    with_part.volume,
    with_part.bars,
    CASE WHEN with_part.history > 0 THEN with_part.previous_close END AS previous_close,
    with_part.history,
    list_append(list_slice(with_part.opens, with_part.first_place, with_part.last_place), with_part.open) AS opens,
    list_append(list_slice(with_part.highs, with_part.first_place, with_part.last_place), with_part.high) AS highs,
    list_append(list_slice(with_part.lows, with_part.first_place, with_part.last_place), with_part.low) AS lows,
    list_append(list_slice(with_part.closes, with_part.first_place, with_part.last_place), with_part.price) AS closes
FROM with_part
