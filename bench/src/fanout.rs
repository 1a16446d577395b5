//! The role that publishes to many subscribers and measures when they hear it. Both ends are one
//! process: how far ahead the publisher is, and how long a delivery took, is known without asking.

use std::{
    cell::{Cell, RefCell},
    rc::Rc,
    time::{Duration, Instant},
};

use anyhow::{Result, bail};
use tokio::{sync::Notify, task::JoinSet};

use crate::{
    args::{Peer, Spread, Window},
    dialect::{Bind, Dialect, End, Heard},
    link::Link,
    payload,
    role::{announce, end_with_parent},
    tally::Tally,
};

const TOPIC: &str = "bench.topic";

/// While subscriptions come into force, this often somebody asks whether they are.
const GREETING: Duration = Duration::from_millis(20);

/// The number of a message that only asks who is there.
const NOBODY: u64 = 0;

/// Messages on their way, by number.
const RING: usize = 1024;

struct Shared {
    tally: Rc<Tally>,
    subscribers: usize,
    /// Subscribers that have heard anything yet.
    greeted: Cell<usize>,
    ring: RefCell<Vec<Message>>,
    /// Messages that all have heard.
    complete: Cell<u64>,
    progress: Notify,
}

#[derive(Clone)]
struct Message {
    sent: Instant,
    heard_by: usize,
}

pub(crate) async fn run<D: Dialect>(
    peer: Peer,
    spread: Spread,
    window: Window,
    dialect: impl Fn(usize) -> D,
) -> Result<()> {
    end_with_parent();
    let shared = Rc::new(Shared {
        tally: Tally::new()?,
        subscribers: peer.connections,
        greeted: Cell::new(0),
        ring: RefCell::new(vec![
            Message {
                sent: Instant::now(),
                heard_by: 0
            };
            RING
        ]),
        complete: Cell::new(0),
        progress: Notify::new(),
    });
    let mut listening = JoinSet::new();
    for index in 0..peer.connections {
        let dialect = dialect(index);
        let mut end = End::new("subscriber", index);
        end.offers.push(format!("bench::hear{index}"));
        end.bind = Some(Bind::Topic(TOPIC.to_owned()));
        let link = dialect.open(&peer.place(), &end).await?;
        let shared = Rc::clone(&shared);
        listening.spawn_local(async move { listen(link, dialect, &shared).await });
    }
    let dialect = dialect(peer.connections);
    let end = End::new("publisher", 0);
    let mut link = dialect.open(&peer.place(), &end).await?;
    let message = Numbered::new(dialect.publish(TOPIC, &payload::of_bytes(spread.payload_bytes))?);

    while shared.greeted.get() < shared.subscribers {
        message.write(NOBODY, &mut link.outgoing.bytes);
        // Whatever comes is dropped; what waits is written.
        if let Ok(stepped) = tokio::time::timeout(GREETING, link.step()).await {
            stepped?;
            while let Some((length, _)) = dialect.parse(&link.input)? {
                let _ = link.input.split_to(length);
            }
        }
    }
    let publisher = {
        let shared = Rc::clone(&shared);
        async move { publish(link, dialect, message, spread.ahead, &shared).await }
    };
    let mut publishing = JoinSet::new();
    publishing.spawn_local(publisher);
    let measured = tokio::select! {
        measured = shared.tally.measure(&window, &mut publishing) => measured?,
        ended = listening.join_next() => bail!("a subscriber ended: {ended:?}"),
    };
    announce(&serde_json::to_string(&measured)?);
    Ok(())
}

/// A message to be published again and again with another number.
struct Numbered {
    bytes: Vec<u8>,
    at: usize,
}

impl Numbered {
    fn new(bytes: Vec<u8>) -> Self {
        let start = payload::of_bytes(0);
        let start = &start[..payload::NUMBER.end];
        let at = memchr::memmem::find(&bytes, start).unwrap_or_default() + payload::NUMBER.start;
        Numbered { bytes, at }
    }

    fn write(&self, number: u64, out: &mut Vec<u8>) {
        let start = out.len() + self.at;
        out.extend_from_slice(&self.bytes);
        payload::write_hex(number, &mut out[start..start + payload::NUMBER.len()]);
    }
}

async fn publish<D: Dialect>(
    mut link: Link,
    dialect: D,
    message: Numbered,
    ahead: u64,
    shared: &Shared,
) -> Result<()> {
    let mut sent = 0;
    loop {
        let now = Instant::now();
        while sent < shared.complete.get() + ahead && !shared.tally.is_draining() {
            sent += 1;
            shared.ring.borrow_mut()[sent as usize % RING] = Message {
                sent: now,
                heard_by: 0,
            };
            shared.tally.sent(shared.subscribers as u64);
            message.write(sent, &mut link.outgoing.bytes);
            link.outgoing.end_of_frame();
        }
        if shared.tally.is_draining() && shared.complete.get() == sent {
            return Ok(());
        }
        tokio::select! {
            () = shared.progress.notified() => {}
            stepped = link.step() => {
                stepped?;
                let Link { input, outgoing, .. } = &mut link;
                let mut taken = 0;
                while let Some((length, heard)) = dialect.parse(&input[taken..])? {
                    taken += length;
                    if let Heard::Ping(ping) = heard {
                        dialect.pong(ping, &mut outgoing.bytes);
                    }
                }
                let _ = input.split_to(taken);
            }
        }
    }
}

async fn listen<D: Dialect>(mut link: Link, dialect: D, shared: &Shared) -> Result<()> {
    let mut greeted = false;
    loop {
        link.step().await?;
        let Link {
            input, outgoing, ..
        } = &mut link;
        let now = Instant::now();
        let mut taken = 0;
        while let Some((length, heard)) = dialect.parse(&input[taken..])? {
            taken += length;
            match heard {
                Heard::Call { reply_to, payload } => {
                    if !reply_to.is_empty() {
                        dialect.answer(reply_to, None, &mut outgoing.bytes);
                        outgoing.end_of_frame();
                    }
                    let number =
                        payload::read_hex(payload.get(payload::NUMBER).unwrap_or_default());
                    if number == NOBODY {
                        if !std::mem::replace(&mut greeted, true) {
                            shared.greeted.set(shared.greeted.get() + 1);
                        }
                        continue;
                    }
                    let message = &mut shared.ring.borrow_mut()[number as usize % RING];
                    message.heard_by += 1;
                    shared.tally.took(now.duration_since(message.sent));
                    shared.tally.count(1);
                    shared.tally.came_back(1);
                    if message.heard_by == shared.subscribers {
                        shared.complete.set(shared.complete.get() + 1);
                        shared.progress.notify_one();
                    }
                }
                Heard::Ping(ping) => dialect.pong(ping, &mut outgoing.bytes),
                Heard::Reply { .. } | Heard::Other(_) => {}
            }
        }
        dialect.end_of_read(&mut outgoing.bytes);
        let _ = input.split_to(taken);
    }
}
