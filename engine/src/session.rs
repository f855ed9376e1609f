//! Which sessions a source has.

use crate::{Argument, Engine, Query, Result};

/// Every date that each kind of TIMESTAMP can be compared with.
const FIRST: &str = "1678-01-01";
const LAST: &str = "2261-12-31";

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
    /// The latest session of the source with bars that can be scanned, as `2025-01-15`; `None` if it has none.
    ///
    /// `arguments` are those of `session_bars()`: source, bar_minutes, session_start, session_end, symbols.
    ///
    /// # Errors
    /// [`crate::Error::MissingSource`], or what DuckDB says.
    pub fn latest_session(&self, arguments: &[(String, Argument)]) -> Result<Option<String>> {
        self.outermost_session("DESC", arguments)
    }

    /// The first session of the source with bars that can be scanned; `None` if it has none. `arguments` as above.
    ///
    /// # Errors
    /// [`crate::Error::MissingSource`], or what DuckDB says.
    pub fn first_session(&self, arguments: &[(String, Argument)]) -> Result<Option<String>> {
        self.outermost_session("ASC", arguments)
    }

    fn outermost_session(&self, order: &str, arguments: &[(String, Argument)]) -> Result<Option<String>> {
        let days = [("first_date", FIRST), ("last_date", LAST)].map(|(name, day)| (name.to_owned(), Argument::Text(day.to_owned())));
        let bars = self.call("session_bars", &[&days, arguments].concat())?.query();
        // Through the order of ts, so that DuckDB reads the end of the data only.
        self.text(Query {
            sql: format!("SELECT CAST(bar.session_date AS VARCHAR) FROM ({}) AS bar ORDER BY bar.ts {order} LIMIT 1", bars.sql),
            ..bars
        })
    }

    /// The sessions of the source; `None` if it has no bars that can be scanned. `arguments` as above.
    ///
    /// # Errors
    /// [`crate::Error::MissingSource`], or what DuckDB says.
    pub fn session_range(&self, arguments: &[(String, Argument)]) -> Result<Option<SessionRange>> {
        let sessions = self.call("sessions", arguments)?.query();
        let sql = format!(
            "SELECT concat_ws(' ', min(session.session_date), max(session.session_date), count(*)) FROM ({}) AS session HAVING count(*) > 0",
            sessions.sql
        );
        let found = self.text(Query { sql, ..sessions })?.unwrap_or_default();
        Ok(match found.split(' ').collect::<Vec<_>>().as_slice() {
            [first, last, count] => {
                Some(SessionRange { first: (*first).to_owned(), last: (*last).to_owned(), count: count.parse().unwrap_or_default() })
            }
            _ => None,
        })
    }

    /// What to say of a source without a bar that can be scanned.
    #[must_use]
    pub fn no_usable_bars(&self) -> String {
        format!("{} has no bars that can be scanned; 'scanner check' says what is wrong with them", self.name())
    }

    /// The time of day at which the first bar of a session starts, as `09:15:00`; `None` if there is no bar on that day. `arguments` as above.
    ///
    /// # Errors
    /// [`crate::Error::MissingSource`], or what DuckDB says.
    pub fn first_bar(&self, session: &str, arguments: &[(String, Argument)]) -> Result<Option<String>> {
        let days = ["first_date", "last_date"].map(|name| (name.to_owned(), Argument::Text(session.to_owned())));
        let bars = self.call("session_bars", &[&days, arguments].concat())?.query();
        self.text(Query { sql: format!("SELECT CAST(CAST(min(bar.ts) AS TIME) AS VARCHAR) FROM ({}) AS bar", bars.sql), ..bars })
    }
}
