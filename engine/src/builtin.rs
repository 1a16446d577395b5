//! Workers that are always there, on local sessions like any other.

pub mod admin;
pub mod bridge;
pub mod channels;
pub mod configuration;
pub mod cron;
pub mod document;
pub mod exec;
pub mod firing;
pub mod http;
pub mod http_functions;
pub mod keeper;
mod lanes;
pub(crate) mod live;
mod moving;
pub mod observe;
pub mod pubsub;
pub mod queue;
pub mod state;
pub mod stream;
