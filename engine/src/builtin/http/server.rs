//! The listener: health, the door, and the way of a request to its function and back.

use std::sync::Arc;

use agentos_sdk::{CallStream, Code, Error, Payload, Stop};
use axum::{
    Router,
    body::Body,
    extract::{Request, State},
    http::{HeaderMap, HeaderValue, Method, Response, StatusCode, header, request::Parts},
    response::IntoResponse,
    routing::get,
};
use bytes::Bytes;
use futures_util::stream;
use serde_json::json;
use tokio::net::TcpListener;

use super::{
    STREAM_TIMEOUT, Shared, reply, request,
    routes::{Auth, Found, Matched},
};
use crate::listener::unauthenticated;

pub(super) async fn serve(listener: TcpListener, shared: Arc<Shared>, stop: Stop) {
    let router = Router::new()
        .route(
            "/health/live",
            get(|| async { axum::Json(json!({ "status": "live" })) }),
        )
        .route("/health/ready", get(ready))
        .fallback(answer)
        .with_state(shared);
    let listener = axum::serve::ListenerExt::tap_io(listener, |stream| {
        // A token of a stream must not wait for the acknowledgement of the one before.
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "TCP_NODELAY cannot be set");
        }
    });
    let served =
        axum::serve(listener, router).with_graceful_shutdown(async move { stop.cancelled().await });
    if let Err(error) = served.await {
        tracing::error!(%error, "the HTTP listener ended");
    }
}

async fn ready(State(shared): State<Arc<Shared>>) -> Response<Body> {
    let readiness = (shared.ready)();
    let status = if readiness.ready {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    let word = if readiness.ready { "ready" } else { "starting" };
    (
        status,
        axum::Json(json!({ "status": word, "waiting": readiness.waiting })),
    )
        .into_response()
}

async fn answer(State(shared): State<Arc<Shared>>, request: Request) -> Response<Body> {
    let origin = request.headers().get(header::ORIGIN).cloned();
    let mut response = shared
        .handle(request)
        .await
        .unwrap_or_else(|error| reply::failed(&error));
    let headers = response.headers_mut();
    if !headers.contains_key("x-request-id")
        && let Ok(id) = HeaderValue::from_str(&format!("req_{}", uuid::Uuid::new_v4().simple()))
    {
        headers.insert("x-request-id", id);
    }
    if let Some(origin) = origin.filter(|origin| {
        origin
            .to_str()
            .is_ok_and(|origin| shared.gate.lists_origin(origin))
    }) {
        headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
        headers.append(header::VARY, HeaderValue::from_static("origin"));
    }
    response
}

impl Shared {
    async fn handle(&self, request: Request) -> Result<Response<Body>, Error> {
        let (parts, body) = request.into_parts();
        self.check_door(&parts)?;
        if parts.method == Method::OPTIONS
            && parts
                .headers
                .contains_key(header::ACCESS_CONTROL_REQUEST_METHOD)
        {
            return Ok(preflight(&parts.headers));
        }
        let matched = match self.routes.find(parts.method.as_str(), parts.uri.path()) {
            Found::Route(matched) => matched,
            found => {
                // Who has no token learns nothing of which routes there are.
                self.check_token(&parts.headers)?;
                return Ok(no_route(&parts, &found));
            }
        };
        if matched.route.auth == Auth::Token {
            self.check_token(&parts.headers)?;
        }
        let body = read(body, self.config.body_bytes_max).await?;
        let _room = self
            .room
            .acquire()
            .await
            .map_err(|_| Error::engine(Code::Unavailable, "the engine is stopping"))?;
        let payload = request::payload(&parts, &matched, &body)?;
        let work = self.call(&parts, &matched, payload);
        tokio::time::timeout(self.config.timeout, work)
            .await
            .unwrap_or_else(|_| {
                Err(Error::engine(
                    Code::Timeout,
                    format!(
                        "`{}` did not begin to answer in time",
                        matched.route.function
                    ),
                ))
            })
    }

    fn check_door(&self, parts: &Parts) -> Result<(), Error> {
        let text = |name| {
            parts
                .headers
                .get(name)
                .map(|value: &HeaderValue| value.to_str().unwrap_or("\u{0}"))
        };
        if !self
            .gate
            .admits_host(text(header::HOST).or(parts.uri.host()))
        {
            return Err(Error::caller(
                Code::Forbidden,
                "the Host header names somebody else; list it under `listen.http.hosts` if it is meant",
            ));
        }
        if !self.gate.admits_origin(text(header::ORIGIN)) {
            return Err(Error::caller(
                Code::Forbidden,
                "pages of this Origin may not call; list it under `listen.http.origins` if it is meant",
            ));
        }
        Ok(())
    }

    fn check_token(&self, headers: &HeaderMap) -> Result<(), Error> {
        let token = token(headers);
        if self.gate.admits(token) {
            Ok(())
        } else {
            Err(unauthenticated(token.is_some()))
        }
    }

    async fn call(
        &self,
        parts: &Parts,
        matched: &Matched,
        payload: Payload,
    ) -> Result<Response<Body>, Error> {
        let bus = self
            .bus
            .get()
            .ok_or_else(|| Error::engine(Code::Unavailable, "the engine is starting"))?;
        let bus = bus.with_trace(request::trace(&parts.headers));
        if let Some(condition) = &matched.route.condition {
            let verdict = bus
                .call(condition)
                .timeout(self.config.timeout)
                .send_payload(payload.clone())
                .await?;
            if verdict.text() == b"false" {
                let body = json!({ "error": "Request condition not met", "skipped": true });
                return Ok((StatusCode::UNPROCESSABLE_ENTITY, axum::Json(body)).into_response());
            }
        }
        let mut answer = bus
            .call(&matched.route.function)
            .timeout(STREAM_TIMEOUT)
            .stream_payload(payload)?;
        match answer.next().await {
            None => Ok(reply::buffered(&answer.finish().await?)),
            Some(first) => Ok(streamed(first, answer)),
        }
    }
}

/// The response to a stream whose first chunk is here. Dropping the response cancels the call.
fn streamed(first: Payload, answer: CallStream) -> Response<Body> {
    let (mut head, first) = match reply::stream_head(&first) {
        Some(head) => (head, None),
        None => (reply::Head::default(), Some(first)),
    };
    head.headers
        .entry(header::CONTENT_TYPE)
        .or_insert(HeaderValue::from_static("text/event-stream"));
    head.headers
        .entry(header::CACHE_CONTROL)
        .or_insert(HeaderValue::from_static("no-cache"));
    head.headers
        .entry("x-accel-buffering")
        .or_insert(HeaderValue::from_static("no"));
    let body = stream::unfold((first, Some(answer)), |(first, answer)| async move {
        let mut answer = answer?;
        let chunk = match first {
            Some(first) => Some(first),
            None => answer.next().await,
        };
        match chunk {
            Some(chunk) => Some((Ok(reply::stream_bytes(chunk)), (None, Some(answer)))),
            // An error here ends the connection in the middle of the body, so that the client
            // cannot take a part for the whole.
            None => answer
                .finish()
                .await
                .err()
                .map(|error| (Err::<Bytes, Error>(error), (None, None))),
        }
    });
    reply::response(head, Body::from_stream(body))
}

async fn read(body: Body, bytes_max: usize) -> Result<Bytes, Error> {
    axum::body::to_bytes(body, bytes_max).await.map_err(|_| {
        Error::caller(
            Code::PayloadTooLarge,
            format!("the body is cut short, or larger than the limit of {bytes_max} bytes"),
        )
    })
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

fn no_route(parts: &Parts, found: &Found) -> Response<Body> {
    let path = parts.uri.path();
    let Found::OtherMethods(methods) = found else {
        return reply::failed(&Error::caller(
            Code::NotFound,
            format!("no route for {} {path}", parts.method),
        ));
    };
    let allow = methods.join(", ");
    let error = Error::caller(
        Code::NotFound,
        format!("{path} does not take {}, it takes {allow}", parts.method),
    )
    .reason("method_not_allowed");
    let mut response = reply::failed(&error);
    *response.status_mut() = StatusCode::METHOD_NOT_ALLOWED;
    if let Ok(allow) = HeaderValue::from_str(&allow) {
        response.headers_mut().insert(header::ALLOW, allow);
    }
    response
}

/// The origin has been let in at the door.
fn preflight(asked: &HeaderMap) -> Response<Body> {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::NO_CONTENT;
    let headers = response.headers_mut();
    headers.insert(
        header::ACCESS_CONTROL_ALLOW_METHODS,
        HeaderValue::from_static("GET, POST, PUT, PATCH, DELETE, HEAD, OPTIONS"),
    );
    if let Some(wanted) = asked.get(header::ACCESS_CONTROL_REQUEST_HEADERS) {
        headers.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, wanted.clone());
    }
    headers.insert(
        header::ACCESS_CONTROL_MAX_AGE,
        HeaderValue::from_static("600"),
    );
    response
}
