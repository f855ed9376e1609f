-- A stock whose price, at the cutoff, has left the range of its last n sessions on more volume than is usual by that time of day.
--
-- The baseline is the symbol's own n latest sessions before the scanned one (whole sessions). Resistance is their highest high, support
-- their lowest low. A symbol whose n sessions do not all lie within 2 · n + 10 calendar days before the scanned one is new or was halted:
-- no row. Nor is there a row for a symbol without a bar by the cutoff, or without any volume by that time of day in its baseline.
-- The probability score is a score from 0 to 100, not a probability:
-- 50 · min(breakout_pct / 2, 1) + 30 · min(volume_ratio / 3, 1) + 20 · min(max(change_pct, 0) / 2, 1), each term at least 0.
-- Within a session, rank goes by score, then by breakout_pct (higher first), then by symbol.
--
-- @inherit session_bars sessions_as_of
-- @param min_price DOUBLE currency, 0 or more step 1: lowest price.
-- @param max_price DOUBLE currency, 0 or more step 1: highest price; not below min_price.
-- @param min_volume INTEGER shares, 0 or more step 1000: least volume so far.
-- @param max_results_per_day INTEGER rows, 1 to 10000: how many stocks of a session are returned, best first.
-- @param min_probability_score DOUBLE points, 0 to 100 step 1: lowest score.
-- @param consolidation_period INTEGER sessions, 1 to 250: how many sessions form the range, and the usual volume.
-- @param breakout_volume_ratio DOUBLE times, 0 to 100 step 0.1: least volume_ratio.
-- @param resistance_break_pct DOUBLE %, 0 to 50 step 0.1: least breakout_pct.
-- @param max_consolidation_range_pct DOUBLE %, 0 or more step 0.5: highest consolidation_range_pct. NULL: no limit.
-- @column scan_date date of the session.
-- @column symbol name of the stock.
-- @column price currency, close of the latest bar that had ended by the cutoff.
-- @column resistance currency, highest high of the baseline.
-- @column support currency, lowest low of the baseline.
-- @column breakout_pct %, how far the price is above resistance: 100 · (price / resistance − 1).
-- @column consolidation_range_pct %, height of the range: 100 · (resistance − support) / mean close of the baseline.
-- @column volume_ratio times, volume so far over the mean volume by the same time of day in the baseline.
-- @column change_pct %, price against the session's open: 100 · (price / open − 1).
-- @column volume shares traded so far.
-- @column probability_score points from 0 to 100; a score, not a probability.
-- @column rank place within the session, 1 is best.
-- @source Price range breakout on volume: R. D. Edwards and J. Magee, Technical Analysis of Stock Trends; volume by time of day as in relative volume.
-- @example FROM scan_breakout('2025-01-15')
-- @example FROM scan_breakout('2025-01-15', '10:30', min_price := 100, resistance_break_pct := 0.2)
-- @example FROM scan_breakout('2025-01-06', '09:50', end_date := '2025-01-15', max_results_per_day := 1)
CREATE MACRO scan_breakout(
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
    consolidation_period := 5,
    breakout_volume_ratio := 1.5,
    resistance_break_pct := 0.5,
    max_consolidation_range_pct := NULL
) AS TABLE
WITH sessions AS (
    SELECT
        session.*,
        max(session.previous_high) OVER baseline AS resistance,
        min(session.previous_low) OVER baseline AS support,
        -- A sliding avg() of doubles depends on how many rows lie before the window, in its last digits; that of a list does not.
        list_avg(list(session.previous_close) OVER baseline) AS baseline_close,
        avg(session.previous_volume_by_cutoff) OVER baseline AS baseline_volume
    FROM sessions_as_of(
        scan_date,
        cutoff_time := cutoff_time,
        end_date := end_date,
        history_sessions := integer_in_range(consolidation_period, 1, 250, 'scan_breakout', 'consolidation_period'),
        source := source,
        bar_minutes := bar_minutes,
        session_start := session_start,
        session_end := session_end,
        symbols := symbols,
        called_by := 'scan_breakout'
    ) AS session
    WINDOW baseline AS (
        PARTITION BY session.symbol
        ORDER BY session.session_date
        ROWS BETWEEN integer_in_range(consolidation_period, 1, 250, 'scan_breakout', 'consolidation_period') - 1 PRECEDING AND CURRENT ROW
    )
),

with_baseline AS (
    SELECT
        sessions.session_date,
        sessions.symbol,
        sessions.price,
        sessions.resistance,
        sessions.support,
        100 * (sessions.price / sessions.resistance - 1) AS breakout_pct,
        100 * (sessions.resistance - sessions.support) / sessions.baseline_close AS consolidation_range_pct,
        sessions.volume / sessions.baseline_volume AS volume_ratio,
        100 * (sessions.price / sessions.open - 1) AS change_pct,
        sessions.volume
    FROM sessions
    WHERE
        sessions.session_date >= session_date(scan_date, 'scan_breakout', 'scan_date')
        AND sessions.price IS NOT NULL
        AND sessions.history_complete
        AND sessions.baseline_volume > 0
),

candidates AS (
    SELECT
        with_baseline.*,
        50 * least(with_baseline.breakout_pct / 2, 1)
        + 30 * least(with_baseline.volume_ratio / 3, 1)
        + 20 * least(greatest(with_baseline.change_pct, 0) / 2, 1) AS probability_score
    FROM with_baseline
    WHERE
        in_order(min_price, max_price, 'scan_breakout', 'min_price', 'max_price')
        AND with_baseline.price >= number_in_range(min_price, 0, NULL, 'scan_breakout', 'min_price')
        AND with_baseline.price <= number_in_range(max_price, 0, NULL, 'scan_breakout', 'max_price')
        AND with_baseline.volume >= integer_in_range(min_volume, 0, NULL, 'scan_breakout', 'min_volume')
        AND with_baseline.breakout_pct >= number_in_range(resistance_break_pct, 0, 50, 'scan_breakout', 'resistance_break_pct')
        AND with_baseline.volume_ratio >= number_in_range(breakout_volume_ratio, 0, 100, 'scan_breakout', 'breakout_volume_ratio')
        AND (
            max_consolidation_range_pct IS NULL
            OR with_baseline.consolidation_range_pct
            <= number_in_range_or_null(max_consolidation_range_pct, 0, NULL, 'scan_breakout', 'max_consolidation_range_pct')
        )
),

ranked AS (
    SELECT
        candidates.*,
        row_number() OVER (
            PARTITION BY candidates.session_date
            ORDER BY candidates.probability_score DESC, candidates.breakout_pct DESC, candidates.symbol
        ) AS rank
    FROM candidates
    WHERE candidates.probability_score >= number_in_range(min_probability_score, 0, 100, 'scan_breakout', 'min_probability_score')
)

SELECT
    ranked.session_date AS scan_date,
    ranked.symbol,
    ranked.price,
    ranked.resistance,
    ranked.support,
    ranked.breakout_pct,
    ranked.consolidation_range_pct,
    ranked.volume_ratio,
    ranked.change_pct,
    ranked.volume,
    ranked.probability_score,
    ranked.rank
FROM ranked
WHERE ranked.rank <= integer_in_range(max_results_per_day, 1, 10000, 'scan_breakout', 'max_results_per_day')
ORDER BY ranked.session_date, ranked.rank
