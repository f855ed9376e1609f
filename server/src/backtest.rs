//! `POST /backtest`: what became of a scanner's hits, each a trade, all of them a portfolio.

use std::{sync::Arc, time::Instant};

use axum::{extract::State, response::Response};
use serde_json::{Map, Value as JsonValue};
use stockscan_backtests::Test;
use stockscan_engine::{Argument, Call, Engine, Result, Value};

use crate::{
    app::App,
    body::{Body, Query},
    jobs::{self, JobDocument, Kind, Outcome, Wait, Watch},
    options::Options,
    problem::{Answer, Problem},
    trading::{object, read, row, rows, test, trading_request},
};

trading_request! {
    /// What is to be tested.
    BacktestRequest {
        /// What the trades are put together by, a row for each: `hour`, `weekday`, `month`, `symbol`, `score_bucket` or `exit_reason`.
        #[schema(pattern = "^(hour|weekday|month|symbol|score_bucket|exit_reason)$")]
        pub(crate) by: Option<String>,
    }
}

/// Test a scanner
///
/// Each hit of the scanner becomes a trade, all of them a portfolio. The result has `summary` (an object, null without a session), `daily` (a row
/// for each session), `trades` (a row for each hit), `by` (a row for each group, or null), and `sql`, the statement of the summary. If it is done
/// within `wait` seconds the answer has it, else it is at the address that the answer names.
#[utoipa::path(post, path = "/backtest", tag = "jobs",
    request_body(content = BacktestRequest, example = json!({"scanner_type": "breakout", "cost_bps": 5, "stop_loss_pct": 1, "by": "month"})),
    params(Wait),
    responses(
        (status = 200, description = "It is done, or has failed", body = JobDocument),
        (status = 202, description = "It goes on: ask again at Location", body = JobDocument),
        (status = 422, description = "The scanner, which is not built in, does not work", body = Problem, content_type = "application/problem+json"),
    ))]
pub(crate) async fn backtest(
    State(app): State<Arc<App>>,
    Query(wait): Query<Wait>,
    Body(given): Body<Map<String, JsonValue>>,
) -> Answer<Response> {
    read::<BacktestRequest>(&given)?;
    jobs::submit(&app, Kind::Backtest, given, &wait).await
}

/// What is asked for, ready to be run.
struct Prepared {
    test: Test,
    summary: Call,
    /// What is found beside the summary, by its name in the result.
    others: Vec<(&'static str, Call)>,
}

fn prepare(engine: &Engine, options: &Options, given: &Map<String, JsonValue>) -> Result<Prepared> {
    let test = test(engine, options, given, "backtest")?;
    let summary = test.call(engine, "backtest_summary", &[])?;
    let mut others = vec![("daily", test.call(engine, "backtest_daily", &[])?), ("trades", test.call(engine, "backtest", &[])?)];
    if let Some(bucket) = given.get("by").and_then(JsonValue::as_str) {
        let bucket = Argument::Value(Value::Text(bucket.to_owned()));
        others.push(("by", test.call(engine, "backtest_by", &[("bucket", bucket)])?));
    }
    Ok(Prepared { test, summary, others })
}

/// Refuses what cannot be tested.
pub(crate) fn check(engine: &Engine, options: &Options, given: &Map<String, JsonValue>) -> Result<()> {
    let prepared = prepare(engine, options, given)?;
    let calls = prepared.others.iter().map(|(_, call)| call);
    std::iter::once(&prepared.summary).chain(calls).try_for_each(|call| Test::check(engine, call))
}

/// Tests, and writes the result.
pub(crate) fn run(engine: &Engine, options: &Options, given: &Map<String, JsonValue>, watch: &Watch, deadline: Instant) -> Result<Outcome> {
    let Prepared { test, summary, others } = prepare(engine, options, given)?;
    let steps = others.len() + 1;
    watch.step(0, steps)?;
    let mut members = jobs::about(engine, &test);
    members.push(("summary", row(engine, &summary.query(), deadline)?));
    for (place, (name, call)) in others.iter().enumerate() {
        watch.step(place + 1, steps)?;
        members.push((name, rows(engine, &call.query(), deadline)?));
    }
    if !others.iter().any(|(name, _)| *name == "by") {
        members.push(("by", "null".to_owned()));
    }
    members.push(("sql", JsonValue::String(Test::sql(summary)).to_string()));
    Ok(Outcome { result: object(&members), error: None })
}
