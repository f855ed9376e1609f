//! `scanner run --api-mode`

use std::time::Instant;

use stockscan_engine::{Error, Result};
use ureq::http::Method;

use super::{
    client::{ARROW, Payload, Server},
    request, rows,
    rows::Written,
};
use crate::{
    arguments::{Global, Run},
    commands::{counted, recording},
    output, progress,
    table::Numbers,
};

/// What a server adds to a scanner's columns.
const OUTCOMES: [&str; 4] = ["eod_price", "price_change_pct", "day_range_pct", "breakout_successful"];

pub(super) fn run(global: &Global, run: &Run) -> Result<()> {
    for (option, is_given) in [("--explain", run.explain), ("--sql", run.sql)] {
        if is_given {
            return Err(Error::Invalid(format!(
                "{option} cannot be used with --api-mode: it looks at the bars itself; leave one of them out"
            )));
        }
    }
    let server = Server::new(global, run.scan.timeout)?;
    output::format(&run.output)?;
    // Knows the parameters of the scanners that are here.
    let engine = rows::engine(global)?;
    let asked = request::scan(&engine, global, run)?.into_value();
    let scanner = request::scanner(&run.scan.scanner_type);
    let units = recording::units(&engine, &format!("scan_{scanner}"))?;
    let started = Instant::now();
    let payload = Payload::Json(asked);
    let answer = progress::waiting(global, "asking", || server.ask(&Method::POST, "/scan", ARROW, &payload))?;
    let scan_id = answer.header("stockscan-scan-id").unwrap_or_default().to_owned();
    let given = [run.date.as_deref(), run.end_date.as_deref(), run.scan.cutoff.as_deref()];
    let copy = recording::copy(global, scanner, &given, &scan_id, &run.output)?;
    let written = Written { outputs: (&run.output, copy.as_ref()), numbers: Numbers::Rounded, units: &units, without: &OUTCOMES };
    let found = rows::write(answer, &written)?;
    if !global.quiet {
        let when = match (&run.date, &run.end_date) {
            (Some(start), Some(end)) if start != end => format!("from {start} to {end}"),
            (Some(date), _) => format!("on {date}"),
            (None, _) => "in the latest session".to_owned(),
        };
        let scan = if scan_id.is_empty() { String::new() } else { format!(", scan {scan_id}") };
        say!("{} {when} from {} in {:.2} s{scan}", counted(found, "hit"), server.url, started.elapsed().as_secs_f64());
        if let Some(path) = copy.and_then(|copy| copy.output) {
            say!("saved to {}", path.display());
        }
    }
    Ok(())
}
