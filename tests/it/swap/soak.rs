//! What the engine holds before and after many restarts of a worker.

use std::fs;

use anyhow::{Context, Result};
use serde_json::{Value, json};

use super::{
    load::{Load, Rate},
    numbered::Numbered,
    rust_worker,
    shop::Shop,
};
use crate::harness::eventually;

/// What `cargo xtask soak` asks for, or what is enough in CI.
pub(super) fn asked<T: std::str::FromStr>(variable: &str, otherwise: T) -> T {
    let asked = std::env::var(variable).ok();
    let asked = asked.and_then(|text| text.parse().ok());
    asked.unwrap_or(otherwise)
}

#[expect(clippy::print_stdout, reason = "the figures are what one soaks for")]
pub(super) fn show(text: &str) {
    println!("{text}");
}

/// What the engine's process holds.
#[derive(Debug)]
pub(super) struct Held {
    descriptors: usize,
    threads: usize,
    children: usize,
    memory_kib: u64,
}

impl Held {
    pub(super) fn by(pid: u32) -> Result<Held> {
        let count = |what: &str| anyhow::Ok(fs::read_dir(format!("/proc/{pid}/{what}"))?.count());
        let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
        let memory = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let memory = memory.and_then(|text| text.split_whitespace().next()?.parse().ok());
        let children = |task: fs::DirEntry| {
            let list = fs::read_to_string(task.path().join("children")).unwrap_or_default();
            list.split_whitespace().count()
        };
        let tasks = fs::read_dir(format!("/proc/{pid}/task"))?.flatten();
        Ok(Held {
            descriptors: count("fd")?,
            threads: count("task")?,
            children: tasks.map(children).sum(),
            memory_kib: memory.unwrap_or_default(),
        })
    }

    /// Waits until nothing more is held than at that time, and shows both.
    pub(super) async fn settles(self, pid: u32) -> Result<()> {
        let settled = || async {
            let now = Held::by(pid).ok()?;
            let is_settled = now.descriptors <= self.descriptors
                && now.children <= self.children
                && now.threads <= self.threads + 2;
            is_settled.then_some(now)
        };
        let after = eventually("nothing more is held than before", settled).await;
        let seen = Held::by(pid)?;
        let grown = seen.memory_kib.saturating_sub(self.memory_kib);
        show(&format!(
            "held before {self:?}, after {seen:?}: {grown} KiB more"
        ));
        after.map(drop)
    }
}

/// Restarted again and again while it is called; `cargo xtask soak --restarts N` asks for many.
#[tokio::test(flavor = "multi_thread")]
async fn restarts() -> Result<()> {
    let restarts = asked("AGENTOS_SOAK_RESTARTS", 12_u64);
    let shop = Shop::of(rust_worker::command()?).await?;
    let served = Numbered::of(&shop, true);
    let rate = Rate {
        calls_per_second: 50,
        streams: 2,
    };
    let load = Load::start(&shop.caller, served, rate);
    let mut before = None;
    for number in 0..restarts {
        let restart = async || {
            let name = json!({ "name": "shop" });
            let restart = shop
                .caller
                .trigger::<Value>("engine::workers::restart", &name);
            restart.await
        };
        load.while_changing(restart).await?;
        // What is made once has been made; of many, the first hundred are for that.
        if number < restarts.min(400) / 4 {
            before = Some(Held::by(shop.engine.pid())?);
        }
    }
    let mut tally = load.end().await?;
    show(&format!("{restarts} restarts, {}", tally.describe()));
    let before = before.context("there was a restart")?;
    before.settles(shop.engine.pid()).await
}
