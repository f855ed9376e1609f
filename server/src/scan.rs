//! `POST /scan` and `POST /batch-scan`: scans, with what became of each hit by the end of its session.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use axum::{
    Json,
    body::Body,
    extract::State,
    http::{HeaderMap, HeaderName, HeaderValue, header},
    response::{IntoResponse, Response},
};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value as JsonValue, json};
use stockscan_configuration::{RunSettings, Whole};
use stockscan_engine::{Argument, Call, Engine, Error, Query, Result, Value, quoted};
use stockscan_formats::Format;
use stockscan_live::value_of_json;
use stockscan_state::{MOST_ROWS, Results, new_scan_id};
use utoipa::ToSchema;

use crate::{
    app::{App, Documented},
    body::Body as JsonBody,
    cache::{Cache, Kept},
    given, history,
    problem::{Answer, Problem},
    rows::{self, Rows},
    work::Instance,
};

/// How long the scan of a session that is over may be repeated from memory.
const LONG: Duration = Duration::from_secs(24 * 3600);
/// Up to when a session is followed, unless the request or the configuration says otherwise: as outcomes() has it.
const END_OF_DAY: &str = "15:15";

/// What is to be scanned.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ScanRequest {
    /// The scanner's name, as `GET /scanners` lists it.
    #[schema(example = "breakout")]
    pub(crate) scanner_type: String,
    /// The session. Without it, and without start_date, the latest in the data.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(format = Date, example = "2025-01-15")]
    pub(crate) scan_date: Option<String>,
    /// The first session of a range, instead of scan_date.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(format = Date)]
    pub(crate) start_date: Option<String>,
    /// The last session of a range.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(format = Date)]
    pub(crate) end_date: Option<String>,
    /// Time of day up to which bars are seen, exchange time; without it the scanner's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(format = "time-of-day", example = "09:50")]
    pub(crate) cutoff_time: Option<String>,
    /// Time of day up to which a session is followed to say what became of a hit, exchange time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(format = "time-of-day", example = "15:15")]
    pub(crate) end_of_day_time: Option<String>,
    /// Only these symbols.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(min_items = 1)]
    pub(crate) symbols: Option<Vec<String>>,
    /// Values of the scanner's parameters, over those of the configuration.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    pub(crate) config: Option<Map<String, JsonValue>>,
}

/// What a scan found.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ScanResponse {
    /// A name for the scan, under which `GET /scan/{id}` has it.
    scan_id: String,
    /// The scanner.
    scanner_type: String,
    /// The session; null for a range.
    #[schema(format = Date)]
    scan_date: Option<String>,
    /// The first session.
    #[schema(format = Date)]
    start_date: String,
    /// The last session.
    #[schema(format = Date)]
    end_date: String,
    /// How many hits.
    total_results: u64,
    /// Hits that went their way by the end of the day; null if of none is known.
    successful_breakouts: Option<u64>,
    /// Their share of those of which it is known, in percent; null if of none is known.
    success_rate: Option<f64>,
    /// Mean change from a hit's price to that by the end of the day, in percent; null if of none is known.
    avg_price_change: Option<f64>,
    /// Mean score; null without hits.
    avg_probability_score: Option<f64>,
    /// How long the scan took, in milliseconds.
    execution_time_ms: f64,
    /// The hits: the scanner's columns, and `eod_price`, `price_change_pct`, `day_range_pct`, `breakout_successful`, which are null as long as
    /// they are not known.
    #[schema(value_type = Vec<Object>)]
    results: Vec<JsonValue>,
    /// When, by the server's clock, in UTC.
    #[schema(format = DateTime)]
    timestamp: String,
}

/// A scan that is ready to be run.
pub(crate) struct Prepared {
    pub(crate) call: Call,
    /// The first session.
    pub(crate) start: String,
    /// The last session.
    pub(crate) end: String,
    pub(crate) query: Query,
    pub(crate) settings: RunSettings,
    /// Of which data; `None`: that cannot be told, or the scanner may read more.
    pub(crate) data_version: Option<String>,
}

impl ScanRequest {
    /// Finds the scanner, its arguments and the sessions.
    pub(crate) fn prepare(&self, app: &App, engine: &Engine) -> Result<Prepared> {
        let function = engine.scanner_function(&self.scanner_type)?;
        let scanner = function.strip_prefix("scan_").unwrap_or(&function).to_owned();
        let documented = app.documented(engine, &function, &scanner)?;
        let arguments = self.given(app, engine, &function, &documented)?;
        let (start, end) = self.sessions(engine, &arguments)?;
        let text = |value: &str| Argument::Value(Value::Text(value.to_owned()));
        let mut days = vec![("scan_date".to_owned(), text(&start))];
        if start != end {
            days.push(("end_date".to_owned(), text(&end)));
        }
        let call = engine.call(&function, &[days, arguments].concat())?;
        let data_version = if documented.is_fixed { app.market.version_seen(engine)? } else { None };
        let query = self.with_outcomes(app, engine, &call, (&start, &end))?;
        Ok(Prepared { settings: app.configuration().run_settings(&scanner), call, start, end, query, data_version })
    }

    /// What the configuration says, and over it the request.
    pub(crate) fn arguments(&self, app: &App, engine: &Engine, function: &str, scanner: &str) -> Result<Vec<(String, Argument)>> {
        self.given(app, engine, function, &*app.documented(engine, function, scanner)?)
    }

    fn given(&self, app: &App, engine: &Engine, function: &str, documented: &Documented) -> Result<Vec<(String, Argument)>> {
        let signature = engine.signature(function)?;
        let takes = |name: &str| signature.parameters.iter().any(|(parameter, _)| parameter == name);
        let mut arguments: Vec<(String, Argument)> = Vec::new();
        let mut set = |name: &str, value: Value| arguments.push((name.to_owned(), Argument::Value(value)));
        for (name, setting) in &documented.settings {
            if takes(name) {
                set(name, value_of_json(&setting.value));
            }
        }
        if app.options.bar_minutes != 1 {
            set("bar_minutes", Value::BigInt(i64::from(app.options.bar_minutes)));
            if app.options.bar_minutes == 1440 && takes("cutoff_time") {
                set("cutoff_time", Value::Text("24:00".to_owned()));
            }
        }
        if let Some(config) = &self.config {
            let mistakes = stockscan_configuration::parameter_mistakes(&documented.parameters, config);
            if !mistakes.is_empty() {
                return Err(Error::Invalid(mistakes.into_iter().map(|(_, mistake)| mistake).collect::<Vec<_>>().join("; ")));
            }
            config.iter().for_each(|(name, value)| set(name, value_of_json(value)));
        }
        if let Some(cutoff) = &self.cutoff_time {
            given::time_of_day("cutoff_time", cutoff)?;
            set("cutoff_time", Value::Text(cutoff.clone()));
        }
        if let Some(symbols) = &self.symbols {
            if symbols.is_empty() {
                return Err(Error::Invalid("symbols must not be empty; leave it out for all".to_owned()));
            }
            set("symbols", Value::List(symbols.iter().map(|symbol| Value::Text(symbol.clone())).collect()));
        }
        Ok(arguments)
    }

    fn sessions(&self, engine: &Engine, arguments: &[(String, Argument)]) -> Result<(String, String)> {
        let date = |name: &str, text: &str| given::date(name, text).map(|date| date.to_string());
        let (start, end) = match (&self.scan_date, &self.start_date, &self.end_date) {
            (Some(_), Some(_), _) => return Err(Error::Invalid("scan_date must not be given beside start_date".to_owned())),
            (Some(one), None, None) | (None, Some(one), None) => (date("scan_date", one)?, date("scan_date", one)?),
            (Some(start), None, Some(end)) => (date("scan_date", start)?, date("end_date", end)?),
            (None, Some(start), Some(end)) => (date("start_date", start)?, date("end_date", end)?),
            (None, None, Some(_)) => return Err(Error::Invalid("start_date must be given beside end_date".to_owned())),
            (None, None, None) => {
                let shared = ["bar_minutes", "session_start", "session_end"];
                let bars: Vec<_> = arguments.iter().filter(|(name, _)| shared.contains(&name.as_str())).cloned().collect();
                let latest = engine.latest_session(&bars)?;
                let latest =
                    latest.ok_or_else(|| Error::MissingSource { relation: engine.source().to_owned(), database: String::new() })?;
                (latest.clone(), latest)
            }
        };
        if start > end {
            return Err(Error::Invalid(format!("start_date must not be after end_date, got {start} and {end}")));
        }
        Ok((start, end))
    }

    /// The scan's rows, each with what became of it.
    fn with_outcomes(&self, app: &App, engine: &Engine, call: &Call, (start, end): (&str, &str)) -> Result<Query> {
        let scan = call.query();
        self.end_of_day_time.as_deref().map(|text| given::time_of_day("end_of_day_time", text)).transpose()?;
        let given = |name: &str| {
            call.arguments.iter().find(|(given, _)| given == name).map(|(_, value)| value.clone()).filter(|value| *value != Value::Null)
        };
        if app.options.bar_minutes == 1440 {
            let sql = format!(
                "SELECT hit.*, CAST(NULL AS DOUBLE) AS eod_price, CAST(NULL AS DOUBLE) AS price_change_pct, CAST(NULL AS DOUBLE) AS day_range_pct, \
                 CAST(NULL AS BOOLEAN) AS breakout_successful FROM ({}) AS hit",
                scan.sql
            );
            return Ok(Query { sql, ..scan });
        }
        let text = |value: &str| Value::Text(value.to_owned());
        let mut arguments: Vec<(String, Argument)> = Vec::new();
        let mut set = |name: &str, value: Option<Value>| arguments.extend(value.map(|value| (name.to_owned(), Argument::Value(value))));
        set("hits", Some(text("stockscan_hits")));
        set("start_date", Some(text(start)));
        set("end_date", Some(text(end)));
        for name in ["cutoff_time", "source", "bar_minutes", "session_start", "session_end"] {
            set(name, given(name));
        }
        let end_of_day = self.end_of_day_time.as_deref().map(text);
        set("end_of_day_time", Some(end_of_day.or_else(|| given("session_end")).unwrap_or_else(|| text(END_OF_DAY))));
        if given("direction") == Some(text("short")) {
            set("direction", Some(text("short")));
        }
        let day = engine.call("end_of_day", &arguments)?.query();
        let sql = format!(
            "WITH stockscan_hits AS MATERIALIZED ({}) SELECT hit.*, day.eod_price, day.price_change_pct, day.day_range_pct, day.breakout_successful \
             FROM stockscan_hits AS hit LEFT JOIN ({}) AS day ON day.scan_date = hit.scan_date AND day.symbol = hit.symbol \
             ORDER BY hit.scan_date, hit.{}",
            scan.sql,
            day.sql,
            quoted("rank")
        );
        Ok(Query { sql, values: [scan.values, day.values].concat(), scanner: scan.scanner })
    }
}

/// Runs a scan.
pub(crate) fn scanned(engine: &Engine, prepared: &Prepared) -> Result<Results> {
    let (schema, batches) = engine.collect(&prepared.query, None)?;
    let mut results = Results::default();
    results.begin(&schema);
    batches.iter().for_each(|batch| results.take(batch));
    if results.batches().is_none() {
        return Err(Error::Invalid(format!(
            "this finds {} hits, and one document has at most {MOST_ROWS}; ask for fewer sessions, or for rows: Accept: application/x-ndjson, text/csv, \
             application/vnd.apache.arrow.stream or application/vnd.apache.parquet",
            results.rows()
        )));
    }
    Ok(results)
}

/// Runs one scan, or repeats its answer.
pub(crate) async fn answer(app: &Arc<App>, request: ScanRequest) -> Answer<Arc<Kept>> {
    let scanner = request.scanner_type.clone();
    let named = |problem: Problem| problem.with_scanner(&scanner);
    // Without a look at the data, if it is the same as when the answer was made.
    let generation = app.configuration().generation;
    if let Some(Some(version)) = app.market.known_version()
        && let Some(kept) = app.cache.get(&Cache::key("scan", &(generation, &request), &version))
    {
        metrics::counter!("stockscan_scans_cached_total").increment(1);
        return Ok(kept);
    }
    let inner = Arc::clone(app);
    let started = Instant::now();
    let outcome = app
        .workers
        .run(Instance::Ours, app.allowed(), move |engine| {
            let prepared = request.prepare(&inner, engine)?;
            let outcome = scanned(engine, &prepared);
            let record = inner.record(&prepared, new_scan_id(), started.elapsed(), outcome)?;
            let body = history::document(&record)?.ok_or_else(|| Error::Database("a scan without its rows".to_owned()))?;
            Ok((request, prepared, body))
        })
        .await;
    let (request, prepared, body) = outcome.map_err(named)?;
    let settings = prepared.settings;
    let is_over = prepared.end < yesterday();
    let within = if is_over { LONG.max(settings.cache_ttl) } else { settings.cache_ttl };
    let kept = Arc::new(Kept::new(body, within));
    if let Some(version) = prepared.data_version.filter(|_| settings.enable_caching && !settings.cache_ttl.is_zero()) {
        app.cache.insert(Cache::key("scan", &(generation, &request), &version), Arc::clone(&kept));
    }
    Ok(kept)
}

/// The day before today somewhere on earth.
fn yesterday() -> String {
    let now = jiff::Timestamp::now() - jiff::SignedDuration::from_hours(36);
    now.to_zoned(jiff::tz::TimeZone::UTC).date().to_string()
}

/// Scans a session, or a range of them.
#[utoipa::path(
    post, path = "/scan", tag = "scans",
    request_body(content = ScanRequest, example = json!({"scanner_type": "breakout", "scan_date": "2025-01-15", "cutoff_time": "09:50", "config": {"min_price": 100}})),
    responses(
        (status = 200, description = "What was found. As lines of JSON, CSV, Arrow or Parquet, by `Accept`: the hits alone.", content(
            (ScanResponse = "application/json"), (String = "application/x-ndjson"), (String = "text/csv"),
            (Vec<u8> = "application/vnd.apache.arrow.stream"), (Vec<u8> = "application/vnd.apache.parquet"))),
    )
)]
pub(crate) async fn scan(State(app): State<Arc<App>>, headers: HeaderMap, JsonBody(request): JsonBody<ScanRequest>) -> Answer<Response> {
    let format = rows::accepted(&headers)?;
    if format == Format::Json {
        return Ok(document(&*answer(&app, request).await?));
    }
    let scanner = request.scanner_type.clone();
    let inner = Arc::clone(&app);
    let scan_id = new_scan_id();
    let headers =
        vec![(HeaderName::from_static("stockscan-scan-id"), HeaderValue::from_str(&scan_id).unwrap_or(HeaderValue::from_static("")))];
    let observe = crate::app::Recording::new(&app, scan_id);
    let prepared = observe.prepared();
    let make = move |engine: &Engine| {
        let found = request.prepare(&inner, engine)?;
        let queries = vec![found.query.clone()];
        // Nobody else has it at the moment.
        *prepared.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = Some(found);
        Ok(queries)
    };
    let rows = Rows { format, allowed: app.allowed(), headers, if_empty: None, make, observe };
    rows.respond(&app.workers, Instance::Ours).await.map_err(|problem| problem.with_scanner(&scanner))
}

/// A kept document as an answer.
pub(crate) fn document(kept: &Kept) -> Response {
    let mut response = Response::new(Body::from(kept.body.clone()));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(header::VARY, HeaderValue::from_static("accept"));
    headers.insert(header::AGE, kept.age().into());
    if let Ok(etag) = HeaderValue::from_str(&kept.etag) {
        headers.insert(header::ETAG, etag);
    }
    response
}

/// Scans to be run together.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct BatchRequest {
    /// The scans, at most `api.max_batch_size` of the configuration.
    #[schema(min_items = 1)]
    scans: Vec<ScanRequest>,
    /// How many of them run at a time, at most; without it as many as the server allows.
    #[serde(default)]
    #[schema(value_type = Option<u8>, minimum = 1, maximum = 100)]
    max_concurrent: Option<Whole<1, 100>>,
}

/// What came of scans that were run together, in the order in which they were asked for.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct BatchResponse {
    /// How many were asked for.
    total: usize,
    /// How many have an answer.
    succeeded: usize,
    /// How many have a problem.
    failed: usize,
    /// Each one's answer as of `POST /scan`, or its problem.
    #[schema(value_type = Vec<Object>)]
    results: Vec<JsonValue>,
}

/// Runs several scans; each answers or fails on its own.
#[utoipa::path(
    post, path = "/batch-scan", tag = "scans",
    request_body(content = BatchRequest, example = json!({"scans": [{"scanner_type": "breakout"}, {"scanner_type": "gap", "config": {"min_gap_pct": 1}}]})),
    responses((status = 200, description = "What came of each.", body = BatchResponse))
)]
pub(crate) async fn batch_scan(State(app): State<Arc<App>>, JsonBody(batch): JsonBody<BatchRequest>) -> Answer<Response> {
    let most = usize::try_from(app.configuration().api.max_batch_size.0).unwrap_or(usize::MAX);
    if batch.scans.is_empty() || batch.scans.len() > most {
        let detail = format!("scans must have 1 to {most} items, got {}", batch.scans.len());
        return Err(Problem::of_parameter("scans", detail));
    }
    let at_a_time = batch.max_concurrent.and_then(|at_a_time| usize::try_from(at_a_time.0).ok()).unwrap_or(most);
    let permits = Arc::new(tokio::sync::Semaphore::new(at_a_time));
    let mut running = tokio::task::JoinSet::new();
    for (index, request) in batch.scans.into_iter().enumerate() {
        let (app, permits) = (Arc::clone(&app), Arc::clone(&permits));
        // They go when this future does, and their queries with them.
        running.spawn(async move {
            let _permit = permits.acquire().await;
            (index, answer(&app, request).await)
        });
    }
    let mut results: Vec<JsonValue> = Vec::new();
    let mut failed = 0;
    while let Some(joined) = running.join_next().await {
        let (index, outcome) = joined.map_err(|error| Problem::internal(error.to_string()))?;
        let result = match outcome {
            Ok(kept) => serde_json::from_slice(&kept.body).map_err(|error| Problem::internal(error.to_string()))?,
            Err(problem) => {
                failed += 1;
                json!(problem)
            }
        };
        if results.len() <= index {
            results.resize(index + 1, JsonValue::Null);
        }
        results[index] = result;
    }
    let total = results.len();
    Ok(Json(BatchResponse { total, succeeded: total - failed, failed, results }).into_response())
}
