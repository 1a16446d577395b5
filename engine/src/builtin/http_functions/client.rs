//! The way to endpoints: a pooled client whose connections lead only where the policy lets them.
//!
//! Names are looked up here and nowhere else, and the addresses that were checked are the ones that
//! are connected to: there is no second look-up that could answer differently.

use std::{
    future::Future,
    net::SocketAddr,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http_body_util::Full;
use hyper::{Request, Response, body::Incoming};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::{
    client::legacy::{
        Client as Pool, Error,
        connect::{HttpConnector, dns::Name},
    },
    rt::{TokioExecutor, TokioTimer},
};
use tower_service::Service;

use super::{error::Refused, policy::Policy};

/// Connections to one host that may wait for their next call.
const IDLE_PER_HOST_MAX: usize = 32;

/// See the module.
pub(super) struct Client {
    pool: Pool<HttpsConnector<HttpConnector<Resolver>>, Full<Bytes>>,
}

impl Client {
    pub(super) fn new(policy: Arc<Policy>, connect_timeout: Duration) -> Self {
        let resolver = Resolver {
            policy,
            timeout: connect_timeout,
        };
        let mut http = HttpConnector::new_with_resolver(resolver);
        http.set_nodelay(true);
        http.set_connect_timeout(Some(connect_timeout));
        http.enforce_http(false);
        let https = HttpsConnectorBuilder::new()
            .with_webpki_roots()
            .https_or_http()
            .enable_http1()
            .wrap_connector(http);
        Client {
            pool: Pool::builder(TokioExecutor::new())
                .pool_timer(TokioTimer::new())
                .pool_max_idle_per_host(IDLE_PER_HOST_MAX)
                .build(https),
        }
    }

    /// Sends `request` and waits for the head of its answer. Follows no redirects.
    pub(super) async fn send(
        &self,
        request: Request<Full<Bytes>>,
    ) -> Result<Response<Incoming>, Error> {
        self.pool.request(request).await
    }
}

/// Looks names up, and gives no address that may not be called.
#[derive(Clone)]
pub(super) struct Resolver {
    policy: Arc<Policy>,
    timeout: Duration,
}

type Found = Result<std::vec::IntoIter<SocketAddr>, Refused>;

impl Resolver {
    pub(super) fn new(policy: Arc<Policy>, timeout: Duration) -> Self {
        Resolver { policy, timeout }
    }

    /// The addresses of `host`.
    ///
    /// # Errors
    /// `DnsFailed`; `PrivateIp` when one of them may not be called: a name that mixes them means no good.
    pub(super) async fn look_up(&self, host: &str) -> Result<Vec<SocketAddr>, Refused> {
        let found = tokio::time::timeout(self.timeout, tokio::net::lookup_host((host, 0))).await;
        let found: Vec<_> = found
            .map_err(|_| Refused::DnsFailed)?
            .map_err(|_| Refused::DnsFailed)?
            .collect();
        if found.is_empty() {
            return Err(Refused::DnsFailed);
        }
        for address in &found {
            self.policy.check_address(address.ip())?;
        }
        Ok(found)
    }
}

impl Service<Name> for Resolver {
    type Response = std::vec::IntoIter<SocketAddr>;
    type Error = Refused;
    type Future = Pin<Box<dyn Future<Output = Found> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Refused>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, name: Name) -> Self::Future {
        let resolver = self.clone();
        Box::pin(async move { Ok(resolver.look_up(name.as_str()).await?.into_iter()) })
    }
}
