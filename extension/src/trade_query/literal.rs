//! DuckDB's values as SQL text.

use crate::duckdb::{
    Result,
    connection::{Context, FFILink},
    logical_type::{LogicalType, LogicalTypeID},
    value::Value,
};

/// A value as a literal that DuckDB reads back as the same value of the same type: `'007'` stays a text, 0.1 a DOUBLE. Of a type that has no
/// literal here it is the text, which casts to the type that it is used as.
pub(super) fn literal(value: &Value, context: &Context, text: &LogicalType) -> Result<String> {
    if value.is_null()? {
        return Ok("NULL".to_owned());
    }
    let all = |values: Vec<Value>| values.iter().map(|value| literal(value, context, text)).collect::<Result<Vec<_>>>();
    let as_text = || Ok(context.value_cast(value, text)?.get::<String>()?.unwrap_or_default());
    let typed = |name: &str| as_text().map(|given: String| format!("{name} {}", quoted_text(&given)));
    match value.logical_type()?.id()? {
        LogicalTypeID::List | LogicalTypeID::Array => Ok(format!("[{}]", all(value.children()?)?.join(", "))),
        LogicalTypeID::Struct => {
            let values = all(value.children()?)?;
            let fields = fields(value)?.into_iter().map(|(name, _)| name);
            Ok(format!(
                "{{{}}}",
                fields.zip(values).map(|(name, value)| format!("{}: {value}", quoted_text(&name))).collect::<Vec<_>>().join(", ")
            ))
        }
        LogicalTypeID::Boolean
        | LogicalTypeID::TinyInt
        | LogicalTypeID::SmallInt
        | LogicalTypeID::Integer
        | LogicalTypeID::BigInt
        | LogicalTypeID::HugeInt
        | LogicalTypeID::UTinyInt
        | LogicalTypeID::USmallInt
        | LogicalTypeID::UInteger
        | LogicalTypeID::UBigInt
        | LogicalTypeID::UHugeInt
        | LogicalTypeID::Decimal => as_text(),
        LogicalTypeID::Float | LogicalTypeID::Double => as_text().map(|given: String| double(&given)),
        LogicalTypeID::Date => typed("DATE"),
        LogicalTypeID::Time => typed("TIME"),
        LogicalTypeID::Timestamp => typed("TIMESTAMP"),
        _ => as_text().map(|given: String| quoted_text(&given)),
    }
}

/// The exponent makes it a DOUBLE; `inf` and `nan` are no numbers in SQL.
fn double(text: &str) -> String {
    match text.parse::<f64>() {
        Ok(number) if number.is_finite() && text.contains('e') => text.to_owned(),
        Ok(number) if number.is_finite() => format!("{text}e0"),
        _ => quoted_text(text),
    }
}

/// Names and values of a STRUCT's fields; none for another type.
pub(super) fn fields(value: &Value) -> Result<Vec<(String, Value)>> {
    let logical_type = value.logical_type()?;
    if logical_type.id()? != LogicalTypeID::Struct || value.is_null()? {
        return Ok(Vec::new());
    }
    logical_type.get_params()?.into_iter().map(|(name, _)| name).zip(value.children()?).map(Ok).collect()
}

pub(super) fn quoted_text(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

pub(super) fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn doubles_stay_doubles() {
        for (text, literal) in [("1.5", "1.5e0"), ("-2.0", "-2.0e0"), ("1e-05", "1e-05"), ("inf", "'inf'"), ("nan", "'nan'")] {
            assert_eq!(double(text), literal);
        }
    }

    #[test]
    fn quotes_cannot_be_left() {
        assert_eq!(quoted_text("a'); DROP TABLE bars; --"), "'a''); DROP TABLE bars; --'");
        assert_eq!(quoted("a\" b"), "\"a\"\" b\"");
    }
}
