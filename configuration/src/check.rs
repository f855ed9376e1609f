//! Whether a value is allowed, and what is said of one that is not.

use schemars::JsonSchema;
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Map, Value};
use stockscan_engine::{Error, nearest};

use crate::{
    keys::{AlertRule, Api, Cli, Dashboard, Defaults, Streaming, Webhook},
    schema::{allowed, schema_of},
    values::A_TIME_OF_DAY,
    variables::PREFIX,
};

/// What is wrong with a key.
#[derive(Debug)]
pub(crate) enum Mistake {
    /// No such key; the known ones.
    Key(Vec<String>),
    /// A value that is not allowed; what is.
    Value(String),
}

impl Mistake {
    /// Without the file.
    pub(crate) fn told(&self, section: &str, key: &str, value: &Value) -> String {
        match self {
            Mistake::Key(known) => {
                let meant =
                    nearest(key, known.iter().map(String::as_str)).map_or(";".to_owned(), |name| format!("; did you mean '{name}'?"));
                format!("{section} has no key '{key}'{meant} it takes {}", known.join(", "))
            }
            Mistake::Value(expected) => format!("{section}.{key} is {}; expected {expected}", brief(value)),
        }
    }

    /// Of a variable.
    pub(crate) fn told_of_variable(&self, name: &str, section: &str, value: &Value) -> String {
        match self {
            Mistake::Key(known) => {
                let start = format!("{PREFIX}{}_", section.to_uppercase());
                let given = name.get(start.len()..).unwrap_or_default();
                let known: Vec<String> = known.iter().map(|key| key.to_uppercase()).collect();
                let meant = nearest(
                    &given.to_lowercase(),
                    known.iter().map(|key| key.to_lowercase()).collect::<Vec<_>>().iter().map(String::as_str),
                )
                .map_or(";".to_owned(), |key| format!("; did you mean {start}{}?", key.to_uppercase()));
                format!("{name}: {section} has no key '{}'{meant} behind {start} it takes {}", given.to_lowercase(), known.join(", "))
            }
            Mistake::Value(expected) => format!("{name} is {}; expected {expected}", brief(value)),
        }
    }
}

/// The parameters of scanners that a rule has keys of its own for.
pub(crate) const RULES_OWN: [&str; 2] = ["cutoff_time", "symbols"];

/// Every mistake of a rule for alerts, as far as they can be found without the catalogue.
pub(crate) fn check_rule(name: &str, rule: &Value) -> Vec<String> {
    let path = format!("alerts.{name}");
    let Value::Object(keys) = rule else {
        return vec![format!("{path} is {}; expected an object, as in {{\"scanner_type\": \"breakout\"}}", brief(rule))];
    };
    let mut mistakes = Vec::new();
    for (key, value) in keys {
        match (key.as_str(), value) {
            ("webhook", Value::Object(parts)) => {
                let path = format!("{path}.webhook");
                for (key, value) in parts {
                    mistakes.extend(check_as::<Webhook>(key, value).err().map(|mistake| mistake.told(&path, key, value)));
                }
                if !parts.contains_key("url") {
                    mistakes.push(format!("{path} has no 'url'; expected the address to which alerts are posted"));
                }
                let is_given = |key: &str| parts.get(key).is_some_and(|value| !value.is_null());
                if is_given("secret_file") && is_given("secret_env") {
                    mistakes.push(format!("{path} has 'secret_file' and 'secret_env'; expected one of them"));
                }
            }
            ("webhook", other) if !other.is_null() => {
                mistakes.push(format!("{path}.webhook is {}; expected an object, as in {{\"url\": \"https://…\"}}", brief(other)));
            }
            ("config", Value::Object(parameters)) => {
                let path = format!("{path}.config");
                for (key, value) in parameters {
                    if RULES_OWN.contains(&key.as_str()) {
                        mistakes.push(format!("{path} has '{key}', which is a key of the rule itself: write it beside 'config'"));
                    } else {
                        mistakes.extend(check("", key, value).err().map(|mistake| mistake.told(&path, key, value)));
                    }
                }
            }
            ("config", other) => {
                mistakes.push(format!("{path}.config is {}; expected an object, as in {{\"min_price\": 100}}", brief(other)));
            }
            ("cutoff_time", Value::String(time)) if !is_time_of_day(time) => {
                mistakes.push(format!("{path}.cutoff_time is {}; expected {A_TIME_OF_DAY}", brief(value)));
            }
            _ => mistakes.extend(check_as::<AlertRule>(key, value).err().map(|mistake| mistake.told(&path, key, value))),
        }
    }
    if !keys.contains_key("scanner_type") {
        mistakes.push(format!("{path} has no 'scanner_type'; expected the name of a scanner, as in \"scanner_type\": \"breakout\""));
    }
    mistakes
}

/// `09:50`, `09:50:30`, or `24:00`, the end of a day.
#[must_use]
pub fn is_time_of_day(text: &str) -> bool {
    let number = |(place, part): (usize, &str)| {
        let is_number = part.bytes().all(|byte| byte.is_ascii_digit()) && (part.len() == 2 || (place == 0 && part.len() == 1));
        if is_number { part.parse::<u8>().ok() } else { None }
    };
    let parts: Option<Vec<u8>> = text.split(':').enumerate().map(number).collect();
    match parts.as_deref() {
        Some([24, 0] | [24, 0, 0]) => true,
        Some([hour, minute]) => *hour < 24 && *minute < 60,
        Some([hour, minute, second]) => *hour < 24 && *minute < 60 && *second < 60,
        _ => false,
    }
}

/// Checks one value, as far as that can be done without the catalogue.
pub(crate) fn check(section: &str, key: &str, value: &Value) -> Result<(), Mistake> {
    match section {
        "default" => check_as::<Defaults>(key, value),
        "streaming" => check_as::<Streaming>(key, value),
        "api" => check_as::<Api>(key, value),
        "cli" => check_as::<Cli>(key, value),
        "dashboard" => check_as::<Dashboard>(key, value),
        // A parameter's range is the same in every scanner. What else a scanner takes is for its catalogue entry to say.
        _ => match check_as::<Defaults>(key, value) {
            Err(Mistake::Key(_)) if value.is_object() => Err(Mistake::Value("a number, a text, true, false, null or a list".to_owned())),
            Err(Mistake::Key(_)) => Ok(()),
            other => other,
        },
    }
}

/// Checks one value against the section's type, which knows its keys and what each of them allows.
pub(crate) fn check_as<S: DeserializeOwned + Serialize + Default + JsonSchema>(key: &str, value: &Value) -> Result<(), Mistake> {
    let Ok(Value::Object(known)) = serde_json::to_value(S::default()) else { return Ok(()) };
    if !known.contains_key(key) {
        return Err(Mistake::Key(known.keys().cloned().collect()));
    }
    match serde_json::from_value::<S>(Value::Object(Map::from_iter([(key.to_owned(), value.clone())]))) {
        Ok(_) => Ok(()),
        Err(_) => Err(Mistake::Value(allowed(&schema_of::<S>()["properties"][key]))),
    }
}

/// A value as it stands in the file; a long one is cut.
pub(crate) fn brief(value: &Value) -> String {
    let text = value.to_string();
    if text.chars().count() > 60 { format!("{}…", text.chars().take(57).collect::<String>()) } else { text }
}

/// One error of all mistakes.
pub(crate) fn told(mistakes: &[String]) -> Error {
    match mistakes {
        [one] => Error::Invalid(one.clone()),
        several => Error::Invalid(format!("{} mistakes in the configuration:\n{}", several.len(), several.join("\n"))),
    }
}
