//! Connections to providers: plain or TLS, without delay of small writes, within a deadline.

use std::{
    error::Error as StdError,
    fmt,
    future::Future,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use hyper::Uri;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::connect::HttpConnector;
use tower_service::Service;

type BoxError = Box<dyn StdError + Send + Sync>;
type Stream = <HttpsConnector<HttpConnector> as Service<Uri>>::Response;

/// Opens connections; a deadline covers name lookup, TCP and TLS together.
#[derive(Clone)]
pub(super) struct Connector {
    https: HttpsConnector<HttpConnector>,
    deadline: Duration,
}

impl Connector {
    pub(super) fn new(deadline: Duration) -> Self {
        let mut http = HttpConnector::new();
        // Otherwise the kernel may hold a small request back for 40 ms.
        http.set_nodelay(true);
        http.enforce_http(false);
        let https = HttpsConnectorBuilder::new()
            .with_webpki_roots()
            .https_or_http()
            .enable_http1()
            .wrap_connector(http);
        Connector { https, deadline }
    }
}

impl Service<Uri> for Connector {
    type Response = Stream;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<Stream, BoxError>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.https.poll_ready(context)
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let (connecting, deadline) = (self.https.call(uri), self.deadline);
        Box::pin(async move {
            tokio::time::timeout(deadline, connecting)
                .await
                .unwrap_or_else(|_| Err(TimedOut(deadline).into()))
        })
    }
}

#[derive(Debug)]
struct TimedOut(Duration);

impl fmt::Display for TimedOut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "no connection within {} ms", self.0.as_millis())
    }
}

impl StdError for TimedOut {}

/// The deadline, when it is the reason of `error`.
pub(super) fn timed_out(error: &(dyn StdError + 'static)) -> Option<Duration> {
    chain(error)
        .find_map(|error| error.downcast_ref::<TimedOut>())
        .map(|timed_out| timed_out.0)
}

/// The innermost reason, which is the one that says something.
pub(super) fn cause(error: &(dyn StdError + 'static)) -> String {
    chain(error)
        .last()
        .map_or_else(String::new, ToString::to_string)
}

fn chain<'e>(
    error: &'e (dyn StdError + 'static),
) -> impl Iterator<Item = &'e (dyn StdError + 'static)> {
    let mut next = Some(error);
    std::iter::from_fn(move || {
        let error = next?;
        next = error.source();
        Some(error)
    })
}
