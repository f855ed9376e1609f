//! Work on the database for requests: so much at a time, so much in line, each with a deadline, and stopped when its client leaves.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use duckdb::InterruptHandle;
use stockscan_engine::{Engine, Result};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::{
    market::Market,
    problem::{Answer, Problem},
};

/// Work that is still going on so long after its deadline is stuck.
const STUCK: Duration = Duration::from_secs(15);
/// Longest wait in line, of which half of the time allowed is the most, so that who gets to work has the time for it.
const PATIENCE: Duration = Duration::from_secs(30);
/// Interrupting between two statements has no effect, so it is repeated.
const AGAIN: Duration = Duration::from_millis(10);

/// Who works on the database.
#[derive(Debug)]
pub struct Workers {
    market: Arc<Market>,
    permits: Arc<Semaphore>,
    waiting: AtomicUsize,
    longest_line: usize,
    /// How long a file that another process holds is waited for; `None`: as long as the work may take.
    patience: Option<Duration>,
    next: AtomicU64,
    running: Mutex<HashMap<u64, Instant>>,
}

/// Stops work when it is dropped.
pub struct Stop {
    handles: Arc<Handles>,
}

#[derive(Default)]
struct Handles {
    is_stopped: AtomicBool,
    is_done: AtomicBool,
    running: Mutex<Option<Arc<InterruptHandle>>>,
}

impl Handles {
    fn interrupt(&self) {
        self.is_stopped.store(true, Ordering::SeqCst);
        if let Some(handle) = &*self.running.lock().unwrap_or_else(PoisonError::into_inner) {
            handle.interrupt();
        }
    }
}

impl Drop for Stop {
    fn drop(&mut self) {
        if self.handles.is_done.load(Ordering::SeqCst) {
            return;
        }
        self.handles.interrupt();
        let handles = Arc::clone(&self.handles);
        // Outside of the runtime there is nobody to repeat it, but then the process ends.
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(async move {
                while !handles.is_done.load(Ordering::SeqCst) {
                    tokio::time::sleep(AGAIN).await;
                    handles.interrupt();
                }
            });
        }
    }
}

/// Which instance of DuckDB does the work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Instance {
    /// Ours.
    Ours,
    /// That of another process, for a stranger's statement: here the file is only kept open to be read.
    Strangers,
}

impl Workers {
    /// `at_a_time` at a time, and at most `longest_line` waiting.
    #[must_use]
    pub fn new(market: Arc<Market>, at_a_time: usize, longest_line: usize) -> Workers {
        Workers {
            market,
            permits: Arc::new(Semaphore::new(at_a_time)),
            waiting: AtomicUsize::new(0),
            longest_line,
            patience: None,
            next: AtomicU64::new(0),
            running: Mutex::new(HashMap::new()),
        }
    }

    /// A file that another process holds is not waited for any longer.
    #[must_use]
    pub fn with_patience(self, patience: Duration) -> Workers {
        Workers { patience: Some(patience), ..self }
    }

    /// How much work is going on, and how much waits.
    #[must_use]
    pub fn load(&self) -> (usize, usize) {
        (self.running.lock().unwrap_or_else(PoisonError::into_inner).len(), self.waiting.load(Ordering::Relaxed))
    }

    /// Whether some work has not ended long after it should have.
    #[must_use]
    pub fn is_stuck(&self) -> bool {
        let running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        running.values().any(|deadline| deadline.elapsed() > STUCK)
    }

    /// Does something with a connection to the database, and answers. When the future is dropped, or the time is up, the query is stopped.
    ///
    /// # Errors
    /// 503 when the line is too long, 504 when the time is up, and what the work says.
    pub async fn run<T: Send + 'static>(
        self: &Arc<Workers>,
        instance: Instance,
        allowed: Duration,
        work: impl FnOnce(&Engine) -> Result<T> + Send + 'static,
    ) -> Answer<T> {
        let (sender, receiver) = tokio::sync::oneshot::channel();
        let stop = self
            .start(instance, allowed, move |engine| {
                let outcome = match engine {
                    Ok(engine) => work(engine),
                    Err(error) => Err(error),
                };
                // Whoever asked may have left.
                let _ = sender.send(outcome);
            })
            .await?;
        let outcome = tokio::time::timeout(stop.1.saturating_duration_since(Instant::now()), receiver).await;
        match outcome {
            Ok(Ok(outcome)) => Ok(outcome?),
            Ok(Err(_)) => Err(Problem::internal("the work ended in a panic")),
            Err(_) => Err(Problem::too_slow(allowed.as_secs())),
        }
    }

    /// Starts something with a connection to the database, or with the reason why there is none. It goes on until it is done or what is
    /// returned is dropped; the moment is its deadline.
    ///
    /// # Errors
    /// 503 when the line is too long or does not move in the time allowed.
    pub async fn start(
        self: &Arc<Workers>,
        instance: Instance,
        allowed: Duration,
        work: impl FnOnce(Result<&Engine>) + Send + 'static,
    ) -> Answer<(Stop, Instant)> {
        let deadline = Instant::now() + allowed;
        let permit = self.permit(allowed).await?;
        let handles = Arc::new(Handles::default());
        let stop = Stop { handles: Arc::clone(&handles) };
        let workers = Arc::clone(self);
        tokio::task::spawn_blocking(move || {
            let number = workers.next.fetch_add(1, Ordering::Relaxed);
            workers.running.lock().unwrap_or_else(PoisonError::into_inner).insert(number, deadline);
            // What must happen in any case, in a panic, too.
            let _done = Done { workers: &workers, number, handles: &handles, _permit: permit };
            let patient_until = workers.patience.map_or(deadline, |patience| deadline.min(Instant::now() + patience));
            let engine = match instance {
                Instance::Ours => workers.market.read(patient_until),
                Instance::Strangers => workers.market.share(patient_until),
            };
            match engine {
                Ok(engine) => {
                    *handles.running.lock().unwrap_or_else(PoisonError::into_inner) = Some(engine.interrupt_handle());
                    if !handles.is_stopped.load(Ordering::SeqCst) {
                        work(Ok(&engine));
                    }
                }
                Err(error) => work(Err(error)),
            }
        });
        Ok((stop, deadline))
    }

    async fn permit(&self, allowed: Duration) -> Answer<OwnedSemaphorePermit> {
        if let Ok(permit) = Arc::clone(&self.permits).try_acquire_owned() {
            return Ok(permit);
        }
        let waiting = Waiting::new(&self.waiting);
        if waiting.0.load(Ordering::Relaxed) > self.longest_line {
            return Err(Problem::busy("more is asked than can be done; try again in a moment", 1));
        }
        match tokio::time::timeout(PATIENCE.min(allowed / 2), Arc::clone(&self.permits).acquire_owned()).await {
            Ok(Ok(permit)) => Ok(permit),
            _ => Err(Problem::busy("more is asked than can be done; try again in a moment", 2)),
        }
    }
}

struct Waiting<'a>(&'a AtomicUsize);

impl Waiting<'_> {
    fn new(count: &AtomicUsize) -> Waiting<'_> {
        count.fetch_add(1, Ordering::Relaxed);
        Waiting(count)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

struct Done<'a> {
    workers: &'a Workers,
    number: u64,
    handles: &'a Handles,
    _permit: OwnedSemaphorePermit,
}

impl Drop for Done<'_> {
    fn drop(&mut self) {
        self.handles.is_done.store(true, Ordering::SeqCst);
        self.workers.running.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.number);
    }
}
