//! A YAML document as a tree that remembers lines, and serde's view of it.
//!
//! Text that came out of a `${VARIABLE}` takes the type its reader asks for: an environment has
//! no numbers.

use serde::{
    Deserialize, Deserializer,
    de::{
        self, IntoDeserializer, Unexpected, Visitor,
        value::{Error, MapAccessDeserializer, MapDeserializer, SeqDeserializer},
    },
};
use serde_saphyr::Spanned;

use super::{Env, expand::expand};

/// A value and where it stands.
#[derive(Clone, Debug)]
pub(super) struct Node {
    pub(super) line: u32,
    pub(super) value: Value,
}

#[derive(Clone, Debug)]
pub(super) enum Value {
    Null,
    Bool(bool),
    Signed(i64),
    Unsigned(u64),
    Float(f64),
    Text(String),
    /// Text with variables replaced.
    Expanded(String),
    List(Vec<Node>),
    /// The line is the key's.
    Map(Vec<(String, Node)>),
}

impl Node {
    /// The node with every variable replaced, or the line and the sentence of the first that
    /// cannot be.
    pub(super) fn expanded(self, env: &dyn Env) -> Result<Node, (u32, String)> {
        let line = self.line;
        let value = match self.value {
            Value::Text(text) => match expand(&text, env).map_err(|message| (line, message))? {
                Some(expanded) => Value::Expanded(expanded),
                None => Value::Text(text),
            },
            Value::List(items) => Value::List(
                items
                    .into_iter()
                    .map(|item| item.expanded(env))
                    .collect::<Result<_, _>>()?,
            ),
            Value::Map(entries) => Value::Map(
                entries
                    .into_iter()
                    .map(|(key, node)| Ok((key, node.expanded(env)?)))
                    .collect::<Result<_, (u32, String)>>()?,
            ),
            other => other,
        };
        Ok(Node { line, value })
    }

    /// The node with every text, keys too, passed through `change`.
    pub(super) fn map_text(self, change: &impl Fn(&str) -> String) -> Node {
        let value = match self.value {
            Value::Text(text) => Value::Text(change(&text)),
            Value::List(items) => Value::List(
                items
                    .into_iter()
                    .map(|item| item.map_text(change))
                    .collect(),
            ),
            Value::Map(entries) => Value::Map(
                entries
                    .into_iter()
                    .map(|(key, node)| (change(&key), node.map_text(change)))
                    .collect(),
            ),
            other => other,
        };
        Node { value, ..self }
    }

    /// The entry `key` of a mapping.
    pub(super) fn get(&self, key: &str) -> Option<&Node> {
        match &self.value {
            Value::Map(entries) => entries
                .iter()
                .find(|(name, _)| name == key)
                .map(|(_, node)| node),
            _ => None,
        }
    }

    /// The item `index` of a sequence.
    pub(super) fn item(&self, index: usize) -> Option<&Node> {
        match &self.value {
            Value::List(items) => items.get(index),
            _ => None,
        }
    }
}

// ── From YAML ───────────────────────────────────────────────────────────────────────────────

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Build)
    }
}

struct Build;

fn node(spanned: Spanned<Value>) -> Node {
    Node {
        line: u32::try_from(spanned.referenced.line()).unwrap_or(u32::MAX),
        value: spanned.value,
    }
}

impl<'de> Visitor<'de> for Build {
    type Value = Value;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a YAML value with text as keys")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_none<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(Value::Signed(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(Value::Unsigned(value))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(Value::Float(value))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::Text(value.to_owned()))
    }

    fn visit_seq<A: de::SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element()? {
            list.push(node(item));
        }
        Ok(Value::List(list))
    }

    fn visit_map<A: de::MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        let mut map = Vec::new();
        while let Some(key) = entries.next_key::<Spanned<String>>()? {
            let value = entries.next_value()?;
            let line = u32::try_from(key.referenced.line()).unwrap_or(u32::MAX);
            map.push((key.value, Node { line, value }));
        }
        Ok(Value::Map(map))
    }
}

// ── To types ────────────────────────────────────────────────────────────────────────────────

impl IntoDeserializer<'_, Error> for Node {
    type Deserializer = Node;

    fn into_deserializer(self) -> Node {
        self
    }
}

/// How errors speak of expanded text: it may be a key that nobody should see.
const SECRET: Unexpected<'_> = Unexpected::Other("the text of a variable");

/// What an expanded text means to a reader without expectations.
fn guess<'de, V: Visitor<'de>>(text: String, visitor: V) -> Result<V::Value, Error> {
    match text.as_str() {
        "" => visitor.visit_unit(),
        "true" => visitor.visit_bool(true),
        "false" => visitor.visit_bool(false),
        number => match (number.parse::<i64>(), number.parse::<f64>()) {
            (Ok(number), _) => visitor.visit_i64(number),
            (_, Ok(number)) if number.is_finite() => visitor.visit_f64(number),
            _ => visitor.visit_string(text),
        },
    }
}

/// The list or the mapping that a variable holds: `[a, b]`.
fn structure(text: &str) -> Option<Value> {
    if !text.trim_start().starts_with(['[', '{']) {
        return None;
    }
    serde_saphyr::from_str(text).ok()
}

/// Numbers are read here rather than by serde's own visitors, whose word for a bound is `u16`.
macro_rules! integers {
    ($($method:ident $visit:ident $type:ty),* $(,)?) => {$(
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
            let range = format!("a whole number from {} to {}", <$type>::MIN, <$type>::MAX);
            let (found, number) = match &self.value {
                Value::Signed(number) => (Unexpected::Signed(*number), <$type>::try_from(*number).ok()),
                Value::Unsigned(number) => (Unexpected::Unsigned(*number), <$type>::try_from(*number).ok()),
                Value::Expanded(text) => (SECRET, text.trim().parse().ok()),
                _ => (self.unexpected(), None),
            };
            number.map_or_else(|| Err(de::Error::invalid_value(found, &range.as_str())), |number| visitor.$visit(number))
        }
    )*};
}

impl<'de> Deserializer<'de> for Node {
    type Error = Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self.value {
            Value::Null => visitor.visit_unit(),
            Value::Bool(value) => visitor.visit_bool(value),
            Value::Signed(value) => visitor.visit_i64(value),
            Value::Unsigned(value) => visitor.visit_u64(value),
            Value::Float(value) => visitor.visit_f64(value),
            Value::Text(text) => visitor.visit_string(text),
            Value::Expanded(text) => guess(text, visitor),
            Value::List(items) => SeqDeserializer::new(items.into_iter()).deserialize_any(visitor),
            Value::Map(entries) => {
                MapDeserializer::new(entries.into_iter()).deserialize_any(visitor)
            }
        }
    }

    integers! {
        deserialize_i8 visit_i8 i8,
        deserialize_i16 visit_i16 i16,
        deserialize_i32 visit_i32 i32,
        deserialize_i64 visit_i64 i64,
        deserialize_u8 visit_u8 u8,
        deserialize_u16 visit_u16 u16,
        deserialize_u32 visit_u32 u32,
        deserialize_u64 visit_u64 u64,
    }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match &self.value {
            Value::Bool(value) => visitor.visit_bool(*value),
            Value::Expanded(text) if text == "true" => visitor.visit_bool(true),
            Value::Expanded(text) if text == "false" => visitor.visit_bool(false),
            _ => Err(de::Error::invalid_value(
                self.unexpected(),
                &"true or false",
            )),
        }
    }

    fn deserialize_f64<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match &self.value {
            Value::Expanded(text) => match text.trim().parse() {
                Ok(value) => visitor.visit_f64(value),
                Err(_) => Err(de::Error::invalid_value(SECRET, &"a number")),
            },
            _ => self.deserialize_any(visitor),
        }
    }

    fn deserialize_f32<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.deserialize_f64(visitor)
    }

    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self.value {
            Value::Expanded(text) => visitor.visit_string(text),
            _ => self.deserialize_any(visitor),
        }
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.deserialize_str(visitor)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match &self.value {
            Value::Null => visitor.visit_none(),
            Value::Expanded(text) if text.is_empty() => visitor.visit_none(),
            _ => visitor.visit_some(self),
        }
    }

    /// A key without a value, `llm:`, is a section that says nothing.
    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self.value {
            Value::Null => {
                visitor.visit_map(MapDeserializer::new(std::iter::empty::<(String, Node)>()))
            }
            Value::Map(_) => self.deserialize_any(visitor),
            Value::Expanded(ref text) => match structure(text) {
                Some(value @ Value::Map(_)) => Node { value, ..self }.deserialize_any(visitor),
                _ => Err(de::Error::invalid_type(SECRET, &"keys with values")),
            },
            _ => Err(de::Error::invalid_type(
                self.unexpected(),
                &"keys with values",
            )),
        }
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        self.deserialize_map(visitor)
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self.value {
            Value::Null => visitor.visit_seq(SeqDeserializer::new(std::iter::empty::<Node>())),
            Value::List(_) => self.deserialize_any(visitor),
            Value::Expanded(ref text) => match structure(text) {
                Some(value @ Value::List(_)) => Node { value, ..self }.deserialize_any(visitor),
                _ => Err(de::Error::invalid_type(SECRET, &"a list")),
            },
            _ => Err(de::Error::invalid_type(self.unexpected(), &"a list")),
        }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, Error> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        match self.value {
            Value::Text(text) | Value::Expanded(text) => {
                visitor.visit_enum(text.into_deserializer())
            }
            Value::Map(entries) => visitor.visit_enum(MapAccessDeserializer::new(
                MapDeserializer::new(entries.into_iter()),
            )),
            _ => Err(de::Error::invalid_type(
                self.unexpected(),
                &"one of the names this key knows",
            )),
        }
    }

    serde::forward_to_deserialize_any! {
        i128 u128 char bytes byte_buf unit unit_struct tuple tuple_struct identifier ignored_any
    }
}

impl Node {
    fn unexpected(&self) -> Unexpected<'_> {
        match &self.value {
            Value::Null => Unexpected::Unit,
            Value::Bool(value) => Unexpected::Bool(*value),
            Value::Signed(value) => Unexpected::Signed(*value),
            Value::Unsigned(value) => Unexpected::Unsigned(*value),
            Value::Float(value) => Unexpected::Float(*value),
            Value::Text(text) => Unexpected::Str(text),
            Value::Expanded(_) => SECRET,
            Value::List(_) => Unexpected::Seq,
            Value::Map(_) => Unexpected::Map,
        }
    }
}
