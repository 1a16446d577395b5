//! What processes use: memory and processor time of each worker with all that it started.

use std::collections::HashMap;

/// By the process that leads: the worker's own pid.
pub(crate) type Usages = HashMap<u32, Usage>;

/// What a worker and everything it started use.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Usage {
    /// Of memory that is resident.
    pub(crate) memory_bytes: u64,
    /// Since they were started.
    pub(crate) cpu_ms: u64,
}

/// Of all processes of this machine. Empty where the system has no `/proc`.
pub(crate) fn by_leader() -> Usages {
    let mut usages = Usages::new();
    let Ok(processes) = std::fs::read_dir("/proc") else {
        return usages;
    };
    for process in processes.flatten() {
        let name = process.file_name();
        let is_number = name
            .to_str()
            .is_some_and(|name| name.parse::<u32>().is_ok());
        if !is_number {
            continue;
        }
        // One that has ended meanwhile uses nothing.
        let Ok(stat) = std::fs::read_to_string(process.path().join("stat")) else {
            continue;
        };
        if let Some(read) = parse(&stat) {
            let (usage, more) = (usages.entry(read.leader).or_default(), read.usage());
            usage.memory_bytes += more.memory_bytes;
            usage.cpu_ms += more.cpu_ms;
        }
    }
    usages
}

/// Of this process: the engine with all its in-process workers.
pub(crate) fn own() -> Option<Usage> {
    let read = parse(&std::fs::read_to_string("/proc/self/stat").ok()?)?;
    Some(read.usage())
}

struct Read {
    leader: u32,
    ticks: u64,
    pages: u64,
}

impl Read {
    fn usage(&self) -> Usage {
        let tick_ms = 1_000 / rustix::param::clock_ticks_per_second().max(1);
        Usage {
            memory_bytes: self.pages * rustix::param::page_size() as u64,
            cpu_ms: self.ticks * tick_ms,
        }
    }
}

/// Reads `pid (name) state parent group session …`; the name may hold anything.
fn parse(stat: &str) -> Option<Read> {
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    let number = |at: usize| fields.get(at)?.parse::<u64>().ok();
    // Fields of proc(5), less the two before the bracket and one for counting from 0.
    Some(Read {
        leader: u32::try_from(number(3)?).ok()?,
        ticks: number(11)? + number(12)?,
        pages: number(21)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_the_kernel_writes() {
        let stat = "42 (a) b) S 7 42 40 0 -1 4194560 1 2 3 4 150 50 0 0 20 0 1 0 99 8192 33 \
                    18446744073709551615 1";
        let read = parse(stat).unwrap();
        assert_eq!((read.leader, read.ticks, read.pages), (40, 200, 33));
        assert!(parse("nonsense").is_none());
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn this_process_uses_something() {
        let leader = rustix::process::getsid(None).unwrap();
        let leader = u32::try_from(leader.as_raw_nonzero().get()).unwrap();
        assert!(by_leader()[&leader].memory_bytes > 0);
    }
}
