//! Workers replaced under traffic, and run well: swaps, instances, `agentos dev`, what leaks.

mod builds;
mod dev;
mod instances;
mod jobs;
mod languages;
mod load;
mod numbered;
mod rust_worker;
mod shop;
mod soak;
