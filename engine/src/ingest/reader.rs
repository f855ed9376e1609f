//! What bars are read from: a file, by its ending, or a relation of the database.

use std::path::{Path, PathBuf};

use arrow::datatypes::DataType;
use duckdb::types::Value;

use crate::{Engine, Error, Query, Result, call::literal};

/// The formats.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// CSV of any dialect.
    Csv,
    /// CSV after RFC 4180, with a header.
    PlainCsv,
    Parquet,
    /// JSON of any shape.
    Json,
    /// An object in each line.
    Lines,
    /// A table or view, whose name is SQL text.
    Relation,
}

/// Something that has rows.
#[derive(Debug, Clone)]
pub(super) struct Reader {
    pub(super) kind: Kind,
    /// The path, or the relation's name as SQL text.
    pub(super) name: String,
    /// The path stands for several files.
    pub(super) is_pattern: bool,
}

impl Reader {
    /// A file that is there, of a known ending.
    pub(super) fn of_file(path: &Path) -> Result<Reader> {
        if !path.exists() {
            return Err(Error::no_file(path.to_path_buf()));
        }
        let kind = kind_of(path).ok_or_else(|| {
            Error::Invalid(
                "the ending tells the format; expected .csv, .tsv, .txt, .parquet, .json, .ndjson or .jsonl, also with .gz or .zst"
                    .to_owned(),
            )
        })?;
        Ok(Reader { kind, name: path.display().to_string(), is_pattern: false })
    }

    pub(super) fn is_csv(&self) -> bool {
        matches!(self.kind, Kind::Csv | Kind::PlainCsv)
    }

    pub(super) fn is_json(&self) -> bool {
        matches!(self.kind, Kind::Json | Kind::Lines)
    }

    /// The reading table function, or the relation.
    pub(super) fn call(&self, values: &mut Values, types: &str) -> String {
        match self.kind {
            // What cannot be read is kept aside by DuckDB, with its line.
            Kind::Csv => format!("read_csv({}, store_rejects = true, rejects_limit = 0{types})", values.text(&self.name)),
            // Nothing to find out: that takes a third of the time.
            Kind::PlainCsv => format!(
                "read_csv({}, header = true, delim = ',', quote = '\"', escape = '\"', store_rejects = true, rejects_limit = 0{types})",
                values.text(&self.name)
            ),
            Kind::Parquet => {
                format!("read_parquet({}{})", values.text(&self.name), if self.is_pattern { ", filename = true" } else { "" })
            }
            Kind::Json => format!("read_json({}{types})", values.text(&self.name)),
            Kind::Lines => format!("read_json({}, format = 'newline_delimited'{types})", values.text(&self.name)),
            Kind::Relation => self.name.clone(),
        }
    }
}

/// Whether a file of this name can be taken in, by its ending.
#[must_use]
pub fn is_bar_file(path: &Path) -> bool {
    kind_of(path).is_some()
}

fn kind_of(path: &Path) -> Option<Kind> {
    let path = path.to_string_lossy().to_lowercase();
    let plain = path.strip_suffix(".gz").or_else(|| path.strip_suffix(".zst")).unwrap_or(&path);
    match PathBuf::from(plain).extension()?.to_str()? {
        "csv" | "tsv" | "txt" => Some(Kind::Csv),
        "parquet" | "pq" => Some(Kind::Parquet),
        "json" | "ndjson" | "jsonl" => Some(Kind::Json),
        _ => None,
    }
}

/// The values of a statement that is being put together.
#[derive(Debug)]
pub(super) enum Values {
    /// Bound, as everywhere.
    Bound(Vec<Value>),
    /// Written into the text, as the definition of a view needs it.
    Written,
}

impl Values {
    /// Adds a text and returns how the statement names it.
    pub(super) fn text(&mut self, text: &str) -> String {
        let value = Value::Text(text.to_owned());
        match self {
            Values::Bound(values) => {
                values.push(value);
                format!("${}", values.len())
            }
            Values::Written => literal(&value),
        }
    }

    /// What there is to bind.
    pub(super) fn bound(self) -> Vec<Value> {
        match self {
            Values::Bound(values) => values,
            Values::Written => Vec::new(),
        }
    }
}

impl Engine {
    /// Names and types of the columns. What stands in JSON is told by all of its rows, not by the first ones: it is read as text.
    pub(super) fn found_columns(&self, reader: &Reader) -> Result<Vec<(String, DataType)>> {
        let mut values = Values::Bound(Vec::new());
        let sql = format!("FROM {} LIMIT 0", reader.call(&mut values, ""));
        let (schema, _) = self.collect(&Query::with_values(sql, values.bound()), None)?;
        let type_of = |data_type: &DataType| if reader.is_json() { DataType::Utf8 } else { data_type.clone() };
        Ok(schema.fields().iter().map(|field| (field.name().clone(), type_of(field.data_type()))).collect())
    }
}
