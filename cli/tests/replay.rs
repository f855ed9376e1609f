//! `scanner replay`: stored sessions, as if live.

mod common;

use std::{
    io::{BufRead, BufReader},
    path::Path,
    process::{Command, Stdio},
};

use common::{Outcome, command, demo, ok, scanner};

/// The first row of what a statement gives in a database, as CSV.
fn row(folder: &Path, database: &str, sql: &str) -> Outcome<String> {
    let answer = ok(folder, &["sql", sql, "--database", database, "--format", "csv"])?;
    Ok(answer.out.lines().nth(1).ok_or("one row")?.to_owned())
}

const SUM: &str = "SELECT count(*), sum(hash(symbol, ts, open, high, low, close, volume)) FROM bars";

#[test]
fn every_bar_of_the_session_arrives_whatever_it_is_replayed_from() -> Outcome {
    let folder = demo()?;
    let path = folder.path();
    ok(
        path,
        &[
            "sql",
            "COPY (FROM bars WHERE ts >= '2025-01-13') TO 'bars.parquet'; COPY (SELECT symbol AS ticker, ts + INTERVAL 1 MINUTE AS time, * EXCLUDE (symbol, ts) FROM bars) TO 'ends.csv'",
        ],
    )?;
    assert!(common::count(path, "SELECT count(*) FROM bars WHERE ts >= '2025-01-15'")? > 10_000, "there is something to replay");
    let all = row(path, "market.duckdb", SUM)?;
    let some = row(path, "market.duckdb", &format!("{SUM} WHERE ts >= '2025-01-13'"))?;
    // The last session, with the sessions before it; two sessions, with the night between skipped, or it would take 24 times as long.
    let runs: [(&str, &[&str], &str, &str); 3] = [
        ("market.duckdb", &[], "2025-01-15", &all),
        ("bars.parquet", &["--date", "2025-01-14", "--end-date", "2025-01-15"], "2 sessions from 2025-01-14 to 2025-01-15", &some),
        ("ends.csv", &["--label", "end"], "2025-01-15", &all),
    ];
    for (index, (file, more, said, expected)) in runs.into_iter().enumerate() {
        let database = format!("replay{index}.duckdb");
        let replayed = ok(path, &[&["replay", file, "--speed", "60000", "--database", &database], more].concat())?;
        assert!(replayed.err.contains(&format!("replaying {said} of {file} into {database}")), "{}", replayed.err);
        assert!(replayed.err.contains(&format!("scanner monitor --scanner-type breakout --database {database}")), "{}", replayed.err);
        assert!(replayed.err.contains("up to 2025-01-15 15:30"), "{}", replayed.err);
        assert_eq!(replayed.out, "");
        assert_eq!(row(path, &database, SUM)?, *expected, "{file}");
    }
    assert_eq!(row(path, "market.duckdb", SUM)?, all, "what is replayed stays as it is");
    Ok(())
}

#[test]
fn a_bar_is_there_when_it_has_ended_and_ctrl_c_ends_it() -> Outcome {
    let folder = demo()?;
    let path = folder.path();
    // So slow that no further bar ends meanwhile.
    let start = |more: &[&str]| -> Outcome<(Option<i32>, String)> {
        let mut child = command(path).args(["replay", "market.duckdb", "--speed", "0.1"]).args(more).stderr(Stdio::piped()).spawn()?;
        let mut lines = BufReader::new(child.stderr.take().ok_or("piped")?).lines().map_while(Result::ok);
        let mut said: Vec<String> = Vec::new();
        for line in lines.by_ref() {
            let is_ready = line.contains("scanner monitor");
            said.push(line);
            if is_ready {
                break;
            }
        }
        assert!(Command::new("kill").args(["-INT", &child.id().to_string()]).status()?.success());
        said.extend(lines);
        Ok((child.wait()?.code(), said.join("\n")))
    };
    let (code, said) = start(&["--from", "10:00"])?;
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("stopped at 2025-01-15 10:00, with 0 bars replayed"), "{said}");
    let expected = row(path, "market.duckdb", &format!("{SUM} WHERE ts <= '2025-01-15 09:59'"))?;
    assert_eq!(row(path, "replay.duckdb", SUM)?, expected, "at 10:00 the bar of 09:59 has ended, that of 10:00 has not");
    // On from there, and never back without --restart.
    let (code, said) = start(&["--from", "10:30"])?;
    assert_eq!(code, Some(0), "{said}");
    assert_eq!(row(path, "replay.duckdb", "SELECT max(ts)::VARCHAR FROM bars")?, "2025-01-15 10:29:00");
    let back = scanner(path, &["replay", "market.duckdb", "--from", "10:00"])?;
    assert_eq!(back.code, Some(2));
    assert!(back.err.contains("replay.duckdb has bars up to 2025-01-15 10:29 already"), "{}", back.err);
    assert!(back.err.contains("--restart removes those from 2025-01-15 on first"), "{}", back.err);
    let (code, said) = start(&["--restart"])?;
    assert_eq!(code, Some(0), "{said}");
    assert_eq!(row(path, "replay.duckdb", "SELECT max(ts)::VARCHAR FROM bars")?, "2025-01-14 15:29:00", "before the first bar has ended");
    Ok(())
}

#[test]
fn bars_that_no_replay_made_are_left_alone() -> Outcome {
    let folder = demo()?;
    let path = folder.path();
    std::fs::copy(path.join("market.duckdb"), path.join("mine.duckdb"))?;
    let cases: [(&[&str], i32, &str); 9] = [
        (
            &["market.duckdb", "--database", "market.duckdb"],
            2,
            "market.duckdb is what is to be replayed, and cannot be where it is replayed to",
        ),
        (&["market.duckdb", "--database", "mine.duckdb", "--restart"], 2, "mine.duckdb has bars that no replay put there"),
        (
            &["market.duckdb", "--date", "2025-01-11"],
            2,
            "--date 2025-01-11: no such session; market.duckdb has 20 sessions from 2024-12-17 to 2025-01-15",
        ),
        (&["market.duckdb", "--date", "2025-01-15", "--end-date", "2025-01-14"], 2, "--end-date 2025-01-14 is before --date 2025-01-15"),
        (&["market.duckdb", "--from", "15:30"], 2, "--from 15:30: 2025-01-15 ends at 15:30 already"),
        (&["market.duckdb", "--from", "noon"], 2, "--from noon: expected a time of day such as 09:50"),
        (&["market.duckdb", "--speed", "0"], 2, "expected a number from 0.1 to 1000000"),
        (&["market.duckdb", "--source", "nothing"], 1, "market.duckdb has no relation 'nothing'"),
        (&["none.parquet"], 1, "none.parquet: "),
    ];
    for (arguments, code, message) in cases {
        let answer = scanner(path, &[&["replay"], arguments].concat())?;
        assert_eq!(answer.code, Some(code), "{arguments:?}\n{}", answer.err);
        assert!(answer.err.contains(message), "{arguments:?}\n{}", answer.err);
        assert!(!answer.err.contains("LINE"), "no SQL of ours\n{}", answer.err);
    }
    assert_eq!(row(path, "mine.duckdb", SUM)?, row(path, "market.duckdb", SUM)?);
    Ok(())
}
