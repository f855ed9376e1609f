//! What a client is told when something goes wrong: problem details after RFC 9457. The one place where errors become statuses.
//!
//! Nothing of the machine is in them: no path, no SQL, no secret. What is left out stands in the log, under the id of the request.

use axum::{
    Json,
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde::Serialize;
use stockscan_engine::Error;
use utoipa::ToSchema;

/// A result that a client gets.
pub type Answer<T> = Result<T, Problem>;

/// Problem details (RFC 9457, `application/problem+json`).
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct Problem {
    /// What kind of problem it is: always `about:blank`, so that the status says it.
    #[serde(rename = "type")]
    #[schema(example = "about:blank")]
    pub kind: &'static str,
    /// The status in words.
    #[schema(example = "Bad Request")]
    pub title: String,
    /// The status.
    #[schema(minimum = 400, maximum = 599, example = 400)]
    pub status: u16,
    /// What was given, what was expected, what to do.
    #[schema(example = "scan_breakout: min_price must be 0 or more, got -1")]
    pub detail: String,
    /// A word to tell problems apart by.
    #[schema(example = "invalid")]
    pub error: &'static str,
    /// The parameter that is meant, if it is one.
    #[schema(example = "min_price")]
    pub parameter: Option<String>,
    /// The scanner that was asked for, if one was.
    #[schema(example = "breakout")]
    pub scanner_type: Option<String>,
    /// When, by the server's clock, in UTC.
    #[schema(format = DateTime)]
    pub timestamp: String,
    /// Seconds after which to try again, as in the header Retry-After.
    #[serde(skip)]
    #[schema(ignore)]
    pub retry_after: Option<u64>,
    /// What only the log gets.
    #[serde(skip)]
    #[schema(ignore)]
    pub for_the_log: Option<String>,
}

impl Problem {
    /// A problem with a status, a word for it and what to say.
    #[must_use]
    pub fn new(status: StatusCode, error: &'static str, detail: impl Into<String>) -> Problem {
        Problem {
            kind: "about:blank",
            title: status.canonical_reason().unwrap_or("Error").to_owned(),
            status: status.as_u16(),
            detail: detail.into(),
            error,
            parameter: None,
            scanner_type: None,
            timestamp: now(),
            retry_after: None,
            for_the_log: None,
        }
    }

    /// 400: what was asked cannot be.
    #[must_use]
    pub fn invalid(detail: impl Into<String>) -> Problem {
        Problem::new(StatusCode::BAD_REQUEST, "invalid", detail)
    }

    /// 400: the value of a parameter cannot be.
    #[must_use]
    pub fn of_parameter(parameter: &str, detail: impl Into<String>) -> Problem {
        Problem { parameter: Some(parameter.to_owned()), ..Problem::invalid(detail) }
    }

    /// 404.
    #[must_use]
    pub fn not_found(detail: impl Into<String>) -> Problem {
        Problem::new(StatusCode::NOT_FOUND, "not_found", detail)
    }

    /// 503: not now.
    #[must_use]
    pub fn busy(detail: impl Into<String>, retry_after: u64) -> Problem {
        Problem { retry_after: Some(retry_after), ..Problem::new(StatusCode::SERVICE_UNAVAILABLE, "busy", detail) }
    }

    /// 504: it took too long.
    #[must_use]
    pub fn too_slow(seconds: u64) -> Problem {
        let detail = format!("stopped after {seconds} s, the time allowed; ask for fewer sessions or symbols");
        Problem::new(StatusCode::GATEWAY_TIMEOUT, "timeout", detail)
    }

    /// 500: a mistake of ours. The log says what.
    #[must_use]
    pub fn internal(for_the_log: impl Into<String>) -> Problem {
        let detail = "the server failed; its log says more under the id in the header X-Request-Id";
        Problem { for_the_log: Some(for_the_log.into()), ..Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", detail) }
    }

    /// The same of a scanner.
    #[must_use]
    pub fn with_scanner(self, scanner: &str) -> Problem {
        Problem { scanner_type: Some(shortened(scanner, 100)), ..self }
    }
}

/// The time as documents carry it.
pub(crate) fn now() -> String {
    format!("{:.3}", jiff::Timestamp::now())
}

impl From<Error> for Problem {
    fn from(error: Error) -> Problem {
        let text = error.to_string();
        let logged = |problem: Problem| Problem { for_the_log: Some(text.clone()), ..problem };
        match error {
            Error::UnknownFunction { .. } => Problem { parameter: Some("scanner_type".to_owned()), ..Problem::not_found(text) },
            Error::UnknownParameter { ref given, .. } => Problem::of_parameter(given, text),
            Error::MissingArgument { ref parameter, .. } => Problem::of_parameter(parameter, text),
            Error::NoSession(text) => Problem::not_found(text),
            Error::Invalid(text) => match refused_parameter(&text) {
                Some(parameter) => Problem::of_parameter(&parameter, text),
                None => Problem::invalid(text),
            },
            Error::MissingColumns { .. } => Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid", text),
            Error::OwnScanners(_) => logged(Problem::internal("")),
            Error::MissingSource { relation, .. } => {
                Problem::not_found(format!("there is no relation '{relation}' with bars yet; take some in first"))
            }
            Error::NoDatabase(_) => logged(Problem::busy("there is no database yet; take bars in first", 30)),
            Error::Locked { process, .. } => {
                logged(Problem::busy(format!("the database is in use by process {process}; try again in a moment"), 1))
            }
            Error::NoPermission { .. } | Error::NotADatabase { .. } | Error::NewerDatabase { .. } => {
                logged(Problem::busy("the database cannot be opened; the server's log says why", 30))
            }
            Error::Timeout(allowed) => Problem::too_slow(allowed.as_secs()),
            Error::Interrupted => Problem::busy("interrupted", 1),
            Error::Stopped(text) => Problem::busy(text, 1),
            Error::File { ref source, .. } | Error::Output(ref source) if source.kind() == std::io::ErrorKind::StorageFull => {
                logged(full())
            }
            Error::File { .. } | Error::Output(_) => Problem::internal(text),
            Error::Database(_) if error.is_passing() => {
                logged(Problem::busy("the database is in use by another process; try again in a moment", 1))
            }
            Error::Database(text) => of_duckdb(&text),
            other => Problem::internal(other.to_string()),
        }
    }
}

fn full() -> Problem {
    Problem {
        retry_after: Some(30),
        ..Problem::new(StatusCode::INSUFFICIENT_STORAGE, "storage_full", "the server's disk is full; nothing was stored")
    }
}

/// What DuckDB says, as far as a client can do something about it.
fn of_duckdb(text: &str) -> Problem {
    // Behind the first line stands generated SQL.
    let first = text.lines().next().unwrap_or_default();
    let logged = |problem: Problem| Problem { for_the_log: Some(text.to_owned()), ..problem };
    if text.contains("No space left on device") || text.contains("disk is full") {
        return logged(full());
    }
    match first.split_once(": ").map(|(kind, rest)| (kind.trim_end_matches(" Error"), rest)) {
        Some(("Out of Memory", _)) => logged(Problem {
            retry_after: Some(5),
            ..Problem::new(StatusCode::SERVICE_UNAVAILABLE, "out_of_memory", "this takes more memory than is allowed; ask for less")
        }),
        Some(("Conversion" | "Out of Range", rest)) => logged(Problem::invalid(rest)),
        _ => Problem::internal(text),
    }
}

/// The parameter that a guard's message names: `scan_breakout: min_price must …`.
fn refused_parameter(text: &str) -> Option<String> {
    if let Some(rest) = text.strip_prefix("config.") {
        return rest.split([' ', ':']).next().map(str::to_owned);
    }
    if let Some(rest) = text.strip_prefix("config has no key '") {
        return rest.split('\'').next().map(str::to_owned);
    }
    let is_name =
        |word: &str| !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_');
    let rest = text.split_once(": ").filter(|(function, _)| is_name(function)).map_or(text, |(_, rest)| rest);
    let (name, rule) = rest.split_once(' ')?;
    // With its value: `scan_breakout: cutoff_time (00:00) is earlier than …`.
    let has_value = rule.starts_with('(');
    (is_name(name) && (has_value || rule.starts_with("must ") || rule.starts_with("expects "))).then(|| name.to_owned())
}

/// The beginning and the end of a text, so that an error is no echo of what was sent.
fn shortened(text: &str, most: usize) -> String {
    let letters: Vec<char> = text.chars().collect();
    if letters.len() <= most {
        return text.to_owned();
    }
    let half = most / 2;
    letters[..half].iter().chain(&['…']).chain(&letters[letters.len() - half..]).collect()
}

impl IntoResponse for Problem {
    fn into_response(mut self) -> Response {
        self.detail = shortened(&self.detail, 2000);
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let for_the_log = self.for_the_log.take();
        let retry_after = self.retry_after;
        let detail = self.detail.clone();
        let mut response = (status, Json(self)).into_response();
        response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        if let Some(seconds) = retry_after {
            response.headers_mut().insert(header::RETRY_AFTER, seconds.into());
        }
        if status == StatusCode::UNAUTHORIZED {
            response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response.extensions_mut().insert(Told { detail, for_the_log });
        response
    }
}

/// What is logged of a request that failed.
#[derive(Debug, Clone)]
pub(crate) struct Told {
    pub(crate) detail: String,
    pub(crate) for_the_log: Option<String>,
}
