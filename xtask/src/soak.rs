//! The swap soak, whole: `tests/it/swap.rs` has it, and CI plays a few swaps.

use anyhow::{Result, bail};

use crate::crash::play;

pub(crate) fn run(given: &[&str]) -> Result<()> {
    let swaps = match given {
        [] => "200",
        ["--swaps", swaps] => swaps,
        _ => bail!("soak knows --swaps N; see `cargo xtask help`"),
    };
    play(
        "swap::a_soak_leaks_nothing",
        &[("AGENTOS_SOAK_SWAPS", swaps)],
    )
}
