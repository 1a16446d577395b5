//! Each built-in's own `Config`, from whichever form the file has.

use std::sync::Arc;

use super::{Access, Env, Error, ExposeFilter, Module, Modules, iii};
use crate::{
    builtin::{
        bridge::{self, Bridge},
        configuration, cron, http, http_functions, observe, pubsub, queue, state, stream,
    },
    session::AccessConfig,
};

impl Access {
    /// Whom a listener asks, and what it shows; `None` when it neither asks nor hides.
    pub(crate) fn asked(&self) -> Option<AccessConfig> {
        if self.is_open() {
            return None;
        }
        let rbac = self.rbac.clone().unwrap_or_default();
        let exposed = rbac.expose_functions.iter().map(ExposeFilter::exposure);
        Some(AccessConfig {
            auth_function: rbac.auth_function_id,
            exposed: self.rbac.as_ref().map(|_| exposed.collect()),
            middleware: self.middleware_function_id.clone(),
            on_function: rbac.on_function_registration_function_id,
            on_trigger: rbac.on_trigger_registration_function_id,
            on_trigger_type: rbac.on_trigger_type_registration_function_id,
        })
    }
}

impl Modules {
    /// # Errors
    /// The first key of the section that does not fit.
    pub fn state(&self) -> Result<state::Config, Error> {
        match self {
            Modules::Native(sections) => sections.of(Module::State).read(),
            Modules::Iii(modules) => Ok(modules.state.as_ref().map(Into::into).unwrap_or_default()),
        }
    }

    /// # Errors
    /// The first key of the section that does not fit.
    pub fn configuration(&self) -> Result<configuration::Config, Error> {
        match self {
            Modules::Native(sections) => sections.of(Module::Configuration).read(),
            Modules::Iii(_) => Ok(configuration::Config::default()),
        }
    }

    /// # Errors
    /// The first key of the section that does not fit, or two that do not fit each other.
    pub fn queue(&self) -> Result<queue::Config, Error> {
        match self {
            Modules::Native(sections) => {
                let section = sections.of(Module::Queue);
                let config: queue::Config = section.read()?;
                config.check().map_err(|why| section.error(why))?;
                Ok(config)
            }
            Modules::Iii(modules) => Ok(modules.queue.as_ref().map(Into::into).unwrap_or_default()),
        }
    }

    /// # Errors
    /// The first key of the section that does not fit.
    pub fn stream(&self) -> Result<stream::Config, Error> {
        match self {
            Modules::Native(sections) => sections.of(Module::Stream).read(),
            Modules::Iii(modules) => {
                let asked = modules.stream.as_ref();
                Ok(asked.map(Into::into).unwrap_or_default())
            }
        }
    }

    /// # Errors
    /// The first key of the section that does not fit.
    pub fn cron(&self) -> Result<cron::Config, Error> {
        match self {
            Modules::Native(sections) => sections.of(Module::Cron).read(),
            Modules::Iii(modules) => Ok(modules.cron.as_ref().map(Into::into).unwrap_or_default()),
        }
    }

    /// # Errors
    /// The first key of the section that does not fit.
    pub fn http_functions(&self) -> Result<http_functions::Config, Error> {
        match self {
            Modules::Native(sections) => sections.of(Module::HttpFunctions).read(),
            Modules::Iii(modules) => {
                let asked = modules.http_functions.as_ref();
                Ok(asked.map(Into::into).unwrap_or_default())
            }
        }
    }

    /// The way to another engine, if there is to be one.
    ///
    /// # Errors
    /// The first key of the section that does not fit.
    pub fn bridge(&self, env: &dyn Env) -> Result<Option<Arc<Bridge>>, Error> {
        if !self.runs(Module::Bridge) {
            return Ok(None);
        }
        let env = |name: &str| env.var(name);
        match self {
            Modules::Native(sections) => {
                let section = sections.of(Module::Bridge);
                let bridge = Bridge::open(section.read()?, &env);
                bridge.map(Some).map_err(|why| section.error(why))
            }
            Modules::Iii(modules) => {
                let asked = modules.bridge.as_ref().map(bridge::Config::from);
                let opened = asked.map(|config| Bridge::open(config, &env)).transpose();
                // What the file says was checked when it was read.
                Ok(opened.unwrap_or_else(|why| {
                    tracing::error!(why, "the bridge cannot be opened");
                    None
                }))
            }
        }
    }

    /// # Errors
    /// The first key of the section that does not fit.
    pub fn observe(&self) -> Result<observe::Config, Error> {
        match self {
            Modules::Native(sections) => sections.of(Module::Observe).read(),
            Modules::Iii(modules) => Ok((&modules.observability).into()),
        }
    }

    /// # Errors
    /// The first key of the section that does not fit.
    pub fn pubsub(&self) -> Result<pubsub::Config, Error> {
        match self {
            Modules::Native(sections) => sections.of(Module::Pubsub).read(),
            Modules::Iii(_) => Ok(pubsub::Config::default()),
        }
    }

    /// Everything but the largest body and the longest wait, which belong to the listener.
    ///
    /// # Errors
    /// The first key of the section that does not fit.
    pub fn http(&self) -> Result<http::Config, Error> {
        match self {
            Modules::Native(sections) => sections.of(Module::Http).read(),
            Modules::Iii(modules) => Ok(modules.http.as_ref().map(Into::into).unwrap_or_default()),
        }
    }

    /// Where `module` keeps what it has.
    pub fn store(&self, module: Module) -> iii::Store {
        match self.adapter(module) {
            Some(iii::Adapter::Local(store)) => *store,
            Some(iii::Adapter::Bridge { .. }) | None => iii::Store::Durable,
        }
    }

    /// The engine that does the work of `module` instead of this one.
    pub fn bridged(&self, module: Module) -> Option<&str> {
        match (self, module) {
            (Modules::Iii(modules), Module::Pubsub) => {
                modules.pubsub.as_ref()?.bridge_url.as_deref()
            }
            (Modules::Iii(modules), Module::Configuration) => {
                modules.configuration.bridge_url.as_deref()
            }
            _ => match self.adapter(module)? {
                iii::Adapter::Bridge { url } => Some(url),
                iii::Adapter::Local(_) => None,
            },
        }
    }

    fn adapter(&self, module: Module) -> Option<&iii::Adapter> {
        let Modules::Iii(modules) = self else {
            return None;
        };
        match module {
            Module::State => modules.state.as_ref().map(|state| &state.adapter),
            Module::Stream => modules.stream.as_ref().map(|stream| &stream.adapter),
            Module::Queue => modules.queue.as_ref().map(|queue| &queue.adapter),
            _ => None,
        }
    }

    /// Reads every section, so that what is wrong is known before anything starts.
    pub(super) fn check(&self) -> Result<(), Error> {
        self.state()?;
        self.configuration()?;
        self.http()?;
        self.cron()?;
        self.stream()?;
        self.http_functions()?;
        self.observe()?;
        self.pubsub()?;
        self.queue()?;
        Ok(())
    }
}

impl From<&iii::State> for state::Config {
    fn from(asked: &iii::State) -> Self {
        let own = state::Config::default();
        let value_bytes_max = asked.max_value_bytes.map(|bytes| bytes as usize);
        state::Config {
            value_bytes_max: value_bytes_max.unwrap_or(own.value_bytes_max),
            triggers_enabled: asked.triggers_enabled,
            ..own
        }
    }
}

impl From<&iii::Http> for http::Config {
    fn from(asked: &iii::Http) -> Self {
        let cors = asked.cors.as_ref().map(|cors| http::Cors {
            allowed_origins: cors.allowed_origins.clone(),
            allowed_methods: cors.allowed_methods.clone(),
        });
        let middleware = asked.middleware.iter().map(|asked| http::Middleware {
            function_id: asked.function_id.as_str().into(),
            phase: http::Phase::PreHandler,
            priority: asked.priority,
        });
        http::Config {
            requests_max: usize::try_from(asked.concurrency_request_limit).unwrap_or(usize::MAX),
            // Without a block these files let every page in.
            cors: Some(cors.unwrap_or_default()),
            middleware: middleware.collect(),
            ..http::Config::default()
        }
    }
}

impl From<&iii::Stream> for stream::Config {
    fn from(asked: &iii::Stream) -> Self {
        stream::Config {
            auth_function: asked.auth_function.clone(),
            channel_size: asked.channel_size as usize,
            ..stream::Config::default()
        }
    }
}

impl From<&iii::Cron> for cron::Config {
    fn from(asked: &iii::Cron) -> Self {
        cron::Config {
            lock_ttl_ms: asked.lock_ttl_ms,
            lock_index: asked.lock_index.clone(),
            ..cron::Config::default()
        }
    }
}

impl From<&iii::HttpFunctions> for http_functions::Config {
    fn from(asked: &iii::HttpFunctions) -> Self {
        let iii::Security {
            url_allowlist,
            block_private_ips,
            require_https,
        } = asked.security.clone();
        http_functions::Config {
            security: http_functions::Security {
                url_allowlist,
                block_private_ips,
                require_https,
            },
            ..http_functions::Config::default()
        }
    }
}

impl From<&iii::Bridge> for bridge::Config {
    fn from(asked: &iii::Bridge) -> Self {
        let expose = asked.expose.iter().map(|expose| bridge::Expose {
            local_function: expose.local_function.clone(),
            remote_function: expose.remote_function.clone(),
        });
        let forward = asked.forward.iter().map(|forward| bridge::Forward {
            local_function: forward.local_function.clone(),
            remote_function: forward.remote_function.clone(),
            timeout_ms: Some(forward.timeout_ms),
        });
        bridge::Config {
            url: Some(asked.url.clone()),
            service_id: asked.service_id.clone(),
            service_name: asked.service_name.clone(),
            expose: expose.collect(),
            forward: forward.collect(),
            ..bridge::Config::default()
        }
    }
}

impl From<&iii::Observability> for observe::Config {
    /// Both have the keys of `iii-observability`; what is null there is left to the defaults.
    fn from(asked: &iii::Observability) -> Self {
        let mut written = serde_json::to_value(asked).unwrap_or_default();
        leave_nulls(&mut written);
        serde_json::from_value(written).unwrap_or_else(|error| {
            tracing::error!(%error, "the block of iii-observability cannot be used; its defaults are");
            observe::Config::default()
        })
    }
}

fn leave_nulls(value: &mut serde_json::Value) {
    match value {
        serde_json::Value::Object(fields) => {
            fields.retain(|_, value| !value.is_null());
            fields.values_mut().for_each(leave_nulls);
        }
        serde_json::Value::Array(items) => items.iter_mut().for_each(leave_nulls),
        _ => {}
    }
}

impl From<&iii::Queue> for queue::Config {
    fn from(asked: &iii::Queue) -> Self {
        let named = |asked: &iii::NamedQueue| queue::QueueConfig {
            max_retries: asked.max_retries,
            concurrency: asked.concurrency as usize,
            r#type: match asked.kind {
                iii::QueueKind::Standard => queue::QueueType::Standard,
                iii::QueueKind::Fifo => queue::QueueType::Fifo,
            },
            message_group_field: asked.message_group_field.clone(),
            backoff_ms: asked.backoff_ms,
            poll_interval_ms: asked.poll_interval_ms,
            ..queue::QueueConfig::default()
        };
        let queues = asked.queues.iter();
        let topics = queue::TopicConfig {
            max_attempts: asked.topics.max_attempts,
            backoff_ms: asked.topics.backoff_ms,
            concurrency: asked.topics.concurrency as usize,
            poll_interval_ms: asked.topics.poll_interval_ms,
            mode: match asked.topics.mode {
                iii::Mode::Concurrent => queue::TopicMode::Concurrent,
                iii::Mode::Fifo => queue::TopicMode::Fifo,
            },
            ..queue::TopicConfig::default()
        };
        queue::Config {
            queue_configs: queues
                .map(|(name, asked)| (name.clone(), named(asked)))
                .collect(),
            topics,
            ..queue::Config::default()
        }
    }
}
