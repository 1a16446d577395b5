//! What a function answered, as an HTTP response.

use std::{borrow::Cow, fmt};

use agentos_sdk::{Code, Encoding, Error, Payload};
use bytes::Bytes;
use hyper::{
    HeaderMap, Response, StatusCode,
    header::{self, HeaderName, HeaderValue},
};
use serde::{
    Deserialize, Deserializer,
    de::{IgnoredAny, MapAccess, Visitor},
};
use serde_json::{Value, json, value::RawValue};

use super::body::{Body, whole};

/// Status and headers that a function chose.
#[derive(Default)]
pub(super) struct Head {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
}

impl Head {
    /// Reads `status_code` and `headers`; what is not usable is left out.
    pub(super) fn read(value: &Value) -> Self {
        head(value)
    }
}

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
///
/// # Errors
/// 502 when it is no JSON although it says so.
pub(super) fn buffered(result: &Payload) -> Result<Response<Body>, Failure> {
    if result.encoding == Encoding::Binary {
        let kind = (
            header::CONTENT_TYPE,
            HeaderValue::from_static("application/octet-stream"),
        );
        let head = Head {
            headers: HeaderMap::from_iter([kind]),
            ..Head::default()
        };
        return Ok(response(head, whole(result.bytes.clone())));
    }
    if let Ok(spoken) = serde_json::from_slice::<Spoken<'_>>(result.text()) {
        return Ok(spoken.response(&result.bytes));
    }
    // No object, or one that says something twice.
    let value: Value = result.decode().map_err(|error| {
        let message = format!("the function's result is no JSON: {error}");
        let error = Error::worker(Code::Failed, message).reason("invalid_response");
        Failure::with_status(error, StatusCode::BAD_GATEWAY)
    })?;
    Ok(spoken(&value))
}

/// `{"status_code", "headers", "body"}` as a response.
pub(super) fn spoken(value: &Value) -> Response<Body> {
    let text = Bytes::from(if value.is_object() {
        value.to_string()
    } else {
        "{}".to_owned()
    });
    let spoken: Spoken<'_> = serde_json::from_slice(&text).unwrap_or_default();
    spoken.response(&text)
}

/// A result that says which response it is.
#[derive(Default)]
struct Spoken<'a> {
    head: Head,
    body: Option<&'a RawValue>,
}

impl<'de> Deserialize<'de> for Spoken<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        // By hand: derived, an array would be read as well.
        deserializer.deserialize_map(Fields)
    }
}

struct Fields;

impl<'de> Visitor<'de> for Fields {
    type Value = Spoken<'de>;

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Spoken<'de>, A::Error> {
        let mut said = serde_json::Map::new();
        let mut body = None;
        while let Some(name) = map.next_key::<Cow<'de, str>>()? {
            match &*name {
                "status_code" | "headers" => {
                    said.insert(name.into_owned(), map.next_value()?);
                }
                "body" => body = Some(map.next_value()?),
                _ => {
                    map.next_value::<IgnoredAny>()?;
                }
            }
        }
        Ok(Spoken {
            head: head(&said.into()),
            body,
        })
    }
}

impl Spoken<'_> {
    /// `text` is what this was read from: a body that is no text goes on as it stands there.
    fn response(mut self, text: &Bytes) -> Response<Body> {
        let named = self.head.headers.contains_key(header::CONTENT_TYPE);
        if !named {
            let kind = HeaderValue::from_static("application/json");
            self.head.headers.insert(header::CONTENT_TYPE, kind);
        }
        let raw = self.body.map_or("{}", RawValue::get);
        let body = match (named, raw.as_bytes().first()) {
            (true, Some(b'"')) => serde_json::from_str::<String>(raw)
                .unwrap_or_else(|_| raw.to_owned())
                .into(),
            (true, Some(b'n')) => Bytes::new(),
            _ if self.body.is_some() => text.slice_ref(raw.as_bytes()),
            _ => Bytes::from_static(b"{}"),
        };
        response(self.head, whole(body))
    }
}

/// A head and its body.
pub(super) fn response(head: Head, body: Body) -> Response<Body> {
    let mut response = Response::new(body);
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

/// JSON of our own.
pub(super) fn json(status: StatusCode, value: &Value) -> Response<Body> {
    let mut response = Response::new(whole(value.to_string()));
    *response.status_mut() = status;
    let kind = HeaderValue::from_static("application/json");
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    response
}

/// Why a request has no answer of a function.
#[derive(Debug)]
pub(super) struct Failure {
    pub(super) error: Error,
    status: StatusCode,
    /// A condition did not want it.
    skipped: bool,
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        let status = status(error.code);
        Failure::with_status(error, status)
    }
}

impl Failure {
    /// With another status than that of the error's code.
    pub(super) fn with_status(error: Error, status: StatusCode) -> Self {
        Failure {
            error,
            status,
            skipped: false,
        }
    }

    /// The route's condition said no.
    pub(super) fn skipped() -> Self {
        let error = Error::caller(Code::InvalidInput, "Request condition not met");
        Failure {
            skipped: true,
            ..Failure::from(error.reason("CONDITION_NOT_MET"))
        }
    }

    pub(super) fn response(&self) -> Response<Body> {
        failed(&self.error, self.status, self.skipped)
    }
}

/// An error as a response: `{"error": {"message", "type", "param", "code"}}`, the shape that
/// clients of model gateways know.
fn failed(error: &Error, status: StatusCode, skipped: bool) -> Response<Body> {
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
    let mut body = json!({ "error": body });
    if skipped {
        body["skipped"] = true.into();
    }
    let mut response = json(status, &body);
    if error.retryable {
        let headers = response.headers_mut();
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
        StatusCode::GATEWAY_TIMEOUT | StatusCode::REQUEST_TIMEOUT => "timeout_error",
        status if status.is_client_error() => "invalid_request_error",
        _ => "server_error",
    }
}
