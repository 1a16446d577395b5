//! Many callers of one item.

use super::*;

fn increment() -> Value {
    item(
        "n",
        json!({ "ops": [{ "type": "increment", "path": "", "by": 1 }] }),
    )
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_increment_is_lost_and_each_sees_its_own() {
    const CALLS: u64 = 500;
    let rig = Rig::new().await;
    let calls = (0..CALLS).map(|_| {
        let bus = rig.bus.clone();
        tokio::spawn(async move { bus.trigger::<Value>(api::UPDATE, &increment()).await })
    });
    let mut values = Vec::new();
    for call in calls.collect::<Vec<_>>() {
        let result = call.await.unwrap().unwrap();
        values.push(result["new_value"].as_u64().unwrap());
    }
    values.sort_unstable();
    assert!(values.into_iter().eq(1..=CALLS));
}

#[tokio::test]
async fn a_full_lane_says_overloaded() {
    let rig = Rig::with(Config {
        writes_per_item_max: 4,
        ..Config::default()
    })
    .await;
    let calls = (0..10).map(|_| rig.call(api::UPDATE, increment()));
    let (mut done, mut refused) = (0, 0);
    for outcome in futures_util::future::join_all(calls).await {
        match outcome {
            Ok(_) => done += 1,
            Err(error) => {
                let found = (error.code, error.retryable, error.reason.as_deref());
                let expect = (Code::Overloaded, true, Some("STREAM_UPDATE_ERROR"));
                assert_eq!(found, expect);
                refused += 1;
            }
        }
    }
    assert!(done >= 4 && refused > 0, "{done} done, {refused} refused");
    rig.check(api::GET, item("n", json!({})), json!(done)).await;
}
