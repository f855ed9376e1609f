-- Ten points of a scanner's score: how often its hits came to a gain, and how often a score of before said that they would.
--
-- All hits of the range that were filled count, whatever a portfolio would have had place for; give params that let enough of them through,
-- such as {max_results_per_day: 50, min_probability_score: 0}. A hit is a winner if its net return is above zero.
-- The sessions are divided into folds of equal length. For the hits of each fold but the first, the score is read as odds by the isotonic fit
-- (the rising steps that are nearest to what happened) of all hits before, those that were not closed before the fold began left out: that
-- is predicted_hit_rate_pct, which knew nothing of what it is set against, out_of_sample_hit_rate_pct. calibrated_hit_rate_pct is the fit of
-- all hits: the odds to read a score of today by, if the two before agree.
--
-- @inherit backtest outcomes session_bars
-- @param folds INTEGER parts, 2 to 50 step 1: into how many parts the sessions are divided.
-- @column score_from points, lowest score of the bucket.
-- @column score_to points, highest score, not included but for 100.
-- @column trades hits that were filled.
-- @column winners those with a net return above zero.
-- @column hit_rate_pct %, winners of trades.
-- @column hit_rate_lower_pct %, lower end of its Wilson interval of 95 %.
-- @column hit_rate_upper_pct %, upper end.
-- @column mean_return_pct %, mean net return.
-- @column calibrated_hit_rate_pct %, mean of the isotonic fit of all hits.
-- @column out_of_sample_trades hits that a fit of earlier folds was there for.
-- @column predicted_hit_rate_pct %, mean of those fits; NULL without such hits.
-- @column out_of_sample_hit_rate_pct %, winners of them.
-- @column out_of_sample_lower_pct %, lower end of its Wilson interval of 95 %.
-- @column out_of_sample_upper_pct %, upper end.
-- @source Isotonic calibration: B. Zadrozny and C. Elkan, Transforming Classifier Scores into Accurate Multiclass Probability Estimates, 2002.
-- @example FROM calibrate('breakout', '2024-11-19', '2025-01-15', params := {max_results_per_day: 20, min_probability_score: 0})
CREATE MACRO calibrate(
    scanner,
    start_date,
    end_date,
    params := NULL,
    folds := 4,
    cutoff_time := '09:50',
    entry := 'next_open',
    exit_time := '15:15',
    hold_sessions := 0,
    stop_loss_pct := NULL,
    target_pct := NULL,
    direction := 'long',
    cost_bps := 0,
    slippage_bps := 0,
    source := 'bars',
    bar_minutes := 1,
    session_start := NULL,
    session_end := NULL,
    symbols := NULL,
    called_by := 'calibrate'
) AS TABLE
WITH stockscan_found AS (
    SELECT
        trade.scan_date,
        CAST(trade.exit_ts AS DATE) AS exit_date,
        trade.symbol,
        CASE
            WHEN isfinite(CAST(trade.probability_score AS DOUBLE)) THEN CAST(trade.probability_score AS DOUBLE)
            ELSE error(
                printf(
                    '%s: probability_score of %s on %s is %s, expected a number',
                    called_by,
                    trade.symbol,
                    CAST(trade.scan_date AS VARCHAR),
                    coalesce(CAST(trade.probability_score AS VARCHAR), 'NULL')
                )
            )
        END AS score,
        CASE WHEN trade.net_return_pct > 0 THEN 1 ELSE 0 END AS won,
        trade.net_return_pct
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
                symbols: symbols
            },
            params,
            NULL,
            NULL
        )
    ) AS trade
    WHERE trade.entry_ts IS NOT NULL
),

session_dates AS (
    SELECT DISTINCT price.session_date
    FROM session_closes(
        session_date(start_date, called_by, 'start_date'),
        session_date(end_date, called_by, 'end_date'),
        source := source,
        bar_minutes := bar_minutes,
        session_start := session_start,
        session_end := session_end,
        symbols := symbols,
        called_by := called_by
    ) AS price
),

folds_of_sessions AS (
    SELECT
        session.session_date,
        (row_number() OVER by_date - 1) * integer_in_range(folds, 2, 50, called_by, 'folds') // count(*) OVER () AS fold
    FROM session_dates AS session
    WINDOW by_date AS (ORDER BY session.session_date)
),

fold_starts AS (
    SELECT session.fold, min(session.session_date) AS first_date
    FROM folds_of_sessions AS session
    GROUP BY session.fold
    UNION ALL
    -- After the last one everything is known.
    SELECT integer_in_range(folds, 2, 50, called_by, 'folds') AS fold, DATE '9999-12-31' AS first_date
),

-- What was known when a fold began, for each score once.
known AS (
    SELECT fold.fold, hit.score, avg(hit.won) AS hit_rate, count(*) AS hits
    FROM fold_starts AS fold
    JOIN stockscan_found AS hit ON hit.exit_date < fold.first_date
    GROUP BY fold.fold, hit.score
),

fits AS (
    SELECT
        known.fold,
        unnest(list(known.score ORDER BY known.score)) AS score,
        unnest(
            isotonic_fit(list(known.hit_rate ORDER BY known.score), list(CAST(known.hits AS DOUBLE) ORDER BY known.score))
        ) AS hit_rate
    FROM known
    GROUP BY known.fold
),

lowest AS (
    SELECT fit.fold, arg_min(fit.hit_rate, fit.score) AS hit_rate
    FROM fits AS fit
    GROUP BY fit.fold
),

-- By the fit of before its fold, and by that of everything.
asked AS (
    SELECT hit.*, session.fold AS fold, FALSE AS by_all
    FROM stockscan_found AS hit
    JOIN folds_of_sessions AS session ON session.session_date = hit.scan_date
    UNION ALL
    SELECT hit.*, integer_in_range(folds, 2, 50, called_by, 'folds') AS fold, TRUE AS by_all
    FROM stockscan_found AS hit
),

-- The fit is made of rising steps: a score has the highest value of those below it.
steps AS (
    SELECT fit.fold, fit.score, fit.hit_rate
    FROM fits AS fit
    UNION ALL
    SELECT DISTINCT asked.fold, asked.score, CAST(NULL AS DOUBLE) AS hit_rate
    FROM asked
),

predictions AS (
    SELECT DISTINCT step.fold, step.score, max(step.hit_rate) OVER by_score AS hit_rate
    FROM steps AS step
    WINDOW by_score AS (PARTITION BY step.fold ORDER BY step.score)
),

read_as_odds AS (
    SELECT asked.*, coalesce(prediction.hit_rate, lowest.hit_rate) AS predicted
    FROM asked
    JOIN predictions AS prediction ON prediction.fold = asked.fold AND prediction.score = asked.score
    LEFT JOIN lowest ON lowest.fold = asked.fold
),

buckets AS (
    SELECT
        CASE WHEN hit.score = 100 THEN 90 ELSE 10 * floor(hit.score / 10) END AS score_from,
        count(*) FILTER (WHERE hit.by_all) AS trades,
        count(*) FILTER (WHERE hit.by_all AND hit.won = 1) AS winners,
        list_avg(list(hit.net_return_pct ORDER BY hit.net_return_pct) FILTER (WHERE hit.by_all)) AS mean_return_pct,
        list_avg(list(hit.predicted ORDER BY hit.predicted) FILTER (WHERE hit.by_all)) AS calibrated,
        count(*) FILTER (WHERE NOT hit.by_all AND hit.predicted IS NOT NULL) AS later_trades,
        count(*) FILTER (WHERE NOT hit.by_all AND hit.predicted IS NOT NULL AND hit.won = 1) AS later_winners,
        list_avg(list(hit.predicted ORDER BY hit.predicted) FILTER (WHERE NOT hit.by_all AND hit.predicted IS NOT NULL)) AS predicted
    FROM read_as_odds AS hit
    GROUP BY CASE WHEN hit.score = 100 THEN 90 ELSE 10 * floor(hit.score / 10) END
)

SELECT
    bucket.score_from,
    bucket.score_from + 10 AS score_to,
    bucket.trades,
    bucket.winners,
    100 * bucket.winners / bucket.trades AS hit_rate_pct,
    100 * wilson_interval(bucket.winners, bucket.trades).lower AS hit_rate_lower_pct,
    100 * wilson_interval(bucket.winners, bucket.trades).upper AS hit_rate_upper_pct,
    bucket.mean_return_pct,
    100 * bucket.calibrated AS calibrated_hit_rate_pct,
    bucket.later_trades AS out_of_sample_trades,
    100 * bucket.predicted AS predicted_hit_rate_pct,
    100 * bucket.later_winners / nullif(bucket.later_trades, 0) AS out_of_sample_hit_rate_pct,
    100 * wilson_interval(bucket.later_winners, bucket.later_trades).lower AS out_of_sample_lower_pct,
    100 * wilson_interval(bucket.later_winners, bucket.later_trades).upper AS out_of_sample_upper_pct
FROM buckets AS bucket
ORDER BY bucket.score_from
