//! Rows as a workbook (XLSX): numbers as numbers, dates as dates, the header bold and always in sight.

use std::io::Write;

use arrow::{
    array::{Array, ArrayRef, AsArray, RecordBatch},
    compute::cast,
    datatypes::{DataType, Date32Type, Float64Type, Int64Type, SchemaRef, Time64MicrosecondType, TimeUnit, TimestampMicrosecondType},
    util::display::{ArrayFormatter, FormatOptions},
};
use rust_xlsxwriter::{Format, Workbook, Worksheet, XlsxError};
use stockscan_engine::{Error, Result};
use stockscan_formats::arrow_error;

/// The day that a spreadsheet counts as 25569 is that from which the others count.
const EPOCH: f64 = 25_569.0;
/// Before March 1900 a spreadsheet's calendar is wrong by a day, and after 9999 it ends.
const DAYS: std::ops::Range<f64> = 61.0..2_958_466.0;
/// From here on not every whole number is one of a spreadsheet.
const WHOLE: u64 = 1 << 53;
/// So many characters fit into a cell.
const LONGEST_TEXT: usize = 32_767;
const MICROSECONDS_OF_A_DAY: f64 = 86_400e6;

/// Writes rows as a workbook.
///
/// # Errors
/// What the target says, or rows that do not fit into a sheet.
pub(crate) fn write(target: impl Write + Send, schema: &SchemaRef, batches: &[RecordBatch]) -> Result<()> {
    let mut workbook = Workbook::new();
    let sheet = workbook.add_worksheet_with_constant_memory().map_err(xlsx_error)?;
    write_sheet(sheet, schema, batches)?;
    workbook.save_to_writer(target).map_err(xlsx_error)
}

fn write_sheet(sheet: &mut Worksheet, schema: &SchemaRef, batches: &[RecordBatch]) -> Result<()> {
    sheet.set_name("results").and_then(|sheet| sheet.set_freeze_panes(1, 0)).map_err(xlsx_error)?;
    let bold = Format::new().set_bold();
    for (name, column) in schema.fields().iter().map(|field| field.name()).zip(0..) {
        let width = f64::from(u16::try_from(name.chars().count()).unwrap_or(u16::MAX).clamp(11, 60)) + 1.0;
        sheet.set_column_width(column, width).map_err(xlsx_error)?;
        sheet.write_string_with_format(0, column, name, &bold).map_err(xlsx_error)?;
    }
    let mut row = 1;
    for batch in batches {
        let cells = batch.columns().iter().map(Cells::of).collect::<Result<Vec<_>>>()?;
        for index in 0..batch.num_rows() {
            // From one row to the next: what is written is not held.
            for (cells, column) in cells.iter().zip(0..) {
                cells.write(sheet, index, row, column)?;
            }
            row += 1;
        }
    }
    Ok(())
}

/// A column's values as cells.
enum Cells {
    Numbers(ArrayRef),
    Integers(ArrayRef),
    Booleans(ArrayRef),
    /// Days as a spreadsheet counts them, how they are shown, and what is written of those that it cannot count.
    Moments(Vec<Option<f64>>, Box<Format>, ArrayRef),
    Texts(ArrayRef),
}

impl Cells {
    fn of(column: &ArrayRef) -> Result<Cells> {
        let to = |data_type: &DataType| cast(column, data_type).map_err(arrow_error);
        let shown_as = |format: &str| Box::new(Format::new().set_num_format(format));
        #[expect(clippy::cast_precision_loss, reason = "a spreadsheet counts time in fractions of days")]
        let days = |microseconds: i64| microseconds as f64 / MICROSECONDS_OF_A_DAY;
        Ok(match column.data_type() {
            DataType::Boolean => Cells::Booleans(column.clone()),
            DataType::Int8
            | DataType::Int16
            | DataType::Int32
            | DataType::Int64
            | DataType::UInt8
            | DataType::UInt16
            | DataType::UInt32 => Cells::Integers(to(&DataType::Int64)?),
            DataType::Float16 | DataType::Float32 | DataType::Float64 => Cells::Numbers(to(&DataType::Float64)?),
            // As exact as a spreadsheet counts.
            DataType::Decimal128(precision, _) if *precision <= 15 => Cells::Numbers(to(&DataType::Float64)?),
            DataType::Date32 => {
                let found = column.as_primitive::<Date32Type>().iter().map(|day| day.map(|day| f64::from(day) + EPOCH));
                Cells::Moments(found.collect(), shown_as("yyyy-mm-dd"), column.clone())
            }
            DataType::Timestamp(..) => {
                let moments = to(&DataType::Timestamp(TimeUnit::Microsecond, None))?;
                let found =
                    moments.as_primitive::<TimestampMicrosecondType>().iter().map(|moment| moment.map(|moment| days(moment) + EPOCH));
                Cells::Moments(found.collect(), shown_as("yyyy-mm-dd hh:mm:ss"), column.clone())
            }
            DataType::Time32(_) | DataType::Time64(_) => {
                let times = to(&DataType::Time64(TimeUnit::Microsecond))?;
                let found = times.as_primitive::<Time64MicrosecondType>().iter().map(|time| time.map(days));
                Cells::Moments(found.collect(), shown_as("hh:mm:ss"), column.clone())
            }
            _ => Cells::Texts(column.clone()),
        })
    }

    fn write(&self, sheet: &mut Worksheet, index: usize, row: u32, column: u16) -> Result<()> {
        let array = match self {
            Cells::Numbers(array) | Cells::Integers(array) | Cells::Booleans(array) | Cells::Texts(array) | Cells::Moments(_, _, array) => {
                array
            }
        };
        if array.is_null(index) {
            return Ok(());
        }
        let written = match self {
            Cells::Numbers(array) => {
                let number = array.as_primitive::<Float64Type>().value(index);
                if number.is_finite() {
                    sheet.write_number(row, column, number)
                } else {
                    sheet.write_string(row, column, number.to_string())
                }
            }
            Cells::Integers(array) => {
                let number = array.as_primitive::<Int64Type>().value(index);
                #[expect(clippy::cast_precision_loss, reason = "it has been looked at")]
                if number.unsigned_abs() <= WHOLE {
                    sheet.write_number(row, column, number as f64)
                } else {
                    sheet.write_string(row, column, number.to_string())
                }
            }
            Cells::Booleans(array) => sheet.write_boolean(row, column, array.as_boolean().value(index)),
            Cells::Moments(moments, format, array) => match moments.get(index).copied().flatten() {
                Some(moment) if DAYS.contains(&moment) || (0.0..1.0).contains(&moment) => {
                    sheet.write_number_with_format(row, column, moment, format)
                }
                _ => sheet.write_string(row, column, text(array, index)?),
            },
            Cells::Texts(array) => sheet.write_string(row, column, text(array, index)?),
        };
        written.map(drop).map_err(xlsx_error)
    }
}

fn text(array: &ArrayRef, index: usize) -> Result<String> {
    let options = FormatOptions::default();
    let text = ArrayFormatter::try_new(array.as_ref(), &options).map_err(arrow_error)?.value(index).to_string();
    let length = text.chars().count();
    if length > LONGEST_TEXT {
        return Err(Error::Invalid(format!(
            "a text of {length} characters does not fit into a cell of a spreadsheet, which has at most {LONGEST_TEXT}; export another format"
        )));
    }
    Ok(text)
}

fn xlsx_error(error: XlsxError) -> Error {
    match error {
        XlsxError::IoError(error) => Error::Output(error),
        other => Error::Database(other.to_string()),
    }
}
