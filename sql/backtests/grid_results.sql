-- One combination of a grid: what its trades come to, and how much of that to believe.
--
-- Of many combinations the best looks better than it is, the more so the more were tried: read deflated_sharpe_ratio and
-- out_of_sample_objective before the objective. Every combination is there; statistics are those of backtest_summary().
--
-- @inherit grid_performance performance sized_trades session_bars
-- @param objective VARCHAR: what is best is highest in this: a column of backtest_summary(), or an expression of them such as sharpe * ln(trades).
-- @param folds INTEGER parts, 1 to 50 step 1: into how many parts of equal length the sessions are divided.
-- @param min_trades INTEGER trades, 1 or more step 1: a combination with fewer of them in the sessions that it is chosen by is not chosen.
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
-- @example WITH trades AS (FROM grid_trades('breakout', '2024-11-19', '2025-01-15', {breakout_volume_ratio: [1, 2]})) FROM grid_results('trades', '2024-11-19', '2025-01-15')
CREATE MACRO grid_results(
    trades,
    start_date,
    end_date,
    objective := 'sharpe',
    folds := 4,
    min_trades := 10,
    initial_capital := 100000,
    max_positions := 3,
    position_size := NULL,
    compounding := TRUE,
    source := 'bars',
    bar_minutes := 1,
    session_start := NULL,
    session_end := NULL,
    symbols := NULL,
    called_by := 'grid_results'
) AS TABLE
WITH stockscan_performances AS (
    SELECT performance.*
    FROM grid_performance(
        trades,
        start_date,
        end_date,
        folds := integer_in_range(folds, 1, 50, called_by, 'folds'),
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
    ) AS performance
),

stockscan_judged AS (
    SELECT judged.*
    FROM query(objective_query(objective, 'stockscan_performances', called_by)) AS judged
),

-- The best of each fold's past.
stockscan_chosen AS (
    SELECT judged.fold, arg_min(judged.combination, {objective: -judged.objective, combination: judged.combination}) AS combination
    FROM stockscan_judged AS judged
    WHERE
        judged.part = 'train'
        AND judged.objective IS NOT NULL
        AND judged.trades >= integer_in_range(min_trades, 1, NULL, called_by, 'min_trades')
    GROUP BY judged.fold
),

stockscan_trials AS (
    SELECT count(*) AS trials, list_var_samp(list(judged.sharpe / sqrt(252) ORDER BY judged.combination)) AS sharpe_variance
    FROM stockscan_judged AS judged
    WHERE judged.part = 'whole'
),

stockscan_tests AS (
    SELECT judged.combination, list_avg(list(judged.objective ORDER BY judged.fold)) AS objective
    FROM stockscan_judged AS judged
    WHERE judged.part = 'test'
    GROUP BY judged.combination
),

stockscan_choices AS (
    SELECT chosen.combination, count(*) AS folds_chosen
    FROM stockscan_chosen AS chosen
    GROUP BY chosen.combination
)

SELECT
    row_number() OVER (
        ORDER BY
            whole.trades < integer_in_range(min_trades, 1, NULL, called_by, 'min_trades'),
            whole.objective DESC NULLS LAST,
            whole.combination
    ) AS rank,
    whole.combination,
    whole.parameters,
    whole.objective,
    whole.trades >= integer_in_range(min_trades, 1, NULL, called_by, 'min_trades') AS enough_trades,
    deflated_sharpe_ratio(
        whole.sharpe / sqrt(252), trial.trials, coalesce(trial.sharpe_variance, 0), whole.sessions, whole.skewness, greatest(whole.kurtosis, 1)
    ) AS deflated_sharpe_ratio,
    coalesce(choice.folds_chosen, 0) AS folds_chosen,
    test.objective AS out_of_sample_objective,
    whole.first_date,
    whole.last_date,
    whole.sessions,
    whole.signals,
    whole.not_filled,
    whole.not_taken,
    whole.trades,
    whole.winners,
    whole.hit_rate_pct,
    whole.hit_rate_lower_pct,
    whole.hit_rate_upper_pct,
    whole.mean_return_pct,
    whole.median_return_pct,
    whole.mean_win_pct,
    whole.mean_loss_pct,
    whole.profit_factor,
    whole.expectancy,
    whole.total_profit,
    whole.final_equity,
    whole.total_return_pct,
    whole.annual_return_pct,
    whole.annual_volatility_pct,
    whole.sharpe,
    whole.sortino,
    whole.max_drawdown_pct,
    whole.longest_drawdown_sessions,
    whole.exposure_pct,
    whole.turnover,
    whole.skewness,
    whole.kurtosis,
    whole.best_session,
    whole.best_session_return_pct,
    whole.worst_session,
    whole.worst_session_return_pct,
    whole.best_symbol,
    whole.best_symbol_profit,
    whole.worst_symbol,
    whole.worst_symbol_profit,
    whole.mean_mfe_pct,
    whole.mean_mae_pct,
    whole.mean_minutes_held,
    whole.benchmark_return_pct,
    whole.benchmark_sharpe,
    whole.benchmark_max_drawdown_pct
FROM stockscan_judged AS whole
CROSS JOIN stockscan_trials AS trial
LEFT JOIN stockscan_tests AS test ON test.combination = whole.combination
LEFT JOIN stockscan_choices AS choice ON choice.combination = whole.combination
WHERE whole.part = 'whole'
ORDER BY
    whole.trades < integer_in_range(min_trades, 1, NULL, called_by, 'min_trades'),
    whole.objective DESC NULLS LAST,
    whole.combination
