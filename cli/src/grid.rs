//! A grid as it is typed.

use stockscan_backtests::Candidates;
use stockscan_engine::{Error, Result};

/// Values that one range may have.
const MOST_VALUES: i128 = 10_000;

/// Reads what `--grid` gives.
pub(crate) fn read(given: &[String]) -> Result<Vec<Candidates>> {
    let mut grid: Vec<Candidates> = Vec::new();
    for text in given {
        let (name, values) = text.split_once('=').ok_or_else(|| {
            Error::Invalid(format!(
                "--grid {text}: expected NAME=VALUES, such as --grid min_price=50,100,200 or --grid min_price=50..200..50"
            ))
        })?;
        let name = name.trim();
        if grid.iter().any(|other| other.name == name) {
            return Err(Error::Invalid(format!("--grid {name} is given twice; expected all its values behind one --grid")));
        }
        grid.push(Candidates { name: name.to_owned(), texts: texts(name, values)?, said: format!("--grid {name}={values}") });
    }
    Ok(grid)
}

/// Each value of `1,2,5..20..5`.
fn texts(name: &str, given: &str) -> Result<Vec<String>> {
    let mut texts = Vec::new();
    for item in given.split(',').map(str::trim).filter(|item| !item.is_empty()) {
        match item.split("..").map(str::trim).collect::<Vec<_>>().as_slice() {
            [one] => texts.push((*one).to_owned()),
            [from, to, step] => texts.extend(range(from, to, step).map_err(|expected| {
                Error::Invalid(format!(
                    "--grid {name}={item}: {expected}; expected FROM..TO..STEP, such as 0.5..2..0.25 or 09:30..11:00..00:30"
                ))
            })?),
            _ => {
                return Err(Error::Invalid(format!("--grid {name}={item}: expected FROM..TO..STEP, such as 0.5..2..0.25")));
            }
        }
    }
    if texts.is_empty() {
        return Err(Error::Invalid(format!(
            "--grid {name}={given}: no value; expected values with commas between, such as --grid {name}=1,2,3"
        )));
    }
    Ok(texts)
}

/// `0.5..2..0.5` as 0.5, 1, 1.5, 2: exactly, as the texts are.
fn range(from: &str, to: &str, step: &str) -> std::result::Result<Vec<String>, String> {
    let is_time = [from, to, step].iter().any(|text| text.contains(':'));
    let decimals = [from, to, step].iter().filter_map(|text| text.split_once('.')).map(|(_, fraction)| fraction.len()).max().unwrap_or(0);
    let read = |text: &str| if is_time { minutes(text) } else { scaled(text, decimals) };
    let number = |text: &str| read(text).ok_or_else(|| format!("'{text}' is no {}", if is_time { "time such as 09:50" } else { "number" }));
    let (from, to, step) = (number(from)?, number(to)?, number(step)?);
    if step <= 0 {
        return Err("its step is not above zero".to_owned());
    }
    if from > to {
        return Err("it ends before it starts".to_owned());
    }
    if (to - from) / step >= MOST_VALUES {
        return Err(format!("it has more than {MOST_VALUES} values"));
    }
    let shown = |value: i128| if is_time { format!("{:02}:{:02}", value / 60, value % 60) } else { unscaled(value, decimals) };
    Ok((0..=(to - from) / step).map(|place| shown(from + place * step)).collect())
}

fn minutes(text: &str) -> Option<i128> {
    let (hours, minutes) = text.split_once(':')?;
    let (hours, minutes): (u8, u8) = (hours.parse().ok()?, minutes.parse().ok()?);
    (minutes < 60).then(|| i128::from(hours) * 60 + i128::from(minutes))
}

fn scaled(text: &str, decimals: usize) -> Option<i128> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let digits = whole.trim_start_matches(['-', '+']);
    let is_number = !digits.is_empty() && format!("{digits}{fraction}").bytes().all(|byte| byte.is_ascii_digit());
    if !is_number || whole.len() + decimals > 18 || digits.len() + 1 < whole.len() {
        return None;
    }
    format!("{whole}{fraction:0<decimals$}").parse().ok()
}

fn unscaled(value: i128, decimals: usize) -> String {
    let digits = format!("{:0width$}", value.abs(), width = decimals + 1);
    let (whole, fraction) = digits.split_at(digits.len() - decimals);
    let fraction = fraction.trim_end_matches('0');
    let sign = if value < 0 { "-" } else { "" };
    if fraction.is_empty() { format!("{sign}{whole}") } else { format!("{sign}{whole}.{fraction}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values(text: &str) -> Result<String> {
        Ok(read(&[text.to_owned()])?.swap_remove(0).texts.join(" "))
    }

    #[test]
    fn ranges_are_exact_and_include_their_end() {
        // Added up as binary fractions, the third would be 0.30000000000000004.
        assert_eq!(values("x=0.1..0.5..0.1").ok().as_deref(), Some("0.1 0.2 0.3 0.4 0.5"));
        assert_eq!(values("x=-1..1..0.75").ok().as_deref(), Some("-1 -0.25 0.5"));
        assert_eq!(values("x=-0.5..0..0.25").ok().as_deref(), Some("-0.5 -0.25 0"));
        assert_eq!(values("x=3, 1..2..1,,2").ok().as_deref(), Some("3 1 2 2"));
        assert_eq!(values("exit_time=09:30..11:00..00:45,24:00").ok().as_deref(), Some("09:30 10:15 11:00 24:00"));
    }

    #[test]
    fn bad_values_are_told() {
        for (text, expected) in [
            ("x", "--grid x: expected NAME=VALUES"),
            ("x=", "--grid x=: no value"),
            ("x=1..3", "--grid x=1..3: expected FROM..TO..STEP"),
            ("x=1..3..0", "its step is not above zero"),
            ("x=3..1..1", "it ends before it starts"),
            ("x=1..b..1", "'b' is no number"),
            ("x=0..1..0.00001", "it has more than 10000 values"),
            ("x=09:30..10..00:30", "'10' is no time such as 09:50"),
        ] {
            let error = values(text).expect_err(text).to_string();
            assert!(error.contains(expected), "{text}: {error}");
        }
        let twice = read(&["x=1".to_owned(), "x=2".to_owned()]).expect_err("twice").to_string();
        assert!(twice.contains("--grid x is given twice"), "{twice}");
    }
}
