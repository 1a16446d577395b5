//! The workers that this engine runs: which build of each, how many instances, and how much of the
//! traffic each gets.
//!
//! The supervisor knows processes and the bus knows sessions; here they are put together. Whatever is
//! done to a worker is done in its turn, one thing at a time, and goes on when whoever asked has left.

mod gate;
mod house;
mod order;
mod ready;
mod step;
mod swap;
mod traffic;
mod trial;
mod turn;
mod version;
mod view;

use std::{
    collections::BTreeMap,
    path::PathBuf,
    sync::{Arc, OnceLock},
    time::Duration,
};

use agentos_protocol::{Code, ErrorBody, SessionId};
use parking_lot::Mutex;
use tokio::sync::broadcast;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    config::Env,
    supervisor::{self, InstanceId, Manifest, now_ms},
};
pub(crate) use gate::Doorkeeper;
use gate::Gate;
pub(crate) use house::House;
pub use step::{Step, Tally, What};
pub(crate) use swap::{Plan, To};
pub(crate) use traffic::{Counts, FULL, Traffic};
pub(crate) use turn::{DRAIN, READY};
use version::{Source, Standing, Version, Versions};

/// Steps kept for a listener that is slow; it is told of the gap.
const STEPS_MAX: usize = 1024;

/// The workers of an engine. Cheap to clone.
#[derive(Clone)]
pub struct Fleet(Arc<Inner>);

struct Inner {
    traffic: Arc<dyn Traffic>,
    supervisor: supervisor::Handle,
    gate: Arc<Gate>,
    house: OnceLock<Arc<dyn House>>,
    /// Every worker that the settings name is known.
    furnished: CancellationToken,
    env: Arc<dyn Env>,
    builds_dir: PathBuf,
    workers: Mutex<BTreeMap<String, Arc<Worker>>>,
    steps: broadcast::Sender<Step>,
    tasks: TaskTracker,
    stop: CancellationToken,
}

/// One worker, whatever runs of it.
struct Worker {
    name: String,
    /// Held by whoever changes something.
    turn: Arc<tokio::sync::Mutex<()>>,
    now: Mutex<Now>,
}

struct Now {
    source: Source,
    seats: Vec<Seat>,
    /// How many there are to be.
    replicas: usize,
    mode: Mode,
    versions: Versions,
}

/// Who serves: a process that the supervisor runs, or a session in the engine's process.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Seat {
    Process(InstanceId),
    Local(SessionId),
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Mode {
    Running,
    /// It runs and gets no calls.
    Paused,
    Stopped,
}

impl Mode {
    fn as_str(self) -> &'static str {
        match self {
            Mode::Running => "running",
            Mode::Paused => "paused",
            Mode::Stopped => "stopped",
        }
    }
}

impl Worker {
    fn new(name: &str, source: Source, seats: Vec<Seat>) -> Arc<Worker> {
        let now = Now {
            source,
            replicas: seats.len(),
            seats,
            mode: Mode::Running,
            versions: Versions::default(),
        };
        Arc::new(Worker {
            name: name.to_owned(),
            turn: Arc::default(),
            now: Mutex::new(now),
        })
    }

    fn seats(&self) -> Vec<Seat> {
        self.now.lock().seats.clone()
    }

    fn source(&self) -> Source {
        self.now.lock().source.clone()
    }
}

impl Fleet {
    /// `builds_dir` is where builds are kept; those of an earlier life of the engine are forgotten.
    pub(crate) fn new(
        traffic: Arc<dyn Traffic>,
        supervisor: supervisor::Handle,
        env: Arc<dyn Env>,
        builds_dir: PathBuf,
    ) -> Self {
        // There are none after the first start of an engine.
        let _ = std::fs::remove_dir_all(&builds_dir);
        Fleet(Arc::new(Inner {
            traffic,
            gate: Arc::new(Gate::new(supervisor.clone())),
            supervisor,
            house: OnceLock::new(),
            furnished: CancellationToken::new(),
            env,
            builds_dir,
            workers: Mutex::default(),
            steps: broadcast::Sender::new(STEPS_MAX),
            tasks: TaskTracker::new(),
            stop: CancellationToken::new(),
        }))
    }

    pub(crate) fn doorkeeper(&self) -> Arc<dyn Doorkeeper> {
        Arc::clone(&self.0.gate) as _
    }

    /// Where in-process workers come from. Said once, when everything is there.
    pub(crate) fn furnish(&self, house: Arc<dyn House>) {
        let _ = self.0.house.set(house);
        self.0.furnished.cancel();
    }

    /// Takes over a worker in the engine's process that is there.
    pub(crate) fn adopt(&self, name: &str, session: SessionId) {
        self.0.traffic.belongs(session, name);
        let mut workers = self.0.workers.lock();
        if let Some(worker) = workers.get(name) {
            worker.now.lock().seats = vec![Seat::Local(session)];
            return;
        }
        let worker = Worker::new(name, Source::InProcess, vec![Seat::Local(session)]);
        let _ = worker.now.lock().versions.add(Version::in_process());
        workers.insert(name.to_owned(), worker);
    }

    /// Whether the worker of this name is known, and runs as a process.
    pub(crate) fn is_elsewhere(&self, name: &str) -> bool {
        let worker = self.0.workers.lock().get(name).cloned();
        worker.is_some_and(|worker| matches!(worker.source(), Source::Process(_)))
    }

    /// Starts a worker that is a process of its own; returns at once.
    ///
    /// # Errors
    /// When its log cannot be written.
    pub(crate) fn enlist(&self, manifest: Manifest) -> std::io::Result<()> {
        let name = manifest.name.clone();
        let source = Source::Process(Box::new(manifest.clone()));
        let go = (!manifest.depends_on.is_empty()).then(CancellationToken::new);
        let mut seats = Vec::new();
        for _ in 0..manifest.replicas {
            let instance = self.0.supervisor.next_instance();
            let manifest = manifest.clone();
            self.0
                .supervisor
                .add_after(instance, manifest, go.clone())?;
            seats.push(Seat::Process(instance));
        }
        let worker = Worker::new(&name, source, seats);
        self.0.workers.lock().insert(name, Arc::clone(&worker));
        if let Some(go) = go {
            let (fleet, worker) = (self.clone(), Arc::clone(&worker));
            let waiting = async move { fleet.start_after(worker, manifest.depends_on, go).await };
            self.0.tasks.spawn(waiting);
        }
        let fleet = self.clone();
        self.0
            .tasks
            .spawn(async move { fleet.note_first(&worker).await });
        Ok(())
    }

    /// Brings a worker to where the settings want it: a process as `manifest` says, or none.
    pub(crate) async fn settle(&self, name: &str, manifest: Option<Manifest>) {
        let outcome = match manifest {
            Some(manifest) if self.answers(name) => {
                let to = To::Manifest(Box::new(manifest));
                let done = self.swap(name, Plan::plain("settings", to)).await;
                done.map(drop).map_err(|error| error.message)
            }
            manifest => {
                self.dismiss(name).await;
                manifest.map_or(Ok(()), |manifest| {
                    self.enlist(manifest).map_err(|error| error.to_string())
                })
            }
        };
        if let Err(error) = outcome {
            tracing::error!(worker = name, error, "it is not as the settings say");
        }
    }

    /// Whether the worker offers functions now.
    fn answers(&self, name: &str) -> bool {
        let worker = self.0.workers.lock().get(name).cloned();
        worker.is_some_and(|worker| worker.seats().iter().any(|seat| self.serves(*seat)))
    }

    /// Forgets a worker and ends what runs of it; false when there is none of this name.
    pub(crate) async fn dismiss(&self, name: &str) -> bool {
        let Some(worker) = self.0.workers.lock().remove(name) else {
            return false;
        };
        let _turn = worker.turn.lock().await;
        self.end(worker.seats()).await;
        true
    }

    /// Begins nothing more, and leaves what was begun.
    pub(crate) async fn shutdown(&self) {
        self.0.stop.cancel();
        self.0.tasks.close();
        self.0.tasks.wait().await;
    }

    /// Steps from now on.
    pub(crate) fn steps(&self) -> broadcast::Receiver<Step> {
        self.0.steps.subscribe()
    }

    fn worker(&self, name: &str) -> Result<Arc<Worker>, ErrorBody> {
        let workers = self.0.workers.lock();
        workers.get(name).cloned().ok_or_else(|| {
            let known: Vec<&str> = workers.keys().map(String::as_str).collect();
            let message = match known.is_empty() {
                true => format!("this engine runs no worker `{name}`, nor any other"),
                false => format!(
                    "this engine runs no worker `{name}`; it runs {}",
                    known.join(", ")
                ),
            };
            ErrorBody::caller(Code::NotFound, message)
        })
    }

    fn tell(&self, worker: &Worker, what: What) {
        let step = Step {
            worker: worker.name.clone(),
            what,
        };
        tracing::info!(worker = worker.name, step = %step.to_json(), "a step");
        // Nobody has to listen.
        let _ = self.0.steps.send(step);
    }

    /// Starts one more process, whose sessions get no calls when they come.
    fn launch(&self, manifest: &Manifest) -> std::io::Result<Seat> {
        let supervisor = &self.0.supervisor;
        let instance = supervisor.next_instance();
        self.0.gate.expect(instance);
        supervisor.add(instance, manifest.clone())?;
        Ok(Seat::Process(instance))
    }

    /// The sessions through which a seat serves.
    fn sessions_of(&self, seat: Seat) -> Vec<agentos_core::SessionView> {
        let mut sessions = self.0.traffic.sessions();
        sessions.retain(|session| match seat {
            Seat::Local(id) => session.session == id,
            Seat::Process(instance) => self.0.gate.instance_of(session) == Some(instance),
        });
        sessions
    }

    /// Gives each of `seats` its share of the calls from now on.
    fn share(&self, seats: &[Seat], share: u16) {
        for seat in seats {
            let mut over = Duration::ZERO;
            if let Seat::Process(instance) = seat {
                for stranger in self.0.gate.set(*instance, share) {
                    self.0.traffic.give(stranger, FULL, over);
                }
                over = self.0.gate.slow_start(*instance);
            }
            for session in self.sessions_of(*seat) {
                self.0.traffic.give(session.session, share, over);
            }
        }
    }

    /// What was started when the engine was becomes the first version, once it has a build.
    async fn note_first(&self, worker: &Arc<Worker>) {
        let Some(Seat::Process(instance)) = worker.seats().first().copied() else {
            return;
        };
        let Some(mut status) = self.0.supervisor.follow(instance) else {
            return;
        };
        let known = status.wait_for(|status| status.build.is_some());
        let build = tokio::select! {
            known = known => known.ok().and_then(|status| status.build.clone()),
            () = self.0.stop.cancelled() => return,
        };
        let source = worker.source();
        let kept = self.keep(&worker.name, build.as_deref(), &source).await;
        let version = Version {
            build,
            source,
            standing: Standing::Serving,
            since_ms: now_ms(),
            kept,
            error: None,
        };
        let mut now = worker.now.lock();
        // A swap that was quicker has made its own.
        if now.versions.serving().is_none() {
            let _ = now.versions.add(version);
        }
    }

    /// Keeps the files of a build; `None` when that cannot be, or they are no longer those.
    async fn keep(&self, name: &str, build: Option<&str>, source: &Source) -> Option<PathBuf> {
        let (build, Source::Process(manifest)) = (build?.to_owned(), source) else {
            return None;
        };
        if !manifest.folder.join(Manifest::FILE).is_file() {
            return None;
        }
        let folder = self.0.builds_dir.join(name).join(&build);
        let manifest = (**manifest).clone();
        let kept = tokio::task::spawn_blocking(move || {
            std::fs::create_dir_all(folder.parent()?).ok()?;
            let kept = supervisor::Handle::keep(&manifest, &folder);
            let copy = Manifest {
                folder: folder.clone(),
                ..manifest
            };
            let same = supervisor::Handle::build_of(&copy).is_ok_and(|copied| copied == build);
            match kept {
                Ok(true) if same => Some(folder),
                Ok(false) => None,
                Ok(true) => {
                    // Somebody saved a file meanwhile.
                    let _ = std::fs::remove_dir_all(&folder);
                    None
                }
                Err(error) => {
                    tracing::warn!(worker = copy.name, %error, "its files are not kept, so a rollback will need them as they were");
                    None
                }
            }
        });
        kept.await.ok().flatten()
    }
}

impl Version {
    fn in_process() -> Version {
        Version {
            build: Some(env!("CARGO_PKG_VERSION").to_owned()),
            source: Source::InProcess,
            standing: Standing::Serving,
            since_ms: now_ms(),
            kept: None,
            error: None,
        }
    }
}
