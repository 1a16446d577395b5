//! §1.2 and §1.3: what a frame may be.

use anyhow::{Result, ensure};
use futures_util::SinkExt;
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;
use tokio_tungstenite::tungstenite::{
    Message,
    protocol::frame::{
        Frame,
        coding::{Data, OpCode},
    },
};

use super::{check::Suite, setup::Setup, worker::Worker};

#[tokio::test]
async fn frames_of_every_kind() -> Result<()> {
    let mut suite = Suite::default();
    let setup = Setup::start().await?;
    let url = setup.engine.url.clone();

    suite
        .check(
            "§1.2 what is no message is ignored and the connection stays",
            async {
                let mut worker = Worker::connect(&url).await?;
                let frames = [
                    "",
                    "  \n\t ",
                    "{",
                    "[]",
                    "7",
                    "null",
                    "{}",
                    "\u{feff}{}",
                    r#"{"type":7}"#,
                    r#"{"type":"no such type","x":1}"#,
                    r#"{"type":"invokefunction"}"#,
                    r#"{"type":"registertrigger"}"#,
                    r#"{"type":"registerfunction"}"#,
                    r#"{"type":"invocationresult"}"#,
                    r#"{"type":"REGISTERFUNCTION","id":"x"}"#,
                    &"[".repeat(100_000),
                    &r#"{"a":"#.repeat(50_000),
                ];
                for frame in frames {
                    worker.say_raw(Message::text(frame)).await?;
                }
                for frame in [
                    &b""[..],
                    b"\xff\xfe",
                    b"OTL",
                    b"OTLP",
                    b"OTLP{",
                    b"LOGS\xff",
                    b"MTRC[]",
                    b"{",
                ] {
                    worker.say_raw(Message::binary(frame.to_vec())).await?;
                }
                worker.settle().await
            },
        )
        .await;

    suite
        .check("§1.2 a binary frame that is JSON is a message", async {
            let mut worker = Worker::connect(&url).await?;
            worker
                .say_raw(Message::binary(br#"{"type":"ping"}"#.to_vec()))
                .await?;
            ensure!(worker.hear().await?["type"] == "pong");
            Ok(())
        })
        .await;

    suite.check("§1.2 unknown fields and message_type are ignored", async {
        let mut worker = Worker::connect(&url).await?;
        worker.say(json!({ "type": "registerfunction", "message_type": "registerfunction", "id": "fr::extra", "extra": { "deep": [1] }, "description": null, "metadata": null, "request_format": null, "response_format": null, "invocation": null })).await?;
        worker.say(json!({ "type": "registertrigger", "message_type": "registertrigger", "id": "t1", "trigger_type": "state", "function_id": "fr::extra", "config": { "scope": "fr" }, "namespace": null, "trigger_namespace": null, "metadata": null })).await?;
        worker.say(json!({ "type": "unregistertrigger", "message_type": "unregistertrigger", "id": "t1", "trigger_type": "state" })).await?;
        let id = worker.calls("fr::extra", json!(1)).await?;
        worker.serve("fr::extra", json!(2)).await?;
        let result = worker.hear_of("invocationresult").await?;
        ensure!(result["invocation_id"] == *id && result["result"] == 2, "{result}");
        Ok(())
    })
    .await;

    suite
        .check(
            "§1.2 a ping of JSON and a ping of the socket are answered",
            async {
                let mut worker = Worker::connect(&url).await?;
                worker.settle().await?;
                worker
                    .say_raw(Message::Ping(b"alive".to_vec().into()))
                    .await?;
                use futures_util::StreamExt;
                let answer =
                    tokio::time::timeout(super::worker::PATIENCE, worker.socket.next()).await?;
                ensure!(
                    matches!(&answer, Some(Ok(Message::Pong(bytes))) if bytes.as_ref() == b"alive"),
                    "{answer:?}"
                );
                Ok(())
            },
        )
        .await;

    suite.check("§1.2 a message in fragments is put together, pings in between", async {
        let mut worker = Worker::connect(&url).await?;
        worker.offers("fr::pieces").await?;
        let text = json!({ "type": "invokefunction", "invocation_id": super::worker::uuid(), "function_id": "fr::pieces", "data": "€".repeat(1000) }).to_string();
        let bytes = text.as_bytes();
        // In the middle of a character too: only the whole is text.
        let parts: Vec<&[u8]> = bytes.chunks(7).collect();
        for (place, part) in parts.iter().enumerate() {
            let code = if place == 0 { Data::Text } else { Data::Continue };
            let last = place + 1 == parts.len();
            worker.socket.send(Message::Frame(Frame::message(part.to_vec(), OpCode::Data(code), last))).await?;
            if place == 3 {
                worker.say_raw(Message::Ping(Vec::new().into())).await?;
            }
        }
        let call = worker.serve("fr::pieces", Value::Null).await?;
        ensure!(call["data"] == "€".repeat(1000));
        Ok(())
    })
    .await;

    suite.check("§1.3 a message of almost 64 MiB in fragments of 1 MiB is passed on", async {
        let mut worker = Worker::connect(&url).await?;
        worker.introduces(json!({ "runtime": "rust", "version": "0.26.0", "name": "large", "pid": 1, "features": ["large-messages.v1"] })).await?;
        worker.offers("fr::large").await?;
        let size = (64 << 20) - 4096;
        let text = json!({ "type": "invokefunction", "invocation_id": super::worker::uuid(), "function_id": "fr::large", "data": "x".repeat(size) }).to_string();
        let parts: Vec<&[u8]> = text.as_bytes().chunks(1 << 20).collect();
        for (place, part) in parts.iter().enumerate() {
            let code = if place == 0 { Data::Text } else { Data::Continue };
            worker.socket.feed(Message::Frame(Frame::message(part.to_vec(), OpCode::Data(code), place + 1 == parts.len()))).await?;
            worker.socket.flush().await?;
        }
        let call = worker.hear_of("invokefunction").await?;
        ensure!(call["data"].as_str().map(str::len) == Some(size));
        worker.answer(&call, json!({ "len": size })).await?;
        let result = worker.hear_of("invocationresult").await?;
        ensure!(result["result"]["len"] == size, "{result}");
        Ok(())
    })
    .await;

    suite
        .check(
            "§1.3 a message that is too large for an old Python worker is an error to its caller",
            async {
                let mut small = Worker::connect(&url).await?;
                small
                .introduces(
                    json!({ "runtime": "python", "version": "0.11.6", "name": "small", "pid": 2 }),
                )
                .await?;
                small.offers("fr::small").await?;
                let mut caller = Worker::connect(&url).await?;
                let result = caller.call("fr::small", json!("x".repeat(2 << 20))).await?;
                ensure!(result["error"]["code"] == "payload_too_large", "{result}");
                small.settle().await
            },
        )
        .await;

    suite
        .check(
            "§1.3 more than 64 MiB ends that connection and no other",
            async {
                let mut bystander = Worker::connect(&url).await?;
                let mut worker = Worker::connect(&url).await?;
                let block = vec![b'x'; 1 << 20];
                for place in 0..70 {
                    let code = if place == 0 {
                        Data::Text
                    } else {
                        Data::Continue
                    };
                    if worker
                        .socket
                        .send(Message::Frame(Frame::message(
                            block.clone(),
                            OpCode::Data(code),
                            false,
                        )))
                        .await
                        .is_err()
                    {
                        break;
                    }
                }
                let ended = tokio::time::timeout(super::worker::PATIENCE, async {
                    loop {
                        match worker.hear_any().await {
                            Ok(super::worker::Heard::Closed(_) | super::worker::Heard::Ended)
                            | Err(_) => break,
                            Ok(_) => {}
                        }
                    }
                })
                .await;
                ensure!(ended.is_ok(), "the connection stays");
                bystander.settle().await
            },
        )
        .await;

    suite
        .check(
            "§1.2 a connection that breaks in the middle of a frame hurts nobody",
            async {
                let mut bystander = Worker::connect(&url).await?;
                let mut worker = Worker::connect(&url).await?;
                if let tokio_tungstenite::MaybeTlsStream::Plain(stream) = worker.socket.get_mut() {
                    // The head of a masked text frame of 100 bytes, and three of them.
                    stream
                        .write_all(&[0x81, 0x80 | 0x64, 1, 2, 3, 4, 5, 6, 7])
                        .await?;
                }
                drop(worker);
                bystander.settle().await
            },
        )
        .await;
    suite.verdict()
}
