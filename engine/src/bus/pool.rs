//! Instances of workers: what share of the calls each gets, and how one is taken out.

use std::{sync::Arc, time::Duration};

use agentos_core::{Effects, SessionView, Share};
use agentos_protocol::SessionId;
use dashmap::DashMap;
use tokio_util::sync::CancellationToken;

use super::{Bus, Hasher};

/// What is known of instances besides their sessions.
#[derive(Default)]
pub(super) struct Pool {
    /// Shares of instances that have not come yet.
    expected: DashMap<Arc<str>, Share, Hasher>,
    /// Sessions that get nothing new; cancelled when they have nothing left, or are gone.
    draining: DashMap<SessionId, CancellationToken, Hasher>,
}

/// How draining a session ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Drained {
    /// Everything that it ran has ended.
    Finished,
    /// So many calls were still running when the patience was at its end.
    Late(u32),
    /// The session was gone, or went meanwhile: what it ran has been answered `worker_lost`.
    Gone,
}

impl Pool {
    /// The share of an instance that comes.
    pub(super) fn expected(&self, instance: Option<&str>) -> Option<Share> {
        self.expected.get(instance?).map(|share| *share)
    }

    pub(super) fn drained(&self, session: SessionId) {
        if let Some(waiting) = self.draining.get(&session) {
            waiting.cancel();
        }
    }

    pub(super) fn gone(&self, session: SessionId) {
        if let Some((_, waiting)) = self.draining.remove(&session) {
            waiting.cancel();
        }
    }
}

impl Bus {
    /// Sessions of the instance that connects with `?instance=NAME` get `share` from their first
    /// moment on, until [`Bus::forget_instance`].
    pub fn expect_instance(&self, instance: impl Into<Arc<str>>, share: Share) {
        self.pool.expected.insert(instance.into(), share);
    }

    /// Sessions of the instance are like all others from now on; those that are here keep their share.
    pub fn forget_instance(&self, instance: &str) {
        self.pool.expected.remove(instance);
    }

    /// The living sessions of the worker of this name, oldest first.
    pub fn instances(&self, worker: &str) -> Vec<SessionView> {
        let mut sessions = self.workers();
        sessions.retain(|session| session.hello.name == worker);
        sessions
    }

    /// Gives the session `share` of the calls from now on; false when it is gone.
    pub fn set_share(&self, session: SessionId, share: Share) -> bool {
        self.router.set_share(session, share)
    }

    /// Gives the session nothing new: what it offers is withdrawn. Resolves when the calls and
    /// streams that it runs have ended, or after `patience`. The session stays open.
    pub async fn drain(&self, session: SessionId, patience: Duration) -> Drained {
        let waiting = self.pool.draining.entry(session).or_default().clone();
        let mut out = Effects::new();
        let is_here = self.router.drain(self.clock.now(), session, &mut out);
        if !is_here {
            self.pool.gone(session);
            return Drained::Gone;
        }
        self.perform(out);
        let _ = tokio::time::timeout(patience, waiting.cancelled()).await;
        match self.router.in_flight(session) {
            None => Drained::Gone,
            Some(0) => Drained::Finished,
            Some(left) => Drained::Late(left),
        }
    }
}
