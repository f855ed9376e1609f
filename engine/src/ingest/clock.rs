//! What a time column holds: the exchange's clock, instants, or texts of either.

use arrow::datatypes::DataType;
use duckdb::params_from_iter;

use super::{
    layout::{Layout, Mapping, OFFSET, column},
    reader::{Reader, Values},
};
use crate::{Engine, Error, Result};

/// What a time column holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Clock {
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

impl Engine {
    /// Looks at the time column.
    pub(super) fn clock(&self, layout: &Layout, mapping: &Mapping<'_>, reader: &Reader) -> Result<Clock> {
        let columns = &mapping.columns[1];
        if layout.timestamp_format.is_some() {
            return Ok(Clock::Format);
        }
        let name = column(&columns[0]);
        let mut values = Values::Bound(Vec::new());
        let source = reader.call(&mut values, &mapping.text_types(false));
        let values = values.bound();
        if columns.len() == 1 {
            match mapping.type_of(1) {
                DataType::Timestamp(_, None) | DataType::Date32 => return Ok(Clock::Wall),
                DataType::Timestamp(_, Some(_)) => return Ok(Clock::Instant),
                number if number.is_numeric() => {
                    let sql = format!("SELECT coalesce(bool_and({name} BETWEEN 19000101 AND 22001231), false) FROM {source} AS file_row");
                    let days = self.connection.query_row(&sql, params_from_iter(values.iter()), |row| row.get(0))?;
                    return Ok(if days { Clock::Day } else { Clock::Epoch });
                }
                _ => {}
            }
        }
        let texts = columns.iter().map(|name| format!("CAST({} AS VARCHAR)", column(name))).collect::<Vec<_>>().join(", ");
        let text = format!("trim(concat_ws(' ', {texts}))");
        let sql = format!(
            "SELECT coalesce(bool_and(number IS NOT NULL), false), coalesce(bool_and(number BETWEEN 19000101 AND 22001231), false), \
             bool_or(TRY_CAST(text AS TIMESTAMPTZ) IS NOT NULL OR TRY_CAST(text AS TIMESTAMP) IS NOT NULL), \
             coalesce(bool_or(regexp_matches(text, {OFFSET})), false) \
             FROM (SELECT text, TRY_CAST(text AS DOUBLE) AS number FROM (SELECT nullif({text}, '') AS text FROM {source} AS file_row)) \
             WHERE text IS NOT NULL"
        );
        let (numbers, days, readable, with_zone): (bool, bool, Option<bool>, bool) =
            self.connection
                .query_row(&sql, params_from_iter(values.iter()), |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?)))?;
        if numbers && columns.len() == 1 {
            return Ok(if days { Clock::Day } else { Clock::Epoch });
        }
        // `false`: there are times, and none of them can be read. That is a format of its own, not broken rows.
        if readable == Some(false) {
            let sql = format!("SELECT any_value({text}) FROM {source} AS file_row");
            let example: Option<String> = self.connection.query_row(&sql, params_from_iter(values.iter()), |row| row.get(0))?;
            return Err(Error::Invalid(format!(
                "no time in column '{}' can be read, such as '{}'; give their format with --timestamp-format, such as '%d/%m/%Y %H:%M'",
                columns.join("+"),
                example.unwrap_or_default()
            )));
        }
        Ok(if with_zone { Clock::TextWithZone } else { Clock::Text })
    }
}
