//! Where clients of streams come in.

use std::{sync::Arc, time::Duration};

use agentos_sdk::Stop;
use tokio::{net::TcpListener, sync::Semaphore};
use tokio_util::task::TaskTracker;

use super::{client::Shared, connection};
use crate::listener::Gate;

/// How long to wait when no connection can be accepted: the ones who are here go on, and some
/// will leave.
const RETRY: Duration = Duration::from_millis(100);

const REFUSAL: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\nretry-after: 1\r\n\
    connection: close\r\ncontent-length: 0\r\n\r\n";

/// Accepts until `stop`, then waits for the clients to be told.
pub(super) async fn run(socket: TcpListener, gate: Arc<Gate>, shared: Arc<Shared>, stop: Stop) {
    let room = shared.config.clients_max.min(Semaphore::MAX_PERMITS);
    let room = Arc::new(Semaphore::new(room));
    let clients = TaskTracker::new();
    loop {
        let accepted = tokio::select! {
            accepted = socket.accept() => accepted,
            () = stop.cancelled() => break,
        };
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "cannot accept a client of streams");
                tokio::time::sleep(RETRY).await;
                continue;
            }
        };
        let Ok(permit) = Arc::clone(&room).try_acquire_owned() else {
            tracing::warn!(%peer, "a client of streams is turned away: stream.clients_max is reached");
            // Nothing was sent yet, so it fits into the socket.
            let _ = stream.try_write(REFUSAL);
            continue;
        };
        let (shared, gate, stop) = (Arc::clone(&shared), Arc::clone(&gate), stop.clone());
        clients.spawn(async move {
            connection::serve(shared, gate, stream, peer, stop).await;
            drop(permit);
        });
    }
    drop(socket);
    clients.close();
    clients.wait().await;
}
