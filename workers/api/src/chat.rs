//! `POST /v1/chat/completions`: to an agent, or straight to a model.
//!
//! Dropping the future drops the call behind it: a client that goes away stops the model.

use std::{
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use agentos_contract::llm::Dialect;
use agentos_sdk::{Context, Sink};
use tokio::sync::Mutex;
use uuid::Uuid;

use crate::{
    Api,
    ask::{self, Ask},
    error::Failure,
    forward::{Forward, Sent},
    http::{Answer, Request},
    keys::Entered,
    relay::Relay,
    request,
    shape::{Chunks, Frame},
    sse::Patience,
};

impl Api {
    pub(crate) async fn chat(
        self: Arc<Self>,
        context: Context,
        request: Request,
        sink: Arc<Mutex<Sink>>,
        request_id: Arc<str>,
    ) -> Result<Option<Answer>, Failure> {
        let entered = self.enter(context.bus(), request).await?;
        let target = ask::target(&context, entered.top.model.as_ref()).await?;
        let mut sink = sink.lock().await;
        let forward = self.forward(&context, Dialect::OpenAiChat, &entered);
        if let Sent::Done(answer) = forward.send(&target, &mut sink, &request_id).await? {
            return Ok(answer);
        }
        let body = entered.object()?;
        let pass = entered.pass;
        let request = request::read(body)?;
        let frame = Frame {
            id: new_id("chatcmpl-"),
            created: now_s(),
            model: request.ask.model.clone(),
            usage: request.include_usage,
        };
        let requests = vec![request.ask; request.choices];
        let ask = Ask::of(target, requests, request.session_id, &pass)?;
        if !request.stream {
            let replies = ask.whole(context.bus(), self.answer_timeout()).await?;
            return Ok(Some(Answer::ok(frame.whole(&replies))));
        }
        let choir = ask.aloud(context.bus(), self.answer_timeout())?;
        let chunks = Chunks::new(frame, request.choices);
        let mut relay = Relay::new(&mut sink, &request_id, self.patience(), chunks);
        if relay.tell(choir).await? {
            relay.close().await?;
        }
        Ok(None)
    }

    /// A request to a model that may be sent on as it is.
    pub(crate) fn forward<'a>(
        &self,
        context: &'a Context,
        dialect: Dialect,
        entered: &'a Entered,
    ) -> Forward<'a> {
        Forward {
            context,
            dialect,
            entered,
            timeout: self.answer_timeout(),
            patience: self.patience(),
        }
    }

    /// The deadline of an answer is ours, not that of a call that names none.
    pub(crate) fn answer_timeout(&self) -> Duration {
        Duration::from_millis(self.config.answer_timeout_ms)
    }

    pub(crate) fn patience(&self) -> Patience {
        Patience {
            head_wait: Duration::from_millis(self.config.head_wait_ms),
            ping: Duration::from_millis(self.config.ping_ms),
        }
    }
}

/// An id that nobody else has.
pub(crate) fn new_id(prefix: &str) -> String {
    format!("{prefix}{}", Uuid::new_v4().simple())
}

/// Seconds since 1970.
pub(crate) fn now_s() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
        .as_secs()
}
