//! References for HTTP: a bare axum echo, and axum with a worker behind a WebSocket.

use std::collections::HashMap;

use agentos_protocol::{Call, CallRef, Frame, Payload, codec::v2};
use anyhow::{Context, Result, bail};
use axum::{
    Router,
    body::Bytes,
    extract::State,
    http::{StatusCode, header::CONTENT_TYPE},
    response::{IntoResponse, Response},
    routing::post,
    serve::ListenerExt,
};
use futures_util::{SinkExt, StreamExt, poll};
use tokio::{
    net::TcpListener,
    sync::{mpsc, oneshot},
};
use tokio_tungstenite::{accept_async, tungstenite::Message};

use crate::{
    dialect::HTTP_PATH,
    role::{announce, end_with_parent},
};

/// Requests that may wait for the worker's socket; more wait for them.
const WAITING_MAX: usize = 1024;

type Ask = (Bytes, oneshot::Sender<Bytes>);

pub(crate) async fn run(worker: bool) -> Result<()> {
    end_with_parent();
    let web = TcpListener::bind("127.0.0.1:0").await?;
    let address = web.local_addr()?;
    let web = web.tap_io(|stream| {
        // Without it answers wait; a connection that is gone needs none.
        let _ = stream.set_nodelay(true);
    });
    if !worker {
        announce(&format!("{address} {address}"));
        let echo = async |body: Bytes| json(body);
        let routes = Router::new().route(HTTP_PATH, post(echo));
        return Ok(axum::serve(web, routes).await?);
    }
    let bus = TcpListener::bind("127.0.0.1:0").await?;
    announce(&format!("{} {address}", bus.local_addr()?));
    let (ask, asked) = mpsc::channel(WAITING_MAX);
    let routes = Router::new()
        .route(HTTP_PATH, post(forward))
        .with_state(ask);
    tokio::select! {
        ended = axum::serve(web, routes) => Ok(ended?),
        ended = serve_worker(bus, asked) => ended,
    }
}

fn json(body: Bytes) -> Response {
    ([(CONTENT_TYPE, "application/json")], body).into_response()
}

async fn forward(State(ask): State<mpsc::Sender<Ask>>, body: Bytes) -> Response {
    let (answer, answered) = oneshot::channel();
    if ask.send((body, answer)).await.is_err() {
        return StatusCode::BAD_GATEWAY.into_response();
    }
    match answered.await {
        Ok(body) => json(body),
        Err(_) => StatusCode::BAD_GATEWAY.into_response(),
    }
}

/// One worker; what waits for it goes into one write.
async fn serve_worker(bus: TcpListener, mut asked: mpsc::Receiver<Ask>) -> Result<()> {
    let (stream, _) = bus.accept().await?;
    stream.set_nodelay(true)?;
    let mut socket = accept_async(stream).await?;
    let mut waiting: HashMap<u64, oneshot::Sender<Bytes>> = HashMap::new();
    let mut number = 0;
    loop {
        tokio::select! {
            message = socket.next() => {
                let mut message = message.context("the worker left")??;
                loop {
                    if let Message::Binary(bytes) = message {
                        answer(&bytes, &mut waiting)?;
                    }
                    let std::task::Poll::Ready(Some(next)) = poll!(socket.next()) else { break };
                    message = next?;
                }
            }
            ask = asked.recv() => {
                let mut ask = ask;
                while let Some((body, answer)) = ask {
                    number += 1;
                    waiting.insert(number, answer);
                    let call = Call::new(Some(CallRef::Number(number)), "echo", Payload::json(body));
                    socket.feed(Message::Binary(v2::encode(&Frame::Call(Box::new(call)))?)).await?;
                    ask = asked.try_recv().ok();
                }
                socket.flush().await?;
            }
        }
    }
}

fn answer(bytes: &Bytes, waiting: &mut HashMap<u64, oneshot::Sender<Bytes>>) -> Result<()> {
    match v2::decode(bytes)? {
        Frame::Reply {
            call: CallRef::Number(number),
            outcome: Ok(payload),
            ..
        } => {
            if let Some(answer) = waiting.remove(&number) {
                // The client may have left.
                let _ = answer.send(payload.bytes);
            }
            Ok(())
        }
        other => bail!("not an answer: {other:?}"),
    }
}
