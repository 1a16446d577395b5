//! Histories in OpenAI's shape, made whole.

use std::{
    borrow::Cow,
    collections::{HashSet, VecDeque},
};

use agentos_contract::chat::{Content, Message, Role, ToolCall};
use serde_json::Value;

/// What a call is answered with whose result is lost.
const LOST: &str = "(no result: the call was interrupted)";

/// Fields of an assistant's message that say something without content.
const SAID_ELSEWHERE: [&str; 3] = ["function_call", "refusal", "audio"];

/// `messages` such that every call is answered once and right after it, every result answers a
/// call, ids are unique, and no message is empty. Borrowed when it is so already, as a rule.
pub(crate) fn repaired(messages: &[Message]) -> Cow<'_, [Message]> {
    if is_whole(messages) {
        Cow::Borrowed(messages)
    } else {
        Cow::Owned(repair(messages))
    }
}

fn is_whole(messages: &[Message]) -> bool {
    let mut seen = HashSet::new();
    let mut open: VecDeque<&str> = VecDeque::new();
    messages.iter().all(|message| {
        if message.role == Role::Tool {
            // In the order of the calls, as every sane history has them.
            let answered = open.pop_front();
            return answered.is_some() && answered == message.tool_call_id.as_deref();
        }
        let calls_in_place = message.role == Role::Assistant || message.tool_calls.is_empty();
        open.is_empty() && calls_in_place && says_something(message) && {
            open.extend(message.tool_calls.iter().map(|call| call.id.as_str()));
            {
                let mut calls = message.tool_calls.iter();
                calls.all(|call| callable(call) && seen.insert(call.id.as_str()))
            }
        }
    }) && open.is_empty()
}

fn callable(call: &ToolCall) -> bool {
    let named = |function: &agentos_contract::chat::FunctionCall| !function.name.is_empty();
    !call.id.is_empty() && call.function.as_ref().is_none_or(named)
}

fn says_something(message: &Message) -> bool {
    !message.tool_calls.is_empty()
        || match &message.content {
            None => SAID_ELSEWHERE.iter().any(|field| {
                message
                    .extra
                    .get(*field)
                    .is_some_and(|said| !said.is_null())
            }),
            Some(Content::Text(text)) => !text.trim().is_empty(),
            Some(Content::Parts(parts)) => !parts.is_empty() && !parts.iter().any(blank),
        }
}

fn blank(part: &Value) -> bool {
    let text = |part: &Value| Some(part.get("text")?.as_str()?.trim().is_empty());
    part["type"] == "text" && text(part).unwrap_or(true)
}

fn repair(messages: &[Message]) -> Vec<Message> {
    let mut whole = Vec::with_capacity(messages.len());
    let mut taken = HashSet::new();
    let mut rest: VecDeque<Message> = messages.iter().map(without_blanks).collect();
    while let Some(mut message) = rest.pop_front() {
        match message.role {
            Role::Tool => whole.extend(orphan(&message)),
            Role::Assistant if !message.tool_calls.is_empty() => {
                let calls = unique(&mut message, &mut taken);
                let results = results(&calls, &mut rest);
                if says_something(&message) {
                    whole.push(message);
                }
                whole.extend(results);
            }
            _ if says_something(&message) => whole.push(message),
            _ => {}
        }
    }
    whole
}

fn without_blanks(message: &Message) -> Message {
    let mut message = message.clone();
    if let Some(Content::Parts(parts)) = &mut message.content {
        parts.retain(|part| !blank(part));
        if parts.is_empty() {
            message.content = None;
        }
    }
    if message.role == Role::Tool && message.content.is_none() {
        message.content = Some(Content::Text(String::new()));
    }
    if message.role != Role::Assistant {
        message.tool_calls.clear();
    }
    message
}

/// Gives every call of `message` an id that no call before has, and drops those that call nothing.
/// Tells the ids as they were and as they are.
fn unique(message: &mut Message, taken: &mut HashSet<String>) -> Vec<(String, String)> {
    message.tool_calls.retain(|call| {
        let named = call.function.as_ref();
        named.is_none_or(|function| !function.name.is_empty())
    });
    let calls = message.tool_calls.iter_mut().map(|call| {
        let before = call.id.clone();
        let mut number = 1;
        while call.id.is_empty() || !taken.insert(call.id.clone()) {
            number += 1;
            call.id = format!(
                "{}_{number}",
                if before.is_empty() { "call" } else { &before }
            );
        }
        (before, call.id.clone())
    });
    calls.collect()
}

/// The results of `calls`, in their order, taken out of what comes before the assistant speaks
/// again.
fn results(calls: &[(String, String)], rest: &mut VecDeque<Message>) -> Vec<Message> {
    let until = rest
        .iter()
        .position(|message| message.role == Role::Assistant)
        .unwrap_or(rest.len());
    let mut within: Vec<Message> = rest.drain(..until).collect();
    let results = calls.iter().map(|(before, now)| {
        let found = within.iter().position(|message| {
            message.role == Role::Tool && message.tool_call_id.as_deref() == Some(before)
        });
        let mut result = found.map_or_else(|| Message::tool("", LOST), |at| within.remove(at));
        result.tool_call_id = Some(now.clone());
        result
    });
    let results = results.collect();
    for message in within.into_iter().rev() {
        rest.push_front(message);
    }
    results
}

/// A result without a call is told in words.
fn orphan(message: &Message) -> Option<Message> {
    let text = message.text();
    let told = format!("(result of an earlier call)\n{text}");
    (!text.trim().is_empty()).then(|| Message::user(told))
}
