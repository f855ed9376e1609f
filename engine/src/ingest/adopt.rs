//! Bars that stay where they are: a view that gives a table, a view or Parquet files the columns of bars.

use std::path::Path;

use duckdb::types::Value;

use super::{
    layout::{Layout, Mapping},
    named,
    reader::{Kind, Reader, Values, is_bar_file},
};
use crate::{
    Engine, Error, Result,
    call::{literal, quoted},
};

/// What the comment on a view starts with that may be replaced.
const MARK: &str = "scanner adopt: ";

impl Engine {
    /// Makes the engine's source a view of a table, a view, or a Parquet file or folder. Nothing is copied. `replace` allows to replace an adopted
    /// view, and nothing else.
    ///
    /// # Errors
    /// [`Error::Invalid`] when there is no such relation, a column is not found, or the source is there already.
    pub fn adopt(&self, relation: &str, layout: &Layout, replace: bool) -> Result<()> {
        let name = self.source_name()?;
        if relation.eq_ignore_ascii_case(name) {
            return Err(Error::Invalid(format!(
                "{relation} cannot be a view of itself; rename it first, as in ALTER TABLE {relation} RENAME TO raw_{relation}, and adopt raw_{relation}"
            )));
        }
        let reader = self.adopted_reader(relation)?;
        self.check_free(name, replace)?;

        let select = self.adopted_select(layout, &reader).map_err(|error| named(relation, error))?;
        let view = name.split('.').map(quoted).collect::<Vec<_>>().join(".");
        let comment = literal(&Value::Text(format!("{MARK}{relation}")));
        self.in_transaction(|| {
            let sql = format!("CREATE OR REPLACE VIEW {view} AS {select}; COMMENT ON VIEW {view} IS {comment}");
            self.connection.execute_batch(&sql)?;
            // Its types are only checked when it is read.
            Ok(self.connection.execute_batch(&format!("FROM {view} LIMIT 0"))?)
        })
        .map_err(|error| named(relation, error))
    }

    fn adopted_select(&self, layout: &Layout, reader: &Reader) -> Result<String> {
        let mapping = Mapping::new(layout, reader, &self.found_columns(reader)?)?;
        let clock = self.clock(layout, &mapping, reader)?;
        let mut values = Values::Written;
        let symbol = mapping.symbol(&mut values);
        let ts = mapping.timestamp(clock, &mut values)?;
        let [open, high, low, close] = [2, 3, 4, 5].map(|target| mapping.number(target, "DOUBLE"));
        let volume = mapping.number(6, "BIGINT");
        Ok(format!(
            "SELECT {symbol} AS symbol, {ts} AS ts, {open} AS open, {high} AS high, {low} AS low, {close} AS close, {volume} AS volume FROM {} AS file_row",
            reader.call(&mut values, "")
        ))
    }

    /// The relation of the database, or the Parquet files by their whole path: the view is read from other folders, too.
    fn adopted_reader(&self, relation: &str) -> Result<Reader> {
        let path = Path::new(relation);
        let whole = |path: &Path| {
            std::path::absolute(path)
                .map(|path| path.display().to_string())
                .map_err(|source| Error::File { path: path.to_path_buf(), source })
        };
        if path.is_dir() {
            let reader = Reader { kind: Kind::Parquet, name: whole(&path.join("**").join("*.parquet"))?, is_pattern: true };
            return match self.connection.query_row("SELECT count(*) FROM glob(?)", [&reader.name], |row| row.get::<_, i64>(0))? {
                0 => Err(Error::Invalid(format!("{relation}: there is no .parquet file in this folder"))),
                _ => Ok(reader),
            };
        }
        let is_pattern = relation.contains('*');
        if path.is_file() || is_pattern {
            if !relation.to_lowercase().ends_with(".parquet") && !relation.to_lowercase().ends_with(".pq") {
                return Err(Error::Invalid(if is_bar_file(path) {
                    format!("{relation} is not Parquet, and would be read whole by every scan; take it in with 'scanner ingest {relation}'")
                } else {
                    format!(
                        "{relation} cannot be adopted; expected a table or view of {}, a Parquet file, or a folder of them",
                        self.name()
                    )
                }));
            }
            return Ok(Reader { kind: Kind::Parquet, name: whole(path)?, is_pattern });
        }
        if relation.contains(['/', '\\']) || relation.to_lowercase().ends_with(".parquet") {
            return Err(Error::no_file(path.to_path_buf()));
        }
        if !self.has_relation(relation) {
            let mut statement = self.connection.prepare(
                "SELECT table_name FROM information_schema.tables WHERE table_catalog = current_database() ORDER BY table_name LIMIT 20",
            )?;
            let known: Vec<String> = statement.query_map([], |row| row.get(0))?.collect::<std::result::Result<_, _>>()?;
            let known = if known.is_empty() { "it has none".to_owned() } else { format!("it has {}", known.join(", ")) };
            return Err(Error::Invalid(format!(
                "{} has no relation '{relation}', and there is no such file or folder; {known}",
                self.name()
            )));
        }
        let name = relation.split('.').map(quoted).collect::<Vec<_>>().join(".");
        Ok(Reader { kind: Kind::Relation, name, is_pattern: false })
    }

    /// Nothing but what was adopted before is replaced.
    fn check_free(&self, name: &str, replace: bool) -> Result<()> {
        let parts: Vec<&str> = name.split('.').collect();
        let table = parts.last().copied().unwrap_or_default();
        let schema = parts.iter().rev().nth(1).copied();
        let mut statement = self.connection.prepare(
            "SELECT kind, comment FROM (SELECT 'table' AS kind, database_name, schema_name, table_name AS name, comment FROM duckdb_tables() \
             UNION ALL SELECT 'view', database_name, schema_name, view_name, comment FROM duckdb_views()) \
             WHERE database_name = current_database() AND lower(schema_name) = lower(coalesce($2, current_schema())) AND lower(name) = lower($1)",
        )?;
        let mut rows = statement.query(duckdb::params![table, schema])?;
        let Some(row) = rows.next()? else { return Ok(()) };
        let (kind, comment): (String, Option<String>) = (row.get(0)?, row.get(1)?);
        let adopted = comment.as_deref().and_then(|comment| comment.strip_prefix(MARK));
        match (kind.as_str(), adopted) {
            ("view", Some(_)) if replace => Ok(()),
            ("view", Some(before)) => {
                Err(Error::Invalid(format!("{name} is a view of {before} already; --replace puts the new one in its place")))
            }
            _ => Err(Error::Invalid(format!(
                "{} has a {kind} '{name}' that was not adopted, and it stays as it is; name the view otherwise with --source, as in --source {name}_adopted",
                self.name()
            ))),
        }
    }
}
