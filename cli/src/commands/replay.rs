//! `scanner replay`: stored sessions fed as if they were live, by a clock of their own.
//!
//! The sessions to replay are copied aside first, so that FILE is free while the clock goes. What was before them is there from the start. Each
//! step takes the bars that have ended since the last one the way `scanner ingest` does, with the database open for that moment only.

use std::{
    fs::File,
    io::Read,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use jiff::{SignedDuration, civil::Date, civil::DateTime, civil::Time};
use stockscan_engine::{Engine, Error, Layout, Location, Options, Result};

use super::{batches, counted, ingest, say};
use crate::{
    arguments::{Global, Replay},
    progress,
};

const DEFAULT_DATABASE: &str = "replay.duckdb";

/// The comment on a table that a replay made, and may remove bars from.
const MARK: &str = "scanner replay";

/// The shortest time between two steps.
const SHORTEST_STEP: Duration = Duration::from_millis(250);

/// Every bar is later, or earlier.
const ALWAYS: &str = "-infinity";
const NEVER: &str = "infinity";

pub(crate) fn run(global: &Global, replay: &Replay) -> Result<()> {
    let database = global.database.clone().unwrap_or_else(|| DEFAULT_DATABASE.into());
    if !replay.file.exists() {
        return Err(Error::no_file(replay.file.clone()));
    }
    if global.read_only {
        return Err(Error::Invalid("a replay writes bars; leave out --read-only".to_owned()));
    }
    if let (Ok(file), Ok(target)) = (replay.file.canonicalize(), database.canonicalize())
        && file == target
    {
        return Err(Error::Invalid(format!(
            "{} is what is to be replayed, and cannot be where it is replayed to; name another database, as in --database {DEFAULT_DATABASE}",
            database.display()
        )));
    }
    progress::interrupts(None);
    let target = Options {
        location: Location::File(database.clone()),
        read_only: false,
        threads: global.threads,
        memory_limit: global.memory_limit.clone(),
        source: None,
        scanners_directory: None,
    };
    let folder = tempfile::tempdir()?;
    let Some(stored) = Stored::open(global, replay, &target, folder.path())? else { return Err(Error::Interrupted) };
    let clock = stored.clock(global, replay)?;
    let mut player = Player { global, target, stored, database: database.clone(), speed: replay.speed, added: 0, is_terminal: false };
    if !player.prepare(&clock, replay.restart)? {
        return Err(Error::Interrupted);
    }
    player.introduce(&clock);
    let at = player.play(&clock)?;
    player.finish(&clock, at)
}

/// The bars to replay.
struct Stored {
    /// Where the sessions before are.
    before: (PathBuf, String, Layout),
    /// A database of the sessions to replay.
    aside: PathBuf,
    sessions: Vec<Date>,
    name: String,
}

/// When the clock starts, and at which times bars end.
struct Clock {
    start: DateTime,
    /// For each session: its bars' starts, distinct and in order.
    sessions: Vec<(Date, Vec<DateTime>)>,
    bar: SignedDuration,
}

impl Stored {
    fn open(global: &Global, replay: &Replay, target: &Options, folder: &Path) -> Result<Option<Stored>> {
        let aside = folder.join("aside.duckdb");
        let options = Options { location: Location::File(aside.clone()), ..target.clone() };
        let layout = ingest::layout(global, &replay.layout)?;
        let name = replay.file.display().to_string();
        if !is_database(&replay.file)? {
            if let Some(source) = &global.source {
                return Err(Error::Invalid(format!("--source {source} names a table of a DuckDB file, and {name} is none")));
            }
            let engine = Engine::open(options)?;
            let report =
                progress::shown(&engine, global, "reading", || engine.ingest(std::slice::from_ref(&replay.file), &layout, |_| {}))?;
            if !global.quiet {
                ingest::print_rejected(&report);
            }
            let sessions = sessions(&engine)?;
            let layout = Layout { bar_minutes: global.bar_minutes, ..Layout::default() };
            return Ok(Some(Stored { before: (aside.clone(), "bars".to_owned(), layout), aside, sessions, name }));
        }
        let relation = global.source.clone().unwrap_or_else(|| "bars".to_owned());
        // While a process writes to it, it cannot be read.
        let copied = batches::within(&options, global, None, |engine| {
            let days = engine.sessions_of(&replay.file, &relation, &layout)?;
            let days = days.iter().map(|day| parse_date("a session", day)).collect::<Result<Vec<Date>>>()?;
            let (first, last) = range(&days, replay, &name)?;
            let until = last.tomorrow().map_or(NEVER.to_owned(), |day| day.to_string());
            engine.ingest_between(&replay.file, &relation, &layout, &first.to_string(), &until)?;
            Ok(days)
        })?;
        Ok(copied.map(|sessions| Stored { before: (replay.file.clone(), relation, layout), aside, sessions, name }))
    }

    fn clock(&self, global: &Global, replay: &Replay) -> Result<Clock> {
        let (first, last) = range(&self.sessions, replay, &self.name)?;
        let options = Options { location: Location::File(self.aside.clone()), read_only: true, ..Options::memory() };
        let engine = Engine::open(options)?;
        let mut statement = engine.connection().prepare(
            "SELECT DISTINCT CAST(ts AS VARCHAR) FROM bars WHERE CAST(ts AS DATE) BETWEEN CAST(? AS DATE) AND CAST(? AS DATE) ORDER BY ALL",
        )?;
        let found = statement.query_map([first.to_string(), last.to_string()], |row| row.get::<_, String>(0))?;
        let mut sessions: Vec<(Date, Vec<DateTime>)> = Vec::new();
        for text in found {
            let text = text?;
            let start: DateTime = text.parse().map_err(|error| Error::Invalid(format!("a bar's time {text}: {error}")))?;
            match sessions.last_mut() {
                Some((day, starts)) if *day == start.date() => starts.push(start),
                _ => sessions.push((start.date(), vec![start])),
            }
        }
        let bar = SignedDuration::from_mins(i64::from(global.bar_minutes));
        let Some((day, starts)) = sessions.first() else {
            return Err(Error::Invalid(format!("{} has no bars from {first} to {last}", self.name)));
        };
        let start = match &replay.from {
            Some(text) => day.to_datetime(parse_time("--from", text)?),
            None => starts[0],
        };
        let end = starts[starts.len() - 1] + bar;
        if start >= end {
            return Err(Error::Invalid(format!("--from {}: {day} ends at {} already", start.strftime("%H:%M"), end.strftime("%H:%M"))));
        }
        Ok(Clock { start, sessions, bar })
    }
}

struct Player<'a> {
    global: &'a Global,
    target: Options,
    stored: Stored,
    database: PathBuf,
    speed: f64,
    added: u64,
    is_terminal: bool,
}

impl Player<'_> {
    /// Stores what was before the clock starts. `false`: interrupted.
    fn prepare(&self, clock: &Clock, restart: bool) -> Result<bool> {
        let name = self.database.display();
        let first = clock.sessions[0].0;
        let until = (clock.start - clock.bar + SignedDuration::from_micros(1)).to_string();
        let outcome = batches::within(&self.target, self.global, None, |engine| {
            let connection = engine.connection();
            let comments: Vec<Option<String>> = connection
                .prepare("SELECT comment FROM duckdb_tables() WHERE table_name = 'bars' UNION ALL SELECT NULL FROM duckdb_views() WHERE view_name = 'bars'")?
                .query_map([], |row| row.get(0))?
                .collect::<std::result::Result<_, _>>()?;
            if comments.iter().any(|comment| comment.as_deref() != Some(MARK)) {
                return Err(Error::Invalid(format!(
                    "{name} has bars that no replay put there, and a replay would mix its own with them; name another database, as in --database {DEFAULT_DATABASE}"
                )));
            }
            if !comments.is_empty() {
                if restart {
                    connection.execute("DELETE FROM bars WHERE ts >= CAST(? AS TIMESTAMP)", [first.to_string()])?;
                }
                let later: Option<String> = connection.query_row(
                    "SELECT strftime(max(ts), '%Y-%m-%d %H:%M') FROM bars WHERE ts >= CAST(? AS TIMESTAMP)",
                    [&until],
                    |row| row.get(0),
                )?;
                if let Some(later) = later {
                    return Err(Error::Invalid(format!(
                        "{name} has bars up to {later} already, which is later than the clock would start; --restart removes those from {first} on first"
                    )));
                }
            }
            progress::shown(engine, self.global, "loading what was before", || {
                let (file, relation, layout) = &self.stored.before;
                engine.ingest_between(file, relation, layout, ALWAYS, &first.to_string())?;
                engine.ingest_between(&self.stored.aside, "bars", &self.steps_layout(), ALWAYS, &until)
            })?;
            Ok(connection.execute_batch(&format!("COMMENT ON TABLE bars IS '{MARK}'"))?)
        })?;
        Ok(outcome.is_some())
    }

    fn steps_layout(&self) -> Layout {
        Layout { bar_minutes: self.global.bar_minutes, ..Layout::default() }
    }

    fn introduce(&mut self, clock: &Clock) {
        if self.global.quiet {
            return;
        }
        self.is_terminal = console::Term::stderr().is_term();
        let days = match clock.sessions.as_slice() {
            [(day, _)] => day.to_string(),
            days => format!("{} from {} to {}", counted(days.len() as u64, "session"), days[0].0, days[days.len() - 1].0),
        };
        let length: f64 =
            (0..clock.sessions.len()).map(|index| clock.end(index).duration_since(clock.begin(index)).as_secs_f64() / self.speed).sum();
        let length = if length < 90.0 { format!("{length:.0} s") } else { format!("{:.0} minutes", length / 60.0) };
        say(&format!(
            "replaying {days} of {} into {}, {} times as fast, which takes {length}; Ctrl-C ends it. In another terminal:",
            self.stored.name,
            self.database.display(),
            self.speed
        ));
        say!("  scanner monitor --scanner-type breakout --database {}", self.database.display());
    }

    /// Lets the clock go; returns where it stood at the end, `None` if it came to its end.
    fn play(&mut self, clock: &Clock) -> Result<Option<DateTime>> {
        for (index, (_, starts)) in clock.sessions.iter().enumerate() {
            let begin = clock.begin(index);
            let started = Instant::now();
            let real = |time: DateTime| started + Duration::from_secs_f64((time.duration_since(begin).as_secs_f64() / self.speed).max(0.0));
            let mut done = starts.iter().filter(|start| **start + clock.bar <= begin && index == 0).count();
            while done < starts.len() {
                progress::wait_until(real(starts[done] + clock.bar));
                let now = begin + SignedDuration::from_secs_f64(started.elapsed().as_secs_f64() * self.speed);
                let now = now.min(clock.end(index));
                if progress::is_interrupted() {
                    return Ok(Some(now));
                }
                let ended = starts.iter().filter(|start| **start + clock.bar <= now).count().max(done + 1);
                let from = starts[done].to_string();
                let until = (starts[ended - 1] + SignedDuration::from_micros(1)).to_string();
                let step = Instant::now();
                let layout = self.steps_layout();
                let report = batches::within(&self.target, self.global, None, |engine| {
                    engine.ingest_between(&self.stored.aside, "bars", &layout, &from, &until)
                })?;
                let Some(report) = report else { return Ok(Some(now)) };
                self.added += report.added;
                self.show(starts[ended - 1] + clock.bar, report.added);
                done = ended;
                progress::wait_until(step + SHORTEST_STEP.min(real(clock.end(index)).saturating_duration_since(step)));
            }
        }
        Ok(None)
    }

    /// What the clock says: in one line on a terminal, else a line for each step.
    fn show(&self, now: DateTime, added: u64) {
        if self.global.quiet {
            return;
        }
        let text = format!("{}  {} added, {} in all", now.strftime("%Y-%m-%d %H:%M"), counted(added, "bar"), counted(self.added, "bar"));
        if self.is_terminal {
            eprint!("\r\x1b[K{text}");
        } else {
            say!("{text}");
        }
    }

    fn finish(&self, clock: &Clock, at: Option<DateTime>) -> Result<()> {
        if self.global.quiet {
            return Ok(());
        }
        if self.is_terminal {
            say!("");
        }
        let (days, name) = (&clock.sessions, self.database.display());
        match at {
            None => say(&format!(
                "replayed {} up to {}; {name} keeps them. The same again: --restart",
                counted(self.added, "bar"),
                clock.end(days.len() - 1).strftime("%Y-%m-%d %H:%M")
            )),
            Some(at) => say(&format!(
                "stopped at {}, with {} replayed; {name} keeps them. Go on from there with --date {} --from {}, or begin again with --restart",
                at.strftime("%Y-%m-%d %H:%M"),
                counted(self.added, "bar"),
                at.strftime("%Y-%m-%d"),
                at.strftime("%H:%M")
            )),
        }
        Ok(())
    }
}

impl Clock {
    fn begin(&self, session: usize) -> DateTime {
        if session == 0 { self.start } else { self.sessions[session].1[0] }
    }

    fn end(&self, session: usize) -> DateTime {
        let starts = &self.sessions[session].1;
        starts[starts.len() - 1] + self.bar
    }
}

/// The first and the last session to replay.
fn range(sessions: &[Date], replay: &Replay, name: &str) -> Result<(Date, Date)> {
    let (Some(first), Some(last)) = (sessions.first(), sessions.last()) else {
        return Err(Error::Invalid(format!("{name} has no bars to replay; 'scanner check' says what is wrong with them")));
    };
    let known = |option: &str, given: &str| {
        let day = parse_date(option, given)?;
        if sessions.contains(&day) {
            return Ok(day);
        }
        let count = counted(sessions.len() as u64, "session");
        Err(Error::Invalid(format!("{option} {given}: no such session; {name} has {count} from {first} to {last}")))
    };
    let from = replay.date.as_deref().map_or(Ok(*last), |given| known("--date", given))?;
    let to = replay.end_date.as_deref().map_or(Ok(from), |given| known("--end-date", given))?;
    if to < from {
        return Err(Error::Invalid(format!("--end-date {to} is before --date {from}")));
    }
    Ok((from, to))
}

fn sessions(engine: &Engine) -> Result<Vec<Date>> {
    let mut statement = engine.connection().prepare("SELECT DISTINCT CAST(CAST(ts AS DATE) AS VARCHAR) FROM bars ORDER BY ALL")?;
    let found = statement.query_map([], |row| row.get::<_, String>(0))?;
    found.map(|day| parse_date("a session", &day?)).collect()
}

fn parse_date(what: &str, text: &str) -> Result<Date> {
    text.parse().map_err(|_| Error::Invalid(format!("{what} {text}: expected a date such as 2025-01-15")))
}

fn parse_time(what: &str, text: &str) -> Result<Time> {
    text.parse().map_err(|_| Error::Invalid(format!("{what} {text}: expected a time of day such as 09:50")))
}

/// Whether a file is a DuckDB database, by its first bytes.
fn is_database(path: &Path) -> Result<bool> {
    let mut head = Vec::new();
    let read = File::open(path).and_then(|file| file.take(12).read_to_end(&mut head));
    read.map_err(|source| Error::File { path: path.to_path_buf(), source })?;
    Ok(head.len() == 12 && &head[8..] == b"DUCK")
}
