//! A process of its own for one statement from outside: `scanner serve` starts this program once more for each.
//!
//! DuckDB counts only part of the memory that a statement takes: `repeat('x', 3000000000)` is none of it, and a few thousand of those would end
//! the server. So the system sets the bounds: the process gets no more memory than is meant for it, cannot write to any file, knows no variable
//! of the server's, and is ended when it takes too long or its client leaves. Whatever brings DuckDB down brings down this process only.
//! In it, DuckDB has the database open to be read, and no other way to a file.
//!
//! A [`Request`] comes as JSON on standard input. A [`Reply`] goes as a line of JSON to standard output, with the rows in the format asked for
//! behind it. When standard input ends, so does the process.

use std::{
    collections::HashSet,
    io::{self, BufWriter, Read, Write},
    path::PathBuf,
    process::{self, ExitCode},
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use arrow::{
    array::{Array, ArrayRef, RecordBatch},
    compute::cast,
    datatypes::{DataType, Field, IntervalUnit, Schema, SchemaRef, TimeUnit},
};
use serde::{Deserialize, Serialize};
use stockscan_engine::{Engine, Error, Flow, Location, Options, Query, Result};
use stockscan_formats::{Format, RowWriter, arrow_error};

use crate::{
    allowed::{self, Values},
    postgres::{Column, Wire, answer_in_messages},
};

/// What DuckDB may take, as it counts it.
const MEMORY: &str = "1GB";
/// What the process may take in all.
const ALL_MEMORY: u64 = 2 << 30;
const THREADS: u32 = 2;
/// The reply is held back until so much of the rows is there: what has no place in the format shows until then.
const HELD_BACK: usize = 1 << 20;
/// Size of the pieces in which messages are written.
const PIECE: usize = 64 << 10;
/// No message is longer, whatever a statement puts into one.
const LONGEST_MESSAGE: usize = 4000;
/// A process that has not ended so long after its time is up is not waited for.
const GRACE: Duration = Duration::from_secs(2);

/// What is to be done.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Request {
    /// The statement.
    pub(crate) sql: String,
    /// The database; `None`: there is none.
    pub(crate) database: Option<PathBuf>,
    /// The folder of the user's own scanners.
    pub(crate) scanners_directory: Option<PathBuf>,
    /// How the rows are written.
    pub(crate) form: Form,
    /// How long it may take.
    pub(crate) milliseconds: u64,
    /// There are no more rows than these.
    pub(crate) max_rows: usize,
}

/// How the rows are written.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Form {
    /// All of them, in a format that has a name: `json`, `ndjson`, `csv`, `arrow`, `parquet`.
    Document {
        /// The format.
        format: String,
        /// More bytes of rows, as they are in memory, are left out.
        max_bytes: usize,
    },
    /// As they come, as messages of PostgreSQL's.
    Messages(Wire),
}

/// How it went.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Reply {
    /// Messages follow; the last is a reply.
    Columns {
        /// The columns.
        columns: Vec<Column>,
    },
    /// The rows follow.
    Rows {
        /// How many.
        row_count: usize,
        /// Whether there were more.
        truncated: bool,
        /// How long the statement took.
        execution_time_ms: f64,
    },
    /// There are none.
    Failed {
        /// Why.
        why: Failure,
        /// The same for people.
        message: String,
    },
}

/// Why there are no rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Failure {
    /// The statement is not allowed, or wrong.
    Statement,
    /// It takes too much memory.
    Memory,
    /// It takes too long.
    Time,
    /// It has more rows than are sent.
    Rows,
    /// The database is not there, or in use.
    Busy,
    /// Anything else.
    Internal,
}

/// A column of the answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
struct NamedColumn {
    name: String,
    #[serde(rename = "type")]
    kind: String,
}

/// The formats by their names.
pub(crate) fn name_of(format: Format) -> &'static str {
    match format {
        Format::Csv => "csv",
        Format::Json => "json",
        Format::Ndjson => "ndjson",
        Format::Parquet => "parquet",
        Format::Arrow => "arrow",
    }
}

fn format_named(name: &str) -> Option<Format> {
    [Format::Csv, Format::Json, Format::Ndjson, Format::Parquet, Format::Arrow].into_iter().find(|format| name_of(*format) == name)
}

/// Runs the statement that stands on standard input: what the program does when the server starts it for one.
#[must_use]
pub fn run_statement() -> ExitCode {
    match serve() {
        Ok(()) => ExitCode::SUCCESS,
        // Whoever reads the reply has left, or sees that there is none.
        Err(_) => ExitCode::FAILURE,
    }
}

fn serve() -> Result<()> {
    let started = Instant::now();
    let mut line = String::new();
    io::stdin().read_line(&mut line)?;
    let request: Request = serde_json::from_str(&line).map_err(|error| Error::Invalid(error.to_string()))?;
    let allowed = Duration::from_millis(request.milliseconds);
    thread::spawn(move || {
        // The server has no more to say: when this ends, it has left.
        let _ = io::copy(&mut io::stdin().lock().take(1), &mut io::sink());
        process::exit(1);
    });
    thread::spawn(move || {
        thread::sleep(allowed + GRACE);
        process::exit(1);
    });
    let (format, max_bytes) = match &request.form {
        Form::Document { format, max_bytes } => (format, *max_bytes),
        Form::Messages(wire) => return serve_messages(&request, wire, started, allowed),
    };
    let outcome = answer(&request, format, max_bytes, started, allowed);
    let mut output = Output { held: Vec::new(), is_begun: false };
    let written = outcome.and_then(|rows| rows.write(&mut output));
    match written {
        Ok(()) => output.release(),
        Err(error) if !output.is_begun => {
            output.held.clear();
            let (why, mut message) = told(error, request.database.as_deref());
            message.truncate(message.floor_char_boundary(LONGEST_MESSAGE));
            line_of(&mut output.held, &Reply::Failed { why, message })?;
            output.release()
        }
        // The server sees that the rows end before their end.
        Err(error) => Err(error),
    }
}

/// The reply is the last message where it is not the first.
fn serve_messages(request: &Request, wire: &Wire, started: Instant, allowed: Duration) -> Result<()> {
    let mut output = BufWriter::with_capacity(PIECE, io::stdout());
    let mut is_begun = false;
    let outcome = limit_process().and_then(|()| locked_down(request)).and_then(|engine| {
        answer_in_messages(
            &engine,
            &request.sql,
            wire,
            allowed.saturating_sub(started.elapsed()),
            request.max_rows,
            &mut output,
            &mut is_begun,
        )
    });
    let reply = match outcome {
        Ok(row_count) => Reply::Rows { row_count, truncated: false, execution_time_ms: started.elapsed().as_secs_f64() * 1000.0 },
        Err(Error::Output(error)) => return Err(Error::Output(error)),
        Err(error) => {
            let (why, mut message) = told(error, request.database.as_deref());
            message.truncate(message.floor_char_boundary(LONGEST_MESSAGE));
            Reply::Failed { why, message }
        }
    };
    if is_begun {
        let reply = serde_json::to_vec(&reply).map_err(io::Error::from)?;
        output.write_all(b"E")?;
        output.write_all(&u32::try_from(reply.len() + 4).unwrap_or_default().to_be_bytes())?;
        output.write_all(&reply)?;
    } else {
        line_of(&mut output, &reply)?;
    }
    Ok(output.flush()?)
}

/// The rows of an answer, all of them.
struct Rows {
    format: Format,
    schema: SchemaRef,
    batches: Vec<RecordBatch>,
    row_count: usize,
    truncated: bool,
    started: Instant,
}

fn answer(request: &Request, format: &str, max_bytes: usize, started: Instant, allowed: Duration) -> Result<Rows> {
    let format = format_named(format).ok_or_else(|| Error::Invalid(format!("format {format}")))?;
    limit_process()?;
    let engine = locked_down(request)?;
    allowed::check(engine.connection(), &request.sql, Values::None)?;
    let left = allowed.saturating_sub(started.elapsed());
    let (mut schema, mut batches, mut row_count, mut bytes, mut truncated) = (None, Vec::new(), 0, 0, false);
    engine.stream(&Query::plain(request.sql.as_str()), Some(left), |given| {
        let plain = &*schema.insert(plain(given));
        Ok(|batch: RecordBatch| {
            let batch = as_plain(&batch, plain)?;
            let rows = fitting(&batch, request.max_rows - row_count, max_bytes - bytes);
            row_count += rows;
            bytes += size(&batch.slice(0, rows));
            batches.push(batch.slice(0, rows));
            truncated = rows < batch.num_rows();
            Ok(if truncated { Flow::Enough } else { Flow::More })
        })
    })?;
    if truncated && row_count == 0 {
        return Err(Error::Invalid(format!("the first row has more than {} bytes; expected less in an answer", max_bytes)));
    }
    let schema = schema.unwrap_or_else(|| Arc::new(Schema::empty()));
    Ok(Rows { format, schema, batches, row_count, truncated, started })
}

/// How many of the rows there is room for.
fn fitting(batch: &RecordBatch, max_rows: usize, max_bytes: usize) -> usize {
    let most = batch.num_rows().min(max_rows);
    if size(&batch.slice(0, most)) <= max_bytes {
        return most;
    }
    // By halves: `fits` do, `too_many` do not.
    let (mut fits, mut too_many) = (0, most);
    while too_many - fits > 1 {
        let middle = usize::midpoint(fits, too_many);
        if size(&batch.slice(0, middle)) <= max_bytes { fits = middle } else { too_many = middle }
    }
    fits
}

/// What the rows of a slice take, and nothing of those outside of it.
fn size(batch: &RecordBatch) -> usize {
    let of_column = |column: &ArrayRef| column.to_data().get_slice_memory_size().unwrap_or_else(|_| column.get_array_memory_size());
    batch.columns().iter().map(of_column).sum()
}

/// The columns with names that differ, and texts where DuckDB sends numbers of texts.
fn plain(schema: &SchemaRef) -> SchemaRef {
    let mut taken = HashSet::new();
    let fields = schema.fields().iter().map(|field| {
        let mut name = field.name().clone();
        let mut number = 0;
        while !taken.insert(name.clone()) {
            number += 1;
            name = format!("{}_{number}", field.name());
        }
        let kind = match field.data_type() {
            DataType::Dictionary(_, values) => values.as_ref().clone(),
            other => other.clone(),
        };
        Field::new(name, kind, true).with_metadata(field.metadata().clone())
    });
    Arc::new(Schema::new(fields.collect::<Vec<_>>()))
}

fn as_plain(batch: &RecordBatch, schema: &SchemaRef) -> Result<RecordBatch> {
    let columns = batch.columns().iter().zip(schema.fields()).map(|(column, field)| {
        if column.data_type() == field.data_type() { Ok(Arc::clone(column)) } else { cast(column, field.data_type()) }
    });
    let columns = columns.collect::<std::result::Result<Vec<_>, _>>().map_err(arrow_error)?;
    RecordBatch::try_new(Arc::clone(schema), columns).map_err(arrow_error)
}

/// From here on the process cannot take much memory, nor write to a file.
fn limit_process() -> Result<()> {
    #[cfg(unix)]
    {
        use rlimit::Resource;
        for (resource, limit) in [(Resource::DATA, ALL_MEMORY), (Resource::FSIZE, 0), (Resource::CORE, 0)] {
            let (_, hard) = resource.get()?;
            resource.set(limit.min(hard), limit.min(hard))?;
        }
    }
    Ok(())
}

/// The database, opened to be read, in a DuckDB that has no other way to a file and takes no setting any more.
fn locked_down(request: &Request) -> Result<Engine> {
    let location = request.database.clone().map_or(Location::Memory, Location::File);
    let engine = Engine::open(Options {
        read_only: location != Location::Memory,
        threads: Some(THREADS),
        memory_limit: Some(MEMORY.to_owned()),
        scanners_directory: request.scanners_directory.clone(),
        location,
        ..Options::memory()
    })?;
    engine.connection().execute_batch(
        "SET temp_directory = ''; SET max_temp_directory_size = '0B'; SET allow_persistent_secrets = false; \
         SET autoinstall_known_extensions = false; SET autoload_known_extensions = false; SET allow_community_extensions = false; \
         SET enable_external_access = false; SET disabled_filesystems = 'LocalFileSystem'; SET lock_configuration = true",
    )?;
    Ok(engine)
}

/// What is said of a failure. What DuckDB says of the statement helps whoever wrote it; what it says of files does not.
fn told(error: Error, database: Option<&std::path::Path>) -> (Failure, String) {
    let text = match error {
        Error::Invalid(text) => return (Failure::Statement, text),
        Error::Stopped(text) => return (Failure::Rows, text),
        Error::Timeout(_) | Error::Interrupted => return (Failure::Time, String::new()),
        Error::NoDatabase(_) => return (Failure::Busy, "there is no database yet; take bars in first".to_owned()),
        Error::Locked { .. } => return (Failure::Busy, "the database is in use by another process; try again in a moment".to_owned()),
        other if other.is_passing() => {
            return (Failure::Busy, "the database is in use by another process; try again in a moment".to_owned());
        }
        Error::MissingSource { relation, .. } => return (Failure::Statement, format!("there is no relation '{relation}'")),
        other => other.to_string(),
    };
    // Behind it stands SQL that may be generated.
    let shown = text.split("\n\nLINE ").next().unwrap_or_default().trim();
    let shown = database.map_or(shown.to_owned(), |path| shown.replace(&*path.to_string_lossy(), "the database"));
    let kind = shown.split_once(" Error: ").map_or("", |(kind, _)| kind);
    match kind {
        "Out of Memory" => (Failure::Memory, String::new()),
        "Permission" => (Failure::Statement, "the statement reads a file, or a view that does; expected tables of the database".to_owned()),
        "Binder"
        | "Catalog"
        | "Constraint"
        | "Conversion"
        | "Decimal"
        | "Divide by Zero"
        | "Expression"
        | "Extension Autoloading"
        | "Invalid"
        | "Invalid Input"
        | "Invalid type"
        | "Mismatch Type"
        | "Not implemented"
        | "Out of Range"
        | "Parameter Not Allowed"
        | "Parser"
        | "Sequence"
        | "Syntax" => (Failure::Statement, shown),
        _ => (Failure::Internal, text),
    }
}

impl Rows {
    fn write(self, output: &mut Output) -> Result<()> {
        let execution_time_ms = self.started.elapsed().as_secs_f64() * 1000.0;
        let Rows { format, schema, batches, row_count, truncated, .. } = self;
        line_of(&mut output.held, &Reply::Rows { row_count, truncated, execution_time_ms })?;
        if format == Format::Json {
            let columns: Vec<NamedColumn> =
                schema.fields().iter().map(|field| NamedColumn { name: field.name().clone(), kind: sql_type(field.data_type()) }).collect();
            let columns = serde_json::to_string(&columns).map_err(io::Error::from)?;
            write!(
                output,
                "{{\"columns\":{columns},\"row_count\":{row_count},\"truncated\":{truncated},\"execution_time_ms\":{execution_time_ms},\"rows\":"
            )?;
        }
        let mut writer = RowWriter::new(format, &mut *output, &schema)?;
        for batch in batches {
            writer.write(&batch)?;
        }
        writer.finish()?;
        if format == Format::Json {
            output.write_all(b"}\n")?;
        }
        Ok(())
    }
}

fn line_of(output: &mut impl Write, reply: &Reply) -> Result<()> {
    serde_json::to_writer(&mut *output, reply).map_err(io::Error::from)?;
    Ok(output.write_all(b"\n")?)
}

/// Standard output, the beginning of which is held back.
struct Output {
    held: Vec<u8>,
    is_begun: bool,
}

impl Output {
    fn release(&mut self) -> Result<()> {
        self.is_begun = true;
        io::stdout().lock().write_all(&self.held)?;
        self.held.clear();
        Ok(io::stdout().lock().flush()?)
    }
}

impl Write for Output {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.held.extend_from_slice(bytes);
        if self.held.len() >= HELD_BACK {
            self.is_begun = true;
            io::stdout().lock().write_all(&self.held)?;
            self.held.clear();
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// What DuckDB calls a type that comes as Arrow's.
fn sql_type(kind: &DataType) -> String {
    match kind {
        DataType::Null => "\"NULL\"".to_owned(),
        DataType::Boolean => "BOOLEAN".to_owned(),
        DataType::Int8 => "TINYINT".to_owned(),
        DataType::Int16 => "SMALLINT".to_owned(),
        DataType::Int32 => "INTEGER".to_owned(),
        DataType::Int64 => "BIGINT".to_owned(),
        DataType::UInt8 => "UTINYINT".to_owned(),
        DataType::UInt16 => "USMALLINT".to_owned(),
        DataType::UInt32 => "UINTEGER".to_owned(),
        DataType::UInt64 => "UBIGINT".to_owned(),
        DataType::Float16 | DataType::Float32 => "FLOAT".to_owned(),
        DataType::Float64 => "DOUBLE".to_owned(),
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => "VARCHAR".to_owned(),
        DataType::Binary | DataType::LargeBinary | DataType::BinaryView | DataType::FixedSizeBinary(_) => "BLOB".to_owned(),
        DataType::Date32 | DataType::Date64 => "DATE".to_owned(),
        DataType::Time32(_) | DataType::Time64(_) => "TIME".to_owned(),
        DataType::Timestamp(_, Some(_)) => "TIMESTAMP WITH TIME ZONE".to_owned(),
        DataType::Timestamp(TimeUnit::Second, None) => "TIMESTAMP_S".to_owned(),
        DataType::Timestamp(TimeUnit::Millisecond, None) => "TIMESTAMP_MS".to_owned(),
        DataType::Timestamp(TimeUnit::Microsecond, None) => "TIMESTAMP".to_owned(),
        DataType::Timestamp(TimeUnit::Nanosecond, None) => "TIMESTAMP_NS".to_owned(),
        DataType::Interval(IntervalUnit::MonthDayNano | IntervalUnit::DayTime | IntervalUnit::YearMonth) | DataType::Duration(_) => {
            "INTERVAL".to_owned()
        }
        DataType::Decimal32(precision, scale)
        | DataType::Decimal64(precision, scale)
        | DataType::Decimal128(precision, scale)
        | DataType::Decimal256(precision, scale) => format!("DECIMAL({precision},{scale})"),
        DataType::List(items) | DataType::LargeList(items) | DataType::ListView(items) | DataType::LargeListView(items) => {
            format!("{}[]", sql_type(items.data_type()))
        }
        DataType::FixedSizeList(items, length) => format!("{}[{length}]", sql_type(items.data_type())),
        DataType::Struct(fields) => {
            let fields = fields.iter().map(|field| format!("\"{}\" {}", field.name().replace('"', "\"\""), sql_type(field.data_type())));
            format!("STRUCT({})", fields.collect::<Vec<_>>().join(", "))
        }
        DataType::Map(entries, _) => match entries.data_type() {
            DataType::Struct(fields) if fields.len() == 2 => {
                format!("MAP({}, {})", sql_type(fields[0].data_type()), sql_type(fields[1].data_type()))
            }
            other => sql_type(other),
        },
        DataType::Union(..) => "UNION".to_owned(),
        DataType::Dictionary(_, values) => sql_type(values),
        DataType::RunEndEncoded(_, values) => sql_type(values.data_type()),
    }
}

#[cfg(test)]
mod tests {
    use arrow::array::{Int32Array, StringArray};

    use super::*;

    #[test]
    fn as_many_rows_as_there_is_room_for() {
        let texts = StringArray::from_iter_values((0..100).map(|_| "x".repeat(1000)));
        let schema = Arc::new(Schema::new(vec![Field::new("text", DataType::Utf8, true)]));
        let batch = RecordBatch::try_new(schema, vec![Arc::new(texts)]).unwrap();
        assert_eq!(fitting(&batch, 1000, usize::MAX / 4), 100);
        assert_eq!(fitting(&batch, 7, usize::MAX / 4), 7);
        let ten = size(&batch.slice(0, 10));
        assert!((10_000..11_000).contains(&ten), "{ten}: rows outside of the slice must not count");
        assert_eq!(fitting(&batch, 1000, ten), 10);
        assert_eq!(fitting(&batch, 1000, ten - 1), 9);
        assert_eq!(fitting(&batch, 1000, 10), 0);
    }

    #[test]
    fn columns_of_the_same_name_are_told_apart() {
        let field = |name: &str| Field::new(name, DataType::Int32, true);
        let schema = Arc::new(Schema::new(vec![field("a"), field("a_1"), field("a"), field("a")]));
        let names: Vec<String> = plain(&schema).fields().iter().map(|field| field.name().clone()).collect();
        assert_eq!(names, ["a", "a_1", "a_2", "a_3"]);
        let one = || Arc::new(Int32Array::from(vec![1])) as ArrayRef;
        let batch = RecordBatch::try_new(Arc::clone(&schema), vec![one(), one(), one(), one()]).unwrap();
        assert_eq!(as_plain(&batch, &plain(&schema)).unwrap().num_columns(), 4);
    }

    #[test]
    fn no_path_is_told() {
        let path = PathBuf::from("/home/somebody/market.duckdb");
        let (why, message) = told(Error::Database("IO Error: Cannot open /home/somebody/market.duckdb".to_owned()), Some(&path));
        // What is internal goes to the log, not to the client.
        assert_eq!((why, message.is_empty()), (Failure::Internal, false));
        let (why, message) =
            told(Error::Database("Binder Error: no x in /home/somebody/market.duckdb\n\nLINE 1: SELECT x".to_owned()), Some(&path));
        assert_eq!((why, message.as_str()), (Failure::Statement, "Binder Error: no x in the database"));
        assert_eq!(told(Error::Database("Out of Memory Error: Allocation failure".to_owned()), None).0, Failure::Memory);
    }
}
