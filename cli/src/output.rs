//! Rows to standard output or a file, in each format, as they arrive.

use std::{
    fs::{self, File},
    io::{self, BufWriter, IsTerminal, Write},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use arrow::{
    array::{Array, ArrayRef, RecordBatch, StringArray},
    datatypes::SchemaRef,
    error::ArrowError,
    util::display::{ArrayFormatter, FormatOptions},
};
use parquet::{arrow::ArrowWriter, basic::Compression, errors::ParquetError, file::properties::WriterProperties};
use stockscan_engine::{Engine, Error, Flow, Query, Result};

use crate::{
    arguments::{Format, Output},
    table::{self, Numbers},
};

/// Runs a query and writes its rows. Returns how many there were.
pub(crate) fn write(engine: &Engine, query: &Query, deadline: Option<Duration>, output: &Output, numbers: Numbers) -> Result<u64> {
    let format = format(output)?;
    let mut sink = Sink::open(output, format)?;
    let mut rows = 0;
    engine.stream(query, deadline, |schema| {
        sink.begin(schema)?;
        Ok(|batch: RecordBatch| {
            rows += batch.num_rows() as u64;
            sink.take(&batch)?;
            Ok(Flow::More)
        })
    })?;
    sink.finish(numbers)?;
    Ok(rows)
}

fn format(output: &Output) -> Result<Format> {
    let format = match (output.format, &output.output) {
        (Some(format), _) => format,
        (None, None) => Format::Table,
        (None, Some(path)) => match path.extension().and_then(|ending| ending.to_str()) {
            Some("csv") => Format::Csv,
            Some("json") => Format::Json,
            Some("ndjson" | "jsonl") => Format::Ndjson,
            Some("parquet") => Format::Parquet,
            Some("arrow" | "arrows") => Format::Arrow,
            Some("txt") => Format::Table,
            _ => {
                return Err(Error::Invalid(format!(
                    "--output {}: the ending names no format; expected .csv, .json, .ndjson, .parquet, .arrow or .txt, or --format",
                    path.display()
                )));
            }
        },
    };
    if matches!(format, Format::Parquet | Format::Arrow) && output.output.is_none() && io::stdout().is_terminal() {
        let name = if format == Format::Parquet { "parquet" } else { "arrow" };
        return Err(Error::Invalid(format!("--format {name} is binary; write it to a file with --output, or pipe it on")));
    }
    Ok(format)
}

/// Writes batches in one format. A file gets its name only once it is whole.
struct Sink {
    format: Format,
    file: Option<(PathBuf, PathBuf)>,
    writer: Option<Writer>,
    schema: Option<SchemaRef>,
    /// Tables need all rows before the first line.
    kept: Vec<RecordBatch>,
}

type Target = BufWriter<Box<dyn Write + Send>>;

enum Writer {
    Table(Target),
    Csv(Box<arrow::csv::Writer<Target>>),
    Json(arrow::json::ArrayWriter<Target>),
    Ndjson(arrow::json::LineDelimitedWriter<Target>),
    Parquet(Box<ArrowWriter<Target>>),
    Arrow(Box<arrow::ipc::writer::StreamWriter<Target>>),
}

impl Sink {
    fn open(output: &Output, format: Format) -> Result<Sink> {
        let file = output.output.as_ref().map(|path| {
            // A link is followed; a device or a pipe is written to as it is.
            let path = fs::canonicalize(path).unwrap_or_else(|_| path.clone());
            let is_special = path.exists() && !path.is_file();
            let written_to = if is_special { path.clone() } else { unfinished(&path) };
            (path, written_to)
        });
        Ok(Sink { format, file, writer: None, schema: None, kept: Vec::new() })
    }

    fn begin(&mut self, schema: &SchemaRef) -> Result<()> {
        let target: Box<dyn Write + Send> = match &self.file {
            Some((path, unfinished)) => Box::new(File::create(unfinished).map_err(|source| Error::File { path: path.clone(), source })?),
            None => Box::new(io::stdout()),
        };
        let target = BufWriter::new(target);
        self.writer = Some(match self.format {
            Format::Table => Writer::Table(target),
            Format::Csv => {
                let mut writer = arrow::csv::WriterBuilder::new().with_header(true).build(target);
                // The header also stands over no rows.
                writer.write(&flattened(&RecordBatch::new_empty(schema.clone()))?).map_err(arrow_error)?;
                Writer::Csv(Box::new(writer))
            }
            Format::Json => Writer::Json(arrow::json::WriterBuilder::new().with_explicit_nulls(true).build(target)),
            Format::Ndjson => Writer::Ndjson(arrow::json::WriterBuilder::new().with_explicit_nulls(true).build(target)),
            Format::Parquet => {
                let properties = WriterProperties::builder().set_compression(Compression::ZSTD(Default::default())).build();
                Writer::Parquet(Box::new(ArrowWriter::try_new(target, schema.clone(), Some(properties)).map_err(parquet_error)?))
            }
            Format::Arrow => Writer::Arrow(Box::new(arrow::ipc::writer::StreamWriter::try_new(target, schema).map_err(arrow_error)?)),
        });
        self.schema = Some(schema.clone());
        Ok(())
    }

    fn take(&mut self, batch: &RecordBatch) -> Result<()> {
        let flat;
        let batch = if self.format == Format::Csv {
            flat = flattened(batch)?;
            &flat
        } else {
            batch
        };
        match self.writer.as_mut() {
            Some(Writer::Table(_)) => self.kept.push(batch.clone()),
            Some(Writer::Csv(writer)) => writer.write(batch).map_err(arrow_error)?,
            Some(Writer::Json(writer)) => writer.write(batch).map_err(arrow_error)?,
            Some(Writer::Ndjson(writer)) => writer.write(batch).map_err(arrow_error)?,
            Some(Writer::Parquet(writer)) => writer.write(batch).map_err(parquet_error)?,
            Some(Writer::Arrow(writer)) => writer.write(batch).map_err(arrow_error)?,
            None => {}
        }
        Ok(())
    }

    fn finish(mut self, numbers: Numbers) -> Result<()> {
        match self.writer.take() {
            Some(Writer::Table(mut target)) => {
                // A command that says how much it found needs no header over nothing.
                let is_bare = numbers == Numbers::Rounded && self.kept.iter().all(|batch| batch.num_rows() == 0);
                if let Some(schema) = self.schema.as_ref().filter(|schema| !schema.fields().is_empty() && !is_bare) {
                    let width = if self.file.is_none() && console::Term::stdout().is_term() {
                        console::Term::stdout().size_checked().map(|(_, width)| width)
                    } else {
                        None
                    };
                    target.write_all(table::render(schema, &self.kept, numbers, width)?.as_bytes())?;
                }
                target.flush()?;
            }
            Some(Writer::Csv(writer)) => writer.into_inner().flush()?,
            Some(Writer::Json(mut writer)) => {
                writer.finish().map_err(arrow_error)?;
                let mut target = writer.into_inner();
                target.write_all(b"\n")?;
                target.flush()?;
            }
            Some(Writer::Ndjson(mut writer)) => {
                writer.finish().map_err(arrow_error)?;
                writer.into_inner().flush()?;
            }
            Some(Writer::Parquet(writer)) => writer.into_inner().map_err(parquet_error)?.flush()?,
            Some(Writer::Arrow(mut writer)) => {
                writer.finish().map_err(arrow_error)?;
                writer.into_inner().map_err(arrow_error)?.flush()?;
            }
            None => {}
        }
        if let Some((path, unfinished)) = self.file.as_ref().filter(|(path, unfinished)| path != unfinished) {
            fs::rename(unfinished, path).map_err(|source| Error::File { path: path.clone(), source })?;
        }
        self.file = None;
        Ok(())
    }
}

impl Drop for Sink {
    /// What was not finished leaves no half file behind.
    fn drop(&mut self) {
        if let Some((_, unfinished)) = self.file.as_ref().filter(|(path, unfinished)| path != unfinished) {
            let _ = fs::remove_file(unfinished);
        }
    }
}

/// Lists and structs as texts, for a format that has neither.
fn flattened(batch: &RecordBatch) -> Result<RecordBatch> {
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

fn unfinished(path: &Path) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_os_string();
    name.push(format!(".{}.unfinished", std::process::id()));
    path.with_file_name(name)
}

fn arrow_error(error: ArrowError) -> Error {
    match error {
        ArrowError::IoError(_, source) => Error::Output(source),
        ArrowError::CsvError(text) if text.contains("Broken pipe") => Error::Output(io::ErrorKind::BrokenPipe.into()),
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
