//! Many callers of one key.

use super::*;

fn increment() -> Value {
    json!({"scope": "s", "key": "n", "ops": [{"type": "increment", "path": "", "by": 1}], "versioned": true})
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_increment_is_lost_and_each_sees_its_own() {
    const CALLS: u64 = 500;
    let rig = Rig::new().await;
    let calls: Vec<_> = (0..CALLS)
        .map(|_| {
            let bus = rig.bus.clone();
            tokio::spawn(async move {
                bus.trigger::<Value>(api::UPDATE, &increment())
                    .await
                    .unwrap()
            })
        })
        .collect();
    let (mut values, mut versions) = (Vec::new(), Vec::new());
    for call in calls {
        let result = call.await.unwrap();
        values.push(result["new_value"].as_u64().unwrap());
        versions.push((
            result["version"].as_u64().unwrap(),
            result["new_value"].as_u64().unwrap(),
        ));
    }
    values.sort_unstable();
    versions.sort_unstable();
    assert!(values.into_iter().eq(1..=CALLS));
    assert!(
        versions.is_sorted_by(|a, b| a.0 < b.0 && a.1 < b.1),
        "versions rise with the value"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_racing_writers_exactly_one_wins() {
    let rig = Rig::new().await;
    for _ in 0..20 {
        let version = rig.set("k", json!(0)).await;
        let racers: Vec<_> = (0..16)
            .map(|racer| {
                let bus = rig.bus.clone();
                let input =
                    json!({"scope": "s", "key": "k", "value": racer, "expected_version": version});
                tokio::spawn(async move { bus.trigger::<Value>(api::SET, &input).await })
            })
            .collect();
        let mut winners = 0;
        for racer in racers {
            winners += u32::from(racer.await.unwrap().is_ok());
        }
        assert_eq!(winners, 1);
    }
}

#[tokio::test]
async fn a_full_lane_says_overloaded() {
    let rig = Rig::with(Config {
        writes_per_key_max: 4,
        ..Config::default()
    })
    .await;
    let calls: Vec<_> = (0..10)
        .map(|_| {
            let bus = rig.bus.clone();
            tokio::spawn(async move { bus.trigger::<Value>(api::UPDATE, &increment()).await })
        })
        .collect();
    let (mut done, mut refused) = (0, 0);
    for call in calls {
        match call.await.unwrap() {
            Ok(_) => done += 1,
            Err(error) => {
                assert_eq!((error.code, error.retryable), (Code::Overloaded, true));
                refused += 1;
            }
        }
    }
    assert!(done >= 4 && refused > 0, "{done} done, {refused} refused");
    assert_eq!(rig.get("n").await, json!(done));
}

#[tokio::test]
async fn a_caller_that_gives_up_leaves_the_lane_usable() {
    let rig = Rig::new().await;
    for _ in 0..50 {
        let bus = rig.bus.clone();
        let call =
            tokio::spawn(async move { bus.trigger::<Value>(api::UPDATE, &increment()).await });
        tokio::task::yield_now().await;
        call.abort();
    }
    let before = rig.get("n").await.as_u64().unwrap_or_default();
    let result = rig.call(api::UPDATE, increment()).await.unwrap();
    assert!(result["new_value"].as_u64().unwrap() > before);
}
