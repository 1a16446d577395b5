//! What `/proc` knows about a process.

use std::{fs, time::Duration};

use anyhow::{Context, Result};

#[derive(Clone, Copy, Debug)]
pub(crate) struct Usage {
    /// User and system time so far.
    pub(crate) cpu: Duration,
    pub(crate) resident_bytes: u64,
}

impl Usage {
    pub(crate) fn resident_mib(&self) -> f64 {
        self.resident_bytes as f64 / f64::from(1 << 20)
    }
}

pub(crate) fn usage(pid: u32) -> Result<Usage> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))
        .with_context(|| format!("process {pid} is gone"))?;
    // The name may hold blanks; what follows its parenthesis is numbered from field 3.
    let after = stat.rsplit_once(')').map_or("", |(_, after)| after);
    let field = |number: usize| -> Result<u64> {
        after
            .split_whitespace()
            .nth(number - 3)
            .and_then(|field| field.parse().ok())
            .with_context(|| format!("no field {number} in {stat}"))
    };
    let ticks = field(14)? + field(15)?;
    let per_second = rustix::param::clock_ticks_per_second();
    Ok(Usage {
        cpu: Duration::from_secs_f64(ticks as f64 / per_second as f64),
        resident_bytes: field(24)? * rustix::param::page_size() as u64,
    })
}
