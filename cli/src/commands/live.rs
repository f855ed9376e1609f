//! What the commands with live scans share: from their options to the scan, which errors end them, and what they say at the end.

use std::{
    sync::{Arc, atomic::AtomicBool},
    time::Duration,
};

use stockscan_engine::{Engine, Error, Options, Result};
use stockscan_live::{LiveScan, Reader, Statistics, Tick, Watch};
use stockscan_state::State;

use super::{Access, counted, database, options, own_scanners, recording, remote::Follower, scanning::Scanning};
use crate::{
    arguments::{Global, Repeat, Scan},
    pace::{self, Pace},
};

/// A database to look at again and again.
pub(crate) fn reader(global: &Global) -> Result<Reader> {
    let reader = Reader::new(Options { scanners_directory: own_scanners(global)?, ..options(global, Access::Read)? })?;
    pace::watch([reader.engine()]);
    Ok(reader)
}

/// Records the ticks of a live scan in the history.
pub(crate) struct Recorder {
    state: State,
    command: &'static str,
    /// Why one of them is not there.
    failure: Option<String>,
}

impl Recorder {
    pub(crate) fn new(global: &Global, command: &'static str) -> Recorder {
        Recorder { state: recording::state(global), command, failure: None }
    }

    /// Records the last tick.
    pub(crate) fn take(&mut self, reader: &Reader, watch: &mut Watch) {
        if let Err(error) = reader.record(&self.state, self.command, watch) {
            self.failure = Some(recording::not_recorded("not every one of these scans", &error));
        }
    }

    /// What to say in the end.
    pub(crate) fn failure(&self) -> Option<&str> {
        self.failure.as_deref()
    }
}

/// Where the results of a live scan come from.
pub(crate) enum Feed {
    /// From a database, at each look.
    Here {
        /// The database.
        reader: Reader,
        /// The scan.
        watch: Watch,
        /// Notes the scans in the history.
        recorder: Recorder,
    },
    /// From a server, as they come.
    There(Follower),
}

impl Feed {
    /// What the options name.
    pub(crate) fn new(global: &Global, given: &Scan, repeat: &Repeat, command: &'static str) -> Result<Feed> {
        if global.api_mode {
            return Ok(Feed::There(Follower::new(global, given, interval(global, repeat))?));
        }
        let mut reader = reader(global)?;
        let watch = Watch::new(scan(global, &mut reader, given)?);
        Ok(Feed::Here { reader, watch, recorder: Recorder::new(global, command) })
    }

    /// Looks what is new.
    pub(crate) fn tick(&mut self) -> Result<Tick<'_>> {
        match self {
            Feed::Here { reader, watch, .. } => watch.tick(reader),
            Feed::There(follower) => follower.tick(),
        }
    }

    /// Notes the last tick in the history, which a server does itself.
    pub(crate) fn record(&mut self) {
        if let Feed::Here { reader, watch, recorder } = self {
            recorder.take(reader, watch);
        }
    }

    /// Whether there is something to look at before it is time.
    pub(crate) fn news(&self) -> Arc<AtomicBool> {
        match self {
            Feed::Here { .. } => Arc::default(),
            Feed::There(follower) => follower.news(),
        }
    }

    /// How it went so far.
    pub(crate) fn statistics(&self) -> &Statistics {
        match self {
            Feed::Here { watch, .. } => watch.statistics(),
            Feed::There(follower) => follower.statistics(),
        }
    }

    /// How often another process held the database.
    pub(crate) fn waits(&self) -> u64 {
        if let Feed::Here { reader, .. } = self { reader.waits() } else { 0 }
    }

    /// Why a scan is not in the history.
    pub(crate) fn failure(&self) -> Option<&str> {
        if let Feed::Here { recorder, .. } = self { recorder.failure() } else { None }
    }

    /// DuckDB, to ask about scanners.
    pub(crate) fn engine(&self) -> &Engine {
        match self {
            Feed::Here { reader, .. } => reader.engine(),
            Feed::There(follower) => follower.engine(),
        }
    }

    /// The scanner's name, without `scan_`.
    pub(crate) fn scanner_type(&self) -> &str {
        match self {
            Feed::Here { watch, .. } => watch.scan().scanner_type(),
            Feed::There(follower) => follower.scanner_type(),
        }
    }

    /// The cutoff, if it is fixed.
    pub(crate) fn fixed_cutoff(&self, given: &Scan) -> Option<String> {
        match self {
            Feed::Here { watch, .. } => watch.scan().fixed_cutoff(),
            Feed::There(_) => given.cutoff.clone(),
        }
    }

    /// Where the bars are.
    pub(crate) fn place(&self, global: &Global) -> String {
        match self {
            Feed::Here { .. } => global.source.clone().unwrap_or_else(|| database(global).display().to_string()),
            Feed::There(follower) => follower.url().to_owned(),
        }
    }
}

/// What is scanned, from the configuration, and over it the options.
pub(crate) fn scan(global: &Global, reader: &mut Reader, scan: &Scan) -> Result<LiveScan> {
    check_enabled(global)?;
    reader.read(global.configuration.default.retry_attempts.0, |engine| {
        for stranger in global.configuration.check_scanners(engine)? {
            if !global.quiet {
                say!("{stranger}");
            }
        }
        let scanning = Scanning::new(engine, global, scan)?;
        let live = LiveScan { function: scanning.function, arguments: scanning.arguments, settings: scanning.settings };
        // So that a wrong name of a parameter is said before anything starts.
        live.check(engine)?;
        if !global.quiet {
            for finding in engine.unchecked_reading(&live.function)? {
                say!("{} may look ahead: {}; 'scanner check' says more", finding.function, finding.problem);
            }
        }
        Ok(live)
    })
}

/// Live scans may be switched off.
pub(crate) fn check_enabled(global: &Global) -> Result<()> {
    if global.configuration.streaming.enabled {
        return Ok(());
    }
    Err(switched_off(global, "enabled", "there are no live scans"))
}

/// A key of `streaming` is false; what follows from that.
pub(crate) fn switched_off(global: &Global, key: &str, effect: &str) -> Error {
    let origin = global.configuration.origin("streaming", key).map_or(String::new(), |origin| format!("{origin}: "));
    Error::Invalid(format!("{origin}streaming.{key} is false, so {effect}; expected true there, or nothing"))
}

/// How often and for how long.
pub(crate) fn pace(global: &Global, repeat: &Repeat) -> Pace {
    Pace::start(interval(global, repeat), repeat.duration)
}

/// Time between two ticks.
pub(crate) fn interval(global: &Global, repeat: &Repeat) -> Duration {
    repeat.interval.unwrap_or_else(|| Duration::from_secs(global.configuration.streaming.interval_seconds.0))
}

/// Whether an error is no matter of one tick: what was asked for cannot be, nobody takes the rows, or nothing was right from the start.
pub(crate) fn ends(error: &Error, statistics: &Statistics) -> bool {
    let never_worked = statistics.scans == 0 && statistics.errors == statistics.ticks;
    error.is_usage() || matches!(error, Error::Output(_)) || (never_worked && !error.is_passing() && !matches!(error, Error::Timeout(_)))
}

/// Says what failed, and that it goes on.
pub(crate) fn complain(error: &Error) {
    super::say_error(error);
}

/// `12 scans, 3 without anything new, in 1:05 min; half took up to 0.12 s, the longest 0.31 s; 1 failed`
pub(crate) fn summary(statistics: &Statistics, waits: u64, elapsed: Duration) -> String {
    let mut text = format!("{} in {}", counted(statistics.ticks, "tick"), span(elapsed));
    if let Some(median) = statistics.percentile(50) {
        let (median, longest) = (median.as_secs_f64(), statistics.longest.as_secs_f64());
        text.push_str(&format!(", {} (half of them up to {median:.2} s, the longest {longest:.2} s)", counted(statistics.scans, "scan")));
    }
    if statistics.unchanged > 0 {
        text.push_str(&format!(", {} without anything new in the database", statistics.unchanged));
    }
    if statistics.errors > 0 {
        text.push_str(&format!(", {} failed", statistics.errors));
    }
    if waits > 0 {
        text.push_str(&format!("; the database was held by another process {}", times(waits)));
    }
    text
}

fn times(count: u64) -> String {
    if count == 1 { "once".to_owned() } else { format!("{count} times") }
}

/// `0.4 s`, `35 s`, `1:05 min`, `2:05 h`.
pub(crate) fn span(duration: Duration) -> String {
    let seconds = duration.as_secs();
    match seconds {
        0..10 => format!("{:.1} s", duration.as_secs_f64()),
        10..60 => format!("{seconds} s"),
        60..3600 => format!("{}:{:02} min", seconds / 60, seconds % 60),
        _ => format!("{}:{:02} h", seconds / 3600, seconds / 60 % 60),
    }
}
