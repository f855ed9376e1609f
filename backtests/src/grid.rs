//! A grid: parameters with the values to try, and the parts in which it is worked off.

use stockscan_engine::{Error, Parameter, Result, Signature, Value, nearest, value_of};

use crate::Given;

/// What a grid may have beside the scanner's parameters, and the types of these.
pub(crate) const EXITS: [(&str, &str); 5] =
    [("cutoff_time", "TIME"), ("exit_time", "TIME"), ("hold_sessions", "INTEGER"), ("stop_loss_pct", "DOUBLE"), ("target_pct", "DOUBLE")];

/// Combinations that one grid may have, as the functions see it.
const MOST_COMBINATIONS: usize = 100_000;
/// So many samples are worth their time.
const MOST_SAMPLES: usize = 32;
/// Sets of exits that one part may have: enough for the scan before them to weigh little.
const MOST_EXITS: usize = 16;

/// One parameter.
#[derive(Debug, Clone, PartialEq)]
pub struct Axis {
    /// Its name.
    pub name: String,
    /// Each once, in the order given.
    pub values: Vec<Value>,
    /// The type that holds all of them.
    pub sql_type: String,
}

/// The values to try of one parameter, as they were given.
#[derive(Debug, Clone)]
pub struct Candidates {
    /// The parameter.
    pub name: String,
    /// Each value as a person types it: `100`, `09:50`, `NULL`.
    pub texts: Vec<String>,
    /// What messages begin with: where they were given.
    pub said: String,
}

/// Checks the parameters and the values of a grid. `signature` is the scanner's, `documented` what is known of its parameters.
///
/// # Errors
/// [`Error::UnknownParameter`], [`Error::Invalid`] for a value that is none of its parameter's.
pub fn axes(candidates: &[Candidates], signature: &Signature, documented: &[Parameter]) -> Result<Vec<Axis>> {
    let own = |name: &str| signature.parameters.iter().any(|(parameter, _)| parameter == name);
    let mut axes: Vec<Axis> = Vec::new();
    for candidates in candidates {
        let name = candidates.name.as_str();
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
        let sql_type = exit.or_else(|| documented.iter().find(|parameter| parameter.name == name)?.sql_type.as_deref());
        axes.push(axis(candidates, sql_type)?);
    }
    Ok(axes)
}

fn axis(candidates: &Candidates, sql_type: Option<&str>) -> Result<Axis> {
    let Candidates { name, texts, said } = candidates;
    let sql_type = sql_type.map_or_else(|| by_looks(texts).to_owned(), str::to_owned);
    // A list of lists is not what anybody types: each value is a list of one.
    let element = sql_type.trim_end_matches("[]");
    let mut values: Vec<Value> = Vec::new();
    for text in texts {
        let value = value_of(text, Some(element));
        let expected = match (element, &value) {
            (_, Value::Null) | ("INTEGER" | "BIGINT", Value::BigInt(_)) | ("BOOLEAN", Value::Boolean(_)) => None,
            ("DOUBLE", Value::Double(number)) if number.is_finite() => None,
            ("INTEGER" | "BIGINT", _) => Some("a whole number"),
            ("DOUBLE", _) => Some("a number"),
            ("BOOLEAN", _) => Some("true or false"),
            _ => None,
        };
        if let Some(expected) = expected {
            return Err(Error::Invalid(format!("{said}: '{text}' is none of its values; expected {expected}, or NULL")));
        }
        let value = if element == sql_type || value == Value::Null { value } else { Value::List(vec![value]) };
        if !values.contains(&value) {
            values.push(value);
        }
    }
    // Times may be 24:00, which the type has no room for.
    let sql_type = sql_type.replace("TIME", "VARCHAR").replace("INTEGER", "BIGINT");
    Ok(Axis { name: name.clone(), values, sql_type })
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

/// How many combinations there are.
///
/// # Errors
/// If these are too many.
pub(crate) fn combinations(axes: &[Axis], given: Given) -> Result<usize> {
    let count = axes.iter().try_fold(1_usize, |product, axis| product.checked_mul(axis.values.len()));
    count.filter(|count| *count <= MOST_COMBINATIONS).ok_or_else(|| {
        let factors: Vec<String> = axes.iter().map(|axis| format!("{} of {}", axis.values.len(), axis.name)).collect();
        let samples = if given == Given::Options { "--samples 1000" } else { "samples: 1000" };
        Error::Invalid(format!(
            "the grid has more than {MOST_COMBINATIONS} combinations ({}); give fewer values, or {samples} for some of them",
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
        self.places.iter().fold(1, |product: usize, places| product.saturating_mul(places.len()))
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

/// Single combinations in which every value of each parameter is, or of numbers, whose ranges have no gaps, the least and the most.
pub(crate) fn samples(axes: &[Axis]) -> Vec<Part> {
    let number = |value: &Value| match value {
        #[expect(clippy::cast_precision_loss, reason = "only compared")]
        Value::BigInt(number) => Some(*number as f64),
        Value::Double(number) => Some(*number),
        _ => None,
    };
    let telling = axes.iter().map(|axis| {
        let numbers: Vec<(usize, f64)> =
            axis.values.iter().enumerate().filter_map(|(place, value)| Some((place, number(value)?))).collect();
        let by_size = |one: &&(usize, f64), other: &&(usize, f64)| one.1.total_cmp(&other.1);
        let ends = [numbers.iter().min_by(by_size), numbers.iter().max_by(by_size)];
        let others = (0..axis.values.len()).filter(|place| number(&axis.values[*place]).is_none());
        others.chain(ends.into_iter().flatten().map(|(place, _)| *place)).collect::<Vec<usize>>()
    });
    let telling: Vec<Vec<usize>> = telling.collect();
    let most = telling.iter().map(Vec::len).max().unwrap_or_default();
    let part =
        |turn: usize| Part { places: telling.iter().map(|places| places[turn % places.len()]).map(|place| place..place + 1).collect() };
    (0..most.min(MOST_SAMPLES)).map(part).collect()
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

    fn read(texts: &[&str], sql_type: Option<&str>) -> Result<Axis> {
        let texts = texts.iter().map(|text| (*text).to_owned()).collect();
        axis(&Candidates { name: "x".to_owned(), texts, said: "grid.x".to_owned() }, sql_type)
    }

    fn numbers(count: u32) -> Vec<Value> {
        (0..count).map(|number| Value::Double(f64::from(number))).collect()
    }

    #[test]
    fn values_become_the_documented_type_or_one_that_holds_all() {
        let read = |texts: &[&str], sql_type| read(texts, sql_type).map(|axis| (axis.values, axis.sql_type)).ok();
        let of = |values: Vec<Value>, sql_type: &str| Some((values, sql_type.to_owned()));
        assert_eq!(read(&["1", "2"], Some("INTEGER")), of(vec![Value::BigInt(1), Value::BigInt(2)], "BIGINT"));
        assert_eq!(read(&["1", "NULL"], Some("DOUBLE")), of(vec![Value::Double(1.0), Value::Null], "DOUBLE"));
        assert_eq!(read(&["1", "2.5", "null"], None), of(vec![Value::Double(1.0), Value::Double(2.5), Value::Null], "DOUBLE"));
        assert_eq!(read(&["1", "a"], None), of(vec![Value::Text("1".to_owned()), Value::Text("a".to_owned())], "VARCHAR"));
        assert_eq!(
            read(&["3", "1", "2", "1"], Some("INTEGER")),
            of([3, 1, 2].map(Value::BigInt).to_vec(), "BIGINT"),
            "each once, in order"
        );
        let one = |text: &str| Value::List(vec![Value::Text(text.to_owned())]);
        assert_eq!(read(&["a", "NULL", "b"], Some("VARCHAR[]")), of(vec![one("a"), Value::Null, one("b")], "VARCHAR[]"));
    }

    #[test]
    fn bad_values_are_told() {
        for (texts, sql_type, expected) in [
            (["1", "cheap"], "DOUBLE", "grid.x: 'cheap' is none of its values; expected a number, or NULL"),
            (["1", "inf"], "DOUBLE", "expected a number"),
            (["1", "1.5"], "INTEGER", "expected a whole number"),
            (["1", "true"], "BOOLEAN", "'1' is none of its values; expected true or false"),
        ] {
            let error = read(&texts, Some(sql_type)).expect_err(texts[1]).to_string();
            assert!(error.contains(expected), "{texts:?}: {error}");
        }
    }

    #[test]
    fn every_value_that_can_be_wrong_is_in_a_sample() {
        let axis = |name: &str, values: Vec<Value>| Axis { name: name.to_owned(), values, sql_type: String::new() };
        let text = |text: &str| Value::Text(text.to_owned());
        let axes = [
            axis("number", vec![Value::Double(2.0), Value::Double(-1.0), Value::Null, Value::Double(7.0), Value::Double(3.0)]),
            axis("clock", vec![text("09:50"), text("25:00")]),
            axis("count", vec![Value::BigInt(3)]),
        ];
        let places: Vec<Vec<usize>> = samples(&axes).iter().map(|part| part.places.iter().map(|places| places.start).collect()).collect();
        // NULL, the least and the most; each text; the only one.
        assert_eq!(places, [vec![2, 0, 0], vec![1, 1, 0], vec![3, 0, 0]]);
        assert!(samples(&axes).iter().all(|part| part.len() == 1));
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
