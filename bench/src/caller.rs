//! The role that calls and measures: each connection keeps so many calls in flight.

use std::{rc::Rc, time::Instant};

use anyhow::{Result, bail};
use tokio::task::JoinSet;

use crate::{
    args::{Fire, Load, Peer, Window},
    dialect::{Dialect, End, Heard, Template},
    link::{Link, Outgoing},
    payload,
    role::{announce, end_with_parent},
    tally::Tally,
};

/// The low bits of a call's number say which of the calls in flight it is.
const SLOT_BITS: u32 = 12;
/// Numbers have 36 bits.
const TURN_MASK: u64 = (1 << 24) - 1;

pub(crate) async fn run<D: Dialect>(
    peer: Peer,
    load: Load,
    window: Window,
    dialect: impl Fn(usize) -> D,
) -> Result<()> {
    end_with_parent();
    if load.in_flight >= 1 << SLOT_BITS {
        bail!("at most {} calls in flight", (1 << SLOT_BITS) - 1);
    }
    let tally = Tally::new()?;
    let payload = payload::of_bytes(load.payload_bytes);
    let mut calling = JoinSet::new();
    for index in 0..peer.connections {
        let dialect = dialect(index);
        let mut end = End::new("caller", index);
        if peer.fire.is_some() {
            end.offers.push(format!("bench::ack{index}"));
        }
        let mut link = dialect.open(&peer.place(), &end).await?;
        if peer.write_each_frame {
            link.write_each_frame();
        }
        let target = if load.one_callee { 0 } else { index };
        let function = format!("bench::echo{target}");
        let mut caller = Caller {
            template: dialect.call(&function, &payload, peer.fire.is_some())?,
            dialect,
            tally: Rc::clone(&tally),
            turn: 0,
            began: vec![Instant::now(); load.in_flight],
        };
        calling.spawn_local(async move {
            match peer.fire {
                None => caller.call(link).await,
                Some(fire) => caller.fire(link, fire).await,
            }
        });
    }
    let measured = tally.measure(&window, &mut calling).await?;
    announce(&serde_json::to_string(&measured)?);
    Ok(())
}

struct Caller<D> {
    dialect: D,
    template: Template,
    tally: Rc<Tally>,
    turn: u64,
    /// When the call of each slot was sent.
    began: Vec<Instant>,
}

impl<D: Dialect> Caller<D> {
    fn send(&mut self, slot: usize, now: Instant, outgoing: &mut Outgoing) {
        self.turn = (self.turn + 1) & TURN_MASK;
        let number = self.turn << SLOT_BITS | (slot as u64 + 1);
        self.began[slot] = now;
        self.dialect
            .write_call(&self.template, number, &mut outgoing.bytes);
        outgoing.end_of_frame();
    }

    async fn call(&mut self, mut link: Link) -> Result<()> {
        let now = Instant::now();
        for slot in 0..self.began.len() {
            self.send(slot, now, &mut link.outgoing);
        }
        let mut in_flight = self.began.len();
        self.tally.sent(in_flight as u64);
        while in_flight > 0 {
            link.step().await?;
            let Link {
                input, outgoing, ..
            } = &mut link;
            let now = Instant::now();
            let (mut taken, mut replies) = (0, 0);
            while let Some((length, heard)) = self.dialect.parse(&input[taken..])? {
                taken += length;
                match heard {
                    Heard::Reply { number, good } => {
                        replies += 1;
                        let slot = (number as usize & ((1 << SLOT_BITS) - 1)).wrapping_sub(1);
                        let Some(began) = self.began.get(slot) else {
                            bail!("a reply to a call that was not made");
                        };
                        if !good {
                            self.tally.failed();
                        }
                        self.tally.took(now.duration_since(*began));
                        if self.tally.is_draining() {
                            in_flight -= 1;
                            self.tally.came_back(1);
                        } else {
                            self.send(slot, now, outgoing);
                        }
                    }
                    Heard::Ping(ping) => self.dialect.pong(ping, &mut outgoing.bytes),
                    Heard::Call { .. } | Heard::Other(_) => {}
                }
            }
            let _ = input.split_to(taken);
            self.tally.count(replies);
        }
        Ok(())
    }

    /// Void calls, so many ahead of what the callee has acknowledged.
    async fn fire(&mut self, mut link: Link, fire: Fire) -> Result<()> {
        let every = fire.acknowledge_every;
        let now = Instant::now();
        for _ in 0..fire.window {
            self.send(0, now, &mut link.outgoing);
        }
        let mut ahead = fire.window;
        self.tally.sent(ahead);
        while ahead >= every {
            link.step().await?;
            let Link {
                input, outgoing, ..
            } = &mut link;
            let mut taken = 0;
            while let Some((length, heard)) = self.dialect.parse(&input[taken..])? {
                taken += length;
                match heard {
                    Heard::Call { reply_to, .. } => {
                        if !reply_to.is_empty() {
                            self.dialect.answer(reply_to, None, &mut outgoing.bytes);
                            outgoing.end_of_frame();
                        }
                        self.tally.count(every);
                        if self.tally.is_draining() {
                            ahead -= every;
                            self.tally.came_back(every);
                        } else {
                            for _ in 0..every {
                                self.send(0, now, outgoing);
                            }
                        }
                    }
                    Heard::Ping(ping) => self.dialect.pong(ping, &mut outgoing.bytes),
                    Heard::Reply { .. } => self.tally.failed(),
                    Heard::Other(_) => {}
                }
            }
            self.dialect.end_of_read(&mut outgoing.bytes);
            let _ = input.split_to(taken);
        }
        Ok(())
    }
}
