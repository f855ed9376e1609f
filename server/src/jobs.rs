//! Work that takes longer than a request: a line of it, what is known of each job, and the endpoints that tell.
//!
//! A job is in `state.duckdb` before it is acknowledged, and its result is there before it is called done. Jobs have workers of their own, so that
//! scans need not wait for them.

use std::{
    collections::{HashMap, VecDeque},
    fmt,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
        mpsc,
    },
    thread,
    time::{Duration, Instant},
};

use axum::{
    extract::State,
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::{Map, Value as JsonValue, json};
use stockscan_backtests::Test;
use stockscan_engine::{Engine, Error, InterruptHandle, ProgressHandle, Result, is_built_in};
use stockscan_state::{Job as Record, JobChange, JobFilter, JobStatus, new_job_id};
use tokio::sync::watch;
use utoipa::{IntoParams, ToSchema};

use crate::{
    app::App,
    backtest,
    body::{Path, Query},
    market::{Access, Market},
    optimize,
    options::Options,
    problem::{Answer, Problem},
    settings::Settings,
    work::Instance,
};

/// So many jobs wait at most.
const LONGEST_LINE: usize = 16;
/// So many of those that have ended are kept, with their results.
const KEPT: u32 = 200;
/// How long a job waits for a database that another process holds.
const PATIENCE: Duration = Duration::from_secs(30);
/// How long others wait for a job to be done before it gives way.
const COURTESY: Duration = Duration::from_secs(1);
/// How long it is tried to store what came of a job.
const STORING: Duration = Duration::from_secs(60);
/// Interrupting between two statements has no effect, so it is repeated.
const AGAIN: Duration = Duration::from_millis(10);
/// How long the answer to a cancellation waits for the end of the job.
const ENDING: Duration = Duration::from_secs(5);
/// When to ask again for a job that goes on, in seconds.
const ASK_AGAIN: u64 = 1;
/// When to come again when the line is full, in seconds.
const COME_AGAIN: u64 = 10;
/// How long a request waits for its job unless it says otherwise, and at most, in seconds.
const WAIT: f64 = 2.0;
const LONGEST_WAIT: f64 = 30.0;

/// What kind of work it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// `POST /backtest`.
    Backtest,
    /// `POST /optimize`.
    Optimize,
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Kind::Backtest => "backtest",
            Kind::Optimize => "optimize",
        }
    }
}

/// What came of a job.
pub(crate) struct Outcome {
    /// A document.
    pub(crate) result: String,
    /// Why it is not all that was asked for, if it is not.
    pub(crate) error: Option<Error>,
}

/// The members with which every result begins.
pub(crate) fn about(engine: &Engine, test: &Test) -> Vec<(&'static str, String)> {
    let text = |text: &str| JsonValue::from(text).to_string();
    vec![
        ("scanner_type", text(&test.scanner)),
        ("start_date", text(&test.start)),
        ("end_date", text(&test.end)),
        ("bar_minutes", test.said("bar_minutes").unwrap_or_else(|| "null".to_owned())),
        ("remarks", test.remarks.iter().map(|remark| without_paths(engine, remark)).collect::<JsonValue>().to_string()),
    ]
}

/// How far a job is, and a way to stop it.
#[derive(Debug, Default)]
pub(crate) struct Watch {
    is_cancelled: AtomicBool,
    /// Whether it is to begin again, since it keeps others waiting.
    gives_way: AtomicBool,
    running: Mutex<Option<Running>>,
    /// The furthest that was told, as the bits of a number from 0 to 1: for those the order is the same.
    reached: AtomicU64,
}

struct Running {
    interrupt: Arc<InterruptHandle>,
    progress: ProgressHandle,
    from: f64,
    to: f64,
}

impl fmt::Debug for Running {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Running").field("from", &self.from).field("to", &self.to).finish_non_exhaustive()
    }
}

impl Watch {
    fn running(&self) -> MutexGuard<'_, Option<Running>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn begin(&self, engine: &Engine) -> Result<()> {
        let connection = engine.connection();
        connection.set_query_progress_tracking(true)?;
        let progress = connection.progress_handle();
        *self.running() = Some(Running { interrupt: engine.interrupt_handle(), progress, from: 0.0, to: 0.0 });
        Ok(())
    }

    fn end(&self) {
        *self.running() = None;
    }

    /// Tells that what is done from now on is one of so many equal steps.
    ///
    /// # Errors
    /// [`Error::Interrupted`] if the job is cancelled.
    #[expect(clippy::cast_precision_loss, reason = "far fewer than 2^52")]
    pub(crate) fn step(&self, place: usize, steps: usize) -> Result<()> {
        self.share(place as f64 / steps as f64, (place + 1) as f64 / steps as f64)
    }

    /// Tells which share of the work is done from now on, both from 0 to 1.
    ///
    /// # Errors
    /// [`Error::Interrupted`] if the job is cancelled.
    pub(crate) fn share(&self, from: f64, to: f64) -> Result<()> {
        if self.is_stopped() {
            return Err(Error::Interrupted);
        }
        if let Some(running) = &mut *self.running() {
            (running.from, running.to) = (from, to);
        }
        self.reached(from);
        Ok(())
    }

    /// How much is done, from 0 to 1. It never becomes less.
    fn progress(&self) -> f64 {
        let now = self.running().as_ref().map(|running| {
            let of_step = running.progress.query_progress().percentage().unwrap_or_default().clamp(0.0, 100.0) / 100.0;
            running.from + (running.to - running.from) * of_step
        });
        self.reached(now.unwrap_or_default())
    }

    fn reached(&self, now: f64) -> f64 {
        let now = now.clamp(0.0, 1.0);
        f64::from_bits(self.reached.fetch_max(now.to_bits(), Ordering::Relaxed)).max(now)
    }

    /// Whether there is no use for what was done so far.
    pub(crate) fn is_stopped(&self) -> bool {
        self.is_cancelled() || self.gives_way.load(Ordering::SeqCst)
    }

    fn is_cancelled(&self) -> bool {
        self.is_cancelled.load(Ordering::SeqCst)
    }

    /// Stops the query that is running, and whatever would come after it.
    fn cancel(&self) {
        self.is_cancelled.store(true, Ordering::SeqCst);
        self.interrupt();
    }

    fn interrupt(&self) {
        if let Some(running) = &*self.running() {
            running.interrupt.interrupt();
        }
    }
}

/// A job that has not ended, or not long ago.
#[derive(Debug)]
struct Job {
    kind: Kind,
    request: Map<String, JsonValue>,
    watch: Watch,
    known: Mutex<Record>,
    ended: watch::Sender<bool>,
}

impl Job {
    fn known(&self) -> MutexGuard<'_, Record> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is known of it at the moment.
    fn record(&self) -> Record {
        let mut record = self.known().clone();
        if record.status == JobStatus::Running {
            record.progress = self.watch.progress();
        }
        record
    }

    fn has_ended(&self) -> bool {
        *self.ended.borrow()
    }

    /// Waits for its end. Whether it came.
    async fn ends_within(&self, time: Duration) -> bool {
        let mut ended = self.ended.subscribe();
        tokio::time::timeout(time, ended.wait_for(|ended| *ended)).await.is_ok()
    }
}

/// All jobs.
#[derive(Debug)]
pub(crate) struct Jobs {
    options: Options,
    settings: Arc<Settings>,
    market: Arc<Market>,
    state: stockscan_state::State,
    /// With which the state is read and written.
    recorder: Mutex<Recorder>,
    inner: Mutex<Inner>,
    /// When there is something to do.
    wake: Condvar,
}

#[derive(Debug)]
struct Recorder {
    engine: Engine,
    /// Whether those are marked that an earlier server did not finish.
    are_marked: bool,
}

#[derive(Debug, Default)]
struct Inner {
    waiting: VecDeque<Arc<Job>>,
    /// Places in the line of those that are being written down.
    reserved: usize,
    /// Those that have not ended, by their ids.
    live: HashMap<String, Arc<Job>>,
    is_ending: bool,
}

impl Jobs {
    /// Marks what an earlier server did not finish, and starts the workers.
    ///
    /// # Errors
    /// As [`Engine::open`].
    pub(crate) fn start(options: &Options, settings: &Arc<Settings>, market: &Arc<Market>) -> Result<Arc<Jobs>> {
        let state = stockscan_state::State::new(options.state.clone());
        let engine = Engine::open(stockscan_engine::Options { threads: Some(1), ..stockscan_engine::Options::memory() })?;
        let jobs = Arc::new(Jobs {
            market: Arc::clone(market),
            state,
            recorder: Mutex::new(Recorder { engine, are_marked: false }),
            inner: Mutex::default(),
            wake: Condvar::new(),
            options: options.clone(),
            settings: Arc::clone(settings),
        });
        if let Err(error) = jobs.written(|_, _| Ok(())) {
            tracing::warn!(%error, "which jobs an earlier server did not finish cannot be written down yet");
        }
        // Others need processors, too.
        let processors = thread::available_parallelism().map_or(1, usize::from);
        let configured = usize::try_from(options.configuration.streaming.max_concurrent_scans.0).unwrap_or(usize::MAX);
        for number in 0..configured.min(processors / 2).max(1) {
            let jobs = Arc::clone(&jobs);
            thread::Builder::new().name(format!("job-{number}")).spawn(move || jobs.work())?;
        }
        Ok(jobs)
    }

    /// How many run, and how many wait.
    pub(crate) fn load(&self) -> (usize, usize) {
        let inner = self.inner();
        (inner.live.len() - inner.waiting.len(), inner.waiting.len())
    }

    /// Stops everything, and waits until that is written down. `false`: not all of it was by the deadline.
    pub(crate) fn end(&self, deadline: Instant) -> bool {
        self.inner().is_ending = true;
        self.wake.notify_all();
        loop {
            let live: Vec<Arc<Job>> = self.inner().live.values().cloned().collect();
            // Those that wait are marked when the next server starts.
            let running: Vec<_> = live.iter().filter(|job| job.known().status == JobStatus::Running).collect();
            if running.is_empty() {
                return true;
            }
            running.iter().for_each(|job| job.watch.cancel());
            if Instant::now() >= deadline {
                return false;
            }
            thread::sleep(AGAIN);
        }
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn recorder(&self) -> MutexGuard<'_, Recorder> {
        self.recorder.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads what is written down.
    fn read<T>(&self, work: impl FnOnce(&stockscan_state::State, &Engine) -> Result<T>) -> Result<T> {
        work(&self.state, &self.recorder().engine)
    }

    /// Writes something down, once what an earlier server did not finish is marked.
    fn written<T>(&self, work: impl FnOnce(&stockscan_state::State, &Engine) -> Result<T>) -> Result<T> {
        let mut recorder = self.recorder();
        if !recorder.are_marked {
            let interrupted = self.state.mark_interrupted(&recorder.engine)?;
            if interrupted > 0 {
                tracing::warn!(interrupted, "jobs were not finished when the server ended");
            }
            recorder.are_marked = true;
        }
        work(&self.state, &recorder.engine)
    }

    /// Writes a job down and puts it in line.
    fn accept(&self, kind: Kind, request: Map<String, JsonValue>) -> Answer<Arc<Job>> {
        {
            let mut inner = self.inner();
            if inner.is_ending {
                return Err(Problem::busy("the server is shutting down", COME_AGAIN));
            }
            if inner.waiting.len() + inner.reserved >= LONGEST_LINE {
                let detail = format!("{LONGEST_LINE} jobs wait already; come again later, or cancel one");
                let problem = Problem::new(StatusCode::TOO_MANY_REQUESTS, "queue_full", detail);
                return Err(Problem { retry_after: Some(COME_AGAIN), ..problem });
            }
            inner.reserved += 1;
        }
        let record = Record::new(new_job_id(), kind.name(), JsonValue::Object(request.clone()).to_string());
        let written = self.written(|state, engine| {
            state.insert_job(engine, &record)?;
            if let Err(error) = state.forget_jobs(engine, KEPT) {
                tracing::warn!(%error, "jobs that ended long ago could not be forgotten");
            }
            Ok(())
        });
        let mut inner = self.inner();
        inner.reserved -= 1;
        written?;
        let id = record.job_id.clone();
        let job = Arc::new(Job { kind, request, watch: Watch::default(), known: Mutex::new(record), ended: watch::Sender::new(false) });
        inner.live.insert(id, Arc::clone(&job));
        inner.waiting.push_back(Arc::clone(&job));
        drop(inner);
        self.wake.notify_one();
        Ok(job)
    }

    /// Does one job after the other.
    fn work(&self) {
        while let Some(job) = self.next() {
            let outcome = catch_unwind(AssertUnwindSafe(|| self.run(&job)));
            job.watch.end();
            self.settle(&job, outcome.unwrap_or_else(|_| Err(Problem::internal("the job ended in a panic"))));
        }
    }

    /// The next one in line; `None`: there is none any more.
    fn next(&self) -> Option<Arc<Job>> {
        let mut inner = self.inner();
        loop {
            if inner.is_ending {
                return None;
            }
            if let Some(job) = inner.waiting.pop_front() {
                // Before anybody sees that it does not wait any more.
                let mut known = job.known();
                known.status = JobStatus::Running;
                known.started_at = Some(Timestamp::now());
                drop(known);
                return Some(job);
            }
            inner = self.wake.wait(inner).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn run(&self, job: &Job) -> Answer<Outcome> {
        let record = job.record();
        let started = record.started_at.unwrap_or_else(Timestamp::now);
        if let Err(error) = self.written(|state, engine| state.update_job(engine, &record.job_id, &JobChange::Started, started)) {
            tracing::warn!(job_id = record.job_id, %error, "that a job has started could not be written down");
        }
        let deadline = Instant::now() + self.options.job_timeout;
        let outcome = self.once(job, true, deadline);
        if outcome.is_err() && job.watch.gives_way.swap(false, Ordering::SeqCst) && !job.watch.is_cancelled() {
            return self.once(job, false, deadline);
        }
        outcome
    }

    /// Does a job. Whoever takes bars in would have to wait for all of it, so the first time it gives way to them, and begins again beside them:
    /// with the file open to be written, as they need it. That keeps other processes from reading it, so it is not done unless it has to be.
    fn once(&self, job: &Job, is_first: bool, deadline: Instant) -> Answer<Outcome> {
        let engine = self.enter(job, !is_first && !self.market.is_read_only())?;
        job.watch.begin(&engine)?;
        let (end, ended) = mpsc::channel::<()>();
        let options = self.settings.applied(&self.options);
        let outcome = thread::scope(|scope| {
            if is_first {
                scope.spawn(move || {
                    while ended.recv_timeout(AGAIN * 5) == Err(mpsc::RecvTimeoutError::Timeout) {
                        if self.market.is_held_up(COURTESY) {
                            job.watch.gives_way.store(true, Ordering::SeqCst);
                            job.watch.interrupt();
                        }
                    }
                });
            }
            // Dropped in a panic, too, which would wait for the other thread for ever otherwise.
            let _end = end;
            match job.kind {
                Kind::Backtest => backtest::run(&engine, &options, &job.request, &job.watch, deadline),
                Kind::Optimize => optimize::run(&engine, &options, &job.request, &job.watch, deadline),
            }
        });
        job.watch.end();
        outcome.map_err(|error| match error {
            // What is left of the time says nothing to anybody.
            Error::Timeout(_) => Problem::too_slow(self.options.job_timeout.as_secs()),
            Error::Stopped(_) => late(&error),
            other => told(other, &engine, &job.request),
        })
    }

    /// A connection to the bars. Another process that has the file is waited for, unless the job is cancelled.
    fn enter(&self, job: &Job, beside_writers: bool) -> Result<Access> {
        let started = Instant::now();
        loop {
            let soon = Instant::now() + AGAIN * 20;
            match if beside_writers { self.market.write(soon) } else { self.market.read(soon) } {
                Err(error)
                    if (error.is_passing() || matches!(error, Error::Stopped(_)))
                        && started.elapsed() < PATIENCE
                        && !job.watch.is_cancelled() => {}
                other => return other,
            }
        }
    }

    /// Writes down what came of a job, and tells those who wait for it.
    fn settle(&self, job: &Job, outcome: Answer<Outcome>) {
        let mut record = job.record();
        let change = match outcome {
            Ok(Outcome { result, error: None }) => Some(JobChange::Done(result)),
            Ok(Outcome { result, error: Some(error) }) => Some(failed(&record, &late(&error), Some(result))),
            // The next server marks it.
            Err(_) if job.watch.is_cancelled() && self.inner().is_ending => None,
            Err(_) if job.watch.is_cancelled() => Some(JobChange::Cancelled),
            Err(problem) => Some(failed(&record, &problem, None)),
        };
        let now = Timestamp::now();
        record.finished_at = Some(now);
        let change = change.map(|change| self.kept(&record, change, now));
        match change {
            None => record.status = JobStatus::Interrupted,
            Some(JobChange::Done(result)) => {
                (record.status, record.progress, record.result) = (JobStatus::Done, 1.0, Some(result));
            }
            Some(JobChange::Failed { kind, text, result }) => {
                (record.status, record.error_kind, record.error, record.result) = (JobStatus::Failed, Some(kind), Some(text), result);
            }
            Some(_) => record.status = JobStatus::Cancelled,
        }
        metrics::counter!("stockscan_jobs_total", "kind" => job.kind.name(), "status" => record.status.name()).increment(1);
        let id = record.job_id.clone();
        *job.known() = record;
        job.ended.send_replace(true);
        self.inner().live.remove(&id);
    }

    /// Writes down what came of a job. If that cannot be done it has failed: nobody is told of a result that would be gone after the next start.
    fn kept(&self, record: &Record, change: JobChange, at: Timestamp) -> JobChange {
        let started = Instant::now();
        let mut wait = AGAIN * 10;
        while let Err(error) = self.written(|state, engine| state.update_job(engine, &record.job_id, &change, at)) {
            if started.elapsed() + wait > STORING || self.inner().is_ending {
                tracing::error!(job_id = record.job_id, %error, "what came of a job could not be stored");
                return failed(record, &error.into(), None);
            }
            thread::sleep(wait);
            wait = (wait * 2).min(Duration::from_secs(5));
        }
        change
    }

    /// A job that has not ended.
    fn live(&self, id: &str) -> Option<Arc<Job>> {
        self.inner().live.get(id).cloned()
    }

    /// What is known of a job.
    fn find(&self, id: &str) -> Answer<Record> {
        if let Some(job) = self.live(id) {
            return Ok(job.record());
        }
        let found = self.read(|state, engine| state.job(engine, id))?;
        found.ok_or_else(|| no_such_job(id))
    }

    /// How many jobs there are, and the newest of them.
    fn list(&self, filter: &JobFilter, limit: u32, offset: u32) -> Answer<(u64, Vec<Record>)> {
        let (total, records) = self.read(|state, engine| state.jobs(engine, filter, limit, offset))?;
        let inner = self.inner();
        Ok((total, records.into_iter().map(|record| inner.live.get(&record.job_id).map_or(record, |job| job.record())).collect()))
    }

    /// Takes a job out of the line. `false`: it is not in it.
    fn withdraw(&self, job: &Arc<Job>) -> bool {
        let mut inner = self.inner();
        let before = inner.waiting.len();
        inner.waiting.retain(|other| !Arc::ptr_eq(other, job));
        before > inner.waiting.len()
    }
}

/// What was done by the end of the time allowed is told by the error.
fn late(error: &Error) -> Problem {
    Problem::new(StatusCode::GATEWAY_TIMEOUT, "timeout", error.to_string())
}

/// That a job failed, in words for whoever asked for it; the log gets the others.
fn failed(record: &Record, problem: &Problem, result: Option<String>) -> JobChange {
    if let Some(text) = &problem.for_the_log {
        tracing::error!(job_id = record.job_id, cause = text, "a job has failed");
    }
    let text = match problem.error {
        "internal" => format!("the server failed; its log says more under the job {}", record.job_id),
        _ => problem.detail.clone(),
    };
    JobChange::Failed { kind: problem.error.to_owned(), text, result }
}

/// What DuckDB says of a scanner of the user's own, or of a relation that has not the columns of bars, is for whoever made it.
fn told(error: Error, engine: &Engine, request: &Map<String, JsonValue>) -> Problem {
    let scanner = request.get("scanner_type").and_then(JsonValue::as_str).unwrap_or_default();
    let function = engine.scanner_function(scanner).unwrap_or_default();
    let problem = match error {
        Error::Database(text) if is_of_statement(&text) && (!is_built_in(&function) || text.contains("the source of bars does not")) => {
            let first = text.lines().next().unwrap_or_default();
            let problem = Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid", format!("{function}: {first}"));
            Problem { for_the_log: Some(text), ..problem }
        }
        other => Problem::from(other),
    };
    Problem { detail: without_paths(engine, &problem.detail), ..problem }.with_scanner(scanner)
}

/// Whether an error is the statement's own, and not one of files or of the machine.
fn is_of_statement(text: &str) -> bool {
    let kinds = ["Binder", "Catalog", "Conversion", "Out of Range", "Invalid Input", "Parser", "Invalid Type", "Mismatch Type"];
    kinds.iter().any(|kind| text.starts_with(&format!("{kind} Error")))
}

/// A text without the place of the database.
fn without_paths(engine: &Engine, text: &str) -> String {
    match engine.file() {
        Some(file) => text.replace(&file, "the database").replace(&engine.name(), "the database"),
        None => text.to_owned(),
    }
}

fn no_such_job(id: &str) -> Problem {
    Problem::not_found(format!("there is no job '{id}'; GET /api/v1/scanner/jobs lists them"))
}

/// How long to wait for a job.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct Wait {
    /// For how many seconds to wait for the job's end; without it 2.
    #[param(minimum = 0, maximum = 30)]
    wait: Option<f64>,
}

impl Wait {
    fn duration(&self) -> Answer<Duration> {
        let wait = self.wait.unwrap_or(WAIT);
        if (0.0..=LONGEST_WAIT).contains(&wait) {
            return Ok(Duration::from_secs_f64(wait));
        }
        Err(Problem::of_parameter("wait", format!("wait must be between 0 and {LONGEST_WAIT} seconds, got {wait}")))
    }
}

/// Puts a job in line, after a look at what is asked for, and waits a while for its end.
pub(crate) async fn submit(app: &Arc<App>, kind: Kind, given: Map<String, JsonValue>, wait: &Wait) -> Answer<Response> {
    let wait = wait.duration()?;
    let (inner, request) = (Arc::clone(app), given.clone());
    let checked = app.workers.run(Instance::Ours, app.allowed(), move |engine| {
        let options = inner.settings.applied(&inner.options);
        let outcome = match kind {
            Kind::Backtest => backtest::check(engine, &options, &request),
            Kind::Optimize => optimize::check(engine, &options, &request),
        };
        Ok(outcome.map_err(|error| told(error, engine, &request)))
    });
    checked.await??;
    let jobs = Arc::clone(&app.jobs);
    let job = blocking(move || jobs.accept(kind, given)).await?;
    job.ends_within(wait).await;
    Ok(document(&job.record()))
}

/// Something that waits for a file.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Answer<T> + Send + 'static) -> Answer<T> {
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|_| Err(Problem::internal("the look into the state ended in a panic")))
}

/// What is known of a job, as an answer: 202 with the address to ask again if it goes on.
fn document(record: &Record) -> Response {
    let goes_on = !record.status.has_ended();
    let mut text = head(record).to_string();
    if let Some(result) = &record.result {
        text.truncate(text.len() - 1);
        text.push_str(",\"result\":");
        text.push_str(result);
        text.push('}');
    }
    let status = if goes_on { StatusCode::ACCEPTED } else { StatusCode::OK };
    let mut response = (status, [(header::CONTENT_TYPE, "application/json")], text).into_response();
    if goes_on {
        if let Ok(address) = HeaderValue::from_str(&format!("/api/v1/scanner/jobs/{}", record.job_id)) {
            response.headers_mut().insert(header::LOCATION, address);
        }
        response.headers_mut().insert(header::RETRY_AFTER, ASK_AGAIN.into());
    }
    response
}

/// What is known of a job but for its result.
fn head(record: &Record) -> JsonValue {
    let time = |time: &Timestamp| format!("{time:.3}");
    let mut document = json!({
        "job_id": record.job_id,
        "kind": record.kind,
        "status": record.status.name(),
        "progress": record.progress,
        "created_at": time(&record.created_at),
        "started_at": record.started_at.as_ref().map(time),
        "finished_at": record.finished_at.as_ref().map(time),
        "request": serde_json::from_str::<JsonValue>(&record.request).unwrap_or_default(),
    });
    if let Some(detail) = &record.error {
        document["error"] = json!({"error": record.error_kind, "detail": detail});
    }
    document
}

/// A job.
#[derive(Debug, ToSchema)]
#[expect(dead_code, reason = "says the shape of a document that is written as text")]
pub(crate) struct JobDocument {
    /// Its name.
    #[schema(format = Uuid)]
    job_id: String,
    /// `backtest` or `optimize`.
    #[schema(example = "backtest")]
    kind: String,
    /// `queued`, `running`, `done`, `failed`, `cancelled`, or `interrupted` by an end of the server.
    #[schema(example = "running")]
    status: String,
    /// How much is done, from 0 to 1.
    #[schema(minimum = 0, maximum = 1)]
    progress: f64,
    /// When it was put in line, by the server's clock, in UTC.
    #[schema(format = DateTime)]
    created_at: String,
    /// When it was begun.
    #[schema(format = DateTime)]
    started_at: Option<String>,
    /// When it ended.
    #[schema(format = DateTime)]
    finished_at: Option<String>,
    /// What was asked for.
    #[schema(value_type = Object)]
    request: JsonValue,
    /// What came of it, if it is done.
    #[schema(value_type = Object, required = false)]
    result: JsonValue,
    /// Why it failed, if it did.
    #[schema(value_type = JobError, required = false)]
    error: JsonValue,
}

/// Why a job failed.
#[derive(Debug, ToSchema)]
#[expect(dead_code, reason = "says the shape of a document that is written as text")]
pub(crate) struct JobError {
    /// A word to tell problems apart by.
    #[schema(example = "timeout")]
    error: String,
    /// What went wrong, and what to do.
    detail: String,
}

/// Which jobs are listed.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct Which {
    /// At most so many, the newest first; without it 50.
    #[param(minimum = 1, maximum = 1000)]
    limit: Option<u32>,
    /// Without so many of the newest.
    #[param(minimum = 0, maximum = 1_000_000_000)]
    offset: Option<u32>,
    /// Only those of this kind: `backtest` or `optimize`.
    #[param(pattern = "^(backtest|optimize)$")]
    kind: Option<String>,
    /// Only those with this status: `queued`, `running`, `done`, `failed`, `cancelled` or `interrupted`.
    #[param(pattern = "^(queued|running|done|failed|cancelled|interrupted)$")]
    status: Option<String>,
}

/// Jobs.
#[derive(Debug, ToSchema)]
#[expect(dead_code, reason = "says the shape of a document that is written as text")]
pub(crate) struct JobList {
    /// The newest first, without their results.
    jobs: Vec<JobDocument>,
    /// How many there are of those that were asked for, listed or not.
    total: u64,
    /// How many run at the moment.
    running: usize,
    /// How many wait.
    queued: usize,
}

/// List the jobs
///
/// Those that wait or run, and the newest 200 of those that have ended.
#[utoipa::path(get, path = "/jobs", tag = "jobs", params(Which),
    responses(
        (status = 200, description = "The newest first, without their results", body = JobList),
    ))]
pub(crate) async fn list(State(app): State<Arc<App>>, Query(which): Query<Which>) -> Answer<Response> {
    let limit = which.limit.unwrap_or(50);
    if !(1..=1000).contains(&limit) {
        return Err(Problem::of_parameter("limit", format!("limit must be between 1 and 1000, got {limit}")));
    }
    if let Some(offset) = which.offset.filter(|offset| *offset > 1_000_000_000) {
        return Err(Problem::of_parameter("offset", format!("offset must be between 0 and 1000000000, got {offset}")));
    }
    let known = [Kind::Backtest, Kind::Optimize].map(Kind::name);
    if let Some(kind) = which.kind.as_deref().filter(|kind| !known.contains(kind)) {
        return Err(Problem::of_parameter("kind", format!("kind must be one of {}, got '{kind}'", known.join(", "))));
    }
    let status = match which.status.as_deref() {
        None => None,
        Some(given) => Some(JobStatus::of(given).ok_or_else(|| {
            let known = "queued, running, done, failed, cancelled, interrupted";
            Problem::of_parameter("status", format!("status must be one of {known}, got '{given}'"))
        })?),
    };
    let (filter, offset) = (JobFilter { kind: which.kind, status }, which.offset.unwrap_or_default());
    let jobs = Arc::clone(&app.jobs);
    let (total, records) = blocking(move || jobs.list(&filter, limit, offset)).await?;
    let (running, queued) = app.jobs.load();
    let documents: Vec<JsonValue> = records.iter().map(head).collect();
    Ok(axum::Json(json!({"jobs": documents, "total": total, "running": running, "queued": queued})).into_response())
}

/// Look at a job
#[utoipa::path(get, path = "/jobs/{job_id}", tag = "jobs", params(("job_id" = String, Path, format = Uuid, description = "The job"), Wait),
    responses(
        (status = 200, description = "It has ended", body = JobDocument),
        (status = 202, description = "It goes on: ask again", body = JobDocument),
    ))]
pub(crate) async fn get(State(app): State<Arc<App>>, Path(id): Path<String>, Query(wait): Query<Wait>) -> Answer<Response> {
    let wait = wait.wait.map_or(Ok(Duration::ZERO), |_| wait.duration())?;
    if let Some(job) = app.jobs.live(&id) {
        job.ends_within(wait).await;
        return Ok(document(&job.record()));
    }
    let jobs = Arc::clone(&app.jobs);
    Ok(document(&blocking(move || jobs.find(&id)).await?))
}

/// The result of a job
#[utoipa::path(get, path = "/jobs/{job_id}/result", tag = "jobs", params(("job_id" = String, Path, format = Uuid, description = "The job")),
    responses(
        (status = 200, description = "What came of it", body = Object),
        (status = 409, description = "It has no result", body = Problem, content_type = "application/problem+json"),
    ))]
pub(crate) async fn result(State(app): State<Arc<App>>, Path(id): Path<String>) -> Answer<Response> {
    let jobs = Arc::clone(&app.jobs);
    let record = blocking(move || jobs.find(&id)).await?;
    match record.result {
        Some(result) => Ok(([(header::CONTENT_TYPE, "application/json")], result).into_response()),
        None => {
            let detail = format!("the job has no result: it is {}", record.status.name());
            Err(Problem::new(StatusCode::CONFLICT, "no_result", detail))
        }
    }
}

/// Cancel or forget a job
///
/// One that waits or runs is cancelled; one that has ended is forgotten, with its result.
#[utoipa::path(delete, path = "/jobs/{job_id}", tag = "jobs", params(("job_id" = String, Path, format = Uuid, description = "The job")),
    responses(
        (status = 200, description = "It is cancelled", body = JobDocument),
        (status = 202, description = "It is about to end", body = JobDocument),
        (status = 204, description = "It had ended, and is forgotten"),
    ))]
pub(crate) async fn delete(State(app): State<Arc<App>>, Path(id): Path<String>) -> Answer<Response> {
    let Some(job) = app.jobs.live(&id) else {
        let jobs = Arc::clone(&app.jobs);
        let (forgotten, id) = blocking(move || Ok((jobs.written(|state, engine| state.delete_job(engine, &id))?, id))).await?;
        return if forgotten { Ok(StatusCode::NO_CONTENT.into_response()) } else { Err(no_such_job(&id)) };
    };
    job.watch.cancel();
    if app.jobs.withdraw(&job) {
        let (jobs, job) = (Arc::clone(&app.jobs), Arc::clone(&job));
        blocking(move || {
            jobs.settle(&job, Err(Problem::busy("cancelled", 1)));
            Ok(())
        })
        .await?;
    } else {
        // Goes on when whoever asked for it has left.
        let job = Arc::clone(&job);
        tokio::spawn(async move {
            while !job.has_ended() {
                job.watch.cancel();
                tokio::time::sleep(AGAIN).await;
            }
        });
    }
    job.ends_within(ENDING).await;
    Ok(document(&job.record()))
}
