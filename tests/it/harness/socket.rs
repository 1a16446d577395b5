//! Clients that are nothing but a WebSocket, for frames that no SDK sends.

use std::time::Duration;

use agentos_protocol::{Frame, Hello, codec::v2};
use anyhow::{Context, Result, bail};
use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use serde_json::Value;
use tokio::net::TcpStream;
use tokio_tungstenite::{
    MaybeTlsStream, WebSocketStream, connect_async,
    tungstenite::{Message, client::IntoClientRequest, http::HeaderValue},
};

use super::{Engine, PATIENCE};

pub(crate) type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;

/// How long to listen before concluding that nothing comes.
const SILENCE: Duration = Duration::from_millis(300);

/// What came from the engine.
#[derive(Debug)]
pub(crate) enum Heard {
    Text(Value),
    Binary(Bytes),
    /// The close code.
    Closed(Option<u16>),
}

async fn hear(socket: &mut Socket) -> Result<Heard> {
    loop {
        let message = tokio::time::timeout(PATIENCE, socket.next())
            .await
            .context("the engine says nothing")?;
        match message {
            None => return Ok(Heard::Closed(None)),
            Some(Ok(Message::Text(text))) => return Ok(Heard::Text(serde_json::from_str(&text)?)),
            Some(Ok(Message::Binary(bytes))) => return Ok(Heard::Binary(bytes)),
            Some(Ok(Message::Close(frame))) => {
                return Ok(Heard::Closed(frame.map(|frame| frame.code.into())));
            }
            Some(Ok(_)) => {}
            Some(Err(_)) => return Ok(Heard::Closed(None)),
        }
    }
}

/// A hand-made client of the JSON dialect.
pub(crate) struct Iii(pub(crate) Socket);

impl Iii {
    /// Connects with whatever is in `query`, and reads nothing.
    pub(crate) async fn open(engine: &Engine, query: &str) -> Result<Self> {
        let (socket, _) = connect_async(format!("{}/?{query}", engine.url)).await?;
        Ok(Iii(socket))
    }

    /// Connects with the right token and takes the engine's first word.
    pub(crate) async fn connect(engine: &Engine) -> Result<Self> {
        let mut client = Self::open(engine, &format!("token={}", engine.token)).await?;
        let first = client.hear_text().await?;
        if first["type"] != "workerregistered" {
            bail!("the first frame is {first}");
        }
        Ok(client)
    }

    pub(crate) async fn say(&mut self, message: &Value) -> Result<()> {
        Ok(self.0.send(Message::text(message.to_string())).await?)
    }

    pub(crate) async fn say_raw(&mut self, message: Message) -> Result<()> {
        Ok(self.0.send(message).await?)
    }

    pub(crate) async fn hear(&mut self) -> Result<Heard> {
        hear(&mut self.0).await
    }

    pub(crate) async fn hear_text(&mut self) -> Result<Value> {
        match self.hear().await? {
            Heard::Text(text) => Ok(text),
            other => bail!("expected a message, heard {other:?}"),
        }
    }

    /// Nothing but pings comes for a while.
    pub(crate) async fn hears_nothing(&mut self) -> Result<()> {
        match tokio::time::timeout(SILENCE, self.hear()).await {
            Err(_) => Ok(()),
            Ok(heard) => bail!("expected silence, heard {heard:?}"),
        }
    }

    /// Calls and waits for the result's whole message.
    pub(crate) async fn call(&mut self, function: &str, data: Value) -> Result<Value> {
        self.say(&serde_json::json!({ "type": "invokefunction", "invocation_id": "c1", "function_id": function, "data": data })).await?;
        self.hear_text().await
    }
}

/// A hand-made client of the binary dialect.
pub(crate) struct V2(Socket);

impl V2 {
    /// Connects, asks for `protocol`, and says nothing.
    pub(crate) async fn open(engine: &Engine, protocol: &str) -> Result<Self> {
        let mut request = engine.url.as_str().into_client_request()?;
        request
            .headers_mut()
            .insert("sec-websocket-protocol", HeaderValue::from_str(protocol)?);
        Ok(V2(connect_async(request).await?.0))
    }

    /// Connects and says hello with the right token.
    pub(crate) async fn connect(engine: &Engine, name: &str) -> Result<Self> {
        let mut client = Self::open(engine, "agentos.v2").await?;
        client.say(&hello(name, Some(&engine.token))).await?;
        match client.hear_frame().await? {
            Frame::Welcome(_) => Ok(client),
            other => bail!("expected a welcome, heard {other:?}"),
        }
    }

    pub(crate) async fn say(&mut self, frame: &Frame) -> Result<()> {
        self.say_bytes(v2::encode(frame)?).await
    }

    pub(crate) async fn say_bytes(&mut self, bytes: Bytes) -> Result<()> {
        Ok(self.0.send(Message::Binary(bytes)).await?)
    }

    pub(crate) async fn say_text(&mut self, text: &str) -> Result<()> {
        Ok(self.0.send(Message::text(text)).await?)
    }

    pub(crate) async fn hear(&mut self) -> Result<Heard> {
        hear(&mut self.0).await
    }

    pub(crate) async fn hear_frame(&mut self) -> Result<Frame> {
        match self.hear().await? {
            Heard::Binary(bytes) => Ok(v2::decode(&bytes)?),
            other => bail!("expected a frame, heard {other:?}"),
        }
    }
}

pub(crate) fn hello(name: &str, token: Option<&str>) -> Frame {
    Frame::Hello(Box::new(Hello {
        name: name.to_owned(),
        token: token.map(str::to_owned),
        ..Hello::default()
    }))
}
