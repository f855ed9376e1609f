//! Bars that are sent: each body is read by itself, then one writer stores what waits with one commit, and each sender is told what became of
//! its own. What is told as added is on the disk.
//!
//! Bodies are kept in files until they are read, so memory does not grow with them.

mod arrow;
mod json;
mod parameters;

use std::{
    collections::VecDeque,
    fs::File,
    io::{self, Write},
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
    sync::{
        Arc, Condvar, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
        mpsc::{self, Receiver, Sender},
    },
    thread,
    time::{Duration, Instant},
};

use ::axum::{
    Json,
    body::Body,
    extract::State,
    http::{HeaderMap, StatusCode, header},
};
use serde::Serialize;
use stockscan_engine::{Engine, Error, Format, IngestReport, Layout, Staged};
use tempfile::TempDir;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};
use tokio_stream::StreamExt;
use tower_http::timeout::TimeoutError;
use utoipa::ToSchema;

use crate::{
    app::App,
    body::Query,
    market::Market,
    problem::{Answer, Problem},
};

/// So many requests are read or wait at a time.
const SLOTS: usize = 64;
/// The rows of a body.
const MOST_ROWS: u64 = 2_000_000;
/// So many bodies are read together,
const TOGETHER: usize = 32;
/// if none has more bytes.
const SMALL: usize = 64 << 10;
/// The bars of a batch are no more once there are so many.
const BATCH: u64 = 200_000;
/// Bodies are not read while so many bars wait.
const MOST_WAITING: u64 = 2_000_000;
/// How much of a body is kept in memory before it goes to its file.
const CHUNK: usize = 1 << 20;
/// Work that is still going on so long after its deadline is stuck.
const STUCK: Duration = Duration::from_secs(15);

/// Takes bars in.
#[derive(Debug)]
pub(crate) struct Ingest {
    slots: Arc<Semaphore>,
    line: Arc<Line>,
    /// Where bodies are kept; gone with this.
    folder: TempDir,
    next: AtomicU64,
    /// The deadline of what the writer is at.
    writing: Arc<Mutex<Option<Instant>>>,
}

impl Drop for Ingest {
    fn drop(&mut self) {
        self.line.close();
    }
}

/// Bodies that wait to be read.
#[derive(Debug, Default)]
struct Line {
    inner: Mutex<(VecDeque<Request>, bool)>,
    changed: Condvar,
}

impl Line {
    fn push(&self, request: Request) {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner).0.push_back(request);
        self.changed.notify_one();
    }

    fn close(&self) {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner).1 = true;
        self.changed.notify_all();
    }

    /// The next body, and those behind it that can be read together with it. `None`: there will be no more.
    fn next(&self) -> Option<Vec<Request>> {
        let inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        let mut inner =
            self.changed.wait_while(inner, |(bodies, is_closed)| bodies.is_empty() && !*is_closed).unwrap_or_else(PoisonError::into_inner);
        let first = inner.0.pop_front()?;
        let mut others = Vec::new();
        if first.is_small() {
            let mut rest = VecDeque::new();
            while let Some(request) = inner.0.pop_front() {
                if others.len() + 1 < TOGETHER && request.goes_with(&first) {
                    others.push(request);
                } else {
                    rest.push_back(request);
                }
            }
            inner.0 = rest;
        }
        others.insert(0, first);
        Some(others)
    }
}

/// A body to be read.
#[derive(Debug)]
struct Request {
    body: Spooled,
    format: BodyFormat,
    layout: Layout,
    sender: Waiting,
}

impl Request {
    fn is_small(&self) -> bool {
        matches!(self.format, BodyFormat::Csv | BodyFormat::Lines) && !self.body.is_in_file && self.body.rest.len() <= SMALL
    }

    fn goes_with(&self, other: &Request) -> bool {
        self.is_small()
            && self.format == other.format
            && self.layout == other.layout
            && (self.format != BodyFormat::Csv || self.body.header().0 == other.body.header().0)
    }
}

/// Who waits for an answer.
#[derive(Debug)]
struct Waiting {
    answer: oneshot::Sender<Answer<IngestReport>>,
    deadline: Instant,
    _slot: OwnedSemaphorePermit,
}

impl Waiting {
    fn is_over(&self) -> bool {
        self.answer.is_closed() || Instant::now() >= self.deadline
    }

    fn tell(self, outcome: Answer<IngestReport>) {
        // Whoever asked may have left.
        let _ = self.answer.send(outcome);
    }
}

/// A body as it came.
#[derive(Debug)]
struct Spooled {
    path: tempfile::TempPath,
    /// What is not in the file yet.
    rest: Vec<u8>,
    is_in_file: bool,
}

/// What a body is written in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum BodyFormat {
    Csv,
    /// An object in each line.
    Lines,
    Json,
    Parquet,
    Arrow,
}

impl BodyFormat {
    fn of(headers: &HeaderMap) -> Answer<BodyFormat> {
        let unsupported = |detail: String| Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported_media_type", detail);
        if let Some(encoding) = headers.get(header::CONTENT_ENCODING)
            && encoding != "identity"
        {
            return Err(unsupported("a compressed body is not read; send it as it is".to_owned()));
        }
        let given = headers.get(header::CONTENT_TYPE).map(|given| String::from_utf8_lossy(given.as_bytes()).to_lowercase());
        let given = given.as_deref().and_then(|given| given.split(';').next()).unwrap_or_default().trim();
        match given {
            "application/x-ndjson" | "application/ndjson" | "application/jsonl" => Ok(BodyFormat::Lines),
            "application/json" => Ok(BodyFormat::Json),
            "text/csv" => Ok(BodyFormat::Csv),
            "application/vnd.apache.arrow.stream" => Ok(BodyFormat::Arrow),
            "application/vnd.apache.parquet" => Ok(BodyFormat::Parquet),
            other => Err(unsupported(format!(
                "Content-Type {}; expected application/x-ndjson, application/json, text/csv, application/vnd.apache.arrow.stream or \
                 application/vnd.apache.parquet",
                if other.is_empty() { "is missing".to_owned() } else { format!("is {}", other.escape_default()) }
            ))),
        }
    }
}

impl Ingest {
    /// Starts the threads that read and write.
    ///
    /// # Errors
    /// What the system or DuckDB says.
    pub(crate) fn new(market: &Arc<Market>) -> stockscan_engine::Result<Ingest> {
        let line = Arc::new(Line::default());
        let (read, to_write) = mpsc::channel();
        let room = Arc::new(Room::default());
        let writing = Arc::new(Mutex::new(None));
        let readers = thread::available_parallelism().map_or(2, usize::from).clamp(2, 4);
        for number in 0..readers {
            let engine = market.beside()?;
            let reader =
                BodyReader { engine, market: Arc::clone(market), line: Arc::clone(&line), read: read.clone(), room: Arc::clone(&room) };
            thread::Builder::new().name(format!("ingest-read-{number}")).spawn(move || reader.run())?;
        }
        let (writer_market, writer_writing) = (Arc::clone(market), Arc::clone(&writing));
        let engine = market.beside()?;
        thread::Builder::new()
            .name("ingest-write".to_owned())
            .spawn(move || Writer { market: writer_market, engine, room, writing: writer_writing }.run(&to_write))?;
        let folder = tempfile::Builder::new().prefix("scanner-bodies-").tempdir()?;
        Ok(Ingest { slots: Arc::new(Semaphore::new(SLOTS)), line, folder, next: AtomicU64::new(0), writing })
    }

    /// How many requests are read or wait.
    pub(crate) fn waiting(&self) -> usize {
        SLOTS - self.slots.available_permits()
    }

    /// Whether a batch has not been stored long after it should have.
    pub(crate) fn is_stuck(&self) -> bool {
        self.writing.lock().unwrap_or_else(PoisonError::into_inner).is_some_and(|deadline| deadline.elapsed() > STUCK)
    }

    async fn spool(&self, body: Body, said_length: Option<u64>, most: usize) -> Answer<Spooled> {
        let name = format!("body-{}", self.next.fetch_add(1, Ordering::Relaxed));
        let mut spooled = Spooled {
            path: tempfile::TempPath::try_from_path(self.folder.path().join(name)).map_err(Error::from)?,
            rest: Vec::new(),
            is_in_file: false,
        };
        let too_large = || {
            Problem::new(
                StatusCode::PAYLOAD_TOO_LARGE,
                "too_large",
                format!("the body has more than {most} bytes; send the bars in several parts"),
            )
        };
        if said_length.is_some_and(|length| length > most as u64) {
            return Err(too_large());
        }
        let mut chunks = body.into_data_stream();
        let mut length = 0;
        while let Some(data) = chunks.next().await {
            let data = data.map_err(|error| match is_timeout(&error) {
                true => slow_body(),
                false => Problem::invalid("the body did not arrive whole"),
            })?;
            length += data.len();
            if length > most {
                return Err(too_large());
            }
            spooled.rest.extend_from_slice(&data);
            if spooled.rest.len() >= CHUNK {
                spooled = tokio::task::spawn_blocking(move || spooled.flushed())
                    .await
                    .map_err(|error| Problem::internal(error.to_string()))?
                    .map_err(Error::from)?;
            }
        }
        if length == 0 {
            return Err(Problem::invalid("the body is empty; expected bars"));
        }
        Ok(spooled)
    }
}

fn slow_body() -> Problem {
    Problem::new(StatusCode::REQUEST_TIMEOUT, "timeout", "the body did not arrive in time")
}

/// Whether a body was given up because it came too slowly.
fn is_timeout(error: &::axum::Error) -> bool {
    let first: &(dyn std::error::Error + 'static) = error;
    std::iter::successors(Some(first), |error| error.source()).any(|error| error.is::<TimeoutError>())
}

impl Spooled {
    /// With all of it in the file.
    fn flushed(mut self) -> io::Result<Spooled> {
        let mut file = File::options().create(true).append(true).open(&self.path)?;
        file.write_all(&self.rest)?;
        self.rest = Vec::new();
        self.is_in_file = true;
        Ok(self)
    }

    /// The first line, and the rest.
    fn header(&self) -> (&[u8], &[u8]) {
        let end = self.rest.iter().position(|byte| *byte == b'\n').map_or(self.rest.len(), |end| end + 1);
        self.rest.split_at(end)
    }

    /// What is a JSON array without anything in it, or no array but nothing either.
    fn is_empty_array(&self) -> bool {
        !self.is_in_file && self.rest.iter().filter(|byte| !byte.is_ascii_whitespace()).eq(b"[]")
    }
}

/// How many bars wait to be stored.
#[derive(Debug, Default)]
struct Room {
    bars: Mutex<u64>,
    changed: Condvar,
}

impl Room {
    fn wait(&self) {
        let bars = self.bars.lock().unwrap_or_else(PoisonError::into_inner);
        drop(self.changed.wait_while(bars, |bars| *bars >= MOST_WAITING));
    }

    fn take(&self, bars: u64) {
        *self.bars.lock().unwrap_or_else(PoisonError::into_inner) += bars;
    }

    fn give(&self, bars: u64) {
        *self.bars.lock().unwrap_or_else(PoisonError::into_inner) -= bars;
        self.changed.notify_all();
    }
}

/// Reads bodies.
struct BodyReader {
    engine: Engine,
    market: Arc<Market>,
    line: Arc<Line>,
    read: Sender<(Staged, Waiting)>,
    room: Arc<Room>,
}

impl BodyReader {
    fn run(mut self) {
        loop {
            self.room.wait();
            let Some(mut requests) = self.line.next() else { return };
            requests.retain(|request| !request.sender.is_over());
            if requests.len() > 1 {
                requests = self.read_together(requests);
            }
            for request in requests {
                self.read_alone(request);
            }
        }
    }

    /// Reads bodies that look alike in the time for one. Returns those that are to be read by themselves.
    fn read_together(&mut self, requests: Vec<Request>) -> Vec<Request> {
        let Some(deadline) = requests.iter().map(|request| request.sender.deadline).min() else { return requests };
        let left = deadline.saturating_duration_since(Instant::now());
        let outcome = catch_unwind(AssertUnwindSafe(|| self.engine.within(Some(left), || stage_together(&self.engine, &requests))));
        let staged = match outcome {
            Ok(Ok(staged)) => staged,
            // Whatever is wrong is found again, and said to whom it concerns.
            Ok(Err(_)) => return requests,
            Err(_) => {
                self.reconnect();
                return requests;
            }
        };
        let mut alone = Vec::new();
        for (request, staged) in requests.into_iter().zip(staged) {
            match staged {
                Some(staged) => self.pass_on(staged, request.sender),
                None => alone.push(request),
            }
        }
        alone
    }

    fn read_alone(&mut self, request: Request) {
        let Request { body, format, layout, sender } = request;
        if sender.is_over() {
            return;
        }
        let left = sender.deadline.saturating_duration_since(Instant::now());
        let outcome = catch_unwind(AssertUnwindSafe(|| self.engine.within(Some(left), || stage(&self.engine, body, format, &layout))));
        match outcome {
            Ok(Ok(staged)) => self.pass_on(staged, sender),
            Ok(Err(error)) => sender.tell(Err(parameters::problem(error))),
            Err(_) => {
                // Those who wrote the readers of binary formats did not think of everything that can be wrong with a body.
                sender.tell(Err(match format {
                    BodyFormat::Arrow | BodyFormat::Parquet => {
                        Problem::invalid("the body is damaged: it cannot be read as what its Content-Type says")
                    }
                    BodyFormat::Csv | BodyFormat::Lines | BodyFormat::Json => Problem::internal("a body could not be read: a panic"),
                }));
                self.reconnect();
            }
        }
    }

    fn pass_on(&self, staged: Staged, sender: Waiting) {
        self.room.take(staged.bars());
        // There is a writer as long as there are readers.
        let _ = self.read.send((staged, sender));
    }

    /// After a panic nobody knows what state the connection is in.
    fn reconnect(&mut self) {
        match self.market.beside() {
            Ok(another) => self.engine = another,
            Err(error) => tracing::error!(%error, "there is no other connection to read bodies with"),
        }
    }
}

/// Reads bodies of lines that look alike, as one.
fn stage_together(engine: &Engine, requests: &[Request]) -> stockscan_engine::Result<Vec<Option<Staged>>> {
    let Some(first) = requests.first() else { return Ok(Vec::new()) };
    let has_header = first.format == BodyFormat::Csv;
    let mut text = if has_header { first.body.header().0.to_vec() } else { Vec::new() };
    let mut rows = Vec::new();
    for request in requests {
        let lines = if has_header { request.body.header().1 } else { &request.body.rest };
        text.extend_from_slice(lines);
        if !lines.ends_with(b"\n") {
            text.push(b'\n');
        }
        rows.push(lines.split(|byte| *byte == b'\n').filter(|line| !line.trim_ascii().is_empty()).count() as u64);
    }
    let mut path = PathBuf::from(&first.body.path);
    path.set_extension("lines");
    let path = tempfile::TempPath::try_from_path(path)?;
    std::fs::write(&path, text)?;
    engine.stage_together(&path, if has_header { Format::Csv } else { Format::Lines }, &first.layout, &rows)
}

/// Reads a body.
fn stage(engine: &Engine, body: Spooled, format: BodyFormat, layout: &Layout) -> stockscan_engine::Result<Staged> {
    let body = if body.rest.is_empty() { body } else { body.flushed()? };
    let path: &Path = &body.path;
    match format {
        BodyFormat::Csv => engine.stage(path, Format::Csv, layout, MOST_ROWS),
        BodyFormat::Parquet => engine.stage(path, Format::Parquet, layout, MOST_ROWS),
        BodyFormat::Arrow => {
            let parquet = arrow::to_parquet(path, MOST_ROWS)?;
            engine.stage(&parquet, Format::Parquet, layout, MOST_ROWS)
        }
        BodyFormat::Lines => engine.stage(path, Format::Lines, layout, MOST_ROWS).map_err(|error| with_place(error, path, true)),
        BodyFormat::Json => engine.stage(path, Format::Json, layout, MOST_ROWS).map_err(|error| with_place(error, path, false)),
    }
}

/// With the line, about which DuckDB may be wrong.
fn with_place(error: Error, body: &Path, is_lines: bool) -> Error {
    match error {
        Error::Invalid(text) => Error::Invalid(json::mistake(body, is_lines).unwrap_or(text)),
        other => other,
    }
}

/// Stores what was read.
struct Writer {
    market: Arc<Market>,
    /// To forget what need not be stored any more.
    engine: Engine,
    room: Arc<Room>,
    writing: Arc<Mutex<Option<Instant>>>,
}

impl Writer {
    fn run(self, to_write: &Receiver<(Staged, Waiting)>) {
        let mut batch: Vec<(Staged, Waiting)> = Vec::new();
        loop {
            if batch.is_empty() {
                let Ok(first) = to_write.recv() else { return };
                batch.push(first);
            }
            let mut bars: u64 = batch.iter().map(|(staged, _)| staged.bars()).sum();
            while bars < BATCH
                && let Ok(next) = to_write.try_recv()
            {
                bars += next.0.bars();
                batch.push(next);
            }
            let (over, current): (Vec<_>, Vec<_>) = batch.into_iter().partition(|(_, sender)| sender.is_over());
            self.forget(over);
            // What it leaves is for another try.
            batch = self.write(current);
        }
    }

    /// Stores a batch. Returns what could not be stored for now and has time left.
    fn write(&self, batch: Vec<(Staged, Waiting)>) -> Vec<(Staged, Waiting)> {
        let Some(deadline) = batch.iter().map(|(_, sender)| sender.deadline).min() else { return batch };
        *self.writing.lock().unwrap_or_else(PoisonError::into_inner) = Some(deadline);
        let bars: u64 = batch.iter().map(|(staged, _)| staged.bars()).sum();
        let engine = catch_unwind(AssertUnwindSafe(|| self.market.write(deadline)));
        let left = match engine {
            Ok(Ok(engine)) => {
                let (staged, senders): (Vec<_>, Vec<_>) = batch.into_iter().unzip();
                let outcome = catch_unwind(AssertUnwindSafe(|| engine.store_staged(staged)))
                    .unwrap_or_else(|_| Err(Error::Database("INTERNAL Error: bars could not be stored: a panic".to_owned())));
                drop(engine);
                self.room.give(bars);
                match outcome {
                    Ok(reports) => senders.into_iter().zip(reports).for_each(|(sender, report)| sender.tell(Ok(report))),
                    Err(error) => {
                        let problem = self.problem(error);
                        senders.into_iter().for_each(|sender| sender.tell(Err(problem.clone())));
                    }
                }
                Vec::new()
            }
            Ok(Err(error)) => {
                let is_passing = error.is_passing();
                let (over, left): (Vec<_>, Vec<_>) = batch.into_iter().partition(|(_, sender)| !is_passing || sender.deadline <= deadline);
                let problem = self.problem(error);
                let (staged, senders): (Vec<_>, Vec<_>) = over.into_iter().unzip();
                self.discard(staged);
                senders.into_iter().for_each(|sender| sender.tell(Err(problem.clone())));
                left
            }
            Err(_) => {
                let (staged, senders): (Vec<_>, Vec<_>) = batch.into_iter().unzip();
                self.discard(staged);
                senders.into_iter().for_each(|sender| sender.tell(Err(Problem::internal("the database could not be had: a panic"))));
                Vec::new()
            }
        };
        *self.writing.lock().unwrap_or_else(PoisonError::into_inner) = None;
        left
    }

    fn problem(&self, error: Error) -> Problem {
        let file = self.market.file().map(|file| file.display().to_string());
        match (error, file) {
            // Where it is, is nobody's business.
            (Error::Invalid(text), Some(file)) => parameters::problem(Error::Invalid(text.replace(&file, "the database"))),
            (error, _) => parameters::problem(error),
        }
    }

    /// Whoever sent these is gone, or has been told that the time is up.
    fn forget(&self, batch: Vec<(Staged, Waiting)>) {
        let (staged, _): (Vec<_>, Vec<_>) = batch.into_iter().unzip();
        self.discard(staged);
    }

    fn discard(&self, batch: Vec<Staged>) {
        let bars = batch.iter().map(Staged::bars).sum();
        if let Err(error) = self.engine.discard_staged(batch) {
            tracing::error!(%error, "bars that need not be stored any more still wait");
        }
        self.room.give(bars);
    }
}

/// A bar as it is sent, with the usual names of its columns.
#[derive(Debug, ToSchema)]
#[expect(dead_code, reason = "for the description; DuckDB reads the bodies")]
pub(crate) struct Bar {
    /// The stock.
    #[schema(example = "INFY")]
    symbol: String,
    /// Start of the bar by the exchange's clock.
    #[schema(example = "2025-01-15 09:49:00")]
    ts: String,
    open: f64,
    high: f64,
    low: f64,
    close: f64,
    /// Traded shares.
    volume: u64,
}

/// What a time marks.
#[derive(Debug, ToSchema)]
#[schema(rename_all = "lowercase")]
#[expect(dead_code, reason = "for the description; the query is read by hand, because names are there more than once")]
pub(crate) enum Label {
    /// The start of the bar.
    Start,
    /// Its end.
    End,
}

/// What became of bars that were sent.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Taken {
    /// Rows of the body.
    received: u64,
    /// Bars that were added.
    added: u64,
    /// Bars that were there already, with the same values.
    unchanged: u64,
    /// Bars that were there already with other values; the stored ones stay.
    conflicting: u64,
    /// Rows that repeat another row of the body.
    repeated: u64,
    /// Rows that are no bars, by reason.
    rejected: Vec<Refused>,
    /// Start of the newest bar of the body, by the exchange's clock.
    #[schema(example = "2025-01-15 09:49:00")]
    newest: Option<String>,
}

/// Rows that are no bars.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Refused {
    /// What is wrong with them.
    #[schema(example = "high below low")]
    reason: String,
    /// How many.
    rows: u64,
    /// The first of them.
    #[schema(example = "row 3: INFY, 2025-01-15 09:49:00, 10.0, 9.0, 11.0, 10.0, 5000.0")]
    example: String,
}

impl From<IngestReport> for Taken {
    fn from(report: IngestReport) -> Taken {
        let rejected = report.rejected.into_iter();
        Taken {
            received: report.rows_read,
            added: report.added,
            unchanged: report.unchanged,
            conflicting: report.conflicting,
            repeated: report.repeated,
            rejected: rejected
                .map(|rows| Refused { reason: rows.reason, rows: rows.rows, example: rows.example.trim().to_owned() })
                .collect(),
            newest: report.newest,
        }
    }
}

/// Take bars in
///
/// The body is read by its `Content-Type`. (symbol, ts) stays unique: a bar that is there already is left as it is, so what was sent can be sent
/// again. The answer counts what became of the rows, and what it counts as added is on the disk.
///
/// Columns are found by the usual names; `map` and the others say otherwise, as the options of `scanner ingest` do.
#[utoipa::path(
    post, path = "/ingest/bars", tag = "market",
    params(
        ("map" = Option<Vec<String>>, Query, description = "The body's column for a column of the bars; two joined by + are a date and a time. Repeatable.", example = json!(["ts:timestamp"])),
        ("symbol" = Option<String>, Query, description = "The symbol of bars that hold only one and do not say which.", min_length = 1),
        ("timezone" = Option<String>, Query, description = "IANA time zone of the exchange's clock, for times that carry a zone or count from 1970.", example = "Asia/Kolkata"),
        ("file_timezone" = Option<String>, Query, description = "IANA time zone in which times without a zone are written; left out: the exchange's clock. Needs timezone."),
        ("timestamp_format" = Option<String>, Query, description = "strptime format of times that are not recognised.", example = "%d/%m/%Y %H:%M"),
        ("label" = Option<Label>, Query, description = "What a time marks; left out: the start of the bar."),
        ("bar_minutes" = Option<u32>, Query, minimum = 1, maximum = 1440, description = "Length of a bar, to find the start of one by its end; left out: the server's."),
    ),
    request_body(
        description = "Bars: an object in each line, an array of them, CSV with a header, an Arrow stream or a Parquet file.",
        content(
            (Vec<Bar> = "application/json"),
            (String = "application/x-ndjson"),
            (String = "text/csv"),
            (Vec<u8> = "application/vnd.apache.arrow.stream"),
            (Vec<u8> = "application/vnd.apache.parquet"),
        )
    ),
    responses(
        (status = 200, description = "What became of the rows.", body = Taken),
        (status = 429, description = "Too many requests with bars wait already; Retry-After says when to send these again.", body = Problem, content_type = "application/problem+json"),
        (status = 503, description = "The database is in use for all of the time allowed.", body = Problem, content_type = "application/problem+json"),
        (status = 507, description = "The disk is full; nothing was stored.", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(crate) async fn ingest_bars(
    State(app): State<Arc<App>>,
    Query(given): Query<Vec<(String, String)>>,
    headers: HeaderMap,
    body: Body,
) -> Answer<Json<Taken>> {
    if app.market.is_read_only() {
        return Err(Problem::new(StatusCode::FORBIDDEN, "read_only", "this server only reads its database; it takes no bars in"));
    }
    let format = BodyFormat::of(&headers)?;
    let layout = parameters::layout(&given, app.options.bar_minutes)?;
    let deadline = Instant::now() + app.allowed();
    let slot = Arc::clone(&app.ingest.slots).try_acquire_owned().map_err(|_| Problem {
        retry_after: Some(1),
        ..Problem::new(
            StatusCode::TOO_MANY_REQUESTS,
            "queue_full",
            format!("{SLOTS} requests with bars wait already; send these again in a moment"),
        )
    })?;
    let said_length = headers.get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse().ok());
    // Not one that comes a byte at a time, either.
    let body = tokio::time::timeout_at(deadline.into(), app.ingest.spool(body, said_length, app.options.max_ingest_bytes))
        .await
        .map_err(|_| slow_body())??;
    if format == BodyFormat::Json && body.is_empty_array() {
        return Ok(Json(IngestReport::default().into()));
    }
    let (answer, outcome) = oneshot::channel();
    let request = Request { body, format, layout, sender: Waiting { answer, deadline, _slot: slot } };
    app.ingest.line.push(request);
    match tokio::time::timeout_at(deadline.into(), outcome).await {
        Ok(Ok(outcome)) => {
            let taken = Taken::from(outcome?);
            for (outcome, bars) in [
                ("added", taken.added),
                ("unchanged", taken.unchanged),
                ("conflicting", taken.conflicting),
                ("repeated", taken.repeated),
                ("rejected", taken.rejected.iter().map(|refused| refused.rows).sum()),
            ] {
                metrics::counter!("stockscan_ingested_rows_total", "outcome" => outcome).increment(bars);
            }
            Ok(Json(taken))
        }
        Ok(Err(_)) => Err(Problem::internal("the bars were not stored: a panic")),
        Err(_) => Err(Problem::busy("the bars could not be stored in the time allowed; send them again", 1)),
    }
}
