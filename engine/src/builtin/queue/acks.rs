//! Acknowledgements on their way to the disk: what gathers while one commit runs is the next one.
//!
//! A message is out of its queue when its place here is taken, not when it is deleted: a crash in
//! between delivers it again, as at-least-once allows. The channel is bounded; when the store is
//! slow, deliveries wait for it with their leases.

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::mpsc;

use super::{
    name::Number,
    record::{BODIES, HEADS, body_key},
    shared::Shared,
};
use crate::storage::{Batch, Durability};

/// Acknowledgements that wait.
const WAITING_MAX: usize = 4096;

/// Acknowledgements per commit.
const TOGETHER_MAX: usize = 512;

/// A message that is done with.
pub(super) struct Ack {
    pub(super) head: Bytes,
    pub(super) body: Number,
    pub(super) durability: Durability,
}

pub(super) struct Acks {
    sender: mpsc::Sender<Ack>,
    /// Taken by the task that writes.
    receiver: Mutex<Option<mpsc::Receiver<Ack>>>,
}

impl Acks {
    pub(super) fn new() -> Self {
        let (sender, receiver) = mpsc::channel(WAITING_MAX);
        Acks {
            sender,
            receiver: Mutex::new(Some(receiver)),
        }
    }

    /// Waits for room. False when nothing is written any more: then the message stays.
    pub(super) async fn push(&self, ack: Ack) -> bool {
        self.sender.send(ack).await.is_ok()
    }

    /// Writes until the queues are stopped, and then what is left.
    pub(super) async fn run(&self, shared: &Shared) {
        let Some(mut receiver) = self.receiver.lock().take() else {
            return;
        };
        let mut together = Vec::with_capacity(TOGETHER_MAX);
        let stopped = shared.stopped.clone();
        while let Some(1..) = stopped
            .run_until_cancelled(receiver.recv_many(&mut together, TOGETHER_MAX))
            .await
        {
            shared.persist(batch(&mut together)).await;
        }
        receiver.close();
        while let Ok(ack) = receiver.try_recv() {
            together.push(ack);
        }
        let left = batch(&mut together);
        if !left.is_empty() {
            shared.persist(left).await;
        }
    }
}

fn batch(acks: &mut Vec<Ack>) -> Batch {
    let mut batch = Batch::new();
    let asked = acks.iter().map(|ack| ack.durability);
    batch.durability(asked.max().unwrap_or_default());
    for ack in acks.drain(..) {
        batch.delete(HEADS, ack.head);
        batch.delete(BODIES, body_key(ack.body));
    }
    batch
}
