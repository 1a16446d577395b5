//! Workers that are always there, on local sessions like any other.

pub mod admin;
pub mod bridge;
pub mod cron;
pub mod firing;
pub mod http;
pub mod http_functions;
pub mod pubsub;
pub mod state;
