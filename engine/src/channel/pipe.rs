//! One pipe: a bounded queue of items with one writer and one reader.

use std::{
    collections::VecDeque,
    future::poll_fn,
    sync::Arc,
    task::{Context, Poll, Waker},
};

use bytes::Bytes;
use parking_lot::Mutex;
use tokio_tungstenite::tungstenite::Utf8Bytes;

/// Bytes in the pieces into which SDKs cut what they send, and we what we send to them.
pub(crate) const CHUNK_BYTES: usize = 64 << 10;

/// How much may wait in a pipe.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    pub(crate) items: usize,
    /// One item larger than this still fits into an empty pipe.
    pub(crate) bytes: usize,
}

/// What goes through a pipe.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Item {
    Text(Utf8Bytes),
    Binary(Bytes),
}

impl Item {
    fn len(&self) -> usize {
        match self {
            Item::Text(text) => text.len(),
            Item::Binary(bytes) => bytes.len(),
        }
    }
}

/// How the writer ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum End {
    /// It said that this was all.
    Clean,
    /// It went away.
    Cut,
}

/// The reader is gone; nobody will take what is written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Gone;

struct State {
    items: VecDeque<Item>,
    bytes: usize,
    end: Option<End>,
    reader_gone: bool,
    writer: Option<Waker>,
    reader: Option<Waker>,
}

struct Shared {
    state: Mutex<State>,
    bounds: Bounds,
}

/// The end that is written to. Dropped without [`Writer::end`], the pipe ends as [`End::Cut`].
pub(crate) struct Writer(Arc<Shared>);

/// The end that is read from. Dropped, what waits is dropped with it and the writer is told.
pub(crate) struct Reader(Arc<Shared>);

/// A pipe.
pub(crate) fn pipe(bounds: Bounds) -> (Writer, Reader) {
    let shared = Arc::new(Shared {
        state: Mutex::new(State {
            items: VecDeque::new(),
            bytes: 0,
            end: None,
            reader_gone: false,
            writer: None,
            reader: None,
        }),
        bounds,
    });
    (Writer(Arc::clone(&shared)), Reader(shared))
}

/// The reader of a pipe through which `bytes` went, and then the end. Nothing is copied.
pub(crate) fn filled(mut bytes: Bytes) -> Reader {
    let (writer, reader) = pipe(Bounds { items: 0, bytes: 0 });
    {
        let mut state = writer.0.state.lock();
        while !bytes.is_empty() {
            let piece = bytes.split_to(bytes.len().min(CHUNK_BYTES));
            state.bytes += piece.len();
            state.items.push_back(Item::Binary(piece));
        }
    }
    writer.end();
    reader
}

impl Writer {
    /// Ready when there is room for an item, of any size, or when the reader is gone.
    pub(crate) fn poll_room(&self, context: &mut Context<'_>) -> Poll<Result<(), Gone>> {
        let mut state = self.0.state.lock();
        if state.reader_gone {
            return Poll::Ready(Err(Gone));
        }
        let bounds = self.0.bounds;
        if state.items.is_empty()
            || (state.items.len() < bounds.items && state.bytes < bounds.bytes)
        {
            return Poll::Ready(Ok(()));
        }
        remember(&mut state.writer, context);
        Poll::Pending
    }

    /// Ready when the reader is gone.
    pub(crate) fn poll_gone(&self, context: &mut Context<'_>) -> Poll<()> {
        let mut state = self.0.state.lock();
        if state.reader_gone {
            return Poll::Ready(());
        }
        remember(&mut state.writer, context);
        Poll::Pending
    }

    /// Adds an item without asking for room: who reads from a socket learns the size too late.
    pub(crate) fn push(&self, item: Item) -> Result<(), Gone> {
        let reader = {
            let mut state = self.0.state.lock();
            if state.reader_gone {
                return Err(Gone);
            }
            state.bytes += item.len();
            state.items.push_back(item);
            state.reader.take()
        };
        wake(reader);
        Ok(())
    }

    /// Waits for room, then adds.
    #[cfg(test)]
    pub(crate) async fn send(&self, item: Item) -> Result<(), Gone> {
        poll_fn(|context| self.poll_room(context)).await?;
        self.push(item)
    }

    /// This was all.
    pub(crate) fn end(self) {
        self.finish(End::Clean);
    }

    fn finish(&self, end: End) {
        let reader = {
            let mut state = self.0.state.lock();
            state.end.get_or_insert(end);
            state.reader.take()
        };
        wake(reader);
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.finish(End::Cut);
    }
}

impl Reader {
    /// The next item; `None` when everything was read and the writer has ended.
    pub(crate) fn poll_next(&self, context: &mut Context<'_>) -> Poll<Option<Item>> {
        let (item, writer) = {
            let mut state = self.0.state.lock();
            let Some(item) = state.items.pop_front() else {
                if state.end.is_some() {
                    return Poll::Ready(None);
                }
                remember(&mut state.reader, context);
                return Poll::Pending;
            };
            state.bytes -= item.len();
            (item, state.writer.take())
        };
        wake(writer);
        Poll::Ready(Some(item))
    }

    pub(crate) async fn next(&self) -> Option<Item> {
        poll_fn(|context| self.poll_next(context)).await
    }

    /// How the writer ended, once it has.
    pub(crate) fn ended(&self) -> Option<End> {
        self.0.state.lock().end
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        let (items, writer) = {
            let mut state = self.0.state.lock();
            state.reader_gone = true;
            state.bytes = 0;
            (std::mem::take(&mut state.items), state.writer.take())
        };
        drop(items);
        wake(writer);
    }
}

/// An end has one task at a time, so one waker is enough.
fn remember(slot: &mut Option<Waker>, context: &Context<'_>) {
    match slot {
        Some(waker) => waker.clone_from(context.waker()),
        None => *slot = Some(context.waker().clone()),
    }
}

fn wake(waker: Option<Waker>) {
    if let Some(waker) = waker {
        waker.wake();
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    fn binary(bytes: usize) -> Item {
        Item::Binary(vec![0; bytes].into())
    }

    fn full(writer: &Writer) -> bool {
        poll_fn(|context| writer.poll_room(context))
            .now_or_never()
            .is_none()
    }

    #[tokio::test]
    async fn items_keep_kind_and_order_and_end_after_the_last() {
        let (writer, reader) = pipe(Bounds {
            items: 8,
            bytes: 1000,
        });
        let items = [
            Item::Text("a".into()),
            binary(3),
            Item::Text(String::new().into()),
            binary(0),
        ];
        for item in items.clone() {
            writer.send(item).await.expect("read");
        }
        writer.end();
        for item in items {
            assert_eq!(reader.next().await, Some(item));
        }
        assert_eq!(
            (reader.next().await, reader.ended()),
            (None, Some(End::Clean))
        );
    }

    #[test]
    fn room_ends_by_count_or_by_bytes_but_one_item_always_fits() {
        let rows = [
            (3, 1000, vec![1, 1], false),
            (3, 1000, vec![1, 1, 1], true),
            (1000, 10, vec![5, 4], false),
            (1000, 10, vec![5, 5], true),
            (1, 1, vec![], false),
            (1000, 10, vec![5000], true),
        ];
        for (items, bytes, sizes, expect) in rows {
            let (writer, _reader) = pipe(Bounds { items, bytes });
            for size in &sizes {
                writer.push(binary(*size)).expect("read");
            }
            assert_eq!(
                full(&writer),
                expect,
                "{items} items, {bytes} bytes, {sizes:?}"
            );
        }
    }

    #[tokio::test]
    async fn a_full_pipe_holds_its_writer_until_something_is_read() {
        let (writer, reader) = pipe(Bounds {
            items: 1,
            bytes: 1000,
        });
        writer.push(binary(1)).expect("read");
        let waiting = tokio::spawn(async move {
            writer.send(binary(2)).await.expect("read");
            writer
        });
        tokio::task::yield_now().await;
        assert!(!waiting.is_finished());
        assert_eq!(reader.next().await, Some(binary(1)));
        let writer = waiting.await.expect("sent");
        assert_eq!(reader.next().await, Some(binary(2)));
        drop(writer);
        assert_eq!(
            (reader.next().await, reader.ended()),
            (None, Some(End::Cut))
        );
    }

    #[tokio::test]
    async fn a_reader_that_leaves_is_noticed_and_takes_what_waits_with_it() {
        let (writer, reader) = pipe(Bounds {
            items: 1,
            bytes: 1000,
        });
        let held = Bytes::from(vec![0; 100]);
        writer.push(Item::Binary(held.clone())).expect("read");
        let gone = tokio::spawn(async move {
            poll_fn(|context| writer.poll_gone(context)).await;
            writer
        });
        tokio::task::yield_now().await;
        drop(reader);
        let writer = gone.await.expect("noticed");
        assert_eq!(writer.send(binary(1)).await, Err(Gone));
        assert!(held.is_unique());
    }

    #[tokio::test]
    async fn bytes_become_a_pipe_in_pieces() {
        let bytes = Bytes::from((0..200_000).map(|n: u32| n as u8).collect::<Vec<_>>());
        let reader = filled(bytes.clone());
        let mut read = Vec::new();
        while let Some(Item::Binary(piece)) = reader.next().await {
            assert!(piece.len() <= CHUNK_BYTES);
            read.extend_from_slice(&piece);
        }
        assert_eq!((&bytes[..], reader.ended()), (&read[..], Some(End::Clean)));
        assert_eq!(filled(Bytes::new()).next().await, None);
    }
}
