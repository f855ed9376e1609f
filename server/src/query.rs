//! `POST /query`: a statement from outside, which only reads. It is run by a process of its own; this starts it and hands on what it writes, here
//! and to the clients of PostgreSQL.

use std::{
    io::{self, BufRead, BufReader, Read, Write},
    path::{Path, PathBuf},
    pin::Pin,
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll},
    time::{Duration, Instant},
};

use axum::{
    body::{Body, Bytes},
    extract::State,
    http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header},
    response::Response,
};
use serde::{Deserialize, Serialize};
use serde_json::Value as JsonValue;
use stockscan_engine::Error;
use tokio::{
    runtime::Handle,
    sync::{Semaphore, mpsc, oneshot},
};
use tokio_stream::{Stream, wrappers::ReceiverStream};
use utoipa::ToSchema;

use crate::{
    app::App,
    body::Body as JsonBody,
    problem::{Answer, Problem},
    rows,
    statement::{Failure, Form, Reply, Request, name_of},
    work::{Instance, Stop},
};

/// What the program is called with to run a statement.
pub const RUN_STATEMENT: &str = "run-statement";

/// A longer statement is refused.
pub(crate) const LONGEST_STATEMENT: usize = 64 << 10;
/// More rows are left out.
const MOST_ROWS: usize = 100_000;
/// More bytes of rows are left out.
const MOST_BYTES: usize = 64 << 20;
/// So many statements run at a time: each may take as much memory as is meant for one.
static AT_A_TIME: Semaphore = Semaphore::const_new(2);
/// How long a statement waits for others.
const PATIENCE: Duration = Duration::from_secs(30);
/// Size of the pieces that are handed on.
const PIECE: usize = 64 << 10;
/// So many pieces wait for a slow client.
const PIECES: usize = 4;
/// A reply is a line that is not longer, even with the names of many columns.
const LONGEST_REPLY: u64 = 1 << 20;
/// Says whether rows were left out.
const TRUNCATED: HeaderName = HeaderName::from_static("stockscan-truncated");

/// A statement.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct QueryRequest {
    /// One statement that reads: tables and views of the database, scanners and the other functions.
    #[schema(example = "SELECT symbol, price, rank FROM scan_breakout('2025-01-15')", min_length = 1, max_length = 65_536)]
    sql: String,
    /// More rows are left out.
    #[serde(default)]
    #[schema(minimum = 1, maximum = 100_000, default = 100_000)]
    max_rows: Option<usize>,
}

/// Its rows.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct QueryResponse {
    /// The columns, in order. Of several with one name, the later ones have a number behind it.
    columns: Vec<QueryColumn>,
    /// The rows, as objects.
    #[schema(value_type = Vec<Object>)]
    rows: Vec<JsonValue>,
    /// How many.
    row_count: usize,
    /// Whether there were more, which were left out.
    truncated: bool,
    /// How long it took, in milliseconds.
    execution_time_ms: f64,
}

/// A column.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct QueryColumn {
    /// Its name.
    #[schema(example = "symbol")]
    name: String,
    /// Its type, as DuckDB calls it.
    #[serde(rename = "type")]
    #[schema(example = "VARCHAR")]
    kind: String,
}

/// Runs one statement that reads.
///
/// Off unless the server was started with --enable-query. The statement is one query over the tables and views of the database, Stockscan's
/// functions and most of DuckDB's; it cannot write, nor read files, settings or secrets. It gets 1 GB of memory. The answer has at most 100,000
/// rows and 64 MiB; `truncated`, and the header `Stockscan-Truncated`, say whether rows were left out.
#[utoipa::path(
    post, path = "/query", tag = "query", request_body = QueryRequest,
    responses(
        (status = 200, description = "The rows. As lines of JSON, CSV, Arrow or Parquet, by `Accept`: the rows alone.", content(
            (QueryResponse = "application/json"), (String = "application/x-ndjson"), (String = "text/csv"),
            (Vec<u8> = "application/vnd.apache.arrow.stream"), (Vec<u8> = "application/vnd.apache.parquet")),
            headers(("Stockscan-Truncated" = bool, description = "Whether rows were left out."))),
    )
)]
pub(crate) async fn query(State(app): State<Arc<App>>, headers: HeaderMap, JsonBody(request): JsonBody<QueryRequest>) -> Answer<Response> {
    if !app.options.enable_query {
        let detail = "this server runs no statements; it does when it is started with --enable-query";
        return Err(Problem::new(StatusCode::FORBIDDEN, "forbidden", detail));
    }
    let format = rows::accepted(&headers)?;
    if request.sql.len() > LONGEST_STATEMENT {
        let detail = format!("sql must have at most {LONGEST_STATEMENT} bytes, got {}", request.sql.len());
        return Err(Problem { parameter: Some("sql".to_owned()), ..Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "too_large", detail) });
    }
    let max_rows = request.max_rows.unwrap_or(MOST_ROWS);
    if !(1..=MOST_ROWS).contains(&max_rows) {
        return Err(Problem::of_parameter("max_rows", format!("max_rows must be between 1 and {MOST_ROWS}, got {max_rows}")));
    }
    let document = Form::Document { format: name_of(format).to_owned(), max_bytes: MOST_BYTES };
    let allowed = app.allowed();
    let Started { reply, pieces } = start(&app, allowed, request.sql, document, max_rows).await?;
    let truncated = match reply {
        Reply::Rows { truncated, .. } => truncated,
        Reply::Columns { .. } => return Err(Problem::internal("columns where rows were asked for")),
        Reply::Failed { why, message } => return Err(problem(why, message, allowed)),
    };
    let mut response = Response::new(Body::from_stream(pieces));
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(rows::media_type(format)));
    response.headers_mut().insert(header::VARY, HeaderValue::from_static("accept"));
    response.headers_mut().insert(TRUNCATED, HeaderValue::from_static(if truncated { "true" } else { "false" }));
    Ok(response)
}

/// A statement that runs.
pub(crate) struct Started {
    /// What its process said first.
    pub(crate) reply: Reply,
    /// What it writes then.
    pub(crate) pieces: Sent,
}

/// Starts the process of a statement, as soon as there is room for it.
///
/// # Errors
/// 503 when others take too long, 504, and what keeps the process from being there.
pub(crate) async fn start(app: &Arc<App>, allowed: Duration, sql: String, form: Form, max_rows: usize) -> Answer<Started> {
    let deadline = Instant::now() + allowed;
    let permit = match tokio::time::timeout(PATIENCE.min(allowed), AT_A_TIME.acquire()).await {
        Ok(Ok(permit)) => permit,
        _ => return Err(Problem::busy("other statements are running; try again in a moment", 5)),
    };

    let (sender, receiver) = mpsc::channel(PIECES);
    let (begun, begins) = oneshot::channel();
    let process = Arc::new(Process::default());
    let ending = Ending(Arc::clone(&process));
    let runtime = Handle::current();
    let database = app.options.database.clone();
    let file = app.market.file().map(absolute);
    let work = move |market: stockscan_engine::Result<&stockscan_engine::Engine>| {
        let _permit = permit;
        // As long as this one has the database open to be read, nobody opens it to write.
        if let Err(error) = market {
            let _ = begun.send(Err(error.into()));
            return;
        }
        let request = Request {
            sql,
            database: file,
            scanners_directory: database.scanners_directory.as_deref().map(absolute),
            form,
            milliseconds: u64::try_from(deadline.saturating_duration_since(Instant::now()).as_millis()).unwrap_or(u64::MAX),
            max_rows,
        };
        let (stdin, mut rows, reply) = match process.start(&request, deadline, allowed) {
            Ok(started) => started,
            Err(problem) => {
                // Whoever asked may have left.
                let _ = begun.send(Err(problem));
                return;
            }
        };
        if begun.send(Ok(reply)).is_err() {
            return;
        }
        let send = |piece: io::Result<Bytes>| {
            let sent = runtime.block_on(tokio::time::timeout_at(deadline.into(), sender.send(piece)));
            matches!(sent, Ok(Ok(())))
        };
        let mut piece = vec![0; PIECE];
        let is_read = loop {
            match rows.read(&mut piece) {
                Ok(0) => break true,
                Ok(length) if send(Ok(Bytes::copy_from_slice(&piece[..length]))) => {}
                _ => break false,
            }
        };
        if !(process.end(is_read) && is_read) {
            let _ = send(Err(io::Error::other("the rows end here")));
        }
        drop(stdin);
    };
    let (stop, _) = app.workers.start(Instance::Strangers, deadline.saturating_duration_since(Instant::now()), work).await?;
    let reply = match tokio::time::timeout_at((deadline + Duration::from_secs(1)).into(), begins).await {
        Ok(Ok(reply)) => reply?,
        Ok(Err(_)) => return Err(Problem::internal("the work ended in a panic")),
        Err(_) => return Err(Problem::too_slow(allowed.as_secs())),
    };
    Ok(Started { reply, pieces: Sent { pieces: ReceiverStream::new(receiver), _ending: ending, _stop: stop } })
}

fn absolute(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_path_buf())
}

fn problem(why: Failure, message: String, allowed: Duration) -> Problem {
    match why {
        Failure::Statement | Failure::Rows => Problem::of_parameter("sql", message),
        Failure::Memory => Error::Database("Out of Memory Error: a statement from outside".to_owned()).into(),
        Failure::Time => Problem::too_slow(allowed.as_secs()),
        Failure::Busy => Problem::busy(message, 1),
        Failure::Internal => Problem::internal(message),
    }
}

/// The process that runs a statement, as soon as it is there.
#[derive(Debug, Default)]
struct Process(Mutex<Running>);

#[derive(Debug, Default)]
struct Running {
    child: Option<Child>,
    is_ended: bool,
}

impl Process {
    /// Starts it, and waits for what it has to say.
    fn start(&self, request: &Request, deadline: Instant, allowed: Duration) -> Answer<(ChildStdin, BufReader<ChildStdout>, Reply)> {
        let failed = |error: io::Error| Problem::internal(format!("the process for a statement: {error}"));
        let line = serde_json::to_string(request).map_err(|error| failed(error.into()))? + "\n";
        let (mut stdin, stdout) = {
            let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            if state.is_ended {
                return Err(Problem::busy("interrupted", 1));
            }
            // Nothing of what the server knows is in its variables.
            let mut child = Command::new(program().map_err(failed)?)
                .arg(RUN_STATEMENT)
                .env_clear()
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .stderr(Stdio::null())
                .spawn()
                .map_err(failed)?;
            let pipes = (child.stdin.take(), child.stdout.take());
            state.child = Some(child);
            let (Some(stdin), Some(stdout)) = pipes else { return Err(Problem::internal("the process for a statement has no pipes")) };
            (stdin, stdout)
        };
        let written = stdin.write_all(line.as_bytes()).and_then(|()| stdin.flush());
        let mut rows = BufReader::with_capacity(PIECE, stdout);
        let mut line = String::new();
        let read = written.and_then(|()| (&mut rows).take(LONGEST_REPLY).read_line(&mut line));
        match (read, serde_json::from_str(&line)) {
            (Ok(_), Ok(reply)) => Ok((stdin, rows, reply)),
            _ => {
                self.end(false);
                if Instant::now() >= deadline {
                    return Err(Problem::too_slow(allowed.as_secs()));
                }
                let detail = "the statement ended the process that ran it, as one does that takes too much memory; nothing else was harmed";
                Err(Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "statement_failed", detail))
            }
        }
    }

    /// Ends it, or waits for its end if it is about to. Returns whether it ended well.
    fn end(&self, is_about_to: bool) -> bool {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        state.is_ended = true;
        let Some(mut child) = state.child.take() else { return false };
        if !is_about_to {
            // It may have ended by itself.
            let _ = child.kill();
        }
        child.wait().is_ok_and(|status| status.success())
    }
}

/// This program, even if its file was replaced since.
fn program() -> io::Result<PathBuf> {
    if cfg!(target_os = "linux") { Ok(PathBuf::from("/proc/self/exe")) } else { std::env::current_exe() }
}

/// Ends the process when it is dropped.
struct Ending(Arc<Process>);

impl Drop for Ending {
    fn drop(&mut self) {
        self.0.end(false);
    }
}

/// What a process writes, in pieces. It ends when this is dropped.
pub(crate) struct Sent {
    pieces: ReceiverStream<io::Result<Bytes>>,
    _ending: Ending,
    _stop: Stop,
}

impl Stream for Sent {
    type Item = io::Result<Bytes>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        Pin::new(&mut self.pieces).poll_next(context)
    }
}
