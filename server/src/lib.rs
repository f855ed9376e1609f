//! Stockscan over HTTP: REST, WebSocket and server-sent events; and over the protocol of PostgreSQL. Everything is asked of SQL through the
//! engine; this checks who asks, binds what is given, and streams what comes back.

mod alerts;
mod allowed;
mod app;
mod auth;
mod backtest;
mod bars;
mod body;
mod cache;
mod catalogue;
mod configuration;
mod dashboard;
mod events;
mod explain;
mod export;
mod given;
mod guard;
mod health;
mod history;
mod hub;
mod indicators;
mod ingest;
mod jobs;
mod listen;
mod market;
mod openapi;
mod optimize;
mod options;
mod postgres;
mod presence;
mod problem;
mod query;
mod router;
mod rows;
mod scan;
mod settings;
mod socket;
mod spreadsheet;
mod statement;
mod statistics;
mod store;
mod table;
mod trading;
mod watcher;
mod work;

use std::{
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

pub use auth::{Key, Keys, Role};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder};
pub use options::{Options, PostgresOptions, Tls};
pub use presence::{Announced, announced};
pub use query::RUN_STATEMENT;
pub use router::PREFIX;
pub use statement::run_statement;
use stockscan_engine::{Error, Result};
use tokio::{net::TcpListener, runtime};

use crate::app::App;

/// How often what is no longer needed is forgotten.
const TIDY: Duration = Duration::from_secs(60);

/// Serves until the process is told to end. `ready` is told the addresses once the server listens: that of HTTP, and that of PostgreSQL.
///
/// # Errors
/// [`Error::Output`] if the address cannot be listened at, [`Error::File`], [`Error::Invalid`] for keys that cannot be read, and as
/// [`stockscan_engine::Engine::open`].
pub fn serve(options: Options, ready: impl FnOnce(SocketAddr, Option<SocketAddr>) -> Result<()>) -> Result<()> {
    // As many files as the system lets us open: each connection is one.
    let _ = rlimit::increase_nofile_limit(u64::MAX);
    let grace = options.grace;
    let live = usize::try_from(options.configuration.streaming.max_concurrent_scans.0).unwrap_or_default();
    let runtime = runtime::Builder::new_multi_thread().enable_all().max_blocking_threads(options.workers + live + 64).build()?;
    let outcome = runtime.block_on(run(options, ready));
    runtime.shutdown_timeout(grace);
    outcome
}

async fn run(options: Options, ready: impl FnOnce(SocketAddr, Option<SocketAddr>) -> Result<()>) -> Result<()> {
    let listener = TcpListener::bind(options.address).await.map_err(|error| {
        std::io::Error::new(error.kind(), format!("{} cannot be listened at: {error}; --port names another port", options.address))
    })?;
    let address = listener.local_addr()?;
    let postgres = match &options.postgres {
        Some(postgres) => Some(postgres.listener(options.address).await?),
        None => None,
    };
    let postgres_address = postgres.as_ref().map(|(listener, _)| listener.local_addr()).transpose()?;
    let metrics = PrometheusBuilder::new()
        .set_buckets_for_metric(
            Matcher::Suffix("_seconds".to_owned()),
            &[0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0],
        )
        .and_then(PrometheusBuilder::install_recorder)
        .map_err(|error| Error::Database(error.to_string()))?;
    let grace = options.grace;
    let app =
        tokio::task::spawn_blocking(move || App::new(options, metrics)).await.map_err(|error| Error::Database(error.to_string()))??;
    let router = router::router(&app);
    // From now on a signal ends the server, and not just the process.
    let told = told_to_end()?;
    ready(address, postgres_address)?;
    let presence = app.market.file().map(|file| presence::Presence::announce(file, address));
    if let Some(Err(error)) = &presence {
        tracing::warn!(%error, "the address cannot be noted beside the database, so that commands that find it locked do not know whom to ask");
    }
    tokio::spawn(say_if_locked(Arc::clone(&app)));
    tokio::spawn(tidy(Arc::clone(&app)));
    tokio::spawn({
        let app = Arc::clone(&app);
        async move {
            told.await;
            tracing::info!("shutting down");
            app.end();
        }
    });
    alerts::follow(&app)?;
    let also = async {
        if let Some((listener, tls)) = postgres {
            postgres::serve(Arc::clone(&app), listener, tls).await;
        }
    };
    tokio::join!(listen::serve(&app, listener, router), also);
    drop(presence);
    app.tasks.close();
    if tokio::time::timeout(grace, app.tasks.wait()).await.is_err() {
        tracing::warn!("some who follow live scans or alerts were not told of the end");
    }
    let ending = Arc::clone(&app);
    let closed = tokio::task::spawn_blocking(move || {
        let deadline = Instant::now() + grace;
        ending.jobs.end(deadline) && ending.market.close(deadline)
    });
    let (closed, not_stored) = tokio::join!(closed, app.store.flush(grace));
    if not_stored > 0 {
        tracing::error!(scans = not_stored, "scans could not be stored before the end");
    }
    if !closed.unwrap_or(false) {
        tracing::warn!("a query was still running at the end");
    }
    Ok(())
}

/// Says at the start that another process has the database.
async fn say_if_locked(app: Arc<App>) {
    let market = Arc::clone(&app.market);
    let look = tokio::task::spawn_blocking(move || market.read(Instant::now() + Duration::from_millis(200)).map(drop));
    if let Ok(Err(error @ Error::Locked { .. })) = look.await {
        tracing::warn!("{error}. Until then requests are answered with 503");
    }
}

/// Waits until the process is told to end.
fn told_to_end() -> Result<impl Future<Output = ()>> {
    #[cfg(unix)]
    {
        use tokio::signal::unix::{SignalKind, signal};
        let (mut interrupted, mut terminated) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
        Ok(async move {
            tokio::select! { _ = interrupted.recv() => {}, _ = terminated.recv() => {} }
        })
    }
    #[cfg(not(unix))]
    {
        let mut interrupted = tokio::signal::windows::ctrl_c()?;
        Ok(async move { drop(interrupted.recv().await) })
    }
}

async fn tidy(app: Arc<App>) {
    loop {
        tokio::select! {
            () = tokio::time::sleep(TIDY) => app.limits.forget(),
            () = app.shutdown.cancelled() => return,
        }
    }
}
