//! `POST /optimize`: many values of parameters tried, and how much of the best to believe.

use std::{sync::Arc, time::Instant};

use axum::{extract::State, response::Response};
use serde_json::{Map, Value as JsonValue};
use stockscan_backtests::{Candidates, Optimization, RESULTS, Search, Test};
use stockscan_engine::{Argument, Engine, Error, Query as Statement, Result, Value};

use crate::{
    app::App,
    body::{Body, Query},
    jobs::{self, JobDocument, Kind, Outcome, Wait, Watch},
    options::Options,
    problem::{Answer, Problem},
    trading::{object, read, row, rows, test, trading_request},
};

/// So many combinations are in the result unless more are asked for.
const TOP: u32 = 1000;
/// Share of the work, in the progress, that is done when the trades of all combinations are found.
const TESTED: f64 = 0.9;

trading_request! {
    /// What is to be tried.
    OptimizeRequest {
        /// For each parameter to vary a list of values, which are all tried with all of the others: parameters of the scanner, `cutoff_time`,
        /// `exit_time`, `hold_sessions`, `stop_loss_pct`, `target_pct`.
        #[schema(value_type = Object, example = json!({"breakout_volume_ratio": [1, 1.5, 2], "stop_loss_pct": [1, null]}))]
        pub(crate) grid: serde_json::Map<String, serde_json::Value>,
        /// What is best is highest in this: a column of the summary, or an expression of them such as `sharpe * ln(trades)`; without it
        /// `sharpe`.
        #[schema(example = "sharpe")]
        pub(crate) objective: Option<String>,
        /// Into how many parts the sessions are divided: each but the first is traded with what was best before; without it 4.
        #[schema(minimum = 2, maximum = 50)]
        pub(crate) folds: Option<i64>,
        /// A combination with fewer trades is not chosen; without it 10.
        #[schema(minimum = 1)]
        pub(crate) min_trades: Option<i64>,
        /// Try so many of the combinations; without it all.
        #[schema(minimum = 1, maximum = 100_000)]
        pub(crate) samples: Option<u32>,
        /// How these are chosen: `random` or `latin_hypercube`; without it `random`.
        #[schema(pattern = "^(random|latin_hypercube)$")]
        pub(crate) sampling: Option<String>,
        /// The same seed chooses the same ones; without it 1.
        #[schema(minimum = 0)]
        pub(crate) seed: Option<i64>,
        /// How many combinations the result has, best first; without it 1000.
        #[schema(minimum = 1, maximum = 100_000)]
        pub(crate) top: Option<u32>,
    }
}

/// Try many values of parameters
///
/// The result has `report` (the best combination, its walk-forward out of sample, and how much of it may be luck), `results` (the combinations,
/// best first, in sample and out of sample), `walk_forward` (a row for each fold), `parameters` (a row for each value that was tried),
/// `combinations` and `combinations_tested`, and `sql`. One that is stopped by the time allowed has failed, and has the result of what was done
/// by then.
#[utoipa::path(post, path = "/optimize", tag = "jobs",
    request_body(content = OptimizeRequest, example = json!({"scanner_type": "breakout", "grid": {"breakout_volume_ratio": [1, 1.5, 2]}, "cost_bps": 5})),
    params(Wait),
    responses(
        (status = 200, description = "It is done, or has failed", body = JobDocument),
        (status = 202, description = "It goes on: ask again at Location", body = JobDocument),
        (status = 422, description = "The scanner, which is not built in, does not work", body = Problem, content_type = "application/problem+json"),
    ))]
pub(crate) async fn optimize(
    State(app): State<Arc<App>>,
    Query(wait): Query<Wait>,
    Body(given): Body<Map<String, JsonValue>>,
) -> Answer<Response> {
    let request = read::<OptimizeRequest>(&given)?;
    // Its report needs a fold to learn from and one to try it on.
    let ranges = [
        ("folds", request.folds, 2, 50),
        ("samples", request.samples.map(i64::from), 1, 100_000),
        ("top", request.top.map(i64::from), 1, 100_000),
    ];
    for (name, value, least, most) in ranges {
        if let Some(value) = value.filter(|value| !(least..=most).contains(value)) {
            return Err(Problem::of_parameter(name, format!("optimize: {name} must be between {least} and {most}, got {value}")));
        }
    }
    for (name, is_given) in [("sampling", request.sampling.is_some()), ("seed", request.seed.is_some())] {
        if is_given && request.samples.is_none() {
            return Err(Problem::of_parameter(
                name,
                format!("optimize: {name} must be given beside samples, of which it says how they are chosen"),
            ));
        }
    }
    jobs::submit(&app, Kind::Optimize, given, &wait).await
}

/// Checks what is asked for.
fn prepare<'a>(engine: &'a Engine, options: &Options, given: &Map<String, JsonValue>) -> Result<Optimization<'a>> {
    let argument = |name: &str| match given.get(name) {
        Some(JsonValue::Number(number)) => Some(Argument::Text(number.to_string())),
        Some(JsonValue::String(text)) => Some(Argument::Value(Value::Text(text.clone()))),
        _ => None,
    };
    let search = Search {
        grid: grid(given)?,
        objective: given.get("objective").and_then(JsonValue::as_str).map(str::to_owned),
        folds: argument("folds"),
        min_trades: argument("min_trades"),
        samples: given.get("samples").and_then(JsonValue::as_u64).and_then(|samples| samples.try_into().ok()),
        sampling: argument("sampling"),
        seed: argument("seed"),
    };
    Optimization::new(engine, test(engine, options, given, "optimize")?, search)
}

/// The values to try, as texts.
fn grid(given: &Map<String, JsonValue>) -> Result<Vec<Candidates>> {
    let Some(grid) = given.get("grid").and_then(JsonValue::as_object).filter(|grid| !grid.is_empty()) else {
        let expected = "optimize: grid must have a list of values for each parameter to vary, such as {\"min_price\": [50, 100]}";
        return Err(Error::Invalid(expected.to_owned()));
    };
    let candidates = grid.iter().map(|(name, values)| {
        let said = format!("grid.{name}");
        let values = values.as_array().filter(|values| !values.is_empty());
        let values = values.ok_or_else(|| Error::Invalid(format!("{said}: expected a list of values, such as [1, 2, 3]")))?;
        let texts = values.iter().map(|value| match value {
            JsonValue::Null => Ok("NULL".to_owned()),
            JsonValue::Bool(value) => Ok(value.to_string()),
            JsonValue::String(text) => Ok(text.clone()),
            // 5.0 is a whole number to whoever has no other kind.
            JsonValue::Number(number) => {
                let text = number.to_string();
                Ok(text.strip_suffix(".0").map_or_else(|| text.clone(), str::to_owned))
            }
            JsonValue::Array(_) | JsonValue::Object(_) => {
                Err(Error::Invalid(format!("{said}: {value} is none of its values; expected numbers, texts, true, false or null")))
            }
        });
        Ok(Candidates { name: name.clone(), texts: texts.collect::<Result<_>>()?, said })
    });
    candidates.collect()
}

/// Refuses what cannot be tried.
pub(crate) fn check(engine: &Engine, options: &Options, given: &Map<String, JsonValue>) -> Result<()> {
    prepare(engine, options, given)?.check()
}

/// Tries all combinations, and writes the result.
pub(crate) fn run(engine: &Engine, options: &Options, given: &Map<String, JsonValue>, watch: &Watch, deadline: Instant) -> Result<Outcome> {
    // As it is told: what is left of it says nothing to anybody.
    let allowed = options.job_timeout;
    let started = deadline.checked_sub(allowed).unwrap_or_else(Instant::now);
    let mut optimization = prepare(engine, options, given)?;
    watch.share(0.0, 0.05)?;
    optimization.prepare(&["grid_walk_forward"], Some(allowed))?;
    let tested = optimization.trades(started, Some(allowed), |parts, work| {
        for place in 0..parts {
            #[expect(clippy::cast_precision_loss, reason = "far fewer than 2^52")]
            let reached = |done: usize| 0.05 + (TESTED - 0.05) * done as f64 / parts as f64;
            let outcome = watch.share(reached(place), reached(place + 1)).and_then(|()| work(place));
            match outcome {
                Ok(_) => {}
                // Nobody has a use for what was done by then.
                Err(error) if watch.is_stopped() => return Err(error),
                Err(error) => return Ok((place, Some(error))),
            }
        }
        Ok((parts, None))
    })?;
    if watch.is_stopped() {
        return Err(Error::Interrupted);
    }
    // What was done is judged in any case, which takes a moment.
    let late = Instant::now() + allowed.max(std::time::Duration::from_secs(60));
    let mut members = jobs::about(engine, &optimization.test);
    members.push(("objective", JsonValue::from(optimization.objective()).to_string()));
    members.push(("combinations", optimization.combinations.to_string()));
    members.push(("combinations_tested", tested.combinations.to_string()));
    watch.share(TESTED, 0.92)?;
    optimization.judge()?;
    watch.share(0.92, 0.94)?;
    members.push(("report", row(engine, &optimization.of_trades("grid_report")?, late)?));
    let top = given.get("top").and_then(JsonValue::as_u64).unwrap_or(u64::from(TOP));
    let results = Statement::plain(format!("SELECT result.* FROM {RESULTS} AS result ORDER BY result.rank LIMIT {top}"));
    watch.share(0.94, 0.96)?;
    members.push(("results", rows(engine, &results, late)?));
    watch.share(0.96, 0.98)?;
    members.push(("walk_forward", rows(engine, &optimization.of_trades("grid_walk_forward")?, late)?));
    watch.share(0.98, 1.0)?;
    members.push(("parameters", rows(engine, &optimization.of_trades("grid_parameters")?, late)?));
    members.push(("sql", JsonValue::String(Test::sql(optimization.whole()?)).to_string()));
    Ok(Outcome { result: object(&members), error: tested.outcome.err() })
}
