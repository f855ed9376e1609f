//! Live scans and alerts as server-sent events.

use std::{convert::Infallible, sync::Arc, time::Duration};

use axum::{
    Extension,
    extract::State,
    http::{HeaderName, StatusCode},
    response::{
        IntoResponse, Response,
        sse::{Event, Sse},
    },
};
use tokio::{sync::mpsc, time::timeout};
use tokio_stream::wrappers::ReceiverStream;
use utoipa::IntoParams;

use crate::{
    app::App,
    body::{Path, Query as AddressQuery},
    hub::Wanted,
    listen::Connection,
    problem::{Answer, Problem},
    watcher::{PATIENCE, Watcher},
};

/// After the end of a stream a browser waits so long before it comes again.
const COME_AGAIN: Duration = Duration::from_secs(3);

/// Counts a connection as long as it is there.
#[derive(Debug)]
pub(crate) struct Counted(&'static str);

impl Counted {
    pub(crate) fn new(kind: &'static str) -> Counted {
        metrics::gauge!("stockscan_live_connections", "kind" => kind).increment(1.0);
        Counted(kind)
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        metrics::gauge!("stockscan_live_connections", "kind" => self.0).decrement(1.0);
    }
}

/// Live scans may be switched off.
pub(crate) fn check_enabled(app: &App) -> Answer<()> {
    if app.configuration().streaming.enabled {
        return Ok(());
    }
    let detail = "streaming.enabled is false in the server's configuration, so there are no live scans";
    Err(Problem::new(StatusCode::FORBIDDEN, "disabled", detail))
}

/// How a scan is followed.
#[derive(Debug, IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "names of parameters come with them, so they are read one by one; this describes them")]
pub(crate) struct Which {
    /// A fixed cutoff, exchange time; without it the end of the newest bar.
    #[param(format = "time-of-day", example = "09:50")]
    cutoff_time: Option<String>,
    /// Seconds between two ticks; without it `streaming.interval_seconds` of the configuration.
    #[param(minimum = 0.2, maximum = 86_400)]
    interval: Option<f64>,
    /// Only these symbols, with commas between.
    #[param(example = "A,B")]
    symbols: Option<String>,
    /// Parameters of the scanner, by their names.
    #[param(style = Form, explode, value_type = Option<Object>)]
    parameters: Option<String>,
}

/// Follows a scan: an event for each result with what is new in it, without end.
///
/// Each event is named after the `type` of its document: `subscribed`; `scan_update` with `subscription_id`, `timestamp`, `scanner_type`,
/// `data_as_of`, `results`, `added` and `removed`, the first of them at once; `stale` with problem details when the newest scan failed, so
/// that the last result may be out of date; `heartbeat` every 15 seconds; `error` when the scan cannot go on; `end` when the server ends.
/// The scan is run at each tick at which the data has changed, once for all who follow it. A slow client gets the newest result.
#[utoipa::path(
    get, path = "/events/scanner/{type}", tag = "live",
    params(
        ("type" = String, Path, description = "The scanner's name, as `GET /scanners` lists it."),
        Which,
    ),
    responses((status = 200, description = "Events.", body = String, content_type = "text/event-stream"))
)]
pub(crate) async fn scanner(
    State(app): State<Arc<App>>,
    Extension(connection): Extension<Connection>,
    Path(scanner): Path<String>,
    AddressQuery(given): AddressQuery<Vec<(String, String)>>,
) -> Answer<Response> {
    check_enabled(&app)?;
    let wanted = Wanted::of_address(scanner, given)?;
    let mut watcher = Watcher::new();
    watcher.follow(app.hub.subscribe(&app, wanted).await?.begun().await?)?;
    Ok(stream(&app, watcher, connection))
}

/// Follows the alerts: an event for each one that this server raises, without end.
///
/// `alert` with `timestamp`, `rule`, `scanner_type`, `session`, `data_as_of`, `symbol`, `price` and `evidence`, and `subscribed`, `heartbeat`,
/// `end` as with scans.
#[utoipa::path(
    get, path = "/events/alerts", tag = "live",
    responses(
        (status = 200, description = "Events.", body = String, content_type = "text/event-stream"),
        (status = 409, description = "There is no rule to follow.", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(crate) async fn alerts(State(app): State<Arc<App>>, Extension(connection): Extension<Connection>) -> Answer<Response> {
    check_enabled(&app)?;
    let mut watcher = Watcher::new();
    watcher.follow_alerts(&app)?;
    Ok(stream(&app, watcher, connection))
}

fn stream(app: &Arc<App>, mut watcher: Watcher, connection: Connection) -> Response {
    // What is not taken stays with the watcher, which goes on with the newest.
    let (sender, receiver) = mpsc::channel::<Result<Event, Infallible>>(1);
    let shutdown = app.shutdown.clone();
    app.tasks.spawn(async move {
        let _counted = Counted::new("events");
        if sender.send(Ok(Event::default().retry(COME_AGAIN))).await.is_err() {
            return;
        }
        loop {
            let message = tokio::select! {
                () = shutdown.cancelled() => break,
                () = sender.closed() => return,
                message = watcher.next() => message,
            };
            let event = Event::default().event(message.kind).data(message.text.as_str());
            match timeout(PATIENCE, sender.send(Ok(event))).await {
                Ok(Ok(())) => {}
                Ok(Err(_)) => return,
                // It takes nothing, so that it could not even be told that this is the end.
                Err(_) => return connection.hang_up.cancel(),
            }
        }
        let end = Event::default().event("end").data(r#"{"type":"end","reason":"going away"}"#);
        // Nobody may be there any more.
        let _ = timeout(PATIENCE, sender.send(Ok(end))).await;
    });
    // Proxies are not to keep events back.
    ([(HeaderName::from_static("x-accel-buffering"), "no")], Sse::new(ReceiverStream::new(receiver))).into_response()
}
