//! Live scans as a user meets them: streams, the monitor without a terminal, and alerts that survive being killed.

mod common;

use std::{
    fs,
    io::{BufRead, BufReader, Read, Write},
    net::TcpListener,
    path::Path,
    process::{Child, ChildStdout, Command, Stdio},
    sync::{Arc, Mutex, PoisonError, mpsc},
    thread,
    time::{Duration, Instant},
};

use common::{Outcome, answer, command, count, ok, scanner};
use serde_json::Value;

/// A database whose stocks can be told to be hits: the scanner `above` has those whose last close is above 100.
fn market() -> Outcome<tempfile::TempDir> {
    let folder = tempfile::tempdir()?;
    sql(
        folder.path(),
        "CREATE TABLE bars (symbol VARCHAR, ts TIMESTAMP, open DOUBLE, high DOUBLE, low DOUBLE, close DOUBLE, volume BIGINT);
         CREATE MACRO scan_above(scan_date, cutoff_time := '24:00') AS TABLE
         SELECT any_value(bar.session_date) AS scan_date, bar.symbol, arg_max(bar.close, bar.ts) AS price, sum(bar.volume)::BIGINT AS volume,
             50.0::DOUBLE AS probability_score, row_number() OVER (ORDER BY arg_max(bar.close, bar.ts) DESC, bar.symbol) AS rank
         FROM visible_bars(scan_date, cutoff_time) AS bar
         GROUP BY bar.symbol HAVING arg_max(bar.close, bar.ts) > 100 ORDER BY rank",
    )?;
    Ok(folder)
}

/// Writes as another process; where one reads at the moment, again.
fn sql(folder: &Path, statements: &str) -> Outcome {
    let script = folder.join("feed.sql");
    fs::write(&script, statements)?;
    for _ in 0..200 {
        let output = command(folder).args(["-q", "sql", "--database", "market.duckdb"]).stdin(fs::File::open(&script)?).output()?;
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        match output.status.code() {
            Some(0) => return Ok(()),
            _ if text.contains("is in use by process") => thread::sleep(Duration::from_millis(20)),
            _ => return Err(text.into()),
        }
    }
    Err("the database is never free".into())
}

/// The bar of a minute of 2025-01-15.
fn bar(folder: &Path, clock: &str, closes: &[(&str, f64)]) -> Outcome {
    let rows = closes
        .iter()
        .map(|(symbol, close)| format!("('{symbol}', TIMESTAMP '2025-01-15 {clock}', {close}, {close}, {close}, {close}, 10)"));
    sql(folder, &format!("INSERT INTO bars VALUES {}", rows.collect::<Vec<_>>().join(", ")))
}

/// A command that goes on, with its lines as they come.
struct Running {
    child: Child,
    lines: mpsc::Receiver<String>,
}

impl Running {
    fn start(folder: &Path, arguments: &[&str]) -> Outcome<Running> {
        let mut child = command(folder).args(arguments).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
        let lines = lines(child.stdout.take().ok_or("piped")?);
        Ok(Running { child, lines })
    }

    /// The next line, which must come.
    fn line(&self) -> Outcome<String> {
        Ok(self.lines.recv_timeout(Duration::from_secs(30))?)
    }

    /// Presses Ctrl-C; what was still written, and what on standard error.
    fn interrupt(mut self) -> Outcome<(Option<i32>, Vec<String>, String)> {
        let started = Instant::now();
        let status = Command::new("kill").args(["-INT", &self.child.id().to_string()]).status()?;
        assert!(status.success());
        let code = self.child.wait()?.code();
        assert!(started.elapsed() < Duration::from_secs(10), "it ends at once, not with its next tick");
        let mut text = String::new();
        self.child.stderr.take().ok_or("piped")?.read_to_string(&mut text)?;
        let rest = self.lines.iter().collect();
        Ok((code, rest, text))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It has ended by now, unless the test has failed.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn lines(out: ChildStdout) -> mpsc::Receiver<String> {
    let (sender, lines) = mpsc::channel();
    thread::spawn(move || BufReader::new(out).lines().map_while(Result::ok).try_for_each(|line| sender.send(line)));
    lines
}

#[test]
fn a_stream_has_a_document_for_each_change_and_ends_by_ctrl_c() -> Outcome {
    let folder = market()?;
    bar(folder.path(), "09:15", &[("A", 101.0), ("B", 99.0)])?;
    let running = Running::start(folder.path(), &["run", "-t", "above", "--stream", "--interval", "0.1", "--format", "ndjson"])?;
    let first: Value = serde_json::from_str(&running.line()?)?;
    assert_eq!((&first["type"], &first["data_as_of"]), (&"scan_update".into(), &"2025-01-15T09:16:00".into()));
    assert_eq!((&first["added"], &first["results"][0]["price"]), (&serde_json::json!(["A"]), &101.0.into()));
    // Written while the stream is running: it lets go of the database between its scans.
    bar(folder.path(), "09:16", &[("A", 98.0), ("B", 102.0)])?;
    let second: Value = serde_json::from_str(&running.line()?)?;
    assert_eq!((&second["added"], &second["removed"]), (&serde_json::json!(["B"]), &serde_json::json!(["A"])));
    assert_eq!(second["data_as_of"], "2025-01-15T09:17:00");
    let (code, rest, told) = running.interrupt()?;
    assert_eq!((code, rest), (Some(0), Vec::<String>::new()), "what has not changed is not written again");
    assert!(told.contains("2 names"), "{told}");
    Ok(())
}

#[test]
fn a_stream_of_rows_has_one_header_and_each_new_hit_once() -> Outcome {
    let folder = market()?;
    bar(folder.path(), "09:15", &[("A", 101.0)])?;
    let running = Running::start(folder.path(), &["-q", "run", "-t", "above", "--stream", "--interval", "0.1", "--format", "csv"])?;
    assert_eq!(running.line()?, "data_as_of,scan_date,symbol,price,volume,probability_score,rank");
    assert_eq!(running.line()?, "2025-01-15T09:16:00,2025-01-15,A,101.0,10,50.0,1");
    bar(folder.path(), "09:16", &[("A", 101.5), ("B", 102.0)])?;
    assert_eq!(running.line()?, "2025-01-15T09:17:00,2025-01-15,B,102.0,10,50.0,1");
    let (code, rest, told) = running.interrupt()?;
    assert_eq!((code, rest, told), (Some(0), Vec::new(), String::new()));
    Ok(())
}

#[test]
fn a_stream_for_people_marks_what_is_new() -> Outcome {
    let folder = market()?;
    bar(folder.path(), "09:15", &[("A", 101.0), ("C", 105.0)])?;
    let running = Running::start(folder.path(), &["run", "-t", "above", "--stream", "--interval", "0.1"])?;
    assert_eq!(running.line()?, "2025-01-15 09:16  2 hits");
    let columns = |line: String| line.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
    assert_eq!(columns(running.line()?)[..3], ["scan_date", "symbol", "price"]);
    assert_eq!(columns(running.line()?)[1], "C");
    assert_eq!(columns(running.line()?)[1], "A");
    bar(folder.path(), "09:16", &[("A", 98.0), ("B", 102.0)])?;
    assert_eq!(running.line()?, "");
    assert_eq!(running.line()?, "2025-01-15 09:17  2 hits, +1 new, -1 dropped: A");
    assert_eq!(columns(running.line()?)[..2], ["new", "scan_date"]);
    assert_eq!(columns(running.line()?)[..2], ["2025-01-15", "C"], "it was there");
    assert_eq!(columns(running.line()?)[..3], ["+", "2025-01-15", "B"]);
    assert_eq!(running.interrupt()?.0, Some(0));
    Ok(())
}

#[test]
fn a_live_scan_has_the_hits_of_a_scan_with_its_cutoff() -> Outcome {
    let folder = common::demo()?;
    sql(folder.path(), "DELETE FROM bars WHERE ts >= '2025-01-15 10:05'")?;
    let limits = ["--set", "breakout_volume_ratio=0", "--set", "resistance_break_pct=0", "--set", "min_probability_score=0"];
    let run = |more: &[&str]| ok(folder.path(), &[&["run", "-t", "breakout", "--format", "json"], &limits[..], more].concat());
    let live = run(&["--stream", "--duration", "1", "--interval", "5"])?.out;
    let rows: Value = serde_json::from_str(&run(&["--date", "2025-01-15", "--cutoff", "10:05"])?.out)?;
    let live: Value = serde_json::from_str(&live)?;
    assert_eq!((&live["data_as_of"], &live["results"]), (&"2025-01-15T10:05:00".into(), &rows));
    assert!(!rows.as_array().ok_or("rows")?.is_empty());
    // With another cutoff than that of the newest bar, the hits are others: this compares something.
    let other: Value = serde_json::from_str(&run(&["--date", "2025-01-15", "--cutoff", "09:30"])?.out)?;
    assert_ne!(other, rows);
    let fixed: Value = serde_json::from_str(&run(&["--stream", "--duration", "1", "--interval", "5", "--cutoff", "09:30"])?.out)?;
    assert_eq!((&fixed["data_as_of"], &fixed["results"]), (&"2025-01-15T09:30:00".into(), &other));
    Ok(())
}

#[test]
fn without_a_terminal_the_monitor_writes_lines_and_a_summary() -> Outcome {
    let folder = market()?;
    bar(folder.path(), "09:15", &[("A", 101.0)])?;
    let running = Running::start(folder.path(), &["monitor", "-t", "above", "--interval", "0.1"])?;
    assert_eq!(running.line()?, "session 2025-01-15");
    assert_eq!(running.line()?, "09:16 + A  price 101.00  probability_score 50.00");
    bar(folder.path(), "09:16", &[("A", 98.0), ("B", 102.0)])?;
    assert_eq!(running.line()?, "09:17 + B  price 102.00  probability_score 50.00");
    assert_eq!(running.line()?, "09:17 - A");
    let (code, _, told) = running.interrupt()?;
    assert_eq!(code, Some(0));
    assert!(told.contains("2025-01-15 ≤09:16  A, dropped 09:17\n2025-01-15  09:17  B\n"), "{told}");
    assert!(told.contains("2 names"), "{told}");
    Ok(())
}

#[test]
fn errors_of_a_tick_do_not_end_it_and_wrong_usage_does() -> Outcome {
    let folder = market()?;
    bar(folder.path(), "09:15", &[("A", 101.0)])?;
    let running = Running::start(folder.path(), &["-q", "run", "-t", "above", "--stream", "--interval", "0.1", "--format", "csv"])?;
    running.line()?;
    running.line()?;
    sql(folder.path(), "ALTER TABLE bars RENAME TO away")?;
    thread::sleep(Duration::from_millis(500));
    sql(folder.path(), "ALTER TABLE away RENAME TO bars")?;
    bar(folder.path(), "09:16", &[("B", 101.0)])?;
    assert_eq!(running.line()?, "2025-01-15T09:17:00,2025-01-15,B,101.0,10,50.0,2", "it is there again, and so is the result before");
    let (code, _, told) = running.interrupt()?;
    assert_eq!(code, Some(0));
    assert!(told.contains("bars"), "what failed was said: {told}");

    let cases: [(&[&str], i32, &str); 11] = [
        (&["run", "-t", "above", "--stream", "--interval", "0"], 2, "expected seconds from 0.05 to 86400, such as 30 or 0.5"),
        (&["run", "-t", "above", "--stream", "--interval", "soon"], 2, "expected seconds from 0.05 to 86400"),
        (&["run", "-t", "above", "--interval", "1"], 2, "--stream"),
        (&["run", "-t", "above", "--stream", "--date", "2025-01-15"], 2, "cannot be used with"),
        (&["run", "-t", "above", "--stream", "--format", "parquet"], 2, "with --stream it is table, csv, json or ndjson"),
        (&["run", "-t", "abov", "--stream"], 2, "did you mean 'above'?"),
        (&["monitor", "-t", "above", "--set", "cutof=9:50"], 2, "scan_above has no parameter 'cutof'"),
        (&["monitor", "-t", "above", "--database", "none.duckdb"], 1, "there is no database none.duckdb"),
        (&["alerts", "watch"], 2, "there are no alert rules; expected some in the configuration"),
        (&["alerts", "test", "morning"], 2, "there are no alert rules"),
        (&["alerts"], 2, "Usage"),
    ];
    for (arguments, code, message) in cases {
        let answer = scanner(folder.path(), arguments)?;
        assert_eq!(answer.code, Some(code), "{arguments:?}: {}", answer.err);
        assert!(answer.err.contains(message), "{arguments:?}: expected '{message}', got: {}", answer.err);
        assert_eq!(answer.out, "", "{arguments:?}");
    }
    Ok(())
}

#[test]
fn switches_of_the_configuration_are_obeyed_and_named() -> Outcome {
    let folder = market()?;
    bar(folder.path(), "09:15", &[("A", 101.0)])?;
    let with = |text: &str| fs::write(folder.path().join("scanner_config.json"), text);
    with(r#"{"streaming": {"enabled": false}, "alerts": {"r": {"scanner_type": "above"}}}"#)?;
    for arguments in [&["run", "-t", "above", "--stream"][..], &["monitor", "-t", "above"], &["alerts", "watch"]] {
        let answer = scanner(folder.path(), arguments)?;
        assert_eq!(answer.code, Some(2), "{arguments:?}");
        assert!(answer.err.contains("scanner_config.json: streaming.enabled is false, so there are no live scans"), "{}", answer.err);
    }
    with(r#"{"streaming": {"real_time_alerts": false}, "alerts": {"r": {"scanner_type": "above"}}}"#)?;
    let answer = scanner(folder.path(), &["alerts", "watch"])?;
    assert!(answer.code == Some(2) && answer.err.contains("streaming.real_time_alerts is false, so no rule is followed"), "{}", answer.err);
    // The interval of the configuration is used: within one and a half seconds a second tick can only come from a shorter one than 30 s.
    with(r#"{"streaming": {"interval_seconds": 1}}"#)?;
    let told = ok(folder.path(), &["run", "-t", "above", "--stream", "--duration", "1.5"])?.err;
    assert!(told.contains("2 ticks"), "{told}");
    with(
        r#"{"alerts": {"r": {"scanner_type": "above", "webhook": {"url": "http://127.0.0.1:9/x", "secret_env": "STOCKSCAN_TEST_NONE"}}}}"#,
    )?;
    let answer = scanner(folder.path(), &["alerts", "watch"])?;
    assert_eq!(answer.code, Some(2));
    assert!(answer.err.contains("alerts.r.webhook: secret_env STOCKSCAN_TEST_NONE: there is no such variable"), "{}", answer.err);
    Ok(())
}

/// A receiver that takes messages, and answers only once it is told to.
struct Receiver {
    port: u16,
    /// The names in the messages, with the messages' own.
    told: Arc<Mutex<Vec<(String, String)>>>,
    answers: Arc<Mutex<bool>>,
}

impl Receiver {
    fn new() -> Outcome<Receiver> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let receiver = Receiver { port: listener.local_addr()?.port(), told: Arc::default(), answers: Arc::default() };
        let (told, answers) = (receiver.told.clone(), receiver.answers.clone());
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (told, answers) = (told.clone(), answers.clone());
                thread::spawn(move || take(stream, &told, &answers));
            }
        });
        Ok(receiver)
    }

    fn told(&self) -> Vec<(String, String)> {
        self.told.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn wait_for(&self, count: usize) -> Outcome {
        for _ in 0..3000 {
            if self.told().len() >= count {
                return Ok(());
            }
            thread::sleep(Duration::from_millis(10));
        }
        Err(format!("{:?}: {count} expected", self.told()).into())
    }
}

fn take(mut stream: std::net::TcpStream, told: &Mutex<Vec<(String, String)>>, answers: &Mutex<bool>) -> Option<()> {
    let mut reader = BufReader::new(stream.try_clone().ok()?);
    loop {
        let (mut length, mut id) = (0, String::new());
        loop {
            let mut line = String::new();
            if reader.read_line(&mut line).ok()? == 0 {
                return None;
            }
            match line.trim().split_once(": ") {
                Some((name, value)) if name.eq_ignore_ascii_case("content-length") => length = value.parse().ok()?,
                Some((name, value)) if name.eq_ignore_ascii_case("webhook-id") => id = value.to_owned(),
                Some(_) => {}
                None if line.trim().is_empty() => break,
                None => {}
            }
        }
        let mut body = vec![0; length];
        reader.read_exact(&mut body).ok()?;
        let body: Value = serde_json::from_slice(&body).ok()?;
        told.lock().unwrap_or_else(PoisonError::into_inner).push((body["data"]["symbol"].as_str()?.to_owned(), id));
        while !*answers.lock().unwrap_or_else(PoisonError::into_inner) {
            thread::sleep(Duration::from_millis(5));
        }
        write!(stream, "HTTP/1.1 204 No Content\r\n\r\n").ok()?;
    }
}

#[test]
fn an_alert_is_told_once_though_killed_between_firing_and_delivery() -> Outcome {
    let folder = market()?;
    let receiver = Receiver::new()?;
    let rule =
        format!(r#"{{"alerts": {{"r": {{"scanner_type": "above", "webhook": {{"url": "http://127.0.0.1:{}/hook"}}}}}}}}"#, receiver.port);
    fs::write(folder.path().join("scanner_config.json"), rule)?;
    bar(folder.path(), "09:15", &[("A", 101.0), ("B", 102.0)])?;

    // Killed with both recorded, one being sent, one waiting.
    let mut running = Running::start(folder.path(), &["alerts", "watch", "--interval", "0.2"])?;
    assert!(running.line()?.starts_with("2025-01-15 09:16  r  B  price 102.00"));
    assert!(running.line()?.starts_with("2025-01-15 09:16  r  A  price 101.00"));
    receiver.wait_for(1)?;
    running.child.kill()?;
    running.child.wait()?;
    let state = |sql: &str| count(folder.path(), &format!("ATTACH IF NOT EXISTS 'state.duckdb' AS state (READ_ONLY); {sql}"));
    assert_eq!(state("SELECT count(*) FROM state.alerts")?, 2);
    assert_eq!(state("SELECT count(*) FROM state.alert_deliveries")?, 0);

    // Killed again and again while it starts.
    for milliseconds in (0..300).step_by(15) {
        let mut running = Running::start(folder.path(), &["alerts", "watch", "--interval", "0.2"])?;
        thread::sleep(Duration::from_millis(milliseconds));
        running.child.kill()?;
        running.child.wait()?;
    }

    *receiver.answers.lock().unwrap_or_else(PoisonError::into_inner) = true;
    let before = receiver.told().len();
    let last = ok(folder.path(), &["alerts", "watch", "--interval", "0.2", "--duration", "1"])?;
    assert_eq!(last.out, "", "the terminal was told before");
    assert!(last.err.contains("0 alerts"), "{}", last.err);
    let told = receiver.told();
    let ends: Vec<&str> = told[before..].iter().map(|(symbol, _)| symbol.as_str()).collect();
    assert_eq!(ends, ["A", "B"], "each was delivered in the end, the oldest first, those of a moment by name");
    let mut ids: Vec<&(String, String)> = told.iter().collect();
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), 2, "each under one name, however often it was sent: {told:?}");
    assert_eq!(state("SELECT count(*) FROM state.alert_deliveries WHERE outcome = 'delivered'")?, 2);

    // Nothing is left to be told, and the market's own database holds nothing of all this.
    ok(folder.path(), &["alerts", "watch", "--interval", "0.2", "--duration", "0.5"])?;
    assert_eq!(receiver.told().len(), told.len());
    assert_eq!(count(folder.path(), "SELECT count(*) FROM duckdb_tables() WHERE table_name LIKE 'alert%'")?, 0);
    let list = ok(folder.path(), &["alerts", "list", "--format", "csv"])?.out;
    let row = list.lines().nth(1).ok_or("a rule")?;
    assert!(row.starts_with(&format!("r,true,above,,30,\"http://127.0.0.1:{}, not signed\",2,0,", receiver.port)), "{row}");
    Ok(())
}

#[test]
fn a_closed_pipe_ends_a_stream_quietly() -> Outcome {
    let folder = market()?;
    bar(folder.path(), "09:15", &[("A", 101.0)])?;
    let mut running = Running::start(folder.path(), &["run", "-t", "above", "--stream", "--interval", "0.1", "--format", "ndjson"])?;
    running.line()?;
    // Nobody reads any more.
    running.lines = mpsc::channel().1;
    // It notices when it writes, and the pipe is closed only by whoever reads the next line.
    for minute in 16..60 {
        if running.child.try_wait()?.is_some() {
            break;
        }
        bar(folder.path(), &format!("09:{minute}"), &[("B", f64::from(100 + minute))])?;
        thread::sleep(Duration::from_millis(200));
    }
    let mut told = String::new();
    running.child.stderr.take().ok_or("piped")?.read_to_string(&mut told)?;
    assert_eq!((running.child.wait()?.code(), told.contains("roken")), (Some(0), false), "{told}");
    let unused = answer(command(folder.path()).args(["alerts", "history"]))?;
    assert!(unused.code == Some(0) && unused.err.contains("no alert has fired yet"), "{}", unused.err);
    Ok(())
}
