//! Live scans on a database that grows: what is new, up to when bars are seen, and what happens while another process writes.

mod common;

use std::{
    process::{Child, Command, Stdio},
    thread,
    time::Duration,
};

use common::{Market, Outcome};
use jiff::civil::date;
use serde_json::json;
use stockscan_configuration::Configuration;
use stockscan_engine::{Argument, Engine, Error, Options, Value};
use stockscan_live::{LiveScan, Tick, Update, Watch};

/// A scan with the built-in settings, and so many retries.
fn scan(function: &str, retries: u64) -> LiveScan {
    let mut settings = Configuration::default().run_settings(function);
    settings.retry_attempts = retries;
    LiveScan { function: function.to_owned(), arguments: Vec::new(), settings }
}

fn text(text: &str) -> Argument {
    Argument::Value(Value::Text(text.to_owned()))
}

fn scanned(tick: Tick<'_>) -> Outcome<&Update> {
    match tick {
        Tick::Scanned(update) => Ok(update),
        other => Err(format!("{other:?}").into()),
    }
}

#[test]
fn names_are_compared_with_the_tick_before_and_a_session_starts_afresh() -> Outcome {
    let market = Market::new()?;
    let mut reader = market.reader()?;
    let mut watch = Watch::new(scan("scan_above", 0));
    assert!(matches!(watch.tick(&mut reader)?, Tick::NoBars));

    market.bar("2025-01-14 15:29:00", &[("A", 101.0), ("B", 99.0), ("C", 105.0)])?;
    let update = scanned(watch.tick(&mut reader)?)?;
    assert_eq!((update.added.as_slice(), update.starts_session), (["C".to_owned(), "A".to_owned()].as_slice(), true), "as ranked");

    market.bar("2025-01-14 15:30:00", &[("A", 99.0), ("B", 102.0), ("C", 106.0)])?;
    let update = scanned(watch.tick(&mut reader)?)?;
    let names = (update.added.join(","), update.kept.join(","), update.removed.join(","));
    assert_eq!(names, ("B".to_owned(), "C".to_owned(), "A".to_owned()));
    assert!(update.differs && !update.starts_session);

    // C is a hit in both sessions: in the new one it is new, and those of the old one have not been dropped.
    market.bar("2025-01-15 09:15:00", &[("C", 107.0)])?;
    let update = scanned(watch.tick(&mut reader)?)?;
    assert_eq!((update.added.join(","), update.kept.len(), update.removed.len()), ("C".to_owned(), 0, 0));
    assert_eq!((update.session, update.starts_session), (date(2025, 1, 15), true));

    let update = scanned(watch.tick(&mut reader)?)?;
    assert!(!update.differs && !update.has_changes(), "the same bars give the same result");
    Ok(())
}

#[test]
fn bars_are_seen_up_to_the_end_of_the_newest() -> Outcome {
    let market = Market::new()?;
    let mut reader = market.reader()?;
    let mut watch = Watch::new(scan("scan_above", 0));
    market.bar("2025-01-15 09:15:00", &[("A", 101.0)])?;
    market.bar("2025-01-15 09:59:30", &[("A", 99.0), ("B", 101.0)])?;
    let update = scanned(watch.tick(&mut reader)?)?;
    // The bar from 09:59:30 has ended at 10:00:30. A cutoff at 10:00 would not see it, and A would still be a hit.
    assert_eq!(update.data_as_of, date(2025, 1, 15).at(10, 0, 30, 0));
    assert_eq!(update.added, ["B"]);
    let document = update.document()?;
    let keys: Vec<&String> = document.as_object().ok_or("an object")?.keys().collect();
    assert_eq!(keys, ["type", "timestamp", "scanner_type", "data_as_of", "results", "added", "removed"]);
    assert_eq!((&document["type"], &document["scanner_type"]), (&json!("scan_update"), &json!("above")));
    assert_eq!((&document["data_as_of"], &document["added"]), (&json!("2025-01-15T10:00:30"), &json!(["B"])));
    let row = json!({"scan_date": "2025-01-15", "symbol": "B", "price": 101.0, "volume": 10, "probability_score": 50.0, "rank": 1});
    assert_eq!(document["results"], json!([row]));
    Ok(())
}

#[test]
fn daily_bars_end_with_their_day() -> Outcome {
    let market = Market::new()?;
    let mut reader = market.reader()?;
    market.bar("2025-01-15 00:00:00", &[("A", 101.0)])?;
    let mut daily = scan("scan_momentum", 0);
    daily.arguments.push(("bar_minutes".to_owned(), Argument::Value(Value::BigInt(1440))));
    let mut watch = Watch::new(daily);
    let update = scanned(watch.tick(&mut reader)?)?;
    assert_eq!((update.session, update.data_as_of), (date(2025, 1, 15), date(2025, 1, 16).at(0, 0, 0, 0)));
    assert_eq!(stockscan_live::clock(update.data_as_of, update.session), "24:00");
    Ok(())
}

#[test]
fn a_fixed_cutoff_is_not_passed_and_said_to_be_reached() -> Outcome {
    let market = Market::new()?;
    let mut reader = market.reader()?;
    let mut fixed = scan("scan_above", 0);
    fixed.arguments.push(("cutoff_time".to_owned(), text("09:20")));
    let mut watch = Watch::new(fixed);
    market.bar("2025-01-15 09:15:00", &[("A", 101.0)])?;
    let update = scanned(watch.tick(&mut reader)?)?;
    assert_eq!((update.data_as_of, update.is_complete), (date(2025, 1, 15).at(9, 16, 0, 0), false), "what is not there yet was not seen");
    market.bar("2025-01-15 09:19:00", &[("A", 102.0)])?;
    assert!(scanned(watch.tick(&mut reader)?)?.is_complete, "the bar from 09:19 ends at the cutoff");
    market.bar("2025-01-15 09:20:00", &[("A", 50.0), ("B", 110.0)])?;
    let update = scanned(watch.tick(&mut reader)?)?;
    assert_eq!((update.data_as_of, update.newest), (date(2025, 1, 15).at(9, 20, 0, 0), date(2025, 1, 15).at(9, 21, 0, 0)));
    assert_eq!((update.kept.join(","), update.differs), ("A".to_owned(), false), "later bars change nothing");
    Ok(())
}

#[test]
fn only_given_symbols_say_what_is_newest() -> Outcome {
    let market = Market::new()?;
    let mut reader = market.reader()?;
    let mut some = scan("scan_above", 0);
    some.arguments.push(("symbols".to_owned(), Argument::Value(Value::List(vec![Value::Text("A".to_owned())]))));
    market.bar("2025-01-15 09:15:00", &[("A", 101.0)])?;
    market.bar("2025-01-15 09:16:00", &[("B", 101.0)])?;
    let mut watch = Watch::new(some);
    assert_eq!(scanned(watch.tick(&mut reader)?)?.data_as_of, date(2025, 1, 15).at(9, 16, 0, 0));
    Ok(())
}

#[test]
fn nothing_is_scanned_until_something_is_written() -> Outcome {
    let market = Market::new()?;
    let mut reader = market.reader()?;
    let mut watch = Watch::new(scan("scan_breakout", 0));
    market.bar("2025-01-15 09:15:00", &[("A", 101.0)])?;
    scanned(watch.tick(&mut reader)?)?;
    assert!(matches!(watch.tick(&mut reader)?, Tick::Unchanged));
    // A bar of an earlier day moves neither the newest bar nor the session's number of bars, and may change any result.
    market.bar("2025-01-14 09:15:00", &[("A", 100.0)])?;
    scanned(watch.tick(&mut reader)?)?;
    market.sql("UPDATE bars SET close = 100.5, high = 101 WHERE ts < '2025-01-15'")?;
    scanned(watch.tick(&mut reader)?)?;
    assert!(matches!(watch.tick(&mut reader)?, Tick::Unchanged));
    assert_eq!((watch.statistics().ticks, watch.statistics().scans, watch.statistics().unchanged), (5, 3, 2));

    // What a view reads may change without a trace in the database's file.
    market.sql("ALTER TABLE bars RENAME TO stored; CREATE VIEW bars AS FROM stored")?;
    scanned(watch.tick(&mut reader)?)?;
    scanned(watch.tick(&mut reader)?)?;
    // A scanner of one's own may read anything as well.
    let own = Market::new()?;
    own.bar("2025-01-15 09:15:00", &[("A", 101.0)])?;
    let (mut reader, mut watch) = (own.reader()?, Watch::new(scan("scan_above", 0)));
    scanned(watch.tick(&mut reader)?)?;
    scanned(watch.tick(&mut reader)?)?;
    Ok(())
}

/// Holds a database as a process that writes does. Not a test: this program starts itself again with the file to hold.
#[test]
fn holder() -> Outcome {
    let Some(path) = std::env::var_os("STOCKSCAN_TEST_HOLD") else { return Ok(()) };
    let engine = Engine::open(Options::file(path))?;
    engine.connection().execute_batch("CREATE OR REPLACE TABLE held (i INTEGER); CHECKPOINT")?;
    eprintln!("held");
    thread::sleep(Duration::from_secs(60));
    Ok(())
}

struct Holder(Child);

impl Holder {
    fn of(market: &Market) -> Outcome<Holder> {
        let mut command = Command::new(std::env::current_exe()?);
        let child = command.args(["--exact", "holder", "--nocapture"]).env("STOCKSCAN_TEST_HOLD", market.path());
        let mut child = child.stdout(Stdio::null()).stderr(Stdio::piped()).spawn()?;
        let mut lines = std::io::BufRead::lines(std::io::BufReader::new(child.stderr.take().ok_or("piped")?));
        lines.find(|line| line.as_ref().is_ok_and(|line| line.contains("held"))).ok_or("it holds the database")??;
        Ok(Holder(child))
    }
}

impl Drop for Holder {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn a_held_database_is_waited_for_then_the_last_result_is_stale() -> Outcome {
    let market = Market::new()?;
    market.bar("2025-01-15 09:15:00", &[("A", 101.0)])?;
    let mut reader = market.reader()?;
    let mut watch = Watch::new(scan("scan_above", 1));
    scanned(watch.tick(&mut reader)?)?;

    let holder = Holder::of(&market)?;
    let error = watch.tick(&mut reader).err().ok_or("it is held")?;
    assert!(matches!(error, Error::Locked { process, .. } if process == holder.0.id()), "{error}");
    assert!(error.is_passing() && watch.is_stale());
    assert_eq!(watch.last().ok_or("it stays")?.added, ["A"]);
    let statistics = watch.statistics();
    assert_eq!((statistics.errors, statistics.locked, reader.waits()), (1, 1, 1), "tried again once, as often as is allowed");
    assert!(statistics.last_error.as_ref().is_some_and(|(_, text)| text.contains("is in use by process")));

    // With more patience it is there by the time the other one has gone.
    let waiting = thread::spawn(move || {
        thread::sleep(Duration::from_millis(300));
        drop(holder);
    });
    let mut patient = Watch::new(scan("scan_above", 20));
    scanned(patient.tick(&mut reader)?)?;
    waiting.join().map_err(|_| "the thread that lets go")?;
    assert!(!patient.is_stale() && reader.waits() > 1);
    Ok(())
}

#[test]
fn between_two_ticks_others_can_write() -> Outcome {
    let market = Market::new()?;
    market.bar("2025-01-15 09:15:00", &[("A", 101.0)])?;
    let mut reader = market.reader()?;
    let mut watch = Watch::new(scan("scan_above", 0));
    scanned(watch.tick(&mut reader)?)?;
    // Another process, not only this one, since a lock does not keep its own process out.
    let holder = Holder::of(&market)?;
    drop(holder);
    // Also after an error within the scan.
    market.sql("DROP MACRO TABLE scan_above")?;
    assert!(watch.tick(&mut reader).is_err());
    drop(Holder::of(&market)?);
    Ok(())
}

#[test]
fn wrong_arguments_are_said_before_anything_is_scanned() -> Outcome {
    let market = Market::new()?;
    let mut wrong = scan("scan_above", 0);
    wrong.arguments.push(("symbol".to_owned(), text("A")));
    let error = market.reader()?.read(0, |engine| wrong.check(engine)).err().ok_or("there is no such parameter")?;
    assert_eq!(error.to_string(), "scan_above has no parameter 'symbol'; did you mean 'symbols'? it takes scan_date, cutoff_time, symbols");
    Ok(())
}
