//! `POST /v1/messages`: Anthropic's surface, over any agent or model.

use std::sync::Arc;

use agentos_contract::{keys::Scope, llm::Dialect};
use agentos_sdk::{Context, Sink};
use serde_json::{Value, json};
use tokio::sync::Mutex;

use crate::{
    Api,
    ask::{self, Ask},
    chat::new_id,
    error::Failure,
    forward::Sent,
    http::{Answer, Request},
    keys,
    relay::Relay,
};
use shape::{Blocks, Head};

mod history;
mod request;
mod shape;

/// Bytes of a text that are about a token, where nobody can count them.
const BYTES_PER_TOKEN: usize = 4;

impl Api {
    pub(crate) async fn messages(
        self: Arc<Self>,
        context: Context,
        request: Request,
        sink: Arc<Mutex<Sink>>,
        request_id: Arc<str>,
    ) -> Result<Option<Answer>, Failure> {
        let entered = self.enter(context.bus(), request).await?;
        let target = ask::target(&context, entered.top.model.as_ref()).await?;
        let mut sink = sink.lock().await;
        let forward = self.forward(&context, Dialect::AnthropicMessages, &entered);
        if let Sent::Done(answer) = forward.send(&target, &mut sink, &request_id).await? {
            return Ok(answer);
        }
        let body = entered.object()?;
        let pass = entered.pass;
        let request = request::read(body, true)?;
        let head = Head {
            id: new_id("msg_"),
            model: request.ask.model.clone(),
        };
        let ask = Ask::of(target, vec![request.ask], None, &pass)?;
        if !request.stream {
            let replies = ask.whole(context.bus(), self.answer_timeout()).await?;
            let message = replies.into_iter().next().map(|reply| head.whole(&reply));
            return Ok(message.map(Answer::ok));
        }
        let choir = ask.aloud(context.bus(), self.answer_timeout())?;
        let blocks = Blocks::new(head);
        let mut relay = Relay::new(&mut sink, &request_id, self.patience(), blocks);
        if relay.tell(choir).await? {
            relay.close().await?;
        }
        Ok(None)
    }
}

/// Estimates what a request would cost: about four bytes of it are a token.
pub(crate) async fn count_tokens(context: Context, request: Request) -> Result<Answer, Failure> {
    keys::who(context.bus(), &request, Scope::Chat).await?;
    let request = request::read(request.object()?, false)?;
    let text = |value: Value| value.to_string().len();
    let bytes: usize = text(json!(request.ask.messages)) + text(json!(request.ask.tools));
    Ok(Answer::ok(
        json!({ "input_tokens": bytes.div_ceil(BYTES_PER_TOKEN) }),
    ))
}

/// An error as Anthropic's clients know it.
pub(crate) fn failed(failure: &Failure, request_id: &str) -> Answer {
    let mut answer = failure.answer();
    // Anthropic's own number for it.
    if failure.is_overload() {
        answer.status_code = 529;
    }
    let mut body = error(failure);
    body["request_id"] = request_id.into();
    answer.body = Answer::ok(body).body;
    answer
}

pub(crate) fn error(failure: &Failure) -> Value {
    let kind = match failure.status {
        401 => "authentication_error",
        403 => "permission_error",
        404 => "not_found_error",
        413 => "request_too_large",
        429 => "rate_limit_error",
        400..500 => "invalid_request_error",
        _ if failure.is_overload() => "overloaded_error",
        504 => "timeout_error",
        _ => "api_error",
    };
    json!({ "type": "error", "error": { "type": kind, "message": failure.message } })
}
