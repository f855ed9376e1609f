-- One parameter of one scanner, with its default, range, step, unit and meaning.
--
-- Read from the `@param` lines of the scanner's documentation in DuckDB's catalogue:
-- `@param name := default TYPE unit, range: meaning`. A parameter that a macro of your own does not document has the documentation of the
-- built-in scanners' parameter of that name, since a name means the same everywhere; its default is then NULL, because the catalogue does
-- not hold it.
--
-- @column scanner name of the scanner, without scan_.
-- @column parameter name of the parameter.
-- @column type SQL type that the value is read as.
-- @column default the default as SQL text, such as 5, '09:50' or NULL; NULL itself if the caller must give a value.
-- @column min smallest number allowed; NULL if there is no such limit.
-- @column max largest number allowed; NULL if there is no such limit.
-- @column step sensible step of a slider; NULL if none is given.
-- @column unit unit of the value; NULL if it has none.
-- @column choices the texts allowed; NULL if it is not one of a few.
-- @column doc what it means.
-- @column position place in the signature, from 1.
-- @example FROM scanner_parameters() WHERE scanner = 'breakout'
CREATE MACRO scanner_parameters() AS TABLE
WITH signatures AS (
    SELECT
        scanner.scanner,
        scanner.is_built_in,
        scanner.documentation,
        unnest(scanner.parameters) AS parameter,
        generate_subscripts(scanner.parameters, 1) AS position
    FROM scanners() AS scanner
),

documented AS (
    SELECT
        signatures.scanner,
        signatures.is_built_in,
        signatures.parameter,
        signatures.position,
        regexp_extract(
            regexp_extract(signatures.documentation, '(?m)^@param ' || signatures.parameter || ' [^\n]*$'),
            '^@param \w+(?: := (NULL|true|false|-?[0-9.e]+|''(?:[^'']|'''')*''))? ([A-Z]+(?:\[\])?)(?: one of ([^:]+)| ([^,:]+))?(?:, (.+?))?: (.+)$',
            ['default', 'type', 'choices', 'unit', 'range', 'doc']
        ) AS own
    FROM signatures
),

-- What the built-in scanners say of a parameter of this name.
common AS (
    SELECT documented.parameter, arg_min(documented.own, documented.scanner) AS own
    FROM documented
    WHERE documented.is_built_in
    GROUP BY documented.parameter
),

resolved AS (
    SELECT
        documented.scanner,
        documented.parameter,
        documented.position,
        nullif(documented.own.default, '') AS default_value,
        CASE WHEN coalesce(documented.own.doc, '') = '' THEN common.own ELSE documented.own END AS doc
    FROM documented
    LEFT JOIN common ON documented.parameter = common.parameter
)

SELECT
    resolved.scanner,
    resolved.parameter,
    nullif(resolved.doc.type, '') AS type,
    resolved.default_value AS default,
    TRY_CAST(regexp_extract(resolved.doc.range, '^(-?[0-9.]+) (?:to|or) ', 1) AS DOUBLE) AS min,
    TRY_CAST(regexp_extract(resolved.doc.range, ' to (-?[0-9.]+)(?: step |$)', 1) AS DOUBLE) AS max,
    coalesce(
        TRY_CAST(regexp_extract(resolved.doc.range, ' step ([0-9.]+)$', 1) AS DOUBLE),
        CASE WHEN resolved.doc.type = 'INTEGER' THEN 1 END
    ) AS step,
    nullif(resolved.doc.unit, '') AS unit,
    string_split(nullif(resolved.doc.choices, ''), ', ') AS choices,
    nullif(resolved.doc.doc, '') AS doc,
    resolved.position
FROM resolved
ORDER BY resolved.scanner, resolved.position
