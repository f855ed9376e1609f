//! Alerts: once for each new name, whatever is interrupted, and receivers that refuse, stumble, hang or are not there.

mod common;

use std::{
    collections::VecDeque,
    io::{BufRead, BufReader, Read, Write},
    net::{TcpListener, TcpStream},
    sync::{Arc, Mutex, PoisonError},
    thread,
    time::{Duration, Instant},
};

use common::{Market, Outcome};
use serde_json::{Value, json};
use stockscan_configuration::{AlertRule, Configuration, Text, Webhook};
use stockscan_live::{Alert, Alerts, Backoff, Event, Ledger, Reader, Rule};
use stockscan_state::State;

/// What a server does with a request.
#[derive(Debug, Clone)]
enum Reply {
    /// Answers with a status line and headers.
    With(&'static str),
    /// Takes the request, and says nothing.
    Hang,
}

#[derive(Debug, Clone)]
struct Request {
    id: String,
    headers: Vec<(String, String)>,
    body: Value,
    at: Instant,
}

/// A receiver that does what it is told, then says 200.
struct Server {
    url: String,
    requests: Arc<Mutex<Vec<Request>>>,
}

impl Server {
    fn new(replies: &[Reply]) -> Outcome<Server> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let url = format!("http://{}/hook?key=secret", listener.local_addr()?);
        let requests = Arc::new(Mutex::new(Vec::new()));
        let replies = Arc::new(Mutex::new(VecDeque::from(replies.to_vec())));
        let seen = requests.clone();
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (seen, replies) = (seen.clone(), replies.clone());
                thread::spawn(move || serve(stream, &seen, &replies));
            }
        });
        Ok(Server { url, requests })
    }

    fn requests(&self) -> Vec<Request> {
        self.requests.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Waits until so many requests have come.
    fn wait_for(&self, count: usize) -> Outcome<Vec<Request>> {
        let started = Instant::now();
        while self.requests().len() < count {
            if started.elapsed() > Duration::from_secs(30) {
                return Err(format!("{} of {count} requests have come", self.requests().len()).into());
            }
            thread::sleep(Duration::from_millis(5));
        }
        Ok(self.requests())
    }
}

/// One connection, request after request.
fn serve(stream: TcpStream, seen: &Mutex<Vec<Request>>, replies: &Mutex<VecDeque<Reply>>) -> Option<()> {
    let mut reader = BufReader::new(stream.try_clone().ok()?);
    let mut stream = stream;
    loop {
        let mut headers = Vec::new();
        loop {
            let mut line = String::new();
            if reader.read_line(&mut line).ok()? == 0 {
                return None;
            }
            if line.trim().is_empty() {
                break;
            }
            if let Some((name, value)) = line.trim().split_once(": ") {
                headers.push((name.to_lowercase(), value.to_owned()));
            }
        }
        let header = |name: &str| headers.iter().find(|(header, _)| header == name).map(|(_, value)| value.clone());
        let mut body = vec![0; header("content-length")?.parse().ok()?];
        reader.read_exact(&mut body).ok()?;
        let request =
            Request { id: header("webhook-id")?, headers: headers.clone(), body: serde_json::from_slice(&body).ok()?, at: Instant::now() };
        let reply = replies.lock().unwrap_or_else(PoisonError::into_inner).pop_front().unwrap_or(Reply::With("200 OK"));
        seen.lock().unwrap_or_else(PoisonError::into_inner).push(request);
        match reply {
            Reply::With(head) => write!(stream, "HTTP/1.1 {head}\r\ncontent-length: 0\r\n\r\n").ok()?,
            Reply::Hang => thread::sleep(Duration::from_secs(120)),
        }
    }
}

/// Attempts follow each other fast here.
const FAST: Backoff = Backoff { first: Duration::from_millis(10), longest: Duration::from_millis(40), attempts: 5 };

fn rule(market: &Market, name: &str, url: Option<&str>) -> Outcome<Rule> {
    let webhook = url.map(|url| Webhook { url: Text(url.to_owned()), ..Webhook::default() });
    let rule = AlertRule { scanner_type: Text("above".to_owned()), webhook, ..AlertRule::default() };
    let mut rule = market.reader()?.read(0, |engine| Rule::new(name, &rule, &Configuration::default(), 1, engine))?;
    rule.interval = Duration::from_millis(1);
    Ok(rule)
}

fn ledger(market: &Market) -> Outcome<Ledger> {
    Ok(Ledger::new(State::new(market.folder.path().join("state.duckdb")))?)
}

/// What fired in a step.
fn step(alerts: &mut Alerts, reader: &mut Reader) -> Outcome<Vec<Alert>> {
    thread::sleep(Duration::from_millis(2));
    let fired = alerts.step(|retries, work| reader.read(retries, work), |_| ()).into_iter().map(|event| match event {
        Event::Fired(alert) => Ok(alert),
        other => Err(format!("{other:?}")),
    });
    Ok(fired.collect::<Result<_, _>>()?)
}

fn names(alerts: &[Alert]) -> String {
    alerts.iter().map(|alert| alert.symbol.as_str()).collect::<Vec<_>>().join(",")
}

/// Waits for the end of a message: how often it was tried, and what came of it.
fn end_of(alerts: &Alerts) -> Outcome<(u32, &'static str)> {
    let started = Instant::now();
    while started.elapsed() < Duration::from_secs(30) {
        for event in alerts.delivered() {
            match event {
                Event::Attempted(attempt) if attempt.outcome() != "later" => return Ok((attempt.number, attempt.outcome())),
                Event::Attempted(_) => {}
                other => return Err(format!("{other:?}").into()),
            }
        }
        thread::sleep(Duration::from_millis(5));
    }
    Err("the message has no end".into())
}

#[test]
fn a_name_fires_once_for_each_rule_and_session() -> Outcome {
    let market = Market::new()?;
    let mut reader = market.reader()?;
    market.bar("2025-01-14 09:15:00", &[("A", 101.0), ("B", 99.0)])?;
    let rules = || Outcome::Ok(vec![rule(&market, "one", None)?, rule(&market, "other", None)?]);
    let mut alerts = Alerts::new(rules()?, ledger(&market)?, 1, FAST)?;
    let fired = step(&mut alerts, &mut reader)?;
    assert_eq!(fired.iter().map(|alert| (alert.rule.as_str(), alert.symbol.as_str())).collect::<Vec<_>>(), [("one", "A"), ("other", "A")]);
    assert_eq!(names(&step(&mut alerts, &mut reader)?), "", "nothing is new");
    // Dropped, and back: still the same session.
    market.bar("2025-01-14 09:16:00", &[("A", 99.0)])?;
    assert_eq!(names(&step(&mut alerts, &mut reader)?), "");
    market.bar("2025-01-14 09:17:00", &[("A", 103.0), ("B", 104.0)])?;
    assert_eq!(names(&step(&mut alerts, &mut reader)?), "B,B");
    // Another run knows what the first one told.
    let mut again = Alerts::new(rules()?, ledger(&market)?, 2, FAST)?;
    assert_eq!(names(&step(&mut again, &mut reader)?), "");
    market.bar("2025-01-15 09:15:00", &[("A", 101.0)])?;
    let fired = step(&mut again, &mut reader)?;
    assert_eq!(names(&fired), "A,A", "a new session");
    assert_eq!((fired[0].price, fired[0].data_as_of.to_string()), (Some(101.0), "2025-01-15T09:16:00".to_owned()));
    let tallies = ledger(&market)?.tallies()?;
    assert_eq!(tallies.iter().map(|tally| (tally.rule.as_str(), tally.fired)).collect::<Vec<_>>(), [("one", 3), ("other", 3)]);
    Ok(())
}

#[test]
fn before_its_cutoff_a_rule_tells_nothing() -> Outcome {
    let market = Market::new()?;
    let mut reader = market.reader()?;
    let early = AlertRule { scanner_type: Text("above".to_owned()), cutoff_time: Some(Text("09:17".to_owned())), ..AlertRule::default() };
    let mut early = market.reader()?.read(0, |engine| Rule::new("early", &early, &Configuration::default(), 1, engine))?;
    early.interval = Duration::from_millis(1);
    let mut alerts = Alerts::new(vec![early], ledger(&market)?, 1, FAST)?;
    // A is a hit at first, and would be told wrongly: at 09:17 it is none.
    market.bar("2025-01-15 09:15:00", &[("A", 101.0)])?;
    assert_eq!(names(&step(&mut alerts, &mut reader)?), "");
    market.bar("2025-01-15 09:16:00", &[("A", 99.0), ("B", 101.0)])?;
    assert_eq!(names(&step(&mut alerts, &mut reader)?), "B");
    market.bar("2025-01-15 09:17:00", &[("C", 101.0)])?;
    assert_eq!(names(&step(&mut alerts, &mut reader)?), "", "C comes after the cutoff");
    Ok(())
}

#[test]
fn a_message_holds_the_evidence_and_keeps_its_name_when_it_is_sent_again() -> Outcome {
    let server = Server::new(&[Reply::With("500 Oops"), Reply::With("429 Slow"), Reply::With("503 Away"), Reply::With("408 Late")])?;
    let market = Market::new()?;
    let mut reader = market.reader()?;
    market.bar("2025-01-15 09:15:00", &[("A", 101.5)])?;
    let mut alerts = Alerts::new(vec![rule(&market, "one", Some(&server.url))?], ledger(&market)?, 1, FAST)?;
    assert_eq!(names(&step(&mut alerts, &mut reader)?), "A");
    assert_eq!(end_of(&alerts)?, (5, "delivered"));
    let requests = server.requests();
    assert_eq!(requests.len(), 5);
    for request in &requests {
        assert_eq!((&request.id, &request.body), (&requests[0].id, &requests[0].body));
    }
    let body = &requests[0].body;
    assert_eq!(body["type"], "scanner.alert");
    let evidence = json!({"scan_date": "2025-01-15", "symbol": "A", "price": 101.5, "volume": 10, "probability_score": 50.0, "rank": 1});
    assert_eq!(
        body["data"],
        json!({"rule": "one", "scanner_type": "above", "session": "2025-01-15", "data_as_of": "2025-01-15T09:16:00", "symbol": "A",
            "price": 101.5, "evidence": evidence})
    );
    let names: Vec<&str> = requests[0].headers.iter().map(|(name, _)| name.as_str()).collect();
    assert!(names.contains(&"webhook-timestamp") && !names.contains(&"webhook-signature"), "without a secret nothing is signed: {names:?}");
    assert_eq!(ledger(&market)?.tallies()?[0].waiting, 0);
    Ok(())
}

#[test]
fn what_is_refused_is_not_sent_again() -> Outcome {
    for (status, tried, outcome) in
        [("410 Gone", 1, "refused"), ("400 No", 1, "refused"), ("302 Found\r\nlocation: /elsewhere", 1, "refused")]
    {
        let server = Server::new(&[Reply::With(status)])?;
        let market = Market::new()?;
        let mut reader = market.reader()?;
        market.bar("2025-01-15 09:15:00", &[("A", 101.0)])?;
        let mut alerts = Alerts::new(vec![rule(&market, "one", Some(&server.url))?], ledger(&market)?, 1, FAST)?;
        step(&mut alerts, &mut reader)?;
        assert_eq!(end_of(&alerts)?, (tried, outcome), "{status}");
        assert_eq!(server.requests().len(), 1, "{status}: no redirect is followed, nothing is sent again");
        assert_eq!(ledger(&market)?.tallies()?[0].waiting, 0, "{status}");
    }
    Ok(())
}

#[test]
fn a_receiver_that_is_away_is_given_up_after_so_many_attempts() -> Outcome {
    let market = Market::new()?;
    let mut reader = market.reader()?;
    market.bar("2025-01-15 09:15:00", &[("A", 101.0)])?;
    // Nobody listens on a port that only the system may open.
    let url = "http://127.0.0.1:1/hook?key=secret";
    let mut alerts = Alerts::new(vec![rule(&market, "one", Some(url))?], ledger(&market)?, 1, FAST)?;
    step(&mut alerts, &mut reader)?;
    assert_eq!(end_of(&alerts)?, (5, "given up"));
    let attempts = ledger(&market)?.history(None, None, 100, true)?.ok_or("recorded")?;
    assert_eq!(attempts.num_rows(), 5, "each attempt is recorded");
    let text = format!("{attempts:?}");
    assert!(text.contains("Connection refused") && !text.contains("secret"), "{text}");
    Ok(())
}

#[test]
fn a_receiver_says_when_to_come_again() -> Outcome {
    let server = Server::new(&[Reply::With("429 Slow\r\nretry-after: 1")])?;
    let market = Market::new()?;
    let mut reader = market.reader()?;
    market.bar("2025-01-15 09:15:00", &[("A", 101.0)])?;
    let mut alerts = Alerts::new(vec![rule(&market, "one", Some(&server.url))?], ledger(&market)?, 1, FAST)?;
    step(&mut alerts, &mut reader)?;
    assert_eq!(end_of(&alerts)?, (2, "delivered"));
    let requests = server.requests();
    assert!(requests[1].at - requests[0].at >= Duration::from_secs(1), "not after the 10 ms that are usual here");
    Ok(())
}

#[test]
fn what_was_not_delivered_is_taken_up_by_the_next_run() -> Outcome {
    let server = Server::new(&[Reply::Hang])?;
    let market = Market::new()?;
    let mut reader = market.reader()?;
    market.bar("2025-01-15 09:15:00", &[("A", 101.0)])?;
    let mut alerts = Alerts::new(vec![rule(&market, "one", Some(&server.url))?], ledger(&market)?, 1, FAST)?;
    step(&mut alerts, &mut reader)?;
    server.wait_for(1)?;
    // The receiver hangs; scans and their alerts go on meanwhile.
    market.bar("2025-01-15 09:16:00", &[("B", 101.0)])?;
    assert_eq!(names(&step(&mut alerts, &mut reader)?), "B");
    assert!(!alerts.settle(Duration::from_millis(50), || false), "two messages wait");
    assert_eq!(alerts.waiting()?, 2);
    drop(alerts);

    let again = Alerts::new(vec![rule(&market, "one", Some(&server.url))?], ledger(&market)?, 1, FAST)?;
    let requests = server.wait_for(3)?;
    assert!(again.settle(Duration::from_secs(30), || false));
    let told: Vec<&Value> = requests.iter().map(|request| &request.body["data"]["symbol"]).collect();
    assert_eq!(told, ["A", "A", "B"], "the oldest first");
    assert_eq!(requests[0].id, requests[1].id, "so that a receiver knows it again");
    assert_eq!(requests[0].body, requests[1].body);
    // Nothing is left for a third one.
    let third = Alerts::new(vec![rule(&market, "one", Some(&server.url))?], ledger(&market)?, 1, FAST)?;
    assert!(third.settle(Duration::from_secs(1), || false));
    assert_eq!((server.requests().len(), third.waiting()?), (3, 0));
    Ok(())
}

#[test]
fn more_messages_than_have_room_are_delivered_all() -> Outcome {
    let server = Server::new(&[])?;
    let market = Market::new()?;
    let mut reader = market.reader()?;
    let stocks: Vec<String> = (0..300).map(|number| format!("S{number:03}")).collect();
    market.bar("2025-01-15 09:15:00", &stocks.iter().map(|symbol| (symbol.as_str(), 101.0)).collect::<Vec<_>>())?;
    let mut alerts = Alerts::new(vec![rule(&market, "one", Some(&server.url))?], ledger(&market)?, 1, FAST)?;
    assert_eq!(step(&mut alerts, &mut reader)?.len(), 300);
    assert!(alerts.settle(Duration::from_secs(100), || false));
    let mut told: Vec<String> =
        server.requests().iter().map(|request| request.body["data"]["symbol"].as_str().unwrap_or_default().to_owned()).collect();
    assert_eq!(told.len(), 300, "each once");
    told.sort();
    assert_eq!(told, stocks);
    Ok(())
}

#[test]
fn what_cannot_be_recorded_is_not_told_and_comes_later() -> Outcome {
    let market = Market::new()?;
    let mut reader = market.reader()?;
    market.bar("2025-01-15 09:15:00", &[("A", 101.0)])?;
    let place = market.folder.path().join("not_yet");
    let state = State::new(place.join("state.duckdb"));
    let mut alerts = Alerts::new(vec![rule(&market, "one", None)?], Ledger::new(state)?, 1, FAST)?;
    let events = alerts.step(|retries, work| reader.read(retries, work), |_| ());
    assert!(matches!(events.as_slice(), [Event::NotRecorded(_)]), "{events:?}");
    std::fs::create_dir(&place)?;
    assert_eq!(names(&step(&mut alerts, &mut reader)?), "A");
    assert!(!std::fs::read_dir(market.folder.path())?.any(|entry| entry.is_ok_and(|entry| entry.file_name() == "state.duckdb")));
    Ok(())
}
