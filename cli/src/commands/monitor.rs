//! `scanner monitor`: a screen that shows a live scan; without a terminal, a line for each name that comes or goes.

mod board;
mod screen;

use std::{
    io::{self, IsTerminal, Write},
    sync::{
        atomic::{AtomicBool, Ordering},
        mpsc::{self, Receiver, Sender, TryRecvError},
    },
    thread,
    time::{Duration, Instant},
};

use ratatui::{
    DefaultTerminal,
    crossterm::{
        event::{self, Event, KeyCode, KeyEvent, KeyEventKind, KeyModifiers},
        execute,
        style::Print,
    },
};
use stockscan_engine::{Error, Result};
use stockscan_live::{Statistics, Tick, Update, clock, symbols};

use super::live::{self, Feed};
use crate::{
    arguments::{Global, Monitor},
    pace::{self, Pace},
    rows::Rows,
};
use board::{Board, State};
use screen::View;

/// The screen is drawn at least so often: ages grow.
const FRAME: Duration = Duration::from_millis(250);

pub(crate) fn run(global: &Global, monitor: &Monitor) -> Result<()> {
    let feed = Feed::new(global, &monitor.scan, &monitor.repeat, "monitor")?;
    let interval = live::interval(global, &monitor.repeat);
    let board = Board::new(interval, Duration::from_secs(60 * u64::from(global.bar_minutes)));
    let pace = live::pace(global, &monitor.repeat);
    let has_screen = io::stdout().is_terminal() && io::stdin().is_terminal() && std::env::var_os("TERM").is_none_or(|term| term != "dumb");
    if has_screen { full_screen(global, monitor, feed, board, pace) } else { plain(global, feed, board, pace) }
}

/// Lines, for a pipe or a file.
fn plain(global: &Global, mut feed: Feed, mut board: Board, mut pace: Pace) -> Result<()> {
    let mut was_quiet = false;
    let news = feed.news();
    loop {
        let mut has_none = false;
        let outcome = match feed.tick() {
            Ok(Tick::Scanned(update)) => board.take(update, Instant::now()).and_then(|()| print_changes(update)),
            Ok(tick) => {
                board.looked();
                has_none = matches!(tick, Tick::NoBars);
                Ok(())
            }
            Err(error) => Err(error),
        };
        if has_none && feed.statistics().ticks == 1 && !global.quiet {
            say!("there is no bar yet that can be scanned");
        }
        feed.record();
        if pace::is_stopped() {
            break;
        }
        if let Err(error) = outcome {
            if live::ends(&error, feed.statistics()) {
                return Err(error);
            }
            board.failed(&error, Instant::now());
            live::complain(&error);
        }
        let is_quiet = matches!(board.state(Instant::now()), State::NoNewBars(_));
        if is_quiet && !was_quiet && !global.quiet {
            say!("no new bar for {}", live::span(board.quiet(Instant::now()).unwrap_or_default()));
        }
        was_quiet = is_quiet;
        if !pace.wait_for(|| news.load(Ordering::Relaxed)) {
            break;
        }
    }
    say_summary(global, &board, feed.statistics(), feed.waits(), &pace);
    if let Some(text) = feed.failure().filter(|_| !global.quiet) {
        say!("{text}");
    }
    Ok(())
}

/// `10:05 + DEMO0007  price 123.45  probability_score 87.00`, `10:06 - DEMO0003`.
fn print_changes(update: &Update) -> Result<()> {
    let mut out = io::stdout().lock();
    if update.starts_session {
        writeln!(out, "session {}", update.session)?;
    }
    let moment = clock(update.data_as_of, update.session);
    let rows = Rows { batch: update.results.clone() };
    let names = symbols(&update.results)?;
    let (prices, scores) = (rows.numbers("price")?, rows.numbers("probability_score")?);
    for symbol in &update.added {
        let row = names.iter().position(|name| name == symbol);
        let number = |values: &[Option<f64>]| row.and_then(|row| values[row]).map_or("-".to_owned(), |value| format!("{value:.2}"));
        writeln!(out, "{moment} + {symbol}  price {}  probability_score {}", number(&prices), number(&scores))?;
    }
    for symbol in &update.removed {
        writeln!(out, "{moment} - {symbol}")?;
    }
    Ok(out.flush()?)
}

/// What was seen, once it is over.
fn say_summary(global: &Global, board: &Board, statistics: &Statistics, waits: u64, pace: &Pace) {
    if global.quiet {
        return;
    }
    for seen in &board.seen {
        let dropped = seen.dropped.as_ref().map_or(String::new(), |moment| format!(", dropped {moment}"));
        say!("{} {:>6}  {}{dropped}", seen.session, seen.first, seen.symbol);
    }
    say!("{}; {}", live::summary(statistics, waits, pace.elapsed()), super::counted(board.seen.len() as u64, "name"));
    if let Some((_, text)) = &statistics.last_error {
        say!("the last error: {text}");
    }
}

/// What the thread that scans tells of a tick.
struct Report {
    outcome: Result<Option<Update>>,
    statistics: Statistics,
    waits: u64,
    /// Why a scan is not in the history.
    unrecorded: Option<String>,
    /// Whether its error is one after which there is no use in going on.
    ends: bool,
}

/// Scans whenever it is told to.
fn scanning(mut feed: Feed, orders: &Receiver<()>, reports: &Sender<Report>) {
    while orders.recv().is_ok() {
        let outcome = feed.tick().map(|tick| match tick {
            Tick::Scanned(update) => Some(update.clone()),
            Tick::Unchanged | Tick::NoBars => None,
        });
        feed.record();
        let ends = outcome.as_ref().is_err_and(|error| live::ends(error, feed.statistics()));
        let report = Report {
            outcome,
            statistics: feed.statistics().clone(),
            waits: feed.waits(),
            unrecorded: feed.failure().map(str::to_owned),
            ends,
        };
        if reports.send(report).is_err() {
            return;
        }
    }
}

fn full_screen(global: &Global, monitor: &Monitor, feed: Feed, mut board: Board, mut pace: Pace) -> Result<()> {
    let mut view = View {
        scanner: feed.scanner_type().to_owned(),
        database: feed.place(global),
        cutoff: feed.fixed_cutoff(&monitor.scan),
        is_colored: console::colors_enabled(),
        is_paused: false,
        has_bell: false,
        scanning: None,
        interval: pace.interval(),
        left: Duration::ZERO,
        offset: 0,
        statistics: Statistics::default(),
        waits: 0,
        unrecorded: None,
    };
    let (order, orders) = mpsc::channel();
    let (report, reports) = mpsc::channel();
    let news = feed.news();
    thread::spawn(move || scanning(feed, &orders, &report));
    // It also puts the terminal back should this program panic.
    let mut terminal = ratatui::try_init()?;
    let outcome = screen_loop(&mut terminal, &mut view, &mut board, &mut pace, (&order, &reports, &news));
    ratatui::try_restore()?;
    // The thread may be in the middle of a scan; nothing of it is wanted any more.
    pace::stop();
    say_summary(global, &board, &view.statistics, view.waits, &pace);
    if let Some(text) = view.unrecorded.filter(|_| !global.quiet) {
        say!("{text}");
    }
    outcome
}

fn screen_loop(
    terminal: &mut DefaultTerminal,
    view: &mut View,
    board: &mut Board,
    pace: &mut Pace,
    (order, reports, news): (&Sender<()>, &Receiver<Report>, &AtomicBool),
) -> Result<()> {
    let gone = || Error::Database("the thread that scans has ended".to_owned());
    let mut is_wanted = true;
    while !pace::is_stopped() && !pace.is_over() {
        match reports.try_recv() {
            Ok(report) => {
                view.scanning = None;
                (view.statistics, view.waits, view.unrecorded) = (report.statistics, report.waits, report.unrecorded);
                match report.outcome {
                    Ok(Some(update)) => {
                        let is_news = !update.added.is_empty() && board.session == Some(update.session);
                        board.take(&update, Instant::now())?;
                        if view.has_bell && is_news {
                            execute!(io::stdout(), Print("\x07"))?;
                        }
                    }
                    Ok(None) => board.looked(),
                    Err(error) if report.ends => return Err(error),
                    Err(error) => board.failed(&error, Instant::now()),
                }
            }
            Err(TryRecvError::Empty) => {}
            Err(TryRecvError::Disconnected) => return Err(gone()),
        }
        is_wanted |= (pace.is_due() || news.load(Ordering::Relaxed)) && !view.is_paused;
        if is_wanted && view.scanning.is_none() {
            order.send(()).map_err(|_| gone())?;
            (view.scanning, is_wanted) = (Some(Instant::now()), false);
        }
        view.left = pace.left();
        board.tidy(Instant::now());
        let mut room = 0;
        terminal.draw(|frame| room = screen::draw(frame, view, board, Instant::now()))?;
        // A result is drawn as soon as it is there, and it is there soon.
        let patience = if view.scanning.is_some() { Duration::from_millis(20) } else { FRAME.min(pace.left()) };
        if event::poll(patience)? {
            let last = (board.hits.len() + board.dropped.len()).saturating_sub(room);
            match event::read()? {
                Event::Key(key) if key.kind != KeyEventKind::Release => match pressed(key) {
                    Some(Action::Quit) => return Ok(()),
                    Some(Action::Pause) => {
                        view.is_paused = !view.is_paused;
                        board.resumed(Instant::now());
                    }
                    Some(Action::Now) => is_wanted = true,
                    Some(Action::Bell) => view.has_bell = !view.has_bell,
                    Some(Action::Scroll(rows)) => view.offset = view.offset.min(last).saturating_add_signed(rows).min(last),
                    None => {}
                },
                // The next frame has the new size.
                _ => {}
            }
        }
    }
    Ok(())
}

enum Action {
    Quit,
    Pause,
    Now,
    Bell,
    Scroll(isize),
}

fn pressed(key: KeyEvent) -> Option<Action> {
    let is_interrupt = key.code == KeyCode::Char('c') && key.modifiers.contains(KeyModifiers::CONTROL);
    Some(match key.code {
        _ if is_interrupt => Action::Quit,
        KeyCode::Char('q') | KeyCode::Esc => Action::Quit,
        KeyCode::Char('p') => Action::Pause,
        KeyCode::Char(' ') => Action::Now,
        KeyCode::Char('b') => Action::Bell,
        KeyCode::Up => Action::Scroll(-1),
        KeyCode::Down => Action::Scroll(1),
        KeyCode::PageUp => Action::Scroll(-10),
        KeyCode::PageDown => Action::Scroll(10),
        _ => return None,
    })
}
