//! What a function answered, as an HTTP response.

use agentos_sdk::{Code, Encoding, Error, Payload};
use axum::{
    body::Body,
    http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode, header},
};
use bytes::Bytes;
use serde_json::{Value, json};

/// Status and headers that a function chose.
#[derive(Default)]
pub(super) struct Head {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
}

/// Reads `status_code` and `headers`; what is not usable is left out.
fn head(value: &Value) -> Head {
    let status = value
        .get("status_code")
        .and_then(Value::as_u64)
        .and_then(|code| StatusCode::from_u16(u16::try_from(code).ok()?).ok())
        // Anything below is not an answer but a word on the way to one.
        .filter(|status| *status >= StatusCode::OK);
    let mut headers = HeaderMap::new();
    let mut add = |name: &str, value: &str| {
        if let (Ok(name), Ok(value)) = (
            HeaderName::from_bytes(name.trim().as_bytes()),
            HeaderValue::from_str(value.trim()),
        ) {
            headers.append(name, value);
        }
    };
    match value.get("headers") {
        Some(Value::Object(pairs)) => pairs.iter().for_each(|(name, value)| match value {
            Value::String(text) => add(name, text),
            Value::Array(many) => many
                .iter()
                .filter_map(Value::as_str)
                .for_each(|text| add(name, text)),
            Value::Null => {}
            other => add(name, &other.to_string()),
        }),
        Some(Value::Array(lines)) => lines
            .iter()
            .filter_map(|line| line.as_str()?.split_once(':'))
            .for_each(|(name, value)| add(name, value)),
        _ => {}
    }
    Head {
        status: status.unwrap_or_default(),
        headers,
    }
}

/// The first chunk of a stream, if it is a head.
pub(super) fn stream_head(chunk: &Payload) -> Option<Head> {
    if chunk.encoding == Encoding::Binary {
        return None;
    }
    let value: Value = chunk.decode().ok()?;
    let is_head = value
        .as_object()
        .is_some_and(|object| object.contains_key("status_code") || object.contains_key("headers"));
    is_head.then(|| head(&value))
}

/// One chunk of a stream as bytes of the body: binary as it is, JSON as a server-sent event.
pub(super) fn stream_bytes(chunk: Payload) -> Bytes {
    match chunk.encoding {
        Encoding::Binary => chunk.bytes,
        Encoding::Json => [b"data: ", chunk.text(), b"\n\n"].concat().into(),
    }
}

/// A function's one answer.
pub(super) fn buffered(result: &Payload) -> Response<Body> {
    if result.encoding == Encoding::Binary {
        let kind = (
            header::CONTENT_TYPE,
            HeaderValue::from_static("application/octet-stream"),
        );
        return response(
            Head {
                headers: HeaderMap::from_iter([kind]),
                ..Head::default()
            },
            result.bytes.clone(),
        );
    }
    let value: Value = result.decode().unwrap_or(Value::Null);
    let mut head = head(&value);
    let body = value.get("body").cloned().unwrap_or_else(|| json!({}));
    let body = match (head.headers.contains_key(header::CONTENT_TYPE), body) {
        (true, Value::String(text)) => text.into_bytes(),
        (true, Value::Null) => Vec::new(),
        (true, other) => other.to_string().into_bytes(),
        (false, other) => {
            head.headers.insert(
                header::CONTENT_TYPE,
                HeaderValue::from_static("application/json"),
            );
            other.to_string().into_bytes()
        }
    };
    response(head, body)
}

/// A head and its body.
pub(super) fn response(head: Head, body: impl Into<Body>) -> Response<Body> {
    let mut response = Response::new(body.into());
    *response.status_mut() = head.status;
    *response.headers_mut() = head.headers;
    // The server frames the body itself; a length from elsewhere could cut it.
    for name in [
        header::CONTENT_LENGTH,
        header::TRANSFER_ENCODING,
        header::CONNECTION,
    ] {
        response.headers_mut().remove(name);
    }
    response
}

/// An error as a response: `{"error": {"message", "type", "param", "code"}}`, the shape that
/// clients of model gateways know.
pub(super) fn failed(error: &Error) -> Response<Body> {
    let status = status(error.code);
    let code = if error.code == Code::Unauthenticated {
        "invalid_api_key"
    } else {
        error.reason.as_deref().unwrap_or(error.code.as_str())
    };
    let param = error
        .details
        .as_ref()
        .and_then(|details| details.get("field"))
        .cloned()
        .unwrap_or(Value::Null);
    let mut body =
        json!({ "message": error.message, "type": kind(status), "param": param, "code": code });
    if status.is_server_error() {
        let id = uuid::Uuid::new_v4().to_string();
        tracing::warn!(error_id = id, %error, "a request failed");
        body["error_id"] = id.into();
    }
    let mut response = Response::new(Body::from(json!({ "error": body }).to_string()));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("application/json"),
    );
    if error.retryable {
        headers.insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
    }
    response
}

fn status(code: Code) -> StatusCode {
    match code {
        Code::NotFound => StatusCode::NOT_FOUND,
        Code::Timeout => StatusCode::GATEWAY_TIMEOUT,
        Code::WorkerLost => StatusCode::BAD_GATEWAY,
        Code::Overloaded => StatusCode::TOO_MANY_REQUESTS,
        Code::InvalidInput => StatusCode::UNPROCESSABLE_ENTITY,
        Code::InvalidFrame => StatusCode::BAD_REQUEST,
        Code::Unauthenticated => StatusCode::UNAUTHORIZED,
        Code::Forbidden => StatusCode::FORBIDDEN,
        Code::Conflict => StatusCode::CONFLICT,
        Code::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
        Code::PayloadTooLarge => StatusCode::PAYLOAD_TOO_LARGE,
        Code::Unsupported => StatusCode::NOT_IMPLEMENTED,
        _ => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

fn kind(status: StatusCode) -> &'static str {
    match status {
        StatusCode::TOO_MANY_REQUESTS => "rate_limit_error",
        StatusCode::GATEWAY_TIMEOUT => "timeout_error",
        status if status.is_client_error() => "invalid_request_error",
        _ => "server_error",
    }
}
