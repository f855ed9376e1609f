//! Which columns of a file or relation become the columns of bars, as SQL expressions.

use std::path::Path;

use arrow::datatypes::DataType;
use duckdb::types::Value;

use super::{
    COLUMNS,
    clock::Clock,
    reader::{Kind, Reader, Values},
};
use crate::{
    Error, Result,
    call::{literal, quoted},
    error::{did_you_mean, nearest},
};

/// What a timestamp in a file marks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Label {
    /// The start of the bar, as the table keeps it.
    Start,
    /// The end of the bar.
    End,
}

/// How bars are laid out in files or relations that were not made for Stockscan.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layout {
    /// The column there for a column of the bars, as in `("ts", "timestamp")`; two columns joined by `+` make a date with a time.
    pub map: Vec<(String, String)>,
    /// The symbol where there is only one and no column that says which; `None`: a column holds it.
    pub symbol: Option<String>,
    /// The file's name up to its first dot is the symbol.
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

impl Default for Layout {
    /// Bars of a minute in columns of the usual names.
    fn default() -> Layout {
        Layout {
            map: Vec::new(),
            symbol: None,
            symbol_from_file: false,
            time_zone: None,
            file_time_zone: None,
            timestamp_format: None,
            label: Label::Start,
            bar_minutes: 1,
        }
    }
}

/// The columns that were found for those of the bars.
#[derive(Debug)]
pub(super) struct Mapping<'a> {
    layout: &'a Layout,
    /// For each of [`COLUMNS`]: the columns there, several for a date and a time.
    pub(super) columns: Vec<Vec<String>>,
    types: Vec<DataType>,
    symbol: Symbol,
    kind: Kind,
}

/// Where the name of the stock stands.
#[derive(Debug)]
enum Symbol {
    Column,
    Given(String),
    /// In the name of each of several files.
    FileNames,
}

impl<'a> Mapping<'a> {
    pub(super) fn new(layout: &'a Layout, reader: &Reader, found: &[(String, DataType)]) -> Result<Mapping<'a>> {
        let names: Vec<&str> = found.iter().map(|(name, _)| name.as_str()).collect();
        let exact = |wanted: &str| names.iter().find(|name| name.eq_ignore_ascii_case(wanted)).map(|name| (*name).to_owned());
        for (target, _) in &layout.map {
            if !COLUMNS.contains(&target.as_str()) {
                let hint = did_you_mean(nearest(target, COLUMNS).as_deref());
                return Err(Error::Invalid(format!("--map names '{target}'{hint} it takes {}", COLUMNS.join(", "))));
            }
        }
        let symbol = match (&layout.symbol, layout.symbol_from_file) {
            (Some(symbol), _) => Symbol::Given(symbol.clone()),
            (None, true) if reader.kind == Kind::Relation => {
                return Err(Error::Invalid("--symbol-from-file: a relation is no file; give --symbol NAME".to_owned()));
            }
            (None, true) if reader.is_pattern => Symbol::FileNames,
            (None, true) => {
                let name = Path::new(&reader.name).file_name().unwrap_or_default().to_string_lossy();
                Symbol::Given(name.split('.').next().unwrap_or_default().to_owned())
            }
            (None, false) => Symbol::Column,
        };
        let mut columns = Vec::new();
        for target in COLUMNS {
            if target == "symbol" && !matches!(symbol, Symbol::Column) {
                columns.push(Vec::new());
                continue;
            }
            if let Some((_, given)) = layout.map.iter().rev().find(|(name, _)| name == target) {
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
                let more = match (target, reader.kind) {
                    ("symbol", Kind::Relation) => ", or give --symbol NAME",
                    ("symbol", _) => ", or give --symbol NAME or --symbol-from-file",
                    _ => "",
                };
                Error::Invalid(format!(
                    "no column for '{target}' among {}; say which one with --map {target}=COLUMN{more}",
                    names.join(", ")
                ))
            })?);
        }
        let type_of = |columns: &Vec<String>| {
            let known = columns.first().and_then(|first| found.iter().find(|(name, _)| name == first));
            known.map_or(DataType::Null, |(_, data_type)| data_type.clone())
        };
        let types = columns.iter().map(type_of).collect();
        Ok(Mapping { layout, columns, types, symbol, kind: reader.kind })
    }

    /// The type of a column of the bars, as it is there.
    pub(super) fn type_of(&self, target: usize) -> &DataType {
        &self.types[target]
    }

    /// The types that the columns of a file of texts are read as, whatever its first lines look like.
    pub(super) fn text_types(&self, time_is_text: bool) -> String {
        let option = match self.kind {
            Kind::Csv | Kind::PlainCsv => "types",
            Kind::Json | Kind::Lines => "columns",
            Kind::Parquet | Kind::Relation => return String::new(),
        };
        let mut types = Vec::new();
        for (target, columns) in COLUMNS.iter().zip(&self.columns) {
            let sql_type = match *target {
                _ if option == "columns" => "VARCHAR",
                "symbol" => "VARCHAR",
                // Read by its format, or put together with its date: not by what it looks like.
                "ts" if time_is_text || columns.len() > 1 => "VARCHAR",
                "ts" => continue,
                _ => "DOUBLE",
            };
            for column in columns {
                let column = literal(&Value::Text(column.clone()));
                if !types.iter().any(|(known, _)| *known == column) {
                    types.push((column, sql_type));
                }
            }
        }
        let types: Vec<String> = types.iter().map(|(column, sql_type)| format!("{column}: '{sql_type}'")).collect();
        format!(", {option} = {{{}}}", types.join(", "))
    }

    /// The name of the stock.
    pub(super) fn symbol(&self, values: &mut Values) -> String {
        match &self.symbol {
            Symbol::Given(symbol) => values.text(symbol),
            Symbol::FileNames => "split_part(parse_filename(file_row.filename), '.', 1)".to_owned(),
            // What is written into a view is what a scan filters by, so nothing is done to it.
            Symbol::Column if matches!(values, Values::Written) => format!("CAST({} AS VARCHAR)", column(&self.columns[0][0])),
            Symbol::Column => format!("trim(CAST({} AS VARCHAR))", column(&self.columns[0][0])),
        }
    }

    /// A price or the volume.
    pub(super) fn number(&self, target: usize, sql_type: &str) -> String {
        let name = column(&self.columns[target][0]);
        let is_so_already = match self.type_of(target) {
            DataType::Float64 => sql_type == "DOUBLE",
            DataType::Int64 => sql_type == "BIGINT",
            _ => false,
        };
        if is_so_already { name } else { format!("TRY_CAST({name} AS {sql_type})") }
    }

    /// The start of the bar in exchange time.
    pub(super) fn timestamp(&self, clock: Clock, values: &mut Values) -> Result<String> {
        let layout = self.layout;
        let columns = &self.columns[1];
        let texts = columns.iter().map(|name| format!("CAST({} AS VARCHAR)", column(name))).collect::<Vec<_>>().join(", ");
        let text = format!("nullif(trim(concat_ws(' ', {texts})), '')");
        let name = column(&columns[0]);
        let zone = |values: &mut Values| {
            layout.time_zone.as_ref().map(|zone| values.text(zone)).ok_or_else(|| {
                Error::Invalid(format!(
                    "column '{}' tells instants, not the exchange's clock; say which zone that clock is in, as in --timezone Asia/Kolkata",
                    columns.join("+")
                ))
            })
        };
        let in_zone = |wall: String, values: &mut Values| -> Result<String> {
            Ok(match &layout.file_time_zone {
                Some(written) => {
                    let written = values.text(written);
                    format!("to_exchange_time(from_exchange_time({wall}, {written}), {})", zone(values)?)
                }
                None => wall,
            })
        };
        let wall = match clock {
            Clock::Wall => in_zone(format!("CAST({name} AS TIMESTAMP)"), values)?,
            Clock::Instant => format!("to_exchange_time({name}, {})", zone(values)?),
            Clock::Day => in_zone(format!("CAST(try_strptime(CAST(CAST({name} AS BIGINT) AS VARCHAR), '%Y%m%d') AS TIMESTAMP)"), values)?,
            Clock::Epoch => {
                // Seconds, milliseconds, microseconds or nanoseconds since 1970: told apart by size, which is safe from 1973 to 5138.
                let epoch = format!("CAST({name} AS DOUBLE)");
                format!(
                    "to_exchange_time(to_timestamp(CASE WHEN abs({epoch}) < 1e8 THEN NULL WHEN abs({epoch}) < 1e11 THEN {epoch} \
                     WHEN abs({epoch}) < 1e14 THEN {epoch} / 1e3 WHEN abs({epoch}) < 1e17 THEN {epoch} / 1e6 \
                     WHEN abs({epoch}) < 1e20 THEN {epoch} / 1e9 END), {})",
                    zone(values)?
                )
            }
            Clock::Text => in_zone(format!("TRY_CAST({text} AS TIMESTAMP)"), values)?,
            Clock::TextWithZone => {
                // Cast by itself, a text without an offset would be taken for UTC.
                let plain = in_zone(format!("TRY_CAST({text} AS TIMESTAMP)"), values)?;
                format!(
                    "CASE WHEN regexp_matches({text}, {OFFSET}) THEN to_exchange_time(TRY_CAST({text} AS TIMESTAMPTZ), {}) ELSE {plain} END",
                    zone(values)?
                )
            }
            Clock::Format => {
                let format = layout.timestamp_format.as_deref().unwrap_or_default();
                let format_value = values.text(format);
                let parsed = format!("try_strptime({text}, {format_value})");
                if format.contains("%z") || format.contains("%Z") {
                    format!("to_exchange_time(CAST({parsed} AS TIMESTAMPTZ), {})", zone(values)?)
                } else {
                    in_zone(format!("CAST({parsed} AS TIMESTAMP)"), values)?
                }
            }
        };
        Ok(match layout.label {
            Label::Start => wall,
            Label::End => format!("{wall} - to_minutes({})", layout.bar_minutes),
        })
    }
}

/// A text that ends with an offset from UTC, behind a time of day.
pub(super) const OFFSET: &str = "':[0-9.]+ *(Z|UTC|[+-][0-9][0-9](:?[0-9][0-9])?)$'";

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

/// A column there, as SQL text.
pub(super) fn column(name: &str) -> String {
    format!("file_row.{}", quoted(name))
}
