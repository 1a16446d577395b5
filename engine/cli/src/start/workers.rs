//! The in-process workers: the one place that knows them all.

use std::sync::Arc;

use agentos_agent::Agents;
use agentos_api::Api;
use agentos_engine::config::{Builtin, Env, Error, Settings};
use agentos_llm::Llm;
use agentos_memory::Memory;
use agentos_sdk::Worker;

/// Makes the worker that `builtin` names, from its section of the file.
pub(crate) fn hire(
    builtin: &Builtin,
    settings: &Settings,
    env: &dyn Env,
) -> Result<Arc<dyn Worker>, Error> {
    let section = &builtin.section;
    Ok(match builtin.name.as_str() {
        "api" => Api::new(section.read()?),
        "agent" => Agents::new(section.read()?),
        "llm" => Llm::new(llm_config(builtin, settings, env)?)
            .map_err(|error| section.error(error.to_string()))?,
        "memory" => Memory::new(section.read()?),
        other => unreachable!("the settings know no in-process worker `{other}`"),
    })
}

fn llm_config(
    builtin: &Builtin,
    settings: &Settings,
    env: &dyn Env,
) -> Result<agentos_llm::Config, Error> {
    let mut config: agentos_llm::Config = builtin.section.read()?;
    for provider in &mut config.providers {
        for path in [&mut provider.script, &mut provider.record]
            .into_iter()
            .flatten()
        {
            *path = settings.base.join(&*path);
        }
    }
    for path in [&mut config.providers_file, &mut config.models_file]
        .into_iter()
        .flatten()
    {
        *path = settings.base.join(&*path);
    }
    config
        .with_env(|name| env.var(name))
        .map_err(|error| builtin.section.error(error.to_string()))
}
