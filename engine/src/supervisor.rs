//! Starts worker processes, watches them, starts them again, and leaves none behind.
//!
//! Knows folders with a `worker.yaml` and programs, not functions: what a worker offers it tells
//! the bus itself. Each process runs under a guard (see [`guard`]) that ends it with the engine.

mod backoff;
mod build;
mod environment;
mod fingerprint;
pub mod guard;
mod kin;
mod manifest;
mod output;
mod prepare;
mod process;
mod programs;
mod resources;
mod status;
mod unit;
pub(crate) mod usage;

use std::{
    collections::HashMap,
    ffi::OsString,
    io,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use tokio::{
    sync::{broadcast, mpsc, oneshot, watch},
    time::Instant,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

pub use environment::{SecretFile, Setting};
pub(crate) use manifest::REPLICAS_MAX;
pub use manifest::{Health, Language, Manifest, Policy, Restart};
pub use resources::Resources;
pub use status::{Event, InstanceId, State, Status, What};

use backoff::Backoff;
use kin::Kin;
use output::{Log, Output};
pub(crate) use unit::now_ms;
use unit::{Command, Shared, Unit};

/// What to run, and how.
#[derive(Debug)]
pub struct Config {
    pub manifests: Vec<Manifest>,
    /// Given to every process: `AGENTOS_URL`, `AGENTOS_TOKEN`, `AGENTOS_DATA_DIR`.
    pub env: Vec<(String, String)>,
    /// Where programs are looked for: `PATH`.
    pub search_path: String,
    pub logs_dir: PathBuf,
    /// Size at which a log is rotated.
    pub log_bytes_max: u64,
    /// From the request to end to the kill.
    pub stop_timeout: Duration,
    /// The guard's program and first arguments; see [`this_program_as_guard`].
    pub guard: Vec<OsString>,
}

/// This very program as the guard, even if its file has been replaced since it was started.
pub fn this_program_as_guard() -> Vec<OsString> {
    #[cfg(target_os = "linux")]
    let program = OsString::from("/proc/self/exe");
    #[cfg(not(target_os = "linux"))]
    let program =
        std::env::current_exe().map_or_else(|_| OsString::from("agentos"), PathBuf::into_os_string);
    vec![program, guard::ARGUMENT.into()]
}

/// The running supervisor. Cheap to clone.
#[derive(Clone)]
pub struct Handle(Arc<Inner>);

struct Inner {
    units: Mutex<Vec<Remote>>,
    shared: Arc<Shared>,
    logs_dir: PathBuf,
    log_bytes_max: u64,
    /// Hears everything from the start; for the first who asks.
    first_listener: Mutex<Option<broadcast::Receiver<Event>>>,
    tasks: TaskTracker,
    next_instance: AtomicU32,
    /// By worker: its instances write into one.
    logs: Mutex<HashMap<String, Log>>,
}

/// One unit, from outside.
#[derive(Clone)]
struct Remote {
    name: String,
    instance: InstanceId,
    status: watch::Receiver<Status>,
    commands: mpsc::Sender<Command>,
    output: Output,
}

/// Events kept for a listener that is slow; it is told of the gap and can look at the statuses.
const EVENTS_MAX: usize = 1024;

/// Starts every worker of `config`, each on its own; returns at once.
///
/// # Errors
/// When the folder of logs cannot be written.
pub fn start(config: Config) -> io::Result<Handle> {
    std::fs::create_dir_all(&config.logs_dir)?;
    let (events, first_listener) = broadcast::channel(EVENTS_MAX);
    let shared = Arc::new(Shared {
        env: config.env,
        guard: config.guard,
        search_path: config.search_path,
        stop_timeout: config.stop_timeout,
        events,
        kin: Arc::new(Kin::default()),
        stop: CancellationToken::new(),
    });
    let handle = Handle(Arc::new(Inner {
        units: Mutex::default(),
        shared,
        logs_dir: config.logs_dir,
        log_bytes_max: config.log_bytes_max,
        first_listener: Mutex::new(Some(first_listener)),
        tasks: TaskTracker::new(),
        next_instance: AtomicU32::new(1),
        logs: Mutex::default(),
    }));
    for manifest in config.manifests {
        handle.add(handle.next_instance(), manifest)?;
    }
    handle.0.tasks.close();
    Ok(handle)
}

fn first_status(instance: InstanceId, manifest: &Manifest, log: PathBuf) -> Status {
    Status {
        name: manifest.name.clone(),
        instance,
        build: None,
        language: manifest.language.as_str(),
        description: manifest.description.clone(),
        slow_start: manifest.slow_start,
        state: State::Preparing,
        pid: None,
        restarts: 0,
        since_ms: now_ms(),
        last_error: None,
        folder: manifest.folder.clone(),
        log,
    }
}

impl Handle {
    /// A name for an instance that is to be started: what is to hold for it can be said before it runs.
    pub fn next_instance(&self) -> InstanceId {
        InstanceId(self.0.next_instance.fetch_add(1, Ordering::Relaxed))
    }

    /// Starts one more instance of a worker, beside those there are; returns at once.
    ///
    /// # Errors
    /// When its log cannot be written.
    pub fn add(&self, instance: InstanceId, manifest: Manifest) -> io::Result<()> {
        self.add_after(instance, manifest, None)
    }

    /// As [`Handle::add`]; what it needs is prepared at once, and it is started when `go` is cancelled.
    ///
    /// # Errors
    /// As there.
    pub fn add_after(
        &self,
        instance: InstanceId,
        manifest: Manifest,
        go: Option<CancellationToken>,
    ) -> io::Result<()> {
        let inner = &self.0;
        let path = inner.logs_dir.join(format!("{}.log", manifest.name));
        let output = Output::on(self.log(&manifest.name, &path)?);
        let (status, seen) = watch::channel(first_status(instance, &manifest, path));
        let (commands, inbox) = mpsc::channel(8);
        let remote = Remote {
            name: manifest.name.clone(),
            instance,
            status: seen,
            commands,
            output: output.clone(),
        };
        let unit = Unit {
            shared: Arc::clone(&inner.shared),
            instance,
            status,
            output,
            prepare_log: inner
                .logs_dir
                .join(format!("{}.prepare.log", manifest.name)),
            backoff: Backoff::new(manifest.restart),
            manifest,
            process: None,
            began: Instant::now(),
            go,
        };
        self.units().push(remote);
        inner.tasks.spawn(unit.run(inbox));
        Ok(())
    }

    fn log(&self, name: &str, path: &Path) -> io::Result<Log> {
        let mut logs = self.0.logs.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(log) = logs.get(name) {
            return Ok(log.clone());
        }
        let log = Log::open(path, self.0.log_bytes_max)?;
        logs.insert(name.to_owned(), log.clone());
        Ok(log)
    }

    /// Ends one instance and forgets it. Returns when its process is gone; false when there is no such
    /// instance.
    pub async fn end(&self, instance: InstanceId) -> bool {
        let known = self
            .ask(|unit| unit.instance == instance, Command::Leave)
            .await;
        self.units().retain(|unit| unit.instance != instance);
        known
    }

    /// Every instance as it is now, in the order in which they were started.
    pub fn statuses(&self) -> Vec<Status> {
        let units = self.units();
        units
            .iter()
            .map(|unit| unit.status.borrow().clone())
            .collect()
    }

    /// How an instance is, and how that changes.
    pub fn follow(&self, instance: InstanceId) -> Option<watch::Receiver<Status>> {
        self.find(instance).map(|unit| unit.status)
    }

    /// The last lines that an instance has printed.
    pub fn tail(&self, instance: InstanceId) -> Vec<String> {
        self.find(instance)
            .map(|unit| unit.output.tail())
            .unwrap_or_default()
    }

    /// The instance that a process of this machine belongs to.
    pub fn instance_of(&self, pid: u32) -> Option<InstanceId> {
        self.0.shared.kin.find(pid)
    }

    /// Copies what a worker runs to `folder`, so that it can run again when its own folder has gone on;
    /// false when it is too large for that. Reads and writes: not for a task that must not wait.
    ///
    /// # Errors
    /// When something cannot be read or written.
    pub fn keep(manifest: &Manifest, folder: &Path) -> io::Result<bool> {
        build::keep(manifest, folder)
    }

    /// The name of the build that starting `manifest` would run now. Reads all its files.
    ///
    /// # Errors
    /// When one cannot be read.
    pub fn build_of(manifest: &Manifest) -> io::Result<String> {
        build::id(manifest)
    }

    /// Events from now on; for the first who asks, from the start.
    pub fn events(&self) -> broadcast::Receiver<Event> {
        let first = self
            .0
            .first_listener
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        first.unwrap_or_else(|| self.later_events())
    }

    /// Events from now on.
    pub fn later_events(&self) -> broadcast::Receiver<Event> {
        self.0.shared.events.subscribe()
    }

    /// Ends the processes of `name`, prepares it if its inputs changed, and starts them again. Returns
    /// when the old ones are gone; false when there is no such worker.
    pub async fn restart(&self, name: &str) -> bool {
        self.ask(|unit| unit.name == name, Command::Restart).await
    }

    /// As [`Handle::restart`], for one instance.
    pub async fn restart_instance(&self, instance: InstanceId) -> bool {
        self.ask(|unit| unit.instance == instance, Command::Restart)
            .await
    }

    /// Ends the processes of `name` until they are restarted; false when there is no such worker.
    pub async fn stop(&self, name: &str) -> bool {
        self.ask(|unit| unit.name == name, Command::Stop).await
    }

    fn units(&self) -> MutexGuard<'_, Vec<Remote>> {
        self.0.units.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn find(&self, instance: InstanceId) -> Option<Remote> {
        let units = self.units();
        units.iter().find(|unit| unit.instance == instance).cloned()
    }

    /// Asks every unit that is `meant`, all at the same time.
    async fn ask(
        &self,
        meant: impl Fn(&Remote) -> bool,
        command: fn(oneshot::Sender<()>) -> Command,
    ) -> bool {
        let units: Vec<Remote> = self
            .units()
            .iter()
            .filter(|unit| meant(unit))
            .cloned()
            .collect();
        let known = !units.is_empty();
        let asked = units.into_iter().map(|unit| async move {
            let (tell, done) = oneshot::channel();
            // A unit that is gone has ended its process.
            if unit.commands.send(command(tell)).await.is_ok() {
                let _ = done.await;
            }
        });
        futures_util::future::join_all(asked).await;
        known
    }

    /// Ends every process, all at the same time, within the stop timeout.
    pub async fn shutdown(&self) {
        self.0.shared.stop.cancel();
        self.0.tasks.wait().await;
    }
}
