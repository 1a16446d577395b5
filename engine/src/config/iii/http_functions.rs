//! `iii-http-functions`.

use serde::{Deserialize, Serialize};

use crate::config::{Error, place::Place};

/// What `iii-http-functions` is asked for.
#[derive(Clone, PartialEq, Eq, Debug, Default, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct HttpFunctions {
    pub security: Security,
}

/// Which addresses may be called.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Security {
    /// Globs on the host.
    pub url_allowlist: Vec<String>,
    pub block_private_ips: bool,
    pub require_https: bool,
}

impl Default for Security {
    fn default() -> Self {
        Security {
            url_allowlist: vec!["*".to_owned()],
            block_private_ips: true,
            require_https: true,
        }
    }
}

pub(super) fn read(place: &Place<'_>) -> Result<HttpFunctions, Error> {
    place.read()
}
