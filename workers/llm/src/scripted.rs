//! A model that replays turns from a file and records what it was asked: for tests, and for people
//! who want to see a whole system run without a key. See docs/scripted-models.md.

mod expect;
mod play;
mod record;
mod script;
mod stage;

use std::{fs, path::Path, sync::Arc};

use agentos_sdk::{Code, Error};
use async_trait::async_trait;

pub(crate) use self::stage::Stage;
use self::{
    play::Player,
    record::{RecordFile, Take},
    script::{File, Script},
};
use crate::{
    config,
    error::Upstream,
    provider::{Ask, EventStream, Provider},
};

/// See the module.
pub(crate) struct Scripted {
    name: String,
    file: File,
    record: Option<Arc<RecordFile>>,
    stage: Arc<Stage>,
}

impl Scripted {
    /// # Errors
    /// When the script cannot be read, or the record not be written.
    pub(crate) fn new(
        provider: &config::Provider,
        stage: Arc<Stage>,
    ) -> Result<Self, config::Error> {
        let name = provider.name.clone();
        let path = provider
            .script
            .as_ref()
            .ok_or_else(|| config::Error::NoScript {
                provider: name.clone(),
            })?;
        let file = load(path).map_err(|message| config::Error::Script {
            provider: name.clone(),
            file: path.clone(),
            message,
        })?;
        let record = provider.record.as_ref().map(|path| {
            RecordFile::open(path)
                .map(Arc::new)
                .map_err(|error| config::Error::Record {
                    provider: name.clone(),
                    file: path.clone(),
                    message: error.to_string(),
                })
        });
        Ok(Scripted {
            name,
            file,
            record: record.transpose()?,
            stage,
        })
    }

    /// Names of the scripts, which are its models.
    pub(crate) fn models(&self) -> Vec<String> {
        self.file.names()
    }

    fn script(&self, model: &str) -> Result<(&str, &Script), Error> {
        self.file.script(model).ok_or_else(|| {
            let message = format!(
                "provider `{}` has no script `{model}`; it has: {}",
                self.name,
                self.models().join(", ")
            );
            Error::caller(Code::InvalidInput, message).reason("model_not_found")
        })
    }
}

#[async_trait]
impl Provider for Scripted {
    async fn start(&self, ask: Ask<'_>) -> Result<EventStream, Error> {
        let (name, script) = self.script(ask.model)?;
        let number = self.stage.next_turn(&self.name, name);
        let take = Take::begin(
            Arc::clone(&self.stage),
            self.record.clone(),
            name,
            number,
            ask,
        )?;
        let upstream = Upstream {
            provider: self.name.clone(),
            secrets: Arc::new([]),
        };
        let acts = script
            .turn(number, name)
            .and_then(|turn| play::rehearse(turn, number, ask, &upstream));
        Player::new(acts, take, Arc::clone(&self.stage))
            .start()
            .await
    }
}

fn load(path: &Path) -> Result<File, String> {
    let text = fs::read_to_string(path).map_err(|error| error.to_string())?;
    script::parse(&text)
}
