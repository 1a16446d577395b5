//! `iii-cron`.

use serde::{Deserialize, Serialize, de::IgnoredAny};

use super::adapter::{Choice, Written};
use crate::config::{Error, place::Place};

/// What `iii-cron` is asked for.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Cron {
    /// How long one run of a job keeps others of it away.
    pub lock_ttl_ms: u64,
    /// Where the locks are.
    pub lock_index: String,
}

impl Default for Cron {
    fn default() -> Self {
        Cron {
            lock_ttl_ms: 30_000,
            lock_index: "cron_locks".to_owned(),
        }
    }
}

#[derive(Deserialize, Default)]
#[serde(default, deny_unknown_fields)]
struct Keys {
    #[serde(rename = "adapter")]
    _adapter: IgnoredAny,
}

const ADAPTERS: Choice = Choice {
    rooms: &["cron"],
    own: "kv",
    bridge: false,
    instead: "the engine keeps the locks of its jobs itself",
};

pub(super) fn read(place: &Place<'_>) -> Result<Cron, Error> {
    let Keys { .. } = place.read()?;
    let Written::Own(config) = ADAPTERS.read(place)? else {
        return Ok(Cron::default());
    };
    let cron: Cron = config.read()?;
    config.within("lock_ttl_ms", cron.lock_ttl_ms, 1..=86_400_000)?;
    Ok(cron)
}
