//! `scanner publish`: results as plain tables, for programs that cannot call a scanner.
//!
//! Nothing is changed where the results are until all of them are there: see [`place`]. What is computed is SQL: see [`results`].

mod place;
mod results;

use std::time::Instant;

use jiff::Timestamp;
use place::{Kind, Place};
use results::{SCHEMA, Standing};
use stockscan_engine::{
    Argument, Call, Column, Engine, Error, Query, Result, Signature, Value, counted, is_built_in, is_scanner_name, opening_failed,
    quoted_text,
};

use super::{
    Access, bar_length, database, open, recording,
    scanning::{Scanning, name_and_value},
    text,
};
use crate::{
    arguments::{Global, Publish, Scan},
    output, progress,
    rows::Rows,
    table::Numbers,
};

/// Days that no bar is before or after.
const FIRST: &str = "1678-01-01";
const LAST: &str = "2261-12-31";

/// What a scanner must take to be run over a range of sessions.
const NEEDED: [&str; 4] = ["scan_date", "cutoff_time", "end_date", "source"];
/// What of outcomes can be chosen.
const TRADING: [&str; 6] = ["exit_time", "direction", "stop_loss_pct", "target_pct", "cost_bps", "slippage_bps"];
/// What every scanner's result has.
const REQUIRED_COLUMNS: [&str; 6] = ["scan_date", "symbol", "price", "volume", "probability_score", "rank"];

/// A scanner whose results are published, and how they are made.
struct Publication {
    /// Name without `scan_`.
    scanner: String,
    scanning: Scanning,
    /// Its first sentence.
    title: String,
    /// Its documented columns.
    columns: Vec<Column>,
    /// Those of its outcomes.
    outcome_columns: Vec<Column>,
    /// How outcomes are made.
    trading: Vec<(String, Argument)>,
    cutoff: String,
    exit: String,
    bar_minutes: u32,
    /// JSON, all that is not a default.
    parameters: String,
    /// Of Stockscan, and of the SQL that is run.
    version: String,
    /// The first day.
    start: String,
    /// The last day.
    end: String,
    /// When this was begun, UTC.
    now: String,
}

impl Publication {
    /// The table with its hits.
    fn hits(&self) -> String {
        format!("{}_hits", self.scanner)
    }

    /// The view of its newest session.
    fn latest(&self) -> String {
        format!("{}_latest", self.scanner)
    }

    /// The first and the last day, as values.
    fn range(&self) -> [Value; 2] {
        [text(&self.start), text(&self.end)]
    }

    fn bar_minutes(&self) -> Value {
        Value::BigInt(i64::from(self.bar_minutes))
    }

    /// What says which bars are seen: the cutoff, and how long a bar is.
    fn visible(&self) -> [Value; 2] {
        [text(&self.cutoff), self.bar_minutes()]
    }

    /// The calls that find hits, and say what became of them.
    fn calls(&self, engine: &Engine, from: &str, to: &str) -> Result<(Call, Call)> {
        let scan = self.scanning.call(engine, from, Some(to))?;
        let own = [
            ("signals", "stockscan_found"),
            ("cutoff_time", &self.cutoff),
            ("start_date", from),
            ("end_date", to),
            ("called_by", "publish"),
        ];
        let own = own.map(|(name, value)| (name.to_owned(), Argument::Value(text(value))));
        let outcomes = engine.call("outcomes", &[own.as_slice(), &results::bars_of_outcomes(&scan), &self.trading].concat())?;
        Ok((scan, outcomes))
    }

    /// Refuses a scanner whose columns cannot be published.
    fn check_columns(&self, there: &[String]) -> Result<()> {
        let function = self.scanning.function.clone();
        let missing: Vec<String> =
            REQUIRED_COLUMNS.iter().filter(|name| !there.iter().any(|one| one == *name)).map(|name| (*name).to_owned()).collect();
        if !missing.is_empty() {
            return Err(Error::MissingColumns { function, missing });
        }
        match there.iter().find(|name| name.starts_with("outcome_")) {
            Some(name) => Err(Error::Invalid(format!(
                "{function} has a column {name}; names that begin with outcome_ are those of what was not known at the cutoff: name it otherwise"
            ))),
            None => Ok(()),
        }
    }
}

pub(crate) fn run(global: &Global, publish: &Publish) -> Result<()> {
    let started = Instant::now();
    let waiting = || {
        if !global.quiet {
            say!("waiting for another 'scanner publish' to {}", publish.to.display());
        }
    };
    let place = Place::occupy(&publish.to, waiting)?;
    if place.is(&database(global)) || place.is(recording::state(global).path()) {
        return Err(Error::Invalid(format!(
            "{} holds the bars or the history; results are published to a file of their own",
            place.name()
        )));
    }
    let engine = open(global, Access::Read)?;
    progress::stop_on_interrupt(&engine);
    let days = days(&engine, publish)?;
    let mut published = publications(&engine, global, publish, &days)?;
    let made = draft(&engine, &place, &published).and_then(|()| make(&engine, global, &place, publish.rebuild, &days, &mut published));
    let (summary, is_changed) = made.map_err(|error| named(&place, error))?;
    if is_changed {
        finish(&engine, &place).map_err(|error| named(&place, error))?;
    }
    output::write_rows(&summary, &publish.output, Numbers::Exact)?;
    if !global.quiet {
        let what = counted(published.len() as u64, "scanner");
        let seconds = started.elapsed().as_secs_f64();
        if is_changed {
            say!("published {what} to {} in {seconds:.2} s", place.name());
        } else {
            say!("{} is up to date: nothing has changed since it was published ({what}, {seconds:.2} s)", place.name());
        }
    }
    Ok(())
}

/// Says an error of what stands beside the place, which nobody knows of, as one of the place.
fn named(place: &Place, error: Error) -> Error {
    let shown = |text: String| text.replace(&*place.draft().to_string_lossy(), &place.name());
    match error {
        Error::Interrupted => Error::Stopped("interrupted: nothing was published".to_owned()),
        Error::Database(text) if text.contains("No space left on device") => {
            place.failed(std::io::Error::new(std::io::ErrorKind::StorageFull, "No space left on device; nothing was published"))
        }
        Error::Database(text) => Error::Database(shown(text)),
        Error::NewerDatabase { ours, reason, .. } => Error::NewerDatabase { path: place.name().into(), ours, reason: shown(reason) },
        Error::NotADatabase { reason, .. } => Error::Invalid(format!(
            "{} is no DuckDB database: {}; nothing was changed in it. Name a file that is not there yet",
            place.name(),
            shown(reason)
        )),
        Error::File { path, source } if path.starts_with(place.draft()) => place.failed(source),
        other => other,
    }
}

/// The first and the last day that are asked for, as SQL writes them.
fn days(engine: &Engine, publish: &Publish) -> Result<(String, String)> {
    let [start, end] =
        [(&publish.start_date, FIRST), (&publish.end_date, LAST)].map(|(given, other)| text(given.as_deref().unwrap_or(other)));
    let sql = "SELECT concat_ws(' ', session_date(?, 'publish', 'start_date'), session_date(?, 'publish', 'end_date'), \
               in_order(?, ?, 'publish', 'start_date', 'end_date'))";
    let days = engine.text(Query::with_values(sql, vec![start.clone(), end.clone(), start, end]))?.unwrap_or_default();
    let mut days = days.split(' ').map(str::to_owned);
    Ok((days.next().unwrap_or_default(), days.next().unwrap_or_default()))
}

/// Begins the new state with what there is.
fn draft(engine: &Engine, place: &Place, published: &[Publication]) -> Result<()> {
    results::prepare(engine)?;
    let connection = engine.connection();
    if place.kind == Kind::Folder {
        connection.execute_batch(&format!("ATTACH ':memory:' AS {SCHEMA} (READ_WRITE)"))?;
        return results::begin_from_folder(engine, &place.name(), place.old(), published);
    }
    place.copy()?;
    let draft = place.draft();
    let path = quoted_text(&draft.to_string_lossy());
    // Older clients of DuckDB can read it, too.
    let is_new = place.old().is_none();
    let storage = if is_new { ", STORAGE_VERSION 'v1.5.0'" } else { "" };
    let attach = format!("ATTACH {path} AS {SCHEMA} (READ_WRITE{storage})");
    connection.execute_batch(&attach).map_err(|error| opening_failed(&draft, &error))?;
    results::begin(engine, &place.name(), is_new, published)
}

/// Makes the new state. Says what there is now, and whether anything was changed.
fn make(
    engine: &Engine,
    global: &Global,
    place: &Place,
    is_anew: bool,
    days: &(String, String),
    published: &mut [Publication],
) -> Result<(Rows, bool)> {
    let mut rebuilt = Vec::new();
    for one in published.iter_mut() {
        let Standing { range, reason } = results::standing(engine, one)?;
        let is_known = range.is_some();
        let reason = reason.or_else(|| (is_anew && is_known).then(|| "--rebuild".to_owned()));
        if let (Some((first, last)), Some(reason)) = (range, &reason) {
            // What was there is not lost because fewer sessions are asked for now.
            one.start = first.min(one.start.clone());
            one.end = last.max(one.end.clone());
            if !global.quiet {
                say!("{} is published anew: {reason}", one.scanner);
            }
        }
        rebuilt.push(reason.is_some() || !is_known);
    }
    let first = published.iter().map(|one| one.start.as_str()).min().unwrap_or(FIRST);
    let mut bars = bar_length(global);
    bars.extend(global.source.iter().map(|source| ("source".to_owned(), Argument::Value(text(source)))));
    progress::shown(engine, global, "reading the bars", || results::read_sessions(engine, &bars, first))?;
    check_range(engine, days, &bars)?;
    if !global.quiet {
        let mut told: Vec<(String, &str)> = Vec::new();
        for one in published.iter() {
            if let Some(session) = results::unripe(engine, one)?.filter(|session| !told.contains(&(session.clone(), one.cutoff.as_str()))) {
                say!("{session} has not come to {} yet, and is left for later", one.cutoff);
                told.push((session, &one.cutoff));
            }
        }
    }
    let mut is_changed = false;
    let (_, error) = progress::shown_in_parts(engine, global, "publishing", published.len(), |part| {
        let one = &published[part];
        let work = results::work(engine, one, rebuilt[part])?;
        is_changed |= work.is_some();
        results::publish(engine, one, work.as_ref(), rebuilt[part])
    })?;
    if let Some(error) = error {
        return Err(error);
    }
    if is_changed
        && place.kind == Kind::File
        && let Some(one) = published.first()
    {
        results::views(engine, &one.outcome_columns)?;
    }
    Ok((Rows::of(engine, &results::summary(), None)?, is_changed))
}

/// Puts the new state where readers find it.
fn finish(engine: &Engine, place: &Place) -> Result<()> {
    if place.kind == Kind::Folder {
        results::write_folder(engine, &place.draft())?;
    }
    engine.connection().execute_batch(&format!("DETACH {SCHEMA}"))?;
    place.finish()
}

/// The scanners that are asked for, and how each is run.
fn publications(engine: &Engine, global: &Global, publish: &Publish, (start, end): &(String, String)) -> Result<Vec<Publication>> {
    let now = Timestamp::now().strftime("%Y-%m-%d %H:%M:%S").to_string();
    let outcome_columns = results::outcome_columns(engine)?;
    let [built_in, own] = [true, false].map(|is_internal| sql_version(engine, is_internal));
    let (built_in, own) = (built_in?, own?);
    let scanners = engine.scanners()?;
    let mut published: Vec<Publication> = Vec::new();
    let mut functions = Vec::new();
    for name in &publish.scanner_type {
        functions.push(engine.scanner_function(name.trim())?);
    }
    let is_all = functions.is_empty();
    if is_all {
        functions.extend(scanners.iter().map(|scanner| scanner.function_name.clone()));
    }
    functions.sort();
    functions.dedup();
    for function in functions {
        if let Some(why) = unfit(engine, &function, publish)? {
            if !is_all {
                return Err(Error::Invalid(why));
            }
            if !global.quiet {
                say!("left out: {why}");
            }
            continue;
        }
        let scanner = function.strip_prefix("scan_").unwrap_or(&function).to_owned();
        let scan = Scan {
            scanner_type: scanner.clone(),
            cutoff: publish.cutoff.clone(),
            settings: publish.settings.clone(),
            symbols: publish.symbols.clone(),
            market: publish.market.clone(),
            timeout: None,
        };
        let scanning = Scanning::new(engine, global, &scan)?;
        let signature = engine.signature(&function)?;
        for setting in &publish.settings {
            let (name, _) = name_and_value(setting)?;
            if !signature.parameters.iter().any(|(parameter, _)| parameter == name) && (is_all || publish.scanner_type.len() > 1) {
                return Err(Error::Invalid(format!(
                    "--set {setting}: {function} has no parameter '{name}'; name the scanners that have it with --scanner-type, \
                     or set it for one of them in the configuration"
                )));
            }
        }
        if !global.quiet {
            for finding in engine.unchecked_reading(&function)? {
                say!("{} may look ahead: {}; 'scanner check' says more", finding.function, finding.problem);
            }
        }
        let call = scanning.call(engine, FIRST, Some(FIRST))?;
        let trading = trading(global, publish);
        let outcomes = engine.signature("outcomes")?;
        let given = |name: &str| trading.iter().find(|(given, _)| given == name).and_then(|(_, value)| said(value));
        let sql = if is_built_in(&function) && !engine.hides_built_in(&function)? { built_in.clone() } else { format!("{built_in}{own}") };
        let found = scanners.iter().find(|scanner| scanner.function_name == function);
        published.push(Publication {
            title: found.map(|scanner| scanner.title.clone()).unwrap_or_default(),
            columns: engine.documented_columns(&function)?,
            outcome_columns: outcome_columns.clone(),
            cutoff: call
                .arguments
                .iter()
                .find(|(name, _)| name == "cutoff_time")
                .and_then(|(_, value)| plain(value))
                .unwrap_or_else(|| default(&signature, "cutoff_time")),
            exit: given("exit_time").unwrap_or_else(|| default(&outcomes, "exit_time")),
            bar_minutes: global.bar_minutes,
            parameters: parameters(engine, &call, &trading)?,
            version: format!("{} {sql}", env!("CARGO_PKG_VERSION")),
            start: start.clone(),
            end: end.clone(),
            now: now.clone(),
            scanner,
            scanning,
            trading,
        });
    }
    if published.is_empty() {
        return Err(Error::Invalid("there is no scanner to publish".to_owned()));
    }
    if is_all && !global.quiet {
        say!("no --scanner-type given: all {}", counted(published.len() as u64, "scanner"));
    }
    Ok(published)
}

/// Why a scanner cannot be run over a range of sessions with what is given; `None`: it can.
fn unfit(engine: &Engine, function: &str, publish: &Publish) -> Result<Option<String>> {
    let Ok(signature) = engine.signature(function) else {
        return Ok(Some(format!("{function} is in another database; only those of this one are published")));
    };
    if !function.strip_prefix("scan_").is_some_and(is_scanner_name) {
        return Ok(Some(format!("{function} has a name that cannot be a table's everywhere; expected small letters, digits and _")));
    }
    let missing: Vec<&str> =
        NEEDED.iter().filter(|name| !signature.parameters.iter().any(|(parameter, _)| parameter == *name)).copied().collect();
    if !missing.is_empty() {
        return Ok(Some(format!(
            "{function} has no parameter {}, which a range of sessions is scanned with; 'scanner new NAME' writes a scanner that has all it takes",
            missing.join(", ")
        )));
    }
    let is_set = |name: &str| publish.settings.iter().any(|setting| setting.split('=').next().is_some_and(|given| given.trim() == name));
    let open = signature.parameters.iter().find(|(name, default)| default.is_none() && name != "scan_date" && !is_set(name));
    Ok(open.map(|(name, _)| format!("{function} needs a value for '{name}'; give it with --set {name}=VALUE")))
}

/// How outcomes are made, by the names that the function has for it.
fn trading(global: &Global, publish: &Publish) -> Vec<(String, Argument)> {
    let at_end = (global.bar_minutes == 1440).then(|| "24:00".to_owned());
    let given = [
        publish.exit_time.clone().or(at_end),
        publish.direction.clone(),
        publish.stop_loss.clone(),
        publish.target.clone(),
        publish.cost_bps.clone(),
        publish.slippage_bps.clone(),
    ];
    TRADING.into_iter().zip(given).filter_map(|(name, value)| Some((name.to_owned(), Argument::Text(value?)))).collect()
}

/// The values of all parameters, as JSON: what is given, and the defaults of the others.
fn parameters(engine: &Engine, scan: &Call, trading: &[(String, Argument)]) -> Result<String> {
    let all = |call: &Call, wanted: &dyn Fn(&str) -> bool| -> Result<Vec<(String, serde_json::Value)>> {
        let signature = engine.signature(&call.function)?;
        let values = signature.parameters.into_iter().filter(|(name, _)| wanted(name)).map(|(name, default)| {
            let given = call.arguments.iter().find(|(given, _)| *given == name).map(|(_, value)| value.clone());
            let value = given.map_or_else(|| engine.value(&default.unwrap_or_default()), Ok)?;
            Ok((name, stockscan_state::json(&whole(value))))
        });
        values.collect()
    };
    let own = all(scan, &|name| !["scan_date", "end_date", "cutoff_time"].contains(&name))?;
    let signals = ("signals".to_owned(), Argument::Value(Value::Null));
    let outcomes = engine.call("outcomes", &[trading, &[signals]].concat())?;
    let outcomes = all(&outcomes, &|name| TRADING.contains(&name))?;
    let outcomes = outcomes.into_iter().map(|(name, value)| (format!("outcome_{name}"), value));
    Ok(serde_json::Value::Object(own.into_iter().chain(outcomes).collect()).to_string())
}

/// 100 for 100.0: the same number is written the same way, however it was given.
fn whole(value: Value) -> Value {
    match value {
        #[expect(clippy::cast_possible_truncation, reason = "it is a whole number")]
        Value::Double(number) if number.fract() == 0.0 && number.abs() < 1e15 => Value::BigInt(number as i64),
        other => other,
    }
}

fn said(argument: &Argument) -> Option<String> {
    match argument {
        Argument::Text(text) => Some(text.trim().to_owned()),
        Argument::Value(value) => plain(value),
    }
}

fn plain(value: &Value) -> Option<String> {
    match value {
        Value::Text(text) => Some(text.clone()),
        _ => None,
    }
}

/// A default that is a text.
fn default(signature: &Signature, name: &str) -> String {
    let found = signature.parameters.iter().find(|(parameter, _)| parameter == name);
    found.and_then(|(_, default)| default.as_deref()).unwrap_or_default().trim_matches('\'').to_owned()
}

/// A text that is another one after a change of the macros: those that are built in, or the user's own.
fn sql_version(engine: &Engine, is_built_in: bool) -> Result<String> {
    let sql = "SELECT left(coalesce(md5(string_agg(function_name || macro_definition, chr(10) ORDER BY function_name, macro_definition)), ''), 8) \
               FROM duckdb_functions() WHERE macro_definition IS NOT NULL AND internal = ?";
    Ok(engine.text(Query::with_values(sql, vec![Value::Boolean(is_built_in)]))?.unwrap_or_default())
}

/// Refuses days without a session.
fn check_range(engine: &Engine, (start, end): &(String, String), bars: &[(String, Argument)]) -> Result<()> {
    let sql =
        "SELECT CAST(min(session_date) AS VARCHAR) FROM stockscan_sessions WHERE session_date BETWEEN CAST(? AS DATE) AND CAST(? AS DATE)";
    if engine.text(Query::with_values(sql, vec![text(start), text(end)]))?.is_some() {
        return Ok(());
    }
    Err(match engine.session_range(bars)? {
        Some(range) => Error::NoSession(format!(
            "there is no session in the days that are asked for: the data has {} from {} to {}",
            counted(range.count, "session"),
            range.first,
            range.last
        )),
        None => Error::Invalid(engine.no_usable_bars()),
    })
}
