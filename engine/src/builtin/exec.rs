//! The project's own programs: run beside the engine, and again when their files change.
//!
//! The supervisor runs them; this worker watches files and asks for restarts, over the bus as
//! anybody would.

mod watch;

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use agentos_sdk::{Bus, Error, Registrar, Stop, Worker, async_trait};
use serde_json::{Value, json};
use thiserror::Error as Enum;

use crate::{supervisor::Manifest, watching::Watching};
use watch::Globs;

/// A save of several files is one change.
const QUIET: Duration = Duration::from_millis(500);
/// A build that writes on and on is not waited for.
const QUIET_AT_MOST: Duration = Duration::from_secs(5);
/// From the request to the end of the old process; longer than the supervisor's patience.
const RESTART_TIMEOUT: Duration = Duration::from_secs(60);

/// Files whose changes restart a process.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Watch {
    /// The process, as the supervisor names it.
    pub worker: String,
    /// What the globs are relative to.
    pub folder: PathBuf,
    pub globs: Vec<String>,
}

/// What cannot be run or watched.
#[derive(Clone, PartialEq, Eq, Debug, Enum)]
pub enum Fault {
    #[error("expected commands, for instance [npm run build, node dist/index.js]")]
    NoCommand,
    /// The glob with this number.
    #[error("expected a glob below this folder, for instance src/**/*.ts: {1}")]
    Glob(usize, String),
}

/// Finds what keeps `run` and `watch` from working.
///
/// # Errors
/// The first thing found.
pub fn check(run: &[String], watch: &[String]) -> Result<(), Fault> {
    if run.is_empty() || run.iter().any(|command| command.trim().is_empty()) {
        return Err(Fault::NoCommand);
    }
    watch.iter().enumerate().try_for_each(|(index, glob)| {
        watch::check(glob).map_err(|message| Fault::Glob(index, message))
    })
}

/// Runs the commands that are its arguments one after the other, each in a shell of its own, and
/// becomes the last; one that fails ends it.
const LINE: &str =
    r#"while [ "$#" -gt 1 ]; do sh -c "$1" || exit $?; shift; done; exec sh -c "$1""#;

/// The process that runs `run`, and the files that restart it.
pub fn program(
    name: &str,
    run: &[String],
    watch: &[String],
    folder: &Path,
) -> (Manifest, Option<Watch>) {
    let line = ["sh", "-c", LINE, name].map(str::to_owned);
    let command = line.into_iter().chain(run.iter().cloned()).collect();
    let manifest = Manifest {
        ends: true,
        ..Manifest::program(name, folder.to_owned(), command)
    };
    let watch = (!watch.is_empty()).then(|| Watch {
        worker: name.to_owned(),
        folder: folder.to_owned(),
        globs: watch.to_vec(),
    });
    (manifest, watch)
}

/// The built-in worker `exec`.
pub struct Exec {
    watches: Vec<Watch>,
}

impl Exec {
    /// Restarts processes as `watches` say.
    pub fn new(watches: Vec<Watch>) -> Arc<Exec> {
        Arc::new(Exec { watches })
    }
}

#[async_trait]
impl Worker for Exec {
    /// It offers nothing.
    fn register(self: Arc<Self>, _: &mut Registrar) {}

    async fn run(self: Arc<Self>, bus: Bus, stop: Stop) -> Result<(), Error> {
        let watches = self
            .watches
            .iter()
            .map(|watch| restarts(watch, &bus, &stop));
        futures_util::future::join_all(watches).await;
        stop.cancelled().await;
        Ok(())
    }
}

/// Restarts one process until `stop`.
async fn restarts(watch: &Watch, bus: &Bus, stop: &Stop) {
    let worker = &watch.worker;
    // Both were checked with the settings.
    let globs = Globs::new(&watch.folder, &watch.globs);
    let watching = globs
        .map_err(std::io::Error::other)
        .and_then(|globs| Watching::start(globs.roots(), move |path| globs.want(path)));
    let mut watching = match watching {
        Ok(watching) => watching,
        Err(error) => {
            return tracing::error!(%worker, %error, "its files cannot be watched; restart it with `agentos worker restart`");
        }
    };
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = watching.changed(QUIET, QUIET_AT_MOST) => {}
        }
        tracing::info!(%worker, "its files have changed; it is restarted");
        let request = json!({ "name": worker });
        let restart = bus
            .call("engine::supervisor::restart")
            .timeout(RESTART_TIMEOUT);
        if let Err(error) = restart.send::<Value>(&request).await {
            tracing::error!(%worker, %error, "it could not be restarted");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    /// Runs the line of `commands` and gives its exit code and output.
    fn run(commands: &[&str]) -> (Option<i32>, String) {
        let commands: Vec<String> = commands.iter().map(|&command| command.to_owned()).collect();
        let (manifest, watch) = program("app", &commands, &[], Path::new("/"));
        assert!(watch.is_none() && manifest.ends);
        let output = Command::new(&manifest.command[0])
            .args(&manifest.command[1..])
            .output()
            .unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        (output.status.code(), text)
    }

    #[test]
    fn commands_run_one_after_the_other_each_on_its_own() {
        assert_eq!(
            run(&["echo 'a b'; X=1", "echo \"$X\"c"]),
            (Some(0), "a b\nc\n".into())
        );
        assert_eq!(
            run(&["echo a", "exit 3", "echo b"]),
            (Some(3), "a\n".into())
        );
        assert_eq!(run(&["exit 4"]), (Some(4), String::new()));
    }

    #[test]
    fn what_cannot_work_is_named() {
        let own = |words: &[&str]| {
            words
                .iter()
                .map(|&word| word.to_owned())
                .collect::<Vec<_>>()
        };
        assert_eq!(check(&[], &[]), Err(Fault::NoCommand));
        assert_eq!(check(&own(&["a", " "]), &[]), Err(Fault::NoCommand));
        assert_eq!(check(&own(&["a"]), &own(&["src/**/*.{ts,js}"])), Ok(()));
        let fault = check(&own(&["a"]), &own(&["a", "[x"]));
        assert!(matches!(fault, Err(Fault::Glob(1, _))), "{fault:?}");
    }
}
