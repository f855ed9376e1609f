//! The description of the interface, as far as the handlers do not say it themselves: what holds of all of them, and what the catalogue says of
//! each scanner's parameters.

use std::sync::Arc;

use axum::{
    Extension,
    extract::State,
    http::{HeaderMap, HeaderValue, header},
    response::{IntoResponse, Redirect, Response},
};
use serde_json::{Map, Value, json};
use stockscan_configuration::{TIME_OF_DAY, parameter_schema};
use stockscan_engine::{Engine, Error, Location, Options, Parameter, Result, Scanner};
use utoipa::openapi::OpenApi;

use crate::{
    app::App,
    auth::{Client, Role},
    body::Path,
    cache::Kept,
    catalogue::{OF_REQUESTS, cached, unless_known},
    given::{DATE, MOMENT},
    problem::{Answer, Problem},
    router::PREFIX,
};

/// Statuses that any request may be answered with.
const PROBLEMS: [(&str, &str); 9] = [
    ("400", "What was asked cannot be; the detail names the parameter and its range."),
    ("401", "A key is needed."),
    ("403", "This client may not do this."),
    ("404", "There is no such thing."),
    ("405", "Not with this method; the header Allow has those that are."),
    ("408", "The request did not come in time."),
    ("429", "Too many requests; Retry-After says when to come again."),
    ("503", "Not now; Retry-After says when to come again."),
    ("504", "It took longer than is allowed."),
];
/// Statuses that requests with a body may be answered with besides.
const PROBLEMS_OF_BODIES: [(&str, &str); 2] = [("413", "The body is too large."), ("415", "The body is of another type than is expected.")];
/// Those of requests whose answer comes in several formats.
const PROBLEMS_OF_FORMATS: [(&str, &str); 1] = [("406", "None of the formats is accepted.")];
/// Formats that are no text.
const BINARY: [&str; 3] = [
    "application/vnd.apache.arrow.stream",
    "application/vnd.apache.parquet",
    "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
];
/// Schemas of requests that name a scanner in `scanner_type` and have values of its parameters in `config`.
const OF_SCANNERS: [&str; 3] = ["ScanRequest", "BacktestRequest", "OptimizeRequest"];
/// Parameters of scanners that requests for tests have fields of their own for.
const OF_TESTS: [&str; 8] = ["scan_date", "end_date", "source", "bar_minutes", "cutoff_time", "session_start", "session_end", "symbols"];
/// What the page of the description may load: what comes from here. Its script sets styles.
const PAGE: &str = "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; connect-src 'self'; \
                    base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// What the handlers say, with what holds of all of them.
pub(crate) fn finished(document: &OpenApi, app: &App) -> Value {
    let mut document = serde_json::to_value(document).unwrap_or_default();
    document["info"]["version"] = env!("CARGO_PKG_VERSION").into();
    for item in document["paths"].as_object_mut().into_iter().flat_map(Map::values_mut) {
        for operation in item.as_object_mut().into_iter().flat_map(Map::values_mut) {
            complete(operation);
        }
    }
    document["components"]["securitySchemes"] = json!({
        "key": {"type": "http", "scheme": "bearer"},
        "header": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
    });
    // Where there are keys, one is needed.
    let nothing: &[Value] = if app.keys.are_none() { &[json!({})] } else { &[] };
    document["security"] = nothing.iter().cloned().chain([json!({"key": []}), json!({"header": []})]).collect();
    for path in ["health", "ready"] {
        document["paths"][format!("{PREFIX}/{path}")]["get"]["security"] = json!([]);
    }
    let schemas = &mut document["components"]["schemas"];
    // One that is wrong fails alone, so that here no value is.
    let mut any = schemas["ScanRequest"].clone();
    any["description"] = "A scan as of `POST /scan`. What holds of its values there holds here, but one that is wrong fails alone.".into();
    loosen(&mut any);
    schemas["ScanOfBatch"] = any;
    schemas["BatchRequest"]["properties"]["scans"]["items"] = json!({"$ref": "#/components/schemas/ScanOfBatch"});
    narrow(&mut document);
    document
}

/// Adds to an operation what holds of all.
fn complete(operation: &mut Value) {
    let has_body = operation.get("requestBody").is_some();
    let Some(responses) = operation["responses"].as_object_mut() else { return };
    let mut has_formats = false;
    for content in responses.values_mut().filter_map(|response| response.get_mut("content")?.as_object_mut()) {
        has_formats |= content.len() > 1;
        for name in BINARY {
            if let Some(binary) = content.get_mut(name) {
                *binary = json!({});
            }
        }
    }
    let bodies = has_body.then_some(PROBLEMS_OF_BODIES).into_iter().flatten();
    let formats = has_formats.then_some(PROBLEMS_OF_FORMATS).into_iter().flatten();
    for (status, description) in PROBLEMS.into_iter().chain(bodies).chain(formats) {
        let problem = json!({
            "description": description,
            "content": {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}},
        });
        responses.entry(status).or_insert(problem);
    }
    let retry_after = json!({"description": "Seconds after which to try again.", "schema": {"type": "integer", "minimum": 1}});
    for status in ["429", "503"] {
        if let Some(response) = responses.get_mut(status) {
            response["headers"]["Retry-After"] = retry_after.clone();
        }
    }
}

/// Says of dates and times how they are written.
fn narrow(schema: &mut Value) {
    match schema {
        Value::Object(members) => {
            let pattern = match members.get("format").and_then(Value::as_str) {
                Some("date") => Some(DATE),
                Some("time-of-day") => Some(TIME_OF_DAY),
                Some("moment") => Some(MOMENT),
                _ => None,
            };
            if let Some(pattern) = pattern {
                members.insert("pattern".to_owned(), pattern.into());
                if pattern != DATE {
                    members.remove("format");
                }
            }
            members.values_mut().for_each(narrow);
        }
        Value::Array(items) => items.iter_mut().for_each(narrow),
        _ => {}
    }
}

/// Leaves of a schema only which types the values have.
fn loosen(schema: &mut Value) {
    match schema {
        Value::Object(members) => {
            ["format", "minItems"].into_iter().for_each(|key| drop(members.remove(key)));
            members.values_mut().for_each(loosen);
        }
        Value::Array(items) => items.iter_mut().for_each(loosen),
        _ => {}
    }
}

/// The description with the parameters of scanners: of each an own kind of request.
fn with_scanners(document: &Value, app: &App, engine: &Engine, scanners: &[Scanner]) -> Result<String> {
    let mut document = document.clone();
    let schemas = &mut document["components"]["schemas"];
    schemas["BatchRequest"]["properties"]["scans"]["maxItems"] = app.configuration().api.max_batch_size.0.into();
    let bases: Vec<(&str, Value)> = OF_SCANNERS.into_iter().map(|name| (name, schemas[name].clone())).collect();
    let mut kinds: Map<String, Value> = Map::new();
    let mut names: Vec<&str> = Vec::new();
    for scanner in scanners {
        // One of your own stands before the built-in one that it hides.
        if names.contains(&scanner.name.as_str()) {
            continue;
        }
        names.push(&scanner.name);
        let title: String = scanner.name.split('_').map(capital).collect();
        let documented = app.documented(engine, &scanner.function_name, &scanner.name)?;
        for (kind, others) in [("Config", &OF_REQUESTS[..]), ("TestConfig", &OF_TESTS[..])] {
            let values = documented.parameters.iter().filter(|parameter| !others.contains(&parameter.name.as_str()));
            let properties: Map<String, Value> = values.map(|parameter| (parameter.name.clone(), value_schema(parameter))).collect();
            schemas[format!("{title}{kind}")] = json!({
                "type": "object", "description": format!("Values of the parameters of {}: {}", scanner.name, scanner.title),
                "properties": properties, "additionalProperties": false,
            });
        }
        for (base, schema) in &bases {
            let name = format!("{title}{base}");
            let mut own = schema.clone();
            own["description"] = format!("{} {}", schema["description"].as_str().unwrap_or_default(), scanner.title).trim().into();
            own["properties"]["scanner_type"]["enum"] = json!([scanner.name]);
            own["properties"]["scanner_type"]["example"] = scanner.name.clone().into();
            if let Some(grid) = own["properties"].get_mut("grid") {
                let own = documented
                    .parameters
                    .iter()
                    .filter(|parameter| parameter.name == "cutoff_time" || !OF_TESTS.contains(&parameter.name.as_str()));
                let own = own.map(|parameter| (parameter.name.clone(), value_schema(parameter)));
                let mut of_exits = ["exit_time", "hold_sessions", "stop_loss_pct", "target_pct"]
                    .map(|name| (name.to_owned(), schema["properties"][name].clone()));
                // Null stands for no limit, and only of these two there may be none.
                of_exits[0].1["type"] = "string".into();
                of_exits[1].1["type"] = "integer".into();
                let values = own.chain(of_exits).map(|(name, one)| (name, json!({"type": "array", "minItems": 1, "items": one})));
                grid["properties"] = Map::from_iter(values).into();
                grid["additionalProperties"] = false.into();
                grid["minProperties"] = 1.into();
            }
            let kind = if *base == "ScanRequest" { "Config" } else { "TestConfig" };
            let config = json!({"$ref": format!("#/components/schemas/{title}{kind}")});
            own["properties"]["config"] = json!({"oneOf": [config, {"type": "null"}]});
            kinds.entry(*base).or_insert(json!({}))[&scanner.name] = format!("#/components/schemas/{name}").into();
            schemas[name] = own;
        }
    }
    for (base, mapping) in kinds {
        let all: Vec<Value> = mapping.as_object().into_iter().flat_map(Map::values).map(|kind| json!({"$ref": kind})).collect();
        schemas[&base] = json!({"oneOf": all, "discriminator": {"propertyName": "scanner_type", "mapping": mapping}});
    }
    schemas["ValidateRequest"]["properties"]["scanner_type"]["enum"] = json!(names);
    Ok(document.to_string())
}

fn capital(word: &str) -> String {
    let mut letters = word.chars();
    letters.next().map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
}

/// `GET /openapi.json`: with the scanners of the database for those who may read it. Others, and all while it cannot be read, see those that
/// are built in.
pub(crate) async fn served(
    document: Arc<Value>,
    State(app): State<Arc<App>>,
    client: Option<Extension<Client>>,
    headers: HeaderMap,
) -> Answer<Response> {
    if client.is_some_and(|client| client.role.may(Role::Read)) {
        let document = Arc::clone(&document);
        let made =
            cached(&app, &headers, "openapi", (), move |app, engine| with_scanners(&document, app, engine, &engine.scanners()?).map(Ok))
                .await;
        if let Ok(made) = made {
            return Ok(made);
        }
    }
    if let Some(kept) = app.built_in_description.get() {
        return Ok(unless_known(&headers, kept));
    }
    let inner = Arc::clone(&app);
    let make = move || {
        let options = Options { location: Location::Memory, read_only: false, scanners_directory: None, ..inner.options.database.clone() };
        let engine = Engine::open(options)?;
        Ok::<_, Error>(Kept::new(with_scanners(&document, &inner, &engine, &engine.scanners()?)?, std::time::Duration::ZERO))
    };
    let made = tokio::task::spawn_blocking(make).await.map_err(|error| Problem::internal(error.to_string()))??;
    Ok(unless_known(&headers, app.built_in_description.get_or_init(|| made)))
}

/// `GET /docs`
pub(crate) async fn docs() -> Redirect {
    Redirect::permanent(&format!("{PREFIX}/docs/"))
}

/// `GET /docs/`: a page that shows the description.
pub(crate) async fn page() -> Answer<Response> {
    file(Path(String::new())).await
}

/// `GET /docs/…`: what the page is made of. All of it is in the program.
pub(crate) async fn file(Path(path): Path<String>) -> Answer<Response> {
    let config = utoipa_swagger_ui::Config::from(format!("{PREFIX}/openapi.json")).validator_url("none");
    let file = utoipa_swagger_ui::serve(&path, Arc::new(config)).map_err(|error| Problem::internal(error.to_string()))?;
    let file = file.ok_or_else(|| Problem::not_found("there is no such file"))?;
    let mut response = file.bytes.into_owned().into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_str(&file.content_type).unwrap_or(HeaderValue::from_static("text/plain")));
    headers.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(PAGE));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("private, no-cache"));
    Ok(response)
}

/// The schema of a parameter's value, for machines: whole numbers end where those of the database do.
fn value_schema(parameter: &Parameter) -> Value {
    let mut schema = parameter_schema(parameter);
    if [&schema["type"], &schema["type"][0]].contains(&&json!("integer")) {
        for (key, end) in [("minimum", i64::MIN), ("maximum", i64::MAX)] {
            if schema[key].is_null() {
                schema[key] = end.into();
            }
        }
    }
    schema
}
