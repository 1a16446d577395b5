//! §5.2 and §4.7: clients of streams.

use anyhow::{Result, ensure};
use serde_json::{Value, json};

use super::{
    check::Suite,
    setup::Setup,
    worker::{Worker, dial},
};

/// A stream client is a socket that says JSON, as a worker is.
async fn client(url: &str) -> Result<Worker> {
    Ok(Worker {
        socket: dial(url, &[]).await?,
        welcome: Value::Null,
    })
}

fn join(stream: &str, group: &str, item: Option<&str>) -> Value {
    let mut data = json!({ "subscriptionId": format!("s-{stream}-{group}"), "streamName": stream, "groupId": group });
    if let Some(item) = item {
        data["id"] = json!(item);
    }
    json!({ "type": "join", "data": data })
}

#[tokio::test]
async fn stream_clients_as_frames() -> Result<()> {
    let mut suite = Suite::default();
    let setup = Setup::start().await?;
    let url = setup.engine.url.clone();
    let stream = setup.stream.clone();
    let mut worker = Worker::connect(&url).await?;

    suite.check("§5.2 a join is answered with what is there, then changes come", async {
        worker.call("stream::set", json!({ "stream_name": "board", "group_id": "g1", "item_id": "a", "data": { "n": 1 } })).await?;
        let mut group = client(&format!("{stream}/?token=x")).await?;
        group.say(join("board", "g1", None)).await?;
        let sync = group.hear().await?;
        ensure!(sync["type"] == "stream" && sync["streamName"] == "board" && sync["groupId"] == "g1" && sync["event"] == json!({ "type": "sync", "data": [{ "n": 1 }] }), "{sync}");
        ensure!(sync["timestamp"].is_number(), "{sync}");
        let mut item = client(&stream).await?;
        item.say(join("board", "g1", Some("a"))).await?;
        let sync = item.hear().await?;
        ensure!(sync["event"] == json!({ "type": "sync", "data": { "n": 1 } }), "{sync}");
        let mut none = client(&stream).await?;
        none.say(join("board", "g1", Some("none"))).await?;
        let sync = none.hear().await?;
        ensure!(sync["event"]["type"] == "sync" && sync["event"].get("data") == Some(&Value::Null), "{sync}");

        worker.call("stream::set", json!({ "stream_name": "board", "group_id": "g1", "item_id": "a", "data": { "n": 2 } })).await?;
        worker.call("stream::set", json!({ "stream_name": "board", "group_id": "g1", "item_id": "b", "data": 3 })).await?;
        worker.call("stream::set", json!({ "stream_name": "board", "group_id": "g2", "item_id": "c", "data": 4 })).await?;
        worker.call("stream::delete", json!({ "stream_name": "board", "group_id": "g1", "item_id": "a" })).await?;
        worker.call("stream::send", json!({ "stream_name": "board", "group_id": "g1", "type": "typing", "data": { "by": "ann" } })).await?;
        let expected = [
            ("a", json!({ "type": "update", "data": { "n": 2 } })),
            ("b", json!({ "type": "create", "data": 3 })),
            ("a", json!({ "type": "delete", "data": { "n": 2 } })),
        ];
        for (id, event) in &expected {
            let heard = group.hear().await?;
            ensure!(heard["id"] == *id && heard["event"] == *event, "{heard}");
        }
        let heard = group.hear().await?;
        ensure!(heard.get("id") == Some(&Value::Null) && heard["event"] == json!({ "type": "event", "event": { "type": "typing", "data": { "by": "ann" } } }), "{heard}");
        for (_, event) in expected.iter().filter(|(id, _)| *id == "a") {
            let heard = item.hear().await?;
            ensure!(heard["event"] == *event, "{heard}");
        }
        none.hears_nothing().await
    })
    .await;

    suite
        .check("§5.2 nonsense is ignored", async {
            let mut client = client(&stream).await?;
            for text in [
                "",
                "{",
                "7",
                "{}",
                r#"{"type":"dance"}"#,
                r#"{"type":"join"}"#,
                r#"{"type":"join","data":{}}"#,
            ] {
                client
                    .say_raw(tokio_tungstenite::tungstenite::Message::text(text))
                    .await?;
            }
            client.say(join("calm", "g", None)).await?;
            let sync = client.hear().await?;
            ensure!(
                sync["event"] == json!({ "type": "sync", "data": [] }),
                "{sync}"
            );
            Ok(())
        })
        .await;

    suite
        .check("§5.2 after leaving nothing comes", async {
            let mut client = client(&stream).await?;
            client.say(join("left", "g", None)).await?;
            client.hear().await?;
            let mut leave = join("left", "g", None);
            leave["type"] = json!("leave");
            client.say(leave).await?;
            client.say(join("left", "other", None)).await?;
            client.hear().await?;
            worker
                .call(
                    "stream::set",
                    json!({ "stream_name": "left", "group_id": "g", "item_id": "i", "data": 1 }),
                )
                .await?;
            client.hears_nothing().await
        })
        .await;

    suite.check("§4.7 joins and leaves fire triggers, and a join may be refused", async {
        let mut guard = Worker::connect(&url).await?;
        for function in ["sc::join", "sc::leave"] {
            guard.offers(function).await?;
        }
        for (id, kind, function) in [("sc-1", "stream:join", "sc::join"), ("sc-2", "stream:leave", "sc::leave")] {
            guard.say(json!({ "type": "registertrigger", "id": id, "trigger_type": kind, "function_id": function, "config": { "stream_name": "guarded" } })).await?;
        }
        guard.settle().await?;
        let mut client = client(&stream).await?;
        client.say(join("guarded", "g", Some("i"))).await?;
        let call = guard.hear_of("invokefunction").await?;
        ensure!(call["function_id"] == "sc::join" && call["data"]["subscription_id"] == "s-guarded-g" && call["data"]["stream_name"] == "guarded" && call["data"]["group_id"] == "g" && call["data"]["id"] == "i" && call["data"].get("context").is_some(), "{call}");
        guard.answer(&call, json!({ "unauthorized": true })).await?;
        let heard = client.hear().await?;
        ensure!(heard["event"]["type"] == "unauthorized", "{heard}");
        worker.call("stream::set", json!({ "stream_name": "guarded", "group_id": "g", "item_id": "i", "data": 1 })).await?;
        client.hears_nothing().await?;
        client.say(join("guarded", "open", None)).await?;
        guard.serve("sc::join", Value::Null).await?;
        ensure!(client.hear().await?["event"]["type"] == "sync");
        drop(client);
        let call = guard.hear_of("invokefunction").await?;
        ensure!(call["function_id"] == "sc::leave" && call["data"]["group_id"] == "open", "{call}");
        guard.answer(&call, Value::Null).await
    })
    .await;

    suite
        .check("§5.2 two subscriptions that match hear twice", async {
            let mut client = client(&stream).await?;
            let mut second = join("twice", "g", Some("i"));
            second["data"]["subscriptionId"] = json!("other");
            client.say(join("twice", "g", None)).await?;
            client.say(second).await?;
            client.hear().await?;
            client.hear().await?;
            worker
                .call(
                    "stream::set",
                    json!({ "stream_name": "twice", "group_id": "g", "item_id": "i", "data": 1 }),
                )
                .await?;
            ensure!(client.hear().await?["event"]["type"] == "create");
            ensure!(client.hear().await?["event"]["type"] == "create");
            client.hears_nothing().await
        })
        .await;

    suite.check("§5.2 a client that does not read holds nobody up", async {
        let mut lazy = client(&stream).await?;
        lazy.say(join("flood", "g", None)).await?;
        lazy.hear().await?;
        let block = "x".repeat(64 << 10);
        for place in 0..600 {
            let result = worker.call("stream::send", json!({ "stream_name": "flood", "group_id": "g", "type": "t", "data": [place, block] })).await?;
            ensure!(result.get("error").is_none(), "{result}");
        }
        let mut brisk = client(&stream).await?;
        brisk.say(join("flood", "g", None)).await?;
        brisk.hear().await?;
        worker.call("stream::send", json!({ "stream_name": "flood", "group_id": "g", "type": "t", "data": "last" })).await?;
        ensure!(brisk.hear().await?["event"]["event"]["data"] == "last");
        Ok(())
    })
    .await;
    suite.verdict()
}
