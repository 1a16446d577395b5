//! Connected workers.

use std::{
    collections::BTreeSet,
    net::IpAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering},
    },
    time::Duration,
};

use agentos_protocol::{Hello, SessionId};
use dashmap::{DashMap, mapref::one::RefMut};

use super::{Hasher, Share, Traffic, gate::Left, ramp::Ramp};
use crate::{
    Now,
    policy::{Rules, Trust},
};

/// What of a session every call asks for. Shared with its calls in flight.
#[derive(Debug)]
pub(crate) struct Standing {
    pub(crate) public_id: Arc<str>,
    /// Callers are named to callees, except built-ins.
    pub(crate) named: bool,
    pub(crate) timeout_default: Duration,
    /// What it may do; without rules, everything a worker may.
    pub(crate) rules: Option<Arc<Rules>>,
    /// Its share of the calls, and those that it has.
    pub(crate) traffic: Traffic,
    pub(crate) ramp: Ramp,
    /// Which build it is: of two, the one that came later has the larger number.
    pub(crate) build: AtomicU64,
    /// Calls that failed by its doing, one after the other.
    pub(crate) failing: AtomicU32,
    /// When its rest is over, in microseconds.
    pub(crate) back: AtomicU64,
    /// Calls that it ended, and those of them that failed.
    pub(crate) ended: AtomicU64,
    pub(crate) failed: AtomicU64,
    /// Limits whose functions it does not offer now.
    pub(crate) left: Left,
    /// Calls it has made that are in flight.
    pub(crate) made: AtomicU32,
    /// The session is gone.
    pub(crate) is_closed: AtomicBool,
}

impl Standing {
    pub(crate) fn new(
        public_id: Arc<str>,
        named: bool,
        timeout_default: Duration,
        rules: Option<Arc<Rules>>,
        share: Share,
    ) -> Self {
        Standing {
            public_id,
            named,
            timeout_default,
            rules,
            traffic: Traffic::new(share),
            ramp: Ramp::default(),
            build: AtomicU64::new(0),
            failing: AtomicU32::new(0),
            back: AtomicU64::new(0),
            ended: AtomicU64::new(0),
            failed: AtomicU64::new(0),
            left: Left::default(),
            made: AtomicU32::new(0),
            is_closed: AtomicBool::new(false),
        }
    }
}

impl Standing {
    /// The weight with which it takes part in a choice now.
    pub(crate) fn weight(&self, now: Now) -> u16 {
        let look = self.traffic.look();
        if look.is_resting() && self.back.load(Ordering::Relaxed) <= now.0 {
            return self
                .ramp
                .part(now, self.traffic.return_from_rest().weight());
        }
        self.ramp.part(now, look.weight())
    }
}

/// A session that calls, looked up once.
#[derive(Clone, Debug)]
pub struct Caller {
    pub(crate) session: SessionId,
    pub(crate) standing: Arc<Standing>,
}

pub(crate) struct Session {
    pub(crate) standing: Arc<Standing>,
    pub(crate) trust: Trust,
    pub(crate) hello: Hello,
    /// Where it registers things; `None` is the default namespace.
    pub(crate) namespace: Option<Arc<str>>,
    pub(crate) peer: Option<IpAddr>,
    pub(crate) instance: Option<Arc<str>>,
    /// What it is an instance of, where whoever started it has said.
    pub(crate) worker: Option<Arc<str>>,
    pub(crate) connected: Now,
    /// Under the ids by which others call them.
    pub(crate) functions: BTreeSet<Arc<str>>,
    pub(crate) triggers: BTreeSet<Arc<str>>,
    pub(crate) trigger_types: BTreeSet<Arc<str>>,
    /// Said goodbye: finishes what runs, gets nothing new.
    pub(crate) leaving: bool,
}

impl Caller {
    pub fn session(&self) -> SessionId {
        self.session
    }
}

#[derive(Default)]
pub(crate) struct Sessions(DashMap<SessionId, Session, Hasher>);

/// A session as it is listed.
#[derive(Clone, Debug)]
pub struct SessionView {
    pub session: SessionId,
    pub public_id: Arc<str>,
    pub trust: Trust,
    pub hello: Hello,
    pub namespace: Option<Arc<str>>,
    pub rules: Option<Arc<Rules>>,
    pub peer: Option<IpAddr>,
    pub connected: Now,
    /// What whoever started the worker calls this instance of it.
    pub instance: Option<Arc<str>>,
    pub functions: Vec<Arc<str>>,
    pub share: Share,
    pub calls_in_flight: u32,
    /// Calls that it was given and that are over, and those of them that failed by its doing.
    pub calls_ended: u64,
    pub calls_failed: u64,
    /// It failed too often and gets no calls for a while.
    pub resting: bool,
    pub leaving: bool,
}

impl Sessions {
    pub(crate) fn insert(&self, id: SessionId, session: Session) {
        self.0.insert(id, session);
    }

    pub(crate) fn remove(&self, id: SessionId) -> Option<Session> {
        self.0.remove(&id).map(|(_, session)| session)
    }

    pub(crate) fn look<T>(&self, id: SessionId, look: impl FnOnce(&Session) -> T) -> Option<T> {
        self.0.get(&id).map(|session| look(&session))
    }

    pub(crate) fn get_mut(&self, id: SessionId) -> Option<RefMut<'_, SessionId, Session>> {
        self.0.get_mut(&id)
    }

    pub(crate) fn list(&self) -> Vec<SessionView> {
        let mut list: Vec<SessionView> = self.0.iter().map(|row| view(*row.key(), &row)).collect();
        list.sort_by_key(|view| view.session);
        list
    }
}

fn view(session: SessionId, row: &Session) -> SessionView {
    let traffic = row.standing.traffic.look();
    SessionView {
        session,
        public_id: Arc::clone(&row.standing.public_id),
        trust: row.trust,
        hello: row.hello.clone(),
        namespace: row.namespace.clone(),
        rules: row.standing.rules.clone(),
        peer: row.peer,
        connected: row.connected,
        instance: row.instance.clone(),
        functions: row.functions.iter().cloned().collect(),
        share: traffic.share(),
        calls_in_flight: traffic.in_flight(),
        calls_ended: row.standing.ended.load(Ordering::Relaxed),
        resting: traffic.is_resting(),
        calls_failed: row.standing.failed.load(Ordering::Relaxed),
        leaving: row.leaving,
    }
}
