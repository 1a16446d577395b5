//! What all queues have in common: the store, the clock, the bus, numbers, and the end.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use agentos_sdk::Bus;
use parking_lot::RwLock;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::{
    Clock, acks::Acks, alarm::Alarm, attempts::Attempts, config::Config, name::Number, seen::Seen,
};
use crate::{
    builtin::live::Live,
    storage::{Batch, Storage},
};

/// First and longest pause before something is written again that could not be.
const WRITE_PAUSE: Duration = Duration::from_secs(1);
const WRITE_PAUSE_MAX: Duration = Duration::from_secs(30);

pub(super) struct Shared {
    pub(super) store: Arc<dyn Storage>,
    pub(super) config: Live<Config>,
    pub(super) clock: Clock,
    /// There while the worker runs; nothing is delivered before and after.
    bus: RwLock<Option<Bus>>,
    /// No more deliveries; leases are handed back.
    pub(super) halted: CancellationToken,
    /// Nothing more is written.
    pub(super) stopped: CancellationToken,
    pub(super) acks: Acks,
    pub(super) alarm: Alarm,
    pub(super) attempts: Attempts,
    pub(super) seen: Seen,
    /// A key is remembered from now on.
    pub(super) key_kept: Notify,
    /// When this life of the engine began.
    pub(super) opened_ms: u64,
    next: AtomicU64,
    /// Lower numbers were given by an earlier life.
    heirs_below: AtomicU64,
}

impl Shared {
    pub(super) fn new(store: Arc<dyn Storage>, config: Config, clock: Clock) -> Arc<Self> {
        let opened_ms = clock();
        Arc::new(Shared {
            store,
            config: Live::new(config),
            clock,
            bus: RwLock::new(None),
            halted: CancellationToken::new(),
            stopped: CancellationToken::new(),
            acks: Acks::new(),
            alarm: Alarm::default(),
            attempts: Attempts::default(),
            seen: Seen::default(),
            key_kept: Notify::new(),
            opened_ms,
            next: AtomicU64::new(1),
            heirs_below: AtomicU64::new(0),
        })
    }

    pub(super) fn now_ms(&self) -> u64 {
        (self.clock)()
    }

    /// A number above all others.
    pub(super) fn number(&self) -> Number {
        self.next.fetch_add(1, Ordering::Relaxed)
    }

    /// No later number will be `taken` or less.
    pub(super) fn skip(&self, taken: Number) {
        self.next
            .fetch_max(taken.saturating_add(1), Ordering::Relaxed);
    }

    /// Everything that an earlier life has left is known.
    pub(super) fn close_heritage(&self) {
        let next = self.next.load(Ordering::Relaxed);
        self.heirs_below.store(next, Ordering::Relaxed);
    }

    /// Messages with lower numbers are from an earlier life.
    pub(super) fn heirs_below(&self) -> Number {
        self.heirs_below.load(Ordering::Relaxed)
    }

    pub(super) fn set_bus(&self, bus: Option<Bus>) {
        *self.bus.write() = bus;
    }

    pub(super) fn may_deliver(&self) -> bool {
        self.bus.read().is_some() && !self.halted.is_cancelled()
    }

    /// The bus, while messages may be delivered.
    pub(super) fn open_bus(&self) -> Option<Bus> {
        let bus = self.bus.read().clone();
        bus.filter(|_| !self.halted.is_cancelled())
    }

    /// Writes, however long it takes: what it is about has happened. A store that cannot write
    /// stops the queue, which is better than to deliver what cannot be acknowledged. False when
    /// the engine stops before it is written.
    pub(super) async fn persist(&self, batch: Batch) -> bool {
        let mut pause = WRITE_PAUSE;
        loop {
            match self.store.commit(batch.clone()).await {
                Ok(_) => return true,
                Err(error) => tracing::error!(%error, "a queue cannot be written; it waits"),
            }
            let slept = self.stopped.run_until_cancelled(tokio::time::sleep(pause));
            if slept.await.is_none() {
                return false;
            }
            pause = (pause * 2).min(WRITE_PAUSE_MAX);
        }
    }
}
