//! `scanner backtest` and `scanner optimize` with `--api-mode`: jobs of a server, which are cancelled when they are not waited for any more.

use std::{
    sync::atomic::{AtomicUsize, Ordering},
    time::{Duration, Instant},
};

use serde_json::Value;
use stockscan_backtests::{Optimization, RESULTS, Test, Tested};
use stockscan_engine::{Call, Engine, Error, Query, Result};
use ureq::http::Method;

use super::{
    client::{Payload, Server},
    request, rows,
};
use crate::{
    arguments::{Backtest, Global, Optimize, Trading},
    commands::{
        backtest as backtest_here, counted, optimize as optimize_here, say,
        trading::{self, announce},
    },
    output, progress,
};

/// So long a server waits for a job before it says how far it is, in seconds.
const WAIT: &str = "wait=1";

/// A job that has ended, with a result.
struct Job {
    /// The whole document, with its numbers as they were sent.
    text: String,
    document: Value,
    /// Why the result is not all that was asked for.
    failure: Option<Error>,
}

impl Job {
    fn text(&self, name: &str) -> &str {
        self.document.pointer("/result").and_then(|result| result.get(name)).and_then(Value::as_str).unwrap_or_default()
    }

    fn count(&self, name: &str) -> u64 {
        self.document.pointer("/result").and_then(|result| result.get(name)).and_then(Value::as_u64).unwrap_or_default()
    }

    /// The rows of a member of the result, with the columns of a query.
    fn rows(&self, engine: &Engine, name: &str, like: &Query) -> Result<Query> {
        rows::of_document(engine, &self.text, &format!("$.result.{name}"), Some(like))
    }

    /// The test that was made, in words.
    fn test(&self, engine: &Engine, global: &Global, given: &Trading, command: &'static str) -> Result<Test> {
        let bar_minutes = u32::try_from(self.count("bar_minutes")).ok().filter(|minutes| *minutes > 0).unwrap_or(global.bar_minutes);
        let trading = stockscan_backtests::Trading { bar_minutes, ..trading::trading(engine, global, given)? };
        let mut test = Test::elsewhere(engine, &global.configuration, trading, command, (self.text("start_date"), self.text("end_date")))?;
        // What the server has to say before the numbers, in the words of options.
        let remarks = self.document.pointer("/result/remarks").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str);
        let as_options =
            |text: &str| text.replace("no start_date given", "no --start-date given").replace("no end_date given", "no --end-date given");
        test.remarks = remarks.map(as_options).collect();
        Ok(test)
    }
}

/// `scanner backtest`
pub(super) fn backtest(global: &Global, backtest: &Backtest) -> Result<()> {
    for (option, is_given) in [("--calibrate", backtest.calibrate), ("--sql", backtest.sql)] {
        if is_given {
            return Err(cannot(option));
        }
    }
    let server = Server::new(global, None)?;
    output::format(&backtest.output)?;
    let engine = rows::engine(global)?;
    known_here(&engine, &backtest.trading.scanner_type)?;
    let started = Instant::now();
    let asked = request::backtest(&engine, global, backtest)?.into_value();
    let job = run(&server, &engine, global, "/backtest", asked, backtest.timeout)?;
    let test = job.test(&engine, global, &backtest.trading, "backtest")?;
    backtest_here::report(&engine, global, backtest, &test, started, |call: &Call| {
        let name = match call.function.as_str() {
            "backtest" => "trades",
            "backtest_daily" => "daily",
            "backtest_by" => "by",
            _ => "summary",
        };
        job.rows(&engine, name, &call.query())
    })?;
    job.failure.map_or(Ok(()), Err)
}

/// `scanner optimize`
pub(super) fn optimize(global: &Global, optimize: &Optimize) -> Result<()> {
    for (option, is_given) in [("--plot", optimize.plot.is_some()), ("--sql", optimize.sql)] {
        if is_given {
            return Err(cannot(option));
        }
    }
    let server = Server::new(global, None)?;
    output::format(&optimize.output)?;
    let engine = rows::engine(global)?;
    known_here(&engine, &optimize.trading.scanner_type)?;
    let search = optimize_here::search(optimize)?;
    let started = Instant::now();
    let asked = request::optimize(&engine, global, optimize, &search.grid)?.into_value();
    let mut job = run(&server, &engine, global, "/optimize", asked, optimize.timeout)?;
    let test = job.test(&engine, global, &optimize.trading, "optimize")?;
    announce(global, &test);
    let mut grid = Optimization::new(&engine, test, search)?;
    // Tables without rows, for their columns.
    grid.prepare(&[], None)?;
    grid.judge()?;
    let results = job.rows(&engine, "results", &Query::plain(format!("FROM {RESULTS}")))?;
    engine.collect(&Query { sql: format!("INSERT INTO {RESULTS} {}", results.sql), ..results }, None)?;
    let combinations = usize::try_from(job.count("combinations_tested")).unwrap_or(usize::MAX);
    let tested = Tested { combinations, outcome: job.failure.take().map_or(Ok(()), Err) };
    let found = |function: &str, here: &Query| {
        let name = match function {
            "grid_report" => "report",
            "grid_walk_forward" => "walk_forward",
            _ => "parameters",
        };
        job.rows(&engine, name, here)
    };
    let outcome = optimize_here::report(&engine, global, optimize, grid, tested, &found);
    if !global.quiet {
        say(&format!("{} by {} in {:.2} s", counted(combinations as u64, "combination"), server.url, started.elapsed().as_secs_f64()));
    }
    outcome
}

fn cannot(option: &str) -> Error {
    Error::Invalid(format!("{option} cannot be used with --api-mode: a server does not do this; leave one of them out"))
}

/// The words around the numbers come from the scanner's own documentation.
fn known_here(engine: &Engine, scanner: &str) -> Result<()> {
    engine.scanner_function(scanner).map(drop).map_err(|error| match error {
        Error::UnknownFunction { .. } => Error::Invalid(format!(
            "{error}. If it is a scanner that the server alone has: tests of these are asked for with --scanners-directory and its file"
        )),
        other => other,
    })
}

/// Has a job done, and waits for its end.
fn run(server: &Server, engine: &Engine, global: &Global, path: &str, asked: Value, timeout: Option<u64>) -> Result<Job> {
    let deadline = timeout.map(Duration::from_secs);
    let started = Instant::now();
    let percent = AtomicUsize::new(0);
    let payload = Payload::Json(asked);
    let accept = "application/json";
    progress::waiting_for(global, "testing", &percent, || {
        // Its answer names the job, which could not be cancelled without.
        let mut text = server.to_the_end().ask(&Method::POST, &format!("{path}?wait=0"), accept, &payload)?.text()?;
        loop {
            let document: Value = serde_json::from_str(&text).map_err(|_| server.broken_off("a job was expected"))?;
            let member = |name: &str| document.get(name).and_then(Value::as_str);
            let (Some(id), Some(status)) = (member("job_id"), member("status")) else {
                return Err(server.broken_off("a job was expected"));
            };
            if !matches!(status, "queued" | "running") {
                return ended(server, status, text.clone(), document.clone());
            }
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a percentage")]
            let done = document.get("progress").and_then(Value::as_f64).map_or(0, |done| (100.0 * done.clamp(0.0, 1.0)) as usize);
            percent.store(done, Ordering::Relaxed);
            let address = format!("/jobs/{id}");
            let next = match deadline.filter(|deadline| started.elapsed() >= *deadline) {
                Some(deadline) => Err(Error::Timeout(deadline)),
                None => {
                    server.ask(&Method::GET, &format!("{address}?{WAIT}"), accept, &Payload::Nothing).and_then(super::client::Answer::text)
                }
            };
            text = match next {
                Err(error @ (Error::Interrupted | Error::Timeout(_))) => {
                    // From here on Ctrl-C is for what follows.
                    progress::stop_on_interrupt(engine);
                    let cancelled = server.once().to_the_end().ask(&Method::DELETE, &address, accept, &Payload::Nothing);
                    return Err(match (error, cancelled) {
                        (_, Err(error)) => Error::Stopped(format!("the job {id} goes on: {error}")),
                        (Error::Timeout(allowed), _) => Error::Timeout(allowed),
                        _ => Error::Stopped("interrupted: the server has cancelled the job".to_owned()),
                    });
                }
                other => other?,
            };
        }
    })
}

/// What came of a job.
fn ended(server: &Server, status: &str, text: String, document: Value) -> Result<Job> {
    let of_error = |name: &str| document.pointer("/error").and_then(|error| error.get(name)).and_then(Value::as_str).unwrap_or_default();
    let detail = of_error("detail").to_owned();
    let failure = match status {
        "done" => None,
        "failed" => Some(match of_error("error") {
            "invalid" | "not_found" => Error::Invalid(detail),
            "timeout" | "busy" => Error::Stopped(detail),
            _ => Error::Database(format!("{}: {detail}", server.url)),
        }),
        "cancelled" => return Err(Error::Stopped("somebody has cancelled the job on the server".to_owned())),
        _ => return Err(Error::Stopped("the server was ended before the job was done; ask again".to_owned())),
    };
    match failure {
        Some(failure) if document.get("result").is_none() => Err(failure),
        failure => Ok(Job { text, document, failure }),
    }
}
