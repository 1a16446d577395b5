//! Channels between workers: kind and order, one taker per end, back-pressure, and who is let in.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use agentos_sdk::{Client, Code};
use anyhow::Result;
use serde_json::{Value, json};
use tokio_tungstenite::{
    connect_async,
    tungstenite::{self, client::IntoClientRequest, http::HeaderValue},
};

use crate::harness::{End, Engine, Iii, Item, address, eventually, refused};

async fn create(worker: &Client, input: Value) -> Result<(Value, Value)> {
    let made: Value = worker.trigger("engine::channels::create", &input).await?;
    Ok((made["reader"].clone(), made["writer"].clone()))
}

#[tokio::test]
async fn the_json_dialect_creates_channels_and_they_outlive_their_creator() -> Result<()> {
    let engine = Engine::bare().await?;
    let mut creator = Iii::connect(&engine).await?;
    let made = creator
        .call("engine::channels::create", json!({ "buffer_size": null }))
        .await?;
    let (reader, writer) = (&made["result"]["reader"], &made["result"]["writer"]);
    assert_eq!(
        (&reader["direction"], &writer["direction"]),
        (&json!("read"), &json!("write"))
    );
    assert_eq!(reader["channel_id"], writer["channel_id"]);
    let wrong = creator
        .call("engine::channels::create", json!({ "buffer_size": "many" }))
        .await?;
    assert_eq!(wrong["error"]["code"], "deserialization_error");
    drop(creator);

    // The reader comes last, to what has been written and closed already.
    let mut writing = End::connect(&engine, writer).await?;
    writing.text("{\"kind\":\"control\"}").await?;
    writing.binary("bytes").await?;
    writing.text("").await?;
    writing.binary(vec![7; 1 << 20]).await?;
    writing.close().await?;
    let mut reading = End::connect(&engine, reader).await?;
    assert_eq!(
        reading.next().await?,
        Item::Text("{\"kind\":\"control\"}".into())
    );
    assert_eq!(reading.next().await?, Item::Binary("bytes".into()));
    assert_eq!(reading.next().await?, Item::Text(String::new()));
    assert_eq!(reading.next().await?, Item::Binary(vec![7; 1 << 20].into()));
    assert_eq!(reading.next().await?, Item::Closed(Some(1000)));
    drop(reading);
    eventually("the channel is forgotten", || async {
        (refused(&address(&engine, reader)).await.ok()?.0 == 404).then_some(())
    })
    .await
}

#[tokio::test]
async fn a_reader_that_comes_first_waits_and_a_writer_that_vanishes_has_ended() -> Result<()> {
    let engine = Engine::bare().await?;
    let worker = engine.worker("w").await?;
    let (reader, writer) = create(&worker, json!({})).await?;
    let mut reading = End::connect(&engine, &reader).await?;
    let mut writing = End::connect(&engine, &writer).await?;
    writing.binary("a").await?;
    assert_eq!(reading.next().await?, Item::Binary("a".into()));
    drop(writing);
    assert_eq!(reading.next().await?, Item::Closed(Some(1000)));
    Ok(())
}

#[tokio::test]
async fn a_second_taker_is_shown_out_and_the_first_goes_on() -> Result<()> {
    let engine = Engine::bare().await?;
    let worker = engine.worker("w").await?;
    let (reader, writer) = create(&worker, json!({})).await?;
    let mut writing = End::connect(&engine, &writer).await?;
    let mut reading = End::connect(&engine, &reader).await?;
    for end in [&reader, &writer] {
        let mut late = End::connect(&engine, end).await?;
        assert!(matches!(late.next().await?, Item::Closed(Some(_))));
    }
    writing.text("still here").await?;
    assert_eq!(reading.next().await?, Item::Text("still here".into()));
    Ok(())
}

#[tokio::test]
async fn a_reader_that_leaves_closes_the_writer() -> Result<()> {
    let engine = Engine::bare().await?;
    let worker = engine.worker("w").await?;
    let (reader, writer) = create(&worker, json!({})).await?;
    let mut writing = End::connect(&engine, &writer).await?;
    drop(End::connect(&engine, &reader).await?);
    assert!(matches!(writing.next().await?, Item::Closed(_)));
    Ok(())
}

#[tokio::test]
async fn wrong_doors() -> Result<()> {
    let engine = Engine::bare().await?;
    let worker = engine.worker("w").await?;
    let (reader, _) = create(&worker, json!({})).await?;
    let right = address(&engine, &reader);
    let key = reader["access_key"].as_str().unwrap_or_default();
    let rows = [
        (right.replace("dir=read", "dir=both"), 400, "`dir`"),
        (right.replace("&dir=read", ""), 400, "`dir`"),
        (right.replace(key, "k-90"), 404, "Channel not found"),
        (right.replace("?key=", "?k="), 404, "Channel not found"),
        (
            right.replace("/channels/c", "/channels/b"),
            404,
            "Channel not found",
        ),
        (
            right.replace("/channels/", "/channels/x"),
            404,
            "Channel not found",
        ),
    ];
    for (address, status, body) in rows {
        let (got, text) = refused(&address).await?;
        assert_eq!(got, status, "{address}");
        assert!(text.contains(body), "{address}: {text}");
    }
    for (name, value) in [("origin", "https://evil.example"), ("host", "evil.example")] {
        let mut request = right.as_str().into_client_request()?;
        request
            .headers_mut()
            .insert(name, HeaderValue::from_str(value)?);
        match connect_async(request).await {
            Err(tungstenite::Error::Http(response)) => assert_eq!(response.status(), 403),
            other => panic!("{name}: {other:?}"),
        }
    }
    // None of that took the end; a trailing slash and other parameters are fine.
    let lenient = right
        .replace("?key=", "/?token=wrong&key=not-this-one&key=")
        .replace("&dir", "&x=1&dir");
    let (mut socket, response) = connect_async(lenient).await?;
    assert!(response.headers().get("sec-websocket-protocol").is_none());
    assert_eq!(
        response.headers()["x-iii-capabilities"].to_str()?,
        "tcp-nodelay"
    );
    socket.close(None).await?;
    Ok(())
}

/// The producer is held back by TCP: what the engine, the kernels and the channel hold is far less
/// than what it wants to write.
#[tokio::test]
async fn a_slow_reader_holds_its_writer_back_and_nothing_is_lost() -> Result<()> {
    const CHUNK: usize = 64 << 10;
    const CHUNKS: usize = 2048;
    let engine = Engine::bare().await?;
    let worker = engine.worker("w").await?;
    let (reader, writer) = create(&worker, json!({ "buffer_size": 4 })).await?;
    let mut reading = End::connect(&engine, &reader).await?;
    let mut writing = End::connect(&engine, &writer).await?;
    let written = Arc::new(AtomicUsize::new(0));
    let producer = {
        let written = Arc::clone(&written);
        tokio::spawn(async move {
            for number in 0..CHUNKS {
                writing.binary(vec![number as u8; CHUNK]).await?;
                written.fetch_add(1, Ordering::SeqCst);
            }
            writing.close().await
        })
    };
    // Until it stands still.
    let mut before = 0;
    eventually("the producer is held back", || {
        let now = written.load(Ordering::SeqCst);
        let still = now > 0 && now == before;
        before = now;
        async move {
            tokio::time::sleep(Duration::from_millis(300)).await;
            still.then_some(())
        }
    })
    .await?;
    let held = written.load(Ordering::SeqCst);
    assert!(held < CHUNKS / 2, "{held} of {CHUNKS} chunks were taken");
    for number in 0..CHUNKS {
        match reading.next().await? {
            Item::Binary(bytes) => {
                assert_eq!((bytes.len(), bytes[0]), (CHUNK, number as u8));
            }
            other => panic!("chunk {number}: {other:?}"),
        }
    }
    assert_eq!(reading.next().await?, Item::Closed(Some(1000)));
    producer.await?
}

#[tokio::test]
async fn an_engine_that_stops_closes_channels_and_does_not_wait_for_them() -> Result<()> {
    let mut engine = Engine::bare().await?;
    let worker = engine.worker("w").await?;
    let (reader, writer) = create(&worker, json!({})).await?;
    let mut reading = End::connect(&engine, &reader).await?;
    let mut writing = End::connect(&engine, &writer).await?;
    worker.close().await;
    let ended = tokio::time::timeout(Duration::from_secs(20), engine.terminate());
    let (ended, read, wrote) = tokio::join!(ended, reading.next(), writing.next());
    assert_eq!(ended??, 0);
    assert_eq!(
        (read?, wrote?),
        (Item::Closed(Some(1012)), Item::Closed(Some(1012)))
    );
    Ok(())
}

#[tokio::test]
async fn a_void_input_is_an_empty_one() -> Result<()> {
    let engine = Engine::bare().await?;
    let worker = engine.worker("w").await?;
    create(&worker, Value::Null).await?;
    create(
        &worker,
        json!({ "buffer_size": 1_000_000, "_caller_worker_id": "x" }),
    )
    .await?;
    let negative: Result<Value, _> = worker
        .trigger("engine::channels::create", &json!({ "buffer_size": -1 }))
        .await;
    assert_eq!(negative.expect_err("refused").code, Code::InvalidInput);
    Ok(())
}
