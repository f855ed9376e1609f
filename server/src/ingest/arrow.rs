//! An Arrow stream as a Parquet file, which DuckDB reads. Whatever is in the stream, memory and disk stay within bounds.

use std::{
    fs::File,
    io::BufReader,
    path::{Path, PathBuf},
};

use arrow::{
    array::{Array, ArrayRef, cast::AsArray},
    datatypes::DataType,
    error::ArrowError,
    ipc::reader::StreamReader,
};
use parquet::{arrow::ArrowWriter, errors::ParquetError};
use stockscan_engine::{Error, Result};
use tempfile::TempPath;

/// No text is longer, in bytes.
const LONGEST_TEXT: usize = 1000;

/// Writes what is in a stream of at most so many rows to a file beside it.
///
/// # Errors
/// [`Error::Invalid`] for what is no stream, or has what bars have not; [`Error::Output`].
pub(super) fn to_parquet(stream: &Path, most_rows: u64) -> Result<TempPath> {
    let mut path = PathBuf::from(stream);
    path.set_extension("parquet");
    let path = TempPath::try_from_path(path)?;
    let reader = StreamReader::try_new(BufReader::new(File::open(stream)?), None).map_err(refused)?;
    let schema = reader.schema();
    for field in schema.fields() {
        check_type(field.name(), field.data_type())?;
    }
    let mut writer = ArrowWriter::try_new(File::create(&path)?, schema, None).map_err(not_written)?;
    let mut rows = 0;
    for batch in reader {
        let batch = batch.map_err(refused)?;
        rows += batch.num_rows() as u64;
        if rows > most_rows {
            return Err(Error::Invalid(format!("more than {most_rows} rows; send them in several parts")));
        }
        if let Some(column) = batch.columns().iter().position(|column| longest(column) > LONGEST_TEXT) {
            let name = batch.schema().field(column).name().clone();
            return Err(Error::Invalid(format!("column '{name}' has a text of more than {LONGEST_TEXT} bytes; bars have none")));
        }
        writer.write(&batch).map_err(not_written)?;
    }
    writer.close().map_err(not_written)?;
    Ok(path)
}

/// Numbers, times and texts. What is nested, or stands for many rows, can grow without bounds when it is written out.
fn check_type(name: &str, data_type: &DataType) -> Result<()> {
    let plain = match data_type {
        DataType::Dictionary(_, values) => values,
        other => other,
    };
    let is_plain = plain.is_primitive()
        || matches!(plain, DataType::Boolean | DataType::Null | DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View);
    if is_plain {
        return Ok(());
    }
    Err(Error::Invalid(format!("column '{name}' is of type {data_type}; expected numbers, times or texts, so leave it out")))
}

/// The length of the longest text, also of those of a dictionary.
fn longest(column: &ArrayRef) -> usize {
    let lengths = |column: &dyn Array| match column.data_type() {
        DataType::Utf8 => column.as_string::<i32>().iter().flatten().map(str::len).max(),
        DataType::LargeUtf8 => column.as_string::<i64>().iter().flatten().map(str::len).max(),
        DataType::Utf8View => column.as_string_view().iter().flatten().map(str::len).max(),
        _ => None,
    };
    match column.as_any_dictionary_opt() {
        Some(dictionary) => lengths(dictionary.values()),
        None => lengths(column),
    }
    .unwrap_or_default()
}

fn refused(error: ArrowError) -> Error {
    match error {
        ArrowError::IoError(_, source) if source.kind() != std::io::ErrorKind::UnexpectedEof => Error::Output(source),
        other => Error::Invalid(format!("the body is no Arrow stream that can be read: {other}")),
    }
}

fn not_written(error: ParquetError) -> Error {
    match error {
        ParquetError::External(source) => match source.downcast::<std::io::Error>() {
            Ok(source) => Error::Output(*source),
            Err(other) => Error::Invalid(format!("the Arrow stream cannot be read: {other}")),
        },
        other => Error::Invalid(format!("the Arrow stream cannot be read: {other}")),
    }
}
