//! The wire family of OpenAI's chat completions: OpenAI itself, most hosts, most local servers.

mod messages;
mod request;
mod response;
mod stream;

use agentos_sdk::Error;
use serde_json::{Map, Value};

use crate::{
    hosted::{Outgoing, Wire},
    provider::Ask,
    reading::Codec,
    table::Entry,
};

/// OpenAI's dialect with the habits of one host.
pub(crate) struct OpenAi {
    pub(crate) provider: String,
    pub(crate) habits: Entry,
    pub(crate) options: Map<String, Value>,
}

impl Wire for OpenAi {
    fn write(&self, ask: Ask<'_>) -> Result<Outgoing, Error> {
        Ok(Outgoing {
            path: "/chat/completions".to_owned(),
            body: request::encode(ask, &self.habits, &self.options)?,
        })
    }

    fn read(&self, ask: Ask<'_>) -> Box<dyn Codec> {
        Box::new(stream::Codec::new(&self.provider, ask.model))
    }
}
