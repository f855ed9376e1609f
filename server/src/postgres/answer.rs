//! The answer of a statement as messages of PostgreSQL's: in the process of the statement.

use std::{
    collections::HashSet,
    io::{self, Write},
    sync::{Arc, LazyLock},
    time::Duration,
};

use arrow::{
    array::{ArrayRef, RecordBatch},
    compute::cast,
    datatypes::{DataType, Field, Schema, SchemaRef},
};
use serde::{Deserialize, Serialize};
use stockscan_engine::{Engine, Error, Flow, Query, Result};
use stockscan_formats::arrow_error;

use super::{
    session::SETTINGS,
    types::{Column, Parameter, Rows},
};
use crate::{
    allowed::{self, Values},
    statement::Reply,
};

/// PostgreSQL's catalogue, made of DuckDB's. The settings are those of a session.
static CATALOGUE: LazyLock<String> = LazyLock::new(|| {
    let settings: Vec<String> = SETTINGS.iter().map(|(name, value, _)| format!("('{name}', '{value}')")).collect();
    format!(
        "CREATE TEMP VIEW pg_settings AS \
         SELECT s.name, s.setting, NULL::VARCHAR AS unit, 'Preset Options' AS category, '' AS short_desc, 'internal' AS context, \
         'string' AS vartype, 'default' AS source, s.setting AS boot_val, s.setting AS reset_val \
         FROM (VALUES {}) AS s (name, setting);\n{}",
        settings.join(", "),
        include_str!("catalogue.sql")
    )
});
/// What a client of PostgreSQL asks for besides the statement.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Wire {
    /// The values of the statement's parameters.
    pub(crate) parameters: Vec<Parameter>,
    /// Which columns are to be in binary: none, one for all or one for each.
    pub(crate) formats: Vec<i16>,
    /// Whether only the columns are asked for.
    pub(crate) is_description: bool,
}

/// Writes the columns, as a line, and the rows; returns how many. `is_begun`: whether the columns are written.
///
/// # Errors
/// As [`Engine::stream`], [`Error::Invalid`] for a statement that is not allowed, [`Error::Stopped`] for more than `max_rows` rows.
pub(crate) fn answer_in_messages(
    engine: &Engine,
    sql: &str,
    wire: &Wire,
    allowed: Duration,
    max_rows: usize,
    output: &mut impl Write,
    is_begun: &mut bool,
) -> Result<usize> {
    if needs_catalogue(sql) {
        engine.connection().execute_batch(&CATALOGUE)?;
    }
    let values = wire.parameters.iter().map(Parameter::value).collect::<Result<Vec<_>>>()?;
    let bound = if values.is_empty() { Values::None } else { Values::Bound };
    allowed::check(engine.connection(), sql, bound)?;
    let (sql, max_rows) = if wire.is_description {
        let around = format!("SELECT * FROM (\n{sql}\n) LIMIT 0");
        allowed::check(engine.connection(), &around, bound)?;
        (around, 0)
    } else {
        (sql.to_owned(), max_rows)
    };
    let mut count = 0;
    engine
        .stream(&Query::with_values(sql, values), Some(allowed), |given| {
            let schema = without_dictionaries(given);
            let columns: Vec<Column> = schema.fields().iter().map(|field| Column::of(field)).collect();
            let mut rows = Rows::new(columns.clone(), &wire.formats)?;
            serde_json::to_writer(&mut *output, &Reply::Columns { columns }).map_err(io::Error::from)?;
            output.write_all(b"\n")?;
            *is_begun = true;
            let count = &mut count;
            Ok(move |batch: RecordBatch| {
                let batch = plain(&batch, &schema)?;
                if *count + batch.num_rows() > max_rows {
                    rows.write(&batch.slice(0, max_rows - *count), output)?;
                    return Err(Error::Stopped(format!("the statement has more than {max_rows} rows, which is all that is sent")));
                }
                rows.write(&batch, output)?;
                output.flush()?;
                *count += batch.num_rows();
                Ok(Flow::More)
            })
        })
        .map_err(|error| match error {
            Error::Database(text) if text.starts_with("Wrong number of parameters") => {
                Error::Invalid(format!("{text}; expected $1, $2 and so on, each of them used"))
            }
            other => other,
        })?;
    Ok(count)
}

/// Whether a word of the statement is one of the catalogue's, which takes its time to make.
fn needs_catalogue(sql: &str) -> bool {
    let made = CATALOGUE.lines().filter_map(|line| line.strip_prefix("CREATE TEMP ")?.split([' ', '(']).nth(1));
    let made: HashSet<&str> = made.collect();
    let is_part = |letter: char| letter.is_alphanumeric() || letter == '_';
    sql.to_ascii_lowercase().split(|letter| !is_part(letter)).any(|word| made.contains(word))
}

/// Texts where DuckDB sends numbers of texts.
fn without_dictionaries(schema: &SchemaRef) -> SchemaRef {
    let fields = schema.fields().iter().map(|field| match field.data_type() {
        DataType::Dictionary(_, values) => Arc::new(Field::new(field.name(), values.as_ref().clone(), true)),
        _ => Arc::clone(field),
    });
    Arc::new(Schema::new(fields.collect::<Vec<_>>()))
}

fn plain(batch: &RecordBatch, schema: &SchemaRef) -> Result<RecordBatch> {
    let columns = batch.columns().iter().zip(schema.fields()).map(|(column, field)| {
        if column.data_type() == field.data_type() { Ok(Arc::clone(column)) } else { cast(column, field.data_type()) }
    });
    let columns: Vec<ArrayRef> = columns.collect::<std::result::Result<_, _>>().map_err(arrow_error)?;
    if columns.is_empty() { Ok(batch.clone()) } else { RecordBatch::try_new(Arc::clone(schema), columns).map_err(arrow_error) }
}
