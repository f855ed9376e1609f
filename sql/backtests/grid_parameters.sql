-- One value of one parameter of a grid: how the combinations that have it fare, and whether the walk-forward keeps coming back to it.
--
-- A parameter whose neighbouring values fare alike, and whose choice lasts from fold to fold, is stable; one whose best value stands alone, or
-- wanders, has been fitted to noise.
--
-- @inherit grid_results grid_performance performance sized_trades session_bars
-- @column parameter name of the parameter.
-- @column value one of its values, as text; NULL where the grid has NULL.
-- @column combinations combinations that have it.
-- @column mean_objective mean of the objective over them, for the whole range.
-- @column median_objective median of it.
-- @column best_objective highest of it.
-- @column out_of_sample_objective mean of the objective over them and the folds but the first, each by itself.
-- @column folds_chosen in how many folds the combination that was chosen has it.
-- @column folds_tested in how many folds one was chosen.
-- @example WITH trades AS (FROM grid_trades('breakout', '2024-11-19', '2025-01-15', {breakout_volume_ratio: [1, 2]})) FROM grid_parameters('trades', '2024-11-19', '2025-01-15')
CREATE MACRO grid_parameters(
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
    called_by := 'grid_parameters'
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

stockscan_values AS (
    SELECT
        judged.combination,
        unnest(map_entries(CAST(judged.parameters AS MAP(VARCHAR, VARCHAR)))) AS entry,
        unnest(range(len(map_entries(CAST(judged.parameters AS MAP(VARCHAR, VARCHAR)))))) AS place
    FROM stockscan_judged AS judged
    WHERE judged.part = 'whole'
),

stockscan_with_choices AS (
    SELECT judged.*, coalesce(judged.combination = chosen.combination, FALSE) AS is_chosen
    FROM stockscan_judged AS judged
    LEFT JOIN stockscan_chosen AS chosen ON judged.part = 'test' AND chosen.fold = judged.fold
)

SELECT
    value.entry.key AS parameter,
    value.entry.value AS value,
    count(*) FILTER (WHERE judged.part = 'whole') AS combinations,
    list_avg(list(judged.objective ORDER BY judged.combination) FILTER (WHERE judged.part = 'whole')) AS mean_objective,
    median(judged.objective) FILTER (WHERE judged.part = 'whole') AS median_objective,
    max(judged.objective) FILTER (WHERE judged.part = 'whole') AS best_objective,
    list_avg(list(judged.objective ORDER BY judged.fold, judged.combination) FILTER (WHERE judged.part = 'test')) AS out_of_sample_objective,
    count(*) FILTER (WHERE judged.is_chosen) AS folds_chosen,
    (SELECT count(*) FROM stockscan_chosen) AS folds_tested
FROM stockscan_values AS value
JOIN stockscan_with_choices AS judged ON judged.combination = value.combination
GROUP BY value.entry.key, value.entry.value, value.place
ORDER BY value.place, min(judged.combination)
