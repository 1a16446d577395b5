//! §1.1, §1.4, §1.5 and §1.10: how a connection begins and ends.

use std::time::Duration;

use anyhow::{Result, bail, ensure};
use serde_json::json;
use tokio_tungstenite::{
    connect_async,
    tungstenite::{self, client::IntoClientRequest},
};

use super::{
    check::Suite,
    setup::Setup,
    worker::{Heard, PATIENCE, Worker, dial},
};
use crate::harness::eventually;

/// Status and headers of an answer to a handshake.
async fn handshake(
    url: &str,
    headers: &[(&'static str, &str)],
) -> Result<tungstenite::http::response::Parts> {
    let mut request = url.into_client_request()?;
    for (name, value) in headers {
        request.headers_mut().insert(*name, value.parse()?);
    }
    Ok(match connect_async(request).await {
        Ok((_, response)) => response.into_parts().0,
        Err(tungstenite::Error::Http(response)) => response.into_parts().0,
        Err(other) => bail!("no answer: {other}"),
    })
}

#[tokio::test]
async fn a_connection_begins() -> Result<()> {
    let mut suite = Suite::default();
    let setup = Setup::start().await?;
    let url = setup.engine.url.clone();

    suite
        .check(
            "§1.1 the bus takes query parameters, a trailing slash and other headers",
            async {
                for path in ["", "/", "/?a=b&token=x", "/otel", "/otel/", "/otel?a=b"] {
                    let head = handshake(
                        &format!("{url}{path}"),
                        &[
                            ("user-agent", "websockets"),
                            ("authorization", "Bearer whatever"),
                        ],
                    )
                    .await?;
                    ensure!(head.status == 101, "{path}: {}", head.status);
                }
                Ok(())
            },
        )
        .await;

    suite
        .check(
            "§1.1 no sub-protocol and no compression are answered",
            async {
                let head = handshake(
                    &url,
                    &[(
                        "sec-websocket-extensions",
                        "permessage-deflate; client_max_window_bits",
                    )],
                )
                .await?;
                ensure!(head.status == 101);
                ensure!(
                    !head.headers.contains_key("sec-websocket-protocol"),
                    "{:?}",
                    head.headers
                );
                ensure!(
                    !head.headers.contains_key("sec-websocket-extensions"),
                    "{:?}",
                    head.headers
                );
                Ok(())
            },
        )
        .await;

    suite
        .check("§1.1 the answer names tcp-nodelay", async {
            let head = handshake(&url, &[]).await?;
            let value = head
                .headers
                .get("x-iii-capabilities")
                .map(|value| value.to_str().unwrap_or_default().to_lowercase());
            ensure!(
                value.as_deref().is_some_and(|value| value
                    .split(',')
                    .any(|token| token.trim() == "tcp-nodelay")),
                "{value:?}"
            );
            Ok(())
        })
        .await;

    suite
        .check(
            "§1.4 workerregistered comes first, with an id and a token to come back",
            async {
                let worker = Worker::connect(&url).await?;
                let id = worker.id().to_owned();
                ensure!(
                    id.len() == 36 && id.split('-').count() == 5,
                    "{id} is no UUID"
                );
                ensure!(
                    worker.welcome["reattach_token"]
                        .as_str()
                        .is_some_and(|token| token.len() >= 16),
                    "{}",
                    worker.welcome
                );
                let other = Worker::connect(&url).await?;
                ensure!(other.id() != id);
                ensure!(other.welcome["reattach_token"] != worker.welcome["reattach_token"]);
                Ok(())
            },
        )
        .await;

    suite
        .check(
            "§10 observe is advertised by nobody who does not have it whole",
            async {
                let worker = Worker::connect(&url).await?;
                let features = worker.welcome.get("features").cloned().unwrap_or(json!([]));
                let all = ["observe.v1", "observe.v2", "local-dispatch.v1"];
                let named = all
                    .iter()
                    .filter(|name| {
                        features
                            .as_array()
                            .is_some_and(|list| list.contains(&json!(name)))
                    })
                    .count();
                ensure!(named == 0 || named == all.len(), "{features}");
                Ok(())
            },
        )
        .await;

    suite.check("§1.4 registrations said twice are one", async {
        let mut worker = Worker::connect(&url).await?;
        for _ in 0..2 {
            worker.say(json!({ "type": "registerfunction", "id": "tw::f" })).await?;
            worker.say(json!({ "type": "registertriggertype", "id": "tw-type", "description": "d" })).await?;
            worker.say(json!({ "type": "registertrigger", "id": "tw-1", "trigger_type": "state", "function_id": "tw::f", "config": { "scope": "tw" } })).await?;
            worker.say(json!({ "type": "registertrigger", "id": "tw-2", "trigger_type": "subscribe", "function_id": "tw::f", "config": { "topic": "tw" } })).await?;
            worker.say(json!({ "type": "registertrigger", "id": "tw-3", "trigger_type": "durable:subscriber", "function_id": "tw::f", "config": { "topic": "tw-d" } })).await?;
            worker.say(json!({ "type": "registertrigger", "id": "tw-4", "trigger_type": "stream", "function_id": "tw::f", "config": { "stream_name": "tw" } })).await?;
        }
        worker.settle().await?;
        let sources = [
            ("state::set", json!({ "scope": "tw", "key": "k", "value": 1 })),
            ("publish", json!({ "topic": "tw", "data": 1 })),
            ("iii::durable::publish", json!({ "topic": "tw-d", "data": 1 })),
            ("stream::set", json!({ "stream_name": "tw", "group_id": "g", "item_id": "i", "data": 1 })),
        ];
        for (source, input) in sources {
            let id = worker.calls(source, input).await?;
            // Answer and event in any order, and one event.
            let (mut answered, mut event) = (false, None);
            while !(answered && event.is_some()) {
                let message = worker.hear().await?;
                if message["invocation_id"] == *id {
                    ensure!(message.get("error").is_none(), "{source}: {message}");
                    answered = true;
                } else {
                    ensure!(message["function_id"] == "tw::f" && event.is_none(), "{source}: {message}");
                    event = Some(message);
                }
            }
            worker.answer(&event.unwrap_or_default(), json!(null)).await?;
            worker.hears_nothing().await?;
        }
        Ok(())
    })
    .await;

    suite
        .check("§1.4 a registration is visible to the next frame", async {
            let mut worker = Worker::connect(&url).await?;
            for place in 0..50 {
                let function = format!("vis::f{place}");
                worker
                    .say(json!({ "type": "registerfunction", "id": function }))
                    .await?;
                let id = worker.calls(&function, json!(place)).await?;
                worker.serve(&function, json!(place)).await?;
                let result = worker.hear().await?;
                ensure!(
                    result["invocation_id"] == *id && result["result"] == place,
                    "{result}"
                );
            }
            Ok(())
        })
        .await;

    suite.check("§1.4 a call may come before anything was read", async {
        let mut socket = dial(&url, &[]).await?;
        use futures_util::{SinkExt, StreamExt};
        socket.send(tungstenite::Message::text(json!({ "type": "invokefunction", "invocation_id": super::worker::uuid(), "function_id": "engine::functions::list", "data": {} }).to_string())).await?;
        let mut kinds = Vec::new();
        while kinds.len() < 2 {
            let message = tokio::time::timeout(PATIENCE, socket.next()).await?;
            if let Some(Ok(tungstenite::Message::Text(text))) = message {
                kinds.push(serde_json::from_str::<serde_json::Value>(&text)?["type"].clone());
            }
        }
        ensure!(kinds == [json!("workerregistered"), json!("invocationresult")], "{kinds:?}");
        Ok(())
    })
    .await;

    suite
        .check("§1.4 the engine pings by itself", async {
            let mut worker = Worker::connect(&url).await?;
            use futures_util::StreamExt;
            let ping = tokio::time::timeout(Duration::from_secs(35), async {
                while let Some(Ok(message)) = worker.socket.next().await {
                    if message.is_ping() {
                        return true;
                    }
                }
                false
            })
            .await;
            ensure!(ping == Ok(true), "no ping in 35 s");
            Ok(())
        })
        .await;
    suite.verdict()
}

#[tokio::test]
async fn a_worker_comes_back() -> Result<()> {
    let mut suite = Suite::default();
    let setup = Setup::start().await?;
    let url = setup.engine.url.clone();

    suite.check("§1.5 reattach retires the connection before", async {
        let mut old = Worker::connect(&url).await?;
        old.offers("re::f").await?;
        let mut new = Worker::connect(&url).await?;
        new.say(json!({ "type": "reattach", "previous_worker_id": old.id(), "reattach_token": old.welcome["reattach_token"] })).await?;
        new.offers("re::f").await?;
        loop {
            match old.hear_any().await? {
                Heard::Closed(code) => {
                    ensure!(!matches!(code, None | Some(1000 | 1001 | 1005)), "closed with {code:?}");
                    break;
                }
                Heard::Ended => break,
                Heard::Message(_) | Heard::Binary => {}
            }
        }
        let mut caller = Worker::connect(&url).await?;
        let id = caller.calls("re::f", json!(1)).await?;
        new.serve("re::f", json!("new")).await?;
        let result = caller.hear().await?;
        ensure!(result["invocation_id"] == *id && result["result"] == "new", "{result}");
        Ok(())
    })
    .await;

    suite.check("§1.5 a wrong token, an unknown id and nonsense retire nobody and are not answered", async {
        let mut old = Worker::connect(&url).await?;
        let mut new = Worker::connect(&url).await?;
        for message in [
            json!({ "type": "reattach", "previous_worker_id": old.id(), "reattach_token": "wrong" }),
            json!({ "type": "reattach", "previous_worker_id": old.id() }),
            json!({ "type": "reattach", "previous_worker_id": old.id(), "reattach_token": null }),
            json!({ "type": "reattach", "previous_worker_id": "no-such", "reattach_token": old.welcome["reattach_token"] }),
            json!({ "type": "reattach" }),
        ] {
            new.say(message).await?;
        }
        new.settle().await?;
        old.settle().await
    })
    .await;

    suite
        .check(
            "§7.1 a restarted worker gets the calls while its old connection hangs",
            async {
                let mut old = Worker::connect(&url).await?;
                old.introduces(
                    json!({ "runtime": "node", "version": "0.11.6", "name": "box:1", "pid": 1 }),
                )
                .await?;
                old.offers("ha::f").await?;
                let mut new = Worker::connect(&url).await?;
                new.introduces(
                    json!({ "runtime": "node", "version": "0.11.6", "name": "box:1", "pid": 1 }),
                )
                .await?;
                new.offers("ha::f").await?;
                let mut caller = Worker::connect(&url).await?;
                caller.calls("ha::f", json!({})).await?;
                new.serve("ha::f", json!(1)).await?;
                Ok(())
            },
        )
        .await;

    suite.check("§1.6 a G11 connection is never closed for its name", async {
        let mut workers = Vec::new();
        for _ in 0..3 {
            let mut worker = Worker::connect(&url).await?;
            worker.introduces(json!({ "runtime": "python", "version": "0.11.6", "name": "same", "pid": 3 })).await?;
            worker.settle().await?;
            workers.push(worker);
        }
        for worker in &mut workers {
            worker.settle().await?;
        }
        Ok(())
    })
    .await;
    suite.verdict()
}

#[tokio::test]
async fn a_connection_ends() -> Result<()> {
    let mut suite = Suite::default();
    let mut setup = Setup::start().await?;
    let url = setup.engine.url.clone();

    suite.check("§7.3 what a worker registered goes with it", async {
        let mut provider = Worker::connect(&url).await?;
        provider.say(json!({ "type": "registertriggertype", "id": "cl-type", "description": "d" })).await?;
        provider.settle().await?;
        let mut leaver = Worker::connect(&url).await?;
        leaver.offers("cl::f").await?;
        leaver.say(json!({ "type": "registertrigger", "id": "cl-t", "trigger_type": "cl-type", "function_id": "cl::f", "config": { "a": 1 } })).await?;
        let told = provider.hear().await?;
        ensure!(told["type"] == "registertrigger" && told["id"] == "cl-t", "{told}");
        drop(leaver);
        let told = provider.hear().await?;
        ensure!(told["type"] == "unregistertrigger" && told["id"] == "cl-t" && told["trigger_type"] == "cl-type", "{told}");
        let gone = eventually("the function's end", || async {
            let mut caller = Worker::connect(&url).await.ok()?;
            let result = caller.call("cl::f", json!({})).await.ok()?;
            (result["error"]["code"] == "function_not_found").then_some(())
        });
        gone.await
    })
    .await;

    suite.check("§1.5 a name is free again when the close is answered", async {
        for _ in 0..10 {
            let mut worker = Worker::connect(&url).await?;
            worker.introduces(json!({ "runtime": "python", "version": "0.25.0", "name": "again", "namespace": "default", "pid": 4, "features": ["large-messages.v1"] })).await?;
            worker.offers("ag::f").await?;
            worker.socket.close(None).await?;
            while !matches!(worker.hear_any().await?, Heard::Closed(_) | Heard::Ended) {}
        }
        Ok(())
    })
    .await;

    suite
        .check(
            "§1.10 at shutdown workers are closed with 1012 or 1011",
            async {
                let mut worker = Worker::connect(&url).await?;
                worker
                .introduces(
                    json!({ "runtime": "python", "version": "0.11.6", "name": "zombie", "pid": 5 }),
                )
                .await?;
                worker.settle().await?;
                let listening = tokio::spawn(async move {
                    loop {
                        match worker.hear_any().await? {
                            Heard::Closed(code) => return Ok::<_, anyhow::Error>(code),
                            Heard::Ended => return Ok(Some(1006)),
                            Heard::Message(_) | Heard::Binary => {}
                        }
                    }
                });
                setup.engine.terminate().await?;
                let code = listening.await??;
                ensure!(matches!(code, Some(1011 | 1012)), "closed with {code:?}");
                Ok(())
            },
        )
        .await;
    suite.verdict()
}
