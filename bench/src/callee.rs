//! The role that answers: each connection offers one function, which returns what it was given.

use anyhow::Result;
use memchr::memmem;

use crate::{
    args::{Fire, Peer},
    dialect::{Bind, Dialect, End, HTTP_PATH, Heard, iii::value},
    link::Link,
    role::{announce, end_with_parent},
};

pub(crate) async fn run<D: Dialect>(
    peer: Peer,
    http: bool,
    dialect: impl Fn(usize) -> D,
) -> Result<()> {
    end_with_parent();
    let mut serving = tokio::task::JoinSet::new();
    for index in 0..peer.connections {
        let dialect = dialect(index);
        let mut end = End::new("callee", index);
        end.offers.push(format!("bench::echo{index}"));
        end.bind = http.then_some(Bind::Http(HTTP_PATH));
        let mut link = dialect.open(&peer.place(), &end).await?;
        if peer.write_each_frame {
            link.write_each_frame();
        }
        let answering = match (peer.fire, http) {
            (Some(fire), _) => Answering::Acknowledge(fire),
            (None, true) => Answering::Request,
            (None, false) => Answering::Echo,
        };
        serving.spawn_local(async move { serve(link, dialect, index, answering).await });
    }
    announce("ready");
    while let Some(ended) = serving.join_next().await {
        match ended? {
            // A relay closes this end when the caller is done; the other pairs go on.
            Err(error) if !error.is::<std::io::Error>() => return Err(error),
            _ => {}
        }
    }
    Ok(())
}

#[derive(Clone, Copy)]
enum Answering {
    Echo,
    /// Returns nothing, and says by a call back how many came.
    Acknowledge(Fire),
    /// Takes an HTTP request and returns its body as a response.
    Request,
}

async fn serve<D: Dialect>(
    mut link: Link,
    dialect: D,
    index: usize,
    answering: Answering,
) -> Result<()> {
    let acknowledgement = dialect.call(&format!("bench::ack{index}"), b"{}", true)?;
    let mut heard_calls = 0_u64;
    let mut response = Vec::new();
    loop {
        link.step().await?;
        let Link {
            input, outgoing, ..
        } = &mut link;
        let mut taken = 0;
        while let Some((length, heard)) = dialect.parse(&input[taken..])? {
            taken += length;
            let (reply_to, payload) = match heard {
                Heard::Call { reply_to, payload } => (reply_to, payload),
                Heard::Ping(ping) => {
                    dialect.pong(ping, &mut outgoing.bytes);
                    continue;
                }
                Heard::Reply { .. } | Heard::Other(_) => continue,
            };
            heard_calls += 1;
            if !reply_to.is_empty() {
                let result = match answering {
                    Answering::Echo => Some(payload),
                    Answering::Acknowledge(_) => None,
                    Answering::Request => {
                        respond(payload, &mut response);
                        Some(response.as_slice())
                    }
                };
                dialect.answer(reply_to, result, &mut outgoing.bytes);
                outgoing.end_of_frame();
            }
            if let Answering::Acknowledge(fire) = answering
                && heard_calls.is_multiple_of(fire.acknowledge_every)
            {
                dialect.write_call(&acknowledgement, 0, &mut outgoing.bytes);
                outgoing.end_of_frame();
            }
        }
        dialect.end_of_read(&mut outgoing.bytes);
        let _ = input.split_to(taken);
    }
}

/// The response that carries the request's body back.
fn respond(request: &[u8], response: &mut Vec<u8>) {
    const BODY: &[u8] = br#""body":"#;
    let body =
        memmem::find(request, BODY).map_or(&b"null"[..], |at| value(&request[at + BODY.len()..]));
    response.clear();
    response.extend_from_slice(br#"{"status_code":200,"body":"#);
    response.extend_from_slice(body);
    response.push(b'}');
}
