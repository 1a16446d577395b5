//! What the engine itself knows of calls: counts, durations, and a span each for the traces that
//! are recorded.
//!
//! This is on the way of every call, so it does little: one look at the clock when a call starts,
//! and when it ends one lock that only threads of the same shard share. Spans are put together
//! and text is made when somebody reads.

mod counts;
mod watch;

use std::{
    collections::{HashMap, VecDeque},
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use agentos_sdk::Code;
use parking_lot::Mutex;
use tokio::sync::Notify;

use super::{
    histogram::Histogram,
    id::{Place, SpanId},
    sampling::Sampler,
    span::{Pairs, Span, Status},
};
pub(super) use counts::{Counts, FunctionCount};
pub(super) use watch::{Ear, wall_clock_ns};

/// Threads that route share nothing as long as there are not more of them.
const SHARDS: usize = 16;
/// Functions that are counted by name in one shard; the rest count as `other`.
const FUNCTIONS_MAX: usize = 4096;
const OTHER: &str = "other";

/// Counts and spans of all calls. Shared by the bus, which tells, and the worker, which shows.
pub(super) struct Calls {
    /// Each counted by itself, so that calls of different threads touch nothing in common.
    shards: [Arc<Mutex<Shard>>; SHARDS],
    sampler: Arc<Sampler>,
    /// Whether spans are made at all.
    traced: bool,
    refused: AtomicU64,
    spawns: AtomicU64,
    deaths: AtomicU64,
    more: Arc<Notify>,
}

/// Aligned so that no two shards share a cache line.
#[repr(align(128))]
struct Shard {
    success: u64,
    error: u64,
    deferred: u64,
    took: Histogram,
    by_function: HashMap<Arc<str>, FunctionCount, ahash::RandomState>,
    spans: VecDeque<CallSpan>,
    spans_max: usize,
    lost: u64,
    /// Somebody waits for spans: complete traces are asked for, or spans are sent on.
    eager: bool,
    more: Arc<Notify>,
}

/// A call that is over, for its span.
pub(super) struct CallSpan {
    pub(super) place: Place,
    pub(super) parent: Option<SpanId>,
    pub(super) function: Arc<str>,
    pub(super) queue: Option<Arc<str>>,
    pub(super) caller: Option<Arc<str>>,
    pub(super) ended_ns: u64,
    pub(super) took: Duration,
    pub(super) error: Option<(Code, Box<str>)>,
}

impl Calls {
    /// At most about `spans_max` spans wait for somebody to take them.
    pub(super) fn new(sampler: Arc<Sampler>, traced: bool, spans_max: usize) -> Arc<Self> {
        let more = Arc::new(Notify::new());
        let shard = |_| {
            Arc::new(Mutex::new(Shard {
                success: 0,
                error: 0,
                deferred: 0,
                took: Histogram::default(),
                by_function: HashMap::default(),
                spans: VecDeque::new(),
                spans_max: spans_max.div_ceil(SHARDS).clamp(16, 4096),
                lost: 0,
                eager: false,
                more: Arc::clone(&more),
            }))
        };
        Arc::new(Calls {
            shards: std::array::from_fn(shard),
            sampler,
            traced,
            refused: AtomicU64::new(0),
            spawns: AtomicU64::new(0),
            deaths: AtomicU64::new(0),
            more,
        })
    }

    /// Says whether somebody waits at [`Calls::more`] for new spans.
    pub(super) fn set_eager(&self, eager: bool) {
        for shard in &self.shards {
            shard.lock().eager = eager;
        }
    }

    /// Resolves when there may be new spans, if that was asked for.
    pub(super) async fn more(&self) {
        self.more.notified().await;
    }

    /// Takes the spans that have come up since the last time, in no order.
    pub(super) fn take_spans(&self) -> Vec<CallSpan> {
        let mut spans = Vec::new();
        for shard in &self.shards {
            spans.extend(shard.lock().spans.drain(..));
        }
        spans
    }

    /// Spans that were overwritten before somebody took them.
    pub(super) fn lost(&self) -> u64 {
        self.shards.iter().map(|shard| shard.lock().lost).sum()
    }
}

impl Shard {
    fn count(&mut self, function: &Arc<str>, took: Duration, failed: bool, deferred: bool) {
        self.success += u64::from(!failed);
        self.error += u64::from(failed);
        self.deferred += u64::from(deferred);
        self.took.add(took);
        let is_full = self.by_function.len() >= FUNCTIONS_MAX;
        let row = match self.by_function.get_mut(function) {
            Some(row) => row,
            None if is_full => self.by_function.entry(OTHER.into()).or_default(),
            None => self.by_function.entry(Arc::clone(function)).or_default(),
        };
        row.calls += 1;
        row.errors += u64::from(failed);
        row.took_us += took.as_micros() as u64;
    }

    fn keep(&mut self, span: CallSpan) {
        if self.spans.len() >= self.spans_max {
            self.spans.pop_front();
            self.lost += 1;
        }
        self.spans.push_back(span);
        if self.eager {
            self.more.notify_one();
        }
    }
}

impl CallSpan {
    /// As it is kept and shown.
    pub(super) fn into_span(self, service_name: &Arc<str>) -> Span {
        let function = &self.function;
        let name = match &self.queue {
            Some(queue) => format!("enqueue {function} → {queue}"),
            None => format!("call {function}"),
        };
        let mut attributes: Pairs = vec![("iii.function.id".into(), Arc::clone(function))];
        if let Some(caller) = self.caller {
            attributes.push(("iii.caller.worker.id".into(), caller));
        }
        if let Some((code, _)) = &self.error {
            attributes.push(("error.type".into(), code.as_str().into()));
        }
        let took_ns = u64::try_from(self.took.as_nanos()).unwrap_or(u64::MAX);
        Span {
            trace: self.place.trace,
            id: self.place.span,
            parent: self.parent,
            name: name.into(),
            start_ns: self.ended_ns.saturating_sub(took_ns),
            end_ns: self.ended_ns,
            status: if self.error.is_some() {
                Status::Error
            } else {
                Status::Ok
            },
            status_description: self.error.map(|(_, message)| message.into()),
            attributes,
            service_name: Arc::clone(service_name),
            events: Vec::new(),
            links: Vec::new(),
            scope_name: Some("agentos".into()),
            scope_version: None,
            flags: Some(1),
        }
    }
}

/// The shard of this thread.
fn shard() -> usize {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    thread_local! {
        static MINE: usize = NEXT.fetch_add(1, Ordering::Relaxed) % SHARDS;
    }
    MINE.with(|mine| *mine)
}

#[cfg(test)]
mod tests;
