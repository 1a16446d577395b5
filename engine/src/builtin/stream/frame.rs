//! What travels between the engine and clients of streams, and what bound functions get, which is
//! the same.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::row::Place;
use crate::builtin::document::Doc;

/// Something that happened, or the state of things for one who has just joined.
#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct Frame<'a> {
    r#type: &'static str,
    /// Milliseconds since 1970.
    timestamp: u64,
    stream_name: &'a str,
    group_id: &'a str,
    id: Option<&'a str>,
    event: Body<'a>,
}

#[derive(Clone, Copy, Serialize, JsonSchema)]
#[serde(tag = "type", rename_all = "lowercase")]
pub(super) enum Body<'a> {
    Create {
        data: &'a Doc,
    },
    Update {
        data: &'a Doc,
    },
    Delete {
        data: &'a Doc,
    },
    Event {
        event: Sent<'a>,
    },
    Sync {
        data: &'a Synced,
    },
    /// In place of a sync: what was missed follows.
    Resumed,
    Unauthorized,
}

/// What `stream::send` says.
#[derive(Clone, Copy, Serialize, JsonSchema)]
pub(super) struct Sent<'a> {
    pub(super) r#type: &'a str,
    pub(super) data: &'a Doc,
}

/// What one who joins finds.
#[derive(Serialize, JsonSchema)]
#[serde(untagged)]
pub(super) enum Synced {
    Item(Option<Doc>),
    Group(Vec<Doc>),
}

/// The text of a frame.
///
/// # Errors
/// When it has no JSON form.
pub(super) fn write(
    timestamp: u64,
    place: Place<'_>,
    event: Body<'_>,
) -> serde_json::Result<String> {
    serde_json::to_string(&Frame {
        r#type: "stream",
        timestamp,
        stream_name: place.stream,
        group_id: place.group,
        id: place.item,
        event,
    })
}

/// What a client says.
#[derive(PartialEq, Eq, Debug, Deserialize)]
#[serde(tag = "type", content = "data", rename_all = "lowercase")]
pub(super) enum Word {
    Join(Join),
    Leave(Leave),
}

#[derive(PartialEq, Eq, Debug, Deserialize, Default)]
#[serde(rename_all = "camelCase")]
pub(super) struct Join {
    pub(super) subscription_id: String,
    pub(super) stream_name: String,
    pub(super) group_id: String,
    /// Absent: the whole group.
    #[serde(default)]
    pub(super) id: Option<String>,
    /// Frames are to have offsets.
    #[serde(default)]
    pub(super) offsets: bool,
    /// The offset up to which everything was heard. Implies `offsets`.
    #[serde(default)]
    pub(super) after: Option<String>,
}

impl Join {
    pub(super) fn is_numbered(&self) -> bool {
        self.offsets || self.after.is_some()
    }

    pub(super) fn place(&self) -> Place<'_> {
        Place {
            stream: &self.stream_name,
            group: &self.group_id,
            item: self.id.as_deref(),
        }
    }
}

/// The rest of what a client says is known already.
#[derive(PartialEq, Eq, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Leave {
    pub(super) subscription_id: String,
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn doc(value: Value) -> Doc {
        Doc::of(&value).unwrap()
    }

    #[track_caller]
    fn check(item: Option<&str>, body: Body<'_>, expect: &str) {
        let place = Place {
            stream: "board",
            group: "g1",
            item,
        };
        assert_eq!(write(1_781_000_000_000, place, body).unwrap(), expect);
    }

    #[test]
    fn frames_as_clients_know_them() {
        let data = doc(json!({ "title": "x" }));
        let head = |id: &str| {
            format!(
                r#"{{"type":"stream","timestamp":1781000000000,"streamName":"board","groupId":"g1","id":{id},"event":"#
            )
        };
        let (whole, item) = (head("null"), head(r#""card-9""#));
        let id = Some("card-9");
        check(
            id,
            Body::Create { data: &data },
            &format!(r#"{item}{{"type":"create","data":{{"title":"x"}}}}}}"#),
        );
        check(
            id,
            Body::Update { data: &data },
            &format!(r#"{item}{{"type":"update","data":{{"title":"x"}}}}}}"#),
        );
        check(
            id,
            Body::Delete { data: &data },
            &format!(r#"{item}{{"type":"delete","data":{{"title":"x"}}}}}}"#),
        );
        let event = Sent {
            r#type: "typing",
            data: &doc(json!({ "by": "ann" })),
        };
        check(
            None,
            Body::Event { event },
            &format!(
                r#"{whole}{{"type":"event","event":{{"type":"typing","data":{{"by":"ann"}}}}}}}}"#
            ),
        );
        let synced = Synced::Item(None);
        check(
            id,
            Body::Sync { data: &synced },
            &format!(r#"{item}{{"type":"sync","data":null}}}}"#),
        );
        let synced = Synced::Group(vec![data.clone()]);
        check(
            None,
            Body::Sync { data: &synced },
            &format!(r#"{whole}{{"type":"sync","data":[{{"title":"x"}}]}}}}"#),
        );
        check(
            None,
            Body::Unauthorized,
            &format!(r#"{whole}{{"type":"unauthorized"}}}}"#),
        );
    }

    #[test]
    fn words_of_clients() {
        let join = |id: Option<&str>| {
            Some(Word::Join(Join {
                subscription_id: "s-1".into(),
                stream_name: "board".into(),
                group_id: "g1".into(),
                id: id.map(str::to_owned),
                ..Join::default()
            }))
        };
        let leave = Some(Word::Leave(Leave {
            subscription_id: "s-1".into(),
        }));
        let data = r#"{"subscriptionId":"s-1","streamName":"board","groupId":"g1","id":"card-9"}"#;
        for (text, expect) in [
            (format!(r#"{{"type":"join","data":{data}}}"#), join(Some("card-9"))),
            (
                r#"{"data":{"groupId":"g1","more":1,"streamName":"board","subscriptionId":"s-1"},"type":"join"}"#.into(),
                join(None),
            ),
            (
                r#"{"type":"join","data":{"subscriptionId":"s-1","streamName":"board","groupId":"g1","id":null}}"#.into(),
                join(None),
            ),
            (
                r#"{"type":"join","data":{"subscriptionId":"s-1","streamName":"board","groupId":"g1","after":"a-1"}}"#.into(),
                Some(Word::Join(Join {
                    subscription_id: "s-1".into(),
                    stream_name: "board".into(),
                    group_id: "g1".into(),
                    after: Some("a-1".into()),
                    ..Join::default()
                })),
            ),
            (format!(r#"{{"type":"leave","data":{data}}}"#), leave),
            (format!(r#"{{"type":"stay","data":{data}}}"#), None),
            (r#"{"type":"join","data":{"streamName":"board","groupId":"g1"}}"#.into(), None),
            (r#"{"type":"join"}"#.into(), None),
            ("hello".into(), None),
        ] {
            assert_eq!(serde_json::from_str(&text).ok(), expect, "{text}");
        }
    }
}
