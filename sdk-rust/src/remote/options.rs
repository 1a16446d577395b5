//! Where the engine is and who we are: said by the program, the environment, or found.

use std::{path::PathBuf, time::Duration};

use agentos_protocol::{Hello, codec::v2::parts};
use serde_json::Value;

const URL_DEFAULT: &str = "ws://127.0.0.1:49134";

/// How to reach an engine, and what to tell it.
///
/// What is not set here comes from `AGENTOS_URL`, `AGENTOS_TOKEN` and `AGENTOS_TOKEN_FILE`; the
/// token of an engine on this account is found by itself.
#[derive(Clone, Debug)]
pub struct Options {
    hello: Hello,
    url: Option<String>,
    token: Option<String>,
    connect_timeout: Option<Duration>,
}

impl Options {
    /// `name` is the worker's; instances of one worker share it.
    pub fn new(name: impl Into<String>) -> Self {
        let hello = Hello {
            name: name.into(),
            language: "rust".to_owned(),
            sdk_version: env!("CARGO_PKG_VERSION").to_owned(),
            pid: Some(std::process::id()),
            os: Some(std::env::consts::OS.to_owned()),
            ..Hello::default()
        };
        Options {
            hello,
            url: None,
            token: None,
            connect_timeout: Some(Duration::from_secs(10)),
        }
    }

    /// `ws://host:port`; the default is `AGENTOS_URL` or `ws://127.0.0.1:49134`.
    pub fn url(mut self, url: impl Into<String>) -> Self {
        self.url = Some(url.into());
        self
    }

    pub fn token(mut self, token: impl Into<String>) -> Self {
        self.token = Some(token.into());
        self
    }

    /// Hash of what runs, to tell two builds of one name apart; `AGENTOS_BUILD` where it is not said.
    pub fn build(mut self, build: impl Into<String>) -> Self {
        self.hello.build = Some(build.into());
        self
    }

    pub fn namespace(mut self, namespace: impl Into<String>) -> Self {
        self.hello.namespace = Some(namespace.into());
        self
    }

    pub fn description(mut self, description: impl Into<String>) -> Self {
        self.hello.description = Some(description.into());
        self
    }

    pub fn language(mut self, language: impl Into<String>) -> Self {
        self.hello.language = language.into();
        self
    }

    pub fn sdk_version(mut self, version: impl Into<String>) -> Self {
        self.hello.sdk_version = version.into();
        self
    }

    /// How long [`super::Client::connect`] tries; `None` tries for ever. Default 10 s.
    pub fn connect_timeout(mut self, timeout: Option<Duration>) -> Self {
        self.connect_timeout = timeout;
        self
    }

    pub(crate) fn patience(&self) -> Option<Duration> {
        self.connect_timeout
    }

    pub(crate) fn hello(&self) -> Hello {
        let mut hello = self.hello.clone();
        hello.features.push(parts::FEATURE.to_owned());
        // The supervisor knows what it runs.
        hello.build = hello.build.or_else(|| set("AGENTOS_BUILD"));
        hello
    }

    pub(crate) fn resolved_url(&self) -> String {
        self.url
            .clone()
            .or_else(|| set("AGENTOS_URL"))
            .unwrap_or_else(|| URL_DEFAULT.to_owned())
    }

    /// The token, looked up anew for each connection: an engine may have been set up since.
    pub(crate) fn resolved_token(&self, url: &str) -> Option<String> {
        let given = self.token.clone().or_else(|| set("AGENTOS_TOKEN"));
        given
            .or_else(|| read_token(set("AGENTOS_TOKEN_FILE")?.into()))
            .or_else(|| found_token(url))
    }
}

/// The token of the engine of this account that is at `url`, and at no other address.
///
/// `agentos start` leaves a note at `~/.agentos/engines/<port>.json` that says where it is and where
/// its token is.
fn found_token(url: &str) -> Option<String> {
    let (host, port) = authority(url)?;
    let home = set("AGENTOS_HOME")
        .map(PathBuf::from)
        .or_else(|| Some(PathBuf::from(set("HOME")?).join(".agentos")))?;
    let note = std::fs::read(home.join("engines").join(format!("{port}.json"))).ok()?;
    let note: Value = serde_json::from_slice(&note).ok()?;
    let (engine, _) = authority(note.get("url")?.as_str()?)?;
    let same = host == engine || (host == "localhost" && matches!(engine, "127.0.0.1" | "[::1]"));
    if same {
        read_token(note.get("token_file")?.as_str()?.into())
    } else {
        None
    }
}

/// Host and port of `ws://host:port/…`.
fn authority(url: &str) -> Option<(&str, &str)> {
    let (_, rest) = url.split_once("://")?;
    let authority = rest.split(['/', '?', '#']).next()?;
    // What stands before an `@` is not the host.
    authority.rsplit('@').next()?.rsplit_once(':')
}

fn read_token(path: PathBuf) -> Option<String> {
    let token = std::fs::read_to_string(path).ok()?;
    Some(token.trim().to_owned()).filter(|token| !token.is_empty())
}

fn set(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

#[cfg(test)]
mod tests {
    use super::authority;

    #[test]
    fn the_host_is_the_one_that_is_connected_to() {
        assert_eq!(
            authority("ws://127.0.0.1:49134"),
            Some(("127.0.0.1", "49134"))
        );
        assert_eq!(
            authority("ws://127.0.0.1:1@evil.example:49134/x?y=:1"),
            Some(("evil.example", "49134"))
        );
        assert_eq!(authority("ws://[::1]:49134/"), Some(("[::1]", "49134")));
        assert_eq!(authority("nonsense"), None);
    }
}
