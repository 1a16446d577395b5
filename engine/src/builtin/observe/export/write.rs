//! Writes OTLP/JSON.

use serde_json::{Map, Value, json};

use crate::builtin::observe::{
    log::Record,
    span::{Pairs, Span, Status},
};

/// Spans of the engine as one group.
pub(in super::super) fn of_spans(spans: &[Span], resource: &Value) -> Value {
    let spans: Vec<Value> = spans.iter().map(span).collect();
    json!({ "resource": self::resource(resource), "scopeSpans": [{ "scope": { "name": "agentos" }, "spans": spans }] })
}

/// A log record of a call of `engine::log::*` as one group.
pub(in super::super) fn of_records(record: &Record) -> Value {
    let attributes = record.attributes.as_object().into_iter().flatten();
    let mut shown = json!({
        "timeUnixNano": record.at_ns.to_string(),
        "observedTimeUnixNano": record.observed_ns.to_string(),
        "severityNumber": record.severity.number,
        "severityText": record.severity.text,
        "body": { "stringValue": record.body },
        "attributes": attributes.map(|(key, value)| json!({ "key": key, "value": any(value) })).collect::<Vec<_>>(),
    });
    if let Some(trace) = record.trace {
        shown["traceId"] = json!(trace.to_string());
    }
    if let Some(span) = record.span {
        shown["spanId"] = json!(span.to_string());
    }
    json!({ "resource": resource(&record.resource), "scopeLogs": [{ "scope": { "name": record.scope_name }, "logRecords": [shown] }] })
}

fn span(span: &Span) -> Value {
    let status = match span.status {
        Status::Unset => 0,
        Status::Ok => 1,
        Status::Error => 2,
    };
    let mut shown = json!({
        "traceId": span.trace.to_string(),
        "spanId": span.id.to_string(),
        "name": span.name,
        "kind": 1,
        "startTimeUnixNano": span.start_ns.to_string(),
        "endTimeUnixNano": span.end_ns.to_string(),
        "attributes": pairs(&span.attributes),
        "links": span.links.iter().map(|link| json!({
            "traceId": link.trace.to_string(), "spanId": link.span.to_string(), "attributes": pairs(&link.attributes),
        })).collect::<Vec<_>>(),
        "status": { "code": status, "message": span.status_description.as_deref().unwrap_or_default() },
    });
    if let Some(parent) = span.parent {
        shown["parentSpanId"] = json!(parent.to_string());
    }
    shown
}

fn resource(texts: &Value) -> Value {
    let texts = texts.as_object().into_iter().flatten();
    json!({ "attributes": texts.map(|(key, value)| json!({ "key": key, "value": any(value) })).collect::<Vec<_>>() })
}

fn pairs(pairs: &Pairs) -> Vec<Value> {
    pairs
        .iter()
        .map(|(key, value)| json!({ "key": key, "value": { "stringValue": value } }))
        .collect()
}

/// Plain JSON as an `AnyValue`.
fn any(value: &Value) -> Value {
    match value {
        Value::Null => json!({}),
        Value::String(text) => json!({ "stringValue": text }),
        Value::Bool(flag) => json!({ "boolValue": flag }),
        Value::Number(number) if number.is_f64() => json!({ "doubleValue": number }),
        Value::Number(number) => json!({ "intValue": number.to_string() }),
        Value::Array(items) => {
            json!({ "arrayValue": { "values": items.iter().map(any).collect::<Vec<_>>() } })
        }
        Value::Object(fields) => json!({ "kvlistValue": { "values": fields
            .iter()
            .map(|(key, value)| json!({ "key": key, "value": any(value) }))
            .collect::<Vec<_>>() } }),
    }
}

/// The same with the keys in camel case, as receivers read them. All keys of OTLP/JSON are names
/// of fields; what users name is in values.
pub(in super::super) fn camel(value: Value) -> Value {
    match value {
        Value::Array(items) => items.into_iter().map(camel).collect(),
        Value::Object(fields) => {
            let fields = fields
                .into_iter()
                .map(|(key, value)| (humps(key), camel(value)));
            Value::Object(fields.collect::<Map<_, _>>())
        }
        plain => plain,
    }
}

fn humps(key: String) -> String {
    if !key.contains('_') {
        return key;
    }
    let mut parts = key.split('_');
    let mut camel = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let mut chars = part.chars();
        camel.extend(chars.next().map(|c| c.to_ascii_uppercase()));
        camel.push_str(chars.as_str());
    }
    camel
}
