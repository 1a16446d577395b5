//! Which channels there are, and who may take their ends.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Weak},
};

use agentos_sdk::{Code, Error};
use dashmap::DashMap;
use parking_lot::Mutex;
use schemars::JsonSchema;
use serde::Serialize;
use subtle::ConstantTimeEq;
use tokio::{sync::Notify, time::Instant};
use tokio_util::sync::CancellationToken;

use super::{Config, Reader, Writer, mint::Mint, pipe};

/// Which end of a channel.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Side {
    Read,
    Write,
}

impl Side {
    pub(crate) fn parse(text: &str) -> Option<Side> {
        match text {
            "read" => Some(Side::Read),
            "write" => Some(Side::Write),
            _ => None,
        }
    }

    fn as_str(self) -> &'static str {
        match self {
            Side::Read => "read",
            Side::Write => "write",
        }
    }
}

/// An end of a channel as it travels in payloads. SDKs know it by these three keys.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, JsonSchema)]
pub(crate) struct Ref {
    pub(crate) channel_id: String,
    pub(crate) access_key: String,
    pub(crate) direction: &'static str,
}

/// An end to be read from or written to.
pub(crate) enum TakenEnd {
    Reader(Reader),
    Writer(Writer),
}

/// What somebody who asks for an end gets.
pub(crate) enum Taken {
    /// There is no such channel, or the key is wrong.
    Unknown,
    /// Somebody else has it.
    Already,
    /// The end; the channel is forgotten when both its ends, and what is beside them, are dropped.
    End(TakenEnd, Option<Arc<Leave>>),
}

/// Ends that are only made when somebody asks for them. See [`Channels::host`].
pub(crate) trait Ends: Send + Sync {
    /// The end of this side, the first time it is asked for.
    fn take(self: Arc<Self>, side: Side) -> Option<TakenEnd>;
}

/// Every channel of the engine.
pub(crate) struct Channels {
    config: Config,
    mint: Mint,
    table: Mutex<Table>,
    /// Channels of HTTP requests: most are never used, so nothing of them is made beforehand.
    hosted: DashMap<u128, HostedRow>,
    /// A channel came when there was none to wait for.
    first: Notify,
}

#[derive(Default)]
struct Table {
    rows: HashMap<u128, Row>,
    /// Channels with an end that nobody has taken, oldest first, and until when they wait.
    untaken: BTreeMap<u64, (Instant, u128)>,
    created: u64,
}

struct Row {
    key: u128,
    /// Its place in [`Table::untaken`].
    place: u64,
    reader: Option<(Reader, Arc<Leave>)>,
    writer: Option<(Writer, Arc<Leave>)>,
}

struct HostedRow {
    /// For reading and for writing.
    keys: [u128; 2],
    ends: Arc<dyn Ends>,
}

/// Held by both ends of a channel; the last one to drop it has the channel forgotten.
pub(crate) struct Leave {
    channels: Weak<Channels>,
    id: u128,
}

impl Drop for Leave {
    fn drop(&mut self) {
        if let Some(channels) = self.channels.upgrade() {
            channels.forget(self.id);
        }
    }
}

/// Keeps hosted ends to be found; dropped, they are not any more. Ends that were taken stay.
pub(crate) struct Hosted {
    channels: Arc<Channels>,
    id: u128,
    keys: [u128; 2],
}

impl Hosted {
    pub(crate) fn reader(&self) -> Ref {
        reference('b', self.id, self.keys[0], Side::Read)
    }

    pub(crate) fn writer(&self) -> Ref {
        reference('r', self.id, self.keys[1], Side::Write)
    }
}

impl Drop for Hosted {
    fn drop(&mut self) {
        self.channels.hosted.remove(&self.id);
    }
}

impl Channels {
    pub(crate) fn new(config: Config) -> Arc<Self> {
        Arc::new(Channels {
            config,
            mint: Mint::new(),
            table: Mutex::default(),
            hosted: DashMap::new(),
            first: Notify::new(),
        })
    }

    /// A channel for `items` items; both its ends, reader first.
    ///
    /// # Errors
    /// `overloaded` when there are too many.
    pub(crate) fn create(self: &Arc<Self>, items: Option<u64>) -> Result<(Ref, Ref), Error> {
        let (writer, reader) = pipe(self.config.bounds(items));
        let [id, key] = self.mint.draw();
        let leave = Arc::new(Leave {
            channels: Arc::downgrade(self),
            id,
        });
        let mut table = self.table.lock();
        if table.rows.len() >= self.config.channels_max {
            drop(table);
            return Err(Error::engine(
                Code::Overloaded,
                format!("there are {} channels already", self.config.channels_max),
            ));
        }
        let place = table.created;
        table.created += 1;
        let none_waited = table.untaken.is_empty();
        let until = Instant::now() + self.config.untaken();
        table.untaken.insert(place, (until, id));
        table.rows.insert(
            id,
            Row {
                key,
                place,
                reader: Some((reader, Arc::clone(&leave))),
                writer: Some((writer, leave)),
            },
        );
        drop(table);
        if none_waited {
            self.first.notify_one();
        }
        Ok((
            reference('c', id, key, Side::Read),
            reference('c', id, key, Side::Write),
        ))
    }

    /// Ids under which `ends` are found as long as the guard lives.
    pub(crate) fn host(self: &Arc<Self>, ends: Arc<dyn Ends>) -> Hosted {
        let [id, reading] = self.mint.draw();
        let [_, writing] = self.mint.draw();
        let keys = [reading, writing];
        self.hosted.insert(id, HostedRow { keys, ends });
        Hosted {
            channels: Arc::clone(self),
            id,
            keys,
        }
    }

    /// The end that `id` and `key` stand for.
    pub(crate) fn take(&self, id: &str, key: &str, side: Side) -> Taken {
        let (Some((kind, id)), Some(key)) = (parse_id(id), parse(key)) else {
            return Taken::Unknown;
        };
        match (kind, side) {
            ('c', side) => self.take_created(id, key, side),
            ('b', Side::Read) | ('r', Side::Write) => self.take_hosted(id, key, side),
            _ => Taken::Unknown,
        }
    }

    fn take_created(&self, id: u128, key: u128, side: Side) -> Taken {
        let mut table = self.table.lock();
        let Some(row) = table.rows.get_mut(&id).filter(|row| same(row.key, key)) else {
            return Taken::Unknown;
        };
        let taken = match side {
            Side::Read => row
                .reader
                .take()
                .map(|(reader, leave)| (TakenEnd::Reader(reader), leave)),
            Side::Write => row
                .writer
                .take()
                .map(|(writer, leave)| (TakenEnd::Writer(writer), leave)),
        };
        let Some((end, leave)) = taken else {
            return Taken::Already;
        };
        if row.reader.is_none() && row.writer.is_none() {
            let place = row.place;
            table.untaken.remove(&place);
        }
        Taken::End(end, Some(leave))
    }

    fn take_hosted(&self, id: u128, key: u128, side: Side) -> Taken {
        let ends = self.hosted.get(&id).and_then(|row| {
            let right = row.keys[usize::from(side == Side::Write)];
            same(right, key).then(|| Arc::clone(&row.ends))
        });
        match ends.map(|ends| ends.take(side)) {
            None => Taken::Unknown,
            Some(None) => Taken::Already,
            Some(Some(end)) => Taken::End(end, None),
        }
    }

    fn forget(&self, id: u128) {
        let mut table = self.table.lock();
        if let Some(row) = table.rows.remove(&id) {
            table.untaken.remove(&row.place);
        }
    }

    /// Ends channels of which an end was never taken. Sleeps while there are none.
    pub(crate) async fn sweep(&self, stop: CancellationToken) {
        loop {
            let due = async {
                match self.expire(Instant::now()) {
                    Some(next) => tokio::time::sleep_until(next).await,
                    None => self.first.notified().await,
                }
            };
            tokio::select! {
                () = due => {}
                () = stop.cancelled() => return,
            }
        }
    }

    /// Ends what has waited long enough, and says when the next will have.
    fn expire(&self, now: Instant) -> Option<Instant> {
        loop {
            let row = {
                let mut table = self.table.lock();
                let first = table.untaken.first_entry()?;
                let (until, id) = *first.get();
                if until > now {
                    return Some(until);
                }
                first.remove();
                table.rows.remove(&id)
            };
            // Outside of the lock: the ends tell their other sides, and come back to be forgotten.
            drop(row);
        }
    }

    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.table.lock().rows.len() + self.hosted.len()
    }
}

fn reference(kind: char, id: u128, key: u128, side: Side) -> Ref {
    Ref {
        channel_id: format!("{kind}{id:032x}"),
        access_key: format!("{key:032x}"),
        direction: side.as_str(),
    }
}

fn parse_id(text: &str) -> Option<(char, u128)> {
    let kind = text.chars().next()?;
    Some((kind, parse(text.strip_prefix(kind)?)?))
}

fn parse(text: &str) -> Option<u128> {
    (text.len() == 32)
        .then(|| u128::from_str_radix(text, 16).ok())
        .flatten()
}

/// Compares in a time that does not tell where they differ.
fn same(a: u128, b: u128) -> bool {
    a.to_be_bytes().ct_eq(&b.to_be_bytes()).into()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::channel::Item;

    fn channels(channels_max: usize) -> Arc<Channels> {
        Channels::new(Config {
            channels_max,
            ..Config::default()
        })
    }

    fn take(channels: &Channels, end: &Ref) -> Taken {
        let side = Side::parse(end.direction).expect("a side");
        channels.take(&end.channel_id, &end.access_key, side)
    }

    fn reader(taken: Taken) -> (Reader, Option<Arc<Leave>>) {
        match taken {
            Taken::End(TakenEnd::Reader(reader), leave) => (reader, leave),
            _ => panic!("no reader"),
        }
    }

    fn writer(taken: Taken) -> (Writer, Option<Arc<Leave>>) {
        match taken {
            Taken::End(TakenEnd::Writer(writer), leave) => (writer, leave),
            _ => panic!("no writer"),
        }
    }

    #[tokio::test]
    async fn each_end_has_one_taker_and_the_last_to_leave_forgets_the_channel() {
        let channels = channels(10);
        let (read, write) = channels.create(None).expect("room");
        let (writer, leave) = writer(take(&channels, &write));
        assert!(matches!(take(&channels, &write), Taken::Already));
        writer.send(Item::Text("a".into())).await.expect("read");
        writer.end();
        drop(leave);
        // What was written waits for a reader that comes later.
        let (reader, leave) = reader(take(&channels, &read));
        assert_eq!(reader.next().await, Some(Item::Text("a".into())));
        assert_eq!(reader.next().await, None);
        assert!(matches!(take(&channels, &read), Taken::Already));
        drop(leave);
        assert!(matches!(take(&channels, &read), Taken::Unknown));
        assert_eq!(
            (channels.len(), channels.table.lock().untaken.len()),
            (0, 0)
        );
    }

    #[test]
    fn wrong_ids_and_keys_find_nothing() {
        let channels = channels(10);
        let (read, _) = channels.create(None).expect("room");
        let (other, _) = channels.create(None).expect("room");
        let rows = [
            (read.channel_id.as_str(), other.access_key.as_str()),
            (read.channel_id.as_str(), ""),
            (read.channel_id.as_str(), "+0000000000000000000000000000000"),
            ("", read.access_key.as_str()),
            ("c", read.access_key.as_str()),
            ("éé", read.access_key.as_str()),
            (&read.channel_id[1..], read.access_key.as_str()),
        ];
        for (id, key) in rows {
            assert!(
                matches!(channels.take(id, key, Side::Read), Taken::Unknown),
                "{id} {key}"
            );
        }
        let hosted = read.channel_id.replace('c', "b");
        assert!(matches!(
            channels.take(&hosted, &read.access_key, Side::Read),
            Taken::Unknown
        ));
    }

    #[test]
    fn too_many_are_refused_until_one_goes() {
        let channels = channels(1);
        let (read, write) = channels.create(Some(1)).expect("room");
        let refused = channels.create(None).expect_err("no room");
        assert_eq!(refused.code, Code::Overloaded);
        drop((take(&channels, &read), take(&channels, &write)));
        channels.create(None).expect("room again");
    }

    #[tokio::test(start_paused = true)]
    async fn a_channel_that_nobody_takes_ends_in_time_and_others_stay() {
        let channels = channels(10);
        let stop = CancellationToken::new();
        let sweeping = {
            let (channels, stop) = (Arc::clone(&channels), stop.clone());
            tokio::spawn(async move { channels.sweep(stop).await })
        };
        tokio::time::sleep(Duration::from_secs(1)).await;
        let (read, _) = channels.create(None).expect("room");
        let (half, _leave) = reader(take(&channels, &read));
        tokio::time::sleep(Duration::from_secs(200)).await;
        let (read, write) = channels.create(None).expect("room");
        let both = (take(&channels, &read), take(&channels, &write));
        let (late, _) = channels.create(None).expect("room");
        tokio::time::sleep(Duration::from_secs(101)).await;
        // The one whose writer never came: its reader sees the end.
        assert_eq!(half.next().await, None);
        assert_eq!(channels.len(), 2);
        tokio::time::sleep(Duration::from_secs(200)).await;
        assert!(matches!(take(&channels, &late), Taken::Unknown));
        assert!(matches!(take(&channels, &read), Taken::Already));
        drop(both);
        assert_eq!(channels.len(), 0);
        stop.cancel();
        sweeping.await.expect("stopped");
    }

    #[test]
    fn hosted_ends_are_made_when_asked_for_and_only_while_hosted() {
        struct Never;
        impl Ends for Never {
            fn take(self: Arc<Self>, side: Side) -> Option<TakenEnd> {
                (side == Side::Read).then(|| TakenEnd::Reader(super::super::filled("x".into())))
            }
        }
        let channels = channels(10);
        let hosted = channels.host(Arc::new(Never));
        let (read, write) = (hosted.reader(), hosted.writer());
        assert_ne!(read.access_key, write.access_key);
        assert!(matches!(take(&channels, &read), Taken::End(..)));
        assert!(matches!(take(&channels, &write), Taken::Already));
        let crossed = channels.take(&read.channel_id, &read.access_key, Side::Write);
        assert!(matches!(crossed, Taken::Unknown));
        drop(hosted);
        assert!(matches!(take(&channels, &read), Taken::Unknown));
        assert_eq!(channels.len(), 0);
    }
}
