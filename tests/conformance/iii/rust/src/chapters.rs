//! What scenarios cannot say. The names are the same in every player.

use std::{
    future::Future,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use iii_sdk::{
    ChannelReader, ChannelWriter, III, IIIError, RegisterFunctionMessage, RegisterTriggerInput,
    TriggerRequest, Value, extract_channel_refs,
};
use serde_json::json;
use tokio::{
    io::copy_bidirectional,
    net::{TcpListener, TcpStream},
    sync::watch,
    time::{sleep, timeout},
};

use crate::{Telling, call, connect, settle, shutdown, variable, worker_name};

type Outcome = Result<(), String>;

fn said(error: IIIError) -> String {
    error.to_string()
}

fn peer(name: &str) -> III {
    connect(
        &variable("III_URL"),
        &format!("{}-{name}", worker_name()),
        None,
    )
}

fn offer<F, R>(worker: &III, id: &str, run: F)
where
    F: Fn(Value) -> R + Send + Sync + 'static,
    R: Future<Output = Result<Value, IIIError>> + Send + 'static,
{
    worker.register_function((RegisterFunctionMessage::with_id(id.to_owned()), run));
}

fn same<T: PartialEq + std::fmt::Debug>(found: T, expected: T) -> Outcome {
    if found == expected {
        Ok(())
    } else {
        Err(format!("{found:?}, expected {expected:?}"))
    }
}

/// The end of a channel in a payload whose path holds `part`.
fn end_of(input: &Value, part: &str) -> Result<iii_sdk::StreamChannelRef, IIIError> {
    let found = extract_channel_refs(input)
        .into_iter()
        .find(|(path, _)| path.contains(part));
    found
        .map(|(_, end)| end)
        .ok_or_else(|| IIIError::Handler(format!("no {part} in {input}")))
}

/// A pipe to the engine that can be cut.
struct Pipe {
    url: String,
    cut: watch::Sender<u32>,
}

impl Pipe {
    async fn open() -> Result<Self, String> {
        let far = variable("III_URL").replace("ws://", "");
        let listener = TcpListener::bind("127.0.0.1:0")
            .await
            .map_err(|error| error.to_string())?;
        let url = format!(
            "ws://{}",
            listener.local_addr().map_err(|error| error.to_string())?
        );
        let (cut, cuts) = watch::channel(0);
        tokio::spawn(async move {
            while let Ok((mut near, _)) = listener.accept().await {
                let (far, mut cuts) = (far.clone(), cuts.clone());
                cuts.mark_unchanged();
                tokio::spawn(async move {
                    if let Ok(mut far) = TcpStream::connect(far).await {
                        tokio::select! {
                            _ = copy_bidirectional(&mut near, &mut far) => {}
                            _ = cuts.changed() => {}
                        }
                    }
                });
            }
        });
        Ok(Pipe { url, cut })
    }

    fn cut(&self) {
        self.cut.send_modify(|cuts| *cuts += 1);
    }
}

pub async fn play(telling: &mut Telling, only: &str) {
    macro_rules! chapter {
        ($name:literal, $play:expr) => {
            if $name.contains(only) {
                let outcome = timeout(Duration::from_secs(60), $play)
                    .await
                    .unwrap_or_else(|_| Err("it takes too long".to_owned()));
                telling.tell($name, &outcome);
            }
        };
    }
    chapter!(
        "§1.9 a channel carries bytes and messages from one worker to another",
        carries()
    );
    chapter!(
        "§1.9 items written before the reader connects wait",
        early()
    );
    chapter!(
        "§1.9 a full channel holds its writer back and loses nothing",
        full()
    );
    chapter!(
        "§4.1 an answer is streamed with status and headers",
        streamed()
    );
    chapter!(
        "§4.1 a JSON body is parsed and its raw bytes are in the channel",
        raw()
    );
    chapter!(
        "§1.5 a worker that lost its connection is there again",
        returns()
    );
    chapter!(
        "§7.2 a caller whose target's connection is cut is told at once",
        stopped()
    );
}

async fn carries() -> Outcome {
    let (writer, reader) = (peer("w"), peer("r"));
    let sent: Vec<u8> = b"abcdefg".repeat(40_000);
    let (expected, address) = (sent.clone(), variable("III_URL"));
    offer(&reader, "ch::reads-rust", move |input| {
        let (expected, address) = (expected.clone(), address.clone());
        async move {
            let from = ChannelReader::new(&address, &end_of(&input, "pipe")?);
            let messages = Arc::new(std::sync::Mutex::new(Vec::new()));
            let keep = messages.clone();
            from.on_message(move |message| keep.lock().expect("no panic").push(message))
                .await;
            let got = from.read_all().await?;
            let messages = messages.lock().expect("no panic").clone();
            Ok(json!({ "same": got == expected, "messages": messages }))
        }
    });
    settle(&reader).await;
    let channel = writer.create_channel(None).await.map_err(said)?;
    channel.writer.send_message("first").await.map_err(said)?;
    let caller = writer.clone();
    let payload = json!({ "pipe": channel.reader_ref });
    let answer = tokio::spawn(async move { call(&caller, "ch::reads-rust", payload).await });
    channel.writer.write(&sent[..100_000]).await.map_err(said)?;
    channel.writer.write(&sent[100_000..]).await.map_err(said)?;
    channel.writer.close().await.map_err(said)?;
    let answer = answer
        .await
        .map_err(|error| error.to_string())?
        .map_err(said)?;
    shutdown(writer).await;
    shutdown(reader).await;
    same(answer, json!({ "same": true, "messages": ["first"] }))
}

async fn early() -> Outcome {
    let worker = peer("early");
    let channel = worker.create_channel(Some(4)).await.map_err(said)?;
    channel.writer.write(b"early").await.map_err(said)?;
    channel.writer.close().await.map_err(said)?;
    sleep(Duration::from_millis(300)).await;
    let got = channel.reader.read_all().await.map_err(said)?;
    shutdown(worker).await;
    same(got, b"early".to_vec())
}

async fn full() -> Outcome {
    let worker = peer("full");
    let channel = worker.create_channel(Some(1)).await.map_err(said)?;
    let writing = tokio::spawn(async move {
        for _ in 0..24 {
            channel.writer.write(&vec![7; 1 << 20]).await?;
        }
        channel.writer.close().await
    });
    sleep(Duration::from_millis(500)).await;
    let got = channel.reader.read_all().await.map_err(said)?;
    writing
        .await
        .map_err(|error| error.to_string())?
        .map_err(said)?;
    shutdown(worker).await;
    same(got.len(), 24 << 20)
}

async fn respond(
    input: &Value,
    status: u16,
    kind: &str,
    parts: &[&[u8]],
) -> Result<Value, IIIError> {
    let writer = ChannelWriter::new(&variable("III_URL"), &end_of(input, "response")?);
    writer
        .send_message(&json!({ "type": "set_status", "status_code": status }).to_string())
        .await?;
    writer
        .send_message(
            &json!({ "type": "set_headers", "headers": { "content-type": kind } }).to_string(),
        )
        .await?;
    for part in parts {
        writer.write(part).await?;
        sleep(Duration::from_millis(50)).await;
    }
    writer.close().await?;
    Ok(Value::Null)
}

async fn route(worker: &III, function: &str, path: &str, method: &str) -> Outcome {
    let config = json!({ "api_path": path, "http_method": method });
    let input = RegisterTriggerInput {
        trigger_type: "http".to_owned(),
        function_id: function.to_owned(),
        config,
        metadata: None,
    };
    worker.register_trigger(input).map_err(said)?;
    settle(worker).await;
    Ok(())
}

async fn streamed() -> Outcome {
    let worker = peer("streamed");
    offer(&worker, "web::stream-rust", |input| async move {
        respond(
            &input,
            206,
            "text/event-stream",
            &[b"id: 1\n\n", b"id: 2\n\n"],
        )
        .await
    });
    route(&worker, "web::stream-rust", "st-rust", "GET").await?;
    let answer = reqwest::get(format!("{}/st-rust", variable("III_HTTP_URL")))
        .await
        .map_err(|error| error.to_string())?;
    let (status, kind) = (
        answer.status().as_u16(),
        answer.headers()["content-type"].clone(),
    );
    let body = answer.text().await.map_err(|error| error.to_string())?;
    shutdown(worker).await;
    same(
        (status, kind.to_str().unwrap_or_default(), body.as_str()),
        (206, "text/event-stream", "id: 1\n\nid: 2\n\n"),
    )
}

async fn raw() -> Outcome {
    let worker = peer("raw");
    offer(&worker, "web::raw-rust", |input| async move {
        let got = ChannelReader::new(&variable("III_URL"), &end_of(&input, "request_body")?)
            .read_all()
            .await?;
        let body =
            json!({ "body": input["body"], "raw": String::from_utf8_lossy(&got) }).to_string();
        respond(&input, 200, "application/json", &[body.as_bytes()]).await
    });
    route(&worker, "web::raw-rust", "raw-rust", "POST").await?;
    let sent = r#"{"z":2, "a":1}"#;
    let request = reqwest::Client::new()
        .post(format!("{}/raw-rust", variable("III_HTTP_URL")))
        .header("content-type", "application/json")
        .body(sent);
    let body = request
        .send()
        .await
        .map_err(|error| error.to_string())?
        .text()
        .await
        .map_err(|error| error.to_string())?;
    shutdown(worker).await;
    same(
        serde_json::from_str(&body).unwrap_or(json!(body)),
        json!({ "body": { "z": 2, "a": 1 }, "raw": sent }),
    )
}

async fn returns() -> Outcome {
    let way = Pipe::open().await?;
    let (worker, caller) = (
        connect(&way.url, &format!("{}-re", worker_name()), None),
        peer("re-caller"),
    );
    let events = Arc::new(AtomicUsize::new(0));
    let count = events.clone();
    offer(&worker, "re::f-rust", |_| async { Ok(json!("here")) });
    offer(&worker, "re::e-rust", move |_| {
        count.fetch_add(1, Ordering::SeqCst);
        async { Ok(Value::Null) }
    });
    let input = RegisterTriggerInput {
        trigger_type: "state".to_owned(),
        function_id: "re::e-rust".to_owned(),
        config: json!({ "scope": "re-rust" }),
        metadata: None,
    };
    worker.register_trigger(input).map_err(said)?;
    settle(&worker).await;
    same(
        call(&caller, "re::f-rust", json!({})).await.map_err(said)?,
        json!("here"),
    )?;
    way.cut();
    sleep(Duration::from_millis(300)).await;
    let end = Instant::now() + Duration::from_secs(20);
    loop {
        let request = TriggerRequest {
            function_id: "re::f-rust".to_owned(),
            payload: json!({}),
            action: None,
            timeout_ms: Some(2_000),
        };
        if caller
            .trigger(request)
            .await
            .is_ok_and(|value| value == "here")
        {
            break;
        }
        if Instant::now() > end {
            return Err("the worker did not return".to_owned());
        }
        sleep(Duration::from_millis(50)).await;
    }
    settle(&worker).await;
    call(
        &caller,
        "state::set",
        json!({ "scope": "re-rust", "key": "k", "value": 1 }),
    )
    .await
    .map_err(said)?;
    sleep(Duration::from_millis(500)).await;
    let seen = events.load(Ordering::SeqCst);
    shutdown(worker).await;
    shutdown(caller).await;
    same(seen, 1)
}

async fn stopped() -> Outcome {
    let way = Pipe::open().await?;
    let (worker, caller) = (
        connect(&way.url, &format!("{}-cut", worker_name()), None),
        peer("cut-caller"),
    );
    let (tell, mut began) = watch::channel(false);
    offer(&worker, "cut::f-rust", move |_| {
        let _ = tell.send(true);
        async {
            sleep(Duration::from_secs(15)).await;
            Ok(Value::Null)
        }
    });
    settle(&worker).await;
    let asking = caller.clone();
    let answer = tokio::spawn(async move { call(&asking, "cut::f-rust", json!({})).await });
    began
        .wait_for(|began| *began)
        .await
        .map_err(|error| error.to_string())?;
    way.cut();
    let answer = timeout(Duration::from_secs(5), answer)
        .await
        .map_err(|_| "nobody was told")?
        .map_err(|error| error.to_string())?;
    shutdown(worker).await;
    shutdown(caller).await;
    match answer {
        Err(IIIError::Remote { code, .. }) => same(code.as_str(), "invocation_stopped"),
        other => Err(format!("{other:?}")),
    }
}
