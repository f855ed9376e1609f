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
WITH bar_keys AS (
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

-- One row per symbol: how many of its bars have a defect, and when the first one starts.
symbol_defects AS (
    SELECT
        bar_keys.symbol,
        [
            {
                'defect': 'no_symbol_or_time',
                'bars': count(*) FILTER (WHERE bar_keys.symbol IS NULL OR bar_keys.clock IS NULL),
                'first_ts': min(bar_keys.ts) FILTER (WHERE bar_keys.symbol IS NULL OR bar_keys.clock IS NULL)
            },
            {
                'defect': 'bad_price',
                'bars': count(*) FILTER (
                    WHERE NOT coalesce(
                        isfinite(bar_keys.open) AND isfinite(bar_keys.high) AND isfinite(bar_keys.low) AND isfinite(bar_keys.close)
                        AND least(bar_keys.open, bar_keys.high, bar_keys.low, bar_keys.close) >= 1e-9
                        AND greatest(bar_keys.open, bar_keys.high, bar_keys.low, bar_keys.close) <= 1e15,
                        false
                    )
                ),
                'first_ts': min(bar_keys.ts) FILTER (
                    WHERE NOT coalesce(
                        isfinite(bar_keys.open) AND isfinite(bar_keys.high) AND isfinite(bar_keys.low) AND isfinite(bar_keys.close)
                        AND least(bar_keys.open, bar_keys.high, bar_keys.low, bar_keys.close) >= 1e-9
                        AND greatest(bar_keys.open, bar_keys.high, bar_keys.low, bar_keys.close) <= 1e15,
                        false
                    )
                )
            },
            {
                'defect': 'high_below_low',
                'bars': count(*) FILTER (WHERE bar_keys.high < bar_keys.low),
                'first_ts': min(bar_keys.ts) FILTER (WHERE bar_keys.high < bar_keys.low)
            },
            {
                'defect': 'bad_volume',
                'bars': count(*) FILTER (WHERE NOT coalesce(bar_keys.volume >= 0 AND bar_keys.volume <= 1e15, false)),
                'first_ts': min(bar_keys.ts) FILTER (WHERE NOT coalesce(bar_keys.volume >= 0 AND bar_keys.volume <= 1e15, false))
            },
            {
                'defect': 'outside_high_low',
                'bars': count(*) FILTER (
                    WHERE bar_keys.low <= bar_keys.high
                    AND (greatest(bar_keys.open, bar_keys.close) > bar_keys.high OR least(bar_keys.open, bar_keys.close) < bar_keys.low)
                ),
                'first_ts': min(bar_keys.ts) FILTER (
                    WHERE bar_keys.low <= bar_keys.high
                    AND (greatest(bar_keys.open, bar_keys.close) > bar_keys.high OR least(bar_keys.open, bar_keys.close) < bar_keys.low)
                )
            },
            {
                'defect': 'zero_volume',
                'bars': count(*) FILTER (WHERE bar_keys.volume = 0),
                'first_ts': min(bar_keys.ts) FILTER (WHERE bar_keys.volume = 0)
            },
            {
                'defect': 'off_the_grid',
                'bars': count(*) FILTER (
                    WHERE bar_keys.clock IS NOT NULL AND epoch_us(bar_keys.ts) % 86400000000 % (60000000 * integer_in_range(bar_minutes, 1, 1440, 'check_bars', 'bar_minutes')) != 0
                ),
                'first_ts': min(bar_keys.ts) FILTER (
                    WHERE bar_keys.clock IS NOT NULL AND epoch_us(bar_keys.ts) % 86400000000 % (60000000 * integer_in_range(bar_minutes, 1, 1440, 'check_bars', 'bar_minutes')) != 0
                )
            },
            {
                'defect': 'outside_regular_hours',
                'bars': count(*) FILTER (
                    WHERE bar_keys.clock < clock_time(session_start, 'check_bars', 'session_start')
                    OR bar_keys.clock
                    > latest_visible_start(
                        coalesce(CAST(session_end AS VARCHAR), '24:00'),
                        integer_in_range(bar_minutes, 1, 1440, 'check_bars', 'bar_minutes'),
                        'check_bars',
                        'session_end'
                    )
                ),
                'first_ts': min(bar_keys.ts) FILTER (
                    WHERE bar_keys.clock < clock_time(session_start, 'check_bars', 'session_start')
                    OR bar_keys.clock
                    > latest_visible_start(
                        coalesce(CAST(session_end AS VARCHAR), '24:00'),
                        integer_in_range(bar_minutes, 1, 1440, 'check_bars', 'bar_minutes'),
                        'check_bars',
                        'session_end'
                    )
                )
            }
        ] AS defects
    FROM bar_keys
    GROUP BY bar_keys.symbol
),

repeated AS (
    SELECT bar_keys.symbol, bar_keys.ts, count(*) - 1 AS extra_bars
    FROM bar_keys
    GROUP BY bar_keys.symbol, bar_keys.ts
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
        (9, 'outside_regular_hours', false, 'starts before session_start or ends after session_end')
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
