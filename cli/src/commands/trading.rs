//! What backtests and grids share: which hits are traded, and how, as arguments of the functions that do it, and in words.

use std::time::Duration;

use stockscan_engine::{Argument, Call, Engine, Error, Query, Result, Signature, Value, is_built_in};

use super::{
    counted, market, no_usable_bars, say,
    scanning::{configured, name_and_value},
    symbol_list, text,
};
use crate::{
    arguments::{Global, Trading},
    progress,
    table::grouped,
};

/// Parameters of the functions that have an option of their own here.
const OPTIONS: [(&str, &str); 20] = [
    ("scanner", "--scanner-type"),
    ("scan_date", "--start-date"),
    ("start_date", "--start-date"),
    ("end_date", "--end-date"),
    ("cutoff_time", "--cutoff"),
    ("exit_time", "--exit-time"),
    ("hold_sessions", "--hold-sessions"),
    ("stop_loss_pct", "--stop-loss"),
    ("target_pct", "--target"),
    ("direction", "--direction"),
    ("cost_bps", "--cost-bps"),
    ("slippage_bps", "--slippage-bps"),
    ("initial_capital", "--initial-capital"),
    ("max_positions", "--max-positions"),
    ("position_size", "--position-size"),
    ("source", "--source"),
    ("bar_minutes", "--bar-minutes"),
    ("session_start", "--market"),
    ("session_end", "--market"),
    ("symbols", "--symbols"),
];

/// What a scan over a range of sessions is always called with.
const NEEDED: [&str; 4] = ["scan_date", "cutoff_time", "end_date", "source"];
/// What it is called with if it is given.
const HANDED_ON: [&str; 4] = ["bar_minutes", "session_start", "session_end", "symbols"];

/// Hits of a scanner in a range of sessions, and how they are traded.
pub(crate) struct Test {
    /// Name without `scan_`.
    pub(crate) scanner: String,
    /// Name in SQL.
    pub(crate) function: String,
    pub(crate) start: String,
    pub(crate) end: String,
    /// What is given, by the names that functions have for it.
    arguments: Vec<(String, Argument)>,
    /// Which of these the user has typed.
    typed: Vec<&'static str>,
    /// The scanner's own parameters, those that are configured first.
    own: Vec<(String, Value)>,
    /// How many of them are configured.
    configured: usize,
    /// What is not given.
    defaults: Signature,
    /// The command, which messages name.
    command: &'static str,
    /// What is to be said before the work.
    remarks: Vec<String>,
}

impl Test {
    /// Checks what is given.
    pub(crate) fn new(engine: &Engine, global: &Global, trading: &Trading, command: &'static str) -> Result<Test> {
        // The first looks at the bars take their time, too.
        progress::stop_on_interrupt(engine);
        let function = engine.scanner_function(&trading.scanner_type)?;
        let scanner = function.strip_prefix("scan_").unwrap_or(&function).to_owned();
        let signature = engine.signature(&function)?;
        let typed_own = settings(engine, &function, &signature, &trading.settings)?;
        let own = with_configured(engine, global, &signature, &scanner, &typed_own)?;

        let mut arguments: Vec<(String, Argument)> = Vec::new();
        let mut set = |name: &str, value: Argument| arguments.push((name.to_owned(), value));
        let is_daily = global.bar_minutes == 1440;
        if global.bar_minutes != 1 {
            set("bar_minutes", Argument::Value(Value::BigInt(i64::from(global.bar_minutes))));
        }
        if let Some(code) = &trading.market {
            let hours = market(engine, code)?;
            set("session_start", Argument::Value(text(&hours.session_start)));
            set("session_end", Argument::Value(text(&hours.session_end)));
        }
        if let Some(symbols) = &trading.symbols {
            set("symbols", Argument::Value(symbol_list(symbols)?));
        }
        let at_end = is_daily.then_some("24:00");
        // A scanner of the user's may look at another time than the functions assume.
        let usual = signature.parameters.iter().find(|(name, _)| name == "cutoff_time").and_then(|(_, default)| default.as_deref());
        let usual = usual.map(|default| default.trim_matches('\'')).filter(|default| *default != "09:50" && default.contains(':'));
        for (name, given) in
            [("cutoff_time", trading.cutoff.as_deref().or(at_end).or(usual)), ("exit_time", trading.exit_time.as_deref().or(at_end))]
        {
            if let Some(time) = given {
                set(name, Argument::Value(text(time)));
            }
        }
        for (name, given) in [
            ("hold_sessions", &trading.hold_sessions),
            ("stop_loss_pct", &trading.stop_loss),
            ("target_pct", &trading.target),
            ("direction", &trading.direction),
            ("cost_bps", &trading.cost_bps),
            ("slippage_bps", &trading.slippage_bps),
            ("initial_capital", &trading.initial_capital),
            ("max_positions", &trading.max_positions),
            ("position_size", &trading.position_size),
        ] {
            if let Some(given) = given {
                set(name, Argument::Text(given.clone()));
            }
        }
        if trading.no_compounding {
            set("compounding", Argument::Value(Value::Boolean(false)));
        }
        check_parameters(&signature, &arguments, &own)?;
        let typed = [("cutoff_time", trading.cutoff.is_some()), ("exit_time", trading.exit_time.is_some())];
        let typed = typed.iter().filter(|(_, is_typed)| *is_typed).map(|(name, _)| *name);
        let others = ["hold_sessions", "stop_loss_pct", "target_pct"];
        let others = others.into_iter().filter(|name| arguments.iter().any(|(given, _)| given == name));
        let typed = typed.chain(others).collect();

        let bars: Vec<_> = arguments.iter().filter(|(name, _)| HANDED_ON.contains(&name.as_str())).cloned().collect();
        let (start, end) = sessions(engine, trading, command, &bars)?;
        let mut remarks = Vec::new();
        match (&trading.start_date, &trading.end_date) {
            (None, None) => remarks.push(format!("no dates given: all sessions in the data, {start} to {end}")),
            (None, Some(_)) => remarks.push(format!("no --start-date given: from the first session in the data, {start}")),
            (Some(_), None) => remarks.push(format!("no --end-date given: to the latest session in the data, {end}")),
            (Some(_), Some(_)) => {}
        }
        for finding in engine.unchecked_reading(&function)? {
            remarks.push(format!("{} may look ahead: {}; 'scanner check' says more", finding.function, finding.problem));
        }
        if engine.hides_built_in(&function)? {
            remarks.push(format!(
                "{function} of {} has the name of the scanner that is built in, which is the one that is tested; give yours another name",
                engine.name()
            ));
        }
        let defaults = engine.signature("backtest_summary")?;
        let configured = own.len() - typed_own.len();
        Ok(Test { command, scanner, function, start, end, arguments, typed, own, configured, defaults, remarks })
    }

    /// Says what the user should know before the work.
    pub(crate) fn announce(&self, global: &Global) {
        if !global.quiet {
            self.remarks.iter().for_each(|remark| say(remark));
        }
    }

    /// A call of a function with what is given, as far as the function takes it, and more.
    pub(crate) fn call(&self, engine: &Engine, function: &str, more: &[(&str, Argument)]) -> Result<Call> {
        let takes: Vec<String> = engine.signature(function)?.parameters.into_iter().map(|(name, _)| name).collect();
        let mut arguments = self.arguments.clone();
        for (name, value) in [("scanner", text(&self.scanner)), ("start_date", text(&self.start)), ("end_date", text(&self.end))] {
            arguments.push((name.to_owned(), Argument::Value(value)));
        }
        if !self.own.is_empty() {
            arguments.push(("params".to_owned(), Argument::Value(Value::Struct(self.own.clone().into()))));
        }
        arguments.push(("called_by".to_owned(), Argument::Value(text(self.command))));
        arguments.extend(more.iter().map(|(name, value)| ((*name).to_owned(), value.clone())));
        arguments.retain(|(name, _)| takes.contains(name));
        engine.call(function, &arguments)
    }

    /// The statement of a call, to paste.
    pub(crate) fn sql(mut call: Call) -> String {
        call.arguments.retain(|(name, _)| name != "called_by");
        call.sql()
    }

    /// Leaves out what is configured of a parameter that a grid varies.
    pub(crate) fn vary(&mut self, parameter: &str) {
        let place = self.own[..self.configured].iter().position(|(name, _)| name == parameter);
        if let Some(place) = place {
            self.own.remove(place);
            self.configured -= 1;
        }
    }

    /// The option by which a value is given already that a grid is to vary.
    pub(crate) fn typed(&self, parameter: &str) -> Option<String> {
        if self.own[self.configured..].iter().any(|(name, _)| name == parameter) {
            return Some(format!("--set {parameter}"));
        }
        self.typed.iter().find(|name| **name == parameter).and_then(|name| option(name)).map(str::to_owned)
    }

    /// A value as a person would write it: the one given, or the default.
    fn said(&self, name: &str) -> Option<String> {
        let plain = |text: &str| Some(text).filter(|text| !text.eq_ignore_ascii_case("null")).map(str::to_owned);
        match self.arguments.iter().rev().find(|(given, _)| given == name).map(|(_, argument)| argument) {
            Some(Argument::Text(text) | Argument::Value(Value::Text(text))) => plain(text.trim()),
            Some(Argument::Value(Value::Boolean(value))) => Some(value.to_string()),
            Some(Argument::Value(Value::BigInt(value))) => Some(value.to_string()),
            Some(Argument::Value(Value::List(items))) => {
                let texts = items.iter().filter_map(|item| if let Value::Text(text) = item { Some(text.as_str()) } else { None });
                Some(texts.collect::<Vec<_>>().join(", "))
            }
            Some(Argument::Value(_)) => None,
            None => {
                let default = self.defaults.parameters.iter().find(|(parameter, _)| parameter == name)?.1.as_deref()?;
                plain(default.trim_matches('\''))
            }
        }
    }

    /// What is tested, and how, in lines. `varied` are parameters of a grid.
    pub(crate) fn lines(&self, varied: &[&str]) -> Vec<String> {
        let said = |name: &str| self.said(name).filter(|_| !varied.contains(&name));
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

        let mut narrowed: Vec<String> = self.own.iter().map(|(name, value)| format!("{name} = {}", said_value(value))).collect();
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
    pub(crate) fn is_free(&self) -> bool {
        ["cost_bps", "slippage_bps"].iter().all(|name| self.said(name).and_then(|text| text.parse::<f64>().ok()) == Some(0.0))
    }
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

/// The option that sets a parameter of the functions.
pub(crate) fn option(parameter: &str) -> Option<&'static str> {
    OPTIONS.iter().find(|(name, _)| *name == parameter).map(|(_, option)| *option)
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

/// The scanner's own parameters, as `--set` gives them.
fn settings(engine: &Engine, function: &str, signature: &Signature, given: &[String]) -> Result<Vec<(String, Value)>> {
    let mut settings = Vec::new();
    for setting in given {
        let (name, value) = name_and_value(setting)?;
        let of_scanner = signature.parameters.iter().any(|(parameter, _)| parameter == name);
        let is_common = NEEDED.contains(&name) || HANDED_ON.contains(&name);
        if let Some(option) = option(name).filter(|_| is_common || !of_scanner) {
            return Err(Error::Invalid(format!("--set {setting}: expected a parameter of {function}; {name} is given as {option}")));
        }
        settings.push((name.to_owned(), value.to_owned()));
    }
    engine.values(function, &settings)
}

/// The same over what is configured of the scanner's own parameters.
fn with_configured(
    engine: &Engine,
    global: &Global,
    signature: &Signature,
    scanner: &str,
    typed: &[(String, Value)],
) -> Result<Vec<(String, Value)>> {
    let is_own = |name: &str| {
        signature.parameters.iter().any(|(parameter, _)| parameter == name)
            && option(name).is_none()
            && !typed.iter().any(|(other, _)| other == name)
    };
    let configured = configured(engine, global, scanner, is_own)?;
    let values = configured.into_iter().filter_map(|(name, argument)| match argument {
        Argument::Value(value) => Some((name, value)),
        Argument::Text(_) => None,
    });
    Ok(values.chain(typed.iter().cloned()).collect())
}

/// Refuses a scanner of the user's that cannot be handed what a scan over a range of sessions needs.
fn check_parameters(signature: &Signature, arguments: &[(String, Argument)], own: &[(String, Value)]) -> Result<()> {
    let function = &signature.function;
    if is_built_in(function) {
        return Ok(());
    }
    let has = |wanted: &str| signature.parameters.iter().any(|(name, _)| name == wanted);
    let handed_on = HANDED_ON.iter().filter(|name| arguments.iter().any(|(given, _)| given == *name));
    let missing: Vec<&str> = NEEDED.iter().chain(handed_on).filter(|name| !has(name)).copied().collect();
    if !missing.is_empty() {
        return Err(Error::Invalid(format!(
            "{function} has no parameter {}, which a range of sessions is scanned with; 'scanner new NAME' writes a scanner that has all it takes",
            missing.join(", ")
        )));
    }
    let is_open = |(name, default): &&(String, Option<String>)| {
        default.is_none() && name != "scan_date" && !own.iter().any(|(given, _)| given == name)
    };
    match signature.parameters.iter().find(is_open) {
        Some((name, _)) => Err(Error::Invalid(format!("{function} needs a value for '{name}'; give it with --set {name}=VALUE"))),
        None => Ok(()),
    }
}

/// The first and the last day, between which there are sessions.
fn sessions(engine: &Engine, trading: &Trading, command: &str, bars: &[(String, Argument)]) -> Result<(String, String)> {
    let narrowed: Vec<&str> = [("symbols", "of those symbols"), ("session_start", "in those hours")]
        .iter()
        .filter(|(name, _)| bars.iter().any(|(given, _)| given == name))
        .map(|(_, words)| *words)
        .collect();
    let none = || match narrowed.is_empty() {
        true => Error::Invalid(no_usable_bars(engine)),
        false => Error::Invalid(format!("there is no bar {} in {}", narrowed.join(" "), engine.name())),
    };
    let first = match &trading.start_date {
        Some(date) => date.clone(),
        None => engine.first_session(bars)?.ok_or_else(none)?,
    };
    let last = match &trading.end_date {
        Some(date) => date.clone(),
        None => engine.latest_session(bars)?.ok_or_else(none)?,
    };
    if trading.start_date.is_none() && trading.end_date.is_none() {
        return Ok((first, last));
    }
    // The guards of the functions, before anything is asked of the bars.
    let dates = Query::with_values(
        "SELECT session_date(?, ?, 'start_date'), session_date(?, ?, 'end_date'), in_order(?, ?, ?, 'start_date', 'end_date')",
        [&first, command, &last, command, &first, &last, command].map(text).to_vec(),
    );
    engine.collect(&dates, None)?;
    let days = [("first_date", &first), ("last_date", &last)].map(|(name, day)| (name.to_owned(), Argument::Value(text(day))));
    let found = engine.call("session_bars", &[&days, bars].concat())?.query();
    let any = Query { sql: format!("SELECT 1 FROM ({}) AS bar LIMIT 1", found.sql), ..found };
    if engine.collect(&any, None)?.1.iter().any(|batch| batch.num_rows() > 0) {
        return Ok((first, last));
    }
    Err(match engine.session_range(bars)? {
        Some(range) => Error::Invalid(format!(
            "there is no session from {first} to {last}: the data has {} from {} to {}",
            counted(range.count, "session"),
            range.first,
            range.last
        )),
        None => none(),
    })
}
