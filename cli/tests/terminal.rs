//! The command on the screen: whole texts of results and errors, terminals of all widths, and what Ctrl-C leaves.

mod common;

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use common::{Answer, Outcome, answer, command, count, demo, ok};

/// A shell in the folder, in which `scanner` is the command.
fn shell(folder: &Path, script: &str) -> Outcome<Command> {
    let scanner = command(folder);
    let bin = Path::new(scanner.get_program()).parent().ok_or("the binary stands in a folder")?;
    let mut shell = Command::new("sh");
    shell.args(["-c", script]).current_dir(folder).env("PATH", format!("{}:{}", bin.display(), std::env::var("PATH")?));
    for (name, value) in scanner.get_envs() {
        match value {
            Some(value) => shell.env(name, value),
            None => shell.env_remove(name),
        };
    }
    Ok(shell)
}

/// On a terminal of so many columns, on which standard output and standard error are one. A line ends with its last word.
fn on_terminal(folder: &Path, columns: u16, setting: &str, arguments: &str) -> Outcome<Answer> {
    let script = format!("stty cols {columns} rows 40; {setting} scanner {arguments}");
    let mut terminal = shell(folder, "exec script -qec \"$SCRIPT\" /dev/null")?;
    let mut answer = answer(terminal.env("SCRIPT", script).env("SHELL", "/bin/sh").env("TERM", "xterm").env_remove("NO_COLOR"))?;
    answer.out = answer.out.replace('\r', "");
    Ok(answer)
}

fn golden() -> Outcome<Vec<PathBuf>> {
    let folder = PathBuf::from(std::env::var_os("CARGO_MANIFEST_DIR").unwrap_or_default()).join("tests/golden");
    let mut files = fs::read_dir(folder)?.map(|entry| Ok(entry?.path())).collect::<std::io::Result<Vec<_>>>()?;
    files.sort();
    Ok(files)
}

/// What differs from run to run: seconds, identifiers, the folder.
fn masked(text: &str, folder: &Path) -> String {
    let text = text.replace(&folder.display().to_string(), "FOLDER");
    let mut masked = String::new();
    for line in text.split_inclusive('\n') {
        let mut words: Vec<String> = line.split(' ').map(str::to_owned).collect();
        for index in 0..words.len() {
            let is_time = |word: &str| word.contains('.') && word.parse::<f64>().is_ok();
            let is_seconds = words.get(index + 1).is_some_and(|next| next.trim_end_matches([',', '\n']) == "s");
            let bare = words[index].trim_end().to_owned();
            if is_seconds && is_time(&bare) {
                words[index] = "N".to_owned();
            } else if bare.len() == 36 && bare.matches('-').count() == 4 {
                words[index] = words[index].replace(&bare, "UUID");
            } else if bare.len() == 8 && bare.chars().all(|digit| digit.is_ascii_hexdigit()) {
                words[index] = words[index].replace(&bare, "ID");
            }
        }
        masked.push_str(&words.join(" "));
    }
    masked
}

/// Each file is a session: what stands behind `> ` is typed, the lines below are the answer, and the last of them the exit code, if it is not 0.
/// With `UPDATE_GOLDEN=1` the answers are written anew, to be read before they are committed.
#[test]
fn sessions_are_as_written() -> Outcome {
    let market = demo()?;
    let files = golden()?;
    assert!(files.len() >= 10, "the sessions are found: {files:?}");
    let mut differing = Vec::new();
    for file in files {
        let folder = tempfile::tempdir()?;
        fs::copy(market.path().join("market.duckdb"), folder.path().join("market.duckdb"))?;
        let expected = fs::read_to_string(&file)?;
        let mut found = String::new();
        for typed in expected.lines().filter(|line| line.starts_with("> ")) {
            let answer = answer(&mut shell(folder.path(), &format!("exec 2>&1; {}", &typed[2..]))?)?;
            found.push_str(&format!("{typed}\n{}", masked(&answer.out, folder.path())));
            if !found.ends_with('\n') {
                found.push('\n');
            }
            if answer.code != Some(0) {
                found.push_str(&format!("[{}]\n", answer.code.map_or("killed".to_owned(), |code| code.to_string())));
            }
        }
        if std::env::var_os("UPDATE_GOLDEN").is_some() {
            fs::write(&file, &found)?;
        } else if found != expected {
            let first = found.lines().zip(expected.lines()).position(|(found, expected)| found != expected).unwrap_or_default();
            differing.push(format!("{}:{}: the answers are\n{found}", file.display(), first + 1));
        }
    }
    assert!(differing.is_empty(), "{}", differing.join("\n"));
    Ok(())
}

/// A line that is longer is broken by the terminal in the middle of a word, and a table by it can not be read.
#[test]
fn no_line_is_longer_than_the_terminal() -> Outcome {
    let folder = demo()?;
    let said = ["run -t breakout --date 2030-01-01", "run -t brakeout", "run -t breakout --set nope=3", "config --key nope", "adopt nope"];
    let shown = ["run -t breakout --explain", "list", "list breakout", "backtest -t breakout --by weekday", "history", "config"];
    for columns in [60, 40] {
        for arguments in said.iter().chain(&shown) {
            let answer = on_terminal(folder.path(), columns, "", arguments)?;
            let text = console::strip_ansi_codes(&answer.out).into_owned();
            assert!(!text.trim().is_empty(), "{arguments}");
            for line in text.lines() {
                let is_one_word = line.split_whitespace().count() <= 1;
                assert!(
                    is_one_word || console::measure_text_width(line) <= usize::from(columns),
                    "{columns} columns: {arguments}: {line}\n{text}"
                );
            }
        }
    }
    // What DuckDB marks with ^ stays in its place.
    let marked = on_terminal(folder.path(), 40, "", "sql 'SELECT 1 AS a_long_name, 2 AS another_long_name FROMM nothing'")?;
    let lines: Vec<&str> = marked.out.lines().collect();
    let place = lines.iter().position(|line| line.starts_with("LINE 1: ")).ok_or(marked.out.as_str())?;
    let at = lines[place + 1].find('^').ok_or(marked.out.as_str())?;
    assert!(lines[place][at..].starts_with("nothing") || lines[place][at..].starts_with("FROMM"), "{}", marked.out);
    Ok(())
}

#[test]
fn colours_are_for_terminals_that_want_them() -> Outcome {
    let folder = demo()?;
    let coloured = |setting: &str, arguments: &str| -> Outcome<bool> {
        Ok(on_terminal(folder.path(), 120, setting, arguments)?.out.contains('\u{1b}'))
    };
    for arguments in ["run -t breakout --date 2025-01-15", "run -t brakeout"] {
        assert!(coloured("", arguments)?, "{arguments}: the test sees colour where there is some");
        assert!(!coloured("NO_COLOR=1", arguments)?, "NO_COLOR: {arguments}");
        assert!(!coloured("TERM=dumb", arguments)?, "TERM=dumb: {arguments}");
        assert!(!coloured("STOCKSCAN_CLI_COLOR_OUTPUT=false", arguments)?, "cli.color_output: {arguments}");
        assert!(!coloured("", &format!("{arguments} 2>&1 | cat"))?, "a pipe: {arguments}");
    }
    Ok(())
}

/// A bar on the terminal, and nothing of it anywhere else: not in a pipe, not with -q.
#[test]
fn progress_is_for_terminals() -> Outcome {
    let folder = demo()?;
    let long = "--threads 1 sql 'SELECT count(*) AS n FROM range(100000000000) AS r(i) WHERE hash(i) = 3'";
    let bar = |options: &str| -> Outcome<String> {
        Ok(on_terminal(folder.path(), 80, "timeout --foreground --preserve-status -s INT 2", &format!("{long} {options}"))?.out)
    };
    let shown = bar("")?;
    assert!(shown.contains("running") && shown.contains(" %"), "{shown}");
    assert!(shown.contains("interrupted: no rows were written"), "{shown}");
    assert!(!bar("-q")?.contains("running"), "-q");
    assert!(!bar("2>&1 | cat")?.contains("running"), "a pipe");
    Ok(())
}

/// Ctrl-C: what is running stops, says what was kept, leaves no file, and fails.
#[test]
fn ctrl_c_stops_at_once() -> Outcome {
    let folder = demo()?;
    let root = folder.path();
    // Bars that never come, so that it is the signal that ends what reads them.
    let endless = "SELECT count(*) FROM range(100000000000) AS r(i) WHERE hash(i) = 3";
    ok(root, &["sql", &format!("CREATE VIEW endless AS FROM bars WHERE ({endless}) < 1")])?;
    let cases: [&[&str]; 5] = [
        &["run", "-t", "breakout", "--date", "2025-01-15", "--source", "endless", "--output", "hits.csv"],
        &[
            "backtest",
            "-t",
            "breakout",
            "--start-date",
            "2025-01-06",
            "--end-date",
            "2025-01-15",
            "--source",
            "endless",
            "--plot",
            "equity.svg",
        ],
        &["sql", endless],
        &["sql", endless, "--output", "rows.csv"],
        &["sql", "COPY (SELECT * FROM range(100000000000)) TO 'copy.csv'"],
    ];
    for arguments in cases {
        let before = names(root)?;
        let child = command(root)
            .args(["--threads", "1"])
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()?;
        std::thread::sleep(Duration::from_millis(1000));
        let pressed = Instant::now();
        assert!(Command::new("kill").args(["-INT", &child.id().to_string()]).status()?.success());
        let output = child.wait_with_output()?;
        let text = String::from_utf8(output.stderr)?;
        assert!(pressed.elapsed() < Duration::from_secs(5), "{arguments:?} took {:?}", pressed.elapsed());
        assert_eq!(output.status.code(), Some(1), "{arguments:?}: {text}");
        assert!(text.lines().last().is_some_and(|line| line.starts_with("scanner: interrupted")), "{arguments:?}: {text}");
        assert_eq!(names(root)?, before, "{arguments:?}: nothing half is left");
    }
    assert!(count(root, "SELECT count(*) FROM bars")? > 0, "the database is whole");
    Ok(())
}

fn names(folder: &Path) -> Outcome<Vec<String>> {
    let entries = fs::read_dir(folder)?.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()));
    let mut names = entries.collect::<std::io::Result<Vec<_>>>()?;
    // The history has what was interrupted, too.
    names.retain(|name| !name.ends_with(".wal") && name != "state.duckdb");
    names.sort();
    Ok(names)
}

/// Whoever reads standard error may close it: that is no failure.
#[test]
fn a_closed_standard_error_ends_nothing() -> Outcome {
    let folder = demo()?;
    for _ in 0..3 {
        let script =
            "{ scanner run -t breakout --no-cache --explain --date 2025-01-15 --format csv 2>&3 >rows.csv; echo $? >code; } 3>&1 | true";
        answer(&mut shell(folder.path(), script)?)?;
        assert_eq!(fs::read_to_string(folder.path().join("code"))?, "0\n");
        assert!(fs::read_to_string(folder.path().join("rows.csv"))?.starts_with("scan_date,symbol,price,"));
    }
    Ok(())
}

/// A file may not grow beyond some KiB, which fails as a full disk does, and needs no root. (The real one is in `ingest_follow.rs`.)
#[test]
fn a_full_disk_leaves_no_half_file_and_is_said() -> Outcome {
    let folder = demo()?;
    let root = folder.path();
    let full = |kilobytes: u32, arguments: &str| -> Outcome<Answer> {
        let mut bash = Command::new("bash");
        let inner = shell(root, "")?;
        bash.args(["-c", &format!("trap '' XFSZ; ulimit -f {kilobytes}; exec scanner {arguments}")]).current_dir(root);
        bash.envs(inner.get_envs().filter_map(|(name, value)| Some((name, value?))));
        answer(&mut bash)
    };
    let before = names(root)?;
    for file in ["rows.csv", "rows.parquet", "rows.ndjson"] {
        let failed = full(100, &format!("--read-only sql 'SELECT hash(i) AS number FROM range(100000) AS r(i)' --output {file}"))?;
        assert_eq!(failed.code, Some(1), "{file}: {}", failed.err);
        assert!(failed.err.starts_with(&format!("scanner: {file}: File too large")), "{file}: {}", failed.err);
        assert_eq!(names(root)?, before, "{file}: nothing half is left");
    }
    // A history that has no room is said, and the scan goes on. There is room for it later: no empty file, which is no database, is in its way.
    let scan = "run -t breakout --date 2025-01-15 --format csv";
    let scanned = full(4, scan)?;
    assert_eq!(scanned.code, Some(0), "{}", scanned.err);
    assert!(scanned.out.starts_with("scan_date,") && scanned.err.contains("this scan is not in the history: "), "{}", scanned.err);
    let recorded = |expected: usize| -> Outcome {
        assert_eq!(ok(root, &["history", "--format", "csv"])?.out.lines().count(), 1 + expected);
        Ok(())
    };
    ok(root, &["run", "-t", "breakout", "--date", "2025-01-15"])?;
    recorded(1)?;
    // What found room in the log only is in the history, and nothing else is said.
    let logged = full(100, "run -t breakout --date 2025-01-14")?;
    let is_told = logged.err.contains("this scan is not in the history");
    recorded(if is_told { 1 } else { 2 })
}

/// Neither HOME nor any other variable: everything but one's own configuration file works.
#[test]
fn an_empty_environment_is_enough() -> Outcome {
    let folder = demo()?;
    for arguments in ["run -t breakout --date 2025-01-15", "doctor", "config", "history", "list"] {
        let mut bare = command(folder.path());
        let found = answer(bare.env_clear().args(arguments.split(' ')))?;
        assert_eq!(found.code, Some(0), "{arguments}: {}", found.err);
        assert!(!found.out.is_empty(), "{arguments}");
    }
    Ok(())
}
