//! One connected worker: identity, way out, dialect.

mod iii;
mod local;
mod socket;
mod v2;

pub(crate) use iii::Iii;
pub(crate) use local::LocalSession;
pub(crate) use socket::SocketWay;
pub(crate) use v2::V2;
