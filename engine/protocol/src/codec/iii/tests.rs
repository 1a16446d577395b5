use serde_json::json;

use super::*;

const CODEC: Codec = Codec {
    mark: 0x1234_5678_9abc_4def,
};

fn decode(message: &Value) -> Decoded {
    CODEC.decode(&message.to_string().into()).expect("readable")
}

fn encode(frame: &Frame) -> Value {
    let bytes = CODEC
        .encode(frame)
        .expect("writable")
        .expect("this dialect has words for it");
    serde_json::from_slice(&bytes).expect("JSON")
}

fn call(message: &Value) -> Call {
    match decode(message) {
        Decoded::Frame(Frame::Call(call)) => *call,
        other => panic!("not a call: {other:?}"),
    }
}

#[test]
fn a_call_keeps_its_payload_untouched() {
    let text = r#"{"type":"invokefunction","invocation_id":"0d3c7a1e-6f5b-4a1f-9a52-7d0e2c1b9f10","function_id":"f","data":{ "n": 9007199254740993, "x":null }}"#;
    let Decoded::Frame(Frame::Call(call)) = CODEC
        .decode(&Bytes::from_static(text.as_bytes()))
        .expect("readable")
    else {
        panic!("a call")
    };
    assert_eq!(
        &call.payload.bytes[..],
        br#"{ "n": 9007199254740993, "x":null }"#
    );
    assert_eq!(call.delivery, Delivery::Reply);
}

#[test]
fn missing_data_and_null_ids_are_taken() {
    let call = call(
        &json!({ "type": "invokefunction", "function_id": "f", "invocation_id": null, "action": null }),
    );
    assert!(call.payload.is_null());
    assert_eq!((call.call, call.delivery), (None, Delivery::Void));
}

#[test]
fn actions_choose_the_delivery() {
    let with = |action: Value| {
        call(&json!({ "type": "invokefunction", "invocation_id": "a", "function_id": "f", "data": 1, "action": action })).delivery
    };
    assert_eq!(with(json!({ "type": "void" })), Delivery::Void);
    assert_eq!(
        with(json!({ "type": "enqueue", "queue": "mail" })),
        Delivery::Enqueue("mail".into())
    );
}

#[test]
fn ids_come_back_as_they_were_sent() {
    for id in [
        "0d3c7a1e-6f5b-4a1f-9a52-7d0e2c1b9f10",
        "0D3C7A1E-6F5B-4A1F-9A52-7D0E2C1B9F10",
        "my call",
        "7",
    ] {
        let reference = CODEC.reference(id);
        assert_eq!(CODEC.name(&reference), id);
        assert_eq!(reference.number(), None);
    }
}

#[test]
fn numbers_of_the_engine_are_uuids_and_back() {
    let name = CODEC.name(&CallRef::Number(77));
    assert!(Uuid::try_parse(&name).is_ok());
    assert_eq!(CODEC.reference(&name), CallRef::Number(77));
}

#[test]
fn null_results_are_left_out_and_inner_nulls_kept() {
    let reply = |payload| {
        encode(&Frame::Reply {
            call: CallRef::Number(1),
            function: "f".into(),
            outcome: Ok(payload),
        })
    };
    assert!(reply(Payload::NULL).get("result").is_none());
    assert_eq!(
        reply(Payload::json("{\"old\":null}"))["result"],
        json!({ "old": null })
    );
}

#[test]
fn the_caller_is_stamped_into_objects_only() {
    let sent = |payload: &'static str| {
        let mut call = Call::new(Some(CallRef::Number(1)), "f", Payload::json(payload));
        call.caller = Some("w\"1".into());
        encode(&Frame::Call(Box::new(call)))["data"].clone()
    };
    assert_eq!(
        sent(r#"{"a":1}"#),
        json!({ "a": 1, "_caller_worker_id": "w\"1" })
    );
    assert_eq!(sent(" { } "), json!({ "_caller_worker_id": "w\"1" }));
    assert_eq!(sent("[1]"), json!([1]));
    assert_eq!(sent("null"), json!(null));
}

#[test]
fn payloads_that_are_not_json_are_refused() {
    let outcome = |payload| {
        CODEC.encode(&Frame::Reply {
            call: CallRef::Number(1),
            function: "f".into(),
            outcome: Ok(payload),
        })
    };
    assert_eq!(
        outcome(Payload::json("{oops")).expect_err("not JSON").code,
        Code::InvalidInput
    );
    assert_eq!(
        outcome(Payload::binary("x")).expect_err("binary").code,
        Code::Unsupported
    );
}

#[test]
fn errors_keep_their_names_both_ways() {
    for (name, code) in [
        ("function_not_found", Code::NotFound),
        ("card_declined", Code::Failed),
        ("invocation_failed", Code::Failed),
        ("SET_ERROR", Code::Failed),
    ] {
        let body = read_error(&json!({ "code": name, "message": "no", "stacktrace": "at x" }));
        assert_eq!(body.code, code);
        let written = write_error("f", &body);
        assert_eq!(
            written,
            json!({ "code": name, "message": "no", "stacktrace": "at x" })
        );
    }
}

#[test]
fn engine_errors_use_this_dialects_names() {
    let written = write_error(
        "a::b",
        &ErrorBody::engine(Code::NotFound, "no worker offers it"),
    );
    assert_eq!(
        written,
        json!({ "code": "function_not_found", "message": "Function a::b not found" })
    );
    assert_eq!(
        write_error("f", &ErrorBody::engine(Code::WorkerLost, "gone"))["code"],
        "invocation_stopped"
    );
}

#[test]
fn identity_arrives_as_a_call() {
    let message = json!({ "type": "invokefunction", "function_id": IDENTIFY, "action": { "type": "void" },
        "data": { "runtime": "node", "version": "0.11.6", "name": "box:991", "pid": 991, "isolation": null, "telemetry": {} } });
    let Decoded::Identify { hello, call } = decode(&message) else {
        panic!("identity")
    };
    assert_eq!(
        (
            hello.name.as_str(),
            hello.language.as_str(),
            hello.pid,
            call
        ),
        ("box:991", "node", Some(991), None)
    );
}

#[test]
fn unknown_types_and_white_space_pass() {
    assert_eq!(
        decode(&json!({ "type": "observe", "id": "x" })),
        Decoded::Nothing
    );
    assert_eq!(
        CODEC.decode(&Bytes::from_static(b" \n")).expect("fine"),
        Decoded::Nothing
    );
    assert_eq!(
        decode(&json!({ "type": "registerservice", "id": "s", "name": "S" })),
        Decoded::Service
    );
}

#[test]
fn what_cannot_be_read_is_an_error() {
    for text in [
        "{",
        "[]",
        "1",
        "{}",
        r#"{"type":7}"#,
        r#"{"type":"invokefunction"}"#,
        r#"{"type":"registerfunction"}"#,
    ] {
        assert_eq!(
            CODEC
                .decode(&Bytes::from_static(text.as_bytes()))
                .expect_err(text)
                .code,
            Code::InvalidFrame
        );
    }
}

#[test]
fn triggers_lose_junk_keys_and_null_configs() {
    let message = json!({ "type": "registertrigger", "message_type": "registertrigger", "id": "t", "trigger_type": "http", "function_id": "f" });
    let Decoded::Frame(Frame::Register(register)) = decode(&message) else {
        panic!("a registration")
    };
    assert_eq!(register.triggers[0].config, Value::Null);
    assert_eq!(register.request, 0);
}
