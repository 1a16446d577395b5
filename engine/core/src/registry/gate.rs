//! How many calls of a function an instance runs at one time, and the line of those that wait for one
//! to end.

use std::{
    collections::VecDeque,
    sync::{
        Arc, Weak,
        atomic::{AtomicU32, AtomicUsize, Ordering},
    },
};

use agentos_protocol::{CallId, Code, ErrorBody, FunctionSpec};
use parking_lot::Mutex;

/// Calls that may wait where the function does not say.
const WAITING_DEFAULT: u32 = 1_024;
/// Calls that a function may let wait.
pub(crate) const WAITING_MAX: u32 = 65_536;
/// Payloads of one function that may wait, in bytes.
const WAITING_BYTES_MAX: usize = 64 << 20;
/// What a caller is told to wait who finds no place in the line.
const RETRY_AFTER_MS: u64 = 1_000;

/// What one instance runs of a function at one time.
#[derive(Debug, Default)]
pub(crate) struct Limit {
    max: AtomicU32,
    busy: AtomicU32,
}

/// Limits of functions that a session has taken back while calls of them ran. When it offers one again,
/// those calls count.
#[derive(Debug, Default)]
pub(crate) struct Left(Mutex<Vec<(Arc<str>, Weak<Limit>)>>);

impl Left {
    pub(crate) fn keep(&self, function: &Arc<str>, gate: &Gate) {
        let mut left = self.0.lock();
        left.retain(|(id, limit)| id != function && limit.strong_count() > 0);
        left.push((Arc::clone(function), Arc::downgrade(&gate.limit)));
    }

    fn take(&self, function: &str) -> Option<Arc<Limit>> {
        let mut left = self.0.lock();
        let at = left.iter().position(|(id, _)| **id == *function)?;
        left.swap_remove(at).1.upgrade()
    }
}

/// An instance's limit, and the line of its function.
#[derive(Clone, Debug)]
pub(crate) struct Gate {
    limit: Arc<Limit>,
    pub(crate) line: Arc<Line>,
}

/// Calls of one function that wait, the oldest first.
#[derive(Debug)]
pub(crate) struct Line {
    pub(crate) namespace: Option<Arc<str>>,
    pub(crate) function: Arc<str>,
    max: AtomicU32,
    /// Some of them may be over by now.
    waiting: Mutex<VecDeque<CallId>>,
    /// Those that are not.
    count: AtomicU32,
    bytes: AtomicUsize,
}

impl Gate {
    /// The gate of a function that says how many of its calls may run at one time. `earlier`: the
    /// instance's own from before; `fellow`: another instance's; `left`: what it took back earlier.
    pub(crate) fn of(
        spec: &FunctionSpec,
        namespace: Option<&Arc<str>>,
        earlier: Option<&Gate>,
        fellow: Option<&Gate>,
        left: &Left,
    ) -> Option<Gate> {
        let max = spec.concurrency?;
        let limit = earlier.map(|gate| Arc::clone(&gate.limit));
        let limit = limit.or_else(|| left.take(&spec.id)).unwrap_or_default();
        limit.max.store(max, Ordering::Relaxed);
        let waiting_max = spec.waiting_max.unwrap_or(WAITING_DEFAULT);
        let line = earlier.or(fellow).map_or_else(
            || {
                Arc::new(Line {
                    namespace: namespace.cloned(),
                    function: Arc::clone(&spec.id),
                    max: waiting_max.into(),
                    waiting: Mutex::default(),
                    count: AtomicU32::new(0),
                    bytes: AtomicUsize::new(0),
                })
            },
            |gate| Arc::clone(&gate.line),
        );
        line.max.store(waiting_max, Ordering::Relaxed);
        Some(Gate { limit, line })
    }

    pub(crate) fn has_room(&self) -> bool {
        self.limit.busy.load(Ordering::Relaxed) < self.limit.max.load(Ordering::Relaxed)
    }

    /// Takes one of the places, if one is free.
    pub(crate) fn enter(&self) -> bool {
        let max = self.limit.max.load(Ordering::Relaxed);
        let one_more = |busy| (busy < max).then_some(busy + 1);
        self.limit
            .busy
            .fetch_update(Ordering::AcqRel, Ordering::Relaxed, one_more)
            .is_ok()
    }

    /// Gives a place back.
    pub(crate) fn exit(&self) {
        self.limit.busy.fetch_sub(1, Ordering::AcqRel);
    }
}

#[cfg(test)]
impl Gate {
    pub(crate) fn is_idle(&self) -> bool {
        let waiting = self.line.count.load(Ordering::Relaxed);
        let bytes = self.line.bytes.load(Ordering::Relaxed);
        (self.limit.busy.load(Ordering::Relaxed), waiting, bytes) == (0, 0, 0)
    }
}

impl Line {
    /// Takes a place for a call with so many bytes, until it [leaves](Line::leave).
    ///
    /// # Errors
    /// `overloaded` when the line is full.
    pub(crate) fn join(&self, function: &str, bytes: usize) -> Result<(), ErrorBody> {
        let max = self.max.load(Ordering::Relaxed);
        let one_more = |count| (count < max).then_some(count + 1);
        let counted = self
            .count
            .fetch_update(Ordering::AcqRel, Ordering::Relaxed, one_more);
        let fits = counted.is_ok() && {
            let before = self.bytes.fetch_add(bytes, Ordering::AcqRel);
            let fits = before == 0 || before + bytes <= WAITING_BYTES_MAX;
            if !fits {
                self.leave(bytes);
            }
            fits
        };
        if fits {
            return Ok(());
        }
        let message = format!(
            "every worker that offers `{function}` runs as many calls of it as it takes, and no more can wait"
        );
        let error = ErrorBody::engine(Code::Overloaded, message);
        Err(error.details(serde_json::json!({ "retry_after_ms": RETRY_AFTER_MS })))
    }

    /// A call that waited is over, or waits no more.
    pub(crate) fn leave(&self, bytes: usize) {
        self.bytes.fetch_sub(bytes, Ordering::AcqRel);
        self.count.fetch_sub(1, Ordering::AcqRel);
    }

    /// Puts a call that has joined at the end. `waits` says of others whether they still do.
    pub(crate) fn push(&self, call: CallId, waits: impl Fn(CallId) -> bool) {
        let mut waiting = self.waiting.lock();
        // Those that are over go when they are as many as the others: rarely.
        if waiting.len() > 2 * self.count.load(Ordering::Relaxed) as usize + 16 {
            waiting.retain(|call| waits(*call));
        }
        waiting.push_back(call);
    }

    pub(crate) fn pop(&self) -> Option<CallId> {
        self.waiting.lock().pop_front()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.waiting.lock().is_empty()
    }
}
