//! The limit of every gateway: a reverse proxy that looks at nothing.

use anyhow::Result;
use axum::{
    Router,
    body::Body,
    extract::{Request, State},
    http::{StatusCode, Uri, uri::Authority},
    response::{IntoResponse, Response},
    serve::ListenerExt,
};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use tokio::net::TcpListener;

use crate::role::{announce, end_with_parent};

#[derive(Clone)]
struct Pass {
    client: Client<HttpConnector, Body>,
    upstream: Authority,
}

pub(crate) async fn run(upstream: &str) -> Result<()> {
    end_with_parent();
    let web = TcpListener::bind("127.0.0.1:0").await?;
    let address = web.local_addr()?;
    let web = web.tap_io(|stream| {
        // Without it tokens wait; a connection that is gone needs none.
        let _ = stream.set_nodelay(true);
    });
    let mut connector = HttpConnector::new();
    connector.set_nodelay(true);
    let pass = Pass {
        client: Client::builder(TokioExecutor::new()).build(connector),
        upstream: upstream.parse()?,
    };
    announce(&format!("{address} {address}"));
    let routes = Router::new().fallback(forward).with_state(pass);
    Ok(axum::serve(web, routes).await?)
}

async fn forward(State(pass): State<Pass>, mut request: Request) -> Response {
    let path = request.uri().path_and_query().cloned();
    let uri = Uri::builder()
        .scheme("http")
        .authority(pass.upstream)
        .path_and_query(path.map_or_else(|| "/".to_owned(), |path| path.to_string()))
        .build();
    match uri {
        Ok(uri) => *request.uri_mut() = uri,
        Err(_) => return StatusCode::BAD_REQUEST.into_response(),
    }
    match pass.client.request(request).await {
        Ok(response) => response.map(Body::new),
        Err(_) => StatusCode::BAD_GATEWAY.into_response(),
    }
}
