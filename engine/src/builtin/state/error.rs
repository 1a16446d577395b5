//! Errors of `state::*` as callers see them.

use agentos_sdk::{Code, Error};
use serde_json::json;

use crate::{
    builtin::document::OpError,
    storage::{self, Version},
};

/// Gives `error` the name that workers of iii know, unless it has one already.
pub(super) fn named(error: Error, reason: &str) -> Error {
    match error.reason {
        Some(_) => error,
        None => error.reason(reason),
    }
}

pub(super) fn from_storage(error: storage::Error) -> Error {
    let message = error.to_string();
    match error {
        storage::Error::Conflict { .. } => {
            Error::engine(Code::Overloaded, "other engines write this key too often")
        }
        storage::Error::KeySize { .. } => Error::caller(Code::InvalidInput, message),
        storage::Error::Unavailable(_) => Error::engine(Code::Unavailable, message),
        // Trying again does not help: somebody must look at the disk.
        storage::Error::ReadOnly { .. } => Error {
            retryable: false,
            ..Error::engine(Code::Unavailable, message)
        },
        _ => Error::engine(Code::Internal, message),
    }
}

pub(super) fn conflict(expected: Version, actual: Version) -> Error {
    let message = match (expected, actual) {
        (0, _) => format!("there is a value already, with version {actual}"),
        (_, 0) => format!("there is no value, so none with version {expected}"),
        _ => format!("the value has version {actual}, not {expected}"),
    };
    Error::caller(Code::Conflict, message)
        .reason("VERSION_CONFLICT")
        .details(json!({ "expected_version": expected, "version": actual }))
}

/// A step of an update that would be skipped, where nothing may be.
pub(super) fn skipped(step: &OpError) -> Error {
    let message = format!("ops[{}]: {}", step.op_index, step.message);
    Error::caller(Code::InvalidInput, message)
        .reason("STEP_SKIPPED")
        .details(json!({ "step": step }))
}

pub(super) fn value_too_large(bytes: usize, bytes_max: usize) -> Error {
    let message = format!("the value has {bytes} bytes; at most {bytes_max} are possible");
    Error::caller(Code::PayloadTooLarge, message).reason("VALUE_TOO_LARGE")
}

pub(super) fn list_too_large(bytes_max: usize) -> Error {
    let message = format!(
        "the scope holds more than {bytes_max} bytes; read it page by page with state::entries"
    );
    Error::caller(Code::PayloadTooLarge, message)
}
