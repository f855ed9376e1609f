-- One combination of a grid of parameters of a scanner: what its trades come to, and how much of that to believe.
--
-- Every combination is evaluated and returned, best first; statistics are those of backtest_summary() with its parameters. Of many combinations
-- the best looks better than it is, the more so the more were tried: read deflated_sharpe_ratio and out_of_sample_objective before the objective.
-- grid_trades() says what a grid costs; keep its trades in a table to ask more than this of them: grid_walk_forward(), grid_report() and
-- grid_parameters().
--
-- @inherit grid_trades grid_results backtest outcomes sized_trades session_bars
-- @column rank place by the objective; combinations with too few trades, or without a value, come last.
-- @column combination number of the combination, from 0, in the order of the grid.
-- @column parameters STRUCT, its values.
-- @column objective value of the objective over the whole range, which the combination may have been lucky in.
-- @column enough_trades whether there are min_trades of them.
-- @column deflated_sharpe_ratio probability, 0 to 1, that the true Sharpe ratio is above zero, given how many combinations were tried and how far theirs lie apart; below 0.95 is no evidence.
-- @column folds_chosen in how many folds of the walk-forward it was the best of the past.
-- @column out_of_sample_objective mean of the objective over the folds but the first, each by itself.
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
-- @column annual_return_pct %, the same for 252 sessions: compounded, or in proportion if profits are not compounded.
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
-- @source Deflated Sharpe ratio: D. H. Bailey and M. López de Prado, The Deflated Sharpe Ratio, Journal of Portfolio Management, 2014.
-- @example SELECT rank, parameters, trades, sharpe, deflated_sharpe_ratio FROM optimize('breakout', '2024-11-19', '2025-01-15', {breakout_volume_ratio: [1, 1.5, 2], resistance_break_pct: [0.2, 0.5, 1]})
-- @example FROM optimize('gap', '2024-11-19', '2025-01-15', {min_gap_pct: [0.5, 1], stop_loss_pct: [1, NULL]}, objective := 'sortino * ln(trades)', cost_bps := 3)
CREATE MACRO optimize(
    scanner,
    start_date,
    end_date,
    grid,
    params := NULL,
    objective := 'sharpe',
    folds := 4,
    min_trades := 10,
    samples := NULL,
    sampling := 'random',
    seed := 1,
    definition := NULL,
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
    called_by := 'optimize'
) AS TABLE
WITH stockscan_grid_trades AS (
    SELECT trade.*
    FROM grid_trades(
        scanner,
        start_date,
        end_date,
        grid,
        params := params,
        samples := samples,
        sampling := sampling,
        seed := seed,
        definition := definition,
        cutoff_time := cutoff_time,
        entry := entry,
        exit_time := exit_time,
        hold_sessions := hold_sessions,
        stop_loss_pct := stop_loss_pct,
        target_pct := target_pct,
        direction := direction,
        cost_bps := cost_bps,
        slippage_bps := slippage_bps,
        source := source,
        bar_minutes := bar_minutes,
        session_start := session_start,
        session_end := session_end,
        symbols := symbols,
        called_by := called_by
    ) AS trade
)

SELECT result.*
FROM grid_results(
    'stockscan_grid_trades',
    start_date,
    end_date,
    objective := objective,
    folds := folds,
    min_trades := min_trades,
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
) AS result
