//! The limit: copies WebSocket frames between pairs of sockets, `/caller/N` and `/callee/N`, and
//! knows nothing about them.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    task::Poll,
};

use anyhow::Result;
use futures_util::{
    SinkExt, StreamExt, poll,
    stream::{SplitSink, SplitStream},
};
use tokio::net::{TcpListener, TcpStream};
use tokio_tungstenite::{
    WebSocketStream, accept_hdr_async,
    tungstenite::{
        self, Message,
        handshake::server::{ErrorResponse, Request, Response},
    },
};

use crate::role::{announce, end_with_parent};

type Socket = WebSocketStream<TcpStream>;
type Waiting = Arc<Mutex<HashMap<String, Socket>>>;

pub(crate) async fn run(plain: bool) -> Result<()> {
    end_with_parent();
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    announce(&listener.local_addr()?.to_string());
    let waiting = Waiting::default();
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let waiting = Arc::clone(&waiting);
        tokio::spawn(async move {
            // A peer that leaves ends its pair; there is nobody to tell.
            let _ = serve(stream, &waiting, plain).await;
        });
    }
}

async fn serve(stream: TcpStream, waiting: &Waiting, plain: bool) -> tungstenite::Result<()> {
    let mut path = String::new();
    let note = |request: &Request, response: Response| -> Result<Response, ErrorResponse> {
        request.uri().path().clone_into(&mut path);
        Ok(response)
    };
    let socket = accept_hdr_async(stream, note).await?;
    let pair = path.rsplit('/').next().unwrap_or_default().to_owned();
    let other = {
        let mut waiting = waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(other) = waiting.remove(&pair) else {
            waiting.insert(pair, socket);
            return Ok(());
        };
        other
    };
    let (to_one, from_one) = socket.split();
    let (to_other, from_other) = other.split();
    // One task for both directions: nothing of a pair is shared between threads.
    tokio::select! {
        ended = copy(from_one, to_other, plain) => ended,
        ended = copy(from_other, to_one, plain) => ended,
    }
}

/// Copies until one side ends. Unless `plain`, everything that can be read without waiting goes
/// into one write.
async fn copy(
    mut from: SplitStream<Socket>,
    mut to: SplitSink<Socket, Message>,
    plain: bool,
) -> tungstenite::Result<()> {
    while let Some(message) = from.next().await {
        to.feed(message?).await?;
        if !plain {
            while let Poll::Ready(Some(message)) = poll!(from.next()) {
                to.feed(message?).await?;
            }
        }
        to.flush().await?;
    }
    Ok(())
}
