//! What a tick found, against the tick before.

use std::{collections::HashSet, time::Duration};

use arrow::{
    array::{Array, BooleanArray, RecordBatch},
    compute::filter_record_batch,
    json::{WriterBuilder, writer::LineDelimited},
    util::display::{ArrayFormatter, FormatOptions},
};
use jiff::{
    Timestamp,
    civil::{Date, DateTime, Time},
};
use serde_json::{Map, Value, json};
use stockscan_engine::{Error, Result};

/// A scan's result, with what is new in it.
#[derive(Debug, Clone)]
pub struct Update {
    /// When the scan was, by the machine's clock.
    pub timestamp: Timestamp,
    /// The scanner's name, without `scan_`.
    pub scanner_type: String,
    /// The session scanned: that of the newest bar.
    pub session: Date,
    /// When the newest bar ended, in the exchange's time.
    pub newest: DateTime,
    /// Up to when bars were seen: `newest`, or the fixed cutoff where that is earlier.
    pub data_as_of: DateTime,
    /// The hits, all columns.
    pub results: RecordBatch,
    /// Symbols that were no hits at the tick before, in the order of the results. With a new session, all.
    pub added: Vec<String>,
    /// Symbols that were hits, too.
    pub kept: Vec<String>,
    /// Symbols that were hits at the tick before, and are no more. With a new session, none.
    pub removed: Vec<String>,
    /// Whether there was no tick of this session before.
    pub starts_session: bool,
    /// Whether the newest bar has reached the fixed cutoff, if there is one: before that, a hit is only one as things stand.
    pub is_complete: bool,
    /// Whether anything is other than at the tick before: the hits, their values, or up to when bars were seen.
    pub differs: bool,
    /// From looking for the newest bar to the last row.
    pub duration: Duration,
}

impl Update {
    /// Whether other symbols are hits than at the tick before.
    #[must_use]
    pub fn has_changes(&self) -> bool {
        !self.added.is_empty() || !self.removed.is_empty()
    }

    /// As sockets and streams carry it: `{"type": "scan_update", "timestamp", "scanner_type", "data_as_of", "results", "added", "removed"}`.
    ///
    /// # Errors
    /// For a column that has no JSON.
    pub fn document(&self) -> Result<Value> {
        Ok(json!({
            "type": "scan_update",
            "timestamp": format!("{:.3}", self.timestamp),
            "scanner_type": self.scanner_type,
            "data_as_of": self.data_as_of.to_string(),
            "results": rows(&self.results)?,
            "added": self.added,
            "removed": self.removed,
        }))
    }

    /// Compares a result with the one before: says what is new in it.
    ///
    /// # Errors
    /// Without a column `symbol`.
    pub fn against(before: Option<&Update>, mut update: Update) -> Result<Update> {
        let now = names(&update.results)?;
        match before.filter(|before| before.session == update.session) {
            Some(before) => {
                update.differs = before.data_as_of != update.data_as_of || before.results != update.results;
                let then = names(&before.results)?;
                let (then_set, now_set): (HashSet<_>, HashSet<_>) = (then.iter().collect(), now.iter().collect());
                update.removed = then.iter().filter(|name| !now_set.contains(name)).cloned().collect();
                (update.kept, update.added) = now.iter().cloned().partition(|name| then_set.contains(name));
            }
            None => {
                (update.starts_session, update.differs) = (true, true);
                update.added = now;
            }
        }
        Ok(update)
    }
}

/// The symbols of a result, each once, in order.
///
/// # Errors
/// Without a column `symbol`.
pub fn names(results: &RecordBatch) -> Result<Vec<String>> {
    let mut seen = HashSet::new();
    Ok(symbols(results)?.into_iter().filter(|name| seen.insert(name.clone())).collect())
}

/// The rows of some symbols.
///
/// # Errors
/// Without a column `symbol`.
pub fn of_symbols(results: &RecordBatch, wanted: &[String]) -> Result<RecordBatch> {
    let wanted: HashSet<&String> = wanted.iter().collect();
    let mask: BooleanArray = symbols(results)?.iter().map(|name| Some(wanted.contains(name))).collect();
    filter_record_batch(results, &mask).map_err(|error| Error::Database(error.to_string()))
}

/// A time of day of a session as people read it: `10:05`, and for its end `24:00`.
#[must_use]
pub fn clock(moment: DateTime, session: Date) -> String {
    if moment.time() == Time::midnight() && moment.date() > session {
        return "24:00".to_owned();
    }
    let pattern = if moment.second() == 0 { "%H:%M" } else { "%H:%M:%S" };
    moment.strftime(pattern).to_string()
}

/// The rows as JSON objects.
pub(crate) fn rows(results: &RecordBatch) -> Result<Vec<Map<String, Value>>> {
    let unfit = |error: String| Error::Database(error);
    let mut writer = WriterBuilder::new().with_explicit_nulls(true).build::<_, LineDelimited>(Vec::new());
    writer.write(results).and_then(|()| writer.finish()).map_err(|error| unfit(error.to_string()))?;
    let lines = serde_json::Deserializer::from_slice(&writer.into_inner()).into_iter().collect::<serde_json::Result<Vec<_>>>();
    lines.map_err(|error| unfit(error.to_string()))
}

/// The symbol of each row.
///
/// # Errors
/// Without a column `symbol`.
pub fn symbols(results: &RecordBatch) -> Result<Vec<String>> {
    let column = results.column_by_name("symbol").ok_or_else(|| Error::Database("a scanner's result has no column 'symbol'".to_owned()))?;
    let formatter =
        ArrayFormatter::try_new(column.as_ref(), &FormatOptions::default()).map_err(|error| Error::Database(error.to_string()))?;
    Ok((0..column.len()).map(|row| formatter.value(row).to_string()).collect())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{ArrayRef, Float64Array, RecordBatch};

    #[test]
    fn numbers_are_those_of_the_scan_to_the_last_digit() {
        // Numbers that a reader which rounds twice reads as their neighbours.
        let numbers = [41.404_013_000_000_006, 2.002_355_712_603_076_7, 9.355_003_212_010_14e22, 0.1 + 0.2];
        let column: ArrayRef = Arc::new(Float64Array::from(numbers.to_vec()));
        let batch = RecordBatch::try_from_iter([("value", column)]).unwrap();
        let found: Vec<f64> = super::rows(&batch).unwrap().iter().map(|row| row["value"].as_f64().unwrap()).collect();
        assert_eq!(found, numbers);
    }
}
