//! The options of an indicator: reading them, and handing them to TA-Lib.

use ta_lib::{
    RetCode,
    abstract_api::{OptInputInfo, OptInputType, ParamHolder},
};

use super::documentation::names;

/// Limits from which on TA-Lib means none.
pub(super) const UNLIMITED: f64 = 3e37;

/// The values of the options, and how long the warm-up is with them.
#[derive(Clone, PartialEq)]
pub(super) struct Options {
    pub(super) values: Vec<OptionValue>,
    pub(super) warm_up: usize,
}

#[derive(Clone, Copy, PartialEq)]
pub(super) enum OptionValue {
    Integer(i32),
    Real(f64),
}

pub(super) fn set_options(call: &mut ParamHolder<'_>, values: &[OptionValue]) -> std::result::Result<(), RetCode> {
    for (index, value) in values.iter().enumerate() {
        match value {
            OptionValue::Integer(value) => call.set_opt_input(index, *value)?,
            OptionValue::Real(value) => call.set_opt_input(index, *value)?,
        };
    }
    Ok(())
}

/// Reads an option; the error says what is allowed.
pub(super) fn option_value(option: &OptInputInfo, given: Option<&str>) -> std::result::Result<OptionValue, String> {
    let given = given.map(str::trim);
    let number = given.and_then(|given| given.parse::<f64>().ok()).filter(|number| number.is_finite());
    match option.kind {
        OptInputType::IntegerRange { min, max, .. } => number
            .filter(|number| number.fract() == 0.0 && *number >= f64::from(min) && *number <= f64::from(max))
            .map(whole)
            .ok_or_else(|| format!("a whole number between {min} and {max}")),
        OptInputType::RealRange { min, max, .. } => number
            .filter(|number| *number >= min && *number <= max)
            .map(OptionValue::Real)
            .ok_or_else(|| limits(min, max).map_or("a finite number".to_owned(), |limits| format!("a number {limits}"))),
        OptInputType::IntegerList { values, .. } => values
            .iter()
            .find(|(value, name)| {
                given.is_some_and(|given| given.eq_ignore_ascii_case(name)) || number.is_some_and(|number| number == *value as f64)
            })
            .map(|(value, _)| whole(*value as f64))
            .ok_or_else(|| format!("one of {}", names(values))),
        OptInputType::RealList { values, .. } => values
            .iter()
            .find(|(value, _)| number == Some(*value))
            .map(|(value, _)| OptionValue::Real(*value))
            .ok_or_else(|| format!("one of {}", values.iter().map(|(value, _)| value.to_string()).collect::<Vec<_>>().join(", "))),
    }
}

#[expect(clippy::cast_possible_truncation, reason = "its range has been checked")]
fn whole(number: f64) -> OptionValue {
    OptionValue::Integer(number as i32)
}

/// `between 0 and 1`, `at least 0`; `None` without limits.
fn limits(min: f64, max: f64) -> Option<String> {
    match (min > -UNLIMITED, max < UNLIMITED) {
        (true, true) => Some(format!("between {min} and {max}")),
        (true, false) => Some(format!("at least {min}")),
        (false, true) => Some(format!("at most {max}")),
        (false, false) => None,
    }
}
