//! The wire family of Anthropic's messages.

mod history;
mod request;
mod stream;

use agentos_sdk::Error;
use async_trait::async_trait;
use hyper::{HeaderMap, Uri, header::HeaderValue};

use crate::{
    config,
    http::Client,
    provider::{Ask, EventStream, Provider},
    reading,
};

/// The version of the interface that the codec was written for.
const VERSION: HeaderValue = HeaderValue::from_static("2023-06-01");

/// One host that speaks Anthropic's dialect.
pub(crate) struct Anthropic {
    client: Client,
    uri: Uri,
    headers: HeaderMap,
}

impl Anthropic {
    /// # Errors
    /// When base URL or key cannot be used.
    pub(crate) fn new(provider: &config::Provider, base: &str) -> Result<Self, config::Error> {
        let uri = config::endpoint(provider, base, "/v1/messages")?;
        let mut headers = HeaderMap::new();
        headers.insert("anthropic-version", VERSION);
        if let Some(key) = &provider.api_key {
            headers.insert("x-api-key", config::header(provider, key.expose())?);
        }
        Ok(Anthropic {
            client: Client::new(provider),
            uri,
            headers,
        })
    }
}

#[async_trait]
impl Provider for Anthropic {
    async fn start(&self, ask: Ask) -> Result<EventStream, Error> {
        let body = request::encode(&ask)?;
        let answer = self.client.post(&self.uri, &self.headers, body).await?;
        let codec = stream::Codec::new(&self.client.upstream.provider, &ask.model);
        reading::events(answer, codec).await
    }
}
