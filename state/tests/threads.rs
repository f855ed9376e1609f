//! Threads of one process that use the same history at the same time, each with an engine of its own.

use std::{error::Error, thread, time::Duration};

use stockscan_engine::{Call, Engine, Options, Query, Value};
use stockscan_state::{Access, Outcome, Results, SCHEMA, Scan, State, new_scan_id};

/// The lock of the system is between processes only: without one in here files are torn, or a log is gone while it is read.
#[test]
fn threads_take_turns() -> Result<(), Box<dyn Error>> {
    let folder = tempfile::tempdir()?;
    let state = State::new(folder.path().join("state.duckdb"));
    let record = |state: &State, count: i64| -> Result<(), String> {
        let engine = Engine::open(Options::memory()).map_err(|error| error.to_string())?;
        for number in 0..count {
            let call = Call { function: "scan_breakout".to_owned(), arguments: vec![("min_volume".to_owned(), Value::BigInt(number))] };
            let results = Results::default();
            let scan = Scan {
                scan_id: &new_scan_id(),
                command: "run",
                call: &call,
                database: None,
                data_version: None,
                elapsed: Duration::ZERO,
                outcome: Outcome::Done(&results),
            };
            state.record(&engine, &scan).map_err(|error| error.to_string())?;
        }
        Ok(())
    };
    thread::scope(|scope| {
        let threads: Vec<_> = (0..4).map(|_| scope.spawn(|| record(&state, 25))).collect();
        threads.into_iter().try_for_each(|thread| thread.join().map_err(|_| "a thread has panicked".to_owned())?)
    })?;
    let engine = Engine::open(Options::memory())?;
    let count =
        state.with(&engine, Access::Read, || engine.text(Query::plain(format!("SELECT CAST(count(*) AS VARCHAR) FROM {SCHEMA}.scans"))))?;
    assert_eq!(count.as_deref(), Some("100"));
    Ok(())
}
