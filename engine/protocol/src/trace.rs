//! W3C trace context as it travels beside a call.
//!
//! Source: <https://www.w3.org/TR/trace-context/> (`traceparent`) and W3C Baggage. The bus passes
//! both through untouched and does not check them.

use std::sync::Arc;

#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Trace {
    pub parent: Option<Arc<str>>,
    pub baggage: Option<Arc<str>>,
}

impl Trace {
    pub fn is_empty(&self) -> bool {
        self.parent.is_none() && self.baggage.is_none()
    }
}
