//! Which alerts have fired, and what became of their messages: two tables beside the history of scans, never in the database with the bars.
//!
//! An alert is recorded before anybody is told, so that each is one for each rule, session and name, whatever is interrupted.

use std::path::Path;

use arrow::{array::RecordBatch, compute::concat_batches};
use jiff::{Timestamp, civil::DateTime};
use stockscan_engine::{Engine, Error, Options, Query, Result, TimeUnit, Value};
use stockscan_state::{Access, SCHEMA, State};

use crate::{Alert, Answer, Verdict, Watch};

/// What is recorded as the end of a message.
const ENDS: &str = "('delivered', 'refused', 'given up')";

/// The record of alerts.
#[derive(Debug)]
pub struct Ledger {
    engine: Engine,
    state: State,
}

/// What a rule has come to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tally {
    /// The rule.
    pub rule: String,
    /// How many alerts it has raised.
    pub fired: i64,
    /// When the last one was, in UTC.
    pub last: String,
    /// How many messages are still to be delivered.
    pub waiting: i64,
}

/// A message that is to be sent.
#[derive(Debug, Clone)]
pub struct Message {
    /// Its name.
    pub id: String,
    /// The rule.
    pub rule: String,
    /// The name that it is about.
    pub symbol: String,
    /// What is sent.
    pub body: String,
    /// How often that was tried.
    pub attempts: u32,
}

/// An attempt to deliver a message.
#[derive(Debug, Clone)]
pub struct Attempt {
    /// Of this message.
    pub message: Message,
    /// Counted from 1.
    pub number: u32,
    /// How it ended.
    pub answer: Answer,
    /// Whether it was the last one, though it did not succeed.
    pub is_given_up: bool,
}

impl Attempt {
    /// In a word.
    #[must_use]
    pub fn outcome(&self) -> &'static str {
        match self.answer.verdict {
            Verdict::Delivered => "delivered",
            Verdict::Refused => "refused",
            Verdict::Later(_) if self.is_given_up => "given up",
            Verdict::Later(_) => "later",
        }
    }
}

impl Ledger {
    /// Records the last tick of a watch in the history of scans.
    ///
    /// # Errors
    /// As [`State::record`].
    pub(crate) fn record_scan(&self, command: &str, watch: &mut Watch, database: Option<&Path>) -> Result<()> {
        watch.record(&self.state, &self.engine, command, database)
    }

    /// In the file of the history, which is opened only for each moment of reading or writing.
    ///
    /// # Errors
    /// What DuckDB says.
    pub fn new(state: State) -> Result<Ledger> {
        Ok(Ledger { engine: Engine::open(Options { threads: Some(1), ..Options::memory() })?, state })
    }

    /// Makes the tables, so that a place where nothing can be recorded is known before anything is to be.
    ///
    /// # Errors
    /// As [`State::with`].
    pub fn prepare(&self) -> Result<()> {
        self.writing(|| Ok(()))
    }

    /// How many messages neither arrived nor were given up, how many alerts there are, and when the last one was, by rule.
    ///
    /// # Errors
    /// As [`State::with`].
    pub fn tallies(&self) -> Result<Vec<Tally>> {
        let sql = format!(
            "SELECT alert.rule, count(*), strftime(max(alert.fired_at), '%Y-%m-%d %H:%M:%S'), \
             count(*) FILTER (WHERE alert.webhook_id IS NOT NULL AND alert.webhook_id NOT IN ( \
                 SELECT ended.webhook_id FROM {SCHEMA}.alert_deliveries AS ended WHERE ended.outcome IN {ENDS})) \
             FROM {SCHEMA}.alerts AS alert GROUP BY alert.rule ORDER BY alert.rule"
        );
        let found = self.reading(|| {
            let mut statement = self.engine.connection().prepare(&sql)?;
            let tallies = statement
                .query_map([], |row| Ok(Tally { rule: row.get(0)?, fired: row.get(1)?, last: row.get(2)?, waiting: row.get(3)? }))?;
            Ok(tallies.collect::<std::result::Result<Vec<_>, _>>()?)
        })?;
        Ok(found.unwrap_or_default())
    }

    /// The alerts since then, each with what became of its message, the newest first; or every attempt to deliver one. `None`: nothing is
    /// recorded.
    ///
    /// # Errors
    /// As [`State::with`].
    pub fn history(&self, rule: Option<&str>, since: Option<Timestamp>, limit: u32, every_attempt: bool) -> Result<Option<RecordBatch>> {
        let alerts = format!(
            "WITH last_attempts AS ( \
                 SELECT tried.webhook_id, max(tried.attempt) AS attempts, arg_max(tried.outcome, tried.attempt) AS outcome, \
                     last(tried.error ORDER BY tried.attempt) AS error \
                 FROM {SCHEMA}.alert_deliveries AS tried GROUP BY tried.webhook_id) \
             SELECT alert.fired_at, alert.rule, alert.session_date, CAST(CAST(alert.data_as_of AS TIME) AS VARCHAR) AS data_as_of, \
                 alert.symbol, alert.price, CASE WHEN alert.webhook_id IS NULL THEN 'none' \
                 WHEN coalesce(tried.outcome, 'later') = 'later' THEN 'waiting' ELSE tried.outcome END AS message, \
                 coalesce(tried.attempts, 0) AS attempts, tried.error \
             FROM {SCHEMA}.alerts AS alert LEFT JOIN last_attempts AS tried USING (webhook_id) \
             WHERE coalesce(alert.rule = ?, true) AND coalesce(alert.fired_at >= ?, true) ORDER BY alert.fired_at DESC, alert.rule, alert.symbol LIMIT ?"
        );
        let attempts = format!(
            "SELECT tried.attempted_at, tried.rule, alert.symbol, tried.attempt, tried.outcome, tried.status, tried.seconds, tried.error \
             FROM {SCHEMA}.alert_deliveries AS tried LEFT JOIN {SCHEMA}.alerts AS alert USING (webhook_id) \
             WHERE coalesce(tried.rule = ?, true) AND coalesce(tried.attempted_at >= ?, true) ORDER BY tried.attempted_at DESC LIMIT ?"
        );
        let values = vec![rule.map_or(Value::Null, text), since.map_or(Value::Null, moment), Value::BigInt(i64::from(limit))];
        let query = Query::with_values(if every_attempt { attempts } else { alerts }, values);
        self.reading(|| {
            let (schema, batches) = self.engine.collect(&query, None)?;
            concat_batches(&schema, &batches).map_err(|error| Error::Database(error.to_string()))
        })
    }

    /// Records alerts that may have fired before. Returns those that had not.
    ///
    /// # Errors
    /// As [`State::with`].
    pub fn record(&self, alerts: Vec<Alert>) -> Result<Vec<Alert>> {
        let connection = self.engine.connection();
        self.writing(|| {
            connection.execute_batch("BEGIN")?;
            let mut new = Vec::new();
            let recorded = alerts.into_iter().try_for_each(|alert| {
                if self.insert(&alert)? {
                    new.push(alert);
                }
                Ok(())
            });
            match recorded.and_then(|()| Ok(connection.execute_batch("COMMIT")?)) {
                Ok(()) => Ok(new),
                Err(error) => {
                    // What made it fail counts, not that it cannot be undone.
                    let _ = connection.execute_batch("ROLLBACK");
                    Err(error)
                }
            }
        })
    }

    /// Whether it was not there yet.
    fn insert(&self, alert: &Alert) -> Result<bool> {
        let sql = format!(
            "INSERT INTO {SCHEMA}.alerts VALUES (?, CAST(? AS DATE), ?, ?, CAST(? AS TIMESTAMP), ?, ?, ?, ?) ON CONFLICT DO NOTHING"
        );
        let values = [
            text(&alert.rule),
            text(&alert.session.to_string()),
            text(&alert.symbol),
            text(&alert.scanner_type),
            text(&alert.data_as_of.to_string()),
            moment(alert.fired_at),
            alert.price.map_or(Value::Null, Value::Double),
            alert.webhook_id.as_deref().map_or(Value::Null, text),
            text(&serde_json::Value::Object(alert.row.clone()).to_string()),
        ];
        Ok(self.engine.connection().execute(&sql, stockscan_engine::params_from_iter(values.iter()))? > 0)
    }

    /// The messages of a rule that have neither arrived nor been given up, the oldest first, at most so many.
    ///
    /// # Errors
    /// As [`State::with`].
    pub fn pending(&self, rule: &str, limit: u32) -> Result<Vec<Message>> {
        let sql = format!(
            "SELECT alert.rule, CAST(alert.session_date AS VARCHAR), alert.symbol, alert.scanner_type, \
             strftime(alert.data_as_of, '%Y-%m-%dT%H:%M:%S'), epoch_us(alert.fired_at), alert.price, alert.webhook_id, \
             CAST(alert.\"row\" AS VARCHAR), \
             CAST((SELECT count(*) FROM {SCHEMA}.alert_deliveries AS tried WHERE tried.webhook_id = alert.webhook_id) AS INTEGER) \
             FROM {SCHEMA}.alerts AS alert \
             WHERE alert.rule = ? AND alert.webhook_id IS NOT NULL AND NOT EXISTS ( \
                 FROM {SCHEMA}.alert_deliveries AS ended WHERE ended.webhook_id = alert.webhook_id AND ended.outcome IN {ENDS}) \
             ORDER BY alert.fired_at, alert.symbol LIMIT ?"
        );
        let found = self.reading(|| {
            let connection = self.engine.connection();
            let mut statement = connection.prepare(&sql)?;
            let mut rows = statement.query(stockscan_engine::params_from_iter([text(rule), Value::BigInt(i64::from(limit))].iter()))?;
            let mut messages = Vec::new();
            while let Some(row) = rows.next()? {
                let unfit = |error: String| Error::Database(format!("{}: {error}", self.state.path().display()));
                let alert = Alert {
                    rule: row.get(0)?,
                    session: row.get::<_, String>(1)?.parse().map_err(|error: jiff::Error| unfit(error.to_string()))?,
                    symbol: row.get(2)?,
                    scanner_type: row.get(3)?,
                    data_as_of: row.get::<_, String>(4)?.parse::<DateTime>().map_err(|error| unfit(error.to_string()))?,
                    fired_at: Timestamp::from_microsecond(row.get(5)?).map_err(|error| unfit(error.to_string()))?,
                    price: row.get(6)?,
                    webhook_id: row.get(7)?,
                    row: serde_json::from_str(&row.get::<_, String>(8)?).map_err(|error| unfit(error.to_string()))?,
                };
                messages.extend(Message::of(&alert, row.get(9)?));
            }
            Ok(messages)
        })?;
        Ok(found.unwrap_or_default())
    }

    /// Records an attempt.
    ///
    /// # Errors
    /// As [`State::with`].
    pub fn attempted(&self, attempt: &Attempt) -> Result<()> {
        let sql = format!("INSERT INTO {SCHEMA}.alert_deliveries VALUES (?, ?, ?, ?, ?, ?, ?, ?)");
        let values = vec![
            text(&attempt.message.id),
            text(&attempt.message.rule),
            Value::BigInt(i64::from(attempt.number)),
            moment(Timestamp::now()),
            attempt.answer.status.map_or(Value::Null, |status| Value::BigInt(i64::from(status))),
            attempt.answer.error.as_deref().map_or(Value::Null, text),
            Value::Double(attempt.answer.duration.as_secs_f64()),
            text(attempt.outcome()),
        ];
        self.writing(|| self.engine.collect(&Query::with_values(sql, values), None).map(drop))
    }

    /// Reads, if anything is recorded.
    fn reading<T>(&self, work: impl FnOnce() -> Result<T>) -> Result<Option<T>> {
        if !self.state.exists() {
            return Ok(None);
        }
        self.state.with(&self.engine, Access::Read, || {
            let has_tables: bool = self.engine.connection().query_row(
                &format!(
                    "SELECT count(*) = 2 FROM duckdb_tables() \
                     WHERE database_name = '{SCHEMA}' AND table_name IN ('alerts', 'alert_deliveries')"
                ),
                [],
                |row| row.get(0),
            )?;
            if has_tables { work().map(Some) } else { Ok(None) }
        })
    }

    /// Does something with the tables there.
    fn writing<T>(&self, work: impl FnOnce() -> Result<T>) -> Result<T> {
        self.state.with(&self.engine, Access::Write, || {
            self.engine.connection().execute_batch(&format!(
                "CREATE TABLE IF NOT EXISTS {SCHEMA}.alerts (rule VARCHAR, session_date DATE, symbol VARCHAR, \
                 scanner_type VARCHAR NOT NULL, data_as_of TIMESTAMP NOT NULL, fired_at TIMESTAMP NOT NULL, price DOUBLE, \
                 webhook_id VARCHAR, \"row\" JSON NOT NULL, PRIMARY KEY (rule, session_date, symbol)); \
                 CREATE TABLE IF NOT EXISTS {SCHEMA}.alert_deliveries (webhook_id VARCHAR NOT NULL, rule VARCHAR NOT NULL, \
                 attempt INTEGER NOT NULL, attempted_at TIMESTAMP NOT NULL, status INTEGER, error VARCHAR, seconds DOUBLE NOT NULL, outcome VARCHAR NOT NULL)"
            ))?;
            work()
        })
    }
}

impl Message {
    /// The message of an alert, if it has a receiver.
    pub(crate) fn of(alert: &Alert, attempts: u32) -> Option<Message> {
        Some(Message {
            id: alert.webhook_id.clone()?,
            rule: alert.rule.clone(),
            symbol: alert.symbol.clone(),
            body: alert.document().to_string(),
            attempts,
        })
    }
}

fn text(text: &str) -> Value {
    Value::Text(text.to_owned())
}

fn moment(moment: Timestamp) -> Value {
    Value::Timestamp(TimeUnit::Microsecond, moment.as_microsecond())
}
