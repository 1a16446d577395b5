//! What one session may do, where its listener asks who it is.
//!
//! Made when the session is opened, from what the listener's settings and its authentication
//! function said. A session without rules may do everything a worker may.

use std::{
    collections::{BTreeMap, HashSet},
    sync::Arc,
};

use agentos_protocol::{Call, Code, DEFAULT_NAMESPACE, Delivery, Encoding, ErrorBody, Payload};
use serde_json::{Value, json};

/// Functions that every session needs to be one.
const INFRASTRUCTURE: [&str; 10] = [
    "engine::channels::create",
    "engine::workers::register",
    "engine::log::info",
    "engine::log::warn",
    "engine::log::error",
    "engine::log::debug",
    "engine::log::trace",
    "engine::baggage::get",
    "engine::baggage::set",
    "engine::baggage::get_all",
];

/// See the module.
#[derive(Clone, Debug)]
pub struct Rules {
    /// Ids that may always be called.
    pub allowed: HashSet<String>,
    /// Ids that may never be called; stronger than everything else.
    pub forbidden: HashSet<String>,
    /// What else may be called; `None` is everything.
    pub exposed: Option<Vec<Exposure>>,
    /// Trigger types that may be bound to; `None` is all.
    pub trigger_types: Option<HashSet<String>>,
    pub registers_functions: bool,
    pub registers_trigger_types: bool,
    /// Comes before the id of every function the session registers, as `prefix::`.
    pub prefix: Option<String>,
    /// Namespaces that may be called besides the default one, with patterns of ids; `None` is all.
    pub namespaces: Option<BTreeMap<String, Vec<String>>>,
    /// The function that is called in place of every call.
    pub middleware: Option<Arc<str>>,
    /// What middleware and hooks are told of the session.
    pub context: Value,
}

impl Default for Rules {
    fn default() -> Self {
        Rules {
            allowed: HashSet::new(),
            forbidden: HashSet::new(),
            exposed: None,
            trigger_types: None,
            registers_functions: true,
            registers_trigger_types: true,
            prefix: None,
            namespaces: None,
            middleware: None,
            context: json!({}),
        }
    }
}

/// Functions that a listener shows: all conditions must hold.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Exposure {
    /// Of the id; `*` stands for anything.
    pub pattern: Option<String>,
    pub namespace: Option<String>,
    /// Of the function's metadata, key by key.
    pub metadata: BTreeMap<String, MetadataRule>,
}

#[derive(Clone, Debug, PartialEq)]
pub enum MetadataRule {
    Is(Value),
    /// A text that the pattern matches.
    Like(String),
}

impl Rules {
    /// May the session call `function`?
    ///
    /// # Errors
    /// `forbidden`, with the setting that would allow it.
    pub fn may_call(
        &self,
        namespace: Option<&str>,
        function: &str,
        metadata: impl FnOnce() -> Option<Value>,
    ) -> Result<(), ErrorBody> {
        let deny = |how: &str| {
            let message = format!("function '{function}' not allowed ({how})");
            Err(ErrorBody::caller(Code::Forbidden, message))
        };
        if self.forbidden.contains(function) {
            return deny("remove from rbac.forbidden_functions");
        }
        if self.allowed.contains(function) || INFRASTRUCTURE.contains(&function) {
            return Ok(());
        }
        if let (Some(namespaces), Some(namespace)) = (&self.namespaces, namespace) {
            let listed = namespaces.get(namespace);
            if !listed
                .is_some_and(|patterns| patterns.iter().any(|pattern| like(pattern, function)))
            {
                return deny("add to the namespaces of the authentication's answer");
            }
            return Ok(());
        }
        let Some(exposed) = &self.exposed else {
            return Ok(());
        };
        let metadata = metadata();
        if exposed
            .iter()
            .any(|exposure| exposure.covers(namespace, function, metadata.as_ref()))
        {
            return Ok(());
        }
        deny("add to rbac.expose_functions")
    }

    /// May the session bind triggers of this type?
    ///
    /// # Errors
    /// `forbidden`.
    pub fn may_bind(&self, trigger_type: &str) -> Result<(), ErrorBody> {
        match &self.trigger_types {
            Some(types) if !types.contains(trigger_type) => Err(ErrorBody::caller(
                Code::Forbidden,
                format!("trigger type '{trigger_type}' not allowed (add to allowed_trigger_types)"),
            )),
            _ => Ok(()),
        }
    }

    /// May the session offer functions?
    ///
    /// # Errors
    /// `forbidden`.
    pub fn may_offer(&self) -> Result<(), ErrorBody> {
        allow(
            self.registers_functions,
            "functions (allow_function_registration is false)",
        )
    }

    /// May the session provide trigger types?
    ///
    /// # Errors
    /// `forbidden`.
    pub fn may_provide(&self) -> Result<(), ErrorBody> {
        let how = "trigger types (allow_trigger_type_registration is false)";
        allow(self.registers_trigger_types, how)
    }

    /// The id under which what the session calls `id` is registered.
    pub fn qualified(&self, id: &Arc<str>) -> Arc<str> {
        match &self.prefix {
            Some(prefix) => format!("{prefix}::{id}").into(),
            None => Arc::clone(id),
        }
    }

    /// Turns a call into one of the middleware, if there is one for it.
    ///
    /// # Errors
    /// `unsupported` for a payload that is no JSON: the middleware could not read it.
    pub(crate) fn intercept(&self, call: &mut Call) -> Result<(), ErrorBody> {
        let Some(middleware) = &self.middleware else {
            return Ok(());
        };
        if call.function.starts_with("engine::") {
            return Ok(());
        }
        if call.payload.encoding == Encoding::Binary {
            return Err(ErrorBody::caller(
                Code::Unsupported,
                "the listener's middleware takes JSON payloads only",
            ));
        }
        let action = match &call.delivery {
            Delivery::Void => json!({ "type": "void" }),
            Delivery::Enqueue(queue) => json!({ "type": "enqueue", "queue": queue }),
            Delivery::Reply | Delivery::Stream => Value::Null,
        };
        if matches!(call.delivery, Delivery::Enqueue(_)) {
            call.delivery = Delivery::Reply;
        }
        call.payload = wrapped(call, &action, &self.context);
        call.function = Arc::clone(middleware);
        call.namespace = None;
        Ok(())
    }
}

/// What the middleware is told. The payload is put in as it is, unread.
fn wrapped(call: &Call, action: &Value, context: &Value) -> Payload {
    let function = Value::from(&*call.function);
    let namespace = call.namespace.as_deref();
    let namespace = namespace.map(|name| format!(r#""namespace":{},"#, Value::from(name)));
    let namespace = namespace.unwrap_or_default();
    let text = format!(
        r#"{{"function_id":{function},"action":{action},"context":{context},{namespace}"payload":"#
    );
    let mut bytes = text.into_bytes();
    bytes.extend_from_slice(call.payload.text());
    bytes.push(b'}');
    Payload::json(bytes)
}

fn allow(allowed: bool, what: &str) -> Result<(), ErrorBody> {
    if allowed {
        return Ok(());
    }
    let message = format!("this session may not register {what}");
    Err(ErrorBody::caller(Code::Forbidden, message))
}

impl Exposure {
    fn covers(&self, namespace: Option<&str>, function: &str, metadata: Option<&Value>) -> bool {
        let named = self
            .pattern
            .as_deref()
            .is_none_or(|pattern| like(pattern, function));
        let placed = self
            .namespace
            .as_deref()
            .is_none_or(|wanted| wanted == namespace.unwrap_or(DEFAULT_NAMESPACE));
        let described = self.metadata.iter().all(|(key, rule)| {
            let value = metadata.and_then(|metadata| metadata.get(key));
            value.is_some_and(|value| match rule {
                MetadataRule::Is(wanted) => value == wanted,
                MetadataRule::Like(pattern) => {
                    value.as_str().is_some_and(|text| like(pattern, text))
                }
            })
        });
        // An exposure without any condition would be everything by accident.
        let says_something = self.pattern.is_some() || !self.metadata.is_empty();
        says_something && named && placed && described
    }
}

/// Does `pattern` match the whole of `text`? `*` stands for any number of characters.
pub fn like(pattern: &str, text: &str) -> bool {
    let mut parts = pattern.split('*');
    let Some(rest) = parts.next().and_then(|first| text.strip_prefix(first)) else {
        return false;
    };
    let Some(last) = parts.next_back() else {
        return rest.is_empty();
    };
    let mut rest = rest;
    for part in parts {
        // The earliest place leaves the most for what follows.
        let Some(at) = rest.find(part) else {
            return false;
        };
        rest = &rest[at + part.len()..];
    }
    rest.ends_with(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns() {
        for (pattern, text, expect) in [
            ("a::b", "a::b", true),
            ("a::b", "a::bc", false),
            ("*", "", true),
            ("a::*", "a::", true),
            ("a::*", "b::a::", false),
            ("*::get", "state::get", true),
            ("a*b*c", "a1b2c", true),
            ("a*b*c", "acb", false),
            ("ab*ba", "aba", false),
            ("a**", "a", true),
        ] {
            assert_eq!(like(pattern, text), expect, "{pattern} {text}");
        }
    }

    fn rules(expose: &[Exposure]) -> Rules {
        Rules {
            exposed: Some(expose.to_vec()),
            forbidden: ["secret::x".to_owned(), "api::hidden".to_owned()].into(),
            allowed: ["one::only".to_owned(), "secret::x".to_owned()].into(),
            ..Rules::default()
        }
    }

    #[test]
    fn calls() {
        let rules = rules(&[
            Exposure {
                pattern: Some("api::*".into()),
                ..Exposure::default()
            },
            Exposure {
                metadata: [
                    ("public".to_owned(), MetadataRule::Is(json!(true))),
                    ("tier".to_owned(), MetadataRule::Like("gold*".into())),
                ]
                .into(),
                ..Exposure::default()
            },
            Exposure::default(),
        ]);
        let may = |id: &str, metadata: Value| {
            rules
                .may_call(None, id, || Some(metadata))
                .map_err(|error| error.message)
        };
        assert!(may("api::x", Value::Null).is_ok());
        assert!(may("one::only", Value::Null).is_ok());
        assert!(may("engine::log::info", Value::Null).is_ok());
        assert!(may("f", json!({"public": true, "tier": "gold-2"})).is_ok());
        let add = "function 'f' not allowed (add to rbac.expose_functions)";
        assert_eq!(may("f", json!({"public": true})).unwrap_err(), add);
        assert_eq!(
            may("f", json!({"public": 1, "tier": "gold"})).unwrap_err(),
            add
        );
        for id in ["api::hidden", "secret::x"] {
            let remove =
                format!("function '{id}' not allowed (remove from rbac.forbidden_functions)");
            assert_eq!(may(id, Value::Null).unwrap_err(), remove);
        }
    }

    #[test]
    fn middleware_gets_the_call_as_it_was() {
        let rules = Rules {
            middleware: Some("mw::all".into()),
            context: json!({"who": "ann"}),
            ..Rules::default()
        };
        let mut call = Call::new(None, "shop::\"pay", Payload::json(r#"{"a": 1.50}"#));
        call.delivery = Delivery::Void;
        rules.intercept(&mut call).unwrap();
        assert_eq!(&*call.function, "mw::all");
        let told: Value = call.payload.decode().unwrap();
        let expect = json!({"function_id": "shop::\"pay", "payload": {"a": 1.5}, "action": {"type": "void"}, "context": {"who": "ann"}});
        assert_eq!(told, expect);
        let mut own = Call::new(None, "engine::status", Payload::NULL);
        rules.intercept(&mut own).unwrap();
        assert_eq!(&*own.function, "engine::status");
    }
}
