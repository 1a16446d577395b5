//! The second step of the settings: what was written becomes what can be used, or a clear error.

use std::path::PathBuf;

use hyper::{Uri, header::HeaderValue};

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
    #[error(
        "provider `{provider}` is in no table: say its `family` and `base_url`, or `provider: ENTRY`"
    )]
    Unknown { provider: String },
    #[error(
        "provider `{provider}`: the header `{header}` holds characters that no HTTP header may"
    )]
    Header { provider: String, header: String },
    #[error("the table `{file}` cannot be used: {message}")]
    Table { file: PathBuf, message: String },
    #[error("alias `{alias}` stands for `{model}`, which begins with no provider's name")]
    Alias { alias: String, model: String },
    #[error("default_model `{model}` begins with no provider's name; there are: {providers}")]
    DefaultModel { model: String, providers: String },
}

/// Where requests go, without a slash at the end: every path is appended to it.
pub(crate) fn base_uri(provider: &str, base: &str) -> Result<String, Error> {
    let bad = || Error::BaseUrl {
        provider: provider.to_owned(),
        base_url: base.to_owned(),
    };
    let trimmed = base.trim_end_matches('/');
    let uri: Uri = format!("{trimmed}/x").parse().map_err(|_| bad())?;
    let plausible = matches!(uri.scheme_str(), Some("http" | "https"))
        && uri.host().is_some()
        && uri.query().is_none();
    if plausible {
        Ok(trimmed.to_owned())
    } else {
        Err(bad())
    }
}

/// A header that is never shown.
pub(crate) fn header(provider: &str, text: &str) -> Result<HeaderValue, Error> {
    let mut value = HeaderValue::from_str(text).map_err(|_| Error::Key {
        provider: provider.to_owned(),
    })?;
    value.set_sensitive(true);
    Ok(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base_urls_are_checked() {
        let check = |base: &str| base_uri("p", base).ok();
        assert_eq!(check("https://h/v1"), Some("https://h/v1".to_owned()));
        assert_eq!(
            check("http://127.0.0.1:9/v1/"),
            Some("http://127.0.0.1:9/v1".to_owned())
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
