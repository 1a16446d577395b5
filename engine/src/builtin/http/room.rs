//! How many requests are worked on at one time.
//!
//! A route has its own share, smaller than the whole, so that one whose function hangs cannot hold
//! up all others.

use std::sync::Arc;

use agentos_sdk::{Code, Error};
use tokio::sync::{Semaphore, SemaphorePermit};

pub(super) struct Room {
    seats: Semaphore,
    /// Places of those who wait for a seat.
    lobby: Semaphore,
    share: usize,
}

/// A request that is being worked on.
pub(super) struct Seat<'a> {
    _share: SemaphorePermit<'a>,
    _seat: SemaphorePermit<'a>,
}

impl Room {
    pub(super) fn new(seats: usize, waiting_max: usize) -> Self {
        let seats = seats.clamp(1, Semaphore::MAX_PERMITS);
        Room {
            seats: Semaphore::new(seats),
            lobby: Semaphore::new(waiting_max.min(Semaphore::MAX_PERMITS)),
            share: (seats - seats / 4).max(1),
        }
    }

    /// Seats of a new route: three quarters, rounded up.
    pub(super) fn share(&self) -> Arc<Semaphore> {
        Arc::new(Semaphore::new(self.share))
    }

    /// Waits for a seat. Who waits for the share of a route holds no seat of others.
    ///
    /// # Errors
    /// `overloaded` when too many wait.
    pub(super) async fn enter<'a>(&'a self, share: &'a Semaphore) -> Result<Seat<'a>, Error> {
        if let (Ok(share), Ok(seat)) = (share.try_acquire(), self.seats.try_acquire()) {
            return Ok(Seat {
                _share: share,
                _seat: seat,
            });
        }
        let waiting = self.lobby.try_acquire();
        let _waiting = waiting.map_err(|_| {
            Error::engine(Code::Overloaded, "too many requests are waiting already")
        })?;
        let (share, seat) = (share.acquire().await, self.seats.acquire().await);
        match (share, seat) {
            (Ok(share), Ok(seat)) => Ok(Seat {
                _share: share,
                _seat: seat,
            }),
            _ => Err(Error::engine(Code::Unavailable, "the engine is stopping")),
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    #[tokio::test]
    async fn a_route_that_hangs_leaves_room_for_others() {
        let room = Room::new(4, 2);
        let (hangs, works) = (room.share(), room.share());
        let mut held = Vec::new();
        for _ in 0..3 {
            held.push(room.enter(&hangs).await.expect("a seat"));
        }
        let mut fourth = Box::pin(room.enter(&hangs));
        assert!((&mut fourth).now_or_never().is_none());
        let other = room.enter(&works).await.expect("the last seat");
        let mut waits = Box::pin(room.enter(&works));
        assert!((&mut waits).now_or_never().is_none());
        let full = room.enter(&works).await.map(drop).expect_err("two wait");
        assert_eq!(full.code, Code::Overloaded);
        drop(other);
        drop(waits.await.expect("a seat became free"));
        held.clear();
        drop(fourth.await.expect("a seat of its share became free"));
    }
}
