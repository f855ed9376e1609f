//! `scanner doctor --api-mode`: what a server says of itself.

use std::{
    io::{self, Write},
    time::Duration,
};

use serde_json::Value;
use stockscan_engine::{Error, Result};

use super::client::Server;
use crate::{
    arguments::{API_KEY, Global},
    commands::{counted, live::span},
    table::labelled,
};

/// How long each answer may take.
const PATIENCE: u64 = 10;

pub(super) fn doctor(global: &Global) -> Result<()> {
    let width = console::Term::stdout().size_checked().filter(|_| console::Term::stdout().is_term()).map(|(_, width)| width);
    let line = |what: &str, text: &str| io::stdout().write_all(labelled(what, 13, text, width).as_bytes());
    let server = Server::new(global, Some(PATIENCE))?;
    line("scanner", env!("CARGO_PKG_VERSION"))?;
    line("server", &server.url)?;
    let health = server.once().get("/health")?;
    let text = |document: &Value, name: &str| document.get(name).and_then(Value::as_str).map(str::to_owned);
    let number = |document: &Value, name: &str| document.get(name).and_then(Value::as_u64);
    let (Some(version), Some(status)) = (text(&health, "version"), text(&health, "status")) else {
        return Err(Error::Database(format!("{} answers, but not as a Stockscan server does", server.url)));
    };
    line("version", &version)?;
    let running = [("running", "at work"), ("waiting", "waiting")];
    let running: Vec<String> =
        running.iter().map(|(name, word)| format!("{} {word}", counted(number(&health, name).unwrap_or_default(), "request"))).collect();
    let uptime = health.get("uptime_seconds").and_then(Value::as_f64).filter(|seconds| (0.0..1e12).contains(seconds)).unwrap_or_default();
    let process = number(&health, "process_id").map_or(String::new(), |process| format!("process {process}, "));
    line("state", &format!("{status}: {process}up for {}, {}", span(Duration::from_secs_f64(uptime)), running.join(", ")))?;
    let mut failures = Vec::new();
    match server.once().get("/ready") {
        Ok(ready) if ready.get("has_bars") == Some(&Value::Bool(true)) => line("database", "can be read, and has bars")?,
        Ok(_) => {
            failures.push(Error::Database("the server's database has no bars yet; 'scanner ingest --api-mode FILES' sends some".to_owned()))
        }
        Err(error) => failures.push(error),
    }
    let key = if std::env::var_os(API_KEY).is_some() { "is set" } else { "is not set" };
    match server.once().get("/scanner-types") {
        Ok(Value::Array(names)) => {
            line("key", &format!("{API_KEY} {key}, and the server answers"))?;
            line("scanners", &names.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(", "))?;
        }
        Ok(_) => failures.push(server.broken_off("a list of scanners was expected")),
        // It has been said already that the database cannot be read.
        Err(_) if !failures.is_empty() => {}
        Err(error) => failures.push(error),
    }
    if status != "ok" {
        failures.push(Error::Database("work on the server goes on long after it should have ended; start it again".to_owned()));
    }
    if version != env!("CARGO_PKG_VERSION") {
        line("", &format!("the command is {}: what one of them has that the other has not cannot be asked", env!("CARGO_PKG_VERSION")))?;
    }
    match failures.pop() {
        Some(last) => {
            failures.iter().for_each(crate::commands::say_error);
            Err(last)
        }
        None => Ok(writeln!(io::stdout(), "nothing needs doing")?),
    }
}
