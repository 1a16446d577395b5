//! Messages as a host that speaks OpenAI's dialect takes them.

use std::borrow::Cow;

use agentos_contract::{
    chat::{Content, Message, Role},
    llm::REASONING_DETAILS,
};

use crate::{
    history::{fingerprint, repaired},
    table::{Entry, ToolIds},
};

/// Repaired, and without what the host refuses. Borrowed when nothing is to be changed.
pub(super) fn fit<'m>(messages: &'m [Message], habits: &Entry) -> Cow<'m, [Message]> {
    let mut messages = repaired(messages);
    let touched = |message: &Message| {
        refused(habits).any(|field| {
            field == "name" && message.name.is_some() || message.extra.contains_key(field)
        }) || habits.tool_ids == ToolIds::Short
            && (!message.tool_calls.is_empty() || message.tool_call_id.is_some())
    };
    if messages.iter().any(touched) {
        messages
            .to_mut()
            .iter_mut()
            .for_each(|message| strip(message, habits));
    }
    if habits.alternate {
        messages = Cow::Owned(alternate(messages.into_owned()));
    }
    messages
}

fn refused(habits: &Entry) -> impl Iterator<Item = &str> {
    let details = (!habits.reasoning_details).then_some(REASONING_DETAILS);
    habits
        .drop_in_messages
        .iter()
        .map(String::as_str)
        .chain(details)
}

fn strip(message: &mut Message, habits: &Entry) {
    for field in refused(habits) {
        if field == "name" {
            message.name = None;
        }
        message.extra.shift_remove(field);
    }
    if habits.tool_ids == ToolIds::Short {
        for call in &mut message.tool_calls {
            call.id = short(&call.id);
        }
        message.tool_call_id = message.tool_call_id.as_deref().map(short);
    }
}

/// Nine letters and digits, always the same for the same id.
fn short(id: &str) -> String {
    const DIGITS: &[u8; 36] = b"0123456789abcdefghijklmnopqrstuvwxyz";
    if id.len() == 9 && id.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
        return id.to_owned();
    }
    let mut rest = fingerprint(id);
    let digit = |_| {
        let digit = DIGITS[(rest % 36) as usize];
        rest /= 36;
        char::from(digit)
    };
    (0..9).map(digit).collect()
}

/// Joins what one side says in a row; the system text stays in front.
fn alternate(messages: Vec<Message>) -> Vec<Message> {
    let mut turns: Vec<Message> = Vec::with_capacity(messages.len());
    for message in messages {
        let plain = |message: &Message| {
            matches!(message.role, Role::User | Role::Assistant) && message.tool_calls.is_empty()
        };
        match turns.last_mut() {
            Some(last) if last.role == message.role && plain(last) && plain(&message) => {
                last.content = Some(Content::Text(format!(
                    "{}\n\n{}",
                    last.text(),
                    message.text()
                )));
            }
            _ => turns.push(message),
        }
    }
    turns
}

#[cfg(test)]
mod tests {
    use super::*;
    use agentos_contract::chat::ToolCall;

    #[test]
    fn habits_of_hosts() {
        let messages = [
            Message {
                name: Some("ada".into()),
                ..Message::user("a")
            },
            Message::user("b"),
            Message::assistant(
                "",
                vec![ToolCall::function("call_with_a_long_id", "f", "{}")],
            ),
            Message::tool("call_with_a_long_id", "1"),
        ];
        assert!(matches!(
            fit(&messages, &Entry::default()),
            Cow::Borrowed(_)
        ));
        let mistral = Entry {
            tool_ids: ToolIds::Short,
            ..Entry::default()
        };
        let fitted = fit(&messages, &mistral);
        let id = &fitted[2].tool_calls[0].id;
        assert!(
            id.len() == 9 && fitted[3].tool_call_id.as_ref() == Some(id),
            "{id}"
        );
        let strict = Entry {
            alternate: true,
            drop_in_messages: vec!["name".into()],
            ..Entry::default()
        };
        let fitted = fit(&messages, &strict);
        assert_eq!(
            (fitted.len(), fitted[0].text(), &fitted[0].name),
            (3, "a\n\nb".to_owned(), &None)
        );
    }
}
