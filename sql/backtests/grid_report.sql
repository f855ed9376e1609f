-- What a grid's best combination is worth, in one row: whether it is more than the luck of the best of many.
--
-- The verdict is no evidence if the best combination has fewer than min_trades trades, if its deflated Sharpe ratio is below 0.95, or if the
-- walk-forward lost money out of sample; weak evidence if the probability of backtest overfitting is above 0.2, or not known, or if there were
-- fewer than min_trades trades out of sample; else evidence. It is of these sessions only: no number here knows whether the market stays as it was, and a range that was looked at before
-- choosing the grid is no longer out of sample. The out-of-sample trades are put together into one portfolio that lasts over all folds but the
-- first.
--
-- @inherit grid_results grid_performance performance sized_trades session_bars
-- @param folds INTEGER parts, 2 to 50 step 1: into how many parts of equal length the sessions are divided.
-- @column combinations combinations that were tried.
-- @column sessions sessions of the range.
-- @column combination number of the best combination over the whole range.
-- @column parameters STRUCT, its values.
-- @column objective its objective over the whole range: in sample.
-- @column trades its trades.
-- @column sharpe times, its Sharpe ratio.
-- @column expected_maximum_sharpe times, the Sharpe ratio that the best of as many combinations has without any skill, given how far theirs lie apart.
-- @column deflated_sharpe_ratio probability, 0 to 1, that its true Sharpe ratio is above zero, though it was the best of so many.
-- @column probability_of_backtest_overfitting 0 to 1, how often the best of one half of the sessions was no better than the median in the other half; NULL with fewer sessions than 16 or one combination.
-- @column out_of_sample_trades trades of the combinations that the walk-forward chose, in the folds that these were not chosen by.
-- @column out_of_sample_hit_rate_pct %, winners of them.
-- @column out_of_sample_mean_return_pct %, mean net return of them.
-- @column out_of_sample_total_return_pct %, gain of a portfolio of them.
-- @column out_of_sample_max_drawdown_pct %, its lowest point below the highest before.
-- @column out_of_sample_sharpe times, its Sharpe ratio.
-- @column benchmark_return_pct %, what holding every symbol over the folds but the first would have gained.
-- @column verdict evidence, weak evidence or no evidence.
-- @column reason why.
-- @source Deflated Sharpe ratio: D. H. Bailey and M. López de Prado, The Deflated Sharpe Ratio, Journal of Portfolio Management, 2014.
-- @source Probability of backtest overfitting: D. H. Bailey, J. M. Borwein, M. López de Prado and Q. J. Zhu, The Probability of Backtest Overfitting, Journal of Computational Finance, 2015.
-- @example WITH trades AS (FROM grid_trades('breakout', '2024-11-19', '2025-01-15', {breakout_volume_ratio: [1, 2]})) FROM grid_report('trades', '2024-11-19', '2025-01-15')
CREATE MACRO grid_report(
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
    called_by := 'grid_report'
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

stockscan_trials AS (
    SELECT
        count(*) AS trials,
        max(judged.sessions) AS sessions,
        list_var_samp(list(judged.sharpe / sqrt(252) ORDER BY judged.combination)) AS sharpe_variance,
        arg_min(
            judged.combination,
            {
                too_few: judged.trades < integer_in_range(min_trades, 1, NULL, called_by, 'min_trades'),
                objective: -judged.objective,
                combination: judged.combination
            }
        ) FILTER (WHERE judged.objective IS NOT NULL) AS best,
        -- Exits may lie behind the last session, and more of one combination than of another.
        min(len(judged.session_returns)) AS common_sessions
    FROM stockscan_judged AS judged
    WHERE judged.part = 'whole'
),

stockscan_overfitting AS (
    SELECT
        probability_of_backtest_overfitting(
            flatten(list(list_slice(judged.session_returns, 1, trial.common_sessions) ORDER BY judged.combination)), count(*), 16
        ) AS probability
    FROM stockscan_judged AS judged
    CROSS JOIN stockscan_trials AS trial
    WHERE judged.part = 'whole'
),

stockscan_tested AS (
    SELECT judged.fold, chosen.combination, judged.first_date, lead(judged.first_date) OVER by_fold AS next_date
    FROM (
        SELECT one_test.fold, min(one_test.first_date) AS first_date
        FROM stockscan_judged AS one_test
        WHERE one_test.part = 'test'
        GROUP BY one_test.fold
    ) AS judged
    LEFT JOIN stockscan_chosen AS chosen ON chosen.fold = judged.fold
    WINDOW by_fold AS (ORDER BY judged.fold)
),

stockscan_stitched AS (
    SELECT
        0 AS run,
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
    JOIN stockscan_tested AS tested
        ON tested.combination = trade.combination
        AND trade.scan_date >= tested.first_date
        AND trade.scan_date < coalesce(tested.next_date, session_date(end_date, called_by, 'end_date') + 1)
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

stockscan_stitched_run AS (
    SELECT 0 AS run, min(tested.first_date) AS first_date, session_date(end_date, called_by, 'end_date') AS last_date
    FROM stockscan_tested AS tested
),

stockscan_portfolio AS (
    SELECT trade.*
    FROM sized_trades(
        'stockscan_stitched',
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
        'stockscan_portfolio',
        'stockscan_closes',
        'stockscan_stitched_run',
        initial_capital := initial_capital,
        compounding := compounding,
        called_by := called_by
    ) AS day
),

stockscan_out_of_sample AS (
    SELECT summary.*
    FROM performance(
        'stockscan_portfolio', 'stockscan_equity', initial_capital := initial_capital, compounding := compounding, called_by := called_by
    ) AS summary
),

stockscan_numbers AS (
    SELECT
        trial.trials AS combinations,
        trial.sessions,
        best.combination,
        best.parameters,
        best.objective,
        best.trades,
        best.sharpe,
        expected_maximum_sharpe(nullif(trial.trials, 0), coalesce(trial.sharpe_variance, 0)) * sqrt(252) AS expected_maximum_sharpe,
        deflated_sharpe_ratio(
            best.sharpe / sqrt(252), nullif(trial.trials, 0), coalesce(trial.sharpe_variance, 0), best.sessions, best.skewness, greatest(best.kurtosis, 1)
        ) AS deflated_sharpe_ratio,
        overfitting.probability AS probability_of_backtest_overfitting,
        later.trades AS out_of_sample_trades,
        later.hit_rate_pct AS out_of_sample_hit_rate_pct,
        later.mean_return_pct AS out_of_sample_mean_return_pct,
        later.total_return_pct AS out_of_sample_total_return_pct,
        later.max_drawdown_pct AS out_of_sample_max_drawdown_pct,
        later.sharpe AS out_of_sample_sharpe,
        later.benchmark_return_pct
    FROM stockscan_trials AS trial
    CROSS JOIN stockscan_overfitting AS overfitting
    LEFT JOIN stockscan_judged AS best ON best.part = 'whole' AND best.combination = trial.best
    LEFT JOIN stockscan_out_of_sample AS later ON later.run = 0
),

stockscan_reasons AS (
    SELECT
        number.*,
        CASE
            WHEN number.combinations = 0 THEN 'there is no combination, or no session'
            WHEN number.combination IS NULL THEN 'no combination has a value of the objective'
            WHEN number.trades < integer_in_range(min_trades, 1, NULL, called_by, 'min_trades')
                THEN printf('the best combination has %d trades, fewer than %d', number.trades, integer_in_range(min_trades, 1, NULL, called_by, 'min_trades'))
            WHEN number.deflated_sharpe_ratio IS NULL THEN 'the Sharpe ratio of the best combination has no value'
            WHEN number.deflated_sharpe_ratio < 0.95
                THEN printf(
                    'the deflated Sharpe ratio is %.2f: the best of %d combinations may look like this by chance',
                    number.deflated_sharpe_ratio,
                    number.combinations
                )
            WHEN coalesce(number.out_of_sample_total_return_pct, 0) <= 0
                THEN printf('the walk-forward gained %.2f %% out of sample', coalesce(number.out_of_sample_total_return_pct, 0))
        END AS against,
        CASE
            WHEN number.probability_of_backtest_overfitting IS NULL
                THEN 'the probability of backtest overfitting is not known: it takes 16 sessions and two combinations'
            WHEN number.probability_of_backtest_overfitting > 0.2
                THEN printf('the probability of backtest overfitting is %.2f', number.probability_of_backtest_overfitting)
            WHEN coalesce(number.out_of_sample_trades, 0) < integer_in_range(min_trades, 1, NULL, called_by, 'min_trades')
                THEN printf('there were %d trades out of sample, fewer than %d', coalesce(number.out_of_sample_trades, 0), integer_in_range(min_trades, 1, NULL, called_by, 'min_trades'))
        END AS but
    FROM stockscan_numbers AS number
)

SELECT
    reason.combinations,
    reason.sessions,
    reason.combination,
    reason.parameters,
    reason.objective,
    reason.trades,
    reason.sharpe,
    reason.expected_maximum_sharpe,
    reason.deflated_sharpe_ratio,
    reason.probability_of_backtest_overfitting,
    reason.out_of_sample_trades,
    reason.out_of_sample_hit_rate_pct,
    reason.out_of_sample_mean_return_pct,
    reason.out_of_sample_total_return_pct,
    reason.out_of_sample_max_drawdown_pct,
    reason.out_of_sample_sharpe,
    reason.benchmark_return_pct,
    CASE WHEN reason.against IS NOT NULL THEN 'no evidence' WHEN reason.but IS NOT NULL THEN 'weak evidence' ELSE 'evidence' END AS verdict,
    coalesce(
        reason.against,
        reason.but,
        printf(
            'the deflated Sharpe ratio is %.2f, the probability of backtest overfitting %.2f, and the walk-forward gained %.2f %% out of sample',
            reason.deflated_sharpe_ratio,
            reason.probability_of_backtest_overfitting,
            reason.out_of_sample_total_return_pct
        )
    ) AS reason
FROM stockscan_reasons AS reason
