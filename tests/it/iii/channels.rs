//! §1.9: channels at the level of sockets.

use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio_tungstenite::{
    connect_async,
    tungstenite::{self, Message},
};

use super::{
    check::Suite,
    setup::Setup,
    worker::{PATIENCE, Socket, Worker, dial},
};

/// A new channel: its two refs.
async fn channel(worker: &mut Worker, input: Value) -> Result<(Value, Value)> {
    let result = worker.call("engine::channels::create", input).await?;
    ensure!(result["result"].is_object(), "{result}");
    Ok((
        result["result"]["writer"].clone(),
        result["result"]["reader"].clone(),
    ))
}

fn address(url: &str, end: &Value) -> String {
    let text = |key: &str| end[key].as_str().unwrap_or_default().to_owned();
    format!(
        "{url}/ws/channels/{}?key={}&dir={}",
        text("channel_id"),
        text("access_key"),
        text("direction")
    )
}

async fn next(socket: &mut Socket) -> Result<Message> {
    let until = tokio::time::Instant::now() + PATIENCE;
    loop {
        match tokio::time::timeout_at(until, socket.next())
            .await
            .context("nothing comes")?
        {
            Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
            Some(Ok(message)) => return Ok(message),
            Some(Err(error)) => bail!("it broke: {error}"),
            None => bail!("it ended"),
        }
    }
}

/// Waits for the end, taking what comes.
async fn ends(socket: &mut Socket) -> Result<()> {
    tokio::time::timeout(PATIENCE, async {
        while let Some(Ok(message)) = socket.next().await {
            if message.is_close() {
                break;
            }
        }
    })
    .await
    .context("it stays open")
}

async fn status(url: &str) -> Result<(u16, String)> {
    match connect_async(url).await {
        Ok(_) => Ok((101, String::new())),
        Err(tungstenite::Error::Http(response)) => {
            let (head, body) = response.into_parts();
            Ok((
                head.status.as_u16(),
                String::from_utf8_lossy(&body.unwrap_or_default()).into_owned(),
            ))
        }
        Err(other) => bail!("no answer: {other}"),
    }
}

#[tokio::test]
async fn channels_as_sockets() -> Result<()> {
    let mut suite = Suite::default();
    let setup = Setup::start().await?;
    let url = setup.engine.url.clone();
    let mut maker = Worker::connect(&url).await?;

    suite
        .check("§1.9 refs have exactly three texts", async {
            let (writer, reader) = channel(&mut maker, json!({})).await?;
            for (end, direction) in [(&writer, "write"), (&reader, "read")] {
                ensure!(
                    end.as_object().map(serde_json::Map::len) == Some(3)
                        && end["direction"] == direction,
                    "{end}"
                );
            }
            ensure!(writer["channel_id"] == reader["channel_id"]);
            ensure!(
                writer["access_key"]
                    .as_str()
                    .is_some_and(|key| key.len() >= 16),
                "{writer}"
            );
            Ok(())
        })
        .await;

    suite
        .check(
            "§1.9 wrong ids, keys and directions are refused before the upgrade",
            async {
                let (writer, reader) = channel(&mut maker, json!({})).await?;
                let id = writer["channel_id"].as_str().unwrap_or_default();
                let key = reader["access_key"].as_str().unwrap_or_default();
                for (path, expected) in [
                    (format!("/ws/channels/no-such?key={key}&dir=read"), 404),
                    (format!("/ws/channels/{id}?key=wrong&dir=read"), 404),
                    (format!("/ws/channels/{id}?dir=read"), 404),
                    (format!("/ws/channels/{id}?key={key}"), 400),
                    (format!("/ws/channels/{id}?key={key}&dir=sideways"), 400),
                ] {
                    let (found, body) = status(&format!("{url}{path}")).await?;
                    ensure!(found == expected, "{path}: {found} {body}");
                    if found == 404 {
                        ensure!(body.contains("Channel not found"), "{path}: {body}");
                    }
                }
                Ok(())
            },
        )
        .await;

    suite
        .check(
            "§1.9 text and binary keep kind and order, then the reader is closed",
            async {
                let (writer, reader) = channel(&mut maker, json!({ "buffer_size": 2 })).await?;
                let mut from = dial(&address(&url, &reader), &[]).await?;
                let mut to = dial(&format!("{}&extra=1", address(&url, &writer)), &[]).await?;
                let items = [
                    Message::text("a"),
                    Message::binary(vec![1, 2]),
                    Message::binary(Vec::new()),
                    Message::text(""),
                    Message::text("z"),
                ];
                for item in &items {
                    to.send(item.clone()).await?;
                }
                to.close(None).await?;
                for item in &items {
                    let heard = next(&mut from).await?;
                    ensure!(heard == *item, "{heard:?} for {item:?}");
                }
                let end = next(&mut from).await?;
                let Message::Close(frame) = end else {
                    bail!("{end:?}")
                };
                ensure!(
                    frame.is_none_or(|frame| u16::from(frame.code) == 1000),
                    "the reader's end is an orderly one"
                );
                Ok(())
            },
        )
        .await;

    suite
        .check("§1.9 each end is taken once", async {
            let (writer, reader) = channel(&mut maker, json!({})).await?;
            let mut first = dial(&address(&url, &reader), &[]).await?;
            let mut second = dial(&address(&url, &reader), &[]).await?;
            ends(&mut second).await?;
            let mut to = dial(&address(&url, &writer), &[]).await?;
            let mut late = dial(&address(&url, &writer), &[]).await?;
            ends(&mut late).await?;
            to.send(Message::text("x")).await?;
            ensure!(next(&mut first).await? == Message::text("x"));
            Ok(())
        })
        .await;

    suite
        .check("§1.9 a writer that drops is an end like another", async {
            let (writer, reader) = channel(&mut maker, json!({})).await?;
            let mut from = dial(&address(&url, &reader), &[]).await?;
            let mut to = dial(&address(&url, &writer), &[]).await?;
            to.send(Message::text("x")).await?;
            ensure!(next(&mut from).await? == Message::text("x"));
            drop(to);
            ends(&mut from).await
        })
        .await;

    suite
        .check("§1.9 a reader that goes closes the writer", async {
            let (writer, reader) = channel(&mut maker, json!({})).await?;
            let from = dial(&address(&url, &reader), &[]).await?;
            let mut to = dial(&address(&url, &writer), &[]).await?;
            drop(from);
            ends(&mut to).await
        })
        .await;

    suite
        .check("§1.9 a full channel stops reading its writer", async {
            let (writer, reader) = channel(&mut maker, json!({ "buffer_size": 1 })).await?;
            let mut to = dial(&address(&url, &writer), &[]).await?;
            let block = vec![7_u8; 64 << 10];
            let mut sent = 0_u32;
            // Far more than buffers on the way hold.
            while sent < 2_000
                && tokio::time::timeout(
                    Duration::from_millis(500),
                    to.send(Message::binary(block.clone())),
                )
                .await
                .is_ok()
            {
                sent += 1;
            }
            ensure!(sent < 2_000, "128 MiB went into a channel of one item");
            let mut from = dial(&address(&url, &reader), &[]).await?;
            let writing = tokio::spawn(async move {
                to.flush().await?;
                to.close(None).await
            });
            let mut heard = 0_u32;
            while let Message::Binary(bytes) = next(&mut from).await? {
                ensure!(bytes.len() == block.len());
                heard += 1;
            }
            writing.await??;
            ensure!(heard == sent || heard == sent + 1, "{heard} of {sent}");
            Ok(())
        })
        .await;

    suite
        .check(
            "§1.9 buffer sizes out of bounds are taken as the nearest",
            async {
                for size in [
                    json!(0),
                    json!(1),
                    json!(1024),
                    json!(1_000_000),
                    Value::Null,
                ] {
                    channel(&mut maker, json!({ "buffer_size": size })).await?;
                }
                Ok(())
            },
        )
        .await;

    suite
        .check("§1.9 a channel has no owner", async {
            let mut other = Worker::connect(&url).await?;
            let (writer, reader) = channel(&mut other, json!({})).await?;
            drop(other);
            tokio::time::sleep(Duration::from_millis(200)).await;
            let mut to = dial(&address(&url, &writer), &[]).await?;
            to.send(Message::text("still")).await?;
            let mut from = dial(&address(&url, &reader), &[]).await?;
            ensure!(next(&mut from).await? == Message::text("still"));
            Ok(())
        })
        .await;
    suite.verdict()
}
