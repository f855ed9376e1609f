//! The command as a user meets it: what it prints, where, and how it ends. Bad input above all.

mod common;

use std::{fs, io::Write, path::Path, process::Stdio};

use common::{Answer, Outcome, answer, command, count, demo, ok, scanner};

/// Loose enough that the demo market always has hits.
const LOOSE: [&str; 8] =
    ["--set", "breakout_volume_ratio=0", "--set", "resistance_break_pct=0", "--set", "min_volume=0", "--set", "min_probability_score=0"];

#[test]
fn bad_input_says_what_is_wrong_and_ends_with_its_code() -> Outcome {
    let folder = demo()?;
    fs::write(folder.path().join("text.duckdb"), "this is no database\n".repeat(500))?;
    ok(folder.path(), &["sql", "CREATE TABLE odd (a INTEGER)", "--database", "odd.duckdb"])?;
    ok(
        folder.path(),
        &[
            "sql",
            "CREATE TABLE bars AS SELECT 'A' AS symbol, '2025-01-15' AS ts, 1.0 AS open, 1.0 AS high, 1.0 AS low, 1.0 AS close, 1 AS volume",
            "--database",
            "texts.duckdb",
        ],
    )?;
    ok(
        folder.path(),
        &[
            "sql",
            "CREATE TABLE bars AS SELECT 'A' AS symbol, TIMESTAMP '2025-01-15 09:15:00' AS ts, 'high' AS open, 1.0 AS high, 1.0 AS low, 1.0 AS close, 1 AS volume",
            "--database",
            "prices.duckdb",
        ],
    )?;
    let run = ["run", "--scanner-type", "breakout"];
    let cases: [(&[&str], i32, &str); 17] = [
        (&["run", "--scanner-type", "brakeout"], 2, "scanner: there is no scanner 'brakeout'; did you mean 'breakout'? there are breakout"),
        (
            &["run", "--scanner-type", "breakout", "--set", "min_prise=5"],
            2,
            "scan_breakout has no parameter 'min_prise'; did you mean 'min_price'?",
        ),
        (&["run", "--scanner-type", "breakout", "--set", "min_price"], 2, "--set min_price: expected NAME=VALUE"),
        (
            &["run", "--scanner-type", "breakout", "--set", "min_price=cheap"],
            2,
            "scan_breakout: min_price must be a number at least 0, got 'cheap'",
        ),
        (
            &["run", "--scanner-type", "breakout", "--date", "2025-02-30"],
            2,
            "scan_breakout: scan_date must be a date such as 2025-01-15, got '2025-02-30'",
        ),
        (
            &["run", "--scanner-type", "breakout", "--cutoff", "25:99"],
            2,
            "scan_breakout: cutoff_time must be a time of day between 00:00 and 24:00, such as 09:50, got '25:99'",
        ),
        (
            &["run", "--scanner-type", "breakout", "--set", "consolidation_period=-3"],
            2,
            "scan_breakout: consolidation_period must be between 1 and 250, got -3",
        ),
        (
            &["run", "--scanner-type", "breakout", "--date", "2025-01-15", "--end-date", "2025-01-10"],
            2,
            "scan_breakout: scan_date (2025-01-15) must not exceed end_date (2025-01-10)",
        ),
        (&["run", "--scanner-type", "breakout", "--market", "NYSY"], 2, "--market NYSY: no such preset; expected one of ASX, "),
        (
            &["run", "--scanner-type", "breakout", "--database", "none.duckdb"],
            1,
            "there is no database none.duckdb; make one with 'scanner ingest FILES'",
        ),
        (
            &["run", "--scanner-type", "breakout", "--database", "odd.duckdb"],
            1,
            "odd.duckdb has no relation 'bars'; make it with 'scanner ingest FILES'",
        ),
        (&["run", "--scanner-type", "breakout", "--database", "text.duckdb"], 1, "text.duckdb cannot be opened as a DuckDB database: "),
        (
            &["run", "--scanner-type", "breakout", "--date", "2025-01-15", "--database", "texts.duckdb"],
            2,
            "scan_breakout: column ts of the source is VARCHAR, expected TIMESTAMP",
        ),
        (&["check", "--database", "prices.duckdb"], 1, "Could not convert string 'high' to DOUBLE"),
        (&["run", "--scanner-type", "breakout", "--source", "none.parquet"], 1, "No files found that match the pattern \"none.parquet\""),
        (&["run", "--scanner-type", "breakout", "--output", "hits.xyz"], 2, "--output hits.xyz: the ending names no format; expected .csv"),
        (&["ingest", "none.csv"], 1, "none.csv: "),
    ];
    for (arguments, code, message) in cases {
        let answer = scanner(folder.path(), arguments)?;
        assert_eq!(answer.code, Some(code), "{arguments:?}: {}", answer.err);
        assert!(answer.err.contains(message), "{arguments:?}: expected '{message}', got: {}", answer.err);
        assert_eq!(answer.out, "", "{arguments:?}: nothing but results goes to standard output");
    }
    assert!(!folder.path().join("none.duckdb").exists(), "reading makes no database");
    assert!(ok(folder.path(), &run)?.err.contains("no --date given: scanning the latest session, 2025-01-15"));
    Ok(())
}

#[test]
fn every_format_holds_the_same_rows() -> Outcome {
    let folder = demo()?;
    let run = |more: &[&str]| -> Outcome<Answer> {
        let mut arguments = vec!["run", "-t", "breakout", "--date", "2025-01-06", "--end-date", "2025-01-15"];
        arguments.extend(LOOSE);
        arguments.extend(more);
        ok(folder.path(), &arguments)
    };
    for ending in ["csv", "json", "ndjson", "parquet"] {
        run(&["--output", &format!("hits.{ending}")])?;
    }
    let rows = count(folder.path(), "SELECT count(*) FROM 'hits.parquet'")?;
    assert!(rows > 3, "{rows}");
    let same = |file: &str| {
        format!(
            "SELECT count(*) FROM 'hits.parquet' AS p JOIN '{file}' AS f ON CAST(f.scan_date AS DATE) = CAST(p.scan_date AS DATE) AND f.symbol = p.symbol \
             AND abs(f.price - p.price) < 1e-9 AND abs(f.probability_score - p.probability_score) < 1e-9 AND f.volume = p.volume AND f.rank = p.rank"
        )
    };
    for file in ["hits.csv", "hits.json", "hits.ndjson"] {
        assert_eq!(count(folder.path(), &same(file))?, rows, "{file}");
    }
    // Standard output gives the same bytes as a file.
    assert_eq!(run(&["--format", "csv"])?.out, fs::read_to_string(folder.path().join("hits.csv"))?);
    // The names of the columns, and under them their units.
    assert_eq!(run(&["--format", "table"])?.out.lines().count() as i64, rows + 2);
    let arrow = command(folder.path()).args(["run", "-t", "breakout", "--format", "arrow"]).output()?;
    let reader = arrow::ipc::reader::StreamReader::try_new(arrow.stdout.as_slice(), None)?;
    assert_eq!(reader.schema().field(0).name(), "scan_date");
    Ok(())
}

#[test]
fn an_empty_result_is_empty_and_says_why() -> Outcome {
    let folder = demo()?;
    let run = |more: &[&str]| -> Outcome<Answer> {
        let mut arguments = vec!["run", "-t", "breakout", "--format", "csv"];
        arguments.extend(more);
        ok(folder.path(), &arguments)
    };
    let weekend = run(&["--date", "2025-01-11"])?;
    assert_eq!(weekend.out.lines().count(), 1, "a header and no row");
    assert!(
        weekend.err.contains("there is no bar on 2025-01-11: the data has 20 sessions from 2024-12-17 to 2025-01-15"),
        "{}",
        weekend.err
    );
    let early = run(&["--date", "2025-01-15", "--cutoff", "09:00"])?;
    assert!(early.err.contains("no bar of 2025-01-15 had ended by 09:00: the first one starts at 09:15:00"), "{}", early.err);
    let strict = run(&["--date", "2025-01-15", "--set", "resistance_break_pct=50"])?;
    assert!(strict.err.contains("none has breakout_pct >= resistance_break_pct (resistance_break_pct = 50"), "{}", strict.err);
    Ok(())
}

#[test]
fn explain_counts_what_each_condition_leaves() -> Outcome {
    let folder = demo()?;
    let answer = ok(folder.path(), &["run", "-t", "breakout", "--date", "2025-01-15", "--explain"])?;
    assert!(answer.err.contains("volume_ratio >= breakout_volume_ratio"), "{}", answer.err);
    let first = answer.err.lines().find(|line| line.contains("session_date >= scan_date")).ok_or("the first condition")?;
    // DEMO0012 and DEMO0037 are halted in sessions 17 to 19, counted from 0; the last of 20 sessions is session 19. Nobody else is away.
    assert!(first.trim().starts_with("38 "), "{first}");
    // What was asked for is shown, however quiet the rest is.
    let quiet = ok(folder.path(), &["-q", "run", "-t", "breakout", "--date", "2025-01-15", "--explain"])?;
    assert!(quiet.err.contains("volume_ratio >= breakout_volume_ratio"), "{}", quiet.err);
    Ok(())
}

#[test]
fn printed_sql_gives_the_same_rows() -> Outcome {
    let folder = demo()?;
    let mut arguments = vec!["run", "-t", "breakout", "--date", "2025-01-15", "--symbols", "DEMO0001,DEMO0002,DEMO0003", "--format", "csv"];
    arguments.extend(LOOSE);
    let rows = ok(folder.path(), &arguments)?.out;
    arguments.push("--sql");
    let sql = ok(folder.path(), &arguments)?.out;
    assert!(sql.contains("symbols := ['DEMO0001', 'DEMO0002', 'DEMO0003']"), "{sql}");
    assert_eq!(ok(folder.path(), &["sql", sql.trim(), "--format", "csv"])?.out, rows);
    Ok(())
}

const BROKEN: &str = "Symbol,Timestamp,Open,High,Low,Close,Volume
A,2025-01-15 09:15:00,100,101,99,100.5,1000
A,2025-01-15 09:16:00,100.5,101,100,100.8,1200
A,2025-01-15 09:16:00,100.5,101,100,100.8,1200
A,2025-01-15 09:17:00,abc,101,100,100.8,1200
A,2025-01-15 09:18:00,100,101,100
A,2025-01-15 09:19:00,100,101,102,100.8,1200
A,2025-01-15 09:20:00,-1,101,100,100.8,1200
,2025-01-15 09:21:00,100,101,100,100.8,1200
A,2025-01-15 09:22:00,100,101,100,100.8,-5
A,2025-01-15 09:23:00,100,101,100,100.8,
A,2025-01-15 09:24:00,100,101,100,100.8,900
";

#[test]
fn broken_rows_are_counted_by_reason_and_the_rest_is_stored() -> Outcome {
    let folder = tempfile::tempdir()?;
    fs::write(folder.path().join("broken.csv"), BROKEN)?;
    let answer = ok(folder.path(), &["ingest", "broken.csv"])?;
    for line in [
        "3 bars added to market.duckdb from 11 rows of 1 file",
        "1 row repeated: several rows of a file have the same symbol and ts",
        "1 row of broken.csv rejected: column Open is not of its type (first: line 5: A,2025-01-15 09:17:00,abc",
        "1 row of broken.csv rejected: too few columns (first: line 6",
        "1 row of broken.csv rejected: high below low",
        "1 row of broken.csv rejected: a price is not above zero",
        "1 row of broken.csv rejected: no symbol",
        "1 row of broken.csv rejected: negative volume",
        "1 row of broken.csv rejected: volume is missing or not a number",
    ] {
        assert!(answer.err.contains(line), "expected '{line}' in:\n{}", answer.err);
    }
    assert_eq!(count(folder.path(), "SELECT count(*) FROM bars")?, 3);
    Ok(())
}

#[test]
fn the_same_file_again_changes_nothing() -> Outcome {
    let folder = tempfile::tempdir()?;
    fs::write(folder.path().join("broken.csv"), BROKEN)?;
    ok(folder.path(), &["ingest", "broken.csv"])?;
    let again = ok(folder.path(), &["ingest", "broken.csv"])?;
    assert!(again.err.contains("0 bars added"), "{}", again.err);
    assert!(again.err.contains("3 bars stored already, with the same values"), "{}", again.err);
    // A bar with other values does not replace the one that is stored, and is not silently dropped either.
    fs::write(
        folder.path().join("other.csv"),
        "symbol,ts,open,high,low,close,volume\nA,2025-01-15 09:15:00,100,101,99,100.5,7\nA,2025-01-15 09:30:00,1,1,1,1,1\n",
    )?;
    let other = ok(folder.path(), &["ingest", "other.csv"])?;
    assert!(
        other.err.contains("1 bar added") && other.err.contains("1 bar stored already with other values: the stored ones stay"),
        "{}",
        other.err
    );
    assert_eq!(count(folder.path(), "SELECT volume FROM bars WHERE ts = '2025-01-15 09:15:00'")?, 1000);
    Ok(())
}

#[test]
fn clocks_are_converted_to_the_exchanges() -> Outcome {
    let folder = tempfile::tempdir()?;
    let path = folder.path();
    let bar = "100,101,99,100.5,1000";
    // 14:30 UTC is 09:30 in New York in winter, 13:30 UTC in summer.
    fs::write(
        path.join("zone.csv"),
        format!("symbol,ts,open,high,low,close,volume\nW,2025-01-15T14:30:00Z,{bar}\nS,2025-07-15T13:30:00Z,{bar}\n"),
    )?;
    fs::write(path.join("epoch.csv"), format!("symbol,ts,open,high,low,close,volume\nW,1736951400000,{bar}\nS,1752586200000,{bar}\n"))?;
    fs::write(
        path.join("naive.csv"),
        format!("symbol,ts,open,high,low,close,volume\nW,2025-01-15 14:30:00,{bar}\nS,2025-07-15 13:30:00,{bar}\n"),
    )?;
    fs::write(path.join("ends.csv"), format!("symbol,ts,open,high,low,close,volume\nW,2025-01-15 09:35:00,{bar}\n"))?;
    fs::write(path.join("parts.csv"), format!("day,clock,o,h,l,c,v\n15/01/2025,09:30,{bar}\n"))?;

    let without = scanner(path, &["ingest", "zone.csv"])?;
    assert_eq!(without.code, Some(2), "{}", without.err);
    assert!(
        without.err.contains("zone.csv: column 'ts' tells instants, not the exchange's clock") && without.err.contains("--timezone"),
        "{}",
        without.err
    );
    assert!(!path.join("market.duckdb").exists(), "a first ingest that stored nothing leaves no database");

    let times =
        "SELECT count(*) FROM bars WHERE (symbol, ts) IN (('W', TIMESTAMP '2025-01-15 09:30:00'), ('S', TIMESTAMP '2025-07-15 09:30:00'))";
    for (database, file, more) in [
        ("zone.duckdb", "zone.csv", &["--timezone", "America/New_York"][..]),
        ("epoch.duckdb", "epoch.csv", &["--timezone", "America/New_York"][..]),
        ("naive.duckdb", "naive.csv", &["--timezone", "America/New_York", "--file-timezone", "UTC"][..]),
    ] {
        ok(path, &[&["ingest", file, "--database", database], more].concat())?;
        assert_eq!(count_in(path, database, times)?, 2, "{file}");
    }
    ok(path, &["ingest", "ends.csv", "--database", "ends.duckdb", "--label", "end", "--bar-minutes", "5"])?;
    assert_eq!(count_in(path, "ends.duckdb", times)?, 1);
    ok(
        path,
        &[
            "ingest",
            "parts.csv",
            "--database",
            "parts.duckdb",
            "--symbol",
            "W",
            "--map",
            "ts=day+clock",
            "--timestamp-format",
            "%d/%m/%Y %H:%M",
        ],
    )?;
    assert_eq!(count_in(path, "parts.duckdb", times)?, 1);

    let unknown = scanner(path, &["ingest", "zone.csv", "--timezone", "America/NewYork"])?;
    assert!(unknown.err.contains("unknown time zone 'America/NewYork'; did you mean 'America/New_York'?"), "{}", unknown.err);
    let column = scanner(path, &["ingest", "parts.csv", "--symbol", "W", "--map", "ts=dai+clock"])?;
    assert!(column.err.contains("there is no column 'dai'; did you mean 'day'?"), "{}", column.err);
    Ok(())
}

fn count_in(folder: &Path, database: &str, sql: &str) -> Outcome<i64> {
    let answer = ok(folder, &["sql", sql, "--format", "csv", "--database", database])?;
    Ok(answer.out.lines().nth(1).ok_or("one row")?.parse()?)
}

#[test]
fn a_table_of_other_columns_is_not_touched() -> Outcome {
    let folder = tempfile::tempdir()?;
    fs::write(folder.path().join("broken.csv"), BROKEN)?;
    ok(folder.path(), &["sql", "CREATE TABLE bars (x INTEGER)", "--database", "market.duckdb"])?;
    let answer = scanner(folder.path(), &["ingest", "broken.csv"])?;
    assert_eq!(answer.code, Some(2));
    assert!(
        answer.err.contains("the table 'bars' of market.duckdb has no column 'symbol'; a table of bars has symbol, ts, open"),
        "{}",
        answer.err
    );
    Ok(())
}

#[test]
fn a_reader_that_has_seen_enough_ends_the_command_quietly() -> Outcome {
    let folder = tempfile::tempdir()?;
    let mut child = command(folder.path())
        .args(["-q", "sql", "SELECT * FROM range(5000000)", "--format", "csv"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    drop(child.stdout.take());
    let output = child.wait_with_output()?;
    assert_eq!((output.status.code(), String::from_utf8(output.stderr)?.as_str()), (Some(0), ""));
    Ok(())
}

#[test]
fn an_output_file_is_whole_or_not_there() -> Outcome {
    let folder = demo()?;
    let answer = scanner(
        folder.path(),
        &["sql", "SELECT CASE WHEN range = 900000 THEN error('stop here') ELSE 'x' END FROM range(1000000)", "--output", "rows.csv"],
    )?;
    assert_eq!(answer.code, Some(1), "{}", answer.err);
    let left: Vec<String> = fs::read_dir(folder.path())?
        .map(|entry| entry.map(|entry| entry.file_name().to_string_lossy().into_owned()))
        .collect::<Result<_, _>>()?;
    assert!(left.iter().all(|name| name.starts_with("market.duckdb")), "{left:?}");
    Ok(())
}

#[test]
fn the_demo_leaves_other_bars_alone() -> Outcome {
    let folder = tempfile::tempdir()?;
    fs::write(folder.path().join("broken.csv"), BROKEN)?;
    ok(folder.path(), &["ingest", "broken.csv"])?;
    let answer = scanner(folder.path(), &["demo"])?;
    assert_eq!(answer.code, Some(2), "{}", answer.err);
    assert!(answer.err.contains("holds bars that are not the demo's"), "{}", answer.err);
    assert_eq!(count(folder.path(), "SELECT count(*) FROM bars")?, 3);
    Ok(())
}

#[test]
fn a_script_on_standard_input_runs_statement_by_statement() -> Outcome {
    let folder = tempfile::tempdir()?;
    let mut child = command(folder.path()).args(["sql", "--format", "csv"]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
    let script =
        "CREATE TABLE t AS SELECT 'a;b' AS x; -- not; a statement\nSELECT x || ';' AS y FROM t;\n/* nor; this */ SELECT $$;$$ AS z;\n";
    child.stdin.take().ok_or("a pipe")?.write_all(script.as_bytes())?;
    let output = child.wait_with_output()?;
    assert_eq!(String::from_utf8(output.stdout)?, "y\na;b;\nz\n;\n");
    Ok(())
}

#[test]
fn a_users_own_scanner_is_listed_and_run() -> Outcome {
    let folder = demo()?;
    ok(
        folder.path(),
        &[
            "sql",
            "CREATE MACRO scan_mine(scan_date, at_least := 100) AS TABLE SELECT session.session_date AS scan_date, session.symbol, session.price, session.bars, \
             session.volume, 100.0 AS probability_score, row_number() OVER (ORDER BY session.symbol) AS rank FROM sessions_as_of(scan_date) AS session WHERE session.session_date = session_date(scan_date, 'scan_mine', 'scan_date') \
             AND session.bars >= integer_in_range(at_least, 1, 1000, 'scan_mine', 'at_least') ORDER BY session.symbol",
            "--database",
            "market.duckdb",
        ],
    )?;
    assert!(ok(folder.path(), &["list"])?.out.contains("mine"));
    assert!(ok(folder.path(), &["list", "mine"])?.out.contains("at_least  default 100"));
    assert!(ok(folder.path(), &["list", "--format", "csv"])?.out.contains("scan_mine"));
    let answer = ok(folder.path(), &["run", "-t", "mine", "--set", "at_least=370", "--explain", "--format", "csv"])?;
    assert!(answer.out.lines().count() > 2, "{}", answer.out);
    assert!(answer.err.contains("bars >= at_least"), "{}", answer.err);
    let wrong = scanner(folder.path(), &["run", "-t", "mine", "--set", "at_least=0"])?;
    assert_eq!(wrong.code, Some(2));
    assert!(wrong.err.contains("scan_mine: at_least must be between 1 and 1000, got 0"), "{}", wrong.err);
    Ok(())
}

#[test]
fn a_users_own_scanner_is_told_what_it_lacks() -> Outcome {
    let folder = demo()?;
    let path = folder.path();
    let macros = "CREATE MACRO scan_short(scan_date) AS TABLE SELECT session.symbol FROM sessions_as_of(scan_date) AS session;
        CREATE MACRO scan_peek(scan_date, min_price := 1) AS TABLE SELECT session_date(scan_date, 'scan_peek', 'scan_date') AS scan_date, \
        bar.symbol, max(bar.close) AS price, sum(bar.volume) AS volume, 1.0 AS probability_score, 1 AS rank FROM bars AS bar WHERE bar.close >= min_price GROUP BY ALL";
    ok(path, &["sql", macros, "--database", "market.duckdb"])?;
    let short = scanner(path, &["run", "-t", "short", "--date", "2025-01-15"])?;
    assert_eq!((short.code, short.out.as_str()), (Some(2), ""), "{}", short.err);
    assert!(
        short.err.contains("scan_short has no column scan_date, price, volume, probability_score, rank; a scanner's columns start"),
        "{}",
        short.err
    );
    let typo = scanner(path, &["run", "-t", "peek", "--set", "min_prise=5"])?;
    assert!(typo.err.contains("scan_peek has no parameter 'min_prise'; did you mean 'min_price'?"), "{}", typo.err);
    // It has run, and says that it may look ahead.
    let peek = ok(path, &["run", "-t", "peek", "--date", "2025-01-15", "--format", "csv"])?;
    assert_eq!(peek.out.lines().count(), 41);
    assert!(peek.err.contains("scan_peek may look ahead: a scanner that reads 'bars'; expected a building block"), "{}", peek.err);
    let check = ok(path, &["check"])?;
    for finding in [
        "scan_peek: a scanner that reads 'bars'",
        "scan_peek: range of 'min_price' that nothing checks",
        "scan_short: no column scan_date, price",
    ] {
        assert!(check.err.contains(finding), "{finding}: {}", check.err);
    }
    assert!(check.err.contains("about the scanners in market.duckdb; 'scanner run' refuses those that lack columns"), "{}", check.err);
    Ok(())
}

#[test]
fn a_new_scanner_works_as_it_is() -> Outcome {
    let folder = demo()?;
    let path = folder.path();
    let new = ok(path, &["new", "morning_rise"])?;
    assert!(new.err.contains("made scanners/scan_morning_rise.sql, which works as it is"), "{}", new.err);
    assert!(path.join("scanners/scan_morning_rise.sql").is_file());
    // What it says to do next can be done.
    let next = new.err.lines().map(str::trim).find(|line| line.starts_with("scanner run")).ok_or("it says how to run it")?;
    let arguments: Vec<&str> = next.split_whitespace().skip(1).collect();
    let run = ok(path, &[&arguments[..], &["--date", "2025-01-15", "--format", "csv"]].concat())?;
    assert_eq!(run.out.lines().next(), Some("scan_date,symbol,price,change_pct,relative_volume,volume,probability_score,rank"));
    assert!(run.out.lines().count() > 1, "it finds something in the demo market");
    assert!(!run.err.contains("look ahead"), "{}", run.err);
    let json = new.err.lines().map(str::trim).find(|line| line.starts_with('{')).ok_or("it says how to configure it")?;
    fs::write(path.join("scanner_config.json"), json)?;
    assert!(ok(path, &["list"])?.out.contains("morning_rise"));
    let list = ok(path, &["list", "morning_rise"])?.out;
    assert!(
        list.contains("min_change_pct  DOUBLE, default 0.5, 0 to 100, in %") && list.contains("min_price  DOUBLE, default 50"),
        "{list}"
    );
    assert_eq!(count(path, "SELECT count(DISTINCT scan_date) FROM scan_morning_rise('2025-01-06', end_date := '2025-01-15')")?, 8);
    let wrong = scanner(path, &["run", "-t", "morning_rise", "--set", "lookback_days=0"])?;
    assert!(wrong.err.contains("scan_morning_rise: lookback_days must be between 1 and 250, got 0"), "{}", wrong.err);
    assert_eq!(ok(path, &["check"])?.err.matches("scan_").count(), 0);

    // In the folder that is configured, from here on.
    let another = ok(path, &["new", "scan_evening_fall"])?;
    assert!(
        another.err.contains("made scanners/scan_evening_fall.sql") && !another.err.contains("--scanners-directory"),
        "{}",
        another.err
    );
    let elsewhere = ok(path, &["new", "third", "--folder", "deep/er"])?;
    assert!(elsewhere.err.contains("scanner run --scanner-type third --scanners-directory deep/er"), "{}", elsewhere.err);
    ok(path, &["run", "-t", "third", "--scanners-directory", "deep/er"])?;

    fs::write(path.join("scanners/scan_morning_rise.sql"), "mine")?;
    for (arguments, message) in [
        (&["new", "morning_rise"][..], "scanners/scan_morning_rise.sql is there already; --force writes the template over it"),
        (&["new", "Morning Rise"], "expected a name of small letters, digits and _, 50 of them at most; did you mean 'morning_rise'?"),
        (&["new", "breakout"], "there is a built-in scanner of this name; expected another name, such as my_breakout"),
        (&["new", "default"], "a section of the configuration has this name"),
    ] {
        let refused = scanner(path, arguments)?;
        assert_eq!(refused.code, Some(2), "{arguments:?}: {}", refused.err);
        assert!(refused.err.contains(message), "{arguments:?}: {}", refused.err);
    }
    assert_eq!(fs::read_to_string(path.join("scanners/scan_morning_rise.sql"))?, "mine");
    // A broken file in the folder does not keep one from writing another, or from writing it anew.
    ok(path, &["new", "morning_rise", "--force"])?;
    ok(path, &["run", "-t", "morning_rise"])?;
    Ok(())
}

#[test]
fn the_folder_of_own_scanners_is_named_by_file_variable_or_flag() -> Outcome {
    let folder = demo()?;
    let path = folder.path();
    for name in ["home", "named", "variable", "flag", "here"] {
        ok(path, &["-q", "new", &format!("of_{name}"), "--folder", &format!("home/stockscan/{name}")])?;
    }
    let config = |name: &str| format!("{{\"cli\": {{\"scanners_directory\": \"{name}\"}}}}");
    let mut more: Vec<&str> = Vec::new();
    let listed = |more: &[&str], variable: Option<&str>| -> Outcome<String> {
        let mut command = command(path);
        command.args(["list", "--format", "csv"]).args(more).envs(variable.map(|folder| ("STOCKSCAN_SCANNERS_DIRECTORY", folder)));
        let answer = answer(&mut command)?;
        assert_eq!(answer.code, Some(0), "{}", answer.err);
        Ok(answer
            .out
            .lines()
            .filter_map(|line| line.strip_prefix("of_"))
            .filter_map(|line| line.split(',').next())
            .collect::<Vec<_>>()
            .join(" "))
    };
    assert_eq!(listed(&more, None)?, "");
    // Each wins over those before. A path is relative to the file that has it.
    fs::write(path.join("home/stockscan/config.json"), config("home"))?;
    assert_eq!(listed(&more, None)?, "home");
    fs::write(path.join("scanner_config.json"), config("home/stockscan/here"))?;
    assert_eq!(listed(&more, None)?, "here");
    fs::write(path.join("home/stockscan/other.json"), config("named"))?;
    more.extend(["--config-file", "home/stockscan/other.json"]);
    assert_eq!(listed(&more, None)?, "named");
    assert_eq!(listed(&more, Some("home/stockscan/variable"))?, "variable");
    more.extend(["--scanners-directory", "home/stockscan/flag"]);
    assert_eq!(listed(&more, Some("home/stockscan/variable"))?, "flag");
    Ok(())
}

#[test]
fn a_broken_scanner_or_configuration_stops_what_needs_it() -> Outcome {
    let folder = demo()?;
    let path = folder.path();
    ok(path, &["-q", "new", "good"])?;
    let good = fs::read_to_string(path.join("scanners/scan_good.sql"))?;
    fs::write(path.join("scanners/scan_bad.sql"), good.replace("scan_good", "scan_bad").replace("ranked.price,", "ranked.prise,"))?;
    fs::write(path.join("scanners/scan_worse.sql"), "SELECT 1")?;
    fs::write(path.join("scanner_config.json"), "{\"cli\": {\"scanners_directory\": \"scanners\"}}")?;
    let line = good.lines().position(|line| line.contains("ranked.price,")).ok_or("the column")? + 1;
    let bad = format!("\nscanners/scan_bad.sql:{line}: Binder Error: ");
    for arguments in [&["list"][..], &["run", "-t", "breakout"], &["sql", "SELECT 1"], &["check"], &["doctor"]] {
        let answer = scanner(path, arguments)?;
        assert_eq!(answer.code, Some(2), "{arguments:?}: {}", answer.err);
        assert!(answer.err.contains(&bad), "{arguments:?}: {}", answer.err);
        assert!(
            answer.err.contains("\nscanners/scan_worse.sql:1: another statement; expected CREATE MACRO name(…) AS …"),
            "{}",
            answer.err
        );
        let is_doctor = arguments == ["doctor"];
        assert_eq!(answer.out.contains("20 sessions from 2024-12-17 to 2025-01-15"), is_doctor, "the doctor goes on: {}", answer.out);
    }
    // What calls no scanner does not need them.
    fs::write(path.join("bars.csv"), "symbol,ts,open,high,low,close,volume\nA,2025-01-15 09:15:00,1,1,1,1,1\n")?;
    ok(path, &["ingest", "bars.csv"])?;

    fs::write(path.join("scanner_config.json"), "{\"cli\": {\"scanners_directory\": \"gone\", \"color\": 1}, \"api\": {\"port\": 0}}")?;
    for arguments in [&["list"][..], &["ingest", "bars.csv"], &["new", "more"], &["doctor"]] {
        let answer = scanner(path, arguments)?;
        assert_eq!(answer.code, Some(2), "{arguments:?}: {}", answer.err);
        assert!(answer.err.contains("scanner_config.json: api.port is 0; expected a whole number from 1 to 65535"), "{}", answer.err);
        assert!(answer.err.contains("scanner_config.json: cli has no key 'color'; did you mean 'color_output'?"), "{}", answer.err);
    }
    fs::write(path.join("scanner_config.json"), "{\"cli\": {\"scanners_directory\": \"gone\"}}")?;
    let gone = scanner(path, &["list"])?;
    assert_eq!(gone.code, Some(2), "{}", gone.err);
    assert!(
        gone.err.contains("scanner_config.json: cli.scanners_directory is gone: there is no such folder; expected the folder of your own"),
        "{}",
        gone.err
    );
    // A scanner's section is checked, too; one of a scanner that is not here is mentioned.
    fs::write(path.join("scanner_config.json"), "{\"crp\": {\"max_volume\": -1}}")?;
    let range = scanner(path, &["list"])?;
    assert!(range.err.contains("scanner_config.json: crp.max_volume is -1; expected a whole number, 0 or more"), "{}", range.err);
    fs::write(path.join("scanner_config.json"), "{\"elsewhere\": {\"min_price\": 1}}")?;
    assert!(ok(path, &["list"])?.err.contains("section 'elsewhere' is of no use here, since market.duckdb has no such scanner"));
    Ok(())
}

#[test]
fn doctor_says_what_the_configuration_says() -> Outcome {
    let folder = demo()?;
    let path = folder.path();
    ok(path, &["-q", "new", "morning_rise"])?;
    fs::create_dir(path.join("scanners/drafts"))?;
    fs::write(
        path.join("scanner_config.json"),
        "{\"cli\": {\"scanners_directory\": \"scanners\", \"color_output\": true}, \"streamlit\": {\"theme\": \"dark\"}}",
    )?;
    ok(path, &["sql", "CREATE MACRO scan_morning_rise(x) AS TABLE SELECT 1 AS y", "--database", "market.duckdb"])?;
    let doctor = ok(path, &["doctor"])?.out;
    for line in [
        "stockscan/config.json (yours) not there, which is fine",
        "scanner_config.json (this folder's) sets cli: scanners_directory, color_output; dashboard: theme\n",
        "scanners 1 scanner; sub-folders are not read: drafts",
        "your scanners  morning_rise",
        "hidden in market.duckdb by your folder: scan_morning_rise",
        "nothing needs doing",
    ] {
        assert!(doctor.contains(line), "expected '{line}' in:\n{doctor}");
    }
    assert!(ok(path, &["doctor", "-v"])?.out.contains("dashboard.theme = \"dark\""));
    let named = scanner(path, &["doctor", "--config-file", "none.json"])?;
    assert_eq!(named.code, Some(2));
    assert!(
        named.err.contains("none.json: No such file or directory") && named.out.contains("none.json (named) cannot be used"),
        "{}",
        named.err
    );
    Ok(())
}

#[test]
fn doctor_says_what_is_there_and_what_to_do() -> Outcome {
    let folder = demo()?;
    let well = ok(folder.path(), &["doctor"])?;
    assert!(well.out.contains("20 sessions from 2024-12-17 to 2025-01-15") && well.out.contains("nothing needs doing"), "{}", well.out);
    let ill = scanner(folder.path(), &["doctor", "--database", "none.duckdb"])?;
    assert_eq!(ill.code, Some(1));
    assert!(ill.out.contains("v2.0.0") && ill.err.contains("there is no database none.duckdb"), "{}{}", ill.out, ill.err);
    Ok(())
}

#[test]
fn times_are_read_as_what_they_are_or_not_at_all() -> Outcome {
    let folder = tempfile::tempdir()?;
    let path = folder.path();
    let head = "symbol,ts,open,high,low,close,volume";
    let bar = "100,101,99,100.5,1000";
    // A wrong format stores nothing, and says so.
    fs::write(path.join("slashes.csv"), format!("{head}\nA,15/01/2025 09:15,{bar}\nA,15/01/2025 09:16,{bar}\n"))?;
    let wrong = scanner(path, &["ingest", "slashes.csv", "--timestamp-format", "%d-%m-%Y %H:%M"])?;
    assert_eq!(wrong.code, Some(1), "{}", wrong.err);
    assert!(wrong.err.contains("2 rows of slashes.csv rejected: no time, or one that cannot be read"), "{}", wrong.err);
    ok(path, &["ingest", "slashes.csv", "--timestamp-format", "%d/%m/%Y %H:%M"])?;
    assert_eq!(count(path, "SELECT count(*) FROM bars WHERE ts BETWEEN '2025-01-15 09:15:00' AND '2025-01-15 09:16:00'")?, 2);
    // One broken time does not refuse the others.
    fs::write(path.join("one.csv"), format!("{head}\nB,2025-01-15 09:15:00,{bar}\nB,N/A,{bar}\nB,2025-01-15 09:17:00,{bar}\n"))?;
    let one = ok(path, &["ingest", "one.csv"])?;
    assert!(one.err.contains("2 bars added") && one.err.contains("1 row of one.csv rejected: no time"), "{}", one.err);
    // Volumes beyond all reason are rejected, not stored as NULL.
    fs::write(path.join("huge.csv"), format!("{head}\nC,2025-01-15 09:15:00,1,1,1,1,99999999999999999999\n"))?;
    assert_eq!(scanner(path, &["ingest", "huge.csv"])?.code, Some(1));
    assert_eq!(count(path, "SELECT count(*) FROM bars WHERE volume IS NULL OR ts IS NULL")?, 0);
    // An offset behind a time in a column of its own counts, too.
    fs::write(path.join("parts.csv"), "symbol,date,time,open,high,low,close,volume\nD,2025-01-15,03:45:00+00:00,1,1,1,1,1\n")?;
    ok(path, &["ingest", "parts.csv", "--timezone", "Asia/Kolkata"])?;
    assert_eq!(count(path, "SELECT count(*) FROM bars WHERE symbol = 'D' AND ts = '2025-01-15 09:15:00'")?, 1);
    // 20250115 is a day, not a moment in August 1970.
    fs::write(path.join("days.csv"), "symbol,date,open,high,low,close,volume\nE,20250115,1,1,1,1,1\nE,20250116,1,1,1,1,1\n")?;
    let days = ok(path, &["ingest", "days.csv", "--database", "days.duckdb"])?;
    assert!(days.err.contains("every bar starts at 00:00, as daily bars do: scan them with --bar-minutes 1440"), "{}", days.err);
    assert_eq!(count_in(path, "days.duckdb", "SELECT count(*) FROM bars WHERE ts IN ('2025-01-15', '2025-01-16')")?, 2);
    Ok(())
}

#[test]
fn ingest_touches_nothing_but_the_table_of_bars() -> Outcome {
    let folder = tempfile::tempdir()?;
    fs::write(folder.path().join("broken.csv"), BROKEN)?;
    ok(
        folder.path(),
        &[
            "sql",
            "CREATE TABLE reject_errors AS SELECT 1 AS mine; CREATE TABLE ingest_rows AS SELECT 2 AS mine",
            "--database",
            "market.duckdb",
        ],
    )?;
    ok(folder.path(), &["ingest", "broken.csv"])?;
    assert_eq!(count(folder.path(), "SELECT sum(mine) FROM (FROM main.reject_errors UNION ALL FROM main.ingest_rows)")?, 3);
    let file = scanner(folder.path(), &["ingest", "broken.csv", "--source", "x.parquet"])?;
    assert_eq!(file.code, Some(2), "{}", file.err);
    ok(folder.path(), &["ingest", "broken.csv", "--source", "main.other"])?;
    assert_eq!(count(folder.path(), "SELECT count(*) FROM other")?, 3);
    Ok(())
}

#[test]
fn a_link_is_followed_and_a_device_stays_one() -> Outcome {
    let folder = tempfile::tempdir()?;
    let path = folder.path();
    fs::write(path.join("real.csv"), "old")?;
    std::os::unix::fs::symlink("real.csv", path.join("link.csv"))?;
    ok(path, &["-q", "sql", "SELECT 1 AS x", "--output", "link.csv"])?;
    assert!(path.join("link.csv").is_symlink());
    assert_eq!(fs::read_to_string(path.join("real.csv"))?, "x\n1\n");
    ok(path, &["-q", "sql", "SELECT 1 AS x", "--format", "csv", "--output", "/dev/null"])?;
    assert!(!Path::new("/dev/null").is_file());
    Ok(())
}

#[test]
fn unknown_symbols_are_not_taken_for_an_early_cutoff() -> Outcome {
    let folder = demo()?;
    let answer = ok(folder.path(), &["run", "-t", "breakout", "--date", "2025-01-15", "--symbols", "NOPE", "--format", "csv"])?;
    assert!(answer.err.contains("there is no bar of those symbols in the data at all"), "{}", answer.err);
    let none = scanner(folder.path(), &["run", "-t", "breakout", "--symbols", ","])?;
    assert_eq!(none.code, Some(2), "{}", none.err);
    Ok(())
}

#[test]
fn rows_that_a_change_returns_are_printed() -> Outcome {
    let folder = tempfile::tempdir()?;
    let answer = ok(folder.path(), &["-q", "sql", "CREATE TABLE t (x INTEGER); INSERT INTO t VALUES (7) RETURNING x", "--format", "csv"])?;
    assert_eq!(answer.out, "x\n7\n");
    Ok(())
}
