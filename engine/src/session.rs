//! One connected worker: identity, way out, dialect.

mod access;
mod iii;
mod local;
mod socket;
mod v2;

pub(crate) use access::Config as AccessConfig;
pub(crate) use access::{Access, Visitor};
pub(crate) use iii::{Iii, Shared as IiiShared};
pub(crate) use local::LocalSession;
pub(crate) use socket::{JsonWay, V2Way, as_routed};
pub(crate) use v2::V2;

/// A session's listener and the rules it gave, where it asks who comes in.
pub(crate) type Guest = Option<(
    std::sync::Arc<Access>,
    std::sync::Arc<agentos_core::policy::Rules>,
)>;
