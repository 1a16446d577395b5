//! What clients of streams may rely on: order, what is not lost, who may come in, and who is held
//! up by whom.

use std::time::Duration;

use agentos_sdk::{Client, Code, Error, Registrar};
use anyhow::{Context, Result};
use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async, tungstenite::Message};

use crate::harness::{Engine, PATIENCE, eventually};

/// A client of streams.
struct Watcher(WebSocketStream<MaybeTlsStream<tokio::net::TcpStream>>);

impl Watcher {
    async fn connect(engine: &Engine) -> Result<Self> {
        Self::open(engine, "").await
    }

    /// Connects with the token and more in the query.
    async fn open(engine: &Engine, more: &str) -> Result<Self> {
        let url = format!("{}/?token={}{more}", engine.stream, engine.token);
        Ok(Watcher(connect_async(url).await?.0))
    }

    async fn say(&mut self, message: &Value) -> Result<()> {
        Ok(self.0.send(Message::text(message.to_string())).await?)
    }

    async fn join(&mut self, id: &str, item: Option<&str>) -> Result<()> {
        let data = json!({ "subscriptionId": id, "streamName": "s", "groupId": "g", "id": item });
        self.say(&json!({ "type": "join", "data": data })).await
    }

    async fn leave(&mut self, id: &str) -> Result<()> {
        let data = json!({ "subscriptionId": id, "streamName": "s", "groupId": "g" });
        self.say(&json!({ "type": "leave", "data": data })).await
    }

    /// The next frame; `Err` with the close code when there is none.
    async fn hear(&mut self) -> Result<Result<Value, Option<u16>>> {
        loop {
            let heard = tokio::time::timeout(PATIENCE, self.0.next()).await;
            match heard.context("nothing is heard")? {
                Some(Ok(Message::Text(text))) => return Ok(Ok(serde_json::from_str(&text)?)),
                Some(Ok(Message::Close(frame))) => {
                    return Ok(Err(frame.map(|frame| frame.code.into())));
                }
                Some(Ok(_)) => {}
                Some(Err(_)) | None => return Ok(Err(None)),
            }
        }
    }

    async fn frame(&mut self) -> Result<Value> {
        let heard = self.hear().await?;
        heard.map_err(|code| anyhow::anyhow!("the connection closed with {code:?}"))
    }

    /// The next event's item and body.
    async fn event(&mut self) -> Result<(Option<String>, Value)> {
        let mut frame = self.frame().await?;
        let id = frame["id"].as_str().map(str::to_owned);
        Ok((id, frame["event"].take()))
    }

    async fn kind(&mut self) -> Result<String> {
        let (_, event) = self.event().await?;
        Ok(event["type"].as_str().unwrap_or_default().to_owned())
    }
}

fn item(id: &str, data: &Value) -> Value {
    json!({ "stream_name": "s", "group_id": "g", "item_id": id, "data": data })
}

async fn set(worker: &Client, id: &str, data: Value) -> Result<Value> {
    Ok(worker.trigger("stream::set", &item(id, &data)).await?)
}

/// Offers `id`, which tells what it is called with and answers what `answer` says.
async fn offer(
    worker: &Client,
    id: &str,
    answer: impl Fn(&Value) -> Result<Value, Error> + Send + Sync + 'static,
) -> Result<mpsc::Receiver<Value>> {
    let (tell, called) = mpsc::channel(64);
    worker
        .function(id, move |_, input: Value| {
            let answer = answer(&input);
            // The test may have heard enough.
            let _ = tell.try_send(input);
            async move { answer }
        })
        .await?;
    Ok(called)
}

async fn bind(worker: &Client, kind: &str, function: &str) -> Result<()> {
    let mut registrar = Registrar::new();
    registrar.trigger(kind, function, json!({}));
    Ok(worker.register(registrar).await?)
}

async fn next(called: &mut mpsc::Receiver<Value>) -> Result<Value> {
    let called = tokio::time::timeout(PATIENCE, called.recv()).await;
    called.context("nobody calls")?.context("nobody can call")
}

#[tokio::test]
async fn whoever_joins_while_items_change_ends_up_with_what_is_there() -> Result<()> {
    const ITEMS: u64 = 5;
    const ROUNDS: u64 = 40;
    let engine = Engine::bare().await?;
    let worker = engine.worker("writer").await?;
    let writing = tokio::spawn({
        let worker = worker.clone();
        async move {
            for round in 1..=ROUNDS {
                for id in 0..ITEMS {
                    let data = json!({ "id": id, "round": round });
                    set(&worker, &id.to_string(), data).await?;
                }
            }
            anyhow::Ok(())
        }
    });
    let mut watchers = Vec::new();
    while !writing.is_finished() && watchers.len() < 60 {
        let mut watcher = Watcher::connect(&engine).await?;
        watcher.join("s-1", None).await?;
        watchers.push(watcher);
    }
    writing.await??;
    let last = json!({ "stream_name": "s", "group_id": "g", "type": "last" });
    worker.trigger::<()>("stream::send", &last).await?;

    let mut heard_live = 0;
    for mut watcher in watchers {
        let (_, sync) = watcher.event().await?;
        assert_eq!(sync["type"], "sync", "it comes first");
        let round = |item: &Value| item["round"].as_u64().unwrap_or_default();
        let mut known = [0; ITEMS as usize];
        for item in sync["data"].as_array().context("a group is an array")? {
            known[usize::try_from(item["id"].as_u64().unwrap_or_default())?] = round(item);
        }
        loop {
            let (id, event) = watcher.event().await?;
            if event["type"] == "event" {
                break;
            }
            let at: usize = id.context("items have ids")?.parse()?;
            assert_eq!(
                round(&event["data"]),
                known[at] + 1,
                "none lost, none twice"
            );
            known[at] += 1;
            heard_live += 1;
        }
        assert_eq!(known, [ROUNDS; ITEMS as usize]);
    }
    assert!(heard_live > 0, "somebody joined in time");
    Ok(())
}

#[tokio::test]
async fn events_of_an_item_come_in_the_order_of_its_writes() -> Result<()> {
    const WRITES: u64 = 200;
    let engine = Engine::bare().await?;
    let worker = engine.worker("writer").await?;
    let mut watcher = Watcher::connect(&engine).await?;
    watcher.join("s-1", Some("n")).await?;
    assert_eq!(
        watcher.event().await?.1,
        json!({ "type": "sync", "data": null })
    );
    let ops = json!([{ "type": "increment", "path": "", "by": 1 }]);
    let update = json!({ "stream_name": "s", "group_id": "g", "item_id": "n", "ops": ops });
    let writes = (0..WRITES).map(|_| worker.trigger::<Value>("stream::update", &update));
    for written in futures_util::future::join_all(writes).await {
        written?;
    }
    for expect in 1..=WRITES {
        let (_, event) = watcher.event().await?;
        assert_eq!(event["data"], expect);
    }
    Ok(())
}

#[tokio::test]
async fn acknowledged_items_survive_kill_9() -> Result<()> {
    let mut engine = Engine::bare().await?;
    let mut acknowledged = Vec::new();
    for round in 0..3 {
        let worker = engine.worker("writer").await?;
        let ids = (0..50).map(|number| format!("{round}-{number:02}"));
        let writes = ids.map(|id| {
            let worker = worker.clone();
            tokio::spawn(async move { set(&worker, &id, json!(id)).await.map(|_| id) })
        });
        for write in writes.collect::<Vec<_>>() {
            acknowledged.push(write.await??);
        }
        let folder = engine.kill()?;
        engine = Engine::start_in(folder, "", &["--no-workers"]).await?;
        let reader = engine.worker("reader").await?;
        let group = json!({ "stream_name": "s", "group_id": "g" });
        let there: Vec<String> = reader.trigger("stream::list", &group).await?;
        assert_eq!(there, acknowledged, "round {round}");
    }
    Ok(())
}

#[tokio::test]
async fn a_client_that_does_not_read_loses_the_oldest_and_holds_up_nobody() -> Result<()> {
    const EVENTS: u64 = 600;
    let config = "stream: { channel_size: 8 }\n";
    let engine = Engine::start(config, &["--no-workers"]).await?;
    let worker = engine.worker("sender").await?;
    let mut lazy = Watcher::connect(&engine).await?;
    let mut brisk = Watcher::connect(&engine).await?;
    for watcher in [&mut lazy, &mut brisk] {
        watcher.join("s-1", None).await?;
        assert_eq!(watcher.kind().await?, "sync");
    }
    // More than the sockets of both ends hold.
    let block = "x".repeat(64 << 10);
    for number in 0..EVENTS {
        let data = json!([number, block]);
        let event = json!({ "stream_name": "s", "group_id": "g", "type": "t", "data": data });
        worker.trigger::<()>("stream::send", &event).await?;
        let (_, heard) = brisk.event().await?;
        assert_eq!(heard["event"]["data"][0], number);
    }
    let mut heard = Vec::new();
    while heard.last() != Some(&(EVENTS - 1)) {
        let (_, event) = lazy.event().await?;
        heard.extend(event["event"]["data"][0].as_u64());
    }
    assert!(heard.is_sorted(), "in order");
    assert!((heard.len() as u64) < EVENTS, "some were lost");
    let newest: Vec<u64> = (EVENTS - 8..EVENTS).collect();
    assert_eq!(heard[heard.len() - 8..], newest, "not the newest");
    // And then it is in step again.
    lazy.join("s-1", None).await?;
    assert_eq!(lazy.kind().await?, "sync");
    Ok(())
}

#[tokio::test]
async fn the_authentication_function_says_who_a_client_is() -> Result<()> {
    let config = "stream: { auth_function: guard::auth }\n";
    let engine = Engine::start(config, &["--no-workers"]).await?;

    let mut early = Watcher::connect(&engine).await?;
    assert_eq!(early.hear().await?, Err(Some(1008)), "nobody can say yet");

    let worker = engine.worker("guard").await?;
    let mut asked = offer(
        &worker,
        "guard::auth",
        |visitor| match visitor["query_params"]["user"][0].as_str() {
            Some("mallory") => Err(Error::worker(Code::Failed, "not you")),
            user => Ok(json!({ "context": { "user": user } })),
        },
    )
    .await?;
    let mut joined = offer(&worker, "guard::join", |visit| {
        Ok(json!({ "unauthorized": visit["id"] == "secret" }))
    })
    .await?;
    let mut left = offer(&worker, "guard::leave", |_| Ok(json!(null))).await?;
    for kind in ["join", "leave"] {
        let (kind, function) = (format!("stream:{kind}"), format!("guard::{kind}"));
        bind(&worker, &kind, &function).await?;
    }

    let mut refused = Watcher::open(&engine, "&user=mallory").await?;
    assert_eq!(refused.hear().await?, Err(Some(1008)));
    next(&mut asked).await?;

    let mut ann = Watcher::open(&engine, "&user=ann").await?;
    ann.join("s-1", Some("secret")).await?;
    assert_eq!(ann.kind().await?, "unauthorized");
    ann.join("s-2", None).await?;
    assert_eq!(ann.kind().await?, "sync");
    let visitor = next(&mut asked).await?;
    assert_eq!(
        (&visitor["path"], &visitor["query_params"]["user"]),
        (&json!("/"), &json!(["ann"]))
    );
    assert!(visitor["headers"]["host"].is_string(), "{visitor}");
    let address: std::net::SocketAddr = serde_json::from_value(visitor["addr"].clone())?;
    assert!(address.ip().is_loopback());

    let visit = |id: &str, item: Value| json!({ "subscription_id": id, "stream_name": "s", "group_id": "g", "id": item, "context": { "user": "ann" } });
    assert_eq!(next(&mut joined).await?, visit("s-1", json!("secret")));
    assert_eq!(next(&mut joined).await?, visit("s-2", json!(null)));
    set(&worker, "secret", json!(1)).await?;
    assert_eq!(ann.kind().await?, "create", "of the group, and once");

    // By a word, by joining anew, and by the end of the connection.
    ann.join("s-2", Some("i")).await?;
    assert_eq!(ann.kind().await?, "sync");
    assert_eq!(next(&mut left).await?, visit("s-2", json!(null)));
    ann.leave("s-2").await?;
    assert_eq!(next(&mut left).await?, visit("s-2", json!("i")));
    ann.join("s-3", None).await?;
    ann.join("s-4", None).await?;
    assert_eq!(
        (ann.kind().await?, ann.kind().await?),
        ("sync".into(), "sync".into())
    );
    drop(ann);
    let mut gone = [next(&mut left).await?, next(&mut left).await?];
    gone.sort_by_key(|visit| visit["subscription_id"].to_string());
    assert_eq!(gone, [visit("s-3", json!(null)), visit("s-4", json!(null))]);
    Ok(())
}

#[tokio::test]
async fn a_slow_or_failing_guard_lets_nobody_in_and_nobody_wait() -> Result<()> {
    let config = "stream: { join_timeout_ms: 300 }\n";
    let engine = Engine::start(config, &["--no-workers"]).await?;
    let worker = engine.worker("guard").await?;
    let mut open = Watcher::connect(&engine).await?;
    open.join("s-1", None).await?;
    assert_eq!(open.kind().await?, "sync");
    worker
        .function("guard::join", |_, visit: Value| async move {
            match visit["id"].as_str() {
                Some("fails") => Err(Error::worker(Code::Failed, "no")),
                Some("hangs") => std::future::pending().await,
                _ => Ok(json!(null)),
            }
        })
        .await?;
    bind(&worker, "stream:join", "guard::join").await?;
    open.join("s-2", Some("fails")).await?;
    open.join("s-3", Some("hangs")).await?;
    // While the guard thinks, the client hears what it may.
    set(&worker, "hangs", json!(1)).await?;
    assert_eq!(open.kind().await?, "create");
    open.join("s-4", Some("hangs else")).await?;
    let (id, event) = open.event().await?;
    assert_eq!(
        (id.as_deref(), &event["type"]),
        (Some("hangs else"), &json!("sync"))
    );
    set(&worker, "fails", json!(1)).await?;
    set(&worker, "last", json!(1)).await?;
    for expect in ["fails", "last"] {
        assert_eq!(open.event().await?.0.as_deref(), Some(expect), "once");
    }
    Ok(())
}

#[tokio::test]
async fn bounds() -> Result<()> {
    let config = "stream: { clients_max: 2, subscriptions_max: 1, message_bytes_max: 1024, ping_interval_ms: 200 }\n";
    let engine = Engine::start(config, &["--no-workers"]).await?;
    let mut one = Watcher::connect(&engine).await?;
    let mut two = Watcher::connect(&engine).await?;
    let refused = Watcher::connect(&engine).await.err().context("a third")?;
    assert!(refused.to_string().contains("503"), "{refused}");

    one.join("s-1", None).await?;
    assert_eq!(one.kind().await?, "sync");
    one.join("s-2", None).await?;
    assert_eq!(one.kind().await?, "unauthorized");
    one.join("s-1", Some("i")).await?;
    assert_eq!(one.kind().await?, "sync", "in place of the first");
    one.leave("s-1").await?;
    one.join("s-2", None).await?;
    assert_eq!(one.kind().await?, "sync");

    two.say(&json!({ "type": "x".repeat(2000) })).await?;
    assert_eq!(two.hear().await?, Err(Some(1009)));
    let room = || async { Watcher::connect(&engine).await.ok() };
    let mut three = eventually("room after one was sent away", room).await?;

    // One that answers pings stays; one that does not is gone, and its room is free.
    let waited = tokio::time::timeout(Duration::from_millis(1500), one.hear()).await;
    assert!(waited.is_err(), "{waited:?}");
    eventually("room after silence", room).await?;
    assert!(three.hear().await?.is_err());
    Ok(())
}

#[tokio::test]
async fn an_engine_that_stops_tells_its_clients() -> Result<()> {
    let mut engine = Engine::bare().await?;
    let mut watcher = Watcher::connect(&engine).await?;
    watcher.join("s-1", None).await?;
    assert_eq!(watcher.kind().await?, "sync");
    let (status, heard) = tokio::join!(engine.terminate(), watcher.hear());
    assert_eq!(heard?, Err(Some(1012)));
    assert_eq!(status?, 0, "{}", engine.log());
    Ok(())
}

#[tokio::test]
async fn a_port_that_is_taken_is_told() -> Result<()> {
    let taken = std::net::TcpListener::bind("127.0.0.1:0")?;
    let port = taken.local_addr()?.port().to_string();
    let config = format!("listen: {{ stream: {{ port: {port} }} }}\n");
    let arguments = ["--no-workers", "--http-port", "0", "--bus-port", "0"];
    let folder = tempfile::tempdir()?;
    let error = Engine::start_as(folder, &config, &arguments, &[])
        .await
        .err();
    let error = error.context("it cannot start")?.to_string();
    assert!(
        error.contains("listen.stream.port") && error.contains(&port),
        "{error}"
    );
    Ok(())
}

/// Joins the whole group, after `offset` if there is one.
async fn come_back(engine: &Engine, offset: Option<&Value>) -> Result<Watcher> {
    let mut watcher = Watcher::connect(engine).await?;
    let mut data =
        json!({ "subscriptionId": "s-1", "streamName": "s", "groupId": "g", "offsets": true });
    if let Some(offset) = offset {
        data["after"] = offset.clone();
    }
    watcher
        .say(&json!({ "type": "join", "data": data }))
        .await?;
    Ok(watcher)
}

#[tokio::test]
async fn who_comes_back_hears_the_rest_and_nothing_twice() -> Result<()> {
    const WRITES: u64 = 400;
    let engine = Engine::bare().await?;
    let worker = engine.worker("writer").await?;
    let mut watcher = come_back(&engine, None).await?;
    let frame = watcher.frame().await?;
    assert_eq!(frame["event"], json!({ "type": "sync", "data": [] }));
    let mut offset = frame["offset"].clone();
    let writing = tokio::spawn(async move {
        for number in 0..WRITES {
            set(&worker, "counter", json!(number)).await?;
        }
        anyhow::Ok(())
    });
    let mut next = 0;
    let mut returns = 0;
    while next < WRITES {
        // A few frames, and the connection is gone without a word.
        for _ in 0..=returns % 23 {
            let frame = watcher.frame().await?;
            offset = frame["offset"].clone();
            if frame["event"]["type"] != "resumed" {
                assert_eq!(
                    frame["event"]["data"], next,
                    "after {returns} returns: {frame}"
                );
                next += 1;
            }
            if next == WRITES {
                break;
            }
        }
        drop(watcher);
        watcher = come_back(&engine, Some(&offset)).await?;
        returns += 1;
    }
    writing.await??;
    assert!(returns > 10, "only {returns} returns");
    // One who knows everything hears nothing but that.
    let frame = watcher.frame().await?;
    assert_eq!(frame["event"], json!({ "type": "resumed" }));

    // Another life of the engine knows nothing of it, and shows how things are.
    let folder = engine.kill()?;
    let engine = Engine::start_in(folder, "", &["--no-workers"]).await?;
    let mut watcher = come_back(&engine, Some(&offset)).await?;
    let frame = watcher.frame().await?;
    assert_eq!(
        frame["event"],
        json!({ "type": "sync", "data": [WRITES - 1] })
    );
    Ok(())
}

#[tokio::test]
async fn who_asked_for_everything_and_is_too_slow_is_sent_away() -> Result<()> {
    let settings = "stream: { channel_size: 4, history_events_max: 1000 }\n";
    let engine = Engine::start(settings, &["--no-workers"]).await?;
    let worker = engine.worker("writer").await?;
    let mut watcher = come_back(&engine, None).await?;
    let frame = watcher.frame().await?;
    let mut offset = frame["offset"].clone();
    // More than the socket's buffers take while nobody reads.
    let large = "x".repeat(256 << 10);
    for number in 0..100 {
        let data = json!({ "number": number, "large": large });
        set(&worker, "counter", data).await?;
    }
    let mut next = 0;
    let code = loop {
        match watcher.hear().await? {
            Ok(frame) => {
                assert_eq!(frame["event"]["data"]["number"], next);
                offset = frame["offset"].clone();
                next += 1;
            }
            Err(code) => break code,
        }
    };
    assert_eq!(code, Some(1013), "after {next} events");
    assert!(next < 100);
    let mut watcher = come_back(&engine, Some(&offset)).await?;
    // So much is not remembered in bytes: it is shown how things are.
    let frame = watcher.frame().await?;
    assert_eq!(frame["event"]["data"][0]["number"], 99);
    Ok(())
}
