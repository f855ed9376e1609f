//! `scanner serve`

use std::{
    net::{SocketAddr, ToSocketAddrs},
    path::PathBuf,
    thread,
    time::Duration,
};

use stockscan_configuration::Sources;
use stockscan_engine::{Error, Options as DatabaseOptions, Result};
use stockscan_server::{Keys, Options, PREFIX, PostgresOptions, Tls};
use tracing_subscriber::{EnvFilter, fmt};

use super::{Access, database, options, own_scanners};
use crate::arguments::{Global, LogFormat, Serve};

/// Requests a second of one client, where others can reach the server.
const USUAL_RATE: u32 = 100;

pub(crate) fn run(global: &Global, serve: &Serve) -> Result<()> {
    let address = address(global, serve)?;
    let keys = keys(global, serve.keys.as_ref());
    if !address.ip().is_loopback() && Keys::load(&keys)?.are_none() {
        return Err(Error::Invalid(format!(
            "others can reach {address}, so clients need a key, and {} has none; make one with 'scanner key add NAME', or listen at localhost",
            keys.display()
        )));
    }
    let postgres = postgres(global, serve, address)?;
    log(global, serve);
    let is_local = address.ip().is_loopback();
    let processors = thread::available_parallelism().map_or(1, usize::from);
    let options = Options {
        address,
        database: DatabaseOptions { scanners_directory: own_scanners(global)?, ..options(global, Access::Write)? },
        bar_minutes: global.bar_minutes,
        state: super::recording::state(global).path().to_path_buf(),
        configuration: global.configuration.clone(),
        sources: Sources { named: global.config_file.clone(), variables: global.variables.clone() },
        keys,
        postgres,
        enable_query: serve.enable_query,
        origins: serve.allow_origin.iter().map(|origin| origin.trim_end_matches('/').to_owned()).collect(),
        rate_limit: serve.rate_limit.or((!is_local).then_some(USUAL_RATE)),
        workers: serve.workers.map_or(2 * processors, |workers| workers as usize),
        max_connections: serve.max_connections as usize,
        max_ingest_bytes: (serve.max_ingest as usize) << 20,
        job_timeout: Duration::from_secs(u64::from(serve.job_timeout)),
        grace: Duration::from_secs(u64::from(serve.grace)),
    };
    stockscan_server::serve(options, |address, postgres| {
        if !global.quiet {
            if let Some(postgres) = postgres {
                say!("speaking the protocol of PostgreSQL at {postgres}");
            }
            say!(
                "serving {}: dashboard at http://{address}/, interface at http://{address}{PREFIX}, described at http://{address}{PREFIX}/docs; \
                 Ctrl-C ends it",
                database(global).display()
            );
        }
        Ok(())
    })
}

/// Where to listen.
fn address(global: &Global, serve: &Serve) -> Result<SocketAddr> {
    let api = &global.configuration.api;
    let host = serve.host.as_deref().unwrap_or(&api.host.0);
    let port = match serve.port {
        Some(port) => port,
        None => u16::try_from(api.port.0).unwrap_or(8000),
    };
    let found = (host, port).to_socket_addrs().map(Iterator::collect::<Vec<_>>).unwrap_or_default();
    // localhost has two addresses, of which every client knows the older one.
    let address = found.iter().find(|address| address.is_ipv4()).or(found.first()).copied();
    address.ok_or_else(|| {
        Error::Invalid(format!("--host {host}: expected a name or an address of this machine, such as localhost or 0.0.0.0"))
    })
}

/// Whether and how the protocol of PostgreSQL is spoken.
fn postgres(global: &Global, serve: &Serve, address: SocketAddr) -> Result<Option<PostgresOptions>> {
    let configured = global.configuration.api.postgres_port.as_ref().and_then(|port| u16::try_from(port.0).ok());
    let Some(port) = serve.postgres_port.or(configured) else { return Ok(None) };
    let files = serve.postgres_tls_certificate.clone().zip(serve.postgres_tls_key.clone());
    let tls = files.map(|(certificate, key)| Tls { certificate, key });
    if tls.is_none() && !address.ip().is_loopback() {
        return Err(Error::Invalid(format!(
            "others can reach {}, and would send their keys to port {port} for all to read; give --postgres-tls-certificate and \
             --postgres-tls-key, or listen at localhost",
            address.ip()
        )));
    }
    Ok(Some(PostgresOptions { port, tls }))
}

/// The file with the keys.
pub(crate) fn keys(global: &Global, given: Option<&PathBuf>) -> PathBuf {
    given.cloned().unwrap_or_else(|| super::recording::state(global).path().with_file_name("api_keys.json"))
}

/// A line for each request on standard error.
fn log(global: &Global, serve: &Serve) {
    let usual = match (global.quiet, global.verbose) {
        (true, _) => "error",
        (_, true) => "debug",
        _ => "info",
    };
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(format!("stockscan_server={usual},warn")));
    // Whoever reads the log may leave; to say so on the same standard error would be a panic.
    let lines = fmt().with_env_filter(filter).with_writer(std::io::stderr).with_target(false).log_internal_errors(false);
    // It may be there already in a test.
    let _ = match serve.log_format {
        LogFormat::Text => lines.with_ansi(console::colors_enabled_stderr()).try_init(),
        LogFormat::Json => lines.json().flatten_event(true).try_init(),
    };
}
