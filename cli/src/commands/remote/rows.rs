//! Rows from a server: as they come, or out of a document, with the types that they have where they are made.

use arrow::{array::RecordBatch, ipc::reader::StreamReader};
use stockscan_engine::{Engine, Error, Options, Query, Result, quoted_text};

use super::client::{ARROW, Answer};
use crate::{
    arguments::{Global, Output},
    commands::{own_scanners, text},
    output,
    table::Numbers,
};

/// DuckDB without any bars: it knows the scanners, their parameters and the types of their rows.
pub(super) fn engine(global: &Global) -> Result<Engine> {
    let engine = Engine::open(Options {
        scanners_directory: own_scanners(global)?,
        threads: global.threads,
        memory_limit: global.memory_limit.clone(),
        ..Options::memory()
    })?;
    engine.connection().execute_batch(
        "CREATE TABLE bars (symbol VARCHAR, ts TIMESTAMP, open DOUBLE, high DOUBLE, low DOUBLE, close DOUBLE, volume BIGINT)",
    )?;
    Ok(engine)
}

/// The rows of a document as a query: the array at a path of it, or the one object there. They get the columns that `like` has; `None`: those
/// that they seem to have.
pub(super) fn of_document(engine: &Engine, document: &str, path: &str, like: Option<&Query>) -> Result<Query> {
    let structure = match like {
        Some(like) => columns(engine, like)?,
        None => seeming(engine, document, path)?,
    };
    let Some(structure) = structure else { return Ok(Query::plain("SELECT 1 AS nothing LIMIT 0")) };
    let sql = format!(
        "WITH found AS (SELECT json_extract(CAST(? AS JSON), {path}) AS rows) \
         SELECT unnest(from_json(CASE json_type(found.rows) WHEN 'ARRAY' THEN found.rows WHEN 'OBJECT' THEN json_array(found.rows) ELSE '[]' END, \
         {}), max_depth := 2) FROM found",
        quoted_text(&structure),
        path = quoted_text(path),
    );
    Ok(Query::with_values(sql, vec![text(document)]))
}

/// The columns of a query, as from_json() wants them.
fn columns(engine: &Engine, like: &Query) -> Result<Option<String>> {
    let describe = Query {
        sql: format!(
            "SELECT CAST(json_array(json_group_object(found.column_name, found.column_type)) AS VARCHAR) FROM (DESCRIBE {}) AS found",
            like.sql
        ),
        ..like.clone()
    };
    engine.text(Query { scanner: None, ..describe })
}

/// The columns that rows seem to have; `None`: there is no row.
fn seeming(engine: &Engine, document: &str, path: &str) -> Result<Option<String>> {
    let sql = format!(
        "SELECT CASE WHEN json_array_length(CAST(? AS JSON), {path}) > 0 \
         THEN CAST(json_structure(json_extract(CAST(? AS JSON), {path})) AS VARCHAR) END",
        path = quoted_text(path)
    );
    let found = engine.text(Query::with_values(sql, vec![text(document), text(document)]))?;
    Ok(found.map(|structure| structure.replace("\"UBIGINT\"", "\"BIGINT\"").replace("\"NULL\"", "\"VARCHAR\"")))
}

/// How rows that come from a server are written.
pub(super) struct Written<'a> {
    pub(super) outputs: (&'a Output, Option<&'a Output>),
    pub(super) numbers: Numbers,
    pub(super) units: &'a [(String, String)],
    /// Columns that are left out.
    pub(super) without: &'a [&'a str],
}

/// Writes the rows of an answer as they come. Returns how many.
pub(super) fn write(answer: Answer, written: &Written<'_>) -> Result<u64> {
    if answer.media_type() != ARROW {
        return Err(Error::Database(format!(
            "the server answers with {} where rows were asked for; is that a Stockscan server?",
            answer.media_type()
        )));
    }
    let (pieces, failure) = answer.reader();
    let reader = StreamReader::try_new(pieces, None).map_err(|error| failure.reason(error))?;
    let schema = reader.schema();
    let kept: Vec<usize> =
        (0..schema.fields().len()).filter(|place| !written.without.contains(&schema.field(*place).name().as_str())).collect();
    let only = |batch: RecordBatch| batch.project(&kept).map_err(|error| Error::Database(error.to_string()));
    let narrowed = only(RecordBatch::new_empty(schema))?.schema();
    let mut broken = None;
    let batches = reader.map_while(|batch| match batch {
        Ok(batch) => Some(only(batch)),
        Err(error) => {
            broken = Some(error);
            // Told as what it is below.
            Some(Err(Error::Interrupted))
        }
    });
    let outcome = output::write_arriving(&narrowed, batches, written.outputs, written.numbers, written.units);
    match broken {
        Some(error) => Err(match failure.reason(error) {
            // In the words of a query that is interrupted.
            Error::Interrupted => outcome.err().unwrap_or(Error::Interrupted),
            other => other,
        }),
        None => outcome,
    }
}
