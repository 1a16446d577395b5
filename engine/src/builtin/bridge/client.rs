//! A client of another engine that speaks the JSON dialect: one connection, made again when it is
//! lost. It is a worker's end of a session like any other; only the words are those of iii.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use agentos_protocol::{
    CallRef, Code, ErrorBody, Frame,
    codec::{Draft, MESSAGE_BYTES_MAX},
};
use agentos_sdk::{Bus, Error, Link, Payload, Peer, Registrar, Stop, Trace};
use agentos_wire::{
    Close, Ended, Hooks, Incoming, Keepalive, Kind, Limits, Outbox, Refusal, Refused, Socket,
    Stream, pump,
};
use bytes::Bytes;
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::{
    self,
    client::IntoClientRequest,
    http::{HeaderValue, header::AUTHORIZATION},
};

use super::words::{News, Words};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// First wait between attempts; doubles up to [`BACKOFF_MAX`], with jitter.
const BACKOFF_FIRST: Duration = Duration::from_millis(250);
const BACKOFF_MAX: Duration = Duration::from_secs(30);
/// How long the other engine may take to hear a goodbye.
const GOODBYE_TIMEOUT: Duration = Duration::from_secs(1);
/// Calls and answers that may wait for the connection; more are `overloaded`.
const WAITING: Limits = Limits {
    frames_max: 4_096,
    bytes_max: MESSAGE_BYTES_MAX,
};

/// The reason of errors that are the bridge's own.
pub(super) const BRIDGE_ERROR: &str = "bridge_error";

/// How to get in.
#[derive(Clone)]
pub(super) struct Door {
    pub(super) url: String,
    pub(super) token: Option<String>,
    /// What we are called: id and name of a service.
    pub(super) service: Option<(String, String)>,
}

/// Another engine, reachable or not.
pub struct Remote {
    door: Door,
    peer: Peer,
    bus: Bus,
    outbox: Arc<Outbox>,
    words: Words,
    connected: AtomicBool,
    /// With which an earlier connection is retired.
    earlier: Mutex<Option<(String, String)>>,
}

/// What goes beside a payload.
#[derive(Default)]
pub struct Beside {
    pub trace: Trace,
    pub metadata: Option<Arc<str>>,
    pub namespace: Option<Arc<str>>,
}

impl Remote {
    pub(super) fn new(door: Door) -> Arc<Self> {
        let outbox = Arc::new(Outbox::new(WAITING));
        let peer = Peer::new();
        peer.attach(Arc::new(ToOutbox(Arc::clone(&outbox))));
        Arc::new(Remote {
            door,
            bus: Bus::new(peer.clone()),
            peer,
            outbox,
            words: Words::new(uuid::Uuid::new_v4().as_u64_pair().0),
            connected: AtomicBool::new(false),
            earlier: Mutex::default(),
        })
    }

    /// Calls a function of the other engine. A call that is made while there is no connection waits
    /// for one.
    ///
    /// # Errors
    /// The function's, under its own name; `bridge_error` when the other engine cannot be asked.
    pub async fn call(
        &self,
        function: &str,
        payload: Payload,
        timeout: Duration,
        beside: Beside,
    ) -> Result<Payload, Error> {
        let bus = self.bus.with_trace(beside.trace);
        let mut call = bus
            .call(function)
            .namespace(beside.namespace)
            .timeout(timeout);
        if let Some(metadata) = beside.metadata {
            call = call.metadata(metadata);
        }
        tokio::time::timeout(timeout, call.send_payload(payload))
            .await
            .unwrap_or_else(|_| Err(self.silent(function, timeout)))
    }

    /// Calls a function of the other engine and does not wait.
    ///
    /// # Errors
    /// `bridge_error` when too much waits for the connection.
    pub fn send(&self, function: &str, payload: Payload, beside: Beside) -> Result<(), Error> {
        let bus = self.bus.with_trace(beside.trace);
        let call = bus.call(function).namespace(beside.namespace);
        call.void_payload(payload)
    }

    fn silent(&self, function: &str, timeout: Duration) -> Error {
        let ms = timeout.as_millis();
        let error = if self.connected.load(Ordering::Relaxed) {
            let message =
                format!("the other engine did not answer the call of `{function}` within {ms} ms");
            Error::engine(Code::Timeout, message)
        } else {
            let message = format!("there was no connection to the other engine within {ms} ms");
            Error::engine(Code::Unavailable, message)
        };
        error.reason(BRIDGE_ERROR)
    }

    /// Offers what `registrar` holds to the other engine, now and on each connection.
    pub(super) async fn offer(&self, registrar: Registrar) -> Result<(), Error> {
        // This dialect confirms nothing, so what was handed over counts as confirmed.
        let confirm = async {
            let registers = self
                .outbox
                .remove(|frame| matches!(frame, Frame::Register(_)));
            for frame in registers {
                if let Frame::Register(register) = frame {
                    self.confirm(register.request);
                }
            }
        };
        let (registered, ()) = tokio::join!(self.peer.register(registrar), confirm);
        registered
    }

    fn confirm(&self, request: u64) {
        self.peer.on_frame(Frame::Registered {
            request,
            rejected: Vec::new(),
        });
    }

    /// Keeps the connection until `stop`.
    pub(super) async fn run(&self, stop: Stop) {
        let mut wait = BACKOFF_FIRST;
        loop {
            let goodbye = async {
                stop.cancelled().await;
                self.outbox.close(Close {
                    code: 1000,
                    reason: "the engine is stopping".into(),
                });
                tokio::time::sleep(GOODBYE_TIMEOUT).await;
            };
            tokio::select! {
                biased;
                welcomed = self.session(&stop) => if welcomed {
                    wait = BACKOFF_FIRST;
                },
                () = goodbye => break,
            }
            if stop
                .run_until_cancelled(tokio::time::sleep(jittered(wait)))
                .await
                .is_none()
            {
                break;
            }
            wait = (wait * 2).min(BACKOFF_MAX);
        }
        self.outbox.abandon();
        self.peer.lost(|_| false, "the bridge is closed");
    }

    /// One connection from start to end; true when the other engine spoke.
    async fn session(&self, stop: &Stop) -> bool {
        let connecting = Box::pin(self.connect());
        let Some(connected) = stop.run_until_cancelled(connecting).await else {
            return false;
        };
        let mut socket = match connected {
            Ok(socket) => socket,
            Err(why) => {
                tracing::warn!(url = self.shown_url(), %why, "the bridge has no connection");
                return false;
            }
        };
        // What was meant for an earlier connection means nothing to this one.
        self.outbox.remove(|frame| !matches!(frame, Frame::Call(_)));
        let register = self.peer.replay();
        self.confirm(register.request);
        self.outbox
            .push_first(self.words.introduction(register, &self.name()));
        self.say_first(&mut socket);
        let mut hooks = Session {
            remote: self,
            welcomed: false,
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

    /// What no frame says: that an earlier connection is over, and what service this is.
    fn say_first(&self, socket: &mut Socket<Stream>) {
        let mut first = Vec::new();
        if let Some((worker, token)) = self.earlier.lock().take() {
            first.push(json!({ "type": "reattach", "previous_worker_id": worker, "reattach_token": token }));
        }
        if let Some((id, name)) = &self.door.service {
            first.push(json!({ "type": "registerservice", "id": id, "name": name }));
        }
        for message in first {
            socket.say_first(&message.to_string());
        }
    }

    async fn connect(&self) -> Result<Socket<Stream>, String> {
        let url = self.door.url.as_str();
        let mut request = url
            .into_client_request()
            .map_err(|error| error.to_string())?;
        if let Some(token) = &self.door.token {
            let mut bearer = HeaderValue::from_str(&format!("Bearer {token}"))
                .map_err(|_| "the token has characters that no token has".to_owned())?;
            bearer.set_sensitive(true);
            request.headers_mut().insert(AUTHORIZATION, bearer);
        }
        let attempt = agentos_wire::connect(request, MESSAGE_BYTES_MAX);
        match tokio::time::timeout(CONNECT_TIMEOUT, attempt).await {
            Ok(Ok(socket)) => Ok(socket),
            Ok(Err(tungstenite::Error::Http(response))) => {
                Err(format!("the other engine answered {}", response.status()))
            }
            Ok(Err(error)) => Err(error.to_string()),
            Err(_) => Err("no answer in 10 s".to_owned()),
        }
    }

    fn name(&self) -> String {
        let service = self.door.service.as_ref().map(|(id, _)| id.clone());
        service.unwrap_or_else(|| format!("bridge:{}", std::process::id()))
    }

    /// The address without what may be secret in it.
    fn shown_url(&self) -> &str {
        self.door.url.split('?').next().unwrap_or_default()
    }
}

/// The peer's way out.
struct ToOutbox(Arc<Outbox>);

impl Link for ToOutbox {
    fn send(&self, frame: Frame) -> Result<(), ErrorBody> {
        if let Frame::Cancel { call } = &frame {
            // The dialect has no word for it; but what has not been sent need not be.
            self.0.remove(|waiting| matches!(waiting, Frame::Call(waiting) if waiting.call.as_ref() == Some(call)));
            return Ok(());
        }
        self.0.push(frame).map_err(|Refused { why, .. }| {
            let error = match why {
                Refusal::Full => {
                    ErrorBody::engine(Code::Overloaded, "too much waits for the other engine")
                }
                Refusal::Closed => ErrorBody::engine(Code::Unavailable, "the bridge is closed"),
            };
            error.reason(BRIDGE_ERROR)
        })
    }
}

/// One connection's hooks.
struct Session<'a> {
    remote: &'a Remote,
    welcomed: bool,
}

impl Hooks for Session<'_> {
    fn received(&mut self, message: Incoming<'_>) {
        match self.remote.words.read(&message.to_bytes()) {
            Ok(News::Frame(frame)) => self.remote.peer.on_frame(frame),
            Ok(News::Welcome { worker, token }) => {
                self.welcomed = true;
                self.remote.connected.store(true, Ordering::Relaxed);
                *self.remote.earlier.lock() = token.map(|token| (worker, token));
                tracing::info!(url = self.remote.shown_url(), "the bridge is connected");
            }
            Ok(News::Refused(message)) => {
                tracing::error!(url = self.remote.shown_url(), %message, "the other engine refused the bridge");
            }
            Ok(News::Nothing) => {}
            Err(error) => tracing::warn!(%error, "the other engine sent what cannot be read"),
        }
    }

    fn encode(&mut self, frame: Frame, out: &mut Draft) -> Option<Kind> {
        let text = match self.remote.words.write(&frame) {
            Ok(text) => text,
            Err(error) => self.unsayable(frame, error),
        };
        text.map(|text| {
            out.put(text);
            Kind::Text
        })
    }

    fn ended(&mut self, ended: &Ended) {
        self.remote.connected.store(false, Ordering::Relaxed);
        let why = match ended {
            Ended::ByPeer(Some(code)) => format!("the other engine closed it with code {code}"),
            Ended::ByPeer(None) => "the other engine closed it".to_owned(),
            Ended::ByUs(close) => close.reason.to_string(),
            Ended::TooLarge(why) | Ended::Broken(why) | Ended::Faulty(_, why) => why.clone(),
            Ended::Silent => "no sign of life".to_owned(),
        };
        tracing::warn!(url = self.remote.shown_url(), %why, "the bridge lost its connection");
        let outbox = &self.remote.outbox;
        let unsent = |number| {
            outbox.any(|frame| matches!(frame, Frame::Call(call) if call.call == Some(CallRef::Number(number))))
        };
        let message = format!(
            "the connection to the other engine was lost while the call was in flight: {why}"
        );
        self.remote.peer.lost(unsent, &message);
    }
}

impl Session<'_> {
    /// A payload that is not JSON: whoever waits hears of it.
    fn unsayable(&mut self, frame: Frame, error: ErrorBody) -> Option<Bytes> {
        match frame {
            Frame::Call(call) => {
                let function = call.function;
                if let Some(call) = call.call {
                    let outcome = Err(error);
                    self.remote.peer.on_frame(Frame::Reply {
                        call,
                        function,
                        outcome,
                    });
                }
                None
            }
            Frame::Reply {
                call,
                function,
                outcome: Ok(_),
            } => {
                let outcome = Err(error);
                let text = self.remote.words.write(&Frame::Reply {
                    call,
                    function,
                    outcome,
                });
                text.ok().flatten()
            }
            _ => None,
        }
    }
}

/// Between a half and the whole of `wait`, so that many bridges do not come back at once.
fn jittered(wait: Duration) -> Duration {
    wait.mul_f64(0.5 + fastrand::f64() / 2.0)
}

/// An address to connect to.
///
/// # Errors
/// Why it is none.
pub(super) fn check_url(url: &str) -> Result<(), String> {
    let uri: Result<hyper::Uri, _> = url.parse();
    let good =
        uri.is_ok_and(|uri| matches!(uri.scheme_str(), Some("ws" | "wss")) && uri.host().is_some());
    if good {
        return Ok(());
    }
    Err("url: it must be like `ws://host:49134`".to_owned())
}

/// JSON `null` for no payload at all.
pub(super) fn encode(value: &Value) -> Payload {
    Payload::encode(value).expect("a JSON value has a JSON form")
}
