//! How the worker processes come up: spinners on a terminal, lines elsewhere, JSON on request.

use std::{
    collections::HashMap,
    io::IsTerminal,
    time::{Duration, Instant},
};

use agentos_engine::{
    boot::Running,
    supervisor::{Event, State, Status, What},
};
use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use tokio::sync::broadcast::{Receiver, error::RecvError};

use crate::screen::{BOLD, DIM, GREEN, RED, Screen, YELLOW, styled};

/// How long a started process may take to connect before nobody waits for it any more.
const CONNECT_PATIENCE: Duration = Duration::from_secs(15);

/// The same for one that is connected and offers nothing.
const REGISTER_PATIENCE: Duration = Duration::from_secs(3);

/// How often connections are looked at while workers come up.
const LOOK_AGAIN: Duration = Duration::from_millis(30);

/// Lets lines through between the spinners. Cheap to clone.
#[derive(Clone)]
pub(super) struct Lines(MultiProgress);

impl Lines {
    pub(super) fn around<T>(&self, write: impl FnOnce() -> T) -> T {
        self.0.suspend(write)
    }
}

/// Shows events of the supervisor.
pub(super) struct Progress {
    screen: Screen,
    lines: Lines,
    /// On a terminal, one per worker that is under way.
    spinners: Option<HashMap<String, ProgressBar>>,
    /// When each worker's process was first seen to run.
    running_since: HashMap<String, Instant>,
}

impl Progress {
    pub(super) fn new(screen: Screen) -> Self {
        let on_terminal = std::io::stderr().is_terminal() && !screen.json;
        Progress {
            screen,
            lines: Lines(MultiProgress::new()),
            spinners: on_terminal.then(HashMap::new),
            running_since: HashMap::new(),
        }
    }

    pub(super) fn lines(&self) -> Lines {
        self.lines.clone()
    }

    /// Shows what happens until every process is connected, or will not be.
    pub(super) async fn until_settled(&mut self, running: &Running, events: &mut Receiver<Event>) {
        loop {
            let statuses = running.supervisor().statuses();
            let waiting: Vec<&Status> = statuses
                .iter()
                .filter(|status| !self.is_settled(status, running))
                .collect();
            self.spin(&waiting);
            if waiting.is_empty() {
                break;
            }
            if let Ok(Some(event)) = tokio::time::timeout(LOOK_AGAIN, next(events)).await {
                self.show(&event);
            }
        }
        // What happened in the last moment.
        while let Ok(event) = events.try_recv() {
            self.show(&event);
        }
    }

    /// Reports, as log lines, what happens to processes from now on.
    pub(super) async fn report(&self, events: &mut Receiver<Event>) {
        while let Some(event) = next(events).await {
            if self.screen.json {
                self.show(&event);
            } else {
                log(&event);
            }
        }
    }

    fn is_settled(&mut self, status: &Status, running: &Running) -> bool {
        match status.state {
            State::Preparing | State::Waiting | State::Starting => false,
            State::Failed | State::Skipped | State::Stopped => true,
            State::Running | State::Backoff => {
                let since = self.running_since.entry(status.name.clone());
                let age = since.or_insert_with(Instant::now).elapsed();
                match functions_of(status, running) {
                    None => age > CONNECT_PATIENCE,
                    // It says what it offers right after it has connected, if it offers anything.
                    Some(0) => age > REGISTER_PATIENCE,
                    Some(_) => true,
                }
            }
        }
    }

    /// Keeps one spinner for each worker that is waited for.
    fn spin(&mut self, waiting: &[&Status]) {
        let Some(spinners) = &mut self.spinners else {
            return;
        };
        spinners.retain(|name, spinner| {
            let keep = waiting.iter().any(|status| status.name == *name);
            if !keep {
                spinner.finish_and_clear();
            }
            keep
        });
        for status in waiting {
            spinners
                .entry(status.name.clone())
                .or_insert_with(|| spinner(&self.lines.0, &status.name));
        }
    }

    fn show(&self, event: &Event) {
        if self.screen.json {
            return self.screen.value(&event.to_json());
        }
        let spinner = self
            .spinners
            .as_ref()
            .and_then(|spinners| spinners.get(&event.worker));
        match (&event.what, spinner) {
            (What::Output(line), Some(spinner)) => spinner.set_message(styled(DIM, line.trim())),
            (What::Output(_) | What::Started { .. } | What::Stopped, _) => {}
            (What::Preparing { step, of, command }, Some(spinner)) => {
                spinner.set_prefix(format!("{} ({step}/{of}) {command}", event.worker));
            }
            (what, _) => self
                .lines
                .around(|| self.screen.remark(sentence(&event.worker, what))),
        }
    }
}

/// The next event; those missed by being slow are in the statuses too. `None` when there are no
/// more.
async fn next(events: &mut Receiver<Event>) -> Option<Event> {
    loop {
        match events.recv().await {
            Ok(event) => return Some(event),
            Err(RecvError::Lagged(_)) => {}
            Err(RecvError::Closed) => return None,
        }
    }
}

/// How many functions the process offers; `None` before it is connected.
pub(super) fn functions_of(status: &Status, running: &Running) -> Option<usize> {
    let workers = running.bus().workers();
    let mut own = workers.iter().filter(|worker| {
        worker.hello.name == status.name || (status.pid.is_some() && worker.hello.pid == status.pid)
    });
    let first = own.next()?.functions.len();
    Some(own.fold(first, |sum, worker| sum + worker.functions.len()))
}

fn spinner(all: &MultiProgress, name: &str) -> ProgressBar {
    let style = ProgressStyle::with_template("{spinner} {prefix}  {wide_msg}")
        .expect("the template is well-formed");
    let spinner = all.add(
        ProgressBar::new_spinner()
            .with_style(style)
            .with_prefix(format!("{name} starting")),
    );
    spinner.enable_steady_tick(Duration::from_millis(100));
    spinner
}

fn sentence(worker: &str, what: &What) -> String {
    let name = styled(BOLD, worker);
    match what {
        What::Preparing { step, of, command } => format!("{name}: step {step} of {of}: {command}"),
        What::Prepared { took } => format!(
            "{name}: {} in {:.1} s",
            styled(GREEN, "prepared"),
            took.as_secs_f64()
        ),
        What::Started { pid } => format!("{name}: started, pid {pid}"),
        What::Exited { how, retry_in } => format!(
            "{name}: {how}; starting again in {} ms",
            retry_in.as_millis()
        ),
        What::CrashLoop { exits, output } => {
            format!(
                "{name}: {} {exits} times in a row; the last it said:{}",
                styled(RED, "ended"),
                indented(output)
            )
        }
        What::Failed { message, output } => format!(
            "{name}: {}: {message}{}",
            styled(RED, "failed"),
            indented(output)
        ),
        What::Skipped { message } => format!("{name}: {}: {message}", styled(YELLOW, "skipped")),
        What::Output(line) => format!("{name}: {line}"),
        What::Stopped => format!("{name}: stopped"),
    }
}

fn indented(lines: &[String]) -> String {
    lines
        .iter()
        .fold(String::new(), |text, line| text + "\n    " + line)
}

fn log(event: &Event) {
    let worker = &event.worker;
    match &event.what {
        What::Output(_) => {}
        What::Preparing { step, of, command } => {
            tracing::info!(worker, step, of, command, "preparing")
        }
        What::Prepared { took } => tracing::info!(worker, seconds = took.as_secs_f64(), "prepared"),
        What::Started { pid } => tracing::info!(worker, pid, "started"),
        What::Exited { how, retry_in } => {
            tracing::warn!(worker, how, retry_in_ms = retry_in.as_millis(), "ended")
        }
        What::CrashLoop { exits, output } => {
            tracing::error!(worker, exits, "crash loop:{}", indented(output))
        }
        What::Failed { message, output } => {
            tracing::error!(worker, "{message}{}", indented(output))
        }
        What::Skipped { message } => tracing::warn!(worker, "skipped: {message}"),
        What::Stopped => tracing::info!(worker, "stopped"),
    }
}
