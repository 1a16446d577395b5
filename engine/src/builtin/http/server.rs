//! The way of a request to its function and back.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU8, Ordering},
    },
    time::Duration,
};

use agentos_sdk::{Bus, Code, Encoding, Error, Payload};
use hyper::{
    Method, Request, Response, StatusCode,
    body::{Body as _, Incoming},
    header::{self, HeaderValue},
    http::request::Parts,
};
use serde_json::{json, value::RawValue};
use tokio::time::Instant;

use super::{
    STREAM_TIMEOUT, Shared,
    answer::{self, Callee},
    body::{Body, Limits},
    exchange::{Source, Visit},
    middleware,
    reply::{self, Failure},
    request::{self, Told},
    routes::{Auth, Found, InvalidJson, Matched},
};

/// What a request that takes too long is waiting for.
#[derive(Default)]
struct Stage(AtomicU8);

impl Stage {
    const BODY: u8 = 0;
    const ROOM: u8 = 1;
    const MIDDLEWARE: u8 = 2;
    const FUNCTION: u8 = 3;

    fn is(&self, stage: u8) {
        self.0.store(stage, Ordering::Relaxed);
    }

    /// The deadline passed.
    fn failure(&self, matched: &Matched) -> Failure {
        let late = |message: String| Error::engine(Code::Timeout, message);
        match self.0.load(Ordering::Relaxed) {
            Self::BODY => Failure::with_status(
                late("the body did not come in time".into()),
                StatusCode::REQUEST_TIMEOUT,
            ),
            Self::ROOM => late("too many requests were before this one".into()).into(),
            Self::MIDDLEWARE => middleware_timeout(),
            _ => late(format!(
                "`{}` did not begin to answer in time",
                matched.route.function
            ))
            .into(),
        }
    }
}

fn middleware_timeout() -> Failure {
    Error::engine(Code::Timeout, "Middleware timeout")
        .reason("MIDDLEWARE_TIMEOUT")
        .into()
}

impl Shared {
    /// Answers, whatever happens.
    pub(super) async fn answer(&self, request: Request<Incoming>) -> Response<Body> {
        let origin = request.headers().get(header::ORIGIN).cloned();
        let mut response = self
            .handle(request)
            .await
            .unwrap_or_else(|failure| failure.response());
        let headers = response.headers_mut();
        if !headers.contains_key("x-request-id")
            && let Ok(id) = HeaderValue::from_str(&format!("req_{}", uuid::Uuid::new_v4().simple()))
        {
            headers.insert("x-request-id", id);
        }
        if let Some(origin) = origin {
            self.door.mark(&origin, headers);
        }
        response
    }

    async fn handle(&self, request: Request<Incoming>) -> Result<Response<Body>, Failure> {
        let (parts, body) = request.into_parts();
        if let Some(response) = self.health(&parts) {
            return Ok(response);
        }
        self.door.check(&parts)?;
        if let Some(response) = self.door.preflight(&parts) {
            return Ok(response);
        }
        let matched = match self.routes.find(parts.method.as_str(), parts.uri.path()) {
            Found::Route(matched) => matched,
            found => {
                // Who has no token learns nothing of which routes there are.
                self.door.check_token(&parts.headers)?;
                return Ok(no_route(&parts, &found));
            }
        };
        match matched.route.auth {
            Auth::Token => self.door.check_token(&parts.headers)?,
            Auth::Key => self.door.check_key(&parts.headers)?,
            Auth::None => {}
        }
        let stage = Stage::default();
        let deadline = Instant::now() + self.config.timeout();
        // Boxed: it is large, and lives as long as its function takes.
        let work = Box::pin(self.work(&parts, body, &matched, deadline, &stage));
        tokio::time::timeout_at(deadline, work)
            .await
            .unwrap_or_else(|_| Err(stage.failure(&matched)))
    }

    fn health(&self, parts: &Parts) -> Option<Response<Body>> {
        if parts.method != Method::GET && parts.method != Method::HEAD {
            return None;
        }
        match parts.uri.path() {
            "/health/live" => Some(reply::json(StatusCode::OK, &json!({ "status": "live" }))),
            "/health/ready" => {
                let readiness = (self.ready)();
                let (status, word) = if readiness.ready {
                    (StatusCode::OK, "ready")
                } else {
                    (StatusCode::SERVICE_UNAVAILABLE, "starting")
                };
                let body = json!({ "status": word, "waiting": readiness.waiting });
                Some(reply::json(status, &body))
            }
            _ => None,
        }
    }

    async fn work(
        &self,
        parts: &Parts,
        body: Incoming,
        matched: &Matched,
        deadline: Instant,
        stage: &Stage,
    ) -> Result<Response<Body>, Failure> {
        let bus = self
            .bus
            .get()
            .ok_or_else(|| Error::engine(Code::Unavailable, "the engine is starting"))?;
        let bus = bus.with_trace(request::trace(&parts.headers));
        let limits = Limits {
            bytes_max: self.config.body_bytes_max,
            idle: self.config.body_idle(),
        };
        let source = take_in(parts, body, matched, limits).await?;
        stage.is(Stage::ROOM);
        let _seat = self.room.enter(&matched.route.share).await?;
        let bytes = match &source {
            Source::Read(bytes) => Some(bytes.clone()),
            Source::Coming { .. } => None,
        };
        let json = match &bytes {
            Some(bytes) if request::says_json(&parts.headers) => self.parse(matched, bytes)?,
            _ => None,
        };
        let told = Told::new(
            parts,
            matched,
            bytes.as_ref(),
            json,
            self.door.wants_token(),
            self.door.check_token(&parts.headers).is_ok(),
        );
        stage.is(Stage::MIDDLEWARE);
        if let Some(response) = self.ask_middleware(&bus, matched, &told, deadline).await? {
            return Ok(response);
        }
        stage.is(Stage::FUNCTION);
        ask_condition(&bus, matched, &told, deadline).await?;
        let visit = Visit::begin(&self.channels, source, limits);
        let payload = told.payload_with(&visit.hosted)?;
        let route = &matched.route;
        let mut call = bus
            .call(&route.function)
            .namespace(route.namespace.clone())
            .timeout(STREAM_TIMEOUT);
        if let Some(metadata) = &route.metadata {
            call = call.metadata(Arc::clone(metadata));
        }
        let callee = Callee::new(call.stream_payload(payload)?);
        answer::decide(callee, visit, || !self.may_speak_json(matched)).await
    }

    /// Whether the function may be of a worker of the JSON dialect.
    fn may_speak_json(&self, matched: &Matched) -> bool {
        let route = &matched.route;
        (self.speaks_json)(route.namespace.as_deref(), &route.function)
    }

    fn parse<'a>(
        &self,
        matched: &Matched,
        bytes: &'a [u8],
    ) -> Result<Option<&'a RawValue>, Failure> {
        if bytes.is_empty() {
            return Ok(None);
        }
        match serde_json::from_slice(bytes) {
            Ok(value) => Ok(Some(value)),
            Err(error) => {
                let policy = matched.route.invalid_json;
                let null = match policy {
                    Some(policy) => policy == InvalidJson::Null,
                    None => self.may_speak_json(matched),
                };
                if null {
                    return Ok(None);
                }
                let message = format!("the body is not JSON: {error}");
                Err(Error::caller(Code::InvalidFrame, message).into())
            }
        }
    }

    /// The response of the middleware that ends the request, if one does.
    async fn ask_middleware(
        &self,
        bus: &Bus,
        matched: &Matched,
        told: &Told<'_>,
        deadline: Instant,
    ) -> Result<Option<Response<Body>>, Failure> {
        let route = &matched.route;
        if self.middleware.is_empty() && route.middleware.is_empty() {
            return Ok(None);
        }
        let payload = middleware::payload(told).map_err(request::internal)?;
        for (function, global) in middleware::in_order(&self.middleware, &route.middleware) {
            let namespace = route.namespace.clone().filter(|_| !global);
            let answer = bus
                .call(function)
                .namespace(namespace)
                .timeout(left(deadline))
                .send_payload(payload.clone())
                .await;
            let result = answer.map_err(|error| match error.code {
                Code::Timeout => middleware_timeout(),
                _ => failed(error),
            })?;
            if let Some(response) = middleware::response(&result) {
                return Ok(Some(reply::spoken(&response)));
            }
        }
        Ok(None)
    }
}

/// Asks the route's condition; only exactly `false` says no.
async fn ask_condition(
    bus: &Bus,
    matched: &Matched,
    told: &Told<'_>,
    deadline: Instant,
) -> Result<(), Failure> {
    let Some(condition) = &matched.route.condition else {
        return Ok(());
    };
    let verdict = bus
        .call(condition)
        .namespace(matched.route.namespace.clone())
        .timeout(left(deadline))
        .send_payload(told.payload()?)
        .await
        .map_err(failed)?;
    if is_false(&verdict) {
        return Err(Failure::skipped());
    }
    Ok(())
}

fn is_false(verdict: &Payload) -> bool {
    verdict.encoding == Encoding::Json && verdict.bytes.trim_ascii() == b"false"
}

/// Something on the way to the function failed, whatever it says of itself.
fn failed(error: Error) -> Failure {
    Failure::with_status(error, StatusCode::INTERNAL_SERVER_ERROR)
}

fn left(deadline: Instant) -> Duration {
    // Zero would be refused as a call that nobody meant.
    deadline
        .saturating_duration_since(Instant::now())
        .max(Duration::from_millis(1))
}

/// Bodies that are to be understood are read; others are left to whoever reads their channel.
async fn take_in(
    parts: &Parts,
    body: Incoming,
    matched: &Matched,
    limits: Limits,
) -> Result<Source, Failure> {
    limits.check(&body)?;
    let wanted = matched.route.raw_body || request::says_json(&parts.headers);
    if wanted || body.is_end_stream() {
        return Ok(Source::Read(limits.collect(body).await?));
    }
    Ok(Source::Coming {
        body,
        expects: parts.headers.contains_key(header::EXPECT),
    })
}

fn no_route(parts: &Parts, found: &Found) -> Response<Body> {
    let path = parts.uri.path();
    let Found::OtherMethods(methods) = found else {
        let message = format!("no route for {} {path}", parts.method);
        return Failure::from(Error::caller(Code::NotFound, message)).response();
    };
    let allow = methods.join(", ");
    let error = Error::caller(
        Code::NotFound,
        format!("{path} does not take {}, it takes {allow}", parts.method),
    )
    .reason("method_not_allowed");
    let mut response = Failure::with_status(error, StatusCode::METHOD_NOT_ALLOWED).response();
    if let Ok(allow) = HeaderValue::from_str(&allow) {
        response.headers_mut().insert(header::ALLOW, allow);
    }
    response
}
