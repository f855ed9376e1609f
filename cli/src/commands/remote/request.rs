//! What the options ask for, as a server takes it: the one place where options become members of its JSON.

use serde_json::{Map, Value};
use stockscan_engine::{Engine, Error, Result, value_of};

use crate::{
    arguments::{Global, Run, Scan},
    commands::{market, scanning::name_and_value, symbol_list},
};

/// Which hits are meant, by whatever command.
pub(super) struct Hits<'a> {
    scanner_type: &'a str,
    cutoff: Option<&'a str>,
    settings: &'a [String],
    symbols: Option<&'a str>,
    market: Option<&'a str>,
}

impl<'a> From<&'a Scan> for Hits<'a> {
    fn from(scan: &'a Scan) -> Hits<'a> {
        Hits {
            scanner_type: &scan.scanner_type,
            cutoff: scan.cutoff.as_deref(),
            settings: &scan.settings,
            symbols: scan.symbols.as_deref(),
            market: scan.market.as_deref(),
        }
    }
}

/// A document of what is asked for.
#[derive(Debug, Default)]
pub(super) struct Document(Map<String, Value>);

impl Document {
    fn set(&mut self, name: &str, value: Option<impl Into<Value>>) {
        if let Some(value) = value {
            self.0.insert(name.to_owned(), value.into());
        }
    }

    /// A text of the options that is a number where a number is meant.
    fn set_number(&mut self, name: &str, given: Option<&String>) {
        self.set(name, given.map(|given| number(given)));
    }

    pub(super) fn into_value(self) -> Value {
        Value::Object(self.0)
    }
}

/// `1.5` as a number; what is none goes as it is, for the server to say what was expected.
fn number(given: &str) -> Value {
    let given = given.trim();
    let number = serde_json::from_str::<Value>(given).ok().filter(|value| value.is_number() || given.eq_ignore_ascii_case("null"));
    number.unwrap_or_else(|| given.into())
}

/// The name of a scanner without `scan_`.
pub(super) fn scanner(name: &str) -> &str {
    name.strip_prefix("scan_").unwrap_or(name)
}

/// What requests of all kinds have: the scanner, the cutoff, the symbols, the values of its parameters, those that are configured here under those
/// that are given. `hours`: the members for an exchange's hours are fields of the request, rather than parameters.
fn document(engine: &Engine, global: &Global, hits: &Hits<'_>, has_fields: bool) -> Result<Document> {
    let scanner = scanner(hits.scanner_type);
    let documented = engine.scanner_parameters(scanner)?;
    // A scanner that only the server has takes what it takes; the server checks it in any case.
    let takes = |name: &str| documented.iter().any(|parameter| parameter.name == name);
    let configured = global
        .configuration
        .scanner_settings(engine, scanner)?
        .into_iter()
        .filter(|(name, _)| !stockscan_configuration::RUN_KEYS.contains(&name.as_str()) && takes(name));
    let mut config: Map<String, Value> = configured.map(|(name, setting)| (name, setting.value)).collect();
    let mut document = Document::default();
    document.set("scanner_type", Some(scanner));
    document.set("cutoff_time", hits.cutoff);
    if global.bar_minutes != 1 {
        if has_fields {
            return Err(Error::Invalid(
                "--bar-minutes: the server knows how long its bars are; leave it out, or start the server with it".to_owned(),
            ));
        }
        config.insert("bar_minutes".to_owned(), global.bar_minutes.into());
    }
    if let Some(code) = hits.market {
        let hours = market(engine, code)?;
        for (name, time) in [("session_start", hours.session_start), ("session_end", hours.session_end)] {
            if has_fields {
                document.set(name, Some(time));
            } else {
                config.insert(name.to_owned(), time.into());
            }
        }
    }
    if let Some(symbols) = hits.symbols {
        document.set("symbols", Some(stockscan_state::json(&symbol_list(symbols)?)));
    }
    for setting in hits.settings {
        let (name, value) = name_and_value(setting)?;
        let sql_type = documented.iter().find(|parameter| parameter.name == name).and_then(|parameter| parameter.sql_type.as_deref());
        config.insert(name.to_owned(), stockscan_state::json(&value_of(value, sql_type)));
    }
    document.set("config", Some(config).filter(|config| !config.is_empty()));
    Ok(document)
}

/// `scanner run` as `POST /scan` takes it.
pub(super) fn scan(engine: &Engine, global: &Global, run: &Run) -> Result<Document> {
    let mut document = document(engine, global, &Hits::from(&run.scan), false)?;
    match &run.end_date {
        Some(end) => {
            document.set("start_date", run.date.clone());
            document.set("end_date", Some(end.clone()));
        }
        None => document.set("scan_date", run.date.clone()),
    }
    Ok(document)
}
