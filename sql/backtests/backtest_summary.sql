-- What a scanner's backtest comes to, in one row.
--
-- Statistics of trades are over those that were taken, each counting the same, but for profit_factor, expectancy and the best and worst symbol,
-- which are of the amounts. A trade is a winner if its net return is above zero. Ratios are of the returns of sessions, with trades or without,
-- times the root of 252, and without a riskless rate. What has no value, such as a ratio without any spread, is NULL.
-- The trades are those of backtest(), the sessions those of backtest_daily(). Without a session in the range there is no row.
--
-- @inherit backtest outcomes sized_trades session_bars
-- @column first_date first session.
-- @column last_date last session.
-- @column sessions sessions, with trades or without.
-- @column signals hits of the scanner.
-- @column not_filled of those without a bar to enter or to leave by.
-- @column not_taken of those that found no place or no capital in the portfolio.
-- @column trades of those that were taken.
-- @column winners trades with a net return above zero.
-- @column hit_rate_pct %, winners of trades.
-- @column hit_rate_lower_pct %, lower end of its Wilson interval of 95 %.
-- @column hit_rate_upper_pct %, upper end.
-- @column mean_return_pct %, mean net return of the trades.
-- @column median_return_pct %, median of it.
-- @column mean_win_pct %, mean net return of the winners.
-- @column mean_loss_pct %, mean net return of the others.
-- @column profit_factor times, profits of the winners over the losses of the others; NULL without a loss.
-- @column expectancy currency, mean profit of a trade.
-- @column total_profit currency, final equity less the initial capital.
-- @column final_equity currency, worth at the end.
-- @column total_return_pct %, total profit over the initial capital.
-- @column annual_return_pct %, the same for 252 sessions: compounded, or in proportion if profits are not compounded; NULL if beyond any number.
-- @column annual_volatility_pct %, standard deviation of the sessions' returns, times the root of 252.
-- @column sharpe times, mean over standard deviation of the sessions' returns, times the root of 252.
-- @column sortino times, mean over the root of the mean square of the sessions' losses, times the root of 252.
-- @column max_drawdown_pct %, lowest point below the highest before, 0 or less.
-- @column longest_drawdown_sessions most sessions in a row below the highest equity before them.
-- @column exposure_pct %, mean over the sessions of what was invested over the equity of the session before.
-- @column turnover times a year, what was put into trades over the mean equity, for 252 sessions.
-- @column skewness of the sessions' returns.
-- @column kurtosis of the sessions' returns; 3 for a normal distribution.
-- @column best_session date of the highest return, the earlier on a tie.
-- @column best_session_return_pct %, that return.
-- @column worst_session date of the lowest return, the earlier on a tie.
-- @column worst_session_return_pct %, that return.
-- @column best_symbol stock with the highest profit, the first by name on a tie.
-- @column best_symbol_profit currency, that profit.
-- @column worst_symbol stock with the lowest profit, the first by name on a tie.
-- @column worst_symbol_profit currency, that profit.
-- @column mean_mfe_pct %, mean most favourable excursion of the trades.
-- @column mean_mae_pct %, mean most adverse excursion.
-- @column mean_minutes_held minutes, mean time from entry to exit.
-- @column benchmark_return_pct %, what holding every symbol over the same sessions would have gained.
-- @column benchmark_sharpe times, its Sharpe ratio.
-- @column benchmark_max_drawdown_pct %, its lowest point below the highest before.
-- @example FROM backtest_summary('breakout', '2025-01-06', '2025-01-15', cost_bps := 3)
-- @example SELECT trades, hit_rate_pct, sharpe, benchmark_return_pct FROM backtest_summary('gap', '2025-01-06', '2025-01-15')
CREATE MACRO backtest_summary(
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
    called_by := 'backtest_summary'
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
),

stockscan_equity AS (
    SELECT day.*
    FROM equity_curve(
        'stockscan_portfolio',
        'stockscan_closes',
        'stockscan_run',
        initial_capital := initial_capital,
        compounding := compounding,
        called_by := called_by
    ) AS day
)

SELECT
    summary.first_date,
    summary.last_date,
    summary.sessions,
    summary.signals,
    summary.not_filled,
    summary.not_taken,
    summary.trades,
    summary.winners,
    summary.hit_rate_pct,
    summary.hit_rate_lower_pct,
    summary.hit_rate_upper_pct,
    summary.mean_return_pct,
    summary.median_return_pct,
    summary.mean_win_pct,
    summary.mean_loss_pct,
    summary.profit_factor,
    summary.expectancy,
    summary.total_profit,
    summary.final_equity,
    summary.total_return_pct,
    summary.annual_return_pct,
    summary.annual_volatility_pct,
    summary.sharpe,
    summary.sortino,
    summary.max_drawdown_pct,
    summary.longest_drawdown_sessions,
    summary.exposure_pct,
    summary.turnover,
    summary.skewness,
    summary.kurtosis,
    summary.best_session,
    summary.best_session_return_pct,
    summary.worst_session,
    summary.worst_session_return_pct,
    summary.best_symbol,
    summary.best_symbol_profit,
    summary.worst_symbol,
    summary.worst_symbol_profit,
    summary.mean_mfe_pct,
    summary.mean_mae_pct,
    summary.mean_minutes_held,
    summary.benchmark_return_pct,
    summary.benchmark_sharpe,
    summary.benchmark_max_drawdown_pct
FROM performance(
    'stockscan_portfolio', 'stockscan_equity', initial_capital := initial_capital, compounding := compounding, called_by := called_by
) AS summary
