-- A stock whose price, at the cutoff, is outside of the range of the session's first n minutes.
--
-- The opening range is the highest high and the lowest low of the bars that lie wholly within the first n minutes after the session's
-- start: session_start if it is given, else the start of the symbol's own first bar. So give it where the source has bars from before the
-- regular hours, or stocks that are late to trade. A bar that reaches beyond the range's end belongs neither to the range nor to what comes
-- after it; where all bars are longer than n minutes, daily ones for instance, there is no range.
-- There is no row before the range is complete, which is when a bar that started at its end or later has ended by the cutoff. Nor is there
-- one where less than half of the range's bars exist (an outage, or hardly traded: what was seen is not what the range was), or where the
-- range is flat (a single price has no inside, and any tick would break it).
-- The side is the one that the price is on now; only closes count, so a high or a low beyond an edge is no break. If an earlier bar after the
-- range closed beyond the other edge, both sides broke: a whipsaw, which costs points and is shown.
-- The usual volume is that of the symbol's own n latest sessions before the scanned one, as in scan_relative_volume: without all of them
-- within 2 · n + 10 calendar days, or without any volume by that time of day in them, there is no row.
-- The probability score is a score from 0 to 100, not a probability:
-- 50 · min(break_pct / 2, 1) + 30 · min(relative_volume / 5, 1) + 20 if one side only broke.
-- Within a session, rank goes by score, then by break_pct (higher first), then by symbol.
--
-- @inherit session_bars sessions_as_of scan_breakout scan_relative_volume scan_gap
-- @param opening_minutes INTEGER minutes, 1 to 390: length of the opening range; best a multiple of bar_minutes.
-- @param min_break_pct DOUBLE %, 0 to 50 step 0.1: least break_pct.
-- @param max_opening_range_pct DOUBLE %, 0 or more step 0.5: highest opening_range_pct. NULL: no limit.
-- @param direction VARCHAR one of long, short, any: long keeps breaks above the range, short breaks below it.
-- @column scan_date date of the session.
-- @column symbol name of the stock.
-- @column price currency, close of the latest bar that had ended by the cutoff.
-- @column range_high currency, highest high of the opening range.
-- @column range_low currency, lowest low of the opening range.
-- @column opening_range_pct %, height of the opening range: 100 · (range_high / range_low − 1).
-- @column range_bars bars that the opening range is made of.
-- @column side long if the price is above range_high, short if it is below range_low.
-- @column break_pct %, how far the price is beyond the edge: 100 · (price / range_high − 1) for long, 100 · (1 − price / range_low) for short.
-- @column broke_at exchange time, start of the first bar after the range that closed beyond that edge.
-- @column broke_both_sides whether a bar after the range has closed beyond the other edge too.
-- @column relative_volume times, volume so far over the mean volume by the same time of day in the baseline.
-- @column change_pct %, price against the session's open: 100 · (price / open − 1).
-- @column volume shares traded so far.
-- @column probability_score points from 0 to 100; a score, not a probability.
-- @column rank place within the session, 1 is best.
-- @source Opening range breakout: T. Crabel, Day Trading with Short Term Price Patterns and Opening Range Breakout (1990). He waits for a distance beyond the edge, made of earlier sessions; here it is min_break_pct.
-- @example FROM scan_opening_range('2025-01-15')
-- @example FROM scan_opening_range('2025-01-06', '10:30', end_date := '2025-01-15', session_start := '09:15', opening_minutes := 30, direction := 'long')
CREATE MACRO scan_opening_range(
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
    opening_minutes := 15,
    min_break_pct := 0,
    max_opening_range_pct := NULL,
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
        history_sessions := integer_in_range(lookback_days, 1, 250, 'scan_opening_range', 'lookback_days'),
        source := source,
        bar_minutes := bar_minutes,
        session_start := session_start,
        session_end := session_end,
        symbols := symbols,
        called_by := 'scan_opening_range'
    ) AS session
    WINDOW baseline AS (
        PARTITION BY session.symbol
        ORDER BY session.session_date
        ROWS BETWEEN integer_in_range(lookback_days, 1, 250, 'scan_opening_range', 'lookback_days') - 1 PRECEDING AND CURRENT ROW
    )
),

-- What needs no look at single bars is settled first, so that only the bars of these sessions are kept.
eligible AS (
    SELECT
        -- One number is a cheaper key for millions of bars than a symbol and a date.
        row_number() OVER (ORDER BY sessions.symbol, sessions.session_date) AS session_number,
        sessions.session_date,
        sessions.symbol,
        sessions.price,
        sessions.volume / sessions.usual_volume AS relative_volume,
        100 * (sessions.price / sessions.open - 1) AS change_pct,
        sessions.volume
    FROM sessions
    WHERE
        sessions.session_date >= session_date(scan_date, 'scan_opening_range', 'scan_date')
        AND sessions.price IS NOT NULL
        AND sessions.history_complete
        AND sessions.usual_volume > 0
        AND in_order(min_price, max_price, 'scan_opening_range', 'min_price', 'max_price')
        AND sessions.price >= number_in_range(min_price, 0, NULL, 'scan_opening_range', 'min_price')
        AND sessions.price <= number_in_range(max_price, 0, NULL, 'scan_opening_range', 'max_price')
        AND sessions.volume >= integer_in_range(min_volume, 0, NULL, 'scan_opening_range', 'min_volume')
        AND sessions.volume / sessions.usual_volume
        >= number_in_range(min_relative_volume, 0, 100, 'scan_opening_range', 'min_relative_volume')
),

eligible_keys AS (
    -- Nothing here is twofold. But so DuckDB sees that these rows are narrow, and joins by a table of them rather than one of all bars.
    SELECT DISTINCT eligible.session_number, eligible.symbol, eligible.session_date
    FROM eligible
),

eligible_bars AS (
    SELECT
        eligible_keys.session_number,
        bar.ts,
        bar.high,
        bar.low,
        bar.close
    FROM visible_bars(
        scan_date,
        cutoff_time := cutoff_time,
        end_date := end_date,
        source := source,
        bar_minutes := bar_minutes,
        session_start := session_start,
        session_end := session_end,
        symbols := symbols,
        called_by := 'scan_opening_range'
    ) AS bar
    INNER JOIN eligible_keys ON bar.symbol = eligible_keys.symbol AND bar.session_date = eligible_keys.session_date
),

range_ends AS (
    SELECT
        eligible_bars.session_number,
        coalesce(
            CAST(min(eligible_bars.ts) AS DATE) + clock_time(session_start, 'scan_opening_range', 'session_start'),
            min(eligible_bars.ts)
        )
        + to_minutes(integer_in_range(opening_minutes, 1, 390, 'scan_opening_range', 'opening_minutes')) AS range_end,
        max(eligible_bars.ts) AS latest_ts
    FROM eligible_bars
    GROUP BY eligible_bars.session_number
),

opening_ranges AS (
    SELECT
        range_ends.session_number,
        range_ends.range_end,
        max(eligible_bars.high) AS range_high,
        min(eligible_bars.low) AS range_low,
        count(*) AS range_bars
    FROM eligible_bars
    INNER JOIN range_ends ON eligible_bars.session_number = range_ends.session_number
    WHERE
        range_ends.latest_ts >= range_ends.range_end
        AND eligible_bars.ts
        <= range_ends.range_end - to_minutes(integer_in_range(bar_minutes, 1, 1440, 'scan_opening_range', 'bar_minutes'))
    GROUP BY range_ends.session_number, range_ends.range_end
),

sessions_outside AS (
    SELECT
        eligible.*,
        opening_ranges.range_end,
        opening_ranges.range_high,
        opening_ranges.range_low,
        100 * (opening_ranges.range_high / opening_ranges.range_low - 1) AS opening_range_pct,
        opening_ranges.range_bars,
        CASE WHEN eligible.price > opening_ranges.range_high THEN 'long' ELSE 'short' END AS side,
        100
        * CASE
            WHEN eligible.price > opening_ranges.range_high THEN eligible.price / opening_ranges.range_high - 1
            ELSE 1 - eligible.price / opening_ranges.range_low
        END AS break_pct
    FROM eligible
    INNER JOIN opening_ranges ON eligible.session_number = opening_ranges.session_number
    WHERE
        opening_ranges.range_high > opening_ranges.range_low
        AND 2 * opening_ranges.range_bars
        >= integer_in_range(opening_minutes, 1, 390, 'scan_opening_range', 'opening_minutes')
        // integer_in_range(bar_minutes, 1, 1440, 'scan_opening_range', 'bar_minutes')
        AND (eligible.price > opening_ranges.range_high OR eligible.price < opening_ranges.range_low)
),

broken_ranges AS (
    SELECT sessions_outside.*
    FROM sessions_outside
    WHERE
        sessions_outside.break_pct >= number_in_range(min_break_pct, 0, 50, 'scan_opening_range', 'min_break_pct')
        AND (
            max_opening_range_pct IS NULL
            OR sessions_outside.opening_range_pct
            <= number_in_range_or_null(max_opening_range_pct, 0, NULL, 'scan_opening_range', 'max_opening_range_pct')
        )
        AND one_of(direction, 'long, short, any', 'scan_opening_range', 'direction') IN ('any', sessions_outside.side)
),

first_breaks AS (
    SELECT
        broken_ranges.session_number,
        min(eligible_bars.ts) FILTER (WHERE eligible_bars.close > broken_ranges.range_high) AS broke_up_at,
        min(eligible_bars.ts) FILTER (WHERE eligible_bars.close < broken_ranges.range_low) AS broke_down_at
    FROM eligible_bars
    INNER JOIN broken_ranges ON eligible_bars.session_number = broken_ranges.session_number
    WHERE eligible_bars.ts >= broken_ranges.range_end
    GROUP BY broken_ranges.session_number
),

candidates AS (
    SELECT
        broken_ranges.*,
        CASE WHEN broken_ranges.side = 'long' THEN first_breaks.broke_up_at ELSE first_breaks.broke_down_at END AS broke_at,
        first_breaks.broke_up_at IS NOT NULL AND first_breaks.broke_down_at IS NOT NULL AS broke_both_sides,
        50 * least(broken_ranges.break_pct / 2, 1)
        + 30 * least(broken_ranges.relative_volume / 5, 1)
        + CASE WHEN first_breaks.broke_up_at IS NOT NULL AND first_breaks.broke_down_at IS NOT NULL THEN 0 ELSE 20 END AS probability_score
    FROM broken_ranges
    INNER JOIN first_breaks ON broken_ranges.session_number = first_breaks.session_number
),

ranked AS (
    SELECT
        candidates.*,
        row_number() OVER (
            PARTITION BY candidates.session_date
            ORDER BY candidates.probability_score DESC, candidates.break_pct DESC, candidates.symbol
        ) AS rank
    FROM candidates
    WHERE candidates.probability_score >= number_in_range(min_probability_score, 0, 100, 'scan_opening_range', 'min_probability_score')
)

SELECT
    ranked.session_date AS scan_date,
    ranked.symbol,
    ranked.price,
    ranked.range_high,
    ranked.range_low,
    ranked.opening_range_pct,
    ranked.range_bars,
    ranked.side,
    ranked.break_pct,
    ranked.broke_at,
    ranked.broke_both_sides,
    ranked.relative_volume,
    ranked.change_pct,
    ranked.volume,
    ranked.probability_score,
    ranked.rank
FROM ranked
WHERE ranked.rank <= integer_in_range(max_results_per_day, 1, 10000, 'scan_opening_range', 'max_results_per_day')
ORDER BY ranked.session_date, ranked.rank
