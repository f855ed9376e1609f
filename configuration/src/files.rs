//! Where configuration files may be, and what they say.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use serde_json::Value;

use crate::{
    OLD_DASHBOARD, Origin, SECTIONS,
    check::{brief, check, check_rule},
    unique::Unique,
};

/// The key at the top of a file that names its schema. It is for editors.
pub(crate) const SCHEMA: &str = "$schema";

/// A place where a configuration file may be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// Whose it is: `yours`, `this folder's` or `named`.
    pub whose: &'static str,
    /// The file.
    pub path: PathBuf,
}

/// What a file or a variable sets.
#[derive(Debug, Clone, PartialEq)]
pub struct Layer {
    /// The file or the variable.
    pub origin: Origin,
    /// Section, key and value, as they stand there; an old name of a section is the new one.
    pub settings: Vec<(String, String, Value)>,
}

/// The places, those that win later. `named` is the file of `--config-file`.
#[must_use]
pub fn places(named: Option<&Path>) -> Vec<Place> {
    let home = std::env::var_os("XDG_CONFIG_HOME").map(PathBuf::from).filter(|path| path.is_absolute());
    let home = home.or_else(|| std::env::home_dir().filter(|home| !home.as_os_str().is_empty()).map(|home| home.join(".config")));
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
    pub fn read(&self) -> Result<Option<Layer>, Vec<String>> {
        let text = match fs::read(&self.path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound && self.whose != "named" => return Ok(None),
            Err(error) => return Err(vec![format!("{}: {error}; expected a configuration file", self.path.display())]),
        };
        let content = parse(&self.path, &text).map_err(|mistake| vec![mistake])?;
        layer(&self.path, &content).map(Some)
    }
}

/// The JSON of a file.
pub(crate) fn parse(path: &Path, bytes: &[u8]) -> Result<Value, String> {
    let bytes = bytes.strip_prefix("\u{feff}".as_bytes()).unwrap_or(bytes);
    let Unique(content) = serde_json::from_slice(bytes).map_err(|error| {
        let text = error.to_string();
        let text = text.split(" at line ").next().unwrap_or_default();
        format!("{}:{}:{}: {text}; expected JSON", path.display(), error.line().max(1), error.column())
    })?;
    Ok(content)
}

/// Checks the content of a file, as far as that can be done without the catalogue.
pub(crate) fn layer(path: &Path, content: &Value) -> Result<Layer, Vec<String>> {
    let shown = path.display();
    let Value::Object(sections) = content else {
        return Err(vec![format!("{shown}: {}; expected an object with sections such as {}", brief(content), SECTIONS.join(", "))]);
    };
    let (mut settings, mut mistakes) = (Vec::new(), Vec::new());
    if sections.contains_key(OLD_DASHBOARD) && sections.contains_key("dashboard") {
        mistakes.push(format!("{shown}: sections 'dashboard' and '{OLD_DASHBOARD}', its old name; expected one of them"));
    }
    for (section, keys) in sections {
        if section == SCHEMA {
            if !keys.is_string() {
                mistakes.push(format!("{shown}: {SCHEMA} is {}; expected the address of the schema, a text", brief(keys)));
            }
            continue;
        }
        let Value::Object(keys) = keys else {
            mistakes.push(format!("{shown}: {section} is {}; expected an object, as in {{\"{section}\": {{…}}}}", brief(keys)));
            continue;
        };
        let known = if section == OLD_DASHBOARD { "dashboard" } else { section.as_str() };
        for (key, value) in keys {
            let found = match known {
                "alerts" => check_rule(key, value),
                _ => check(known, key, value).err().map(|mistake| mistake.told(section, key, value)).into_iter().collect(),
            };
            if found.is_empty() {
                settings.push((known.to_owned(), key.clone(), value.clone()));
            }
            mistakes.extend(found.into_iter().map(|mistake| format!("{shown}: {mistake}")));
        }
    }
    if mistakes.is_empty() { Ok(Layer { origin: Origin::File(path.to_path_buf()), settings }) } else { Err(mistakes) }
}
