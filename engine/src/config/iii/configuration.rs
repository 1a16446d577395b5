//! `configuration`.

use serde::{Deserialize, Serialize, de::IgnoredAny};

use super::adapter::{Choice, Written};
use crate::config::{Error, place::Place};

/// What `configuration` is asked for.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize)]
pub struct Configuration {
    /// The engine that keeps the values instead.
    pub bridge_url: Option<String>,
    /// Accepted: what is set is seen at once.
    pub ttl_seconds: u64,
}

#[derive(Deserialize, Default)]
#[serde(default, deny_unknown_fields)]
struct Keys {
    #[serde(rename = "adapter")]
    _adapter: IgnoredAny,
    ttl_seconds: u64,
}

/// Configuration of the adapter `fs`.
#[derive(Deserialize, Default)]
#[serde(default, deny_unknown_fields)]
struct Fs {
    // The data directory has one store.
    #[serde(rename = "directory")]
    _directory: Option<String>,
}

const ADAPTERS: Choice = Choice {
    rooms: &["configuration"],
    own: "fs",
    bridge: true,
    instead: "the engine keeps configurations on its own disk",
};

pub(super) fn read(place: &Place<'_>) -> Result<Configuration, Error> {
    let keys: Keys = place.read()?;
    let bridge_url = match ADAPTERS.read(place)? {
        Written::Own(config) => {
            let Fs { .. } = config.read()?;
            None
        }
        Written::Bridge { url } => Some(url),
    };
    Ok(Configuration {
        bridge_url,
        ttl_seconds: keys.ttl_seconds,
    })
}
