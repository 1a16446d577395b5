//! Function ids and shapes of `stream::*`: the contract with every worker, of iii and of ours.
//!
//! Unknown keys are tolerated everywhere: SDKs add their own. Inputs can be written out again,
//! because providers of streams get them as they are.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::{Deserialize, Serialize};

use crate::builtin::document::{Doc, Op, OpError};

pub(super) const SET: &str = "stream::set";
pub(super) const GET: &str = "stream::get";
pub(super) const DELETE: &str = "stream::delete";
pub(super) const UPDATE: &str = "stream::update";
pub(super) const LIST: &str = "stream::list";
pub(super) const LIST_GROUPS: &str = "stream::list_groups";
pub(super) const LIST_ALL: &str = "stream::list_all";
pub(super) const SEND: &str = "stream::send";

/// Trigger types.
pub(super) const CHANGED: &str = "stream";
pub(super) const JOINED: &str = "stream:join";
pub(super) const LEFT: &str = "stream:leave";

/// Input of [`SET`].
#[derive(Serialize, Deserialize, JsonSchema)]
pub(super) struct Set {
    pub(super) stream_name: String,
    pub(super) group_id: String,
    pub(super) item_id: String,
    #[serde(alias = "value")]
    pub(super) data: Doc,
}

/// Input of [`GET`] and [`DELETE`].
#[derive(Serialize, Deserialize, JsonSchema)]
pub(super) struct Item {
    pub(super) stream_name: String,
    pub(super) group_id: String,
    pub(super) item_id: String,
}

/// Input of [`UPDATE`].
#[derive(Serialize, Deserialize, JsonSchema)]
pub(super) struct Update {
    pub(super) stream_name: String,
    pub(super) group_id: String,
    pub(super) item_id: String,
    #[serde(alias = "operations")]
    pub(super) ops: Vec<Op>,
}

/// Input of [`LIST`].
#[derive(Serialize, Deserialize, JsonSchema)]
pub(super) struct Group {
    pub(super) stream_name: String,
    pub(super) group_id: String,
}

/// Input of [`LIST_GROUPS`].
#[derive(Serialize, Deserialize, JsonSchema)]
pub(super) struct Named {
    pub(super) stream_name: String,
}

/// Input of [`LIST_ALL`]: nothing.
#[derive(Deserialize, JsonSchema)]
pub(super) struct Nothing {}

/// Input of [`SEND`].
#[derive(Deserialize, JsonSchema)]
pub(super) struct Sending {
    pub(super) stream_name: String,
    pub(super) group_id: String,
    /// Tells the item's subscribers too, and not only the group's.
    #[serde(default)]
    pub(super) id: Option<String>,
    #[serde(rename = "type")]
    pub(super) kind: String,
    #[serde(default)]
    pub(super) data: Option<Doc>,
}

/// Output of [`SET`] and [`UPDATE`].
#[derive(Clone, Serialize, Deserialize, JsonSchema)]
pub(super) struct Written {
    #[serde(default)]
    pub(super) old_value: Option<Doc>,
    #[serde(default)]
    pub(super) new_value: Option<Doc>,
    /// Steps of an update that were skipped, and why.
    #[serde(skip_deserializing, skip_serializing_if = "Vec::is_empty")]
    pub(super) errors: Vec<OpError>,
}

/// Output of [`DELETE`].
#[derive(Clone, Serialize, Deserialize, JsonSchema)]
pub(super) struct Deleted {
    #[serde(default)]
    pub(super) old_value: Option<Doc>,
}

/// Output of [`LIST_ALL`].
#[derive(Serialize, JsonSchema)]
pub(super) struct All {
    pub(super) stream: Vec<Groups>,
    pub(super) count: usize,
}

/// One stream and its groups.
#[derive(Serialize, JsonSchema)]
pub(super) struct Groups {
    pub(super) id: String,
    pub(super) groups: Vec<String>,
}

/// Our own answer, or a provider's, which is passed on as it is.
#[derive(Serialize)]
#[serde(untagged)]
pub(super) enum Answer<T> {
    Own(T),
    Provided(Doc),
}

impl<T: JsonSchema> JsonSchema for Answer<T> {
    fn inline_schema() -> bool {
        T::inline_schema()
    }

    fn schema_name() -> Cow<'static, str> {
        T::schema_name()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        T::json_schema(generator)
    }
}

/// `config` of a trigger of type [`CHANGED`]; of what is absent, everything matches.
#[derive(Clone, Deserialize, JsonSchema)]
pub(super) struct Changes {
    pub(super) stream_name: String,
    #[serde(default)]
    pub(super) group_id: Option<String>,
    #[serde(default)]
    pub(super) item_id: Option<String>,
    /// Asked first with the same payload; only the answer `false` keeps the event back.
    #[serde(default)]
    pub(super) condition_function_id: Option<String>,
}

/// `config` of a trigger of type [`JOINED`] or [`LEFT`]. It hears of all streams: a guard that
/// watched only some would let everybody into the others.
#[derive(Clone, Default, Deserialize, JsonSchema)]
pub(super) struct Visits {
    #[serde(default)]
    pub(super) condition_function_id: Option<String>,
}

/// What a function bound to [`JOINED`] or [`LEFT`] gets.
#[derive(Serialize, JsonSchema)]
pub(super) struct Visit<'a> {
    pub(super) subscription_id: &'a str,
    pub(super) stream_name: &'a str,
    pub(super) group_id: &'a str,
    pub(super) id: Option<&'a str>,
    /// What the authentication function said of the client.
    pub(super) context: Option<&'a Doc>,
}
