//! What the catalogue says of scanners' sections, of variables for them, and of the scanners of rules.

use std::collections::BTreeMap;

use serde_json::{Map, Value};
use stockscan_engine::{Engine, Error, Parameter, Result, nearest};

use crate::{
    Configuration, OLD_DASHBOARD, Origin, RUN_KEYS, SECTIONS, Setting,
    check::{Mistake, RULES_OWN, check, check_as, is_time_of_day, told},
    keys::Defaults,
    schema::{allowed_of, is_nullable},
    variables::{nearly, typed},
};

/// Values of scanners' parameters, by scanner and parameter.
type Settings = BTreeMap<String, BTreeMap<String, Setting>>;

impl Configuration {
    /// Checks the scanners' sections, the variables for them, and the scanners of rules against the catalogue. Returns what to tell of
    /// those whose scanner is not in this database: it may be in another one.
    ///
    /// # Errors
    /// [`Error::Invalid`] with every key that the scanner does not take, every value that is out of its range, and names that come so
    /// near to a section's that it was meant.
    pub fn check_scanners(&self, engine: &Engine) -> Result<Vec<String>> {
        let (mut mistakes, mut strangers) = (Vec::new(), Vec::new());
        for (section, settings) in &self.scanners {
            let file = settings.values().next().map(|setting| setting.origin.to_string()).unwrap_or_default();
            match engine.scanner_function(section) {
                Ok(function) if function == *section => {
                    let short = section.strip_prefix("scan_").unwrap_or(section);
                    mistakes.push(format!("{file}: unknown section '{section}'; did you mean '{short}'?"));
                }
                Ok(function) => {
                    let values = settings.iter().map(|(key, setting)| (key, &setting.value));
                    for (key, mistake) in check_parameters(engine, &function, section, values, &[], &RUN_KEYS)? {
                        let Setting { value, origin } = &settings[&key];
                        mistakes.push(format!("{origin}: {}", mistake.told(section, &key, value)));
                    }
                }
                Err(Error::UnknownFunction { suggestion, known, .. }) => {
                    match nearest(section, SECTIONS.into_iter().chain([OLD_DASHBOARD])) {
                        Some(meant) => mistakes.push(format!(
                            "{file}: unknown section '{section}'; did you mean '{meant}'? there are {}, and one for each scanner: {}",
                            SECTIONS.join(", "),
                            known.join(", ")
                        )),
                        None => {
                            let meant = suggestion.map_or(String::new(), |name| format!("; did you mean '{name}'?"));
                            strangers.push(format!(
                                "{file}: section '{section}' is of no use here, since {} has no such scanner{meant}",
                                engine.name()
                            ));
                        }
                    }
                }
                Err(error) => return Err(error),
            }
        }
        let (_, found, told_of) = self.of_variables(engine)?;
        mistakes.extend(found);
        strangers.extend(told_of);
        for (name, rule) in &self.alerts {
            let file = self.origin("alerts", name).map(ToString::to_string).unwrap_or_default();
            let scanner = rule.scanner_type.0.as_str();
            match engine.scanner_function(scanner) {
                Ok(function) if function == scanner => {
                    let short = scanner.strip_prefix("scan_").unwrap_or(scanner);
                    mistakes.push(format!("{file}: alerts.{name}.scanner_type is \"{scanner}\"; did you mean \"{short}\"?"));
                }
                Ok(function) => {
                    let path = format!("alerts.{name}.config");
                    let found = check_parameters(engine, &function, scanner, rule.config.iter(), &RULES_OWN, &[])?;
                    let told = found.into_iter().map(|(key, mistake)| format!("{file}: {}", mistake.told(&path, &key, &rule.config[&key])));
                    mistakes.extend(told);
                }
                Err(Error::UnknownFunction { suggestion, known, .. }) => {
                    let meant = suggestion.map_or(";".to_owned(), |name| format!("; did you mean '{name}'?"));
                    strangers.push(format!(
                        "{file}: alerts.{name}.scanner_type is \"{scanner}\", and {} has no such scanner{meant} there are {}",
                        engine.name(),
                        known.join(", ")
                    ));
                }
                Err(error) => return Err(error),
            }
        }
        if mistakes.is_empty() { Ok(strangers) } else { Err(told(&mistakes)) }
    }

    /// What files and variables say for one scanner: its section over what they say in `default`. The built-in defaults are not among
    /// them, since a scanner has its own. The keys are parameters of scanners, of which this one need not take all, and [`RUN_KEYS`].
    ///
    /// # Errors
    /// What DuckDB says.
    pub fn scanner_settings(&self, engine: &Engine, scanner: &str) -> Result<BTreeMap<String, Setting>> {
        let mut settings = BTreeMap::new();
        if let Ok(Value::Object(defaults)) = serde_json::to_value(&self.default) {
            for (key, value) in defaults {
                if let Some(origin) = self.origin("default", &key) {
                    settings.insert(key, Setting { value, origin: origin.clone() });
                }
            }
        }
        if let Some(own) = self.scanners.get(scanner) {
            settings.extend(own.clone());
        }
        settings.extend(self.of_variables(engine)?.0.remove(scanner).unwrap_or_default());
        Ok(settings)
    }

    /// What variables say of scanners' parameters, the mistakes in that, and what comes near to a scanner that is not there.
    fn of_variables(&self, engine: &Engine) -> Result<(Settings, Vec<String>, Vec<String>)> {
        let (mut settings, mut mistakes, mut strangers) = (Settings::new(), Vec::new(), Vec::new());
        if self.variables.is_empty() {
            return Ok((settings, mistakes, strangers));
        }
        let mut scanners: Vec<String> = engine.scanners()?.into_iter().map(|scanner| scanner.name).collect();
        scanners.sort_by_key(|name| std::cmp::Reverse(name.len()));
        let known = || scanners.iter().map(String::as_str).chain(SECTIONS);
        for variable in &self.variables {
            let place = variable.key();
            let found = scanners.iter().find_map(|scanner| Some((scanner, place.strip_prefix(scanner.as_str())?.strip_prefix('_')?)));
            let Some((scanner, key)) = found else {
                let keys = default_keys();
                if let Some((key, meant)) = keys.iter().find_map(|key| Some((key, nearly(&place, key, known())?))) {
                    strangers.push(format!(
                        "{} is of no use here, since {} has no such scanner; did you mean STOCKSCAN_{}_{}?",
                        variable.name,
                        engine.name(),
                        meant.to_uppercase(),
                        key.to_uppercase()
                    ));
                }
                continue;
            };
            match scanner_value(engine, scanner, key, &variable.text)? {
                Ok(value) => {
                    let setting = Setting { value, origin: Origin::Variable(variable.name.clone()) };
                    settings.entry(scanner.clone()).or_default().insert(key.to_owned(), setting);
                }
                Err((value, mistake)) => mistakes.push(mistake.told_of_variable(&variable.name, scanner, &value)),
            }
        }
        Ok((settings, mistakes, strangers))
    }
}

fn default_keys() -> Vec<String> {
    match serde_json::to_value(Defaults::default()) {
        Ok(Value::Object(keys)) => keys.into_iter().map(|(key, _)| key).collect(),
        _ => Vec::new(),
    }
}

/// A text as the value of a key of a scanner's section; else the value that it would be, and what is wrong with it.
pub(crate) fn scanner_value(engine: &Engine, scanner: &str, key: &str, text: &str) -> Result<std::result::Result<Value, (Value, Mistake)>> {
    let documented = engine.scanner_parameters(scanner)?;
    let parameter = documented.iter().find(|parameter| parameter.name == key);
    let value = typed(text, |value| check("", key, value).is_ok() && parameter.and_then(|parameter| refused(parameter, value)).is_none());
    if let Err(mistake) = check("", key, &value) {
        return Ok(Err((value, mistake)));
    }
    let key = key.to_owned();
    let values = std::iter::once((&key, &value));
    let mut mistakes = check_parameters(engine, &format!("scan_{scanner}"), scanner, values, &[], &RUN_KEYS)?;
    Ok(match mistakes.pop() {
        Some((_, mistake)) => Err((value, mistake)),
        None => Ok(value),
    })
}

/// Checks values that a request gives for parameters of a scanner. Sessions and the bars to be read are not among them. Returns the
/// parameters with mistakes, and what is wrong.
#[must_use]
pub fn parameter_mistakes(documented: &[Parameter], values: &Map<String, Value>) -> Vec<(String, String)> {
    let is_of_request = |name: &str| !["scan_date", "end_date", "source"].contains(&name);
    let takes = documented.iter().filter(|parameter| is_of_request(&parameter.name));
    let known: Vec<String> = takes.map(|parameter| parameter.name.clone()).collect();
    let mistake = |key: &str, value: &Value| {
        let Some(parameter) = documented.iter().find(|parameter| parameter.name == key && is_of_request(key)) else {
            return Some(Mistake::Key(known.clone()));
        };
        refused(parameter, value).map(Mistake::Value)
    };
    let mistakes = values.iter().filter_map(|(key, value)| Some((key.clone(), mistake(key, value)?.told("config", key, value))));
    mistakes.collect()
}

/// Checks values of parameters of a scanner, and of other keys that are known. Returns the keys with mistakes.
fn check_parameters<'a>(
    engine: &Engine,
    function: &str,
    scanner: &str,
    values: impl Iterator<Item = (&'a String, &'a Value)>,
    not_these: &[&str],
    others: &[&str],
) -> Result<Vec<(String, Mistake)>> {
    let takes = engine.signature(function)?.parameters.into_iter().map(|(name, _)| name);
    let takes = takes.filter(|name| name != "scan_date" && !not_these.contains(&name.as_str()));
    let known: Vec<String> = takes.chain(others.iter().map(|key| (*key).to_owned())).collect();
    let mut documented: Option<Vec<Parameter>> = None;
    let mut mistakes = Vec::new();
    for (key, value) in values {
        if !known.contains(key) {
            mistakes.push((key.clone(), Mistake::Key(known.clone())));
            continue;
        }
        // What `default` knows was checked when the file was read. To ask the catalogue takes 20 milliseconds.
        if !matches!(check_as::<Defaults>(key, value), Err(Mistake::Key(_))) {
            continue;
        }
        let documented = match &documented {
            Some(documented) => documented,
            None => documented.insert(engine.scanner_parameters(scanner)?),
        };
        let parameter = documented.iter().find(|parameter| parameter.name == *key);
        if let Some(expected) = parameter.and_then(|parameter| refused(parameter, value)) {
            mistakes.push((key.clone(), Mistake::Value(expected)));
        }
    }
    Ok(mistakes)
}

/// What a parameter allows, if this value is not it.
fn refused(parameter: &Parameter, value: &Value) -> Option<String> {
    let number = |is_whole: bool| {
        value.as_f64().is_some_and(|number| {
            (!is_whole || number.fract() == 0.0)
                && parameter.minimum.is_none_or(|least| number >= least)
                && parameter.maximum.is_none_or(|most| number <= most)
        })
    };
    let fits = match parameter.sql_type.as_deref() {
        None => true,
        Some(_) if value.is_null() => is_nullable(parameter),
        Some("INTEGER" | "BIGINT") => number(true),
        Some("DOUBLE") => number(false),
        Some("BOOLEAN") => value.is_boolean(),
        Some("TIME") => value.as_str().is_some_and(is_time_of_day),
        Some(list) if list.ends_with("[]") => value.as_array().is_some_and(|items| items.iter().all(Value::is_string)),
        Some(_) => value
            .as_str()
            .is_some_and(|text| parameter.choices.as_ref().is_none_or(|choices| choices.split(", ").any(|choice| choice == text))),
    };
    (!fits).then(|| allowed_of(parameter))
}
