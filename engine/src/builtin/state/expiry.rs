//! Forgets values whose term has passed, and tells triggers that they are gone.

use std::{sync::Arc, time::Duration};

use agentos_sdk::{Bus, Stop};

use super::{
    change::{Change, Request},
    history,
    row::{self, Address, TERMS},
    writes::Writes,
};
use crate::storage::{self, Scan};

/// Sweeps until `stop`.
pub(super) async fn run(writes: Arc<Writes>, bus: Bus, stop: Stop) {
    let interval = || Duration::from_millis(writes.config.get().sweep_interval_ms.max(1));
    while stop
        .run_until_cancelled(tokio::time::sleep(interval()))
        .await
        .is_some()
    {
        if let Err(error) = sweep(&writes, Some(&bus)).await {
            tracing::error!(%error, "expired state could not be swept");
        }
        if let Err(error) = history::sweep(&writes.store, (writes.clock)()).await {
            tracing::error!(%error, "old history of the state could not be forgotten");
        }
    }
}

/// Forgets everything that is due now.
pub(super) async fn sweep(writes: &Arc<Writes>, bus: Option<&Bus>) -> Result<(), storage::Error> {
    let now = (writes.clock)();
    let due = Scan::all(TERMS).before(&(now + 1).to_be_bytes());
    loop {
        let page = writes.store.scan(due.clone()).await?;
        let expired = page
            .entries
            .iter()
            .map(|entry| row::parse_term_key(&entry.key));
        let expired = expired.collect::<Result<Vec<_>, _>>()?;
        let all = expired.into_iter().map(|(due_ms, address)| {
            let (writes, bus) = (Arc::clone(writes), bus.cloned());
            tokio::spawn(async move { forget(&writes, address, due_ms, bus).await })
        });
        for one in all.collect::<Vec<_>>() {
            // A panic was reported by the panic hook; the entry is met again at the next sweep.
            let _ = one.await;
        }
        if !page.more {
            return Ok(());
        }
    }
}

async fn forget(writes: &Arc<Writes>, address: Address, due_ms: u64, bus: Option<Bus>) {
    let request = Request {
        change: Change::Expire { due_ms },
        expected_version: None,
        ttl_ms: None,
    };
    if let Err(error) = writes.submit(address, request, bus).await {
        tracing::warn!(%error, "an expired value could not be forgotten; the next sweep tries again");
    }
}
