-- One trade of one combination of a grid of parameters, over a range of sessions.
--
-- What optimize() and the other functions of a grid stand on: keep it in a table and ask them of it, for it is what takes time. A parameter
-- that the scanner only compares with what it has found costs a join, one that changes what it looks at a scan for each of its values, one of
-- exit_time, hold_sessions, stop_loss_pct and target_pct a pass over the bars held; cutoff_time costs both. Every combination is there: one
-- without a hit has one row, without a symbol. The trades of a combination are those of backtest() with its parameters, before sizing.
--
-- @inherit backtest outcomes session_bars
-- @param grid STRUCT: for each parameter to vary a list of values, such as {breakout_volume_ratio: [1, 1.5, 2], stop_loss_pct: [0.5, 1, NULL]}.
-- @param samples INTEGER combinations, 1 to 100000 step 100: so many of a large grid. NULL: all of them.
-- @param sampling VARCHAR one of random, latin_hypercube: how they are chosen: each combination as likely, or each value of each parameter about as often.
-- @param seed INTEGER, 0 or more: the same seed chooses the same combinations.
-- @param definition VARCHAR: the CREATE MACRO of a scanner of your own, so that its thresholds need no scan each. NULL: it is built in, or each set of its parameters is scanned for.
-- @column combination number of the combination, from 0, in the order of the grid: the last parameter runs fastest.
-- @column parameters STRUCT, its values.
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
-- @column mfe_pct %, most favourable excursion: the best it stood at while held, 0 or more.
-- @column mae_pct %, most adverse excursion: the worst it stood at while held, 0 or less.
-- @column minutes_held minutes of the clock from the entry to the exit.
-- @example FROM grid_trades('breakout', '2025-01-06', '2025-01-15', {breakout_volume_ratio: [1, 1.5, 2], resistance_break_pct: [0.2, 0.5]})
-- @example FROM grid_trades('gap', '2025-01-06', '2025-01-15', {min_gap_pct: range(1, 5), stop_loss_pct: [0.5, 1, NULL]}, samples := 6, seed := 7)
CREATE MACRO grid_trades(
    scanner,
    start_date,
    end_date,
    grid,
    params := NULL,
    samples := NULL,
    sampling := 'random',
    seed := 1,
    definition := NULL,
    cutoff_time := '09:50',
    entry := 'next_open',
    exit_time := '15:15',
    hold_sessions := 0,
    stop_loss_pct := NULL,
    target_pct := NULL,
    direction := 'long',
    cost_bps := 0,
    slippage_bps := 0,
    source := 'bars',
    bar_minutes := 1,
    session_start := NULL,
    session_end := NULL,
    symbols := NULL,
    called_by := 'grid_trades'
) AS TABLE
SELECT
    trade.combination,
    trade.parameters,
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
    trade.minutes_held
FROM query(
    trade_query(
        {
            'function': called_by,
            scanner: scanner,
            -- As one: the query is planned before any condition of this one.
            start_date: CASE
                WHEN in_order(start_date, end_date, called_by, 'start_date', 'end_date') THEN session_date(start_date, called_by, 'start_date')
            END,
            end_date: session_date(end_date, called_by, 'end_date'),
            cutoff_time: cutoff_time,
            entry: entry,
            exit_time: exit_time,
            hold_sessions: hold_sessions,
            stop_loss_pct: stop_loss_pct,
            target_pct: target_pct,
            direction: direction,
            cost_bps: cost_bps,
            slippage_bps: slippage_bps,
            source: source,
            bar_minutes: bar_minutes,
            session_start: session_start,
            session_end: session_end,
            symbols: symbols,
            samples: integer_in_range_or_null(samples, 1, 100000, called_by, 'samples'),
            sampling: one_of(sampling, 'random, latin_hypercube', called_by, 'sampling'),
            seed: integer_in_range(seed, 0, NULL, called_by, 'seed')
        },
        params,
        grid,
        definition
    )
) AS trade
