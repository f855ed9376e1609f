//! The table of scans.

use std::time::Duration;

use arrow::array::{Array, AsArray, RecordBatch};
use duckdb::{Row, params_from_iter};
use jiff::Timestamp;
use stockscan_engine::{Call, Engine, Error, Result, TimeUnit, Value, quoted_text};
use uuid::Uuid;

use crate::{Access, Results, SCHEMA, State, arguments, in_transaction, moment, query, text};

/// Who asks when it is the server. The rows of its scans also say what became of each hit, so that they answer nobody else's question.
pub const SERVER: &str = "server";

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

/// A scan that has just ended.
#[derive(Debug)]
pub struct Scan<'a> {
    /// From [`new_scan_id`].
    pub scan_id: &'a str,
    /// Who asked: `run`, `stream`, `monitor`, `alerts`, [`SERVER`].
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

/// A scan of the history.
#[derive(Debug, Clone)]
pub struct Record {
    /// Its name.
    pub scan_id: String,
    /// Who asked: `run`, `stream`, `monitor`, `alerts`, [`SERVER`].
    pub command: String,
    /// The scanner, without `scan_`.
    pub scanner: String,
    /// The session, or the first one, as `2025-01-15`.
    pub scan_date: Option<String>,
    /// The last session, if there are several.
    pub end_date: Option<String>,
    /// The cutoff, if it was given.
    pub cutoff_time: Option<String>,
    /// All arguments, as JSON.
    pub arguments: String,
    /// The statement that gives the same again.
    pub statement: String,
    /// The file with the bars' database; `None`: there was none.
    pub database: Option<String>,
    /// Of which data; `None`: it cannot be told.
    pub data_version: Option<String>,
    /// The version of Stockscan.
    pub stockscan_version: String,
    /// When it began.
    pub started_at: Timestamp,
    /// How long it took.
    pub seconds: f64,
    /// Why it has no rows, if it failed.
    pub failure: Option<Failure>,
    /// How many rows it has; `None`: it failed.
    pub hits: Option<u64>,
    /// The scan whose rows it repeats.
    pub cached_from: Option<String>,
    /// Its rows; `None`: it failed, has more than [`crate::MOST_ROWS`], or they were not asked for.
    pub results: Option<Results>,
}

/// Why a scan failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// A word for what kind of error it was: [`Error::kind`].
    pub kind: String,
    /// What it said.
    pub text: String,
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

/// Which scans.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Filter {
    /// Of this scanner, given with or without `scan_`.
    pub scanner: Option<String>,
    /// That began then or later.
    pub since: Option<Timestamp>,
    /// That began before.
    pub until: Option<Timestamp>,
    /// Only those that failed, or only those that did not.
    pub has_failed: Option<bool>,
}

impl Filter {
    /// As a condition on `scan`, with its values.
    #[must_use]
    pub fn condition(&self) -> (String, Vec<Value>) {
        let (mut conditions, mut values) = (vec!["true"], Vec::new());
        if let Some(scanner) = &self.scanner {
            conditions.push("scan.scanner = ?");
            values.push(text(Some(scanner.strip_prefix("scan_").unwrap_or(scanner))));
        }
        if let Some(since) = self.since {
            conditions.push("scan.started_at >= ?");
            values.push(moment(since));
        }
        if let Some(until) = self.until {
            conditions.push("scan.started_at < ?");
            values.push(moment(until));
        }
        if let Some(has_failed) = self.has_failed {
            conditions.push("(scan.status = 'failed') = ?");
            values.push(Value::Boolean(has_failed));
        }
        (conditions.join(" AND "), values)
    }
}

/// A name for a scan, of which the first letters are enough.
#[must_use]
pub fn new_scan_id() -> String {
    Uuid::new_v4().to_string()
}

/// The table.
pub(crate) const TABLE: &str = "scans (scan_id UUID NOT NULL, started_at TIMESTAMP NOT NULL, command VARCHAR, scanner VARCHAR, \
     scan_date DATE, end_date DATE, cutoff_time VARCHAR, arguments JSON, statement VARCHAR, \"database\" VARCHAR, data_version VARCHAR, \
     stockscan_version VARCHAR, seconds DOUBLE, status VARCHAR, error_kind VARCHAR, error VARCHAR, hits BIGINT, cached_from UUID, \
     columns JSON, results JSON)";

impl Scan<'_> {
    /// What the history keeps of it. It has ended now.
    #[must_use]
    pub fn record(&self) -> Record {
        let given = |name: &str| {
            self.call.arguments.iter().find(|(given, _)| given == name).and_then(|(_, value)| match value {
                Value::Text(text) => Some(text.clone()),
                _ => None,
            })
        };
        let (failure, hits, cached_from, results) = match &self.outcome {
            Outcome::Done(results) => (None, Some(results.rows()), None, Some((*results).clone())),
            Outcome::Cached { from, rows } => (None, Some(*rows), Some((*from).to_owned()), None),
            Outcome::Failed { kind, text } => (Some(Failure { kind: (*kind).to_owned(), text: (*text).to_owned() }), None, None, None),
        };
        let seconds = self.elapsed.as_secs_f64();
        let ended = Timestamp::now().as_microsecond();
        Record {
            scan_id: self.scan_id.to_owned(),
            command: self.command.to_owned(),
            scanner: self.call.function.strip_prefix("scan_").unwrap_or(&self.call.function).to_owned(),
            scan_date: given("scan_date"),
            end_date: given("end_date"),
            cutoff_time: given("cutoff_time"),
            arguments: arguments(self.call),
            statement: self.call.sql(),
            database: self.database.map(str::to_owned),
            data_version: self.data_version.map(str::to_owned),
            stockscan_version: env!("CARGO_PKG_VERSION").to_owned(),
            started_at: Timestamp::from_microsecond(ended.saturating_sub(microseconds(seconds))).unwrap_or(Timestamp::UNIX_EPOCH),
            seconds,
            failure,
            hits,
            cached_from,
            results,
        }
    }
}

impl Record {
    /// When it ended.
    #[must_use]
    pub fn ended_at(&self) -> Timestamp {
        let ended = self.started_at.as_microsecond().saturating_add(microseconds(self.seconds));
        Timestamp::from_microsecond(ended).unwrap_or(self.started_at)
    }

    /// `done` or `failed`.
    #[must_use]
    pub fn status(&self) -> &'static str {
        if self.failure.is_some() { "failed" } else { "done" }
    }

    /// How much memory its rows take, in bytes.
    #[must_use]
    pub fn size(&self) -> usize {
        self.results.as_ref().map_or(0, Results::size)
    }

    fn values(&self) -> Result<[Value; 20]> {
        Ok([
            text(Some(&self.scan_id)),
            moment(self.started_at),
            text(Some(&self.command)),
            text(Some(&self.scanner)),
            text(self.scan_date.as_deref()),
            text(self.end_date.as_deref()),
            text(self.cutoff_time.as_deref()),
            text(Some(&self.arguments)),
            text(Some(&self.statement)),
            text(self.database.as_deref()),
            text(self.data_version.as_deref()),
            text(Some(&self.stockscan_version)),
            Value::Double(self.seconds),
            text(Some(self.status())),
            text(self.failure.as_ref().map(|failure| failure.kind.as_str())),
            text(self.failure.as_ref().map(|failure| failure.text.as_str())),
            self.hits.and_then(|hits| i64::try_from(hits).ok()).map_or(Value::Null, Value::BigInt),
            text(self.cached_from.as_deref()),
            text(self.results.as_ref().map(Results::columns).as_deref()),
            text(self.results.as_ref().map(Results::json).transpose()?.flatten().as_deref()),
        ])
    }
}

impl State {
    /// Records a scan that has ended.
    ///
    /// # Errors
    /// As [`State::with`].
    pub fn record(&self, engine: &Engine, scan: &Scan<'_>) -> Result<()> {
        self.record_all(engine, &[scan.record()])
    }

    /// Records scans, all of them or none.
    ///
    /// # Errors
    /// As [`State::with`].
    pub fn record_all<R: std::borrow::Borrow<Record>>(&self, engine: &Engine, records: &[R]) -> Result<()> {
        let values = records.iter().map(|record| record.borrow().values()).collect::<Result<Vec<_>>>()?;
        let sql = format!(
            "INSERT INTO {SCHEMA}.scans SELECT ?, ?, ?, ?, TRY_CAST(? AS DATE), TRY_CAST(? AS DATE), ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?"
        );
        self.with(engine, Access::Write, || {
            in_transaction(engine, || {
                let mut statement = engine.connection().prepare(&sql)?;
                for values in &values {
                    statement.execute(params_from_iter(values.iter()))?;
                }
                Ok(())
            })
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
        let since = Timestamp::now().as_microsecond().saturating_sub(i64::try_from(question.within.as_micros()).unwrap_or(i64::MAX));
        let values = vec![
            text(Some(&arguments(question.call))),
            text(question.call.function.strip_prefix("scan_").or(Some(&question.call.function))),
            text(Some(question.data_version)),
            text(Some(env!("CARGO_PKG_VERSION"))),
            Value::Timestamp(TimeUnit::Microsecond, since),
            text(Some(SERVER)),
        ];
        let sql = format!(
            "SELECT CAST(scan.scan_id AS VARCHAR) FROM {SCHEMA}.scans AS scan WHERE CAST(scan.arguments AS VARCHAR) = ? AND scan.scanner = ? \
             AND scan.data_version = ? AND scan.stockscan_version = ? AND scan.started_at >= ? AND scan.command <> ? AND scan.status = 'done' \
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
        match self.matching(engine, &given)?.as_slice() {
            [] => Err(Error::Invalid(format!("{file} has no scan '{given}'; 'scanner history' lists them; 'latest' is the newest"))),
            [one] => Ok(one.clone()),
            _ => Err(Error::Invalid(format!("several scans in {file} begin with '{given}'; give more of its letters, or 'latest'"))),
        }
    }

    /// The scans whose ids begin with these letters, but no more than two of them; of `latest` the newest one.
    ///
    /// # Errors
    /// As [`State::with`].
    pub fn matching(&self, engine: &Engine, given: &str) -> Result<Vec<String>> {
        let (condition, values) = match given {
            "latest" => ("true", Vec::new()),
            _ => ("starts_with(CAST(scan.scan_id AS VARCHAR), ?)", vec![Value::Text(given.to_owned())]),
        };
        let limit = if given == "latest" { 1 } else { 2 };
        let sql = format!(
            "SELECT string_agg(found.scan_id, ' ') FROM (SELECT CAST(scan.scan_id AS VARCHAR) AS scan_id FROM {SCHEMA}.scans AS scan \
             WHERE {condition} ORDER BY scan.started_at DESC LIMIT {limit}) AS found"
        );
        let found = self.reading(engine, "scans", || engine.text(query(sql, values)))?.flatten();
        Ok(found.map(|found| found.split(' ').map(str::to_owned).collect()).unwrap_or_default())
    }

    /// How many scans there are of a kind, and some of them, the newest first, without their rows.
    ///
    /// # Errors
    /// As [`State::with`].
    pub fn scans(&self, engine: &Engine, filter: &Filter, limit: u32, offset: u32) -> Result<(u64, Vec<Record>)> {
        let (condition, mut values) = filter.condition();
        let found = self.reading(engine, "scans", || {
            let connection = engine.connection();
            let count = format!("SELECT count(*) FROM {SCHEMA}.scans AS scan WHERE {condition}");
            let total: u64 = connection.query_row(&count, params_from_iter(values.iter()), |row| row.get(0))?;
            values.extend([Value::BigInt(i64::from(limit)), Value::BigInt(i64::from(offset))]);
            let sql = format!(
                "{RECORD} FROM {SCHEMA}.scans AS scan WHERE {condition} ORDER BY scan.started_at DESC, scan.scan_id LIMIT ? OFFSET ?"
            );
            let mut statement = connection.prepare(&sql)?;
            let records = statement.query_map(params_from_iter(values.iter()), record)?;
            Ok((total, records.collect::<duckdb::Result<_>>()?))
        })?;
        Ok(found.unwrap_or_default())
    }

    /// A scan with its rows. Those of a cached one are those of the scan that it repeats.
    ///
    /// # Errors
    /// As [`State::with`].
    pub fn scan(&self, engine: &Engine, scan_id: &str) -> Result<Option<Record>> {
        let sql = format!("{RECORD} FROM {SCHEMA}.scans AS scan WHERE scan.scan_id = TRY_CAST(? AS UUID)");
        let found = self.reading(engine, "scans", || {
            let mut statement = engine.connection().prepare(&sql)?;
            let found = statement.query_map([scan_id], record)?.next().transpose()?;
            let Some(mut found) = found else { return Ok(None) };
            found.results = kept(engine, scan_id)?;
            Ok(Some(found))
        })?;
        Ok(found.flatten())
    }

    /// The rows of a scan; `None`: it has none. Those of a cached one are those of the scan that it repeats.
    ///
    /// # Errors
    /// As [`State::with`].
    pub fn results(&self, engine: &Engine, scan_id: &str) -> Result<Option<Results>> {
        Ok(self.reading(engine, "scans", || kept(engine, scan_id))?.flatten())
    }
}

/// The rows of a scan, with the file attached.
fn kept(engine: &Engine, scan_id: &str) -> Result<Option<Results>> {
    let sql = format!(
        "SELECT concat_ws(' ', source.scan_id, source.columns) FROM {SCHEMA}.scans AS scan JOIN {SCHEMA}.scans AS source \
         ON source.scan_id = coalesce(scan.cached_from, scan.scan_id) WHERE scan.scan_id = TRY_CAST(? AS UUID) AND source.results IS NOT NULL"
    );
    let found = engine.text(query(sql, vec![text(Some(scan_id))]))?;
    let Some((source, columns)) = found.as_deref().and_then(|found| found.split_once(' ')) else { return Ok(None) };
    // As one list: to unnest a long one takes DuckDB ten times as long as to read it.
    let sql = format!(
        "SELECT from_json(scan.results, {}) FROM {SCHEMA}.scans AS scan WHERE scan.scan_id = TRY_CAST(? AS UUID)",
        quoted_text(&format!("[{columns}]"))
    );
    let (_, lists) = engine.collect(&query(sql, vec![text(Some(source))]), None)?;
    let list = lists.first().map(|list| list.column(0).clone());
    let list = list.as_ref().and_then(|list| list.as_list_opt::<i32>()).filter(|list| !list.is_empty()).map(|list| list.value(0));
    let Some(rows) = list.as_ref().and_then(|rows| rows.as_struct_opt()).filter(|rows| rows.null_count() == 0) else {
        return Err(Error::Database(format!("the rows of scan {source} cannot be read")));
    };
    let mut results = Results::default();
    let rows = RecordBatch::from(rows);
    results.begin(&rows.schema());
    results.take(&rows);
    Ok(Some(results))
}

/// The columns that [`record`] reads.
const RECORD: &str = "SELECT CAST(scan.scan_id AS VARCHAR), scan.command, scan.scanner, CAST(scan.scan_date AS VARCHAR), \
     CAST(scan.end_date AS VARCHAR), scan.cutoff_time, CAST(scan.arguments AS VARCHAR), scan.statement, scan.\"database\", scan.data_version, \
     scan.stockscan_version, epoch_us(scan.started_at), scan.seconds, scan.status, scan.error_kind, scan.error, scan.hits, \
     CAST(scan.cached_from AS VARCHAR)";

fn record(row: &Row<'_>) -> duckdb::Result<Record> {
    let text = |column: usize| row.get::<_, Option<String>>(column).map(Option::unwrap_or_default);
    let has_failed = text(13)? == "failed";
    Ok(Record {
        scan_id: row.get(0)?,
        command: text(1)?,
        scanner: text(2)?,
        scan_date: row.get(3)?,
        end_date: row.get(4)?,
        cutoff_time: row.get(5)?,
        arguments: text(6)?,
        statement: text(7)?,
        database: row.get(8)?,
        data_version: row.get(9)?,
        stockscan_version: text(10)?,
        started_at: Timestamp::from_microsecond(row.get(11)?).unwrap_or(Timestamp::UNIX_EPOCH),
        seconds: row.get::<_, Option<f64>>(12)?.unwrap_or_default(),
        failure: if has_failed { Some(Failure { kind: text(14)?, text: text(15)? }) } else { None },
        hits: row.get(16)?,
        cached_from: row.get(17)?,
        results: None,
    })
}

/// In whole microseconds, as time is kept.
#[expect(clippy::cast_possible_truncation, reason = "more than any clock counts")]
fn microseconds(seconds: f64) -> i64 {
    (seconds * 1e6).round() as i64
}
