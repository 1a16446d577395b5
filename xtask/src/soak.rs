//! The soaks, whole: `tests/it/swap/` has them, and CI plays a few swaps and restarts of each.

use anyhow::{Context, Result, bail};

use crate::crash::play;

pub(crate) fn run(given: &[&str]) -> Result<()> {
    let (mut swaps, mut rate, mut restarts) = ("20", "2000", None);
    for pair in given.chunks(2) {
        let value = pair.get(1);
        let value = value.with_context(|| format!("{} wants a value", pair[0]))?;
        match pair[0] {
            "--swaps" => swaps = value,
            "--rate" => rate = value,
            "--restarts" => restarts = Some(*value),
            other => bail!("soak does not know {other}; see `cargo xtask help`"),
        }
    }
    if let Some(restarts) = restarts {
        let asked = [("AGENTOS_SOAK_RESTARTS", restarts)];
        return play("swap::soak::restarts", &["--exact"], &asked);
    }
    // One after the other: each is to have the machine for itself.
    let asked = [
        ("AGENTOS_SOAK_SWAPS", swaps),
        ("AGENTOS_SOAK_RATE", rate),
        ("RUST_TEST_THREADS", "1"),
    ];
    play("swap::languages::", &[], &asked)
}
