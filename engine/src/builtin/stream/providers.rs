//! Streams that somebody else keeps: a worker that offers `stream::set(NAME)` and its like is asked
//! in place of our store, for the stream NAME.

use std::sync::Arc;

use agentos_sdk::{Bus, Error, Payload};
use serde::Serialize;

use super::error;
use crate::builtin::document::Doc;

/// Says whether a worker offers a function. Asked at every call, so it must be cheap.
pub(crate) type Offered = Arc<dyn Fn(&str) -> bool + Send + Sync>;

#[derive(Clone)]
pub(super) struct Providers(pub(super) Offered);

/// A function that stands in for one of ours.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Provider(String);

impl Providers {
    /// Who does `function`, such as `stream::set`, for `stream`; `None` when we do.
    pub(super) fn of(&self, function: &str, stream: &str) -> Option<Provider> {
        let id = format!("{function}({stream})");
        (self.0)(&id).then_some(Provider(id))
    }
}

impl Provider {
    pub(super) fn id(&self) -> &str {
        &self.0
    }

    /// What the provider answers; `None` for nothing.
    ///
    /// # Errors
    /// The provider's, or the engine's, without a reason of their own.
    pub(super) async fn ask(
        &self,
        bus: &Bus,
        input: &(impl Serialize + Sync),
    ) -> Result<Option<Doc>, Error> {
        let input = Payload::encode(input).map_err(|why| error::odd_from(&self.0, &why))?;
        let answer = bus.call(&self.0).send_payload(input).await;
        let answer = answer.map_err(error::of_provider)?;
        if answer.is_null() {
            return Ok(None);
        }
        let doc = Doc::parse(answer.text()).map_err(|why| error::odd_from(&self.0, &why))?;
        Ok(Some(doc))
    }

    /// As [`Provider::ask`], when there must be an answer.
    ///
    /// # Errors
    /// As [`Provider::ask`], and when there is none.
    pub(super) async fn demand(
        &self,
        bus: &Bus,
        input: &(impl Serialize + Sync),
    ) -> Result<Doc, Error> {
        let answer = self.ask(bus, input).await?;
        answer.ok_or_else(|| error::nothing_from(&self.0))
    }
}
