-- One kind of defect that bars can have, with how many bars of the source have it.
--
-- A first look at data before it is trusted. Scanners leave out the bars of the first four kinds (`ignored_by_scanners`), and read the
-- others as they are. Every kind has a row, so that a count of 0 says that it was looked for. Reads the source as it is, whole.
--
-- @inherit session_bars
-- @column defect name of the defect.
-- @column bars bars that have it; of a duplicate, the bars beyond the first.
-- @column symbols symbols with such bars.
-- @column first_symbol symbol of the earliest such bar.
-- @column first_ts start of the earliest such bar.
-- @column ignored_by_scanners whether scanners leave such bars out.
-- @column meaning what the defect is.
-- @example FROM check_bars()
-- @example SELECT defect, bars FROM check_bars(session_start := '09:15', session_end := '15:30') WHERE bars > 0
CREATE MACRO check_bars(source := 'bars', bar_minutes := 1, session_start := NULL, session_end := NULL) AS TABLE
-- NaN is above every number in a comparison. As NULL it is no less bad, and has no other defect on top.
WITH bar_values AS (
    SELECT
        CAST(bar.symbol AS VARCHAR) AS symbol,
        CAST(bar.ts AS TIMESTAMP) AS ts,
        nullif(CAST(bar.open AS DOUBLE), CAST('NaN' AS DOUBLE)) AS open,
        nullif(CAST(bar.high AS DOUBLE), CAST('NaN' AS DOUBLE)) AS high,
        nullif(CAST(bar.low AS DOUBLE), CAST('NaN' AS DOUBLE)) AS low,
        nullif(CAST(bar.close AS DOUBLE), CAST('NaN' AS DOUBLE)) AS close,
        nullif(CAST(bar.volume AS DOUBLE), CAST('NaN' AS DOUBLE)) AS volume,
        CASE WHEN isfinite(CAST(bar.ts AS TIMESTAMP)) THEN CAST(CAST(bar.ts AS TIMESTAMP) AS TIME) END AS clock
    FROM query_table(source, true) AS bar
    WHERE is_bar_time(typeof(bar.ts), 'check_bars')
),

bar_defects AS (
    SELECT
        bar_values.symbol,
        bar_values.ts,
        bar_values.symbol IS NULL OR bar_values.clock IS NULL AS no_symbol_or_time,
        NOT coalesce(
            least(bar_values.open, bar_values.high, bar_values.low, bar_values.close) >= 1e-9
            AND greatest(bar_values.open, bar_values.high, bar_values.low, bar_values.close) <= 1e15
            AND bar_values.open IS NOT NULL AND bar_values.high IS NOT NULL AND bar_values.low IS NOT NULL AND bar_values.close IS NOT NULL,
            false
        ) AS bad_price,
        bar_values.high < bar_values.low AS high_below_low,
        NOT coalesce(bar_values.volume >= 0 AND bar_values.volume <= 1e15, false) AS bad_volume,
        bar_values.low <= bar_values.high
        AND (greatest(bar_values.open, bar_values.close) > bar_values.high OR least(bar_values.open, bar_values.close) < bar_values.low)
            AS outside_high_low,
        bar_values.volume = 0 AS zero_volume,
        bar_values.clock IS NOT NULL
        AND epoch_us(bar_values.ts) % 86400000000
        % (60000000 * integer_in_range(bar_minutes, 1, 1440, 'check_bars', 'bar_minutes')) != 0 AS off_the_grid,
        bar_values.clock = TIME '00:00:00' AND integer_in_range(bar_minutes, 1, 1440, 'check_bars', 'bar_minutes') < 1440 AS at_midnight,
        bar_values.clock < clock_time(session_start, 'check_bars', 'session_start')
        OR (
            session_end IS NOT NULL
            AND bar_values.clock > latest_visible_start(
                coalesce(CAST(session_end AS VARCHAR), '24:00'),
                integer_in_range(bar_minutes, 1, 1440, 'check_bars', 'bar_minutes'),
                'check_bars',
                'session_end'
            )
        ) AS outside_regular_hours
    FROM bar_values
    WHERE in_order(session_start, session_end, 'check_bars', 'session_start', 'session_end')
),

-- One row per symbol: how many of its bars have a defect, and when the first one starts.
symbol_defects AS (
    SELECT
        bar_defects.symbol,
        [
            {
                'defect': 'no_symbol_or_time',
                'bars': count(*) FILTER (WHERE bar_defects.no_symbol_or_time),
                'first_ts': min(bar_defects.ts) FILTER (WHERE bar_defects.no_symbol_or_time)
            },
            {
                'defect': 'bad_price',
                'bars': count(*) FILTER (WHERE bar_defects.bad_price),
                'first_ts': min(bar_defects.ts) FILTER (WHERE bar_defects.bad_price)
            },
            {
                'defect': 'high_below_low',
                'bars': count(*) FILTER (WHERE bar_defects.high_below_low),
                'first_ts': min(bar_defects.ts) FILTER (WHERE bar_defects.high_below_low)
            },
            {
                'defect': 'bad_volume',
                'bars': count(*) FILTER (WHERE bar_defects.bad_volume),
                'first_ts': min(bar_defects.ts) FILTER (WHERE bar_defects.bad_volume)
            },
            {
                'defect': 'outside_high_low',
                'bars': count(*) FILTER (WHERE bar_defects.outside_high_low),
                'first_ts': min(bar_defects.ts) FILTER (WHERE bar_defects.outside_high_low)
            },
            {
                'defect': 'zero_volume',
                'bars': count(*) FILTER (WHERE bar_defects.zero_volume),
                'first_ts': min(bar_defects.ts) FILTER (WHERE bar_defects.zero_volume)
            },
            {
                'defect': 'off_the_grid',
                'bars': count(*) FILTER (WHERE bar_defects.off_the_grid),
                'first_ts': min(bar_defects.ts) FILTER (WHERE bar_defects.off_the_grid)
            },
            {
                'defect': 'at_midnight',
                'bars': count(*) FILTER (WHERE bar_defects.at_midnight),
                'first_ts': min(bar_defects.ts) FILTER (WHERE bar_defects.at_midnight)
            },
            {
                'defect': 'outside_regular_hours',
                'bars': count(*) FILTER (WHERE bar_defects.outside_regular_hours),
                'first_ts': min(bar_defects.ts) FILTER (WHERE bar_defects.outside_regular_hours)
            }
        ] AS defects
    FROM bar_defects
    GROUP BY bar_defects.symbol
),

repeated AS (
    SELECT bar_defects.symbol, bar_defects.ts, count(*) - 1 AS extra_bars
    FROM bar_defects
    GROUP BY bar_defects.symbol, bar_defects.ts
    HAVING count(*) > 1
),

found AS (
    SELECT symbol_defects.symbol, unnest(symbol_defects.defects) AS defect
    FROM symbol_defects
    UNION ALL
    SELECT repeated.symbol, {'defect': 'duplicate', 'bars': repeated.extra_bars, 'first_ts': repeated.ts}
    FROM repeated
),

kinds AS (
    SELECT kind.position, kind.defect, kind.ignored_by_scanners, kind.meaning
    FROM (
        VALUES
        (1, 'no_symbol_or_time', true, 'symbol or ts is NULL, or ts is infinite'),
        (2, 'bad_price', true, 'a price is NULL, NaN, not above zero (below 1e-9) or infinite (above 1e15)'),
        (3, 'high_below_low', true, 'the high is below the low'),
        (4, 'bad_volume', true, 'the volume is NULL, NaN, negative or infinite (above 1e15)'),
        (5, 'duplicate', false, 'another bar has the same symbol and ts'),
        (6, 'outside_high_low', false, 'open or close lies outside of low to high'),
        (7, 'zero_volume', false, 'nothing was traded'),
        (8, 'off_the_grid', false, 'ts is not a multiple of the bar length, counted from midnight'),
        (9, 'at_midnight', false, 'starts at 00:00; daily bars need bar_minutes := 1440 and the cutoff 24:00, or their close is seen all day'),
        (10, 'outside_regular_hours', false, 'starts before session_start or ends after session_end')
    ) AS kind (position, defect, ignored_by_scanners, meaning)
)

SELECT
    kinds.defect,
    CAST(coalesce(sum(found.defect.bars), 0) AS BIGINT) AS bars,
    count(DISTINCT found.symbol) FILTER (WHERE found.defect.bars > 0) AS symbols,
    arg_min_null(found.symbol, {'ts': found.defect.first_ts, 'symbol': found.symbol}) FILTER (WHERE found.defect.bars > 0) AS first_symbol,
    min(found.defect.first_ts) AS first_ts,
    any_value(kinds.ignored_by_scanners) AS ignored_by_scanners,
    any_value(kinds.meaning) AS meaning
FROM kinds
LEFT JOIN found ON kinds.defect = found.defect.defect
GROUP BY kinds.position, kinds.defect
ORDER BY kinds.position
