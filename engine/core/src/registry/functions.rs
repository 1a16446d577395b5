//! Functions and the sessions that offer them.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use agentos_protocol::{FunctionSpec, SessionId};
use dashmap::DashMap;
use smallvec::SmallVec;

use super::{
    Hasher, Standing,
    choice::{draw, pick},
    namespace::key,
};
use crate::policy::Trust;

/// One session's offer of a function.
#[derive(Clone)]
pub(crate) struct Offering {
    pub(crate) session: SessionId,
    pub(crate) trust: Trust,
    /// Under the id by which it is called.
    pub(crate) spec: Arc<FunctionSpec>,
    /// What the session itself calls it, when that is something else.
    pub(crate) local: Option<Arc<str>>,
    pub(crate) namespace: Option<Arc<str>>,
    pub(crate) standing: Arc<Standing>,
}

impl Offering {
    pub(super) fn weight(&self) -> u16 {
        self.standing.traffic.look().weight()
    }

    pub(super) fn busy(&self) -> u32 {
        self.standing.traffic.look().in_flight()
    }

    pub(super) fn is_ready(&self) -> bool {
        self.standing.traffic.look().is_ready()
    }

    fn chosen(&self) -> Chosen {
        Chosen {
            session: self.session,
            standing: Arc::clone(&self.standing),
            id: Arc::clone(&self.spec.id),
            local: self.local.clone(),
            http: self.spec.http.is_some(),
        }
    }

    pub(super) fn build(&self) -> u64 {
        self.standing.build.load(Ordering::Relaxed)
    }
}

#[derive(Default)]
pub(crate) struct Functions {
    rows: DashMap<Arc<str>, SmallVec<[Offering; 1]>, Hasher>,
    /// Turns with each choice, so that equals take turns.
    turn: AtomicU64,
}

/// Who is to run a call. The call is counted among the session's until it
/// [exits](super::Traffic::exit).
pub(crate) struct Chosen {
    pub(crate) session: SessionId,
    pub(crate) standing: Arc<Standing>,
    /// The function's id, under which it was called.
    pub(crate) id: Arc<str>,
    pub(crate) local: Option<Arc<str>>,
    /// The function is an HTTP endpoint: its session only describes it.
    pub(crate) http: bool,
}

/// A function as it is listed.
#[derive(Clone, Debug)]
pub struct FunctionView {
    /// As the newest worker describes it.
    pub spec: Arc<FunctionSpec>,
    /// `None` is the default namespace.
    pub namespace: Option<Arc<str>>,
    /// Sessions that offer it, oldest first.
    pub sessions: Vec<SessionId>,
}

impl Functions {
    /// Adds an offer, replacing the session's earlier one of the same id.
    pub(crate) fn offer(&self, offer: Offering) {
        let key = key(offer.namespace.as_deref(), &offer.spec.id);
        // The id's own text serves as the key where it can.
        let key = match key {
            std::borrow::Cow::Borrowed(_) => Arc::clone(&offer.spec.id),
            std::borrow::Cow::Owned(key) => key.into(),
        };
        let mut offers = self.rows.entry(key).or_default();
        match offers
            .iter_mut()
            .find(|earlier| earlier.session == offer.session)
        {
            Some(earlier) => *earlier = offer,
            None => offers.push(offer),
        }
    }

    /// Takes an offer back.
    pub(crate) fn withdraw(
        &self,
        session: SessionId,
        namespace: Option<&str>,
        id: &str,
    ) -> Option<Offering> {
        let mut withdrawn = None;
        self.rows.remove_if_mut(&*key(namespace, id), |_, offers| {
            if let Some(at) = offers.iter().position(|offer| offer.session == session) {
                withdrawn = Some(offers.remove(at));
            }
            offers.is_empty()
        });
        withdrawn
    }

    pub(crate) fn offered_by_engine(&self, namespace: Option<&str>, id: &str) -> bool {
        self.rows
            .get(&*key(namespace, id))
            .is_some_and(|offers| offers.iter().any(|offer| offer.trust == Trust::Engine))
    }

    /// Picks who runs a call, and counts the call as theirs.
    ///
    /// Counted before the row is let go: whoever withdraws an offer sees every call that it got.
    pub(crate) fn choose(&self, namespace: Option<&str>, id: &str) -> Option<Chosen> {
        let offers = self.rows.get(&*key(namespace, id))?;
        let turn = match offers.len() {
            1 => 0,
            _ => self.turn.fetch_add(1, Ordering::Relaxed),
        };
        let offer = pick(&offers, draw(turn))?;
        // One that only describes an endpoint is not the one who runs it.
        if offer.spec.http.is_none() {
            offer.standing.traffic.enter();
        }
        Some(offer.chosen())
    }

    /// As [`Functions::choose`], where it is decided who.
    pub(crate) fn of_session(
        &self,
        session: SessionId,
        namespace: Option<&str>,
        id: &str,
    ) -> Option<Chosen> {
        let offers = self.rows.get(&*key(namespace, id))?;
        let offer = offers
            .iter()
            .find(|offer| offer.session == session && offer.spec.http.is_none())?;
        offer.standing.traffic.enter();
        Some(offer.chosen())
    }

    pub(crate) fn get(&self, namespace: Option<&str>, id: &str) -> Option<FunctionView> {
        self.rows
            .get(&*key(namespace, id))
            .and_then(|offers| view(&offers))
    }

    pub(crate) fn list(&self) -> Vec<FunctionView> {
        let mut list: Vec<FunctionView> = self
            .rows
            .iter()
            .filter_map(|offers| view(&offers))
            .collect();
        list.sort_by(|a, b| (&a.spec.id, &a.namespace).cmp(&(&b.spec.id, &b.namespace)));
        list
    }
}

fn view(offers: &[Offering]) -> Option<FunctionView> {
    let newest = offers.last()?;
    Some(FunctionView {
        spec: Arc::clone(&newest.spec),
        namespace: newest.namespace.clone(),
        sessions: offers.iter().map(|offer| offer.session).collect(),
    })
}
