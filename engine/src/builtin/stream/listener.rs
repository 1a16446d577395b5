//! Where clients of streams come in.

use std::{sync::Arc, time::Duration};

use agentos_sdk::Stop;
use tokio::net::TcpListener;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{client::Shared, connection};
use crate::{builtin::live::Live, listener::Gate};

/// How long to wait when no connection can be accepted: the ones who are here go on, and some
/// will leave.
const RETRY: Duration = Duration::from_millis(100);

const REFUSAL: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\nretry-after: 1\r\n\
    connection: close\r\ncontent-length: 0\r\n\r\n";

/// Accepts until `leave`, then waits for the clients to go. Those that are there at `stop` are told.
pub(super) async fn run(
    socket: TcpListener,
    gate: Live<Gate>,
    shared: Arc<Shared>,
    leave: CancellationToken,
    stop: Stop,
) {
    let clients = TaskTracker::new();
    loop {
        let accepted = tokio::select! {
            accepted = socket.accept() => accepted,
            () = leave.cancelled() => break,
        };
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "cannot accept a client of streams");
                tokio::time::sleep(RETRY).await;
                continue;
            }
        };
        if clients.len() >= shared.config.get().clients_max {
            tracing::warn!(%peer, "a client of streams is turned away: stream.clients_max is reached");
            // Nothing was sent yet, so it fits into the socket.
            let _ = stream.try_write(REFUSAL);
            continue;
        }
        let (shared, stop) = (Arc::clone(&shared), stop.clone());
        clients.spawn(connection::serve(shared, gate.get(), stream, peer, stop));
    }
    drop(socket);
    clients.close();
    clients.wait().await;
}
