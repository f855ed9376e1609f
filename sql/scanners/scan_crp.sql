-- A stock whose session so far is tight and closes at an edge of its range: the Close-Range-Pattern.
--
-- The price is near the high when 100 · (high − price) / high is at most close_threshold_pct, near the low when 100 · (price − low) / low is;
-- where both hold the nearer one counts, the high on a tie. The baseline is the symbol's own n latest sessions before the scanned one, as in
-- scan_breakout: without all of them within 2 · n + 10 calendar days, or without any volume by that time of day in them, there is no row.
-- The probability score is a score from 0 to 100, not a probability, made of whole points so that ties are exact:
-- close 40 at an edge, else 10; range 30 if range_pct is at most range_threshold_pct, 20 if at most 1.5 times that, else 5;
-- volume 20 if volume_ratio is 1.5 or more, 15 from 1, 10 from 0.5, else 5; momentum 10 if change_pct is above 1, 5 if above 0, else 2.
-- Within a session, rank goes by score, then by range_pct (narrower first), then by symbol.
--
-- @inherit session_bars sessions_as_of scan_breakout
-- @param consolidation_period INTEGER sessions, 1 to 250: how many sessions make the usual volume.
-- @param close_threshold_pct DOUBLE %, 0 to 50 step 0.1: greatest distance of the price from the edge.
-- @param range_threshold_pct DOUBLE %, 0 to 100 step 0.1: a range_pct up to this is tight.
-- @param max_volume INTEGER shares, 0 or more step 1000: highest volume so far; not below min_volume. NULL: no limit.
-- @column scan_date date of the session.
-- @column symbol name of the stock.
-- @column price currency, close of the latest bar that had ended by the cutoff.
-- @column high currency, highest high so far.
-- @column low currency, lowest low so far.
-- @column range_pct %, height of the session so far: 100 · (high − low) / price.
-- @column close_position near_high or near_low.
-- @column closing_range_pct %, place of the price in the range, 0 at the low and 100 at the high; NULL on a flat session.
-- @column narrow_rank place of high − low among the same clock window of the symbol's last 7 sessions including this one, 1 is the narrowest (NR7); NULL unless 7 such windows with bars lie within 22 calendar days.
-- @column volume_ratio times, volume so far over the mean volume by the same time of day in the baseline.
-- @column change_pct %, price against the session's open: 100 · (price / open − 1).
-- @column volume shares traded so far.
-- @column probability_score points from 0 to 100; a score, not a probability.
-- @column rank place within the session, 1 is best.
-- @source Narrow range (NR7): T. Crabel, Day Trading with Short Term Price Patterns and Opening Range Breakout (1990).
-- @example FROM scan_crp('2025-01-15')
-- @example FROM scan_crp('2025-01-15', '11:00', close_threshold_pct := 1, min_probability_score := 70)
CREATE MACRO scan_crp(
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
    min_probability_score := 50,
    consolidation_period := 5,
    close_threshold_pct := 2,
    range_threshold_pct := 3,
    max_volume := NULL
) AS TABLE
WITH sessions AS (
    SELECT
        session.*,
        avg(session.previous_volume_by_cutoff) OVER baseline AS baseline_volume,
        lag(session.session_date, integer_in_range(consolidation_period, 1, 250, 'scan_crp', 'consolidation_period')) OVER (
            PARTITION BY session.symbol ORDER BY session.session_date
        ) AS baseline_start,
        -- Earlier rows hold the same clock window of their own sessions.
        list(session.high - session.low) OVER seven AS heights,
        min(session.session_date) OVER seven AS heights_start
    FROM sessions_as_of(
        scan_date,
        cutoff_time := cutoff_time,
        end_date := end_date,
        history_sessions := greatest(integer_in_range(consolidation_period, 1, 250, 'scan_crp', 'consolidation_period'), 6),
        source := source,
        bar_minutes := bar_minutes,
        session_start := session_start,
        session_end := session_end,
        symbols := symbols,
        called_by := 'scan_crp'
    ) AS session
    WINDOW
        baseline AS (
            PARTITION BY session.symbol
            ORDER BY session.session_date
            ROWS BETWEEN integer_in_range(consolidation_period, 1, 250, 'scan_crp', 'consolidation_period') - 1 PRECEDING AND CURRENT ROW
        ),
        seven AS (PARTITION BY session.symbol ORDER BY session.session_date ROWS BETWEEN 6 PRECEDING AND CURRENT ROW)
),

with_baseline AS (
    SELECT
        sessions.session_date,
        sessions.symbol,
        sessions.price,
        sessions.high,
        sessions.low,
        100 * (sessions.high - sessions.low) / sessions.price AS range_pct,
        100 * (sessions.high - sessions.price) / sessions.high AS below_high_pct,
        100 * (sessions.price - sessions.low) / sessions.low AS above_low_pct,
        100 * (sessions.price - sessions.low) / nullif(sessions.high - sessions.low, 0) AS closing_range_pct,
        CASE
            WHEN len(list_filter(sessions.heights, lambda height: height IS NOT NULL)) = 7
                AND sessions.heights_start >= sessions.session_date - 22
                THEN 1 + len(list_filter(sessions.heights, lambda height: height < sessions.high - sessions.low))
        END AS narrow_rank,
        sessions.volume / sessions.baseline_volume AS volume_ratio,
        100 * (sessions.price / sessions.open - 1) AS change_pct,
        sessions.volume
    FROM sessions
    WHERE
        sessions.session_date >= session_date(scan_date, 'scan_crp', 'scan_date')
        AND sessions.price IS NOT NULL
        -- Not history_complete: more sessions than these are read, for narrow_rank.
        AND sessions.baseline_start
        >= sessions.session_date
        - CAST(2 * integer_in_range(consolidation_period, 1, 250, 'scan_crp', 'consolidation_period') + 10 AS INTEGER)
        AND sessions.baseline_volume > 0
),

candidates AS (
    SELECT
        with_baseline.*,
        CASE WHEN with_baseline.below_high_pct <= with_baseline.above_low_pct THEN 'near_high' ELSE 'near_low' END AS close_position,
        CAST(
            40
            + CASE
                WHEN with_baseline.range_pct <= number_in_range(range_threshold_pct, 0, 100, 'scan_crp', 'range_threshold_pct') THEN 30
                WHEN with_baseline.range_pct <= 1.5 * number_in_range(range_threshold_pct, 0, 100, 'scan_crp', 'range_threshold_pct') THEN 20
                ELSE 5
            END
            + CASE WHEN with_baseline.volume_ratio >= 1.5 THEN 20 WHEN with_baseline.volume_ratio >= 1 THEN 15 WHEN with_baseline.volume_ratio >= 0.5 THEN 10 ELSE 5 END
            + CASE WHEN with_baseline.change_pct > 1 THEN 10 WHEN with_baseline.change_pct > 0 THEN 5 ELSE 2 END
            AS DOUBLE
        ) AS probability_score
    FROM with_baseline
    WHERE
        in_order(min_price, max_price, 'scan_crp', 'min_price', 'max_price')
        AND in_order(min_volume, max_volume, 'scan_crp', 'min_volume', 'max_volume')
        AND with_baseline.price >= number_in_range(min_price, 0, NULL, 'scan_crp', 'min_price')
        AND with_baseline.price <= number_in_range(max_price, 0, NULL, 'scan_crp', 'max_price')
        AND with_baseline.volume >= integer_in_range(min_volume, 0, NULL, 'scan_crp', 'min_volume')
        AND (max_volume IS NULL OR with_baseline.volume <= integer_in_range_or_null(max_volume, 0, NULL, 'scan_crp', 'max_volume'))
        AND least(with_baseline.below_high_pct, with_baseline.above_low_pct)
        <= number_in_range(close_threshold_pct, 0, 50, 'scan_crp', 'close_threshold_pct')
),

ranked AS (
    SELECT
        candidates.*,
        row_number() OVER (
            PARTITION BY candidates.session_date
            ORDER BY candidates.probability_score DESC, candidates.range_pct, candidates.symbol
        ) AS rank
    FROM candidates
    WHERE candidates.probability_score >= number_in_range(min_probability_score, 0, 100, 'scan_crp', 'min_probability_score')
)

SELECT
    ranked.session_date AS scan_date,
    ranked.symbol,
    ranked.price,
    ranked.high,
    ranked.low,
    ranked.range_pct,
    ranked.close_position,
    ranked.closing_range_pct,
    ranked.narrow_rank,
    ranked.volume_ratio,
    ranked.change_pct,
    ranked.volume,
    ranked.probability_score,
    ranked.rank
FROM ranked
WHERE ranked.rank <= integer_in_range(max_results_per_day, 1, 10000, 'scan_crp', 'max_results_per_day')
ORDER BY ranked.session_date, ranked.rank
