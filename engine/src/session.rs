//! Which sessions a source has.

use duckdb::types::Value;

use crate::{Engine, Query, Result};

/// First and last session, and how many there are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionRange {
    /// First session, as `2025-01-15`.
    pub first: String,
    /// Last session.
    pub last: String,
    /// How many.
    pub count: u64,
}

impl Engine {
    /// The latest session of the source with these bars, as `2025-01-15`; `None` if it has no bars.
    ///
    /// # Errors
    /// [`crate::Error::MissingSource`], or what DuckDB says.
    pub fn latest_session(&self, bar_minutes: u32) -> Result<Option<String>> {
        let query = "SELECT CAST(bar.session_date AS VARCHAR) FROM session_bars('1678-01-01', '2261-12-31', source := ?, bar_minutes := ?) AS bar \
                     ORDER BY bar.ts DESC LIMIT 1";
        let found = self.texts(query, &[self.source(), Value::BigInt(i64::from(bar_minutes))])?;
        Ok(found.into_iter().next())
    }

    /// The sessions of the source; `None` if it has no bars.
    ///
    /// # Errors
    /// [`crate::Error::MissingSource`], or what DuckDB says.
    pub fn session_range(&self, bar_minutes: u32) -> Result<Option<SessionRange>> {
        let query = "SELECT CAST(unnest([min(s.session_date)::VARCHAR, max(s.session_date)::VARCHAR, count(*)::VARCHAR]) AS VARCHAR) \
                     FROM sessions(source := ?, bar_minutes := ?) AS s HAVING count(*) > 0";
        let found = self.texts(query, &[self.source(), Value::BigInt(i64::from(bar_minutes))])?;
        Ok(match found.as_slice() {
            [first, last, count] => {
                Some(SessionRange { first: first.clone(), last: last.clone(), count: count.parse().unwrap_or_default() })
            }
            _ => None,
        })
    }

    /// The time of day at which the first bar of a session starts, as `09:15:00`; `None` if the source has no bar on that day.
    ///
    /// # Errors
    /// [`crate::Error::MissingSource`], or what DuckDB says.
    pub fn first_bar(&self, session: &str, bar_minutes: u32) -> Result<Option<String>> {
        let query = "SELECT CAST(CAST(min(bar.ts) AS TIME) AS VARCHAR) FROM session_bars(?, ?, source := ?, bar_minutes := ?) AS bar HAVING count(*) > 0";
        let session = Value::Text(session.to_owned());
        let found = self.texts(query, &[session.clone(), session, self.source(), Value::BigInt(i64::from(bar_minutes))])?;
        Ok(found.into_iter().next())
    }

    fn source(&self) -> Value {
        Value::Text(self.options.source.clone().unwrap_or_else(|| "bars".to_owned()))
    }

    fn texts(&self, sql: &str, values: &[Value]) -> Result<Vec<String>> {
        let query = Query { sql: sql.to_owned(), values: values.to_vec() };
        let mut statement = self.connection.prepare(&query.sql).map_err(|error| self.explained(&error))?;
        let rows =
            statement.query_map(duckdb::params_from_iter(query.values.iter()), |row| row.get(0)).map_err(|error| self.explained(&error))?;
        rows.map(|row| row.map_err(|error| self.explained(&error))).collect()
    }
}
