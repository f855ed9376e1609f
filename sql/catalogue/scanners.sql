-- One scanner: a table macro whose name starts with scan_, built in or made by CREATE MACRO in any attached database.
--
-- Reads DuckDB's catalogue, which is the only list of scanners there is. A macro of your own documents itself by
-- COMMENT ON MACRO TABLE scan_mine IS '…', in the form that the files of sql/ have: a sentence, prose, `@param` and `@example` lines. Of
-- several macros with one name the one that an unqualified call finds is listed: your own hides the built-in one. A macro in another
-- attached database is called by its full name.
--
-- @column scanner name without the scan_ in front, as `scanner run` takes it.
-- @column function_name name in SQL.
-- @column database_name database that holds it; system for those built in.
-- @column schema_name schema that holds it.
-- @column is_built_in whether it came with Stockscan.
-- @column title its first sentence.
-- @column documentation all of its documentation.
-- @column parameters names of its parameters, in order.
-- @column examples statements to try.
-- @example SELECT scanner, title FROM scanners()
CREATE MACRO scanners() AS TABLE
SELECT
    substr(entry.function_name, 6) AS scanner,
    entry.function_name,
    entry.database_name,
    entry.schema_name,
    entry.internal AS is_built_in,
    regexp_extract(coalesce(entry.comment, entry.description, ''), '^[^\n]*') AS title,
    coalesce(entry.comment, entry.description) AS documentation,
    entry.parameters,
    CASE
        WHEN entry.comment IS NULL THEN entry.examples
        ELSE regexp_extract_all(entry.comment, '(?m)^@example (.+)$', 1)
    END AS examples
FROM duckdb_functions() AS entry
WHERE entry.function_type = 'table_macro' AND starts_with(entry.function_name, 'scan_')
QUALIFY row_number() OVER (
    PARTITION BY entry.function_name
    ORDER BY
        CASE
            WHEN entry.database_name = 'temp' THEN 1
            WHEN entry.database_name = current_database() AND entry.schema_name = current_schema() THEN 2
            WHEN entry.database_name = current_database() AND entry.schema_name = 'main' THEN 3
            WHEN entry.internal THEN 4
            ELSE 5
        END,
        entry.database_name,
        entry.schema_name
) = 1
ORDER BY substr(entry.function_name, 6), entry.database_name, entry.schema_name
