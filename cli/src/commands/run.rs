//! `scanner run`

use std::io::{self, Write};

use stockscan_engine::{Argument, Call, Engine, Funnel, Query, Result, Value};

use super::{Access, counted, open, recording, same_bars, scanning::Scanning, stream};
use crate::arguments::{Global, Run};

pub(crate) fn run(global: &Global, run: &Run) -> Result<()> {
    if run.stream {
        return stream::run(global, run);
    }
    let engine = open(global, Access::Read)?;
    let scanning = Scanning::new(&engine, global, &run.scan)?;
    let deadline = Some(scanning.settings.timeout);
    let date = match &run.date {
        Some(date) => date.clone(),
        None => {
            let latest = scanning.latest_session(&engine)?;
            if !global.quiet && !run.sql {
                say!("no --date given: scanning the latest session, {latest}");
            }
            latest
        }
    };
    let call = scanning.call(&engine, &date, run.end_date.as_deref())?;
    if run.sql {
        return Ok(writeln!(io::stdout(), "{}", call.sql())?);
    }
    if !global.quiet {
        for finding in engine.unchecked_reading(&call.function)? {
            say!("{} may look ahead: {}; 'scanner check' says more", finding.function, finding.problem);
        }
    }
    let scan = recording::scan(&engine, global, &call, &scanning.settings, &run.output, !run.no_cache && !run.explain)?;
    let rows = scan.rows;
    if !global.quiet {
        let seconds = scan.elapsed.as_secs_f64();
        let reused = if scan.is_cached { ", as a moment ago from the same bars (--no-cache scans again)" } else { "" };
        say!("{} {} in {seconds:.2} s{reused}", counted(rows, "hit"), when(&call));
    }
    if let Some(path) = scan.saved.as_ref().filter(|_| !global.quiet) {
        say!("saved to {}", path.display());
    }
    if run.scan.symbols.is_some() && rows > 0 && !global.quiet {
        strangers(&engine, &call, &date, run.end_date.as_deref())?;
    }
    if run.explain || (rows == 0 && !global.quiet) {
        // A macro of the user's own may be of a shape that has no funnel; it has still run.
        match engine.funnel(&call, deadline) {
            Ok(funnel) if run.explain => explain(&funnel),
            Ok(funnel) => why_nothing(&engine, &call, &funnel)?,
            Err(error) => say!("{error}"),
        }
    }
    Ok(())
}

fn given<'a>(call: &'a Call, name: &str) -> Option<&'a str> {
    call.arguments.iter().find(|(given, _)| given == name).and_then(|(_, value)| match value {
        Value::Text(text) => Some(text.as_str()),
        _ => None,
    })
}

/// `on 2025-01-15 at 09:50`
fn when(call: &Call) -> String {
    let date = given(call, "scan_date").unwrap_or("?");
    let cutoff = given(call, "cutoff_time").map_or(String::new(), |time| format!(" at {time}"));
    match given(call, "end_date") {
        Some(end) => format!("from {date} to {end}{cutoff}"),
        None => format!("on {date}{cutoff}"),
    }
}

/// Says which of the symbols have no bars in the sessions that were scanned: a hit of one hides the misspelling of another.
fn strangers(engine: &Engine, call: &Call, date: &str, end_date: Option<&str>) -> Result<()> {
    let days = [("first_date", date), ("last_date", end_date.unwrap_or(date))];
    let days = days.map(|(name, day)| (name.to_owned(), Argument::Value(Value::Text(day.to_owned()))));
    let bars = engine.call("session_bars", &[days.as_slice(), &same_bars(call)].concat())?.query();
    let names = call.arguments.iter().find(|(name, _)| name == "symbols").map(|(_, names)| names.clone());
    let sql = format!(
        "SELECT string_agg(given.symbol, ', ') FROM (SELECT DISTINCT unnest(CAST(? AS VARCHAR[])) AS symbol) AS given \
         ANTI JOIN ({}) AS bar ON bar.symbol = given.symbol",
        bars.sql
    );
    let values = names.into_iter().chain(bars.values.iter().cloned()).collect();
    if let Some(strangers) = engine.text(Query { sql, values, ..bars })? {
        say!("no bars of {strangers} in what was scanned; names are told apart by upper and lower case");
    }
    Ok(())
}

/// One line per condition, as wide as the terminal.
fn explain(funnel: &Funnel) {
    let width = console::Term::stderr().size_checked().map_or(120, |(_, width)| usize::from(width));
    say!("\nwhat each condition leaves of the symbols (each in one session):");
    for step in &funnel.steps {
        let text = if step.parameters.is_empty() { step.condition.clone() } else { format!("{}   [{}]", step.condition, step.parameters) };
        say!("{:>9}  {}", step.survivors, console::truncate_str(&text, width.saturating_sub(12), "…"));
    }
}

/// An empty result says why.
fn why_nothing(engine: &Engine, call: &Call, funnel: &Funnel) -> Result<()> {
    let Some(first_empty) = funnel.steps.iter().position(|step| step.survivors == 0) else { return Ok(()) };
    let step = &funnel.steps[first_empty];
    // The first condition of a scanner may say which sessions are scanned; what it is asked of includes earlier ones then.
    let is_about_the_session = step.parameters.contains("scan_date");
    let before = match first_empty.checked_sub(1) {
        Some(index) => Some(funnel.steps[index].survivors),
        None => Some(funnel.candidates).filter(|candidates| *candidates > 0 && !is_about_the_session),
    };
    match before {
        Some(before) => {
            let limits = if step.parameters.is_empty() { String::new() } else { format!(" ({})", step.parameters) };
            say!("{} passed every condition before it; none has {}{limits}", counted(before, "symbol"), step.condition);
            say!("--explain shows all conditions");
        }
        None => no_bars(engine, call)?,
    }
    Ok(())
}

/// Nothing was visible: no such session, none of its bars had ended, or none of the symbols is there.
fn no_bars(engine: &Engine, call: &Call) -> Result<()> {
    let day = given(call, "scan_date").unwrap_or_default();
    let bars = same_bars(call);
    if given(call, "end_date").is_none()
        && let Some(start) = engine.first_bar(day, &bars)?
    {
        let cutoff = given(call, "cutoff_time").map_or("the cutoff".to_owned(), str::to_owned);
        say!("no bar of {day} had ended by {cutoff}: the first one starts at {start}");
        return Ok(());
    }
    let narrowed: Vec<&str> = [("symbols", "those symbols"), ("session_start", "those hours")]
        .iter()
        .filter(|(name, _)| call.arguments.iter().any(|(given, _)| given == name))
        .map(|(_, text)| *text)
        .collect();
    let of = if narrowed.is_empty() { String::new() } else { format!(" of {}", narrowed.join(" in ")) };
    let days = given(call, "end_date").map_or(day.to_owned(), |end| format!("any day from {day} to {end}"));
    match engine.session_range(&bars)? {
        Some(range) => {
            say!("there is no bar{of} on {days}: the data has {} from {} to {}", counted(range.count, "session"), range.first, range.last)
        }
        None if !narrowed.is_empty() => say!("there is no bar{of} in the data at all"),
        None => say!("{}", engine.no_usable_bars()),
    }
    Ok(())
}
