-- A stock whose running session completes a candlestick pattern on its session candles.
--
-- The candles are the symbol's latest 30 sessions before the scanned one, whole, and then the running session as it stands at the cutoff: its
-- open, highest high, lowest low and price. So the last candle is provisional, and says little at an early cutoff: best late in the session.
-- All 61 patterns of TA-Lib are looked for, with its own settings; names are TA-Lib's without CDL. A symbol with less than 20 sessions in
-- the 70 calendar days before has no row: some patterns compare with the candles of ten sessions or more.
-- TA-Lib says 100 for a bullish pattern, −100 for a bearish one, 200 or −200 for one that this candle confirms, 80 or −80 where an end of two
-- bodies is equal; strength is their sum in hundreds, and signal_direction its sign. One candle may have several names (a marubozu is often a
-- belt hold and a long line), and each counts. Of doji, dragonflydoji, gravestonedoji, highwave, longleggeddoji, rickshawman, shortline,
-- spinningtop and takuri TA-Lib's sign is no call: they are listed, but do not count.
-- The probability score is a score from 0 to 100, not a probability: 60 · min(|strength| / 3, 1) + 40 · min(range_atr, 1), since a pattern of
-- candles that are small for this stock means little. Within a session, rank goes by score, then by |strength| (higher first), then by symbol.
--
-- @inherit session_bars sessions_as_of scan_breakout
-- @param pattern VARCHAR one of any, 2crows, 3blackcrows, 3inside, 3linestrike, 3outside, 3starsinsouth, 3whitesoldiers, abandonedbaby, advanceblock, belthold, breakaway, closingmarubozu, concealbabyswall, counterattack, darkcloudcover, doji, dojistar, dragonflydoji, engulfing, eveningdojistar, eveningstar, gapsidesidewhite, gravestonedoji, hammer, hangingman, harami, haramicross, highwave, hikkake, hikkakemod, homingpigeon, identical3crows, inneck, invertedhammer, kicking, kickingbylength, ladderbottom, longleggeddoji, longline, marubozu, matchinglow, mathold, morningdojistar, morningstar, onneck, piercing, rickshawman, risefall3methods, separatinglines, shootingstar, shortline, spinningtop, stalledpattern, sticksandwich, takuri, tasukigap, thrusting, tristar, unique3river, upsidegap2crows, xsidegap3methods: the pattern that must be among those found; any: whichever.
-- @param direction VARCHAR one of long, short, any: which side the signal is on.
-- @column scan_date date of the session.
-- @column symbol name of the stock.
-- @column price currency, close of the latest bar that had ended by the cutoff.
-- @column patterns names of the patterns found, in alphabetical order and joined by ' + '.
-- @column strength sum of the patterns' values over 100; above 0 bullish.
-- @column signal_direction long, short or none: the side of strength.
-- @column open currency, open of the session.
-- @column high currency, highest high so far.
-- @column low currency, lowest low so far.
-- @column range_atr times, height of the session so far over the average true range (Wilder's) of 14 sessions, this one included.
-- @column change_pct %, price against the session's open: 100 · (price / open − 1).
-- @column volume shares traded so far.
-- @column probability_score points from 0 to 100; a score, not a probability.
-- @column rank place within the session, 1 is best.
-- @source S. Nison, Japanese Candlestick Charting Techniques (1991); recognition and values: TA-Lib.
-- @example FROM scan_candlestick('2025-01-15', '15:30')
-- @example FROM scan_candlestick('2025-01-15', '12:00', pattern := 'engulfing', direction := 'long')
CREATE MACRO scan_candlestick(
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
    pattern := 'any',
    direction := 'any'
) AS TABLE
WITH sessions AS (
    SELECT session.*
    FROM session_series(
        scan_date,
        cutoff_time := cutoff_time,
        end_date := end_date,
        history_sessions := 30,
        source := source,
        bar_minutes := bar_minutes,
        session_start := session_start,
        session_end := session_end,
        symbols := symbols,
        called_by := 'scan_candlestick'
    ) AS session
    WHERE
        in_order(min_price, max_price, 'scan_candlestick', 'min_price', 'max_price')
        AND session.history >= 20
        AND session.price >= number_in_range(min_price, 0, NULL, 'scan_candlestick', 'min_price')
        AND session.price <= number_in_range(max_price, 0, NULL, 'scan_candlestick', 'max_price')
        AND session.volume >= integer_in_range(min_volume, 0, NULL, 'scan_candlestick', 'min_volume')
),

-- No pattern looks further back than fifteen candles, and all of those that it is given cost time.
candles AS (
    SELECT
        sessions.session_date,
        sessions.symbol,
        sessions.price,
        sessions.open,
        sessions.high,
        sessions.low,
        sessions.volume,
        (sessions.high - sessions.low) / nullif(ti_atr_last(sessions.highs, sessions.lows, sessions.closes, 14), 0) AS range_atr,
        list_slice(sessions.opens, -16, -1) AS opens,
        list_slice(sessions.highs, -16, -1) AS highs,
        list_slice(sessions.lows, -16, -1) AS lows,
        list_slice(sessions.closes, -16, -1) AS closes
    FROM sessions
),

with_all_patterns AS (
    SELECT
        candles.session_date,
        candles.symbol,
        candles.price,
        candles.open,
        candles.high,
        candles.low,
        candles.volume,
        candles.range_atr,
        [
            {name: '2crows', side: 1, value: ti_cdl2crows_last(candles.opens, candles.highs, candles.lows, candles.closes)},
            {name: '3blackcrows', side: 1, value: ti_cdl3blackcrows_last(candles.opens, candles.highs, candles.lows, candles.closes)},
            {name: '3inside', side: 1, value: ti_cdl3inside_last(candles.opens, candles.highs, candles.lows, candles.closes)},
            {name: '3linestrike', side: 1, value: ti_cdl3linestrike_last(candles.opens, candles.highs, candles.lows, candles.closes)},
            {name: '3outside', side: 1, value: ti_cdl3outside_last(candles.opens, candles.highs, candles.lows, candles.closes)},
            {name: '3starsinsouth', side: 1, value: ti_cdl3starsinsouth_last(candles.opens, candles.highs, candles.lows, candles.closes)},
            {name: '3whitesoldiers', side: 1, value: ti_cdl3whitesoldiers_last(candles.opens, candles.highs, candles.lows, candles.closes)},
            {name: 'abandonedbaby', side: 1, value: ti_cdlabandonedbaby_last(candles.opens, candles.highs, candles.lows, candles.closes)},
            {name: 'advanceblock', side: 1, value: ti_cdladvanceblock_last(candles.opens, candles.highs, candles.lows, candles.closes)},
            {name: 'belthold', side: 1, value: ti_cdlbelthold_last(candles.opens, candles.highs, candles.lows, candles.closes)},
            {name: 'breakaway', side: 1, value: ti_cdlbreakaway_last(candles.opens, candles.highs, candles.lows, candles.closes)},
            {name: 'closingmarubozu', side: 1, value: ti_cdlclosingmarubozu_last(candles.opens, candles.highs, candles.lows, candles.closes)},
            {name: 'concealbabyswall', side: 1, value: ti_cdlconcealbabyswall_last(candles.opens, candles.highs, candles.lows, candles.closes)},
            {name: 'counterattack', side: 1, value: ti_cdlcounterattack_last(candles.opens, candles.highs, candles.lows, candles.closes)},
            {name: 'darkcloudcover', side: 1, value: ti_cdldarkcloudcover_last(candles.opens, candles.highs, candles.lows, candles.closes)},
            {name: 'doji', side: 0, value: ti_cdldoji_last(candles.opens, candles.highs, candles.lows, candles.closes)},
            {name: 'dojistar', side: 1, value: ti_cdldojistar_last(candles.opens, candles.highs, candles.lows, candles.closes)},
            {name: 'dragonflydoji', side: 0, value: ti_cdldragonflydoji_last(candles.opens, candles.highs, candles.lows, candles.closes)},
            {name: 'engulfing', side: 1, value: ti_cdlengulfing_last(candles.opens, candles.highs, candles.lows, candles.closes)},
            {name: 'eveningdojistar', side: 1, value: ti_cdleveningdojistar_last(candles.opens, candles.highs, candles.lows, candles.closes)},
            {name: 'eveningstar', side: 1, value: ti_cdleveningstar_last(candles.opens, candles.highs, candles.lows, candles.closes)},
            {name: 'gapsidesidewhite', side: 1, value: ti_cdlgapsidesidewhite_last(candles.opens, candles.highs, candles.lows, candles.closes)},
            {name: 'gravestonedoji', side: 0, value: ti_cdlgravestonedoji_last(candles.opens, candles.highs, candles.lows, candles.closes)},
            {name: 'hammer', side: 1, value: ti_cdlhammer_last(candles.opens, candles.highs, candles.lows, candles.closes)},
            {name: 'hangingman', side: 1, value: ti_cdlhangingman_last(candles.opens, candles.highs, candles.lows, candles.closes)},
            {name: 'harami', side: 1, value: ti_cdlharami_last(candles.opens, candles.highs, candles.lows, candles.closes)},
            {name: 'haramicross', side: 1, value: ti_cdlharamicross_last(candles.opens, candles.highs, candles.lows, candles.closes)},
            {name: 'highwave', side: 0, value: ti_cdlhighwave_last(candles.opens, candles.highs, candles.lows, candles.closes)},
            {name: 'hikkake', side: 1, value: ti_cdlhikkake_last(candles.opens, candles.highs, candles.lows, candles.closes)},
            {name: 'hikkakemod', side: 1, value: ti_cdlhikkakemod_last(candles.opens, candles.highs, candles.lows, candles.closes)},
            {name: 'homingpigeon', side: 1, value: ti_cdlhomingpigeon_last(candles.opens, candles.highs, candles.lows, candles.closes)},
            {name: 'identical3crows', side: 1, value: ti_cdlidentical3crows_last(candles.opens, candles.highs, candles.lows, candles.closes)},
            {name: 'inneck', side: 1, value: ti_cdlinneck_last(candles.opens, candles.highs, candles.lows, candles.closes)},
            {name: 'invertedhammer', side: 1, value: ti_cdlinvertedhammer_last(candles.opens, candles.highs, candles.lows, candles.closes)},
            {name: 'kicking', side: 1, value: ti_cdlkicking_last(candles.opens, candles.highs, candles.lows, candles.closes)},
            {name: 'kickingbylength', side: 1, value: ti_cdlkickingbylength_last(candles.opens, candles.highs, candles.lows, candles.closes)},
            {name: 'ladderbottom', side: 1, value: ti_cdlladderbottom_last(candles.opens, candles.highs, candles.lows, candles.closes)},
            {name: 'longleggeddoji', side: 0, value: ti_cdllongleggeddoji_last(candles.opens, candles.highs, candles.lows, candles.closes)},
            {name: 'longline', side: 1, value: ti_cdllongline_last(candles.opens, candles.highs, candles.lows, candles.closes)},
            {name: 'marubozu', side: 1, value: ti_cdlmarubozu_last(candles.opens, candles.highs, candles.lows, candles.closes)},
            {name: 'matchinglow', side: 1, value: ti_cdlmatchinglow_last(candles.opens, candles.highs, candles.lows, candles.closes)},
            {name: 'mathold', side: 1, value: ti_cdlmathold_last(candles.opens, candles.highs, candles.lows, candles.closes)},
            {name: 'morningdojistar', side: 1, value: ti_cdlmorningdojistar_last(candles.opens, candles.highs, candles.lows, candles.closes)},
            {name: 'morningstar', side: 1, value: ti_cdlmorningstar_last(candles.opens, candles.highs, candles.lows, candles.closes)},
            {name: 'onneck', side: 1, value: ti_cdlonneck_last(candles.opens, candles.highs, candles.lows, candles.closes)},
            {name: 'piercing', side: 1, value: ti_cdlpiercing_last(candles.opens, candles.highs, candles.lows, candles.closes)},
            {name: 'rickshawman', side: 0, value: ti_cdlrickshawman_last(candles.opens, candles.highs, candles.lows, candles.closes)},
            {name: 'risefall3methods', side: 1, value: ti_cdlrisefall3methods_last(candles.opens, candles.highs, candles.lows, candles.closes)},
            {name: 'separatinglines', side: 1, value: ti_cdlseparatinglines_last(candles.opens, candles.highs, candles.lows, candles.closes)},
            {name: 'shootingstar', side: 1, value: ti_cdlshootingstar_last(candles.opens, candles.highs, candles.lows, candles.closes)},
            {name: 'shortline', side: 0, value: ti_cdlshortline_last(candles.opens, candles.highs, candles.lows, candles.closes)},
            {name: 'spinningtop', side: 0, value: ti_cdlspinningtop_last(candles.opens, candles.highs, candles.lows, candles.closes)},
            {name: 'stalledpattern', side: 1, value: ti_cdlstalledpattern_last(candles.opens, candles.highs, candles.lows, candles.closes)},
            {name: 'sticksandwich', side: 1, value: ti_cdlsticksandwich_last(candles.opens, candles.highs, candles.lows, candles.closes)},
            {name: 'takuri', side: 0, value: ti_cdltakuri_last(candles.opens, candles.highs, candles.lows, candles.closes)},
            {name: 'tasukigap', side: 1, value: ti_cdltasukigap_last(candles.opens, candles.highs, candles.lows, candles.closes)},
            {name: 'thrusting', side: 1, value: ti_cdlthrusting_last(candles.opens, candles.highs, candles.lows, candles.closes)},
            {name: 'tristar', side: 1, value: ti_cdltristar_last(candles.opens, candles.highs, candles.lows, candles.closes)},
            {name: 'unique3river', side: 1, value: ti_cdlunique3river_last(candles.opens, candles.highs, candles.lows, candles.closes)},
            {name: 'upsidegap2crows', side: 1, value: ti_cdlupsidegap2crows_last(candles.opens, candles.highs, candles.lows, candles.closes)},
            {name: 'xsidegap3methods', side: 1, value: ti_cdlxsidegap3methods_last(candles.opens, candles.highs, candles.lows, candles.closes)}
        ] AS all_patterns
    FROM candles
),

with_patterns AS (
    SELECT
        with_all_patterns.*,
        list_filter(with_all_patterns.all_patterns, lambda candle: candle.value <> 0) AS found
    FROM with_all_patterns
),

with_strength AS (
    SELECT
        with_patterns.*,
        list_sum(list_transform(with_patterns.found, lambda candle: candle.side * candle.value)) / 100 AS strength
    FROM with_patterns
    WHERE len(with_patterns.found) > 0 AND with_patterns.range_atr IS NOT NULL
),

candidates AS (
    SELECT
        with_strength.*,
        CASE WHEN with_strength.strength > 0 THEN 'long' WHEN with_strength.strength < 0 THEN 'short' ELSE 'none' END AS signal_direction,
        60 * least(abs(with_strength.strength) / 3, 1) + 40 * least(with_strength.range_atr, 1) AS probability_score
    FROM with_strength
    WHERE
        list_contains(
            list_append(list_transform(with_strength.found, lambda candle: candle.name), 'any'),
            one_of(
                pattern,
                'any, 2crows, 3blackcrows, 3inside, 3linestrike, 3outside, 3starsinsouth, 3whitesoldiers, abandonedbaby, advanceblock, belthold, breakaway, closingmarubozu, concealbabyswall, counterattack, darkcloudcover, doji, dojistar, dragonflydoji, engulfing, eveningdojistar, eveningstar, gapsidesidewhite, gravestonedoji, hammer, hangingman, harami, haramicross, highwave, hikkake, hikkakemod, homingpigeon, identical3crows, inneck, invertedhammer, kicking, kickingbylength, ladderbottom, longleggeddoji, longline, marubozu, matchinglow, mathold, morningdojistar, morningstar, onneck, piercing, rickshawman, risefall3methods, separatinglines, shootingstar, shortline, spinningtop, stalledpattern, sticksandwich, takuri, tasukigap, thrusting, tristar, unique3river, upsidegap2crows, xsidegap3methods',
                'scan_candlestick',
                'pattern'
            )
        )
),

ranked AS (
    SELECT
        candidates.*,
        row_number() OVER (
            PARTITION BY candidates.session_date
            ORDER BY candidates.probability_score DESC, abs(candidates.strength) DESC, candidates.symbol
        ) AS rank
    FROM candidates
    WHERE
        candidates.probability_score >= number_in_range(min_probability_score, 0, 100, 'scan_candlestick', 'min_probability_score')
        AND one_of(direction, 'long, short, any', 'scan_candlestick', 'direction') IN ('any', candidates.signal_direction)
)

SELECT
    ranked.session_date AS scan_date,
    ranked.symbol,
    ranked.price,
    array_to_string(list_transform(ranked.found, lambda candle: candle.name), ' + ') AS patterns,
    ranked.strength,
    ranked.signal_direction,
    ranked.open,
    ranked.high,
    ranked.low,
    ranked.range_atr,
    100 * (ranked.price / ranked.open - 1) AS change_pct,
    ranked.volume,
    ranked.probability_score,
    ranked.rank
FROM ranked
WHERE ranked.rank <= integer_in_range(max_results_per_day, 1, 10000, 'scan_candlestick', 'max_results_per_day')
ORDER BY ranked.session_date, ranked.rank
