//! Waits for what decides the answer, and makes the response of it.

use std::{future::Future, pin::Pin, time::Duration};

use agentos_sdk::{CallStream, Code, Error, Payload};
use bytes::Bytes;
use futures_util::{Stream, StreamExt, stream};
use http_body_util::{BodyExt, StreamBody};
use hyper::{
    Response,
    body::Frame,
    header::{self, HeaderValue},
};

use super::{
    arbiter::{Arbiter, Event, Verdict},
    body::{Body, whole},
    exchange::Visit,
    reply::{self, Failure, Head},
};
use crate::channel::{End, Item, Reader};

/// How long the result of a function may take to tell whether the writer of the answer, whose
/// socket broke, has ended or died.
const LAST_WORD_TIMEOUT: Duration = Duration::from_secs(5);

/// The call of a route's function. Dropping it cancels the call.
pub(super) struct Callee(Call);

enum Call {
    Running(CallStream),
    Ending(Pin<Box<dyn Future<Output = Result<Payload, Error>> + Send>>),
    Over,
}

impl Callee {
    pub(super) fn new(call: CallStream) -> Self {
        Callee(Call::Running(call))
    }

    fn is_over(&self) -> bool {
        matches!(self.0, Call::Over)
    }

    /// The next chunk, or the result; nothing more after that. Loses nothing when dropped.
    async fn event(&mut self) -> Event {
        loop {
            match &mut self.0 {
                Call::Running(stream) => {
                    if let Some(chunk) = stream.next().await {
                        return Event::Chunk(chunk);
                    }
                    self.0 = match std::mem::replace(&mut self.0, Call::Over) {
                        Call::Running(stream) => Call::Ending(Box::pin(stream.finish())),
                        other => other,
                    };
                }
                Call::Ending(outcome) => {
                    let outcome = outcome.await;
                    self.0 = Call::Over;
                    return Event::Result(outcome);
                }
                Call::Over => std::future::pending().await,
            }
        }
    }
}

/// The response channel, as far as it has come.
enum Channel {
    Untaken,
    Open(Reader),
    Over,
}

impl Channel {
    /// Loses nothing when dropped.
    async fn event(&mut self, visit: &Visit) -> Event {
        match self {
            Channel::Untaken => {
                *self = Channel::Open(visit.exchange.opened().await);
                Event::Opened
            }
            Channel::Open(reader) => {
                if let Some(item) = reader.next().await {
                    return Event::Item(item);
                }
                let end = reader.ended().unwrap_or(End::Cut);
                *self = Channel::Over;
                Event::Ended(end)
            }
            Channel::Over => std::future::pending().await,
        }
    }
}

/// Waits for the head of the answer. `null_answers` says whether a null of the callee is one.
pub(super) async fn decide(
    mut callee: Callee,
    visit: Visit,
    null_answers: impl Fn() -> bool,
) -> Result<Response<Body>, Failure> {
    let mut arbiter = Arbiter::default();
    let mut channel = Channel::Untaken;
    loop {
        let event = tokio::select! {
            // A result that is here wins over what is on the channel.
            biased;
            event = callee.event() => event,
            event = channel.event(&visit) => event,
            failure = visit.exchange.failed() => return Err(failure),
        };
        if matches!(&event, Event::Result(Ok(result)) if result.is_null()) {
            arbiter.null_answers = null_answers();
        }
        match arbiter.on(event) {
            Verdict::Wait => {}
            Verdict::Failed(error) => return Err(error.into()),
            Verdict::Result(result) => return reply::buffered(&result),
            Verdict::Empty(head) => return Ok(reply::response(head, whole(Bytes::new()))),
            Verdict::Stream(first) => return Ok(streamed(first, callee, visit)),
            Verdict::Channel(head, first) => {
                return match channel {
                    Channel::Open(reader) => Ok(piped(head, first, reader, callee, visit)),
                    // Only an open channel has bytes.
                    _ => Err(Error::engine(Code::Internal, "bytes came from nowhere").into()),
                };
            }
        }
    }
}

/// The response to a stream whose first chunk is here. Dropping the response cancels the call.
fn streamed(first: Payload, callee: Callee, visit: Visit) -> Response<Body> {
    let (mut head, first) = match reply::stream_head(&first) {
        Some(head) => (head, None),
        None => (Head::default(), Some(first)),
    };
    for (name, value) in [
        (header::CONTENT_TYPE, "text/event-stream"),
        (header::CACHE_CONTROL, "no-cache"),
        (header::HeaderName::from_static("x-accel-buffering"), "no"),
    ] {
        let value = HeaderValue::from_static(value);
        head.headers.entry(name).or_insert(value);
    }
    let rest = stream::unfold(Some((callee, visit)), |running| async move {
        let (mut callee, visit) = running?;
        match callee.event().await {
            Event::Chunk(chunk) => Some((Ok(chunk), Some((callee, visit)))),
            // An error here ends the connection in the middle of the body, so that the client
            // cannot take a part for the whole.
            Event::Result(Err(error)) => Some((Err(error), None)),
            _ => None,
        }
    });
    let chunks = stream::iter(first.map(Ok)).chain(rest);
    response(head, chunks.map(|chunk| chunk.map(reply::stream_bytes)))
}

/// The response that is written to the channel. Dropping it tells the writer and cancels the call.
fn piped(head: Head, first: Bytes, reader: Reader, callee: Callee, visit: Visit) -> Response<Body> {
    let rest = stream::unfold(Some((reader, callee, visit)), |running| async move {
        let (reader, mut callee, visit) = running?;
        loop {
            let event = tokio::select! {
                // What was written before the function failed is still sent.
                biased;
                item = reader.next() => match item {
                    Some(item) => Event::Item(item),
                    None => Event::Ended(reader.ended().unwrap_or(End::Cut)),
                },
                event = callee.event() => event,
            };
            match event {
                Event::Item(Item::Binary(bytes)) => {
                    return Some((Ok(bytes), Some((reader, callee, visit))));
                }
                Event::Ended(End::Cut) if callee.is_over() => return None,
                Event::Ended(End::Cut) => {
                    let word = tokio::time::timeout(LAST_WORD_TIMEOUT, callee.event()).await;
                    return match word {
                        Ok(Event::Result(Err(error))) => Some((Err(error), None)),
                        _ => None,
                    };
                }
                Event::Ended(End::Clean) => return None,
                Event::Result(Err(error)) => return Some((Err(error), None)),
                // The head is out, and the result has said that the answer comes this way.
                Event::Item(Item::Text(_))
                | Event::Result(Ok(_))
                | Event::Chunk(_)
                | Event::Opened => {}
            }
        }
    });
    let bytes = stream::iter([Ok(first)]).chain(rest);
    response(head, bytes)
}

fn response(
    head: Head,
    bytes: impl Stream<Item = Result<Bytes, Error>> + Send + 'static,
) -> Response<Body> {
    let frames = bytes.map(|piece| piece.map(Frame::data));
    reply::response(head, StreamBody::new(frames).boxed_unsync())
}
