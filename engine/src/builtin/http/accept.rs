//! Connections: how many, how slow they may be, and how they end.

use std::{
    convert::Infallible,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use agentos_sdk::Stop;
use hyper::service::service_fn;
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::conn::auto,
};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::Shared;
use crate::{builtin::live::Live, channel};

/// How long running requests may go on after the engine was told to stop. Less than the engine
/// gives its workers.
const STOP_TIMEOUT: Duration = Duration::from_millis(1500);

/// Bytes that hyper keeps of a connection, each way; a head has to fit into it.
const BUFFER_BYTES: usize = 64 << 10;

/// Requests at one time on a connection of HTTP/2.
const STREAMS_MAX: u32 = 128;

const REFUSAL: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\nretry-after: 1\r\n\
    connection: close\r\ncontent-length: 0\r\n\r\n";

/// Accepts until `leave`, then lets running requests finish: at `stop`, for a moment only.
pub(super) async fn serve(
    listener: TcpListener,
    shared: Live<Shared>,
    leave: CancellationToken,
    stop: Stop,
) {
    let connections = TaskTracker::new();
    let enough = CancellationToken::new();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = leave.cancelled() => break,
        };
        let stream = match accepted {
            Ok((stream, _)) => stream,
            Err(error) => {
                // Out of descriptors: the ones who are here go on, and some will leave.
                tracing::warn!(%error, "cannot accept a connection");
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        if connections.len() >= shared.get().config.connections_max {
            refuse(&stream);
            continue;
        }
        let (shared, leave, enough) = (shared.clone(), leave.clone(), enough.clone());
        connections.spawn(async move {
            tokio::select! {
                () = connection(stream, shared, leave) => {}
                () = enough.cancelled() => {}
            }
        });
    }
    drop(listener);
    connections.close();
    tokio::select! {
        () = connections.wait() => return,
        () = stop.cancelled() => {}
    }
    if tokio::time::timeout(STOP_TIMEOUT, connections.wait())
        .await
        .is_err()
    {
        enough.cancel();
        connections.wait().await;
    }
}

/// Says that there is no room, if the socket takes it at once.
fn refuse(stream: &TcpStream) {
    tracing::warn!("an HTTP connection was refused: there are too many");
    // The client sees the connection close in any case.
    let _ = stream.try_write(REFUSAL);
}

async fn connection(stream: TcpStream, shared: Live<Shared>, leave: CancellationToken) {
    // A token of a stream must not wait for the acknowledgement of the one before.
    let set = stream
        .set_nodelay(true)
        .and_then(|()| channel::keep_alive(&stream));
    if let Err(error) = set {
        tracing::debug!(%error, "a socket option cannot be set");
    }
    let head_timeout = shared.get().config.head_timeout();
    let asked = Arc::new(AtomicBool::new(false));
    let service = {
        let asked = Arc::clone(&asked);
        service_fn(move |request| {
            asked.store(true, Ordering::Relaxed);
            let shared = shared.get();
            async move { Ok::<_, Infallible>(shared.answer(request).await) }
        })
    };
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(head_timeout)
        .max_buf_size(BUFFER_BYTES);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(STREAMS_MAX)
        .max_header_list_size(BUFFER_BYTES as u32)
        .max_send_buf_size(BUFFER_BYTES)
        .keep_alive_interval(Duration::from_secs(20))
        .keep_alive_timeout(Duration::from_secs(20));
    let mut connection = std::pin::pin!(builder.serve_connection(TokioIo::new(stream), service));
    // hyper does not count the time in which it finds out which version of HTTP this is.
    let mut first_head = std::pin::pin!(tokio::time::sleep(head_timeout));
    let (mut leaving, mut waited) = (false, false);
    loop {
        tokio::select! {
            served = connection.as_mut() => {
                if let Err(error) = served {
                    tracing::debug!(%error, "an HTTP connection broke");
                }
                return;
            }
            () = leave.cancelled(), if !leaving => {
                leaving = true;
                connection.as_mut().graceful_shutdown();
            }
            () = first_head.as_mut(), if !waited => {
                waited = true;
                if !asked.load(Ordering::Relaxed) {
                    return tracing::debug!("an HTTP client asked for nothing");
                }
            }
        }
    }
}
