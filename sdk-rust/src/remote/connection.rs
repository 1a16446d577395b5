//! Makes the connection, and makes it again.

use std::{sync::Arc, time::Duration};

use agentos_protocol::{
    CallRef, Code, ErrorBody, Frame,
    codec::{
        CLOSE_STOP, Draft, MESSAGE_BYTES_MAX, SUBPROTOCOL,
        v2::{
            self, done,
            parts::{self, Assembly},
        },
    },
};
use agentos_wire::{Ended, Hooks, Incoming, Keepalive, Kind, Outbox, Socket, Stream, pump};
use tokio::sync::watch;
use tokio_tungstenite::tungstenite::{self, client::IntoClientRequest, http::HeaderValue};
use tokio_util::sync::CancellationToken;

use super::{Limit, Options};
use crate::{Peer, retry::jittered};

/// How long one attempt to connect may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// First wait between attempts; doubles up to [`BACKOFF_MAX`], with jitter.
const BACKOFF_FIRST: Duration = Duration::from_millis(50);
const BACKOFF_MAX: Duration = Duration::from_secs(5);

/// Largest message of the engine that is taken: a largest one of another worker, and what the
/// engine adds to say who calls.
const INCOMING_BYTES_MAX: usize = MESSAGE_BYTES_MAX + (64 << 10);

/// Where a client's connection stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum State {
    Connecting,
    /// The engine has welcomed the session.
    Connected,
    /// The connection is gone and will be made again.
    Disconnected,
    /// The engine refused the token. Tried again, since the token may be set right meanwhile.
    Refused,
    Closed,
}

pub(super) struct Connection {
    options: Options,
    peer: Peer,
    outbox: Arc<Outbox>,
    limit: Arc<Limit>,
    state: watch::Sender<(State, String)>,
    stop: CancellationToken,
}

impl Connection {
    pub(super) fn new(
        options: Options,
        peer: Peer,
        outbox: Arc<Outbox>,
        limit: Arc<Limit>,
        state: watch::Sender<(State, String)>,
        stop: CancellationToken,
    ) -> Self {
        Connection {
            options,
            peer,
            outbox,
            limit,
            state,
            stop,
        }
    }

    pub(super) async fn run(self) {
        let mut wait = BACKOFF_FIRST;
        loop {
            tokio::select! {
                biased;
                welcomed = self.session() => if welcomed {
                    wait = BACKOFF_FIRST;
                },
                () = self.drained() => break,
            }
            if self.stop.is_cancelled() {
                break;
            }
            tokio::select! {
                () = tokio::time::sleep(jittered(wait)) => {}
                () = self.stop.cancelled() => break,
            }
            wait = (wait * 2).min(BACKOFF_MAX);
        }
        self.outbox.abandon();
        self.peer.lost(|_| false, "the client is closed");
        self.say(State::Closed, "closed");
    }

    /// Resolves some time after the client was stopped: the pump ends by itself once the outbox
    /// is empty, unless the engine does not read.
    async fn drained(&self) {
        self.stop.cancelled().await;
        tokio::time::sleep(Duration::from_secs(3)).await;
    }

    /// One connection from start to end; true when the engine had welcomed it.
    async fn session(&self) -> bool {
        let url = self.options.resolved_url();
        let socket = tokio::select! {
            socket = self.connect(&url) => socket,
            () = self.stop.cancelled() => return false,
        };
        let socket = match socket {
            Ok(socket) => socket,
            Err(why) => {
                tracing::debug!(%url, %why, "no connection");
                self.say(
                    State::Disconnected,
                    &format!("no connection to {url}: {why}"),
                );
                return false;
            }
        };
        // What was meant for an earlier connection means nothing to this one.
        self.outbox.remove(|frame| !matches!(frame, Frame::Call(_)));
        let hello = self.options.hello();
        self.outbox.push_first(vec![
            Frame::Hello(Box::new(hello)),
            Frame::Register(Box::new(self.peer.replay())),
        ]);
        let mut hooks = Session {
            connection: self,
            url: &url,
            welcomed: false,
            refused: None,
            assembly: Assembly::new(INCOMING_BYTES_MAX),
        };
        pump(
            socket,
            Arc::clone(&self.outbox),
            Keepalive::default(),
            &mut hooks,
        )
        .await;
        hooks.welcomed
    }

    async fn connect(&self, url: &str) -> Result<Socket<Stream>, String> {
        let mut request = url
            .into_client_request()
            .map_err(|error| format!("{error}"))?;
        request.headers_mut().insert(
            "sec-websocket-protocol",
            HeaderValue::from_static(SUBPROTOCOL),
        );
        if let Some(token) = self.options.resolved_token(url) {
            let bearer = HeaderValue::from_str(&format!("Bearer {token}"))
                .map_err(|_| "the token has characters that no token has".to_owned())?;
            request.headers_mut().insert("authorization", bearer);
        }
        let attempt = agentos_wire::connect(request, INCOMING_BYTES_MAX);
        match tokio::time::timeout(CONNECT_TIMEOUT, attempt).await {
            Ok(Ok(socket)) => Ok(socket),
            Ok(Err(tungstenite::Error::Http(response))) => {
                let body = response
                    .body()
                    .as_deref()
                    .map(String::from_utf8_lossy)
                    .unwrap_or_default();
                Err(format!("the engine answered {} {body}", response.status()))
            }
            Ok(Err(error)) => Err(error.to_string()),
            Err(_) => Err("no answer in 10 s".to_owned()),
        }
    }

    fn say(&self, state: State, message: &str) {
        self.state.send_replace((state, message.to_owned()));
    }
}

struct Session<'a> {
    connection: &'a Connection,
    url: &'a str,
    welcomed: bool,
    refused: Option<ErrorBody>,
    /// Large messages of which not all parts have come.
    assembly: Assembly,
}

impl Hooks for Session<'_> {
    fn received(&mut self, message: Incoming<'_>) {
        if message.kind != Kind::Binary {
            return;
        }
        let whole = if parts::is_part(message.bytes()) {
            match self.assembly.add(message.bytes()) {
                Ok(whole) => whole,
                Err(error) => {
                    tracing::warn!(%error, "the engine sent a part that fits nowhere");
                    None
                }
            }
        } else {
            Some(message.to_bytes())
        };
        let Some(whole) = whole else { return };
        match v2::decode(&whole) {
            Ok(Frame::Welcome(welcome)) => {
                self.welcomed = true;
                let knows = |name| welcome.features.iter().any(|feature| feature == name);
                if knows(done::FEATURE) {
                    self.connection.outbox.collect_done();
                }
                let bytes_max = usize::try_from(welcome.message_bytes_max).unwrap_or(usize::MAX);
                self.connection.limit.set(bytes_max);
                if knows(parts::FEATURE) {
                    self.connection.outbox.divide(bytes_max);
                }
                self.connection.say(State::Connected, self.url);
            }
            Ok(Frame::Fault(error))
                if error.code == Code::Unauthenticated || error.code == Code::Forbidden =>
            {
                self.refused = Some(error);
            }
            Ok(frame) => self.connection.peer.on_frame(frame),
            Err(error) => tracing::warn!(%error, "the engine sent a frame that cannot be read"),
        }
    }

    fn encode(&mut self, frame: Frame, out: &mut Draft) -> Option<Kind> {
        match v2::write(&frame, out) {
            Ok(()) => Some(Kind::Binary),
            Err(error) => {
                tracing::warn!(%error, "a frame cannot be sent");
                if let Frame::Call(call) = frame {
                    let outcome = Err(error);
                    if let Some(reference) = call.call {
                        self.connection.peer.on_frame(Frame::Reply {
                            call: reference,
                            function: call.function,
                            outcome,
                        });
                    }
                }
                None
            }
        }
    }

    fn ended(&mut self, ended: &Ended) {
        let Connection {
            peer, outbox, stop, ..
        } = self.connection;
        let why = describe(ended);
        let unsent = |number| {
            outbox.any(|frame| matches!(frame, Frame::Call(call) if call.call == Some(CallRef::Number(number))))
        };
        peer.lost(
            unsent,
            &format!("the connection to the engine was lost while the call was in flight: {why}"),
        );
        if matches!(ended, Ended::ByPeer(Some(CLOSE_STOP))) {
            tracing::info!(
                url = self.url,
                "the engine has taken the worker out for good"
            );
            stop.cancel();
        }
        if let Some(error) = self.refused.take() {
            self.connection.say(State::Refused, &error.message);
        } else if !stop.is_cancelled() {
            tracing::info!(%why, url = self.url, "connection lost, connecting again");
            self.connection.say(State::Disconnected, &why);
        }
    }
}

fn describe(ended: &Ended) -> String {
    match ended {
        Ended::ByPeer(Some(code)) => format!("the engine closed it with code {code}"),
        Ended::ByPeer(None) => "the engine closed it".to_owned(),
        Ended::ByUs(close) => close.reason.to_string(),
        Ended::TooLarge(why) | Ended::Broken(why) | Ended::Faulty(_, why) => why.clone(),
        Ended::Silent => "no sign of life from the engine".to_owned(),
    }
}
