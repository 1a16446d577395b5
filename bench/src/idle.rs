//! The role that is there and does nothing: workers with functions that nobody calls.

use std::{cell::Cell, rc::Rc, time::Duration};

use anyhow::Result;

use crate::{
    args::Crowd,
    dialect::{Dialect, End, Heard, Place},
    link::Link,
    role::{announce, end_with_parent},
};

/// Connects all, says so, and says again after a while how many are still connected.
pub(crate) async fn run<D: Dialect>(crowd: Crowd, dialect: impl Fn(usize) -> D) -> Result<()> {
    end_with_parent();
    let place = Place {
        address: crowd.at,
        bare: false,
    };
    let connected = Rc::new(Cell::new(0_usize));
    for index in 0..crowd.connections {
        let dialect = dialect(index);
        let mut end = End::new("idle", index);
        end.offers = (0..crowd.functions)
            .map(|function| format!("idle{index}::function{function}"))
            .collect();
        let link = dialect.open(&place, &end).await?;
        connected.set(connected.get() + 1);
        let connected = Rc::clone(&connected);
        tokio::task::spawn_local(async move {
            let ended = stay(link, dialect).await;
            connected.set(connected.get() - 1);
            ended
        });
    }
    announce("ready");
    tokio::time::sleep(Duration::from_secs_f64(crowd.hold_seconds)).await;
    announce(&connected.get().to_string());
    std::future::pending().await
}

async fn stay<D: Dialect>(mut link: Link, dialect: D) -> Result<()> {
    // One read a ping: the room for it need not stay.
    loop {
        link.step().await?;
        let mut taken = 0;
        while let Some((length, heard)) = dialect.parse(&link.input[taken..])? {
            taken += length;
            if let Heard::Ping(ping) = heard {
                dialect.pong(ping, &mut link.outgoing.bytes);
            }
        }
        let _ = link.input.split_to(taken);
    }
}
