//! `agent::chat` on a bus with a model that says what the test tells it to.

use std::{sync::atomic::Ordering, time::Duration};

use crate::stage::{Stage, call, says};
use agentos_agent::Config;
use agentos_contract::{
    agent::{
        APPROVALS, Approval, CHAT, CREATE, ChatReply, DECIDE, Event, RUN, RUNS, Run, RunStatus,
        STOP, StopReason,
    },
    chat::{Message, Role},
    llm::{Completion, FinishReason},
};
use agentos_sdk::{Bus, Code};
use serde_json::{Value, json};

async fn chat(bus: &Bus, request: Value) -> ChatReply {
    bus.trigger(CHAT, &request).await.unwrap()
}

fn roles(messages: &[Message]) -> String {
    let letter = |message: &Message| match message.role {
        Role::System | Role::Developer => 's',
        Role::User => 'u',
        Role::Assistant => 'a',
        Role::Tool | Role::Function => 't',
    };
    messages.iter().map(letter).collect()
}

#[tokio::test]
async fn a_model_calls_two_tools_at_once_and_sees_both_results() {
    let stage = Stage::set(Config::default()).await;
    stage.agent(&["slow::*", "echo"]).await;
    stage.play([
        says(
            "Let me see.",
            &[
                call("1", "slow__wait", json!({"ms": 100})),
                call("2", "echo", json!({"say": "hi"})),
            ],
        ),
        says("Done.", &[]),
    ]);
    let began = std::time::Instant::now();
    let mut stream = stage
        .bus
        .call(CHAT)
        .stream(&json!({"agentId": "ada", "message": "go"}))
        .unwrap();
    let mut events = Vec::new();
    while let Some(event) = stream.next_as::<Event>().await.unwrap() {
        events.push(event);
    }
    let reply: ChatReply = stream.finish().await.unwrap().decode().unwrap();
    assert!(began.elapsed() < Duration::from_millis(600));
    assert_eq!(reply.content, "Let me see.\n\nDone.");
    assert_eq!((reply.iterations, reply.stop_reason), (2, StopReason::Stop));
    assert_eq!(reply.usage.total_tokens, 10);
    let runs: Vec<_> = reply
        .tool_calls
        .iter()
        .map(|run| (run.id.as_str(), run.name.as_str(), run.ok))
        .collect();
    assert_eq!(runs, [("1", "slow::wait", true), ("2", "echo", true)]);

    let asked = stage.asked();
    assert_eq!(roles(&asked[1].messages), "suatt");
    let tool = |index: usize| {
        (
            asked[1].messages[index].tool_call_id.clone().unwrap(),
            asked[1].messages[index].text(),
        )
    };
    assert_eq!(tool(3), ("1".into(), "waited".into()));
    assert_eq!(tool(4), ("2".into(), r#"{"say":"hi"}"#.into()));

    let text: String = events
        .iter()
        .filter_map(|event| {
            if let Event::Text { text } = event {
                Some(text.as_str())
            } else {
                None
            }
        })
        .collect();
    assert_eq!(text, reply.content);
    let ends: Vec<_> = events
        .iter()
        .filter_map(|event| {
            if let Event::ToolEnd { id, .. } = event {
                Some(id.as_str())
            } else {
                None
            }
        })
        .collect();
    assert_eq!(ends, ["2", "1"], "in the order in which they end");
    assert!(matches!(events[0], Event::Start { .. }));
    assert_eq!(
        events.last(),
        Some(&Event::Finish {
            stop_reason: StopReason::Stop
        })
    );
}

#[tokio::test]
async fn an_agent_without_capabilities_has_no_tools() {
    let stage = Stage::set(Config::default()).await;
    stage.agent(&[]).await;
    stage.play([
        says("", &[call("1", "echo", json!({}))]),
        says("No tools.", &[]),
    ]);
    let reply = chat(&stage.bus, json!({"agentId": "ada", "message": "go"})).await;
    let asked = stage.asked();
    assert!(asked[0].tools.is_empty());
    assert!(
        asked[1]
            .messages
            .last()
            .unwrap()
            .text()
            .contains("there is no tool `echo`; there are none")
    );
    assert!(!reply.tool_calls[0].ok);
}

#[tokio::test]
async fn failures_of_tools_are_told_to_the_model() {
    let stage = Stage::set(Config {
        tool_timeout_ms: 50,
        ..Config::default()
    })
    .await;
    stage.agent(&["fail", "slow::wait", "echo"]).await;
    let mut broken = call("3", "echo", json!({}));
    broken.arguments = "{\"say\": ".into();
    stage.play([
        says(
            "",
            &[
                call("1", "fail", json!({})),
                call("2", "slow__wait", json!({"ms": 60_000})),
                broken,
            ],
        ),
        says("I see.", &[]),
    ]);
    let reply = chat(&stage.bus, json!({"agentId": "ada", "message": "go"})).await;
    assert!(reply.tool_calls.iter().all(|run| !run.ok));
    let asked = stage.asked();
    let told = |index: usize| asked[1].messages[index].text();
    assert_eq!(told(3), "error: failed: no such luck");
    assert!(told(4).starts_with("error: timeout: "), "{}", told(4));
    assert!(told(5).contains("not valid JSON"), "{}", told(5));
    assert!(
        stage.tools.dropped.load(Ordering::Relaxed) == 1,
        "the slow tool was cancelled"
    );
}

#[tokio::test]
async fn dropping_the_chat_cancels_the_model_and_the_tools() {
    let stage = Stage::set(Config::default()).await;
    stage.agent(&["slow::wait"]).await;
    stage.play([says("", &[call("1", "slow__wait", json!({"ms": 60_000}))])]);
    let mut stream = stage
        .bus
        .call(CHAT)
        .stream(&json!({"agentId": "ada", "message": "go"}))
        .unwrap();
    while let Some(event) = stream.next_as::<Event>().await.unwrap() {
        if matches!(event, Event::ToolStart { .. }) {
            break;
        }
    }
    stage
        .until(|| stage.tools.begun.load(Ordering::Relaxed) == 1)
        .await;
    drop(stream);
    stage
        .until(|| stage.tools.dropped.load(Ordering::Relaxed) == 1)
        .await;

    stage.hang();
    let mut stream = stage
        .bus
        .call(CHAT)
        .stream(&json!({"agentId": "ada", "message": "go"}))
        .unwrap();
    let first: Event = stream.next_as().await.unwrap().unwrap();
    assert!(matches!(first, Event::Start { .. }));
    drop(stream);
    stage
        .until(|| stage.model.dropped.load(Ordering::Relaxed) == 1)
        .await;
    stage.until(|| stage.hub.in_flight() == 0).await;
}

#[tokio::test]
async fn at_the_limit_there_is_a_partial_answer() {
    let stage = Stage::set(Config {
        iterations_max: 2,
        ..Config::default()
    })
    .await;
    stage.agent(&["echo"]).await;
    stage.play([
        says("One.", &[call("1", "echo", json!({"n": 1}))]),
        says("Two.", &[call("2", "echo", json!({"n": 2}))]),
    ]);
    let reply = chat(&stage.bus, json!({"agentId": "ada", "message": "go"})).await;
    assert_eq!(
        (reply.content.as_str(), reply.stop_reason),
        ("One.\n\nTwo.", StopReason::MaxIterations)
    );
    let asked = stage.asked();
    assert_eq!(
        (&asked[0].tool_choice, &asked[1].tool_choice),
        (&None, &Some(json!("none")))
    );
}

#[tokio::test]
async fn a_deadline_leaves_what_was_said() {
    let stage = Stage::set(Config {
        model_timeout_ms: 200,
        ..Config::default()
    })
    .await;
    stage.agent(&[]).await;
    stage.hang();
    let reply = chat(
        &stage.bus,
        json!({"agentId": "ada", "message": "go", "sessionId": "s"}),
    )
    .await;
    assert_eq!(
        (reply.content.as_str(), reply.stop_reason),
        ("well", StopReason::Timeout)
    );
}

#[tokio::test]
async fn conversations_go_on_after_a_restart_and_after_a_crash() {
    let stage = Stage::set(Config::default()).await;
    stage.agent(&["echo", "slow::wait"]).await;
    stage.play([
        says("", &[call("1", "echo", json!({}))]),
        says("First.", &[]),
    ]);
    let request =
        |message: &str| json!({"agentId": "ada", "message": message, "sessionId": "talk"});
    let reply = chat(&stage.bus, request("one")).await;
    assert_eq!(reply.session_id.as_deref(), Some("talk"));

    // A crash in the middle of a tool: the question and the call are kept, the result is not.
    stage.play([says("", &[call("2", "slow__wait", json!({"ms": 60_000}))])]);
    let mut stream = stage.bus.call(CHAT).stream(&request("two")).unwrap();
    while !matches!(
        stream.next_as::<Event>().await.unwrap(),
        Some(Event::ToolStart { .. })
    ) {}
    drop(stream);
    loop {
        let runs: Vec<Run> = stage.bus.trigger(RUNS, &json!({})).await.unwrap();
        if runs[0].status == RunStatus::Interrupted {
            break;
        }
        tokio::task::yield_now().await;
    }
    stage.until(|| stage.hub.in_flight() == 0).await;

    let stage = stage.restart(Config::default()).await;
    stage.play([says("Third.", &[])]);
    chat(&stage.bus, request("three")).await;
    let asked = stage.asked();
    let last = &asked.last().unwrap().messages;
    assert_eq!(roles(last), "suatauatu");
    assert!(
        last[7].text().contains("the call was interrupted"),
        "{}",
        last[7].text()
    );
}

#[tokio::test]
async fn two_questions_in_one_conversation_wait_for_each_other() {
    let stage = Stage::set(Config::default()).await;
    stage.agent(&["slow::wait"]).await;
    stage.play([
        says("", &[call("1", "slow__wait", json!({"ms": 50}))]),
        says("First.", &[]),
        says("Second.", &[]),
    ]);
    let request =
        |message: &str| json!({"agentId": "ada", "message": message, "sessionId": "talk"});
    let (first, second) = tokio::join!(
        chat(&stage.bus, request("one")),
        chat(&stage.bus, request("two"))
    );
    assert_eq!(
        (first.content.as_str(), second.content.as_str()),
        ("First.", "Second.")
    );
    assert_eq!(roles(&stage.asked()[2].messages), "suatau");
}

#[tokio::test]
async fn a_conversation_of_the_client_is_put_in_order_and_nothing_else() {
    let stage = Stage::set(Config::default()).await;
    stage.agent(&[]).await;
    stage.play([says("Hello.", &[])]);
    let messages = json!([
        {"role": "system", "content": "be brief"},
        {"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:x"}}]},
        {"role": "assistant", "content": null, "tool_calls": [
            {"id": "9", "type": "function", "function": {"name": "f", "arguments": "{\"n\":9007199254740993}"}}]},
        {"role": "user", "content": "and?"}
    ]);
    chat(
        &stage.bus,
        json!({"agentId": "ada", "messages": messages, "extra": {"reasoning_effort": "low"}}),
    )
    .await;
    let asked = stage.asked();
    assert_eq!(roles(&asked[0].messages), "ssuatu");
    let sent = serde_json::to_value(&asked[0].messages).unwrap();
    assert_eq!(sent[2], messages[1]);
    assert_eq!(sent[3]["tool_calls"], messages[2]["tool_calls"]);
    assert_eq!(asked[0].extra["reasoning_effort"], "low");
}

#[tokio::test]
async fn what_is_remembered_is_put_before_the_model() {
    let stage = Stage::set(Config::default()).await;
    stage.agent(&["memory::store"]).await;
    let seat = stage
        .hub
        .join(agentos_memory::Memory::new(
            agentos_memory::Config::default(),
        ))
        .await;
    let store = call(
        "1",
        "memory__store",
        json!({"content": "Ada likes green tea"}),
    );
    stage.play([
        says("", &[store]),
        says("Noted.", &[]),
        says("Green tea.", &[]),
    ]);
    chat(
        &stage.bus,
        json!({"agentId": "ada", "message": "remember my taste"}),
    )
    .await;
    let reply = chat(
        &stage.bus,
        json!({"agentId": "ada", "message": "which tea?"}),
    )
    .await;
    let instructions = stage.asked()[2].messages[0].text();
    assert!(
        instructions.contains("You are Ada.\n\nWhat you remember"),
        "{instructions}"
    );
    assert!(
        instructions.contains("- Ada likes green tea"),
        "{instructions}"
    );
    assert!(
        reply.notices[0].contains("searched by words only"),
        "{:?}",
        reply.notices
    );
    stage.hub.leave(&seat);
    stage.play([says("Hm.", &[])]);
    let reply = chat(
        &stage.bus,
        json!({"agentId": "ada", "message": "which tea?"}),
    )
    .await;
    assert!(
        reply
            .notices
            .iter()
            .any(|notice| notice.contains("nothing was recalled")),
        "{:?}",
        reply.notices
    );
}

#[tokio::test]
async fn errors_of_the_model_are_the_callers() {
    let stage = Stage::set(Config::default()).await;
    stage.agent(&[]).await;
    let error = stage
        .bus
        .trigger::<Value>(CHAT, &json!({"agentId": "ada", "message": "go"}))
        .await
        .unwrap_err();
    assert_eq!(
        (error.code, error.message.as_str()),
        (Code::Unavailable, "the script is over")
    );
    let error = stage
        .bus
        .trigger::<Value>(CHAT, &json!({"agentId": "ada"}))
        .await
        .unwrap_err();
    assert_eq!(error.code, Code::InvalidInput);
    let error = stage
        .bus
        .trigger::<Value>(CHAT, &json!({"agentId": "bob", "message": "go"}))
        .await
        .unwrap_err();
    assert_eq!(
        (error.code, error.reason.as_deref()),
        (Code::NotFound, Some("unknown_agent"))
    );
}

#[tokio::test]
async fn agents_may_call_agents_but_not_themselves_and_not_for_ever() {
    let stage = Stage::set(Config {
        depth_max: 1,
        ..Config::default()
    })
    .await;
    stage.agent(&["agent::chat"]).await;
    for name in ["bob", "cid"] {
        let agent = json!({"name": name, "capabilities": {"functions": ["agent::chat"]}});
        stage.bus.trigger::<Value>(CREATE, &agent).await.unwrap();
    }
    let ask = |agent: &str| {
        let arguments = json!({"agentId": agent, "message": "go on"});
        says("", &[call("1", "agent__chat", arguments)])
    };
    stage.play([ask("bob"), ask("ada"), says("one", &[]), says("zero", &[])]);
    let reply = chat(&stage.bus, json!({"agentId": "ada", "message": "go"})).await;
    assert_eq!(reply.content, "zero");
    let refused = stage.asked()[2].messages.last().unwrap().text();
    assert!(refused.contains("a cycle: ada → bob → ada"), "{refused}");

    stage.play([ask("bob"), ask("cid"), says("one", &[]), says("zero", &[])]);
    chat(&stage.bus, json!({"agentId": "ada", "message": "go"})).await;
    let refused = stage.asked()[6].messages.last().unwrap().text();
    assert!(refused.contains("more than 1 deep"), "{refused}");
}

#[tokio::test]
async fn an_agent_below_may_call_no_more_than_those_above() {
    let stage = Stage::set(Config::default()).await;
    stage.agent(&["agent::chat", "echo"]).await;
    let agent = json!({"name": "bob", "capabilities": {"functions": ["echo", "fail"]}});
    stage.bus.trigger::<Value>(CREATE, &agent).await.unwrap();
    let ask = call(
        "1",
        "agent__chat",
        json!({"agentId": "bob", "message": "go on"}),
    );
    stage.play([says("", &[ask]), says("one", &[]), says("zero", &[])]);
    chat(&stage.bus, json!({"agentId": "ada", "message": "go"})).await;
    let names: Vec<_> = stage.asked()[1]
        .tools
        .iter()
        .filter_map(|tool| tool.name().map(str::to_owned))
        .collect();
    assert_eq!(names, ["echo"]);
}

#[tokio::test]
async fn calls_written_as_text_are_made_and_not_said() {
    let stage = Stage::set(Config::default()).await;
    stage.agent(&["echo"]).await;
    stage.play([
        says(
            r#"<tool_call>{"name": "echo", "arguments": {"n": 1}}</tool_call>"#,
            &[],
        ),
        says(
            r#"It said: <tool_call>{"name": "echo", "arguments": {"n": 1}}</tool_call>"#,
            &[],
        ),
    ]);
    let reply = chat(&stage.bus, json!({"agentId": "ada", "message": "go"})).await;
    assert!(
        reply.content.starts_with("It said: <tool_call>"),
        "{}",
        reply.content
    );
    assert_eq!((reply.tool_calls.len(), reply.iterations), (1, 2));
}

#[tokio::test]
async fn a_cut_off_answer_goes_on_and_is_joined() {
    let stage = Stage::set(Config::default()).await;
    stage.agent(&[]).await;
    let cut = |text: &str| Completion {
        finish_reason: FinishReason::Length,
        ..says(text, &[])
    };
    stage.play([cut("one "), cut("two "), says("three", &[])]);
    let reply = chat(&stage.bus, json!({"agentId": "ada", "message": "go"})).await;
    assert_eq!(
        (reply.content.as_str(), reply.stop_reason),
        ("one two three", StopReason::Stop)
    );
    // A limit that the caller has set is meant.
    stage.play([cut("one ")]);
    let reply = chat(
        &stage.bus,
        json!({"agentId": "ada", "message": "go", "maxTokens": 5}),
    )
    .await;
    assert_eq!(reply.stop_reason, StopReason::Length);
}

#[tokio::test]
async fn a_run_can_be_seen_and_stopped() {
    let stage = Stage::set(Config::default()).await;
    stage.agent(&["slow::wait"]).await;
    stage.play([says(
        "Wait.",
        &[call("1", "slow__wait", json!({"ms": 60_000}))],
    )]);
    let bus = stage.bus.clone();
    let asked = tokio::spawn(async move {
        chat(
            &bus,
            json!({"agentId": "ada", "message": "go", "sessionId": "s"}),
        )
        .await
    });
    stage
        .until(|| stage.tools.begun.load(Ordering::Relaxed) == 1)
        .await;
    let runs: Vec<Run> = stage
        .bus
        .trigger(RUNS, &json!({"active": true}))
        .await
        .unwrap();
    assert_eq!(
        (runs.len(), runs[0].status, runs[0].iterations),
        (1, RunStatus::Running, 1)
    );
    let stopped: Value = stage
        .bus
        .trigger(STOP, &json!({"sessionId": "s"}))
        .await
        .unwrap();
    assert_eq!(stopped["stopped"], json!([runs[0].id]));
    let reply = asked.await.unwrap();
    assert_eq!(
        (reply.content.as_str(), reply.stop_reason),
        ("Wait.", StopReason::Stopped)
    );
    stage
        .until(|| stage.tools.dropped.load(Ordering::Relaxed) == 1)
        .await;
    let run: Run = stage
        .bus
        .trigger(RUN, &json!({"runId": reply.run_id}))
        .await
        .unwrap();
    assert_eq!(
        (run.status, run.stop_reason),
        (RunStatus::Done, Some(StopReason::Stopped))
    );
    // The conversation can go on: what has no result is told so.
    stage.play([says("Again.", &[])]);
    chat(
        &stage.bus,
        json!({"agentId": "ada", "message": "more", "sessionId": "s"}),
    )
    .await;
    assert_eq!(roles(&stage.asked()[1].messages), "suatu");
}

#[tokio::test]
async fn a_tool_waits_for_a_persons_word() {
    let stage = Stage::set(Config::default()).await;
    let agent =
        json!({"name": "ada", "capabilities": {"functions": ["echo"], "approvals": ["echo"]}});
    stage.bus.trigger::<Value>(CREATE, &agent).await.unwrap();
    for (approve, expect) in [(true, "{\"n\":1}"), (false, "said no: too risky")] {
        stage.play([
            says("", &[call("1", "echo", json!({"n": 1}))]),
            says("Done.", &[]),
        ]);
        let mut stream = stage
            .bus
            .call(CHAT)
            .stream(&json!({"agentId": "ada", "message": "go"}))
            .unwrap();
        let question = loop {
            if let Some(Event::ApprovalNeeded(question)) = stream.next_as().await.unwrap() {
                break question;
            }
        };
        let open: Vec<Approval> = stage.bus.trigger(APPROVALS, &json!({})).await.unwrap();
        assert_eq!(open, std::slice::from_ref(&question));
        let word = json!({"approvalId": question.id, "approve": approve, "reason": "too risky"});
        stage.bus.trigger::<Value>(DECIDE, &word).await.unwrap();
        let again = stage.bus.trigger::<Value>(DECIDE, &word).await.unwrap_err();
        assert_eq!(again.code, Code::Conflict);
        stream.finish().await.unwrap();
        let told = stage
            .asked()
            .last()
            .unwrap()
            .messages
            .last()
            .unwrap()
            .text();
        assert!(told.contains(expect), "{told}");
    }
}

#[tokio::test]
async fn a_word_that_comes_after_a_restart_still_counts() {
    let stage = Stage::set(Config::default()).await;
    let agent =
        json!({"name": "ada", "capabilities": {"functions": ["echo"], "approvals": ["echo"]}});
    stage.bus.trigger::<Value>(CREATE, &agent).await.unwrap();
    stage.play([says("", &[call("1", "echo", json!({"n": 1}))])]);
    let request = json!({"agentId": "ada", "message": "go", "sessionId": "s"});
    let mut stream = stage.bus.call(CHAT).stream(&request).unwrap();
    while !matches!(
        stream.next_as::<Event>().await.unwrap(),
        Some(Event::ApprovalNeeded(_))
    ) {}
    let open = || async {
        let open: Vec<Approval> = stage.bus.trigger(APPROVALS, &json!({})).await.unwrap();
        open.first().cloned()
    };
    let question = loop {
        if let Some(question) = open().await {
            break question;
        }
        tokio::task::yield_now().await;
    };
    drop(stream);
    let stage = stage.restart(Config::default()).await;
    stage.play([says("Done.", &[])]);
    let word = json!({"approvalId": question.id, "approve": true});
    stage.bus.trigger::<Value>(DECIDE, &word).await.unwrap();
    stage.until(|| stage.asked().len() == 1).await;
    assert_eq!(roles(&stage.asked()[0].messages), "uat");
    assert_eq!(stage.asked()[0].messages[2].text(), "{\"n\":1}");
}

#[tokio::test]
async fn a_model_that_does_not_stream_is_heard_too() {
    let stage = Stage::set(Config::default()).await;
    stage.agent(&[]).await;
    stage.model.silent.store(true, Ordering::Relaxed);
    stage.play([Completion {
        finish_reason: FinishReason::Length,
        ..says("All at once.", &[])
    }]);
    let reply = chat(
        &stage.bus,
        json!({"agentId": "ada", "message": "go", "maxTokens": 9}),
    )
    .await;
    assert_eq!(
        (reply.content.as_str(), reply.stop_reason),
        ("All at once.", StopReason::Length)
    );
}
