//! Running a statement: bound values in, Arrow batches out, with a deadline.

use std::{
    sync::{
        atomic::{AtomicBool, Ordering},
        mpsc::{self, RecvTimeoutError},
    },
    thread,
    time::Duration,
};

use arrow::{datatypes::SchemaRef, record_batch::RecordBatch};
use duckdb::{params_from_iter, types::Value};
use sqlparser::{
    dialect::DuckDbDialect,
    tokenizer::{Location, Token, Tokenizer},
};

use crate::{Engine, Error, Result, own_scanners};

/// One statement with its values.
#[derive(Debug, Clone, PartialEq)]
pub struct Query {
    /// SQL with a `?` for each value.
    pub sql: String,
    /// The values, in order.
    pub values: Vec<Value>,
    /// The scanner whose result this is, which must have the columns that every scanner has.
    pub scanner: Option<String>,
}

impl Query {
    /// A statement without values.
    #[must_use]
    pub fn plain(sql: impl Into<String>) -> Query {
        Query::with_values(sql, Vec::new())
    }

    /// A statement with a `?` for each value.
    #[must_use]
    pub fn with_values(sql: impl Into<String>, values: Vec<Value>) -> Query {
        Query { sql: sql.into(), values, scanner: None }
    }
}

/// Whether a consumer wants more batches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flow {
    /// Go on.
    More,
    /// Enough: the query is ended.
    Enough,
}

impl Engine {
    /// Runs a statement. `begin` gets the schema once, before the first row, and returns what takes the batches.
    ///
    /// Batches are fetched as they are taken, so memory does not grow with the result.
    ///
    /// # Errors
    /// [`Error::Timeout`] when `deadline` passes, [`Error::Interrupted`], [`Error::MissingColumns`] of a user's own scanner, what the consumer
    /// returns, or what DuckDB says.
    pub fn stream<S>(&self, query: &Query, deadline: Option<Duration>, begin: impl FnOnce(&SchemaRef) -> Result<S>) -> Result<()>
    where
        S: FnMut(RecordBatch) -> Result<Flow>,
    {
        self.within(deadline, || {
            let mut statement = self.connection.prepare(&query.sql).map_err(|error| self.explained(&error))?;
            let mut batches = statement.stream_arrow(params_from_iter(query.values.iter())).map_err(|error| self.explained(&error))?;
            let schema = batches.get_schema();
            if let Some(scanner) = &query.scanner {
                own_scanners::check_columns(scanner, &schema)?;
            }
            let mut take = begin(&schema)?;
            for batch in batches.by_ref() {
                if take(batch.map_err(|error| self.explained(&error))?)? == Flow::Enough {
                    break;
                }
            }
            Ok(())
        })
    }

    /// Runs a statement and keeps all its batches.
    ///
    /// # Errors
    /// As [`Engine::stream`].
    pub fn collect(&self, query: &Query, deadline: Option<Duration>) -> Result<(SchemaRef, Vec<RecordBatch>)> {
        let mut schema = None;
        let mut batches = Vec::new();
        self.stream(query, deadline, |found| {
            schema = Some(found.clone());
            Ok(|batch| {
                batches.push(batch);
                Ok(Flow::More)
            })
        })?;
        Ok((schema.unwrap_or_else(|| arrow::datatypes::Schema::empty().into()), batches))
    }

    /// The text in the first row and column; `None` for no row or NULL.
    ///
    /// # Errors
    /// What DuckDB says.
    pub fn text(&self, query: Query) -> Result<Option<String>> {
        let mut statement = self.connection.prepare(&query.sql).map_err(|error| self.explained(&error))?;
        let mut rows = statement.query(params_from_iter(query.values.iter())).map_err(|error| self.explained(&error))?;
        match rows.next().map_err(|error| self.explained(&error))? {
            Some(row) => Ok(row.get(0)?),
            None => Ok(None),
        }
    }

    /// Splits a script at the semicolons between its statements.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a text or comment that does not end.
    pub fn statements(&self, script: &str) -> Result<Vec<String>> {
        let tokens = Tokenizer::new(&DuckDbDialect {}, script)
            .tokenize_with_location()
            .map_err(|error| Error::Invalid(format!("{} in line {}", error.message, error.location.line)))?;
        // The text itself is cut, so that nothing in it changes.
        let line_starts: Vec<usize> = std::iter::once(0).chain(script.match_indices('\n').map(|(index, _)| index + 1)).collect();
        let offset = |location: Location| {
            let start = line_starts.get(location.line as usize - 1).copied().unwrap_or(script.len());
            start + script[start..].chars().take(location.column as usize - 1).map(char::len_utf8).sum::<usize>()
        };
        let mut statements = Vec::new();
        let (mut start, mut has_words) = (0, false);
        for token in tokens {
            match token.token {
                Token::SemiColon => {
                    let end = offset(token.span.start);
                    if has_words {
                        statements.push(script[start..end].trim().to_owned());
                    }
                    (start, has_words) = (end + 1, false);
                }
                Token::Whitespace(_) | Token::EOF => {}
                _ => has_words = true,
            }
        }
        if has_words {
            statements.push(script[start..].trim().to_owned());
        }
        Ok(statements)
    }

    /// Runs `work`; interrupts the connection when the deadline passes.
    ///
    /// # Errors
    /// [`Error::Timeout`] then, and what `work` says.
    pub fn within<T>(&self, deadline: Option<Duration>, work: impl FnOnce() -> Result<T>) -> Result<T> {
        let Some(deadline) = deadline else { return work() };
        let late = AtomicBool::new(false);
        let handle = self.interrupt_handle();
        let (done, watch) = mpsc::channel::<()>();
        let outcome = thread::scope(|scope| {
            let (late, handle) = (&late, &handle);
            scope.spawn(move || {
                let mut wait = deadline;
                // Interrupting between two queries has no effect, so it is repeated until the work has ended.
                while watch.recv_timeout(wait) == Err(RecvTimeoutError::Timeout) {
                    late.store(true, Ordering::Relaxed);
                    handle.interrupt();
                    wait = Duration::from_millis(20);
                }
            });
            let outcome = work();
            drop(done);
            outcome
        });
        match outcome {
            Err(Error::Interrupted) if late.load(Ordering::Relaxed) => Err(Error::Timeout(deadline)),
            other => other,
        }
    }

    /// Says what a missing source means; other errors stay as they are.
    pub(crate) fn explained(&self, error: &duckdb::Error) -> Error {
        match Error::from_duckdb(error) {
            Error::Database(message) => {
                match message.strip_prefix("Catalog Error: Table with name ").and_then(|rest| rest.split(' ').next()) {
                    Some(relation) if relation.eq_ignore_ascii_case(self.options.source.as_deref().unwrap_or("bars")) => {
                        Error::MissingSource { relation: relation.to_owned(), database: self.name() }
                    }
                    _ => Error::Database(message.replace("Values list \"bar\" does not have", "the source of bars does not have")),
                }
            }
            other => other,
        }
    }
}
