//! Looking for traces, and gathering them by an attribute.

use std::{cmp::Ordering, collections::HashMap};

use serde_json::{Value, json};

use super::{Row, Span, Traces};
use crate::builtin::observe::{
    api::{self, SortBy, SortOrder},
    id::TraceId,
    span::Status,
};

/// Traces named by one group; the counts go on.
const TRACES_OF_GROUP_MAX: usize = 1000;

impl Traces {
    /// Roots that fit, page by page. Newest first unless asked otherwise.
    pub(in super::super) fn list(&self, query: &api::TracesList) -> Value {
        let (offset, limit) = api::page(query.offset, query.limit);
        let filter = Filter::new(query);
        let one = query.trace_id.as_deref().map(TraceId::parse);
        let rows = self
            .rows
            .iter()
            .filter(|(id, _)| one.is_none_or(|one| one == Some(**id)));
        let mut spans: Vec<&Span> = rows.flat_map(|(_, row)| filter.roots(row)).collect();
        let by = query.sort_by.unwrap_or(SortBy::StartTime);
        let order = query.sort_order.unwrap_or(match by {
            SortBy::Name => SortOrder::Asc,
            SortBy::StartTime | SortBy::Duration => SortOrder::Desc,
        });
        spans.sort_by(|a, b| {
            let ordering = compare(a, b, by);
            match order {
                SortOrder::Asc => ordering,
                SortOrder::Desc => ordering.reverse(),
            }
        });
        let page: Vec<Value> = spans
            .iter()
            .skip(offset)
            .take(limit)
            .map(|span| span.to_json())
            .collect();
        json!({ "spans": page, "total": spans.len(), "offset": offset, "limit": limit })
    }

    /// Spans gathered by the value of an attribute, the group last seen first.
    pub(in super::super) fn group_by(&self, query: &api::TracesGroupBy, now_ns: u64) -> Value {
        let since_ns = query.since_ms.map_or(0, |since| since_ns(since, now_ns));
        let internal = query.include_internal.unwrap_or(false);
        let mut groups: HashMap<&str, Group<'_>> = HashMap::new();
        for span in self.rows.values().flat_map(|row| &row.spans) {
            if span.end_ns < since_ns || (!internal && span.is_internal()) {
                continue;
            }
            if let Some(value) = span.attribute(&query.attribute) {
                let label = query
                    .label_attribute
                    .as_deref()
                    .and_then(|key| span.attribute(key));
                groups
                    .entry(value)
                    .or_default()
                    .add(span, label.map(|label| &**label));
            }
        }
        let mut groups: Vec<(&str, Group<'_>)> = groups.into_iter().collect();
        groups.sort_by(|(a_value, a), (b_value, b)| {
            b.last_ns.cmp(&a.last_ns).then(a_value.cmp(b_value))
        });
        let (_, limit) = api::page(None, query.limit);
        let groups: Vec<Value> = groups
            .iter()
            .take(limit)
            .map(|(value, group)| group.to_json(value))
            .collect();
        let (traces, spans, bytes) = self.size();
        json!({ "groups": groups, "storage": {
            "type": "memory", "traces": traces, "spans": spans, "bytes": bytes, "bytes_max": self.bounds.bytes_max,
        } })
    }
}

/// An age when small, a moment otherwise.
fn since_ns(since_ms: f64, now_ns: u64) -> u64 {
    if since_ms < 1e11 {
        now_ns.saturating_sub((since_ms * 1e6) as u64)
    } else {
        api::moment_ns(since_ms)
    }
}

fn compare(a: &Span, b: &Span, by: SortBy) -> Ordering {
    let ordering = match by {
        SortBy::Duration => a.duration_ns().cmp(&b.duration_ns()),
        SortBy::StartTime => a.start_ns.cmp(&b.start_ns),
        SortBy::Name => a.name.cmp(&b.name),
    };
    // Pages must not overlap, so equals need an order too.
    ordering
        .then_with(|| a.start_ns.cmp(&b.start_ns))
        .then_with(|| (a.trace, a.id).cmp(&(b.trace, b.id)))
}

/// A query, prepared.
struct Filter<'a> {
    query: &'a api::TracesList,
    name: Option<String>,
    attributes: Vec<(&'a str, String)>,
    duration_ns: (u64, u64),
    time_ns: (u64, u64),
}

impl<'a> Filter<'a> {
    fn new(query: &'a api::TracesList) -> Self {
        let ms = |ms: f64| (ms * 1e6) as u64;
        let attributes = query.attributes.iter().flatten().map(|(key, value)| {
            let text = value
                .as_str()
                .map_or_else(|| value.to_string(), str::to_owned);
            (key.as_str(), text)
        });
        Filter {
            query,
            name: query.name.as_deref().map(str::to_lowercase),
            attributes: attributes.collect(),
            duration_ns: (
                query.min_duration_ms.map_or(0, ms),
                query.max_duration_ms.map_or(u64::MAX, ms),
            ),
            time_ns: (
                query.start_time.map_or(0, api::moment_ns),
                query.end_time.map_or(u64::MAX, api::moment_ns),
            ),
        }
    }

    fn roots<'r>(&self, row: &'r Row) -> Vec<&'r Span> {
        let internal = self.query.include_internal.unwrap_or(false);
        let roots = row
            .roots()
            .into_iter()
            .filter(|span| internal || !span.is_internal());
        if self.query.search_all_spans.unwrap_or(false) {
            let any = row.spans.iter().any(|span| self.fits(span));
            return roots.filter(|_| any).collect();
        }
        roots.filter(|span| self.fits(span)).collect()
    }

    fn fits(&self, span: &Span) -> bool {
        let query = self.query;
        let is = |wanted: &Option<String>, text: &str| {
            wanted
                .as_deref()
                .is_none_or(|wanted| wanted.eq_ignore_ascii_case(text))
        };
        let duration = span.duration_ns();
        is(&query.service_name, &span.service_name)
            && is(&query.status, span.status.as_str())
            && self
                .name
                .as_deref()
                .is_none_or(|part| span.name.to_lowercase().contains(part))
            && (self.duration_ns.0..=self.duration_ns.1).contains(&duration)
            && span.end_ns >= self.time_ns.0
            && span.start_ns <= self.time_ns.1
            && self.attributes.iter().all(|(key, value)| {
                span.attributes
                    .iter()
                    .any(|(k, v)| &**k == *key && **v == **value)
            })
    }
}

#[derive(Default)]
struct Group<'a> {
    label: Option<&'a str>,
    traces: Vec<TraceId>,
    spans: usize,
    errors: usize,
    first_ns: u64,
    last_ns: u64,
}

impl<'a> Group<'a> {
    fn add(&mut self, span: &Span, label: Option<&'a str>) {
        self.label = self.label.or(label);
        self.first_ns = if self.spans == 0 {
            span.start_ns
        } else {
            self.first_ns.min(span.start_ns)
        };
        self.last_ns = self.last_ns.max(span.end_ns);
        self.spans += 1;
        self.errors += usize::from(span.status == Status::Error);
        // Spans come trace by trace.
        if self.traces.last() != Some(&span.trace) && self.traces.len() < TRACES_OF_GROUP_MAX {
            self.traces.push(span.trace);
        }
    }

    fn to_json(&self, value: &str) -> Value {
        json!({
            "value": value,
            "label": self.label.unwrap_or(value),
            "trace_ids": self.traces.iter().map(ToString::to_string).collect::<Vec<_>>(),
            "span_count": self.spans,
            "first_seen_ms": self.first_ns / 1_000_000,
            "last_seen_ms": self.last_ns / 1_000_000,
            "duration_ms": (self.last_ns.saturating_sub(self.first_ns)) as f64 / 1e6,
            "error_count": self.errors,
        })
    }
}
