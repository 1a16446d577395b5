//! Reads the three OTLP/JSON bodies that telemetry frames carry.
//!
//! Forgiving: keys in camel and in snake case, numbers as text, missing and null fields. What
//! names no usable span or point is left out; only a body that is not JSON is refused.

mod node;

use std::sync::Arc;

use serde_json::{Map, Value};

use super::{
    id::{SpanId, TraceId},
    log::{Record, Severity},
    metric::{Histogram, Kind, Metric, Number, Point},
    span::{Link, Moment, Pairs, Span, Status},
};
use node::{Node, any_text, any_value};

/// Who sent a group of records, and by which part of it.
struct Source {
    resource: Arc<Value>,
    service_name: Arc<str>,
    scope_name: Option<Arc<str>>,
    scope_version: Option<Arc<str>>,
}

/// Spans of an `ExportTraceServiceRequest`.
pub(super) fn spans(body: &Value) -> Vec<Span> {
    let mut spans = Vec::new();
    for_each(
        body,
        ["resourceSpans", "scopeSpans", "spans"],
        |source, node| {
            spans.extend(span(source, node));
        },
    );
    spans
}

/// Records of an `ExportLogsServiceRequest`.
pub(super) fn logs(body: &Value, now_ns: u64) -> Vec<Record> {
    let mut records = Vec::new();
    for_each(
        body,
        ["resourceLogs", "scopeLogs", "logRecords"],
        |source, node| {
            records.push(record(source, node, now_ns));
        },
    );
    records
}

/// Metrics of an `ExportMetricsServiceRequest`.
pub(super) fn metrics(body: &Value, now_ns: u64) -> Vec<Metric> {
    let mut metrics = Vec::new();
    for_each(
        body,
        ["resourceMetrics", "scopeMetrics", "metrics"],
        |source, node| {
            metrics.extend(metric(source, node, now_ns));
        },
    );
    metrics
}

fn for_each(
    body: &Value,
    [resources, scopes, items]: [&str; 3],
    mut each: impl FnMut(&Source, Node<'_>),
) {
    for group in Node(body).items(resources) {
        let attributes = group.get("resource").map(Node::attributes);
        let resource: Map<String, Value> = attributes
            .into_iter()
            .flatten()
            .map(|(key, value)| (key.to_owned(), Value::String(any_text(value))))
            .collect();
        let service = resource.get("service.name").and_then(Value::as_str);
        let service_name = Arc::from(service.unwrap_or("unknown"));
        let resource = Arc::new(Value::Object(resource));
        for part in group.items(scopes) {
            let scope = part.get("scope");
            let source = Source {
                resource: Arc::clone(&resource),
                service_name: Arc::clone(&service_name),
                scope_name: scope.and_then(|scope| scope.text("name")),
                scope_version: scope.and_then(|scope| scope.text("version")),
            };
            part.items(items).for_each(|item| each(&source, item));
        }
    }
}

fn span(source: &Source, node: Node<'_>) -> Option<Span> {
    let start_ns = node.number("startTimeUnixNano").unwrap_or(0);
    let status = node.get("status");
    Some(Span {
        trace: node.trace_id()?,
        id: node.span_id("spanId")?,
        parent: node.span_id("parentSpanId"),
        name: node.text("name").unwrap_or_default(),
        start_ns,
        end_ns: node
            .number("endTimeUnixNano")
            .unwrap_or(start_ns)
            .max(start_ns),
        status: status.map_or(Status::Unset, status_code),
        status_description: status.and_then(|status| status.text("message")),
        attributes: pairs(node),
        service_name: Arc::clone(&source.service_name),
        events: node
            .items("events")
            .map(|event| Moment {
                name: event.text("name").unwrap_or_default(),
                at_ns: event.number("timeUnixNano").unwrap_or(start_ns),
                attributes: pairs(event),
            })
            .collect(),
        links: node.items("links").filter_map(link).collect(),
        scope_name: source.scope_name.clone(),
        scope_version: source.scope_version.clone(),
        flags: node.number("flags"),
    })
}

fn link(node: Node<'_>) -> Option<Link> {
    Some(Link {
        trace: node.trace_id()?,
        span: node.span_id("spanId")?,
        trace_state: node.text("traceState").unwrap_or_default(),
        attributes: pairs(node),
    })
}

/// Codes come as numbers (0, 1, 2) and as names.
fn status_code(status: Node<'_>) -> Status {
    match status.get("code").map(|code| code.0) {
        Some(Value::String(name)) => match name.trim_start_matches("STATUS_CODE_") {
            "ERROR" | "2" => Status::Error,
            "OK" | "1" => Status::Ok,
            _ => Status::Unset,
        },
        Some(code) => match code.as_u64() {
            Some(1) => Status::Ok,
            Some(2) => Status::Error,
            _ => Status::Unset,
        },
        None => Status::Unset,
    }
}

fn record(source: &Source, node: Node<'_>, now_ns: u64) -> Record {
    let observed = node.number("observedTimeUnixNano").filter(|at| *at > 0);
    let at = node.number("timeUnixNano").filter(|at| *at > 0);
    let number = node.number("severityNumber").unwrap_or(0);
    let severity = Severity::read(number, node.text("severityText").as_deref());
    let attributes: Map<String, Value> = node
        .attributes()
        .map(|(key, value)| (key.to_owned(), any_value(value)))
        .collect();
    Record {
        at_ns: at.or(observed).unwrap_or(now_ns),
        observed_ns: observed.unwrap_or(now_ns),
        severity,
        body: node
            .get("body")
            .map_or_else(String::new, |body| any_text(body.0))
            .into(),
        attributes: Value::Object(attributes),
        trace: node.trace_id(),
        span: node.span_id("spanId"),
        resource: Arc::clone(&source.resource),
        service_name: Arc::clone(&source.service_name),
        scope_name: source.scope_name.clone(),
        scope_version: source.scope_version.clone(),
    }
}

fn metric(source: &Source, node: Node<'_>, now_ns: u64) -> Option<Metric> {
    let kinds = [
        ("gauge", Kind::Gauge),
        ("sum", Kind::Sum),
        ("histogram", Kind::Histogram),
        ("exponentialHistogram", Kind::ExponentialHistogram),
        ("summary", Kind::Summary),
    ];
    let (data, kind) = kinds
        .into_iter()
        .find_map(|(key, kind)| Some((node.get(key)?, kind)))?;
    Some(Metric {
        name: node.text("name").filter(|name| !name.is_empty())?,
        description: node.text("description"),
        unit: node.text("unit"),
        kind,
        monotonic: data
            .get("isMonotonic")
            .and_then(|flag| flag.0.as_bool())
            .unwrap_or(false),
        cumulative: data.get("aggregationTemporality").is_none_or(|kind| {
            kind.0.as_u64() != Some(1)
                && !kind.0.as_str().is_some_and(|name| name.ends_with("DELTA"))
        }),
        points: data
            .items("dataPoints")
            .filter_map(|point| self::point(point, kind, now_ns))
            .collect(),
        resource: Arc::clone(&source.resource),
        service_name: Arc::clone(&source.service_name),
        scope_name: source.scope_name.clone(),
        received_ns: now_ns,
    })
    .filter(|metric| !metric.points.is_empty())
}

fn point(node: Node<'_>, kind: Kind, now_ns: u64) -> Option<Point> {
    let number = match kind {
        Kind::Gauge | Kind::Sum => {
            Number::Value(node.float("asDouble").or_else(|| node.float("asInt"))?)
        }
        Kind::Histogram | Kind::ExponentialHistogram | Kind::Summary => {
            Number::Histogram(Histogram {
                count: node.number("count")?,
                sum: node.float("sum").unwrap_or(0.0),
                min: node.float("min"),
                max: node.float("max"),
                bucket_counts: node.numbers("bucketCounts"),
                explicit_bounds: node.floats("explicitBounds"),
            })
        }
    };
    let finite = match &number {
        Number::Value(value) => value.is_finite(),
        Number::Histogram(histogram) => histogram.sum.is_finite(),
    };
    finite.then(|| Point {
        at_ns: node
            .number("timeUnixNano")
            .filter(|at| *at > 0)
            .unwrap_or(now_ns),
        start_ns: node.number("startTimeUnixNano").unwrap_or(0),
        attributes: pairs(node),
        number,
    })
}

fn pairs(node: Node<'_>) -> Pairs {
    node.attributes()
        .map(|(key, value)| (Arc::from(key), Arc::from(any_text(value))))
        .collect()
}

impl Node<'_> {
    fn trace_id(self) -> Option<TraceId> {
        TraceId::parse(self.str("traceId")?)
    }

    fn span_id(self, key: &str) -> Option<SpanId> {
        SpanId::parse(self.str(key)?)
    }
}

#[cfg(test)]
mod tests;
