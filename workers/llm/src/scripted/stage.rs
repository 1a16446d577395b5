//! What all scripted models share: where each script stands, which holds are released, and the
//! records of the run.

use std::{
    collections::{HashMap, VecDeque},
    sync::{
        Arc,
        atomic::{AtomicU32, AtomicU64, Ordering},
    },
};

use parking_lot::Mutex;
use serde_json::Value;
use tokio_util::sync::CancellationToken;

/// Records kept in memory; the oldest go first. The record file holds all.
const RECORDS_MAX: usize = 1_000;

/// See the module.
#[derive(Default)]
pub(crate) struct Stage {
    holds: Mutex<HashMap<String, Arc<Hold>>>,
    /// Calls so far, by provider and script.
    turns: Mutex<HashMap<(String, String), usize>>,
    records: Mutex<VecDeque<Value>>,
    calls: AtomicU64,
}

#[derive(Default)]
struct Hold {
    released: CancellationToken,
    waiting: AtomicU32,
}

impl Stage {
    /// Lets everybody who waits at `name`, now or later, go on. Tells how many waited.
    pub(crate) fn release(&self, name: &str) -> u32 {
        let hold = self.hold(name);
        hold.released.cancel();
        hold.waiting.load(Ordering::SeqCst)
    }

    /// Waits until `name` is released.
    pub(super) async fn wait(&self, name: &str) {
        let hold = self.hold(name);
        hold.waiting.fetch_add(1, Ordering::SeqCst);
        let _leave = Leave(&hold);
        hold.released.cancelled().await;
    }

    fn hold(&self, name: &str) -> Arc<Hold> {
        Arc::clone(self.holds.lock().entry(name.to_owned()).or_default())
    }

    /// The number of this call of `script`, from 1.
    pub(super) fn next_turn(&self, provider: &str, script: &str) -> usize {
        let mut turns = self.turns.lock();
        let turn = turns
            .entry((provider.to_owned(), script.to_owned()))
            .or_default();
        *turn += 1;
        *turn
    }

    /// The number of this call of any script, from 1.
    pub(super) fn next_call(&self) -> u64 {
        self.calls.fetch_add(1, Ordering::SeqCst) + 1
    }

    pub(super) fn keep(&self, record: Value) {
        let mut records = self.records.lock();
        if records.len() == RECORDS_MAX {
            records.pop_front();
        }
        records.push_back(record);
    }

    pub(crate) fn records(&self) -> Vec<Value> {
        self.records.lock().iter().cloned().collect()
    }

    /// Back to the first turns, with no records and all holds closed. Who waits goes on.
    pub(crate) fn reset(&self) {
        self.turns.lock().clear();
        self.records.lock().clear();
        for (_, hold) in self.holds.lock().drain() {
            hold.released.cancel();
        }
    }
}

struct Leave<'a>(&'a Hold);

impl Drop for Leave<'_> {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Ordering::SeqCst);
    }
}
