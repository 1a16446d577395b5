//! The role that puts messages on a durable queue, and takes them off again: producers that wait for
//! each receipt before the next message, and one consumer that acknowledges each message. Producers
//! and consumer are one process, so how much waits is known without asking.

mod broker;
mod jetstream;
mod log;
mod streams;

use std::{
    cell::{Cell, RefCell},
    rc::Rc,
    time::Instant,
};

use anyhow::{Result, bail};
use tokio::{sync::Notify, task::JoinSet};

use crate::{
    args::{Peer, Tongue, Window},
    dialect::{nats::Nats, v2::V2},
    link::Link,
    payload,
    role::{announce, end_with_parent},
    tally::Tally,
};
use broker::{Broker, Heard};
pub(crate) use log::serve as serve_log;

/// What a message carries.
pub(crate) const PAYLOAD_BYTES: usize = 256;

/// Messages that may wait for the consumer: a producer that is ahead by more waits.
const WAITING_MAX: u64 = 1024;

/// What those in work at once are limited to, where it can be said.
pub(crate) const IN_WORK_MAX: usize = 256;

pub(crate) async fn run(peer: Peer, consume: bool, window: Window) -> Result<()> {
    end_with_parent();
    match peer.tongue {
        Tongue::V2 => load(V2::default(), &peer, consume, &window).await,
        Tongue::Nats => load(Nats::new(1), &peer, consume, &window).await,
        Tongue::Redis => load(streams::Streams, &peer, consume, &window).await,
        Tongue::Log => load(log::Log, &peer, consume, &window).await,
        Tongue::Iii | Tongue::Http => bail!("it is the same queue as v2"),
    }
}

struct Shared {
    tally: Rc<Tally>,
    consume: bool,
    waiting: Cell<u64>,
    room: Notify,
}

async fn load<B: Broker>(broker: B, peer: &Peer, consume: bool, window: &Window) -> Result<()> {
    let shared = Rc::new(Shared {
        tally: Tally::new()?,
        consume,
        waiting: Cell::new(0),
        room: Notify::new(),
    });
    let mut consumer = broker.open(&peer.at, consume).await?;
    let payload = payload::of_bytes(PAYLOAD_BYTES);
    let mut working = JoinSet::new();
    for index in 0..peer.connections {
        let (broker, payload) = (broker.producer(index), payload.clone());
        let link = broker.connect(&peer.at, index).await?;
        let shared = Rc::clone(&shared);
        working.spawn_local(async move { produce(broker, link, &payload, &shared).await });
    }
    let consuming = async {
        match consume {
            true => take(broker, &mut consumer, &shared).await,
            false => std::future::pending().await,
        }
    };
    let measured = tokio::select! {
        measured = shared.tally.measure(window, &mut working) => measured?,
        ended = consuming => bail!("the consumer ended: {ended:?}"),
    };
    announce(&serde_json::to_string(&measured)?);
    Ok(())
}

async fn produce<B: Broker>(
    broker: B,
    mut link: Link,
    payload: &[u8],
    shared: &Shared,
) -> Result<()> {
    let message = broker.message(payload)?;
    while !shared.tally.is_draining() {
        while shared.consume && shared.waiting.get() >= WAITING_MAX {
            shared.room.notified().await;
        }
        shared.waiting.set(shared.waiting.get() + 1);
        let began = Instant::now();
        link.outgoing.bytes.extend_from_slice(&message);
        link.outgoing.end_of_frame();
        shared.tally.sent(1);
        let receipt = RefCell::new(None);
        while receipt.borrow().is_none() {
            link.step().await?;
            hear(&broker, &mut link, |heard, _| {
                if let Heard::Receipt { good } = heard {
                    *receipt.borrow_mut() = Some(good);
                }
            })?;
        }
        shared.tally.came_back(1);
        if receipt.take() != Some(true) {
            bail!("a message was refused");
        }
        if !shared.consume {
            shared.tally.took(began.elapsed());
            shared.tally.count(1);
        }
    }
    Ok(())
}

async fn take<B: Broker>(broker: B, link: &mut Link, shared: &Shared) -> Result<()> {
    loop {
        link.step().await?;
        let mut taken = 0;
        hear(&broker, link, |heard, out| {
            if let Heard::Message(message) = heard {
                broker.acknowledge(message, out);
                taken += 1;
            }
        })?;
        broker.ask_for_more(&mut link.outgoing.bytes, taken);
        shared.tally.count(taken);
        shared
            .waiting
            .set(shared.waiting.get().saturating_sub(taken));
        shared.room.notify_waiters();
    }
}

/// Everything that was read.
fn hear<B: Broker>(
    broker: &B,
    link: &mut Link,
    mut hear: impl FnMut(Heard<'_>, &mut Vec<u8>),
) -> Result<()> {
    let Link {
        input, outgoing, ..
    } = link;
    let mut taken = 0;
    while let Some(length) = broker.read(&input[taken..], &mut outgoing.bytes, &mut hear)? {
        taken += length;
    }
    let _ = input.split_to(taken);
    Ok(())
}
