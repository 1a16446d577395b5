//! Google's chunks as ours. Each has the shape of a whole answer; calls come in one piece and
//! often without an id.

use std::collections::VecDeque;

use agentos_contract::llm::{Event, FinishReason, Usage};
use serde::Deserialize;
use serde_json::{Value, json};
use uuid::Uuid;

use super::FORMAT;
use crate::{
    error::Complaint,
    reading::{self, Fault, finish},
};

/// Reads one answer.
pub(super) struct Codec {
    provider: String,
    model: String,
    started: bool,
    calls: u32,
    usage: Option<Usage>,
    finish: Option<FinishReason>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Chunk {
    #[serde(default)]
    candidates: Vec<Candidate>,
    usage_metadata: Option<Counts>,
    model_version: Option<String>,
    prompt_feedback: Option<Feedback>,
    error: Option<Value>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Feedback {
    block_reason: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Candidate {
    content: Option<Content>,
    finish_reason: Option<String>,
}

#[derive(Deserialize)]
struct Content {
    #[serde(default)]
    parts: Vec<Part>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Part {
    text: Option<String>,
    #[serde(default)]
    thought: bool,
    thought_signature: Option<String>,
    function_call: Option<Call>,
}

#[derive(Deserialize)]
struct Call {
    id: Option<String>,
    name: String,
    #[serde(default)]
    args: Value,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[derive(Default)]
struct Counts {
    prompt_token_count: Option<u64>,
    candidates_token_count: Option<u64>,
    thoughts_token_count: Option<u64>,
    cached_content_token_count: Option<u64>,
    tool_use_prompt_token_count: Option<u64>,
}

impl Codec {
    pub(super) fn new(provider: &str, model: &str) -> Self {
        Codec {
            provider: provider.to_owned(),
            model: model.to_owned(),
            started: false,
            calls: 0,
            usage: None,
            finish: None,
        }
    }

    fn take(&mut self, chunk: Chunk, events: &mut VecDeque<Event>) -> Result<(), Fault> {
        if let Some(error) = chunk.error {
            return Err(Fault::Refused(Complaint::read(&json!({ "error": error }))));
        }
        if chunk.candidates.is_empty()
            && chunk.usage_metadata.is_none()
            && chunk.prompt_feedback.is_none()
        {
            return Err(Fault::Garbage("something that is no answer".to_owned()));
        }
        if !std::mem::replace(&mut self.started, true) {
            events.push_back(Event::Start {
                model: chunk.model_version.unwrap_or_else(|| self.model.clone()),
                provider: self.provider.clone(),
            });
        }
        if let Some(counts) = chunk.usage_metadata {
            self.count(&counts);
        }
        if chunk
            .prompt_feedback
            .and_then(|feedback| feedback.block_reason)
            .is_some()
        {
            self.finish = Some(FinishReason::ContentFilter);
        }
        // Only one candidate is ever asked for.
        if let Some(candidate) = chunk.candidates.into_iter().next() {
            for part in candidate
                .content
                .into_iter()
                .flat_map(|content| content.parts)
            {
                self.part(part, events);
            }
            if let Some(reason) = candidate.finish_reason {
                self.finish = Some(finish_reason(&reason));
            }
        }
        Ok(())
    }

    fn part(&mut self, part: Part, events: &mut VecDeque<Event>) {
        if let Some(text) = part.text.filter(|text| !text.is_empty()) {
            events.push_back(if part.thought {
                Event::Reasoning { text }
            } else {
                Event::Text { text }
            });
        }
        let Some(call) = part.function_call else {
            return;
        };
        let index = self.calls;
        self.calls += 1;
        let minted = || format!("call_{}", Uuid::new_v4().simple());
        let id = call.id.filter(|id| !id.is_empty()).unwrap_or_else(minted);
        if let Some(signature) = part.thought_signature {
            let detail = json!({
                "type": "reasoning.encrypted", "format": FORMAT, "id": id, "data": signature,
            });
            events.push_back(Event::ReasoningDetail { detail });
        }
        events.push_back(Event::ToolCallStart {
            index,
            id,
            name: call.name,
        });
        let piece = match call.args {
            Value::Null => "{}".to_owned(),
            args => args.to_string(),
        };
        events.push_back(Event::ToolCallArguments { index, piece });
    }

    /// Counts are of all so far; some chunks name none.
    fn count(&mut self, counts: &Counts) {
        if counts.prompt_token_count.is_none() && counts.candidates_token_count.is_none() {
            return;
        }
        let input = counts.prompt_token_count.unwrap_or(0)
            + counts.tool_use_prompt_token_count.unwrap_or(0);
        let thought = counts.thoughts_token_count;
        let output = counts.candidates_token_count.unwrap_or(0) + thought.unwrap_or(0);
        self.usage = Some(Usage {
            cached_tokens: counts.cached_content_token_count,
            reasoning_tokens: thought,
            ..Usage::new(input, output)
        });
    }
}

impl reading::Codec for Codec {
    fn piece(&mut self, data: &[u8], events: &mut VecDeque<Event>) -> Result<(), Fault> {
        match data.trim_ascii() {
            b"" => Ok(()),
            data => self.take(serde_json::from_slice(data)?, events),
        }
    }

    fn end(&mut self, events: &mut VecDeque<Event>) -> Result<(), Fault> {
        let reason = self.finish.ok_or(Fault::Cut)?;
        events.extend(self.usage.map(Event::Usage));
        events.push_back(finish(reason, self.calls > 0));
        Ok(())
    }

    fn whole(&mut self, body: &[u8], events: &mut VecDeque<Event>) -> Result<(), Fault> {
        self.take(serde_json::from_slice(body)?, events)?;
        self.end(events)
    }
}

fn finish_reason(text: &str) -> FinishReason {
    match text {
        "MAX_TOKENS" => FinishReason::Length,
        "SAFETY" | "RECITATION" | "BLOCKLIST" | "PROHIBITED_CONTENT" | "SPII" | "IMAGE_SAFETY" => {
            FinishReason::ContentFilter
        }
        _ => FinishReason::Stop,
    }
}
