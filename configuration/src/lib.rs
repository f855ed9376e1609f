//! The configuration: JSON files with the sections `default`, `streaming`, `api`, `cli`, `dashboard`, `alerts`, and one for each scanner
//! that wants other values than `default`.
//!
//! Later layers win, key by key: the user's own file, this folder's, the one named by `--config-file`, variables such as
//! `STOCKSCAN_API_PORT`; flags, which win over all, are the command's business. Every key of every layer is checked before anything is
//! done; each mistake names file or variable, key, value and what is allowed.

mod catalogue;
mod check;
mod edit;
mod entries;
mod files;
mod keys;
mod schema;
mod sources;
mod unique;
mod values;
mod variables;

use std::{
    collections::BTreeMap,
    ffi::OsString,
    fmt,
    path::{Path, PathBuf},
    time::Duration,
};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use stockscan_engine::{Error, Result};

pub use catalogue::parameter_mistakes;
pub use check::is_time_of_day;
use check::told;
pub use edit::{edit, value_from_text};
pub use entries::Entry;
pub use files::{Layer, Place, places};
pub use keys::{AlertRule, Api, Cli, Dashboard, Defaults, Format, Layout, RUN_KEYS, Streaming, Theme, Webhook};
pub use schema::{Key, allowed_of, default_of, keys, parameter_schema, parameters, schema};
pub use sources::{Change, Sources};
pub use values::{File, Folder, Number, TIME_OF_DAY, Text, Whole};
pub use variables::{Variable, variables};

/// The sections that are not a scanner's.
pub const SECTIONS: [&str; 6] = ["default", "streaming", "api", "cli", "dashboard", "alerts"];

/// What files used to call `dashboard`.
pub const OLD_DASHBOARD: &str = "streamlit";

/// All settings, files merged over the built-in defaults.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Configuration {
    /// Values for every scanner, unless its own section has others.
    pub default: Defaults,
    /// Scans that run again and again.
    pub streaming: Streaming,
    /// The server.
    pub api: Api,
    /// The command.
    pub cli: Cli,
    /// The dashboard.
    pub dashboard: Dashboard,
    /// Rules by their names: what is scanned again and again, and who is told of each new name.
    pub alerts: BTreeMap<String, AlertRule>,
    /// The scanners' sections. Their names and keys are the catalogue's: see [`Configuration::check_scanners`].
    #[serde(skip)]
    pub scanners: BTreeMap<String, BTreeMap<String, Setting>>,
    /// Where each value comes from, by section and key, if it is not built in.
    #[serde(skip)]
    pub origins: BTreeMap<(String, String), Origin>,
    /// Variables that may be for a scanner. The catalogue tells: see [`Configuration::check_scanners`].
    #[serde(skip)]
    pub variables: Vec<Variable>,
}

/// Where a value comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// A file.
    File(PathBuf),
    /// A variable of the environment, by its name.
    Variable(String),
}

impl Origin {
    /// The folder to which paths are relative; for those of a variable it is this one.
    fn folder(&self) -> PathBuf {
        match self {
            Origin::File(path) => path.parent().map(Path::to_path_buf).unwrap_or_default(),
            Origin::Variable(_) => PathBuf::new(),
        }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Origin::File(path) => path.display().fmt(f),
            Origin::Variable(name) => f.write_str(name),
        }
    }
}

/// A value of a scanner's section.
#[derive(Debug, Clone, PartialEq)]
pub struct Setting {
    /// The value.
    pub value: Value,
    /// Where it comes from.
    pub origin: Origin,
}

/// How scans of a scanner are run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RunSettings {
    /// After this time one is stopped.
    pub timeout: Duration,
    /// How often it is tried again if it failed for a passing reason.
    pub retry_attempts: u64,
    /// Whether a result is kept for the same question.
    pub enable_caching: bool,
    /// For how long.
    pub cache_ttl: Duration,
}

impl Configuration {
    /// Reads every file that is there, and the variables. `named` is the file of `--config-file`; the process's variables are
    /// [`variables`].
    ///
    /// # Errors
    /// [`Error::Invalid`] with every mistake of every file and variable.
    pub fn load(named: Option<&Path>, variables: &[(String, OsString)]) -> Result<Configuration> {
        let sources = Sources { named: named.map(Path::to_path_buf), variables: variables.to_vec() };
        sources.load().map_err(|mistakes| told(&mistakes))
    }

    /// The layers over the built-in defaults, the last one on top, and the variables over these.
    ///
    /// # Errors
    /// [`Error::Invalid`] for every mistake of a variable, else for values that do not go together.
    pub fn merged(layers: Vec<Layer>, variables: &[(String, OsString)]) -> Result<Configuration> {
        let (of_variables, others, mistakes) = variables::read(variables);
        if !mistakes.is_empty() {
            return Err(told(&mistakes));
        }
        let mut sections: BTreeMap<String, Map<String, Value>> = BTreeMap::new();
        let mut scanners: BTreeMap<String, BTreeMap<String, Setting>> = BTreeMap::new();
        let mut origins = BTreeMap::new();
        for Layer { origin, settings } in layers.into_iter().chain(of_variables) {
            for (section, key, value) in settings {
                origins.insert((section.clone(), key.clone()), origin.clone());
                if SECTIONS.contains(&section.as_str()) {
                    sections.entry(section).or_default().insert(key, value);
                } else {
                    scanners.entry(section).or_default().insert(key, Setting { value, origin: origin.clone() });
                }
            }
        }
        let content = serde_json::to_value(sections).and_then(serde_json::from_value);
        let mut merged: Configuration = content.map_err(|error| Error::Invalid(error.to_string()))?;
        (merged.scanners, merged.origins, merged.variables) = (scanners, origins, others);
        let place = |key: &str| merged.origin("cli", key).map(Origin::folder).unwrap_or_default();
        let (results, scanners) = (place("results_directory"), place("scanners_directory"));
        merged.cli.results_directory = merged.cli.results_directory.from(&results);
        merged.cli.scanners_directory = merged.cli.scanners_directory.map(|folder| folder.from(&scanners));
        for (name, rule) in &mut merged.alerts {
            let place = merged.origins.get(&("alerts".to_owned(), name.clone())).map(Origin::folder);
            if let (Some(Webhook { secret_file: Some(secret), .. }), Some(place)) = (&mut rule.webhook, place) {
                *secret = secret.from(&place);
            }
        }

        let (low, high) = (merged.default.min_price.0, merged.default.max_price.0);
        if low > high {
            let file = merged.origin("default", "min_price").or_else(|| merged.origin("default", "max_price"));
            let file = file.map_or(String::new(), |file| format!("{file}: "));
            return Err(told(&[format!("{file}default.min_price ({low}) must not exceed default.max_price ({high})")]));
        }
        Ok(merged)
    }

    /// Where a value comes from; `None`: it is the built-in default.
    #[must_use]
    pub fn origin(&self, section: &str, key: &str) -> Option<&Origin> {
        self.origins.get(&(section.to_owned(), key.to_owned()))
    }

    /// How scans of one scanner are run.
    #[must_use]
    pub fn run_settings(&self, scanner: &str) -> RunSettings {
        let own = self.scanners.get(scanner);
        let value = |key: &str| {
            let place = format!("{scanner}_{key}");
            let variable = self.variables.iter().find(|variable| variable.key() == place);
            let variable = variable.map(|variable| variables::typed(&variable.text, |value| check::check("default", key, value).is_ok()));
            variable.or_else(|| own.and_then(|own| own.get(key)).map(|setting| setting.value.clone()))
        };
        // Files were checked when they were read, variables when the database was opened.
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a whole number of a small range")]
        let whole = |key: &str, usual: u64| value(key).map_or(usual, |value| value.as_f64().map_or(usual, |number| number as u64));
        RunSettings {
            timeout: Duration::from_secs(whole("timeout", self.default.timeout.0)),
            retry_attempts: whole("retry_attempts", self.default.retry_attempts.0),
            enable_caching: value("enable_caching").and_then(|value| value.as_bool()).unwrap_or(self.default.enable_caching),
            cache_ttl: Duration::from_secs(whole("cache_ttl", self.default.cache_ttl.0)),
        }
    }
}
