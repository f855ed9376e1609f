//! What DuckDB's catalogue says about functions. There is no other list of scanners or parameters.

use duckdb::{Row, types::Value};
use sqlparser::{ast::Statement, dialect::DuckDbDialect, parser::Parser};

use crate::{
    Engine, Error, Query, Result,
    call::quoted,
    error::{message, nearest},
    own_scanners::is_built_in,
};

/// A scanner as `scanners()` lists it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scanner {
    /// Name without `scan_`.
    pub name: String,
    /// Name in SQL.
    pub function_name: String,
    /// The database that holds it.
    pub database_name: String,
    /// Whether it came with Stockscan.
    pub is_built_in: bool,
    /// Its first sentence.
    pub title: String,
    /// All of its documentation.
    pub documentation: Option<String>,
    /// Statements to try.
    pub examples: Vec<String>,
}

/// A parameter as `scanner_parameters()` lists it.
#[derive(Debug, Clone, PartialEq)]
pub struct Parameter {
    /// Its name.
    pub name: String,
    /// The SQL type it is read as, if documented.
    pub sql_type: Option<String>,
    /// The default as SQL text; `None`: required.
    pub default: Option<String>,
    /// Smallest number allowed.
    pub minimum: Option<f64>,
    /// Largest number allowed.
    pub maximum: Option<f64>,
    /// A sensible distance between two numbers to try.
    pub step: Option<f64>,
    /// The texts allowed, as in `long, short, any`.
    pub choices: Option<String>,
    /// Unit of the value.
    pub unit: Option<String>,
    /// What it means.
    pub doc: Option<String>,
}

/// A column of a table macro's result, as its documentation has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Column {
    /// Its name.
    pub name: String,
    /// Unit of its values, if it has one.
    pub unit: Option<String>,
    /// What they mean.
    pub meaning: String,
}

/// A table macro's parameters in order, each with its default as SQL text; `None`: required.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signature {
    /// The function.
    pub function: String,
    /// Name and default.
    pub parameters: Vec<(String, Option<String>)>,
}

impl Engine {
    /// Every scanner: built in, and the user's own macros named `scan_*`.
    ///
    /// # Errors
    /// What DuckDB says.
    pub fn scanners(&self) -> Result<Vec<Scanner>> {
        let mut statement = self.connection.prepare(
            "SELECT scanner, function_name, database_name, is_built_in, title, documentation, array_to_string(examples, chr(10)) FROM scanners()",
        )?;
        let scanners = statement.query_map([], |row| {
            Ok(Scanner {
                name: row.get(0)?,
                function_name: row.get(1)?,
                database_name: row.get(2)?,
                is_built_in: row.get(3)?,
                title: row.get(4)?,
                documentation: row.get(5)?,
                examples: row.get::<_, Option<String>>(6)?.map_or(Vec::new(), |examples| examples.lines().map(str::to_owned).collect()),
            })
        })?;
        Ok(scanners.collect::<duckdb::Result<_>>()?)
    }

    /// The function name of a scanner given with or without `scan_`.
    ///
    /// # Errors
    /// [`Error::UnknownFunction`] with the nearest name.
    pub fn scanner_function(&self, name: &str) -> Result<String> {
        let short = name.strip_prefix("scan_").unwrap_or(name);
        let function = format!("scan_{short}");
        // Asking for one function is fifty times as fast as listing all.
        if self.signature(&function).is_ok() {
            return Ok(function);
        }
        let scanners = self.scanners()?;
        let known: Vec<String> = scanners.into_iter().map(|scanner| scanner.name).collect();
        let suggestion = nearest(short, known.iter().map(String::as_str));
        Err(Error::UnknownFunction { kind: "scanner", given: name.to_owned(), suggestion, known })
    }

    /// The documented parameters of a scanner, in order. The default of a user's own scanner comes from DuckDB's binder.
    ///
    /// # Errors
    /// What DuckDB says.
    pub fn scanner_parameters(&self, scanner: &str) -> Result<Vec<Parameter>> {
        let mut statement = self.connection.prepare(
            "SELECT parameter, type, \"default\", min, max, step, array_to_string(choices, ', '), unit, doc \
             FROM scanner_parameters() WHERE scanner = ? ORDER BY position",
        )?;
        let read = |row: &Row<'_>| {
            Ok(Parameter {
                name: row.get(0)?,
                sql_type: row.get(1)?,
                default: row.get(2)?,
                minimum: row.get(3)?,
                maximum: row.get(4)?,
                step: row.get(5)?,
                choices: row.get(6)?,
                unit: row.get(7)?,
                doc: row.get(8)?,
            })
        };
        let parameters = statement.query_map([scanner], read)?;
        let mut parameters: Vec<Parameter> = parameters.collect::<duckdb::Result<_>>()?;
        if parameters.iter().skip(1).any(|parameter| parameter.default.is_none()) {
            let signature = self.signature(&format!("scan_{scanner}"))?;
            for (parameter, (_, default)) in parameters.iter_mut().zip(signature.parameters) {
                parameter.default = default;
            }
        }
        Ok(parameters)
    }

    /// The parameters of a table macro.
    ///
    /// The catalogue of DuckDB 2.0 lists their names but not their defaults; its binder names both when a call does not fit.
    ///
    /// # Errors
    /// [`Error::UnknownFunction`] with the nearest name.
    pub fn signature(&self, function: &str) -> Result<Signature> {
        let quoted = quoted(function);
        let refusal = self.connection.prepare(&format!("FROM {quoted}(no_such_parameter_ := 0)")).err();
        let message = refusal.as_ref().map(ToString::to_string).unwrap_or_default();
        let candidate = message.lines().map(str::trim).find(|line| line.starts_with(function) || line.starts_with(&quoted));
        match candidate.and_then(|line| parse_signature(function, line)) {
            Some(signature) => Ok(signature),
            None => {
                let known = self.table_macros()?;
                // It is there: the question itself failed, as one does that is interrupted.
                if let Some(error) = refusal.filter(|_| known.iter().any(|name| name == function)) {
                    return Err(error.into());
                }
                let suggestion = nearest(function, known.iter().map(String::as_str));
                Err(Error::UnknownFunction { kind: "function", given: function.to_owned(), suggestion, known })
            }
        }
    }

    /// The documented columns of a function that is built in.
    ///
    /// # Errors
    /// What DuckDB says.
    pub fn columns_of_built_in(&self, function: &str) -> Result<Vec<Column>> {
        let mut statement = self.connection.prepare(
            "SELECT coalesce(any_value(description), '') FROM duckdb_functions() WHERE function_name = ? AND function_type = 'table_macro' AND internal",
        )?;
        let description: String = statement.query_row([function], |row| row.get(0))?;
        Ok(read_columns(&description))
    }

    /// The documented columns of a table macro, the user's own if there is one of that name.
    ///
    /// # Errors
    /// What DuckDB says.
    pub fn documented_columns(&self, function: &str) -> Result<Vec<Column>> {
        let documentation = self.text(Query::with_values(
            "SELECT coalesce(comment, description) FROM duckdb_functions() WHERE function_name = ? AND function_type = 'table_macro' \
             ORDER BY database_name <> 'temp', internal LIMIT 1",
            vec![Value::Text(function.to_owned())],
        ))?;
        Ok(read_columns(&documentation.unwrap_or_default()))
    }

    /// The statement that makes a scanner's macro, if it is none of those built in: what grids need to know of it.
    ///
    /// # Errors
    /// [`Error::UnknownFunction`], or what DuckDB says.
    pub fn create_macro(&self, function: &str) -> Result<Option<String>> {
        if is_built_in(function) {
            return Ok(None);
        }
        let parameters = self.signature(function)?.parameters.into_iter().map(|(name, default)| {
            let default = default.map_or(String::new(), |default| format!(" := {default}"));
            format!("{}{default}", quoted(&name))
        });
        let parameters: Vec<String> = parameters.collect();
        Ok(Some(format!("CREATE MACRO {}({}) AS TABLE {}", quoted(function), parameters.join(", "), self.definition(function)?)))
    }

    /// Whether a macro of the user's has the name of a function that is built in, and is what this name calls.
    ///
    /// # Errors
    /// What DuckDB says.
    pub fn hides_built_in(&self, function: &str) -> Result<bool> {
        if !is_built_in(function) {
            return Ok(false);
        }
        let (database, schema): (String, String) =
            self.connection.query_row("SELECT current_database(), current_schema()", [], |row| Ok((row.get(0)?, row.get(1)?)))?;
        // The binder finds a function or not; to look through the list of all takes a hundred times as long.
        let is_there = |place: String| {
            let refusal = self.connection.prepare(&format!("FROM {place}.{}(no_such_parameter_ := 0)", quoted(function))).err();
            refusal.is_none_or(|error| !message(&error).starts_with("Catalog Error"))
        };
        Ok(is_there("temp.main".to_owned()) || is_there(format!("{}.{}", quoted(&database), quoted(&schema))))
    }

    /// Names of all table macros, Stockscan's and the user's.
    fn table_macros(&self) -> Result<Vec<String>> {
        let mut statement = self.connection.prepare(
            "SELECT DISTINCT function_name FROM duckdb_functions() \
             WHERE function_type = 'table_macro' AND (NOT internal OR len(categories) > 0) ORDER BY ALL",
        )?;
        let names = statement.query_map([], |row| row.get(0))?;
        Ok(names.collect::<duckdb::Result<_>>()?)
    }

    /// A table macro's body as DuckDB keeps it.
    pub(crate) fn definition(&self, function: &str) -> Result<String> {
        let mut statement = self.connection.prepare(
            "SELECT macro_definition FROM duckdb_functions() WHERE function_name = ? AND function_type = 'table_macro' \
             ORDER BY internal, database_name <> 'temp' LIMIT 1",
        )?;
        Ok(statement.query_row([function], |row| row.get(0))?)
    }

    /// The value of an SQL expression without names, such as a default.
    ///
    /// # Errors
    /// What DuckDB says.
    pub fn value(&self, sql: &str) -> Result<Value> {
        // The client has no value for a NULL without a type.
        if sql.eq_ignore_ascii_case("null") {
            return Ok(Value::Null);
        }
        Ok(self.connection.query_row(&format!("SELECT {sql}"), [], |row| row.get(0))?)
    }
}

/// The `@column` lines of a documentation.
fn read_columns(documentation: &str) -> Vec<Column> {
    documentation.lines().filter_map(|line| line.strip_prefix("@column ")?.split_once(' ')).map(read_column).collect()
}

/// A column's name, and `%, winners of trades.`
fn read_column((name, text): (&str, &str)) -> Column {
    const UNITS: [&str; 6] = ["%", "currency", "minutes", "points", "times", "times a year"];
    let text = text.trim_end_matches('.');
    let (unit, meaning) = match text.split_once(", ") {
        Some((unit, meaning)) if UNITS.contains(&unit) => (Some(unit.to_owned()), meaning),
        _ => (None, text),
    };
    Column { name: name.to_owned(), unit, meaning: meaning.to_owned() }
}

/// `scan_mine(scan_date, cutoff_time := '09:50')`, as the binder prints it.
fn parse_signature(function: &str, line: &str) -> Option<Signature> {
    let sql = format!("CREATE MACRO {line} AS 1");
    let Statement::CreateMacro { args, .. } = Parser::parse_sql(&DuckDbDialect {}, &sql).ok()?.pop()? else {
        return None;
    };
    let parameters = args
        .unwrap_or_default()
        .into_iter()
        .map(|argument| (argument.name.value, argument.default_expr.map(|default| default.to_string())));
    Some(Signature { function: function.to_owned(), parameters: parameters.collect() })
}
