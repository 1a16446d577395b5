//! What the router asks of every provider, whatever its family.

use agentos_contract::llm::{CompleteRequest, Event};
use agentos_sdk::Error;
use async_trait::async_trait;
use futures_util::stream::BoxStream;

/// A completion as it happens. Dropping it ends the work upstream.
///
/// It ends after [`Event::Finish`] or after an error, never with neither.
pub type EventStream = BoxStream<'static, Result<Event, Error>>;

/// A request on its way to a provider.
#[derive(Clone, Debug)]
pub(crate) struct Ask {
    /// As the provider calls it; the one in `request` is as the caller does.
    pub(crate) model: String,
    pub(crate) request: CompleteRequest,
    /// Whether somebody reads the events as they come.
    pub(crate) stream: bool,
}

/// Somebody who completes conversations.
#[async_trait]
pub(crate) trait Provider: Send + Sync {
    /// Asks, and waits until the first event is certain: what fails before it fails here, where
    /// another provider can still be asked and no half answer exists.
    ///
    /// # Errors
    /// Whatever kept the provider from beginning.
    async fn start(&self, ask: Ask) -> Result<EventStream, Error>;
}
