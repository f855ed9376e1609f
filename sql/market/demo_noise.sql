-- Noise of one period at a point of a session of 375 minutes: 0 at the session's start and end, as far as a random walk goes in between.
--
-- Value noise: random heights at every `period`-th minute, weighed by the square root of the period, straight lines in between. Noises of
-- several periods add up to a rough path. `point` may be `minute` or `minute + 1`, so that the close of a minute is the open of the next.
--
-- @param session_hash UBIGINT: a hash of what the session is.
-- @param period BIGINT minutes: distance of the random heights; it divides 375.
-- @param minute BIGINT minutes: the bar, counted from the open.
-- @param point BIGINT minutes: where on the bar, counted from the open.
-- @source Brownian bridge by midpoint displacement: P. Glasserman, Monte Carlo Methods in Financial Engineering (2003), section 3.1.
-- @example SELECT demo_noise(hash(42), 25, 10, 11) AS x
CREATE MACRO demo_noise(session_hash, period, minute, point) AS
sqrt(period) * (
    CASE WHEN minute // period = 0 THEN 0 ELSE demo_normal(hash(session_hash, period, minute // period)) END
    * (1 - (point - minute // period * period) / period)
    + CASE
        WHEN (minute // period + 1) * period = 375 THEN 0
        ELSE demo_normal(hash(session_hash, period, minute // period + 1))
    END
    * (point - minute // period * period) / period
)
