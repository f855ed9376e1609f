-- The market of one session as it stood at the cutoff: how many stocks rose and fell, on what volume, and which led.
--
-- Made of what was known at the cutoff, like a scan: the stocks counted are those with at least one bar by then. A session in which none has
-- one has no row. Rises and falls are against the close of the symbol's session before; a symbol without a session in the 12 calendar days
-- before (2 · 1 + 10, as for any baseline) is new or was halted, and is counted apart. Volume is set against the usual one over those
-- symbols only whose lookback_days latest sessions before this one all lie within 2 · n + 10 calendar days, and new highs and lows are looked
-- for where that holds of lookback_sessions: with_usual_volume and with_lookback say how many they are. A new high is a price above the
-- highest high of those sessions, as in scan_new_high; a high that the price has left again is none.
--
-- @inherit session_bars sessions_as_of scan_relative_volume
-- @param lookback_sessions INTEGER sessions, 1 to 500: how many earlier sessions a new high or low is of; 252 are a year.
-- @column scan_date date of the session.
-- @column symbols stocks with at least one bar by the cutoff.
-- @column advancers stocks whose price is above the close of their session before.
-- @column decliners stocks whose price is below it.
-- @column unchanged stocks whose price is at it.
-- @column without_previous_close stocks without a session in the 12 days before; the other three and this one add up to symbols.
-- @column net_advances advancers less decliners.
-- @column advance_decline_ratio times, advancers over decliners; NULL if no stock declines.
-- @column mean_change_pct %, mean of 100 · (price / previous close − 1), each stock counting the same; NULL if no stock has a previous close.
-- @column median_change_pct %, median of the same.
-- @column above_open_pct %, share of the stocks whose price is above the session's open.
-- @column volume shares traded so far, by all stocks.
-- @column up_volume shares traded so far by advancers.
-- @column down_volume shares traded so far by decliners.
-- @column usual_volume shares, mean volume by the same time of day over the last lookback_days sessions, of the stocks that have them all; NULL if none has.
-- @column relative_volume times, volume so far of those stocks over their usual volume; NULL without a usual volume.
-- @column with_usual_volume stocks that have all of these sessions.
-- @column new_highs stocks whose price is above the highest high of their last lookback_sessions sessions.
-- @column new_lows stocks whose price is below the lowest low of them.
-- @column with_lookback stocks that have all of these sessions.
-- @column strongest_symbol stock with the highest change, the first by name on a tie.
-- @column strongest_change_pct %, its change.
-- @column weakest_symbol stock with the lowest change, the first by name on a tie.
-- @column weakest_change_pct %, its change.
-- @source Market breadth: C. D. Kirkpatrick and J. R. Dahlquist, Technical Analysis (2016), chapter 8: advance-decline, up and down volume, new highs and lows.
-- @example FROM market_overview('2025-01-15')
-- @example FROM market_overview('2025-01-06', '10:30', end_date := '2025-01-15', lookback_sessions := 10)
CREATE MACRO market_overview(
    scan_date,
    cutoff_time := '09:50',
    end_date := NULL,
    source := 'bars',
    bar_minutes := 1,
    session_start := NULL,
    session_end := NULL,
    symbols := NULL,
    lookback_days := 14,
    lookback_sessions := 20
) AS TABLE
WITH sessions AS (
    SELECT
        session.*,
        sum(session.previous_volume_by_cutoff) OVER volume_baseline AS baseline_volume,
        max(session.previous_high) OVER lookback AS highest,
        min(session.previous_low) OVER lookback AS lowest,
        -- Not history_complete: that is of the longer of the two baselines.
        lag(session.session_date, integer_in_range(lookback_days, 1, 250, 'market_overview', 'lookback_days')) OVER by_session AS volume_baseline_start,
        lag(session.session_date, integer_in_range(lookback_sessions, 1, 500, 'market_overview', 'lookback_sessions')) OVER by_session AS lookback_start
    FROM sessions_as_of(
        scan_date,
        cutoff_time := cutoff_time,
        end_date := end_date,
        history_sessions := greatest(
            integer_in_range(lookback_days, 1, 250, 'market_overview', 'lookback_days'),
            integer_in_range(lookback_sessions, 1, 500, 'market_overview', 'lookback_sessions')
        ),
        source := source,
        bar_minutes := bar_minutes,
        session_start := session_start,
        session_end := session_end,
        symbols := symbols,
        called_by := 'market_overview'
    ) AS session
    WINDOW
        by_session AS (PARTITION BY session.symbol ORDER BY session.session_date),
        volume_baseline AS (
            PARTITION BY session.symbol
            ORDER BY session.session_date
            ROWS BETWEEN integer_in_range(lookback_days, 1, 250, 'market_overview', 'lookback_days') - 1 PRECEDING AND CURRENT ROW
        ),
        lookback AS (
            PARTITION BY session.symbol
            ORDER BY session.session_date
            ROWS BETWEEN integer_in_range(lookback_sessions, 1, 500, 'market_overview', 'lookback_sessions') - 1 PRECEDING AND CURRENT ROW
        )
),

trading AS (
    SELECT
        sessions.session_date,
        sessions.symbol,
        sessions.price,
        sessions.open,
        sessions.volume,
        -- A range reads further back than its sessions do one by one; what they would not see is not to count.
        CASE WHEN sessions.previous_session_date >= sessions.session_date - 12 THEN sessions.previous_close END AS previous_close,
        CASE
            WHEN sessions.volume_baseline_start
                >= sessions.session_date
                - CAST(2 * integer_in_range(lookback_days, 1, 250, 'market_overview', 'lookback_days') + 10 AS INTEGER)
                THEN sessions.baseline_volume
        END AS baseline_volume,
        coalesce(
            sessions.lookback_start
            >= sessions.session_date
            - CAST(2 * integer_in_range(lookback_sessions, 1, 500, 'market_overview', 'lookback_sessions') + 10 AS INTEGER),
            false
        ) AS has_lookback,
        sessions.highest,
        sessions.lowest
    FROM sessions
    WHERE
        sessions.session_date >= session_date(scan_date, 'market_overview', 'scan_date')
        AND sessions.price IS NOT NULL
),

changes AS (
    SELECT trading.*, 100 * (trading.price / trading.previous_close - 1) AS change_pct
    FROM trading
),

totals AS (
    SELECT
        changes.session_date,
        count(*) AS stocks,
        count(*) FILTER (WHERE changes.price > changes.previous_close) AS advancers,
        count(*) FILTER (WHERE changes.price < changes.previous_close) AS decliners,
        count(*) FILTER (WHERE changes.price = changes.previous_close) AS unchanged,
        count(*) FILTER (WHERE changes.previous_close IS NULL) AS without_previous_close,
        -- In the order of the symbols, since a sum of doubles depends on its order in the last digits.
        list_avg(list(changes.change_pct ORDER BY changes.symbol)) AS mean_change_pct,
        median(changes.change_pct) AS median_change_pct,
        count(*) FILTER (WHERE changes.price > changes.open) AS above_open,
        sum(changes.volume) AS volume,
        coalesce(sum(changes.volume) FILTER (WHERE changes.price > changes.previous_close), 0) AS up_volume,
        coalesce(sum(changes.volume) FILTER (WHERE changes.price < changes.previous_close), 0) AS down_volume,
        sum(changes.volume) FILTER (WHERE changes.baseline_volume IS NOT NULL) AS compared_volume,
        sum(changes.baseline_volume) AS baseline_volume,
        count(changes.baseline_volume) AS with_usual_volume,
        count(*) FILTER (WHERE changes.has_lookback AND changes.price > changes.highest) AS new_highs,
        count(*) FILTER (WHERE changes.has_lookback AND changes.price < changes.lowest) AS new_lows,
        count(*) FILTER (WHERE changes.has_lookback) AS with_lookback,
        min({'order': -changes.change_pct, 'symbol': changes.symbol, 'change_pct': changes.change_pct})
            FILTER (WHERE changes.change_pct IS NOT NULL) AS strongest,
        min({'order': changes.change_pct, 'symbol': changes.symbol, 'change_pct': changes.change_pct})
            FILTER (WHERE changes.change_pct IS NOT NULL) AS weakest
    FROM changes
    GROUP BY changes.session_date
)

SELECT
    totals.session_date AS scan_date,
    totals.stocks AS symbols,
    totals.advancers,
    totals.decliners,
    totals.unchanged,
    totals.without_previous_close,
    totals.advancers - totals.decliners AS net_advances,
    totals.advancers / nullif(totals.decliners, 0) AS advance_decline_ratio,
    totals.mean_change_pct,
    totals.median_change_pct,
    100 * totals.above_open / totals.stocks AS above_open_pct,
    CAST(totals.volume AS BIGINT) AS volume,
    CAST(totals.up_volume AS BIGINT) AS up_volume,
    CAST(totals.down_volume AS BIGINT) AS down_volume,
    totals.baseline_volume / integer_in_range(lookback_days, 1, 250, 'market_overview', 'lookback_days') AS usual_volume,
    totals.compared_volume * integer_in_range(lookback_days, 1, 250, 'market_overview', 'lookback_days')
    / nullif(totals.baseline_volume, 0) AS relative_volume,
    totals.with_usual_volume,
    totals.new_highs,
    totals.new_lows,
    totals.with_lookback,
    totals.strongest.symbol AS strongest_symbol,
    totals.strongest.change_pct AS strongest_change_pct,
    totals.weakest.symbol AS weakest_symbol,
    totals.weakest.change_pct AS weakest_change_pct
FROM totals
ORDER BY totals.session_date
