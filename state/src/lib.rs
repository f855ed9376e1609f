//! What was scanned, and when: every scan with its arguments, the version of the data, its time, and its rows or its error. And the long
//! jobs of a server, with what came of them.
//!
//! All of it is in a DuckDB file of its own, `state.duckdb`, so that the database with the bars can stay read-only. It is attached for the
//! moment of reading or writing only, since one process at a time can have it open for writing; who comes second waits for that moment.

use std::{
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
    thread,
    time::{Duration, Instant},
};

use jiff::Timestamp;
use stockscan_engine::{Call, Engine, Error, Query, Result, TimeUnit, Value, created, opening_failed, quoted_text};

mod jobs;
mod results;
mod scans;
mod statistics;

pub use jobs::{Job, JobChange, JobFilter, JobStatus, new_job_id};
pub use results::{MOST_ROWS, Results};
pub use scans::{Failure, Filter, Outcome, Question, Record, SERVER, Scan, new_scan_id};
pub use statistics::{Statistics, Tally, statistics};

/// The name under which the file is attached.
pub const SCHEMA: &str = "stockscan_state";

/// How long to wait for another process that has the file open.
const PATIENCE: Duration = Duration::from_secs(5);

/// Held while a file is attached. The lock on a file is between processes; two engines of one process would both get it.
static ATTACHED: Mutex<()> = Mutex::new(());

/// A file with the history of scans.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct State {
    path: PathBuf,
}

/// What is done with the file while it is open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Reading; others may read as well.
    Read,
    /// Writing; the file is made if it does not exist.
    Write,
}

impl State {
    /// The history in this file, which need not exist yet.
    #[must_use]
    pub fn new(path: impl Into<PathBuf>) -> State {
        State { path: path.into() }
    }

    /// The file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether anything has been recorded.
    #[must_use]
    pub fn exists(&self) -> bool {
        self.path.exists()
    }

    /// Does something while the file is attached as [`SCHEMA`]. Not to be called within itself.
    ///
    /// # Errors
    /// [`Error::Locked`] when another process keeps it open, [`Error::NoPermission`], what the work returns, or what DuckDB says.
    pub fn with<T>(&self, engine: &Engine, access: Access, work: impl FnOnce() -> Result<T>) -> Result<T> {
        let _attached = ATTACHED.lock().unwrap_or_else(PoisonError::into_inner);
        self.attach(engine, access)?;
        let outcome = work();
        let detached = engine.connection().execute_batch(&format!("DETACH {SCHEMA}")).map_err(Error::from);
        let value = outcome?;
        match detached {
            // What was committed stands in the log beside the file, from where the next one takes it.
            Err(error) if error.to_string().contains("CHECKPOINT during DETACH failed") => Ok(value),
            detached => detached.map(|()| value),
        }
    }

    fn attach(&self, engine: &Engine, access: Access) -> Result<()> {
        // Older clients of DuckDB can read it, too.
        let options = if access == Access::Read { "READ_ONLY" } else { "READ_WRITE, STORAGE_VERSION 'v1.5.0'" };
        let statement = format!("ATTACH {} AS {SCHEMA} ({options})", quoted_text(&self.path.to_string_lossy()));
        if access == Access::Write {
            created(&self.path, |path| {
                let path = quoted_text(&path.to_string_lossy());
                let made = engine.connection().execute_batch(&format!("ATTACH {path} AS {SCHEMA} ({options}); DETACH {SCHEMA}"));
                if made.is_err() {
                    // On a full disk it may be attached and yet not whole.
                    let _ = engine.connection().execute_batch(&format!("DETACH {SCHEMA}"));
                }
                made
            })?;
        }
        let started = Instant::now();
        let mut wait = Duration::from_millis(5);
        loop {
            match engine.connection().execute_batch(&statement).map_err(|error| opening_failed(&self.path, &error)) {
                Ok(()) => break,
                Err(error) if error.is_passing() && started.elapsed() < PATIENCE => {
                    // Those who wait for the same file do not come back at the same moment.
                    thread::sleep(wait + Duration::from_millis(u64::from(std::process::id() % 7)));
                    wait = (wait * 2).min(Duration::from_millis(100));
                }
                Err(error) => return Err(error),
            }
        }
        if access == Access::Read {
            return Ok(());
        }
        let tables = [scans::TABLE, jobs::TABLE].map(|table| format!("CREATE TABLE IF NOT EXISTS {SCHEMA}.{table}"));
        let made = engine.connection().execute_batch(&tables.join("; "));
        if made.is_err() {
            // Else it stays attached, and the next one finds it so.
            let _ = engine.connection().execute_batch(&format!("DETACH {SCHEMA}"));
        }
        Ok(made?)
    }

    /// Reads a table, if there is one.
    fn reading<T>(&self, engine: &Engine, table: &str, work: impl FnOnce() -> Result<T>) -> Result<Option<T>> {
        if !self.exists() {
            return Ok(None);
        }
        self.with(engine, Access::Read, || {
            let sql = format!("SELECT count(*) > 0 FROM duckdb_tables() WHERE database_name = '{SCHEMA}' AND table_name = ?");
            let is_there: bool = engine.connection().query_row(&sql, [table], |row| row.get(0))?;
            if is_there { work().map(Some) } else { Ok(None) }
        })
    }
}

/// The arguments of a call as JSON, names in the order of the signature.
fn arguments(call: &Call) -> String {
    let arguments = call.arguments.iter().map(|(name, value)| (name.clone(), json(value)));
    serde_json::Value::Object(arguments.collect()).to_string()
}

/// Does all of something or nothing of it.
fn in_transaction<T>(engine: &Engine, work: impl FnOnce() -> Result<T>) -> Result<T> {
    let connection = engine.connection();
    connection.execute_batch("BEGIN")?;
    match work().and_then(|value| connection.execute_batch("COMMIT").map(|()| value).map_err(Error::from)) {
        Ok(value) => Ok(value),
        Err(error) => {
            // What made it fail counts, not that it cannot be undone.
            let _ = connection.execute_batch("ROLLBACK");
            Err(error)
        }
    }
}

/// A value of SQL as JSON.
#[must_use]
pub fn json(value: &Value) -> serde_json::Value {
    match value {
        Value::Null => serde_json::Value::Null,
        Value::Boolean(value) => (*value).into(),
        Value::Int(value) => (*value).into(),
        Value::BigInt(value) => (*value).into(),
        Value::Double(value) => (*value).into(),
        Value::Text(text) => text.clone().into(),
        Value::List(items) => serde_json::Value::Array(items.iter().map(json).collect()),
        other => stockscan_engine::literal(other).into(),
    }
}

/// A text value, or NULL.
fn text(value: Option<&str>) -> Value {
    value.map_or(Value::Null, |text| Value::Text(text.to_owned()))
}

/// A moment, in UTC.
fn moment(moment: Timestamp) -> Value {
    Value::Timestamp(TimeUnit::Microsecond, moment.as_microsecond())
}

/// A statement over the attached file, with its values.
fn query(sql: impl Into<String>, values: Vec<Value>) -> Query {
    Query::with_values(sql, values)
}
