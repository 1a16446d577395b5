//! Events, payloads and errors as Python values, and back.
//!
//! Payloads come as the values that their JSON says, go as bytes, errors and registrations as JSON
//! text, and an event as a flat tuple that begins with its kind: what Python can take apart fastest.

use agentos_sdk::{
    Encoding, Error, FunctionSpec, Payload, TriggerSpec,
    mailbox::{Event, State},
};
use pyo3::{
    exceptions::PyValueError,
    prelude::*,
    types::{PyBytes, PyTuple},
};
use serde::Deserialize;

use crate::{Refusal, json};

const CALL: u8 = 0;
const CANCEL: u8 = 1;
const CREDIT: u8 = 2;
const CHUNK: u8 = 3;
const DONE: u8 = 4;
const FAILED: u8 = 5;
const REGISTERED: u8 = 6;
const STATE: u8 = 7;

/// How a payload stands in an event: as bytes that are JSON text or that are not, or read already.
const JSON: u8 = 0;
const BINARY: u8 = 1;
const VALUE: u8 = 2;

/// Names the kinds of events, the forms of payloads, and the window of a stream, in the module.
pub(crate) fn add_kinds(module: &Bound<'_, PyModule>) -> PyResult<()> {
    let kinds = [
        ("CALL", CALL),
        ("CANCEL", CANCEL),
        ("CREDIT", CREDIT),
        ("CHUNK", CHUNK),
        ("DONE", DONE),
        ("FAILED", FAILED),
        ("REGISTERED", REGISTERED),
        ("STATE", STATE),
        ("FORM_JSON", JSON),
        ("FORM_BINARY", BINARY),
        ("FORM_VALUE", VALUE),
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
            let (data, form) = body(py, &payload);
            let trace = (trace.parent.as_deref(), trace.baggage.as_deref());
            (
                CALL,
                id,
                &*function,
                data,
                form,
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
            let (data, form) = body(py, &payload);
            (CHUNK, id, data, form).into_pyobject(py)
        }
        Event::Done {
            id,
            outcome: Ok(payload),
        } => {
            let (data, form) = body(py, &payload);
            (DONE, id, data, form).into_pyobject(py)
        }
        Event::Done {
            id,
            outcome: Err(error),
        } => (FAILED, id, text(&error)).into_pyobject(py),
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

/// The payload and its form.
fn body<'py>(py: Python<'py>, payload: &Payload) -> (Bound<'py, PyAny>, u8) {
    let form = match payload.encoding {
        Encoding::Binary => BINARY,
        Encoding::Json => match json::loads(py, payload.text()) {
            Some(value) => return (value, VALUE),
            None => JSON,
        },
    };
    (PyBytes::new(py, &payload.bytes).into_any(), form)
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
