-- PostgreSQL's catalogue, as far as clients look at it when they connect and browse: the tables and views of the database, Stockscan's functions,
-- and nothing else. What has no rows here is not there, such as indexes. Numbers of things are made of their names, for each statement has a
-- process of its own, and what one is told the next must find again.

-- Types that a client casts to.
CREATE TEMP TYPE name AS VARCHAR;
CREATE TEMP TYPE cstring AS VARCHAR;
CREATE TEMP TYPE xid AS BIGINT;
CREATE TEMP TYPE regclass AS BIGINT;
CREATE TEMP TYPE regtype AS BIGINT;
CREATE TEMP TYPE regproc AS VARCHAR;
CREATE TEMP TYPE regnamespace AS BIGINT;
CREATE TEMP TYPE regrole AS BIGINT;
CREATE TEMP TYPE int2vector AS SMALLINT[];
CREATE TEMP TYPE oidvector AS BIGINT[];

CREATE TEMP MACRO pg_oid_of(kind, space, thing) AS (100000 + hash(kind || '.' || space || '.' || thing) % 2000000000)::BIGINT;

-- The numbers of types are PostgreSQL's own, which drivers know by heart. See types.rs.
CREATE TEMP VIEW pg_type AS
SELECT t.oid::BIGINT AS oid, t.typname, 11::BIGINT AS typnamespace, 10::BIGINT AS typowner, t.typlen::SMALLINT AS typlen, t.typlen IN (1, 2, 4, 8) AS typbyval,
  t.typtype, t.typcategory, t.typname IN ('text', 'bool', 'float8', 'timestamptz', 'interval') AS typispreferred, true AS typisdefined, ',' AS typdelim,
  0::BIGINT AS typrelid, t.typelem::BIGINT AS typelem, t.typarray::BIGINT AS typarray,
  CASE WHEN t.typcategory = 'A' THEN 'array_in' ELSE t.typname || 'in' END AS typinput, NULL::VARCHAR AS typoutput,
  CASE WHEN t.typcategory = 'A' THEN 2400 ELSE 0 END::BIGINT AS typreceive,
  0::BIGINT AS typsubscript, false AS typnotnull, 0::BIGINT AS typbasetype, -1 AS typtypmod, 0 AS typndims, 0::BIGINT AS typcollation,
  NULL::VARCHAR AS typdefault, NULL::VARCHAR[] AS typacl, 'i' AS typalign, 'p' AS typstorage, t.format
FROM (
  VALUES (16, 'bool', 1, 'b', 'B', 0, 1000, 'boolean'), (17, 'bytea', -1, 'b', 'U', 0, 1001, 'bytea'), (18, 'char', 1, 'b', 'Z', 0, 0, '"char"'),
    (19, 'name', 64, 'b', 'S', 18, 0, 'name'), (20, 'int8', 8, 'b', 'N', 0, 1016, 'bigint'), (21, 'int2', 2, 'b', 'N', 0, 1005, 'smallint'),
    (22, 'int2vector', -1, 'b', 'A', 21, 0, 'int2vector'), (23, 'int4', 4, 'b', 'N', 0, 1007, 'integer'), (24, 'regproc', 4, 'b', 'N', 0, 0, 'regproc'),
    (25, 'text', -1, 'b', 'S', 0, 1009, 'text'), (26, 'oid', 4, 'b', 'N', 0, 1028, 'oid'), (30, 'oidvector', -1, 'b', 'A', 26, 0, 'oidvector'),
    (114, 'json', -1, 'b', 'U', 0, 199, 'json'), (700, 'float4', 4, 'b', 'N', 0, 1021, 'real'), (701, 'float8', 8, 'b', 'N', 0, 1022, 'double precision'),
    (705, 'unknown', -2, 'p', 'X', 0, 0, 'unknown'), (1042, 'bpchar', -1, 'b', 'S', 0, 1014, 'character'),
    (1043, 'varchar', -1, 'b', 'S', 0, 1015, 'character varying'), (1082, 'date', 4, 'b', 'D', 0, 1182, 'date'),
    (1083, 'time', 8, 'b', 'D', 0, 1183, 'time without time zone'), (1114, 'timestamp', 8, 'b', 'D', 0, 1115, 'timestamp without time zone'),
    (1184, 'timestamptz', 8, 'b', 'D', 0, 1185, 'timestamp with time zone'), (1186, 'interval', 16, 'b', 'T', 0, 1187, 'interval'),
    (1700, 'numeric', -1, 'b', 'N', 0, 1231, 'numeric'), (2205, 'regclass', 4, 'b', 'N', 0, 0, 'regclass'), (2206, 'regtype', 4, 'b', 'N', 0, 0, 'regtype'),
    (2249, 'record', -1, 'p', 'P', 0, 0, 'record'), (2278, 'void', 4, 'p', 'P', 0, 0, 'void'), (2283, 'anyelement', 4, 'p', 'P', 0, 0, 'anyelement'),
    (2950, 'uuid', 16, 'b', 'U', 0, 2951, 'uuid'), (3802, 'jsonb', -1, 'b', 'U', 0, 3807, 'jsonb'),
    (1028, '_oid', -1, 'b', 'A', 26, 0, 'oid[]'), (1000, '_bool', -1, 'b', 'A', 16, 0, 'boolean[]'), (1001, '_bytea', -1, 'b', 'A', 17, 0, 'bytea[]'), (1016, '_int8', -1, 'b', 'A', 20, 0, 'bigint[]'),
    (1005, '_int2', -1, 'b', 'A', 21, 0, 'smallint[]'), (1007, '_int4', -1, 'b', 'A', 23, 0, 'integer[]'), (1009, '_text', -1, 'b', 'A', 25, 0, 'text[]'),
    (199, '_json', -1, 'b', 'A', 114, 0, 'json[]'), (1021, '_float4', -1, 'b', 'A', 700, 0, 'real[]'),
    (1022, '_float8', -1, 'b', 'A', 701, 0, 'double precision[]'), (1014, '_bpchar', -1, 'b', 'A', 1042, 0, 'character[]'),
    (1015, '_varchar', -1, 'b', 'A', 1043, 0, 'character varying[]'), (1182, '_date', -1, 'b', 'A', 1082, 0, 'date[]'),
    (1183, '_time', -1, 'b', 'A', 1083, 0, 'time without time zone[]'), (1115, '_timestamp', -1, 'b', 'A', 1114, 0, 'timestamp without time zone[]'),
    (1185, '_timestamptz', -1, 'b', 'A', 1184, 0, 'timestamp with time zone[]'), (1187, '_interval', -1, 'b', 'A', 1186, 0, 'interval[]'),
    (1231, '_numeric', -1, 'b', 'A', 1700, 0, 'numeric[]'), (2951, '_uuid', -1, 'b', 'A', 2950, 0, 'uuid[]'), (3807, '_jsonb', -1, 'b', 'A', 3802, 0, 'jsonb[]')
) AS t (oid, typname, typlen, typtype, typcategory, typelem, typarray, format);

CREATE TEMP MACRO pg_scalar_of(given) AS CASE
  WHEN given = 'BOOLEAN' THEN 16 WHEN given = 'BLOB' THEN 17
  WHEN given IN ('TINYINT', 'SMALLINT', 'UTINYINT') THEN 21 WHEN given IN ('INTEGER', 'USMALLINT') THEN 23 WHEN given IN ('BIGINT', 'UINTEGER') THEN 20
  WHEN given = 'FLOAT' THEN 700 WHEN given = 'DOUBLE' THEN 701 WHEN given LIKE 'DECIMAL(%)' OR given IN ('HUGEINT', 'UHUGEINT', 'UBIGINT') THEN 1700
  WHEN given = 'DATE' THEN 1082 WHEN given = 'TIME' THEN 1083 WHEN given = 'TIMESTAMP WITH TIME ZONE' THEN 1184 WHEN given LIKE 'TIMESTAMP%' THEN 1114
  WHEN given = 'INTERVAL' THEN 1186
  WHEN given LIKE 'STRUCT(%' OR given LIKE 'MAP(%' OR given LIKE 'UNION(%' OR given LIKE '%]' THEN 114
  ELSE 25 END;
CREATE TEMP MACRO pg_type_of(given) AS CASE
  WHEN given LIKE '%]' AND pg_scalar_of(regexp_replace(given, '\[[0-9]*\]$', '')) <> 114
    THEN (SELECT own_a.oid FROM pg_type AS own_a WHERE own_a.typelem = pg_scalar_of(regexp_replace(given, '\[[0-9]*\]$', '')) AND own_a.typcategory = 'A' AND own_a.typname[1] = '_')
  ELSE pg_scalar_of(given) END::BIGINT;
CREATE TEMP MACRO pg_modifier_of(given) AS CASE
  WHEN given LIKE 'DECIMAL(%)'
    THEN (regexp_extract(given, '\(([0-9]+)', 1)::INTEGER << 16 | coalesce(TRY_CAST(regexp_extract(given, ', *([0-9]+)', 1) AS INTEGER), 0)) + 4
  ELSE -1 END::INTEGER;
CREATE TEMP MACRO format_type(kind, modifier) AS CASE
  WHEN kind = 1700 AND modifier > 4 THEN 'numeric(' || ((modifier - 4) >> 16) || ',' || ((modifier - 4) & 65535) || ')'
  ELSE coalesce((SELECT own_t.format FROM pg_type AS own_t WHERE own_t.oid = kind::BIGINT), CASE WHEN kind IS NULL THEN NULL ELSE '???' END) END;

CREATE TEMP VIEW pg_namespace AS
SELECT n.oid::BIGINT AS oid, n.nspname, 10::BIGINT AS nspowner, NULL::VARCHAR[] AS nspacl
FROM (
  SELECT CASE s.schema_name WHEN 'main' THEN 2200 ELSE pg_oid_of('schema', '', s.schema_name) END, s.schema_name
  FROM duckdb_schemas() AS s
  WHERE s.database_name = current_database() AND s.schema_name NOT IN ('pg_catalog', 'information_schema')
  UNION ALL VALUES (11, 'pg_catalog'), (13000, 'information_schema')
) AS n (oid, nspname);

CREATE TEMP MACRO pg_namespace_of(space) AS
  CASE space WHEN 'main' THEN 2200 WHEN 'pg_catalog' THEN 11 WHEN 'information_schema' THEN 13000 ELSE pg_oid_of('schema', '', space) END::BIGINT;

CREATE TEMP VIEW pg_class AS
SELECT pg_oid_of('relation', r.schema_name, r.relname) AS oid, r.relname, pg_namespace_of(r.schema_name) AS relnamespace, 0::BIGINT AS reltype,
  0::BIGINT AS reloftype, 10::BIGINT AS relowner, CASE r.relkind WHEN 'r' THEN 2 ELSE 0 END::BIGINT AS relam, 0::BIGINT AS relfilenode,
  0::BIGINT AS reltablespace, 0 AS relpages, r.reltuples::REAL AS reltuples, 0 AS relallvisible, 0::BIGINT AS reltoastrelid, false AS relhasindex,
  false AS relisshared, 'p' AS relpersistence, r.relkind, r.relnatts::SMALLINT AS relnatts, 0::SMALLINT AS relchecks, false AS relhasrules,
  false AS relhastriggers, false AS relhassubclass, false AS relrowsecurity, false AS relforcerowsecurity, true AS relispopulated, 'd' AS relreplident,
  false AS relispartition, 0::BIGINT AS relrewrite, 0::BIGINT AS relfrozenxid, 0::BIGINT AS relminmxid, ['=r/stockscan'] AS relacl,
  NULL::VARCHAR[] AS reloptions, NULL::VARCHAR AS relpartbound, false AS relhasoids, r.comment
FROM (
  SELECT t.schema_name, t.table_name, 'r', t.estimated_size, t.column_count, t.comment FROM duckdb_tables() AS t
  WHERE t.database_name = current_database() AND NOT t.internal
  UNION ALL
  SELECT v.schema_name, v.view_name, 'v', 0, v.column_count, v.comment FROM duckdb_views() AS v
  WHERE v.database_name = current_database() AND NOT v.internal
) AS r (schema_name, relname, relkind, reltuples, relnatts, comment);

CREATE TEMP VIEW pg_attribute AS
SELECT pg_oid_of('relation', c.schema_name, c.table_name) AS attrelid, c.column_name AS attname, pg_type_of(c.data_type) AS atttypid, -1 AS attstattarget,
  coalesce(t.typlen, -1)::SMALLINT AS attlen, c.column_index::SMALLINT AS attnum, CASE WHEN c.data_type LIKE '%]' THEN 1 ELSE 0 END AS attndims,
  -1 AS attcacheoff, pg_modifier_of(c.data_type) AS atttypmod, false AS attbyval, 'i' AS attalign, 'p' AS attstorage, '' AS attcompression,
  NOT c.is_nullable AS attnotnull, c.column_default IS NOT NULL AS atthasdef, false AS atthasmissing, '' AS attidentity, '' AS attgenerated,
  false AS attisdropped, true AS attislocal, 0 AS attinhcount, 0::BIGINT AS attcollation, NULL::VARCHAR[] AS attacl, NULL::VARCHAR[] AS attoptions,
  NULL::VARCHAR[] AS attfdwoptions, NULL::VARCHAR AS attmissingval, c.comment
FROM duckdb_columns() AS c LEFT JOIN pg_type AS t ON t.oid = pg_type_of(c.data_type)
WHERE c.database_name = current_database() AND NOT c.internal;

CREATE TEMP VIEW pg_attrdef AS
SELECT pg_oid_of('default', c.schema_name, c.table_name || '.' || c.column_name) AS oid, pg_oid_of('relation', c.schema_name, c.table_name) AS adrelid,
  c.column_index::SMALLINT AS adnum, c.column_default AS adbin
FROM duckdb_columns() AS c
WHERE c.database_name = current_database() AND NOT c.internal AND c.column_default IS NOT NULL;

-- Stockscan's functions, and the macros of the database; DuckDB's own are too many to be looked through. By array_recv, Npgsql knows arrays.
CREATE TEMP VIEW pg_proc AS
SELECT CASE f.function_name WHEN 'array_recv' THEN 2400 ELSE pg_oid_of('function', f.schema_name, f.function_name) END::BIGINT AS oid, f.function_name AS proname,
  CASE WHEN f.internal THEN 2200 ELSE pg_namespace_of(f.schema_name) END::BIGINT AS pronamespace, 10::BIGINT AS proowner, 14::BIGINT AS prolang,
  1::REAL AS procost, 1000::REAL AS prorows, 0::BIGINT AS provariadic, 0::BIGINT AS prosupport,
  CASE WHEN f.function_type = 'aggregate' THEN 'a' ELSE 'f' END AS prokind, false AS prosecdef, false AS proleakproof, false AS proisstrict,
  f.function_type LIKE 'table%' AS proretset, 's' AS provolatile, 's' AS proparallel, len(f.parameters)::SMALLINT AS pronargs, 0::SMALLINT AS pronargdefaults,
  CASE WHEN f.function_type LIKE 'table%' THEN 2249 ELSE 2283 END::BIGINT AS prorettype, array_to_string(list_transform(f.parameters, lambda p: 25), ' ') AS proargtypes,
  NULL::BIGINT[] AS proallargtypes, NULL::VARCHAR[] AS proargmodes, f.parameters AS proargnames, NULL::VARCHAR AS proargdefaults,
  NULL::BIGINT[] AS protrftypes, '' AS prosrc, NULL::VARCHAR AS probin, NULL::VARCHAR AS prosqlbody, NULL::VARCHAR[] AS proconfig,
  NULL::VARCHAR[] AS proacl, false AS proisagg, false AS proiswindow, f.description
FROM (
  SELECT any_value(d.schema_name) AS schema_name, d.function_name, any_value(d.function_type) AS function_type, any_value(d.internal) AS internal,
    coalesce(any_value(d.parameters), []) AS parameters, split_part(any_value(d.description), chr(10), 1) AS description
  FROM duckdb_functions() AS d
  WHERE d.database_name IN (current_database(), 'system')
    AND (NOT d.internal OR list_has_any(d.categories, ['backtests', 'blocks', 'catalogue', 'indicators', 'market', 'outcomes', 'scanners', 'statistics']))
  GROUP BY d.function_name
  UNION ALL VALUES ('pg_catalog', 'array_recv', 'scalar', false, []::VARCHAR[], NULL)
) AS f;

CREATE TEMP VIEW pg_description AS
SELECT c.oid AS objoid, 1259::BIGINT AS classoid, 0 AS objsubid, c.comment AS description FROM pg_class AS c WHERE c.comment IS NOT NULL
UNION ALL SELECT a.attrelid, 1259, a.attnum, a.comment FROM pg_attribute AS a WHERE a.comment IS NOT NULL
UNION ALL SELECT p.oid, 1255, 0, p.description FROM pg_proc AS p WHERE p.description IS NOT NULL;

CREATE TEMP VIEW pg_database AS
SELECT 16384::BIGINT AS oid, current_database() AS datname, 10::BIGINT AS datdba, 6 AS encoding, 'c' AS datlocprovider, false AS datistemplate,
  true AS datallowconn, -1 AS datconnlimit, 0::BIGINT AS datfrozenxid, 0::BIGINT AS datminmxid, 1663::BIGINT AS dattablespace, 'C' AS datcollate,
  'C' AS datctype, NULL::VARCHAR AS daticulocale, NULL::VARCHAR AS datcollversion, NULL::VARCHAR[] AS datacl, 0::BIGINT AS datlastsysoid;

CREATE TEMP VIEW pg_roles AS
SELECT 10::BIGINT AS oid, 'stockscan' AS rolname, false AS rolsuper, true AS rolinherit, false AS rolcreaterole, false AS rolcreatedb, true AS rolcanlogin,
  false AS rolreplication, -1 AS rolconnlimit, NULL::VARCHAR AS rolpassword, NULL::TIMESTAMPTZ AS rolvaliduntil, false AS rolbypassrls,
  NULL::VARCHAR[] AS rolconfig;
CREATE TEMP VIEW pg_authid AS SELECT r.* FROM pg_roles AS r;
CREATE TEMP VIEW pg_user AS
SELECT r.rolname AS usename, r.oid AS usesysid, r.rolcreatedb AS usecreatedb, r.rolsuper AS usesuper, false AS userepl, r.rolbypassrls AS usebypassrls,
  r.rolpassword AS passwd, r.rolvaliduntil AS valuntil, r.rolconfig AS useconfig
FROM pg_roles AS r;

CREATE TEMP VIEW pg_tables AS
SELECT n.nspname AS schemaname, c.relname AS tablename, 'stockscan' AS tableowner, NULL::VARCHAR AS tablespace, false AS hasindexes, false AS hasrules,
  false AS hastriggers, false AS rowsecurity
FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace WHERE c.relkind = 'r';
CREATE TEMP VIEW pg_views AS
SELECT n.nspname AS schemaname, c.relname AS viewname, 'stockscan' AS viewowner, NULL::VARCHAR AS definition
FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace WHERE c.relkind = 'v';
CREATE TEMP VIEW pg_am AS SELECT 2::BIGINT AS oid, 'heap' AS amname, 3::BIGINT AS amhandler, 't' AS amtype;
CREATE TEMP VIEW pg_language AS SELECT 14::BIGINT AS oid, 'sql' AS lanname, 10::BIGINT AS lanowner, false AS lanispl, true AS lanpltrusted;
CREATE TEMP VIEW pg_tablespace AS
SELECT 1663::BIGINT AS oid, 'pg_default' AS spcname, 10::BIGINT AS spcowner, NULL::VARCHAR[] AS spcacl, NULL::VARCHAR[] AS spcoptions;
CREATE TEMP VIEW pg_collation AS
SELECT 950::BIGINT AS oid, 'C' AS collname, 11::BIGINT AS collnamespace, 10::BIGINT AS collowner, 'c' AS collprovider, true AS collisdeterministic,
  -1 AS collencoding, 'C' AS collcollate, 'C' AS collctype, NULL::VARCHAR AS colliculocale, NULL::VARCHAR AS collversion;
CREATE TEMP VIEW pg_stat_user_tables AS
SELECT c.oid AS relid, n.nspname AS schemaname, c.relname, c.reltuples::BIGINT AS n_live_tup, 0::BIGINT AS n_dead_tup
FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace WHERE c.relkind = 'r';
CREATE TEMP MACRO pg_get_keywords() AS TABLE
  SELECT k.keyword_name AS word, k.keyword_category[1] AS catcode, k.keyword_category AS catdesc FROM duckdb_keywords() AS k;

-- What there is none of.
CREATE TEMP VIEW pg_index AS
SELECT 0::BIGINT AS indexrelid, 0::BIGINT AS indrelid, 0::SMALLINT AS indnatts, 0::SMALLINT AS indnkeyatts, false AS indisunique, false AS indnullsnotdistinct,
  false AS indisprimary, false AS indisexclusion, true AS indimmediate, false AS indisclustered, true AS indisvalid, false AS indcheckxmin,
  true AS indisready, true AS indislive, false AS indisreplident, []::SMALLINT[] AS indkey, []::BIGINT[] AS indcollation, []::BIGINT[] AS indclass,
  []::SMALLINT[] AS indoption, NULL::VARCHAR AS indexprs, NULL::VARCHAR AS indpred
WHERE false;
CREATE TEMP VIEW pg_indexes AS
SELECT '' AS schemaname, '' AS tablename, '' AS indexname, '' AS tablespace, '' AS indexdef WHERE false;
CREATE TEMP VIEW pg_constraint AS
SELECT 0::BIGINT AS oid, '' AS conname, 0::BIGINT AS connamespace, '' AS contype, false AS condeferrable, false AS condeferred, true AS convalidated,
  0::BIGINT AS conrelid, 0::BIGINT AS contypid, 0::BIGINT AS conindid, 0::BIGINT AS conparentid, 0::BIGINT AS confrelid, '' AS confupdtype, '' AS confdeltype,
  '' AS confmatchtype, true AS conislocal, 0 AS coninhcount, true AS connoinherit, []::SMALLINT[] AS conkey, []::SMALLINT[] AS confkey,
  []::BIGINT[] AS conpfeqop, []::BIGINT[] AS conppeqop, []::BIGINT[] AS conffeqop, []::SMALLINT[] AS confdelsetcols, []::BIGINT[] AS conexclop, NULL::VARCHAR AS conbin
WHERE false;
CREATE TEMP VIEW pg_inherits AS SELECT 0::BIGINT AS inhrelid, 0::BIGINT AS inhparent, 0 AS inhseqno, false AS inhdetachpending WHERE false;
CREATE TEMP VIEW pg_trigger AS
SELECT 0::BIGINT AS oid, 0::BIGINT AS tgrelid, 0::BIGINT AS tgparentid, '' AS tgname, 0::BIGINT AS tgfoid, 0::SMALLINT AS tgtype, '' AS tgenabled,
  false AS tgisinternal, 0::BIGINT AS tgconstrrelid, 0::BIGINT AS tgconstraint, false AS tgdeferrable, false AS tginitdeferred
WHERE false;
CREATE TEMP VIEW pg_policy AS
SELECT 0::BIGINT AS oid, '' AS polname, 0::BIGINT AS polrelid, '' AS polcmd, true AS polpermissive, []::BIGINT[] AS polroles, NULL::VARCHAR AS polqual,
  NULL::VARCHAR AS polwithcheck
WHERE false;
CREATE TEMP VIEW pg_rewrite AS SELECT 0::BIGINT AS oid, '' AS rulename, 0::BIGINT AS ev_class, '' AS ev_type, '' AS ev_enabled, false AS is_instead WHERE false;
CREATE TEMP VIEW pg_rules AS SELECT '' AS schemaname, '' AS tablename, '' AS rulename, '' AS definition WHERE false;
CREATE TEMP VIEW pg_matviews AS
SELECT '' AS schemaname, '' AS matviewname, '' AS matviewowner, '' AS tablespace, false AS hasindexes, false AS ispopulated, '' AS definition WHERE false;
CREATE TEMP VIEW pg_sequence AS
SELECT 0::BIGINT AS seqrelid, 0::BIGINT AS seqtypid, 0::BIGINT AS seqstart, 0::BIGINT AS seqincrement, 0::BIGINT AS seqmax, 0::BIGINT AS seqmin,
  0::BIGINT AS seqcache, false AS seqcycle
WHERE false;
CREATE TEMP VIEW pg_sequences AS SELECT '' AS schemaname, '' AS sequencename, '' AS sequenceowner WHERE false;
CREATE TEMP VIEW pg_depend AS
SELECT 0::BIGINT AS classid, 0::BIGINT AS objid, 0 AS objsubid, 0::BIGINT AS refclassid, 0::BIGINT AS refobjid, 0 AS refobjsubid, '' AS deptype WHERE false;
CREATE TEMP VIEW pg_enum AS SELECT 0::BIGINT AS oid, 0::BIGINT AS enumtypid, 0::REAL AS enumsortorder, '' AS enumlabel WHERE false;
CREATE TEMP VIEW pg_range AS SELECT 0::BIGINT AS rngtypid, 0::BIGINT AS rngsubtype, 0::BIGINT AS rngmultitypid, 0::BIGINT AS rngcollation WHERE false;
CREATE TEMP VIEW pg_extension AS
SELECT 0::BIGINT AS oid, '' AS extname, 0::BIGINT AS extowner, 0::BIGINT AS extnamespace, false AS extrelocatable, '' AS extversion WHERE false;
CREATE TEMP VIEW pg_auth_members AS SELECT 0::BIGINT AS roleid, 0::BIGINT AS member, 0::BIGINT AS grantor, false AS admin_option WHERE false;
CREATE TEMP VIEW pg_group AS SELECT '' AS groname, 0::BIGINT AS grosysid, []::BIGINT[] AS grolist WHERE false;
CREATE TEMP VIEW pg_foreign_table AS SELECT 0::BIGINT AS ftrelid, 0::BIGINT AS ftserver, NULL::VARCHAR[] AS ftoptions WHERE false;
CREATE TEMP VIEW pg_foreign_server AS SELECT 0::BIGINT AS oid, '' AS srvname, 0::BIGINT AS srvfdw, NULL::VARCHAR[] AS srvoptions WHERE false;
CREATE TEMP VIEW pg_partitioned_table AS SELECT 0::BIGINT AS partrelid, '' AS partstrat, []::SMALLINT[] AS partattrs WHERE false;
CREATE TEMP VIEW pg_publication AS
SELECT 0::BIGINT AS oid, '' AS pubname, false AS puballtables, 0::BIGINT AS pubowner WHERE false;
CREATE TEMP VIEW pg_publication_rel AS
SELECT 0::BIGINT AS oid, 0::BIGINT AS prpubid, 0::BIGINT AS prrelid, NULL::VARCHAR AS prqual, NULL::SMALLINT[] AS prattrs WHERE false;
CREATE TEMP VIEW pg_publication_namespace AS SELECT 0::BIGINT AS oid, 0::BIGINT AS pnpubid, 0::BIGINT AS pnnspid WHERE false;
CREATE TEMP VIEW pg_statistic_ext AS
SELECT 0::BIGINT AS oid, 0::BIGINT AS stxrelid, '' AS stxname, 0::BIGINT AS stxnamespace, []::SMALLINT[] AS stxkeys, []::VARCHAR[] AS stxkind, -1 AS stxstattarget
WHERE false;
CREATE TEMP VIEW pg_opclass AS SELECT 0::BIGINT AS oid, '' AS opcname, 0::BIGINT AS opcmethod, 0::BIGINT AS opcnamespace, false AS opcdefault, 0::BIGINT AS opcintype WHERE false;
CREATE TEMP VIEW pg_operator AS SELECT 0::BIGINT AS oid, '' AS oprname, 0::BIGINT AS oprnamespace WHERE false;
CREATE TEMP VIEW pg_cast AS SELECT 0::BIGINT AS oid, 0::BIGINT AS castsource, 0::BIGINT AS casttarget, 0::BIGINT AS castfunc, '' AS castcontext, '' AS castmethod WHERE false;
CREATE TEMP VIEW pg_locks AS SELECT '' AS locktype, 0::BIGINT AS pid, '' AS mode, false AS granted WHERE false;
CREATE TEMP VIEW pg_stat_activity AS
SELECT 0::BIGINT AS datid, '' AS datname, 0 AS pid, '' AS usename, '' AS application_name, '' AS state, '' AS query WHERE false;
CREATE TEMP VIEW pg_shdescription AS SELECT 0::BIGINT AS objoid, 0::BIGINT AS classoid, '' AS description WHERE false;
CREATE TEMP VIEW pg_seclabel AS SELECT 0::BIGINT AS objoid, 0::BIGINT AS classoid, '' AS label WHERE false;

-- What is asked of the server and of things by their numbers. What a macro is given stands in it as it was written, so that the names within must
-- be nobody else's.
CREATE TEMP MACRO version() AS 'PostgreSQL 15.0 (Stockscan)';
CREATE TEMP MACRO current_setting(wanted, if_missing := false) AS coalesce(
  (SELECT own_s.setting FROM pg_settings AS own_s WHERE lower(own_s.name) = lower(wanted)),
  CASE WHEN if_missing THEN NULL ELSE error('unrecognized configuration parameter "' || wanted || '"') END);
CREATE TEMP MACRO set_config(wanted, given, is_local) AS given;
CREATE TEMP MACRO current_schema() AS 'main';
CREATE TEMP MACRO current_schemas(with_implicit) AS CASE WHEN with_implicit THEN ['pg_catalog', 'main'] ELSE ['main'] END;
CREATE TEMP MACRO string_to_array(given, delimiter) AS string_split(given, delimiter);
CREATE TEMP MACRO array_lower(items, dimension) AS CASE WHEN len(items) > 0 THEN 1 END;
CREATE TEMP MACRO array_upper(items, dimension) AS nullif(len(items), 0);
CREATE TEMP MACRO pg_rows_of_series(first, last) AS unnest(range(first, last + 1));
CREATE TEMP MACRO pg_backend_pid() AS 0;
CREATE TEMP MACRO pg_is_in_recovery() AS false;
CREATE TEMP MACRO pg_postmaster_start_time() AS current_timestamp;
CREATE TEMP MACRO txid_current() AS 0::BIGINT;
CREATE TEMP MACRO pg_get_userbyid(role) AS CASE role WHEN 10 THEN 'stockscan' ELSE 'unknown (OID=' || role || ')' END;
CREATE TEMP MACRO pg_encoding_to_char(encoding) AS CASE encoding WHEN 6 THEN 'UTF8' ELSE '' END;
CREATE TEMP MACRO pg_table_is_visible(relation) AS EXISTS (SELECT 1 FROM pg_class AS own_c WHERE own_c.oid = relation AND own_c.relnamespace = 2200);
CREATE TEMP MACRO pg_type_is_visible(kind) AS true;
CREATE TEMP MACRO pg_function_is_visible(function) AS true;
CREATE TEMP MACRO pg_opclass_is_visible(class) AS true;
CREATE TEMP MACRO pg_collation_is_visible(collation_oid) AS true;
CREATE TEMP MACRO pg_operator_is_visible(operator) AS true;
CREATE TEMP MACRO pg_statistics_obj_is_visible(statistics) AS true;
CREATE TEMP MACRO pg_get_expr(expression, relation, is_pretty := false) AS expression;
CREATE TEMP MACRO pg_get_constraintdef(thing, is_pretty := false) AS NULL::VARCHAR;
CREATE TEMP MACRO pg_get_indexdef(thing, number := 0, is_pretty := false) AS NULL::VARCHAR;
CREATE TEMP MACRO pg_get_viewdef(thing, is_pretty := false) AS NULL::VARCHAR;
CREATE TEMP MACRO pg_get_triggerdef(thing, is_pretty := false) AS NULL::VARCHAR;
CREATE TEMP MACRO pg_get_ruledef(thing, is_pretty := false) AS NULL::VARCHAR;
CREATE TEMP MACRO pg_get_partkeydef(thing) AS NULL::VARCHAR;
CREATE TEMP MACRO pg_get_statisticsobjdef_columns(thing) AS NULL::VARCHAR;
CREATE TEMP MACRO pg_get_serial_sequence(relation, attribute) AS NULL::VARCHAR;
CREATE TEMP MACRO pg_relation_is_publishable(relation) AS false;
CREATE TEMP MACRO pg_get_functiondef(function) AS NULL::VARCHAR;
CREATE TEMP MACRO pg_get_function_sqlbody(function) AS NULL::VARCHAR;
CREATE TEMP MACRO pg_get_function_arguments(function) AS (SELECT array_to_string(own_p.proargnames, ', ') FROM pg_proc AS own_p WHERE own_p.oid = function);
CREATE TEMP MACRO pg_get_function_identity_arguments(function) AS pg_get_function_arguments(function);
CREATE TEMP MACRO pg_get_function_result(function) AS
  (SELECT CASE WHEN own_p.proretset THEN 'SETOF record' ELSE 'anyelement' END FROM pg_proc AS own_p WHERE own_p.oid = function);
CREATE TEMP MACRO pg_tablespace_location(space) AS '';
CREATE TEMP MACRO pg_relation_size(relation, fork := 'main') AS 0::BIGINT;
CREATE TEMP MACRO pg_table_size(relation) AS 0::BIGINT;
CREATE TEMP MACRO pg_total_relation_size(relation) AS 0::BIGINT;
CREATE TEMP MACRO pg_database_size(given) AS 0::BIGINT;
CREATE TEMP MACRO pg_indexes_size(relation) AS 0::BIGINT;
CREATE TEMP MACRO obj_description(thing, catalogue := '') AS (SELECT own_d.description FROM pg_description AS own_d WHERE own_d.objoid = thing AND own_d.objsubid = 0);
CREATE TEMP MACRO col_description(relation, number) AS
  (SELECT own_d.description FROM pg_description AS own_d WHERE own_d.objoid = relation AND own_d.objsubid = number AND own_d.classoid = 1259);
CREATE TEMP MACRO shobj_description(thing, catalogue) AS NULL::VARCHAR;
CREATE TEMP MACRO has_table_privilege(one, two, three := 'SELECT') AS upper(CASE WHEN three = 'SELECT' AND two::VARCHAR IN ('INSERT', 'UPDATE', 'DELETE', 'TRUNCATE', 'REFERENCES', 'TRIGGER') THEN two::VARCHAR ELSE three END) = 'SELECT';
CREATE TEMP MACRO has_any_column_privilege(one, two, three := 'SELECT') AS has_table_privilege(one, two, three);
CREATE TEMP MACRO has_schema_privilege(one, two, three := 'USAGE') AS upper(coalesce(nullif(three, 'USAGE'), two::VARCHAR)) <> 'CREATE';
CREATE TEMP MACRO has_database_privilege(one, two, three := 'CONNECT') AS upper(coalesce(nullif(three, 'CONNECT'), two::VARCHAR)) NOT IN ('CREATE', 'TEMP', 'TEMPORARY');
CREATE TEMP MACRO has_function_privilege(one, two, three := 'EXECUTE') AS true;
CREATE TEMP MACRO pg_has_role(one, two, three := 'USAGE') AS true;
CREATE TEMP MACRO quote_ident(given) AS CASE WHEN regexp_full_match(given, '[a-z_][a-z0-9_]*') THEN given ELSE '"' || replace(given, '"', '""') || '"' END;
CREATE TEMP MACRO quote_literal(given) AS '''' || replace(given::VARCHAR, '''', '''''') || '''';
CREATE TEMP MACRO to_regclass(given) AS coalesce(
  TRY_CAST(given AS BIGINT),
  (SELECT own_c.oid FROM pg_class AS own_c JOIN pg_namespace AS own_n ON own_n.oid = own_c.relnamespace
   WHERE own_c.relname = replace(list_last(string_split(given, '.')), '"', '')
     AND (NOT contains(given, '.') OR own_n.nspname = replace(string_split(given, '.')[-2], '"', ''))
   ORDER BY own_n.nspname <> 'main' LIMIT 1),
  MAP {'pg_type': 1247, 'pg_attribute': 1249, 'pg_proc': 1255, 'pg_class': 1259, 'pg_database': 1262, 'pg_attrdef': 2604, 'pg_constraint': 2606,
    'pg_namespace': 2615, 'pg_trigger': 2620, 'pg_extension': 3079}[list_last(string_split(given, '.'))]);
CREATE TEMP MACRO to_regtype(given) AS
  coalesce(TRY_CAST(given AS BIGINT), (SELECT own_t.oid FROM pg_type AS own_t WHERE lower(given) IN (own_t.typname, own_t.format) ORDER BY own_t.oid LIMIT 1));
CREATE TEMP MACRO to_regnamespace(given) AS
  coalesce(TRY_CAST(given AS BIGINT), (SELECT own_n.oid FROM pg_namespace AS own_n WHERE own_n.nspname = replace(given, '"', '') LIMIT 1));
-- The same as casts, which name what is there.
CREATE TEMP MACRO regclass_of(given) AS coalesce(to_regclass(given), error('relation "' || given || '" does not exist'));
CREATE TEMP MACRO regtype_of(given) AS coalesce(to_regtype(given), error('type "' || given || '" does not exist'));
CREATE TEMP MACRO regnamespace_of(given) AS coalesce(to_regnamespace(given), error('schema "' || given || '" does not exist'));
CREATE TEMP MACRO information_schema__pg_expandarray(items) AS {'x': unnest(items), 'n': generate_subscripts(items, 1)};

-- Functions over times that tools write into their statements, such as Superset into every filter by time. Times have no zone here, as those of bars.
CREATE TEMP MACRO pg_moment_of(given, form := '%Y') AS strptime(given, form);
CREATE TEMP MACRO pg_day_of(given, form := '%Y') AS strptime(given, form)::DATE;
CREATE TEMP MACRO pg_text_of(given, form := '%Y') AS strftime(given::TIMESTAMP, form);
CREATE TEMP MACRO now() AS make_timestamp(epoch_us(get_current_timestamp()));
CREATE TEMP MACRO transaction_timestamp() AS now();
CREATE TEMP MACRO statement_timestamp() AS now();
CREATE TEMP MACRO clock_timestamp() AS now();
CREATE TEMP MACRO date_bin(stride, given, origin) AS time_bucket(stride, given, origin);

-- The standard's schema, with PostgreSQL's names for types.
CREATE TEMP VIEW information_schema_schemata AS
SELECT current_database() AS catalog_name, n.nspname AS schema_name, 'stockscan' AS schema_owner, NULL::VARCHAR AS default_character_set_catalog,
  NULL::VARCHAR AS default_character_set_schema, NULL::VARCHAR AS default_character_set_name, NULL::VARCHAR AS sql_path
FROM pg_namespace AS n;
CREATE TEMP VIEW information_schema_character_sets AS
SELECT NULL::VARCHAR AS character_set_catalog, NULL::VARCHAR AS character_set_schema, 'UTF8' AS character_set_name, 'UCS' AS character_repertoire,
  'UTF8' AS form_of_use, current_database() AS default_collate_catalog, 'pg_catalog' AS default_collate_schema, 'C' AS default_collate_name;
CREATE TEMP VIEW information_schema_tables AS
SELECT current_database() AS table_catalog, n.nspname AS table_schema, c.relname AS table_name, CASE c.relkind WHEN 'v' THEN 'VIEW' ELSE 'BASE TABLE' END AS table_type,
  NULL::VARCHAR AS self_referencing_column_name, NULL::VARCHAR AS reference_generation, NULL::VARCHAR AS user_defined_type_catalog,
  NULL::VARCHAR AS user_defined_type_schema, NULL::VARCHAR AS user_defined_type_name, 'NO' AS is_insertable_into, 'NO' AS is_typed, NULL::VARCHAR AS commit_action
FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace;
CREATE TEMP VIEW information_schema_views AS
SELECT t.table_catalog, t.table_schema, t.table_name, NULL::VARCHAR AS view_definition, 'NONE' AS check_option, 'NO' AS is_updatable, 'NO' AS is_insertable_into
FROM information_schema_tables AS t WHERE t.table_type = 'VIEW';
CREATE TEMP VIEW information_schema_columns AS
SELECT current_database() AS table_catalog, n.nspname AS table_schema, c.relname AS table_name, a.attname AS column_name, a.attnum::INTEGER AS ordinal_position,
  d.adbin AS column_default, CASE WHEN a.attnotnull THEN 'NO' ELSE 'YES' END AS is_nullable,
  CASE WHEN t.typcategory = 'A' THEN 'ARRAY' ELSE t.format END AS data_type, NULL::INTEGER AS character_maximum_length,
  NULL::INTEGER AS character_octet_length,
  CASE a.atttypid WHEN 21 THEN 16 WHEN 23 THEN 32 WHEN 20 THEN 64 WHEN 700 THEN 24 WHEN 701 THEN 53
    WHEN 1700 THEN CASE WHEN a.atttypmod > 4 THEN (a.atttypmod - 4) >> 16 END END AS numeric_precision,
  CASE WHEN a.atttypid IN (20, 21, 23, 700, 701) THEN 2 WHEN a.atttypid = 1700 THEN 10 END AS numeric_precision_radix,
  CASE WHEN a.atttypid IN (20, 21, 23) THEN 0 WHEN a.atttypid = 1700 AND a.atttypmod > 4 THEN (a.atttypmod - 4) & 65535 END AS numeric_scale,
  CASE WHEN a.atttypid = 1082 THEN 0 WHEN a.atttypid IN (1083, 1114, 1184, 1186) THEN 6 END AS datetime_precision, NULL::VARCHAR AS interval_type,
  NULL::VARCHAR AS character_set_name, NULL::VARCHAR AS collation_name, NULL::VARCHAR AS domain_schema, NULL::VARCHAR AS domain_name,
  current_database() AS udt_catalog, 'pg_catalog' AS udt_schema, t.typname AS udt_name, a.attnum::VARCHAR AS dtd_identifier, 'NO' AS is_identity,
  NULL::VARCHAR AS identity_generation, 'NEVER' AS is_generated, NULL::VARCHAR AS generation_expression, 'NO' AS is_updatable
FROM pg_attribute AS a
JOIN pg_class AS c ON c.oid = a.attrelid
JOIN pg_namespace AS n ON n.oid = c.relnamespace
JOIN pg_type AS t ON t.oid = a.atttypid
LEFT JOIN pg_attrdef AS d ON d.adrelid = a.attrelid AND d.adnum = a.attnum;
CREATE TEMP VIEW information_schema_routines AS
SELECT current_database() AS specific_catalog, n.nspname AS specific_schema, p.proname || '_' || p.oid AS specific_name, current_database() AS routine_catalog,
  n.nspname AS routine_schema, p.proname AS routine_name, 'FUNCTION' AS routine_type, t.format AS data_type
FROM pg_proc AS p JOIN pg_namespace AS n ON n.oid = p.pronamespace LEFT JOIN pg_type AS t ON t.oid = p.prorettype;
CREATE TEMP VIEW information_schema_table_constraints AS
SELECT '' AS constraint_catalog, '' AS constraint_schema, '' AS constraint_name, '' AS table_catalog, '' AS table_schema, '' AS table_name,
  '' AS constraint_type, '' AS is_deferrable, '' AS initially_deferred
WHERE false;
CREATE TEMP VIEW information_schema_key_column_usage AS
SELECT '' AS constraint_catalog, '' AS constraint_schema, '' AS constraint_name, '' AS table_catalog, '' AS table_schema, '' AS table_name,
  '' AS column_name, 0 AS ordinal_position, 0 AS position_in_unique_constraint
WHERE false;
CREATE TEMP VIEW information_schema_referential_constraints AS
SELECT '' AS constraint_catalog, '' AS constraint_schema, '' AS constraint_name, '' AS unique_constraint_catalog, '' AS unique_constraint_schema,
  '' AS unique_constraint_name, '' AS match_option, '' AS update_rule, '' AS delete_rule
WHERE false;
