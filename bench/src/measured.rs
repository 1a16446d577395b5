//! What one measurement found; one line of JSON from the role that measured.

use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Measured {
    /// Calls, deliveries or requests.
    pub(crate) per_second: f64,
    pub(crate) p50_us: Option<f64>,
    pub(crate) p99_us: Option<f64>,
    /// User and system time of the server, per call.
    pub(crate) cpu_us: Option<f64>,
    /// Of the server, at the end.
    pub(crate) resident_mib: Option<f64>,
    /// Calls that failed, or were never answered.
    #[serde(default)]
    pub(crate) lost: u64,
}
