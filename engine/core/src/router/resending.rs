//! Calls that change hands: those that waited for a worker with room, those whose worker was lost
//! before it answered, and those that did not reach the worker they were for.

use std::sync::Arc;

use agentos_protocol::{Call, CallId, CallRef, Code, Delivery, ErrorBody, Frame, SessionId};

use super::{Router, ours};
use crate::{
    Effect, Effects, Now,
    calls::InFlight,
    registry::{Choice, Chosen, Line, NOBODY, Wish},
};

/// How often a call is sent at most, all told.
const SENT_MAX: u8 = 3;

impl Router {
    /// Lets a call wait until one of the workers that offer its function has room.
    pub(super) fn line_up(
        &self,
        now: Now,
        call: InFlight,
        line: &Line,
        out: &mut Effects,
    ) -> Result<(), ErrorBody> {
        let bytes = call.bytes();
        line.join(call.named(), bytes)?;
        let (id, sooner) = self.calls.add(call).map_err(|(_, why)| {
            line.leave(bytes);
            super::calling::not_taken(why)
        })?;
        if sooner {
            out.push(Effect::Sooner);
        }
        self.wait_on(now, id, line, out);
        Ok(())
    }

    fn wait_on(&self, now: Now, id: CallId, line: &Line, out: &mut Effects) {
        line.push(id, |call| self.waits(call));
        // Room may have been made since it was looked for; whoever made it did not see this call.
        self.advance(now, line, out);
    }

    fn waits(&self, call: CallId) -> bool {
        let waits = |call: &InFlight| (call.callee == NOBODY).then_some(());
        self.calls.look(call, waits).is_some()
    }

    /// Starts calls that wait, as long as there is room. Without anybody who offers the function
    /// they are over.
    ///
    /// A place is taken before a call is looked for: whoever makes room meanwhile, or comes to wait,
    /// goes through here too, and finds either the call or the place.
    pub(super) fn advance(&self, now: Now, line: &Line, out: &mut Effects) {
        while !line.is_empty() {
            let functions = &self.registry.functions;
            let namespace = line.namespace.as_deref();
            // Whoever has room: those that wait have waited long enough.
            match functions.choose(now, namespace, &line.function, Wish::default()) {
                Some(Choice::Of(chosen)) => match line.pop() {
                    Some(id) => {
                        self.hand_over(now, id, NOBODY, chosen, out);
                    }
                    None => {
                        self.release(chosen.session, &chosen.standing, chosen.gate.as_ref(), out)
                    }
                },
                Some(Choice::Full { .. }) => return,
                None => self.give_up(now, line, out),
            }
        }
    }

    fn give_up(&self, now: Now, line: &Line, out: &mut Effects) {
        while let Some(id) = line.pop() {
            if let Some(call) = self.calls.take(id, |call| call.callee == NOBODY) {
                let error = ErrorBody::engine(
                    Code::WorkerLost,
                    format!(
                        "the workers that offered `{}` went away while the call waited for one",
                        call.named()
                    ),
                );
                self.end(now, call, Err(error), out);
            }
        }
    }

    /// Gives a call whose worker is gone to another one, if it may be run twice and time is left.
    pub(super) fn resend(&self, now: Now, id: CallId, lost: SessionId, out: &mut Effects) -> bool {
        let wanted = self.calls.look(id, |call| {
            let may = call.callee == lost
                && call.caller != lost
                && call.may_run_twice()
                && call.sent < SENT_MAX
                && call.deadline > now;
            let kept = call.kept.as_deref().filter(|_| may)?;
            Some(Wanted::by(call, kept))
        });
        let Some(wanted) = wanted else { return false };
        match self.choose_again(now, &wanted, lost) {
            Ok(Choice::Of(chosen)) => self.hand_over(now, id, lost, chosen, out),
            Ok(Choice::Full { line, .. }) => self.send_to_line(now, id, lost, &line, out),
            Err(_) => false,
        }
    }

    /// Gives a call that did not reach its worker to another one: it has run nowhere yet.
    pub(super) fn redirect(&self, now: Now, to: SessionId, call: &Call, out: &mut Effects) -> bool {
        let Some(id) = call.call.as_ref().and_then(ours) else {
            return false;
        };
        let wanted = self.calls.look(id, |row| {
            let may = row.callee == to && row.sent < SENT_MAX && row.deadline > now;
            may.then(|| Wanted::by(row, call))
        });
        let Some(wanted) = wanted else { return false };
        let chosen = self.choose_again(now, &wanted, to);
        let Ok(Choice::Of(chosen)) = chosen else {
            return false;
        };
        let kept = self.calls.change(id, |row| {
            (row.callee == to).then(|| {
                if row.kept.is_none() {
                    row.kept = Some(Box::new(call.clone()));
                }
            })
        });
        if kept.is_none() {
            self.exit(
                now,
                chosen.session,
                &chosen.standing,
                chosen.gate.as_ref(),
                out,
            );
            return false;
        }
        self.hand_over(now, id, to, chosen, out)
    }

    fn choose_again(
        &self,
        now: Now,
        wanted: &Wanted,
        avoid: SessionId,
    ) -> Result<Choice, ErrorBody> {
        let namespace = wanted.namespace.as_deref();
        let wish = Wish {
            affinity: wanted.affinity.as_deref(),
            avoid: Some(avoid),
        };
        self.choose(now, namespace, &wanted.function, &wanted.delivery, wish)
    }

    /// Moves the call from `from` to whoever was chosen; false when it has ended meanwhile.
    fn hand_over(
        &self,
        now: Now,
        id: CallId,
        from: SessionId,
        chosen: Chosen,
        out: &mut Effects,
    ) -> bool {
        let Chosen {
            session,
            standing,
            id: function,
            local,
            gate,
            ..
        } = chosen;
        let handed = self.calls.change(id, |row| {
            if row.callee != from {
                return None;
            }
            let bytes = row.bytes();
            let mut call = if row.idempotent {
                row.kept.clone()?
            } else {
                row.kept.take()?
            };
            row.callee = session;
            row.sent += 1;
            call.call = Some(CallRef::from(id));
            call.function = local.clone().unwrap_or_else(|| Arc::clone(&function));
            call.timeout_ms =
                Some(u32::try_from(now.until(row.deadline).as_millis().max(1)).unwrap_or(u32::MAX));
            let on = std::mem::replace(&mut row.on, Arc::clone(&standing));
            let left = std::mem::replace(&mut row.gate, gate.clone());
            let line = row.waits.take();
            Some((call, on, left, line, bytes))
        });
        let Some((call, on, left, line, bytes)) = handed else {
            self.release(session, &standing, gate.as_ref(), out);
            if from != NOBODY
                && let Some(gate) = &gate
            {
                self.advance(now, &gate.line, out);
            }
            return false;
        };
        match line {
            Some(line) => line.leave(bytes),
            None => self.exit(now, from, &on, left.as_ref(), out),
        }
        let frame = Frame::Call(call);
        out.push(Effect::Send { to: session, frame });
        true
    }

    /// Lets a call that was given to somebody who is gone wait for another.
    fn send_to_line(
        &self,
        now: Now,
        id: CallId,
        lost: SessionId,
        line: &Arc<Line>,
        out: &mut Effects,
    ) -> bool {
        let moved = self.calls.change(id, |row| {
            if row.callee != lost || line.join(row.named(), row.bytes()).is_err() {
                return None;
            }
            row.callee = NOBODY;
            row.waits = Some(Arc::clone(line));
            let on = std::mem::replace(&mut row.on, Arc::clone(&self.nobody));
            Some((on, row.gate.take()))
        });
        let Some((on, gate)) = moved else {
            return false;
        };
        self.exit(now, lost, &on, gate.as_ref(), out);
        self.wait_on(now, id, line, out);
        true
    }
}

/// What has to be known to choose for a call again.
struct Wanted {
    namespace: Option<Arc<str>>,
    function: Arc<str>,
    delivery: Delivery,
    affinity: Option<Arc<str>>,
}

impl Wanted {
    fn by(call: &InFlight, sent: &Call) -> Self {
        Wanted {
            namespace: sent.namespace.clone(),
            function: Arc::clone(&call.function),
            delivery: call.delivery.clone(),
            affinity: sent.affinity.clone(),
        }
    }
}
