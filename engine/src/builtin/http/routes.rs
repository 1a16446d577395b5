//! Routes: method and path to the function that answers.
//!
//! The newest binding of a route counts; older ones wait behind it and come back when it goes.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use agentos_sdk::{Code, Error, TriggerSpec};
use parking_lot::RwLock;
use serde::Deserialize;
use tokio::sync::Semaphore;

use super::room::Room;

/// Methods a route can have.
pub(super) const METHODS: [&str; 7] = ["GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS"];

/// A trigger's config, as written.
#[derive(Deserialize, Clone)]
struct Written {
    api_path: String,
    http_method: Option<String>,
    #[serde(default)]
    auth: Auth,
    #[serde(default)]
    raw_body: bool,
    condition_function_id: Option<Arc<str>>,
    middleware_function_ids: Option<Vec<Arc<str>>>,
    invalid_json: Option<InvalidJson>,
}

/// What happens to a body that says it is JSON and is not.
#[derive(Deserialize, Clone, Copy, PartialEq, Eq, Debug)]
#[serde(rename_all = "lowercase")]
pub(super) enum InvalidJson {
    /// The function gets null.
    Null,
    /// The client gets 400.
    Reject,
}

/// Who may call a route.
#[derive(Deserialize, Clone, Copy, PartialEq, Eq, Debug, Default)]
#[serde(rename_all = "lowercase")]
pub(super) enum Auth {
    #[default]
    Token,
    /// Whoever shows the token or some other key, which the function judges.
    Key,
    None,
}

/// A bound route.
#[derive(Clone)]
pub(super) struct Route {
    pub(super) function: Arc<str>,
    pub(super) namespace: Option<Arc<str>>,
    /// The trigger's, for the call.
    pub(super) metadata: Option<Arc<str>>,
    pub(super) method: String,
    /// As it was registered, with its leading slash.
    pub(super) path: String,
    pub(super) auth: Auth,
    pub(super) raw_body: bool,
    pub(super) condition: Option<Arc<str>>,
    pub(super) middleware: Vec<Arc<str>>,
    /// `None`: as the dialect of the function's worker has it.
    pub(super) invalid_json: Option<InvalidJson>,
    /// Requests that may be worked on at one time.
    pub(super) share: Arc<Semaphore>,
    /// Names of the parameters, in order of appearance.
    names: Vec<String>,
}

/// A route and what its parameters stand for.
pub(super) struct Matched {
    pub(super) route: Arc<Route>,
    pub(super) params: BTreeMap<String, String>,
}

pub(super) struct Routes {
    table: RwLock<Table>,
    room: RwLock<Arc<Room>>,
}

#[derive(Default)]
struct Table {
    /// Per method. The value is the key into `bound`.
    paths: HashMap<String, matchit::Router<String>>,
    /// Per method and pattern: the triggers that bind it, newest last.
    bound: HashMap<String, Vec<Binder>>,
    /// From a trigger to its key in `bound`.
    keys: HashMap<Arc<str>, String>,
}

/// A trigger and its route.
type Binder = (Arc<str>, Arc<Route>);

/// What was found for a request.
pub(super) enum Found {
    Route(Matched),
    /// The path is known, with these methods.
    OtherMethods(Vec<String>),
    Nothing,
}

impl Routes {
    pub(super) fn new(room: Arc<Room>) -> Self {
        Routes {
            table: RwLock::default(),
            room: RwLock::new(room),
        }
    }

    /// Routes have their share of `room` from now on.
    pub(super) fn resize(&self, room: Arc<Room>) {
        let mut table = self.table.write();
        for bound in table.bound.values_mut() {
            let share = room.share();
            for (_, route) in bound {
                let resized = Route {
                    share: Arc::clone(&share),
                    ..Route::clone(route)
                };
                *route = Arc::new(resized);
            }
        }
        *self.room.write() = room;
    }

    pub(super) fn bind(&self, trigger: &TriggerSpec) -> Result<(), Error> {
        let (mut route, pattern) = read(trigger, self.room.read().share())?;
        let key = format!("{} {pattern}", route.method);
        let mut table = self.table.write();
        table.unbind(&trigger.id);
        // Bindings of one route share its seats: a hanging function is not freed by binding again.
        if let Some((_, before)) = table.bound.get(&key).and_then(|bound| bound.last()) {
            if before.path != route.path && before.function != route.function {
                return Err(conflict(&route, before));
            }
            route.share = Arc::clone(&before.share);
            if before.function != route.function {
                tracing::info!(route = key, before = %before.function, now = %route.function, "a route has a new function");
            }
        }
        if !table.bound.contains_key(&key) {
            let paths = table.paths.entry(route.method.clone()).or_default();
            paths
                .insert(pattern, key.clone())
                .map_err(|error| invalid(format!("api_path `{}`: {error}", route.path)))?;
        }
        table
            .bound
            .entry(key.clone())
            .or_default()
            .push((Arc::clone(&trigger.id), Arc::new(route)));
        table.keys.insert(Arc::clone(&trigger.id), key);
        Ok(())
    }

    pub(super) fn unbind(&self, id: &str) {
        self.table.write().unbind(id);
    }

    pub(super) fn find(&self, method: &str, path: &str) -> Found {
        let table = self.table.read();
        if let Some(matched) = table.matched(method, path) {
            return Found::Route(matched);
        }
        // A GET route answers HEAD; the body is dropped on the way out.
        if method == "HEAD"
            && let Some(matched) = table.matched("GET", path)
        {
            return Found::Route(matched);
        }
        let others: Vec<String> = table
            .paths
            .iter()
            .filter(|(_, paths)| paths.at(path).is_ok())
            .map(|(method, _)| method.clone())
            .collect();
        if others.is_empty() {
            Found::Nothing
        } else {
            Found::OtherMethods(others)
        }
    }
}

impl Table {
    fn matched(&self, method: &str, path: &str) -> Option<Matched> {
        let found = self.paths.get(method)?.at(path).ok()?;
        let (_, route) = self.bound.get(found.value)?.last()?;
        let values = found.params.iter().map(|(_, value)| decode(value));
        let params = route.names.iter().cloned().zip(values).collect();
        Some(Matched {
            route: Arc::clone(route),
            params,
        })
    }

    fn unbind(&mut self, id: &str) {
        let Some(key) = self.keys.remove(id) else {
            return;
        };
        let Some(bound) = self.bound.get_mut(&key) else {
            return;
        };
        bound.retain(|(trigger, _)| &**trigger != id);
        if bound.is_empty() {
            self.bound.remove(&key);
            if let Some((method, pattern)) = key.split_once(' ')
                && let Some(paths) = self.paths.get_mut(method)
            {
                paths.remove(pattern);
            }
        }
    }
}

fn read(trigger: &TriggerSpec, share: Arc<Semaphore>) -> Result<(Route, String), Error> {
    let written = Written::deserialize(&trigger.config)
        .map_err(|error| invalid(format!("http trigger: {error}")))?;
    let method = written.http_method.as_deref().unwrap_or("GET");
    let method = method.to_ascii_uppercase();
    if !METHODS.contains(&method.as_str()) {
        return Err(invalid(format!(
            "http_method `{method}` is none of {}",
            METHODS.join(", ")
        )));
    }
    let path = format!("/{}", written.api_path.trim_start_matches('/'));
    let (pattern, names) = pattern(&path);
    let route = Route {
        function: Arc::clone(&trigger.function),
        namespace: trigger.namespace.clone(),
        metadata: trigger
            .metadata
            .as_ref()
            .map(|metadata| metadata.to_string().into()),
        method,
        path,
        auth: written.auth,
        raw_body: written.raw_body,
        condition: written.condition_function_id,
        middleware: written.middleware_function_ids.unwrap_or_default(),
        invalid_json: written.invalid_json,
        share,
        names,
    };
    Ok((route, pattern))
}

/// The path in the words of the matcher, with parameters named by position so that routes differ
/// by shape alone, and the names they had.
fn pattern(path: &str) -> (String, Vec<String>) {
    let mut names = Vec::new();
    let segments = path.split('/').map(|segment| {
        if let Some(name) = segment.strip_prefix(':').filter(|name| !name.is_empty()) {
            names.push(name.to_owned());
            format!("{{p{}}}", names.len())
        } else if let Some(name) = segment.strip_prefix('*') {
            names.push(if name.is_empty() {
                "rest".to_owned()
            } else {
                name.to_owned()
            });
            format!("{{*p{}}}", names.len())
        } else {
            segment.replace('{', "{{").replace('}', "}}")
        }
    });
    (segments.collect::<Vec<_>>().join("/"), names)
}

/// Percent-decodes one parameter; what is no UTF-8 stays as it was sent.
fn decode(value: &str) -> String {
    percent_encoding::percent_decode_str(value)
        .decode_utf8()
        .map_or_else(|_| value.to_owned(), std::borrow::Cow::into_owned)
}

/// Which of the two is meant cannot be told from a request.
fn conflict(route: &Route, before: &Route) -> Error {
    let message = format!(
        "{} {} conflicts with already-registered route {}, which is bound to `{}`",
        route.method, route.path, before.path, before.function
    );
    Error::caller(Code::Conflict, message)
}

fn invalid(message: String) -> Error {
    Error::caller(Code::InvalidInput, message)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn trigger(id: &str, function: &str, config: Value) -> TriggerSpec {
        TriggerSpec::new(id, "http", function, config)
    }

    fn bound(
        routes: &Routes,
        method: &str,
        path: &str,
    ) -> Option<(String, BTreeMap<String, String>)> {
        match routes.find(method, path) {
            Found::Route(found) => Some((found.route.function.to_string(), found.params)),
            _ => None,
        }
    }

    fn empty() -> Routes {
        Routes::new(Arc::new(Room::new(4, 4)))
    }

    fn routes(rows: &[(&str, &str, &str)]) -> Routes {
        let routes = empty();
        for (id, method, path) in rows {
            routes
                .bind(&trigger(
                    id,
                    id,
                    json!({ "api_path": path, "http_method": method }),
                ))
                .expect("a new route");
        }
        routes
    }

    #[test]
    fn literals_beat_parameters_and_parameters_are_decoded() {
        let routes = routes(&[
            ("one", "GET", "/orders/:id"),
            ("new", "GET", "orders/new"),
            ("rest", "GET", "/files/*path"),
            ("post", "POST", "/orders/:number"),
        ]);
        let name = |path| bound(&routes, "GET", path).map(|(function, _)| function);
        assert_eq!(name("/orders/new").as_deref(), Some("new"));
        assert_eq!(
            bound(&routes, "GET", "/orders/a%2Fb").expect("bound").1["id"],
            "a/b"
        );
        assert_eq!(
            bound(&routes, "POST", "/orders/7").expect("bound").1["number"],
            "7"
        );
        assert_eq!(
            bound(&routes, "GET", "/files/a/b.txt").expect("bound").1["path"],
            "a/b.txt"
        );
        assert_eq!(name("/orders/"), None);
        assert_eq!(name("/orders"), None);
        assert!(
            matches!(routes.find("DELETE", "/orders/7"), Found::OtherMethods(methods) if methods.len() == 2)
        );
        assert_eq!(
            bound(&routes, "HEAD", "/orders/new")
                .expect("answers HEAD")
                .0,
            "new"
        );
    }

    #[test]
    fn the_newest_binding_counts_and_older_ones_come_back() {
        let routes = empty();
        let bind = |id: &str, function: &str, path: &str| {
            routes
                .bind(&trigger(id, function, json!({ "api_path": path })))
                .expect("a route");
        };
        let now = || bound(&routes, "GET", "/x/1");
        let is = |function: &str, name: &str| {
            let params = [(name.to_owned(), "1".to_owned())].into();
            assert_eq!(now(), Some((function.to_owned(), params)));
        };
        bind("t1", "f", "/x/:a");
        bind("t2", "f", "/x/:b");
        is("f", "b");
        bind("t3", "g", "x/:b");
        is("g", "b");
        routes.unbind("t2");
        is("g", "b");
        // Another function under other names: nobody could tell which is meant.
        let other = trigger("t4", "h", json!({ "api_path": "/x/:c" }));
        let refused = routes.bind(&other).expect_err("a conflict");
        assert!(
            refused
                .message
                .contains("conflicts with already-registered route")
        );
        is("g", "b");
        routes.unbind("t3");
        is("f", "a");
        // The same trigger elsewhere: its old route goes.
        bind("t1", "f", "/y");
        assert_eq!(now(), None);
        assert!(bound(&routes, "GET", "/y").is_some());
        routes.unbind("t1");
        assert!(bound(&routes, "GET", "/y").is_none());
        bind("t1", "f", "/y");
        assert!(bound(&routes, "GET", "/y").is_some());
    }

    #[test]
    fn what_a_trigger_says_beside_its_path() {
        let routes = empty();
        let config = json!({
            "api_path": "/m", "http_method": null, "condition_function_id": null,
            "middleware_function_ids": ["a", "b"], "invalid_json": "null", "unknown": 1,
        });
        let trigger = TriggerSpec {
            metadata: Some(json!({ "k": 1 })),
            namespace: Some("shop".into()),
            ..trigger("t", "f", config)
        };
        routes.bind(&trigger).expect("a route");
        let Found::Route(found) = routes.find("GET", "/m") else {
            panic!("bound")
        };
        let route = found.route;
        assert_eq!(route.metadata.as_deref(), Some("{\"k\":1}"));
        assert_eq!(route.namespace.as_deref(), Some("shop"));
        assert_eq!(route.invalid_json, Some(InvalidJson::Null));
        assert_eq!((route.middleware.len(), &route.condition), (2, &None));
    }

    #[test]
    fn routes_get_their_share_of_a_new_room() {
        let routes = routes(&[("one", "GET", "/a"), ("two", "GET", "/b")]);
        routes.resize(Arc::new(Room::new(8, 8)));
        let share = |path| match routes.find("GET", path) {
            Found::Route(found) => found.route.share.available_permits(),
            _ => panic!("bound"),
        };
        assert_eq!((share("/a"), share("/b")), (6, 6));
        assert_eq!(bound(&routes, "GET", "/b").expect("bound").0, "two");
    }

    #[test]
    fn bad_configs_are_refused() {
        let routes = empty();
        for config in [
            json!(null),
            json!({}),
            json!({ "api_path": 7 }),
            json!({ "api_path": "/x", "http_method": "FETCH" }),
            json!({ "api_path": "/a/*x/b" }),
            json!({ "api_path": "/x", "invalid_json": "ignore" }),
            json!({ "api_path": "/x", "middleware_function_ids": "one" }),
        ] {
            assert_eq!(
                routes
                    .bind(&trigger("t", "f", config.clone()))
                    .expect_err("refused")
                    .code,
                Code::InvalidInput,
                "{config}"
            );
        }
    }
}
