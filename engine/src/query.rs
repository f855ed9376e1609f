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
    tokenizer::{Token, Tokenizer},
};

use crate::{Engine, Error, Result};

/// One statement with its values.
#[derive(Debug, Clone, PartialEq)]
pub struct Query {
    /// SQL with a `?` for each value.
    pub sql: String,
    /// The values, in order.
    pub values: Vec<Value>,
}

impl Query {
    /// A statement without values.
    #[must_use]
    pub fn plain(sql: impl Into<String>) -> Query {
        Query { sql: sql.into(), values: Vec::new() }
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
    /// [`Error::Timeout`] when `deadline` passes, [`Error::Interrupted`], what the consumer returns, or what DuckDB says.
    pub fn stream<S>(&self, query: &Query, deadline: Option<Duration>, begin: impl FnOnce(&SchemaRef) -> Result<S>) -> Result<()>
    where
        S: FnMut(RecordBatch) -> Result<Flow>,
    {
        self.within(deadline, || {
            let mut statement = self.connection.prepare(&query.sql).map_err(|error| self.explained(&error))?;
            let mut batches = statement.stream_arrow(params_from_iter(query.values.iter())).map_err(|error| self.explained(&error))?;
            let mut take = begin(&batches.get_schema())?;
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

    /// Splits a script at the semicolons between its statements.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a text or comment that does not end.
    pub fn statements(&self, script: &str) -> Result<Vec<String>> {
        let tokens = Tokenizer::new(&DuckDbDialect {}, script)
            .with_unescape(false)
            .tokenize()
            .map_err(|error| Error::Invalid(format!("{} in line {}", error.message, error.location.line)))?;
        let mut statements = vec![String::new()];
        for token in tokens {
            match (token, statements.last_mut()) {
                (Token::SemiColon, _) => statements.push(String::new()),
                (token, Some(statement)) => statement.push_str(&token.to_string()),
                (_, None) => {}
            }
        }
        let is_comment = |statement: &String| statement.lines().all(|line| line.trim().is_empty() || line.trim_start().starts_with("--"));
        Ok(statements.into_iter().map(|statement| statement.trim().to_owned()).filter(|statement| !is_comment(statement)).collect())
    }

    /// Runs `work`; interrupts the connection when the deadline passes.
    fn within<T>(&self, deadline: Option<Duration>, work: impl FnOnce() -> Result<T>) -> Result<T> {
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
