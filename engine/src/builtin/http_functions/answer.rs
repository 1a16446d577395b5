//! From an HTTP answer to a call's outcome.

use agentos_sdk::{Code, Error, Payload};
use bytes::Bytes;
use hyper::StatusCode;
use serde::Deserialize;
use serde_json::value::RawValue;

/// Longest message that is passed on from an endpoint, in characters.
const MESSAGE_CHARS_MAX: usize = 4096;

/// `{"error": {"code", "message"}}`, as an endpoint reports its own failures.
#[derive(Deserialize)]
struct Failure {
    error: Told,
}

#[derive(Deserialize)]
struct Told {
    code: String,
    message: String,
}

/// The outcome of the call that was answered with `status` and `body`.
pub(super) fn outcome(status: StatusCode, body: Bytes) -> Result<Payload, Error> {
    if !status.is_success() {
        return Err(failure(status, &body));
    }
    if body.iter().all(u8::is_ascii_whitespace) {
        return Ok(Payload::NULL);
    }
    let json =
        str::from_utf8(&body).is_ok_and(|text| serde_json::from_str::<&RawValue>(text).is_ok());
    if json {
        return Ok(Payload::json(body));
    }
    let message = format!(
        "the endpoint answered {} with a body that is not JSON",
        status.as_u16()
    );
    Err(Error::worker(Code::Failed, message).reason("invalid_response"))
}

fn failure(status: StatusCode, body: &[u8]) -> Error {
    if let Ok(Failure { error }) = serde_json::from_slice(body) {
        let message: String = error.message.chars().take(MESSAGE_CHARS_MAX).collect();
        let code: String = error.code.chars().take(256).collect();
        return Error::worker(Code::Failed, message).reason(code);
    }
    let message = format!("HTTP {status}");
    Error::worker(Code::Failed, message).reason("http_error")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outcomes() {
        let ok = |text: &'static str| Ok(Payload::json(text));
        let err = |reason: &'static str, message: &'static str| Err((reason, message));
        let cases = [
            (200, r#"{"a":1}"#, ok(r#"{"a":1}"#)),
            (201, " 5 ", ok(" 5 ")),
            (200, "", Ok(Payload::NULL)),
            (204, " \n", Ok(Payload::NULL)),
            (200, "null", ok("null")),
            (
                200,
                "hello",
                err(
                    "invalid_response",
                    "answered 200 with a body that is not JSON",
                ),
            ),
            (200, "{", err("invalid_response", "not JSON")),
            (502, "", err("http_error", "HTTP 502 Bad Gateway")),
            (302, "moved", err("http_error", "HTTP 302 Found")),
            (599, "", err("http_error", "HTTP 599")),
            (
                402,
                r#"{"error":{"code":"card_declined","message":"no money"}}"#,
                err("card_declined", "no money"),
            ),
            (
                400,
                r#"{"error":"text"}"#,
                err("http_error", "HTTP 400 Bad Request"),
            ),
            (
                400,
                r#"{"error":{"code":5,"message":"x"}}"#,
                err("http_error", "HTTP 400"),
            ),
        ];
        for (status, body, expected) in cases {
            let found = outcome(
                StatusCode::from_u16(status).unwrap(),
                Bytes::from_static(body.as_bytes()),
            );
            match (&found, expected) {
                (Ok(found), Ok(expected)) => assert_eq!(*found, expected, "{status} {body}"),
                (Err(error), Err((reason, message))) => {
                    assert_eq!(error.reason.as_deref(), Some(reason), "{status} {body}");
                    assert!(error.message.contains(message), "{status} {body}: {error}");
                }
                _ => panic!("{status} {body}: {found:?}"),
            }
        }
        let wrong = outcome(StatusCode::OK, Bytes::from_static(b"\"\xff\""));
        assert!(wrong.is_err());
    }
}
