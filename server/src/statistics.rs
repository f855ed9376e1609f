//! `GET /stats/performance`: how scans went, counted from the history.

use std::sync::Arc;

use axum::{Json, extract::State};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value as JsonValue};
use stockscan_state::{Filter, Tally};
use utoipa::{IntoParams, ToSchema};

use crate::{
    app::App,
    body::Query as AddressQuery,
    history::{days_ago, number},
    problem::{self, Answer},
};

/// So many days are looked back unless more are asked for.
const USUAL: i64 = 30;
/// No further.
const MOST: i64 = 3650;

/// How far to look back.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct Period {
    /// Scans of the last so many days, of 24 hours each.
    #[serde(default)]
    #[param(value_type = Option<u32>, minimum = 1, maximum = 3650, default = 30)]
    days: Option<String>,
}

/// How scans went. A scan is one that read the data: answers that the server repeats from its memory are none.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct PerformanceResponse {
    /// Days looked back.
    days: i64,
    /// Only scans that began then or later are counted.
    #[schema(format = DateTime)]
    since: String,
    /// All of them.
    total: Performance,
    /// Those of each scanner.
    scanners: Vec<ScannerPerformance>,
    /// Those of each day that has some, in UTC.
    by_day: Vec<DayPerformance>,
    /// When, by the server's clock, in UTC.
    #[schema(format = DateTime)]
    timestamp: String,
}

/// How some scans went.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Performance {
    /// How many there were.
    total_scans: u64,
    /// Those with results, be it that there are none.
    done: u64,
    /// Those that ended with an error.
    failed: u64,
    /// Those of `done` that repeat an earlier one.
    cached: u64,
    /// Hits of all that are done.
    total_results: u64,
    /// Hits of one, on average; null if none is done.
    results_per_scan: Option<f64>,
    /// Share of those done that have a hit, in percent; null if none is done.
    with_results_pct: Option<f64>,
    /// Stored hits of which it is known what became of them by the end of their session. A hit that several scans found counts as often.
    known_outcomes: u64,
    /// Those of them that went their way.
    successful_breakouts: u64,
    /// Their share, in percent; null if of no hit it is known.
    hit_rate: Option<f64>,
    /// How long those took that are done and no repetition.
    execution_time_ms: ExecutionTimes,
    /// How many failed, by kind of error.
    #[schema(value_type = std::collections::BTreeMap<String, u64>)]
    errors: Map<String, JsonValue>,
}

/// Times in milliseconds; null if there is none.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ExecutionTimes {
    /// Half took no longer.
    p50: Option<f64>,
    /// 95 in 100 took no longer.
    p95: Option<f64>,
    /// 99 in 100 took no longer.
    p99: Option<f64>,
    /// None took longer.
    max: Option<f64>,
}

/// How scans of one scanner went.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ScannerPerformance {
    /// The scanner.
    scanner_type: String,
    #[serde(flatten)]
    performance: Performance,
}

/// How scans of one day went.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct DayPerformance {
    /// The day, in UTC.
    #[schema(format = Date)]
    date: String,
    #[serde(flatten)]
    performance: Performance,
}

impl From<Tally> for Performance {
    fn from(tally: Tally) -> Performance {
        Performance {
            total_scans: tally.scans,
            done: tally.done,
            failed: tally.failed,
            cached: tally.cached,
            total_results: tally.hits,
            results_per_scan: tally.hits_per_scan,
            with_results_pct: tally.with_hits_pct,
            known_outcomes: tally.known_outcomes,
            successful_breakouts: tally.successful,
            hit_rate: tally.hit_rate_pct,
            execution_time_ms: ExecutionTimes { p50: tally.p50_ms, p95: tally.p95_ms, p99: tally.p99_ms, max: tally.max_ms },
            errors: tally.errors,
        }
    }
}

/// How scans went: counts, hit rate, execution times, errors; all together, by scanner and by day.
#[utoipa::path(
    get, path = "/stats/performance", tag = "scans", params(Period),
    responses((status = 200, description = "How they went.", body = PerformanceResponse))
)]
pub(crate) async fn performance(
    State(app): State<Arc<App>>,
    AddressQuery(period): AddressQuery<Period>,
) -> Answer<Json<PerformanceResponse>> {
    let days = number("days", period.days.as_deref(), USUAL, 1, MOST)?;
    let since = days_ago(days);
    let filter = Filter { since: Some(since), ..Filter::default() };
    let found = app.store.run(app.allowed(), move |keeper| keeper.state.statistics(&keeper.engine, &filter)).await?;
    let scanner = |(scanner_type, tally): (String, Tally)| ScannerPerformance { scanner_type, performance: tally.into() };
    let day = |(date, tally): (String, Tally)| DayPerformance { date, performance: tally.into() };
    Ok(Json(PerformanceResponse {
        days,
        since: format!("{since:.3}"),
        total: found.total.into(),
        scanners: found.scanners.into_iter().map(scanner).collect(),
        by_day: found.days.into_iter().map(day).collect(),
        timestamp: problem::now(),
    }))
}
