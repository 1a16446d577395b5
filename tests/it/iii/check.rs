//! Named checks, and the list of those that may still fail.

use std::{
    collections::BTreeSet,
    fs,
    panic::{AssertUnwindSafe, resume_unwind},
};

use anyhow::{Result, bail};
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

/// Runs the check `name`; one on the list of pending ones must fail, or the list is to shrink.
#[expect(clippy::print_stdout, reason = "the suite's report")]
pub(super) async fn check(name: &str, body: impl Future<Output = Result<()>>) -> Result<()> {
    let outcome = AssertUnwindSafe(body).catch_unwind().await;
    let pending = pending("raw")?.contains(name);
    match outcome {
        Ok(Ok(())) if pending => bail!("{name} passes: take it off pending.txt"),
        Ok(Ok(())) => println!("ok {name}"),
        Ok(Err(error)) if pending => println!("pending {name}: {error:#}"),
        Ok(Err(error)) => return Err(error.context(name.to_owned())),
        Err(_) if pending => println!("pending {name}: it panics"),
        Err(panic) => {
            println!("not ok {name}");
            resume_unwind(panic);
        }
    }
    Ok(())
}
