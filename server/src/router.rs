//! The table of contents: every path, and what each request goes through before it is handled.

use std::{any::Any, sync::Arc, time::Duration};

use axum::{
    Router,
    body::Body,
    extract::{DefaultBodyLimit, State},
    http::{HeaderName, HeaderValue, Method, StatusCode, header, request::Parts},
    middleware::from_fn_with_state,
    response::{IntoResponse, Response},
    routing::get,
};
use tower_http::{
    catch_panic::CatchPanicLayer,
    compression::CompressionLayer,
    cors::{AllowOrigin, CorsLayer},
    set_header::SetResponseHeaderLayer,
};
use utoipa::OpenApi;
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{
    alerts, app::App, backtest, bars, catalogue, configuration, dashboard, events, explain, export, guard, health, history, indicators,
    ingest, jobs, openapi, optimize, problem::Problem, query, scan, socket, statistics, table,
};

/// Where everything is.
pub const PREFIX: &str = "/api/v1/scanner";

/// Stock scanners over minute bars: as of any minute, with the evidence, and nothing that was not known by then.
#[derive(OpenApi)]
#[openapi(
    info(title = "Stockscan", license(name = "MIT", identifier = "MIT")),
    tags(
        (name = "scans", description = "Scan, and find scans again."),
        (name = "live", description = socket::DESCRIPTION),
        (name = "catalogue", description = "What there is to scan with."),
        (name = "jobs", description = "Backtest and optimise, which may take a while."),
        (name = "market", description = "The data."),
        (name = "query", description = "Ask in SQL."),
        (name = "configuration", description = "What is assumed where a request says nothing."),
        (name = "server", description = "The server itself."),
    ),
    components(schemas(Problem, ingest::Label))
)]
struct Document;

/// The paths, and their description.
fn paths(app: &Arc<App>) -> (Router, utoipa::openapi::OpenApi) {
    let inside = OpenApiRouter::new()
        .routes(routes!(scan::scan))
        .routes(routes!(scan::batch_scan))
        .routes(routes!(explain::explain))
        .routes(routes!(history::scan))
        .routes(routes!(history::scans))
        .routes(routes!(export::export))
        .routes(routes!(table::table))
        .routes(routes!(statistics::performance))
        .routes(routes!(catalogue::scanners))
        .routes(routes!(catalogue::scanner_types))
        .routes(routes!(catalogue::time_windows))
        .routes(routes!(catalogue::symbols))
        .routes(routes!(catalogue::sessions))
        .routes(routes!(catalogue::market_overview))
        .routes(routes!(catalogue::default_configuration))
        .routes(routes!(catalogue::validate))
        .routes(routes!(configuration::configuration))
        .routes(routes!(configuration::put, configuration::delete))
        .routes(routes!(bars::bars))
        .routes(routes!(indicators::indicators))
        .routes(routes!(indicators::of_bars))
        .route("/ws/live-scan", get(socket::live_scan))
        .route("/ws/scanner/{type}", get(socket::scanner))
        .routes(routes!(events::scanner))
        .routes(routes!(events::alerts))
        .routes(routes!(alerts::alerts))
        .routes(routes!(alerts::rules))
        .routes(routes!(alerts::test))
        .routes(routes!(backtest::backtest))
        .routes(routes!(optimize::optimize))
        .routes(routes!(jobs::list))
        .routes(routes!(jobs::get, jobs::delete))
        .routes(routes!(jobs::result))
        .routes(routes!(ingest::ingest_bars))
        .routes(routes!(query::query))
        .routes(routes!(health::health))
        .routes(routes!(health::ready))
        .routes(routes!(health::metrics));
    let all = OpenApiRouter::with_openapi(Document::openapi()).nest(PREFIX, inside);
    let (router, document) = all.with_state(Arc::clone(app)).split_for_parts();
    (router, document)
}

/// Everything that is served.
pub(crate) fn router(app: &Arc<App>) -> Router {
    let (router, document) = paths(app);
    let document = Arc::new(openapi::finished(&document, app));
    let served = {
        let app = Arc::clone(app);
        move |client, headers| openapi::served(document, State(app), client, headers)
    };
    let fixed = |name: HeaderName, value: &'static str| SetResponseHeaderLayer::if_not_present(name, HeaderValue::from_static(value));
    router
        .route(&format!("{PREFIX}/openapi.json"), get(served))
        .route(&format!("{PREFIX}/docs"), get(openapi::docs))
        .route(&format!("{PREFIX}/docs/"), get(openapi::page))
        .route(&format!("{PREFIX}/docs/{{*path}}"), get(openapi::file))
        .merge(dashboard::routes())
        .fallback(|| async { Problem::not_found(format!("there is no such path; {PREFIX}/docs lists all")) })
        .method_not_allowed_fallback(|| async {
            Problem::new(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", format!("not with this method; {PREFIX}/docs lists all"))
        })
        .layer(DefaultBodyLimit::max(crate::body::LARGEST))
        .layer(CompressionLayer::new())
        .layer(from_fn_with_state(Arc::clone(app), guard::admit))
        .layer(cors(app))
        .layer(fixed(header::X_CONTENT_TYPE_OPTIONS, "nosniff"))
        .layer(fixed(header::X_FRAME_OPTIONS, "DENY"))
        .layer(fixed(header::REFERRER_POLICY, "no-referrer"))
        .layer(fixed(header::CONTENT_SECURITY_POLICY, "default-src 'none'; frame-ancestors 'none'"))
        .layer(CatchPanicLayer::custom(panicked))
        .layer(from_fn_with_state(Arc::clone(app), guard::log))
}

/// Pages of the listed origins may ask.
fn cors(app: &Arc<App>) -> CorsLayer {
    let inner = Arc::clone(app);
    let is_listed = move |origin: &HeaderValue, _: &Parts| {
        inner.configuration().api.enable_cors && inner.options.origins.iter().any(|listed| listed.as_bytes() == origin.as_bytes())
    };
    CorsLayer::new()
        .allow_origin(AllowOrigin::predicate(is_listed))
        .allow_methods([Method::GET, Method::POST, Method::PUT, Method::DELETE])
        .allow_headers([
            header::AUTHORIZATION,
            header::CONTENT_TYPE,
            header::ACCEPT,
            header::IF_NONE_MATCH,
            HeaderName::from_static("x-api-key"),
        ])
        .expose_headers([
            header::CONTENT_DISPOSITION,
            header::ETAG,
            header::LOCATION,
            header::RETRY_AFTER,
            HeaderName::from_static("x-request-id"),
            HeaderName::from_static("stockscan-scan-id"),
            HeaderName::from_static("stockscan-truncated"),
        ])
        .max_age(Duration::from_secs(600))
}

fn panicked(panic: Box<dyn Any + Send>) -> Response<Body> {
    let text = panic.downcast_ref::<String>().map(String::as_str).or_else(|| panic.downcast_ref::<&str>().copied());
    Problem::internal(format!("panic: {}", text.unwrap_or("without words"))).into_response()
}
