//! How a monitor looks: a heading that says whether all is well, the hits, timings, and the keys.

use std::time::{Duration, Instant};

use ratatui::{
    Frame,
    layout::{Alignment, Constraint, Layout, Rect},
    style::{Color, Modifier, Style},
    text::{Line, Span, Text},
    widgets::{Cell, Paragraph, Row, Sparkline, Table},
};
use stockscan_live::{Statistics, clock};

use super::board::{Board, Column, Hit, State};
use crate::commands::live::span;

/// What is shown beside the board.
#[derive(Debug)]
pub(super) struct View {
    pub(super) scanner: String,
    pub(super) database: String,
    /// The cutoff, if it is fixed.
    pub(super) cutoff: Option<String>,
    pub(super) is_colored: bool,
    pub(super) is_paused: bool,
    pub(super) has_bell: bool,
    /// Since when a scan is running, if one is.
    pub(super) scanning: Option<Instant>,
    /// Time between two scans.
    pub(super) interval: Duration,
    /// Time to the next scan.
    pub(super) left: Duration,
    /// How many rows are scrolled away.
    pub(super) offset: usize,
    pub(super) statistics: Statistics,
    /// How often another process held the database.
    pub(super) waits: u64,
    /// Why a scan is not in the history.
    pub(super) unrecorded: Option<String>,
}

/// Draws everything. Returns how many rows of the table have room.
pub(super) fn draw(frame: &mut Frame<'_>, view: &View, board: &Board, now: Instant) -> usize {
    let area = frame.area();
    let state = board.state(now);
    let message =
        if view.is_paused { "paused: what comes now is not seen; p goes on, space scans once".to_owned() } else { message(&state, board) };
    let message_height = if message.is_empty() { 0 } else { if area.height >= 16 { 2 } else { 1 } };
    let timings_height = match area.height {
        20.. if area.width >= 70 => 4,
        14.. => 1,
        _ => 0,
    };
    let [title, data, problem, table, timings, keys] = Layout::vertical([
        Constraint::Length(1),
        Constraint::Length(1),
        Constraint::Length(message_height),
        Constraint::Min(1),
        Constraint::Length(timings_height),
        Constraint::Length(1),
    ])
    .areas(area);
    heading(frame, title, view, &state);
    frame.render_widget(Paragraph::new(data_line(view, board, now, usize::from(area.width))), data);
    if message_height > 0 {
        let style = view.style(if view.is_paused { Color::Yellow } else { urgency(&state) }, Modifier::BOLD);
        frame.render_widget(Paragraph::new(message).style(style).wrap(ratatui::widgets::Wrap { trim: true }), problem);
    }
    let room = rows(frame, table, view, board, now);
    match timings_height {
        0 => {}
        1 => frame.render_widget(Paragraph::new(timings_line(view)), timings),
        _ => panel(frame, timings, view),
    }
    let bell = if view.has_bell { "bell on" } else { "bell off" };
    let text = if area.width >= 70 {
        format!("q quit   p {}   space scan now   ↑↓ scroll   b {bell}", if view.is_paused { "go on" } else { "pause" })
    } else {
        format!("q quit p {} ␣ now ↑↓ b {bell}", if view.is_paused { "go on" } else { "pause" })
    };
    frame.render_widget(Paragraph::new(text).style(view.dim()), keys);
    if let Some(shown) = room.shown {
        let width = u16::try_from(shown.len()).unwrap_or(0).min(keys.width);
        let corner = Rect { x: keys.right() - width, width, ..keys };
        frame.render_widget(Paragraph::new(shown).style(Style::new().add_modifier(Modifier::REVERSED)), corner);
    }
    room.rows
}

impl View {
    fn style(&self, color: Color, modifier: Modifier) -> Style {
        let style = Style::new().add_modifier(modifier);
        if self.is_colored { style.fg(color) } else { style }
    }

    fn dim(&self) -> Style {
        // Without colours some terminals show no difference, but none shows nothing.
        if self.is_colored { Style::new().fg(Color::DarkGray) } else { Style::new().add_modifier(Modifier::DIM) }
    }
}

/// The colour of a state.
fn urgency(state: &State) -> Color {
    match state {
        State::Live => Color::Green,
        State::Starting => Color::Cyan,
        State::NoNewBars(_) | State::NoBars => Color::Yellow,
        State::Locked(..) | State::Stale(..) => Color::Red,
    }
}

/// The scanner, the database, and in one word how things are.
fn heading(frame: &mut Frame<'_>, area: Rect, view: &View, state: &State) {
    let word = match state {
        _ if view.is_paused => "PAUSED",
        State::Starting => "STARTING",
        State::Live => "LIVE",
        State::NoNewBars(_) => "NO NEW BARS",
        State::NoBars => "NO BARS",
        State::Locked(..) => "LOCKED",
        State::Stale(..) => "STALE",
    };
    let color = if view.is_paused { Color::Yellow } else { urgency(state) };
    let badge = format!(" {word} ");
    let style = view.style(color, Modifier::BOLD | Modifier::REVERSED);
    let badge_width = u16::try_from(badge.len()).unwrap_or(0);
    let [left, right] = Layout::horizontal([Constraint::Min(0), Constraint::Length(badge_width)]).areas(area);
    let line = Line::from(vec![
        Span::styled(view.scanner.clone(), Style::new().add_modifier(Modifier::BOLD)),
        Span::raw(format!("  {}", view.database)),
    ]);
    frame.render_widget(Paragraph::new(line), left);
    frame.render_widget(Paragraph::new(Span::styled(badge, style)).alignment(Alignment::Right), right);
}

/// Up to when bars were seen, when the newest came, and when the next scan is.
fn data_line(view: &View, board: &Board, now: Instant, width: usize) -> Line<'static> {
    let mut parts = Vec::new();
    if let (Some(session), Some(moment)) = (board.session, board.data_as_of) {
        parts.push(format!("data as of {session} {}", clock(moment, session)));
    }
    if let Some(cutoff) = &view.cutoff {
        parts.push(format!("cutoff {cutoff}"));
    }
    let scanning = view.scanning.map(|since| now - since).filter(|time| *time > Duration::from_millis(500));
    let next = match scanning {
        Some(time) => format!("scanning for {}", whole(time)),
        None if view.is_paused => "paused".to_owned(),
        None if view.interval < Duration::from_secs(3) => format!("every {}", span(view.interval)),
        None => format!("next in {}", whole(view.left)),
    };
    parts.push(next);
    if let Some(quiet) = board.quiet(now).filter(|_| !view.is_paused) {
        parts.push(if board.has_advanced {
            format!("newest bar came {} ago", whole(quiet))
        } else {
            format!("no bar came in {}", whole(quiet))
        });
    }
    if board.session.is_some() {
        parts.push(format!("{} hit{}", board.hits.len(), if board.hits.len() == 1 { "" } else { "s" }));
    }
    // What does not fit is left out whole, the less important first.
    while parts.len() > 1 && parts.join(" · ").chars().count() > width {
        parts.pop();
    }
    Line::from(parts.join(" · "))
}

/// Whole seconds: they are drawn again and again.
fn whole(duration: Duration) -> String {
    let seconds = duration.as_secs();
    if seconds < 60 { format!("{seconds} s") } else { span(duration) }
}

/// What is wrong, in a sentence.
fn message(state: &State, board: &Board) -> String {
    let shown = match (board.session, board.data_as_of) {
        (Some(session), Some(moment)) => format!("what is shown is of {}", clock(moment, session)),
        _ => "there is nothing to show yet".to_owned(),
    };
    match state {
        State::Live | State::Starting => String::new(),
        State::NoNewBars(quiet) => format!("no new bar for {}: is the database still being fed?", whole(*quiet)),
        State::NoBars => "there is no bar yet that can be scanned".to_owned(),
        State::Locked(since, text) => format!("no scan for {}, {shown}: {text}", whole(*since)),
        State::Stale(since, text) => format!("scans fail for {}, {shown}: {text}", whole(*since)),
    }
}

/// The hits, those dropped below them.
fn rows(frame: &mut Frame<'_>, area: Rect, view: &View, board: &Board, now: Instant) -> Room {
    if board.hits.is_empty() && board.dropped.is_empty() {
        let text = if board.session.is_some() { "no hits" } else { "" };
        frame.render_widget(Paragraph::new(Text::from(vec![Line::default(), Line::from(text)])).style(view.dim()), area);
        return Room { rows: usize::from(area.height), shown: None };
    }
    let shown = fitting(board, usize::from(area.width));
    let header_height = shown.iter().map(|column| column.header.len()).max().unwrap_or(1).min(usize::from(area.height).div_ceil(3));
    let header = Row::new(shown.iter().map(|column| {
        // The last words of a name tell the most where there is no room for all.
        let lines: Vec<&str> = column.header[column.header.len().saturating_sub(header_height)..].iter().map(String::as_str).collect();
        let padded = std::iter::repeat_n("", header_height - lines.len()).chain(lines);
        let text = Text::from(padded.map(Line::from).collect::<Vec<_>>());
        Cell::from(if column.is_number { text.alignment(Alignment::Right) } else { text })
    }));
    #[expect(clippy::cast_possible_truncation, reason = "no higher than the screen")]
    let header = header.height(header_height as u16).style(Style::new().add_modifier(Modifier::BOLD));
    let all = board.hits.iter().map(|hit| (hit, false)).chain(board.dropped.iter().map(|hit| (hit, true)));
    let room = usize::from(area.height).saturating_sub(header_height).max(1);
    let total = board.hits.len() + board.dropped.len();
    let offset = view.offset.min(total.saturating_sub(room));
    let lines = all.skip(offset).take(room).map(|(hit, is_dropped)| {
        let is_new = !is_dropped && board.is_new(hit, now);
        let mark = if is_dropped {
            "-"
        } else if is_new {
            "+"
        } else {
            " "
        };
        let cells = shown.iter().map(|column| {
            let text = match column.content {
                Content::Mark => mark.to_owned(),
                Content::Since => hit.since.clone(),
                Content::Value(index) => hit.cells[index].clone(),
            };
            let text = Text::from(text);
            Cell::from(if column.is_number { text.alignment(Alignment::Right) } else { text })
        });
        let style = if is_dropped {
            view.dim().add_modifier(Modifier::CROSSED_OUT)
        } else if is_new {
            view.style(Color::Green, Modifier::BOLD)
        } else {
            Style::new()
        };
        Row::new(cells).style(style)
    });
    #[expect(clippy::cast_possible_truncation, reason = "all together are no wider than the screen")]
    let widths = shown.iter().map(|column| Constraint::Length(column.width as u16));
    let table = Table::new(lines.collect::<Vec<_>>(), widths).header(header).column_spacing(GAP as u16);
    frame.render_widget(table, area);
    let hidden = total > room;
    Room { rows: room, shown: hidden.then(|| format!("{}-{} of {total}", offset + 1, (offset + room).min(total))) }
}

/// What of the table has room.
struct Room {
    rows: usize,
    /// Which rows are seen, where these are not all.
    shown: Option<String>,
}

/// Columns stand so far apart.
const GAP: usize = 2;

#[derive(Debug, Clone, Copy, PartialEq)]
enum Content {
    Mark,
    Since,
    Value(usize),
}

#[derive(Debug)]
struct Shown {
    header: Vec<String>,
    width: usize,
    is_number: bool,
    content: Content,
}

/// The columns that have room, in the scanner's order. The most important ones are taken first: who, at what price, how good, since when,
/// then the evidence.
fn fitting(board: &Board, width: usize) -> Vec<Shown> {
    let hits = || board.hits.iter().chain(&board.dropped);
    let value = |index: usize, column: &Column| {
        let header: Vec<String> = column.name.split('_').map(str::to_owned).collect();
        let cells = hits().map(|hit: &Hit| hit.cells[index].chars().count()).max().unwrap_or(0);
        let width = header.iter().map(String::len).max().unwrap_or(0).max(cells);
        Shown { header, width, is_number: column.is_number, content: Content::Value(index) }
    };
    let since = hits().map(|hit| hit.since.chars().count()).max().unwrap_or(0).max(5);
    let mark = Shown { header: vec![String::new()], width: 1, is_number: false, content: Content::Mark };
    let since = Shown { header: vec!["since".to_owned()], width: since, is_number: true, content: Content::Since };
    let mut left = width.saturating_sub(1);
    let mut chosen = vec![mark];
    let mut take = |shown: Shown| {
        // Who it is stands there in any case.
        let fits = shown.width + GAP <= left || chosen.len() == 1;
        if fits {
            left = left.saturating_sub(shown.width + GAP);
            chosen.push(shown);
        }
    };
    let all: Vec<(usize, &Column)> = board.columns.iter().enumerate().collect();
    let find = |name: &str| all.iter().find(|(_, column)| column.name == name).map(|(index, column)| value(*index, column));
    for name in ["symbol", "price", "probability_score"] {
        find(name).into_iter().for_each(&mut take);
    }
    take(since);
    let rest = all
        .iter()
        .filter(|(_, column)| !["symbol", "price", "probability_score", "scan_date", "volume", "rank"].contains(&column.name.as_str()));
    rest.map(|(index, column)| value(*index, column)).for_each(&mut take);
    for name in ["volume", "rank"] {
        find(name).into_iter().for_each(&mut take);
    }
    let place = |shown: &Shown| match shown.content {
        Content::Mark => 0,
        Content::Value(index) => index + 1,
        Content::Since => usize::MAX,
    };
    chosen.sort_by_key(place);
    chosen
}

/// `scan 0.12 s (p50 0.11, p95 0.20, max 0.31) · 12 ticks · 1 failed`
fn timings_line(view: &View) -> Line<'static> {
    let statistics = &view.statistics;
    let seconds = |duration: Option<Duration>| duration.map_or("-".to_owned(), |duration| format!("{:.2}", duration.as_secs_f64()));
    let last = statistics.durations().next_back();
    let mut text = format!(
        "scan {} s, p50 {}, p95 {}, max {}",
        seconds(last),
        seconds(statistics.percentile(50)),
        seconds(statistics.percentile(95)),
        seconds(Some(statistics.longest).filter(|_| last.is_some()))
    );
    if statistics.errors > 0 {
        text = format!("{} failed · {text}", statistics.errors);
    }
    Line::styled(text, if statistics.errors > 0 { view.style(Color::Red, Modifier::empty()) } else { view.dim() })
}

/// How long scans take, and how many of them fail.
fn panel(frame: &mut Frame<'_>, area: Rect, view: &View) {
    let [rule, chart, timings, counts] =
        Layout::vertical([Constraint::Length(1), Constraint::Length(1), Constraint::Length(1), Constraint::Length(1)]).areas(area);
    frame.render_widget(Paragraph::new("─".repeat(usize::from(area.width))).style(view.dim()), rule);
    let statistics = &view.statistics;
    let room = usize::from(chart.width.saturating_sub(12));
    let durations: Vec<u64> =
        statistics.durations().rev().take(room).map(|duration| u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)).collect();
    let [label, bars] = Layout::horizontal([Constraint::Length(12), Constraint::Min(0)]).areas(chart);
    frame.render_widget(Paragraph::new("scan times").style(view.dim()), label);
    let line =
        Sparkline::default().data(durations.into_iter().rev().collect::<Vec<u64>>()).style(view.style(Color::Cyan, Modifier::empty()));
    frame.render_widget(line, bars);
    let seconds = |duration: Option<Duration>| duration.map_or("-".to_owned(), |duration| format!("{:.3} s", duration.as_secs_f64()));
    let last = statistics.durations().next_back();
    let text = format!(
        "last {}   p50 {}   p95 {}   max {}",
        seconds(last),
        seconds(statistics.percentile(50)),
        seconds(statistics.percentile(95)),
        seconds(last.map(|_| statistics.longest))
    );
    frame.render_widget(Paragraph::new(text), timings);
    let mut text = format!(
        "{} ticks, {} scans, {} unchanged, waited for another process {} times",
        statistics.ticks, statistics.scans, statistics.unchanged, view.waits
    );
    let mut style = view.dim();
    if let Some((when, error)) = &statistics.last_error {
        style = view.style(Color::Red, Modifier::empty());
        text = format!(
            "{} failed of {} ticks, last at {}: {error}",
            statistics.errors,
            statistics.ticks,
            when.to_zoned(jiff::tz::TimeZone::system()).strftime("%H:%M:%S")
        );
    }
    frame.render_widget(Paragraph::new(text).style(style), counts);
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{ArrayRef, Float64Array, Int64Array, RecordBatch, StringArray};
    use jiff::{Timestamp, civil::date};
    use ratatui::{Terminal, backend::TestBackend, buffer::Buffer};
    use stockscan_engine::Error;
    use stockscan_live::Update;

    use super::*;

    type Outcome = Result<(), Box<dyn std::error::Error>>;

    const INTERVAL: Duration = Duration::from_secs(30);

    /// A result at so many minutes after nine, with a price for each name.
    fn update(minute: i8, hits: &[(&str, f64)], added: &[&str], removed: &[&str]) -> Result<Update, Box<dyn std::error::Error>> {
        let numbers = |value: f64| -> ArrayRef { Arc::new(Float64Array::from(vec![value; hits.len()])) };
        let results = RecordBatch::try_from_iter(vec![
            ("scan_date", Arc::new(StringArray::from(vec!["2025-01-15"; hits.len()])) as ArrayRef),
            ("symbol", Arc::new(hits.iter().map(|(symbol, _)| Some(*symbol)).collect::<StringArray>()) as ArrayRef),
            ("price", Arc::new(hits.iter().map(|(_, price)| Some(*price)).collect::<Float64Array>()) as ArrayRef),
            ("consolidation_range_pct", numbers(1.5)),
            ("volume_ratio", numbers(2.25)),
            ("volume", Arc::new(Int64Array::from(vec![1_234_567; hits.len()])) as ArrayRef),
            ("probability_score", numbers(87.5)),
            ("rank", Arc::new((1..=hits.len() as i64).map(Some).collect::<Int64Array>()) as ArrayRef),
        ])?;
        let session = date(2025, 1, 15);
        let owned = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        Ok(Update {
            timestamp: Timestamp::now(),
            scanner_type: "breakout".to_owned(),
            session,
            newest: session.at(9, minute, 0, 0),
            data_as_of: session.at(9, minute, 0, 0),
            results,
            added: owned(added),
            kept: Vec::new(),
            removed: owned(removed),
            starts_session: false,
            is_complete: true,
            differs: true,
            duration: Duration::from_millis(120),
        })
    }

    fn view() -> View {
        let mut statistics = Statistics::default();
        statistics.ticks = 3;
        statistics.took(Duration::from_millis(120));
        statistics.took(Duration::from_millis(340));
        View {
            scanner: "breakout".to_owned(),
            database: "market.duckdb".to_owned(),
            cutoff: None,
            is_colored: true,
            is_paused: false,
            has_bell: false,
            scanning: None,
            interval: INTERVAL,
            left: Duration::from_secs(18),
            offset: 0,
            statistics,
            waits: 0,
            unrecorded: None,
        }
    }

    /// KEPT was there at first, NEW came with a bar at a moment, GONE went then.
    fn board(start: Instant) -> Result<Board, Box<dyn std::error::Error>> {
        let mut board = Board::new(INTERVAL, Duration::from_secs(60));
        board.take(&update(50, &[("KEPT", 1234.5), ("GONE", 7.0)], &["KEPT", "GONE"], &[])?, start)?;
        board.take(&update(51, &[("KEPT", 1235.5), ("NEW", 98.25)], &["NEW"], &["GONE"])?, start + Duration::from_secs(60))?;
        Ok(board)
    }

    fn drawn(view: &View, board: &Board, now: Instant, width: u16, height: u16) -> Result<Buffer, Box<dyn std::error::Error>> {
        let mut terminal = Terminal::new(TestBackend::new(width, height))?;
        terminal.draw(|frame| {
            draw(frame, view, board, now);
        })?;
        Ok(terminal.backend().buffer().clone())
    }

    fn lines(buffer: &Buffer) -> Vec<String> {
        let line = |y: u16| (0..buffer.area.width).map(|x| buffer[(x, y)].symbol()).collect::<String>().trim_end().to_owned();
        (0..buffer.area.height).map(line).collect()
    }

    #[test]
    fn hits_stand_in_columns_with_what_is_new_and_what_is_gone() -> Outcome {
        let start = Instant::now();
        let now = start + Duration::from_secs(65);
        let buffer = drawn(&view(), &board(start)?, now, 100, 24)?;
        let lines = lines(&buffer);
        assert_eq!(lines[0], format!("breakout  market.duckdb{} LIVE", " ".repeat(100 - 23 - 6)));
        assert_eq!(lines[1], "data as of 2025-01-15 09:51 · next in 18 s · newest bar came 5 s ago · 2 hits");
        assert_eq!(lines[2], "                     consolidation");
        assert_eq!(lines[3], "                             range  volume             probability");
        assert_eq!(lines[4], "   symbol     price            pct   ratio     volume        score  rank   since");
        assert_eq!(lines[5], "   KEPT    1,235.50           1.50    2.25  1,234,567        87.50     1  ≤09:50");
        assert_eq!(lines[6], "+  NEW        98.25           1.50    2.25  1,234,567        87.50     2   09:51");
        assert_eq!(lines[7], "-  GONE        7.00           1.50    2.25  1,234,567        87.50     2  ≤09:50");
        let new = &buffer[(3, 6)];
        assert!(new.modifier.contains(Modifier::BOLD) && new.fg == Color::Green);
        assert!(buffer[(3, 7)].modifier.contains(Modifier::CROSSED_OUT));
        assert!(lines.iter().any(|line| line.starts_with("last 0.340 s   p50 0.120 s   p95 0.340 s   max 0.340 s")), "{lines:#?}");
        Ok(())
    }

    #[test]
    fn in_a_narrow_terminal_the_evidence_goes_first() -> Outcome {
        let start = Instant::now();
        let lines = lines(&drawn(&view(), &board(start)?, start + Duration::from_secs(65), 40, 10)?);
        assert_eq!(lines[1], "data as of 2025-01-15 09:51", "what does not fit is left out whole");
        assert!(
            lines[3].contains("symbol") && lines[3].contains("price") && lines[3].contains("score") && lines[3].contains("since"),
            "{lines:#?}"
        );
        assert!(lines.iter().any(|line| line.starts_with("+  NEW")), "{lines:#?}");
        assert!(!lines.join("").contains("ratio"), "{lines:#?}");
        assert!(lines[9].starts_with("q quit"), "{lines:#?}");
        Ok(())
    }

    #[test]
    fn every_size_can_be_drawn() -> Outcome {
        let start = Instant::now();
        let mut board = board(start)?;
        for is_failing in [false, true] {
            if is_failing {
                board.failed(&Error::Database("a long text about what is wrong ".repeat(20)), start);
            }
            for width in (1..130).step_by(3) {
                for height in 1..30 {
                    drawn(&View { offset: 50, ..view() }, &board, start + Duration::from_secs(70), width, height)?;
                }
            }
        }
        Ok(())
    }

    #[test]
    fn whatever_is_wrong_is_not_to_be_overlooked() -> Outcome {
        let start = Instant::now();
        let after = |seconds| start + Duration::from_secs(seconds);
        let head = |board: &Board, view: &View, now| -> Result<(String, String, Color), Box<dyn std::error::Error>> {
            let buffer = drawn(view, board, now, 100, 24)?;
            let all = lines(&buffer);
            let word = all[0].trim_start_matches("breakout  market.duckdb").trim().to_owned();
            Ok((word, all[2..4].join(" "), buffer[(98, 0)].fg))
        };
        let mut board = Board::new(INTERVAL, Duration::from_secs(60));
        assert_eq!(head(&board, &view(), start)?.0, "STARTING");
        board.looked();
        assert_eq!(head(&board, &view(), start)?.0, "NO BARS");
        let mut board = self::board(start)?;
        assert_eq!(head(&board, &view(), after(65))?.0, "LIVE");
        // One bar was seen to come, after which a minute is usual: three of them are patience enough.
        assert_eq!(head(&board, &view(), after(60 + 179))?.0, "LIVE");
        let (word, text, color) = head(&board, &view(), after(60 + 181))?;
        assert_eq!((word.as_str(), color), ("NO NEW BARS", Color::Yellow));
        assert!(text.contains("no new bar for 3:01 min"), "{text}");

        board.failed(&Error::Locked { path: "market.duckdb".into(), process: 4711, program: None }, after(250));
        let (word, text, color) = head(&board, &view(), after(255))?;
        assert_eq!((word.as_str(), color), ("LOCKED", Color::Red));
        assert!(text.contains("no scan for 5 s, what is shown is of 09:51: market.duckdb is in use by process 4711"), "{text}");
        board.failed(&Error::Database("out of luck".to_owned()), after(280));
        let (word, text, _) = head(&board, &view(), after(281))?;
        assert_eq!(word, "STALE");
        assert!(text.contains("scans fail for 31 s, what is shown is of 09:51: out of luck"), "since the first failure: {text}");

        assert_eq!(head(&board, &View { is_paused: true, ..view() }, after(281))?.0, "PAUSED");
        board.looked();
        board.resumed(after(290));
        assert_eq!(head(&board, &view(), after(291))?.0, "LIVE", "nothing is known of the time of the pause");
        Ok(())
    }

    #[test]
    fn without_colours_there_are_none() -> Outcome {
        let start = Instant::now();
        let mut board = board(start)?;
        board.failed(&Error::Database("out of luck".to_owned()), start);
        let buffer = drawn(&View { is_colored: false, ..view() }, &board, start + Duration::from_secs(65), 100, 24)?;
        assert!(buffer.content.iter().all(|cell| cell.fg == Color::Reset && cell.bg == Color::Reset));
        assert!(lines(&buffer).iter().any(|line| line.starts_with("+  NEW")), "marks need no colours");
        Ok(())
    }

    #[test]
    fn rows_can_be_scrolled_to_the_last() -> Outcome {
        let start = Instant::now();
        let names: Vec<String> = (0..50).map(|number| format!("S{number:02}")).collect();
        let hits: Vec<(&str, f64)> = names.iter().map(|name| (name.as_str(), 1.0)).collect();
        let mut board = Board::new(INTERVAL, Duration::from_secs(60));
        board.take(&update(50, &hits, &names.iter().map(String::as_str).collect::<Vec<_>>(), &[])?, start)?;
        let at = |offset| drawn(&View { offset, ..view() }, &board, start, 80, 12).map(|buffer| lines(&buffer));
        let first = at(0)?;
        assert!(first.iter().any(|line| line.contains("S00")) && first[11].ends_with("1-6 of 50"), "{first:#?}");
        let last = at(1000)?;
        assert!(last.iter().any(|line| line.contains("S49")) && last[11].ends_with("45-50 of 50"), "{last:#?}");
        Ok(())
    }

    #[test]
    fn names_are_new_and_gone_for_a_while_only() -> Outcome {
        let start = Instant::now();
        let mut board = board(start)?;
        let later = start + Duration::from_secs(60 + 61);
        board.tidy(later);
        let lines = lines(&drawn(&view(), &board, later, 100, 24)?);
        assert!(lines.iter().any(|line| line.starts_with("   NEW")) && !lines.join("").contains("GONE"), "{lines:#?}");
        // A name that comes back is new again, and no more among those that went.
        board.take(&update(52, &[("GONE", 8.0)], &["GONE"], &["KEPT", "NEW"])?, later)?;
        board.take(&update(53, &[("NEW", 9.0)], &["NEW"], &["GONE"])?, later)?;
        let names: Vec<&str> = board.dropped.iter().map(|hit| hit.symbol.as_str()).collect();
        assert_eq!((names, board.hits[0].since.as_str()), (vec!["KEPT", "GONE"], "09:53"));
        let seen: Vec<(&str, &str, Option<&str>)> =
            board.seen.iter().map(|seen| (seen.symbol.as_str(), seen.first.as_str(), seen.dropped.as_deref())).collect();
        assert_eq!(seen, [("KEPT", "≤09:50", Some("09:52")), ("GONE", "≤09:50", Some("09:53")), ("NEW", "09:51", None)]);
        Ok(())
    }
}
