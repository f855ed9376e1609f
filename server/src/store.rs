//! The history of scans, kept by a thread of its own: nobody who scans waits for it to be written.
//!
//! Scans are written together, a moment after they ended. What cannot be written is kept and tried again, with growing waits, as long as it is
//! not too much; what is too much is counted and said in the log. Reading goes through the same thread, behind what is still to be written, so
//! that every scan is found from the moment it is answered on.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, AtomicUsize, Ordering},
        mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel},
    },
    thread,
    time::{Duration, Instant},
};

use moka::{policy::EvictionPolicy, sync::Cache as Moka};
use stockscan_engine::{Engine, Error, InterruptHandle, Options, Result};
use stockscan_state::{Record, State};
use tokio::sync::oneshot;

use crate::problem::{Answer, Problem};

/// How long a scan waits for others to be written with it.
const LINGER: Duration = Duration::from_millis(100);
/// The first wait after a failure; each further one is twice as long.
const FIRST_WAIT: Duration = Duration::from_millis(250);
/// No wait is longer.
const LONGEST_WAIT: Duration = Duration::from_secs(30);
/// So many scans are written together.
const BATCH: usize = 1000;
/// So many are tried one by one when they cannot be written together.
const ALONE: usize = 20;
/// So many scans may wait to be written,
const MOST_WAITING: usize = 10_000;
/// and so many bytes of them.
const MOST_BYTES: u64 = 128 << 20;
/// So many bytes of scans are kept in memory to be read again.
const NEWEST: u64 = 32 << 20;
/// A scan without its rows takes about so much memory.
const HEAD: u64 = 2048;

/// The history of scans.
pub(crate) struct Store {
    sender: SyncSender<Work>,
    shared: Arc<Shared>,
}

struct Shared {
    newest: Moka<String, Arc<Record>>,
    /// Scans that are not written yet, and their bytes.
    waiting: AtomicUsize,
    bytes: AtomicU64,
    /// Who is at work, and how to stop that.
    running: Mutex<Option<(u64, Arc<InterruptHandle>)>>,
    next: AtomicU64,
}

enum Work {
    Scan(Arc<Record>),
    Task(u64, Box<dyn FnOnce(&Keeper) + Send>),
    Flush(oneshot::Sender<usize>),
}

/// The thread's own.
pub(crate) struct Keeper {
    /// The history's file.
    pub(crate) state: State,
    /// What it is read and written with.
    pub(crate) engine: Engine,
    pending: Vec<Arc<Record>>,
    /// When to write next.
    due: Option<Instant>,
    /// How long the last wait after a failure was; `None`: the last attempt succeeded.
    wait: Option<Duration>,
    shared: Arc<Shared>,
}

impl Store {
    /// The history in this file, which need not exist yet.
    ///
    /// # Errors
    /// As [`Engine::open`].
    pub(crate) fn open(state: State) -> Result<Store> {
        let weigh = |_: &String, record: &Arc<Record>| u32::try_from(size(record)).unwrap_or(u32::MAX);
        let shared = Arc::new(Shared {
            // Whatever was asked for how often: the newest is asked for next.
            newest: Moka::builder().weigher(weigh).max_capacity(NEWEST).eviction_policy(EvictionPolicy::lru()).build(),
            waiting: AtomicUsize::new(0),
            bytes: AtomicU64::new(0),
            running: Mutex::new(None),
            next: AtomicU64::new(0),
        });
        let (sender, receiver) = sync_channel(MOST_WAITING);
        let mut keeper = Keeper { state, engine: engine()?, pending: Vec::new(), due: None, wait: None, shared: Arc::clone(&shared) };
        thread::Builder::new().name("history".to_owned()).spawn(move || keeper.keep(&receiver))?;
        Ok(Store { sender, shared })
    }

    /// Takes a scan to be written. Does not wait.
    pub(crate) fn record(&self, record: Record) {
        let record = Arc::new(record);
        let bytes = size(&record);
        if record.failure.is_none() {
            self.shared.newest.insert(record.scan_id.clone(), Arc::clone(&record));
        }
        let waiting = self.shared.waiting.fetch_add(1, Ordering::Relaxed);
        let held = self.shared.bytes.fetch_add(bytes, Ordering::Relaxed);
        let has_room = waiting < MOST_WAITING && held + bytes <= MOST_BYTES;
        if !has_room || self.sender.try_send(Work::Scan(Arc::clone(&record))).is_err() {
            self.shared.gone(&record);
            lost(&record, "more wait to be written than can be kept");
        }
    }

    /// A scan whose id is known in full, if it is one of the newest.
    pub(crate) fn newest(&self, scan_id: &str) -> Option<Arc<Record>> {
        self.shared.newest.get(scan_id)
    }

    /// How many scans are not written yet.
    pub(crate) fn waiting(&self) -> usize {
        self.shared.waiting.load(Ordering::Relaxed)
    }

    /// Does something with the history's file, and answers. When the future is dropped, or the time is up, it is stopped.
    ///
    /// # Errors
    /// 503 when too much is asked of it already, 504 when the time is up, and what the work says.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        allowed: Duration,
        work: impl FnOnce(&Keeper) -> Result<T> + Send + 'static,
    ) -> Answer<T> {
        let (sender, receiver) = oneshot::channel();
        let number = self.shared.next.fetch_add(1, Ordering::Relaxed);
        let task = move |keeper: &Keeper| {
            if !sender.is_closed() {
                // Whoever asked may have left.
                let _ = sender.send(work(keeper));
            }
        };
        match self.sender.try_send(Work::Task(number, Box::new(task))) {
            Ok(()) => {}
            Err(TrySendError::Full(_)) => {
                return Err(Problem::busy("more is asked of the history than can be done; try again in a moment", 1));
            }
            Err(TrySendError::Disconnected(_)) => return Err(Problem::internal("the history's thread has ended")),
        }
        let _leave = Leave { number, shared: &self.shared };
        match tokio::time::timeout(allowed, receiver).await {
            Ok(Ok(outcome)) => Ok(outcome?),
            Ok(Err(_)) => Err(Problem::internal("the work on the history ended in a panic")),
            Err(_) => Err(Problem::too_slow(allowed.as_secs())),
        }
    }

    /// Writes what is still to be written. Returns how many scans could not be, by the end of the time allowed.
    pub(crate) async fn flush(&self, allowed: Duration) -> usize {
        let flushed = async {
            loop {
                let (sender, receiver) = oneshot::channel();
                match self.sender.try_send(Work::Flush(sender)) {
                    Ok(()) => return receiver.await.ok(),
                    Err(TrySendError::Full(_)) => tokio::time::sleep(Duration::from_millis(10)).await,
                    Err(TrySendError::Disconnected(_)) => return None,
                }
            }
        };
        tokio::time::timeout(allowed, flushed).await.ok().flatten().unwrap_or_else(|| self.waiting())
    }
}

/// Stops the work of one who leaves.
struct Leave<'a> {
    number: u64,
    shared: &'a Shared,
}

impl Drop for Leave<'_> {
    fn drop(&mut self) {
        // Nobody else's work begins while this is held.
        let running = self.shared.running.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, handle)) = running.as_ref().filter(|(number, _)| *number == self.number) {
            handle.interrupt();
        }
    }
}

impl Shared {
    /// A scan waits no longer, whatever became of it.
    fn gone(&self, record: &Record) {
        let waiting = self.waiting.fetch_sub(1, Ordering::Relaxed);
        self.bytes.fetch_sub(size(record), Ordering::Relaxed);
        metrics::gauge!("stockscan_scans_to_record").set(u32::try_from(waiting - 1).map_or(f64::INFINITY, f64::from));
    }

    fn set_running(&self, running: Option<(u64, Arc<InterruptHandle>)>) {
        *self.running.lock().unwrap_or_else(PoisonError::into_inner) = running;
    }
}

impl Keeper {
    /// The scans whose ids begin with these letters, but no more than two; of `latest` the newest.
    ///
    /// # Errors
    /// As [`State::with`].
    pub(crate) fn matching(&self, given: &str) -> Result<Vec<String>> {
        let newest = self.pending.iter().max_by_key(|record| record.started_at);
        if let ("latest", Some(newest)) = (given, newest) {
            return Ok(vec![newest.scan_id.clone()]);
        }
        let mut found = self.state.matching(&self.engine, given)?;
        found.extend(self.pending.iter().map(|record| record.scan_id.clone()).filter(|scan_id| scan_id.starts_with(given)).take(2));
        found.dedup();
        Ok(found)
    }

    /// A scan with its rows.
    ///
    /// # Errors
    /// As [`State::with`].
    pub(crate) fn scan(&self, scan_id: &str) -> Result<Option<Arc<Record>>> {
        if let Some(record) = self.pending.iter().find(|record| record.scan_id == scan_id) {
            return Ok(Some(Arc::clone(record)));
        }
        let found = self.state.scan(&self.engine, scan_id)?.map(Arc::new);
        if let Some(record) = found.as_ref().filter(|record| record.failure.is_none()) {
            self.shared.newest.insert(scan_id.to_owned(), Arc::clone(record));
        }
        Ok(found)
    }

    fn keep(&mut self, receiver: &Receiver<Work>) {
        loop {
            let work = match self.due {
                Some(due) => receiver.recv_timeout(due.saturating_duration_since(Instant::now())),
                None => receiver.recv().map_err(RecvTimeoutError::from),
            };
            match work {
                Ok(Work::Scan(record)) => {
                    self.pending.push(record);
                    self.due.get_or_insert_with(|| Instant::now() + LINGER);
                    if self.pending.len() >= BATCH && self.wait.is_none() {
                        self.write();
                    }
                }
                Ok(Work::Task(number, task)) => {
                    if self.wait.is_none() {
                        self.write();
                    }
                    self.shared.set_running(Some((number, self.engine.interrupt_handle())));
                    let outcome = catch_unwind(AssertUnwindSafe(|| task(self)));
                    self.shared.set_running(None);
                    if outcome.is_err() {
                        self.renew();
                    }
                }
                Ok(Work::Flush(sender)) => {
                    self.write();
                    // It has its own time.
                    let _ = sender.send(self.pending.len());
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return self.write(),
            }
            if self.due.is_some_and(|due| due <= Instant::now()) {
                self.write();
            }
        }
    }

    /// Writes what is to be written.
    fn write(&mut self) {
        while !self.pending.is_empty() {
            let count = self.pending.len().min(BATCH);
            let batch: Vec<Arc<Record>> = self.pending[..count].to_vec();
            let Err(error) = self.attempt(&batch) else {
                self.written(count);
                continue;
            };
            if count > 1 && !error.is_passing() && self.write_alone(count) {
                continue;
            }
            let wait = self.wait.map_or(FIRST_WAIT, |wait| (wait * 2).min(LONGEST_WAIT));
            tracing::warn!(%error, scans = self.pending.len(), "scans are not in the history yet; tried again in {wait:?}");
            self.wait = Some(wait);
            self.due = Some(Instant::now() + wait);
            return;
        }
        (self.due, self.wait) = (None, None);
    }

    /// Writes scans one by one, for one of them may be what is wrong. `false`: none could be written, so that it is something else.
    fn write_alone(&mut self, count: usize) -> bool {
        let first: Vec<Arc<Record>> = self.pending[..count.min(ALONE)].to_vec();
        let outcomes: Vec<Result<()>> = first.iter().map(|record| self.attempt(std::slice::from_ref(record))).collect();
        if outcomes.iter().all(Result::is_err) {
            // Others come first next time.
            self.pending.rotate_left(first.len());
            return false;
        }
        for (record, outcome) in first.iter().zip(&outcomes) {
            if let Err(error) = outcome {
                lost(record, &error.to_string());
            }
        }
        self.written(first.len());
        true
    }

    fn attempt(&mut self, records: &[Arc<Record>]) -> Result<()> {
        let attempted = catch_unwind(AssertUnwindSafe(|| self.state.record_all(&self.engine, records)));
        attempted.unwrap_or_else(|_| {
            self.renew();
            Err(Error::Database("writing to the history ended in a panic".to_owned()))
        })
    }

    fn written(&mut self, count: usize) {
        for record in self.pending.drain(..count) {
            self.shared.gone(&record);
        }
    }

    /// After a panic the file may still be attached.
    fn renew(&mut self) {
        match engine() {
            Ok(engine) => self.engine = engine,
            Err(error) => tracing::error!(%error, "DuckDB could not be opened again for the history"),
        }
    }
}

fn engine() -> Result<Engine> {
    Engine::open(Options { threads: Some(1), ..Options::memory() })
}

fn size(record: &Record) -> u64 {
    HEAD + record.size() as u64
}

fn lost(record: &Record, why: &str) {
    metrics::counter!("stockscan_scans_not_recorded_total").increment(1);
    tracing::error!(scan_id = record.scan_id, why, "a scan is not in the history");
}

#[cfg(test)]
mod tests {
    use stockscan_engine::{Call, Value};
    use stockscan_state::{Filter, Outcome, Results, SERVER, Scan, new_scan_id};

    use super::*;

    fn record() -> Record {
        let call = Call { function: "scan_breakout".to_owned(), arguments: vec![("min_volume".to_owned(), Value::BigInt(1))] };
        let (scan_id, results) = (new_scan_id(), Results::default());
        let elapsed = Duration::from_millis(1);
        Scan {
            scan_id: &scan_id,
            command: SERVER,
            call: &call,
            database: None,
            data_version: None,
            elapsed,
            outcome: Outcome::Done(&results),
        }
        .record()
    }

    async fn stored(store: &Store) -> u64 {
        store.run(Duration::from_secs(30), |keeper| Ok(keeper.state.scans(&keeper.engine, &Filter::default(), 1, 0)?.0)).await.unwrap()
    }

    #[tokio::test]
    async fn a_scan_is_found_from_the_moment_it_is_recorded_on() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(State::new(folder.path().join("state.duckdb"))).unwrap();
        for count in 1..=20 {
            let record = record();
            let scan_id = record.scan_id.clone();
            store.record(record);
            assert!(store.newest(&scan_id).is_some());
            let found = store.run(Duration::from_secs(30), move |keeper| keeper.matching(&scan_id[..18])).await.unwrap();
            assert_eq!(found.len(), 1, "neither missing nor there twice");
            assert_eq!(stored(&store).await, count);
        }
        assert_eq!(store.waiting(), 0);
    }

    #[tokio::test]
    async fn what_cannot_be_written_is_kept_and_written_later() {
        let folder = tempfile::tempdir().unwrap();
        let place = folder.path().join("later");
        let store = Store::open(State::new(place.join("state.duckdb"))).unwrap();
        let ids: Vec<String> = (0..50)
            .map(|_| {
                let record = record();
                let scan_id = record.scan_id.clone();
                store.record(record);
                scan_id
            })
            .collect();
        assert_eq!(store.flush(Duration::from_secs(30)).await, 50, "there is no such folder");
        // It can be read all the same.
        let (first, last) = (ids[0].clone(), ids[49].clone());
        let found =
            store.run(Duration::from_secs(30), move |keeper| Ok((keeper.matching(&first)?, keeper.scan(&last)?.is_some()))).await.unwrap();
        assert_eq!(found, (vec![ids[0].clone()], true));
        std::fs::create_dir(&place).unwrap();
        assert_eq!(store.flush(Duration::from_secs(30)).await, 0);
        assert_eq!(stored(&store).await, 50);
    }

    #[tokio::test]
    async fn one_scan_that_cannot_be_written_does_not_keep_the_others_from_it() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(State::new(folder.path().join("state.duckdb"))).unwrap();
        for place in 0..30 {
            let record = record();
            let scan_id = if place == 7 { "no id".to_owned() } else { record.scan_id.clone() };
            store.record(Record { scan_id, ..record });
        }
        assert_eq!(store.flush(Duration::from_secs(30)).await, 0);
        assert_eq!(stored(&store).await, 29);
    }

    #[tokio::test]
    async fn a_panic_ends_neither_the_thread_nor_what_comes_after_it() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(State::new(folder.path().join("state.duckdb"))).unwrap();
        store.record(record());
        let panicked = store.run(Duration::from_secs(30), |keeper| -> Result<()> {
            // With the file attached, which the next one attaches again.
            keeper.state.with(&keeper.engine, stockscan_state::Access::Read, || panic!("on purpose"))
        });
        assert_eq!(panicked.await.unwrap_err().status, 500);
        store.record(record());
        assert_eq!(stored(&store).await, 2);
    }

    #[tokio::test]
    async fn whoever_leaves_stops_what_he_asked_for() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(State::new(folder.path().join("state.duckdb"))).unwrap();
        let endless = store.run(Duration::from_millis(200), |keeper| {
            let sql = "SELECT CAST(sum(one.range * two.range) AS VARCHAR) FROM range(10000000) AS one, range(10000000) AS two";
            keeper.engine.text(stockscan_engine::Query::plain(sql))
        });
        assert_eq!(endless.await.unwrap_err().status, 504);
        store.record(record());
        assert_eq!(stored(&store).await, 1, "the thread is free again");
    }
}
