//! The trigger type `state`.

use std::time::Duration;

use agentos_sdk::{
    FunctionSpec, Handler, Invocation, TriggerProvider, TriggerSpec,
    protocol::{BindTrigger, Frame},
};
use tokio::sync::mpsc;

use super::*;

/// Lets the caller offer `test::hear`, and `test::condition`, which wants even numbers only.
async fn listen(rig: &Rig) -> mpsc::Receiver<(Value, Option<String>)> {
    let (tell, heard) = mpsc::channel(1024);
    let mut registrar = Registrar::new();
    registrar.function("test::hear", move |context, event: Value| {
        let sent = tell.try_send((event, context.metadata().map(str::to_owned)));
        async move {
            sent.unwrap();
            Ok(())
        }
    });
    registrar.function("test::condition", |_, event: Value| async move {
        match event["new_value"].as_i64() {
            Some(number) => Ok(json!(number % 2 == 0)),
            None => Err(Error::worker(Code::Failed, "not a number")),
        }
    });
    rig.caller.register(registrar).await.unwrap();
    heard
}

fn trigger(id: &str, config: Value) -> TriggerSpec {
    let metadata = Some(json!({"from": id}));
    TriggerSpec {
        metadata,
        ..TriggerSpec::new(id, "state", "test::hear", config)
    }
}

fn bind(rig: &Rig, id: &str, config: Value) {
    let spec = trigger(id, config);
    rig.worker
        .on_frame(Frame::BindTrigger(Box::new(BindTrigger { spec })));
}

async fn next(heard: &mut mpsc::Receiver<(Value, Option<String>)>) -> Value {
    tokio::time::timeout(Duration::from_secs(5), heard.recv())
        .await
        .unwrap()
        .unwrap()
        .0
}

/// Nothing more comes, once everything that runs has had its turn.
async fn silence(heard: &mut mpsc::Receiver<(Value, Option<String>)>) {
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    assert!(heard.try_recv().is_err());
}

fn event(kind: &str, key: &str, old: Value, new: Value) -> Value {
    json!({"type": "state", "event_type": kind, "scope": "s", "key": key, "old_value": old, "new_value": new})
}

#[tokio::test]
async fn every_kind_of_change_is_told() {
    let rig = Rig::new().await;
    let mut heard = listen(&rig).await;
    bind(&rig, "t", json!(null));
    rig.set("k", json!(1)).await;
    let (first, metadata) = heard.recv().await.unwrap();
    assert_eq!(first, event("state:created", "k", json!(null), json!(1)));
    assert_eq!(metadata.as_deref(), Some(r#"{"from":"t"}"#));
    let update =
        json!({"scope": "s", "key": "k", "ops": [{"type": "increment", "path": "", "by": 1}]});
    rig.call(api::UPDATE, update).await.unwrap();
    assert_eq!(
        next(&mut heard).await,
        event("state:updated", "k", json!(1), json!(2))
    );
    let delete = json!({"scope": "s", "key": "k"});
    rig.call(api::DELETE, delete.clone()).await.unwrap();
    assert_eq!(
        next(&mut heard).await,
        event("state:deleted", "k", json!(2), json!(null))
    );
    rig.call(api::DELETE, delete).await.unwrap();
    silence(&mut heard).await;
}

#[tokio::test]
async fn scope_and_key_choose() {
    let rig = Rig::new().await;
    let mut heard = listen(&rig).await;
    bind(&rig, "other scope", json!({"scope": "other"}));
    bind(&rig, "other key", json!({"scope": "s", "key": "b"}));
    bind(&rig, "key anywhere", json!({"key": "a"}));
    rig.set("a", json!(1)).await;
    assert_eq!(next(&mut heard).await["key"], "a");
    silence(&mut heard).await;
    rig.set("b", json!(1)).await;
    assert_eq!(next(&mut heard).await["key"], "b");
    silence(&mut heard).await;
}

#[tokio::test]
async fn a_trigger_can_be_replaced_and_taken_back() {
    let rig = Rig::new().await;
    let mut heard = listen(&rig).await;
    bind(&rig, "t", json!({"scope": "s"}));
    bind(&rig, "t", json!({"key": "b"}));
    rig.set("a", json!(1)).await;
    silence(&mut heard).await;
    rig.set("b", json!(1)).await;
    assert_eq!(next(&mut heard).await["key"], "b");
    rig.state.events.unbind("t");
    rig.state.events.unbind("never bound");
    rig.set("b", json!(2)).await;
    silence(&mut heard).await;
}

#[tokio::test]
async fn a_config_that_cannot_be_used_is_refused() {
    let rig = Rig::new().await;
    let error = rig
        .state
        .events
        .bind(trigger("t", json!({"scope": 7})))
        .unwrap_err();
    assert_eq!(error.code, Code::InvalidInput);
    assert!(
        error.message.contains("invalid type: integer `7`"),
        "{error}"
    );
}

#[tokio::test]
async fn only_false_keeps_an_event_back_and_a_failed_condition_skips() {
    let rig = Rig::new().await;
    let mut heard = listen(&rig).await;
    bind(
        &rig,
        "t",
        json!({"scope": "s", "condition_function_id": "test::condition"}),
    );
    bind(
        &rig,
        "missing",
        json!({"scope": "s", "condition_function_id": "test::nothing"}),
    );
    for value in [json!(1), json!(2), json!("three"), json!(4)] {
        rig.set("k", value).await;
    }
    assert_eq!(next(&mut heard).await["new_value"], 2);
    assert_eq!(next(&mut heard).await["new_value"], 4);
    silence(&mut heard).await;
}

/// Notes calls as they arrive, before a task of their own could mix them up.
struct Recorder(Arc<parking_lot::Mutex<Vec<i64>>>);

impl Handler for Recorder {
    fn start(&self, invocation: Invocation) {
        let event: Value = invocation.payload().decode().unwrap();
        self.0.lock().push(event["new_value"].as_i64().unwrap());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn events_of_a_key_come_in_order() {
    const WRITES: i64 = 300;
    for condition in [None, Some("test::always")] {
        let rig = Rig::new().await;
        let order = Arc::new(parking_lot::Mutex::new(Vec::new()));
        let mut registrar = Registrar::new();
        registrar.function("test::always", |_, _: Value| async { Ok(json!(true)) });
        registrar.handler(
            FunctionSpec::new("test::hear"),
            Arc::new(Recorder(Arc::clone(&order))),
        );
        rig.caller.register(registrar).await.unwrap();
        bind(
            &rig,
            "t",
            json!({"scope": "s", "condition_function_id": condition}),
        );
        let calls: Vec<_> = (0..WRITES)
            .map(|_| {
                let bus = rig.bus.clone();
                let ops = json!([{"type": "increment", "path": "", "by": 1}]);
                let input = json!({"scope": "s", "key": "k", "ops": ops});
                tokio::spawn(
                    async move { bus.trigger::<Value>(api::UPDATE, &input).await.unwrap() },
                )
            })
            .collect();
        for call in calls {
            call.await.unwrap();
        }
        while order.lock().len() < WRITES as usize {
            tokio::task::yield_now().await;
        }
        assert!(
            order.lock().iter().copied().eq(1..=WRITES),
            "{condition:?}: {:?}",
            order.lock()
        );
    }
}

#[tokio::test]
async fn a_slow_condition_drops_events_and_delays_no_write() {
    let rig = Rig::with(Config {
        events_per_trigger_max: 2,
        ..Config::default()
    })
    .await;
    let (open, gate) = tokio::sync::watch::channel(false);
    let mut heard = listen(&rig).await;
    let mut registrar = Registrar::new();
    registrar.function("test::slow", move |_, _: Value| {
        let mut gate = gate.clone();
        async move {
            gate.wait_for(|open| *open).await.unwrap();
            Ok(())
        }
    });
    rig.caller.register(registrar).await.unwrap();
    bind(
        &rig,
        "t",
        json!({"scope": "s", "condition_function_id": "test::slow"}),
    );
    for number in 0..20 {
        rig.set("k", json!(number)).await;
    }
    open.send(true).unwrap();
    let mut delivered = vec![next(&mut heard).await["new_value"].as_i64().unwrap()];
    tokio::time::sleep(Duration::from_millis(50)).await;
    while let Ok((event, _)) = heard.try_recv() {
        delivered.push(event["new_value"].as_i64().unwrap());
    }
    assert!(
        (1..=3).contains(&delivered.len()) && delivered.is_sorted(),
        "{delivered:?}"
    );
}

#[tokio::test]
async fn triggers_can_be_switched_off() {
    let config = Config {
        triggers_enabled: false,
        ..Config::default()
    };
    let rig = Rig::with(config).await;
    let mut heard = listen(&rig).await;
    bind(&rig, "t", json!({}));
    rig.set("k", json!(1)).await;
    silence(&mut heard).await;
}

#[tokio::test]
async fn a_transaction_tells_of_every_key_that_changed() {
    let rig = Rig::new().await;
    rig.set("b", json!(1)).await;
    let mut heard = listen(&rig).await;
    bind(&rig, "t", json!({"scope": "s"}));
    let operations = json!([
        {"op": "set", "scope": "s", "key": "c", "value": 3},
        {"op": "delete", "scope": "s", "key": "b"},
        {"op": "set", "scope": "other", "key": "c", "value": 3},
        {"op": "delete", "scope": "s", "key": "none"},
    ]);
    let input = json!({ "operations": operations });
    rig.call(api::TRANSACTION, input).await.unwrap();
    let created = event("state:created", "c", Value::Null, json!(3));
    let deleted = event("state:deleted", "b", json!(1), Value::Null);
    assert_eq!(next(&mut heard).await, created);
    assert_eq!(next(&mut heard).await, deleted);
    silence(&mut heard).await;
}
