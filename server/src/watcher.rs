//! What one client is told of the live scans and alerts that it follows, be it over a WebSocket or as server-sent events.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
    time::Duration,
};

use axum::{extract::ws::Utf8Bytes, http::StatusCode};
use serde_json::{Map, Value as JsonValue, json};
use tokio::{
    sync::broadcast::{self, error::RecvError},
    time::{Instant, Interval, MissedTickBehavior, interval_at},
};
use tokio_stream::{StreamExt, StreamMap, wrappers::WatchStream};

use crate::{
    app::App,
    hub::{Found, Running, Snapshot, State, Subscription},
    problem::{Answer, Problem, now},
};

/// Time between two signs of life.
pub(crate) const HEARTBEAT: Duration = Duration::from_secs(15);
/// A client that takes nothing for so long is gone.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);
/// More scans are not followed over one connection.
pub(crate) const MOST: usize = 16;
/// The name of the subscription to alerts.
pub(crate) const ALERTS: &str = "alerts";

/// A message to a client.
#[derive(Debug, Clone)]
pub(crate) struct Message {
    /// Its `type`.
    pub(crate) kind: &'static str,
    /// The whole of it.
    pub(crate) text: Utf8Bytes,
}

impl Message {
    /// A message of this type.
    pub(crate) fn new(kind: &'static str, mut document: JsonValue) -> Message {
        let mut message = Map::new();
        message.insert("type".to_owned(), kind.into());
        message.extend(document.as_object_mut().map(std::mem::take).unwrap_or_default());
        Message { kind, text: JsonValue::Object(message).to_string().into() }
    }

    /// Why something cannot be: `{"type": "error", …}` with the members of problem details.
    pub(crate) fn error(problem: &Problem) -> Message {
        if let Some(cause) = &problem.for_the_log {
            tracing::warn!(detail = problem.detail, cause, "a message was refused");
        }
        Message::new("error", members(problem))
    }
}

/// A problem without the `type` that it has in problem details, and with the seconds to wait that stand in a header there.
fn members(problem: &Problem) -> JsonValue {
    let mut document = json!(problem);
    if let Some(members) = document.as_object_mut() {
        members.shift_remove("type");
        if let Some(seconds) = problem.retry_after {
            members.insert("retry_after".to_owned(), seconds.into());
        }
    }
    document
}

/// What one client follows.
#[derive(Debug)]
pub(crate) struct Watcher {
    snapshots: StreamMap<String, WatchStream<Arc<Snapshot>>>,
    followed: BTreeMap<String, Followed>,
    alerts: Option<broadcast::Receiver<Message>>,
    heartbeat: Interval,
    ready: VecDeque<Message>,
}

#[derive(Debug)]
struct Followed {
    running: Arc<Running>,
    /// What it was told last.
    seen: Option<Arc<Found>>,
}

impl Watcher {
    pub(crate) fn new() -> Watcher {
        let mut heartbeat = interval_at(Instant::now() + HEARTBEAT, HEARTBEAT);
        heartbeat.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Watcher { snapshots: StreamMap::new(), followed: BTreeMap::new(), alerts: None, heartbeat, ready: VecDeque::new() }
    }

    /// Follows a scan. One that is followed already is told from the start again.
    ///
    /// # Errors
    /// 429 if it would be one too many.
    pub(crate) fn follow(&mut self, subscription: Subscription) -> Answer<()> {
        let Subscription { running, snapshots } = subscription;
        if self.followed.len() >= MOST && !self.followed.contains_key(&running.id) {
            let detail = format!("{MOST} scans are followed over this connection already; unsubscribe from one, or open another");
            return Err(Problem::new(StatusCode::TOO_MANY_REQUESTS, "too_many_subscriptions", detail).with_scanner(&running.scanner));
        }
        self.ready.push_back(Message::new(
            "subscribed",
            json!({
                "subscription_id": running.id,
                "timestamp": now(),
                "scanner_type": running.scanner,
                "interval_seconds": running.interval.as_secs_f64(),
            }),
        ));
        self.snapshots.insert(running.id.clone(), WatchStream::new(snapshots));
        self.followed.insert(running.id.clone(), Followed { running, seen: None });
        Ok(())
    }

    /// Follows the alerts.
    ///
    /// # Errors
    /// 409 if there are none to follow.
    pub(crate) fn follow_alerts(&mut self, app: &App) -> Answer<()> {
        self.alerts = Some(app.desk.subscribe()?);
        self.ready.push_back(Message::new("subscribed", json!({"subscription_id": ALERTS, "timestamp": now()})));
        Ok(())
    }

    /// Follows something no more.
    ///
    /// # Errors
    /// 404 if it was not followed.
    pub(crate) fn leave(&mut self, id: &str) -> Answer<()> {
        let is_left = if id == ALERTS { self.alerts.take().is_some() } else { self.forget(id) };
        if !is_left {
            let detail = "there is no such subscription on this connection";
            return Err(Problem { parameter: Some("subscription_id".to_owned()), ..Problem::not_found(detail) });
        }
        self.ready.push_back(Message::new("unsubscribed", json!({"subscription_id": id, "timestamp": now()})));
        Ok(())
    }

    fn forget(&mut self, id: &str) -> bool {
        self.snapshots.remove(id);
        self.followed.remove(id).is_some()
    }

    /// The next message, when there is one. May be given up at any moment.
    pub(crate) async fn next(&mut self) -> Message {
        loop {
            if let Some(message) = self.ready.pop_front() {
                return message;
            }
            tokio::select! {
                Some((id, snapshot)) = self.snapshots.next(), if !self.snapshots.is_empty() => self.take(&id, &snapshot),
                fired = fired(&mut self.alerts) => self.ready.push_back(fired),
                _ = self.heartbeat.tick() => self.ready.push_back(self.sign_of_life()),
            }
        }
    }

    fn take(&mut self, id: &str, snapshot: &Snapshot) {
        let Some(followed) = self.followed.get_mut(id) else { return };
        if let Some(found) = &snapshot.found
            && followed.seen.as_ref().is_none_or(|seen| !Arc::ptr_eq(seen, found))
        {
            let text = found.message(followed.seen.as_deref());
            followed.seen = Some(Arc::clone(found));
            self.ready.push_back(Message { kind: "scan_update", text });
        }
        let told = |kind: &'static str, problem: &Problem| {
            let mut document = members(problem);
            document["subscription_id"] = id.into();
            document["data_as_of"] = snapshot.found.as_ref().map(|found| found.data_as_of.clone()).into();
            Message::new(kind, document)
        };
        match &snapshot.state {
            State::Pending | State::Current => {}
            State::Stale(problem) => self.ready.push_back(told("stale", problem)),
            State::Refused(problem) => {
                self.ready.push_back(told("error", problem));
                self.forget(id);
            }
        }
    }

    /// By which a client knows that all is calm, and not broken.
    fn sign_of_life(&self) -> Message {
        let mut newest: Option<String> = None;
        let subscriptions: Vec<JsonValue> = self
            .followed
            .iter()
            .map(|(id, followed)| {
                let snapshot = followed.running.snapshot();
                let data_as_of = snapshot.found.as_ref().map(|found| found.data_as_of.clone());
                newest = newest.take().max(data_as_of.clone());
                json!({
                    "subscription_id": id,
                    "data_as_of": data_as_of,
                    "checked_at": followed.running.checked_at(),
                    "is_stale": !matches!(snapshot.state, State::Current),
                })
            })
            .collect();
        Message::new("heartbeat", json!({"timestamp": now(), "data_as_of": newest, "subscriptions": subscriptions}))
    }
}

/// The next alert, if they are followed.
async fn fired(alerts: &mut Option<broadcast::Receiver<Message>>) -> Message {
    let Some(receiver) = alerts else { return std::future::pending().await };
    match receiver.recv().await {
        Ok(message) => message,
        Err(RecvError::Lagged(count)) => Message::error(&Problem::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "alerts_skipped",
            format!("{count} alerts came faster than they were taken, and were not sent; GET /alerts lists them"),
        )),
        Err(RecvError::Closed) => std::future::pending().await,
    }
}
