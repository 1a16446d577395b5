//! Everything that runs, part by part, and how new settings come to be theirs.
//!
//! Either all of a change is possible, and done, or nothing is: what can fail is tried before anything
//! is touched. Parts whose settings are as before are not touched at all.

use std::{path::PathBuf, sync::Arc};

use agentos_core::policy::Trust;
use serde_json::{Value, json};

use super::{
    common::{Common, WORKER_STOP, open, reachable},
    crew::{Crew, Recruit},
    doors::{self, Doors},
    making,
    modules::{self, Modules},
    note::Note,
};
use crate::{
    builtin::{exec::Exec, live::Live},
    config::{Change, How, Log, Part, Settings, Weight, diff},
    fleet::Fleet,
    session::LocalSession,
    supervisor::Manifest,
};

/// Hears of new settings for what the engine says about itself; false when they take a start.
pub type Relog = Box<dyn Fn(&Log) -> bool + Send + Sync>;

/// See the module.
pub(super) struct Parts {
    pub(super) common: Arc<Common>,
    /// As the engine was started: what only a start applies is compared with them.
    pub(super) started: Arc<Settings>,
    pub(super) in_force: Arc<Settings>,
    pub(super) note: Note,
    pub(super) engines_dir: Option<PathBuf>,
    /// What `engine::status` says about addresses and folders.
    pub(super) about: Live<Value>,
    pub(super) fleet: Fleet,
    pub(super) doors: Doors,
    /// Those that are no modules, in the order in which they were opened.
    pub(super) fixed: Vec<LocalSession>,
    pub(super) modules: Modules,
    pub(super) exec: Option<LocalSession>,
    pub(super) crew: Crew,
}

/// One thing to do, after which something is as the new settings say.
enum Step {
    Module(modules::Step),
    Door(doors::Step),
    Recruit(Recruit),
    Dismiss(String),
    Process(String, Option<Box<Manifest>>),
    Watches,
    Grace,
    Log,
    /// Only a start of the engine does it.
    Restart,
}

impl Parts {
    /// Makes `new` the settings in force.
    ///
    /// # Errors
    /// Why they cannot be; everything goes on as it was then.
    pub(super) async fn apply(
        &mut self,
        new: &Arc<Settings>,
        relog: Option<&Relog>,
    ) -> anyhow::Result<()> {
        making::refuse_bridged(new)?;
        let old = Arc::clone(&self.in_force);
        let changes = diff(&old, new);
        let mut steps = Vec::new();
        for change in changes {
            let step = self.prepare(&change, &old, new).await?;
            steps.push((change, step));
        }
        // Processes take their time to end, and nothing else waits for that.
        steps.sort_by_key(|(_, step)| matches!(step, Step::Process(..)));
        let remarks = new.remarks.iter();
        for remark in remarks.filter(|remark| remark.weight == Weight::Warning) {
            if !old.remarks.contains(remark) {
                tracing::warn!("{remark}");
            }
        }
        self.in_force = Arc::clone(new);
        for (change, step) in steps {
            self.take(&change, step, relog).await;
            if let Part::Module(module) = change.part
                && change.how == How::Changed
                && self.modules.keeps_its_store(module)
                && old.modules.store(module) != new.modules.store(module)
            {
                tracing::warn!(part = %change.part, "keeps what it has where it did; restart the engine to apply the new place");
            }
        }
        self.publish()
    }

    /// Finds out what a change comes to, and does of it what can fail.
    async fn prepare(
        &mut self,
        change: &Change,
        old: &Settings,
        new: &Settings,
    ) -> anyhow::Result<Step> {
        if change.needs_restart() {
            return Ok(Step::Restart);
        }
        Ok(match &change.part {
            Part::Module(module) => {
                let step = self.modules.prepare(old, new, *module, change.how).await?;
                Step::Module(step)
            }
            Part::Bus => match self.doors.prepare_bus(&self.started, new).await? {
                Some(step) => Step::Door(step),
                None => Step::Restart,
            },
            Part::Listener(address) => {
                Step::Door(self.doors.prepare(*address, change.how, new).await?)
            }
            Part::Worker(name) => match self.crew.recruit(name, new)? {
                Some(recruit) => Step::Recruit(recruit),
                None => Step::Dismiss(name.clone()),
            },
            Part::Process(name) => {
                let mut processes = new.workers.processes.iter();
                let manifest = processes.find(|process| process.name == *name).cloned();
                let manifest = manifest.map(Box::new);
                Step::Process(name.clone(), manifest)
            }
            Part::Watches => Step::Watches,
            Part::Grace => Step::Grace,
            Part::Log => Step::Log,
            Part::DataDir | Part::Storage | Part::Limits | Part::Supervision => Step::Restart,
        })
    }

    async fn take(&mut self, change: &Change, step: Step, relog: Option<&Relog>) {
        let Change { part, how } = change;
        let done = match step {
            Step::Module(modules::Step::Restart) | Step::Restart => return self.postpone(part),
            Step::Module(step) => self.modules.take(step).await,
            Step::Door(step) => {
                self.doors.take(step);
                Ok(())
            }
            Step::Recruit(recruit) => self.recruit(recruit).await,
            Step::Dismiss(name) => {
                self.crew.dismiss(&name);
                let fleet = self.fleet.clone();
                // What it was swapped for takes its time to end.
                tokio::spawn(async move { fleet.dismiss(&name).await });
                Ok(())
            }
            Step::Process(name, manifest) => {
                self.run(&name, manifest.map(|manifest| *manifest));
                Ok(())
            }
            Step::Watches => self.watch().await,
            Step::Grace => {
                let grace = self.in_force.registration_namespace_grace;
                self.doors.shared.grace.set(grace);
                Ok(())
            }
            Step::Log => match relog {
                Some(relog) if relog(&self.in_force.log) => Ok(()),
                _ => return self.postpone(part),
            },
        };
        match done {
            Ok(()) => tracing::info!(%part, "{}", word(*how)),
            Err(error) => {
                tracing::error!(%part, error = format!("{error:#}"), "new settings could not be applied");
            }
        }
    }

    /// Says that a part is not what the file says, if it is not.
    fn postpone(&self, part: &Part) {
        let differs = |change: &Change| change.part == *part;
        match diff(&self.started, &self.in_force).iter().any(differs) {
            true => {
                tracing::warn!(%part, "changed in the settings file; restart the engine to apply it")
            }
            false => tracing::info!(%part, "is again as the engine was started"),
        }
    }

    /// Processes take their time, and what is being done to them may wait for these very parts.
    fn run(&self, name: &str, manifest: Option<Manifest>) {
        let (fleet, name) = (self.fleet.clone(), name.to_owned());
        tokio::spawn(async move { fleet.settle(&name, manifest).await });
    }

    /// A worker that was swapped for a process stays one until somebody swaps it back.
    async fn recruit(&mut self, recruit: Recruit) -> anyhow::Result<()> {
        let name = recruit.name().to_owned();
        if self.fleet.is_elsewhere(&name) {
            tracing::warn!(
                worker = name,
                "its settings have changed, and it runs as a process; they will be in force when it is swapped back"
            );
            return Ok(());
        }
        self.crew.take(recruit).await?;
        if let Some((_, session)) = self.crew.members().find(|(member, _)| *member == name) {
            self.fleet.adopt(&name, session);
        }
        Ok(())
    }

    /// Watches the files that the settings name.
    pub(super) async fn watch(&mut self) -> anyhow::Result<()> {
        if let Some(before) = self.exec.take() {
            before.close(WORKER_STOP).await;
        }
        let exec = Exec::new(self.in_force.watches.clone());
        self.exec = Some(open(&self.common.bus, "exec", Trust::Engine, exec).await?);
        Ok(())
    }

    pub(super) fn bus_url(&self) -> String {
        format!("ws://{}", reachable(self.doors.address()))
    }

    /// Says where the engine is, to those who look for it.
    pub(super) fn publish(&mut self) -> anyhow::Result<()> {
        let url = self.bus_url();
        let http = self.modules.http_address();
        let http = http.map(|address| format!("http://{}", reachable(address)));
        let stream = self.modules.stream_address();
        let stream = stream.map(|address| format!("ws://{}", reachable(address)));
        let data_dir = &self.started.data_dir;
        let mut about = json!({ "url": url, "http": http, "data_dir": data_dir });
        let relaxed = self.in_force.modules.state()?.relaxed_scopes;
        if !relaxed.is_empty() {
            about["relaxed_scopes"] = relaxed.into();
        }
        let relaxed = self.in_force.modules.queue()?.relaxed();
        if !relaxed.is_empty() {
            about["relaxed_queues"] = relaxed.into();
        }
        self.about.set(about);
        self.note.publish(
            self.engines_dir.as_deref(),
            &url,
            http.as_deref(),
            stream.as_deref(),
            self.doors.address().port(),
        )
    }
}

fn word(how: How) -> &'static str {
    match how {
        How::Added => "started: it is new in the settings file",
        How::Removed => "stopped: the settings file does not ask for it any more",
        How::Changed => "goes by its new settings",
    }
}
