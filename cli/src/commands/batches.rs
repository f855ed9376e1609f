//! A database that is held only for moments: opened for each batch and closed again, so that other processes get in between.

use std::time::{Duration, Instant};

use stockscan_engine::{Engine, Error, Options, Result};

use super::say;
use crate::{arguments::Global, progress};

/// How long after a refusal the database is tried again.
const PAUSE: Duration = Duration::from_millis(100);

/// A process that holds it for longer than this is named; a scan that reads is not worth a word.
const PATIENCE: Duration = Duration::from_secs(1);

/// Opens the database, does `work` and closes it. Waits while another process holds it; `None` if Ctrl-C or the deadline came first.
pub(super) fn within<T>(
    options: &Options,
    global: &Global,
    deadline: Option<Instant>,
    mut work: impl FnMut(&Engine) -> Result<T>,
) -> Result<Option<T>> {
    let started = Instant::now();
    let mut is_said = false;
    loop {
        if progress::is_interrupted() {
            return Ok(None);
        }
        let outcome = Engine::open(options.clone()).and_then(|engine| {
            progress::interrupts(Some(&engine));
            let outcome = work(&engine);
            progress::interrupts(None);
            outcome
        });
        match outcome {
            Err(Error::Locked { path, process, .. }) => {
                if started.elapsed() >= PATIENCE && !is_said && !global.quiet {
                    say(&format!("waiting for process {process}, which has {} open; nothing is lost meanwhile", path.display()));
                    is_said = true;
                }
                if deadline.is_some_and(|deadline| Instant::now() >= deadline) {
                    return Ok(None);
                }
                progress::wait_until(Instant::now() + PAUSE);
            }
            Err(Error::Interrupted) => return Ok(None),
            other => return other.map(Some),
        }
    }
}
