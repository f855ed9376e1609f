//! `scanner ingest --api-mode`: files sent to a server, large ones in parts.

use std::{
    fs::{self, File},
    io::{BufRead, BufReader, Read},
    path::{Path, PathBuf},
    time::Instant,
};

use arrow::{
    array::{AsArray, RecordBatch},
    compute::cast,
    datatypes::DataType,
};
use serde_json::Value;
use stockscan_engine::{Engine, Error, Flow, IngestReport, Label, Layout, Query, Rejected, Result};
use stockscan_formats::{Format, RowWriter, arrow_error};
use ureq::http::Method;

use super::{
    client::{self, ARROW, Payload, Server},
    rows,
};
use crate::{
    arguments::{Global, IngestFiles},
    commands::{follow, ingest as here, text},
    progress,
};

/// So much is sent at a time: half of what a server takes unless it is told otherwise.
const PART: u64 = 32 << 20;
const CSV: &str = "text/csv";
const LINES: &str = "application/x-ndjson";
const ARRAY: &str = "application/json";
const PARQUET: &str = "application/vnd.apache.parquet";

pub(super) fn run(global: &Global, files: &IngestFiles) -> Result<()> {
    let layout = here::layout(global, &files.layout)?;
    here::check(files)?;
    let server = Server::new(global, None)?;
    let engine = rows::engine(global)?;
    let sender = Sender { server: &server, engine: &engine };
    if files.follow {
        return follow::run(global, files, layout, follow::Target::Server(&server.url, &|file, layout| sender.send(file, layout)));
    }
    let started = Instant::now();
    let mut report = IngestReport::default();
    for (index, file) in files.files.iter().enumerate() {
        if global.verbose {
            say!("{} of {}: {}", index + 1, files.files.len(), file.display());
        }
        let sent = progress::waiting(global, "sending", || sender.send(file, &layout)).map_err(|error| {
            let done = if index == 0 { String::new() } else { format!(" ({index} files before it were ingested)") };
            match error {
                Error::Invalid(text) => Error::Invalid(format!("{}: {text}{done}", file.display())),
                Error::Interrupted => Error::Stopped(format!("interrupted in {}{done}", file.display())),
                other => other,
            }
        })?;
        add(&mut report, sent);
    }
    here::told(global, &report, &server.url, started.elapsed())
}

fn add(report: &mut IngestReport, more: IngestReport) {
    report.files += more.files;
    report.rows_read += more.rows_read;
    report.added += more.added;
    report.unchanged += more.unchanged;
    report.conflicting += more.conflicting;
    report.repeated += more.repeated;
    report.newest = report.newest.take().max(more.newest);
    for rejected in more.rejected {
        // The parts of a file are told of together.
        match report.rejected.iter_mut().find(|known| known.file == rejected.file && known.reason == rejected.reason) {
            Some(known) => known.rows += rejected.rows,
            None => report.rejected.push(rejected),
        }
    }
}

struct Sender<'a> {
    server: &'a Server,
    /// Reads what has to be taken apart.
    engine: &'a Engine,
}

impl Sender<'_> {
    /// Sends a file.
    fn send(&self, file: &Path, layout: &Layout) -> Result<IngestReport> {
        let path = format!("/ingest/bars{}", client::query(&pairs(layout, file)));
        let mut report = IngestReport { files: 1, ..IngestReport::default() };
        self.parts(file, |payload| {
            let answer = self.server.ask(&Method::POST, &path, ARRAY, &payload).and_then(client::Answer::document);
            let taken = answer.map_err(|error| match error {
                Error::Invalid(text) => Error::Invalid(as_options(&text)),
                other => other,
            })?;
            add(&mut report, of(&taken, file));
            Ok(())
        })?;
        Ok(report)
    }

    /// Takes a file apart, if it has to be.
    fn parts(&self, file: &Path, mut send: impl FnMut(Payload) -> Result<()>) -> Result<()> {
        let failed = |source| Error::File { path: file.to_path_buf(), source };
        let name = file.file_name().unwrap_or_default().to_string_lossy().to_lowercase();
        let plain = name.strip_suffix(".gz").or_else(|| name.strip_suffix(".zst"));
        let is_compressed = plain.is_some();
        let ending = plain.unwrap_or(&name).rsplit('.').next().unwrap_or_default();
        let length = fs::metadata(file).map_err(failed)?.len();
        let is_small = !is_compressed && length <= PART;
        match ending {
            "parquet" if is_small => send(Payload::File(file.to_path_buf(), PARQUET)),
            "parquet" => self.batches(file, send),
            "ndjson" | "jsonl" | "json" => {
                let media_type = if ending == "json" && is_array(file, is_compressed).map_err(failed)? { ARRAY } else { LINES };
                match (is_small, media_type) {
                    (true, _) => send(Payload::File(file.to_path_buf(), media_type)),
                    (false, LINES) => self.lines(file, is_compressed, false, |text| send(Payload::Bytes(text, LINES))),
                    (false, _) => Err(Error::Invalid(format!(
                        "a JSON array of more than {} MiB is not sent in parts; write an object a line, as .ndjson",
                        PART >> 20
                    ))),
                }
            }
            _ if is_small => send(Payload::File(file.to_path_buf(), CSV)),
            _ => self.lines(file, is_compressed, true, |text| send(Payload::Bytes(text, CSV))),
        }
    }

    /// The rows of a Parquet file, in streams of Arrow.
    fn batches(&self, file: &Path, mut send: impl FnMut(Payload) -> Result<()>) -> Result<()> {
        let query = Query::with_values("FROM read_parquet(?)", vec![text(&file.to_string_lossy())]);
        let mut writer: Option<RowWriter<Vec<u8>>> = None;
        let mut bytes = 0;
        self.engine.stream(&query, None, |schema| {
            let (schema, writer, bytes, send) = (schema.clone(), &mut writer, &mut bytes, &mut send);
            Ok(move |batch: RecordBatch| {
                if writer.is_none() {
                    *writer = Some(RowWriter::new(Format::Arrow, Vec::new(), &schema)?);
                }
                if let Some(open) = writer.as_mut() {
                    open.write(&batch)?;
                }
                *bytes += batch.get_array_memory_size() as u64;
                if *bytes >= PART {
                    *bytes = 0;
                    if let Some(full) = writer.take() {
                        send(Payload::Bytes(full.finish()?, ARROW))?;
                    }
                }
                Ok(Flow::More)
            })
        })?;
        writer.map_or(Ok(()), |last| send(Payload::Bytes(last.finish()?, ARROW)))
    }

    /// The lines of a text, in parts that each begin with the first one, if that names the columns.
    fn lines(&self, file: &Path, is_compressed: bool, has_header: bool, mut send: impl FnMut(Vec<u8>) -> Result<()>) -> Result<()> {
        let mut header: Option<Vec<u8>> = (!has_header).then(Vec::new);
        let mut part = Vec::new();
        let mut take = |line: &[u8]| -> Result<()> {
            let Some(header) = &header else {
                header = Some([line, b"\n"].concat());
                return Ok(());
            };
            if part.is_empty() {
                part.extend_from_slice(header);
            }
            part.extend_from_slice(line);
            part.push(b'\n');
            if part.len() as u64 >= PART {
                send(std::mem::take(&mut part))?;
            }
            Ok(())
        };
        if is_compressed {
            let sql = "SELECT line FROM read_csv(?, columns = {'line': 'VARCHAR'}, auto_detect = false, header = false, delim = chr(1), quote = '', \
                       escape = '', null_padding = false)";
            self.engine.stream(&Query::with_values(sql, vec![text(&file.to_string_lossy())]), None, |_| {
                Ok(|batch: RecordBatch| {
                    let lines = cast(batch.column(0), &DataType::Utf8).map_err(arrow_error)?;
                    let lines = lines.as_string::<i32>();
                    lines.iter().flatten().try_for_each(|line| take(line.as_bytes()))?;
                    Ok(Flow::More)
                })
            })?;
        } else {
            let failed = |source| Error::File { path: file.to_path_buf(), source };
            for line in BufReader::new(File::open(file).map_err(failed)?).split(b'\n') {
                take(&line.map_err(failed)?)?;
            }
        }
        if part.is_empty() { Ok(()) } else { send(part) }
    }
}

/// Whether a JSON file holds one array, rather than an object a line.
fn is_array(file: &Path, is_compressed: bool) -> std::io::Result<bool> {
    if is_compressed {
        return Ok(false);
    }
    let mut start = [0; 64];
    let length = File::open(file)?.read(&mut start)?;
    Ok(start[..length].iter().find(|byte| !byte.is_ascii_whitespace()) == Some(&b'['))
}

/// How bars are laid out, as the server's query says it.
fn pairs(layout: &Layout, file: &Path) -> Vec<(&'static str, String)> {
    let mut pairs: Vec<(&'static str, String)> = layout.map.iter().map(|(column, sent)| ("map", format!("{column}:{sent}"))).collect();
    let name = file.file_name().unwrap_or_default().to_string_lossy();
    let of_file = layout.symbol_from_file.then(|| name.split('.').next().unwrap_or_default().to_owned());
    let texts = [
        ("symbol", layout.symbol.clone().or(of_file)),
        ("timezone", layout.time_zone.clone()),
        ("file_timezone", layout.file_time_zone.clone()),
        ("timestamp_format", layout.timestamp_format.clone()),
        ("label", (layout.label == Label::End).then(|| "end".to_owned())),
        // Unless it is said, the server's own.
        ("bar_minutes", (layout.bar_minutes != 1).then(|| layout.bar_minutes.to_string())),
    ];
    pairs.extend(texts.into_iter().filter_map(|(name, value)| Some((name, value?))));
    pairs
}

/// What became of the rows of a file, as the server says.
fn of(taken: &Value, file: &Path) -> IngestReport {
    let count = |document: &Value, name: &str| document.get(name).and_then(Value::as_u64).unwrap_or_default();
    let text = |document: &Value, name: &str| document.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
    let rejected = taken.get("rejected").and_then(Value::as_array).into_iter().flatten();
    IngestReport {
        files: 0,
        rows_read: count(taken, "received"),
        added: count(taken, "added"),
        unchanged: count(taken, "unchanged"),
        conflicting: count(taken, "conflicting"),
        repeated: count(taken, "repeated"),
        newest: taken.get("newest").and_then(Value::as_str).map(str::to_owned),
        rejected: rejected
            .map(|rejected| Rejected {
                file: PathBuf::from(file),
                reason: text(rejected, "reason"),
                rows: count(rejected, "rows"),
                example: text(rejected, "example"),
            })
            .collect(),
    }
}

/// `map=ts:timestamp` of the server's advice is `--map ts=timestamp` here.
fn as_options(text: &str) -> String {
    let mut parts = text.split(" map=");
    let mut said = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        said.push_str(" --map ");
        said.push_str(&part.replacen(':', "=", 1));
    }
    [
        ("file_timezone=", "--file-timezone "),
        (" timezone=", " --timezone "),
        (" symbol=", " --symbol "),
        ("timestamp_format", "--timestamp-format"),
    ]
    .iter()
    .fold(said, |text, (parameter, option)| text.replace(parameter, option))
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[test]
    fn a_layout_becomes_a_query_and_advice_names_options() {
        let layout = Layout {
            map: vec![("ts".to_owned(), "day+time".to_owned())],
            symbol_from_file: true,
            label: Label::End,
            bar_minutes: 5,
            ..Layout::default()
        };
        let expected = [("map", "ts:day+time"), ("symbol", "INFY"), ("label", "end"), ("bar_minutes", "5")];
        let found = pairs(&layout, Path::new("/data/INFY.minutes.csv"));
        assert_eq!(found.iter().map(|(name, value)| (*name, value.as_str())).collect::<Vec<_>>(), expected);
        assert!(pairs(&Layout { bar_minutes: 1, ..Layout::default() }, Path::new("a.csv")).is_empty(), "what is usual goes without saying");
        assert_eq!(
            as_options("no column for 'ts' among a; say which one with map=ts:COLUMN, or give symbol=NAME"),
            "no column for 'ts' among a; say which one with --map ts=COLUMN, or give --symbol NAME"
        );
    }

    #[test]
    fn a_long_text_goes_in_parts_that_each_name_the_columns() -> std::result::Result<(), Box<dyn std::error::Error>> {
        let folder = tempfile::tempdir()?;
        let file = folder.path().join("bars.csv");
        let line = format!("INFY,2025-01-15 09:15:00,{}\n", "1".repeat(1000));
        let count = (PART as usize / line.len()) * 2;
        fs::write(&file, format!("symbol,ts,close\n{}", line.repeat(count)))?;
        let engine = Engine::open(stockscan_engine::Options::memory())?;
        let server = Server::at(
            &crate::arguments::Arguments::try_parse_from(["scanner", "doctor"])?.global,
            "http://localhost",
            std::time::Duration::ZERO,
        )?;
        let mut lines = Vec::new();
        Sender { server: &server, engine: &engine }.parts(&file, |payload| {
            let Payload::Bytes(bytes, CSV) = payload else { panic!("{payload:?}") };
            assert!(bytes.starts_with(b"symbol,ts,close\nINFY,"), "each part has the header");
            assert!(bytes.len() as u64 <= PART + 2000);
            lines.push(bytes.iter().filter(|byte| **byte == b'\n').count() - 1);
            Ok(())
        })?;
        assert!(lines.len() > 1, "{lines:?}");
        assert_eq!(lines.iter().sum::<usize>(), count, "no line is lost or sent twice");
        Ok(())
    }
}
