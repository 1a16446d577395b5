//! The second step of the settings: what was written becomes what can be used, or a clear error.

use std::path::PathBuf;

use hyper::{Uri, header::HeaderValue};

use super::Provider;

/// Settings that cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    #[error("two providers are called `{name}`: give each its own name")]
    DoubleName { name: String },
    #[error("a provider's name must be letters, digits, `-`, `_` or `.`, not `{name}`")]
    Name { name: String },
    #[error("provider `{provider}`: base_url must be like `https://host/v1`, not `{base_url}`")]
    BaseUrl { provider: String, base_url: String },
    #[error("provider `{provider}`: its API key holds characters that no HTTP header may")]
    Key { provider: String },
    #[error("provider `{provider}` is scripted and needs `script`, the file of turns")]
    NoScript { provider: String },
    #[error("provider `{provider}`: script `{file}`: {message}")]
    Script {
        provider: String,
        file: PathBuf,
        message: String,
    },
    #[error("provider `{provider}`: record `{file}` cannot be written: {message}")]
    Record {
        provider: String,
        file: PathBuf,
        message: String,
    },
    #[error("default_model `{model}` begins with no provider's name; there are: {providers}")]
    DefaultModel { model: String, providers: String },
}

/// Where requests go: `path` below the base URL.
pub(crate) fn endpoint(provider: &Provider, base: &str, path: &str) -> Result<Uri, Error> {
    let bad = || Error::BaseUrl {
        provider: provider.name.clone(),
        base_url: base.to_owned(),
    };
    let uri: Uri = format!("{}{path}", base.trim_end_matches('/'))
        .parse()
        .map_err(|_| bad())?;
    let plausible = matches!(uri.scheme_str(), Some("http" | "https"))
        && uri.host().is_some()
        && uri.query().is_none();
    if plausible { Ok(uri) } else { Err(bad()) }
}

/// A header that is never shown.
pub(crate) fn header(provider: &Provider, text: &str) -> Result<HeaderValue, Error> {
    let mut value = HeaderValue::from_str(text).map_err(|_| Error::Key {
        provider: provider.name.clone(),
    })?;
    value.set_sensitive(true);
    Ok(value)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Family;

    #[test]
    fn base_urls_are_checked() {
        let provider = Provider::new("p", Family::OpenAi);
        let check = |base: &str| {
            endpoint(&provider, base, "/x")
                .map(|uri| uri.to_string())
                .ok()
        };
        assert_eq!(check("https://h/v1"), Some("https://h/v1/x".to_owned()));
        assert_eq!(
            check("http://127.0.0.1:9/v1/"),
            Some("http://127.0.0.1:9/v1/x".to_owned())
        );
        for bad in [
            "",
            "h/v1",
            "ftp://h",
            "https://",
            "http://h/ v1",
            "http://h/v1?key=1",
        ] {
            assert_eq!(check(bad), None, "{bad}");
        }
    }
}
