//! The history of scans: what is recorded, what is answered from it, and that nothing which was finished is lost.

mod common;

use std::{
    error::Error,
    fs,
    process::Stdio,
    thread,
    time::{Duration, Instant},
};

use common::{Outcome, answer, command, demo, ok, scanner};

/// The rows of `scanner history`, as CSV: its header, and a line for each scan.
fn history(folder: &std::path::Path, options: &[&str]) -> Outcome<(Vec<String>, Vec<Vec<String>>)> {
    let listed = ok(folder, &[&["history", "--format", "ndjson", "--limit", "100000"], options].concat())?;
    let rows: Vec<serde_json::Value> = listed.out.lines().map(serde_json::from_str).collect::<Result<_, _>>()?;
    let names: Vec<String> = rows.first().and_then(|row| row.as_object()).map(|row| row.keys().cloned().collect()).unwrap_or_default();
    let values =
        rows.iter().map(|row| names.iter().map(|name| row[name].as_str().map_or_else(|| row[name].to_string(), str::to_owned)).collect());
    Ok((names.clone(), values.collect()))
}

fn column(history: &(Vec<String>, Vec<Vec<String>>), name: &str) -> Outcome<Vec<String>> {
    let place = history.0.iter().position(|other| other == name).ok_or(name.to_owned())?;
    Ok(history.1.iter().map(|row| row[place].clone()).collect())
}

#[test]
fn a_scan_is_recorded_with_what_it_was_asked_and_what_it_came_to() -> Outcome {
    let folder = demo()?;
    let folder = folder.path();
    let found =
        ok(folder, &["run", "-t", "breakout", "--date", "2025-01-15", "--cutoff", "10:30", "--set", "min_volume=0", "--format", "csv"])?;
    scanner(folder, &["run", "-t", "breakout", "--date", "2025-01-15", "--set", "min_price=-1"])?;
    let listed = history(folder, &[])?;
    // The newest first.
    assert_eq!(column(&listed, "status")?, ["failed", "done"]);
    assert_eq!(column(&listed, "error_kind")?, ["usage", "null"]);
    assert!(column(&listed, "error")?[0].contains("min_price must be at least 0, got -1"));
    assert_eq!(column(&listed, "scanner")?, ["breakout", "breakout"]);
    assert_eq!(column(&listed, "cutoff_time")?, ["null", "10:30"]);
    assert_eq!(column(&listed, "hits")?[1], (found.out.lines().count() - 1).to_string());
    let arguments: serde_json::Value = serde_json::from_str(&column(&listed, "arguments")?[1])?;
    assert_eq!(arguments, serde_json::json!({"scan_date": "2025-01-15", "cutoff_time": "10:30", "min_volume": 0}));

    // The statement that is recorded gives the same rows: neither an argument is lost, nor a value changed.
    let again = ok(folder, &["sql", &column(&listed, "statement")?[1], "--format", "csv"])?;
    assert_eq!(again.out, found.out);
    // So do the rows that are kept, in every type.
    let id = &column(&listed, "scan_id")?[1];
    assert_eq!(ok(folder, &["export", &id[..13], "--format", "csv"])?.out, found.out);
    ok(folder, &["export", id, "--output", "kept.parquet"])?;
    ok(
        folder,
        &[
            "run",
            "-t",
            "breakout",
            "--date",
            "2025-01-15",
            "--cutoff",
            "10:30",
            "--set",
            "min_volume=0",
            "--no-cache",
            "--output",
            "new.parquet",
        ],
    )?;
    let types = |file: &str| ok(folder, &["sql", &format!("DESCRIBE FROM '{file}'"), "--format", "csv"]).map(|answer| answer.out);
    assert_eq!(types("kept.parquet")?, types("new.parquet")?);
    let difference = "SELECT count(*) FROM (FROM 'kept.parquet' EXCEPT FROM 'new.parquet')";
    assert_eq!(common::count(folder, difference)?, 0);

    let shown = ok(folder, &["show", &id[..13]])?;
    assert!(shown.out.contains(id.as_str()) && shown.out.contains("scan_breakout(") && shown.out.contains("breakout_pct"), "{}", shown.out);
    let failed = ok(folder, &["show", &column(&listed, "scan_id")?[0]])?;
    assert!(failed.out.contains("an error (usage): scan_breakout: min_price"), "{}", failed.out);
    Ok(())
}

#[test]
fn the_same_question_of_the_same_bars_is_not_scanned_again() -> Outcome {
    let folder = demo()?;
    let folder = folder.path();
    let run = |more: &[&str]| ok(folder, &[&["run", "-t", "breakout", "--date", "2025-01-15", "--format", "csv"], more].concat());
    let first = run(&[])?;
    assert!(!first.err.contains("a moment ago"), "{}", first.err);
    let second = run(&[])?;
    assert!(second.err.contains("as a moment ago from the same bars"), "{}", second.err);
    assert_eq!(first.out, second.out);
    // Another question, the same one of other bars, and the same one when told so are scanned.
    assert!(!run(&["--set", "min_volume=1"])?.err.contains("a moment ago"));
    assert!(!run(&["--no-cache"])?.err.contains("a moment ago"));
    ok(folder, &["sql", "DELETE FROM bars WHERE symbol = 'DEMO0001'"])?;
    let third = run(&[])?;
    assert!(!third.err.contains("a moment ago"), "an answer from before the change\n{}", third.err);
    // Nor is what a view says, which may read anything.
    ok(folder, &["sql", "CREATE VIEW seen AS FROM bars"])?;
    for _ in 0..2 {
        assert!(!run(&["--source", "seen"])?.err.contains("a moment ago"));
    }
    // Nor is what a scanner of the user's says, though it has the name of one that is built in: its file is none of the data.
    let own = "CREATE MACRO scan_breakout(scan_date, cutoff_time := '09:50', end_date := NULL, source := 'bars') AS TABLE \
               SELECT visible.session_date AS scan_date, visible.symbol, 1.0 AS price, 1 AS volume, 1.0 AS probability_score, 1 AS rank \
               FROM visible_bars(scan_date, cutoff_time, end_date := end_date, source := source) AS visible LIMIT 1;";
    ok(folder, &["-q", "sql", own])?;
    for _ in 0..2 {
        assert!(!run(&[])?.err.contains("a moment ago"), "another scanner of the same name");
    }
    ok(folder, &["-q", "sql", "DROP MACRO TABLE scan_breakout"])?;
    // As the configuration says.
    fs::write(folder.join("scanner_config.json"), r#"{"breakout": {"enable_caching": false}}"#)?;
    assert!(!run(&[])?.err.contains("a moment ago"));
    fs::write(folder.join("scanner_config.json"), r#"{"default": {"cache_ttl": 0}}"#)?;
    assert!(!run(&[])?.err.contains("a moment ago"));
    fs::write(folder.join("scanner_config.json"), r#"{"default": {"cache_ttl": 1}}"#)?;
    run(&["--no-cache"])?;
    thread::sleep(Duration::from_millis(1100));
    assert!(!run(&[])?.err.contains("a moment ago"), "older than cache_ttl");
    Ok(())
}

#[test]
fn what_is_configured_has_an_effect_and_options_win() -> Outcome {
    let folder = demo()?;
    let folder = folder.path();
    fs::write(
        folder.join("scanner_config.json"),
        r#"{"default": {"min_volume": 0, "max_results_per_day": 2}, "breakout": {"min_volume": 7, "resistance_break_pct": 0.1},
            "cli": {"auto_save_results": true, "results_directory": "kept", "default_format": "csv"}}"#,
    )?;
    let sql = ok(folder, &["run", "-t", "breakout", "--date", "2025-01-15", "--set", "resistance_break_pct=0.3", "--sql"])?;
    assert_eq!(
        sql.out.trim(),
        "FROM scan_breakout(scan_date := '2025-01-15', min_volume := 7, max_results_per_day := 2, resistance_break_pct := 0.3)"
    );
    // What `default` says of parameters that a scanner does not take is not for it.
    let sql = ok(folder, &["run", "-t", "gap", "--date", "2025-01-15", "--sql"])?;
    assert!(sql.out.contains("max_results_per_day := 2") && !sql.out.contains("resistance_break_pct"), "{}", sql.out);
    let sql = ok(folder, &["backtest", "-t", "breakout", "--sql"])?;
    assert!(sql.out.contains("min_volume: 7") && sql.out.contains("resistance_break_pct: 0.1"), "{}", sql.out);
    // A grid is of what it says, not of what is configured.
    let sql = ok(folder, &["optimize", "-t", "breakout", "--grid", "min_volume=0,10", "--sql"])?;
    assert!(!sql.out.contains("min_volume: 7") && sql.out.contains("resistance_break_pct: 0.1"), "{}", sql.out);

    let run = ok(folder, &["run", "-t", "breakout", "--date", "2025-01-15"])?;
    let files: Vec<_> = fs::read_dir(folder.join("kept"))?.collect::<Result<_, _>>()?;
    assert_eq!(files.len(), 1, "{}", run.err);
    let name = files[0].file_name().to_string_lossy().into_owned();
    assert!(name.starts_with("breakout_2025-01-15_") && name.ends_with(".csv"), "{name}");
    assert_eq!(fs::read_to_string(files[0].path())?, run.out, "default_format is csv");
    assert!(run.err.contains(&name), "{}", run.err);
    // Where the rows go to a file by themselves there is no second one.
    ok(folder, &["run", "-t", "breakout", "--date", "2025-01-15", "--output", "rows.json"])?;
    assert_eq!(fs::read_dir(folder.join("kept"))?.count(), 1);
    Ok(())
}

#[test]
fn a_scan_stops_when_its_time_is_over() -> Outcome {
    let folder = demo()?;
    let folder = folder.path();
    // A scanner that takes long whatever the machine.
    fs::write(folder.join("scanner_config.json"), r#"{"default": {"timeout": 300}, "slow": {"timeout": 1}}"#)?;
    ok(
        folder,
        &[
            "sql",
            "CREATE MACRO scan_slow(scan_date, cutoff_time := '09:50', source := 'bars') AS TABLE \
             SELECT DATE '2025-01-15' AS scan_date, 'A' AS symbol, CAST(sum(one.range * two.range) AS DOUBLE) AS price, 1 AS volume, \
             1.0 AS probability_score, 1 AS rank FROM range(10000000) AS one, range(10000000) AS two",
        ],
    )?;
    let started = Instant::now();
    let stopped = scanner(folder, &["run", "-t", "slow", "--date", "2025-01-15"])?;
    assert_eq!(stopped.code, Some(1), "{}", stopped.err);
    assert!(stopped.err.contains("stopped after 1s, the time allowed"), "{}", stopped.err);
    assert!(started.elapsed() < Duration::from_secs(60));
    assert_eq!(column(&history(folder, &["--failed"])?, "error_kind")?, ["timeout"]);
    Ok(())
}

#[test]
fn a_lock_is_waited_for_and_a_usage_error_is_not() -> Outcome {
    let folder = demo()?;
    let folder = folder.path();
    fs::write(folder.join("scanner_config.json"), r#"{"default": {"retry_attempts": 6}}"#)?;
    // Another process that has the database for a while, and says when.
    let mut holder = command(folder).args(["sql"]).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null()).spawn()?;
    thread::sleep(Duration::from_millis(700));
    let waiting = thread::spawn({
        let folder = folder.to_path_buf();
        move || scanner(&folder, &["-v", "run", "-t", "breakout", "--date", "2025-01-15"]).map_err(|error| error.to_string())
    });
    thread::sleep(Duration::from_millis(1200));
    holder.kill()?;
    holder.wait()?;
    let waited = waiting.join().map_err(|_| "the thread has not ended")??;
    assert_eq!(waited.code, Some(0), "{}", waited.err);
    assert!(waited.err.contains("trying again (1 of 6)"), "{}", waited.err);
    let refused = scanner(folder, &["-v", "run", "-t", "breakuot"])?;
    assert_eq!(refused.code, Some(2));
    assert!(!refused.err.contains("trying again"), "{}", refused.err);
    Ok(())
}

#[test]
fn scans_at_the_same_time_are_all_recorded() -> Outcome {
    let folder = demo()?;
    let folder = folder.path();
    let started = |volume: usize| {
        command(folder)
            .args([
                "-q",
                "--read-only",
                "run",
                "-t",
                "breakout",
                "--date",
                "2025-01-15",
                "--set",
                &format!("min_volume={volume}"),
                "--format",
                "csv",
            ])
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
    };
    let children: Vec<_> = (0..12).map(started).collect::<Result<_, _>>()?;
    for child in children {
        let output = child.wait_with_output()?;
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
    assert_eq!(history(folder, &[])?.1.len(), 12);
    Ok(())
}

#[test]
fn what_was_finished_is_still_there_after_a_kill() -> Outcome {
    let folder = demo()?;
    let folder = folder.path();
    let mut finished: Vec<String> = Vec::new();
    for attempt in 0..100_u64 {
        let volume = format!("min_volume={attempt}");
        let mut child = command(folder)
            .args(["run", "-t", "breakout", "--date", "2025-01-15", "--set", &volume, "--output", &format!("rows{attempt}.csv")])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?;
        // From before the database is opened to after it is closed again.
        thread::sleep(Duration::from_millis(attempt * 7 % 160));
        let has_ended = child.try_wait()?.is_some();
        child.kill()?;
        child.wait()?;
        if has_ended {
            finished.push(format!("\"min_volume\":{attempt}}}"));
        }
        // A file is whole or not there.
        let path = folder.join(format!("rows{attempt}.csv"));
        if path.exists() {
            let text = fs::read_to_string(path)?;
            assert!(text.starts_with("scan_date,symbol") && text.ends_with('\n'), "{text}");
        }
    }
    let arguments = column(&history(folder, &[])?, "arguments").unwrap_or_default();
    for finished in &finished {
        assert!(arguments.iter().any(|arguments| arguments.ends_with(finished.as_str())), "{finished} is missing in {arguments:?}");
    }
    // And more can be added.
    ok(folder, &["run", "-t", "breakout", "--date", "2025-01-15"])?;
    assert_eq!(history(folder, &[])?.1.len(), arguments.len() + 1);
    Ok(())
}

#[test]
fn a_history_that_cannot_be_written_is_said_and_stops_nothing() -> Outcome {
    let folder = demo()?;
    let folder = folder.path();
    let place = folder.join("nowhere").join("state.duckdb");
    let run = ok(folder, &["--state", &place.display().to_string(), "run", "-t", "breakout", "--date", "2025-01-15", "--format", "csv"])?;
    assert!(run.out.lines().count() > 1);
    assert!(run.err.contains("this scan is not in the history") && run.err.contains("--state FILE"), "{}", run.err);
    // A file that is no database stays as it is.
    fs::write(folder.join("state.duckdb"), "my notes")?;
    let run = ok(folder, &["run", "-t", "breakout", "--date", "2025-01-15"])?;
    assert!(run.err.contains("this scan is not in the history"), "{}", run.err);
    assert_eq!(fs::read_to_string(folder.join("state.duckdb"))?, "my notes");
    let listed = scanner(folder, &["history"])?;
    assert_eq!(listed.code, Some(1));
    assert!(listed.err.contains("cannot be opened as a DuckDB database"), "{}", listed.err);
    Ok(())
}

#[test]
fn mistakes_are_told_with_what_would_be_right() -> Outcome {
    let folder = demo()?;
    let folder = folder.path();
    let nothing = ok(folder, &["history"])?;
    assert!(nothing.err.contains("nothing has been scanned yet"), "{}", nothing.err);
    let unknown = scanner(folder, &["show", "latest"])?;
    assert_eq!(unknown.code, Some(2));
    assert!(unknown.err.contains("there is no scan 'latest'"), "{}", unknown.err);
    for volume in ["0", "1"] {
        ok(folder, &["run", "-t", "breakout", "--date", "2025-01-15", "--set", &format!("min_volume={volume}")])?;
    }
    let unknown = scanner(folder, &["export", "zzz"])?;
    assert_eq!(unknown.code, Some(2));
    assert!(unknown.err.contains("has no scan 'zzz'; 'scanner history' lists them"), "{}", unknown.err);
    let several = scanner(folder, &["export", ""])?;
    assert!(several.err.contains("several scans"), "{}", several.err);
    Ok(())
}

#[test]
fn statistics_are_those_of_the_scans() -> Outcome {
    let folder = demo()?;
    let folder = folder.path();
    let run = |more: &[&str]| answer(command(folder).args([&["-q", "run", "--date", "2025-01-15", "--format", "csv"], more].concat()));
    let mut hits = 0;
    for volume in ["min_volume=0", "min_volume=0", "min_volume=2"] {
        hits += run(&["-t", "breakout", "--set", volume])?.out.lines().count() - 1;
    }
    run(&["-t", "breakout", "--set", "min_price=-1"])?;
    // Nothing gaps by 49 %.
    run(&["-t", "gap", "--set", "min_gap_pct=49"])?;
    let stats = ok(folder, &["history", "--stats", "--format", "ndjson"])?;
    let rows: Vec<serde_json::Value> = stats.out.lines().map(serde_json::from_str).collect::<Result<_, _>>()?;
    let [breakout, gap] = rows.as_slice() else { return Err(format!("two scanners: {}", stats.out).into()) };
    let counts = |row: &serde_json::Value| -> Result<Vec<u64>, Box<dyn Error>> {
        ["scans", "cached", "failed", "hits"]
            .iter()
            .map(|name| row[name].as_u64().ok_or_else(|| format!("{name} in {row}").into()))
            .collect()
    };
    assert_eq!(counts(breakout)?, [4, 1, 1, hits as u64]);
    assert_eq!(breakout["errors"], "usage 1");
    // Of the three that succeeded, all have hits; a failed one is no scan without hits.
    assert_eq!(breakout["with_hits_pct"], 100.0);
    assert_eq!(counts(gap)?, [1, 0, 0, 0]);
    assert_eq!(gap["with_hits_pct"], 0.0);
    Ok(())
}
