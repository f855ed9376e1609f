//! What a statement from outside may say: one query, made of parts that are known, over the tables and views of the database.
//!
//! DuckDB itself takes the statement apart (`json_serialize_sql`), so that there is no second opinion on where a text or a comment ends. Each
//! part of the tree must be one that is listed here; functions are listed in `functions.txt`. That a statement is a SELECT says nothing:
//! `WITH x AS (DELETE … RETURNING *) FROM x` deletes. What would hide a text from the check, such as `query()`, is refused as well.

use std::collections::{HashMap, HashSet};

use duckdb::Connection;
use serde_json::{Map, Value as Json};
use stockscan_engine::{Error, Result, nearest};

/// The functions of DuckDB and what is thought of them.
const FUNCTIONS: &str = include_str!("functions.txt");
/// The categories of Stockscan's own functions, none of which is one of DuckDB's.
const OWN_CATEGORIES: &str = "['backtests', 'blocks', 'catalogue', 'indicators', 'market', 'outcomes', 'scanners', 'statistics']";
/// What expressions are made of. Not here: parameters, for which there are no values, and DEFAULT.
const EXPRESSIONS: [&str; 16] = [
    "BETWEEN",
    "CASE",
    "CAST",
    "COLLATE",
    "COLUMN_REF",
    "COMPARISON",
    "CONJUNCTION",
    "CONSTANT",
    "FUNCTION",
    "LAMBDA",
    "OPERATOR",
    "POSITIONAL_REFERENCE",
    "STAR",
    "SUBQUERY",
    "TYPE",
    "WINDOW",
];
/// What queries are made of: themselves, what they read, and what comes after.
const PARTS: [&str; 17] = [
    "SELECT_NODE",
    "SET_OPERATION_NODE",
    "RECURSIVE_CTE_NODE",
    "BASE_TABLE",
    "EMPTY",
    "EXPRESSION_LIST",
    "JOIN",
    "PIVOT",
    "SHOW_REF",
    "SUBQUERY",
    "TABLE_FUNCTION",
    "DISTINCT_MODIFIER",
    "LIMIT_MODIFIER",
    "ORDER_MODIFIER",
    "ORDER_DEFAULT",
    "ASCENDING",
    "DESCENDING",
];
/// Views that say what there is, beside those of the database. Others name files.
const SCHEMA_VIEWS: [&str; 3] = ["columns", "schemata", "tables"];
/// What SHOW may show without a name: `SHOW TABLES`, `SHOW ALL TABLES`.
const SHOWN: [&str; 2] = ["\"tables\"", "__show_tables_expanded"];
const READ: &str = "a statement may read the tables and views of the database, its own WITH parts, and functions such as scan_breakout()";

/// Where a function stands in a statement.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Place {
    /// Among values.
    Value,
    /// In FROM.
    Table,
}

/// A macro of the user's.
#[derive(Debug)]
struct Macro {
    place: Place,
    definition: String,
}

/// Whether there are values for the parameters of a statement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Values {
    /// There are none, so that it may have no parameters.
    None,
    /// There are.
    Bound,
}

/// What there is to be read and called.
#[derive(Debug)]
struct Catalogue {
    database: String,
    /// Schema and name of each table and view.
    relations: HashSet<(String, String)>,
    /// Stockscan's own functions, with the parameters of those that are macros.
    own: HashMap<(Place, String), Vec<String>>,
    /// Those of the user, by name.
    macros: HashMap<String, Vec<Macro>>,
    /// Those that were made for this statement's dialect. They come before all others of their names.
    of_dialect: HashSet<(Place, String)>,
}

/// Refuses a statement that is not allowed.
///
/// # Errors
/// [`Error::Invalid`] with what was found and what is expected; what DuckDB says.
pub(crate) fn check(connection: &Connection, sql: &str, values: Values) -> Result<()> {
    if sql.contains('\0') {
        return Err(Error::Invalid("the statement has a character 0 in it; expected text".to_owned()));
    }
    let tree = tree(connection, sql)?;
    let catalogue = Catalogue::load(connection)?;
    let mut check = Check { connection, catalogue: &catalogue, values, within_macros: 0, seen: HashSet::new() };
    check.part(&tree, &mut Vec::new()).map_err(Error::Invalid)
}

/// The one statement of a text, as DuckDB understands it.
fn tree(connection: &Connection, sql: &str) -> Result<Json> {
    let text: String = connection.query_row("SELECT json_serialize_sql(?)", [sql], |row| row.get(0))?;
    let invalid = |message: String| Err(Error::Invalid(message));
    let Ok(mut answer) = serde_json::from_str::<Json>(&text) else {
        return invalid("the statement is nested too deeply: expected fewer parts within parts".to_owned());
    };
    if answer["error"].as_bool() != Some(false) {
        let message = answer["error_message"].as_str().unwrap_or_default();
        if message.starts_with("Only SELECT") {
            return invalid(
                "only a statement that reads is run: SELECT, FROM, WITH, VALUES, DESCRIBE, SUMMARIZE, PIVOT with the values of its columns \
                 (ON … IN (…))"
                    .to_owned(),
            );
        }
        let place = answer["position"].as_str().and_then(|position| position.parse::<usize>().ok());
        let place = place.and_then(|position| sql.get(..position)).map_or(String::new(), |before| {
            let line = before.lines().count().max(1);
            format!(" (line {line}, column {})", before.lines().last().map_or(0, |line| line.chars().count()) + 1)
        });
        return invalid(format!("{message}{place}"));
    }
    match answer["statements"].as_array_mut().map(std::mem::take).unwrap_or_default() {
        statements if statements.is_empty() => invalid("there is no statement; expected one, such as FROM scanners()".to_owned()),
        mut statements if statements.len() == 1 => Ok(statements.remove(0)),
        statements => invalid(format!("there are {} statements; expected one", statements.len())),
    }
}

/// DuckDB takes names that differ only in the case of ASCII letters for the same. Other letters are not folded: K is not the sign for kelvin.
fn folded(name: &str) -> String {
    name.to_ascii_lowercase()
}

/// Whether the list has a function of DuckDB, and whether it may be called.
fn listed(place: Place, name: &str) -> Option<bool> {
    let wanted = if place == Place::Value { "[values" } else { "[tables" };
    let mut section = "";
    for line in FUNCTIONS.lines() {
        if line.starts_with('[') {
            section = line;
        } else if section.starts_with(wanted) && !line.starts_with("# ") && folded(line) == name {
            return Some(!section.contains("refused"));
        }
    }
    None
}

impl Catalogue {
    fn load(connection: &Connection) -> Result<Catalogue> {
        let database: String = connection.query_row("SELECT current_database()", [], |row| row.get(0))?;
        let mut relations = HashSet::new();
        let mut statement = connection.prepare(
            "SELECT entry.schema_name, entry.table_name FROM duckdb_tables() AS entry \
             WHERE entry.database_name = current_database() AND NOT entry.internal \
             UNION ALL SELECT entry.schema_name, entry.view_name FROM duckdb_views() AS entry \
             WHERE entry.database_name IN (current_database(), 'temp') AND NOT entry.internal",
        )?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            relations.insert((folded(&row.get::<_, String>(0)?), folded(&row.get::<_, String>(1)?)));
        }
        let (mut own, mut macros, mut of_dialect) = (HashMap::new(), HashMap::<String, Vec<Macro>>::new(), HashSet::new());
        let mut statement = connection.prepare(&format!(
            "SELECT entry.function_name, entry.function_type, entry.internal, array_to_string(entry.parameters, ','), entry.macro_definition, \
             entry.database_name = 'temp' \
             FROM duckdb_functions() AS entry \
             WHERE NOT entry.internal OR list_has_any(entry.categories, {OWN_CATEGORIES})"
        ))?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            let name = folded(&row.get::<_, String>(0)?);
            let place = if row.get::<_, String>(1)?.starts_with("table") { Place::Table } else { Place::Value };
            if row.get(5)? {
                of_dialect.insert((place, name));
            } else if row.get(2)? {
                let parameters = row.get::<_, Option<String>>(3)?.unwrap_or_default();
                own.insert((place, name), parameters.split(',').map(folded).collect());
            } else {
                let definition = row.get::<_, Option<String>>(4)?.unwrap_or_default();
                macros.entry(name).or_default().push(Macro { place, definition });
            }
        }
        Ok(Catalogue { database: folded(&database), relations, own, macros, of_dialect })
    }

    /// Whether a name is that of a table or view. A name without its schema is looked up in `main`; elsewhere it might be taken for a file.
    fn has_relation(&self, path: &[String]) -> bool {
        let has = |schema: &str, name: &str| {
            self.relations.contains(&(schema.to_owned(), name.to_owned()))
                || (schema == "information_schema" && SCHEMA_VIEWS.contains(&name))
        };
        match path {
            [name] => has("main", name),
            [first, name] => has(first, name) || (*first == self.database && has("main", name)),
            [database, schema, name] => *database == self.database && has(schema, name),
            _ => false,
        }
    }
}

struct Check<'a> {
    connection: &'a Connection,
    catalogue: &'a Catalogue,
    values: Values,
    /// Within how many of the user's macros this is.
    within_macros: usize,
    /// The user's macros that were looked at.
    seen: HashSet<String>,
}

type Checked = std::result::Result<(), String>;

impl Check<'_> {
    /// Looks at a part of the tree and all within it. `scope`: the names of the WITH parts that can be read there.
    fn part(&mut self, value: &Json, scope: &mut Vec<String>) -> Checked {
        match value {
            Json::Array(parts) => parts.iter().try_for_each(|part| self.part(part, scope)),
            Json::Object(part) => {
                let before = scope.len();
                let checked = self.object(part, scope);
                scope.truncate(before);
                checked
            }
            _ => Ok(()),
        }
    }

    fn object(&mut self, part: &Map<String, Json>, scope: &mut Vec<String>) -> Checked {
        let text = |key: &str| part.get(key).and_then(Json::as_str).unwrap_or_default();
        match (part.get("class"), part.get("type")) {
            (Some(class), _) => {
                let class = class.as_str().unwrap_or_default();
                let is_bound = class == "PARAMETER" && self.values == Values::Bound;
                if !EXPRESSIONS.contains(&class) && !is_bound {
                    return Err(unknown_part(class));
                }
                match class {
                    "FUNCTION" | "WINDOW" if self.is_of_dialect(Place::Value, part) => {}
                    "FUNCTION" | "WINDOW" => self.function(Place::Value, text("function_name"))?,
                    // Bytes that are taken for the state of a computation.
                    "TYPE" if text("type_name").eq_ignore_ascii_case("aggregate_state") => return Err(unknown_part("AGGREGATE_STATE")),
                    _ => {}
                }
                if part.get("export_state").and_then(Json::as_bool) == Some(true) {
                    return Err(unknown_part("EXPORT_STATE"));
                }
            }
            (None, Some(kind)) => {
                let kind = kind.as_str().unwrap_or_default();
                if !PARTS.contains(&kind) {
                    return Err(unknown_part(kind));
                }
                match kind {
                    "BASE_TABLE" => self.relation(part, scope)?,
                    "SHOW_REF" => shown(part)?,
                    "TABLE_FUNCTION" => return self.table_function(part, scope),
                    "RECURSIVE_CTE_NODE" => return self.recursive(part, scope),
                    _ => {}
                }
            }
            (None, None) => {}
        }
        self.with(part, scope)?;
        part.iter().filter(|(key, _)| *key != "cte_map").try_for_each(|(key, value)| self.child(key, value, scope))
    }

    fn child(&mut self, key: &str, value: &Json, scope: &mut Vec<String>) -> Checked {
        match key {
            // A literal, and how much of a table is to be looked at: values.
            "literal" | "sample" => Ok(()),
            _ => self.part(value, scope),
        }
    }

    /// The WITH parts of a query: each sees those before it.
    fn with(&mut self, part: &Map<String, Json>, scope: &mut Vec<String>) -> Checked {
        let Some(entries) = part.get("cte_map").and_then(|map| map.get("map")).and_then(Json::as_array) else { return Ok(()) };
        for entry in entries {
            self.part(&entry["value"], scope)?;
            scope.push(folded(entry["key"].as_str().unwrap_or_default()));
        }
        Ok(())
    }

    /// Only the second half of a recursive query sees itself.
    fn recursive(&mut self, part: &Map<String, Json>, scope: &mut Vec<String>) -> Checked {
        self.with(part, scope)?;
        let others = part.iter().filter(|(key, _)| !["cte_map", "right"].contains(&key.as_str()));
        for (key, value) in others {
            self.child(key, value, scope)?;
        }
        scope.push(folded(part.get("cte_name").and_then(Json::as_str).unwrap_or_default()));
        self.part(part.get("right").unwrap_or(&Json::Null), scope)
    }

    fn relation(&self, part: &Map<String, Json>, scope: &[String]) -> Checked {
        let named = |key: &str| part.get(key).and_then(Json::as_str).filter(|name| !name.is_empty()).map(folded);
        let path: Vec<String> = ["catalog_name", "schema_name", "table_name"].into_iter().filter_map(named).collect();
        // What is longer has lost something on the way here.
        let is_whole = part.get("qualified_name").and_then(|name| name["path"].as_array()).is_some_and(|whole| whole.len() == path.len());
        let is_own = matches!(&path[..], [name] if scope.contains(name));
        if is_whole && (is_own || self.catalogue.has_relation(&path)) {
            return Ok(());
        }
        let given = path.join(".");
        let known = self.catalogue.relations.iter().filter(|(schema, _)| schema == "main").map(|(_, name)| name.as_str());
        let hint = nearest(&given, known.chain(scope.iter().map(String::as_str)))
            .map_or(String::new(), |name| format!("; did you mean '{name}'?"));
        Err(format!("there is no table '{given}'{hint}; {READ}"))
    }

    fn table_function(&mut self, part: &Map<String, Json>, scope: &mut Vec<String>) -> Checked {
        let function = part.get("function").and_then(Json::as_object);
        let Some(function) = function.filter(|function| function.get("class").and_then(Json::as_str) == Some("FUNCTION")) else {
            return Err(unknown_part("TABLE_FUNCTION"));
        };
        let name = function.get("function_name").and_then(Json::as_str).unwrap_or_default();
        if !self.is_of_dialect(Place::Table, function) {
            self.function(Place::Table, name)?;
            self.hidden_text(name, function)?;
        }
        for (key, value) in function {
            self.child(key, value, scope)?;
        }
        part.iter().filter(|(key, _)| *key != "function").try_for_each(|(key, value)| self.child(key, value, scope))
    }

    /// Those of Stockscan's functions that take a scanner by its name call it, and a definition would become part of the statement.
    fn hidden_text(&mut self, name: &str, function: &Map<String, Json>) -> Checked {
        let Some(parameters) = self.catalogue.own.get(&(Place::Table, folded(name))) else { return Ok(()) };
        let arguments = function.get("arguments").and_then(Json::as_array).map(Vec::as_slice).unwrap_or_default();
        for (index, argument) in arguments.iter().enumerate() {
            let given = argument["name"].as_str().map(folded).filter(|given| !given.is_empty());
            let value = &argument["expression"];
            let literal = (value["class"] == "CONSTANT").then(|| &value["literal"]);
            match given.as_ref().or(parameters.get(index)).map(String::as_str) {
                Some("definition") if literal.is_none_or(|literal| literal["kind"] != "NULL_LITERAL") => {
                    return Err(format!("{name}: definition must be left out here, for it would be part of the statement"));
                }
                Some("scanner") => {
                    let scanner = literal.filter(|literal| literal["kind"] == "STRING").and_then(|literal| literal["text"].as_str());
                    let Some(scanner) = scanner.map(folded) else {
                        return Err(format!("{name}: scanner must be a text such as 'breakout' here, not an expression"));
                    };
                    let scanner = scanner.strip_prefix("scan_").unwrap_or(&scanner);
                    self.function(Place::Table, &format!("scan_{scanner}"))?;
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// Whether a function is one that was made for the statement's dialect. With its schema it would be another, and within a macro of the
    /// user's it may be.
    fn is_of_dialect(&self, place: Place, function: &Map<String, Json>) -> bool {
        let text = |key: &str| function.get(key).and_then(Json::as_str).unwrap_or_default();
        let is_plain = text("schema").is_empty() && text("catalog").is_empty() && self.within_macros == 0;
        is_plain && self.catalogue.of_dialect.contains(&(place, folded(text("function_name"))))
    }

    /// A function is one of DuckDB's that is listed, one of Stockscan's, or a macro of the user's that would be allowed if its text stood there.
    fn function(&mut self, place: Place, given: &str) -> Checked {
        let name = folded(given);
        let is_known = match listed(place, &name) {
            Some(true) => true,
            Some(false) => return Err(format!("{given}() may not be called here; {READ}")),
            None => self.catalogue.own.contains_key(&(place, name.clone())),
        };
        let macros = self.catalogue.macros.get(&name).map(Vec::as_slice).unwrap_or_default();
        if !is_known && !macros.iter().any(|entry| entry.place == place) {
            let known = self.catalogue.own.keys().filter(|(known, _)| *known == place).map(|(_, name)| name.as_str());
            let hint = nearest(&name, known).map_or(String::new(), |name| format!("; did you mean '{name}'?"));
            return Err(format!("there is no function {given}() that may be called here{hint}"));
        }
        // Whichever of them the name means there.
        if !self.seen.insert(name) {
            return Ok(());
        }
        for entry in macros {
            let sql = if entry.place == Place::Value { format!("SELECT {}", entry.definition) } else { entry.definition.clone() };
            self.within_macros += 1;
            let checked = tree(self.connection, &sql).map_err(|error| error.to_string()).and_then(|tree| self.part(&tree, &mut Vec::new()));
            self.within_macros -= 1;
            checked.map_err(|reason| format!("{given}() is a macro of the database's that may not be called here: {reason}"))?;
        }
        Ok(())
    }
}

/// `SHOW TABLES`, and what DESCRIBE and SUMMARIZE say of a query, which is looked at like any other.
fn shown(part: &Map<String, Json>) -> Checked {
    let text = |key: &str| part.get(key).and_then(Json::as_str).unwrap_or_default();
    let is_of_query = matches!(text("show_type"), "DESCRIBE" | "SUMMARY") && part.get("query").is_some_and(Json::is_object);
    let is_known = text("show_type") == "SHOW_SPECIAL" && SHOWN.contains(&text("table_name"));
    if is_of_query || is_known {
        return Ok(());
    }
    Err(format!("SHOW {} is not allowed; expected SHOW TABLES, DESCRIBE or SUMMARIZE", text("table_name").trim_matches('"')))
}

fn unknown_part(kind: &str) -> String {
    match kind {
        "PARAMETER" => "there is a parameter in the statement, for which there is no value; expected the value itself".to_owned(),
        "DELETE_QUERY_NODE" | "INSERT_QUERY_NODE" | "UPDATE_QUERY_NODE" | "MERGE_QUERY_NODE" | "COPY_QUERY_NODE" => {
            let word = kind.split('_').next().unwrap_or_default();
            format!("{word} is not allowed: a statement may only read")
        }
        _ => format!("{kind} is not allowed in a statement here"),
    }
}

#[cfg(test)]
mod tests {
    use stockscan_engine::{Engine, Options};

    use super::*;

    /// With a table, a view, and macros good and bad.
    fn engine() -> Engine {
        let engine = Engine::open(Options::memory()).unwrap();
        engine
            .connection()
            .execute_batch(
                "CREATE TABLE bars AS FROM demo_bars(symbols := 2, sessions := 3); CREATE VIEW daily AS SELECT symbol, ts::DATE AS d FROM bars; \
                 CREATE SCHEMA other; CREATE TABLE other.\"x.parquet\" (i INTEGER); CREATE SEQUENCE ids; \
                 CREATE MACRO doubled(x) AS 2 * x; CREATE MACRO twice(x) AS doubled(doubled(x)); \
                 CREATE MACRO liquid(n) AS TABLE SELECT v.symbol FROM (SELECT symbol, sum(volume) AS volume FROM bars GROUP BY symbol) AS v WHERE v.volume > n; \
                 CREATE MACRO run(t) AS TABLE FROM query(t); CREATE MACRO any_relation(t) AS TABLE FROM query_table(t); \
                 CREATE MACRO scan_run(scan_date, t := 'SELECT 1') AS TABLE FROM query(t); \
                 CREATE MACRO ids_next() AS nextval('ids'); CREATE MACRO indirect() AS ids_next(); \
                 CREATE MACRO ln(x) AS current_setting(x); CREATE MACRO file() AS TABLE FROM read_text('/etc/hostname');",
            )
            .unwrap();
        engine
    }

    fn checked(engine: &Engine, sql: &str) -> std::result::Result<(), String> {
        check(engine.connection(), sql, Values::None).map_err(|error| error.to_string())
    }

    #[test]
    fn queries_of_all_shapes_are_allowed() {
        let engine = engine();
        for sql in [
            "SELECT 1",
            "SELECT 1;",
            " ; SELECT 1 ; -- done",
            "FROM bars",
            "TABLE bars",
            "VALUES (1), (2)",
            "FROM BARS AS b SELECT b.symbol, sum(b.volume) AS v GROUP BY ALL HAVING v > 0 ORDER BY v DESC NULLS LAST LIMIT 5 OFFSET 1",
            "SELECT symbol, lag(close) OVER w, ema FROM (SELECT *, avg(close) OVER (PARTITION BY symbol ORDER BY ts ROWS 5 PRECEDING) AS ema FROM bars) \
             WINDOW w AS (PARTITION BY symbol ORDER BY ts) QUALIFY row_number() OVER w < 5",
            "WITH a AS (FROM bars), b AS (FROM a) SELECT * FROM b JOIN a USING (symbol, ts) LEFT JOIN daily ON daily.symbol = a.symbol",
            "WITH RECURSIVE n AS (SELECT 1 AS i UNION ALL SELECT i + 1 FROM n WHERE i < 5) FROM n",
            "WITH RECURSIVE n(i) USING KEY (i) AS (SELECT 1 UNION SELECT i + 1 FROM n WHERE i < 5) FROM n",
            "SELECT * FROM bars ASOF JOIN daily ON bars.symbol = daily.symbol AND bars.ts >= daily.d",
            "PIVOT bars ON symbol IN ('A', 'B') USING avg(close)",
            "FROM bars UNPIVOT (price FOR kind IN (open, close))",
            "SELECT 1 UNION ALL BY NAME SELECT 2 EXCEPT SELECT 3",
            "SELECT DISTINCT ON (symbol) * EXCLUDE (open), COLUMNS('lo.*'), CASE WHEN close > open THEN 'up' ELSE NULL END FROM bars",
            "SELECT list_transform([1, 2], lambda x: x + 1)[1], {'a': 1}.a, MAP {'k': 2}, [x * 2 FOR x IN range(3) IF x > 0], 'a'.upper()",
            "SELECT count(*) FILTER (volume > 1), quantile_cont(close, 0.5), arg_max(symbol, close), string_agg(symbol, ',' ORDER BY symbol) FROM bars",
            "SELECT EXISTS (FROM bars), (SELECT max(ts) FROM bars), 1 IN (SELECT 1), ARRAY(SELECT 1), 2 > ALL (SELECT 1)",
            "SELECT DATE '2025-01-15' + INTERVAL 1 DAY, current_date, CAST('1.5' AS DECIMAL(9, 2)), TRY_CAST('x' AS INTEGER), x'00', $$a$$, E'\\n'",
            "SELECT 'DELETE FROM bars', '; DROP TABLE bars; --', \"symbol\" FROM bars -- DELETE",
            "SELECT close COLLATE NOCASE, symbol LIKE 'A%', symbol ILIKE 'a', symbol SIMILAR TO 'A.*', symbol GLOB 'A*' FROM bars USING SAMPLE 10%",
            "FROM range(3) AS r(i), LATERAL (SELECT r.i + 1 AS j), unnest([1, 2]) AS u(x) CROSS JOIN generate_series(1, 2)",
            "FROM scan_breakout('2025-01-15', source := 'bars', min_price := 10)",
            "WITH signals AS (FROM scan_gap('2025-01-15')) FROM outcomes('signals')",
            "FROM backtest('breakout', '2025-01-06', '2025-01-15', params := {min_price: 100})",
            "FROM optimize('scan_gap', '2025-01-06', '2025-01-15', {min_gap_pct: [1, 2]}, definition := NULL)",
            "SELECT symbol, ti_sma_last(series(close, 'sum'), 3) FROM bars GROUP BY symbol",
            "FROM scanners()",
            "SHOW TABLES",
            "DESCRIBE bars",
            "DESCRIBE SELECT 1 AS a",
            "SUMMARIZE daily",
            "FROM (SUMMARIZE bars)",
            "FROM information_schema.columns",
            "FROM memory.main.bars",
            "FROM main.bars, memory.bars AS b",
            "FROM other.\"x.parquet\"",
            "SELECT doubled(2), twice(3)",
            "FROM liquid(5)",
        ] {
            assert_eq!(checked(&engine, sql), Ok(()), "{sql}");
        }
    }

    #[test]
    fn what_writes_or_hides_is_refused() {
        let engine = engine();
        for (sql, reason) in [
            ("", "no statement"),
            ("-- nothing", "no statement"),
            ("SELECT 1; SELECT 2", "2 statements"),
            ("SELECT 1; DROP TABLE bars", "only a statement that reads"),
            ("DELETE FROM bars", "only a statement that reads"),
            ("INSERT INTO bars SELECT * FROM bars", "only a statement that reads"),
            ("CREATE TABLE t AS SELECT 1", "only a statement that reads"),
            ("ATTACH 'x.db'", "only a statement that reads"),
            ("COPY bars TO 'x'", "only a statement that reads"),
            ("PRAGMA version", "only a statement that reads"),
            ("SET threads = 1", "only a statement that reads"),
            ("CALL pragma_version()", "only a statement that reads"),
            ("EXPLAIN ANALYZE SELECT 1", "only a statement that reads"),
            ("PREPARE p AS SELECT 1", "only a statement that reads"),
            ("EXECUTE p", "only a statement that reads"),
            ("PIVOT bars ON symbol USING count(*)", "only a statement that reads"),
            ("WITH x AS (DELETE FROM bars RETURNING *) FROM x", "DELETE is not allowed"),
            ("WITH x AS (UPDATE bars SET open = 1 RETURNING *) FROM x", "UPDATE is not allowed"),
            ("WITH x AS (INSERT INTO bars SELECT * FROM bars RETURNING *) FROM x", "INSERT is not allowed"),
            ("WITH x AS (COPY bars TO '/tmp/x') FROM x", "COPY is not allowed"),
            ("SELECT (WITH x AS (DELETE FROM bars RETURNING 1) SELECT count(*) FROM x)", "DELETE is not allowed"),
            ("SELECT 1 LIMIT (WITH x AS (DELETE FROM bars RETURNING 1) SELECT count(*) FROM x)", "DELETE is not allowed"),
            ("DESCRIBE (WITH x AS (DELETE FROM bars RETURNING *) FROM x)", "DELETE is not allowed"),
            ("SELECT $1", "parameter"),
            ("SELECT ?", "parameter"),
            ("FROM query('SELECT 1')", "query() may not"),
            ("FROM QUERY('SELECT 1')", "query() may not"),
            ("FROM \"query\"('SELECT 1')", "query() may not"),
            ("FROM system.main.query('SELECT 1')", "query() may not"),
            ("FROM query_table('bars')", "query_table() may not"),
            ("FROM json_execute_serialized_sql(json_serialize_sql('SELECT 1'))", "json_execute_serialized_sql() may not"),
            ("SELECT json_serialize_plan('SELECT 1')", "json_serialize_plan() may not"),
            ("FROM read_text('/etc/passwd')", "read_text() may not"),
            ("SELECT read_text('/etc/passwd')", "no function read_text()"),
            ("FROM glob('/*')", "glob() may not"),
            ("FROM duckdb_secrets()", "duckdb_secrets() may not"),
            ("FROM duckdb_settings()", "duckdb_settings() may not"),
            ("FROM duckdb_databases()", "duckdb_databases() may not"),
            ("FROM pragma_storage_info('bars')", "pragma_storage_info() may not"),
            ("FROM histogram_values('bars', close)", "histogram_values() may not"),
            ("FROM checkpoint()", "checkpoint() may not"),
            ("SELECT current_setting('home_directory')", "current_setting() may not"),
            ("SELECT getenv('HOME')", "no function getenv()"),
            ("SELECT getvariable('x')", "getvariable() may not"),
            ("SELECT nextval('ids')", "nextval() may not"),
            ("SELECT list_transform([1], lambda x: nextval('ids'))", "nextval() may not"),
            ("SELECT sum(nextval('ids')) OVER ()", "nextval() may not"),
            ("SELECT 1 ORDER BY nextval('ids')", "nextval() may not"),
            ("SELECT count(*) FILTER (nextval('ids') > 0)", "nextval() may not"),
            ("FROM range(nextval('ids'))", "nextval() may not"),
            ("SELECT * REPLACE (nextval('ids') AS symbol) FROM bars", "nextval() may not"),
            ("SELECT 'ids'.nextval()", "nextval() may not"),
            ("SELECT write_log('x')", "write_log() may not"),
            ("SELECT sleep_ms(1000)", "sleep_ms() may not"),
            ("FROM 'x.parquet'", "no table 'x.parquet'"),
            ("FROM \"x.parquet\"", "no table 'x.parquet'"),
            ("FROM \"/etc/passwd\"", "no table '/etc/passwd'"),
            ("FROM 's3://bucket/x.parquet'", "no table"),
            ("DESCRIBE 'x.csv'", "no table 'x.csv'"),
            ("SUMMARIZE 'x.csv'", "no table 'x.csv'"),
            ("SELECT * FROM (WITH \"x.csv\" AS (SELECT 1) FROM \"x.csv\"), 'x.csv'", "no table 'x.csv'"),
            ("WITH \"x.csv\" AS (FROM 'x.csv') FROM \"x.csv\"", "no table 'x.csv'"),
            ("WITH RECURSIVE \"x.csv\" AS (FROM 'x.csv' UNION ALL SELECT 1 FROM \"x.csv\") FROM \"x.csv\"", "no table 'x.csv'"),
            ("WITH a AS (FROM b), b AS (SELECT 1) FROM a", "no table 'b'"),
            ("FROM pragma_database_list", "no table 'pragma_database_list'"),
            ("FROM duckdb_views", "no table 'duckdb_views'"),
            ("FROM information_schema.views", "no table 'information_schema.views'"),
            ("FROM pg_catalog.pg_settings", "no table 'pg_catalog.pg_settings'"),
            ("FROM system.main.duckdb_views", "no table"),
            ("FROM a.b.c.bars", "no table"),
            ("SHOW DATABASES", "SHOW databases is not allowed"),
            ("SHOW VARIABLES", "not allowed"),
            ("SHOW threads", "SHOW threads is not allowed"),
            // The sign for kelvin, a small dotless i, and full width letters: other names, which DuckDB does not know either.
            ("FROM duckdb_to\u{212A}ens()", "no function"),
            ("FROM quer\u{FF59}('SELECT 1')", "no function"),
            ("FROM b\u{430}rs", "no table"),
            ("SELECT 1\0", "character 0"),
            // Macros of the database's.
            ("FROM run('DELETE FROM bars')", "run() is a macro of the database's"),
            ("FROM any_relation('/etc/passwd')", "query_table() may not"),
            ("FROM scan_run('2025-01-15')", "query() may not"),
            ("FROM backtest('run', '2025-01-06', '2025-01-15', params := {t: 'SELECT 1'})", "query() may not"),
            ("FROM backtest('SCAN_RUN', '2025-01-06', '2025-01-15')", "query() may not"),
            ("FROM backtest('r' || 'un', '2025-01-06', '2025-01-15')", "scanner must be a text"),
            ("FROM backtest(scanner := (SELECT 'run'), start_date := '2025-01-06', end_date := '2025-01-15')", "scanner must be a text"),
            (
                "FROM optimize('x', '2025-01-06', '2025-01-15', {a: [1]}, definition := 'CREATE MACRO scan_x() AS TABLE SELECT 1')",
                "no function scan_x()",
            ),
            (
                "FROM optimize('gap', '2025-01-06', '2025-01-15', {a: [1]}, NULL, 'sharpe', 4, 10, NULL, 'random', 1, 'CREATE MACRO …')",
                "definition must be left out",
            ),
            ("SELECT indirect()", "nextval() may not"),
            ("SELECT ln('home_directory')", "current_setting() may not"),
            ("SELECT main.ln('home_directory')", "current_setting() may not"),
            ("FROM file()", "read_text() may not"),
        ] {
            let refused = checked(&engine, sql).expect_err(sql);
            assert!(refused.contains(reason), "{sql}: {refused}");
        }
    }

    #[test]
    fn a_deep_or_long_statement_is_refused_or_read_but_ends_nothing() {
        let engine = engine();
        for (open, close) in
            [("(", ")"), ("[", "]"), ("abs(", ")"), ("- ", ""), ("NOT ", ""), ("(SELECT ", ")"), ("CASE WHEN true THEN ", " END")]
        {
            let sql = format!("SELECT {}1{}", open.repeat(3000), close.repeat(3000));
            let outcome = checked(&engine, &sql);
            assert!(outcome.as_ref().is_err_and(|reason| reason.contains("depth") || reason.contains("deeply")), "{open}: {outcome:?}");
        }
        let long = format!("SELECT {}", vec!["close"; 10_000].join(", "));
        assert_eq!(checked(&engine, &format!("{long} FROM bars")), Ok(()));
    }

    /// A new DuckDB has new functions: each has to be looked at, and entered into the list, one way or the other.
    #[test]
    fn every_function_of_duckdb_was_looked_at() {
        let engine = Engine::open(Options::memory()).unwrap();
        let mut statement = engine
            .connection()
            .prepare(&format!(
                "SELECT DISTINCT function_type IN ('table', 'table_macro'), function_name FROM duckdb_functions() \
                 WHERE function_type <> 'pragma' AND NOT coalesce(list_has_any(categories, {OWN_CATEGORIES}), false)"
            ))
            .unwrap();
        let there: HashSet<(bool, String)> =
            statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?))).unwrap().collect::<duckdb::Result<_>>().unwrap();
        let mut section = "";
        let mut in_list = HashSet::new();
        for line in FUNCTIONS.lines().filter(|line| !line.is_empty() && !line.starts_with("# ")) {
            if line.starts_with('[') {
                section = line;
            } else {
                in_list.insert((section.starts_with("[tables"), line.to_owned()));
            }
        }
        // Written among values, too, where it is no function of the catalogue.
        in_list.remove(&(false, "unnest".to_owned()));
        let missing: Vec<_> = there.difference(&in_list).collect();
        let gone: Vec<_> = in_list.difference(&there).collect();
        assert!(missing.is_empty() && gone.is_empty(), "to be looked at: {missing:?}; no longer there: {gone:?}");
    }
}
