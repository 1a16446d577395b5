//! A response as events, each with its number.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::shape::{Draft, function_call, message, output_text, reasoning};
use crate::{
    ask::{Reply, Said},
    chat::new_id,
    error::Failure,
    relay::Wording,
    sse::named,
};

/// What every stream begins with.
const FIRST: [&str; 2] = ["response.created", "response.in_progress"];

/// An item that is being written.
struct Item {
    index: usize,
    id: String,
    /// Of a message, of thoughts, or the arguments of a call.
    text: String,
    kind: Kind,
}

#[derive(Clone, PartialEq)]
enum Kind {
    Message,
    Reasoning,
    Call { call_id: String, name: String },
}

impl Item {
    fn whole(&self) -> Value {
        match &self.kind {
            Kind::Message => message(&self.id, "completed", Some(&self.text)),
            Kind::Reasoning => reasoning(&self.id, &self.text),
            Kind::Call { call_id, name } => {
                function_call(&self.id, "completed", call_id, name, &self.text)
            }
        }
    }

    fn fresh(&self) -> Value {
        match &self.kind {
            Kind::Message => message(&self.id, "in_progress", None),
            Kind::Reasoning => reasoning(&self.id, ""),
            Kind::Call { call_id, name } => {
                function_call(&self.id, "in_progress", call_id, name, "")
            }
        }
    }
}

/// A response as it is written, item by item.
pub(super) struct Steps {
    draft: Draft,
    sequence: u64,
    /// The message or the thoughts being written.
    open: Option<Item>,
    /// Calls being written, by the model's number for them.
    calls: BTreeMap<u32, Item>,
    /// Items by their place in the output; `None` while they are written.
    output: Vec<Option<Value>>,
    /// The whole response, once there is one.
    pub(super) done: Option<Value>,
}

impl Steps {
    pub(super) fn new(draft: Draft) -> Self {
        Steps {
            draft,
            // They are told before anything else, and made when that is there.
            sequence: FIRST.len() as u64,
            open: None,
            calls: BTreeMap::new(),
            output: Vec::new(),
            done: None,
        }
    }

    /// `fields` as the event `kind`.
    fn event(&mut self, kind: &str, fields: Value) -> String {
        let mut event = json!({ "type": kind, "sequence_number": self.sequence });
        self.sequence += 1;
        if let (Some(event), Value::Object(fields)) = (event.as_object_mut(), fields) {
            event.extend(fields);
        }
        named(&event)
    }

    fn begin_item(&mut self, prefix: &str, kind: Kind, events: &mut Vec<String>) -> Item {
        let item = Item {
            index: self.output.len(),
            id: new_id(prefix),
            text: String::new(),
            kind,
        };
        self.output.push(None);
        let fields = json!({ "output_index": item.index, "item": item.fresh() });
        events.push(self.event("response.output_item.added", fields));
        if let Some((kind, fields)) = part(&item, "added", "") {
            events.push(self.event(&kind, fields));
        }
        item
    }

    fn end_item(&mut self, item: &Item, events: &mut Vec<String>) {
        let (text, index) = (item.text.as_str(), item.index);
        let (kind, mut fields) = match &item.kind {
            Kind::Message => (
                "response.output_text.done",
                json!({ "content_index": 0, "text": text, "logprobs": [] }),
            ),
            Kind::Reasoning => (
                "response.reasoning_summary_text.done",
                json!({ "summary_index": 0, "text": text }),
            ),
            Kind::Call { name, .. } => (
                "response.function_call_arguments.done",
                json!({ "name": name, "arguments": text }),
            ),
        };
        fields["item_id"] = item.id.as_str().into();
        fields["output_index"] = index.into();
        events.push(self.event(kind, fields));
        if let Some((kind, fields)) = part(item, "done", text) {
            events.push(self.event(&kind, fields));
        }
        let whole = item.whole();
        let fields = json!({ "output_index": index, "item": whole });
        events.push(self.event("response.output_item.done", fields));
        self.output[index] = Some(whole);
    }

    fn end_open(&mut self, events: &mut Vec<String>) {
        if let Some(item) = self.open.take() {
            self.end_item(&item, events);
        }
    }

    /// A piece of the message or of the thoughts.
    fn piece(&mut self, kind: Kind, piece: &str) -> Vec<String> {
        let mut events = Vec::new();
        if self.open.as_ref().is_none_or(|open| open.kind != kind) {
            self.end_open(&mut events);
            let prefix = if kind == Kind::Message { "msg_" } else { "rs_" };
            self.open = Some(self.begin_item(prefix, kind.clone(), &mut events));
        }
        let Some(item) = &mut self.open else {
            return events;
        };
        item.text.push_str(piece);
        let mut fields = json!({ "item_id": item.id, "output_index": item.index, "delta": piece });
        let kind = if kind == Kind::Message {
            fields["content_index"] = 0.into();
            fields["logprobs"] = json!([]);
            "response.output_text.delta"
        } else {
            fields["summary_index"] = 0.into();
            "response.reasoning_summary_text.delta"
        };
        events.push(self.event(kind, fields));
        events
    }

    fn output(&self) -> Vec<Value> {
        self.output.iter().flatten().cloned().collect()
    }
}

/// The event about the one part of a message or of thoughts; calls have none.
fn part(item: &Item, what: &str, text: &str) -> Option<(String, Value)> {
    let (kind, index, part) = match item.kind {
        Kind::Message => ("content_part", "content_index", output_text(text)),
        Kind::Reasoning => (
            "reasoning_summary_part",
            "summary_index",
            json!({ "type": "summary_text", "text": text }),
        ),
        Kind::Call { .. } => return None,
    };
    let fields = json!({ "item_id": item.id, "output_index": item.index, index: 0, "part": part });
    Some((format!("response.{kind}.{what}"), fields))
}

impl Wording for Steps {
    fn begin(&mut self) -> Vec<String> {
        let response = self.draft.under_way("in_progress");
        let event = |(number, kind): (usize, &&str)| {
            named(&json!({ "type": kind, "sequence_number": number, "response": response }))
        };
        FIRST.iter().enumerate().map(event).collect()
    }

    fn said(&mut self, _: usize, said: Said) -> Vec<String> {
        let mut events = Vec::new();
        match said {
            Said::Text(text) => return self.piece(Kind::Message, &text),
            Said::Reasoning(text) => return self.piece(Kind::Reasoning, &text),
            Said::ToolCallStart { index, id, name } => {
                self.end_open(&mut events);
                let kind = Kind::Call { call_id: id, name };
                let item = self.begin_item("fc_", kind, &mut events);
                self.calls.insert(index, item);
            }
            Said::ToolCallArguments { index, piece } => {
                let Some(item) = self.calls.get_mut(&index) else {
                    return events;
                };
                item.text.push_str(&piece);
                let fields =
                    json!({ "item_id": item.id, "output_index": item.index, "delta": piece });
                events.push(self.event("response.function_call_arguments.delta", fields));
            }
            Said::Model(_) | Said::Aside(_) => {}
        }
        events
    }

    fn reply(&mut self, _: usize, reply: Reply) -> Vec<String> {
        let mut events = Vec::new();
        self.end_open(&mut events);
        // Calls may be written by turns, so each ends only here.
        for item in std::mem::take(&mut self.calls).into_values() {
            self.end_item(&item, &mut events);
        }
        self.done = Some(self.draft.done(&reply, self.output()));
        events
    }

    fn close(&mut self) -> Vec<String> {
        let Some(response) = self.done.clone() else {
            return Vec::new();
        };
        let kind = format!(
            "response.{}",
            response["status"].as_str().unwrap_or_default()
        );
        vec![self.event(&kind, json!({ "response": response }))]
    }

    fn fail(&mut self, failure: &Failure) -> Vec<String> {
        let response = self.draft.failed(failure, self.output());
        self.done = Some(response.clone());
        vec![self.event("response.failed", json!({ "response": response }))]
    }
}
