//! Function ids and shapes of `stream::*`. Unknown keys are tolerated: SDKs add their own.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::builtin::document::{Doc, Op};

pub const SET: &str = "stream::set";
pub const GET: &str = "stream::get";
pub const DELETE: &str = "stream::delete";
pub const UPDATE: &str = "stream::update";
pub const LIST: &str = "stream::list";
pub const LIST_GROUPS: &str = "stream::list_groups";
pub const LIST_ALL: &str = "stream::list_all";
pub const SEND: &str = "stream::send";

pub const CHANGED: &str = "stream";
pub const JOIN: &str = "stream:join";
pub const LEAVE: &str = "stream:leave";

/// Trigger types and what they are for.
pub const TRIGGER_TYPES: [(&str, &str); 3] = [
    (
        CHANGED,
        "calls a function when an item of a stream changes or an event is sent",
    ),
    (
        JOIN,
        "asks a function before a client follows a group; {\"unauthorized\": true} refuses",
    ),
    (
        LEAVE,
        "calls a function when a client follows a group no more",
    ),
];

/// Where an item is.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Place {
    pub stream: String,
    pub group: String,
    pub item: String,
}

#[derive(Deserialize, Serialize, JsonSchema)]
pub struct Set {
    pub stream_name: String,
    pub group_id: String,
    pub item_id: String,
    #[serde(alias = "value")]
    pub data: Doc,
}

#[derive(Deserialize, Serialize, JsonSchema)]
pub struct Update {
    pub stream_name: String,
    pub group_id: String,
    pub item_id: String,
    #[serde(alias = "operations")]
    pub ops: Vec<Op>,
}

#[derive(Deserialize, Serialize, JsonSchema)]
pub struct Item {
    pub stream_name: String,
    pub group_id: String,
    pub item_id: String,
}

#[derive(Deserialize, Serialize, JsonSchema)]
pub struct Group {
    pub stream_name: String,
    pub group_id: String,
}

#[derive(Deserialize, Serialize, JsonSchema)]
pub struct Whole {
    pub stream_name: String,
}

#[derive(Deserialize, JsonSchema)]
pub struct Send {
    pub stream_name: String,
    pub group_id: String,
    /// Only for those who follow this item, or the whole group.
    #[serde(default)]
    pub id: Option<String>,
    #[serde(rename = "type")]
    pub kind: String,
    #[serde(default)]
    pub data: Option<Doc>,
}

/// Output of [`LIST_ALL`].
#[derive(Serialize, JsonSchema)]
pub struct All {
    pub stream: Vec<OneStream>,
    pub count: usize,
}

#[derive(Serialize, JsonSchema)]
pub struct OneStream {
    pub id: String,
    pub groups: Vec<String>,
}

/// Config of a trigger.
#[derive(Deserialize, JsonSchema, Clone, Debug, Default)]
#[serde(default)]
pub struct TriggerConfig {
    pub stream_name: Option<String>,
    pub group_id: Option<String>,
    pub item_id: Option<String>,
    /// Asked first with the same payload; exactly `false` skips the event.
    pub condition_function_id: Option<String>,
}

/// What happened to an item.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum EventKind {
    Create,
    Update,
    Delete,
    Sync,
    Event,
    Unauthorized,
}

macro_rules! placed {
    ($($shape:ty),*) => {$(
        impl $shape {
            pub(super) fn place(&self) -> Place {
                Place {
                    stream: self.stream_name.clone(),
                    group: self.group_id.clone(),
                    item: self.item_id.clone(),
                }
            }
        }
    )*};
}

placed!(Set, Update, Item);

impl From<Place> for Item {
    fn from(place: Place) -> Self {
        Item {
            stream_name: place.stream,
            group_id: place.group,
            item_id: place.item,
        }
    }
}
