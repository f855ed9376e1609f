-- One session of a portfolio: what it gained, what it is worth at the end, and how far that is below its highest.
--
-- A row for each session of each run, with trades or without, from the run's first session to its last, or to the last exit if that is
-- later. Open positions are valued at the session's last price, without the costs of closing them; a trade's costs count in the session of
-- its exit. In a session without a bar of its symbol, a position is open and worth what it was. Equity is never below zero. The benchmark is
-- the same initial capital, put in equal parts into every symbol that has a bar from the run's first date to its last, each at the open of
-- its first bar there, and held.
--
-- @inherit sized_trades
-- @param trades VARCHAR: the relation with the trades, as sized_trades() gives them.
-- @param closes VARCHAR: the relation with the prices, as session_closes() gives them: every session of the runs, and those until the last exit.
-- @param runs VARCHAR: the relation with the runs: run BIGINT, first_date and last_date.
-- @column run the portfolio.
-- @column session_date date of the session.
-- @column entered trades that were entered.
-- @column positions trades that were open at some time of the session.
-- @column invested currency, what was put into those.
-- @column profit currency, gain of the session.
-- @column equity currency, worth at the end of the session.
-- @column return_pct %, gain over the equity before; over the initial capital if profits are not compounded.
-- @column drawdown_pct %, how far the equity is below its highest so far, 0 or less.
-- @column benchmark_equity currency, worth of the benchmark at the end of the session.
-- @column benchmark_return_pct %, gain of the benchmark over its worth before.
-- @column benchmark_drawdown_pct %, how far the benchmark is below its highest so far, 0 or less.
-- @example WITH found AS (FROM scan_breakout('2025-01-06', end_date := '2025-01-14')), trades AS (SELECT 0 AS run, hit.probability_score, hit.rank, o.* FROM outcomes('found') AS o JOIN found AS hit USING (scan_date, symbol)), sized AS (FROM sized_trades('trades')), closes AS (FROM session_closes('2025-01-06', '2025-01-15')), runs AS (SELECT 0 AS run, '2025-01-06' AS first_date, '2025-01-14' AS last_date) FROM equity_curve('sized', 'closes', 'runs')
CREATE MACRO equity_curve(trades, closes, runs, initial_capital := 100000, compounding := TRUE, called_by := 'equity_curve') AS TABLE
WITH stockscan_taken AS (
    SELECT trade.*, CAST(trade.entry_ts AS DATE) AS entry_date, CAST(trade.exit_ts AS DATE) AS exit_date
    FROM query_table(trades) AS trade
    WHERE trade.amount > 0
),

stockscan_prices AS (
    SELECT
        price.symbol,
        price.session_date,
        price.close,
        lead(price.session_date) OVER (PARTITION BY price.symbol ORDER BY price.session_date) AS next_date
    FROM query_table(closes) AS price
),

-- What a trade that is held over night was worth above what was put into it, at the end of each session before that of its exit, and the
-- session in which another worth takes the place of this one.
stockscan_worths AS (
    SELECT
        taken.run,
        price.session_date,
        least(price.next_date, taken.exit_date) AS until,
        taken.amount
        * CASE taken.direction WHEN 'long' THEN price.close - taken.entry_price ELSE taken.entry_price - price.close END
        / taken.entry_price AS worth
    FROM stockscan_taken AS taken
    JOIN stockscan_prices AS price
        ON price.symbol = taken.symbol AND price.session_date >= taken.entry_date AND price.session_date < taken.exit_date
    WHERE taken.entry_date < taken.exit_date
),

stockscan_events AS (
    SELECT
        taken.run,
        taken.exit_date AS session_date,
        CASE WHEN taken.entry_date = taken.exit_date THEN 1 ELSE 0 END AS entered,
        1 AS closed,
        CASE WHEN taken.entry_date = taken.exit_date THEN taken.amount ELSE 0 END AS put_in,
        taken.amount AS taken_out,
        taken.profit AS gain
    FROM stockscan_taken AS taken
    UNION ALL
    SELECT taken.run, taken.entry_date, 1, 0, taken.amount, 0, 0
    FROM stockscan_taken AS taken
    WHERE taken.entry_date < taken.exit_date
    UNION ALL
    SELECT worth.run, worth.session_date, 0, 0, 0, 0, worth.worth
    FROM stockscan_worths AS worth
    UNION ALL
    SELECT worth.run, worth.until, 0, 0, 0, 0, -worth.worth
    FROM stockscan_worths AS worth
),

-- Sums are of decimals: those of doubles depend, in their last digits, on the order of the rows.
stockscan_days AS (
    SELECT
        event.run,
        event.session_date,
        sum(event.entered) AS entered,
        sum(event.closed) AS closed,
        sum(CAST(event.put_in AS DECIMAL(38, 9))) AS put_in,
        sum(CAST(event.taken_out AS DECIMAL(38, 9))) AS taken_out,
        sum(CAST(event.gain AS DECIMAL(38, 9))) AS profit
    FROM stockscan_events AS event
    GROUP BY event.run, event.session_date
),

stockscan_last_exits AS (
    SELECT taken.run, max(taken.exit_date) AS last_exit
    FROM stockscan_taken AS taken
    GROUP BY taken.run
),

stockscan_spans AS (
    SELECT
        one_run.run,
        CAST(one_run.first_date AS DATE) AS first_date,
        CAST(one_run.last_date AS DATE) AS last_date,
        greatest(CAST(one_run.last_date AS DATE), coalesce(last_exit.last_exit, CAST(one_run.last_date AS DATE))) AS last_session
    FROM query_table(runs) AS one_run
    LEFT JOIN stockscan_last_exits AS last_exit ON last_exit.run = one_run.run
),

-- Runs over the same dates have the same benchmark, for as long as the longest of them.
stockscan_periods AS (
    SELECT span.first_date, span.last_date, max(span.last_session) AS last_session
    FROM stockscan_spans AS span
    GROUP BY span.first_date, span.last_date
),

stockscan_holdings AS (
    SELECT
        period.first_date,
        period.last_date,
        price.session_date,
        price.symbol,
        price.close,
        first_value(price.open) OVER by_session AS first_open,
        first_value(price.session_date) OVER by_session <= period.last_date AS is_held,
        lag(price.close) OVER by_session AS previous_close
    FROM stockscan_periods AS period
    JOIN query_table(closes) AS price ON price.session_date >= period.first_date AND price.session_date <= period.last_session
    WINDOW by_session AS (PARTITION BY period.first_date, period.last_date, price.symbol ORDER BY price.session_date)
),

stockscan_holding_counts AS (
    SELECT holding.first_date, holding.last_date, count(DISTINCT holding.symbol) AS symbols
    FROM stockscan_holdings AS holding
    WHERE holding.is_held
    GROUP BY holding.first_date, holding.last_date
),

stockscan_holding_days AS (
    SELECT
        holding.first_date,
        holding.last_date,
        holding.session_date,
        list_sum(
            list(
                CASE
                    WHEN holding.is_held THEN (holding.close - coalesce(holding.previous_close, holding.first_open)) / holding.first_open
                    ELSE 0
                END
                ORDER BY holding.symbol
            )
        ) AS gain
    FROM stockscan_holdings AS holding
    GROUP BY holding.first_date, holding.last_date, holding.session_date
),

stockscan_benchmarks AS (
    SELECT
        day.first_date,
        day.last_date,
        day.session_date,
        number_in_range(initial_capital, 1, 1000000000000, called_by, 'initial_capital')
        * greatest(
            1
            + list_sum(
                list(day.gain) OVER (
                    PARTITION BY day.first_date, day.last_date
                    ORDER BY day.session_date
                    ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW
                )
            )
            / holding_count.symbols,
            0
        ) AS equity
    FROM stockscan_holding_days AS day
    JOIN stockscan_holding_counts AS holding_count ON holding_count.first_date = day.first_date AND holding_count.last_date = day.last_date
),

stockscan_equities AS (
    SELECT
        span.run,
        benchmark.session_date,
        CAST(coalesce(day.entered, 0) AS BIGINT) AS entered,
        -- Those that were entered by now and not closed before.
        CAST(
            sum(coalesce(day.entered, 0)) OVER so_far - sum(coalesce(day.closed, 0)) OVER so_far + coalesce(day.closed, 0) AS BIGINT
        ) AS positions,
        CAST(
            sum(coalesce(day.put_in, 0)) OVER so_far - sum(coalesce(day.taken_out, 0)) OVER so_far + coalesce(day.taken_out, 0) AS DOUBLE
        ) AS invested,
        CAST(coalesce(day.profit, 0) AS DOUBLE) AS profit,
        greatest(
            number_in_range(initial_capital, 1, 1000000000000, called_by, 'initial_capital')
            + CAST(sum(coalesce(day.profit, 0)) OVER so_far AS DOUBLE),
            0
        ) AS equity,
        benchmark.equity AS benchmark_equity
    FROM stockscan_spans AS span
    JOIN stockscan_benchmarks AS benchmark
        ON benchmark.first_date = span.first_date
        AND benchmark.last_date = span.last_date
        AND benchmark.session_date <= span.last_session
    LEFT JOIN stockscan_days AS day ON day.run = span.run AND day.session_date = benchmark.session_date
    WINDOW so_far AS (
        PARTITION BY span.run
        ORDER BY benchmark.session_date
        ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW
    )
),

stockscan_peaks AS (
    SELECT
        equity.*,
        lag(equity.equity, 1, number_in_range(initial_capital, 1, 1000000000000, called_by, 'initial_capital')) OVER by_session AS equity_before,
        lag(equity.benchmark_equity, 1, number_in_range(initial_capital, 1, 1000000000000, called_by, 'initial_capital')) OVER by_session AS benchmark_before,
        greatest(max(equity.equity) OVER so_far, number_in_range(initial_capital, 1, 1000000000000, called_by, 'initial_capital')) AS peak,
        greatest(max(equity.benchmark_equity) OVER so_far, number_in_range(initial_capital, 1, 1000000000000, called_by, 'initial_capital')) AS benchmark_peak
    FROM stockscan_equities AS equity
    WINDOW
        by_session AS (PARTITION BY equity.run ORDER BY equity.session_date),
        so_far AS (
            PARTITION BY equity.run
            ORDER BY equity.session_date
            ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW
        )
)

SELECT
    peak.run,
    peak.session_date,
    peak.entered,
    peak.positions,
    peak.invested,
    peak.profit,
    peak.equity,
    CASE
        WHEN one_of(compounding, 'true, false', called_by, 'compounding') = 'true'
            THEN CASE WHEN peak.equity_before > 0 THEN 100 * (peak.equity / peak.equity_before - 1) ELSE 0 END
        ELSE 100 * peak.profit / number_in_range(initial_capital, 1, 1000000000000, called_by, 'initial_capital')
    END AS return_pct,
    100 * (peak.equity / peak.peak - 1) AS drawdown_pct,
    peak.benchmark_equity,
    CASE WHEN peak.benchmark_before > 0 THEN 100 * (peak.benchmark_equity / peak.benchmark_before - 1) ELSE 0 END AS benchmark_return_pct,
    100 * (peak.benchmark_equity / peak.benchmark_peak - 1) AS benchmark_drawdown_pct
FROM stockscan_peaks AS peak
