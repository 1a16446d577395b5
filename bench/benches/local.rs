//! A call between two workers in the engine's process, with everything that an engine has around
//! it. On one thread: what a core can do, and no wake-up of another.

use std::sync::{Arc, Mutex};

use agentos_engine::{
    boot::{self, Running, Surroundings},
    config::{self, Builtin, Overrides, ProcessEnv, Settings},
};
use agentos_sdk::{
    Bus, Handler, Invocation, Payload, Registrar, Stop, Worker, async_trait,
    protocol::{ErrorBody, FunctionSpec},
    schemars::JsonSchema,
};
use divan::{Bencher, black_box, counter::ItemsCount};
use serde::{Deserialize, Serialize};
use tempfile::TempDir;
use tokio::{
    runtime::{Builder, Runtime},
    sync::oneshot,
};

fn main() {
    divan::main();
}

/// The same function: as plain bytes, answered at once; and as a user writes it, typed and async.
const FUNCTIONS: [&str; 2] = ["bench::bytes", "bench::typed"];
const PAYLOAD: &[u8] = br#"{"n":1,"text":"xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"}"#;
const BATCH: usize = 1_000;

struct Bytes;

impl Handler for Bytes {
    fn start(&self, invocation: Invocation) {
        let payload = invocation.payload().clone();
        invocation.reply(Ok(payload));
    }
}

struct Callee;

impl Worker for Callee {
    fn register(self: Arc<Self>, registrar: &mut Registrar) {
        registrar.handler(FunctionSpec::new(FUNCTIONS[0]), Arc::new(Bytes));
        registrar.function(FUNCTIONS[1], |_, input: Message| async move { Ok(input) });
    }
}

struct Idle;

impl Worker for Idle {
    fn register(self: Arc<Self>, _: &mut Registrar) {}
}

#[derive(Serialize, Deserialize, JsonSchema)]
#[schemars(crate = "agentos_sdk::schemars")]
struct Message {
    n: u32,
    text: String,
}

/// Lends its bus to the benchmark.
struct Caller(Mutex<Option<oneshot::Sender<Bus>>>);

#[async_trait]
impl Worker for Caller {
    fn register(self: Arc<Self>, _registrar: &mut Registrar) {}

    async fn run(self: Arc<Self>, bus: Bus, stop: Stop) -> Result<(), ErrorBody> {
        if let Some(lend) = self.0.lock().expect("nobody panics with it").take() {
            // The benchmark waits for it.
            let _ = lend.send(bus);
        }
        stop.cancelled().await;
        Ok(())
    }
}

struct Setting {
    runtime: Runtime,
    bus: Bus,
    running: Option<Running>,
    _folder: TempDir,
}

impl Setting {
    fn new() -> Self {
        let runtime = Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("a thread is enough");
        let folder = TempDir::new().expect("a folder can be made");
        let file = folder.path().join("config.yaml");
        std::fs::write(&file, "").expect("the folder is ours");
        let overrides = Overrides {
            data_dir: Some(folder.path().join("data")),
            bus_port: Some(0),
            http_port: Some(0),
            stream_port: Some(0),
            only: vec!["agent".to_owned(), "memory".to_owned()],
            ..Overrides::default()
        };
        let settings = config::load(Some(&file), &overrides, &ProcessEnv).expect("all by default");
        let (lend, lent) = oneshot::channel();
        // They take the places of two of the engine's own workers.
        let caller: Arc<dyn Worker> = Arc::new(Caller(Mutex::new(Some(lend))));
        let hire = move |builtin: &Builtin, _: &Settings| -> Result<Arc<dyn Worker>, _> {
            Ok(match builtin.name.as_str() {
                "agent" => Arc::clone(&caller),
                "memory" => Arc::new(Callee),
                _ => Arc::new(Idle),
            })
        };
        let surroundings = Surroundings {
            search_path: String::new(),
            engines_dir: None,
        };
        let (running, bus) = runtime.block_on(async {
            let running = boot::start(&Arc::new(settings), Arc::new(hire), surroundings)
                .await
                .expect("nothing is in the way");
            (running, lent.await.expect("the caller runs"))
        });
        Setting {
            runtime,
            bus,
            running: Some(running),
            _folder: folder,
        }
    }
}

impl Drop for Setting {
    fn drop(&mut self) {
        if let Some(running) = self.running.take() {
            self.runtime.block_on(running.shutdown());
        }
    }
}

async fn call(bus: &Bus, function: &str) -> Payload {
    bus.call(function)
        .send_payload(Payload::json(PAYLOAD))
        .await
        .expect("it is answered")
}

#[divan::bench(args = FUNCTIONS)]
fn one_call(bencher: Bencher<'_, '_>, function: &str) {
    let setting = Setting::new();
    bencher.bench_local(|| setting.runtime.block_on(call(&setting.bus, function)));
}

#[divan::bench(args = FUNCTIONS)]
fn one_after_the_other(bencher: Bencher<'_, '_>, function: &str) {
    let setting = Setting::new();
    bencher.counter(ItemsCount::new(BATCH)).bench_local(|| {
        setting.runtime.block_on(async {
            for _ in 0..BATCH {
                black_box(call(&setting.bus, function).await);
            }
        });
    });
}
