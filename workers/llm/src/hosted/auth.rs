//! How a request proves who sends it.

use std::time::SystemTime;

use agentos_sdk::{Code, Error};
use aws_credential_types::Credentials;
use aws_sigv4::{
    http_request::{SignableBody, SignableRequest, SigningSettings, sign as sign_request},
    sign::v4,
};
use hyper::{
    HeaderMap,
    header::{AUTHORIZATION, CONTENT_TYPE, HeaderName, HeaderValue},
};

use crate::{config::Aws, table::Auth};

/// A header that shows the key; it is never shown itself.
pub(super) fn header(auth: Auth, key: &str) -> Option<(HeaderName, HeaderValue)> {
    let (name, text) = match auth {
        Auth::Bearer => (AUTHORIZATION, format!("Bearer {key}")),
        Auth::ApiKeyScheme => (AUTHORIZATION, format!("Api-Key {key}")),
        Auth::ApiKey => (HeaderName::from_static("api-key"), key.to_owned()),
        Auth::XApiKey => (HeaderName::from_static("x-api-key"), key.to_owned()),
        Auth::XGoogApiKey => (HeaderName::from_static("x-goog-api-key"), key.to_owned()),
    };
    let mut value = HeaderValue::from_str(&text).ok()?;
    value.set_sensitive(true);
    Some((name, value))
}

/// Signs the request as AWS wants it (Signature Version 4, service `bedrock`).
///
/// # Errors
/// When the address cannot be signed.
pub(super) fn sign(
    aws: &Aws,
    region: &str,
    address: &str,
    body: &[u8],
    headers: &mut HeaderMap,
    at: SystemTime,
) -> Result<(), Error> {
    let mut credentials = Credentials::builder()
        .access_key_id(&aws.access_key_id)
        .secret_access_key(aws.secret_access_key.expose())
        .provider_name("agentos");
    let token = aws.session_token.as_ref();
    credentials.set_session_token(token.map(|token| token.expose().to_owned()));
    let identity = credentials.build().into();
    let params = v4::SigningParams::builder()
        .identity(&identity)
        .region(region)
        .name("bedrock")
        .time(at)
        .settings(SigningSettings::default())
        .build()
        .map_err(|error| unsigned(&error))?
        .into();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    let signed: Vec<_> = headers
        .iter()
        .filter_map(|(name, value)| Some((name.as_str(), value.to_str().ok()?)))
        .collect();
    let request = SignableRequest::new(
        "POST",
        address,
        signed.into_iter(),
        SignableBody::Bytes(body),
    )
    .map_err(|error| unsigned(&error))?;
    let (instructions, _) = sign_request(request, &params)
        .map_err(|error| unsigned(&error))?
        .into_parts();
    for (name, text) in instructions.headers() {
        let name: HeaderName = name.parse().map_err(|error| unsigned(&error))?;
        let mut value = HeaderValue::from_str(text).map_err(|error| unsigned(&error))?;
        value.set_sensitive(true);
        headers.insert(name, value);
    }
    Ok(())
}

fn unsigned<E: std::fmt::Display>(cause: &E) -> Error {
    Error::worker(
        Code::Failed,
        format!("the request could not be signed for AWS: {cause}"),
    )
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::config::Secret;

    #[test]
    fn the_signature_covers_host_time_token_and_body() {
        let aws = Aws {
            access_key_id: "AKID".into(),
            secret_access_key: Secret::new("secret"),
            session_token: Some(Secret::new("token")),
        };
        let signed = |body: &[u8], address: &str| {
            let mut headers = HeaderMap::new();
            let at = SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000);
            sign(&aws, "eu-west-1", address, body, &mut headers, at).unwrap();
            headers
        };
        let address = "https://h/model/a.b-v1%3A0/converse";
        let headers = signed(b"{}", address);
        let proof = headers[AUTHORIZATION].to_str().unwrap();
        assert!(
            proof.starts_with(
                "AWS4-HMAC-SHA256 Credential=AKID/20231114/eu-west-1/bedrock/aws4_request, \
                 SignedHeaders=content-type;host;x-amz-date;x-amz-security-token, Signature="
            ),
            "{proof}"
        );
        assert_eq!(headers["x-amz-security-token"], "token");
        assert_ne!(proof, signed(b"[]", address)[AUTHORIZATION]);
        let elsewhere = signed(b"{}", "https://h/model/a/converse");
        assert_ne!(proof, elsewhere[AUTHORIZATION]);
        assert!(!format!("{headers:?}").contains("Signature="));
    }
}
