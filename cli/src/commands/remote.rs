//! `scanner run --api-mode`: the same scan, asked of a server.

use std::{
    thread,
    time::{Duration, Instant},
};

use serde_json::{Map, Value};
use stockscan_engine::{Engine, Error, Options, Query, Result, quoted_text, value_of};
use stockscan_state::Results;
use ureq::{Agent, http::Response};

use super::{counted, market, scanning::name_and_value, text};
use crate::{
    arguments::{API_KEY, Global, Output, Run},
    output, progress,
};

/// More than this a server does not answer to one scan.
const LARGEST_ANSWER: u64 = 1 << 30;

pub(crate) fn run(global: &Global, run: &Run) -> Result<()> {
    let server = Server::new(global, run)?;
    // Knows the parameters of the built-in scanners, and makes rows of what comes back.
    let engine = Engine::open(Options::memory())?;
    let request = request(&engine, global, run)?;
    let started = Instant::now();
    let answer = progress::shown(&engine, global, "asking", || server.post("/api/v1/scanner/scan", &request))?;
    let rows = write(&engine, &answer, &run.output)?;
    if !global.quiet {
        let said = |key: &str| answer.get(key).and_then(Value::as_str);
        let when = match (said("scan_date"), said("start_date"), said("end_date")) {
            (_, Some(start), Some(end)) if start != end => format!(" from {start} to {end}"),
            (Some(date), ..) => format!(" on {date}"),
            _ => String::new(),
        };
        let scan = said("scan_id").map_or(String::new(), |id| format!(", scan {id}"));
        say!("{}{when} from {} in {:.2} s{scan}", counted(rows, "hit"), server.url, started.elapsed().as_secs_f64());
    }
    Ok(())
}

/// What is asked, as the server wants it.
fn request(engine: &Engine, global: &Global, run: &Run) -> Result<Value> {
    let scan = &run.scan;
    let scanner = scan.scanner_type.strip_prefix("scan_").unwrap_or(&scan.scanner_type);
    let documented = engine.scanner_parameters(scanner)?;
    // A scanner that only the server has takes what it takes; the server checks it in any case.
    let takes = |name: &str| documented.is_empty() || documented.iter().any(|parameter| parameter.name == name);
    let configured = global
        .configuration
        .scanner_settings(engine, scanner)?
        .into_iter()
        .filter(|(name, _)| !stockscan_configuration::RUN_KEYS.contains(&name.as_str()) && !documented.is_empty() && takes(name));
    let mut config: Map<String, Value> = configured.map(|(name, setting)| (name, setting.value)).collect();
    if global.bar_minutes != 1 {
        config.insert("bar_minutes".to_owned(), global.bar_minutes.into());
    }
    if let Some(code) = &scan.market {
        let hours = market(engine, code)?;
        config.insert("session_start".to_owned(), hours.session_start.into());
        config.insert("session_end".to_owned(), hours.session_end.into());
    }
    for setting in &scan.settings {
        let (name, value) = name_and_value(setting)?;
        let sql_type = documented.iter().find(|parameter| parameter.name == name).and_then(|parameter| parameter.sql_type.as_deref());
        config.insert(name.to_owned(), stockscan_state::json(&value_of(value, sql_type)));
    }
    let mut request = Map::new();
    let mut set = |name: &str, value: Option<Value>| {
        if let Some(value) = value {
            request.insert(name.to_owned(), value);
        }
    };
    set("scanner_type", Some(scanner.into()));
    match &run.end_date {
        Some(end) => {
            set("start_date", run.date.clone().map(Value::from));
            set("end_date", Some(end.clone().into()));
        }
        None => set("scan_date", run.date.clone().map(Value::from)),
    }
    set("cutoff_time", scan.cutoff.clone().map(Value::from));
    let symbols =
        scan.symbols.as_deref().map(|symbols| symbols.split(',').map(str::trim).filter(|name| !name.is_empty()).collect::<Vec<_>>());
    set("symbols", symbols.map(Value::from));
    set("config", Some(config).filter(|config| !config.is_empty()).map(Value::Object));
    Ok(Value::Object(request))
}

/// Writes the rows of an answer.
fn write(engine: &Engine, answer: &Value, output: &Output) -> Result<u64> {
    let rows = answer.get("results").filter(|rows| rows.is_array());
    let rows =
        rows.ok_or_else(|| Error::Database("the answer has no 'results'; expected a Stockscan server behind that URL".to_owned()))?;
    let rows_text = rows.to_string();
    let mut results = Results::default();
    if rows.as_array().is_some_and(Vec::is_empty) {
        output::write_scan(engine, &Query::plain("SELECT 1 AS nothing LIMIT 0"), None, (output, None), &[], &mut results)?;
        return Ok(0);
    }
    let structure = engine.text(Query::with_values("SELECT CAST(json_structure(CAST(? AS JSON)) AS VARCHAR)", vec![text(&rows_text)]))?;
    let structure = structure.unwrap_or_default().replace("\"UBIGINT\"", "\"BIGINT\"").replace("\"NULL\"", "\"VARCHAR\"");
    let query = Query::with_values(
        format!("SELECT unnest(from_json(CAST(? AS JSON), {}), max_depth := 2)", quoted_text(&structure)),
        vec![text(&rows_text)],
    );
    output::write_scan(engine, &query, None, (output, None), &[], &mut results)?;
    Ok(results.rows())
}

/// A Stockscan server.
struct Server {
    url: String,
    agent: Agent,
    /// `STOCKSCAN_API_KEY`.
    key: Option<String>,
    attempts: u64,
}

impl Server {
    fn new(global: &Global, run: &Run) -> Result<Server> {
        let api = &global.configuration.api;
        let url = run.url.clone().unwrap_or_else(|| format!("http://{}:{}", api.host.0, api.port.0));
        let url = url.trim_end_matches('/').to_owned();
        if !url.starts_with("http://") && !url.starts_with("https://") {
            return Err(Error::Invalid(format!("--url {url}: expected http:// or https:// and a host, such as http://localhost:8000")));
        }
        let scanner = run.scan.scanner_type.strip_prefix("scan_").unwrap_or(&run.scan.scanner_type);
        let timeout = run.scan.timeout.unwrap_or(api.timeout.0);
        let agent = Agent::config_builder()
            .timeout_global(Some(Duration::from_secs(timeout)))
            .http_status_as_error(false)
            .user_agent(format!("stockscan/{}", env!("CARGO_PKG_VERSION")))
            .build();
        let attempts = global.configuration.run_settings(scanner).retry_attempts;
        Ok(Server { url, agent: agent.into(), key: std::env::var(API_KEY).ok().filter(|key| !key.is_empty()), attempts })
    }

    /// Asks; again if the server says that it is busy.
    fn post(&self, path: &str, body: &Value) -> Result<Value> {
        let mut wait = Duration::from_millis(250);
        for attempt in 0.. {
            let mut request = self.agent.post(format!("{}{path}", self.url)).header("accept", "application/json");
            if let Some(key) = &self.key {
                request = request.header("authorization", format!("Bearer {key}"));
            }
            let mut response = request.send_json(body).map_err(|error| self.unreachable(&error))?;
            if matches!(response.status().as_u16(), 429 | 503) && attempt < self.attempts {
                thread::sleep(retry_after(&response).unwrap_or(wait).min(Duration::from_secs(60)));
                wait *= 2;
                continue;
            }
            let status = response.status();
            let bytes = response.body_mut().with_config().limit(LARGEST_ANSWER).read_to_vec().map_err(|error| self.unreachable(&error))?;
            let answer: Option<Value> = serde_json::from_slice(&bytes).ok();
            if status.is_success() {
                return answer
                    .ok_or_else(|| Error::Database(format!("{} did not answer with JSON; is that a Stockscan server?", self.url)));
            }
            return Err(self.refused(status.as_u16(), answer.as_ref()));
        }
        Err(Error::Interrupted)
    }

    fn unreachable(&self, error: &ureq::Error) -> Error {
        match error {
            ureq::Error::Timeout(_) => Error::Database(format!("{} did not answer in time: {error}; allow more with --timeout", self.url)),
            _ => Error::Database(format!(
                "no server answers at {}: {error}; start one there with 'scanner serve', name another with --url, or leave out --api-mode",
                self.url
            )),
        }
    }

    /// What the server's problem details say.
    fn refused(&self, status: u16, answer: Option<&Value>) -> Error {
        let said = ["detail", "error", "title"].iter().find_map(|key| answer?.get(key)?.as_str()).unwrap_or("no reason is given");
        match status {
            400 | 404 | 422 => Error::Invalid(said.to_owned()),
            401 | 403 => Error::Invalid(format!("{}: {said} ({status}); give a key in the variable STOCKSCAN_API_KEY", self.url)),
            _ => Error::Database(format!("{}: {said} ({status})", self.url)),
        }
    }
}

fn retry_after<T>(response: &Response<T>) -> Option<Duration> {
    response.headers().get("retry-after")?.to_str().ok()?.trim().parse().ok().map(Duration::from_secs)
}
