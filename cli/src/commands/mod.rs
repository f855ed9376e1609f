//! One module per command, and how they open the database.

pub(crate) mod adopt;
pub(crate) mod alerts;
pub(crate) mod backtest;
mod batches;
pub(crate) mod check;
pub(crate) mod completions;
pub(crate) mod config;
pub(crate) mod demo;
pub(crate) mod doctor;
mod follow;
pub(crate) mod history;
pub(crate) mod ingest;
pub(crate) mod key;
pub(crate) mod list;
mod live;
pub(crate) mod man;
pub(crate) mod monitor;
pub(crate) mod new;
pub(crate) mod optimize;
pub(crate) mod publish;
mod recording;
pub(crate) mod remote;
pub(crate) mod replay;
pub(crate) mod run;
mod scanning;
pub(crate) mod serve;
pub(crate) mod sql;
mod stream;
mod trading;

use std::{
    io::{self, Write},
    path::{Path, PathBuf},
    thread,
    time::Duration,
};

pub(crate) use stockscan_engine::counted;
use stockscan_engine::{Argument, Call, Engine, Error, Location, Options, Result, Value};

use crate::arguments::Global;

const DEFAULT_DATABASE: &str = "market.duckdb";

/// What a command wants of the database.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Access {
    /// Read what is there; a missing file is an error, unless all bars come from a file given as --source.
    Read,
    /// Read what is there; without a file, work in memory.
    ReadIfThere,
    /// Read and write what is there; without a file, work in memory.
    WriteIfThere,
    /// Write; a missing file is made.
    Write,
}

/// The database file that the options name.
pub(crate) fn database(global: &Global) -> PathBuf {
    global.database.clone().unwrap_or_else(|| DEFAULT_DATABASE.into())
}

/// Opens the database, with the user's own scanners in it.
pub(crate) fn open(global: &Global, access: Access) -> Result<Engine> {
    let engine = patiently(global, || Engine::open(Options { scanners_directory: own_scanners(global)?, ..options(global, access)? }))?;
    for stranger in global.configuration.check_scanners(&engine)? {
        if !global.quiet {
            say!("{stranger}");
        }
    }
    Ok(engine)
}

/// Tries again what fails for a passing reason, as often as the configuration says, waiting twice as long each time.
pub(crate) fn patiently<T>(global: &Global, mut work: impl FnMut() -> Result<T>) -> Result<T> {
    let attempts = global.configuration.default.retry_attempts.0;
    let mut wait = Duration::from_millis(100);
    for attempt in 1..=attempts {
        match work() {
            Err(error) if error.is_passing() => {
                if global.verbose {
                    say!("{error}; trying again ({attempt} of {attempts})");
                }
                thread::sleep(wait);
                wait = (wait * 2).min(Duration::from_secs(5));
            }
            other => return other,
        }
    }
    work()
}

/// How the database is opened, without the user's own scanners.
pub(crate) fn options(global: &Global, access: Access) -> Result<Options> {
    let path = database(global);
    let may_write = matches!(access, Access::Write | Access::WriteIfThere) && !global.read_only;
    let location = if access == Access::Read && global.database.is_none() && source_is_file(global) {
        Location::Memory
    } else if path.exists() || (access == Access::Write && may_write) {
        Location::File(path)
    } else if matches!(access, Access::ReadIfThere | Access::WriteIfThere) && global.database.is_none() {
        Location::Memory
    } else {
        return Err(Error::NoDatabase(path));
    };
    Ok(Options {
        read_only: location != Location::Memory && !may_write,
        location,
        threads: global.threads,
        memory_limit: global.memory_limit.clone(),
        source: global.source.clone(),
        scanners_directory: None,
    })
}

/// The folder of the user's own scanners, if there is one: a flag or a variable names it, or a configuration file.
pub(crate) fn scanners_directory(global: &Global) -> Option<&Path> {
    let configured = global.configuration.cli.scanners_directory.as_ref().map(|folder| folder.0.as_path());
    global.scanners_directory.as_deref().or(configured)
}

/// The same, and it is there.
pub(crate) fn own_scanners(global: &Global) -> Result<Option<PathBuf>> {
    let Some(folder) = scanners_directory(global) else { return Ok(None) };
    if folder.is_dir() {
        return Ok(Some(folder.to_path_buf()));
    }
    let what = if folder.exists() { "it is no folder" } else { "there is no such folder" };
    let told_by = match (&global.scanners_directory, global.configuration.origin("cli", "scanners_directory")) {
        (None, Some(origin)) => format!("{origin}: cli.scanners_directory"),
        _ => "--scanners-directory (STOCKSCAN_SCANNERS_DIRECTORY)".to_owned(),
    };
    Err(Error::Invalid(format!(
        "{told_by} is {}: {what}; expected the folder of your own scanners, which 'scanner new NAME' makes",
        folder.display()
    )))
}

/// Whether the bars come from a file, so that no database is needed.
fn source_is_file(global: &Global) -> bool {
    global.source.as_ref().is_some_and(|source| {
        let ending = Path::new(source).extension().and_then(|ending| ending.to_str()).unwrap_or_default().to_lowercase();
        source.contains(['/', '*']) || matches!(ending.as_str(), "parquet" | "csv" | "json" | "ndjson") || Path::new(source).is_file()
    })
}

/// The arguments of a call that say which bars it reads, for another function that reads the same.
pub(crate) fn same_bars(call: &Call) -> Vec<(String, Argument)> {
    let shared = ["source", "bar_minutes", "session_start", "session_end", "symbols"];
    let arguments = call.arguments.iter().filter(|(name, _)| shared.contains(&name.as_str()));
    arguments.map(|(name, value)| (name.clone(), Argument::Value(value.clone()))).collect()
}

/// Only the length of the bars, for a first look at a source.
pub(crate) fn bar_length(global: &Global) -> Vec<(String, Argument)> {
    vec![("bar_minutes".to_owned(), Argument::Value(Value::BigInt(i64::from(global.bar_minutes))))]
}

/// An exchange's regular hours, from `markets()`.
pub(crate) struct Market {
    pub(crate) session_start: String,
    pub(crate) session_end: String,
}

pub(crate) fn market(engine: &Engine, code: &str) -> Result<Market> {
    let connection = engine.connection();
    let mut statement =
        connection.prepare("SELECT CAST(session_start AS VARCHAR), CAST(session_end AS VARCHAR) FROM markets() WHERE market = upper(?)")?;
    let mut rows = statement.query([code])?;
    if let Some(row) = rows.next()? {
        return Ok(Market { session_start: row.get(0)?, session_end: row.get(1)? });
    }
    let known: String = connection.query_row("SELECT string_agg(market, ', ' ORDER BY market) FROM markets()", [], |row| row.get(0))?;
    Err(Error::Invalid(format!("--market {code}: no such preset; expected one of {known}")))
}

/// The names that `--symbols` gives.
pub(crate) fn symbol_list(given: &str) -> Result<Value> {
    let symbols: Vec<Value> = given.split(',').map(str::trim).filter(|symbol| !symbol.is_empty()).map(text).collect();
    if symbols.is_empty() {
        return Err(Error::Invalid("--symbols names no symbol; expected names with commas between, such as --symbols INFY,TCS".to_owned()));
    }
    Ok(Value::List(symbols))
}

/// A text argument of a call.
pub(crate) fn text(value: &str) -> Value {
    Value::Text(value.to_owned())
}

/// A value from the first row and column.
pub(crate) fn single(engine: &Engine, sql: &str) -> Result<String> {
    Ok(engine.connection().query_row(sql, [], |row| row.get(0))?)
}

/// Text on standard error. Where that is a terminal, lines that are too long for it are broken between words. A standard error that is closed is
/// no reason to fail.
pub(crate) fn say(text: &str) {
    let terminal = console::Term::stderr();
    let text = match terminal.size_checked().filter(|_| terminal.is_term()) {
        Some((_, width)) => fitted(text, usize::from(width)),
        None => text.to_owned(),
    };
    let _ = writeln!(io::stderr().lock(), "{text}");
}

/// What went wrong, on standard error.
pub(crate) fn say_error(error: &Error) {
    say(&format!("{} {error}", console::style("scanner:").red().bold().for_stderr()));
}

/// Breaks the lines that are longer, between words; what follows has the line's indent. DuckDB's `LINE 1: …` with its mark below stays as it is.
pub(crate) fn fitted(text: &str, width: usize) -> String {
    let (text, marked) = text.find("\nLINE ").map_or((text, ""), |place| text.split_at(place));
    let lines = text.split('\n').map(|line| {
        let indent = &line[..line.len() - line.trim_start().len()];
        if console::measure_text_width(line) <= width { line.to_owned() } else { wrapped(line, width, indent) }
    });
    lines.collect::<Vec<_>>().join("\n") + marked
}

/// Breaks a paragraph into lines.
pub(crate) fn wrapped(text: &str, width: usize, indent: &str) -> String {
    let mut lines = vec![indent.to_owned()];
    for word in text.split_whitespace() {
        let line = lines.last_mut();
        if let Some(line) = line {
            let is_empty = line.trim().is_empty();
            if !is_empty && console::measure_text_width(line) + 1 + console::measure_text_width(word) > width {
                lines.push(format!("{indent}{word}"));
            } else {
                if !is_empty {
                    line.push(' ');
                }
                line.push_str(word);
            }
        }
    }
    lines.join("\n")
}
