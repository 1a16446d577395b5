//! The trigger type `http`: routes on an HTTP listener that call functions.
//!
//! Knows HTTP and its own routes; functions only by id.

mod reply;
mod request;
mod routes;
mod server;

use std::{
    io,
    net::SocketAddr,
    sync::{Arc, OnceLock},
    time::Duration,
};

use agentos_sdk::{
    Bus, Code, Error, Registrar, Stop, TriggerProvider, TriggerSpec, TriggerTypeSpec, Worker,
    async_trait,
};
use parking_lot::Mutex;
use serde_json::json;
use tokio::{net::TcpListener, sync::Semaphore};

use crate::listener::Gate;
use routes::Routes;

/// The settings of the listener.
#[derive(Clone, Debug)]
pub struct Config {
    pub body_bytes_max: usize,
    /// Longest wait for the head of an answer.
    pub timeout: Duration,
    /// Requests worked on at one time; more wait.
    pub requests_max: usize,
}

/// Longest life of a call that streams its answer.
const STREAM_TIMEOUT: Duration = Duration::from_hours(1);

/// The built-in worker `http`.
pub struct Http {
    listener: Mutex<Option<TcpListener>>,
    shared: Arc<Shared>,
}

struct Shared {
    config: Config,
    gate: Gate,
    routes: Routes,
    room: Semaphore,
    bus: OnceLock<Bus>,
    ready: Arc<dyn Fn() -> Readiness + Send + Sync>,
}

/// What `/health/ready` says.
pub struct Readiness {
    pub ready: bool,
    /// Names of workers that are still on their way.
    pub waiting: Vec<String>,
}

impl Http {
    /// Binds `address`; port 0 picks a free one. Requests are answered once the worker runs.
    ///
    /// # Errors
    /// When the address cannot be bound.
    pub(crate) async fn bind(
        address: SocketAddr,
        gate: Gate,
        config: Config,
        ready: Arc<dyn Fn() -> Readiness + Send + Sync>,
    ) -> io::Result<(Arc<Self>, SocketAddr)> {
        let listener = TcpListener::bind(address).await?;
        let address = listener.local_addr()?;
        let room = Semaphore::new(config.requests_max);
        let shared = Arc::new(Shared {
            config,
            gate,
            routes: Routes::default(),
            room,
            bus: OnceLock::new(),
            ready,
        });
        Ok((
            Arc::new(Http {
                listener: Mutex::new(Some(listener)),
                shared,
            }),
            address,
        ))
    }
}

#[async_trait]
impl Worker for Http {
    fn register(self: Arc<Self>, registrar: &mut Registrar) {
        let spec = |id: &str| TriggerTypeSpec {
            id: id.into(),
            description: "calls a function for an HTTP request and answers with its result"
                .to_owned(),
            config_schema: Some(json!({
                "type": "object",
                "required": ["api_path"],
                "properties": {
                    "api_path": { "type": "string", "description": "`/orders/:id`, `/files/*path`" },
                    "http_method": { "type": "string", "default": "GET", "enum": routes::METHODS },
                    "auth": { "type": "string", "enum": ["token", "none"], "default": "token" },
                    "raw_body": { "type": "boolean", "default": false },
                    "condition_function_id": { "type": "string" },
                },
            })),
            payload_schema: None,
        };
        registrar.trigger_type(spec("http"), Arc::new(Provider(Arc::clone(&self.shared))));
        // The name that older documentation of the JSON dialect uses.
        registrar.trigger_type(spec("api"), Arc::new(Provider(Arc::clone(&self.shared))));
    }

    async fn run(self: Arc<Self>, bus: Bus, stop: Stop) -> Result<(), Error> {
        let listener = self.listener.lock().take();
        let listener = listener
            .ok_or_else(|| Error::engine(Code::Internal, "the HTTP listener runs already"))?;
        // Set once: the listener is taken once.
        let _ = self.shared.bus.set(bus);
        server::serve(listener, Arc::clone(&self.shared), stop).await;
        Ok(())
    }
}

struct Provider(Arc<Shared>);

impl TriggerProvider for Provider {
    fn bind(&self, trigger: TriggerSpec) -> Result<(), Error> {
        self.0.routes.bind(&trigger)
    }

    fn unbind(&self, id: &str) {
        self.0.routes.unbind(id);
    }
}
