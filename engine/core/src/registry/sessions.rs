//! Connected workers.

use std::{
    collections::BTreeSet,
    net::IpAddr,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use agentos_protocol::{Hello, SessionId};
use dashmap::{DashMap, mapref::one::RefMut};

use crate::{
    Now,
    policy::{Rules, Trust},
};

pub(crate) struct Session {
    pub(crate) public_id: Arc<str>,
    pub(crate) trust: Trust,
    /// Callers are named to callees, except built-ins.
    pub(crate) named: bool,
    pub(crate) hello: Hello,
    /// Where it registers things; `None` is the default namespace.
    pub(crate) namespace: Option<Arc<str>>,
    /// What it may do; without rules, everything a worker may.
    pub(crate) rules: Option<Arc<Rules>>,
    pub(crate) peer: Option<IpAddr>,
    pub(crate) timeout_default: Duration,
    pub(crate) connected: Now,
    pub(crate) load: Arc<AtomicU32>,
    /// Calls it has made that are in flight.
    pub(crate) made: Arc<AtomicU32>,
    /// Under the ids by which others call them.
    pub(crate) functions: BTreeSet<Arc<str>>,
    pub(crate) triggers: BTreeSet<Arc<str>>,
    pub(crate) trigger_types: BTreeSet<Arc<str>>,
    /// Said goodbye: finishes what runs, gets nothing new.
    pub(crate) leaving: bool,
}

#[derive(Default)]
pub(crate) struct Sessions(DashMap<SessionId, Session>);

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
    pub functions: Vec<Arc<str>>,
    pub calls_in_flight: u32,
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
    SessionView {
        session,
        public_id: Arc::clone(&row.public_id),
        trust: row.trust,
        hello: row.hello.clone(),
        namespace: row.namespace.clone(),
        rules: row.rules.clone(),
        peer: row.peer,
        connected: row.connected,
        functions: row.functions.iter().cloned().collect(),
        calls_in_flight: row.load.load(Ordering::Relaxed),
        leaving: row.leaving,
    }
}
