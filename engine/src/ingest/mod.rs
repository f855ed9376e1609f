//! Bars from elsewhere into the table of bars: columns mapped, clocks converted, doubles and defects kept out and counted.
//!
//! A file goes in whole, in one transaction, or not at all. (symbol, ts) stays unique: a bar that is already there is left as it is, so the
//! same file can be taken in again without changing anything. Rows are stored by session, symbol and time, so that a scan of a few sessions
//! reads little else.

mod adopt;
mod clock;
mod layout;
mod reader;
mod staged;
mod store;

use std::{
    path::{Path, PathBuf},
    time::SystemTime,
};

pub use layout::{Label, Layout};
pub use reader::is_bar_file;
pub use staged::{Format, Staged};

use crate::{
    Engine, Error, Query, Result,
    call::{literal, quoted},
};
use clock::Clock;
use duckdb::types::Value;
use layout::Mapping;
use reader::{Kind, Reader, Values};
use store::Rows;

const COLUMNS: [&str; 7] = ["symbol", "ts", "open", "high", "low", "close", "volume"];

/// A CSV file of so many bytes is worth an attempt to store it while it is read.
const LARGE: u64 = 16 << 20;

/// How far an ingest is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Progress<'a> {
    /// Files done.
    pub files_done: usize,
    /// Files in all.
    pub files: usize,
    /// The file being read.
    pub file: &'a Path,
}

/// Rows that were not stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rejected {
    /// The file.
    pub file: PathBuf,
    /// What is wrong with them.
    pub reason: String,
    /// How many.
    pub rows: u64,
    /// The first of them.
    pub example: String,
}

/// What an ingest did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct IngestReport {
    /// Files taken in.
    pub files: u64,
    /// Rows read, broken ones included.
    pub rows_read: u64,
    /// Bars added.
    pub added: u64,
    /// Rows whose bar was there already, with the same values.
    pub unchanged: u64,
    /// Rows whose bar was there already with other values; the stored bar stays.
    pub conflicting: u64,
    /// Rows that repeat another row of the same file.
    pub repeated: u64,
    /// Start of the newest bar that was read, as `2025-01-15 09:49:00`.
    pub newest: Option<String>,
    /// Rows that are no bars, by file and reason.
    pub rejected: Vec<Rejected>,
}

impl Engine {
    /// Takes CSV, Parquet or JSON files, told apart by their endings, into the table of bars, which is made if it does not exist. `progress` is
    /// called before each file.
    ///
    /// # Errors
    /// The first file that cannot be read, with what to do; files before it stay ingested, nothing of it is stored.
    pub fn ingest(&self, files: &[PathBuf], layout: &Layout, mut progress: impl FnMut(Progress<'_>)) -> Result<IngestReport> {
        if files.is_empty() {
            return Err(Error::Invalid("no files to ingest; expected CSV, Parquet or JSON files".to_owned()));
        }
        let mut report = IngestReport::default();
        for (index, file) in files.iter().enumerate() {
            progress(Progress { files_done: index, files: files.len(), file });
            let outcome = match self.ingest_directly(layout, file, &mut report) {
                Ok(false) => self.in_transaction(|| self.ingest_file(layout, file, &mut report)),
                other => other.map(drop),
            };
            outcome.map_err(|error| {
                let done = if index == 0 { String::new() } else { format!(" ({index} files before it were ingested)") };
                match named(&file.display().to_string(), error) {
                    Error::Invalid(text) => Error::Invalid(format!("{text}{done}")),
                    Error::Database(text) => Error::Database(format!("{text}{done}; nothing of it was stored")),
                    other => other,
                }
            })?;
            report.files += 1;
        }
        Ok(report)
    }

    /// Takes the bars of another database's relation that start at or after one time and before another, both as `2025-01-15 09:15:00`. The
    /// other database is opened read-only, and closed again.
    ///
    /// # Errors
    /// [`Error::Locked`] when a process writes to the other database, and what [`Engine::ingest`] returns; nothing is stored then.
    pub fn ingest_between(&self, other: &Path, relation: &str, layout: &Layout, from: &str, until: &str) -> Result<IngestReport> {
        let mut report = IngestReport::default();
        self.beside(other, relation, |reader| {
            self.in_transaction(|| {
                let table = self.bars_table()?;
                let (raw, values, _) = self.raw(layout, reader)?;
                let [from, until] = [from, until].map(|time| literal(&Value::Text(time.to_owned())));
                let raw = format!("(FROM {raw} AS raw WHERE raw.ts >= TIMESTAMP {from} AND raw.ts < TIMESTAMP {until})");
                self.store(&table, &Rows::new(&raw, values), other, &mut report)?;
                self.drop_staged()
            })
        })?;
        Ok(report)
    }

    /// The sessions of another database's relation, as `2025-01-15`, in order.
    ///
    /// # Errors
    /// As [`Engine::ingest_between`].
    pub fn sessions_of(&self, other: &Path, relation: &str, layout: &Layout) -> Result<Vec<String>> {
        self.beside(other, relation, |reader| {
            let (raw, values, _) = self.raw(layout, reader)?;
            let sql = format!("SELECT DISTINCT CAST(CAST(ts AS DATE) AS VARCHAR) FROM {raw} WHERE isfinite(ts) ORDER BY ALL");
            let mut statement = self.connection.prepare(&sql)?;
            let days = statement.query_map(duckdb::params_from_iter(values.iter()), |row| row.get(0))?;
            Ok(days.collect::<std::result::Result<_, _>>()?)
        })
    }

    /// Opens another database beside this one, to read a relation of it.
    fn beside<T>(&self, other: &Path, relation: &str, work: impl FnOnce(&Reader) -> Result<T>) -> Result<T> {
        let path = literal(&Value::Text(other.display().to_string()));
        let attached = self.connection.execute_batch(&format!("ATTACH {path} AS ingest_source (READ_ONLY)"));
        attached.map_err(|error| crate::open::opening_failed(other, &error))?;
        let parts = relation.split('.').map(quoted).collect::<Vec<_>>();
        let reader = Reader { kind: Kind::Relation, name: format!("ingest_source.{}", parts.join(".")), is_pattern: false };
        let database = other.display().to_string();
        let outcome = work(&reader).map_err(|error| match error {
            Error::Database(text) if text.starts_with("Catalog Error: Table with name") => {
                Error::MissingSource { relation: relation.to_owned(), database }
            }
            error => named(&database, error),
        });
        let detached = self.connection.execute_batch("DETACH ingest_source");
        let outcome = outcome?;
        detached?;
        Ok(outcome)
    }

    /// Does `work`, and commits what it did, or nothing.
    fn in_transaction(&self, work: impl FnOnce() -> Result<()>) -> Result<()> {
        self.connection.execute_batch("BEGIN")?;
        let outcome = work().and_then(|()| Ok(self.connection.execute_batch("COMMIT")?));
        if outcome.is_err() {
            // The transaction may have ended with the error already.
            let _ = self.connection.execute_batch("ROLLBACK");
        }
        outcome
    }

    /// Stores a large CSV file of nothing but new bars while it is read. `false`: it is no such file, and nothing was stored.
    fn ingest_directly(&self, layout: &Layout, file: &Path, report: &mut IngestReport) -> Result<bool> {
        let reader = Reader::of_file(file)?;
        let before = stamp(file)?;
        if reader.kind != Kind::Csv || before.0 < LARGE {
            return Ok(false);
        }
        self.drop_staged()?;
        self.connection.execute_batch("BEGIN")?;
        let mut attempt = report.clone();
        let outcome = self.bars_table().and_then(|table| {
            let (raw, values, _) = self.raw(layout, &reader)?;
            let rows = Rows::new(&raw, values);
            let is_stored = self.store_directly(&table, &rows, &mut attempt)?;
            attempt.rows_read += self.note_unreadable(file, &mut attempt)?;
            Ok(is_stored && stamp(file)? == before)
        });
        match outcome {
            Ok(true) => {
                self.connection.execute_batch("COMMIT")?;
                self.drop_staged()?;
                *report = attempt;
                Ok(true)
            }
            // Whatever is wrong is found again, and said, the other way.
            Ok(false) | Err(Error::Database(_)) => {
                let _ = self.connection.execute_batch("ROLLBACK");
                Ok(false)
            }
            Err(error) => {
                let _ = self.connection.execute_batch("ROLLBACK");
                Err(error)
            }
        }
    }

    fn ingest_file(&self, layout: &Layout, file: &Path, report: &mut IngestReport) -> Result<()> {
        let table = self.bars_table()?;
        let reader = Reader::of_file(file)?;
        let before = stamp(file)?;
        let (raw, values, clock) = self.raw(layout, &reader)?;
        self.drop_staged()?;
        // Reading Parquet again costs less than keeping its rows, unless their times have to be worked out.
        if reader.kind == Kind::Parquet && clock == Clock::Wall {
            self.store(&table, &Rows::new(&raw, values), file, report)?;
        } else {
            self.connection.execute(&format!("CREATE TEMP TABLE ingest_rows AS FROM {raw}"), duckdb::params_from_iter(values.iter()))?;
            if reader.is_csv() {
                report.rows_read += self.note_unreadable(file, report)?;
            }
            self.store(&table, &Rows::staged(), file, report)?;
        }
        if stamp(file)? != before {
            return Err(Error::Database("it was written to while it was read; take it in once it is whole, or with --follow".to_owned()));
        }
        self.drop_staged()
    }

    /// A relation with the bars' columns as they are read, the volume as a number that need not be one of shares, and the values in it.
    fn raw(&self, layout: &Layout, reader: &Reader) -> Result<(String, Vec<Value>, Clock)> {
        let mapping = Mapping::new(layout, reader, &self.found_columns(reader)?)?;
        let clock = self.clock(layout, &mapping, reader)?;
        let mut values = Values::Bound(Vec::new());
        let source = reader.call(&mut values, &mapping.text_types(layout.timestamp_format.is_some()));
        let symbol = mapping.symbol(&mut values);
        let ts = mapping.timestamp(clock, &mut values)?;
        let [open, high, low, close, volume] = [2, 3, 4, 5, 6].map(|target| mapping.number(target, "DOUBLE"));
        let raw = format!(
            "(SELECT {symbol} AS symbol, {ts} AS ts, {open} AS open, {high} AS high, {low} AS low, {close} AS close, {volume} AS raw_volume \
             FROM {source} AS file_row)"
        );
        Ok((raw, values.bound(), clock))
    }

    /// The quoted name of the table of bars, made if it is not there, checked if it is.
    fn bars_table(&self) -> Result<String> {
        let name = self.source_name()?;
        let table = name.split('.').map(quoted).collect::<Vec<_>>().join(".");
        self.connection.execute_batch(&format!(
            "CREATE TABLE IF NOT EXISTS {table} (symbol VARCHAR, ts TIMESTAMP, open DOUBLE, high DOUBLE, low DOUBLE, close DOUBLE, volume BIGINT)"
        ))?;
        let (schema, _) = self.collect(&Query::plain(format!("FROM {table} LIMIT 0")), None)?;
        if let Some(missing) = COLUMNS.iter().find(|column| schema.column_with_name(column).is_none()) {
            return Err(Error::Invalid(format!(
                "the table '{name}' of {} has no column '{missing}'; a table of bars has {}; name another table with --source",
                self.name(),
                COLUMNS.join(", ")
            )));
        }
        // A view is read like a table, and found out only where it is written to.
        match self.connection.prepare(&format!("INSERT INTO {table} (symbol) VALUES (NULL)")).map_err(Error::from) {
            Err(Error::Database(text)) if text.contains("is not an table") => Err(Error::Invalid(format!(
                "'{name}' of {} is a view, into which no bars can go; name a table, or a new one, with --source",
                self.name()
            ))),
            Err(other) => Err(other),
            Ok(_) => Ok(table),
        }
    }

    /// The name of the relation with the bars, which is no file.
    fn source_name(&self) -> Result<&str> {
        let name = self.options.source.as_deref().unwrap_or("bars");
        if name.contains(['/', '\\', '*']) || name.to_lowercase().ends_with(".parquet") || name.to_lowercase().ends_with(".csv") {
            return Err(Error::Invalid(format!("--source {name} is a file; bars go into a table, such as --source bars")));
        }
        Ok(name)
    }
}

/// An error with the name of what was read, and without the SQL that only we have seen.
fn named(name: &str, error: Error) -> Error {
    let plain = |text: String| text.split("\n\nLINE ").next().unwrap_or_default().trim().to_owned();
    match error {
        Error::Invalid(text) => Error::Invalid(format!("{name}: {}", plain(text))),
        Error::Database(text) => Error::Database(format!("{name}: {}", plain(text))),
        other => other,
    }
}

/// What changes when a file is written to.
fn stamp(file: &Path) -> Result<(u64, Option<SystemTime>)> {
    let found = std::fs::metadata(file).map_err(|source| Error::File { path: file.to_path_buf(), source })?;
    Ok((found.len(), found.modified().ok()))
}
