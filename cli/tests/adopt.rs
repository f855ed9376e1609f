//! `scanner adopt`: bars where they are.

mod common;

use std::path::Path;

use common::{Outcome, count, demo, ok, scanner};

fn lines(folder: &Path, arguments: &[&str]) -> Outcome<Vec<String>> {
    Ok(ok(folder, arguments)?.out.lines().map(str::to_owned).collect())
}

#[test]
fn an_adopted_relation_scans_like_the_bars() -> Outcome {
    let folder = demo()?;
    let path = folder.path();
    // Other names, types and clocks: instants, of which the session's first is on the day before in UTC; a file for each symbol.
    ok(
        path,
        &["sql", "CREATE SCHEMA feed;
           CREATE TABLE feed.\"it's\" AS SELECT symbol AS \"the \"\"ticker\"\"\", from_exchange_time(ts, 'Australia/Sydney') AS \"moment's\", \
             open::DECIMAL(18, 4) AS o, high::DECIMAL(18, 4) AS h, low::DECIMAL(18, 4) AS l, close::DECIMAL(18, 4) AS c, volume::DOUBLE AS v FROM bars;
           CREATE VIEW ends AS SELECT symbol, ts::DATE AS date, (ts + INTERVAL 1 MINUTE)::TIME AS time, open, high, low, close, volume FROM bars"],
    )?;
    let mut copies = String::new();
    for symbol in 1..=40 {
        let name = format!("files/{}/DEMO{symbol:04}.NSE.parquet", symbol % 3);
        std::fs::create_dir_all(path.join(&name).parent().ok_or("a folder")?)?;
        copies.push_str(&format!("COPY (SELECT * EXCLUDE (symbol) FROM bars WHERE symbol = 'DEMO{symbol:04}') TO '{name}';"));
    }
    ok(path, &["sql", &copies])?;
    let cases: [&[&str]; 3] = [
        &["feed.it's", "--map", "symbol=the \"ticker\"", "--map", "ts=moment's", "--timezone", "Australia/Sydney"],
        &["ends", "--label", "end"],
        &["files", "--symbol-from-file"],
    ];
    let scan = [
        "run",
        "-t",
        "breakout",
        "--date",
        "2025-01-15",
        "--set",
        "max_results_per_day=40",
        "--set",
        "breakout_volume_ratio=0",
        "--format",
        "csv",
    ];
    let expected = lines(path, &scan)?;
    assert!(expected.len() > 2, "there are hits");
    for arguments in cases {
        let adopted = ok(path, &[&["adopt"], arguments, &["--source", "adopted", "--replace"]].concat())?;
        assert!(adopted.err.contains("20 sessions from 2024-12-17 to 2025-01-15"), "{arguments:?}: {}", adopted.err);
        assert_eq!(adopted.out, "");
        assert_eq!(
            count(path, "SELECT count(*) FROM ((FROM bars EXCEPT ALL FROM adopted) UNION ALL (FROM adopted EXCEPT ALL FROM bars))")?,
            0,
            "{arguments:?}"
        );
        assert_eq!(lines(path, &[&scan[..], &["--source", "adopted"]].concat())?, expected, "{arguments:?}");
    }
    // A view of files is read from other folders, too.
    let elsewhere = path.join("elsewhere");
    std::fs::create_dir(&elsewhere)?;
    let there = lines(&elsewhere, &[&scan[..], &["--source", "adopted", "--database", "../market.duckdb"]].concat())?;
    assert_eq!(there, expected);
    Ok(())
}

#[test]
fn only_what_was_adopted_is_replaced() -> Outcome {
    let folder = demo()?;
    let path = folder.path();
    ok(
        path,
        &[
            "sql",
            "CREATE TABLE raw AS FROM bars LIMIT 500; CREATE VIEW mine AS FROM bars; CREATE TABLE odd AS SELECT 1 AS price; \
       CREATE TABLE daily AS SELECT symbol, ts::DATE AS date, max(open) AS open, max(high) AS high, min(low) AS low, max(close) AS close, sum(volume) AS volume \
       FROM bars GROUP BY ALL; COPY raw TO 'raw.csv'",
        ],
    )?;
    std::fs::create_dir(path.join("empty"))?;
    let cases: [(&[&str], i32, &str); 11] = [
        (&["raw"], 2, "market.duckdb has a table 'bars' that was not adopted, and it stays as it is"),
        (&["raw", "--replace"], 2, "market.duckdb has a table 'bars' that was not adopted, and it stays as it is"),
        (&["raw", "--source", "mine", "--replace"], 2, "market.duckdb has a view 'mine' that was not adopted"),
        (&["bars"], 2, "bars cannot be a view of itself; rename it first, as in ALTER TABLE bars RENAME TO raw_bars"),
        (
            &["rwa", "--source", "new"],
            2,
            "market.duckdb has no relation 'rwa', and there is no such file or folder; it has bars, daily, mine, odd, raw",
        ),
        (
            &["odd", "--source", "new"],
            2,
            "odd: no column for 'symbol' among price; say which one with --map symbol=COLUMN, or give --symbol NAME",
        ),
        (&["raw", "--source", "new", "--map", "ts=tss"], 2, "raw: --map ts=tss: there is no column 'tss'; did you mean 'ts'?"),
        (
            &["raw.csv", "--source", "new"],
            2,
            "raw.csv is not Parquet, and would be read whole by every scan; take it in with 'scanner ingest raw.csv'",
        ),
        (&["empty", "--source", "new"], 2, "empty: there is no .parquet file in this folder"),
        (&["none.parquet", "--source", "new"], 1, "none.parquet: "),
        (
            &["market.duckdb", "--source", "new"],
            2,
            "market.duckdb cannot be adopted; expected a table or view of market.duckdb, a Parquet file, or a folder",
        ),
    ];
    for (arguments, code, message) in cases {
        let answer = scanner(path, &[&["adopt"], arguments].concat())?;
        assert_eq!(answer.code, Some(code), "{arguments:?}\n{}", answer.err);
        assert!(answer.err.contains(message), "{arguments:?}\n{}", answer.err);
    }
    assert_eq!(count(path, "SELECT count(*) FROM duckdb_views() WHERE NOT internal")?, 1, "nothing was made");
    ok(path, &["adopt", "raw", "--source", "new"])?;
    let again = scanner(path, &["adopt", "daily", "--source", "new"])?;
    assert_eq!(again.code, Some(2));
    assert!(again.err.contains("new is a view of raw already; --replace puts the new one in its place"), "{}", again.err);
    let midnight = ok(path, &["adopt", "daily", "--source", "new", "--replace"])?;
    assert!(midnight.err.contains("every bar starts at 00:00, as daily bars do: scan them with --bar-minutes 1440"), "{}", midnight.err);
    let daily = ok(path, &["adopt", "daily", "--source", "new", "--replace", "--bar-minutes", "1440"])?;
    assert!(!daily.err.contains("00:00"), "{}", daily.err);
    // A database that is not there is made, unless nothing comes of it.
    assert_eq!(scanner(path, &["adopt", "raw.csv", "--database", "none.duckdb"])?.code, Some(2));
    assert!(!path.join("none.duckdb").exists());
    Ok(())
}
