//! What Python wants done, as a list of tuples that begin with their kind: many at a time.

use agentos_sdk::{
    Code, Error, Trace,
    mailbox::{Mailbox, Outgoing},
    protocol::Delivery,
};
use pyo3::{
    exceptions::PyValueError,
    prelude::*,
    types::{PyList, PyTuple},
};

use crate::convert::{self, payload};

const CALL: u8 = 0;
const REPLY: u8 = 1;
const FAIL: u8 = 2;
const CANCEL: u8 = 3;
const READ: u8 = 4;

/// Names the kinds in the module.
pub(crate) fn add_kinds(module: &Bound<'_, PyModule>) -> PyResult<()> {
    let kinds = [
        ("ORDER_CALL", CALL),
        ("ORDER_REPLY", REPLY),
        ("ORDER_FAIL", FAIL),
        ("ORDER_CANCEL", CANCEL),
        ("ORDER_READ", READ),
    ];
    for (name, kind) in kinds {
        module.add(name, kind)?;
    }
    Ok(())
}

/// Carries all out, in their order; gives the ids and faults of those that could not be read.
pub(crate) fn carry_out(mailbox: &Mailbox, orders: &Bound<'_, PyList>) -> Vec<(u64, String)> {
    let _together = mailbox.hold();
    let mut faults = Vec::new();
    for order in orders.iter() {
        if let Err(fault) = one(mailbox, &order) {
            let id = order.get_item(1).and_then(|id| id.extract());
            faults.push((id.unwrap_or_default(), fault.to_string()));
        }
    }
    faults
}

fn one(mailbox: &Mailbox, order: &Bound<'_, PyAny>) -> PyResult<()> {
    let order = order.cast::<PyTuple>()?;
    let id: u64 = order.get_item(1)?.extract()?;
    match order.get_item(0)?.extract::<u8>()? {
        CALL => {
            let streams: bool = order.get_item(2)?.extract()?;
            let delivery = if streams {
                Delivery::Stream
            } else {
                Delivery::Reply
            };
            let call = order.get_slice(3, order.len());
            mailbox.call(id, outgoing(&call, delivery)?);
        }
        REPLY => {
            let (data, binary) = (order.get_item(2)?, order.get_item(3)?);
            mailbox.reply(id, Ok(payload(data.extract()?, binary.extract()?)));
        }
        FAIL => {
            let body = order.get_item(2)?;
            mailbox.reply(id, Err(failure(body.extract()?)));
        }
        CANCEL => mailbox.cancel(id),
        READ => mailbox.read(id, order.get_item(2)?.extract()?),
        other => return Err(PyValueError::new_err(format!("no such order: {other}"))),
    }
    Ok(())
}

/// The call in `(function, data, binary, timeout_ms, traceparent, baggage, metadata)`.
pub(crate) fn outgoing(call: &Bound<'_, PyTuple>, delivery: Delivery) -> PyResult<Outgoing> {
    let word = |at: usize| -> PyResult<Option<std::sync::Arc<str>>> {
        let item = call.get_item(at)?;
        Ok(item.extract::<Option<&str>>()?.map(Into::into))
    };
    Ok(Outgoing {
        function: call.get_item(0)?.extract::<&str>()?.into(),
        payload: payload(call.get_item(1)?.extract()?, call.get_item(2)?.extract()?),
        timeout_ms: call.get_item(3)?.extract()?,
        delivery,
        trace: Trace {
            parent: word(4)?,
            baggage: word(5)?,
        },
        metadata: word(6)?,
    })
}

/// The error that a handler has raised, whatever it made of the error's shape.
fn failure(body: &str) -> Error {
    convert::error(body)
        .unwrap_or_else(|why| Error::worker(Code::Failed, format!("{body} ({why})")))
}
