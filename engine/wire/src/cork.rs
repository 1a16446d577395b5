//! Flushing once for everything that one read has caused.
//!
//! While a session's task handles what it has read, the outboxes that it writes to are noted here;
//! when it is through, it hands each to its socket itself. So a call goes from one socket to the
//! other without another task being woken, and a hundred calls of one read make one write.

use std::{cell::RefCell, sync::Arc};

use crate::Outbox;

thread_local! {
    static NOTED: RefCell<Option<Vec<Arc<Outbox>>>> = const { RefCell::new(None) };
}

/// Whether this is a task that handles what a socket has read, and will flush in the end.
pub fn is_in() -> bool {
    NOTED.with_borrow(Option::is_some)
}

/// Notes an outbox to be flushed. Only while [`is_in`].
pub(crate) fn add(outbox: Arc<Outbox>) {
    NOTED.with_borrow_mut(|noted| noted.get_or_insert_default().push(outbox));
}

/// Runs `work` and then flushes every outbox that it has written to.
pub(crate) fn with<T>(work: impl FnOnce() -> T) -> T {
    let outermost = NOTED.with_borrow_mut(|noted| {
        let outermost = noted.is_none();
        noted.get_or_insert_default();
        outermost
    });
    // Also when `work` panics, so that nothing waits for ever.
    let guard = Guard(outermost);
    let done = work();
    drop(guard);
    done
}

struct Guard(bool);

impl Drop for Guard {
    fn drop(&mut self) {
        if !self.0 {
            return;
        }
        let Some(mut noted) = NOTED.with_borrow_mut(Option::take) else {
            return;
        };
        for outbox in noted.drain(..) {
            outbox.flush();
        }
    }
}
