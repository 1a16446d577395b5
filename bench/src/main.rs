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
mod harness;
mod link;
mod measured;
mod process;
mod relay;
mod role;
mod websocket;

use anyhow::Result;
use clap::Parser;
use tokio::{
    runtime::{Builder, Runtime},
    task::LocalSet,
};

use args::{Args, Tongue, Verb};
use dialect::{iii::Iii, v2::V2};

fn main() -> Result<()> {
    match Args::parse().verb {
        Verb::Run(options) => one_thread()?.block_on(harness::run(options)),
        Verb::List => {
            harness::list();
            Ok(())
        }
        // As most servers are: a thread per core.
        Verb::Relay { plain } => Builder::new_multi_thread()
            .enable_all()
            .build()?
            .block_on(relay::run(plain)),
        Verb::Callee(peer) => local(async {
            match peer.tongue {
                Tongue::Iii => callee::run(peer, iii).await,
                Tongue::V2 => callee::run(peer, |_| V2).await,
            }
        }),
        Verb::Caller { peer, load } => local(async {
            match peer.tongue {
                Tongue::Iii => caller::run(peer, load, iii).await,
                Tongue::V2 => caller::run(peer, load, |_| V2).await,
            }
        }),
    }
}

fn iii(index: usize) -> Iii {
    Iii::new((u64::from(std::process::id()) << 24) ^ index as u64)
}

fn one_thread() -> Result<Runtime> {
    Ok(Builder::new_current_thread().enable_all().build()?)
}

/// Clients have one thread, so that most of the machine is the server's.
fn local(role: impl Future<Output = Result<()>>) -> Result<()> {
    LocalSet::new().block_on(&one_thread()?, role)
}
