//! Other systems' interfaces to this fleet, so that their clients work unchanged. Off unless asked for.

pub(crate) mod browser_use_vnc;
mod entry;
pub(crate) mod mini_browser_isolation;

use std::sync::Arc;

use axum::{
    Router,
    extract::State as Extract,
    http::{Method, Uri},
    response::{IntoResponse, Response},
    routing::get,
};
use prometheus_client::registry::Registry;

use crate::{Shared, caller::ClientOf, problem};

/// A system whose interface is served beside our own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Facade {
    /// Mini-Browser-Isolation's orchestrator: `/api/sessions` and `/ws/sessions`.
    MiniBrowserIsolation,
    /// browser-use-vnc's orchestrator: `/sessions`.
    BrowserUseVnc,
}

/// Which interfaces of other systems are served, and to whom.
#[derive(Debug, Clone, Default)]
pub struct FacadeConfig {
    /// Those that are served.
    pub served: Vec<Facade>,
    /// Whoever reaches them may use them, without a token: for a private network.
    pub open: bool,
    /// What sessions of browser-use-vnc run, if not a browser.
    pub agent: Option<browser_use_vnc::Agent>,
}

impl FacadeConfig {
    /// Whether one is served.
    pub fn serves(&self, facade: Facade) -> bool {
        self.served.contains(&facade)
    }
}

/// What facades have to remember.
pub(crate) struct State {
    pub(crate) mini: mini_browser_isolation::State,
    pub(crate) browser_use_vnc: browser_use_vnc::State,
}

impl State {
    /// Nothing yet, with the settings that those systems take from the environment.
    pub(crate) fn from_environment() -> Self {
        Self {
            mini: mini_browser_isolation::State::new(|name| std::env::var(name).ok()),
            browser_use_vnc: browser_use_vnc::State::default(),
        }
    }
}

/// Routes of all facades that are served.
pub(crate) fn router(shared: &Arc<Shared>) -> Router<Arc<Shared>> {
    let config = &shared.config.facades;
    let mut router = Router::new();
    if config.serves(Facade::MiniBrowserIsolation) {
        router = router.merge(mini_browser_isolation::router(shared));
    }
    if config.serves(Facade::BrowserUseVnc) {
        router = router.merge(browser_use_vnc::router(shared));
    }
    if !config.served.is_empty() {
        router = router.route("/api/login", get(entry::sign_in));
    }
    router
}

/// `/healthz` as the clients of a facade know it.
pub(crate) fn health(shared: &Shared) -> Option<Response> {
    shared.config.facades.serves(Facade::MiniBrowserIsolation).then(mini_browser_isolation::health)
}

/// The numbers of all facades that are served, for `/metrics`.
pub(crate) fn register(shared: &Shared, registry: &mut Registry) {
    if shared.config.facades.serves(Facade::MiniBrowserIsolation) {
        mini_browser_isolation::register(shared, registry);
    }
}

/// What is at no address: a facade's clients are told in its way.
pub(crate) async fn not_found(
    Extract(shared): Extract<Arc<Shared>>,
    ClientOf(client): ClientOf,
    method: Method,
    uri: Uri,
) -> Response {
    match mini_browser_isolation::nothing(&shared, &client, &method, &uri) {
        Some(response) => response,
        None => problem::not_found().await.into_response(),
    }
}

/// An address that does not take the method.
pub(crate) async fn wrong_method(
    Extract(shared): Extract<Arc<Shared>>,
    ClientOf(client): ClientOf,
    method: Method,
    uri: Uri,
) -> Response {
    match mini_browser_isolation::nothing(&shared, &client, &method, &uri) {
        Some(response) => response,
        None => problem::wrong_method().await.into_response(),
    }
}
