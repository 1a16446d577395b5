//! `agentos worker run`: a worker of the engine's own process as a process of its own.

use std::path::Path;

use agentos_engine::config::{self, Overrides, ProcessEnv};
use agentos_sdk::Options;

use crate::{args::Common, failure::Failure, place::Place, start};

/// Runs until it is asked to end.
pub(super) async fn run(name: &str, config: Option<&Path>, common: &Common) -> Result<(), Failure> {
    let overrides = Overrides {
        data_dir: common.data_dir.clone(),
        ..Overrides::default()
    };
    let settings = config::load(config, &overrides, &ProcessEnv)
        .map_err(|error| Failure::usage(error.to_string()))?;
    let mut builtin = settings.workers.builtin.iter();
    let Some(builtin) = builtin.find(|builtin| builtin.name == name) else {
        let known: Vec<&str> = settings
            .workers
            .builtin
            .iter()
            .map(|one| &*one.name)
            .collect();
        let what = format!("the settings' `workers.builtin` has no `{name}`");
        return Err(Failure::usage(what).remedy(format!("choose one of {}", known.join(", "))));
    };
    let worker = start::hire(builtin, &settings, &ProcessEnv)
        .map_err(|error| Failure::usage(error.to_string()))?;
    let mut options = Options::new(name);
    let place = Place::find(common)?;
    if let Some(url) = place.url {
        options = options.url(url);
    }
    if let Some(token) = place.token {
        options = options.token(token);
    }
    agentos_sdk::run(worker, options)
        .await
        .map_err(Failure::of_connect)
}
