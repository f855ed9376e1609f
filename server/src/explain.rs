//! `POST /explain`: what a scan is in SQL, and how many candidates each of its conditions leaves.

use std::sync::Arc;

use axum::{Json, extract::State};
use serde::Serialize;
use stockscan_engine::{Engine, Error, Result};
use utoipa::ToSchema;

use crate::{app::App, body::Body as JsonBody, problem::Answer, scan::ScanRequest, work::Instance};

/// A condition of a scan.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct StepDocument {
    /// It, with the scanner's parameters by name.
    #[schema(example = "breakout_pct >= resistance_break_pct")]
    condition: String,
    /// The parameters in it, with their values.
    #[schema(example = "resistance_break_pct = 0.5")]
    parameters: String,
    /// Candidates for which this and all conditions before it hold.
    survivors: u64,
}

/// How a scan comes to its hits.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ExplainResponse {
    /// The scanner.
    scanner_type: String,
    /// The first session.
    #[schema(format = Date)]
    start_date: String,
    /// The last session.
    #[schema(format = Date)]
    end_date: String,
    /// A statement that finds the same in any DuckDB with Stockscan.
    #[schema(example = "FROM scan_breakout(scan_date := '2025-01-15')")]
    sql: String,
    /// Rows, each a stock in a session, of which the first condition is asked; null if that cannot be counted.
    candidates: Option<u64>,
    /// The conditions, in the order of the scanner's SQL.
    steps: Vec<StepDocument>,
    /// Why the conditions cannot be counted, where the SQL of a scanner of one's own is of another shape; else null.
    unavailable: Option<String>,
}

/// Explains a scan: its SQL, and what each of its conditions leaves of the candidates. Nothing is recorded.
#[utoipa::path(
    post, path = "/explain", tag = "scans",
    request_body(content = ScanRequest, example = json!({"scanner_type": "breakout", "scan_date": "2025-01-15", "cutoff_time": "09:50", "config": {"min_price": 100}})),
    responses((status = 200, description = "How it comes to its hits.", body = ExplainResponse))
)]
pub(crate) async fn explain(State(app): State<Arc<App>>, JsonBody(request): JsonBody<ScanRequest>) -> Answer<Json<ExplainResponse>> {
    let scanner = request.scanner_type.clone();
    let inner = Arc::clone(&app);
    let work = move |engine: &Engine| explained(&inner, engine, &request);
    let explained = app.workers.run(Instance::Ours, app.allowed(), work).await;
    explained.map(Json).map_err(|problem| problem.with_scanner(&scanner))
}

fn explained(app: &App, engine: &Engine, request: &ScanRequest) -> Result<ExplainResponse> {
    let prepared = request.prepare(app, engine)?;
    let call = &prepared.call;
    let (candidates, steps, unavailable) = match engine.funnel(call, None) {
        Ok(funnel) => {
            let steps = funnel.steps.into_iter();
            let steps =
                steps.map(|step| StepDocument { condition: step.condition, parameters: step.parameters, survivors: step.survivors });
            (Some(funnel.candidates), steps.collect(), None)
        }
        Err(error @ (Error::Invalid(_) | Error::Database(_))) => {
            // What the scan itself refuses is no matter of its shape.
            engine.collect(&call.query(), None)?;
            tracing::info!(function = call.function, %error, "the conditions cannot be counted");
            let reason = match error {
                Error::Invalid(text) if text.starts_with(&call.function) => text,
                _ => format!("{}: its conditions cannot be counted one by one", call.function),
            };
            (None, Vec::new(), Some(reason))
        }
        Err(error) => return Err(error),
    };
    let scanner_type = call.function.strip_prefix("scan_").unwrap_or(&call.function).to_owned();
    let (start_date, end_date) = (prepared.start, prepared.end);
    Ok(ExplainResponse { scanner_type, start_date, end_date, sql: prepared.call.sql(), candidates, steps, unavailable })
}
