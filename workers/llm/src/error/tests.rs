//! Upstream complaints as our errors.

use super::*;

fn upstream() -> Upstream {
    Upstream {
        provider: "acme".into(),
        secrets: Arc::new([Secret::new("sk-secret")]),
    }
}

#[test]
fn statuses_and_bodies_become_codes() {
    let check = |status: u16, body: Value, code: Code, retryable: bool| {
        let error = upstream().refused(&Complaint::read_body(status, body.to_string().as_bytes()));
        assert_eq!(
            (error.code, error.retryable),
            (code, retryable),
            "{status} {body}"
        );
        assert_eq!(error.details.unwrap()["status"], status);
    };
    let named =
        |code: &str| json!({"error": {"message": "m", "type": "t", "param": null, "code": code}});
    check(
        400,
        named("context_length_exceeded"),
        Code::InvalidInput,
        false,
    );
    check(404, named("model_not_found"), Code::InvalidInput, false);
    check(401, named("invalid_api_key"), Code::Unavailable, false);
    check(403, json!({}), Code::Unavailable, false);
    check(408, json!({}), Code::Timeout, true);
    check(409, json!({}), Code::Unavailable, true);
    check(413, json!({}), Code::PayloadTooLarge, false);
    check(422, json!({"detail": "d"}), Code::InvalidInput, false);
    check(429, named("rate_limit_exceeded"), Code::Overloaded, true);
    check(429, named("insufficient_quota"), Code::Overloaded, false);
    check(500, json!("oops"), Code::Unavailable, true);
    check(503, json!([]), Code::Unavailable, true);
    check(
        529,
        json!({"type": "error", "error": {"type": "overloaded_error", "message": "m"}}),
        Code::Overloaded,
        true,
    );
}

#[test]
fn the_key_is_in_no_error() {
    for status in [400, 401, 500] {
        let body = json!({"error": {"message": "bad key sk-secret", "code": "sk-secret", "type": "sk-secret"}});
        let error = upstream().refused(&Complaint::read_body(status, body.to_string().as_bytes()));
        assert!(!serde_json::to_string(&error).unwrap().contains("sk-secret"));
    }
}

#[test]
fn error_events_in_the_middle_of_an_answer() {
    let check = |event: Value, code: Code, message: &str| {
        let error = upstream().refused(&Complaint::read(&event));
        assert_eq!((error.code, error.message.as_str()), (code, message));
    };
    check(
        json!({"error": {"code": 502, "message": "m"}}),
        Code::Unavailable,
        "acme answered 502: m",
    );
    check(
        json!({"type": "error", "error": {"type": "overloaded_error", "message": "m"}}),
        Code::Overloaded,
        "acme answered: m",
    );
    check(
        json!({"error": "plain"}),
        Code::Unavailable,
        "acme answered: plain",
    );
}
