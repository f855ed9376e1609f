//! The user's own scanners: files of a folder, checked like the files of `sql/` and loaded as temporary macros; and macros of the
//! database, held to the same rules as far as they can apply.
//!
//! Temporary macros belong to one connection. They are found by their plain names, in a read-only database as well, and nothing is
//! written to the user's file; every connection that the engine opens gets them.

use std::{fmt, fs, io, path::Path};

use arrow::datatypes::Schema;
use duckdb::Connection;
use stockscan_sql_file::{BLOCKS, BuiltIn, Diagnostic, SqlFile, check_macro, check_together, parse};

use crate::{
    Engine, Error, Result,
    call::{quoted, quoted_text},
    error::message,
};

/// The columns that every scanner's result has: the first three at its start, the others at its end.
const REQUIRED_COLUMNS: [&str; 6] = ["scan_date", "symbol", "price", "volume", "probability_score", "rank"];

/// A date for calls that are planned and not run.
const SOME_DATE: &str = "2000-01-03";

/// A rule that a scanner in the database breaks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// The scanner's function.
    pub function: String,
    /// What is wrong, and what would be right.
    pub problem: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.function, self.problem)
    }
}

/// A scanner of the user's folder.
#[derive(Debug, Clone)]
pub(crate) struct OwnScanner {
    function: String,
    path: String,
    /// What makes a macro of it, with its header as comment.
    sql: String,
}

impl OwnScanner {
    fn new(file: &SqlFile, files: &[SqlFile], built_in: &[BuiltIn]) -> OwnScanner {
        let default = |one: &stockscan_sql_file::Parameter| one.default.as_ref().map_or(String::new(), |default| format!(" := {default}"));
        let signature: Vec<String> = file.parameters.iter().map(|one| format!("{}{}", quoted(&one.name), default(one))).collect();
        let name = quoted(&file.name);
        let mut documentation = file.description(files, built_in);
        for example in &file.examples {
            documentation.push_str(&format!("\n@example {example}"));
        }
        // The body starts on the second line: see refusal().
        let sql = format!(
            "CREATE TEMP MACRO {name}({}) AS TABLE\n{}\n;\nCOMMENT ON MACRO TABLE temp.main.{name} IS {}",
            signature.join(", "),
            file.body,
            quoted_text(&documentation)
        );
        OwnScanner { function: file.name.clone(), path: file.path.clone(), sql }
    }
}

/// Checks the scanners of a folder and makes macros of them; what each of them needs comes before it.
///
/// # Errors
/// [`Error::OwnScanners`] with every mistake of every file, [`Error::Invalid`] when the folder cannot be read.
pub(crate) fn load(connection: &Connection, folder: &Path) -> Result<Vec<OwnScanner>> {
    let built_in = built_in();
    let (files, mut mistakes) = read(folder, &built_in)?;
    let files = in_order(files, &mut mistakes);
    let mut loaded: Vec<OwnScanner> = Vec::new();
    with_stand_ins(connection, files.is_empty(), || {
        for file in &files {
            // What is wrong with a file, or with one that it needs, has been told.
            let is_there = |read: &str| is_built_in(read) || loaded.iter().any(|other| other.function == read);
            if !file.scanners_read().all(is_there) || mistakes.iter().any(|mistake| mistake.path == file.path) {
                continue;
            }
            let scanner = OwnScanner::new(file, &files, &built_in);
            let made = connection.execute_batch(&scanner.sql).map_err(|error| refusal(file, &message(&error)));
            match made.and_then(|()| check_call(connection, file)) {
                Ok(()) => loaded.push(scanner),
                Err(mistake) => mistakes.push(mistake),
            }
        }
        Ok(())
    })?;
    if mistakes.is_empty() {
        return Ok(loaded);
    }
    mistakes.sort();
    Err(Error::OwnScanners(mistakes))
}

/// Makes macros of scanners that have been checked, on another connection.
pub(crate) fn load_again(connection: &Connection, scanners: &[OwnScanner]) -> Result<()> {
    with_stand_ins(connection, scanners.is_empty(), || {
        for scanner in scanners {
            connection.execute_batch(&scanner.sql)?;
        }
        Ok(())
    })
}

/// The files of a folder and their mistakes. Sub-folders, hidden files and files with other endings are left alone.
fn read(folder: &Path, built_in: &[BuiltIn]) -> Result<(Vec<SqlFile>, Vec<Diagnostic>)> {
    let unreadable = |error: io::Error| Error::Invalid(format!("{}: {error}; expected the folder of your own scanners", folder.display()));
    let mut names = Vec::new();
    for entry in fs::read_dir(folder).map_err(unreadable)? {
        let name = entry.map_err(unreadable)?.file_name();
        let is_sql = Path::new(&name).extension().is_some_and(|ending| ending.eq_ignore_ascii_case("sql"));
        if is_sql && !name.to_string_lossy().starts_with('.') {
            names.push(name);
        }
    }
    names.sort();

    let mut known = built_in.to_vec();
    let (mut files, mut mistakes) = (Vec::new(), Vec::new());
    for name in names {
        let path = folder.join(&name);
        let shown = path.display().to_string();
        let parsed = match text(&path) {
            Ok(text) => parse(&shown, text.strip_prefix('\u{feff}').unwrap_or(&text)),
            Err((line, given)) => {
                mistakes.push(Diagnostic { path: shown, line, given, expected: "a file of SQL that can be read, in UTF-8".to_owned() });
                continue;
            }
        };
        mistakes.extend(parsed.mistakes);
        match parsed.file {
            Some(file) => {
                let is_fit = file.name.strip_prefix("scan_").is_some_and(is_scanner_name);
                if !is_fit {
                    mistakes.push(Diagnostic {
                        path: shown,
                        line: file.name_line,
                        given: format!("macro '{}'", file.name),
                        expected: "a scanner: scan_ and small letters, digits and _".to_owned(),
                    });
                }
                files.push(file);
            }
            // So that files that refer to it are not told that it isn't there.
            None => known.push(BuiltIn::new(&path.file_stem().unwrap_or_default().to_string_lossy(), [])),
        }
    }
    mistakes.extend(check_together(&files, &known));
    Ok((files, mistakes))
}

/// Whether a function came with Stockscan.
#[must_use]
pub fn is_built_in(function: &str) -> bool {
    stockscan::FUNCTIONS.iter().any(|one| one.name == function)
}

/// Whether this can stand behind `scan_`.
#[must_use]
pub fn is_scanner_name(name: &str) -> bool {
    !name.is_empty() && name.len() <= 50 && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_')
}

/// The content of a file, or where and why there is none.
fn text(path: &Path) -> std::result::Result<String, (usize, String)> {
    let unreadable = |error: io::Error| (1, error.to_string());
    // A pipe would be waited for.
    if !fs::metadata(path).map_err(unreadable)?.is_file() {
        return Err((1, "no regular file".to_owned()));
    }
    String::from_utf8(fs::read(path).map_err(unreadable)?).map_err(|error| {
        let valid = &error.as_bytes()[..error.utf8_error().valid_up_to()];
        (1 + valid.iter().filter(|byte| **byte == b'\n').count(), "a byte that is no UTF-8".to_owned())
    })
}

/// Each file behind those whose scanners it reads.
fn in_order(files: Vec<SqlFile>, mistakes: &mut Vec<Diagnostic>) -> Vec<SqlFile> {
    let mut ordered: Vec<SqlFile> = Vec::new();
    let mut waiting = files;
    while !waiting.is_empty() {
        let names: Vec<String> = waiting.iter().map(|file| file.name.clone()).collect();
        let (ready, rest): (Vec<SqlFile>, Vec<SqlFile>) =
            waiting.into_iter().partition(|file| !file.scanners_read().any(|read| names.iter().any(|name| name == read)));
        if ready.is_empty() {
            mistakes.extend(rest.iter().map(|file| {
                let read = file.scanners_read().find(|read| names.iter().any(|name| name == read)).unwrap_or_default();
                Diagnostic {
                    path: file.path.clone(),
                    line: file.line_of(read).unwrap_or(file.name_line),
                    given: format!("a scanner that reads {read}(), of a circle of scanners that read each other"),
                    expected: "scanners that can come one after the other".to_owned(),
                }
            }));
            ordered.extend(rest);
            return ordered;
        }
        ordered.extend(ready);
        waiting = rest;
    }
    ordered
}

/// What is built in, as far as a user's files refer to it.
fn built_in() -> Vec<BuiltIn> {
    let parameters = |function: &'static stockscan::Function| function.parameters.iter().map(|one| (one.name, one.documentation));
    stockscan::FUNCTIONS.iter().map(|function| BuiltIn::new(function.name, parameters(function))).collect()
}

/// Does some work while the bars and the blocks are empty relations of their columns, so that what DuckDB says of a file does not depend
/// on the database, and is said quickly: to plan a call of `sessions_as_of()` takes as long as all the rest of it.
fn with_stand_ins(connection: &Connection, is_idle: bool, work: impl FnOnce() -> Result<()>) -> Result<()> {
    if is_idle {
        return Ok(());
    }
    connection.execute_batch(
        "PRAGMA disable_optimizer;
         CREATE TEMP TABLE bars (symbol VARCHAR, ts TIMESTAMP, open DOUBLE, high DOUBLE, low DOUBLE, close DOUBLE, volume BIGINT)",
    )?;
    // sessions_as_of comes first, and the others stand on it.
    for block in BLOCKS.iter().filter_map(|name| stockscan::FUNCTIONS.iter().find(|function| function.name == *name)) {
        let name = block.name;
        let columns: Vec<String> = columns(connection, &format!("FROM {name}(scan_date := '{SOME_DATE}')"))?
            .into_iter()
            .map(|(column, sql_type)| format!("CAST(NULL AS {sql_type}) AS {}", quoted(&column)))
            .collect();
        let signature: Vec<String> =
            block.parameters.iter().map(|one| format!("{}{}", one.name, if one.is_required() { "" } else { " := NULL" })).collect();
        let sql = format!("CREATE TEMP MACRO {name}({}) AS TABLE SELECT {}", signature.join(", "), columns.join(", "));
        connection.execute_batch(&sql)?;
    }
    let outcome = work();
    for block in BLOCKS {
        connection.execute_batch(&format!("DROP MACRO TABLE temp.main.{block}"))?;
    }
    connection.execute_batch("DROP TABLE temp.main.bars; PRAGMA enable_optimizer")?;
    outcome
}

/// Names and types of a query's columns. The query is planned and not run.
fn columns(connection: &Connection, query: &str) -> duckdb::Result<Vec<(String, String)>> {
    let mut statement = connection.prepare(&format!("SELECT column_name, column_type FROM (DESCRIBE {query})"))?;
    let columns = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
    columns.collect()
}

/// Plans a call of a file's macro: its defaults pass its guards, and its columns are those of its header.
fn check_call(connection: &Connection, file: &SqlFile) -> std::result::Result<(), Diagnostic> {
    if file.parameters.iter().any(|one| one.default.is_none() && one.name != "scan_date") {
        return Ok(());
    }
    let found = columns(connection, &format!("FROM {}(scan_date := '{SOME_DATE}')", quoted(&file.name)))
        .map_err(|error| refusal(file, &message(&error)))?;
    let found: Vec<&str> = found.iter().map(|(name, _)| name.as_str()).collect();
    let documented: Vec<&str> = file.columns.iter().map(|column| column.name.as_str()).collect();
    let place = documented.iter().zip(&found).take_while(|(one, other)| one == other).count();
    let (given, expected) = match (documented.get(place), found.get(place)) {
        (None, None) => return Ok(()),
        (Some(name), Some(other)) => (format!("'@column {name}'"), format!("'@column {other}', which the query has there")),
        (Some(name), None) => (format!("'@column {name}'"), "no more columns than the query has".to_owned()),
        (None, Some(other)) => (format!("no '@column {other}', which the query has behind this one"), "one for each column".to_owned()),
    };
    let line = file.columns.get(place).or(file.columns.last()).map_or(1, |column| column.line);
    Err(Diagnostic { path: file.path.clone(), line, given, expected })
}

/// What DuckDB says against a file, at the line that it names.
fn refusal(file: &SqlFile, message: &str) -> Diagnostic {
    let (text, place) = message.split_once("\n\nLINE ").map_or((message, None), |(text, place)| (text, Some(place)));
    let add = |line: usize, given: String, expected: String| Diagnostic { path: file.path.clone(), line, given, expected };
    let text = text.lines().map(str::trim).collect::<Vec<_>>().join(" ").replace("Values list ", "");
    // The stand-in's signature is not the block's own.
    if let Some(block) =
        stockscan::FUNCTIONS.iter().find(|function| text.starts_with(&format!("Binder Error: Macro {}() does not", function.name)))
    {
        let known: Vec<&str> = block.parameters.iter().map(|one| one.name).collect();
        return add(
            file.line_of(block.name).unwrap_or(file.name_line),
            format!("arguments that {}() does not take", block.name),
            format!("some of {}", known.join(", ")),
        );
    }
    if let Some(guard) = text.strip_prefix("Invalid Input Error: ") {
        let named = file.parameters.iter().find(|one| guard.contains(&format!(": {} must ", one.name)));
        return add(named.map_or(file.name_line, |one| one.line), guard.to_owned(), "defaults that the guards let pass".to_owned());
    }
    // Our statement has one line before the body.
    let line = place.and_then(|place| place.split(':').next()).and_then(|line| line.parse::<usize>().ok());
    add(line.map_or(file.name_line, |line| file.body_line + line.saturating_sub(2)), text, "SQL that DuckDB takes".to_owned())
}

/// Refuses the result of a scanner that lacks a column which every scanner has.
pub(crate) fn check_columns(function: &str, schema: &Schema) -> Result<()> {
    let missing = missing(schema.fields().iter().map(|field| field.name().as_str()).collect::<Vec<_>>().as_slice());
    if missing.is_empty() { Ok(()) } else { Err(Error::MissingColumns { function: function.to_owned(), missing }) }
}

fn missing(columns: &[&str]) -> Vec<String> {
    REQUIRED_COLUMNS.iter().filter(|required| !columns.contains(required)).map(|required| (*required).to_owned()).collect()
}

impl Engine {
    /// The scanners that were loaded from the user's folder: function, and file.
    pub fn loaded_scanners(&self) -> impl Iterator<Item = (&str, &str)> {
        self.own_scanners.iter().map(|scanner| (scanner.function.as_str(), scanner.path.as_str()))
    }

    /// What a macro in the database reads, or does not hand on, so that nothing keeps bars after the cutoff out of its result. Nothing
    /// for scanners that have been checked before: those built in and those of the folder.
    ///
    /// # Errors
    /// What DuckDB says.
    pub fn unchecked_reading(&self, function: &str) -> Result<Vec<Finding>> {
        let is_checked = is_built_in(function) || self.loaded_scanners().any(|(name, _)| name == function);
        if is_checked {
            return Ok(Vec::new());
        }
        let signature = self.signature(function)?;
        let mistakes = check_macro(function, &signature.parameters, "", &self.definition(function)?, &[]);
        Ok(mistakes.reading.into_iter().map(finding).collect())
    }

    /// Where the scanners of the database break the rules that those of `sql/` are held to: what they read, guards, qualified and missing
    /// columns.
    ///
    /// # Errors
    /// What DuckDB says.
    pub fn scanner_findings(&self) -> Result<Vec<Finding>> {
        let mut statement = self.connection.prepare(
            "SELECT scanner.function_name, coalesce(scanner.documentation, ''), entry.macro_definition \
             FROM scanners() AS scanner JOIN duckdb_functions() AS entry \
             ON entry.function_name = scanner.function_name AND entry.database_name = scanner.database_name \
                 AND entry.schema_name = scanner.schema_name AND entry.function_type = 'table_macro' \
             WHERE NOT scanner.is_built_in ORDER BY scanner.function_name",
        )?;
        let macros = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?;
        let macros: Vec<(String, String, String)> = macros.collect::<duckdb::Result<_>>()?;
        let built_in = built_in();
        let mut findings = Vec::new();
        for (function, documentation, definition) in &macros {
            if self.loaded_scanners().any(|(name, _)| name == function) {
                continue;
            }
            let mut add = |problem: String| findings.push(Finding { function: function.clone(), problem });
            if is_built_in(function) {
                add("it hides the scanner of that name that is built in; expected a name of its own".to_owned());
            }
            // One in another database is called by its full name, and is looked at where that one is opened.
            let Ok(signature) = self.signature(function) else { continue };
            let mistakes = check_macro(function, &signature.parameters, documentation, definition, &built_in);
            let columns = self.columns_of(&signature.parameters, function);
            match columns {
                Ok(Some(columns)) => {
                    let columns: Vec<&str> = columns.iter().map(String::as_str).collect();
                    let missing = missing(&columns);
                    if !missing.is_empty() {
                        add(format!("no column {}; expected {}", missing.join(", "), REQUIRED_COLUMNS.join(", ")));
                    } else if columns[..3] != REQUIRED_COLUMNS[..3] || columns[columns.len() - 3..] != REQUIRED_COLUMNS[3..] {
                        add(format!(
                            "columns {}; expected {} first and {} last",
                            columns.join(", "),
                            REQUIRED_COLUMNS[..3].join(", "),
                            REQUIRED_COLUMNS[3..].join(", ")
                        ));
                    }
                }
                Ok(None) | Err(Error::MissingSource { .. }) => {}
                Err(error) => add(format!("it cannot be run: {error}")),
            }
            findings.extend(mistakes.reading.into_iter().chain(mistakes.others).map(finding));
        }
        Ok(findings)
    }

    /// The columns of a scanner's result; `None` if it has parameters for which there is no value to try.
    fn columns_of(&self, parameters: &[(String, Option<String>)], function: &str) -> Result<Option<Vec<String>>> {
        if parameters.iter().any(|(name, default)| default.is_none() && name != "scan_date") {
            return Ok(None);
        }
        let has = |wanted: &str| parameters.iter().any(|(name, _)| name == wanted);
        let mut arguments = Vec::new();
        if has("scan_date") {
            arguments.push(format!("scan_date := '{SOME_DATE}'"));
        }
        if let Some(source) = self.options.source.as_deref().filter(|_| has("source")) {
            arguments.push(format!("source := {}", quoted_text(source)));
        }
        let found = columns(&self.connection, &format!("FROM {}({})", quoted(function), arguments.join(", ")));
        Ok(Some(found.map_err(|error| self.explained(&error))?.into_iter().map(|(name, _)| name).collect()))
    }
}

fn finding(mistake: Diagnostic) -> Finding {
    Finding { function: mistake.path, problem: format!("{}; expected {}", mistake.given, mistake.expected) }
}
