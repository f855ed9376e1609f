-- The last price of a symbol in a session, and the first.
--
-- What open positions and the benchmark are valued by. Nothing of it is known before the session has ended.
--
-- @inherit session_bars
-- @column symbol name of the stock.
-- @column session_date date of the session.
-- @column open currency, open of the first bar.
-- @column close currency, close of the last bar.
-- @example FROM session_closes('2025-01-06', '2025-01-15')
CREATE MACRO session_closes(
    first_date,
    last_date,
    source := 'bars',
    bar_minutes := 1,
    session_start := NULL,
    session_end := NULL,
    symbols := NULL,
    called_by := 'session_closes'
) AS TABLE
SELECT bar.symbol, bar.session_date, arg_min(bar.open, bar.ts) AS open, arg_max(bar.close, bar.ts) AS close
FROM session_bars(
    first_date,
    last_date,
    source := source,
    bar_minutes := bar_minutes,
    session_start := session_start,
    session_end := session_end,
    symbols := symbols,
    called_by := called_by
) AS bar
GROUP BY bar.symbol, bar.session_date
