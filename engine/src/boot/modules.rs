//! The built-ins that a file may switch on, off, or configure: how each is made, changed while it
//! runs, and let go.
//!
//! Most take their new settings where they stand, so no call of theirs ever finds nobody. Those that
//! cannot get a successor: it is there before they leave. What can fail is done in `prepare`, which
//! changes nothing that can be seen.

use std::{collections::BTreeMap, net::SocketAddr, sync::Arc, time::Duration};

use agentos_core::policy::Trust;
use agentos_sdk::Worker;
use anyhow::{Context, bail};
use tokio::net::TcpListener;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::common::{Common, WORKER_STOP, busy, open, retire};
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
    config::{Env, How, Module, ProcessEnv, Settings, iii::Store},
    listener::Gate,
    session::LocalSession,
    storage,
};

/// In which they are opened; they are closed the other way round.
const ORDER: [Module; 10] = [
    Module::Observe,
    Module::State,
    Module::Queue,
    Module::Http,
    Module::Configuration,
    Module::Pubsub,
    Module::Cron,
    Module::HttpFunctions,
    Module::Stream,
    Module::Bridge,
];

/// The port that clients of streams look at first.
const STREAM_PORT: u16 = 3112;

/// How long one that is switched off may take to finish what it has begun.
const LEAVE: Duration = Duration::from_secs(5);

/// The same for one that has a successor, which takes everything new. Its longest work are runs of
/// cron jobs, an hour unless more is asked for.
const SUCCEED: Duration = Duration::from_hours(1);

/// The modules that run.
pub(super) struct Modules {
    common: Arc<Common>,
    open: BTreeMap<Module, Open>,
    /// Those that have a successor and finish what they have begun.
    leaving: TaskTracker,
    at_once: CancellationToken,
}

struct Open {
    session: LocalSession,
    kind: Kind,
}

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
    worker: Arc<dyn Worker>,
    kind: Kind,
}

/// What a change of a module comes to.
pub(super) enum Step {
    Open(Module, Made),
    Replace(Module, Made),
    Adjust(Module, Adjustment),
    Close(Module),
    /// It takes its settings at the start of the engine only.
    Restart,
}

/// New settings for a module that goes on.
type Adjustment = Box<dyn FnOnce(&mut Kind) -> Result<(), agentos_sdk::Error> + Send>;

impl Modules {
    pub(super) fn new(common: Arc<Common>) -> Self {
        Modules {
            common,
            open: BTreeMap::new(),
            leaving: TaskTracker::new(),
            at_once: CancellationToken::new(),
        }
    }

    /// Makes all that `settings` ask for. `observe` was made before, for it hears of everything.
    pub(super) async fn prepare_all(
        &self,
        settings: &Settings,
        observe: Arc<Observe>,
    ) -> anyhow::Result<Vec<Step>> {
        let mut observe = Some(observe);
        let mut steps = Vec::new();
        for module in ORDER {
            if !settings.modules.runs(module) {
                continue;
            }
            let made = match (module, observe.take_if(|_| module == Module::Observe)) {
                (Module::Observe, Some(worker)) => Made::plain(worker),
                _ => self.make(settings, module).await?,
            };
            steps.push(Step::Open(module, made));
        }
        Ok(steps)
    }

    /// Finds out what a change comes to, and does of it what can fail.
    pub(super) async fn prepare(
        &self,
        old: &Settings,
        settings: &Settings,
        module: Module,
        how: How,
    ) -> anyhow::Result<Step> {
        let kind = self.open.get(&module).map(|open| open.kind.clone());
        let modules = &settings.modules;
        Ok(match (how, kind) {
            (How::Removed, _) => Step::Close(module),
            _ if module == Module::Observe => Step::Restart,
            (_, None) => Step::Open(module, self.make(settings, module).await?),
            (_, Some(Kind::Plain)) => Step::Replace(module, self.make(settings, module).await?),
            (_, Some(Kind::State(state))) => {
                let config = modules.state()?;
                adjust(module, move || state.reconfigure(config))
            }
            (_, Some(Kind::Queue(queue))) => {
                let config = modules.queue()?;
                adjust(module, move || queue.reconfigure(config))
            }
            (_, Some(Kind::Pubsub(pubsub))) => {
                let config = modules.pubsub()?;
                adjust(module, move || pubsub.reconfigure(config))
            }
            (_, Some(Kind::Configuration(configuration))) => {
                let config = modules.configuration()?;
                adjust(module, move || configuration.reconfigure(config))
            }
            (_, Some(Kind::Http(http, _))) => self.move_http(old, settings, http).await?,
            (_, Some(Kind::Stream(stream, _))) => self.move_stream(old, settings, stream).await?,
        })
    }

    async fn move_http(
        &self,
        old: &Settings,
        settings: &Settings,
        http: Arc<Http>,
    ) -> anyhow::Result<Step> {
        let wanted = settings.http.listener.address;
        let place = elsewhere(old.http.listener.address, wanted)
            .await
            .with_context(|| busy(wanted, "listen.http.port", "--http-port"))?;
        let (gate, config) = (self.http_gate(settings), http_config(settings)?);
        let adjustment: Adjustment = Box::new(move |kind| {
            http.reconfigure(gate, config);
            let Some((listener, address)) = place else {
                return Ok(());
            };
            http.move_to(listener)?;
            *kind = Kind::Http(http, address);
            Ok(())
        });
        Ok(Step::Adjust(Module::Http, adjustment))
    }

    async fn move_stream(
        &self,
        old: &Settings,
        settings: &Settings,
        stream: Arc<Stream>,
    ) -> anyhow::Result<Step> {
        let wanted = settings.stream.address;
        let place = elsewhere(old.stream.address, wanted)
            .await
            .with_context(|| busy(wanted, "listen.stream.port", "--stream-port"))?;
        let gate = Gate::new(&settings.stream, &self.common.token, 0);
        let config = settings.modules.stream()?;
        let adjustment: Adjustment = Box::new(move |kind| {
            stream.reconfigure(gate, config);
            let Some((listener, address)) = place else {
                return Ok(());
            };
            stream.move_to(listener)?;
            *kind = Kind::Stream(stream, address);
            Ok(())
        });
        Ok(Step::Adjust(Module::Stream, adjustment))
    }

    async fn make(&self, settings: &Settings, module: Module) -> anyhow::Result<Made> {
        let (common, modules) = (&self.common, &settings.modules);
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
            Module::Http => self.bind_http(settings).await?,
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
            Module::Stream => self.bind_stream(settings, store()).await?,
            Module::Bridge => {
                let bridge = modules.bridge(&ProcessEnv)?;
                Made::plain(bridge.context("the bridge cannot be opened")?)
            }
        })
    }

    fn http_gate(&self, settings: &Settings) -> Gate {
        let Common {
            token,
            message_bytes_max,
            ..
        } = &*self.common;
        Gate::new(&settings.http.listener, token, *message_bytes_max)
    }

    async fn bind_http(&self, settings: &Settings) -> anyhow::Result<Made> {
        let (common, wanted) = (&self.common, settings.http.listener.address);
        let bus = Arc::clone(&common.bus);
        let around = http::Surroundings {
            channels: Arc::clone(&common.channels),
            ready: readiness(common),
            speaks_json: Arc::new(move |namespace, function| bus.speaks_json(namespace, function)),
        };
        let config = http_config(settings)?;
        let bound = Http::bind(wanted, self.http_gate(settings), config, around).await;
        let (http, address) =
            bound.with_context(|| busy(wanted, "listen.http.port", "--http-port"))?;
        Ok(Made::new(Arc::clone(&http) as _, Kind::Http(http, address)))
    }

    /// Where only the port of streams is taken, by the engine beside which this one was given ports of
    /// its own, a free one will do.
    async fn bind_stream(
        &self,
        settings: &Settings,
        store: Arc<dyn storage::Storage>,
    ) -> anyhow::Result<Made> {
        let directory = Arc::clone(&self.common.bus);
        let offered: stream::Offered = Arc::new(move |id| directory.function(None, id).is_some());
        let gate = Gate::new(&settings.stream, &self.common.token, 0);
        let config = settings.modules.stream()?;
        let bind = |address| {
            let (store, offered) = (Arc::clone(&store), Arc::clone(&offered));
            Stream::bind(address, gate.clone(), config.clone(), store, offered)
        };
        let wanted = settings.stream.address;
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

    /// Does what was prepared.
    pub(super) async fn take(&mut self, step: Step) -> anyhow::Result<()> {
        match step {
            Step::Open(module, made) => self.open(module, made).await?,
            Step::Replace(module, made) => {
                let before = self.open.remove(&module);
                if let Err(error) = self.open(module, made).await {
                    // Its predecessor goes on.
                    self.open.extend(before.map(|before| (module, before)));
                    return Err(error);
                }
                if let Some(before) = before {
                    let at_once = self.at_once.clone();
                    self.leaving
                        .spawn(async move { retire(before.session, SUCCEED, &at_once).await });
                }
            }
            Step::Adjust(module, adjustment) => {
                if let Some(open) = self.open.get_mut(&module) {
                    adjustment(&mut open.kind).map_err(anyhow::Error::msg)?;
                }
            }
            Step::Close(module) => {
                if let Some(open) = self.open.remove(&module) {
                    self.close(open).await;
                }
            }
            // Said, not done.
            Step::Restart => {}
        }
        Ok(())
    }

    async fn open(&mut self, module: Module, made: Made) -> anyhow::Result<()> {
        let Made { worker, kind } = made;
        let session = open(&self.common.bus, module.name(), Trust::Engine, worker).await?;
        self.open.insert(module, Open { session, kind });
        Ok(())
    }

    async fn close(&self, open: Open) {
        let Open { session, kind } = open;
        match kind {
            // Whoever comes in through a port is told by the worker itself.
            Kind::Http(..) | Kind::Stream(..) => session.close(WORKER_STOP).await,
            Kind::Queue(queue) => {
                queue.halt();
                retire(session, LEAVE, &self.at_once).await;
            }
            _ => retire(session, LEAVE, &self.at_once).await,
        }
    }

    /// Does the module go on with the store it was opened on when it changes?
    pub(super) fn keeps_its_store(&self, module: Module) -> bool {
        let open = self.open.get(&module);
        open.is_some_and(|open| {
            matches!(
                open.kind,
                Kind::State(_) | Kind::Queue(_) | Kind::Stream(..)
            )
        })
    }

    pub(super) fn http_address(&self) -> Option<SocketAddr> {
        self.open
            .get(&Module::Http)
            .and_then(|open| match open.kind {
                Kind::Http(_, address) => Some(address),
                _ => None,
            })
    }

    pub(super) fn stream_address(&self) -> Option<SocketAddr> {
        self.open
            .get(&Module::Stream)
            .and_then(|open| match open.kind {
                Kind::Stream(_, address) => Some(address),
                _ => None,
            })
    }

    /// The engine ends: messages in work must not count as failed because of it.
    pub(super) fn halt(&self) {
        if let Some(Kind::Queue(queue)) = self.open.get(&Module::Queue).map(|open| &open.kind) {
            queue.halt();
        }
    }

    pub(super) async fn shutdown(mut self) {
        self.at_once.cancel();
        for module in ORDER.into_iter().rev() {
            if let Some(open) = self.open.remove(&module) {
                open.session.close(WORKER_STOP).await;
            }
        }
        self.leaving.close();
        self.leaving.wait().await;
    }
}

impl Made {
    fn new(worker: Arc<dyn Worker>, kind: Kind) -> Self {
        Made { worker, kind }
    }

    fn plain(worker: Arc<dyn Worker>) -> Self {
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

fn adjust(module: Module, change: impl FnOnce() + Send + 'static) -> Step {
    let adjustment: Adjustment = Box::new(move |_| {
        change();
        Ok(())
    });
    Step::Adjust(module, adjustment)
}

/// Binds `wanted`, if it is another place than was wanted before.
async fn elsewhere(
    before: SocketAddr,
    wanted: SocketAddr,
) -> std::io::Result<Option<(TcpListener, SocketAddr)>> {
    if before == wanted {
        return Ok(None);
    }
    let listener = TcpListener::bind(wanted).await?;
    let address = listener.local_addr()?;
    Ok(Some((listener, address)))
}

fn http_config(settings: &Settings) -> anyhow::Result<http::Config> {
    Ok(http::Config {
        body_bytes_max: settings.http.body_bytes_max,
        timeout_ms: u64::try_from(settings.http.timeout.as_millis())?,
        ..settings.modules.http()?
    })
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
