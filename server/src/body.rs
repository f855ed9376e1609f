//! Bodies of requests, and queries and parts of addresses, whose mistakes become problem details.

use std::time::Duration;

use axum::{
    extract::{DefaultBodyLimit, FromRequest, FromRequestParts, Path as AxumPath, Query as AxumQuery, Request},
    http::{StatusCode, header, request::Parts},
};
use serde::de::DeserializeOwned;
use tower_http::timeout::TimeoutError;

use crate::problem::Problem;

/// Largest body of JSON, in bytes.
pub(crate) const LARGEST: usize = 1 << 20;
/// So long a client has for one.
const PATIENCE: Duration = Duration::from_secs(30);

/// A body of JSON, of so many bytes at most.
pub(crate) struct Body<T, const MOST: usize = LARGEST>(pub(crate) T);

impl<S: Send + Sync, T: DeserializeOwned, const MOST: usize> FromRequest<S> for Body<T, MOST> {
    type Rejection = Problem;

    async fn from_request(mut request: Request, state: &S) -> Result<Body<T, MOST>, Problem> {
        let media = request.headers().get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
        // A page of another origin may send any other type without asking first.
        if !media.split(';').next().unwrap_or_default().trim().eq_ignore_ascii_case("application/json") {
            let detail = "Content-Type: expected application/json";
            return Err(Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported_media_type", detail));
        }
        // Said before any of it is sent.
        let length = request.headers().get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse::<u64>().ok());
        if length.is_some_and(|length| length > MOST as u64) {
            return Err(of_body(StatusCode::PAYLOAD_TOO_LARGE));
        }
        DefaultBodyLimit::max(MOST).apply(&mut request);
        let bytes = tokio::time::timeout(PATIENCE, axum::body::Bytes::from_request(request, state)).await;
        let bytes =
            bytes.map_err(|_| slow())?.map_err(|rejection| if is_slow(&rejection) { slow() } else { of_body(rejection.status()) })?;
        serde_json::from_slice(&bytes).map(Body).map_err(|error| Problem::invalid(format!("the body is not what is expected: {error}")))
    }
}

/// Whether nothing came for a while.
fn is_slow(error: &(dyn std::error::Error + 'static)) -> bool {
    error.is::<TimeoutError>() || error.source().is_some_and(is_slow)
}

fn slow() -> Problem {
    let detail = format!("the body did not come in time; it has {} s", PATIENCE.as_secs());
    Problem::new(StatusCode::REQUEST_TIMEOUT, "timeout", detail)
}

/// What it means that a body could not be read.
pub(crate) fn of_body(status: StatusCode) -> Problem {
    match status {
        StatusCode::PAYLOAD_TOO_LARGE => Problem::new(status, "too_large", "the body is larger than is allowed; send less at a time"),
        _ => Problem::new(StatusCode::BAD_REQUEST, "invalid", "the body ended before its end, or could not be read"),
    }
}

/// The query of an address.
pub(crate) struct Query<T>(pub(crate) T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequestParts<S> for Query<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Query<T>, Problem> {
        let query = AxumQuery::<T>::from_request_parts(parts, state).await;
        query.map(|AxumQuery(query)| Query(query)).map_err(|rejection| Problem::invalid(rejection.body_text()))
    }
}

/// The parts of a path.
pub(crate) struct Path<T>(pub(crate) T);

impl<S: Send + Sync, T: DeserializeOwned + Send> FromRequestParts<S> for Path<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Path<T>, Problem> {
        let path = AxumPath::<T>::from_request_parts(parts, state).await;
        path.map(|AxumPath(path)| Path(path)).map_err(|rejection| Problem::invalid(rejection.body_text()))
    }
}
