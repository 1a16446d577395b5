//! How a session's part in calls ends: one by one, and for good.

use std::{sync::atomic::Ordering, time::Duration};

use agentos_protocol::{Code, ErrorBody, Origin, SessionId};

use super::Router;
use crate::{
    Effect, Effects, EndedCall, Now, Share,
    calls::InFlight,
    registry::{Gate, Standing},
};

/// Failures one after the other after which a session rests. As many as others take (Envoy).
const FAILING_MAX: u32 = 5;
/// How long it rests.
const REST: Duration = Duration::from_secs(10);

/// How a call ended, as far as it says something about whoever ran it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Ended {
    Well,
    /// By the callee's doing: it failed, was silent until the deadline, or went away.
    Badly,
    /// By the caller's or by ours: says nothing about the callee.
    Unwanted,
}

impl Ended {
    pub(super) fn of<T>(outcome: &Result<T, ErrorBody>) -> Self {
        match outcome {
            Ok(_) => Ended::Well,
            Err(error) => match (error.origin, error.code) {
                // What somebody sent wrongly is nobody else's fault, whoever found it out.
                (Origin::Worker, Code::InvalidInput | Code::Cancelled) => Ended::Unwanted,
                (Origin::Worker, _) | (_, Code::Timeout | Code::WorkerLost) => Ended::Badly,
                _ => Ended::Unwanted,
            },
        }
    }
}

impl Router {
    /// Lets the session have `share` of the calls from now on; false when it is gone.
    pub fn set_share(&self, session: SessionId, share: Share) -> bool {
        let set = |row: &crate::registry::Session| row.standing.traffic.set(share);
        self.registry.sessions.look(session, set).is_some()
    }

    /// The session's share grows from now on to what it is, over this time; false when it is gone.
    pub fn ramp(&self, now: Now, session: SessionId, over: Duration) -> bool {
        let begin = |row: &crate::registry::Session| row.standing.ramp.begin(now, over);
        self.registry.sessions.look(session, begin).is_some()
    }

    /// Gives the session nothing new: what it offers is withdrawn, what it runs goes on. Says
    /// [`Effect::Drained`] once that is over; false when the session is gone.
    pub fn drain(&self, now: Now, session: SessionId, out: &mut Effects) -> bool {
        let standing = self
            .registry
            .sessions
            .look(session, |row| row.standing.clone());
        let Some(standing) = standing else {
            return false;
        };
        self.on_goodbye(now, session, out);
        // Only now: whoever was choosing has counted its call.
        if standing.traffic.leave().is_drained() {
            out.push(Effect::Drained(session));
        }
        true
    }

    /// A call of the session is over, or has not come to it; another may take its place.
    pub(super) fn exit(
        &self,
        now: Now,
        session: SessionId,
        standing: &Standing,
        gate: Option<&Gate>,
        out: &mut Effects,
    ) {
        self.release(session, standing, gate, out);
        if let Some(gate) = gate {
            self.advance(now, &gate.line, out);
        }
    }

    pub(super) fn release(
        &self,
        session: SessionId,
        standing: &Standing,
        gate: Option<&Gate>,
        out: &mut Effects,
    ) {
        if let Some(gate) = gate {
            gate.exit();
        }
        if standing.traffic.exit().is_drained() {
            out.push(Effect::Drained(session));
        }
    }

    /// A session that fails call after call gets none for a while, if another does better.
    fn on_failure(&self, now: Now, call: &InFlight) {
        let callee = &call.on;
        callee.failed.fetch_add(1, Ordering::Relaxed);
        if callee.failing.fetch_add(1, Ordering::Relaxed) + 1 < FAILING_MAX {
            return;
        }
        let namespace = |row: &crate::registry::Session| row.namespace.clone();
        let Some(namespace) = self.registry.sessions.look(call.callee, namespace) else {
            return;
        };
        let (functions, namespace) = (&self.registry.functions, namespace.as_deref());
        if functions.can_spare(now, namespace, &call.function, call.callee, FAILING_MAX) {
            // One failure after its return, and it rests again.
            callee.failing.store(FAILING_MAX - 1, Ordering::Relaxed);
            callee.back.store(now.after(REST).0, Ordering::Relaxed);
            callee.traffic.rest();
        }
    }

    /// A call is over: once for every call that was taken out.
    pub(super) fn leave(&self, now: Now, call: &InFlight, ended: Ended, out: &mut Effects) {
        if let Some(line) = &call.waits {
            line.leave(call.bytes());
        } else {
            let callee = &call.on;
            callee.ended.fetch_add(1, Ordering::Relaxed);
            match ended {
                Ended::Badly => self.on_failure(now, call),
                // Nearly always it is 0, and is not written.
                Ended::Well if callee.failing.load(Ordering::Relaxed) > 0 => {
                    callee.failing.store(0, Ordering::Relaxed);
                }
                Ended::Well | Ended::Unwanted => {}
            }
            self.exit(now, call.callee, callee, call.gate.as_ref(), out);
        }
        if let Some(watcher) = self.watcher.get() {
            watcher.call_ended(&EndedCall {
                function: call.named(),
                delivery: &call.delivery,
                took: call.started.until(now),
                failed: ended != Ended::Well,
            });
        }
    }
}
