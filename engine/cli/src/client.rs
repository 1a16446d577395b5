//! A connection to the engine for one command.

use std::time::Duration;

use agentos_sdk::{Client, Options};

use crate::{args::Common, failure::Failure, place::Place};

/// An engine on this machine answers in milliseconds; one elsewhere in a second or two.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Connects to the engine that `common` speaks of.
pub(crate) async fn connect(common: &Common) -> Result<Client, Failure> {
    let place = Place::find(common)?;
    let mut options = Options::new("cli").connect_timeout(Some(CONNECT_TIMEOUT));
    if let Some(url) = place.url {
        options = options.url(url);
    }
    if let Some(token) = place.token {
        options = options.token(token);
    }
    Client::connect(options).await.map_err(Failure::of_connect)
}
