-- A stock that has traded, by the cutoff, many times the volume that is usual for it by that time of day.
--
-- The baseline is the symbol's own n latest sessions before the scanned one. Relative volume is the volume so far over the mean of what had
-- been traded by the same time of day in those sessions; a session without a bar by then counts as 0. A symbol whose n sessions do not all
-- lie within 2 · n + 10 calendar days before the scanned one is new or was halted: no row. Nor is there one for a symbol without a bar by
-- the cutoff, or without any volume by that time of day in its baseline.
-- The probability score is a score from 0 to 100, not a probability: 100 · min(relative_volume / 10, 1).
-- Within a session, rank goes by score, then by relative_volume (higher first), then by symbol.
--
-- @inherit session_bars sessions_as_of scan_breakout
-- @param lookback_days INTEGER sessions, 1 to 250: how many sessions make the usual volume.
-- @param min_relative_volume DOUBLE times, 0 to 100 step 0.1: least relative_volume.
-- @param min_avg_volume INTEGER shares, 0 or more step 10000: least mean volume of the baseline's whole sessions.
-- @param min_bars INTEGER bars, 1 to 1440: least number of bars so far.
-- @param price_change_min DOUBLE %, -100 to 1000 step 0.5: lowest change_pct. NULL: no limit.
-- @param price_change_max DOUBLE %, -100 to 1000 step 0.5: highest change_pct; not below price_change_min. NULL: no limit.
-- @column scan_date date of the session.
-- @column symbol name of the stock.
-- @column price currency, close of the latest bar that had ended by the cutoff.
-- @column relative_volume times, volume so far over the mean volume by the same time of day in the baseline.
-- @column relative_volume_median times, volume so far over the median of those volumes; NULL if that median is 0.
-- @column usual_volume shares, mean volume by the same time of day in the baseline.
-- @column avg_volume shares, mean volume of the baseline's whole sessions.
-- @column change_pct %, price against the session's open: 100 · (price / open − 1).
-- @column range_pct %, height of the session so far: 100 · (high − low) / price.
-- @column bars bars so far.
-- @column momentum_signal HIGH if change_pct is 1.5 or more either way and range_pct 2 or more, MODERATE from 1 and 1.5, LOW from 0.5, else NEUTRAL.
-- @column volume shares traded so far.
-- @column probability_score points from 0 to 100; a score, not a probability.
-- @column rank place within the session, 1 is best.
-- @source Relative volume at time (RVOL) over the same time of day of earlier sessions, as TradingView and Trade Ideas define it.
-- @example FROM scan_relative_volume('2025-01-15')
-- @example FROM scan_relative_volume('2025-01-15', '10:30', lookback_days := 5, price_change_min := 1)
CREATE MACRO scan_relative_volume(
    scan_date,
    cutoff_time := '09:50',
    end_date := NULL,
    source := 'bars',
    bar_minutes := 1,
    session_start := NULL,
    session_end := NULL,
    symbols := NULL,
    min_price := 50,
    max_price := 2000,
    min_volume := 10000,
    max_results_per_day := 3,
    min_probability_score := 10,
    lookback_days := 14,
    min_relative_volume := 2,
    min_avg_volume := 100000,
    min_bars := 5,
    price_change_min := NULL,
    price_change_max := NULL
) AS TABLE
WITH sessions AS (
    SELECT
        session.*,
        avg(session.previous_volume_by_cutoff) OVER baseline AS usual_volume,
        median(session.previous_volume_by_cutoff) OVER baseline AS median_volume,
        avg(session.previous_volume) OVER baseline AS avg_volume
    FROM sessions_as_of(
        scan_date,
        cutoff_time := cutoff_time,
        end_date := end_date,
        history_sessions := integer_in_range(lookback_days, 1, 250, 'scan_relative_volume', 'lookback_days'),
        source := source,
        bar_minutes := bar_minutes,
        session_start := session_start,
        session_end := session_end,
        symbols := symbols,
        called_by := 'scan_relative_volume'
    ) AS session
    WINDOW baseline AS (
        PARTITION BY session.symbol
        ORDER BY session.session_date
        ROWS BETWEEN integer_in_range(lookback_days, 1, 250, 'scan_relative_volume', 'lookback_days') - 1 PRECEDING AND CURRENT ROW
    )
),

with_baseline AS (
    SELECT
        sessions.session_date,
        sessions.symbol,
        sessions.price,
        sessions.volume / sessions.usual_volume AS relative_volume,
        sessions.volume / nullif(sessions.median_volume, 0) AS relative_volume_median,
        sessions.usual_volume,
        sessions.avg_volume,
        100 * (sessions.price / sessions.open - 1) AS change_pct,
        100 * (sessions.high - sessions.low) / sessions.price AS range_pct,
        sessions.bars,
        sessions.volume
    FROM sessions
    WHERE
        sessions.session_date >= session_date(scan_date, 'scan_relative_volume', 'scan_date')
        AND sessions.price IS NOT NULL
        AND sessions.history_complete
        AND sessions.usual_volume > 0
),

candidates AS (
    SELECT
        with_baseline.*,
        CASE
            WHEN abs(with_baseline.change_pct) >= 1.5 AND with_baseline.range_pct >= 2 THEN 'HIGH'
            WHEN abs(with_baseline.change_pct) >= 1 AND with_baseline.range_pct >= 1.5 THEN 'MODERATE'
            WHEN abs(with_baseline.change_pct) >= 0.5 THEN 'LOW'
            ELSE 'NEUTRAL'
        END AS momentum_signal,
        100 * least(with_baseline.relative_volume / 10, 1) AS probability_score
    FROM with_baseline
    WHERE
        in_order(min_price, max_price, 'scan_relative_volume', 'min_price', 'max_price')
        AND in_order(price_change_min, price_change_max, 'scan_relative_volume', 'price_change_min', 'price_change_max')
        AND with_baseline.price >= number_in_range(min_price, 0, NULL, 'scan_relative_volume', 'min_price')
        AND with_baseline.price <= number_in_range(max_price, 0, NULL, 'scan_relative_volume', 'max_price')
        AND with_baseline.volume >= integer_in_range(min_volume, 0, NULL, 'scan_relative_volume', 'min_volume')
        AND with_baseline.bars >= integer_in_range(min_bars, 1, 1440, 'scan_relative_volume', 'min_bars')
        AND with_baseline.avg_volume >= integer_in_range(min_avg_volume, 0, NULL, 'scan_relative_volume', 'min_avg_volume')
        AND with_baseline.relative_volume >= number_in_range(min_relative_volume, 0, 100, 'scan_relative_volume', 'min_relative_volume')
        AND (
            price_change_min IS NULL
            OR with_baseline.change_pct
            >= number_in_range_or_null(price_change_min, -100, 1000, 'scan_relative_volume', 'price_change_min')
        )
        AND (
            price_change_max IS NULL
            OR with_baseline.change_pct
            <= number_in_range_or_null(price_change_max, -100, 1000, 'scan_relative_volume', 'price_change_max')
        )
),

ranked AS (
    SELECT
        candidates.*,
        row_number() OVER (
            PARTITION BY candidates.session_date
            ORDER BY candidates.probability_score DESC, candidates.relative_volume DESC, candidates.symbol
        ) AS rank
    FROM candidates
    WHERE candidates.probability_score >= number_in_range(min_probability_score, 0, 100, 'scan_relative_volume', 'min_probability_score')
)

SELECT
    ranked.session_date AS scan_date,
    ranked.symbol,
    ranked.price,
    ranked.relative_volume,
    ranked.relative_volume_median,
    ranked.usual_volume,
    ranked.avg_volume,
    ranked.change_pct,
    ranked.range_pct,
    ranked.bars,
    ranked.momentum_signal,
    ranked.volume,
    ranked.probability_score,
    ranked.rank
FROM ranked
WHERE ranked.rank <= integer_in_range(max_results_per_day, 1, 10000, 'scan_relative_volume', 'max_results_per_day')
ORDER BY ranked.session_date, ranked.rank
