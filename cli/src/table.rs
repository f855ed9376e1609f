//! Rows as a table for people: aligned, numbers to the right, as wide as the terminal allows.

use arrow::{
    array::{Array, AsArray, RecordBatch},
    datatypes::{DataType, Float64Type, Int64Type, SchemaRef},
    util::display::{ArrayFormatter, FormatOptions},
};
use comfy_table::{Cell, CellAlignment, ColumnConstraint, Table, Width, presets};
use stockscan_engine::{Error, Result};

/// Whether numbers are rounded for reading, or shown as they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Numbers {
    /// Two decimals, thousands separated.
    Rounded,
    /// Every digit.
    Exact,
}

/// The table's text. `width` is the terminal's; where the columns don't fit, each row becomes a block of lines.
pub(crate) fn render(schema: &SchemaRef, batches: &[RecordBatch], numbers: Numbers, width: Option<u16>) -> Result<String> {
    let names: Vec<&str> = schema.fields().iter().map(|field| field.name().as_str()).collect();
    let mut rows = Vec::new();
    for batch in batches {
        let columns = batch.columns().iter().map(|column| texts(column.as_ref(), numbers)).collect::<Result<Vec<_>>>()?;
        for row in 0..batch.num_rows() {
            rows.push(columns.iter().map(|column| column[row].clone()).collect::<Vec<_>>());
        }
    }
    let needed: usize = (0..names.len())
        .map(|index| rows.iter().map(|row| console::measure_text_width(&row[index])).chain([names[index].len()]).max().unwrap_or(0) + 2)
        .sum();
    if width.is_some_and(|width| needed > usize::from(width)) {
        return Ok(blocks(&names, &rows));
    }
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_header(names.iter().zip(schema.fields()).map(|(name, field)| {
        let cell = Cell::new(console::style(name).bold());
        if field.data_type().is_numeric() { cell.set_alignment(CellAlignment::Right) } else { cell }
    }));
    for row in &rows {
        table.add_row(row.iter().zip(schema.fields()).map(|(text, field)| {
            let cell = Cell::new(text);
            if field.data_type().is_numeric() { cell.set_alignment(CellAlignment::Right) } else { cell }
        }));
    }
    // Never wrapped: a wrapped number cannot be read.
    for column in table.column_iter_mut() {
        column.set_padding((0, 2));
        column.set_constraint(ColumnConstraint::LowerBoundary(Width::Fixed(1)));
    }
    Ok(table.lines().map(|line| line.trim_end().to_owned() + "\n").collect())
}

fn blocks(names: &[&str], rows: &[Vec<String>]) -> String {
    let label = names.iter().map(|name| name.len()).max().unwrap_or(0);
    let mut text = String::new();
    for row in rows {
        for (name, value) in names.iter().zip(row) {
            text.push_str(&format!("{:<label$}  {value}\n", console::style(name).bold()));
        }
        text.push('\n');
    }
    text
}

fn texts(column: &dyn Array, numbers: Numbers) -> Result<Vec<String>> {
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

/// `1234567.89` as `1,234,567.89`.
pub(crate) fn grouped(number: &str) -> String {
    let (whole, fraction) = number.split_once('.').map_or((number, None), |(whole, fraction)| (whole, Some(fraction)));
    let (sign, digits) = whole.strip_prefix('-').map_or(("", whole), |digits| ("-", digits));
    let mut text = String::from(sign);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    if let Some(fraction) = fraction {
        text.push('.');
        text.push_str(fraction);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::grouped;

    #[test]
    fn thousands_are_separated() {
        assert_eq!(grouped("1234567.89"), "1,234,567.89");
        assert_eq!(grouped("-123456"), "-123,456");
        assert_eq!(grouped("999"), "999");
        assert_eq!(grouped("-0.50"), "-0.50");
    }
}
