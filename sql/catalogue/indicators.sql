-- One indicator: a function ti_…, with its inputs, options and values.
--
-- Reads DuckDB's catalogue. Each has a twin for the last value alone, called the same with _last behind: ti_rsi and ti_rsi_last. In the whole
-- documentation of an indicator the `@param` lines say what its options mean and what is allowed.
--
-- @column indicator name without the ti_ in front.
-- @column function_name name in SQL.
-- @column title what it is called.
-- @column group_name TA-Lib's group of it, such as Momentum Indicators.
-- @column inputs names of the lists that it takes, in order; series stands for any list of numbers.
-- @column options what may follow them, in order, each with its default: `time_period := 14`.
-- @column outputs fields of the STRUCT that it gives; NULL if it gives a single list.
-- @column documentation all of its documentation.
-- @example SELECT indicator, title, inputs, options FROM indicators() WHERE group_name = 'Momentum Indicators'
-- @example SELECT indicator, title FROM indicators() WHERE title ILIKE '%bollinger%'
CREATE MACRO indicators() AS TABLE
SELECT
    substr(entry.function_name, 4) AS indicator,
    entry.function_name,
    regexp_extract(entry.description, '^(.*?)\. TA-Lib''s ', 1) AS title,
    list_filter(entry.categories, lambda category: category != 'indicators')[1] AS group_name,
    regexp_extract_all(entry.description, '(?m)^@param (\w+) DOUBLE\[\]: ', 1) AS inputs,
    regexp_extract_all(entry.description, '(?m)^@param (\w+ := (?:''[^'']*''|[^ ]+)) ', 1) AS options,
    CASE
        WHEN contains(entry.description, chr(10) || '@column ') THEN regexp_extract_all(entry.description, '(?m)^@column (\w+) ', 1)
    END AS outputs,
    entry.description AS documentation
FROM duckdb_functions() AS entry
WHERE
    list_contains(entry.categories, 'indicators')
    AND starts_with(entry.function_name, 'ti_')
    AND NOT ends_with(entry.function_name, '_last')
ORDER BY substr(entry.function_name, 4)
