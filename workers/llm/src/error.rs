//! What can go wrong upstream, as the one error shape of the bus.
//!
//! `details` always holds `provider`; `status`, `type`, `param`, `retry_after_ms`, `request_id` and
//! `upstream_message` where the upstream gave them. No key is ever in an error.

use std::sync::Arc;

use agentos_contract::llm::CompleteRequest;
use agentos_sdk::{Code, Error};
use serde_json::{Map, Value, json};

use crate::config::Secret;

/// Longest upstream message that is passed on, in characters: some send whole web pages.
const MESSAGE_CHARS_MAX: usize = 2_000;

/// Who is asked: the name for the errors, and the keys that must not be in them.
#[derive(Clone, Debug)]
pub(crate) struct Upstream {
    pub(crate) provider: String,
    pub(crate) secrets: Arc<[Secret]>,
}

/// What an upstream said about its failure, from the status line and the body.
#[derive(Clone, Debug, Default)]
pub(crate) struct Complaint {
    pub(crate) status: Option<u16>,
    pub(crate) message: String,
    pub(crate) kind: Option<String>,
    pub(crate) code: Option<String>,
    pub(crate) param: Option<String>,
    pub(crate) retry_after_ms: Option<u64>,
    pub(crate) request_id: Option<String>,
}

impl Complaint {
    /// Reads `{"error": {"message", "type", "code", "param"}}` and its many relatives.
    pub(crate) fn read(body: &Value) -> Self {
        // Google wraps the errors of streams in a list.
        let body = body.get(0).unwrap_or(body);
        let error = body.get("error").unwrap_or(body);
        let text = |key: &str| match error.get(key)? {
            Value::String(text) => Some(text.clone()),
            Value::Number(number) => Some(number.to_string()),
            _ => None,
        };
        let message = error
            .as_str()
            .map(str::to_owned)
            .or_else(|| text("message"))
            .or_else(|| text("detail"));
        let code = text("code");
        // OpenRouter puts the status in `code`.
        let status = code
            .as_deref()
            .and_then(|code| code.parse().ok())
            .filter(|status| (400..600).contains(status));
        Complaint {
            status,
            message: message.unwrap_or_else(|| error.to_string()),
            // Google says `status` where others say `type`; AWS says `__type`.
            kind: text("type")
                .or_else(|| text("status"))
                .or_else(|| text("__type")),
            code: code.filter(|_| status.is_none()),
            param: text("param"),
            retry_after_ms: retry_delay(error),
            ..Complaint::default()
        }
    }

    /// As [`Complaint::read`]; a body that is not JSON is the message.
    pub(crate) fn read_body(status: u16, body: &[u8]) -> Self {
        let complaint = serde_json::from_slice::<Value>(body).map_or_else(
            |_| Complaint {
                message: String::from_utf8_lossy(body).trim().to_owned(),
                ..Complaint::default()
            },
            |body| Complaint::read(&body),
        );
        Complaint {
            status: Some(status),
            ..complaint
        }
    }

    /// The upstream's own name for the error; a code is more exact than a type.
    fn name(&self) -> Option<&str> {
        self.code.as_deref().or(self.kind.as_deref())
    }
}

/// Google's wait: `{"@type": "…RetryInfo", "retryDelay": "34s"}` among the details.
fn retry_delay(error: &Value) -> Option<u64> {
    let details = error.get("details")?.as_array()?;
    let delay = details
        .iter()
        .find_map(|detail| detail.get("retryDelay")?.as_str())?;
    let seconds: f64 = delay.strip_suffix('s')?.parse().ok()?;
    (seconds >= 0.0).then(|| (seconds * 1_000.0).ceil() as u64)
}

impl Upstream {
    /// An answer that says no, or an error event in the middle of an answer.
    pub(crate) fn refused(&self, complaint: &Complaint) -> Error {
        if matches!(complaint.status, Some(401 | 403)) {
            return self.unauthorised(complaint);
        }
        let (code, retryable) = classify(complaint);
        let message = self.presentable(&complaint.message);
        let said = complaint
            .status
            .map_or_else(String::new, |status| format!(" {status}"));
        let mut error = Error::worker(code, format!("{} answered{said}: {message}", self.provider));
        error.retryable = retryable;
        error.reason = complaint.name().map(|name| self.presentable(name));
        let mut details = self.facts(complaint);
        details.insert("upstream_message".to_owned(), message.into());
        error.details(details.into())
    }

    /// The provider refused our key. Its text is left out: some quote the key.
    fn unauthorised(&self, complaint: &Complaint) -> Error {
        let status = complaint.status.unwrap_or_default();
        let remedy = if self.secrets.is_empty() {
            "it has no API key"
        } else {
            "check its API key"
        };
        let message = format!(
            "{} refused the engine's credentials with {status}: {remedy}",
            self.provider
        );
        let mut error = self.away("upstream_auth", message);
        error.retryable = false;
        error.details(self.facts(complaint).into())
    }

    /// No answer, or none that can be used. May go better next time.
    pub(crate) fn away(&self, reason: &str, message: String) -> Error {
        self.fault(Code::Unavailable, reason, message)
    }

    /// One of the three deadlines passed. May go better next time.
    pub(crate) fn late(&self, reason: &str, message: String) -> Error {
        self.fault(Code::Timeout, reason, message)
    }

    fn fault(&self, code: Code, reason: &str, message: String) -> Error {
        let details = json!({ "provider": self.provider });
        let mut error = Error::worker(code, message).reason(reason).details(details);
        error.retryable = true;
        error
    }

    fn facts(&self, complaint: &Complaint) -> Map<String, Value> {
        let facts = [
            ("status", complaint.status.map(Into::into)),
            (
                "type",
                complaint
                    .kind
                    .as_deref()
                    .map(|kind| self.presentable(kind).into()),
            ),
            (
                "param",
                complaint
                    .param
                    .as_deref()
                    .map(|param| self.presentable(param).into()),
            ),
            ("retry_after_ms", complaint.retry_after_ms.map(Into::into)),
            ("request_id", complaint.request_id.clone().map(Into::into)),
        ];
        let known = facts
            .into_iter()
            .filter_map(|(name, value): (&str, Option<Value>)| Some((name.to_owned(), value?)));
        [("provider".to_owned(), Value::from(self.provider.as_str()))]
            .into_iter()
            .chain(known)
            .collect()
    }

    /// Text of the upstream, cut to a sane length and without our key.
    fn presentable(&self, text: &str) -> String {
        let mut text = text.to_owned();
        for secret in self.secrets.iter().map(Secret::expose) {
            if !secret.is_empty() {
                text = text.replace(secret, "***");
            }
        }
        text.chars().take(MESSAGE_CHARS_MAX).collect()
    }
}

/// Our code, and whether to try again. A body that names the error beats the status.
fn classify(complaint: &Complaint) -> (Code, bool) {
    match complaint.name() {
        // The budget is used up: waiting does not help.
        Some("insufficient_quota") => return (Code::Overloaded, false),
        Some(
            "context_length_exceeded"
            | "invalid_request_error"
            | "validationException"
            | "INVALID_ARGUMENT",
        ) if complaint.status.is_none() => {
            return (Code::InvalidInput, false);
        }
        Some(
            "rate_limit_exceeded"
            | "rate_limit_error"
            | "overloaded_error"
            | "RESOURCE_EXHAUSTED"
            | "throttlingException"
            | "ThrottlingException"
            | "serviceUnavailableException",
        ) => {
            return (Code::Overloaded, true);
        }
        _ => {}
    }
    match complaint.status {
        Some(413) => (Code::PayloadTooLarge, false),
        Some(408 | 504) => (Code::Timeout, true),
        Some(409 | 425) => (Code::Unavailable, true),
        Some(429 | 529) => (Code::Overloaded, true),
        Some(400..=499) => (Code::InvalidInput, false),
        _ => (Code::Unavailable, true),
    }
}

/// A request that this provider cannot be sent as it is.
pub(crate) fn invalid(field: &str, message: impl Into<String>) -> Error {
    Error::caller(Code::InvalidInput, message).details(json!({ "field": field }))
}

/// # Errors
/// When several choices are asked for at once, of which only one would come back.
pub(crate) fn one_choice(request: &CompleteRequest) -> Result<(), Error> {
    match request.extra.get("n").and_then(Value::as_u64) {
        None | Some(1) => Ok(()),
        Some(_) => Err(invalid(
            "extra.n",
            "one completion is made at a time: leave `n` out and call several times",
        )),
    }
}

#[cfg(test)]
mod tests;
