//! Calls in flight: who waits for whom, and until when.
//!
//! A caller that numbers its calls needs no index to be found again: its session and its number
//! make the call's id.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
};

use agentos_protocol::{Call, CallId, CallRef, Delivery, SessionId};
use dashmap::{DashMap, mapref::entry::Entry};

use crate::{
    Now, Watched,
    registry::{Gate, Hasher, Line, Standing},
};

/// Bits of a call's id that hold the caller's own number; the rest holds its session.
const NUMBER_BITS: u32 = 36;
/// Largest number a caller may give a call.
pub(crate) const NUMBER_MAX: u64 = (1 << NUMBER_BITS) - 1;

/// One call that has been sent to its callee and has no outcome yet.
#[derive(Debug)]
pub(crate) struct InFlight {
    pub(crate) caller: SessionId,
    /// `None` for a void call: nobody waits.
    pub(crate) reference: Option<CallRef>,
    pub(crate) callee: SessionId,
    /// Under which somebody was found who runs it.
    pub(crate) function: Arc<str>,
    /// What whoever made it calls it, where that may be something else.
    pub(crate) asked: Option<Arc<str>>,
    pub(crate) delivery: Delivery,
    pub(crate) started: Now,
    pub(crate) deadline: Now,
    /// Counts it among those it has made.
    pub(crate) by: Arc<Standing>,
    /// Has counted it among those it has been given.
    pub(crate) on: Arc<Standing>,
    pub(crate) watched: Option<Box<dyn Watched>>,
    /// The place that it has among those that its callee runs at one time.
    pub(crate) gate: Option<Gate>,
    /// Where it waits for somebody who has room.
    pub(crate) waits: Option<Arc<Line>>,
    /// What is to be sent: of a call that waits, or may be sent again.
    pub(crate) kept: Option<Box<Call>>,
    pub(crate) idempotent: bool,
    /// Its caller has been given a part of the result.
    pub(crate) has_begun: AtomicBool,
    /// How often it was sent.
    pub(crate) sent: u8,
}

impl InFlight {
    /// What whoever made it calls it.
    pub(crate) fn named(&self) -> &Arc<str> {
        self.asked.as_ref().unwrap_or(&self.function)
    }

    pub(crate) fn may_run_twice(&self) -> bool {
        self.idempotent && self.kept.is_some() && !self.has_begun.load(Ordering::Relaxed)
    }

    /// Bytes of its payload that are kept.
    pub(crate) fn bytes(&self) -> usize {
        self.kept.as_ref().map_or(0, |call| call.payload.len())
    }
}

#[derive(Default)]
pub(crate) struct Calls {
    rows: DashMap<CallId, InFlight, Hasher>,
    count: AtomicUsize,
    /// Numbers for calls whose callers do not number them.
    next: AtomicU64,
    /// No deadline is earlier, as microseconds; `u64::MAX` when there is none.
    earliest: AtomicU64,
}

/// Why a call was not taken.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum NotTaken {
    /// The caller has a call of this number in flight.
    NumberInUse,
    NumberTooLarge,
}

impl Calls {
    pub(crate) fn new() -> Self {
        Calls {
            earliest: AtomicU64::new(u64::MAX),
            ..Self::default()
        }
    }

    /// The id of the call that `session` numbers `number`.
    pub(crate) fn id(session: SessionId, number: u64) -> CallId {
        CallId((session.0 << NUMBER_BITS) | (number & NUMBER_MAX))
    }

    /// Adds a call; true when its deadline is earlier than all others'.
    pub(crate) fn add(&self, call: InFlight) -> Result<(CallId, bool), (Box<InFlight>, NotTaken)> {
        let id = match call.reference.as_ref().and_then(CallRef::number) {
            Some(number) if number > NUMBER_MAX => {
                return Err((Box::new(call), NotTaken::NumberTooLarge));
            }
            Some(number) => Self::id(call.caller, number),
            // Session 0 is nobody's.
            None => Self::id(SessionId(0), self.next.fetch_add(1, Ordering::Relaxed) + 1),
        };
        let deadline = call.deadline.0;
        match self.rows.entry(id) {
            Entry::Occupied(_) => return Err((Box::new(call), NotTaken::NumberInUse)),
            Entry::Vacant(vacant) => {
                call.by.made.fetch_add(1, Ordering::Relaxed);
                vacant.insert(call);
            }
        }
        self.count.fetch_add(1, Ordering::Relaxed);
        let sooner = deadline < self.earliest.load(Ordering::Relaxed)
            && deadline < self.earliest.fetch_min(deadline, Ordering::AcqRel);
        Ok((id, sooner))
    }

    /// Takes the call out if `rightful` says so of it. Its callee's count is the taker's to correct.
    pub(crate) fn take(
        &self,
        id: CallId,
        rightful: impl FnOnce(&InFlight) -> bool,
    ) -> Option<InFlight> {
        let (_, call) = self.rows.remove_if(&id, |_, call| rightful(call))?;
        self.count.fetch_sub(1, Ordering::Relaxed);
        call.by.made.fetch_sub(1, Ordering::Relaxed);
        Some(call)
    }

    /// Looks at a call without holding it.
    pub(crate) fn look<T>(
        &self,
        id: CallId,
        look: impl FnOnce(&InFlight) -> Option<T>,
    ) -> Option<T> {
        self.rows.get(&id).and_then(|call| look(&call))
    }

    /// Changes a call that goes on.
    pub(crate) fn change<T>(
        &self,
        id: CallId,
        change: impl FnOnce(&mut InFlight) -> Option<T>,
    ) -> Option<T> {
        self.rows
            .get_mut(&id)
            .and_then(|mut call| change(&mut call))
    }

    pub(crate) fn len(&self) -> usize {
        self.count.load(Ordering::Relaxed)
    }

    /// The calls that `wanted` picks. Looks at all of them, too.
    pub(crate) fn find(&self, wanted: impl Fn(&InFlight) -> bool) -> Vec<CallId> {
        let found = self.rows.iter().filter(|row| wanted(row));
        found.map(|row| *row.key()).collect()
    }

    /// Takes out every call that `wanted` picks. Looks at all of them: for rare events only.
    pub(crate) fn take_all(&self, wanted: impl Fn(&InFlight) -> bool) -> Vec<(CallId, InFlight)> {
        self.find(&wanted)
            .into_iter()
            .filter_map(|id| Some((id, self.take(id, &wanted)?)))
            .collect()
    }

    /// Takes out the calls whose deadline has passed; says when to look again.
    pub(crate) fn take_late(&self, now: Now) -> (Vec<(CallId, InFlight)>, Option<Now>) {
        // Calls added from here on lower it again themselves.
        self.earliest.store(u64::MAX, Ordering::Release);
        let late = self.take_all(|call| call.deadline <= now);
        let next = self
            .rows
            .iter()
            .map(|row| row.deadline.0)
            .min()
            .unwrap_or(u64::MAX);
        let next = next.min(self.earliest.fetch_min(next, Ordering::AcqRel));
        (late, (next != u64::MAX).then_some(Now(next)))
    }

    /// Calls that the session is working on.
    pub(crate) fn running_on(&self, session: SessionId) -> usize {
        self.rows.iter().filter(|row| row.callee == session).count()
    }
}
