//! HTTP to providers: one pooled client each, three separate deadlines, and no knowledge of what
//! is said. Dropping an [`Answer`], or the future that waits for one, ends the connection.

mod aws;
mod connect;
pub(crate) mod framing;
mod lines;
pub(crate) mod sse;

use std::{sync::Arc, time::Duration};

use agentos_sdk::Error;
use bytes::{Bytes, BytesMut};
use http_body_util::{BodyExt, Full};
use hyper::{
    HeaderMap, Request, Response, Uri,
    body::Incoming,
    header::{ACCEPT, CONTENT_TYPE, HeaderValue, RETRY_AFTER},
};
use hyper_util::{
    client::legacy::Client as Pool,
    rt::{TokioExecutor, TokioTimer},
};
use tokio::time::timeout;

use self::connect::Connector;
use crate::{
    config::{self, Secret},
    error::{Complaint, Upstream},
    keys::Lease,
};

/// Largest answer that is not streamed, in bytes.
const BODY_BYTES_MAX: usize = 32 << 20;
/// As much of a refusal as is worth reading.
const REFUSAL_BYTES_MAX: usize = 64 << 10;

/// A way to one provider.
pub(crate) struct Client {
    pool: Pool<Connector, Full<Bytes>>,
    pub(crate) upstream: Upstream,
    first_byte: Duration,
    idle: Duration,
}

impl Client {
    /// `secrets` are kept out of every error.
    pub(crate) fn new(provider: &config::Provider, secrets: Arc<[Secret]>) -> Self {
        let connector = Connector::new(Duration::from_millis(provider.connect_timeout_ms));
        Client {
            pool: Pool::builder(TokioExecutor::new())
                .pool_timer(TokioTimer::new())
                .build(connector),
            upstream: Upstream {
                provider: provider.name.clone(),
                secrets,
            },
            first_byte: Duration::from_millis(provider.first_byte_timeout_ms),
            idle: Duration::from_millis(provider.idle_timeout_ms),
        }
    }

    /// Posts JSON and waits for an answer that begins well.
    ///
    /// # Errors
    /// What the upstream refused, or why it could not be asked.
    pub(crate) async fn post(
        &self,
        uri: Uri,
        headers: HeaderMap,
        body: Bytes,
    ) -> Result<Answer, Error> {
        let mut request = Request::post(uri)
            .body(Full::from(body))
            .expect("a checked URI makes a request");
        *request.headers_mut() = headers;
        request
            .headers_mut()
            .insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        request.headers_mut().insert(
            ACCEPT,
            HeaderValue::from_static("application/json, text/event-stream"),
        );
        let response = match timeout(self.first_byte, self.pool.request(request)).await {
            Ok(Ok(response)) => response,
            Ok(Err(error)) => return Err(self.unreachable(&error)),
            Err(_) => return Err(self.silent()),
        };
        let answer = Answer {
            response,
            idle: self.idle,
            upstream: self.upstream.clone(),
            lease: None,
        };
        if answer.response.status().is_success() {
            Ok(answer)
        } else {
            Err(answer.refusal().await)
        }
    }

    fn silent(&self) -> Error {
        let Client {
            upstream,
            first_byte,
            ..
        } = self;
        let message = format!(
            "{} did not begin to answer within {} ms",
            upstream.provider,
            first_byte.as_millis()
        );
        upstream.late("first_byte_timeout", message)
    }

    fn unreachable(&self, error: &hyper_util::client::legacy::Error) -> Error {
        let provider = &self.upstream.provider;
        match connect::timed_out(error) {
            Some(after) => {
                let message = format!(
                    "{provider} could not be connected to within {} ms",
                    after.as_millis()
                );
                self.upstream.late("connect_timeout", message)
            }
            None if error.is_connect() => {
                let message = format!(
                    "{provider} could not be connected to: {}",
                    connect::cause(error)
                );
                self.upstream.away("upstream_unreachable", message)
            }
            None => {
                let message = format!(
                    "{provider} closed the connection without an answer: {}",
                    connect::cause(error)
                );
                self.upstream.away("upstream_cut", message)
            }
        }
    }
}

/// An answer whose body is still coming.
pub(crate) struct Answer {
    response: Response<Incoming>,
    idle: Duration,
    pub(crate) upstream: Upstream,
    /// The key that is busy until the answer is over.
    pub(crate) lease: Option<Lease>,
}

impl Answer {
    pub(crate) fn content_type(&self) -> &str {
        self.header(CONTENT_TYPE.as_str()).unwrap_or_default()
    }

    pub(crate) fn status(&self) -> u16 {
        self.response.status().as_u16()
    }

    pub(crate) fn headers(&self) -> &HeaderMap {
        self.response.headers()
    }

    fn header(&self, name: &str) -> Option<&str> {
        self.response.headers().get(name)?.to_str().ok()
    }

    /// The next piece of the body, `None` at its proper end.
    ///
    /// # Errors
    /// When nothing came for too long, or the connection broke.
    pub(crate) async fn read(&mut self) -> Result<Option<Bytes>, Error> {
        loop {
            match timeout(self.idle, self.response.body_mut().frame()).await {
                Ok(None) => return Ok(None),
                // Trailers say nothing to us.
                Ok(Some(Ok(frame))) => {
                    if let Ok(data) = frame.into_data() {
                        return Ok(Some(data));
                    }
                }
                Ok(Some(Err(error))) => return Err(self.cut(&connect::cause(&error))),
                Err(_) => return Err(self.stalled()),
            }
        }
    }

    /// The rest of the body in one piece.
    ///
    /// # Errors
    /// As [`Answer::read`], and when it is larger than 32 MiB.
    pub(crate) async fn whole(&mut self) -> Result<Bytes, Error> {
        let mut body = BytesMut::new();
        while let Some(piece) = self.read().await? {
            body.extend_from_slice(&piece);
            if body.len() > BODY_BYTES_MAX {
                return Err(self.garbage("an answer larger than 32 MiB"));
            }
        }
        Ok(body.freeze())
    }

    /// The answer stopped before it was finished.
    pub(crate) fn cut(&self, cause: &str) -> Error {
        self.upstream.away(
            "upstream_cut",
            format!("{} ended its answer early: {cause}", self.upstream.provider),
        )
    }

    /// The answer cannot be understood.
    pub(crate) fn garbage(&self, what: &str) -> Error {
        self.upstream.away(
            "upstream_garbage",
            format!("{} sent {what}", self.upstream.provider),
        )
    }

    fn stalled(&self) -> Error {
        let message = format!(
            "{} went silent for {} ms in its answer",
            self.upstream.provider,
            self.idle.as_millis()
        );
        self.upstream.late("idle_timeout", message)
    }

    async fn refusal(mut self) -> Error {
        let mut body = BytesMut::new();
        // A refusal whose text breaks off is still a refusal.
        while let Ok(Some(piece)) = self.read().await {
            body.extend_from_slice(&piece);
            if body.len() > REFUSAL_BYTES_MAX {
                break;
            }
        }
        let mut complaint = Complaint::read_body(self.status(), &body);
        complaint.retry_after_ms = self.retry_after_ms().or(complaint.retry_after_ms);
        // AWS names the error in a header: `ThrottlingException:http://…`.
        complaint.code = complaint.code.or_else(|| {
            let named = self.header("x-amzn-errortype")?;
            named.split(':').next().map(str::to_owned)
        });
        complaint.request_id = self
            .header("x-request-id")
            .or_else(|| self.header("request-id"))
            .or_else(|| self.header("x-amzn-requestid"))
            .map(str::to_owned);
        if complaint.message.is_empty() {
            complaint.message = self
                .response
                .status()
                .canonical_reason()
                .unwrap_or("no text")
                .to_lowercase();
        }
        self.upstream.refused(&complaint)
    }

    /// The wait asked for, in milliseconds or seconds. Dates are not read: providers send none.
    fn retry_after_ms(&self) -> Option<u64> {
        let number = |name: &str| {
            self.header(name)?
                .trim()
                .parse::<f64>()
                .ok()
                .filter(|number| *number >= 0.0)
        };
        let seconds = || number(RETRY_AFTER.as_str()).map(|seconds| seconds * 1_000.0);
        number("retry-after-ms")
            .or_else(seconds)
            .map(|ms| ms.ceil() as u64)
    }
}
