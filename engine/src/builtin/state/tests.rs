//! The worker as its callers see it: over frames, with a store in memory and a clock of our own.

use std::sync::atomic::{AtomicU64, Ordering};

use agentos_sdk::{Link, Peer, protocol::Frame};
use serde_json::{Value, json};

use super::*;
use crate::storage::memory;

mod concurrency;
mod events;
mod functions;
mod history;
mod model;
mod terms;
mod transaction;

/// Where the tests' clock begins.
const START_MS: u64 = 1_000_000;

/// `state` and a caller, joined back to back.
struct Rig {
    state: Arc<State>,
    /// The caller's; what the caller offers, `state` can call.
    bus: Bus,
    caller: Peer,
    worker: Peer,
    clock: Arc<AtomicU64>,
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
        let clock = Arc::new(AtomicU64::new(START_MS));
        let read = Arc::clone(&clock);
        let clock_fn: Clock = Arc::new(move || read.load(Ordering::Relaxed));
        let state = State::with_clock(memory::open(), config, clock_fn);
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
        Arc::clone(&state).register(&mut registrar);
        worker.register(registrar).await.unwrap();
        Rig {
            state,
            bus: Bus::new(caller.clone()),
            caller,
            worker,
            clock,
        }
    }

    async fn call(&self, function: &str, mut input: Value) -> Result<Value, Error> {
        if let Some(input) = input.as_object_mut()
            && [api::SET, api::UPDATE].contains(&function)
        {
            input.insert("versioned".to_owned(), true.into());
        }
        self.bus.trigger(function, &input).await
    }

    /// Calls and expects this result, but for `version`, which is returned.
    async fn check(&self, function: &str, input: Value, mut expected: Value) -> u64 {
        let result = self.call(function, input.clone()).await.unwrap();
        let version = result["version"].as_u64().unwrap_or_default();
        if let (Some(expected), Some(result)) = (expected.as_object_mut(), result.as_object())
            && result.contains_key("old_value")
        {
            expected.insert("version".to_owned(), version.into());
        }
        assert_eq!(result, expected, "{function} {input}");
        version
    }

    /// Calls and expects this code, reason and beginning of the message.
    async fn refuse(&self, function: &str, input: Value, code: Code, reason: &str, message: &str) {
        let error = self.call(function, input.clone()).await.unwrap_err();
        let found = (error.code, error.reason.as_deref().unwrap_or_default());
        assert_eq!(found, (code, reason), "{function} {input}: {error}");
        assert!(
            error.message.contains(message),
            "{function} {input}: {error}"
        );
    }

    async fn set(&self, key: &str, value: Value) -> u64 {
        let input = json!({"scope": "s", "key": key, "value": value});
        self.call(api::SET, input).await.unwrap()["version"]
            .as_u64()
            .unwrap()
    }

    async fn get(&self, key: &str) -> Value {
        self.call(api::GET, json!({"scope": "s", "key": key}))
            .await
            .unwrap()
    }

    fn pass_ms(&self, ms: u64) {
        self.clock.fetch_add(ms, Ordering::Relaxed);
    }
}
