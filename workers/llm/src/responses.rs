//! The wire family of OpenAI's responses, asked without state: everything is sent every time.

mod request;
mod stream;

use agentos_sdk::Error;
use serde_json::{Map, Value};

use crate::{
    hosted::{Outgoing, Wire},
    provider::Ask,
    reading::Codec,
};

/// The `format` of details of thinking that are OpenAI's.
const FORMAT: &str = "openai-responses-v1";

/// OpenAI's newer dialect.
pub(crate) struct Responses {
    pub(crate) provider: String,
    pub(crate) options: Map<String, Value>,
}

impl Wire for Responses {
    fn write(&self, ask: Ask<'_>) -> Result<Outgoing, Error> {
        Ok(Outgoing {
            path: "/responses".to_owned(),
            body: request::encode(ask, &self.options)?,
        })
    }

    fn read(&self, ask: Ask<'_>) -> Box<dyn Codec> {
        Box::new(stream::Codec::new(&self.provider, ask.model))
    }
}
