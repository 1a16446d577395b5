//! Which providers get a request, in which order, and under which model name.

mod auto;
mod one;

use std::{collections::BTreeMap, sync::Arc};

use agentos_contract::llm::{self, AUTO, CompleteRequest, Tier};
use agentos_sdk::{Code, Error};
use parking_lot::RwLock;

pub(crate) use self::one::Route;
use crate::{
    config::{self, Auto, Config, Family},
    scripted::Stage,
    table::Table,
};

/// All providers, in the order of the settings; those that were discovered come last.
pub(crate) struct Routes {
    routes: RwLock<Arc<[Arc<Route>]>>,
    /// Index of the provider, and the model, of requests that name none.
    default: (usize, Option<String>),
    default_auto: bool,
    aliases: BTreeMap<String, String>,
    fallbacks: Vec<String>,
    auto: Auto,
    pub(crate) table: Table,
}

/// Who is asked, in order.
pub(crate) struct Plan {
    pub(crate) targets: Vec<Target>,
    pub(crate) tier: Option<Tier>,
    pub(crate) why: Vec<String>,
}

/// A model at its provider.
#[derive(Clone)]
pub(crate) struct Target {
    pub(crate) route: Arc<Route>,
    pub(crate) model: String,
}

impl Target {
    /// `provider/model`
    pub(crate) fn name(&self) -> String {
        format!("{}/{}", self.route.name, self.model)
    }
}

impl Routes {
    /// # Errors
    /// What is wrong with the settings.
    pub(crate) fn new(config: &Config, stage: &Arc<Stage>) -> Result<Self, config::Error> {
        let table = config.table()?;
        let mut routes: Vec<Arc<Route>> = Vec::new();
        for provider in &config.providers {
            if routes.iter().any(|route| route.name == provider.name) {
                return Err(config::Error::DoubleName {
                    name: provider.name.clone(),
                });
            }
            routes.push(Arc::new(Route::new(provider, &table, stage)?));
        }
        if routes.is_empty() {
            let offline = config::Provider::new("offline", Family::Offline);
            routes.push(Arc::new(Route::new(&offline, &table, stage)?));
        }
        for (alias, model) in &config.aliases {
            if !routes.iter().any(|route| route.own(model).is_some()) {
                return Err(config::Error::Alias {
                    alias: alias.clone(),
                    model: model.clone(),
                });
            }
        }
        let written = config.default_model.as_deref();
        let named = written.map(|name| config.aliases.get(name).map_or(name, String::as_str));
        let default = default(named.filter(|name| *name != AUTO), &routes)?;
        Ok(Routes {
            routes: RwLock::new(routes.into()),
            default,
            default_auto: named == Some(AUTO),
            aliases: config.aliases.clone(),
            fallbacks: config.fallbacks.clone(),
            auto: config.auto.clone(),
            table,
        })
    }

    /// All there are now.
    pub(crate) fn all(&self) -> Arc<[Arc<Route>]> {
        Arc::clone(&self.routes.read())
    }

    /// Adds a provider, or replaces the discovered one of its name; one of the settings stays.
    pub(crate) fn add(&self, route: Route) {
        let mut routes = self.routes.write();
        let others = routes
            .iter()
            .filter(|old| !old.discovered || old.name != route.name);
        let mut all: Vec<_> = others.cloned().collect();
        if !all.iter().any(|old| old.name == route.name) {
            all.push(Arc::new(route));
        }
        *routes = all.into();
    }

    /// The providers to ask, and their names for the model.
    ///
    /// # Errors
    /// `invalid_input` for a provider that is not there, `unavailable` for one without a key.
    pub(crate) fn find(&self, request: &CompleteRequest) -> Result<Plan, Error> {
        let mut plan = if self.is_auto(request) {
            auto::plan(self, request)?
        } else {
            let target = self.target(request)?;
            Plan {
                targets: vec![target],
                tier: None,
                why: Vec::new(),
            }
        };
        for name in request.fallbacks.iter().chain(&self.fallbacks) {
            let target = self.named(name)?;
            if !plan
                .targets
                .iter()
                .any(|known| known.name() == target.name())
            {
                plan.targets.push(target);
            }
        }
        if plan
            .targets
            .iter()
            .all(|target| target.route.provider.is_none())
        {
            let first = &plan.targets[0];
            return Err(first.route.not_configured());
        }
        plan.targets
            .retain(|target| target.route.provider.is_some());
        Ok(plan)
    }

    fn is_auto(&self, request: &CompleteRequest) -> bool {
        request.provider.is_none()
            && (request.model == AUTO || request.model.is_empty() && self.default_auto)
    }

    fn named(&self, model: &str) -> Result<Target, Error> {
        self.target(&CompleteRequest {
            model: model.to_owned(),
            ..CompleteRequest::default()
        })
    }

    fn target(&self, request: &CompleteRequest) -> Result<Target, Error> {
        let (route, model) = self.choose(request)?;
        let model = model
            .filter(|model| !model.is_empty())
            .or_else(|| route.models.first().cloned());
        match model {
            Some(model) => Ok(Target { route, model }),
            None => Err(unknown(
                &route.name,
                &format!("name a model: provider `{}` lists none", route.name),
            )),
        }
    }

    fn choose(&self, request: &CompleteRequest) -> Result<(Arc<Route>, Option<String>), Error> {
        let routes = self.all();
        let asked = request.model.as_str();
        if let Some(name) = request.provider.as_deref() {
            let Some(route) = routes.iter().find(|route| route.name == name) else {
                let names = names(&routes);
                let message = format!("there is no provider `{name}`; there are: {names}");
                return Err(unknown(asked, &message));
            };
            let model = route.own(asked).unwrap_or(asked).to_owned();
            return Ok((Arc::clone(route), Some(model)));
        }
        let asked = self.aliases.get(asked).map_or(asked, String::as_str);
        let own =
            |route: &Arc<Route>| Some((Arc::clone(route), Some(route.own(asked)?.to_owned())));
        if let Some(found) = routes.iter().find_map(own) {
            return Ok(found);
        }
        let (default, model) = &self.default;
        if asked.is_empty() {
            return Ok((Arc::clone(&routes[*default]), model.clone()));
        }
        let listing = routes
            .iter()
            .find(|route| route.models.iter().any(|model| model == asked));
        if let Some(route) = listing {
            return Ok((Arc::clone(route), Some(asked.to_owned())));
        }
        if let Some(found) = self.catalogued(asked, &routes) {
            return Ok(found);
        }
        // A name nobody lists may still be known upstream: providers add models every week. What
        // is played here is known here.
        let default = &routes[*default];
        if default.family.is_hosted() {
            return Ok((Arc::clone(default), Some(asked.to_owned())));
        }
        let message = format!("there is no model `{asked}`; `llm::models` lists them");
        Err(unknown(asked, &message))
    }

    /// An alias of the catalogue, where its provider is configured.
    fn catalogued(
        &self,
        alias: &str,
        routes: &[Arc<Route>],
    ) -> Option<(Arc<Route>, Option<String>)> {
        let known = self.table.alias(alias)?;
        let kind = known.provider.as_deref()?;
        let has = |route: &&Arc<Route>| route.kind == kind && route.provider.is_some();
        let route = routes.iter().find(has)?;
        Some((Arc::clone(route), Some(known.id.clone())))
    }

    pub(crate) fn models(&self) -> llm::Models {
        let routes = self.all();
        let default = self.target(&CompleteRequest::default()).ok();
        let is_default = |route: &Arc<Route>, model: &str| {
            default.as_ref().is_some_and(|default| {
                !self.default_auto && default.route.name == route.name && default.model == model
            })
        };
        let of = |route: &Arc<Route>| {
            let unlisted = default
                .iter()
                .map(|default| &default.model)
                .filter(|model| is_default(route, model) && !route.models.contains(model));
            let models = route.models.iter().chain(unlisted);
            models
                .map(|model| self.model(route, model, is_default(route, model)))
                .collect::<Vec<_>>()
        };
        llm::Models {
            models: routes.iter().flat_map(of).collect(),
        }
    }

    fn model(&self, route: &Route, model: &str, default: bool) -> llm::Model {
        let id = format!("{}/{model}", route.name);
        let known = self.table.model(&route.kind, model);
        let written = self.aliases.iter().filter(|(_, of)| **of == id);
        let mut aliases: Vec<String> = written.map(|(alias, _)| alias.clone()).collect();
        aliases.extend(known.into_iter().flat_map(|known| known.aliases.clone()));
        llm::Model {
            id,
            model: model.to_owned(),
            provider: route.name.clone(),
            default,
            aliases,
            facts: known.map(|known| known.facts(&route.kind)),
        }
    }

    pub(crate) fn providers(&self) -> llm::Providers {
        llm::Providers {
            providers: self.all().iter().map(|route| route.describe()).collect(),
        }
    }

    /// Whether any provider is scripted.
    pub(crate) fn scripted(&self) -> bool {
        self.all()
            .iter()
            .any(|route| route.family == Family::Scripted)
    }
}

fn default(
    model: Option<&str>,
    routes: &[Arc<Route>],
) -> Result<(usize, Option<String>), config::Error> {
    let Some(model) = model else {
        return Ok((0, None));
    };
    let own = routes
        .iter()
        .enumerate()
        .find_map(|(index, route)| Some((index, route.own(model)?)));
    let listed = || {
        routes
            .iter()
            .position(|route| route.models.iter().any(|listed| listed == model))
            .map(|index| (index, model))
    };
    match own.or_else(listed) {
        Some((index, model)) => Ok((index, Some(model.to_owned()))),
        None => Err(config::Error::DefaultModel {
            model: model.to_owned(),
            providers: names(routes),
        }),
    }
}

fn names(routes: &[Arc<Route>]) -> String {
    let names: Vec<_> = routes.iter().map(|route| route.name.as_str()).collect();
    names.join(", ")
}

fn unknown(model: &str, message: &str) -> Error {
    Error::caller(Code::InvalidInput, message)
        .reason("model_not_found")
        .details(serde_json::json!({ "field": "model", "model": model }))
}

#[cfg(test)]
mod tests;
