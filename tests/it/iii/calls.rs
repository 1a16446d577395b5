//! §2.9, §2.10, §2.12 and §7.2 as frames.

use anyhow::{Result, ensure};
use serde_json::{Value, json};

use super::{
    check::Suite,
    setup::Setup,
    worker::{Worker, uuid},
};

#[tokio::test]
async fn calls_as_frames() -> Result<()> {
    let mut suite = Suite::default();
    let setup = Setup::start().await?;
    let url = setup.engine.url.clone();

    suite.check("§2.9 missing and null data arrive as null", async {
        let mut worker = Worker::connect(&url).await?;
        worker.offers("ca::data").await?;
        for call in [
            json!({ "type": "invokefunction", "invocation_id": uuid(), "function_id": "ca::data" }),
            json!({ "type": "invokefunction", "invocation_id": uuid(), "function_id": "ca::data", "data": null, "action": null, "traceparent": null, "baggage": null, "metadata": null, "namespace": null }),
        ] {
            worker.say(call).await?;
            let heard = worker.hear().await?;
            ensure!(heard.get("data") == Some(&Value::Null), "{heard}");
            worker.answer(&heard, json!(1)).await?;
            ensure!(worker.hear().await?["result"] == 1);
        }
        Ok(())
    })
    .await;

    suite.check(
        "§2.9 what reaches the target has every field that strict clients need",
        async {
            let mut worker = Worker::connect(&url).await?;
            worker.offers("ca::fields").await?;
            for void in [false, true] {
                let mut call =
                    json!({ "type": "invokefunction", "function_id": "ca::fields", "data": {} });
                if void {
                    call["action"] = json!({ "type": "void" });
                } else {
                    call["invocation_id"] = json!(uuid());
                }
                worker.say(call).await?;
                let heard = worker.hear().await?;
                let id = heard["invocation_id"].as_str().unwrap_or_default();
                ensure!(id.len() == 36, "{heard}");
                ensure!(
                    heard["function_id"] == "ca::fields" && heard.get("data").is_some(),
                    "{heard}"
                );
                ensure!(heard.get("action").is_none(), "{heard}");
                worker.answer(&heard, Value::Null).await?;
                if !void {
                    worker.hear_of("invocationresult").await?;
                }
            }
            worker.settle().await
        },
    )
    .await;

    suite.check("§2.10 an absent, null or empty result has no result key", async {
        let mut worker = Worker::connect(&url).await?;
        worker.offers("ca::null").await?;
        let answers = [json!({}), json!({ "result": null }), json!({ "result": null, "error": null }), json!({ "error": null })];
        for more in answers {
            let id = worker.calls("ca::null", json!({})).await?;
            let call = worker.hear().await?;
            let mut answer = json!({ "type": "invocationresult", "invocation_id": call["invocation_id"], "function_id": "ca::null" });
            for (key, value) in more.as_object().into_iter().flatten() {
                answer[key] = value.clone();
            }
            worker.say(answer).await?;
            let result = worker.hear().await?;
            ensure!(result["invocation_id"] == *id && result["function_id"] == "ca::null", "{result}");
            ensure!(result.get("result").is_none() && result.get("error").is_none(), "{more}: {result}");
        }
        let missing = worker.call("state::get", json!({ "scope": "no", "key": "no" })).await?;
        ensure!(missing.get("result").is_none() && missing.get("error").is_none(), "{missing}");
        Ok(())
    })
    .await;

    suite.check("§2.10 an error goes through with code, message and stacktrace", async {
        let mut worker = Worker::connect(&url).await?;
        worker.offers("ca::error").await?;
        worker.calls("ca::error", json!({})).await?;
        let call = worker.hear().await?;
        let error = json!({ "code": "MY_OWN_CODE", "message": "a is not a number", "stacktrace": "at a\nat b" });
        worker.say(json!({ "type": "invocationresult", "invocation_id": call["invocation_id"], "function_id": "ca::error", "result": { "ignored": 1 }, "error": error })).await?;
        let result = worker.hear().await?;
        ensure!(result["error"] == error, "{result}");
        ensure!(result.get("result").is_none(), "{result}");
        Ok(())
    })
    .await;

    suite
        .check("§2.10 nulls inside results are kept", async {
            let mut worker = Worker::connect(&url).await?;
            let result = worker
                .call(
                    "state::set",
                    json!({ "scope": "ca", "key": uuid(), "value": { "n": null } }),
                )
                .await?;
            ensure!(
                result["result"] == json!({ "old_value": null, "new_value": { "n": null } }),
                "{result}"
            );
            Ok(())
        })
        .await;

    suite.check("§2.10 late, foreign and doubled answers are dropped", async {
        let mut worker = Worker::connect(&url).await?;
        worker.offers("ca::twice").await?;
        worker.say(json!({ "type": "invocationresult", "invocation_id": uuid(), "function_id": "ca::twice", "result": 1 })).await?;
        worker.say(json!({ "type": "invocationresult", "invocation_id": null, "function_id": "ca::twice", "result": 1 })).await?;
        worker.say(json!({ "type": "invocationresult", "invocation_id": "nonsense", "function_id": "ca::twice", "result": 1 })).await?;
        worker.calls("ca::twice", json!({})).await?;
        let call = worker.hear().await?;
        let mut thief = Worker::connect(&url).await?;
        thief.answer(&call, json!("stolen")).await?;
        thief.settle().await?;
        worker.answer(&call, json!("mine")).await?;
        worker.answer(&call, json!("again")).await?;
        ensure!(worker.hear().await?["result"] == "mine");
        worker.settle().await
    })
    .await;

    suite.check("§2.9 the caller's id stands in objects of direct and void calls alone", async {
        let mut worker = Worker::connect(&url).await?;
        worker.offers("ca::stamp").await?;
        let own = worker.id().to_owned();
        for (data, action, expected) in [
            (json!({ "a": 1 }), Value::Null, json!({ "a": 1, "_caller_worker_id": own })),
            (json!({}), json!({ "type": "void" }), json!({ "_caller_worker_id": own })),
            (json!({ "_caller_worker_id": "forged" }), Value::Null, json!({ "_caller_worker_id": own })),
            (json!([1]), Value::Null, json!([1])),
            (json!({ "a": 1 }), json!({ "type": "enqueue", "queue": "default" }), json!({ "a": 1 })),
        ] {
            worker.say(json!({ "type": "invokefunction", "invocation_id": uuid(), "function_id": "ca::stamp", "data": data, "action": action })).await?;
            let call = worker.hear_of("invokefunction").await?;
            ensure!(call["data"] == expected, "{call}");
            worker.answer(&call, Value::Null).await?;
            worker.settle().await.ok();
        }
        Ok(())
    })
    .await;

    suite.check("§2.12 nobody there is function_not_found, and silence for a void call", async {
        let mut worker = Worker::connect(&url).await?;
        let result = worker.call("no::such", json!({})).await?;
        ensure!(result["error"] == json!({ "code": "function_not_found", "message": "Function no::such not found" }), "{result}");
        ensure!(result["function_id"] == "no::such", "{result}");
        worker.say(json!({ "type": "invokefunction", "function_id": "no::such", "data": {}, "action": { "type": "void" } })).await?;
        worker.say(json!({ "type": "invokefunction", "invocation_id": uuid(), "function_id": "no::such", "data": {}, "action": { "type": "void" } })).await?;
        worker.settle().await
    })
    .await;

    suite.check("§2.9 an unknown action is no call", async {
        let mut worker = Worker::connect(&url).await?;
        worker.offers("ca::odd").await?;
        worker.say(json!({ "type": "invokefunction", "invocation_id": uuid(), "function_id": "ca::odd", "data": {}, "action": { "type": "teleport" } })).await?;
        worker.say(json!({ "type": "ping" })).await?;
        loop {
            let heard = worker.hear().await?;
            ensure!(heard["type"] != "invokefunction", "{heard}");
            if heard["type"] == "pong" {
                return Ok(());
            }
        }
    })
    .await;

    suite.check("§A two callers may use one invocation id", async {
        let (mut target, mut one, mut two) = (Worker::connect(&url).await?, Worker::connect(&url).await?, Worker::connect(&url).await?);
        target.offers("ca::same").await?;
        let id = uuid();
        for (worker, n) in [(&mut one, 1), (&mut two, 2)] {
            worker.say(json!({ "type": "invokefunction", "invocation_id": id, "function_id": "ca::same", "data": [n] })).await?;
        }
        let calls = [target.hear().await?, target.hear().await?];
        ensure!(calls[0]["invocation_id"] != calls[1]["invocation_id"]);
        for call in calls.iter().rev() {
            target.answer(call, call["data"].clone()).await?;
        }
        ensure!(one.hear().await?["result"] == json!([1]));
        ensure!(two.hear().await?["result"] == json!([2]));
        Ok(())
    })
    .await;

    suite.check("§7.7 trace context goes there and back", async {
        let mut worker = Worker::connect(&url).await?;
        worker.offers("ca::trace").await?;
        let trace = "0af7651916cd43dd8448eb211c80319c";
        worker.say(json!({ "type": "invokefunction", "invocation_id": uuid(), "function_id": "ca::trace", "data": {}, "traceparent": format!("00-{trace}-b7ad6b7169203331-01"), "baggage": "user=ann,x=%20y" })).await?;
        let call = worker.hear().await?;
        ensure!(call["traceparent"].as_str().is_some_and(|value| value.contains(trace)), "{call}");
        ensure!(call["baggage"] == "user=ann,x=%20y", "{call}");
        worker.say(json!({ "type": "invocationresult", "invocation_id": call["invocation_id"], "function_id": "ca::trace", "result": 1, "traceparent": call["traceparent"], "baggage": "user=ann" })).await?;
        let result = worker.hear().await?;
        ensure!(result["traceparent"].as_str().is_some_and(|value| value.contains(trace)), "{result}");
        Ok(())
    })
    .await;

    suite.check("§2.9 metadata is delivered beside the payload and no more than given", async {
        let mut worker = Worker::connect(&url).await?;
        worker.offers("ca::meta").await?;
        worker.say(json!({ "type": "invokefunction", "invocation_id": uuid(), "function_id": "ca::meta", "data": {}, "metadata": { "who": ["ann"] } })).await?;
        let call = worker.hear().await?;
        ensure!(call["metadata"] == json!({ "who": ["ann"] }), "{call}");
        worker.answer(&call, Value::Null).await?;
        worker.hear().await?;
        worker.calls("ca::meta", json!({})).await?;
        let call = worker.hear().await?;
        ensure!(call.get("metadata").is_none_or(Value::is_null), "{call}");
        Ok(())
    })
    .await;

    suite
        .check(
            "§7.2 a target that leaves stops what it was doing at once",
            async {
                let mut caller = Worker::connect(&url).await?;
                let mut target = Worker::connect(&url).await?;
                target.offers("ca::leave").await?;
                for _ in 0..3 {
                    caller.calls("ca::leave", json!({})).await?;
                    target.hear_of("invokefunction").await?;
                }
                drop(target);
                for _ in 0..3 {
                    let result = caller.hear().await?;
                    ensure!(result["error"]["code"] == "invocation_stopped", "{result}");
                }
                Ok(())
            },
        )
        .await;

    suite
        .check("§7.2 results come in the order of completion", async {
            let mut worker = Worker::connect(&url).await?;
            worker.offers("ca::order").await?;
            let first = worker.calls("ca::order", json!(1)).await?;
            let second = worker.calls("ca::order", json!(2)).await?;
            let (one, two) = (worker.hear().await?, worker.hear().await?);
            worker.answer(&two, json!(2)).await?;
            ensure!(worker.hear().await?["invocation_id"] == *second);
            worker.answer(&one, json!(1)).await?;
            ensure!(worker.hear().await?["invocation_id"] == *first);
            Ok(())
        })
        .await;

    suite
        .check("§2.3 only the owner takes a function back", async {
            let mut owner = Worker::connect(&url).await?;
            owner.offers("ca::owned").await?;
            let mut other = Worker::connect(&url).await?;
            other
                .say(json!({ "type": "unregisterfunction", "id": "ca::owned" }))
                .await?;
            other
                .say(json!({ "type": "unregisterfunction", "id": "no::such" }))
                .await?;
            other.settle().await?;
            let id = other.calls("ca::owned", json!([])).await?;
            owner.serve("ca::owned", json!(1)).await?;
            ensure!(other.hear().await?["invocation_id"] == *id);
            owner
                .say(json!({ "type": "unregisterfunction", "id": "ca::owned" }))
                .await?;
            owner.settle().await?;
            let result = other.call("ca::owned", json!([])).await?;
            ensure!(result["error"]["code"] == "function_not_found", "{result}");
            Ok(())
        })
        .await;

    suite.check("§2.4 a service is taken and changes nothing", async {
        let mut worker = Worker::connect(&url).await?;
        worker.say(json!({ "type": "registerservice", "id": "billing", "name": "Billing", "description": "…", "parent_service_id": "core" })).await?;
        worker.say(json!({ "type": "registerservice", "id": "billing" })).await?;
        worker.settle().await
    })
    .await;

    suite
        .check("§3 engine functions cannot be taken over", async {
            let mut worker = Worker::connect(&url).await?;
            worker
                .say(json!({ "type": "registerfunction", "id": "state::get" }))
                .await?;
            worker
                .say(json!({ "type": "registerfunction", "id": "engine::functions::list" }))
                .await?;
            // A refusal may be said; a call of the function is the engine's own still.
            let id = worker.calls("engine::functions::list", json!({})).await?;
            loop {
                let heard = worker.hear().await?;
                ensure!(heard["type"] != "invokefunction", "{heard}");
                if heard["invocation_id"] == *id {
                    ensure!(heard["result"]["functions"].is_array(), "{heard}");
                    return Ok(());
                }
            }
        })
        .await;

    suite.check("§3.3 workers without a pid are not listed", async {
        let mut worker = Worker::connect(&url).await?;
        let list = worker.call("engine::workers::list", json!({})).await?;
        let own = worker.id().to_owned();
        let found = |list: &Value| list["result"]["workers"].as_array().is_some_and(|all| all.iter().any(|one| one["id"] == *own));
        ensure!(!found(&list), "{list}");
        worker.introduces(json!({ "runtime": "node", "version": "0.11.6", "name": "seen", "pid": 7, "os": "linux" })).await?;
        let list = worker.call("engine::workers::list", json!({})).await?;
        ensure!(found(&list), "{list}");
        let one = worker.call("engine::workers::list", json!({ "worker_id": own })).await?;
        ensure!(one["result"]["workers"].as_array().map(Vec::len) == Some(1), "{one}");
        Ok(())
    })
    .await;

    suite.check("§3.3 engine::triggers::list answers each generation in its own shape", async {
        let mut old = Worker::connect(&url).await?;
        old.introduces(json!({ "runtime": "node", "version": "0.11.6", "name": "old", "pid": 8 })).await?;
        old.say(json!({ "type": "registertrigger", "id": "gen-1", "trigger_type": "state", "function_id": "x::y", "config": { "scope": "none" } })).await?;
        let list = old.call("engine::triggers::list", json!({})).await?;
        ensure!(list["result"]["triggers"].as_array().is_some_and(|all| all.iter().any(|one| one["id"] == "gen-1" && one["function_id"] == "x::y")), "{list}");
        let mut new = Worker::connect(&url).await?;
        new.introduces(json!({ "runtime": "node", "version": "0.22.1", "name": "new", "pid": 9 })).await?;
        let list = new.call("engine::triggers::list", json!({})).await?;
        ensure!(list["result"]["triggers"].as_array().is_some_and(|all| all.iter().any(|one| one["id"] == "state" && one.get("function_id").is_none())), "{list}");
        Ok(())
    })
    .await;
    suite.verdict()
}
