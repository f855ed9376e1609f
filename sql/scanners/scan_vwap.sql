-- A stock whose price has crossed the session's VWAP in its latest bars, after a while on the other side: a reclaim or a loss of VWAP.
--
-- VWAP is the volume-weighted average, over the session's bars so far, of their typical price (high + low + close) / 3; σ is the standard
-- deviation of the typical price around it, weighted alike. Each bar's close is compared with the VWAP as it stood after that bar. A close
-- that differs from VWAP by less than a billionth of it is on neither side, and so is one before anything was traded: such a bar ends no
-- run and counts in none. A reclaim is a price above VWAP where the run of closes above was preceded by a run of closes below; a loss is the
-- mirror image. Crossed at is the run's first bar, so that no later bar closed on the old side.
-- A session in which nothing was traded by the cutoff (an index) has no VWAP, one whose σ is less than a billionth of VWAP no distance in σ:
-- no row. Volume is compared with the symbol's own n latest sessions before the scanned one, as in scan_relative_volume: without all of them
-- within 2 · n + 10 calendar days, or without any volume by that time of day in them, there is no row either.
-- The probability score is a score from 0 to 100, not a probability; a fresh cross, after long on the other side, on volume, still close by:
-- 40 · max(1 − bars_since_cross / 20, 0) + 30 · min(bars_before_cross / 20, 1) + 20 · min(relative_volume / 3, 1)
-- + 10 · max(1 − |vwap_sigma| / 2, 0).
-- Within a session, rank goes by score, then by bars_before_cross (more first), then by symbol.
--
-- @inherit session_bars sessions_as_of scan_breakout scan_relative_volume
-- @param within_bars INTEGER bars, 1 to 1440: the cross must have been in one of the latest so many bars.
-- @param min_bars_before_cross INTEGER bars, 1 to 1440: least bars_before_cross, so that it is a cross of something.
-- @param max_vwap_sigma DOUBLE deviations, 0 or more step 0.1: greatest distance from VWAP, on either side: how far it may have run already. NULL: no limit.
-- @param direction VARCHAR one of long, short, any: long is a reclaim, short a loss.
-- @column scan_date date of the session.
-- @column symbol name of the stock.
-- @column price currency, close of the latest bar that had ended by the cutoff.
-- @column vwap currency, volume-weighted average price of the session so far.
-- @column vwap_distance_pct %, how far the price is above VWAP: 100 · (price / vwap − 1); negative below.
-- @column vwap_sigma deviations, the same distance in σ: (price − vwap) / σ.
-- @column setup reclaim (the price is above VWAP) or loss (below).
-- @column crossed_at exchange time, start of the bar that closed on the new side, since when no bar closed on the old one.
-- @column bars_since_cross bars after that one; 0 if it is the latest.
-- @column bars_before_cross bars that closed on the old side, in the run that the cross ended.
-- @column relative_volume times, volume so far over the mean volume by the same time of day in the baseline.
-- @column change_pct %, price against the session's open: 100 · (price / open − 1).
-- @column volume shares traded so far.
-- @column probability_score points from 0 to 100; a score, not a probability.
-- @column rank place within the session, 1 is best.
-- @source Volume-weighted average price as a benchmark: S. A. Berkowitz, D. E. Logue and E. A. Noser, The Total Cost of Transactions on the NYSE, Journal of Finance 43 (1988); from typical prices with deviation bands as charting platforms draw it.
-- @example FROM scan_vwap('2025-01-15')
-- @example FROM scan_vwap('2025-01-15', '11:00', direction := 'long', min_bars_before_cross := 30, max_vwap_sigma := 1)
CREATE MACRO scan_vwap(
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
    within_bars := 10,
    min_bars_before_cross := 5,
    max_vwap_sigma := NULL,
    lookback_days := 14,
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
        history_sessions := integer_in_range(lookback_days, 1, 250, 'scan_vwap', 'lookback_days'),
        source := source,
        bar_minutes := bar_minutes,
        session_start := session_start,
        session_end := session_end,
        symbols := symbols,
        called_by := 'scan_vwap'
    ) AS session
    WINDOW baseline AS (
        PARTITION BY session.symbol
        ORDER BY session.session_date
        ROWS BETWEEN integer_in_range(lookback_days, 1, 250, 'scan_vwap', 'lookback_days') - 1 PRECEDING AND CURRENT ROW
    )
),

-- What the totals can rule out is ruled out before any bars are walked through.
active_sessions AS (
    SELECT
        sessions.session_date,
        sessions.symbol,
        sessions.price,
        sessions.volume / sessions.usual_volume AS relative_volume,
        100 * (sessions.price / sessions.open - 1) AS change_pct,
        sessions.volume
    FROM sessions
    WHERE
        sessions.session_date >= session_date(scan_date, 'scan_vwap', 'scan_date')
        AND sessions.history_complete
        AND sessions.usual_volume > 0
        AND sessions.volume > 0
        AND in_order(min_price, max_price, 'scan_vwap', 'min_price', 'max_price')
        AND sessions.price >= number_in_range(min_price, 0, NULL, 'scan_vwap', 'min_price')
        AND sessions.price <= number_in_range(max_price, 0, NULL, 'scan_vwap', 'max_price')
        AND sessions.volume >= integer_in_range(min_volume, 0, NULL, 'scan_vwap', 'min_volume')
        AND sessions.volume / sessions.usual_volume >= number_in_range(min_relative_volume, 0, 100, 'scan_vwap', 'min_relative_volume')
),

sessions_with_bars AS (
    SELECT
        bar.session_date,
        bar.symbol,
        -- Lists, since sums of doubles over groups or windows depend, in their last digits, on the order of rows.
        list_sort(
            list(
                struct_pack(
                    ts := bar.ts,
                    typical_price := (bar.high + bar.low + bar.close) / 3,
                    close := bar.close,
                    volume := bar.volume
                )
            )
        ) AS bars
    FROM visible_bars(
        scan_date,
        cutoff_time := cutoff_time,
        end_date := end_date,
        source := source,
        bar_minutes := bar_minutes,
        session_start := session_start,
        session_end := session_end,
        symbols := symbols,
        called_by := 'scan_vwap'
    ) AS bar
    WHERE (bar.session_date, bar.symbol) IN (SELECT active_sessions.session_date, active_sessions.symbol FROM active_sessions)
    GROUP BY bar.session_date, bar.symbol
),

walked_sessions AS (
    SELECT
        active_sessions.*,
        sessions_with_bars.bars,
        list_sum(list_transform(sessions_with_bars.bars, lambda bar: bar.typical_price * bar.volume)) / active_sessions.volume AS vwap,
        -- The sums and the side are those after this bar, the runs those before it; so the last bar is walked twice. Runs above VWAP are
        -- positive, runs below it negative.
        list_reduce(
            list_append(sessions_with_bars.bars, list_extract(sessions_with_bars.bars, -1)),
            lambda walk, bar, place: struct_pack(
                traded_value := walk.traded_value + bar.typical_price * bar.volume,
                volume := walk.volume + bar.volume,
                side := CASE
                    WHEN walk.volume + bar.volume = 0 THEN 0
                    ELSE sign(trunc(1e9 * (bar.close / ((walk.traded_value + bar.typical_price * bar.volume) / (walk.volume + bar.volume)) - 1)))
                END,
                run := CASE WHEN walk.side * walk.run < 0 THEN walk.side ELSE walk.run + walk.side END,
                run_before := CASE WHEN walk.side * walk.run < 0 THEN walk.run ELSE walk.run_before END,
                run_start := CASE WHEN walk.side * walk.run < 0 THEN place - 1 ELSE walk.run_start END
            ),
            struct_pack(
                traded_value := CAST(0 AS DOUBLE),
                volume := CAST(0 AS BIGINT),
                side := CAST(0 AS INTEGER),
                run := CAST(0 AS INTEGER),
                run_before := CAST(0 AS INTEGER),
                run_start := CAST(0 AS BIGINT)
            )
        ) AS walk
    FROM sessions_with_bars
    INNER JOIN active_sessions
        ON active_sessions.session_date = sessions_with_bars.session_date AND active_sessions.symbol = sessions_with_bars.symbol
),

crosses AS (
    SELECT
        walked_sessions.session_date,
        walked_sessions.symbol,
        walked_sessions.price,
        walked_sessions.vwap,
        sqrt(
            list_sum(list_transform(walked_sessions.bars, lambda bar: bar.volume * pow(bar.typical_price - walked_sessions.vwap, 2)))
            / walked_sessions.volume
        ) AS sigma,
        CASE WHEN walked_sessions.walk.run > 0 THEN 'reclaim' ELSE 'loss' END AS setup,
        struct_extract(list_extract(walked_sessions.bars, walked_sessions.walk.run_start), 'ts') AS crossed_at,
        len(walked_sessions.bars) - walked_sessions.walk.run_start AS bars_since_cross,
        abs(walked_sessions.walk.run_before) AS bars_before_cross,
        walked_sessions.relative_volume,
        walked_sessions.change_pct,
        walked_sessions.volume
    FROM walked_sessions
    WHERE
        -- The latest bar's own side: a price at VWAP is on none, whatever the run was before.
        sign(trunc(1e9 * (walked_sessions.price / walked_sessions.vwap - 1))) = sign(walked_sessions.walk.run)
        AND abs(walked_sessions.walk.run_before) >= integer_in_range(min_bars_before_cross, 1, 1440, 'scan_vwap', 'min_bars_before_cross')
        AND len(walked_sessions.bars) - walked_sessions.walk.run_start < integer_in_range(within_bars, 1, 1440, 'scan_vwap', 'within_bars')
        AND one_of(direction, 'long, short, any', 'scan_vwap', 'direction')
        IN ('any', CASE WHEN walked_sessions.walk.run > 0 THEN 'long' ELSE 'short' END)
),

with_distance AS (
    SELECT
        crosses.*,
        100 * (crosses.price / crosses.vwap - 1) AS vwap_distance_pct,
        (crosses.price - crosses.vwap) / crosses.sigma AS vwap_sigma
    FROM crosses
    WHERE crosses.sigma >= 1e-9 * crosses.vwap
),

candidates AS (
    SELECT
        with_distance.*,
        40 * greatest(1 - with_distance.bars_since_cross / 20, 0)
        + 30 * least(with_distance.bars_before_cross / 20, 1)
        + 20 * least(with_distance.relative_volume / 3, 1)
        + 10 * greatest(1 - abs(with_distance.vwap_sigma) / 2, 0) AS probability_score
    FROM with_distance
    WHERE
        max_vwap_sigma IS NULL
        OR abs(with_distance.vwap_sigma) <= number_in_range_or_null(max_vwap_sigma, 0, NULL, 'scan_vwap', 'max_vwap_sigma')
),

ranked AS (
    SELECT
        candidates.*,
        row_number() OVER (
            PARTITION BY candidates.session_date
            ORDER BY candidates.probability_score DESC, candidates.bars_before_cross DESC, candidates.symbol
        ) AS rank
    FROM candidates
    WHERE candidates.probability_score >= number_in_range(min_probability_score, 0, 100, 'scan_vwap', 'min_probability_score')
)

SELECT
    ranked.session_date AS scan_date,
    ranked.symbol,
    ranked.price,
    ranked.vwap,
    ranked.vwap_distance_pct,
    ranked.vwap_sigma,
    ranked.setup,
    ranked.crossed_at,
    ranked.bars_since_cross,
    ranked.bars_before_cross,
    ranked.relative_volume,
    ranked.change_pct,
    ranked.volume,
    ranked.probability_score,
    ranked.rank
FROM ranked
WHERE ranked.rank <= integer_in_range(max_results_per_day, 1, 10000, 'scan_vwap', 'max_results_per_day')
ORDER BY ranked.session_date, ranked.rank
