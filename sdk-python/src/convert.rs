//! Events, payloads and errors as Python values, and back.
//!
//! Payloads cross as bytes, errors and registrations as JSON text, and an event as a flat tuple
//! that begins with its kind: what Python can take apart fastest.

use agentos_sdk::{
    Error, FunctionSpec, Payload, TriggerSpec,
    mailbox::{Event, State},
    protocol,
};
use pyo3::{
    exceptions::PyValueError,
    prelude::*,
    types::{PyBytes, PyTuple},
};
use serde::Deserialize;

use crate::Refusal;

const CALL: u8 = 0;
const CANCEL: u8 = 1;
const CREDIT: u8 = 2;
const CHUNK: u8 = 3;
const DONE: u8 = 4;
const REGISTERED: u8 = 5;
const STATE: u8 = 6;

/// Names the kinds of events, and the window of a stream, in the module.
pub(crate) fn add_kinds(module: &Bound<'_, PyModule>) -> PyResult<()> {
    let kinds = [
        ("CALL", CALL),
        ("CANCEL", CANCEL),
        ("CREDIT", CREDIT),
        ("CHUNK", CHUNK),
        ("DONE", DONE),
        ("REGISTERED", REGISTERED),
        ("STATE", STATE),
    ];
    for (name, kind) in kinds {
        module.add(name, kind)?;
    }
    module.add("STREAM_WINDOW_CHUNKS", agentos_sdk::STREAM_WINDOW_CHUNKS)
}

/// What [`crate::Mailbox::register`] takes.
#[derive(Deserialize)]
pub(crate) struct Registration {
    pub(crate) functions: Vec<FunctionSpec>,
    pub(crate) triggers: Vec<TriggerSpec>,
}

/// `reply`, `stream` or `void`.
pub(crate) struct Delivery(pub(crate) protocol::Delivery);

impl<'py> FromPyObject<'_, 'py> for Delivery {
    type Error = PyErr;

    fn extract(value: Borrowed<'_, 'py, PyAny>) -> PyResult<Self> {
        match value.extract::<&str>()? {
            "reply" => Ok(Delivery(protocol::Delivery::Reply)),
            "stream" => Ok(Delivery(protocol::Delivery::Stream)),
            "void" => Ok(Delivery(protocol::Delivery::Void)),
            other => Err(PyValueError::new_err(format!("no such delivery: {other}"))),
        }
    }
}

pub(crate) fn event(py: Python<'_>, event: Event) -> PyResult<Bound<'_, PyTuple>> {
    match event {
        Event::Call {
            id,
            function,
            payload,
            stream,
            timeout_ms,
            caller,
            trace,
            metadata,
        } => {
            let (data, binary) = body(py, &payload);
            let trace = (trace.parent.as_deref(), trace.baggage.as_deref());
            (
                CALL,
                id,
                &*function,
                data,
                binary,
                stream,
                timeout_ms,
                caller.as_deref(),
                trace,
                metadata.as_deref(),
            )
                .into_pyobject(py)
        }
        Event::Cancel { id } => (CANCEL, id).into_pyobject(py),
        Event::Credit { id } => (CREDIT, id).into_pyobject(py),
        Event::Chunk { id, payload } => {
            let (data, binary) = body(py, &payload);
            (CHUNK, id, data, binary).into_pyobject(py)
        }
        Event::Done {
            id,
            outcome: Ok(payload),
        } => {
            let (data, binary) = body(py, &payload);
            (DONE, id, data, binary, None::<&str>).into_pyobject(py)
        }
        Event::Done {
            id,
            outcome: Err(error),
        } => (DONE, id, PyBytes::new(py, b""), false, text(&error)).into_pyobject(py),
        Event::Registered { id, rejected } => {
            let rejected: Vec<_> = rejected
                .iter()
                .map(|refused| (&*refused.id, text(&refused.error)))
                .collect();
            (REGISTERED, id, rejected).into_pyobject(py)
        }
        Event::State { state, message } => (STATE, name(state), message).into_pyobject(py),
    }
}

fn body<'py>(py: Python<'py>, payload: &Payload) -> (Bound<'py, PyBytes>, bool) {
    (
        PyBytes::new(py, &payload.bytes),
        payload.encoding == agentos_sdk::Encoding::Binary,
    )
}

pub(crate) fn payload(data: &[u8], binary: bool) -> Payload {
    if binary {
        Payload::binary(data.to_vec())
    } else {
        Payload::json(data.to_vec())
    }
}

fn name(state: State) -> &'static str {
    match state {
        State::Connecting => "connecting",
        State::Connected => "connected",
        State::Disconnected => "disconnected",
        State::Refused => "refused",
        State::Closed => "closed",
    }
}

/// The error as JSON text.
fn text(error: &Error) -> String {
    serde_json::to_string(error).expect("an error body has string keys only")
}

/// An error written by Python.
pub(crate) fn error(body: &str) -> PyResult<Error> {
    serde_json::from_str(body).map_err(|error| PyValueError::new_err(error.to_string()))
}

/// An error on its way to Python, which makes an `AgentOSError` of it.
pub(crate) fn refusal(error: Error) -> PyErr {
    Refusal::new_err(text(&error))
}
