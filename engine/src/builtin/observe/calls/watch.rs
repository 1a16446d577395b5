//! Hearing of calls, as the router tells.

use std::{
    sync::{Arc, atomic::Ordering},
    time::{Instant, SystemTime, UNIX_EPOCH},
};

use agentos_core::{Watched, Watcher};
use agentos_sdk::{
    Code, Error,
    protocol::{Call, Delivery},
};

use parking_lot::Mutex;

use super::{CallSpan, Calls, Place, Shard, SpanId, shard};

/// Where the bus tells.
pub(in super::super) struct Ear(pub(in super::super) Arc<Calls>);

impl Watcher for Ear {
    fn call_started(&self, call: &mut Call) -> Option<Box<dyn Watched>> {
        let calls = &self.0;
        let queue = match &call.delivery {
            Delivery::Enqueue(queue) => Some(Arc::clone(queue)),
            _ => None,
        };
        let span = calls.begin(call).map(|(place, parent)| Begun {
            place,
            parent,
            caller: call.caller.clone(),
        });
        Some(Box::new(Watch {
            shard: Arc::clone(&calls.shards[shard()]),
            function: Arc::clone(&call.function),
            deferred: queue.is_some() || call.delivery == Delivery::Void,
            queue,
            span,
            started: Instant::now(),
            ended: false,
            error: None,
        }))
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
    fn begin(&self, call: &mut Call) -> Option<(Place, Option<SpanId>)> {
        // The engine's own functions are left out: who reads traces would bury them under
        // reading, and a log record's span is the caller's, not one in between.
        if !self.traced || call.function.starts_with("engine::") {
            return None;
        }
        let (place, parent) = match &call.trace.parent {
            Some(header) => {
                // One that cannot be read is passed on as it is.
                let parent = Place::parse(header)?;
                let sampled = if self.sampler.parent_based {
                    parent.sampled
                } else {
                    self.draws(&call.function, parent.trace.spread())
                };
                let place = Place {
                    span: SpanId::random(),
                    ..parent
                };
                sampled.then_some((place, Some(parent.span)))?
            }
            None => {
                let place = Place::random(true);
                self.draws(&call.function, place.trace.spread())
                    .then_some((place, None))?
            }
        };
        call.trace.parent = Some(place.header());
        Some((place, parent))
    }

    fn draws(&self, function: &str, draw: u64) -> bool {
        self.sampler
            .takes(function, draw, self.started.elapsed().as_secs())
    }
}

/// A call in flight. It is over when this is dropped.
struct Watch {
    shard: Arc<Mutex<Shard>>,
    function: Arc<str>,
    queue: Option<Arc<str>>,
    /// Nobody waits for the outcome.
    deferred: bool,
    span: Option<Begun>,
    started: Instant,
    ended: bool,
    error: Option<(Code, Box<str>)>,
}

struct Begun {
    place: Place,
    parent: Option<SpanId>,
    caller: Option<Arc<str>>,
}

impl std::fmt::Debug for Watch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Watch")
            .field("function", &self.function)
            .finish_non_exhaustive()
    }
}

impl Watched for Watch {
    fn ended(mut self: Box<Self>, error: Option<&Error>) {
        self.ended = true;
        // Text for a span only.
        let message = |error: &Error| {
            let message = if self.span.is_some() {
                error.message.as_str()
            } else {
                ""
            };
            (error.code, message.into())
        };
        self.error = error.map(message);
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        let took = self.started.elapsed();
        if !self.ended {
            self.error = Some((Code::Cancelled, "the caller went away".into()));
        }
        let failed = self.error.is_some();
        let span = self.span.take().map(|begun| CallSpan {
            place: begun.place,
            parent: begun.parent,
            function: Arc::clone(&self.function),
            queue: self.queue.take(),
            caller: begun.caller,
            ended_ns: wall_clock_ns(),
            took,
            error: self.error.take(),
        });
        let mut shard = self.shard.lock();
        shard.count(&self.function, took, failed, self.deferred);
        if let Some(span) = span {
            shard.keep(span);
        }
    }
}

pub(in super::super) fn wall_clock_ns() -> u64 {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}
