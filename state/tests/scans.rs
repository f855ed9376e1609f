//! Scans are recorded together, and come back as they were.

use std::{error::Error, sync::Arc, time::Duration};

use arrow::{
    array::{ArrayRef, BooleanArray, Date32Array, Float64Array, Int64Array, RecordBatch, StringArray},
    datatypes::SchemaRef,
};
use stockscan_engine::{Call, Engine, Options, Value};
use stockscan_state::{Filter, Outcome as Came, Question, Results, SERVER, Scan, State, new_scan_id};

type Outcome<T = ()> = Result<T, Box<dyn Error>>;

fn new_state() -> Outcome<(tempfile::TempDir, State, Engine)> {
    let folder = tempfile::tempdir()?;
    let state = State::new(folder.path().join("state.duckdb"));
    Ok((folder, state, Engine::open(Options::memory())?))
}

fn call(scanner: &str) -> Call {
    Call {
        function: format!("scan_{scanner}"),
        arguments: vec![("scan_date".to_owned(), Value::Text("2025-01-15".to_owned())), ("min_volume".to_owned(), Value::BigInt(7))],
    }
}

/// A hit for each of these outcomes.
fn results(outcomes: &[Option<bool>]) -> Outcome<Results> {
    let count = outcomes.len();
    #[expect(clippy::cast_precision_loss, reason = "a handful")]
    let prices = (0..count).map(|row| 0.1 + row as f64 / 3.0);
    let columns: Vec<(&str, ArrayRef, bool)> = vec![
        ("scan_date", Arc::new(Date32Array::from(vec![20_103; count])), true),
        ("symbol", Arc::new(StringArray::from_iter_values((0..count).map(|row| format!("O'S\"{row}")))), true),
        ("price", Arc::new(Float64Array::from_iter_values(prices)), true),
        ("volume", Arc::new(Int64Array::from(vec![i64::MAX; count])), true),
        ("breakout_successful", Arc::new(BooleanArray::from(outcomes.to_vec())), true),
    ];
    let batch = RecordBatch::try_from_iter_with_nullable(columns)?;
    let mut results = Results::default();
    results.begin(&batch.schema());
    results.take(&batch);
    Ok(results)
}

fn scan<'a>(scan_id: &'a str, call: &'a Call, milliseconds: u64, outcome: Came<'a>) -> Scan<'a> {
    let elapsed = Duration::from_millis(milliseconds);
    Scan { scan_id, command: SERVER, call, database: None, data_version: Some("one"), elapsed, outcome }
}

#[test]
fn a_record_comes_back_as_it_was_with_its_rows_and_their_types() -> Outcome {
    let (_folder, state, engine) = new_state()?;
    let (id, again) = (new_scan_id(), new_scan_id());
    let (call, found) = (call("breakout"), results(&[Some(true), None, Some(false)])?);
    let record = scan(&id, &call, 1234, Came::Done(&found)).record();
    let repeated = scan(&again, &call, 1, Came::Cached { from: &id, rows: 3 }).record();
    state.record_all(&engine, &[record.clone(), repeated])?;
    let read = state.scan(&engine, &id)?.ok_or("the scan is not there")?;
    assert_eq!(read.ended_at(), record.ended_at(), "a document says when; it must not say another time after a restart");
    let told = |record: &stockscan_state::Record| format!("{:?}", stockscan_state::Record { results: None, ..record.clone() });
    assert_eq!(told(&read), told(&record));
    let rows = |results: &Option<Results>| -> Outcome<(SchemaRef, Option<String>)> {
        let results = results.as_ref().ok_or("no rows")?;
        Ok((results.schema().clone(), results.json()?))
    };
    assert_eq!(rows(&read.results)?, rows(&record.results)?);
    // The rows of a repeated one are those of the first.
    let repeated = state.scan(&engine, &again)?.ok_or("the scan is not there")?;
    assert_eq!(rows(&repeated.results)?, rows(&record.results)?);
    assert_eq!(repeated.cached_from.as_ref(), Some(&id));
    assert!(state.scan(&engine, "no id at all")?.is_none());
    Ok(())
}

#[test]
fn scans_are_listed_by_what_is_asked_the_newest_first() -> Outcome {
    let (_folder, state, engine) = new_state()?;
    assert_eq!(state.scans(&engine, &Filter::default(), 10, 0)?.0, 0);
    let (breakout, gap, empty) = (call("breakout"), call("gap"), results(&[])?);
    let ids: Vec<String> = (0..4).map(|_| new_scan_id()).collect();
    let failed = Came::Failed { kind: "usage", text: "scan_gap: no" };
    // The longer one took, the earlier it began.
    let scans = [
        scan(&ids[0], &breakout, 3_600_000, Came::Done(&empty)),
        scan(&ids[1], &gap, 60_000, failed),
        scan(&ids[2], &breakout, 30_000, Came::Done(&empty)),
        scan(&ids[3], &gap, 10, Came::Done(&empty)),
    ];
    let records: Vec<_> = scans.iter().map(|scan| scan.record()).collect();
    state.record_all(&engine, &records)?;
    let listed = |filter: Filter, limit: u32, offset: u32| -> Outcome<(u64, Vec<String>)> {
        let (total, scans) = state.scans(&engine, &filter, limit, offset)?;
        Ok((total, scans.into_iter().map(|scan| scan.scan_id).collect()))
    };
    let all: Vec<String> = ids.iter().rev().cloned().collect();
    assert_eq!(listed(Filter::default(), 10, 0)?, (4, all.clone()));
    assert_eq!(listed(Filter::default(), 2, 1)?, (4, all[1..3].to_vec()));
    assert_eq!(listed(Filter::default(), 2, 9)?, (4, Vec::new()), "beyond the end there are still four");
    assert_eq!(listed(Filter { scanner: Some("scan_gap".to_owned()), ..Filter::default() }, 9, 0)?.0, 2);
    assert_eq!(listed(Filter { has_failed: Some(true), ..Filter::default() }, 9, 0)?, (1, vec![ids[1].clone()]));
    assert_eq!(listed(Filter { has_failed: Some(false), ..Filter::default() }, 9, 0)?.0, 3);
    let since = records[1].started_at;
    assert_eq!(listed(Filter { since: Some(since), ..Filter::default() }, 9, 0)?.0, 3, "with the one that began then");
    assert_eq!(listed(Filter { until: Some(since), ..Filter::default() }, 9, 0)?, (1, vec![ids[0].clone()]), "without it");
    assert_eq!(state.matching(&engine, "latest")?, [ids[3].clone()]);
    assert_eq!(state.matching(&engine, "")?.len(), 2);
    assert_eq!(state.matching(&engine, &ids[0][..18])?, [ids[0].clone()]);
    Ok(())
}

#[test]
fn statistics_count_scans_and_what_became_of_hits() -> Outcome {
    let (_folder, state, engine) = new_state()?;
    assert_eq!(state.statistics(&engine, &Filter::default())?.total.hit_rate_pct, None);
    let (breakout, gap) = (call("breakout"), call("gap"));
    let (known, unknown, empty) = (results(&[Some(true), None, Some(false), Some(true)])?, results(&[None])?, results(&[])?);
    let ids: Vec<String> = (0..7).map(|_| new_scan_id()).collect();
    let scans = [
        scan(&ids[0], &breakout, 100, Came::Done(&known)),
        scan(&ids[1], &breakout, 300, Came::Done(&empty)),
        scan(&ids[2], &breakout, 1, Came::Cached { from: &ids[0], rows: 4 }),
        scan(&ids[3], &breakout, 9000, Came::Failed { kind: "timeout", text: "" }),
        scan(&ids[4], &breakout, 9000, Came::Failed { kind: "usage", text: "" }),
        scan(&ids[5], &breakout, 9000, Came::Failed { kind: "usage", text: "" }),
        scan(&ids[6], &gap, 700, Came::Done(&unknown)),
    ];
    state.record_all(&engine, &scans.iter().map(|scan| scan.record()).collect::<Vec<_>>())?;
    let statistics = state.statistics(&engine, &Filter::default())?;
    let [(first, breakout), (second, gap)] = statistics.scanners.as_slice() else { return Err("two scanners".into()) };
    assert_eq!((first.as_str(), second.as_str()), ("breakout", "gap"));
    assert_eq!([breakout.scans, breakout.done, breakout.failed, breakout.cached, breakout.hits], [6, 3, 3, 1, 8]);
    // Of the three that were done: 4, 0 and 4 hits.
    assert_eq!(breakout.hits_per_scan, Some(8.0 / 3.0));
    assert_eq!(breakout.with_hits_pct, Some(200.0 / 3.0));
    // A hit that is repeated became one thing only; one of which nothing is known is no failure.
    assert_eq!((breakout.known_outcomes, breakout.successful, breakout.hit_rate_pct), (3, 2, Some(200.0 / 3.0)));
    assert_eq!((gap.known_outcomes, gap.hit_rate_pct), (0, None));
    // Neither what was repeated nor what failed says how long a scan takes.
    assert_eq!((breakout.p50_ms, breakout.max_ms), (Some(200.0), Some(300.0)));
    assert_eq!(serde_json::Value::Object(breakout.errors.clone()), serde_json::json!({"timeout": 1, "usage": 2}));
    assert_eq!((statistics.total.scans, statistics.total.known_outcomes), (7, 3));
    assert_eq!(statistics.days.iter().map(|(_, day)| day.scans).sum::<u64>(), 7);
    Ok(())
}

/// They say what became of each hit, which nobody could know at the cutoff.
#[test]
fn scans_of_the_server_do_not_answer_the_command() -> Outcome {
    let (_folder, state, engine) = new_state()?;
    let (call, empty, id) = (call("breakout"), results(&[])?, new_scan_id());
    let question = Question { call: &call, data_version: "one", within: Duration::from_secs(300) };
    state.record(&engine, &scan(&id, &call, 1, Came::Done(&empty)))?;
    assert_eq!(state.answered(&engine, &question)?, None);
    let own = new_scan_id();
    state.record(&engine, &Scan { command: "run", ..scan(&own, &call, 1, Came::Done(&empty)) })?;
    assert_eq!(state.answered(&engine, &question)?, Some(own));
    Ok(())
}
