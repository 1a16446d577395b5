//! The functions that every player offers, in Rust.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use agentos_sdk::{
    Client, Code, Context, Error, Options, Origin, Payload, Registrar, Result, Sink,
};
use parking_lot::Mutex;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

pub(crate) const LANGUAGE: &str = "rust";

/// What happened to the calls of a key, see README.
#[derive(Clone, Copy, Default, Serialize, JsonSchema)]
struct Noted {
    started: u64,
    cancelled: u64,
    produced: u64,
}

static NOTES: Mutex<BTreeMap<String, Noted>> = Mutex::new(BTreeMap::new());

/// Changes and gives what is noted of `key`.
fn note(key: &str, change: impl FnOnce(&mut Noted)) -> Noted {
    let mut notes = NOTES.lock();
    let noted = notes.entry(key.to_owned()).or_default();
    change(noted);
    *noted
}

/// Notes that a handler came to its end before it gave a result.
struct Unfinished(String);

impl Drop for Unfinished {
    fn drop(&mut self) {
        note(&self.0, |noted| noted.cancelled += 1);
    }
}

/// Adds two numbers.
#[agentos_sdk::function("rust::add")]
async fn add(a: i64, b: i64) -> i64 {
    a + b
}

#[derive(Serialize, JsonSchema)]
struct Worth {
    worth: f64,
}

#[agentos_sdk::function("rust::nan")]
async fn nan(#[input] _nothing: Value) -> Worth {
    Worth { worth: f64::NAN }
}

#[derive(Deserialize, JsonSchema)]
struct Failure {
    code: String,
    message: String,
    reason: Option<String>,
    details: Option<Value>,
}

#[agentos_sdk::function("rust::fail")]
async fn fail(#[input] failure: Failure) -> Result<()> {
    let code = Code::parse(&failure.code).unwrap_or(Code::Internal);
    let mut error = Error::new(code, Origin::Worker, failure.message);
    error.reason = failure.reason;
    error.details = failure.details;
    Err(error)
}

#[agentos_sdk::function("rust::fail_first")]
async fn fail_first(key: String, times: u64) -> Result<u64> {
    let failed = note(&key, |_| ()).started;
    if failed == times {
        return Ok(failed);
    }
    note(&key, |noted| noted.started += 1);
    Err(Error::worker(Code::Overloaded, "not yet"))
}

#[agentos_sdk::function("rust::throw")]
async fn throw(#[input] message: String) {
    panic!("{message}");
}

#[agentos_sdk::function("rust::relay")]
async fn relay(
    context: Context,
    function: String,
    payload: Option<Value>,
    timeout_ms: Option<u64>,
) -> Result<Value> {
    let mut call = context.bus().call(&function);
    if let Some(ms) = timeout_ms {
        call = call.timeout(Duration::from_millis(ms));
    }
    call.send(&payload).await
}

#[agentos_sdk::function("rust::left")]
async fn left(context: Context, #[input] _nothing: Value) -> f64 {
    context.time_left().as_secs_f64() * 1000.0
}

#[agentos_sdk::function("rust::context")]
async fn context(context: Context, #[input] _nothing: Value) -> Value {
    let metadata: Option<Value> = context
        .metadata()
        .and_then(|text| serde_json::from_str(text).ok());
    json!({
        "function": context.function(),
        "caller": context.caller(),
        "metadata": metadata,
        "wants_stream": context.wants_stream(),
    })
}

#[agentos_sdk::function("rust::note")]
async fn take_note(#[input] key: String) {
    note(&key, |noted| noted.started += 1);
}

#[agentos_sdk::function("rust::noted")]
async fn noted(#[input] key: String) -> Noted {
    note(&key, |_| ())
}

#[agentos_sdk::function("rust::hang")]
async fn hang(#[input] key: String) {
    note(&key, |noted| noted.started += 1);
    let _unfinished = Unfinished(key);
    std::future::pending::<()>().await;
}

type Chunks = Arc<tokio::sync::Mutex<Sink>>;

#[derive(Deserialize, JsonSchema)]
struct Count {
    n: u64,
    #[serde(default)]
    key: String,
    #[serde(default)]
    bytes: usize,
}

fn streams(registrar: &mut Registrar) {
    registrar.streaming("rust::count", |_, count: Count, sink: Chunks| async move {
        let mut sink = sink.lock().await;
        for number in 0..count.n {
            note(&count.key, |noted| noted.produced += 1);
            sink.send(&number).await?;
        }
        Ok(json!({ "counted": count.n }))
    });
    registrar.streaming("rust::list", |_, count: Count, sink: Chunks| async move {
        let mut sink = sink.lock().await;
        for number in 0..count.n {
            sink.send(&number).await?;
        }
        Ok(())
    });
    registrar.streaming("rust::pieces", |_, count: Count, sink: Chunks| async move {
        let mut sink = sink.lock().await;
        for number in 0..count.n {
            let piece = vec![number as u8; count.bytes];
            sink.send_payload(Payload::binary(piece)).await?;
        }
        Ok(())
    });
    registrar.streaming("rust::breaks", |_, count: Count, sink: Chunks| async move {
        let mut sink = sink.lock().await;
        for number in 0..count.n {
            sink.send(&number).await?;
        }
        let why = format!("after {}", count.n);
        Err::<(), _>(Error::worker(Code::Conflict, why).reason("broken"))
    });
    registrar.streaming("rust::endless", |_, key: String, sink| endless(key, sink));
}

async fn endless(key: String, sink: Chunks) -> Result<()> {
    note(&key, |noted| noted.started += 1);
    let _unfinished = Unfinished(key);
    let mut sink = sink.lock().await;
    let mut number = 0_u64;
    loop {
        sink.send(&number).await?;
        number += 1;
        tokio::task::yield_now().await;
    }
}

/// What changes what the worker itself offers.
fn changes(registrar: &mut Registrar, worker: &Client) {
    let offering = worker.clone();
    registrar.function("rust::offer", move |_, id: String| {
        let worker = offering.clone();
        async move {
            let refused = worker
                .function(&id, |_, value: Value| async move { Ok(value) })
                .await;
            if refused.is_err() {
                worker.unregister(&id)?;
            }
            refused
        }
    });
    let withdrawing = worker.clone();
    registrar.function("rust::withdraw", move |_, id: String| {
        let worker = withdrawing.clone();
        async move { worker.unregister(&id) }
    });
}

/// Workers of the same process that come, work and go.
#[agentos_sdk::function("rust::reopen")]
async fn reopen(#[input] times: u32) -> Result<()> {
    for _ in 0..times {
        let guest = Client::connect(Options::new("guest-rust")).await?;
        guest.trigger::<String>("rust::echo", "guest").await?;
        guest.close().await;
    }
    Ok(())
}

pub(crate) fn cast(worker: &Client) -> Registrar {
    let mut registrar = Registrar::new();
    registrar.payloads("rust::echo", |_, payload| async move { Ok(payload) });
    registrar.offer::<add>();
    registrar.offer::<nan>();
    registrar.offer::<fail>();
    registrar.offer::<fail_first>();
    registrar.offer::<throw>();
    registrar.offer::<relay>();
    registrar.offer::<left>();
    registrar.offer::<context>();
    registrar.offer::<take_note>();
    registrar.offer::<noted>();
    registrar.offer::<hang>();
    registrar.offer::<reopen>();
    streams(&mut registrar);
    changes(&mut registrar, worker);
    registrar
}
