//! What a crash loop has found, as it is printed.

use std::{collections::BTreeMap, fmt};

use super::ledger::Kind;

#[derive(Debug)]
pub(super) struct Figures {
    seed: u64,
    pub(super) rounds: u32,
    pub(super) acknowledged: BTreeMap<Kind, u64>,
    /// Acknowledged, and not there.
    pub(super) lost: BTreeMap<Kind, u64>,
    /// Ended on disk, and delivered again.
    pub(super) doubled: BTreeMap<Kind, u64>,
    /// Anything else that must not be.
    pub(super) wrong: Vec<String>,
    pub(super) corrupt_opens: u64,
    /// From the start of the process until a worker is connected and bound.
    pub(super) recovery_ms: Vec<u128>,
}

impl Figures {
    pub(super) fn new(seed: u64) -> Self {
        Figures {
            seed,
            rounds: 0,
            acknowledged: BTreeMap::new(),
            lost: BTreeMap::new(),
            doubled: BTreeMap::new(),
            wrong: Vec::new(),
            corrupt_opens: 0,
            recovery_ms: Vec::new(),
        }
    }

    pub(super) fn lose(&mut self, kind: Kind, count: u64) {
        if count > 0 {
            *self.lost.entry(kind).or_default() += count;
        }
    }

    pub(super) fn is_clean(&self) -> bool {
        self.lost.is_empty()
            && self.doubled.is_empty()
            && self.wrong.is_empty()
            && self.corrupt_opens == 0
    }

    pub(super) fn show(&self, what: &str) {
        say(&format!("\n{what}: {self}"));
    }
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut recovery = self.recovery_ms.clone();
        recovery.sort_unstable();
        let median = recovery.get(recovery.len() / 2).copied().unwrap_or(0);
        let worst = recovery.last().copied().unwrap_or(0);
        writeln!(f, "{} rounds, seed {}", self.rounds, self.seed)?;
        writeln!(f, "  acknowledged    {}", counts(&self.acknowledged))?;
        writeln!(f, "  lost            {}", counts(&self.lost))?;
        writeln!(f, "  settled, again  {}", counts(&self.doubled))?;
        writeln!(f, "  corrupt opens   {}", self.corrupt_opens)?;
        for wrong in &self.wrong {
            writeln!(f, "  wrong           {wrong}")?;
        }
        write!(f, "  recovery        median {median} ms, worst {worst} ms")
    }
}

fn counts(of: &BTreeMap<Kind, u64>) -> String {
    if of.is_empty() {
        return "0".to_owned();
    }
    let parts = of
        .iter()
        .map(|(kind, count)| format!("{} {count}", format!("{kind:?}").to_lowercase()));
    parts.collect::<Vec<_>>().join(", ")
}

#[expect(clippy::print_stdout, reason = "what `cargo xtask crash` is run for")]
pub(super) fn say(text: &str) {
    println!("{text}");
}
