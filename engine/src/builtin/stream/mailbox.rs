//! What waits to be sent to one client. Bounded: the oldest event makes room for the newest, so a
//! slow client misses events and delays nobody.

use std::collections::VecDeque;

use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio_tungstenite::tungstenite::Utf8Bytes;

pub(super) struct Mailbox {
    letters: Mutex<Letters>,
    events_max: usize,
    bytes_max: usize,
    /// There is something to send.
    news: Notify,
    /// Nothing that must not be lost waits any more.
    room: Notify,
}

#[derive(Default)]
struct Letters {
    waiting: VecDeque<Letter>,
    /// Of those that may be lost.
    events: usize,
    bytes: usize,
    kept: usize,
    lost: u64,
    /// Nothing may be lost: rather the client is sent away, and comes back for the rest.
    lossless: bool,
    /// Something would have been lost; nothing more is taken in.
    behind: bool,
}

struct Letter {
    text: Utf8Bytes,
    /// An answer to the client, such as a sync: never makes room.
    is_kept: bool,
}

impl Mailbox {
    pub(super) fn new(events_max: usize, bytes_max: usize) -> Self {
        Mailbox {
            letters: Mutex::default(),
            events_max: events_max.max(1),
            bytes_max,
            news: Notify::new(),
            room: Notify::new(),
        }
    }

    /// Adds an event. The newest stays, whatever its size.
    pub(super) fn push(&self, text: Utf8Bytes) {
        let mut letters = self.letters.lock();
        if letters.behind {
            return;
        }
        letters.events += 1;
        letters.bytes += text.len();
        letters.waiting.push_back(Letter {
            text,
            is_kept: false,
        });
        while letters.events > 1
            && (letters.events > self.events_max || letters.bytes > self.bytes_max)
        {
            if letters.lossless {
                letters.behind = true;
                break;
            }
            letters.lose_oldest();
        }
        drop(letters);
        self.news.notify_one();
    }

    /// From now on nothing may be lost.
    pub(super) fn lose_nothing(&self) {
        self.letters.lock().lossless = true;
    }

    /// The client cannot be given all that it was promised.
    pub(super) fn give_up(&self) {
        self.letters.lock().behind = true;
        self.news.notify_one();
    }

    /// True when the client must come back for the rest.
    pub(super) fn is_behind(&self) -> bool {
        self.letters.lock().behind
    }

    /// Adds an answer. Wait for [`Mailbox::room`] first, so that they do not pile up.
    pub(super) fn keep(&self, text: Utf8Bytes) {
        let mut letters = self.letters.lock();
        letters.kept += 1;
        letters.waiting.push_back(Letter {
            text,
            is_kept: true,
        });
        drop(letters);
        self.news.notify_one();
    }

    /// Resolves when no answer waits. For one waiter.
    pub(super) async fn room(&self) {
        while self.letters.lock().kept > 0 {
            self.room.notified().await;
        }
    }

    /// Resolves when there may be something to take. For one waiter.
    pub(super) async fn news(&self) {
        self.news.notified().await;
    }

    pub(super) fn take(&self) -> Option<Utf8Bytes> {
        let mut letters = self.letters.lock();
        let letter = letters.waiting.pop_front()?;
        letters.forget(&letter);
        let is_last = letter.is_kept && letters.kept == 0;
        drop(letters);
        if is_last {
            self.room.notify_one();
        }
        Some(letter.text)
    }

    /// Events that made room for later ones, so far.
    pub(super) fn lost(&self) -> u64 {
        self.letters.lock().lost
    }
}

impl Letters {
    fn lose_oldest(&mut self) {
        // At most a few answers are before it.
        let oldest = self.waiting.iter().position(|letter| !letter.is_kept);
        if let Some(letter) = oldest.and_then(|at| self.waiting.remove(at)) {
            self.forget(&letter);
            self.lost += 1;
        }
    }

    fn forget(&mut self, letter: &Letter) {
        if letter.is_kept {
            self.kept -= 1;
        } else {
            self.events -= 1;
            self.bytes -= letter.text.len();
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn drain(mailbox: &Mailbox) -> Vec<String> {
        std::iter::from_fn(|| mailbox.take())
            .map(|text| text.to_string())
            .collect()
    }

    #[test]
    fn the_oldest_event_makes_room() {
        let mailbox = Mailbox::new(3, 1000);
        mailbox.push("1".into());
        mailbox.keep("sync".into());
        for text in ["2", "3", "4", "5"] {
            mailbox.push(text.into());
        }
        assert_eq!(mailbox.lost(), 2);
        assert_eq!(drain(&mailbox), ["sync", "3", "4", "5"]);
    }

    #[test]
    fn large_events_make_room_too_but_the_newest_stays() {
        let mailbox = Mailbox::new(100, 10);
        for text in ["12345", "67890", "x", "a text of more than ten bytes"] {
            mailbox.push(text.into());
        }
        assert_eq!(drain(&mailbox), ["a text of more than ten bytes"]);
        assert_eq!(mailbox.lost(), 3);
    }

    #[test]
    fn who_may_lose_nothing_is_behind_instead() {
        let mailbox = Mailbox::new(2, 1000);
        mailbox.lose_nothing();
        for text in ["1", "2"] {
            mailbox.push(text.into());
        }
        assert!(!mailbox.is_behind());
        mailbox.push("3".into());
        mailbox.push("4".into());
        assert!(mailbox.is_behind());
        assert_eq!(mailbox.lost(), 0);
        // Whatever is still sent has no gap.
        assert_eq!(drain(&mailbox), ["1", "2", "3"]);
    }

    #[tokio::test]
    async fn room_is_when_no_answer_waits() {
        let mailbox = Mailbox::new(1, 1000);
        mailbox.room().await;
        mailbox.keep("sync".into());
        let mut room = Box::pin(mailbox.room());
        assert!(futures_util::poll!(&mut room).is_pending());
        mailbox.take();
        room.await;
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        /// Against the plain idea: all that was pushed, less the oldest events.
        #[test]
        fn what_is_left_is_the_newest_in_order(max in 1..6_usize, actions in prop::collection::vec(0..4_u8, 0..60)) {
            let mailbox = Mailbox::new(max, usize::MAX);
            let mut model: Vec<(String, bool)> = Vec::new();
            for (number, action) in actions.into_iter().enumerate() {
                let text = number.to_string();
                match action {
                    0 => {
                        let taken = mailbox.take().map(|text| text.to_string());
                        let expected = (!model.is_empty()).then(|| model.remove(0).0);
                        prop_assert_eq!(taken, expected);
                    }
                    1 => {
                        mailbox.keep(text.clone().into());
                        model.push((text, true));
                    }
                    _ => {
                        mailbox.push(text.clone().into());
                        model.push((text, false));
                        if model.iter().filter(|(_, kept)| !kept).count() > max {
                            let oldest = model.iter().position(|(_, kept)| !kept).unwrap();
                            model.remove(oldest);
                        }
                    }
                }
            }
            let left: Vec<String> = model.into_iter().map(|(text, _)| text).collect();
            prop_assert_eq!(drain(&mailbox), left);
        }
    }
}
