//! A scan that is run again and again, each time on the newest bar that is there.

use std::{
    hash::{BuildHasher, Hasher, RandomState},
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

use arrow::compute::concat_batches;
use jiff::{
    Timestamp,
    civil::{Date, DateTime, Time},
};
use stockscan_configuration::RunSettings;
use stockscan_engine::{Argument, Call, Engine, Error, Location, Query, Result, Value, file_version, is_built_in};

use stockscan_state::{Outcome, Results, Scan, State, new_scan_id};

use crate::{Reader, Statistics, Update};

/// The first wait for a database that another process holds; each further one is twice as long.
const FIRST_WAIT: Duration = Duration::from_millis(100);
/// No wait is longer.
const LONGEST_WAIT: Duration = Duration::from_secs(5);
/// Every date that each kind of TIMESTAMP can be compared with.
const ANY_DAY: [(&str, &str); 2] = [("first_date", "1678-01-01"), ("last_date", "2261-12-31")];
/// Where only the other arguments of a call matter.
const SOME_DAY: &str = "2000-01-01";

/// What is scanned.
#[derive(Debug, Clone)]
pub struct LiveScan {
    /// The scanner's name in SQL.
    pub function: String,
    /// Its arguments, without the session. A `cutoff_time` among them fixes the cutoff; without one it moves with the newest bar.
    pub arguments: Vec<(String, Argument)>,
    /// Time allowed, and how often a tick is tried again.
    pub settings: RunSettings,
}

impl LiveScan {
    /// The scanner's name, without `scan_`.
    #[must_use]
    pub fn scanner_type(&self) -> &str {
        self.function.strip_prefix("scan_").unwrap_or(&self.function)
    }

    /// Checks the names of the arguments against what the scanner takes.
    ///
    /// # Errors
    /// [`Error::UnknownParameter`] with the nearest name, [`Error::MissingArgument`].
    pub fn check(&self, engine: &Engine) -> Result<()> {
        call(engine, self, SOME_DAY, None).map(drop)
    }

    /// The cutoff, if it is fixed.
    #[must_use]
    pub fn fixed_cutoff(&self) -> Option<String> {
        match &self.arguments.iter().rev().find(|(name, _)| name == "cutoff_time")?.1 {
            Argument::Text(text) | Argument::Value(Value::Text(text)) => Some(text.clone()),
            Argument::Value(_) => None,
        }
    }
}

/// What came of a tick.
#[derive(Debug)]
pub enum Tick<'a> {
    /// A scan's result.
    Scanned(&'a Update),
    /// Nothing was written since the tick before, so that the result is the same. How this is known: the scanner is one of those built in, it
    /// reads a table of the database, and neither the database's file nor its log has another size or time than before that tick.
    Unchanged,
    /// There is no bar that can be scanned.
    NoBars,
}

/// A live scan, and what it has found so far.
#[derive(Debug)]
pub struct Watch {
    scan: LiveScan,
    last: Option<Update>,
    /// The database's files as they were before the last tick that succeeded, if they say whether there is anything new.
    seen: Option<Stamp>,
    /// Whether the scanner is what it was when Stockscan was built; unknown before the first tick.
    is_built_in: Option<bool>,
    statistics: Statistics,
    is_stale: bool,
    /// What the last tick asked, and what became of that; `None`: it asked nothing.
    asked: Option<Asked>,
}

/// What a tick asked.
#[derive(Debug)]
struct Asked {
    call: Call,
    data_version: Option<String>,
    elapsed: Duration,
    /// Kind and text of its error, if it failed.
    failure: Option<(&'static str, String)>,
}

impl Watch {
    /// Has found nothing so far.
    #[must_use]
    pub fn new(scan: LiveScan) -> Watch {
        Watch { scan, last: None, seen: None, is_built_in: None, statistics: Statistics::default(), is_stale: false, asked: None }
    }

    /// Opens the database, scans the session of the newest bar, up to the end of that bar or up to the fixed cutoff, and closes the database.
    ///
    /// A database that another process holds is tried again, as often as the scan's settings say, before that counts as an error. After an
    /// error the last result stays, marked as stale.
    ///
    /// # Errors
    /// As [`Reader::read`].
    pub fn tick(&mut self, reader: &mut Reader) -> Result<Tick<'_>> {
        self.asked = None;
        if self.is_unchanged() {
            return Ok(self.skipped());
        }
        let outcome = reader.read(self.scan.settings.retry_attempts, |engine| self.scanned(engine));
        self.concluded(outcome)
    }

    /// The same with a database that is open.
    ///
    /// # Errors
    /// What [`Engine`] says.
    pub fn tick_on(&mut self, engine: &Engine) -> Result<Tick<'_>> {
        self.asked = None;
        if self.is_unchanged() {
            return Ok(self.skipped());
        }
        let outcome = self.scanned(engine);
        self.concluded(outcome)
    }

    /// Takes note of a tick that could not even open the database.
    pub fn failed(&mut self, error: &Error) {
        self.statistics.ticks += 1;
        self.statistics.errors += 1;
        self.statistics.locked += u64::from(error.is_passing());
        self.statistics.last_error = Some((Timestamp::now(), error.to_string()));
        self.seen = None;
        self.is_stale = true;
        let failure = Some((error.kind(), error.to_string()));
        match &mut self.asked {
            Some(asked) => asked.failure = failure,
            None => {
                let given = self.scan.arguments.iter().map(|(name, argument)| match argument {
                    Argument::Value(value) => (name.clone(), value.clone()),
                    Argument::Text(text) => (name.clone(), Value::Text(text.clone())),
                });
                let call = Call { function: self.scan.function.clone(), arguments: given.collect() };
                self.asked = Some(Asked { call, data_version: None, elapsed: Duration::ZERO, failure });
            }
        }
    }

    /// Records what the last tick asked in the history of scans; nothing, if it found nothing to ask about.
    ///
    /// # Errors
    /// As [`State::record`].
    pub fn record(&mut self, state: &State, engine: &Engine, command: &str, database: Option<&Path>) -> Result<()> {
        let Some(Asked { call, data_version, elapsed, failure }) = self.asked.take() else { return Ok(()) };
        let mut results = Results::default();
        let outcome = match (&failure, &self.last) {
            (Some((kind, text)), _) => Outcome::Failed { kind, text },
            (None, Some(update)) => {
                results.begin(&update.results.schema());
                results.take(&update.results);
                Outcome::Done(&results)
            }
            (None, None) => return Ok(()),
        };
        let scan_id = new_scan_id();
        let data_version = data_version.as_deref();
        let database = database.map(|file| std::path::absolute(file).unwrap_or_else(|_| file.to_path_buf()).display().to_string());
        let database = database.as_deref();
        state.record(engine, &Scan { scan_id: &scan_id, command, call: &call, database, data_version, elapsed, outcome })
    }

    /// Whether nothing was written since the last tick, so that there is no need to open the database.
    #[must_use]
    pub fn is_unchanged(&self) -> bool {
        self.seen.as_ref().is_some_and(Stamp::still_holds)
    }

    /// What is scanned.
    #[must_use]
    pub fn scan(&self) -> &LiveScan {
        &self.scan
    }

    /// The last result, if there was one.
    #[must_use]
    pub fn last(&self) -> Option<&Update> {
        self.last.as_ref()
    }

    /// Whether the last tick failed, so that the last result may be out of date.
    #[must_use]
    pub fn is_stale(&self) -> bool {
        self.is_stale
    }

    /// How the ticks went.
    #[must_use]
    pub fn statistics(&self) -> &Statistics {
        &self.statistics
    }

    fn skipped(&mut self) -> Tick<'_> {
        self.statistics.ticks += 1;
        self.statistics.unchanged += 1;
        self.is_stale = false;
        Tick::Unchanged
    }

    fn concluded(&mut self, outcome: Result<Option<Update>>) -> Result<Tick<'_>> {
        match outcome {
            Ok(found) => {
                self.statistics.ticks += 1;
                self.is_stale = false;
                Ok(match found {
                    Some(update) => {
                        self.statistics.took(update.duration);
                        Tick::Scanned(self.last.insert(update))
                    }
                    None => Tick::NoBars,
                })
            }
            Err(error) => {
                self.failed(&error);
                Err(error)
            }
        }
    }

    fn scanned(&mut self, engine: &Engine) -> Result<Option<Update>> {
        let started = Instant::now();
        let is_built_in = match self.is_built_in {
            Some(known) => known,
            None => is_built_in(&self.scan.function) && !engine.hides_built_in(&self.scan.function)?,
        };
        self.is_built_in = Some(is_built_in);
        // Taken while the database is open, when nobody else can write: what is written later changes it.
        let stamp = if is_built_in { Stamp::of(engine, &self.scan, engine.source())? } else { None };
        let Some(newest) = newest(engine, &self.scan)? else {
            self.seen = stamp;
            return Ok(None);
        };
        let takes_cutoff = engine.signature(&self.scan.function)?.parameters.iter().any(|(name, _)| name == "cutoff_time");
        let moving = moving_cutoff(newest.session, newest.end);
        let call = call(engine, &self.scan, &newest.session.to_string(), takes_cutoff.then_some(moving.as_str()))?;
        let data_version = stamp.as_ref().map(|stamp| stamp.version.clone());
        let asked = self.asked.insert(Asked { call, data_version, elapsed: Duration::ZERO, failure: None });
        let update = scan_at(engine, &self.scan, &asked.call, newest, self.last.as_ref(), started);
        asked.elapsed = started.elapsed();
        let update = Some(update?);
        self.seen = stamp;
        Ok(update)
    }
}

/// Does something that needs a database; where another process holds that, again, up to so many times, with growing waits between.
///
/// # Errors
/// What `work` says.
pub fn while_locked<T>(retries: u64, mut work: impl FnMut() -> Result<T>) -> Result<T> {
    let mut wait = FIRST_WAIT;
    let mut left = retries;
    loop {
        match work() {
            Err(error) if error.is_passing() && left > 0 => {
                left -= 1;
                thread::sleep(jittered(wait));
                wait = wait.saturating_mul(2).min(LONGEST_WAIT);
            }
            other => return other,
        }
    }
}

/// The newest bar that a scan may see.
struct Newest {
    session: Date,
    end: DateTime,
}

/// Finds the newest bar through the order of time, so that DuckDB reads the end of the data only.
fn newest(engine: &Engine, scan: &LiveScan) -> Result<Option<Newest>> {
    let call = call(engine, scan, SOME_DAY, None)?;
    let mut arguments: Vec<(String, Argument)> =
        ANY_DAY.iter().map(|(name, day)| ((*name).to_owned(), Argument::Text((*day).to_owned()))).collect();
    let shared = ["source", "bar_minutes", "session_start", "session_end", "symbols"];
    let given = call.arguments.iter().filter(|(name, _)| shared.contains(&name.as_str()));
    arguments.extend(given.map(|(name, value)| (name.clone(), Argument::Value(value.clone()))));
    let bars = engine.call("session_bars", &arguments)?.query();
    let sql = format!(
        "SELECT CAST(bar.session_date AS VARCHAR) AS session_date, epoch_us(bar.ts) AS ts FROM ({}) AS bar \
         WHERE bar.by_cutoff ORDER BY bar.ts DESC LIMIT 1",
        bars.sql
    );
    let (schema, batches) = engine.collect(&Query::with_values(sql, bars.values), Some(scan.settings.timeout))?;
    let row = concat_batches(&schema, &batches).map_err(unfit)?;
    if row.num_rows() == 0 {
        return Ok(None);
    }
    let text = |column: usize| -> Result<String> {
        let formatter = arrow::util::display::ArrayFormatter::try_new(row.column(column).as_ref(), &Default::default()).map_err(unfit)?;
        Ok(formatter.value(0).to_string())
    };
    let session: Date = text(0)?.parse().map_err(unfit)?;
    let start = text(1)?.parse::<i64>().map_err(unfit)?;
    let start = Timestamp::from_microsecond(start).map_err(unfit)?.to_zoned(jiff::tz::TimeZone::UTC).datetime();
    let length = jiff::Span::new().minutes(bar_minutes(engine, &call)?);
    Ok(Some(Newest { session, end: start.checked_add(length).map_err(unfit)? }))
}

/// The length of a bar, as given or as the scanner's default has it.
fn bar_minutes(engine: &Engine, call: &Call) -> Result<i64> {
    let given = call.arguments.iter().find(|(name, _)| name == "bar_minutes").map(|(_, value)| value);
    Ok(match given {
        Some(Value::BigInt(minutes)) => *minutes,
        Some(Value::Int(minutes)) => i64::from(*minutes),
        _ => {
            let parameters = engine.signature(&call.function)?.parameters;
            let default = parameters.into_iter().find(|(name, _)| name == "bar_minutes").and_then(|(_, default)| default);
            default.and_then(|default| default.parse().ok()).unwrap_or(1)
        }
    })
}

/// The call for a session. `cutoff` is the moving one: where none is fixed, and the scanner takes any.
fn call(engine: &Engine, scan: &LiveScan, session: &str, cutoff: Option<&str>) -> Result<Call> {
    let text = |name: &str, value: &str| (name.to_owned(), Argument::Value(Value::Text(value.to_owned())));
    let mut arguments = vec![text("scan_date", session)];
    arguments.extend(cutoff.map(|cutoff| text("cutoff_time", cutoff)));
    // A fixed cutoff comes later and wins.
    arguments.extend(scan.arguments.iter().cloned());
    engine.call(&scan.function, &arguments)
}

fn scan_at(engine: &Engine, scan: &LiveScan, call: &Call, newest: Newest, before: Option<&Update>, started: Instant) -> Result<Update> {
    let Newest { session, end } = newest;
    let (schema, batches) = engine.collect(&call.query(), Some(scan.settings.timeout))?;
    let results = concat_batches(&schema, &batches).map_err(unfit)?;
    let fixed = scan.fixed_cutoff().and_then(|cutoff| time_on(session, &cutoff));
    let update = Update {
        timestamp: Timestamp::now(),
        scanner_type: scan.scanner_type().to_owned(),
        session,
        newest: end,
        data_as_of: fixed.map_or(end, |cutoff| cutoff.min(end)),
        results,
        added: Vec::new(),
        kept: Vec::new(),
        removed: Vec::new(),
        starts_session: false,
        is_complete: fixed.is_none_or(|cutoff| cutoff <= end),
        differs: false,
        duration: started.elapsed(),
    };
    Update::against(before, update)
}

/// The end of a bar as a time of day, in whole seconds upwards, since a cutoff has no fractions.
fn moving_cutoff(session: Date, end: DateTime) -> String {
    let whole = if end.subsec_nanosecond() > 0 {
        end.with().subsec_nanosecond(0).build().and_then(|end| end.checked_add(jiff::Span::new().seconds(1))).unwrap_or(end)
    } else {
        end
    };
    if whole.date() > session { "24:00".to_owned() } else { whole.strftime("%H:%M:%S").to_string() }
}

/// A time of day on a day; `24:00` is the next one's start.
fn time_on(day: Date, clock: &str) -> Option<DateTime> {
    if clock.starts_with("24:") {
        return Some(day.tomorrow().ok()?.at(0, 0, 0, 0));
    }
    Some(day.to_datetime(clock.trim().parse::<Time>().ok()?))
}

/// What the file with the bars looks like from outside.
#[derive(Debug, PartialEq)]
struct Stamp {
    file: PathBuf,
    version: String,
}

impl Stamp {
    /// `None` where that does not say all: the bars come from a view, or from many files.
    fn of(engine: &Engine, scan: &LiveScan, source: &str) -> Result<Option<Stamp>> {
        if scan.arguments.iter().any(|(name, _)| name == "source") {
            return Ok(None);
        }
        let file = match engine.location() {
            _ if Path::new(source).is_file() => PathBuf::from(source),
            Location::File(database) => database.clone(),
            Location::Memory => return Ok(None),
        };
        Ok(engine.data_version()?.map(|version| Stamp { file, version }))
    }

    fn still_holds(&self) -> bool {
        file_version(&self.file).as_deref() == Some(self.version.as_str())
    }
}

/// Between half and all of it, so that two that wait for each other do not meet again.
pub(crate) fn jittered(wait: Duration) -> Duration {
    let random = RandomState::new().build_hasher().finish();
    #[expect(clippy::cast_precision_loss, reason = "any number will do")]
    wait.mul_f64(0.5 + 0.5 * (random as f64 / u64::MAX as f64))
}

fn unfit(error: impl std::fmt::Display) -> Error {
    Error::Database(error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cutoffs_are_times_of_the_session() {
        let session = jiff::civil::date(2025, 1, 15);
        assert_eq!(moving_cutoff(session, session.at(10, 5, 0, 0)), "10:05:00");
        assert_eq!(moving_cutoff(session, session.at(10, 5, 30, 1000)), "10:05:31", "a cutoff before its end would hide the bar");
        assert_eq!(moving_cutoff(session, jiff::civil::date(2025, 1, 16).at(0, 0, 0, 0)), "24:00");
        assert_eq!(time_on(session, "24:00"), Some(jiff::civil::date(2025, 1, 16).at(0, 0, 0, 0)));
        assert_eq!(time_on(session, "09:50"), Some(session.at(9, 50, 0, 0)));
    }
}
