//! An HTTP request as the payload of a call.

use std::collections::BTreeMap;

use agentos_sdk::{Code, Error, Payload, Trace};
use axum::http::{HeaderMap, HeaderName, header, request::Parts};
use base64::{Engine, engine::general_purpose::STANDARD};
use bytes::Bytes;
use serde::Serialize;
use serde_json::value::RawValue;

use super::routes::{Auth, Matched};

#[derive(Serialize)]
struct Request<'a> {
    method: &'a str,
    /// The registered path.
    path: &'a str,
    path_params: &'a BTreeMap<String, String>,
    query_params: BTreeMap<String, String>,
    headers: BTreeMap<&'a str, String>,
    /// Parsed JSON, or null.
    body: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    raw_body: Option<String>,
    trigger: Trigger<'a>,
}

#[derive(Serialize)]
struct Trigger<'a> {
    r#type: &'static str,
    path: &'a str,
    method: &'a str,
}

/// The payload for a bound function.
///
/// # Errors
/// `invalid_frame` when a body that says it is JSON is not.
pub(super) fn payload(parts: &Parts, matched: &Matched, body: &Bytes) -> Result<Payload, Error> {
    let route = &matched.route;
    let request = Request {
        method: parts.method.as_str(),
        path: &route.path,
        path_params: &matched.params,
        query_params: query(parts.uri.query().unwrap_or_default()),
        headers: headers(&parts.headers, route.auth),
        body: json(&parts.headers, body)?,
        raw_body: route.raw_body.then(|| STANDARD.encode(body)),
        trigger: Trigger {
            r#type: "http",
            path: &route.path,
            method: &route.method,
        },
    };
    Payload::encode(&request).map_err(|error| Error::engine(Code::Internal, error.to_string()))
}

/// Repeated keys: the last one wins.
fn query(text: &str) -> BTreeMap<String, String> {
    form_urlencoded::parse(text.as_bytes())
        .into_owned()
        .collect()
}

/// Lower-case names; repeated headers: the last one wins. On a route that wants the engine's token
/// the headers that carry it stay here: a function has no use for that secret.
fn headers(headers: &HeaderMap, auth: Auth) -> BTreeMap<&str, String> {
    let secret = |name: &HeaderName| {
        auth == Auth::Token
            && (*name == header::AUTHORIZATION || *name == "x-api-key" || *name == "api-key")
    };
    headers
        .iter()
        .filter(|(name, _)| !secret(name))
        .map(|(name, value)| {
            (
                name.as_str(),
                String::from_utf8_lossy(value.as_bytes()).into_owned(),
            )
        })
        .collect()
}

fn json<'a>(headers: &HeaderMap, body: &'a Bytes) -> Result<Option<&'a RawValue>, Error> {
    let kind = headers
        .get(header::CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default();
    if body.is_empty() || !(kind.contains("application/json") || kind.contains("+json")) {
        return Ok(None);
    }
    serde_json::from_slice(body).map(Some).map_err(|error| {
        Error::caller(Code::InvalidFrame, format!("the body is not JSON: {error}"))
    })
}

/// The trace that the client is in, continued.
pub(super) fn trace(headers: &HeaderMap) -> Trace {
    let text = |name| {
        headers
            .get(name)
            .and_then(|value| value.to_str().ok())
            .map(Into::into)
    };
    Trace {
        parent: text("traceparent"),
        baggage: text("baggage"),
    }
}
