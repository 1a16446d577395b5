//! A circuit breaker: a provider that fails again and again is left alone for a while, and then
//! one request tells whether it is back.

use std::time::Duration;

use agentos_contract::llm;
use parking_lot::Mutex;
use tokio::time::Instant;

/// See the module.
#[derive(Debug)]
pub(crate) struct Breaker {
    state: Mutex<State>,
    failures_max: u32,
    open_for: Duration,
}

#[derive(Clone, Copy, Debug)]
enum State {
    Closed {
        failures: u32,
    },
    Open {
        until: Instant,
    },
    /// One request is out to see.
    Probing,
}

/// Leave to ask once. Dropped without a verdict, nothing was learned.
#[derive(Debug)]
pub(crate) struct Permit<'b> {
    breaker: &'b Breaker,
    judged: bool,
}

impl Breaker {
    pub(crate) fn new(failures_max: u32, open_for: Duration) -> Self {
        Breaker {
            state: Mutex::new(State::Closed { failures: 0 }),
            failures_max: failures_max.max(1),
            open_for,
        }
    }

    /// # Errors
    /// How long until it is worth asking again.
    pub(crate) fn admit(&self) -> Result<Permit<'_>, Duration> {
        let now = Instant::now();
        let mut state = self.state.lock();
        match *state {
            State::Closed { .. } => {}
            State::Open { until } if until <= now => *state = State::Probing,
            State::Open { until } => return Err(until - now),
            State::Probing => return Err(self.open_for),
        }
        Ok(Permit {
            breaker: self,
            judged: false,
        })
    }

    pub(crate) fn state(&self) -> (llm::Breaker, Option<Duration>) {
        let now = Instant::now();
        match *self.state.lock() {
            State::Closed { .. } => (llm::Breaker::Closed, None),
            State::Open { until } if until > now => (llm::Breaker::Open, Some(until - now)),
            State::Open { .. } | State::Probing => (llm::Breaker::HalfOpen, None),
        }
    }
}

impl Permit<'_> {
    /// The provider works: it answered, if only to refuse this request.
    pub(crate) fn succeeded(mut self) {
        self.judged = true;
        *self.breaker.state.lock() = State::Closed { failures: 0 };
    }

    /// The provider does not.
    pub(crate) fn failed(mut self) {
        self.judged = true;
        let breaker = self.breaker;
        let mut state = breaker.state.lock();
        let failures = match *state {
            State::Closed { failures } => failures + 1,
            State::Probing | State::Open { .. } => breaker.failures_max,
        };
        *state = if failures >= breaker.failures_max {
            let until = Instant::now() + breaker.open_for;
            State::Open { until }
        } else {
            State::Closed { failures }
        };
    }
}

impl Drop for Permit<'_> {
    fn drop(&mut self) {
        let mut state = self.breaker.state.lock();
        if !self.judged && matches!(*state, State::Probing) {
            // The next one may see.
            let until = Instant::now();
            *state = State::Open { until };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn it_opens_lets_one_through_and_closes() {
        let breaker = Breaker::new(3, Duration::from_secs(30));
        for _ in 0..2 {
            breaker.admit().unwrap().failed();
        }
        breaker.admit().unwrap().succeeded();
        for _ in 0..3 {
            breaker.admit().unwrap().failed();
        }
        assert_eq!(breaker.admit().unwrap_err(), Duration::from_secs(30));
        tokio::time::advance(Duration::from_secs(30)).await;
        let probe = breaker.admit().unwrap();
        assert!((0..100).all(|_| breaker.admit().is_err()));
        probe.failed();
        assert_eq!(breaker.state().0, llm::Breaker::Open);
        tokio::time::advance(Duration::from_secs(31)).await;
        drop(breaker.admit().unwrap());
        breaker.admit().unwrap().succeeded();
        assert_eq!(breaker.state(), (llm::Breaker::Closed, None));
    }
}
