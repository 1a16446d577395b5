//! Several keys of one provider: which one a request gets, and which are left alone for a while.

use std::{sync::Arc, time::Duration};

use agentos_sdk::{Code, Error};
use parking_lot::Mutex;
use tokio::time::Instant;

use crate::config::{Aws, Balance, Secret};

/// A key that was refused is tried again after this, should nothing else be left.
const REFUSED: Duration = Duration::from_secs(300);
/// A key that is over its limit, when the provider does not say for how long.
const LIMITED: Duration = Duration::from_secs(10);
/// How much the newest answer counts in the smoothed latency.
const NEWEST: f64 = 0.3;

/// What proves who asks.
#[derive(Clone, Debug)]
pub(crate) enum Credential {
    None,
    Key(Secret),
    Aws(Aws),
}

/// All keys of one provider.
#[derive(Debug)]
pub(crate) struct Ring {
    keys: Vec<Key>,
    balance: Balance,
    states: Mutex<Vec<State>>,
}

#[derive(Debug)]
struct Key {
    credential: Credential,
    weight: u32,
}

#[derive(Clone, Debug, Default)]
struct State {
    /// Left alone until then, and whether the provider has asked for it.
    cool: Option<(Instant, bool)>,
    latency_ms: Option<f64>,
    in_hand: u32,
    /// Credit in the weighted round: who has most is next.
    credit: i64,
}

/// One request under one key.
#[derive(Debug)]
pub(crate) struct Lease {
    ring: Arc<Ring>,
    index: usize,
    began: Instant,
}

/// What is to be told of a ring.
pub(crate) struct Condition {
    pub(crate) keys: u32,
    pub(crate) cooling: u32,
    pub(crate) latency_ms: Option<u64>,
}

impl Ring {
    pub(crate) fn new(keys: Vec<(Credential, u32)>, balance: Balance) -> Arc<Self> {
        let keys: Vec<_> = keys
            .into_iter()
            .map(|(credential, weight)| Key { credential, weight })
            .collect();
        let states = Mutex::new(vec![State::default(); keys.len()]);
        Arc::new(Ring {
            keys,
            balance,
            states,
        })
    }

    /// The key for the next request.
    ///
    /// # Errors
    /// `overloaded`, with the time to wait, when the provider has asked to leave all alone.
    pub(crate) fn lease(self: &Arc<Self>, provider: &str) -> Result<Lease, Error> {
        let now = Instant::now();
        let mut states = self.states.lock();
        let index = self.choose(&mut states, now).map_err(|until| {
            let wait_ms = until.duration_since(now).as_millis().max(1) as u64;
            let message = format!("{provider} asked for a pause of another {wait_ms} ms");
            let details = serde_json::json!({ "provider": provider, "retry_after_ms": wait_ms });
            let mut error = Error::worker(Code::Overloaded, message)
                .reason("cooling_down")
                .details(details);
            error.retryable = true;
            error
        })?;
        states[index].in_hand += 1;
        Ok(Lease {
            ring: Arc::clone(self),
            index,
            began: now,
        })
    }

    fn choose(&self, states: &mut [State], now: Instant) -> Result<usize, Instant> {
        let warm: Vec<usize> = (0..states.len())
            .filter(|&index| states[index].cool.is_none_or(|(until, _)| until <= now))
            .collect();
        if warm.is_empty() {
            return soonest(states);
        }
        Ok(match self.balance {
            Balance::Weighted => self.next_in_turn(states, &warm),
            Balance::LeastLatency => *warm
                .iter()
                .min_by(|a, b| states[**a].burden().total_cmp(&states[**b].burden()))
                .expect("there is a warm key"),
        })
    }

    /// Smooth weighted round: everybody earns their weight, who has most goes and pays all.
    fn next_in_turn(&self, states: &mut [State], warm: &[usize]) -> usize {
        let mut total = 0;
        for &index in warm {
            let weight = i64::from(self.keys[index].weight);
            states[index].credit += weight;
            total += weight;
        }
        let chosen = *warm
            .iter()
            .rev()
            .max_by_key(|index| states[**index].credit)
            .expect("there is a warm key");
        states[chosen].credit -= total;
        chosen
    }

    /// Whether a key is left that is not cooling down.
    pub(crate) fn has_warm(&self) -> bool {
        let now = Instant::now();
        let cooling = |state: &State| state.cool.is_some_and(|(until, _)| until > now);
        !self.states.lock().iter().all(cooling)
    }

    pub(crate) fn condition(&self) -> Condition {
        let now = Instant::now();
        let states = self.states.lock();
        let cooling = |state: &&State| state.cool.is_some_and(|(until, _)| until > now);
        let best = states.iter().filter_map(|state| state.latency_ms);
        Condition {
            keys: states.len() as u32,
            cooling: states.iter().filter(cooling).count() as u32,
            latency_ms: best.min_by(f64::total_cmp).map(|ms| ms as u64),
        }
    }

    /// All that must not be shown.
    pub(crate) fn secrets(&self) -> Arc<[Secret]> {
        let secrets = self.keys.iter().flat_map(|key| match &key.credential {
            Credential::None => Vec::new(),
            Credential::Key(secret) => vec![secret.clone()],
            Credential::Aws(aws) => std::iter::once(aws.secret_access_key.clone())
                .chain(aws.session_token.clone())
                .collect(),
        });
        secrets.collect()
    }
}

/// When all are cooling: a key that the provider did not ask to leave alone is tried all the same.
fn soonest(states: &[State]) -> Result<usize, Instant> {
    let cool = |index: usize| states[index].cool.expect("every key is cooling");
    let by_end = |a: &usize, b: &usize| cool(*a).0.cmp(&cool(*b).0);
    let free = (0..states.len())
        .filter(|&index| !cool(index).1)
        .min_by(by_end);
    free.ok_or_else(|| {
        let first = (0..states.len()).min_by(by_end);
        cool(first.expect("a ring has keys")).0
    })
}

impl State {
    fn burden(&self) -> f64 {
        self.latency_ms.unwrap_or(0.0) * f64::from(self.in_hand + 1)
    }
}

impl Lease {
    pub(crate) fn credential(&self) -> &Credential {
        &self.ring.keys[self.index].credential
    }

    /// The answer begins.
    pub(crate) fn answered(&self) {
        let took = self.began.elapsed().as_secs_f64() * 1e3;
        let state = &mut self.ring.states.lock()[self.index];
        state.cool = None;
        state.latency_ms = Some(match state.latency_ms {
            Some(before) => before + NEWEST * (took - before),
            None => took,
        });
    }

    /// It does not; some errors are the key's.
    pub(crate) fn failed(&self, error: &Error) {
        let asked = retry_after_ms(error).map(Duration::from_millis);
        let cool = match error.code {
            Code::Overloaded => match asked {
                Some(wait) => (wait, true),
                None => (LIMITED, false),
            },
            Code::Unavailable if error.reason.as_deref() == Some("upstream_auth") => {
                (REFUSED, false)
            }
            _ => return,
        };
        let until = (Instant::now() + cool.0, cool.1);
        self.ring.states.lock()[self.index].cool = Some(until);
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.ring.states.lock()[self.index].in_hand -= 1;
    }
}

/// The pause that the provider asks for.
pub(crate) fn retry_after_ms(error: &Error) -> Option<u64> {
    error.details.as_ref()?.get("retry_after_ms")?.as_u64()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn ring(weights: &[u32], balance: Balance) -> Arc<Ring> {
        let keys = weights
            .iter()
            .map(|weight| (Credential::None, *weight))
            .collect();
        Ring::new(keys, balance)
    }

    fn limited(retry_after_ms: Option<u64>) -> Error {
        Error::worker(Code::Overloaded, "slow down")
            .details(json!({ "retry_after_ms": retry_after_ms }))
    }

    #[tokio::test(start_paused = true)]
    async fn weights_are_kept_smoothly() {
        let ring = ring(&[3, 1], Balance::Weighted);
        let turns: Vec<_> = (0..8).map(|_| ring.lease("p").unwrap().index).collect();
        assert_eq!(turns, [0, 0, 1, 0, 0, 0, 1, 0]);
    }

    #[tokio::test(start_paused = true)]
    async fn the_quicker_key_gets_more_until_it_is_busy() {
        let ring = ring(&[1, 1], Balance::LeastLatency);
        for latency_ms in [100, 250] {
            let lease = ring.lease("p").unwrap();
            tokio::time::advance(Duration::from_millis(latency_ms)).await;
            lease.answered();
        }
        let leases: Vec<_> = (0..4).map(|_| ring.lease("p").unwrap()).collect();
        let indexes: Vec<_> = leases.iter().map(|lease| lease.index).collect();
        assert_eq!(indexes, [0, 0, 1, 0]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_limited_key_rests_as_long_as_was_asked() {
        let ring = ring(&[1, 1], Balance::Weighted);
        let first = ring.lease("p").unwrap();
        first.failed(&limited(Some(2_000)));
        assert!((0..4).all(|_| ring.lease("p").unwrap().index == 1));
        ring.lease("p").unwrap().failed(&limited(Some(5_000)));
        let error = ring.lease("p").unwrap_err();
        assert_eq!(
            (error.code, retry_after_ms(&error)),
            (Code::Overloaded, Some(2_000))
        );
        assert!(!ring.has_warm() && ring.condition().cooling == 2);
        tokio::time::advance(Duration::from_millis(2_001)).await;
        assert_eq!(ring.lease("p").unwrap().index, 0);
    }

    #[tokio::test(start_paused = true)]
    async fn without_a_wish_of_the_provider_the_only_key_is_tried_again() {
        let ring = ring(&[1], Balance::Weighted);
        ring.lease("p").unwrap().failed(&limited(None));
        assert_eq!(ring.lease("p").unwrap().index, 0);
    }
}
