-- A stock by its return over the last n sessions, the latest few left out: a winner or a loser.
--
-- The return runs between closes of whole sessions: from the close lookback_sessions before the end to the close of the end, which is the
-- latest whole session, or lies skip_sessions before it, since what moved in the last days tends to come back. Where the running session
-- stands never enters the return: its price and volume so far are filters, and latest_change_pct says what has happened since the end.
-- That takes lookback_sessions + skip_sessions + 1 sessions before the scanned one; a symbol whose sessions do not all lie within twice as
-- many calendar days + 10 is new or was halted: no row. Nor is there one for a symbol without a bar by the cutoff, or back where it started.
-- Closes are compared as they are: without adjusted bars, a split in the window looks like a loss.
-- The probability score is a score from 0 to 100, not a probability:
-- 60 · m / (m + 30) + 20 · min(q / 2, 1) + 20 · min(c / 2, 1), with m = |momentum_pct|, q = |momentum_per_volatility| and
-- c = max(consistency_pct, 0) / 100 · √n, which is rises less falls over what chance makes of n sessions; the middle term is 20 if
-- volatility_pct is 0, and 0 if it is NULL. So of two stocks that are alike otherwise the greater return comes first, however great both are,
-- and of two with the same return the one that got there in small steps rather than in a few jumps: that kind goes on for longer. The score
-- is a matter of the stock alone, only rank compares. Within a session, rank goes by score, then by |momentum_pct| (higher first), then by
-- symbol.
--
-- @inherit session_bars sessions_as_of scan_breakout
-- @param lookback_sessions INTEGER sessions, 1 to 500: how many sessions the return is of; 126 are half a year.
-- @param skip_sessions INTEGER sessions, 0 to 100: how many of the latest whole sessions are left out of the return.
-- @param min_momentum_pct DOUBLE %, 0 to 1000 step 1: least |momentum_pct|.
-- @param direction VARCHAR one of long, short, any: which side the signal is on; winners are long, losers short.
-- @column scan_date date of the session.
-- @column symbol name of the stock.
-- @column price currency, close of the latest bar that had ended by the cutoff.
-- @column side long for a winner (the return is above 0), short for a loser.
-- @column momentum_pct %, return of the window: 100 · (end_close / start_close − 1).
-- @column start_date date of the session whose close the return starts from.
-- @column start_close currency, last close of that session.
-- @column end_date date of the session whose close the return ends with.
-- @column end_close currency, last close of that session.
-- @column latest_change_pct %, what has happened since: 100 · (price / end_close − 1).
-- @column volatility_pct %, how much a session moves: sample standard deviation of the n logarithmic returns from close to close, times 100; NULL if n is 1.
-- @column momentum_per_volatility times, return over what this volatility amounts to in so many sessions: momentum_pct / (volatility_pct · √n); NULL if volatility_pct is NULL or 0.
-- @column consistency_pct %, share of the window's sessions that closed on the side of the return less the share of those that closed against it; 100 if all moved its way.
-- @column volume shares traded so far.
-- @column probability_score points from 0 to 100; a score, not a probability.
-- @column rank place within the session, 1 is best.
-- @source Winners and losers: N. Jegadeesh and S. Titman, Returns to Buying Winners and Selling Losers, Journal of Finance 48 (1993). Small steps: Z. Da, U. G. Gurun and M. Warachka, Frog in the Pan, Review of Financial Studies 27 (2014); consistency_pct is their information discreteness with the sign turned. Return over volatility: MSCI Momentum Indexes Methodology.
-- @example FROM scan_momentum('2025-01-15', lookback_sessions := 40)
-- @example FROM scan_momentum('2025-01-15', '10:30', lookback_sessions := 20, skip_sessions := 0, direction := 'short')
CREATE MACRO scan_momentum(
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
    lookback_sessions := 126,
    skip_sessions := 5,
    min_momentum_pct := 0,
    direction := 'any'
) AS TABLE
WITH sessions AS (
    SELECT
        session.*,
        -- In whole units of 1e-14, whose sums are exact; a sliding stddev() of doubles depends, in its last digits, on how many rows lie
        -- before the window, and a list for each window takes many times as long. Logarithms, so that none is too large to be squared.
        CAST(round(1e14 * ln(session.previous_close / lag(session.previous_close) OVER by_session)) AS HUGEINT) AS previous_return,
        sign(session.previous_close - lag(session.previous_close) OVER by_session) AS previous_direction
    FROM sessions_as_of(
        scan_date,
        cutoff_time := cutoff_time,
        end_date := end_date,
        history_sessions := integer_in_range(lookback_sessions, 1, 500, 'scan_momentum', 'lookback_sessions')
        + integer_in_range(skip_sessions, 0, 100, 'scan_momentum', 'skip_sessions')
        + 1,
        source := source,
        bar_minutes := bar_minutes,
        session_start := session_start,
        session_end := session_end,
        symbols := symbols,
        called_by := 'scan_momentum'
    ) AS session
    WINDOW by_session AS (PARTITION BY session.symbol ORDER BY session.session_date)
),

with_returns AS (
    SELECT
        sessions.*,
        first_value(sessions.previous_session_date) OVER closes AS start_date,
        first_value(sessions.previous_close) OVER closes AS start_close,
        last_value(sessions.previous_session_date) OVER closes AS end_date,
        last_value(sessions.previous_close) OVER closes AS end_close,
        sum(sessions.previous_return) OVER returns AS sum_of_returns,
        sum(sessions.previous_return * sessions.previous_return) OVER returns AS sum_of_squares,
        sum(sessions.previous_direction) OVER returns AS rises_less_falls
    FROM sessions
    WINDOW
        closes AS (
            PARTITION BY sessions.symbol
            ORDER BY sessions.session_date
            ROWS BETWEEN integer_in_range(lookback_sessions, 1, 500, 'scan_momentum', 'lookback_sessions')
            + integer_in_range(skip_sessions, 0, 100, 'scan_momentum', 'skip_sessions') PRECEDING
            AND integer_in_range(skip_sessions, 0, 100, 'scan_momentum', 'skip_sessions') PRECEDING
        ),
        -- One row less: each close but the first has a return.
        returns AS (
            PARTITION BY sessions.symbol
            ORDER BY sessions.session_date
            ROWS BETWEEN integer_in_range(lookback_sessions, 1, 500, 'scan_momentum', 'lookback_sessions')
            + integer_in_range(skip_sessions, 0, 100, 'scan_momentum', 'skip_sessions')
            - 1 PRECEDING
            AND integer_in_range(skip_sessions, 0, 100, 'scan_momentum', 'skip_sessions') PRECEDING
        )
),

movers AS (
    SELECT
        with_returns.session_date,
        with_returns.symbol,
        with_returns.price,
        CASE WHEN with_returns.end_close > with_returns.start_close THEN 'long' ELSE 'short' END AS side,
        100 * (with_returns.end_close / with_returns.start_close - 1) AS momentum_pct,
        with_returns.start_date,
        with_returns.start_close,
        with_returns.end_date,
        with_returns.end_close,
        sqrt(
            CAST(
                integer_in_range(lookback_sessions, 1, 500, 'scan_momentum', 'lookback_sessions') * with_returns.sum_of_squares
                - with_returns.sum_of_returns * with_returns.sum_of_returns
                AS DOUBLE
            )
            / integer_in_range(lookback_sessions, 1, 500, 'scan_momentum', 'lookback_sessions')
            / nullif(integer_in_range(lookback_sessions, 1, 500, 'scan_momentum', 'lookback_sessions') - 1, 0)
        )
        * 1e-12 AS volatility_pct,
        100
        * (sign(with_returns.end_close - with_returns.start_close) * with_returns.rises_less_falls)
        / integer_in_range(lookback_sessions, 1, 500, 'scan_momentum', 'lookback_sessions') AS consistency_pct,
        with_returns.volume
    FROM with_returns
    WHERE
        with_returns.session_date >= session_date(scan_date, 'scan_momentum', 'scan_date')
        AND with_returns.price IS NOT NULL
        AND with_returns.history_complete
        AND with_returns.end_close != with_returns.start_close
),

with_volatility AS (
    SELECT
        movers.*,
        movers.momentum_pct
        / nullif(movers.volatility_pct * sqrt(integer_in_range(lookback_sessions, 1, 500, 'scan_momentum', 'lookback_sessions')), 0)
        AS momentum_per_volatility
    FROM movers
    WHERE
        in_order(min_price, max_price, 'scan_momentum', 'min_price', 'max_price')
        AND movers.price >= number_in_range(min_price, 0, NULL, 'scan_momentum', 'min_price')
        AND movers.price <= number_in_range(max_price, 0, NULL, 'scan_momentum', 'max_price')
        AND movers.volume >= integer_in_range(min_volume, 0, NULL, 'scan_momentum', 'min_volume')
        AND abs(movers.momentum_pct) >= number_in_range(min_momentum_pct, 0, 1000, 'scan_momentum', 'min_momentum_pct')
        AND one_of(direction, 'long, short, any', 'scan_momentum', 'direction') IN ('any', movers.side)
),

candidates AS (
    SELECT
        with_volatility.*,
        60 * abs(with_volatility.momentum_pct) / (abs(with_volatility.momentum_pct) + 30)
        + CASE WHEN with_volatility.volatility_pct = 0 THEN 20 ELSE 20 * least(coalesce(abs(with_volatility.momentum_per_volatility), 0) / 2, 1) END
        + 20
        * least(
            greatest(with_volatility.consistency_pct, 0)
            / 200
            * sqrt(integer_in_range(lookback_sessions, 1, 500, 'scan_momentum', 'lookback_sessions')),
            1
        ) AS probability_score
    FROM with_volatility
),

ranked AS (
    SELECT
        candidates.*,
        row_number() OVER (
            PARTITION BY candidates.session_date
            ORDER BY candidates.probability_score DESC, abs(candidates.momentum_pct) DESC, candidates.symbol
        ) AS rank
    FROM candidates
    WHERE candidates.probability_score >= number_in_range(min_probability_score, 0, 100, 'scan_momentum', 'min_probability_score')
)

SELECT
    ranked.session_date AS scan_date,
    ranked.symbol,
    ranked.price,
    ranked.side,
    ranked.momentum_pct,
    ranked.start_date,
    ranked.start_close,
    ranked.end_date,
    ranked.end_close,
    100 * (ranked.price / ranked.end_close - 1) AS latest_change_pct,
    ranked.volatility_pct,
    ranked.momentum_per_volatility,
    ranked.consistency_pct,
    ranked.volume,
    ranked.probability_score,
    ranked.rank
FROM ranked
WHERE ranked.rank <= integer_in_range(max_results_per_day, 1, 10000, 'scan_momentum', 'max_results_per_day')
ORDER BY ranked.session_date, ranked.rank
