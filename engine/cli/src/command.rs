//! The verbs that talk to an engine or to nobody; a file each.

mod agent;
mod call;
mod chat;
mod config;
mod cron;
mod dev;
mod events;
mod keep;
mod key;
mod listing;
mod logs;
mod new;
mod queue;
mod state;
mod stop;
mod top;
mod worker;

use clap::CommandFactory;

use crate::{
    args::{Args, Common, Config, Verb},
    failure::Failure,
    place::Place,
    screen::Screen,
};

/// Runs any verb but `start`.
pub(crate) async fn run(verb: Verb, common: &Common, screen: &Screen) -> Result<(), Failure> {
    match verb {
        Verb::Start(_) => unreachable!("main runs it on a runtime of its own"),
        Verb::Stop => stop::run(common, screen).await,
        Verb::Status => listing::status(common, screen).await,
        Verb::Call(call) => call::run(call, common, screen).await,
        Verb::Functions(functions) => listing::functions(functions, common, screen).await,
        Verb::Workers => listing::workers(common, screen).await,
        Verb::Queue(queue) => queue::run(queue, common, screen).await,
        Verb::Cron(cron) => cron::run(cron, common, screen).await,
        Verb::Agent(agent) => agent::run(agent, common, screen).await,
        Verb::Worker(doing) => worker::run(doing, common, screen).await,
        Verb::Dev(dev) => dev::run(dev, common, screen).await,
        Verb::Top(top) => top::run(&top, common, screen).await,
        Verb::Chat(chat) => chat::run(chat, common, screen).await,
        Verb::Key(key) => key::run(key, common, screen).await,
        Verb::Events(events) => events::run(events, common, screen).await,
        Verb::Logs(logs) => logs::run(logs, common, screen).await,
        Verb::Config(Config::Check { file, auth }) => config::check(file, auth, common, screen),
        Verb::Backup { file } => keep::backup(&file, common, screen).await,
        Verb::Restore(restore) => keep::restore(&restore, common, screen),
        Verb::Doctor { config } => keep::doctor(config.as_deref(), common, screen).await,
        Verb::State(verb) => state::run(verb, common, screen).await,
        Verb::Token => token(common, screen),
        Verb::Completions { shell } => {
            let mut text = Vec::new();
            clap_complete::generate(shell, &mut Args::command(), "agentos", &mut text);
            screen.bytes(&text);
            Ok(())
        }
    }
}

fn token(common: &Common, screen: &Screen) -> Result<(), Failure> {
    let no_token = || {
        Failure::new(crate::failure::FAILED, "no token was found").remedy(
            "start an engine with `agentos start`, or say where its data is with --data-dir",
        )
    };
    let token = Place::find(common)?.token.ok_or_else(no_token)?;
    if screen.json {
        screen.value(&serde_json::json!({ "token": token }));
    } else {
        screen.line(token);
    }
    Ok(())
}
