//! What a monitor knows: the hits, since when each is one, which were dropped, and whether all that can be relied on.

use std::{
    collections::{HashMap, HashSet, VecDeque},
    time::{Duration, Instant},
};

use arrow::datatypes::DataType;
use jiff::civil::{Date, DateTime};
use stockscan_engine::{Error, Result};
use stockscan_live::{Update, clock, symbols};

use crate::table::{self, Numbers};

/// For at least so long a name is shown as new, or as dropped.
const FRESH: Duration = Duration::from_secs(60);
/// How many distances between new bars are remembered.
const GAPS: usize = 9;

/// A column of the results.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Column {
    pub(super) name: String,
    pub(super) is_number: bool,
}

/// A row of the results, or one that was.
#[derive(Debug, Clone)]
pub(super) struct Hit {
    pub(super) symbol: String,
    pub(super) cells: Vec<String>,
    /// Since when it is a hit, in the data's time; with a ≤ before it where that is only when the monitor first looked.
    pub(super) since: String,
    /// When it became one, if the monitor saw that happen.
    came: Option<Instant>,
    /// When it was dropped.
    went: Option<Instant>,
}

/// A name in the summary at the end.
#[derive(Debug, Clone)]
pub(super) struct Seen {
    pub(super) session: Date,
    pub(super) symbol: String,
    /// When it was first a hit, in the data's time.
    pub(super) first: String,
    /// When it was last seen to be dropped; `None`: it is still a hit, or was to the end of its session.
    pub(super) dropped: Option<String>,
}

/// What is the matter with what is shown.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum State {
    /// The first scan has not ended.
    Starting,
    /// Nothing: bars come and are scanned.
    Live,
    /// It is, but no bar has come for longer than is usual.
    NoNewBars(Duration),
    /// There is no bar at all.
    NoBars,
    /// Another process holds the database; since when, and what it says of that.
    Locked(Duration, String),
    /// The last scan failed.
    Stale(Duration, String),
}

#[derive(Debug)]
pub(super) struct Board {
    interval: Duration,
    /// Length of a bar: until two have come that is how far they are apart.
    bar: Duration,
    pub(super) columns: Vec<Column>,
    pub(super) hits: Vec<Hit>,
    pub(super) dropped: Vec<Hit>,
    pub(super) seen: Vec<Seen>,
    pub(super) session: Option<Date>,
    pub(super) data_as_of: Option<DateTime>,
    newest: Option<DateTime>,
    /// When the newest bar came; before one has come, when the monitor first looked.
    advanced: Option<Instant>,
    /// Whether it was seen to come.
    pub(super) has_advanced: bool,
    gaps: VecDeque<Duration>,
    /// Since when scans fail, and why the last one did.
    trouble: Option<(Instant, bool, String)>,
    has_looked: bool,
}

impl Board {
    pub(super) fn new(interval: Duration, bar: Duration) -> Board {
        Board {
            interval,
            bar,
            columns: Vec::new(),
            hits: Vec::new(),
            dropped: Vec::new(),
            seen: Vec::new(),
            session: None,
            data_as_of: None,
            newest: None,
            advanced: None,
            has_advanced: false,
            gaps: VecDeque::new(),
            trouble: None,
            has_looked: false,
        }
    }

    /// Takes in a scan's result.
    pub(super) fn take(&mut self, update: &Update, now: Instant) -> Result<()> {
        let is_first = self.session.is_none();
        if self.session != Some(update.session) {
            (self.hits, self.dropped) = (Vec::new(), Vec::new());
        }
        self.looked();
        match self.newest {
            Some(newest) if update.newest > newest => {
                if let Some(advanced) = self.advanced.filter(|_| self.has_advanced) {
                    self.gaps.truncate(GAPS - 1);
                    self.gaps.push_front(now - advanced);
                }
                (self.advanced, self.has_advanced) = (Some(now), true);
            }
            Some(_) => {}
            None => self.advanced = Some(now),
        }
        self.newest = Some(update.newest);
        self.session = Some(update.session);
        self.data_as_of = Some(update.data_as_of);
        let schema = update.results.schema();
        let column = |field: &arrow::datatypes::FieldRef| Column {
            name: field.name().clone(),
            is_number: field.data_type().is_numeric() || matches!(field.data_type(), DataType::Decimal128(..)),
        };
        self.columns = schema.fields().iter().map(column).collect();

        let moment = clock(update.data_as_of, update.session);
        let columns = update.results.columns().iter().map(|column| table::texts(column.as_ref(), Numbers::Rounded));
        let columns: Vec<Vec<String>> = columns.collect::<Result<_>>()?;
        let added: HashSet<&String> = update.added.iter().collect();
        let removed: HashSet<&String> = update.removed.iter().collect();
        let before: HashMap<String, Hit> = self.hits.iter().map(|hit| (hit.symbol.clone(), hit.clone())).collect();
        for hit in self.hits.drain(..).filter(|hit| removed.contains(&hit.symbol)) {
            self.dropped.push(Hit { went: Some(now), ..hit });
        }
        self.dropped.retain(|hit| !added.contains(&hit.symbol));
        for (row, symbol) in symbols(&update.results)?.into_iter().enumerate() {
            let cells = columns.iter().map(|column| column[row].clone()).collect();
            let (since, came) = match before.get(&symbol) {
                Some(hit) => (hit.since.clone(), hit.came),
                None if is_first => (format!("≤{moment}"), None),
                None => (moment.clone(), Some(now)),
            };
            self.hits.push(Hit { symbol, cells, since, came, went: None });
        }
        for symbol in &update.added {
            match self.seen.iter_mut().find(|seen| seen.session == update.session && seen.symbol == *symbol) {
                Some(seen) => seen.dropped = None,
                None => {
                    let first = if is_first { format!("≤{moment}") } else { moment.clone() };
                    self.seen.push(Seen { session: update.session, symbol: symbol.clone(), first, dropped: None });
                }
            }
        }
        for seen in &mut self.seen {
            if seen.session == update.session && removed.contains(&seen.symbol) {
                seen.dropped = Some(moment.clone());
            }
        }
        Ok(())
    }

    /// Takes in that there was no need to scan, or nothing to scan.
    pub(super) fn looked(&mut self) {
        (self.has_looked, self.trouble) = (true, None);
    }

    /// Takes in that it was not looking, so that nothing is known of the time since.
    pub(super) fn resumed(&mut self, now: Instant) {
        if self.advanced.is_some() {
            (self.advanced, self.has_advanced) = (Some(now), false);
        }
    }

    /// Takes in that a scan failed.
    pub(super) fn failed(&mut self, error: &Error, now: Instant) {
        let since = self.trouble.as_ref().map_or(now, |(since, ..)| *since);
        self.trouble = Some((since, error.is_passing(), error.to_string()));
    }

    /// What to make of it.
    pub(super) fn state(&self, now: Instant) -> State {
        if let Some((since, is_locked, text)) = &self.trouble {
            let since = now - *since;
            return if *is_locked { State::Locked(since, text.clone()) } else { State::Stale(since, text.clone()) };
        }
        match self.quiet(now) {
            None if self.has_looked => State::NoBars,
            None => State::Starting,
            Some(quiet) if quiet > self.patience() => State::NoNewBars(quiet),
            Some(_) => State::Live,
        }
    }

    /// How long no bar has come.
    pub(super) fn quiet(&self, now: Instant) -> Option<Duration> {
        self.advanced.map(|advanced| now - advanced)
    }

    /// Three times what is usual between two bars, as far as that is known, and at least three looks.
    fn patience(&self) -> Duration {
        let mut gaps: Vec<Duration> = self.gaps.iter().copied().collect();
        gaps.sort_unstable();
        let usual = gaps.get(gaps.len() / 2).copied().unwrap_or(self.bar);
        usual.max(self.interval) * 3
    }

    /// Forgets names that were dropped long ago.
    pub(super) fn tidy(&mut self, now: Instant) {
        let fresh = self.fresh();
        self.dropped.retain(|hit| hit.went.is_none_or(|went| now - went < fresh));
    }

    /// Whether a hit is to be shown as new.
    pub(super) fn is_new(&self, hit: &Hit, now: Instant) -> bool {
        hit.came.is_some_and(|came| now - came < self.fresh())
    }

    fn fresh(&self) -> Duration {
        FRESH.max(self.interval * 2)
    }
}
