//! `GET /bars/{symbol}`: bars of one symbol, for charts.

use std::sync::Arc;

use arrow::{array::AsArray, datatypes::Int64Type};
use axum::{extract::State, http::HeaderMap, response::Response};
use jiff::civil::DateTime;
use serde::Deserialize;
use stockscan_engine::{Argument, Call, Engine, Query, Result, Value};
use utoipa::IntoParams;

use crate::{
    app::App,
    body::{Path, Query as AddressQuery},
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
/// More than these are not sorted at once, so that memory does not grow with what is asked for.
const SORTED: i64 = 50_000;

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
        && from >= to
    {
        return Err(Problem::of_parameter("from", format!("from must not be after to, got {from}, and {to} as the end")));
    }
    let if_empty = Problem::not_found(format!("there is no bar of '{symbol}' in the time asked for"));
    let bar_minutes = app.options.bar_minutes;
    let make = move |engine: &Engine| Wanted { symbol, from, to, bar_minutes }.queries(engine, limit);
    let format = rows::accepted(&headers)?;
    Rows { format, allowed: app.allowed(), headers: Vec::new(), if_empty: Some(if_empty), make, observe: () }
        .respond(&app.workers, Instance::Ours)
        .await
}

/// Bars of one symbol.
struct Wanted {
    symbol: String,
    from: Option<DateTime>,
    to: Option<DateTime>,
    bar_minutes: u32,
}

impl Wanted {
    /// What gives the latest ones, so many, in order of time.
    fn queries(&self, engine: &Engine, limit: i64) -> Result<Vec<Query>> {
        let days = match (self.from, self.to) {
            (None, None) => match engine.latest_session(&self.arguments())? {
                Some(latest) => [latest.clone(), latest],
                None => return Ok(vec![Query::plain("SELECT 1 WHERE false")]),
            },
            (from, to) => [
                from.map_or_else(|| DAYS[0].to_owned(), |from| from.date().to_string()),
                to.map_or_else(|| DAYS[1].to_owned(), |to| to.date().to_string()),
            ],
        };
        let mut call = self.arguments();
        for (name, day) in ["first_date", "last_date"].into_iter().zip(&days) {
            call.push((name.to_owned(), Argument::Value(Value::Text(day.clone()))));
        }
        let call = engine.call("session_bars", &call)?;
        if limit <= SORTED {
            return Ok(vec![self.query(&call, limit)]);
        }
        // All of them see the same bars.
        engine.connection().execute_batch("BEGIN TRANSACTION")?;
        let mut parts: Vec<([String; 2], i64)> = Vec::new();
        let mut left = limit;
        for (day, count) in self.counts(engine, &call)? {
            let taken = count.min(left);
            match parts.last_mut() {
                Some((days, sum)) if *sum + taken <= SORTED => {
                    days[0] = day;
                    *sum += taken;
                }
                _ => parts.push(([day.clone(), day], taken)),
            }
            left -= taken;
            if left == 0 {
                break;
            }
        }
        if parts.is_empty() {
            return Ok(vec![self.query(&call, limit)]);
        }
        Ok(parts.into_iter().rev().map(|(days, count)| self.query(&of_days(&call, days), count)).collect())
    }

    fn arguments(&self) -> Vec<(String, Argument)> {
        vec![
            ("symbols".to_owned(), Argument::Value(Value::List(vec![Value::Text(self.symbol.clone())]))),
            ("bar_minutes".to_owned(), Argument::Value(Value::BigInt(i64::from(self.bar_minutes)))),
        ]
    }

    /// The bars of the days that are in the time asked for.
    fn bars(&self, call: &Call) -> Query {
        let bars = call.query();
        let time = |time: Option<DateTime>| time.map_or(Value::Null, |time| Value::Text(time.strftime("%Y-%m-%d %H:%M:%S").to_string()));
        let (from, to) = (time(self.from), time(self.to));
        let sql = format!(
            "SELECT bar.* FROM ({}) AS bar WHERE (? IS NULL OR bar.ts >= CAST(? AS TIMESTAMP)) AND (? IS NULL OR bar.ts < CAST(? AS TIMESTAMP))",
            bars.sql
        );
        Query::with_values(sql, [bars.values, vec![from.clone(), from, to.clone(), to]].concat())
    }

    /// How many bars each day has, the latest first.
    fn counts(&self, engine: &Engine, call: &Call) -> Result<Vec<(String, i64)>> {
        let bars = self.bars(call);
        let sql = format!(
            "SELECT CAST(bar.session_date AS VARCHAR) AS day, count(*) AS bars FROM ({}) AS bar GROUP BY bar.session_date ORDER BY 1 DESC",
            bars.sql
        );
        let (_, batches) = engine.collect(&Query::with_values(sql, bars.values), None)?;
        let mut counts = Vec::new();
        for batch in &batches {
            let days = batch.column(0).as_string::<i32>().iter();
            let bars = batch.column(1).as_primitive::<Int64Type>().iter();
            counts.extend(days.zip(bars).filter_map(|(day, bars)| Some((day?.to_owned(), bars?))));
        }
        Ok(counts)
    }

    fn query(&self, call: &Call, limit: i64) -> Query {
        let bars = self.bars(call);
        let sql = format!(
            "FROM (SELECT bar.symbol, bar.ts, bar.open, bar.high, bar.low, bar.close, bar.volume FROM ({}) AS bar ORDER BY bar.ts DESC LIMIT ?) \
             AS newest ORDER BY newest.ts",
            bars.sql
        );
        Query::with_values(sql, [bars.values, vec![Value::BigInt(limit)]].concat())
    }
}

/// The same call for other days. A new one would ask the catalogue, which is no good in a transaction.
fn of_days(call: &Call, [first, last]: [String; 2]) -> Call {
    let mut call = call.clone();
    for (name, value) in &mut call.arguments {
        match name.as_str() {
            "first_date" => *value = Value::Text(first.clone()),
            "last_date" => *value = Value::Text(last.clone()),
            _ => {}
        }
    }
    call
}
