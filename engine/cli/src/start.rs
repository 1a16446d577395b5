//! `agentos start`: settings, engine, workers, and what a person sees of it.

mod banner;
mod progress;
mod telemetry;
mod workers;

use std::time::Duration;

use agentos_engine::{
    boot::{self, Running, Surroundings},
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

/// From the request to stop to the end, whatever happens.
const STOP_TIMEOUT: Duration = Duration::from_secs(10);

pub(crate) async fn run(start: Start, common: &Common, screen: &Screen) -> Result<(), Failure> {
    let mut signals = Signals::new()?;
    let settings = read_settings(&start, common)?;
    let progress = Progress::new(*screen);
    telemetry::set_up(&settings.log, progress.lines());
    for remark in &settings.remarks {
        if remark.weight == Weight::Warning {
            tracing::warn!("{remark}");
        }
    }
    let workers = workers::in_process(&settings, &ProcessEnv)
        .map_err(|error| Failure::usage(error.to_string()))?;
    let surroundings = Surroundings {
        search_path: ProcessEnv.var("PATH").unwrap_or_default(),
        engines_dir: engines_dir(),
    };
    raise_descriptor_limit();
    let running = boot::start(&settings, workers, surroundings).await;
    // Anyhow's alternate form is the whole chain on one line.
    let running = running.map_err(|error| Failure::new(FAILED, format!("{error:#}")))?;
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

fn read_settings(start: &Start, common: &Common) -> Result<Settings, Failure> {
    let overrides = Overrides {
        data_dir: common.data_dir.clone(),
        bus_port: start.bus_port,
        http_port: start.http_port,
        stream_port: start.stream_port,
        auth: start.auth.map(Into::into),
        only: start.only.clone(),
        no_workers: start.no_workers,
    };
    config::load(start.config.as_deref(), &overrides, &ProcessEnv)
        .map_err(|error| Failure::usage(error.to_string()))
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
