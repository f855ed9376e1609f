//! The table of jobs: work that takes longer than a request.

use serde::Deserialize;
use stockscan_engine::{Engine, Error, Query, Result, Value};
use uuid::Uuid;

use crate::{Access, SCHEMA, State, query, text};

/// Of jobs that have ended the newest so many are kept.
const KEPT: usize = 500;

/// A record as a row, with the names of [`Job`].
const RECORD: &str = "CAST(job.job_id AS VARCHAR) AS job_id, job.kind, CAST(job.request AS VARCHAR) AS request, job.status, job.progress, \
     strftime(job.created_at, '%Y-%m-%dT%H:%M:%S.%gZ') AS created_at, strftime(job.started_at, '%Y-%m-%dT%H:%M:%S.%gZ') AS started_at, \
     strftime(job.finished_at, '%Y-%m-%dT%H:%M:%S.%gZ') AS finished_at, job.error_kind, job.error";

/// How a job stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum JobStatus {
    /// It waits.
    Queued,
    /// It runs.
    Running,
    /// It has its result.
    Done,
    /// It has none, or not all of it.
    Failed,
    /// It was not wanted any more.
    Cancelled,
    /// It was not finished when the server ended.
    Interrupted,
}

impl JobStatus {
    /// All of them.
    pub const ALL: [JobStatus; 6] =
        [JobStatus::Queued, JobStatus::Running, JobStatus::Done, JobStatus::Failed, JobStatus::Cancelled, JobStatus::Interrupted];

    /// Its name.
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

    /// The one of this name.
    #[must_use]
    pub fn named(name: &str) -> Option<JobStatus> {
        JobStatus::ALL.into_iter().find(|status| status.name() == name)
    }
}

/// What is known of a job, but for its result. Times are UTC, as in `2025-01-15T09:50:00.000Z`.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Job {
    /// From [`new_job_id`].
    pub job_id: String,
    /// `backtest` or `optimize`.
    pub kind: String,
    /// What was asked for, as JSON.
    pub request: String,
    /// How it stands.
    pub status: JobStatus,
    /// How much is done, from 0 to 1.
    pub progress: f64,
    /// When it was put in line.
    pub created_at: String,
    /// When it was begun.
    pub started_at: Option<String>,
    /// When it ended.
    pub finished_at: Option<String>,
    /// A word for what went wrong.
    pub error_kind: Option<String>,
    /// What went wrong.
    pub error: Option<String>,
}

/// Which jobs are wanted.
#[derive(Debug, Clone, Default)]
pub struct JobFilter {
    /// At most so many, the newest first.
    pub limit: u32,
    /// Without so many of the newest.
    pub offset: u32,
    /// Only of this kind.
    pub kind: Option<String>,
    /// Only with this status.
    pub status: Option<JobStatus>,
}

/// A name for a job.
#[must_use]
pub fn new_job_id() -> String {
    Uuid::new_v4().to_string()
}

/// Makes the table.
pub(crate) fn prepare(engine: &Engine) -> Result<()> {
    Ok(engine.connection().execute_batch(&format!(
        "CREATE TABLE IF NOT EXISTS {SCHEMA}.jobs (job_id UUID NOT NULL, kind VARCHAR, request JSON, status VARCHAR, progress DOUBLE, \
         created_at TIMESTAMP, started_at TIMESTAMP, finished_at TIMESTAMP, error_kind VARCHAR, error VARCHAR, result JSON)"
    ))?)
}

impl State {
    /// Writes a new job down. Of those that have ended long ago the oldest are forgotten.
    ///
    /// # Errors
    /// As [`State::with`].
    pub fn insert_job(&self, engine: &Engine, job: &Job) -> Result<()> {
        let insert = query(
            format!("INSERT INTO {SCHEMA}.jobs SELECT CAST(? AS UUID), ?, ?, ?, ?, CAST(? AS TIMESTAMP), NULL, NULL, NULL, NULL, NULL"),
            vec![
                text(Some(&job.job_id)),
                text(Some(&job.kind)),
                text(Some(&job.request)),
                text(Some(job.status.name())),
                Value::Double(job.progress),
                text(Some(job.created_at.trim_end_matches('Z'))),
            ],
        );
        let forget = Query::plain(format!(
            "DELETE FROM {SCHEMA}.jobs WHERE job_id IN (SELECT job.job_id FROM {SCHEMA}.jobs AS job WHERE job.status NOT IN ('queued', 'running') \
             ORDER BY job.created_at DESC OFFSET {KEPT})"
        ));
        self.with(engine, Access::Write, || {
            engine.collect(&insert, None)?;
            engine.collect(&forget, None).map(|_| ())
        })
    }

    /// Writes down how a job stands, and what came of it.
    ///
    /// # Errors
    /// As [`State::with`].
    pub fn update_job(&self, engine: &Engine, job: &Job, result: Option<&str>) -> Result<()> {
        let time = |time: &Option<String>| text(time.as_deref().map(|time| time.trim_end_matches('Z')));
        let update = query(
            format!(
                "UPDATE {SCHEMA}.jobs SET status = ?, progress = ?, started_at = CAST(? AS TIMESTAMP), finished_at = CAST(? AS TIMESTAMP), \
                 error_kind = ?, error = ?, result = ? WHERE job_id = CAST(? AS UUID)"
            ),
            vec![
                text(Some(job.status.name())),
                Value::Double(job.progress),
                time(&job.started_at),
                time(&job.finished_at),
                text(job.error_kind.as_deref()),
                text(job.error.as_deref()),
                text(result),
                text(Some(&job.job_id)),
            ],
        );
        self.with(engine, Access::Write, || engine.collect(&update, None).map(|_| ()))
    }

    /// What is known of a job, and its result if it has one.
    ///
    /// # Errors
    /// As [`State::with`].
    pub fn job(&self, engine: &Engine, job_id: &str) -> Result<Option<(Job, Option<String>)>> {
        if !self.exists() {
            return Ok(None);
        }
        let of_this = format!("FROM {SCHEMA}.jobs AS job WHERE CAST(job.job_id AS VARCHAR) = ?");
        let id = || vec![text(Some(job_id))];
        self.with(engine, Access::Read, || {
            let found = records(engine, query(format!("SELECT {RECORD} {of_this}"), id()))?.pop();
            let Some(job) = found else { return Ok(None) };
            let result = engine.text(query(format!("SELECT CAST(job.result AS VARCHAR) {of_this}"), id()))?;
            Ok(Some((job, result)))
        })
    }

    /// Jobs, the newest first.
    ///
    /// # Errors
    /// As [`State::with`].
    pub fn jobs(&self, engine: &Engine, filter: &JobFilter) -> Result<Vec<Job>> {
        if !self.exists() {
            return Ok(Vec::new());
        }
        let (kind, status) = (text(filter.kind.as_deref()), text(filter.status.map(JobStatus::name)));
        let wanted = query(
            format!(
                "SELECT {RECORD} FROM {SCHEMA}.jobs AS job WHERE job.kind = coalesce(?, job.kind) AND job.status = coalesce(?, job.status) \
                 ORDER BY job.created_at DESC, job.job_id LIMIT {} OFFSET {}",
                filter.limit, filter.offset
            ),
            vec![kind, status],
        );
        self.with(engine, Access::Read, || records(engine, wanted))
    }

    /// Forgets a job that has ended. `false`: there is none.
    ///
    /// # Errors
    /// As [`State::with`].
    pub fn delete_job(&self, engine: &Engine, job_id: &str) -> Result<bool> {
        if !self.exists() {
            return Ok(false);
        }
        self.with(engine, Access::Write, || {
            let delete = format!("DELETE FROM {SCHEMA}.jobs AS job WHERE CAST(job.job_id AS VARCHAR) = ?");
            Ok(engine.connection().execute(&delete, [job_id])? > 0)
        })
    }

    /// Marks those that wait or run, and were put in line before that moment: their server has ended. Returns how many.
    ///
    /// # Errors
    /// As [`State::with`].
    pub fn interrupt_jobs(&self, engine: &Engine, before: &str) -> Result<usize> {
        let update = format!(
            "UPDATE {SCHEMA}.jobs SET status = 'interrupted' WHERE status IN ('queued', 'running') AND created_at < CAST(? AS TIMESTAMP)"
        );
        self.with(engine, Access::Write, || Ok(engine.connection().execute(&update, [before.trim_end_matches('Z')])?))
    }
}

/// The records that a query finds, in its order.
fn records(engine: &Engine, query: Query) -> Result<Vec<Job>> {
    let sql = format!("SELECT CAST(to_json(list(found)) AS VARCHAR) FROM ({}) AS found", query.sql);
    let found = engine.text(Query { sql, ..query })?;
    found.map_or(Ok(Vec::new()), |found| serde_json::from_str(&found).map_err(|error| Error::Database(error.to_string())))
}
