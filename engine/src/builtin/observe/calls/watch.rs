//! Hearing of calls, as the router tells.

use std::{
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use agentos_core::{EndedCall, Now, Recording, Watched, Watcher};
use agentos_sdk::{
    Code, Error,
    protocol::{CallView, Delivery},
};

use parking_lot::Mutex;

use super::{CallSpan, Calls, Place, Shard, SpanId, shard};

/// Where the bus tells.
pub(in super::super) struct Ear(pub(in super::super) Arc<Calls>);

impl Watcher for Ear {
    fn call_started(
        &self,
        now: Now,
        call: &CallView<'_>,
        caller: Option<&Arc<str>>,
    ) -> Option<Recording> {
        let calls = &self.0;
        let (place, parent) = calls.begin(now.0 / 1_000_000, call)?;
        let queue = match &call.delivery {
            Delivery::Enqueue(queue) => Some(Arc::clone(queue)),
            _ => None,
        };
        Some(Recording {
            trace_parent: place.header(),
            watched: Box::new(Watch {
                shard: Arc::clone(&calls.shards[shard()]),
                span: Some(CallSpan {
                    place,
                    parent,
                    function: call.function.into(),
                    queue,
                    caller: caller.cloned(),
                    ended_ns: 0,
                    took: Duration::ZERO,
                    error: None,
                }),
                started: Instant::now(),
            }),
        })
    }

    fn call_ended(&self, call: &EndedCall<'_>) {
        let is_deferred = matches!(call.delivery, Delivery::Void | Delivery::Enqueue(_));
        let mut shard = self.0.shards[shard()].lock();
        shard.count(call.function, call.took, call.failed, is_deferred);
    }

    fn call_refused(&self, _: &Error) {
        self.0.refused.fetch_add(1, Ordering::Relaxed);
    }

    fn worker_connected(&self) {
        self.0.spawns.fetch_add(1, Ordering::Relaxed);
    }

    fn worker_gone(&self) {
        self.0.deaths.fetch_add(1, Ordering::Relaxed);
    }
}

impl Calls {
    /// Where the call's span will be, if it gets one; the callee is told of it, so that its own
    /// spans become children.
    fn begin(&self, second: u64, call: &CallView<'_>) -> Option<(Place, Option<SpanId>)> {
        // The engine's own functions are left out: who reads traces would bury them under
        // reading, and a log record's span is the caller's, not one in between.
        if !self.traced || call.function.starts_with("engine::") {
            return None;
        }
        match call.trace_parent {
            Some(header) => {
                // One that cannot be read is passed on as it is.
                let parent = Place::parse(header)?;
                let sampled = if self.sampler.parent_based {
                    parent.sampled
                } else {
                    self.sampler
                        .takes(call.function, parent.trace.spread(), second)
                };
                let place = Place {
                    span: SpanId::random(),
                    ..parent
                };
                sampled.then_some((place, Some(parent.span)))
            }
            None if self.sampler.is_spent(second) => None,
            None => {
                let place = Place::random(true);
                self.sampler
                    .takes(call.function, place.trace.spread(), second)
                    .then_some((place, None))
            }
        }
    }
}

/// A call that is recorded. It is over when this is dropped: without a word, its caller went away.
struct Watch {
    shard: Arc<Mutex<Shard>>,
    span: Option<CallSpan>,
    started: Instant,
}

impl std::fmt::Debug for Watch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let function = self.span.as_ref().map(|span| &span.function);
        f.debug_struct("Watch")
            .field("function", &function)
            .finish_non_exhaustive()
    }
}

impl Watch {
    fn keep(&mut self, took: Duration, error: Option<(Code, Box<str>)>) {
        if let Some(span) = self.span.take() {
            self.shard.lock().keep(CallSpan {
                ended_ns: wall_clock_ns(),
                took,
                error,
                ..span
            });
        }
    }
}

impl Watched for Watch {
    fn ended(mut self: Box<Self>, took: Duration, error: Option<&Error>) {
        let error = error.map(|error| (error.code, error.message.as_str().into()));
        self.keep(took, error);
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        let went = (Code::Cancelled, "the caller went away".into());
        self.keep(self.started.elapsed(), Some(went));
    }
}

pub(in super::super) fn wall_clock_ns() -> u64 {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}
