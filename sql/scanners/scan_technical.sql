-- A stock whose RSI, MACD, trend and Bollinger bands point to one side, on session closes with the running session as the last, provisional one.
--
-- The series is the closes of the symbol's latest lookback_sessions sessions, at least min_sessions of them, within 2 · lookback_sessions + 10
-- calendar days, and then the price. All indicators are TA-Lib's on that series, which starts at the same place for every run, since averages
-- remember their start. No row for a symbol with fewer sessions, or with too few for one of the periods, or without a bar by the cutoff.
-- There are four signals: RSI (oversold long, overbought short), MACD (bullish long, bearish short), trend (up long, down short) and bands
-- (breakout up long, down short). Each may be neutral; differences of less than a billionth of the price are. signal_direction is the side
-- that has more of them, none on a tie. RSI and bands often contradict each other: one waits for a turn, the other follows the move.
-- Risk points: 2 if RSI is 75 or more or 25 or less, 1 if the price is outside the bands, 1 if change_pct is above 3 either way.
-- The probability score is a score from 0 to 100, not a probability: 100 · (signals on that side) / 4 − 10 · risk points, at least 0; 0 on a
-- tie. Within a session, rank goes by score, then by risk points (fewer first), then by symbol.
--
-- @inherit session_bars sessions_as_of scan_breakout
-- @param rsi_period INTEGER sessions, 2 to 250: period of the RSI.
-- @param rsi_oversold DOUBLE points, 0 to 100 step 1: an RSI up to this is oversold.
-- @param rsi_overbought DOUBLE points, 0 to 100 step 1: an RSI from this on is overbought; not below rsi_oversold.
-- @param macd_fast INTEGER sessions, 2 to 250: period of MACD's fast average.
-- @param macd_slow INTEGER sessions, 2 to 250: period of MACD's slow average; not below macd_fast.
-- @param macd_signal INTEGER sessions, 1 to 250: period of MACD's signal line.
-- @param macd_threshold DOUBLE %, 0 to 50 step 0.05: how far macd_histogram_pct must be from 0, either way.
-- @param bollinger_period INTEGER sessions, 2 to 250: period of the Bollinger bands.
-- @param bollinger_deviations DOUBLE deviations, 0 to 10 step 0.1: half the bands' width in standard deviations.
-- @param ema_fast INTEGER sessions, 2 to 500: period of the trend's fast average.
-- @param ema_slow INTEGER sessions, 2 to 500: period of the trend's slow average; not below ema_fast.
-- @param lookback_sessions INTEGER sessions, 1 to 500: how many earlier sessions are looked back on.
-- @param min_sessions INTEGER sessions, 1 to 500: least number of earlier sessions; not above lookback_sessions.
-- @param direction VARCHAR one of long, short, any: which side the signal is on.
-- @column scan_date date of the session.
-- @column symbol name of the stock.
-- @column price currency, close of the latest bar that had ended by the cutoff.
-- @column rsi points from 0 to 100, relative strength index.
-- @column macd currency, fast minus slow average.
-- @column macd_signal currency, average of macd.
-- @column macd_histogram currency, macd − macd_signal.
-- @column macd_histogram_pct %, macd_histogram in percent of the price.
-- @column bollinger_upper currency, upper band.
-- @column bollinger_middle currency, middle band: the mean.
-- @column bollinger_lower currency, lower band.
-- @column ema_fast currency, fast average of the trend.
-- @column ema_slow currency, slow average of the trend.
-- @column change_pct %, price against the last close of the session before: 100 · (price / previous close − 1).
-- @column setup_type what holds, in alphabetical order and joined by ' + ': BB_BREAKOUT_DOWN, BB_BREAKOUT_UP, MACD_BEARISH, MACD_BULLISH, OVERBOUGHT, OVERSOLD, TREND_DOWN, TREND_UP; else NEUTRAL.
-- @column risk_level VERY_LOW without risk points, LOW with 1, MEDIUM with 2, else HIGH.
-- @column signal_direction long, short or none: the side with more signals.
-- @column volume shares traded so far.
-- @column probability_score points from 0 to 100; a score, not a probability.
-- @column rank place within the session, 1 is best.
-- @source RSI: J. W. Wilder, New Concepts in Technical Trading Systems (1978). MACD: G. Appel, Technical Analysis (2005). Bands: J. Bollinger, Bollinger on Bollinger Bands (2001). Values: TA-Lib.
-- @example FROM scan_technical('2025-01-15', lookback_sessions := 55, min_sessions := 50)
-- @example FROM scan_technical('2025-01-15', '15:30', lookback_sessions := 55, min_sessions := 50, direction := 'short')
CREATE MACRO scan_technical(
    scan_date,
    cutoff_time := '09:50',
    end_date := NULL,
    source := 'bars',
    bar_minutes := 1,
    session_start := NULL,
    session_end := NULL,
    symbols := NULL,
    min_price := 50,
    max_price := 2000,
    min_volume := 10000,
    max_results_per_day := 3,
    min_probability_score := 10,
    rsi_period := 14,
    rsi_oversold := 30,
    rsi_overbought := 70,
    macd_fast := 12,
    macd_slow := 26,
    macd_signal := 9,
    macd_threshold := 0.1,
    bollinger_period := 20,
    bollinger_deviations := 2,
    ema_fast := 20,
    ema_slow := 50,
    lookback_sessions := 120,
    min_sessions := 60,
    direction := 'any'
) AS TABLE
WITH sessions AS (
    SELECT session.session_date, session.symbol, session.price, session.volume, session.previous_close, session.closes
    FROM session_series(
        scan_date,
        cutoff_time := cutoff_time,
        end_date := end_date,
        history_sessions := integer_in_range(lookback_sessions, 1, 500, 'scan_technical', 'lookback_sessions'),
        source := source,
        bar_minutes := bar_minutes,
        session_start := session_start,
        session_end := session_end,
        symbols := symbols,
        called_by := 'scan_technical'
    ) AS session
    WHERE
        in_order(min_price, max_price, 'scan_technical', 'min_price', 'max_price')
        AND in_order(rsi_oversold, rsi_overbought, 'scan_technical', 'rsi_oversold', 'rsi_overbought')
        AND in_order(macd_fast, macd_slow, 'scan_technical', 'macd_fast', 'macd_slow')
        AND in_order(ema_fast, ema_slow, 'scan_technical', 'ema_fast', 'ema_slow')
        AND in_order(min_sessions, lookback_sessions, 'scan_technical', 'min_sessions', 'lookback_sessions')
        AND session.history >= integer_in_range(min_sessions, 1, 500, 'scan_technical', 'min_sessions')
        AND session.price >= number_in_range(min_price, 0, NULL, 'scan_technical', 'min_price')
        AND session.price <= number_in_range(max_price, 0, NULL, 'scan_technical', 'max_price')
        AND session.volume >= integer_in_range(min_volume, 0, NULL, 'scan_technical', 'min_volume')
),

with_indicators AS (
    SELECT
        sessions.session_date,
        sessions.symbol,
        sessions.price,
        sessions.volume,
        100 * (sessions.price / sessions.previous_close - 1) AS change_pct,
        ti_rsi_last(sessions.closes, integer_in_range(rsi_period, 2, 250, 'scan_technical', 'rsi_period')) AS rsi,
        ti_macd_last(
            sessions.closes,
            integer_in_range(macd_fast, 2, 250, 'scan_technical', 'macd_fast'),
            integer_in_range(macd_slow, 2, 250, 'scan_technical', 'macd_slow'),
            integer_in_range(macd_signal, 1, 250, 'scan_technical', 'macd_signal')
        ) AS macd,
        ti_bbands_last(
            sessions.closes,
            integer_in_range(bollinger_period, 2, 250, 'scan_technical', 'bollinger_period'),
            number_in_range(bollinger_deviations, 0, 10, 'scan_technical', 'bollinger_deviations'),
            number_in_range(bollinger_deviations, 0, 10, 'scan_technical', 'bollinger_deviations')
        ) AS bands,
        ti_ema_last(sessions.closes, integer_in_range(ema_fast, 2, 500, 'scan_technical', 'ema_fast')) AS trend_fast,
        ti_ema_last(sessions.closes, integer_in_range(ema_slow, 2, 500, 'scan_technical', 'ema_slow')) AS trend_slow
    FROM sessions
),

-- A billionth of the price is what rounding makes of a price that never changes; it is neither trend nor breakout.
with_signals AS (
    SELECT
        with_indicators.*,
        100 * with_indicators.macd.macd_hist / with_indicators.price AS histogram_pct,
        CASE
            WHEN with_indicators.rsi <= number_in_range(rsi_oversold, 0, 100, 'scan_technical', 'rsi_oversold') THEN 1
            WHEN with_indicators.rsi >= number_in_range(rsi_overbought, 0, 100, 'scan_technical', 'rsi_overbought') THEN -1
            ELSE 0
        END AS rsi_signal,
        CASE
            WHEN 100 * with_indicators.macd.macd_hist / with_indicators.price
                > greatest(number_in_range(macd_threshold, 0, 50, 'scan_technical', 'macd_threshold'), 1e-7) THEN 1
            WHEN 100 * with_indicators.macd.macd_hist / with_indicators.price
                < -greatest(number_in_range(macd_threshold, 0, 50, 'scan_technical', 'macd_threshold'), 1e-7) THEN -1
            ELSE 0
        END AS histogram_signal,
        CASE
            WHEN with_indicators.trend_fast - with_indicators.trend_slow > 1e-9 * with_indicators.price THEN 1
            WHEN with_indicators.trend_slow - with_indicators.trend_fast > 1e-9 * with_indicators.price THEN -1
            ELSE 0
        END AS trend_signal,
        CASE
            WHEN with_indicators.price - with_indicators.bands.upper_band > 1e-9 * with_indicators.price THEN 1
            WHEN with_indicators.bands.lower_band - with_indicators.price > 1e-9 * with_indicators.price THEN -1
            ELSE 0
        END AS bands_signal
    FROM with_indicators
    WHERE
        with_indicators.rsi IS NOT NULL
        AND with_indicators.macd.macd_hist IS NOT NULL
        AND with_indicators.bands.middle_band IS NOT NULL
        AND with_indicators.trend_fast IS NOT NULL
        AND with_indicators.trend_slow IS NOT NULL
),

with_sides AS (
    SELECT
        with_signals.*,
        len(
            list_filter(
                [with_signals.rsi_signal, with_signals.histogram_signal, with_signals.trend_signal, with_signals.bands_signal],
                lambda signal: signal = 1
            )
        ) AS long_signals,
        len(
            list_filter(
                [with_signals.rsi_signal, with_signals.histogram_signal, with_signals.trend_signal, with_signals.bands_signal],
                lambda signal: signal = -1
            )
        ) AS short_signals,
        CASE WHEN with_signals.rsi >= 75 OR with_signals.rsi <= 25 THEN 2 ELSE 0 END
        + CASE WHEN with_signals.bands_signal <> 0 THEN 1 ELSE 0 END
        + CASE WHEN abs(with_signals.change_pct) > 3 THEN 1 ELSE 0 END AS risk_points
    FROM with_signals
),

candidates AS (
    SELECT
        with_sides.*,
        CASE
            WHEN with_sides.long_signals > with_sides.short_signals THEN 'long'
            WHEN with_sides.short_signals > with_sides.long_signals THEN 'short'
            ELSE 'none'
        END AS signal_direction,
        CASE
            WHEN with_sides.long_signals = with_sides.short_signals THEN 0.0
            ELSE CAST(
                greatest(25 * greatest(with_sides.long_signals, with_sides.short_signals) - 10 * with_sides.risk_points, 0) AS DOUBLE
            )
        END AS probability_score
    FROM with_sides
),

ranked AS (
    SELECT
        candidates.*,
        row_number() OVER (
            PARTITION BY candidates.session_date
            ORDER BY candidates.probability_score DESC, candidates.risk_points, candidates.symbol
        ) AS rank
    FROM candidates
    WHERE
        candidates.probability_score >= number_in_range(min_probability_score, 0, 100, 'scan_technical', 'min_probability_score')
        AND one_of(direction, 'long, short, any', 'scan_technical', 'direction') IN ('any', candidates.signal_direction)
)

SELECT
    ranked.session_date AS scan_date,
    ranked.symbol,
    ranked.price,
    ranked.rsi,
    ranked.macd.macd AS macd,
    ranked.macd.macd_signal AS macd_signal,
    ranked.macd.macd_hist AS macd_histogram,
    ranked.histogram_pct AS macd_histogram_pct,
    ranked.bands.upper_band AS bollinger_upper,
    ranked.bands.middle_band AS bollinger_middle,
    ranked.bands.lower_band AS bollinger_lower,
    ranked.trend_fast AS ema_fast,
    ranked.trend_slow AS ema_slow,
    ranked.change_pct,
    coalesce(
        nullif(
            concat_ws(
                ' + ',
                CASE ranked.bands_signal WHEN 1 THEN 'BB_BREAKOUT_UP' WHEN -1 THEN 'BB_BREAKOUT_DOWN' END,
                CASE ranked.histogram_signal WHEN 1 THEN 'MACD_BULLISH' WHEN -1 THEN 'MACD_BEARISH' END,
                CASE ranked.rsi_signal WHEN 1 THEN 'OVERSOLD' WHEN -1 THEN 'OVERBOUGHT' END,
                CASE ranked.trend_signal WHEN 1 THEN 'TREND_UP' WHEN -1 THEN 'TREND_DOWN' END
            ),
            ''
        ),
        'NEUTRAL'
    ) AS setup_type,
    CASE ranked.risk_points WHEN 0 THEN 'VERY_LOW' WHEN 1 THEN 'LOW' WHEN 2 THEN 'MEDIUM' ELSE 'HIGH' END AS risk_level,
    ranked.signal_direction,
    ranked.volume,
    ranked.probability_score,
    ranked.rank
FROM ranked
WHERE ranked.rank <= integer_in_range(max_results_per_day, 1, 10000, 'scan_technical', 'max_results_per_day')
ORDER BY ranked.session_date, ranked.rank
