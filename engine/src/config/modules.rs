//! Which built-ins run, and the part of the file that each reads.

use std::sync::Arc;

use serde::Serialize;
use serde_json::Value;

use super::{Document, Section, iii};

/// A built-in that a file may switch on, off, or configure.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Module {
    Http,
    Stream,
    State,
    Queue,
    Pubsub,
    Cron,
    Observe,
    HttpFunctions,
    Bridge,
    Configuration,
}

impl Module {
    pub const ALL: [Module; 10] = [
        Module::Http,
        Module::Stream,
        Module::State,
        Module::Queue,
        Module::Pubsub,
        Module::Cron,
        Module::Observe,
        Module::HttpFunctions,
        Module::Bridge,
        Module::Configuration,
    ];

    /// The name of its section in our own form.
    pub fn name(self) -> &'static str {
        match self {
            Module::Http => "http",
            Module::Stream => "stream",
            Module::State => "state",
            Module::Queue => "queue",
            Module::Pubsub => "pubsub",
            Module::Cron => "cron",
            Module::Observe => "observe",
            Module::HttpFunctions => "http_functions",
            Module::Bridge => "bridge",
            Module::Configuration => "configuration",
        }
    }
}

/// What a file says of the built-ins, in the form it has.
#[derive(Clone, Debug)]
pub enum Modules {
    /// Sections that the built-ins' own types read.
    Native(Sections),
    Iii(Box<iii::Modules>),
}

/// The sections of a file of our own form.
#[derive(Clone, Debug)]
pub struct Sections {
    pub(super) document: Arc<Document>,
}

impl Sections {
    pub fn of(&self, module: Module) -> Section {
        Section {
            document: Arc::clone(&self.document),
            key: module.name().to_owned(),
        }
    }
}

impl Modules {
    /// Does `module` run? In our own form everything does that needs nothing said.
    pub fn runs(&self, module: Module) -> bool {
        match self {
            Modules::Native(sections) => module != Module::Bridge || sections.says(module),
            Modules::Iii(modules) => match module {
                Module::Http => modules.http.is_some(),
                Module::Stream => modules.stream.is_some(),
                Module::State => modules.state.is_some(),
                Module::Queue => modules.queue.is_some(),
                Module::Pubsub => modules.pubsub.is_some(),
                Module::Cron => modules.cron.is_some(),
                Module::HttpFunctions => modules.http_functions.is_some(),
                Module::Bridge => modules.bridge.is_some(),
                Module::Observe | Module::Configuration => true,
            },
        }
    }

    /// What `module` is asked for, as far as it can be compared.
    pub(super) fn asked(&self, module: Module) -> Value {
        match self {
            Modules::Native(sections) => sections.of(module).read().unwrap_or_default(),
            Modules::Iii(modules) => match module {
                Module::Http => json(&modules.http),
                Module::Stream => json(&modules.stream),
                Module::State => json(&modules.state),
                Module::Queue => json(&modules.queue),
                Module::Pubsub => json(&modules.pubsub),
                Module::Cron => json(&modules.cron),
                Module::HttpFunctions => json(&modules.http_functions),
                Module::Bridge => json(&modules.bridge),
                Module::Observe => json(&modules.observability),
                Module::Configuration => json(&modules.configuration),
            },
        }
    }
}

impl Sections {
    fn says(&self, module: Module) -> bool {
        let section = self.of(module).read::<Value>();
        section.is_ok_and(|section| !section.is_null())
    }
}

fn json(asked: &impl Serialize) -> Value {
    serde_json::to_value(asked).expect("the modules of iii have text as keys")
}
