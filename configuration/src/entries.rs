//! Keys with their values, as the command and the server show them.

use serde_json::Value;
use stockscan_engine::{Engine, Error, Parameter, Result};

use crate::{Configuration, Key, Origin, RUN_KEYS, allowed_of, default_of, keys, parameter_schema};

/// A key with its value.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    /// Its section, or its scanner.
    pub section: String,
    /// Its name.
    pub key: String,
    /// What holds.
    pub value: Value,
    /// What holds if nothing is configured; null if there is nothing then.
    pub default: Value,
    /// Where the value comes from; `None`: it is the default.
    pub origin: Option<Origin>,
    /// Unit of the value.
    pub unit: Option<String>,
    /// The values that are allowed, in words.
    pub allowed: String,
    /// What it means.
    pub meaning: String,
    /// `server` or `dashboard` if it acts only there.
    pub acts_in: Option<String>,
    /// The JSON Schema of the value.
    pub schema: Value,
}

impl Configuration {
    /// Every key of the sections that every configuration has, and what is configured of scanners and alerts.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a value that JSON cannot have.
    pub fn entries(&self) -> Result<Vec<Entry>> {
        let values = serde_json::to_value(self).map_err(|error| Error::Invalid(error.to_string()))?;
        let origin = |section: &str, key: &str| self.origin(section, key).cloned();
        let of_sections = keys().iter().cloned().map(|Key { section, name, default, allowed, meaning, acts_in, schema, .. }| Entry {
            value: values[&section][&name].clone(),
            default,
            origin: origin(&section, &name),
            unit: None,
            allowed,
            meaning,
            acts_in,
            schema,
            section,
            key: name,
        });
        let of_scanners = self.scanners.iter().flat_map(|(scanner, settings)| {
            settings.iter().map(move |(key, setting)| (scanner.clone(), key.clone(), setting.value.clone(), Some(setting.origin.clone())))
        });
        let of_alerts =
            self.alerts.keys().map(|name| ("alerts".to_owned(), name.clone(), values["alerts"][name].clone(), origin("alerts", name)));
        let configured = of_scanners.chain(of_alerts).map(|(section, key, value, origin)| Entry {
            section,
            key,
            value,
            default: Value::Null,
            origin,
            unit: None,
            allowed: String::new(),
            meaning: String::new(),
            acts_in: None,
            schema: Value::Object(serde_json::Map::new()),
        });
        Ok(of_sections.chain(configured).collect())
    }

    /// A scanner's parameters, as [`parameters`](crate::parameters) has them, and [`RUN_KEYS`], with what holds for it.
    ///
    /// # Errors
    /// What DuckDB says.
    pub fn scanner_entries(&self, engine: &Engine, scanner: &str, parameters: Vec<Parameter>) -> Result<Vec<Entry>> {
        let settings = self.scanner_settings(engine, scanner)?;
        let of_parameters = parameters.into_iter().map(|parameter| {
            // One that is no literal is shown as SQL has it.
            let default = default_of(&parameter).or(parameter.default.clone().map(Value::from)).unwrap_or_default();
            Entry {
                section: scanner.to_owned(),
                value: default.clone(),
                default,
                origin: None,
                allowed: allowed_of(&parameter),
                schema: parameter_schema(&parameter),
                unit: parameter.unit,
                meaning: parameter.doc.unwrap_or_default(),
                key: parameter.name,
                acts_in: None,
            }
        });
        let of_runs = self.entries()?.into_iter().filter(|entry| entry.section == "default" && RUN_KEYS.contains(&entry.key.as_str()));
        let of_runs = of_runs.map(|entry| Entry { section: scanner.to_owned(), ..entry });
        let effective = of_parameters.chain(of_runs).map(|entry| match settings.get(&entry.key) {
            Some(setting) => Entry { value: setting.value.clone(), origin: Some(setting.origin.clone()), ..entry },
            None => entry,
        });
        Ok(effective.collect())
    }
}
