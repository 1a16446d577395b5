//! Calls that are made again when they failed for a reason that passes, and pauses between attempts.

use std::{
    future::Future,
    time::{Duration, Instant},
};

use agentos_protocol::ErrorBody;

/// Before the second attempt; doubles with each.
const PAUSE_FIRST: Duration = Duration::from_millis(100);
const PAUSE_MAX: Duration = Duration::from_secs(5);

/// Makes an attempt, and up to `retries` more while its errors are `retryable`; each is told how
/// long it may take, so that all together keep to `deadline`.
pub(crate) async fn retrying<T, Fut>(
    retries: u32,
    deadline: Instant,
    attempt: impl Fn(Duration) -> Fut,
) -> Result<T, ErrorBody>
where
    Fut: Future<Output = Result<T, ErrorBody>>,
{
    let mut wait = PAUSE_FIRST;
    for _ in 0..retries {
        let error = match attempt(left(deadline)).await {
            Err(error) if error.retryable => error,
            outcome => return outcome,
        };
        let pause = jittered(wait);
        if left(deadline) <= pause {
            return Err(error);
        }
        tokio::time::sleep(pause).await;
        wait = (wait * 2).min(PAUSE_MAX);
    }
    attempt(left(deadline)).await
}

fn left(deadline: Instant) -> Duration {
    deadline.saturating_duration_since(Instant::now())
}

/// Between a half and the whole of `wait`, so that many clients do not come back at once.
pub(crate) fn jittered(wait: Duration) -> Duration {
    let random = uuid::Uuid::new_v4().as_u128() % 1_000;
    wait / 2 + wait / 2 * (random as u32) / 1_000
}
