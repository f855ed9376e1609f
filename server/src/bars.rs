//! `GET /bars/{symbol}`: bars of one symbol, as they are stored or put together, for charts.

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
/// So many minutes stand for a session.
const SESSION: i64 = 1440;
/// So many bars are sent unless more are asked for.
const USUAL: i64 = 10_000;
/// More are not.
const MOST: i64 = 5_000_000;
/// More than these are not sorted at once, so that memory does not grow with what is asked for.
const SORTED: i64 = 50_000;

/// Which bars.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct Which {
    /// Start of the first bar, exchange time: a date or a time such as 2025-01-15T09:15. Without `from` and `to`: the latest session.
    #[serde(default)]
    #[param(format = "moment", example = "2025-01-15")]
    pub(crate) from: Option<String>,
    /// The last bar starts before this; of a date, with it.
    #[serde(default)]
    #[param(format = "moment", example = "2025-01-15")]
    pub(crate) to: Option<String>,
    /// Only bars that had ended by then, which is what a scan with that cutoff has seen; of a date, by its end.
    #[serde(default)]
    #[param(format = "moment", example = "2025-01-15T09:50")]
    pub(crate) ended_by: Option<String>,
    /// At most so many, the latest ones.
    #[serde(default)]
    #[param(minimum = 1, maximum = 5_000_000, default = 10_000)]
    pub(crate) limit: Option<i64>,
    /// Minutes of a bar: a multiple of those of the bars that are stored, which are put together, counted from the first bar that any stock
    /// has in the session. 1440: a bar for each session, at 00:00 of its date. Without it the bars as they are stored.
    #[serde(default)]
    #[param(minimum = 1, maximum = 1440, example = 5)]
    pub(crate) every: Option<i64>,
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
    let (wanted, limit) = which.wanted(&app, symbol)?;
    let if_empty = Some(wanted.nothing());
    let make = move |engine: &Engine| wanted.queries(engine, limit);
    let format = rows::accepted(&headers)?;
    Rows { format, allowed: app.allowed(), headers: Vec::new(), if_empty, make, observe: () }.respond(&app.workers, Instance::Ours).await
}

impl Which {
    /// The bars of a symbol that are meant, and how many of them at most.
    ///
    /// # Errors
    /// 400 for a value that cannot be.
    pub(crate) fn wanted(&self, app: &App, symbol: String) -> Answer<(Wanted, i64)> {
        let limit = self.limit.unwrap_or(USUAL);
        if !(1..=MOST).contains(&limit) {
            return Err(Problem::of_parameter("limit", format!("limit must be between 1 and {MOST}, got {limit}")));
        }
        let from = self.from.as_deref().map(|text| moment("from", text, false)).transpose()?;
        let to = self.to.as_deref().map(|text| moment("to", text, true)).transpose()?;
        let ended_by = self.ended_by.as_deref().map(|text| moment("ended_by", text, true)).transpose()?;
        for (name, end) in [("to", to), ("ended_by", ended_by)] {
            if let (Some(from), Some(end)) = (from, end)
                && from >= end
            {
                return Err(Problem::of_parameter("from", format!("from must not be after {name}, got {from}, and {end} as the end")));
            }
        }
        let bar_minutes = i64::from(app.options.bar_minutes);
        let every = self.every.unwrap_or(bar_minutes);
        if every != SESSION && !((1..SESSION).contains(&every) && every % bar_minutes == 0) {
            let detail = format!("every must be a multiple of {bar_minutes}, the minutes of a stored bar, up to {SESSION}, got {every}");
            return Err(Problem::of_parameter("every", detail));
        }
        // Stored ones of this length may start at any time of their day.
        let every = self.every.filter(|_| every == SESSION || every != bar_minutes);
        Ok((Wanted { symbol, from, to, ended_by, bar_minutes, every }, limit))
    }
}

/// Bars of one symbol.
pub(crate) struct Wanted {
    symbol: String,
    from: Option<DateTime>,
    to: Option<DateTime>,
    ended_by: Option<DateTime>,
    bar_minutes: i64,
    /// Minutes of a bar that is put together; `None`: as they are stored.
    every: Option<i64>,
}

impl Wanted {
    /// What is said if there are none.
    pub(crate) fn nothing(&self) -> Problem {
        Problem::not_found(format!("there is no bar of '{}' in the time asked for", self.symbol))
    }

    /// What gives an indicator for the latest ones, so many, in order of time. `expression` is a STRUCT of lists as `bar_indicators` takes it,
    /// with a `?` for each of the values.
    ///
    /// # Errors
    /// What DuckDB says.
    pub(crate) fn with_values(mut self, engine: &Engine, limit: i64, expression: &str, values: Vec<Value>) -> Result<Vec<Query>> {
        let Some([first, last]) = self.days(engine)? else { return Ok(vec![nothing()]) };
        // Of all that was before, so that it is warm.
        let call = self.call(engine, &[DAYS[0].to_owned(), last])?;
        let from = self.from.take().map_or(first, |from| from.strftime("%Y-%m-%d %H:%M:%S").to_string());
        let bars = self.bars(&call);
        let sql = format!(
            "WITH stockscan_bars AS ({}) FROM (SELECT * FROM bar_indicators({expression}, source := 'stockscan_bars') AS bar \
             WHERE bar.ts >= CAST(? AS TIMESTAMP) ORDER BY bar.ts DESC LIMIT ?) AS newest ORDER BY newest.ts",
            bars.sql
        );
        Ok(vec![Query::with_values(sql, [bars.values, values, vec![Value::Text(from), Value::BigInt(limit)]].concat())])
    }

    /// What gives the latest ones, so many, in order of time.
    fn queries(&self, engine: &Engine, limit: i64) -> Result<Vec<Query>> {
        let Some(days) = self.days(engine)? else { return Ok(vec![nothing()]) };
        let call = self.call(engine, &days)?;
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

    /// The first and the last day; `None`: there is none.
    fn days(&self, engine: &Engine) -> Result<Option<[String; 2]>> {
        Ok(match (self.from, [self.to, self.ended_by].into_iter().flatten().min()) {
            (None, None) => engine.latest_session(&self.arguments())?.map(|latest| [latest.clone(), latest]),
            (from, to) => Some([
                from.map_or_else(|| DAYS[0].to_owned(), |from| from.date().to_string()),
                to.map_or_else(|| DAYS[1].to_owned(), |to| to.date().to_string()),
            ]),
        })
    }

    fn call(&self, engine: &Engine, days: &[String; 2]) -> Result<Call> {
        let mut arguments = self.arguments();
        for (name, day) in ["first_date", "last_date"].into_iter().zip(days) {
            arguments.push((name.to_owned(), Argument::Value(Value::Text(day.clone()))));
        }
        engine.call("session_bars", &arguments)
    }

    fn arguments(&self) -> Vec<(String, Argument)> {
        vec![
            ("symbols".to_owned(), Argument::Value(Value::List(vec![Value::Text(self.symbol.clone())]))),
            ("bar_minutes".to_owned(), Argument::Value(Value::BigInt(self.bar_minutes))),
        ]
    }

    /// The bars of the days that are in the time asked for.
    fn bars(&self, call: &Call) -> Query {
        let stored = call.query();
        let time = |time: Option<DateTime>| time.map_or(Value::Null, |time| Value::Text(time.strftime("%Y-%m-%d %H:%M:%S").to_string()));
        let (from, to, ended_by) = (time(self.from), time(self.to), time(self.ended_by));
        let sql = format!(
            "SELECT bar.* FROM ({}) AS bar WHERE (? IS NULL OR bar.ts < CAST(? AS TIMESTAMP)) \
             AND (? IS NULL OR bar.ts + to_minutes(CAST(? AS BIGINT)) <= CAST(? AS TIMESTAMP))",
            stored.sql
        );
        let ends = vec![to.clone(), to, ended_by.clone(), Value::BigInt(self.bar_minutes), ended_by];
        let seen = Query::with_values(sql, [stored.values, ends].concat());
        let bars = match self.every {
            Some(every) => put_together(&seen, call, every),
            None => seen,
        };
        let sql = format!("SELECT bar.* FROM ({}) AS bar WHERE (? IS NULL OR bar.ts >= CAST(? AS TIMESTAMP))", bars.sql);
        Query::with_values(sql, [bars.values, vec![from.clone(), from]].concat())
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

/// No bars.
fn nothing() -> Query {
    Query::plain("SELECT 1 WHERE false")
}

/// Bars of so many minutes, or of a session. Those of a session begin with the first bar that any stock has in it, so that they are the same
/// for all stocks.
fn put_together(bars: &Query, call: &Call, every: i64) -> Query {
    let (ts, minutes, sessions) = if every == SESSION {
        ("CAST(bar.session_date AS TIMESTAMP)", Vec::new(), Query::plain(""))
    } else {
        let mut of_all = call.clone();
        of_all.arguments.retain(|(name, _)| name != "symbols");
        let of_all = of_all.query();
        let sql = format!(
            "JOIN (SELECT first.session_date, min(first.ts) AS ts FROM ({}) AS first GROUP BY first.session_date) AS session \
             ON session.session_date = bar.session_date",
            of_all.sql
        );
        let ts =
            "session.ts + to_minutes(CAST(? AS BIGINT) * ((epoch_us(bar.ts) - epoch_us(session.ts)) // (CAST(? AS BIGINT) * 60000000)))";
        (ts, vec![Value::BigInt(every); 2], Query::with_values(sql, of_all.values))
    };
    let sql = format!(
        "SELECT bar.symbol, bar.session_date, {ts} AS ts, arg_min(bar.open, bar.ts) AS open, max(bar.high) AS high, min(bar.low) AS low, \
         arg_max(bar.close, bar.ts) AS close, CAST(sum(bar.volume) AS BIGINT) AS volume FROM ({}) AS bar {} GROUP BY ALL",
        bars.sql, sessions.sql
    );
    Query::with_values(sql, [minutes, bars.values.clone(), sessions.values].concat())
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
