//! Sends JSON to an HTTP address, plain or TLS.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::{
    Request, StatusCode, Uri,
    header::{CONTENT_TYPE, HeaderValue},
};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};

/// From the connection to the answer.
const TIMEOUT: Duration = Duration::from_secs(10);

/// A client with its connections. Cheap to clone.
#[derive(Clone)]
pub(super) struct Poster(Client<HttpsConnector<HttpConnector>, Full<Bytes>>);

impl Poster {
    pub(super) fn new() -> Self {
        let mut http = HttpConnector::new();
        http.set_nodelay(true);
        http.enforce_http(false);
        let https = HttpsConnectorBuilder::new()
            .with_webpki_roots()
            .https_or_http()
            .enable_http1()
            .wrap_connector(http);
        Poster(Client::builder(TokioExecutor::new()).build(https))
    }

    /// The answer's status, or why there is none.
    pub(super) async fn json(&self, to: &Uri, body: Bytes) -> Result<StatusCode, String> {
        let mut request = Request::post(to.clone())
            .body(Full::new(body))
            .map_err(|error| error.to_string())?;
        request
            .headers_mut()
            .insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        match tokio::time::timeout(TIMEOUT, self.0.request(request)).await {
            Ok(Ok(answer)) => Ok(answer.status()),
            Ok(Err(error)) => Err(error.to_string()),
            Err(_) => Err(format!("no answer within {} s", TIMEOUT.as_secs())),
        }
    }
}
