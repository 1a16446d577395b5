//! WebSocket frames (RFC 6455 §5), read from and written into plain buffers.
//!
//! Our own because this is the call path: a library's message at a time, each with its own
//! allocation, copy and state machine, costs more than routing does (`cargo xtask bench`, relay
//! against engine). The handshake stays with tokio-tungstenite.

use agentos_protocol::codec::{Draft, Mark};

/// Longest header: two bytes, a length of eight, a mask of four.
const HEADER_BYTES_MAX: usize = 14;

/// Control frames have at most so many bytes of payload (§5.5).
pub(crate) const CONTROL_BYTES_MAX: usize = 125;

/// Room that [`begin`] leaves for a header: enough for messages between 126 bytes and 64 KiB.
pub(crate) const ROOM: usize = 4;

/// Which end of the connection this is: clients mask what they send, servers do not (§5.3).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Role {
    Server,
    Client,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Opcode {
    Continue,
    Text,
    Binary,
    Close,
    Ping,
    Pong,
}

impl Opcode {
    fn parse(bits: u8) -> Option<Self> {
        Some(match bits {
            0 => Opcode::Continue,
            1 => Opcode::Text,
            2 => Opcode::Binary,
            8 => Opcode::Close,
            9 => Opcode::Ping,
            10 => Opcode::Pong,
            _ => return None,
        })
    }

    fn bits(self) -> u8 {
        match self {
            Opcode::Continue => 0,
            Opcode::Text => 1,
            Opcode::Binary => 2,
            Opcode::Close => 8,
            Opcode::Ping => 9,
            Opcode::Pong => 10,
        }
    }

    pub(crate) fn is_control(self) -> bool {
        matches!(self, Opcode::Close | Opcode::Ping | Opcode::Pong)
    }
}

/// The header of one frame.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Header {
    pub(crate) opcode: Opcode,
    pub(crate) is_last: bool,
    pub(crate) mask: Option<[u8; 4]>,
    /// Bytes of the header itself.
    pub(crate) bytes: usize,
    /// Bytes of the payload that follows.
    pub(crate) len: u64,
}

impl Header {
    /// Reads the header that `bytes` begin with; `None` when it has not all come.
    ///
    /// # Errors
    /// What the peer, whose frames are those to `role`, did wrong.
    pub(crate) fn parse(bytes: &[u8], role: Role) -> Result<Option<Self>, &'static str> {
        let [first, second, ..] = *bytes else {
            return Ok(None);
        };
        if first & 0x70 != 0 {
            return Err("a frame uses an extension that was not agreed on");
        }
        let opcode = Opcode::parse(first & 0x0f).ok_or("a frame has an unknown opcode")?;
        let is_last = first & 0x80 != 0;
        let is_masked = second & 0x80 != 0;
        match (role, is_masked) {
            (Role::Server, false) => return Err("a client's frame is not masked"),
            (Role::Client, true) => return Err("a server's frame is masked"),
            _ => {}
        }
        let (len, mut at) = match second & 0x7f {
            126 => match bytes.get(2..4) {
                Some(len) => (u64::from(u16::from_be_bytes([len[0], len[1]])), 4),
                None => return Ok(None),
            },
            127 => match bytes.get(2..).and_then(|rest| rest.first_chunk::<8>()) {
                Some(len) => (u64::from_be_bytes(*len), 10),
                None => return Ok(None),
            },
            len => (u64::from(len), 2),
        };
        if opcode.is_control() && (!is_last || len > CONTROL_BYTES_MAX as u64) {
            return Err("a control frame is too long or in fragments");
        }
        let mask = if is_masked {
            let Some(mask) = bytes.get(at..).and_then(|rest| rest.first_chunk::<4>()) else {
                return Ok(None);
            };
            at += 4;
            Some(*mask)
        } else {
            None
        };
        Ok(Some(Header {
            opcode,
            is_last,
            mask,
            bytes: at,
            len,
        }))
    }

    fn write(self) -> ([u8; HEADER_BYTES_MAX], usize) {
        let mut head = [0; HEADER_BYTES_MAX];
        head[0] = self.opcode.bits() | if self.is_last { 0x80 } else { 0 };
        let mut at = match self.len {
            len @ 0..126 => {
                head[1] = len as u8;
                2
            }
            len @ 126..0x1_0000 => {
                head[1] = 126;
                head[2..4].copy_from_slice(&(len as u16).to_be_bytes());
                4
            }
            len => {
                head[1] = 127;
                head[2..10].copy_from_slice(&len.to_be_bytes());
                10
            }
        };
        if let Some(mask) = self.mask {
            head[1] |= 0x80;
            head[at..at + 4].copy_from_slice(&mask);
            at += 4;
        }
        (head, at)
    }
}

/// Applies a mask to `bytes`, of which the first is number `offset` of its frame. Doing it twice
/// undoes it.
pub(crate) fn mask(bytes: &mut [u8], key: [u8; 4], offset: usize) {
    let mut key = key;
    key.rotate_left(offset % 4);
    let wide = u64::from_ne_bytes([
        key[0], key[1], key[2], key[3], key[0], key[1], key[2], key[3],
    ]);
    let mut words = bytes.chunks_exact_mut(8);
    for word in &mut words {
        let masked = u64::from_ne_bytes(word.try_into().expect("eight bytes")) ^ wide;
        word.copy_from_slice(&masked.to_ne_bytes());
    }
    for (byte, key) in words.into_remainder().iter_mut().zip(key.iter().cycle()) {
        *byte ^= key;
    }
}

/// Leaves room for the header of a message that is written next.
pub(crate) fn begin(draft: &mut Draft) -> Mark {
    let start = draft.mark();
    draft.put([0; ROOM]);
    start
}

/// Makes what was written since [`begin`] a message: one frame, or several when it has more bytes
/// than `part_bytes_max`.
pub(crate) fn finish(
    draft: &mut Draft,
    start: Mark,
    opcode: Opcode,
    role: Role,
    part_bytes_max: usize,
) {
    let len = draft.len_since(start) - ROOM;
    if len > part_bytes_max {
        return finish_in_parts(draft, start, opcode, role, part_bytes_max);
    }
    let mask = (role == Role::Client).then(|| fastrand::u32(..).to_ne_bytes());
    let header = Header {
        opcode,
        is_last: true,
        mask,
        bytes: 0,
        len: len as u64,
    };
    let (head, head_len) = header.write();
    draft.set_head(start, ROOM, &head[..head_len]);
    if let Some(key) = mask {
        let text = draft.text_mut();
        let at = text.len() - len;
        self::mask(&mut text[at..], key, 0);
    }
}

fn finish_in_parts(
    draft: &mut Draft,
    start: Mark,
    opcode: Opcode,
    role: Role,
    part_bytes_max: usize,
) {
    let message = draft.cut(start).split_off(ROOM);
    let parts = message.len().div_ceil(part_bytes_max);
    for (at, part) in message.chunks(part_bytes_max).enumerate() {
        let mask = (role == Role::Client).then(|| fastrand::u32(..).to_ne_bytes());
        let header = Header {
            opcode: if at == 0 { opcode } else { Opcode::Continue },
            is_last: at + 1 == parts,
            mask,
            bytes: 0,
            len: part.len() as u64,
        };
        let (head, head_len) = header.write();
        draft.put(&head[..head_len]);
        draft.put(part);
        if let Some(key) = mask {
            let text = draft.text_mut();
            let at = text.len() - part.len();
            self::mask(&mut text[at..], key, 0);
        }
    }
}

/// Writes a control frame.
pub(crate) fn control(draft: &mut Draft, opcode: Opcode, payload: &[u8], role: Role) {
    let start = begin(draft);
    draft.put(&payload[..payload.len().min(CONTROL_BYTES_MAX)]);
    finish(draft, start, opcode, role, usize::MAX);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn masking_goes_on_where_it_stopped() {
        let plain: Vec<u8> = (0..100).collect();
        let key = [1, 2, 3, 250];
        let mut whole = plain.clone();
        mask(&mut whole, key, 0);
        for cut in 0..plain.len() {
            let mut pieces = plain.clone();
            let (first, second) = pieces.split_at_mut(cut);
            mask(first, key, 0);
            mask(second, key, cut);
            assert_eq!(pieces, whole, "cut at {cut}");
        }
    }

    #[test]
    fn headers_come_back() {
        for len in [0, 1, 125, 126, 127, 65_535, 65_536, 1 << 40] {
            for mask in [None, Some([9, 8, 7, 6])] {
                let role = if mask.is_some() {
                    Role::Server
                } else {
                    Role::Client
                };
                let header = Header {
                    opcode: Opcode::Binary,
                    is_last: true,
                    mask,
                    bytes: 0,
                    len,
                };
                let (head, bytes) = header.write();
                for short in 0..bytes {
                    assert_eq!(Header::parse(&head[..short], role), Ok(None));
                }
                let again = Header::parse(&head[..bytes], role)
                    .expect("good")
                    .expect("whole");
                assert_eq!(again, Header { bytes, ..header });
            }
        }
    }

    #[test]
    fn wrong_frames_are_named() {
        let server = |bytes: &[u8]| Header::parse(bytes, Role::Server).expect_err("wrong");
        assert!(server(&[0xc1, 0x80]).contains("extension"));
        assert!(server(&[0x83, 0x80]).contains("opcode"));
        assert!(server(&[0x81, 0x01]).contains("not masked"));
        assert!(server(&[0x09, 0x80]).contains("control"));
        assert!(server(&[0x89, 0xfe, 0, 200]).contains("control"));
        assert!(
            Header::parse(&[0x81, 0x81], Role::Client)
                .expect_err("wrong")
                .contains("masked")
        );
    }
}
