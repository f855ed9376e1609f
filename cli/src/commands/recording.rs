//! A scan with its history: what was asked before is not scanned again, and what was scanned is recorded.

use std::{
    path::PathBuf,
    time::{Duration, Instant},
};

use arrow::compute::concat_batches;
use stockscan_configuration::RunSettings;
use stockscan_engine::{Call, Engine, Error, Result, is_built_in, literal};
use stockscan_state::{Outcome, Question, Results, Scan, State, new_scan_id};

use super::database;
use crate::{
    arguments::{Format, Global, Output},
    output, progress,
    rows::Rows,
    table::Numbers,
};

/// A scan that has ended well.
pub(crate) struct Recorded {
    pub(crate) rows: u64,
    pub(crate) elapsed: Duration,
    /// The same was asked before, and this is the answer of then.
    pub(crate) is_cached: bool,
    /// The file that the configuration wants its rows in.
    pub(crate) saved: Option<PathBuf>,
}

/// The history that the options name.
pub(crate) fn state(global: &Global) -> State {
    State::new(global.state.clone().unwrap_or_else(|| database(global).with_file_name("state.duckdb")))
}

/// Runs a scan, writes its rows and records it. `may_reuse`: an earlier answer to the same question will do.
pub(crate) fn scan(
    engine: &Engine,
    global: &Global,
    call: &Call,
    settings: &RunSettings,
    output: &Output,
    may_reuse: bool,
) -> Result<Recorded> {
    let state = state(global);
    let scan_id = new_scan_id();
    // A scanner of the user's own may read more than the bars.
    let is_built_in = is_built_in(&call.function) && !engine.hides_built_in(&call.function)?;
    let data_version = if is_built_in { engine.data_version()? } else { None };
    let database = engine.file();
    let units = units(engine, &call.function)?;
    let given = ["scan_date", "end_date", "cutoff_time"]
        .map(|name| call.arguments.iter().find(|(given, _)| given == name).map(|(_, value)| literal(value)));
    let scanner = call.function.strip_prefix("scan_").unwrap_or(&call.function);
    let copy = copy(global, scanner, &given.each_ref().map(Option::as_deref), &scan_id, output)?;
    let outputs = (output, copy.as_ref());
    let saved = copy.as_ref().and_then(|copy| copy.output.clone());
    let started = Instant::now();
    let mut results = Results::default();
    let record = |elapsed: Duration, outcome: Outcome<'_>| {
        let scan = Scan {
            scan_id: &scan_id,
            command: "run",
            call,
            database: database.as_deref(),
            data_version: data_version.as_deref(),
            elapsed,
            outcome,
        };
        if let Err(error) = state.record(engine, &scan)
            && !global.quiet
        {
            say!("{}", not_recorded("this scan", &error));
        }
    };
    if let Some(data_version) = data_version.as_deref().filter(|_| may_reuse && settings.enable_caching && !settings.cache_ttl.is_zero()) {
        let question = Question { call, data_version, within: settings.cache_ttl };
        // A history that cannot be read is no reason not to scan.
        if let Ok(Some(from)) = state.answered(engine, &question)
            && let Ok(Some(kept)) = kept(engine, &state, &from)
        {
            output::write_kept(&kept, output, Numbers::Rounded, &[], &units)?;
            copy.as_ref().map_or(Ok(()), |copy| output::write_rows(&kept, copy, Numbers::Exact))?;
            let (elapsed, rows) = (started.elapsed(), kept.len() as u64);
            record(elapsed, Outcome::Cached { from: &from, rows });
            return Ok(Recorded { rows, elapsed, is_cached: true, saved });
        }
    }
    let outcome = progress::shown(engine, global, "scanning", || {
        output::write_scan(engine, &call.query(), Some(settings.timeout), outputs, &units, &mut results)
    });
    let elapsed = started.elapsed();
    match outcome {
        Ok(()) => record(elapsed, Outcome::Done(&results)),
        Err(error) => {
            record(elapsed, Outcome::Failed { kind: error.kind(), text: &error.to_string() });
            return Err(error);
        }
    }
    Ok(Recorded { rows: results.rows(), elapsed, is_cached: false, saved })
}

/// Where else the rows go: a file in the folder that the configuration names, if it wants that. `given`: what else its name says.
pub(crate) fn copy(global: &Global, scanner: &str, given: &[Option<&str>], scan_id: &str, output: &Output) -> Result<Option<Output>> {
    let cli = &global.configuration.cli;
    if !cli.auto_save_results || output.output.is_some() {
        return Ok(None);
    }
    let folder = &cli.results_directory.0;
    std::fs::create_dir_all(folder).map_err(|source| Error::File { path: folder.clone(), source })?;
    let fit = |letter: &char| letter.is_alphanumeric() || matches!(letter, '-' | '_');
    let parts = std::iter::once(scanner).chain(given.iter().flatten().copied());
    let mut name: Vec<String> = parts.map(|part| part.chars().filter(fit).collect()).collect();
    name.push(scan_id.chars().take(8).collect());
    let (format, ending) = match output.format {
        Some(Format::Json) => (Format::Json, "json"),
        Some(Format::Ndjson) => (Format::Ndjson, "ndjson"),
        Some(Format::Parquet) => (Format::Parquet, "parquet"),
        Some(Format::Arrow) => (Format::Arrow, "arrow"),
        None | Some(Format::Table | Format::Csv) => (Format::Csv, "csv"),
    };
    Ok(Some(Output { format: Some(format), output: Some(folder.join(format!("{}.{ending}", name.join("_")))) }))
}

/// Writes the rows of a scan of the history. Returns how many.
pub(crate) fn write(engine: &Engine, state: &State, scan_id: &str, output: &Output, units: &[(String, String)]) -> Result<u64> {
    let rows = kept(engine, state, scan_id)?.ok_or_else(|| {
        Error::Invalid(format!(
            "the history has no rows of scan {scan_id}: it failed, or had more than are kept; 'scanner show {}' shows how to run it again",
            &scan_id[..8]
        ))
    })?;
    output::write_kept(&rows, output, Numbers::Rounded, &[], units)?;
    Ok(rows.len() as u64)
}

/// The rows of a scan of the history, if it has them. Nothing is written while the file is open: whoever reads along may take his time.
fn kept(engine: &Engine, state: &State, scan_id: &str) -> Result<Option<Rows>> {
    let Some(results) = state.results(engine, scan_id)? else { return Ok(None) };
    let batch = concat_batches(results.schema(), results.batches().unwrap_or_default());
    Ok(Some(Rows { batch: batch.map_err(stockscan_formats::arrow_error)? }))
}

/// The units of a scanner's columns, as far as they are not in every trader's head.
pub(crate) fn units(engine: &Engine, function: &str) -> Result<Vec<(String, String)>> {
    let columns = engine.columns_of_built_in(function)?;
    let units = columns.into_iter().filter_map(|column| Some((column.name, column.unit?)));
    let units = units.filter(|(_, unit)| unit != "currency" && !unit.starts_with("points") && !unit.contains(' '));
    Ok(units.map(|(name, unit)| (name, if unit == "times" { "×".to_owned() } else { unit })).collect())
}

/// Says that scans are not in the history, and why.
pub(crate) fn not_recorded(what: &str, error: &Error) -> String {
    format!("{what} is not in the history: {}; --state FILE names another place for it", brief(error))
}

/// The first sentence of an error, without what it advises.
fn brief(error: &Error) -> String {
    let text = error.to_string();
    text.split("; ").next().unwrap_or(&text).split(". ").next().unwrap_or_default().trim_end_matches('.').to_owned()
}
