//! Rows into the table: what is no bar, what is repeated and what is there already is counted, the rest is added in the order of storage.
//!
//! The usual file is sound, in some order, and new. A look at its times and symbols says so, and then it is inserted as it is read; only what is
//! unusual is paid for.

use std::path::Path;

use duckdb::{params_from_iter, types::TimeUnit, types::Value};

use super::{IngestReport, Rejected};
use crate::{
    Engine, Error, Result,
    call::{literal, quoted_text},
};

/// From so many rows on, sessions that are stored already are told by their sums before bars are compared one by one.
const MANY: u64 = 50_000;

/// Orders of all bars, in which each is told from the one before: where one holds throughout, no bar is there twice. The first is that of storage.
const ORDERS: [&str; 5] = [
    "session > last_session OR session = last_session AND (symbol > last_symbol OR symbol = last_symbol AND ts > last_ts)",
    "symbol > last_symbol OR symbol = last_symbol AND ts > last_ts",
    "symbol > last_symbol OR symbol = last_symbol AND ts < last_ts",
    "ts > last_ts OR ts = last_ts AND symbol > last_symbol",
    "ts < last_ts OR ts = last_ts AND symbol > last_symbol",
];

/// Rows to be stored.
pub(super) struct Rows {
    /// The bars' columns, with the volume as `raw_volume`.
    raw: String,
    /// The bars' columns, `raw_volume`, and the `reason` why a row is no bar.
    pub(super) checked: String,
    pub(super) values: Vec<Value>,
    /// They are in a temporary table.
    is_staged: bool,
}

impl Rows {
    /// Rows of `temp.ingest_rows`.
    pub(super) fn staged() -> Rows {
        Rows { is_staged: true, ..Rows::new("temp.ingest_rows", Vec::new()) }
    }

    /// `raw` has the bars' columns, with the volume as `raw_volume`.
    pub(super) fn new(raw: &str, values: Vec<Value>) -> Rows {
        let checked = format!(
            "(SELECT *, CASE WHEN coalesce(symbol, '') = '' THEN 'no symbol' \
             WHEN ts IS NULL OR NOT isfinite(ts) THEN 'no time, or one that cannot be read' \
             WHEN NOT coalesce(isfinite(open) AND isfinite(high) AND isfinite(low) AND isfinite(close), false) THEN 'a price is missing or not a number' \
             WHEN least(open, high, low, close) < 1e-9 THEN 'a price is not above zero' \
             WHEN greatest(open, high, close) > 1e15 THEN 'a price is infinite' WHEN high < low THEN 'high below low' \
             WHEN raw_volume < 0 THEN 'negative volume' WHEN volume IS NULL THEN 'volume is missing or not a number' END AS reason \
             FROM (SELECT *, CASE WHEN isfinite(raw_volume) AND abs(raw_volume) <= 1e15 THEN CAST(raw_volume AS BIGINT) END AS volume \
             FROM {raw} AS raw) AS bar)"
        );
        Rows { raw: raw.to_owned(), checked, values, is_staged: false }
    }
}

/// What a first look at the rows, broken ones included, tells.
struct Look {
    rows: u64,
    /// The first and the last time, as SQL text.
    first: String,
    last: String,
    /// The last, for people.
    newest: Option<String>,
    /// They are in the order of storage, each told from the one before.
    is_sorted: bool,
}

impl Engine {
    /// Adds what is new of the rows to the table.
    pub(super) fn store(&self, table: &str, rows: &Rows, file: &Path, report: &mut IngestReport) -> Result<()> {
        let look = self.look(rows)?;
        report.rows_read += look.rows;
        let stored = format!("(FROM {table} WHERE ts BETWEEN {} AND {})", look.first, look.last);
        let bars = format!("(SELECT * FROM {} WHERE reason IS NULL)", rows.checked);
        let found = if self.count(&format!("SELECT count(*) FROM (FROM {stored} LIMIT 1)"), &[])? > 0 {
            self.add_what_is_not_there(table, rows, bars.clone(), &look, report)?
        } else if look.is_sorted && !rows.is_staged {
            // DuckDB keeps the order of a file. (That of a CSV file, too, but in pieces that it has to put together when it closes the database,
            // which takes longer than to sort them.)
            let added = self.insert(table, rows, &format!("{bars} AS bar"))?;
            report.added += added;
            added
        } else {
            let (bars, repeated) = self.without_repeated(rows, bars.clone())?;
            let added = self.insert(table, rows, &in_storage_order(rows, &bars))?;
            report.repeated += repeated;
            report.added += added;
            added + repeated
        };
        if found < look.rows {
            self.note_rejected(rows, file, report)?;
        }
        let newest = if found == look.rows {
            look.newest
        } else {
            let sql = format!("SELECT CAST(max(ts) AS VARCHAR) FROM {bars}");
            self.connection.query_row(&sql, params_from_iter(rows.values.iter()), |row| row.get(0))?
        };
        // Texts of times sort as the times do.
        report.newest = report.newest.take().max(newest);
        Ok(())
    }

    /// Adds all rows, and looks afterwards whether that was right: each a bar, each once, none of them there before. If `false`, the transaction
    /// must be rolled back.
    pub(super) fn store_directly(&self, table: &str, rows: &Rows, report: &mut IngestReport) -> Result<bool> {
        // What the first rows tell spares most attempts that would fail.
        let first = format!("(SELECT symbol, ts FROM {} LIMIT 100)", rows.raw);
        let sql =
            format!("SELECT count(*) FROM {first} AS bar SEMI JOIN {table} AS stored ON bar.symbol = stored.symbol AND bar.ts = stored.ts");
        if self.count(&sql, &rows.values)? > 0 {
            return Ok(false);
        }
        let last_row: i64 = self.connection.query_row(&format!("SELECT coalesce(max(rowid), -1) FROM {table}"), [], |row| row.get(0))?;
        let added = self.insert(table, rows, &format!("{} AS bar ORDER BY CAST(bar.ts AS DATE), bar.symbol, bar.ts", rows.checked))?;
        let new = format!("(SELECT *, volume AS raw_volume FROM {table} WHERE rowid > {last_row})");
        let new = Rows::new(&format!("(SELECT * EXCLUDE (volume) FROM {new})"), Vec::new());
        let look = self.look(&new)?;
        if !look.is_sorted || look.rows != added || self.count(&format!("SELECT count(reason) FROM {}", new.checked), &[])? > 0 {
            return Ok(false);
        }
        let stored = format!("(FROM {table} WHERE rowid <= {last_row} AND ts BETWEEN {} AND {})", look.first, look.last);
        let sql = format!(
            "SELECT count(*) FROM {} AS bar SEMI JOIN {stored} AS stored ON bar.symbol = stored.symbol AND bar.ts = stored.ts",
            new.raw
        );
        if last_row >= 0 && self.count(&sql, &[])? > 0 {
            return Ok(false);
        }
        report.rows_read += added;
        report.added += added;
        report.newest = report.newest.take().max(look.newest);
        Ok(true)
    }

    /// Adds to bars that are there already. Returns how many of the rows are bars.
    fn add_what_is_not_there(&self, table: &str, rows: &Rows, mut bars: String, look: &Look, report: &mut IngestReport) -> Result<u64> {
        let found = self.count(&format!("SELECT count(*) FROM {bars}"), &rows.values)?;
        let mut left = found;
        let (first_symbol, last_symbol): (String, String) = self.connection.query_row(
            &format!("SELECT coalesce(min(symbol), ''), coalesce(max(symbol), '') FROM {}", rows.raw),
            params_from_iter(rows.values.iter()),
            |row| Ok((row.get(0)?, row.get(1)?)),
        )?;
        // Files of one symbol are common, and compared with this one only.
        let symbols = format!("symbol BETWEEN {} AND {}", quoted_text(&first_symbol), quoted_text(&last_symbol));
        if left >= MANY {
            let there =
                format!("(FROM {table} WHERE ts >= CAST({} AS DATE) AND ts < CAST({} AS DATE) + 1 AND {symbols})", look.first, look.last);
            let unchanged = self.compare_sessions(&there, &bars, rows)?;
            report.unchanged += unchanged;
            left -= unchanged;
            if left == 0 {
                return Ok(found);
            }
            bars = format!(
                "(SELECT bar.* FROM {bars} AS bar ANTI JOIN temp.ingest_same AS same ON CAST(bar.ts AS DATE) = same.session AND bar.symbol = same.symbol)"
            );
        }
        let (bars, repeated) = self.without_repeated(rows, bars)?;
        report.repeated += repeated;
        left -= repeated;
        let stored = format!("(FROM {table} WHERE ts BETWEEN {} AND {} AND {symbols})", look.first, look.last);
        let sql = format!(
            "SELECT count(*) FILTER (is_same), count(*) FILTER (NOT is_same) FROM (SELECT bool_or((bar.open, bar.high, bar.low, bar.close, \
             bar.volume) IS NOT DISTINCT FROM (stored.open, stored.high, stored.low, stored.close, stored.volume)) AS is_same \
             FROM {bars} AS bar JOIN {stored} AS stored ON bar.symbol = stored.symbol AND bar.ts = stored.ts GROUP BY bar.symbol, bar.ts)"
        );
        let (same, other) = self
            .connection
            .query_row(&sql, params_from_iter(rows.values.iter()), |row| Ok((row.get::<_, i64>(0)?, row.get::<_, i64>(1)?)))?;
        let [same, other] = [same, other].map(|count| u64::try_from(count).unwrap_or_default());
        report.unchanged += same;
        report.conflicting += other;
        left -= same + other;
        if left > 0 {
            let new = format!(
                "(SELECT bar.* FROM {bars} AS bar ANTI JOIN {stored} AS stored ON bar.symbol = stored.symbol AND bar.ts = stored.ts)"
            );
            let added = self.insert(table, rows, &in_storage_order(rows, &new))?;
            if added != left {
                return Err(Error::Database(format!("it changed while it was read: {added} bars instead of {left}; ingest it again")));
            }
            report.added += added;
        }
        Ok(found)
    }

    /// The bars, each once, and how many rows repeat another.
    fn without_repeated(&self, rows: &Rows, bars: String) -> Result<(String, u64)> {
        for order in ORDERS {
            if self.is_in_order(rows, order)? {
                return Ok((bars, 0));
            }
        }
        let sql = format!("SELECT coalesce(sum(n - 1), 0)::BIGINT FROM (SELECT count(*) AS n FROM {bars} GROUP BY symbol, ts)");
        let repeated = self.count(&sql, &rows.values)?;
        if repeated == 0 {
            return Ok((bars, 0));
        }
        // The last by every column, so that the order of the rows does not matter.
        let once = format!(
            "(FROM {bars} QUALIFY row_number() OVER (PARTITION BY symbol, ts ORDER BY open DESC, high DESC, low DESC, close DESC, volume DESC) = 1)"
        );
        Ok((once, repeated))
    }

    /// Whether each row, broken ones included, is told from the one before by this order.
    fn is_in_order(&self, rows: &Rows, order: &str) -> Result<bool> {
        let sql = format!("SELECT count(*) FILTER ({order}) = count(*) - 1 FROM {}", neighbours(rows));
        Ok(self.connection.query_row(&sql, params_from_iter(rows.values.iter()), |row| row.get(0))?)
    }

    fn insert(&self, table: &str, rows: &Rows, from: &str) -> Result<u64> {
        let sql = format!(
            "INSERT INTO {table} (symbol, ts, open, high, low, close, volume) \
             SELECT bar.symbol, bar.ts, bar.open, bar.high, bar.low, bar.close, bar.volume FROM {from}"
        );
        Ok(self.connection.execute(&sql, params_from_iter(rows.values.iter()))? as u64)
    }

    fn look(&self, rows: &Rows) -> Result<Look> {
        let sql = format!(
            "SELECT count(*), coalesce(epoch_us(min(ts) FILTER (isfinite(ts))), 0), coalesce(epoch_us(max(ts) FILTER (isfinite(ts))), 0), \
             CAST(max(ts) AS VARCHAR), count(*) FILTER ({}) = count(*) - 1 FROM {}",
            ORDERS[0],
            neighbours(rows)
        );
        let time = |microseconds: i64| literal(&Value::Timestamp(TimeUnit::Microsecond, microseconds));
        Ok(self.connection.query_row(&sql, params_from_iter(rows.values.iter()), |row| {
            Ok(Look {
                rows: u64::try_from(row.get::<_, i64>(0)?).unwrap_or_default(),
                first: time(row.get(1)?),
                last: time(row.get(2)?),
                newest: row.get(3)?,
                is_sorted: row.get(4)?,
            })
        })?)
    }

    /// Notes which sessions of which symbols are stored as they are in the rows, in `temp.ingest_same`; returns how many bars these have.
    fn compare_sessions(&self, there: &str, bars: &str, rows: &Rows) -> Result<u64> {
        let sums = "SELECT CAST(ts AS DATE) AS session, symbol, count(*) AS bars, sum(hash(CAST(ts AS TIMESTAMP), CAST(open AS DOUBLE), CAST(high AS DOUBLE), \
                    CAST(low AS DOUBLE), CAST(close AS DOUBLE), CAST(volume AS BIGINT))) AS hashes";
        let sql = format!(
            "CREATE TEMP TABLE ingest_same AS SELECT session, symbol, bars FROM ({sums} FROM {bars} GROUP BY ALL) \
             SEMI JOIN ({sums} FROM {there} GROUP BY ALL) USING (session, symbol, bars, hashes)"
        );
        self.connection.execute(&sql, params_from_iter(rows.values.iter()))?;
        self.count("SELECT coalesce(sum(bars), 0)::BIGINT FROM temp.ingest_same", &[])
    }

    fn count(&self, sql: &str, values: &[Value]) -> Result<u64> {
        let count: i64 = self.connection.query_row(sql, params_from_iter(values.iter()), |row| row.get(0))?;
        Ok(u64::try_from(count).unwrap_or_default())
    }

    /// Notes what is wrong with the rows that are no bars.
    fn note_rejected(&self, rows: &Rows, file: &Path, report: &mut IngestReport) -> Result<()> {
        let sql = format!(
            "SELECT reason, count(*), arg_min(concat_ws(', ', coalesce(symbol, 'NULL'), coalesce(ts::VARCHAR, 'NULL'), coalesce(open::VARCHAR, 'NULL'), \
             coalesce(high::VARCHAR, 'NULL'), coalesce(low::VARCHAR, 'NULL'), coalesce(close::VARCHAR, 'NULL'), coalesce(raw_volume::VARCHAR, 'NULL')), \
             row_number) FROM (SELECT *, row_number() OVER () AS row_number FROM {}) WHERE reason IS NOT NULL GROUP BY reason ORDER BY reason",
            rows.checked
        );
        self.note(&sql, &rows.values, file, report).map(drop)
    }

    /// Notes the lines of a CSV file that could not even be read. Returns how many there are.
    pub(super) fn note_unreadable(&self, file: &Path, report: &mut IngestReport) -> Result<u64> {
        // A line can have several errors; it counts once, under its first.
        let sql = "WITH lines AS (SELECT line, arg_min(error_type::VARCHAR, column_idx) AS kind, arg_min(column_name, column_idx) AS column_name, \
             any_value(csv_line) AS csv_line FROM temp.reject_errors GROUP BY line) \
             SELECT CASE kind WHEN 'CAST' THEN 'column ' || column_name || ' is not of its type' WHEN 'MISSING COLUMNS' THEN 'too few columns' \
             WHEN 'TOO MANY COLUMNS' THEN 'too many columns' ELSE lower(kind) END AS reason, count(*), \
             'line ' || min(line) || ': ' || coalesce(arg_min(csv_line, line), '') FROM lines GROUP BY reason ORDER BY reason";
        self.note(sql, &[], file, report)
    }

    fn note(&self, sql: &str, values: &[Value], file: &Path, report: &mut IngestReport) -> Result<u64> {
        let mut statement = self.connection.prepare(sql)?;
        let found = statement.query_map(params_from_iter(values.iter()), |row| {
            Ok((row.get::<_, String>(0)?, row.get::<_, i64>(1)?, row.get::<_, String>(2)?))
        })?;
        let mut total = 0;
        for row in found {
            let (reason, rows, example) = row?;
            let rows = u64::try_from(rows).unwrap_or_default();
            total += rows;
            report.rejected.push(Rejected { file: file.to_path_buf(), reason, rows, example });
        }
        Ok(total)
    }

    /// DuckDB keeps what it could not read of a CSV file in two temporary tables, and adds to them.
    pub(super) fn drop_staged(&self) -> Result<()> {
        Ok(self.connection.execute_batch(
            "DROP TABLE IF EXISTS temp.reject_errors; DROP TABLE IF EXISTS temp.reject_scans; DROP TABLE IF EXISTS temp.ingest_rows; \
             DROP TABLE IF EXISTS temp.ingest_same",
        )?)
    }
}

/// Each row with the time and symbol of the one before.
fn neighbours(rows: &Rows) -> String {
    format!(
        "(SELECT symbol, ts, CAST(ts AS DATE) AS session, lag(symbol) OVER () AS last_symbol, lag(ts) OVER () AS last_ts, \
         CAST(lag(ts) OVER () AS DATE) AS last_session FROM {})",
        rows.raw
    )
}

/// Bars by session, symbol and time.
fn in_storage_order(rows: &Rows, bars: &str) -> String {
    // Numbers sort much faster than names.
    format!(
        "{bars} AS bar JOIN (SELECT symbol, row_number() OVER (ORDER BY symbol) AS place FROM (SELECT DISTINCT symbol FROM {})) AS named \
         ON bar.symbol = named.symbol ORDER BY CAST(bar.ts AS DATE), named.place, bar.ts",
        rows.raw
    )
}
