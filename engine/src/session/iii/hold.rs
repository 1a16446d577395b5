//! What a session registers before it has said who it is.
//!
//! Published SDKs send their functions first and the call that names their namespace last, all in
//! one go. Unless told otherwise the engine registers at once, in the default namespace, and moves
//! everything when the call comes. With a grace time, registrations are held until that call, or
//! until nothing has come for so long: then the client is one that never says.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use agentos_protocol::{Frame, Hello};
use parking_lot::Mutex;

use super::words::Words;

/// Frames held at most; with more of them the session is taken to belong to the default namespace.
const FRAMES_MAX: usize = 65_536;

/// Bytes of payloads held at most, for the same reason.
const BYTES_MAX: usize = 16 << 20;

/// Longest hold of a session that goes on sending.
const HELD_MAX: Duration = Duration::from_secs(5);

/// See the module. Cheap to clone.
#[derive(Clone)]
pub(super) struct Hold(Arc<Inner>);

struct Inner {
    words: Words,
    grace: Duration,
    stage: Mutex<Stage>,
}

enum Stage {
    /// Nothing was registered yet.
    Fresh,
    Holding {
        frames: Vec<Frame>,
        bytes: usize,
        since: Instant,
        last: Instant,
    },
    Open,
}

impl Hold {
    pub(super) fn new(words: Words, grace: Duration) -> Self {
        Hold(Arc::new(Inner {
            words,
            grace,
            stage: Mutex::new(Stage::Fresh),
        }))
    }

    /// Takes a frame of the session; true once nothing is held any more, so that
    /// [`Hold::pass`] will do from then on.
    pub(super) fn take(&self, frame: Frame, now: Instant) -> bool {
        let mut stage = self.0.stage.lock();
        match &mut *stage {
            Stage::Open => {
                drop(stage);
                self.0.words.take(frame);
                return true;
            }
            // Somebody waits for an answer; it belongs to no namespace. Everything else keeps its
            // place: a ping behind a registration asks whether that is done.
            _ if matches!(frame, Frame::Reply { .. }) => {
                drop(stage);
                self.0.words.take(frame);
                return false;
            }
            Stage::Fresh if matches!(frame, Frame::Register(_)) => {
                *stage = Stage::Holding {
                    frames: vec![frame],
                    bytes: 0,
                    since: now,
                    last: now,
                };
                tokio::spawn(wait(self.clone()));
            }
            Stage::Fresh => {
                drop(stage);
                self.0.words.take(frame);
            }
            Stage::Holding {
                frames,
                bytes,
                last,
                ..
            } => {
                *bytes += payload_bytes(&frame);
                frames.push(frame);
                *last = now;
                if frames.len() >= FRAMES_MAX || *bytes >= BYTES_MAX {
                    self.release(&mut stage);
                }
            }
        }
        false
    }

    /// As [`Hold::take`], for a session of which nothing is held.
    pub(super) fn pass(&self, frame: Frame) {
        self.0.words.take(frame);
    }

    /// The session has said who it is: that first, then what it registered.
    pub(super) fn identify(&self, hello: Hello) {
        let mut stage = self.0.stage.lock();
        self.0.words.take(Frame::Hello(Box::new(hello)));
        self.release(&mut stage);
    }

    /// The order must hold against frames that come meanwhile, so the stage stays locked. Nothing
    /// that the frames cause comes back to this session's stage.
    fn release(&self, stage: &mut Stage) {
        if let Stage::Holding { frames, .. } = std::mem::replace(stage, Stage::Open) {
            for frame in frames {
                self.0.words.take(frame);
            }
        }
    }
}

fn payload_bytes(frame: &Frame) -> usize {
    match frame {
        Frame::Call(call) => call.payload.len(),
        _ => 0,
    }
}

/// Releases what is held when nothing more has come for a while.
async fn wait(hold: Hold) {
    loop {
        let due = match &*hold.0.stage.lock() {
            Stage::Holding { since, last, .. } => {
                (*last + hold.0.grace).min(*since + HELD_MAX.max(hold.0.grace))
            }
            Stage::Fresh | Stage::Open => return,
        };
        tokio::time::sleep_until(due.into()).await;
        let mut stage = hold.0.stage.lock();
        if let Stage::Holding { since, last, .. } = &*stage
            && (*last + hold.0.grace <= due || *since + HELD_MAX <= due)
        {
            return hold.release(&mut stage);
        }
    }
}
