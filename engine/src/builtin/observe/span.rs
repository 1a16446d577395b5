//! One span, as it is kept and shown.

use std::sync::Arc;

use serde_json::{Value, json};

use super::id::{SpanId, TraceId};

/// Text by name.
pub(super) type Pairs = Vec<(Arc<str>, Arc<str>)>;

#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) enum Status {
    #[default]
    Unset,
    Ok,
    Error,
}

#[derive(Clone, PartialEq, Debug)]
pub(super) struct Span {
    pub(super) trace: TraceId,
    pub(super) id: SpanId,
    pub(super) parent: Option<SpanId>,
    pub(super) name: Arc<str>,
    pub(super) start_ns: u64,
    pub(super) end_ns: u64,
    pub(super) status: Status,
    pub(super) status_description: Option<Arc<str>>,
    pub(super) attributes: Pairs,
    pub(super) service_name: Arc<str>,
    pub(super) events: Vec<Moment>,
    pub(super) links: Vec<Link>,
    pub(super) scope_name: Option<Arc<str>>,
    pub(super) scope_version: Option<Arc<str>>,
    pub(super) flags: Option<u64>,
}

/// Something that happened within a span.
#[derive(Clone, PartialEq, Debug)]
pub(super) struct Moment {
    pub(super) name: Arc<str>,
    pub(super) at_ns: u64,
    pub(super) attributes: Pairs,
}

/// Another span that has to do with this one.
#[derive(Clone, PartialEq, Debug)]
pub(super) struct Link {
    pub(super) trace: TraceId,
    pub(super) span: SpanId,
    pub(super) trace_state: Arc<str>,
    pub(super) attributes: Pairs,
}

impl Status {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Status::Unset => "unset",
            Status::Ok => "ok",
            Status::Error => "error",
        }
    }
}

impl Span {
    pub(super) fn duration_ns(&self) -> u64 {
        self.end_ns.saturating_sub(self.start_ns)
    }

    pub(super) fn attribute(&self, name: &str) -> Option<&Arc<str>> {
        self.attributes
            .iter()
            .find(|(key, _)| &**key == name)
            .map(|(_, value)| value)
    }

    /// A span of the engine's own housekeeping: a call of an `engine::` function, or one that its
    /// maker marked.
    pub(super) fn is_internal(&self) -> bool {
        self.name
            .split(' ')
            .any(|word| word.starts_with("engine::"))
            || self
                .attribute("iii.internal")
                .is_some_and(|value| &**value == "true")
    }

    /// What it takes in memory, roughly.
    pub(super) fn bytes(&self) -> usize {
        let pairs = |pairs: &Pairs| -> usize {
            pairs
                .iter()
                .map(|(key, value)| key.len() + value.len() + 64)
                .sum()
        };
        let moments = self.events.iter();
        let links = self.links.iter();
        size_of::<Span>()
            + self.name.len()
            + self
                .status_description
                .as_ref()
                .map_or(0, |text| text.len())
            + pairs(&self.attributes)
            + moments
                .map(|event| event.name.len() + pairs(&event.attributes) + 64)
                .sum::<usize>()
            + links
                .map(|link| link.trace_state.len() + pairs(&link.attributes) + 64)
                .sum::<usize>()
    }

    pub(super) fn to_json(&self) -> Value {
        let mut span = json!({
            "trace_id": self.trace.to_string(),
            "span_id": self.id.to_string(),
            "parent_span_id": self.parent.map(|parent| parent.to_string()),
            "name": self.name,
            "start_time_unix_nano": self.start_ns,
            "end_time_unix_nano": self.end_ns,
            "status": self.status.as_str(),
            "attributes": pairs(&self.attributes),
            "service_name": self.service_name,
            "events": self.events.iter().map(|event| json!({
                "name": event.name, "timestamp_unix_nano": event.at_ns, "attributes": pairs(&event.attributes),
            })).collect::<Vec<_>>(),
            "links": self.links.iter().map(|link| json!({
                "trace_id": link.trace.to_string(), "span_id": link.span.to_string(),
                "trace_state": link.trace_state, "attributes": pairs(&link.attributes),
            })).collect::<Vec<_>>(),
        });
        let optional = [
            ("status_description", &self.status_description),
            ("instrumentation_scope_name", &self.scope_name),
            ("instrumentation_scope_version", &self.scope_version),
        ];
        for (key, text) in optional {
            if let Some(text) = text {
                span[key] = json!(text);
            }
        }
        if let Some(flags) = self.flags {
            span["flags"] = json!(flags);
        }
        span
    }
}

fn pairs(pairs: &Pairs) -> Value {
    pairs
        .iter()
        .map(|(key, value)| json!([key, value]))
        .collect()
}
