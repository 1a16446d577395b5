//! The worker as its callers see it, on a real bus with local sessions.

use agentos_core::{Limits, policy::Trust};
use agentos_sdk::Trace;
use tokio::sync::{mpsc, oneshot};

use super::*;
use crate::session::LocalSession;

mod alerting;
mod firing;
mod showing;

/// A bus, `observe` on it, and a worker that tests speak through.
struct Rig {
    bus: Bus,
    telemetry: Telemetry,
    _engine: Arc<crate::Bus>,
    _sessions: [LocalSession; 2],
}

/// Offers what `offer` says and gives its bus away.
struct Caller<F> {
    offer: F,
    bus: Mutex<Option<oneshot::Sender<Bus>>>,
}

#[async_trait]
impl<F: Fn(&mut Registrar) + Send + Sync + 'static> Worker for Caller<F> {
    fn register(self: Arc<Self>, registrar: &mut Registrar) {
        (self.offer)(registrar);
    }

    async fn run(self: Arc<Self>, bus: Bus, stop: Stop) -> Result<(), Error> {
        let give = self.bus.lock().take().expect("a worker runs once");
        give.send(bus)
            .map_err(|_| ())
            .expect("the test waits for it");
        stop.cancelled().await;
        Ok(())
    }
}

impl Rig {
    async fn new(offer: impl Fn(&mut Registrar) + Send + Sync + 'static) -> Rig {
        Self::with(quiet(), offer).await
    }

    async fn with(config: Config, offer: impl Fn(&mut Registrar) + Send + Sync + 'static) -> Rig {
        let engine = crate::Bus::new(Limits::default());
        let (observe, telemetry) = Observe::open(config);
        engine.watch(telemetry.watcher());
        let (give, taken) = oneshot::channel();
        let caller = Arc::new(Caller {
            offer,
            bus: Mutex::new(Some(give)),
        });
        let observing = LocalSession::open(&engine, "observe", Trust::Engine, observe)
            .await
            .unwrap();
        // Its background work has begun once the bus of the caller's is here; `observe` came first.
        let calling = LocalSession::open(&engine, "caller", Trust::Worker, caller)
            .await
            .unwrap();
        let rig = Rig {
            bus: taken.await.unwrap(),
            telemetry,
            _engine: engine,
            _sessions: [observing, calling],
        };
        while rig.telemetry.store().bus.get().is_none() {
            tokio::task::yield_now().await;
        }
        rig
    }

    async fn call(&self, function: &str, input: Value) -> Value {
        match self.bus.trigger(function, &input).await {
            Ok(answer) => answer,
            Err(error) => panic!("{function} {input}: {error}"),
        }
    }

    async fn log(&self, level: &str, message: &str) {
        let answer = self
            .call(
                &format!("engine::log::{level}"),
                json!({ "message": message }),
            )
            .await;
        assert_eq!(answer, Value::Null);
    }

    fn ingest(&self, prefix: &[u8; 4], body: &Value) {
        self.telemetry
            .ingest(*prefix, body.to_string().into(), Some("w1"));
    }

    /// Calls until the answer is as wanted: what comes in frames is read by another task.
    async fn until(&self, function: &str, input: Value, wanted: impl Fn(&Value) -> bool) -> Value {
        for _ in 0..500 {
            let answer = self.call(function, input.clone()).await;
            if wanted(&answer) {
                return answer;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("{function} {input} never answered as wanted");
    }
}

/// Nothing on the test's output.
fn quiet() -> Config {
    Config {
        logs_console_output: false,
        ..Config::default()
    }
}

async fn next<T>(heard: &mut mpsc::Receiver<T>) -> T {
    tokio::time::timeout(Duration::from_secs(10), heard.recv())
        .await
        .expect("in time")
        .expect("open")
}
