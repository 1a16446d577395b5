//! Writes of many keys at once.

use super::*;

impl Rig {
    async fn transact(&self, operations: Value) -> Result<Vec<Value>, Error> {
        let input = json!({ "operations": operations });
        let answer = self.call(api::TRANSACTION, input).await?;
        Ok(answer["results"].as_array().unwrap().clone())
    }

    /// Expects that `operations` are refused, because of the `place`th of them.
    async fn refused(&self, operations: Value, code: Code, place: u64, message: &str) {
        let error = self.transact(operations.clone()).await.unwrap_err();
        assert_eq!(error.code, code, "{operations}: {error}");
        assert!(error.message.contains(message), "{operations}: {error}");
        let details = error.details.unwrap_or_default();
        assert_eq!(details["operation"], place, "{operations}");
    }
}

#[tokio::test]
async fn all_of_it_is_done_and_each_result_is_told() {
    let rig = Rig::new().await;
    let before = rig.set("old", json!(1)).await;
    let results = rig
        .transact(json!([
            {"op": "set", "scope": "a", "key": "x", "value": null, "expected_version": 0},
            {"op": "update", "scope": "s", "key": "old", "ops": [{"type": "increment", "path": "", "by": 4}]},
            {"op": "delete", "scope": "s", "key": "never"},
            {"op": "check", "scope": "s", "key": "free", "expected_version": 0},
        ]))
        .await
        .unwrap();
    let values: Vec<_> = results
        .iter()
        .map(|result| (&result["old_value"], &result["new_value"]))
        .collect();
    let null = &Value::Null;
    let expected = [
        (null, null),
        (&json!(1), &json!(5)),
        (null, null),
        (null, null),
    ];
    assert_eq!(values, expected);
    let versions: Vec<_> = (results.iter())
        .map(|result| result["version"].as_u64().unwrap())
        .collect();
    assert!(
        versions[0] > before && versions[1] > versions[0],
        "{versions:?}"
    );
    assert_eq!(versions[2..], [0, 0]);
    // What is told is what is stored: the next write can build on it.
    rig.transact(json!([
        {"op": "delete", "scope": "a", "key": "x", "expected_version": versions[0]},
        {"op": "delete", "scope": "s", "key": "old", "expected_version": versions[1]},
    ]))
    .await
    .unwrap();
    assert_eq!(rig.get("old").await, Value::Null);
}

#[tokio::test]
async fn of_one_that_is_refused_nothing_is_done() {
    let rig = Rig::with(Config {
        value_bytes_max: 10,
        ..Config::default()
    })
    .await;
    let version = rig.set("a", json!(1)).await;
    let set =
        |key: &str, value: Value| json!({"op": "set", "scope": "s", "key": key, "value": value});
    let check = |key: &str, version: u64| json!({"op": "check", "scope": "s", "key": key, "expected_version": version});
    let conflict = json!([set("b", json!(2)), check("a", version + 1)]);
    rig.refused(conflict, Code::Conflict, 1, "nothing was written")
        .await;
    let large = json!([set("b", json!(2)), set("c", json!("0123456789"))]);
    rig.refused(large, Code::PayloadTooLarge, 1, "at most 10")
        .await;
    let twice = json!([set("b", json!(2)), set("d", json!(2)), check("b", 0)]);
    rig.refused(twice, Code::InvalidInput, 2, "an earlier operation")
        .await;
    let empty = json!([{"op": "set", "scope": "s", "key": "b"}]);
    rig.refused(empty, Code::InvalidInput, 0, "`value` is missing")
        .await;
    let blind = json!([set("b", json!(2)), {"op": "check", "scope": "s", "key": "a"}]);
    rig.refused(
        blind,
        Code::InvalidInput,
        1,
        "`expected_version` is missing",
    )
    .await;
    let skipped = json!([set("b", json!(2)), {"op": "update", "scope": "s", "key": "a", "ops": [{"type": "append", "path": "x", "value": 1}]}]);
    rig.refused(skipped, Code::InvalidInput, 1, "ops[0]").await;
    for key in ["b", "c", "d"] {
        assert_eq!(rig.get(key).await, Value::Null, "{key}");
    }
    let none = rig.transact(json!([])).await.unwrap_err();
    assert_eq!(none.code, Code::InvalidInput);
    rig.transact(json!([set("b", json!(2)), check("a", version)]))
        .await
        .unwrap();
    assert_eq!(rig.get("b").await, json!(2));
}

/// Accounts from which and to which money is sent, in both directions, among increments of others.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_lost_or_made_between_keys_that_many_write() {
    const KEYS: u64 = 5;
    const TRANSFERS: u64 = 200;
    let rig = Rig::new().await;
    let increment = |key: u64, by: i64| json!({"op": "update", "scope": "s", "key": key.to_string(), "ops": [{"type": "increment", "path": "", "by": by}]});
    let calls: Vec<_> = (0..TRANSFERS)
        .map(|number| {
            let (from, to) = (number % KEYS, (number * 3 + 1) % KEYS);
            let bus = rig.bus.clone();
            let transfer = match from == to {
                true => json!([increment(from, 0)]),
                false => json!([increment(from, -7), increment(to, 7)]),
            };
            let alone = json!({"scope": "s", "key": to.to_string(), "ops": [{"type": "increment", "path": "", "by": 1}]});
            tokio::spawn(async move {
                let input = json!({ "operations": transfer });
                let both = tokio::join!(
                    bus.trigger::<Value>(api::TRANSACTION, &input),
                    bus.trigger::<Value>(api::UPDATE, &alone)
                );
                both.0.and(both.1).unwrap();
            })
        })
        .collect();
    for call in calls {
        call.await.unwrap();
    }
    let mut sum = 0;
    for key in 0..KEYS {
        sum += rig.get(&key.to_string()).await.as_i64().unwrap();
    }
    assert_eq!(u64::try_from(sum), Ok(TRANSFERS));
}
