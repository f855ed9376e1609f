//! Connections: so many at a time, each of which must say soon what it wants.

use std::{io, net::SocketAddr, pin::pin, sync::Arc, time::Duration};

use axum::{Router, body::Body, extract::ConnectInfo};
use hyper::{body::Incoming, server::conn::http1::Builder, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    io::AsyncWriteExt,
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore},
};
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;

use crate::app::App;

/// So long a client has for the head of a request, and so long a connection stays open without one.
const PATIENCE: Duration = Duration::from_secs(15);
/// Largest head of a request.
const LARGEST_HEAD: usize = 64 << 10;
/// After an error that is not a connection's, such as too many open files.
const PAUSE: Duration = Duration::from_millis(50);
/// What is said to one too many.
const FULL: &str = "HTTP/1.1 503 Service Unavailable\r\nretry-after: 1\r\nconnection: close\r\ncontent-type: application/problem+json\r\n";
const FULL_BODY: &str = r#"{"type":"about:blank","title":"Service Unavailable","status":503,"detail":"too many connections; try again in a moment","error":"busy"}"#;

/// A connection, for a handler that keeps it for longer than one answer takes.
#[derive(Debug, Clone)]
pub(crate) struct Connection {
    /// Breaks it off.
    pub(crate) hang_up: CancellationToken,
    /// It counts as long as somebody has this, a WebSocket too.
    _permit: Arc<OwnedSemaphorePermit>,
}

/// Serves connections until the server is to end, and then those that are open for at most the grace.
pub(crate) async fn serve(app: &Arc<App>, listener: TcpListener, router: Router) {
    let connections = Arc::new(Semaphore::new(app.options.max_connections));
    let refusals = Arc::new(Semaphore::new(app.options.max_connections));
    let mut builder = Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(PATIENCE).max_buf_size(LARGEST_HEAD).keep_alive(true);
    loop {
        let (stream, peer) = tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok(accepted) => accepted,
                Err(error) if is_of_connection(&error) => continue,
                Err(error) => {
                    tracing::warn!(%error, "a connection could not be accepted");
                    tokio::time::sleep(PAUSE).await;
                    continue;
                }
            },
            () = app.shutdown.cancelled() => break,
        };
        // It is sent in pieces that are whole; waiting for more helps nobody.
        let _ = stream.set_nodelay(true);
        let Ok(permit) = Arc::clone(&connections).try_acquire_owned() else {
            metrics::counter!("stockscan_connections_refused_total").increment(1);
            if let Ok(permit) = Arc::clone(&refusals).try_acquire_owned() {
                tokio::spawn(async move {
                    refuse(stream).await;
                    drop(permit);
                });
            }
            continue;
        };
        let router = router.clone();
        let hang_up = CancellationToken::new();
        let kept = Connection { hang_up: hang_up.clone(), _permit: Arc::new(permit) };
        let service = service_fn(move |mut request: hyper::Request<Incoming>| {
            request.extensions_mut().insert(ConnectInfo::<SocketAddr>(peer));
            request.extensions_mut().insert(kept.clone());
            router.clone().oneshot(request.map(Body::new))
        });
        let connection = builder.serve_connection(TokioIo::new(stream), service).with_upgrades();
        let shutdown = app.shutdown.clone();
        tokio::spawn(async move {
            let mut connection = pin!(connection);
            tokio::select! {
                // A client that breaks off is nobody's mistake.
                _ = connection.as_mut() => {}
                () = hang_up.cancelled() => {}
                () = shutdown.cancelled() => {
                    // What was asked is answered still.
                    connection.as_mut().graceful_shutdown();
                    tokio::select! {
                        _ = connection => {}
                        () = hang_up.cancelled() => {}
                    }
                }
            }
        });
    }
    drop(listener);
    let all = u32::try_from(app.options.max_connections).unwrap_or(u32::MAX);
    if tokio::time::timeout(app.options.grace, connections.acquire_many(all)).await.is_err() {
        tracing::warn!("some requests were broken off");
    }
}

pub(crate) fn is_of_connection(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::ConnectionRefused | io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset)
}

/// Says that there are too many, and waits a moment for the client to have read it.
async fn refuse(mut stream: TcpStream) {
    let told = async {
        let text = format!("{FULL}content-length: {}\r\n\r\n{FULL_BODY}", FULL_BODY.len());
        stream.write_all(text.as_bytes()).await?;
        stream.shutdown().await?;
        let mut rest = [0_u8; 1024];
        // What has been sent and not read would have the answer thrown away.
        while tokio::io::AsyncReadExt::read(&mut stream, &mut rest).await? > 0 {}
        io::Result::Ok(())
    };
    let _ = tokio::time::timeout(Duration::from_secs(1), told).await;
}
