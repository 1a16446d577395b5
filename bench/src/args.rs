//! The command line. `run` is for people; the other verbs are the roles that it starts.

use std::path::PathBuf;

use clap::{Args as Group, Parser, Subcommand, ValueEnum};

use crate::dialect::Place;

/// Measures the engine against what it is compared with.
#[derive(Parser)]
#[command(version)]
pub(crate) struct Args {
    #[command(subcommand)]
    pub(crate) verb: Verb,
}

#[derive(Subcommand)]
pub(crate) enum Verb {
    /// Measure, and print a table per scenario
    Run(Run),
    /// Say what the scenarios are
    List,
    /// A role: copies frames between pairs of sockets
    #[command(hide = true)]
    Relay {
        /// Write and flush each frame
        #[arg(long)]
        plain: bool,
    },
    /// A role: answers HTTP
    #[command(hide = true)]
    Web {
        /// Ask a worker behind a WebSocket
        #[arg(long)]
        worker: bool,
    },
    /// A role: answers calls
    #[command(hide = true)]
    Callee {
        #[command(flatten)]
        peer: Peer,
        /// The function is called by HTTP requests
        #[arg(long)]
        http: bool,
    },
    /// A role: calls and measures
    #[command(hide = true)]
    Caller {
        #[command(flatten)]
        peer: Peer,
        #[command(flatten)]
        load: Load,
        #[command(flatten)]
        window: Window,
    },
    /// A role: publishes, subscribes and measures
    #[command(hide = true)]
    Fanout {
        #[command(flatten)]
        peer: Peer,
        #[command(flatten)]
        spread: Spread,
        #[command(flatten)]
        window: Window,
    },
    /// A role: puts messages on a queue, and takes them off
    #[command(hide = true)]
    Queue {
        #[command(flatten)]
        peer: Peer,
        /// Count what is taken off
        #[arg(long)]
        consume: bool,
        #[command(flatten)]
        window: Window,
    },
    /// A role: a model
    #[command(hide = true)]
    Upstream,
    /// A role: a reverse proxy before a model
    #[command(hide = true)]
    Pass {
        /// Its address
        upstream: String,
    },
    /// A role: asks a gateway and measures
    #[command(hide = true)]
    Ask {
        #[command(flatten)]
        talk: Talk,
        #[command(flatten)]
        window: Window,
    },
    /// A role: appends to a file
    #[command(hide = true)]
    Log { file: PathBuf },
    /// A role: workers that do nothing
    #[command(hide = true)]
    Idle(Crowd),
}

#[derive(Group)]
pub(crate) struct Run {
    /// Scenarios to run; all, when none is named
    pub(crate) scenarios: Vec<String>,
    /// Contenders to run, by a part of their names
    #[arg(long, value_delimiter = ',')]
    pub(crate) only: Vec<String>,
    /// An engine to measure; several as NAME=FILE each
    #[arg(long, value_name = "[NAME=]FILE")]
    pub(crate) engine: Vec<String>,
    /// nats-server, when it is not in PATH
    #[arg(long, value_name = "FILE")]
    pub(crate) nats_server: Option<PathBuf>,
    /// redis-server, when it is not in PATH
    #[arg(long, value_name = "FILE")]
    pub(crate) redis_server: Option<PathBuf>,
    /// litellm's program, when it is not in PATH
    #[arg(long, value_name = "FILE")]
    pub(crate) litellm: Option<PathBuf>,
    /// The workspace in which `cargo xtask test` has installed the SDKs
    #[arg(long, value_name = "FOLDER", default_value = concat!(env!("CARGO_MANIFEST_DIR"), "/.."))]
    pub(crate) sdk_root: PathBuf,
    /// Write all that was measured there
    #[arg(long, value_name = "FILE")]
    pub(crate) json: Option<PathBuf>,
    /// Write a page with plots there
    #[arg(long, value_name = "FILE")]
    pub(crate) html: Option<PathBuf>,
    /// How often each contender is measured, in turn with the others
    #[arg(long, default_value_t = 5)]
    pub(crate) rounds: usize,
    /// How long each measurement takes
    #[arg(long, default_value_t = 2.0)]
    pub(crate) seconds: f64,
    /// Clients write each frame on its own instead of what waits at once
    #[arg(long)]
    pub(crate) write_each_frame: bool,
    /// Print the process id of each server as it starts, for perf and the like
    #[arg(long)]
    pub(crate) profile: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub(crate) enum Tongue {
    Iii,
    V2,
    Nats,
    Redis,
    Log,
    Http,
}

#[derive(Clone, Group)]
pub(crate) struct Peer {
    /// Address of the server
    #[arg(long)]
    pub(crate) at: String,
    #[arg(long)]
    pub(crate) tongue: Tongue,
    /// The server is a relay, and answers nothing itself
    #[arg(long)]
    pub(crate) bare: bool,
    #[arg(long, default_value_t = 1)]
    pub(crate) connections: usize,
    #[arg(long)]
    pub(crate) write_each_frame: bool,
    /// Calls nobody answers: WINDOW/EVERY
    #[arg(long)]
    pub(crate) fire: Option<Fire>,
}

impl Peer {
    pub(crate) fn place(&self) -> Place {
        Place {
            address: self.at.clone(),
            bare: self.bare,
        }
    }
}

#[derive(Clone, Group)]
pub(crate) struct Load {
    /// Calls that each connection keeps in flight
    #[arg(long)]
    pub(crate) in_flight: usize,
    #[arg(long)]
    pub(crate) payload_bytes: usize,
    /// All call the function of the first callee
    #[arg(long)]
    pub(crate) one_callee: bool,
}

/// What a gateway is asked.
#[derive(Clone, Group)]
pub(crate) struct Talk {
    /// Address of the gateway
    #[arg(long)]
    pub(crate) at: String,
    #[arg(long)]
    pub(crate) key: String,
    #[arg(long)]
    pub(crate) connections: usize,
    #[arg(long)]
    pub(crate) prompt_bytes: usize,
    /// Of a stream; without them, the answer comes whole
    #[arg(long)]
    pub(crate) tokens: u64,
    /// Microseconds between two of them
    #[arg(long)]
    pub(crate) pace_us: u64,
    /// Measure how long the first one takes, not how late each is
    #[arg(long)]
    pub(crate) first: bool,
}

/// When it is measured, and whose work.
#[derive(Clone, Group)]
pub(crate) struct Window {
    #[arg(long)]
    pub(crate) warmup_ms: u64,
    #[arg(long)]
    pub(crate) seconds: f64,
    /// Process id of the server
    #[arg(long)]
    pub(crate) watch: u32,
}

/// How messages are published.
#[derive(Clone, Group)]
pub(crate) struct Spread {
    /// How many messages the publisher is ahead of what all subscribers have heard
    #[arg(long)]
    pub(crate) ahead: u64,
    #[arg(long)]
    pub(crate) payload_bytes: usize,
}

#[derive(Clone, Group)]
pub(crate) struct Crowd {
    /// Address of the server
    #[arg(long)]
    pub(crate) at: String,
    #[arg(long)]
    pub(crate) connections: usize,
    /// Functions that each registers
    #[arg(long)]
    pub(crate) functions: usize,
    /// After so long, say how many are still connected
    #[arg(long)]
    pub(crate) hold_seconds: f64,
}

/// The shape of void calls.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Fire {
    /// How many calls the caller may be ahead of what was acknowledged.
    pub(crate) window: u64,
    /// The callee acknowledges after so many, by a void call back.
    pub(crate) acknowledge_every: u64,
}

impl std::str::FromStr for Fire {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parts = text
            .split_once('/')
            .and_then(|(window, every)| Some((window.parse().ok()?, every.parse().ok()?)));
        match parts {
            Some((window, acknowledge_every))
                if window >= acknowledge_every && acknowledge_every > 0 =>
            {
                Ok(Fire {
                    window,
                    acknowledge_every,
                })
            }
            _ => Err(format!("WINDOW/EVERY, not {text}")),
        }
    }
}

impl std::fmt::Display for Fire {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "{}/{}", self.window, self.acknowledge_every)
    }
}

/// The engine that a release build leaves.
pub(crate) fn built_engine() -> PathBuf {
    std::env::current_exe()
        .ok()
        .and_then(|own| Some(own.parent()?.join("agentos")))
        .unwrap_or_else(|| PathBuf::from("agentos"))
}
