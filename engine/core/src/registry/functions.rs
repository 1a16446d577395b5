//! Functions and the sessions that offer them.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use agentos_protocol::{FunctionSpec, SessionId};
use dashmap::DashMap;
use smallvec::SmallVec;

use super::{
    Gate, Hasher, Line, Standing,
    choice::{By, draw, pick},
    namespace::key,
};
use crate::{Now, policy::Trust};

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
    /// Where it says how many calls it runs at one time. Set where the offer is put in.
    pub(crate) gate: Option<Gate>,
}

impl Offering {
    pub(super) fn weight(&self, now: Now) -> u16 {
        self.standing.weight(now)
    }

    /// The weight that its session was given, whatever became of it since.
    pub(super) fn said(&self) -> u16 {
        self.standing.traffic.look().said()
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
            gate: None,
            idempotent: self.spec.idempotent,
            http: self.spec.http.is_some(),
        }
    }

    /// Takes a place for a call, if there is one.
    fn enter(&self) -> bool {
        self.gate.as_ref().is_none_or(Gate::enter)
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

/// What is wanted of whoever runs a call, beyond offering its function.
#[derive(Clone, Copy, Default)]
pub(crate) struct Wish<'a> {
    /// Calls of one key go to one and the same.
    pub(crate) affinity: Option<&'a str>,
    /// Who is not to be asked, because it is gone.
    pub(crate) avoid: Option<SessionId>,
}

/// What became of looking for somebody.
pub(crate) enum Choice {
    Of(Chosen),
    /// All run as many calls as they take; here it can wait.
    Full {
        line: Arc<Line>,
        idempotent: bool,
    },
}

/// Who is to run a call. The call is counted among the session's until it
/// [exits](super::Traffic::exit).
pub(crate) struct Chosen {
    pub(crate) session: SessionId,
    pub(crate) standing: Arc<Standing>,
    /// The function's id, under which it was called.
    pub(crate) id: Arc<str>,
    pub(crate) local: Option<Arc<str>>,
    /// The place that the call has taken, to be given back.
    pub(crate) gate: Option<Gate>,
    pub(crate) idempotent: bool,
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
    /// Calls that wait may find room then, in the line that is given.
    pub(crate) fn offer(&self, mut offer: Offering) -> Option<Arc<Line>> {
        let key = key(offer.namespace.as_deref(), &offer.spec.id);
        // The id's own text serves as the key where it can.
        let key = match key {
            std::borrow::Cow::Borrowed(_) => Arc::clone(&offer.spec.id),
            std::borrow::Cow::Owned(key) => key.into(),
        };
        let mut offers = self.rows.entry(key).or_default();
        let gate_of = |own: bool| {
            let mut offers = offers.iter();
            offers.find_map(|other| {
                let wanted = other.gate.as_ref()?;
                ((other.session == offer.session) == own).then_some(wanted)
            })
        };
        let namespace = offer.namespace.as_ref();
        let left = &offer.standing.left;
        offer.gate = Gate::of(&offer.spec, namespace, gate_of(true), gate_of(false), left);
        let line = offer.gate.as_ref().map(|gate| Arc::clone(&gate.line));
        let line = line.or_else(|| {
            offers
                .iter()
                .find_map(|other| Some(Arc::clone(&other.gate.as_ref()?.line)))
        });
        match offers
            .iter_mut()
            .find(|earlier| earlier.session == offer.session)
        {
            Some(earlier) => *earlier = offer,
            None => offers.push(offer),
        }
        line
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
        if let Some(offer) = &withdrawn
            && let Some(gate) = &offer.gate
        {
            offer.standing.left.keep(&offer.spec.id, gate);
        }
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
    pub(crate) fn choose(
        &self,
        now: Now,
        namespace: Option<&str>,
        id: &str,
        wish: Wish<'_>,
    ) -> Option<Choice> {
        let offers = self.rows.get(&*key(namespace, id))?;
        let turn = match offers.len() {
            1 => 0,
            _ => self.turn.fetch_add(1, Ordering::Relaxed),
        };
        let by = match wish.affinity {
            None => By::Turn(draw(turn)),
            Some(key) => By::Key(self.rows.hasher(), key),
        };
        match wish.avoid {
            None => choose_of(now, &offers, by),
            Some(avoid) => {
                let others = offers.iter().filter(|offer| offer.session != avoid);
                let others: SmallVec<[Offering; 1]> = others.cloned().collect();
                choose_of(now, &others, by)
            }
        }
    }

    /// As [`Functions::choose`], where it is decided who. Limits are for others.
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

    /// Whether another than `session` could take its calls of the function.
    pub(crate) fn can_spare(
        &self,
        now: Now,
        namespace: Option<&str>,
        id: &str,
        session: SessionId,
        failing_max: u32,
    ) -> bool {
        let is_well = |offer: &Offering| {
            offer.session != session
                && offer.weight(now) > 0
                && offer.standing.failing.load(Ordering::Relaxed) < failing_max
        };
        self.rows
            .get(&*key(namespace, id))
            .is_some_and(|offers| offers.iter().any(is_well))
    }

    /// Whether no call has a place anywhere, or waits for one.
    #[cfg(test)]
    pub(crate) fn are_idle(&self) -> bool {
        let mut rows = self.rows.iter();
        rows.all(|offers| {
            offers
                .iter()
                .all(|offer| offer.gate.as_ref().is_none_or(Gate::is_idle))
        })
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

fn choose_of(now: Now, offers: &[Offering], by: By<'_>) -> Option<Choice> {
    let mut offer = pick(now, offers, by)?;
    // One that only describes an endpoint is not the one who runs it.
    let http = offer.spec.http.is_some();
    if !http {
        if !offer.enter() {
            match others_with_room(now, offers) {
                Some(other) => offer = other,
                None => {
                    return offer.gate.as_ref().map(|gate| Choice::Full {
                        line: Arc::clone(&gate.line),
                        idempotent: offer.spec.idempotent,
                    });
                }
            }
        }
        offer.standing.traffic.enter();
    }
    let mut chosen = offer.chosen();
    if !http {
        chosen.gate.clone_from(&offer.gate);
    }
    Some(Choice::Of(chosen))
}

/// The least busy of those that have a share and room, with a place taken.
fn others_with_room(now: Now, offers: &[Offering]) -> Option<&Offering> {
    let has_room = |offer: &&Offering| offer.gate.as_ref().is_none_or(Gate::has_room);
    let mut others: SmallVec<[&Offering; 8]> = offers
        .iter()
        .filter(|offer| offer.weight(now) > 0)
        .filter(has_room)
        .collect();
    others.sort_by_key(|offer| offer.busy());
    others.into_iter().find(|offer| offer.enter())
}

fn view(offers: &[Offering]) -> Option<FunctionView> {
    let newest = offers.last()?;
    Some(FunctionView {
        spec: Arc::clone(&newest.spec),
        namespace: newest.namespace.clone(),
        sessions: offers.iter().map(|offer| offer.session).collect(),
    })
}
