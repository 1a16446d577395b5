//! One build takes the place of another: beside it first, then for it, and back when it does worse.

use std::{
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use agentos_protocol::{Code, ErrorBody};
use serde::Serialize;
use serde_json::json;

use super::{
    Counts, DRAIN, FULL, Fleet, Mode, READY, Seat, Source, Standing, Version, What, Worker,
    ready::{Fault, Ids, functions},
    step::ms,
    trial::{Verdict, judge, shares},
};
use crate::supervisor::{Manifest, State, now_ms};

/// How often a trial is looked at, and told of.
const LOOK: Duration = Duration::from_millis(100);
const TELL: Duration = Duration::from_secs(1);

/// What is to take a worker's place, and how.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) why: &'static str,
    pub(crate) to: To,
    /// Its share of the calls while it is tried; all when absent.
    pub(crate) canary_percent: Option<u8>,
    /// How long it is tried.
    pub(crate) hold: Duration,
    /// How much larger its rate of failed calls may be than the old one's.
    pub(crate) error_margin: f64,
    /// How long a process may run before it has registered.
    pub(crate) ready: Duration,
    /// How long calls of the old one may go on.
    pub(crate) drain: Duration,
}

impl Plan {
    /// Without a trial, and with the usual patience.
    pub(crate) fn plain(why: &'static str, to: To) -> Self {
        Plan {
            why,
            to,
            canary_percent: None,
            hold: Duration::ZERO,
            error_margin: 0.0,
            ready: READY,
            drain: DRAIN,
        }
    }
}

#[derive(Clone, Debug)]
pub(crate) enum To {
    /// What its folder holds now.
    Again,
    Folder(PathBuf),
    /// What the settings say.
    Manifest(Box<Manifest>),
    /// A program, run in a folder.
    Command(Vec<String>, PathBuf),
    InProcess,
    /// What served before.
    Previous,
}

/// What a swap has done.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Swapped {
    pub(crate) worker: String,
    pub(crate) build: Option<String>,
    pub(crate) previous: Option<String>,
    pub(crate) took_ms: u64,
}

impl Fleet {
    /// Swaps in its turn: the caller holds it.
    pub(super) async fn swap_now(
        &self,
        worker: &Worker,
        plan: &Plan,
    ) -> Result<Swapped, ErrorBody> {
        let began = Instant::now();
        let source = self.source_of(worker, &plan.to).await?;
        let (old, previous) = (worker.seats(), self.build_of(worker));
        self.tell(
            worker,
            What::SwapStarted {
                why: plan.why,
                from: previous.clone(),
                to: source.describe(),
            },
        );
        let expects = self.offered(&old);
        let count = match source {
            // Two of them in one process would share all they have.
            Source::InProcess => 1,
            Source::Process(_) => worker.now.lock().replicas.max(1),
        };
        let brought = self
            .bring_up(worker, &source, count, &expects, plan.ready)
            .await;
        let new = match brought {
            Ok(new) => new,
            Err((new, fault)) => return Err(self.give_up(worker, source, new, fault).await),
        };
        if let Err(fault) = self.try_out(worker, plan, &new, &old).await {
            self.share(&old, FULL);
            self.share(&new, 0);
            self.drain(&new, plan.drain).await;
            return Err(self.give_up(worker, source, new, fault).await);
        }
        // First the one, then the other: at no moment is there nobody.
        self.share(&new, FULL);
        self.share(&old, 0);
        let build = self.build_of_seats(&source, &new);
        self.tell(
            worker,
            What::TrafficShifted {
                build: build.clone(),
            },
        );
        let kept = self.keep(&worker.name, build.as_deref(), &source).await;
        let version = Version {
            build: build.clone(),
            source: source.clone(),
            standing: Standing::Serving,
            since_ms: now_ms(),
            kept,
            error: None,
        };
        let unwanted = {
            let mut now = worker.now.lock();
            now.source = source;
            now.seats = new;
            now.replicas = count;
            now.mode = Mode::Running;
            now.versions.add(version)
        };
        forget(unwanted).await;
        self.retire(worker, old, plan.drain).await;
        let took_ms = ms(began.elapsed());
        self.tell(
            worker,
            What::SwapDone {
                build: build.clone(),
                previous: previous.clone(),
                took_ms,
            },
        );
        Ok(Swapped {
            worker: worker.name.clone(),
            build,
            previous,
            took_ms,
        })
    }

    /// The new build is stopped, and the old one goes on as if nothing had been.
    async fn give_up(
        &self,
        worker: &Worker,
        source: Source,
        new: Vec<Seat>,
        fault: Fault,
    ) -> ErrorBody {
        let build = self.build_of_seats(&source, &new);
        self.end(new).await;
        let Fault {
            reason,
            message,
            output,
        } = fault;
        let version = Version {
            build,
            source,
            standing: Standing::Failed,
            since_ms: now_ms(),
            kept: None,
            error: Some(message.clone()),
        };
        let (unwanted, serves) = {
            let mut now = worker.now.lock();
            (now.versions.add(version), !now.seats.is_empty())
        };
        forget(unwanted).await;
        let step = What::SwapFailed {
            reason,
            message: message.clone(),
            output: output.clone(),
        };
        self.tell(worker, step);
        let goes_on = match serves {
            true => "; the old build serves as before",
            false => "",
        };
        ErrorBody::engine(Code::Failed, format!("{message}{goes_on}"))
            .reason(reason)
            .details(json!({ "worker": worker.name, "output": output }))
    }

    /// Gives the new build calls for a while, where that is wanted, and looks at how it does.
    async fn try_out(
        &self,
        worker: &Worker,
        plan: &Plan,
        new: &[Seat],
        old: &[Seat],
    ) -> Result<(), Fault> {
        if plan.hold.is_zero() || old.is_empty() {
            return Ok(());
        }
        let percent = plan.canary_percent.unwrap_or(100);
        let (of_new, of_old) = shares(percent, new.len(), old.len());
        let before = (self.counts(new), self.counts(old));
        self.share(new, of_new);
        self.share(old, of_old);
        self.tell(
            worker,
            What::TrialStarted {
                percent,
                hold_ms: ms(plan.hold),
            },
        );
        let until = Instant::now() + plan.hold;
        let mut told = Instant::now();
        loop {
            tokio::time::sleep(LOOK).await;
            let now = Instant::now();
            let tallies = (
                self.counts(new).since(before.0),
                self.counts(old).since(before.1),
            );
            self.still_serve(new)?;
            let end = now >= until;
            if judge(tallies.0, tallies.1, plan.error_margin, end) == Verdict::Worse {
                return Err(self.worse(new, tallies, plan.error_margin));
            }
            if now.duration_since(told) >= TELL || end {
                told = now;
                self.tell(
                    worker,
                    What::TrialGoesOn {
                        new: tallies.0.into(),
                        old: tallies.1.into(),
                        left_ms: ms(until.saturating_duration_since(now)),
                    },
                );
            }
            if end {
                return Ok(());
            }
        }
    }

    fn worse(&self, new: &[Seat], (now, before): (Counts, Counts), margin: f64) -> Fault {
        let percent = |rate: f64| format!("{:.1} %", rate * 100.0);
        let message = format!(
            "it fails {} of its calls ({} of {}), the old build {}, and the margin is {}",
            percent(now.error_rate()),
            now.errors,
            now.calls,
            percent(before.error_rate()),
            percent(margin)
        );
        match new.first() {
            Some(Seat::Process(instance)) => self.fault(*instance, "errors", message),
            _ => Fault {
                reason: "errors",
                message,
                output: Vec::new(),
            },
        }
    }

    /// None of the processes has ended.
    fn still_serve(&self, seats: &[Seat]) -> Result<(), Fault> {
        for seat in seats {
            let Seat::Process(instance) = seat else {
                continue;
            };
            let status = self.status(*instance);
            let ended =
                status.filter(|status| status.state != State::Running || status.restarts > 0);
            if let Some(status) = ended {
                let error = status.last_error.unwrap_or_else(|| "it ended".to_owned());
                let message = format!("it crashed while it was tried: {error}");
                return Err(self.fault(*instance, "crashed", message));
            }
        }
        Ok(())
    }

    fn counts(&self, seats: &[Seat]) -> Counts {
        let sessions = seats.iter().flat_map(|seat| self.sessions_of(*seat));
        sessions.fold(Counts::default(), |sum, session| {
            sum.plus(Counts::of(&session))
        })
    }

    fn offered(&self, seats: &[Seat]) -> Ids {
        let sessions = seats.iter().flat_map(|seat| self.sessions_of(*seat));
        functions(&sessions.collect::<Vec<_>>())
    }

    /// The build that serves.
    pub(super) fn build_of(&self, worker: &Worker) -> Option<String> {
        let (source, seats) = (worker.source(), worker.seats());
        self.build_of_seats(&source, &seats)
            .or_else(|| worker.now.lock().versions.serving()?.build.clone())
    }

    fn build_of_seats(&self, source: &Source, seats: &[Seat]) -> Option<String> {
        match (source, seats.first()?) {
            (_, Seat::Process(instance)) => self.status(*instance)?.build,
            (_, Seat::Local(_)) => Version::in_process().build,
        }
    }

    /// What `to` means for the worker now.
    async fn source_of(&self, worker: &Worker, to: &To) -> Result<Source, ErrorBody> {
        let current = worker.source();
        let read = |folder: &Path| {
            let manifest = Manifest::open(folder, &*self.0.env);
            let manifest = manifest
                .map_err(|error| ErrorBody::caller(Code::InvalidInput, error.to_string()))?;
            // Its log and its place are the worker's, whatever the folder calls itself.
            let name = worker.name.clone();
            Ok(Source::Process(Box::new(Manifest { name, ..manifest })))
        };
        match to {
            To::Again => match current {
                Source::Process(manifest)
                    if manifest.folder.join(Manifest::FILE).is_file()
                        && !self.is_kept(&manifest) =>
                {
                    read(&manifest.folder)
                }
                source => Ok(source),
            },
            To::Folder(folder) => read(folder),
            To::Manifest(manifest) => Ok(Source::Process(manifest.clone())),
            To::Command(command, folder) => {
                let manifest = match current {
                    Source::Process(manifest) => Manifest {
                        command: command.clone(),
                        folder: folder.clone(),
                        prepare: Vec::new(),
                        inputs: Vec::new(),
                        outputs: Vec::new(),
                        ..*manifest
                    },
                    Source::InProcess => {
                        Manifest::program(&worker.name, folder.clone(), command.clone())
                    }
                };
                Ok(Source::Process(Box::new(manifest)))
            }
            To::InProcess => Ok(Source::InProcess),
            To::Previous => self.previous(worker).await,
        }
    }

    fn is_kept(&self, manifest: &Manifest) -> bool {
        manifest.folder.starts_with(&self.0.builds_dir)
    }

    /// What served before, from where its files still are.
    async fn previous(&self, worker: &Worker) -> Result<Source, ErrorBody> {
        let previous = worker.now.lock().versions.previous().cloned();
        let nothing = || {
            let message = format!("no build of `{}` has served before this one", worker.name);
            ErrorBody::caller(Code::Conflict, message)
        };
        let Version {
            build,
            source,
            kept,
            ..
        } = previous.ok_or_else(nothing)?;
        let Source::Process(manifest) = source else {
            return Ok(source);
        };
        let manifest = *manifest;
        let unchanged = {
            let manifest = manifest.clone();
            tokio::task::spawn_blocking(move || crate::supervisor::Handle::build_of(&manifest).ok())
                .await
                .ok()
                .flatten()
        };
        if unchanged == build {
            return Ok(Source::Process(Box::new(manifest)));
        }
        match kept {
            Some(folder) => Ok(Source::Process(Box::new(Manifest {
                folder,
                // It is as its preparation has left it.
                prepare: Vec::new(),
                inputs: Vec::new(),
                ..manifest
            }))),
            None => {
                let message = format!(
                    "the files of build {} in {} have changed since, and were not kept; bring them back, then swap",
                    build.as_deref().unwrap_or("unknown"),
                    manifest.folder.display()
                );
                Err(ErrorBody::caller(Code::Conflict, message))
            }
        }
    }

    /// Lets `seats` finish what they have, and ends them.
    pub(super) async fn retire(&self, worker: &Worker, seats: Vec<Seat>, patience: Duration) {
        if seats.is_empty() {
            return;
        }
        let calls = self.running_on(&seats);
        self.tell(worker, What::DrainStarted { calls });
        let began = Instant::now();
        let cut = self.drain(&seats, patience).await;
        let took_ms = ms(began.elapsed());
        self.tell(worker, What::Drained { took_ms, cut });
        if cut > 0 {
            // Whoever waits for those calls, and their queue, need not wait for the process too.
            for session in seats.iter().flat_map(|seat| self.sessions_of(*seat)) {
                self.0.traffic.cut(session.session);
            }
        }
        self.end(seats).await;
    }

    fn running_on(&self, seats: &[Seat]) -> u32 {
        let sessions = seats.iter().flat_map(|seat| self.sessions_of(*seat));
        sessions.map(|session| session.calls_in_flight).sum()
    }

    /// The calls that were still running at the end of the patience.
    async fn drain(&self, seats: &[Seat], patience: Duration) -> u32 {
        let sessions = seats.iter().flat_map(|seat| self.sessions_of(*seat));
        let drains = sessions.map(|session| {
            let traffic = std::sync::Arc::clone(&self.0.traffic);
            async move { traffic.drain(session.session, patience).await }
        });
        let cut = futures_util::future::join_all(drains).await;
        cut.into_iter().sum()
    }

    /// Ends `seats`, whatever they are doing.
    pub(super) async fn end(&self, seats: Vec<Seat>) {
        let ends = seats.into_iter().map(|seat| async move {
            match seat {
                Seat::Process(instance) => {
                    self.0.supervisor.end(instance).await;
                    for stranger in self.0.gate.set(instance, FULL) {
                        self.0.traffic.give(stranger, FULL, Duration::ZERO);
                    }
                }
                Seat::Local(session) => {
                    if let Some(house) = self.0.house.get() {
                        house.dismiss(session).await;
                    }
                }
            }
        });
        futures_util::future::join_all(ends).await;
    }
}

/// Takes away the files of builds that are not kept any more.
async fn forget(folders: Vec<PathBuf>) {
    if folders.is_empty() {
        return;
    }
    let removed = tokio::task::spawn_blocking(move || {
        for folder in folders {
            // Gone is as good.
            let _ = std::fs::remove_dir_all(folder);
        }
    });
    let _ = removed.await;
}
