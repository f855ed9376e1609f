//! Whether the server is well, whether it can do its work, and what it has done so far.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use axum::{
    Json,
    extract::State,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use serde::Serialize;
use utoipa::ToSchema;

use crate::{app::App, problem::Problem};

/// How long the look at the database may take.
const PATIENCE: Duration = Duration::from_secs(2);

/// How the server is.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Health {
    /// `ok`, or `stuck` if some work goes on long after it should have ended.
    #[schema(example = "ok")]
    status: &'static str,
    /// The version of Stockscan.
    version: &'static str,
    /// Seconds since the start.
    uptime_seconds: f64,
    /// The id of the process, by which others on the machine know who holds the database.
    process_id: u32,
    /// Requests that work on the database.
    running: usize,
    /// Requests that wait to do so.
    waiting: usize,
}

/// Whether the server is alive. 503 if its workers are stuck: then it is to be started again.
#[utoipa::path(
    get, path = "/health", tag = "server",
    responses((status = 200, description = "It is well.", body = Health), (status = 503, description = "It is stuck.", body = Health))
)]
pub(crate) async fn health(State(app): State<Arc<App>>) -> Response {
    let (running, waiting) = app.workers.load();
    let is_stuck = app.workers.is_stuck() || app.ingest.is_stuck() || app.hub.is_stuck();
    let health = Health {
        status: if is_stuck { "stuck" } else { "ok" },
        version: env!("CARGO_PKG_VERSION"),
        uptime_seconds: app.started.elapsed().as_secs_f64(),
        process_id: std::process::id(),
        running,
        waiting,
    };
    (if is_stuck { StatusCode::SERVICE_UNAVAILABLE } else { StatusCode::OK }, Json(health)).into_response()
}

/// Whether the server can do its work.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Readiness {
    /// `ready`.
    #[schema(example = "ready")]
    status: &'static str,
    /// Whether there are bars.
    has_bars: bool,
}

/// Whether the server can do its work: it is not about to end, and the database can be opened.
#[utoipa::path(
    get, path = "/ready", tag = "server",
    responses((status = 200, description = "It can.", body = Readiness), (status = 503, description = "It cannot.", body = Problem))
)]
pub(crate) async fn ready(State(app): State<Arc<App>>) -> Response {
    if app.is_ending() {
        return Problem::busy("the server is shutting down", 5).into_response();
    }
    let market = Arc::clone(&app.market);
    // Not in line with the others: a long line is no reason to be taken for broken.
    let look = tokio::task::spawn_blocking(move || {
        let engine = market.read(Instant::now() + PATIENCE)?;
        Ok::<bool, stockscan_engine::Error>(engine.has_relation(engine.source()))
    });
    match tokio::time::timeout(PATIENCE * 2, look).await {
        Ok(Ok(Ok(has_bars))) => Json(Readiness { status: "ready", has_bars }).into_response(),
        Ok(Ok(Err(error))) => {
            let problem = Problem::from(error);
            Problem { retry_after: problem.retry_after.or(Some(5)), status: 503, title: "Service Unavailable".to_owned(), ..problem }
                .into_response()
        }
        _ => Problem::busy("the database does not answer", 5).into_response(),
    }
}

/// What the server has done so far, for Prometheus.
#[utoipa::path(get, path = "/metrics", tag = "server", responses((status = 200, description = "Metrics in the text format of Prometheus.", body = String, content_type = "text/plain")))]
pub(crate) async fn metrics(State(app): State<Arc<App>>) -> Response {
    let (running, waiting) = app.workers.load();
    let (users, is_open) = app.market.users();
    let number = |count: usize| u32::try_from(count).map_or(f64::INFINITY, f64::from);
    metrics::gauge!("stockscan_queries_running").set(number(running));
    metrics::gauge!("stockscan_queries_waiting").set(number(waiting));
    metrics::gauge!("stockscan_ingests_waiting").set(number(app.ingest.waiting()));
    metrics::gauge!("stockscan_database_users").set(number(users));
    metrics::gauge!("stockscan_database_open").set(if is_open { 1.0 } else { 0.0 });
    let (watchers, subscriptions) = app.hub.load();
    metrics::gauge!("stockscan_live_watchers").set(number(watchers));
    metrics::gauge!("stockscan_live_subscriptions").set(number(subscriptions));
    metrics::gauge!("stockscan_uptime_seconds").set(app.started.elapsed().as_secs_f64());
    app.metrics.run_upkeep();
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], app.metrics.render()).into_response()
}
