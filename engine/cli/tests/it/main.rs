//! The built program, driven from outside, and the supervisor with the built program as its guard.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod engine;
mod lifecycle;
mod supervisor;
mod templates;
mod usage;

use std::{
    fs,
    path::Path,
    time::{Duration, Instant},
};

/// The program under test.
const AGENTOS: &str = env!("CARGO_BIN_EXE_agentos");

/// Longest to wait for anything; a loaded machine is slow, a broken one is slower.
const PATIENCE: Duration = Duration::from_secs(20);

/// Waits until `done` gives something.
fn wait_for<T>(what: &str, mut done: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(value) = done() {
            return value;
        }
        assert!(
            Instant::now() < deadline,
            "{what} did not happen in {PATIENCE:?}"
        );
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Makes the folder of a worker that is a shell script.
fn shell_worker(parent: &Path, name: &str, script: &str, more: &str) {
    let folder = parent.join(name);
    fs::create_dir_all(&folder).unwrap();
    fs::write(folder.join("script.sh"), script).unwrap();
    let manifest = format!("name: {name}\nlanguage: other\ncommand: [sh, script.sh]\n{more}");
    fs::write(folder.join("worker.yaml"), manifest).unwrap();
}

/// The pids that a script wrote into `file`, once there are `count`.
fn pids(file: &Path, count: usize) -> Vec<u32> {
    wait_for("the pid file", || {
        let text = fs::read_to_string(file).ok()?;
        let pids: Vec<u32> = text
            .lines()
            .filter_map(|line| line.trim().parse().ok())
            .collect();
        (pids.len() >= count).then_some(pids)
    })
}

/// True while the process runs; a zombie does not.
fn is_alive(pid: u32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(')')
        .is_some_and(|(_, rest)| !rest.trim_start().starts_with(['Z', 'X']))
}

fn wait_until_dead(pids: &[u32]) {
    wait_for(&format!("the end of {pids:?}"), || {
        pids.iter().all(|pid| !is_alive(*pid)).then_some(())
    });
}

/// A worker that starts a child in its group and one that left it, and says who they are.
const FAMILY: &str = "echo $$ >> pids
sleep 600 & echo $! >> pids
setsid sh -c 'echo $$ >> pids; exec sleep 600' &
while true; do sleep 0.1; done
";
