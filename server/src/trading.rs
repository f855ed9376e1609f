//! What requests for backtests and optimisations share: the fields that say which hits are traded, and how, and rows as JSON.

use std::time::Instant;

use arrow::array::RecordBatch;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value as JsonValue};
use stockscan_backtests::{Given, Test, Trading};
use stockscan_configuration::parameter_mistakes;
use stockscan_engine::{Argument, Engine, Error, Flow, Query, Result, nearest};
use stockscan_formats::{Format, RowWriter};
use stockscan_live::value_of_json;

use crate::{
    options::Options,
    problem::{Answer, Problem},
};

/// A result that is larger, in bytes, is not kept.
const LARGEST: usize = 64 << 20;

/// Fields that become arguments of the functions under their own names.
const ARGUMENTS: [&str; 15] = [
    "cutoff_time",
    "session_start",
    "session_end",
    "symbols",
    "direction",
    "exit_time",
    "hold_sessions",
    "stop_loss_pct",
    "target_pct",
    "cost_bps",
    "slippage_bps",
    "initial_capital",
    "max_positions",
    "position_size",
    "compounding",
];

/// Declares a request with the fields of all of them. What they may be is said here, and checked by the functions that get them.
macro_rules! trading_request {
    ($(#[$about:meta])* $name:ident { $($own:tt)* }) => {
        $(#[$about])*
        #[derive(Debug, Clone, serde::Deserialize, utoipa::ToSchema)]
        #[serde(deny_unknown_fields)]
        #[expect(dead_code, reason = "most fields are handed on by their names, see trading()")]
        pub(crate) struct $name {
            /// The scanner's name, as `GET /scanners` lists it.
            #[schema(example = "breakout")]
            pub(crate) scanner_type: String,
            /// The first session; without it the first in the data.
            #[schema(format = Date, example = "2024-12-17")]
            pub(crate) start_date: Option<String>,
            /// The last session, of which trades may be closed later; without it the latest in the data.
            #[schema(format = Date, example = "2025-01-15")]
            pub(crate) end_date: Option<String>,
            /// Time of day up to which bars are seen, and from which on trades are entered, exchange time; without it the scanner's own.
            #[schema(example = "09:50", format = "time-of-day")]
            pub(crate) cutoff_time: Option<String>,
            /// Start of regular hours, exchange time; bars that start earlier are left out.
            #[schema(format = "time-of-day")]
            pub(crate) session_start: Option<String>,
            /// End of regular hours, exchange time; bars that end later are left out.
            #[schema(format = "time-of-day")]
            pub(crate) session_end: Option<String>,
            /// Only these symbols.
            #[schema(min_items = 1)]
            pub(crate) symbols: Option<Vec<String>>,
            /// Values of the scanner's parameters, over those of the configuration.
            #[schema(value_type = Option<Object>)]
            pub(crate) config: Option<serde_json::Map<String, serde_json::Value>>,
            /// Which way the hits are traded: `long` or `short`; without it `long`.
            #[schema(pattern = "^(long|short)$", example = "long")]
            pub(crate) direction: Option<String>,
            /// Trades are closed by this time of day, exchange time; without it 15:15, with daily bars 24:00.
            #[schema(example = "15:15", format = "time-of-day")]
            pub(crate) exit_time: Option<String>,
            /// Trades are closed so many sessions after that of their entry; without it 0.
            #[schema(minimum = 0, maximum = 250)]
            pub(crate) hold_sessions: Option<i64>,
            /// Loss in % at which a trade is closed; without it none.
            #[schema(minimum = 0.01, maximum = 1000)]
            pub(crate) stop_loss_pct: Option<f64>,
            /// Gain in % at which a trade is closed; without it none.
            #[schema(minimum = 0.01, maximum = 1000)]
            pub(crate) target_pct: Option<f64>,
            /// Costs of each side, in hundredths of a percent of the traded value; without it 0.
            #[schema(minimum = 0, maximum = 1000)]
            pub(crate) cost_bps: Option<f64>,
            /// How much worse than the bars' prices each side is filled, in hundredths of a percent; without it 0.
            #[schema(minimum = 0, maximum = 1000)]
            pub(crate) slippage_bps: Option<f64>,
            /// What there is at first; without it 100000.
            #[schema(minimum = 1, maximum = 1_000_000_000_000.0)]
            pub(crate) initial_capital: Option<f64>,
            /// How many trades may be open at the same time; without it 3.
            #[schema(minimum = 1, maximum = 10_000)]
            pub(crate) max_positions: Option<i64>,
            /// Amount of each trade; without it the capital over max_positions.
            #[schema(minimum = 0.01)]
            pub(crate) position_size: Option<f64>,
            /// Whether trades get parts of what the capital has become; without it they do.
            pub(crate) compounding: Option<bool>,
            $($own)*
        }
    };
}
pub(crate) use trading_request;

/// The body of a request, or what is wrong with which field of it.
///
/// # Errors
/// 400.
pub(crate) fn read<T: DeserializeOwned>(given: &Map<String, JsonValue>) -> Answer<T> {
    let given = &given.iter().map(|(name, value)| (name.clone(), plain(value))).collect::<Map<String, JsonValue>>();
    let error = match serde_json::from_value::<T>(JsonValue::Object(given.clone())) {
        Ok(request) => return Ok(request),
        Err(error) => error.to_string(),
    };
    let quoted: Vec<&str> = error.split('`').skip(1).step_by(2).collect();
    if error.starts_with("unknown field") {
        let (name, known) = quoted.split_first().map_or(("", &[][..]), |(name, known)| (*name, known));
        let near = nearest(name, known.iter().copied()).map_or(";".to_owned(), |near| format!("; did you mean '{near}'?"));
        return Err(Problem::of_parameter(name, format!("there is no field '{name}'{near} there are {}", known.join(", "))));
    }
    if error.starts_with("missing field") {
        let name = quoted.first().copied().unwrap_or_default();
        return Err(Problem::of_parameter(name, format!("the request needs a value for '{name}'")));
    }
    // A field of a wrong type is refused by itself, too, and then for no other reason.
    for (name, value) in given {
        let alone = Map::from_iter([(name.clone(), value.clone())]);
        if let Err(error) = serde_json::from_value::<T>(JsonValue::Object(alone)) {
            let error = error.to_string();
            if !error.starts_with("missing field") {
                return Err(Problem::of_parameter(name, format!("{name}: {}", in_words(&error))));
            }
        }
    }
    Err(Problem::invalid(format!("the body is not what is expected: {error}")))
}

/// A whole number as one: in JSON 5.0 is no other than 5.
#[expect(clippy::cast_possible_truncation, reason = "only where it is exact")]
fn plain(value: &JsonValue) -> JsonValue {
    let whole = value.as_f64().filter(|number| value.is_f64() && number.fract() == 0.0 && number.abs() < 9e15);
    whole.map_or_else(|| value.clone(), |number| JsonValue::from(number as i64))
}

/// What is said of a type that is not the expected one.
fn in_words(error: &str) -> String {
    let types = [
        ("expected f64", "expected a number"),
        ("expected i64", "expected a whole number"),
        ("expected u32", "expected a whole number"),
        ("expected a sequence", "expected a list"),
        ("expected a map", "expected an object"),
    ];
    types.into_iter().fold(error.to_owned(), |text, (theirs, ours)| text.replace(theirs, ours))
}

/// The test that is asked for.
///
/// # Errors
/// As [`Test::new`], and for values in `config` that are none of the scanner's.
pub(crate) fn test(engine: &Engine, options: &Options, given: &Map<String, JsonValue>, called_by: &'static str) -> Result<Test> {
    let text = |name: &str| given.get(name).and_then(JsonValue::as_str).map(str::to_owned);
    let value = |value: &JsonValue| Argument::Value(value_of_json(value));
    let scanner = text("scanner_type").unwrap_or_default();
    for name in ["start_date", "end_date"] {
        text(name).map(|text| crate::given::date(name, &text)).transpose()?;
    }
    for name in ["cutoff_time", "session_start", "session_end", "exit_time"] {
        text(name).map(|text| crate::given::time_of_day(name, &text)).transpose()?;
    }
    let config = given.get("config").and_then(JsonValue::as_object).cloned().unwrap_or_default();
    if !config.is_empty() {
        let function = engine.scanner_function(&scanner)?;
        let documented = engine.scanner_parameters(function.strip_prefix("scan_").unwrap_or(&function))?;
        let mistakes = parameter_mistakes(&documented, &config);
        if !mistakes.is_empty() {
            return Err(Error::Invalid(mistakes.into_iter().map(|(_, mistake)| mistake).collect::<Vec<_>>().join("; ")));
        }
    }
    if given.get("symbols").and_then(JsonValue::as_array).is_some_and(Vec::is_empty) {
        return Err(Error::Invalid(format!("{called_by}: symbols must name at least one symbol, such as [\"INFY\", \"TCS\"]")));
    }
    let arguments = ARGUMENTS.into_iter().filter_map(|name| Some((name, given.get(name).filter(|value| !value.is_null())?)));
    let trading = Trading {
        scanner,
        start_date: text("start_date"),
        end_date: text("end_date"),
        bar_minutes: options.bar_minutes,
        arguments: arguments.map(|(name, given)| (name.to_owned(), value(given))).collect(),
        own: config.iter().map(|(name, given)| (name.clone(), value(given))).collect(),
        given: Given::Fields,
    };
    Test::new(engine, &options.configuration, trading, called_by)
}

/// The rows of a query as an array of objects.
///
/// # Errors
/// [`Error::Timeout`], [`Error::Interrupted`], [`Error::Invalid`] if there are too many, or what DuckDB says.
pub(crate) fn rows(engine: &Engine, query: &Query, deadline: Instant) -> Result<String> {
    let left = deadline.saturating_duration_since(Instant::now());
    let mut writer = None;
    let mut bytes = 0;
    engine.stream(query, Some(left), |schema| {
        let writer = writer.insert(RowWriter::new(Format::Json, Vec::new(), schema)?);
        Ok(|batch: RecordBatch| {
            writer.write(&batch)?;
            bytes += batch.get_array_memory_size();
            if bytes > LARGEST { Err(too_large()) } else { Ok(Flow::More) }
        })
    })?;
    let Some(writer) = writer else { return Ok("[]".to_owned()) };
    let mut text = String::from_utf8(writer.finish()?).map_err(|error| Error::Database(error.to_string()))?;
    text.truncate(text.trim_end().len());
    // The names of columns, which batches have once, are in every row.
    if text.len() > LARGEST { Err(too_large()) } else { Ok(text) }
}

fn too_large() -> Error {
    Error::Invalid(format!(
        "the result would have more than {} MiB; ask for fewer sessions, for fewer hits of each, or for fewer of the best",
        LARGEST >> 20
    ))
}

/// The one row of a query as an object; `null`: there is none.
///
/// # Errors
/// As [`rows`].
pub(crate) fn row(engine: &Engine, query: &Query, deadline: Instant) -> Result<String> {
    let rows = rows(engine, query, deadline)?;
    let row = rows.trim_start_matches('[').trim_end_matches(']').trim();
    Ok(if row.is_empty() { "null".to_owned() } else { row.to_owned() })
}

/// A document of members of which each is JSON already.
pub(crate) fn object(members: &[(&str, String)]) -> String {
    let members: Vec<String> = members.iter().map(|(name, value)| format!("\"{name}\":{value}")).collect();
    format!("{{{}}}", members.join(","))
}

#[cfg(test)]
mod tests {
    use super::*;

    trading_request! {
        /// A request.
        Request {
            /// One more.
            pub(crate) top: Option<u32>,
        }
    }

    #[test]
    fn a_request_with_a_mistake_is_told_which_field_it_is() {
        for (given, parameter, expected) in [
            (r#"{"scanner_type": "breakout", "target": 2}"#, "target", "there is no field 'target'; did you mean 'target_pct'?"),
            (r#"{"top": 3}"#, "scanner_type", "needs a value for 'scanner_type'"),
            (r#"{"top": 3, "scanner_type": 7}"#, "scanner_type", "expected a string"),
            (r#"{"scanner_type": "gap", "hold_sessions": 1.5}"#, "hold_sessions", "expected a whole number"),
            (r#"{"scanner_type": "gap", "cost_bps": "3"}"#, "cost_bps", "expected a number"),
            (r#"{"scanner_type": "gap", "symbols": "A"}"#, "symbols", "expected a list"),
            (r#"{"scanner_type": "gap", "config": []}"#, "config", "expected an object"),
        ] {
            let given = serde_json::from_str::<Map<String, JsonValue>>(given).unwrap();
            let problem = read::<Request>(&given).unwrap_err();
            assert_eq!(problem.parameter.as_deref(), Some(parameter), "{}", problem.detail);
            assert!(problem.detail.contains(expected), "{}", problem.detail);
        }
        let given = serde_json::from_str(r#"{"scanner_type": "gap", "cost_bps": 3, "target_pct": null}"#).unwrap();
        assert_eq!(read::<Request>(&given).unwrap().scanner_type, "gap");
    }

    #[test]
    fn every_field_is_handed_on() {
        use utoipa::PartialSchema;
        let schema = serde_json::to_value(Request::schema()).unwrap();
        let fields: Vec<&String> = schema["properties"].as_object().unwrap().keys().collect();
        let elsewhere = ["scanner_type", "start_date", "end_date", "config", "top"];
        let handed_on: Vec<&str> = fields.iter().map(|name| name.as_str()).filter(|name| !elsewhere.contains(name)).collect();
        let mut sorted = ARGUMENTS.to_vec();
        sorted.sort_unstable();
        let mut found = handed_on.clone();
        found.sort_unstable();
        assert_eq!(found, sorted);
    }
}
