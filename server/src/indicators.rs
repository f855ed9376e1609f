//! `GET /indicators`, and `GET /bars/{symbol}/indicators/{indicator}`: what there is to compute of a series of bars, and its values, for charts.

use std::{collections::HashSet, sync::Arc};

use axum::{extract::State, http::HeaderMap, response::Response};
use serde::{Deserialize, Serialize};
use serde_json::{Value as JsonValue, json};
use stockscan_engine::{Engine, Error, Query, Result, Value, nearest, quoted, value_of};
use utoipa::{IntoParams, ToSchema};

use crate::{
    app::App,
    bars::Which,
    body::{Path, Query as AddressQuery},
    catalogue::{cached, rows as rows_of},
    problem::{Answer, Problem},
    rows::{self, Rows},
    work::Instance,
};

/// What a bar has. A `series` is any of them; here it is the close.
const OF_BARS: [&str; 6] = ["open", "high", "low", "close", "volume", "series"];
/// What an address has that is no option.
const OF_ADDRESSES: [&str; 5] = ["from", "to", "ended_by", "every", "limit"];

/// An option of an indicator.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub(crate) struct OptionDocument {
    /// Its name.
    #[schema(example = "time_period")]
    name: String,
    /// The type of SQL that its values have.
    #[serde(rename = "type")]
    #[schema(example = "INTEGER")]
    sql_type: String,
    /// What it is if it is not given.
    #[schema(value_type = Value, example = 14)]
    default: JsonValue,
    /// Smallest number allowed.
    #[schema(example = 2)]
    min: Option<f64>,
    /// Largest number allowed.
    #[schema(example = 100_000)]
    max: Option<f64>,
    /// The texts allowed, if only some are.
    choices: Option<Vec<String>>,
    /// What it means.
    doc: String,
}

/// An indicator.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub(crate) struct IndicatorDocument {
    /// The name by which it is asked for.
    #[schema(example = "rsi")]
    indicator: String,
    /// Its name in SQL.
    #[schema(example = "ti_rsi")]
    function_name: String,
    /// What it is called.
    title: String,
    /// TA-Lib's group of it.
    #[schema(example = "Momentum Indicators")]
    group_name: String,
    /// What it is computed of: open, high, low, close, volume, or series, which stands for any list of numbers.
    inputs: Vec<String>,
    /// What may be given besides, in order.
    options: Vec<OptionDocument>,
    /// Names of its values, if it has several; null: it has one, which is called as the indicator is.
    outputs: Option<Vec<String>>,
}

/// An indicator as the catalogue lists it.
#[derive(Debug, Deserialize)]
struct Listed {
    indicator: String,
    function_name: String,
    title: String,
    group_name: String,
    inputs: Vec<String>,
    outputs: Option<Vec<String>>,
    documentation: String,
}

impl From<Listed> for IndicatorDocument {
    fn from(listed: Listed) -> IndicatorDocument {
        let Listed { indicator, function_name, title, group_name, inputs, outputs, documentation } = listed;
        let options = documentation.lines().filter_map(|line| option(line.strip_prefix("@param ")?)).collect();
        IndicatorDocument { indicator, function_name, title, group_name, inputs, options, outputs }
    }
}

/// `time_period := 14 INTEGER, 2 to 100000: Time period.`
fn option(text: &str) -> Option<OptionDocument> {
    let (name, rest) = text.split_once(" := ")?;
    let (default, rest) = match rest.strip_prefix('\'') {
        Some(quoted) => quoted.split_once("' ").map(|(default, rest)| (JsonValue::from(default), rest))?,
        None => rest.split_once(' ').and_then(|(default, rest)| Some((serde_json::from_str(default).ok()?, rest)))?,
    };
    let (kind, doc) = rest.split_once(": ")?;
    let (sql_type, allowed) = kind.split_once([' ', ',']).unwrap_or((kind, ""));
    let allowed = allowed.trim_start();
    let choices = allowed.strip_prefix("one of ").map(|choices| choices.split(", ").map(str::to_owned).collect());
    let (min, max) = match allowed.split_once(" to ") {
        Some((least, most)) => (least.parse().ok(), most.parse().ok()),
        None => (allowed.strip_suffix(" or more").and_then(|least| least.parse().ok()), None),
    };
    Some(OptionDocument { name: name.to_owned(), sql_type: sql_type.to_owned(), default, min, max, choices, doc: doc.to_owned() })
}

/// The indicators. All are built in, so that they are the same as long as the server runs.
///
/// # Errors
/// What DuckDB says.
fn listed(app: &App, engine: &Engine) -> Result<Arc<Vec<IndicatorDocument>>> {
    if let Some(known) = app.indicators.get() {
        return Ok(Arc::clone(known));
    }
    let query = Query::plain(
        "SELECT listed.indicator, listed.function_name, listed.title, listed.group_name, listed.inputs, listed.outputs, listed.documentation \
         FROM indicators() AS listed",
    );
    let (text, _) = rows_of(engine, &query)?;
    let listed: Vec<Listed> = serde_json::from_str(&text).map_err(|error| Error::Database(error.to_string()))?;
    let documents = Arc::new(listed.into_iter().map(IndicatorDocument::from).collect());
    Ok(Arc::clone(app.indicators.get_or_init(|| documents)))
}

/// The indicators: what can be computed of bars.
#[utoipa::path(
    get, path = "/indicators", tag = "catalogue",
    responses((status = 200, description = "The indicators.", body = Vec<IndicatorDocument>))
)]
pub(crate) async fn indicators(State(app): State<Arc<App>>, headers: HeaderMap) -> Answer<Response> {
    cached(&app, &headers, "indicators", (), |app, engine| Ok(Ok(json!(*listed(app, engine)?).to_string()))).await
}

/// Options of the indicator.
#[derive(Debug, IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "names of options come with the indicator, so they are read one by one; this describes them")]
pub(crate) struct Options {
    /// Options of the indicator by their names, as `GET /indicators` lists them.
    #[param(style = Form, explode, value_type = Option<Object>)]
    options: Option<String>,
}

/// An indicator of the bars of one symbol: a row for each bar that `GET /bars/{symbol}` gives for the same address.
///
/// It is computed of all of the symbol's bars up to there, so that it is warm, and each value of nothing later than its own bar. Null where
/// there are too few bars before. An indicator of a `series` is one of the close.
#[utoipa::path(
    get, path = "/bars/{symbol}/indicators/{indicator}", tag = "market",
    params(
        ("symbol" = String, Path, description = "The stock."),
        ("indicator" = String, Path, description = "The indicator's name, as `GET /indicators` lists it.", example = "rsi"),
        Which,
        Options,
    ),
    responses((status = 200, description = "The values: symbol, ts, and the outputs.", content(
        (Vec<Object> = "application/json"), (String = "application/x-ndjson"), (String = "text/csv"),
        (Vec<u8> = "application/vnd.apache.arrow.stream"), (Vec<u8> = "application/vnd.apache.parquet"))))
)]
pub(crate) async fn of_bars(
    State(app): State<Arc<App>>,
    Path((symbol, indicator)): Path<(String, String)>,
    AddressQuery(given): AddressQuery<Vec<(String, String)>>,
    headers: HeaderMap,
) -> Answer<Response> {
    let format = rows::accepted(&headers)?;
    let inner = Arc::clone(&app);
    let (which, options) = read(given)?;
    let find = move |engine: &Engine| Ok(asked(&listed(&inner, engine)?, &indicator, options));
    let asked = app.workers.run(Instance::Ours, app.allowed(), find).await??;
    let (wanted, limit) = which.wanted(&app, symbol)?;
    let if_empty = Some(wanted.nothing());
    let make = move |engine: &Engine| wanted.with_values(engine, limit, &asked.expression, asked.values);
    Rows { format, allowed: app.allowed(), headers: Vec::new(), if_empty, make, observe: () }.respond(&app.workers, Instance::Ours).await
}

/// The bars that are asked for, and the options.
fn read(given: Vec<(String, String)>) -> Answer<(Which, Vec<(String, String)>)> {
    let (mut which, mut options, mut seen) = (Which::default(), Vec::new(), HashSet::new());
    let whole = |name: &str, text: &str| {
        let wrong =
            |_| Problem::of_parameter(name, format!("{name} must be a whole number, got '{}'", text.chars().take(40).collect::<String>()));
        text.parse::<i64>().map(Some).map_err(wrong)
    };
    for (name, text) in given {
        if !seen.insert(name.clone()) {
            return Err(Problem::of_parameter(&name, format!("{name} is given twice; expected it once")));
        }
        match name.as_str() {
            "from" => which.from = Some(text),
            "to" => which.to = Some(text),
            "ended_by" => which.ended_by = Some(text),
            "every" => which.every = whole(&name, &text)?,
            "limit" => which.limit = whole(&name, &text)?,
            _ => options.push((name, text)),
        }
    }
    Ok((which, options))
}

/// What is computed of each bar: an expression over the lists of a series, and the values in it.
struct Asked {
    expression: String,
    values: Vec<Value>,
}

fn asked(listed: &[IndicatorDocument], name: &str, given: Vec<(String, String)>) -> Answer<Asked> {
    let Some(indicator) = listed.iter().find(|listed| listed.indicator == name) else {
        let meant = nearest(name, listed.iter().map(|listed| listed.indicator.as_str()));
        let meant = meant.map_or(";".to_owned(), |name| format!("; did you mean '{name}'?"));
        let detail = format!("there is no indicator '{name}'{meant} GET /indicators lists them");
        return Err(Problem { parameter: Some("indicator".to_owned()), ..Problem::not_found(detail) });
    };
    if let Some(input) = indicator.inputs.iter().find(|input| !OF_BARS.contains(&input.as_str())) {
        let detail = format!("{name} takes {}, and bars have no '{input}'; it can be asked for in SQL", indicator.inputs.join(", "));
        return Err(Problem::of_parameter("indicator", detail));
    }
    let known: Vec<&str> = indicator.options.iter().map(|option| option.name.as_str()).collect();
    if let Some((strange, _)) = given.iter().find(|(given, _)| !known.contains(&given.as_str())) {
        let names = || known.iter().copied().chain(OF_ADDRESSES);
        let meant = nearest(strange, names()).map_or(";".to_owned(), |name| format!("; did you mean '{name}'?"));
        let detail = format!("{name} has no option '{strange}'{meant} it takes {}", names().collect::<Vec<_>>().join(", "));
        return Err(Problem::of_parameter(strange, detail));
    }
    let value = |option: &OptionDocument| {
        let given = given.iter().find(|(given, _)| *given == option.name).map(|(_, text)| text.clone());
        let text = given.unwrap_or_else(|| option.default.as_str().map_or_else(|| option.default.to_string(), str::to_owned));
        match value_of(&text, Some(&option.sql_type)) {
            // The function says what is wrong with it.
            Value::Null => Value::Text(text),
            value => value,
        }
    };
    let inputs = indicator.inputs.iter().map(|input| if input == "series" { "close" } else { input.as_str() });
    let places = indicator.options.iter().map(|_| "?");
    let arguments: Vec<&str> = inputs.chain(places).collect();
    let expression = format!("{{{}: {}({})}}", quoted(name), quoted(&indicator.function_name), arguments.join(", "));
    Ok(Asked { expression, values: indicator.options.iter().map(value).collect() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_read_from_the_documentation() {
        let read = |text| {
            let option = option(text).unwrap();
            (option.name, option.sql_type, option.default, option.min, option.max, option.choices, option.doc)
        };
        assert_eq!(
            read("time_period := 14 INTEGER, 2 to 100000: Time period."),
            ("time_period".to_owned(), "INTEGER".to_owned(), json!(14), Some(2.0), Some(100_000.0), None, "Time period.".to_owned())
        );
        let (_, sql_type, default, least, most, ..) = read("maximum := 0.2 DOUBLE, 0 or more: Maximum: a value.");
        assert_eq!((sql_type.as_str(), default, least, most), ("DOUBLE", json!(0.2), Some(0.0), None));
        let (_, sql_type, default, least, _, choices, doc) = read("ma_type := 'SMA' VARCHAR one of SMA, EMA: Type.");
        assert_eq!((sql_type.as_str(), default, least, doc.as_str()), ("VARCHAR", json!("SMA"), None, "Type."));
        assert_eq!(choices, Some(vec!["SMA".to_owned(), "EMA".to_owned()]));
        assert_eq!(read("start := 0 DOUBLE: Start.").3, None);
        assert_eq!(option("series DOUBLE[]: numbers in the order of time."), None, "an input is none");
    }
}
