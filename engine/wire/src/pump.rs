//! Moves messages between one WebSocket and its outbox until one side ends it.

use std::{
    collections::VecDeque,
    future::poll_fn,
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use agentos_protocol::{Frame, codec::Message};
use bytes::Bytes;
use futures_util::{Sink, Stream};
use smallvec::{SmallVec, smallvec};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    time::{Instant, Interval, MissedTickBehavior, interval_at},
};
use tokio_tungstenite::{
    WebSocketStream,
    tungstenite::{
        self, Utf8Bytes,
        error::CapacityError,
        protocol::{
            CloseFrame,
            frame::{
                Frame as Part,
                coding::{CloseCode, Data, OpCode},
            },
        },
    },
};

use crate::{Close, Outbox};

/// Messages handled in one go before the task lets others run.
const READ_BATCH: usize = 256;

/// Messages handed to the socket in one go, for the same reason.
const WRITE_BATCH: usize = 1024;

/// Largest part of a message: below the 16 MiB that WebSocket libraries take for one frame.
const PART_BYTES_MAX: usize = 8 << 20;

/// How long a peer may take to see a close through.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(2);

/// What the pump asks of its session.
pub trait Hooks {
    /// Takes a message from the peer.
    fn received(&mut self, message: Message);

    /// Writes a frame as a message; `None` drops it.
    fn encode(&mut self, frame: Frame) -> Option<Message>;

    /// The session is over; only the closing handshake is left.
    fn ended(&mut self, ended: &Ended);
}

/// When silence means that the peer is gone.
#[derive(Clone, Copy, Debug)]
pub struct Keepalive {
    /// Sends a ping this often.
    pub ping_every: Duration,
    /// Ends the session when nothing, data or pong, came for so long.
    pub silence_max: Duration,
}

impl Default for Keepalive {
    fn default() -> Self {
        // A half-open peer is noticed within 30 s, and the pings keep peers with an idle
        // time-out of 60 s content.
        Keepalive {
            ping_every: Duration::from_secs(10),
            silence_max: Duration::from_secs(20),
        }
    }
}

/// Why a session ended.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Ended {
    /// The peer closed, with this code if it gave one.
    ByPeer(Option<u16>),
    /// We closed, as the outbox was told.
    ByUs(Close),
    /// A message was larger than the limit.
    TooLarge(String),
    /// Nothing came for [`Keepalive::silence_max`].
    Silent,
    /// The connection broke, or what came is no WebSocket.
    Broken(String),
}

/// Runs the session until it ends.
pub async fn pump<S, H>(
    mut socket: WebSocketStream<S>,
    outbox: Arc<Outbox>,
    keepalive: Keepalive,
    hooks: &mut H,
) -> Ended
where
    S: AsyncRead + AsyncWrite + Unpin,
    H: Hooks,
{
    let now = Instant::now();
    let mut tick = interval_at(now + keepalive.ping_every, keepalive.ping_every);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut state = State {
        heard: now,
        dirty: false,
        closing: false,
        parts: VecDeque::new(),
    };
    let ended =
        poll_fn(|context| state.poll(&mut socket, &outbox, &mut tick, keepalive, hooks, context))
            .await;
    hooks.ended(&ended);
    let close = match &ended {
        Ended::ByUs(close) => Some(close.clone()),
        Ended::TooLarge(why) => Some(Close {
            code: 1009,
            reason: why.clone().into(),
        }),
        Ended::Silent => Some(Close {
            code: 1011,
            reason: "no sign of life".into(),
        }),
        Ended::ByPeer(_) | Ended::Broken(_) => None,
    };
    // A peer that does not finish the handshake is dropped.
    let _ = tokio::time::timeout(CLOSE_TIMEOUT, finish(&mut socket, close)).await;
    ended
}

/// Says goodbye and waits for the answer, so that the last frames are not lost to a reset.
async fn finish<S: AsyncRead + AsyncWrite + Unpin>(
    socket: &mut WebSocketStream<S>,
    close: Option<Close>,
) {
    let frame = close.map(|close| CloseFrame {
        code: CloseCode::from(close.code),
        reason: shorten(&close.reason),
    });
    // The other side may be gone already.
    let _ = socket.close(frame).await;
    while let Some(Ok(_)) = poll_fn(|context| Pin::new(&mut *socket).poll_next(context)).await {}
}

/// Close reasons have at most 123 bytes.
fn shorten(reason: &str) -> Utf8Bytes {
    let mut end = reason.len().min(123);
    while !reason.is_char_boundary(end) {
        end -= 1;
    }
    Utf8Bytes::from(&reason[..end])
}

struct State {
    heard: Instant,
    /// Something was written since the last complete flush.
    dirty: bool,
    /// At the last tick the session was asked to close.
    closing: bool,
    /// What is left of a message that is sent in parts.
    parts: VecDeque<tungstenite::Message>,
}

impl State {
    fn poll<S, H>(
        &mut self,
        socket: &mut WebSocketStream<S>,
        outbox: &Outbox,
        tick: &mut Interval,
        keepalive: Keepalive,
        hooks: &mut H,
        context: &mut Context<'_>,
    ) -> Poll<Ended>
    where
        S: AsyncRead + AsyncWrite + Unpin,
        H: Hooks,
    {
        outbox.register(context.waker());
        let mut more = false;
        for turn in 0.. {
            match Pin::new(&mut *socket).poll_next(context) {
                Poll::Pending => break,
                Poll::Ready(Some(Ok(message))) => {
                    self.heard = Instant::now();
                    if let Some(ended) = receive(message, hooks) {
                        return Poll::Ready(ended);
                    }
                }
                Poll::Ready(Some(Err(error))) => return Poll::Ready(ended_by(error)),
                Poll::Ready(None) => return Poll::Ready(Ended::ByPeer(None)),
            }
            if turn == READ_BATCH {
                more = true;
                break;
            }
        }
        while tick.poll_tick(context).is_ready() {
            if self.heard.elapsed() > keepalive.silence_max {
                return Poll::Ready(Ended::Silent);
            }
            // A peer that does not take what is left has had a whole tick for it.
            match outbox.asked_to_close() {
                Some(close) if self.closing => return Poll::Ready(Ended::ByUs(close)),
                close => self.closing = close.is_some(),
            }
            if let Poll::Ready(Err(error)) =
                self.send(socket, tungstenite::Message::Ping(Bytes::new()), context)
            {
                return Poll::Ready(ended_by(error));
            }
        }
        if let Poll::Ready(ended) = self.write(socket, outbox, hooks, context) {
            return Poll::Ready(ended);
        }
        if more {
            context.waker().wake_by_ref();
        }
        Poll::Pending
    }

    /// Hands everything that waits to the socket, then flushes once.
    fn write<S, H>(
        &mut self,
        socket: &mut WebSocketStream<S>,
        outbox: &Outbox,
        hooks: &mut H,
        context: &mut Context<'_>,
    ) -> Poll<Ended>
    where
        S: AsyncRead + AsyncWrite + Unpin,
        H: Hooks,
    {
        for turn in 0.. {
            if turn == WRITE_BATCH {
                context.waker().wake_by_ref();
                break;
            }
            match Pin::new(&mut *socket).poll_ready(context) {
                Poll::Ready(Ok(())) => {}
                Poll::Ready(Err(error)) => return Poll::Ready(ended_by(error)),
                Poll::Pending => return Poll::Pending,
            }
            if self.parts.is_empty() {
                let Some(frame) = outbox.pop() else { break };
                self.parts
                    .extend(hooks.encode(frame).into_iter().flat_map(outgoing));
            }
            let Some(message) = self.parts.pop_front() else {
                continue;
            };
            if let Poll::Ready(Err(error)) = self.send(socket, message, context) {
                return Poll::Ready(ended_by(error));
            }
        }
        if self.dirty {
            match Pin::new(&mut *socket).poll_flush(context) {
                Poll::Ready(Ok(())) => self.dirty = false,
                Poll::Ready(Err(error)) => return Poll::Ready(ended_by(error)),
                Poll::Pending => return Poll::Pending,
            }
        }
        match outbox.closing() {
            Some(close) => Poll::Ready(Ended::ByUs(close)),
            None => Poll::Pending,
        }
    }

    /// Gives one message to the socket if it takes one now. A ping that does not fit is dropped:
    /// the socket is busy, which is a sign of life of ours.
    fn send<S>(
        &mut self,
        socket: &mut WebSocketStream<S>,
        message: tungstenite::Message,
        context: &mut Context<'_>,
    ) -> Poll<Result<(), tungstenite::Error>>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        match Pin::new(&mut *socket).poll_ready(context) {
            Poll::Ready(Ok(())) => {
                self.dirty = true;
                Poll::Ready(Pin::new(&mut *socket).start_send(message))
            }
            other => other,
        }
    }
}

fn receive(message: tungstenite::Message, hooks: &mut impl Hooks) -> Option<Ended> {
    match message {
        tungstenite::Message::Text(text) => hooks.received(Message::Text(text.into())),
        tungstenite::Message::Binary(bytes) => hooks.received(Message::Binary(bytes)),
        tungstenite::Message::Close(frame) => {
            return Some(Ended::ByPeer(frame.map(|frame| frame.code.into())));
        }
        // The library answers pings itself; a pong has done its work by arriving.
        tungstenite::Message::Ping(_)
        | tungstenite::Message::Pong(_)
        | tungstenite::Message::Frame(_) => {}
    }
    None
}

/// A message as one WebSocket frame, or as several when it is large.
fn outgoing(message: Message) -> SmallVec<[tungstenite::Message; 1]> {
    let (bytes, kind) = match message {
        Message::Text(bytes) if bytes.len() <= PART_BYTES_MAX => {
            return match Utf8Bytes::try_from(bytes) {
                Ok(text) => smallvec![tungstenite::Message::Text(text)],
                Err(error) => {
                    tracing::error!(%error, "a codec made text that is not UTF-8; dropped");
                    SmallVec::new()
                }
            };
        }
        Message::Binary(bytes) if bytes.len() <= PART_BYTES_MAX => {
            return smallvec![tungstenite::Message::Binary(bytes)];
        }
        Message::Text(bytes) if std::str::from_utf8(&bytes).is_err() => {
            tracing::error!("a codec made text that is not UTF-8; dropped");
            return SmallVec::new();
        }
        Message::Text(bytes) => (bytes, Data::Text),
        Message::Binary(bytes) => (bytes, Data::Binary),
    };
    let parts = bytes.len().div_ceil(PART_BYTES_MAX);
    let part = |at: usize| {
        let end = bytes.len().min((at + 1) * PART_BYTES_MAX);
        let kind = if at == 0 { kind } else { Data::Continue };
        let part = bytes.slice(at * PART_BYTES_MAX..end);
        let last = at + 1 == parts;
        tungstenite::Message::Frame(Part::message(part, OpCode::Data(kind), last))
    };
    (0..parts).map(part).collect()
}

fn ended_by(error: tungstenite::Error) -> Ended {
    use tungstenite::Error;
    match error {
        Error::ConnectionClosed | Error::AlreadyClosed => Ended::ByPeer(None),
        Error::Capacity(CapacityError::MessageTooLong { size, max_size }) => Ended::TooLarge(
            format!("a message of {size} bytes is larger than the limit of {max_size}"),
        ),
        Error::Io(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ended::ByPeer(None),
        other => Ended::Broken(other.to_string()),
    }
}
