//! Errors of the bus in OpenAI's shape: the status, type and code that its clients know.

use agentos_contract::agent::UNKNOWN_AGENT;
use agentos_sdk::{Code, Error, Origin};
use serde_json::{Value, json};

use crate::http::Answer;

/// An error as an OpenAI client gets it.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Failure {
    pub(crate) status: u16,
    kind: &'static str,
    pub(crate) code: Option<String>,
    param: Option<String>,
    pub(crate) message: String,
    retry_after_ms: Option<u64>,
    /// False where the client's own retries would be in vain.
    retry: bool,
}

impl Failure {
    fn new(status: u16, kind: &'static str, message: impl Into<String>) -> Self {
        let message = message.into();
        Failure {
            status,
            kind,
            code: None,
            param: None,
            message,
            retry_after_ms: None,
            retry: true,
        }
    }

    pub(crate) fn bad_request(message: impl Into<String>) -> Self {
        Self::new(400, "invalid_request_error", message)
    }

    /// A field of the request that does not fit.
    pub(crate) fn invalid(param: &str, message: impl Into<String>) -> Self {
        Failure {
            param: Some(param.to_owned()),
            ..Self::bad_request(message)
        }
    }

    pub(crate) fn unknown_model(model: &str) -> Self {
        let message =
            format!("the model `{model}` does not exist; GET /v1/models lists those that do");
        let code = Some("model_not_found".to_owned());
        Failure {
            status: 404,
            code,
            ..Self::invalid("model", message)
        }
    }

    /// An object that is not there, or not the client's.
    pub(crate) fn not_found(message: impl Into<String>) -> Self {
        Self::new(404, "invalid_request_error", message)
    }

    /// The response that a request builds on is not kept.
    pub(crate) fn unknown_previous(id: &str) -> Self {
        Failure {
            code: Some("previous_response_not_found".to_owned()),
            ..Self::invalid(
                "previous_response_id",
                format!("there is no response `{id}` to go on from"),
            )
        }
    }

    /// A key that nobody has made, or that was taken back. Never told in full.
    pub(crate) fn wrong_key(secret: &str) -> Self {
        let hidden: String = secret.chars().rev().take(4).collect();
        let end: String = hidden.chars().rev().collect();
        let message = format!("the API key `***{end}` is wrong; `agentos key new` makes one");
        Failure {
            code: Some("invalid_api_key".to_owned()),
            retry: false,
            ..Self::new(401, "invalid_request_error", message)
        }
    }

    /// The key is good, but not for this.
    pub(crate) fn no_scope(scope: &Value) -> Self {
        Failure {
            code: Some("insufficient_scope".to_owned()),
            ..Self::new(
                403,
                "permission_error",
                format!("this API key lacks the scope {scope}"),
            )
        }
    }

    /// The key may ask others, but not this one.
    pub(crate) fn model_not_allowed(model: &str) -> Self {
        Failure {
            code: Some("model_not_allowed".to_owned()),
            param: Some("model".to_owned()),
            ..Self::new(
                403,
                "permission_error",
                format!("this API key may not ask `{model}`"),
            )
        }
    }

    /// The key has had its requests for now.
    pub(crate) fn too_many(per_minute: u32, wait_ms: u64) -> Self {
        let message = format!("this API key may make {per_minute} requests a minute");
        Failure {
            code: Some("rate_limit_exceeded".to_owned()),
            retry_after_ms: Some(wait_ms),
            ..Self::new(429, "requests", message)
        }
    }

    /// The key has had its tokens for today.
    pub(crate) fn no_budget(budget: u64, used: u64, left_s: u64) -> Self {
        let message = format!(
            "this API key may use {budget} tokens a day, of which {used} are used or reserved; the next day begins in {left_s} s"
        );
        Failure {
            code: Some("insufficient_quota".to_owned()),
            retry_after_ms: Some(left_s * 1000),
            retry: false,
            ..Self::new(429, "insufficient_quota", message)
        }
    }

    /// Too much is being done already; later there may be room.
    pub(crate) fn busy(message: impl Into<String>) -> Self {
        Failure {
            retry_after_ms: Some(1_000),
            ..Self::new(429, "rate_limit_error", message).named()
        }
    }

    /// The upstream has too much to do.
    pub(crate) fn is_overload(&self) -> bool {
        self.kind == "overloaded_error"
    }

    /// The error as `{"error": {..}}` with all four keys.
    pub(crate) fn body(&self) -> Value {
        let Failure {
            message,
            kind,
            param,
            code,
            ..
        } = self;
        json!({ "error": { "message": message, "type": kind, "param": param, "code": code } })
    }

    pub(crate) fn answer(&self) -> Answer {
        let mut answer = Answer {
            status_code: self.status,
            ..Answer::ok(self.body())
        };
        if let Some(ms) = self.retry_after_ms {
            answer = answer
                .header("retry-after-ms", ms.to_string())
                .header("retry-after", ms.div_ceil(1000).to_string());
        }
        // The SDKs retry these by themselves.
        let retried = matches!(self.status, 408 | 409 | 429 | 500..);
        if retried && !self.retry {
            answer = answer.header("x-should-retry", "false");
        }
        answer
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        let fact = |name: &str| {
            error
                .details
                .as_ref()
                .and_then(|details| details.get(name))
                .cloned()
        };
        let upstream = fact("status").and_then(|status| status.as_u64());
        let (status, kind) = status(&error, upstream);
        Failure {
            param: fact("param")
                .or_else(|| fact("field"))
                .and_then(|param| param.as_str().map(str::to_owned)),
            code: error
                .reason
                .clone()
                .filter(|reason| reason != UNKNOWN_AGENT),
            retry_after_ms: fact("retry_after_ms").and_then(|ms| ms.as_u64()),
            retry: error.retryable,
            ..Failure::new(status, kind, error.message)
        }
        .named()
    }
}

impl Failure {
    /// Names that clients look for.
    fn named(mut self) -> Self {
        match self.code.as_deref() {
            Some("model_not_found") => {
                self.status = 404;
                self.param = Some("model".to_owned());
            }
            Some("insufficient_quota") => self.kind = "insufficient_quota",
            None if self.status == 429 => self.code = Some("rate_limit_exceeded".to_owned()),
            _ => {}
        }
        self
    }
}

fn status(error: &Error, upstream: Option<u64>) -> (u16, &'static str) {
    const CLIENT: &str = "invalid_request_error";
    match error.code {
        // Of a whole route, not of an object: a worker is missing.
        Code::NotFound if error.origin == Origin::Engine => (503, "server_error"),
        Code::NotFound => (404, CLIENT),
        // An upstream says 404 to a model it does not have.
        Code::InvalidInput if upstream == Some(404) => (404, CLIENT),
        Code::InvalidInput | Code::InvalidFrame | Code::Unsupported => (400, CLIENT),
        Code::Unauthenticated => (401, CLIENT),
        Code::Forbidden => (403, "permission_error"),
        Code::Conflict => (409, "conflict_error"),
        Code::PayloadTooLarge => (413, CLIENT),
        Code::Overloaded if upstream == Some(529) => (503, "overloaded_error"),
        Code::Overloaded => (429, "rate_limit_error"),
        Code::Timeout => (504, "timeout_error"),
        // The provider failed, or refused our credentials: never the client's 401.
        Code::Unavailable if error.origin == Origin::Worker => (502, "upstream_error"),
        Code::Unavailable => (503, "server_error"),
        Code::WorkerLost => (502, "server_error"),
        _ => (500, "server_error"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(error: Error, status: u16, kind: &str, param: Value, code: Value) {
        let failure = Failure::from(error);
        let body = failure.body();
        assert_eq!(failure.status, status, "{body}");
        assert_eq!(body["error"]["type"], kind);
        assert_eq!(body["error"]["param"], param);
        assert_eq!(body["error"]["code"], code);
        assert!(body["error"]["message"].is_string());
    }

    #[test]
    fn errors_get_the_status_and_the_names_that_clients_know() {
        let worker = |code, details: Value| Error::worker(code, "m").details(details);
        let null = Value::Null;
        check(
            Error::caller(Code::InvalidInput, "m").details(json!({"field": "tools"})),
            400,
            "invalid_request_error",
            json!("tools"),
            null.clone(),
        );
        check(
            worker(Code::InvalidInput, json!({"status": 400})).reason("context_length_exceeded"),
            400,
            "invalid_request_error",
            null.clone(),
            json!("context_length_exceeded"),
        );
        check(
            worker(Code::InvalidInput, json!({"status": 404})),
            404,
            "invalid_request_error",
            null.clone(),
            null.clone(),
        );
        check(
            Error::caller(Code::InvalidInput, "m").reason("model_not_found"),
            404,
            "invalid_request_error",
            json!("model"),
            json!("model_not_found"),
        );
        check(
            worker(Code::Overloaded, json!({"status": 429})),
            429,
            "rate_limit_error",
            null.clone(),
            json!("rate_limit_exceeded"),
        );
        check(
            worker(Code::Overloaded, json!({"status": 429})).reason("insufficient_quota"),
            429,
            "insufficient_quota",
            null.clone(),
            json!("insufficient_quota"),
        );
        check(
            worker(Code::Overloaded, json!({"status": 529})).reason("overloaded_error"),
            503,
            "overloaded_error",
            null.clone(),
            json!("overloaded_error"),
        );
        check(
            worker(Code::Unavailable, json!({"status": 401})).reason("upstream_auth"),
            502,
            "upstream_error",
            null.clone(),
            json!("upstream_auth"),
        );
        check(
            Error::engine(Code::NotFound, "no worker"),
            503,
            "server_error",
            null.clone(),
            null.clone(),
        );
        check(
            Error::worker(Code::Timeout, "m"),
            504,
            "timeout_error",
            null.clone(),
            null.clone(),
        );
        check(
            Error::engine(Code::WorkerLost, "m"),
            502,
            "server_error",
            null.clone(),
            null.clone(),
        );
        check(
            Error::worker(Code::Failed, "m"),
            500,
            "server_error",
            null.clone(),
            null,
        );
    }

    #[test]
    fn clients_are_told_when_and_whether_to_try_again() {
        let headers = |retryable: bool, details: Value| {
            let mut error = Error::worker(Code::Overloaded, "m").details(details);
            error.retryable = retryable;
            Failure::from(error).answer().headers
        };
        let some = headers(true, json!({"retry_after_ms": 1_500}));
        assert_eq!(
            (
                some["retry-after"].as_str(),
                some["retry-after-ms"].as_str()
            ),
            ("2", "1500")
        );
        assert!(!some.contains_key("x-should-retry"));
        assert_eq!(headers(false, json!({}))["x-should-retry"], "false");
    }
}
