//! The built binary, driven from outside: over HTTP, WebSocket and its command line.
//!
//! `AGENTOS_BIN` names the binary; without it the release build of this workspace is taken.
//! Every test has an engine, a folder and ports of its own.

mod affinity;
mod agents;
mod bridge;
mod calls;
mod channels;
mod chat;
mod clients;
mod config;
mod conformance;
mod crash;
mod cron;
mod durable;
mod gateway;
mod harness;
mod http;
mod http_answers;
mod http_functions;
mod http_limits;
#[allow(
    clippy::large_futures,
    reason = "a check holds its whole scenario, and runs once"
)]
mod iii;
mod keys;
mod large;
mod memory;
mod observe;
mod parting;
mod pool;
mod pubsub;
mod queue;
mod queue_chaos;
mod queue_tools;
mod raw;
mod reload;
mod runtimes;
mod sdks;
mod storage;
mod stream;
mod stream_clients;
mod supervised;
mod swap;
mod void;
