//! Asks `embedding::generate`, briefly, and leaves it in peace for a while after it failed.

use std::time::{Duration, Instant};

use agentos_contract::embedding::{Embeddings, GENERATE, GenerateRequest};
use agentos_sdk::{Bus, Code, Error};
use parking_lot::Mutex;

use crate::{config::Config, record::Vector};

/// The way to the embedding worker, which may be absent.
pub(crate) struct Embedder {
    timeout: Duration,
    batch_timeout: Duration,
    retry: Duration,
    bytes_max: usize,
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
            batch_timeout: Duration::from_millis(config.embed_batch_timeout_ms),
            retry: Duration::from_millis(config.embed_retry_ms),
            bytes_max: config.embed_bytes_max,
            away: Mutex::new(None),
        }
    }

    /// Embeds one text that somebody waits for, or says in plain words why not.
    pub(crate) async fn query(&self, bus: &Bus, text: &str) -> Result<Embedded, String> {
        self.ready()?;
        let embedded = self.ask(bus, vec![text.to_owned()], self.timeout).await;
        // A worker that is not there says so at once; only one that is slow or broken is spared.
        let broken = embedded.as_ref().err().filter(|why| *why != ABSENT);
        let until = Instant::now() + self.retry;
        *self.away.lock() = broken.map(|why| (until, why.clone()));
        embedded
    }

    /// Embeds texts that nobody waits for.
    pub(crate) async fn batch(&self, bus: &Bus, texts: Vec<String>) -> Result<Embedded, String> {
        self.ready()?;
        self.ask(bus, texts, self.batch_timeout).await
    }

    async fn ask(
        &self,
        bus: &Bus,
        mut texts: Vec<String>,
        timeout: Duration,
    ) -> Result<Embedded, String> {
        let count = texts.len();
        for text in &mut texts {
            text.truncate(text.floor_char_boundary(self.bytes_max));
        }
        let call = bus.call(GENERATE).timeout(timeout);
        let answer: Result<Embeddings, Error> = call.send(&GenerateRequest { texts }).await;
        answer
            .map_err(|error| excuse(&error, timeout))
            .and_then(|answer| check(answer, count))
    }

    fn ready(&self) -> Result<(), String> {
        match &*self.away.lock() {
            Some((until, why)) if *until > Instant::now() => Err(why.clone()),
            _ => Ok(()),
        }
    }
}

fn excuse(error: &Error, timeout: Duration) -> String {
    match error.code {
        Code::NotFound => ABSENT.to_owned(),
        Code::Timeout => format!(
            "`{GENERATE}` did not answer within {} ms",
            timeout.as_millis()
        ),
        _ => format!("`{GENERATE}` failed: {}", error.message),
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
