-- What became of one signal: the trade that a person who acts on it at the cutoff would have made.
--
-- Entry is the open of the symbol's first bar that starts at or after the cutoff of the signal's date, since a signal is known at the cutoff
-- and not before: a bar of that session, or, if it has no more, of the next one within 10 calendar days. The trade ends at the first of: the
-- stop, the target, or the close of the last bar that has ended by exit_time of the exit's session. That is the session of the entry, or the
-- hold_sessions-th session of the symbol after it. If fewer follow within 2 · hold_sessions + 10 calendar days, the trade ends with the last
-- bar that there is within those days. A signal without a bar to enter by, or without a bar from there to the exit, is reported as
-- not_filled, with NULL for everything of the trade.
--
-- Stop and target are looked at bar by bar from the entry's bar on. A later bar that opens at or beyond a level fills at its open; else a bar
-- that touches both counts as the stop, since nobody knows which came first. Levels are percentages of the entry price; a price less than a
-- billionth from one is at it, whatever binary fractions make of 103 % of 70. Returns are those of the position: a short one gains when the
-- price falls. Gross is without costs. For net, slippage makes both prices worse and costs are paid on the traded value of both sides: long
-- 100 · (x − e − c · (x + e)) / e, short 100 · (e − x − c · (e + x)) / e, with e and x the prices of entry and exit after slippage and c the
-- costs of a side. Excursions are those of entry, exit and the highs and lows of the bars held; of a bar in which the trade was stopped or
-- met its target only the open and the fill count. No bar after that of a trade's exit has a part in its row. A row was not known at its
-- signal: never rank by it.
--
-- @inherit session_bars
-- @param signals VARCHAR: the relation with scan_date and symbol, neither of them NULL: a table, a view, a CTE, or a list of those. A signal that stands there twice is one.
-- @param cutoff_time TIME exchange time: when the signals were known; that of the scan.
-- @param entry VARCHAR one of next_open: where the trade is entered: at the open of the first bar that starts at or after the cutoff.
-- @param exit_time TIME exchange time: the trade is closed with the last bar that has ended by then.
-- @param hold_sessions INTEGER sessions, 0 to 250 step 1: after how many later sessions of the symbol it is closed; 0: in that of the entry.
-- @param stop_loss_pct DOUBLE %, 0.01 to 1000 step 0.1: loss at which it is closed. NULL: no stop.
-- @param target_pct DOUBLE %, 0.01 to 1000 step 0.1: gain at which it is closed. NULL: no target.
-- @param direction VARCHAR one of long, short: which way it is traded.
-- @param cost_bps DOUBLE bps, 0 to 1000 step 1: costs of each side, in hundredths of a percent of the traded value.
-- @param slippage_bps DOUBLE bps, 0 to 1000 step 1: how much worse than the bars' prices each side is filled, in hundredths of a percent.
-- @param start_date DATE: signals before it are left out, and no bar before it is read. NULL: no limit.
-- @param end_date DATE: signals after it are left out, and no bar after their last possible exit is read. NULL: no limit.
-- @column scan_date date of the signal.
-- @column symbol name of the stock.
-- @column direction long or short.
-- @column entry_ts start of the bar at whose open it was entered.
-- @column entry_price currency, that open.
-- @column exit_ts start of the bar in which it was closed.
-- @column exit_price currency, price at which it was closed.
-- @column exit_reason time, stop, target or not_filled.
-- @column gross_return_pct %, gain of the position without costs.
-- @column net_return_pct %, gain of the position after costs and slippage.
-- @column mfe_pct %, most favourable excursion: the best it stood at while held, 0 or more.
-- @column mae_pct %, most adverse excursion: the worst it stood at while held, 0 or less.
-- @column minutes_held minutes of the clock from the entry to the end of the exit's bar, or to its start where it filled at the open.
-- @source Excursions: J. Sweeney, Maximum Adverse Excursion, 1997.
-- @example WITH signals AS (FROM scan_gap('2025-01-15', min_gap_pct := 0.2)) FROM outcomes('signals', exit_time := '15:15', stop_loss_pct := 1, target_pct := 2)
-- @example WITH hits AS (FROM scan_breakout('2025-01-06', end_date := '2025-01-14')) FROM outcomes('hits', hold_sessions := 1, cost_bps := 3)
CREATE MACRO outcomes(
    signals,
    cutoff_time := '09:50',
    entry := 'next_open',
    exit_time := '15:15',
    hold_sessions := 0,
    stop_loss_pct := NULL,
    target_pct := NULL,
    direction := 'long',
    cost_bps := 0,
    slippage_bps := 0,
    start_date := NULL,
    end_date := NULL,
    source := 'bars',
    bar_minutes := 1,
    session_start := NULL,
    session_end := NULL,
    called_by := 'outcomes'
) AS TABLE
-- A relation of the caller's with the name of one of these steps would be taken for it, hence their first word.
WITH stockscan_signals_once AS (
    SELECT DISTINCT CAST(signal.scan_date AS DATE) AS scan_date, CAST(signal.symbol AS VARCHAR) AS symbol
    FROM query_table(signals, true) AS signal
),

stockscan_trades AS (
    SELECT
        session_date(signal.scan_date, called_by, 'scan_date of a signal') AS scan_date,
        CASE WHEN signal.symbol IS NULL THEN error(called_by || ': symbol of a signal must not be NULL') ELSE signal.symbol END AS symbol,
        signal.scan_date
        + latest_visible_start(cutoff_time, integer_in_range(bar_minutes, 1, 1440, called_by, 'bar_minutes'), called_by, 'cutoff_time')
        + to_minutes(integer_in_range(bar_minutes, 1, 1440, called_by, 'bar_minutes')) AS cutoff
    FROM stockscan_signals_once AS signal
    WHERE
        one_of(entry, 'next_open', called_by, 'entry') IS NOT NULL
        AND in_order(start_date, end_date, called_by, 'start_date', 'end_date')
        AND session_date(signal.scan_date, called_by, 'scan_date of a signal')
        BETWEEN session_date(coalesce(CAST(start_date AS VARCHAR), '1678-01-01'), called_by, 'start_date')
        AND session_date(coalesce(CAST(end_date AS VARCHAR), '2261-12-31'), called_by, 'end_date')
),

-- Nearly every trade is entered in the session of its signal: these are its bars there.
stockscan_first_bars AS (
    SELECT trade.scan_date, trade.symbol, bar.ts, bar.open, bar.high, bar.low, bar.close
    FROM session_bars(
        coalesce(CAST(start_date AS VARCHAR), '1678-01-01'),
        coalesce(CAST(end_date AS VARCHAR), '2261-12-31'),
        source := source,
        bar_minutes := bar_minutes,
        session_start := session_start,
        session_end := session_end,
        called_by := called_by
    ) AS bar
    -- As a condition of the join: it is asked of a trade's bars, not of all.
    JOIN stockscan_trades AS trade ON trade.symbol = bar.symbol AND trade.scan_date = bar.session_date AND trade.cutoff <= bar.ts
),

stockscan_entered AS (
    SELECT DISTINCT stockscan_first_bars.scan_date, stockscan_first_bars.symbol
    FROM stockscan_first_bars
),

-- The others look for a later session, and so does what is held.
stockscan_searching AS (
    SELECT trade.scan_date, trade.symbol, entered.symbol IS NOT NULL AS is_entered
    FROM stockscan_trades AS trade
    LEFT JOIN stockscan_entered AS entered ON entered.scan_date = trade.scan_date AND entered.symbol = trade.symbol
    WHERE entered.symbol IS NULL OR integer_in_range(hold_sessions, 0, 250, called_by, 'hold_sessions') > 0
),

stockscan_later_days AS (
    SELECT searching.scan_date, searching.symbol, searching.is_entered, searching.scan_date + CAST(later.days AS INTEGER) AS session_date
    FROM stockscan_searching AS searching
    CROSS JOIN range(1, 21 + 2 * integer_in_range(hold_sessions, 0, 250, called_by, 'hold_sessions')) AS later (days)
    WHERE
        later.days
        <= 2 * integer_in_range(hold_sessions, 0, 250, called_by, 'hold_sessions') + CASE WHEN searching.is_entered THEN 10 ELSE 20 END
),

stockscan_wanted_sessions AS (
    SELECT DISTINCT stockscan_later_days.symbol, stockscan_later_days.session_date
    FROM stockscan_later_days
),

stockscan_later_sessions AS (
    SELECT DISTINCT bar.symbol, bar.session_date
    FROM session_bars(
        coalesce(CAST(start_date AS VARCHAR), '1678-01-01'),
        least(
            session_date(coalesce(CAST(end_date AS VARCHAR), '2261-12-31'), called_by, 'end_date')
            + CAST(20 + 2 * integer_in_range(hold_sessions, 0, 250, called_by, 'hold_sessions') AS INTEGER),
            DATE '2261-12-31'
        ),
        source := source,
        bar_minutes := bar_minutes,
        session_start := session_start,
        session_end := session_end,
        called_by := called_by
    ) AS bar
    JOIN stockscan_wanted_sessions AS wanted ON wanted.symbol = bar.symbol AND wanted.session_date = bar.session_date
),

stockscan_sessions_ahead AS (
    SELECT
        later_day.scan_date,
        later_day.symbol,
        later_day.session_date,
        CASE WHEN later_day.is_entered THEN later_day.scan_date ELSE min(later_day.session_date) OVER ahead END AS entry_date,
        row_number() OVER ahead - CASE WHEN later_day.is_entered THEN 0 ELSE 1 END AS sessions_after_entry
    FROM stockscan_later_days AS later_day
    JOIN stockscan_later_sessions AS session ON session.symbol = later_day.symbol AND session.session_date = later_day.session_date
    WINDOW ahead AS (PARTITION BY later_day.scan_date, later_day.symbol ORDER BY later_day.session_date)
),

stockscan_later_holdings AS (
    SELECT
        stockscan_sessions_ahead.scan_date,
        stockscan_sessions_ahead.symbol,
        stockscan_sessions_ahead.session_date,
        stockscan_sessions_ahead.sessions_after_entry
    FROM stockscan_sessions_ahead
    WHERE
        stockscan_sessions_ahead.sessions_after_entry <= integer_in_range(hold_sessions, 0, 250, called_by, 'hold_sessions')
        AND stockscan_sessions_ahead.entry_date <= stockscan_sessions_ahead.scan_date + 10
        AND stockscan_sessions_ahead.session_date
        <= stockscan_sessions_ahead.entry_date
        + CAST(2 * integer_in_range(hold_sessions, 0, 250, called_by, 'hold_sessions') + 10 AS INTEGER)
),

-- The bars from the entry to the exit by time: of each session before the last one all that are left of it.
stockscan_paths AS (
    SELECT
        stockscan_first_bars.scan_date,
        stockscan_first_bars.symbol,
        stockscan_first_bars.ts,
        stockscan_first_bars.open,
        stockscan_first_bars.high,
        stockscan_first_bars.low,
        stockscan_first_bars.close
    FROM stockscan_first_bars
    WHERE
        integer_in_range(hold_sessions, 0, 250, called_by, 'hold_sessions') > 0
        OR stockscan_first_bars.ts
        <= stockscan_first_bars.scan_date
        + latest_visible_start(exit_time, integer_in_range(bar_minutes, 1, 1440, called_by, 'bar_minutes'), called_by, 'exit_time')
    UNION ALL
    SELECT holding.scan_date, holding.symbol, bar.ts, bar.open, bar.high, bar.low, bar.close
    FROM session_bars(
        coalesce(CAST(start_date AS VARCHAR), '1678-01-01'),
        least(
            session_date(coalesce(CAST(end_date AS VARCHAR), '2261-12-31'), called_by, 'end_date')
            + CAST(20 + 2 * integer_in_range(hold_sessions, 0, 250, called_by, 'hold_sessions') AS INTEGER),
            DATE '2261-12-31'
        ),
        source := source,
        bar_minutes := bar_minutes,
        session_start := session_start,
        session_end := session_end,
        called_by := called_by
    ) AS bar
    JOIN stockscan_later_holdings AS holding ON holding.symbol = bar.symbol AND holding.session_date = bar.session_date
    WHERE
        holding.sessions_after_entry < integer_in_range(hold_sessions, 0, 250, called_by, 'hold_sessions')
        OR bar.ts
        <= bar.session_date
        + latest_visible_start(exit_time, integer_in_range(bar_minutes, 1, 1440, called_by, 'bar_minutes'), called_by, 'exit_time')
),

stockscan_whole_paths AS (
    SELECT
        path.scan_date,
        path.symbol,
        min(path.ts) AS entry_ts,
        arg_min(path.open, path.ts) AS entry_price,
        max(path.ts) AS exit_ts,
        arg_max(path.close, path.ts) AS exit_price,
        max(path.high) AS highest,
        min(path.low) AS lowest
    FROM stockscan_paths AS path
    GROUP BY path.scan_date, path.symbol
),

-- Prices of the stop and the target; where there is none, one that is never met.
stockscan_levels AS (
    SELECT
        whole.scan_date,
        whole.symbol,
        whole.entry_ts,
        CASE one_of(direction, 'long, short', called_by, 'direction')
            WHEN 'long'
                THEN coalesce(whole.entry_price * (1 - number_in_range_or_null(stop_loss_pct, 0.01, 1000, called_by, 'stop_loss_pct') / 100), 0)
            ELSE coalesce(whole.entry_price * (1 - number_in_range_or_null(target_pct, 0.01, 1000, called_by, 'target_pct') / 100), 0)
        END AS lower_level,
        CASE one_of(direction, 'long, short', called_by, 'direction')
            WHEN 'long'
                THEN whole.entry_price * (1 + number_in_range_or_null(target_pct, 0.01, 1000, called_by, 'target_pct') / 100)
            ELSE whole.entry_price * (1 + number_in_range_or_null(stop_loss_pct, 0.01, 1000, called_by, 'stop_loss_pct') / 100)
        END AS upper_level
    FROM stockscan_whole_paths AS whole
    WHERE stop_loss_pct IS NOT NULL OR target_pct IS NOT NULL
),

-- The prices from which on a level counts as met.
stockscan_limits AS (
    SELECT
        stockscan_levels.*,
        stockscan_levels.lower_level * (1 + 1e-9) AS lower_limit,
        stockscan_levels.upper_level * (1 - 1e-9) AS upper_limit
    FROM stockscan_levels
),

-- The first bar that meets a level, if any does.
stockscan_touches AS (
    SELECT
        path.scan_date,
        path.symbol,
        min(path.ts) AS ts,
        arg_min(
            {
                open: path.open,
                at_open: path.ts > level.entry_ts AND (path.open <= level.lower_limit OR path.open >= level.upper_limit),
                at_lower: path.low <= level.lower_limit,
                at_upper: path.high >= level.upper_limit
            },
            path.ts
        ) AS bar,
        any_value(level.lower_level) AS lower_level,
        any_value(level.upper_level) AS upper_level
    FROM stockscan_paths AS path
    JOIN stockscan_limits AS level ON level.scan_date = path.scan_date AND level.symbol = path.symbol
    WHERE
        path.low <= level.lower_limit
        OR path.high >= level.upper_limit
        -- The high and the low of bad data may not hold the open.
        OR (path.ts > level.entry_ts AND (path.open <= level.lower_limit OR path.open >= level.upper_limit))
    GROUP BY path.scan_date, path.symbol
),

stockscan_fills AS (
    SELECT
        touch.scan_date,
        touch.symbol,
        touch.ts,
        touch.bar.open AS open,
        coalesce(touch.bar.at_open, FALSE) AS at_open,
        CASE
            WHEN touch.bar.at_open THEN touch.bar.open
            WHEN one_of(direction, 'long, short', called_by, 'direction') = 'long' AND touch.bar.at_lower THEN touch.lower_level
            WHEN one_of(direction, 'long, short', called_by, 'direction') = 'long' THEN touch.upper_level
            WHEN touch.bar.at_upper THEN touch.upper_level
            ELSE touch.lower_level
        END AS price,
        whole.entry_price
    FROM stockscan_touches AS touch
    JOIN stockscan_whole_paths AS whole ON whole.scan_date = touch.scan_date AND whole.symbol = touch.symbol
),

stockscan_before_fills AS (
    SELECT path.scan_date, path.symbol, max(path.high) AS highest, min(path.low) AS lowest
    FROM stockscan_paths AS path
    JOIN stockscan_fills AS fill ON fill.scan_date = path.scan_date AND fill.symbol = path.symbol
    WHERE path.ts < fill.ts
    GROUP BY path.scan_date, path.symbol
),

stockscan_closed AS (
    SELECT
        trade.scan_date,
        trade.symbol,
        CASE one_of(direction, 'long, short', called_by, 'direction') WHEN 'long' THEN 1 ELSE -1 END AS sign,
        whole.entry_ts,
        whole.entry_price,
        coalesce(fill.ts, whole.exit_ts) AS exit_ts,
        coalesce(fill.price, whole.exit_price) AS exit_price,
        CASE
            WHEN whole.entry_ts IS NULL THEN 'not_filled'
            WHEN fill.ts IS NULL THEN 'time'
            WHEN (fill.price < fill.entry_price) = (one_of(direction, 'long, short', called_by, 'direction') = 'long') THEN 'stop'
            ELSE 'target'
        END AS exit_reason,
        CASE
            WHEN fill.ts IS NULL THEN greatest(whole.highest, whole.entry_price, whole.exit_price)
            ELSE greatest(before_fill.highest, whole.entry_price, fill.open, fill.price)
        END AS highest,
        CASE
            WHEN fill.ts IS NULL THEN least(whole.lowest, whole.entry_price, whole.exit_price)
            ELSE least(before_fill.lowest, whole.entry_price, fill.open, fill.price)
        END AS lowest,
        coalesce(fill.at_open, FALSE) AS at_open
    FROM stockscan_trades AS trade
    LEFT JOIN stockscan_whole_paths AS whole ON whole.scan_date = trade.scan_date AND whole.symbol = trade.symbol
    LEFT JOIN stockscan_fills AS fill ON fill.scan_date = trade.scan_date AND fill.symbol = trade.symbol
    LEFT JOIN stockscan_before_fills AS before_fill ON before_fill.scan_date = trade.scan_date AND before_fill.symbol = trade.symbol
),

stockscan_slipped AS (
    SELECT
        closed.*,
        closed.entry_price * (1 + closed.sign * number_in_range(slippage_bps, 0, 1000, called_by, 'slippage_bps') / 1e4) AS paid_entry,
        closed.exit_price * (1 - closed.sign * number_in_range(slippage_bps, 0, 1000, called_by, 'slippage_bps') / 1e4) AS paid_exit
    FROM stockscan_closed AS closed
)

SELECT
    slipped.scan_date,
    slipped.symbol,
    CASE slipped.sign WHEN 1 THEN 'long' ELSE 'short' END AS direction,
    slipped.entry_ts,
    slipped.entry_price,
    slipped.exit_ts,
    slipped.exit_price,
    slipped.exit_reason,
    100 * slipped.sign * (slipped.exit_price - slipped.entry_price) / slipped.entry_price AS gross_return_pct,
    100
    * (
        slipped.sign * (slipped.paid_exit - slipped.paid_entry)
        - number_in_range(cost_bps, 0, 1000, called_by, 'cost_bps') / 1e4 * (slipped.paid_exit + slipped.paid_entry)
    )
    / slipped.paid_entry AS net_return_pct,
    CASE slipped.sign
        WHEN 1 THEN 100 * (slipped.highest - slipped.entry_price) / slipped.entry_price
        ELSE 100 * (slipped.entry_price - slipped.lowest) / slipped.entry_price
    END AS mfe_pct,
    CASE slipped.sign
        WHEN 1 THEN 100 * (slipped.lowest - slipped.entry_price) / slipped.entry_price
        ELSE 100 * (slipped.entry_price - slipped.highest) / slipped.entry_price
    END AS mae_pct,
    CAST(date_diff('minute', slipped.entry_ts, slipped.exit_ts) AS BIGINT)
    + CASE WHEN slipped.at_open THEN 0 ELSE integer_in_range(bar_minutes, 1, 1440, called_by, 'bar_minutes') END AS minutes_held
FROM stockscan_slipped AS slipped
ORDER BY slipped.scan_date, slipped.symbol
