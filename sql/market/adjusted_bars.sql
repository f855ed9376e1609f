-- One bar of the source, with its prices and its volume as if the splits and bonus issues known on a day had always been.
--
-- For each action of the bar's symbol whose ex_date is later than the bar's session and not later than `as_of`, the prices are divided by the
-- ratio, and the volume is multiplied by it; the ratios of several actions multiply. The volume is rounded to whole shares, half to even. So
-- the bars of the session `as_of` and of later ones are as they are in the source, and a scan of that session sees the prices of its day:
-- adjusted for a split that was still to come, they would be others, which limits like min_price would take for real. For a range, `as_of`
-- is its last session; its earlier ones are then adjusted for what came later within the range. Dividends are not taken into account.
--
-- `actions` has one row for each symbol and ex_date: two actions of one day are given as the product of their ratios. A symbol or a date that
-- is missing, a ratio that is not a number from 0.000001 to 1000000, or a second row for a symbol and date is an error, also of an action
-- that is later than `as_of`. Rows with a ratio of 1 are not looked at. Bars that scanners leave out come out such that they still leave them out, with
-- NULL for a volume that is no whole number. Filters on symbol and ts reach the source.
--
-- @param actions VARCHAR: the relation with the actions, named as a source is. Columns symbol, ex_date (the first session at the new price) and ratio (new shares for each old one: 2 for a split 2:1 and for a bonus of one for one, 1.5 for one for two, 0.1 for a reverse split 1:10).
-- @param as_of DATE: the session to look from; later actions are not yet known.
-- @inherit session_bars
-- @column symbol name of the stock.
-- @column ts start of the bar, exchange time.
-- @column open currency, first price.
-- @column high currency, highest price.
-- @column low currency, lowest price.
-- @column close currency, last price.
-- @column volume shares traded in the bar.
-- @example WITH splits AS (SELECT 'DEMO0001' AS symbol, DATE '2025-01-14' AS ex_date, 2 AS ratio) FROM adjusted_bars('splits', '2025-01-15') LIMIT 5
CREATE MACRO adjusted_bars(actions, as_of, source := 'bars') AS TABLE
-- One expression says what is wrong with a row, or what it is: where conditions stand side by side, DuckDB may leave one out.
WITH stockscan_actions AS (
    SELECT
        CASE
            WHEN action.symbol IS NULL THEN error('adjusted_bars: symbol of an action must not be NULL')
            ELSE CAST(action.symbol AS VARCHAR)
        END AS symbol,
        session_date(action.ex_date, 'adjusted_bars', 'ex_date of ' || CAST(action.symbol AS VARCHAR)) AS ex_date,
        action.ratio
    FROM query_table(actions, true) AS action
    -- Tables of daily prices have a ratio of 1 on every day without an action.
    WHERE TRY_CAST(action.ratio AS DOUBLE) IS DISTINCT FROM 1
),

stockscan_known_actions AS (
    SELECT
        stockscan_actions.symbol,
        stockscan_actions.ex_date,
        CASE
            WHEN count(*) > 1
                THEN CAST(error(format(
                    'adjusted_bars: {} has {} actions with the ex_date {}, expected one with the product of their ratios',
                    stockscan_actions.symbol,
                    count(*),
                    stockscan_actions.ex_date
                )) AS DOUBLE)
            WHEN number_in_range(
                any_value(stockscan_actions.ratio),
                0.000001,
                1000000,
                'adjusted_bars',
                format('ratio of {} on {}', stockscan_actions.symbol, stockscan_actions.ex_date)
            ) > 0
                THEN CASE
                    WHEN stockscan_actions.ex_date <= session_date(as_of, 'adjusted_bars', 'as_of')
                        THEN CAST(any_value(stockscan_actions.ratio) AS DOUBLE)
                END
        END AS ratio
    FROM stockscan_actions
    GROUP BY stockscan_actions.symbol, stockscan_actions.ex_date
),

-- Between two of its actions, a symbol is adjusted by those that are still to come.
stockscan_stretches AS (
    SELECT
        stockscan_known_actions.symbol,
        -- The first date that a TIMESTAMP_NS can be compared with.
        coalesce(lag(stockscan_known_actions.ex_date) OVER by_date, DATE '1678-01-01') AS first_date,
        stockscan_known_actions.ex_date,
        list_product(list(stockscan_known_actions.ratio) OVER (by_date ROWS BETWEEN CURRENT ROW AND UNBOUNDED FOLLOWING)) AS factor
    FROM stockscan_known_actions
    WHERE stockscan_known_actions.ratio IS NOT NULL
    WINDOW by_date AS (PARTITION BY stockscan_known_actions.symbol ORDER BY stockscan_known_actions.ex_date)
)

SELECT
    CAST(bar.symbol AS VARCHAR) AS symbol,
    bar.ts,
    CAST(bar.open AS DOUBLE) / coalesce(stockscan_stretches.factor, 1) AS open,
    CAST(bar.high AS DOUBLE) / coalesce(stockscan_stretches.factor, 1) AS high,
    CAST(bar.low AS DOUBLE) / coalesce(stockscan_stretches.factor, 1) AS low,
    CAST(bar.close AS DOUBLE) / coalesce(stockscan_stretches.factor, 1) AS close,
    TRY_CAST(CAST(bar.volume AS DOUBLE) * coalesce(stockscan_stretches.factor, 1) AS BIGINT) AS volume
FROM query_table(source, true) AS bar
LEFT JOIN stockscan_stretches
    ON is_bar_time(typeof(bar.ts), 'adjusted_bars')
    AND CAST(bar.symbol AS VARCHAR) = stockscan_stretches.symbol
    AND bar.ts >= stockscan_stretches.first_date
    AND bar.ts < stockscan_stretches.ex_date
