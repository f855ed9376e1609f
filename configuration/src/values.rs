//! Types of values that say themselves what they allow.

use std::{
    borrow::Cow,
    fmt,
    path::{Path, PathBuf},
};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{
    Deserialize, Deserializer, Serialize,
    de::{Error, Visitor},
};

/// A text with more than white space in it, for schemas.
const NOT_EMPTY: &str = r"\S";

/// A time of day, for schemas.
pub const TIME_OF_DAY: &str = "^(([01]?[0-9]|2[0-3]):[0-5][0-9](:[0-5][0-9])?|24:00(:00)?)$";

/// The same in words.
pub(crate) const A_TIME_OF_DAY: &str = "a time of day such as \"09:50\"";

/// The address of a webhook, for schemas.
pub(crate) const WEB_ADDRESS: &str = r"^https?://[^/?#@\s]+([/?#]\S*)?$";

/// The same in words.
pub(crate) const A_WEB_ADDRESS: &str = "an address that starts with https:// or http://, without name and password";

/// A whole number from `LEAST` to `MOST`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Whole<const LEAST: u64, const MOST: u64>(pub u64);

impl<'de, const LEAST: u64, const MOST: u64> Deserialize<'de> for Whole<LEAST, MOST> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Expecting<const LEAST: u64, const MOST: u64>;
        impl<const LEAST: u64, const MOST: u64> Visitor<'_> for Expecting<LEAST, MOST> {
            type Value = u64;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                match MOST {
                    u64::MAX => write!(f, "a whole number, {LEAST} or more"),
                    _ => write!(f, "a whole number from {LEAST} to {MOST}"),
                }
            }
            fn visit_u64<E: Error>(self, value: u64) -> Result<u64, E> {
                if (LEAST..=MOST).contains(&value) {
                    Ok(value)
                } else {
                    Err(E::invalid_value(serde::de::Unexpected::Unsigned(value), &self))
                }
            }
            fn visit_f64<E: Error>(self, value: f64) -> Result<u64, E> {
                // 300.0 is a whole number, too.
                #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "far inside of what a double holds exactly")]
                if value.fract() == 0.0 && (0.0..=9e15).contains(&value) {
                    self.visit_u64(value as u64)
                } else {
                    Err(E::invalid_value(serde::de::Unexpected::Float(value), &self))
                }
            }
        }
        deserializer.deserialize_any(Expecting::<LEAST, MOST>).map(Whole)
    }
}

impl<const LEAST: u64, const MOST: u64> JsonSchema for Whole<LEAST, MOST> {
    fn inline_schema() -> bool {
        true
    }
    fn schema_name() -> Cow<'static, str> {
        format!("Whole_{LEAST}_{MOST}").into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        let mut schema = json_schema!({"type": "integer", "minimum": LEAST});
        if MOST != u64::MAX {
            schema.insert("maximum".to_owned(), MOST.into());
        }
        schema
    }
}

/// A number from `LEAST` to `MOST`.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[serde(transparent)]
pub struct Number<const LEAST: i64, const MOST: i64>(pub f64);

impl<'de, const LEAST: i64, const MOST: i64> Deserialize<'de> for Number<LEAST, MOST> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Expecting<const LEAST: i64, const MOST: i64>;
        impl<const LEAST: i64, const MOST: i64> Visitor<'_> for Expecting<LEAST, MOST> {
            type Value = f64;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                match MOST {
                    i64::MAX => write!(f, "a number, {LEAST} or more"),
                    _ => write!(f, "a number from {LEAST} to {MOST}"),
                }
            }
            fn visit_f64<E: Error>(self, value: f64) -> Result<f64, E> {
                #[expect(clippy::cast_precision_loss, reason = "limits are small numbers")]
                let (least, most) = (LEAST as f64, if MOST == i64::MAX { f64::MAX } else { MOST as f64 });
                if (least..=most).contains(&value) { Ok(value) } else { Err(E::invalid_value(serde::de::Unexpected::Float(value), &self)) }
            }
            #[expect(clippy::cast_precision_loss, reason = "as JSON means it")]
            fn visit_u64<E: Error>(self, value: u64) -> Result<f64, E> {
                self.visit_f64(value as f64)
            }
            #[expect(clippy::cast_precision_loss, reason = "as JSON means it")]
            fn visit_i64<E: Error>(self, value: i64) -> Result<f64, E> {
                self.visit_f64(value as f64)
            }
        }
        deserializer.deserialize_any(Expecting::<LEAST, MOST>).map(Number)
    }
}

impl<const LEAST: i64, const MOST: i64> JsonSchema for Number<LEAST, MOST> {
    fn inline_schema() -> bool {
        true
    }
    fn schema_name() -> Cow<'static, str> {
        format!("Number_{LEAST}_{MOST}").into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        let mut schema = json_schema!({"type": "number", "minimum": LEAST});
        if MOST != i64::MAX {
            schema.insert("maximum".to_owned(), MOST.into());
        }
        schema
    }
}

/// A text that is not empty.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Text(pub String);

impl JsonSchema for Text {
    fn inline_schema() -> bool {
        true
    }
    fn schema_name() -> Cow<'static, str> {
        "Text".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"title": "a text that is not empty", "type": "string", "pattern": NOT_EMPTY})
    }
}

impl<'de> Deserialize<'de> for Text {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        not_empty(deserializer, "a text that is not empty").map(Text)
    }
}

/// A folder. Relative to the file that names it; `~` is the home folder.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Folder(pub PathBuf);

impl Folder {
    /// The folder as seen from here, when a file in `place` names it.
    #[must_use]
    pub fn from(&self, place: &Path) -> Folder {
        Folder(seen_from(place, &self.0))
    }
}

/// A file. Relative to the configuration file that names it; `~` is the home folder.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct File(pub PathBuf);

impl File {
    /// The file as seen from here, when a configuration file in `place` names it.
    #[must_use]
    pub fn from(&self, place: &Path) -> File {
        File(seen_from(place, &self.0))
    }
}

fn seen_from(place: &Path, path: &Path) -> PathBuf {
    match (path.strip_prefix("~"), std::env::home_dir()) {
        (Ok(rest), Some(home)) => home.join(rest),
        _ => place.join(path),
    }
}

impl JsonSchema for File {
    fn inline_schema() -> bool {
        true
    }
    fn schema_name() -> Cow<'static, str> {
        "File".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"title": "the path of a file", "type": "string", "pattern": NOT_EMPTY})
    }
}

impl<'de> Deserialize<'de> for File {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        not_empty(deserializer, "the path of a file").map(|text| File(text.into()))
    }
}

/// Reads the address of a webhook.
pub(crate) fn web_address<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Text, D::Error> {
    let address = not_empty(deserializer, A_WEB_ADDRESS)?;
    let rest = address.strip_prefix("https://").or_else(|| address.strip_prefix("http://"));
    let host = rest.map(|rest| rest.split(['/', '?', '#']).next().unwrap_or_default());
    match host {
        Some(host) if !host.is_empty() && !host.contains('@') && !address.contains(|letter: char| letter.is_whitespace()) => {
            Ok(Text(address))
        }
        _ => Err(D::Error::invalid_value(serde::de::Unexpected::Str(&address), &A_WEB_ADDRESS)),
    }
}

impl JsonSchema for Folder {
    fn inline_schema() -> bool {
        true
    }
    fn schema_name() -> Cow<'static, str> {
        "Folder".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"title": "the path of a folder", "type": "string", "pattern": NOT_EMPTY})
    }
}

impl<'de> Deserialize<'de> for Folder {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        not_empty(deserializer, "the path of a folder").map(|text| Folder(text.into()))
    }
}

fn not_empty<'de, D: Deserializer<'de>>(deserializer: D, expected: &'static str) -> Result<String, D::Error> {
    struct Expecting(&'static str);
    impl Visitor<'_> for Expecting {
        type Value = String;
        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str(self.0)
        }
        fn visit_str<E: Error>(self, text: &str) -> Result<String, E> {
            if text.trim().is_empty() { Err(E::invalid_value(serde::de::Unexpected::Str(text), &self)) } else { Ok(text.to_owned()) }
        }
    }
    deserializer.deserialize_any(Expecting(expected))
}
