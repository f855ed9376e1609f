//! When a command that goes on and on takes its next step, and how it ends: by its time, or by Ctrl-C.

use std::{
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use stockscan_engine::{Engine, InterruptHandle};

/// What the handler of Ctrl-C reaches.
struct Shared {
    is_stopped: bool,
    /// The queries that run, to be ended as well.
    running: Vec<Arc<InterruptHandle>>,
}

/// How often news are looked out for.
const LOOK: Duration = Duration::from_millis(50);

static SHARED: Mutex<Shared> = Mutex::new(Shared { is_stopped: false, running: Vec::new() });
static STOPPED: Condvar = Condvar::new();

fn shared() -> MutexGuard<'static, Shared> {
    SHARED.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Steps at equal distances from the start. One that took longer than that is followed by the next whole one; none is made up for.
#[derive(Debug)]
pub(crate) struct Pace {
    started: Instant,
    interval: Duration,
    next: Instant,
    end: Option<Instant>,
}

impl Pace {
    /// Starts now. From here on Ctrl-C, or being told to end, only ends the pace and the query that runs; a second time it ends the process.
    pub(crate) fn start(interval: Duration, duration: Option<Duration>) -> Pace {
        // Without a handler Ctrl-C ends the process, which is no worse.
        let _ = ctrlc::set_handler(|| {
            if is_stopped() {
                std::process::exit(130);
            }
            stop();
        });
        let now = Instant::now();
        Pace { started: now, interval, next: now + interval, end: duration.map(|duration| now + duration) }
    }

    /// Waits for the next step, or until there is news; false: it is over.
    pub(crate) fn wait_for(&mut self, is_news: impl Fn() -> bool) -> bool {
        self.skip_missed();
        while !is_news() {
            let now = Instant::now();
            if now >= self.next {
                return self.wait_until(self.next);
            }
            if !self.wait_until(self.next.min(now + LOOK)) {
                return false;
            }
        }
        !is_stopped() && !self.is_over()
    }

    /// Waits for a moment that others set; false: it is over.
    pub(crate) fn wait_until(&self, moment: Instant) -> bool {
        let until = self.end.map_or(moment, |end| end.min(moment));
        let mut shared = shared();
        while !shared.is_stopped {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return self.end.is_none_or(|end| Instant::now() < end);
            }
            shared = STOPPED.wait_timeout(shared, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        false
    }

    /// Whether it is time for the next step; if so, the one after it is set.
    pub(crate) fn is_due(&mut self) -> bool {
        let is_due = self.next <= Instant::now();
        self.skip_missed();
        is_due
    }

    /// Time between two steps.
    pub(crate) fn interval(&self) -> Duration {
        self.interval
    }

    /// Time left to the next step.
    pub(crate) fn left(&self) -> Duration {
        self.next.saturating_duration_since(Instant::now())
    }

    /// Whether it has ended by its time.
    pub(crate) fn is_over(&self) -> bool {
        self.end.is_some_and(|end| end <= Instant::now())
    }

    fn skip_missed(&mut self) {
        while self.next <= Instant::now() {
            self.next += self.interval;
        }
    }

    /// How long it has been going.
    pub(crate) fn elapsed(&self) -> Duration {
        self.started.elapsed()
    }
}

/// Whether Ctrl-C was pressed.
pub(crate) fn is_stopped() -> bool {
    shared().is_stopped
}

/// Ends the pace and the query that runs, as Ctrl-C does.
pub(crate) fn stop() {
    let mut shared = shared();
    shared.is_stopped = true;
    shared.running.iter().for_each(|query| query.interrupt());
    STOPPED.notify_all();
}

/// From here on Ctrl-C ends what these engines do.
pub(crate) fn watch<'a>(engines: impl IntoIterator<Item = &'a Engine>) {
    let running: Vec<_> = engines.into_iter().map(Engine::interrupt_handle).collect();
    let mut shared = shared();
    if shared.is_stopped {
        running.iter().for_each(|query| query.interrupt());
    }
    shared.running = running;
}
