//! What a client says to its session, and what the server knows without asking the database: settings, transactions, cursors.

use pgwire::messages::response::TransactionStatus;
use sqlparser::tokenizer::Token;

use super::{
    errors::Trouble,
    text::{Piece, pieces},
};

/// The version of PostgreSQL as which clients know this server.
pub(crate) const VERSION: &str = "15.0";

/// Settings with what they are at first. Of those with `true`, nothing else can be made.
pub(crate) const SETTINGS: [(&str, &str, bool); 41] = [
    ("allow_system_table_mods", "off", false),
    ("application_name", "", false),
    ("backslash_quote", "safe_encoding", false),
    ("bytea_output", "hex", true),
    ("client_encoding", "UTF8", true),
    ("client_min_messages", "notice", false),
    ("DateStyle", "ISO, MDY", true),
    ("default_table_access_method", "heap", true),
    ("default_transaction_deferrable", "off", false),
    ("default_transaction_isolation", "read committed", false),
    ("default_transaction_read_only", "on", false),
    ("enable_seqscan", "on", false),
    ("escape_string_warning", "on", false),
    ("extra_float_digits", "1", false),
    ("geqo", "on", false),
    ("idle_in_transaction_session_timeout", "0", false),
    ("in_hot_standby", "off", true),
    ("integer_datetimes", "on", true),
    ("IntervalStyle", "postgres", true),
    ("is_superuser", "off", true),
    ("jit", "off", false),
    ("lc_collate", "C", true),
    ("lc_ctype", "C", true),
    ("lc_messages", "C", false),
    ("lc_monetary", "C", false),
    ("lock_timeout", "0", false),
    ("max_identifier_length", "63", true),
    ("max_index_keys", "32", true),
    ("row_security", "on", false),
    ("search_path", "main", false),
    ("server_encoding", "UTF8", true),
    ("server_version", VERSION, true),
    ("server_version_num", "150000", true),
    ("ssl_renegotiation_limit", "0", false),
    ("standard_conforming_strings", "on", true),
    ("statement_timeout", "0", false),
    ("synchronize_seqscans", "on", false),
    ("TimeZone", "UTC", true),
    ("transaction_isolation", "read committed", false),
    ("transaction_read_only", "on", false),
    ("work_mem", "4MB", false),
];
/// Those of which a client is told at first, and when they change.
const REPORTED: [&str; 13] = [
    "application_name",
    "client_encoding",
    "DateStyle",
    "default_transaction_read_only",
    "in_hot_standby",
    "integer_datetimes",
    "IntervalStyle",
    "is_superuser",
    "search_path",
    "server_encoding",
    "server_version",
    "standard_conforming_strings",
    "TimeZone",
];

/// What is done without the database.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Command {
    /// `BEGIN`
    Begin(&'static str),
    /// `COMMIT`
    Commit,
    /// `ROLLBACK`
    Rollback,
    /// `SAVEPOINT`, `RELEASE`: nothing, for nothing is written.
    Savepoint(&'static str),
    /// `ROLLBACK TO`
    RollbackTo,
    /// `SET name = value`; `None`: as at first.
    Set(String, Option<String>),
    /// `RESET ALL`
    ResetAll,
    /// What changes nothing that is here.
    Nothing(&'static str),
    /// `SHOW name`
    Show(String),
    /// `SHOW ALL`
    ShowAll,
    /// `DISCARD ALL`
    Discard,
    /// `DEALLOCATE name`; `None`: all.
    Deallocate(Option<String>),
    /// `CLOSE name`; `None`: all.
    Close(Option<String>),
    /// `DECLARE name CURSOR FOR query`
    Declare {
        /// Its name.
        name: String,
        /// Whether its rows are in binary.
        is_binary: bool,
        /// The query.
        query: String,
    },
    /// `FETCH count FROM name`, `MOVE …`
    Fetch {
        /// Its name.
        name: String,
        /// How many rows; `None`: all that are left.
        count: Option<usize>,
        /// Whether they are only left out.
        is_move: bool,
    },
    /// `COPY … TO STDOUT`
    Copy {
        /// The query.
        query: String,
        /// As comma-separated values instead of with tabs.
        is_csv: bool,
        /// Whether the first line has the names.
        has_header: bool,
    },
}

/// The command that a statement is; `None`: the database is asked.
///
/// # Errors
/// For a command that is none, or that there is not.
pub(crate) fn command(sql: &str) -> Result<Option<Command>, Trouble> {
    let Some(pieces) = pieces(sql) else { return Ok(None) };
    let words: Vec<String> = pieces.iter().take(4).map(Piece::word).collect();
    let word = |index: usize| words.get(index).map_or("", String::as_str);
    let name = |index: usize| pieces.get(index).and_then(Piece::name);
    Ok(Some(match (word(0), word(1)) {
        ("BEGIN", _) => Command::Begin("BEGIN"),
        ("START", "TRANSACTION") => Command::Begin("START TRANSACTION"),
        ("COMMIT" | "ROLLBACK", "PREPARED") | ("PREPARE", "TRANSACTION") => {
            return Err(Trouble::new("0A000", "there are no prepared transactions here"));
        }
        ("COMMIT" | "END", _) => Command::Commit,
        ("ROLLBACK", "TO") => Command::RollbackTo,
        ("ROLLBACK" | "ABORT", _) if [word(1), word(2)].contains(&"TO") => Command::RollbackTo,
        ("ROLLBACK" | "ABORT", _) => Command::Rollback,
        ("SAVEPOINT", _) => Command::Savepoint("SAVEPOINT"),
        ("RELEASE", _) => Command::Savepoint("RELEASE"),
        ("SET", "TRANSACTION" | "CONSTRAINTS" | "ROLE") | ("RESET", "ROLE") => Command::Nothing("SET"),
        ("SET", "SESSION") if ["CHARACTERISTICS", "AUTHORIZATION"].contains(&word(2)) => Command::Nothing("SET"),
        ("SET", scope) => {
            let first = if ["SESSION", "LOCAL"].contains(&scope) { 2 } else { 1 };
            set(&pieces[first.min(pieces.len())..])?
        }
        ("RESET", "ALL") => Command::ResetAll,
        ("RESET", "SESSION") => Command::Nothing("RESET"),
        ("RESET", _) => Command::Set(name(1).ok_or_else(|| syntax("RESET", "RESET name"))?, None),
        // DuckDB's own.
        ("SHOW", "TABLES") => return Ok(None),
        ("SHOW", "ALL") if pieces.len() > 2 => return Ok(None),
        ("SHOW", "ALL") => Command::ShowAll,
        ("SHOW", "TRANSACTION") => Command::Show("transaction_isolation".to_owned()),
        ("SHOW", "TIME") => Command::Show("TimeZone".to_owned()),
        ("SHOW", _) => Command::Show(dotted(&pieces[1..]).ok_or_else(|| syntax("SHOW", "SHOW name"))?),
        ("DISCARD", "ALL") => Command::Discard,
        ("DISCARD", _) => Command::Nothing("DISCARD"),
        ("DEALLOCATE", _) => {
            let at = if word(1) == "PREPARE" { 2 } else { 1 };
            Command::Deallocate(name(at).filter(|_| word(at) != "ALL"))
        }
        ("CLOSE", _) => Command::Close(name(1).filter(|_| word(1) != "ALL")),
        ("UNLISTEN", _) => Command::Nothing("UNLISTEN"),
        ("LISTEN" | "NOTIFY", _) => return Err(Trouble::new("0A000", format!("{} is not possible here: nothing is notified", word(0)))),
        ("DECLARE", _) => declare(sql, &pieces)?,
        ("FETCH" | "MOVE", _) => fetch(&pieces)?,
        ("COPY", _) => copy(sql, &pieces)?,
        _ => return Ok(None),
    }))
}

fn syntax(word: &str, expected: &str) -> Trouble {
    Trouble::new("42601", format!("{word} is not as it should be; expected {expected}"))
}

/// `a.b`
fn dotted(pieces: &[Piece]) -> Option<String> {
    let mut name = pieces.first()?.name()?;
    if let [_, dot, rest] = pieces
        && dot.token == Token::Period
    {
        name = format!("{name}.{}", rest.name()?);
    }
    Some(name)
}

/// `name = value`, `name TO value, value`, `TIME ZONE value`, `NAMES value`
fn set(pieces: &[Piece]) -> Result<Command, Trouble> {
    let words: Vec<String> = pieces.iter().take(2).map(Piece::word).collect();
    let (name, values) = match words.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["TIME", "ZONE"] => ("TimeZone".to_owned(), &pieces[2..]),
        ["NAMES", ..] => ("client_encoding".to_owned(), &pieces[1..]),
        _ => {
            let at = pieces.iter().position(|piece| piece.token == Token::Eq || piece.word() == "TO");
            let at = at.ok_or_else(|| syntax("SET", "SET name = value"))?;
            (dotted(&pieces[..at]).ok_or_else(|| syntax("SET", "SET name = value"))?, &pieces[at + 1..])
        }
    };
    let is_default = matches!(values, [only] if only.word() == "DEFAULT");
    let mut text = String::new();
    for value in values {
        match &value.token {
            Token::Comma => text.push_str(", "),
            Token::Minus => text.push('-'),
            Token::Plus => {}
            Token::Word(word) => text.push_str(&word.value),
            _ => text.push_str(&value.name().ok_or_else(|| syntax("SET", "SET name = value"))?),
        }
    }
    if values.is_empty() {
        return Err(syntax("SET", "SET name = value"));
    }
    Ok(Command::Set(name, (!is_default).then_some(text)))
}

/// `DECLARE name [BINARY] [INSENSITIVE] [[NO] SCROLL] CURSOR [WITH HOLD] FOR query`
fn declare(sql: &str, pieces: &[Piece]) -> Result<Command, Trouble> {
    let expected = || syntax("DECLARE", "DECLARE name CURSOR FOR query");
    let name = pieces.get(1).and_then(Piece::name).ok_or_else(expected)?;
    let at = pieces.iter().position(|piece| piece.word() == "FOR").ok_or_else(expected)?;
    let is_binary = pieces[..at].iter().any(|piece| piece.word() == "BINARY");
    if !pieces[..at].iter().any(|piece| piece.word() == "CURSOR") || at + 1 == pieces.len() {
        return Err(expected());
    }
    Ok(Command::Declare { name, is_binary, query: sql[pieces[at + 1].start..].to_owned() })
}

/// `FETCH [NEXT | FORWARD | count | ALL | FORWARD count | FORWARD ALL] [FROM | IN] name`
fn fetch(pieces: &[Piece]) -> Result<Command, Trouble> {
    let is_move = pieces[0].word() == "MOVE";
    let expected = || syntax(if is_move { "MOVE" } else { "FETCH" }, "FETCH count FROM name: a cursor only goes forward here");
    let (last, rest) = pieces[1..].split_last().ok_or_else(expected)?;
    let name = last.name().ok_or_else(expected)?;
    let mut count = Some(1);
    for piece in rest {
        match (piece.word().as_str(), &piece.token) {
            ("NEXT" | "FORWARD" | "FROM" | "IN", _) => {}
            ("ALL", _) => count = None,
            (_, Token::Number(digits, _)) => count = Some(digits.parse().map_err(|_| expected())?),
            _ => return Err(expected()),
        }
    }
    Ok(Command::Fetch { name, count, is_move })
}

/// `COPY table TO STDOUT`, `COPY (query) TO STDOUT WITH (FORMAT csv, HEADER)`
fn copy(sql: &str, pieces: &[Piece]) -> Result<Command, Trouble> {
    let mut depth = 0;
    let mut direction = None;
    for (index, piece) in pieces.iter().enumerate() {
        match piece.token {
            Token::LParen => depth += 1,
            Token::RParen => depth -= 1,
            _ if depth == 0 && ["FROM", "TO"].contains(&piece.word().as_str()) => {
                direction = Some(index);
                break;
            }
            _ => {}
        }
    }
    let expected = || syntax("COPY", "COPY (query) TO STDOUT, with FORMAT csv and HEADER if you like");
    let at = direction.filter(|at| *at > 1).ok_or_else(expected)?;
    if pieces[at].word() == "FROM" {
        return Err(Trouble::new("25006", "COPY FROM is not possible: this server is read-only over this port")
            .with_hint("Bars are taken in over HTTP: POST /api/v1/scanner/ingest/bars, or with 'scanner ingest'."));
    }
    if pieces.get(at + 1).is_none_or(|target| target.word() != "STDOUT") {
        return Err(Trouble::new("42501", "COPY writes to no file of the server's; expected TO STDOUT"));
    }
    let query = if pieces[1].token == Token::LParen {
        sql[pieces[1].end..pieces[at - 1].start].to_owned()
    } else {
        let columns = pieces[1..at].iter().position(|piece| piece.token == Token::LParen).map(|found| found + 1);
        let table = &sql[pieces[1].start..pieces[columns.unwrap_or(at) - 1].end];
        let columns = columns.map_or("*", |first| &sql[pieces[first].end..pieces[at - 1].start]);
        format!("SELECT {columns} FROM {table}")
    };
    let (mut is_csv, mut has_header) = (false, false);
    let mut options = pieces[at + 2..].iter().peekable();
    while let Some(option) = options.next() {
        match (option.word().as_str(), &option.token) {
            ("WITH" | "FORMAT" | "TEXT" | "TRUE" | "ON", _) | (_, Token::LParen | Token::RParen | Token::Comma) => {}
            ("CSV", _) => is_csv = true,
            ("HEADER", _) => has_header = options.next_if(|next| ["FALSE", "OFF"].contains(&next.word().as_str())).is_none(),
            _ => return Err(expected()),
        }
    }
    if has_header && !is_csv {
        return Err(expected());
    }
    Ok(Command::Copy { query, is_csv, has_header })
}

/// A session's settings, and whether it is in a transaction.
#[derive(Debug)]
pub(crate) struct Session {
    /// Whether in a transaction, or in one that has failed.
    pub(crate) status: TransactionStatus,
    /// What was set.
    given: Vec<(String, String)>,
}

impl Session {
    pub(crate) fn new() -> Session {
        Session { status: TransactionStatus::Idle, given: Vec::new() }
    }

    /// A setting by its name, in whatever case.
    pub(crate) fn get(&self, name: &str) -> Option<(&str, &str)> {
        let given = self.given.iter().find(|(known, _)| known.eq_ignore_ascii_case(name));
        let first = || SETTINGS.iter().find(|(known, ..)| known.eq_ignore_ascii_case(name)).map(|(name, value, _)| (*name, *value));
        given.map(|(name, value)| (name.as_str(), value.as_str())).or_else(first)
    }

    /// All of them.
    pub(crate) fn all(&self) -> Vec<(&str, &str)> {
        SETTINGS.iter().filter_map(|(name, ..)| self.get(name)).collect()
    }

    /// Those of which a client is told.
    pub(crate) fn reported(&self) -> Vec<(&str, &str)> {
        REPORTED.iter().filter_map(|name| self.get(name)).collect()
    }

    /// Changes a setting; returns its name and value if the client is to be told.
    ///
    /// # Errors
    /// For one that there is not, or that can only be what it is.
    pub(crate) fn set(&mut self, name: &str, value: Option<&str>) -> Result<Option<(String, String)>, Trouble> {
        let known = SETTINGS.iter().find(|(known, ..)| known.eq_ignore_ascii_case(name));
        // Names with a point in them are anybody's.
        if known.is_none() && !name.contains('.') {
            return Err(Trouble::new("42704", format!("unrecognized configuration parameter \"{name}\"")));
        }
        let name = known.map_or(name, |(known, ..)| known);
        if let (Some((_, only, true)), Some(value)) = (known, value) {
            if !is_same(name, value, only) {
                return Err(Trouble::new("22023", format!("{name} is {only} here, and cannot be {value}")));
            }
            return Ok(None);
        }
        if let Some(value) = value.filter(|_| name == "statement_timeout") {
            milliseconds(value).ok_or_else(|| {
                Trouble::new("22023", format!("invalid value for parameter \"{name}\": \"{value}\"; expected 5000 or 5s"))
            })?;
        }
        self.given.retain(|(known, _)| known != name);
        if let Some(value) = value {
            // Whatever is remembered is remembered for as long as the connection lasts.
            if self.given.len() >= 100 || value.len() > 1000 {
                return Err(Trouble::new("54000", "there are too many settings, or one is too long"));
            }
            self.given.push((name.to_owned(), value.to_owned()));
        }
        let now = self.get(name).map(|(name, value)| (name.to_owned(), value.to_owned()));
        Ok(now.filter(|(name, _)| REPORTED.contains(&name.as_str())))
    }

    /// As at first.
    pub(crate) fn reset(&mut self) {
        self.given.clear();
    }

    /// How long a statement may take, if that was set.
    pub(crate) fn timeout(&self) -> Option<std::time::Duration> {
        let milliseconds =
            self.get("statement_timeout").and_then(|(_, value)| milliseconds(value)).filter(|milliseconds| *milliseconds > 0);
        milliseconds.map(std::time::Duration::from_millis)
    }
}

/// Whether a setting that can only be one thing is set to that, in other words.
fn is_same(name: &str, value: &str, only: &str) -> bool {
    let value = value.trim().to_ascii_lowercase();
    match name {
        "client_encoding" => {
            let name: String = value.chars().filter(char::is_ascii_alphanumeric).collect();
            ["utf8", "unicode", "sqlascii"].contains(&name.as_str())
        }
        "DateStyle" => value.starts_with("iso"),
        // Times with a zone are sent in UTC, with the zone behind them, whatever zone the client is in.
        "TimeZone" => true,
        _ => value == only.to_ascii_lowercase() || (only == "on" && ["true", "1", "yes"].contains(&value.as_str())),
    }
}

/// `5000`, `5s`, `1min`, `500ms`
fn milliseconds(text: &str) -> Option<u64> {
    let text = text.trim();
    let digits = text.trim_end_matches(|letter: char| letter.is_ascii_alphabetic());
    let unit = match text[digits.len()..].trim() {
        "" | "ms" => 1,
        "s" => 1000,
        "min" => 60_000,
        "h" => 3_600_000,
        _ => return None,
    };
    digits.trim().parse::<u64>().ok()?.checked_mul(unit)
}
