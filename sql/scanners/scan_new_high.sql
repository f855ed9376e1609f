-- A stock whose price, at the cutoff, stands above the highest high or below the lowest low of its last n sessions.
--
-- The level is the highest high of the symbol's own n latest sessions before the scanned one (whole sessions) for a new high, their lowest
-- low for a new low. The price has to be beyond it: a price at the level, or a high beyond it that the price has left again, is none.
-- The usual volume is the mean of what had been traded by the same time of day in the last lookback_days sessions. Each of the two baselines
-- is complete by itself or there is no row: a symbol whose n sessions do not all lie within 2 · n + 10 calendar days before the scanned one
-- is new or was halted, and so for lookback_days. Nor is there a row for a symbol without a bar by the cutoff, or without any usual volume.
-- Prices are compared as they are: a split that the source has not adjusted for looks like a new low.
-- The probability score is a score from 0 to 100, not a probability:
-- 40 · min(beyond_pct / 2, 1) + 40 · min(relative_volume / 3, 1) + 20 · min(sessions_since_level / 25, 1). A level of yesterday is a run
-- that goes on; one that has held for 25 sessions, the five weeks that a base takes, says more.
-- Within a session, rank goes by score, then by beyond_pct (higher first), then by symbol.
--
-- @inherit session_bars sessions_as_of scan_breakout scan_relative_volume
-- @param lookback_sessions INTEGER sessions, 1 to 500: how many sessions the high or low is of; 252 are a year.
-- @param direction VARCHAR one of long, short, any: which side the signal is on; a new high is long, a new low short.
-- @column scan_date date of the session.
-- @column symbol name of the stock.
-- @column price currency, close of the latest bar that had ended by the cutoff.
-- @column setup new_high or new_low.
-- @column level currency, highest high of the last n sessions at a new high, their lowest low at a new low.
-- @column level_date date of the session that made the level; the latest, if several did.
-- @column sessions_since_level sessions, how many the level has held: 1 if the session before made it, n at most.
-- @column beyond_pct %, how far the price is beyond the level: 100 · |price / level − 1|.
-- @column opposite_level currency, lowest low of the last n sessions at a new high, their highest high at a new low.
-- @column from_opposite_pct %, how far the price has come from the opposite level: 100 · |price / opposite_level − 1|.
-- @column relative_volume times, volume so far over the mean volume by the same time of day in the last lookback_days sessions.
-- @column change_pct %, price against the session's open: 100 · (price / open − 1).
-- @column session_change_pct %, price against the close of the session before: 100 · (price / previous close − 1).
-- @column volume shares traded so far.
-- @column probability_score points from 0 to 100; a score, not a probability.
-- @column rank place within the session, 1 is best.
-- @source New highs of 52 weeks: T. J. George and C.-Y. Hwang, The 52-Week High and Momentum Investing, Journal of Finance 59 (2004). Bases of five weeks and more: W. J. O'Neil, How to Make Money in Stocks.
-- @example FROM scan_new_high('2025-01-15', lookback_sessions := 40)
-- @example FROM scan_new_high('2025-01-15', '10:30', lookback_sessions := 20, direction := 'short', min_relative_volume := 0.5)
CREATE MACRO scan_new_high(
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
    lookback_sessions := 252,
    lookback_days := 14,
    min_relative_volume := 1,
    direction := 'any'
) AS TABLE
WITH sessions AS (
    SELECT
        session.*,
        row_number() OVER by_session AS session_number,
        max(session.previous_high) OVER lookback AS highest,
        min(session.previous_low) OVER lookback AS lowest,
        lag(session.session_date, integer_in_range(lookback_sessions, 1, 500, 'scan_new_high', 'lookback_sessions')) OVER by_session AS lookback_start,
        avg(session.previous_volume_by_cutoff) OVER baseline AS usual_volume,
        lag(session.session_date, integer_in_range(lookback_days, 1, 250, 'scan_new_high', 'lookback_days')) OVER by_session AS baseline_start
    FROM sessions_as_of(
        scan_date,
        cutoff_time := cutoff_time,
        end_date := end_date,
        history_sessions := greatest(
            integer_in_range(lookback_sessions, 1, 500, 'scan_new_high', 'lookback_sessions'),
            integer_in_range(lookback_days, 1, 250, 'scan_new_high', 'lookback_days')
        ),
        source := source,
        bar_minutes := bar_minutes,
        session_start := session_start,
        session_end := session_end,
        symbols := symbols,
        called_by := 'scan_new_high'
    ) AS session
    WINDOW
        by_session AS (PARTITION BY session.symbol ORDER BY session.session_date),
        lookback AS (
            PARTITION BY session.symbol
            ORDER BY session.session_date
            ROWS BETWEEN integer_in_range(lookback_sessions, 1, 500, 'scan_new_high', 'lookback_sessions') - 1 PRECEDING AND CURRENT ROW
        ),
        baseline AS (
            PARTITION BY session.symbol
            ORDER BY session.session_date
            ROWS BETWEEN integer_in_range(lookback_days, 1, 250, 'scan_new_high', 'lookback_days') - 1 PRECEDING AND CURRENT ROW
        )
),

beyond_range AS (
    SELECT
        sessions.session_date,
        sessions.session_number,
        sessions.symbol,
        sessions.price,
        sessions.price > sessions.highest AS is_high,
        CASE WHEN sessions.price > sessions.highest THEN sessions.highest ELSE sessions.lowest END AS level,
        CASE WHEN sessions.price > sessions.highest THEN sessions.lowest ELSE sessions.highest END AS opposite_level,
        sessions.volume / sessions.usual_volume AS relative_volume,
        100 * (sessions.price / sessions.open - 1) AS change_pct,
        100 * (sessions.price / sessions.previous_close - 1) AS session_change_pct,
        sessions.volume
    FROM sessions
    WHERE
        sessions.session_date >= session_date(scan_date, 'scan_new_high', 'scan_date')
        AND (sessions.price > sessions.highest OR sessions.price < sessions.lowest)
        -- Not history_complete, which holds for the longer of the two.
        AND sessions.lookback_start
        >= sessions.session_date
        - CAST(2 * integer_in_range(lookback_sessions, 1, 500, 'scan_new_high', 'lookback_sessions') + 10 AS INTEGER)
        AND sessions.baseline_start
        >= sessions.session_date
        - CAST(2 * integer_in_range(lookback_days, 1, 250, 'scan_new_high', 'lookback_days') + 10 AS INTEGER)
        AND sessions.usual_volume > 0
),

hits AS (
    SELECT
        beyond_range.*,
        100 * abs(beyond_range.price / beyond_range.level - 1) AS beyond_pct,
        100 * abs(beyond_range.price / beyond_range.opposite_level - 1) AS from_opposite_pct
    FROM beyond_range
    WHERE
        in_order(min_price, max_price, 'scan_new_high', 'min_price', 'max_price')
        AND beyond_range.price >= number_in_range(min_price, 0, NULL, 'scan_new_high', 'min_price')
        AND beyond_range.price <= number_in_range(max_price, 0, NULL, 'scan_new_high', 'max_price')
        AND beyond_range.volume >= integer_in_range(min_volume, 0, NULL, 'scan_new_high', 'min_volume')
        AND beyond_range.relative_volume >= number_in_range(min_relative_volume, 0, 100, 'scan_new_high', 'min_relative_volume')
        AND one_of(direction, 'long, short, any', 'scan_new_high', 'direction')
        IN ('any', CASE WHEN beyond_range.is_high THEN 'long' ELSE 'short' END)
),

-- Both ends of each session in one column, so that a level is looked up by its value.
extremes AS (
    SELECT sessions.symbol, sessions.session_number, sessions.previous_session_date, TRUE AS is_high, sessions.previous_high AS level
    FROM sessions
    UNION ALL
    SELECT sessions.symbol, sessions.session_number, sessions.previous_session_date, FALSE AS is_high, sessions.previous_low AS level
    FROM sessions
),

levels AS (
    SELECT
        hits.symbol,
        hits.session_number,
        max(extremes.previous_session_date) AS level_date,
        hits.session_number - max(extremes.session_number) + 1 AS sessions_since_level
    FROM hits
    INNER JOIN extremes
        ON
            extremes.symbol = hits.symbol
            AND extremes.is_high = hits.is_high
            AND extremes.level = hits.level
            AND extremes.session_number <= hits.session_number
            AND extremes.session_number
            > hits.session_number - integer_in_range(lookback_sessions, 1, 500, 'scan_new_high', 'lookback_sessions')
    GROUP BY hits.symbol, hits.session_number
),

candidates AS (
    SELECT
        hits.*,
        levels.level_date,
        levels.sessions_since_level,
        40 * least(hits.beyond_pct / 2, 1)
        + 40 * least(hits.relative_volume / 3, 1)
        + 20 * least(levels.sessions_since_level / 25, 1) AS probability_score
    FROM hits
    INNER JOIN levels ON levels.symbol = hits.symbol AND levels.session_number = hits.session_number
),

ranked AS (
    SELECT
        candidates.*,
        row_number() OVER (
            PARTITION BY candidates.session_date
            ORDER BY candidates.probability_score DESC, candidates.beyond_pct DESC, candidates.symbol
        ) AS rank
    FROM candidates
    WHERE candidates.probability_score >= number_in_range(min_probability_score, 0, 100, 'scan_new_high', 'min_probability_score')
)

SELECT
    ranked.session_date AS scan_date,
    ranked.symbol,
    ranked.price,
    CASE WHEN ranked.is_high THEN 'new_high' ELSE 'new_low' END AS setup,
    ranked.level,
    ranked.level_date,
    ranked.sessions_since_level,
    ranked.beyond_pct,
    ranked.opposite_level,
    ranked.from_opposite_pct,
    ranked.relative_volume,
    ranked.change_pct,
    ranked.session_change_pct,
    ranked.volume,
    ranked.probability_score,
    ranked.rank
FROM ranked
WHERE ranked.rank <= integer_in_range(max_results_per_day, 1, 10000, 'scan_new_high', 'max_results_per_day')
ORDER BY ranked.session_date, ranked.rank
