//! The trigger type `http`: routes on an HTTP listener that call functions.
//!
//! Knows HTTP and its own routes; functions only by id.

mod accept;
mod answer;
mod arbiter;
mod body;
mod config;
mod cors;
mod door;
mod exchange;
mod middleware;
mod reply;
mod request;
mod room;
mod routes;
mod server;
#[cfg(test)]
mod tests;

use std::{
    io,
    net::SocketAddr,
    sync::{Arc, OnceLock},
    time::Duration,
};

use agentos_sdk::{
    Bus, Error, Registrar, Stop, TriggerProvider, TriggerSpec, TriggerTypeSpec, Worker, async_trait,
};
use serde_json::json;
use tokio::net::TcpListener;

pub use config::{Config, Cors, Middleware, Phase};

use crate::{
    builtin::{live::Live, moving::Moving},
    channel::Channels,
    listener::Gate,
};
use door::Door;
use room::Room;
use routes::Routes;

/// Longest life of a call that streams its answer.
const STREAM_TIMEOUT: Duration = Duration::from_hours(1);

/// The built-in worker `http`.
pub struct Http {
    listener: Moving,
    routes: Arc<Routes>,
    shared: Live<Shared>,
}

/// What a request goes by, from its head to its end.
struct Shared {
    config: Config,
    door: Door,
    routes: Arc<Routes>,
    room: Arc<Room>,
    /// The engine's, by priority.
    middleware: Vec<Arc<str>>,
    channels: Arc<Channels>,
    bus: Arc<OnceLock<Bus>>,
    ready: Ready,
    speaks_json: SpeaksJson,
}

/// Tells whether the engine is ready.
pub(crate) type Ready = Arc<dyn Fn() -> Readiness + Send + Sync>;

/// Tells of a function, and its namespace before it, whether a call of it may reach a worker of
/// the JSON dialect: those may answer over a channel after a result of null.
pub(crate) type SpeaksJson = Arc<dyn Fn(Option<&str>, &str) -> bool + Send + Sync>;

/// What the listener needs of the engine around it.
pub(crate) struct Surroundings {
    pub(crate) channels: Arc<Channels>,
    pub(crate) ready: Ready,
    pub(crate) speaks_json: SpeaksJson,
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
        around: Surroundings,
    ) -> io::Result<(Arc<Self>, SocketAddr)> {
        let listener = TcpListener::bind(address).await?;
        let address = listener.local_addr()?;
        let room = Arc::new(Room::new(config.requests_max, config.requests_waiting_max));
        let routes = Arc::new(Routes::new(Arc::clone(&room)));
        let shared = Shared {
            middleware: in_order(&config),
            door: Door::new(gate, config.cors.clone()),
            config,
            routes: Arc::clone(&routes),
            room,
            channels: around.channels,
            bus: Arc::default(),
            ready: around.ready,
            speaks_json: around.speaks_json,
        };
        let http = Http {
            listener: Moving::new(),
            routes,
            shared: Live::new(shared),
        };
        http.move_to(listener).map_err(io::Error::other)?;
        Ok((Arc::new(http), address))
    }

    /// Answers requests there from now on. Those that came elsewhere are answered to their end.
    pub(crate) fn move_to(&self, listener: TcpListener) -> Result<(), Error> {
        self.listener.to(listener)
    }

    /// Goes by `gate` and `config` from the next request on.
    pub(crate) fn reconfigure(&self, gate: Gate, config: Config) {
        let now = self.shared.get();
        let sizes = |config: &Config| (config.requests_max, config.requests_waiting_max);
        let room = match sizes(&config) == sizes(&now.config) {
            true => Arc::clone(&now.room),
            false => {
                let room = Arc::new(Room::new(config.requests_max, config.requests_waiting_max));
                self.routes.resize(Arc::clone(&room));
                room
            }
        };
        self.shared.set(Shared {
            middleware: in_order(&config),
            door: Door::new(gate, config.cors.clone()),
            config,
            routes: Arc::clone(&self.routes),
            room,
            channels: Arc::clone(&now.channels),
            bus: Arc::clone(&now.bus),
            ready: Arc::clone(&now.ready),
            speaks_json: Arc::clone(&now.speaks_json),
        });
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
                    "auth": { "type": "string", "enum": ["token", "key", "none"], "default": "token" },
                    "raw_body": { "type": "boolean", "default": false },
                    "condition_function_id": { "type": "string" },
                    "middleware_function_ids": { "type": "array", "items": { "type": "string" } },
                    "invalid_json": { "type": "string", "enum": ["null", "reject"] },
                },
            })),
            payload_schema: None,
        };
        registrar.trigger_type(spec("http"), Arc::new(Provider(Arc::clone(&self.routes))));
        // The name that older documentation of the JSON dialect uses.
        registrar.trigger_type(spec("api"), Arc::new(Provider(Arc::clone(&self.routes))));
    }

    async fn run(self: Arc<Self>, bus: Bus, stop: Stop) -> Result<(), Error> {
        // Set once: a worker runs once.
        let _ = self.shared.get().bus.set(bus);
        let serve =
            |listener, leave| accept::serve(listener, self.shared.clone(), leave, stop.clone());
        self.listener.serve(&stop, serve).await
    }
}

/// The middleware that is asked before every function.
fn in_order(config: &Config) -> Vec<Arc<str>> {
    let mut middleware: Vec<&Middleware> = config.middleware.iter().collect();
    middleware.sort_by_key(|asked| asked.priority);
    let ids = middleware.into_iter();
    ids.map(|asked| Arc::clone(&asked.function_id)).collect()
}

struct Provider(Arc<Routes>);

impl TriggerProvider for Provider {
    fn bind(&self, trigger: TriggerSpec) -> Result<(), Error> {
        self.0.bind(&trigger)
    }

    fn unbind(&self, id: &str) {
        self.0.unbind(id);
    }
}
