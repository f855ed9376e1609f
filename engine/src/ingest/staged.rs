//! Bars that many send at once: each body is read by itself, at the same time as others, and what is a bar waits in memory. Then all that wait
//! are stored with one commit, and each is told what became of its own.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use arrow::datatypes::DataType;
use duckdb::{params_from_iter, types::TimeUnit, types::Value};

use super::{
    IngestReport, Layout, Rejected,
    clock::Clock,
    layout::column,
    reader::{Kind, Reader, Values},
    store::Rows,
};
use crate::{
    Engine, Error, Result,
    call::{literal, quoted_text},
};

/// The database in memory in which bars wait. It is another one than that with the bars: a transaction writes to one only.
const WAITING: &str = "staged_bars";

/// No text of a Parquet file is longer, in bytes.
const LONGEST_TEXT: u32 = 1000;

/// What a body is written in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// After RFC 4180, with a header.
    Csv,
    /// An object in each line.
    Lines,
    /// JSON: an array of objects.
    Json,
    /// A Parquet file.
    Parquet,
}

/// The bars of a body, waiting to be stored.
#[derive(Debug)]
pub struct Staged {
    /// Where they are, perhaps with those of others.
    table: Arc<String>,
    /// Which of its rows they are.
    body: usize,
    bars: u64,
    /// The first and the last time, in microseconds.
    times: (i64, i64),
    symbols: (String, String),
    /// What is known without a look at what is stored.
    report: IngestReport,
}

impl Staged {
    /// How many bars wait.
    #[must_use]
    pub fn bars(&self) -> u64 {
        self.bars
    }
}

/// What a look at the rows of a body tells.
struct Found {
    rows: u64,
    /// Those that are bars.
    sound: u64,
    /// Each bar once.
    bars: u64,
    /// Those with a time that can be read.
    timed: u64,
    newest: Option<String>,
    times: (i64, i64),
    symbols: (String, String),
}

impl Engine {
    /// Reads a body of at most so many rows. What is a bar waits in memory until [`Engine::store_staged`] or [`Engine::discard_staged`], on any
    /// connection to the same DuckDB.
    ///
    /// # Errors
    /// [`Error::Invalid`] when it cannot be read as what it should be; nothing waits then.
    pub fn stage(&self, body: &Path, format: Format, layout: &Layout, most: u64) -> Result<Staged> {
        self.in_new_table(|table| self.stage_one(body, format, layout, most, table)).map_err(|error| of_body(error, body))
    }

    /// Reads bodies of lines that stand in one file one after the other, so many rows each, in little more than the time for one. `None` for a
    /// body that has anything unusual in it: it is to be read by itself.
    ///
    /// # Errors
    /// [`Error::Invalid`] when they cannot be read together; nothing waits then.
    pub fn stage_together(&self, bodies: &Path, format: Format, layout: &Layout, rows: &[u64]) -> Result<Vec<Option<Staged>>> {
        self.in_new_table(|table| self.stage_several(bodies, format, layout, rows, table)).map_err(|error| of_body(error, bodies))
    }

    fn in_new_table<T>(&self, work: impl FnOnce(&str) -> Result<T>) -> Result<T> {
        static NUMBER: AtomicU64 = AtomicU64::new(0);
        let table = format!("{WAITING}.main.bodies_{}", NUMBER.fetch_add(1, Ordering::Relaxed));
        let outcome = work(&table);
        if outcome.is_err() {
            // Its own error would hide the one that matters.
            let _ = self.connection.execute_batch(&format!("DROP TABLE IF EXISTS {table}"));
        }
        outcome
    }

    fn stage_one(&self, body: &Path, format: Format, layout: &Layout, most: u64, table: &str) -> Result<Staged> {
        let reader = reader(body, format);
        if reader.kind == Kind::Parquet {
            self.check_texts(&reader)?;
        }
        let clock = self.read_into(table, &reader, layout, "0", most)?;
        let mut report = IngestReport::default();
        if reader.is_csv() {
            report.rows_read += self.note_unreadable(body, &mut report)?;
        }
        let mut found = self.found(table)?;
        let Some((_, found)) = found.pop() else {
            return Ok(Staged {
                table: Arc::new(table.to_owned()),
                body: 0,
                bars: 0,
                times: (0, 0),
                symbols: (String::new(), String::new()),
                report,
            });
        };
        if found.rows > most {
            return Err(Error::Invalid(format!("more than {most} rows; send them in several parts")));
        }
        if clock == Clock::Format && found.timed == 0 {
            let format = layout.timestamp_format.as_deref().unwrap_or_default();
            return Err(Error::Invalid(format!("no time can be read with --timestamp-format {format}")));
        }
        report.rows_read += found.rows;
        report.repeated = found.sound - found.bars;
        report.newest = found.newest;
        if found.sound < found.rows {
            self.note_unsound(table, reader.is_csv(), &mut report)?;
        }
        if found.bars < found.rows {
            // The last by every column, as of the rows of a file.
            self.connection.execute_batch(&format!(
                "CREATE OR REPLACE TABLE {table} AS FROM {table} WHERE reason IS NULL \
                 QUALIFY row_number() OVER (PARTITION BY symbol, ts ORDER BY open DESC, high DESC, low DESC, close DESC, volume DESC) = 1"
            ))?;
        }
        Ok(Staged { table: Arc::new(table.to_owned()), body: 0, bars: found.bars, times: found.times, symbols: found.symbols, report })
    }

    fn stage_several(&self, bodies: &Path, format: Format, layout: &Layout, rows: &[u64], table: &str) -> Result<Vec<Option<Staged>>> {
        let reader = reader(bodies, format);
        let mut last = 0;
        let ends: Vec<String> = rows
            .iter()
            .map(|rows| {
                last += rows;
                last.to_string()
            })
            .collect();
        let body = format!("len(list_filter([{}], lambda last: last < place))", ends.join(", "));
        self.read_into(table, &reader, layout, &body, last)?;
        let unreadable = if reader.is_csv() { self.note_unreadable(bodies, &mut IngestReport::default())? } else { 0 };
        let found = self.found(table)?;
        // Otherwise a row may not be of the body that it is taken for.
        let is_told_apart = unreadable == 0 && found.iter().map(|(_, found)| found.rows).sum::<u64>() == last;
        let shared = Arc::new(table.to_owned());
        let mut staged: Vec<Option<Staged>> = rows.iter().map(|_| None).collect();
        for (body, found) in found.into_iter().filter(|_| is_told_apart) {
            if let (Some(place), true) = (staged.get_mut(body), found.bars == found.rows) {
                let report = IngestReport { rows_read: found.rows, newest: found.newest, ..IngestReport::default() };
                *place =
                    Some(Staged { table: Arc::clone(&shared), body, bars: found.bars, times: found.times, symbols: found.symbols, report });
            }
        }
        if staged.iter().all(Option::is_none) {
            self.connection.execute_batch(&format!("DROP TABLE {table}"))?;
        }
        Ok(staged)
    }

    /// Reads rows, bars or not, into a new table, with the number of the body that each is of.
    fn read_into(&self, table: &str, reader: &Reader, layout: &Layout, body: &str, most: u64) -> Result<Clock> {
        self.connection.execute_batch(&format!("ATTACH IF NOT EXISTS ':memory:' AS {WAITING}"))?;
        if reader.is_csv() {
            self.drop_staged()?;
        }
        let (raw, values, clock) = self.raw(layout, reader)?;
        let rows = Rows::new(&raw, values);
        let create = format!(
            "CREATE TABLE {table} AS SELECT {body} AS body, symbol, ts, open, high, low, close, volume, raw_volume, reason \
             FROM (SELECT *, row_number() OVER () AS place FROM {}) LIMIT {}",
            rows.checked,
            most.saturating_add(1)
        );
        self.connection.execute(&create, params_from_iter(rows.values.iter()))?;
        Ok(clock)
    }

    /// Looks at the rows, by body.
    fn found(&self, table: &str) -> Result<Vec<(usize, Found)>> {
        let sql = format!(
            "SELECT body, count(*), count(*) FILTER (reason IS NULL), count(DISTINCT (symbol, ts)) FILTER (reason IS NULL), count(ts), \
             CAST(max(ts) FILTER (reason IS NULL) AS VARCHAR), coalesce(epoch_us(min(ts) FILTER (reason IS NULL)), 0), \
             coalesce(epoch_us(max(ts) FILTER (reason IS NULL)), 0), coalesce(min(symbol), ''), coalesce(max(symbol), '') \
             FROM {table} GROUP BY body"
        );
        let mut statement = self.connection.prepare(&sql)?;
        let found = statement.query_map([], |row| {
            let count = |index| Ok::<_, duckdb::Error>(u64::try_from(row.get::<_, i64>(index)?).unwrap_or_default());
            let found = Found {
                rows: count(1)?,
                sound: count(2)?,
                bars: count(3)?,
                timed: count(4)?,
                newest: row.get(5)?,
                times: (row.get(6)?, row.get(7)?),
                symbols: (row.get(8)?, row.get(9)?),
            };
            Ok((usize::try_from(count(0)?).unwrap_or(usize::MAX), found))
        })?;
        Ok(found.collect::<std::result::Result<_, _>>()?)
    }

    /// Notes what is wrong with the rows that are no bars, and which is the first.
    fn note_unsound(&self, table: &str, is_csv: bool, report: &mut IngestReport) -> Result<()> {
        let sql = format!(
            "SELECT reason, count(*), min(rowid) + 1, arg_min(concat_ws(', ', coalesce(symbol, 'NULL'), coalesce(CAST(ts AS VARCHAR), 'NULL'), \
             coalesce(CAST(open AS VARCHAR), 'NULL'), coalesce(CAST(high AS VARCHAR), 'NULL'), coalesce(CAST(low AS VARCHAR), 'NULL'), \
             coalesce(CAST(close AS VARCHAR), 'NULL'), coalesce(CAST(raw_volume AS VARCHAR), 'NULL')), rowid) \
             FROM {table} WHERE reason IS NOT NULL GROUP BY reason ORDER BY reason"
        );
        let mut statement = self.connection.prepare(&sql)?;
        let mut found = statement.query([])?;
        while let Some(row) = found.next()? {
            let (number, text): (i64, String) = (row.get(2)?, row.get(3)?);
            // Lines that cannot be read are no rows, so these cannot be counted where there are any.
            let is_counted = !is_csv || report.rejected.is_empty();
            report.rejected.push(Rejected {
                file: PathBuf::new(),
                reason: row.get(0)?,
                rows: u64::try_from(row.get::<_, i64>(1)?).unwrap_or_default(),
                example: if is_counted { format!("row {number}: {text}") } else { text },
            });
        }
        Ok(())
    }

    /// A few bytes of Parquet can stand for very many long texts.
    fn check_texts(&self, reader: &Reader) -> Result<()> {
        let mut lengths = Vec::new();
        for (name, data_type) in self.found_columns(reader)? {
            match data_type {
                DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => lengths.push(format!("strlen({})", column(&name))),
                DataType::Binary | DataType::LargeBinary | DataType::BinaryView => lengths.push(format!("octet_length({})", column(&name))),
                nested if nested.is_nested() => {
                    return Err(Error::Invalid(format!("column '{name}' has lists or records in it; leave it out")));
                }
                _ => {}
            }
        }
        if lengths.is_empty() {
            return Ok(());
        }
        let mut values = Values::Bound(Vec::new());
        let source = reader.call(&mut values, "");
        let sql = format!("SELECT coalesce(max(greatest({}, 0)), 0) > {LONGEST_TEXT} FROM {source} AS file_row", lengths.join(", "));
        match self.connection.query_row(&sql, params_from_iter(values.bound()), |row| row.get(0))? {
            true => Err(Error::Invalid(format!("a text of more than {LONGEST_TEXT} bytes; bars have none"))),
            false => Ok(()),
        }
    }

    /// Stores what waits, in one transaction, and tells for each what became of it, as if one had been stored after the other. Nothing of it waits
    /// any more, whatever happens.
    ///
    /// # Errors
    /// What DuckDB says; nothing is stored then.
    pub fn store_staged(&self, batch: Vec<Staged>) -> Result<Vec<IngestReport>> {
        let mut counts = Vec::new();
        let outcome = if batch.iter().any(|staged| staged.bars > 0) {
            self.in_transaction(|| {
                counts = self.store_batch(&batch)?;
                Ok(())
            })
        } else {
            Ok(())
        };
        let mut reports = Vec::new();
        let mut tables = Vec::new();
        for staged in batch {
            reports.push(staged.report);
            tables.push(staged.table);
        }
        let discarded = self.drop_unused(tables);
        outcome?;
        discarded?;
        for (request, outcome, bars) in counts {
            let report = &mut reports[request];
            match outcome.as_str() {
                "added" => report.added = bars,
                "unchanged" => report.unchanged = bars,
                _ => report.conflicting = bars,
            }
        }
        Ok(reports)
    }

    fn store_batch(&self, batch: &[Staged]) -> Result<Vec<(usize, String, u64)>> {
        let table = self.bars_table()?;
        let filled = || batch.iter().enumerate().filter(|(_, staged)| staged.bars > 0);
        let time = |microseconds: Option<i64>| literal(&Value::Timestamp(TimeUnit::Microsecond, microseconds.unwrap_or_default()));
        let first = time(filled().map(|(_, staged)| staged.times.0).min());
        let last = time(filled().map(|(_, staged)| staged.times.1).max());
        let first_symbol = quoted_text(filled().map(|(_, staged)| staged.symbols.0.as_str()).min().unwrap_or_default());
        let last_symbol = quoted_text(filled().map(|(_, staged)| staged.symbols.1.as_str()).max().unwrap_or_default());
        // The rows of several bodies may be in one table, and not all of these in this batch.
        let mut requests: BTreeMap<&str, Vec<Option<usize>>> = BTreeMap::new();
        for (request, staged) in filled() {
            let of_bodies = requests.entry(staged.table.as_str()).or_default();
            of_bodies.resize(of_bodies.len().max(staged.body + 1), None);
            of_bodies[staged.body] = Some(request);
        }
        let sent: Vec<String> = requests
            .iter()
            .map(|(waiting, requests)| {
                let requests: Vec<String> =
                    requests.iter().map(|request| request.map_or("NULL".to_owned(), |request| request.to_string())).collect();
                format!(
                    "SELECT [{}][body + 1] AS request, symbol, ts, open, high, low, close, volume FROM {waiting} WHERE request IS NOT NULL",
                    requests.join(", ")
                )
            })
            .collect();
        // A bar that several send is the first one's, as if they had been stored one after the other.
        let outcome = if filled().count() == 1 {
            "'added'"
        } else {
            "CASE WHEN request = first_value(request) OVER once THEN 'added' \
             WHEN (open, high, low, close, volume) IS NOT DISTINCT FROM first_value((open, high, low, close, volume)) OVER once THEN 'unchanged' \
             ELSE 'conflicting' END"
        };
        let judged = format!(
            "CREATE TEMP TABLE ingest_judged AS WITH sent AS ({}), \
             stored AS (SELECT symbol, ts, open, high, low, close, volume FROM {table} \
             WHERE ts BETWEEN {first} AND {last} AND symbol BETWEEN {first_symbol} AND {last_symbol}), \
             found AS (SELECT bar.request, bar.symbol, bar.ts, bool_or((bar.open, bar.high, bar.low, bar.close, bar.volume) IS NOT DISTINCT FROM \
             (stored.open, stored.high, stored.low, stored.close, stored.volume)) AS is_same \
             FROM sent AS bar JOIN stored ON bar.symbol = stored.symbol AND bar.ts = stored.ts GROUP BY ALL), \
             new AS (SELECT bar.* FROM sent AS bar ANTI JOIN found ON bar.symbol = found.symbol AND bar.ts = found.ts) \
             SELECT request, symbol, ts, NULL AS open, NULL AS high, NULL AS low, NULL AS close, NULL AS volume, \
             CASE WHEN is_same THEN 'unchanged' ELSE 'conflicting' END AS outcome FROM found \
             UNION ALL SELECT *, {outcome} FROM new WINDOW once AS (PARTITION BY symbol, ts ORDER BY request)",
            sent.join(" UNION ALL ")
        );
        self.connection.execute_batch(&judged)?;
        let mut statement = self.connection.prepare("SELECT request, outcome, count(*) FROM temp.ingest_judged GROUP BY ALL")?;
        let counts = statement
            .query_map([], |row| {
                let [request, bars] = [0, 2].map(|column| row.get::<_, i64>(column));
                Ok((usize::try_from(request?).unwrap_or_default(), row.get(1)?, u64::try_from(bars?).unwrap_or_default()))
            })?
            .collect::<std::result::Result<Vec<(usize, String, u64)>, _>>()?;
        self.connection.execute_batch(&format!(
            "INSERT INTO {table} (symbol, ts, open, high, low, close, volume) SELECT symbol, ts, open, high, low, close, volume \
             FROM temp.ingest_judged WHERE outcome = 'added' ORDER BY CAST(ts AS DATE), symbol, ts; DROP TABLE temp.ingest_judged"
        ))?;
        Ok(counts)
    }

    /// Forgets what waits.
    ///
    /// # Errors
    /// What DuckDB says.
    pub fn discard_staged(&self, batch: Vec<Staged>) -> Result<()> {
        self.drop_unused(batch.into_iter().map(|staged| staged.table).collect())
    }

    /// Drops tables of which no body waits any more.
    fn drop_unused(&self, tables: Vec<Arc<String>>) -> Result<()> {
        let drops: Vec<String> =
            tables.into_iter().filter_map(Arc::into_inner).map(|table| format!("DROP TABLE IF EXISTS {table}")).collect();
        Ok(self.connection.execute_batch(&drops.join("; "))?)
    }
}

fn reader(body: &Path, format: Format) -> Reader {
    let kind = match format {
        Format::Csv => Kind::PlainCsv,
        Format::Lines => Kind::Lines,
        Format::Json => Kind::Json,
        Format::Parquet => Kind::Parquet,
    };
    Reader { kind, name: body.display().to_string(), is_pattern: false }
}

/// What cannot be read is the sender's mistake, and the place where it was kept is nobody's business.
fn of_body(error: Error, body: &Path) -> Error {
    let path = body.display().to_string();
    let text = match error {
        Error::Database(text) if !is_ours(&text, &path) => text,
        Error::Invalid(text) => text,
        other => return other,
    };
    // Behind the first lines stand generated SQL and advice on options that nobody can give.
    let text = text.split("\n\nLINE ").next().unwrap_or_default();
    let text = text.split("\nTry ").next().unwrap_or_default().trim();
    let text = ["Invalid Input Error: ", "Conversion Error: ", "Binder Error: ", "Invalid Error: ", "IO Error: "]
        .iter()
        .find_map(|kind| text.strip_prefix(kind))
        .unwrap_or(text);
    Error::Invalid(
        [
            format!(" from file \"{path}\""),
            format!(" in file \"{path}\","),
            format!(" in file \"{path}\""),
            format!(" file '{path}'"),
            format!(" file \"{path}\""),
            path,
        ]
        .iter()
        .fold(text.to_owned(), |text, named| text.replace(named.as_str(), "")),
    )
}

/// What says nothing of the body, but of the machine.
fn is_ours(text: &str, path: &str) -> bool {
    let is_of_files = text.starts_with("IO Error") && (!text.contains(path) || text.contains("No space left"));
    let others = ["Out of Memory Error", "FATAL Error", "INTERNAL Error", "Catalog Error", "TransactionContext Error"];
    is_of_files || others.iter().any(|kind| text.starts_with(kind))
}
