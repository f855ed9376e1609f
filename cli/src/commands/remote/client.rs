//! A Stockscan server, as seen by a client: requests that are repeated while it is busy, answers, and what it refuses as errors.
//!
//! Whatever waits for the network does so on a thread of its own, so that Ctrl-C is heard.

use std::{
    fmt::Display,
    fs::File,
    io::{self, Read},
    path::PathBuf,
    sync::{
        Arc, Mutex, PoisonError,
        mpsc::{self, Receiver, RecvTimeoutError},
    },
    thread,
    time::{Duration, Instant},
};

use serde_json::Value;
use stockscan_engine::{Error, Result};
use stockscan_server::PREFIX;
use ureq::{
    Agent, Body,
    http::{HeaderMap, Method, Request, Response, StatusCode},
};

use crate::{
    arguments::{API_KEY, Global},
    pace, progress,
};

/// More than this is not taken as one document.
const LARGEST_DOCUMENT: u64 = 1 << 30;
/// How often Ctrl-C is looked out for.
const LOOK: Duration = Duration::from_millis(50);
/// The first wait for a busy server that does not say when to come again.
const FIRST_WAIT: Duration = Duration::from_millis(250);
/// No wait is longer.
const LONGEST_WAIT: Duration = Duration::from_secs(60);
/// How long the way to a server may take.
const CONNECTING: Duration = Duration::from_secs(10);
/// Pieces of an answer that are read before they are wanted.
const PIECES: usize = 4;
/// The media type of rows.
pub(super) const ARROW: &str = "application/vnd.apache.arrow.stream";
const JSON: &str = "application/json";

/// What goes with a request.
#[derive(Debug, Clone)]
pub(super) enum Payload {
    Nothing,
    Json(Value),
    /// Bytes of a media type.
    Bytes(Vec<u8>, &'static str),
    /// A file with content of a media type.
    File(PathBuf, &'static str),
}

/// A Stockscan server.
#[derive(Debug, Clone)]
pub(super) struct Server {
    pub(super) url: String,
    agent: Agent,
    /// `STOCKSCAN_API_KEY`.
    key: Option<String>,
    attempts: u64,
    allowed: Duration,
    /// Whether Ctrl-C ends the wait for an answer.
    is_deaf: bool,
}

/// An answer of which the rest is still to come.
pub(super) struct Answer {
    server: Server,
    pub(super) headers: HeaderMap,
    body: Body,
}

impl Server {
    /// The server that the options name, or the configuration. `timeout`: seconds that one answer may take.
    pub(super) fn new(global: &Global, timeout: Option<u64>) -> Result<Server> {
        let api = &global.configuration.api;
        let url = global.url.clone().unwrap_or_else(|| format!("http://{}:{}", api.host.0, api.port.0));
        Server::at(global, &url, Duration::from_secs(timeout.unwrap_or(api.timeout.0)))
    }

    /// The server at an address.
    pub(super) fn at(global: &Global, url: &str, allowed: Duration) -> Result<Server> {
        let url = url.trim().trim_end_matches('/').trim_end_matches(PREFIX).to_owned();
        if !url.starts_with("http://") && !url.starts_with("https://") {
            return Err(Error::Invalid(format!("--url {url}: expected http:// or https:// and a host, such as http://localhost:8000")));
        }
        // An answer that takes long is given up by what waits for it, and one that never ends is none too many.
        let configured = Agent::config_builder()
            .timeout_connect(Some(CONNECTING))
            .http_status_as_error(false)
            // A page that a server sends one to is none of ours.
            .max_redirects(0)
            .user_agent(format!("stockscan/{}", env!("CARGO_PKG_VERSION")));
        let configured = if is_this_machine(&url) { configured.proxy(None) } else { configured };
        let key = std::env::var(API_KEY).ok().filter(|key| !key.is_empty());
        let attempts = global.configuration.default.retry_attempts.0;
        Ok(Server { url, agent: configured.build().into(), key, attempts, allowed, is_deaf: false })
    }

    /// The same, which is not asked again when it is busy.
    pub(super) fn once(&self) -> Server {
        Server { attempts: 0, ..self.clone() }
    }

    /// The same, whose answer is waited for though Ctrl-C is pressed: it says what has been begun, or that it has ended.
    pub(super) fn to_the_end(&self) -> Server {
        Server { is_deaf: true, ..self.clone() }
    }

    /// A document.
    pub(super) fn get(&self, path: &str) -> Result<Value> {
        self.ask(&Method::GET, path, JSON, &Payload::Nothing)?.document()
    }

    /// Asks; again if the server says that it is busy.
    pub(super) fn ask(&self, method: &Method, path: &str, accept: &str, payload: &Payload) -> Result<Answer> {
        let mut wait = FIRST_WAIT;
        let mut attempts = 0;
        loop {
            let answer = self.ask_once(method, path, accept, payload)?;
            let status = answer.status();
            if status.is_success() {
                let (parts, body) = answer.into_parts();
                return Ok(Answer { server: self.clone(), headers: parts.headers, body });
            }
            if matches!(status.as_u16(), 429 | 503) && attempts < self.attempts {
                attempts += 1;
                pause(retry_after(answer.headers()).unwrap_or(wait).min(LONGEST_WAIT))?;
                wait *= 2;
                continue;
            }
            return Err(self.refused(answer));
        }
    }

    /// Asks once, and answers whatever the status is.
    fn ask_once(&self, method: &Method, path: &str, accept: &str, payload: &Payload) -> Result<Response<Body>> {
        let mut request = Request::builder().method(method.clone()).uri(format!("{}{PREFIX}{path}", self.url)).header("accept", accept);
        if let Some(key) = &self.key {
            request = request.header("authorization", format!("Bearer {key}"));
        }
        let unfit = |error: ureq::http::Error| {
            Error::Invalid(format!("--url {}: {error}; expected a URL such as http://localhost:8000, and a key without blanks", self.url))
        };
        let agent = self.agent.clone();
        let answered = match payload {
            Payload::Nothing => {
                let request = request.body(()).map_err(unfit)?;
                self.within_time(move || agent.run(request))
            }
            Payload::Json(document) => {
                let request = request.header("content-type", JSON).body(document.to_string()).map_err(unfit)?;
                self.within_time(move || agent.run(request))
            }
            Payload::Bytes(bytes, media_type) => {
                let request = request.header("content-type", *media_type).body(bytes.clone()).map_err(unfit)?;
                self.within_time(move || agent.run(request))
            }
            Payload::File(path, media_type) => {
                let file = File::open(path).map_err(|source| Error::File { path: path.clone(), source })?;
                let request = request.header("content-type", *media_type).body(file).map_err(unfit)?;
                self.within_time(move || agent.run(request))
            }
        };
        answered?.map_err(|error| self.unreachable(&error))
    }

    /// Waits for something from the network.
    fn within_time<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> Result<T> {
        let (sender, receiver) = mpsc::sync_channel(1);
        thread::spawn(move || {
            // Whoever waited may have given up.
            let _ = sender.send(work());
        });
        self.next(&receiver)?.ok_or_else(|| self.broken_off("no answer"))
    }

    /// Waits for the next thing that a thread sends; `None`: it has ended.
    fn next<T>(&self, receiver: &Receiver<T>) -> Result<Option<T>> {
        let started = Instant::now();
        loop {
            match receiver.recv_timeout(LOOK) {
                Ok(found) => return Ok(Some(found)),
                Err(RecvTimeoutError::Disconnected) => return Ok(None),
                Err(RecvTimeoutError::Timeout) if is_interrupted() && !self.is_deaf => return Err(Error::Interrupted),
                Err(RecvTimeoutError::Timeout) => {
                    if started.elapsed() >= self.allowed {
                        return Err(Error::Timeout(self.allowed));
                    }
                }
            }
        }
    }

    fn unreachable(&self, error: &ureq::Error) -> Error {
        Error::Database(format!(
            "no server answers at {}: {error}; start one there with 'scanner serve', name another with --url, or leave out --api-mode",
            self.url
        ))
    }

    /// The server was there, and is not any more.
    pub(super) fn broken_off(&self, what: impl Display) -> Error {
        Error::Database(format!("{} broke off its answer: {what}", self.url))
    }

    /// What the server's problem details say.
    fn refused(&self, answer: Response<Body>) -> Error {
        let status = answer.status();
        let is_problem = answer.body().mime_type().is_some_and(|kind| kind.ends_with("json"));
        let problem = self.document(answer.into_body()).ok().filter(|_| is_problem);
        let said = |key: &str| problem.as_ref()?.get(key)?.as_str();
        let Some(detail) = said("detail").or(said("error")).or(said("title")) else {
            return Error::Database(format!(
                "{} answers {status} and does not say why; is that a Stockscan server of this version? 'scanner doctor --api-mode' asks it",
                self.url
            ));
        };
        match status.as_u16() {
            // A path that it does not know, rather than a thing that is not there.
            404 if detail.starts_with("there is no such path") => self.too_old(),
            400 | 404 | 406 | 413 | 415 | 422 => Error::Invalid(detail.to_owned()),
            401 if self.key.is_none() => {
                Error::Invalid(format!("{}: {detail} ({}); give a key in the variable {API_KEY}", self.url, status.as_u16()))
            }
            401 => Error::Invalid(format!("{}: {detail} ({}); the variable {API_KEY} has a wrong one", self.url, status.as_u16())),
            403 if detail.starts_with("this needs a key") => {
                Error::Invalid(format!("{}: {detail} (403); give another key in the variable {API_KEY}", self.url))
            }
            403 => Error::Invalid(format!("{}: {detail}", self.url)),
            _ => Error::Database(format!("{}: {detail} ({})", self.url, status.as_u16())),
        }
    }

    /// A server that does not do what this command asks of it.
    fn too_old(&self) -> Error {
        Error::Database(format!(
            "the server at {} does not know how to do this: it is another version than this command, {}; 'scanner doctor --api-mode' says which",
            self.url,
            env!("CARGO_PKG_VERSION")
        ))
    }

    /// A body as a document.
    fn document(&self, body: Body) -> Result<Value> {
        let bytes = self.bytes(body)?;
        serde_json::from_slice(&bytes).map_err(|_| self.no_json())
    }

    fn no_json(&self) -> Error {
        Error::Database(format!("{} did not answer with JSON; is that a Stockscan server?", self.url))
    }

    /// All of a body.
    fn bytes(&self, body: Body) -> Result<Vec<u8>> {
        let read = self.within_time(move || body.into_with_config().limit(LARGEST_DOCUMENT).read_to_vec())?;
        read.map_err(|error| self.broken_off(error))
    }
}

impl Answer {
    /// A header, if it is there.
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// The body as a document.
    pub(super) fn document(self) -> Result<Value> {
        self.server.document(self.body)
    }

    /// The body as the text of a document, in which numbers are as they were sent.
    pub(super) fn text(self) -> Result<String> {
        let is_json = self.body.mime_type().is_some_and(|kind| kind.ends_with("json"));
        let text = String::from_utf8(self.server.bytes(self.body)?).ok().filter(|_| is_json);
        text.ok_or_else(|| self.server.no_json())
    }

    /// The media type of the body.
    pub(super) fn media_type(&self) -> &str {
        self.body.mime_type().unwrap_or("nothing")
    }

    /// The body as it comes, and why it could not be read to its end.
    pub(super) fn reader(self) -> (Pieces, Failure) {
        let (sender, receiver) = mpsc::sync_channel(PIECES);
        let mut reader = self.body.into_with_config().limit(u64::MAX).reader();
        thread::spawn(move || {
            loop {
                let mut piece = vec![0; 64 << 10];
                let read = reader.read(&mut piece);
                let is_end = !matches!(read, Ok(length) if length > 0);
                let read = read.map(|length| {
                    piece.truncate(length);
                    piece
                });
                // Whoever reads may have had enough.
                if sender.send(read).is_err() || is_end {
                    return;
                }
            }
        });
        let failure = Failure { server: self.server.clone(), told: Arc::default() };
        let told = Arc::clone(&failure.told);
        (Pieces { server: self.server, receiver, piece: Vec::new(), place: 0, told }, failure)
    }
}

/// The body of an answer, which is read while it comes.
pub(super) struct Pieces {
    server: Server,
    receiver: Receiver<io::Result<Vec<u8>>>,
    piece: Vec<u8>,
    place: usize,
    told: Arc<Mutex<Option<Error>>>,
}

/// Why the body of an answer could not be read to its end.
pub(super) struct Failure {
    server: Server,
    told: Arc<Mutex<Option<Error>>>,
}

impl Failure {
    /// The reason; if it is none of the connection's, what whoever read it says.
    pub(super) fn reason(&self, otherwise: impl Display) -> Error {
        let told = self.told.lock().unwrap_or_else(PoisonError::into_inner).take();
        told.unwrap_or_else(|| self.server.broken_off(otherwise))
    }
}

impl Pieces {
    fn tell(&self, error: Error) {
        *self.told.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
    }
}

impl Read for Pieces {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.place == self.piece.len() {
            self.place = 0;
            self.piece = match self.server.next(&self.receiver) {
                Ok(Some(Ok(piece))) => piece,
                Ok(None) => Vec::new(),
                Ok(Some(Err(error))) => {
                    self.tell(self.server.broken_off(&error));
                    return Err(error);
                }
                Err(error) => {
                    let told = io::Error::other(error.to_string());
                    self.tell(error);
                    return Err(told);
                }
            };
        }
        let length = buffer.len().min(self.piece.len() - self.place);
        buffer[..length].copy_from_slice(&self.piece[self.place..self.place + length]);
        self.place += length;
        Ok(length)
    }
}

/// Waits, unless Ctrl-C is pressed.
pub(super) fn pause(time: Duration) -> Result<()> {
    let until = Instant::now() + time;
    while !is_interrupted() {
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Ok(());
        }
        thread::sleep(left.min(LOOK));
    }
    Err(Error::Interrupted)
}

fn is_interrupted() -> bool {
    progress::is_interrupted() || pace::is_stopped()
}

/// When a busy server wants to be asked again.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    headers.get("retry-after")?.to_str().ok()?.trim().parse().ok().map(Duration::from_secs)
}

/// Whether a URL leads nowhere else, so that no proxy is asked.
fn is_this_machine(url: &str) -> bool {
    let place = url.split_once("://").map_or(url, |(_, place)| place);
    let place = place.split('/').next().unwrap_or_default();
    let host = match place.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((address, _)) => address,
        None => place.rsplit_once(':').map_or(place, |(host, _)| host),
    };
    host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// A text as part of an address.
pub(super) fn escaped(text: &str) -> String {
    let mut escaped = String::new();
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => escaped.push(char::from(byte)),
            _ => escaped.push_str(&format!("%{byte:02X}")),
        }
    }
    escaped
}

/// `?one=1&other=2`, or nothing.
pub(super) fn query(pairs: &[(&str, String)]) -> String {
    let pairs: Vec<String> = pairs.iter().map(|(name, value)| format!("{name}={}", escaped(value))).collect();
    if pairs.is_empty() { String::new() } else { format!("?{}", pairs.join("&")) }
}

/// Whether there is a server of ours at an address, and which process it is.
pub(super) fn process_at(global: &Global, url: &str, patience: Duration) -> Result<u32> {
    let server = Server::at(global, url, patience)?;
    let health = server.ask_once(&Method::GET, "/health", JSON, &Payload::Nothing)?;
    let is_well = health.status() == StatusCode::OK || health.status() == StatusCode::SERVICE_UNAVAILABLE;
    let document = server.document(health.into_body())?;
    let process = document.get("process_id").and_then(Value::as_u64).and_then(|process| u32::try_from(process).ok());
    process.filter(|_| is_well).ok_or_else(|| server.too_old())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_proxy_is_asked_for_this_machine() {
        for own in ["http://localhost:8000", "http://127.0.0.1", "http://[::1]:8000/x", "https://127.1.2.3:1"] {
            assert!(is_this_machine(own), "{own}");
        }
        for other in ["http://example.com", "http://localhost.example.com:8000", "http://192.168.1.2:8000"] {
            assert!(!is_this_machine(other), "{other}");
        }
    }

    #[test]
    fn what_goes_into_an_address_stays_one_part_of_it() {
        assert_eq!(query(&[("map", "ts:a+b".to_owned()), ("symbols", "A&B,Ü".to_owned())]), "?map=ts%3Aa%2Bb&symbols=A%26B%2C%C3%9C");
        assert_eq!(query(&[]), "");
    }
}
