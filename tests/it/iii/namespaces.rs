//! §1.6 and §2.11: namespaces and refusals.

use anyhow::{Result, ensure};
use serde_json::{Value, json};

use super::{
    check::Suite,
    setup::Setup,
    worker::{Heard, Worker, uuid},
};
use crate::harness::Engine;

/// A worker of a generation that knows namespaces.
async fn of(url: &str, name: &str, namespace: Option<&str>) -> Result<Worker> {
    let mut worker = Worker::connect(url).await?;
    worker.introduces(json!({ "runtime": "python", "version": "0.25.0", "name": name, "pid": 1, "namespace": namespace, "features": ["large-messages.v1"] })).await?;
    worker.settle().await?;
    Ok(worker)
}

#[tokio::test]
async fn namespaces_as_frames() -> Result<()> {
    let mut suite = Suite::default();
    let setup = Setup::start().await?;
    let url = setup.engine.url.clone();

    suite.check("§1.6 registrations before the introduction belong to its namespace", async {
        // The order of every published SDK.
        let mut worker = Worker::connect(&url).await?;
        worker.say(json!({ "type": "registerfunction", "id": "na::f" })).await?;
        worker.introduces(json!({ "runtime": "python", "version": "0.25.0", "name": "na-worker", "pid": 1, "namespace": "na" })).await?;
        worker.settle().await?;
        let mut caller = of(&url, "na-caller", None).await?;
        let result = caller.call("na::f", json!({})).await?;
        ensure!(result["error"]["code"] == "function_not_found", "{result}");
        let id = uuid();
        caller.say(json!({ "type": "invokefunction", "invocation_id": id, "function_id": "na::f", "data": {}, "namespace": "na" })).await?;
        worker.serve("na::f", json!("there")).await?;
        let result = caller.hear().await?;
        ensure!(result["invocation_id"] == *id && result["result"] == "there", "{result}");
        Ok(())
    })
    .await;

    suite
        .check("§1.6 one name in two namespaces is fine", async {
            let mut one = of(&url, "both", Some("n1")).await?;
            let mut two = of(&url, "both", Some("n2")).await?;
            one.settle().await?;
            two.settle().await
        })
        .await;

    suite
        .check(
            "§1.6 engine ids are registered in the default namespace alone",
            async {
                let mut worker = of(&url, "ei", Some("ei-space")).await?;
                worker
                    .say(json!({ "type": "registerfunction", "id": "engine::mine" }))
                    .await?;
                let refused = worker.hear_of("registrationrejected").await?;
                ensure!(
                    refused["code"] == "FUNCTION_NAMESPACE_CONFLICT"
                        && refused["owner_worker_id"] == "",
                    "{refused}"
                );
                Ok(())
            },
        )
        .await;

    suite.check("§10 default is a namespace like none", async {
        let mut worker = of(&url, "df", None).await?;
        worker.offers("df::f").await?;
        for namespace in [json!("default"), Value::Null] {
            worker.say(json!({ "type": "invokefunction", "invocation_id": uuid(), "function_id": "df::f", "data": {}, "namespace": namespace })).await?;
            worker.serve("df::f", json!(1)).await?;
            ensure!(worker.hear().await?["result"] == 1);
            worker.say(json!({ "type": "invokefunction", "invocation_id": uuid(), "function_id": "engine::functions::list", "data": {}, "namespace": namespace })).await?;
            ensure!(worker.hear().await?["result"]["functions"].is_array());
        }
        Ok(())
    })
    .await;

    suite.check("§1.6 a trigger calls its function in the namespace it names", async {
        let mut worker = of(&url, "tn", Some("tn")).await?;
        worker.offers("tn::f").await?;
        worker.say(json!({ "type": "registertrigger", "id": uuid(), "trigger_type": "state", "function_id": "tn::f", "config": { "scope": "tn" }, "namespace": "tn", "metadata": { "team": 1 } })).await?;
        worker.settle().await?;
        worker.say(json!({ "type": "invokefunction", "invocation_id": uuid(), "function_id": "state::set", "data": { "scope": "tn", "key": "k", "value": 1 }, "namespace": "default" })).await?;
        let call = worker.hear_of("invokefunction").await?;
        ensure!(call["function_id"] == "tn::f" && call["metadata"] == json!({ "team": 1 }), "{call}");
        Ok(())
    })
    .await;

    suite.check("§1.6 a connection that never introduces itself is served in the default namespace", async {
        let mut worker = Worker::connect(&url).await?;
        worker.say(json!({ "type": "registerfunction", "id": "gr::f" })).await?;
        let mut caller = Worker::connect(&url).await?;
        // The peer waits up to 5 s for the introduction.
        let served = crate::harness::eventually("the function", || async {
            let id = caller_try(&url).await.ok()?;
            (id["error"]["code"] != "function_not_found").then_some(())
        });
        tokio::select! {
            found = served => found?,
            answered = async { loop { if worker.serve("gr::f", json!(1)).await.is_err() { break } } } => answered,
        }
        caller.settle().await
    })
    .await;
    suite.verdict()
}

async fn caller_try(url: &str) -> Result<Value> {
    Worker::connect(url).await?.call("gr::f", json!({})).await
}

/// On a listener that refuses what is taken, as iii does.
#[tokio::test]
async fn conflicts_as_frames() -> Result<()> {
    let mut suite = Suite::default();
    let config = "listen: { bus: { auth: none, registration_conflicts: reject } }";
    let engine = Engine::start(config, &["--no-workers"]).await?;
    let url = engine.url.clone();

    suite.check("§1.6 a second live worker of one name and namespace is refused and closed", async {
        let mut first = of(&url, "twin", Some("tw")).await?;
        let mut second = Worker::connect(&url).await?;
        second.introduces(json!({ "runtime": "python", "version": "0.25.0", "name": "twin", "pid": 2, "namespace": "tw" })).await?;
        let refused = second.hear_of("registrationrejected").await?;
        ensure!(refused["code"] == "WORKER_NAMESPACE_CONFLICT" && refused["namespace"] == "tw" && refused["worker_name"] == "twin", "{refused}");
        ensure!(refused["owner_worker_id"] == first.id(), "{refused}");
        loop {
            match second.hear_any().await? {
                Heard::Closed(_) | Heard::Ended => break,
                Heard::Message(_) | Heard::Binary => {}
            }
        }
        first.settle().await
    })
    .await;

    suite
        .check(
            "§1.6 a function that lives elsewhere is refused alone",
            async {
                let mut first = of(&url, "fc-one", Some("fc")).await?;
                first.offers("fc::f").await?;
                let mut second = of(&url, "fc-two", Some("fc")).await?;
                second
                    .say(json!({ "type": "registerfunction", "id": "fc::f" }))
                    .await?;
                let refused = second.hear_of("registrationrejected").await?;
                ensure!(
                    refused["code"] == "FUNCTION_NAMESPACE_CONFLICT"
                        && refused["function_id"] == "fc::f"
                        && refused["namespace"] == "fc"
                        && refused["owner_worker_id"] == first.id(),
                    "{refused}"
                );
                second.offers("fc::g").await?;
                second.calls("fc::f", json!({})).await?;
                Ok(())
            },
        )
        .await;

    suite
        .check(
            "§1.6 what is registered before the introduction is held against its namespace",
            async {
                let mut first = of(&url, "before-one", Some("be")).await?;
                first.offers("be::f").await?;
                // The order of every published SDK.
                let mut second = Worker::connect(&url).await?;
                for id in ["be::f", "be::g", "engine::mine"] {
                    second.say(json!({ "type": "registerfunction", "id": id })).await?;
                }
                second.introduces(json!({ "runtime": "python", "version": "0.25.0", "name": "before-two", "pid": 2, "namespace": "be" })).await?;
                let refused = second.hear_of("registrationrejected").await?;
                ensure!(refused["function_id"] == "be::f" && refused["owner_worker_id"] == first.id(), "{refused}");
                let refused = second.hear_of("registrationrejected").await?;
                ensure!(refused["function_id"] == "engine::mine" && refused["owner_worker_id"] == "", "{refused}");
                let id = uuid();
                first.say(json!({ "type": "invokefunction", "invocation_id": id, "function_id": "be::g", "data": {}, "namespace": "be" })).await?;
                second.serve("be::g", json!(1)).await?;
                // A worker that leaves makes room.
                drop(first);
                let mut third = of(&url, "before-one", Some("be")).await;
                for _ in 0..50 {
                    if third.is_ok() {
                        break;
                    }
                    tokio::time::sleep(std::time::Duration::from_millis(50)).await;
                    third = of(&url, "before-one", Some("be")).await;
                }
                third?.offers("be::f").await
            },
        )
        .await;

    suite
        .check("§1.6 SDKs that do not know the word are not refused", async {
            let mut workers = Vec::new();
            for _ in 0..2 {
                let mut worker = Worker::connect(&url).await?;
                worker.introduces(json!({ "runtime": "node", "version": "0.22.1", "name": "old", "pid": 3 })).await?;
                worker.offers("old::f").await?;
                workers.push(worker);
            }
            Ok(())
        })
        .await;
    suite.verdict()
}
