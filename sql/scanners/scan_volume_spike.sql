-- A stock whose last few bars have traded far more than its bars of the session before them, measured in robust z.
--
-- The session is cut into slots of one bar's length, counted back from the latest one that has ended by the cutoff (and by session_end, if
-- given); a slot without a bar has volume 0. The last k slots are the spike, the others, from the symbol's first bar of the session on,
-- are what is usual. So a stock that has stopped trading has no spike, however its last bars looked; nor has any after the close, unless
-- session_end says when that is. The spike's mean volume is compared with the median of the usual slots, in units of 1.4826 times their
-- median absolute deviation, which neither the busy open nor a single block trade moves. Where that deviation is 0 (half of the usual slots
-- or more hold the very same volume, as where most of them are empty) or where no bar comes before the spike, there is no row.
-- No other session is looked at; for what is usual by this time of day see scan_relative_volume.
-- The probability score is a score from 0 to 100, not a probability: 100 · min(spike_z / 20, 1).
-- Within a session, rank goes by score, then by spike_z (higher first), then by symbol.
--
-- @inherit session_bars sessions_as_of scan_breakout scan_relative_volume
-- @param spike_bars INTEGER bars, 1 to 60: how many slots, up to the cutoff, are the spike.
-- @param min_spike_z DOUBLE deviations, 0 to 1000 step 0.5: least spike_z.
-- @param direction VARCHAR one of long, short, any: long keeps a price above the one before the spike, short one below it.
-- @column scan_date date of the session.
-- @column symbol name of the stock.
-- @column price currency, close of the latest bar that had ended by the cutoff.
-- @column spike_z deviations, the spike in robust z: (spike_volume − usual_bar_volume) / usual_deviation.
-- @column spike_volume shares, mean volume of the spike's slots.
-- @column usual_bar_volume shares, median volume of the slots before them.
-- @column usual_deviation shares, 1.4826 times the median absolute deviation of those slots from that median.
-- @column spike_ratio times, spike_volume over usual_bar_volume.
-- @column spike_change_pct %, price against the last close before the spike's slots: 100 · (price / that close − 1).
-- @column change_pct %, price against the session's open: 100 · (price / open − 1).
-- @column bars bars so far.
-- @column volume shares traded so far.
-- @column probability_score points from 0 to 100; a score, not a probability.
-- @column rank place within the session, 1 is best.
-- @source Modified z-score from the median absolute deviation, with 3.5 as its limit: B. Iglewicz and D. C. Hoaglin, How to Detect and Handle Outliers (1993).
-- @example FROM scan_volume_spike('2025-01-15')
-- @example FROM scan_volume_spike('2025-01-15', '11:00', spike_bars := 5, direction := 'long', min_spike_z := 5)
CREATE MACRO scan_volume_spike(
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
    spike_bars := 3,
    min_spike_z := 3.5,
    min_bars := 15,
    direction := 'any'
) AS TABLE
WITH bars_so_far AS (
    SELECT
        bar.*,
        -- 0 is the latest slot. Counted from the bar's own start, since bars need not start at full hours: 09:15, 10:15 are hourly ones.
        date_sub(
            'minute',
            bar.ts,
            bar.session_date
            + least(
                latest_visible_start(
                    cutoff_time,
                    integer_in_range(bar_minutes, 1, 1440, 'scan_volume_spike', 'bar_minutes'),
                    'scan_volume_spike',
                    'cutoff_time'
                ),
                latest_visible_start(
                    coalesce(CAST(session_end AS VARCHAR), '24:00'),
                    integer_in_range(bar_minutes, 1, 1440, 'scan_volume_spike', 'bar_minutes'),
                    'scan_volume_spike',
                    'session_end'
                )
            )
        ) // integer_in_range(bar_minutes, 1, 1440, 'scan_volume_spike', 'bar_minutes') AS slots_back
    FROM visible_bars(
        scan_date,
        cutoff_time := cutoff_time,
        end_date := end_date,
        source := source,
        bar_minutes := bar_minutes,
        session_start := session_start,
        session_end := session_end,
        symbols := symbols,
        called_by := 'scan_volume_spike'
    ) AS bar
),

sessions AS (
    SELECT
        bars_so_far.session_date,
        bars_so_far.symbol,
        arg_max(bars_so_far.close, bars_so_far.ts) AS price,
        arg_min(bars_so_far.open, bars_so_far.ts) AS open,
        count(*) AS bars,
        CAST(sum(bars_so_far.volume) AS BIGINT) AS volume,
        max(bars_so_far.slots_back) + 1 AS slots,
        sum(bars_so_far.volume) FILTER (
            WHERE bars_so_far.slots_back < integer_in_range(spike_bars, 1, 60, 'scan_volume_spike', 'spike_bars')
        ) / integer_in_range(spike_bars, 1, 60, 'scan_volume_spike', 'spike_bars') AS spike_volume,
        list(CAST(bars_so_far.volume AS DOUBLE)) FILTER (
            WHERE bars_so_far.slots_back >= integer_in_range(spike_bars, 1, 60, 'scan_volume_spike', 'spike_bars')
        ) AS earlier_volumes,
        arg_max(bars_so_far.close, bars_so_far.ts) FILTER (
            WHERE bars_so_far.slots_back >= integer_in_range(spike_bars, 1, 60, 'scan_volume_spike', 'spike_bars')
        ) AS earlier_price
    FROM bars_so_far
    GROUP BY bars_so_far.session_date, bars_so_far.symbol
),

-- A slot without a bar traded nothing. Medians do not ask where in the session it was.
with_slots AS (
    SELECT
        sessions.*,
        list_resize(
            sessions.earlier_volumes,
            greatest(sessions.slots - integer_in_range(spike_bars, 1, 60, 'scan_volume_spike', 'spike_bars'), len(sessions.earlier_volumes)),
            0
        ) AS usual_volumes
    FROM sessions
    WHERE
        in_order(min_price, max_price, 'scan_volume_spike', 'min_price', 'max_price')
        AND sessions.price >= number_in_range(min_price, 0, NULL, 'scan_volume_spike', 'min_price')
        AND sessions.price <= number_in_range(max_price, 0, NULL, 'scan_volume_spike', 'max_price')
        AND sessions.volume >= integer_in_range(min_volume, 0, NULL, 'scan_volume_spike', 'min_volume')
        AND sessions.bars >= integer_in_range(min_bars, 1, 1440, 'scan_volume_spike', 'min_bars')
        AND sessions.spike_volume > 0
        AND sessions.earlier_price IS NOT NULL
        AND one_of(direction, 'long, short, any', 'scan_volume_spike', 'direction')
        IN ('any', CASE WHEN sessions.price > sessions.earlier_price THEN 'long' WHEN sessions.price < sessions.earlier_price THEN 'short' END)
),

with_usual AS (
    SELECT
        with_slots.session_date,
        with_slots.symbol,
        with_slots.price,
        with_slots.spike_volume,
        list_median(with_slots.usual_volumes) AS usual_bar_volume,
        1.4826 * list_mad(with_slots.usual_volumes) AS usual_deviation,
        100 * (with_slots.price / with_slots.earlier_price - 1) AS spike_change_pct,
        100 * (with_slots.price / with_slots.open - 1) AS change_pct,
        with_slots.bars,
        with_slots.volume
    FROM with_slots
),

with_z AS (
    SELECT
        with_usual.*,
        (with_usual.spike_volume - with_usual.usual_bar_volume) / nullif(with_usual.usual_deviation, 0) AS spike_z,
        -- Where the median is 0 the deviation is 0 too, and there is no row.
        with_usual.spike_volume / with_usual.usual_bar_volume AS spike_ratio
    FROM with_usual
),

candidates AS (
    SELECT
        with_z.*,
        100 * least(with_z.spike_z / 20, 1) AS probability_score
    FROM with_z
    WHERE with_z.spike_z >= number_in_range(min_spike_z, 0, 1000, 'scan_volume_spike', 'min_spike_z')
),

ranked AS (
    SELECT
        candidates.*,
        row_number() OVER (
            PARTITION BY candidates.session_date
            ORDER BY candidates.probability_score DESC, candidates.spike_z DESC, candidates.symbol
        ) AS rank
    FROM candidates
    WHERE candidates.probability_score >= number_in_range(min_probability_score, 0, 100, 'scan_volume_spike', 'min_probability_score')
)

SELECT
    ranked.session_date AS scan_date,
    ranked.symbol,
    ranked.price,
    ranked.spike_z,
    ranked.spike_volume,
    ranked.usual_bar_volume,
    ranked.usual_deviation,
    ranked.spike_ratio,
    ranked.spike_change_pct,
    ranked.change_pct,
    ranked.bars,
    ranked.volume,
    ranked.probability_score,
    ranked.rank
FROM ranked
WHERE ranked.rank <= integer_in_range(max_results_per_day, 1, 10000, 'scan_volume_spike', 'max_results_per_day')
ORDER BY ranked.session_date, ranked.rank
