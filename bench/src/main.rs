//! `agentos-bench`: measures the engine against what it is compared with. Each role is a process
//! of its own, started by the harness from this same binary.
#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a command-line program"
)]

mod args;
mod callee;
mod caller;
mod dialect;
mod fanout;
mod gateway;
mod harness;
mod idle;
mod link;
mod measured;
mod payload;
mod process;
mod queue;
mod relay;
mod role;
mod tally;
mod web;
mod websocket;

use std::process::ExitCode;

use anyhow::Result;
use clap::Parser;
use tokio::{
    runtime::{Builder, Runtime},
    task::LocalSet,
};

use args::{Args, Tongue, Verb};
use dialect::{http::Http, iii::Iii, nats::Nats, redis::Redis, v2::V2};

/// Runs a role with the clients of a dialect; each role is compiled for each.
macro_rules! speaking {
    ($tongue:expr, |$dialect:ident| $role:expr) => {
        match $tongue {
            Tongue::Iii => {
                let $dialect = |index| Iii::new(seed(index));
                $role.await
            }
            Tongue::V2 => {
                let $dialect = |_| V2::default();
                $role.await
            }
            Tongue::Nats => {
                let $dialect = |index| Nats::new(seed(index));
                $role.await
            }
            Tongue::Redis => {
                let $dialect = |_| Redis;
                $role.await
            }
            Tongue::Log => anyhow::bail!("a log has no functions"),
            Tongue::Http => {
                let $dialect = |_| Http;
                $role.await
            }
        }
    };
}
fn main() -> ExitCode {
    match perform(Args::parse().verb) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn perform(verb: Verb) -> Result<()> {
    match verb {
        Verb::Run(options) => one_thread()?.block_on(harness::run(options)),
        Verb::List => {
            harness::list();
            Ok(())
        }
        Verb::Relay { plain } => many_threads()?.block_on(relay::run(plain)),
        Verb::Web { worker } => many_threads()?.block_on(web::run(worker)),
        Verb::Callee { peer, http } => {
            local(async { speaking!(peer.tongue, |dialect| callee::run(peer, http, dialect)) })
        }
        Verb::Caller { peer, load, window } => local(async {
            speaking!(peer.tongue, |dialect| caller::run(
                peer, load, window, dialect
            ))
        }),
        Verb::Fanout {
            peer,
            spread,
            window,
        } => local(async {
            speaking!(peer.tongue, |dialect| fanout::run(
                peer, spread, window, dialect
            ))
        }),
        Verb::Queue {
            peer,
            consume,
            window,
        } => local(queue::run(peer, consume, window)),
        Verb::Upstream => many_threads()?.block_on(gateway::upstream()),
        Verb::Pass { upstream } => many_threads()?.block_on(gateway::pass(&upstream)),
        Verb::Ask { talk, window } => local(gateway::ask(talk, window)),
        Verb::Log { file } => many_threads()?.block_on(queue::serve_log(&file)),
        Verb::Idle(crowd) => local(idle::run(crowd, |_| V2::default())),
    }
}

/// Differs between the connections of all processes.
fn seed(index: usize) -> u64 {
    (u64::from(std::process::id()) << 24) ^ index as u64
}

/// As most servers are: a thread per core.
fn many_threads() -> Result<Runtime> {
    Ok(Builder::new_multi_thread().enable_all().build()?)
}

fn one_thread() -> Result<Runtime> {
    Ok(Builder::new_current_thread().enable_all().build()?)
}

/// Clients have one thread, so that most of the machine is the server's.
fn local(role: impl Future<Output = Result<()>>) -> Result<()> {
    LocalSet::new().block_on(&one_thread()?, role)
}
