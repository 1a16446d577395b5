//! Functions and the sessions that offer them.

use std::sync::{
    Arc,
    atomic::{AtomicU32, AtomicUsize, Ordering},
};

use agentos_protocol::{FunctionSpec, SessionId};
use dashmap::DashMap;
use smallvec::SmallVec;

use crate::policy::Trust;

/// One session's offer of a function.
struct Offer {
    session: SessionId,
    trust: Trust,
    spec: Arc<FunctionSpec>,
    /// Calls that the session has in flight, of all its functions.
    load: Arc<AtomicU32>,
}

#[derive(Default)]
pub(crate) struct Functions {
    rows: DashMap<Arc<str>, SmallVec<[Offer; 1]>>,
    /// Turns with each choice, so that equals take turns.
    turn: AtomicUsize,
}

/// Who is to run a call.
pub(crate) struct Chosen {
    pub(crate) session: SessionId,
    pub(crate) load: Arc<AtomicU32>,
}

/// A function as it is listed.
#[derive(Clone, Debug)]
pub struct FunctionView {
    /// As the newest worker describes it.
    pub spec: Arc<FunctionSpec>,
    /// Sessions that offer it, oldest first.
    pub sessions: Vec<SessionId>,
}

impl Functions {
    /// Adds an offer, replacing the session's earlier one of the same id.
    pub(crate) fn offer(
        &self,
        session: SessionId,
        trust: Trust,
        load: Arc<AtomicU32>,
        spec: FunctionSpec,
    ) {
        let offer = Offer {
            session,
            trust,
            spec: Arc::new(spec),
            load,
        };
        let mut offers = self.rows.entry(Arc::clone(&offer.spec.id)).or_default();
        match offers.iter_mut().find(|earlier| earlier.session == session) {
            Some(earlier) => *earlier = offer,
            None => offers.push(offer),
        }
    }

    /// Takes an offer back; false when there was none.
    pub(crate) fn withdraw(&self, session: SessionId, id: &str) -> bool {
        let mut withdrawn = false;
        self.rows.remove_if_mut(id, |_, offers| {
            let before = offers.len();
            offers.retain(|offer| offer.session != session);
            withdrawn = offers.len() < before;
            offers.is_empty()
        });
        withdrawn
    }

    pub(crate) fn offered_by_engine(&self, id: &str) -> bool {
        self.rows
            .get(id)
            .is_some_and(|offers| offers.iter().any(|offer| offer.trust == Trust::Engine))
    }

    /// Picks who runs a call: the less busy of two that are drawn in turn.
    ///
    /// Power of two choices (Mitzenmacher 2001): nearly as even as asking everybody, at the price
    /// of two looks.
    pub(crate) fn choose(&self, id: &str) -> Option<Chosen> {
        let offers = self.rows.get(id)?;
        let offer = match &offers[..] {
            [] => return None,
            [only] => only,
            many => {
                let turn = self.turn.fetch_add(1, Ordering::Relaxed);
                let first = &many[turn % many.len()];
                // A stride that differs from turn to turn, so that every pair meets.
                let second =
                    &many[(turn + 1 + (turn / many.len()) % (many.len() - 1)) % many.len()];
                if second.load.load(Ordering::Relaxed) < first.load.load(Ordering::Relaxed) {
                    second
                } else {
                    first
                }
            }
        };
        Some(Chosen {
            session: offer.session,
            load: Arc::clone(&offer.load),
        })
    }

    pub(crate) fn get(&self, id: &str) -> Option<FunctionView> {
        self.rows.get(id).and_then(|offers| view(&offers))
    }

    pub(crate) fn list(&self) -> Vec<FunctionView> {
        let mut list: Vec<FunctionView> = self
            .rows
            .iter()
            .filter_map(|offers| view(&offers))
            .collect();
        list.sort_by(|a, b| a.spec.id.cmp(&b.spec.id));
        list
    }
}

fn view(offers: &[Offer]) -> Option<FunctionView> {
    let newest = offers.last()?;
    Some(FunctionView {
        spec: Arc::clone(&newest.spec),
        sessions: offers.iter().map(|offer| offer.session).collect(),
    })
}
