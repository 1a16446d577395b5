//! Puts the engine together and starts it, in order. The one place that names everything.

mod common;
mod crew;
mod doors;
mod follow;
mod house;
mod making;
mod modules;
mod note;
mod parts;
mod token;

use std::{
    net::SocketAddr,
    sync::{Arc, OnceLock},
    time::{Duration, Instant},
};

use agentos_core::policy::Trust;
use agentos_protocol::{Code, ErrorBody};
use anyhow::Context;
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use crate::{
    Bus,
    builtin::{admin::Admin, channels, keeper::Keeper, live::Live, observe::Observe},
    channel::{self, Channels},
    config::{Auth, ProcessEnv, Settings},
    fleet::Fleet,
    listener::Bounds,
    session::IiiShared,
    storage::{self, Storage},
    supervisor::{self, this_program_as_guard},
};

pub use crew::Hire;
pub use follow::Follow;
pub use note::{Note, claim, engines_dir};
pub use parts::Relog;

use common::{Common, WORKER_STOP, open, reachable};
use crew::Crew;
use doors::Doors;
use follow::Following;
use modules::Modules;
use parts::Parts;

/// The port that workers look at first.
const BUS_PORT: u16 = 49134;

/// How long sessions may take to close after they were told.
const SESSIONS_STOP: Duration = Duration::from_secs(3);

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
    http_address: Option<SocketAddr>,
    stream_address: Option<SocketAddr>,
    token: String,
    auth: (Auth, Auth),
    took: Duration,
    supervisor: supervisor::Handle,
    fleet: Fleet,
    parts: Arc<tokio::sync::Mutex<Option<Parts>>>,
    following: Option<Following>,
    shutdown: CancellationToken,
    deadlines: CancellationToken,
}

/// Starts the engine: everything in-process is up when this returns; worker processes are on
/// their way. `hire` makes the workers in the engine's process.
///
/// # Errors
/// What stood in the way, and what to do about it. Nothing is left running then.
pub async fn start(
    settings: &Arc<Settings>,
    hire: Hire,
    surroundings: Surroundings,
) -> anyhow::Result<Running> {
    let began = Instant::now();
    // Rather than keep here what belongs elsewhere.
    making::refuse_bridged(settings)?;
    let bus = Bus::new(agentos_core::Limits::default());
    let mut crew = Crew::new(Arc::clone(&bus), hire);
    // What is wrong with a worker's section is told before anything starts.
    let mut recruits = Vec::new();
    for builtin in &settings.workers.builtin {
        recruits.extend(crew.recruit(&builtin.name, settings)?);
    }
    std::fs::create_dir_all(&settings.data_dir).with_context(|| {
        format!(
            "cannot make the data directory {}",
            settings.data_dir.display()
        )
    })?;
    let note = Note::claim(&settings.data_dir)?;
    let token = token::read_or_make(&settings.data_dir)?;
    let store = open_store(settings)?;
    let (observe, telemetry) = Observe::open(settings.modules.observe()?);
    bus.watch(telemetry.watcher());
    let common = Arc::new(Common {
        bus: Arc::clone(&bus),
        store,
        channels: Channels::new(channel::Config::default()),
        token: token.clone(),
        message_bytes_max: usize::try_from(settings.limits.message_bytes_max)?,
        processes: Arc::new(OnceLock::new()),
        is_beside_another: common::is_beside_another(settings),
    });
    let shared = IiiShared {
        bus: Arc::clone(&bus),
        grace: Live::new(settings.registration_namespace_grace),
        telemetry: telemetry.clone(),
        registering: Arc::default(),
    };
    let doors = Doors::bind(Arc::clone(&common), shared, bounds(settings)?, settings).await?;
    let bus_address = doors.address();
    let mut modules = Modules::new(Arc::clone(&common));
    let made = modules.prepare_all(settings, observe).await?;

    let url = format!("ws://{}", reachable(bus_address));
    let supervisor = supervise(settings, &url, &token, surroundings.search_path)?;
    // Set once, here.
    let _ = common.processes.set(supervisor.clone());
    let fleet = Fleet::new(
        Arc::clone(&bus) as _,
        supervisor.clone(),
        Arc::new(ProcessEnv),
        settings.data_dir.join("builds"),
    );
    bus.ask_doorkeeper(fleet.doorkeeper());

    let shutdown = CancellationToken::new();
    let about = Live::new(Value::Null);
    let admin = Arc::new(Admin {
        directory: Arc::clone(&bus) as _,
        fleet: fleet.clone(),
        supervisor: supervisor.clone(),
        shutdown: shutdown.clone(),
        clock: bus.clock(),
        telemetry,
        about: about.clone(),
        store: Arc::clone(&common.store),
        changes: Arc::default(),
    });
    let channels = Arc::new(channels::Channels(Arc::clone(&common.channels)));
    let keeper = Arc::new(Keeper(Arc::clone(&common.store)));
    let fixed = vec![
        open(&bus, "engine", Trust::Engine, admin).await?,
        open(&bus, "channels", Trust::Engine, channels).await?,
        open(&bus, "storage", Trust::Engine, keeper).await?,
    ];
    for step in made {
        modules.take(step).await?;
    }
    for recruit in recruits {
        crew.take(recruit).await?;
    }
    for (name, session) in crew.members() {
        fleet.adopt(name, session);
    }
    for manifest in &settings.workers.processes {
        fleet
            .enlist(manifest.clone())
            .with_context(|| format!("cannot start the worker `{}`", manifest.name))?;
    }
    let mut parts = Parts {
        common,
        started: Arc::clone(settings),
        in_force: Arc::clone(settings),
        note,
        engines_dir: surroundings.engines_dir,
        about,
        fleet: fleet.clone(),
        doors,
        fixed,
        modules,
        exec: None,
        crew,
    };
    parts.watch().await?;

    let deadlines = CancellationToken::new();
    tokio::spawn(Arc::clone(&bus).keep_deadlines(deadlines.clone()));
    parts.doors.open();
    parts.publish()?;
    let (http_address, stream_address) =
        (parts.modules.http_address(), parts.modules.stream_address());
    let parts = Arc::new(tokio::sync::Mutex::new(Some(parts)));
    fleet.furnish(Arc::new(house::InHouse(Arc::downgrade(&parts))));
    Ok(Running {
        bus,
        bus_address,
        http_address,
        stream_address,
        token,
        auth: (settings.bus.auth, settings.http.listener.auth),
        took: began.elapsed(),
        supervisor,
        fleet,
        parts,
        following: None,
        shutdown,
        deadlines,
    })
}

fn open_store(settings: &Settings) -> anyhow::Result<Arc<dyn Storage>> {
    let adapter = settings.storage.adapter;
    if adapter == storage::Adapter::Memory {
        tracing::warn!(
            "`storage.adapter` is `memory`: everything is forgotten when the engine ends"
        );
    }
    let opened = adapter.open(&settings.data_dir.join("store"));
    opened.context("cannot open the store")
}

fn bounds(settings: &Settings) -> anyhow::Result<Bounds> {
    let outbox = agentos_wire::Limits {
        frames_max: usize::try_from(settings.limits.outbox_frames_max)?,
        bytes_max: usize::try_from(settings.limits.outbox_bytes_max)?,
    };
    Ok(Bounds::new(
        usize::try_from(settings.limits.sessions_max)?,
        outbox,
    ))
}

fn supervise(
    settings: &Settings,
    url: &str,
    token: &str,
    search_path: String,
) -> anyhow::Result<supervisor::Handle> {
    supervisor::start(supervisor::Config {
        // The fleet starts them.
        manifests: Vec::new(),
        env: vec![
            ("AGENTOS_URL".into(), url.to_owned()),
            ("AGENTOS_TOKEN".into(), token.to_owned()),
            // For workers written for iii.
            ("III_URL".into(), url.to_owned()),
            ("III_TOKEN".into(), token.to_owned()),
            (
                "AGENTOS_DATA_DIR".into(),
                settings.data_dir.display().to_string(),
            ),
        ],
        search_path,
        logs_dir: settings.logs_dir(),
        log_bytes_max: settings.workers.log_bytes_max,
        stop_timeout: settings.workers.stop_timeout,
        guard: this_program_as_guard(),
    })
    .context("cannot start the supervisor")
}

impl Running {
    pub fn bus(&self) -> &Arc<Bus> {
        &self.bus
    }

    pub fn bus_address(&self) -> SocketAddr {
        self.bus_address
    }

    /// Where clients follow streams, if streams are served. As everything here that is about
    /// addresses, as it was at the start.
    pub fn stream_url(&self) -> Option<String> {
        self.stream_address
            .map(|address| format!("ws://{}", reachable(address)))
    }

    /// Where HTTP is served, if it is.
    pub fn http_address(&self) -> Option<SocketAddr> {
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

    /// Applies what the settings file says whenever it changes, from now on.
    ///
    /// # Errors
    /// When the system cannot watch the file.
    pub async fn follow(&mut self, follow: Follow) -> std::io::Result<()> {
        self.following = Following::start(Arc::clone(&self.parts), follow).await?;
        Ok(())
    }

    /// Resolves when `engine::shutdown` was called.
    pub async fn asked_to_stop(&self) {
        self.shutdown.cancelled().await;
    }

    /// Stops everything in order: processes, sessions, built-ins, store.
    pub async fn shutdown(self) {
        if let Some(following) = self.following {
            following.stop().await;
        }
        self.fleet.shutdown().await;
        let Some(parts) = self.parts.lock().await.take() else {
            return;
        };
        parts.doors.shut();
        parts.modules.halt();
        self.supervisor.shutdown().await;
        self.bus.close_all(&ErrorBody::engine(
            Code::Unavailable,
            "the engine is stopping",
        ));
        if tokio::time::timeout(SESSIONS_STOP, parts.doors.empty())
            .await
            .is_err()
        {
            tracing::warn!("some sessions did not close in time");
        }
        // Workers before the built-ins they call.
        parts.crew.shutdown().await;
        if let Some(exec) = parts.exec {
            exec.close(WORKER_STOP).await;
        }
        parts.modules.shutdown().await;
        for session in parts.fixed.into_iter().rev() {
            session.close(WORKER_STOP).await;
        }
        parts.doors.shutdown().await;
        self.deadlines.cancel();
        parts.note.withdraw();
        drop(parts.common);
    }
}
