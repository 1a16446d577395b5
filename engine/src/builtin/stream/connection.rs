//! One connection of a client: the handshake, and then what it says, what it hears, and whether it
//! is still there.

use std::{
    collections::HashMap,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use agentos_sdk::{Error, Payload, Stop};
use agentos_wire::websocket_config;
use futures_util::{
    Sink, SinkExt, StreamExt,
    stream::{SplitSink, SplitStream},
};
use serde::{Deserialize, Serialize};
use tokio::{
    net::TcpStream,
    sync::mpsc,
    time::{MissedTickBehavior, timeout},
};
use tokio_tungstenite::{
    WebSocketStream, accept_hdr_async_with_config,
    tungstenite::{self, Message, protocol::CloseFrame},
};

use super::{
    client::{Client, Shared},
    frame::Word,
};
use crate::{
    builtin::document::Doc,
    listener::{Door, Gate, Knock},
};

/// How long a client may take to ask for the upgrade.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);

/// How long the authentication function may think.
const AUTH_TIMEOUT: Duration = Duration::from_secs(10);

/// How long saying goodbye may take.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);

/// What a client has said and nobody has looked at yet; more stays in its socket.
const WORDS_MAX: usize = 64;

/// Pings that may go by without a sign of life.
const SILENT_MAX: u32 = 2;

/// What the authentication function is told of a client.
#[derive(Serialize)]
struct Visitor {
    headers: HashMap<String, String>,
    path: &'static str,
    query_params: HashMap<String, Vec<String>>,
    addr: String,
}

type Socket = WebSocketStream<TcpStream>;

/// Why a connection ends.
#[derive(Debug)]
enum End {
    /// The client closed it, or the network did.
    Gone,
    /// Nothing was heard for long.
    Silent,
    /// The client takes nothing from the wire.
    Stuck,
    /// It was promised everything, and is too slow for it.
    Behind,
    TooLarge,
    Refused,
    Stopping,
}

impl End {
    /// The close code (RFC 6455 §7.4.1 and its registry) and reason; `None` when nobody would
    /// read them.
    fn said(&self) -> Option<(u16, &'static str)> {
        match self {
            End::Gone | End::Silent | End::Stuck => None,
            End::Behind => Some((1013, "too slow: join again after the last offset")),
            End::TooLarge => Some((1009, "the message is too large")),
            End::Refused => Some((1008, "unauthorized")),
            End::Stopping => Some((1012, "the engine is stopping")),
        }
    }
}

/// Serves one client until it is gone, or `stop`.
pub(super) async fn serve(
    shared: Arc<Shared>,
    gate: Arc<Gate>,
    stream: TcpStream,
    peer: SocketAddr,
    stop: Stop,
) {
    // Small events must not wait for the acknowledgement of earlier ones.
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%peer, %error, "TCP_NODELAY cannot be set");
    }
    let accepted = tokio::select! {
        accepted = accept(&shared, &gate, stream, peer) => accepted,
        () = stop.cancelled() => return,
    };
    let Some((socket, knock)) = accepted else {
        return;
    };
    let visitor = Visitor {
        headers: knock.visitor.headers,
        path: "/",
        query_params: knock.visitor.query_params,
        addr: peer.to_string(),
    };
    let (mut sink, stream) = socket.split();
    let context = tokio::select! {
        context = authenticate(&shared, &visitor) => context,
        () = stop.cancelled() => return,
    };
    let end = match context {
        Ok(context) => {
            let client = Client::new(shared, context);
            talk(&client, &mut sink, stream, &stop).await
        }
        Err(error) => {
            tracing::warn!(%peer, %error, "a client of streams was refused");
            End::Refused
        }
    };
    tracing::debug!(%peer, ?end, "a client of streams is gone");
    close(&mut sink, &end).await;
}

async fn accept(
    shared: &Shared,
    gate: &Gate,
    stream: TcpStream,
    peer: SocketAddr,
) -> Option<(Socket, Knock)> {
    let mut knock = None;
    let door = Door {
        gate,
        knock: &mut knock,
    };
    let config = websocket_config(shared.config.get().message_bytes_max);
    let accepting = accept_hdr_async_with_config(stream, door, Some(config));
    match timeout(HANDSHAKE_TIMEOUT, accepting).await {
        Ok(Ok(socket)) => knock.map(|knock| (socket, knock)),
        Ok(Err(error)) => {
            tracing::debug!(%peer, %error, "no WebSocket");
            None
        }
        Err(_) => {
            tracing::debug!(%peer, "no handshake in time");
            None
        }
    }
}

/// What the authentication function says of the visitor, if there is one.
async fn authenticate(shared: &Shared, visitor: &Visitor) -> Result<Option<Doc>, Error> {
    #[derive(Default, Deserialize)]
    #[serde(default)]
    struct Granted {
        context: Option<Doc>,
    }
    let config = shared.config.get();
    let Some(function) = &config.auth_function else {
        return Ok(None);
    };
    let call = shared.bus.call(function).timeout(AUTH_TIMEOUT);
    let visitor = Payload::encode(visitor).map_err(super::error::unsayable)?;
    let granted = call.send_payload(visitor).await?;
    // Who answers something else has not thrown, and knows no context.
    Ok(granted.decode::<Granted>().unwrap_or_default().context)
}

async fn talk(
    client: &Client,
    sink: &mut SplitSink<Socket, Message>,
    stream: SplitStream<Socket>,
    stop: &Stop,
) -> End {
    let heard = AtomicBool::new(true);
    let (words, said) = mpsc::channel(WORDS_MAX);
    tokio::select! {
        end = listen(stream, words, &heard) => end,
        end = speak(client, sink, &heard) => end,
        () = attend(client, said) => End::Gone,
        () = stop.cancelled() => End::Stopping,
    }
}

/// Reads what the client says. When too much of it waits, reading does.
async fn listen(
    mut stream: SplitStream<Socket>,
    words: mpsc::Sender<Word>,
    heard: &AtomicBool,
) -> End {
    loop {
        let message = stream.next().await;
        heard.store(true, Ordering::Relaxed);
        match message {
            Some(Ok(Message::Text(text))) => {
                // What cannot be understood is ignored.
                if let Ok(word) = serde_json::from_str(&text)
                    && words.send(word).await.is_err()
                {
                    return End::Gone;
                }
            }
            Some(Ok(Message::Close(_)) | Err(tungstenite::Error::ConnectionClosed)) | None => {
                return End::Gone;
            }
            Some(Ok(_)) => {}
            Some(Err(tungstenite::Error::Capacity(_))) => return End::TooLarge,
            Some(Err(_)) => return End::Gone,
        }
    }
}

/// Does what the client says, one after the other.
async fn attend(client: &Client, mut said: mpsc::Receiver<Word>) {
    while let Some(word) = said.recv().await {
        client.hear(word).await;
    }
}

/// Sends what waits for the client, and a ping now and then.
async fn speak(client: &Client, sink: &mut SplitSink<Socket, Message>, heard: &AtomicBool) -> End {
    let config = client.config();
    let patience = Duration::from_millis(config.write_timeout_ms);
    let mut beat = tokio::time::interval(Duration::from_millis(config.ping_interval_ms.max(1)));
    beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
    beat.tick().await;
    let mut silent = 0;
    loop {
        let sent = tokio::select! {
            () = client.mailbox.news() => deliver(client, sink, patience).await,
            _ = beat.tick() => {
                silent = if heard.swap(false, Ordering::Relaxed) { 0 } else { silent + 1 };
                if silent >= SILENT_MAX {
                    return End::Silent;
                }
                within(patience, sink.send(Message::Ping(Vec::new().into()))).await
            }
        };
        if let Err(end) = sent {
            return end;
        }
        if client.mailbox.is_behind() {
            return End::Behind;
        }
    }
}

/// Sends all that waits, in as few writes as it fits in.
async fn deliver<S>(client: &Client, sink: &mut S, patience: Duration) -> Result<(), End>
where
    S: Sink<Message, Error = tungstenite::Error> + Unpin,
{
    while let Some(text) = client.mailbox.take() {
        within(patience, sink.feed(Message::Text(text))).await?;
    }
    within(patience, sink.flush()).await
}

async fn within(
    patience: Duration,
    sending: impl Future<Output = Result<(), tungstenite::Error>>,
) -> Result<(), End> {
    match timeout(patience, sending).await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(_)) => Err(End::Gone),
        Err(_) => Err(End::Stuck),
    }
}

async fn close(sink: &mut SplitSink<Socket, Message>, end: &End) {
    let frame = end.said().map(|(code, reason)| CloseFrame {
        code: code.into(),
        reason: reason.into(),
    });
    if matches!(end, End::Silent | End::Stuck) {
        return;
    }
    let goodbye = async {
        if frame.is_some() {
            sink.send(Message::Close(frame)).await?;
        }
        sink.close().await
    };
    // Who does not take it is gone all the same.
    let _ = timeout(CLOSE_TIMEOUT, goodbye).await;
}
