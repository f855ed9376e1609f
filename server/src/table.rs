//! `POST /table/{format}`: rows that a client shows, as a file.

use std::{collections::HashSet, sync::Arc};

use arrow::{
    array::{
        ArrayRef, BooleanArray, Date32Array, Float64Array, Int64Array, RecordBatch, StringArray, Time64MicrosecondArray,
        TimestampMicrosecondArray,
    },
    datatypes::{DataType, Field, Schema, TimeUnit},
};
use axum::{
    extract::{FromRequest, Request, State},
    response::Response,
};
use jiff::civil::{Date, DateTime, Time};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use stockscan_formats::arrow_error;
use utoipa::ToSchema;

use crate::{
    app::App,
    body::{Body, Path},
    export::{Format, answer, fit_for_a_name, permit, written},
    problem::{Answer, Problem},
};

/// Largest body, in bytes: a hundred thousand rows of a dozen numbers.
const LARGEST: usize = 16 << 20;
/// More rows are not taken.
const MOST_ROWS: usize = 100_000;
/// More columns are not.
const MOST_COLUMNS: usize = 1000;
/// The longest name of a file, without its ending.
const LONGEST_NAME: usize = 100;
/// What a text begins with that a spreadsheet takes for a formula when it opens a CSV.
const FORMULA: [char; 6] = ['=', '+', '-', '@', '\t', '\r'];

/// What the values of a column are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum ColumnType {
    /// A text.
    Text,
    /// A whole number of 64 bits.
    Integer,
    /// A number.
    Number,
    /// True or false.
    Boolean,
    /// A date such as 2025-01-15.
    Date,
    /// A time of day such as 09:50 or 09:50:30.
    Time,
    /// A date with a time such as 2025-01-15T09:50:00. One in UTC may end with a Z, as this interface has them; a file has no time zone, and it
    /// stands there as it is, without the Z.
    Timestamp,
}

/// A column.
#[derive(Debug, Clone, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Column {
    /// Its name.
    #[schema(min_length = 1, example = "symbol")]
    name: String,
    /// What its values are.
    #[serde(rename = "type")]
    kind: ColumnType,
}

/// Rows with the types of their columns.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Table {
    /// A name for the file, without its ending; only letters, digits, `-` and `_` of it are used.
    #[schema(example = "breakout-2025-01-15")]
    name: String,
    /// The columns. Each has a name of its own.
    #[schema(min_items = 1, max_items = 1000)]
    columns: Vec<Column>,
    /// The rows, each with a value or null for each column.
    #[schema(value_type = Vec<Vec<Value>>, max_items = 100_000, example = json!([["INFY"], [null]]))]
    rows: Vec<Vec<Value>>,
}

/// Writes rows to a file: exactly these, in columns of these types.
///
/// In a CSV a text that a spreadsheet would take for a formula has a `'` in front; a workbook has it as it is.
#[utoipa::path(
    post, path = "/table/{format}", tag = "scans",
    params(("format" = inline(Format), Path, description = "What the file is written in.", example = "csv")),
    request_body = Table,
    responses(
        (status = 200, description = "The file.",
            headers(("Content-Disposition" = String, description = "A name for the file.")),
            content(
                (Vec<Object> = "application/json"), (String = "application/x-ndjson"), (String = "text/csv"),
                (Vec<u8> = "application/vnd.apache.arrow.stream"), (Vec<u8> = "application/vnd.apache.parquet"),
                (Vec<u8> = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"))),
    )
)]
pub(crate) async fn table(State(app): State<Arc<App>>, Path(format): Path<String>, request: Request) -> Answer<Response> {
    let format = Format::named(&format)?;
    // First the right to write, so that not many large bodies are in memory.
    let permit = permit(&app).await?;
    let Body(table) = Body::<Table, LARGEST>::from_request(request, &app).await?;
    table.check()?;
    let name: String = fit_for_a_name(&table.name).chars().take(LONGEST_NAME).collect();
    let name = if name.is_empty() { "table" } else { &name };
    let write = move || {
        let batch = table.batch(format == Format::Csv)?;
        Ok(written(format, &batch.schema(), &[batch])?)
    };
    answer(format, name, permit, write).await
}

impl Table {
    fn check(&self) -> Answer<()> {
        let count = self.columns.len();
        if !(1..=MOST_COLUMNS).contains(&count) {
            return Err(Problem::of_parameter("columns", format!("columns must have 1 to {MOST_COLUMNS} items, got {count}")));
        }
        let mut names = HashSet::new();
        for column in &self.columns {
            if column.name.is_empty() || !names.insert(&column.name) {
                let detail =
                    format!("columns must have a name of its own for each, got '{}' where it is empty or there already", column.name);
                return Err(Problem::of_parameter("columns", detail));
            }
        }
        if self.rows.len() > MOST_ROWS {
            return Err(Problem::of_parameter("rows", format!("rows must have at most {MOST_ROWS} items, got {}", self.rows.len())));
        }
        match self.rows.iter().zip(1..).find(|(row, _)| row.len() != count) {
            Some((row, number)) => {
                let detail = format!("rows must have {count} values each, one for each column, and row {number} has {}", row.len());
                Err(Problem::of_parameter("rows", detail))
            }
            None => Ok(()),
        }
    }

    /// The rows as Arrow has them.
    fn batch(&self, is_csv: bool) -> Answer<RecordBatch> {
        let guarded = |text: &str| if is_csv && is_formula(text) { format!("'{text}") } else { text.to_owned() };
        let mut fields = Vec::new();
        let mut arrays: Vec<ArrayRef> = Vec::new();
        for (index, Column { name, kind }) in self.columns.iter().enumerate() {
            let values = Values { rows: &self.rows, index, name };
            let array: ArrayRef = match kind {
                ColumnType::Text => Arc::new(values.read("a text", |value| value.as_str().map(guarded))?.collect::<StringArray>()),
                ColumnType::Integer => Arc::new(values.read("a whole number of 64 bits", integer)?.collect::<Int64Array>()),
                ColumnType::Number => Arc::new(values.read("a number", Value::as_f64)?.collect::<Float64Array>()),
                ColumnType::Boolean => Arc::new(values.read("true or false", Value::as_bool)?.collect::<BooleanArray>()),
                ColumnType::Date => Arc::new(values.read("a date such as 2025-01-15", date)?.collect::<Date32Array>()),
                ColumnType::Time => Arc::new(values.read("a time of day such as 09:50:00", time)?.collect::<Time64MicrosecondArray>()),
                ColumnType::Timestamp => {
                    let expected = "a date with a time, without an offset from UTC, such as 2025-01-15T09:50:00";
                    Arc::new(values.read(expected, timestamp)?.collect::<TimestampMicrosecondArray>())
                }
            };
            fields.push(Field::new(guarded(name), kind.data_type(), true));
            arrays.push(array);
        }
        RecordBatch::try_new(Arc::new(Schema::new(fields)), arrays).map_err(|error| arrow_error(error).into())
    }
}

impl ColumnType {
    fn data_type(self) -> DataType {
        match self {
            ColumnType::Text => DataType::Utf8,
            ColumnType::Integer => DataType::Int64,
            ColumnType::Number => DataType::Float64,
            ColumnType::Boolean => DataType::Boolean,
            ColumnType::Date => DataType::Date32,
            ColumnType::Time => DataType::Time64(TimeUnit::Microsecond),
            ColumnType::Timestamp => DataType::Timestamp(TimeUnit::Microsecond, None),
        }
    }
}

/// The values of a column.
struct Values<'a> {
    rows: &'a [Vec<Value>],
    index: usize,
    name: &'a str,
}

impl Values<'_> {
    /// Each as its type has it.
    fn read<T>(&self, expected: &str, read: impl Fn(&Value) -> Option<T>) -> Answer<std::vec::IntoIter<Option<T>>> {
        let mut values = Vec::with_capacity(self.rows.len());
        for (row, number) in self.rows.iter().zip(1..) {
            values.push(match &row[self.index] {
                Value::Null => None,
                value => Some(read(value).ok_or_else(|| {
                    let given: String = value.to_string().chars().take(60).collect();
                    Problem::of_parameter(
                        "rows",
                        format!("rows: row {number}, column '{}' is {given}; expected {expected} or null", self.name),
                    )
                })?),
            });
        }
        Ok(values.into_iter())
    }
}

/// Whether a spreadsheet would take a text of a CSV for a formula. A lone sign is none.
fn is_formula(text: &str) -> bool {
    text.starts_with(FORMULA) && text.len() > 1 && text.parse::<f64>().is_err()
}

fn integer(value: &Value) -> Option<i64> {
    #[expect(clippy::cast_possible_truncation, reason = "a whole number of which every digit is certain")]
    let whole = |number: f64| (number.fract() == 0.0 && number.abs() <= 9_007_199_254_740_992.0).then_some(number as i64);
    value.as_i64().or_else(|| whole(value.as_f64()?))
}

fn date(value: &Value) -> Option<i32> {
    let text = value.as_str().filter(|text| text.len() == 10)?;
    Some(days(text.parse().ok()?))
}

fn time(value: &Value) -> Option<i64> {
    let since = clock(value.as_str()?)?.duration_since(Time::midnight());
    i64::try_from(since.as_micros()).ok()
}

fn timestamp(value: &Value) -> Option<i64> {
    let text = value.as_str()?;
    let (day, rest) = text.strip_suffix('Z').unwrap_or(text).split_at_checked(10)?;
    let time = clock(rest.strip_prefix(['T', ' '])?)?;
    let since = day.parse::<Date>().ok()?.to_datetime(time).duration_since(DateTime::constant(1970, 1, 1, 0, 0, 0, 0));
    i64::try_from(since.as_micros()).ok()
}

/// A time of day. The library would also read one with an offset, and leave that out.
fn clock(text: &str) -> Option<Time> {
    let is_plain = text.as_bytes().get(2) == Some(&b':') && text.bytes().all(|byte| byte.is_ascii_digit() || matches!(byte, b':' | b'.'));
    if is_plain { text.parse().ok() } else { None }
}

/// Days since 1970.
fn days(date: Date) -> i32 {
    let hours = date.duration_since(Date::constant(1970, 1, 1)).as_hours();
    i32::try_from(hours / 24).unwrap_or_default()
}
