//! The oracle over random frames, random bytes, and messages with something broken in them.

use std::sync::Arc;

use proptest::{collection::vec, option, prelude::*};
use serde_json::{Value, json};

use super::*;
use crate::{
    BindTrigger, Call, CallRef, Code, Delivery, ErrorBody, FunctionSpec, Hello, Origin, Register,
    Rejected, Trace, TriggerSpec, TriggerTypeSpec, Unregister, Welcome, codec::Draft,
};

// ── Parts ───────────────────────────────────────────────────────────────────────────────────

fn text() -> impl Strategy<Value = String> {
    prop_oneof![4 => "[a-z:]{0,8}", 1 => "\\PC{0,8}", 1 => any::<String>()]
}

fn id() -> impl Strategy<Value = Arc<str>> {
    text().prop_map(|text| format!("f{text}").into())
}

fn shared() -> impl Strategy<Value = Option<Arc<str>>> {
    option::of(text().prop_map(Arc::from))
}

fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        text().prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 16, 4, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..4).prop_map(Value::from),
            vec((text(), inner), 0..4).prop_map(|pairs| pairs.into_iter().collect()),
        ]
    })
}

/// An optional value; `null` would be read as "none".
fn some_value() -> impl Strategy<Value = Option<Value>> {
    option::of(value().prop_filter("null is none", |value| !value.is_null()))
}

fn payload() -> impl Strategy<Value = Payload> {
    prop_oneof![
        value().prop_map(|value| Payload::json(value.to_string())),
        vec(any::<u8>(), 0..16).prop_map(Payload::json),
        vec(any::<u8>(), 0..16).prop_map(Payload::binary),
        Just(Payload::NULL),
    ]
}

fn reference() -> impl Strategy<Value = CallRef> {
    prop_oneof![
        8 => any::<u64>().prop_map(CallRef::Number),
        1 => any::<u128>().prop_map(|uuid| CallRef::Uuid(uuid::Uuid::from_u128(uuid))),
        1 => text().prop_map(|text| CallRef::Text(format!("c{text}").into())),
    ]
}

fn error() -> impl Strategy<Value = ErrorBody> {
    let code = prop::sample::select(Code::ALL.to_vec());
    let origin = prop::sample::select(vec![Origin::Caller, Origin::Engine, Origin::Worker]);
    (
        code,
        origin,
        text(),
        any::<bool>(),
        option::of(text()),
        some_value(),
    )
        .prop_map(
            |(code, origin, message, retryable, reason, details)| ErrorBody {
                code,
                message,
                origin,
                retryable,
                reason,
                details,
            },
        )
}

fn call() -> impl Strategy<Value = Call> {
    let delivery = prop_oneof![
        Just(Delivery::Reply),
        Just(Delivery::Stream),
        Just(Delivery::Void),
        text().prop_map(|queue| Delivery::Enqueue(queue.into())),
    ];
    let rim = (
        option::of(any::<u32>()),
        option::of("[a-c]{1,4}"),
        shared(),
        shared(),
        shared(),
        shared(),
    );
    (option::of(reference()), id(), payload(), delivery, rim).prop_map(
        |(call, function, payload, delivery, rim)| {
            let (timeout_ms, namespace, parent, baggage, caller, metadata) = rim;
            Call {
                call,
                function,
                namespace: namespace.map(Into::into),
                payload,
                delivery,
                timeout_ms,
                trace: Trace { parent, baggage },
                caller,
                metadata,
                affinity: None,
            }
        },
    )
}

fn trigger() -> impl Strategy<Value = TriggerSpec> {
    (
        id(),
        id(),
        id(),
        value(),
        some_value(),
        proptest::option::of(id()),
        proptest::option::of(id()),
    )
        .prop_map(
            |(id, trigger_type, function, config, metadata, namespace, trigger_namespace)| {
                TriggerSpec {
                    id,
                    trigger_type,
                    function,
                    config,
                    metadata,
                    namespace,
                    trigger_namespace,
                }
            },
        )
}

fn function() -> impl Strategy<Value = FunctionSpec> {
    (
        id(),
        option::of(text()),
        some_value(),
        some_value(),
        any::<[bool; 2]>(),
    )
        .prop_map(
            |(id, description, input_schema, metadata, [streams, idempotent])| FunctionSpec {
                description,
                input_schema,
                metadata,
                streams,
                idempotent,
                ..FunctionSpec::new(id)
            },
        )
}

fn register() -> impl Strategy<Value = Register> {
    let trigger_type =
        (id(), text(), some_value()).prop_map(|(id, description, config_schema)| TriggerTypeSpec {
            id,
            description,
            config_schema,
            payload_schema: None,
        });
    (
        any::<u64>(),
        vec(function(), 0..3),
        vec(trigger(), 0..3),
        vec(trigger_type, 0..3),
    )
        .prop_map(|(request, functions, triggers, trigger_types)| Register {
            request,
            functions,
            triggers,
            trigger_types,
        })
}

fn frame() -> impl Strategy<Value = Frame> {
    let outcome = prop_oneof![payload().prop_map(Ok), error().prop_map(Err)];
    prop_oneof![
        4 => call().prop_map(|call| Frame::Call(Box::new(call))),
        3 => (reference(), id(), outcome)
            .prop_map(|(call, function, outcome)| Frame::Reply { call, function, outcome }),
        2 => (reference(), payload()).prop_map(|(call, payload)| Frame::Chunk { call, payload }),
        2 => register().prop_map(|register| Frame::Register(Box::new(register))),
        1 => (reference(), any::<u32>()).prop_map(|(call, chunks)| Frame::Credit { call, chunks }),
        1 => reference().prop_map(|call| Frame::Cancel { call }),
        1 => (any::<u64>(), vec((id(), error()), 0..3)).prop_map(|(request, rejected)| {
            let rejected = rejected.into_iter().map(|(id, error)| Rejected { id, error });
            Frame::Registered { request, rejected: rejected.collect() }
        }),
        1 => vec(id(), 0..3).prop_map(|functions| {
            Frame::Unregister(Box::new(Unregister { functions, ..Unregister::default() }))
        }),
        1 => trigger().prop_map(|spec| Frame::BindTrigger(Box::new(BindTrigger { spec }))),
        1 => (id(), id()).prop_map(|(id, trigger_type)| Frame::UnbindTrigger { id, trigger_type }),
        1 => (id(), id(), id(), option::of(error())).prop_map(|(id, trigger_type, function, error)| {
            Frame::TriggerBound { id, trigger_type, function, error }
        }),
        1 => (text(), option::of(text()), option::of(any::<u32>())).prop_map(|(name, token, pid)| {
            Frame::Hello(Box::new(Hello { name, token, pid, ..Hello::default() }))
        }),
        1 => (text(), any::<u64>()).prop_map(|(session, message_bytes_max)| {
            Frame::Welcome(Box::new(Welcome { session, message_bytes_max, ..Welcome::default() }))
        }),
        1 => id().prop_map(|reason| Frame::Goodbye { reason }),
        1 => error().prop_map(Frame::Fault),
        1 => prop_oneof![Just(Frame::Ping), Just(Frame::Pong)],
    ]
}

/// Messages of the JSON dialect: all types, fields mostly of the right kind.
fn message() -> impl Strategy<Value = Value> {
    let kind = prop::sample::select(vec![
        "invokefunction",
        "invocationresult",
        "registerfunction",
        "unregisterfunction",
        "registertrigger",
        "unregistertrigger",
        "registertriggertype",
        "unregistertriggertype",
        "triggerregistrationresult",
        "registerservice",
        "reattach",
        "ping",
        "pong",
        "observe",
    ]);
    let field = prop::sample::select(vec![
        "id",
        "invocation_id",
        "function_id",
        "trigger_type",
        "data",
        "result",
        "error",
        "action",
        "config",
        "metadata",
        "traceparent",
        "baggage",
        "description",
        "request_format",
        "invocation",
        "previous_worker_id",
    ]);
    let content = prop_oneof![
        4 => text().prop_map(Value::from),
        2 => value(),
        1 => Just(json!("0d3c7a1e-6f5b-4a1f-9a52-7d0e2c1b9f10")),
        1 => any::<u64>().prop_map(|number| json!(uuid::Uuid::from_u64_pair(MARK, number).to_string())),
        1 => Just(json!({"type": "void"})),
        1 => Just(json!({"type": "enqueue", "queue": "q"})),
        1 => (text(), text()).prop_map(|(code, message)| json!({"code": code, "message": message, "stacktrace": "at x"})),
        1 => Just(json!({"code": "function_not_found", "message": "no"})),
    ];
    let ids = json!({"id": "i", "invocation_id": "c", "function_id": "f", "trigger_type": "t"});
    (kind, vec((field, content), 0..5), any::<bool>()).prop_map(move |(kind, fields, complete)| {
        let mut message = if complete { ids.clone() } else { json!({}) };
        message["type"] = kind.into();
        for (field, content) in fields {
            message[field] = content;
        }
        message
    })
}

/// One way to break a message.
#[derive(Clone, Debug)]
enum Damage {
    Flip(prop::sample::Index, u8),
    Cut(prop::sample::Index),
    Insert(prop::sample::Index, Vec<u8>),
    Repeat(prop::sample::Index, prop::sample::Index),
}

fn damage() -> impl Strategy<Value = Damage> {
    let at = any::<prop::sample::Index>;
    prop_oneof![
        4 => (at(), any::<u8>()).prop_map(|(at, bits)| Damage::Flip(at, bits)),
        1 => at().prop_map(Damage::Cut),
        1 => (at(), vec(any::<u8>(), 1..4)).prop_map(|(at, bytes)| Damage::Insert(at, bytes)),
        1 => (at(), at()).prop_map(|(from, to)| Damage::Repeat(from, to)),
    ]
}

fn damaged(bytes: &[u8], damages: &[Damage]) -> Bytes {
    let mut bytes = bytes.to_vec();
    for damage in damages {
        let place = |at: &prop::sample::Index| at.index(bytes.len() + 1);
        match damage {
            Damage::Flip(at, bits) => {
                let at = place(at);
                if let Some(byte) = bytes.get_mut(at) {
                    *byte ^= bits;
                }
            }
            Damage::Cut(at) => bytes.truncate(place(at)),
            Damage::Insert(at, new) => {
                let at = place(at);
                bytes.splice(at..at, new.iter().copied());
            }
            Damage::Repeat(from, to) => {
                let (from, to) = (place(from), place(to));
                let again = bytes[from.min(to)..from.max(to)].to_vec();
                bytes.splice(to..to, again);
            }
        }
    }
    bytes.into()
}

// ── Properties ──────────────────────────────────────────────────────────────────────────────

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(2000) })]

    #[test]
    fn frames_survive_the_binary_dialect(frame in frame()) {
        v2_writes(&frame);
    }

    #[test]
    fn broken_binary_messages_are_read_alike_or_refused(
        frame in frame(),
        damages in vec(damage(), 1..4),
    ) {
        if let Ok(bytes) = v2::encode(&frame) {
            v2_reads(&damaged(&bytes, &damages));
        }
    }

    #[test]
    fn any_bytes_are_read_alike_or_refused(bytes in vec(any::<u8>(), 0..64)) {
        let bytes = Bytes::from(bytes);
        v2_reads(&bytes);
        iii_reads(&bytes);
    }

    #[test]
    fn any_parts_are_put_together_or_refused(
        messages in vec((0_u64..3, vec(any::<u8>(), 0..40), 1_u8..32), 1..6),
        damages in vec(damage(), 0..3),
    ) {
        let mut all = Vec::new();
        for (number, body, part_bytes) in messages {
            let mut message = Draft::default();
            message.put([v2::kind::CHUNK]);
            message.put(body);
            for at in (0..message.len()).step_by(part_bytes.into()) {
                let mut part = Draft::flat();
                let len = usize::from(part_bytes).min(message.len() - at);
                v2::parts::write(number, &message, at, len, &mut part);
                all.push(part.len() as u8);
                all.extend_from_slice(part.text());
            }
        }
        v2_parts(&damaged(&all, &damages));
    }

    #[test]
    fn json_messages_are_passed_on_alike(message in message()) {
        iii_reads(&message.to_string().into());
    }

    #[test]
    fn broken_json_messages_are_passed_on_alike_or_refused(
        message in message(),
        damages in vec(damage(), 1..4),
    ) {
        iii_reads(&damaged(message.to_string().as_bytes(), &damages));
    }

    #[test]
    fn any_frame_becomes_json_or_is_refused(frame in frame()) {
        iii_writes(&frame);
    }
}
