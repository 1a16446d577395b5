//! A guarded process, seen from the engine: start it, wait for it, end it.

use std::{
    collections::BTreeMap, ffi::OsString, io, os::fd::OwnedFd, path::Path, process::Stdio,
    sync::Arc, time::Duration,
};

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines},
    net::{
        UnixStream,
        unix::{OwnedReadHalf, OwnedWriteHalf},
    },
    process::{Child, Command},
    task::JoinHandle,
};

use super::{
    InstanceId, guard,
    kin::{Kin, Known},
    output::Output,
    resources::Resources,
};

/// What to run.
pub(super) struct Launch<'a> {
    /// The guard's program and first arguments.
    pub(super) guard: &'a [OsString],
    pub(super) command: &'a [String],
    pub(super) resources: Resources,
    pub(super) folder: &'a Path,
    pub(super) env: BTreeMap<&'a str, &'a str>,
    /// The instance that it is, where it is one.
    pub(super) instance: Option<(&'a Arc<Kin>, InstanceId)>,
}

/// A running process. Dropping it kills it, and all it started.
pub(super) struct Process {
    guard: Child,
    pid: Option<u32>,
    news: Lines<BufReader<OwnedReadHalf>>,
    control: OwnedWriteHalf,
    drains: Vec<JoinHandle<()>>,
    known: Vec<Known>,
}

impl Process {
    /// Starts the process; returns when it runs.
    ///
    /// # Errors
    /// When the guard, or the program, cannot be started.
    pub(super) async fn start(launch: Launch<'_>, output: &Output) -> io::Result<Process> {
        let (ours, theirs) = UnixStream::pair()?;
        let theirs = theirs.into_std()?;
        theirs.set_nonblocking(false)?;
        let mut command = Command::new(&launch.guard[0]);
        command
            .args(&launch.guard[1..])
            .args(launch.resources.words())
            .args(launch.command)
            .current_dir(launch.folder)
            .envs(launch.env);
        command
            .stdin(Stdio::from(OwnedFd::from(theirs)))
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        // Away from the terminal's Ctrl-C, which is for the engine.
        command.process_group(0);
        let mut guard = command.spawn()?;
        let know = |pid: Option<u32>| {
            let (kin, instance) = launch.instance?;
            Some(kin.know(pid?, instance))
        };
        let known = know(guard.id()).into_iter().collect();
        // Drops the guard's end of the socket, so that its death closes it.
        drop(command);
        let drains = [
            guard
                .stdout
                .take()
                .map(|pipe| tokio::spawn(output.clone().drain(pipe))),
            guard
                .stderr
                .take()
                .map(|pipe| tokio::spawn(output.clone().drain(pipe))),
        ];
        let (news, control) = ours.into_split();
        let drains = drains.into_iter().flatten().collect();
        let mut process = Process {
            guard,
            pid: None,
            news: BufReader::new(news).lines(),
            control,
            drains,
            known,
        };
        process.hear_start().await?;
        process.known.extend(know(process.pid));
        Ok(process)
    }

    async fn hear_start(&mut self) -> io::Result<()> {
        let news = self.news.next_line().await?.unwrap_or_default();
        match news.split_once(' ') {
            Some(("started", pid)) => self.pid = pid.parse().ok(),
            Some(("failed", error)) => return Err(io::Error::other(error.to_owned())),
            _ => {
                return Err(io::Error::other(
                    "the guard process died before the worker ran",
                ));
            }
        }
        Ok(())
    }

    /// The pid of the worker, not of its guard.
    pub(super) fn pid(&self) -> Option<u32> {
        self.pid
    }

    /// Waits for the end. May be dropped and called again.
    pub(super) async fn wait(&mut self) -> Exit {
        let news = self.news.next_line().await.ok().flatten();
        let exit = match news {
            Some(news) => Exit::parse(&news),
            None => self.end_without_guard(),
        };
        self.settle().await;
        exit
    }

    /// Asks the process to end, and kills it if it has not after `patience`.
    pub(super) async fn stop(mut self, patience: Duration) {
        // A guard that does not listen is gone, and `wait` sees that.
        let _ = self.control.write_all(&[guard::TERMINATE]).await;
        if tokio::time::timeout(patience, self.wait()).await.is_err() {
            let _ = self.control.shutdown().await;
            let _ = tokio::time::timeout(KILL_PATIENCE, self.wait()).await;
        }
    }

    /// Somebody killed the guard: the kernel has ended the worker with it, the rest is ours.
    fn end_without_guard(&self) -> Exit {
        if let Some(group) = self
            .pid
            .and_then(|pid| i32::try_from(pid).ok())
            .and_then(Pid::from_raw)
        {
            let _ = kill_process_group(group, Signal::KILL);
        }
        Exit {
            code: None,
            how: "its guard process was killed".to_owned(),
        }
    }

    /// Reaps the guard and takes the last of the output.
    async fn settle(&mut self) {
        let _ = tokio::time::timeout(KILL_PATIENCE, self.guard.wait()).await;
        for drain in self.drains.drain(..) {
            let _ = tokio::time::timeout(KILL_PATIENCE, drain).await;
        }
    }
}

/// How long the kernel may take to end what was killed.
const KILL_PATIENCE: Duration = Duration::from_secs(3);

/// How a process ended.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Exit {
    pub(super) code: Option<i32>,
    /// For people: `exit code 1`, `killed by signal 9`.
    pub(super) how: String,
}

impl Exit {
    pub(super) fn success(&self) -> bool {
        self.code == Some(0)
    }

    /// Reads the guard's word.
    fn parse(news: &str) -> Exit {
        let mut words = news.split(' ');
        let number = |text: Option<&str>| text.and_then(|text| text.parse().ok());
        match (words.next(), words.next()) {
            (Some("exited"), Some("code")) => {
                let code = number(words.next());
                Exit {
                    code,
                    how: format!("exit code {}", code.unwrap_or_default()),
                }
            }
            (Some("exited"), Some("signal")) => Exit {
                code: None,
                how: format!(
                    "killed by signal {}",
                    number(words.next()).unwrap_or_default()
                ),
            },
            _ => Exit {
                code: None,
                how: news.to_owned(),
            },
        }
    }
}
