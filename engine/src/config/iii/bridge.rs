//! `iii-bridge`: functions of another engine here, and ours there.

use serde::{Deserialize, Serialize};

use super::adapter::check_url;
use crate::config::{Env, Error, place::Place};

/// What `iii-bridge` is asked for.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Bridge {
    /// The other engine.
    pub url: String,
    pub service_id: Option<String>,
    pub service_name: Option<String>,
    pub expose: Vec<Expose>,
    pub forward: Vec<Forward>,
}

/// A function of ours that the other engine is offered.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Expose {
    pub local_function: String,
    /// Its name there; the same if there is none.
    #[serde(default)]
    pub remote_function: Option<String>,
}

/// A function of the other engine that is offered here.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Forward {
    pub local_function: String,
    pub remote_function: String,
    #[serde(default = "timeout_ms")]
    pub timeout_ms: u64,
}

fn timeout_ms() -> u64 {
    30_000
}

#[derive(Deserialize, Default)]
#[serde(default, deny_unknown_fields)]
struct Keys {
    url: Option<String>,
    service_id: Option<String>,
    service_name: Option<String>,
    expose: Vec<Expose>,
    forward: Vec<Forward>,
}

pub(super) fn read(place: &Place<'_>, env: &dyn Env) -> Result<Bridge, Error> {
    let keys: Keys = place.read()?;
    let url = keys.url.or_else(|| env.var("III_URL"));
    let Some(url) = url.filter(|url| !url.is_empty()) else {
        return Err(place.at("url").error(
            "expected the address of the other engine, for instance ws://10.0.0.7:49134; the variable III_URL is not set either",
        ));
    };
    check_url(&place.at("url"), &url)?;
    for (index, forward) in keys.forward.iter().enumerate() {
        let place = place.at("forward").item(index);
        place.within("timeout_ms", forward.timeout_ms, 1..=86_400_000)?;
    }
    Ok(Bridge {
        url,
        service_id: keys.service_id,
        service_name: keys.service_name,
        expose: keys.expose,
        forward: keys.forward,
    })
}
