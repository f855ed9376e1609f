//! `scanner alerts`

use std::{
    io::{self, Write},
    sync::Arc,
    time::{Duration, Instant},
};

use arrow::array::{ArrayRef, BooleanArray, Int64Array, RecordBatch, StringArray};
use jiff::Timestamp;
use serde_json::json;
use stockscan_configuration::AlertRule;
use stockscan_engine::{Engine, Error, Result, nearest};
use stockscan_live::{Alerts, Attempt, Backoff, Event, Ledger, Message, Reader, Receiver, Rule, Tick, Verdict, Watch, clock, new_id};

use super::{counted, live, recording};
use crate::{
    arguments::{Alerts as Arguments, AlertsCommand, AlertsHistory, AlertsList, AlertsTest, AlertsWatch, Global},
    output,
    pace::{self, Pace},
    rows::Rows,
    table::Numbers,
};

/// At the end of a watch, receivers have so long to answer.
const PATIENCE: Duration = Duration::from_secs(12);
/// What became of messages is told so often.
const LOOK: Duration = Duration::from_millis(500);

pub(crate) fn run(global: &Global, arguments: &Arguments) -> Result<()> {
    match &arguments.command {
        AlertsCommand::List(list) => rules(global, list),
        AlertsCommand::Watch(watch) => follow(global, watch),
        AlertsCommand::Test(test) => try_out(global, test),
        AlertsCommand::History(history) => past(global, history),
    }
}

fn ledger(global: &Global) -> Result<Ledger> {
    Ledger::new(recording::state(global))
}

/// The rule of this name.
fn rule<'a>(global: &'a Global, name: &str) -> Result<&'a AlertRule> {
    let rules = &global.configuration.alerts;
    rules.get(name).ok_or_else(|| {
        let known: Vec<&str> = rules.keys().map(String::as_str).collect();
        let meant = nearest(name, known.iter().copied()).map_or(";".to_owned(), |name| format!("; did you mean '{name}'?"));
        match known.as_slice() {
            [] => no_rules(),
            _ => Error::Invalid(format!("there is no alert rule '{name}'{meant} there are {}", known.join(", "))),
        }
    })
}

fn no_rules() -> Error {
    let example = r#"{"alerts": {"morning": {"scanner_type": "breakout"}}}"#;
    Error::Invalid(format!("there are no alert rules; expected some in the configuration, as in {example} in ./scanner_config.json"))
}

/// A row for each rule.
fn rules(global: &Global, list: &AlertsList) -> Result<()> {
    let rules = &global.configuration.alerts;
    if rules.is_empty() && !global.quiet {
        say!("{}", no_rules());
    }
    let tallies = ledger(global)?.tallies()?;
    let tally = |name: &String| tallies.iter().find(|tally| tally.rule == *name);
    let texts =
        |text: &dyn Fn((&String, &AlertRule)) -> Option<String>| -> ArrayRef { Arc::new(rules.iter().map(text).collect::<StringArray>()) };
    let counts =
        |count: &dyn Fn(&String) -> i64| -> ArrayRef { Arc::new(rules.keys().map(|name| Some(count(name))).collect::<Int64Array>()) };
    let interval = global.configuration.streaming.interval_seconds.0;
    let enabled: BooleanArray = rules.values().map(|rule| Some(rule.enabled)).collect();
    let columns: Vec<(&str, ArrayRef)> = vec![
        ("rule", texts(&|(name, _)| Some(name.clone()))),
        ("enabled", Arc::new(enabled)),
        ("scanner_type", texts(&|(_, rule)| Some(rule.scanner_type.0.clone()))),
        ("cutoff_time", texts(&|(_, rule)| rule.cutoff_time.as_ref().map(|cutoff| cutoff.0.clone()))),
        (
            "interval_seconds",
            Arc::new(
                rules
                    .values()
                    .map(|rule| i64::try_from(rule.interval_seconds.map_or(interval, |seconds| seconds.0)).ok())
                    .collect::<Int64Array>(),
            ),
        ),
        ("webhook", texts(&|(_, rule)| rule.webhook.as_ref().map(told))),
        ("fired", counts(&|name| tally(name).map_or(0, |tally| tally.fired))),
        ("waiting", counts(&|name| tally(name).map_or(0, |tally| tally.waiting))),
        ("last_fired", texts(&|(name, _)| tally(name).map(|tally| tally.last.clone()))),
    ];
    let batch = RecordBatch::try_from_iter_with_nullable(columns.into_iter().map(|(name, column)| (name, column, true)));
    let batch = batch.map_err(stockscan_formats::arrow_error)?;
    output::write_rows(&Rows { batch }, &list.output, Numbers::Rounded)
}

/// `https://hooks.example.com, signed`
fn told(webhook: &stockscan_configuration::Webhook) -> String {
    match Receiver::new(webhook) {
        Ok(receiver) if receiver.is_signed() => format!("{}, signed", receiver.host()),
        Ok(receiver) => format!("{}, not signed", receiver.host()),
        Err(problem) => problem,
    }
}

/// Reads rules of the configuration, with the database open.
fn ready(global: &Global, reader: &mut Reader, chosen: &[(&str, &AlertRule)], interval: Option<Duration>) -> Result<Vec<Rule>> {
    let configuration = &global.configuration;
    let read = |engine: &Engine| {
        configuration.check_scanners(engine)?;
        let rule = |(name, rule): &(&str, &AlertRule)| Rule::new(name, rule, configuration, global.bar_minutes, engine);
        chosen.iter().map(rule).collect::<Result<Vec<_>>>()
    };
    let mut rules = reader.read(configuration.default.retry_attempts.0, read)?;
    for rule in &mut rules {
        rule.interval = interval.unwrap_or(rule.interval);
        if let Some(receiver) = rule.receiver.as_ref().filter(|receiver| !receiver.is_signed() && !global.quiet) {
            say!("messages of '{}' to {} are not signed: alerts.{}.webhook names no secret", rule.name, receiver.host(), rule.name);
        }
    }
    Ok(rules)
}

/// Follows rules until it is told to end.
fn follow(global: &Global, watch: &AlertsWatch) -> Result<()> {
    live::check_enabled(global)?;
    if !global.configuration.streaming.real_time_alerts {
        return Err(live::switched_off(global, "real_time_alerts", "no rule is followed"));
    }
    let mut chosen: Vec<(&str, &AlertRule)> = Vec::new();
    for name in &watch.names {
        let rule = rule(global, name)?;
        if !rule.enabled {
            return Err(Error::Invalid(format!(
                "alerts.{name}.enabled is false; expected true there, or nothing, for a rule that is followed"
            )));
        }
        chosen.push((name, rule));
    }
    if watch.names.is_empty() {
        chosen.extend(global.configuration.alerts.iter().filter(|(_, rule)| rule.enabled).map(|(name, rule)| (name.as_str(), rule)));
    }
    if chosen.is_empty() {
        return Err(no_rules());
    }
    let mut reader = live::reader(global)?;
    let rules = ready(global, &mut reader, &chosen, watch.interval)?;
    let ledger = ledger(global)?;
    ledger.prepare()?;
    let concurrency = usize::try_from(global.configuration.streaming.max_concurrent_scans.0).unwrap_or(1);
    let mut alerts = Alerts::new(rules, ledger, concurrency, Backoff::default())?;
    if !global.quiet {
        let names: Vec<&str> = chosen.iter().map(|(name, _)| *name).collect();
        say!("following {}: {}", counted(names.len() as u64, "rule"), names.join(", "));
    }
    let pace = Pace::start(LOOK, watch.duration);
    let mut fired = 0_u64;
    loop {
        let events = alerts.step(|retries, work| reader.read(retries, work), |engines| pace::watch(engines));
        if pace::is_stopped() {
            tell_all(global, events.into_iter().filter(|event| !matches!(event, Event::Failed { .. })), &mut fired)?;
            break;
        }
        let has_worked = alerts.statistics().any(|(_, statistics)| statistics.ticks > statistics.errors);
        for event in events {
            match event {
                Event::Failed { error, .. }
                    if error.is_usage() || (!has_worked && !error.is_passing() && !matches!(error, Error::Timeout(_))) =>
                {
                    return Err(error);
                }
                other => tell(global, other, &mut fired)?,
            }
        }
        tell_all(global, alerts.delivered(), &mut fired)?;
        let now = Instant::now();
        if !pace.wait_until(alerts.next().unwrap_or(now + LOOK).min(now + LOOK)) {
            break;
        }
    }
    // Ctrl-C ends at once; at the end of its time everybody is told who can be.
    if !pace::is_stopped() && !alerts.settle(PATIENCE, pace::is_stopped) && !global.quiet {
        say!("not every receiver has answered in {}", live::span(PATIENCE));
    }
    tell_all(global, alerts.delivered(), &mut fired)?;
    if !global.quiet {
        let scans = alerts.statistics().map(|(_, statistics)| statistics.scans).sum();
        let waiting = match alerts.waiting()? {
            0 => String::new(),
            waiting => format!("; {} not delivered yet: the next 'scanner alerts watch' goes on with that", counted(waiting, "message")),
        };
        say!("{} and {} in {}{waiting}", counted(scans, "scan"), counted(fired, "alert"), live::span(pace.elapsed()));
    }
    Ok(())
}

fn tell_all(global: &Global, events: impl Iterator<Item = Event>, fired: &mut u64) -> Result<()> {
    for event in events {
        tell(global, event, fired)?;
    }
    Ok(())
}

fn tell(global: &Global, event: Event, fired: &mut u64) -> Result<()> {
    match event {
        Event::Fired(alert) => {
            *fired += 1;
            let price = alert.price.map_or(String::new(), |price| format!("  price {price:.2}"));
            let score = alert.row.get("probability_score").and_then(serde_json::Value::as_f64);
            let score = score.map_or(String::new(), |score| format!("  probability_score {score:.2}"));
            let (moment, symbol) = (clock(alert.data_as_of, alert.session), console::style(&alert.symbol).green().bold());
            let mut out = io::stdout().lock();
            writeln!(out, "{} {moment}  {}  {symbol}{price}{score}", alert.session, alert.rule)?;
            out.flush()?;
        }
        Event::Failed { rule, error } => live::complain(&Error::Stopped(format!("{rule}: {error}"))),
        Event::NotRecorded(error) => live::complain(&Error::Stopped(format!("the record of scans and alerts: {error}"))),
        Event::Attempted(attempt) => {
            let text = attempt_text(&attempt);
            match attempt.answer.verdict {
                Verdict::Delivered if global.verbose => say!("{text}"),
                Verdict::Delivered => {}
                _ => live::complain(&Error::Stopped(text)),
            }
        }
    }
    Ok(())
}

/// `morning: message about DEMO0007 not delivered: status 503 (attempt 2); it is tried again`
fn attempt_text(attempt: &Attempt) -> String {
    let Message { rule, symbol, .. } = &attempt.message;
    let (number, error) = (attempt.number, attempt.answer.error.as_deref().unwrap_or_default());
    match attempt.outcome() {
        "delivered" => {
            format!("{rule}: message about {symbol} delivered (attempt {number}, {:.2} s)", attempt.answer.duration.as_secs_f64())
        }
        "later" => format!("{rule}: message about {symbol} not delivered: {error} (attempt {number}); it is tried again"),
        _ => format!("{rule}: message about {symbol} not delivered: {error} (attempt {number}); it is given up"),
    }
}

/// Runs a rule once, and sends a message that says it is a test.
fn try_out(global: &Global, test: &AlertsTest) -> Result<()> {
    let chosen = [(test.name.as_str(), rule(global, &test.name)?)];
    let mut reader = live::reader(global)?;
    let rules = ready(global, &mut reader, &chosen, None)?;
    for rule in &rules {
        let mut watch = Watch::new(rule.scan.clone());
        match watch.tick(&mut reader)? {
            Tick::Scanned(update) => {
                output::write_rows(&Rows { batch: update.results.clone() }, &test.output, Numbers::Rounded)?;
                if !global.quiet {
                    let hits = counted(update.results.num_rows() as u64, "hit");
                    let early = if update.is_complete { "" } else { ", before the cutoff: nothing would be told yet" };
                    say!("{hits} on {} as of {}{early}", update.session, clock(update.data_as_of, update.session));
                }
            }
            Tick::Unchanged | Tick::NoBars => say!("there is no bar yet that can be scanned"),
        }
        let Some(receiver) = &rule.receiver else {
            if !global.quiet {
                say!("'{}' has no webhook: it is told on the terminal only", rule.name);
            }
            continue;
        };
        let body = json!({
            "type": "scanner.alert.test",
            "timestamp": format!("{:.3}", Timestamp::now()),
            "data": {"rule": rule.name, "scanner_type": rule.scan.scanner_type()},
        });
        let message = Message { id: new_id(), rule: rule.name.clone(), symbol: String::new(), body: body.to_string(), attempts: 0 };
        let answer = receiver.post(&message.id, &message.body);
        let attempt = Attempt { message, number: 1, answer, is_given_up: true };
        ledger(global)?.attempted(&attempt)?;
        if attempt.answer.verdict != Verdict::Delivered {
            let error = attempt.answer.error.unwrap_or_default();
            return Err(Error::Stopped(format!("the test message to {} did not arrive: {error}", receiver.host())));
        }
        if !global.quiet {
            let status = attempt.answer.status.unwrap_or_default();
            say!("{} took the test message: status {status} in {:.2} s", receiver.host(), attempt.answer.duration.as_secs_f64());
        }
    }
    Ok(())
}

/// What fired.
fn past(global: &Global, history: &AlertsHistory) -> Result<()> {
    match ledger(global)?.history(history.rule.as_deref(), None, history.limit, history.attempts)? {
        Some(batch) => {
            if batch.num_rows() == 0 && !global.quiet {
                say!("there is none");
            }
            output::write_rows(&Rows { batch }, &history.output, Numbers::Rounded)
        }
        None => {
            if !global.quiet {
                say!("no alert has fired yet that {} would know of", recording::state(global).path().display());
            }
            Ok(())
        }
    }
}
