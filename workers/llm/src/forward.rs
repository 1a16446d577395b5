//! Bodies in a provider's own dialect, sent on as they are: `llm::forward`.
//!
//! Of the body only the model's name is changed, and, in a stream of chat completions, usage is
//! asked for; of the answer nothing is, but that the chunk with the usage which the client did not
//! ask for is left out.

mod letter;
mod tap;

use std::{collections::BTreeMap, sync::Arc};

use agentos_contract::llm::{
    CompleteRequest, Dialect, FORWARD, ForwardHead, ForwardStart, Forwarded, OTHER_FAMILY,
};
use agentos_sdk::{Code, Context, Error, Payload, Registrar, Sink};
use hyper::{HeaderMap, header::HeaderName};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use tokio::sync::Mutex;

use self::{letter::Draft, tap::Tap};
use crate::{Llm, asking, http::Answer, provider::Letter, route::Target};

/// Headers of the answer that are told.
const TOLD: [&str; 5] = [
    "content-type",
    "retry-after",
    "x-request-id",
    "request-id",
    "openai-processing-ms",
];
/// Headers that are not for a caller to set.
const OURS: [&str; 11] = [
    "authorization",
    "x-api-key",
    "api-key",
    "x-goog-api-key",
    "cookie",
    "host",
    "content-length",
    "content-type",
    "transfer-encoding",
    "connection",
    "accept-encoding",
];

/// A body whose text is kept.
#[derive(Deserialize)]
#[serde(transparent)]
struct Body(Box<RawValue>);

impl JsonSchema for Body {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Body".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({ "type": "object" })
    }
}

/// What the caller gets at the end.
#[derive(Serialize, JsonSchema)]
#[serde(untagged)]
enum Reply {
    Over(Forwarded),
    /// The whole body, for callers that take no stream.
    Whole(#[schemars(with = "serde_json::Value")] Box<RawValue>),
}

pub(crate) fn register(llm: &Arc<Llm>, registrar: &mut Registrar) {
    let llm = Arc::clone(llm);
    registrar
        .streaming(FORWARD, move |context, body: Body, sink| {
            let llm = Arc::clone(&llm);
            async move { llm.forward(&context, &body.0, sink).await }
        })
        .describe("Sends a body in a provider's own dialect on to it, and gives its bytes back.");
}

impl Llm {
    async fn forward(
        &self,
        context: &Context,
        body: &RawValue,
        sink: Arc<Mutex<Sink>>,
    ) -> Result<Reply, Error> {
        let head = head(context)?;
        let draft = Draft::read(body.get())?;
        let mut targets = self.readers(&head, &draft, body)?;
        targets.retain(|target| speaks(target, head.dialect));
        let headers = headers(&head.headers);
        let deadline = Some(context.deadline().into());
        let (target, mut answer) = asking::first(&targets, deadline, |target| {
            let letter = Letter {
                dialect: head.dialect,
                body: draft.address(&target.model, head.dialect),
                headers: headers.clone(),
            };
            Box::pin(async move { send(target, letter).await })
        })
        .await?;
        let mut bill = self.bill(&head.account, target);
        let mut tap = Tap::new(draft.hides_usage(head.dialect));
        let mut sink = sink.lock().await;
        let stream = context.wants_stream();
        let event_stream = answer
            .content_type()
            .trim_start()
            .starts_with("text/event-stream");
        if stream {
            sink.send(&start(&answer, target, event_stream)).await?;
        }
        let mut whole = Vec::new();
        let mut over = false;
        while !over {
            let piece = match answer.read().await? {
                Some(bytes) if event_stream => tap.push(bytes),
                Some(bytes) => {
                    tap.keep(&bytes);
                    Some(bytes)
                }
                None => {
                    over = true;
                    tap.rest()
                }
            };
            if tap.is_full() {
                return Err(
                    answer.garbage("an event larger than 1 MiB, or an answer larger than 32 MiB")
                );
            }
            match piece {
                Some(bytes) if stream => sink.send_payload(Payload::binary(bytes)).await?,
                Some(bytes) => whole.extend_from_slice(&bytes),
                None => {}
            }
        }
        bill.usage = tap.usage();
        if stream {
            return Ok(Reply::Over(Forwarded {
                usage: bill.usage,
                cost_usd: bill.cost_usd(),
            }));
        }
        let text = String::from_utf8(whole)
            .ok()
            .and_then(|text| RawValue::from_string(text).ok())
            .ok_or_else(|| answer.garbage("something that is not JSON; call this as a stream"))?;
        Ok(Reply::Whole(text))
    }

    /// Whoever may be asked.
    fn readers(
        &self,
        head: &ForwardHead,
        draft: &Draft<'_>,
        body: &RawValue,
    ) -> Result<Vec<Target>, Error> {
        let model = if head.model.is_empty() {
            draft.model().unwrap_or_default()
        } else {
            head.model.clone()
        };
        #[derive(Deserialize)]
        struct Messages {
            #[serde(default)]
            messages: Vec<agentos_contract::chat::Message>,
        }
        let automatic = model == agentos_contract::llm::AUTO;
        let messages = automatic.then(|| serde_json::from_str::<Messages>(body.get()).ok());
        let targets = self
            .routes
            .find(&CompleteRequest {
                model,
                fallbacks: head.fallbacks.clone(),
                messages: messages
                    .flatten()
                    .map(|body| body.messages)
                    .unwrap_or_default(),
                ..CompleteRequest::default()
            })?
            .targets;
        if speaks(&targets[0], head.dialect) {
            return Ok(targets);
        }
        let message = format!(
            "{} does not speak this dialect: ask llm::complete",
            targets[0].name()
        );
        Err(Error::worker(Code::Unsupported, message).reason(OTHER_FAMILY))
    }
}

fn speaks(target: &Target, dialect: Dialect) -> bool {
    let provider = target.route.provider.as_ref();
    provider.is_some_and(|provider| provider.speaks(dialect))
}

async fn send(target: &Target, letter: Letter) -> Result<Answer, Error> {
    match &target.route.provider {
        Some(provider) => provider.send(letter).await,
        None => Err(target.route.not_configured()),
    }
}

fn head(context: &Context) -> Result<ForwardHead, Error> {
    let Some(text) = context.metadata() else {
        return Ok(ForwardHead::default());
    };
    serde_json::from_str(text).map_err(|error| {
        let message = format!("the metadata is no head of a forwarded body: {error}");
        Error::caller(Code::InvalidInput, message)
    })
}

fn headers(written: &BTreeMap<String, String>) -> HeaderMap {
    let header = |(name, text): (&String, &String)| {
        let name: HeaderName = name.parse().ok()?;
        let allowed = !OURS.contains(&name.as_str());
        allowed.then_some((name, text.parse().ok()?))
    };
    written.iter().filter_map(header).collect()
}

fn start(answer: &Answer, target: &Target, event_stream: bool) -> ForwardStart {
    let told = |name: &str| TOLD.contains(&name) || name.contains("ratelimit");
    let headers = answer.headers().iter();
    ForwardStart {
        status: answer.status(),
        headers: headers
            .filter(|(name, _)| told(name.as_str()))
            .filter_map(|(name, value)| Some((name.to_string(), value.to_str().ok()?.to_owned())))
            .collect(),
        event_stream,
        provider: target.route.name.clone(),
        model: target.model.clone(),
    }
}
