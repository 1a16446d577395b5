//! Jobs of a queue while their worker is replaced.

use std::{collections::BTreeMap, fs};

use anyhow::{Result, ensure};
use serde_json::{Value, json};

use super::{
    rust_worker,
    shop::{Shop, record_beside, step},
};
use crate::harness::eventually;

impl Shop {
    async fn enqueue(&self, n: u64, ms: u64) -> Result<()> {
        let job = json!({ "function_id": "shop::record", "data": { "n": n, "ms": ms } });
        let _: Value = self.caller.trigger("queue::enqueue", &job).await?;
        Ok(())
    }

    /// How often each job has begun.
    fn begun(&self) -> BTreeMap<u64, u32> {
        let text = fs::read_to_string(record_beside(&self.folder)).unwrap_or_default();
        let mut times = BTreeMap::new();
        for number in text.lines().filter_map(|line| line.parse().ok()) {
            *times.entry(number).or_default() += 1;
        }
        times
    }

    /// Waits until no job waits or runs.
    async fn jobs_are_done(&self) -> Result<()> {
        let done = || async {
            let queue = json!({ "queue": "default" });
            let stats: Value = self.caller.trigger("queue::stats", &queue).await.ok()?;
            // Those under way among them.
            let idle = stats["depth"].as_u64()? == 0;
            idle.then_some(())
        };
        eventually("every job is done", done).await
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_under_way_ends_where_it_is() -> Result<()> {
    let shop = Shop::of(rust_worker::command()?).await?;
    let other = shop.build("other", &json!({ "version": 2 }))?;
    for n in 0..60 {
        shop.enqueue(n, 30).await?;
    }
    let (code, steps) = shop.worker(&["swap", "shop", "--to", &other])?;
    ensure!(code == 0, "{steps:#?}");
    assert_eq!(step(&steps, "drained")["cut"], 0);
    shop.jobs_are_done().await?;
    let begun = shop.begun();
    assert_eq!(begun.len(), 60);
    ensure!(begun.values().all(|times| *times == 1), "{begun:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_that_is_cut_off_goes_back_to_its_queue() -> Result<()> {
    let shop = Shop::of(rust_worker::command()?).await?;
    let other = shop.build("other", &json!({ "version": 2, "hurries": true }))?;
    // Longer than anybody waits.
    shop.enqueue(7, 600_000).await?;
    let begun = |times| {
        let shop = &shop;
        move || async move { (shop.begun().get(&7) == Some(&times)).then_some(()) }
    };
    eventually("the job runs", begun(1)).await?;
    let swap = ["swap", "shop", "--to", &other, "--drain", "200ms"];
    let (code, steps) = shop.worker(&swap)?;
    ensure!(code == 0, "{steps:#?}");
    assert_eq!(step(&steps, "drained")["cut"], 1);
    // At once, and not when its time would have been over.
    eventually("the new build has the job", begun(2)).await?;
    shop.jobs_are_done().await
}
