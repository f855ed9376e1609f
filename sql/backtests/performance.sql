-- What a portfolio's trades and sessions come to.
--
-- Statistics of trades are over those that were taken, each counting the same, but for profit_factor, expectancy and the best and worst symbol,
-- which are of the amounts. A trade is a winner if its net return is above zero. Ratios are of the returns of sessions, with trades or without,
-- times the root of 252, and without a riskless rate. What has no value, such as a ratio without any spread, is NULL. Returns have no spread
-- if their variance is below 1e-12 of the square of their mean, which is what rounding leaves of returns that are all the same.
--
-- @inherit equity_curve
-- @param trades VARCHAR: the relation with the trades, as sized_trades() gives them.
-- @param equity VARCHAR: the relation with the sessions, as equity_curve() gives them.
-- @column run the portfolio.
-- @column first_date first session.
-- @column last_date last session.
-- @column sessions sessions, with trades or without.
-- @column signals hits of the scanner.
-- @column not_filled of those without a bar to enter or to leave by.
-- @column not_taken of those that found no place or no capital in the portfolio.
-- @column trades of those that were taken.
-- @column winners trades with a net return above zero.
-- @column hit_rate_pct %, winners of trades.
-- @column hit_rate_lower_pct %, lower end of its Wilson interval of 95 %.
-- @column hit_rate_upper_pct %, upper end.
-- @column mean_return_pct %, mean net return of the trades.
-- @column median_return_pct %, median of it.
-- @column mean_win_pct %, mean net return of the winners.
-- @column mean_loss_pct %, mean net return of the others.
-- @column profit_factor times, profits of the winners over the losses of the others; NULL without a loss.
-- @column expectancy currency, mean profit of a trade.
-- @column total_profit currency, final equity less the initial capital.
-- @column final_equity currency, worth at the end.
-- @column total_return_pct %, total profit over the initial capital.
-- @column annual_return_pct %, the same for 252 sessions: compounded, or in proportion if profits are not compounded; NULL if beyond any number.
-- @column annual_volatility_pct %, standard deviation of the sessions' returns, times the root of 252.
-- @column sharpe times, mean over standard deviation of the sessions' returns, times the root of 252.
-- @column sortino times, mean over the root of the mean square of the sessions' losses, times the root of 252.
-- @column max_drawdown_pct %, lowest point below the highest before, 0 or less.
-- @column longest_drawdown_sessions most sessions in a row below the highest equity before them.
-- @column exposure_pct %, mean over the sessions of what was invested over the equity of the session before.
-- @column turnover times a year, what was put into trades over the mean equity, for 252 sessions.
-- @column skewness of the sessions' returns.
-- @column kurtosis of the sessions' returns; 3 for a normal distribution.
-- @column best_session date of the highest return, the earlier on a tie.
-- @column best_session_return_pct %, that return.
-- @column worst_session date of the lowest return, the earlier on a tie.
-- @column worst_session_return_pct %, that return.
-- @column best_symbol stock with the highest profit, the first by name on a tie.
-- @column best_symbol_profit currency, that profit.
-- @column worst_symbol stock with the lowest profit, the first by name on a tie.
-- @column worst_symbol_profit currency, that profit.
-- @column mean_mfe_pct %, mean most favourable excursion of the trades.
-- @column mean_mae_pct %, mean most adverse excursion.
-- @column mean_minutes_held minutes, mean time from entry to exit.
-- @column benchmark_return_pct %, what holding every symbol over the same sessions would have gained.
-- @column benchmark_sharpe times, its Sharpe ratio.
-- @column benchmark_max_drawdown_pct %, its lowest point below the highest before.
-- @column session_returns list of the sessions' returns in %, in their order.
-- @source Sharpe: W. F. Sharpe, The Sharpe Ratio, 1994; Sortino: F. A. Sortino and L. N. Price, Performance Measurement in a Downside Risk Framework, 1994, with a target of 0; interval: E. B. Wilson, 1927.
-- @example WITH found AS (FROM scan_breakout('2025-01-06', end_date := '2025-01-14')), trades AS (SELECT 0 AS run, hit.probability_score, hit.rank, o.* FROM outcomes('found') AS o JOIN found AS hit USING (scan_date, symbol)), sized AS (FROM sized_trades('trades')), closes AS (FROM session_closes('2025-01-06', '2025-01-15')), runs AS (SELECT 0 AS run, '2025-01-06' AS first_date, '2025-01-14' AS last_date), days AS (FROM equity_curve('sized', 'closes', 'runs')) FROM performance('sized', 'days')
CREATE MACRO performance(trades, equity, initial_capital := 100000, compounding := TRUE, called_by := 'performance') AS TABLE
WITH stockscan_trade_counts AS (
    SELECT
        trade.run,
        count(*) AS signals,
        count(*) FILTER (WHERE trade.entry_ts IS NULL) AS not_filled,
        count(*) FILTER (WHERE trade.entry_ts IS NOT NULL AND trade.amount = 0) AS not_taken,
        count(*) FILTER (WHERE trade.amount > 0) AS trades,
        count(*) FILTER (WHERE trade.amount > 0 AND trade.net_return_pct > 0) AS winners,
        -- Sorted, or of decimals: sums of doubles depend, in their last digits, on the order of the rows.
        list(trade.net_return_pct ORDER BY trade.net_return_pct) FILTER (WHERE trade.amount > 0) AS returns,
        CAST(sum(CAST(trade.profit AS DECIMAL(38, 9))) FILTER (WHERE trade.profit > 0) AS DOUBLE) AS won,
        CAST(sum(CAST(trade.profit AS DECIMAL(38, 9))) FILTER (WHERE trade.profit <= 0) AS DOUBLE) AS lost,
        CAST(sum(CAST(trade.amount AS DECIMAL(38, 9))) AS DOUBLE) AS invested,
        CAST(sum(CAST(trade.mfe_pct AS DECIMAL(38, 9))) FILTER (WHERE trade.amount > 0) AS DOUBLE) AS mfe_pct,
        CAST(sum(CAST(trade.mae_pct AS DECIMAL(38, 9))) FILTER (WHERE trade.amount > 0) AS DOUBLE) AS mae_pct,
        avg(trade.minutes_held) FILTER (WHERE trade.amount > 0) AS mean_minutes_held
    FROM query_table(trades) AS trade
    GROUP BY trade.run
),

stockscan_symbol_profits AS (
    SELECT trade.run, trade.symbol, CAST(sum(CAST(trade.profit AS DECIMAL(38, 9))) AS DOUBLE) AS profit
    FROM query_table(trades) AS trade
    WHERE trade.amount > 0
    GROUP BY trade.run, trade.symbol
),

stockscan_symbols AS (
    SELECT
        profit.run,
        arg_min(profit.symbol, {profit: -profit.profit, symbol: profit.symbol}) AS best_symbol,
        max(profit.profit) AS best_symbol_profit,
        arg_min(profit.symbol, {profit: profit.profit, symbol: profit.symbol}) AS worst_symbol,
        min(profit.profit) AS worst_symbol_profit
    FROM stockscan_symbol_profits AS profit
    GROUP BY profit.run
),

-- How many sessions have gone by since the equity was at its highest.
stockscan_sessions AS (
    SELECT
        day.*,
        lag(day.equity, 1, number_in_range(initial_capital, 1, 1000000000000, called_by, 'initial_capital')) OVER by_session AS equity_before,
        row_number() OVER by_session
        - coalesce(max(CASE WHEN day.drawdown_pct = 0 THEN day.session_number END) OVER by_session, 0) AS sessions_below_peak
    FROM (
        SELECT one_day.*, row_number() OVER (PARTITION BY one_day.run ORDER BY one_day.session_date) AS session_number
        FROM query_table(equity) AS one_day
    ) AS day
    WINDOW by_session AS (PARTITION BY day.run ORDER BY day.session_date)
),

stockscan_curves AS (
    SELECT
        session.run,
        min(session.session_date) AS first_date,
        max(session.session_date) AS last_date,
        count(*) AS sessions,
        list(session.return_pct ORDER BY session.session_date) AS returns,
        list(session.benchmark_return_pct ORDER BY session.session_date) AS benchmark_returns,
        list_avg(list(session.equity ORDER BY session.session_date)) AS mean_equity,
        list_avg(
            list(CASE WHEN session.equity_before > 0 THEN 100 * session.invested / session.equity_before ELSE 0 END ORDER BY session.session_date)
        ) AS exposure_pct,
        arg_max(session.equity, session.session_date) AS final_equity,
        min(session.drawdown_pct) AS max_drawdown_pct,
        max(session.sessions_below_peak) AS longest_drawdown_sessions,
        arg_min(session.session_date, {gain: -session.return_pct, day: session.session_date}) AS best_session,
        max(session.return_pct) AS best_session_return_pct,
        arg_min(session.session_date, {gain: session.return_pct, day: session.session_date}) AS worst_session,
        min(session.return_pct) AS worst_session_return_pct,
        arg_max(session.benchmark_equity, session.session_date) AS final_benchmark,
        min(session.benchmark_drawdown_pct) AS benchmark_max_drawdown_pct
    FROM stockscan_sessions AS session
    GROUP BY session.run
),

stockscan_means AS (
    SELECT curve.*, list_avg(curve.returns) AS mean_return
    FROM stockscan_curves AS curve
),

stockscan_moments AS (
    SELECT
        curve.*,
        list_stddev_samp(curve.returns) AS deviation,
        sqrt(list_avg(list_transform(curve.returns, lambda gain: least(gain, 0) * least(gain, 0)))) AS downside,
        list_avg(curve.benchmark_returns) AS benchmark_mean,
        list_stddev_samp(curve.benchmark_returns) AS benchmark_deviation,
        list_avg(list_transform(curve.returns, lambda gain: pow(gain - curve.mean_return, 2))) AS second_moment,
        list_avg(list_transform(curve.returns, lambda gain: pow(gain - curve.mean_return, 3))) AS third_moment,
        list_avg(list_transform(curve.returns, lambda gain: pow(gain - curve.mean_return, 4))) AS fourth_moment
    FROM stockscan_means AS curve
),

stockscan_spreads AS (
    SELECT
        curve.*,
        curve.second_moment > 1e-12 * pow(curve.mean_return, 2) AS has_spread,
        pow(curve.benchmark_deviation, 2) > 1e-12 * pow(curve.benchmark_mean, 2) AS benchmark_has_spread,
        pow(curve.final_equity / number_in_range(initial_capital, 1, 1000000000000, called_by, 'initial_capital'), 252 / curve.sessions) AS annual_growth
    FROM stockscan_moments AS curve
)

SELECT
    curve.run,
    curve.first_date,
    curve.last_date,
    curve.sessions,
    coalesce(trade_count.signals, 0) AS signals,
    coalesce(trade_count.not_filled, 0) AS not_filled,
    coalesce(trade_count.not_taken, 0) AS not_taken,
    coalesce(trade_count.trades, 0) AS trades,
    coalesce(trade_count.winners, 0) AS winners,
    100 * trade_count.winners / nullif(trade_count.trades, 0) AS hit_rate_pct,
    100 * wilson_interval(trade_count.winners, trade_count.trades).lower AS hit_rate_lower_pct,
    100 * wilson_interval(trade_count.winners, trade_count.trades).upper AS hit_rate_upper_pct,
    list_avg(trade_count.returns) AS mean_return_pct,
    list_median(trade_count.returns) AS median_return_pct,
    list_avg(list_filter(trade_count.returns, lambda gain: gain > 0)) AS mean_win_pct,
    list_avg(list_filter(trade_count.returns, lambda gain: gain <= 0)) AS mean_loss_pct,
    coalesce(trade_count.won, 0) / nullif(-trade_count.lost, 0) AS profit_factor,
    (coalesce(trade_count.won, 0) + coalesce(trade_count.lost, 0)) / nullif(trade_count.trades, 0) AS expectancy,
    curve.final_equity - number_in_range(initial_capital, 1, 1000000000000, called_by, 'initial_capital') AS total_profit,
    curve.final_equity,
    100 * (curve.final_equity / number_in_range(initial_capital, 1, 1000000000000, called_by, 'initial_capital') - 1) AS total_return_pct,
    CASE
        WHEN one_of(compounding, 'true, false', called_by, 'compounding') = 'false' THEN 252 * curve.mean_return
        -- A gain of some 1,600 % in the only session is beyond every DOUBLE in 252.
        WHEN isfinite(100 * curve.annual_growth) THEN 100 * (curve.annual_growth - 1)
    END AS annual_return_pct,
    curve.deviation * sqrt(252) AS annual_volatility_pct,
    CASE WHEN curve.has_spread THEN curve.mean_return / curve.deviation * sqrt(252) END AS sharpe,
    curve.mean_return / nullif(curve.downside, 0) * sqrt(252) AS sortino,
    curve.max_drawdown_pct,
    curve.longest_drawdown_sessions,
    curve.exposure_pct,
    252 * coalesce(trade_count.invested, 0) / nullif(curve.mean_equity, 0) / curve.sessions AS turnover,
    CASE WHEN curve.has_spread THEN curve.third_moment / pow(curve.second_moment, 1.5) END AS skewness,
    CASE WHEN curve.has_spread THEN curve.fourth_moment / pow(curve.second_moment, 2) END AS kurtosis,
    curve.best_session,
    curve.best_session_return_pct,
    curve.worst_session,
    curve.worst_session_return_pct,
    one_symbol.best_symbol,
    one_symbol.best_symbol_profit,
    one_symbol.worst_symbol,
    one_symbol.worst_symbol_profit,
    trade_count.mfe_pct / nullif(trade_count.trades, 0) AS mean_mfe_pct,
    trade_count.mae_pct / nullif(trade_count.trades, 0) AS mean_mae_pct,
    trade_count.mean_minutes_held,
    100 * (curve.final_benchmark / number_in_range(initial_capital, 1, 1000000000000, called_by, 'initial_capital') - 1) AS benchmark_return_pct,
    CASE WHEN curve.benchmark_has_spread THEN curve.benchmark_mean / curve.benchmark_deviation * sqrt(252) END AS benchmark_sharpe,
    curve.benchmark_max_drawdown_pct,
    curve.returns AS session_returns
FROM stockscan_spreads AS curve
LEFT JOIN stockscan_trade_counts AS trade_count ON trade_count.run = curve.run
LEFT JOIN stockscan_symbols AS one_symbol ON one_symbol.run = curve.run
