-- The trades of a scanner's backtest that have something in common: an hour, a weekday, a month, a stock, a range of scores.
--
-- The trades are those of backtest() that were taken, each counting the same but for profit_factor and total_profit, which are of the
-- amounts. Hour, weekday and month are those of the entry. Of many buckets some look good by chance: the interval says how good.
--
-- @inherit backtest outcomes sized_trades session_bars
-- @param bucket VARCHAR one of hour, weekday, month, symbol, score_bucket, exit_reason: what the trades are put together by.
-- @column bucket the hour, the weekday, the month, the stock, ten points of the score (NULL without one), or how the trade ended.
-- @column trades trades in it.
-- @column winners trades with a net return above zero.
-- @column hit_rate_pct %, winners of trades.
-- @column hit_rate_lower_pct %, lower end of its Wilson interval of 95 %.
-- @column hit_rate_upper_pct %, upper end.
-- @column mean_return_pct %, mean net return.
-- @column median_return_pct %, median net return.
-- @column profit_factor times, profits of the winners over the losses of the others; NULL without a loss.
-- @column total_profit currency, sum of the profits.
-- @column mean_mfe_pct %, mean most favourable excursion.
-- @column mean_mae_pct %, mean most adverse excursion.
-- @example FROM backtest_by('breakout', '2025-01-06', '2025-01-15', 'weekday')
-- @example FROM backtest_by('breakout', '2025-01-06', '2025-01-15', 'score_bucket', params := {max_results_per_day: 20}, max_positions := 20)
CREATE MACRO backtest_by(
    scanner,
    start_date,
    end_date,
    bucket,
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
    called_by := 'backtest_by'
) AS TABLE
WITH scored AS (
    SELECT
        trade.*,
        -- 100 is the end of the last ten, not ten of its own; a scanner of your own may have no score.
        CASE
            WHEN trade.probability_score = 100 THEN 9
            WHEN isfinite(CAST(trade.probability_score AS DOUBLE)) THEN floor(trade.probability_score / 10)
        END AS tens
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

buckets AS (
    SELECT
        trade.*,
        CASE one_of(bucket, 'hour, weekday, month, symbol, score_bucket, exit_reason', called_by, 'bucket')
            WHEN 'hour' THEN strftime(trade.entry_ts, '%H:00')
            WHEN 'weekday' THEN dayname(trade.entry_ts)
            WHEN 'month' THEN strftime(trade.entry_ts, '%Y-%m')
            WHEN 'symbol' THEN trade.symbol
            WHEN 'score_bucket'
                THEN printf('%d to %d', CAST(10 * trade.tens AS BIGINT), CAST(10 * trade.tens + 10 AS BIGINT))
            ELSE trade.exit_reason
        END AS label,
        CASE one_of(bucket, 'hour, weekday, month, symbol, score_bucket, exit_reason', called_by, 'bucket')
            WHEN 'weekday' THEN isodow(trade.entry_ts)
            WHEN 'score_bucket' THEN trade.tens
            ELSE 0
        END AS place
    FROM scored AS trade
    WHERE trade.amount > 0
),

grouped AS (
    SELECT
        one_of_bucket.label,
        one_of_bucket.place,
        count(*) AS trades,
        count(*) FILTER (WHERE one_of_bucket.net_return_pct > 0) AS winners,
        list(one_of_bucket.net_return_pct ORDER BY one_of_bucket.net_return_pct) AS returns,
        list(one_of_bucket.profit ORDER BY one_of_bucket.profit) AS profits,
        list(one_of_bucket.mfe_pct ORDER BY one_of_bucket.mfe_pct) AS mfes,
        list(one_of_bucket.mae_pct ORDER BY one_of_bucket.mae_pct) AS maes
    FROM buckets AS one_of_bucket
    GROUP BY one_of_bucket.label, one_of_bucket.place
)

SELECT
    grouped.label AS bucket,
    grouped.trades,
    grouped.winners,
    100 * grouped.winners / grouped.trades AS hit_rate_pct,
    100 * wilson_interval(grouped.winners, grouped.trades).lower AS hit_rate_lower_pct,
    100 * wilson_interval(grouped.winners, grouped.trades).upper AS hit_rate_upper_pct,
    list_avg(grouped.returns) AS mean_return_pct,
    list_median(grouped.returns) AS median_return_pct,
    coalesce(list_sum(list_filter(grouped.profits, lambda profit: profit > 0)), 0)
    / nullif(-list_sum(list_filter(grouped.profits, lambda profit: profit <= 0)), 0) AS profit_factor,
    list_sum(grouped.profits) AS total_profit,
    list_avg(grouped.mfes) AS mean_mfe_pct,
    list_avg(grouped.maes) AS mean_mae_pct
FROM grouped
ORDER BY grouped.place, grouped.label
