//! The life of one worker process: prepare, start, watch, wait, again.

use std::{
    ffi::OsString,
    path::PathBuf,
    sync::Arc,
    time::{Duration, SystemTime},
};

use tokio::{
    sync::{broadcast, mpsc, oneshot, watch},
    time::Instant,
};
use tokio_util::sync::CancellationToken;

use super::{
    Event, InstanceId, Manifest, State, Status, What,
    backoff::{Backoff, CRASH_LOOP_EXITS},
    build, environment,
    kin::Kin,
    output::Output,
    prepare::{Fault, Preparation},
    process::{Launch, Process},
    programs,
};

/// Something asked of a worker. The sender hears when the old process is gone.
pub(super) enum Command {
    Restart(oneshot::Sender<()>),
    Stop(oneshot::Sender<()>),
    /// For good.
    Leave(oneshot::Sender<()>),
}

/// What all units share.
pub(super) struct Shared {
    pub(super) env: Vec<(String, String)>,
    pub(super) guard: Vec<OsString>,
    pub(super) search_path: String,
    pub(super) stop_timeout: Duration,
    pub(super) events: broadcast::Sender<Event>,
    pub(super) kin: Arc<Kin>,
    pub(super) stop: CancellationToken,
}

/// One worker process and its record.
pub(super) struct Unit {
    pub(super) manifest: Manifest,
    pub(super) shared: Arc<Shared>,
    pub(super) instance: InstanceId,
    pub(super) status: watch::Sender<Status>,
    pub(super) output: Output,
    pub(super) prepare_log: PathBuf,
    pub(super) backoff: Backoff,
    pub(super) process: Option<Process>,
    pub(super) began: Instant,
    /// It is not started before.
    pub(super) go: Option<CancellationToken>,
}

#[derive(Clone, Copy)]
enum Step {
    Prepare,
    /// Until those it depends on are there.
    Hold,
    Start,
    Watch,
    Wait(Duration),
    /// Until somebody asks for something.
    Idle,
}

impl Unit {
    /// Lives until the supervisor stops, or until it is told to leave.
    pub(super) async fn run(mut self, mut commands: mpsc::Receiver<Command>) {
        let stop = self.shared.stop.clone();
        let mut step = Step::Prepare;
        loop {
            let command = tokio::select! {
                biased;
                () = stop.cancelled() => None,
                command = commands.recv() => command,
                next = self.step(step) => {
                    step = next;
                    continue;
                }
            };
            self.end_process().await;
            let (next, done) = match command {
                None => return self.report(State::Stopped, What::Stopped),
                Some(Command::Restart(done)) => (Step::Prepare, done),
                Some(Command::Leave(done)) => {
                    self.report(State::Stopped, What::Stopped);
                    // As below.
                    let _ = done.send(());
                    return;
                }
                Some(Command::Stop(done)) => {
                    self.report(State::Stopped, What::Stopped);
                    (Step::Idle, done)
                }
            };
            self.backoff.forget();
            step = next;
            // The asker may have stopped waiting.
            let _ = done.send(());
        }
    }

    /// May be dropped at any await: a process in preparation dies with it, a running one is kept.
    async fn step(&mut self, step: Step) -> Step {
        match step {
            Step::Prepare => self.prepare().await,
            Step::Hold => self.hold().await,
            Step::Start => self.start().await,
            Step::Watch => self.watch().await,
            Step::Wait(delay) => {
                tokio::time::sleep(delay).await;
                self.note(|status| status.restarts += 1);
                Step::Start
            }
            Step::Idle => std::future::pending().await,
        }
    }

    async fn prepare(&mut self) -> Step {
        self.enter(State::Preparing);
        if let Some(message) = self.missing().await {
            self.note(|status| status.last_error = Some(message.clone()));
            self.report(State::Skipped, What::Skipped { message });
            return Step::Idle;
        }
        let (worker, events) = (self.manifest.name.clone(), self.shared.events.clone());
        let instance = self.instance;
        let report = move |what| {
            // Nobody has to listen.
            let _ = events.send(Event {
                worker: worker.clone(),
                instance,
                what,
            });
        };
        let preparation = Preparation {
            manifest: &self.manifest,
            guard: &self.shared.guard,
            log: &self.prepare_log,
            report,
        };
        match preparation.run().await {
            Ok(()) => Step::Hold,
            Err(Fault { message, output }) => {
                self.note(|status| status.last_error = Some(message.clone()));
                self.report(State::Failed, What::Failed { message, output });
                Step::Idle
            }
        }
    }

    async fn hold(&mut self) -> Step {
        if let Some(go) = self.go.clone().filter(|go| !go.is_cancelled()) {
            self.enter(State::Waiting);
            go.cancelled().await;
        }
        self.go = None;
        Step::Start
    }

    async fn missing(&self) -> Option<String> {
        let (manifest, search_path) = (self.manifest.clone(), self.shared.search_path.clone());
        let missing =
            tokio::task::spawn_blocking(move || programs::missing(&manifest, &search_path)).await;
        let missing = missing.ok().flatten()?;
        Some(match self.manifest.description.as_str() {
            "" => missing,
            description => format!("{missing}; it is needed for: {description}"),
        })
    }

    async fn start(&mut self) -> Step {
        self.enter(State::Starting);
        self.output.clear_tail();
        self.began = Instant::now();
        let build = self.build().await;
        self.note(|status| status.build.clone_from(&build));
        let own = match environment::read(&self.manifest.env, &self.manifest.folder) {
            Ok(own) => own,
            Err(error) => return self.ended(error),
        };
        let own = own
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()));
        let given = self
            .shared
            .env
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()));
        let name = [("AGENTOS_WORKER_NAME", self.manifest.name.as_str())];
        let build = build.as_deref().map(|build| ("AGENTOS_BUILD", build));
        let launch = Launch {
            guard: &self.shared.guard,
            command: &self.manifest.command,
            resources: self.manifest.resources,
            folder: &self.manifest.folder,
            env: own.chain(given).chain(name).chain(build).collect(),
            instance: Some((&self.shared.kin, self.instance)),
        };
        match Process::start(launch, &self.output).await {
            Ok(process) => self.started(process),
            Err(error) => self.ended(format!(
                "`{}` could not be started: {error}",
                self.manifest.command.join(" ")
            )),
        }
    }

    /// `None` when its files cannot be read; then starting it will tell why.
    async fn build(&self) -> Option<String> {
        let manifest = self.manifest.clone();
        let hashed = tokio::task::spawn_blocking(move || build::id(&manifest)).await;
        match hashed.map_err(std::io::Error::other).flatten() {
            Ok(build) => Some(build),
            Err(error) => {
                tracing::warn!(worker = self.manifest.name, %error, "its files cannot be read, so its build has no name");
                None
            }
        }
    }

    fn started(&mut self, process: Process) -> Step {
        let pid = process.pid();
        self.note(|status| status.pid = pid);
        self.process = Some(process);
        self.report(
            State::Running,
            What::Started {
                pid: pid.unwrap_or_default(),
            },
        );
        Step::Watch
    }

    async fn watch(&mut self) -> Step {
        let Some(process) = &mut self.process else {
            return Step::Start;
        };
        let exit = process.wait().await;
        self.process = None;
        if !self.manifest.goes_on(exit.success()) {
            self.note(|status| {
                status.pid = None;
                status.last_error = (!exit.success()).then_some(exit.how);
            });
            self.report(State::Stopped, What::Stopped);
            return Step::Idle;
        }
        self.ended(exit.how)
    }

    fn ended(&mut self, how: String) -> Step {
        let delay = self.backoff.after(self.began.elapsed(), fastrand::f64());
        self.output.line(&format!(
            "[agentos] {how}; next start in {} ms",
            delay.as_millis()
        ));
        self.note(|status| {
            status.pid = None;
            status.last_error = Some(how.clone());
        });
        self.report(
            State::Backoff,
            What::Exited {
                how,
                retry_in: delay,
            },
        );
        if self.backoff.is_crash_loop() {
            let output = self.output.tail();
            self.tell(What::CrashLoop {
                exits: CRASH_LOOP_EXITS,
                output,
            });
        }
        Step::Wait(delay)
    }

    async fn end_process(&mut self) {
        if let Some(process) = self.process.take() {
            process.stop(self.shared.stop_timeout).await;
        }
        self.note(|status| status.pid = None);
    }

    fn report(&self, state: State, what: What) {
        self.enter(state);
        self.tell(what);
    }

    fn tell(&self, what: What) {
        let _ = self.shared.events.send(Event {
            worker: self.manifest.name.clone(),
            instance: self.instance,
            what,
        });
    }

    fn enter(&self, state: State) {
        self.note(|status| {
            status.state = state;
            status.since_ms = now_ms();
        });
    }

    fn note(&self, change: impl FnOnce(&mut Status)) {
        self.status.send_modify(change);
    }
}

/// Milliseconds of the Unix epoch; for people to read, nothing is decided by it.
pub(crate) fn now_ms() -> u64 {
    SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .map_or(0, |since| since.as_millis() as u64)
}
