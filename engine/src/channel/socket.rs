//! The WebSocket at one end of a pipe.
//!
//! The writer's socket is only read while the pipe has room, so that TCP holds the producer back;
//! the reader's socket is only given what it takes. Nothing is decided by silence: an SDK that
//! pauses its reader answers no ping. Whether a silent peer lives is asked by TCP.

use std::{
    future::poll_fn,
    io,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use rustix::net::sockopt;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
    time::{Instant, MissedTickBehavior, interval_at},
};
use tokio_tungstenite::{
    WebSocketStream,
    tungstenite::{
        self, Message,
        protocol::{CloseFrame, frame::coding::CloseCode},
    },
};
use tokio_util::sync::CancellationToken;

use super::{Item, Reader, Writer};

/// Keeps peers and proxies with an idle time-out content.
const PING_EVERY: Duration = Duration::from_secs(15);

/// How long a peer may take to answer a close.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(2);

/// The same for a reader that has everything on its way: it may be slow, and what it has not read
/// would be lost with the connection.
const LAST_READ_TIMEOUT: Duration = Duration::from_secs(60);

/// Items given to a socket in one go before the task lets others run.
const BATCH: usize = 256;

enum Ended {
    /// The other side of this socket closed it.
    ByPeer,
    /// It broke, without a word.
    Broken,
    TooLarge,
    /// The other end of the pipe is gone, or has ended.
    Done,
    Stopped,
}

/// Moves what comes from `socket` into the pipe until one of them ends.
pub(crate) async fn feed<S>(
    mut socket: WebSocketStream<S>,
    writer: Writer,
    stop: &CancellationToken,
) where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let mut pings = interval_at(Instant::now() + PING_EVERY, PING_EVERY);
    pings.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let ended = loop {
        let moved = poll_fn(|context| take_in(&mut socket, &writer, context));
        tokio::select! {
            ended = moved => break ended,
            () = stop.cancelled() => break Ended::Stopped,
            _ = pings.tick() => ping(&mut socket).await,
        }
    };
    match ended {
        Ended::ByPeer => writer.end(),
        _ => drop(writer),
    }
    let ended = told(ended, stop);
    goodbye(&mut socket, &ended, CLOSE_TIMEOUT).await;
}

/// Moves what comes from the pipe to `socket` until one of them ends.
pub(crate) async fn drain<S>(
    mut socket: WebSocketStream<S>,
    reader: Reader,
    stop: &CancellationToken,
) where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let mut pings = interval_at(Instant::now() + PING_EVERY, PING_EVERY);
    pings.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut unflushed = false;
    let ended = loop {
        let moved = poll_fn(|context| give_out(&mut socket, &reader, &mut unflushed, context));
        tokio::select! {
            ended = moved => break ended,
            () = stop.cancelled() => break Ended::Stopped,
            _ = pings.tick() => ping(&mut socket).await,
        }
    };
    drop(reader);
    match told(ended, stop) {
        Ended::Done => tokio::select! {
            () = goodbye(&mut socket, &Ended::Done, LAST_READ_TIMEOUT) => {}
            () = stop.cancelled() => {}
        },
        ended => goodbye(&mut socket, &ended, CLOSE_TIMEOUT).await,
    }
}

/// The other end may have stopped first; that is no end of what was to be written.
fn told(ended: Ended, stop: &CancellationToken) -> Ended {
    match ended {
        Ended::Done if stop.is_cancelled() => Ended::Stopped,
        ended => ended,
    }
}

fn take_in<S>(
    socket: &mut WebSocketStream<S>,
    writer: &Writer,
    context: &mut Context<'_>,
) -> Poll<Ended>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    for _ in 0..BATCH {
        match writer.poll_room(context) {
            Poll::Ready(Ok(())) => {}
            Poll::Ready(Err(_)) => return Poll::Ready(Ended::Done),
            Poll::Pending => return Poll::Pending,
        }
        let item = match socket.poll_next_unpin(context) {
            Poll::Ready(Some(Ok(Message::Text(text)))) => Item::Text(text),
            Poll::Ready(Some(Ok(Message::Binary(bytes)))) => Item::Binary(bytes),
            Poll::Ready(Some(Ok(Message::Close(_)))) => return Poll::Ready(Ended::ByPeer),
            // The library answers pings itself.
            Poll::Ready(Some(Ok(_))) => continue,
            Poll::Ready(Some(Err(tungstenite::Error::Capacity(_)))) => {
                return Poll::Ready(Ended::TooLarge);
            }
            Poll::Ready(Some(Err(_)) | None) => return Poll::Ready(Ended::Broken),
            Poll::Pending => return writer.poll_gone(context).map(|()| Ended::Done),
        };
        if writer.push(item).is_err() {
            return Poll::Ready(Ended::Done);
        }
    }
    context.waker().wake_by_ref();
    Poll::Pending
}

fn give_out<S>(
    socket: &mut WebSocketStream<S>,
    reader: &Reader,
    unflushed: &mut bool,
    context: &mut Context<'_>,
) -> Poll<Ended>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    for _ in 0..BATCH {
        match socket.poll_next_unpin(context) {
            Poll::Ready(Some(Ok(Message::Close(_)))) => return Poll::Ready(Ended::ByPeer),
            Poll::Ready(Some(Ok(_))) => {}
            Poll::Ready(Some(Err(_)) | None) => return Poll::Ready(Ended::Broken),
            Poll::Pending => break,
        }
    }
    let mut done = false;
    for turn in 0.. {
        if turn == BATCH {
            context.waker().wake_by_ref();
            break;
        }
        match socket.poll_ready_unpin(context) {
            Poll::Ready(Ok(())) => {}
            Poll::Ready(Err(_)) => return Poll::Ready(Ended::Broken),
            Poll::Pending => return Poll::Pending,
        }
        let message = match reader.poll_next(context) {
            Poll::Ready(Some(Item::Text(text))) => Message::Text(text),
            Poll::Ready(Some(Item::Binary(bytes))) => Message::Binary(bytes),
            Poll::Ready(None) => {
                done = true;
                break;
            }
            Poll::Pending => break,
        };
        *unflushed = true;
        if socket.start_send_unpin(message).is_err() {
            return Poll::Ready(Ended::Broken);
        }
    }
    if *unflushed {
        match socket.poll_flush_unpin(context) {
            Poll::Ready(Ok(())) => *unflushed = false,
            Poll::Ready(Err(_)) => return Poll::Ready(Ended::Broken),
            Poll::Pending => return Poll::Pending,
        }
    }
    if done {
        Poll::Ready(Ended::Done)
    } else {
        Poll::Pending
    }
}

/// A ping that does not fit is dropped: the peer has enough to read.
async fn ping<S>(socket: &mut WebSocketStream<S>)
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    poll_fn(|context| {
        if let Poll::Ready(Ok(())) = socket.poll_ready_unpin(context) {
            // What is wrong with the socket is found when it is used next.
            let _ = socket.start_send_unpin(Message::Ping(Bytes::new()));
            let _ = socket.poll_flush_unpin(context);
        }
        Poll::Ready(())
    })
    .await;
}

/// Closes, and waits for the peer's answer so that the last frames are not lost to a reset.
async fn goodbye<S>(socket: &mut WebSocketStream<S>, ended: &Ended, patience: Duration)
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let (code, reason) = match ended {
        Ended::Broken => return,
        // Readers take 1000 for the end of what was written.
        Ended::ByPeer | Ended::Done => (CloseCode::Normal, ""),
        Ended::TooLarge => (CloseCode::Size, "the message is too large"),
        Ended::Stopped => (CloseCode::Restart, "the engine is stopping"),
    };
    close(socket, code, reason, patience).await;
}

/// See [`goodbye`].
async fn close<S>(
    socket: &mut WebSocketStream<S>,
    code: CloseCode,
    reason: &'static str,
    patience: Duration,
) where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let frame = CloseFrame {
        code,
        reason: reason.into(),
    };
    let closing = async {
        // The peer may have closed before.
        let _ = socket.close(Some(frame)).await;
        while let Some(Ok(_)) = socket.next().await {}
    };
    // A peer that does not see it through is dropped.
    let _ = tokio::time::timeout(patience, closing).await;
}

/// Has TCP ask silent peers whether they live: a dead one is noticed within a minute.
pub(crate) fn keep_alive(stream: &TcpStream) -> io::Result<()> {
    sockopt::set_tcp_keepidle(stream, Duration::from_secs(30))?;
    sockopt::set_tcp_keepintvl(stream, Duration::from_secs(10))?;
    sockopt::set_tcp_keepcnt(stream, 3)?;
    sockopt::set_socket_keepalive(stream, true)?;
    Ok(())
}

/// Tells a second taker that it is too late.
pub(crate) async fn refuse<S>(mut socket: WebSocketStream<S>)
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let reason = "this end of the channel is taken";
    close(&mut socket, CloseCode::Policy, reason, CLOSE_TIMEOUT).await;
}
