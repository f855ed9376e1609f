-- A stock that is up since its open, on more volume than is usual by that time of day.
--
-- The usual volume is the mean of what the symbol had traded by the same time of day in its lookback_days sessions before. A symbol
-- without all of them within 2 · lookback_days + 10 calendar days is new or was halted: no row. The probability score is a score
-- from 0 to 100, not a probability: 20 · change_pct, at most 100. Within a session, rank goes by score, then by relative_volume
-- (higher first), then by symbol.
--
-- @inherit session_bars sessions_as_of scan_breakout
-- @param lookback_days INTEGER sessions, 1 to 250: how many sessions make the usual volume.
-- @param min_change_pct DOUBLE %, 0 to 100 step 0.1: least change_pct.
-- @param min_relative_volume DOUBLE times, 0 to 100 step 0.1: least relative_volume.
-- @column scan_date date of the session.
-- @column symbol name of the stock.
-- @column price currency, close of the latest bar that had ended by the cutoff.
-- @column change_pct %, price against the session's open: 100 · (price / open − 1).
-- @column relative_volume times, volume so far over the usual volume by the same time of day.
-- @column volume shares traded so far.
-- @column probability_score points from 0 to 100; a score, not a probability.
-- @column rank place within the session, 1 is best.
-- @example FROM scan_template('2025-01-15')
-- @example FROM scan_template('2025-01-15', '10:30', min_change_pct := 1)

-- A template: it runs as it is. All above the empty line is the documentation that 'scanner list' shows: a sentence that says what
-- a row means, prose, and a line for each parameter and each column. What you change is checked whenever the file is loaded, and a
-- mistake is told with its line.
--
-- The parameters down to min_probability_score are those that every scanner has, and @inherit documents them. Your own come behind
-- them. All but scan_date have a default.
CREATE MACRO scan_template(
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
    lookback_days := 5,
    min_change_pct := 0.5,
    min_relative_volume := 1
) AS TABLE
-- sessions_as_of() has a row for each symbol and session, made of what was known at the cutoff. Columns called previous_… tell of
-- the whole session before, so a window over the rows of a symbol up to the current one looks back and never ahead. visible_bars()
-- has the single bars instead. A scanner reads these two, other scanners and its own steps, and hands on to them what it was given.
WITH sessions AS (
    SELECT
        session.*,
        avg(session.previous_volume_by_cutoff) OVER (
            PARTITION BY session.symbol
            ORDER BY session.session_date
            ROWS BETWEEN integer_in_range(lookback_days, 1, 250, 'scan_template', 'lookback_days') - 1 PRECEDING AND CURRENT ROW
        ) AS usual_volume
    FROM sessions_as_of(
        scan_date,
        cutoff_time := cutoff_time,
        end_date := end_date,
        history_sessions := integer_in_range(lookback_days, 1, 250, 'scan_template', 'lookback_days'),
        source := source,
        bar_minutes := bar_minutes,
        session_start := session_start,
        session_end := session_end,
        symbols := symbols,
        called_by := 'scan_template'
    ) AS session
),

-- A parameter is read through a guard, which lets pass what its @param line says and refuses anything else: integer_in_range,
-- number_in_range (the same with _or_null where the default is NULL), one_of, session_date, clock_time. Write the relation before
-- every column, as in sessions.price: a bare name that is also a parameter's is the parameter.
measured AS (
    SELECT
        sessions.session_date,
        sessions.symbol,
        sessions.price,
        100 * (sessions.price / sessions.open - 1) AS change_pct,
        sessions.volume / sessions.usual_volume AS relative_volume,
        sessions.volume
    FROM sessions
    WHERE
        -- Earlier sessions are there to look back on.
        sessions.session_date >= session_date(scan_date, 'scan_template', 'scan_date')
        AND sessions.price IS NOT NULL
        AND sessions.history_complete
        AND sessions.usual_volume > 0
        AND in_order(min_price, max_price, 'scan_template', 'min_price', 'max_price')
        AND sessions.price >= number_in_range(min_price, 0, NULL, 'scan_template', 'min_price')
        AND sessions.price <= number_in_range(max_price, 0, NULL, 'scan_template', 'max_price')
        AND sessions.volume >= integer_in_range(min_volume, 0, NULL, 'scan_template', 'min_volume')
),

candidates AS (
    SELECT
        measured.*,
        least(20 * measured.change_pct, 100) AS probability_score
    FROM measured
    WHERE
        measured.change_pct >= number_in_range(min_change_pct, 0, 100, 'scan_template', 'min_change_pct')
        AND measured.relative_volume >= number_in_range(min_relative_volume, 0, 100, 'scan_template', 'min_relative_volume')
),

-- Ties end with the symbol, so that the same bars always give the same ranks.
ranked AS (
    SELECT
        candidates.*,
        row_number() OVER (
            PARTITION BY candidates.session_date
            ORDER BY candidates.probability_score DESC, candidates.relative_volume DESC, candidates.symbol
        ) AS rank
    FROM candidates
    WHERE candidates.probability_score >= number_in_range(min_probability_score, 0, 100, 'scan_template', 'min_probability_score')
)

-- scan_date, symbol and price come first, volume, probability_score and rank last, the evidence between them.
SELECT
    ranked.session_date AS scan_date,
    ranked.symbol,
    ranked.price,
    ranked.change_pct,
    ranked.relative_volume,
    ranked.volume,
    ranked.probability_score,
    ranked.rank
FROM ranked
WHERE ranked.rank <= integer_in_range(max_results_per_day, 1, 10000, 'scan_template', 'max_results_per_day')
ORDER BY ranked.session_date, ranked.rank;
