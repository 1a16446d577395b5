//! An HTTP request as the payload of a call.

use std::collections::BTreeMap;

use agentos_sdk::{Code, Error, Payload, Trace};
use base64::{Engine, engine::general_purpose::STANDARD};
use bytes::Bytes;
use hyper::{
    HeaderMap,
    header::{self, HeaderName},
    http::request::Parts,
};
use serde::Serialize;
use serde_json::value::RawValue;

use super::routes::{Auth, Matched};
use crate::channel::{Hosted, Ref};

/// A request as functions are told of it.
#[derive(Serialize)]
pub(super) struct Told<'a> {
    pub(super) method: &'a str,
    /// The registered path.
    path: &'a str,
    pub(super) path_params: &'a BTreeMap<String, String>,
    pub(super) query_params: BTreeMap<String, String>,
    pub(super) headers: BTreeMap<&'a str, String>,
    /// Parsed JSON, or null.
    body: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    raw_body: Option<String>,
    /// On routes that take other keys too: whether the listener's token was shown.
    #[serde(skip_serializing_if = "Option::is_none")]
    authenticated: Option<bool>,
    trigger: Trigger<'a>,
}

#[derive(Serialize)]
struct Trigger<'a> {
    r#type: &'static str,
    path: &'a str,
    method: &'a str,
}

/// With the ends of the request's channels.
#[derive(Serialize)]
struct Whole<'a> {
    #[serde(flatten)]
    told: &'a Told<'a>,
    request_body: Ref,
    response: Ref,
}

impl<'a> Told<'a> {
    /// `bytes` is the body as it came, where it was read; `body` what it says, where it is JSON.
    /// `has_token`: the listener wants its token in the headers; `is_trusted`: it is, or none is
    /// wanted.
    pub(super) fn new(
        parts: &'a Parts,
        matched: &'a Matched,
        bytes: Option<&Bytes>,
        body: Option<&'a RawValue>,
        has_token: bool,
        is_trusted: bool,
    ) -> Self {
        let route = &matched.route;
        let raw_body = bytes.filter(|_| route.raw_body);
        Told {
            method: parts.method.as_str(),
            path: &route.path,
            path_params: &matched.params,
            query_params: query(parts.uri.query().unwrap_or_default()),
            headers: headers(
                &parts.headers,
                has_token && is_trusted && route.auth != Auth::None,
            ),
            body,
            raw_body: raw_body.map(|bytes| STANDARD.encode(bytes)),
            authenticated: (route.auth == Auth::Key).then_some(is_trusted),
            trigger: Trigger {
                r#type: "http",
                path: &route.path,
                method: &route.method,
            },
        }
    }

    /// What a condition gets.
    pub(super) fn payload(&self) -> Result<Payload, Error> {
        Payload::encode(self).map_err(internal)
    }

    /// What the function gets.
    pub(super) fn payload_with(&self, hosted: &Hosted) -> Result<Payload, Error> {
        let whole = Whole {
            told: self,
            request_body: hosted.reader(),
            response: hosted.writer(),
        };
        Payload::encode(&whole).map_err(internal)
    }
}

pub(super) fn internal(error: serde_json::Error) -> Error {
    Error::engine(Code::Internal, error.to_string())
}

/// Repeated keys: the last one wins.
fn query(text: &str) -> BTreeMap<String, String> {
    form_urlencoded::parse(text.as_bytes())
        .into_owned()
        .collect()
}

/// Lower-case names; repeated headers: the last one wins. On a route that wants the engine's token
/// the headers that carry it stay here: a function has no use for that secret.
fn headers(headers: &HeaderMap, has_token: bool) -> BTreeMap<&str, String> {
    let secret = |name: &HeaderName| {
        has_token && (*name == header::AUTHORIZATION || *name == "x-api-key" || *name == "api-key")
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

/// Whether the body says that it is JSON.
pub(super) fn says_json(headers: &HeaderMap) -> bool {
    headers
        .get(header::CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .is_some_and(|kind| {
            let kind = kind.to_ascii_lowercase();
            kind.contains("application/json") || kind.contains("+json")
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
