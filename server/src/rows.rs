//! Rows as the body of an answer: in the format that the client accepts, as they come from the database.
//!
//! The status is sent once the first rows are there. What fails later ends the body visibly: lines of JSON end with one that has only the key
//! `_error`, and in every format the connection breaks off where the end would be.

use std::{
    io::{self, Write},
    pin::Pin,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll},
    time::{Duration, Instant},
};

use arrow::array::RecordBatch;
use axum::{
    body::{Body, Bytes},
    http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header},
    response::Response,
};
use stockscan_engine::{Engine, Flow, Query, Result};
use stockscan_formats::{Format, RowWriter};
use tokio::{
    runtime::Handle,
    sync::{mpsc, oneshot},
};
use tokio_stream::{Stream, wrappers::ReceiverStream};

use crate::{
    problem::{Answer, Problem},
    work::{Instance, Stop, Workers},
};

/// Size of the pieces that are sent.
const PIECE: usize = 64 << 10;
/// So many pieces wait for a slow client before its query waits as well,
const PIECES: usize = 4;
/// but not longer than this for any of them: what it holds, others wait for.
const SILENCE: Duration = Duration::from_secs(20);

/// The formats of rows, the first of which is sent where any will do.
pub(crate) const ROWS: [Format; 5] = [Format::Json, Format::Ndjson, Format::Csv, Format::Arrow, Format::Parquet];

/// The media type of a format.
pub(crate) fn media_type(format: Format) -> &'static str {
    match format {
        Format::Json => "application/json",
        Format::Ndjson => "application/x-ndjson",
        Format::Csv => "text/csv; charset=utf-8",
        Format::Arrow => "application/vnd.apache.arrow.stream",
        Format::Parquet => "application/vnd.apache.parquet",
    }
}

/// The format that the client prefers.
///
/// # Errors
/// 406 if it accepts none of them.
pub(crate) fn accepted(headers: &HeaderMap) -> Answer<Format> {
    let given = headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok()).collect::<Vec<_>>().join(",");
    if given.trim().is_empty() {
        return Ok(Format::Json);
    }
    let mut ranges: Vec<(f32, &str)> = given
        .split(',')
        .map(|range| {
            let (name, parameters) = range.split_once(';').unwrap_or((range, ""));
            let quality = parameters.split(';').find_map(|parameter| parameter.trim().strip_prefix("q=")?.parse().ok());
            (quality.unwrap_or(1.0), name.trim())
        })
        .filter(|(quality, _)| *quality > 0.0)
        .collect();
    // Stable: of those that are liked the same, the first.
    ranges.sort_by(|(one, _), (other, _)| other.total_cmp(one));
    let format = ranges.iter().find_map(|(_, range)| {
        ROWS.into_iter().find(|format| {
            let own = media_type(*format).split(';').next().unwrap_or_default();
            let is_other_name = *format == Format::Ndjson && ["application/ndjson", "application/jsonl"].contains(range);
            *range == "*/*"
                || is_other_name
                || range.eq_ignore_ascii_case(own)
                || range.strip_suffix("/*").is_some_and(|kind| own.starts_with(&format!("{kind}/")))
        })
    });
    format.ok_or_else(|| {
        let known: Vec<&str> = ROWS.into_iter().map(media_type).collect();
        Problem::new(StatusCode::NOT_ACCEPTABLE, "not_acceptable", format!("Accept: expected one of {}", known.join(", ")))
    })
}

/// What a body is made of, and what is done besides.
pub(crate) struct Rows<M, O> {
    /// In which format.
    pub(crate) format: Format,
    /// How long it may take.
    pub(crate) allowed: Duration,
    /// Further headers.
    pub(crate) headers: Vec<(HeaderName, HeaderValue)>,
    /// What is told if there is no row; `None`: an empty body.
    pub(crate) if_empty: Option<Problem>,
    /// The queries, whose rows are sent one after the other. They have the same columns.
    pub(crate) make: M,
    /// Sees each batch, and at the end what came of it.
    pub(crate) observe: O,
}

/// One who sees the rows that are sent.
pub(crate) trait Observer: Send + 'static {
    fn begin(&mut self, schema: &arrow::datatypes::SchemaRef);
    fn take(&mut self, batch: &RecordBatch);
    fn end(self, outcome: &Result<()>);
}

/// Nobody.
impl Observer for () {
    fn begin(&mut self, _: &arrow::datatypes::SchemaRef) {}
    fn take(&mut self, _: &RecordBatch) {}
    fn end(self, _: &Result<()>) {}
}

impl<M, O> Rows<M, O>
where
    M: FnOnce(&Engine) -> Result<Vec<Query>> + Send + 'static,
    O: Observer,
{
    /// Runs the query, and answers with its rows once the first are there.
    pub(crate) async fn respond(self, workers: &Arc<Workers>, instance: Instance) -> Answer<Response> {
        let (sender, receiver) = mpsc::channel(PIECES);
        let (begun, begins) = oneshot::channel();
        let runtime = Handle::current();
        let Rows { format, allowed, headers, if_empty, make, mut observe } = self;
        let no_rows_allowed = if_empty.is_some();
        let is_whole = Arc::new(AtomicBool::new(false));
        let done = Arc::clone(&is_whole);
        let (stop, deadline) = workers
            .start(instance, allowed, move |engine| {
                let deadline = Instant::now() + allowed;
                let pieces = Pieces { sender, runtime, deadline, begun: Some(begun), piece: Vec::with_capacity(PIECE) };
                let pieces = Shared(Arc::new(Mutex::new(pieces)));
                let outcome = engine.and_then(|engine| write(engine, make, format, deadline, &pieces, &mut observe, no_rows_allowed));
                observe.end(&outcome);
                match outcome {
                    Ok(()) => done.store(true, Ordering::Release),
                    Err(error) => pieces.lock().fail(format, error.into()),
                }
            })
            .await?;
        match tokio::time::timeout_at(deadline.into(), begins).await {
            Ok(Ok(Ok(true))) => {}
            Ok(Ok(Ok(false))) => return Err(if_empty.unwrap_or_else(|| Problem::not_found("there are no rows"))),
            Ok(Ok(Err(problem))) => return Err(problem),
            Ok(Err(_)) => return Err(Problem::internal("the work ended in a panic")),
            Err(_) => return Err(Problem::too_slow(allowed.as_secs())),
        }
        let body = Body::from_stream(Sent { pieces: ReceiverStream::new(receiver), is_whole, _stop: stop });
        let mut response = Response::new(body);
        response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(media_type(format)));
        response.headers_mut().insert(header::VARY, HeaderValue::from_static("accept"));
        for (name, value) in headers {
            response.headers_mut().insert(name, value);
        }
        Ok(response)
    }
}

fn write<O: Observer>(
    engine: &Engine,
    make: impl FnOnce(&Engine) -> Result<Vec<Query>>,
    format: Format,
    deadline: Instant,
    pieces: &Shared,
    observe: &mut O,
    no_rows_allowed: bool,
) -> Result<()> {
    let queries = make(engine)?;
    let mut writer = None;
    let mut count = 0;
    for query in &queries {
        let allowed = deadline.saturating_duration_since(Instant::now());
        engine.stream(query, Some(allowed), |schema| {
            if writer.is_none() {
                observe.begin(schema);
                writer = Some(RowWriter::new(format, pieces.clone(), schema)?);
            }
            Ok(|batch: RecordBatch| {
                count += batch.num_rows();
                observe.take(&batch);
                if let Some(writer) = &mut writer {
                    writer.write(&batch)?;
                }
                Ok(Flow::More)
            })
        })?;
    }
    if let Some(writer) = writer {
        if count == 0 && no_rows_allowed {
            pieces.lock().begin(Ok(false));
            return Ok(());
        }
        writer.finish()?;
    }
    Ok(pieces.lock().send()?)
}

/// What is written, in pieces.
struct Pieces {
    sender: mpsc::Sender<Bytes>,
    runtime: Handle,
    deadline: Instant,
    /// Told once: whether there are rows, or why not.
    begun: Option<oneshot::Sender<Answer<bool>>>,
    piece: Vec<u8>,
}

impl Pieces {
    fn begin(&mut self, outcome: Answer<bool>) -> bool {
        self.begun.take().is_some_and(|begun| begun.send(outcome).is_ok())
    }

    fn send(&mut self) -> io::Result<()> {
        self.begin(Ok(true));
        if self.piece.is_empty() {
            return Ok(());
        }
        let piece = Bytes::from(std::mem::replace(&mut self.piece, Vec::with_capacity(PIECE)));
        let until = self.deadline.min(Instant::now() + SILENCE);
        let sent = self.runtime.block_on(tokio::time::timeout_at(until.into(), self.sender.send(piece)));
        match sent {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) => Err(io::ErrorKind::BrokenPipe.into()),
            Err(_) => Err(io::Error::new(io::ErrorKind::TimedOut, "the client did not take the rows in the time allowed")),
        }
    }

    /// Ends what was begun so that nobody takes it for whole.
    fn fail(&mut self, format: Format, problem: Problem) {
        if self.begun.is_some() {
            self.begin(Err(problem));
            return;
        }
        if format == Format::Ndjson {
            self.piece.extend(format!("{}\n", serde_json::json!({"_error": problem})).into_bytes());
            // It is the end in any case.
            let _ = self.send();
        }
    }
}

/// The pieces, for the one who writes them and for the one who ends them.
#[derive(Clone)]
struct Shared(Arc<Mutex<Pieces>>);

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Pieces> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Write for Shared {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut pieces = self.lock();
        pieces.piece.extend_from_slice(bytes);
        if pieces.piece.len() >= PIECE {
            pieces.send()?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The pieces as a body. The query ends when it is dropped.
struct Sent {
    pieces: ReceiverStream<Bytes>,
    /// Set before the last piece is gone, unless something went wrong.
    is_whole: Arc<AtomicBool>,
    _stop: Stop,
}

impl Stream for Sent {
    type Item = io::Result<Bytes>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        match Pin::new(&mut self.pieces).poll_next(context) {
            Poll::Ready(Some(piece)) => Poll::Ready(Some(Ok(piece))),
            // Broken off, so that nobody takes it for the end.
            Poll::Ready(None) if !self.is_whole.load(Ordering::Acquire) => Poll::Ready(Some(Err(io::Error::other("the rows end here")))),
            Poll::Ready(None) => Poll::Ready(None),
            Poll::Pending => Poll::Pending,
        }
    }
}
