-- One bar of a made-up market: the same arguments give the same market on every machine and with any number of threads.
--
-- A market to learn and test on, never to draw conclusions from. It has what scanners look for and what trips them: trends, calm
-- stretches and active ones, opening gaps, volume that is high at the open and the close, early bursts on heavy volume, minutes without a
-- trade, symbols that list late and symbols that are halted for some sessions. Sessions are weekdays but for two holidays, from 09:15 to
-- 15:30, 375 minutes; the last one is 2025-01-15, so that a date in the documentation is in every demo market. Prices are multiples of 0.05.
-- Each price is a function of its own minute (a Brownian bridge built from value noise of four periods), so nothing is sorted and no row
-- waits for another.
--
-- @param symbols INTEGER symbols, 1 to 10000: how many stocks, named DEMO0001 and so on.
-- @param sessions INTEGER sessions, 1 to 2500: how many trading days, counted back from 2025-01-15.
-- @param seed BIGINT: another seed is another market.
-- @column symbol name of the stock.
-- @column ts start of the minute, exchange time.
-- @column open currency, price at the start of the minute.
-- @column high currency, highest price of the minute.
-- @column low currency, lowest price of the minute.
-- @column close currency, price at the end of the minute.
-- @column volume shares traded in the minute.
-- @source Brownian bridge by midpoint displacement: P. Glasserman, Monte Carlo Methods in Financial Engineering (2003), section 3.1.
-- @example FROM demo_bars(symbols := 5, sessions := 3) LIMIT 5
-- @example CREATE TABLE bars AS FROM demo_bars()
CREATE MACRO demo_bars(symbols := 50, sessions := 80, seed := 42) AS TABLE
WITH weekdays AS (
    SELECT
        CAST(day.range AS DATE) AS session_date,
        row_number() OVER (ORDER BY day.range DESC) AS sessions_back
    FROM range(
        TIMESTAMP '2025-01-15' - to_days(CAST(2 * integer_in_range(sessions, 1, 2500, 'demo_bars', 'sessions') + 10 AS INTEGER)),
        TIMESTAMP '2025-01-16',
        INTERVAL 1 DAY
    ) AS day
    WHERE isodow(day.range) <= 5 AND strftime(day.range, '%m-%d') NOT IN ('12-25', '01-01')
),

calendar AS (
    SELECT weekdays.session_date, integer_in_range(sessions, 1, 2500, 'demo_bars', 'sessions') - weekdays.sessions_back AS session_number
    FROM weekdays
    WHERE weekdays.sessions_back <= integer_in_range(sessions, 1, 2500, 'demo_bars', 'sessions')
),

-- What stays the same for a stock: its price level, how much it moves and how much it trades.
listings AS (
    SELECT
        number.range AS stock,
        format('DEMO{:04d}', number.range + 1) AS symbol,
        70 * exp(demo_uniform(hash(CAST(seed AS BIGINT), number.range, 1)) * ln(1700 / 70)) AS base_price,
        0.008 + 0.016 * demo_uniform(hash(CAST(seed AS BIGINT), number.range, 2)) AS volatility,
        100 * exp(demo_uniform(hash(CAST(seed AS BIGINT), number.range, 3)) * ln(100)) AS minute_volume
    FROM range(integer_in_range(symbols, 1, 10000, 'demo_bars', 'symbols')) AS number
),

-- The shape of each session: calm or active for eight sessions at a time, sometimes a burst after the open.
days AS (
    SELECT
        listings.stock,
        listings.symbol,
        listings.base_price,
        listings.minute_volume,
        calendar.session_date,
        calendar.session_number,
        listings.volatility
        * (0.25 + 0.9 * demo_uniform(hash(CAST(seed AS BIGINT), listings.stock, calendar.session_number // 8, 11))) AS day_volatility,
        demo_uniform(hash(CAST(seed AS BIGINT), listings.stock, calendar.session_number, 12)) < 0.14 AS has_burst,
        CASE WHEN demo_uniform(hash(CAST(seed AS BIGINT), listings.stock, calendar.session_number, 13)) < 0.7 THEN 1 ELSE -1 END
        * (0.025 + 0.04 * demo_uniform(hash(CAST(seed AS BIGINT), listings.stock, calendar.session_number, 14))) AS burst_return,
        12 + 40 * demo_uniform(hash(CAST(seed AS BIGINT), listings.stock, calendar.session_number, 15)) AS burst_minutes,
        exp(0.35 * demo_normal(hash(CAST(seed AS BIGINT), listings.stock, calendar.session_number, 16))) AS day_activity,
        demo_normal(hash(CAST(seed AS BIGINT), listings.stock, calendar.session_number, 17)) AS gap_noise,
        demo_normal(hash(CAST(seed AS BIGINT), listings.stock, calendar.session_number, 18)) AS return_noise
    FROM listings
    CROSS JOIN calendar
),

-- Log returns overnight and from open to close.
returns AS (
    SELECT
        days.*,
        0.35 * days.day_volatility * days.gap_noise AS gap_return,
        CASE WHEN days.has_burst THEN days.burst_return ELSE 0 END + 0.7 * days.day_volatility * days.return_noise AS day_return
    FROM days
),

levels AS (
    SELECT
        returns.*,
        hash(CAST(seed AS BIGINT), returns.stock, returns.session_number) AS session_hash,
        ln(returns.base_price) + coalesce(sum(returns.gap_return + returns.day_return) OVER earlier, 0) + returns.gap_return AS log_open
    FROM returns
    WINDOW earlier AS (
        PARTITION BY returns.stock ORDER BY returns.session_number ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING
    )
),

-- One row per minute that traded, with the noise at both ends of the minute for each of the four periods.
minutes AS (
    SELECT
        levels.*,
        minute.range AS minute,
        hash(CAST(seed AS BIGINT), levels.stock, levels.session_number, minute.range, 21) AS minute_hash,
        demo_noise(levels.session_hash, 75, minute.range, minute.range)
        + demo_noise(levels.session_hash, 25, minute.range, minute.range)
        + demo_noise(levels.session_hash, 5, minute.range, minute.range)
        + demo_noise(levels.session_hash, 1, minute.range, minute.range) AS noise_at_open,
        demo_noise(levels.session_hash, 75, minute.range, minute.range + 1)
        + demo_noise(levels.session_hash, 25, minute.range, minute.range + 1)
        + demo_noise(levels.session_hash, 5, minute.range, minute.range + 1)
        + demo_noise(levels.session_hash, 1, minute.range, minute.range + 1) AS noise_at_close,
        levels.has_burst AND minute.range < levels.burst_minutes AS in_burst
    FROM levels
    CROSS JOIN range(375) AS minute
    WHERE
        NOT (levels.stock % 25 = 7 AND levels.session_number < 12)
        AND NOT (levels.stock % 25 = 11 AND levels.session_number % 30 BETWEEN 17 AND 19)
),

paths AS (
    SELECT
        minutes.symbol,
        minutes.session_date,
        minutes.minute,
        minutes.minute_hash,
        minutes.in_burst,
        minutes.minute_volume * minutes.day_activity AS usual_volume,
        minutes.day_volatility,
        exp(
            minutes.log_open
            + 0.05 * minutes.day_volatility * minutes.noise_at_open
            + (minutes.day_return - CASE WHEN minutes.has_burst THEN minutes.burst_return ELSE 0 END) * minutes.minute / 375
            + CASE WHEN minutes.has_burst THEN minutes.burst_return * least(minutes.minute / minutes.burst_minutes, 1) ELSE 0 END
        ) AS open_price,
        exp(
            minutes.log_open
            + 0.05 * minutes.day_volatility * minutes.noise_at_close
            + (minutes.day_return - CASE WHEN minutes.has_burst THEN minutes.burst_return ELSE 0 END) * (minutes.minute + 1) / 375
            + CASE WHEN minutes.has_burst THEN minutes.burst_return * least((minutes.minute + 1) / minutes.burst_minutes, 1) ELSE 0 END
        ) AS close_price
    FROM minutes
    WHERE demo_uniform(minutes.minute_hash) >= 0.02 * (300 / (300 + minutes.minute_volume))
)

SELECT
    paths.symbol,
    CAST(paths.session_date + TIME '09:15:00' AS TIMESTAMP) + to_minutes(paths.minute) AS ts,
    round(20 * paths.open_price) / 20 AS open,
    round(20 * greatest(paths.open_price, paths.close_price) * (1 + 0.03 * paths.day_volatility * demo_uniform(hash(paths.minute_hash, 1))))
    / 20 AS high,
    round(20 * least(paths.open_price, paths.close_price) * (1 - 0.03 * paths.day_volatility * demo_uniform(hash(paths.minute_hash, 2))))
    / 20 AS low,
    round(20 * paths.close_price) / 20 AS close,
    CAST(
        1 + paths.usual_volume
        * (1 + 3 * exp(-paths.minute / 15) + 1.5 * exp((paths.minute - 374) / 20))
        * exp(0.5 * demo_normal(hash(paths.minute_hash, 3)))
        * CASE WHEN paths.in_burst THEN 4 ELSE 1 END
        AS BIGINT
    ) AS volume
FROM paths
