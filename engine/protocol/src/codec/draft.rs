//! Messages being written: text in one growing buffer, large bodies beside it.

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
