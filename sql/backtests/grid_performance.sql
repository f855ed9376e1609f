-- What the trades of one combination of a grid come to, over the whole range or over a part of it.
--
-- The parts are those of a walk-forward: the sessions are divided into folds of equal length, and for each fold but the first there is a part
-- train, the folds before it, and a part test, the fold. A part is a backtest of its own, with the whole initial capital at its start. A trade
-- belongs to the part of its signal; one that was not closed before the fold to be tested began is left out of its train part, since how it
-- would end was not known.
--
-- @inherit performance sized_trades session_bars
-- @param trades VARCHAR: the relation with the trades, as grid_trades() gives them: a table is best, since each function reads it anew.
-- @param start_date DATE: first session, that of the trades.
-- @param end_date DATE: last session, that of the trades.
-- @param folds INTEGER parts, 1 to 50 step 1: into how many parts of equal length the sessions are divided.
-- @column combination number of the combination.
-- @column parameters STRUCT, its values.
-- @column part whole, train or test.
-- @column fold the fold to be tested, from 2; 0 for the whole range.
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
-- @column session_returns list of the sessions' returns in %, in their order.
-- @example WITH trades AS (FROM grid_trades('breakout', '2025-01-06', '2025-01-15', {breakout_volume_ratio: [1, 2]})) FROM grid_performance('trades', '2025-01-06', '2025-01-15', folds := 2)
CREATE MACRO grid_performance(
    trades,
    start_date,
    end_date,
    folds := 1,
    initial_capital := 100000,
    max_positions := 3,
    position_size := NULL,
    compounding := TRUE,
    source := 'bars',
    bar_minutes := 1,
    session_start := NULL,
    session_end := NULL,
    symbols := NULL,
    called_by := 'grid_performance'
) AS TABLE
WITH stockscan_combinations AS (
    SELECT trade.combination, any_value(trade.parameters) AS parameters
    FROM query_table(trades) AS trade
    GROUP BY trade.combination
),

stockscan_closes AS (
    SELECT price.*
    FROM session_closes(
        session_date(start_date, called_by, 'start_date'),
        -- As far as a trade can last.
        session_date(end_date, called_by, 'end_date') + 520,
        source := source,
        bar_minutes := bar_minutes,
        session_start := session_start,
        session_end := session_end,
        symbols := symbols,
        called_by := called_by
    ) AS price
),

stockscan_session_dates AS (
    SELECT DISTINCT price.session_date
    FROM stockscan_closes AS price
    WHERE
        price.session_date <= session_date(end_date, called_by, 'end_date')
        AND in_order(start_date, end_date, called_by, 'start_date', 'end_date')
),

stockscan_folds AS (
    SELECT folded.fold, min(folded.session_date) AS first_date, max(folded.session_date) AS last_date
    FROM (
        SELECT
            session.session_date,
            1
            + (row_number() OVER by_date - 1)
            -- Of fewer sessions than folds each is one.
            * least(integer_in_range(folds, 1, 50, called_by, 'folds'), count(*) OVER ())
            // count(*) OVER () AS fold
        FROM stockscan_session_dates AS session
        WINDOW by_date AS (ORDER BY session.session_date)
    ) AS folded
    GROUP BY folded.fold
),

stockscan_parts AS (
    SELECT 0 AS part, 'whole' AS name, 0 AS fold, min(fold.first_date) AS first_date, max(fold.last_date) AS last_date
    FROM stockscan_folds AS fold
    UNION ALL
    SELECT 2 * tested.fold, 'train', tested.fold, min(fold.first_date), max(fold.last_date)
    FROM stockscan_folds AS tested
    JOIN stockscan_folds AS fold ON fold.fold < tested.fold
    GROUP BY tested.fold
    UNION ALL
    SELECT 2 * tested.fold + 1, 'test', tested.fold, tested.first_date, tested.last_date
    FROM stockscan_folds AS tested
    WHERE tested.fold > 1
),

stockscan_runs AS (
    SELECT 1000 * combination.combination + part.part AS run, combination.combination, combination.parameters, part.*
    FROM stockscan_combinations AS combination
    CROSS JOIN stockscan_parts AS part
),

stockscan_part_trades AS (
    SELECT
        1000 * trade.combination + part.part AS run,
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
        trade.minutes_held
    FROM query_table(trades) AS trade
    JOIN stockscan_parts AS part ON trade.scan_date >= part.first_date AND trade.scan_date <= part.last_date
    WHERE part.name != 'train' OR trade.exit_ts IS NULL OR CAST(trade.exit_ts AS DATE) <= part.last_date
),

stockscan_portfolios AS (
    SELECT trade.*
    FROM sized_trades(
        'stockscan_part_trades',
        initial_capital := initial_capital,
        max_positions := max_positions,
        position_size := position_size,
        compounding := compounding,
        called_by := called_by
    ) AS trade
),

stockscan_equity AS (
    SELECT day.*
    FROM equity_curve(
        'stockscan_portfolios',
        'stockscan_closes',
        'stockscan_runs',
        initial_capital := initial_capital,
        compounding := compounding,
        called_by := called_by
    ) AS day
)

SELECT
    one_run.combination,
    one_run.parameters,
    one_run.name AS part,
    one_run.fold,
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
    summary.benchmark_max_drawdown_pct,
    summary.session_returns
FROM performance(
    'stockscan_portfolios', 'stockscan_equity', initial_capital := initial_capital, compounding := compounding, called_by := called_by
) AS summary
JOIN stockscan_runs AS one_run ON one_run.run = summary.run
