//! A streamed answer on its way to the client.

use agentos_sdk::{CallStream, Code, Error};
use serde_json::Value;

use super::source::Source;
use crate::{
    error::Failure,
    http::Answer,
    shape::{Frame, Piece},
    sse::{Events, Patience},
};

/// A streamed answer on its way to the client.
pub(super) struct Out<'a> {
    pub(super) events: Events<'a>,
    pub(super) patience: Patience,
    pub(super) frame: Frame,
    pub(super) role_sent: bool,
}

impl Out<'_> {
    /// Sends what `stream` says until it ends.
    ///
    /// # Errors
    /// What went wrong before anything was sent; later it is sent as an event.
    pub(super) async fn relay<S: Source>(
        mut self,
        mut source: S,
        stream: CallStream,
    ) -> Result<Option<Answer>, Failure> {
        match self.listen(&mut source, stream).await {
            Ok(()) => Ok(None),
            Err(error) if error.code == Code::Cancelled => Err(error.into()),
            Err(error) if self.events.begun => {
                let failure = Failure::from(error);
                self.events.fail(&failure).await?;
                Ok(None)
            }
            Err(error) => Err(error.into()),
        }
    }

    async fn listen<S: Source>(
        &mut self,
        source: &mut S,
        mut stream: CallStream,
    ) -> Result<(), Error> {
        loop {
            let patience = self.patience.now(self.events.begun);
            let Ok(event) = tokio::time::timeout(patience, stream.next_as::<S::Event>()).await
            else {
                self.role().await?;
                self.events.ping().await?;
                continue;
            };
            let Some(event) = event? else { break };
            if let Some(piece) = source.piece(event, &mut self.frame) {
                self.send(piece).await?;
            }
        }
        let outcome = stream.finish().await?;
        let end = outcome.decode().map_err(|error| {
            Error::worker(
                Code::Failed,
                format!("the answer ended with something unexpected: {error}"),
            )
        })?;
        let (pieces, usage) = source.end(end);
        for piece in pieces {
            self.send(piece).await?;
        }
        if self.frame.usage {
            self.send(Piece::Usage(usage)).await?;
        }
        self.events.done().await
    }

    async fn send(&mut self, piece: Piece) -> Result<(), Error> {
        self.role().await?;
        let chunk = self.frame.chunk(piece);
        self.events.send(&chunk).await
    }

    /// The first chunk says who speaks.
    async fn role(&mut self) -> Result<(), Error> {
        if self.role_sent {
            return Ok(());
        }
        self.role_sent = true;
        let chunk: Value = self.frame.chunk(Piece::Role);
        self.events.send(&chunk).await
    }
}
