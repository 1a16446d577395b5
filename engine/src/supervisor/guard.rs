//! `agentos __guard`: the parent of a worker process, whose one duty is that nothing outlives the
//! engine.
//!
//! Its standard input is a socket to the engine. A byte on it asks the worker to end; its end, for
//! instance because the engine was killed, kills the worker and everything the worker started.
//! It is its own small process so that it works when the engine cannot.

use std::{
    ffi::OsString,
    io::{Read, Write},
    os::{
        fd::AsFd,
        unix::{net::UnixStream, process::CommandExt},
    },
    process::{Command, ExitCode, Stdio},
    thread,
    time::Duration,
};

use rustix::process::{
    Pid, Signal, WaitOptions, WaitStatus, getpid, getppid, kill_process, kill_process_group,
    setsid, wait,
};

use super::resources::Resources;

/// The first argument that makes the program a guard.
pub const ARGUMENT: &str = "__guard";

/// Asks the worker to end.
pub(super) const TERMINATE: u8 = b'T';

/// Guards `command` until it has ended, and all it started with it.
pub fn run(command: Vec<OsString>) -> ExitCode {
    let Ok(engine) = std::io::stdin()
        .as_fd()
        .try_clone_to_owned()
        .map(UnixStream::from)
    else {
        return ExitCode::FAILURE;
    };
    adopt_orphans();
    let (resources, command) = Resources::read(&command);
    match spawn(command, resources) {
        Ok(worker) => {
            tell(&engine, &format!("started {}", worker.as_raw_nonzero()));
            watch(&engine, worker);
            let how = wait_for(worker);
            end_all(worker);
            tell(&engine, &how);
            ExitCode::SUCCESS
        }
        Err(error) => {
            tell(&engine, &format!("failed {error}"));
            ExitCode::FAILURE
        }
    }
}

/// Makes whatever the worker leaves behind a child of this process.
fn adopt_orphans() {
    // Without it, as on systems that have no such call, the process group is all that is ended.
    #[cfg(target_os = "linux")]
    let _ = rustix::process::set_child_subreaper(Some(getpid()));
}

#[expect(
    unsafe_code,
    reason = "only code between fork and exec can tie the worker's life to its parent's"
)]
fn spawn(command: &[OsString], resources: Resources) -> std::io::Result<Pid> {
    let [program, arguments @ ..] = command else {
        return Err(std::io::Error::other("no command was given"));
    };
    let guard = getpid();
    let mut worker = Command::new(program);
    worker.args(arguments).stdin(Stdio::null());
    // SAFETY: plain system calls, which allocate nothing and take no lock.
    unsafe {
        worker.pre_exec(move || {
            setsid()?;
            resources.apply()?;
            #[cfg(target_os = "linux")]
            rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
            // The guard may have died before the call above could be heard.
            if getppid() == Some(guard) {
                Ok(())
            } else {
                Err(rustix::io::Errno::SRCH.into())
            }
        });
    }
    let child = worker.spawn()?;
    i32::try_from(child.id())
        .ok()
        .and_then(Pid::from_raw)
        .ok_or_else(|| std::io::Error::other("the worker has no pid"))
}

/// Listens to the engine from a thread of its own.
fn watch(engine: &UnixStream, worker: Pid) {
    let Ok(mut engine) = engine.try_clone() else {
        return end_all(worker);
    };
    thread::spawn(move || {
        let mut byte = [0];
        while matches!(engine.read(&mut byte), Ok(1)) {
            if byte[0] == TERMINATE {
                // It may have ended by itself meanwhile.
                let _ = kill_process_group(worker, Signal::TERM);
            }
        }
        // The main thread sees it end, and ends the rest.
        kill_group(worker);
    });
}

/// Reaps children until the worker has ended, and says how.
fn wait_for(worker: Pid) -> String {
    loop {
        match wait(WaitOptions::empty()) {
            Ok(Some((pid, status))) if pid == worker => return describe(status),
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return format!("exited unseen: {error}"),
        }
    }
}

fn describe(status: WaitStatus) -> String {
    match (status.exit_status(), status.terminating_signal()) {
        (Some(code), _) => format!("exited code {code}"),
        (_, Some(signal)) => format!("exited signal {signal}"),
        _ => "exited unseen".to_owned(),
    }
}

/// Kills what the worker left: its group, and by and by everything that was adopted.
fn end_all(worker: Pid) {
    kill_group(worker);
    // Bounded: a process that the kernel cannot end must not keep the guard for ever.
    for _ in 0..200 {
        for child in children() {
            let _ = kill_process(child, Signal::KILL);
        }
        loop {
            match wait(WaitOptions::NOHANG) {
                Ok(Some(_)) => {}
                Ok(None) => break,
                // No child is left.
                Err(_) => return,
            }
        }
        thread::sleep(Duration::from_millis(10));
    }
}

fn kill_group(worker: Pid) {
    let _ = kill_process_group(worker, Signal::KILL);
    let _ = kill_process(worker, Signal::KILL);
}

/// This process's children, from `/proc`; empty where there is none.
fn children() -> Vec<Pid> {
    let Ok(processes) = std::fs::read_dir("/proc") else {
        return Vec::new();
    };
    let me = getpid().as_raw_nonzero().get();
    let pids = processes
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    pids.filter(|pid| parent_of(*pid) == Some(me))
        .filter_map(Pid::from_raw)
        .collect()
}

pub(super) fn parent_of(pid: i32) -> Option<i32> {
    stat(pid, 1)
}

/// Threads of the system belong to no session.
pub(super) fn is_of_the_system(pid: i32) -> bool {
    stat(pid, 3) == Some(0)
}

/// A number of what the system tells about a process: 1 is its parent, 3 its session.
fn stat(pid: i32, field: usize) -> Option<i32> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // `pid (name) state parent group session …`, and the name may hold anything.
    stat.rsplit_once(')')?
        .1
        .split_whitespace()
        .nth(field)?
        .parse()
        .ok()
}

/// The engine may be gone; then nobody needs to know.
fn tell(mut engine: &UnixStream, what: &str) {
    let _ = engine.write_all(format!("{what}\n").as_bytes());
}
