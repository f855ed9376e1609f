//! What the options ask for, as a server takes it: the one place where options become members of its JSON.

use serde_json::{Map, Value};
use stockscan_backtests::Candidates;
use stockscan_engine::{Engine, Error, Result, value_of};

use crate::{
    arguments::{Backtest, Global, Optimize, Run, Scan, Trading},
    commands::{market, scanning::name_and_value, symbol_list},
};

/// A server gives no more combinations.
const MOST_COMBINATIONS: u32 = 100_000;

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

/// What `scanner backtest` and `scanner optimize` have in common.
fn trading(engine: &Engine, global: &Global, trading: &Trading) -> Result<Document> {
    let hits = Hits {
        scanner_type: &trading.scanner_type,
        cutoff: trading.cutoff.as_deref(),
        settings: &trading.settings,
        symbols: trading.symbols.as_deref(),
        market: trading.market.as_deref(),
    };
    let mut document = document(engine, global, &hits, true)?;
    document.set("start_date", trading.start_date.clone());
    document.set("end_date", trading.end_date.clone());
    document.set("exit_time", trading.exit_time.clone());
    document.set("direction", trading.direction.clone());
    for (name, given) in [
        ("hold_sessions", &trading.hold_sessions),
        ("stop_loss_pct", &trading.stop_loss),
        ("target_pct", &trading.target),
        ("cost_bps", &trading.cost_bps),
        ("slippage_bps", &trading.slippage_bps),
        ("initial_capital", &trading.initial_capital),
        ("max_positions", &trading.max_positions),
        ("position_size", &trading.position_size),
    ] {
        document.set_number(name, given.as_ref());
    }
    document.set("compounding", trading.no_compounding.then_some(false));
    Ok(document)
}

/// `scanner backtest` as `POST /backtest` takes it.
pub(super) fn backtest(engine: &Engine, global: &Global, backtest: &Backtest) -> Result<Document> {
    let mut document = trading(engine, global, &backtest.trading)?;
    document.set("by", backtest.by.clone());
    Ok(document)
}

/// `scanner optimize` as `POST /optimize` takes it.
pub(super) fn optimize(engine: &Engine, global: &Global, optimize: &Optimize, grid: &[Candidates]) -> Result<Document> {
    let mut document = trading(engine, global, &optimize.trading)?;
    // What a parameter is fixed to by the configuration gives way to the values to try.
    if let Some(Value::Object(config)) = document.0.get_mut("config") {
        let is_typed = |name: &str| optimize.trading.settings.iter().any(|setting| setting.split('=').next().map(str::trim) == Some(name));
        config.retain(|name, _| is_typed(name) || !grid.iter().any(|candidates| candidates.name == *name));
    }
    let values = |candidates: &Candidates| candidates.texts.iter().map(|text| candidate(text)).collect::<Vec<Value>>();
    let grid: Map<String, Value> = grid.iter().map(|candidates| (candidates.name.clone(), values(candidates).into())).collect();
    document.set("grid", Some(grid));
    document.set("objective", optimize.objective.clone());
    document.set_number("folds", optimize.folds.as_ref());
    document.set_number("min_trades", optimize.min_trades.as_ref());
    document.set("samples", optimize.samples);
    document.set("sampling", optimize.sampling.clone());
    document.set_number("seed", optimize.seed.as_ref());
    document.set("top", Some(optimize.top.unwrap_or(MOST_COMBINATIONS)));
    Ok(document)
}

/// A value to try: a number where it is one to the last digit.
fn candidate(text: &str) -> Value {
    let number = serde_json::from_str::<Value>(text).ok().filter(Value::is_number);
    let shown = number.as_ref().map(Value::to_string);
    match number {
        Some(number) if shown.as_deref() == Some(text) => number,
        _ if text.eq_ignore_ascii_case("null") => Value::Null,
        _ => text.into(),
    }
}

/// What a live scan is asked for by, in an address.
pub(super) fn live(engine: &Engine, global: &Global, scan: &Scan) -> Result<Vec<(String, String)>> {
    let Document(members) = document(engine, global, &Hits::from(scan), false)?;
    let text = |value: Value| match value {
        Value::String(text) => text,
        Value::Array(items) => items.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(","),
        other => other.to_string(),
    };
    let mut pairs = Vec::new();
    for (name, value) in members {
        match value {
            // It is in the path.
            _ if name == "scanner_type" => {}
            Value::Object(config) => pairs.extend(config.into_iter().map(|(name, value)| (name, text(value)))),
            other => pairs.push((name, text(other))),
        }
    }
    Ok(pairs)
}

#[cfg(test)]
mod tests {
    use clap::Parser;
    use serde_json::json;

    use super::*;
    use crate::arguments::{Arguments, Command};

    fn asked(options: &str) -> Value {
        let arguments = Arguments::try_parse_from(std::iter::once("scanner").chain(options.split(' '))).unwrap();
        let engine = Engine::open(stockscan_engine::Options::memory()).unwrap();
        let global = &arguments.global;
        let document = match &arguments.command {
            Command::Run(run) => scan(&engine, global, run),
            Command::Backtest(given) => backtest(&engine, global, given),
            Command::Optimize(given) => optimize(&engine, global, given, &crate::grid::read(&given.grid).unwrap()),
            _ => unreachable!("a command with hits"),
        };
        document.unwrap().into_value()
    }

    #[test]
    fn all_commands_say_in_the_same_words_which_hits_are_meant() {
        let hits = "-t scan_breakout --cutoff 10:30 --set min_price=100 --set min_volume=0 --symbols A,B";
        let common = json!({"scanner_type": "breakout", "cutoff_time": "10:30", "symbols": ["A", "B"], "config": {"min_price": 100.0, "min_volume": 0}});
        assert_eq!(asked(&format!("run {hits}")), common);
        assert_eq!(asked(&format!("backtest {hits}")), common);
        let mut with_grid = common;
        with_grid["grid"] = json!({"min_gap_pct": [1, "1.50", null]});
        with_grid["top"] = json!(100_000);
        assert_eq!(
            asked(&format!("optimize {hits} --grid min_gap_pct=1,1.50,NULL")),
            with_grid,
            "1.50 is not 1.5 to whoever reads it back"
        );
    }

    #[test]
    fn an_exchanges_hours_are_parameters_of_a_scan_and_fields_of_a_test() {
        assert_eq!(asked("run -t gap --market NSE")["config"], json!({"session_start": "09:15:00", "session_end": "15:30:00"}));
        let test = asked("backtest -t gap --market NSE");
        assert_eq!((&test["session_start"], &test["session_end"]), (&json!("09:15:00"), &json!("15:30:00")));
        assert_eq!(test.get("config"), None);
    }

    #[test]
    fn options_of_a_test_are_numbers_and_nothing_is_sent_that_was_not_given() {
        assert_eq!(
            asked("backtest -t gap --stop-loss 1.5 --hold-sessions 2 --direction short --no-compounding --by month"),
            json!({"scanner_type": "gap", "direction": "short", "hold_sessions": 2, "stop_loss_pct": 1.5, "compounding": false, "by": "month"})
        );
        assert_eq!(asked("backtest -t gap --target x")["target_pct"], json!("x"), "the server says what was expected");
    }
}
