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

-- Most bars have no defect, so only those that have one become rows.
bar_defects AS (
    SELECT
        bar_values.symbol,
        bar_values.ts,
        list_filter(
            [
                CASE WHEN bar_values.symbol IS NULL OR bar_values.clock IS NULL THEN 'no_symbol_or_time' END,
                CASE
                    WHEN bar_values.open IS NULL OR bar_values.high IS NULL OR bar_values.low IS NULL OR bar_values.close IS NULL
                        OR least(bar_values.open, bar_values.high, bar_values.low, bar_values.close) < 1e-9
                        OR greatest(bar_values.open, bar_values.high, bar_values.low, bar_values.close) > 1e15
                        THEN 'bad_price'
                END,
                CASE WHEN bar_values.high < bar_values.low THEN 'high_below_low' END,
                CASE WHEN bar_values.volume IS NULL OR bar_values.volume < 0 OR bar_values.volume > 1e15 THEN 'bad_volume' END,
                CASE
                    WHEN bar_values.low <= bar_values.high
                        AND (
                            greatest(bar_values.open, bar_values.close) > bar_values.high
                            OR least(bar_values.open, bar_values.close) < bar_values.low
                        )
                        THEN 'outside_high_low'
                END,
                CASE WHEN bar_values.volume = 0 THEN 'zero_volume' END,
                CASE
                    WHEN bar_values.clock IS NOT NULL
                        AND epoch_us(bar_values.ts) % 86400000000
                        % (60000000 * integer_in_range(bar_minutes, 1, 1440, 'check_bars', 'bar_minutes')) != 0
                        THEN 'off_the_grid'
                END,
                CASE
                    WHEN bar_values.clock = TIME '00:00:00' AND integer_in_range(bar_minutes, 1, 1440, 'check_bars', 'bar_minutes') < 1440
                        THEN 'at_midnight'
                END,
                CASE
                    WHEN bar_values.clock < clock_time(session_start, 'check_bars', 'session_start')
                        OR (
                            session_end IS NOT NULL
                            AND bar_values.clock > latest_visible_start(
                                coalesce(CAST(session_end AS VARCHAR), '24:00'),
                                integer_in_range(bar_minutes, 1, 1440, 'check_bars', 'bar_minutes'),
                                'check_bars',
                                'session_end'
                            )
                        )
                        THEN 'outside_regular_hours'
                END
            ],
            lambda defect: defect IS NOT NULL
        ) AS defects
    FROM bar_values
    WHERE in_order(session_start, session_end, 'check_bars', 'session_start', 'session_end')
),

repeated AS (
    SELECT bar_values.symbol, bar_values.ts, count(*) - 1 AS extra_bars
    FROM bar_values
    GROUP BY bar_values.symbol, bar_values.ts
    HAVING count(*) > 1
),

found AS (
    SELECT bar_defects.symbol, bar_defects.ts, unnest(bar_defects.defects) AS defect, 1 AS bars
    FROM bar_defects
    WHERE len(bar_defects.defects) > 0
    UNION ALL
    SELECT repeated.symbol, repeated.ts, 'duplicate', repeated.extra_bars
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
    CAST(coalesce(sum(found.bars), 0) AS BIGINT) AS bars,
    count(DISTINCT found.symbol) AS symbols,
    arg_min_null(found.symbol, {'ts': found.ts, 'symbol': found.symbol}) FILTER (WHERE found.defect IS NOT NULL) AS first_symbol,
    min(found.ts) AS first_ts,
    any_value(kinds.ignored_by_scanners) AS ignored_by_scanners,
    any_value(kinds.meaning) AS meaning
FROM kinds
LEFT JOIN found ON kinds.defect = found.defect
GROUP BY kinds.position, kinds.defect
ORDER BY kinds.position
