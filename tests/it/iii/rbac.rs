//! §1.7: a listener with rules.

use anyhow::{Result, bail, ensure};
use futures_util::StreamExt;
use serde_json::{Value, json};

use super::{
    check::Suite,
    setup::Setup,
    worker::{Heard, Worker, uuid},
};

/// Answers for the functions that the listener's rules name, on the open port.
struct Guard {
    task: tokio::task::JoinHandle<()>,
    asked: tokio::sync::mpsc::Receiver<(String, Value)>,
}

impl Guard {
    async fn start(url: &str) -> Result<Self> {
        let mut worker = Worker::connect(url).await?;
        for name in [
            "auth",
            "middleware",
            "on-function-reg",
            "on-trigger-reg",
            "on-trigger-type-reg",
        ] {
            worker.offers(&format!("test::rbac-worker::{name}")).await?;
        }
        for (id, metadata) in [
            ("gu::allowed", json!({})),
            ("gu::private", json!({})),
            ("test::ew::public::x", json!({})),
            ("gu::meta", json!({ "ew_public": true })),
            ("gu::meta-no", json!({ "ew_public": "true" })),
            ("gu::tier", json!({ "tier": "golden", "more": 1 })),
        ] {
            worker
                .say(json!({ "type": "registerfunction", "id": id, "metadata": metadata }))
                .await?;
        }
        worker.settle().await?;
        let (tell, asked) = tokio::sync::mpsc::channel(10_000);
        let task = tokio::spawn(async move {
            // As long as it takes: some checks wait for what does not come.
            while let Some(Ok(message)) = worker.socket.next().await {
                let Ok(call) = serde_json::from_slice::<Value>(&message.into_data()) else {
                    continue;
                };
                if call["type"] != "invokefunction" {
                    continue;
                }
                let function = call["function_id"].as_str().unwrap_or_default().to_owned();
                let data = call["data"].clone();
                let _ = tell.try_send((function.clone(), data.clone()));
                let answer = match function.as_str() {
                    "test::rbac-worker::auth" => session(data["headers"]["x-test-token"].as_str()),
                    "test::rbac-worker::middleware" => Ok(json!({ "through": data })),
                    _ => hook(&data),
                };
                let mut message = json!({ "type": "invocationresult", "invocation_id": call["invocation_id"], "function_id": function });
                match answer {
                    Ok(result) => message["result"] = result,
                    Err(text) => {
                        message["error"] = json!({ "code": "invocation_failed", "message": text })
                    }
                }
                if worker.say(message).await.is_err() {
                    break;
                }
            }
        });
        Ok(Guard { task, asked })
    }

    /// What was asked of `function` so far.
    fn seen(&mut self, function: &str) -> Vec<Value> {
        let mut seen = Vec::new();
        while let Ok((whom, data)) = self.asked.try_recv() {
            if whom == function {
                seen.push(data);
            }
        }
        seen
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn session(token: Option<&str>) -> Result<Value, &'static str> {
    Ok(match token {
        Some("plain") => {
            json!({ "allowed_functions": ["gu::allowed", "gu::both"], "forbidden_functions": ["gu::both"], "context": { "user": "ann" } })
        }
        Some("types") => {
            json!({ "allow_trigger_type_registration": true, "allowed_trigger_types": ["state"] })
        }
        Some("mute") => json!({ "allow_function_registration": false }),
        Some("prefix") => json!({ "function_registration_prefix": "acme" }),
        Some("empty") => json!({}),
        Some("null") => Value::Null,
        Some("text") => json!("yes"),
        Some("wrong") => json!({ "allowed_functions": "all" }),
        _ => return Err("invalid token"),
    })
}

fn hook(data: &Value) -> Result<Value, &'static str> {
    let name = data["function_id"]
        .as_str()
        .or(data["trigger_type_id"].as_str())
        .unwrap_or_default();
    Ok(match name {
        name if name.starts_with("denied") => return Err("denied"),
        name if name.starts_with("text") => json!("no object"),
        name if name.starts_with("null") => Value::Null,
        name if name.starts_with("renamed") => {
            json!({ "function_id": "chosen::f", "description": "by hook", "metadata": { "ew_public": true } })
        }
        _ => {
            json!({ "function_id": null, "description": null, "metadata": null, "trigger_id": null, "trigger_type": null, "config": null, "trigger_type_id": null })
        }
    })
}

#[tokio::test]
async fn a_listener_with_rules() -> Result<()> {
    let mut suite = Suite::default();
    let setup = Setup::start().await?;
    let (url, rbac) = (setup.engine.url.clone(), setup.rbac.clone());
    let mut guard = Guard::start(&url).await?;
    let enter = |token: &'static str| {
        let rbac = rbac.clone();
        async move { Worker::connect_as(&rbac, &[("X-Test-Token", token)]).await }
    };

    suite
        .check(
            "§1.7 auth is called once with headers, query and address",
            async {
                guard.seen("");
                let mut worker = Worker::connect_as(
                    &format!("{rbac}/?token=abc&token=d&x=%20y"),
                    &[("X-Test-Token", "plain"), ("Authorization", "Bearer x")],
                )
                .await?;
                worker.settle().await?;
                let seen = guard.seen("test::rbac-worker::auth");
                ensure!(seen.len() == 1, "{seen:?}");
                let asked = &seen[0];
                ensure!(
                    asked["headers"]["x-test-token"] == "plain"
                        && asked["headers"]["authorization"] == "Bearer x",
                    "{asked}"
                );
                ensure!(
                    asked["query_params"] == json!({ "token": ["abc", "d"], "x": [" y"] }),
                    "{asked}"
                );
                ensure!(asked["ip_address"] == "127.0.0.1", "{asked}");
                Ok(())
            },
        )
        .await;

    suite
        .check(
            "§1.4 who is refused gets AUTH_ERROR after the upgrade, and a close",
            async {
                for token in ["wrong-token", "text", "wrong", "null"] {
                    let mut worker = Worker {
                        socket: super::worker::dial(&rbac, &[("x-test-token", token)]).await?,
                        welcome: Value::Null,
                    };
                    let mut refused = false;
                    loop {
                        match worker.hear_any().await? {
                            Heard::Message(message) if message["error"]["code"] == "AUTH_ERROR" => {
                                refused = message["type"] == "error"
                                    && message["error"]["message"].is_string()
                            }
                            Heard::Message(message) if message["type"] == "workerregistered" => {}
                            Heard::Closed(code) => {
                                ensure!(
                                    !matches!(code, None | Some(1000 | 1001)),
                                    "{token}: closed with {code:?}"
                                );
                                break;
                            }
                            Heard::Ended => break,
                            other => bail!("{token}: {other:?}"),
                        }
                    }
                    ensure!(refused, "{token}: no AUTH_ERROR");
                }
                Ok(())
            },
        )
        .await;

    suite
        .check(
            "§1.7 the order of decisions: forbidden, allowed, infrastructure, exposed, denied",
            async {
                let mut worker = enter("plain").await?;
                for (function, fine) in [
                    ("gu::allowed", true),
                    ("gu::both", false),
                    ("gu::private", false),
                    ("test::ew::public::x", true),
                    ("gu::meta", true),
                    ("gu::meta-no", false),
                    ("gu::tier", true),
                    ("test::rbac-worker::auth", false),
                    ("state::set", false),
                ] {
                    let result = worker.call(function, json!({ "n": 1 })).await?;
                    if fine {
                        ensure!(
                            result["result"]["through"]["function_id"] == function
                                && result["result"]["through"]["payload"]["n"] == 1,
                            "{function}: {result}"
                        );
                        ensure!(
                            result["result"]["through"]["context"] == json!({ "user": "ann" }),
                            "{function}: {result}"
                        );
                    } else {
                        ensure!(
                            result["error"]["code"] == "FORBIDDEN",
                            "{function}: {result}"
                        );
                        let remedy = if function == "gu::both" {
                            "remove from rbac.forbidden_functions"
                        } else {
                            "add to rbac.expose_functions"
                        };
                        let message = result["error"]["message"].as_str().unwrap_or_default();
                        ensure!(
                            message.contains(&format!("'{function}' not allowed"))
                                && message.contains(remedy),
                            "{result}"
                        );
                    }
                }
                for (function, data) in [
                    ("engine::workers::register", json!({})),
                    ("engine::log::info", json!({ "message": "m" })),
                    ("engine::baggage::get", json!({ "key": "k" })),
                    ("engine::channels::create", json!({})),
                ] {
                    let result = worker.call(function, data).await?;
                    ensure!(result.get("error").is_none(), "{function}: {result}");
                }
                Ok(())
            },
        )
        .await;

    suite.check("§1.7 middleware stands in for void and enqueue as well", async {
        let mut worker = enter("plain").await?;
        guard.seen("");
        worker.say(json!({ "type": "invokefunction", "function_id": "gu::allowed", "data": { "v": 1 }, "action": { "type": "void" } })).await?;
        let id = uuid();
        worker.say(json!({ "type": "invokefunction", "invocation_id": id, "function_id": "gu::allowed", "data": { "q": 1 }, "action": { "type": "enqueue", "queue": "default" } })).await?;
        let result = worker.hear().await?;
        ensure!(result["invocation_id"] == *id && result["result"]["through"]["action"] == json!({ "type": "enqueue", "queue": "default" }), "{result}");
        let seen = crate::harness::eventually("both", || {
            let seen = guard.seen("test::rbac-worker::middleware");
            async move { (!seen.is_empty()).then_some(seen) }
        }).await?;
        ensure!(seen.iter().any(|asked| asked["action"] == json!({ "type": "void" }) && asked["payload"]["v"] == 1), "{seen:?}");
        Ok(())
    })
    .await;

    suite.check("§1.7 a denied void call is told", async {
        let mut worker = enter("plain").await?;
        worker.say(json!({ "type": "invokefunction", "function_id": "gu::private", "data": {}, "action": { "type": "void" } })).await?;
        let result = worker.hear().await?;
        ensure!(result["error"]["code"] == "FORBIDDEN" && result["invocation_id"].as_str().is_some_and(|id| id.len() == 36) && result["function_id"] == "gu::private", "{result}");
        Ok(())
    })
    .await;

    suite
        .check("§1.7 hooks let in, change and deny silently", async {
            let mut worker = enter("plain").await?;
            guard.seen("");
            for id in ["fine::f", "denied::f", "text::f", "null::f", "renamed::f"] {
                worker
                    .say(json!({ "type": "registerfunction", "id": id, "description": "mine" }))
                    .await?;
            }
            worker.settle().await?;
            let seen = guard.seen("test::rbac-worker::on-function-reg");
            ensure!(
                seen.len() == 5
                    && seen[0]["function_id"] == "fine::f"
                    && seen[0]["description"] == "mine"
                    && seen[0]["context"] == json!({ "user": "ann" }),
                "{seen:?}"
            );
            let mut open = Worker::connect(&url).await?;
            for id in ["denied::f", "text::f", "null::f", "renamed::f"] {
                let result = open.call(id, json!([])).await?;
                ensure!(
                    result["error"]["code"] == "function_not_found",
                    "{id}: {result}"
                );
            }
            for id in ["fine::f", "chosen::f"] {
                open.calls(id, json!([])).await?;
                let call = worker.hear_of("invokefunction").await?;
                worker.answer(&call, json!(1)).await?;
                ensure!(open.hear().await?["result"] == 1);
            }
            let list = open.call("engine::functions::list", json!({})).await?;
            let chosen = list["result"]["functions"].as_array().and_then(|all| {
                all.iter()
                    .find(|one| one["function_id"] == "chosen::f")
                    .cloned()
            });
            ensure!(
                chosen
                    .as_ref()
                    .is_some_and(|one| one["description"] == "by hook"
                        && one["metadata"]["ew_public"] == true),
                "{chosen:?}"
            );
            Ok(())
        })
        .await;

    suite.check("§1.7 trigger types need permission, and only some may be bound", async {
        let mut plain = enter("plain").await?;
        plain.say(json!({ "type": "registertriggertype", "id": "pl-type", "description": "d" })).await?;
        let mut open = Worker::connect(&url).await?;
        open.say(json!({ "type": "registertrigger", "id": uuid(), "trigger_type": "pl-type", "function_id": "x::y", "config": {} })).await?;
        open.settle().await?;
        plain.settle().await?;
        let mut types = enter("types").await?;
        types.say(json!({ "type": "registertriggertype", "id": "ty-type", "description": "d" })).await?;
        types.say(json!({ "type": "registertriggertype", "id": "denied-type", "description": "d" })).await?;
        types.settle().await?;
        open.say(json!({ "type": "registertrigger", "id": uuid(), "trigger_type": "denied-type", "function_id": "x::y", "config": {} })).await?;
        open.say(json!({ "type": "registertrigger", "id": "ty-1", "trigger_type": "ty-type", "function_id": "x::y", "config": {} })).await?;
        let told = types.hear_of("registertrigger").await?;
        ensure!(told["id"] == "ty-1", "{told}");
        types.offers("ty::f").await?;
        types.say(json!({ "type": "registertrigger", "id": uuid(), "trigger_type": "subscribe", "function_id": "ty::f", "config": { "topic": "ty" } })).await?;
        types.say(json!({ "type": "registertrigger", "id": uuid(), "trigger_type": "state", "function_id": "ty::f", "config": { "scope": "ty" } })).await?;
        types.say(json!({ "type": "ping" })).await?;
        // A refusal may be said.
        while types.hear().await?["type"] != "pong" {}
        open.call("publish", json!({ "topic": "ty", "data": 1 })).await?;
        open.call("state::set", json!({ "scope": "ty", "key": "k", "value": 1 })).await?;
        let call = types.hear_of("invokefunction").await?;
        ensure!(call["data"]["type"] == "state", "{call}");
        Ok(())
    })
    .await;

    suite.check("§1.7 a prefix goes before functions and targets, and not to the worker", async {
        let mut worker = enter("prefix").await?;
        guard.seen("");
        worker.offers("pay").await?;
        worker.say(json!({ "type": "registertrigger", "id": uuid(), "trigger_type": "state", "function_id": "pay", "config": { "scope": "pf" } })).await?;
        worker.settle().await?;
        let mut open = Worker::connect(&url).await?;
        open.calls("acme::pay", json!([7])).await?;
        let call = worker.hear_of("invokefunction").await?;
        ensure!(call["function_id"] == "pay", "{call}");
        worker.answer(&call, json!("paid")).await?;
        ensure!(open.hear().await?["result"] == "paid");
        ensure!(open.call("pay", json!({})).await?["error"]["code"] == "function_not_found");
        open.call("state::set", json!({ "scope": "pf", "key": "k", "value": 1 })).await?;
        let call = worker.hear_of("invokefunction").await?;
        ensure!(call["function_id"] == "pay" && call["data"]["scope"] == "pf", "{call}");
        Ok(())
    })
    .await;

    suite
        .check(
            "§1.7 a session may be kept from offering functions",
            async {
                let mut worker = enter("mute").await?;
                worker
                    .say(json!({ "type": "registerfunction", "id": "mute::f" }))
                    .await?;
                worker.settle().await.ok();
                let mut open = Worker::connect(&url).await?;
                ensure!(
                    open.call("mute::f", json!({})).await?["error"]["code"] == "function_not_found"
                );
                Ok(())
            },
        )
        .await;

    suite
        .check("§1.7 listings are filtered", async {
            let mut worker = enter("plain").await?;
            let list = worker.call("engine::functions::list", json!({})).await?;
            let ids: Vec<&str> = list["result"]["functions"]
                .as_array()
                .into_iter()
                .flatten()
                .filter_map(|one| one["function_id"].as_str())
                .collect();
            ensure!(
                ids.contains(&"gu::allowed")
                    && ids.contains(&"gu::meta")
                    && ids.contains(&"test::ew::public::x"),
                "{ids:?}"
            );
            ensure!(
                !ids.contains(&"gu::private")
                    && !ids.contains(&"gu::both")
                    && !ids.contains(&"test::rbac-worker::auth")
                    && !ids.contains(&"state::set"),
                "{ids:?}"
            );
            Ok(())
        })
        .await;

    suite
        .check(
            "§1.7 telemetry needs no token and does not ask auth",
            async {
                guard.seen("");
                let mut socket = super::worker::dial(&format!("{rbac}/otel"), &[]).await?;
                use futures_util::SinkExt;
                socket
                    .send(tokio_tungstenite::tungstenite::Message::binary(
                        b"LOGS{\"resourceLogs\":[]}".to_vec(),
                    ))
                    .await?;
                let mut worker = enter("plain").await?;
                worker.settle().await?;
                ensure!(guard.seen("test::rbac-worker::auth").len() == 1);
                socket.close(None).await?;
                Ok(())
            },
        )
        .await;

    suite
        .check(
            "§1.7 frames before auth has answered are kept, not lost",
            async {
                let mut socket = super::worker::dial(&rbac, &[("x-test-token", "plain")]).await?;
                use futures_util::SinkExt;
                for message in [
                    json!({ "type": "registerfunction", "id": "kept::f" }),
                    json!({ "type": "ping" }),
                ] {
                    socket
                        .send(tokio_tungstenite::tungstenite::Message::text(
                            message.to_string(),
                        ))
                        .await?;
                }
                let mut worker = Worker {
                    socket,
                    welcome: Value::Null,
                };
                worker.hear_of("pong").await?;
                let mut open = Worker::connect(&url).await?;
                open.calls("kept::f", json!([])).await?;
                worker.serve("kept::f", json!(1)).await?;
                Ok(())
            },
        )
        .await;

    suite
        .check(
            "§7.2 a hook whose worker is gone denies and blocks nobody",
            async {
                let mut worker = enter("plain").await?;
                drop(guard);
                worker
                    .say(json!({ "type": "registerfunction", "id": "nohook::f" }))
                    .await?;
                worker.settle().await?;
                let mut open = Worker::connect(&url).await?;
                ensure!(
                    open.call("nohook::f", json!([])).await?["error"]["code"]
                        == "function_not_found"
                );
                Ok(())
            },
        )
        .await;
    suite.verdict()
}
