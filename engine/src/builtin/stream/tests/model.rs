//! The worker against a plain map: random calls, equal answers and events, before and after the
//! engine is started again.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

#[derive(Clone, Debug)]
enum Action {
    Set(u8, Value),
    Increment(u8),
    Delete(u8),
    Get(u8),
    List,
    Restart,
}

fn action() -> impl Strategy<Value = Action> {
    let key = || 0..4_u8;
    let value = prop_oneof![
        Just(json!(null)),
        any::<i64>().prop_map(|number| json!(number)),
        Just(json!({ "n": 1, "a": [1, "x"] })),
    ];
    prop_oneof![
        4 => (key(), value).prop_map(|(key, value)| Action::Set(key, value)),
        3 => key().prop_map(Action::Increment),
        2 => key().prop_map(Action::Delete),
        2 => key().prop_map(Action::Get),
        1 => Just(Action::List),
        1 => Just(Action::Restart),
    ]
}

/// What an event must say, if there must be one.
type Told = Option<(&'static str, Value)>;

async fn step(rig: &Rig, model: &mut BTreeMap<u8, Value>, action: Action) -> Told {
    let written = |old: Option<Value>, new: &Value| {
        let kind = if old.is_some() { "update" } else { "create" };
        let answer = json!({ "old_value": old, "new_value": new });
        (answer, Some((kind, new.clone())))
    };
    match action {
        Action::Set(key, value) => {
            let (answer, told) = written(model.insert(key, value.clone()), &value);
            let input = item(&key.to_string(), json!({ "data": value }));
            rig.check(api::SET, input, answer).await;
            told
        }
        Action::Increment(key) => {
            let ops = json!([{ "type": "increment", "path": "n", "by": 1 }]);
            let input = item(&key.to_string(), json!({ "ops": ops }));
            let old = model.get(&key).cloned();
            let mut new = old.clone().unwrap_or_else(|| json!({}));
            if let Some(object) = new.as_object_mut() {
                let number = object.get("n").and_then(Value::as_i64).unwrap_or(0);
                object.insert("n".to_owned(), json!(number + 1));
            }
            model.insert(key, new.clone());
            let (answer, told) = written(old, &new);
            let mut result = rig.call(api::UPDATE, input).await.unwrap();
            let errors = result.as_object_mut().unwrap().remove("errors");
            assert_eq!(errors.is_none(), new.is_object());
            assert_eq!(result, answer);
            told
        }
        Action::Delete(key) => {
            let old = model.remove(&key);
            let answer = json!({ "old_value": old });
            let input = item(&key.to_string(), json!({}));
            rig.check(api::DELETE, input, answer).await;
            old.map(|old| ("delete", old))
        }
        Action::Get(key) => {
            let expect = model.get(&key).cloned().unwrap_or_default();
            rig.check(api::GET, item(&key.to_string(), json!({})), expect)
                .await;
            None
        }
        Action::List => {
            let group = json!({ "stream_name": "s", "group_id": "g" });
            let expect: Vec<&Value> = model.values().collect();
            rig.check(api::LIST, group, json!(expect)).await;
            None
        }
        Action::Restart => unreachable!("the caller starts the worker"),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(100) })]

    #[test]
    fn answers_are_those_of_a_map(actions in prop::collection::vec(action(), 1..40)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let store = memory::open();
            let config = json!({ "stream_name": "s" });
            let mut rig = Rig::on(Arc::clone(&store), Config::default()).await;
            let mut heard = rig.listen(config.clone()).await;
            let mut model = BTreeMap::new();
            for action in actions {
                if matches!(action, Action::Restart) {
                    rig = Rig::on(Arc::clone(&store), Config::default()).await;
                    heard = rig.listen(config.clone()).await;
                    continue;
                }
                match step(&rig, &mut model, action).await {
                    None => silence(&mut heard).await,
                    Some((kind, data)) => {
                        assert_eq!(next(&mut heard).await["event"], json!({ "type": kind, "data": data }));
                    }
                }
            }
        });
    }
}
