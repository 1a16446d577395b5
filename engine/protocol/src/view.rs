//! Calls and payloads as they lie in the message that brought them: what routing reads.

use std::sync::Arc;

use bytes::Bytes;

use crate::{Call, CallRef, Delivery, Encoding, Payload, Trace, namespace};

/// A payload, borrowed.
#[derive(Clone, Copy, Debug)]
pub struct PayloadView<'a> {
    pub bytes: &'a [u8],
    /// What `bytes` is a part of, if that can be shared.
    pub owner: Option<&'a Bytes>,
    pub encoding: Encoding,
    /// The bytes are known to be JSON text, whoever sent them.
    pub checked: bool,
}

impl<'a> PayloadView<'a> {
    /// JSON `null`.
    pub const NULL: PayloadView<'static> = PayloadView {
        bytes: b"null",
        owner: None,
        encoding: Encoding::Json,
        checked: true,
    };

    /// Shared where possible, else a copy.
    pub fn to_bytes(self) -> Bytes {
        match self.owner {
            Some(owner) => owner.slice_ref(self.bytes),
            None => Bytes::copy_from_slice(self.bytes),
        }
    }

    pub fn to_payload(self) -> Payload {
        Payload {
            bytes: self.to_bytes(),
            encoding: self.encoding,
            checked: self.checked,
        }
    }

    /// The JSON text, `null` when empty.
    pub fn text(self) -> &'a [u8] {
        if self.bytes.is_empty() {
            b"null"
        } else {
            self.bytes
        }
    }

    /// True for JSON `null` and for nothing at all.
    pub fn is_null(self) -> bool {
        self.encoding == Encoding::Json && matches!(self.bytes, b"" | b"null")
    }
}

impl Payload {
    pub fn view(&self) -> PayloadView<'_> {
        PayloadView {
            bytes: &self.bytes,
            owner: Some(&self.bytes),
            encoding: self.encoding,
            checked: self.checked,
        }
    }
}

/// A [`Call`], borrowed. Fields as there.
#[derive(Clone, Debug)]
pub struct CallView<'a> {
    pub call: Option<CallRef>,
    pub function: &'a str,
    pub namespace: Option<&'a str>,
    pub payload: PayloadView<'a>,
    pub delivery: Delivery,
    pub timeout_ms: Option<u32>,
    pub trace_parent: Option<&'a str>,
    pub baggage: Option<&'a str>,
    pub caller: Option<&'a str>,
    pub metadata: Option<&'a str>,
    pub affinity: Option<&'a str>,
}

impl Call {
    pub fn view(&self) -> CallView<'_> {
        CallView {
            call: self.call.clone(),
            function: &self.function,
            namespace: self.namespace.as_deref(),
            payload: self.payload.view(),
            delivery: self.delivery.clone(),
            timeout_ms: self.timeout_ms,
            trace_parent: self.trace.parent.as_deref(),
            baggage: self.trace.baggage.as_deref(),
            caller: self.caller.as_deref(),
            metadata: self.metadata.as_deref(),
            affinity: self.affinity.as_deref(),
        }
    }
}

impl CallView<'_> {
    pub fn to_call(&self) -> Call {
        Call {
            call: self.call.clone(),
            function: self.function.into(),
            namespace: self.namespace.and_then(namespace),
            payload: self.payload.to_payload(),
            delivery: self.delivery.clone(),
            timeout_ms: self.timeout_ms,
            trace: Trace {
                parent: self.trace_parent.map(Arc::from),
                baggage: self.baggage.map(Arc::from),
            },
            caller: self.caller.map(Arc::from),
            metadata: self.metadata.map(Arc::from),
            affinity: self.affinity.map(Arc::from),
        }
    }
}
