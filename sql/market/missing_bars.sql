-- A stretch of bars that should be there and are not: of one symbol, or of the market.
--
-- What should be there is read from the other symbols and the other sessions, since neither a calendar nor a list of halts is known:
-- - gap: a symbol has no bar where at least half of the symbols that trade that day have one, for gap_minutes or more. Of a symbol that often
--   has none, only what is too long to come about by chance (once in 1e9 times, given what it lacks in its other sessions) is a gap. A late
--   start and an early end are gaps as well.
-- - missing_session: a symbol has no bar on dates, between its first and its last, on which at least half of the symbols listed then have one.
-- - partial_session: fewer than half of the symbols listed on a date have a bar on it. Listed is a symbol from its first to its last bar.
-- - market_outage: fewer than half of the day's symbols have a bar, for gap_minutes or more, where at least half have one in most of the up to
--   10 sessions before and 10 after, at least 3. Half-days and special sessions look the same. Their symbols have no gap on top.
-- - market_break: no symbol has a bar for more than a week.
-- Bars that scanners leave out count as missing, doubled ones as two: put right what check_bars() calls an error first.
--
-- @inherit session_bars
-- @param gap_minutes INTEGER minutes, 1 to 1440: how much may be missing within a session before it is reported.
-- @column kind gap, missing_session, partial_session, market_outage or market_break.
-- @column symbol name of the stock; NULL where it is the market.
-- @column session_date date of the session, or of the first one missing.
-- @column first_ts start of the first bar that is missing; the first date, where sessions are.
-- @column last_ts start of the last bar that is missing; the last date, where sessions are.
-- @column bars bars that are missing. Where sessions are, about so many: the symbol's mean in a session for each one missing, the date's mean for each symbol of a partial_session, the bars of the session before for each weekday of a market_break.
-- @example FROM missing_bars()
-- @example SELECT kind, symbol, first_ts, last_ts FROM missing_bars(gap_minutes := 30) WHERE kind != 'missing_session'
CREATE MACRO missing_bars(
    source := 'bars',
    bar_minutes := 1,
    session_start := NULL,
    session_end := NULL,
    gap_minutes := 15,
    called_by := 'missing_bars'
) AS TABLE
-- A relation of the caller's with the name of one of the steps that read would be taken for it, hence their first word.
WITH stockscan_minutes AS (
    SELECT
        bar.session_date,
        epoch_us(bar.ts) % 86400000000
            // (60000000 * integer_in_range(bar_minutes, 1, 1440, called_by, 'bar_minutes'))
            * integer_in_range(bar_minutes, 1, 1440, called_by, 'bar_minutes') AS minute,
        count(*) AS bars
    FROM session_bars(
        -- Every date that a TIMESTAMP_NS can be compared with.
        '1678-01-01',
        '2261-12-31',
        source := source,
        bar_minutes := bar_minutes,
        session_start := session_start,
        session_end := session_end,
        called_by := called_by
    ) AS bar
    GROUP BY ALL
),

-- An hour of a symbol is one number, with a bit for each minute: so bars are read twice, and never sorted.
stockscan_hours AS (
    SELECT
        bar.symbol,
        bar.session_date,
        epoch_us(bar.ts) % 86400000000
            // (60000000 * integer_in_range(bar_minutes, 1, 1440, called_by, 'bar_minutes'))
            * integer_in_range(bar_minutes, 1, 1440, called_by, 'bar_minutes') // 60 AS hour,
        bit_or(
            CAST(1 AS BIGINT) << (
                epoch_us(bar.ts) % 86400000000
            // (60000000 * integer_in_range(bar_minutes, 1, 1440, called_by, 'bar_minutes'))
            * integer_in_range(bar_minutes, 1, 1440, called_by, 'bar_minutes') % 60
            )
        ) AS minutes,
        count(*) AS bars
    FROM session_bars(
        -- Every date that a TIMESTAMP_NS can be compared with.
        '1678-01-01',
        '2261-12-31',
        source := source,
        bar_minutes := bar_minutes,
        session_start := session_start,
        session_end := session_end,
        called_by := called_by
    ) AS bar
    GROUP BY ALL
),

symbol_sessions AS (
    SELECT stockscan_hours.symbol, stockscan_hours.session_date, sum(stockscan_hours.bars) AS bars
    FROM stockscan_hours
    GROUP BY stockscan_hours.symbol, stockscan_hours.session_date
),

listings AS (
    SELECT
        symbol_sessions.symbol,
        min(symbol_sessions.session_date) AS first_session,
        max(symbol_sessions.session_date) AS last_session,
        sum(symbol_sessions.bars) / count(*) AS mean_bars
    FROM symbol_sessions
    GROUP BY symbol_sessions.symbol
),

listed AS (
    SELECT listings.first_session AS session_date, count(*) AS symbols
    FROM listings
    GROUP BY listings.first_session
),

delisted AS (
    SELECT listings.last_session AS session_date, count(*) AS symbols
    FROM listings
    GROUP BY listings.last_session
),

dates AS (
    SELECT
        symbol_sessions.session_date,
        count(*) AS symbols,
        sum(symbol_sessions.bars) AS bars,
        lag(symbol_sessions.session_date) OVER (ORDER BY symbol_sessions.session_date) AS previous_date,
        lag(sum(symbol_sessions.bars)) OVER (ORDER BY symbol_sessions.session_date) AS previous_bars
    FROM symbol_sessions
    GROUP BY symbol_sessions.session_date
),

listed_dates AS (
    SELECT
        dates.*,
        coalesce(sum(listed.symbols) OVER (ORDER BY dates.session_date), 0)
        - coalesce(sum(delisted.symbols) OVER (ORDER BY dates.session_date ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING), 0) AS listed_symbols
    FROM dates
    LEFT JOIN listed ON dates.session_date = listed.session_date
    LEFT JOIN delisted ON dates.session_date = delisted.session_date
),

-- A date on which most of the symbols do not trade, such as an evening session of some, is none that the others miss.
sessions AS (
    SELECT
        listed_dates.*,
        2 * listed_dates.symbols >= listed_dates.listed_symbols AS is_market,
        count(*) FILTER (WHERE 2 * listed_dates.symbols >= listed_dates.listed_symbols) OVER (ORDER BY listed_dates.session_date) AS market_number
    FROM listed_dates
),

market_minutes AS (
    SELECT
        stockscan_minutes.session_date,
        stockscan_minutes.minute,
        row_number() OVER (PARTITION BY stockscan_minutes.session_date ORDER BY stockscan_minutes.minute) AS place
    FROM stockscan_minutes
    JOIN sessions ON stockscan_minutes.session_date = sessions.session_date
    WHERE 2 * stockscan_minutes.bars >= sessions.symbols
),

market_hours AS (
    SELECT
        market_minutes.session_date,
        market_minutes.minute // 60 AS hour,
        bit_or(CAST(1 AS BIGINT) << (market_minutes.minute % 60)) AS minutes
    FROM market_minutes
    GROUP BY market_minutes.session_date, market_minutes.minute // 60
),

expected AS (
    SELECT market_hours.session_date, sum(bit_count(market_hours.minutes)) AS bars
    FROM market_hours
    GROUP BY market_hours.session_date
),

traded AS (
    SELECT
        stockscan_hours.symbol,
        stockscan_hours.session_date,
        coalesce(sum(bit_count(stockscan_hours.minutes & market_hours.minutes)), 0) AS bars
    FROM stockscan_hours
    LEFT JOIN market_hours ON stockscan_hours.session_date = market_hours.session_date AND stockscan_hours.hour = market_hours.hour
    GROUP BY stockscan_hours.symbol, stockscan_hours.session_date
),

-- What a symbol lacks in its other sessions says how often it has no bar without anything being wrong.
thinness AS (
    SELECT
        traded.symbol,
        traded.session_date,
        expected.bars - traded.bars AS missing_bars,
        coalesce(
            (sum(expected.bars - traded.bars) OVER all_sessions - (expected.bars - traded.bars))
            / nullif(sum(expected.bars) OVER all_sessions - expected.bars, 0),
            1 - traded.bars / expected.bars
        ) AS missing_share
    FROM traded
    JOIN expected ON traded.session_date = expected.session_date
    WINDOW all_sessions AS (PARTITION BY traded.symbol)
),

-- Few symbols miss so much of a session that there can be a gap: only those are looked at minute by minute.
suspects AS (
    SELECT
        thinness.symbol,
        thinness.session_date,
        greatest(
            integer_in_range(gap_minutes, 1, 1440, called_by, 'gap_minutes') / integer_in_range(bar_minutes, 1, 1440, called_by, 'bar_minutes'),
            -- So many in a row are missing by chance once in 1e9 times.
            CASE WHEN thinness.missing_share > 0 AND thinness.missing_share < 1 THEN ln(1e-9) / ln(thinness.missing_share) ELSE 1 END
        ) AS patience
    FROM thinness
    WHERE
        thinness.missing_share < 1
        AND thinness.missing_bars
        >= integer_in_range(gap_minutes, 1, 1440, called_by, 'gap_minutes') / integer_in_range(bar_minutes, 1, 1440, called_by, 'bar_minutes')
),

missing_minutes AS (
    SELECT
        suspects.symbol,
        suspects.session_date,
        suspects.patience,
        market_minutes.minute,
        market_minutes.place - row_number() OVER (PARTITION BY suspects.symbol, suspects.session_date ORDER BY market_minutes.place) AS stretch
    FROM suspects
    JOIN market_minutes ON suspects.session_date = market_minutes.session_date
    LEFT JOIN stockscan_hours
        ON suspects.symbol = stockscan_hours.symbol
        AND suspects.session_date = stockscan_hours.session_date
        AND market_minutes.minute // 60 = stockscan_hours.hour
    WHERE (coalesce(stockscan_hours.minutes, 0) >> (market_minutes.minute % 60)) & 1 = 0
),

gaps AS (
    SELECT
        missing_minutes.symbol,
        missing_minutes.session_date,
        min(missing_minutes.minute) AS first_minute,
        max(missing_minutes.minute) AS last_minute,
        count(*) AS bars
    FROM missing_minutes
    GROUP BY missing_minutes.symbol, missing_minutes.session_date, missing_minutes.patience, missing_minutes.stretch
    HAVING count(*) >= missing_minutes.patience
),

symbol_breaks AS (
    SELECT
        symbol_sessions.symbol,
        1 + lag(sessions.market_number) OVER by_session AS first_number,
        sessions.market_number - CAST(sessions.is_market AS INTEGER) AS last_number
    FROM symbol_sessions
    JOIN sessions ON symbol_sessions.session_date = sessions.session_date
    WINDOW by_session AS (PARTITION BY symbol_sessions.symbol ORDER BY symbol_sessions.session_date)
),

missing_sessions AS (
    SELECT
        symbol_breaks.symbol,
        first_missing.session_date AS first_date,
        last_missing.session_date AS last_date,
        (symbol_breaks.last_number - symbol_breaks.first_number + 1) * listings.mean_bars AS bars
    FROM symbol_breaks
    JOIN sessions AS first_missing ON symbol_breaks.first_number = first_missing.market_number AND first_missing.is_market
    JOIN sessions AS last_missing ON symbol_breaks.last_number = last_missing.market_number AND last_missing.is_market
    JOIN listings ON symbol_breaks.symbol = listings.symbol
    WHERE symbol_breaks.first_number <= symbol_breaks.last_number
),

-- Each market session with every minute that any of them has.
market_grid AS (
    SELECT
        sessions.session_date,
        sessions.symbols,
        clock.minute,
        market_minutes.place IS NOT NULL AS is_there,
        count(market_minutes.place) OVER around - CAST(market_minutes.place IS NOT NULL AS INTEGER) AS there,
        count(*) OVER around - 1 AS others
    FROM sessions
    CROSS JOIN (SELECT DISTINCT market_minutes.minute FROM market_minutes) AS clock
    LEFT JOIN market_minutes ON sessions.session_date = market_minutes.session_date AND clock.minute = market_minutes.minute
    WHERE sessions.is_market
    WINDOW around AS (PARTITION BY clock.minute ORDER BY sessions.market_number ROWS BETWEEN 10 PRECEDING AND 10 FOLLOWING)
),

usual_minutes AS (
    SELECT market_grid.*, row_number() OVER (PARTITION BY market_grid.session_date ORDER BY market_grid.minute) AS place
    FROM market_grid
    WHERE market_grid.others >= 3 AND 2 * market_grid.there > market_grid.others
),

quiet_minutes AS (
    SELECT
        usual_minutes.session_date,
        usual_minutes.symbols,
        usual_minutes.minute,
        usual_minutes.place
        - row_number() OVER (PARTITION BY usual_minutes.session_date ORDER BY usual_minutes.place) AS stretch
    FROM usual_minutes
    WHERE NOT usual_minutes.is_there
),

outages AS (
    SELECT
        quiet_minutes.session_date,
        min(quiet_minutes.minute) AS first_minute,
        max(quiet_minutes.minute) AS last_minute,
        sum(quiet_minutes.symbols - coalesce(stockscan_minutes.bars, 0)) AS bars
    FROM quiet_minutes
    LEFT JOIN stockscan_minutes
        ON quiet_minutes.session_date = stockscan_minutes.session_date AND quiet_minutes.minute = stockscan_minutes.minute
    GROUP BY quiet_minutes.session_date, quiet_minutes.stretch
    HAVING
        count(*) * integer_in_range(bar_minutes, 1, 1440, called_by, 'bar_minutes')
        >= integer_in_range(gap_minutes, 1, 1440, called_by, 'gap_minutes')
),

found AS (
    SELECT
        'gap' AS kind,
        gaps.symbol,
        gaps.session_date,
        gaps.session_date + to_minutes(gaps.first_minute) AS first_ts,
        gaps.session_date + to_minutes(gaps.last_minute) AS last_ts,
        gaps.bars
    FROM gaps
    UNION ALL
    SELECT 'missing_session', missing_sessions.symbol, missing_sessions.first_date, missing_sessions.first_date, missing_sessions.last_date, missing_sessions.bars
    FROM missing_sessions
    UNION ALL
    SELECT
        'market_outage',
        NULL,
        outages.session_date,
        outages.session_date + to_minutes(outages.first_minute),
        outages.session_date + to_minutes(outages.last_minute),
        outages.bars
    FROM outages
    UNION ALL
    SELECT
        'partial_session',
        NULL,
        sessions.session_date,
        sessions.session_date,
        sessions.session_date,
        (sessions.listed_symbols - sessions.symbols) * sessions.bars / sessions.symbols
    FROM sessions
    WHERE NOT sessions.is_market
    UNION ALL
    SELECT
        'market_break',
        NULL,
        sessions.previous_date + 1,
        sessions.previous_date + 1,
        sessions.session_date - 1,
        sessions.previous_bars
        * len(
            list_filter(
                range(1, sessions.session_date - sessions.previous_date),
                lambda day: isodow(sessions.previous_date + CAST(day AS INTEGER)) <= 5
            )
        )
    FROM sessions
    WHERE sessions.session_date - sessions.previous_date > 7
)

SELECT
    found.kind,
    found.symbol,
    found.session_date,
    CAST(found.first_ts AS TIMESTAMP) AS first_ts,
    CAST(found.last_ts AS TIMESTAMP) AS last_ts,
    CAST(round(found.bars) AS BIGINT) AS bars
FROM found
ORDER BY found.first_ts, found.kind, found.symbol, found.last_ts
