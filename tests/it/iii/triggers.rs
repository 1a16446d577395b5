//! §2.5 to §2.8: trigger types, triggers and their answers as frames.

use anyhow::{Result, ensure};
use serde_json::{Value, json};

use super::{
    check::Suite,
    setup::Setup,
    worker::{Worker, uuid},
};

fn bind(id: &str, kind: &str, function: &str, config: Value) -> Value {
    json!({ "type": "registertrigger", "id": id, "trigger_type": kind, "function_id": function, "config": config })
}

#[tokio::test]
async fn triggers_as_frames() -> Result<()> {
    let mut suite = Suite::default();
    let setup = Setup::start().await?;
    let url = setup.engine.url.clone();

    suite.check("§2.6 a provider gets what was registered, parked triggers too", async {
        let mut consumer = Worker::connect(&url).await?;
        let mut early = bind("fa-1", "fa-type", "fa::f", json!({ "n": [1] }));
        early["metadata"] = json!({ "m": null });
        consumer.say(early).await?;
        // Python leaves a config of None out.
        consumer.say(json!({ "type": "registertrigger", "id": "fa-2", "trigger_type": "fa-type", "function_id": "fa::f" })).await?;
        consumer.settle().await?;
        let mut provider = Worker::connect(&url).await?;
        provider.say(json!({ "type": "registertriggertype", "id": "fa-type", "description": "d", "trigger_request_format": { "type": "object" } })).await?;
        let mut told = [provider.hear().await?, provider.hear().await?];
        told.sort_by_key(|message| message["id"].to_string());
        ensure!(told.iter().all(|message| message["type"] == "registertrigger" && message["trigger_type"] == "fa-type" && message["function_id"] == "fa::f"), "{told:?}");
        ensure!(told[0]["config"] == json!({ "n": [1] }) && told[0]["metadata"] == json!({ "m": null }), "{told:?}");
        ensure!(told[1].get("config") == Some(&Value::Null), "strict clients need config: {told:?}");
        provider.settle().await
    })
    .await;

    suite
        .check(
            "§2.7 unregistering tells the provider with the type, also when it was not said",
            async {
                let mut provider = Worker::connect(&url).await?;
                provider
                .say(json!({ "type": "registertriggertype", "id": "un-type", "description": "d" }))
                .await?;
                provider.settle().await?;
                let mut consumer = Worker::connect(&url).await?;
                consumer
                    .say(bind("un-1", "un-type", "un::f", json!({})))
                    .await?;
                provider.hear_of("registertrigger").await?;
                consumer
                    .say(json!({ "type": "unregistertrigger", "id": "un-1" }))
                    .await?;
                let told = provider.hear().await?;
                ensure!(
                    told["type"] == "unregistertrigger"
                        && told["id"] == "un-1"
                        && told["trigger_type"] == "un-type",
                    "{told}"
                );
                consumer
                    .say(json!({ "type": "unregistertrigger", "id": "un-1" }))
                    .await?;
                consumer.settle().await?;
                provider.settle().await
            },
        )
        .await;

    suite
        .check("§2.7 a worker cannot take back another's trigger", async {
            let mut provider = Worker::connect(&url).await?;
            provider
                .say(
                    json!({ "type": "registertriggertype", "id": "mine-type", "description": "d" }),
                )
                .await?;
            provider.settle().await?;
            let mut owner = Worker::connect(&url).await?;
            owner
                .say(bind("mine-1", "mine-type", "mine::f", json!({})))
                .await?;
            provider.hear_of("registertrigger").await?;
            let mut other = Worker::connect(&url).await?;
            other
            .say(
                json!({ "type": "unregistertrigger", "id": "mine-1", "trigger_type": "mine-type" }),
            )
            .await?;
            other.settle().await?;
            provider.settle().await
        })
        .await;

    suite.check("§2.5 the last provider wins, and unregistertriggertype takes the type away", async {
        let mut first = Worker::connect(&url).await?;
        first.say(json!({ "type": "registertriggertype", "id": "lp-type", "description": "first" })).await?;
        first.settle().await?;
        let mut second = Worker::connect(&url).await?;
        second.say(json!({ "type": "registertriggertype", "id": "lp-type", "description": "second" })).await?;
        second.settle().await?;
        let mut consumer = Worker::connect(&url).await?;
        consumer.say(bind("lp-1", "lp-type", "lp::f", json!({}))).await?;
        ensure!(second.hear_of("registertrigger").await?["id"] == "lp-1");
        second.say(json!({ "type": "unregistertriggertype", "id": "lp-type", "message_type": "unregistertriggertype", "description": "second" })).await?;
        second.settle().await?;
        consumer.say(bind("lp-2", "lp-type", "lp::f", json!({}))).await?;
        consumer.settle().await?;
        second.settle().await?;
        // Somebody else's type stays.
        consumer.say(json!({ "type": "registertriggertype", "id": "lp-other", "description": "d" })).await?;
        consumer.settle().await?;
        second.say(json!({ "type": "unregistertriggertype", "id": "lp-other" })).await?;
        second.settle().await?;
        second.say(bind("lp-3", "lp-other", "lp::f", json!({}))).await?;
        ensure!(consumer.hear_of("registertrigger").await?["id"] == "lp-3");
        Ok(())
    })
    .await;

    suite.check("§2.8 a provider's refusal reaches the registrant", async {
        let mut provider = Worker::connect(&url).await?;
        provider.say(json!({ "type": "registertriggertype", "id": "no-type", "description": "d" })).await?;
        provider.settle().await?;
        let mut consumer = Worker::connect(&url).await?;
        consumer.say(bind("no-1", "no-type", "no::f", json!({}))).await?;
        let told = provider.hear_of("registertrigger").await?;
        provider.say(json!({ "type": "triggerregistrationresult", "message_type": "triggerregistrationresult", "id": told["id"], "trigger_type": "no-type", "function_id": "no::f", "error": { "code": "trigger_registration_failed", "message": "bad url" } })).await?;
        let refused = consumer.hear().await?;
        ensure!(refused["type"] == "triggerregistrationresult" && refused["id"] == "no-1" && refused["trigger_type"] == "no-type" && refused["function_id"] == "no::f", "{refused}");
        ensure!(refused["error"]["code"] == "trigger_registration_failed" && refused["error"]["message"] == "bad url", "{refused}");
        Ok(())
    })
    .await;

    suite
        .check("§2.8 a wrong config of a built-in type is told", async {
            for (kind, config) in [
                ("http", json!({})),
                ("cron", json!({ "expression": "every day" })),
                ("subscribe", json!({})),
                ("durable:subscriber", json!({})),
                ("stream", json!({})),
            ] {
                let mut consumer = Worker::connect(&url).await?;
                consumer.say(bind(&uuid(), kind, "wr::f", config)).await?;
                let refused = consumer.hear().await.map_err(|error| error.context(kind))?;
                ensure!(
                    refused["type"] == "triggerregistrationresult"
                        && refused["trigger_type"] == kind,
                    "{refused}"
                );
                ensure!(
                    refused["error"]["code"] == "trigger_registration_failed",
                    "{refused}"
                );
            }
            Ok(())
        })
        .await;

    suite.check(
        "§5.1 a route of the same shape with other names is refused and the first one serves on",
        async {
            let mut worker = Worker::connect(&url).await?;
            worker.offers("co::f").await?;
            worker
                .say(bind(
                    "co-1",
                    "http",
                    "co::f",
                    json!({ "api_path": "co/:list/:user" }),
                ))
                .await?;
            worker.settle().await?;
            worker
                .say(bind(
                    "co-2",
                    "http",
                    "co::g",
                    json!({ "api_path": "co/:user/:list" }),
                ))
                .await?;
            let refused = worker.hear().await?;
            ensure!(
                refused["type"] == "triggerregistrationresult" && refused["id"] == "co-2",
                "{refused}"
            );
            ensure!(
                refused["error"]["message"].as_str().is_some_and(
                    |message| message.contains("conflicts with already-registered route")
                ),
                "{refused}"
            );
            let http = setup.engine.get("/co/a/b").send();
            let (answer, served) = tokio::join!(http, worker.serve("co::f", json!({ "body": 1 })));
            ensure!(served?["data"]["path_params"] == json!({ "list": "a", "user": "b" }));
            ensure!(answer?.status() == 200);
            Ok(())
        },
    )
    .await;

    suite
        .check(
            "§2.6 a trigger with a known id replaces the one before",
            async {
                let mut worker = Worker::connect(&url).await?;
                worker.offers("rp::a").await?;
                worker.offers("rp::b").await?;
                worker
                    .say(bind("rp-1", "state", "rp::a", json!({ "scope": "rp" })))
                    .await?;
                worker
                    .say(bind("rp-1", "state", "rp::b", json!({ "scope": "rp" })))
                    .await?;
                worker.settle().await?;
                worker
                    .calls(
                        "state::set",
                        json!({ "scope": "rp", "key": "k", "value": 1 }),
                    )
                    .await?;
                let call = worker.hear_of("invokefunction").await?;
                ensure!(call["function_id"] == "rp::b", "{call}");
                worker.answer(&call, Value::Null).await?;
                Ok(())
            },
        )
        .await;

    suite
        .check("§2.6 a trigger's function may come later", async {
            let mut worker = Worker::connect(&url).await?;
            worker
                .say(bind("lt-1", "state", "lt::f", json!({ "scope": "lt" })))
                .await?;
            worker.offers("lt::f").await?;
            worker
                .calls(
                    "state::set",
                    json!({ "scope": "lt", "key": "k", "value": 1 }),
                )
                .await?;
            let call = worker.hear_of("invokefunction").await?;
            ensure!(
                call["function_id"] == "lt::f" && call["data"]["new_value"] == 1,
                "{call}"
            );
            ensure!(
                call["invocation_id"]
                    .as_str()
                    .is_some_and(|id| id.len() == 36),
                "{call}"
            );
            Ok(())
        })
        .await;
    suite.verdict()
}
