//! `scanner run --api-mode` against a small HTTP server that notes what it is asked and answers as the real one's documentation says.

#[expect(dead_code, reason = "the rest is for tests that have a database")]
mod common;

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::TcpListener,
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use common::{Answer, Outcome, answer, command};
use serde_json::{Value, json};

/// What the server was asked: the headers, in small letters, and the body.
struct Asked {
    headers: String,
    body: Value,
}

/// A server that gives these answers, one after the other: status, headers, body.
fn server(answers: Vec<(u16, &'static str, String)>) -> Outcome<(String, JoinHandle<Vec<Asked>>)> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let url = format!("http://{}", listener.local_addr()?);
    let handle = thread::spawn(move || {
        let mut asked = Vec::new();
        for (status, headers, body) in answers {
            let Ok((mut stream, _)) = listener.accept() else { break };
            let mut reader = BufReader::new(stream.try_clone().expect("a second handle"));
            let mut head = String::new();
            while !head.ends_with("\r\n\r\n") && reader.read_line(&mut head).is_ok_and(|read| read > 0) {}
            let head = head.to_lowercase();
            let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).and_then(|length| length.trim().parse().ok());
            let mut content = vec![0; length.unwrap_or(0)];
            reader.read_exact(&mut content).expect("the body");
            asked.push(Asked { headers: head, body: serde_json::from_slice(&content).unwrap_or(Value::Null) });
            let length = body.len();
            write!(stream, "HTTP/1.1 {status} X\r\ncontent-length: {length}\r\nconnection: close\r\n{headers}\r\n{body}")
                .expect("a reader");
        }
        asked
    });
    Ok((url, handle))
}

fn hits() -> String {
    json!({"scan_id": "7c1d", "scanner_type": "breakout", "scan_date": "2025-01-15", "start_date": null, "end_date": null, "total_results": 2,
           "execution_time_ms": 12.5, "timestamp": "2025-01-15T09:50:00Z",
           "results": [{"scan_date": "2025-01-15", "symbol": "INFY", "price": 1500.5, "volume": 12345, "rank": 1},
                       {"scan_date": "2025-01-15", "symbol": "TCS", "price": 4000, "volume": 1, "rank": 2}]})
    .to_string()
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
    let (url, handle) = server(vec![(200, "", hits())])?;
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
    assert_eq!(answer.out, "scan_date,symbol,price,volume,rank\n2025-01-15,INFY,1500.5,12345,1\n2025-01-15,TCS,4000.0,1,2\n");
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
    let (url, handle) = server(vec![(200, "", json!({"results": []}).to_string())])?;
    let answer = run(&url, &["--date", "2025-01-06", "--end-date", "2025-01-15"])?;
    assert_eq!(answer.code, Some(0), "{}", answer.err);
    assert!(answer.err.contains("0 hits"), "{}", answer.err);
    let asked = handle.join().map_err(|_| "the server has not ended")?;
    assert_eq!(asked[0].body, json!({"scanner_type": "breakout", "start_date": "2025-01-06", "end_date": "2025-01-15"}));
    Ok(())
}

#[test]
fn a_busy_server_is_asked_again_when_it_says() -> Outcome {
    let busy = |seconds: &'static str| (429, seconds, json!({"title": "Too many requests"}).to_string());
    let (url, handle) = server(vec![busy("retry-after: 1\r\n"), (503, "", String::new()), (200, "", hits())])?;
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
    let (url, handle) = server(vec![(400, "", problem("min_price must be at least 0, got -1"))])?;
    let answer = run(&url, &["--set", "min_price=-1"])?;
    assert_eq!(answer.code, Some(2));
    assert_eq!(answer.err, "scanner: min_price must be at least 0, got -1\n");
    assert_eq!(handle.join().map_err(|_| "the server has not ended")?.len(), 1);

    let (url, _) = server(vec![(401, "", problem("no such key"))])?;
    let answer = run(&url, &[])?;
    assert!(answer.err.contains("no such key (401); give a key in the variable STOCKSCAN_API_KEY"), "{}", answer.err);

    let (url, _) = server(vec![(200, "", "<html>".to_owned())])?;
    let answer = run(&url, &[])?;
    assert_eq!(answer.code, Some(1));
    assert!(answer.err.contains("did not answer with JSON; is that a Stockscan server?"), "{}", answer.err);
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
    assert!(answer.err.contains("cannot be used with"), "{}", answer.err);
    Ok(())
}
