//! Accepts WebSocket connections: who may come in, in which dialect.

mod gate;
mod upgrade;

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use agentos_protocol::{
    Code, ErrorBody, Frame,
    codec::{Message, v2},
};
use agentos_wire::{
    Close, Hooks, Incoming, Keepalive, Outbox, SharedTcp, Socket, pump, websocket_config,
};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::Semaphore,
};
use tokio_tungstenite::{
    WebSocketStream, accept_hdr_async_with_config, tungstenite::protocol::Role,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

pub(crate) use gate::Gate;
use upgrade::{Asked, Dialect, Upgrade};
pub(crate) use upgrade::{Door, Knock};

use crate::{
    builtin::{
        live::Live,
        observe::{self, Telemetry},
    },
    channel::{self, Channels, Taken, TakenEnd},
    config::Conflicts,
    session::{Access, Guest, Iii, IiiShared, V2, Visitor},
};

/// The bus's door.
pub(crate) struct Listener {
    socket: TcpListener,
    shared: IiiShared,
    channels: Arc<Channels>,
    terms: Live<Terms>,
    bounds: Bounds,
}

/// What holds for those who come in through one listener, from the moment they do.
pub(crate) struct Terms {
    pub(crate) gate: Arc<Gate>,
    /// Who is asked, and what is shown; `None` shows everything to everybody.
    pub(crate) access: Option<Arc<Access>>,
    /// How long a client may take to ask for the upgrade, and then to say hello.
    pub(crate) patience: Duration,
    pub(crate) conflicts: Conflicts,
}

/// What protects the engine from those who come in; one for all listeners.
#[derive(Clone)]
pub(crate) struct Bounds {
    sessions: Arc<Semaphore>,
    outbox: agentos_wire::Limits,
}

impl Bounds {
    pub(crate) fn new(sessions_max: usize, outbox: agentos_wire::Limits) -> Self {
        let sessions = Arc::new(Semaphore::new(sessions_max.min(Semaphore::MAX_PERMITS)));
        Bounds { sessions, outbox }
    }
}

impl Listener {
    /// Binds `address`; port 0 picks a free one.
    ///
    /// # Errors
    /// When the address cannot be bound.
    pub(crate) async fn bind(
        address: SocketAddr,
        shared: IiiShared,
        channels: Arc<Channels>,
        terms: Live<Terms>,
        bounds: Bounds,
    ) -> io::Result<Self> {
        Ok(Listener {
            socket: TcpListener::bind(address).await?,
            shared,
            channels,
            terms,
            bounds,
        })
    }

    pub(crate) fn address(&self) -> io::Result<SocketAddr> {
        self.socket.local_addr()
    }

    /// Accepts until `leave` or `stop`, then waits for the sessions to close. At `leave` they are
    /// told to; at `stop` the bus does that.
    pub(crate) async fn run(self, leave: CancellationToken, stop: CancellationToken) {
        let sessions = TaskTracker::new();
        loop {
            let accepted = tokio::select! {
                accepted = self.socket.accept() => accepted,
                () = leave.cancelled() => break,
                () = stop.cancelled() => break,
            };
            match accepted {
                Ok((stream, peer)) => self.admit(stream, peer, &sessions, &leave, &stop),
                Err(error) => {
                    // Out of descriptors: the ones who are here go on, and some will leave.
                    tracing::warn!(%error, "cannot accept a connection");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            }
        }
        drop(self.socket);
        sessions.close();
        sessions.wait().await;
    }

    fn admit(
        &self,
        stream: TcpStream,
        peer: SocketAddr,
        sessions: &TaskTracker,
        leave: &CancellationToken,
        stop: &CancellationToken,
    ) {
        let Ok(permit) = Arc::clone(&self.bounds.sessions).try_acquire_owned() else {
            tracing::warn!(%peer, "connection refused: limits.sessions_max is reached");
            return;
        };
        let connection = Connection {
            shared: self.shared.clone(),
            channels: Arc::clone(&self.channels),
            stop: stop.clone(),
            terms: self.terms.get(),
            outbox: Arc::new(Outbox::new(self.bounds.outbox)),
        };
        let (leave, outbox) = (leave.clone(), Arc::clone(&connection.outbox));
        sessions.spawn(async move {
            let mut served = Box::pin(connection.serve(stream, peer));
            tokio::select! {
                () = &mut served => {}
                () = leave.cancelled() => {
                    outbox.close(Close {
                        code: 1001,
                        reason: "the listener is closed".into(),
                    });
                    served.await;
                }
            }
            drop(permit);
        });
    }
}

struct Connection {
    shared: IiiShared,
    channels: Arc<Channels>,
    stop: CancellationToken,
    terms: Arc<Terms>,
    outbox: Arc<Outbox>,
}

impl Connection {
    async fn serve(self, stream: TcpStream, peer: SocketAddr) {
        // Small frames must not wait for the acknowledgement of earlier ones.
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%peer, %error, "TCP_NODELAY cannot be set");
        }
        let mut asked = None;
        let upgrade = Upgrade {
            gate: &self.terms.gate,
            channels: &self.channels,
            asked: &mut asked,
        };
        let config = websocket_config(self.terms.gate.bytes_max(false));
        let accepting = accept_hdr_async_with_config(stream, upgrade, Some(config));
        let socket = match tokio::time::timeout(self.terms.patience, accepting).await {
            Ok(Ok(socket)) => socket,
            Ok(Err(error)) => return tracing::debug!(%peer, %error, "no WebSocket"),
            Err(_) => return tracing::debug!(%peer, "no handshake in time"),
        };
        let Some(asked) = asked else { return };
        let socket = if asked.trusted {
            // Nothing has been read since the handshake: a client speaks after its answer.
            let config = websocket_config(self.terms.gate.bytes_max(true));
            WebSocketStream::from_raw_socket(socket.into_inner(), Role::Server, Some(config)).await
        } else {
            socket
        };
        if let Some(taken) = asked.channel {
            return self.serve_channel(socket, taken).await;
        }
        match asked.dialect {
            Dialect::V2 => self.serve_v2(socket, asked, peer).await,
            Dialect::Iii if !asked.trusted => {
                let refusal = self.terms.gate.refusal(asked.token_given);
                self.refuse(socket, refusal, write_iii).await
            }
            Dialect::Iii => match self.ask(asked.visitor, peer).await {
                Ok(guest) => {
                    let mut session = Iii::open(
                        self.shared,
                        Arc::clone(&self.outbox),
                        guest,
                        peer.ip(),
                        asked.instance,
                        self.terms.conflicts,
                    );
                    let socket = ours(socket, self.terms.gate.bytes_max(true));
                    pump(socket, self.outbox, Keepalive::default(), &mut session).await;
                }
                Err(refusal) => self.refuse(socket, refusal, write_iii).await,
            },
            // Telemetry sockets of some SDKs carry no token and come back for ever if refused;
            // what a stranger sends is read and dropped.
            Dialect::Telemetry | Dialect::Channel => {
                let known = asked.trusted && self.is_known(peer);
                let mut hooks = Swallow(known.then_some(self.shared.telemetry));
                let socket = ours(socket, self.terms.gate.bytes_max(asked.trusted));
                pump(socket, self.outbox, Keepalive::default(), &mut hooks).await;
            }
        }
    }

    /// Telemetry sockets do not say who they are. Where a listener asks, one is believed that comes
    /// from the address of a session that is in.
    fn is_known(&self, peer: SocketAddr) -> bool {
        let there = || self.shared.bus.workers();
        self.terms.access.is_none() || there().iter().any(|worker| worker.peer == Some(peer.ip()))
    }

    /// One end of a channel: whoever knows its key may have it, once.
    async fn serve_channel(self, socket: WebSocketStream<TcpStream>, taken: Taken) {
        if let Err(error) = channel::keep_alive(socket.get_ref()) {
            tracing::debug!(%error, "TCP keep-alive cannot be set");
        }
        match taken {
            Taken::End(TakenEnd::Reader(reader), _leave) => {
                channel::drain(socket, reader, &self.stop).await;
            }
            Taken::End(TakenEnd::Writer(writer), _leave) => {
                channel::feed(socket, writer, &self.stop).await;
            }
            Taken::Already | Taken::Unknown => channel::refuse(socket).await,
        }
    }

    /// Asks the listener's authentication function, if it has one.
    async fn ask(&self, mut visitor: Visitor, peer: SocketAddr) -> Result<Guest, ErrorBody> {
        let Some(access) = &self.terms.access else {
            return Ok(None);
        };
        visitor.ip_address = peer.ip().to_string();
        let rules = access.authenticate(&visitor).await?;
        Ok(Some((Arc::clone(access), rules)))
    }

    async fn serve_v2(self, socket: WebSocketStream<TcpStream>, asked: Asked, peer: SocketAddr) {
        let guest = match self.ask(asked.visitor, peer).await {
            Ok(guest) => guest,
            Err(refusal) => return self.refuse(socket, refusal, write_v2).await,
        };
        let bytes_max = self.terms.gate.bytes_max(asked.trusted);
        let mut session = V2::new(
            self.shared.bus,
            Arc::clone(&self.outbox),
            Arc::clone(&self.terms.gate),
            asked.trusted,
            guest,
            peer.ip(),
            asked.instance,
        );
        let late = Arc::clone(&self.outbox);
        // A worker that never says hello is shown out; one that has is not disturbed, because its
        // outbox is marked by then.
        let patience = self.terms.patience;
        let watchdog = tokio::spawn(async move {
            tokio::time::sleep(patience).await;
            late.close_unless_opened(Close {
                code: 1002,
                reason: format!("no hello in {} s", patience.as_secs_f32()).into(),
            });
        });
        let socket = ours(socket, bytes_max);
        pump(socket, self.outbox, Keepalive::default(), &mut session).await;
        watchdog.abort();
    }

    /// Tells a client why it may not come in, and closes. Nothing it says is heard. Clients of the
    /// JSON dialect retry after a close but not after an HTTP error, so they are let in for this.
    async fn refuse(
        self,
        socket: WebSocketStream<TcpStream>,
        refusal: ErrorBody,
        write: fn(&ErrorBody) -> Message,
    ) {
        self.outbox.write_first(&write(&refusal));
        self.outbox.close(Close {
            code: 1008,
            reason: "unauthenticated".into(),
        });
        let socket = ours(socket, self.terms.gate.bytes_max(false));
        pump(socket, self.outbox, Keepalive::default(), &mut Refuse).await;
    }
}

fn write_v2(refusal: &ErrorBody) -> Message {
    let bytes = v2::encode(&Frame::Fault(refusal.clone()));
    Message::Binary(bytes.expect("an error without a call always has a form"))
}

/// The JSON dialect's word for "no".
fn write_iii(refusal: &ErrorBody) -> Message {
    let error = serde_json::json!({ "code": "AUTH_ERROR", "message": refusal.message });
    let message = serde_json::json!({ "type": "error", "error": error });
    Message::Text(message.to_string().into())
}

/// The socket after its handshake, as sessions have it. Nothing has been read since: a client
/// speaks after its answer.
fn ours(socket: WebSocketStream<TcpStream>, bytes_max: usize) -> Socket<SharedTcp> {
    Socket::server(socket.into_inner(), bytes_max)
}

/// Takes telemetry of SDKs that send it on a connection of its own; `None` forgets it.
struct Swallow(Option<Telemetry>);

impl Hooks for Swallow {
    fn received(&mut self, message: Incoming<'_>) {
        if let (Some(telemetry), Some((prefix, body))) = (&self.0, observe::frame(&message)) {
            telemetry.ingest(prefix, body, None);
        }
    }

    fn ended(&mut self, _: &agentos_wire::Ended) {}
}

/// Hears nothing.
struct Refuse;

impl Hooks for Refuse {
    fn received(&mut self, _: Incoming<'_>) {}

    fn ended(&mut self, _: &agentos_wire::Ended) {}
}

/// The answer to a client that waits for one it will not get.
pub(crate) fn unauthenticated(token_given: bool) -> ErrorBody {
    let what = if token_given {
        "the token is wrong"
    } else {
        "no token was given"
    };
    ErrorBody::caller(
        Code::Unauthenticated,
        format!(
            "{what}; `agentos token` prints the right one, send it as `Authorization: Bearer TOKEN` or `?token=TOKEN`"
        ),
    )
}
