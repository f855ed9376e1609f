//! Opening, closing, locks, deadlines, interrupts and panics.

use std::{
    error::Error as StdError,
    fs,
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use stockscan_engine::{Argument, Engine, Error, Options, Query, Value};

type Outcome<T = ()> = Result<T, Box<dyn StdError>>;

/// Long enough that it never ends by itself.
const ENDLESS: &str = "SELECT count(*) FROM range(1000000000) a, range(1000000000) b WHERE a.range % 7 = b.range % 5";

fn text(value: &str) -> Argument {
    Argument::Text(value.to_owned())
}

fn rows(engine: &Engine, sql: &str) -> Outcome<usize> {
    let (_, batches) = engine.collect(&Query::plain(sql), None)?;
    Ok(batches.iter().map(|batch| batch.num_rows()).sum())
}

#[test]
fn a_database_can_be_scanned_closed_and_opened_again() -> Outcome {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("market.duckdb");
    for round in 0..3 {
        let engine = Engine::open(Options::file(&path))?;
        if round == 0 {
            engine.connection().execute_batch("CREATE TABLE bars AS FROM demo_bars(symbols := 20, sessions := 12)")?;
        }
        assert!(
            rows(
                &engine,
                "FROM scan_breakout('2025-01-15', min_volume := 0, resistance_break_pct := 0, breakout_volume_ratio := 0, min_probability_score := 0)"
            )? > 0
        );
    }
    let reader = Engine::open(Options { read_only: true, ..Options::file(&path) })?;
    assert!(
        rows(
            &reader,
            "FROM scan_breakout('2025-01-15', min_volume := 0, resistance_break_pct := 0, breakout_volume_ratio := 0, min_probability_score := 0)"
        )? > 0
    );
    assert!(reader.connection().execute_batch("DELETE FROM bars").is_err(), "read-only means that nothing is written");
    // Nothing of Stockscan is in the file.
    let own = rows(&reader, "FROM duckdb_functions() WHERE database_name = 'market' AND function_type LIKE '%macro'")?;
    assert_eq!(own, 0);
    Ok(())
}

#[test]
fn a_missing_database_is_not_made_by_reading() -> Outcome {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("none.duckdb");
    let error = Engine::open(Options { read_only: true, ..Options::file(&path) }).expect_err("there is no file");
    assert!(matches!(error, Error::NoDatabase(_)), "{error}");
    assert!(!path.exists());
    Ok(())
}

#[test]
fn files_that_are_no_databases_are_refused_and_left_as_they_are() -> Outcome {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("bars.duckdb");
    let text = "symbol,ts,open\n".repeat(1000);
    fs::write(&path, &text)?;
    let error = Engine::open(Options::file(&path)).expect_err("a text file is no database");
    assert!(matches!(error, Error::NotADatabase { .. }), "{error}");
    assert_eq!(fs::read_to_string(&path)?, text);
    Ok(())
}

#[test]
fn a_database_of_a_newer_version_says_so() -> Outcome {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("newer.duckdb");
    drop(Engine::open(Options::file(&path))?);
    // The file's first block of 4096 bytes: its checksum, the magic bytes, the version as a 64-bit number.
    let checksum = |block: &[u8]| {
        let words = block.chunks_exact(8).map(|word| u64::from_le_bytes(word.try_into().unwrap_or_default()));
        words.fold(5381_u64, |sum, word| sum ^ word.wrapping_mul(0xbf58_476d_1ce4_e5b9))
    };
    let mut content = fs::read(&path)?;
    assert_eq!(&content[8..12], b"DUCK");
    assert_eq!(content[..8], checksum(&content[8..4096]).to_le_bytes(), "the checksum of DuckDB's file header");
    content[12..20].copy_from_slice(&9999_u64.to_le_bytes());
    let sum = checksum(&content[8..4096]).to_le_bytes();
    content[..8].copy_from_slice(&sum);
    fs::write(&path, content)?;
    let error = Engine::open(Options::file(&path)).expect_err("the version is unknown");
    assert!(matches!(error, Error::NewerDatabase { .. }) && error.to_string().contains("9999"), "{error}");
    Ok(())
}

#[test]
fn a_locked_database_names_the_process_that_holds_it() -> Outcome {
    // The holder is this test program again, running only the helper below.
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("market.duckdb");
    let mut holder = Command::new(std::env::current_exe()?)
        .args(["--exact", "hold_a_database_for_another_test", "--nocapture"])
        .env("STOCKSCAN_TEST_HOLD", &path)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()?;
    let held = path.with_extension("held");
    let started = Instant::now();
    while !held.exists() && started.elapsed() < Duration::from_secs(60) {
        thread::sleep(Duration::from_millis(20));
    }
    let write = Engine::open(Options::file(&path)).expect_err("another process has it");
    let read = Engine::open(Options { read_only: true, ..Options::file(&path) }).expect_err("another process has it");
    let process = holder.id();
    holder.kill()?;
    holder.wait()?;
    for error in [write, read] {
        assert!(matches!(&error, Error::Locked { process: named, .. } if *named == process), "holder {process}: {error}");
        assert!(error.to_string().contains(&process.to_string()), "{error}");
    }
    Engine::open(Options::file(&path))?;
    Ok(())
}

#[test]
fn hold_a_database_for_another_test() -> Outcome {
    let Some(path) = std::env::var_os("STOCKSCAN_TEST_HOLD") else { return Ok(()) };
    let path = std::path::PathBuf::from(path);
    let _engine = Engine::open(Options::file(&path))?;
    fs::write(path.with_extension("held"), "")?;
    thread::sleep(Duration::from_secs(120));
    Ok(())
}

#[test]
fn a_deadline_ends_a_query_and_leaves_the_database_usable() -> Outcome {
    let engine = Engine::open(Options::memory())?;
    let error = engine.collect(&Query::plain(ENDLESS), Some(Duration::from_millis(200))).expect_err("the query never ends");
    assert!(matches!(error, Error::Timeout(_)), "{error}");
    assert_eq!(rows(&engine, "SELECT 1")?, 1);
    // A deadline that is not reached changes nothing.
    assert_eq!(engine.collect(&Query::plain("SELECT 1"), Some(Duration::from_secs(60)))?.1.len(), 1);
    Ok(())
}

#[test]
fn another_thread_can_interrupt_a_query() -> Outcome {
    let engine = Engine::open(Options::memory())?;
    let handle = engine.interrupt_handle();
    let stop = thread::spawn(move || {
        for _ in 0..100 {
            thread::sleep(Duration::from_millis(50));
            handle.interrupt();
        }
    });
    let error = engine.collect(&Query::plain(ENDLESS), None).expect_err("it is interrupted");
    assert!(matches!(error, Error::Interrupted), "{error}");
    drop(engine);
    stop.join().map_err(|_| "the interrupting thread failed")?;
    Ok(())
}

#[test]
fn names_are_checked_against_the_catalogue() -> Outcome {
    let engine = Engine::open(Options::memory())?;
    let error = engine.scanner_function("brakeout").expect_err("no such scanner");
    assert!(error.to_string().starts_with("there is no scanner 'brakeout'; did you mean 'breakout'?"), "{error}");
    let error = engine
        .call("scan_breakout", &[("scan_date".to_owned(), text("2025-01-15")), ("min_prise".to_owned(), text("5"))])
        .expect_err("no such parameter");
    assert!(
        error.to_string().starts_with("scan_breakout has no parameter 'min_prise'; did you mean 'min_price'? it takes scan_date, "),
        "{error}"
    );
    let error = engine.call("scan_breakout", &[]).expect_err("the date is missing");
    assert_eq!(error.to_string(), "scan_breakout needs a value for 'scan_date'");
    assert!(error.is_usage());
    let error = engine.collect(&Query::plain("SELECT error('a user said so')"), None).expect_err("error() raises");
    assert!(!error.is_usage(), "only a guard's message is about usage: {error}");
    let error = engine.call("sessionz", &[]).expect_err("no such function");
    assert!(error.to_string().contains("did you mean 'sessions'?"), "{error}");
    Ok(())
}

#[test]
fn values_are_bound_and_written_out_safely() -> Outcome {
    let engine = Engine::open(Options::memory())?;
    engine.connection().execute_batch("CREATE TABLE bars AS FROM demo_bars(symbols := 3, sessions := 8)")?;
    let hostile = "x'); DROP TABLE bars; --";
    let call = engine.call("scan_breakout", &[("scan_date".to_owned(), text("2025-01-15")), ("symbols".to_owned(), text(hostile))])?;
    assert!(!call.query().sql.contains("DROP"), "{}", call.query().sql);
    let (_, bound) = engine.collect(&call.query(), None)?;
    let (_, written) = engine.collect(&Query::plain(call.sql()), None)?;
    assert_eq!(bound, written);
    assert_eq!(rows(&engine, "FROM bars LIMIT 1")?, 1, "the table is still there");
    Ok(())
}

#[test]
fn values_in_structures_are_bound_too() -> Outcome {
    let engine = Engine::open(Options::memory())?;
    engine.connection().execute_batch("CREATE TABLE bars AS FROM demo_bars(symbols := 2, sessions := 12)")?;
    let given = [("min_price", "1e1"), ("max_results_per_day", "5"), ("min_price", "20")]
        .map(|(name, text)| (name.to_owned(), Argument::Text(text.to_owned())));
    let params = engine.values("scan_breakout", &given)?;
    // Of a name given twice the last one counts.
    assert_eq!(params, [("max_results_per_day".to_owned(), Value::BigInt(5)), ("min_price".to_owned(), Value::Double(20.0))]);
    let unknown = engine.values("scan_breakout", &[("min_prise".to_owned(), Argument::Text("1".to_owned()))]);
    assert!(matches!(unknown, Err(Error::UnknownParameter { suggestion: Some(name), .. }) if name == "min_price"));

    let grid = vec![("consolidation_period".to_owned(), Value::List(vec![Value::BigInt(3), Value::BigInt(5)]))];
    let evil = Value::Text("x'}); DROP TABLE bars; --".to_owned());
    let arguments = |scanner: Value| {
        [
            ("scanner", scanner),
            ("start_date", Value::Text("2025-01-13".to_owned())),
            ("end_date", Value::Text("2025-01-15".to_owned())),
            ("params", Value::Struct(params.clone().into())),
            ("grid", Value::Struct(grid.clone().into())),
        ]
        .map(|(name, value)| (name.to_owned(), Argument::Value(value)))
    };
    let call = engine.call("grid_trades", &arguments(Value::Text("breakout".to_owned())))?;
    let (_, batches) = engine.collect(&call.query(), None)?;
    assert!(batches.iter().map(|batch| batch.num_rows()).sum::<usize>() >= 2, "a row for each combination");
    let shown = "grid := {consolidation_period: [3, 5]}, params := {max_results_per_day: 5, min_price: 20}";
    assert!(call.sql().contains(shown), "{}", call.sql());
    assert_eq!(rows(&engine, &call.sql())?, batches.iter().map(|batch| batch.num_rows()).sum::<usize>());
    assert!(engine.collect(&engine.call("grid_trades", &arguments(evil))?.query(), None).is_err());
    assert_eq!(rows(&engine, "SELECT DISTINCT symbol FROM bars")?, 2);
    Ok(())
}

#[test]
fn columns_and_sessions_are_told() -> Outcome {
    let engine = Engine::open(Options::memory())?;
    engine.connection().execute_batch("CREATE TABLE bars AS FROM demo_bars(symbols := 2, sessions := 3)")?;
    assert_eq!(engine.first_session(&[])?.as_deref(), Some("2025-01-13"));
    assert_eq!(engine.latest_session(&[])?.as_deref(), Some("2025-01-15"));
    let columns = engine.columns_of_built_in("backtest_summary")?;
    let column =
        |name: &str| columns.iter().find(|column| column.name == name).map(|column| (column.unit.as_deref(), column.meaning.as_str()));
    assert_eq!(column("hit_rate_pct"), Some((Some("%"), "winners of trades")));
    assert_eq!(column("turnover"), Some((Some("times a year"), "what was put into trades over the mean equity, for 252 sessions")));
    assert_eq!(column("sessions"), Some((None, "sessions, with trades or without")));
    Ok(())
}

#[test]
fn a_users_own_scanner_is_called_like_any_other() -> Outcome {
    let engine = Engine::open(Options::memory())?;
    engine.connection().execute_batch(
        "CREATE TABLE bars AS FROM demo_bars(symbols := 3, sessions := 8);
         CREATE MACRO scan_mine(scan_date, at_least := 2, label := 'it''s') AS TABLE
             SELECT session.session_date AS scan_date, session.symbol, session.price, at_least AS n, label, session.volume,
                 100.0 AS probability_score, row_number() OVER (ORDER BY session.symbol) AS rank
             FROM sessions_as_of(scan_date) AS session
             WHERE session.session_date = session_date(scan_date, 'scan_mine', 'scan_date') AND session.bars >= at_least;",
    )?;
    let signature = engine.signature("scan_mine")?;
    let expected = [("scan_date", None), ("at_least", Some("2")), ("label", Some("'it''s'"))];
    assert_eq!(signature.parameters, expected.map(|(name, default)| (name.to_owned(), default.map(str::to_owned))));
    let call = engine
        .call(&engine.scanner_function("mine")?, &[("scan_date".to_owned(), text("2025-01-15")), ("at_least".to_owned(), text("5"))])?;
    assert_eq!(engine.collect(&call.query(), None)?.1.iter().map(|batch| batch.num_rows()).sum::<usize>(), 3);
    let funnel = engine.funnel(&call, None)?;
    let last = funnel.steps.last().ok_or("the macro has conditions")?;
    assert_eq!((last.condition.as_str(), last.parameters.as_str(), last.survivors), ("bars >= at_least", "at_least = 5", 3));
    Ok(())
}

#[test]
fn the_funnel_ends_with_the_rows_of_the_scan() -> Outcome {
    let engine = Engine::open(Options::memory())?;
    engine.connection().execute_batch("CREATE TABLE bars AS FROM demo_bars(symbols := 60, sessions := 30)")?;
    let call = engine.call(
        "scan_breakout",
        &[
            ("scan_date".to_owned(), text("2024-12-27")),
            ("end_date".to_owned(), text("2025-01-15")),
            ("min_volume".to_owned(), Argument::Value(Value::BigInt(1000))),
        ],
    )?;
    let (_, batches) = engine.collect(&call.query(), None)?;
    let rows: usize = batches.iter().map(|batch| batch.num_rows()).sum();
    let funnel = engine.funnel(&call, None)?;
    assert!(rows > 0, "the fixture has breakouts");
    let survivors: Vec<u64> = funnel.steps.iter().map(|step| step.survivors).collect();
    assert_eq!(survivors.last().copied(), Some(rows as u64));
    assert!(survivors.is_sorted_by(|one, next| one >= next), "each condition leaves at most what came before: {survivors:?}");
    let volume = funnel.steps.iter().find(|step| step.condition == "volume >= min_volume").ok_or("a step for min_volume")?;
    assert_eq!(volume.parameters, "min_volume = 1000");
    Ok(())
}

#[test]
fn a_panic_in_a_callback_is_an_error_of_its_query() -> Outcome {
    use duckdb_neo::{
        DuckDBType, Parameters,
        connection::Context,
        data_chunk::VectorCollection,
        environment::{Environment, StorageLocation},
        scalar::{ScalarCallbacks, ScalarFunctionBuilder},
        signature::{FunctionParameter, SignatureBuilder},
        vector::{Unknown, Vector},
    };
    struct Panics;
    impl ScalarCallbacks for Panics {
        type BindData = ();
        type InitData = ();
        fn exec(
            &self,
            _: Option<&()>,
            _: Option<&mut ()>,
            _: &Context,
            _: &mut VectorCollection,
            _: Vector<'_, Unknown>,
        ) -> duckdb_neo::Result<()> {
            stockscan::caught("panics", || panic!("the row was not expected"))
        }
    }
    let connection = Environment::new()?.open(StorageLocation::InMemory)?.connect()?;
    let signature = SignatureBuilder::new().param(FunctionParameter::new::<i32>("x")).return_type(i32::logical_type(&connection)?);
    ScalarFunctionBuilder::new("panics", signature, Panics).register(&connection)?;
    for _ in 0..2 {
        let error = connection.execute("SELECT panics(range::INTEGER) FROM range(10)", Parameters::None).expect_err("it panics");
        assert!(
            error.message.contains("panics failed on an error of its own") && error.message.contains("the row was not expected"),
            "{error}"
        );
        assert!(!error.message.contains("INTERNAL"), "{error}");
    }
    connection.execute("SELECT 1", Parameters::None)?;
    Ok(())
}

#[test]
fn a_script_is_cut_at_its_semicolons_and_not_changed() -> Outcome {
    let engine = Engine::open(Options::memory())?;
    let script = "SELECT 'a;b' AS \"x;y\", 0x1F; -- not; one\n/* nor; this */ SELECT $$;$$ AS z;\n;; -- only a comment\nSELECT 'é;' -- end";
    let expected =
        ["SELECT 'a;b' AS \"x;y\", 0x1F", "-- not; one\n/* nor; this */ SELECT $$;$$ AS z", "-- only a comment\nSELECT 'é;' -- end"];
    assert_eq!(engine.statements(script)?, expected);
    assert_eq!(engine.statements("SELECT 1; /* done */ ")?, ["SELECT 1"]);
    Ok(())
}
