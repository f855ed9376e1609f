-- One bar of the source, by symbol and ts, with the indicators that were asked for.
--
-- They are asked for as a STRUCT of expressions over open, high, low, close and volume, which are here the lists of one symbol's bars in the
-- order of time: `{close: close, rsi: ti_rsi(close), macd: ti_macd(close, 5, 35, 5)}`. Each field becomes a column, or, where the indicator
-- has several values, one for each of them (macd, macd_signal, macd_hist), whatever the field is called; `{fast: ti_macd(close).macd}` takes
-- one of them and names it. Any expression with a value for each bar will do; what it does not name is not read. The lists are made once,
-- however many indicators share them. A value is made of nothing later than its own bar. Bars are those of the source, whatever they hold:
-- an indicator leaves out those that it cannot use. A bar without ts or symbol has no place in a series and is left out.
--
-- @param indicators STRUCT: what to compute, as `{name: expression, …}`.
-- @param source VARCHAR: name of the relation with the bars: a table, a view, a CTE, a Parquet file; or a list of names.
-- @param symbols VARCHAR[]: the stocks to read. NULL: all.
-- @column symbol name of the stock.
-- @column ts start of the bar.
-- @column … and one for each field of indicators, in their order.
-- @example FROM bar_indicators({close: close, rsi: ti_rsi(close), macd: ti_macd(close)}) ORDER BY symbol, ts
-- @example SELECT symbol, ts, atr FROM bar_indicators({atr: ti_atr(high, low, close, 20)}, symbols := ['DEMO0001']) WHERE ts >= '2025-01-15'
CREATE MACRO bar_indicators(indicators, source := 'bars', symbols := NULL) AS TABLE
WITH stockscan_series AS (
    SELECT
        CAST(bar.symbol AS VARCHAR) AS symbol,
        series_times(CAST(bar.ts AS TIMESTAMP)) AS ts,
        series(CAST(bar.open AS DOUBLE), CAST(bar.ts AS TIMESTAMP)) AS open,
        series(CAST(bar.high AS DOUBLE), CAST(bar.ts AS TIMESTAMP)) AS high,
        series(CAST(bar.low AS DOUBLE), CAST(bar.ts AS TIMESTAMP)) AS low,
        series(CAST(bar.close AS DOUBLE), CAST(bar.ts AS TIMESTAMP)) AS close,
        series(CAST(bar.volume AS DOUBLE), CAST(bar.ts AS TIMESTAMP)) AS volume
    FROM query_table(source, true) AS bar
    WHERE
        is_bar_time(typeof(bar.ts), 'bar_indicators')
        AND bar.symbol IS NOT NULL
        AND (symbols IS NULL OR list_contains(CAST(symbols AS VARCHAR[]), CAST(bar.symbol AS VARCHAR)))
    GROUP BY bar.symbol
),

stockscan_results AS (
    SELECT stockscan_series.symbol AS stockscan_symbol, stockscan_series.ts AS stockscan_ts, unnest(indicators, recursive := true)
    FROM stockscan_series
    WHERE are_series(typeof(indicators), 'bar_indicators', 'indicators')
)

SELECT
    stockscan_results.stockscan_symbol AS symbol,
    unnest(stockscan_results.stockscan_ts) AS ts,
    unnest(
        CASE
            WHEN len(COLUMNS(* EXCLUDE (stockscan_symbol, stockscan_ts))) != len(stockscan_results.stockscan_ts)
                THEN error('bar_indicators: a field of indicators has another number of values than there are bars')
            ELSE COLUMNS(* EXCLUDE (stockscan_symbol, stockscan_ts))
        END
    )
FROM stockscan_results
