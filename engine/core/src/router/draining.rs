//! How a session's part in calls ends: one by one, and for good.

use std::sync::atomic::Ordering;

use agentos_protocol::{Code, ErrorBody, Origin, SessionId};

use super::Router;
use crate::{Effect, Effects, EndedCall, Now, Share, calls::InFlight, registry::Standing};

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

    /// Gives the session nothing new: what it offers is withdrawn, what it runs goes on. Says
    /// [`Effect::Drained`] once that is over; false when the session is gone.
    pub fn drain(&self, session: SessionId, out: &mut Effects) -> bool {
        let standing = self
            .registry
            .sessions
            .look(session, |row| row.standing.clone());
        let Some(standing) = standing else {
            return false;
        };
        self.on_goodbye(session, out);
        // Only now: whoever was choosing has counted its call.
        if standing.traffic.leave().is_drained() {
            out.push(Effect::Drained(session));
        }
        true
    }

    /// A call of the session is over, or has not come to it.
    #[expect(clippy::unused_self, reason = "a step of the router's")]
    pub(super) fn exit(&self, session: SessionId, standing: &Standing, out: &mut Effects) {
        if standing.traffic.exit().is_drained() {
            out.push(Effect::Drained(session));
        }
    }

    /// A call has left its callee: once for every call that was taken out.
    pub(super) fn leave(&self, now: Now, call: &InFlight, ended: Ended, out: &mut Effects) {
        let callee = &call.on;
        callee.ended.fetch_add(1, Ordering::Relaxed);
        if ended == Ended::Badly {
            callee.failed.fetch_add(1, Ordering::Relaxed);
        }
        self.exit(call.callee, callee, out);
        if let Some(watcher) = self.watcher.get() {
            watcher.call_ended(&EndedCall {
                function: &call.function,
                delivery: &call.delivery,
                took: call.started.until(now),
                failed: ended != Ended::Well,
            });
        }
    }
}
