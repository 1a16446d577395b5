//! `agentos`: starts the engine, and talks to one that runs. Thin: what it does is elsewhere.

mod args;
mod client;
mod command;
mod failure;
mod place;
mod screen;
mod start;

use std::{ffi::OsString, process::ExitCode};

use agentos_engine::supervisor::guard;
use clap::Parser;

use args::{Args, Verb};
use failure::Failure;
use screen::Screen;

fn main() -> ExitCode {
    let mut words = std::env::args_os().skip(1);
    // The supervisor's own use of the program: before anything is parsed or set up.
    if words.next().is_some_and(|word| word == guard::ARGUMENT) {
        return guard::run(words.collect::<Vec<OsString>>());
    }
    let args = Args::parse();
    let screen = Screen::new(args.common.json, matches!(args.verb, Verb::Start(_)));
    match run(args, &screen) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            screen.failure(&failure);
            ExitCode::from(failure.exit)
        }
    }
}

fn run(args: Args, screen: &Screen) -> Result<(), Failure> {
    let common = args.common;
    if let Verb::Start(options) = args.verb {
        // Many sessions and all in-process workers live here.
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .enable_all()
            .build()?;
        return runtime.block_on(start::run(options, &common, screen));
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(command::run(args.verb, &common, screen))
}
