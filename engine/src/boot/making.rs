//! How each built-in that a file may switch on is made. What can fail of it fails here: a port that is
//! taken, a store that cannot be read.

use std::{net::SocketAddr, sync::Arc};

use agentos_sdk::Worker;
use anyhow::{Context, bail};

use super::common::{Common, busy};
use crate::{
    builtin::{
        configuration::Configuration,
        cron::Cron,
        http::{self, Http, Readiness},
        http_functions::{self, HttpFunctions},
        observe::Observe,
        pubsub::Pubsub,
        queue::Queue,
        state::State,
        stream::{self, Stream},
    },
    config::{Env, Module, ProcessEnv, Settings, iii::Store},
    listener::Gate,
    storage,
};

/// The port that clients of streams look at first.
const STREAM_PORT: u16 = 3112;

/// What can be reached of a module besides its functions.
#[derive(Clone)]
pub(super) enum Kind {
    Http(Arc<Http>, SocketAddr),
    Stream(Arc<Stream>, SocketAddr),
    State(Arc<State>),
    Queue(Arc<Queue>),
    Pubsub(Arc<Pubsub>),
    Configuration(Arc<Configuration>),
    /// One that is replaced when it changes.
    Plain,
}

/// A module that is made and not opened.
pub(super) struct Made {
    pub(super) worker: Arc<dyn Worker>,
    pub(super) kind: Kind,
}

/// Makes modules as the settings ask for them.
pub(super) struct Maker<'a> {
    pub(super) common: &'a Arc<Common>,
    pub(super) settings: &'a Settings,
}

impl Maker<'_> {
    pub(super) async fn make(&self, module: Module) -> anyhow::Result<Made> {
        let (common, modules) = (self.common, &self.settings.modules);
        let store = || match modules.store(module) {
            Store::Durable => Arc::clone(&common.store),
            Store::Memory => storage::memory::open(),
        };
        Ok(match module {
            Module::Observe => Made::plain(Observe::open(modules.observe()?).0),
            Module::State => {
                let state = State::open(store(), modules.state()?);
                Made::new(Arc::clone(&state) as _, Kind::State(state))
            }
            Module::Queue => {
                let queue = Queue::open(store(), modules.queue()?)
                    .await
                    .context("cannot open the queues")?;
                Made::new(Arc::clone(&queue) as _, Kind::Queue(queue))
            }
            Module::Http => self.bind_http().await?,
            Module::Configuration => {
                let config = modules.configuration()?;
                let store = Arc::clone(&common.store);
                let configuration = Configuration::open(store, config, Arc::new(ProcessEnv));
                let kind = Kind::Configuration(Arc::clone(&configuration));
                Made::new(configuration, kind)
            }
            Module::Pubsub => {
                let pubsub = Pubsub::new(modules.pubsub()?);
                Made::new(Arc::clone(&pubsub) as _, Kind::Pubsub(pubsub))
            }
            Module::Cron => Made::plain(Cron::open(store(), modules.cron()?)),
            Module::HttpFunctions => Made::plain(self.http_functions(modules.http_functions()?)?),
            Module::Stream => self.bind_stream(store()).await?,
            Module::Bridge => {
                let bridge = modules.bridge(&ProcessEnv)?;
                Made::plain(bridge.context("the bridge cannot be opened")?)
            }
        })
    }

    pub(super) fn http_gate(&self) -> Gate {
        let Common {
            token,
            message_bytes_max,
            ..
        } = &**self.common;
        Gate::new(&self.settings.http.listener, token, *message_bytes_max)
    }

    pub(super) fn stream_gate(&self) -> Gate {
        Gate::new(&self.settings.stream, &self.common.token, 0)
    }

    pub(super) fn http_config(&self) -> anyhow::Result<http::Config> {
        let settings = self.settings;
        Ok(http::Config {
            body_bytes_max: settings.http.body_bytes_max,
            timeout_ms: u64::try_from(settings.http.timeout.as_millis())?,
            ..settings.modules.http()?
        })
    }

    async fn bind_http(&self) -> anyhow::Result<Made> {
        let (common, wanted) = (self.common, self.settings.http.listener.address);
        let bus = Arc::clone(&common.bus);
        let around = http::Surroundings {
            channels: Arc::clone(&common.channels),
            ready: readiness(common),
            speaks_json: Arc::new(move |namespace, function| bus.speaks_json(namespace, function)),
        };
        let config = self.http_config()?;
        let bound = Http::bind(wanted, self.http_gate(), config, around).await;
        let (http, address) =
            bound.with_context(|| busy(wanted, "listen.http.port", "--http-port"))?;
        Ok(Made::new(Arc::clone(&http) as _, Kind::Http(http, address)))
    }

    /// Where only the port of streams is taken, by the engine beside which this one was given ports of
    /// its own, a free one will do.
    async fn bind_stream(&self, store: Arc<dyn storage::Storage>) -> anyhow::Result<Made> {
        let directory = Arc::clone(&self.common.bus);
        let offered: stream::Offered = Arc::new(move |id| directory.function(None, id).is_some());
        let gate = self.stream_gate();
        let config = self.settings.modules.stream()?;
        let bind = |address| {
            let (store, offered) = (Arc::clone(&store), Arc::clone(&offered));
            Stream::bind(address, gate.clone(), config.clone(), store, offered)
        };
        let wanted = self.settings.stream.address;
        let bound = match bind(wanted).await {
            Err(error)
                if error.kind() == std::io::ErrorKind::AddrInUse
                    && wanted.port() == STREAM_PORT
                    && self.common.is_beside_another =>
            {
                let bound = bind(SocketAddr::new(wanted.ip(), 0)).await?;
                tracing::warn!(wanted = %wanted, instead = %bound.1, "the port for streams is taken; `--stream-port` chooses one");
                Ok(bound)
            }
            bound => bound.with_context(|| busy(wanted, "listen.stream.port", "--stream-port")),
        };
        let (stream, address) = bound?;
        Ok(Made::new(
            Arc::clone(&stream) as _,
            Kind::Stream(stream, address),
        ))
    }

    fn http_functions(&self, config: http_functions::Config) -> anyhow::Result<Arc<HttpFunctions>> {
        let bus = &self.common.bus;
        let directory = Arc::clone(bus);
        let lookup: http_functions::Lookup = Arc::new(move |id, namespace| {
            let function = directory.function(namespace, id)?;
            function.spec.http.as_deref().cloned()
        });
        let env: http_functions::Env = Arc::new(|name| ProcessEnv.var(name));
        HttpFunctions::open(config, env, lookup, Some(bus.events())).map_err(anyhow::Error::msg)
    }
}

impl Made {
    fn new(worker: Arc<dyn Worker>, kind: Kind) -> Self {
        Made { worker, kind }
    }

    pub(super) fn plain(worker: Arc<dyn Worker>) -> Self {
        Made::new(worker, Kind::Plain)
    }
}

/// What is to be kept by another engine cannot be, as yet.
pub(super) fn refuse_bridged(settings: &Settings) -> anyhow::Result<()> {
    let bridged = |module: &&Module| settings.modules.bridged(**module).is_some();
    match Module::ALL.iter().find(bridged) {
        None => Ok(()),
        Some(module) => bail!(
            "the adapter `bridge` of {} is not served yet",
            module.name()
        ),
    }
}

fn readiness(common: &Common) -> http::Ready {
    let processes = Arc::clone(&common.processes);
    Arc::new(move || {
        let Some(supervisor) = processes.get() else {
            return Readiness {
                ready: false,
                waiting: vec!["engine".into()],
            };
        };
        let waiting: Vec<String> = supervisor
            .statuses()
            .into_iter()
            .filter(|status| status.state.is_under_way())
            .map(|status| status.name)
            .collect();
        Readiness {
            ready: waiting.is_empty(),
            waiting,
        }
    })
}
