//! The wire families beside OpenAI's chat and Anthropic's, as their documents show them: text,
//! thoughts, parallel calls with split arguments, usage, errors, cuts and garbage.

use agentos_contract::llm::{Completion, Event, FinishReason, Usage};
use agentos_sdk::Code;
use serde_json::{Value, json};

use crate::{
    drain, failure,
    fake::{Fake, Say, chunk, end, head},
    llm, question, sum,
};

/// How a family frames its stream.
#[derive(Clone, Copy)]
enum Framing {
    Sse,
    Lines,
    Aws,
}

impl Framing {
    fn kind(self) -> &'static str {
        match self {
            Framing::Sse => "text/event-stream",
            Framing::Lines => "application/x-ndjson",
            Framing::Aws => "application/vnd.amazon.eventstream",
        }
    }

    fn event(self, event: &Value) -> Vec<u8> {
        match self {
            Framing::Sse => format!("data: {event}\n\n").into_bytes(),
            Framing::Lines => format!("{event}\n").into_bytes(),
            Framing::Aws => {
                let (name, payload) = event.as_object().unwrap().iter().next().unwrap();
                aws(name, &payload.to_string())
            }
        }
    }
}

/// One message of AWS's binary stream.
fn aws(name: &str, payload: &str) -> Vec<u8> {
    let exception = name.ends_with("Exception");
    let key = if exception {
        ":exception-type"
    } else {
        ":event-type"
    };
    let mut headers = vec![key.len() as u8];
    headers.extend(key.bytes());
    headers.push(7);
    headers.extend((name.len() as u16).to_be_bytes());
    headers.extend(name.bytes());
    let length = (16 + headers.len() + payload.len()) as u32;
    let mut bytes = length.to_be_bytes().to_vec();
    bytes.extend((headers.len() as u32).to_be_bytes());
    bytes.extend(crc32fast::hash(&bytes).to_be_bytes());
    bytes.extend(headers);
    bytes.extend(payload.bytes());
    bytes.extend(crc32fast::hash(&bytes).to_be_bytes());
    bytes
}

struct Case {
    family: &'static str,
    framing: Framing,
    /// Where requests go, streamed.
    path: &'static str,
    /// Thinks `hm`, says `hel` `lo`, calls `f {"x":1}` and `g {}`; 10 tokens in and 7 out.
    stream: Vec<Value>,
    /// The same in one piece.
    whole: Value,
    /// A failure in the middle, which is a matter of load.
    failure: Value,
}

fn cases() -> Vec<Case> {
    vec![responses(), gemini(), bedrock(), ollama(), cohere()]
}

fn responses() -> Case {
    let call = |id: &str, name: &str, arguments: &str| json!({"type": "function_call", "id": format!("fc_{id}"), "call_id": id, "name": name, "arguments": arguments, "status": "completed"});
    let output = json!([
        {"type": "reasoning", "id": "rs", "summary": [{"type": "summary_text", "text": "hm"}], "encrypted_content": "SEALED"},
        {"type": "message", "id": "msg", "role": "assistant", "content": [{"type": "output_text", "text": "hello", "annotations": []}]},
        call("a", "f", "{\"x\":1}"), call("b", "g", "{}")]);
    let whole = json!({"id": "resp", "object": "response", "status": "completed", "model": "m-2025", "error": null, "output": output,
        "usage": {"input_tokens": 10, "output_tokens": 7, "total_tokens": 17, "input_tokens_details": {"cached_tokens": 4}, "output_tokens_details": {"reasoning_tokens": 2}}});
    let begun = json!({"id": "resp", "status": "in_progress", "model": "m-2025", "output": []});
    let stream = vec![
        json!({"type": "response.created", "response": begun}),
        json!({"type": "response.in_progress", "response": begun}),
        json!({"type": "response.output_item.added", "output_index": 0, "item": {"type": "reasoning", "id": "rs", "summary": []}}),
        json!({"type": "response.reasoning_summary_text.delta", "output_index": 0, "delta": "hm"}),
        json!({"type": "response.output_item.done", "output_index": 0, "item": output[0]}),
        json!({"type": "response.output_item.added", "output_index": 1, "item": {"type": "message", "id": "msg", "content": []}}),
        json!({"type": "response.output_text.delta", "output_index": 1, "delta": "hel"}),
        json!({"type": "response.output_text.delta", "output_index": 1, "delta": "lo"}),
        json!({"type": "response.output_item.done", "output_index": 1, "item": output[1]}),
        json!({"type": "response.output_item.added", "output_index": 2, "item": {"type": "function_call", "id": "fc_a", "call_id": "a", "name": "f", "arguments": ""}}),
        json!({"type": "response.output_item.added", "output_index": 3, "item": {"type": "function_call", "id": "fc_b", "call_id": "b", "name": "g", "arguments": ""}}),
        json!({"type": "response.function_call_arguments.delta", "output_index": 2, "delta": "{\"x\""}),
        json!({"type": "response.function_call_arguments.delta", "output_index": 3, "delta": "{}"}),
        json!({"type": "response.function_call_arguments.delta", "output_index": 2, "delta": ":1}"}),
        json!({"type": "response.output_item.done", "output_index": 2, "item": output[2]}),
        json!({"type": "response.output_item.done", "output_index": 3, "item": output[3]}),
        json!({"type": "response.completed", "response": whole}),
    ];
    Case {
        family: "responses",
        framing: Framing::Sse,
        path: "/responses",
        stream,
        whole,
        failure: json!({"type": "error", "code": "rate_limit_exceeded", "message": "slow down"}),
    }
}

fn gemini() -> Case {
    let usage = json!({"promptTokenCount": 10, "candidatesTokenCount": 5, "thoughtsTokenCount": 2, "cachedContentTokenCount": 4, "totalTokenCount": 17});
    let say = |parts: Value, more: Value| {
        let mut chunk = json!({"candidates": [{"content": {"role": "model", "parts": parts}, "index": 0}], "modelVersion": "m-2025",
            "usageMetadata": {"promptTokenCount": 10, "candidatesTokenCount": 1}});
        if !more.is_null() {
            chunk["candidates"][0]["finishReason"] = more;
            chunk["usageMetadata"] = usage.clone();
        }
        chunk
    };
    let thought = json!({"text": "hm", "thought": true});
    let calls = [
        json!({"functionCall": {"name": "f", "args": {"x": 1}}, "thoughtSignature": "SEALED"}),
        json!({"functionCall": {"name": "g", "args": {}}}),
    ];
    Case {
        family: "gemini",
        framing: Framing::Sse,
        path: "/models/m:streamgeneratecontent?alt=sse",
        stream: vec![
            say(json!([thought]), Value::Null),
            say(json!([{"text": "hel"}]), Value::Null),
            say(json!([{"text": "lo"}]), Value::Null),
            say(json!(calls), json!("STOP")),
        ],
        whole: say(
            json!([thought, {"text": "hello"}, calls[0], calls[1]]),
            json!("STOP"),
        ),
        failure: json!({"error": {"code": 429, "message": "slow down", "status": "RESOURCE_EXHAUSTED",
            "details": [{"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "1.5s"}]}}),
    }
}

fn bedrock() -> Case {
    let usage =
        json!({"inputTokens": 6, "outputTokens": 7, "totalTokens": 17, "cacheReadInputTokens": 4});
    let delta = |block: u32, delta: Value| json!({"contentBlockDelta": {"contentBlockIndex": block, "delta": delta}});
    let stop = |block: u32| json!({"contentBlockStop": {"contentBlockIndex": block}});
    let start = |block: u32, id: &str, name: &str| json!({"contentBlockStart": {"contentBlockIndex": block, "start": {"toolUse": {"toolUseId": id, "name": name}}}});
    Case {
        family: "bedrock",
        framing: Framing::Aws,
        path: "/model/m/converse-stream",
        stream: vec![
            json!({"messageStart": {"role": "assistant"}}),
            delta(0, json!({"reasoningContent": {"text": "hm"}})),
            delta(0, json!({"reasoningContent": {"signature": "SEALED"}})),
            stop(0),
            delta(1, json!({"text": "hel"})),
            delta(1, json!({"text": "lo"})),
            stop(1),
            start(2, "a", "f"),
            delta(2, json!({"toolUse": {"input": "{\"x\""}})),
            delta(2, json!({"toolUse": {"input": ":1}"}})),
            stop(2),
            start(3, "b", "g"),
            stop(3),
            json!({"messageStop": {"stopReason": "tool_use"}}),
            json!({"metadata": {"usage": usage, "metrics": {"latencyMs": 1}}}),
        ],
        whole: json!({"output": {"message": {"role": "assistant", "content": [
                {"reasoningContent": {"reasoningText": {"text": "hm", "signature": "SEALED"}}}, {"text": "hello"},
                {"toolUse": {"toolUseId": "a", "name": "f", "input": {"x": 1}}}, {"toolUse": {"toolUseId": "b", "name": "g", "input": {}}}]}},
            "stopReason": "tool_use", "usage": usage, "metrics": {"latencyMs": 1}}),
        failure: json!({"throttlingException": {"message": "slow down"}}),
    }
}

fn ollama() -> Case {
    let line = |message: Value| json!({"model": "m-2025", "created_at": "2025-01-01T00:00:00Z", "message": message, "done": false});
    let calls = json!([{"id": "a", "function": {"name": "f", "arguments": {"x": 1}}}, {"function": {"name": "g", "arguments": {}}}]);
    let last = |message: Value| json!({"model": "m-2025", "message": message, "done": true, "done_reason": "stop", "prompt_eval_count": 10, "eval_count": 7});
    Case {
        family: "ollama",
        framing: Framing::Lines,
        path: "/api/chat",
        stream: vec![
            line(json!({"role": "assistant", "content": "", "thinking": "hm"})),
            line(json!({"role": "assistant", "content": "hel"})),
            line(json!({"role": "assistant", "content": "lo"})),
            line(json!({"role": "assistant", "content": "", "tool_calls": calls})),
            last(json!({"role": "assistant", "content": ""})),
        ],
        whole: last(
            json!({"role": "assistant", "content": "hello", "thinking": "hm", "tool_calls": calls}),
        ),
        failure: json!({"error": {"message": "slow down", "code": 429}}),
    }
}

fn cohere() -> Case {
    let usage = json!({"billed_units": {"input_tokens": 9, "output_tokens": 6}, "tokens": {"input_tokens": 10, "output_tokens": 7}});
    let event = |kind: &str, index: u32, message: Value| json!({"type": kind, "index": index, "delta": {"message": message}});
    let start = |index: u32, id: &str, name: &str| {
        event(
            "tool-call-start",
            index,
            json!({"tool_calls": {"id": id, "type": "function", "function": {"name": name, "arguments": ""}}}),
        )
    };
    let piece = |index: u32, piece: &str| {
        event(
            "tool-call-delta",
            index,
            json!({"tool_calls": {"function": {"arguments": piece}}}),
        )
    };
    Case {
        family: "cohere",
        framing: Framing::Sse,
        path: "/v2/chat",
        stream: vec![
            event(
                "message-start",
                0,
                json!({"role": "assistant", "content": [], "tool_plan": "", "tool_calls": []}),
            ),
            event("tool-plan-delta", 0, json!({"tool_plan": "hm"})),
            event(
                "content-start",
                0,
                json!({"content": {"type": "text", "text": ""}}),
            ),
            event("content-delta", 0, json!({"content": {"text": "hel"}})),
            event("content-delta", 0, json!({"content": {"text": "lo"}})),
            event("content-end", 0, json!({})),
            start(0, "a", "f"),
            piece(0, "{\"x\""),
            piece(0, ":1}"),
            event("tool-call-end", 0, json!({})),
            start(1, "b", "g"),
            piece(1, "{}"),
            event("tool-call-end", 1, json!({})),
            json!({"type": "message-end", "delta": {"finish_reason": "TOOL_CALL", "usage": usage}}),
        ],
        whole: json!({"id": "x", "finish_reason": "TOOL_CALL", "usage": usage, "message": {"role": "assistant", "tool_plan": "hm",
            "content": [{"type": "text", "text": "hello"}], "tool_calls": [
                {"id": "a", "type": "function", "function": {"name": "f", "arguments": "{\"x\":1}"}},
                {"id": "b", "type": "function", "function": {"name": "g", "arguments": "{}"}}]}}),
        failure: json!({"type": "message-end", "delta": {"error": {"message": "slow down", "code": 429}}}),
    }
}

fn says(case: &Case, events: &[Value]) -> Vec<Say> {
    let mut says = vec![head(200, case.framing.kind(), "")];
    says.extend(events.iter().map(|event| chunk(case.framing.event(event))));
    says
}

async fn asked(case: &Case, fake: &Fake, stream: bool) -> (Vec<Event>, Completion) {
    let llm = llm(
        case.family,
        &fake.base,
        json!({"params": {"region": "eu-west-1"}}),
    );
    let (events, error) = drain(llm.start(question(), stream).await.unwrap()).await;
    assert_eq!(error, None, "{}", case.family);
    let completion = sum(&events);
    (events, completion)
}

fn check(case: &Case, completion: &Completion) {
    let family = case.family;
    let calls: Vec<_> = completion
        .tool_calls
        .iter()
        .map(|call| (call.name.as_str(), call.arguments.as_str()))
        .collect();
    assert_eq!(calls, [("f", "{\"x\":1}"), ("g", "{}")], "{family}");
    let ids: Vec<_> = completion.tool_calls.iter().map(|call| &call.id).collect();
    assert!(ids[0] != ids[1] && !ids[1].is_empty(), "{family}: {ids:?}");
    assert_eq!(completion.content, "hello", "{family}");
    assert_eq!(completion.reasoning.as_deref(), Some("hm"), "{family}");
    assert_eq!(
        completion.finish_reason,
        FinishReason::ToolCalls,
        "{family}"
    );
    let Usage {
        input_tokens,
        output_tokens,
        ..
    } = completion.usage;
    assert_eq!((input_tokens, output_tokens), (10, 7), "{family}");
    assert_eq!(completion.provider, "p", "{family}");
}

#[tokio::test]
async fn streams_are_read_piece_by_piece() {
    for case in cases() {
        let mut script = says(&case, &case.stream);
        script.push(end());
        let fake = Fake::start(script).await;
        let (events, completion) = asked(&case, &fake, true).await;
        check(&case, &completion);
        let texts: Vec<_> = events
            .iter()
            .filter_map(|event| match event {
                Event::Text { text } => Some(text.as_str()),
                _ => None,
            })
            .collect();
        assert_eq!(texts, ["hel", "lo"], "{}", case.family);
        let (head, _) = fake.request();
        assert!(head.starts_with(&format!("post {} ", case.path)), "{head}");
        assert!(head.contains("sk-secret"), "{head}");
    }
}

#[tokio::test]
async fn answers_in_one_piece_mean_the_same() {
    for case in cases() {
        let fake = Fake::answering(200, "", &case.whole).await;
        let (_, completion) = asked(&case, &fake, false).await;
        check(&case, &completion);
    }
}

#[tokio::test]
async fn what_is_signed_goes_back_to_its_provider() {
    for case in cases() {
        let fake = Fake::answering(200, "", &case.whole).await;
        let (_, completion) = asked(&case, &fake, false).await;
        let sealed = matches!(case.family, "responses" | "gemini" | "bedrock");
        assert_eq!(
            !completion.reasoning_details.is_empty(),
            sealed,
            "{}",
            case.family
        );
        let mut request = question();
        request.messages.push(completion.message());
        for call in &completion.tool_calls {
            let result = agentos_contract::chat::Message::tool(&call.id, "1");
            request.messages.push(result);
        }
        let llm = llm(case.family, &fake.base, json!({}));
        drain(llm.start(request, false).await.unwrap()).await;
        let (_, body) = fake.request();
        assert_eq!(body.to_string().contains("SEALED"), sealed, "{body}");
    }
}

#[tokio::test]
async fn cut_streams_are_no_ends() {
    for case in cases() {
        let events = &case.stream[..case.stream.len() - 1];
        for proper in [true, false] {
            let mut script = says(&case, events);
            script.extend(proper.then(end));
            let fake = Fake::start(script).await;
            let llm = llm(case.family, &fake.base, json!({}));
            // Bedrock has said all but its usage by then.
            if case.family == "bedrock" && proper {
                let (_, error) = drain(llm.start(question(), true).await.unwrap()).await;
                assert_eq!(error, None);
                continue;
            }
            let (error, text) = failure(&llm, true).await;
            let got = (error.code, error.reason.as_deref(), text.as_str());
            let expect = (Code::Unavailable, Some("upstream_cut"), "hello");
            assert_eq!(got, expect, "{}", case.family);
        }
    }
}

#[tokio::test]
async fn failures_in_the_middle_and_garbage() {
    for case in cases() {
        let mut events = case.stream[..1].to_vec();
        events.push(case.failure.clone());
        let mut script = says(&case, &events);
        script.push(end());
        let fake = Fake::start(script).await;
        let llm_of = |fake: &Fake| llm(case.family, &fake.base, json!({}));
        let (error, _) = failure(&llm_of(&fake), true).await;
        assert_eq!(
            (error.code, error.retryable),
            (Code::Overloaded, true),
            "{}: {error}",
            case.family
        );
        assert!(error.message.contains("slow down"), "{error}");
        let garbage = b"<html>welcome to the wrong place</html>\n\n";
        for kind in [case.framing.kind(), "text/html"] {
            let body = if kind == "text/event-stream" {
                [&b"data: "[..], &garbage[..]].concat()
            } else {
                garbage.to_vec()
            };
            let fake = Fake::start(vec![head(200, kind, ""), chunk(body), end()]).await;
            let (error, _) = failure(&llm_of(&fake), true).await;
            let reason = error.reason.as_deref().unwrap();
            assert!(
                matches!(reason, "upstream_garbage" | "upstream_cut"),
                "{}: {error}",
                case.family
            );
            assert!(error.retryable);
        }
    }
}
