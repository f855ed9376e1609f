-- One session of a scanner's backtest: what its trades gained, and what the portfolio is worth at the end.
--
-- The trades are those of backtest(), the sessions all of the range, with trades or without, and those until the last exit; valued as
-- equity_curve() says.
--
-- @inherit backtest outcomes sized_trades session_bars
-- @column session_date date of the session.
-- @column entered trades that were entered.
-- @column positions trades that were open at some time of the session.
-- @column invested currency, what was put into those.
-- @column profit currency, gain of the session.
-- @column equity currency, worth at the end of the session.
-- @column return_pct %, gain over the equity before; over the initial capital if profits are not compounded.
-- @column drawdown_pct %, how far the equity is below its highest so far, 0 or less.
-- @column benchmark_equity currency, worth of the benchmark at the end of the session: every symbol, bought at its first bar of the range and held.
-- @column benchmark_return_pct %, gain of the benchmark over its worth before.
-- @column benchmark_drawdown_pct %, how far the benchmark is below its highest so far, 0 or less.
-- @example FROM backtest_daily('breakout', '2025-01-06', '2025-01-15', cost_bps := 3)
CREATE MACRO backtest_daily(
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
    called_by := 'backtest_daily'
) AS TABLE
WITH stockscan_portfolio AS (
    SELECT 0 AS run, trade.*
    FROM backtest(
        scanner,
        start_date,
        end_date,
        params := params,
        cutoff_time := cutoff_time,
        entry := entry,
        exit_time := exit_time,
        hold_sessions := hold_sessions,
        stop_loss_pct := stop_loss_pct,
        target_pct := target_pct,
        direction := direction,
        cost_bps := cost_bps,
        slippage_bps := slippage_bps,
        initial_capital := initial_capital,
        max_positions := max_positions,
        position_size := position_size,
        compounding := compounding,
        source := source,
        bar_minutes := bar_minutes,
        session_start := session_start,
        session_end := session_end,
        symbols := symbols,
        called_by := called_by
    ) AS trade
),

stockscan_closes AS (
    SELECT price.*
    FROM session_closes(
        session_date(start_date, called_by, 'start_date'),
        -- As far as a trade can last.
        least(
            session_date(end_date, called_by, 'end_date')
            + CAST(20 + 2 * integer_in_range(hold_sessions, 0, 250, called_by, 'hold_sessions') AS INTEGER),
            DATE '2261-12-31'
        ),
        source := source,
        bar_minutes := bar_minutes,
        session_start := session_start,
        session_end := session_end,
        symbols := symbols,
        called_by := called_by
    ) AS price
),

stockscan_run AS (
    SELECT
        0 AS run,
        session_date(start_date, called_by, 'start_date') AS first_date,
        session_date(end_date, called_by, 'end_date') AS last_date
)

SELECT
    day.session_date,
    day.entered,
    day.positions,
    day.invested,
    day.profit,
    day.equity,
    day.return_pct,
    day.drawdown_pct,
    day.benchmark_equity,
    day.benchmark_return_pct,
    day.benchmark_drawdown_pct
FROM equity_curve(
    'stockscan_portfolio',
    'stockscan_closes',
    'stockscan_run',
    initial_capital := initial_capital,
    compounding := compounding,
    called_by := called_by
) AS day
ORDER BY day.session_date
