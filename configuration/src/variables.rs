//! Variables of the environment: `STOCKSCAN_<SECTION>_<KEY>`.

use std::ffi::OsString;

use serde_json::Value;
use stockscan_engine::nearest;

use crate::{Origin, SECTIONS, check::check, files::Layer};

/// What the names of ours start with.
pub(crate) const PREFIX: &str = "STOCKSCAN_";

/// A variable that is none of a section that every configuration has: for a scanner's, if there is a scanner of this name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Variable {
    /// Its name.
    pub name: String,
    /// Its value.
    pub text: String,
}

impl Variable {
    /// Its name as `<section>_<key>`.
    pub(crate) fn key(&self) -> String {
        self.name.get(PREFIX.len()..).unwrap_or_default().to_lowercase()
    }
}

/// The variables of this process whose names start with `STOCKSCAN_`.
#[must_use]
pub fn variables() -> Vec<(String, OsString)> {
    let named = std::env::vars_os().filter_map(|(name, value)| Some((name.into_string().ok()?, value)));
    let mut ours: Vec<_> = named.filter(|(name, _)| name.starts_with(PREFIX)).collect();
    ours.sort();
    ours
}

/// Reads variables: a layer for each that is of a section, and those that may be a scanner's.
pub(crate) fn read(given: &[(String, OsString)]) -> (Vec<Layer>, Vec<Variable>, Vec<String>) {
    let (mut layers, mut others, mut mistakes) = (Vec::new(), Vec::new(), Vec::new());
    for (name, value) in given {
        let Some(text) = value.to_str() else {
            mistakes.push(format!("{name} is no text in UTF-8"));
            continue;
        };
        let variable = Variable { name: name.clone(), text: text.to_owned() };
        let place = variable.key();
        let Some((section, key)) = SECTIONS.iter().find_map(|section| Some((*section, place.strip_prefix(section)?.strip_prefix('_')?)))
        else {
            others.push(variable);
            continue;
        };
        if section == "alerts" {
            mistakes.push(format!("{name}: rules for alerts are written in a file: see 'scanner config --path'"));
            continue;
        }
        let value = typed(text, |value| check(section, key, value).is_ok());
        match check(section, key, &value) {
            Ok(()) => {
                layers.push(Layer { origin: Origin::Variable(name.clone()), settings: vec![(section.to_owned(), key.to_owned(), value)] })
            }
            Err(mistake) => mistakes.push(mistake.told_of_variable(name, section, &value)),
        }
    }
    (layers, others, mistakes)
}

/// A text as the value that is meant: JSON, or the text itself, or a list of texts with commas between; the first that fits.
pub(crate) fn typed(text: &str, fits: impl Fn(&Value) -> bool) -> Value {
    let trimmed = text.trim();
    let json = match trimmed.to_ascii_lowercase().as_str() {
        word @ ("true" | "false" | "null") => serde_json::from_str(word).ok(),
        _ => serde_json::from_str::<Value>(trimmed).ok(),
    };
    let list: Vec<Value> =
        trimmed.split(',').map(str::trim).filter(|item| !item.is_empty()).map(|item| Value::String(item.to_owned())).collect();
    let plain = Value::String(text.to_owned());
    let usual = json.clone().unwrap_or_else(|| plain.clone());
    json.into_iter().chain([plain, Value::Array(list)]).find(|value| fits(value)).unwrap_or(usual)
}

/// The section that the name of a variable comes near to, with a key that every scanner may have.
pub(crate) fn nearly<'a>(place: &str, key: &str, sections: impl IntoIterator<Item = &'a str>) -> Option<String> {
    nearest(place.strip_suffix(key)?.strip_suffix('_')?, sections)
}
