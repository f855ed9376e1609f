//! One module per command, and how they open the database.

pub(crate) mod check;
pub(crate) mod demo;
pub(crate) mod doctor;
pub(crate) mod ingest;
pub(crate) mod list;
pub(crate) mod run;
pub(crate) mod sql;

use std::path::PathBuf;

use stockscan_engine::{Engine, Error, Location, Options, Query, Result, Value};

use crate::{arguments::Global, table::grouped};

const DEFAULT_DATABASE: &str = "market.duckdb";

/// What a command wants of the database.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Access {
    /// Read what is there; a missing file is an error, unless everything comes from a file given as --source.
    Read,
    /// Read what is there; without a file, work in memory.
    ReadIfThere,
    /// Write; a missing file is made.
    Write,
}

/// The database file that the options name.
pub(crate) fn database(global: &Global) -> PathBuf {
    global.database.clone().unwrap_or_else(|| DEFAULT_DATABASE.into())
}

pub(crate) fn open(global: &Global, access: Access) -> Result<Engine> {
    let path = database(global);
    // A path as the source needs no database, as long as none was asked for.
    let source_is_file = global.database.is_none() && global.source.as_ref().is_some_and(|source| source.contains(['.', '/', '*']));
    let location = match access {
        _ if path.exists() => Location::File(path),
        Access::Read if !source_is_file => return Err(Error::NoDatabase(path)),
        Access::Read | Access::ReadIfThere => Location::Memory,
        Access::Write if global.read_only => return Err(Error::NoDatabase(path)),
        Access::Write => Location::File(path),
    };
    Engine::open(Options {
        read_only: location != Location::Memory && (global.read_only || access == Access::Read),
        location,
        threads: global.threads,
        memory_limit: global.memory_limit.clone(),
        source: global.source.clone(),
    })
}

/// An exchange's zone and regular hours, from `markets()`.
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

/// A text argument of a call.
pub(crate) fn text(value: &str) -> Value {
    Value::Text(value.to_owned())
}

/// A value from the first row and column.
pub(crate) fn single(engine: &Engine, sql: &str) -> Result<String> {
    let query = Query::plain(sql);
    Ok(engine.connection().query_row(&query.sql, [], |row| row.get(0))?)
}

/// `1 bar`, `2 bars`, `1,234 bars`.
pub(crate) fn counted(count: u64, noun: &str) -> String {
    format!("{} {noun}{}", grouped(&count.to_string()), if count == 1 { "" } else { "s" })
}
