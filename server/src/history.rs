//! `GET /scan/{id}` and `GET /scans`: scans of the past, the server's own and those of the command.

use std::{sync::Arc, time::Duration};

use arrow::{
    array::{Array, ArrayRef, AsArray, BooleanArray, Float64Array, RecordBatch, new_null_array},
    compute::cast,
    datatypes::{DataType, Field, Float64Type, Schema},
};
use axum::{
    Json,
    extract::State,
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use jiff::{Timestamp, civil::Date};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value as JsonValue, json};
use stockscan_engine::Result;
use stockscan_formats::arrow_error;
use stockscan_state::{Failure, Filter, MOST_ROWS, Record, Results};
use utoipa::{IntoParams, ToSchema};

use crate::{
    app::App,
    body::{Path, Query as AddressQuery},
    cache,
    problem::{Answer, Problem},
    scan::ScanResponse,
};

/// What became of a hit: columns that every scan's document has.
static OUTCOMES: [(&str, DataType); 4] = [
    ("eod_price", DataType::Float64),
    ("price_change_pct", DataType::Float64),
    ("day_range_pct", DataType::Float64),
    ("breakout_successful", DataType::Boolean),
];
/// So many scans are listed unless more are asked for.
const USUAL: i64 = 50;
/// More are not.
const MOST: i64 = 1000;
/// Nobody pages further.
const FURTHEST: i64 = 1_000_000_000;

/// The document of a scan; `None`: its rows are not kept.
pub(crate) fn document(record: &Record) -> Result<Option<String>> {
    let Some(results) = &record.results else { return Ok(None) };
    let results = with_outcomes(results)?;
    let (Some(batches), Some(hits)) = (results.batches(), results.json()?) else { return Ok(None) };
    let outcomes = || batches.iter().filter_map(|batch| batch.column_by_name("breakout_successful")?.as_boolean_opt());
    let known: usize = outcomes().map(|outcomes| outcomes.len() - outcomes.null_count()).sum();
    let successful = (known > 0).then(|| outcomes().map(BooleanArray::true_count).sum::<usize>());
    let end = record.end_date.as_ref().or(record.scan_date.as_ref());
    #[expect(clippy::cast_precision_loss, reason = "far fewer than 2^52")]
    let rate = successful.map(|successful| 100.0 * successful as f64 / known as f64);
    let head = json!({
        "scan_id": record.scan_id,
        "scanner_type": record.scanner,
        "scan_date": record.scan_date.as_ref().filter(|start| Some(*start) == end),
        "start_date": record.scan_date,
        "end_date": end,
        "total_results": results.rows(),
        "successful_breakouts": successful,
        "success_rate": rate,
        "avg_price_change": mean(batches, "price_change_pct")?,
        "avg_probability_score": mean(batches, "probability_score")?,
        "execution_time_ms": record.seconds * 1000.0,
    });
    let head = head.to_string();
    Ok(Some(format!("{},\"results\":{hits},\"timestamp\":\"{:.3}\"}}", head.trim_end_matches('}'), record.ended_at())))
}

/// The same rows, with what became of them, which is not known of those that the command found.
fn with_outcomes(results: &Results) -> Result<Results> {
    let missing: Vec<&(&str, DataType)> = OUTCOMES.iter().filter(|(name, _)| results.schema().column_with_name(name).is_none()).collect();
    if missing.is_empty() {
        return Ok(results.clone());
    }
    let fields = missing.iter().map(|(name, data_type)| Arc::new(Field::new(*name, data_type.clone(), true)));
    let schema = Arc::new(Schema::new(results.schema().fields().iter().cloned().chain(fields).collect::<Vec<_>>()));
    let mut completed = Results::default();
    completed.begin(&schema);
    for batch in results.batches().unwrap_or_default() {
        let columns = missing.iter().map(|(_, data_type)| new_null_array(data_type, batch.num_rows()));
        let columns: Vec<ArrayRef> = batch.columns().iter().cloned().chain(columns).collect();
        completed.take(&RecordBatch::try_new(Arc::clone(&schema), columns).map_err(arrow_error)?);
    }
    Ok(completed)
}

/// The mean of a column's numbers; `None`: it has none.
fn mean(batches: &[RecordBatch], column: &str) -> Result<Option<f64>> {
    let (mut sum, mut count) = (0.0, 0.0);
    for batch in batches {
        let Some(column) = batch.column_by_name(column) else { continue };
        let numbers = cast(column, &DataType::Float64).map_err(arrow_error)?;
        let numbers: &Float64Array = numbers.as_primitive::<Float64Type>();
        for number in numbers.iter().flatten() {
            sum += number;
            count += 1.0;
        }
    }
    Ok((count > 0.0).then(|| sum / count))
}

/// Finds the scan that is meant: `latest`, or the first letters of its id, as many as tell it from the others.
pub(crate) async fn scan_id(app: &App, given: &str) -> Answer<String> {
    let given = given.to_lowercase();
    let is_id = !given.is_empty() && given.len() <= 36 && given.bytes().all(|byte| byte.is_ascii_hexdigit() || byte == b'-');
    if given != "latest" && !is_id {
        let detail = format!("id must be the id of a scan, its first letters, or latest, got '{given}'");
        return Err(Problem::of_parameter("id", detail));
    }
    if app.store.newest(&given).is_some() {
        return Ok(given);
    }
    let asked = given.clone();
    let found = app.store.run(app.allowed(), move |keeper| keeper.matching(&asked)).await?;
    match found.as_slice() {
        [] if given == "latest" => Err(Problem::not_found("nothing has been scanned yet that the history would know of")),
        [] => Err(Problem::not_found(format!("the history has no scan '{given}'; GET /scans lists them, and latest is the newest"))),
        [one] => Ok(one.clone()),
        _ => {
            let detail = format!("id must tell one scan from the others: several begin with '{given}'");
            Err(Problem { parameter: Some("id".to_owned()), ..Problem::new(StatusCode::CONFLICT, "ambiguous", detail) })
        }
    }
}

/// A scan with its rows.
pub(crate) async fn scan_with_rows(app: &App, scan_id: String) -> Answer<(Arc<Record>, Results)> {
    let record = match app.store.newest(&scan_id) {
        Some(record) => record,
        None => {
            let asked = scan_id.clone();
            let found = app.store.run(app.allowed(), move |keeper| keeper.scan(&asked)).await?;
            found.ok_or_else(|| Problem::not_found(format!("the history has no scan '{scan_id}'")))?
        }
    };
    match record.results.as_ref().filter(|results| results.batches().is_some()) {
        Some(results) => Ok((Arc::clone(&record), results.clone())),
        None => Err(without_rows(&record)),
    }
}

/// Why a scan has no rows.
fn without_rows(record: &Record) -> Problem {
    let detail = match (&record.failure, record.hits) {
        (Some(failure), _) => match told(failure) {
            Some(text) => format!("the scan failed, so that it has no results: {text}"),
            None => format!("the scan failed, so that it has no results; the kind of its error is '{}'", failure.kind),
        },
        (None, Some(hits)) if hits > MOST_ROWS => {
            format!("the scan has {hits} hits, and no more than {MOST_ROWS} are kept; scan fewer sessions, or scan again to have the rows")
        }
        (None, _) => "the results of this scan are not kept".to_owned(),
    };
    Problem::not_found(detail).with_scanner(&record.scanner)
}

/// What an error says, if that is about what was asked: of others the texts may name files.
fn told(failure: &Failure) -> Option<&str> {
    ["usage", "timeout"].contains(&failure.kind.as_str()).then(|| failure.text.lines().next().unwrap_or_default())
}

/// Whether the client has this content already.
pub(crate) fn has_already(headers: &HeaderMap, etag: &str) -> bool {
    let given = headers.get_all(header::IF_NONE_MATCH).iter().filter_map(|value| value.to_str().ok());
    let mut tags = given.flat_map(|value| value.split(',')).map(str::trim);
    tags.any(|tag| tag == "*" || tag.strip_prefix("W/").unwrap_or(tag) == etag)
}

/// The answer to one who has it already.
pub(crate) fn not_modified(etag: &str) -> Response {
    let mut response = StatusCode::NOT_MODIFIED.into_response();
    tag(&mut response, etag);
    response
}

pub(crate) fn tag(response: &mut Response, etag: &str) {
    if let Ok(etag) = HeaderValue::from_str(etag) {
        response.headers_mut().insert(header::ETAG, etag);
    }
}

/// A scan of the past, as it was answered.
#[utoipa::path(
    get, path = "/scan/{id}", tag = "scans",
    params(
        ("id" = String, Path, description = "The scan's id, its first letters, or `latest`.", example = "latest", max_length = 36, pattern = "^([0-9a-fA-F-]{1,36}|latest)$"),
        ("If-None-Match" = Option<String>, Header, description = "The ETag of a document that is there already."),
    ),
    responses(
        (status = 200, description = "The scan. One of the command says nothing of what became of its hits.", body = ScanResponse),
        (status = 304, description = "It is there already: a scan of the past does not change."),
        (status = 409, description = "Several begin with these letters.", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(crate) async fn scan(State(app): State<Arc<App>>, Path(id): Path<String>, headers: HeaderMap) -> Answer<Response> {
    let scan_id = scan_id(&app, &id).await?;
    let (record, _) = scan_with_rows(&app, scan_id).await?;
    let written = tokio::task::spawn_blocking(move || document(&record).map(|text| text.ok_or_else(|| without_rows(&record))));
    let text = written.await.map_err(|error| Problem::internal(error.to_string()))???;
    let etag = cache::etag(text.as_bytes());
    if has_already(&headers, &etag) {
        return Ok(not_modified(&etag));
    }
    let mut response = ([(header::CONTENT_TYPE, "application/json")], text).into_response();
    tag(&mut response, &etag);
    Ok(response)
}

/// Which scans are listed.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct Which {
    /// At most so many.
    #[serde(default)]
    #[param(value_type = Option<u32>, minimum = 1, maximum = 1000, default = 50)]
    limit: Option<String>,
    /// So many of the newest are left out. With `until`, so that scans that are new meanwhile move nothing.
    #[serde(default)]
    #[param(value_type = Option<u32>, minimum = 0, maximum = 1_000_000_000, default = 0)]
    offset: Option<String>,
    /// Only scans of this scanner.
    #[serde(default)]
    #[param(example = "breakout")]
    scanner_type: Option<String>,
    /// Only scans that began then or later: a time with its offset from UTC, or a date in UTC.
    #[serde(default)]
    #[param(format = DateTime)]
    since: Option<String>,
    /// Only scans that began before.
    #[serde(default)]
    #[param(format = DateTime)]
    until: Option<String>,
    /// Only scans that have results, or only those that failed.
    #[serde(default)]
    #[param(value_type = Option<Status>, inline)]
    status: Option<String>,
}

/// What came of a scan.
#[derive(Debug, Clone, Copy, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Status {
    /// It has results, be it that there are none.
    Done,
    /// It ended with an error.
    Failed,
}

/// Scans of the past, the newest first.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ScansResponse {
    /// How many there are of the kind asked for.
    total: u64,
    /// At most so many are listed.
    limit: i64,
    /// So many are left out before them.
    offset: i64,
    /// How many scans have ended and could not be stored yet; they are not listed.
    not_yet_stored: usize,
    /// The scans.
    scans: Vec<ScanSummary>,
}

/// A scan of the past without its results.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ScanSummary {
    /// Its name.
    scan_id: String,
    /// The scanner.
    scanner_type: String,
    /// The first session.
    #[schema(format = Date)]
    start_date: Option<String>,
    /// The last session.
    #[schema(format = Date)]
    end_date: Option<String>,
    /// The cutoff, if it was given.
    cutoff_time: Option<String>,
    /// All that was given to the scanner.
    #[schema(value_type = Object)]
    arguments: Map<String, JsonValue>,
    /// Who asked: `server`, or a command such as `run`, `stream`, `monitor` or `alerts`.
    #[schema(example = "server")]
    asked_by: String,
    /// What came of it.
    status: Status,
    /// How many hits; null if it failed.
    total_results: Option<u64>,
    /// How long it took, in milliseconds.
    execution_time_ms: f64,
    /// The scan whose results it repeats, which were of the same data.
    repeats: Option<String>,
    /// What kind of error it ended with, in a word.
    error_kind: Option<String>,
    /// What the error says, if that is about what was asked.
    error: Option<String>,
    /// When it ended, by the clock of who scanned, in UTC.
    #[schema(format = DateTime)]
    timestamp: String,
}

impl From<Record> for ScanSummary {
    fn from(record: Record) -> ScanSummary {
        let mut arguments: Map<String, JsonValue> = serde_json::from_str(&record.arguments).unwrap_or_default();
        // It may be a file of the machine.
        arguments.remove("source");
        let timestamp = format!("{:.3}", record.ended_at());
        ScanSummary {
            status: if record.failure.is_some() { Status::Failed } else { Status::Done },
            error: record.failure.as_ref().and_then(told).map(str::to_owned),
            error_kind: record.failure.map(|failure| failure.kind),
            scan_id: record.scan_id,
            scanner_type: record.scanner,
            end_date: record.end_date.or_else(|| record.scan_date.clone()),
            start_date: record.scan_date,
            cutoff_time: record.cutoff_time,
            arguments,
            asked_by: record.command,
            total_results: record.hits,
            execution_time_ms: record.seconds * 1000.0,
            repeats: record.cached_from,
            timestamp,
        }
    }
}

/// Scans of the past, the newest first, without their results.
#[utoipa::path(
    get, path = "/scans", tag = "scans", params(Which),
    responses((status = 200, description = "The scans.", body = ScansResponse))
)]
pub(crate) async fn scans(State(app): State<Arc<App>>, AddressQuery(which): AddressQuery<Which>) -> Answer<Json<ScansResponse>> {
    let limit = number("limit", which.limit.as_deref(), USUAL, 1, MOST)?;
    let offset = number("offset", which.offset.as_deref(), 0, 0, FURTHEST)?;
    let has_failed = match which.status.as_deref() {
        None => None,
        Some("done") => Some(false),
        Some("failed") => Some(true),
        Some(other) => return Err(Problem::of_parameter("status", format!("status must be done or failed, got '{other}'"))),
    };
    let moment = |name: &str, given: Option<String>| given.map(|text| moment(name, &text)).transpose();
    let filter =
        Filter { scanner: which.scanner_type, since: moment("since", which.since)?, until: moment("until", which.until)?, has_failed };
    let (most, left_out) = (u32::try_from(limit).unwrap_or(u32::MAX), u32::try_from(offset).unwrap_or(u32::MAX));
    let (total, found) = app.store.run(app.allowed(), move |keeper| keeper.state.scans(&keeper.engine, &filter, most, left_out)).await?;
    let scans = found.into_iter().map(ScanSummary::from).collect();
    Ok(Json(ScansResponse { total, limit, offset, not_yet_stored: app.store.waiting(), scans }))
}

/// A whole number of an address, or what it is without one.
pub(crate) fn number(name: &str, given: Option<&str>, usual: i64, least: i64, most: i64) -> Answer<i64> {
    let Some(text) = given else { return Ok(usual) };
    let number = text.trim().parse().ok().filter(|number| (least..=most).contains(number));
    number.ok_or_else(|| Problem::of_parameter(name, format!("{name} must be a whole number between {least} and {most}, got '{text}'")))
}

/// A time, or the beginning of a date in UTC.
pub(crate) fn moment(name: &str, text: &str) -> Answer<Timestamp> {
    let text = text.trim();
    let date = || {
        let date = text.parse::<Date>().ok().filter(|_| text.len() <= 10)?;
        date.to_zoned(jiff::tz::TimeZone::UTC).ok().map(|start| start.timestamp())
    };
    text.parse::<Timestamp>().ok().or_else(date).ok_or_else(|| {
        let detail = format!("{name} must be a time with its offset such as 2025-01-15T09:50:00Z, or a date, got '{text}'");
        Problem::of_parameter(name, detail)
    })
}

/// So many days before now.
pub(crate) fn days_ago(days: i64) -> Timestamp {
    Timestamp::now().checked_sub(Duration::from_secs(u64::try_from(days).unwrap_or_default() * 86_400)).unwrap_or(Timestamp::MIN)
}
