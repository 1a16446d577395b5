//! `iii-telemetry`: accepted, so that a file need not be changed. Nothing phones home.

use serde::Deserialize;

use crate::config::{Error, place::Place};

#[derive(Deserialize, Default)]
#[serde(default, deny_unknown_fields)]
struct Keys {
    #[serde(rename = "enabled")]
    _enabled: Option<bool>,
    #[serde(rename = "sdk_api_key")]
    _sdk_api_key: Option<String>,
    #[serde(rename = "heartbeat_interval_secs")]
    _heartbeat_interval_secs: Option<u64>,
}

pub(super) fn read(place: &Place<'_>) -> Result<(), Error> {
    place.read().map(|Keys { .. }| ())
}
