//! Values on the wire: which type of PostgreSQL's a column has, its values as text and in binary, and the parameters that come back.
//!
//! This runs in the process of the statement, so that whatever a value does ends nothing else.

use std::{fmt::Write as _, io::Write};

use arrow::{
    array::{Array, AsArray, RecordBatch},
    datatypes::{
        DataType, Date32Type, Date64Type, Decimal128Type, Decimal256Type, DecimalType, Field, Float16Type, Float32Type, Float64Type,
        Int8Type, Int16Type, Int32Type, Int64Type, IntervalMonthDayNanoType, IntervalUnit, Time32MillisecondType, Time32SecondType,
        Time64MicrosecondType, Time64NanosecondType, TimeUnit, TimestampMicrosecondType, TimestampMillisecondType, TimestampNanosecondType,
        TimestampSecondType, UInt8Type, UInt16Type, UInt32Type, UInt64Type,
    },
};
use duckdb::types::Value;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value as Json};
use stockscan_engine::{Error, Result};

const BOOL: u32 = 16;
const BYTEA: u32 = 17;
const INT8: u32 = 20;
const INT2: u32 = 21;
const INT4: u32 = 23;
const TEXT: u32 = 25;
const OID: u32 = 26;
/// An array of texts.
pub(crate) const TEXTS: u32 = 1009;
const JSON: u32 = 114;
const FLOAT4: u32 = 700;
const FLOAT8: u32 = 701;
const UNKNOWN: u32 = 705;
const BPCHAR: u32 = 1042;
const VARCHAR: u32 = 1043;
const DATE: u32 = 1082;
const TIME: u32 = 1083;
const TIMESTAMP: u32 = 1114;
const TIMESTAMPTZ: u32 = 1184;
const INTERVAL: u32 = 1186;
const NUMERIC: u32 = 1700;
const UUID: u32 = 2950;
const JSONB: u32 = 3802;

/// Types by their numbers: that of the type, that of an array of it, what DuckDB calls it, and how many bytes a value has.
const TYPES: [(u32, u32, &str, i16); 21] = [
    (BOOL, 1000, "BOOLEAN", 1),
    (BYTEA, 1001, "BLOB", -1),
    (INT8, 1016, "BIGINT", 8),
    (INT2, 1005, "SMALLINT", 2),
    (INT4, 1007, "INTEGER", 4),
    (TEXT, 1009, "VARCHAR", -1),
    (OID, 1028, "BIGINT", 4),
    (JSON, 199, "JSON", -1),
    (FLOAT4, 1021, "FLOAT", 4),
    (FLOAT8, 1022, "DOUBLE", 8),
    (UNKNOWN, 0, "VARCHAR", -2),
    (BPCHAR, 1014, "VARCHAR", -1),
    (VARCHAR, 1015, "VARCHAR", -1),
    (DATE, 1182, "DATE", 4),
    (TIME, 1183, "TIME", 8),
    (TIMESTAMP, 1115, "TIMESTAMP", 8),
    (TIMESTAMPTZ, 1185, "TIMESTAMPTZ", 8),
    (INTERVAL, 1187, "INTERVAL", 16),
    (NUMERIC, 1231, "DECIMAL(38, 12)", -1),
    (UUID, 2951, "UUID", 16),
    (JSONB, 3807, "JSON", -1),
];

/// Days from 1970 to 2000, from which PostgreSQL counts.
const DAYS: i32 = 10_957;
const MICROSECONDS_A_DAY: i64 = 86_400_000_000;
/// The largest value that one message may have.
const LARGEST: usize = 64 << 20;

/// A column as a client is told of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Column {
    /// Its name.
    pub(crate) name: String,
    /// The number of its type.
    pub(crate) oid: u32,
    /// Bytes of a value, less than none where they differ.
    pub(crate) size: i16,
    /// What more the type says, such as digits.
    pub(crate) modifier: i32,
}

/// A parameter as it came.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Parameter {
    /// The number of its type; 0 where the client leaves it open.
    pub(crate) oid: u32,
    /// Whether it is in binary.
    pub(crate) is_binary: bool,
    /// Its value; `None`: NULL.
    pub(crate) value: Option<Vec<u8>>,
}

/// The number of a type by its name, as PostgreSQL and DuckDB write it.
pub(crate) fn named(name: &str) -> Option<u32> {
    Some(match name.to_ascii_lowercase().as_str() {
        "bool" | "boolean" => BOOL,
        "bytea" | "blob" => BYTEA,
        "bigint" | "int8" => INT8,
        "smallint" | "int2" => INT2,
        "int" | "int4" | "integer" => INT4,
        "text" | "varchar" => TEXT,
        "real" | "float4" => FLOAT4,
        "double" | "float8" => FLOAT8,
        "oid" => OID,
        "date" => DATE,
        "time" => TIME,
        "timestamp" => TIMESTAMP,
        "timestamptz" => TIMESTAMPTZ,
        "interval" => INTERVAL,
        "numeric" | "decimal" => NUMERIC,
        "uuid" => UUID,
        "json" => JSON,
        "jsonb" => JSONB,
        _ => return None,
    })
}

/// The number of an array of a type.
pub(crate) fn array_of(oid: u32) -> Option<u32> {
    TYPES.iter().find(|(item, array, ..)| *item == oid && *array != 0).map(|(_, array, ..)| *array)
}

/// What DuckDB calls a parameter's type, where the statement is to treat it as nothing else.
pub(crate) fn cast_of(oid: u32) -> Option<String> {
    let named = |wanted: u32| TYPES.iter().find(|(oid, ..)| *oid == wanted).map(|(_, _, name, _)| *name);
    if [TEXT, VARCHAR, BPCHAR, UNKNOWN].contains(&oid) {
        return None;
    }
    if let Some((_, _, name, _)) = TYPES.iter().find(|(_, array, ..)| *array == oid && oid != 0) {
        return Some(format!("{name}[]"));
    }
    named(oid).map(str::to_owned)
}

impl Column {
    /// Of a column of an answer.
    pub(crate) fn of(field: &Field) -> Column {
        let (oid, modifier) = type_of(field);
        let size = TYPES.iter().find(|(found, ..)| *found == oid).map_or(-1, |(.., size)| *size);
        Column { name: field.name().clone(), oid, size, modifier }
    }
}

fn type_of(field: &Field) -> (u32, i32) {
    let oid = match field.data_type() {
        DataType::Boolean => BOOL,
        DataType::Int8 | DataType::Int16 | DataType::UInt8 => INT2,
        DataType::Int32 | DataType::UInt16 => INT4,
        DataType::Int64 | DataType::UInt32 => INT8,
        DataType::UInt64 => NUMERIC,
        DataType::Decimal128(precision, scale) | DataType::Decimal256(precision, scale) => {
            // A whole number of 38 digits is one of DuckDB's large ones, which has no digits to name.
            let modifier = if (*precision, *scale) == (38, 0) { -1 } else { (i32::from(*precision) << 16 | i32::from(*scale)) + 4 };
            return (NUMERIC, modifier);
        }
        DataType::Float16 | DataType::Float32 => FLOAT4,
        DataType::Float64 => FLOAT8,
        DataType::Date32 | DataType::Date64 => DATE,
        DataType::Time32(_) | DataType::Time64(_) => TIME,
        DataType::Timestamp(_, None) => TIMESTAMP,
        DataType::Timestamp(_, Some(_)) => TIMESTAMPTZ,
        DataType::Interval(IntervalUnit::MonthDayNano) => INTERVAL,
        DataType::Binary | DataType::LargeBinary | DataType::BinaryView | DataType::FixedSizeBinary(_) => BYTEA,
        DataType::List(items) | DataType::LargeList(items) | DataType::FixedSizeList(items, _) => {
            let (item, _) = type_of(items);
            // Lists of lists may have rows of different lengths, which arrays may not.
            array_of(item).filter(|_| item != JSON).unwrap_or(JSON)
        }
        DataType::Struct(_) | DataType::Map(..) | DataType::Union(..) | DataType::ListView(_) | DataType::LargeListView(_) => JSON,
        _ => TEXT,
    };
    (oid, -1)
}

/// Writes rows as messages of the protocol.
pub(crate) struct Rows {
    columns: Vec<Column>,
    is_binary: Vec<bool>,
    message: Vec<u8>,
}

impl Rows {
    /// `formats`: none, one for all columns or one for each: 1 is binary.
    pub(crate) fn new(columns: Vec<Column>, formats: &[i16]) -> Result<Rows> {
        if formats.len() > 1 && formats.len() != columns.len() {
            return Err(Error::Invalid(format!(
                "there are formats for {} columns, and the statement has {}",
                formats.len(),
                columns.len()
            )));
        }
        let of = |index: usize| formats.get(index).or(formats.first().filter(|_| formats.len() == 1)) == Some(&1);
        let is_binary = (0..columns.len()).map(of).collect();
        Ok(Rows { columns, is_binary, message: Vec::new() })
    }

    /// Writes a message for each row.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a row that is too large, and what the target says.
    pub(crate) fn write(&mut self, batch: &RecordBatch, target: &mut impl Write) -> Result<()> {
        let count = u16::try_from(self.columns.len()).map_err(|_| Error::Invalid("there are more columns than 65535".to_owned()))?;
        for row in 0..batch.num_rows() {
            self.message.clear();
            self.message.extend([b'D', 0, 0, 0, 0]);
            self.message.extend(count.to_be_bytes());
            for (index, array) in batch.columns().iter().enumerate() {
                field(array, row, self.columns[index].oid, self.is_binary[index], &mut self.message);
                if self.message.len() > LARGEST {
                    return Err(Error::Invalid(format!("a row has more than {LARGEST} bytes; expected less")));
                }
            }
            let length = u32::try_from(self.message.len() - 1).unwrap_or(u32::MAX);
            self.message[1..5].copy_from_slice(&length.to_be_bytes());
            target.write_all(&self.message)?;
        }
        Ok(())
    }
}

/// Its length, and the value; a length of -1 is NULL.
fn field(array: &dyn Array, row: usize, oid: u32, is_binary: bool, message: &mut Vec<u8>) {
    let start = message.len();
    if array.is_null(row) || matches!(array.data_type(), DataType::Null) {
        message.extend((-1_i32).to_be_bytes());
        return;
    }
    message.extend([0; 4]);
    if is_binary {
        binary(array, row, oid, message);
    } else {
        message.extend(text(array, row, oid).as_bytes());
    }
    let length = u32::try_from(message.len() - start - 4).unwrap_or(u32::MAX);
    message[start..start + 4].copy_from_slice(&length.to_be_bytes());
}

/// A value as PostgreSQL writes it.
fn text(array: &dyn Array, row: usize, oid: u32) -> String {
    match oid {
        BOOL => if array.as_boolean().value(row) { "t" } else { "f" }.to_owned(),
        FLOAT4 | FLOAT8 => {
            // Each with the digits that tell it from its neighbours.
            if let Some(values) = array.as_primitive_opt::<Float32Type>() { float(values.value(row)) } else { float(double(array, row)) }
        }
        DATE => date_text(days(array, row)),
        TIME => time_text(microseconds(array, row)),
        TIMESTAMP => timestamp_text(microseconds(array, row)),
        TIMESTAMPTZ => {
            let text = timestamp_text(microseconds(array, row));
            if text.ends_with("infinity") { text } else { text + "+00" }
        }
        INTERVAL => interval_text(array, row),
        BYTEA => {
            let mut text = "\\x".to_owned();
            for byte in bytes(array, row) {
                let _ = write!(text, "{byte:02x}");
            }
            text
        }
        _ if is_array(oid) => {
            let (items, item) = items(array, row, oid);
            let mut text = "{".to_owned();
            for index in 0..items.len() {
                if index > 0 {
                    text.push(',');
                }
                if items.is_null(index) {
                    text.push_str("NULL");
                } else {
                    quote_into(&self::text(&items, index, item), &mut text);
                }
            }
            text + "}"
        }
        JSON => json(array, row).to_string(),
        _ => plain(array, row),
    }
}

/// Whole numbers, decimal numbers and texts.
fn plain(array: &dyn Array, row: usize) -> String {
    match array.data_type() {
        DataType::Int8 | DataType::Int16 | DataType::Int32 | DataType::Int64 | DataType::UInt8 | DataType::UInt16 | DataType::UInt32 => {
            whole(array, row).to_string()
        }
        DataType::UInt64 => array.as_primitive::<UInt64Type>().value(row).to_string(),
        DataType::Decimal128(precision, scale) => {
            Decimal128Type::format_decimal(array.as_primitive::<Decimal128Type>().value(row), *precision, *scale)
        }
        DataType::Decimal256(precision, scale) => {
            Decimal256Type::format_decimal(array.as_primitive::<Decimal256Type>().value(row), *precision, *scale)
        }
        DataType::Utf8 => array.as_string::<i32>().value(row).to_owned(),
        DataType::LargeUtf8 => array.as_string::<i64>().value(row).to_owned(),
        DataType::Utf8View => array.as_string_view().value(row).to_owned(),
        _ => arrow::util::display::array_value_to_string(array, row).unwrap_or_default(),
    }
}

/// A value in binary, as PostgreSQL's own functions send it.
fn binary(array: &dyn Array, row: usize, oid: u32, message: &mut Vec<u8>) {
    match oid {
        BOOL => message.push(u8::from(array.as_boolean().value(row))),
        INT2 => message.extend(i16::try_from(whole(array, row)).unwrap_or_default().to_be_bytes()),
        INT4 => message.extend(i32::try_from(whole(array, row)).unwrap_or_default().to_be_bytes()),
        INT8 => message.extend(whole(array, row).to_be_bytes()),
        #[expect(clippy::cast_possible_truncation, reason = "it comes from a number of this size")]
        FLOAT4 => message.extend((double(array, row) as f32).to_be_bytes()),
        FLOAT8 => message.extend(double(array, row).to_be_bytes()),
        NUMERIC => numeric(&plain(array, row), message),
        DATE => {
            let days = match days(array, row) {
                i32::MAX => i32::MAX,
                days if days == -i32::MAX => i32::MIN,
                days => days.saturating_sub(DAYS),
            };
            message.extend(days.to_be_bytes());
        }
        TIME => message.extend(microseconds(array, row).to_be_bytes()),
        TIMESTAMP | TIMESTAMPTZ => {
            let microseconds = match microseconds(array, row) {
                i64::MAX => i64::MAX,
                moment if moment == -i64::MAX => i64::MIN,
                moment => moment.saturating_sub(i64::from(DAYS) * MICROSECONDS_A_DAY),
            };
            message.extend(microseconds.to_be_bytes());
        }
        INTERVAL => {
            let value = array.as_primitive::<IntervalMonthDayNanoType>().value(row);
            message.extend((value.nanoseconds / 1000).to_be_bytes());
            message.extend(value.days.to_be_bytes());
            message.extend(value.months.to_be_bytes());
        }
        BYTEA => message.extend(bytes(array, row)),
        _ if is_array(oid) => {
            let (items, item) = items(array, row, oid);
            let dimensions = i32::from(!items.is_empty());
            message.extend(dimensions.to_be_bytes());
            message.extend(i32::from(items.null_count() > 0).to_be_bytes());
            message.extend(item.to_be_bytes());
            if dimensions > 0 {
                message.extend(u32::try_from(items.len()).unwrap_or(u32::MAX).to_be_bytes());
                message.extend(1_i32.to_be_bytes());
            }
            for index in 0..items.len() {
                field(&items, index, item, true, message);
            }
        }
        _ => message.extend(text(array, row, oid).as_bytes()),
    }
}

/// Whether it is the number of an array.
pub(crate) fn is_array(oid: u32) -> bool {
    oid != 0 && TYPES.iter().any(|(_, array, ..)| *array == oid)
}

/// What is in a list, and the number of the type of that.
fn items(array: &dyn Array, row: usize, oid: u32) -> (arrow::array::ArrayRef, u32) {
    let item = TYPES.iter().find(|(_, array, ..)| *array == oid).map_or(TEXT, |(item, ..)| *item);
    (listed(array, row), item)
}

fn listed(array: &dyn Array, row: usize) -> arrow::array::ArrayRef {
    match array.data_type() {
        DataType::LargeList(_) => array.as_list::<i64>().value(row),
        DataType::FixedSizeList(..) => array.as_fixed_size_list().value(row),
        _ => array.as_list::<i32>().value(row),
    }
}

fn bytes(array: &dyn Array, row: usize) -> &[u8] {
    match array.data_type() {
        DataType::LargeBinary => array.as_binary::<i64>().value(row),
        DataType::BinaryView => array.as_binary_view().value(row),
        DataType::FixedSizeBinary(_) => array.as_fixed_size_binary().value(row),
        _ => array.as_binary::<i32>().value(row),
    }
}

fn whole(array: &dyn Array, row: usize) -> i64 {
    match array.data_type() {
        DataType::Int8 => array.as_primitive::<Int8Type>().value(row).into(),
        DataType::Int16 => array.as_primitive::<Int16Type>().value(row).into(),
        DataType::Int32 => array.as_primitive::<Int32Type>().value(row).into(),
        DataType::UInt8 => array.as_primitive::<UInt8Type>().value(row).into(),
        DataType::UInt16 => array.as_primitive::<UInt16Type>().value(row).into(),
        DataType::UInt32 => array.as_primitive::<UInt32Type>().value(row).into(),
        _ => array.as_primitive::<Int64Type>().value(row),
    }
}

fn double(array: &dyn Array, row: usize) -> f64 {
    match array.data_type() {
        DataType::Float16 => array.as_primitive::<Float16Type>().value(row).into(),
        DataType::Float32 => array.as_primitive::<Float32Type>().value(row).into(),
        _ => array.as_primitive::<Float64Type>().value(row),
    }
}

/// Days since 1970.
fn days(array: &dyn Array, row: usize) -> i32 {
    match array.data_type() {
        DataType::Date64 => {
            let days = array.as_primitive::<Date64Type>().value(row).div_euclid(MICROSECONDS_A_DAY / 1000);
            i32::try_from(days).unwrap_or(i32::MAX)
        }
        _ => array.as_primitive::<Date32Type>().value(row),
    }
}

/// Of a time, since midnight; of a moment, since 1970.
fn microseconds(array: &dyn Array, row: usize) -> i64 {
    match array.data_type() {
        DataType::Time32(TimeUnit::Second) => i64::from(array.as_primitive::<Time32SecondType>().value(row)) * 1_000_000,
        DataType::Time32(_) => i64::from(array.as_primitive::<Time32MillisecondType>().value(row)) * 1000,
        DataType::Time64(TimeUnit::Nanosecond) => array.as_primitive::<Time64NanosecondType>().value(row).div_euclid(1000),
        DataType::Time64(_) => array.as_primitive::<Time64MicrosecondType>().value(row),
        DataType::Timestamp(TimeUnit::Second, _) => scaled(array.as_primitive::<TimestampSecondType>().value(row), 1_000_000),
        DataType::Timestamp(TimeUnit::Millisecond, _) => scaled(array.as_primitive::<TimestampMillisecondType>().value(row), 1000),
        DataType::Timestamp(TimeUnit::Nanosecond, _) => match array.as_primitive::<TimestampNanosecondType>().value(row) {
            endless @ (i64::MAX | -9_223_372_036_854_775_807) => endless,
            moment => moment.div_euclid(1000),
        },
        _ => array.as_primitive::<TimestampMicrosecondType>().value(row),
    }
}

/// Those without an end stay as they are.
fn scaled(value: i64, by: i64) -> i64 {
    value.saturating_mul(by).max(-i64::MAX)
}

/// The shortest digits that tell a number from its neighbours; with an exponent where PostgreSQL has one.
fn float<T: Into<f64> + Copy + std::fmt::Display + std::fmt::LowerExp>(value: T) -> String {
    let wide: f64 = value.into();
    if wide.is_nan() {
        return "NaN".to_owned();
    }
    if wide.is_infinite() {
        return if wide > 0.0 { "Infinity" } else { "-Infinity" }.to_owned();
    }
    let scientific = format!("{value:e}");
    let (digits, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or_default();
    let most = if size_of::<T>() == 4 { 6 } else { 15 };
    if (-4..most).contains(&exponent) {
        return value.to_string();
    }
    format!("{digits}e{}{:02}", if exponent < 0 { '-' } else { '+' }, exponent.abs())
}

/// Year, month and day of a number of days since 1970, by Howard Hinnant's algorithm; jiff's years end with 9999, DuckDB's do not.
fn civil(days: i64) -> (i64, i64, i64) {
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let of_era = shifted.rem_euclid(146_097);
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    (year_of_era + era * 400 + i64::from(month <= 2), month, day)
}

fn date_text(days: i32) -> String {
    match days {
        i32::MAX => return "infinity".to_owned(),
        days if days == -i32::MAX => return "-infinity".to_owned(),
        _ => {}
    }
    let (date, is_before) = date_parts(i64::from(days));
    date + if is_before { " BC" } else { "" }
}

fn date_parts(days: i64) -> (String, bool) {
    let (year, month, day) = civil(days);
    let is_before = year <= 0;
    let year = if is_before { 1 - year } else { year };
    (format!("{year:04}-{month:02}-{day:02}"), is_before)
}

fn time_text(microseconds: i64) -> String {
    let seconds = microseconds.div_euclid(1_000_000);
    let rest = microseconds.rem_euclid(1_000_000);
    let mut text = format!("{:02}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60);
    if rest > 0 {
        let _ = write!(text, ".{}", format!("{rest:06}").trim_end_matches('0'));
    }
    text
}

fn timestamp_text(microseconds: i64) -> String {
    match microseconds {
        i64::MAX => return "infinity".to_owned(),
        moment if moment == -i64::MAX => return "-infinity".to_owned(),
        _ => {}
    }
    let (date, is_before) = date_parts(microseconds.div_euclid(MICROSECONDS_A_DAY));
    format!("{date} {}{}", time_text(microseconds.rem_euclid(MICROSECONDS_A_DAY)), if is_before { " BC" } else { "" })
}

/// As the style `postgres` has it.
fn interval_text(array: &dyn Array, row: usize) -> String {
    let value = array.as_primitive::<IntervalMonthDayNanoType>().value(row);
    let mut parts = Vec::new();
    for (count, one, many) in [(value.months / 12, "year", "years"), (value.months % 12, "mon", "mons"), (value.days, "day", "days")] {
        if count != 0 {
            parts.push(format!("{count} {}", if count == 1 { one } else { many }));
        }
    }
    let microseconds = value.nanoseconds / 1000;
    if microseconds != 0 || parts.is_empty() {
        parts.push(format!("{}{}", if microseconds < 0 { "-" } else { "" }, time_text(microseconds.abs())));
    }
    parts.join(" ")
}

/// An item of an array, quoted where it would be taken for something else.
fn quote_into(item: &str, text: &mut String) {
    let is_plain = !item.is_empty()
        && !item.eq_ignore_ascii_case("null")
        && !item.contains(|letter: char| letter.is_whitespace() || matches!(letter, '{' | '}' | ',' | '"' | '\\'));
    if is_plain {
        text.push_str(item);
        return;
    }
    text.push('"');
    for letter in item.chars() {
        if matches!(letter, '"' | '\\') {
            text.push('\\');
        }
        text.push(letter);
    }
    text.push('"');
}

/// What has no type of PostgreSQL's.
fn json(array: &dyn Array, row: usize) -> Json {
    if array.is_null(row) {
        return Json::Null;
    }
    match array.data_type() {
        DataType::Struct(fields) => {
            let parts = array.as_struct();
            let named = fields.iter().zip(parts.columns()).map(|(field, column)| (field.name().clone(), json(column, row)));
            Json::Object(named.collect())
        }
        DataType::Map(..) => {
            let entries = array.as_map().value(row);
            let mut object = Map::new();
            for index in 0..entries.len() {
                object.insert(text_of(entries.column(0), index), json(entries.column(1), index));
            }
            Json::Object(object)
        }
        DataType::List(_) | DataType::LargeList(_) | DataType::FixedSizeList(..) => {
            let items = listed(array, row);
            Json::Array((0..items.len()).map(|index| json(&items, index)).collect())
        }
        DataType::Boolean => Json::Bool(array.as_boolean().value(row)),
        DataType::Float16 | DataType::Float32 | DataType::Float64 => Json::from(double(array, row)),
        DataType::Int8 | DataType::Int16 | DataType::Int32 | DataType::Int64 | DataType::UInt8 | DataType::UInt16 | DataType::UInt32 => {
            Json::from(whole(array, row))
        }
        _ => Json::String(text_of(array, row)),
    }
}

fn text_of(array: &dyn Array, row: usize) -> String {
    let (oid, _) = type_of(&Field::new("", array.data_type().clone(), true));
    text(array, row, oid)
}

/// A decimal number in groups of four digits.
fn numeric(text: &str, message: &mut Vec<u8>) {
    let (is_negative, text) = text.strip_prefix('-').map_or((false, text), |rest| (true, rest));
    let (before, after) = text.split_once('.').unwrap_or((text, ""));
    let before = before.trim_start_matches('0');
    let padded = format!("{}{before}{after}{}", "0".repeat((4 - before.len() % 4) % 4), "0".repeat((4 - after.len() % 4) % 4));
    let groups: Vec<u16> =
        padded.as_bytes().chunks(4).map(|group| group.iter().fold(0, |sum, digit| sum * 10 + u16::from(digit - b'0'))).collect();
    let leading = groups.iter().take_while(|group| **group == 0).count();
    let kept = &groups[leading..groups.len() - groups[leading..].iter().rev().take_while(|group| **group == 0).count()];
    let weight = i16::try_from(before.len().div_ceil(4)).unwrap_or_default() - i16::try_from(leading).unwrap_or_default() - 1;
    message.extend(u16::try_from(kept.len()).unwrap_or_default().to_be_bytes());
    message.extend(if kept.is_empty() { 0 } else { weight }.to_be_bytes());
    message.extend(if is_negative && !kept.is_empty() { 0x4000_u16 } else { 0 }.to_be_bytes());
    message.extend(u16::try_from(after.len()).unwrap_or_default().to_be_bytes());
    kept.iter().for_each(|group| message.extend(group.to_be_bytes()));
}

impl Parameter {
    /// The value that is bound. What the type is, the statement says; a text becomes it there.
    ///
    /// # Errors
    /// [`Error::Invalid`] for bytes that are none of its type's.
    pub(crate) fn value(&self) -> Result<Value> {
        let Some(value) = &self.value else { return Ok(Value::Null) };
        if self.is_binary {
            return from_binary(self.oid, value).ok_or_else(|| {
                Error::Invalid(format!("a parameter of the type {} has {} bytes that are no value of it", self.oid, value.len()))
            });
        }
        let Ok(text) = std::str::from_utf8(value) else { return Err(Error::Invalid("a parameter is no text in UTF-8".to_owned())) };
        if text.contains('\0') {
            return Err(Error::Invalid("a parameter has a character 0 in it; expected text".to_owned()));
        }
        if self.oid == BYTEA {
            let digits = text.strip_prefix("\\x").filter(|digits| digits.len() % 2 == 0 && digits.is_ascii());
            let digits = digits.map(|digits| (0..digits.len()).step_by(2).map(|at| u8::from_str_radix(&digits[at..at + 2], 16)));
            let bytes = digits.and_then(|digits| digits.collect::<std::result::Result<_, _>>().ok());
            return bytes.map(Value::Blob).ok_or_else(|| Error::Invalid("a parameter of the type bytea must be like \\x0a1b".to_owned()));
        }
        if is_array(self.oid) {
            let list = from_array_text(text);
            return list.ok_or_else(|| Error::Invalid(format!("a parameter is no array of one dimension, such as {{1,2}}: {text}")));
        }
        Ok(Value::Text(if [0, DATE, TIMESTAMP].contains(&self.oid) { without_zone(text) } else { text }.to_owned()))
    }
}

/// JDBC writes its zone behind days and times without one, which PostgreSQL leaves aside. DuckDB would move the time, or refuse the day.
fn without_zone(text: &str) -> &str {
    let fits = |text: &str, pattern: &str| {
        text.len() == pattern.len()
            && text
                .bytes()
                .zip(pattern.bytes())
                .all(|(given, wanted)| if wanted == b'0' { given.is_ascii_digit() } else { given == wanted })
    };
    let Some((moment, zone)) = text.rfind(['+', '-']).map(|at| text.split_at(at)) else { return text };
    let is_zone = ["00", "00:00", "00:00:00"].iter().any(|pattern| fits(&zone[1..], pattern));
    let moment = moment.trim_end();
    let (seconds, fraction) = moment.split_once('.').unwrap_or((moment, "0"));
    let is_moment = fits(moment, "0000-00-00")
        || (fits(seconds, "0000-00-00 00:00:00") && !fraction.is_empty() && fraction.bytes().all(|digit| digit.is_ascii_digit()));
    if is_zone && is_moment { moment } else { text }
}

fn from_binary(oid: u32, value: &[u8]) -> Option<Value> {
    Some(match oid {
        BOOL => Value::Boolean(<[u8; 1]>::try_from(value).ok()? != [0]),
        INT2 => Value::SmallInt(i16::from_be_bytes(value.try_into().ok()?)),
        INT4 => Value::Int(i32::from_be_bytes(value.try_into().ok()?)),
        OID => Value::BigInt(u32::from_be_bytes(value.try_into().ok()?).into()),
        INT8 => Value::BigInt(i64::from_be_bytes(value.try_into().ok()?)),
        FLOAT4 => Value::Float(f32::from_be_bytes(value.try_into().ok()?)),
        FLOAT8 => Value::Double(f64::from_be_bytes(value.try_into().ok()?)),
        NUMERIC => Value::Text(from_numeric(value)?),
        BYTEA => Value::Blob(value.to_vec()),
        DATE => Value::Text(date_text(match i32::from_be_bytes(value.try_into().ok()?) {
            i32::MAX => i32::MAX,
            i32::MIN => -i32::MAX,
            days => days.saturating_add(DAYS),
        })),
        TIME => Value::Text(time_text(i64::from_be_bytes(value.try_into().ok()?))),
        TIMESTAMP | TIMESTAMPTZ => {
            let moment = match i64::from_be_bytes(value.try_into().ok()?) {
                i64::MAX => i64::MAX,
                i64::MIN => -i64::MAX,
                moment => moment.saturating_add(i64::from(DAYS) * MICROSECONDS_A_DAY),
            };
            let text = timestamp_text(moment);
            Value::Text(if oid == TIMESTAMP || text.ends_with("infinity") { text } else { text + "+00" })
        }
        INTERVAL => {
            let (time, rest) = value.split_at_checked(8)?;
            let (days, months) = rest.split_at_checked(4)?;
            Value::Interval {
                months: i32::from_be_bytes(months.try_into().ok()?),
                days: i32::from_be_bytes(days.try_into().ok()?),
                nanos: i64::from_be_bytes(time.try_into().ok()?).saturating_mul(1000),
            }
        }
        UUID => Value::Text(uuid::Uuid::from_slice(value).ok()?.to_string()),
        JSONB => Value::Text(std::str::from_utf8(value.get(1..)?).ok()?.to_owned()),
        _ if is_array(oid) => from_array(value)?,
        _ => Value::Text(std::str::from_utf8(value).ok().filter(|text| !text.contains('\0'))?.to_owned()),
    })
}

fn from_numeric(value: &[u8]) -> Option<String> {
    let mut words = value.chunks_exact(2).map(|word| u16::from_be_bytes([word[0], word[1]]));
    let (count, weight, sign, scale) = (words.next()?, words.next()?.cast_signed(), words.next()?, words.next()?);
    let groups: Vec<u16> = words.collect();
    // What is no number, or endless, has no place among decimal numbers.
    if groups.len() != usize::from(count) || ![0, 0x4000].contains(&sign) || weight.abs() > 20 {
        return None;
    }
    let group = |index: i16| usize::try_from(index).ok().and_then(|index| groups.get(index)).copied().unwrap_or_default();
    let before: String = (0..=weight).map(|index| format!("{:04}", group(index))).collect();
    let after: String = (0..i16::try_from(scale.div_ceil(4)).ok()?).map(|index| format!("{:04}", group(weight + 1 + index))).collect();
    let before = before.trim_start_matches('0');
    let sign = if sign == 0 { "" } else { "-" };
    Some(
        format!("{sign}{}.{}", if before.is_empty() { "0" } else { before }, &after[..usize::from(scale)]).trim_end_matches('.').to_owned(),
    )
}

fn from_array(value: &[u8]) -> Option<Value> {
    let word = |at: usize| Some(i32::from_be_bytes(value.get(at..at + 4)?.try_into().ok()?));
    let item = u32::try_from(word(8)?).ok()?;
    let (count, mut rest) = match word(0)? {
        0 => (0, &value[12..]),
        1 => (word(12)?, value.get(20..)?),
        _ => return None,
    };
    let mut items = Vec::new();
    for _ in 0..count {
        let (length, after) = rest.split_at_checked(4)?;
        match usize::try_from(i32::from_be_bytes(length.try_into().ok()?)) {
            Ok(length) => {
                let (one, after) = after.split_at_checked(length)?;
                items.push(from_binary(item, one)?);
                rest = after;
            }
            Err(_) => {
                items.push(Value::Null);
                rest = after;
            }
        }
    }
    Some(Value::List(items))
}

/// `{1,2,"a b",NULL}`.
pub(crate) fn from_array_text(text: &str) -> Option<Value> {
    let inner = text.trim().strip_prefix('{')?.strip_suffix('}')?;
    let mut items = Vec::new();
    let mut letters = inner.chars().peekable();
    if inner.trim().is_empty() {
        return Some(Value::List(items));
    }
    loop {
        let (mut item, mut is_quoted) = (String::new(), false);
        while letters.next_if(|letter| letter.is_whitespace()).is_some() {}
        if letters.next_if_eq(&'"').is_some() {
            is_quoted = true;
            loop {
                match letters.next()? {
                    '"' => break,
                    '\\' => item.push(letters.next()?),
                    letter => item.push(letter),
                }
            }
            while letters.next_if(|letter| letter.is_whitespace()).is_some() {}
        } else {
            while let Some(letter) = letters.next_if(|letter| *letter != ',') {
                match letter {
                    '{' | '}' | '"' => return None,
                    '\\' => item.push(letters.next()?),
                    letter => item.push(letter),
                }
            }
        }
        let is_null = !is_quoted && item.trim().eq_ignore_ascii_case("null");
        let item = if is_quoted { item } else { item.trim_end().to_owned() };
        items.push(if is_null { Value::Null } else { Value::Text(item) });
        match letters.next() {
            Some(',') => {}
            Some(_) => return None,
            None => return Some(Value::List(items)),
        }
    }
}
