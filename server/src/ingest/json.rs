//! Where a JSON body is wrong, for whoever sent it.

use std::{
    fmt,
    fs::File,
    io::{BufRead, BufReader},
    path::Path,
};

use serde::de::{Deserialize, Deserializer, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor};

/// An object, whatever is in it.
struct Record;

/// An object or an array of objects.
struct Records;

/// The first place that is no object in a line, or no array of objects; `None`: there is none.
pub(super) fn mistake(body: &Path, is_lines: bool) -> Option<String> {
    let mut reader = BufReader::new(File::open(body).ok()?);
    if !is_lines {
        let values = serde_json::Deserializer::from_reader(reader).into_iter::<Records>();
        return values.filter_map(Result::err).next().map(|error| told(&error, error.line()));
    }
    let mut line = Vec::new();
    for number in 1.. {
        line.clear();
        if reader.read_until(b'\n', &mut line).ok()? == 0 {
            break;
        }
        if let Err(error) = std::str::from_utf8(&line) {
            return Some(format!("line {number}, column {}: expected UTF-8", error.valid_up_to() + 1));
        }
        if !line.trim_ascii().is_empty()
            && let Err(error) = serde_json::from_slice::<Record>(&line)
        {
            return Some(told(&error, number));
        }
    }
    None
}

/// `line 2, column 14: expected value`
fn told(error: &serde_json::Error, line: usize) -> String {
    let text = error.to_string();
    let what = text.split(" at line ").next().unwrap_or_default();
    format!("line {line}, column {}: {what}", error.column())
}

impl<'de> Deserialize<'de> for Record {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Record, D::Error> {
        struct Objects;

        impl<'de> Visitor<'de> for Objects {
            type Value = Record;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("an object such as {\"symbol\": …, \"ts\": …}")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Record, A::Error> {
                let mut seen: Vec<String> = Vec::new();
                while let Some((key, _)) = map.next_entry::<String, IgnoredAny>()? {
                    if seen.contains(&key) {
                        return Err(A::Error::custom(format!("the key \"{}\" is there twice", key.escape_debug())));
                    }
                    // So many columns are none of bars.
                    if seen.len() < 100 {
                        seen.push(key);
                    }
                }
                Ok(Record)
            }
        }
        deserializer.deserialize_map(Objects)
    }
}

impl<'de> Deserialize<'de> for Records {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Records, D::Error> {
        struct Values;

        impl<'de> Visitor<'de> for Values {
            type Value = Records;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("an array of objects such as {\"symbol\": …, \"ts\": …}")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut values: A) -> Result<Records, A::Error> {
                while values.next_element::<Record>()?.is_some() {}
                Ok(Records)
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Records, A::Error> {
                Record::deserialize(serde::de::value::MapAccessDeserializer::new(map)).map(|_| Records)
            }
        }
        deserializer.deserialize_any(Values)
    }
}
