//! `--api-mode` against a small HTTP server that notes what it is asked and answers as the real one's documentation says.

#[expect(dead_code, reason = "the rest is for tests that have a database")]
mod common;

use std::{
    fs,
    io::{BufRead, BufReader, Read, Write},
    net::{TcpListener, TcpStream},
    sync::Arc,
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use arrow::{
    array::{ArrayRef, BooleanArray, Date32Array, Float64Array, Int64Array, RecordBatch, StringArray},
    ipc::writer::StreamWriter,
};
use common::{Answer, Outcome, answer, command};
use serde_json::{Value, json};

/// What the server was asked: the headers, in small letters, and the body.
struct Asked {
    headers: String,
    body: Value,
}

/// Reads a request.
fn read(stream: &TcpStream) -> Asked {
    let mut reader = BufReader::new(stream);
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") && reader.read_line(&mut head).is_ok_and(|read| read > 0) {}
    let headers = head.to_lowercase();
    let length = headers.lines().find_map(|line| line.strip_prefix("content-length: ")).and_then(|length| length.trim().parse().ok());
    let mut content = vec![0; length.unwrap_or(0)];
    reader.read_exact(&mut content).expect("the body");
    Asked { headers, body: serde_json::from_slice(&content).unwrap_or(Value::Null) }
}

/// A server that gives these answers, one after the other: status, headers, body.
fn server<B: Into<Vec<u8>> + Send + 'static>(answers: Vec<(u16, &'static str, B)>) -> Outcome<(String, JoinHandle<Vec<Asked>>)> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let url = format!("http://{}", listener.local_addr()?);
    let handle = thread::spawn(move || {
        let mut asked = Vec::new();
        for (status, headers, body) in answers {
            let Ok((mut stream, _)) = listener.accept() else { break };
            asked.push(read(&stream));
            let body = body.into();
            let length = body.len();
            write!(stream, "HTTP/1.1 {status} X\r\ncontent-length: {length}\r\nconnection: close\r\n{headers}\r\n").expect("a reader");
            stream.write_all(&body).expect("a reader");
        }
        asked
    });
    Ok((url, handle))
}

const PROBLEM: &str = "content-type: application/problem+json\r\n";
const JSON: &str = "content-type: application/json\r\n";
const ARROW: &str = "content-type: application/vnd.apache.arrow.stream\r\nstockscan-scan-id: 7c1d\r\n";

/// Two hits, with what a server adds to them.
fn hits() -> Vec<u8> {
    let columns: [(&str, ArrayRef); 9] = [
        ("scan_date", Arc::new(Date32Array::from(vec![20103, 20103]))),
        ("symbol", Arc::new(StringArray::from(vec!["INFY", "TCS"]))),
        ("price", Arc::new(Float64Array::from(vec![1500.5, 4000.0]))),
        ("volume", Arc::new(Int64Array::from(vec![12345, 1]))),
        ("rank", Arc::new(Int64Array::from(vec![1, 2]))),
        ("eod_price", Arc::new(Float64Array::from(vec![Some(1510.0), None]))),
        ("price_change_pct", Arc::new(Float64Array::from(vec![Some(0.6), None]))),
        ("day_range_pct", Arc::new(Float64Array::from(vec![Some(1.5), None]))),
        ("breakout_successful", Arc::new(BooleanArray::from(vec![Some(true), None]))),
    ];
    stream_of(&RecordBatch::try_from_iter_with_nullable(columns.map(|(name, column)| (name, column, true))).expect("a batch"))
}

fn nothing() -> Vec<u8> {
    let symbols: ArrayRef = Arc::new(StringArray::from(Vec::<&str>::new()));
    stream_of(&RecordBatch::try_from_iter([("symbol", symbols)]).expect("a batch"))
}

fn stream_of(batch: &RecordBatch) -> Vec<u8> {
    let mut writer = StreamWriter::try_new(Vec::new(), &batch.schema()).expect("a stream");
    writer.write(batch).expect("a stream");
    writer.into_inner().expect("a stream")
}

fn run(url: &str, options: &[&str]) -> Outcome<Answer> {
    let folder = tempfile::tempdir()?;
    answer(
        command(folder.path())
            .env("STOCKSCAN_API_KEY", "secret")
            .args([&["run", "-t", "breakout", "--api-mode", "--url", url], options].concat()),
    )
}

#[test]
fn the_server_is_asked_what_was_meant_and_its_rows_are_written() -> Outcome {
    let (url, handle) = server(vec![(200, ARROW, hits())])?;
    let options = [
        "--date",
        "2025-01-15",
        "--cutoff",
        "10:30",
        "--set",
        "min_price=100",
        "--set",
        "min_volume=0",
        "--symbols",
        "INFY, TCS",
        "--format",
        "csv",
    ];
    let answer = run(&url, &options)?;
    assert_eq!(answer.code, Some(0), "{}", answer.err);
    assert_eq!(
        answer.out, "scan_date,symbol,price,volume,rank\n2025-01-15,INFY,1500.5,12345,1\n2025-01-15,TCS,4000.0,1,2\n",
        "the columns that a scan here has"
    );
    assert!(answer.err.contains("2 hits on 2025-01-15"), "{}", answer.err);
    let asked = handle.join().map_err(|_| "the server has not ended")?;
    assert!(asked[0].headers.starts_with("post /api/v1/scanner/scan http/1.1"), "{}", asked[0].headers);
    assert!(asked[0].headers.contains("authorization: bearer secret"), "{}", asked[0].headers);
    assert_eq!(
        asked[0].body,
        json!({"scanner_type": "breakout", "scan_date": "2025-01-15", "cutoff_time": "10:30", "symbols": ["INFY", "TCS"],
               "config": {"min_price": 100.0, "min_volume": 0}}),
        "numbers are numbers, and nothing is there that was not given"
    );
    Ok(())
}

#[test]
fn a_range_is_asked_for_as_one() -> Outcome {
    let (url, handle) = server(vec![(200, ARROW, nothing())])?;
    let answer = run(&url, &["--date", "2025-01-06", "--end-date", "2025-01-15"])?;
    assert_eq!(answer.code, Some(0), "{}", answer.err);
    assert!(answer.err.contains("0 hits"), "{}", answer.err);
    let asked = handle.join().map_err(|_| "the server has not ended")?;
    assert_eq!(asked[0].body, json!({"scanner_type": "breakout", "start_date": "2025-01-06", "end_date": "2025-01-15"}));
    Ok(())
}

#[test]
fn a_busy_server_is_asked_again_when_it_says() -> Outcome {
    let (url, handle) = server(vec![(429, "retry-after: 1\r\n", Vec::new()), (503, "", Vec::new()), (200, ARROW, hits())])?;
    let started = Instant::now();
    let answer = run(&url, &["--format", "csv"])?;
    assert_eq!(answer.code, Some(0), "{}", answer.err);
    assert!(started.elapsed() >= Duration::from_secs(1), "Retry-After is kept to");
    assert_eq!(handle.join().map_err(|_| "the server has not ended")?.len(), 3);
    Ok(())
}

#[test]
fn what_the_server_refuses_is_told_and_not_asked_again() -> Outcome {
    let problem = |text: &str| json!({"type": "about:blank", "title": "Bad Request", "status": 400, "detail": text}).to_string();
    let (url, handle) = server(vec![(400, PROBLEM, problem("min_price must be at least 0, got -1"))])?;
    let answer = run(&url, &["--set", "min_price=-1"])?;
    assert_eq!(answer.code, Some(2));
    assert_eq!(answer.err, "scanner: min_price must be at least 0, got -1\n");
    assert_eq!(handle.join().map_err(|_| "the server has not ended")?.len(), 1);

    let (url, _) = server(vec![(401, PROBLEM, problem("no such key"))])?;
    let answer = run(&url, &[])?;
    assert!(answer.err.contains("no such key (401); the variable STOCKSCAN_API_KEY has a wrong one"), "{}", answer.err);

    let folder = tempfile::tempdir()?;
    let (url, _) = server(vec![(401, PROBLEM, problem("a key is needed"))])?;
    let answer = common::scanner(folder.path(), &["list", "--api-mode", "--url", &url])?;
    assert!(answer.err.contains("a key is needed (401); give a key in the variable STOCKSCAN_API_KEY"), "{}", answer.err);
    Ok(())
}

#[test]
fn a_server_that_is_not_there_is_told_with_what_to_do() -> Outcome {
    // Nobody listens on a port that only the system may open.
    let answer = run("http://127.0.0.1:1", &[])?;
    assert_eq!(answer.code, Some(1));
    assert!(answer.err.contains("no server answers at http://127.0.0.1"), "{}", answer.err);
    assert!(answer.err.contains("leave out --api-mode"), "{}", answer.err);
    let answer = run("localhost:8000", &[])?;
    assert_eq!(answer.code, Some(2));
    assert!(answer.err.contains("expected http:// or https://"), "{}", answer.err);
    // The bars are the server's.
    let answer = run("http://localhost", &["--database", "x.duckdb"])?;
    assert_eq!(answer.code, Some(2));
    assert!(answer.err.contains("--database cannot be used with --api-mode: the server has the bars"), "{}", answer.err);
    Ok(())
}

#[test]
fn a_variable_that_names_a_file_is_no_reason_to_refuse() -> Outcome {
    let folder = tempfile::tempdir()?;
    let (url, _) = server(vec![(200, ARROW, hits())])?;
    let mut asked = command(folder.path());
    asked.env("STOCKSCAN_DATABASE", "other.duckdb").env("STOCKSCAN_URL", &url).args(["run", "-t", "gap", "--api-mode", "--format", "csv"]);
    let found = answer(&mut asked)?;
    assert_eq!((found.code, found.out.lines().count()), (Some(0), 3), "{}", found.err);
    // The variable alone asks nobody.
    let mut here = command(folder.path());
    here.env("STOCKSCAN_URL", &url).args(["list", "--format", "csv"]);
    assert_eq!(answer(&mut here)?.code, Some(0));
    let found = common::scanner(folder.path(), &["list", "--url", &url])?;
    assert_eq!(found.code, Some(2));
    assert!(found.err.contains("it needs --api-mode"), "{}", found.err);
    Ok(())
}

#[test]
fn rows_that_break_off_are_a_failure_and_leave_no_file() -> Outcome {
    let folder = tempfile::tempdir()?;
    let whole = hits();
    let half = whole[..whole.len() / 2].to_vec();
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let url = format!("http://{}", listener.local_addr()?);
    // Twice as much is announced as comes.
    let handle = thread::spawn(move || {
        for _ in 0..2 {
            let (mut stream, _) = listener.accept().expect("a client");
            read(&stream);
            write!(stream, "HTTP/1.1 200 OK\r\n{ARROW}content-length: {}\r\n\r\n", whole.len()).expect("a reader");
            stream.write_all(&half).expect("a reader");
        }
    });
    let asked = ["run", "-t", "gap", "--api-mode", "--url", &url];
    let found = common::scanner(folder.path(), &[&asked[..], &["--output", "hits.csv"]].concat())?;
    assert_eq!(found.code, Some(1), "{}", found.err);
    assert!(found.err.contains("broke off its answer"), "{}", found.err);
    assert_eq!(fs::read_dir(folder.path())?.filter(|entry| entry.as_ref().is_ok_and(|entry| entry.path().is_file())).count(), 0);
    let found = common::scanner(folder.path(), &[&asked[..], &["--format", "ndjson"]].concat())?;
    assert_eq!(found.code, Some(1), "what came is not taken for all: {}{}", found.out, found.err);
    handle.join().map_err(|_| "the server has not ended")?;
    Ok(())
}

#[test]
fn what_is_no_server_of_ours_is_told() -> Outcome {
    let folder = tempfile::tempdir()?;
    let page = "<html>".to_owned();
    for (status, headers, command, told) in [
        (200, "content-type: text/html\r\n", "run -t gap", "answers with text/html where rows were asked for; is that a Stockscan server?"),
        (200, "content-type: text/html\r\n", "list", "did not answer with JSON; is that a Stockscan server?"),
        (
            404,
            "content-type: text/html\r\n",
            "history",
            "answers 404 Not Found and does not say why; is that a Stockscan server of this version?",
        ),
        (302, "location: https://example.com/\r\n", "list", "answers 302 Found"),
    ] {
        let (url, _) = server(vec![(status, headers, page.clone())])?;
        let arguments: Vec<&str> = command.split(' ').chain(["--api-mode", "--url", &url]).collect();
        let found = common::scanner(folder.path(), &arguments)?;
        assert_eq!(found.code, Some(1), "{command}: {}", found.err);
        assert!(found.err.contains(told), "{command}: {}", found.err);
    }
    // One that does not know a path is of another version.
    let problem =
        json!({"title": "Not Found", "status": 404, "detail": "there is no such path; /api/v1/scanner/docs lists all"}).to_string();
    let (url, _) = server(vec![(404, PROBLEM, problem)])?;
    let found = common::scanner(folder.path(), &["history", "--api-mode", "--url", &url])?;
    assert!(found.err.contains("it is another version than this command"), "{}", found.err);
    Ok(())
}

#[test]
fn commands_that_work_on_files_say_so() -> Outcome {
    let folder = tempfile::tempdir()?;
    for (command, told) in [
        ("adopt x", "--api-mode: 'adopt' works on the database file; leave it out"),
        ("replay x.csv", "'replay' works on the database file"),
        ("check", "'check' works on the database file"),
        ("demo", "'demo' works on the database file"),
        ("serve", "'serve' is the server"),
        ("config", "'config' works on files of this machine"),
        ("run -t gap --explain", "--explain cannot be used with --api-mode"),
        ("run -t gap --sql", "--sql cannot be used with --api-mode"),
        ("backtest -t gap --calibrate", "--calibrate cannot be used with --api-mode"),
        ("optimize -t gap --grid min_gap_pct=1 --plot x.svg", "--plot cannot be used with --api-mode"),
        ("history --source x", "--source cannot be used with --api-mode"),
    ] {
        let arguments: Vec<&str> = command.split(' ').chain(["--api-mode", "--url", "http://127.0.0.1:1"]).collect();
        let found = common::scanner(folder.path(), &arguments)?;
        assert_eq!(found.code, Some(2), "{command}: {}", found.err);
        assert!(found.err.contains(told), "{command}: {}", found.err);
    }
    Ok(())
}

#[test]
fn a_job_is_waited_for_and_told_as_if_it_were_done_here() -> Outcome {
    let folder = tempfile::tempdir()?;
    let running = json!({"job_id": "8d", "kind": "backtest", "status": "running", "progress": 0.25, "request": {}}).to_string();
    let done = json!({"job_id": "8d", "kind": "backtest", "status": "done", "progress": 1.0, "request": {}, "result": {
        "scanner_type": "gap", "start_date": "2025-01-06", "end_date": "2025-01-15", "bar_minutes": 1, "remarks": ["no start_date given: from the first session in the data, 2025-01-06"],
        "summary": null, "trades": [], "by": null, "sql": "",
        "daily": [{"session_date": "2025-01-06", "entered": 2, "profit": 0.1, "equity": 100_000.1}]}})
    .to_string();
    let (url, handle) = server(vec![(202, JSON, running.clone()), (202, JSON, running), (200, JSON, done)])?;
    let asked = ["backtest", "-t", "gap", "--end-date", "2025-01-15", "--daily", "--format", "csv", "--api-mode", "--url", &url];
    let found = common::scanner(folder.path(), &asked)?;
    assert_eq!(found.code, Some(0), "{}", found.err);
    let mut lines = found.out.lines();
    assert!(lines.next().is_some_and(|header| header.starts_with("session_date,")), "the columns of backtest_daily(): {}", found.out);
    assert!(lines.next().is_some_and(|row| row.starts_with("2025-01-06,") && row.contains("100000.1")), "{}", found.out);
    assert!(
        found.err.contains("no --start-date given: from the first session in the data, 2025-01-06"),
        "in the words of the command: {}",
        found.err
    );
    let asked = handle.join().map_err(|_| "the server has not ended")?;
    assert!(asked[0].headers.starts_with("post /api/v1/scanner/backtest?wait=0 "), "{}", asked[0].headers);
    assert_eq!(asked[0].body, json!({"scanner_type": "gap", "end_date": "2025-01-15"}));
    assert!(asked[2].headers.starts_with("get /api/v1/scanner/jobs/8d?wait=1 "), "{}", asked[2].headers);

    let failed = json!({"job_id": "8d", "status": "failed", "error": {"error": "invalid", "detail": "there is no session"}}).to_string();
    let (url, _) = server(vec![(200, JSON, failed)])?;
    let found = common::scanner(folder.path(), &["backtest", "-t", "gap", "--api-mode", "--url", &url])?;
    assert_eq!((found.code, found.err.as_str()), (Some(2), "scanner: there is no session\n"));
    Ok(())
}

#[test]
fn a_job_that_takes_too_long_is_cancelled() -> Outcome {
    let folder = tempfile::tempdir()?;
    let running = || json!({"job_id": "8d", "status": "running", "progress": 0.25}).to_string();
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let url = format!("http://{}", listener.local_addr()?);
    let handle = thread::spawn(move || {
        let mut methods = Vec::new();
        loop {
            let (mut stream, _) = listener.accept().expect("a client");
            let first = read(&stream).headers.lines().next().unwrap_or_default().to_owned();
            thread::sleep(Duration::from_millis(200));
            let body = running();
            write!(stream, "HTTP/1.1 202 Accepted\r\n{JSON}connection: close\r\ncontent-length: {}\r\n\r\n{body}", body.len())
                .expect("a reader");
            methods.push(first.clone());
            if first.starts_with("delete") {
                return methods;
            }
        }
    });
    let found = common::scanner(folder.path(), &["backtest", "-t", "gap", "--timeout", "1", "--api-mode", "--url", &url])?;
    assert_eq!(found.code, Some(1), "{}", found.err);
    assert!(found.err.contains("stopped after 1s, the time allowed"), "{}", found.err);
    let methods = handle.join().map_err(|_| "the server has not ended")?;
    assert_eq!(methods.last().map(String::as_str), Some("delete /api/v1/scanner/jobs/8d http/1.1"), "{methods:?}");
    Ok(())
}

#[test]
fn a_live_scan_of_a_server_is_written_as_one_that_is_made_here() -> Outcome {
    let folder = tempfile::tempdir()?;
    let hit = |symbol: &str, rank: u32| json!({"scan_date": "2025-01-15", "symbol": symbol, "price": 10, "volume": 5, "probability_score": 50.5, "rank": rank});
    let update = |data_as_of: &str, hits: Vec<Value>| {
        let names: Vec<&Value> = hits.iter().map(|hit| &hit["symbol"]).collect();
        let document = json!({"type": "scan_update", "subscription_id": "1", "timestamp": "2025-01-15T04:20:00.000Z", "scanner_type": "gap",
            // As the server says it to one who has just come.
            "data_as_of": data_as_of, "results": hits, "added": names, "removed": []});
        format!("event: scan_update\ndata: {document}\n\n")
    };
    let events = [
        "retry: 3000\n\n: a comment\n\nevent: subscribed\ndata: {\"type\":\"subscribed\"}\n\n".to_owned(),
        update("2025-01-15T09:50:00", vec![hit("A", 1), hit("B", 2)]),
        "event: heartbeat\r\ndata: {\"type\":\"heartbeat\"}\r\n\r\n".to_owned(),
        update("2025-01-15T09:51:00", vec![hit("B", 1), hit("C", 2)]),
        "event: stale\ndata: {\"type\":\"stale\",\"detail\":\"the database is in use by process 7\"}\n\n".to_owned(),
        update("2025-01-16T00:00:00", vec![hit("C", 1)]),
        "event: end\ndata: {\"type\":\"end\"}\n\n".to_owned(),
    ];
    let (url, handle) = server(vec![(200, "content-type: text/event-stream\r\n", events.concat())])?;
    let asked = [
        "run",
        "-t",
        "gap",
        "--stream",
        "--interval",
        "0.3",
        "--duration",
        "1",
        "--set",
        "min_gap_pct=1",
        "--symbols",
        "A,B",
        "--api-mode",
    ];
    let found = common::scanner(folder.path(), &[&asked[..], &["--url", &url, "--format", "csv"]].concat())?;
    assert_eq!(found.code, Some(0), "{}", found.err);
    let lines: Vec<&str> = found.out.lines().collect();
    assert!(lines[0].starts_with("data_as_of,scan_date,symbol,price,"), "the scanner's own columns: {}", found.out);
    let rows: Vec<String> = lines[1..].iter().map(|line| line.split(',').take(4).collect::<Vec<_>>().join(",")).collect();
    // Only what is new: B stays a hit, and the end of a session is not another one.
    assert_eq!(
        rows,
        ["2025-01-15T09:50:00,2025-01-15,A,10.0", "2025-01-15T09:50:00,2025-01-15,B,10.0", "2025-01-15T09:51:00,2025-01-15,C,10.0"]
    );
    assert!(found.err.contains("the database is in use by process 7"), "{}", found.err);
    assert!(found.err.contains(&format!("the server at {url} is shutting down")), "{}", found.err);
    assert!(found.err.contains("3 names"), "{}", found.err);
    let asked = handle.join().map_err(|_| "the server has not ended")?;
    let address = asked[0].headers.lines().next().unwrap_or_default().to_owned();
    for part in ["get /api/v1/scanner/events/scanner/gap?", "symbols=a%2cb", "min_gap_pct=1", "interval=0.3"] {
        assert!(address.contains(part), "{address}");
    }

    let (url, _) = server(vec![(200, "content-type: text/event-stream\r\n", events.concat())])?;
    let found =
        common::scanner(folder.path(), &["monitor", "-t", "gap", "--interval", "0.3", "--duration", "1", "--api-mode", "--url", &url])?;
    assert_eq!(found.code, Some(0), "{}", found.err);
    assert!(found.out.contains("09:50 + A") && found.out.contains("09:51 - A") && found.out.contains("24:00 - B"), "{}", found.out);

    let refused =
        json!({"title": "Bad Request", "status": 400, "detail": "interval must be between 0.2 and 86400 seconds, got 0.1"}).to_string();
    let (url, _) = server(vec![(400, PROBLEM, refused)])?;
    let found = common::scanner(folder.path(), &["monitor", "-t", "gap", "--interval", "0.1", "--api-mode", "--url", &url])?;
    assert_eq!((found.code, found.err.as_str()), (Some(2), "scanner: interval must be between 0.2 and 86400 seconds, got 0.1\n"));
    Ok(())
}
