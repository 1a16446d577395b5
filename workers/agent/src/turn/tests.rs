use agentos_contract::chat::Role;
use serde_json::json;

use super::*;
use crate::{history::repair, tools::Listed};

fn turn(iterations_max: u32) -> Turn {
    let listed = ["a::x", "b::y"].map(|id| Listed {
        id: id.into(),
        description: None,
        request_format: None,
    });
    let toolbox = Toolbox::new(listed.into(), &["*".into()], 9);
    let limits = Limits {
        iterations_max,
        tool_calls_max: 50,
        continuations_max: 2,
        result_bytes_max: 1_000,
    };
    let mut turn = Turn::new("me", vec![Message::user("go")], toolbox, limits);
    turn.ask();
    turn
}

fn says(text: &str, calls: &[(&str, &str, &str)]) -> Completion {
    let call = |(id, name, arguments): &(&str, &str, &str)| ToolCall {
        id: (*id).into(),
        name: (*name).into(),
        arguments: (*arguments).into(),
    };
    Completion {
        content: text.into(),
        tool_calls: calls.iter().map(call).collect(),
        finish_reason: if calls.is_empty() {
            FinishReason::Stop
        } else {
            FinishReason::ToolCalls
        },
        usage: Usage::new(3, 2),
        model: "m".into(),
        ..Completion::default()
    }
}

fn planned(next: Next) -> Vec<Planned> {
    match next {
        Next::Run(planned) => planned,
        other => panic!("{other:?}"),
    }
}

fn done(next: Next) -> StopReason {
    match next {
        Next::Done(reason) => reason,
        other => panic!("{other:?}"),
    }
}

fn ok(text: &str) -> Ran {
    Ran {
        ok: true,
        text: text.into(),
        duration_ms: 1,
    }
}

#[test]
fn parallel_calls_are_answered_in_their_order_by_id() {
    let mut turn = turn(5);
    let plan = planned(turn.heard(says(
        "let me see",
        &[("1", "a__x", "{\"k\":1}"), ("2", "b__y", "")],
    )));
    let actions: Vec<_> = plan
        .iter()
        .map(|planned| (planned.function.as_str(), planned.action.clone()))
        .collect();
    assert_eq!(
        actions,
        [
            ("a::x", Action::Run(json!({"k": 1}))),
            ("b::y", Action::Run(json!({})))
        ]
    );
    assert!(matches!(
        turn.ran(vec![ok("first"), ok("second")]),
        Next::Ask { last: false, .. }
    ));
    assert_eq!(done(turn.heard(says("done", &[]))), StopReason::Stop);
    let results: Vec<_> = turn.messages()[2..4]
        .iter()
        .map(|m| (m.tool_call_id.clone().unwrap(), m.text()))
        .collect();
    assert_eq!(
        results,
        [
            ("1".to_owned(), "first".to_owned()),
            ("2".to_owned(), "second".to_owned())
        ]
    );
    assert_eq!((turn.iterations, turn.usage), (2, Usage::new(6, 4)));
    assert_eq!(repair(turn.messages().to_vec()), turn.messages());
}

#[test]
fn bad_arguments_and_unknown_tools_are_told_to_the_model() {
    let mut turn = turn(5);
    let plan = planned(turn.heard(says("", &[("1", "a__x", "{oops"), ("2", "rm", "{}")])));
    let refused = |index: usize| match &plan[index].action {
        Action::Refuse(why) => why.clone(),
        Action::Run(input) => panic!("{input}"),
    };
    assert!(refused(0).contains("not valid JSON"));
    assert!(refused(1).contains("there is no tool `rm`; the tools are a__x, b__y"));
}

#[test]
fn the_last_call_is_announced_and_what_it_still_wants_is_not_run() {
    let mut turn = turn(2);
    planned(turn.heard(says("part one", &[("1", "a__x", "{}")])));
    assert!(matches!(
        turn.ran(vec![ok("")]),
        Next::Ask { last: true, .. }
    ));
    assert_eq!(
        done(turn.heard(says("part two", &[("2", "a__x", "{}")]))),
        StopReason::MaxIterations
    );
    assert_eq!(repair(turn.messages().to_vec()), turn.messages());
    assert!(
        turn.messages()
            .last()
            .unwrap()
            .text()
            .contains("the limit of 2 model calls")
    );
    assert_eq!(turn.runs.len(), 1);
}

#[test]
fn a_model_that_only_repeats_itself_is_stopped() {
    let mut turn = turn(100);
    for round in 0.. {
        let plan = planned(turn.heard(says("", &[("1", "a__x", "{}")])));
        let run = matches!(plan[0].action, Action::Run(_));
        assert_eq!(run, round < 2, "the same outcome twice, then refused");
        let text = if run { "same" } else { "refused" };
        if let Next::Done(reason) = turn.ran(vec![ok(text)]) {
            assert_eq!((reason, round), (StopReason::Loop, 4));
            break;
        }
    }
    assert!(
        turn.messages()[4]
            .text()
            .contains("[note: the same call gave the same result")
    );
    assert_eq!(repair(turn.messages().to_vec()), turn.messages());
}

#[test]
fn ids_that_a_provider_repeats_are_told_apart() {
    let mut turn = turn(5);
    planned(turn.heard(says("", &[("c", "a__x", "{}"), ("c", "b__y", "{}")])));
    turn.ran(vec![ok("1"), ok("2")]);
    let ids: Vec<_> = turn.runs.iter().map(|run| run.id.as_str()).collect();
    assert_eq!(ids, ["c", "c_2"]);
    assert_eq!(repair(turn.messages().to_vec()), turn.messages());
}

#[test]
fn long_results_keep_head_and_tail() {
    let mut turn = turn(5);
    planned(turn.heard(says("", &[("1", "a__x", "{}")])));
    turn.ran(vec![ok(&format!("head{}tail", "-".repeat(5_000)))]);
    let text = turn.messages().last().unwrap().text();
    assert!(
        text.len() < 1_100 && text.starts_with("head") && text.ends_with("tail"),
        "{text}"
    );
}

#[test]
fn why_the_model_stopped_is_kept() {
    let check = |reason: FinishReason, expect: StopReason| {
        let completion = Completion {
            finish_reason: reason,
            ..says("x", &[])
        };
        assert_eq!(done(turn(5).heard(completion)), expect);
    };
    check(FinishReason::ContentFilter, StopReason::ContentFilter);
    check(FinishReason::ToolCalls, StopReason::Stop);
}

#[test]
fn a_model_that_is_cut_off_goes_on_and_not_for_ever() {
    let mut turn = turn(9);
    let cut = || Completion {
        finish_reason: FinishReason::Length,
        ..says("part", &[])
    };
    for _ in 0..2 {
        assert!(matches!(turn.heard(cut()), Next::Ask { on: true, .. }));
    }
    assert_eq!(done(turn.heard(cut())), StopReason::Length);
    assert_eq!(repair(turn.messages().to_vec()), turn.messages());
}

#[test]
fn an_empty_reply_is_asked_for_once_more() {
    let mut turn = turn(9);
    assert!(matches!(
        turn.heard(says("", &[])),
        Next::Ask { on: false, .. }
    ));
    assert_eq!(done(turn.heard(says("", &[]))), StopReason::Empty);
}

#[test]
fn after_the_limit_of_tool_calls_there_is_one_last_answer() {
    let mut turn = turn(99);
    turn.guard = Guard::new(1);
    planned(turn.heard(says(
        "",
        &[("1", "a__x", "{\"k\":1}"), ("2", "a__x", "{\"k\":2}")],
    )));
    assert!(matches!(
        turn.ran(vec![ok("1"), ok("no")]),
        Next::Ask { last: true, .. }
    ));
    assert_eq!(done(turn.heard(says("so far", &[]))), StopReason::ToolLimit);
}

#[test]
fn a_conversation_that_is_too_long_is_shortened_until_nothing_is_left_out() {
    let mut turn = turn(9);
    turn.messages = (0..8)
        .map(|n| Message::user(format!("{n}{}", "x".repeat(100))))
        .collect();
    turn.saved = 8;
    assert!(turn.shrink());
    assert!(turn.messages().len() <= 4 && turn.messages().last().unwrap().text().starts_with('7'));
    while turn.shrink() {}
    assert_eq!(turn.messages().len(), 1);
}

#[test]
fn only_what_is_new_is_kept() {
    let mut turn = turn(5);
    assert!(turn.take_new().is_empty());
    planned(turn.heard(says("", &[("1", "a__x", "{}")])));
    assert_eq!(turn.take_new().len(), 1);
    turn.ran(vec![ok("")]);
    assert_eq!(turn.take_new()[0].role, Role::Tool);
    turn.cut("so far");
    assert_eq!(turn.take_new()[0].text(), "so far");
}
