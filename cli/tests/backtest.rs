//! `scanner backtest` and `scanner optimize` as a user meets them.

mod common;

use std::{
    fs,
    io::{BufRead, BufReader, Read},
    path::Path,
    process::{Command, Stdio},
};

use common::{Answer, Outcome, answer, command, count, demo, ok, scanner};

/// So many sessions that the demo market has more hits than the portfolio has places for.
const FEW_PLACES: [&str; 4] = ["--set", "max_results_per_day=5", "--max-positions", "2"];

fn backtest(folder: &Path, more: &[&str]) -> Outcome<Answer> {
    ok(folder, &[&["backtest", "-t", "breakout"], more].concat())
}

fn optimize(folder: &Path, more: &[&str]) -> Outcome<Answer> {
    ok(folder, &[&["optimize", "-t", "breakout"], more].concat())
}

/// What a statement prints as CSV.
fn csv(folder: &Path, sql: &str) -> Outcome<String> {
    Ok(ok(folder, &["sql", sql, "--format", "csv"])?.out)
}

fn lines_with<'a>(text: &'a str, word: &'a str) -> Vec<&'a str> {
    text.lines().filter(|line| line.contains(word)).collect()
}

/// Whether every tag of an XML text is closed where it should be.
fn is_well_formed(xml: &str) -> bool {
    let mut open: Vec<&str> = Vec::new();
    for piece in xml.split('<').skip(1) {
        let Some((tag, rest)) = piece.split_once('>') else { return false };
        let plain = ["&lt;", "&gt;", "&amp;", "&apos;", "&quot;"].iter().fold(rest.to_owned(), |text, entity| text.replace(entity, ""));
        if plain.contains(['>', '&']) {
            return false;
        }
        let name = tag.trim_start_matches('/').split([' ', '\n', '/']).next().unwrap_or_default();
        if tag.starts_with(['?', '!']) || tag.ends_with('/') {
            continue;
        }
        match tag.starts_with('/') {
            true if open.pop() != Some(name) => return false,
            true => {}
            false => open.push(name),
        }
    }
    open.is_empty() && xml.contains("<svg")
}

/// How many points the longest line of a drawing has.
fn longest_line(svg: &str) -> usize {
    let points = svg.split("<polyline").skip(1).filter_map(|piece| piece.split("points=\"").nth(1)?.split('"').next());
    points.map(|points| points.split_whitespace().count()).max().unwrap_or(0)
}

#[test]
fn the_summary_says_what_was_tested_and_what_each_number_is() -> Outcome {
    let folder = demo()?;
    let told = backtest(folder.path(), &["--set", "min_price=60", "--stop-loss", "1.5", "--cost-bps", "3", "--no-compounding"])?;
    for words in [
        "Backtest of breakout, 2024-12-17 to 2025-01-15 (20 sessions)",
        "seen at 09:50, entered long at the next bar's open, closed by 15:15, at a loss of 1.5 %",
        "costs 3 bps and slippage 0 bps a side; 100,000 in at most 3 positions of equal weight, profits not compounded",
        "min_price = 60",
        "Hits and trades\n",
        "Benchmark\n",
    ] {
        assert!(told.out.contains(words), "expected '{words}' in:\n{}", told.out);
    }
    assert!(told.err.contains("no dates given: all sessions in the data, 2024-12-17 to 2025-01-15"), "{}", told.err);
    assert!(!told.err.contains("nothing was charged"), "{}", told.err);
    // Every number is there, with the words of the function's documentation, and rounded.
    let call = "FROM backtest_summary('breakout', '2024-12-17', '2025-01-15', params := {min_price: 60}, stop_loss_pct := 1.5, cost_bps := 3, compounding := false)";
    let rows = csv(folder.path(), call)?;
    let mut rows = rows.lines();
    let (names, values) = (rows.next().ok_or("names")?, rows.next().ok_or("values")?);
    let pairs: Vec<(&str, &str)> = names.split(',').zip(values.split(',')).collect();
    for (name, value) in &pairs {
        if !["first_date", "last_date", "session_returns"].contains(name) {
            let line =
                told.out.lines().find(|line| line.trim_start().starts_with(&format!("{name} "))).ok_or(format!("a line for {name}"))?;
            let shown = line.split_whitespace().nth(1).unwrap_or_default().replace(',', "");
            match (shown.parse::<f64>(), value.parse::<f64>()) {
                (Ok(shown), Ok(value)) => assert!((shown - value).abs() <= 0.005_000_1, "{name}: {shown}, {value}"),
                _ => assert_eq!(shown.replace('–', ""), *value, "{name}"),
            }
        }
    }
    let hit_rate = lines_with(&told.out, "hit_rate_pct");
    assert!(hit_rate[0].contains(" %  winners of trades"), "{hit_rate:?}");

    // A machine gets the row as it is, whatever is said beside it.
    let machine = backtest(
        folder.path(),
        &["--set", "min_price=60", "--stop-loss", "1.5", "--cost-bps", "3", "--no-compounding", "--format", "csv"],
    )?;
    assert_eq!(machine.out, csv(folder.path(), call)?);
    Ok(())
}

#[test]
fn where_the_numbers_mean_little_it_is_said() -> Outcome {
    let folder = demo()?;
    let few = backtest(folder.path(), &["--start-date", "2025-01-09"])?;
    assert!(few.err.contains("no --end-date given: to the latest session in the data, 2025-01-15"), "{}", few.err);
    assert!(few.err.contains("trades say little: the true hit rate may be anything from "), "{}", few.err);
    assert!(few.err.contains("nothing was charged for trading: --cost-bps and --slippage-bps are 0"), "{}", few.err);
    assert!(few.err.contains("what is said of a year is made of 5 sessions"), "{}", few.err);
    let places = backtest(folder.path(), &[&FEW_PLACES[..], &["--set", "resistance_break_pct=0.1", "--slippage-bps", "1"]].concat())?;
    assert!(places.err.contains("found no place in the portfolio: see --max-positions"), "{}", places.err);
    assert!(!places.err.contains("nothing was charged"), "{}", places.err);
    let none = backtest(folder.path(), &["--set", "resistance_break_pct=50"])?;
    assert!(none.err.contains("breakout found nothing to trade; 'scanner run --explain' shows"), "{}", none.err);
    let quiet = backtest(folder.path(), &["-q", "--start-date", "2025-01-09"])?;
    assert_eq!(quiet.err, "");
    Ok(())
}

#[test]
fn rows_of_each_kind_are_those_of_the_functions() -> Outcome {
    let folder = demo()?;
    let dates = ["--start-date", "2024-12-26", "--end-date", "2025-01-14"];
    for (options, call) in [
        (&["--by", "weekday"][..], "backtest_by('breakout', '2024-12-26', '2025-01-14', 'weekday'"),
        (&["--by", "exit_reason"], "backtest_by('breakout', '2024-12-26', '2025-01-14', 'exit_reason'"),
        (&["--trades"], "backtest('breakout', '2024-12-26', '2025-01-14'"),
        (&["--daily"], "backtest_daily('breakout', '2024-12-26', '2025-01-14'"),
        (&["--calibrate", "--folds", "3"], "calibrate('breakout', '2024-12-26', '2025-01-14', folds := 3"),
    ] {
        let more =
            ["--target", "1", "--hold-sessions", "1", "--exit-time", "11:00", "--cutoff", "10:00", "--cost-bps", "2.5", "--format", "csv"];
        let found = backtest(folder.path(), &[&dates[..], options, &more].concat())?;
        let sql =
            format!("FROM {call}, target_pct := 1, hold_sessions := 1, exit_time := '11:00', cutoff_time := '10:00', cost_bps := 2.5)");
        assert_eq!(found.out, csv(folder.path(), &sql)?, "{options:?}");
        assert!(found.out.lines().count() > 1, "{options:?}");
        // The statement that is printed gives them as well.
        let printed = backtest(folder.path(), &[&dates[..], options, &more, &["--sql"]].concat())?.out;
        assert_eq!(csv(folder.path(), printed.trim())?, found.out, "{printed}");
    }
    let people = backtest(folder.path(), &[&dates[..], &["--by", "month", "--market", "NSE", "--symbols", "DEMO0001,DEMO0002"]].concat())?;
    assert!(people.err.contains("only DEMO0001, DEMO0002, hours 09:15:00 to 15:30:00"), "{}", people.err);
    let none = backtest(folder.path(), &[&dates[..], &["--trades", "--set", "resistance_break_pct=50", "--format", "csv"]].concat())?;
    assert_eq!(none.out.lines().count(), 1, "a header and no row");
    assert!(none.err.contains("0 hits in") && none.err.contains("found nothing to trade"), "{}", none.err);
    Ok(())
}

#[test]
fn daily_bars_are_seen_and_left_at_the_end_of_the_day() -> Outcome {
    let folder = demo()?;
    let days = "CREATE TABLE days AS SELECT symbol, CAST(CAST(ts AS DATE) AS TIMESTAMP) AS ts, arg_min(open, ts) AS open, max(high) AS high, \
                min(low) AS low, arg_max(close, ts) AS close, CAST(sum(volume) AS BIGINT) AS volume FROM bars GROUP BY ALL";
    ok(folder.path(), &["sql", days, "--database", "market.duckdb"])?;
    let daily = ["--source", "days", "--bar-minutes", "1440"];
    let found = backtest(folder.path(), &[&daily[..], &["--trades", "--format", "csv"]].concat())?;
    let sql = "FROM backtest('breakout', '2024-12-17', '2025-01-15', cutoff_time := '24:00', exit_time := '24:00', source := 'days', bar_minutes := 1440)";
    assert_eq!(found.out, csv(folder.path(), sql)?);
    assert!(found.out.lines().count() > 3, "{}", found.out);
    let grid = optimize(folder.path(), &[&daily[..], &["--grid", "hold_sessions=0,1,2", "--min-trades", "1"]].concat())?;
    assert!(grid.out.contains("seen at 24:00") && grid.out.contains("closed by 24:00, sessions after as in the grid"), "{}", grid.out);
    Ok(())
}

#[test]
fn a_backtest_is_refused_before_it_is_run() -> Outcome {
    let folder = demo()?;
    ok(folder.path(), &["sql", "CREATE MACRO scan_bare(scan_date, at_least) AS TABLE SELECT 1 AS x", "--database", "market.duckdb"])?;
    let cases: [(&[&str], i32, &str); 22] = [
        (&["-t", "brakeout"], 2, "there is no scanner 'brakeout'; did you mean 'breakout'?"),
        (&["-t", "breakout", "--set", "min_prise=5"], 2, "scan_breakout has no parameter 'min_prise'; did you mean 'min_price'?"),
        (&["-t", "breakout", "--set", "min_price"], 2, "--set min_price: expected NAME=VALUE"),
        (&["-t", "breakout", "--set", "cutoff_time=10:00"], 2, "cutoff_time is given as --cutoff"),
        (&["-t", "breakout", "--set", "direction=short"], 2, "expected a parameter of scan_breakout; direction is given as --direction"),
        (&["-t", "gap", "--set", "direction=up"], 2, "scan_gap: direction must be one of long, short, any, got 'up'"),
        (&["-t", "breakout", "--start-date", "2025-02-30"], 2, "backtest: start_date must be a date such as 2025-01-15, got '2025-02-30'"),
        (
            &["-t", "breakout", "--start-date", "2025-01-15", "--end-date", "2025-01-10"],
            2,
            "backtest: start_date (2025-01-15) must not exceed end_date (2025-01-10)",
        ),
        (
            &["-t", "breakout", "--start-date", "2020-01-01", "--end-date", "2020-02-01"],
            2,
            "there is no session from 2020-01-01 to 2020-02-01: the data has 20 sessions from 2024-12-17 to 2025-01-15",
        ),
        (&["-t", "breakout", "--stop-loss", "-1"], 2, "backtest: stop_loss_pct must be between 0.01 and 1000, got -1"),
        (&["-t", "breakout", "--target", "much"], 2, "backtest: target_pct must be a number between 0.01 and 1000, got 'much'"),
        (&["-t", "breakout", "--exit-time", "25:99"], 2, "backtest: exit_time must be a time of day between 00:00 and 24:00"),
        (&["-t", "breakout", "--max-positions", "0"], 2, "backtest: max_positions must be between 1 and 10000, got 0"),
        (&["-t", "breakout", "--by", "hours"], 2, "a similar value exists: 'hour'"),
        (&["-t", "breakout", "--by", "hour", "--trades"], 2, "'--by <BY>' cannot be used with '--trades'"),
        (&["-t", "breakout", "--folds", "3"], 2, "--calibrate"),
        (&["-t", "breakout", "--symbols", ","], 2, "--symbols names no symbol"),
        (&["-t", "breakout", "--symbols", "NOPE"], 2, "there is no bar of those symbols in market.duckdb"),
        (&["-t", "breakout", "--plot", "x.png"], 2, "--plot x.png: expected a file that ends in .svg"),
        (&["-t", "breakout", "--plot", "none/x.svg"], 1, "none/x.svg: No such file or directory"),
        (&["-t", "bare"], 2, "scan_bare has no parameter cutoff_time, end_date, source, which a range of sessions is scanned with"),
        (&["-t", "breakout", "--database", "none.duckdb"], 1, "there is no database none.duckdb"),
    ];
    for (arguments, code, message) in cases {
        let answer = scanner(folder.path(), &[&["backtest"], arguments].concat())?;
        assert_eq!(answer.code, Some(code), "{arguments:?}: {}", answer.err);
        assert!(answer.err.contains(message), "{arguments:?}: expected '{message}', got: {}", answer.err);
        assert_eq!(answer.out, "", "{arguments:?}: nothing but results goes to standard output");
    }
    // A drawing of what was refused leaves nothing behind.
    let refused = scanner(folder.path(), &["backtest", "-t", "breakout", "--stop-loss", "0", "--plot", "x.svg"])?;
    assert_eq!(refused.code, Some(2));
    let left: Vec<String> = fs::read_dir(folder.path())?
        .map(|entry| entry.map(|entry| entry.file_name().to_string_lossy().into_owned()))
        .collect::<Result<_, _>>()?;
    assert!(left.iter().all(|name| name.starts_with("market.duckdb")), "{left:?}");
    Ok(())
}

#[test]
fn a_grid_is_refused_before_it_is_run() -> Outcome {
    let folder = demo()?;
    let cases: [(&[&str], &str); 15] = [
        (&[], "--grid <NAME=V1,V2>"),
        (&["--grid", "min_price"], "--grid min_price: expected NAME=VALUES"),
        (&["--grid", "min_price="], "--grid min_price=: no value; expected values with commas between"),
        (&["--grid", "min_prise=1,2"], "a grid of scan_breakout has no parameter 'min_prise'; did you mean 'min_price'?"),
        (&["--grid", "min_price=1,cheap"], "--grid min_price=1,cheap: 'cheap' is none of its values; expected a number, or NULL"),
        (&["--grid", "min_price=5..1..1"], "--grid min_price=5..1..1: it ends before it starts; expected FROM..TO..STEP"),
        (&["--grid", "min_price=1", "--grid", "min_price=2"], "--grid min_price is given twice"),
        (&["--grid", "min_price=1,2", "--set", "min_price=3"], "min_price is given with --set min_price and with --grid"),
        (&["--grid", "stop_loss_pct=1,2", "--stop-loss", "3"], "stop_loss_pct is given with --stop-loss and with --grid"),
        (&["--grid", "min_price=-5,2"], "scan_breakout: min_price must be at least 0, got -5"),
        (
            &["--grid", "min_price=1..999..1", "--grid", "max_price=1..999..1"],
            "more than 100000 combinations (999 of min_price × 999 of max_price)",
        ),
        (
            &["--grid", "min_price=1,2", "--objective", "sharp"],
            "--objective 'sharp': the summary has no column 'sharp'; did you mean 'sharpe'?",
        ),
        (&["--grid", "min_price=1,2", "--objective", "(SELECT 1)"], "optimize: objective '(SELECT 1)': (SELECT 1) is not allowed"),
        (&["--grid", "min_price=1,2", "--folds", "1"], "optimize: folds must be between 2 and 50, got 1"),
        (&["--grid", "min_price=1,2", "--seed", "3"], "--samples <N>"),
    ];
    for (arguments, message) in cases {
        let answer = scanner(folder.path(), &[&["optimize", "-t", "breakout"], arguments].concat())?;
        assert_eq!(answer.code, Some(2), "{arguments:?}: {}", answer.err);
        assert!(answer.err.contains(message), "{arguments:?}: expected '{message}', got: {}", answer.err);
        assert_eq!(answer.out, "", "{arguments:?}: nothing but results goes to standard output");
    }
    Ok(())
}

#[test]
fn a_grid_in_parts_has_the_rows_of_the_whole() -> Outcome {
    let folder = demo()?;
    let grid = [
        "--grid",
        "consolidation_period=3,5",
        "--grid",
        "resistance_break_pct=0.1..0.5..0.2",
        "--grid",
        "stop_loss_pct=1,NULL",
        "--grid",
        "cutoff_time=09:50,10:30",
        "--cost-bps",
        "2",
        "--folds",
        "3",
        "--min-trades",
        "5",
    ];
    let parts = optimize(folder.path(), &[&grid[..], &["-v", "--output", "parts.parquet"]].concat())?;
    // Two scans at two times of day; the other parameters stay together.
    assert!(parts.err.contains("part 4 of 4: 24 of 24 combinations in"), "{}", parts.err);
    let sql = optimize(folder.path(), &[&grid[..], &["--sql"]].concat())?.out;
    assert!(sql.starts_with("FROM optimize(scanner := 'breakout'") && sql.contains("stop_loss_pct: [1, NULL]"), "{sql}");
    ok(folder.path(), &["sql", sql.trim(), "--output", "whole.parquet"])?;
    let own = "[CAST(parameters.consolidation_period AS DOUBLE), parameters.resistance_break_pct, parameters.stop_loss_pct]";
    let columns = format!("{own}, parameters.cutoff_time, * EXCLUDE (parameters)");
    let both = format!("SELECT count(*) FROM (SELECT {columns} FROM 'parts.parquet' INTERSECT SELECT {columns} FROM 'whole.parquet')");
    assert_eq!(count(folder.path(), &both)?, 24);
    assert_eq!(count(folder.path(), "SELECT count(DISTINCT combination) FROM 'parts.parquet' WHERE trades > 5")?, 24, "there are trades");

    // Each format has the same rows; where there are no structures parameters are columns.
    for ending in ["csv", "json", "ndjson"] {
        optimize(folder.path(), &[&grid[..], &["--output", &format!("parts.{ending}")]].concat())?;
        let stop = if ending == "csv" { "f.stop_loss_pct" } else { "f.parameters.stop_loss_pct" };
        let same = format!(
            "SELECT count(*) FROM 'parts.parquet' AS p JOIN 'parts.{ending}' AS f ON f.rank = p.rank AND f.combination = p.combination \
             AND abs(f.objective - p.objective) < 1e-9 AND {stop} IS NOT DISTINCT FROM p.parameters.stop_loss_pct"
        );
        assert_eq!(count(folder.path(), &same)?, 24, "{ending}");
    }
    let top = optimize(folder.path(), &[&grid[..], &["--top", "3", "--format", "csv"]].concat())?;
    let mut lines = top.out.lines();
    let header = "rank,combination,consolidation_period,resistance_break_pct,stop_loss_pct,cutoff_time,objective,enough_trades";
    assert!(lines.next().is_some_and(|line| line.starts_with(header)), "{}", top.out);
    assert_eq!(lines.count(), 3);
    let samples = optimize(folder.path(), &[&grid[..8], &["--samples", "5", "--seed", "2", "-v", "--format", "csv"]].concat())?;
    assert_eq!(samples.out.lines().count(), 6);
    assert!(samples.err.contains("part 1 of 1: 5 of 5 combinations"), "{}", samples.err);
    Ok(())
}

#[test]
fn the_verdict_comes_first_and_says_why() -> Outcome {
    let folder = demo()?;
    let told = optimize(
        folder.path(),
        &[
            "--grid",
            "breakout_volume_ratio=0.5,1,1.5",
            "--grid",
            "stop_loss_pct=0.5,NULL",
            "--top",
            "2",
            "--objective",
            "mean_return_pct * 2",
        ],
    )?;
    let report = csv(
        folder.path(),
        "WITH trades AS (FROM grid_trades('breakout', '2024-12-17', '2025-01-15', {breakout_volume_ratio: [0.5, 1, 1.5], stop_loss_pct: [0.5, NULL]})) \
         SELECT verdict, reason FROM grid_report('trades', '2024-12-17', '2025-01-15', objective := 'mean_return_pct * 2')",
    )?;
    let (verdict, reason) = report.lines().nth(1).and_then(|line| line.split_once(',')).ok_or("a verdict")?;
    let words = told.out.split_whitespace().collect::<Vec<_>>().join(" ");
    for expected in [
        "Grid of breakout, 2024-12-17 to 2025-01-15 (20 sessions): 6 combinations, the best by mean_return_pct * 2",
        "breakout_volume_ratio = 0.5, 1, 1.5",
        "stop_loss_pct = 0.5, NULL",
        &format!("Verdict: {verdict} {}", reason.trim_matches('"')),
        "in sample out of sample trades",
        "deflated_sharpe_ratio",
        "Walk-forward Each fold was traded with what was the best of all folds before",
        "parameter value combinations mean_objective",
        "The best 2 of 6 combinations",
    ] {
        assert!(words.contains(expected), "expected '{expected}' in:\n{}", told.out);
    }
    assert!(words.find("Verdict") < words.find("Walk-forward") && words.find("Walk-forward") < words.find("The best 2 of"), "{words}");
    assert_eq!(lines_with(&told.out, "breakout_volume_ratio  ").len(), 1 + 3, "a line for each value, and the header of the best");
    assert!(told.err.contains("6 combinations in") && told.err.contains("nothing was charged"), "{}", told.err);
    // A file is a table as well, without colours.
    optimize(folder.path(), &["--grid", "min_price=50,100", "--output", "told.txt"])?;
    let file = fs::read_to_string(folder.path().join("told.txt"))?;
    assert!(file.contains("Verdict: ") && !file.contains('\u{1b}'), "{file}");
    Ok(())
}

#[test]
fn an_own_scanners_thresholds_are_joined() -> Outcome {
    let folder = demo()?;
    let path = folder.path();
    ok(path, &["-q", "new", "morning_rise"])?;
    let grid = ["--grid", "min_change_pct=0.5,1", "--grid", "lookback_days=3,5", "--grid", "min_relative_volume=1,1.5,2", "-v"];
    let csv = ["--format", "csv"];
    let own = ["optimize", "-t", "morning_rise", "--scanners-directory", "scanners"];
    let folder_file = ok(path, &[&own[..], &grid, &csv].concat())?;
    // A part for each lookback; without the definition each of the 12 combinations would be scanned for.
    assert!(folder_file.err.contains("part 2 of 2: 12 of 12 combinations"), "{}", folder_file.err);
    let sql = ok(path, &[&own[..], &grid, &["--sql"]].concat())?.out;
    let whole = ok(path, &["sql", sql.trim(), "--scanners-directory", "scanners", "--format", "csv"])?.out;
    let objectives = |text: &str, place: usize| -> Vec<String> {
        text.lines().skip(1).map(|line| line.split(',').nth(place).unwrap_or_default().to_owned()).collect()
    };
    assert_eq!(objectives(&folder_file.out, 1), objectives(&whole, 1), "combinations in the order of their rank");
    assert_eq!(folder_file.out.lines().count(), 13);

    // The same in the database.
    let text = fs::read_to_string(path.join("scanners/scan_morning_rise.sql"))?;
    let statement = &text[text.find("CREATE MACRO").ok_or("a macro")?..];
    ok(path, &["sql", statement, "--database", "market.duckdb"])?;
    let macro_file = ok(path, &[&["optimize", "-t", "morning_rise"], &grid[..], &csv].concat())?;
    assert!(macro_file.err.contains("part 2 of 2: 12 of 12 combinations"), "{}", macro_file.err);
    assert_eq!(macro_file.out, folder_file.out);
    let by_month = ok(path, &["backtest", "-t", "morning_rise", "--by", "month", "--format", "csv"])?;
    assert!(by_month.out.lines().count() > 1, "{}", by_month.out);

    // One that looks ahead is tested, and says so; one that hides a built-in one is not, and says so.
    ok(path, &["sql", "CREATE MACRO scan_gap(scan_date) AS TABLE SELECT 1 AS x", "--database", "market.duckdb"])?;
    let hidden = scanner(path, &["backtest", "-t", "gap"])?;
    assert!(hidden.err.contains("scan_gap of market.duckdb has the name of the scanner that is built in"), "{}", hidden.err);
    Ok(())
}

#[test]
fn drawings_have_the_series_in_them() -> Outcome {
    let folder = demo()?;
    let draw = |arguments: &[&str], file: &str| -> Outcome<String> {
        let answer = ok(folder.path(), &[arguments, &["--cost-bps", "3", "--plot", file, "--format", "csv"]].concat())?;
        assert!(answer.err.contains(&format!("drew {file}")), "{}", answer.err);
        let svg = fs::read_to_string(folder.path().join(file))?;
        assert!(is_well_formed(&svg), "{file}");
        assert!(svg.contains("<title>") && svg.contains("fill=\"#FFFFFF\""), "{file}: a name, and white ground");
        Ok(svg)
    };
    let svg = draw(&["backtest", "-t", "breakout"], "backtest.svg")?;
    for text in [
        "Backtest of breakout",
        "Equity",
        "currency",
        "benchmark: every symbol",
        "Drawdown",
        "net return of a trade, %",
        "gains",
        "2024-12-17",
    ] {
        assert!(svg.contains(text), "{text}");
    }
    assert_eq!(longest_line(&svg), 20, "a point for each session");
    // Nothing to trade is drawn, too.
    let svg = draw(&["backtest", "-t", "breakout", "--set", "resistance_break_pct=50"], "none.svg")?;
    assert!(svg.contains("Net returns of the 0 trades"));

    let grid = ["optimize", "-t", "breakout", "--min-trades", "3", "--folds", "3"];
    let svg = draw(
        &[
            &grid[..],
            &["--grid", "breakout_volume_ratio=0.5,1,1.5,2", "--grid", "resistance_break_pct=0.1,0.5", "--grid", "stop_loss_pct=1,2,NULL"],
        ]
        .concat(),
        "grid.svg",
    )?;
    for text in [
        "sharpe over breakout_volume_ratio and stop_loss_pct, the best over the other parameters",
        "NULL",
        "fold 2",
        "fold 3",
        "as good as before",
    ] {
        assert!(svg.contains(text), "{text}");
    }
    let dots = svg.matches("<circle").count();
    // 24 combinations in 2 folds, and what says which fold is which; some may lack a Sharpe ratio.
    assert!((24..=24 * 2 + 2).contains(&dots), "{dots}");
    let svg = draw(&[&grid[..], &["--grid", "resistance_break_pct=0.1..0.5..0.1"]].concat(), "line.svg")?;
    assert!(svg.contains("sharpe over resistance_break_pct") && longest_line(&svg) >= 5, "{}", longest_line(&svg));
    draw(&[&grid[..], &["--grid", "resistance_break_pct=50"]].concat(), "one.svg")?;
    Ok(())
}

#[test]
fn ctrl_c_leaves_what_is_done() -> Outcome {
    let folder = demo()?;
    // Each value is a scan of its own, so that there is time.
    let mut child = command(folder.path())
        .args(["optimize", "-t", "breakout", "--grid", "consolidation_period=1..15..1", "--grid", "breakout_volume_ratio=1,2", "--verbose"])
        .args(["--format", "csv", "--min-trades", "1"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    let mut lines = BufReader::new(child.stderr.take().ok_or("standard error")?).lines();
    for line in lines.by_ref() {
        if line?.starts_with("part 2 of 15: 4 of 30 combinations") {
            break;
        }
    }
    assert!(Command::new("kill").args(["-INT", &child.id().to_string()]).status()?.success());
    let mut out = String::new();
    child.stdout.take().ok_or("standard output")?.read_to_string(&mut out)?;
    let rest: Vec<String> = lines.collect::<Result<_, _>>()?;
    assert_eq!(child.wait()?.code(), Some(1), "{rest:?}");
    let last = rest.last().ok_or("a last line")?;
    let (parts, combinations) = last
        .strip_prefix("scanner: stopped after ")
        .and_then(|rest| rest.strip_suffix(" of 30 combinations"))
        .and_then(|rest| rest.split_once(" of 15 parts, "))
        .ok_or(last.as_str())?;
    let parts: usize = parts.parse()?;
    assert!((2..15).contains(&parts) && combinations == (2 * parts).to_string(), "{last}");
    assert_eq!(out.lines().count(), 1 + 2 * parts, "{out}");

    // The time that is allowed ends it in the same way.
    let late = [
        "optimize",
        "-t",
        "breakout",
        "--timeout",
        "1",
        "--grid",
        "consolidation_period=1..250..1",
        "--format",
        "csv",
        "--min-trades",
        "1",
    ];
    let late = answer(command(folder.path()).args(late))?;
    assert_eq!(late.code, Some(1), "{}", late.err);
    assert!(late.err.contains("scanner: stopped after 1s, the time allowed, "), "{}", late.err);
    Ok(())
}
