//! What a client of PostgreSQL is told when something goes wrong. The one place where problems become codes.

use axum::http::StatusCode;
use pgwire::error::ErrorInfo;

use crate::{problem::Problem, statement::Failure};

/// What is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Trouble {
    /// Whether the connection ends with it.
    pub(crate) is_fatal: bool,
    /// Five letters and digits that say what kind it is.
    pub(crate) code: &'static str,
    /// What was given, and what was expected.
    pub(crate) message: String,
    /// More of it, such as what there is instead.
    pub(crate) detail: Option<String>,
    /// What to do.
    pub(crate) hint: Option<String>,
    /// The letter of the statement that is meant, counted from 1.
    pub(crate) position: Option<usize>,
    /// What only the log gets.
    pub(crate) for_the_log: Option<String>,
}

impl Trouble {
    pub(crate) fn new(code: &'static str, message: impl Into<String>) -> Trouble {
        Trouble { is_fatal: false, code, message: message.into(), detail: None, hint: None, position: None, for_the_log: None }
    }

    pub(crate) fn fatal(code: &'static str, message: impl Into<String>) -> Trouble {
        Trouble { is_fatal: true, ..Trouble::new(code, message) }
    }

    pub(crate) fn with_hint(self, hint: impl Into<String>) -> Trouble {
        Trouble { hint: Some(hint.into()), ..self }
    }

    /// What the process of a statement said. `sql`: the statement.
    pub(crate) fn of_failure(why: Failure, message: String, seconds: u64, sql: &str) -> Trouble {
        match why {
            Failure::Statement => {
                let position = position(&message, sql);
                let code = code_of(&message);
                let (message, detail) = message.split_once('\n').map_or((&*message, None), |(first, rest)| (first, Some(rest.trim())));
                let detail = detail.filter(|detail| !detail.is_empty()).map(str::to_owned);
                Trouble { position, detail, ..Trouble::new(code, message) }
            }
            Failure::Memory => Trouble::new("53200", "out of memory: the statement takes more than is allowed").with_hint("Ask for less."),
            Failure::Time => Trouble::new("57014", format!("canceling statement due to statement timeout: it has {seconds} s"))
                .with_hint("Ask for fewer sessions or symbols."),
            Failure::Rows => Trouble::new("54000", message).with_hint("Add LIMIT, or ask for less at a time."),
            Failure::Busy => Trouble::new("55006", message).with_hint("Try again in a moment."),
            Failure::Internal => Trouble { for_the_log: Some(message), ..Trouble::new("XX000", "the server failed; its log says more") },
        }
    }

    pub(crate) fn info(&self) -> ErrorInfo {
        let severity = if self.is_fatal { "FATAL" } else { "ERROR" };
        let mut info = ErrorInfo::new(severity.to_owned(), self.code.to_owned(), self.message.clone());
        info.severity_nonlocalized = Some(severity.to_owned());
        info.detail.clone_from(&self.detail);
        info.hint.clone_from(&self.hint);
        info.position = self.position.map(|position| position.to_string());
        info
    }
}

impl From<Problem> for Trouble {
    fn from(problem: Problem) -> Trouble {
        let code = match StatusCode::from_u16(problem.status) {
            Ok(StatusCode::UNAUTHORIZED) => "28P01",
            Ok(StatusCode::FORBIDDEN) => "42501",
            Ok(StatusCode::TOO_MANY_REQUESTS) => "53400",
            Ok(StatusCode::SERVICE_UNAVAILABLE) => "53000",
            Ok(StatusCode::GATEWAY_TIMEOUT) => "57014",
            Ok(StatusCode::INTERNAL_SERVER_ERROR) if problem.error == "statement_failed" => "53200",
            _ => "XX000",
        };
        let message = if problem.error == "internal" { "the server failed; its log says more".to_owned() } else { problem.detail };
        let hint = problem.retry_after.map(|seconds| format!("Try again in {seconds} s."));
        Trouble { hint, for_the_log: problem.for_the_log, ..Trouble::new(code, message) }
    }
}

/// The code of what DuckDB, or the check of what a statement may say, said.
fn code_of(message: &str) -> &'static str {
    let has = |part: &str| message.contains(part);
    let kind = message.split_once(" Error: ").map_or("", |(kind, _)| kind);
    match kind {
        "Parser" | "Syntax" => "42601",
        "Catalog" if message.starts_with("Catalog Error: Table") => "42P01",
        "Catalog" if has("Function with name") => "42883",
        "Catalog" if has("Type with name") => "42704",
        "Binder" if has("Referenced column") || has("does not have a column") || has("not found in FROM clause") => "42703",
        "Binder" if has("Referenced table") => "42P01",
        "Binder" if has("Ambiguous reference") => "42702",
        "Binder" if has("GROUP BY") => "42803",
        "Binder" if has("No function matches") => "42883",
        "Binder" => "42804",
        "Conversion" if has("out of range") => "22003",
        "Conversion" | "Mismatch Type" | "Invalid type" => "22P02",
        "Out of Range" => "22003",
        "Divide by Zero" => "22012",
        "Decimal" => "22003",
        "Not implemented" | "Extension Autoloading" => "0A000",
        "Invalid Input" if has("relation \"") && has("does not exist") => "42P01",
        "Invalid Input" | "Invalid" | "Constraint" | "Expression" => "22023",
        "" if has("syntax error") => "42601",
        "" if message.starts_with("there is no table") || message.starts_with("there is no relation") => "42P01",
        "" if message.starts_with("there is no function") => "42883",
        "" if has("only a statement that reads") || has("is not allowed: a statement may only read") => "25006",
        "" if has("may not be called here") || has("is not allowed") || has("reads a file") => "42501",
        "" if has("there is a parameter in the statement") => "42P02",
        "" if has("nested too deeply") || has("bytes; expected less") => "54001",
        "" => "22023",
        _ => "42000",
    }
}

/// Where the message says that the mistake is: `(line 1, column 8)`.
fn position(message: &str, sql: &str) -> Option<usize> {
    let (_, place) = message.rsplit_once("(line ")?;
    let (line, column) = place.trim_end_matches(')').split_once(", column ")?;
    let (line, column): (usize, usize) = (line.parse().ok()?, column.parse().ok()?);
    let before: usize = sql.split_inclusive('\n').take(line.checked_sub(1)?).map(|line| line.chars().count()).sum();
    Some(before + column)
}
