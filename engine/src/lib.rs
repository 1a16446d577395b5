//! The AgentOS engine: sessions, bus, built-in workers, supervisor, and their boot.

pub mod boot;
pub mod builtin;
mod bus;
pub mod channel;
mod clock;
pub mod config;
pub mod fleet;
mod listener;
mod session;
pub mod storage;
pub mod supervisor;
pub mod watching;

pub use bus::{Bus, Drained, Parting};
