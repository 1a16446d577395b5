//! Puts the engine together and starts it, in order. The one place that names everything.

mod doors;
mod note;
mod token;

use std::{
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use agentos_core::policy::Trust;
use agentos_protocol::{Code, ErrorBody};
use agentos_sdk::Worker;
use anyhow::{Context, bail};
use serde_json::json;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::{
    Bus,
    builtin::{
        admin::Admin,
        channels,
        configuration::Configuration,
        cron::Cron,
        exec::Exec,
        http::{self, Http, Readiness},
        http_functions::{self, HttpFunctions},
        observe::Observe,
        pubsub::Pubsub,
        queue::Queue,
        state::State,
        stream::{self, Stream},
    },
    channel::{self, Channels},
    config::{Auth, Env, Module, ProcessEnv, Settings, iii::Store},
    listener::{Bounds, Gate},
    session::{IiiShared, LocalSession},
    storage,
    supervisor::{self, this_program_as_guard},
};

pub use note::{Note, engines_dir};

use doors::Doors;

/// The ports that clients look at first.
const BUS_PORT: u16 = 49134;
const STREAM_PORT: u16 = 3112;

/// How long background work of one worker may take to stop.
const WORKER_STOP: Duration = Duration::from_secs(2);
/// How long sessions may take to close after they were told.
const SESSIONS_STOP: Duration = Duration::from_secs(3);

/// A worker that runs in the engine's process.
pub struct InProcess {
    pub name: String,
    pub worker: Arc<dyn Worker>,
}

/// What the boot needs from the process it runs in.
#[derive(Clone, Debug)]
pub struct Surroundings {
    /// Where programs of workers are looked for: `PATH`.
    pub search_path: String,
    /// Where engines of this account leave their notes; `None` leaves none.
    pub engines_dir: Option<std::path::PathBuf>,
}

/// A running engine.
pub struct Running {
    bus: Arc<Bus>,
    bus_address: SocketAddr,
    http_address: SocketAddr,
    stream_address: Option<SocketAddr>,
    token: String,
    auth: (Auth, Auth),
    took: Duration,
    note: Note,
    supervisor: supervisor::Handle,
    locals: Vec<LocalSession>,
    queue: Arc<Queue>,
    store: Arc<dyn storage::Storage>,
    listener: JoinHandle<()>,
    accept: CancellationToken,
    shutdown: CancellationToken,
    deadlines: CancellationToken,
}

/// Starts the engine: everything in-process is up when this returns; worker processes are on
/// their way.
///
/// # Errors
/// What stood in the way, and what to do about it. Nothing is left running then.
pub async fn start(
    settings: &Settings,
    workers: Vec<InProcess>,
    surroundings: Surroundings,
) -> anyhow::Result<Running> {
    let began = Instant::now();
    // Rather than keep here what belongs elsewhere.
    let bridged = |module: &&Module| settings.modules.bridged(**module).is_some();
    if let Some(module) = Module::ALL.iter().find(bridged) {
        bail!(
            "the adapter `bridge` of {} is not served yet",
            module.name()
        );
    }
    std::fs::create_dir_all(&settings.data_dir).with_context(|| {
        format!(
            "cannot make the data directory {}",
            settings.data_dir.display()
        )
    })?;
    let mut note = Note::claim(&settings.data_dir)?;
    let token = token::read_or_make(&settings.data_dir)?;
    let store =
        storage::fjall::open(&settings.data_dir.join("store")).context("cannot open the store")?;

    let bus = Bus::new(agentos_core::Limits::default());
    let (observe, telemetry) = Observe::open(settings.modules.observe()?);
    bus.watch(telemetry.watcher());
    let message_bytes_max = usize::try_from(settings.limits.message_bytes_max)?;
    let outbox = agentos_wire::Limits {
        frames_max: usize::try_from(settings.limits.outbox_frames_max)?,
        bytes_max: usize::try_from(settings.limits.outbox_bytes_max)?,
    };
    let bounds = Bounds::new(usize::try_from(settings.limits.sessions_max)?, outbox);
    let shared = IiiShared {
        bus: Arc::clone(&bus),
        grace: settings.registration_namespace_grace,
        telemetry: telemetry.clone(),
    };
    let channels = Channels::new(channel::Config::default());
    let common = doors::Common {
        shared,
        channels: Arc::clone(&channels),
        bounds,
        token: &token,
        message_bytes_max,
    };
    let mut doors = Doors::bind(settings, common).await?;
    let bus_address = doors.address()?;

    let gate = Gate::new(&settings.http.listener, &token, message_bytes_max);
    let http_config = http::Config {
        body_bytes_max: settings.http.body_bytes_max,
        timeout_ms: u64::try_from(settings.http.timeout.as_millis())?,
        ..settings.modules.http()?
    };
    let processes = Arc::new(std::sync::OnceLock::new());
    let around = http::Surroundings {
        channels: Arc::clone(&channels),
        ready: readiness(&processes),
        speaks_json: {
            let bus = Arc::clone(&bus);
            Arc::new(move |namespace, function| bus.speaks_json(namespace, function))
        },
    };
    let (http, http_address) =
        Http::bind(settings.http.listener.address, gate, http_config, around)
            .await
            .with_context(|| {
                busy(
                    settings.http.listener.address,
                    "listen.http.port",
                    "--http-port",
                )
            })?;

    let url = format!("ws://{}", reachable(bus_address));
    let supervisor = supervisor::start(supervisor::Config {
        manifests: settings.workers.processes.clone(),
        env: vec![
            ("AGENTOS_URL".into(), url.clone()),
            ("AGENTOS_TOKEN".into(), token.clone()),
            // For workers written for iii.
            ("III_URL".into(), url.clone()),
            ("III_TOKEN".into(), token.clone()),
            (
                "AGENTOS_DATA_DIR".into(),
                settings.data_dir.display().to_string(),
            ),
        ],
        search_path: surroundings.search_path,
        logs_dir: settings.logs_dir(),
        log_bytes_max: settings.workers.log_bytes_max,
        stop_timeout: settings.workers.stop_timeout,
        guard: this_program_as_guard(),
    })
    .context("cannot start the supervisor")?;
    // Set once, here.
    let _ = processes.set(supervisor.clone());

    let shutdown = CancellationToken::new();
    let http_url = format!("http://{}", reachable(http_address));
    let admin = Admin::new(
        Arc::clone(&bus) as _,
        supervisor.clone(),
        shutdown.clone(),
        bus.clock(),
        telemetry,
        json!({ "url": url, "http": http_url, "data_dir": settings.data_dir }),
    );
    let mut locals: Vec<LocalSession> = doors.caller.take().into_iter().collect();
    let store_of = |module| match settings.modules.store(module) {
        Store::Durable => Arc::clone(&store),
        Store::Memory => storage::memory::open(),
    };
    let state = State::open(store_of(Module::State), settings.modules.state()?);
    let configuration = Configuration::open(
        Arc::clone(&store),
        settings.modules.configuration()?,
        Arc::new(ProcessEnv),
    );
    let queue = Queue::open(store_of(Module::Queue), settings.modules.queue()?)
        .await
        .context("cannot open the queues")?;
    let cron = Cron::open(store_of(Module::Cron), settings.modules.cron()?);
    let http_functions = http_functions(&bus, settings.modules.http_functions()?)?;
    let mut builtins: Vec<(&str, Arc<dyn Worker>)> = vec![
        ("engine", admin),
        ("channels", Arc::new(channels::Channels(channels))),
        ("observe", observe),
        ("state", state),
        ("queue", Arc::clone(&queue) as _),
        ("http", http),
        ("configuration", configuration),
        ("exec", Exec::new(settings.watches.clone())),
        ("pubsub", Pubsub::new(settings.modules.pubsub()?)),
        ("cron", cron),
        ("http_functions", http_functions),
    ];
    let mut stream_address = None;
    if settings.modules.runs(Module::Stream) {
        let (stream, address) =
            bind_stream(settings, &bus, &token, store_of(Module::Stream)).await?;
        stream_address = Some(address);
        builtins.push(("stream", stream));
    }
    if let Some(bridge) = settings.modules.bridge(&ProcessEnv)? {
        builtins.push(("bridge", bridge));
    }
    for (name, worker) in builtins {
        if is_on(settings, name) {
            locals.push(open(&bus, name, Trust::Engine, worker).await?);
        }
    }
    for InProcess { name, worker } in workers {
        locals.push(open(&bus, &name, Trust::Worker, worker).await?);
    }

    let deadlines = CancellationToken::new();
    tokio::spawn(Arc::clone(&bus).keep_deadlines(deadlines.clone()));
    let accept = CancellationToken::new();
    let listener = tokio::spawn(doors.run(accept.clone()));
    note.publish(
        surroundings.engines_dir.as_deref(),
        &url,
        &http_url,
        stream_address.map(stream_url).as_deref(),
        bus_address.port(),
    )?;
    Ok(Running {
        bus,
        bus_address,
        http_address,
        stream_address,
        token,
        auth: (settings.bus.auth, settings.http.listener.auth),
        took: began.elapsed(),
        note,
        supervisor,
        locals,
        queue,
        store,
        listener,
        accept,
        shutdown,
        deadlines,
    })
}

fn stream_url(address: SocketAddr) -> String {
    format!("ws://{}", reachable(address))
}

/// Binds the port of stream clients. Where only that one is taken, by the engine beside which this
/// one was given ports of its own, a free one will do.
async fn bind_stream(
    settings: &Settings,
    bus: &Arc<Bus>,
    token: &str,
    store: Arc<dyn storage::Storage>,
) -> anyhow::Result<(Arc<Stream>, SocketAddr)> {
    let listener = &settings.stream;
    let gate = Gate::new(listener, token, 0);
    let directory = Arc::clone(bus);
    let offered: stream::Offered = Arc::new(move |id| directory.function(None, id).is_some());
    let config = settings.modules.stream()?;
    let bind = |address| {
        Stream::bind(
            address,
            gate.clone(),
            config.clone(),
            Arc::clone(&store),
            Arc::clone(&offered),
        )
    };
    let wanted = listener.address;
    match bind(wanted).await {
        Err(error)
            if error.kind() == std::io::ErrorKind::AddrInUse
                && wanted.port() == STREAM_PORT
                && settings.bus.address.port() != BUS_PORT =>
        {
            let free = SocketAddr::new(wanted.ip(), 0);
            let bound = bind(free).await?;
            tracing::warn!(wanted = %wanted, instead = %bound.1, "the port for streams is taken; `--stream-port` chooses one");
            Ok(bound)
        }
        bound => bound.with_context(|| busy(wanted, "listen.stream.port", "--stream-port")),
    }
}

/// What is no module is always there.
fn is_on(settings: &Settings, builtin: &str) -> bool {
    let module = Module::ALL.iter().find(|module| module.name() == builtin);
    module.is_none_or(|module| settings.modules.runs(*module))
}

async fn open(
    bus: &Arc<Bus>,
    name: &str,
    trust: Trust,
    worker: Arc<dyn Worker>,
) -> anyhow::Result<LocalSession> {
    match LocalSession::open(bus, name, trust, worker).await {
        Ok(session) => Ok(session),
        Err(error) => bail!("the worker `{name}` cannot start: {error}"),
    }
}

fn http_functions(
    bus: &Arc<Bus>,
    config: http_functions::Config,
) -> anyhow::Result<Arc<HttpFunctions>> {
    let directory = Arc::clone(bus);
    let lookup: http_functions::Lookup = Arc::new(move |id, namespace| {
        let function = directory.function(namespace, id)?;
        function.spec.http.as_deref().cloned()
    });
    let env: http_functions::Env = Arc::new(|name| ProcessEnv.var(name));
    HttpFunctions::open(config, env, lookup, Some(bus.events())).map_err(anyhow::Error::msg)
}

fn readiness(
    processes: &Arc<std::sync::OnceLock<supervisor::Handle>>,
) -> Arc<dyn Fn() -> Readiness + Send + Sync> {
    let processes = Arc::clone(processes);
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

/// An address that a program on this machine can connect to.
fn reachable(address: SocketAddr) -> SocketAddr {
    match address {
        SocketAddr::V4(v4) if v4.ip().is_unspecified() => {
            SocketAddr::from(([127, 0, 0, 1], v4.port()))
        }
        SocketAddr::V6(v6) if v6.ip().is_unspecified() => {
            SocketAddr::from((std::net::Ipv6Addr::LOCALHOST, v6.port()))
        }
        address => address,
    }
}

fn busy(address: SocketAddr, key: &str, flag: &str) -> String {
    format!(
        "cannot listen on {address}; if another program has the port, choose another with `{key}` or {flag}"
    )
}

impl Running {
    pub fn bus(&self) -> &Arc<Bus> {
        &self.bus
    }

    pub fn bus_address(&self) -> SocketAddr {
        self.bus_address
    }

    /// Where clients follow streams, if streams are served.
    pub fn stream_url(&self) -> Option<String> {
        self.stream_address.map(stream_url)
    }

    pub fn http_address(&self) -> SocketAddr {
        self.http_address
    }

    pub fn token(&self) -> &str {
        &self.token
    }

    /// Who may use the bus, and who HTTP.
    pub fn auth(&self) -> (Auth, Auth) {
        self.auth
    }

    /// From the call of [`start`] until everything in-process was up.
    pub fn took(&self) -> Duration {
        self.took
    }

    pub fn supervisor(&self) -> &supervisor::Handle {
        &self.supervisor
    }

    /// Resolves when `engine::shutdown` was called.
    pub async fn asked_to_stop(&self) {
        self.shutdown.cancelled().await;
    }

    /// Stops everything in order: processes, sessions, built-ins, store.
    pub async fn shutdown(self) {
        self.accept.cancel();
        self.queue.halt();
        self.supervisor.shutdown().await;
        self.bus.close_all(&ErrorBody::engine(
            Code::Unavailable,
            "the engine is stopping",
        ));
        if tokio::time::timeout(SESSIONS_STOP, self.listener)
            .await
            .is_err()
        {
            tracing::warn!("some sessions did not close in time");
        }
        // Workers before the built-ins they call.
        for local in self.locals.into_iter().rev() {
            local.close(WORKER_STOP).await;
        }
        self.deadlines.cancel();
        drop(self.store);
        self.note.withdraw();
    }
}
