//! The configuration files of iii, all three generations of them: how they may be written, and
//! what they ask for. What that means for the engine is in [`settings`].

mod adapter;
mod bridge;
mod configuration;
mod cron;
mod entries;
mod exec;
mod form;
mod http;
mod http_functions;
mod kind;
mod observability;
mod pubsub;
mod queue;
mod settings;
mod state;
mod stream;
mod telemetry;
#[cfg(test)]
mod tests;
mod worker_manager;

pub use adapter::{Adapter, Store};
pub use bridge::{Bridge, Expose, Forward};
pub use configuration::Configuration;
pub use cron::Cron;
pub use exec::Exec;
pub use http::{Cors, Http, Middleware, Phase};
pub use http_functions::{HttpFunctions, Security};
pub use observability::{
    Action, Alert, Exporter, LogsExporter, MetricsExporter, Observability, Operator, RateLimit,
    Sampling, SamplingRule, TraceStorage,
};
pub use pubsub::Pubsub;
pub use queue::{Mode, NamedQueue, Queue, QueueKind, TopicQueues};
pub use state::State;
pub use stream::Stream;
pub use worker_manager::WorkerManager;

pub(super) use form::{check as check_form, is_iii};
pub(super) use settings::settings;

use serde::Serialize;

use super::{Env, Error, place::Place};
use entries::{Entry, Listed};
use kind::Kind;

/// What a file asks for, module by module; `None` is not asked for.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Modules {
    /// Where workers come in; at least one.
    pub listeners: Vec<WorkerManager>,
    pub http: Option<Http>,
    pub stream: Option<Stream>,
    pub state: Option<State>,
    pub queue: Option<Queue>,
    pub pubsub: Option<Pubsub>,
    pub cron: Option<Cron>,
    pub observability: Observability,
    pub http_functions: Option<HttpFunctions>,
    pub bridge: Option<Bridge>,
    /// Each a line of programs, the last of which goes on.
    pub exec: Vec<Exec>,
    pub configuration: Configuration,
    /// Names that are not built in.
    pub external: Vec<External>,
}

/// A worker that is a program of its own.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct External {
    pub name: String,
    /// An OCI image, which we do not run.
    pub image: Option<String>,
    /// Its place in the file, `workers.3`, and the line.
    #[serde(skip)]
    pub(super) at: (&'static str, usize),
}

/// Reads what `root` lists.
fn modules(root: &Place<'_>, env: &dyn Env) -> Result<Modules, Error> {
    let listed = entries::read(root)?;
    let mut modules = Modules {
        listeners: Vec::new(),
        http: None,
        stream: None,
        state: None,
        queue: None,
        pubsub: None,
        cron: None,
        observability: observability::read(None, env)?,
        http_functions: None,
        bridge: None,
        exec: Vec::new(),
        configuration: Configuration::default(),
        external: Vec::new(),
    };
    match listed {
        Listed::Nothing => modules.take_defaults(),
        Listed::These(entries) => {
            for entry in &entries {
                modules.take(entry, env)?;
            }
        }
    }
    if modules.listeners.is_empty() {
        modules.listeners.push(WorkerManager::default());
    }
    Ok(modules)
}

impl Modules {
    /// What runs when there is no list at all.
    fn take_defaults(&mut self) {
        self.http = Some(Http::default());
        self.stream = Some(Stream::default());
        self.state = Some(State::default());
        self.queue = Some(Queue::default());
        self.pubsub = Some(Pubsub::default());
        self.cron = Some(Cron::default());
    }

    fn take(&mut self, entry: &Entry<'_>, env: &dyn Env) -> Result<(), Error> {
        let place = &entry.config;
        match entry.kind {
            Some(Kind::WorkerManager) => self.listeners.push(worker_manager::read(place)?),
            Some(Kind::Http) => self.http = Some(http::read(place)?),
            Some(Kind::Stream) => self.stream = Some(stream::read(place)?),
            Some(Kind::State) => self.state = Some(state::read(place)?),
            Some(Kind::Queue) => self.queue = Some(queue::read(place)?),
            Some(Kind::Pubsub) => self.pubsub = Some(pubsub::read(place)?),
            Some(Kind::Cron) => self.cron = Some(cron::read(place)?),
            Some(Kind::Observability) => {
                self.observability = observability::read(Some(place), env)?;
            }
            Some(Kind::HttpFunctions) => self.http_functions = Some(http_functions::read(place)?),
            Some(Kind::Bridge) => self.bridge = Some(bridge::read(place, env)?),
            Some(Kind::Exec) => self.exec.push(exec::read(place)?),
            Some(Kind::Configuration) => self.configuration = configuration::read(place)?,
            Some(Kind::Telemetry) => telemetry::read(place)?,
            Some(Kind::EngineFunctions) => place.read::<Nothing>().map(|Nothing {}| ())?,
            None => self.external.push(External {
                name: entry.name.clone(),
                image: entry.image.clone(),
                at: entry.at,
            }),
        }
        Ok(())
    }
}

/// The configuration of what cannot be configured.
#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Nothing {}
