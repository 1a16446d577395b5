//! Workers that are always there, on local sessions like any other.

pub mod admin;
pub mod firing;
pub mod http;
pub mod observe;
pub mod state;
