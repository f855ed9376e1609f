//! The table of scans.

use std::time::Duration;

use stockscan_engine::{Call, Engine, Error, Query, Result, Value, quoted_text};
use uuid::Uuid;

use crate::{Access, Results, SCHEMA, State, arguments, query, text};

/// What a scan came to.
#[derive(Debug)]
pub enum Outcome<'a> {
    /// Its rows.
    Done(&'a Results),
    /// The rows of an earlier scan that asked the same of the same data.
    Cached {
        /// That scan.
        from: &'a str,
        /// How many rows it has.
        rows: u64,
    },
    /// No rows, or not all of them.
    Failed {
        /// A word for what kind of error it is: [`Error::kind`].
        kind: &'a str,
        /// What it says.
        text: &'a str,
    },
}

/// A scan that has ended.
#[derive(Debug)]
pub struct Scan<'a> {
    /// From [`new_scan_id`].
    pub scan_id: &'a str,
    /// Who asked: `run`, `stream`, `monitor`, `alerts`, `server`.
    pub command: &'a str,
    /// What was asked.
    pub call: &'a Call,
    /// The file with the bars' database; `None`: there is none.
    pub database: Option<&'a str>,
    /// Of which data; `None`: it cannot be told, since a view may read anything.
    pub data_version: Option<&'a str>,
    /// How long it took.
    pub elapsed: Duration,
    /// What it came to.
    pub outcome: Outcome<'a>,
}

/// What has the same answer as long as the data stays the same.
#[derive(Debug)]
pub struct Question<'a> {
    /// What is asked.
    pub call: &'a Call,
    /// Of which data.
    pub data_version: &'a str,
    /// How old the answer may be.
    pub within: Duration,
}

/// A name for a scan, of which the first letters are enough.
#[must_use]
pub fn new_scan_id() -> String {
    Uuid::new_v4().to_string()
}

/// Makes the table.
pub(crate) fn prepare(engine: &Engine) -> Result<()> {
    Ok(engine.connection().execute_batch(&format!(
        "CREATE TABLE IF NOT EXISTS {SCHEMA}.scans (scan_id UUID NOT NULL, started_at TIMESTAMP NOT NULL, command VARCHAR, scanner VARCHAR, \
         scan_date DATE, end_date DATE, cutoff_time VARCHAR, arguments JSON, statement VARCHAR, \"database\" VARCHAR, data_version VARCHAR, \
         stockscan_version VARCHAR, seconds DOUBLE, status VARCHAR, error_kind VARCHAR, error VARCHAR, hits BIGINT, cached_from UUID, \
         columns JSON, results JSON)"
    ))?)
}

impl State {
    /// Records a scan that has ended.
    ///
    /// # Errors
    /// As [`State::with`].
    pub fn record(&self, engine: &Engine, scan: &Scan<'_>) -> Result<()> {
        let given = |name: &str| {
            scan.call.arguments.iter().find(|(given, _)| given == name).and_then(|(_, value)| match value {
                Value::Text(text) => Some(text.as_str()),
                _ => None,
            })
        };
        let (status, kind, error, rows, from, columns, results) = match &scan.outcome {
            Outcome::Done(results) => ("done", None, None, Some(results.rows()), None, Some(results.columns()), results.json()?),
            Outcome::Cached { from, rows } => ("done", None, None, Some(*rows), Some(*from), None, None),
            Outcome::Failed { kind, text } => ("failed", Some(*kind), Some(*text), None, None, None, None),
        };
        let started = jiff::Timestamp::now().as_microsecond().saturating_sub(i64::try_from(scan.elapsed.as_micros()).unwrap_or_default());
        let values = vec![
            text(Some(scan.scan_id)),
            Value::Timestamp(stockscan_engine::TimeUnit::Microsecond, started),
            text(Some(scan.command)),
            text(scan.call.function.strip_prefix("scan_").or(Some(&scan.call.function))),
            text(given("scan_date")),
            text(given("end_date")),
            text(given("cutoff_time")),
            text(Some(&arguments(scan.call))),
            text(Some(&scan.call.sql())),
            text(scan.database),
            text(scan.data_version),
            text(Some(env!("CARGO_PKG_VERSION"))),
            Value::Double(scan.elapsed.as_secs_f64()),
            text(Some(status)),
            text(kind),
            text(error),
            rows.and_then(|rows| i64::try_from(rows).ok()).map_or(Value::Null, Value::BigInt),
            text(from),
            text(columns.as_deref()),
            text(results.as_deref()),
        ];
        self.with(engine, Access::Write, || {
            engine.collect(
                &query(
                    format!("INSERT INTO {SCHEMA}.scans SELECT ?, ?, ?, ?, TRY_CAST(? AS DATE), TRY_CAST(? AS DATE), ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?"),
                    values,
                ),
                None,
            )?;
            Ok(())
        })
    }

    /// The newest scan that asked the same of the same data, with the query of its rows.
    ///
    /// # Errors
    /// As [`State::with`].
    pub fn answered(&self, engine: &Engine, question: &Question<'_>) -> Result<Option<String>> {
        if !self.exists() {
            return Ok(None);
        }
        let since = jiff::Timestamp::now().as_microsecond().saturating_sub(i64::try_from(question.within.as_micros()).unwrap_or(i64::MAX));
        let values = vec![
            text(Some(&arguments(question.call))),
            text(question.call.function.strip_prefix("scan_").or(Some(&question.call.function))),
            text(Some(question.data_version)),
            text(Some(env!("CARGO_PKG_VERSION"))),
            Value::Timestamp(stockscan_engine::TimeUnit::Microsecond, since),
        ];
        let sql = format!(
            "SELECT CAST(scan.scan_id AS VARCHAR) FROM {SCHEMA}.scans AS scan WHERE CAST(scan.arguments AS VARCHAR) = ? AND scan.scanner = ? AND scan.data_version = ? AND scan.stockscan_version = ? AND scan.started_at >= ? AND scan.status = 'done' \
             AND scan.results IS NOT NULL ORDER BY scan.started_at DESC LIMIT 1"
        );
        self.with(engine, Access::Read, || engine.text(query(sql, values)))
    }

    /// The scan that is meant: `latest`, or the first letters of its id, as many as tell it from the others.
    ///
    /// # Errors
    /// [`Error::Invalid`] if there is none, or more than one; else as [`State::with`].
    pub fn find(&self, engine: &Engine, given: &str) -> Result<String> {
        let file = self.path().display();
        if !self.exists() {
            return Err(Error::Invalid(format!("there is no scan '{given}': nothing has been scanned yet that {file} would know of")));
        }
        let given = given.trim().to_lowercase();
        let (condition, values) = match given.as_str() {
            "latest" => ("true", Vec::new()),
            _ => ("starts_with(CAST(scan.scan_id AS VARCHAR), ?)", vec![Value::Text(given.clone())]),
        };
        let limit = if given == "latest" { 1 } else { 2 };
        let sql = format!(
            "SELECT string_agg(found.scan_id, ' ') FROM (SELECT CAST(scan.scan_id AS VARCHAR) AS scan_id FROM {SCHEMA}.scans AS scan \
             WHERE {condition} ORDER BY scan.started_at DESC LIMIT {limit}) AS found"
        );
        let found = self.with(engine, Access::Read, || engine.text(query(sql, values)))?.unwrap_or_default();
        match found.split(' ').collect::<Vec<_>>().as_slice() {
            [""] => Err(Error::Invalid(format!("{file} has no scan '{given}'; 'scanner history' lists them; 'latest' is the newest"))),
            [one] => Ok((*one).to_owned()),
            _ => Err(Error::Invalid(format!("several scans in {file} begin with '{given}'; give more of its letters, or 'latest'"))),
        }
    }

    /// The query of the rows of a scan, to be run within [`State::with`]; `None`: it has none.
    ///
    /// # Errors
    /// What DuckDB says.
    pub fn rows(&self, engine: &Engine, scan_id: &str) -> Result<Option<Query>> {
        // The rows of a cached scan are those of the scan that it repeats.
        let sql = format!(
            "SELECT concat_ws(' ', source.scan_id, source.columns) FROM {SCHEMA}.scans AS scan JOIN {SCHEMA}.scans AS source \
             ON source.scan_id = coalesce(scan.cached_from, scan.scan_id) WHERE CAST(scan.scan_id AS VARCHAR) = ? AND source.results IS NOT NULL"
        );
        let found = engine.text(query(sql, vec![text(Some(scan_id))]))?;
        let Some((source, columns)) = found.as_deref().and_then(|found| found.split_once(' ')) else { return Ok(None) };
        Ok(Some(query(
            format!(
                "SELECT unnest(from_json(scan.results, {}), max_depth := 2) FROM {SCHEMA}.scans AS scan WHERE CAST(scan.scan_id AS VARCHAR) = ?",
                quoted_text(&format!("[{columns}]"))
            ),
            vec![text(Some(source))],
        )))
    }
}
