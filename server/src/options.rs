//! How a server is started.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use stockscan_configuration::{Configuration, Sources};

/// How a server is started.
#[derive(Debug, Clone)]
pub struct Options {
    /// Where it listens. One that others can reach needs a key.
    pub address: SocketAddr,
    /// The database with the bars, and how it is opened.
    pub database: stockscan_engine::Options,
    /// Length of the bars.
    pub bar_minutes: u32,
    /// The history of scans.
    pub state: PathBuf,
    /// What the files and variables say when the server starts.
    pub configuration: Configuration,
    /// These files and variables. A file that changes is read again.
    pub sources: Sources,
    /// The file with the keys of the clients; it need not exist.
    pub keys: PathBuf,
    /// Whether and how the protocol of PostgreSQL is spoken.
    pub postgres: Option<PostgresOptions>,
    /// Whether strangers may send statements of their own over HTTP.
    pub enable_query: bool,
    /// Pages of these origins may ask, as in `https://example.com`; pages of this server always may.
    pub origins: Vec<String>,
    /// Requests a second that one client may make, on average; `None`: as many as it likes.
    pub rate_limit: Option<u32>,
    /// How many requests work on the database at a time.
    pub workers: usize,
    /// How many connections are open at a time.
    pub max_connections: usize,
    /// Largest body of a request to take bars in, in bytes.
    pub max_ingest_bytes: usize,
    /// How long a backtest or an optimisation may take.
    pub job_timeout: Duration,
    /// How long a shutdown waits for what is going on.
    pub grace: Duration,
}

/// How the protocol of PostgreSQL is spoken.
#[derive(Debug, Clone)]
pub struct PostgresOptions {
    /// The port, at the address of HTTP; 0: any that is free.
    pub port: u16,
    /// What makes it secret; `None`: nothing, so that only this machine can have it.
    pub tls: Option<Tls>,
}

/// Files in PEM.
#[derive(Debug, Clone)]
pub struct Tls {
    /// The certificate, and those between it and its root.
    pub certificate: PathBuf,
    /// Its private key.
    pub key: PathBuf,
}
