//! The listener of clients that follow streams: WebSocket, JSON text frames.

use std::{collections::HashMap, net::SocketAddr, sync::Arc, time::Duration};

use agentos_sdk::{Bus, Error, Stop};
use futures_util::{SinkExt, StreamExt};
use serde::Deserialize;
use serde_json::{Value, json, value::RawValue};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::Semaphore,
    time::Instant,
};
use tokio_tungstenite::{
    WebSocketStream, accept_hdr_async_with_config,
    tungstenite::{
        Message,
        protocol::{CloseFrame, WebSocketConfig, frame::coding::CloseCode},
    },
};
use tokio_util::task::TaskTracker;

use super::{
    Shared,
    api::{EventKind, Place},
    feed::{self, Mailbox, Subscription},
    triggers::Visit,
};
use crate::listener::{Door, Knock};

/// Largest message of a client.
const MESSAGE_BYTES_MAX: usize = 64 << 10;
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
const AUTH_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a client may take to take one message.
const WRITE_TIMEOUT: Duration = Duration::from_secs(10);
const PING_EVERY: Duration = Duration::from_secs(20);
/// A client that has said nothing, not even a pong, for so long is gone.
const SILENCE_MAX: Duration = Duration::from_secs(45);

pub(super) async fn run(listener: TcpListener, shared: Arc<Shared>, bus: Bus, stop: Stop) {
    let clients = TaskTracker::new();
    let room = Arc::new(Semaphore::new(shared.config.clients_max));
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = stop.cancelled() => break,
        };
        let (socket, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                // Out of descriptors: those who are here go on, and some will leave.
                tracing::warn!(%error, "cannot accept a client of streams");
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let Ok(permit) = Arc::clone(&room).try_acquire_owned() else {
            tracing::warn!(%peer, "client of streams refused: clients_max is reached");
            continue;
        };
        let (shared, bus, stop) = (Arc::clone(&shared), bus.clone(), stop.clone());
        clients.spawn(async move {
            if let Some(client) = Client::admit(socket, peer, shared, bus).await {
                client.serve(stop).await;
            }
            drop(permit);
        });
    }
    drop(listener);
    clients.close();
    clients.wait().await;
}

#[derive(Deserialize)]
#[serde(tag = "type", content = "data", rename_all = "lowercase")]
enum Said {
    Join(Wanted),
    Leave(Wanted),
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Wanted {
    subscription_id: String,
    stream_name: String,
    group_id: String,
    #[serde(default)]
    id: Option<String>,
}

/// One connected client.
struct Client {
    socket: WebSocketStream<TcpStream>,
    shared: Arc<Shared>,
    bus: Bus,
    context: Option<Value>,
    mailbox: Arc<Mailbox>,
    /// By the client's own ids.
    subscriptions: HashMap<String, (Arc<Subscription>, Visit)>,
    heard: Instant,
}

impl Client {
    async fn admit(
        socket: TcpStream,
        peer: SocketAddr,
        shared: Arc<Shared>,
        bus: Bus,
    ) -> Option<Self> {
        if let Err(error) = socket.set_nodelay(true) {
            tracing::debug!(%peer, %error, "TCP_NODELAY cannot be set");
        }
        let mut knock = None;
        let door = Door {
            gate: &shared.gate,
            knock: &mut knock,
        };
        let config = WebSocketConfig::default()
            .max_message_size(Some(MESSAGE_BYTES_MAX))
            .max_frame_size(Some(MESSAGE_BYTES_MAX));
        let accepting = accept_hdr_async_with_config(socket, door, Some(config));
        let mut socket = match tokio::time::timeout(HANDSHAKE_TIMEOUT, accepting).await {
            Ok(Ok(socket)) => socket,
            Ok(Err(error)) => {
                tracing::debug!(%peer, %error, "no WebSocket");
                return None;
            }
            Err(_) => return None,
        };
        let context = match authenticate(&shared, &bus, knock?, peer).await {
            Ok(context) => context,
            Err(error) => {
                tracing::info!(%peer, %error, "a client of streams was refused");
                let close = CloseFrame {
                    code: CloseCode::Policy,
                    reason: "unauthorized".into(),
                };
                // It may be gone already.
                let _ = tokio::time::timeout(WRITE_TIMEOUT, socket.close(Some(close))).await;
                return None;
            }
        };
        let mailbox = Mailbox::new(shared.config.channel_size);
        Some(Client {
            socket,
            shared,
            bus,
            context,
            mailbox,
            subscriptions: HashMap::new(),
            heard: Instant::now(),
        })
    }

    async fn serve(mut self, stop: Stop) {
        let mut ping = tokio::time::interval(PING_EVERY);
        ping.reset();
        loop {
            let mailbox = Arc::clone(&self.mailbox);
            let goes_on = tokio::select! {
                said = self.socket.next() => match said {
                    Some(Ok(said)) => {
                        self.heard = Instant::now();
                        self.hear(said).await
                    }
                    Some(Err(_)) | None => false,
                },
                text = mailbox.next() => self.say(Message::Text(text)).await,
                _ = ping.tick() => {
                    self.heard.elapsed() < SILENCE_MAX && self.say(Message::Ping("".into())).await
                }
                () = stop.cancelled() => {
                    let close = CloseFrame { code: CloseCode::Restart, reason: "the engine is stopping".into() };
                    let _ = tokio::time::timeout(WRITE_TIMEOUT, self.socket.close(Some(close))).await;
                    false
                }
            };
            if !goes_on {
                break;
            }
        }
        for id in self.subscriptions.keys().cloned().collect::<Vec<_>>() {
            self.leave(&id);
        }
    }

    /// False when the client does not take it.
    async fn say(&mut self, message: Message) -> bool {
        let sending = self.socket.send(message);
        matches!(
            tokio::time::timeout(WRITE_TIMEOUT, sending).await,
            Ok(Ok(()))
        )
    }

    async fn hear(&mut self, said: Message) -> bool {
        let text = match &said {
            Message::Text(text) => text.as_str(),
            Message::Close(_) => return false,
            _ => return true,
        };
        match serde_json::from_str(text) {
            Ok(Said::Join(wanted)) => self.join(wanted).await,
            Ok(Said::Leave(wanted)) => {
                self.leave(&wanted.subscription_id);
                true
            }
            // Clients expect that what is not understood passes.
            Err(error) => {
                tracing::debug!(%error, "a message of a client of streams was ignored");
                true
            }
        }
    }

    async fn join(&mut self, wanted: Wanted) -> bool {
        self.leave(&wanted.subscription_id);
        let visit = Visit {
            subscription_id: wanted.subscription_id,
            stream_name: wanted.stream_name,
            group_id: wanted.group_id,
            id: wanted.id,
            context: self.context.clone(),
        };
        let full = self.subscriptions.len() >= self.shared.config.subscriptions_max;
        let admitted = match self
            .shared
            .triggers
            .joins(&self.bus.detached(), &visit)
            .await
        {
            Ok(admitted) => admitted && !full,
            Err(error) => {
                tracing::warn!(%error, stream = visit.stream_name, "a join handler failed; the client does not follow");
                return true;
            }
        };
        if !admitted {
            return self.tell(&visit, EventKind::Unauthorized, None).await;
        }
        let subscription = Arc::new(Subscription {
            id: visit.subscription_id.clone(),
            item: visit.id.clone(),
            mailbox: Arc::clone(&self.mailbox),
        });
        // First this, then the read: what happens between is told after the sync, not lost.
        let feed = &self.shared.feed;
        feed.add(&visit.stream_name, &visit.group_id, &subscription);
        let there = self.there(&visit).await;
        self.subscriptions
            .insert(subscription.id.clone(), (subscription, visit.clone()));
        match there {
            Ok(data) => self.tell(&visit, EventKind::Sync, Some(&data)).await,
            Err(error) => {
                tracing::warn!(%error, stream = visit.stream_name, "no sync: the items cannot be read");
                true
            }
        }
    }

    /// What is in the group, or the item.
    async fn there(&self, visit: &Visit) -> Result<Box<RawValue>, Error> {
        let (stream, group) = (visit.stream_name.clone(), visit.group_id.clone());
        let shared = Arc::clone(&self.shared);
        let bus = self.bus.detached();
        let unfit = |error: serde_json::Error| {
            Error::engine(agentos_sdk::Code::Internal, error.to_string())
        };
        match &visit.id {
            Some(item) => {
                let place = Place {
                    stream,
                    group,
                    item: item.clone(),
                };
                let item = shared.get(bus, place.into()).await?;
                serde_json::value::to_raw_value(&item).map_err(unfit)
            }
            None => {
                let group = super::api::Group {
                    stream_name: stream,
                    group_id: group,
                };
                let items = shared.list(bus, group).await?;
                serde_json::value::to_raw_value(&items).map_err(unfit)
            }
        }
    }

    async fn tell(&mut self, visit: &Visit, kind: EventKind, data: Option<&RawValue>) -> bool {
        let item = visit.id.as_deref();
        let told = feed::told(&visit.stream_name, &visit.group_id, item, kind, data);
        match told {
            Ok(text) => self.say(Message::Text(text)).await,
            Err(error) => {
                tracing::error!(%error, "an event has no JSON form");
                true
            }
        }
    }

    fn leave(&mut self, id: &str) {
        let Some((subscription, visit)) = self.subscriptions.remove(id) else {
            return;
        };
        let feed = &self.shared.feed;
        feed.remove(&visit.stream_name, &visit.group_id, &subscription);
        self.shared.triggers.leaves(&self.bus.detached(), &visit);
    }
}

/// Asks the auth function, if there is one, who the client is.
async fn authenticate(
    shared: &Shared,
    bus: &Bus,
    knock: Knock,
    peer: SocketAddr,
) -> Result<Option<Value>, Error> {
    let Some(function) = &shared.config.auth_function else {
        return Ok(None);
    };
    let visitor = knock.visitor;
    let input = json!({
        "headers": visitor.headers, "path": "/", "query_params": visitor.query_params,
        "addr": peer.to_string(),
    });
    let answer: Value = bus
        .call(function)
        .timeout(AUTH_TIMEOUT)
        .send(&input)
        .await?;
    Ok(answer
        .get("context")
        .filter(|context| !context.is_null())
        .cloned())
}
