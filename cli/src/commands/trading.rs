//! What backtests and grids share: what is traded, as the options say it, and in words.

use std::time::Duration;

use stockscan_backtests::{Given, Test, Trading};
use stockscan_engine::{Argument, Engine, Result, Value};

use super::{market, say, scanning::name_and_value, symbol_list, text};
use crate::{
    arguments::{self, Global},
    progress,
    table::grouped,
};

/// Checks what is given.
pub(crate) fn test(engine: &Engine, global: &Global, given: &arguments::Trading, command: &'static str) -> Result<Test> {
    // The first looks at the bars take their time, too.
    progress::stop_on_interrupt(engine);
    Test::new(engine, &global.configuration, trading(engine, global, given)?, command)
}

/// What is given, by the names that functions have for it.
pub(crate) fn trading(engine: &Engine, global: &Global, given: &arguments::Trading) -> Result<Trading> {
    let mut arguments: Vec<(String, Argument)> = Vec::new();
    let mut set = |name: &str, value: Argument| arguments.push((name.to_owned(), value));
    if let Some(code) = &given.market {
        let hours = market(engine, code)?;
        set("session_start", Argument::Value(text(&hours.session_start)));
        set("session_end", Argument::Value(text(&hours.session_end)));
    }
    if let Some(symbols) = &given.symbols {
        set("symbols", Argument::Value(symbol_list(symbols)?));
    }
    for (name, time) in [("cutoff_time", &given.cutoff), ("exit_time", &given.exit_time)] {
        if let Some(time) = time {
            set(name, Argument::Value(text(time)));
        }
    }
    for (name, value) in [
        ("hold_sessions", &given.hold_sessions),
        ("stop_loss_pct", &given.stop_loss),
        ("target_pct", &given.target),
        ("direction", &given.direction),
        ("cost_bps", &given.cost_bps),
        ("slippage_bps", &given.slippage_bps),
        ("initial_capital", &given.initial_capital),
        ("max_positions", &given.max_positions),
        ("position_size", &given.position_size),
    ] {
        if let Some(value) = value {
            set(name, Argument::Text(value.clone()));
        }
    }
    if given.no_compounding {
        set("compounding", Argument::Value(Value::Boolean(false)));
    }
    let own = given.settings.iter().map(|setting| {
        let (name, value) = name_and_value(setting)?;
        Ok((name.to_owned(), Argument::Text(value.to_owned())))
    });
    Ok(Trading {
        scanner: given.scanner_type.clone(),
        start_date: given.start_date.clone(),
        end_date: given.end_date.clone(),
        bar_minutes: global.bar_minutes,
        own: own.collect::<Result<_>>()?,
        arguments,
        given: Given::Options,
    })
}

/// Says what the user should know before the work.
pub(crate) fn announce(global: &Global, test: &Test) {
    if !global.quiet {
        test.remarks.iter().for_each(|remark| say(remark));
    }
}

/// What is tested, and how, in lines. `varied` are parameters of a grid.
pub(crate) fn lines(test: &Test, varied: &[&str]) -> Vec<String> {
    let said = |name: &str| test.said(name).filter(|_| !varied.contains(&name));
    let number = |name: &str| said(name).map(|text| grouped(text.trim_end_matches(".0")));
    let mut lines = Vec::new();

    let mut trades = vec![
        match said("cutoff_time") {
            Some(time) => format!("seen at {time}"),
            None => "seen at the grid's times".to_owned(),
        },
        format!("entered {} at the next bar's open", said("direction").unwrap_or_default()),
    ];
    let mut closed = said("exit_time").map_or("closed at the grid's times".to_owned(), |time| format!("closed by {time}"));
    match number("hold_sessions").as_deref() {
        Some("0") => {}
        Some("1") => closed.push_str(" of the next session"),
        Some(count) => closed.push_str(&format!(" of the {count}. session after")),
        None => closed.push_str(", sessions after as in the grid"),
    }
    trades.push(closed);
    for (name, what) in [("stop_loss_pct", "at a loss"), ("target_pct", "at a gain")] {
        if varied.contains(&name) {
            trades.push(format!("{what} as in the grid"));
        } else if let Some(level) = number(name) {
            trades.push(format!("{what} of {level} %"));
        }
    }
    lines.push(trades.join(", "));

    let amount = number("position_size").map_or("of equal weight".to_owned(), |amount| format!("of {amount}"));
    let compounding = if said("compounding").as_deref() == Some("false") { "not compounded" } else { "compounded" };
    lines.push(format!(
        "costs {} bps and slippage {} bps a side; {} in at most {} positions {amount}, profits {compounding}",
        number("cost_bps").unwrap_or_default(),
        number("slippage_bps").unwrap_or_default(),
        number("initial_capital").unwrap_or_default(),
        number("max_positions").unwrap_or_default(),
    ));

    let mut narrowed: Vec<String> = test.own().iter().map(|(name, value)| format!("{name} = {}", said_value(value))).collect();
    if let Some(symbols) = said("symbols") {
        narrowed.push(format!("only {symbols}"));
    }
    if let (Some(start), Some(end)) = (said("session_start"), said("session_end")) {
        narrowed.push(format!("hours {start} to {end}"));
    }
    if !narrowed.is_empty() {
        lines.push(narrowed.join(", "));
    }
    lines
}

/// Whether trading costs nothing, which it never does.
pub(crate) fn is_free(test: &Test) -> bool {
    ["cost_bps", "slippage_bps"].iter().all(|name| test.said(name).and_then(|text| text.parse::<f64>().ok()) == Some(0.0))
}

/// What a person should know before believing numbers.
pub(crate) fn note(global: &Global, text: &str) {
    if !global.quiet {
        say(&format!("{} {text}", console::style("note:").yellow().for_stderr()));
    }
}

pub(crate) fn seconds(timeout: Option<u64>) -> Option<Duration> {
    timeout.map(Duration::from_secs)
}

/// A value as a person would write it.
pub(crate) fn said_value(value: &Value) -> String {
    match value {
        Value::Null => "NULL".to_owned(),
        Value::Boolean(value) => value.to_string(),
        Value::BigInt(value) => value.to_string(),
        Value::Double(value) => value.to_string(),
        Value::Text(text) => text.clone(),
        Value::List(items) => items.iter().map(said_value).collect::<Vec<_>>().join(", "),
        other => format!("{other:?}"),
    }
}
