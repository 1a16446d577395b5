//! Conversations that models accept: every call answered exactly once and right behind it.
//!
//! Broken histories come from clients, from crashes in the middle of an answer, and from
//! providers that give two calls one id.

use std::collections::{HashMap, HashSet, VecDeque};

use agentos_contract::chat::{Content, Message, Role, ToolCall};

/// Stands in for the result of a call that has none.
const NO_RESULT: &str = "error: the call was interrupted and has no result";

/// Puts a conversation in order; one that is in order stays as it is.
///
/// Results move behind their calls, in the order of the calls. Missing results are made up as
/// errors, results without a call are dropped, and so are assistant messages that say nothing.
/// Ids that are missing or used twice are replaced.
pub(crate) fn repair(messages: Vec<Message>) -> Vec<Message> {
    let mut results: HashMap<String, VecDeque<Message>> = HashMap::new();
    let mut rest = Vec::new();
    for message in messages {
        match message.role {
            Role::Tool => {
                let id = message.tool_call_id.clone().unwrap_or_default();
                results.entry(id).or_default().push_back(message);
            }
            Role::Assistant if says_nothing(&message) => {}
            _ => rest.push(message),
        }
    }
    let mut ids = Ids::default();
    let mut repaired = Vec::with_capacity(rest.len());
    for mut message in rest {
        let mut answers = Vec::new();
        for call in &mut message.tool_calls {
            let answer = results.get_mut(&call.id).and_then(VecDeque::pop_front);
            call.id = ids.unique(&call.id);
            let mut answer = answer.unwrap_or_else(|| Message::tool("", NO_RESULT));
            answer.tool_call_id = Some(call.id.clone());
            answers.push(answer);
        }
        repaired.push(message);
        repaired.extend(answers);
    }
    repaired
}

/// The calls of the latest assistant message that `waits` knows and that have no result.
pub(crate) fn unanswered(messages: &[Message], waits: impl Fn(&str) -> bool) -> Vec<ToolCall> {
    let Some(at) = messages
        .iter()
        .rposition(|message| message.role == Role::Assistant)
    else {
        return Vec::new();
    };
    let (asked, after) = messages[at..].split_at(1);
    let answered = |id: &str| {
        after
            .iter()
            .any(|message| message.tool_call_id.as_deref() == Some(id))
    };
    let calls = asked.iter().flat_map(|message| &message.tool_calls);
    calls
        .filter(|call| waits(&call.id) && !answered(&call.id))
        .cloned()
        .collect()
}

/// Takes the made-up results of `calls` away: they will have real ones.
pub(crate) fn reopen(messages: &mut Vec<Message>, calls: &[ToolCall]) {
    messages.retain(|message| {
        let id = message.tool_call_id.as_deref();
        !(message.text() == NO_RESULT && calls.iter().any(|call| id == Some(call.id.as_str())))
    });
}

fn says_nothing(message: &Message) -> bool {
    let silent = match &message.content {
        None => true,
        Some(Content::Text(text)) => text.is_empty(),
        Some(Content::Parts(parts)) => parts.is_empty(),
    };
    // Other fields may say something: a refusal, audio.
    silent
        && message.tool_calls.is_empty()
        && message.extra.values().all(serde_json::Value::is_null)
}

/// Ids of calls in one conversation.
#[derive(Default)]
pub(crate) struct Ids(HashSet<String>);

impl Ids {
    /// The ids that `messages` use.
    pub(crate) fn of(messages: &[Message]) -> Self {
        Ids(messages
            .iter()
            .flat_map(|message| &message.tool_calls)
            .map(|call| call.id.clone())
            .collect())
    }

    /// `id` if it is new and not empty, else one like it.
    pub(crate) fn unique(&mut self, id: &str) -> String {
        let stem = if id.is_empty() { "call" } else { id };
        let mut unique = id.to_owned();
        let mut number = self.0.len();
        while unique.is_empty() || self.0.contains(&unique) {
            number += 1;
            unique = format!("{stem}_{number}");
        }
        self.0.insert(unique.clone());
        unique
    }
}

/// Bytes of a message, about four of which are a token.
pub(crate) fn size(message: &Message) -> usize {
    serde_json::to_vec(message).map_or(0, |text| text.len())
}

/// How many messages come before the newest part that fits into `bytes_max` and begins with what a
/// user said.
pub(crate) fn cut(messages: &[Message], bytes_max: usize) -> usize {
    let mut room = bytes_max;
    let mut start = messages.len();
    for (index, message) in messages.iter().enumerate().rev() {
        let Some(left) = room.checked_sub(size(message)) else {
            break;
        };
        room = left;
        if message.role == Role::User {
            start = index;
        }
    }
    start
}

/// The newest part of a conversation that fits into `bytes_max`, beginning with what a user
/// said; and how many messages were left out. Instructions at its start stay.
pub(crate) fn window(mut messages: Vec<Message>, bytes_max: usize) -> (Vec<Message>, usize) {
    if messages.iter().map(size).sum::<usize>() <= bytes_max {
        return (messages, 0);
    }
    let instructs = |message: &&Message| matches!(message.role, Role::System | Role::Developer);
    let talk = messages.split_off(messages.iter().take_while(instructs).count());
    let room = bytes_max.saturating_sub(messages.iter().map(size).sum());
    let start = cut(&talk, room);
    // The latest question is asked whatever its size; the provider may refuse it with a reason.
    let latest = talk.iter().rposition(|message| message.role == Role::User);
    let left_out = start.min(latest.unwrap_or(0));
    messages.extend(talk.into_iter().skip(left_out));
    (messages, left_out)
}

#[cfg(test)]
mod tests;
