//! A model that costs next to nothing: it answers `max_tokens` tokens in the dialect of `OpenAI`,
//! one after `seed` microseconds each.

use std::{convert::Infallible, time::Duration};

use anyhow::Result;
use axum::{
    Json, Router,
    body::{Body, Bytes},
    extract::DefaultBodyLimit,
    http::header::CONTENT_TYPE,
    response::{IntoResponse, Response},
    routing::post,
    serve::ListenerExt,
};
use futures_util::{StreamExt, stream};
use serde::Deserialize;
use tokio::{
    net::TcpListener,
    time::{MissedTickBehavior, interval},
};

use super::{DIGITS, now_ns};
use crate::role::{announce, end_with_parent};

#[derive(Deserialize)]
struct Asked {
    #[serde(default)]
    stream: bool,
    #[serde(default)]
    max_tokens: u64,
    #[serde(default)]
    seed: u64,
}

const WHOLE: &str = r#"{"id":"chatcmpl-1","object":"chat.completion","created":1700000000,"model":"m","choices":[{"index":0,"message":{"role":"assistant","content":"The lamp is lit. It will be put out in the morning, when the ships have passed.","refusal":null},"logprobs":null,"finish_reason":"stop"}],"usage":{"prompt_tokens":12,"completion_tokens":18,"total_tokens":30}}"#;

const LAST: &str = "data: {\"id\":\"chatcmpl-1\",\"object\":\"chat.completion.chunk\",\"created\":1700000000,\"model\":\"m\",\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}]}\n\ndata: {\"id\":\"chatcmpl-1\",\"object\":\"chat.completion.chunk\",\"created\":1700000000,\"model\":\"m\",\"choices\":[],\"usage\":{\"prompt_tokens\":12,\"completion_tokens\":18,\"total_tokens\":30}}\n\ndata: [DONE]\n\n";

pub(crate) async fn run() -> Result<()> {
    end_with_parent();
    let web = TcpListener::bind("127.0.0.1:0").await?;
    let address = web.local_addr()?;
    let web = web.tap_io(|stream| {
        // Without it tokens wait; a connection that is gone needs none.
        let _ = stream.set_nodelay(true);
    });
    announce(&address.to_string());
    let routes = Router::new()
        .route("/v1/chat/completions", post(answer))
        .layer(DefaultBodyLimit::disable());
    Ok(axum::serve(web, routes).await?)
}

async fn answer(Json(asked): Json<Asked>) -> Response {
    if asked.stream {
        tell(&asked)
    } else {
        ([(CONTENT_TYPE, "application/json")], WHOLE).into_response()
    }
}

fn tell(asked: &Asked) -> Response {
    let head = [(CONTENT_TYPE, "text/event-stream; charset=utf-8")];
    let last = stream::iter([Ok::<_, Infallible>(Bytes::from_static(LAST.as_bytes()))]);
    let count = usize::try_from(asked.max_tokens).unwrap_or(usize::MAX);
    let body = if asked.seed == 0 {
        let tokens = stream::repeat_with(|| Ok(token())).take(count);
        Body::from_stream(tokens.chain(last))
    } else {
        let mut pace = interval(Duration::from_micros(asked.seed));
        pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let tokens = stream::unfold(pace, |mut pace| async {
            pace.tick().await;
            Some((Ok(token()), pace))
        });
        Body::from_stream(tokens.take(count).chain(last))
    };
    (head, body).into_response()
}

fn token() -> Bytes {
    let event = format!(
        r#"data: {{"id":"chatcmpl-1","object":"chat.completion.chunk","created":1700000000,"model":"m","choices":[{{"index":0,"delta":{{"content":"tok-{:0DIGITS$}"}},"finish_reason":null}}]}}"#,
        now_ns()
    );
    Bytes::from(event + "\n\n")
}
