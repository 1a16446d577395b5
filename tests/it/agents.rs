//! Agents through the built binary: rules against loops, stopping, approvals, kill -9 in mid-turn.

use std::{
    fmt::Write,
    fs,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use agentos_sdk::Client;
use anyhow::{Context, Result, ensure};
use futures_util::{StreamExt, future::try_join_all};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::{
    chat::{records, scripted},
    harness::{Engine, eventually},
};

const WORKERS: [&str; 5] = ["--only", "api", "agent", "llm", "memory"];

async fn engine(script: &str, agent: Value) -> Result<Engine> {
    let (folder, config) = scripted(script)?;
    let mut config: Value = serde_json::from_str(&config)?;
    config["agent"] = agent;
    Engine::start_in(folder, &config.to_string(), &WORKERS).await
}

/// An engine in the folder of one that was killed, where models say something else now.
async fn revive(folder: TempDir, script: &str) -> Result<Engine> {
    fs::write(folder.path().join("script.yaml"), script)?;
    let config = fs::read_to_string(folder.path().join("config.yaml"))?;
    Engine::start_in(folder, &config, &WORKERS).await
}

/// Tools that count how often they were called.
async fn tools(engine: &Engine, calls: &Arc<AtomicU64>) -> Result<Client> {
    let worker = engine.worker("tools").await?;
    for id in ["try::a", "try::b"] {
        let calls = Arc::clone(calls);
        let count = move |_, _: Value| {
            let calls = Arc::clone(&calls);
            async move { Ok(calls.fetch_add(1, Ordering::Relaxed)) }
        };
        worker.function(id, count).await?;
    }
    let echo = |_, input: Value| async move { Ok(format!("echo-{}", input["n"])) };
    worker.function("try::echo", echo).await?;
    let slow =
        |_, _: Value| async { std::future::pending::<Result<Value, agentos_sdk::Error>>().await };
    worker.function("try::slow", slow).await?;
    Ok(worker)
}

async fn agent(engine: &Engine, name: &str, model: &str, more: Value) -> Result<()> {
    let mut capabilities = json!({ "functions": ["try::*"], "memoryScopes": [] });
    capabilities
        .as_object_mut()
        .context("object")?
        .extend(more.as_object().cloned().context("object")?);
    let agent = json!({ "name": name, "model": model, "capabilities": capabilities });
    engine
        .post("/v1/agents", &agent)
        .send()
        .await?
        .error_for_status()?;
    Ok(())
}

async fn ask(engine: &Engine, name: &str) -> Result<Value> {
    let body = json!({ "model": format!("agent/{name}"), "messages": [{ "role": "user", "content": "go" }] });
    let response = engine.post("/v1/chat/completions", &body).send().await?;
    Ok(response.error_for_status()?.json().await?)
}

/// The newest result of a tool in the newest request that the script `name` was asked.
fn last_result(engine: &Engine, name: &str) -> Option<String> {
    let records = records(engine);
    let asked = records
        .iter()
        .rfind(|record| record["event"] == "request" && record["script"] == name)?;
    let messages = asked["request"]["messages"].as_array()?;
    let result = messages.iter().rfind(|message| message["role"] == "tool")?;
    Some(result["content"].as_str()?.to_owned())
}

#[tokio::test]
async fn rules_against_loops_hold_and_can_be_seen() -> Result<()> {
    let call =
        |name: &str| format!("      - - tool_calls: [{{ name: '{name}', arguments: {{}} }}]\n");
    let mut script = "scripts:\n  circle:\n    turns:\n".to_owned();
    for name in ["try::a", "try::b", "try::a", "try::b", "try::a", "try::b"] {
        script += &call(name);
    }
    script += "      - - text: out of it\n  many:\n    turns:\n";
    for n in 0..8 {
        writeln!(
            script,
            "      - - tool_calls: [{{ name: 'try::a', arguments: {{ n: {n} }} }}]"
        )?;
    }
    script += "      - - text: so far\n";
    script += "  silent:\n    turns: [[{ usage: { outputTokens: 1 } }], [{ text: here }]]\n";
    script += "  mute:\n    repeat: true\n    turns: [[{ usage: { outputTokens: 1 } }]]\n";
    script += "  wordy:\n    turns: [[{ text: '<tool_call>{\"name\": \"try__echo\", \"arguments\": {\"n\": 7}}</tool_call>' }], [{ text: done }]]\n";
    script += "  cut:\n    turns: [[{ text: 'one ' }, { finish: length }], [{ text: two }]]\n";
    script += "  long:\n    turns: [[{ error: { message: 'too long', status: 400, code: context_length_exceeded } }], [{ text: short }]]\n";
    let engine = engine(&script, json!({ "tool_calls_max": 7 })).await?;
    let _tools = tools(&engine, &Arc::default()).await?;
    for name in ["circle", "many", "silent", "mute", "wordy", "cut"] {
        agent(&engine, name, &format!("scripted/{name}"), json!({})).await?;
    }

    let circle = ask(&engine, "circle").await?;
    assert_eq!(circle["choices"][0]["message"]["content"], "out of it");
    let refused = last_result(&engine, "circle").context("a result")?;
    ensure!(
        refused.contains("the same 2 calls were made 3 times in turn"),
        "{refused}"
    );
    let run = circle["agentos"]["runId"].as_str().context("a run")?;
    let (code, shown, errors) = engine.cli(&["agent", "inspect", run, "--json"], "")?;
    assert_eq!(code, 0, "{errors}");
    let shown: Value = serde_json::from_str(&shown)?;
    assert_eq!(
        (&shown["guard"]["calls"], &shown["guard"]["blocked"]),
        (&json!(6), &json!(1))
    );

    let many = ask(&engine, "many").await?;
    assert_eq!(many["agentos"]["stopReason"], "tool_limit");
    assert_eq!(
        many["choices"][0]["finish_reason"], "length",
        "it is partial"
    );
    for (name, text, reason) in [
        ("silent", "here", "stop"),
        ("mute", "", "empty"),
        ("wordy", "done", "stop"),
        ("cut", "one two", "stop"),
    ] {
        let answer = ask(&engine, name).await?;
        let said = (
            &answer["choices"][0]["message"]["content"],
            &answer["agentos"]["stopReason"],
        );
        assert_eq!(said, (&json!(text), &json!(reason)), "{name}");
    }
    assert_eq!(last_result(&engine, "wordy").as_deref(), Some("echo-7"));

    agent(&engine, "long", "scripted/long", json!({})).await?;
    let said = (0..8).map(|n| json!({ "role": "user", "content": format!("{n}") }));
    let body = json!({ "model": "agent/long", "messages": said.collect::<Vec<_>>() });
    let answer: Value = engine
        .post("/v1/chat/completions", &body)
        .send()
        .await?
        .json()
        .await?;
    assert_eq!(
        answer["choices"][0]["message"]["content"], "short",
        "{answer}"
    );
    ensure!(
        answer["agentos"]["notices"]
            .to_string()
            .contains("too long for the model"),
        "{answer}"
    );
    Ok(())
}

#[tokio::test]
async fn a_run_is_stopped_in_the_middle_of_its_stream() -> Result<()> {
    let script = "turns: [[{ text: early }, { hold: never }, { text: late }], [{ text: again }]]";
    let engine = engine(script, json!({})).await?;
    agent(&engine, "talker", "scripted/default", json!({})).await?;
    let body = json!({ "model": "agent/talker", "stream": true, "session_id": "s",
        "messages": [{ "role": "user", "content": "go" }] });
    let mut stream = engine
        .post("/v1/chat/completions", &body)
        .send()
        .await?
        .bytes_stream();
    let mut seen = String::new();
    while !seen.contains("early") {
        seen += std::str::from_utf8(&stream.next().await.context("more")??)?;
    }
    let runs: Value = engine
        .get("/v1/runs?active=true")
        .send()
        .await?
        .json()
        .await?;
    let id = runs["data"][0]["id"].as_str().context("a run")?.to_owned();
    let stop = format!("/v1/runs/{id}/stop");
    engine
        .post(&stop, &json!({}))
        .send()
        .await?
        .error_for_status()?;
    while let Some(part) = stream.next().await {
        seen += std::str::from_utf8(&part?)?;
    }
    ensure!(
        seen.contains(r#""stopReason":"stopped""#) && seen.contains("[DONE]"),
        "{seen}"
    );
    assert_eq!(
        engine
            .post(&stop, &json!({}))
            .send()
            .await?
            .status()
            .as_u16(),
        404
    );
    // The conversation holds what was said, and goes on.
    let mut more = body.clone();
    more["stream"] = false.into();
    let answer: Value = engine
        .post("/v1/chat/completions", &more)
        .send()
        .await?
        .json()
        .await?;
    assert_eq!(answer["choices"][0]["message"]["content"], "again");
    let caller = engine.worker("caller").await?;
    let wanted = json!({ "agentId": "talker", "sessionId": "s" });
    let said: Value = caller.trigger("agent::history", &wanted).await?;
    let said: Vec<&Value> = said
        .as_array()
        .context("a list")?
        .iter()
        .map(|message| &message["content"])
        .collect();
    assert_eq!(said, ["go", "early", "go", "again"]);
    Ok(())
}

#[tokio::test]
async fn a_run_goes_on_after_kill_9_in_the_middle_of_a_tool() -> Result<()> {
    let script =
        "turns: [[{ text: Wait. }, { tool_calls: [{ name: 'try::slow', arguments: {} }] }]]";
    let engine = engine(script, json!({})).await?;
    let tools = tools(&engine, &Arc::default()).await?;
    agent(&engine, "worker", "scripted/default", json!({})).await?;
    let caller = engine.worker("caller").await?;
    let ask = json!({ "agentId": "worker", "sessionId": "s", "message": "go" });
    let bus = caller.clone();
    let call =
        tokio::spawn(async move { bus.trigger::<Value>("agent::chat", &ask).await.is_err() });
    let begun = || async {
        let runs: Value = caller
            .trigger(
                "agent::history",
                &json!({ "agentId": "worker", "sessionId": "s" }),
            )
            .await
            .ok()?;
        runs[1]["tool_calls"].is_array().then_some(())
    };
    eventually("the tool is called", begun).await?;
    let folder = engine.kill()?;
    ensure!(call.await?, "nobody answers");
    drop((caller, tools));

    let engine = revive(folder, "turns: [[{ text: Done. }]]").await?;
    let caller = engine.worker("caller").await?;
    let done = || async {
        let runs: Value = caller
            .trigger("agent::runs", &json!({ "agentId": "worker" }))
            .await
            .ok()?;
        (runs[0]["status"] == "done").then(|| runs[0].clone())
    };
    let run = eventually("the run is done", done).await?;
    assert_eq!(
        (&run["resumed"], &run["content"]),
        (&json!(1), &json!("Done."))
    );
    let told = last_result(&engine, "default").context("a result")?;
    ensure!(told.contains("interrupted"), "{told}");
    Ok(())
}

#[tokio::test]
async fn risky_tools_wait_for_a_word_that_may_come_after_kill_9() -> Result<()> {
    let call = "turns: [[{ tool_calls: [{ name: 'try::a', arguments: {} }] }], [{ text: Done. }]]";
    let engine = engine(call, json!({})).await?;
    let calls = Arc::new(AtomicU64::new(0));
    let first_tools = tools(&engine, &calls).await?;
    agent(
        &engine,
        "careful",
        "scripted/default",
        json!({ "approvals": ["try::a"] }),
    )
    .await?;
    let ask = json!({ "agentId": "careful", "sessionId": "s", "message": "go" });
    let waiting = async |engine: &Engine| {
        let open = || async {
            let open: Value = engine
                .get("/v1/approvals")
                .send()
                .await
                .ok()?
                .json()
                .await
                .ok()?;
            Some(open["data"][0]["id"].as_str()?.to_owned())
        };
        eventually("the tool waits", open).await
    };

    // Answered from the command line while the caller waits.
    let caller = engine.worker("caller").await?;
    let (bus, asked) = (caller.clone(), ask.clone());
    let answer = tokio::spawn(async move { bus.trigger::<Value>("agent::chat", &asked).await });
    let id = waiting(&engine).await?;
    assert_eq!(calls.load(Ordering::Relaxed), 0);
    let (code, _, errors) = engine.cli(&["agent", "approve", &id], "")?;
    assert_eq!(code, 0, "{errors}");
    assert_eq!(answer.await??["content"], "Done.");
    assert_eq!(calls.load(Ordering::Relaxed), 1);

    // Answered by HTTP after the engine was killed.
    caller
        .trigger::<Value>("llm::script::reset", &json!({}))
        .await?;
    let bus = caller.clone();
    let lost =
        tokio::spawn(async move { bus.trigger::<Value>("agent::chat", &ask).await.is_err() });
    let id = waiting(&engine).await?;
    let folder = engine.kill()?;
    ensure!(lost.await?, "nobody answers");
    drop((caller, first_tools));
    let engine = revive(folder, "turns: [[{ text: At last. }]]").await?;
    let _tools = tools(&engine, &calls).await?;
    assert_eq!(waiting(&engine).await?, id, "it still waits");
    assert_eq!(calls.load(Ordering::Relaxed), 1);
    let word = json!({ "approve": true, "by": "ada" });
    let path = format!("/v1/approvals/{id}");
    engine.post(&path, &word).send().await?.error_for_status()?;
    assert_eq!(
        engine.post(&path, &word).send().await?.status().as_u16(),
        409
    );
    let done = || async {
        let runs: Value = engine
            .get("/v1/runs?agent_id=careful&limit=1")
            .send()
            .await
            .ok()?
            .json()
            .await
            .ok()?;
        (runs["data"][0]["status"] == "done").then(|| runs["data"][0]["content"].clone())
    };
    assert_eq!(eventually("the run is done", done).await?, "At last.");
    assert_eq!(calls.load(Ordering::Relaxed), 2, "once each");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_agents_at_a_time_do_not_hear_each_other() -> Result<()> {
    const AGENTS: usize = 100;
    let mut script = "scripts:\n".to_owned();
    for n in 0..AGENTS {
        writeln!(script, "  m{n}:\n    turns:")?;
        writeln!(
            script,
            "      - - tool_calls: [{{ name: 'try::echo', arguments: {{ n: {n} }} }}]"
        )?;
        writeln!(
            script,
            "      - [{{ expect: 'echo-{n}' }}, {{ text: 'answer {n}' }}]"
        )?;
    }
    let engine = engine(&script, json!({})).await?;
    let _tools = tools(&engine, &Arc::default()).await?;
    for n in 0..AGENTS {
        agent(
            &engine,
            &format!("a{n}"),
            &format!("scripted/m{n}"),
            json!({}),
        )
        .await?;
    }
    let engine = &engine;
    let answers = (0..AGENTS).map(|n| async move { ask(engine, &format!("a{n}")).await });
    for (n, answer) in try_join_all(answers).await?.iter().enumerate() {
        assert_eq!(
            answer["choices"][0]["message"]["content"],
            format!("answer {n}")
        );
        assert_eq!(
            answer["agentos"]["toolCalls"].as_array().map(Vec::len),
            Some(1)
        );
    }
    let left: Value = engine
        .get("/v1/runs?active=true")
        .send()
        .await?
        .json()
        .await?;
    assert_eq!(left["data"], json!([]));
    Ok(())
}

/// What the newest request to a script put before its model.
fn told(engine: &Engine, name: &str) -> Option<String> {
    let records = records(engine);
    let asked = records
        .iter()
        .rfind(|record| record["event"] == "request" && record["script"] == name)?;
    Some(asked["request"]["messages"].to_string())
}

#[tokio::test]
async fn a_long_talk_is_told_in_short_and_stays_whole() -> Result<()> {
    let script = "scripts:
  talk: { repeat: true, turns: [[{ text: understood }]] }
  minutes: { turns: [[{ text: 'The lamp is in room 7.' }], [{ error: { message: 'it broke', status: 400 } }], [{ text: 'The lamp is in room 7, and is green.' }]] }
";
    let settings = json!({ "history_bytes_max": 4_000, "summary_model": "scripted/minutes" });
    let engine = engine(script, settings).await?;
    agent(&engine, "talker", "scripted/talk", json!({})).await?;
    let caller = engine.worker("caller").await?;
    let padding = "and so on ".repeat(90);
    let mut notices = Vec::new();
    for n in 0..12 {
        let input = json!({ "agentId": "talker", "sessionId": "long", "message": format!("number {n}: {padding}") });
        let answer: Value = caller.trigger("agent::chat", &input).await?;
        assert_eq!(answer["content"], "understood");
        let notice = answer["notices"].to_string();
        if notice.contains("the conversation is long") {
            notices.push((n, notice));
        }
    }
    let kinds: Vec<bool> = notices
        .iter()
        .map(|(_, notice)| notice.contains("told in short") && !notice.contains("it broke"))
        .collect();
    assert_eq!(kinds, [true, false, true], "{notices:?}");

    // The model is told what came before, and the newest part as it was.
    let before = told(&engine, "talk").context("a request")?;
    ensure!(before.contains("room 7, and is green"), "{before}");
    ensure!(
        before.contains("number 11") && !before.contains("number 0:"),
        "{before}"
    );
    // Who wrote the last minutes had the earlier ones, and what was said since.
    let minutes = told(&engine, "minutes").context("a request")?;
    ensure!(
        minutes.contains("The lamp is in room 7.") && minutes.contains("number 4:"),
        "{minutes}"
    );
    let history = json!({ "agentId": "talker", "sessionId": "long" });
    let history: Value = caller.trigger("agent::history", &history).await?;
    assert_eq!(
        history
            .as_array()
            .or(history["messages"].as_array())
            .map(Vec::len),
        Some(24)
    );
    Ok(())
}
