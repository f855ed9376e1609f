//! Arrow batches in the formats that people and programs read, written as they come.
//!
//! Knows nothing of terminals or of HTTP: the command and the server both call it.

use std::{
    io::{self, Write},
    sync::Arc,
};

use arrow::{
    array::{Array, ArrayRef, RecordBatch, StringArray},
    datatypes::SchemaRef,
    error::ArrowError,
    util::display::{ArrayFormatter, FormatOptions},
};
use parquet::{arrow::ArrowWriter, basic::Compression, errors::ParquetError, file::properties::WriterProperties};
use stockscan_engine::{Error, Result};

/// So many rows make a row group of a Parquet file, which is held in memory until it is written.
const ROW_GROUP: usize = 65_536;

/// How rows are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// Comma-separated values with a header, after RFC 4180.
    Csv,
    /// An array of objects.
    Json,
    /// An object a line.
    Ndjson,
    /// A Parquet file, compressed with zstd.
    Parquet,
    /// A stream of Arrow's interprocess format.
    Arrow,
}

/// Writes rows in one format.
pub enum RowWriter<W: Write + Send> {
    #[expect(missing_docs, reason = "named as the formats")]
    Csv(Box<arrow::csv::Writer<W>>),
    #[expect(missing_docs, reason = "named as the formats")]
    Json(arrow::json::ArrayWriter<W>),
    #[expect(missing_docs, reason = "named as the formats")]
    Ndjson(arrow::json::LineDelimitedWriter<W>),
    #[expect(missing_docs, reason = "named as the formats")]
    Parquet(Box<ArrowWriter<W>>),
    #[expect(missing_docs, reason = "named as the formats")]
    Arrow(Box<arrow::ipc::writer::StreamWriter<W>>),
}

impl<W: Write + Send> RowWriter<W> {
    /// Begins; a CSV has its header even over no rows.
    ///
    /// # Errors
    /// What the target says, or a type that has no place in the format.
    pub fn new(format: Format, target: W, schema: &SchemaRef) -> Result<RowWriter<W>> {
        Ok(match format {
            Format::Csv => {
                let mut writer = arrow::csv::WriterBuilder::new().with_header(true).build(target);
                writer.write(&flattened(&RecordBatch::new_empty(schema.clone()))?).map_err(arrow_error)?;
                RowWriter::Csv(Box::new(writer))
            }
            Format::Json => RowWriter::Json(arrow::json::WriterBuilder::new().with_explicit_nulls(true).build(target)),
            Format::Ndjson => RowWriter::Ndjson(arrow::json::WriterBuilder::new().with_explicit_nulls(true).build(target)),
            Format::Parquet => {
                let properties = WriterProperties::builder()
                    .set_compression(Compression::ZSTD(Default::default()))
                    .set_max_row_group_row_count(Some(ROW_GROUP))
                    .build();
                RowWriter::Parquet(Box::new(ArrowWriter::try_new(target, schema.clone(), Some(properties)).map_err(parquet_error)?))
            }
            Format::Arrow => RowWriter::Arrow(Box::new(arrow::ipc::writer::StreamWriter::try_new(target, schema).map_err(arrow_error)?)),
        })
    }

    /// Writes rows.
    ///
    /// # Errors
    /// What the target says.
    pub fn write(&mut self, batch: &RecordBatch) -> Result<()> {
        match self {
            RowWriter::Csv(writer) => writer.write(&flattened(batch)?).map_err(arrow_error),
            RowWriter::Json(writer) => writer.write(batch).map_err(arrow_error),
            RowWriter::Ndjson(writer) => writer.write(batch).map_err(arrow_error),
            RowWriter::Parquet(writer) => writer.write(batch).map_err(parquet_error),
            RowWriter::Arrow(writer) => writer.write(batch).map_err(arrow_error),
        }
    }

    /// Writes what comes after the last row.
    ///
    /// # Errors
    /// What the target says.
    pub fn finish(self) -> Result<W> {
        let mut target = match self {
            RowWriter::Csv(writer) => writer.into_inner(),
            RowWriter::Json(mut writer) => {
                writer.finish().map_err(arrow_error)?;
                let mut target = writer.into_inner();
                target.write_all(b"\n")?;
                target
            }
            RowWriter::Ndjson(mut writer) => {
                writer.finish().map_err(arrow_error)?;
                writer.into_inner()
            }
            RowWriter::Parquet(writer) => writer.into_inner().map_err(parquet_error)?,
            RowWriter::Arrow(mut writer) => {
                writer.finish().map_err(arrow_error)?;
                writer.into_inner().map_err(arrow_error)?
            }
        };
        target.flush()?;
        Ok(target)
    }
}

/// Lists and structs as texts, for a format that has neither.
///
/// # Errors
/// A type that cannot be shown.
pub fn flattened(batch: &RecordBatch) -> Result<RecordBatch> {
    if !batch.schema().fields().iter().any(|field| field.data_type().is_nested()) {
        return Ok(batch.clone());
    }
    let options = FormatOptions::default();
    let mut columns: Vec<(String, ArrayRef)> = Vec::new();
    for (field, column) in batch.schema().fields().iter().zip(batch.columns()) {
        let column: ArrayRef = if field.data_type().is_nested() {
            let formatter = ArrayFormatter::try_new(column.as_ref(), &options).map_err(arrow_error)?;
            let texts = (0..column.len()).map(|row| column.is_valid(row).then(|| formatter.value(row).to_string()));
            Arc::new(texts.collect::<StringArray>())
        } else {
            column.clone()
        };
        columns.push((field.name().clone(), column));
    }
    RecordBatch::try_from_iter_with_nullable(columns.into_iter().map(|(name, column)| (name, column, true))).map_err(arrow_error)
}

/// Arrow's error as ours.
#[must_use]
pub fn arrow_error(error: ArrowError) -> Error {
    match error {
        ArrowError::IoError(_, source) => Error::Output(source),
        ArrowError::CsvError(text) if text.contains("Broken pipe") => Error::Output(io::ErrorKind::BrokenPipe.into()),
        ArrowError::CsvError(text) => Error::Database(text),
        other => Error::Database(other.to_string()),
    }
}

fn parquet_error(error: ParquetError) -> Error {
    match error {
        ParquetError::External(source) => match source.downcast::<io::Error>() {
            Ok(source) => Error::Output(*source),
            Err(other) => Error::Database(other.to_string()),
        },
        other => Error::Database(other.to_string()),
    }
}
