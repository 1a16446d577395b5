//! The worker as its callers see it: over frames, with a store in memory and a clock that stands.

use std::time::Duration;

use agentos_sdk::{
    Code, Link, Peer, TriggerSpec,
    protocol::{BindTrigger, Frame},
};
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::sync::mpsc;

use super::*;
use crate::storage::memory;

mod concurrency;
mod events;
mod functions;
mod model;
mod providers;

/// What the tests' clock says.
const NOW_MS: u64 = 1_781_000_000_000;

/// How long anything may take that should take a moment.
const PATIENCE: Duration = Duration::from_secs(10);

/// `stream` and a caller, joined back to back.
struct Rig {
    /// The caller's; what the caller offers, `stream` can call.
    bus: Bus,
    caller: Peer,
    worker: Peer,
    offered: Arc<Mutex<Vec<String>>>,
}

/// Hands every frame to the other end; registrations are confirmed at once.
struct Wire {
    own: Peer,
    other: Peer,
}

impl Link for Wire {
    fn send(&self, frame: Frame) -> Result<(), Error> {
        match frame {
            Frame::Register(register) => {
                let request = register.request;
                self.own.on_frame(Frame::Registered {
                    request,
                    rejected: Vec::new(),
                });
            }
            frame => self.other.on_frame(frame),
        }
        Ok(())
    }
}

impl Rig {
    async fn new() -> Rig {
        Rig::with(Config::default()).await
    }

    async fn with(config: Config) -> Rig {
        Rig::on(memory::open(), config).await
    }

    async fn on(store: Arc<dyn Storage>, config: Config) -> Rig {
        let offered: Arc<Mutex<Vec<String>>> = Arc::default();
        let known = Arc::clone(&offered);
        let is_offered: Offered = Arc::new(move |id| known.lock().iter().any(|known| known == id));
        let stream = Stream::open(None, config, store, is_offered, Arc::new(|| NOW_MS));
        let (caller, worker) = (Peer::new(), Peer::new());
        caller.attach(Arc::new(Wire {
            own: caller.clone(),
            other: worker.clone(),
        }));
        worker.attach(Arc::new(Wire {
            own: worker.clone(),
            other: caller.clone(),
        }));
        let mut registrar = Registrar::new();
        Arc::clone(&stream).register(&mut registrar);
        worker.register(registrar).await.unwrap();
        Rig {
            bus: Bus::new(caller.clone()),
            caller,
            worker,
            offered,
        }
    }

    async fn call(&self, function: &str, input: Value) -> Result<Value, Error> {
        self.bus.trigger(function, &input).await
    }

    /// Calls and expects this result.
    async fn check(&self, function: &str, input: Value, expected: Value) {
        let result = self.call(function, input.clone()).await.unwrap();
        assert_eq!(result, expected, "{function} {input}");
    }

    /// Calls and expects this code, reason and part of the message.
    async fn refuse(&self, function: &str, input: Value, code: Code, reason: &str, message: &str) {
        let error = self.call(function, input.clone()).await.unwrap_err();
        let found = (error.code, error.reason.as_deref().unwrap_or_default());
        assert_eq!(found, (code, reason), "{function} {input}: {error}");
        assert!(
            error.message.contains(message),
            "{function} {input}: {error}"
        );
    }

    /// Lets the caller offer functions.
    async fn offer(&self, registrar: Registrar) {
        let ids = registrar.collected().functions.iter();
        let ids: Vec<String> = ids.map(|spec| spec.id.to_string()).collect();
        self.caller.register(registrar).await.unwrap();
        self.offered.lock().extend(ids);
    }

    /// Binds `test::hear` to what happens.
    async fn listen(&self, config: Value) -> mpsc::Receiver<Value> {
        let (tell, heard) = mpsc::channel(1024);
        let mut registrar = Registrar::new();
        registrar.function("test::hear", move |_, event: Value| {
            let sent = tell.try_send(event);
            async move {
                sent.unwrap();
                Ok(())
            }
        });
        self.offer(registrar).await;
        self.bind("t", config);
        heard
    }

    fn bind(&self, id: &str, config: Value) {
        let spec = TriggerSpec::new(id, api::CHANGED, "test::hear", config);
        self.worker
            .on_frame(Frame::BindTrigger(Box::new(BindTrigger { spec })));
    }
}

/// Names of an item, and more.
fn item(id: &str, more: Value) -> Value {
    let mut input = json!({ "stream_name": "s", "group_id": "g", "item_id": id });
    let Value::Object(more) = more else {
        panic!("more names are in an object");
    };
    input.as_object_mut().unwrap().extend(more);
    input
}

/// What bound functions and clients hear.
fn event(id: Value, event: Value) -> Value {
    json!({ "type": "stream", "timestamp": NOW_MS, "streamName": "s", "groupId": "g", "id": id, "event": event })
}

async fn next(heard: &mut mpsc::Receiver<Value>) -> Value {
    let heard = tokio::time::timeout(PATIENCE, heard.recv()).await;
    heard.expect("something is heard").unwrap()
}

/// Nothing more comes, once everything that runs has had its turn.
async fn silence(heard: &mut mpsc::Receiver<Value>) {
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    assert_eq!(heard.try_recv().ok(), None);
}
