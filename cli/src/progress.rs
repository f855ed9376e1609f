//! A progress bar for anything that takes over a second, and Ctrl-C that stops the query at once.

use std::{
    sync::{
        Arc, Mutex, Once, PoisonError,
        atomic::{AtomicUsize, Ordering},
        mpsc,
    },
    thread,
    time::Duration,
};

use indicatif::{ProgressBar, ProgressStyle};
use stockscan_engine::{Engine, InterruptHandle, Result};

use crate::arguments::Global;

/// Does some work on the engine; after a second, a bar on the terminal's standard error says how far it is.
pub(crate) fn shown<T>(engine: &Engine, global: &Global, text: &str, work: impl FnOnce() -> Result<T>) -> Result<T> {
    stop_on_interrupt(engine);
    if global.quiet || !console::Term::stderr().is_term() {
        return work();
    }
    let connection = engine.connection();
    let handle = connection.progress_handle();
    connection.set_query_progress_tracking(true)?;
    let (done, watch) = mpsc::channel::<()>();
    thread::scope(|scope| {
        scope.spawn(move || {
            if watch.recv_timeout(Duration::from_secs(1)) != Err(mpsc::RecvTimeoutError::Timeout) {
                return;
            }
            let bar = ProgressBar::new(100);
            let style = ProgressStyle::with_template("{spinner} {msg} {wide_bar} {percent:>3} % {elapsed}");
            bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
            bar.set_message(text.to_owned());
            while watch.recv_timeout(Duration::from_millis(100)) == Err(mpsc::RecvTimeoutError::Timeout) {
                #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a percentage")]
                if let Some(percentage) = handle.query_progress().percentage() {
                    bar.set_position(percentage as u64);
                }
                bar.tick();
            }
            bar.finish_and_clear();
        });
        let outcome = work();
        drop(done);
        outcome
    })
}

/// Ctrl-C interrupts the query that is running; a second one during the same query ends the process.
pub(crate) fn stop_on_interrupt(engine: &Engine) {
    static SET: Once = Once::new();
    static RUNNING: Mutex<Option<Arc<InterruptHandle>>> = Mutex::new(None);
    static PRESSED: AtomicUsize = AtomicUsize::new(0);
    PRESSED.store(0, Ordering::Relaxed);
    *RUNNING.lock().unwrap_or_else(PoisonError::into_inner) = Some(engine.interrupt_handle());
    SET.call_once(|| {
        // Without a handler Ctrl-C ends the process, which is no worse.
        let _ = ctrlc::set_handler(|| {
            if PRESSED.fetch_add(1, Ordering::Relaxed) > 0 {
                std::process::exit(130);
            }
            if let Some(handle) = RUNNING.lock().unwrap_or_else(PoisonError::into_inner).as_ref() {
                handle.interrupt();
            }
        });
    });
}
