//! The wire family of OpenAI's chat completions: OpenAI itself, most hosts, most local servers.

mod request;
mod response;
mod stream;

use agentos_sdk::Error;
use async_trait::async_trait;
use hyper::{HeaderMap, Uri, header::AUTHORIZATION};

use crate::{
    config,
    http::Client,
    provider::{Ask, EventStream, Provider},
    reading,
};

/// One host that speaks OpenAI's dialect.
pub(crate) struct OpenAi {
    client: Client,
    uri: Uri,
    headers: HeaderMap,
    limit: request::LimitName,
}

impl OpenAi {
    /// # Errors
    /// When base URL or key cannot be used.
    pub(crate) fn new(provider: &config::Provider, base: &str) -> Result<Self, config::Error> {
        let uri = config::endpoint(provider, base, "/chat/completions")?;
        let mut headers = HeaderMap::new();
        if let Some(key) = &provider.api_key {
            headers.insert(
                AUTHORIZATION,
                config::header(provider, &format!("Bearer {}", key.expose()))?,
            );
        }
        let limit = request::LimitName::for_host(uri.host().unwrap_or_default());
        Ok(OpenAi {
            client: Client::new(provider),
            uri,
            headers,
            limit,
        })
    }
}

#[async_trait]
impl Provider for OpenAi {
    async fn start(&self, ask: Ask) -> Result<EventStream, Error> {
        let body = request::encode(&ask, self.limit)?;
        let answer = self.client.post(&self.uri, &self.headers, body).await?;
        let codec = stream::Codec::new(&self.client.upstream.provider, &ask.model);
        reading::events(answer, codec).await
    }
}
