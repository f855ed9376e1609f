-- The breakout scan with the sessions before the first scanned one folded by themselves: nobody asks for their open and price as of the
-- cutoff. One session or a range.
WITH sessions AS (
    SELECT
        symbol,
        CAST(ts AS DATE) AS session_date,
        CAST(NULL AS DOUBLE) AS open,
        CAST(NULL AS DOUBLE) AS price,
        CAST(coalesce(sum(volume) FILTER (WHERE ts <= CAST(ts AS DATE) + CAST($latest_start AS TIME)), 0) AS BIGINT) AS volume,
        max(high) AS whole_high,
        min(low) AS whole_low,
        arg_max(close, ts) AS whole_close
    FROM bars
    WHERE
        ts >= CAST($scan_date AS DATE) - (2 * $consolidation_period + 10)
        AND ts < CAST($scan_date AS DATE)
        AND symbol IS NOT NULL
        AND open > 0 AND open < CAST('Infinity' AS DOUBLE)
        AND low > 0 AND high >= low AND high < CAST('Infinity' AS DOUBLE)
        AND close > 0 AND close < CAST('Infinity' AS DOUBLE)
        AND volume >= 0
    GROUP BY symbol, session_date
    UNION ALL
    SELECT
        symbol,
        CAST(ts AS DATE) AS session_date,
        arg_min(open, ts) FILTER (WHERE ts <= CAST(ts AS DATE) + CAST($latest_start AS TIME)) AS open,
        arg_max(close, ts) FILTER (WHERE ts <= CAST(ts AS DATE) + CAST($latest_start AS TIME)) AS price,
        CAST(coalesce(sum(volume) FILTER (WHERE ts <= CAST(ts AS DATE) + CAST($latest_start AS TIME)), 0) AS BIGINT) AS volume,
        max(high) AS whole_high,
        min(low) AS whole_low,
        arg_max(close, ts) AS whole_close
    FROM bars
    WHERE
        ts >= CAST($scan_date AS DATE)
        AND ts <= CAST($end_date AS DATE) + CAST($latest_start AS TIME)
        AND symbol IS NOT NULL
        AND open > 0 AND open < CAST('Infinity' AS DOUBLE)
        AND low > 0 AND high >= low AND high < CAST('Infinity' AS DOUBLE)
        AND close > 0 AND close < CAST('Infinity' AS DOUBLE)
        AND volume >= 0
    GROUP BY symbol, session_date
),

baselines AS (
    SELECT
        *,
        max(whole_high) OVER earlier AS resistance,
        min(whole_low) OVER earlier AS support,
        avg(whole_close) OVER earlier AS baseline_close,
        avg(volume) OVER earlier AS baseline_volume,
        count(*) OVER earlier AS baseline_sessions,
        min(session_date) OVER earlier AS baseline_start
    FROM sessions
    WINDOW earlier AS (PARTITION BY symbol ORDER BY session_date ROWS BETWEEN $consolidation_period PRECEDING AND 1 PRECEDING)
),

evidence AS (
    SELECT
        session_date,
        symbol,
        price,
        resistance,
        support,
        100 * (price / resistance - 1) AS breakout_pct,
        100 * (resistance - support) / baseline_close AS consolidation_range_pct,
        volume / baseline_volume AS volume_ratio,
        100 * (price / open - 1) AS change_pct,
        volume
    FROM baselines
    WHERE
        session_date >= CAST($scan_date AS DATE)
        AND price BETWEEN $min_price AND $max_price
        AND volume >= $min_volume
        AND baseline_sessions = $consolidation_period
        AND baseline_start >= session_date - (2 * $consolidation_period + 10)
        AND baseline_volume > 0
),

scored AS (
    SELECT
        *,
        50 * least(breakout_pct / 2, 1) + 30 * least(volume_ratio / 3, 1) + 20 * least(greatest(change_pct, 0) / 2, 1) AS probability_score
    FROM evidence
    WHERE breakout_pct >= $resistance_break_pct AND volume_ratio >= $breakout_volume_ratio
)

SELECT
    *,
    row_number() OVER (PARTITION BY session_date ORDER BY probability_score DESC, breakout_pct DESC, symbol) AS rank
FROM scored
WHERE probability_score >= $min_probability_score
QUALIFY rank <= $max_results_per_day
ORDER BY session_date, rank
