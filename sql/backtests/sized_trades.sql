-- One trade of a portfolio with the amount that is put into it and what it gains.
--
-- Trades are taken in the order of their entries, those of the same bar by the date of their signal, then by rank, then by symbol, as long
-- as fewer than max_positions are open and there is capital left; one that is closed in the bar of an entry is still open then. With equal
-- weights each gets the capital / max_positions: what a trade weighs does not depend on how many others there are that day. Capital is the
-- initial one with the profits of the trades closed so far, if they are compounded. Where a short trade has lost more than there was, nothing
-- is taken until the trades still open have won that back. A trade that is not filled, or not taken, has the amount 0. Trades of different
-- runs know nothing of each other. A row without a symbol, which says that a run has no trades, is left out. A profit of 1e20 or more is an
-- error: no market has one, bad prices do.
--
-- @inherit outcomes
-- @param trades VARCHAR: the relation with the trades: run BIGINT, probability_score, rank, and the columns of outcomes().
-- @param initial_capital DOUBLE currency, 1 to 1000000000000 step 1000: what there is at first.
-- @param max_positions INTEGER trades, 1 to 10000 step 1: how many may be open at the same time.
-- @param position_size DOUBLE currency, 0.01 or more step 1000: amount of each trade. NULL: equal weights.
-- @param compounding BOOLEAN: whether equal weights are of the capital as it has become, or of the initial one.
-- @column run the portfolio that the trade belongs to.
-- @column scan_date date of the signal.
-- @column symbol name of the stock.
-- @column probability_score points, score of the signal.
-- @column rank place of the signal within its session.
-- @column direction long or short.
-- @column entry_ts start of the bar at whose open it was entered.
-- @column entry_price currency, that open.
-- @column exit_ts start of the bar in which it was closed.
-- @column exit_price currency, price at which it was closed.
-- @column exit_reason time, stop, target or not_filled.
-- @column gross_return_pct %, gain of the position without costs.
-- @column net_return_pct %, gain of the position after costs and slippage.
-- @column mfe_pct %, most favourable excursion.
-- @column mae_pct %, most adverse excursion.
-- @column minutes_held minutes of the clock from the entry to the exit.
-- @column amount currency, what is put into it; 0: not taken, or not filled.
-- @column profit currency, what it gains: amount · net return.
-- @example WITH found AS (FROM scan_breakout('2025-01-06', end_date := '2025-01-14')), trades AS (SELECT 0 AS run, hit.probability_score, hit.rank, o.* FROM outcomes('found') AS o JOIN found AS hit USING (scan_date, symbol)) FROM sized_trades('trades', max_positions := 2)
CREATE MACRO sized_trades(trades, initial_capital := 100000, max_positions := 3, position_size := NULL, compounding := TRUE, called_by := 'sized_trades') AS TABLE
WITH stockscan_runs AS (
    SELECT
        trade.run,
        list(
            {
                run: trade.run,
                scan_date: trade.scan_date,
                symbol: trade.symbol,
                probability_score: trade.probability_score,
                rank: trade.rank,
                direction: trade.direction,
                entry_ts: trade.entry_ts,
                entry_price: trade.entry_price,
                exit_ts: trade.exit_ts,
                exit_price: trade.exit_price,
                exit_reason: trade.exit_reason,
                gross_return_pct: trade.gross_return_pct,
                net_return_pct: trade.net_return_pct,
                mfe_pct: trade.mfe_pct,
                mae_pct: trade.mae_pct,
                minutes_held: trade.minutes_held
            }
        ) AS trades
    FROM query_table(trades) AS trade
    WHERE trade.entry_ts IS NOT NULL
    GROUP BY trade.run
),

stockscan_amounts AS (
    SELECT
        unnest(one_run.trades) AS trade,
        unnest(
            position_sizes(
                list_transform(one_run.trades, lambda trade: trade.entry_ts),
                list_transform(one_run.trades, lambda trade: CAST(trade.scan_date AS TIMESTAMP)),
                list_transform(one_run.trades, lambda trade: CAST(trade.rank AS DOUBLE)),
                list_transform(one_run.trades, lambda trade: trade.symbol),
                list_transform(one_run.trades, lambda trade: trade.exit_ts),
                list_transform(one_run.trades, lambda trade: trade.net_return_pct),
                number_in_range(initial_capital, 1, 1000000000000, called_by, 'initial_capital'),
                integer_in_range(max_positions, 1, 10000, called_by, 'max_positions'),
                number_in_range_or_null(position_size, 0.01, NULL, called_by, 'position_size'),
                one_of(compounding, 'true, false', called_by, 'compounding') = 'true'
            )
        ) AS amount
    FROM stockscan_runs AS one_run
)

SELECT
    sized.trade.run,
    sized.trade.scan_date,
    sized.trade.symbol,
    sized.trade.probability_score,
    sized.trade.rank,
    sized.trade.direction,
    sized.trade.entry_ts,
    sized.trade.entry_price,
    sized.trade.exit_ts,
    sized.trade.exit_price,
    sized.trade.exit_reason,
    sized.trade.gross_return_pct,
    sized.trade.net_return_pct,
    sized.trade.mfe_pct,
    sized.trade.mae_pct,
    sized.trade.minutes_held,
    sized.amount,
    CASE
        WHEN abs(sized.amount * sized.trade.net_return_pct / 100) < 1e20 THEN sized.amount * sized.trade.net_return_pct / 100
        ELSE error(
            printf(
                '%s: profit of %s, signalled on %s, must be below 1e20, got %g; is its price of entry (%g) right?',
                called_by,
                sized.trade.symbol,
                CAST(sized.trade.scan_date AS VARCHAR),
                sized.amount * sized.trade.net_return_pct / 100,
                sized.trade.entry_price
            )
        )
    END AS profit
FROM stockscan_amounts AS sized
UNION ALL
SELECT
    trade.run,
    trade.scan_date,
    trade.symbol,
    trade.probability_score,
    trade.rank,
    trade.direction,
    trade.entry_ts,
    trade.entry_price,
    trade.exit_ts,
    trade.exit_price,
    trade.exit_reason,
    trade.gross_return_pct,
    trade.net_return_pct,
    trade.mfe_pct,
    trade.mae_pct,
    trade.minutes_held,
    0 AS amount,
    0 AS profit
FROM query_table(trades) AS trade
WHERE trade.entry_ts IS NULL AND trade.symbol IS NOT NULL
