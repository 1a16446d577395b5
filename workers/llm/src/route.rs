//! Which provider gets a request, and under which model name.

use std::sync::Arc;

use agentos_contract::llm::{self, CompleteRequest};
use agentos_sdk::{Code, Error};

use crate::{
    anthropic::Anthropic,
    config::{self, Config, Family},
    offline::Offline,
    openai::OpenAi,
    provider::Provider,
    scripted::{Scripted, Stage},
};

/// All providers, in the order of the settings.
pub(crate) struct Routes {
    routes: Vec<Route>,
    /// Index of the provider, and the model, of requests that name none.
    default: (usize, Option<String>),
}

/// One provider and what is known of it.
pub(crate) struct Route {
    name: String,
    family: Family,
    base: String,
    /// `None` when it lacks a key, and cannot be asked.
    provider: Option<Arc<dyn Provider>>,
    models: Vec<String>,
}

impl Routes {
    /// # Errors
    /// What is wrong with the settings.
    pub(crate) fn new(config: &Config, stage: &Arc<Stage>) -> Result<Self, config::Error> {
        let mut routes: Vec<Route> = Vec::new();
        for provider in &config.providers {
            if routes.iter().any(|route| route.name == provider.name) {
                return Err(config::Error::DoubleName {
                    name: provider.name.clone(),
                });
            }
            routes.push(Route::new(provider, stage)?);
        }
        if routes.is_empty() {
            routes.push(Route::new(
                &config::Provider::new("offline", Family::Offline),
                stage,
            )?);
        }
        let default = default(config.default_model.as_deref(), &routes)?;
        Ok(Routes { routes, default })
    }

    /// The provider to ask, and its name for the model.
    ///
    /// # Errors
    /// `invalid_input` for a provider that is not there, `unavailable` for one without a key.
    pub(crate) fn find(
        &self,
        request: &CompleteRequest,
    ) -> Result<(Arc<dyn Provider>, String), Error> {
        let (route, model) = self.choose(request)?;
        let provider = route
            .provider
            .as_ref()
            .ok_or_else(|| route.not_configured())?;
        let model = model
            .filter(|model| !model.is_empty())
            .or_else(|| route.models.first().cloned());
        match model {
            Some(model) => Ok((Arc::clone(provider), model)),
            None => Err(unknown(
                &route.name,
                &format!("name a model: provider `{}` lists none", route.name),
            )),
        }
    }

    fn choose(&self, request: &CompleteRequest) -> Result<(&Route, Option<String>), Error> {
        let asked = request.model.as_str();
        if let Some(name) = request.provider.as_deref() {
            let route = self
                .routes
                .iter()
                .find(|route| route.name == name)
                .ok_or_else(|| {
                    unknown(
                        asked,
                        &format!(
                            "there is no provider `{name}`; there are: {}",
                            names(&self.routes)
                        ),
                    )
                })?;
            return Ok((route, Some(route.own(asked).unwrap_or(asked).to_owned())));
        }
        if let Some(found) = self
            .routes
            .iter()
            .find_map(|route| Some((route, Some(route.own(asked)?.to_owned()))))
        {
            return Ok(found);
        }
        let (default, model) = &self.default;
        if asked.is_empty() {
            return Ok((&self.routes[*default], model.clone()));
        }
        let listing = self
            .routes
            .iter()
            .find(|route| route.models.iter().any(|model| model == asked));
        let upstream = |route: &&Route| matches!(route.family, Family::OpenAi | Family::Anthropic);
        // A name nobody lists may still be known upstream: providers add models every week. What
        // is played here is known here.
        listing
            .or_else(|| Some(&self.routes[*default]).filter(upstream))
            .map(|route| (route, Some(asked.to_owned())))
            .ok_or_else(|| {
                unknown(
                    asked,
                    &format!("there is no model `{asked}`; `llm::models` lists them"),
                )
            })
    }

    pub(crate) fn models(&self) -> llm::Models {
        let default = self
            .find(&CompleteRequest::default())
            .ok()
            .map(|(_, model)| model);
        let of = |(index, route): (usize, &Route)| {
            let is_default =
                |model: &String| index == self.default.0 && default.as_ref() == Some(model);
            let unlisted = default
                .iter()
                .filter(|model| is_default(model) && !route.models.contains(model));
            let models = route.models.iter().chain(unlisted);
            models
                .map(|model| route.model(model, is_default(model)))
                .collect::<Vec<_>>()
        };
        llm::Models {
            models: self.routes.iter().enumerate().flat_map(of).collect(),
        }
    }

    pub(crate) fn providers(&self) -> llm::Providers {
        llm::Providers {
            providers: self.routes.iter().map(Route::describe).collect(),
        }
    }

    /// Whether any provider is scripted.
    pub(crate) fn scripted(&self) -> bool {
        self.routes
            .iter()
            .any(|route| route.family == Family::Scripted)
    }
}

impl Route {
    fn new(written: &config::Provider, stage: &Arc<Stage>) -> Result<Self, config::Error> {
        let name = written.name.clone();
        if name.is_empty()
            || !name
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte))
        {
            return Err(config::Error::Name { name });
        }
        let own = written.family.base_url();
        let base = written
            .base_url
            .clone()
            .or(own.map(str::to_owned))
            .unwrap_or_default();
        // The families' own hosts want a key; other hosts may be local servers that want none.
        let lacks_key = own == Some(base.as_str()) && written.api_key.is_none();
        let mut route = Route {
            name,
            family: written.family,
            base,
            provider: None,
            models: written.models.clone(),
        };
        let provider: Arc<dyn Provider> = match written.family {
            Family::OpenAi => Arc::new(OpenAi::new(written, &route.base)?),
            Family::Anthropic => Arc::new(Anthropic::new(written, &route.base)?),
            Family::Scripted => {
                let scripted = Scripted::new(written, Arc::clone(stage))?;
                route.models.extend(scripted.models());
                route.base = written
                    .script
                    .as_ref()
                    .map(|path| path.display().to_string())
                    .unwrap_or_default();
                Arc::new(scripted)
            }
            Family::Offline => {
                route.models.push("offline".to_owned());
                Arc::new(Offline {
                    name: route.name.clone(),
                })
            }
        };
        route.provider = (!lacks_key).then_some(provider);
        Ok(route)
    }

    /// The model in `provider/model`, when the provider is this one.
    fn own<'m>(&self, model: &'m str) -> Option<&'m str> {
        model.strip_prefix(self.name.as_str())?.strip_prefix('/')
    }

    fn not_configured(&self) -> Error {
        let variable = self.family.variables().map_or("api_key", |(key, _)| key);
        let message = format!(
            "provider `{}` has no API key: set {variable}, or `api_key_env` in config.yaml",
            self.name
        );
        let mut error = Error::worker(Code::Unavailable, message).reason("not_configured");
        error.retryable = false;
        error
    }

    fn model(&self, model: &str, default: bool) -> llm::Model {
        llm::Model {
            id: format!("{}/{model}", self.name),
            model: model.to_owned(),
            provider: self.name.clone(),
            default,
            ..llm::Model::default()
        }
    }

    fn describe(&self) -> llm::Provider {
        llm::Provider {
            name: self.name.clone(),
            family: self.family.as_str().to_owned(),
            base: self.base.clone(),
            configured: self.provider.is_some(),
            ..llm::Provider::default()
        }
    }
}

fn default(
    model: Option<&str>,
    routes: &[Route],
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

fn names(routes: &[Route]) -> String {
    routes
        .iter()
        .map(|route| route.name.as_str())
        .collect::<Vec<_>>()
        .join(", ")
}

fn unknown(model: &str, message: &str) -> Error {
    Error::caller(Code::InvalidInput, message)
        .reason("model_not_found")
        .details(serde_json::json!({ "field": "model", "model": model }))
}

#[cfg(test)]
mod tests;
