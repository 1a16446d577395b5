//! A hand-made iii worker: what it says is what the test writes.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use anyhow::{Context, Result, bail};
use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio_tungstenite::{
    MaybeTlsStream, WebSocketStream, connect_async,
    tungstenite::{Message, client::IntoClientRequest, http::HeaderName},
};

/// How long anything may take that should take a moment.
pub(super) const PATIENCE: Duration = Duration::from_secs(12);

pub(super) type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;

/// How long to listen before concluding that nothing comes.
const SILENCE: Duration = Duration::from_millis(250);

/// Connects with headers.
pub(super) async fn dial(url: &str, headers: &[(&str, &str)]) -> Result<Socket> {
    let mut request = url.into_client_request()?;
    for (name, value) in headers {
        request
            .headers_mut()
            .insert(HeaderName::try_from(*name)?, value.parse()?);
    }
    Ok(connect_async(request).await?.0)
}

/// An id as the SDKs make them.
pub(super) fn uuid() -> String {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    let next = NEXT.fetch_add(1, Ordering::Relaxed);
    format!("00000000-0000-4000-8000-{next:012x}")
}

pub(super) struct Worker {
    pub(super) socket: Socket,
    /// What `workerregistered` said.
    pub(super) welcome: Value,
}

impl Worker {
    /// Connects and takes the engine's first word.
    pub(super) async fn connect(url: &str) -> Result<Self> {
        Self::connect_as(url, &[]).await
    }

    pub(super) async fn connect_as(url: &str, headers: &[(&str, &str)]) -> Result<Self> {
        let mut worker = Worker {
            socket: dial(url, headers).await?,
            welcome: Value::Null,
        };
        worker.welcome = worker.hear().await?;
        if worker.welcome["type"] != "workerregistered" {
            bail!("the first frame is {}", worker.welcome);
        }
        Ok(worker)
    }

    pub(super) fn id(&self) -> &str {
        self.welcome["worker_id"].as_str().unwrap_or_default()
    }

    pub(super) async fn say(&mut self, message: Value) -> Result<()> {
        self.say_raw(Message::text(message.to_string())).await
    }

    pub(super) async fn say_raw(&mut self, message: Message) -> Result<()> {
        Ok(self.socket.send(message).await?)
    }

    /// The next JSON message; pings pass by.
    pub(super) async fn hear(&mut self) -> Result<Value> {
        match self.hear_any().await? {
            Heard::Message(message) => Ok(message),
            other => bail!("expected a message, heard {other:?}"),
        }
    }

    pub(super) async fn hear_any(&mut self) -> Result<Heard> {
        // One deadline for all pings that pass by.
        let until = tokio::time::Instant::now() + PATIENCE;
        loop {
            let message = tokio::time::timeout_at(until, self.socket.next())
                .await
                .context("the engine says nothing")?;
            return Ok(match message {
                None | Some(Err(_)) => Heard::Ended,
                Some(Ok(Message::Text(text))) => Heard::Message(serde_json::from_str(&text)?),
                Some(Ok(Message::Binary(_))) => Heard::Binary,
                Some(Ok(Message::Close(frame))) => {
                    Heard::Closed(frame.map(|frame| frame.code.into()))
                }
                Some(Ok(_)) => continue,
            });
        }
    }

    /// The next message of this type; others are kept from nobody and lost.
    pub(super) async fn hear_of(&mut self, kind: &str) -> Result<Value> {
        loop {
            let message = self.hear().await?;
            if message["type"] == kind {
                return Ok(message);
            }
        }
    }

    pub(super) async fn hears_nothing(&mut self) -> Result<()> {
        match tokio::time::timeout(SILENCE, self.hear_any()).await {
            Err(_) => Ok(()),
            Ok(heard) => bail!("expected silence, heard {heard:?}"),
        }
    }

    /// All that was said before has been handled, and nothing else came.
    pub(super) async fn settle(&mut self) -> Result<()> {
        self.say(json!({ "type": "ping" })).await?;
        let heard = self.hear().await?;
        if heard["type"] == "pong" {
            Ok(())
        } else {
            bail!("expected a pong, heard {heard}")
        }
    }

    pub(super) async fn offers(&mut self, function: &str) -> Result<()> {
        self.say(json!({ "type": "registerfunction", "id": function }))
            .await?;
        self.settle().await
    }

    /// Sends a call and gives its id.
    pub(super) async fn calls(&mut self, function: &str, data: Value) -> Result<String> {
        let id = uuid();
        self.say(json!({ "type": "invokefunction", "invocation_id": id, "function_id": function, "data": data }))
            .await?;
        Ok(id)
    }

    /// Calls and gives the whole message of the result.
    pub(super) async fn call(&mut self, function: &str, data: Value) -> Result<Value> {
        let id = self.calls(function, data).await?;
        loop {
            let message = self.hear().await?;
            if message["invocation_id"] == *id {
                return Ok(message);
            }
        }
    }

    /// Waits for a call of `function` and answers it; gives the call.
    pub(super) async fn serve(&mut self, function: &str, result: Value) -> Result<Value> {
        let call = self.hear_of("invokefunction").await?;
        if call["function_id"] != function {
            bail!("expected a call of {function}, heard {call}");
        }
        self.answer(&call, result).await?;
        Ok(call)
    }

    pub(super) async fn answer(&mut self, call: &Value, result: Value) -> Result<()> {
        self.say(json!({ "type": "invocationresult", "invocation_id": call["invocation_id"], "function_id": call["function_id"], "result": result }))
            .await
    }

    /// Says who it is, as SDKs do after connecting.
    pub(super) async fn introduces(&mut self, about: Value) -> Result<()> {
        self.say(json!({ "type": "invokefunction", "function_id": "engine::workers::register", "data": about, "action": { "type": "void" } }))
            .await
    }
}

/// What came.
#[derive(Debug)]
pub(super) enum Heard {
    Message(Value),
    Binary,
    /// The close code, if the frame had one.
    Closed(Option<u16>),
    /// The connection is gone without a close frame.
    Ended,
}
