//! The spans of the newest traces, each trace whole: an old trace goes with all its spans, so what
//! is shown has no holes.

mod query;
mod tree;

use std::collections::{HashMap, VecDeque};

use super::{
    id::{SpanId, TraceId},
    ring::Bounds,
    span::Span,
};

/// Spans per trace that is allowed, so that spans in all are bounded too.
const SPANS_PER_TRACE: usize = 16;
/// Spans of one trace; a runaway loop must not push every other trace out.
const SPANS_OF_ONE_MAX: usize = 10_000;

/// See the module.
pub(super) struct Traces {
    rows: HashMap<TraceId, Row>,
    /// As they were first heard of.
    order: VecDeque<TraceId>,
    spans: usize,
    bytes: usize,
    bounds: Bounds,
    /// Spans that were not kept since the start.
    pub(super) dropped: u64,
}

#[derive(Default)]
struct Row {
    spans: Vec<Span>,
    bytes: usize,
    kept_ns: u64,
}

impl Traces {
    /// `bounds.count_max` counts traces.
    pub(super) fn new(bounds: Bounds) -> Self {
        Traces {
            rows: HashMap::new(),
            order: VecDeque::new(),
            spans: 0,
            bytes: 0,
            bounds,
            dropped: 0,
        }
    }

    pub(super) fn insert(&mut self, now_ns: u64, span: Span) {
        let bytes = span.bytes();
        let row = self.rows.entry(span.trace).or_insert_with(|| {
            self.order.push_back(span.trace);
            Row {
                kept_ns: now_ns,
                ..Row::default()
            }
        });
        if row.spans.len() >= SPANS_OF_ONE_MAX || row.bytes + bytes > self.bounds.bytes_max / 2 {
            self.dropped += 1;
            // A trace is there with a span or not at all.
            if row.spans.is_empty() {
                self.rows.remove(&span.trace);
                self.order.pop_back();
            }
            return;
        }
        row.bytes += bytes;
        row.spans.push(span);
        self.bytes += bytes;
        self.spans += 1;
        while self.is_over() {
            self.drop_oldest();
        }
        self.age(now_ns);
    }

    fn is_over(&self) -> bool {
        self.rows.len() > self.bounds.count_max
            || self.bytes > self.bounds.bytes_max
            || (self.spans > self.bounds.count_max.saturating_mul(SPANS_PER_TRACE)
                && self.rows.len() > 1)
    }

    /// Lets go of what is too old by now.
    pub(super) fn age(&mut self, now_ns: u64) {
        let Some(age_max) = self.bounds.age_max_ns else {
            return;
        };
        let old = |row: &Row| now_ns.saturating_sub(row.kept_ns) > age_max;
        while self
            .order
            .front()
            .is_some_and(|id| self.rows.get(id).is_some_and(old))
        {
            self.drop_oldest();
        }
    }

    fn drop_oldest(&mut self) {
        let row = self.order.pop_front().and_then(|id| self.rows.remove(&id));
        if let Some(row) = row {
            self.bytes -= row.bytes;
            self.spans -= row.spans.len();
        }
    }

    pub(super) fn clear(&mut self) {
        self.rows.clear();
        self.order.clear();
        self.spans = 0;
        self.bytes = 0;
    }

    /// Traces, spans, bytes.
    pub(super) fn size(&self) -> (usize, usize, usize) {
        (self.rows.len(), self.spans, self.bytes)
    }
}

impl Row {
    /// Spans without a parent. When all have one, because the caller's own span was not sent here,
    /// the earliest whose parent is not here either.
    fn roots(&self) -> Vec<&Span> {
        let roots: Vec<&Span> = self
            .spans
            .iter()
            .filter(|span| span.parent.is_none())
            .collect();
        if !roots.is_empty() {
            return roots;
        }
        let ids: std::collections::HashSet<SpanId> =
            self.spans.iter().map(|span| span.id).collect();
        let orphans = self
            .spans
            .iter()
            .filter(|span| span.parent.is_none_or(|parent| !ids.contains(&parent)));
        let earliest = orphans.min_by_key(|span| span.start_ns);
        earliest.or(self.spans.first()).into_iter().collect()
    }
}

#[cfg(test)]
mod tests;
