//! The ends of channels as an SDK uses them: WebSockets that need nothing but their key.

use anyhow::{Context, Result, bail};
use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio_tungstenite::{
    connect_async,
    tungstenite::{self, Message},
};

use super::{Engine, PATIENCE, socket::Socket};

/// One end of a channel.
pub(crate) struct End(pub(crate) Socket);

/// What came through.
#[derive(PartialEq, Eq, Debug)]
pub(crate) enum Item {
    Text(String),
    Binary(Bytes),
    /// The close code.
    Closed(Option<u16>),
}

/// The address of the end that `reference` names.
pub(crate) fn address(engine: &Engine, reference: &Value) -> String {
    let text = |key: &str| reference[key].as_str().unwrap_or_default();
    format!(
        "{}/ws/channels/{}?key={}&dir={}",
        engine.url,
        text("channel_id"),
        text("access_key"),
        text("direction")
    )
}

/// The status and the text with which a handshake is refused.
pub(crate) async fn refused(address: &str) -> Result<(u16, String)> {
    match connect_async(address).await {
        Err(tungstenite::Error::Http(response)) => {
            let body = response.body().clone().unwrap_or_default();
            Ok((
                response.status().as_u16(),
                String::from_utf8_lossy(&body).into_owned(),
            ))
        }
        Err(error) => Err(error.into()),
        Ok(_) => bail!("{address} let somebody in"),
    }
}

impl End {
    pub(crate) async fn connect(engine: &Engine, reference: &Value) -> Result<Self> {
        Ok(End(connect_async(address(engine, reference)).await?.0))
    }

    pub(crate) async fn text(&mut self, text: &str) -> Result<()> {
        Ok(self.0.send(Message::text(text)).await?)
    }

    pub(crate) async fn say(&mut self, message: Value) -> Result<()> {
        self.text(&message.to_string()).await
    }

    pub(crate) async fn status(&mut self, code: u16) -> Result<()> {
        self.say(json!({ "type": "set_status", "status_code": code }))
            .await
    }

    pub(crate) async fn binary(&mut self, bytes: impl Into<Bytes>) -> Result<()> {
        Ok(self.0.send(Message::Binary(bytes.into())).await?)
    }

    pub(crate) async fn close(mut self) -> Result<()> {
        self.0.close(None).await?;
        // Until the engine has answered.
        while let Some(Ok(_)) = self.0.next().await {}
        Ok(())
    }

    pub(crate) async fn next(&mut self) -> Result<Item> {
        loop {
            let message = tokio::time::timeout(PATIENCE, self.0.next())
                .await
                .context("nothing comes")?;
            return Ok(match message {
                None | Some(Err(_)) => Item::Closed(None),
                Some(Ok(Message::Text(text))) => Item::Text(text.to_string()),
                Some(Ok(Message::Binary(bytes))) => Item::Binary(bytes),
                Some(Ok(Message::Close(frame))) => {
                    Item::Closed(frame.map(|frame| frame.code.into()))
                }
                Some(Ok(_)) => continue,
            });
        }
    }

    /// All bytes until the close.
    pub(crate) async fn bytes(&mut self) -> Result<Vec<u8>> {
        let mut all = Vec::new();
        loop {
            match self.next().await? {
                Item::Binary(bytes) => all.extend_from_slice(&bytes),
                Item::Closed(Some(1000)) => return Ok(all),
                other => bail!("unexpected: {other:?}"),
            }
        }
    }
}
