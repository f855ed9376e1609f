//! What can go wrong, said so that a person can act on it.

use std::path::PathBuf;

use stockscan_sql_file::Diagnostic;

/// The engine's results.
pub type Result<T> = std::result::Result<T, Error>;

/// What went wrong: what was given, what was expected, what to do.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// No scanner or table function of this name.
    #[error("there is no {kind} '{given}'{} {}", did_you_mean(.suggestion.as_deref()), one_of(.known))]
    UnknownFunction {
        /// `scanner` or `function`.
        kind: &'static str,
        /// The name asked for.
        given: String,
        /// The nearest known name, if one is near.
        suggestion: Option<String>,
        /// All known names.
        known: Vec<String>,
    },
    /// The function has no parameter of this name.
    #[error("{function} has no parameter '{given}'{} it takes {}", did_you_mean(.suggestion.as_deref()), .known.join(", "))]
    UnknownParameter {
        /// The function.
        function: String,
        /// The name given.
        given: String,
        /// The nearest known name, if one is near.
        suggestion: Option<String>,
        /// All its parameters.
        known: Vec<String>,
    },
    /// A parameter without default was left out.
    #[error("{function} needs a value for '{parameter}'")]
    MissingArgument {
        /// The function.
        function: String,
        /// The parameter.
        parameter: String,
    },
    /// Files of the user's own scanners that break the rules. None of them is loaded.
    #[error("{} in your own scanners, none of which is loaded:\n{}", mistakes(.0.len()), lines(.0))]
    OwnScanners(Vec<Diagnostic>),
    /// A scanner's result has not the columns that every scanner's has.
    #[error(
        "{function} has no column {}; a scanner's columns start with scan_date, symbol, price and end with volume, probability_score, rank",
        .missing.join(", ")
    )]
    MissingColumns {
        /// The scanner.
        function: String,
        /// The columns that it lacks.
        missing: Vec<String>,
    },
    /// A guard refused a value, or the caller's input cannot be used as it is.
    #[error("{0}")]
    Invalid(String),
    /// The data has no session in the range asked for.
    #[error("{0}")]
    NoSession(String),
    /// The relation with the bars is not there.
    #[error("{database} has no relation '{relation}'; make it with 'scanner ingest FILES', or name another one with --source")]
    MissingSource {
        /// The relation asked for.
        relation: String,
        /// Where it was looked for.
        database: String,
    },
    /// Another process has the database open.
    #[error(
        "{path} is in use by process {process}{}; close it there, or wait for it. A DuckDB file can be open in one process that writes, \
         or in many that only read: if that one only reads, --read-only works beside it",
        held_by(.program.as_deref())
    )]
    Locked {
        /// The database file.
        path: PathBuf,
        /// Process id of the holder.
        process: u32,
        /// The holder's program, if the system tells.
        program: Option<String>,
    },
    /// The database file does not exist.
    #[error("there is no database {0}; make one with 'scanner ingest FILES' or 'scanner demo', or name another one with --database")]
    NoDatabase(PathBuf),
    /// The system does not let us open the file.
    #[error("{path} cannot be opened: {reason}. If it may only be read, use --read-only")]
    NoPermission {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        reason: String,
    },
    /// The file is no DuckDB database, or a damaged one.
    #[error(
        "{path} cannot be opened as a DuckDB database: {reason}. Nothing was written to it; restore it from a copy, or name another file with --database"
    )]
    NotADatabase {
        /// The file.
        path: PathBuf,
        /// DuckDB's reason.
        reason: String,
    },
    /// The file was written by a newer DuckDB.
    #[error(
        "{path} was written by a newer DuckDB than the {ours} in here: {reason}. Update Stockscan, or export the database from the newer DuckDB"
    )]
    NewerDatabase {
        /// The file.
        path: PathBuf,
        /// Our version of DuckDB.
        ours: String,
        /// DuckDB's reason.
        reason: String,
    },
    /// The deadline passed.
    #[error("stopped after {0:?}, the time allowed; allow more time, or ask for fewer sessions or symbols")]
    Timeout(std::time::Duration),
    /// Interrupted by the caller.
    #[error("interrupted")]
    Interrupted,
    /// Ended before its end: what there was time for.
    #[error("{0}")]
    Stopped(String),
    /// Anything else that DuckDB reports.
    #[error("{0}")]
    Database(String),
    /// A file could not be read or written.
    #[error("{path}: {source}")]
    File {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
    /// The consumer of the rows failed.
    #[error("{0}")]
    Output(#[from] std::io::Error),
}

impl Error {
    /// A file that was named is not there.
    #[must_use]
    pub fn no_file(path: impl Into<PathBuf>) -> Error {
        let source = std::io::Error::new(std::io::ErrorKind::NotFound, "there is no such file");
        Error::File { path: path.into(), source }
    }

    /// Whether the caller asked for something impossible, rather than something failing: bad usage.
    #[must_use]
    pub fn is_usage(&self) -> bool {
        matches!(
            self,
            Error::UnknownFunction { .. }
                | Error::UnknownParameter { .. }
                | Error::MissingArgument { .. }
                | Error::OwnScanners(_)
                | Error::MissingColumns { .. }
                | Error::Invalid(_)
                | Error::NoSession(_)
        )
    }

    /// A word for what kind of error it is, to count by.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Error::UnknownFunction { .. }
            | Error::UnknownParameter { .. }
            | Error::MissingArgument { .. }
            | Error::OwnScanners(_)
            | Error::MissingColumns { .. }
            | Error::Invalid(_)
            | Error::NoSession(_) => "usage",
            Error::MissingSource { .. } | Error::NoDatabase(_) => "missing",
            Error::Locked { .. } => "locked",
            Error::Database(_) if self.is_passing() => "locked",
            Error::NoPermission { .. } => "permission",
            Error::NotADatabase { .. } | Error::NewerDatabase { .. } => "unreadable",
            Error::Timeout(_) => "timeout",
            Error::Interrupted | Error::Stopped(_) => "interrupted",
            Error::Database(_) => "database",
            Error::File { .. } | Error::Output(_) => "file",
        }
    }

    /// Whether the same may succeed a moment later.
    #[must_use]
    pub fn is_passing(&self) -> bool {
        match self {
            Error::Locked { .. } => true,
            // Between DuckDB's refusal and its look at who is the cause that one may have gone: then it names no process.
            Error::Database(text) => text.contains("Could not set lock on file"),
            _ => false,
        }
    }

    /// DuckDB's error without its kind in front of guard messages, and without the excerpt of generated SQL behind any message.
    pub(crate) fn from_duckdb(error: &duckdb::Error) -> Error {
        let message = message(error);
        let text = message.trim();
        if text.starts_with("INTERRUPT Error") {
            return Error::Interrupted;
        }
        // A guard's message starts with the function's name. The excerpt behind it shows generated SQL.
        let guard = text.strip_prefix("Invalid Input Error: ").map(|guard| {
            guard
                .split(
                    "

LINE ",
                )
                .next()
                .unwrap_or(guard)
        });
        match guard {
            Some(guard) if is_guard_message(guard) => Error::Invalid(guard.trim().to_owned()),
            _ => Error::Database(text.to_owned()),
        }
    }
}

impl From<duckdb::Error> for Error {
    fn from(error: duckdb::Error) -> Error {
        Error::from_duckdb(&error)
    }
}

/// `scan_breakout: min_price must …`
fn is_guard_message(text: &str) -> bool {
    text.split_once(": ").is_some_and(|(name, _)| {
        !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_')
    })
}

/// DuckDB's own words.
pub(crate) fn message(error: &duckdb::Error) -> String {
    let message = match error {
        duckdb::Error::DuckDBFailure(_, Some(message)) => message.clone(),
        other => other.to_string(),
    };
    // What fails while rows are fetched comes as JSON.
    match serde_json::from_str::<serde_json::Value>(&message) {
        Ok(fields) => match (fields["exception_type"].as_str(), fields["exception_message"].as_str()) {
            (Some(kind), Some(text)) => format!("{kind} Error: {text}"),
            _ => message,
        },
        Err(_) => message,
    }
}

fn mistakes(count: usize) -> String {
    if count == 1 { "a mistake".to_owned() } else { format!("{count} mistakes") }
}

fn lines(mistakes: &[Diagnostic]) -> String {
    mistakes.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}

pub(crate) fn did_you_mean(suggestion: Option<&str>) -> String {
    suggestion.map_or(";".to_owned(), |name| format!("; did you mean '{name}'?"))
}

fn one_of(known: &[String]) -> String {
    if known.is_empty() { "there are none".to_owned() } else { format!("there are {}", known.join(", ")) }
}

fn held_by(program: Option<&str>) -> String {
    program.map_or(String::new(), |program| format!(" ({program})"))
}

/// The known name that is near enough to have been meant.
#[must_use]
pub fn nearest<'a>(given: &str, known: impl IntoIterator<Item = &'a str>) -> Option<String> {
    known
        .into_iter()
        .map(|name| (strsim::jaro_winkler(&given.to_lowercase(), name), name))
        .filter(|(likeness, _)| *likeness > 0.8)
        .max_by(|(one, _), (other, _)| one.total_cmp(other))
        .map(|(_, name)| name.to_owned())
}
