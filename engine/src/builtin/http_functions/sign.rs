//! The head of a request: what the engine says about the call, the registration's own headers, and
//! proof of who calls. Knows no socket.

use std::{collections::BTreeMap, sync::Arc};

use agentos_sdk::{Code, Error, Trace};
use base64::{Engine as _, prelude::BASE64_STANDARD};
use hmac::{Hmac, KeyInit, Mac};
use hyper::{
    HeaderMap,
    header::{AUTHORIZATION, CONTENT_TYPE, HeaderName, HeaderValue},
};
use serde::Deserialize;
use sha2::Sha256;

use super::error::unusable;

/// Looks up variables of the engine's environment by name.
pub type Env = Arc<dyn Fn(&str) -> Option<String> + Send + Sync>;

/// Headers that say how the message is framed: the client's business.
const FRAMING: [&str; 8] = [
    "connection",
    "content-length",
    "expect",
    "keep-alive",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// How the engine proves to the endpoint who it is. Each key is the name of a variable.
#[derive(Deserialize, Debug)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(super) enum Auth {
    Hmac { secret_key: String },
    Bearer { token_key: String },
    ApiKey { header: String, value_key: String },
}

impl Auth {
    pub(super) fn read(written: &serde_json::Value) -> Result<Self, Error> {
        Auth::deserialize(written)
            .map_err(|error| unusable(format!("the function's auth: {error}")))
    }
}

/// What the headers say about a call.
pub(super) struct About<'a> {
    pub(super) function: &'a str,
    pub(super) invocation: &'a str,
    /// Seconds since 1970.
    pub(super) timestamp: u64,
    pub(super) trace: &'a Trace,
    pub(super) body: &'a [u8],
}

/// All headers of a request; later kinds replace earlier ones of the same name.
///
/// # Errors
/// A variable that is not set, or a header that is none.
pub(super) fn headers(
    about: &About<'_>,
    own: &BTreeMap<String, String>,
    auth: Option<&Auth>,
    env: &Env,
) -> Result<HeaderMap, Error> {
    let mut headers = HeaderMap::new();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    let timestamp = about.timestamp.to_string();
    put(&mut headers, "x-iii-function-path", about.function)?;
    put(&mut headers, "x-iii-invocation-id", about.invocation)?;
    put(&mut headers, "x-iii-timestamp", &timestamp)?;
    if let Some(trace) = trace_id(about.trace) {
        put(&mut headers, "x-iii-trace-id", trace)?;
    }
    for (name, value) in own {
        if !FRAMING.contains(&name.to_ascii_lowercase().as_str()) {
            put(&mut headers, name, value)?;
        }
    }
    match auth {
        None => {}
        Some(Auth::Hmac { secret_key }) => {
            let secret = secret(env, secret_key, "secret_not_found")?;
            let signature = signature(secret.as_bytes(), &timestamp, about.body);
            put_secret(&mut headers, "x-iii-signature", &signature)?;
        }
        Some(Auth::Bearer { token_key }) => {
            let token = secret(env, token_key, "token_not_found")?;
            put_secret(
                &mut headers,
                AUTHORIZATION.as_str(),
                &format!("Bearer {token}"),
            )?;
        }
        Some(Auth::ApiKey { header, value_key }) => {
            let value = secret(env, value_key, "api_key_not_found")?;
            put_secret(&mut headers, header, &value)?;
        }
    }
    Ok(headers)
}

/// `sha256=` and the HMAC, in hexadecimal, of timestamp, colon and the body in base64.
pub(super) fn signature(secret: &[u8], timestamp: &str, body: &[u8]) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret).expect("a key may have any length");
    mac.update(timestamp.as_bytes());
    mac.update(b":");
    mac.update(BASE64_STANDARD.encode(body).as_bytes());
    let bytes = mac.finalize().into_bytes();
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("sha256={hex}")
}

fn secret(env: &Env, name: &str, missing: &str) -> Result<String, Error> {
    if name.is_empty() {
        let message = "the function's auth names no environment variable";
        return Err(Error::engine(Code::Failed, message).reason("missing_env_var"));
    }
    env(name).filter(|value| !value.is_empty()).ok_or_else(|| {
        let message = format!("the engine's environment variable `{name}` is not set");
        Error::engine(Code::Failed, message).reason(missing)
    })
}

fn put(headers: &mut HeaderMap, name: &str, value: &str) -> Result<(), Error> {
    let bad = || {
        unusable(format!(
            "`{}` is not a header that can be sent",
            name.escape_debug()
        ))
    };
    let key = HeaderName::from_bytes(name.as_bytes()).map_err(|_| bad())?;
    headers.insert(key, HeaderValue::from_str(value).map_err(|_| bad())?);
    Ok(())
}

fn put_secret(headers: &mut HeaderMap, name: &str, value: &str) -> Result<(), Error> {
    put(headers, name, value)?;
    if let Some(value) = headers.get_mut(name) {
        value.set_sensitive(true);
    }
    Ok(())
}

/// The trace's id out of `00-<trace>-<span>-<flags>`.
fn trace_id(trace: &Trace) -> Option<&str> {
    trace
        .parent
        .as_deref()?
        .split('-')
        .nth(1)
        .filter(|id| id.len() == 32)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn env() -> Env {
        Arc::new(|name| (name == "SET").then(|| "s3cret".to_owned()))
    }

    fn about(trace: &Trace) -> About<'_> {
        About {
            function: "crm::sync",
            invocation: "0d3c",
            timestamp: 1_781_000_000,
            trace,
            body: br#"{"a":1}"#,
        }
    }

    #[test]
    fn a_signature_is_that_of_the_contract() {
        // printf '%s' '1781000000:eyJhIjoxfQ==' | openssl dgst -sha256 -hmac s3cret
        let expected = "sha256=66a820b9897ce94acf9144815a6d95ea5b337f40f0e1be89a5e561f60f661c7f";
        assert_eq!(signature(b"s3cret", "1781000000", br#"{"a":1}"#), expected);
    }

    #[test]
    fn later_headers_replace_earlier_ones() {
        let trace = Trace {
            parent: Some("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01".into()),
            baggage: None,
        };
        let own = [
            ("X-App", "demo"),
            ("content-type", "text/json"),
            ("Authorization", "mine"),
            ("Content-Length", "5"),
        ];
        let own = own
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .into();
        let auth = Auth::read(&json!({"type": "bearer", "token_key": "SET"})).unwrap();
        let headers = headers(&about(&trace), &own, Some(&auth), &env()).unwrap();
        let expected = [
            ("content-type", "text/json"),
            ("x-iii-function-path", "crm::sync"),
            ("x-iii-invocation-id", "0d3c"),
            ("x-iii-timestamp", "1781000000"),
            ("x-iii-trace-id", "0af7651916cd43dd8448eb211c80319c"),
            ("x-app", "demo"),
            ("authorization", "Bearer s3cret"),
        ];
        for (name, value) in expected {
            assert_eq!(headers[name], value, "{name}");
        }
        assert_eq!(headers.len(), expected.len());
        assert!(!format!("{headers:?}").contains("s3cret"));
    }

    #[test]
    fn what_cannot_be_sent_is_named() {
        let cases = [
            (
                json!({"type": "hmac", "secret_key": "GONE"}),
                "secret_not_found",
                "`GONE` is not set",
            ),
            (
                json!({"type": "bearer", "token_key": "GONE"}),
                "token_not_found",
                "`GONE`",
            ),
            (
                json!({"type": "api_key", "header": "x", "value_key": "GONE"}),
                "api_key_not_found",
                "`GONE`",
            ),
            (
                json!({"type": "bearer", "token_key": ""}),
                "missing_env_var",
                "names no",
            ),
            (
                json!({"type": "api_key", "header": "a b", "value_key": "SET"}),
                "http_request_failed",
                "`a b`",
            ),
            (
                json!({"type": "magic"}),
                "http_request_failed",
                "unknown variant",
            ),
            (json!({"type": "hmac"}), "http_request_failed", "secret_key"),
        ];
        for (auth, reason, expected) in cases {
            let error = Auth::read(&auth)
                .and_then(|auth| {
                    headers(
                        &about(&Trace::default()),
                        &BTreeMap::new(),
                        Some(&auth),
                        &env(),
                    )
                })
                .unwrap_err();
            assert_eq!(error.reason.as_deref(), Some(reason), "{auth}");
            assert!(error.message.contains(expected), "{auth}: {error}");
            assert!(!error.message.contains("s3cret"));
        }
        let own = [("x".to_owned(), "a\nb".to_owned())].into();
        assert!(headers(&about(&Trace::default()), &own, None, &env()).is_err());
    }
}
