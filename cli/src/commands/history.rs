//! `scanner history`, `scanner show` and `scanner export`

use std::{
    fmt::Write as _,
    io::{self, Write},
};

use jiff::tz::TimeZone;
use stockscan_engine::{Engine, Error, Options, Query, Result, Value};
use stockscan_state::{Access, Filter, SCHEMA, State};

use super::{counted, recording, text};
use crate::{
    arguments::{Export, Format, Global, History, Output, Show},
    output,
    rows::Rows,
    table::Numbers,
};

/// `scanner history`
pub(crate) fn list(global: &Global, history: &History) -> Result<()> {
    let (engine, state) = open(global)?;
    if !state.exists() {
        if !global.quiet {
            say!("nothing has been scanned yet that {} would know of", state.path().display());
        }
        return Ok(());
    }
    let is_for_people = is_for_people(&history.output)?;
    let query = if history.stats { statistics(history) } else { scans(history, is_for_people) };
    // Nothing is written while the file is open: whoever reads along may take his time.
    let rows = state.with(&engine, Access::Read, || Rows::of(&engine, &query, None))?;
    output::write_rows(&rows, &history.output, if history.stats { Numbers::Rounded } else { Numbers::Exact })?;
    if is_for_people {
        advise(global, history, rows.len(), &state.path().display().to_string());
    }
    Ok(())
}

/// Says what can be done with scans that are listed, or that there is none.
pub(crate) fn advise(global: &Global, history: &History, found: usize, place: &str) {
    match found {
        _ if global.quiet => {}
        0 => say!("no scan of {place} is of that kind"),
        _ if !history.stats => say!("\n'scanner show ID' shows a scan with its rows, 'scanner export ID' writes these; ID may be latest"),
        _ => {}
    }
}

/// `scanner show`
pub(crate) fn show(global: &Global, show: &Show) -> Result<()> {
    let (engine, state) = open(global)?;
    let scan_id = state.find(&engine, &show.scan_id)?;
    let query = Query::with_values(
        format!("SELECT scan.* EXCLUDE (columns, results) FROM {SCHEMA}.scans AS scan WHERE CAST(scan.scan_id AS VARCHAR) = ?"),
        vec![text(&scan_id)],
    );
    if !is_for_people(&show.output)? {
        let whole = Query { sql: query.sql.replace("* EXCLUDE (columns, results)", "* EXCLUDE (columns)"), ..query };
        let rows = state.with(&engine, Access::Read, || Rows::of(&engine, &whole, None))?;
        return output::write_rows(&rows, &show.output, Numbers::Exact);
    }
    let scan = state.with(&engine, Access::Read, || Rows::of(&engine, &query, None))?;
    let value = |column: &str| Ok::<_, Error>(scan.text(column)?.unwrap_or_default());
    print(&[
        ("scan", scan_id.clone()),
        ("started", local_time(&scan)?),
        ("asked by", format!("scanner {}", value("command")?)),
        ("database", scan.text("database")?.unwrap_or_else(|| "none, a file with bars".to_owned())),
        ("took", format!("{:.3} s", scan.number("seconds")?.unwrap_or_default())),
        ("came to", outcome(&scan)?),
        ("again", value("statement")?),
    ])?;
    if scan.number("hits")?.is_some_and(|hits| hits > 0.0) {
        writeln!(io::stdout())?;
        let units = recording::units(&engine, &format!("scan_{}", value("scanner")?))?;
        recording::write(&engine, &state, &scan_id, &show.output, &units)?;
    }
    Ok(())
}

/// What there is to say of a scan, line by line.
pub(crate) fn print(said: &[(&str, String)]) -> Result<()> {
    let mut lines = String::new();
    for (name, value) in said {
        // A text as text cannot fail.
        let _ = writeln!(lines, "{:<9} {value}", console::style(name).bold());
    }
    Ok(writeln!(io::stdout(), "{}", lines.trim_end())?)
}

/// `scanner export`
pub(crate) fn export(global: &Global, export: &Export) -> Result<()> {
    let (engine, state) = open(global)?;
    let scan_id = state.find(&engine, &export.scan_id)?;
    let rows = recording::write(&engine, &state, &scan_id, &export.output, &[])?;
    if let Some(path) = export.output.output.as_ref().filter(|_| !global.quiet) {
        say!("{} of scan {} in {}", counted(rows, "row"), &scan_id[..8], path.display());
    }
    Ok(())
}

/// The history needs no market.
fn open(global: &Global) -> Result<(Engine, State)> {
    let engine = Engine::open(Options { threads: global.threads, memory_limit: global.memory_limit.clone(), ..Options::memory() })?;
    Ok((engine, recording::state(global)))
}

pub(crate) fn is_for_people(output: &Output) -> Result<bool> {
    Ok(output::format(output)? == Format::Table)
}

/// The scans that are meant.
fn filter(history: &History) -> Filter {
    let day = jiff::SignedDuration::from_hours(24);
    Filter {
        scanner: history.scanner_type.clone(),
        since: history.days.and_then(|days| jiff::Timestamp::now().checked_sub(day * i32::try_from(days).unwrap_or(i32::MAX)).ok()),
        until: None,
        has_failed: history.failed.then_some(true),
    }
}

fn scans(history: &History, is_for_people: bool) -> Query {
    let (condition, values) = filter(history).condition();
    let columns = if is_for_people { FEW } else { "scan.* EXCLUDE (columns, results)" };
    let mut values = if is_for_people { [vec![text(&zone())], values].concat() } else { values };
    values.push(Value::BigInt(i64::from(history.limit)));
    Query::with_values(
        format!("SELECT {columns} FROM {SCHEMA}.scans AS scan WHERE {condition} ORDER BY scan.started_at DESC LIMIT ?"),
        values,
    )
}

/// What a person gets of each scan; the value is this machine's time zone.
pub(crate) const FEW: &str = "left(CAST(scan.scan_id AS VARCHAR), 8) AS id, \
    strftime(to_exchange_time(CAST(concat(scan.started_at, '+00') AS TIMESTAMPTZ), ?), '%Y-%m-%d %H:%M:%S') AS started, \
    scan.command, scan.scanner, concat_ws(' to ', scan.scan_date, scan.end_date) AS session, coalesce(scan.cutoff_time, '') AS cutoff, scan.hits, \
    CAST(round(scan.seconds * 1000) AS BIGINT) AS ms, \
    CASE WHEN scan.status = 'failed' THEN scan.error_kind || ': ' || split_part(scan.error, chr(10), 1) \
         WHEN scan.cached_from IS NOT NULL THEN 'as before' ELSE scan.status END AS outcome";

fn statistics(history: &History) -> Query {
    let Query { sql, values, .. } = stockscan_state::statistics(&filter(history));
    Query::with_values(
        format!(
            "SELECT tally.scanner, tally.scans, tally.cached, tally.failed, tally.hits, tally.with_hits_pct, tally.p50_ms, tally.p95_ms, tally.max_ms, \
             (SELECT string_agg(concat(kind.entry.key, ' ', kind.entry.value), ', ' ORDER BY kind.entry.value DESC, kind.entry.key) \
              FROM unnest(map_entries(tally.errors)) AS kind(entry)) AS errors \
             FROM ({sql}) AS tally WHERE tally.level = 'scanner' ORDER BY tally.scanner"
        ),
        values,
    )
}

/// When a scan started, by the clock of this machine.
pub(crate) fn local_time(scan: &Rows) -> Result<String> {
    let started = scan.text("started_at")?.unwrap_or_default();
    let instant: Option<jiff::Timestamp> = format!("{}Z", started.trim_end_matches('Z').replace('T', " ")).parse().ok();
    Ok(instant.map_or(started, |instant| instant.to_zoned(TimeZone::system()).strftime("%Y-%m-%d %H:%M:%S %Z").to_string()))
}

/// The IANA name of this machine's time zone.
pub(crate) fn zone() -> String {
    TimeZone::system().iana_name().unwrap_or("UTC").to_owned()
}

fn outcome(scan: &Rows) -> Result<String> {
    if let Some(error) = scan.text("error")? {
        return Ok(format!("an error ({}): {error}", scan.text("error_kind")?.unwrap_or_default()));
    }
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a count of rows")]
    let hits = counted(scan.number("hits")?.unwrap_or_default() as u64, "hit");
    Ok(match scan.text("cached_from")? {
        Some(from) => format!("{hits}, as scan {} before, from the same bars", &from[..8.min(from.len())]),
        None => hits,
    })
}
