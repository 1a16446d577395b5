//! Instances of workers: what share of the calls each gets, and how one is taken out.

use std::{sync::Arc, time::Duration};

use agentos_core::{Effects, SessionView, Share};
use agentos_protocol::{Code, ErrorBody, SessionId};
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

/// What a worker is to do when the engine ends its session.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Parting {
    /// Connect again: as new, it may offer functions again.
    Reconnect,
    /// Stay away.
    Stop,
}

impl Parting {
    pub(crate) fn why(self) -> ErrorBody {
        let message = match self {
            Parting::Reconnect => "the worker was taken out and may connect again",
            Parting::Stop => "the worker was taken out and is not to connect again",
        };
        ErrorBody::engine(Code::Unavailable, message)
    }
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

    /// Gives the session `share` of the calls, to which it grows over this time; false when it is gone.
    pub fn set_share_over(&self, session: SessionId, share: Share, over: Duration) -> bool {
        // First: it is not to have all of it meanwhile.
        self.router.ramp(self.clock.now(), session, over) && self.set_share(session, share)
    }

    /// Whether the SDK behind the session can be told not to connect again. Workers of the engine's
    /// process, and those of iii before 0.23, cannot.
    pub fn can_be_stopped(&self, session: SessionId) -> bool {
        self.way(session).is_some_and(|way| way.can_be_stopped())
    }

    /// Ends the session; what it still has in flight is lost. One that cannot be told to stay away
    /// will connect again. Without effect when it is gone.
    pub fn part(&self, session: SessionId, parting: Parting) {
        if let Some(way) = self.way(session) {
            way.part(parting);
            self.close(session);
        }
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
