//! The configuration: JSON files with the sections `default`, `streaming`, `api`, `cli`, `dashboard`, `alerts`, and one for each scanner
//! that wants other values than `default`.
//!
//! Later files win, key by key: the user's own, this folder's, the one named by `--config-file`; variables and flags, which win over all,
//! are the command's business. Every key of every file is checked before anything is done; each mistake names file, key, value and what
//! is allowed.

mod keys;
mod values;

use std::{
    collections::BTreeMap,
    fmt, fs, io,
    path::{Path, PathBuf},
    time::Duration,
};

use serde::{
    Deserialize, Deserializer, Serialize,
    de::{DeserializeOwned, Error as _, MapAccess, SeqAccess, Visitor},
};
use serde_json::{Map, Value};
use stockscan_engine::{Engine, Error, Parameter, Result, nearest};

pub use keys::{AlertRule, Api, Cli, Dashboard, Defaults, Format, Layout, RUN_KEYS, Streaming, Theme, Webhook};
pub use values::{File, Folder, Number, Text, Whole};

/// The sections that are not a scanner's.
pub const SECTIONS: [&str; 6] = ["default", "streaming", "api", "cli", "dashboard", "alerts"];

/// What files used to call `dashboard`.
pub const OLD_DASHBOARD: &str = "streamlit";

/// All settings, files merged over the built-in defaults.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Configuration {
    /// Section `default`.
    pub default: Defaults,
    /// Section `streaming`.
    pub streaming: Streaming,
    /// Section `api`.
    pub api: Api,
    /// Section `cli`.
    pub cli: Cli,
    /// Section `dashboard`.
    pub dashboard: Dashboard,
    /// Section `alerts`: rules by their names.
    pub alerts: BTreeMap<String, AlertRule>,
    /// The scanners' sections. Their names and keys are the catalogue's: see [`Configuration::check_scanners`].
    #[serde(skip)]
    pub scanners: BTreeMap<String, BTreeMap<String, Setting>>,
    /// Which file each value comes from, by section and key.
    #[serde(skip)]
    pub origins: BTreeMap<(String, String), PathBuf>,
}

/// A value of a scanner's section.
#[derive(Debug, Clone, PartialEq)]
pub struct Setting {
    /// The value.
    pub value: Value,
    /// The file that it comes from.
    pub file: PathBuf,
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

/// A place where a configuration file may be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// Whose it is: `yours`, `this folder's` or `named`.
    pub whose: &'static str,
    /// The file.
    pub path: PathBuf,
}

/// What a file sets.
#[derive(Debug, Clone, PartialEq)]
pub struct Layer {
    /// The file.
    pub path: PathBuf,
    /// Section, key and value, as they stand there; an old name of a section is the new one.
    pub settings: Vec<(String, String, Value)>,
}

/// The places, those that win later. `named` is the file of `--config-file`.
#[must_use]
pub fn places(named: Option<&Path>) -> Vec<Place> {
    let home = std::env::var_os("XDG_CONFIG_HOME").map(PathBuf::from).filter(|path| path.is_absolute());
    let home = home.or_else(|| std::env::home_dir().map(|home| home.join(".config")));
    let yours = home.map(|home| Place { whose: "yours", path: home.join("stockscan/config.json") });
    let folders = Place { whose: "this folder's", path: PathBuf::from("scanner_config.json") };
    let named = named.map(|path| Place { whose: "named", path: path.to_path_buf() });
    yours.into_iter().chain([folders]).chain(named).collect()
}

impl Place {
    /// Reads and checks the file; `None` if it is not there and need not be.
    ///
    /// # Errors
    /// Every mistake in it.
    pub fn read(&self) -> std::result::Result<Option<Layer>, Vec<String>> {
        let text = match fs::read(&self.path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound && self.whose != "named" => return Ok(None),
            Err(error) => return Err(vec![format!("{}: {error}; expected a configuration file", self.path.display())]),
        };
        read(&self.path, &text).map(Some)
    }
}

/// Checks the content of a file.
fn read(path: &Path, bytes: &[u8]) -> std::result::Result<Layer, Vec<String>> {
    let shown = path.display();
    let bytes = bytes.strip_prefix("\u{feff}".as_bytes()).unwrap_or(bytes);
    let Unique(content) = serde_json::from_slice(bytes).map_err(|error| {
        let text = error.to_string();
        let text = text.split(" at line ").next().unwrap_or_default();
        vec![format!("{shown}:{}:{}: {text}; expected JSON", error.line().max(1), error.column())]
    })?;
    let Value::Object(sections) = content else {
        return Err(vec![format!("{shown}: {}; expected an object with sections such as {}", brief(&content), SECTIONS.join(", "))]);
    };
    let (mut settings, mut mistakes) = (Vec::new(), Vec::new());
    if sections.contains_key(OLD_DASHBOARD) && sections.contains_key("dashboard") {
        mistakes.push(format!("{shown}: sections 'dashboard' and '{OLD_DASHBOARD}', its old name; expected one of them"));
    }
    for (section, keys) in sections {
        let Value::Object(keys) = keys else {
            mistakes.push(format!("{shown}: {section} is {}; expected an object, as in {{\"{section}\": {{…}}}}", brief(&keys)));
            continue;
        };
        let known = if section == OLD_DASHBOARD { "dashboard" } else { section.as_str() };
        for (key, value) in keys {
            if known == "alerts" {
                let found = check_rule(&key, &value);
                if found.is_empty() {
                    settings.push((known.to_owned(), key, value));
                }
                mistakes.extend(found.into_iter().map(|mistake| format!("{shown}: {mistake}")));
                continue;
            }
            match check(known, &key, &value) {
                Ok(()) => settings.push((known.to_owned(), key, value)),
                Err(mistake) => mistakes.push(format!("{shown}: {}", mistake.told(&section, &key, &value))),
            }
        }
    }
    if mistakes.is_empty() { Ok(Layer { path: path.to_path_buf(), settings }) } else { Err(mistakes) }
}

enum Mistake {
    /// No such key; the known ones.
    Key(Vec<String>),
    /// A value that is not allowed; what is.
    Value(String),
}

impl Mistake {
    /// Without the file.
    fn told(&self, section: &str, key: &str, value: &Value) -> String {
        match self {
            Mistake::Key(known) => {
                let meant =
                    nearest(key, known.iter().map(String::as_str)).map_or(";".to_owned(), |name| format!("; did you mean '{name}'?"));
                format!("{section} has no key '{key}'{meant} it takes {}", known.join(", "))
            }
            Mistake::Value(expected) => format!("{section}.{key} is {}; expected {expected}", brief(value)),
        }
    }
}

/// The parameters of scanners that a rule has keys of its own for.
const RULES_OWN: [&str; 2] = ["cutoff_time", "symbols"];

/// Every mistake of a rule for alerts, as far as they can be found without the catalogue.
fn check_rule(name: &str, rule: &Value) -> Vec<String> {
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
                mistakes.push(format!("{path}.cutoff_time is {}; expected a time of day such as \"09:50\"", brief(value)));
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
fn is_time_of_day(text: &str) -> bool {
    let parts: Option<Vec<u32>> = text
        .split(':')
        .map(|part| if part.len() == 2 && part.bytes().all(|byte| byte.is_ascii_digit()) { part.parse().ok() } else { None })
        .collect();
    match parts.as_deref() {
        Some([24, 0] | [24, 0, 0]) => true,
        Some([hour, minute]) => *hour < 24 && *minute < 60,
        Some([hour, minute, second]) => *hour < 24 && *minute < 60 && *second < 60,
        _ => false,
    }
}

/// Checks one value, as far as that can be done without the catalogue.
fn check(section: &str, key: &str, value: &Value) -> std::result::Result<(), Mistake> {
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
fn check_as<S: DeserializeOwned + Serialize + Default>(key: &str, value: &Value) -> std::result::Result<(), Mistake> {
    let Ok(Value::Object(known)) = serde_json::to_value(S::default()) else { return Ok(()) };
    if !known.contains_key(key) {
        return Err(Mistake::Key(known.keys().cloned().collect()));
    }
    match serde_json::from_value::<S>(Value::Object(Map::from_iter([(key.to_owned(), value.clone())]))) {
        Ok(_) => Ok(()),
        Err(error) => {
            let text = error.to_string();
            let expected = text.rsplit_once("expected ").map_or(text.clone(), |(_, expected)| expected.replace('`', ""));
            Err(Mistake::Value(match expected.as_str() {
                "a boolean" => "true or false".to_owned(),
                "a sequence" => "a list of texts".to_owned(),
                _ => expected,
            }))
        }
    }
}

impl Configuration {
    /// Reads every file that is there. `named` is the file of `--config-file`.
    ///
    /// # Errors
    /// [`Error::Invalid`] with every mistake of every file.
    pub fn load(named: Option<&Path>) -> Result<Configuration> {
        let (mut layers, mut mistakes) = (Vec::new(), Vec::new());
        for place in places(named) {
            match place.read() {
                Ok(layer) => layers.extend(layer),
                Err(found) => mistakes.extend(found),
            }
        }
        if mistakes.is_empty() {
            return Configuration::merged(layers);
        }
        Err(told(&mistakes))
    }

    /// The layers over the built-in defaults, the last one on top.
    ///
    /// # Errors
    /// [`Error::Invalid`] for values that do not go together.
    pub fn merged(layers: Vec<Layer>) -> Result<Configuration> {
        let mut sections: BTreeMap<String, Map<String, Value>> = BTreeMap::new();
        let mut scanners: BTreeMap<String, BTreeMap<String, Setting>> = BTreeMap::new();
        let mut origins = BTreeMap::new();
        for Layer { path, settings } in layers {
            for (section, key, value) in settings {
                origins.insert((section.clone(), key.clone()), path.clone());
                if SECTIONS.contains(&section.as_str()) {
                    sections.entry(section).or_default().insert(key, value);
                } else {
                    scanners.entry(section).or_default().insert(key, Setting { value, file: path.clone() });
                }
            }
        }
        let content = serde_json::to_value(sections).and_then(serde_json::from_value);
        let mut merged: Configuration = content.map_err(|error| Error::Invalid(error.to_string()))?;
        (merged.scanners, merged.origins) = (scanners, origins);
        let place = |key: &str| merged.origin("cli", key).and_then(Path::parent).map(Path::to_path_buf).unwrap_or_default();
        let (results, scanners) = (place("results_directory"), place("scanners_directory"));
        merged.cli.results_directory = merged.cli.results_directory.from(&results);
        merged.cli.scanners_directory = merged.cli.scanners_directory.map(|folder| folder.from(&scanners));
        for (name, rule) in &mut merged.alerts {
            let place = merged.origins.get(&("alerts".to_owned(), name.clone())).and_then(|file| file.parent());
            if let (Some(Webhook { secret_file: Some(secret), .. }), Some(place)) = (&mut rule.webhook, place) {
                *secret = secret.from(place);
            }
        }

        let (low, high) = (merged.default.min_price.0, merged.default.max_price.0);
        if low > high {
            let file = merged.origin("default", "min_price").or_else(|| merged.origin("default", "max_price"));
            let file = file.map_or(String::new(), |file| format!("{}: ", file.display()));
            return Err(told(&[format!("{file}default.min_price ({low}) must not exceed default.max_price ({high})")]));
        }
        Ok(merged)
    }

    /// The file that a value comes from; `None`: it is the built-in default.
    #[must_use]
    pub fn origin(&self, section: &str, key: &str) -> Option<&Path> {
        self.origins.get(&(section.to_owned(), key.to_owned())).map(PathBuf::as_path)
    }

    /// What the files say for one scanner: its section over what they say in `default`. The built-in defaults are not among them, since a
    /// scanner has its own. The keys are parameters of scanners, of which this one need not take all, and [`RUN_KEYS`].
    #[must_use]
    pub fn scanner_settings(&self, scanner: &str) -> BTreeMap<String, Setting> {
        let mut settings = BTreeMap::new();
        if let Ok(Value::Object(defaults)) = serde_json::to_value(&self.default) {
            for (key, value) in defaults {
                if let Some(file) = self.origin("default", &key) {
                    settings.insert(key, Setting { value, file: file.to_path_buf() });
                }
            }
        }
        if let Some(own) = self.scanners.get(scanner) {
            settings.extend(own.iter().map(|(key, setting)| (key.clone(), setting.clone())));
        }
        settings
    }

    /// How scans of one scanner are run.
    #[must_use]
    pub fn run_settings(&self, scanner: &str) -> RunSettings {
        let own = self.scanners.get(scanner);
        let value = |key: &str| own.and_then(|own| own.get(key)).map(|setting| &setting.value);
        // What is in a file was checked when it was read.
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a whole number of a small range")]
        let whole = |key: &str, usual: u64| value(key).map_or(usual, |value| value.as_f64().map_or(usual, |number| number as u64));
        RunSettings {
            timeout: Duration::from_secs(whole("timeout", self.default.timeout.0)),
            retry_attempts: whole("retry_attempts", self.default.retry_attempts.0),
            enable_caching: value("enable_caching").and_then(Value::as_bool).unwrap_or(self.default.enable_caching),
            cache_ttl: Duration::from_secs(whole("cache_ttl", self.default.cache_ttl.0)),
        }
    }

    /// Checks the scanners' sections against the catalogue. Returns what to tell of sections whose scanner is not in this database: it
    /// may be in another one.
    ///
    /// # Errors
    /// [`Error::Invalid`] with every key that the scanner does not take, every value that is out of its range, and names that come so
    /// near to a section's that it was meant.
    pub fn check_scanners(&self, engine: &Engine) -> Result<Vec<String>> {
        let (mut mistakes, mut strangers) = (Vec::new(), Vec::new());
        for (section, settings) in &self.scanners {
            let file = settings.values().next().map(|setting| setting.file.display().to_string()).unwrap_or_default();
            match engine.scanner_function(section) {
                Ok(function) if function == *section => {
                    let short = section.strip_prefix("scan_").unwrap_or(section);
                    mistakes.push(format!("{file}: unknown section '{section}'; did you mean '{short}'?"));
                }
                Ok(function) => {
                    let values = settings.iter().map(|(key, setting)| (key, &setting.value));
                    for (key, mistake) in check_parameters(engine, &function, section, values, &[], &RUN_KEYS)? {
                        let Setting { value, file } = &settings[&key];
                        mistakes.push(format!("{}: {}", file.display(), mistake.told(section, &key, value)));
                    }
                }
                Err(Error::UnknownFunction { suggestion, known, .. }) => match nearest(section, SECTIONS) {
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
                },
                Err(error) => return Err(error),
            }
        }
        for (name, rule) in &self.alerts {
            let file = self.origin("alerts", name).map(|file| file.display().to_string()).unwrap_or_default();
            let scanner = rule.scanner_type.0.as_str();
            match engine.scanner_function(scanner) {
                Ok(function) => {
                    let path = format!("alerts.{name}.config");
                    let short = function.strip_prefix("scan_").unwrap_or(&function);
                    let found = check_parameters(engine, &function, short, rule.config.iter(), &RULES_OWN, &[])?;
                    mistakes.extend(
                        found.into_iter().map(|(key, mistake)| format!("{file}: {}", mistake.told(&path, &key, &rule.config[&key]))),
                    );
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
    if value.is_null() {
        let is_nullable = parameter.default.as_ref().is_some_and(|default| default.eq_ignore_ascii_case("null"));
        return (!is_nullable).then(|| "a value".to_owned());
    }
    match parameter.sql_type.as_deref() {
        Some(kind @ ("INTEGER" | "BIGINT" | "DOUBLE")) => {
            let is_whole = kind != "DOUBLE";
            let fits = value.as_f64().is_some_and(|number| {
                (!is_whole || number.fract() == 0.0)
                    && parameter.minimum.is_none_or(|least| number >= least)
                    && parameter.maximum.is_none_or(|most| number <= most)
            });
            let range = match (parameter.minimum, parameter.maximum) {
                (Some(least), Some(most)) => format!(" from {least} to {most}"),
                (Some(least), None) => format!(", {least} or more"),
                (None, Some(most)) => format!(", {most} or less"),
                (None, None) => String::new(),
            };
            (!fits).then(|| format!("a {}number{range}", if is_whole { "whole " } else { "" }))
        }
        Some("BOOLEAN") => (!value.is_boolean()).then(|| "true or false".to_owned()),
        Some(list) if list.ends_with("[]") => {
            let fits = value.as_array().is_some_and(|items| items.iter().all(Value::is_string));
            (!fits).then(|| "a list of texts".to_owned())
        }
        Some(_) => (!value.is_string()).then(|| "a text".to_owned()),
        None => None,
    }
}

/// A value as it stands in the file; a long one is cut.
fn brief(value: &Value) -> String {
    let text = value.to_string();
    if text.chars().count() > 60 { format!("{}…", text.chars().take(57).collect::<String>()) } else { text }
}

fn told(mistakes: &[String]) -> Error {
    match mistakes {
        [one] => Error::Invalid(one.clone()),
        several => Error::Invalid(format!("{} mistakes in the configuration:\n{}", several.len(), several.join("\n"))),
    }
}

/// JSON in which no object has a key twice: one of the two values would be ignored.
struct Unique(Value);

impl<'de> Deserialize<'de> for Unique {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        struct Any;
        impl<'de> Visitor<'de> for Any {
            type Value = Value;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a value")
            }
            fn visit_bool<E>(self, value: bool) -> std::result::Result<Value, E> {
                Ok(value.into())
            }
            fn visit_i64<E>(self, value: i64) -> std::result::Result<Value, E> {
                Ok(value.into())
            }
            fn visit_u64<E>(self, value: u64) -> std::result::Result<Value, E> {
                Ok(value.into())
            }
            fn visit_f64<E>(self, value: f64) -> std::result::Result<Value, E> {
                Ok(value.into())
            }
            fn visit_str<E>(self, value: &str) -> std::result::Result<Value, E> {
                Ok(value.into())
            }
            fn visit_unit<E>(self) -> std::result::Result<Value, E> {
                Ok(Value::Null)
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> std::result::Result<Value, A::Error> {
                let mut list = Vec::new();
                while let Some(Unique(item)) = items.next_element()? {
                    list.push(item);
                }
                Ok(Value::Array(list))
            }
            fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> std::result::Result<Value, A::Error> {
                let mut object = Map::new();
                while let Some(key) = entries.next_key::<String>()? {
                    if object.contains_key(&key) {
                        return Err(A::Error::custom(format!("a second '{key}'")));
                    }
                    let Unique(value) = entries.next_value()?;
                    object.insert(key, value);
                }
                Ok(Value::Object(object))
            }
        }
        deserializer.deserialize_any(Any).map(Unique)
    }
}
