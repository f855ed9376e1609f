//! Rows as a table for people: aligned, numbers to the right, as wide as the terminal allows.

use std::sync::Arc;

use arrow::{
    array::{Array, AsArray, RecordBatch},
    datatypes::{DataType, FieldRef, Float64Type, Int64Type, SchemaRef},
    error::ArrowError,
    util::display::{ArrayFormatter, FormatOptions},
};
use comfy_table::{Cell, CellAlignment, ColumnConstraint, ContentArrangement, Table, presets};
pub(crate) use stockscan_engine::grouped;
use stockscan_engine::{Error, Result};

use crate::commands::wrapped;

/// Whether numbers are rounded for reading, or shown as they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Numbers {
    /// Two decimals, thousands separated.
    Rounded,
    /// Every digit.
    Exact,
}

/// The table's text. `width` is the terminal's; where the columns don't fit, only those of `narrow` are there, if any are named, and where these
/// don't fit either, each row becomes a block of lines. Where the columns are side by side, their `units` stand under their names.
pub(crate) fn render(
    schema: &SchemaRef,
    batches: &[RecordBatch],
    numbers: Numbers,
    width: Option<u16>,
    narrow: &[&str],
    units: &[(String, String)],
) -> Result<String> {
    if let Some(width) = width.filter(|_| !narrow.is_empty())
        && !fits(schema, batches, numbers, width)?
    {
        let places: Vec<usize> = narrow.iter().filter_map(|name| schema.index_of(name).ok()).collect();
        let unfit = |error: ArrowError| Error::Database(error.to_string());
        let schema = Arc::new(schema.project(&places).map_err(unfit)?);
        let batches = batches.iter().map(|batch| batch.project(&places).map_err(unfit)).collect::<Result<Vec<_>>>()?;
        return render(&schema, &batches, numbers, Some(width), &[], units);
    }
    let names: Vec<&str> = schema.fields().iter().map(|field| field.name().as_str()).collect();
    let rows = rows_of(batches, numbers)?;
    let unit = |name: &str| units.iter().find(|(column, _)| column == name).map_or(String::new(), |(_, unit)| unit.clone());
    let units: Vec<String> = names.iter().map(|name| unit(name)).collect();
    let headers: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    let fits = |headers: &[String], gap: u16| width.is_none_or(|width| natural_width(headers, &rows, gap) <= usize::from(width));
    if fits(&headers, 2) {
        return Ok(aligned(&headers, &units, &rows, schema, 2, None));
    }
    let stacked = stacked(schema);
    for gap in [2, 1] {
        if fits(&stacked, gap) {
            return Ok(aligned(&stacked, &units, &rows, schema, gap, None));
        }
    }
    let last_is_text = schema.fields().last().is_some_and(|field| *field.data_type() == DataType::Utf8);
    let without_last = |row: &[String]| row[..row.len().saturating_sub(1)].to_vec();
    let others: Vec<Vec<String>> = rows.iter().map(|row| without_last(row)).collect();
    match width {
        Some(width) if last_is_text && natural_width(&without_last(&stacked), &others, 2) + 24 <= usize::from(width) => {
            Ok(aligned(&stacked, &units, &rows, schema, 2, Some(width)))
        }
        _ => Ok(blocks(&names, &rows, width)),
    }
}

/// Whether all columns have room side by side.
pub(crate) fn fits(schema: &SchemaRef, batches: &[RecordBatch], numbers: Numbers, width: u16) -> Result<bool> {
    Ok(natural_width(&stacked(schema), &rows_of(batches, numbers)?, 1) <= usize::from(width))
}

fn rows_of(batches: &[RecordBatch], numbers: Numbers) -> Result<Vec<Vec<String>>> {
    let mut rows = Vec::new();
    for batch in batches {
        let columns = batch.columns().iter().map(|column| texts(column.as_ref(), numbers)).collect::<Result<Vec<_>>>()?;
        for row in 0..batch.num_rows() {
            rows.push(columns.iter().map(|column| column[row].clone()).collect::<Vec<_>>());
        }
    }
    Ok(rows)
}

/// Long names are what makes scans wide: they may stand on several lines.
fn stacked(schema: &SchemaRef) -> Vec<String> {
    schema.fields().iter().map(|field| field.name().replace('_', "\n")).collect()
}

/// The width of the columns side by side, so many spaces apart.
fn natural_width(headers: &[String], rows: &[Vec<String>], gap: u16) -> usize {
    let header_width = |header: &String| header.lines().map(console::measure_text_width).max().unwrap_or(0);
    let widths = headers.iter().enumerate().map(|(index, header)| {
        rows.iter().map(|row| console::measure_text_width(&row[index])).chain([header_width(header)]).max().unwrap_or(0) + usize::from(gap)
    });
    widths.sum()
}

/// Columns side by side; with a width, the last one is wrapped into what the others leave. Numbers are never wrapped.
fn aligned(headers: &[String], units: &[String], rows: &[Vec<String>], schema: &SchemaRef, gap: u16, width: Option<u16>) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    let cell = |text: &String, field: &FieldRef| {
        let cell = Cell::new(text);
        if field.data_type().is_numeric() { cell.set_alignment(CellAlignment::Right) } else { cell }
    };
    table.set_header(headers.iter().zip(schema.fields()).map(|(header, field)| cell(header, field)));
    let units = Some(units).filter(|units| units.iter().any(|unit| !unit.is_empty()));
    for row in units.into_iter().chain(rows.iter().map(Vec::as_slice)) {
        table.add_row(row.iter().zip(schema.fields()).map(|(text, field)| cell(text, field)));
    }
    let last = headers.len().saturating_sub(1);
    for (index, column) in table.column_iter_mut().enumerate() {
        column.set_padding((0, gap));
        if width.is_none() || index < last {
            column.set_constraint(ColumnConstraint::ContentWidth);
        }
    }
    if let Some(width) = width {
        table.set_content_arrangement(ContentArrangement::Dynamic);
        table.set_width(width);
    }
    let header_lines = headers.iter().map(|header| header.lines().count()).max().unwrap_or(0);
    // Styled here, since the table would count the codes as text.
    let lines = table.lines().enumerate().map(|(index, line)| {
        let line = line.trim_end();
        if index < header_lines {
            format!("{}\n", console::style(line).bold())
        } else if index == header_lines && units.is_some() {
            format!("{}\n", console::style(line).dim())
        } else {
            format!("{line}\n")
        }
    });
    lines.collect()
}

fn blocks(names: &[&str], rows: &[Vec<String>], width: Option<u16>) -> String {
    let label = names.iter().map(|name| name.len()).max().unwrap_or(0);
    let mut text = String::new();
    for row in rows {
        for (name, value) in names.iter().zip(row) {
            text.push_str(&labelled(name, label, value, width));
        }
        text.push('\n');
    }
    text
}

/// A line with its name in front, broken between words where the terminal is narrower.
pub(crate) fn labelled(name: &str, label: usize, text: &str, width: Option<u16>) -> String {
    let place = label + 2;
    let text = match width.map(usize::from).filter(|width| place + console::measure_text_width(text) > *width) {
        Some(width) => wrapped(text, width.max(place + 12), &" ".repeat(place)).trim_start().to_owned(),
        None => text.to_owned(),
    };
    format!("{:<label$}  {text}\n", console::style(name).bold())
}

/// A column's values as a table has them.
pub(crate) fn texts(column: &dyn Array, numbers: Numbers) -> Result<Vec<String>> {
    if numbers == Numbers::Rounded {
        match column.data_type() {
            DataType::Float64 => {
                return Ok(column
                    .as_primitive::<Float64Type>()
                    .iter()
                    .map(|value| value.map_or(String::new(), |value| grouped(&format!("{value:.2}"))))
                    .collect());
            }
            DataType::Int64 => {
                return Ok(column
                    .as_primitive::<Int64Type>()
                    .iter()
                    .map(|value| value.map_or(String::new(), |value| grouped(&value.to_string())))
                    .collect());
            }
            _ => {}
        }
    }
    let options = FormatOptions::default()
        .with_null(if numbers == Numbers::Rounded { "" } else { "NULL" })
        .with_timestamp_format(Some("%Y-%m-%d %H:%M:%S"));
    let formatter = ArrayFormatter::try_new(column, &options).map_err(|error| Error::Database(error.to_string()))?;
    Ok((0..column.len()).map(|row| formatter.value(row).to_string()).collect())
}
