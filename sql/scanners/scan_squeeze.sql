-- A stock whose latest whole sessions were unusually quiet: Bollinger bands inside the Keltner channel, or a narrow or inside session.
--
-- The setup is that of whole sessions, up to the one before the scanned one, since a running session is always narrow at first; the price
-- then shows whether the stock has left the last of them: long is above its high, short below its low.
-- The Bollinger bands lie bollinger_deviations standard deviations around a mean close, the Keltner channel keltner_multiplier mean true
-- ranges (means, not Wilder's averages). A squeeze is on while the bands are within the channel; squeeze_sessions counts, back from the last
-- whole session, for how many sessions it has been on without a break, up to 20. NR4 and NR7: the last session's range is narrower than each
-- of the 3 or 6 before it. Inside: its high is below and its low above those of the session before. No row without any of these.
-- A symbol needs max(bollinger_period + 20, keltner_period + 20, 2 · keltner_period) sessions, so 40 by default, within twice as many + 10
-- calendar days before the scanned one; else it has no row.
-- The probability score is a score from 0 to 100, not a probability: 40 · min(squeeze_sessions / 6, 1) + 20 if NR7, else 10 if NR4, + 10 if
-- inside + 30 · min(break_pct, 1). Within a session, rank goes by score, then by squeeze_sessions, then by break_pct (more first), then by
-- symbol.
--
-- @inherit session_bars sessions_as_of scan_breakout scan_technical
-- @param keltner_period INTEGER sessions, 2 to 250: period of the Keltner channel and of squeeze_momentum.
-- @param keltner_multiplier DOUBLE times, 0 to 10 step 0.1: half the channel's width in mean true ranges.
-- @param min_squeeze_sessions INTEGER sessions, 0 to 20: least squeeze_sessions; 0: a narrow or inside session will do.
-- @param setup VARCHAR one of any, squeeze, nr4, nr7, inside: what must hold; any: at least one of them.
-- @column scan_date date of the session.
-- @column symbol name of the stock.
-- @column price currency, close of the latest bar that had ended by the cutoff.
-- @column setup what holds, in alphabetical order and joined by ' + ': INSIDE, NR4, NR7 (which includes NR4), SQUEEZE.
-- @column squeeze_sessions sessions up to the last whole one that the squeeze has been on, at most 20; 0 if it is off.
-- @column squeeze_momentum currency, LazyBear's momentum at the last whole session: end of the regression line through keltner_period values of close − (middle of highest high and lowest low + mean close) / 2; above 0 up.
-- @column range_pct %, height of the last whole session: 100 · (high − low) / close.
-- @column previous_high currency, highest high of the last whole session.
-- @column previous_low currency, lowest low of the last whole session.
-- @column break_pct %, how far the price is beyond that high or low; 0 between them.
-- @column signal_direction long above that high, short below that low, else none.
-- @column change_pct %, price against the session's open: 100 · (price / open − 1).
-- @column volume shares traded so far.
-- @column probability_score points from 0 to 100; a score, not a probability.
-- @column rank place within the session, 1 is best.
-- @source Squeeze: J. Carter, Mastering the Trade (2005), as LazyBear published it. NR4, NR7 and inside day: T. Crabel, Day Trading with Short Term Price Patterns and Opening Range Breakout (1990).
-- @example FROM scan_squeeze('2025-01-15')
-- @example FROM scan_squeeze('2025-01-15', '10:30', setup := 'squeeze', direction := 'long')
CREATE MACRO scan_squeeze(
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
    bollinger_period := 20,
    bollinger_deviations := 2,
    keltner_period := 20,
    keltner_multiplier := 1.5,
    min_squeeze_sessions := 0,
    setup := 'any',
    direction := 'any'
) AS TABLE
WITH sessions AS (
    SELECT
        session.session_date,
        session.symbol,
        session.price,
        session.open,
        session.volume,
        session.history,
        session.previous_close,
        -- Whole sessions only.
        list_slice(session.highs, 1, session.history) AS highs,
        list_slice(session.lows, 1, session.history) AS lows,
        list_slice(session.closes, 1, session.history) AS closes
    FROM session_series(
        scan_date,
        cutoff_time := cutoff_time,
        end_date := end_date,
        history_sessions := greatest(
            integer_in_range(bollinger_period, 2, 250, 'scan_squeeze', 'bollinger_period') + 20,
            integer_in_range(keltner_period, 2, 250, 'scan_squeeze', 'keltner_period') + 20,
            2 * integer_in_range(keltner_period, 2, 250, 'scan_squeeze', 'keltner_period')
        ),
        source := source,
        bar_minutes := bar_minutes,
        session_start := session_start,
        session_end := session_end,
        symbols := symbols,
        called_by := 'scan_squeeze'
    ) AS session
    WHERE
        in_order(min_price, max_price, 'scan_squeeze', 'min_price', 'max_price')
        AND session.history = greatest(
            integer_in_range(bollinger_period, 2, 250, 'scan_squeeze', 'bollinger_period') + 20,
            integer_in_range(keltner_period, 2, 250, 'scan_squeeze', 'keltner_period') + 20,
            2 * integer_in_range(keltner_period, 2, 250, 'scan_squeeze', 'keltner_period')
        )
        AND session.price >= number_in_range(min_price, 0, NULL, 'scan_squeeze', 'min_price')
        AND session.price <= number_in_range(max_price, 0, NULL, 'scan_squeeze', 'max_price')
        AND session.volume >= integer_in_range(min_volume, 0, NULL, 'scan_squeeze', 'min_volume')
),

with_bands AS (
    SELECT
        sessions.*,
        sessions.highs[sessions.history] AS previous_high,
        sessions.lows[sessions.history] AS previous_low,
        ti_bbands(
            sessions.closes,
            integer_in_range(bollinger_period, 2, 250, 'scan_squeeze', 'bollinger_period'),
            number_in_range(bollinger_deviations, 0, 10, 'scan_squeeze', 'bollinger_deviations'),
            number_in_range(bollinger_deviations, 0, 10, 'scan_squeeze', 'bollinger_deviations')
        ) AS bands,
        ti_sma(sessions.closes, integer_in_range(keltner_period, 2, 250, 'scan_squeeze', 'keltner_period')) AS channel_middles,
        ti_sma(
            ti_trange(sessions.highs, sessions.lows, sessions.closes),
            integer_in_range(keltner_period, 2, 250, 'scan_squeeze', 'keltner_period')
        ) AS mean_true_ranges,
        -- The first two are for the state.
        ti_sqzmom_last(
            sessions.highs,
            sessions.lows,
            sessions.closes,
            2,
            2,
            integer_in_range(keltner_period, 2, 250, 'scan_squeeze', 'keltner_period')
        ).momentum AS squeeze_momentum
    FROM sessions
),

with_states AS (
    SELECT
        with_bands.*,
        -- Latest first. SQZMOM says it, too, but only from where it has a momentum, so not far enough back.
        list_transform(
            range(0, 20),
            lambda back:
                with_bands.bands.lower_band[with_bands.history - back]
                > with_bands.channel_middles[with_bands.history - back]
                - number_in_range(keltner_multiplier, 0, 10, 'scan_squeeze', 'keltner_multiplier')
                * with_bands.mean_true_ranges[with_bands.history - back]
                AND with_bands.bands.upper_band[with_bands.history - back]
                < with_bands.channel_middles[with_bands.history - back]
                + number_in_range(keltner_multiplier, 0, 10, 'scan_squeeze', 'keltner_multiplier')
                * with_bands.mean_true_ranges[with_bands.history - back]
        ) AS squeeze_states,
        list_transform(
            range(0, 7),
            lambda back: with_bands.highs[with_bands.history - back] - with_bands.lows[with_bands.history - back]
        ) AS heights
    FROM with_bands
),

with_setups AS (
    SELECT
        with_states.session_date,
        with_states.symbol,
        with_states.price,
        with_states.volume,
        with_states.previous_high,
        with_states.previous_low,
        with_states.squeeze_momentum,
        100 * (with_states.previous_high - with_states.previous_low) / with_states.previous_close AS range_pct,
        100 * (with_states.price / with_states.open - 1) AS change_pct,
        coalesce(list_position(with_states.squeeze_states, FALSE) - 1, 20) AS squeeze_sessions,
        -- Ranges that are equal in ticks differ by a rounding error.
        list_min(with_states.heights[2:4]) - with_states.heights[1] > 1e-9 * with_states.previous_close AS is_nr4,
        list_min(with_states.heights[2:7]) - with_states.heights[1] > 1e-9 * with_states.previous_close AS is_nr7,
        with_states.previous_high < with_states.highs[with_states.history - 1]
        AND with_states.previous_low > with_states.lows[with_states.history - 1] AS is_inside,
        greatest(
            100 * (with_states.price / with_states.previous_high - 1),
            100 * (1 - with_states.price / with_states.previous_low),
            0
        ) AS break_pct,
        CASE
            WHEN with_states.price > with_states.previous_high THEN 'long'
            WHEN with_states.price < with_states.previous_low THEN 'short'
            ELSE 'none'
        END AS signal_direction
    FROM with_states
),

candidates AS (
    SELECT
        with_setups.*,
        40 * least(with_setups.squeeze_sessions / 6, 1)
        + CASE WHEN with_setups.is_nr7 THEN 20 WHEN with_setups.is_nr4 THEN 10 ELSE 0 END
        + CASE WHEN with_setups.is_inside THEN 10 ELSE 0 END
        + 30 * least(with_setups.break_pct, 1) AS probability_score
    FROM with_setups
    WHERE
        with_setups.squeeze_sessions >= integer_in_range(min_squeeze_sessions, 0, 20, 'scan_squeeze', 'min_squeeze_sessions')
        AND CASE one_of(setup, 'any, squeeze, nr4, nr7, inside', 'scan_squeeze', 'setup')
            WHEN 'squeeze' THEN with_setups.squeeze_sessions > 0
            WHEN 'nr4' THEN with_setups.is_nr4
            WHEN 'nr7' THEN with_setups.is_nr7
            WHEN 'inside' THEN with_setups.is_inside
            ELSE with_setups.squeeze_sessions > 0 OR with_setups.is_nr4 OR with_setups.is_inside
        END
),

ranked AS (
    SELECT
        candidates.*,
        row_number() OVER (
            PARTITION BY candidates.session_date
            ORDER BY candidates.probability_score DESC, candidates.squeeze_sessions DESC, candidates.break_pct DESC, candidates.symbol
        ) AS rank
    FROM candidates
    WHERE
        candidates.probability_score >= number_in_range(min_probability_score, 0, 100, 'scan_squeeze', 'min_probability_score')
        AND one_of(direction, 'long, short, any', 'scan_squeeze', 'direction') IN ('any', candidates.signal_direction)
)

SELECT
    ranked.session_date AS scan_date,
    ranked.symbol,
    ranked.price,
    concat_ws(
        ' + ',
        CASE WHEN ranked.is_inside THEN 'INSIDE' END,
        CASE WHEN ranked.is_nr7 THEN 'NR7' WHEN ranked.is_nr4 THEN 'NR4' END,
        CASE WHEN ranked.squeeze_sessions > 0 THEN 'SQUEEZE' END
    ) AS setup,
    ranked.squeeze_sessions,
    ranked.squeeze_momentum,
    ranked.range_pct,
    ranked.previous_high,
    ranked.previous_low,
    ranked.break_pct,
    ranked.signal_direction,
    ranked.change_pct,
    ranked.volume,
    ranked.probability_score,
    ranked.rank
FROM ranked
WHERE ranked.rank <= integer_in_range(max_results_per_day, 1, 10000, 'scan_squeeze', 'max_results_per_day')
ORDER BY ranked.session_date, ranked.rank
