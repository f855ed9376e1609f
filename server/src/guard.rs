//! What every request goes through: an id and a line in the log, the check of who asks and how often, and of where a page that asks is from.

use std::{
    net::{IpAddr, SocketAddr},
    num::NonZeroU32,
    sync::Arc,
    time::{Duration, Instant},
};

use axum::{
    body::Body,
    extract::{ConnectInfo, MatchedPath, Request, State},
    http::{HeaderMap, HeaderValue, Method, StatusCode, header},
    middleware::Next,
    response::{IntoResponse, Response},
};
use governor::{DefaultKeyedRateLimiter, Quota, RateLimiter, clock::Clock};
use tower_http::timeout::TimeoutBody;
use uuid::Uuid;

use crate::{
    app::App,
    auth::{Client, Role},
    dashboard,
    problem::{Answer, Problem, Told},
    router::PREFIX,
};

/// A body of which nothing comes for so long is given up.
const SILENCE: Duration = Duration::from_secs(20);

/// How often each client may ask.
#[derive(Debug)]
pub(crate) struct Limits {
    by_client: Option<DefaultKeyedRateLimiter<String>>,
}

impl Limits {
    /// So many requests a second on average, and twice as many at once.
    pub(crate) fn new(a_second: Option<u32>) -> Limits {
        let quota = a_second
            .and_then(NonZeroU32::new)
            .map(|rate| Quota::per_second(rate).allow_burst(rate.saturating_mul(NonZeroU32::MIN.saturating_add(1))));
        Limits { by_client: quota.map(RateLimiter::keyed) }
    }

    /// Counts a request, or a message that is as good as one.
    pub(crate) fn check(&self, client: &str) -> Answer<()> {
        let Some(limiter) = &self.by_client else { return Ok(()) };
        limiter.check_key(&client.to_owned()).map_err(|not_until| {
            let wait = not_until.wait_time_from(governor::clock::DefaultClock::default().now());
            let seconds = wait.as_secs() + 1;
            let detail = format!("more requests than are allowed; try again in {seconds} s");
            Problem { retry_after: Some(seconds), ..Problem::new(StatusCode::TOO_MANY_REQUESTS, "rate_limited", detail) }
        })
    }

    /// Forgets clients that have not asked for a while.
    pub(crate) fn forget(&self) {
        if let Some(limiter) = &self.by_client {
            limiter.retain_recent();
            limiter.shrink_to_fit();
        }
    }
}

/// Gives each request an id, and says in the log and in numbers what came of it.
pub(crate) async fn log(State(_): State<Arc<App>>, mut request: Request, next: Next) -> Response {
    let id = Uuid::new_v4();
    let started = Instant::now();
    let method = request.method().clone();
    // Without the query, which may hold what nobody should read later.
    let path = request.uri().path().to_owned();
    let route = request.extensions().get::<MatchedPath>().map_or("none".to_owned(), |path| path.as_str().to_owned());
    request.extensions_mut().insert(id);
    let mut response = next.run(request).await;
    let elapsed = started.elapsed();
    let status = response.status();
    let client = response.extensions().get::<Client>().map_or("-", |client| client.name.as_str()).to_owned();
    let milliseconds = elapsed.as_secs_f64() * 1000.0;
    match response.extensions_mut().remove::<Told>() {
        Some(Told { detail, for_the_log }) if status.is_server_error() => {
            tracing::error!(%id, %method, path, status = status.as_u16(), milliseconds, client, detail, cause = for_the_log.unwrap_or_default());
        }
        Some(Told { detail, .. }) => tracing::info!(%id, %method, path, status = status.as_u16(), milliseconds, client, detail),
        None => tracing::info!(%id, %method, path, status = status.as_u16(), milliseconds, client),
    }
    let labels = [("method", method.to_string()), ("path", route), ("status", status.as_str().to_owned())];
    metrics::counter!("http_requests_total", &labels).increment(1);
    metrics::histogram!("http_request_duration_seconds", &labels[..2]).record(elapsed.as_secs_f64());
    if let Ok(id) = HeaderValue::from_str(&id.to_string()) {
        response.headers_mut().insert("x-request-id", id);
    }
    response
}

/// Lets in who may ask.
pub(crate) async fn admit(
    State(app): State<Arc<App>>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    mut request: Request,
    next: Next,
) -> Response {
    match admitted(&app, peer.ip(), &request) {
        Ok(client) => {
            if !is_of_the_watch(request.uri().path().strip_prefix(PREFIX).unwrap_or_default()) {
                app.settings.look(&app.market).await;
            }
            request.extensions_mut().insert(client.clone());
            let request = request.map(|body| Body::new(TimeoutBody::new(SILENCE, body)));
            let mut response = next.run(request).await;
            response.extensions_mut().insert(client);
            response
        }
        Err(problem) => problem.into_response(),
    }
}

fn admitted(app: &App, peer: IpAddr, request: &Request) -> Answer<Client> {
    let path = request.uri().path().strip_prefix(PREFIX).unwrap_or_default();
    let is_open = is_description(path) || dashboard::is_asked_for(request.method(), request.uri().path());
    // Those who look after the server have no key; so has no browser that is about to ask with one.
    if is_of_the_watch(path) || request.method() == Method::OPTIONS {
        return Ok(Client { name: peer.to_string(), role: Role::Ingest });
    }
    let outcome = match app.keys.client(request.headers(), peer) {
        // Whoever looks for how to ask, or begins with the dashboard, has no key yet, and sees nothing of what is in the database.
        Err(problem) if problem.status == 401 && is_open && !is_key_given(request.headers()) => {
            Ok(Client { name: peer.to_string(), role: Role::Ingest })
        }
        outcome => outcome,
    };
    // Wrong keys count as well, so that nobody can try many.
    app.limits.check(&outcome.as_ref().map_or_else(|_| peer.to_string(), |client| client.name.clone()))?;
    let client = outcome?;
    if !is_open {
        client.needs(if path.starts_with("/ingest/") { Role::Ingest } else { Role::Read })?;
    }
    let is_upgrade = request.headers().contains_key(header::UPGRADE);
    // A page that may not read events can still have them made.
    let is_stream = path.starts_with("/events/");
    if is_upgrade || is_stream || request.method() != Method::GET {
        from_allowed_origin(app, request.headers())?;
    }
    Ok(client)
}

/// Whether a path is for those who look after the server, and are answered whatever else is going on.
fn is_of_the_watch(path: &str) -> bool {
    matches!(path, "/health" | "/ready")
}

/// Whether a path leads to the description of the interface.
fn is_description(path: &str) -> bool {
    path == "/openapi.json" || path == "/docs" || path.starts_with("/docs/")
}

fn is_key_given(headers: &HeaderMap) -> bool {
    headers.contains_key(header::AUTHORIZATION) || headers.contains_key("x-api-key")
}

/// Refuses what a page of a strange origin asks. Programs that are no pages say no origin.
fn from_allowed_origin(app: &App, headers: &HeaderMap) -> Answer<()> {
    let Some(origin) = headers.get(header::ORIGIN) else { return Ok(()) };
    let origin = origin.to_str().unwrap_or("null");
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
    let is_own = origin.split_once("://").is_some_and(|(_, place)| !host.is_empty() && place.eq_ignore_ascii_case(host));
    let is_listed = app.configuration().api.enable_cors && app.options.origins.iter().any(|listed| listed == origin);
    if is_own || is_listed {
        return Ok(());
    }
    let detail = "pages of this origin may not ask; the server's --allow-origin lists those that may";
    Err(Problem::new(StatusCode::FORBIDDEN, "forbidden", detail))
}
