-- A session that opens where a split or a bonus issue would put it, with the ratio: prices that are probably not adjusted.
--
-- To a scan an unadjusted split is a fall, and it shifts every level and every volume of the sessions before. A session is returned when
-- 1. the close of the session before over its opening price, less what the market moved, is within 5 % of a usual ratio: 3:2, 2:1, 5:2, 3:1,
--    4:1, 5:1, 6:1, 7:1, 8:1, 10:1, 15:1, 20:1, 25:1, 30:1, 40:1, 50:1, 100:1, or, for a reverse split, 1:2, 1:3 and so on;
-- 2. the price stays there: the same of the session's close, within 20 %;
-- 3. the day was calm, unlike one of news: the value traded (volume · close), or the shares, are at most 3.5 times their median over the up to
--    20 sessions before, if that is not 0; and, for ratios from 1:2 to 5:2, the height of the session is at most 5 times its median.
-- The opening price is the close of the first bar, since a first bar may begin with a stray trade at the old price, and the height is the
-- highest close over the lowest, less 1. Of a session of one bar, such as a daily bar, they are the open, and the high over the low, less 1.
-- What the market moved is the median over all symbols, if there are 5 or more. The session before must lie within 12 calendar days.
--
-- Smaller ratios, such as a bonus of one share for five, cannot be told from an ordinary gap. A spin-off of a large part of a company looks
-- the same, and prices have to be adjusted for it all the same. A ratio is a guess, to be looked up before adjusted_bars() is given it.
--
-- @inherit session_bars
-- @column symbol name of the stock.
-- @column ex_date date of the first session at the new price.
-- @column ratio shares that each share before has become: 2 for a split 2:1, 0.1 for a reverse split 1:10.
-- @column ratio_text the ratio as it is written: 2:1, 3:2, 1:10.
-- @column price_ratio times, previous_close over opening.
-- @column market_change_pct %, opening price of the market's median stock against its close of the session before; 0 with fewer than 5 stocks.
-- @column previous_date date of the session before.
-- @column previous_close currency, close of the session before.
-- @column opening currency, opening price of the session.
-- @column close currency, close of the session.
-- @column value_ratio times, value traded over its median in the up to 20 sessions before; NULL if that is 0.
-- @column volume_ratio times, shares traded over their median in them; NULL if that is 0.
-- @example FROM likely_splits()
-- @example SELECT symbol, ex_date, ratio_text FROM likely_splits(session_start := '09:15', session_end := '15:30')
CREATE MACRO likely_splits(
    source := 'bars',
    bar_minutes := 1,
    session_start := NULL,
    session_end := NULL,
    symbols := NULL,
    called_by := 'likely_splits'
) AS TABLE
WITH symbol_sessions AS (
    SELECT
        bar.symbol,
        bar.session_date,
        CASE WHEN min(bar.ts) < max(bar.ts) THEN arg_min(bar.close, bar.ts) ELSE min(bar.open) END AS opening,
        CASE WHEN min(bar.ts) < max(bar.ts) THEN max(bar.close) / min(bar.close) ELSE max(bar.high) / min(bar.low) END AS height,
        arg_max(bar.close, bar.ts) AS close,
        CAST(sum(bar.volume) AS DOUBLE) AS volume
    FROM session_bars(
        -- Every date that a TIMESTAMP_NS can be compared with.
        '1678-01-01',
        '2261-12-31',
        source := source,
        bar_minutes := bar_minutes,
        session_start := session_start,
        session_end := session_end,
        symbols := symbols,
        called_by := called_by
    ) AS bar
    GROUP BY bar.symbol, bar.session_date
),

openings AS (
    SELECT
        symbol_sessions.*,
        row_number() OVER by_session AS session_number,
        lag(symbol_sessions.session_date) OVER by_session AS previous_date,
        lag(symbol_sessions.close) OVER by_session AS previous_close
    FROM symbol_sessions
    WINDOW by_session AS (PARTITION BY symbol_sessions.symbol ORDER BY symbol_sessions.session_date)
),

markets AS (
    SELECT
        openings.session_date,
        CASE WHEN count(*) >= 5 THEN median(ln(openings.opening / openings.previous_close)) ELSE 0 END AS log_change,
        CASE WHEN count(*) >= 5 THEN median(ln(openings.close / openings.previous_close)) ELSE 0 END AS log_change_by_close
    FROM openings
    WHERE openings.previous_date >= openings.session_date - 12
    GROUP BY openings.session_date
),

ratios AS (
    SELECT ratio.shares / ratio.for_shares AS ratio, ratio.shares || ':' || ratio.for_shares AS ratio_text
    FROM (
        SELECT forward.shares, forward.for_shares
        FROM (
            VALUES (3, 2), (2, 1), (5, 2), (3, 1), (4, 1), (5, 1), (6, 1), (7, 1), (8, 1), (10, 1), (15, 1), (20, 1), (25, 1), (30, 1), (40, 1),
            (50, 1), (100, 1)
        ) AS forward (shares, for_shares)
        UNION ALL
        SELECT 1, reverse.for_shares
        FROM (VALUES (2), (3), (4), (5), (6), (7), (8), (10), (15), (20), (25), (30), (40), (50), (100)) AS reverse (for_shares)
    ) AS ratio
),

-- Few sessions open a third lower or higher: only those are compared with every ratio.
jumps AS (
    SELECT openings.*, markets.log_change, markets.log_change_by_close
    FROM openings
    JOIN markets ON openings.session_date = markets.session_date
    WHERE
        openings.previous_date >= openings.session_date - 12
        AND abs(ln(openings.previous_close / openings.opening) + markets.log_change) > ln(1.4)
),

fitting AS (
    SELECT jumps.*, ratios.ratio, ratios.ratio_text
    FROM jumps
    JOIN ratios
        ON abs(ln(jumps.previous_close / jumps.opening) + jumps.log_change - ln(ratios.ratio)) <= ln(1.05)
        AND abs(ln(jumps.previous_close / jumps.close) + jumps.log_change_by_close - ln(ratios.ratio)) <= ln(1.2)
    QUALIFY row_number() OVER (
        PARTITION BY jumps.symbol, jumps.session_date
        ORDER BY abs(ln(jumps.previous_close / jumps.opening) + jumps.log_change - ln(ratios.ratio)), ratios.ratio
    ) = 1
),

usual AS (
    SELECT
        fitting.symbol,
        fitting.session_date,
        median(earlier.volume * earlier.close) AS value,
        median(earlier.volume) AS volume,
        median(earlier.height - 1) AS height
    FROM openings AS earlier
    JOIN fitting
        ON earlier.symbol = fitting.symbol
        AND earlier.session_number >= fitting.session_number - 20
        AND earlier.session_number < fitting.session_number
    GROUP BY fitting.symbol, fitting.session_date
)

SELECT
    fitting.symbol,
    fitting.session_date AS ex_date,
    fitting.ratio,
    fitting.ratio_text,
    fitting.previous_close / fitting.opening AS price_ratio,
    100 * (exp(fitting.log_change) - 1) AS market_change_pct,
    fitting.previous_date,
    fitting.previous_close,
    fitting.opening,
    fitting.close,
    fitting.volume * fitting.close / nullif(usual.value, 0) AS value_ratio,
    fitting.volume / nullif(usual.volume, 0) AS volume_ratio
FROM fitting
JOIN usual ON fitting.symbol = usual.symbol AND fitting.session_date = usual.session_date
WHERE
    (fitting.volume * fitting.close <= 3.5 * usual.value OR fitting.volume <= 3.5 * usual.volume OR usual.volume = 0)
    AND (fitting.ratio >= 3 OR fitting.ratio < 0.34 OR fitting.height - 1 <= 5 * usual.height)
ORDER BY fitting.session_date, fitting.symbol
