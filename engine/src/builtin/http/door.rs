//! Who may send a request: `Host`, `Origin`, token; and what browser pages are told.

use agentos_sdk::{Code, Error};
use bytes::Bytes;
use hyper::{
    HeaderMap, Method, Response,
    header::{self, HeaderName, HeaderValue},
    http::request::Parts,
};

use super::{
    body::{Body, whole},
    config::Cors,
    reply::Failure,
};
use crate::listener::{Gate, unauthenticated};

/// How long a page may rely on what a preflight told it.
const PREFLIGHT_AGE_S: &str = "600";

pub(super) struct Door {
    gate: Gate,
    cors: Option<Cors>,
}

impl Door {
    pub(super) fn new(gate: Gate, cors: Option<Cors>) -> Self {
        Door { gate, cors }
    }

    /// Refuses requests for somebody else, and those of pages that are not let in.
    pub(super) fn check(&self, parts: &Parts) -> Result<(), Failure> {
        if parts.headers.get_all(header::HOST).iter().count() > 1 {
            let error = Error::caller(Code::InvalidFrame, "there is more than one Host header");
            return Err(error.into());
        }
        let host = text(&parts.headers, &header::HOST);
        let authority = parts
            .uri
            .authority()
            .map(hyper::http::uri::Authority::as_str);
        if !self.gate.admits_host(host) || !self.gate.admits_host(authority) {
            return Err(forbidden(
                "the Host header names somebody else; list it under `listen.http.hosts` if it is meant",
            ));
        }
        let Some(origin) = text(&parts.headers, &header::ORIGIN) else {
            return Ok(());
        };
        if !self.admits_origin(origin) {
            return Err(forbidden(
                "pages of this Origin may not call; list it under `listen.http.origins` if it is meant",
            ));
        }
        // A preflight asks for another method than its own.
        if let Some(cors) = &self.cors
            && !is_preflight(parts)
            && !self.gate.lists_origin(origin)
            && !cors.admits_method(parts.method.as_str())
        {
            return Err(forbidden("pages may not use this method here"));
        }
        Ok(())
    }

    fn admits_origin(&self, origin: &str) -> bool {
        self.gate.lists_origin(origin)
            || self
                .cors
                .as_ref()
                .is_some_and(|cors| cors.admits_origin(origin))
    }

    pub(super) fn wants_token(&self) -> bool {
        self.gate.wants_token()
    }

    pub(super) fn check_token(&self, headers: &HeaderMap) -> Result<(), Error> {
        let token = token(headers);
        if self.gate.admits(token) {
            Ok(())
        } else {
            Err(unauthenticated(token.is_some()))
        }
    }

    /// Some key must be there; whether another than the token is good, the function knows.
    pub(super) fn check_key(&self, headers: &HeaderMap) -> Result<(), Error> {
        if token(headers).is_some() {
            Ok(())
        } else {
            self.check_token(headers)
        }
    }

    /// The answer to a browser that asks what its page may do. The page has been let in by then.
    pub(super) fn preflight(&self, parts: &Parts) -> Option<Response<Body>> {
        if !is_preflight(parts) {
            return None;
        }
        let mut response = Response::new(whole(Bytes::new()));
        let cors = self.cors.clone().unwrap_or_default();
        let headers = response.headers_mut();
        if let Ok(methods) = HeaderValue::from_str(&cors.methods()) {
            headers.insert(header::ACCESS_CONTROL_ALLOW_METHODS, methods);
        }
        if let Some(wanted) = parts.headers.get(header::ACCESS_CONTROL_REQUEST_HEADERS) {
            headers.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, wanted.clone());
        }
        headers.insert(
            header::ACCESS_CONTROL_MAX_AGE,
            HeaderValue::from_static(PREFLIGHT_AGE_S),
        );
        Some(response)
    }

    /// Lets a page of `origin` read the response, if pages of it are let in.
    pub(super) fn mark(&self, origin: &HeaderValue, headers: &mut HeaderMap) {
        let Ok(text) = origin.to_str() else { return };
        if !self.admits_origin(text) {
            return;
        }
        let named = self.gate.lists_origin(text);
        let answer = match &self.cors {
            Some(cors) if !named && cors.answer(text) == "*" => HeaderValue::from_static("*"),
            _ => origin.clone(),
        };
        headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, answer);
        headers.append(header::VARY, HeaderValue::from_static("origin"));
    }
}

fn is_preflight(parts: &Parts) -> bool {
    parts.method == Method::OPTIONS
        && parts
            .headers
            .contains_key(header::ACCESS_CONTROL_REQUEST_METHOD)
}

fn forbidden(message: &str) -> Failure {
    Error::caller(Code::Forbidden, message).into()
}

/// A value that is no text is nobody's.
fn text<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    headers
        .get(name)
        .map(|value| value.to_str().unwrap_or("\u{0}"))
}

/// The token as the clients of model gateways send it.
fn token(headers: &HeaderMap) -> Option<&str> {
    let text = |name| {
        headers
            .get(name)
            .and_then(|value: &HeaderValue| value.to_str().ok())
    };
    let bearer = text("authorization").and_then(|value| {
        value
            .strip_prefix("Bearer ")
            .or_else(|| value.strip_prefix("bearer "))
    });
    bearer
        .or_else(|| text("x-api-key"))
        .or_else(|| text("api-key"))
        .map(str::trim)
}
