//! Calling functions.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use agentos_protocol::{Call, Code, Delivery, ErrorBody, Frame, Payload, Trace, affinity};
use serde::{Serialize, de::DeserializeOwned};
use tokio::sync::oneshot;

use crate::{CallStream, Peer, handler::TIMEOUT_DEFAULT, json, retry};

/// A handle to the bus. Cheap to clone.
#[derive(Clone)]
pub struct Bus {
    peer: Peer,
    /// Calls made through this handle end by then.
    deadline: Option<Instant>,
    trace: Trace,
}

impl Bus {
    pub fn new(peer: Peer) -> Self {
        Bus {
            peer,
            deadline: None,
            trace: Trace::default(),
        }
    }

    pub(crate) fn nested(peer: Peer, deadline: Instant, trace: Trace) -> Self {
        Bus {
            peer,
            deadline: Some(deadline),
            trace,
        }
    }

    /// The same bus for work that outlives the call it came from: no inherited deadline.
    pub fn detached(&self) -> Self {
        Bus {
            deadline: None,
            ..self.clone()
        }
    }

    /// The same bus in another trace.
    pub fn with_trace(&self, trace: Trace) -> Self {
        Bus {
            trace,
            ..self.clone()
        }
    }

    pub fn trace(&self) -> &Trace {
        &self.trace
    }

    pub fn peer(&self) -> &Peer {
        &self.peer
    }

    /// Calls `function` and waits for its result.
    ///
    /// # Errors
    /// The function's error, or the engine's: `not_found`, `timeout`, `worker_lost`, `overloaded`.
    pub async fn trigger<O: DeserializeOwned>(
        &self,
        function: &str,
        input: &(impl Serialize + Sync + ?Sized),
    ) -> Result<O, ErrorBody> {
        self.call(function).send(input).await
    }

    /// A call with options.
    pub fn call(&self, function: &str) -> CallBuilder<'_> {
        self.call_shared(function.into())
    }

    /// As [`Bus::call`], for whoever calls the same function again and again.
    pub fn call_shared(&self, function: Arc<str>) -> CallBuilder<'_> {
        CallBuilder {
            bus: self,
            function,
            timeout: None,
            metadata: None,
            affinity: None,
            namespace: None,
            retries: 0,
        }
    }
}

/// A call being put together.
#[derive(Clone)]
pub struct CallBuilder<'a> {
    bus: &'a Bus,
    function: Arc<str>,
    timeout: Option<Duration>,
    metadata: Option<Arc<str>>,
    affinity: Option<Arc<str>>,
    namespace: Option<Arc<str>>,
    retries: u32,
}

impl CallBuilder<'_> {
    /// At most this long; a nested call never outlives its parent's deadline. Default 30 s, or
    /// the parent's deadline.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }

    /// JSON text for the handler, beside the payload.
    pub fn metadata(mut self, metadata: impl Into<Arc<str>>) -> Self {
        self.metadata = Some(metadata.into());
        self
    }

    /// Of several workers that offer the function, calls of one key go to one, for as long as it is
    /// there and ready.
    pub fn affinity(mut self, key: impl Into<Arc<str>>) -> Self {
        self.affinity = Some(key.into());
        self
    }

    /// The function's namespace; `None` is the default one.
    pub fn namespace(mut self, namespace: Option<Arc<str>>) -> Self {
        self.namespace = namespace;
        self
    }

    /// Makes the call up to so many times more while its errors are `retryable`, after growing pauses
    /// and within the deadline of the first attempt: for functions that may run twice, since a worker
    /// that was lost may have done its work. Of calls that wait for one result.
    pub fn retries(mut self, attempts_more: u32) -> Self {
        self.retries = attempts_more;
        self
    }

    /// Calls and waits for the result.
    ///
    /// # Errors
    /// As [`Bus::trigger`]; `invalid_input` when the result is not of the shape of `O`.
    pub async fn send<O: DeserializeOwned>(
        self,
        input: &(impl Serialize + Sync + ?Sized),
    ) -> Result<O, ErrorBody> {
        let function = Arc::clone(&self.function);
        let result = self.send_payload(encode(input)?).await?;
        decode(&function, &result)
    }

    /// Calls with bytes, and gets bytes back.
    ///
    /// # Errors
    /// As [`Bus::trigger`].
    pub async fn send_payload(self, payload: Payload) -> Result<Payload, ErrorBody> {
        if self.retries == 0 {
            return self.send_once(payload).await;
        }
        let deadline = self.deadline(Instant::now());
        retry::retrying(self.retries, deadline, |left| {
            self.clone().timeout(left).send_once(payload.clone())
        })
        .await
    }

    async fn send_once(self, payload: Payload) -> Result<Payload, ErrorBody> {
        let bus = self.bus;
        let (call, deadline) = self.build(payload, Delivery::Reply)?;
        let peer = &bus.peer;
        let (tell, outcome) = oneshot::channel();
        let number = peer.number();
        peer.start(number, call, deadline, Box::new(tell))?;
        let guard = Abandon { peer, number };
        let outcome = outcome.await;
        // Nobody has to be told any more.
        std::mem::forget(guard);
        outcome.unwrap_or_else(|_| Err(ErrorBody::engine(Code::Unavailable, "the session closed")))
    }

    /// Calls for a stream of chunks.
    ///
    /// # Errors
    /// When the call could not be sent; a failure of the function ends the stream instead.
    pub fn stream(self, input: &(impl Serialize + ?Sized)) -> Result<CallStream, ErrorBody> {
        let payload = encode(input)?;
        self.stream_payload(payload)
    }

    /// As [`CallBuilder::stream`], with bytes.
    ///
    /// # Errors
    /// When the call could not be sent.
    pub fn stream_payload(self, payload: Payload) -> Result<CallStream, ErrorBody> {
        let peer = self.bus.peer.clone();
        let (call, deadline) = self.build(payload, Delivery::Stream)?;
        let (waiter, chunks, outcome) = CallStream::waiter();
        let number = peer.number();
        peer.start(number, call, deadline, Box::new(waiter))?;
        Ok(CallStream::new(peer, number, chunks, outcome))
    }

    /// Calls and does not wait; nobody hears of the outcome.
    ///
    /// # Errors
    /// When the call could not be sent.
    pub fn void(self, input: &(impl Serialize + ?Sized)) -> Result<(), ErrorBody> {
        self.void_payload(encode(input)?)
    }

    /// As [`CallBuilder::void`], with bytes.
    ///
    /// # Errors
    /// When the call could not be sent.
    pub fn void_payload(self, payload: Payload) -> Result<(), ErrorBody> {
        let peer = &self.bus.peer;
        let (call, _) = self.build(payload, Delivery::Void)?;
        peer.send(Frame::Call(Box::new(call)))
    }

    /// When a call that is made now ends at the latest.
    fn deadline(&self, now: Instant) -> Instant {
        let parent = self.bus.deadline;
        let own = self.timeout.or(if parent.is_none() {
            Some(TIMEOUT_DEFAULT)
        } else {
            None
        });
        match (own.map(|timeout| now + timeout), parent) {
            (Some(own), Some(parent)) => own.min(parent),
            (Some(only), None) | (None, Some(only)) => only,
            (None, None) => now + TIMEOUT_DEFAULT,
        }
    }

    fn build(self, payload: Payload, delivery: Delivery) -> Result<(Call, Instant), ErrorBody> {
        let now = Instant::now();
        let deadline = self.deadline(now);
        let left = deadline.saturating_duration_since(now);
        if left.is_zero() {
            return Err(ErrorBody::caller(
                Code::Timeout,
                "the deadline passed before the call was made",
            ));
        }
        let mut call = Call::new(None, self.function, payload);
        call.delivery = delivery;
        call.timeout_ms = Some(u32::try_from(left.as_millis().max(1)).unwrap_or(u32::MAX));
        call.trace = self.bus.trace.clone();
        let said = || Some(affinity(self.metadata.as_deref()?)?.into());
        call.affinity = self.affinity.or_else(said);
        call.metadata = self.metadata;
        call.namespace = self.namespace;
        Ok((call, deadline))
    }
}

/// Tells the callee when its caller stops waiting: the future was dropped.
struct Abandon<'a> {
    peer: &'a Peer,
    number: u64,
}

impl Drop for Abandon<'_> {
    fn drop(&mut self) {
        self.peer.abandon(self.number);
    }
}

fn encode(input: &(impl Serialize + ?Sized)) -> Result<Payload, ErrorBody> {
    json::encode(input).map_err(|why| {
        ErrorBody::caller(
            Code::InvalidInput,
            format!("the input has no JSON form: {why}"),
        )
    })
}

fn decode<O: DeserializeOwned>(function: &str, payload: &Payload) -> Result<O, ErrorBody> {
    let mut text = serde_json::Deserializer::from_slice(payload.text());
    serde_path_to_error::deserialize(&mut text).map_err(|error| {
        ErrorBody::worker(
            Code::InvalidInput,
            format!("the result of `{function}` has another shape than expected: {error}"),
        )
    })
}
