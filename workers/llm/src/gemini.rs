//! The wire family of Google's `generateContent`, at Gemini's own host and at Vertex.

mod request;
mod stream;

use agentos_sdk::Error;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::{Map, Value};

use crate::{
    hosted::{Outgoing, Wire},
    provider::Ask,
    reading::Codec,
};

/// The `format` of details of thinking that are Google's.
const FORMAT: &str = "google-gemini-v1";

/// Google's dialect.
pub(crate) struct Gemini {
    pub(crate) provider: String,
    pub(crate) options: Map<String, Value>,
}

impl Wire for Gemini {
    fn write(&self, ask: Ask<'_>) -> Result<Outgoing, Error> {
        let verb = if ask.stream {
            "streamGenerateContent?alt=sse"
        } else {
            "generateContent"
        };
        // `tunedModels/x` is a model, too.
        let model = match ask.model.split_once('/') {
            Some((kind @ ("models" | "tunedModels"), id)) => format!("{kind}/{}", escaped(id)),
            _ => format!("models/{}", escaped(ask.model)),
        };
        Ok(Outgoing {
            path: format!("/{model}:{verb}"),
            body: request::encode(ask, &self.options)?,
        })
    }

    fn read(&self, ask: Ask<'_>) -> Box<dyn Codec> {
        Box::new(stream::Codec::new(&self.provider, ask.model))
    }
}

/// As one segment of a path.
pub(crate) fn escaped(segment: &str) -> String {
    const PLAIN: percent_encoding::AsciiSet = NON_ALPHANUMERIC
        .remove(b'-')
        .remove(b'.')
        .remove(b'_')
        .remove(b'~');
    utf8_percent_encode(segment, &PLAIN).to_string()
}
