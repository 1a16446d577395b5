//! How much of the machine a worker may take. Its guard sets it, between fork and exec, so that it holds
//! for the worker and for everything that it starts.

use std::ffi::OsString;

use rustix::process::{Resource, Rlimit, nice, setrlimit};
use serde::Deserialize;

/// Least that a program is given to start with.
pub(super) const MEMORY_MB_MIN: u64 = 16;
/// The least important there is.
pub(super) const NICE_MAX: i32 = 19;

/// Said in `worker.yaml`, and to the guard in the words before its command.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Resources {
    /// Of each process: what it has allocated, in MiB.
    pub memory_max_mb: Option<u64>,
    /// How much less important than the engine it is to the processor.
    pub nice: Option<i32>,
}

const MEMORY: &str = "--memory-max-mb=";
const NICE: &str = "--nice=";

impl Resources {
    /// What is wrong with it, and where.
    pub(super) fn fault(&self) -> Option<(&'static str, String)> {
        if self.memory_max_mb.is_some_and(|mb| mb < MEMORY_MB_MIN) {
            let message = format!("expected at least {MEMORY_MB_MIN}, in MiB, for instance 512");
            return Some(("resources.memory_max_mb", message));
        }
        if self
            .nice
            .is_some_and(|nice| !(0..=NICE_MAX).contains(&nice))
        {
            let message = format!("expected 0 to {NICE_MAX}; a larger one is less important");
            return Some(("resources.nice", message));
        }
        None
    }

    /// The words for the guard.
    pub(super) fn words(&self) -> Vec<OsString> {
        let memory = self.memory_max_mb.map(|mb| format!("{MEMORY}{mb}"));
        let nice = self.nice.map(|nice| format!("{NICE}{nice}"));
        memory.into_iter().chain(nice).map(OsString::from).collect()
    }

    /// Takes the words off the front of what the guard was told; the command is left.
    pub(super) fn read(words: &[OsString]) -> (Self, &[OsString]) {
        let mut resources = Resources::default();
        let mut rest = words;
        while let [word, after @ ..] = rest {
            let word = word.to_str().unwrap_or_default();
            if let Some(mb) = word.strip_prefix(MEMORY) {
                resources.memory_max_mb = mb.parse().ok();
            } else if let Some(nice) = word.strip_prefix(NICE) {
                resources.nice = nice.parse().ok();
            } else {
                break;
            }
            rest = after;
        }
        (resources, rest)
    }

    /// For the calling process and what it will start. Plain system calls: may stand between fork
    /// and exec.
    pub(super) fn apply(self) -> rustix::io::Result<()> {
        if let Some(mb) = self.memory_max_mb {
            let bytes = Some(mb.saturating_mul(1 << 20));
            // Of memory that is private and can be written, not of addresses: engines of JavaScript
            // reserve gigabytes of those, and use none of them.
            let limit = Rlimit {
                current: bytes,
                maximum: bytes,
            };
            setrlimit(Resource::Data, limit)?;
        }
        if let Some(more) = self.nice {
            nice(more)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_guard_reads_what_it_is_told() {
        let all = Resources {
            memory_max_mb: Some(512),
            nice: Some(5),
        };
        for resources in [all, Resources::default()] {
            let mut words = resources.words();
            words.extend(["node".into(), "--nice=7".into()]);
            let (read, command) = Resources::read(&words);
            assert_eq!((read, command.len()), (resources, 2));
            assert_eq!(command[0], "node");
        }
    }
}
