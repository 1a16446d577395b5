//! `POST /v1/completions`, the older surface: a text in, a text out.
//!
//! The models behind hold conversations, so each prompt is what the user says in one.

use std::sync::Arc;

use agentos_contract::{
    chat::Message,
    llm::{CompleteRequest, Dialect, Usage},
};
use agentos_sdk::{Context, Sink};
use serde_json::{Map, Value, json};
use tokio::sync::Mutex;

use crate::{
    Api,
    ask::{self, Ask, Reply, Said},
    chat::{new_id, now_s},
    error::Failure,
    fields::{Fields, model},
    forward::Sent,
    http::{Answer, Request},
    relay::{Relay, Wording},
    request::CHOICES_MAX,
    shape::{Frame, total, usage},
    sse::data,
};

/// What a completion that names no limit may be long, as OpenAI has it.
const TOKENS_DEFAULT: u64 = 16;

/// What is asked for, and how it is to be answered.
struct Wanted {
    requests: Vec<CompleteRequest>,
    stream: bool,
    include_usage: bool,
    /// What stands before each answer: its prompt, or nothing.
    echoes: Vec<String>,
}

impl Api {
    pub(crate) async fn complete(
        self: Arc<Self>,
        context: Context,
        request: Request,
        sink: Arc<Mutex<Sink>>,
        request_id: Arc<str>,
    ) -> Result<Option<Answer>, Failure> {
        let entered = self.enter(context.bus(), request).await?;
        let target = ask::target(&context, entered.top.model.as_ref()).await?;
        let mut sink = sink.lock().await;
        let forward = self.forward(&context, Dialect::OpenAiCompletions, &entered);
        if let Sent::Done(answer) = forward.send(&target, &mut sink, &request_id).await? {
            return Ok(answer);
        }
        let body = entered.object()?;
        let pass = entered.pass;
        let wanted = read(body)?;
        let frame = Frame {
            id: new_id("cmpl-"),
            created: now_s(),
            model: wanted.requests[0].model.clone(),
            usage: wanted.include_usage,
        };
        let ask = Ask::of(target, wanted.requests, None, &pass)?;
        if !wanted.stream {
            let replies = ask.whole(context.bus(), self.answer_timeout()).await?;
            return Ok(Some(Answer::ok(whole(frame, &wanted.echoes, &replies))));
        }
        let choir = ask.aloud(context.bus(), self.answer_timeout())?;
        let texts = Texts {
            frame,
            echoes: wanted.echoes,
            used: Usage::default(),
        };
        let mut relay = Relay::new(&mut sink, &request_id, self.patience(), texts);
        if relay.tell(choir).await? {
            relay.close().await?;
        }
        Ok(None)
    }
}

fn read(body: Map<String, Value>) -> Result<Wanted, Failure> {
    let mut fields = Fields(body);
    let model = model(&mut fields)?;
    let prompts = prompts(&mut fields)?;
    let n = fields.choices()?;
    if (prompts.len() * n) as u64 > CHOICES_MAX {
        let message = format!("more than {CHOICES_MAX} answers: ask in parts");
        return Err(Failure::invalid("prompt", message));
    }
    refuse(&mut fields, n)?;
    let echo = fields.take("echo")?.unwrap_or(false);
    let stream = fields.take("stream")?.unwrap_or(false);
    let base = CompleteRequest {
        model,
        temperature: fields.within("temperature", 0.0, 2.0)?,
        max_tokens: fields.max_tokens()?.or(Some(TOKENS_DEFAULT)),
        top_p: fields.within("top_p", 0.0, 1.0)?,
        stop: fields.stop()?,
        seed: fields.take("seed")?,
        user: fields.take("user")?,
        ..CompleteRequest::default()
    };
    let include_usage = fields.include_usage(stream)?;
    let extra = fields.rest();
    let each = || prompts.iter().flat_map(|prompt| vec![prompt; n]);
    let request = |prompt: &String| CompleteRequest {
        messages: vec![Message::user(prompt.as_str())],
        extra: extra.clone(),
        ..base.clone()
    };
    let echoes = each().map(|prompt| if echo { prompt.clone() } else { String::new() });
    Ok(Wanted {
        requests: each().map(request).collect(),
        stream,
        include_usage,
        echoes: echoes.collect(),
    })
}

fn prompts(fields: &mut Fields) -> Result<Vec<String>, Failure> {
    let wrong = |message: &str| Failure::invalid("prompt", message);
    let text = |prompt: Value| match prompt {
        Value::String(prompt) => Ok(prompt),
        Value::Number(_) | Value::Array(_) => Err(wrong(
            "token ids depend on a tokenizer that is not ours: send text",
        )),
        _ => Err(wrong("prompt must be a text or a list of texts")),
    };
    match fields.required::<Value>("prompt")? {
        Value::Array(prompts) if prompts.is_empty() => Err(wrong("prompt is empty")),
        Value::Array(prompts) => prompts.into_iter().map(text).collect(),
        prompt => text(prompt).map(|prompt| vec![prompt]),
    }
}

/// What would change the answer and cannot be given: better refused than ignored.
fn refuse(fields: &mut Fields, n: usize) -> Result<(), Failure> {
    if fields.take::<u64>("logprobs")?.is_some() {
        return Err(Failure::invalid("logprobs", "logprobs are not available"));
    }
    if fields.take::<u64>("best_of")?.unwrap_or(n as u64) != n as u64 {
        return Err(Failure::invalid("best_of", "best_of must be as n"));
    }
    if fields
        .take::<String>("suffix")?
        .is_some_and(|suffix| !suffix.is_empty())
    {
        return Err(Failure::invalid("suffix", "a suffix is not possible"));
    }
    Ok(())
}

fn choice(index: usize, text: &str, finish: Option<&str>) -> Value {
    json!({ "index": index, "text": text, "logprobs": null, "finish_reason": finish })
}

fn whole(mut frame: Frame, echoes: &[String], replies: &[Reply]) -> Value {
    frame.hear_model(replies);
    let mut whole = frame.head("text_completion");
    let choices = replies.iter().zip(echoes).enumerate();
    let choices = choices.map(|(index, (Reply { completion, .. }, echo))| {
        let text = format!("{echo}{}", completion.content);
        choice(index, &text, Some(completion.finish_reason.as_str()))
    });
    whole.insert("choices".to_owned(), choices.collect());
    whole.insert("usage".to_owned(), usage(total(replies)));
    Value::Object(whole)
}

/// A stream of texts. `text` is always a string: clients join them.
struct Texts {
    frame: Frame,
    /// Not sent yet.
    echoes: Vec<String>,
    used: Usage,
}

impl Texts {
    fn chunk(&self, choices: Value, usage: Value) -> String {
        let mut chunk = self.frame.head("text_completion");
        chunk.insert("choices".to_owned(), choices);
        if self.frame.usage {
            chunk.insert("usage".to_owned(), usage);
        }
        data(&Value::Object(chunk))
    }

    fn text(&self, index: usize, text: &str, finish: Option<&str>) -> String {
        self.chunk(json!([choice(index, text, finish)]), Value::Null)
    }

    fn echo(&mut self, index: usize) -> Option<String> {
        let echo = std::mem::take(self.echoes.get_mut(index)?);
        (!echo.is_empty()).then(|| self.text(index, &echo, None))
    }
}

impl Wording for Texts {
    fn begin(&mut self) -> Vec<String> {
        Vec::new()
    }

    fn said(&mut self, choice: usize, said: Said) -> Vec<String> {
        let Said::Text(text) = said else {
            return Vec::new();
        };
        let piece = self.text(choice, &text, None);
        self.echo(choice).into_iter().chain([piece]).collect()
    }

    fn reply(&mut self, choice: usize, reply: Reply) -> Vec<String> {
        self.used += reply.completion.usage;
        let finish = reply.completion.finish_reason.as_str();
        let last = self.text(choice, "", Some(finish));
        self.echo(choice).into_iter().chain([last]).collect()
    }

    fn close(&mut self) -> Vec<String> {
        let mut events = Vec::new();
        if self.frame.usage {
            events.push(self.chunk(json!([]), usage(self.used)));
        }
        events.push("data: [DONE]\n\n".to_owned());
        events
    }

    fn fail(&mut self, failure: &Failure) -> Vec<String> {
        vec![data(&failure.body())]
    }
}
