-- One fold of a walk-forward: the combination that was the best of all folds before, and what it came to in this one.
--
-- What somebody who optimised anew at the start of each fold would have had. The choice is made among combinations with min_trades trades in
-- the folds before, by the objective over these; on a tie it is the first of the grid. Where none has that many, the fold has no combination.
--
-- @inherit grid_results grid_performance performance sized_trades session_bars
-- @param folds INTEGER parts, 2 to 50 step 1: into how many parts of equal length the sessions are divided.
-- @column fold number of the fold, from 2.
-- @column train_first_date first session that was chosen by.
-- @column train_last_date last session that was chosen by.
-- @column first_date first session of the fold.
-- @column last_date last session of the fold.
-- @column combination number of the combination that was chosen; NULL: none had enough trades.
-- @column parameters STRUCT, its values.
-- @column train_objective value of the objective in the sessions that were chosen by.
-- @column objective value of the objective in the fold.
-- @column median_objective median of the objective in the fold over all combinations: what choosing was worth.
-- @column train_trades trades in the sessions that were chosen by.
-- @column trades trades in the fold.
-- @column hit_rate_pct %, winners of them.
-- @column mean_return_pct %, mean net return of them.
-- @column total_return_pct %, gain of the fold.
-- @column max_drawdown_pct %, lowest point below the highest before.
-- @column sharpe times, that of the fold.
-- @source Walk-forward: R. Pardo, Design, Testing, and Optimization of Trading Systems, 1992.
-- @example WITH trades AS (FROM grid_trades('breakout', '2024-11-19', '2025-01-15', {breakout_volume_ratio: [1, 2]})) FROM grid_walk_forward('trades', '2024-11-19', '2025-01-15')
CREATE MACRO grid_walk_forward(
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
    called_by := 'grid_walk_forward'
) AS TABLE
WITH stockscan_performances AS (
    SELECT performance.*
    FROM grid_performance(
        trades,
        start_date,
        end_date,
        folds := integer_in_range(folds, 2, 50, called_by, 'folds'),
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

stockscan_medians AS (
    SELECT judged.fold, median(judged.objective) AS objective, min(judged.first_date) AS first_date, max(judged.last_date) AS last_date
    FROM stockscan_judged AS judged
    WHERE judged.part = 'test'
    GROUP BY judged.fold
),

stockscan_trained AS (
    SELECT judged.fold, min(judged.first_date) AS first_date, max(judged.last_date) AS last_date
    FROM stockscan_judged AS judged
    WHERE judged.part = 'train'
    GROUP BY judged.fold
)

SELECT
    fold.fold,
    trained.first_date AS train_first_date,
    trained.last_date AS train_last_date,
    fold.first_date,
    fold.last_date,
    chosen.combination,
    test.parameters,
    train.objective AS train_objective,
    test.objective,
    fold.objective AS median_objective,
    train.trades AS train_trades,
    test.trades,
    test.hit_rate_pct,
    test.mean_return_pct,
    test.total_return_pct,
    test.max_drawdown_pct,
    test.sharpe
FROM stockscan_medians AS fold
JOIN stockscan_trained AS trained ON trained.fold = fold.fold
LEFT JOIN stockscan_chosen AS chosen ON chosen.fold = fold.fold
LEFT JOIN stockscan_judged AS train ON train.part = 'train' AND train.fold = fold.fold AND train.combination = chosen.combination
LEFT JOIN stockscan_judged AS test ON test.part = 'test' AND test.fold = fold.fold AND test.combination = chosen.combination
ORDER BY fold.fold
