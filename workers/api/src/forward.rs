//! Requests in a provider's own words, sent on as they are: nothing that a provider knows and we
//! do not is lost, and nothing is read twice.

use std::{collections::BTreeMap, time::Duration};

use agentos_contract::llm::{
    Account, Dialect, FORWARD, ForwardHead, ForwardStart, Forwarded, OTHER_FAMILY,
};
use agentos_sdk::{CallStream, Code, Context, Encoding, Error, Origin, Payload, Sink};
use serde_json::json;

use crate::{
    ask::Target,
    error::Failure,
    http::{Answer, stream_head},
    keys::Entered,
    sse::{Patience, data, named},
};

/// Headers of a client that say what it wants of the provider.
const PASSED_ON: [&str; 3] = ["anthropic-beta", "anthropic-version", "openai-beta"];

/// Headers of a provider that its clients look at.
const PASSED_BACK: [&str; 2] = ["retry-after", "openai-processing-ms"];
const LIMITS: [&str; 2] = ["x-ratelimit-", "anthropic-ratelimit-"];

/// A request that may be sent on.
pub(crate) struct Forward<'a> {
    pub(crate) context: &'a Context,
    pub(crate) dialect: Dialect,
    pub(crate) entered: &'a Entered,
    pub(crate) timeout: Duration,
    pub(crate) patience: Patience,
}

/// What came of it.
pub(crate) enum Sent {
    /// The model does not live at a provider that speaks like this: ask in our own words.
    NotHere,
    /// Without an answer it was streamed to the client.
    Done(Option<Answer>),
}

impl Forward<'_> {
    /// Sends the request on, if its model's provider understands it as it is.
    ///
    /// # Errors
    /// What went wrong before anything was sent back.
    pub(crate) async fn send(
        &self,
        target: &Target,
        sink: &mut Sink,
        request_id: &str,
    ) -> Result<Sent, Failure> {
        if *target != Target::Model {
            return Ok(Sent::NotHere);
        }
        let stream = self.entered.top.stream == Some(true.into());
        let sent = if stream {
            self.aloud(sink, request_id).await.map(|()| None)
        } else {
            self.whole().await.map(Some)
        };
        match sent {
            Err(error) if is_elsewhere(&error) => Ok(Sent::NotHere),
            sent => Ok(Sent::Done(sent?)),
        }
    }

    /// The same for a request that is never streamed. `None`: the model is elsewhere.
    pub(crate) async fn send_whole(&self) -> Result<Option<Answer>, Failure> {
        match self.whole().await {
            Err(error) if is_elsewhere(&error) => Ok(None),
            answer => Ok(Some(answer?)),
        }
    }

    fn call(&self) -> Result<CallStream, Error> {
        let wanted =
            |name: &&str| Some(((*name).to_owned(), self.entered.headers.get(*name)?.clone()));
        let head = ForwardHead {
            dialect: self.dialect,
            headers: PASSED_ON.iter().filter_map(wanted).collect(),
            account: Account {
                key: self.entered.pass.key(),
                ..Account::default()
            },
            ..ForwardHead::default()
        };
        let call = self.context.bus().call(FORWARD).timeout(self.timeout);
        call.metadata(json!(head).to_string())
            .stream_payload(Payload::json(self.entered.text.get().to_owned()))
    }

    async fn whole(&self) -> Result<Answer, Error> {
        let mut call = self.call()?;
        let mut headers = BTreeMap::new();
        let mut body = Vec::new();
        while let Some(chunk) = call.next().await {
            match chunk.encoding {
                Encoding::Json => headers = passed_back(read_start(&chunk)?),
                Encoding::Binary => body.extend_from_slice(&chunk.bytes),
            }
        }
        self.settle(&call.finish().await?);
        let body = serde_json::from_slice(&body).map_err(|error| {
            Error::worker(
                Code::Unavailable,
                format!("the provider's answer is no JSON: {error}"),
            )
        })?;
        let mut answer = Answer::exact(body);
        answer.headers.extend(headers);
        Ok(answer)
    }

    async fn aloud(&self, sink: &mut Sink, request_id: &str) -> Result<(), Error> {
        let mut call = self.call()?;
        // The last moment for a plain error: from here on the answer has begun.
        let start = match call.next().await {
            Some(chunk) => read_start(&chunk)?,
            None => {
                call.finish().await?;
                let message = "the provider's answer has no beginning";
                return Err(Error::worker(Code::Unavailable, message));
            }
        };
        let mut head = stream_head(request_id);
        for (name, value) in passed_back(start) {
            head["headers"][name] = value.into();
        }
        sink.send(&head).await?;
        let outcome = loop {
            let Ok(chunk) = tokio::time::timeout(self.patience.ping, call.next()).await else {
                sink.send_payload(Payload::binary(self.ping())).await?;
                continue;
            };
            match chunk {
                Some(chunk) => sink.send_payload(chunk).await?,
                None => break call.finish().await,
            }
        };
        match outcome {
            Err(error) if error.code != Code::Cancelled => {
                let last = self.broken(&error.into());
                sink.send_payload(Payload::binary(last)).await?;
            }
            outcome => self.settle(&outcome?),
        }
        Ok(())
    }

    /// Charges what was used, where the provider has told.
    fn settle(&self, end: &Payload) {
        let told = end.decode::<Forwarded>().ok().and_then(|end| end.usage);
        if let (Some(usage), Some(charge)) = (told, &self.entered.pass.charge) {
            charge.used(usage);
        }
    }

    fn ping(&self) -> String {
        if self.dialect == Dialect::AnthropicMessages {
            named(&json!({ "type": "ping" }))
        } else {
            ": ping\n\n".to_owned()
        }
    }

    /// The last event of an answer that broke off.
    fn broken(&self, failure: &Failure) -> String {
        match self.dialect {
            Dialect::AnthropicMessages => named(&crate::messages::error(failure)),
            Dialect::OpenAiResponses => {
                let error = &failure.body()["error"];
                let (code, message, param) = (&error["code"], &error["message"], &error["param"]);
                named(&json!({ "type": "error", "code": code, "message": message, "param": param }))
            }
            _ => data(&failure.body()),
        }
    }
}

/// No provider of the model speaks like this, or nobody forwards.
fn is_elsewhere(error: &Error) -> bool {
    error.reason.as_deref() == Some(OTHER_FAMILY)
        || (error.code == Code::NotFound && error.origin == Origin::Engine)
}

fn read_start(chunk: &Payload) -> Result<ForwardStart, Error> {
    chunk.decode().map_err(|error| {
        let message = format!("`{FORWARD}` began with something unexpected: {error}");
        Error::worker(Code::Failed, message)
    })
}

fn passed_back(start: ForwardStart) -> BTreeMap<String, String> {
    let passes = |name: &str| {
        PASSED_BACK.contains(&name) || LIMITS.iter().any(|start| name.starts_with(start))
    };
    let mut headers = start.headers;
    headers.retain(|name, _| passes(name));
    headers
}
