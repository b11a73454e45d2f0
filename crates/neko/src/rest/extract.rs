//! Who asks, from where, and with what body.

use std::net::{Ipv4Addr, SocketAddr};

use axum::{
    body::Bytes,
    extract::{ConnectInfo, FromRequest, FromRequestParts, Request},
    http::{StatusCode, request::Parts},
};
use glasshouse_room::{API_SESSION, Actor, Profile};
use serde_json::Value;

use super::ApiError;
use crate::{
    Peer, Server,
    auth::{self, Identity},
    json::{self, BodyError},
};

/// The session that a request acts as.
pub(crate) struct Caller {
    pub(crate) id: String,
    pub(crate) profile: Profile,
    pub(crate) is_api: bool,
}

impl Caller {
    pub(crate) fn actor(&self) -> Actor<'_> {
        Actor { id: &self.id, profile: &self.profile }
    }

    pub(crate) fn admin(&self) -> Result<(), ApiError> {
        self.must(self.profile.is_admin, "session is not admin")
    }

    pub(crate) fn watch(&self) -> Result<(), ApiError> {
        self.must(self.profile.can_watch, "session cannot watch")
    }

    pub(crate) fn can_host(&self, server: &Server) -> Result<(), ApiError> {
        self.must(self.profile.can_host, "session cannot host")?;
        if server.inner.state.lock().room.is_private_for(&self.profile) {
            return Err(ApiError::unprocessable("private mode is enabled"));
        }
        Ok(())
    }

    pub(crate) fn is_host(&self, server: &Server) -> bool {
        server.inner.state.lock().room.is_host(&self.id)
    }

    pub(crate) fn host(&self, server: &Server) -> Result<(), ApiError> {
        self.must(self.is_host(server), "session is not host")
    }

    pub(crate) fn must(&self, right: bool, message: &'static str) -> Result<(), ApiError> {
        if right { Ok(()) } else { Err(ApiError::forbidden(message)) }
    }
}

impl FromRequestParts<Server> for Caller {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, server: &Server) -> Result<Self, ApiError> {
        let unauthorized = || {
            server.inner.metrics.reject("token");
            ApiError::status(StatusCode::UNAUTHORIZED)
        };
        let token = auth::token_of(&parts.headers, &parts.uri).ok_or_else(unauthorized)?;
        let identity = server.inner.auth.lock().identify(&token).ok_or_else(unauthorized)?;
        let caller = match identity {
            Identity::Api => Self { id: API_SESSION.to_owned(), profile: Profile::api(), is_api: true },
            Identity::Session(id) => {
                let profile = server.inner.with(|state, now| {
                    state.room.touch(&id, now);
                    state.room.profile(&id).cloned()
                });
                Self { id, profile: profile.ok_or_else(unauthorized)?, is_api: false }
            }
        };
        caller.must(caller.profile.can_login, "login is disabled for this session")?;
        Ok(caller)
    }
}

/// The two ends of the connection that a request came on.
pub(crate) struct PeerOf(pub(crate) Peer);

impl<S: Sync> FromRequestParts<S> for PeerOf {
    type Rejection = std::convert::Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Self::Rejection> {
        let unknown = SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0));
        let peer = parts.extensions.get::<ConnectInfo<Peer>>().map(|ConnectInfo(peer)| *peer);
        Ok(Self(peer.unwrap_or(Peer { remote: unknown, local: unknown })))
    }
}

/// The query string.
pub(crate) struct Query(String);

impl Query {
    pub(crate) fn get(&self, key: &str) -> Option<String> {
        auth::query_value(&self.0, key)
    }
}

impl<S: Sync> FromRequestParts<S> for Query {
    type Rejection = std::convert::Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Self::Rejection> {
        Ok(Self(parts.uri.query().unwrap_or_default().to_owned()))
    }
}

/// The whole body.
pub(crate) struct Body(pub(crate) Bytes);

impl Body {
    /// The first JSON value.
    pub(crate) fn json(&self) -> Result<Value, ApiError> {
        json::first_value(&self.0).map_err(|error| match error {
            BodyError::Empty => ApiError::bad("no data provided"),
            BodyError::Malformed => ApiError::bad("unable to parse provided data"),
        })
    }
}

impl FromRequest<Server> for Body {
    type Rejection = ApiError;

    async fn from_request(request: Request, server: &Server) -> Result<Self, ApiError> {
        match Bytes::from_request(request, server).await {
            Ok(bytes) => Ok(Self(bytes)),
            Err(rejection) if rejection.status() == StatusCode::PAYLOAD_TOO_LARGE => {
                server.inner.metrics.reject("body");
                Err(ApiError::new(StatusCode::PAYLOAD_TOO_LARGE, "request body is too large"))
            }
            Err(_) => Err(ApiError::bad("unable to read request body")),
        }
    }
}

impl From<glasshouse_room::merge::MergeError> for ApiError {
    fn from(_: glasshouse_room::merge::MergeError) -> Self {
        Self::bad("unable to parse provided data")
    }
}
