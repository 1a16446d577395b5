//! The worker as its callers see it: over frames, with a store in memory and tokio's own clock,
//! which stands still while anything can be done.

use std::{collections::HashMap, time::Duration};

use agentos_sdk::{
    FunctionSpec, Handler, Invocation, Link, Payload, Peer,
    protocol::{BindTrigger, Call, CallRef, Delivery, Frame, Trace, TriggerSpec},
};
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::{sync::mpsc, time::Instant};

use super::*;
use crate::storage::{Scan, memory};

mod control;
mod dead;
mod enqueue;
mod paging;
mod restart;
mod topics;

/// Where the tests' clock begins.
const START_MS: u64 = 1_000_000;

/// `queue` and a caller, joined back to back.
struct Rig {
    queue: Arc<Queue>,
    bus: Bus,
    caller: Peer,
    worker: Peer,
    stop: Stop,
    began: Instant,
    replies: Arc<Replies>,
}

/// Answers to calls that tests make by hand.
#[derive(Default)]
struct Replies(Mutex<HashMap<CallRef, tokio::sync::oneshot::Sender<Result<Payload, Error>>>>);

/// Hands every frame to the other end, as the engine would; registrations are confirmed at once.
struct Wire {
    own: Peer,
    other: Peer,
    replies: Arc<Replies>,
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
            Frame::Call(call) if call.function.starts_with("missing::") => {
                let error = Error::engine(Code::NotFound, "no worker offers it");
                self.own.on_frame(Frame::Reply {
                    call: call.call.expect("nobody calls these without waiting"),
                    function: call.function,
                    outcome: Err(error),
                });
            }
            Frame::Reply { call, outcome, .. } if self.replies.0.lock().contains_key(&call) => {
                let waiting = self.replies.0.lock().remove(&call);
                let _ = waiting.expect("just seen").send(outcome);
            }
            frame => self.other.on_frame(frame),
        }
        Ok(())
    }
}

/// A call as the function got it.
struct Delivered {
    call: Call,
    at_ms: u64,
}

impl Delivered {
    fn data(&self) -> Value {
        self.call.payload.decode().unwrap()
    }
}

/// Passes every call on to the test, which answers it.
struct Open(mpsc::Sender<Invocation>);

impl Handler for Open {
    fn start(&self, invocation: Invocation) {
        self.0.try_send(invocation).ok().unwrap();
    }
}

impl Rig {
    async fn new() -> Rig {
        Rig::on(memory::open(), Config::default()).await
    }

    /// With these function queues.
    async fn with(queues: Value) -> Rig {
        let config = serde_json::from_value(json!({ "queue_configs": queues })).unwrap();
        Rig::on(memory::open(), config).await
    }

    async fn on(store: Arc<dyn Storage>, config: Config) -> Rig {
        let began = Instant::now();
        Rig::at(store, config, began, START_MS).await
    }

    async fn at(store: Arc<dyn Storage>, config: Config, began: Instant, start_ms: u64) -> Rig {
        let clock: Clock = Arc::new(move || start_ms + began.elapsed().as_millis() as u64);
        let queue = Queue::with_clock(store, config, clock).await.unwrap();
        let (caller, worker) = (Peer::new(), Peer::new());
        let replies = Arc::new(Replies::default());
        for (own, other) in [(&caller, &worker), (&worker, &caller)] {
            own.attach(Arc::new(Wire {
                own: own.clone(),
                other: other.clone(),
                replies: Arc::clone(&replies),
            }));
        }
        let mut registrar = Registrar::new();
        Arc::clone(&queue).register(&mut registrar);
        worker.register(registrar).await.unwrap();
        let stop = Stop::new();
        tokio::spawn(Arc::clone(&queue).run(Bus::new(worker.clone()), stop.clone()));
        Rig {
            queue,
            bus: Bus::new(caller.clone()),
            caller,
            worker,
            stop,
            began,
            replies,
        }
    }

    /// Ends this life of the engine as a crash would: what is under way is not written down.
    fn crash(self) -> Instant {
        self.queue.halt();
        self.queue.queues.shared.stopped.cancel();
        self.stop.cancel();
        self.began
    }

    /// Offers `id`; the test gets every call, and answers.
    async fn offer(&self, id: &str) -> mpsc::Receiver<Invocation> {
        let (tell, heard) = mpsc::channel(1024);
        let mut registrar = Registrar::new();
        registrar.handler(FunctionSpec::new(id), Arc::new(Open(tell)));
        self.caller.register(registrar).await.unwrap();
        heard
    }

    /// Offers `id`, which answers at once as `answer` says of the data.
    async fn answer(
        &self,
        id: &str,
        answer: impl Fn(&Value) -> Result<Value, Error> + Send + Sync + 'static,
    ) -> mpsc::Receiver<Delivered> {
        struct Answer<F>(mpsc::Sender<Delivered>, F, Instant);
        impl<F: Fn(&Value) -> Result<Value, Error> + Send + Sync + 'static> Handler for Answer<F> {
            fn start(&self, invocation: Invocation) {
                let delivered = Delivered {
                    call: invocation.call().clone(),
                    at_ms: self.2.elapsed().as_millis() as u64,
                };
                let outcome = (self.1)(&delivered.data());
                self.0.try_send(delivered).ok().unwrap();
                invocation.reply(outcome.map(|value| Payload::encode(&value).unwrap()));
            }
        }
        let (tell, heard) = mpsc::channel(4096);
        let mut registrar = Registrar::new();
        registrar.handler(
            FunctionSpec::new(id),
            Arc::new(Answer(tell, answer, self.began)),
        );
        self.caller.register(registrar).await.unwrap();
        heard
    }

    async fn call(&self, function: &str, input: Value) -> Result<Value, Error> {
        self.bus.trigger(function, &input).await
    }

    /// Calls and expects this result.
    async fn check(&self, function: &str, input: Value, expected: Value) {
        let result = self.call(function, input.clone()).await;
        assert_eq!(result, Ok(expected), "{function} {input}");
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

    /// The enqueue action; the receipt's id.
    async fn enqueue(&self, queue: &str, function: &str, data: Value) -> Result<String, Error> {
        let call = Call::new(None, function, Payload::encode(&data).unwrap());
        self.enqueue_call(queue, call).await
    }

    async fn enqueue_call(&self, queue: &str, call: Call) -> Result<String, Error> {
        let answer = self.start_enqueue(queue, call);
        let receipt: Value = answer.await.unwrap()?.decode().unwrap();
        let id = receipt["messageReceiptId"].as_str().unwrap();
        Uuid::parse_str(id).unwrap();
        Ok(id.to_owned())
    }

    fn start_enqueue(
        &self,
        queue: &str,
        call: Call,
    ) -> tokio::sync::oneshot::Receiver<Result<Payload, Error>> {
        let reference = CallRef::Uuid(Uuid::new_v4());
        let (tell, answer) = tokio::sync::oneshot::channel();
        self.replies.0.lock().insert(reference.clone(), tell);
        let call = Call {
            call: Some(reference),
            delivery: Delivery::Enqueue(queue.into()),
            ..call
        };
        self.worker.on_frame(Frame::Call(Box::new(call)));
        answer
    }

    fn bind(&self, id: &str, function: &str, config: Value) {
        let spec = TriggerSpec {
            metadata: Some(json!({ "from": id })),
            ..TriggerSpec::new(id, api::TRIGGER_TYPE, function, config)
        };
        self.worker
            .on_frame(Frame::BindTrigger(Box::new(BindTrigger { spec })));
    }

    fn unbind(&self, id: &str) {
        self.worker.on_frame(Frame::UnbindTrigger {
            id: id.into(),
            trigger_type: api::TRIGGER_TYPE.into(),
        });
    }

    async fn publish(&self, topic: &str, data: Value) {
        let input = json!({"topic": topic, "data": data});
        self.check(api::PUBLISH, input, Value::Null).await;
    }

    async fn depth(&self, topic: &str) -> u64 {
        let stats = self.call(api::TOPIC_STATS, json!({ "topic": topic }));
        stats.await.unwrap()["depth"].as_u64().unwrap()
    }

    /// Waits, in the tests' time, until `topic` has nothing to deliver.
    async fn emptied(&self, topic: &str) {
        for _ in 0..100_000 {
            if self.depth(topic).await == 0 {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("{topic} has still {} messages", self.depth(topic).await);
    }
}

/// The next thing; in the tests' time an hour passes at once.
async fn next<T>(heard: &mut mpsc::Receiver<T>) -> T {
    let hour = Duration::from_secs(3600);
    tokio::time::timeout(hour, heard.recv())
        .await
        .unwrap()
        .unwrap()
}

/// Nothing comes for `ms`.
async fn silence<T>(heard: &mut mpsc::Receiver<T>, ms: u64) {
    let waited = tokio::time::timeout(Duration::from_millis(ms), heard.recv()).await;
    assert!(waited.is_err(), "something came");
}

#[expect(clippy::unnecessary_wraps, reason = "an answer like others")]
fn ok(_: &Value) -> Result<Value, Error> {
    Ok(Value::Null)
}

fn boom(_: &Value) -> Result<Value, Error> {
    Err(Error::worker(Code::Failed, "boom").reason("invocation_failed"))
}
