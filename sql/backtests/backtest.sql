-- One trade of a scanner over a range of sessions: what it found, what became of it, what it weighed in a portfolio.
--
-- The scanner is run at the cutoff of each session of the range, in one statement, its hits are entered at the open of the next bar and
-- closed as outcomes() says, and put into a portfolio as sized_trades() says. Rows are ordered by entry; a hit that could not be entered is
-- there as not_filled, one that the portfolio had no place for with the amount 0. Nothing that was not known at the cutoff decides about a
-- trade; but parameters that were chosen by looking at these results know them.
--
-- @inherit outcomes sized_trades session_bars
-- @param scanner VARCHAR: name of a scanner as scanners() lists it, built in or your own.
-- @param start_date DATE: first session.
-- @param end_date DATE: last session. Trades may be closed later.
-- @param params STRUCT: parameters of the scanner, such as {min_price: 100, max_results_per_day: 5}. NULL: its defaults.
-- @column scan_date date of the signal.
-- @column symbol name of the stock.
-- @column probability_score points, score of the signal.
-- @column rank place of the signal within its session.
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
-- @column minutes_held minutes of the clock from the entry to the exit.
-- @column amount currency, what was put into it; 0: not taken, or not filled.
-- @column profit currency, what it gained: amount · net return.
-- @example FROM backtest('breakout', '2025-01-06', '2025-01-15')
-- @example FROM backtest('gap', '2025-01-06', '2025-01-15', params := {min_gap_pct: 2, direction: 'long'}, stop_loss_pct := 1, cost_bps := 5)
CREATE MACRO backtest(
    scanner,
    start_date,
    end_date,
    params := NULL,
    cutoff_time := '09:50',
    entry := 'next_open',
    exit_time := '15:15',
    hold_sessions := 0,
    stop_loss_pct := NULL,
    target_pct := NULL,
    direction := 'long',
    cost_bps := 0,
    slippage_bps := 0,
    initial_capital := 100000,
    max_positions := 3,
    position_size := NULL,
    compounding := TRUE,
    source := 'bars',
    bar_minutes := 1,
    session_start := NULL,
    session_end := NULL,
    symbols := NULL,
    called_by := 'backtest'
) AS TABLE
WITH stockscan_found AS (
    SELECT 0 AS run, found.*
    FROM query(
        trade_query(
            {
                'function': called_by,
                scanner: scanner,
                start_date: CASE
                    WHEN in_order(start_date, end_date, called_by, 'start_date', 'end_date') THEN session_date(start_date, called_by, 'start_date')
                END,
                end_date: session_date(end_date, called_by, 'end_date'),
                cutoff_time: cutoff_time,
                entry: entry,
                exit_time: exit_time,
                hold_sessions: hold_sessions,
                stop_loss_pct: stop_loss_pct,
                target_pct: target_pct,
                direction: direction,
                cost_bps: cost_bps,
                slippage_bps: slippage_bps,
                source: source,
                bar_minutes: bar_minutes,
                session_start: session_start,
                session_end: session_end,
                symbols: symbols,
                -- For those who look for them among the parameters of the scanner.
                initial_capital: initial_capital,
                max_positions: max_positions,
                position_size: position_size,
                compounding: compounding
            },
            params,
            NULL,
            NULL
        )
    ) AS found
)

SELECT
    trade.scan_date,
    trade.symbol,
    trade.probability_score,
    trade.rank,
    trade.direction,
    trade.entry_ts,
    trade.entry_price,
    trade.exit_ts,
    trade.exit_price,
    trade.exit_reason,
    trade.gross_return_pct,
    trade.net_return_pct,
    trade.mfe_pct,
    trade.mae_pct,
    trade.minutes_held,
    trade.amount,
    trade.profit
FROM sized_trades(
    'stockscan_found',
    initial_capital := initial_capital,
    max_positions := max_positions,
    position_size := position_size,
    compounding := compounding,
    called_by := called_by
) AS trade
ORDER BY trade.entry_ts, trade.scan_date, trade.rank, trade.symbol
