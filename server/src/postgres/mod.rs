//! The protocol of PostgreSQL: for whoever has a driver for that and none for DuckDB. Statements take the same way as those over HTTP: the same
//! keys, checks and limits, and each in a process of its own.

mod answer;
mod connection;
mod errors;
mod messages;
mod session;
mod startup;
mod text;
mod types;

use std::{
    collections::HashMap,
    io,
    net::{IpAddr, SocketAddr},
    path::Path,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

pub(crate) use answer::{Wire, answer_in_messages};
use bytes::Bytes;
use stockscan_engine::{Error, Result};
use tokio::{net::TcpListener, sync::Semaphore};
use tokio_rustls::{
    TlsAcceptor,
    rustls::{
        ServerConfig,
        pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    },
};
use tokio_util::sync::CancellationToken;
pub(crate) use types::Column;

use crate::{app::App, options::PostgresOptions};

/// After an error that is not a connection's, such as too many open files.
const PAUSE: Duration = Duration::from_millis(50);

/// What the connections share.
pub(crate) struct Postgres {
    app: Arc<App>,
    tls: Option<TlsAcceptor>,
    /// Who may have what stopped: the secret of each connection, by its number.
    sessions: Mutex<HashMap<i32, (Bytes, Arc<Running>)>>,
}

/// What a connection is doing, so that it can be stopped.
#[derive(Debug, Default)]
pub(crate) struct Running(Mutex<Option<CancellationToken>>);

impl Running {
    /// Begins something that can be stopped.
    fn begin(&self) -> CancellationToken {
        let token = CancellationToken::new();
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(token.clone());
        token
    }

    fn end(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    fn cancel(&self) {
        if let Some(token) = &*self.0.lock().unwrap_or_else(PoisonError::into_inner) {
            token.cancel();
        }
    }
}

/// Reads what TLS needs.
///
/// # Errors
/// [`Error::File`], [`Error::Invalid`] for files that hold something else.
fn acceptor(certificate: &Path, key: &Path) -> Result<TlsAcceptor> {
    let told = |path: &Path, error: &dyn std::fmt::Display, expected: &str| {
        Error::Invalid(format!("{}: {error}; expected {expected} in PEM", path.display()))
    };
    let certificates: Vec<_> = CertificateDer::pem_file_iter(certificate)
        .and_then(Iterator::collect)
        .map_err(|error| told(certificate, &error, "the server's certificate and those between it and its root"))?;
    let private = PrivateKeyDer::from_pem_file(key).map_err(|error| told(key, &error, "the private key of the certificate"))?;
    let mut settings = ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(certificates, private)
        .map_err(|error| told(certificate, &error, "a certificate that belongs to the key"))?;
    settings.alpn_protocols = vec![b"postgresql".to_vec()];
    Ok(TlsAcceptor::from(Arc::new(settings)))
}

impl PostgresOptions {
    /// Listens where HTTP does, at a port of its own.
    ///
    /// # Errors
    /// [`Error::Output`] if the address cannot be listened at, and as [`acceptor`].
    pub(crate) async fn listener(&self, http: SocketAddr) -> Result<(TcpListener, Option<TlsAcceptor>)> {
        let tls = self.tls.as_ref().map(|tls| acceptor(&tls.certificate, &tls.key)).transpose()?;
        let address = SocketAddr::new(http.ip(), self.port);
        let listener = TcpListener::bind(address).await.map_err(|error| {
            io::Error::new(error.kind(), format!("{address} cannot be listened at: {error}; --postgres-port names another port"))
        })?;
        Ok((listener, tls))
    }
}

/// Serves connections until the server is to end, and then those that have something running for at most the grace.
pub(crate) async fn serve(app: Arc<App>, listener: TcpListener, tls: Option<TlsAcceptor>) {
    let connections = Arc::new(Semaphore::new(app.options.max_connections));
    let refusals = Arc::new(Semaphore::new(app.options.max_connections));
    let postgres = Arc::new(Postgres { app: Arc::clone(&app), tls, sessions: Mutex::default() });
    loop {
        let (stream, peer) = tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok(accepted) => accepted,
                Err(error) if crate::listen::is_of_connection(&error) => continue,
                Err(error) => {
                    tracing::warn!(%error, "a connection could not be accepted");
                    tokio::time::sleep(PAUSE).await;
                    continue;
                }
            },
            () = app.shutdown.cancelled() => break,
        };
        let _ = stream.set_nodelay(true);
        let (permit, has_room) = match Arc::clone(&connections).try_acquire_owned() {
            Ok(permit) => (permit, true),
            Err(_) => {
                metrics::counter!("stockscan_connections_refused_total").increment(1);
                // Requests to stop something come as connections of their own, and what they stop may be all that fills the place.
                let Ok(permit) = Arc::clone(&refusals).try_acquire_owned() else { continue };
                (permit, false)
            }
        };
        let postgres = Arc::clone(&postgres);
        tokio::spawn(async move {
            // A client that breaks off is nobody's mistake.
            let _ = startup::welcome(postgres, stream, peer, has_room).await;
            drop(permit);
        });
    }
    drop(listener);
    let all = u32::try_from(app.options.max_connections).unwrap_or(u32::MAX);
    if tokio::time::timeout(app.options.grace, connections.acquire_many(all)).await.is_err() {
        tracing::warn!("some statements were broken off");
    }
}

impl Postgres {
    /// Whether a key may be sent over this connection as it is.
    fn may_tell_key(is_secure: bool, peer: IpAddr) -> bool {
        is_secure || peer.to_canonical().is_loopback()
    }

    /// Stops what a connection is doing.
    fn cancel(&self, number: i32, secret: &[u8]) {
        use subtle::ConstantTimeEq;
        let sessions = self.sessions.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((own, running)) = sessions.get(&number)
            && bool::from(own.as_ref().ct_eq(secret))
        {
            running.cancel();
        }
    }
}
