//! Files into the table of bars: columns mapped, clocks converted, doubles and defects kept out and counted.
//!
//! A file goes in whole, in one transaction, or not at all. (symbol, ts) stays unique: a bar that is already there is left as it is, so the
//! same file can be taken in again without changing anything. Rows are stored by session, symbol and time, so that a scan of a few sessions
//! reads little else.

use std::path::{Path, PathBuf};

use arrow::datatypes::DataType;
use duckdb::{params_from_iter, types::Value};

use crate::{
    Engine, Error, Query, Result,
    call::literal,
    error::{did_you_mean, nearest},
};

const COLUMNS: [&str; 7] = ["symbol", "ts", "open", "high", "low", "close", "volume"];

/// What a timestamp in a file marks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Label {
    /// The start of the bar, as the table keeps it.
    Start,
    /// The end of the bar.
    End,
}

/// How to read the files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ingest {
    /// CSV, Parquet or JSON files, by their endings.
    pub files: Vec<PathBuf>,
    /// The column of the files for a column of the bars, as in `("ts", "timestamp")`; two columns joined by `+` make a date with a time.
    pub map: Vec<(String, String)>,
    /// The symbol of files that hold only one and do not say which; `None`: a column holds it.
    pub symbol: Option<String>,
    /// The file's name without its ending is the symbol.
    pub symbol_from_file: bool,
    /// IANA name of the exchange's time zone: needed for timestamps that carry a zone or count from 1970.
    pub time_zone: Option<String>,
    /// IANA name of the zone in which timestamps without a zone are written; `None`: the exchange's own.
    pub file_time_zone: Option<String>,
    /// `strptime` format of timestamps that DuckDB does not recognise.
    pub timestamp_format: Option<String>,
    /// What the timestamps mark.
    pub label: Label,
    /// Length of a bar in minutes.
    pub bar_minutes: u32,
}

/// How far an ingest is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Progress<'a> {
    /// Files done.
    pub files_done: usize,
    /// Files in all.
    pub files: usize,
    /// The file being read.
    pub file: &'a Path,
}

/// Rows that were not stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rejected {
    /// The file.
    pub file: PathBuf,
    /// What is wrong with them.
    pub reason: String,
    /// How many.
    pub rows: u64,
    /// The first of them.
    pub example: String,
}

/// What an ingest did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct IngestReport {
    /// Files taken in.
    pub files: u64,
    /// Rows read, broken ones included.
    pub rows_read: u64,
    /// Bars added.
    pub added: u64,
    /// Rows whose bar was there already, with the same values.
    pub unchanged: u64,
    /// Rows whose bar was there already with other values; the stored bar stays.
    pub conflicting: u64,
    /// Rows that repeat another row of the same file.
    pub repeated: u64,
    /// Rows that are no bars, by file and reason.
    pub rejected: Vec<Rejected>,
}

impl Engine {
    /// Takes files into the table of bars, which is made if it does not exist. `progress` is called before each file.
    ///
    /// # Errors
    /// The first file that cannot be read, with what to do; files before it stay ingested, nothing of it is stored.
    pub fn ingest(&self, ingest: &Ingest, mut progress: impl FnMut(Progress<'_>)) -> Result<IngestReport> {
        if ingest.files.is_empty() {
            return Err(Error::Invalid("no files to ingest; expected CSV, Parquet or JSON files".to_owned()));
        }
        let mut report = IngestReport::default();
        for (index, file) in ingest.files.iter().enumerate() {
            progress(Progress { files_done: index, files: ingest.files.len(), file });
            self.connection.execute_batch("BEGIN")?;
            let outcome = self.ingest_file(ingest, file, &mut report);
            match outcome {
                Ok(()) => self.connection.execute_batch("COMMIT")?,
                Err(error) => {
                    // The transaction may have ended with the error already.
                    let _ = self.connection.execute_batch("ROLLBACK");
                    let done = if index == 0 { String::new() } else { format!(" ({index} files before it were ingested)") };
                    return Err(match error {
                        Error::Invalid(text) => Error::Invalid(format!("{}: {text}{done}", file.display())),
                        Error::Database(text) => Error::Database(format!("{}: {text}{done}; nothing of it was stored", file.display())),
                        other => other,
                    });
                }
            }
            report.files += 1;
        }
        Ok(report)
    }

    fn ingest_file(&self, ingest: &Ingest, file: &Path, report: &mut IngestReport) -> Result<()> {
        let table = self.bars_table()?;
        let reader = Reader::of(file)?;
        let found = self.file_columns(&reader)?;
        let mapping = Mapping::new(ingest, file, &found)?;

        let mut bound = Bound(vec![reader.path()]);
        let clock = self.clock(ingest, &mapping, &reader, &found)?;
        let select = mapping.select(ingest, clock, &mut bound)?;
        let source = reader.call(&mapping.csv_types(ingest.timestamp_format.is_some()));
        self.drop_rejects()?;
        self.connection.execute(
            &format!("CREATE TEMP TABLE ingest_rows AS {select} FROM {source} AS file_row) AS raw) AS bar"),
            params_from_iter(bound.0.iter()),
        )?;
        let (read, unreadable) = self.count_rejected(file, &reader, report)?;
        report.rows_read += read + unreadable;

        // A bar in the file twice: the last by every column, so that the order of the rows does not matter.
        let repeated = self.count(
            "SELECT coalesce(sum(n - 1), 0)::BIGINT FROM (SELECT count(*) AS n FROM temp.ingest_rows WHERE reason IS NULL GROUP BY symbol, ts)",
        )?;
        report.repeated += repeated;
        let bars = if repeated == 0 {
            "SELECT symbol, ts, open, high, low, close, volume FROM temp.ingest_rows WHERE reason IS NULL".to_owned()
        } else {
            "SELECT symbol, ts, open, high, low, close, volume FROM temp.ingest_rows WHERE reason IS NULL \
             QUALIFY row_number() OVER (PARTITION BY symbol, ts ORDER BY open DESC, high DESC, low DESC, close DESC, volume DESC) = 1"
                .to_owned()
        };
        let overlapping = self.count(&format!(
            "SELECT count(*) FROM {table} AS stored WHERE stored.ts BETWEEN (SELECT min(ts) FROM temp.ingest_rows WHERE reason IS NULL) \
             AND (SELECT max(ts) FROM temp.ingest_rows WHERE reason IS NULL)"
        ))?;
        let new = if overlapping == 0 {
            bars
        } else {
            let (same, other) = self.connection.query_row(
                &format!(
                    "SELECT count(*) FILTER (WHERE same), count(*) FILTER (WHERE NOT same) FROM (SELECT (bar.open, bar.high, bar.low, bar.close, \
                     bar.volume) IS NOT DISTINCT FROM (stored.open, stored.high, stored.low, stored.close, stored.volume) AS same \
                     FROM ({bars}) AS bar JOIN {table} AS stored ON bar.symbol = stored.symbol AND bar.ts = stored.ts)"
                ),
                [],
                |row| Ok((row.get::<_, i64>(0)?, row.get::<_, i64>(1)?)),
            )?;
            report.unchanged += u64::try_from(same).unwrap_or_default();
            report.conflicting += u64::try_from(other).unwrap_or_default();
            format!("SELECT bar.* FROM ({bars}) AS bar ANTI JOIN {table} AS stored ON bar.symbol = stored.symbol AND bar.ts = stored.ts")
        };
        let added = self.connection.execute(
            &format!("INSERT INTO {table} (symbol, ts, open, high, low, close, volume) FROM ({new}) AS bar ORDER BY CAST(bar.ts AS DATE), bar.symbol, bar.ts"),
            [],
        )?;
        report.added += added as u64;
        self.drop_rejects()
    }

    /// The quoted name of the table of bars, made if it is not there, checked if it is.
    fn bars_table(&self) -> Result<String> {
        let name = self.options.source.as_deref().unwrap_or("bars");
        if name.contains(['/', '\\', '*']) || name.to_lowercase().ends_with(".parquet") || name.to_lowercase().ends_with(".csv") {
            return Err(Error::Invalid(format!("--source {name} is a file; bars go into a table, such as --source bars")));
        }
        let table = name.split('.').map(quoted).collect::<Vec<_>>().join(".");
        self.connection.execute_batch(&format!(
            "CREATE TABLE IF NOT EXISTS {table} (symbol VARCHAR, ts TIMESTAMP, open DOUBLE, high DOUBLE, low DOUBLE, close DOUBLE, volume BIGINT)"
        ))?;
        let (schema, _) = self.collect(&Query::plain(format!("FROM {table} LIMIT 0")), None)?;
        if let Some(missing) = COLUMNS.iter().find(|column| schema.column_with_name(column).is_none()) {
            return Err(Error::Invalid(format!(
                "the table '{name}' of {} has no column '{missing}'; a table of bars has {}; name another table with --source",
                self.name(),
                COLUMNS.join(", ")
            )));
        }
        Ok(table)
    }

    /// Names and types of a file's columns.
    fn file_columns(&self, reader: &Reader) -> Result<Vec<(String, DataType)>> {
        let query = Query::with_values(format!("FROM {} LIMIT 0", reader.call("")), vec![reader.path()]);
        let (schema, _) = self.collect(&query, None)?;
        Ok(schema.fields().iter().map(|field| (field.name().clone(), field.data_type().clone())).collect())
    }

    /// Notes what is wrong with the rows that are no bars. Returns how many rows could be read, and how many could not even be read.
    fn count_rejected(&self, file: &Path, reader: &Reader, report: &mut IngestReport) -> Result<(u64, u64)> {
        let read = self.count("SELECT count(*) FROM temp.ingest_rows")?;
        let mut note = |sql: &str| -> Result<u64> {
            let mut statement = self.connection.prepare(sql)?;
            let rows = statement.query_map([], |row| Ok((row.get::<_, String>(0)?, row.get::<_, i64>(1)?, row.get::<_, String>(2)?)))?;
            let mut total = 0;
            for row in rows {
                let (reason, rows, example) = row?;
                let rows = u64::try_from(rows).unwrap_or_default();
                total += rows;
                report.rejected.push(Rejected { file: file.to_path_buf(), reason, rows, example });
            }
            Ok(total)
        };
        note(
            "SELECT reason, count(*), arg_min(concat_ws(', ', coalesce(symbol, 'NULL'), coalesce(ts::VARCHAR, 'NULL'), coalesce(open::VARCHAR, 'NULL'), \
             coalesce(high::VARCHAR, 'NULL'), coalesce(low::VARCHAR, 'NULL'), coalesce(close::VARCHAR, 'NULL'), coalesce(raw_volume::VARCHAR, 'NULL')), \
             row_number) FROM temp.ingest_rows WHERE reason IS NOT NULL GROUP BY reason ORDER BY reason",
        )?;
        if reader.kind != Kind::Csv {
            return Ok((read, 0));
        }
        // A line can have several errors; it counts once, under its first.
        let unreadable = note(
            "WITH lines AS (SELECT line, arg_min(error_type::VARCHAR, column_idx) AS kind, arg_min(column_name, column_idx) AS column_name, \
             any_value(csv_line) AS csv_line FROM temp.reject_errors GROUP BY line) \
             SELECT CASE kind WHEN 'CAST' THEN 'column ' || column_name || ' is not of its type' WHEN 'MISSING COLUMNS' THEN 'too few columns' \
             WHEN 'TOO MANY COLUMNS' THEN 'too many columns' ELSE lower(kind) END AS reason, count(*), \
             'line ' || min(line) || ': ' || coalesce(arg_min(csv_line, line), '') FROM lines GROUP BY reason ORDER BY reason",
        )?;
        Ok((read, unreadable))
    }

    fn count(&self, sql: &str) -> Result<u64> {
        let count: i64 = self.connection.query_row(sql, [], |row| row.get(0))?;
        Ok(u64::try_from(count).unwrap_or_default())
    }

    /// DuckDB keeps what it could not read of a CSV file in two temporary tables, and adds to them.
    fn drop_rejects(&self) -> Result<()> {
        Ok(self.connection.execute_batch(
            "DROP TABLE IF EXISTS temp.reject_errors; DROP TABLE IF EXISTS temp.reject_scans; DROP TABLE IF EXISTS temp.ingest_rows",
        )?)
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Csv,
    Parquet,
    Json,
}

struct Reader<'a> {
    kind: Kind,
    path: &'a Path,
}

impl<'a> Reader<'a> {
    fn of(path: &'a Path) -> Result<Reader<'a>> {
        if !path.exists() {
            return Err(Error::File { path: path.to_path_buf(), source: std::io::ErrorKind::NotFound.into() });
        }
        let name = path.to_string_lossy().to_lowercase();
        let name = name.strip_suffix(".gz").or_else(|| name.strip_suffix(".zst")).unwrap_or(&name);
        let kind = match name.rsplit('.').next() {
            Some("csv" | "tsv" | "txt") => Kind::Csv,
            Some("parquet" | "pq") => Kind::Parquet,
            Some("json" | "ndjson" | "jsonl") => Kind::Json,
            _ => {
                return Err(Error::Invalid(
                    "the ending tells the format; expected .csv, .tsv, .txt, .parquet, .json, .ndjson or .jsonl, also with .gz or .zst"
                        .to_owned(),
                ));
            }
        };
        Ok(Reader { kind, path })
    }

    fn path(&self) -> Value {
        Value::Text(self.path.display().to_string())
    }

    /// The reading table function, over the path as the statement's first value.
    fn call(&self, types: &str) -> String {
        match self.kind {
            // What cannot be read is kept aside by DuckDB, with its line.
            Kind::Csv => format!("read_csv($1, store_rejects = true, rejects_limit = 0{types})"),
            Kind::Parquet => "read_parquet($1)".to_owned(),
            Kind::Json => "read_json($1)".to_owned(),
        }
    }
}

/// The values of a statement that is being put together.
struct Bound(Vec<Value>);

impl Bound {
    /// Adds a text and returns how the statement names it.
    fn text(&mut self, text: &str) -> String {
        self.0.push(Value::Text(text.to_owned()));
        format!("${}", self.0.len())
    }
}

/// Which column of a file becomes which column of the bars.
struct Mapping {
    /// For each of [`COLUMNS`]: the file's columns, several for a date and a time.
    columns: Vec<Vec<String>>,
    symbol: Option<String>,
    is_csv: bool,
}

impl Mapping {
    fn new(ingest: &Ingest, file: &Path, found: &[(String, DataType)]) -> Result<Mapping> {
        let names: Vec<&str> = found.iter().map(|(name, _)| name.as_str()).collect();
        let exact = |wanted: &str| names.iter().find(|name| name.eq_ignore_ascii_case(wanted)).map(|name| (*name).to_owned());
        for (target, _) in &ingest.map {
            if !COLUMNS.contains(&target.as_str()) {
                let hint = did_you_mean(nearest(target, COLUMNS).as_deref());
                return Err(Error::Invalid(format!("--map names '{target}'{hint} it takes {}", COLUMNS.join(", "))));
            }
        }
        let symbol = match (&ingest.symbol, ingest.symbol_from_file) {
            (Some(symbol), _) => Some(symbol.clone()),
            (None, true) => file.file_name().map(|name| name.to_string_lossy().split('.').next().unwrap_or_default().to_owned()),
            (None, false) => None,
        };
        let mut columns = Vec::new();
        for target in COLUMNS {
            if target == "symbol" && symbol.is_some() {
                columns.push(Vec::new());
                continue;
            }
            if let Some((_, given)) = ingest.map.iter().rev().find(|(name, _)| name == target) {
                // A column may have a '+' in its name.
                let parts = if exact(given).is_some() { vec![given.as_str()] } else { given.split('+').collect() };
                let parts: Result<Vec<String>> = parts
                    .into_iter()
                    .map(|part| {
                        exact(part).ok_or_else(|| {
                            let hint = did_you_mean(nearest(part, names.iter().copied()).as_deref());
                            Error::Invalid(format!("--map {target}={given}: there is no column '{part}'{hint} it has {}", names.join(", ")))
                        })
                    })
                    .collect();
                columns.push(parts?);
                continue;
            }
            let known = aliases(target).iter().find_map(|alias| exact(alias)).map(|name| vec![name]);
            let date_and_time = || Some(vec![exact("date")?, exact("time")?]);
            let chosen = if target == "ts" {
                ["ts", "timestamp", "datetime", "date_time"]
                    .iter()
                    .find_map(|alias| exact(alias))
                    .map(|name| vec![name])
                    .or_else(date_and_time)
                    .or(known)
            } else {
                known
            };
            columns.push(chosen.ok_or_else(|| {
                let more = if target == "symbol" { ", or give --symbol NAME or --symbol-from-file" } else { "" };
                Error::Invalid(format!(
                    "no column for '{target}' among {}; say which one with --map {target}=COLUMN{more}",
                    names.join(", ")
                ))
            })?);
        }
        let is_csv = Reader::of(file)?.kind == Kind::Csv;
        Ok(Mapping { columns, symbol, is_csv })
    }

    /// The types that a CSV file's numbers and symbols are read as, whatever its first lines look like.
    fn csv_types(&self, time_is_text: bool) -> String {
        if !self.is_csv {
            return String::new();
        }
        let types = COLUMNS.iter().zip(&self.columns).flat_map(|(target, columns)| {
            let sql_type = match *target {
                "symbol" => Some("VARCHAR"),
                // Read by its format, or put together with its date: not by what it looks like.
                "ts" if time_is_text || columns.len() > 1 => Some("VARCHAR"),
                "ts" => None,
                _ => Some("DOUBLE"),
            };
            columns.iter().filter_map(move |column| Some(format!("{}: '{}'", literal(&Value::Text(column.clone())), sql_type?)))
        });
        format!(", types = {{{}}}", types.collect::<Vec<_>>().join(", "))
    }

    /// The select list that makes staged rows: the columns of a bar, and why a row is none.
    fn select(&self, ingest: &Ingest, clock: Clock, bound: &mut Bound) -> Result<String> {
        let symbol = match &self.symbol {
            Some(symbol) => bound.text(symbol),
            None => format!("trim(CAST({} AS VARCHAR))", column(&self.columns[0][0])),
        };
        let ts = self.timestamp(ingest, clock, bound)?;
        let numbers: Vec<String> = (2..7).map(|index| format!("TRY_CAST({} AS DOUBLE)", column(&self.columns[index][0]))).collect();
        let [open, high, low, close, volume] = numbers.as_slice() else { return Ok(String::new()) };
        // In two steps: in one, `ts` in a condition would be the file's own column of that name.
        Ok(format!(
            "SELECT *, CASE WHEN coalesce(symbol, '') = '' THEN 'no symbol' \
             WHEN ts IS NULL OR NOT isfinite(ts) THEN 'no time, or one that cannot be read' \
             WHEN NOT coalesce(isfinite(open) AND isfinite(high) AND isfinite(low) AND isfinite(close), false) THEN 'a price is missing or not a number' \
             WHEN least(open, high, low, close) < 1e-9 THEN 'a price is not above zero' \
             WHEN greatest(open, high, close) > 1e15 THEN 'a price is infinite' WHEN high < low THEN 'high below low' \
             WHEN raw_volume < 0 THEN 'negative volume' WHEN volume IS NULL THEN 'volume is missing or not a number' END AS reason \
             FROM (SELECT symbol, ts, open, high, low, close, raw_volume, row_number, \
             CASE WHEN isfinite(raw_volume) AND abs(raw_volume) <= 1e15 THEN CAST(raw_volume AS BIGINT) END AS volume \
             FROM (SELECT {symbol} AS symbol, {ts} AS ts, {open} AS open, {high} AS high, {low} AS low, {close} AS close, \
             {volume} AS raw_volume, row_number() OVER () AS row_number"
        ))
    }

    /// The start of the bar in exchange time.
    fn timestamp(&self, ingest: &Ingest, clock: Clock, bound: &mut Bound) -> Result<String> {
        let columns = &self.columns[1];
        let texts = columns.iter().map(|name| format!("CAST({} AS VARCHAR)", column(name))).collect::<Vec<_>>().join(", ");
        let text = format!("nullif(trim(concat_ws(' ', {texts})), '')");
        let name = column(&columns[0]);
        let zone = |bound: &mut Bound| {
            ingest.time_zone.as_ref().map(|zone| bound.text(zone)).ok_or_else(|| {
                Error::Invalid(format!(
                    "column '{}' tells instants, not the exchange's clock; say which zone that clock is in, as in --timezone Asia/Kolkata",
                    columns.join("+")
                ))
            })
        };
        let in_zone = |wall: String, bound: &mut Bound| -> Result<String> {
            Ok(match &ingest.file_time_zone {
                Some(written) => {
                    let written = bound.text(written);
                    format!("to_exchange_time(from_exchange_time({wall}, {written}), {})", zone(bound)?)
                }
                None => wall,
            })
        };
        let wall = match clock {
            Clock::Wall => in_zone(format!("CAST({name} AS TIMESTAMP)"), bound)?,
            Clock::Instant => format!("to_exchange_time({name}, {})", zone(bound)?),
            Clock::Day => in_zone(format!("CAST(try_strptime(CAST(CAST({name} AS BIGINT) AS VARCHAR), '%Y%m%d') AS TIMESTAMP)"), bound)?,
            Clock::Epoch => {
                // Seconds, milliseconds, microseconds or nanoseconds since 1970: told apart by size, which is safe from 1973 to 5138.
                let epoch = format!("CAST({name} AS DOUBLE)");
                format!(
                    "to_exchange_time(to_timestamp(CASE WHEN abs({epoch}) < 1e8 THEN NULL WHEN abs({epoch}) < 1e11 THEN {epoch} \
                     WHEN abs({epoch}) < 1e14 THEN {epoch} / 1e3 WHEN abs({epoch}) < 1e17 THEN {epoch} / 1e6 \
                     WHEN abs({epoch}) < 1e20 THEN {epoch} / 1e9 END), {})",
                    zone(bound)?
                )
            }
            Clock::Text => in_zone(format!("TRY_CAST({text} AS TIMESTAMP)"), bound)?,
            Clock::TextWithZone => {
                // Cast by itself, a text without an offset would be taken for UTC.
                let plain = in_zone(format!("TRY_CAST({text} AS TIMESTAMP)"), bound)?;
                format!(
                    "CASE WHEN regexp_matches({text}, {OFFSET}) THEN to_exchange_time(TRY_CAST({text} AS TIMESTAMPTZ), {}) ELSE {plain} END",
                    zone(bound)?
                )
            }
            Clock::Format => {
                let format = ingest.timestamp_format.as_deref().unwrap_or_default();
                let format_value = bound.text(format);
                let parsed = format!("try_strptime({text}, {format_value})");
                if format.contains("%z") || format.contains("%Z") {
                    format!("to_exchange_time(CAST({parsed} AS TIMESTAMPTZ), {})", zone(bound)?)
                } else {
                    in_zone(format!("CAST({parsed} AS TIMESTAMP)"), bound)?
                }
            }
        };
        Ok(match ingest.label {
            Label::Start => wall,
            Label::End => format!("{wall} - to_minutes({})", ingest.bar_minutes),
        })
    }
}

/// What a file's time column holds.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Clock {
    /// A timestamp without a zone, or a date.
    Wall,
    /// A timestamp with a zone.
    Instant,
    /// Whole numbers such as 20250115.
    Day,
    /// Numbers that count from 1970.
    Epoch,
    /// Texts in ISO form, or a date and a time in two columns.
    Text,
    /// Such texts, some with an offset behind them.
    TextWithZone,
    /// Texts in the format that was given.
    Format,
}

/// A text that ends with an offset from UTC, behind a time of day.
const OFFSET: &str = "':[0-9.]+ *(Z|UTC|[+-][0-9][0-9](:?[0-9][0-9])?)$'";

impl Engine {
    /// Looks at the time column of a file.
    fn clock(&self, ingest: &Ingest, mapping: &Mapping, reader: &Reader, found: &[(String, DataType)]) -> Result<Clock> {
        let columns = &mapping.columns[1];
        if ingest.timestamp_format.is_some() {
            return Ok(Clock::Format);
        }
        let data_type = found.iter().find(|(known, _)| *known == columns[0]).map_or(&DataType::Null, |(_, data_type)| data_type);
        let name = column(&columns[0]);
        let source = reader.call(&mapping.csv_types(false));
        let single = |expression: &str| -> Result<Option<bool>> {
            let sql = format!("SELECT {expression} FROM {source} AS file_row");
            Ok(self.connection.query_row(&sql, [reader.path()], |row| row.get(0))?)
        };
        if columns.len() == 1 {
            match data_type {
                DataType::Timestamp(_, None) | DataType::Date32 => return Ok(Clock::Wall),
                DataType::Timestamp(_, Some(_)) => return Ok(Clock::Instant),
                number if number.is_numeric() => {
                    let days = single(&format!("bool_and({name} BETWEEN 19000101 AND 22001231)"))?.unwrap_or(false);
                    return Ok(if days { Clock::Day } else { Clock::Epoch });
                }
                _ => {}
            }
        }
        let texts = columns.iter().map(|name| format!("CAST({} AS VARCHAR)", column(name))).collect::<Vec<_>>().join(", ");
        let text = format!("trim(concat_ws(' ', {texts}))");
        // `false`: there are rows, and none of their times can be read. That is a format of its own, not broken rows.
        let readable =
            single(&format!("bool_or(TRY_CAST({text} AS TIMESTAMPTZ) IS NOT NULL OR TRY_CAST({text} AS TIMESTAMP) IS NOT NULL)"))?;
        if readable == Some(false) {
            let sql = format!("SELECT any_value({text}) FROM {source} AS file_row");
            let example: Option<String> = self.connection.query_row(&sql, [reader.path()], |row| row.get(0))?;
            return Err(Error::Invalid(format!(
                "no time in column '{}' can be read, such as '{}'; give their format with --timestamp-format, such as '%d/%m/%Y %H:%M'",
                columns.join("+"),
                example.unwrap_or_default()
            )));
        }
        let with_zone = single(&format!("bool_or(regexp_matches({text}, {OFFSET}))"))?.unwrap_or(false);
        Ok(if with_zone { Clock::TextWithZone } else { Clock::Text })
    }
}

/// Names that files use for a column, after its own.
fn aliases(target: &str) -> &'static [&'static str] {
    match target {
        "symbol" => &["symbol", "ticker", "sym", "tradingsymbol", "trading_symbol", "instrument", "stock", "code"],
        "ts" => &["time", "date", "t"],
        "open" => &["open", "o", "open_price"],
        "high" => &["high", "h", "high_price"],
        "low" => &["low", "l", "low_price"],
        "close" => &["close", "c", "close_price", "last"],
        _ => &["volume", "vol", "v", "qty", "quantity"],
    }
}

fn column(name: &str) -> String {
    format!("file_row.{}", quoted(name))
}

fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}
