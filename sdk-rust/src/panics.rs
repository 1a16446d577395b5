//! A handler that panics fails its call, and says why.

use std::{any::Any, future::Future, panic::AssertUnwindSafe};

use agentos_protocol::{Code, ErrorBody};
use futures_util::FutureExt;

/// Runs what `start` starts; a panic of either becomes an error. Where it happened, the panic hook
/// has said on standard error.
pub(crate) async fn caught<T, Fut>(start: impl FnOnce() -> Fut) -> Result<T, ErrorBody>
where
    Fut: Future<Output = Result<T, ErrorBody>>,
{
    // The handler's state is its own business: what it shares it must keep whole, as with threads.
    AssertUnwindSafe(async { start().await })
        .catch_unwind()
        .await
        .unwrap_or_else(|panic| Err(error_of(&*panic)))
}

fn error_of(panic: &(dyn Any + Send)) -> ErrorBody {
    let text = panic
        .downcast_ref::<String>()
        .map(String::as_str)
        .or_else(|| panic.downcast_ref::<&str>().copied())
        .unwrap_or("no message");
    ErrorBody::worker(Code::Failed, format!("the handler panicked: {text}")).reason("panic")
}
