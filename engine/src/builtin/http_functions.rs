//! Functions that are HTTP endpoints: stands in for whoever would have run them.
//!
//! This file is the rim: a call in, one request out, the outcome back. Where calls may go is in
//! `policy`, how they get there in `client`, what they carry in `sign`, what comes back in `answer`.

use std::{
    sync::Arc,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use agentos_core::Event;
use agentos_protocol::{HttpInvocation, stand_in};
use agentos_sdk::{
    Bus, Code, Encoding, Error, FunctionSpec, Handler, Invocation, Payload, Registrar, Stop,
    Worker, async_trait,
};
use bytes::Bytes;
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::{Method, Request, Uri, body::Incoming};
use parking_lot::Mutex;
use tokio::sync::{Semaphore, broadcast};
use uuid::Uuid;

mod answer;
mod client;
mod config;
mod error;
mod policy;
mod sign;
#[cfg(test)]
mod tests;

pub use config::{Config, Security};
pub use sign::Env;

use client::{Client, Resolver};
use error::{Refused, chain, request_failed, response_failed, unusable};
use policy::Policy;
use sign::{About, Auth};

/// Looks up how a function is reached, by id and namespace.
pub type Lookup = Arc<dyn Fn(&str, Option<&str>) -> Option<HttpInvocation> + Send + Sync>;

/// The built-in worker `http_functions`.
pub struct HttpFunctions {
    lookup: Lookup,
    env: Env,
    policy: Arc<Policy>,
    client: Client,
    resolver: Resolver,
    room: Semaphore,
    config: Config,
    /// Taken by `run`: what is registered, to say early what will not work.
    registered: Mutex<Option<broadcast::Receiver<Event>>>,
}

impl HttpFunctions {
    /// `registered` tells of functions that were registered.
    ///
    /// # Errors
    /// What is wrong with `config`.
    pub fn open(
        config: Config,
        env: Env,
        lookup: Lookup,
        registered: Option<broadcast::Receiver<Event>>,
    ) -> Result<Arc<Self>, String> {
        let policy = Arc::new(Policy::new(&config.security)?);
        let connect_timeout = Duration::from_millis(config.connect_timeout_ms.max(1));
        Ok(Arc::new(HttpFunctions {
            lookup,
            env,
            client: Client::new(Arc::clone(&policy), connect_timeout),
            resolver: Resolver::new(Arc::clone(&policy), connect_timeout),
            policy,
            room: Semaphore::new(config.calls_max.clamp(1, Semaphore::MAX_PERMITS)),
            config,
            registered: Mutex::new(registered),
        }))
    }

    /// Checks all of a registration that can be checked without calling.
    ///
    /// # Errors
    /// What calls of the function would be answered.
    pub async fn check(&self, spec: &HttpInvocation) -> Result<(), Error> {
        let (uri, ..) = self.read(spec)?;
        let host = uri.host().unwrap_or_default();
        if host.starts_with('[') || host.parse::<std::net::IpAddr>().is_ok() {
            return Ok(());
        }
        self.resolver.look_up(host).await?;
        Ok(())
    }

    fn read(&self, spec: &HttpInvocation) -> Result<(Uri, Method, Option<Auth>), Error> {
        let uri = self.policy.check(&spec.url)?;
        let method = match spec.method.to_ascii_uppercase().as_str() {
            "GET" => Method::GET,
            "POST" => Method::POST,
            "PUT" => Method::PUT,
            "PATCH" => Method::PATCH,
            "DELETE" => Method::DELETE,
            other => {
                let message =
                    format!("`{other}` is not possible; GET, POST, PUT, PATCH and DELETE are");
                return Err(unusable(message));
            }
        };
        let written = spec.auth.as_ref().filter(|auth| !auth.is_null());
        Ok((uri, method, written.map(Auth::read).transpose()?))
    }

    async fn run_call(&self, invocation: &Invocation) -> Result<Payload, Error> {
        let call = invocation.call();
        let spec = (self.lookup)(&call.function, call.namespace.as_deref()).ok_or_else(|| {
            let message = format!("no worker offers `{}`", call.function);
            Error::engine(Code::NotFound, message)
        })?;
        let _room = self.room.try_acquire().map_err(|_| {
            Error::engine(
                Code::Overloaded,
                "too many calls of HTTP functions are in flight",
            )
        })?;
        let timeout = self.timeout(&spec, invocation.deadline());
        let exchange = self.exchange(&spec, invocation);
        tokio::time::timeout(timeout, exchange)
            .await
            .unwrap_or_else(|_| {
                let message = format!(
                    "the endpoint did not answer within {} ms",
                    timeout.as_millis()
                );
                Err(Error::engine(Code::Timeout, message).reason("http_request_failed"))
            })
    }

    fn timeout(&self, spec: &HttpInvocation, deadline: Instant) -> Duration {
        let asked = spec.timeout_ms.unwrap_or(self.config.timeout_ms);
        Duration::from_millis(asked.min(self.config.timeout_ms_max))
            .min(deadline.saturating_duration_since(Instant::now()))
    }

    async fn exchange(
        &self,
        spec: &HttpInvocation,
        invocation: &Invocation,
    ) -> Result<Payload, Error> {
        let (uri, method, auth) = self.read(spec)?;
        let call = invocation.call();
        if call.payload.encoding == Encoding::Binary {
            let message =
                "the function is an HTTP endpoint that takes JSON; binary payloads cannot reach it";
            return Err(Error::caller(Code::Unsupported, message));
        }
        let body = match call.payload.bytes.is_empty() {
            true => Payload::NULL.bytes,
            false => call.payload.bytes.clone(),
        };
        let timestamp = SystemTime::now().duration_since(UNIX_EPOCH).map_err(|_| {
            let message = "the engine's clock shows a time before 1970";
            Error::engine(Code::Internal, message).reason("timestamp_error")
        })?;
        let about = About {
            function: &call.function,
            invocation: &Uuid::new_v4().to_string(),
            timestamp: timestamp.as_secs(),
            trace: &call.trace,
            body: &body,
        };
        let headers = sign::headers(&about, &spec.headers, auth.as_ref(), &self.env)?;
        let mut request = Request::new(Full::new(body));
        *request.method_mut() = method;
        *request.uri_mut() = uri;
        *request.headers_mut() = headers;
        let response = self.client.send(request).await.map_err(|error| {
            let refused = chain(&error).find_map(|error| error.downcast_ref::<Refused>());
            match (refused, chain(&error).last()) {
                (Some(refused), _) => (*refused).into(),
                (None, Some(cause)) => {
                    request_failed(format!("the endpoint cannot be reached: {cause}"))
                }
                (None, None) => request_failed("the endpoint cannot be reached"),
            }
        })?;
        let status = response.status();
        answer::outcome(status, self.read_body(response.into_body()).await?)
    }

    async fn read_body(&self, body: Incoming) -> Result<Bytes, Error> {
        let max = self.config.response_bytes_max;
        match Limited::new(body, max).collect().await {
            Ok(body) => Ok(body.to_bytes()),
            Err(error) if error.is::<LengthLimitError>() => {
                let message = format!("the endpoint's answer has more than {max} bytes");
                Err(Error::worker(Code::PayloadTooLarge, message).reason("http_response_failed"))
            }
            Err(error) => Err(response_failed(format!(
                "the endpoint's answer broke off: {error}"
            ))),
        }
    }

    async fn warn(&self, function: &str) {
        let Some(spec) = (self.lookup)(function, None) else {
            return;
        };
        if let Err(error) = self.check(&spec).await {
            tracing::error!(function, %error, "an HTTP function was registered that cannot be called");
        }
    }
}

/// The handler that is called in place of the function's own.
struct StandIn(Arc<HttpFunctions>);

impl Handler for StandIn {
    fn start(&self, invocation: Invocation) {
        let functions = Arc::clone(&self.0);
        tokio::spawn(async move {
            let cancelled = invocation.cancelled();
            // A caller that goes takes its request along.
            let outcome = tokio::select! {
                biased;
                outcome = functions.run_call(&invocation) => outcome,
                () = cancelled.cancelled() => return,
            };
            invocation.reply(outcome);
        });
    }
}

#[async_trait]
impl Worker for HttpFunctions {
    fn register(self: Arc<Self>, to: &mut Registrar) {
        to.handler(FunctionSpec::new(stand_in::HTTP), Arc::new(StandIn(self)))
            .describe("Calls functions that are HTTP endpoints");
    }

    /// Says in the log, as soon as they are registered, which functions cannot be called.
    async fn run(self: Arc<Self>, _: Bus, stop: Stop) -> Result<(), Error> {
        let registered = self.registered.lock().take();
        let Some(mut registered) = registered else {
            stop.cancelled().await;
            return Ok(());
        };
        loop {
            let event = tokio::select! {
                event = registered.recv() => event,
                () = stop.cancelled() => return Ok(()),
            };
            match event {
                Ok(Event::FunctionsRegistered { functions, .. }) => {
                    for function in &functions {
                        self.warn(function).await;
                    }
                }
                // Some were not looked at; their calls will say it.
                Ok(_) | Err(broadcast::error::RecvError::Lagged(_)) => {}
                Err(broadcast::error::RecvError::Closed) => return Ok(()),
            }
        }
    }
}
