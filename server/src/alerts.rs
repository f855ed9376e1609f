//! Alerts: the configuration's rules, followed as `scanner alerts watch` does, in a thread of their own. Who fires first records it, so that
//! a server and a command beside it tell each name once.

use std::{
    collections::BTreeMap,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use axum::{Extension, Json, extract::State, http::StatusCode};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value as JsonValue, json};
use stockscan_configuration::{AlertRule, Configuration, Webhook};
use stockscan_engine::{Engine, InterruptHandle, Result, nearest};
use stockscan_live::{Alert, Alerts, Attempt, Backoff, Event, Ledger, Message as ToSend, Receiver, Rule, Verdict, new_id};
use stockscan_state::{Results, State as History};
use tokio::sync::broadcast;
use utoipa::{IntoParams, ToSchema};

use crate::{
    app::App,
    auth::{Client, Role},
    body::{Path, Query as AddressQuery},
    history::{moment, number},
    options::Options,
    problem::{Answer, Problem},
    watcher::Message,
};

/// So many alerts wait for a slow client.
const ROOM: usize = 1024;
/// How long a look waits for a file that another process holds.
const PATIENCE: Duration = Duration::from_secs(2);
/// When rules could not be read, it is tried again after so long.
const AGAIN: Duration = Duration::from_secs(5);
/// The thread looks so often what became of messages,
const LOOK: Duration = Duration::from_millis(500);
/// and so often whether it is to end.
const NAP: Duration = Duration::from_millis(100);
/// How many alerts are listed unless more are asked for.
const USUAL: i64 = 100;
/// More are not.
const MOST: i64 = 1000;

/// Where alerts come in and are handed out.
pub(crate) struct Desk {
    history: History,
    fired: broadcast::Sender<Message>,
    /// How each rule that is in force stands, and what is wrong with it.
    standing: Mutex<BTreeMap<String, Standing>>,
    ledger: Mutex<Option<Ledger>>,
    /// What is to be interrupted at the end.
    running: Mutex<Vec<Arc<InterruptHandle>>>,
    /// Why none is followed, if so.
    is_off: Option<&'static str>,
}

impl std::fmt::Debug for Desk {
    /// Without what has no words.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Desk").field("standing", &self.standing).field("is_off", &self.is_off).finish_non_exhaustive()
    }
}

/// How a rule stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Standing {
    /// It, or all of them, are switched off.
    Off,
    /// The database could not be opened yet.
    Starting,
    /// It is followed.
    Followed,
    /// It cannot be followed; the server's log says why.
    Failed,
}

impl Desk {
    pub(crate) fn new(options: &Options) -> Desk {
        let Configuration { streaming, alerts, .. } = &options.configuration;
        let is_off = if !streaming.enabled {
            Some("streaming.enabled is false in the server's configuration, so no alert rule is followed")
        } else if !streaming.real_time_alerts {
            Some("streaming.real_time_alerts is false in the server's configuration, so no alert rule is followed")
        } else if !alerts.values().any(|rule| rule.enabled) {
            Some("there are no alert rules in the server's configuration, or none is enabled")
        } else {
            None
        };
        let standing = |rule: &AlertRule| if rule.enabled && is_off.is_none() { Standing::Starting } else { Standing::Off };
        Desk {
            history: History::new(&options.state),
            fired: broadcast::Sender::new(ROOM),
            standing: Mutex::new(alerts.iter().map(|(name, rule)| (name.clone(), standing(rule))).collect()),
            ledger: Mutex::default(),
            running: Mutex::default(),
            is_off,
        }
    }

    /// The alerts from now on.
    ///
    /// # Errors
    /// 409 if no rule is followed.
    pub(crate) fn subscribe(&self) -> Answer<broadcast::Receiver<Message>> {
        match self.is_off {
            Some(reason) => Err(Problem::new(StatusCode::CONFLICT, "disabled", reason)),
            None => Ok(self.fired.subscribe()),
        }
    }

    fn standing(&self) -> MutexGuard<'_, BTreeMap<String, Standing>> {
        self.standing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn running(&self) -> MutexGuard<'_, Vec<Arc<InterruptHandle>>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Does something with the record of alerts.
    fn with_ledger<T>(&self, work: impl FnOnce(&Ledger) -> Result<T>) -> Result<T> {
        let mut ledger = self.ledger.lock().unwrap_or_else(PoisonError::into_inner);
        let ledger = match &mut *ledger {
            Some(ledger) => ledger,
            none => none.insert(Ledger::new(self.history.clone())?),
        };
        work(ledger)
    }

    fn tell(&self, event: Event) {
        match event {
            Event::Fired(alert) => {
                tracing::info!(rule = alert.rule, session = %alert.session, symbol = alert.symbol, "an alert");
                metrics::counter!("stockscan_alerts_total", "rule" => alert.rule.clone()).increment(1);
                // Most often nobody listens.
                let _ = self.fired.send(message(&alert));
            }
            Event::Failed { rule, error } => tracing::warn!(rule, %error, "the scan of an alert rule failed"),
            Event::NotRecorded(error) => tracing::warn!(%error, "the record of scans and alerts cannot be written"),
            Event::Attempted(attempt) => {
                let (outcome, error) = (attempt.outcome(), attempt.answer.error.as_deref().unwrap_or_default());
                metrics::counter!("stockscan_alert_messages_total", "outcome" => outcome).increment(1);
                let ToSend { rule, symbol, .. } = &attempt.message;
                match attempt.answer.verdict {
                    Verdict::Delivered => tracing::debug!(rule, symbol, "the message of an alert was delivered"),
                    _ => {
                        tracing::warn!(rule, symbol, attempt = attempt.number, outcome, error, "the message of an alert was not delivered")
                    }
                }
            }
        }
    }
}

/// As clients get it.
fn message(alert: &Alert) -> Message {
    let mut document = alert.document();
    let mut flat = Map::new();
    flat.insert("timestamp".to_owned(), document["timestamp"].take());
    flat.extend(document["data"].as_object_mut().map(std::mem::take).unwrap_or_default());
    Message::new("alert", JsonValue::Object(flat))
}

/// Follows the rules until the server ends.
///
/// # Errors
/// A thread that cannot be started.
pub(crate) fn follow(app: &Arc<App>) -> Result<()> {
    if app.desk.is_off.is_some() {
        return Ok(());
    }
    let is_done = Arc::new(AtomicBool::new(false));
    let (inner, done) = (Arc::clone(app), Arc::clone(&is_done));
    thread::Builder::new().name("alerts".to_owned()).spawn(move || {
        // A panic ends one look, not all of them.
        while catch_unwind(AssertUnwindSafe(|| run(&inner))).is_err() {
            tracing::error!("the thread of the alerts ended in a panic; it starts again");
            if is_ended_within(&inner, AGAIN) {
                break;
            }
        }
        done.store(true, Ordering::SeqCst);
    })?;
    let app = Arc::clone(app);
    let tasks = app.tasks.clone();
    tasks.spawn(async move {
        app.shutdown.cancelled().await;
        while !is_done.load(Ordering::SeqCst) {
            app.desk.running().iter().for_each(|query| query.interrupt());
            tokio::time::sleep(NAP / 5).await;
        }
    });
    Ok(())
}

fn run(app: &App) {
    let mut said = String::new();
    let alerts = loop {
        match begun(app) {
            Ok(alerts) => break alerts,
            Err(error) => {
                let text = error.to_string();
                if text != said {
                    tracing::warn!(error = text, "alert rules cannot be followed yet; it is tried again");
                }
                said = text;
                if is_ended_within(app, AGAIN) {
                    return;
                }
            }
        }
    };
    let Some(mut alerts) = alerts else { return };
    loop {
        let events = alerts.step(
            |_, work| work(&*app.market.read(Instant::now() + PATIENCE)?),
            |engines| *app.desk.running() = engines.iter().map(Engine::interrupt_handle).collect(),
        );
        events.into_iter().chain(alerts.delivered()).for_each(|event| app.desk.tell(event));
        let now = Instant::now();
        let next = alerts.next().unwrap_or(now + LOOK).min(now + LOOK);
        if is_ended_within(app, next.saturating_duration_since(now)) {
            break;
        }
    }
    // What was not sent is by the next one that follows the rule.
    let _ = alerts.settle(app.options.grace / 2, || false);
    alerts.delivered().for_each(|event| app.desk.tell(event));
}

/// Reads the rules. `None`: there is none that can be followed.
fn begun(app: &App) -> Result<Option<Alerts>> {
    let configuration = app.configuration();
    let mut rules = Vec::new();
    let engine = app.market.read(Instant::now() + PATIENCE)?;
    for (name, rule) in configuration.alerts.iter().filter(|(_, rule)| rule.enabled) {
        match Rule::new(name, rule, &configuration, app.options.bar_minutes, &engine) {
            Ok(rule) => rules.push(rule),
            Err(error) if error.is_usage() => {
                tracing::error!(rule = name, %error, "an alert rule cannot be followed");
                app.desk.standing().insert(name.clone(), Standing::Failed);
            }
            Err(error) => return Err(error),
        }
    }
    drop(engine);
    if rules.is_empty() {
        return Ok(None);
    }
    let names: Vec<String> = rules.iter().map(|rule| rule.name.clone()).collect();
    let ledger = Ledger::new(app.desk.history.clone())?;
    ledger.prepare()?;
    let at_a_time = usize::try_from(configuration.streaming.max_concurrent_scans.0).unwrap_or(1);
    let alerts = Alerts::new(rules, ledger, at_a_time, Backoff::default())?;
    tracing::info!(rules = names.join(", "), "following alert rules");
    app.desk.standing().extend(names.into_iter().map(|name| (name, Standing::Followed)));
    Ok(Some(alerts))
}

/// Waits so long. Whether the server is to end.
fn is_ended_within(app: &App, wait: Duration) -> bool {
    let until = Instant::now() + wait;
    while !app.shutdown.is_cancelled() {
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return false;
        }
        thread::sleep(left.min(NAP));
    }
    true
}

/// Which alerts.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct Which {
    /// At most so many, the newest ones.
    #[serde(default)]
    #[param(value_type = Option<u32>, minimum = 1, maximum = 1000, default = 100)]
    limit: Option<String>,
    /// Only those found then or later: a time with its offset from UTC, or a date in UTC.
    #[serde(default)]
    #[param(format = DateTime)]
    since: Option<String>,
    /// Only those of this rule.
    #[serde(default)]
    rule: Option<String>,
}

/// An alert that is recorded.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct AlertDocument {
    /// When it was found, by the clock of whoever found it.
    #[schema(format = DateTime)]
    fired_at: String,
    /// The rule.
    rule: String,
    /// The session.
    #[schema(format = Date)]
    session_date: String,
    /// Time of day up to which bars were seen, exchange time.
    #[schema(example = "09:50:00")]
    data_as_of: String,
    /// The name.
    symbol: String,
    /// Its price then.
    price: Option<f64>,
    /// What became of its message: `none` without a webhook, `waiting`, `delivered`, `refused`, `given up`.
    message: String,
    /// How often that was tried.
    attempts: i64,
    /// What the last attempt met with.
    error: Option<String>,
}

/// The alerts that are recorded, the newest first, whoever raised them: this server or a command.
#[utoipa::path(
    get, path = "/alerts", tag = "live", params(Which),
    responses((status = 200, description = "The alerts.", body = Vec<AlertDocument>))
)]
pub(crate) async fn alerts(State(app): State<Arc<App>>, AddressQuery(which): AddressQuery<Which>) -> Answer<Json<Vec<JsonValue>>> {
    let limit = number("limit", which.limit.as_deref(), USUAL, 1, MOST)?;
    let limit = u32::try_from(limit).unwrap_or(u32::MAX);
    let since = which.since.as_deref().map(|text| moment("since", text)).transpose()?;
    let look = move |ledger: &Ledger| ledger.history(which.rule.as_deref(), since, limit, false);
    let Some(found) = with_ledger(app, look).await? else { return Ok(Json(Vec::new())) };
    let mut results = Results::default();
    results.begin(&found.schema());
    results.take(&found);
    let text = results.json()?.unwrap_or_default();
    let mut rows: Vec<JsonValue> = serde_json::from_str(&text).map_err(|error| Problem::internal(error.to_string()))?;
    for row in &mut rows {
        let moment = row["fired_at"].as_str().map(|moment| format!("{moment}Z"));
        row["fired_at"] = moment.into();
    }
    Ok(Json(rows))
}

/// Reads or writes the record, which may have to be waited for.
async fn with_ledger<T: Send + 'static>(app: Arc<App>, work: impl FnOnce(&Ledger) -> Result<T> + Send + 'static) -> Answer<T> {
    let outcome = tokio::task::spawn_blocking(move || app.desk.with_ledger(work)).await;
    Ok(outcome.map_err(|error| Problem::internal(error.to_string()))??)
}

/// An alert rule.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct RuleDocument {
    /// Its name.
    rule: String,
    /// How it stands.
    status: Standing,
    /// The scanner.
    scanner_type: String,
    /// Values of its parameters, over those of the configuration.
    #[schema(value_type = Object)]
    config: BTreeMap<String, JsonValue>,
    /// A fixed cutoff; null: the end of the newest bar.
    cutoff_time: Option<String>,
    /// Seconds between two scans.
    interval_seconds: u64,
    /// Only these symbols; all if there are none.
    symbols: Vec<String>,
    /// Who is told; null: only clients of this server, and the log.
    webhook: Option<WebhookDocument>,
    /// How many alerts it has raised.
    fired: u64,
    /// How many of their messages are still to be delivered.
    waiting: u64,
    /// When the last one was, in UTC.
    #[schema(format = DateTime)]
    last_fired: Option<String>,
}

/// Who is told of an alert.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct WebhookDocument {
    /// The address without its path, which may hold a secret.
    #[schema(example = "https://hooks.example.com")]
    host: String,
    /// Whether messages are signed.
    is_signed: bool,
}

impl WebhookDocument {
    fn new(webhook: &Webhook) -> WebhookDocument {
        let is_signed = webhook.secret_file.is_some() || webhook.secret_env.is_some();
        let unsigned = Webhook { secret_file: None, secret_env: None, ..webhook.clone() };
        WebhookDocument { host: Receiver::new(&unsigned).map(|receiver| receiver.host()).unwrap_or_default(), is_signed }
    }
}

/// The alert rules of the server's configuration, and what they have come to.
#[utoipa::path(
    get, path = "/alerts/rules", tag = "live",
    responses((status = 200, description = "The rules.", body = Vec<RuleDocument>))
)]
pub(crate) async fn rules(State(app): State<Arc<App>>) -> Answer<Json<Vec<RuleDocument>>> {
    let tallies = with_ledger(Arc::clone(&app), Ledger::tallies).await?;
    let standing = app.desk.standing().clone();
    let configuration = app.configuration();
    let document = |(name, rule): (&String, &AlertRule)| {
        let tally = tallies.iter().find(|tally| tally.rule == *name);
        RuleDocument {
            rule: name.clone(),
            status: standing.get(name).copied().unwrap_or(Standing::Off),
            scanner_type: rule.scanner_type.0.clone(),
            config: rule.config.clone(),
            cutoff_time: rule.cutoff_time.as_ref().map(|cutoff| cutoff.0.clone()),
            interval_seconds: rule.interval_seconds.map_or(configuration.streaming.interval_seconds.0, |seconds| seconds.0),
            symbols: rule.symbols.iter().map(|symbol| symbol.0.clone()).collect(),
            webhook: rule.webhook.as_ref().map(WebhookDocument::new),
            fired: tally.map_or(0, |tally| tally.fired.unsigned_abs()),
            waiting: tally.map_or(0, |tally| tally.waiting.unsigned_abs()),
            last_fired: tally.map(|tally| format!("{}Z", tally.last.replace(' ', "T"))),
        }
    };
    Ok(Json(configuration.alerts.iter().map(document).collect()))
}

/// What became of a test message.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct TestDocument {
    /// The rule.
    rule: String,
    /// Whether its receiver took the message.
    is_delivered: bool,
    /// The status that the receiver answered with, if it did.
    status: Option<u16>,
    /// What went wrong, if something did.
    error: Option<String>,
    /// How long it took, in milliseconds.
    execution_time_ms: f64,
}

/// Sends a test message to the receiver of a rule. Needs a key with the role admin.
#[utoipa::path(
    post, path = "/alerts/test/{rule}", tag = "live", params(("rule" = String, Path, description = "The rule's name.")),
    responses(
        (status = 200, description = "What became of it.", body = TestDocument),
        (status = 409, description = "It has no receiver, or none that can be used.", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(crate) async fn test(
    State(app): State<Arc<App>>,
    Extension(client): Extension<Client>,
    Path(name): Path<String>,
) -> Answer<Json<TestDocument>> {
    client.needs(Role::Admin)?;
    let configuration = app.configuration();
    let rules = &configuration.alerts;
    let rule = rules.get(&name).ok_or_else(|| {
        let meant = nearest(&name, rules.keys().map(String::as_str)).map_or(String::new(), |name| format!("; did you mean '{name}'?"));
        Problem { parameter: Some("rule".to_owned()), ..Problem::not_found(format!("there is no alert rule '{name}'{meant}")) }
    })?;
    let conflict = |detail: &str| Problem::new(StatusCode::CONFLICT, "no_receiver", format!("alert rule '{name}' {detail}"));
    let webhook = rule.webhook.as_ref().ok_or_else(|| conflict("has no webhook, so there is nobody to send a test to"))?;
    // The reason names a file or a variable of this machine.
    let receiver = Receiver::new(webhook).map_err(|reason| Problem {
        for_the_log: Some(reason),
        ..conflict("names a secret that cannot be used; the server's log says why")
    })?;
    let body = json!({
        "type": "scanner.alert.test",
        "timestamp": crate::problem::now(),
        "data": {"rule": name, "scanner_type": rule.scanner_type.0},
    });
    let message = ToSend { id: new_id(), rule: name.clone(), symbol: String::new(), body: body.to_string(), attempts: 0 };
    let sent = tokio::task::spawn_blocking(move || {
        let answer = receiver.post(&message.id, &message.body);
        Attempt { message, number: 1, answer, is_given_up: true }
    });
    let attempt = sent.await.map_err(|error| Problem::internal(error.to_string()))?;
    let answer = attempt.answer.clone();
    with_ledger(Arc::clone(&app), move |ledger| ledger.attempted(&attempt)).await?;
    Ok(Json(TestDocument {
        rule: name.clone(),
        is_delivered: answer.verdict == Verdict::Delivered,
        status: answer.status,
        error: answer.error,
        execution_time_ms: answer.duration.as_secs_f64() * 1000.0,
    }))
}
