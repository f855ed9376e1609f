//! What there is to ask for: scanners with their parameters, symbols, sessions, the market, defaults. All of it is read from the catalogue, the
//! data and the configuration.

use std::sync::Arc;

use axum::{
    Json,
    extract::State,
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value as JsonValue, json};
use stockscan_engine::{Argument, Engine, Error, Parameter, Query, Result, Value};
use stockscan_formats::{Format, RowWriter};
use utoipa::{IntoParams, ToSchema};

use crate::{
    app::App,
    body::{Body as JsonBody, Query as AddressQuery},
    cache::{Cache, Kept},
    given::{date, time_of_day},
    problem::{Answer, Problem},
    scan::document,
    work::Instance,
};

/// Parameters of scanners that requests have names of their own for, and that are not a client's to set.
pub(crate) const OF_REQUESTS: [&str; 3] = ["scan_date", "end_date", "source"];

/// A parameter of a scanner.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ParameterDocument {
    /// Its name.
    name: String,
    /// The type of SQL that its values have; null if it is not documented.
    #[serde(rename = "type")]
    sql_type: Option<String>,
    /// Its default as SQL has it; null: one must be given.
    default: Option<String>,
    /// Smallest number allowed.
    min: Option<f64>,
    /// Largest number allowed.
    max: Option<f64>,
    /// A sensible distance between two numbers to try.
    step: Option<f64>,
    /// The texts allowed, if only some are.
    choices: Option<Vec<String>>,
    /// Unit of its values.
    unit: Option<String>,
    /// What it means.
    doc: Option<String>,
}

impl From<&Parameter> for ParameterDocument {
    fn from(parameter: &Parameter) -> ParameterDocument {
        let parameter = parameter.clone();
        ParameterDocument {
            name: parameter.name,
            sql_type: parameter.sql_type,
            default: parameter.default,
            min: parameter.minimum,
            max: parameter.maximum,
            step: parameter.step,
            choices: parameter.choices.map(|choices| choices.split(", ").map(str::to_owned).collect()),
            unit: parameter.unit,
            doc: parameter.doc,
        }
    }
}

/// A scanner.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ScannerDocument {
    /// The name by which it is asked for.
    scanner_type: String,
    /// Its name in SQL.
    function_name: String,
    /// Whether it came with Stockscan.
    is_built_in: bool,
    /// The database that holds it: `system` for those that came with Stockscan.
    database_name: String,
    /// What a row of it means.
    title: String,
    /// All of its documentation; null if it has none.
    documentation: Option<String>,
    /// Statements to try.
    examples: Vec<String>,
    /// Its parameters, in order.
    parameters: Vec<ParameterDocument>,
}

/// Every scanner with its parameters: those built in, and your own.
#[utoipa::path(get, path = "/scanners", tag = "catalogue", responses((status = 200, description = "The scanners.", body = Vec<ScannerDocument>)))]
pub(crate) async fn scanners(State(app): State<Arc<App>>, headers: HeaderMap) -> Answer<Response> {
    cached(&app, &headers, "scanners", (), |app, engine| {
        let mut documents = Vec::new();
        for scanner in engine.scanners()? {
            let documented = app.documented(engine, &scanner.function_name, &scanner.name)?;
            documents.push(ScannerDocument {
                parameters: documented.parameters.iter().map(ParameterDocument::from).collect(),
                scanner_type: scanner.name,
                function_name: scanner.function_name,
                is_built_in: scanner.is_built_in,
                database_name: scanner.database_name,
                title: scanner.title,
                documentation: scanner.documentation,
                examples: scanner.examples,
            });
        }
        Ok(Ok(json!(documents).to_string()))
    })
    .await
}

/// The names of the scanners.
#[utoipa::path(get, path = "/scanner-types", tag = "catalogue", responses((status = 200, description = "The names.", body = Vec<String>)))]
pub(crate) async fn scanner_types(State(app): State<Arc<App>>, headers: HeaderMap) -> Answer<Response> {
    cached(&app, &headers, "scanner-types", (), |_, engine| {
        let names: Vec<String> = engine.scanners()?.into_iter().map(|scanner| scanner.name).collect();
        Ok(Ok(json!(names).to_string()))
    })
    .await
}

/// Which session.
#[derive(Debug, Clone, Serialize, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct OfSession {
    /// The session; without it the latest in the data.
    #[param(format = Date, example = "2025-01-15")]
    scan_date: Option<String>,
}

/// Half an hour of a session.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct TimeWindow {
    /// The session.
    #[schema(format = Date)]
    scan_date: String,
    /// Start of the half hour, exchange time.
    #[schema(example = "09:15:00")]
    start_time: String,
    /// Its end, which can be a cutoff.
    #[schema(example = "09:45:00")]
    end_time: String,
    /// Bars that start in it.
    bars: u64,
    /// Stocks that have one.
    symbols: u64,
    /// Shares traded.
    volume: u64,
}

/// The half hours of a session that have bars, counted from its first bar. 404 if it has none.
#[utoipa::path(
    get, path = "/time-windows", tag = "market", params(OfSession),
    responses((status = 200, description = "The half hours.", body = Vec<TimeWindow>))
)]
pub(crate) async fn time_windows(
    State(app): State<Arc<App>>,
    AddressQuery(of): AddressQuery<OfSession>,
    headers: HeaderMap,
) -> Answer<Response> {
    let date = of.scan_date.as_deref().map(|text| date("scan_date", text)).transpose()?.map(|date| date.to_string());
    cached(&app, &headers, "time-windows", of, move |app, engine| {
        let session = session(app, engine, date)?;
        let days = ["first_date", "last_date"].map(|name| (name.to_owned(), Argument::Value(Value::Text(session.clone()))));
        let bars = engine.call("session_bars", &[&days[..], &bar_minutes(app)].concat())?.query();
        let sql = format!(
            "WITH bars AS (SELECT bar.*, min(bar.ts) OVER () AS first_ts FROM ({}) AS bar), \
             windows AS (SELECT bars.*, date_diff('minute', bars.first_ts, bars.ts) // 30 AS number FROM bars) \
             SELECT windows.session_date AS scan_date, CAST(windows.first_ts + to_minutes(30 * windows.number) AS TIME) AS start_time, \
             CAST(windows.first_ts + to_minutes(30 * windows.number + 30) AS TIME) AS end_time, count(*) AS bars, \
             count(DISTINCT windows.symbol) AS symbols, CAST(sum(windows.volume) AS BIGINT) AS volume \
             FROM windows GROUP BY windows.session_date, windows.first_ts, windows.number ORDER BY windows.number",
            bars.sql
        );
        let (text, count) = rows(engine, &Query { sql, ..bars })?;
        Ok(if count == 0 { Err(Problem::not_found(format!("no stock has a bar of {session}"))) } else { Ok(text) })
    })
    .await
}

/// Which symbols.
#[derive(Debug, Clone, Serialize, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct WhichSymbols {
    /// A part of the name, in upper or lower case.
    search: Option<String>,
    /// At most so many, best match first.
    #[param(minimum = 1, maximum = 1_000_000, default = 1000)]
    limit: Option<i64>,
}

/// A symbol of the data.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct SymbolDocument {
    /// Its name.
    symbol: String,
    /// Its first session.
    #[schema(format = Date)]
    first_session: String,
    /// Its last session.
    #[schema(format = Date)]
    last_session: String,
    /// How many sessions it has.
    sessions: u64,
    /// How many bars.
    bars: u64,
    /// Close of its last bar.
    last_close: f64,
    /// Mean volume of its last 20 sessions, in shares.
    avg_volume: f64,
    /// Whether its last session is the latest of the data.
    is_trading: bool,
}

/// The symbols of the data.
#[utoipa::path(
    get, path = "/symbols", tag = "market", params(WhichSymbols),
    responses((status = 200, description = "The symbols.", body = Vec<SymbolDocument>))
)]
pub(crate) async fn symbols(
    State(app): State<Arc<App>>,
    AddressQuery(which): AddressQuery<WhichSymbols>,
    headers: HeaderMap,
) -> Answer<Response> {
    let limit = which.limit.unwrap_or(1000);
    if !(1..=1_000_000).contains(&limit) {
        return Err(Problem::of_parameter("limit", format!("limit must be between 1 and 1000000, got {limit}")));
    }
    cached(&app, &headers, "symbols", which.clone(), move |app, engine| {
        let mut arguments = bar_minutes(app);
        arguments.push(("max_results".to_owned(), Argument::Value(Value::BigInt(limit))));
        arguments.extend(which.search.map(|search| ("search".to_owned(), Argument::Value(Value::Text(search)))));
        Ok(Ok(rows(engine, &engine.call("symbols", &arguments)?.query())?.0))
    })
    .await
}

/// Which sessions.
#[derive(Debug, Clone, Serialize, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct WhichSessions {
    /// At most so many, the newest ones.
    #[param(minimum = 1, maximum = 100_000, default = 1000)]
    limit: Option<i64>,
}

/// A session of the data.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct SessionDocument {
    /// Its date.
    #[schema(format = Date)]
    session_date: String,
    /// Stocks that have a bar.
    symbols: u64,
    /// Bars of all stocks.
    bars: u64,
    /// Start of the earliest bar, exchange time.
    #[schema(example = "2025-01-15T09:15:00")]
    first_bar: String,
    /// Start of the latest bar, exchange time.
    #[schema(example = "2025-01-15T15:29:00")]
    last_bar: String,
    /// Shares traded.
    volume: u64,
}

/// The sessions of the data, newest first.
#[utoipa::path(
    get, path = "/sessions", tag = "market", params(WhichSessions),
    responses((status = 200, description = "The sessions.", body = Vec<SessionDocument>))
)]
pub(crate) async fn sessions(
    State(app): State<Arc<App>>,
    AddressQuery(which): AddressQuery<WhichSessions>,
    headers: HeaderMap,
) -> Answer<Response> {
    let limit = which.limit.unwrap_or(1000);
    if !(1..=100_000).contains(&limit) {
        return Err(Problem::of_parameter("limit", format!("limit must be between 1 and 100000, got {limit}")));
    }
    cached(&app, &headers, "sessions", limit, move |app, engine| {
        let sessions = engine.call("sessions", &bar_minutes(app))?.query();
        let sql = format!("FROM ({}) AS session ORDER BY session.session_date DESC LIMIT ?", sessions.sql);
        let query = Query::with_values(sql, [sessions.values, vec![Value::BigInt(limit)]].concat());
        Ok(Ok(rows(engine, &query)?.0))
    })
    .await
}

/// Which market, and when.
#[derive(Debug, Clone, Serialize, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct Overview {
    /// The session; without it the latest in the data.
    #[param(format = Date, example = "2025-01-15")]
    scan_date: Option<String>,
    /// Time of day up to which bars are seen, exchange time; without it 09:50.
    #[param(format = "time-of-day", example = "09:50")]
    cutoff_time: Option<String>,
}

/// The market of a session as it stood at the cutoff: what `market_overview()` of SQL says. 404 if no stock has a bar by then.
#[utoipa::path(
    get, path = "/market-overview", tag = "market", params(Overview),
    responses((status = 200, description = "Breadth, volume, new highs and lows, the strongest and the weakest stock.", body = Object))
)]
pub(crate) async fn market_overview(
    State(app): State<Arc<App>>,
    AddressQuery(of): AddressQuery<Overview>,
    headers: HeaderMap,
) -> Answer<Response> {
    let date = of.scan_date.as_deref().map(|text| date("scan_date", text)).transpose()?.map(|date| date.to_string());
    of.cutoff_time.as_deref().map(|text| time_of_day("cutoff_time", text)).transpose()?;
    cached(&app, &headers, "market-overview", of.clone(), move |app, engine| {
        let session = session(app, engine, date)?;
        let mut arguments = bar_minutes(app);
        arguments.push(("scan_date".to_owned(), Argument::Value(Value::Text(session.clone()))));
        let at_end = (app.options.bar_minutes == 1440).then(|| "24:00".to_owned());
        let cutoff = of.cutoff_time.or(at_end);
        arguments.extend(cutoff.map(|cutoff| ("cutoff_time".to_owned(), Argument::Value(Value::Text(cutoff)))));
        let (text, _) = rows(engine, &engine.call("market_overview", &arguments)?.query())?;
        let found: Vec<JsonValue> = serde_json::from_str(&text).map_err(|error| Error::Database(error.to_string()))?;
        let found = found.into_iter().next();
        Ok(found.map(|row| row.to_string()).ok_or_else(|| Problem::not_found(format!("no stock has a bar of {session} by then"))))
    })
    .await
}

/// What a scan is run with unless the request says otherwise.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct DefaultConfiguration {
    /// The section `default` of the configuration, with what is built in where it says nothing.
    #[schema(value_type = Object)]
    default: JsonValue,
    /// For each scanner its parameters with their values: the configuration's over the scanner's own.
    #[schema(value_type = Object)]
    scanners: Map<String, JsonValue>,
}

/// What a scan is run with unless the request says otherwise.
#[utoipa::path(get, path = "/config/default", tag = "configuration", responses((status = 200, description = "The values.", body = DefaultConfiguration)))]
pub(crate) async fn default_configuration(State(app): State<Arc<App>>, headers: HeaderMap) -> Answer<Response> {
    cached(&app, &headers, "config", (), |app, engine| {
        let mut scanners = Map::new();
        for scanner in engine.scanners()? {
            let documented = app.documented(engine, &scanner.function_name, &scanner.name)?;
            let configured = &documented.settings;
            let mut values = Map::new();
            for parameter in &documented.parameters {
                if OF_REQUESTS.contains(&parameter.name.as_str()) {
                    continue;
                }
                // What a request is given in any case.
                match parameter.name.as_str() {
                    "bar_minutes" => {
                        values.insert(parameter.name.clone(), app.options.bar_minutes.into());
                        continue;
                    }
                    "cutoff_time" if app.options.bar_minutes == 1440 => {
                        values.insert(parameter.name.clone(), "24:00".into());
                        continue;
                    }
                    _ => {}
                }
                let own = || parameter.default.as_deref().map_or(JsonValue::Null, value_of_sql);
                values.insert(parameter.name.clone(), configured.get(&parameter.name).map_or_else(own, |setting| setting.value.clone()));
            }
            scanners.insert(scanner.name, values.into());
        }
        let default = serde_json::to_value(&app.configuration().default).map_err(|error| Error::Database(error.to_string()))?;
        Ok(Ok(json!(DefaultConfiguration { default, scanners }).to_string()))
    })
    .await
}

/// A literal of SQL as JSON.
fn value_of_sql(text: &str) -> JsonValue {
    match text {
        _ if text.eq_ignore_ascii_case("null") => JsonValue::Null,
        _ => match text.strip_prefix('\'').and_then(|text| text.strip_suffix('\'')) {
            Some(text) => text.replace("''", "'").into(),
            None => serde_json::from_str(&text.to_ascii_lowercase()).unwrap_or_else(|_| text.into()),
        },
    }
}

/// Values to be checked.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ValidateRequest {
    /// The scanner.
    #[schema(example = "breakout")]
    scanner_type: String,
    /// Values of its parameters.
    #[schema(value_type = Object)]
    config: Map<String, JsonValue>,
}

/// What is wrong with a value.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Mistake {
    /// The parameter.
    parameter: String,
    /// What was given, and what was expected.
    detail: String,
}

/// Whether a scan could be run with the values.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ValidateResponse {
    /// Whether there is no mistake.
    valid: bool,
    /// The mistakes.
    errors: Vec<Mistake>,
}

/// Checks values of a scanner's parameters without running it.
#[utoipa::path(
    post, path = "/config/validate", tag = "configuration",
    request_body(content = ValidateRequest, example = json!({"scanner_type": "breakout", "config": {"min_price": 100}})),
    responses((status = 200, description = "Whether they can be used.", body = ValidateResponse))
)]
pub(crate) async fn validate(State(app): State<Arc<App>>, JsonBody(request): JsonBody<ValidateRequest>) -> Answer<Json<ValidateResponse>> {
    let inner = Arc::clone(&app);
    let work = move |engine: &Engine| {
        let function = engine.scanner_function(&request.scanner_type)?;
        let scanner = function.strip_prefix("scan_").unwrap_or(&function).to_owned();
        let mistakes =
            stockscan_configuration::parameter_mistakes(&inner.documented(engine, &function, &scanner)?.parameters, &request.config);
        let errors: Vec<Mistake> = mistakes.into_iter().map(|(parameter, detail)| Mistake { parameter, detail }).collect();
        Ok(ValidateResponse { valid: errors.is_empty(), errors })
    };
    Ok(Json(app.workers.run(Instance::Ours, app.allowed(), work).await?))
}

/// A document that stays the same as long as the data does.
pub(crate) async fn cached<K: Serialize + Send + 'static>(
    app: &Arc<App>,
    headers: &HeaderMap,
    what: &'static str,
    question: K,
    make: impl FnOnce(&App, &Engine) -> Result<Answer<String>> + Send + 'static,
) -> Answer<Response> {
    // Before it is asked: what is made while it changes is of neither.
    let question = (app.configuration().generation, question);
    if let Some(Some(version)) = app.market.known_version()
        && let Some(kept) = app.cache.get(&Cache::key(what, &question, &version))
    {
        return Ok(unless_known(headers, &kept));
    }
    let inner = Arc::clone(app);
    let work = move |engine: &Engine| {
        let version = inner.market.version_seen(engine)?;
        Ok(make(&inner, engine)?.map(|body| (version, body)))
    };
    let (version, body) = app.workers.run(Instance::Ours, app.allowed(), work).await??;
    let kept = Arc::new(Kept::new(body, app.configuration().run_settings("").cache_ttl));
    if let Some(version) = version {
        app.cache.insert(Cache::key(what, &question, &version), Arc::clone(&kept));
    }
    Ok(unless_known(headers, &kept))
}

/// The document, or 304 if the client has it.
pub(crate) fn unless_known(headers: &HeaderMap, kept: &Kept) -> Response {
    let known = headers.get_all(header::IF_NONE_MATCH).iter().filter_map(|value| value.to_str().ok());
    let mut tags = known.flat_map(|tags| tags.split(',')).map(|tag| tag.trim().trim_start_matches("W/"));
    let mut response = document(kept);
    if tags.any(|tag| tag == kept.etag || tag == "*") {
        let etag = response.headers_mut().remove(header::ETAG);
        let mut response = StatusCode::NOT_MODIFIED.into_response();
        response.headers_mut().extend(etag.map(|etag| (header::ETAG, etag)));
        return response;
    }
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("private, no-cache"));
    response
}

/// The rows of a query as a JSON array, and how many.
///
/// # Errors
/// What DuckDB says.
pub(crate) fn rows(engine: &Engine, query: &Query) -> Result<(String, usize)> {
    let (schema, batches) = engine.collect(query, None)?;
    let mut writer = RowWriter::new(Format::Json, Vec::new(), &schema)?;
    batches.iter().try_for_each(|batch| writer.write(batch))?;
    let text = String::from_utf8(writer.finish()?).map_err(|error| Error::Database(error.to_string()))?;
    Ok((text, batches.iter().map(arrow::array::RecordBatch::num_rows).sum()))
}

/// The session that is asked for, or the latest in the data.
fn session(app: &App, engine: &Engine, date: Option<String>) -> Result<String> {
    match date {
        Some(date) => Ok(date),
        None => engine
            .latest_session(&bar_minutes(app))?
            .ok_or_else(|| Error::MissingSource { relation: engine.source().to_owned(), database: String::new() }),
    }
}

fn bar_minutes(app: &App) -> Vec<(String, Argument)> {
    vec![("bar_minutes".to_owned(), Argument::Value(Value::BigInt(i64::from(app.options.bar_minutes))))]
}
