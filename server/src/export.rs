//! `GET /export/{id}/{format}`: the rows of a scan of the past as a file.

use std::{
    fs::File,
    future::Future,
    io::{self, BufWriter, Read, Seek, Write},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use arrow::{array::RecordBatch, datatypes::SchemaRef};
use axum::{
    body::{Body, Bytes},
    extract::State,
    http::{HeaderMap, HeaderValue, header},
    response::Response,
};
use serde::Serialize;
use stockscan_engine::Result;
use stockscan_formats::{Format as RowFormat, RowWriter};
use stockscan_state::Record;
use tokio::{
    sync::{Semaphore, SemaphorePermit},
    task::JoinHandle,
};
use tokio_stream::Stream;
use utoipa::ToSchema;

use crate::{
    app::App,
    body::Path,
    history::{has_already, not_modified, scan_id, scan_with_rows, tag},
    problem::{Answer, Problem},
    rows, spreadsheet,
};

/// So many files are written at a time.
static AT_A_TIME: Semaphore = Semaphore::const_new(4);
/// Size of the pieces that are sent.
const PIECE: usize = 64 << 10;

/// What a file is written in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Format {
    /// Comma-separated values with a header.
    Csv,
    /// An array of objects.
    Json,
    /// An object a line.
    Ndjson,
    /// A Parquet file.
    Parquet,
    /// A stream of Arrow's interprocess format.
    Arrow,
    /// A workbook.
    Xlsx,
}

impl Format {
    /// The format of an address.
    ///
    /// # Errors
    /// 400 for another name.
    pub(crate) fn named(name: &str) -> Answer<Format> {
        Format::ALL.into_iter().find(|known| known.name() == name).ok_or_else(|| {
            let known = Format::ALL.map(Format::name).join(", ");
            Problem::of_parameter("format", format!("format must be one of {known}, got '{name}'"))
        })
    }

    const ALL: [Format; 6] = [Format::Csv, Format::Json, Format::Ndjson, Format::Parquet, Format::Arrow, Format::Xlsx];

    /// As in an address and at the end of a file's name.
    fn name(self) -> &'static str {
        match self {
            Format::Csv => "csv",
            Format::Json => "json",
            Format::Ndjson => "ndjson",
            Format::Parquet => "parquet",
            Format::Arrow => "arrow",
            Format::Xlsx => "xlsx",
        }
    }

    /// `None`: a workbook.
    fn of_rows(self) -> Option<RowFormat> {
        match self {
            Format::Csv => Some(RowFormat::Csv),
            Format::Json => Some(RowFormat::Json),
            Format::Ndjson => Some(RowFormat::Ndjson),
            Format::Parquet => Some(RowFormat::Parquet),
            Format::Arrow => Some(RowFormat::Arrow),
            Format::Xlsx => None,
        }
    }

    fn media_type(self) -> &'static str {
        self.of_rows().map_or("application/vnd.openxmlformats-officedocument.spreadsheetml.sheet", rows::media_type)
    }
}

/// The rows of a scan of the past as a file: the scanner's columns, and of the server's own scans what became of each hit.
#[utoipa::path(
    get, path = "/export/{id}/{format}", tag = "scans",
    params(
        ("id" = String, Path, description = "The scan's id, its first letters, or `latest`.", example = "latest", max_length = 36, pattern = "^([0-9a-fA-F-]{1,36}|latest)$"),
        ("format" = inline(Format), Path, description = "What the file is written in.", example = "csv"),
        ("If-None-Match" = Option<String>, Header, description = "The ETag of a file that is there already."),
    ),
    responses(
        (status = 200, description = "The rows.",
            headers(("Content-Disposition" = String, description = "A name for the file.")),
            content(
                (Vec<Object> = "application/json"), (String = "application/x-ndjson"), (String = "text/csv"),
                (Vec<u8> = "application/vnd.apache.arrow.stream"), (Vec<u8> = "application/vnd.apache.parquet"),
                (Vec<u8> = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"))),
        (status = 304, description = "It is there already: a scan of the past does not change."),
        (status = 409, description = "Several begin with these letters.", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(crate) async fn export(
    State(app): State<Arc<App>>,
    Path((id, format)): Path<(String, String)>,
    headers: HeaderMap,
) -> Answer<Response> {
    let format = Format::named(&format)?;
    let scan_id = scan_id(&app, &id).await?;
    let etag = format!("\"{scan_id}.{}\"", format.name());
    if has_already(&headers, &etag) {
        return Ok(not_modified(&etag));
    }
    let permit = permit(&app).await?;
    let (record, results) = scan_with_rows(&app, scan_id).await?;
    let name = file_name(&record);
    let write = move || Ok(written(format, results.schema(), results.batches().unwrap_or_default())?);
    let mut response = answer(format, &name, permit, write).await?;
    tag(&mut response, &etag);
    Ok(response)
}

/// The right to write a file.
///
/// # Errors
/// 503 if it takes too long to get it.
pub(crate) async fn permit(app: &App) -> Answer<SemaphorePermit<'static>> {
    let permit = tokio::time::timeout(app.allowed().min(Duration::from_secs(30)), AT_A_TIME.acquire()).await;
    let permit = permit.map_err(|_| Problem::busy("too many files are being written; try again in a moment", 1))?;
    permit.map_err(|error| Problem::internal(error.to_string()))
}

/// A file that is written, and then sent under a name without its ending.
///
/// # Errors
/// What `write` says.
pub(crate) async fn answer(
    format: Format,
    name: &str,
    permit: SemaphorePermit<'_>,
    write: impl FnOnce() -> Answer<(File, u64)> + Send + 'static,
) -> Answer<Response> {
    let written = tokio::task::spawn_blocking(write).await;
    drop(permit);
    let (file, length) = written.map_err(|error| Problem::internal(error.to_string()))??;
    let mut response = Response::new(Body::from_stream(Sent { file: Some(file), reading: None }));
    let answer = response.headers_mut();
    answer.insert(header::CONTENT_TYPE, HeaderValue::from_static(format.media_type()));
    answer.insert(header::CONTENT_LENGTH, length.into());
    if let Ok(disposition) = HeaderValue::from_str(&format!("attachment; filename=\"{name}.{}\"", format.name())) {
        answer.insert(header::CONTENT_DISPOSITION, disposition);
    }
    Ok(response)
}

/// A name for a file that says what is in it.
fn file_name(record: &Record) -> String {
    let parts = [Some(&record.scanner), record.scan_date.as_ref(), record.end_date.as_ref(), record.cutoff_time.as_ref()];
    let parts = parts.into_iter().flatten().map(|part| fit_for_a_name(part));
    let id: String = record.scan_id.chars().take(8).collect();
    parts.chain([id]).collect::<Vec<_>>().join("_")
}

/// What of a text can stand in the name of a file anywhere.
pub(crate) fn fit_for_a_name(text: &str) -> String {
    text.chars().filter(|letter| letter.is_ascii_alphanumeric() || matches!(letter, '-' | '_')).collect()
}

/// Writes rows to a file without a name, so that a mistake is told instead of a file that ends too early, and none is held in memory.
pub(crate) fn written(format: Format, schema: &SchemaRef, batches: &[RecordBatch]) -> Result<(File, u64)> {
    let mut file = BufWriter::new(tempfile::tempfile()?);
    match format.of_rows() {
        None => spreadsheet::write(&mut file, schema, batches)?,
        Some(rows) => {
            let mut writer = RowWriter::new(rows, &mut file, schema)?;
            for batch in batches {
                writer.write(batch)?;
            }
            writer.finish()?;
        }
    }
    file.flush()?;
    let mut file = file.into_inner().map_err(io::IntoInnerError::into_error)?;
    let length = file.stream_position()?;
    file.rewind()?;
    Ok((file, length))
}

/// A file as a body, read as it is taken: a slow client holds a file open and nothing else.
struct Sent {
    file: Option<File>,
    reading: Option<JoinHandle<Piece>>,
}

/// What was read, and where to go on.
type Piece = io::Result<(File, Vec<u8>)>;

impl Stream for Sent {
    type Item = io::Result<Bytes>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if let Some(mut file) = self.file.take() {
            self.reading = Some(tokio::task::spawn_blocking(move || {
                let mut piece = vec![0; PIECE];
                let length = file.read(&mut piece)?;
                piece.truncate(length);
                Ok((file, piece))
            }));
        }
        let Some(reading) = &mut self.reading else { return Poll::Ready(None) };
        let read = ready!(Pin::new(reading).poll(context));
        self.reading = None;
        match read.map_err(io::Error::other).flatten() {
            Ok((_, piece)) if piece.is_empty() => Poll::Ready(None),
            Ok((file, piece)) => {
                self.file = Some(file);
                Poll::Ready(Some(Ok(piece.into())))
            }
            Err(error) => Poll::Ready(Some(Err(error))),
        }
    }
}
