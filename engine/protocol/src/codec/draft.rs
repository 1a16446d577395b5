//! Messages being written: text in one growing buffer, large bodies beside it.

use std::ops::Range;

use bytes::Bytes;

use crate::PayloadView;

/// From this size on a payload is not copied into the text but sent from where it lies.
///
/// Below it, copying is cheaper than another element of a vectored write.
pub const BODY_BYTES_MIN: usize = 16 << 10;

/// See the module.
#[derive(Debug, Default)]
pub struct Draft {
    text: Vec<u8>,
    /// Bodies and the place in `text` that each stands before.
    bodies: Vec<(usize, Bytes)>,
    body_bytes: usize,
    /// Everything is to be in the text.
    flat: bool,
}

/// A place in a draft to come back to.
#[derive(Clone, Copy, Debug)]
pub struct Mark {
    text: usize,
    bodies: usize,
    body_bytes: usize,
}

impl Mark {
    /// Where it is in the text.
    pub fn text_at(self) -> usize {
        self.text
    }
}

impl Draft {
    /// A draft that is one piece of text whatever it is given: for whoever has to change it all.
    pub fn flat() -> Self {
        Draft {
            flat: true,
            ..Draft::default()
        }
    }

    pub fn put(&mut self, text: impl AsRef<[u8]>) {
        self.text.extend_from_slice(text.as_ref());
    }

    pub fn put_payload(&mut self, payload: PayloadView<'_>) {
        if payload.bytes.len() < BODY_BYTES_MIN || self.flat {
            self.put(payload.bytes);
        } else {
            self.put_body(payload.to_bytes());
        }
    }

    /// Puts bytes that are not copied.
    pub fn put_body(&mut self, body: Bytes) {
        self.body_bytes += body.len();
        self.bodies.push((self.text.len(), body));
    }

    /// Puts what `from` has in `range`; large bodies are shared, not copied.
    pub fn put_range(&mut self, from: &Draft, range: Range<usize>) {
        let (mut at, mut text_at) = (0, 0);
        for (body_at, body) in &from.bodies {
            let text = &from.text[text_at..*body_at];
            self.put(within(text, &mut at, &range));
            let piece = within(body, &mut at, &range);
            if piece.len() < BODY_BYTES_MIN || self.flat {
                self.put(piece);
            } else {
                self.put_body(body.slice_ref(piece));
            }
            text_at = *body_at;
        }
        self.put(within(&from.text[text_at..], &mut at, &range));
    }

    /// Takes what came after `mark` and `skip` bytes out, as a draft of its own.
    pub fn split_off(&mut self, mark: Mark, skip: usize) -> Draft {
        let text_at = mark.text + skip;
        let bodies = self.bodies.drain(mark.bodies..);
        let apart = Draft {
            text: self.text[text_at..].to_vec(),
            bodies: bodies.map(|(at, body)| (at - text_at, body)).collect(),
            body_bytes: self.body_bytes - mark.body_bytes,
            flat: false,
        };
        self.rewind(mark);
        apart
    }

    /// Bytes of it all.
    pub fn len(&self) -> usize {
        self.text.len() + self.body_bytes
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub fn text(&self) -> &[u8] {
        &self.text
    }

    pub fn text_mut(&mut self) -> &mut Vec<u8> {
        &mut self.text
    }

    pub fn bodies(&self) -> &[(usize, Bytes)] {
        &self.bodies
    }

    pub fn mark(&self) -> Mark {
        Mark {
            text: self.text.len(),
            bodies: self.bodies.len(),
            body_bytes: self.body_bytes,
        }
    }

    /// Bytes since `mark`.
    pub fn len_since(&self, mark: Mark) -> usize {
        self.len() - mark.text - mark.body_bytes
    }

    /// Forgets what came after `mark`.
    pub fn rewind(&mut self, mark: Mark) {
        self.text.truncate(mark.text);
        self.bodies.truncate(mark.bodies);
        self.body_bytes = mark.body_bytes;
    }

    /// Puts `head` in the place of the `room` bytes of text that follow `mark`.
    pub fn set_head(&mut self, mark: Mark, room: usize, head: &[u8]) {
        if head.len() == room {
            self.text[mark.text..mark.text + room].copy_from_slice(head);
            return;
        }
        self.text
            .splice(mark.text..mark.text + room, head.iter().copied());
        for (at, _) in &mut self.bodies[mark.bodies..] {
            *at = *at + head.len() - room;
        }
    }

    /// Takes out what came after `mark`, in one piece.
    pub fn cut(&mut self, mark: Mark) -> Vec<u8> {
        let mut all = Vec::with_capacity(self.len_since(mark));
        let mut from = mark.text;
        for (at, body) in &self.bodies[mark.bodies..] {
            all.extend_from_slice(&self.text[from..*at]);
            all.extend_from_slice(body);
            from = *at;
        }
        all.extend_from_slice(&self.text[from..]);
        self.rewind(mark);
        all
    }

    /// Everything in one piece.
    pub fn into_bytes(mut self) -> Bytes {
        if self.bodies.is_empty() {
            return self.text.into();
        }
        let start = Mark {
            text: 0,
            bodies: 0,
            body_bytes: 0,
        };
        self.cut(start).into()
    }

    /// Empties it. Keeps the text's memory up to `bytes_max`.
    pub fn clear(&mut self, bytes_max: usize) {
        self.text.clear();
        self.bodies.clear();
        self.body_bytes = 0;
        if self.text.capacity() > bytes_max {
            self.text = Vec::new();
            self.bodies = Vec::new();
        }
    }

    /// Puts what `first` holds before everything else.
    pub fn prepend(&mut self, mut first: Draft) {
        let by = first.text.len();
        first.text.extend_from_slice(&self.text);
        first
            .bodies
            .extend(self.bodies.drain(..).map(|(at, body)| (at + by, body)));
        first.body_bytes += self.body_bytes;
        first.flat = self.flat;
        *self = first;
    }
}

/// What of `piece`, which begins `at` bytes into the whole, is in `range`; `at` moves behind it.
fn within<'a>(piece: &'a [u8], at: &mut usize, range: &Range<usize>) -> &'a [u8] {
    let start = range.start.saturating_sub(*at).min(piece.len());
    let end = range.end.saturating_sub(*at).min(piece.len());
    *at += piece.len();
    &piece[start..end]
}
