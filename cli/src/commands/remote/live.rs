//! `scanner run --stream` and `scanner monitor` with `--api-mode`: a server scans, and sends what it found as events.

use std::{
    io::{BufRead, BufReader},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc::{self, Receiver, TryRecvError},
    },
    thread,
    time::Duration,
};

use jiff::{
    Timestamp, ToSpan,
    civil::{Date, DateTime, Time},
};
use serde_json::Value;
use stockscan_engine::{Engine, Error, Query, Result};
use stockscan_live::{Statistics, Tick, Update};
use ureq::http::Method;

use super::{
    client::{Payload, Server, escaped, query},
    request, rows,
};
use crate::{
    arguments::{Global, Scan},
    commands::{live, scanning::Scanning},
    rows::Rows,
};

/// A server says something every 15 seconds; one of which nothing is heard for so long is gone.
const SILENCE: Duration = Duration::from_secs(45);
/// Any session: only the columns matter.
const SOME_DAY: &str = "2000-01-01";

/// A live scan of a server.
pub(crate) struct Follower {
    server: Server,
    engine: Engine,
    address: String,
    scanner: String,
    /// A query with the scanner's columns, if it is known here.
    like: Option<Query>,
    events: Option<Receiver<Event>>,
    /// Whether something has come that was not looked at.
    news: Arc<AtomicBool>,
    last: Option<Update>,
    statistics: Statistics,
}

/// What a server sends.
enum Event {
    /// A document with a result.
    Update(String),
    /// The newest scan failed.
    Failed(Error),
    /// There will be no more.
    End(Error),
}

impl Follower {
    /// Follows a scan.
    pub(crate) fn new(global: &Global, scan: &Scan, interval: Duration) -> Result<Follower> {
        live::check_enabled(global)?;
        let url = Server::new(global, None)?;
        let server = Server::at(global, &url.url, SILENCE)?;
        let engine = rows::engine(global)?;
        let scanner = request::scanner(&scan.scanner_type).to_owned();
        let mut pairs = request::live(&engine, global, scan)?;
        pairs.push(("interval".to_owned(), interval.as_secs_f64().to_string()));
        let pairs: Vec<(&str, String)> = pairs.iter().map(|(name, value)| (name.as_str(), value.clone())).collect();
        let address = format!("/events/scanner/{}{}", escaped(&scanner), query(&pairs));
        let like = match Scanning::new(&engine, global, scan).and_then(|scanning| scanning.call(&engine, SOME_DAY, None)) {
            Ok(call) => Some(Query { scanner: None, ..call.query() }),
            // The server may have it.
            Err(Error::UnknownFunction { .. }) => None,
            Err(error) => return Err(error),
        };
        let mut follower = Follower {
            server,
            engine,
            address,
            scanner,
            like,
            events: None,
            news: Arc::default(),
            last: None,
            statistics: Statistics::default(),
        };
        follower.connect()?;
        Ok(follower)
    }

    /// Where the server is.
    pub(crate) fn url(&self) -> &str {
        &self.server.url
    }

    /// DuckDB without bars.
    pub(crate) fn engine(&self) -> &Engine {
        &self.engine
    }

    /// The scanner's name, without `scan_`.
    pub(crate) fn scanner_type(&self) -> &str {
        &self.scanner
    }

    /// Tells whether something has come that was not looked at.
    pub(crate) fn news(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.news)
    }

    /// How it went so far.
    pub(crate) fn statistics(&self) -> &Statistics {
        &self.statistics
    }

    fn connect(&mut self) -> Result<()> {
        let answer = self.server.ask(&Method::GET, &self.address, "text/event-stream", &Payload::Nothing)?;
        if answer.media_type() != "text/event-stream" {
            return Err(self.server.broken_off(format!("{} came where events were expected", answer.media_type())));
        }
        let (sender, receiver) = mpsc::channel();
        let (server, news) = (self.server.clone(), Arc::clone(&self.news));
        thread::spawn(move || {
            let (pieces, failure) = answer.reader();
            let mut lines = BufReader::new(pieces);
            let (mut kind, mut data, mut line) = (String::new(), String::new(), String::new());
            let tell = |event: Event| {
                let is_heard = sender.send(event).is_ok();
                news.store(true, Ordering::Relaxed);
                is_heard
            };
            loop {
                line.clear();
                let end = match lines.read_line(&mut line) {
                    Ok(0) => Some(server.broken_off("there are no more events")),
                    Ok(_) => None,
                    Err(error) => Some(failure.reason(error)),
                };
                if let Some(end) = end {
                    tell(Event::End(end));
                    return;
                }
                match line.trim_end_matches(['\r', '\n']) {
                    "" => {
                        let (kind, data) = (std::mem::take(&mut kind), std::mem::take(&mut data));
                        let goes_on = match of(&server, &kind, data) {
                            Some(event @ Event::End(_)) => {
                                tell(event);
                                false
                            }
                            Some(event) => tell(event),
                            None => true,
                        };
                        if !goes_on {
                            return;
                        }
                    }
                    text => match text.split_once(':').map(|(name, value)| (name, value.strip_prefix(' ').unwrap_or(value))) {
                        Some(("event", name)) => kind = name.to_owned(),
                        Some(("data", value)) => {
                            if !data.is_empty() {
                                data.push('\n');
                            }
                            data.push_str(value);
                        }
                        // A comment, or something that is of no use here.
                        _ => {}
                    },
                }
            }
        });
        self.events = Some(receiver);
        Ok(())
    }

    /// What has come since the last look.
    pub(crate) fn tick(&mut self) -> Result<Tick<'_>> {
        self.news.store(false, Ordering::Relaxed);
        self.statistics.ticks += 1;
        let outcome = self.look();
        if let Err(error) = &outcome {
            self.statistics.errors += 1;
            self.statistics.last_error = Some((Timestamp::now(), error.to_string()));
        }
        match outcome? {
            Some(update) => {
                self.statistics.scans += 1;
                Ok(Tick::Scanned(self.last.insert(update)))
            }
            None => {
                self.statistics.unchanged += 1;
                Ok(Tick::Unchanged)
            }
        }
    }

    fn look(&mut self) -> Result<Option<Update>> {
        if self.events.is_none() {
            self.connect()?;
        }
        let Some(events) = &self.events else { return Ok(None) };
        let next = match events.try_recv() {
            Ok(event) => event,
            Err(TryRecvError::Empty) => return Ok(None),
            Err(TryRecvError::Disconnected) => Event::End(self.server.broken_off("there are no more events")),
        };
        // There may be more to look at.
        self.news.store(true, Ordering::Relaxed);
        match next {
            Event::Update(text) => self.update(&text).map(Some),
            Event::Failed(error) => Err(error),
            Event::End(error) => {
                self.events = None;
                self.news.store(false, Ordering::Relaxed);
                Err(error)
            }
        }
    }

    /// A result, against the one before.
    fn update(&self, text: &str) -> Result<Update> {
        let unfit = |what: &str| self.server.broken_off(format!("an update without {what}"));
        let document: Value = serde_json::from_str(text).map_err(|_| unfit("a document"))?;
        let member = |name: &str| document.get(name).and_then(Value::as_str);
        let data_as_of: DateTime = member("data_as_of").and_then(|moment| moment.parse().ok()).ok_or_else(|| unfit("data_as_of"))?;
        let hits = document.get("results").and_then(Value::as_array).ok_or_else(|| unfit("results"))?;
        let like = match (&self.like, hits.is_empty()) {
            (None, true) => Some(Query::plain("SELECT CAST(NULL AS VARCHAR) AS symbol")),
            (like, _) => like.clone(),
        };
        let results = Rows::of(&self.engine, &rows::of_document(&self.engine, text, "$.results", like.as_ref())?, None)?.batch;
        let of_hits = hits.first().and_then(|hit| hit.get("scan_date")?.as_str()?.parse::<Date>().ok());
        let update = Update {
            timestamp: member("timestamp").and_then(|moment| moment.parse().ok()).unwrap_or_else(Timestamp::now),
            scanner_type: self.scanner.clone(),
            session: of_hits.unwrap_or_else(|| session_of(data_as_of)),
            newest: data_as_of,
            data_as_of,
            results,
            added: Vec::new(),
            kept: Vec::new(),
            removed: Vec::new(),
            starts_session: false,
            is_complete: true,
            differs: false,
            duration: Duration::ZERO,
        };
        Update::against(self.last.as_ref(), update)
    }
}

/// The session of which bars were seen up to a moment: its end may be the start of the next day.
fn session_of(data_as_of: DateTime) -> Date {
    let is_end = data_as_of.time() == Time::midnight();
    if is_end { data_as_of.date().checked_sub(1.day()).unwrap_or(data_as_of.date()) } else { data_as_of.date() }
}

/// What an event says; `None`: nothing that is of use here.
fn of(server: &Server, kind: &str, data: String) -> Option<Event> {
    let told = || {
        let document: Value = serde_json::from_str(&data).unwrap_or_default();
        let detail = document.get("detail").and_then(Value::as_str).unwrap_or("no reason is given").to_owned();
        format!("{}: {detail}", server.url)
    };
    Some(match kind {
        "scan_update" => Event::Update(data),
        "stale" => Event::Failed(Error::Database(told())),
        "error" => Event::End(Error::Database(told())),
        "end" => Event::End(Error::Database(format!("the server at {} is shutting down", server.url))),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_a_session_is_not_the_next_session() {
        let moment = |text: &str| text.parse::<DateTime>().unwrap();
        assert_eq!(session_of(moment("2025-01-15T09:50:00")), moment("2025-01-15T00:00:00").date());
        assert_eq!(session_of(moment("2025-01-16T00:00:00")), moment("2025-01-15T00:00:00").date());
    }
}
