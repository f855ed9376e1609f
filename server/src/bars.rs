//! `GET /bars/{symbol}`: bars of one symbol, for charts.

use std::sync::Arc;

use axum::{
    extract::{Path, State},
    http::HeaderMap,
    response::Response,
};
use jiff::civil::DateTime;
use serde::Deserialize;
use stockscan_engine::{Argument, Engine, Query, Result, Value};
use utoipa::IntoParams;

use crate::{
    app::App,
    body::Query as AddressQuery,
    given::moment,
    problem::{Answer, Problem},
    rows::{self, Rows},
    work::Instance,
};

/// The first and the last day that can be asked for.
const DAYS: [&str; 2] = ["1900-01-01", "2199-12-31"];
/// So many bars are sent unless more are asked for.
const USUAL: i64 = 10_000;
/// More are not.
const MOST: i64 = 5_000_000;

/// Which bars.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct Which {
    /// Start of the first bar, exchange time: a date or a time such as 2025-01-15T09:15. Without `from` and `to`: the latest session.
    #[serde(default)]
    #[param(format = "moment", example = "2025-01-15")]
    from: Option<String>,
    /// The last bar starts before this; of a date, with it.
    #[serde(default)]
    #[param(format = "moment", example = "2025-01-15")]
    to: Option<String>,
    /// At most so many, the latest ones.
    #[serde(default)]
    #[param(minimum = 1, maximum = 5_000_000, default = 10_000)]
    limit: Option<i64>,
}

/// Bars of one symbol, in order of time.
#[utoipa::path(
    get, path = "/bars/{symbol}", tag = "market", params(("symbol" = String, Path, description = "The stock."), Which),
    responses((status = 200, description = "The bars: symbol, ts, open, high, low, close, volume.", content(
        (Vec<Object> = "application/json"), (String = "application/x-ndjson"), (String = "text/csv"),
        (Vec<u8> = "application/vnd.apache.arrow.stream"), (Vec<u8> = "application/vnd.apache.parquet"))))
)]
pub(crate) async fn bars(
    State(app): State<Arc<App>>,
    Path(symbol): Path<String>,
    AddressQuery(which): AddressQuery<Which>,
    headers: HeaderMap,
) -> Answer<Response> {
    let limit = which.limit.unwrap_or(USUAL);
    if !(1..=MOST).contains(&limit) {
        return Err(Problem::of_parameter("limit", format!("limit must be between 1 and {MOST}, got {limit}")));
    }
    let from = which.from.as_deref().map(|text| moment("from", text, false)).transpose()?;
    let to = which.to.as_deref().map(|text| moment("to", text, true)).transpose()?;
    if let (Some(from), Some(to)) = (from, to)
        && from > to
    {
        return Err(Problem::of_parameter("from", format!("from must not be after to, got {from} and {to}")));
    }
    let if_empty = Problem::not_found(format!("there is no bar of '{symbol}' in the time asked for"));
    let bar_minutes = app.options.bar_minutes;
    let make = move |engine: &Engine| query(engine, &symbol, from, to, limit, bar_minutes);
    let format = rows::accepted(&headers)?;
    Rows { format, allowed: app.allowed(), headers: Vec::new(), if_empty: Some(if_empty), make, observe: () }
        .respond(&app.workers, Instance::Ours)
        .await
}

fn query(engine: &Engine, symbol: &str, from: Option<DateTime>, to: Option<DateTime>, limit: i64, bar_minutes: u32) -> Result<Query> {
    let text = |text: String| Argument::Value(Value::Text(text));
    let mut arguments = vec![
        ("symbols".to_owned(), Argument::Value(Value::List(vec![Value::Text(symbol.to_owned())]))),
        ("bar_minutes".to_owned(), Argument::Value(Value::BigInt(i64::from(bar_minutes)))),
    ];
    let days = match (from, to) {
        (None, None) => {
            let latest = engine.latest_session(&arguments)?;
            let Some(latest) = latest else { return Ok(Query::plain("SELECT 1 WHERE false")) };
            [latest.clone(), latest]
        }
        (from, to) => [
            from.map_or_else(|| DAYS[0].to_owned(), |from| from.date().to_string()),
            to.map_or_else(|| DAYS[1].to_owned(), |to| to.date().to_string()),
        ],
    };
    for (name, day) in ["first_date", "last_date"].into_iter().zip(days) {
        arguments.push((name.to_owned(), text(day)));
    }
    let bars = engine.call("session_bars", &arguments)?.query();
    let time = |time: Option<DateTime>| time.map_or(Value::Null, |time| Value::Text(time.strftime("%Y-%m-%d %H:%M:%S%.f").to_string()));
    let (from, to) = (time(from), time(to));
    let sql = format!(
        "FROM (SELECT bar.symbol, bar.ts, bar.open, bar.high, bar.low, bar.close, bar.volume FROM ({}) AS bar \
         WHERE (? IS NULL OR bar.ts >= CAST(? AS TIMESTAMP)) AND (? IS NULL OR bar.ts < CAST(? AS TIMESTAMP)) ORDER BY bar.ts DESC LIMIT ?) \
         AS newest ORDER BY newest.ts",
        bars.sql
    );
    let values = [bars.values, vec![from.clone(), from, to.clone(), to, Value::BigInt(limit)]].concat();
    Ok(Query::with_values(sql, values))
}
