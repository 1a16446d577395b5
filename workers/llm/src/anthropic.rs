//! The wire family of Anthropic's messages.

mod history;
mod request;
mod stream;

use agentos_sdk::Error;

use crate::{
    hosted::{Outgoing, Wire},
    provider::Ask,
    reading::Codec,
};

/// Anthropic's dialect.
pub(crate) struct Anthropic {
    pub(crate) provider: String,
    pub(crate) options: serde_json::Map<String, serde_json::Value>,
}

impl Wire for Anthropic {
    fn write(&self, ask: Ask<'_>) -> Result<Outgoing, Error> {
        Ok(Outgoing {
            path: "/v1/messages".to_owned(),
            body: request::encode(ask, &self.options)?,
        })
    }

    fn read(&self, ask: Ask<'_>) -> Box<dyn Codec> {
        Box::new(stream::Codec::new(&self.provider, ask.model))
    }
}
