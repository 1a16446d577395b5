//! What the router asks of every provider, whatever its family.

use agentos_contract::llm::{CompleteRequest, Dialect, Event};
use agentos_sdk::{Code, Error};
use async_trait::async_trait;
use bytes::Bytes;
use futures_util::stream::BoxStream;
use hyper::HeaderMap;

use crate::{http::Answer, keys::Condition};

/// A completion as it happens. Dropping it ends the work upstream.
///
/// It ends after [`Event::Finish`] or after an error, never with neither.
pub type EventStream = BoxStream<'static, Result<Event, Error>>;

/// A request on its way to a provider.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ask<'a> {
    /// As the provider calls it; the one in `request` is as the caller does.
    pub(crate) model: &'a str,
    pub(crate) request: &'a CompleteRequest,
    /// Whether somebody reads the events as they come.
    pub(crate) stream: bool,
}

/// A body in the provider's own dialect, on its way there.
#[derive(Clone, Debug)]
pub(crate) struct Letter {
    pub(crate) dialect: Dialect,
    pub(crate) body: Bytes,
    pub(crate) headers: HeaderMap,
}

/// Somebody who completes conversations.
#[async_trait]
pub(crate) trait Provider: Send + Sync {
    /// Asks, and waits until the first event is certain: what fails before it fails here, where
    /// another provider can still be asked and no half answer exists.
    ///
    /// # Errors
    /// Whatever kept the provider from beginning.
    async fn start(&self, ask: Ask<'_>) -> Result<EventStream, Error>;

    /// Whether [`Provider::send`] takes this dialect.
    fn speaks(&self, dialect: Dialect) -> bool {
        let _ = dialect;
        false
    }

    /// Sends a body as it is, and waits for the head of an answer that says yes.
    ///
    /// # Errors
    /// As [`Provider::start`].
    async fn send(&self, letter: Letter) -> Result<Answer, Error> {
        let _ = letter;
        Err(Error::worker(
            Code::Unsupported,
            "this provider takes no bodies of others",
        ))
    }

    /// How its keys are; `None` when it has no need of any.
    fn condition(&self) -> Option<Condition> {
        None
    }

    /// Whether asking again at once means asking with another key.
    fn has_another_key(&self) -> bool {
        false
    }
}
