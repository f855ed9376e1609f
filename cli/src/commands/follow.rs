//! `scanner ingest --follow`: files that grow, and folders that files are put into.
//!
//! A text file that is named itself grows: its complete lines are taken as they come. Any other file is a drop: it is taken whole, once its size
//! has stood still between two looks, and again if it changes. What was taken is only noted after it was stored, so nothing is lost.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::{self, File},
    io::{Read, Seek, SeekFrom},
    path::{Path, PathBuf},
    time::{Duration, Instant, SystemTime},
};

use stockscan_engine::{Error, IngestReport, Layout, Options, Result, is_bar_file};

use super::{batches, counted, ingest};
use crate::{
    arguments::{Global, IngestFiles},
    progress,
};

/// The time between two looks.
const PAUSE: Duration = Duration::from_millis(500);
/// How much of growing files is taken at a time.
const BATCH: u64 = 64 << 20;
/// How much before the end of what was taken is compared at each look.
const TAIL: usize = 1024;
/// What could not be taken in is tried again when it has changed, or after this time: the disk may have been full.
const RETRY: Duration = Duration::from_secs(10);

type Stamp = (u64, Option<SystemTime>);
type Failure = (Stamp, Instant);

/// What is known of a file.
enum State {
    Growing(Growing),
    Drop {
        /// At the last look.
        seen: Stamp,
        taken: Option<Stamp>,
        failed: Option<Failure>,
    },
}

/// How far a growing file was taken.
#[derive(Default)]
struct Growing {
    position: u64,
    /// The first line of a CSV file, which names its columns.
    header: Vec<u8>,
    /// What stands before the position, to tell a file that was replaced.
    tail: Vec<u8>,
    /// Lines before the position.
    lines: u64,
    failed: Option<Failure>,
    /// Something stands behind the last complete line.
    is_incomplete: bool,
}

/// Complete lines of a growing file.
struct Lines {
    text: Vec<u8>,
    growing: Growing,
    /// Why the file is read from its start again.
    restarted: Option<&'static str>,
}

/// What is to be taken in now.
enum News {
    Lines(Lines),
    Drop(Stamp),
}

/// Where the bars go.
pub(super) enum Target<'a> {
    /// Into a database, which is held for moments.
    Database(Options),
    /// To a server, at an address, by what sends it a file.
    Server(&'a str, &'a dyn Fn(&Path, &Layout) -> Result<IngestReport>),
}

struct Follower<'a> {
    global: &'a Global,
    layout: Layout,
    target: Target<'a>,
    given: &'a [PathBuf],
    files: BTreeMap<PathBuf, State>,
    /// What was said of a file that is wrong, so that it is not said again at each look.
    said: BTreeMap<PathBuf, String>,
    ignored: BTreeSet<PathBuf>,
    /// Where complete lines are put for reading.
    folder: tempfile::TempDir,
    total: IngestReport,
    batches: u64,
}

pub(super) fn run(global: &Global, files: &IngestFiles, layout: Layout, target: Target<'_>) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let mut follower = Follower {
        global,
        layout,
        target,
        given: &files.files,
        files: BTreeMap::new(),
        said: BTreeMap::new(),
        ignored: BTreeSet::new(),
        folder,
        total: IngestReport::default(),
        batches: 0,
    };
    let started = Instant::now();
    let deadline = files.duration.map(|seconds| started + Duration::from_secs(seconds));
    let mut last_news = started;
    progress::interrupts(None);
    follower.say(&format!(
        "following {}, for {}; Ctrl-C ends it",
        files.files.iter().map(|file| file.display().to_string()).collect::<Vec<_>>().join(", "),
        follower.target_name()
    ));
    let mut ended = false;
    while !ended {
        let look = Instant::now();
        // What is there at the end is still taken.
        ended = deadline.is_some_and(|deadline| look >= deadline)
            || files.idle.is_some_and(|seconds| look >= last_news + Duration::from_secs(seconds))
            || progress::is_interrupted();
        let (news, is_more) = follower.look();
        if !news.is_empty() && !progress::is_interrupted() {
            let before = follower.total.files;
            follower.take(news, deadline)?;
            if follower.total.files > before {
                last_news = Instant::now();
            }
            ended &= !is_more || deadline.is_some_and(|deadline| Instant::now() >= deadline);
        }
        if !ended && !is_more {
            let next = look + PAUSE;
            progress::wait_until(deadline.map_or(next, |deadline| deadline.min(next)));
        }
    }
    follower.finish(started)
}

impl Follower<'_> {
    fn say(&self, text: &str) {
        if !self.global.quiet {
            super::say(text);
        }
    }

    /// What is new in the files, and whether there is more of it than fits into a batch.
    fn look(&mut self) -> (Vec<(PathBuf, News)>, bool) {
        let mut news = Vec::new();
        let mut size = 0;
        for path in self.present() {
            if size >= BATCH {
                return (news, true);
            }
            match self.news_of(&path, BATCH - size) {
                Ok(None) => {}
                Ok(Some(found)) => {
                    if let News::Lines(lines) = &found {
                        size += lines.text.len() as u64;
                    }
                    news.push((path, found));
                }
                Err(error) => self.complain(&path, &format!("{}: {error}", path.display())),
            }
        }
        (news, size >= BATCH)
    }

    /// The files that are there now, those of a folder by their time.
    fn present(&mut self) -> Vec<PathBuf> {
        let mut present = Vec::new();
        for given in self.given {
            if !given.is_dir() {
                present.push(given.clone());
                continue;
            }
            let mut found = Vec::new();
            if let Err(error) = list(given, &mut found) {
                self.complain(given, &format!("{}: {error}", given.display()));
            }
            found.sort();
            for (_, path) in found {
                if is_bar_file(&path) {
                    present.push(path);
                } else if self.ignored.insert(path.clone()) {
                    self.say(&format!("{} is left out: by its ending it is no CSV, Parquet or JSON file", path.display()));
                }
            }
        }
        self.files.retain(|path, _| present.contains(path));
        present
    }

    fn news_of(&mut self, path: &Path, most: u64) -> std::io::Result<Option<News>> {
        let metadata = fs::metadata(path)?;
        let stamp = (metadata.len(), metadata.modified().ok());
        let is_lines = self.given.iter().any(|given| given == path) && is_lines(path);
        match self.files.get_mut(path) {
            None if is_lines => {
                self.files.insert(path.to_path_buf(), State::Growing(Growing::default()));
                self.news_of(path, most)
            }
            None => {
                self.files.insert(path.to_path_buf(), State::Drop { seen: stamp, taken: None, failed: None });
                Ok(None)
            }
            Some(State::Growing(Growing { failed, .. }) | State::Drop { failed, .. })
                if failed.is_some_and(|(then, when)| then == stamp && when.elapsed() < RETRY) =>
            {
                Ok(None)
            }
            Some(State::Growing(growing)) => Ok(growing.next(path, most)?.map(News::Lines)),
            Some(State::Drop { seen, taken, .. }) => {
                let is_whole = *seen == stamp && stamp.0 > 0;
                *seen = stamp;
                Ok((is_whole && *taken != Some(stamp)).then_some(News::Drop(stamp)))
            }
        }
    }

    /// Takes the news in, with one opening of the database.
    fn take(&mut self, mut news: Vec<(PathBuf, News)>, deadline: Option<Instant>) -> Result<()> {
        let global = self.global;
        let mut taken = Vec::new();
        let mut take_all = |ingest: &dyn Fn(&Path) -> Result<IngestReport>| {
            while let Some((path, found)) = news.get(taken.len()) {
                match self.take_one(ingest, path, found) {
                    Err(Error::Interrupted) => return Err(Error::Interrupted),
                    outcome => taken.push(outcome),
                }
            }
            Ok(())
        };
        let done = match &self.target {
            Target::Database(options) => batches::within(options, global, deadline, |engine| {
                take_all(&|file| engine.ingest(&[file.to_path_buf()], &self.layout, |_| {}))
            })?,
            Target::Server(_, send) => match take_all(&|file| send(file, &self.layout)) {
                Err(Error::Interrupted) => None,
                other => other.map(Some)?,
            },
        };
        // Said once the database is closed again: whoever reads it may look at once.
        let left = news.split_off(taken.len());
        for ((path, found), outcome) in news.into_iter().zip(taken) {
            self.note(&path, found, outcome);
        }
        if done.is_some() {
            self.batches += 1;
        } else if !progress::is_interrupted() {
            let target = self.target_name();
            let left: Vec<String> = left.iter().map(|(path, _)| path.display().to_string()).collect();
            self.complain(Path::new(&target), &format!("{target} was in use until the end: {} not taken in", left.join(", ")));
        }
        Ok(())
    }

    fn target_name(&self) -> String {
        match &self.target {
            Target::Database(_) => super::database(self.global).display().to_string(),
            Target::Server(url, _) => (*url).to_owned(),
        }
    }

    fn take_one(&self, ingest: &dyn Fn(&Path) -> Result<IngestReport>, path: &Path, news: &News) -> Result<IngestReport> {
        let name = path.file_name().unwrap_or_default();
        let part = self.folder.path().join(name);
        let read = match news {
            News::Drop(_) => path,
            News::Lines(lines) => {
                let file_error = |source| Error::File { path: part.clone(), source };
                fs::write(&part, [lines.growing.header.as_slice(), &lines.text].concat()).map_err(file_error)?;
                &part
            }
        };
        let outcome = ingest(read);
        if read == part {
            let _ = fs::remove_file(&part);
        }
        // What is said is of the file, not of the part of it.
        let (of_part, of_file) = (part.display().to_string(), path.display().to_string());
        match outcome {
            Ok(mut report) => {
                for rejected in &mut report.rejected {
                    rejected.file = path.to_path_buf();
                    if read == part
                        && let Some((line, text)) = rejected.example.strip_prefix("line ").and_then(|rest| rest.split_once(": "))
                        && let (Ok(line), News::Lines(lines)) = (line.parse::<u64>(), news)
                    {
                        let header = u64::from(!lines.growing.header.is_empty());
                        let before = lines.growing.lines - count_lines(&lines.text);
                        rejected.example = format!("line {}: {text}", before + line - header);
                    }
                }
                Ok(report)
            }
            Err(Error::Invalid(text)) => Err(Error::Invalid(text.replace(&of_part, &of_file))),
            Err(Error::Database(text)) => Err(Error::Database(text.replace(&of_part, &of_file))),
            Err(other) => Err(other),
        }
    }

    /// Notes what was taken, and says it.
    fn note(&mut self, path: &Path, news: News, outcome: Result<IngestReport>) {
        let failure = outcome.is_err().then(|| fs::metadata(path).ok()).flatten();
        let failure = failure.map(|metadata| ((metadata.len(), metadata.modified().ok()), Instant::now()));
        match (self.files.get_mut(path), news) {
            (Some(State::Growing(Growing { failed, .. }) | State::Drop { failed, .. }), _) if outcome.is_err() => *failed = failure,
            (Some(State::Growing(growing)), News::Lines(lines)) => {
                *growing = lines.growing;
                if let Some(why) = lines.restarted {
                    self.say(&format!("{} {why}: it is read from its start again", path.display()));
                }
            }
            (Some(State::Drop { taken, .. }), News::Drop(stamp)) => *taken = Some(stamp),
            _ => {}
        }
        match outcome {
            Err(error) => self.complain(path, &error.to_string()),
            Ok(report) => {
                self.said.remove(path);
                if !self.global.quiet {
                    let known = report.unchanged + report.conflicting;
                    let known = if known > 0 { format!(" ({} stored already)", counted(known, "row")) } else { String::new() };
                    let newest = report.newest.as_ref().map_or(String::new(), |newest| format!(", newest {newest}"));
                    self.say(&format!("{} added from {}{known}{newest}", counted(report.added, "bar"), path.display()));
                    ingest::print_rejected(&report);
                }
                self.total.files += 1;
                self.total.added += report.added;
                self.total.newest = self.total.newest.take().max(report.newest);
                self.total.rows_read += report.rows_read;
                self.total.rejected.extend(report.rejected);
            }
        }
    }

    /// Says what is wrong with a file, once; it is tried again when it has changed.
    fn complain(&mut self, path: &Path, text: &str) {
        if self.said.get(path).is_none_or(|said| said != text) {
            say!("{text}");
            self.said.insert(path.to_path_buf(), text.to_owned());
        }
    }

    /// The summary. What could not be taken in is a failure, unless it was ended by hand.
    fn finish(self, started: Instant) -> Result<()> {
        let newest = self.total.newest.as_ref().map_or(String::new(), |newest| format!(", newest {newest}"));
        self.say(&format!(
            "{} added in {} from {} in {:.0} s{newest}",
            counted(self.total.added, "bar"),
            if self.batches == 1 { "1 batch".to_owned() } else { format!("{} batches", self.batches) },
            counted(self.files.len() as u64, "file"),
            started.elapsed().as_secs_f64()
        ));
        for (path, state) in &self.files {
            if let State::Growing(Growing { is_incomplete: true, .. }) = state {
                self.say(&format!("{}: its last line does not end, and was not taken in", path.display()));
            }
        }
        if self.said.is_empty() || progress::is_interrupted() {
            return Ok(());
        }
        let files: Vec<String> = self.said.keys().map(|path| path.display().to_string()).collect();
        Err(Error::Database(format!("not everything could be taken in: {}", files.join(", "))))
    }
}

impl Growing {
    /// The complete lines behind what was taken.
    fn next(&mut self, path: &Path, most: u64) -> std::io::Result<Option<Lines>> {
        let mut file = File::open(path)?;
        let length = file.metadata()?.len();
        let mut restarted = None;
        if length < self.position {
            restarted = Some("is shorter than before");
        } else if !self.tail.is_empty() {
            let mut tail = vec![0; self.tail.len()];
            file.seek(SeekFrom::Start(self.position - self.tail.len() as u64))?;
            file.read_exact(&mut tail)?;
            if tail != self.tail {
                restarted = Some("was replaced");
            }
        }
        let from_start = restarted.is_some() || self.position == 0;
        let position = if from_start { 0 } else { self.position };
        file.seek(SeekFrom::Start(position))?;
        let mut text = Vec::new();
        file.take(most.max(1 << 20)).read_to_end(&mut text)?;
        let end = text.iter().rposition(|byte| *byte == b'\n').map_or(0, |last| last + 1);
        self.is_incomplete = end < text.len() && position + text.len() as u64 == length;
        text.truncate(end);
        let mut header = if from_start { Vec::new() } else { self.header.clone() };
        let mut lines = if from_start { 0 } else { self.lines };
        if from_start && !is_json(path) {
            let first = text.iter().position(|byte| *byte == b'\n').map_or(0, |first| first + 1);
            header = text.drain(..first).collect();
            lines += u64::from(first > 0);
        }
        if text.is_empty() {
            return Ok(None);
        }
        lines += count_lines(&text);
        let taken = position + end as u64;
        let whole = if from_start { [header.as_slice(), &text].concat() } else { text.clone() };
        let tail = whole[whole.len().saturating_sub(TAIL)..].to_vec();
        let growing = Growing { position: taken, header, tail, lines, failed: None, is_incomplete: self.is_incomplete };
        Ok(Some(Lines { text, growing, restarted }))
    }
}

fn count_lines(text: &[u8]) -> u64 {
    text.iter().filter(|byte| **byte == b'\n').count() as u64
}

/// Whether a file of this name can be taken line by line.
fn is_lines(path: &Path) -> bool {
    let ending = path.extension().unwrap_or_default().to_string_lossy().to_lowercase();
    matches!(ending.as_str(), "csv" | "tsv" | "txt" | "ndjson" | "jsonl")
}

fn is_json(path: &Path) -> bool {
    path.extension().is_some_and(|ending| ending.to_string_lossy().to_lowercase().ends_with("json") || ending == "jsonl")
}

/// The files of a folder and of those in it, with their times; those that are hidden or still being written go by their names.
fn list(folder: &Path, found: &mut Vec<(Option<SystemTime>, PathBuf)>) -> std::io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().to_lowercase();
        if name.starts_with(['.', '_']) || [".tmp", ".part", ".partial", ".unfinished"].iter().any(|ending| name.ends_with(ending)) {
            continue;
        }
        let path = entry.path();
        match fs::metadata(&path) {
            Ok(metadata) if metadata.is_dir() => list(&path, found)?,
            Ok(metadata) => found.push((metadata.modified().ok(), path)),
            // Gone since.
            Err(_) => {}
        }
    }
    Ok(())
}
