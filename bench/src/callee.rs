//! The role that answers: each connection offers one function, which returns what it was given.

use anyhow::Result;

use crate::{
    args::{Fire, Peer},
    dialect::{Dialect, End, Heard},
    link::Link,
    role::{announce, end_with_parent},
};

pub(crate) async fn run<D: Dialect>(peer: Peer, dialect: impl Fn(usize) -> D) -> Result<()> {
    end_with_parent();
    let mut serving = tokio::task::JoinSet::new();
    for index in 0..peer.connections {
        let dialect = dialect(index);
        let end = End {
            role: "callee",
            index,
            offers: vec![format!("bench::echo{index}")],
        };
        let mut link = dialect.open(&peer.place(), &end).await?;
        if peer.write_each_frame {
            link.write_each_frame();
        }
        let fire = peer.fire;
        serving.spawn_local(async move { serve(link, dialect, index, fire).await });
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

async fn serve<D: Dialect>(
    mut link: Link,
    dialect: D,
    index: usize,
    fire: Option<Fire>,
) -> Result<()> {
    let acknowledgement = dialect.call(&format!("bench::ack{index}"), b"{}", true)?;
    let mut heard_calls = 0_u64;
    loop {
        link.step().await?;
        let Link {
            input, outgoing, ..
        } = &mut link;
        let mut taken = 0;
        while let Some((length, heard)) = dialect.parse(&input[taken..])? {
            taken += length;
            match heard {
                Heard::Call { reply_to, payload } => {
                    heard_calls += 1;
                    if !reply_to.is_empty() {
                        let payload = fire.is_none().then_some(payload);
                        dialect.answer(reply_to, payload, &mut outgoing.bytes);
                        outgoing.end_of_frame();
                    }
                    if let Some(fire) = fire
                        && heard_calls.is_multiple_of(fire.acknowledge_every)
                    {
                        dialect.write_call(&acknowledgement, 0, &mut outgoing.bytes);
                        outgoing.end_of_frame();
                    }
                }
                Heard::Ping(ping) => dialect.pong(ping, &mut outgoing.bytes),
                Heard::Reply { .. } | Heard::Other(_) => {}
            }
        }
        let _ = input.split_to(taken);
    }
}
