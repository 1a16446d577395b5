//! Streams: the functions, the triggers, and the clients that follow.

use anyhow::{Context, Result};
use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async, tungstenite::Message};

use crate::harness::{Engine, Iii, PATIENCE};

type Socket = WebSocketStream<MaybeTlsStream<tokio::net::TcpStream>>;

/// Calls a function of the engine as a worker of the JSON dialect.
async fn call(worker: &mut Iii, function: &str, input: Value) -> Result<Value> {
    let id = uuid::Uuid::new_v4().to_string();
    let call = json!({ "type": "invokefunction", "invocation_id": id, "function_id": function, "data": input });
    worker.say(&call).await?;
    loop {
        let heard = worker.hear_text().await?;
        if heard["invocation_id"] == json!(id) {
            return Ok(heard);
        }
    }
}

fn item(id: &str) -> Value {
    json!({ "stream_name": "board", "group_id": "g1", "item_id": id })
}

fn with(mut base: Value, key: &str, value: Value) -> Value {
    base[key] = value;
    base
}

async fn follow(engine: &Engine, id: Option<&str>) -> Result<Socket> {
    let url = format!("{}/?token={}", engine.stream, engine.token);
    let (mut socket, _) = connect_async(url).await?;
    let join = json!({ "type": "join", "data": { "subscriptionId": "s-1", "streamName": "board", "groupId": "g1", "id": id } });
    socket.send(Message::text(join.to_string())).await?;
    Ok(socket)
}

async fn event(socket: &mut Socket) -> Result<Value> {
    loop {
        let message = tokio::time::timeout(PATIENCE, socket.next()).await?;
        if let Message::Text(text) = message.context("the stream ended")?? {
            let event: Value = serde_json::from_str(&text)?;
            assert_eq!(
                (&event["type"], &event["streamName"], &event["groupId"]),
                (&json!("stream"), &json!("board"), &json!("g1"))
            );
            return Ok(json!([event["id"], event["event"]]));
        }
    }
}

#[tokio::test]
async fn items_are_kept_and_followers_see_every_change() -> Result<()> {
    let engine = Engine::bare().await?;
    let mut worker = Iii::connect(&engine).await?;
    let set = |id: &str, data: Value| with(item(id), "data", data);
    let first = call(&mut worker, "stream::set", set("a", json!({ "n": 1 }))).await?;
    assert_eq!(
        first["result"],
        json!({ "old_value": null, "new_value": { "n": 1 } })
    );

    let mut group = follow(&engine, None).await?;
    assert_eq!(
        event(&mut group).await?,
        json!([null, { "type": "sync", "data": [{ "n": 1 }] }])
    );
    let mut one = follow(&engine, Some("b")).await?;
    assert_eq!(
        event(&mut one).await?,
        json!(["b", { "type": "sync", "data": null }])
    );

    call(&mut worker, "stream::set", set("a", json!({ "n": 1 }))).await?;
    call(&mut worker, "stream::set", set("b", json!({ "n": 2 }))).await?;
    let ops = json!([{ "type": "increment", "path": "n", "by": 5 }, { "type": "increment", "path": "x", "by": "?" }]);
    let refused = call(&mut worker, "stream::update", with(item("b"), "ops", ops)).await?;
    assert_eq!(refused["error"]["code"], "deserialization_error");
    let ops = json!([{ "type": "increment", "path": "n", "by": 5 }]);
    let updated = call(&mut worker, "stream::update", with(item("b"), "ops", ops)).await?;
    assert_eq!(
        updated["result"],
        json!({ "old_value": { "n": 2 }, "new_value": { "n": 7 } })
    );
    let sent = json!({ "stream_name": "board", "group_id": "g1", "type": "typing", "data": { "by": "ann" } });
    let answer = call(&mut worker, "stream::send", sent).await?;
    assert_eq!((answer.get("result"), answer.get("error")), (None, None));
    let deleted = call(&mut worker, "stream::delete", item("b")).await?;
    assert_eq!(deleted["result"], json!({ "old_value": { "n": 7 } }));
    call(&mut worker, "stream::delete", item("b")).await?;

    let all = [
        json!(["a", { "type": "update", "data": { "n": 1 } }]),
        json!(["b", { "type": "create", "data": { "n": 2 } }]),
        json!(["b", { "type": "update", "data": { "n": 7 } }]),
        json!([null, { "type": "event", "event": { "type": "typing", "data": { "by": "ann" } } }]),
        json!(["b", { "type": "delete", "data": { "n": 7 } }]),
    ];
    for expect in &all {
        assert_eq!(&event(&mut group).await?, expect);
    }
    for expect in [&all[1], &all[2], &all[4]] {
        assert_eq!(&event(&mut one).await?, expect);
    }

    let got = call(&mut worker, "stream::get", item("b")).await?;
    assert_eq!(got.get("result"), None, "a miss is absent");
    let whole = json!({ "stream_name": "board", "group_id": "g1" });
    let list = call(&mut worker, "stream::list", whole.clone()).await?;
    assert_eq!(list["result"], json!([{ "n": 1 }]));
    let groups = call(&mut worker, "stream::list_groups", whole).await?;
    assert_eq!(groups["result"], json!(["g1"]));
    let everything = call(&mut worker, "stream::list_all", json!({})).await?;
    assert_eq!(
        everything["result"],
        json!({ "stream": [{ "id": "board", "groups": ["g1"] }], "count": 1 })
    );
    Ok(())
}

#[tokio::test]
async fn handlers_hear_of_changes_and_decide_who_follows() -> Result<()> {
    let engine = Engine::bare().await?;
    let mut worker = Iii::connect(&engine).await?;
    for (kind, config) in [
        (
            "stream",
            json!({ "stream_name": "board", "group_id": "g1" }),
        ),
        ("stream:join", json!({})),
        ("stream:leave", json!({})),
    ] {
        let function = format!("on::{kind}");
        worker
            .say(&json!({ "type": "registerfunction", "id": function }))
            .await?;
        worker.say(&json!({ "type": "registertrigger", "id": kind, "trigger_type": kind, "function_id": function, "config": config })).await?;
    }
    worker.say(&json!({ "type": "registertrigger", "id": "bad", "trigger_type": "stream", "function_id": "on::stream", "config": {} })).await?;
    let refused = worker.hear_text().await?;
    assert_eq!(
        (&refused["type"], &refused["id"]),
        (&json!("triggerregistrationresult"), &json!("bad"))
    );
    assert!(
        refused["error"]["message"]
            .to_string()
            .contains("stream_name")
    );

    let mut writer = Iii::connect(&engine).await?;
    call(
        &mut writer,
        "stream::set",
        with(item("card-9"), "data", json!({ "title": "x" })),
    )
    .await?;
    let mut heard = worker.hear_text().await?;
    let payload = heard["data"].take();
    assert_eq!(heard["function_id"], "on::stream");
    assert_eq!(
        (
            &payload["type"],
            &payload["streamName"],
            &payload["groupId"],
            &payload["id"],
            &payload["event"]
        ),
        (
            &json!("stream"),
            &json!("board"),
            &json!("g1"),
            &json!("card-9"),
            &json!({ "type": "create", "data": { "title": "x" } })
        )
    );

    for (answer, expect) in [
        (json!({ "unauthorized": true }), "unauthorized"),
        (Value::Null, "sync"),
    ] {
        let mut client = follow(&engine, None).await?;
        let asked = worker.hear_text().await?;
        assert_eq!(asked["function_id"], "on::stream:join");
        assert_eq!(
            asked["data"],
            json!({ "subscription_id": "s-1", "stream_name": "board", "group_id": "g1", "id": null, "context": null })
        );
        worker
            .say(&json!({ "type": "invocationresult", "invocation_id": asked["invocation_id"], "function_id": "on::stream:join", "result": answer }))
            .await?;
        assert_eq!(event(&mut client).await?[1]["type"], expect);
        client.close(None).await?;
    }
    assert_eq!(worker.hear_text().await?["function_id"], "on::stream:leave");
    Ok(())
}

#[tokio::test]
async fn whoever_registers_the_functions_of_a_stream_keeps_it() -> Result<()> {
    let engine = Engine::bare().await?;
    let mut owner = Iii::connect(&engine).await?;
    for verb in ["set", "get"] {
        owner
            .say(&json!({ "type": "registerfunction", "id": format!("stream::{verb}(board)") }))
            .await?;
    }
    owner.say(&json!({ "type": "ping" })).await?;
    owner.hear_text().await?;
    let mut client = follow(&engine, Some("a")).await?;
    let asked = owner.hear_text().await?;
    assert_eq!(
        (&asked["function_id"], &asked["data"]["item_id"]),
        (&json!("stream::get(board)"), &json!("a"))
    );
    let say = |asked: &Value, result: Value| json!({ "type": "invocationresult", "invocation_id": asked["invocation_id"], "function_id": asked["function_id"], "result": result });
    owner.say(&say(&asked, Value::Null)).await?;
    assert_eq!(
        event(&mut client).await?[1],
        json!({ "type": "sync", "data": null })
    );

    let mut worker = Iii::connect(&engine).await?;
    let setting = call(
        &mut worker,
        "stream::set",
        with(item("a"), "data", json!(1)),
    );
    let keeping = async {
        let asked = owner.hear_text().await?;
        assert_eq!(asked["data"]["data"], 1);
        owner
            .say(&say(
                &asked,
                json!({ "old_value": null, "new_value": { "kept": 1 } }),
            ))
            .await
    };
    let (set, kept) = tokio::join!(setting, keeping);
    kept?;
    assert_eq!(set?["result"]["new_value"], json!({ "kept": 1 }));
    assert_eq!(
        event(&mut client).await?[1],
        json!({ "type": "create", "data": { "kept": 1 } })
    );
    Ok(())
}

#[tokio::test]
async fn the_door_of_the_streams() -> Result<()> {
    let engine = Engine::bare().await?;
    let refused = connect_async(engine.stream.as_str())
        .await
        .expect_err("no token");
    assert!(refused.to_string().contains("401"), "{refused}");
    let elsewhere = format!("{}/x?token={}", engine.stream, engine.token);
    assert!(connect_async(elsewhere).await.is_err());
    Ok(())
}
