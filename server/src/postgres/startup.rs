//! How a connection begins: in secret or not, who it is, what it is set to.

use std::{
    io,
    net::SocketAddr,
    sync::{Arc, PoisonError},
    time::Duration,
};

use bytes::{Bytes, BytesMut};
use pgwire::messages::{
    DecodeContext, PgWireBackendMessage as Message, PgWireFrontendMessage as Request, ProtocolVersion, SslNegotiationMetaMessage,
    startup::{Authentication, BackendKeyData, NegotiateProtocolVersion, ParameterStatus, SecretKey, Startup},
};
use tokio::{io::AsyncWriteExt, net::TcpStream};
use uuid::Uuid;

use super::{
    Postgres,
    connection::{Answered, Connection, End, Stream},
    errors::Trouble,
    messages::{gone, request},
};
use crate::auth::{Client, Role};

/// So long a client has to say who it is.
const PATIENCE: Duration = Duration::from_secs(30);
/// Largest message of one who is not known yet.
const LARGEST: usize = 10_000;

/// Finds out what a client wants, lets it in if it may come in, and answers it.
pub(super) async fn welcome(postgres: Arc<Postgres>, mut stream: TcpStream, peer: SocketAddr, has_room: bool) -> io::Result<()> {
    let until = tokio::time::Instant::now() + PATIENCE;
    let mut input = BytesMut::new();
    let mut first = [0];
    tokio::time::timeout_at(until, stream.peek(&mut first)).await.map_err(|_| gone())??;
    let mut wants_tls = first == [0x16];
    while !wants_tls {
        let context = DecodeContext::default();
        let asked = tokio::time::timeout_at(until, request(&mut stream, &mut input, &context, LARGEST)).await;
        match asked.map_err(|_| gone())?? {
            Request::SslNegotiation(SslNegotiationMetaMessage::PostgresSsl(_)) => {
                wants_tls = postgres.tls.is_some();
                stream.write_all(if wants_tls { b"S" } else { b"N" }).await?;
                // What was sent before it was secret could be anybody's.
                if wants_tls && !input.is_empty() {
                    return Ok(());
                }
            }
            Request::SslNegotiation(SslNegotiationMetaMessage::PostgresGss(_)) => stream.write_all(b"N").await?,
            _ => break,
        }
    }
    let stream: Box<dyn Stream> = match &postgres.tls {
        Some(tls) if wants_tls => Box::new(tokio::time::timeout_at(until, tls.accept(stream)).await.map_err(|_| gone())??),
        _ if wants_tls => return Ok(()),
        _ => Box::new(stream),
    };
    let client = Client { name: peer.ip().to_string(), role: Role::Read };
    let mut connection = Connection::new(postgres, stream, input, client);
    let admitted = tokio::time::timeout_at(until, connection.admit(peer, wants_tls, has_room)).await;
    let outcome = match admitted {
        Ok(Ok(true)) => connection.serve().await,
        Ok(Ok(false)) | Err(_) => Ok(()),
        Ok(Err(end)) => Err(end),
    };
    connection.postgres.sessions.lock().unwrap_or_else(PoisonError::into_inner).remove(&connection.number);
    match outcome {
        Ok(()) => connection.stream.shutdown().await,
        Err(End::Trouble(trouble)) => {
            tracing::info!(
                client = connection.client.name,
                code = trouble.code,
                detail = trouble.message,
                "a connection was refused or ended"
            );
            connection.say(Message::ErrorResponse(trouble.info().into()));
            connection.send().await?;
            connection.stream.shutdown().await
        }
        Err(End::Gone(error)) => Err(error),
    }
}

impl Connection {
    /// Whether it may come in; it has left where it may not but nothing is wrong.
    async fn admit(&mut self, peer: SocketAddr, is_secure: bool, has_room: bool) -> Answered<bool> {
        let mut context = DecodeContext::default();
        context.awaiting_frontend_ssl = false;
        let startup = match request(&mut self.stream, &mut self.input, &context, LARGEST).await {
            Ok(Request::CancelRequest(cancel)) => {
                self.postgres.cancel(cancel.pid, &cancel.secret_key.to_bytes());
                return Ok(false);
            }
            Ok(Request::Startup(startup)) => startup,
            Ok(_) => return Err(Trouble::fatal("08P01", "expected a startup message").into()),
            Err(error) if error.kind() == io::ErrorKind::InvalidData => return Err(Trouble::fatal("08P01", error.to_string()).into()),
            Err(error) => return Err(error.into()),
        };
        if !has_room {
            return Err(Trouble::fatal("53300", "sorry, too many clients already").with_hint("--max-connections says how many.").into());
        }
        let version = self.negotiate(&startup);
        context.awaiting_frontend_startup = false;
        context.protocol_version = version;
        self.client = self.known(peer, is_secure, &context).await?;
        self.client.needs(Role::Read).map_err(|problem| Trouble::fatal("42501", problem.detail))?;
        self.begin_session(&startup)?;
        self.say(Message::Authentication(Authentication::Ok));
        let reported: Vec<_> = self.session.reported().into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
        for (name, value) in reported {
            self.say(Message::ParameterStatus(ParameterStatus::new(name, value)));
        }
        let (number, random) = (Uuid::new_v4().as_u128(), Uuid::new_v4());
        self.number = (number & 0x7fff_ffff) as i32;
        let secret = match version {
            ProtocolVersion::PROTOCOL3_0 => SecretKey::I32((number >> 32) as i32),
            _ => SecretKey::Bytes(Bytes::copy_from_slice(random.as_bytes())),
        };
        let mine = (secret.to_bytes(), Arc::clone(&self.running));
        self.postgres.sessions.lock().unwrap_or_else(PoisonError::into_inner).insert(self.number, mine);
        self.say(Message::BackendKeyData(BackendKeyData::new(self.number, secret)));
        self.ready();
        self.send().await?;
        Ok(true)
    }

    /// The settings that a client begins with: by their names, or in `options` as `-c name=value`.
    fn begin_session(&mut self, startup: &Startup) -> Result<(), Trouble> {
        let options = startup.parameters.get("options").map_or("", String::as_str).replace(" -c ", " -c").replace("-c ", "-c");
        let options = options.split_whitespace().filter_map(|option| {
            let (name, value) = option.strip_prefix("-c").or(option.strip_prefix("--"))?.split_once('=')?;
            Some((name.to_owned(), value.to_owned()))
        });
        let named = startup.parameters.iter().map(|(name, value)| (name.clone(), value.clone()));
        for (name, value) in named.chain(options).filter(|(name, _)| !["user", "database", "options"].contains(&name.as_str())) {
            match self.session.set(&name, Some(&value)) {
                // What there is not was of no use before either.
                Ok(_) | Err(Trouble { code: "42704", .. }) => {}
                Err(trouble) => return Err(Trouble { is_fatal: true, ..trouble }),
            }
        }
        Ok(())
    }

    /// Agrees on the version of the protocol.
    fn negotiate(&mut self, startup: &Startup) -> ProtocolVersion {
        let asked = ProtocolVersion::from_version_number(startup.protocol_number_major, startup.protocol_number_minor);
        let version = match asked {
            Some(version) => version,
            None if startup.protocol_number_minor > 2 => ProtocolVersion::PROTOCOL3_2,
            None => ProtocolVersion::PROTOCOL3_0,
        };
        let unknown: Vec<String> = startup.parameters.keys().filter(|name| name.starts_with("_pq_.")).cloned().collect();
        if asked.is_none() || !unknown.is_empty() {
            let (major, minor) = version.version_number();
            let newest = i32::from(major) << 16 | i32::from(minor);
            self.say(Message::NegotiateProtocolVersion(NegotiateProtocolVersion::new(newest, unknown)));
        }
        version
    }

    /// Who it is, by its key.
    async fn known(&mut self, peer: SocketAddr, is_secure: bool, context: &DecodeContext) -> Answered<Client> {
        let name = peer.ip().to_string();
        if self.postgres.app.keys.are_none() {
            return Ok(Client { name, role: Role::Admin });
        }
        if !Postgres::may_tell_key(is_secure, peer.ip()) {
            let trouble = Trouble::fatal("28000", "a key is only taken over TLS here, so that nobody else reads it");
            return Err(trouble.with_hint("Connect with sslmode=require, or verify-full.").into());
        }
        self.say(Message::Authentication(Authentication::CleartextPassword));
        self.send().await?;
        let given = match request(&mut self.stream, &mut self.input, context, LARGEST).await? {
            Request::PasswordMessageFamily(given) => given.into_password().map_err(|error| Trouble::fatal("08P01", error.to_string()))?,
            _ => return Err(Trouble::fatal("08P01", "expected a password").into()),
        };
        // Wrong keys count as well, so that nobody can try many.
        match self.postgres.app.keys.find(&given.password) {
            Some(client) => Ok(client),
            None => {
                self.postgres.app.limits.check(&name).map_err(|problem| Trouble { is_fatal: true, ..problem.into() })?;
                let trouble = Trouble::fatal("28P01", "the password is none of this server's keys");
                Err(trouble.with_hint("The password is a key as 'scanner key add NAME' prints it; the user's name may be any.").into())
            }
        }
    }
}
