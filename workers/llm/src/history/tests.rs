//! Whatever happens to a history, what is sent is fit for the strictest provider.

use std::collections::HashSet;

use agentos_contract::chat::ToolCall;
use proptest::prelude::*;

use super::*;

/// What the strictest of OpenAI's relatives demands.
fn strict_messages(messages: &[Message]) {
    let mut open: Vec<&str> = Vec::new();
    let mut ids = HashSet::new();
    for message in messages {
        if message.role == Role::Tool {
            let id = message.tool_call_id.as_deref().unwrap();
            let at = open.iter().position(|open| *open == id);
            open.remove(at.expect("a result answers a call of the turn before"));
            continue;
        }
        assert!(open.is_empty(), "calls without results: {open:?}");
        let empty = message.text().trim().is_empty() && message.tool_calls.is_empty();
        assert!(!empty, "an empty message");
        for call in &message.tool_calls {
            assert_eq!(message.role, Role::Assistant);
            assert!(!call.id.is_empty() && ids.insert(call.id.as_str()));
            assert!(!call.function.as_ref().unwrap().name.is_empty());
            open.push(&call.id);
        }
    }
    assert!(open.is_empty(), "calls without results at the end");
}

/// What Anthropic and Bedrock demand.
fn strict_turns(turns: &[Turn]) {
    let plain = |id: &str| assert_eq!(fit(id), id);
    for (index, turn) in turns.iter().enumerate() {
        let expect = [Speaker::User, Speaker::Assistant][index % 2];
        assert_eq!(turn.speaker, expect, "speakers take turns");
        assert!(!turn.blocks.is_empty());
        let before = index.checked_sub(1).map_or(&[][..], |at| &turns[at].blocks);
        let mut open: Vec<&String> = before
            .iter()
            .filter_map(|block| {
                if let Block::Call { id, .. } = block {
                    Some(id)
                } else {
                    None
                }
            })
            .collect();
        for (place, block) in turn.blocks.iter().enumerate() {
            match block {
                Block::Text { text, .. } => assert!(!text.trim().is_empty()),
                Block::Call { id, name, .. } => {
                    assert_eq!(turn.speaker, Speaker::Assistant);
                    plain(id);
                    plain(name);
                }
                Block::Result { id, .. } => {
                    let leads = turn.blocks[..place]
                        .iter()
                        .all(|block| matches!(block, Block::Result { .. }));
                    assert!(leads, "results come first");
                    let at = open.iter().position(|open| *open == id);
                    open.remove(at.expect("a result answers a call of the turn before"));
                }
                _ => {}
            }
        }
        assert!(open.is_empty(), "calls without results: {open:?}");
    }
    assert_eq!(turns.last().map(|turn| turn.speaker), Some(Speaker::User));
}

fn message() -> impl Strategy<Value = Message> {
    let text = prop_oneof![Just(""), Just(" \n"), Just("a"), Just("über")];
    let id = prop_oneof![
        Just(""),
        Just("c1"),
        Just("c2"),
        Just("functions.f:0"),
        Just("c3")
    ];
    let call = (
        id.clone(),
        prop_oneof![Just("f"), Just(""), Just("file::read")],
        "[{}a:\"]{0,4}",
    );
    let calls = prop::collection::vec(call, 0..3);
    let roles = [
        Role::System,
        Role::Developer,
        Role::User,
        Role::Assistant,
        Role::Assistant,
        Role::Tool,
        Role::Tool,
        Role::Function,
    ];
    (
        prop::sample::select(roles.to_vec()),
        text,
        id,
        calls,
        0..3u8,
    )
        .prop_map(|(role, text, id, calls, shape)| {
            let mut message = Message::new(role, text);
            match shape {
                0 => {
                    message.content = Some(Content::Parts(vec![
                        json!({"type": "text", "text": text}),
                        json!({"type": "text", "text": ""}),
                    ]))
                }
                1 if role == Role::Assistant => message.content = None,
                _ => {}
            }
            if role == Role::Tool {
                message.tool_call_id = Some(id.to_owned());
            }
            if role == Role::Assistant {
                message.tool_calls = calls
                    .into_iter()
                    .map(|(id, name, arguments)| ToolCall::function(id, name, arguments))
                    .collect();
            }
            message
        })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn any_history_becomes_valid_and_stays_so(messages in prop::collection::vec(message(), 0..10)) {
        let once = repaired(&messages).into_owned();
        strict_messages(&once);
        prop_assert_eq!(&repaired(&once)[..], &once[..]);
        prop_assert!(matches!(repaired(&once), std::borrow::Cow::Borrowed(_)));
        let users = |messages: &[Message]| {
            messages.iter().filter(|message| message.role == Role::User && !message.text().trim().is_empty())
                .map(Message::text).collect::<Vec<_>>()
        };
        let kept = users(&once);
        let mut rest = kept.iter();
        for text in users(&messages) {
            prop_assert!(rest.any(|kept| *kept == text), "{} is lost", text);
        }
        if let Ok(conversation) = Conversation::of(&messages) {
            strict_turns(&conversation.turns);
        } else {
            prop_assert!(once.iter().all(|message| matches!(message.role, Role::System | Role::Developer)));
        }
    }
}

#[test]
fn whole_histories_are_not_copied() {
    let messages = [
        Message::user("go"),
        Message::assistant(
            "",
            vec![
                ToolCall::function("a", "f", "{}"),
                ToolCall::function("b", "f", "{}"),
            ],
        ),
        Message::tool("a", ""),
        Message::tool("b", "2"),
        Message::assistant("done", vec![]),
    ];
    assert!(matches!(repaired(&messages), std::borrow::Cow::Borrowed(_)));
}

#[test]
fn lost_late_and_foreign_results() {
    let messages = [
        Message::assistant(
            "",
            vec![
                ToolCall::function("a", "f", "{}"),
                ToolCall::function("b", "f", "{}"),
            ],
        ),
        Message::user("wait"),
        Message::tool("b", "2"),
        Message::tool("z", "9"),
        Message::tool("b", "twice"),
    ];
    let whole = repaired(&messages);
    let told: Vec<_> = whole
        .iter()
        .map(|message| {
            (
                message.role,
                message.tool_call_id.as_deref().unwrap_or_default(),
                message.text(),
            )
        })
        .collect();
    assert_eq!(
        told,
        [
            (Role::Assistant, "", String::new()),
            (
                Role::Tool,
                "a",
                "(no result: the call was interrupted)".to_owned()
            ),
            (Role::Tool, "b", "2".to_owned()),
            (Role::User, "", "wait".to_owned()),
            (Role::User, "", "(result of an earlier call)\n9".to_owned()),
            (
                Role::User,
                "",
                "(result of an earlier call)\ntwice".to_owned()
            ),
        ]
    );
}
