//! A progress bar for anything that takes over a second, and Ctrl-C that stops the query at once.

use std::{
    sync::{
        Arc, Mutex, Once, PoisonError,
        atomic::{AtomicUsize, Ordering},
        mpsc,
    },
    thread,
    time::{Duration, Instant},
};

use indicatif::{ProgressBar, ProgressStyle};
use stockscan_engine::{Engine, Error, InterruptHandle, Result};

use crate::arguments::Global;

/// What Ctrl-C interrupts.
static RUNNING: Mutex<Option<Arc<InterruptHandle>>> = Mutex::new(None);
/// How often Ctrl-C was pressed since.
static PRESSED: AtomicUsize = AtomicUsize::new(0);

/// Does some work on the engine; after a second, a bar on the terminal's standard error says how far it is.
pub(crate) fn shown<T>(engine: &Engine, global: &Global, text: &str, work: impl FnOnce() -> Result<T>) -> Result<T> {
    stop_on_interrupt(engine);
    with_bar(engine, global, &Mutex::new(text.to_owned()), &AtomicUsize::new(0), 1, work)
}

/// Does work in parts, one after the other, until one fails, or Ctrl-C is pressed, be it between two of them. Says how many are done, and why
/// it ended if these are not all.
pub(crate) fn shown_in_parts(
    engine: &Engine,
    global: &Global,
    text: &str,
    parts: usize,
    mut work: impl FnMut(usize) -> Result<()>,
) -> Result<(usize, Option<Error>)> {
    stop_on_interrupt(engine);
    let message = Mutex::new(text.to_owned());
    let done = AtomicUsize::new(0);
    with_bar(engine, global, &message, &done, parts, || {
        for part in 0..parts {
            *message.lock().unwrap_or_else(PoisonError::into_inner) = format!("{text} {} of {parts}", part + 1);
            let outcome = if PRESSED.load(Ordering::Relaxed) > 0 { Err(Error::Interrupted) } else { work(part) };
            if let Err(error) = outcome {
                return Ok((part, Some(error)));
            }
            done.store(part + 1, Ordering::Relaxed);
        }
        Ok((parts, None))
    })
}

/// Waits for somebody else's work; after a second, a bar says so.
pub(crate) fn waiting<T>(global: &Global, text: &str, work: impl FnOnce() -> Result<T>) -> Result<T> {
    waiting_for(global, text, &AtomicUsize::new(0), work)
}

/// The same, of which that somebody says how many percent are done.
pub(crate) fn waiting_for<T>(global: &Global, text: &str, percent: &AtomicUsize, work: impl FnOnce() -> Result<T>) -> Result<T> {
    if !has_bar(global) {
        return work();
    }
    let told = || Some(percent.load(Ordering::Relaxed).min(100) as u64);
    draw(told, &Mutex::new(text.to_owned()), &AtomicUsize::new(0), 1, work)
}

/// Does some work of so many parts; after a second there is a bar.
fn with_bar<T>(
    engine: &Engine,
    global: &Global,
    message: &Mutex<String>,
    done: &AtomicUsize,
    parts: usize,
    work: impl FnOnce() -> Result<T>,
) -> Result<T> {
    if !has_bar(global) {
        return work();
    }
    let connection = engine.connection();
    let handle = connection.progress_handle();
    connection.set_query_progress_tracking(true)?;
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a percentage")]
    let of_part = move || handle.query_progress().percentage().map(|percentage| percentage.clamp(0.0, 100.0) as u64);
    draw(of_part, message, done, parts, work)
}

fn has_bar(global: &Global) -> bool {
    !global.quiet && global.configuration.cli.progress_bars && console::Term::stderr().is_term()
}

/// Does some work; after a second there is a bar, which `percentage` moves within a part.
fn draw<T>(
    percentage: impl Fn() -> Option<u64> + Send,
    message: &Mutex<String>,
    done: &AtomicUsize,
    parts: usize,
    work: impl FnOnce() -> Result<T>,
) -> Result<T> {
    let (end, watch) = mpsc::channel::<()>();
    thread::scope(|scope| {
        scope.spawn(move || {
            if watch.recv_timeout(Duration::from_secs(1)) != Err(mpsc::RecvTimeoutError::Timeout) {
                return;
            }
            let bar = ProgressBar::new(parts as u64 * 100);
            let style = ProgressStyle::with_template("{spinner} {msg} {wide_bar} {percent:>3} % {elapsed}");
            bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
            while watch.recv_timeout(Duration::from_millis(100)) == Err(mpsc::RecvTimeoutError::Timeout) {
                bar.set_message(message.lock().unwrap_or_else(PoisonError::into_inner).clone());
                let of_part = percentage();
                let before = done.load(Ordering::Relaxed) as u64 * 100;
                // A query of which nothing is known yet leaves the bar where it is.
                if of_part.is_some() || before > bar.position() {
                    bar.set_position(before + of_part.unwrap_or_default());
                }
                bar.tick();
                // The terminal writes ^C where the cursor is. At the end of the full line, where it is left, that would be a line of its own.
                let _ = console::Term::stderr().write_str("\r");
            }
            bar.finish_and_clear();
        });
        let outcome = work();
        drop(end);
        outcome
    })
}

/// Ctrl-C interrupts the query that is running; a second one during the same query ends the process.
pub(crate) fn stop_on_interrupt(engine: &Engine) {
    PRESSED.store(0, Ordering::Relaxed);
    interrupts(Some(engine));
}

/// Ctrl-C interrupts this engine's query, or none. For what opens the database again and again: a Ctrl-C between two of its queries is kept, and
/// [`is_interrupted`] tells of it.
pub(crate) fn interrupts(engine: Option<&Engine>) {
    static SET: Once = Once::new();
    *RUNNING.lock().unwrap_or_else(PoisonError::into_inner) = engine.map(Engine::interrupt_handle);
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

/// Whether Ctrl-C was pressed.
pub(crate) fn is_interrupted() -> bool {
    PRESSED.load(Ordering::Relaxed) > 0
}

/// Waits until then, or until Ctrl-C is pressed.
pub(crate) fn wait_until(then: Instant) {
    while !is_interrupted() {
        let left = then.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return;
        }
        thread::sleep(left.min(Duration::from_millis(50)));
    }
}
