//! Throwing messages away that nobody has asked for yet.

use std::sync::Arc;

use agentos_sdk::Error;

use super::{
    error,
    line::Line,
    name::Number,
    record::{BODIES, HEADS, Head, body_key},
};
use crate::storage::Batch;

/// Messages thrown away by one commit.
const TOGETHER: usize = 512;

/// Throws away what waits in `line` now; what is in work goes on.
pub(super) async fn waiting(line: &Arc<Line>) -> Result<u64, Error> {
    let mut left = line.counts().depth;
    let mut purged = 0;
    while left > 0 {
        let taken = line.take_waiting(left.min(TOGETHER)).await;
        if taken.is_empty() {
            break;
        }
        left -= taken.len();
        purged += taken.len() as u64;
        throw(line, taken).await?;
    }
    Ok(purged)
}

/// Throws `taken` away; when the store refuses, all of it is back.
pub(super) async fn throw(line: &Arc<Line>, taken: Vec<(Number, Head)>) -> Result<(), Error> {
    let mut batch = Batch::new();
    for (number, head) in &taken {
        batch.delete(HEADS, line.key(*number));
        batch.delete(BODIES, body_key(head.body));
    }
    let committed = line.shared.store.commit(batch).await;
    if let Err(error) = committed {
        line.with(|machine| {
            for (number, head) in taken {
                machine.restore(number, head, false);
            }
        });
        line.pump();
        return Err(error::from_storage(error));
    }
    // In a queue that keeps order, somebody may have waited behind them.
    line.pump();
    Ok(())
}
