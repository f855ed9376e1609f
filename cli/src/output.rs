//! Rows to standard output or a file, in each format, as they arrive.

use std::{
    fs::{self, File},
    io::{self, BufWriter, IsTerminal, Write},
    path::{Path, PathBuf},
    time::Duration,
};

use arrow::{array::RecordBatch, datatypes::SchemaRef};
use stockscan_engine::{Engine, Error, Flow, Query, Result};
use stockscan_formats::RowWriter;
use stockscan_state::Results;

use crate::{
    arguments::{Format, Output},
    rows::Rows,
    table::{self, Numbers},
};

/// Runs a query and writes its rows. Returns how many there were.
pub(crate) fn write(engine: &Engine, query: &Query, deadline: Option<Duration>, output: &Output, numbers: Numbers) -> Result<u64> {
    write_narrowed(engine, query, deadline, output, numbers, &[])
}

/// The same; a table for which the terminal is too narrow has only these columns.
pub(crate) fn write_narrowed(
    engine: &Engine,
    query: &Query,
    deadline: Option<Duration>,
    output: &Output,
    numbers: Numbers,
    narrow: &[&str],
) -> Result<u64> {
    let format = format(output)?;
    let mut sink = Sink::open(output, format);
    let is_stream = sink.is_stream();
    let mut rows = 0;
    let streamed = engine.stream(query, deadline, |schema| {
        sink.begin(schema)?;
        Ok(|batch: RecordBatch| {
            rows += batch.num_rows() as u64;
            sink.take(&batch)?;
            Ok(Flow::More)
        })
    });
    streamed.map_err(|error| with_kept(error, is_stream, rows))?;
    sink.finish(numbers, narrow, &[])?;
    Ok(rows)
}

/// The same for a scan, whose rows are kept for its history, and written to a second place, if there is one. A table says the columns' units.
pub(crate) fn write_scan(
    engine: &Engine,
    query: &Query,
    deadline: Option<Duration>,
    (output, copy): (&Output, Option<&Output>),
    units: &[(String, String)],
    results: &mut Results,
) -> Result<()> {
    let mut sink = Sink::open(output, format(output)?);
    let mut copy = copy.map(|copy| format(copy).map(|format| Sink::open(copy, format))).transpose()?;
    let is_stream = sink.is_stream();
    let mut written = 0;
    let streamed = engine.stream(query, deadline, |schema| {
        sink.begin(schema)?;
        copy.as_mut().map_or(Ok(()), |copy| copy.begin(schema))?;
        results.begin(schema);
        Ok(|batch: RecordBatch| {
            results.take(&batch);
            sink.take(&batch)?;
            copy.as_mut().map_or(Ok(()), |copy| copy.take(&batch))?;
            written += batch.num_rows() as u64;
            Ok(Flow::More)
        })
    });
    match streamed {
        Ok(()) => {
            sink.finish(Numbers::Rounded, &[], units)?;
            copy.map_or(Ok(()), |copy| copy.finish(Numbers::Exact, &[], &[]))
        }
        Err(error) => Err(with_kept(error, is_stream, written)),
    }
}

/// Writes rows that come from elsewhere, and to a second place, if there is one. Returns how many.
pub(crate) fn write_arriving(
    schema: &SchemaRef,
    batches: impl Iterator<Item = Result<RecordBatch>>,
    (output, copy): (&Output, Option<&Output>),
    numbers: Numbers,
    units: &[(String, String)],
) -> Result<u64> {
    let mut sink = Sink::open(output, format(output)?);
    let mut copy = copy.map(|copy| format(copy).map(|format| Sink::open(copy, format))).transpose()?;
    let is_stream = sink.is_stream();
    sink.begin(schema)?;
    copy.as_mut().map_or(Ok(()), |copy| copy.begin(schema))?;
    let mut written = 0;
    for batch in batches {
        let batch = batch.map_err(|error| with_kept(error, is_stream, written))?;
        sink.take(&batch)?;
        copy.as_mut().map_or(Ok(()), |copy| copy.take(&batch))?;
        written += batch.num_rows() as u64;
    }
    sink.finish(numbers, &[], units)?;
    copy.map_or(Ok(()), |copy| copy.finish(Numbers::Exact, &[], &[]))?;
    Ok(written)
}

/// Says of an interruption what was written until then.
fn with_kept(error: Error, is_stream: bool, rows: u64) -> Error {
    match error {
        Error::Interrupted if is_stream && rows > 0 => Error::Stopped(format!("interrupted after {rows} rows")),
        Error::Interrupted => Error::Stopped("interrupted: no rows were written".to_owned()),
        other => other,
    }
}

/// Writes rows that are there already.
pub(crate) fn write_rows(rows: &Rows, output: &Output, numbers: Numbers) -> Result<()> {
    write_kept(rows, output, numbers, &[], &[])
}

/// The same; a table has the columns' units, and one for which the terminal is too narrow has only these columns.
pub(crate) fn write_kept(rows: &Rows, output: &Output, numbers: Numbers, narrow: &[&str], units: &[(String, String)]) -> Result<()> {
    let mut sink = Sink::open(output, format(output)?);
    sink.begin(&rows.batch.schema())?;
    sink.take(&rows.batch)?;
    sink.finish(numbers, narrow, units)
}

/// Writes a text that was made for people.
pub(crate) fn write_text(text: &str, output: &Output) -> Result<()> {
    match &output.output {
        Some(path) => {
            let (file, mut target) = NewFile::create(path)?;
            target.write_all(console::strip_ansi_codes(text).as_bytes())?;
            target.flush()?;
            file.finish()
        }
        None => Ok(io::stdout().lock().write_all(text.as_bytes())?),
    }
}

/// The width of what people see it on; `None` in a file or a pipe.
pub(crate) fn width(output: &Output) -> Option<u16> {
    let is_seen = output.output.is_none() && console::Term::stdout().is_term();
    if is_seen { console::Term::stdout().size_checked().map(|(_, width)| width) } else { None }
}

/// In which format.
pub(crate) fn format(output: &Output) -> Result<Format> {
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

/// A file that gets its name only once it is whole. What was not finished leaves no half file behind.
#[derive(Debug)]
pub(crate) struct NewFile {
    path: PathBuf,
    written_to: PathBuf,
}

impl NewFile {
    /// Makes it, under another name.
    pub(crate) fn create(path: &Path) -> Result<(NewFile, Named)> {
        let given = path;
        // A link is followed; a device or a pipe is written to as it is.
        let path = fs::canonicalize(path).unwrap_or_else(|_| path.to_path_buf());
        let is_special = path.exists() && !path.is_file();
        let written_to = if is_special { path.clone() } else { unfinished(&path) };
        let file = File::create(&written_to).map_err(|source| Error::File { path: path.clone(), source })?;
        let shown = given.display().to_string();
        Ok((NewFile { path, written_to }, Named { file, shown }))
    }

    /// Gives it its name.
    pub(crate) fn finish(self) -> Result<()> {
        if self.path == self.written_to {
            return Ok(());
        }
        fs::rename(&self.written_to, &self.path).map_err(|source| Error::File { path: self.path.clone(), source })
    }
}

impl Drop for NewFile {
    fn drop(&mut self) {
        if self.path != self.written_to {
            // It is not there any more if it was finished.
            let _ = fs::remove_file(&self.written_to);
        }
    }
}

/// A file that says its name where it cannot be written to.
#[derive(Debug)]
pub(crate) struct Named {
    file: File,
    shown: String,
}

impl Named {
    fn named<T>(&self, outcome: io::Result<T>) -> io::Result<T> {
        outcome.map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", self.shown)))
    }
}

impl Write for Named {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let outcome = self.file.write(bytes);
        self.named(outcome)
    }

    fn flush(&mut self) -> io::Result<()> {
        let outcome = self.file.flush();
        self.named(outcome)
    }
}

/// Writes batches in one format.
struct Sink {
    format: Format,
    path: Option<PathBuf>,
    width: Option<u16>,
    file: Option<NewFile>,
    writer: Option<Writer>,
    schema: Option<SchemaRef>,
    /// Tables need all rows before the first line.
    kept: Vec<RecordBatch>,
}

type Target = BufWriter<Box<dyn Write + Send>>;

enum Writer {
    Table(Target),
    Rows(RowWriter<Target>),
}

impl Sink {
    fn open(output: &Output, format: Format) -> Sink {
        Sink { format, path: output.output.clone(), width: width(output), file: None, writer: None, schema: None, kept: Vec::new() }
    }

    /// Whether rows are out as soon as they are there. A table is written at its end, and a file goes when it is not whole.
    fn is_stream(&self) -> bool {
        self.path.is_none() && !matches!(self.format, Format::Table | Format::Parquet)
    }

    fn begin(&mut self, schema: &SchemaRef) -> Result<()> {
        let target: Box<dyn Write + Send> = match &self.path {
            Some(path) => {
                let (file, target) = NewFile::create(path)?;
                self.file = Some(file);
                Box::new(target)
            }
            None => Box::new(io::stdout()),
        };
        let target = BufWriter::new(target);
        let format = match self.format {
            Format::Table => None,
            Format::Csv => Some(stockscan_formats::Format::Csv),
            Format::Json => Some(stockscan_formats::Format::Json),
            Format::Ndjson => Some(stockscan_formats::Format::Ndjson),
            Format::Parquet => Some(stockscan_formats::Format::Parquet),
            Format::Arrow => Some(stockscan_formats::Format::Arrow),
        };
        self.writer = Some(match format {
            None => Writer::Table(target),
            Some(format) => Writer::Rows(RowWriter::new(format, target, schema)?),
        });
        self.schema = Some(schema.clone());
        Ok(())
    }

    fn take(&mut self, batch: &RecordBatch) -> Result<()> {
        match self.writer.as_mut() {
            Some(Writer::Table(_)) => self.kept.push(batch.clone()),
            Some(Writer::Rows(writer)) => writer.write(batch)?,
            None => {}
        }
        Ok(())
    }

    fn finish(mut self, numbers: Numbers, narrow: &[&str], units: &[(String, String)]) -> Result<()> {
        match self.writer.take() {
            Some(Writer::Table(mut target)) => {
                // A command that says how much it found needs no header over nothing.
                let is_bare = numbers == Numbers::Rounded && self.kept.iter().all(|batch| batch.num_rows() == 0);
                if let Some(schema) = self.schema.as_ref().filter(|schema| !schema.fields().is_empty() && !is_bare) {
                    let text = table::render(schema, &self.kept, numbers, self.width, narrow, units)?;
                    let is_file = self.file.is_some();
                    target.write_all(if is_file { console::strip_ansi_codes(&text) } else { text.into() }.as_bytes())?;
                }
                target.flush()?;
            }
            Some(Writer::Rows(writer)) => {
                writer.finish()?;
            }
            None => {}
        }
        self.file.take().map_or(Ok(()), NewFile::finish)
    }
}

fn unfinished(path: &Path) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_os_string();
    name.push(format!(".{}.unfinished", std::process::id()));
    path.with_file_name(name)
}
