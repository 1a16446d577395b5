//! A trace as a tree.

use std::collections::{HashMap, HashSet};

use serde_json::{Value, json};

use super::{Span, SpanId, Traces};
use crate::builtin::observe::id::TraceId;

/// Deeper spans are hung on their ancestor at this depth: two levels of JSON each, and readers of
/// JSON stop at 128.
const DEPTH_MAX: usize = 48;

impl Traces {
    /// The spans of a trace, children in their parents, earliest first.
    pub(in super::super) fn tree(&self, trace: Option<TraceId>) -> Value {
        let spans = trace.and_then(|trace| self.rows.get(&trace));
        json!({ "roots": spans.map_or_else(Vec::new, |row| nest(&row.spans)) })
    }
}

fn nest(spans: &[Span]) -> Vec<Value> {
    let ids: HashSet<SpanId> = spans.iter().map(|span| span.id).collect();
    let mut children: HashMap<Option<SpanId>, Vec<usize>> = HashMap::new();
    let mut order: Vec<usize> = (0..spans.len()).collect();
    order.sort_by_key(|&at| (spans[at].start_ns, spans[at].id));
    for &at in &order {
        let parent = spans[at]
            .parent
            .filter(|parent| ids.contains(parent) && *parent != spans[at].id);
        children.entry(parent).or_default().push(at);
    }
    let mut builder = Builder {
        spans,
        children,
        seen: vec![false; spans.len()],
    };
    let mut roots = builder.take(None, 1);
    // Spans that are each other's parents hang on nothing; they are shown all the same.
    for at in order {
        if !builder.seen[at] {
            roots.extend(builder.node(at, 1));
        }
    }
    roots
}

struct Builder<'a> {
    spans: &'a [Span],
    children: HashMap<Option<SpanId>, Vec<usize>>,
    seen: Vec<bool>,
}

impl Builder<'_> {
    fn take(&mut self, parent: Option<SpanId>, depth: usize) -> Vec<Value> {
        let children = self.children.remove(&parent).unwrap_or_default();
        children
            .into_iter()
            .flat_map(|at| self.node(at, depth))
            .collect()
    }

    /// The span with what hangs on it; at the greatest depth, those follow it instead.
    fn node(&mut self, at: usize, depth: usize) -> Vec<Value> {
        let mut nodes = Vec::new();
        let mut todo = vec![at];
        while let Some(at) = todo.pop() {
            if std::mem::replace(&mut self.seen[at], true) {
                continue;
            }
            let id = self.spans[at].id;
            let mut node = self.spans[at].to_json();
            if depth < DEPTH_MAX {
                node["children"] = Value::Array(self.take(Some(id), depth + 1));
            } else {
                node["children"] = json!([]);
                todo.extend(self.children.remove(&Some(id)).unwrap_or_default());
            }
            nodes.push(node);
        }
        nodes
    }
}
