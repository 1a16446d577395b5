//! Starts worker processes, watches them, starts them again, and leaves none behind.
//!
//! Knows folders with a `worker.yaml` and programs, not functions: what a worker offers it tells
//! the bus itself. Each process runs under a guard (see [`guard`]) that ends it with the engine.

mod backoff;
mod fingerprint;
pub mod guard;
mod manifest;
mod output;
mod prepare;
mod process;
mod programs;
mod status;
mod unit;

use std::{
    ffi::OsString,
    io,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::{
    sync::{broadcast, mpsc, oneshot},
    time::Instant,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

pub use manifest::{Language, Manifest, Restart};
pub use status::{Event, State, Status, What};

use backoff::Backoff;
use output::Output;
use unit::{Command, Shared, Unit, now_ms};

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
}

/// One unit, from outside.
#[derive(Clone)]
struct Remote {
    name: String,
    status: Arc<Mutex<Status>>,
    commands: mpsc::Sender<Command>,
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
        stop: CancellationToken::new(),
    });
    let handle = Handle(Arc::new(Inner {
        units: Mutex::default(),
        shared,
        logs_dir: config.logs_dir,
        log_bytes_max: config.log_bytes_max,
        first_listener: Mutex::new(Some(first_listener)),
        tasks: TaskTracker::new(),
    }));
    for manifest in config.manifests {
        handle.add(manifest)?;
    }
    handle.0.tasks.close();
    Ok(handle)
}

fn first_status(manifest: &Manifest, log: PathBuf) -> Status {
    Status {
        name: manifest.name.clone(),
        language: manifest.language.as_str(),
        description: manifest.description.clone(),
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
    /// Starts one more worker; returns at once. One of its name that runs is not touched: it is to be
    /// removed before.
    ///
    /// # Errors
    /// When its log cannot be written.
    pub fn add(&self, manifest: Manifest) -> io::Result<()> {
        let inner = &self.0;
        let log = inner.logs_dir.join(format!("{}.log", manifest.name));
        let output = Output::open(&log, inner.log_bytes_max)?;
        let status = Arc::new(Mutex::new(first_status(&manifest, log)));
        let (commands, inbox) = mpsc::channel(8);
        let remote = Remote {
            name: manifest.name.clone(),
            status: Arc::clone(&status),
            commands,
        };
        let unit = Unit {
            shared: Arc::clone(&inner.shared),
            status,
            output,
            prepare_log: inner
                .logs_dir
                .join(format!("{}.prepare.log", manifest.name)),
            backoff: Backoff::new(manifest.restart),
            manifest,
            process: None,
            began: Instant::now(),
        };
        self.units().push(remote);
        inner.tasks.spawn(unit.run(inbox));
        Ok(())
    }

    /// Ends the process of `name` and forgets the worker. Returns when the process is gone; false
    /// when there is no such worker.
    pub async fn remove(&self, name: &str) -> bool {
        let known = self.ask(name, Command::Leave).await;
        self.units().retain(|unit| unit.name != name);
        known
    }

    /// Every worker as it is now, in the order in which they were started.
    pub fn statuses(&self) -> Vec<Status> {
        let look = |unit: &Remote| {
            unit.status
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .clone()
        };
        self.units().iter().map(look).collect()
    }

    /// Events from now on; for the first who asks, from the start.
    pub fn events(&self) -> broadcast::Receiver<Event> {
        let first = self
            .0
            .first_listener
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        first.unwrap_or_else(|| self.0.shared.events.subscribe())
    }

    /// Ends the process of `name`, prepares it if its inputs changed, and starts it again. Returns
    /// when the old process is gone; false when there is no such worker.
    pub async fn restart(&self, name: &str) -> bool {
        self.ask(name, Command::Restart).await
    }

    /// Ends the process of `name` until it is restarted; false when there is no such worker.
    pub async fn stop(&self, name: &str) -> bool {
        self.ask(name, Command::Stop).await
    }

    fn units(&self) -> std::sync::MutexGuard<'_, Vec<Remote>> {
        self.0.units.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn ask(&self, name: &str, command: fn(oneshot::Sender<()>) -> Command) -> bool {
        let found = self.units().iter().find(|unit| unit.name == name).cloned();
        let Some(unit) = found else {
            return false;
        };
        let (tell, done) = oneshot::channel();
        // A unit that is gone has ended its process.
        if unit.commands.send(command(tell)).await.is_ok() {
            let _ = done.await;
        }
        true
    }

    /// Ends every process, all at the same time, within the stop timeout.
    pub async fn shutdown(&self) {
        self.0.shared.stop.cancel();
        self.0.tasks.wait().await;
    }
}
