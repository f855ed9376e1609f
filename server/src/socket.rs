//! Live scans over WebSockets: what clients ask for, and how a connection ends.

use std::{
    collections::VecDeque,
    future::Future,
    pin::Pin,
    sync::Arc,
    time::{Duration, Instant},
};

use axum::{
    Extension,
    extract::{
        State,
        ws::{CloseFrame, Message as Frame, WebSocket, WebSocketUpgrade, rejection::WebSocketUpgradeRejection},
    },
    http::StatusCode,
    response::Response,
};
use serde::Deserialize;
use serde_json::json;
use tokio::time::timeout;

use crate::{
    app::App,
    auth::{Client, PROTOCOL},
    body::{Path, Query as AddressQuery},
    events::{Counted, check_enabled},
    hub::{Subscription, Wanted},
    listen::Connection,
    problem::{Answer, Problem, now},
    watcher::{HEARTBEAT, MOST, Message, PATIENCE, Watcher},
};

/// What the description of the interface says of WebSockets, for which it has no form.
pub(crate) const DESCRIPTION: &str = "Scans that go on, and alerts. Over WebSockets, too:

- `/ws/scanner/{type}?cutoff_time=&interval=&symbols=&…` follows one scan, as `GET /events/scanner/{type}` does, with the same documents.
- `/ws/live-scan` waits for messages: `{\"type\": \"subscribe\", \"scanner_type\", \"config\", \"cutoff_time\", \"symbols\", \"interval_seconds\"}`, of \
which all but the scanner can be left out; `{\"type\": \"subscribe_alerts\"}`; `{\"type\": \"unsubscribe\", \"subscription_id\"}`; `{\"type\": \"ping\"}`.

Messages are answered in their order, with `subscribed`, `unsubscribed`, `pong`, or `error` with the members of problem details. The same scan \
with the same parameters and interval has the same subscription_id. A connection has at most 16 subscriptions, a message at most 64 KiB.

A page that cannot set headers gives its key as a protocol: `new WebSocket(address, [\"stockscan\", \"key.\" + KEY])`.

Closed with 1001: the server ends; 1002, 1003, 1007, 1009: a message was not as expected; 1008: pings were not answered.";
/// Largest message of a client.
const LARGEST: usize = 64 << 10;
/// What is read and written at a time. Most messages are small, and each connection has its own.
const BUFFER: usize = 4 << 10;
/// Who has not answered the pings of so long is gone.
const SILENCE: Duration = Duration::from_secs(45);
/// How long the other side has to close, too.
const FAREWELL: Duration = Duration::from_secs(2);

/// Codes of RFC 6455 with which a connection is closed.
const GOING_AWAY: u16 = 1001;
const PROTOCOL_ERROR: u16 = 1002;
const UNSUPPORTED_DATA: u16 = 1003;
const INVALID_DATA: u16 = 1007;
const POLICY_VIOLATION: u16 = 1008;
const TOO_BIG: u16 = 1009;

/// What a client asks.
#[derive(Debug, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Request {
    Subscribe(Wanted),
    Unsubscribe { subscription_id: String },
    SubscribeAlerts {},
    Ping {},
}

type Upgrade = Result<WebSocketUpgrade, WebSocketUpgradeRejection>;
type Subscribing = Pin<Box<dyn Future<Output = Answer<Subscription>> + Send>>;

/// `/ws/live-scan`: scans that are subscribed to by messages.
pub(crate) async fn live_scan(
    State(app): State<Arc<App>>,
    Extension(client): Extension<Client>,
    Extension(connection): Extension<Connection>,
    upgrade: Upgrade,
) -> Answer<Response> {
    open(app, client, connection, upgrade, Watcher::new())
}

/// `/ws/scanner/{type}`: the scan of the address; others can be subscribed to by messages.
pub(crate) async fn scanner(
    State(app): State<Arc<App>>,
    Extension(client): Extension<Client>,
    Extension(connection): Extension<Connection>,
    Path(scanner): Path<String>,
    AddressQuery(given): AddressQuery<Vec<(String, String)>>,
    upgrade: Upgrade,
) -> Answer<Response> {
    check_websockets(&app)?;
    let upgrade = upgrade.map_err(no_upgrade)?;
    let wanted = Wanted::of_address(scanner, given)?;
    let mut watcher = Watcher::new();
    watcher.follow(app.hub.subscribe(&app, wanted).await?.begun().await?)?;
    open(app, client, connection, Ok(upgrade), watcher)
}

fn check_websockets(app: &App) -> Answer<()> {
    check_enabled(app)?;
    if app.configuration().streaming.websocket_enabled {
        return Ok(());
    }
    let detail = "streaming.websocket_enabled is false in the server's configuration, so there are no WebSockets; \
                  GET /events/scanner/{type} has the same";
    Err(Problem::new(StatusCode::FORBIDDEN, "disabled", detail))
}

fn no_upgrade(rejection: WebSocketUpgradeRejection) -> Problem {
    let detail = format!("here a WebSocket is expected: {}", rejection.body_text());
    Problem::new(StatusCode::UPGRADE_REQUIRED, "upgrade_required", detail)
}

fn open(app: Arc<App>, client: Client, connection: Connection, upgrade: Upgrade, watcher: Watcher) -> Answer<Response> {
    check_websockets(&app)?;
    let upgrade = upgrade.map_err(no_upgrade)?;
    let upgrade =
        upgrade.protocols([PROTOCOL]).max_message_size(LARGEST).max_frame_size(LARGEST).read_buffer_size(BUFFER).write_buffer_size(BUFFER);
    Ok(upgrade.on_upgrade(move |mut socket| {
        let tasks = app.tasks.clone();
        tasks.track_future(async move {
            let _counted = Counted::new("websocket");
            if let Some((code, reason)) = talk(&app, &client, &mut socket, watcher).await {
                farewell(socket, code, reason).await;
            }
            drop(connection);
        })
    }))
}

/// Talks with a client until one of the two has enough. What is returned is what to close with; nothing where nobody is there any more.
async fn talk(app: &Arc<App>, client: &Client, socket: &mut WebSocket, mut watcher: Watcher) -> Option<(u16, &'static str)> {
    let mut asked: VecDeque<Wanted> = VecDeque::new();
    let mut subscribing: Option<Subscribing> = None;
    let mut heard = Instant::now();
    loop {
        // One after the other, so that they are answered in the order in which they were asked.
        if subscribing.is_none()
            && let Some(wanted) = asked.pop_front()
        {
            let app = Arc::clone(app);
            subscribing = Some(Box::pin(async move { app.hub.subscribe(&app, wanted).await }));
        }
        let answer = tokio::select! {
            () = app.shutdown.cancelled() => return Some((GOING_AWAY, "going away")),
            message = watcher.next() => {
                let is_heartbeat = message.kind == "heartbeat";
                send(app, socket, Frame::Text(message.text)).await?;
                if is_heartbeat {
                    if heard.elapsed() >= SILENCE.saturating_sub(HEARTBEAT / 10) {
                        return Some((POLICY_VIOLATION, "no answer to pings"));
                    }
                    send(app, socket, Frame::Ping(axum::body::Bytes::new())).await?;
                }
                continue;
            }
            outcome = subscribed(&mut subscribing) => {
                subscribing = None;
                outcome.and_then(|subscription| watcher.follow(subscription)).err().map(|problem| Message::error(&problem))
            }
            received = socket.recv() => {
                heard = Instant::now();
                match received? {
                    Ok(Frame::Text(text)) => match heed(app, client, &text, &mut watcher, &mut asked) {
                        Ok(answer) => answer,
                        Err(problem) => Some(Message::error(&problem)),
                    },
                    Ok(Frame::Binary(_)) => return Some((UNSUPPORTED_DATA, "expected text")),
                    // The library answers both.
                    Ok(Frame::Ping(_) | Frame::Pong(_)) => None,
                    Ok(Frame::Close(_)) => return Some((1000, "")),
                    Err(error) => return violation(&error.to_string()),
                }
            }
        };
        if let Some(message) = answer {
            send(app, socket, Frame::Text(message.text)).await?;
        }
    }
}

/// Does what a client asks, and answers at once if that is possible.
fn heed(app: &App, client: &Client, text: &str, watcher: &mut Watcher, asked: &mut VecDeque<Wanted>) -> Answer<Option<Message>> {
    app.limits.check(&client.name)?;
    let request = serde_json::from_str(text).map_err(|error| Problem::invalid(format!("the message is not what is expected: {error}")))?;
    match request {
        Request::Subscribe(wanted) => {
            if asked.len() >= MOST {
                let detail = format!("{MOST} subscriptions wait for an answer already; send fewer at a time");
                return Err(
                    Problem::new(StatusCode::TOO_MANY_REQUESTS, "too_many_subscriptions", detail).with_scanner(&wanted.scanner_type)
                );
            }
            asked.push_back(wanted);
        }
        Request::Unsubscribe { subscription_id } => watcher.leave(&subscription_id)?,
        Request::SubscribeAlerts {} => watcher.follow_alerts(app)?,
        Request::Ping {} => return Ok(Some(Message::new("pong", json!({"timestamp": now()})))),
    }
    Ok(None)
}

async fn subscribed(subscribing: &mut Option<Subscribing>) -> Answer<Subscription> {
    match subscribing {
        Some(future) => future.await,
        None => std::future::pending().await,
    }
}

/// `None`: the client is gone, or as good as gone.
async fn send(app: &App, socket: &mut WebSocket, frame: Frame) -> Option<()> {
    tokio::select! {
        sent = timeout(PATIENCE, socket.send(frame)) => sent.ok()?.ok(),
        // Who takes nothing is not waited for at the end.
        () = async { app.shutdown.cancelled().await; tokio::time::sleep(FAREWELL).await } => None,
    }
}

/// Closes a connection, and waits a moment for the other side to do so.
async fn farewell(mut socket: WebSocket, code: u16, reason: &'static str) {
    let closing = async {
        // If it closes itself, this is not sent, but the answer to that is.
        let _ = socket.send(Frame::Close(Some(CloseFrame { code, reason: reason.into() }))).await;
        while let Some(Ok(_)) = socket.recv().await {}
    };
    // It is gone in any case.
    let _ = timeout(FAREWELL, closing).await;
}

/// What to close with after a client broke the rules; the library says which only in words. `None`: the connection is broken.
fn violation(error: &str) -> Option<(u16, &'static str)> {
    if error.starts_with("Space limit exceeded") {
        Some((TOO_BIG, "a message has at most 64 KiB"))
    } else if error.starts_with("UTF-8 encoding error") {
        Some((INVALID_DATA, "expected UTF-8"))
    } else if error.starts_with("WebSocket protocol error") && !error.contains("without closing handshake") {
        Some((PROTOCOL_ERROR, "not as RFC 6455 has it"))
    } else {
        None
    }
}
