//! Moves messages between one WebSocket and its outbox until one side ends it.

use std::{
    future::poll_fn,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use agentos_protocol::{
    Frame,
    codec::{Draft, v2::done},
};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    time::{Instant, Interval, MissedTickBehavior, Sleep, interval_at, sleep},
};

use crate::{
    Close, Incoming, Kind, Outbox, Socket, cork,
    framing::{Opcode, Role, begin, control, finish},
    reader::{Fault, Heard, Reader, Turn},
};

/// Reads handled in one go before the task lets others run.
const READS_MAX: usize = 8;

/// Frames written in one go, for the same reason.
const WRITE_BATCH: usize = 1024;

/// Largest part of a message: below the 16 MiB that WebSocket libraries take for one frame.
const PART_BYTES_MAX: usize = 8 << 20;

/// How long a few results of void calls wait for company: the engine takes the worker for a little
/// busier than it is for as long.
const DONE_DELAY: Duration = Duration::from_millis(2);

/// How long a peer may take to see a close through.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(2);

/// What the pump asks of its session.
pub trait Hooks {
    /// Messages that came at one time follow.
    fn reading(&mut self) {}

    /// Takes a message from the peer.
    fn received(&mut self, message: Incoming<'_>);

    /// Adds a frame that was left in the outbox to `out`; `None` drops it, and the draft has to be
    /// as it was.
    fn encode(&mut self, frame: Frame, out: &mut Draft) -> Option<Kind> {
        let _ = (frame, out);
        None
    }

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
    /// The connection broke.
    Broken(String),
    /// What came is against the protocol; the close code that says so.
    Faulty(u16, String),
}

/// Runs the session until it ends.
pub async fn pump<S, H>(
    socket: Socket<S>,
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
    let Socket {
        mut stream,
        role,
        bytes_max,
        first,
        direct,
        said,
    } = socket;
    let bytes_max = outbox.connect(direct, said, bytes_max);
    let mut state = State {
        role,
        reader: Reader::new(role, bytes_max, first),
        heard: now,
        unflushed: false,
        closing: false,
        is_idle: false,
        pongs: Draft::default(),
        done: Vec::new(),
        done_due: None,
    };
    let ended = match state.greet(hooks) {
        Some(ended) => ended,
        None => {
            poll_fn(|context| {
                state.poll(&mut stream, &outbox, &mut tick, keepalive, hooks, context)
            })
            .await
        }
    };
    hooks.ended(&ended);
    // A peer that does not finish the handshake is dropped.
    // On the heap: every session would carry its buffer along for its whole life.
    let goodbye = Box::pin(finish_session(&mut stream, &outbox, role, &ended));
    let _ = tokio::time::timeout(CLOSE_TIMEOUT, goodbye).await;
    outbox.disconnect();
    ended
}

/// Says goodbye and waits for the answer, so that the last frames are not lost to a reset.
async fn finish_session<S: AsyncRead + AsyncWrite + Unpin>(
    stream: &mut S,
    outbox: &Outbox,
    role: Role,
    ended: &Ended,
) {
    let (code, reason) = match ended {
        Ended::ByUs(close) => (Some(close.code), close.reason.as_ref()),
        Ended::TooLarge(why) => (Some(1009), why.as_str()),
        Ended::Silent => (Some(1011), "no sign of life"),
        Ended::Faulty(code, why) => (Some(*code), why.as_str()),
        // As RFC 6455 §5.5.1 has it, with the code that came.
        Ended::ByPeer(code) => (code.filter(|code| may_be_sent(*code)), ""),
        Ended::Broken(_) => return,
    };
    let mut payload = Vec::new();
    if let Some(code) = code {
        payload.extend_from_slice(&code.to_be_bytes());
        payload.extend_from_slice(shorten(reason).as_bytes());
    }
    // A frame of which a part has gone out must be finished first.
    let last = poll_fn(|context| outbox.sending().poll(stream, context)).await;
    let mut close = Draft::flat();
    control(&mut close, Opcode::Close, &payload, role);
    if last.is_err() || stream.write_all(close.text()).await.is_err() {
        return;
    }
    let _ = stream.flush().await;
    if matches!(ended, Ended::ByPeer(_)) {
        let _ = stream.shutdown().await;
        return;
    }
    let mut rest = [0; 4096];
    while let Ok(1..) = stream.read(&mut rest).await {}
}

/// Some codes only say that there was none (RFC 6455 §7.4.1).
fn may_be_sent(code: u16) -> bool {
    (1000..5000).contains(&code) && !matches!(code, 1004..=1006 | 1015)
}

/// Close reasons have at most 123 bytes.
fn shorten(reason: &str) -> &str {
    let mut end = reason.len().min(123);
    while !reason.is_char_boundary(end) {
        end -= 1;
    }
    &reason[..end]
}

struct State {
    role: Role,
    reader: Reader,
    heard: Instant,
    /// Something was written since the last complete flush.
    unflushed: bool,
    /// At the last tick the session was asked to close.
    closing: bool,
    /// Nothing was read since the last tick.
    is_idle: bool,
    /// Answers to pings.
    pongs: Draft,
    /// Void calls that went well, on their way into a message.
    done: Vec<u64>,
    /// When those that wait are to be told.
    done_due: Option<Pin<Box<Sleep>>>,
}

impl State {
    /// Handles what came with the handshake.
    fn greet<H: Hooks>(&mut self, hooks: &mut H) -> Option<Ended> {
        let mut ended = None;
        let (pongs, role) = (&mut self.pongs, self.role);
        hooks.reading();
        let outcome = cork::with(|| {
            self.reader
                .take_first(&mut |heard| receive(heard, hooks, pongs, role, &mut ended))
        });
        ended.or_else(|| outcome.err().map(ended_by))
    }

    fn poll<S, H>(
        &mut self,
        stream: &mut S,
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
        let more = match self.read(stream, hooks, context) {
            Ok(more) => more,
            Err(ended) => return Poll::Ready(ended),
        };
        while tick.poll_tick(context).is_ready() {
            if self.heard.elapsed() > keepalive.silence_max {
                return Poll::Ready(Ended::Silent);
            }
            // A peer that does not take what is left has had a whole tick for it.
            match outbox.asked_to_close() {
                Some(close) if self.closing => return Poll::Ready(Ended::ByUs(close)),
                close => self.closing = close.is_some(),
            }
            control(&mut self.pongs, Opcode::Ping, &[], self.role);
            if std::mem::replace(&mut self.is_idle, true) {
                self.reader.give_back();
                outbox.shrink();
                outbox.sending().shrink();
            }
        }
        let written = self.write(stream, outbox, hooks, context);
        if more {
            context.waker().wake_by_ref();
        }
        if let Poll::Ready(ended) = written {
            return Poll::Ready(ended);
        }
        Poll::Pending
    }

    /// True when there may be more.
    fn read<S, H>(
        &mut self,
        stream: &mut S,
        hooks: &mut H,
        context: &mut Context<'_>,
    ) -> Result<bool, Ended>
    where
        S: AsyncRead + Unpin,
        H: Hooks,
    {
        let (pongs, role) = (&mut self.pongs, self.role);
        for _ in 0..READS_MAX {
            let mut ended = None;
            hooks.reading();
            let turn = cork::with(|| {
                self.reader.poll_read(stream, context, &mut |heard| {
                    receive(heard, hooks, pongs, role, &mut ended)
                })
            });
            match (turn, ended) {
                (_, Some(ended)) => return Err(ended),
                (Poll::Ready(Err(fault)), None) => return Err(ended_by(fault)),
                (Poll::Pending, None) => return Ok(false),
                (Poll::Ready(Ok(Turn::More | Turn::Stop)), None) => {
                    self.heard = Instant::now();
                    self.is_idle = false;
                }
            }
        }
        Ok(true)
    }

    /// Hands everything that waits to the socket, then flushes once.
    fn write<S, H>(
        &mut self,
        stream: &mut S,
        outbox: &Outbox,
        hooks: &mut H,
        context: &mut Context<'_>,
    ) -> Poll<Ended>
    where
        S: AsyncWrite + Unpin,
        H: Hooks,
    {
        let mut sending = outbox.sending();
        for turn in 0.. {
            match sending.poll(stream, context) {
                Poll::Ready(Ok(())) => {}
                Poll::Ready(Err(error)) => return Poll::Ready(Ended::Broken(error.to_string())),
                Poll::Pending => return Poll::Pending,
            }
            if turn == READS_MAX {
                context.waker().wake_by_ref();
                break;
            }
            let draft = sending.draft();
            outbox.take_messages(draft);
            if !self.pongs.is_empty() {
                draft.prepend(std::mem::take(&mut self.pongs));
            }
            self.encode(outbox, draft, hooks);
            outbox.take_parts(self.role, draft);
            self.say_done(outbox, draft, context);
            if draft.is_empty() {
                break;
            }
            self.unflushed = true;
        }
        drop(sending);
        if self.unflushed {
            match ready!(Pin::new(&mut *stream).poll_flush(context)) {
                Ok(()) => self.unflushed = false,
                Err(error) => return Poll::Ready(Ended::Broken(error.to_string())),
            }
        }
        match outbox.closing() {
            Some(close) => Poll::Ready(Ended::ByUs(close)),
            None => Poll::Pending,
        }
    }

    /// Says which void calls went well: when something is said anyway, when there are many, or when
    /// they have waited long enough.
    fn say_done(&mut self, outbox: &Outbox, draft: &mut Draft, context: &mut Context<'_>) {
        if self.role == Role::Server {
            return;
        }
        let is_due = match &mut self.done_due {
            Some(due) => due.as_mut().poll(context).is_ready(),
            None => false,
        };
        if is_due {
            self.done_due = None;
        }
        let some_wait = outbox.take_done(is_due || !draft.is_empty(), &mut self.done);
        if !self.done.is_empty() {
            let start = begin(draft);
            done::write(&self.done, draft);
            finish(draft, start, Opcode::Binary, self.role, PART_BYTES_MAX);
            self.done.clear();
            self.done_due = None;
        }
        if some_wait && self.done_due.is_none() {
            let due = self.done_due.insert(Box::pin(sleep(DONE_DELAY)));
            // It registers whom to wake; it cannot be over yet, or else is looked at again.
            if due.as_mut().poll(context).is_ready() {
                context.waker().wake_by_ref();
            }
        }
    }

    /// Writes frames that were left, as messages.
    fn encode<H: Hooks>(&self, outbox: &Outbox, draft: &mut Draft, hooks: &mut H) {
        for _ in 0..WRITE_BATCH {
            let Some((frame, apart)) = outbox.next() else {
                break;
            };
            if apart {
                self.encode_apart(frame, outbox, draft, hooks);
                continue;
            }
            let start = begin(draft);
            match hooks.encode(frame, draft) {
                Some(kind) => finish(draft, start, kind.opcode(), self.role, PART_BYTES_MAX),
                None => draft.rewind(start),
            }
        }
    }

    /// Writes a frame that may be for the transfers. Not copied, however large it is.
    fn encode_apart<H: Hooks>(
        &self,
        frame: Frame,
        outbox: &Outbox,
        draft: &mut Draft,
        hooks: &mut H,
    ) {
        let mut apart = Draft::default();
        let Some(kind) = hooks.encode(frame, &mut apart) else {
            return;
        };
        if let Some(message) = outbox.set_apart(apart, self.role, draft) {
            let start = begin(draft);
            draft.put_range(&message, 0..message.len());
            finish(draft, start, kind.opcode(), self.role, PART_BYTES_MAX);
        }
    }
}

/// Handles one thing that came; false ends the reading.
fn receive<H: Hooks>(
    heard: Heard<'_>,
    hooks: &mut H,
    pongs: &mut Draft,
    role: Role,
    ended: &mut Option<Ended>,
) -> bool {
    /// Pongs for a peer that pings and does not read: it gets no more of them.
    const PONG_BYTES_MAX: usize = 4096;
    match heard {
        Heard::Message(message) => hooks.received(message),
        Heard::Ping(payload) => {
            if pongs.len() < PONG_BYTES_MAX {
                control(pongs, Opcode::Pong, payload, role);
            }
        }
        // It has done its work by arriving.
        Heard::Pong => {}
        Heard::Close(code) => {
            *ended = Some(Ended::ByPeer(code));
            return false;
        }
    }
    true
}

fn ended_by(fault: Fault) -> Ended {
    match fault {
        Fault::Eof => Ended::ByPeer(None),
        Fault::Io(why) => Ended::Broken(why),
        Fault::TooLarge(bytes) => Ended::TooLarge(format!(
            "a message of {bytes} bytes is larger than the limit"
        )),
        Fault::Protocol(code, why) => Ended::Faulty(code, why.to_owned()),
    }
}
