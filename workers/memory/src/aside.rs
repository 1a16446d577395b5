//! Work beside the threads that carry calls.

use std::future::Future;

use agentos_sdk::{Code, Error};

/// Computes for milliseconds or more without keeping others from their calls.
pub(crate) async fn aside<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Error> {
    tokio::task::spawn_blocking(work).await.map_err(lost)
}

/// Runs `work` to its end even if whoever waits for it goes away.
pub(crate) async fn to_the_end<T: Send + 'static>(
    work: impl Future<Output = Result<T, Error>> + Send + 'static,
) -> Result<T, Error> {
    tokio::spawn(work).await.map_err(lost)?
}

fn lost(error: tokio::task::JoinError) -> Error {
    Error::worker(Code::Internal, format!("the work ended early: {error}"))
}
