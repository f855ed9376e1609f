-- The breakout scan of one session, with a shortcut: the scanned session and the day before it are read first, and a symbol whose price is
-- not above the latter's high cannot be above its resistance. The history is read for the few symbols that are left. Only for one session:
-- over a range nearly every symbol is left on some day.
WITH today AS MATERIALIZED (
    SELECT symbol, arg_min(open, ts) AS open, arg_max(close, ts) AS price, CAST(sum(volume) AS BIGINT) AS volume
    FROM bars
    WHERE
        ts >= CAST($scan_date AS DATE)
        AND ts <= CAST($end_date AS DATE) + CAST($latest_start AS TIME)
        AND symbol IS NOT NULL
        AND open > 0 AND open < CAST('Infinity' AS DOUBLE)
        AND low > 0 AND high >= low AND high < CAST('Infinity' AS DOUBLE)
        AND close > 0 AND close < CAST('Infinity' AS DOUBLE)
        AND volume >= 0
    GROUP BY symbol
    HAVING price BETWEEN $min_price AND $max_price AND sum(volume) >= $min_volume
),

-- A day with a bar is the symbol's latest session before the scanned one, so it is in the baseline.
day_before AS (
    SELECT symbol, max(high) AS high
    FROM bars
    WHERE
        ts >= CAST($scan_date AS DATE) - 1
        AND ts < CAST($scan_date AS DATE)
        AND symbol IS NOT NULL
        AND open > 0 AND open < CAST('Infinity' AS DOUBLE)
        AND low > 0 AND high >= low AND high < CAST('Infinity' AS DOUBLE)
        AND close > 0 AND close < CAST('Infinity' AS DOUBLE)
        AND volume >= 0
    GROUP BY symbol
),

below AS (
    SELECT today.symbol
    FROM today
    INNER JOIN day_before ON day_before.symbol = today.symbol
    WHERE 100 * (today.price / day_before.high - 1) < $resistance_break_pct
),

shortlist AS MATERIALIZED (
    SELECT symbol FROM today WHERE symbol NOT IN (SELECT symbol FROM below)
),

-- Most symbols have their sessions in the latest three quarters of the days that are allowed; only the others need the rest.
recent AS MATERIALIZED (
    SELECT
        symbol,
        CAST(ts AS DATE) AS session_date,
        max(high) AS high,
        min(low) AS low,
        arg_max(close, ts) AS close,
        coalesce(sum(volume) FILTER (WHERE ts <= CAST(ts AS DATE) + CAST($latest_start AS TIME)), 0) AS volume
    FROM bars
    WHERE
        ts >= CAST($scan_date AS DATE) - (3 * $consolidation_period // 2 + 4)
        AND ts < CAST($scan_date AS DATE)
        AND symbol IS NOT NULL
        AND open > 0 AND open < CAST('Infinity' AS DOUBLE)
        AND low > 0 AND high >= low AND high < CAST('Infinity' AS DOUBLE)
        AND close > 0 AND close < CAST('Infinity' AS DOUBLE)
        AND volume >= 0
        AND symbol IN (SELECT symbol FROM shortlist)
    GROUP BY symbol, session_date
),

earlier AS (
    SELECT
        symbol,
        CAST(ts AS DATE) AS session_date,
        max(high) AS high,
        min(low) AS low,
        arg_max(close, ts) AS close,
        coalesce(sum(volume) FILTER (WHERE ts <= CAST(ts AS DATE) + CAST($latest_start AS TIME)), 0) AS volume
    FROM bars
    WHERE
        ts >= CAST($scan_date AS DATE) - (2 * $consolidation_period + 10)
        AND ts < CAST($scan_date AS DATE) - (3 * $consolidation_period // 2 + 4)
        AND symbol IS NOT NULL
        AND open > 0 AND open < CAST('Infinity' AS DOUBLE)
        AND low > 0 AND high >= low AND high < CAST('Infinity' AS DOUBLE)
        AND close > 0 AND close < CAST('Infinity' AS DOUBLE)
        AND volume >= 0
        AND symbol IN (
            SELECT shortlist.symbol
            FROM shortlist
            LEFT JOIN recent ON recent.symbol = shortlist.symbol
            GROUP BY shortlist.symbol
            HAVING count(recent.session_date) < $consolidation_period
        )
    GROUP BY symbol, session_date
),

history AS (
    SELECT *
    FROM (FROM recent UNION ALL FROM earlier)
    QUALIFY row_number() OVER (PARTITION BY symbol ORDER BY session_date DESC) <= $consolidation_period
),

baselines AS (
    SELECT symbol, max(high) AS resistance, min(low) AS support, avg(close) AS baseline_close, avg(volume) AS baseline_volume
    FROM history
    GROUP BY symbol
    HAVING count(*) = $consolidation_period AND avg(volume) > 0
),

evidence AS (
    SELECT
        CAST($scan_date AS DATE) AS session_date,
        today.symbol,
        price,
        resistance,
        support,
        100 * (price / resistance - 1) AS breakout_pct,
        100 * (resistance - support) / baseline_close AS consolidation_range_pct,
        today.volume / baseline_volume AS volume_ratio,
        100 * (price / open - 1) AS change_pct,
        today.volume
    FROM today
    INNER JOIN baselines ON baselines.symbol = today.symbol
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
