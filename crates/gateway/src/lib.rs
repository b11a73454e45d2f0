//! The door of a host: REST for the fleet, who may use it, and a proxy to each session.
//!
//! Nothing that a request says makes the gateway reach anything but the socket of a session of its own fleet.

#![forbid(unsafe_code)]

mod api;
mod caller;
mod client;
mod connect;
mod exposition;
mod facades;
mod listen;
mod login;
mod login_brake;
mod media;
mod metrics;
mod oidc;
mod oidc_http;
mod oidc_rules;
mod page;
mod problem;
mod proxy;
mod tls;
mod vnc;

use std::{
    net::IpAddr,
    sync::{Arc, OnceLock},
};

use axum::{
    Router, middleware,
    routing::{MethodRouter, get},
};
use glasshouse_fleet::{Fleet, Grant, Users};

pub use client::{Network, NetworkError};
pub use facades::{Facade, FacadeConfig, browser_use_vnc::Agent};
pub use listen::serve;
pub use media::{Count, Media};
pub use oidc::{ClaimRule, OidcConfig};
pub use tls::Tls;

use crate::{login::SignIn, metrics::Metrics};

/// Settings of the door.
#[derive(Debug, Clone, Default)]
pub struct Config {
    /// Path below which everything is, such as `/glasshouse`; empty for none. No slash at its end.
    pub path_prefix: String,
    /// Host names that requests may be addressed to besides loopback names and IP addresses (DNS rebinding).
    pub allowed_hosts: Vec<String>,
    /// Reverse proxies whose `X-Forwarded-*` is believed.
    pub trusted_proxies: Vec<Network>,
    /// Origins besides our own whose pages may do more than look, such as `http://localhost:5173`: of pages behind a proxy that
    /// passes our paths on under another name.
    pub allowed_origins: Vec<String>,
    /// Interfaces of other systems.
    pub facades: FacadeConfig,
    /// Who may sign in with a password, if anybody.
    pub users: Option<Arc<Users>>,
    /// Who may sign in with an OpenID provider, if anybody.
    pub oidc: Option<OidcConfig>,
    /// For how long a browser stays signed in, in seconds.
    pub login_seconds: u64,
    /// Our certificate; then only this machine and trusted proxies may speak to us in the open.
    pub tls: Option<Tls>,
}

/// The door to a fleet.
#[derive(Clone)]
pub struct Gateway {
    shared: Arc<Shared>,
    console: Option<MethodRouter>,
}

pub(crate) struct Shared {
    pub(crate) fleet: Fleet,
    pub(crate) config: Config,
    pub(crate) metrics: Metrics,
    pub(crate) media: OnceLock<Media>,
    pub(crate) facades: facades::State,
    pub(crate) sign_in: SignIn,
}

impl Shared {
    /// Whom the cookie of a browser stands for now.
    fn signed_in(&self, secret: &str) -> Option<Grant> {
        self.fleet.login(secret).filter(|grant| self.sign_in.is_current(grant))
    }

    /// Whom a secret stands for now, be it a token's or a cookie's.
    fn grant(&self, secret: &str) -> Option<Grant> {
        self.fleet.grant(secret).or_else(|| self.signed_in(secret))
    }

    fn is_trusted(&self, address: IpAddr) -> bool {
        self.config.trusted_proxies.iter().any(|network| network.contains(address))
    }
}

impl Gateway {
    /// Makes the door to a fleet.
    pub fn new(fleet: Fleet, config: Config) -> Self {
        let facades = facades::State::from_environment();
        let sign_in = SignIn::new(&config);
        let shared = Shared { fleet, config, metrics: Metrics::default(), media: OnceLock::new(), facades, sign_in };
        Self { shared: Arc::new(shared), console: None }
    }

    /// Serves the files of a page too: `/console.html` of it at the root, and what is below `/assets/`.
    #[must_use]
    pub fn with_console(self, files: MethodRouter) -> Self {
        Self { console: Some(files), ..self }
    }

    /// Says where the media of all sessions goes, and lets connections for it come in at the port of the door.
    #[must_use]
    pub fn with_media(self, media: Media) -> Self {
        // There is one port.
        let _ = self.shared.media.set(media);
        self
    }

    /// All routes. A request needs a [`client::Peer`] extension, which [`serve`] gives it.
    pub(crate) fn router(&self) -> Router {
        let routes = Router::new()
            .nest("/api/v1", api::router())
            .route("/openapi.json", get(page::openapi))
            .route("/api", get(page::reference))
            .merge(page::router(self.console.clone()))
            .route("/healthz", get(metrics::healthz))
            .route("/readyz", get(metrics::readyz))
            .route("/metrics", get(metrics::metrics))
            .merge(connect::router())
            .merge(facades::router(&self.shared))
            .merge(proxy::router())
            .fallback(facades::not_found)
            .method_not_allowed_fallback(facades::wrong_method);
        let routes = match self.shared.config.path_prefix.as_str() {
            "" => routes,
            prefix => Router::new().nest(&format!("{prefix}/"), routes).fallback(problem::not_found),
        };
        routes
            .layer(middleware::from_fn_with_state(self.shared.clone(), client::check))
            .layer(middleware::from_fn_with_state(self.shared.clone(), metrics::count))
            .with_state(self.shared.clone())
    }
}
