//! Which hits are traded, and how, as arguments of the functions that do it.

use stockscan_configuration::Configuration;
use stockscan_engine::{Argument, Call, Engine, Error, Query, Result, Signature, Value, counted, is_built_in};
use stockscan_live::value_of_json;

use crate::grid::EXITS;

/// Parameters of the functions that are not given as a parameter of the scanner: as which option, and as which field of a request.
const PLACES: [(&str, &str, &str); 20] = [
    ("scanner", "--scanner-type", "scanner_type"),
    ("scan_date", "--start-date", "start_date"),
    ("start_date", "--start-date", "start_date"),
    ("end_date", "--end-date", "end_date"),
    ("cutoff_time", "--cutoff", "cutoff_time"),
    ("exit_time", "--exit-time", "exit_time"),
    ("hold_sessions", "--hold-sessions", "hold_sessions"),
    ("stop_loss_pct", "--stop-loss", "stop_loss_pct"),
    ("target_pct", "--target", "target_pct"),
    ("direction", "--direction", "direction"),
    ("cost_bps", "--cost-bps", "cost_bps"),
    ("slippage_bps", "--slippage-bps", "slippage_bps"),
    ("initial_capital", "--initial-capital", "initial_capital"),
    ("max_positions", "--max-positions", "max_positions"),
    ("position_size", "--position-size", "position_size"),
    ("source", "--source", "--source of the server"),
    ("bar_minutes", "--bar-minutes", "--bar-minutes of the server"),
    ("session_start", "--market", "session_start"),
    ("session_end", "--market", "session_end"),
    ("symbols", "--symbols", "symbols"),
];

/// What a scan over a range of sessions is always called with.
const NEEDED: [&str; 4] = ["scan_date", "cutoff_time", "end_date", "source"];
/// What it is called with if it is given.
const HANDED_ON: [&str; 4] = ["bar_minutes", "session_start", "session_end", "symbols"];

/// How values are given, which messages tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Given {
    /// By options of the command.
    Options,
    /// By fields of a request.
    Fields,
}

impl Given {
    /// As what a parameter of the functions is given; `None`: as a parameter of the scanner.
    #[must_use]
    pub fn place(self, parameter: &str) -> Option<&'static str> {
        let (_, option, field) = PLACES.iter().find(|(name, _, _)| *name == parameter)?;
        Some(if self == Given::Options { option } else { field })
    }

    /// As what a parameter of the scanner is given.
    #[must_use]
    pub fn own(self, parameter: &str) -> String {
        match self {
            Given::Options => format!("--set {parameter}"),
            Given::Fields => format!("config.{parameter}"),
        }
    }

    /// As what the values of a parameter to try are given.
    #[must_use]
    pub fn grid(self) -> &'static str {
        if self == Given::Options { "--grid" } else { "grid" }
    }
}

/// What is asked for.
#[derive(Debug, Clone)]
pub struct Trading {
    /// Which scanner, with or without `scan_`.
    pub scanner: String,
    /// The first session; `None`: the first in the data.
    pub start_date: Option<String>,
    /// The last session; `None`: the latest in the data.
    pub end_date: Option<String>,
    /// Length of a bar in minutes; 1440 for daily bars.
    pub bar_minutes: u32,
    /// The other values, by the names that functions have for them.
    pub arguments: Vec<(String, Argument)>,
    /// Values of the scanner's own parameters.
    pub own: Vec<(String, Argument)>,
    /// How all that was given.
    pub given: Given,
}

/// Hits of a scanner in a range of sessions, and how they are traded: checked.
#[derive(Debug, Clone)]
pub struct Test {
    /// Name without `scan_`.
    pub scanner: String,
    /// Name in SQL.
    pub function: String,
    /// The first session.
    pub start: String,
    /// The last session.
    pub end: String,
    /// What should be known before the work.
    pub remarks: Vec<String>,
    /// How values were given.
    pub given: Given,
    /// The values, by the names that functions have for them.
    arguments: Vec<(String, Argument)>,
    /// Which of these were asked for, rather than assumed.
    asked: Vec<String>,
    /// The scanner's own parameters, those that are configured first.
    own: Vec<(String, Value)>,
    /// How many of them are configured.
    configured: usize,
    /// What is not given.
    defaults: Signature,
    /// Who calls, which the functions' messages name.
    called_by: &'static str,
}

impl Test {
    /// Checks what is asked for. `called_by` is the name that the functions' messages start with: `backtest` or `optimize`.
    ///
    /// # Errors
    /// [`Error::UnknownFunction`], [`Error::UnknownParameter`], [`Error::Invalid`] for dates that are none or between which there is no
    /// session, for a scanner that cannot be tested, [`Error::MissingSource`], or what DuckDB says.
    pub fn new(engine: &Engine, configuration: &Configuration, trading: Trading, called_by: &'static str) -> Result<Test> {
        Test::checked(engine, configuration, trading, called_by, sessions)
    }

    /// The same of bars that are elsewhere: between which sessions is known, and the bars are not looked at.
    ///
    /// # Errors
    /// As [`Test::new`], but for what the bars say.
    pub fn elsewhere(
        engine: &Engine,
        configuration: &Configuration,
        trading: Trading,
        called_by: &'static str,
        (start, end): (&str, &str),
    ) -> Result<Test> {
        let trading = Trading { start_date: Some(start.to_owned()), end_date: Some(end.to_owned()), ..trading };
        let as_given = |_: &Engine, (start, end): (Option<&str>, Option<&str>), _: &str, _: &[(String, Argument)]| {
            Ok((start.unwrap_or_default().to_owned(), end.unwrap_or_default().to_owned()))
        };
        Test::checked(engine, configuration, trading, called_by, as_given)
    }

    fn checked(
        engine: &Engine,
        configuration: &Configuration,
        trading: Trading,
        called_by: &'static str,
        sessions: impl FnOnce(&Engine, (Option<&str>, Option<&str>), &str, &[(String, Argument)]) -> Result<(String, String)>,
    ) -> Result<Test> {
        let Trading { scanner, start_date, end_date, bar_minutes, mut arguments, own, given } = trading;
        let function = engine.scanner_function(&scanner)?;
        let scanner = function.strip_prefix("scan_").unwrap_or(&function).to_owned();
        let signature = engine.signature(&function)?;
        let asked_own = own_values(engine, &signature, given, &own)?;
        let own = with_configured(engine, configuration, &signature, &scanner, &asked_own)?;
        let asked = arguments.iter().map(|(name, _)| name.clone()).collect();

        if bar_minutes != 1 {
            arguments.push(("bar_minutes".to_owned(), Argument::Value(Value::BigInt(i64::from(bar_minutes)))));
        }
        let at_end = (bar_minutes == 1440).then_some("24:00");
        // A scanner of the user's may look at another time than the functions assume.
        let usual = signature.parameters.iter().find(|(name, _)| name == "cutoff_time").and_then(|(_, default)| default.as_deref());
        let usual = usual.map(|default| default.trim_matches('\'')).filter(|default| *default != "09:50" && default.contains(':'));
        for (name, time) in [("cutoff_time", at_end.or(usual)), ("exit_time", at_end)] {
            if let Some(time) = time.filter(|_| !arguments.iter().any(|(given, _)| given == name)) {
                arguments.push((name.to_owned(), Argument::Value(text(time))));
            }
        }
        check_parameters(&signature, given, &arguments, &own)?;

        let bars: Vec<_> = arguments.iter().filter(|(name, _)| HANDED_ON.contains(&name.as_str())).cloned().collect();
        let (start, end) = sessions(engine, (start_date.as_deref(), end_date.as_deref()), called_by, &bars)?;
        let mut remarks = Vec::new();
        let [start_place, end_place] = ["start_date", "end_date"].map(|name| given.place(name).unwrap_or_default());
        match (start_date, end_date) {
            (None, None) => remarks.push(format!("no dates given: all sessions in the data, {start} to {end}")),
            (None, Some(_)) => remarks.push(format!("no {start_place} given: from the first session in the data, {start}")),
            (Some(_), None) => remarks.push(format!("no {end_place} given: to the latest session in the data, {end}")),
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
        let configured = own.len() - asked_own.len();
        Ok(Test { scanner, function, start, end, remarks, given, arguments, asked, own, configured, defaults, called_by })
    }

    /// A call of a function with what is given, as far as the function takes it, and more.
    ///
    /// # Errors
    /// As [`Engine::call`].
    pub fn call(&self, engine: &Engine, function: &str, more: &[(&str, Argument)]) -> Result<Call> {
        let takes: Vec<String> = engine.signature(function)?.parameters.into_iter().map(|(name, _)| name).collect();
        let mut arguments = self.arguments.clone();
        for (name, value) in [("scanner", text(&self.scanner)), ("start_date", text(&self.start)), ("end_date", text(&self.end))] {
            arguments.push((name.to_owned(), Argument::Value(value)));
        }
        if !self.own.is_empty() {
            arguments.push(("params".to_owned(), Argument::Value(Value::Struct(self.own.clone().into()))));
        }
        arguments.push(("called_by".to_owned(), Argument::Value(text(self.called_by))));
        arguments.extend(more.iter().map(|(name, value)| ((*name).to_owned(), value.clone())));
        arguments.retain(|(name, _)| takes.contains(name));
        engine.call(function, &arguments)
    }

    /// Refuses what a call would refuse, without its work.
    ///
    /// # Errors
    /// What the functions' guards say, or what DuckDB says.
    pub fn check(engine: &Engine, call: &Call) -> Result<()> {
        engine.collect(&without_rows(call.query()), None).map(|_| ())
    }

    /// The statement of a call, to paste.
    #[must_use]
    pub fn sql(mut call: Call) -> String {
        call.arguments.retain(|(name, _)| name != "called_by");
        call.sql()
    }

    /// The scanner's own parameters with their values, those that are configured first.
    #[must_use]
    pub fn own(&self) -> &[(String, Value)] {
        &self.own
    }

    /// A value as a person would write it: the one given, or the default; `None`: there is none.
    #[must_use]
    pub fn said(&self, name: &str) -> Option<String> {
        let plain = |text: &str| Some(text).filter(|text| !text.eq_ignore_ascii_case("null")).map(str::to_owned);
        match self.arguments.iter().rev().find(|(given, _)| given == name).map(|(_, argument)| argument) {
            Some(Argument::Text(text) | Argument::Value(Value::Text(text))) => plain(text.trim()),
            Some(Argument::Value(Value::Boolean(value))) => Some(value.to_string()),
            Some(Argument::Value(Value::BigInt(value))) => Some(value.to_string()),
            Some(Argument::Value(Value::Double(value))) => Some(value.to_string()),
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

    /// Takes out a parameter that a grid varies: what is configured of it is of no use.
    ///
    /// # Errors
    /// [`Error::Invalid`] if a value of it was asked for.
    pub(crate) fn vary(&mut self, parameter: &str) -> Result<()> {
        if let Some(place) = self.asked(parameter) {
            let grid = self.given.grid();
            return Err(Error::Invalid(format!("{parameter} is given with {place} and with {grid}; expected one of them")));
        }
        let place = self.own[..self.configured].iter().position(|(name, _)| name == parameter);
        if let Some(place) = place {
            self.own.remove(place);
            self.configured -= 1;
        }
        Ok(())
    }

    /// As what a value was asked for.
    fn asked(&self, parameter: &str) -> Option<String> {
        if self.own[self.configured..].iter().any(|(name, _)| name == parameter) {
            return Some(self.given.own(parameter));
        }
        let is_exit = EXITS.iter().any(|(name, _)| *name == parameter);
        let is_asked = is_exit && self.asked.iter().any(|name| name == parameter);
        self.given.place(parameter).filter(|_| is_asked).map(str::to_owned)
    }
}

/// A query of which only the guards are evaluated.
pub(crate) fn without_rows(query: Query) -> Query {
    Query { sql: format!("SELECT * FROM ({}) AS tried LIMIT 0", query.sql), ..query }
}

/// A text as a value of SQL.
pub(crate) fn text(value: &str) -> Value {
    Value::Text(value.to_owned())
}

/// The values of the scanner's own parameters.
fn own_values(engine: &Engine, signature: &Signature, given: Given, own: &[(String, Argument)]) -> Result<Vec<(String, Value)>> {
    let function = &signature.function;
    for (name, argument) in own {
        let of_scanner = signature.parameters.iter().any(|(parameter, _)| parameter == name);
        let is_common = NEEDED.contains(&name.as_str()) || HANDED_ON.contains(&name.as_str());
        if let Some(place) = given.place(name).filter(|_| is_common || !of_scanner) {
            let setting = match argument {
                Argument::Text(text) if given == Given::Options => format!("{}={text}", given.own(name)),
                _ => given.own(name),
            };
            return Err(Error::Invalid(format!("{setting}: expected a parameter of {function}; {name} is given as {place}")));
        }
    }
    engine.values(function, own)
}

/// The same over what is configured of the scanner's own parameters.
fn with_configured(
    engine: &Engine,
    configuration: &Configuration,
    signature: &Signature,
    scanner: &str,
    asked: &[(String, Value)],
) -> Result<Vec<(String, Value)>> {
    let is_own = |name: &str| {
        signature.parameters.iter().any(|(parameter, _)| parameter == name)
            && !PLACES.iter().any(|(place, _, _)| *place == name)
            && !asked.iter().any(|(other, _)| other == name)
    };
    let configured = configuration.scanner_settings(engine, scanner)?.into_iter().filter(|(name, _)| is_own(name));
    let values = configured.map(|(name, setting)| (name, value_of_json(&setting.value)));
    Ok(values.chain(asked.iter().cloned()).collect())
}

/// Refuses a scanner of the user's that cannot be handed what a scan over a range of sessions needs.
fn check_parameters(signature: &Signature, given: Given, arguments: &[(String, Argument)], own: &[(String, Value)]) -> Result<()> {
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
        Some((name, _)) => {
            let value = if given == Given::Options { "=VALUE" } else { "" };
            Err(Error::Invalid(format!("{function} needs a value for '{name}'; give it with {}{value}", given.own(name))))
        }
        None => Ok(()),
    }
}

/// The first and the last day, between which there are sessions. `asked` are those that were asked for.
fn sessions(
    engine: &Engine,
    asked: (Option<&str>, Option<&str>),
    called_by: &str,
    bars: &[(String, Argument)],
) -> Result<(String, String)> {
    let narrowed: Vec<&str> = [("symbols", "of those symbols"), ("session_start", "in those hours")]
        .iter()
        .filter(|(name, _)| bars.iter().any(|(given, _)| given == name))
        .map(|(_, words)| *words)
        .collect();
    let none = || match narrowed.is_empty() {
        true => Error::Invalid(engine.no_usable_bars()),
        false => Error::Invalid(format!("there is no bar {} in {}", narrowed.join(" "), engine.name())),
    };
    let first = match asked.0 {
        Some(date) => date.to_owned(),
        None => engine.first_session(bars)?.ok_or_else(none)?,
    };
    let last = match asked.1 {
        Some(date) => date.to_owned(),
        None => engine.latest_session(bars)?.ok_or_else(none)?,
    };
    if asked == (None, None) {
        return Ok((first, last));
    }
    // The guards of the functions, before anything is asked of the bars.
    let dates = Query::with_values(
        "SELECT session_date(?, ?, 'start_date'), session_date(?, ?, 'end_date'), in_order(?, ?, ?, 'start_date', 'end_date')",
        [&first, called_by, &last, called_by, &first, &last, called_by].map(text).to_vec(),
    );
    engine.collect(&dates, None)?;
    let days = [("first_date", &first), ("last_date", &last)].map(|(name, day)| (name.to_owned(), Argument::Value(text(day))));
    let found = engine.call("session_bars", &[&days, bars].concat())?.query();
    let any = Query { sql: format!("SELECT 1 FROM ({}) AS bar LIMIT 1", found.sql), ..found };
    if engine.collect(&any, None)?.1.iter().any(|batch| batch.num_rows() > 0) {
        return Ok((first, last));
    }
    Err(match engine.session_range(bars)? {
        Some(range) => Error::NoSession(format!(
            "there is no session from {first} to {last}: the data has {} from {} to {}",
            counted(range.count, "session"),
            range.first,
            range.last
        )),
        None => none(),
    })
}
