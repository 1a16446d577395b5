use agentos_contract::chat::ToolCall;
use proptest::prelude::*;

use super::*;

fn calls(ids: &[&str]) -> Message {
    Message::assistant(
        "",
        ids.iter()
            .map(|id| ToolCall::function(*id, "f", "{}"))
            .collect(),
    )
}

/// `u` user, `a` assistant, `(x y)` calls, `=x` the result of x, `!x` a made-up one.
fn show(messages: &[Message]) -> String {
    let show = |message: &Message| match message.role {
        Role::Tool if message.text() == NO_RESULT => {
            format!("!{}", message.tool_call_id.as_ref().unwrap())
        }
        Role::Tool => format!("={}", message.tool_call_id.as_ref().unwrap()),
        Role::Assistant if message.tool_calls.is_empty() => "a".to_owned(),
        Role::Assistant => {
            let ids: Vec<_> = message
                .tool_calls
                .iter()
                .map(|call| call.id.as_str())
                .collect();
            format!("({})", ids.join(" "))
        }
        _ => "u".to_owned(),
    };
    messages.iter().map(show).collect::<Vec<_>>().join(" ")
}

fn check(messages: Vec<Message>, expect: &str) {
    assert_eq!(show(&repair(messages)), expect);
}

fn user() -> Message {
    Message::user("hi")
}

fn result(id: &str) -> Message {
    Message::tool(id, "ok")
}

#[test]
fn what_is_in_order_stays() {
    let messages = vec![
        user(),
        calls(&["x", "y"]),
        result("x"),
        result("y"),
        Message::assistant("done", vec![]),
    ];
    assert_eq!(repair(messages.clone()), messages);
}

#[test]
fn results_are_moved_made_up_and_dropped() {
    check(
        vec![calls(&["x", "y"]), result("y"), user(), result("x")],
        "(x y) =x =y u",
    );
    check(vec![user(), calls(&["x"])], "u (x) !x");
    check(
        vec![user(), result("x"), Message::assistant("", vec![])],
        "u",
    );
    check(vec![calls(&["x"]), result("x"), result("x")], "(x) =x");
}

#[test]
fn ids_become_unique() {
    check(
        vec![calls(&["x"]), result("x"), calls(&["x"]), result("x")],
        "(x) =x (x_2) =x_2",
    );
    check(vec![calls(&["", ""])], "(call_1 call_2) !call_1 !call_2");
}

#[test]
fn the_window_begins_with_a_question_and_never_loses_the_last() {
    let talk = || {
        vec![
            user(),
            calls(&["x"]),
            result("x"),
            Message::assistant("a", vec![]),
            user(),
            user(),
        ]
    };
    assert_eq!(window(talk(), 100_000), (talk(), 0));
    let (kept, left_out) = window(talk(), 200);
    assert_eq!((show(&kept).as_str(), left_out), ("u u", 4));
    let (kept, left_out) = window(talk(), 1);
    assert_eq!((show(&kept).as_str(), left_out), ("u", 5));
    let instructed = std::iter::once(Message::system("be brief")).chain(talk());
    let (kept, left_out) = window(instructed.collect(), 1);
    assert_eq!((kept[0].role, kept.len(), left_out), (Role::System, 2, 5));
}

fn any_message() -> impl Strategy<Value = Message> {
    let id = || "[xyz]?";
    prop_oneof![
        Just(user()),
        Just(Message::assistant("text", vec![])),
        Just(Message::assistant("", vec![])),
        prop::collection::vec(id(), 1..4)
            .prop_map(|ids| calls(&ids.iter().map(String::as_str).collect::<Vec<_>>())),
        id().prop_map(|id| result(&id)),
    ]
}

proptest! {
    #[test]
    fn every_call_has_exactly_one_result_right_behind_it(messages in prop::collection::vec(any_message(), 0..24)) {
        let spoken = messages.iter().filter(|message| message.role == Role::User).count();
        let repaired = repair(messages);
        let mut rest = repaired.iter();
        let mut seen = HashSet::new();
        while let Some(message) = rest.next() {
            prop_assert!(message.role != Role::Tool, "an orphan");
            for call in &message.tool_calls {
                prop_assert!(!call.id.is_empty() && seen.insert(&call.id));
                let answer = rest.next().unwrap();
                prop_assert_eq!(answer.tool_call_id.as_ref(), Some(&call.id));
                prop_assert!(answer.role == Role::Tool);
            }
        }
        prop_assert_eq!(repaired.iter().filter(|message| message.role == Role::User).count(), spoken);
        prop_assert_eq!(repair(repaired.clone()), repaired);
    }

    #[test]
    fn a_window_keeps_calls_and_results_together(messages in prop::collection::vec(any_message(), 0..24), max in 0usize..2_000) {
        let whole = repair(messages);
        let (kept, left_out) = window(whole.clone(), max);
        prop_assert_eq!(kept.len() + left_out, whole.len());
        prop_assert_eq!(repair(kept.clone()), kept);
    }
}
