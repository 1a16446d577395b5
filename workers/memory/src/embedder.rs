//! Asks `embedding::generate`, briefly, and leaves it in peace for a while after it failed.

use std::time::{Duration, Instant};

use agentos_contract::embedding::{Embeddings, GENERATE, GenerateRequest};
use agentos_sdk::{Bus, Code, Error};
use parking_lot::Mutex;

use crate::{config::Config, record::Vector};

/// The way to the embedding worker, which may be absent.
pub(crate) struct Embedder {
    timeout: Duration,
    retry: Duration,
    /// Until when it is not asked, and why.
    away: Mutex<Option<(Instant, String)>>,
}

/// Vectors in the order of their texts; `None` for a text without one.
pub(crate) struct Embedded {
    pub(crate) model: String,
    pub(crate) vectors: Vec<Option<Vector>>,
}

impl Embedder {
    pub(crate) fn new(config: &Config) -> Self {
        Embedder {
            timeout: Duration::from_millis(config.embed_timeout_ms),
            retry: Duration::from_millis(config.embed_retry_ms),
            away: Mutex::new(None),
        }
    }

    /// Embeds `texts`, or says in plain words why not.
    pub(crate) async fn embed(&self, bus: &Bus, texts: Vec<String>) -> Result<Embedded, String> {
        self.ready()?;
        let count = texts.len();
        let call = bus.call(GENERATE).timeout(self.timeout);
        let answer: Result<Embeddings, Error> = call.send(&GenerateRequest { texts }).await;
        let read = answer
            .map_err(|error| self.excuse(&error))
            .and_then(|answer| check(answer, count));
        // A worker that is not there says so at once; only one that is slow or broken is spared.
        let absent = matches!(&read, Err(why) if why == ABSENT);
        let until = Instant::now() + self.retry;
        *self.away.lock() = read
            .as_ref()
            .err()
            .filter(|_| !absent)
            .map(|why| (until, why.clone()));
        read
    }

    fn ready(&self) -> Result<(), String> {
        match &*self.away.lock() {
            Some((until, why)) if *until > Instant::now() => Err(why.clone()),
            _ => Ok(()),
        }
    }

    fn excuse(&self, error: &Error) -> String {
        match error.code {
            Code::NotFound => ABSENT.to_owned(),
            Code::Timeout => format!(
                "`{GENERATE}` did not answer within {} ms",
                self.timeout.as_millis()
            ),
            _ => format!("`{GENERATE}` failed: {}", error.message),
        }
    }
}

const ABSENT: &str = "no worker offers `embedding::generate`";

fn check(answer: Embeddings, count: usize) -> Result<Embedded, String> {
    if answer.embeddings.len() != count {
        return Err(format!(
            "`{GENERATE}` answered {} vectors for {count} texts",
            answer.embeddings.len()
        ));
    }
    let Embeddings {
        embeddings, model, ..
    } = answer;
    let vectors = embeddings
        .into_iter()
        .map(|values| Vector::new(&model, values))
        .collect();
    Ok(Embedded { model, vectors })
}
