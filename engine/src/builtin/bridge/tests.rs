//! Two engines in one process, joined by a real socket.

use std::net::SocketAddr;

use agentos_core::policy::Trust;
use agentos_sdk::Code;
use parking_lot::Mutex;
use tokio::{sync::oneshot, task::JoinHandle};
use tokio_util::sync::CancellationToken;

use super::*;
use crate::{
    Bus as Engine,
    builtin::{
        live::Live,
        observe::{self, Observe},
    },
    channel::{self, Channels},
    config::{self, Auth},
    listener::{Bounds, Gate, Listener, Terms},
    session::{IiiShared, LocalSession},
};

const TOKEN: &str = "open sesame";
const PATIENCE: Duration = Duration::from_secs(20);

/// A worker made of what a test wants it to offer; hands out its bus.
struct Guest {
    offers: fn(&mut Registrar),
    bus: Mutex<Option<oneshot::Sender<Bus>>>,
}

#[async_trait]
impl Worker for Guest {
    fn register(self: Arc<Self>, to: &mut Registrar) {
        (self.offers)(to);
    }

    async fn run(self: Arc<Self>, bus: Bus, stop: Stop) -> Result<(), Error> {
        if let Some(tell) = self.bus.lock().take() {
            let _ = tell.send(bus);
        }
        stop.cancelled().await;
        Ok(())
    }
}

struct Side {
    engine: Arc<Engine>,
    bus: Bus,
    sessions: Vec<LocalSession>,
    stop: CancellationToken,
}

impl Side {
    async fn new(offers: fn(&mut Registrar)) -> Side {
        let engine = Engine::new(agentos_core::Limits::default());
        let stop = CancellationToken::new();
        tokio::spawn(Arc::clone(&engine).keep_deadlines(stop.clone()));
        let (tell, bus) = oneshot::channel();
        let guest = Guest {
            offers,
            bus: Mutex::new(Some(tell)),
        };
        let session = LocalSession::open(&engine, "guest", Trust::Worker, Arc::new(guest));
        let session = session.await.unwrap();
        Side {
            engine,
            bus: bus.await.unwrap(),
            sessions: vec![session],
            stop,
        }
    }

    /// Opens the door; gives its address and a way to shut it.
    async fn listen(&self, address: SocketAddr) -> (SocketAddr, CancellationToken, JoinHandle<()>) {
        let door = config::Listener {
            address,
            auth: Auth::Token,
            origins: Vec::new(),
            hosts: Vec::new(),
        };
        let shared = IiiShared {
            bus: Arc::clone(&self.engine),
            grace: Live::new(Duration::from_millis(50)),
            telemetry: Observe::open(observe::Config::default()).1,
            registering: Arc::default(),
        };
        let bounds = Bounds::new(16, agentos_wire::Limits::default());
        let channels = Channels::new(channel::Config::default());
        let terms = Live::new(Terms {
            gate: Arc::new(Gate::new(&door, TOKEN, 1 << 20)),
            access: None,
            patience: PATIENCE,
            conflicts: config::Conflicts::Share,
        });
        let listener = Listener::bind(address, shared, channels, terms, bounds)
            .await
            .unwrap();
        let address = listener.address().unwrap();
        let stop = CancellationToken::new();
        let task = tokio::spawn(listener.run(CancellationToken::new(), stop.clone()));
        (address, stop, task)
    }

    async fn bridge(&mut self, config: Config) {
        let env = |name: &str| (name == "III_TOKEN").then(|| TOKEN.to_owned());
        let bridge = Bridge::open(config, &env).unwrap();
        let session = LocalSession::open(&self.engine, "bridge", Trust::Engine, bridge);
        self.sessions.push(session.await.unwrap());
    }

    async fn close(self) {
        for session in self.sessions.into_iter().rev() {
            session.close(PATIENCE).await;
        }
        self.stop.cancel();
    }
}

fn far(to: &mut Registrar) {
    to.function("math::add", |_: Context, (a, b): (i64, i64)| async move {
        Ok(a + b)
    });
    to.function("far::fail", |_: Context, _: Value| async {
        Err::<(), _>(Error::worker(Code::Failed, "no luck").reason("card_declined"))
    });
    to.function("far::slow", |_: Context, _: Value| async {
        tokio::time::sleep(PATIENCE).await;
        Ok(())
    });
    to.function("far::beside", |context: Context, _: Value| async move {
        Ok(json!([
            context.metadata(),
            context.trace().parent.as_deref()
        ]))
    });
}

fn near(to: &mut Registrar) {
    to.function("near::greet", |_: Context, input: Value| async move {
        Ok(format!(
            "hello {}",
            input["name"].as_str().unwrap_or_default()
        ))
    });
}

fn any_port() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 0))
}

fn config(address: SocketAddr) -> Config {
    let forward = |local: &str, remote: &str, timeout_ms| Forward {
        local_function: local.to_owned(),
        remote_function: remote.to_owned(),
        timeout_ms,
    };
    Config {
        url: Some(format!("ws://{address}")),
        service_id: Some("near".to_owned()),
        expose: vec![Expose {
            local_function: "near::greet".to_owned(),
            remote_function: Some("over::greet".to_owned()),
        }],
        forward: vec![
            forward("add", "math::add", None),
            forward("fail", "far::fail", None),
            forward("slow", "far::slow", Some(300)),
            forward("beside", "far::beside", None),
        ],
        ..Config::default()
    }
}

async fn greet(there: &Side, name: &str) -> Result<String, Error> {
    let input = json!({ "name": name });
    there.bus.trigger("over::greet", &input).await
}

/// Asks until there is an answer: a bridge takes its moment.
async fn until<T>(ask: impl AsyncFn() -> Result<T, Error>) -> T {
    let asking = async {
        loop {
            if let Ok(answer) = ask().await {
                return answer;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(PATIENCE, asking).await.unwrap()
}

#[tokio::test]
async fn functions_are_called_both_ways() {
    let (there, mut here) = (Side::new(far).await, Side::new(near).await);
    let (address, ..) = there.listen(any_port()).await;
    here.bridge(config(address)).await;
    // Made before there is a connection, it waits for one.
    assert_eq!(here.bus.trigger::<i64>("add", &(2, 3)).await.unwrap(), 5);
    let greeting: String = until(async || greet(&there, "Ada").await).await;
    assert_eq!(greeting, "hello Ada");
    // The function's own error passes; so do side-car and trace.
    let error = here
        .bus
        .trigger::<Value>("fail", &json!({}))
        .await
        .unwrap_err();
    assert_eq!(
        (error.reason.as_deref(), error.message.as_str()),
        (Some("card_declined"), "no luck")
    );
    let parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let traced = here.bus.with_trace(agentos_sdk::Trace {
        parent: Some(parent.into()),
        baggage: None,
    });
    let beside: Value = traced
        .call("beside")
        .metadata(r#"{"m":1}"#)
        .send(&json!({}))
        .await
        .unwrap();
    assert_eq!(beside, json!([r#"{"m":1}"#, parent]));
    let error = here
        .bus
        .trigger::<Value>("slow", &json!({}))
        .await
        .unwrap_err();
    assert_eq!(
        (error.code, error.reason.as_deref()),
        (Code::Timeout, Some("bridge_error"))
    );
    let binary = Payload::binary(vec![0xff]);
    let error = here.bus.call("add").send_payload(binary).await.unwrap_err();
    assert_eq!(error.code, Code::Unsupported, "{error}");
    here.close().await;
    let error = there
        .bus
        .trigger::<Value>("over::greet", &json!({}))
        .await
        .unwrap_err();
    assert_eq!(
        error.code,
        Code::NotFound,
        "a bridge that is gone offers nothing"
    );
    there.close().await;
}

#[tokio::test]
async fn any_function_can_be_invoked() {
    let (there, mut here) = (Side::new(far).await, Side::new(near).await);
    let (address, ..) = there.listen(any_port()).await;
    here.bridge(config(address)).await;
    let invoke = |input: Value| {
        let bus = here.bus.clone();
        async move { bus.trigger::<Value>("bridge.invoke", &input).await }
    };
    assert_eq!(
        invoke(json!({"function_id": "math::add", "data": [4, 5]}))
            .await
            .unwrap(),
        9
    );
    let cases = [
        (
            json!({"function_id": "far::fail"}),
            Code::Failed,
            "card_declined",
        ),
        (
            json!({"function_id": "far::gone"}),
            Code::NotFound,
            "not_found",
        ),
        (
            json!({"function_id": "far::slow", "timeout_ms": 100}),
            Code::Timeout,
            "bridge_error",
        ),
    ];
    for (input, code, was) in cases {
        let error = invoke(input.clone()).await.unwrap_err();
        assert_eq!(
            (error.code, error.reason.as_deref()),
            (code, Some("bridge_error")),
            "{input}: {error}"
        );
        assert_eq!(error.details.unwrap()["code"], was, "{input}");
    }
    let sent: Value = here
        .bus
        .trigger(
            "bridge.invoke_async",
            &json!({"function_id": "over::greet", "data": {}}),
        )
        .await
        .unwrap();
    assert_eq!(sent, Value::Null);
}

#[tokio::test]
async fn a_lost_connection_is_made_again() {
    let (there, mut here) = (Side::new(far).await, Side::new(near).await);
    let (address, shut, closed) = there.listen(any_port()).await;
    here.bridge(config(address)).await;
    assert_eq!(here.bus.trigger::<i64>("add", &(2, 3)).await.unwrap(), 5);
    let bus = here.bus.clone();
    let waiting = tokio::spawn(async move {
        bus.trigger::<Value>("bridge.invoke", &json!({"function_id": "far::slow"}))
            .await
    });
    until(async || {
        let calls = there.engine.calls_in_flight();
        (calls > 0)
            .then_some(())
            .ok_or_else(|| Error::engine(Code::Internal, "not yet"))
    })
    .await;
    shut.cancel();
    there
        .engine
        .close_all(&Error::engine(Code::Unavailable, "the engine is stopping"));
    closed.await.unwrap();
    // What was in flight fails at once, not at its deadline.
    let error = tokio::time::timeout(Duration::from_secs(5), waiting)
        .await
        .unwrap()
        .unwrap()
        .unwrap_err();
    assert_eq!(error.code, Code::Unavailable, "{error}");
    let there = Side::new(far).await;
    let _door = there.listen(address).await;
    assert_eq!(here.bus.trigger::<i64>("add", &(2, 3)).await.unwrap(), 5);
    let greeting: String = until(async || greet(&there, "Bob").await).await;
    assert_eq!(greeting, "hello Bob");
}

#[tokio::test]
async fn nobody_over_there() {
    let mut here = Side::new(near).await;
    let free = tokio::net::TcpListener::bind(any_port()).await.unwrap();
    let address = free.local_addr().unwrap();
    drop(free);
    here.bridge(config(address)).await;
    let error = here
        .bus
        .trigger::<Value>("slow", &json!({}))
        .await
        .unwrap_err();
    assert_eq!(
        (error.code, error.reason.as_deref()),
        (Code::Unavailable, Some("bridge_error"))
    );
    assert!(error.message.contains("no connection"), "{error}");
    here.close().await;
}

#[tokio::test]
async fn a_secure_address_is_spoken_to_in_tls() {
    let mut here = Side::new(near).await;
    let door = tokio::net::TcpListener::bind(any_port()).await.unwrap();
    let secure = Config {
        url: Some(format!("wss://{}", door.local_addr().unwrap())),
        ..Config::default()
    };
    here.bridge(secure).await;
    let mut first = [0; 2];
    let heard = async {
        let (mut socket, _) = door.accept().await.unwrap();
        tokio::io::AsyncReadExt::read_exact(&mut socket, &mut first)
            .await
            .unwrap();
    };
    tokio::time::timeout(PATIENCE, heard).await.unwrap();
    assert_eq!(first, [0x16, 0x03], "a TLS record of a handshake");
    here.close().await;
}

#[test]
fn settings_that_cannot_be() {
    let open = |config: Config, env: &dyn Fn(&str) -> Option<String>| {
        Bridge::open(config, env).err().unwrap_or_default()
    };
    let nothing = |_: &str| None;
    assert!(open(Config::default(), &nothing).contains("III_URL"));
    assert_eq!(
        open(Config::default(), &|name| (name == "III_URL")
            .then(|| "wss://far:1".to_owned())),
        ""
    );
    let at = |url: &str| Config {
        url: Some(url.to_owned()),
        ..Config::default()
    };
    for url in ["http://far", "far:49134", "", "ws://"] {
        assert!(open(at(url), &nothing).starts_with("url"), "{url}");
    }
    let forward = Forward {
        local_function: "a".to_owned(),
        remote_function: "b".to_owned(),
        timeout_ms: None,
    };
    let twice = Config {
        forward: vec![forward.clone(), forward],
        ..at("ws://far")
    };
    assert!(open(twice, &nothing).contains("`a` is named twice"));
    let empty = Config {
        expose: vec![Expose {
            local_function: String::new(),
            remote_function: None,
        }],
        ..at("ws://far")
    };
    assert!(open(empty, &nothing).contains("has an id"));
}
