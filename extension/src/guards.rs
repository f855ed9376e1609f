//! Guards: functions that return a parameter's value as the type it is used in, or say what is wrong with it.
//!
//! They stand where the value is used. Each message names the function and the parameter, what was given and what is allowed.

use crate::duckdb::{Result, extension::Extension, types::DateValue};
use jiff::civil::Date;

use crate::{clock, row_function::RowFunction};

const RANGE_PARAMETERS: &[&str] = &["value", "minimum", "maximum", "function_name", "parameter_name"];

pub(crate) fn register(extension: &Extension) -> Result<()> {
    RowFunction::<i64> {
        name: "integer_in_range",
        parameters: RANGE_PARAMETERS,
        description: "The value as a whole number, if it lies between minimum and maximum (NULL: no limit); else an error that names \
                      function, parameter, value and range.",
        example: "SELECT integer_in_range(5, 1, 250, 'scan_breakout', 'consolidation_period') AS x",
        compute: |arguments| integer(arguments, false),
    }
    .register(extension)?;
    RowFunction::<i64> {
        name: "integer_in_range_or_null",
        parameters: RANGE_PARAMETERS,
        description: "Like integer_in_range, for a parameter that may be NULL.",
        example: "SELECT integer_in_range_or_null(NULL, 1, 250, 'scan_mine', 'period') AS x",
        compute: |arguments| integer(arguments, true),
    }
    .register(extension)?;
    RowFunction::<f64> {
        name: "number_in_range",
        parameters: RANGE_PARAMETERS,
        description: "The value as a DOUBLE, if it lies between minimum and maximum (NULL: no limit); else an error that names function, \
                      parameter, value and range.",
        example: "SELECT number_in_range(1.5, 0, 100, 'scan_breakout', 'breakout_volume_ratio') AS x",
        compute: |arguments| number(arguments, false),
    }
    .register(extension)?;
    RowFunction::<f64> {
        name: "number_in_range_or_null",
        parameters: RANGE_PARAMETERS,
        description: "Like number_in_range, for a parameter that may be NULL.",
        example: "SELECT number_in_range_or_null(NULL, 0, 100, 'scan_breakout', 'max_consolidation_range_pct') AS x",
        compute: |arguments| number(arguments, true),
    }
    .register(extension)?;
    RowFunction::<bool> {
        name: "in_order",
        parameters: &["low", "high", "function_name", "low_name", "high_name"],
        description: "True, if low does not exceed high; else an error that names function, both parameters and their values. Numbers, \
                      times of day and dates are compared as such; NULL is in order with everything.",
        example: "SELECT in_order(50, 2000, 'scan_breakout', 'min_price', 'max_price') AS x",
        compute: in_order,
    }
    .register(extension)?;
    RowFunction::<String> {
        name: "one_of",
        parameters: &["value", "choices", "function_name", "parameter_name"],
        description: "The value in lower case, if it is one of the choices, which are a text such as 'long, short, any'; else an error that \
                      names function, parameter, value and choices.",
        example: "SELECT one_of('Long', 'long, short, any', 'scan_gap', 'direction') AS x",
        compute: one_of,
    }
    .register(extension)?;
    RowFunction::<DateValue> {
        name: "session_date",
        parameters: &["value", "function_name", "parameter_name"],
        description: "The value as a DATE, if it is one or can be read as one (2025-01-15); else an error that names function, parameter \
                      and value.",
        example: "SELECT session_date('2025-01-15', 'scan_breakout', 'scan_date') AS x",
        compute: session_date,
    }
    .register(extension)?;
    RowFunction::<bool> {
        name: "is_bar_time",
        parameters: &["type_name", "function_name"],
        description: "True, if a column of this type can hold the start of a bar in the exchange's wall-clock time: a TIMESTAMP without a \
                      time zone, or a DATE; else an error that says what to do.",
        example: "SELECT is_bar_time('TIMESTAMP', 'scan_breakout') AS x",
        compute: is_bar_time,
    }
    .register(extension)?;
    RowFunction::<bool> {
        name: "are_series",
        parameters: &["type_name", "function_name", "parameter_name"],
        description: "True, if a value of this type is a STRUCT whose fields, and those of STRUCTs in it, are lists; else an error that names \
                      function, parameter, field and type.",
        example: "SELECT are_series('STRUCT(rsi DOUBLE[])', 'bar_indicators', 'indicators') AS x",
        compute: are_series,
    }
    .register(extension)
}

fn integer(arguments: &[Option<&str>], nullable: bool) -> std::result::Result<Option<i64>, String> {
    // A whole number may arrive as 5, '5' or 5.0.
    let whole = number(arguments, nullable)?;
    match whole {
        Some(value) if value.fract() != 0.0 => {
            Err(format!("{} must be a whole number {}, got {}", label(arguments), range(arguments), arguments[0].unwrap_or("NULL")))
        }
        #[expect(clippy::cast_possible_truncation, reason = "ranges of whole numbers lie far inside of what a double holds exactly")]
        Some(value) => Ok(Some(value as i64)),
        None => Ok(None),
    }
}

fn number(arguments: &[Option<&str>], nullable: bool) -> std::result::Result<Option<f64>, String> {
    let Some(given) = arguments[0] else {
        return if nullable { Ok(None) } else { Err(format!("{} must be {}, got NULL", label(arguments), range(arguments))) };
    };
    let limit = |index: usize| arguments[index].map(str::parse::<f64>).transpose();
    let (Ok(minimum), Ok(maximum)) = (limit(1), limit(2)) else {
        return Err(format!("{}: the range itself is no pair of numbers", label(arguments)));
    };
    match given.trim().parse::<f64>() {
        Ok(value)
            if value.is_finite() && minimum.is_none_or(|minimum| value >= minimum) && maximum.is_none_or(|maximum| value <= maximum) =>
        {
            Ok(Some(value))
        }
        Ok(_) => Err(format!("{} must be {}, got {given}", label(arguments), range(arguments))),
        Err(_) if arguments[1].is_none() && arguments[2].is_none() => {
            Err(format!("{} must be a finite number, got '{given}'", label(arguments)))
        }
        Err(_) => Err(format!("{} must be a number {}, got '{given}'", label(arguments), range(arguments))),
    }
}

/// `scan_breakout: consolidation_period`
fn label(arguments: &[Option<&str>]) -> String {
    format!("{}: {}", arguments[3].unwrap_or("?"), arguments[4].unwrap_or("?"))
}

/// `between 1 and 250`, `at least 0`, `at most 5` or `finite`
fn range(arguments: &[Option<&str>]) -> String {
    match (arguments[1], arguments[2]) {
        (Some(minimum), Some(maximum)) => format!("between {minimum} and {maximum}"),
        (Some(minimum), None) => format!("at least {minimum}"),
        (None, Some(maximum)) => format!("at most {maximum}"),
        (None, None) => "finite".to_owned(),
    }
}

fn one_of(arguments: &[Option<&str>]) -> std::result::Result<Option<String>, String> {
    let name = |index: usize| arguments[index].unwrap_or("?");
    let choices = name(1);
    let given = arguments[0].map(|given| given.trim().to_lowercase());
    match given {
        Some(given) if choices.split(", ").any(|choice| choice == given) => Ok(Some(given)),
        _ => {
            let given = arguments[0].map_or("NULL".to_owned(), |given| format!("'{given}'"));
            Err(format!("{}: {} must be one of {choices}, got {given}", name(2), name(3)))
        }
    }
}

fn in_order(arguments: &[Option<&str>]) -> std::result::Result<Option<bool>, String> {
    let (Some(low), Some(high)) =
        (arguments[0].map(|text| without_midnight(text.trim())), arguments[1].map(|text| without_midnight(text.trim())))
    else {
        return Ok(Some(true));
    };
    let clock = |text| clock::time_of_day(Some(text), None, None).ok().flatten();
    let ordered = match (low.parse::<f64>(), high.parse::<f64>()) {
        (Ok(low), Ok(high)) => low <= high,
        // Dates sort as texts. What is no number, time or date is for the guard of that parameter to refuse.
        _ => match (clock(low), clock(high)) {
            (Some(low), Some(high)) => low <= high,
            _ => low <= high || !(is_iso_date(low) && is_iso_date(high)),
        },
    };
    if ordered {
        return Ok(Some(true));
    }
    let name = |index: usize| arguments[index].unwrap_or("?");
    Err(format!("{}: {} ({low}) must not exceed {} ({high})", name(2), name(3), name(4)))
}

/// Whether a text has the form of `2025-01-15`.
fn is_iso_date(text: &str) -> bool {
    text.len() == 10
        && text.bytes().enumerate().all(|(index, byte)| if index == 4 || index == 7 { byte == b'-' } else { byte.is_ascii_digit() })
}

/// A TIMESTAMP at midnight is a date.
fn without_midnight(text: &str) -> &str {
    text.strip_suffix(" 00:00:00").unwrap_or(text)
}

fn session_date(arguments: &[Option<&str>]) -> std::result::Result<Option<DateValue>, String> {
    let name = |index: usize| arguments[index].unwrap_or("?");
    let wrong = |given: &str| format!("{}: {} must be a date such as 2025-01-15, got {given}", name(1), name(2));
    let Some(given) = arguments[0] else { return Err(wrong("NULL")) };
    let date = without_midnight(given.trim());
    // The dates that every kind of TIMESTAMP can be compared with, the one in nanoseconds being the narrowest.
    let known = Date::constant(1678, 1, 1)..=Date::constant(2261, 12, 31);
    let parsed = if is_iso_date(date) { date.parse::<Date>().ok().filter(|date| known.contains(date)) } else { None };
    let parsed = parsed.ok_or_else(|| wrong(&format!("'{given}'")))?;
    let days = parsed.since(Date::constant(1970, 1, 1)).map_err(|error| error.to_string())?.get_days();
    Ok(Some(DateValue(days)))
}

fn is_bar_time(arguments: &[Option<&str>]) -> std::result::Result<Option<bool>, String> {
    let function = arguments[1].unwrap_or("?");
    match arguments[0].unwrap_or("NULL") {
        "TIMESTAMP" | "TIMESTAMP_S" | "TIMESTAMP_MS" | "TIMESTAMP_NS" | "DATE" => Ok(Some(true)),
        given if given.contains("TIME ZONE") => Err(format!(
            "{function}: column ts of the source is {given}, expected TIMESTAMP in the exchange's wall-clock time; \
             make a view with {}(ts, 'America/New_York') AS ts, or use 'scanner ingest --timezone'",
            clock::TO_EXCHANGE_TIME
        )),
        given => Err(format!(
            "{function}: column ts of the source is {given}, expected TIMESTAMP, the start of the bar in the exchange's wall-clock time; \
             make a view with CAST(ts AS TIMESTAMP) AS ts, or use 'scanner ingest'"
        )),
    }
}

fn are_series(arguments: &[Option<&str>]) -> std::result::Result<Option<bool>, String> {
    let name = |index: usize| arguments[index].unwrap_or("?");
    let Some(fields) = struct_fields(name(0)) else {
        return Err(format!(
            "{}: {} must be a STRUCT of lists such as {{rsi: ti_rsi(close)}}, got a value of type {}",
            name(1),
            name(2),
            name(0)
        ));
    };
    match no_series(fields) {
        Some((field, given)) => {
            let field = field.trim_matches('"');
            Err(format!("{}: field '{field}' of {} is {given}, expected a list with a value for each bar", name(1), name(2)))
        }
        None => Ok(Some(true)),
    }
}

/// What stands between the brackets of `STRUCT(rsi DOUBLE[], "my name" INTEGER)`.
fn struct_fields(type_name: &str) -> Option<&str> {
    type_name.strip_prefix("STRUCT(").and_then(|rest| rest.strip_suffix(')'))
}

/// The first field that is neither a list nor NULL, with its type.
fn no_series(fields: &str) -> Option<(&str, &str)> {
    let mut start = 0;
    outside_of_brackets(fields, ',').chain([fields.len()]).find_map(|end| {
        let field = fields[start..end].trim_start();
        start = end + 1;
        let (name, given) = field.split_at(outside_of_brackets(field, ' ').next()?);
        match (given.trim_start(), struct_fields(given.trim_start())) {
            (_, Some(inner)) => no_series(inner),
            ("\"NULL\"", None) => None,
            (given, None) if given.ends_with(']') => None,
            (given, None) => Some((name, given)),
        }
    })
}

/// Where a letter stands in the text of a type, outside of quotes and brackets.
fn outside_of_brackets(text: &str, wanted: char) -> impl Iterator<Item = usize> {
    let (mut depth, mut quoted) = (0, false);
    text.char_indices()
        .filter(move |(_, letter)| {
            match letter {
                '"' => quoted = !quoted,
                '(' if !quoted => depth += 1,
                ')' if !quoted => depth -= 1,
                _ => {}
            }
            *letter == wanted && !quoted && depth == 0
        })
        .map(|(place, _)| place)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_numbers_arrive_in_any_notation() {
        for given in ["5", "5.0", " 5 ", "5e0"] {
            assert_eq!(integer(&[Some(given), Some("1"), Some("250"), Some("f"), Some("p")], false), Ok(Some(5)));
        }
    }

    #[test]
    fn messages_name_function_parameter_value_and_range() {
        let message = |given, minimum, maximum| number(&[given, minimum, maximum, Some("scan_x"), Some("n")], false).unwrap_err();
        assert_eq!(message(Some("0"), Some("1"), Some("250")), "scan_x: n must be between 1 and 250, got 0");
        assert_eq!(message(Some("-1"), Some("0"), None), "scan_x: n must be at least 0, got -1");
        assert_eq!(message(Some("abc"), Some("0"), None), "scan_x: n must be a number at least 0, got 'abc'");
        assert_eq!(message(None, Some("0"), None), "scan_x: n must be at least 0, got NULL");
        assert_eq!(message(Some("NaN"), Some("0"), None), "scan_x: n must be at least 0, got NaN");
        let fraction = integer(&[Some("2.5"), Some("1"), Some("9"), Some("scan_x"), Some("n")], false).unwrap_err();
        assert_eq!(fraction, "scan_x: n must be a whole number between 1 and 9, got 2.5");
    }

    #[test]
    fn fields_that_are_no_lists_are_named() {
        let check = |type_name| are_series(&[Some(type_name), Some("f"), Some("p")]);
        for series in [
            "STRUCT(rsi DOUBLE[])",
            "STRUCT(a DOUBLE[], \"my, (name\" DECIMAL(9,2)[], b STRUCT(c INTEGER[], d \"NULL\"), e STRUCT(x INTEGER, y VARCHAR)[])",
        ] {
            assert_eq!(check(series), Ok(Some(true)));
        }
        assert_eq!(
            check("STRUCT(a DOUBLE[], b STRUCT(\"c d\" DECIMAL(9,2)))").unwrap_err(),
            "f: field 'c d' of p is DECIMAL(9,2), expected a list with a value for each bar"
        );
        for other in ["DOUBLE[]", "STRUCT(a DOUBLE[])[]", "INTEGER", "\"NULL\""] {
            assert!(check(other).is_err_and(|message| message.ends_with(&format!("got a value of type {other}"))));
        }
    }

    #[test]
    fn dates_are_iso_and_real() {
        assert_eq!(session_date(&[Some("1970-01-02"), Some("f"), Some("p")]).map(|date| date.map(|date| date.0)), Ok(Some(1)));
        for wrong in ["2025-02-30", "15.01.2025", "2025-01-15 09:50:00", "today", "", "2025-1-5"] {
            assert!(session_date(&[Some(wrong), Some("f"), Some("p")]).is_err(), "{wrong}");
        }
    }
}
