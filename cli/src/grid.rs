//! A grid as it is typed: parameters with the values to try, and the parts in which it is worked off.

use stockscan_engine::{Error, Parameter, Result, Signature, Value, nearest, value_of};

/// What a grid may have beside the scanner's parameters, and the types of these.
pub(crate) const EXITS: [(&str, &str); 5] =
    [("cutoff_time", "TIME"), ("exit_time", "TIME"), ("hold_sessions", "INTEGER"), ("stop_loss_pct", "DOUBLE"), ("target_pct", "DOUBLE")];

/// Values that one range may have.
const MOST_VALUES: i128 = 10_000;
/// Combinations that one grid may have, as the functions see it.
const MOST_COMBINATIONS: usize = 100_000;
/// Sets of exits that one part may have: enough for the scan before them to weigh little.
const MOST_EXITS: usize = 16;

/// One parameter.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Axis {
    pub(crate) name: String,
    /// Each once, in the order given.
    pub(crate) values: Vec<Value>,
    /// The type that holds all of them.
    pub(crate) sql_type: String,
}

/// Reads what `--grid` gives.
pub(crate) fn read(given: &[String], signature: &Signature, documented: &[Parameter]) -> Result<Vec<Axis>> {
    let own = |name: &str| signature.parameters.iter().any(|(parameter, _)| parameter == name);
    let mut axes: Vec<Axis> = Vec::new();
    for text in given {
        let (name, values) = text.split_once('=').ok_or_else(|| {
            Error::Invalid(format!(
                "--grid {text}: expected NAME=VALUES, such as --grid min_price=50,100,200 or --grid min_price=50..200..50"
            ))
        })?;
        let name = name.trim();
        let exit = EXITS.iter().find(|(exit, _)| *exit == name).map(|(_, sql_type)| *sql_type);
        if exit.is_none() && !own(name) {
            let common = ["scan_date", "end_date", "source", "bar_minutes", "session_start", "session_end", "symbols"];
            let names = signature.parameters.iter().map(|(parameter, _)| parameter.as_str()).filter(|name| !common.contains(name));
            let exits = EXITS.iter().map(|(exit, _)| *exit).filter(|exit| !own(exit));
            let known: Vec<String> = names.chain(exits).map(str::to_owned).collect();
            let suggestion = nearest(name, known.iter().map(String::as_str));
            return Err(Error::UnknownParameter {
                function: format!("a grid of {}", signature.function),
                given: name.to_owned(),
                suggestion,
                known,
            });
        }
        if axes.iter().any(|axis| axis.name == name) {
            return Err(Error::Invalid(format!("--grid {name} is given twice; expected all its values behind one --grid")));
        }
        let sql_type = exit.or_else(|| documented.iter().find(|parameter| parameter.name == name)?.sql_type.as_deref());
        axes.push(axis(name, values, sql_type)?);
    }
    Ok(axes)
}

fn axis(name: &str, given: &str, sql_type: Option<&str>) -> Result<Axis> {
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
    let sql_type = sql_type.map(str::to_owned).unwrap_or_else(|| by_looks(&texts).to_owned());
    // A list of lists is not what anybody types: each value is a list of one.
    let element = sql_type.trim_end_matches("[]");
    let mut values: Vec<Value> = Vec::new();
    for text in texts {
        let value = value_of(&text, Some(element));
        let expected = match (element, &value) {
            (_, Value::Null) | ("INTEGER" | "BIGINT", Value::BigInt(_)) | ("BOOLEAN", Value::Boolean(_)) => None,
            ("DOUBLE", Value::Double(number)) if number.is_finite() => None,
            ("INTEGER" | "BIGINT", _) => Some("a whole number"),
            ("DOUBLE", _) => Some("a number"),
            ("BOOLEAN", _) => Some("true or false"),
            _ => None,
        };
        if let Some(expected) = expected {
            return Err(Error::Invalid(format!("--grid {name}={given}: '{text}' is none of its values; expected {expected}, or NULL")));
        }
        let value = if element == sql_type || value == Value::Null { value } else { Value::List(vec![value]) };
        if !values.contains(&value) {
            values.push(value);
        }
    }
    if values.is_empty() {
        return Err(Error::Invalid(format!(
            "--grid {name}={given}: no value; expected values with commas between, such as --grid {name}=1,2,3"
        )));
    }
    // Times may be 24:00, which the type has no room for.
    let sql_type = sql_type.replace("TIME", "VARCHAR").replace("INTEGER", "BIGINT");
    Ok(Axis { name: name.to_owned(), values, sql_type })
}

/// The type of values of which no documentation says one.
fn by_looks(texts: &[String]) -> &'static str {
    let values: Vec<Value> = texts.iter().map(|text| value_of(text, None)).filter(|value| *value != Value::Null).collect();
    if values.iter().all(|value| matches!(value, Value::BigInt(_))) {
        "BIGINT"
    } else if values.iter().all(|value| matches!(value, Value::BigInt(_) | Value::Double(_))) {
        "DOUBLE"
    } else if values.iter().all(|value| matches!(value, Value::Boolean(_))) {
        "BOOLEAN"
    } else {
        "VARCHAR"
    }
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

/// How many combinations there are.
///
/// # Errors
/// If these are too many.
pub(crate) fn combinations(axes: &[Axis]) -> Result<usize> {
    let count = axes.iter().try_fold(1_usize, |product, axis| product.checked_mul(axis.values.len()));
    count.filter(|count| *count <= MOST_COMBINATIONS).ok_or_else(|| {
        let factors: Vec<String> = axes.iter().map(|axis| format!("{} of {}", axis.values.len(), axis.name)).collect();
        Error::Invalid(format!(
            "the grid has more than {MOST_COMBINATIONS} combinations ({}); give fewer values, or --samples 1000 for some of them",
            factors.join(" × ")
        ))
    })
}

/// Some of the combinations of a grid: of each parameter the values from one place to another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Part {
    places: Vec<std::ops::Range<usize>>,
}

impl Part {
    /// All of them.
    pub(crate) fn whole(axes: &[Axis]) -> Part {
        Part { places: axes.iter().map(|axis| 0..axis.values.len()).collect() }
    }

    /// The grid as the functions take it.
    pub(crate) fn grid(&self, axes: &[Axis]) -> Value {
        let lists =
            axes.iter().zip(&self.places).map(|(axis, places)| (axis.name.clone(), Value::List(axis.values[places.clone()].to_vec())));
        Value::Struct(lists.collect::<Vec<_>>().into())
    }

    /// How many combinations it has.
    pub(crate) fn len(&self) -> usize {
        self.places.iter().map(ExactSizeIterator::len).product()
    }

    /// The number that a combination of the part has in the whole grid, as SQL over its number in the part: numbers are in the order of the
    /// grid, the last parameter running fastest.
    pub(crate) fn number(&self, axes: &[Axis], combination: &str) -> String {
        let (mut of_part, mut of_grid, mut first) = (1, 1, 0);
        let mut terms = Vec::new();
        for (axis, places) in axes.iter().zip(&self.places).rev() {
            if places.len() > 1 {
                terms.push(format!("(({combination} // {of_part}) % {}) * {of_grid}", places.len()));
            }
            first += places.start * of_grid;
            of_part *= places.len();
            of_grid *= axis.values.len();
        }
        terms.push(first.to_string());
        terms.join(" + ")
    }
}

/// A grid in parts that take a while each, and not much longer together than the whole would: each value of a parameter that is scanned for is
/// a part of its own, thresholds stay together, and so do some sets of exits, which are looked for among the hits of one scan.
pub(crate) fn parts(axes: &[Axis], is_threshold: impl Fn(&str) -> bool) -> Vec<Part> {
    let is_exit = |name: &str| name != "cutoff_time" && EXITS.iter().any(|(exit, _)| *exit == name);
    let mut parts = vec![Part { places: Vec::new() }];
    // From the last, so that what runs fastest stays together.
    let mut exits = 1;
    for axis in axes.iter().rev() {
        let length = axis.values.len();
        let together = if is_exit(&axis.name) {
            let room = (MOST_EXITS / exits).clamp(1, length);
            exits *= room;
            room
        } else if is_threshold(&axis.name) {
            length
        } else {
            1
        };
        let chunks: Vec<_> = (0..length).step_by(together).map(|start| start..(start + together).min(length)).collect();
        parts = chunks
            .iter()
            .flat_map(|chunk| {
                parts.iter().map(|part| Part { places: std::iter::once(chunk.clone()).chain(part.places.iter().cloned()).collect() })
            })
            .collect();
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_one(text: &str, sql_type: Option<&str>) -> Result<Axis> {
        let (name, values) = text.split_once('=').unwrap_or((text, ""));
        axis(name, values, sql_type)
    }

    fn numbers(count: u32) -> Vec<Value> {
        (0..count).map(|number| Value::Double(f64::from(number))).collect()
    }

    #[test]
    fn ranges_are_exact_and_include_their_end() {
        let values = |text: &str| read_one(text, Some("DOUBLE")).map(|axis| axis.values);
        let doubles = |numbers: &[f64]| Some(numbers.iter().copied().map(Value::Double).collect());
        // Added up as binary fractions, the third would be 0.30000000000000004.
        assert_eq!(values("x=0.1..0.5..0.1").ok(), doubles(&[0.1, 0.2, 0.3, 0.4, 0.5]));
        assert_eq!(values("x=-1..1..0.75").ok(), doubles(&[-1.0, -0.25, 0.5]));
        assert_eq!(values("x=-0.5..0..0.25").ok(), doubles(&[-0.5, -0.25, 0.0]));
        assert_eq!(values("x=3, 1..2..1,2").ok(), doubles(&[3.0, 1.0, 2.0]), "each once, in the order given");
        let times = read_one("exit_time=09:30..11:00..00:45,24:00", Some("TIME")).map(|axis| (axis.values, axis.sql_type));
        let texts = ["09:30", "10:15", "11:00", "24:00"].map(|time| Value::Text(time.to_owned())).to_vec();
        assert_eq!(times.ok(), Some((texts, "VARCHAR".to_owned())));
    }

    #[test]
    fn values_become_the_documented_type_or_one_that_holds_all() {
        let read = |text: &str, sql_type| read_one(text, sql_type).map(|axis| (axis.values, axis.sql_type)).ok();
        let of = |values: Vec<Value>, sql_type: &str| Some((values, sql_type.to_owned()));
        assert_eq!(read("x=1,2", Some("INTEGER")), of(vec![Value::BigInt(1), Value::BigInt(2)], "BIGINT"));
        assert_eq!(read("x=1,NULL", Some("DOUBLE")), of(vec![Value::Double(1.0), Value::Null], "DOUBLE"));
        assert_eq!(read("x=1,2.5,null", None), of(vec![Value::Double(1.0), Value::Double(2.5), Value::Null], "DOUBLE"));
        assert_eq!(read("x=1,a", None), of(vec![Value::Text("1".to_owned()), Value::Text("a".to_owned())], "VARCHAR"));
        let one = |text: &str| Value::List(vec![Value::Text(text.to_owned())]);
        assert_eq!(read("x=a,NULL,b", Some("VARCHAR[]")), of(vec![one("a"), Value::Null, one("b")], "VARCHAR[]"));
    }

    #[test]
    fn bad_values_are_told() {
        for (text, sql_type, expected) in [
            ("x=", Some("DOUBLE"), "--grid x=: no value"),
            ("x=1,cheap", Some("DOUBLE"), "'cheap' is none of its values; expected a number, or NULL"),
            ("x=1,inf", Some("DOUBLE"), "expected a number"),
            ("x=1.5", Some("INTEGER"), "expected a whole number"),
            ("x=1..3", Some("DOUBLE"), "--grid x=1..3: expected FROM..TO..STEP"),
            ("x=1..3..0", Some("DOUBLE"), "its step is not above zero"),
            ("x=3..1..1", Some("DOUBLE"), "it ends before it starts"),
            ("x=1..b..1", Some("DOUBLE"), "'b' is no number"),
            ("x=0..1..0.00001", Some("DOUBLE"), "it has more than 10000 values"),
            ("x=09:30..10..00:30", Some("TIME"), "'10' is no time such as 09:50"),
        ] {
            let error = read_one(text, sql_type).expect_err(text).to_string();
            assert!(error.contains(expected), "{text}: {error}");
        }
    }

    #[test]
    fn parts_have_each_combination_once_under_its_own_number() {
        let axis = |name: &str, count: u32| Axis { name: name.to_owned(), values: numbers(count), sql_type: "DOUBLE".to_owned() };
        let axes = [axis("scanned", 2), axis("threshold", 3), axis("stop_loss_pct", 20), axis("target_pct", 4)];
        let parts = parts(&axes, |name| name == "threshold");
        // 4 targets with 4 of 20 stops make 16 sets of exits: 5 parts for each of the 2 scans.
        assert_eq!(parts.len(), 10);
        assert!(parts.iter().all(|part| part.len() == 3 * 16));
        assert_eq!(parts.iter().map(Part::len).sum::<usize>(), 480);
        // In the part of the second scan and the second four stops, combination 0 is that of the places 1, 0, 4, 0 of the grid.
        assert_eq!(parts[6].number(&axes, "n"), "((n // 1) % 4) * 1 + ((n // 4) % 4) * 4 + ((n // 16) % 3) * 80 + 256");
        assert_eq!(Part::whole(&axes).len(), 480);
    }
}
