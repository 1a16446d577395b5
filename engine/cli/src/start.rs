//! `agentos start`: settings, engine, workers, and what a person sees of it.

mod banner;
mod progress;
mod telemetry;
mod workers;

use std::{sync::Arc, time::Duration};

use agentos_engine::{
    boot::{self, Follow, Relog, Running, Surroundings},
    config::{self, Env, Overrides, ProcessEnv, Settings, Weight},
};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::{
    args::{Common, Start},
    failure::{FAILED, Failure},
    place::engines_dir,
    screen::Screen,
};
use progress::Progress;
pub(crate) use workers::hire;

/// From the request to stop to the end, whatever happens.
const STOP_TIMEOUT: Duration = Duration::from_secs(10);

pub(crate) async fn run(start: Start, common: &Common, screen: &Screen) -> Result<(), Failure> {
    let mut signals = Signals::new()?;
    let overrides = overrides(&start, common);
    let settings = read_settings(&start, &overrides)?;
    let progress = Progress::new(*screen);
    let relog = telemetry::set_up(&settings.log, progress.lines());
    for remark in &settings.remarks {
        if remark.weight == Weight::Warning {
            tracing::warn!("{remark}");
        }
    }
    let surroundings = Surroundings {
        search_path: ProcessEnv.var("PATH").unwrap_or_default(),
        engines_dir: engines_dir(),
    };
    raise_descriptor_limit();
    let hire = |builtin: &_, settings: &_| workers::hire(builtin, settings, &ProcessEnv);
    let running = boot::start(&settings, Arc::new(hire), surroundings).await;
    let mut running = running.map_err(|error| match error.downcast_ref::<config::Error>() {
        Some(error) => Failure::usage(error.to_string()),
        // Anyhow's alternate form is the whole chain on one line.
        None => Failure::new(FAILED, format!("{error:#}")),
    })?;
    follow(&mut running, overrides, relog).await;
    banner::started(&running, &settings, *screen);
    tokio::select! {
        () = live(&running, &settings, progress, *screen) => {}
        () = signals.stop() => {}
        () = running.asked_to_stop() => {}
    }
    stop(running, signals, *screen).await;
    Ok(())
}

/// Each session takes a descriptor, and the usual soft limit of 1024 is for programs that use
/// `select`. A limit that cannot be raised is left as it is.
fn raise_descriptor_limit() {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        ..limit
    };
    if let Err(error) = setrlimit(Resource::Nofile, raised) {
        tracing::debug!(%error, "the limit of open files stays");
    }
}

fn overrides(start: &Start, common: &Common) -> Overrides {
    Overrides {
        data_dir: common.data_dir.clone(),
        bus_port: start.bus_port,
        http_port: start.http_port,
        stream_port: start.stream_port,
        auth: start.auth.map(Into::into),
        only: start.only.clone(),
        no_workers: start.no_workers,
    }
}

fn read_settings(start: &Start, overrides: &Overrides) -> Result<Arc<Settings>, Failure> {
    config::load(start.config.as_deref(), overrides, &ProcessEnv)
        .map(Arc::new)
        .map_err(|error| Failure::usage(error.to_string()))
}

/// Applies what the settings file says when it changes. An engine that cannot runs all the same.
async fn follow(running: &mut Running, overrides: Overrides, relog: Relog) {
    let follow = Follow {
        overrides,
        env: Arc::new(ProcessEnv),
        relog: Some(relog),
    };
    if let Err(error) = running.follow(follow).await {
        tracing::warn!(%error, "the settings file cannot be watched; its changes take a restart");
    }
}

/// Shows how the workers come up, then says what there is, then reports what happens to them.
async fn live(running: &Running, settings: &Settings, mut progress: Progress, screen: Screen) {
    let mut events = running.supervisor().events();
    progress.until_settled(running, &mut events).await;
    banner::ready(running, settings, screen);
    progress.report(&mut events).await;
}

/// Ends everything in good order; a second signal ends the process at once, and with it, by their
/// guards, the workers.
async fn stop(running: Running, mut signals: Signals, screen: Screen) {
    if screen.is_terminal() && !screen.json {
        screen.remark("\nstopping; once more to stop at once");
    }
    tokio::select! {
        () = running.shutdown() => {}
        () = tokio::time::sleep(STOP_TIMEOUT) => screen.remark("not everything ended in time; the rest is killed"),
        () = signals.stop() => std::process::exit(130),
    }
}

/// The ways in which the system asks a program to end.
struct Signals {
    interrupt: Signal,
    terminate: Signal,
    hang_up: Signal,
}

impl Signals {
    fn new() -> std::io::Result<Self> {
        Ok(Signals {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
            hang_up: signal(SignalKind::hangup())?,
        })
    }

    async fn stop(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
            _ = self.hang_up.recv() => {}
        }
    }
}
