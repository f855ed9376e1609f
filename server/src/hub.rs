//! Live scans: each distinct one runs once at each tick, however many watch it, and not at all once nobody does.
//!
//! The newest result is kept for everybody as it is sent. Who is slow goes on with the newest one: nothing queues up.

use std::{
    collections::{HashMap, HashSet},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use axum::extract::ws::Utf8Bytes;
use jiff::{Timestamp, civil::Date};
use serde::Deserialize;
use serde_json::{Map, Value as JsonValue, json};
use sha2::{Digest, Sha256};
use stockscan_engine::{Argument, Engine, Error, Result, Value};
use stockscan_live::{LiveScan, Tick, Update, Watch, names};
use tokio::{
    sync::{Semaphore, oneshot, watch},
    time::{Instant, MissedTickBehavior, interval, timeout, timeout_at},
};
use tokio_util::sync::CancellationToken;

use crate::{
    app::App,
    problem::{Answer, Problem, now},
    scan::ScanRequest,
    work::{Instance, Workers},
};

/// More distinct scans are not watched at a time.
const MOST: usize = 256;
/// How long a tick waits for a file that another process holds.
const PATIENCE: Duration = Duration::from_secs(2);
/// How long it may take to look at what is asked for.
const LOOK: Duration = Duration::from_secs(10);
/// So many looks at a time. Who waits for one most often finds that somebody else has asked the same meanwhile.
const LOOKS: usize = 4;
/// Seconds between two ticks.
const INTERVALS: std::ops::RangeInclusive<f64> = 0.2..=86_400.0;
/// Where only the other arguments of a call matter.
const SOME_DAY: &str = "2000-01-01";

/// What is to be scanned again and again.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Wanted {
    /// The scanner's name.
    pub(crate) scanner_type: String,
    /// Values of its parameters, over those of the configuration.
    #[serde(default)]
    pub(crate) config: Option<Map<String, JsonValue>>,
    /// A fixed cutoff; without it the end of the newest bar.
    #[serde(default)]
    pub(crate) cutoff_time: Option<String>,
    /// Only these symbols.
    #[serde(default)]
    pub(crate) symbols: Option<Vec<String>>,
    /// Seconds between two ticks; without it `streaming.interval_seconds`.
    #[serde(default)]
    pub(crate) interval_seconds: Option<f64>,
    /// Values of parameters as an address has them.
    #[serde(skip)]
    pub(crate) texts: Vec<(String, String)>,
}

/// A scan that is ready to be run again and again.
struct Ready {
    scan: LiveScan,
    /// The same for the same scan.
    key: String,
}

impl Wanted {
    /// What an address asks for: `cutoff_time`, `interval`, `symbols`, and else parameters of the scanner.
    pub(crate) fn of_address(scanner_type: String, given: Vec<(String, String)>) -> Answer<Wanted> {
        let mut wanted = Wanted { scanner_type, ..Wanted::default() };
        let mut seen = HashSet::new();
        for (name, text) in given {
            if !seen.insert(name.clone()) {
                return Err(Problem::of_parameter(&name, format!("{name} is given twice; expected it once")));
            }
            match name.as_str() {
                "cutoff_time" => wanted.cutoff_time = Some(text),
                "symbols" => wanted.symbols = Some(text.split(',').map(|symbol| symbol.trim().to_owned()).collect()),
                "interval" => {
                    let seconds = text.trim().parse().ok().filter(|seconds| INTERVALS.contains(seconds));
                    wanted.interval_seconds = Some(seconds.ok_or_else(|| no_interval("interval", &text))?);
                }
                _ => wanted.texts.push((name, text)),
            }
        }
        Ok(wanted)
    }

    /// The time between two ticks, in whole milliseconds.
    fn interval(&self, app: &App) -> Answer<Duration> {
        let Some(seconds) = self.interval_seconds else {
            return Ok(Duration::from_secs(app.configuration().streaming.interval_seconds.0));
        };
        if !INTERVALS.contains(&seconds) {
            return Err(no_interval("interval_seconds", &seconds.to_string()));
        }
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "at most a day")]
        Ok(Duration::from_millis((seconds * 1000.0).round() as u64))
    }

    /// The same for the same words, as long as the configuration is the same.
    fn words(&self, interval: Duration, generation: u64) -> String {
        let Wanted { scanner_type, config, cutoff_time, symbols, texts, .. } = self;
        json!([scanner_type, config, cutoff_time, symbols, texts, interval.as_millis(), generation]).to_string()
    }

    /// Finds the scanner and checks the arguments.
    fn ready(&self, app: &App, engine: &Engine, interval: Duration) -> Result<Ready> {
        let function = engine.scanner_function(&self.scanner_type)?;
        let scanner = function.strip_prefix("scan_").unwrap_or(&function).to_owned();
        let symbols = self.symbols.as_deref();
        if symbols.is_some_and(|symbols| symbols.is_empty() || symbols.iter().any(String::is_empty)) {
            return Err(Error::Invalid(format!("{function}: symbols must be a list of symbols, such as A,B, or not be given")));
        }
        let texts: Vec<_> = self.texts.iter().map(|(name, text)| (name.clone(), Argument::Text(text.clone()))).collect();
        let mut config = self.config.clone().unwrap_or_default();
        for (name, value) in engine.values(&function, &texts)? {
            config.insert(name, stockscan_state::json(&value));
        }
        let request = ScanRequest {
            scanner_type: self.scanner_type.clone(),
            cutoff_time: self.cutoff_time.clone(),
            symbols: self.symbols.clone(),
            config: Some(config),
            ..ScanRequest::default()
        };
        let arguments = request.arguments(app, engine, &function, &scanner)?;
        let scan = LiveScan { settings: app.configuration().run_settings(&scanner), function, arguments };
        let day = ("scan_date".to_owned(), Argument::Value(Value::Text(SOME_DAY.to_owned())));
        let call = engine.call(&scan.function, &[&[day], &scan.arguments[..]].concat())?;
        let values: Vec<JsonValue> = call.arguments.iter().map(|(name, value)| json!([name, stockscan_state::json(value)])).collect();
        Ok(Ready { key: json!([scan.function, values, interval.as_millis()]).to_string(), scan })
    }
}

fn no_interval(name: &str, given: &str) -> Problem {
    let (least, most) = (INTERVALS.start(), INTERVALS.end());
    Problem::of_parameter(name, format!("{name} must be between {least} and {most} seconds, got {given}"))
}

/// What a scan found, as it is sent.
#[derive(Debug)]
pub(crate) struct Found {
    /// Counted from 1.
    number: u64,
    session: Date,
    /// Up to when bars were seen, exchange time.
    pub(crate) data_as_of: String,
    names: Vec<String>,
    /// The message, up to `added`.
    head: String,
    /// The message for those who have seen the result before.
    shared: Utf8Bytes,
}

/// A result before it is known what it is compared with.
struct Fresh {
    session: Date,
    data_as_of: String,
    names: Vec<String>,
    head: String,
    differs: bool,
}

impl Fresh {
    fn new(id: &str, update: &Update) -> Result<Fresh> {
        let mut document = update.document()?;
        if let Some(document) = document.as_object_mut() {
            document.shift_remove("added");
            document.shift_remove("removed");
            document.insert("subscription_id".to_owned(), id.into());
        }
        let mut head = document.to_string();
        head.pop();
        Ok(Fresh {
            session: update.session,
            data_as_of: update.data_as_of.to_string(),
            names: names(&update.results)?,
            head,
            differs: update.differs,
        })
    }
}

impl Found {
    fn new(fresh: Fresh, before: Option<&Found>) -> Found {
        let Fresh { session, data_as_of, names, head, .. } = fresh;
        let number = before.map_or(0, |before| before.number) + 1;
        let mut found = Found { number, session, data_as_of, names, head, shared: Utf8Bytes::default() };
        found.shared = found.compared(before);
        found
    }

    /// The message for one who has seen that last.
    pub(crate) fn message(&self, seen: Option<&Found>) -> Utf8Bytes {
        if seen.map_or(0, |seen| seen.number) + 1 == self.number { self.shared.clone() } else { self.compared(seen) }
    }

    /// With what is new since then. With a new session, all is.
    fn compared(&self, before: Option<&Found>) -> Utf8Bytes {
        let before = before.filter(|before| before.session == self.session).map_or(&[][..], |before| &before.names);
        let (then, now): (HashSet<&String>, HashSet<&String>) = (before.iter().collect(), self.names.iter().collect());
        let added: Vec<&String> = self.names.iter().filter(|name| !then.contains(name)).collect();
        let removed: Vec<&String> = before.iter().filter(|name| !now.contains(name)).collect();
        format!("{},\"added\":{},\"removed\":{}}}", self.head, json!(added), json!(removed)).into()
    }
}

/// How a live scan stands.
#[derive(Debug, Clone, Default)]
pub(crate) struct Snapshot {
    pub(crate) state: State,
    /// The newest result, which may be out of date.
    pub(crate) found: Option<Arc<Found>>,
}

#[derive(Debug, Clone, Default)]
pub(crate) enum State {
    /// It has not been run yet.
    #[default]
    Pending,
    /// The newest result is that of the data.
    Current,
    /// The last tick had no result. It is tried again.
    Stale(Arc<Problem>),
    /// It cannot be run at all. It has ended.
    Refused(Arc<Problem>),
}

/// A live scan.
#[derive(Debug)]
pub(crate) struct Running {
    /// Its name, the same for the same scan.
    pub(crate) id: String,
    pub(crate) scanner: String,
    pub(crate) interval: Duration,
    key: String,
    snapshots: watch::Sender<Arc<Snapshot>>,
    /// When the data was last looked at, in milliseconds.
    checked: AtomicI64,
}

impl Running {
    /// When the data was last looked at with success.
    pub(crate) fn checked_at(&self) -> Option<String> {
        let milliseconds = self.checked.load(Ordering::Relaxed);
        Timestamp::from_millisecond(milliseconds).ok().filter(|_| milliseconds > 0).map(|moment| format!("{moment:.3}"))
    }

    /// How it stands.
    pub(crate) fn snapshot(&self) -> Arc<Snapshot> {
        Arc::clone(&self.snapshots.borrow())
    }
}

/// A live scan, for one who watches it.
#[derive(Debug)]
pub(crate) struct Subscription {
    pub(crate) running: Arc<Running>,
    pub(crate) snapshots: watch::Receiver<Arc<Snapshot>>,
}

impl Subscription {
    /// Waits for the first tick, but not for long. A scan that cannot be run is a problem now and not later.
    pub(crate) async fn begun(mut self) -> Answer<Subscription> {
        let first = timeout(LOOK, self.snapshots.wait_for(|snapshot| !matches!(snapshot.state, State::Pending))).await;
        let refused = match &first {
            Ok(Ok(snapshot)) => match &snapshot.state {
                State::Refused(problem) => Some(Problem::clone(problem)),
                _ => None,
            },
            _ => None,
        };
        drop(first);
        refused.map_or(Ok(self), Err)
    }
}

/// All live scans.
#[derive(Debug)]
pub(crate) struct Hub {
    /// Other ones than those of requests, so that neither waits for the other.
    workers: Arc<Workers>,
    looks: Semaphore,
    running: Mutex<Scans>,
    shutdown: CancellationToken,
}

#[derive(Debug, Default)]
struct Scans {
    by_key: HashMap<String, Arc<Running>>,
    /// What was asked for in the same words need not be looked at again.
    by_words: HashMap<String, Arc<Running>>,
}

impl Hub {
    pub(crate) fn new(market: Arc<crate::market::Market>, at_a_time: usize, shutdown: CancellationToken) -> Arc<Hub> {
        let workers = Arc::new(Workers::new(market, at_a_time, MOST).with_patience(PATIENCE));
        Arc::new(Hub { workers, looks: Semaphore::new(LOOKS), running: Mutex::default(), shutdown })
    }

    /// How many watch, and how many distinct scans.
    pub(crate) fn load(&self) -> (usize, usize) {
        let scans = self.lock();
        (scans.by_key.values().map(|running| running.snapshots.receiver_count()).sum(), scans.by_key.len())
    }

    /// Whether a scan has not ended long after it should have.
    pub(crate) fn is_stuck(&self) -> bool {
        self.workers.is_stuck()
    }

    /// Joins those who watch a scan, or starts it.
    ///
    /// # Errors
    /// 400, 404 for what cannot be scanned, 503 when that cannot be told now or when too much is watched.
    pub(crate) async fn subscribe(self: &Arc<Hub>, app: &Arc<App>, wanted: Wanted) -> Answer<Subscription> {
        let named = |problem: Problem| problem.with_scanner(&wanted.scanner_type);
        // A socket that was opened long ago asks for more without a request.
        app.settings.look(&app.market).await;
        let interval = wanted.interval(app).map_err(named)?;
        let words = wanted.words(interval, app.configuration().generation);
        if let Some(subscription) = self.known(&words) {
            return Ok(subscription);
        }
        let busy = || Problem::busy("more is asked than can be done; try again in a moment", 1);
        let _look = timeout(LOOK, self.looks.acquire()).await.ok().and_then(std::result::Result::ok).ok_or_else(busy)?;
        if let Some(subscription) = self.known(&words) {
            return Ok(subscription);
        }
        let (inner, asked) = (Arc::clone(app), wanted.clone());
        let look = move |engine: &Engine| asked.ready(&inner, engine, interval);
        let ready = app.workers.run(Instance::Ours, app.allowed().min(LOOK), look).await.map_err(named)?;
        self.join(ready, words, interval).map_err(named)
    }

    fn known(&self, words: &str) -> Option<Subscription> {
        self.lock().by_words.get(words).map(subscribed)
    }

    fn join(self: &Arc<Hub>, ready: Ready, words: String, interval: Duration) -> Answer<Subscription> {
        let mut scans = self.lock();
        if let Some(running) = scans.by_key.get(&ready.key).cloned() {
            if scans.by_words.len() < 4 * MOST {
                scans.by_words.insert(words, Arc::clone(&running));
            }
            return Ok(subscribed(&running));
        }
        if scans.by_key.len() >= MOST {
            return Err(Problem::busy(format!("{MOST} different live scans are watched already, and no more can be"), 30));
        }
        let hash = Sha256::digest(ready.key.as_bytes());
        let running = Arc::new(Running {
            id: hash.iter().take(8).map(|byte| format!("{byte:02x}")).collect(),
            scanner: ready.scan.scanner_type().to_owned(),
            interval,
            key: ready.key.clone(),
            snapshots: watch::Sender::new(Arc::default()),
            checked: AtomicI64::new(0),
        });
        let subscription = subscribed(&running);
        scans.by_key.insert(ready.key, Arc::clone(&running));
        scans.by_words.insert(words, Arc::clone(&running));
        drop(scans);
        tokio::spawn(Arc::clone(self).run(running, ready.scan));
        Ok(subscription)
    }

    /// Forgets a scan; not if somebody watches it, unless it has ended.
    fn forget(&self, gone: &Arc<Running>, has_ended: bool) -> bool {
        let mut scans = self.lock();
        if !has_ended && gone.snapshots.receiver_count() > 0 {
            return false;
        }
        scans.by_key.remove(&gone.key);
        scans.by_words.retain(|_, running| !Arc::ptr_eq(running, gone));
        true
    }

    fn lock(&self) -> MutexGuard<'_, Scans> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ticks as long as somebody watches.
    async fn run(self: Arc<Hub>, running: Arc<Running>, scan: LiveScan) {
        let mut watch = Watch::new(scan.clone());
        let mut pace = interval(running.interval);
        pace.set_missed_tick_behavior(MissedTickBehavior::Skip);
        loop {
            let nobody = tokio::select! {
                () = self.shutdown.cancelled() => return,
                () = running.snapshots.closed() => true,
                _ = pace.tick() => false,
            };
            if nobody {
                if self.forget(&running, false) {
                    return;
                }
                continue;
            }
            // What nobody waits for any more is stopped.
            let outcome = tokio::select! {
                () = self.shutdown.cancelled() => return,
                () = running.snapshots.closed() => None,
                ticked = self.tick(&running, watch) => Some(ticked),
            };
            let Some((used, outcome)) = outcome else {
                watch = Watch::new(scan.clone());
                continue;
            };
            watch = used.unwrap_or_else(|| Watch::new(scan.clone()));
            let label = match &outcome {
                Ok(Ticked::Found(_)) => "scanned",
                Ok(Ticked::Unchanged) => "unchanged",
                Ok(Ticked::NoBars) => "no_bars",
                Err(Failure { is_passing: true, .. }) => "locked",
                Err(_) => "failed",
            };
            metrics::counter!("stockscan_live_ticks_total", "outcome" => label).increment(1);
            if running.take(outcome) {
                self.forget(&running, true);
                return;
            }
        }
    }

    /// Runs the scan once, unless nothing was written since it last was.
    async fn tick(&self, running: &Arc<Running>, watch: Watch) -> (Option<Watch>, std::result::Result<Ticked, Failure>) {
        if watch.is_unchanged() {
            return (Some(watch), Ok(Ticked::Unchanged));
        }
        let allowed = watch.scan().settings.timeout + PATIENCE;
        let (sender, receiver) = oneshot::channel();
        let id = running.id.clone();
        let started = self.workers.start(Instance::Ours, allowed, move |engine| {
            let mut watch = watch;
            let outcome = match engine {
                Ok(engine) => match watch.tick_on(engine) {
                    Ok(Tick::Scanned(update)) => Fresh::new(&id, update).map(|fresh| Ticked::Found(Box::new(fresh))),
                    Ok(Tick::Unchanged) => Ok(Ticked::Unchanged),
                    Ok(Tick::NoBars) => Ok(Ticked::NoBars),
                    Err(error) => Err(error),
                },
                Err(error) => {
                    watch.failed(&error);
                    Err(error)
                }
            };
            // At the end nobody waits for it.
            let _ = sender.send((watch, outcome.map_err(Failure::from)));
        });
        let failed = |problem: Problem| Failure { problem, is_passing: false, is_refused: false };
        let (_stop, deadline) = match started.await {
            Ok(started) => started,
            Err(problem) => return (None, Err(failed(problem))),
        };
        match timeout_at(Instant::from_std(deadline), receiver).await {
            Ok(Ok((watch, outcome))) => (Some(watch), outcome),
            Ok(Err(_)) => (None, Err(failed(Problem::internal("the scan ended in a panic")))),
            Err(_) => (None, Err(failed(Problem::too_slow(allowed.as_secs())))),
        }
    }
}

fn subscribed(running: &Arc<Running>) -> Subscription {
    Subscription { running: Arc::clone(running), snapshots: running.snapshots.subscribe() }
}

enum Ticked {
    Found(Box<Fresh>),
    Unchanged,
    NoBars,
}

/// Why a tick has no result.
struct Failure {
    problem: Problem,
    is_passing: bool,
    /// Whether it never will.
    is_refused: bool,
}

impl From<Error> for Failure {
    fn from(error: Error) -> Failure {
        Failure { is_passing: error.is_passing(), is_refused: error.is_usage(), problem: error.into() }
    }
}

impl Running {
    /// Makes known what came of a tick. Whether it was the last one.
    fn take(&self, outcome: std::result::Result<Ticked, Failure>) -> bool {
        if outcome.is_ok() {
            self.checked.store(Timestamp::now().as_millisecond(), Ordering::Relaxed);
        }
        let last = self.snapshot();
        let found = last.found.clone();
        let state = match outcome {
            Ok(Ticked::Unchanged) => return false,
            Ok(Ticked::Found(fresh)) => {
                // After a failure it is said again, as it is again known to be so.
                if matches!(last.state, State::Current) && !fresh.differs {
                    return false;
                }
                let found = Some(Arc::new(Found::new(*fresh, found.as_deref())));
                self.snapshots.send_replace(Arc::new(Snapshot { state: State::Current, found }));
                return false;
            }
            Ok(Ticked::NoBars) => State::Stale(Arc::new(
                self.named(Problem { error: "no_bars", ..Problem::not_found("there is no bar yet that can be scanned") }),
            )),
            Err(Failure { problem, is_refused: true, .. }) => State::Refused(Arc::new(self.named(problem))),
            Err(Failure { problem, .. }) => State::Stale(Arc::new(self.named(problem))),
        };
        let is_refused = matches!(state, State::Refused(_));
        if let (State::Stale(before), State::Stale(after)) = (&last.state, &state)
            && before.detail == after.detail
        {
            return false;
        }
        if let State::Stale(problem) | State::Refused(problem) = &state {
            let cause = problem.for_the_log.as_deref().unwrap_or_default();
            tracing::warn!(subscription = self.id, scanner = self.scanner, detail = problem.detail, cause, "a live scan has no result");
        }
        self.snapshots.send_replace(Arc::new(Snapshot { state, found }));
        is_refused
    }

    fn named(&self, problem: Problem) -> Problem {
        Problem { timestamp: now(), ..problem.with_scanner(&self.scanner) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(session: i8, names: &[&str], before: Option<&Found>) -> Found {
        let fresh = Fresh {
            session: jiff::civil::date(2025, 1, session),
            data_as_of: String::new(),
            names: names.iter().map(|name| (*name).to_owned()).collect(),
            head: r#"{"type":"scan_update""#.to_owned(),
            differs: true,
        };
        Found::new(fresh, before)
    }

    fn changes(message: &Utf8Bytes) -> (JsonValue, JsonValue) {
        let message: JsonValue = serde_json::from_str(message).unwrap();
        (message["added"].clone(), message["removed"].clone())
    }

    #[test]
    fn changes_are_told_against_what_each_client_saw_last() {
        let first = found(15, &["A", "B"], None);
        let second = found(15, &["B", "C"], Some(&first));
        let third = found(15, &["C", "A"], Some(&second));
        assert_eq!(changes(&first.message(None)), (json!(["A", "B"]), json!([])));
        assert_eq!(changes(&third.message(Some(&second))), (json!(["A"]), json!(["B"])));
        // Against the tick before, A would be new to one who has seen it already, and C nothing new to one who has not.
        assert_eq!(changes(&third.message(Some(&first))), (json!(["C"]), json!(["B"])));
        assert_eq!(changes(&third.message(None)), (json!(["C", "A"]), json!([])), "who comes late has seen nothing");
    }

    #[test]
    fn names_of_the_session_before_are_not_removed_they_are_over() {
        let yesterday = found(15, &["A", "B"], None);
        let today = found(16, &["B"], Some(&yesterday));
        assert_eq!(changes(&today.message(Some(&yesterday))), (json!(["B"]), json!([])));
    }
}
