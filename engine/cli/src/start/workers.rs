//! The in-process workers: the one place that knows them all.

use agentos_agent::Agents;
use agentos_api::Api;
use agentos_engine::{
    boot::InProcess,
    config::{Builtin, Env, Error, Settings},
};
use agentos_llm::Llm;
use agentos_memory::Memory;

/// Makes the workers that the settings ask for, each from its own section.
pub(super) fn in_process(settings: &Settings, env: &dyn Env) -> Result<Vec<InProcess>, Error> {
    settings
        .workers
        .builtin
        .iter()
        .map(|builtin| make(builtin, settings, env))
        .collect()
}

fn make(builtin: &Builtin, settings: &Settings, env: &dyn Env) -> Result<InProcess, Error> {
    let section = &builtin.section;
    let worker: std::sync::Arc<dyn agentos_sdk::Worker> = match builtin.name.as_str() {
        "api" => Api::new(section.read()?),
        "agent" => Agents::new(section.read()?),
        "llm" => Llm::new(llm_config(builtin, settings, env)?)
            .map_err(|error| section.error(error.to_string()))?,
        "memory" => Memory::new(section.read()?),
        other => unreachable!("the settings know no in-process worker `{other}`"),
    };
    Ok(InProcess {
        name: builtin.name.clone(),
        worker,
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
    Ok(config.with_env(|name| env.var(name)))
}
