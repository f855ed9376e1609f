-- A stock that opened above or below its previous session's close, with how much of that gap had been filled by the cutoff.
--
-- The previous session is the symbol's own, whole; before a halt, if there was one. An open right at its close is no gap, whatever
-- min_gap_pct is. A gap is filled as far as the price has come back towards that close at any time so far, even if it has turned again.
-- The open is that of the first bar, so give session_start where the source has bars from before the regular hours.
-- An unadjusted split looks like a gap, and a large dividend is one: scan adjusted prices, or look at the news before the chart.
-- The usual volume is that of the symbol's own n latest sessions before the scanned one, as in scan_relative_volume: without all of them
-- within 2 · n + 10 calendar days, or without any volume by that time of day in them, there is no row.
-- The probability score is a score from 0 to 100, not a probability:
-- 40 · min(|gap_pct| / 5, 1) + 30 · min(relative_volume / 5, 1) + 30 · (1 − gap_filled_pct / 100).
-- Within a session, rank goes by score, then by |gap_pct| (higher first), then by symbol.
--
-- @inherit session_bars sessions_as_of scan_breakout scan_relative_volume
-- @param min_gap_pct DOUBLE %, 0 to 100 step 0.1: least size of gap_pct, up or down.
-- @param max_filled_pct DOUBLE %, 0 to 100 step 5: highest gap_filled_pct. 100: no limit.
-- @param direction VARCHAR one of long, short, any: long keeps gaps up, short keeps gaps down.
-- @column scan_date date of the session.
-- @column symbol name of the stock.
-- @column price currency, close of the latest bar that had ended by the cutoff.
-- @column previous_close currency, last close of the session before.
-- @column open currency, open of the session's first bar.
-- @column gap_pct %, how far the open is above the previous close, negative below: 100 · (open / previous_close − 1).
-- @column gap_type full_up if the open is above the previous session's high, partial_up if above its close only; full_down below its low, partial_down below its close only.
-- @column gap_filled_pct %, 0 to 100, how much of the gap had been traded back so far: 100 · (open − lowest low) / (open − previous_close) for a gap up, 100 · (highest high − open) / (previous_close − open) for a gap down.
-- @column change_pct %, price against the session's open: 100 · (price / open − 1).
-- @column relative_volume times, volume so far over the mean volume by the same time of day in the baseline.
-- @column volume shares traded so far.
-- @column probability_score points from 0 to 100; a score, not a probability.
-- @column rank place within the session, 1 is best.
-- @source Full and partial gaps, up and down: StockCharts, ChartSchool, Gap Trading Strategies.
-- @example FROM scan_gap('2025-01-15', min_gap_pct := 0.5)
-- @example FROM scan_gap('2025-01-06', '10:30', end_date := '2025-01-15', min_gap_pct := 1, max_filled_pct := 50, direction := 'long')
CREATE MACRO scan_gap(
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
    min_gap_pct := 2,
    max_filled_pct := 100,
    min_relative_volume := 1,
    direction := 'any'
) AS TABLE
WITH sessions AS (
    SELECT
        session.*,
        avg(session.previous_volume_by_cutoff) OVER baseline AS usual_volume
    FROM sessions_as_of(
        scan_date,
        cutoff_time := cutoff_time,
        end_date := end_date,
        history_sessions := integer_in_range(lookback_days, 1, 250, 'scan_gap', 'lookback_days'),
        source := source,
        bar_minutes := bar_minutes,
        session_start := session_start,
        session_end := session_end,
        symbols := symbols,
        called_by := 'scan_gap'
    ) AS session
    WINDOW baseline AS (
        PARTITION BY session.symbol
        ORDER BY session.session_date
        ROWS BETWEEN integer_in_range(lookback_days, 1, 250, 'scan_gap', 'lookback_days') - 1 PRECEDING AND CURRENT ROW
    )
),

gaps AS (
    SELECT
        sessions.session_date,
        sessions.symbol,
        sessions.price,
        sessions.previous_close,
        sessions.open,
        100 * (sessions.open / sessions.previous_close - 1) AS gap_pct,
        CASE WHEN sessions.open > sessions.previous_close THEN 'long' ELSE 'short' END AS side,
        CASE
            WHEN sessions.open > sessions.previous_close
                THEN CASE WHEN sessions.open > sessions.previous_high THEN 'full_up' ELSE 'partial_up' END
            WHEN sessions.open < sessions.previous_low THEN 'full_down'
            ELSE 'partial_down'
        END AS gap_type,
        100
        * CASE
            WHEN sessions.open > sessions.previous_close THEN (sessions.open - sessions.low) / (sessions.open - sessions.previous_close)
            ELSE (sessions.high - sessions.open) / (sessions.previous_close - sessions.open)
        END AS traded_back_pct,
        100 * (sessions.price / sessions.open - 1) AS change_pct,
        sessions.volume / sessions.usual_volume AS relative_volume,
        sessions.volume
    FROM sessions
    WHERE
        sessions.session_date >= session_date(scan_date, 'scan_gap', 'scan_date')
        AND sessions.price IS NOT NULL
        AND sessions.history_complete
        AND sessions.usual_volume > 0
        AND sessions.open != sessions.previous_close
),

-- Trading may go beyond the previous close; and bars exist whose open lies outside of their own high and low.
with_fill AS (
    SELECT
        gaps.*,
        least(greatest(gaps.traded_back_pct, 0), 100) AS gap_filled_pct
    FROM gaps
),

candidates AS (
    SELECT
        with_fill.*,
        40 * least(abs(with_fill.gap_pct) / 5, 1)
        + 30 * least(with_fill.relative_volume / 5, 1)
        + 30 * (1 - with_fill.gap_filled_pct / 100) AS probability_score
    FROM with_fill
    WHERE
        in_order(min_price, max_price, 'scan_gap', 'min_price', 'max_price')
        AND with_fill.price >= number_in_range(min_price, 0, NULL, 'scan_gap', 'min_price')
        AND with_fill.price <= number_in_range(max_price, 0, NULL, 'scan_gap', 'max_price')
        AND with_fill.volume >= integer_in_range(min_volume, 0, NULL, 'scan_gap', 'min_volume')
        AND abs(with_fill.gap_pct) >= number_in_range(min_gap_pct, 0, 100, 'scan_gap', 'min_gap_pct')
        AND with_fill.gap_filled_pct <= number_in_range(max_filled_pct, 0, 100, 'scan_gap', 'max_filled_pct')
        AND with_fill.relative_volume >= number_in_range(min_relative_volume, 0, 100, 'scan_gap', 'min_relative_volume')
        AND one_of(direction, 'long, short, any', 'scan_gap', 'direction') IN ('any', with_fill.side)
),

ranked AS (
    SELECT
        candidates.*,
        row_number() OVER (
            PARTITION BY candidates.session_date
            ORDER BY candidates.probability_score DESC, abs(candidates.gap_pct) DESC, candidates.symbol
        ) AS rank
    FROM candidates
    WHERE candidates.probability_score >= number_in_range(min_probability_score, 0, 100, 'scan_gap', 'min_probability_score')
)

SELECT
    ranked.session_date AS scan_date,
    ranked.symbol,
    ranked.price,
    ranked.previous_close,
    ranked.open,
    ranked.gap_pct,
    ranked.gap_type,
    ranked.gap_filled_pct,
    ranked.change_pct,
    ranked.relative_volume,
    ranked.volume,
    ranked.probability_score,
    ranked.rank
FROM ranked
WHERE ranked.rank <= integer_in_range(max_results_per_day, 1, 10000, 'scan_gap', 'max_results_per_day')
ORDER BY ranked.session_date, ranked.rank
