//! `scanner history`, `scanner show` and `scanner export`, of the history that a server keeps.

use std::io::{self, Write};

use jiff::{SignedDuration, Timestamp};
use serde_json::Value;
use stockscan_engine::{Engine, Error, Query, Result, Value as SqlValue};
use ureq::http::Method;

use super::{
    client::{ARROW, Payload, Server, escaped, query},
    request, rows,
    rows::Written,
};
use crate::{
    arguments::{Export, Global, History, Output, Show},
    commands::{counted, history as here, recording, text},
    output, progress,
    rows::Rows,
    table::Numbers,
};

/// So many scans are asked for at a time.
const PAGE: u32 = 1000;
/// A server looks back no further, in days.
const FURTHEST: u32 = 3650;

/// A scan as a server lists it.
const LISTED: &str = "SELECT CAST(NULL AS UUID) AS scan_id, CAST(NULL AS VARCHAR) AS scanner_type, CAST(NULL AS DATE) AS start_date, \
    CAST(NULL AS DATE) AS end_date, CAST(NULL AS VARCHAR) AS cutoff_time, CAST(NULL AS JSON) AS arguments, CAST(NULL AS VARCHAR) AS asked_by, \
    CAST(NULL AS VARCHAR) AS status, CAST(NULL AS BIGINT) AS total_results, CAST(NULL AS DOUBLE) AS execution_time_ms, \
    CAST(NULL AS UUID) AS repeats, CAST(NULL AS VARCHAR) AS error_kind, CAST(NULL AS VARCHAR) AS error, \
    CAST(NULL AS TIMESTAMPTZ) AS \"timestamp\"";

/// The same under the names that the history here has.
const NAMED: &str = "SELECT listed.scan_id, CAST(make_timestamp(epoch_us(listed.\"timestamp\") - CAST(1000 * listed.execution_time_ms AS BIGINT)) \
    AS TIMESTAMP) AS started_at, listed.asked_by AS command, listed.scanner_type AS scanner, listed.start_date AS scan_date, \
    nullif(listed.end_date, listed.start_date) AS end_date, listed.cutoff_time, listed.arguments, listed.execution_time_ms / 1000 AS seconds, \
    listed.status, listed.error_kind, listed.error, listed.total_results AS hits, listed.repeats AS cached_from";

/// A scanner's scans as a server counts them.
const COUNTED: &str = "SELECT CAST(NULL AS VARCHAR) AS scanner_type, CAST(NULL AS BIGINT) AS total_scans, CAST(NULL AS BIGINT) AS cached, \
    CAST(NULL AS BIGINT) AS failed, CAST(NULL AS BIGINT) AS total_results, CAST(NULL AS DOUBLE) AS with_results_pct, \
    CAST(NULL AS STRUCT(p50 DOUBLE, p95 DOUBLE, max DOUBLE)) AS execution_time_ms, CAST(NULL AS MAP(VARCHAR, BIGINT)) AS errors";

/// `scanner history`
pub(super) fn list(global: &Global, history: &History) -> Result<()> {
    let server = Server::new(global, None)?;
    let is_for_people = here::is_for_people(&history.output)?;
    let engine = rows::engine(global)?;
    let found = progress::waiting(global, "asking", || match history.stats {
        true => statistics(&server, &engine, history),
        false => scans(&server, &engine, history, is_for_people),
    })?;
    output::write_rows(&found, &history.output, if history.stats { Numbers::Rounded } else { Numbers::Exact })?;
    if is_for_people {
        here::advise(global, history, found.len(), &server.url);
    }
    Ok(())
}

fn scans(server: &Server, engine: &Engine, history: &History, is_for_people: bool) -> Result<Rows> {
    let now = Timestamp::now();
    // What is new meanwhile moves nothing.
    let mut asked = vec![("until", now.to_string())];
    asked.extend(history.scanner_type.as_deref().map(|name| ("scanner_type", request::scanner(name).to_owned())));
    let since =
        history.days.and_then(|days| now.checked_sub(SignedDuration::from_hours(24) * i32::try_from(days).unwrap_or(i32::MAX)).ok());
    asked.extend(since.map(|since| ("since", since.to_string())));
    asked.extend(history.failed.then(|| ("status", "failed".to_owned())));
    let mut listed = Vec::new();
    while listed.len() < history.limit as usize {
        let limit = PAGE.min(history.limit - u32::try_from(listed.len()).unwrap_or(u32::MAX));
        let page = [asked.clone(), vec![("limit", limit.to_string()), ("offset", listed.len().to_string())]].concat();
        let mut answer = server.get(&format!("/scans{}", query(&page)))?;
        let Some(Value::Array(scans)) = answer.get_mut("scans").map(Value::take) else {
            return Err(server.broken_off("a list of scans was expected"));
        };
        let is_last = scans.len() < limit as usize;
        listed.extend(scans);
        if is_last {
            break;
        }
    }
    let listed = rows::of_document(engine, &Value::from(listed).to_string(), "$", Some(&Query::plain(LISTED)))?;
    let columns = if is_for_people { here::FEW } else { "scan.*" };
    let sql = format!("SELECT {columns} FROM ({NAMED} FROM ({}) AS listed) AS scan ORDER BY scan.started_at DESC", listed.sql);
    let zone = is_for_people.then(|| text(&here::zone()));
    Rows::of(engine, &Query::with_values(sql, zone.into_iter().chain(listed.values).collect()), None)
}

fn statistics(server: &Server, engine: &Engine, history: &History) -> Result<Rows> {
    if history.failed {
        return Err(Error::Invalid(
            "--failed cannot be used with --stats and --api-mode: a server counts all scans; leave one of them out".to_owned(),
        ));
    }
    let days = history.days.unwrap_or(FURTHEST);
    let answer = server.get(&format!("/stats/performance{}", query(&[("days", days.to_string())])))?;
    let counted = rows::of_document(engine, &answer.to_string(), "$.scanners", Some(&Query::plain(COUNTED)))?;
    let scanner = history.scanner_type.as_deref().map(request::scanner);
    let sql = format!(
        "SELECT tally.scanner_type AS scanner, tally.total_scans AS scans, tally.cached, tally.failed, tally.total_results AS hits, \
         tally.with_results_pct AS with_hits_pct, tally.execution_time_ms.p50 AS p50_ms, tally.execution_time_ms.p95 AS p95_ms, \
         tally.execution_time_ms.max AS max_ms, \
         (SELECT string_agg(concat(kind.entry.key, ' ', kind.entry.value), ', ' ORDER BY kind.entry.value DESC, kind.entry.key) \
          FROM unnest(map_entries(tally.errors)) AS kind(entry)) AS errors \
         FROM ({}) AS tally WHERE tally.scanner_type = coalesce(?, tally.scanner_type) ORDER BY tally.scanner_type",
        counted.sql
    );
    let values = counted.values.into_iter().chain([scanner.map_or(SqlValue::Null, text)]).collect();
    Rows::of(engine, &Query::with_values(sql, values), None)
}

/// `scanner show`
pub(super) fn show(global: &Global, show: &Show) -> Result<()> {
    let server = Server::new(global, None)?;
    let is_for_people = here::is_for_people(&show.output)?;
    let engine = rows::engine(global)?;
    let found = progress::waiting(global, "asking", || {
        server.ask(&Method::GET, &format!("/scan/{}", escaped(&show.scan_id)), "application/json", &Payload::Nothing)?.text()
    })?;
    let like = "SELECT CAST(NULL AS UUID) AS scan_id, CAST(NULL AS VARCHAR) AS scanner_type, CAST(NULL AS DATE) AS start_date, \
        CAST(NULL AS DATE) AS end_date, CAST(NULL AS BIGINT) AS total_results, CAST(NULL AS DOUBLE) AS execution_time_ms, \
        CAST(NULL AS TIMESTAMPTZ) AS \"timestamp\", CAST(NULL AS JSON) AS results";
    let scan = rows::of_document(&engine, &found, "$", Some(&Query::plain(like)))?;
    let sql = format!(
        "SELECT scan.scan_id, CAST(make_timestamp(epoch_us(scan.\"timestamp\") - CAST(1000 * scan.execution_time_ms AS BIGINT)) AS TIMESTAMP) AS started_at, \
         scan.scanner_type AS scanner, scan.start_date AS scan_date, nullif(scan.end_date, scan.start_date) AS end_date, \
         scan.execution_time_ms / 1000 AS seconds, scan.total_results AS hits, scan.results FROM ({}) AS scan",
        scan.sql
    );
    let scan = Rows::of(&engine, &Query { sql, ..scan }, None)?;
    if scan.text("scan_id")?.is_none() {
        return Err(server.broken_off("a scan was expected"));
    }
    if !is_for_people {
        return output::write_rows(&scan, &show.output, Numbers::Exact);
    }
    let value = |column: &str| Ok::<_, Error>(scan.text(column)?.unwrap_or_default());
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a count of rows")]
    let hits = scan.number("hits")?.unwrap_or_default() as u64;
    let session = match scan.text("end_date")? {
        Some(end) => format!("{} to {end}", value("scan_date")?),
        None => value("scan_date")?,
    };
    here::print(&[
        ("scan", value("scan_id")?),
        ("started", here::local_time(&scan)?),
        ("server", server.url.clone()),
        ("scanner", value("scanner")?),
        ("session", session),
        ("took", format!("{:.3} s", scan.number("seconds")?.unwrap_or_default())),
        ("came to", counted(hits, "hit")),
    ])?;
    if hits > 0 {
        writeln!(io::stdout())?;
        let units = recording::units(&engine, &format!("scan_{}", value("scanner")?))?;
        write(&server, &value("scan_id")?, &show.output, &units)?;
    }
    Ok(())
}

/// `scanner export`
pub(super) fn export(global: &Global, export: &Export) -> Result<()> {
    let server = Server::new(global, None)?;
    output::format(&export.output)?;
    let rows = progress::waiting(global, "asking", || write(&server, &export.scan_id, &export.output, &[]))?;
    if let Some(path) = export.output.output.as_ref().filter(|_| !global.quiet) {
        say!("{} of scan {} in {}", counted(rows, "row"), export.scan_id, path.display());
    }
    Ok(())
}

/// Writes the rows of a scan of the history.
fn write(server: &Server, scan_id: &str, output: &Output, units: &[(String, String)]) -> Result<u64> {
    let answer = server.ask(&Method::GET, &format!("/export/{}/arrow", escaped(scan_id)), ARROW, &Payload::Nothing)?;
    rows::write(answer, &Written { outputs: (output, None), numbers: Numbers::Rounded, units, without: &[] })
}
