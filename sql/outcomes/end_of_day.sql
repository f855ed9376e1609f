-- What a hit of a scan stood at by the end of its session, against its price at the cutoff.
--
-- The price by the end of the day is the close of the symbol's last bar between the cutoff and end_of_day_time. It is known only once the
-- session has got that far: as long as no symbol of the source has a bar that ends at end_of_day_time or later, everything is NULL, and so
-- it is for a symbol without a bar after the cutoff. Nothing stands in for a price that is not there. The day's range is that of the
-- session's bars up to end_of_day_time, those before the cutoff included. Nobody trades at a scan's price: outcomes() says what a trade would
-- have made. A row was not known at its hit: never rank by it.
--
-- @inherit session_bars outcomes
-- @param hits VARCHAR: the relation with scan_date, symbol and price: a table, a view, a CTE. A hit that stands there twice is one.
-- @param start_date DATE: first session of the hits.
-- @param end_date DATE: last session of them. NULL: the first one only.
-- @param cutoff_time TIME exchange time: when the hits were known; that of the scan.
-- @param end_of_day_time TIME exchange time: up to when a session is followed.
-- @param direction VARCHAR one of long, short: whether a rise or a fall is a success.
-- @column scan_date date of the hit.
-- @column symbol name of the stock.
-- @column eod_price currency, close of its last bar by end_of_day_time; NULL as long as that is not known.
-- @column price_change_pct %, 100 · (eod_price / price − 1).
-- @column day_range_pct %, 100 · (highest high / lowest low − 1) of the session.
-- @column breakout_successful whether the price has gone the hit's way: above the price of the hit, or below it if direction is short.
-- @example WITH hits AS (FROM scan_gap('2025-01-15', min_gap_pct := 0.2)) FROM end_of_day('hits', '2025-01-15')
-- @example WITH hits AS (FROM scan_breakout('2025-01-06', end_date := '2025-01-14')) SELECT avg(day.price_change_pct) FROM end_of_day('hits', '2025-01-06', end_date := '2025-01-14') AS day
CREATE MACRO end_of_day(
    hits,
    start_date,
    end_date := NULL,
    cutoff_time := '09:50',
    end_of_day_time := '15:15',
    direction := 'long',
    source := 'bars',
    bar_minutes := 1,
    session_start := NULL,
    session_end := NULL
) AS TABLE
WITH stockscan_hits AS (
    SELECT
        CAST(hit.scan_date AS DATE) AS scan_date,
        CAST(hit.symbol AS VARCHAR) AS symbol,
        any_value(CAST(hit.price AS DOUBLE)) AS price
    FROM query_table(hits, true) AS hit
    GROUP BY ALL
),

stockscan_bars AS (
    SELECT
        bar.session_date,
        bar.symbol,
        bar.ts,
        bar.high,
        bar.low,
        bar.close,
        bar.ts
        <= bar.session_date
        + latest_visible_start(end_of_day_time, integer_in_range(bar_minutes, 1, 1440, 'end_of_day', 'bar_minutes'), 'end_of_day', 'end_of_day_time') AS by_end_of_day
    FROM session_bars(
        start_date,
        coalesce(CAST(end_date AS VARCHAR), CAST(start_date AS VARCHAR)),
        source := source,
        bar_minutes := bar_minutes,
        session_start := session_start,
        session_end := session_end,
        called_by := 'end_of_day'
    ) AS bar
    WHERE in_order(start_date, end_date, 'end_of_day', 'start_date', 'end_date')
),

-- Of all symbols: whether a session has come to its end is not for one of them to say.
stockscan_complete_sessions AS (
    SELECT stockscan_bars.session_date
    FROM stockscan_bars
    GROUP BY stockscan_bars.session_date
    HAVING
        max(stockscan_bars.ts)
        >= stockscan_bars.session_date
        + latest_visible_start(end_of_day_time, integer_in_range(bar_minutes, 1, 1440, 'end_of_day', 'bar_minutes'), 'end_of_day', 'end_of_day_time')
),

stockscan_days AS (
    SELECT
        hit.scan_date,
        hit.symbol,
        hit.price,
        arg_max(bar.close, bar.ts) FILTER (
            WHERE bar.ts
                > hit.scan_date
                + latest_visible_start(cutoff_time, integer_in_range(bar_minutes, 1, 1440, 'end_of_day', 'bar_minutes'), 'end_of_day', 'cutoff_time')
        ) AS eod_price,
        max(bar.high) AS highest,
        min(bar.low) AS lowest
    FROM stockscan_hits AS hit
    JOIN stockscan_complete_sessions AS session ON session.session_date = hit.scan_date
    JOIN stockscan_bars AS bar ON bar.session_date = hit.scan_date AND bar.symbol = hit.symbol
    WHERE bar.by_end_of_day
    GROUP BY hit.scan_date, hit.symbol, hit.price
)

SELECT
    hit.scan_date,
    hit.symbol,
    followed.eod_price,
    100 * (followed.eod_price / followed.price - 1) AS price_change_pct,
    CASE WHEN followed.eod_price IS NOT NULL THEN 100 * (followed.highest / followed.lowest - 1) END AS day_range_pct,
    CASE one_of(direction, 'long, short', 'end_of_day', 'direction')
        WHEN 'short' THEN followed.eod_price < followed.price
        ELSE followed.eod_price > followed.price
    END AS breakout_successful
FROM stockscan_hits AS hit
LEFT JOIN stockscan_days AS followed ON followed.scan_date = hit.scan_date AND followed.symbol = hit.symbol
ORDER BY hit.scan_date, hit.symbol
