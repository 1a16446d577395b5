//! The worker against a plain map: random calls, equal answers.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::builtin::state::ops;

/// One call, small enough that keys meet again.
#[derive(Clone, Debug)]
enum Action {
    Set {
        key: u8,
        value: Value,
        guarded: Option<bool>,
        ttl_ms: Option<u64>,
    },
    Update {
        key: u8,
        ops: Value,
    },
    Delete {
        key: u8,
    },
    Get {
        key: u8,
    },
    Entries {
        limit: usize,
    },
    Pass {
        ms: u64,
    },
    Sweep,
}

fn action() -> impl Strategy<Value = Action> {
    let key = || 0..4_u8;
    let ttl = prop::option::weighted(0.3, 1..50_u64);
    prop_oneof![
        4 => (key(), value(), prop::option::weighted(0.3, any::<bool>()), ttl)
            .prop_map(|(key, value, guarded, ttl_ms)| Action::Set { key, value, guarded, ttl_ms }),
        4 => (key(), prop::collection::vec(op(), 0..4))
            .prop_map(|(key, ops)| Action::Update { key, ops: Value::Array(ops) }),
        2 => key().prop_map(|key| Action::Delete { key }),
        3 => key().prop_map(|key| Action::Get { key }),
        1 => (1..4_usize).prop_map(|limit| Action::Entries { limit }),
        1 => (1..40_u64).prop_map(|ms| Action::Pass { ms }),
        1 => Just(Action::Sweep),
    ]
}

fn value() -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(json!(null)),
        any::<i64>().prop_map(|number| json!(number)),
        "[a-c]{0,3}".prop_map(|text| json!(text)),
        Just(json!({"a": 1, "b": {"c": [1]}})),
        Just(json!([1, "x"])),
    ]
}

fn op() -> impl Strategy<Value = Value> {
    let path = prop_oneof![Just("a"), Just("b"), Just("")];
    (0..6_usize, path, value(), any::<i64>()).prop_map(|(kind, path, value, by)| {
        let kind = ["set", "merge", "increment", "decrement", "append", "remove"][kind];
        json!({"type": kind, "path": path, "value": value, "by": by})
    })
}

/// What must be there: value and version, and when it is forgotten.
#[derive(Default)]
struct Model {
    rows: BTreeMap<String, (Value, u64, Option<u64>)>,
    now_ms: u64,
}

impl Model {
    fn alive(&self, key: &str) -> Option<&(Value, u64, Option<u64>)> {
        self.rows
            .get(key)
            .filter(|(_, _, due)| due.is_none_or(|due| self.now_ms < due))
    }

    fn value(&self, key: &str) -> Value {
        self.alive(key)
            .map_or(Value::Null, |(value, ..)| value.clone())
    }

    fn version(&self, key: &str) -> u64 {
        self.alive(key).map_or(0, |(_, version, _)| *version)
    }
}

async fn step(rig: &Rig, model: &mut Model, action: Action) {
    match action {
        Action::Set {
            key,
            value,
            guarded,
            ttl_ms,
        } => {
            let key = key.to_string();
            let version = model.version(&key);
            let expected_version = guarded.map(|right| if right { version } else { version + 1 });
            let input = json!({"scope": "s", "key": key, "value": value, "ttl_ms": ttl_ms, "expected_version": expected_version});
            let result = rig.call(api::SET, input).await;
            if guarded == Some(false) {
                assert_eq!(result.unwrap_err().code, Code::Conflict);
                return;
            }
            let due = ttl_ms.map(|ttl| model.now_ms + ttl);
            accept(model, &key, &result.unwrap(), value, due);
        }
        Action::Update { key, ops: steps } => {
            let key = key.to_string();
            let input = json!({"scope": "s", "key": key, "ops": steps});
            let result = rig.call(api::UPDATE, input).await.unwrap();
            let alive = model.alive(&key);
            let (old, due) = (alive.map(|row| row.0.clone()), alive.and_then(|row| row.2));
            let steps = ops::check(serde_json::from_value(steps).unwrap()).unwrap();
            accept(model, &key, &result, ops::apply(old, &steps).0, due);
        }
        Action::Delete { key } => {
            let key = key.to_string();
            let old = rig
                .call(api::DELETE, json!({"scope": "s", "key": key}))
                .await
                .unwrap();
            assert_eq!(old, model.value(&key));
            if model.alive(&key).is_some() {
                model.rows.remove(&key);
            }
        }
        Action::Get { key } => {
            let key = key.to_string();
            assert_eq!(rig.get(&key).await, model.value(&key));
        }
        Action::Entries { limit } => assert_eq!(entries(rig, limit).await, expected_entries(model)),
        Action::Pass { ms } => {
            rig.pass_ms(ms);
            model.now_ms += ms;
        }
        Action::Sweep => expiry::sweep(&rig.state.writes, None).await.unwrap(),
    }
}

/// Checks the answer to a write, and does the same to the model.
fn accept(model: &mut Model, key: &str, result: &Value, value: Value, due: Option<u64>) {
    let version = result["version"].as_u64().unwrap();
    assert_eq!(
        (&result["old_value"], &result["new_value"]),
        (&model.value(key), &value)
    );
    assert!(model.rows.values().all(|(_, older, _)| *older < version));
    model.rows.insert(key.to_owned(), (value, version, due));
}

async fn entries(rig: &Rig, limit: usize) -> Vec<(String, Value, u64)> {
    let mut all = Vec::new();
    let mut cursor = Value::Null;
    loop {
        let input = json!({"scope": "s", "limit": limit, "cursor": cursor});
        let page = rig.call(api::ENTRIES, input).await.unwrap();
        for entry in page["entries"].as_array().unwrap() {
            let key = entry["key"].as_str().unwrap().to_owned();
            all.push((
                key,
                entry["value"].clone(),
                entry["version"].as_u64().unwrap(),
            ));
        }
        match page.get("cursor") {
            Some(next) => cursor = next.clone(),
            None => return all,
        }
    }
}

fn expected_entries(model: &Model) -> Vec<(String, Value, u64)> {
    let alive = model
        .rows
        .keys()
        .filter_map(|key| Some((key, model.alive(key)?)));
    alive
        .map(|(key, (value, version, _))| (key.clone(), value.clone(), *version))
        .collect()
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(200) })]

    #[test]
    fn answers_are_those_of_a_map(actions in prop::collection::vec(action(), 1..40)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let rig = Rig::new().await;
            let mut model = Model { now_ms: START_MS, ..Model::default() };
            for action in actions {
                step(&rig, &mut model, action).await;
            }
        });
    }
}
