//! Bodies of requests, and queries and parts of addresses, whose mistakes become problem details.

use axum::{
    extract::{FromRequest, FromRequestParts, Path as AxumPath, Query as AxumQuery, Request},
    http::{StatusCode, header, request::Parts},
};
use serde::de::DeserializeOwned;

use crate::problem::Problem;

/// A body of JSON.
pub(crate) struct Body<T>(pub(crate) T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for Body<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Body<T>, Problem> {
        let media = request.headers().get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
        // A page of another origin may send any other type without asking first.
        if !media.split(';').next().unwrap_or_default().trim().eq_ignore_ascii_case("application/json") {
            let detail = "Content-Type: expected application/json";
            return Err(Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported_media_type", detail));
        }
        let bytes = axum::body::Bytes::from_request(request, state).await.map_err(|rejection| of_body(rejection.status()))?;
        serde_json::from_slice(&bytes).map(Body).map_err(|error| Problem::invalid(format!("the body is not what is expected: {error}")))
    }
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
