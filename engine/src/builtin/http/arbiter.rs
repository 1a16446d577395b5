//! Which answer a request gets: the function's result, what it streams, or what was written to the
//! request's response channel. Plain decisions, one event after the other.
//!
//! The first of a result that is not null, a binary item on the channel, and the channel's end
//! decides. A null result says that the answer comes over the channel.

use agentos_sdk::{Error, Payload};
use bytes::Bytes;
use serde_json::Value;

use super::reply::Head;
use crate::channel::{End, Item};

/// What happened.
pub(super) enum Event {
    /// The function streams; this is its first chunk.
    Chunk(Payload),
    /// The function ended.
    Result(Result<Payload, Error>),
    /// Somebody took the channel's writing end.
    Opened,
    Item(Item),
    Ended(End),
}

/// What follows from it.
pub(super) enum Verdict {
    Wait,
    /// The result is the answer.
    Result(Payload),
    Failed(Error),
    /// The function's stream is the answer, beginning with this chunk.
    Stream(Payload),
    /// The channel is the answer, beginning with these bytes.
    Channel(Head, Bytes),
    /// A head, and no body.
    Empty(Head),
}

#[derive(Default)]
pub(super) struct Arbiter {
    head: Head,
    /// The callee is known never to write to the channel, so its null is an answer.
    pub(super) null_answers: bool,
    returned_null: bool,
    writer: Writer,
}

/// Who writes to the channel.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
enum Writer {
    #[default]
    Nobody,
    Somebody,
    /// Somebody whose socket broke.
    Lost,
}

impl Arbiter {
    pub(super) fn on(&mut self, event: Event) -> Verdict {
        match event {
            Event::Chunk(chunk) => Verdict::Stream(chunk),
            Event::Result(Err(error)) => Verdict::Failed(error),
            Event::Result(Ok(result)) if result.is_null() => {
                self.returned_null = true;
                match self.writer {
                    Writer::Lost => self.empty(),
                    Writer::Nobody if self.null_answers => Verdict::Result(result),
                    Writer::Nobody | Writer::Somebody => Verdict::Wait,
                }
            }
            Event::Result(Ok(result)) => Verdict::Result(result),
            Event::Opened => {
                self.writer = Writer::Somebody;
                Verdict::Wait
            }
            Event::Item(Item::Text(text)) => {
                self.control(&text);
                Verdict::Wait
            }
            Event::Item(Item::Binary(bytes)) => {
                Verdict::Channel(std::mem::take(&mut self.head), bytes)
            }
            Event::Ended(End::Clean) => self.empty(),
            // A writer that drops its socket has ended, unless it died: its result will tell.
            Event::Ended(End::Cut) => {
                self.writer = Writer::Lost;
                if self.returned_null {
                    self.empty()
                } else {
                    Verdict::Wait
                }
            }
        }
    }

    fn empty(&mut self) -> Verdict {
        Verdict::Empty(std::mem::take(&mut self.head))
    }

    /// `{"type": "set_status", "status_code": 206}` and
    /// `{"type": "set_headers", "headers": {..}}`; anything else is nothing to us.
    fn control(&mut self, text: &str) {
        let Ok(message) = serde_json::from_str::<Value>(text) else {
            return;
        };
        let said = Head::read(&message);
        match message.get("type").and_then(Value::as_str) {
            Some("set_status") => self.head.status = said.status,
            Some("set_headers") => {
                for name in said.headers.keys() {
                    self.head.headers.remove(name);
                }
                self.head.headers.extend(said.headers);
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use agentos_sdk::Code;
    use serde_json::json;

    use super::*;

    fn text(value: Value) -> Event {
        Event::Item(Item::Text(value.to_string().into()))
    }

    fn binary(bytes: &'static str) -> Event {
        Event::Item(Item::Binary(bytes.into()))
    }

    fn result(value: Value) -> Event {
        Event::Result(Ok(Payload::encode(&value).expect("JSON")))
    }

    fn failure() -> Event {
        Event::Result(Err(Error::worker(Code::Failed, "broke")))
    }

    /// Plays events; the last one's verdict in a few words, the others must say to wait.
    fn play(null_answers: bool, events: Vec<Event>) -> String {
        let mut arbiter = Arbiter {
            null_answers,
            ..Arbiter::default()
        };
        let last = events.len() - 1;
        for (index, event) in events.into_iter().enumerate() {
            let said = match arbiter.on(event) {
                Verdict::Wait => "wait".to_owned(),
                Verdict::Result(result) => {
                    format!("result {}", String::from_utf8_lossy(result.text()))
                }
                Verdict::Failed(error) => format!("failed {}", error.message),
                Verdict::Stream(_) => "stream".to_owned(),
                Verdict::Channel(head, bytes) => format!(
                    "channel {} {:?} {}",
                    head.status.as_u16(),
                    head.headers,
                    String::from_utf8_lossy(&bytes)
                ),
                Verdict::Empty(head) => {
                    format!("empty {} {:?}", head.status.as_u16(), head.headers)
                }
            };
            if index == last {
                return said;
            }
            assert_eq!(said, "wait", "event {index}");
        }
        unreachable!("there is a last event")
    }

    #[test]
    fn the_first_that_decides_wins() {
        let rows = vec![
            (vec![result(json!({"a": 1}))], "result {\"a\":1}"),
            (vec![failure()], "failed broke"),
            (vec![Event::Opened, failure()], "failed broke"),
            (vec![result(json!(null))], "wait"),
            (vec![Event::Opened, binary("x")], "channel 200 {} x"),
            (
                vec![result(json!(null)), Event::Opened, binary("x")],
                "channel 200 {} x",
            ),
            (
                vec![
                    Event::Opened,
                    text(json!({"type": "set_status", "status_code": 206})),
                    result(json!({"late": 1})),
                ],
                "result {\"late\":1}",
            ),
            (
                vec![Event::Opened, Event::Ended(End::Clean)],
                "empty 200 {}",
            ),
            (
                vec![
                    Event::Opened,
                    text(json!({"type": "set_status", "status_code": 204})),
                    result(json!(null)),
                    Event::Ended(End::Clean),
                ],
                "empty 204 {}",
            ),
            (vec![Event::Chunk(Payload::binary("x"))], "stream"),
        ];
        for (events, expect) in rows {
            assert_eq!(play(false, events), expect);
        }
    }

    #[test]
    fn a_writer_that_vanishes_has_ended_unless_its_function_failed() {
        let cut = || vec![Event::Opened, Event::Ended(End::Cut)];
        let then = |event| cut().into_iter().chain([event]).collect();
        assert_eq!(play(false, cut()), "wait");
        assert_eq!(play(false, then(failure())), "failed broke");
        assert_eq!(play(false, then(result(json!(null)))), "empty 200 {}");
        assert_eq!(play(false, then(result(json!(7)))), "result 7");
        let after_null = vec![result(json!(null)), Event::Opened, Event::Ended(End::Cut)];
        assert_eq!(play(false, after_null), "empty 200 {}");
    }

    #[test]
    fn null_is_an_answer_where_nobody_can_write_to_the_channel() {
        assert_eq!(play(true, vec![result(json!(null))]), "result null");
        assert_eq!(play(true, vec![Event::Opened, result(json!(null))]), "wait");
    }

    #[test]
    fn the_head_is_what_was_said_last_and_nonsense_is_passed_over() {
        let events = vec![
            Event::Opened,
            text(json!({"type": "set_status", "status_code": 206})),
            text(json!({"type": "set_headers", "headers": {"x-a": "1", "x-b": "1"}})),
            text(json!({"type": "set_headers", "headers": {"X-B": "2", "bad name": "x"}})),
            text(json!({"type": "other", "status_code": 500})),
            text(json!(7)),
            Event::Item(Item::Text("{".into())),
            binary("x"),
        ];
        assert_eq!(
            play(false, events),
            "channel 206 {\"x-a\": \"1\", \"x-b\": \"2\"} x"
        );
        let bad = vec![
            Event::Opened,
            text(json!({"type": "set_status", "status_code": 42})),
            binary("x"),
        ];
        assert_eq!(play(false, bad), "channel 200 {} x");
    }
}
