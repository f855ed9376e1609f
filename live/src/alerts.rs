//! Follows rules: scans, records each new name once, and hands it to whoever is to be told.

use std::{
    collections::HashSet,
    path::PathBuf,
    sync::{
        Arc, Mutex, PoisonError,
        mpsc::{self, Receiver as Inbox, Sender},
    },
    thread,
    time::{Duration, Instant},
};

use jiff::civil::Date;
use stockscan_engine::{Engine, Error, Result};

use crate::{Alert, Attempt, Backoff, Ledger, Rule, Statistics, Tick, Watch, delivery::Delivery, ledger::Message};

/// Something to be told.
#[derive(Debug)]
pub enum Event {
    /// A rule has found a name for the first time in its session. It is recorded.
    Fired(Alert),
    /// A rule's scan failed.
    Failed {
        /// The rule.
        rule: String,
        /// Why.
        error: Error,
    },
    /// A message was sent, or that was tried.
    Attempted(Attempt),
    /// The record could not be written or read; it is tried again.
    NotRecorded(Error),
}

/// Rules that are followed.
#[derive(Debug)]
pub struct Alerts {
    rules: Vec<Followed>,
    ledger: Arc<Mutex<Ledger>>,
    concurrency: usize,
    events: Inbox<Event>,
}

#[derive(Debug)]
struct Followed {
    rule: Rule,
    watch: Watch,
    next: Instant,
    /// What is recorded already, as far as this run knows.
    known: HashSet<(Date, String)>,
    /// Names that could not be recorded.
    has_unrecorded: bool,
    delivery: Option<Delivery>,
}

impl Alerts {
    /// Starts at once, with the messages that an earlier run did not deliver. At most `concurrency` rules are scanned at a time.
    ///
    /// # Errors
    /// A record that cannot be opened.
    pub fn new(rules: Vec<Rule>, ledger: Ledger, concurrency: usize, backoff: Backoff) -> Result<Alerts> {
        let ledger = Arc::new(Mutex::new(ledger));
        let (sender, events) = mpsc::channel();
        let now = Instant::now();
        let follow = |rule: Rule| {
            let delivery = rule.receiver.as_ref().map(|receiver| start(&rule, receiver.clone(), &ledger, backoff, &sender)).transpose()?;
            let watch = Watch::new(rule.scan.clone());
            Ok(Followed { rule, watch, next: now, known: HashSet::new(), has_unrecorded: false, delivery })
        };
        let rules = rules.into_iter().map(follow).collect::<Result<Vec<_>>>()?;
        Ok(Alerts { rules, ledger, concurrency: concurrency.max(1), events })
    }

    /// When the next scan is due.
    #[must_use]
    pub fn next(&self) -> Option<Instant> {
        self.rules.iter().map(|followed| followed.next).min()
    }

    /// How the scans of each rule went.
    pub fn statistics(&self) -> impl Iterator<Item = (&str, &Statistics)> {
        self.rules.iter().map(|followed| (followed.rule.name.as_str(), followed.watch.statistics()))
    }

    /// Scans for the rules that are due, and records what is new. `read` does something with the database open, and may try that again, so
    /// many times, where another process holds it. `running` is told which engines work on it, so that they can be interrupted.
    pub fn step(
        &mut self,
        read: impl FnOnce(u64, &mut dyn FnMut(&Engine) -> Result<()>) -> Result<()>,
        running: impl Fn(&[Engine]),
    ) -> Vec<Event> {
        let now = Instant::now();
        let mut due: Vec<&mut Followed> = self.rules.iter_mut().filter(|followed| followed.next <= now).collect();
        for followed in &mut due {
            while followed.next <= now {
                followed.next += followed.rule.interval;
            }
        }
        let mut events = Vec::new();
        let retries = due.iter().map(|followed| followed.rule.scan.settings.retry_attempts).max().unwrap_or(0);
        // A database to which nothing was written need not be opened.
        let mut changed: Vec<&mut Followed> =
            due.into_iter().filter(|followed| followed.has_unrecorded || !followed.watch.is_unchanged()).collect();
        if changed.is_empty() {
            return events;
        }
        let concurrency = self.concurrency;
        let mut outcomes = Vec::new();
        let mut database = None;
        let read = read(retries, &mut |engine| {
            database = engine.file().map(PathBuf::from);
            for some in changed.chunks_mut(concurrency) {
                let engines = some.iter().map(|_| engine.try_clone()).collect::<Result<Vec<_>>>()?;
                running(&engines);
                outcomes.extend(thread::scope(|scope| {
                    let scans = some.iter_mut().zip(engines).map(|(followed, engine)| scope.spawn(move || followed.scan(&engine)));
                    let lost = || Err(Error::Database("the thread of a scan has ended".to_owned()));
                    scans.collect::<Vec<_>>().into_iter().map(|scan| scan.join().unwrap_or_else(|_| lost())).collect::<Vec<_>>()
                }));
            }
            Ok(())
        });
        running(&[]);
        let scanned = outcomes.len();
        // The database is closed by now: whoever writes to it need not wait for the record.
        for (followed, outcome) in changed.iter_mut().zip(outcomes) {
            match outcome {
                Ok(alerts) => events.extend(followed.fire(alerts, &self.ledger)),
                Err(error) => events.push(Event::Failed { rule: followed.rule.name.clone(), error }),
            }
            let is_told = events.iter().any(|event| matches!(event, Event::NotRecorded(_)));
            let ledger = self.ledger.lock().unwrap_or_else(PoisonError::into_inner);
            let recorded = ledger.record_scan("alerts", &mut followed.watch, database.as_deref());
            drop(ledger);
            events.extend(recorded.err().filter(|_| !is_told).map(Event::NotRecorded));
        }
        if let Err(error) = read {
            let mut changed = changed.split_off(scanned);
            for followed in &mut changed {
                followed.watch.failed(&error);
            }
            let rule = changed.iter().map(|followed| followed.rule.name.as_str()).collect::<Vec<_>>().join(", ");
            events.push(Event::Failed { rule, error });
        }
        events
    }

    /// How many messages are still to be delivered.
    ///
    /// # Errors
    /// A record that cannot be read.
    pub fn waiting(&self) -> Result<u64> {
        let tallies = self.ledger.lock().unwrap_or_else(PoisonError::into_inner).tallies()?;
        let followed = |tally: &&crate::Tally| self.rules.iter().any(|followed| followed.rule.name == tally.rule);
        Ok(tallies.iter().filter(followed).map(|tally| tally.waiting.unsigned_abs()).sum())
    }

    /// What became of messages since this was last asked.
    pub fn delivered(&self) -> impl Iterator<Item = Event> {
        self.events.try_iter()
    }

    /// Waits until each message has been tried, but no longer than that. Returns whether all were.
    #[must_use]
    pub fn settle(&self, patience: Duration, is_stopped: impl Fn() -> bool) -> bool {
        let started = Instant::now();
        let is_idle = || self.rules.iter().filter_map(|followed| followed.delivery.as_ref()).all(Delivery::is_idle);
        while !is_idle() && !is_stopped() && started.elapsed() < patience {
            thread::sleep(Duration::from_millis(20));
        }
        is_idle()
    }
}

fn start(
    rule: &Rule,
    receiver: crate::Receiver,
    ledger: &Arc<Mutex<Ledger>>,
    backoff: Backoff,
    events: &Sender<Event>,
) -> Result<Delivery> {
    Delivery::start(rule.name.clone(), receiver, ledger.clone(), backoff, events.clone())
}

impl Followed {
    fn scan(&mut self, engine: &Engine) -> Result<Vec<Alert>> {
        match self.watch.tick_on(engine)? {
            Tick::Scanned(update) => Alert::all(&self.rule, update),
            Tick::Unchanged if self.has_unrecorded => self.watch.last().map_or(Ok(Vec::new()), |update| Alert::all(&self.rule, update)),
            Tick::Unchanged | Tick::NoBars => Ok(Vec::new()),
        }
    }

    /// Records what has not been, and hands it over.
    fn fire(&mut self, mut alerts: Vec<Alert>, ledger: &Mutex<Ledger>) -> Vec<Event> {
        alerts.retain(|alert| !self.known.contains(&(alert.session, alert.symbol.clone())));
        if alerts.is_empty() {
            return Vec::new();
        }
        let names: Vec<(Date, String)> = alerts.iter().map(|alert| (alert.session, alert.symbol.clone())).collect();
        let recorded = ledger.lock().unwrap_or_else(PoisonError::into_inner).record(alerts);
        self.has_unrecorded = recorded.is_err();
        match recorded {
            Ok(fired) => {
                self.known.extend(names);
                if let Some(delivery) = &self.delivery {
                    fired.iter().filter_map(|alert| Message::of(alert, 0)).for_each(|message| delivery.send(message));
                }
                fired.into_iter().map(Event::Fired).collect()
            }
            Err(error) => vec![Event::NotRecorded(error)],
        }
    }
}
