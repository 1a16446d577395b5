//! Answers on their way to a client as server-sent events, in whatever dialect it speaks.

use agentos_sdk::{Code, Error, Sink};

use crate::{
    ask::{Choir, Heard, Reply, Said},
    error::Failure,
    sse::{Events, Patience},
};

/// How answers are told. Each text is one whole server-sent event.
pub(crate) trait Wording: Send {
    /// What comes before the first word.
    fn begin(&mut self) -> Vec<String>;

    /// A step of the answer with this number.
    fn said(&mut self, choice: usize, said: Said) -> Vec<String>;

    /// The answer with this number is whole.
    fn reply(&mut self, choice: usize, reply: Reply) -> Vec<String>;

    /// What comes after all answers.
    fn close(&mut self) -> Vec<String>;

    /// The answer broke off; nothing comes after this.
    fn fail(&mut self, failure: &Failure) -> Vec<String>;

    /// Says nothing, so that nobody between takes the silence for an end.
    fn ping(&self) -> String {
        ": ping\n\n".to_owned()
    }
}

/// Answers being told.
pub(crate) struct Relay<'a, D> {
    events: Events<'a>,
    patience: Patience,
    pub(crate) wording: D,
}

impl<'a, D: Wording> Relay<'a, D> {
    pub(crate) fn new(
        sink: &'a mut Sink,
        request_id: &'a str,
        patience: Patience,
        wording: D,
    ) -> Self {
        Relay {
            events: Events::new(sink, request_id),
            patience,
            wording,
        }
    }

    /// Tells what `choir` says until all have ended. False: it broke off, and the client knows.
    ///
    /// # Errors
    /// What went wrong before anything was sent; and that the client has gone.
    pub(crate) async fn tell(&mut self, choir: Choir) -> Result<bool, Failure> {
        match self.listen(choir).await {
            Ok(()) => Ok(true),
            Err(error) if error.code == Code::Cancelled || !self.events.begun => Err(error.into()),
            Err(error) => {
                let last = self.wording.fail(&error.into());
                self.send(last).await?;
                Ok(false)
            }
        }
    }

    /// Tells that it is over.
    pub(crate) async fn close(&mut self) -> Result<(), Error> {
        let last = self.wording.close();
        self.send(last).await
    }

    async fn listen(&mut self, mut choir: Choir) -> Result<(), Error> {
        loop {
            let patience = self.patience.now(self.events.begun);
            let Ok(heard) = tokio::time::timeout(patience, choir.next()).await else {
                let ping = self.wording.ping();
                self.send(vec![ping]).await?;
                continue;
            };
            let Some((choice, heard)) = heard else {
                return Ok(());
            };
            let events = match heard? {
                Heard::Said(said) => self.wording.said(choice, said),
                Heard::Reply(reply) => self.wording.reply(choice, *reply),
            };
            self.send(events).await?;
        }
    }

    async fn send(&mut self, events: Vec<String>) -> Result<(), Error> {
        if events.is_empty() {
            return Ok(());
        }
        if !self.events.begun {
            for first in self.wording.begin() {
                self.events.write(first).await?;
            }
        }
        for event in events {
            self.events.write(event).await?;
        }
        Ok(())
    }
}
