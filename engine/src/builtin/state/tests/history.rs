//! What values were before.

use super::*;
use crate::{
    builtin::state::history,
    storage::{Scan, Space},
};

async fn rig(entries_max: usize) -> Rig {
    let history = json!([{"scope": "s", "entries_max": entries_max, "age_ms_max": 1000}]);
    let config = Config {
        history: serde_json::from_value(history).unwrap(),
        ..Config::default()
    };
    Rig::with(config).await
}

impl Rig {
    /// Former values of `key`, newest first, from one page; and its cursor.
    async fn former(&self, key: &str, page: Value) -> (Vec<Value>, Value) {
        let mut input = json!({"scope": "s", "key": key});
        input
            .as_object_mut()
            .unwrap()
            .extend(page.as_object().unwrap().clone());
        let answer = self.call(api::HISTORY, input).await.unwrap();
        let entries = answer["entries"].as_array().unwrap();
        let values = entries.iter().map(|entry| entry["value"].clone());
        (values.collect(), answer["cursor"].clone())
    }

    async fn all_former(&self, key: &str) -> Vec<Value> {
        self.former(key, json!({})).await.0
    }
}

#[tokio::test]
async fn former_values_are_there_with_their_versions() {
    let rig = rig(100).await;
    let version = rig.set("k", json!("first")).await;
    rig.pass_ms(10);
    rig.set("k", json!("second")).await;
    let delete = json!({"scope": "s", "key": "k"});
    rig.call(api::DELETE, delete.clone()).await.unwrap();
    rig.call(api::DELETE, delete).await.unwrap();
    rig.set("kk", json!("another")).await;
    assert_eq!(rig.all_former("k").await, ["second", "first"]);
    let page = json!({"scope": "s", "key": "k", "limit": 1});
    let newest = rig.call(api::HISTORY, page).await.unwrap();
    let (cursor, ended_ms) = (&newest["cursor"], &newest["entries"][0]["ended_ms"]);
    assert_eq!(ended_ms, START_MS + 10);
    let (older, end) = rig.former("k", json!({"limit": 1, "before": cursor})).await;
    assert_eq!((older, end), (vec![json!("first")], Value::Null));
    let of_first = json!({"scope": "s", "key": "k", "before": version + 1});
    let first = rig.call(api::HISTORY, of_first).await.unwrap();
    assert_eq!(first["entries"][0]["version"], version);
    let other = json!({"scope": "other", "key": "k"});
    rig.refuse(
        api::HISTORY,
        other,
        Code::NotFound,
        "HISTORY_NOT_KEPT",
        "state.history",
    )
    .await;
}

#[tokio::test]
async fn no_more_is_kept_than_asked_for_and_no_longer() {
    let rig = rig(3).await;
    for number in 0..10 {
        rig.set("k", json!(number)).await;
    }
    assert_eq!(rig.all_former("k").await, [8, 7, 6]);
    rig.pass_ms(600);
    rig.set("k", json!(10)).await;
    rig.pass_ms(600);
    // Due, though nobody has swept yet.
    assert_eq!(rig.all_former("k").await, [9]);
    let store = &rig.state.reads.store;
    history::sweep(store, START_MS + 1200).await.unwrap();
    assert_eq!(rig.all_former("k").await, [9]);
    history::sweep(store, START_MS + 5000).await.unwrap();
    for space in [
        "state-history",
        "state-history-values",
        "state-history-terms",
    ] {
        let left = store.scan(Scan::all(Space::new(space))).await.unwrap();
        assert_eq!(left.entries, [], "{space}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_who_write_one_key_leave_every_version() {
    let rig = rig(1000).await;
    let calls: Vec<_> = (0..100)
        .map(|_| {
            let bus = rig.bus.clone();
            let one = json!({"type": "increment", "path": "", "by": 1});
            let operation = json!({"op": "update", "scope": "s", "key": "n", "ops": [one]});
            let input = json!({"scope": "s", "key": "n", "ops": [one]});
            tokio::spawn(async move {
                let transaction = json!({"operations": [operation]});
                bus.trigger::<Value>(api::UPDATE, &input).await.unwrap();
                bus.trigger::<Value>(api::TRANSACTION, &transaction)
                    .await
                    .unwrap();
            })
        })
        .collect();
    for call in calls {
        call.await.unwrap();
    }
    let (found, _) = rig.former("n", json!({"limit": 1000})).await;
    assert!(
        found
            .into_iter()
            .eq((1..200).rev().map(|number| json!(number)))
    );
}
