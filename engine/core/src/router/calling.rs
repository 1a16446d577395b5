//! Calls, results, streams: the frames that are sent a million times a second.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use agentos_protocol::{
    Call, CallId, CallRef, CallView, Code, DEFAULT_NAMESPACE, Delivery, ErrorBody, Frame, Payload,
    SessionId, stand_in,
};

use super::{Ended, Refusal, Router, cancel, ours};
use crate::{
    Effect, Effects, Event, Now,
    calls::{Calls, InFlight, NUMBER_MAX, NotTaken},
    policy::Rules,
    registry::{Caller, Choice, Chosen, Gate, Line, NOBODY, Standing, Wish},
};

/// Where a call goes, and with what.
#[derive(Debug)]
pub struct Routed {
    pub to: SessionId,
    pub call: CallId,
    /// What the callee calls the function, when that is something else.
    pub local: Option<Arc<str>>,
    /// Who calls, if the callee is to know.
    pub caller: Option<Arc<str>>,
    pub timeout_ms: u32,
    /// The trace context that takes the place of the caller's.
    pub trace_parent: Option<Arc<str>>,
    /// Its deadline is earlier than any the sweeper knows.
    pub sooner: bool,
}

impl Routed {
    /// Makes `call` what its callee gets.
    pub fn address(self, call: &mut Call) {
        call.call = Some(self.call.into());
        call.caller = self.caller;
        call.timeout_ms = Some(self.timeout_ms);
        if let Some(local) = self.local {
            call.function = local;
        }
        if let Some(parent) = self.trace_parent {
            call.trace.parent = Some(parent);
        }
    }
}

/// To whom a call is given, and what is kept of it.
struct Given {
    callee: SessionId,
    function: Arc<str>,
    on: Arc<Standing>,
    gate: Option<Gate>,
    waits: Option<Arc<Line>>,
    kept: Option<Box<Call>>,
    idempotent: bool,
    sent: u8,
}

/// Who waits for a result that has come.
#[derive(Debug)]
pub struct Settled {
    pub to: SessionId,
    /// What the caller calls the call.
    pub call: CallRef,
    pub function: Arc<str>,
}

impl Router {
    pub(super) fn on_call(
        &self,
        now: Now,
        from: SessionId,
        mut call: Box<Call>,
        out: &mut Effects,
    ) {
        let made = (
            call.call.clone(),
            Arc::clone(&call.function),
            call.delivery.clone(),
        );
        let rules = self.rules(from);
        let routed = match rules {
            Some(rules) => self.apply(&rules, from, &mut call),
            None => Ok(()),
        }
        .and_then(|()| {
            let standing = self
                .registry
                .sessions
                .look(from, |session| Arc::clone(&session.standing));
            let session = from;
            let standing = standing.ok_or_else(gone)?;
            let caller = Caller { session, standing };
            self.place(now, &caller, &call.view(), Some(&made.1), out)
        });
        match routed {
            // It waits, as it was.
            Ok(None) => {}
            Ok(Some(routed)) => {
                let (to, sooner) = (routed.to, routed.sooner);
                routed.address(&mut call);
                out.push(Effect::Send {
                    to,
                    frame: Frame::Call(call),
                });
                if sooner {
                    out.push(Effect::Sooner);
                }
            }
            Err(error) => {
                let (reference, function, delivery) = made;
                self.refuse_call(from, reference, function, &delivery, error, out);
            }
        }
    }

    /// Routes a call of a session without rules. The caller of this sends it on, unless it waits for a
    /// worker with room: then the call is kept here.
    ///
    /// # Errors
    /// Why nobody runs it; [`Router::refuse_call`] tells whoever made it.
    pub fn call(
        &self,
        now: Now,
        caller: &Caller,
        call: &CallView<'_>,
        out: &mut Effects,
    ) -> Result<Option<Routed>, ErrorBody> {
        self.place(now, caller, call, None, out)
    }

    /// Tells whoever made a call that nobody runs it.
    pub fn refuse_call(
        &self,
        from: SessionId,
        reference: Option<CallRef>,
        function: Arc<str>,
        delivery: &Delivery,
        error: ErrorBody,
        out: &mut Effects,
    ) {
        if let Some(watcher) = self.watcher.get() {
            watcher.call_refused(&error);
        }
        let nobody_waits = reference.is_none() || *delivery == Delivery::Void;
        // Who wants no answer is told of a refusal only, if the call has a name.
        if let Some(call) = reference.filter(|_| !nobody_waits || error.code == Code::Forbidden) {
            out.push(Effect::Send {
                to: from,
                frame: Frame::Reply {
                    call,
                    function: Arc::clone(&function),
                    outcome: Err(error.clone()),
                },
            });
        }
        if nobody_waits {
            out.push(Effect::Event(Event::VoidCallFailed { function, error }));
        }
    }

    /// Finds who is to run the call, and records that it does. `asked`: the function that the
    /// caller named, where a middleware may have taken its place.
    fn place(
        &self,
        now: Now,
        caller: &Caller,
        call: &CallView<'_>,
        asked: Option<&Arc<str>>,
        out: &mut Effects,
    ) -> Result<Option<Routed>, ErrorBody> {
        let wish = Wish {
            affinity: call.affinity,
            avoid: None,
        };
        let choose = || self.choose(now, call.namespace, call.function, &call.delivery, wish);
        self.place_with(now, caller, call, asked, choose, out)
    }

    /// As [`Router::call`], for one very session, whatever its share of the calls.
    ///
    /// # Errors
    /// `not_found` when it does not offer the function.
    pub fn call_at(
        &self,
        now: Now,
        caller: &Caller,
        to: SessionId,
        call: &CallView<'_>,
        out: &mut Effects,
    ) -> Result<Option<Routed>, ErrorBody> {
        let offered = || {
            let namespace = self
                .registry
                .sessions
                .look(to, |session| session.namespace.clone())
                .flatten();
            let functions = &self.registry.functions;
            functions
                .of_session(to, namespace.as_deref(), call.function)
                .map(Choice::Of)
                .ok_or_else(|| {
                    let message = format!("the worker does not offer `{}`", call.function);
                    ErrorBody::engine(Code::NotFound, message)
                })
        };
        self.place_with(now, caller, call, None, offered, out)
    }

    fn place_with(
        &self,
        now: Now,
        caller: &Caller,
        call: &CallView<'_>,
        asked: Option<&Arc<str>>,
        choose: impl FnOnce() -> Result<Choice, ErrorBody>,
        out: &mut Effects,
    ) -> Result<Option<Routed>, ErrorBody> {
        let by = &caller.standing;
        self.may_make_one_more(by)?;
        let choice = choose()?;
        let timeout = call
            .timeout_ms
            .map_or(by.timeout_default, |ms| Duration::from_millis(ms.into()))
            .min(self.limits.timeout_max);
        let name = by.named.then(|| Arc::clone(&by.public_id));
        let recording = self
            .watcher
            .get()
            .and_then(|watcher| watcher.call_started(now, call, name.as_ref()));
        let (watched, trace_parent) = match recording {
            Some(recording) => (Some(recording.watched), Some(recording.trace_parent)),
            None => (None, None),
        };
        let row = |to: Given| InFlight {
            caller: caller.session,
            reference: call
                .call
                .clone()
                .filter(|_| call.delivery != Delivery::Void),
            callee: to.callee,
            function: to.function,
            asked: asked.cloned(),
            delivery: call.delivery.clone(),
            started: now,
            deadline: now.after(timeout),
            by: Arc::clone(by),
            on: to.on,
            watched,
            gate: to.gate,
            waits: to.waits,
            kept: to.kept,
            idempotent: to.idempotent,
            has_begun: AtomicBool::new(false),
            sent: to.sent,
        };
        let keep = || {
            let mut call = Box::new(call.to_call());
            call.caller.clone_from(&name);
            if let Some(parent) = &trace_parent {
                call.trace.parent = Some(Arc::clone(parent));
            }
            call
        };
        let chosen = match choice {
            Choice::Of(chosen) => chosen,
            Choice::Full { line, idempotent } => {
                let row = row(Given {
                    callee: NOBODY,
                    function: Arc::clone(&line.function),
                    on: Arc::clone(&self.nobody),
                    gate: None,
                    waits: Some(Arc::clone(&line)),
                    kept: Some(keep()),
                    idempotent,
                    sent: 0,
                });
                return self.line_up(now, row, &line, out).map(|()| None);
            }
        };
        let row = row(Given {
            callee: chosen.session,
            function: chosen.id,
            on: chosen.standing,
            gate: chosen.gate,
            waits: None,
            kept: chosen.idempotent.then(keep),
            idempotent: chosen.idempotent,
            sent: 1,
        });
        let (id, sooner) = self.calls.add(row).map_err(|(call, why)| {
            self.exit(now, call.callee, &call.on, call.gate.as_ref(), out);
            not_taken(why)
        })?;
        Ok(Some(Routed {
            to: chosen.session,
            call: id,
            local: chosen.local,
            caller: name,
            timeout_ms: u32::try_from(timeout.as_millis()).unwrap_or(u32::MAX),
            trace_parent,
            sooner,
        }))
    }

    fn may_make_one_more(&self, by: &Standing) -> Result<(), ErrorBody> {
        if self.calls.len() >= self.limits.calls_in_flight_max {
            return Err(ErrorBody::engine(
                Code::Overloaded,
                "too many calls are in flight",
            ));
        }
        if by.is_closed.load(Ordering::Acquire) {
            return Err(gone());
        }
        if by.made.load(Ordering::Relaxed) >= self.limits.calls_per_session_max {
            return Err(ErrorBody::engine(
                Code::Overloaded,
                "this session has too many calls in flight",
            ));
        }
        Ok(())
    }

    /// Holds the call against the session's rules; the middleware may take its place.
    fn apply(&self, rules: &Rules, from: SessionId, call: &mut Call) -> Result<(), ErrorBody> {
        let namespace = call.namespace.as_deref();
        let metadata = || {
            let view = self.registry.functions.get(namespace, &call.function)?;
            view.spec.metadata.clone()
        };
        rules.may_call(namespace, &call.function, metadata)?;
        // Its own calls would come back to it for ever.
        let is_middleware = rules.middleware.as_ref().is_some_and(|middleware| {
            self.registry
                .sessions
                .look(from, |session| session.functions.contains(middleware))
                .unwrap_or(false)
        });
        if is_middleware {
            return Ok(());
        }
        rules.intercept(call)
    }

    /// Who runs the call: a session that offers its function, or one that stands in. `avoid` is gone.
    pub(super) fn choose(
        &self,
        now: Now,
        namespace: Option<&str>,
        function: &str,
        delivery: &Delivery,
        wish: Wish<'_>,
    ) -> Result<Choice, ErrorBody> {
        let functions = &self.registry.functions;
        let stand_in = |id: &str| {
            // The call keeps the name of the function that it was made for.
            let chosen = functions.choose(now, None, id, wish);
            chosen.map(|choice| match choice {
                Choice::Of(chosen) => Choice::Of(Chosen {
                    id: function.into(),
                    local: None,
                    ..chosen
                }),
                full @ Choice::Full { .. } => full,
            })
        };
        if let Delivery::Enqueue(queue) = delivery {
            return stand_in(stand_in::ENQUEUE).ok_or_else(|| {
                let message = format!("no worker provides the queue `{queue}`");
                ErrorBody::engine(Code::Unsupported, message).reason("enqueue_error")
            });
        }
        let namespace = namespace.filter(|name| *name != DEFAULT_NAMESPACE);
        let mut choice = functions.choose(now, namespace, function, wish);
        if let Some(Choice::Of(Chosen { http: true, .. })) = choice {
            choice = stand_in(stand_in::HTTP);
        }
        choice.ok_or_else(|| {
            let message = format!("no worker offers `{function}`");
            ErrorBody::engine(Code::NotFound, message)
        })
    }

    /// Takes a result; says who waits for it, if anybody does.
    pub fn settle(
        &self,
        now: Now,
        from: SessionId,
        call: &CallRef,
        out: &mut Effects,
    ) -> Option<Settled> {
        let id = ours(call)?;
        let mut call = self.calls.take(id, |call| call.callee == from)?;
        self.went_well(now, &mut call, out);
        Some(Settled {
            to: call.caller,
            call: call.reference?,
            function: call.asked.unwrap_or(call.function),
        })
    }

    /// A void call went well. One that somebody waits for needs a result.
    pub fn done(&self, now: Now, from: SessionId, call: CallId, out: &mut Effects) {
        let rightful = |call: &InFlight| call.callee == from && call.delivery == Delivery::Void;
        // Late, doubled and foreign ones find nothing.
        if let Some(mut call) = self.calls.take(call, rightful) {
            self.went_well(now, &mut call, out);
        }
    }

    fn went_well(&self, now: Now, call: &mut InFlight, out: &mut Effects) {
        self.leave(now, call, Ended::Well, out);
        if let Some(watched) = call.watched.take() {
            watched.ended(call.started.until(now), None);
        }
    }

    pub(super) fn on_reply(
        &self,
        now: Now,
        from: SessionId,
        call: &CallRef,
        outcome: Result<Payload, ErrorBody>,
        out: &mut Effects,
    ) {
        // Late, doubled and foreign replies find nothing.
        let call = ours(call).and_then(|id| self.calls.take(id, |call| call.callee == from));
        if let Some(call) = call {
            self.end(now, call, outcome, out);
        }
    }

    pub(super) fn on_chunk(
        &self,
        from: SessionId,
        call: &CallRef,
        payload: Payload,
        out: &mut Effects,
    ) {
        let streams = |call: &InFlight| call.callee == from && call.delivery == Delivery::Stream;
        let target = ours(call).and_then(|id| {
            self.calls.look(id, |call| {
                streams(call).then(|| {
                    // It cannot begin anew elsewhere.
                    call.has_begun.store(true, Ordering::Relaxed);
                    (call.caller, call.reference.clone())
                })
            })
        });
        if let Some((to, Some(call))) = target {
            out.push(Effect::Send {
                to,
                frame: Frame::Chunk { call, payload },
            });
        }
    }

    /// The caller's outbox did not take a chunk.
    pub(super) fn on_chunk_refused(
        &self,
        now: Now,
        to: SessionId,
        call: &CallRef,
        out: &mut Effects,
    ) {
        let Some(number) = call.number().filter(|number| *number <= NUMBER_MAX) else {
            return;
        };
        let id = Calls::id(to, number);
        let Some(call) = self.calls.take(id, |call| call.caller == to) else {
            return;
        };
        cancel(id, call.callee, out);
        let error = ErrorBody::engine(
            Code::Overloaded,
            "the stream sends more than its caller takes",
        );
        self.end(now, call, Err(error), out);
    }

    pub(super) fn on_credit(
        &self,
        from: SessionId,
        call: &CallRef,
        chunks: u32,
        out: &mut Effects,
    ) {
        let Some(number) = call.number().filter(|number| *number <= NUMBER_MAX) else {
            return;
        };
        let id = Calls::id(from, number);
        let callee = |call: &InFlight| Some(call.callee).filter(|callee| *callee != NOBODY);
        if let Some(to) = self.calls.look(id, callee) {
            out.push(Effect::Send {
                to,
                frame: Frame::Credit {
                    call: id.into(),
                    chunks,
                },
            });
        }
    }

    pub(super) fn on_cancel(&self, now: Now, from: SessionId, call: &CallRef, out: &mut Effects) {
        let Some(number) = call.number().filter(|number| *number <= NUMBER_MAX) else {
            return;
        };
        let id = Calls::id(from, number);
        let Some(call) = self.calls.take(id, |call| call.caller == from) else {
            return;
        };
        cancel(id, call.callee, out);
        self.end(
            now,
            call,
            Err(ErrorBody::caller(
                Code::Cancelled,
                "the caller cancelled the call",
            )),
            out,
        );
    }

    /// The callee's outbox did not take the call.
    pub fn on_call_refused(
        &self,
        now: Now,
        to: SessionId,
        call: Option<&CallRef>,
        why: Refusal,
        out: &mut Effects,
    ) {
        if let Some(id) = call.and_then(ours)
            && self.resend(now, id, to, out)
        {
            return;
        }
        let error = match why {
            Refusal::Full => {
                ErrorBody::engine(Code::Overloaded, "the worker has too many calls waiting")
            }
            Refusal::Closed => ErrorBody::engine(
                Code::WorkerLost,
                "the worker went away before it got the call",
            ),
        };
        self.fail_refused(now, to, call, error, out);
    }

    /// The call cannot be put into words for its callee.
    pub fn fail_refused(
        &self,
        now: Now,
        to: SessionId,
        call: Option<&CallRef>,
        error: ErrorBody,
        out: &mut Effects,
    ) {
        let call = call
            .and_then(ours)
            .and_then(|id| self.calls.take(id, |call| call.callee == to));
        if let Some(call) = call {
            self.end(now, call, Err(error), out);
        }
    }

    /// Gives a call that has been taken out its one outcome.
    pub(super) fn end(
        &self,
        now: Now,
        mut call: InFlight,
        outcome: Result<Payload, ErrorBody>,
        out: &mut Effects,
    ) {
        self.leave(now, &call, Ended::of(&outcome), out);
        if let Some(watched) = call.watched.take() {
            watched.ended(call.started.until(now), outcome.as_ref().err());
        }
        let function = call.asked.unwrap_or(call.function);
        match (call.reference, outcome) {
            (Some(reference), outcome) => {
                out.push(Effect::Send {
                    to: call.caller,
                    frame: Frame::Reply {
                        call: reference,
                        function,
                        outcome,
                    },
                });
            }
            (None, Err(error)) => {
                out.push(Effect::Event(Event::VoidCallFailed { function, error }));
            }
            (None, Ok(_)) => {}
        }
    }
}

fn gone() -> ErrorBody {
    ErrorBody::engine(Code::Unavailable, "the calling session is closed")
}

pub(super) fn not_taken(why: NotTaken) -> ErrorBody {
    match why {
        NotTaken::NumberInUse => {
            ErrorBody::caller(Code::Conflict, "a call of this number is in flight")
        }
        NotTaken::NumberTooLarge => ErrorBody::caller(
            Code::InvalidFrame,
            format!("the number of a call is at most {NUMBER_MAX}"),
        ),
    }
}
