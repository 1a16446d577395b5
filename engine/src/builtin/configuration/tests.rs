//! The worker as its callers see it: over frames, with a store in memory and variables of our own.

use std::{collections::BTreeMap, time::Duration};

use agentos_sdk::{
    Code, Link, Peer, TriggerSpec,
    protocol::{BindTrigger, Frame},
};
use serde_json::json;
use tokio::sync::mpsc;

use super::*;
use crate::storage::memory;

/// `configuration` and a caller, joined back to back.
struct Rig {
    bus: Bus,
    caller: Peer,
    worker: Peer,
}

/// Hands every frame to the other end; registrations are confirmed at once.
struct Wire {
    own: Peer,
    other: Peer,
}

impl Link for Wire {
    fn send(&self, frame: Frame) -> Result<(), Error> {
        match frame {
            Frame::Register(register) => {
                let request = register.request;
                self.own.on_frame(Frame::Registered {
                    request,
                    rejected: Vec::new(),
                });
            }
            frame => self.other.on_frame(frame),
        }
        Ok(())
    }
}

impl Rig {
    async fn new(store: Arc<dyn Storage>, config: Config) -> Rig {
        let env: BTreeMap<String, String> = [("PORT".to_owned(), "5000".to_owned())].into();
        let own = Configuration::open(store, config, Arc::new(env));
        let (caller, worker) = (Peer::new(), Peer::new());
        for (own, other) in [(&caller, &worker), (&worker, &caller)] {
            let (own, other) = (own.clone(), other.clone());
            own.clone().attach(Arc::new(Wire { own, other }));
        }
        let mut registrar = Registrar::new();
        own.register(&mut registrar);
        worker.register(registrar).await.unwrap();
        Rig {
            bus: Bus::new(caller.clone()),
            caller,
            worker,
        }
    }

    async fn call(&self, function: &str, input: Value) -> Result<Value, Error> {
        self.bus.trigger(function, &input).await
    }

    async fn check(&self, function: &str, input: Value, expect: Value) {
        let result = self.call(function, input.clone()).await.unwrap();
        assert_eq!(result, expect, "{function} {input}");
    }

    async fn refuse(&self, function: &str, input: Value, code: Code, reason: &str) {
        let error = self.call(function, input.clone()).await.unwrap_err();
        let found = (error.code, error.reason.as_deref());
        assert_eq!(found, (code, Some(reason)), "{function} {input}: {error}");
    }
}

fn billing(initial_value: Value) -> Value {
    json!({
        "id": "billing", "name": "Billing", "description": "Prices",
        "schema": {"type": "object", "properties": {"port": {"type": "integer"}}, "required": ["port"]},
        "initial_value": initial_value, "metadata": {"team": "money"},
    })
}

#[tokio::test]
async fn values_fit_their_schema_and_outlive_the_worker() {
    let store = memory::open();
    let rig = Rig::new(Arc::clone(&store), Config::default()).await;
    let value = |port: Value| json!({"id": "billing", "value": {"port": port}});
    rig.check(api::REGISTER, billing(json!({"port": 1})), value(json!(1)))
        .await;
    rig.check(api::GET, json!({"id": "billing"}), value(json!(1)))
        .await;
    rig.check(
        api::SET,
        value(json!("${PORT}")),
        json!({"old_value": {"port": 1}, "new_value": {"port": 5000}}),
    )
    .await;
    rig.check(api::GET, json!({"id": "billing"}), value(json!(5000)))
        .await;
    let raw = json!({"id": "billing", "raw": true});
    rig.check(api::GET, raw.clone(), value(json!("${PORT}")))
        .await;
    for wrong in [json!("x"), json!("${NOWHERE}"), json!(null)] {
        rig.refuse(
            api::SET,
            value(wrong),
            Code::InvalidInput,
            "CONFIGURATION_INVALID",
        )
        .await;
    }

    // Another engine, and the worker that registers again: what was set stays.
    let rig = Rig::new(store, Config::default()).await;
    rig.check(
        api::REGISTER,
        billing(json!({"port": 2})),
        value(json!(5000)),
    )
    .await;
    let about = json!({
        "id": "billing", "name": "Billing", "description": "Prices", "metadata": {"team": "money"},
        "schema": billing(json!(null))["schema"],
    });
    rig.check(api::LIST, json!({}), json!({"configurations": [about]}))
        .await;
    let schema = json!({"id": "billing", "schema": billing(json!(null))["schema"]});
    rig.check(api::SCHEMA, json!({"id": "billing"}), schema)
        .await;
}

#[tokio::test]
async fn what_is_wrong_is_refused() {
    let config = Config {
        configurations_max: 1,
        value_bytes_max: 100,
        ..Config::default()
    };
    let rig = Rig::new(memory::open(), config).await;
    for function in [api::GET, api::SCHEMA] {
        rig.refuse(
            function,
            json!({"id": "none"}),
            Code::NotFound,
            "CONFIGURATION_NOT_FOUND",
        )
        .await;
    }
    let set = json!({"id": "none", "value": 1});
    rig.refuse(api::SET, set, Code::NotFound, "CONFIGURATION_NOT_FOUND")
        .await;
    let invalid = [
        json!({"id": "A b", "schema": {}}),
        json!({"id": "a", "schema": {"type": "nonsense"}}),
        json!({"id": "a", "schema": {"type": "string"}, "initial_value": 1}),
    ];
    for register in invalid {
        rig.refuse(
            api::REGISTER,
            register,
            Code::InvalidInput,
            "CONFIGURATION_INVALID",
        )
        .await;
    }
    rig.check(
        api::REGISTER,
        json!({"id": "a", "schema": {}}),
        json!({"id": "a", "value": null}),
    )
    .await;
    let large = json!({"id": "a", "value": "x".repeat(101)});
    rig.refuse(
        api::SET,
        large,
        Code::PayloadTooLarge,
        "CONFIGURATION_INVALID",
    )
    .await;
    let second = json!({"id": "b", "schema": {}});
    rig.refuse(
        api::REGISTER,
        second,
        Code::Overloaded,
        "CONFIGURATION_ERROR",
    )
    .await;
}

#[tokio::test]
async fn a_value_that_no_longer_fits_stays_until_it_is_set_again() {
    let rig = Rig::new(memory::open(), Config::default()).await;
    let register = |kind: &str| json!({"id": "a", "schema": {"type": kind}, "initial_value": "x"});
    rig.call(api::REGISTER, register("string")).await.unwrap();
    rig.check(
        api::REGISTER,
        register("integer"),
        json!({"id": "a", "value": "x"}),
    )
    .await;
    rig.check(
        api::SET,
        json!({"id": "a", "value": 1}),
        json!({"old_value": "x", "new_value": 1}),
    )
    .await;
}

#[tokio::test]
async fn bound_functions_hear_of_changes() {
    let rig = Rig::new(memory::open(), Config::default()).await;
    let (tell, mut heard) = mpsc::channel(100);
    let mut registrar = Registrar::new();
    registrar.function("test::hear", move |_, event: Value| {
        let sent = tell.try_send(event);
        async move {
            sent.unwrap();
            Ok(())
        }
    });
    rig.caller.register(registrar).await.unwrap();
    let bind = |id: &str, config: Value| {
        let spec = TriggerSpec::new(id, api::TRIGGER_TYPE, "test::hear", config);
        rig.worker
            .on_frame(Frame::BindTrigger(Box::new(BindTrigger { spec })));
    };
    bind("all", json!({"configuration_id": "billing"}));
    bind("other", json!({"configuration_id": "other"}));
    bind("updates", json!({"event_types": ["configuration:updated"]}));

    rig.call(api::REGISTER, billing(json!({"port": 1})))
        .await
        .unwrap();
    // The worker comes back and nothing is new.
    rig.call(api::REGISTER, billing(json!({"port": 1})))
        .await
        .unwrap();
    let set = json!({"id": "billing", "value": {"port": "${PORT}"}});
    rig.call(api::SET, set).await.unwrap();
    rig.check(
        api::DELETE,
        json!({"id": "billing"}),
        json!({"deleted": true}),
    )
    .await;
    rig.check(
        api::DELETE,
        json!({"id": "billing"}),
        json!({"deleted": false}),
    )
    .await;
    let mut events = Vec::new();
    for _ in 0..4 {
        let event = tokio::time::timeout(Duration::from_secs(5), heard.recv()).await;
        events.push(event.unwrap().unwrap());
    }
    assert!(heard.try_recv().is_err());
    let types: Vec<&str> = events
        .iter()
        .map(|event| event["event_type"].as_str().unwrap())
        .collect();
    assert_eq!(
        types,
        [
            "configuration:registered",
            "configuration:updated",
            "configuration:updated",
            "configuration:deleted",
        ]
    );
    assert_eq!(
        events[1],
        json!({
            "type": "configuration", "event_type": "configuration:updated", "id": "billing",
            "name": "Billing", "description": "Prices", "schema": billing(json!(null))["schema"],
            "old_value": {"port": 1}, "new_value": {"port": 5000}, "metadata": {"team": "money"},
        })
    );
    assert_eq!(events[3]["old_value"], json!({"port": 5000}));
    assert_eq!(events[3]["new_value"], json!(null));
}
