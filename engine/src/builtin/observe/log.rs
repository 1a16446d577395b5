//! One log record, as it is kept, shown and given to `log` triggers.

use std::sync::Arc;

use serde_json::{Value, json};

use super::id::{SpanId, TraceId};

/// How bad it is: OpenTelemetry's number, and the text that filters and triggers compare with.
#[derive(Clone, PartialEq, Debug)]
pub(super) struct Severity {
    pub(super) number: u64,
    pub(super) text: Arc<str>,
}

impl Severity {
    /// Of one of the functions `engine::log::*`.
    pub(super) fn of_level(level: &str) -> Self {
        let number = match level {
            "trace" => 1,
            "debug" => 5,
            "warn" => 13,
            "error" => 17,
            _ => 9,
        };
        Severity {
            number,
            text: level.to_ascii_uppercase().into(),
        }
    }

    /// As a record says it; either half makes up for the other.
    pub(super) fn read(number: u64, text: Option<&str>) -> Self {
        let named = match number {
            1..=4 => "TRACE",
            5..=8 => "DEBUG",
            13..=16 => "WARN",
            17..=20 => "ERROR",
            21.. => "FATAL",
            0 | 9..=12 => "INFO",
        };
        match text.filter(|text| !text.is_empty()) {
            Some(text) if number == 0 => {
                let level = text.to_ascii_lowercase();
                let number = match level.as_str() {
                    "warning" => 13,
                    "fatal" | "critical" => 21,
                    level => Severity::of_level(level).number,
                };
                Severity {
                    number,
                    text: text.into(),
                }
            }
            Some(text) => Severity {
                number,
                text: text.into(),
            },
            None => Severity {
                number: if number == 0 { 9 } else { number },
                text: named.into(),
            },
        }
    }

    /// Whether a filter or trigger that names `level` means this. `warning` is `warn`.
    pub(super) fn is(&self, level: &str) -> bool {
        let plain = |text: &str| {
            let text = text.trim().to_ascii_lowercase();
            if text == "warning" {
                "warn".to_owned()
            } else {
                text
            }
        };
        plain(&self.text) == plain(level)
    }
}

#[derive(Clone, PartialEq, Debug)]
pub(super) struct Record {
    pub(super) at_ns: u64,
    pub(super) observed_ns: u64,
    pub(super) severity: Severity,
    pub(super) body: Arc<str>,
    /// An object.
    pub(super) attributes: Value,
    pub(super) trace: Option<TraceId>,
    pub(super) span: Option<SpanId>,
    /// An object of texts.
    pub(super) resource: Arc<Value>,
    pub(super) service_name: Arc<str>,
    pub(super) scope_name: Option<Arc<str>>,
    pub(super) scope_version: Option<Arc<str>>,
}

impl Record {
    pub(super) fn to_json(&self) -> Value {
        json!({
            "timestamp_unix_nano": self.at_ns,
            "observed_timestamp_unix_nano": self.observed_ns,
            "severity_number": self.severity.number,
            "severity_text": self.severity.text,
            "body": self.body,
            "attributes": self.attributes,
            "trace_id": self.trace.map(|id| id.to_string()),
            "span_id": self.span.map(|id| id.to_string()),
            "resource": *self.resource,
            "service_name": self.service_name,
            "instrumentation_scope_name": self.scope_name,
            "instrumentation_scope_version": self.scope_version,
        })
    }

    /// What it takes in memory, roughly.
    pub(super) fn bytes(&self) -> usize {
        size_of::<Record>()
            + self.body.len()
            + json_bytes(&self.attributes)
            + json_bytes(&self.resource)
    }
}

/// What a JSON value takes in memory, roughly. Values come from a parser that bounds their depth.
pub(super) fn json_bytes(value: &Value) -> usize {
    size_of::<Value>()
        + match value {
            Value::String(text) => text.len(),
            Value::Array(items) => items.iter().map(json_bytes).sum(),
            Value::Object(fields) => fields
                .iter()
                .map(|(key, value)| key.len() + 48 + json_bytes(value))
                .sum(),
            _ => 0,
        }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn either_half_of_a_severity_makes_up_for_the_other() {
        let rows = [
            (17, None, 17, "ERROR"),
            (0, Some("error"), 17, "error"),
            (0, Some("Warning"), 13, "Warning"),
            (0, None, 9, "INFO"),
            (13, Some("WARN"), 13, "WARN"),
            (24, None, 24, "FATAL"),
            (10, Some(""), 10, "INFO"),
        ];
        for (number, text, expected_number, expected_text) in rows {
            let severity = Severity::read(number, text);
            assert_eq!(
                (severity.number, &*severity.text),
                (expected_number, expected_text)
            );
        }
    }

    #[test]
    fn levels_are_compared_for_equality_in_any_case() {
        let severity = Severity::of_level("error");
        assert!(severity.is("error") && severity.is("ERROR"));
        assert!(!severity.is("warn") && !severity.is("info"));
        assert!(Severity::read(13, Some("WARNING")).is("warn"));
    }
}
