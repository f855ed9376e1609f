//! DuckDB's values as SQL text.

use duckdb_neo::{
    Result,
    connection::{Context, FFILink},
    logical_type::{LogicalType, LogicalTypeID},
    value::Value,
};

/// A value as a literal that DuckDB reads back as the same value. Whatever is no number, boolean, list or struct is written as a text, which
/// casts to the type that it is used as; a text is one even if all of it is digits: '000001' is the name of a stock.
pub(super) fn literal(value: &Value, context: &Context, text: &LogicalType) -> Result<String> {
    if value.is_null()? {
        return Ok("NULL".to_owned());
    }
    let all = |values: Vec<Value>| values.iter().map(|value| literal(value, context, text)).collect::<Result<Vec<_>>>();
    let as_text = || Ok(context.value_cast(value, text)?.get::<String>()?.unwrap_or_default());
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
        LogicalTypeID::Boolean => as_text(),
        LogicalTypeID::TinyInt
        | LogicalTypeID::SmallInt
        | LogicalTypeID::Integer
        | LogicalTypeID::BigInt
        | LogicalTypeID::HugeInt
        | LogicalTypeID::UTinyInt
        | LogicalTypeID::USmallInt
        | LogicalTypeID::UInteger
        | LogicalTypeID::UBigInt
        | LogicalTypeID::UHugeInt
        | LogicalTypeID::Decimal
        | LogicalTypeID::Float
        | LogicalTypeID::Double => {
            // 'inf' and 'nan' are no literals.
            as_text().map(|given: String| if is_number(&given) { given } else { quoted_text(&given) })
        }
        _ => as_text().map(|given| quoted_text(&given)),
    }
}

/// Digits with a sign, a point, an exponent: what may stand in SQL without quotes.
fn is_number(text: &str) -> bool {
    text.parse::<f64>().is_ok_and(f64::is_finite) && text.bytes().all(|byte| byte.is_ascii_digit() || b"+-.eE".contains(&byte))
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
    fn only_numbers_stand_without_quotes() {
        for number in ["1", "-2.5", "1e-5", "+3"] {
            assert!(is_number(number), "{number}");
        }
        for text in ["", "inf", "nan", "1; DROP TABLE bars", "1 ", "0x10", "infinity", "--1", "1e", "09:50"] {
            assert!(!is_number(text), "{text}");
        }
    }

    #[test]
    fn quotes_cannot_be_left() {
        assert_eq!(quoted_text("a'); DROP TABLE bars; --"), "'a''); DROP TABLE bars; --'");
        assert_eq!(quoted("a\" b"), "\"a\"\" b\"");
    }
}
