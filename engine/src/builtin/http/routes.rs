//! Routes: method and path to the function that answers.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use agentos_sdk::{Code, Error, TriggerSpec};
use parking_lot::RwLock;
use serde::Deserialize;

/// Methods a route can have.
pub(super) const METHODS: [&str; 7] = ["GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS"];

/// A trigger's config, as written.
#[derive(Deserialize, Clone)]
struct Written {
    api_path: String,
    #[serde(default = "get")]
    http_method: String,
    #[serde(default)]
    auth: Auth,
    #[serde(default)]
    raw_body: bool,
    #[serde(default)]
    condition_function_id: Option<Arc<str>>,
}

fn get() -> String {
    "GET".to_owned()
}

/// Who may call a route.
#[derive(Deserialize, Clone, Copy, PartialEq, Eq, Debug, Default)]
#[serde(rename_all = "lowercase")]
pub(super) enum Auth {
    #[default]
    Token,
    None,
}

/// A bound route.
#[derive(Debug)]
pub(super) struct Route {
    pub(super) function: Arc<str>,
    pub(super) method: String,
    /// As it was registered, with its leading slash.
    pub(super) path: String,
    pub(super) auth: Auth,
    pub(super) raw_body: bool,
    pub(super) condition: Option<Arc<str>>,
    /// Names of the parameters, in order of appearance.
    names: Vec<String>,
}

/// A route and what its parameters stand for.
pub(super) struct Matched {
    pub(super) route: Arc<Route>,
    pub(super) params: BTreeMap<String, String>,
}

#[derive(Default)]
pub(super) struct Routes(RwLock<Table>);

#[derive(Default)]
struct Table {
    /// Per method. The value is the key into `bound`.
    paths: HashMap<String, matchit::Router<String>>,
    /// Per method and pattern: the triggers that bind it, newest last. Instances of one worker
    /// bind the same route for the same function.
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
    pub(super) fn bind(&self, trigger: &TriggerSpec) -> Result<(), Error> {
        let (route, pattern) = read(trigger)?;
        let key = format!("{} {pattern}", route.method);
        let mut table = self.0.write();
        table.unbind(&trigger.id);
        if let Some((_, other)) = table.bound.get(&key).and_then(|bound| {
            bound
                .iter()
                .find(|(_, other)| other.function != route.function)
        }) {
            let message = format!(
                "{} {} is bound to `{}`",
                route.method, route.path, other.function
            );
            return Err(Error::caller(Code::Conflict, message));
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
        self.0.write().unbind(id);
    }

    pub(super) fn find(&self, method: &str, path: &str) -> Found {
        let table = self.0.read();
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

fn read(trigger: &TriggerSpec) -> Result<(Route, String), Error> {
    let written: Written = serde_json::from_value(trigger.config.clone())
        .map_err(|error| invalid(format!("http trigger: {error}")))?;
    let method = written.http_method.to_ascii_uppercase();
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
        method,
        path,
        auth: written.auth,
        raw_body: written.raw_body,
        condition: written.condition_function_id,
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

    fn routes(rows: &[(&str, &str, &str)]) -> Routes {
        let routes = Routes::default();
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
    fn a_route_has_one_function_and_many_binders() {
        let routes = Routes::default();
        let config = json!({ "api_path": "/x/:a" });
        routes
            .bind(&trigger("t1", "f", config.clone()))
            .expect("new");
        routes
            .bind(&trigger("t2", "f", json!({ "api_path": "/x/:b" })))
            .expect("another instance");
        assert_eq!(
            routes
                .bind(&trigger("t3", "g", config.clone()))
                .expect_err("taken")
                .code,
            Code::Conflict
        );
        routes.unbind("t1");
        assert!(bound(&routes, "GET", "/x/1").is_some());
        routes.unbind("t2");
        assert!(bound(&routes, "GET", "/x/1").is_none());
        routes
            .bind(&trigger("t3", "g", config))
            .expect("free again");
    }

    #[test]
    fn bad_configs_are_refused() {
        let routes = Routes::default();
        for config in [
            json!(null),
            json!({}),
            json!({ "api_path": 7 }),
            json!({ "api_path": "/x", "http_method": "FETCH" }),
            json!({ "api_path": "/a/*x/b" }),
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
