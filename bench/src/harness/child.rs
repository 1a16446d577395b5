//! A process that the harness has started, and ends.

use std::{ffi::OsStr, process::Stdio, time::Duration};

use anyhow::{Context, Result, bail};
use rustix::{
    process::{Resource, getrlimit, setrlimit},
    thread::{CpuSet, sched_getaffinity, sched_setaffinity},
};
use tokio::{
    io::{AsyncBufReadExt, BufReader, Lines},
    process::{ChildStdin, ChildStdout, Command},
};

/// Ended with the value, at the latest.
pub(crate) struct Child {
    child: tokio::process::Child,
    pid: u32,
    lines: Lines<BufReader<ChildStdout>>,
    /// Roles end when this closes.
    _stdin: ChildStdin,
    name: String,
}

impl Child {
    /// One of this binary's own roles.
    pub(crate) fn role(words: &[String]) -> Result<Self> {
        // Not by its path: the file may have been built anew since.
        let mut command = Command::new("/proc/self/exe");
        command.args(words);
        Self::spawn(command)
    }

    pub(crate) fn spawn(mut command: Command) -> Result<Self> {
        let name = command
            .as_std()
            .get_args()
            .next()
            .map_or_else(|| command.as_std().get_program(), OsStr::new)
            .to_string_lossy()
            .into_owned();
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .with_context(|| {
                format!("cannot start {}", command.as_std().get_program().display())
            })?;
        Ok(Child {
            pid: child.id().context("ended at once")?,
            lines: BufReader::new(child.stdout.take().context("no output")?).lines(),
            _stdin: child.stdin.take().context("no input")?,
            child,
            name,
        })
    }

    pub(crate) fn pid(&self) -> u32 {
        self.pid
    }

    /// The next line it says.
    pub(crate) async fn line(&mut self, patience: Duration) -> Result<String> {
        let line = tokio::time::timeout(patience, self.lines.next_line())
            .await
            .with_context(|| format!("{} says nothing for {patience:?}", self.name))??;
        match line {
            Some(line) => Ok(line),
            None => bail!("{} ended: {}", self.name, self.child.wait().await?),
        }
    }

    /// The next line that begins so; a program may say other things before.
    pub(crate) async fn line_with(&mut self, start: &str, patience: Duration) -> Result<String> {
        let found = async {
            loop {
                let line = self.line(patience).await?;
                if line.starts_with(start) {
                    return Ok(line);
                }
            }
        };
        tokio::time::timeout(patience, found)
            .await
            .context("it says other things")?
    }

    /// Ends it and waits until it is gone.
    pub(crate) async fn end(mut self) {
        // It may have ended by itself.
        let _ = self.child.kill().await;
    }
}

/// While it lives, this thread and the processes it starts run on one core.
pub(crate) struct Pinned {
    before: CpuSet,
}

impl Pinned {
    /// The last of the cores we may use: the first has most interrupts.
    pub(crate) fn here() -> Result<Self> {
        let before = sched_getaffinity(None)?;
        let core = (0..CpuSet::MAX_CPU)
            .rev()
            .find(|core| before.is_set(*core))
            .context("no core to run on")?;
        let mut one = CpuSet::new();
        one.set(core);
        sched_setaffinity(None, &one)?;
        Ok(Pinned { before })
    }
}

impl Drop for Pinned {
    fn drop(&mut self) {
        // It was allowed before.
        let _ = sched_setaffinity(None, &self.before);
    }
}

/// As many open files as may be: ten thousand connections are as many files.
pub(crate) fn allow_many_files() -> Result<()> {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    Ok(setrlimit(Resource::Nofile, limit)?)
}
