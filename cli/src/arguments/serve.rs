//! Options of `scanner serve` and `scanner key`.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};

use super::{Output, whole};

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  scanner serve
  scanner serve --postgres-port 5433
  scanner serve --port 9000 --enable-query --allow-origin https://example.com
  scanner serve --host 0.0.0.0 --rate-limit 50 --log-format json

An address that others can reach needs a key: see 'scanner key add --help'.")]
pub(crate) struct Serve {
    /// Address to listen at [default: api.host of the configuration: localhost]
    #[arg(long)]
    pub(crate) host: Option<String>,
    /// Port to listen at; 0: any that is free [default: api.port of the configuration: 8000]
    #[arg(long)]
    pub(crate) port: Option<u16>,
    /// File with the keys of clients [default: api_keys.json beside the history]
    #[arg(long, env = "STOCKSCAN_KEYS", value_name = "FILE")]
    pub(crate) keys: Option<PathBuf>,
    /// Let clients send SQL of their own over HTTP, which can only read
    #[arg(long)]
    pub(crate) enable_query: bool,
    /// Port at which to speak the protocol of PostgreSQL, too; 0: any that is free [default: api.postgres_port of the configuration: none]
    #[arg(long, value_name = "PORT")]
    pub(crate) postgres_port: Option<u16>,
    /// File with the certificate for connections of PostgreSQL's clients, in PEM
    #[arg(long, value_name = "FILE", env = "STOCKSCAN_POSTGRES_TLS_CERTIFICATE", requires = "postgres_tls_key")]
    pub(crate) postgres_tls_certificate: Option<PathBuf>,
    /// File with the private key of that certificate
    #[arg(long, value_name = "FILE", env = "STOCKSCAN_POSTGRES_TLS_KEY", requires = "postgres_tls_certificate")]
    pub(crate) postgres_tls_key: Option<PathBuf>,
    /// Let pages of this origin ask; may be given several times
    #[arg(long, value_name = "ORIGIN")]
    pub(crate) allow_origin: Vec<String>,
    /// Requests a second of one client [default: as many as it likes on this machine, else 100]
    #[arg(long, value_name = "COUNT", value_parser = whole::<u32>(1, 1_000_000))]
    pub(crate) rate_limit: Option<u32>,
    /// Requests that work on the database at a time [default: two for each processor]
    #[arg(long, value_name = "COUNT", value_parser = whole::<u32>(1, 1024))]
    pub(crate) workers: Option<u32>,
    /// Connections that are open at a time
    #[arg(long, value_name = "COUNT", default_value_t = 4096, value_parser = whole::<u32>(1, 1_000_000))]
    pub(crate) max_connections: u32,
    /// Largest body with bars, in MiB
    #[arg(long, value_name = "MIB", default_value_t = 64, value_parser = whole::<u32>(1, 4096))]
    pub(crate) max_ingest: u32,
    /// Seconds that a backtest or an optimisation may take
    #[arg(long, value_name = "SECONDS", default_value_t = 3600, value_parser = whole::<u32>(1, 86_400))]
    pub(crate) job_timeout: u32,
    /// Seconds that a shutdown waits for what is going on
    #[arg(long, value_name = "SECONDS", default_value_t = 10, value_parser = whole::<u32>(0, 3600))]
    pub(crate) grace: u32,
    /// How the log on standard error is written
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    pub(crate) log_format: LogFormat,
}

/// How a log is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogFormat {
    /// For people
    Text,
    /// An object a line
    Json,
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  scanner key add laptop --role read
  scanner key add feeder --role ingest
  scanner key list
  scanner key remove laptop")]
pub(crate) struct Key {
    /// File with the keys of clients [default: api_keys.json beside the history]
    #[arg(long, global = true, env = "STOCKSCAN_KEYS", value_name = "FILE")]
    pub(crate) keys: Option<PathBuf>,
    #[command(subcommand)]
    pub(crate) action: KeyAction,
}

#[derive(Debug, Subcommand)]
pub(crate) enum KeyAction {
    /// Make a key and print it, this once: only its hash is kept
    #[command(after_help = "Example:\n  scanner key add dashboard --role read")]
    Add {
        /// Whose it is
        name: String,
        /// What it allows
        #[arg(long, default_value = "read")]
        role: RoleName,
    },
    /// List the keys: names, roles, since when
    #[command(after_help = "Example:\n  scanner key list --format json")]
    List {
        #[command(flatten)]
        output: Output,
    },
    /// Remove a key
    #[command(after_help = "Example:\n  scanner key remove old")]
    Remove {
        /// Whose it is
        name: String,
    },
}

/// What a key allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum RoleName {
    /// Scans, backtests, statements
    Read,
    /// Taking bars in, and nothing else
    Ingest,
    /// All
    Admin,
}
