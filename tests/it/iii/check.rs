//! Named checks, and the list of those that may still fail.

use std::{collections::BTreeSet, fs, panic::AssertUnwindSafe};

use anyhow::{Result, anyhow, ensure};
use futures_util::FutureExt;

use crate::harness::root;

/// What `pending.txt` says of `player`: the names of checks that may fail.
pub(super) fn pending(player: &str) -> Result<BTreeSet<String>> {
    let text = fs::read_to_string(root().join("tests/conformance/iii/pending.txt"))?;
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    Ok(lines
        .filter_map(|line| line.split_once(' '))
        .filter(|(whose, _)| *whose == player)
        .map(|(_, name)| name.to_owned())
        .collect())
}

/// The checks of one test. One that fails does not keep the next from being made.
#[derive(Default)]
pub(super) struct Suite {
    failed: Vec<String>,
}

impl Suite {
    /// Runs the check `name`; one on the list of pending ones must fail, or the list is to shrink.
    #[expect(clippy::print_stdout, reason = "the suite's report")]
    pub(super) async fn check(&mut self, name: &str, body: impl Future<Output = Result<()>>) {
        let outcome = match AssertUnwindSafe(body).catch_unwind().await {
            Ok(outcome) => outcome,
            Err(_) => Err(anyhow!("it panics")),
        };
        let pending = pending("raw").is_ok_and(|pending| pending.contains(name));
        match outcome {
            Ok(()) if pending => self
                .failed
                .push(format!("passes, take it off pending.txt: raw {name}")),
            Ok(()) => println!("ok {name}"),
            Err(error) if pending => println!("pending {name}: {error:#}"),
            Err(error) => {
                println!("not ok {name}: {error:#}");
                self.failed.push(format!("not ok {name}: {error:#}"));
            }
        }
    }

    /// Whether every check held.
    pub(super) fn verdict(self) -> Result<()> {
        ensure!(self.failed.is_empty(), "{}", self.failed.join("\n"));
        Ok(())
    }
}
