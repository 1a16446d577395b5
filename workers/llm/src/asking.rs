//! Asking until somebody begins to answer: the same again after a pause, the next key, the next
//! provider. Nothing of this happens after the first byte.

use std::time::Duration;

use agentos_sdk::{Code, Error};
use futures_util::future::BoxFuture;
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::{
    keys::retry_after_ms,
    route::{Route, Target},
};

/// The longest pause between two attempts at the same provider, when it does not say.
const WAIT_MAX: Duration = Duration::from_secs(8);
/// What an attempt needs at least, before the deadline, to be worth a pause.
const ATTEMPT_MIN: Duration = Duration::from_millis(200);

/// What to do after a failure.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Next {
    /// The request itself is wrong: everybody would refuse it.
    GiveUp,
    /// Another provider may do it.
    Another,
    /// The same provider may do it in a moment.
    Again,
}

/// Asks `targets` in turn until `ask` begins to answer; tells which one did.
///
/// # Errors
/// The error of the last attempt, with all attempts in `details.attempts` when there were several.
pub(crate) async fn first<'t, T>(
    targets: &'t [Target],
    deadline: Option<Instant>,
    ask: impl Fn(&'t Target) -> BoxFuture<'t, Result<T, Error>>,
) -> Result<(&'t Target, T), Error> {
    let mut attempts = Vec::new();
    let mut last = None;
    for target in targets {
        match at(target, deadline, &ask, &mut attempts).await {
            Ok(answer) => return Ok((target, answer)),
            Err((error, Next::GiveUp)) => return Err(with(error, attempts)),
            Err((error, _)) => last = Some(error),
        }
    }
    let error = last.unwrap_or_else(|| Error::worker(Code::Unavailable, "there is nobody to ask"));
    Err(with(error, attempts))
}

/// Asks one provider as often as its patience lasts.
async fn at<'t, T>(
    target: &'t Target,
    deadline: Option<Instant>,
    ask: &impl Fn(&'t Target) -> BoxFuture<'t, Result<T, Error>>,
    attempts: &mut Vec<Value>,
) -> Result<T, (Error, Next)> {
    let route = &*target.route;
    let patience = route.patience;
    let mut wait = patience.wait;
    let mut keys_left = route
        .provider
        .as_ref()
        .and_then(|provider| provider.condition())
        .map_or(1, |keys| keys.keys);
    let mut retries_left = patience.retries;
    loop {
        let permit = route
            .breaker
            .admit()
            .map_err(|left| (open(route, left), Next::Another))?;
        let error = match ask(target).await {
            Ok(answer) => {
                permit.succeeded();
                return Ok(answer);
            }
            Err(error) => error,
        };
        if is_outage(&error) {
            permit.failed();
        } else {
            permit.succeeded();
        }
        tracing::warn!(provider = route.name, model = target.model, code = ?error.code, reason = error.reason, "a model could not be asked");
        attempts
            .push(json!({ "model": target.name(), "code": error.code, "reason": error.reason }));
        let next = next(&error);
        let another_key = || {
            is_the_keys(&error)
                && route
                    .provider
                    .as_ref()
                    .is_some_and(|provider| provider.has_another_key())
        };
        if keys_left > 1 && another_key() {
            keys_left -= 1;
            continue;
        }
        if next != Next::Again || retries_left == 0 {
            return Err((error, next));
        }
        let pause = match retry_after_ms(&error).map(Duration::from_millis) {
            Some(asked) if asked > patience.retry_after_max => return Err((error, next)),
            Some(asked) => asked,
            None => wait.mul_f64(0.5 + 0.5 * fastrand::f64()),
        };
        let in_time = deadline.is_none_or(|by| Instant::now() + pause + ATTEMPT_MIN < by);
        if !in_time {
            return Err((error, next));
        }
        tokio::time::sleep(pause).await;
        retries_left -= 1;
        wait = (wait * 2).min(WAIT_MAX);
    }
}

fn next(error: &Error) -> Next {
    match (error.code, error.reason.as_deref()) {
        (Code::InvalidInput, Some("context_length_exceeded" | "model_not_found")) => Next::Another,
        (Code::InvalidInput, _) if status(error) == Some(404) => Next::Another,
        (Code::InvalidInput | Code::PayloadTooLarge | Code::Cancelled, _) => Next::GiveUp,
        _ if error.retryable => Next::Again,
        _ => Next::Another,
    }
}

fn status(error: &Error) -> Option<u64> {
    error.details.as_ref()?.get("status")?.as_u64()
}

/// Whether the provider itself is at fault, and not the request, the key or the load.
fn is_outage(error: &Error) -> bool {
    let refused = error.reason.as_deref() == Some("upstream_auth");
    matches!(error.code, Code::Unavailable | Code::Timeout) && !refused && error.retryable
}

/// Whether another key may fare better at once.
fn is_the_keys(error: &Error) -> bool {
    error.code == Code::Overloaded || error.reason.as_deref() == Some("upstream_auth")
}

fn open(route: &Route, left: Duration) -> Error {
    let ms = left.as_millis() as u64;
    let message = format!(
        "{} has failed too often and is left alone for another {ms} ms",
        route.name
    );
    let mut error = Error::worker(Code::Unavailable, message)
        .reason("breaker_open")
        .details(json!({ "provider": route.name, "retry_after_ms": ms }));
    error.retryable = true;
    error
}

/// The error with the attempts before it.
fn with(mut error: Error, attempts: Vec<Value>) -> Error {
    if attempts.len() > 1 {
        let details = error.details.get_or_insert_with(|| json!({}));
        if let Some(details) = details.as_object_mut() {
            details.insert("attempts".to_owned(), attempts.into());
        }
    }
    error
}
