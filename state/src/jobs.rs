//! The table of jobs: what takes long, how far it is, and what came of it.

use duckdb::{Row, params_from_iter};
use jiff::Timestamp;
use stockscan_engine::{Engine, Result, Value};
use uuid::Uuid;

use crate::{Access, SCHEMA, State, moment, text};

/// The table.
pub(crate) const TABLE: &str = "jobs (job_id UUID NOT NULL, kind VARCHAR NOT NULL, request JSON NOT NULL, status VARCHAR NOT NULL, \
     progress DOUBLE NOT NULL, created_at TIMESTAMP NOT NULL, started_at TIMESTAMP, finished_at TIMESTAMP, result JSON, error_kind VARCHAR, \
     error VARCHAR)";

/// How a job stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum JobStatus {
    /// Not yet begun.
    Queued,
    /// Begun.
    Running,
    /// Ended with a result.
    Done,
    /// Ended with an error.
    Failed,
    /// Ended by who asked for it.
    Cancelled,
    /// Ended with the process that did it.
    Interrupted,
}

impl JobStatus {
    const ALL: [JobStatus; 6] =
        [JobStatus::Queued, JobStatus::Running, JobStatus::Done, JobStatus::Failed, JobStatus::Cancelled, JobStatus::Interrupted];

    /// In a word.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            JobStatus::Queued => "queued",
            JobStatus::Running => "running",
            JobStatus::Done => "done",
            JobStatus::Failed => "failed",
            JobStatus::Cancelled => "cancelled",
            JobStatus::Interrupted => "interrupted",
        }
    }

    /// What a word means.
    #[must_use]
    pub fn of(name: &str) -> Option<JobStatus> {
        JobStatus::ALL.into_iter().find(|status| status.name() == name)
    }

    /// Whether nothing more will come of it.
    #[must_use]
    pub fn has_ended(self) -> bool {
        !matches!(self, JobStatus::Queued | JobStatus::Running)
    }
}

/// A job.
#[derive(Debug, Clone, PartialEq)]
pub struct Job {
    /// From [`new_job_id`].
    pub job_id: String,
    /// `backtest` or `optimize`.
    pub kind: String,
    /// What was asked, as JSON.
    pub request: String,
    /// How it stands.
    pub status: JobStatus,
    /// How far it is, from 0 to 1.
    pub progress: f64,
    /// When it was asked for.
    pub created_at: Timestamp,
    /// When it began.
    pub started_at: Option<Timestamp>,
    /// When it ended.
    pub finished_at: Option<Timestamp>,
    /// What came of it, as JSON. Not in a list.
    pub result: Option<String>,
    /// A word for what kind of error it ended with: [`stockscan_engine::Error::kind`].
    pub error_kind: Option<String>,
    /// What the error says.
    pub error: Option<String>,
}

impl Job {
    /// One that is asked for now.
    #[must_use]
    pub fn new(job_id: impl Into<String>, kind: impl Into<String>, request: impl Into<String>) -> Job {
        Job {
            job_id: job_id.into(),
            kind: kind.into(),
            request: request.into(),
            status: JobStatus::Queued,
            progress: 0.0,
            created_at: Timestamp::now(),
            started_at: None,
            finished_at: None,
            result: None,
            error_kind: None,
            error: None,
        }
    }
}

/// What happens to a job.
#[derive(Debug, Clone, PartialEq)]
pub enum JobChange {
    /// It begins.
    Started,
    /// It is so far, from 0 to 1; never less than before.
    Progress(f64),
    /// It ends with a result, as JSON.
    Done(String),
    /// It ends with an error.
    Failed {
        /// A word for what kind of error it is.
        kind: String,
        /// What it says.
        text: String,
        /// What was done by then, as JSON.
        result: Option<String>,
    },
    /// Who asked for it does not want it any more.
    Cancelled,
}

/// Which jobs.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct JobFilter {
    /// `backtest` or `optimize`.
    pub kind: Option<String>,
    /// That stand so.
    pub status: Option<JobStatus>,
}

/// A name for a job.
#[must_use]
pub fn new_job_id() -> String {
    Uuid::new_v4().to_string()
}

impl State {
    /// Records a new job.
    ///
    /// # Errors
    /// As [`State::with`].
    pub fn insert_job(&self, engine: &Engine, job: &Job) -> Result<()> {
        let moment_or_null = |time: Option<Timestamp>| time.map_or(Value::Null, moment);
        let values = [
            text(Some(&job.job_id)),
            text(Some(&job.kind)),
            text(Some(&job.request)),
            text(Some(job.status.name())),
            Value::Double(job.progress),
            moment(job.created_at),
            moment_or_null(job.started_at),
            moment_or_null(job.finished_at),
            text(job.result.as_deref()),
            text(job.error_kind.as_deref()),
            text(job.error.as_deref()),
        ];
        let sql = format!("INSERT INTO {SCHEMA}.jobs VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)");
        self.with(engine, Access::Write, || Ok(engine.connection().execute(&sql, params_from_iter(values.iter()))?))?;
        Ok(())
    }

    /// Records what happens to a job at a moment. Returns whether it did: nothing happens to one that has ended, and none begins twice.
    ///
    /// # Errors
    /// As [`State::with`].
    pub fn update_job(&self, engine: &Engine, job_id: &str, change: &JobChange, at: Timestamp) -> Result<bool> {
        let now = moment(at);
        let (assignments, from, mut values) = match change {
            JobChange::Started => ("status = 'running', started_at = ?", "('queued')", vec![now]),
            JobChange::Progress(progress) => {
                ("progress = least(greatest(progress, ?), 1.0)", "('running')", vec![Value::Double(*progress)])
            }
            JobChange::Done(result) => {
                ("status = 'done', progress = 1.0, finished_at = ?, result = ?", UNFINISHED, vec![now, text(Some(result))])
            }
            JobChange::Failed { kind, text: error, result } => (
                "status = 'failed', finished_at = ?, error_kind = ?, error = ?, result = ?",
                UNFINISHED,
                vec![now, text(Some(kind)), text(Some(error)), text(result.as_deref())],
            ),
            JobChange::Cancelled => ("status = 'cancelled', finished_at = ?", UNFINISHED, vec![now]),
        };
        values.push(text(Some(job_id)));
        let sql = format!("UPDATE {SCHEMA}.jobs SET {assignments} WHERE job_id = TRY_CAST(? AS UUID) AND status IN {from}");
        self.with(engine, Access::Write, || Ok(engine.connection().execute(&sql, params_from_iter(values.iter()))? > 0))
    }

    /// A job with its result.
    ///
    /// # Errors
    /// As [`State::with`].
    pub fn job(&self, engine: &Engine, job_id: &str) -> Result<Option<Job>> {
        let sql = format!("{JOB}, CAST(job.result AS VARCHAR) FROM {SCHEMA}.jobs AS job WHERE job.job_id = TRY_CAST(? AS UUID)");
        let found = self.reading(engine, "jobs", || {
            let mut statement = engine.connection().prepare(&sql)?;
            Ok(statement.query_map([job_id], job)?.next().transpose()?)
        })?;
        Ok(found.flatten())
    }

    /// How many jobs there are of a kind, and some of them, the newest first, without their results.
    ///
    /// # Errors
    /// As [`State::with`].
    pub fn jobs(&self, engine: &Engine, filter: &JobFilter, limit: u32, offset: u32) -> Result<(u64, Vec<Job>)> {
        let (mut conditions, mut values) = (vec!["true"], Vec::new());
        if let Some(kind) = &filter.kind {
            conditions.push("job.kind = ?");
            values.push(text(Some(kind)));
        }
        if let Some(status) = filter.status {
            conditions.push("job.status = ?");
            values.push(text(Some(status.name())));
        }
        let condition = conditions.join(" AND ");
        let found = self.reading(engine, "jobs", || {
            let connection = engine.connection();
            let count = format!("SELECT count(*) FROM {SCHEMA}.jobs AS job WHERE {condition}");
            let total: u64 = connection.query_row(&count, params_from_iter(values.iter()), |row| row.get(0))?;
            values.extend([Value::BigInt(i64::from(limit)), Value::BigInt(i64::from(offset))]);
            let sql = format!(
                "{JOB}, CAST(NULL AS VARCHAR) FROM {SCHEMA}.jobs AS job WHERE {condition} ORDER BY job.created_at DESC, job.job_id LIMIT ? OFFSET ?"
            );
            let mut statement = connection.prepare(&sql)?;
            let jobs = statement.query_map(params_from_iter(values.iter()), job)?;
            Ok((total, jobs.collect::<duckdb::Result<_>>()?))
        })?;
        Ok(found.unwrap_or_default())
    }

    /// Forgets a job. Returns whether there was one.
    ///
    /// # Errors
    /// As [`State::with`].
    pub fn delete_job(&self, engine: &Engine, job_id: &str) -> Result<bool> {
        if !self.exists() {
            return Ok(false);
        }
        let sql = format!("DELETE FROM {SCHEMA}.jobs WHERE job_id = TRY_CAST(? AS UUID)");
        self.with(engine, Access::Write, || Ok(engine.connection().execute(&sql, [job_id])? > 0))
    }

    /// Forgets the jobs that have ended, but for so many of the newest. Returns how many.
    ///
    /// # Errors
    /// As [`State::with`].
    pub fn forget_jobs(&self, engine: &Engine, keep: u32) -> Result<usize> {
        if !self.exists() {
            return Ok(0);
        }
        let sql = format!(
            "DELETE FROM {SCHEMA}.jobs WHERE job_id IN (SELECT job.job_id FROM {SCHEMA}.jobs AS job WHERE job.status NOT IN {UNFINISHED} \
             ORDER BY job.created_at DESC, job.job_id OFFSET ?)"
        );
        self.with(engine, Access::Write, || Ok(engine.connection().execute(&sql, [keep])?))
    }

    /// Marks the jobs that ended with the process that did them: every one that has not ended, as seen by a process that begins.
    /// Returns how many.
    ///
    /// # Errors
    /// As [`State::with`].
    pub fn mark_interrupted(&self, engine: &Engine) -> Result<usize> {
        if !self.exists() {
            return Ok(0);
        }
        let sql = format!("UPDATE {SCHEMA}.jobs SET status = 'interrupted', finished_at = ? WHERE status IN {UNFINISHED}");
        let now = [moment(Timestamp::now())];
        self.with(engine, Access::Write, || Ok(engine.connection().execute(&sql, params_from_iter(now.iter()))?))
    }
}

const UNFINISHED: &str = "('queued', 'running')";

/// The columns that [`job`] reads, but for the result.
const JOB: &str = "SELECT CAST(job.job_id AS VARCHAR), job.kind, CAST(job.request AS VARCHAR), job.status, job.progress, \
     epoch_us(job.created_at), epoch_us(job.started_at), epoch_us(job.finished_at), job.error_kind, job.error";

fn job(row: &Row<'_>) -> duckdb::Result<Job> {
    let status: String = row.get(3)?;
    let time = |column: usize| -> duckdb::Result<Option<Timestamp>> {
        Ok(row.get::<_, Option<i64>>(column)?.and_then(|time| Timestamp::from_microsecond(time).ok()))
    };
    Ok(Job {
        job_id: row.get(0)?,
        kind: row.get(1)?,
        request: row.get(2)?,
        status: JobStatus::of(&status).unwrap_or(JobStatus::Interrupted),
        progress: row.get(4)?,
        created_at: time(5)?.unwrap_or(Timestamp::UNIX_EPOCH),
        started_at: time(6)?,
        finished_at: time(7)?,
        error_kind: row.get(8)?,
        error: row.get(9)?,
        result: row.get(10)?,
    })
}
