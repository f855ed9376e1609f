//! One connection of one who may come in: a message after the other, each with its answer.
//!
//! While a statement runs, the client is listened to as well: whoever leaves has its statement ended.

use std::{
    collections::HashMap,
    io,
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::{BufMut, Bytes, BytesMut};
use pgwire::messages::{
    DecodeContext, PgWireBackendMessage as Message, PgWireFrontendMessage as Request,
    copy::{CopyDone, CopyOutResponse},
    data::{FieldDescription, NoData, ParameterDescription, RowDescription},
    extendedquery::{Bind, BindComplete, CloseComplete, Describe, Parse, ParseComplete, PortalSuspended, TARGET_TYPE_BYTE_STATEMENT},
    response::{CommandComplete, EmptyQueryResponse, ReadyForQuery, TransactionStatus},
    startup::ParameterStatus,
};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio_stream::StreamExt;
use tokio_util::sync::CancellationToken;

use super::{
    Postgres, Running,
    answer::Wire,
    errors::Trouble,
    messages::{copied, copy_data, gone, in_csv, request, whole_message},
    session::{Command, Session, command},
    text,
    types::{Column, Parameter},
};
use crate::{
    auth::Client,
    query::{self, LONGEST_STATEMENT, Sent},
    statement::{Form, Reply},
};

/// So long a client has to take what is sent to it, or to fetch more.
const SILENCE: Duration = Duration::from_secs(60);
/// Largest message.
const LARGEST: usize = 1 << 20;
/// What is to be sent is sent as soon as there is so much of it.
const PIECE: usize = 64 << 10;
/// A statement has no more rows than these: more are refused, for a result that lacks some looks as one that does not.
const MOST_ROWS: usize = 1_000_000;
/// A connection has no more statements, or cursors, at a time,
const MOST_NAMES: usize = 1000;
/// nor more bytes of them and of their values.
const MOST_KEPT: usize = 8 << 20;

pub(super) trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}

impl<T: AsyncRead + AsyncWrite + Unpin + Send> Stream for T {}

/// A statement that was prepared.
#[derive(Debug)]
struct Prepared {
    sql: String,
    /// The types of its parameters; 0 where the client leaves them open.
    types: Vec<u32>,
    command: Option<Command>,
}

/// A statement with its values, and how far it is.
struct Portal {
    prepared: Arc<Prepared>,
    values: Vec<Parameter>,
    formats: Vec<i16>,
    /// Once it runs.
    columns: Vec<Column>,
    progress: Progress,
}

enum Progress {
    Ready,
    Running(Box<Statement>),
    Done,
    GivenUp,
}

/// A statement that runs.
struct Statement {
    columns: Vec<Column>,
    pieces: Sent,
    /// What came of its rows and is not sent yet.
    buffer: BytesMut,
    started: Instant,
    allowed: Duration,
    rows: usize,
    sql: String,
}

/// How rows are sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Style {
    Rows,
    Nothing,
    Copy { is_csv: bool },
}

/// Why what was asked has no answer.
pub(super) enum End {
    /// There is one, and it says what is wrong.
    Trouble(Trouble),
    /// The client has left, or cannot be understood.
    Gone(io::Error),
}

impl From<io::Error> for End {
    fn from(error: io::Error) -> End {
        End::Gone(error)
    }
}

impl From<Trouble> for End {
    fn from(trouble: Trouble) -> End {
        End::Trouble(trouble)
    }
}

pub(super) type Answered<T> = Result<T, End>;

/// Waits for something, and listens to the client meanwhile.
async fn watched<T>(
    stream: &mut Box<dyn Stream>,
    input: &mut BytesMut,
    stopped: &CancellationToken,
    until: tokio::time::Instant,
    future: impl Future<Output = T>,
) -> Answered<T> {
    tokio::pin!(future);
    loop {
        tokio::select! {
            outcome = &mut future => return Ok(outcome),
            () = stopped.cancelled() => return Err(Trouble::new("57014", "canceling statement due to user request").into()),
            () = tokio::time::sleep_until(until) => return Err(Trouble::new("57014", "canceling statement due to statement timeout").into()),
            read = stream.read_buf(input), if input.len() < LARGEST => {
                if read? == 0 {
                    return Err(gone().into());
                }
            }
        }
    }
}

pub(super) struct Connection {
    pub(super) postgres: Arc<Postgres>,
    pub(super) client: Client,
    pub(super) session: Session,
    pub(super) running: Arc<Running>,
    pub(super) number: i32,
    pub(super) stream: Box<dyn Stream>,
    pub(super) input: BytesMut,
    pub(super) output: BytesMut,
    prepared: HashMap<String, Option<Arc<Prepared>>>,
    portals: HashMap<String, Option<Portal>>,
}

impl Connection {
    pub(super) fn new(postgres: Arc<Postgres>, stream: Box<dyn Stream>, input: BytesMut, client: Client) -> Connection {
        Connection {
            client,
            session: Session::new(),
            running: Arc::default(),
            number: 0,
            stream,
            input,
            output: BytesMut::new(),
            prepared: HashMap::new(),
            portals: HashMap::new(),
            postgres,
        }
    }

    pub(super) fn say(&mut self, message: Message) {
        // Only a message that is too large has no place, and none here is.
        let _ = message.encode(&mut self.output);
    }

    pub(super) async fn send(&mut self) -> io::Result<()> {
        let sent = tokio::time::timeout(SILENCE, async {
            self.stream.write_all_buf(&mut self.output).await?;
            self.stream.flush().await
        });
        sent.await.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))?
    }

    pub(super) fn ready(&mut self) {
        self.say(Message::ReadyForQuery(ReadyForQuery::new(self.session.status)));
    }

    /// Answers one message after the other, until the client leaves or the server ends.
    pub(super) async fn serve(&mut self) -> Answered<()> {
        let mut context = DecodeContext::default();
        (context.awaiting_frontend_ssl, context.awaiting_frontend_startup) = (false, false);
        // After a mistake, what comes is left aside until the client says that it knows.
        let mut waits_for_sync = false;
        loop {
            let shutdown = self.postgres.app.shutdown.clone();
            let waits_for_client = self.portals.values().flatten().any(|portal| matches!(portal.progress, Progress::Running(_)));
            let asked = tokio::select! {
                asked = request(&mut self.stream, &mut self.input, &context, LARGEST) => asked,
                () = shutdown.cancelled() => {
                    return Err(Trouble::fatal("57P01", "terminating connection due to administrator command: the server ends").into());
                }
                () = tokio::time::sleep(SILENCE), if waits_for_client => {
                    self.give_up_cursors();
                    continue;
                }
            };
            let asked = match asked {
                Err(error) if error.kind() == io::ErrorKind::InvalidData => return Err(Trouble::fatal("08P01", error.to_string()).into()),
                asked => asked?,
            };
            if waits_for_sync && !matches!(asked, Request::Sync(_) | Request::Terminate(_)) {
                continue;
            }
            let outcome = match asked {
                Request::Query(query) => {
                    let outcome = self.simple(&query.query).await;
                    self.running.end();
                    if let Err(End::Trouble(trouble)) = outcome {
                        self.failed(&trouble);
                    } else {
                        outcome?;
                    }
                    if self.session.status == TransactionStatus::Idle {
                        self.portals.clear();
                    }
                    self.ready();
                    self.send().await?;
                    Ok(())
                }
                Request::Parse(parse) => self.parse(parse),
                Request::Bind(bind) => self.bind(bind),
                Request::Describe(describe) => self.describe(describe).await,
                Request::Execute(execute) => self.execute(execute.name.unwrap_or_default(), execute.max_rows).await,
                Request::Close(close) => {
                    let name = close.name.unwrap_or_default();
                    if close.target_type == TARGET_TYPE_BYTE_STATEMENT {
                        self.prepared.remove(&name);
                    } else {
                        self.portals.remove(&name);
                    }
                    self.say(Message::CloseComplete(CloseComplete::new()));
                    Ok(())
                }
                Request::Flush(_) => Ok(self.send().await?),
                Request::Sync(_) => {
                    waits_for_sync = false;
                    // Outside of a transaction, nothing outlives it.
                    if self.session.status == TransactionStatus::Idle {
                        self.portals.clear();
                    }
                    self.ready();
                    Ok(self.send().await?)
                }
                Request::Terminate(_) => return Ok(()),
                // A copy to the server that it does not know of yet that it was refused.
                Request::CopyData(_) | Request::CopyDone(_) | Request::CopyFail(_) => Ok(()),
                _ => return Err(Trouble::fatal("08P01", "a message that is not expected here").into()),
            };
            self.running.end();
            match outcome {
                Err(End::Trouble(trouble)) => {
                    self.failed(&trouble);
                    waits_for_sync = true;
                }
                other => other?,
            }
            if self.output.len() >= PIECE {
                self.send().await?;
            }
        }
    }

    /// Ends the statements of cursors of which nobody fetches: others wait for their places.
    fn give_up_cursors(&mut self) {
        for portal in self.portals.values_mut().flatten() {
            if matches!(portal.progress, Progress::Running(_)) {
                portal.progress = Progress::GivenUp;
            }
        }
    }

    fn failed(&mut self, trouble: &Trouble) {
        if self.session.status == TransactionStatus::Transaction {
            self.session.status = TransactionStatus::Error;
        }
        self.say(Message::ErrorResponse(trouble.info().into()));
    }

    /// In a transaction that has failed, only its end is possible.
    fn may_go_on(&self, command: Option<&Command>) -> Result<(), Trouble> {
        let is_end = matches!(command, Some(Command::Commit | Command::Rollback | Command::RollbackTo));
        if self.session.status == TransactionStatus::Error && !is_end {
            return Err(Trouble::new("25P02", "current transaction is aborted, commands ignored until end of transaction block"));
        }
        Ok(())
    }

    /// One text with any number of statements.
    async fn simple(&mut self, text: &str) -> Answered<()> {
        let statements = text::statements(text);
        if statements.is_empty() {
            self.say(Message::EmptyQueryResponse(EmptyQueryResponse::new()));
        }
        // With it end those that have no name.
        self.portals.remove("");
        for sql in statements {
            let command = command(sql)?;
            self.may_go_on(command.as_ref())?;
            match command {
                Some(command) => self.command(command, true).await?,
                None => {
                    let statement = self.start(sql, &[], Vec::new(), Vec::new()).await.map_err(|end| shifted(end, text, sql))?;
                    self.describe_rows(&statement.columns, &[]);
                    let rows = self.all(Box::new(statement), Style::Rows).await?;
                    self.complete(format!("SELECT {rows}"));
                }
            }
        }
        Ok(())
    }

    fn complete(&mut self, tag: impl Into<String>) {
        self.say(Message::CommandComplete(CommandComplete::new(tag.into())));
    }

    fn parse(&mut self, parse: Parse) -> Answered<()> {
        let name = parse.name.unwrap_or_default();
        let statements = text::statements(&parse.query);
        let sql = match statements[..] {
            [] => "",
            [one] => one,
            _ => return Err(Trouble::new("42601", "cannot insert multiple commands into a prepared statement").into()),
        };
        if !name.is_empty() && self.prepared.contains_key(&name) {
            return Err(Trouble::new("42P05", format!("prepared statement \"{name}\" already exists")).into());
        }
        self.has_room(sql.len())?;
        let prepared = if sql.is_empty() {
            None
        } else {
            let command = command(sql)?;
            self.may_go_on(command.as_ref())?;
            let types = text::pieces(sql).map_or_else(|| parse.type_oids.clone(), |pieces| text::types(&pieces, &parse.type_oids));
            Some(Arc::new(Prepared { sql: sql.to_owned(), types, command }))
        };
        self.prepared.insert(name, prepared);
        self.say(Message::ParseComplete(ParseComplete::new()));
        Ok(())
    }

    /// Whether so many bytes more may be kept of a client's.
    fn has_room(&self, more: usize) -> Result<(), Trouble> {
        let statements: usize = self.prepared.values().flatten().map(|prepared| prepared.sql.len()).sum();
        let values = self.portals.values().flatten().flat_map(|portal| portal.values.iter().flat_map(|value| &value.value));
        let cursors: usize = self.portals.values().flatten().map(|portal| portal.prepared.sql.len()).sum();
        let kept = statements + cursors + values.map(Vec::len).sum::<usize>() + more;
        if self.prepared.len().max(self.portals.len()) >= MOST_NAMES || kept > MOST_KEPT {
            let message =
                format!("a connection keeps at most {MOST_NAMES} statements or cursors, and {MOST_KEPT} bytes of them; close some");
            return Err(Trouble::new("54000", message));
        }
        Ok(())
    }

    fn prepared(&self, name: &str) -> Result<Option<Arc<Prepared>>, Trouble> {
        let found = self.prepared.get(name).cloned();
        found.ok_or_else(|| Trouble::new("26000", format!("prepared statement \"{name}\" does not exist")))
    }

    fn bind(&mut self, bind: Bind) -> Answered<()> {
        let prepared = self.prepared(bind.statement_name.as_deref().unwrap_or_default())?;
        let name = bind.portal_name.unwrap_or_default();
        self.has_room(bind.parameters.iter().flatten().map(Bytes::len).sum())?;
        let portal = match prepared {
            None => None,
            Some(prepared) => {
                self.may_go_on(prepared.command.as_ref())?;
                let (given, expected) = (bind.parameters.len(), prepared.types.len());
                if given != expected {
                    let message = format!("bind message supplies {given} parameters, but the prepared statement requires {expected}");
                    return Err(Trouble::new("08P01", message).into());
                }
                let formats = &bind.parameter_format_codes;
                let is_binary = |index: usize| formats.get(index).or(formats.first().filter(|_| formats.len() == 1)) == Some(&1);
                let values = bind.parameters.iter().enumerate().map(|(index, value)| Parameter {
                    oid: prepared.types.get(index).copied().unwrap_or_default(),
                    is_binary: is_binary(index),
                    value: value.as_ref().map(|bytes| bytes.to_vec()),
                });
                let values = values.collect();
                Some(Portal { prepared, values, formats: bind.result_column_format_codes, columns: Vec::new(), progress: Progress::Ready })
            }
        };
        self.portals.insert(name, portal);
        self.say(Message::BindComplete(BindComplete::new()));
        Ok(())
    }

    async fn describe(&mut self, describe: Describe) -> Answered<()> {
        let name = describe.name.unwrap_or_default();
        if describe.target_type == TARGET_TYPE_BYTE_STATEMENT {
            let Some(prepared) = self.prepared(&name)? else {
                self.say(Message::ParameterDescription(ParameterDescription::new(Vec::new())));
                self.say(Message::NoData(NoData::new()));
                return Ok(());
            };
            self.may_go_on(prepared.command.as_ref())?;
            let type_of = |index: usize| prepared.types.get(index).copied().filter(|oid| *oid != 0).unwrap_or(25);
            let types = (0..prepared.types.len()).map(type_of).collect();
            self.say(Message::ParameterDescription(ParameterDescription::new(types)));
            if let Some(command) = &prepared.command {
                return self.describe_command(command).await;
            }
            let unknown = |index: usize| Parameter { oid: type_of(index), is_binary: false, value: None };
            let values = (0..prepared.types.len()).map(unknown).collect();
            let wire = Wire { parameters: values, formats: Vec::new(), is_description: true };
            match self.begin(&prepared.sql, &prepared.types, wire).await {
                Ok(statement) => self.describe_rows(&statement.columns, &[]),
                // What has its columns by the values of its parameters tells them once it has these.
                Err(End::Trouble(trouble)) if !prepared.types.is_empty() && trouble.code == "22023" => {
                    self.say(Message::NoData(NoData::new()))
                }
                Err(end) => return Err(end),
            }
            return Ok(());
        }
        let Some(mut portal) = self.portal(&name)? else {
            self.say(Message::NoData(NoData::new()));
            self.portals.insert(name, None);
            return Ok(());
        };
        self.may_go_on(portal.prepared.command.as_ref())?;
        if let Some(command) = portal.prepared.command.clone() {
            self.describe_command(&command).await?;
        } else {
            self.run(&mut portal).await?;
            self.describe_rows(&portal.columns, &portal.formats);
        }
        self.portals.insert(name, Some(portal));
        Ok(())
    }

    /// Takes a portal out, so that one that fails is gone; `None` is one of an empty statement.
    fn portal(&mut self, name: &str) -> Result<Option<Portal>, Trouble> {
        let found = self.portals.remove(name);
        found.ok_or_else(|| Trouble::new("34000", format!("cursor \"{name}\" does not exist")))
    }

    fn describe_rows(&mut self, columns: &[Column], formats: &[i16]) {
        let format = |index: usize| formats.get(index).or(formats.first().filter(|_| formats.len() == 1)).copied().unwrap_or_default();
        let fields = columns.iter().enumerate().map(|(index, column)| {
            FieldDescription::new(column.name.clone(), 0, 0, column.oid, column.size, column.modifier, format(index))
        });
        self.say(Message::RowDescription(RowDescription::new(fields.collect())));
    }

    async fn describe_command(&mut self, command: &Command) -> Answered<()> {
        match command {
            Command::Fetch { name, is_move: false, .. } => return self.describe_cursor(name).await,
            Command::Show(name) => {
                let name = self.session.get(name).map_or(name.as_str(), |(name, _)| name).to_owned();
                self.describe_texts(&[&name]);
            }
            Command::ShowAll => self.describe_texts(&["name", "setting", "description"]),
            _ => self.say(Message::NoData(NoData::new())),
        }
        Ok(())
    }

    /// The columns of a cursor that was declared, which is started for them.
    async fn describe_cursor(&mut self, name: &str) -> Answered<()> {
        let Some(mut portal) = self.portal(name)? else {
            return Err(Trouble::new("34000", format!("cursor \"{name}\" does not exist")).into());
        };
        self.run(&mut portal).await?;
        self.describe_rows(&portal.columns, &portal.formats);
        self.portals.insert(name.to_owned(), Some(portal));
        Ok(())
    }

    fn describe_texts(&mut self, names: &[&str]) {
        let column = |name: &&str| Column { name: (*name).to_owned(), oid: 25, size: -1, modifier: -1 };
        let columns: Vec<Column> = names.iter().map(column).collect();
        self.describe_rows(&columns, &[]);
    }

    fn row_of_texts(&mut self, texts: &[&str]) {
        let length: usize = texts.iter().map(|text| text.len() + 4).sum();
        self.output.put_u8(b'D');
        self.output.put_u32(u32::try_from(length + 6).unwrap_or_default());
        self.output.put_u16(u16::try_from(texts.len()).unwrap_or_default());
        for text in texts {
            self.output.put_u32(u32::try_from(text.len()).unwrap_or_default());
            self.output.put_slice(text.as_bytes());
        }
    }

    async fn execute(&mut self, name: String, max_rows: i32) -> Answered<()> {
        let Some(mut portal) = self.portal(&name)? else {
            self.say(Message::EmptyQueryResponse(EmptyQueryResponse::new()));
            self.portals.insert(name, None);
            return Ok(());
        };
        self.may_go_on(portal.prepared.command.as_ref())?;
        if let Some(command) = portal.prepared.command.clone() {
            let (types, values) = (portal.prepared.types.clone(), portal.values.clone());
            self.portals.insert(name, Some(portal));
            return match command {
                Command::Declare { name, is_binary, query } => self.declare(name, is_binary, query, types, values),
                command => self.command(command, false).await,
            };
        }
        let most = usize::try_from(max_rows).ok().filter(|most| *most > 0);
        let (rows, is_done) = self.fetch(&mut portal, most, Style::Rows).await?;
        self.portals.insert(name, Some(portal));
        if is_done {
            self.complete(format!("SELECT {rows}"));
        } else {
            self.say(Message::PortalSuspended(PortalSuspended::new()));
        }
        Ok(())
    }

    /// Starts the statement of a portal, unless it was.
    async fn run(&mut self, portal: &mut Portal) -> Answered<()> {
        if matches!(portal.progress, Progress::Ready) {
            let prepared = &portal.prepared;
            let statement = self.start(&prepared.sql, &prepared.types, portal.values.clone(), portal.formats.clone()).await?;
            portal.columns.clone_from(&statement.columns);
            portal.progress = Progress::Running(Box::new(statement));
        }
        Ok(())
    }

    /// Some rows of a portal: how many, and whether these were the last.
    async fn fetch(&mut self, portal: &mut Portal, most: Option<usize>, style: Style) -> Answered<(usize, bool)> {
        self.run(portal).await?;
        if matches!(portal.progress, Progress::GivenUp) {
            let message = format!("the cursor was closed, for nothing was fetched from it in {} s and others waited", SILENCE.as_secs());
            return Err(Trouble::new("57014", message).into());
        }
        // What fails is not tried again.
        let Progress::Running(mut statement) = std::mem::replace(&mut portal.progress, Progress::Done) else { return Ok((0, true)) };
        let outcome = self.rows(&mut statement, most, style).await;
        if let Ok((rows, true)) = outcome {
            self.ended(&statement, None);
            return Ok((rows, true));
        }
        match outcome {
            Ok(sent) => {
                portal.progress = Progress::Running(statement);
                Ok(sent)
            }
            Err(end) => {
                if let End::Trouble(trouble) = &end {
                    self.ended(&statement, Some(trouble));
                }
                Err(end)
            }
        }
    }

    /// All rows of a statement.
    async fn all(&mut self, mut statement: Box<Statement>, style: Style) -> Answered<usize> {
        let outcome = self.rows(&mut statement, None, style).await;
        match &outcome {
            Ok(_) => self.ended(&statement, None),
            Err(End::Trouble(trouble)) => self.ended(&statement, Some(trouble)),
            Err(End::Gone(_)) => self.ended(&statement, Some(&Trouble::new("08006", "the client left"))),
        }
        Ok(outcome?.0)
    }

    async fn start(&mut self, sql: &str, types: &[u32], parameters: Vec<Parameter>, formats: Vec<i16>) -> Answered<Statement> {
        self.begin(sql, types, Wire { parameters, formats, is_description: false }).await
    }

    /// Starts a statement, which counts as a request.
    async fn begin(&mut self, sql: &str, types: &[u32], wire: Wire) -> Answered<Statement> {
        let started = Instant::now();
        let outcome = self.begun(started, sql, types, wire).await;
        if let Err(End::Trouble(trouble)) = &outcome {
            self.log(started, 0, Some(trouble));
        }
        outcome
    }

    async fn begun(&mut self, started: Instant, sql: &str, types: &[u32], wire: Wire) -> Answered<Statement> {
        let app = Arc::clone(&self.postgres.app);
        app.limits.check(&self.client.name).map_err(Trouble::from)?;
        app.settings.look(&app.market).await;
        if sql.len() > LONGEST_STATEMENT {
            return Err(Trouble::new("54000", format!("a statement must have at most {LONGEST_STATEMENT} bytes, got {}", sql.len())).into());
        }
        let allowed = self.session.timeout().map_or(app.allowed(), |asked| asked.min(app.allowed()));
        let translated = text::translated(sql, types);
        let form = Form::Messages(wire);
        let stopped = self.running.begin();
        let until = tokio::time::Instant::now() + allowed;
        let start = query::start(&app, allowed, translated.clone(), form, MOST_ROWS);
        let answered = watched(&mut self.stream, &mut self.input, &stopped, until, start).await?.map_err(Trouble::from)?;
        // Places in a statement that was put into another dialect are none in the client's.
        let sql = if translated == sql { translated } else { String::new() };
        match answered.reply {
            Reply::Columns { columns } => {
                Ok(Statement { columns, pieces: answered.pieces, buffer: BytesMut::new(), started, allowed, rows: 0, sql })
            }
            Reply::Failed { why, message } => Err(Trouble::of_failure(why, message, allowed.as_secs(), &sql).into()),
            Reply::Rows { .. } => Err(Trouble::new("XX000", "rows without columns").into()),
        }
    }

    /// Sends rows, as they come: how many, and whether these were the last.
    async fn rows(&mut self, statement: &mut Statement, most: Option<usize>, style: Style) -> Answered<(usize, bool)> {
        let stopped = self.running.begin();
        let until = tokio::time::Instant::from_std(statement.started) + statement.allowed;
        let mut sent = 0;
        loop {
            while let Some(length) = whole_message(&statement.buffer) {
                if most.is_some_and(|most| sent >= most) {
                    return Ok((sent, false));
                }
                let message = statement.buffer.split_to(length);
                if message[0] == b'E' {
                    return match serde_json::from_slice(&message[5..]) {
                        Ok(Reply::Rows { .. }) => Ok((sent, true)),
                        Ok(Reply::Failed { why, message }) => {
                            Err(Trouble::of_failure(why, message, statement.allowed.as_secs(), &statement.sql).into())
                        }
                        _ => Err(Trouble::new("XX000", "the statement's end cannot be read").into()),
                    };
                }
                match style {
                    Style::Rows => self.output.put_slice(&message),
                    Style::Nothing => {}
                    Style::Copy { is_csv } => copied(&message, is_csv, &mut self.output),
                }
                sent += 1;
                statement.rows += 1;
                if self.output.len() >= PIECE {
                    self.send().await?;
                }
            }
            let next = watched(&mut self.stream, &mut self.input, &stopped, until, statement.pieces.next()).await?;
            match next {
                Some(Ok(piece)) => statement.buffer.extend_from_slice(&piece),
                _ if tokio::time::Instant::now() >= until => {
                    return Err(Trouble::new("57014", "canceling statement due to statement timeout").into());
                }
                _ => {
                    let message =
                        "the statement ended the process that ran it, as one does that takes too much memory; nothing else was harmed";
                    return Err(Trouble::new("53200", message).into());
                }
            }
        }
    }

    fn ended(&self, statement: &Statement, trouble: Option<&Trouble>) {
        self.log(statement.started, statement.rows, trouble);
    }

    /// A line for each statement, without the statement, which may hold what nobody should read later.
    fn log(&self, started: Instant, rows: usize, trouble: Option<&Trouble>) {
        let elapsed = started.elapsed();
        let milliseconds = elapsed.as_secs_f64() * 1000.0;
        let code = trouble.map_or("00000", |trouble| trouble.code);
        let client = &self.client.name;
        match trouble {
            Some(Trouble { for_the_log: Some(cause), .. }) => {
                tracing::error!(protocol = "postgres", client, code, milliseconds, cause);
            }
            Some(trouble) => tracing::info!(protocol = "postgres", client, code, milliseconds, rows, detail = trouble.message),
            None => tracing::info!(protocol = "postgres", client, code, milliseconds, rows),
        }
        metrics::counter!("stockscan_postgres_statements_total", "code" => code).increment(1);
        metrics::histogram!("stockscan_postgres_statement_duration_seconds").record(elapsed.as_secs_f64());
    }

    /// What is done without the database. `is_simple`: whether rows are described here.
    async fn command(&mut self, command: Command, is_simple: bool) -> Answered<()> {
        match command {
            Command::Begin(tag) => {
                self.session.status = TransactionStatus::Transaction;
                self.complete(tag);
            }
            Command::Commit | Command::Rollback => {
                let is_kept = command == Command::Commit && self.session.status != TransactionStatus::Error;
                self.session.status = TransactionStatus::Idle;
                self.portals.clear();
                self.complete(if is_kept { "COMMIT" } else { "ROLLBACK" });
            }
            Command::RollbackTo => {
                if self.session.status == TransactionStatus::Idle {
                    return Err(Trouble::new("25P01", "ROLLBACK TO SAVEPOINT can only be used in transaction blocks").into());
                }
                self.session.status = TransactionStatus::Transaction;
                self.complete("ROLLBACK");
            }
            Command::Savepoint(tag) => {
                if self.session.status == TransactionStatus::Idle {
                    return Err(Trouble::new("25P01", format!("{tag} can only be used in transaction blocks")).into());
                }
                self.complete(tag);
            }
            Command::Set(name, value) => {
                if let Some((name, value)) = self.session.set(&name, value.as_deref())? {
                    self.say(Message::ParameterStatus(ParameterStatus::new(name, value)));
                }
                self.complete("SET");
            }
            Command::ResetAll => {
                self.session.reset();
                self.complete("RESET");
            }
            Command::Nothing(tag) => self.complete(tag),
            Command::Show(name) => {
                let found = self.session.get(&name).map(|(name, value)| (name.to_owned(), value.to_owned()));
                let Some((name, value)) = found else {
                    return Err(Trouble::new("42704", format!("unrecognized configuration parameter \"{name}\"")).into());
                };
                if is_simple {
                    self.describe_texts(&[&name]);
                }
                self.row_of_texts(&[&value]);
                self.complete("SHOW");
            }
            Command::ShowAll => {
                if is_simple {
                    self.describe_texts(&["name", "setting", "description"]);
                }
                let all: Vec<_> = self.session.all().into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
                for (name, value) in &all {
                    self.row_of_texts(&[name, value, ""]);
                }
                self.complete("SHOW");
            }
            Command::Discard => {
                self.session.reset();
                self.prepared.clear();
                self.portals.clear();
                self.complete("DISCARD ALL");
            }
            Command::Deallocate(name) => {
                match name {
                    Some(name) => drop(self.prepared.remove(&name)),
                    None => self.prepared.clear(),
                }
                self.complete("DEALLOCATE");
            }
            Command::Close(name) => {
                match name {
                    Some(name) => drop(self.portal(&name)?),
                    None => self.portals.clear(),
                }
                self.complete("CLOSE CURSOR");
            }
            Command::Declare { name, is_binary, query } => self.declare(name, is_binary, query, Vec::new(), Vec::new())?,
            Command::Fetch { name, count, is_move } => {
                if is_simple && !is_move {
                    self.describe_cursor(&name).await?;
                }
                let Some(mut portal) = self.portal(&name)? else {
                    return Err(Trouble::new("34000", format!("cursor \"{name}\" does not exist")).into());
                };
                let (rows, _) = self.fetch(&mut portal, count, if is_move { Style::Nothing } else { Style::Rows }).await?;
                self.portals.insert(name, Some(portal));
                self.complete(format!("{} {rows}", if is_move { "MOVE" } else { "FETCH" }));
            }
            Command::Copy { query, is_csv, has_header } => self.copy(&query, is_csv, has_header).await?,
        }
        Ok(())
    }

    /// A cursor over a query, with the values of its parameters.
    fn declare(&mut self, name: String, is_binary: bool, query: String, types: Vec<u32>, values: Vec<Parameter>) -> Answered<()> {
        if self.session.status == TransactionStatus::Idle {
            return Err(Trouble::new("25P01", "DECLARE CURSOR can only be used in transaction blocks").into());
        }
        if self.portals.contains_key(&name) {
            return Err(Trouble::new("42P03", format!("cursor \"{name}\" already exists")).into());
        }
        self.has_room(query.len())?;
        let prepared = Arc::new(Prepared { sql: query, types, command: None });
        let formats = if is_binary { vec![1] } else { Vec::new() };
        let portal = Portal { prepared, values, formats, columns: Vec::new(), progress: Progress::Ready };
        self.portals.insert(name, Some(portal));
        self.complete("DECLARE CURSOR");
        Ok(())
    }

    async fn copy(&mut self, query: &str, is_csv: bool, has_header: bool) -> Answered<()> {
        let statement = self.start(query, &[], Vec::new(), Vec::new()).await?;
        let columns = i16::try_from(statement.columns.len()).unwrap_or(i16::MAX);
        self.say(Message::CopyOutResponse(CopyOutResponse::new(0, columns, vec![0; statement.columns.len()])));
        if has_header {
            let names: Vec<String> = statement.columns.iter().map(|column| in_csv(&column.name)).collect();
            copy_data(&(names.join(",") + "\n"), &mut self.output);
        }
        let rows = self.all(Box::new(statement), Style::Copy { is_csv }).await?;
        self.say(Message::CopyDone(CopyDone::new()));
        self.complete(format!("COPY {rows}"));
        Ok(())
    }
}

/// Places are counted from the beginning of the whole text.
fn shifted(end: End, text: &str, sql: &str) -> End {
    let before = sql.as_ptr() as usize - text.as_ptr() as usize;
    match end {
        End::Trouble(trouble) => {
            let position = trouble.position.map(|position| position + text[..before].chars().count());
            End::Trouble(Trouble { position, ..trouble })
        }
        gone => gone,
    }
}
