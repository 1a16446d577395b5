//! Which share of the calls a session gets when it comes: decided before it is known to anybody.

use std::{
    collections::{HashMap, HashSet},
    net::IpAddr,
    sync::Arc,
    time::Duration,
};

use agentos_core::SessionView;
use agentos_protocol::{Hello, SessionId};
use parking_lot::Mutex;

use super::traffic::FULL;
use crate::supervisor::{self, InstanceId};

/// Asked by the bus about every session that comes.
pub(crate) trait Doorkeeper: Send + Sync {
    /// A session has been opened by somebody who may register before saying who it is; its share.
    fn stranger(&self, session: SessionId) -> u16;

    /// A session says who it is.
    fn greeted(&self, session: SessionId, hello: &Hello, peer: Option<IpAddr>) -> Greeting;
}

/// What is known of a session that has said who it is.
pub(crate) struct Greeting {
    /// Its share from now on, where that is not what it has.
    pub(crate) share: Option<u16>,
    /// Over which time it grows to that.
    pub(crate) over: Duration,
    /// What it is an instance of.
    pub(crate) worker: Option<Arc<str>>,
}

/// The shares of instances that do not have a full one.
pub(super) struct Gate {
    supervisor: supervisor::Handle,
    shares: Mutex<HashMap<InstanceId, u16>>,
    /// Instances that have not come yet, and are to get nothing when they do.
    expected: Mutex<HashSet<InstanceId>>,
    /// Sessions that may belong to one of those.
    strangers: Mutex<HashSet<SessionId>>,
}

impl Gate {
    pub(super) fn new(supervisor: supervisor::Handle) -> Self {
        Gate {
            supervisor,
            shares: Mutex::default(),
            expected: Mutex::default(),
            strangers: Mutex::default(),
        }
    }

    /// `instance` is to come, and its sessions get nothing before [`Gate::set`].
    pub(super) fn expect(&self, instance: InstanceId) {
        self.shares.lock().insert(instance, 0);
        self.expected.lock().insert(instance);
    }

    /// What sessions of `instance` get from now on when they come. Gives back the strangers that wait
    /// for nothing any more.
    #[must_use]
    pub(super) fn set(&self, instance: InstanceId, share: u16) -> Vec<SessionId> {
        {
            let mut shares = self.shares.lock();
            if share == FULL {
                shares.remove(&instance);
            } else {
                shares.insert(instance, share);
            }
        }
        let mut expected = self.expected.lock();
        expected.remove(&instance);
        if expected.is_empty() {
            self.strangers.lock().drain().collect()
        } else {
            Vec::new()
        }
    }

    /// How long an instance takes to get its whole share.
    pub(super) fn slow_start(&self, instance: InstanceId) -> Duration {
        let status = self.supervisor.follow(instance);
        let slow_start = status.map(|status| status.borrow().slow_start);
        slow_start.unwrap_or_default()
    }

    pub(super) fn share(&self, instance: InstanceId) -> u16 {
        self.shares.lock().get(&instance).copied().unwrap_or(FULL)
    }

    /// The instance that a connected worker is, if it is one of ours.
    pub(super) fn instance_of(&self, session: &SessionView) -> Option<InstanceId> {
        self.instance(&session.hello, session.peer)
    }

    fn instance(&self, hello: &Hello, peer: Option<IpAddr>) -> Option<InstanceId> {
        // Elsewhere the number is of another process.
        peer.filter(IpAddr::is_loopback)?;
        self.supervisor.instance_of(hello.pid?)
    }
}

impl Doorkeeper for Gate {
    fn stranger(&self, session: SessionId) -> u16 {
        let expected = self.expected.lock();
        if expected.is_empty() {
            return FULL;
        }
        self.strangers.lock().insert(session);
        0
    }

    fn greeted(&self, session: SessionId, hello: &Hello, peer: Option<IpAddr>) -> Greeting {
        let was_stranger = self.strangers.lock().remove(&session);
        let instance = self.instance(hello, peer);
        let share = instance.map_or(FULL, |instance| self.share(instance));
        let status = instance.and_then(|instance| self.supervisor.follow(instance));
        let over = instance.map_or(Duration::ZERO, |instance| self.slow_start(instance));
        Greeting {
            share: (was_stranger || share != FULL || !over.is_zero()).then_some(share),
            over,
            worker: status.map(|status| status.borrow().name.as_str().into()),
        }
    }
}
