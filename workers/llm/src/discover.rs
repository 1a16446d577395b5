//! Model servers on this machine: who answers at the addresses where they usually are.

use std::{sync::Arc, time::Duration};

use agentos_contract::llm::{Discovered, Server};
use futures_util::future::join_all;
use http_body_util::{BodyExt, Empty, Limited};
use hyper::{Request, body::Bytes};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use serde_json::Value;

use crate::{
    config::Provider,
    route::{Route, Routes},
    scripted::Stage,
};

/// A server on this machine answers at once or is busy starting.
const DEADLINE: Duration = Duration::from_millis(1_500);
const ANSWER_BYTES_MAX: usize = 4 << 20;

/// Asks all that the table knows how to probe, and makes those that answer providers.
pub(crate) async fn run(routes: &Routes) -> Discovered {
    let table = &routes.table;
    let known = table
        .providers()
        .filter_map(|(name, entry)| Some((name, entry, entry.probe.as_deref()?)));
    let probes = known.map(|(name, entry, path)| async move {
        let models = probe(&format!("{}{path}", entry.base)).await?;
        Some(Server {
            name: name.to_owned(),
            base: entry.base.clone(),
            models,
        })
    });
    let stage = Arc::<Stage>::default();
    let found: Vec<Server> = join_all(probes).await.into_iter().flatten().collect();
    for server in &found {
        let entry = table
            .provider(&server.name)
            .expect("it was probed by its entry");
        let provider = Provider {
            provider: Some(server.name.clone()),
            base_url: Some(server.base.clone()),
            models: server.models.clone(),
            ..Provider::new(&server.name, entry.family)
        };
        match Route::new(&provider, table, &stage) {
            Ok(mut route) => {
                route.discovered = true;
                routes.add(route);
            }
            Err(error) => tracing::warn!(server = server.name, %error, "a server cannot be used"),
        }
    }
    Discovered { servers: found }
}

/// The models that the server at `address` has; `None` when there is no model server.
async fn probe(address: &str) -> Option<Vec<String>> {
    let request = Request::get(address).body(Empty::<Bytes>::new()).ok()?;
    let client: Client<HttpConnector, Empty<Bytes>> =
        Client::builder(TokioExecutor::new()).build_http();
    let ask = async {
        let response = client.request(request).await.ok()?;
        let good = response.status().is_success();
        let body = Limited::new(response.into_body(), ANSWER_BYTES_MAX);
        let bytes = body.collect().await.ok()?.to_bytes();
        good.then_some(bytes)
    };
    let bytes = tokio::time::timeout(DEADLINE, ask).await.ok()??;
    let body: Value = serde_json::from_slice(&bytes).ok()?;
    // OpenAI's list, or Ollama's.
    let list = body["data"].as_array().or(body["models"].as_array())?;
    let name = |model: &Value| {
        let name = model["id"].as_str().or(model["name"].as_str())?;
        Some(name.to_owned())
    };
    Some(list.iter().filter_map(name).collect())
}
