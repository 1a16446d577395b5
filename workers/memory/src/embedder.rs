//! Asks the function that embeds, briefly, and leaves it in peace for a while after it failed.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use agentos_contract::embedding::{Embeddings, GenerateRequest};
use agentos_sdk::{Bus, Code, Error};
use parking_lot::Mutex;

use crate::{config::Config, record::Vector};

/// The way to the embedding worker, which may be absent.
pub(crate) struct Embedder {
    /// Empty: there is none.
    function: String,
    timeout: Duration,
    batch_timeout: Duration,
    retry: Duration,
    bytes_max: usize,
    /// Until when it is not asked, and why.
    away: Mutex<Option<(Instant, String)>>,
    /// Whether it was there when functions last changed.
    offered: AtomicBool,
}

/// Vectors in the order of their texts; `None` for a text without one.
pub(crate) struct Embedded {
    pub(crate) model: Arc<str>,
    pub(crate) vectors: Vec<Option<Vector>>,
}

impl Embedder {
    pub(crate) fn new(config: &Config) -> Self {
        Embedder {
            function: config.embed_function.clone(),
            timeout: Duration::from_millis(config.embed_timeout_ms),
            batch_timeout: Duration::from_millis(config.embed_batch_timeout_ms),
            retry: Duration::from_millis(config.embed_retry_ms),
            bytes_max: config.embed_bytes_max,
            away: Mutex::new(None),
            offered: AtomicBool::new(false),
        }
    }

    /// Embeds one text that somebody waits for, or says in plain words why not.
    pub(crate) async fn query(&self, bus: &Bus, text: &str) -> Result<Embedded, String> {
        self.ready()?;
        let embedded = self.ask(bus, vec![text.to_owned()], self.timeout).await;
        // A worker that is not there says so at once; only one that is slow or broken is spared.
        let absent = self.absent();
        let broken = embedded.as_ref().err().filter(|why| **why != absent);
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
        let call = bus.call(&self.function).timeout(timeout);
        let answer: Result<Embeddings, Error> = call.send(&GenerateRequest { texts }).await;
        answer
            .map_err(|error| self.excuse(&error, timeout))
            .and_then(|answer| self.check(answer, count))
    }

    /// Hears which functions there are now. True when the embedder is among them and was not
    /// before; then it is asked again, whatever happened to the earlier one.
    pub(crate) fn came<'a>(&self, mut ids: impl Iterator<Item = &'a str>) -> bool {
        let is_there = !self.function.is_empty() && ids.any(|id| id == self.function);
        let came = is_there && !self.offered.swap(is_there, Ordering::Relaxed);
        self.offered.store(is_there, Ordering::Relaxed);
        if came {
            *self.away.lock() = None;
        }
        came
    }

    fn ready(&self) -> Result<(), String> {
        if self.function.is_empty() {
            return Err("`memory.embed_function` names none that embeds".to_owned());
        }
        match &*self.away.lock() {
            Some((until, why)) if *until > Instant::now() => Err(why.clone()),
            _ => Ok(()),
        }
    }

    fn absent(&self) -> String {
        format!("no worker offers `{}`", self.function)
    }

    fn excuse(&self, error: &Error, timeout: Duration) -> String {
        let function = &self.function;
        match error.code {
            Code::NotFound => self.absent(),
            Code::Timeout => format!(
                "`{function}` did not answer within {} ms",
                timeout.as_millis()
            ),
            _ => format!("`{function}` failed: {}", error.message),
        }
    }

    fn check(&self, answer: Embeddings, count: usize) -> Result<Embedded, String> {
        if answer.embeddings.len() != count {
            return Err(format!(
                "`{}` answered {} vectors for {count} texts",
                self.function,
                answer.embeddings.len()
            ));
        }
        let model: Arc<str> = answer.model.into();
        let vectors = answer.embeddings.into_iter();
        let vectors = vectors.map(|values| Vector::new(&model, values)).collect();
        Ok(Embedded { model, vectors })
    }
}
