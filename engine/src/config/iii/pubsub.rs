//! `iii-pubsub`.

use serde::{Deserialize, Serialize, de::IgnoredAny};

use super::{
    Nothing,
    adapter::{Choice, Written},
};
use crate::config::{Error, place::Place};

/// What `iii-pubsub` is asked for: to be there.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize)]
pub struct Pubsub {
    /// The engine that publishes instead.
    pub bridge_url: Option<String>,
}

#[derive(Deserialize, Default)]
#[serde(default, deny_unknown_fields)]
struct Keys {
    #[serde(rename = "adapter")]
    _adapter: IgnoredAny,
}

const ADAPTERS: Choice = Choice {
    rooms: &["pubsub"],
    own: "local",
    bridge: true,
    instead: "the engine brings messages to its subscribers itself",
};

pub(super) fn read(place: &Place<'_>) -> Result<Pubsub, Error> {
    let Keys { .. } = place.read()?;
    match ADAPTERS.read(place)? {
        Written::Own(config) => {
            let Nothing {} = config.read()?;
            Ok(Pubsub::default())
        }
        Written::Bridge { url } => Ok(Pubsub {
            bridge_url: Some(url),
        }),
    }
}
