//! The iii dialect: unmodified SDKs of every generation against scenarios, and frames that no SDK
//! sends. Every check is named after the section of the protocol notes that it checks.

mod calls;
mod channels;
mod check;
mod connection;
mod frames;
mod load;
mod namespaces;
mod players;
mod published;
mod rbac;
mod setup;
mod stream_clients;
mod telemetry;
mod triggers;
mod worker;
