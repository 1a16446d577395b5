//! What the measured clients say on the wire. One trait, so that caller and callee are the same
//! code whatever is measured.

pub(crate) mod http;
pub(crate) mod iii;
pub(crate) mod nats;
pub(crate) mod redis;
pub(crate) mod v2;

use anyhow::{Result, bail};

use crate::link::Link;

/// Where a server is, and what it is.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    pub(crate) address: String,
    /// The server copies frames and answers nothing itself: a relay.
    pub(crate) bare: bool,
}

/// Which end of a pair a connection is.
#[derive(Clone, Debug)]
pub(crate) struct End {
    pub(crate) role: &'static str,
    pub(crate) index: usize,
    /// Functions it registers.
    pub(crate) offers: Vec<String>,
    /// When the first of them is called besides.
    pub(crate) bind: Option<Bind>,
}

impl End {
    pub(crate) fn new(role: &'static str, index: usize) -> Self {
        End {
            role,
            index,
            offers: Vec::new(),
            bind: None,
        }
    }
}

/// Where requests of the HTTP scenario go.
pub(crate) const HTTP_PATH: &str = "/bench/echo";

/// What calls a function.
#[derive(Clone, Debug)]
pub(crate) enum Bind {
    /// A message on this topic.
    Topic(String),
    /// A POST to this path.
    Http(&'static str),
}

impl Bind {
    /// Type and config of the trigger that says so.
    pub(crate) fn trigger(&self) -> (&'static str, serde_json::Value) {
        match self {
            Bind::Topic(topic) => ("subscribe", serde_json::json!({ "topic": topic })),
            Bind::Http(path) => (
                "http",
                serde_json::json!({ "api_path": path, "http_method": "POST" }),
            ),
        }
    }
}

/// A frame to be sent again and again with another number.
#[derive(Clone)]
pub(crate) struct Template {
    pub(crate) bytes: Vec<u8>,
    /// Where the number goes; nowhere on void calls.
    pub(crate) number_at: Option<std::ops::Range<usize>>,
}

/// What came.
pub(crate) enum Heard<'a> {
    Call {
        /// What the answer names the call with; empty when no answer is wanted.
        reply_to: &'a [u8],
        payload: &'a [u8],
    },
    Reply {
        number: u64,
        good: bool,
    },
    Ping(&'a [u8]),
    /// Nothing to a client that is measured.
    Other(&'a [u8]),
}

/// Numbers of calls fit into 36 bits, and are not 0.
pub(crate) trait Dialect: Clone + 'static {
    /// Connects, says who it is, registers, and returns when that is in force.
    async fn open(&self, place: &Place, end: &End) -> Result<Link>;
    fn call(&self, function: &str, payload: &[u8], void: bool) -> Result<Template>;
    /// A message to all who listen to `topic`, without an answer.
    fn publish(&self, topic: &str, payload: &[u8]) -> Result<Vec<u8>>;
    fn write_number(&self, number: u64, at: &mut [u8]);
    /// The message at the beginning of `input` and its length, once it is there as a whole.
    fn parse<'a>(&self, input: &'a [u8]) -> Result<Option<(usize, Heard<'a>)>>;
    /// `None`: the function returns nothing, as nobody waits for it.
    fn answer(&self, reply_to: &[u8], payload: Option<&[u8]>, out: &mut Vec<u8>);

    /// Everything of one read has been handled: says what was kept to be said together.
    fn end_of_read(&self, out: &mut Vec<u8>) {
        let _ = out;
    }

    fn pong(&self, ping: &[u8], out: &mut Vec<u8>);

    fn write_call(&self, template: &Template, number: u64, out: &mut Vec<u8>) {
        let start = out.len();
        out.extend_from_slice(&template.bytes);
        if let Some(at) = &template.number_at {
            self.write_number(number, &mut out[start + at.start..start + at.end]);
        }
    }

    /// Waits for a message that `wanted` accepts; what comes before is dropped.
    async fn wait_for(
        &self,
        link: &mut Link,
        mut wanted: impl FnMut(&Heard<'_>) -> bool,
    ) -> Result<()> {
        loop {
            let mut found = false;
            let mut taken = 0;
            while !found && let Some((length, heard)) = self.parse(&link.input[taken..])? {
                taken += length;
                found = wanted(&heard);
            }
            let _ = link.input.split_to(taken);
            if found {
                return Ok(());
            }
            if link.step().await.is_err() {
                bail!("closed during the opening");
            }
        }
    }
}

/// What the built-in `publish` takes.
fn topic_and_data(topic: &str, payload: &[u8]) -> Vec<u8> {
    let mut data = format!(r#"{{"topic":"{topic}","data":"#).into_bytes();
    data.extend_from_slice(payload);
    data.push(b'}');
    data
}
