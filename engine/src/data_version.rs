//! What tells one state of the bars from another.

use std::{
    fs,
    path::{Path, PathBuf},
    time::UNIX_EPOCH,
};

use crate::{Engine, Location, Query, Result, Value};

impl Engine {
    /// A text that is another one after every change of the source; `None`: that cannot be told. A table changes with its database file, a
    /// file by itself; a view may read anything.
    ///
    /// # Errors
    /// What DuckDB says.
    pub fn data_version(&self) -> Result<Option<String>> {
        let source = self.source();
        if Path::new(source).is_file() {
            return Ok(file_version(Path::new(source)));
        }
        let Location::File(database) = &self.options.location else { return Ok(None) };
        let is_table = self.text(Query::with_values(
            "SELECT 'table' FROM duckdb_tables() AS entry WHERE entry.table_name = ? AND entry.database_name = current_database() \
             AND entry.schema_name = 'main' LIMIT 1",
            vec![Value::Text(source.to_owned())],
        ))?;
        if is_table.is_none() {
            return Ok(None);
        }
        Ok(file_version(database))
    }
}

/// A text that is another one after every change of a file, be it a database with its log; `None`: it is not there.
#[must_use]
pub fn file_version(path: &Path) -> Option<String> {
    let mut log = path.as_os_str().to_owned();
    log.push(".wal");
    stamp(path).map(|version| match stamp(&PathBuf::from(log)) {
        Some(log) => format!("{version}+{log}"),
        None => version,
    })
}

/// The file, its length and the time of its last change.
fn stamp(path: &Path) -> Option<String> {
    let metadata = fs::metadata(path).ok()?;
    let changed = metadata.modified().ok()?.duration_since(UNIX_EPOCH).ok()?;
    Some(format!("{}:{}@{}", std::path::absolute(path).ok()?.display(), metadata.len(), changed.as_nanos()))
}
