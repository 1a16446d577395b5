//! How many run of a worker, and what each uses.

use std::fs;

use anyhow::{Result, ensure};
use serde_json::{Value, json};

use super::shop::Shop;
use crate::harness::eventually;

#[tokio::test(flavor = "multi_thread")]
async fn instances_are_added_ended_and_started_without_a_failed_call() -> Result<()> {
    let shop = Shop::open().await?;
    let load = shop.load(6);
    let instances = || {
        let (_, list) = shop.worker(&["ls"])?;
        anyhow::Ok(list[0][0]["instances"].as_array().map_or(0, Vec::len))
    };
    for replicas in [3, 1, 2] {
        let (code, steps) = shop.worker(&["scale", "shop", &replicas.to_string()])?;
        ensure!(code == 0, "{steps:#?}");
        assert_eq!(instances()?, replicas);
    }
    let second = shop.build("second", &json!({ "version": 2 }))?;
    assert_eq!(shop.worker(&["swap", "shop", "--to", &second])?.0, 0);
    assert_eq!(instances()?, 2, "the new build has as many");
    ensure!(load.end().await? > 0, "there was a load");

    assert_eq!(shop.worker(&["stop", "shop"])?.0, 0);
    assert_eq!((instances()?, shop.version().await), (0, None));
    let (code, steps) = shop.worker(&["start", "shop"])?;
    ensure!(code == 0, "{steps:#?}");
    assert_eq!((instances()?, shop.version().await), (2, Some(2)));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_is_handled_once_however_many_instances_there_are() -> Result<()> {
    let shop = Shop::open().await?;
    let heard = shop.folder.with_file_name("heard");
    let build = |version: u64| json!({ "version": version, "heard": heard });
    let second = shop.build("second", &build(2))?;
    assert_eq!(shop.worker(&["swap", "shop", "--to", &second])?.0, 0);
    let mut published = 0;
    // Three of one build, then three of another, then what is left of them.
    for step in [
        vec!["scale", "shop", "3"],
        vec!["swap", "shop"],
        vec!["scale", "shop", "1"],
    ] {
        let (code, steps) = shop.worker(&step)?;
        ensure!(code == 0, "{steps:#?}");
        for _ in 0..5 {
            let message = json!({ "topic": "news", "data": published });
            let _: Value = shop.caller.trigger("publish", &message).await?;
            published += 1;
        }
        let count = || {
            fs::read_to_string(&heard)
                .unwrap_or_default()
                .lines()
                .count()
        };
        let heard = eventually("every message is heard", || async {
            (count() >= published).then_some(())
        })
        .await;
        assert_eq!(count(), published, "{step:?}");
        heard?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn top_shows_what_a_worker_uses() -> Result<()> {
    let shop = Shop::open().await?;
    let load = shop.load(2);
    let (code, out, err) = tokio::task::block_in_place(|| {
        shop.engine.cli(&["--json", "top", "--every", "300ms"], "")
    })?;
    assert_eq!(code, 0, "{err}");
    load.end().await?;
    let lines: Vec<Value> = serde_json::from_str(&out)?;
    let line = |name: &str| lines.iter().find(|line| line["name"] == name);
    let shop = line("shop").expect("the worker is shown");
    ensure!(shop["memory_bytes"].as_u64() > Some(1 << 20), "{out}");
    ensure!(shop["calls_per_second"].as_f64() > Some(0.0), "{out}");
    ensure!(line("engine").is_some(), "{out}");
    Ok(())
}
