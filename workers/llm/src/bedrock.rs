//! The wire family of AWS Bedrock's Converse: one shape for the models of many makers.

mod request;
mod stream;

use agentos_sdk::Error;
use serde_json::{Map, Value};

use crate::{
    gemini::escaped,
    hosted::{Outgoing, Wire},
    provider::Ask,
    reading::Codec,
};

/// The `format` of details of thinking: of Anthropic's models, which are the only ones that sign.
const FORMAT: &str = "anthropic-claude-v1";

/// Bedrock's dialect.
pub(crate) struct Bedrock {
    pub(crate) provider: String,
    pub(crate) options: Map<String, Value>,
}

impl Wire for Bedrock {
    fn write(&self, ask: Ask<'_>) -> Result<Outgoing, Error> {
        let verb = if ask.stream {
            "converse-stream"
        } else {
            "converse"
        };
        Ok(Outgoing {
            // Ids of models have colons and slashes.
            path: format!("/model/{}/{verb}", escaped(ask.model)),
            body: request::encode(ask, &self.options)?,
        })
    }

    fn read(&self, ask: Ask<'_>) -> Box<dyn Codec> {
        Box::new(stream::Codec::new(&self.provider, ask.model))
    }
}
