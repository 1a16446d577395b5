//! Calls, results, streams: the frames that are sent a million times a second.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use agentos_protocol::{
    Call, CallRef, Code, Delivery, ErrorBody, Frame, Payload, SessionId, stand_in,
};

use super::{Refusal, Router, ours};
use crate::{
    Effect, Effects, Event, Now,
    calls::{Calls, InFlight, NUMBER_MAX, NotTaken},
    policy::Rules,
    registry::Chosen,
};

impl Router {
    pub(super) fn on_call(
        &self,
        now: Now,
        from: SessionId,
        mut call: Box<Call>,
        out: &mut Effects,
    ) {
        let reference = call.call.take();
        let waiting = reference
            .clone()
            .filter(|_| call.delivery != Delivery::Void);
        let function = Arc::clone(&call.function);
        if let Err(error) = self.route(now, from, call, waiting.clone(), out) {
            if let Some(watcher) = self.watcher.get() {
                watcher.call_refused(&error);
            }
            match waiting {
                Some(call) => out.push(Effect::Send {
                    to: from,
                    frame: Frame::Reply {
                        call,
                        function,
                        outcome: Err(error),
                    },
                }),
                None => {
                    // Only a refusal is told to who wants no answer, if the call has a name.
                    if let Some(call) = reference.filter(|_| error.code == Code::Forbidden) {
                        let (function, outcome) = (Arc::clone(&function), Err(error.clone()));
                        out.push(Effect::Send {
                            to: from,
                            frame: Frame::Reply {
                                call,
                                function,
                                outcome,
                            },
                        });
                    }
                    out.push(Effect::Event(Event::VoidCallFailed { function, error }));
                }
            }
        }
    }

    /// Sends the call to whoever is to run it.
    fn route(
        &self,
        now: Now,
        from: SessionId,
        mut call: Box<Call>,
        waiting: Option<CallRef>,
        out: &mut Effects,
    ) -> Result<(), ErrorBody> {
        if self.calls.len() >= self.limits.calls_in_flight_max {
            return Err(ErrorBody::engine(
                Code::Overloaded,
                "too many calls are in flight",
            ));
        }
        let caller = self.registry.sessions.look(from, |session| {
            (
                session.named.then(|| Arc::clone(&session.public_id)),
                session.timeout_default,
                Arc::clone(&session.made),
                session.rules.clone(),
            )
        });
        let Some((caller, timeout_default, made, rules)) = caller else {
            return Err(ErrorBody::engine(
                Code::Unavailable,
                "the calling session is closed",
            ));
        };
        if made.load(Ordering::Relaxed) >= self.limits.calls_per_session_max {
            return Err(ErrorBody::engine(
                Code::Overloaded,
                "this session has too many calls in flight",
            ));
        }
        let function = Arc::clone(&call.function);
        if let Some(rules) = rules {
            self.apply(&rules, from, &mut call)?;
        }
        let chosen = self.choose(&mut call)?;

        let timeout = call
            .timeout_ms
            .map_or(timeout_default, |ms| Duration::from_millis(ms.into()))
            .min(self.limits.timeout_max);
        let watcher = self.watcher.get();
        let in_flight = InFlight {
            caller: from,
            reference: waiting,
            callee: chosen.session,
            function,
            delivery: call.delivery.clone(),
            deadline: now.after(timeout),
            load: chosen.load,
            made,
            watched: watcher.and_then(|watcher| watcher.call_started(&mut call)),
        };
        let (id, sooner) = self.calls.add(in_flight).map_err(not_taken)?;
        call.call = Some(id.into());
        call.caller = caller;
        call.timeout_ms = Some(u32::try_from(timeout.as_millis()).unwrap_or(u32::MAX));
        out.push(Effect::Send {
            to: chosen.session,
            frame: Frame::Call(call),
        });
        if sooner {
            out.push(Effect::Sooner);
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

    /// Who runs the call: a session that offers its function, or one that stands in.
    fn choose(&self, call: &mut Call) -> Result<Chosen, ErrorBody> {
        let functions = &self.registry.functions;
        if let Delivery::Enqueue(queue) = &call.delivery {
            return functions.choose(None, stand_in::ENQUEUE).ok_or_else(|| {
                let message = format!("no worker provides the queue `{queue}`");
                ErrorBody::engine(Code::Unsupported, message).reason("enqueue_error")
            });
        }
        let mut chosen = functions.choose(call.namespace.as_deref(), &call.function);
        if chosen.as_ref().is_some_and(|chosen| chosen.http) {
            chosen = functions.choose(None, stand_in::HTTP);
        }
        let chosen = chosen.ok_or_else(|| {
            let message = format!("no worker offers `{}`", call.function);
            ErrorBody::engine(Code::NotFound, message)
        })?;
        if let Some(local) = &chosen.local {
            call.function = Arc::clone(local);
        }
        Ok(chosen)
    }

    pub(super) fn on_reply(
        &self,
        from: SessionId,
        call: &CallRef,
        outcome: Result<Payload, ErrorBody>,
        out: &mut Effects,
    ) {
        // Late, doubled and foreign replies find nothing.
        let call = ours(call).and_then(|id| self.calls.take(id, |call| call.callee == from));
        if let Some(call) = call {
            end(call, outcome, out);
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
                streams(call).then(|| (call.caller, call.reference.clone()))
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
    pub(super) fn on_chunk_refused(&self, to: SessionId, call: &CallRef, out: &mut Effects) {
        let Some(number) = call.number().filter(|number| *number <= NUMBER_MAX) else {
            return;
        };
        let id = Calls::id(to, number);
        let Some(call) = self.calls.take(id, |call| call.caller == to) else {
            return;
        };
        out.push(Effect::Send {
            to: call.callee,
            frame: Frame::Cancel { call: id.into() },
        });
        let error = ErrorBody::engine(
            Code::Overloaded,
            "the stream sends more than its caller takes",
        );
        end(call, Err(error), out);
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
        if let Some(to) = self.calls.look(id, |call| Some(call.callee)) {
            out.push(Effect::Send {
                to,
                frame: Frame::Credit {
                    call: id.into(),
                    chunks,
                },
            });
        }
    }

    pub(super) fn on_cancel(&self, from: SessionId, call: &CallRef, out: &mut Effects) {
        let Some(number) = call.number().filter(|number| *number <= NUMBER_MAX) else {
            return;
        };
        let id = Calls::id(from, number);
        let Some(call) = self.calls.take(id, |call| call.caller == from) else {
            return;
        };
        out.push(Effect::Send {
            to: call.callee,
            frame: Frame::Cancel { call: id.into() },
        });
        end(
            call,
            Err(ErrorBody::caller(
                Code::Cancelled,
                "the caller cancelled the call",
            )),
            out,
        );
    }

    /// The callee's outbox did not take the call.
    pub(super) fn on_call_refused(
        &self,
        to: SessionId,
        call: Option<&CallRef>,
        why: Refusal,
        out: &mut Effects,
    ) {
        let error = match why {
            Refusal::Full => {
                ErrorBody::engine(Code::Overloaded, "the worker has too many calls waiting")
            }
            Refusal::Closed => ErrorBody::engine(
                Code::WorkerLost,
                "the worker went away before it got the call",
            ),
        };
        self.fail_refused(to, call, error, out);
    }

    pub(super) fn fail_refused(
        &self,
        to: SessionId,
        call: Option<&CallRef>,
        error: ErrorBody,
        out: &mut Effects,
    ) {
        let call = call
            .and_then(ours)
            .and_then(|id| self.calls.take(id, |call| call.callee == to));
        if let Some(call) = call {
            end(call, Err(error), out);
        }
    }
}

/// Gives a call that has been taken out its one outcome.
pub(super) fn end(call: InFlight, outcome: Result<Payload, ErrorBody>, out: &mut Effects) {
    let InFlight {
        caller,
        reference,
        function,
        watched,
        ..
    } = call;
    if let Some(watched) = watched {
        watched.ended(outcome.as_ref().err());
    }
    match (reference, outcome) {
        (Some(call), outcome) => {
            out.push(Effect::Send {
                to: caller,
                frame: Frame::Reply {
                    call,
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

fn not_taken(why: NotTaken) -> ErrorBody {
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
