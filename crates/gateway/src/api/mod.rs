//! `/api/v1`.

pub(crate) mod events;
pub(crate) mod glance;
pub(crate) mod profiles;
pub(crate) mod sessions;
pub(crate) mod share;
pub(crate) mod tokens;

use std::sync::Arc;

use axum::{
    Router,
    routing::{delete, get, post},
};
use utoipa::{
    Modify, OpenApi,
    openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme},
};

use crate::{Shared, login, oidc};

pub(crate) fn router() -> Router<Arc<Shared>> {
    Router::new()
        .route("/sessions", get(sessions::list).post(sessions::create))
        .route("/sessions/{id}", get(sessions::read).patch(sessions::change).delete(sessions::end))
        .route("/sessions/{id}/extend", post(sessions::extend))
        .route("/sessions/{id}/freeze", post(sessions::freeze))
        .route("/sessions/{id}/thaw", post(sessions::thaw))
        .route("/sessions/{id}/links", post(sessions::link))
        .route("/sessions/{id}/cdp", post(sessions::cdp))
        .route("/sessions/{id}/screenshot", get(sessions::screenshot))
        .route("/sessions/{id}/thumbnail", get(glance::thumbnail))
        .route("/sessions/{id}/usage", get(glance::usage))
        .route("/sessions/{id}/share", get(share::list).post(share::create))
        .route("/sessions/{id}/share/{share}", delete(share::revoke))
        .route("/sessions/{id}/join", post(share::join))
        .route("/sessions/{id}/logs", get(sessions::logs))
        .route("/sessions/{id}/events", get(events::of_session))
        .route("/events", get(events::all))
        .route("/profiles", get(profiles::list))
        .route("/profiles/{name}", delete(profiles::delete))
        .route("/profiles/{name}/archive", get(profiles::export).put(profiles::import))
        .route("/tokens", get(tokens::list).post(tokens::create))
        .route("/tokens/{id}", delete(tokens::revoke))
        .route("/audit", get(tokens::audit))
        .route("/login", get(login::ways).post(login::sign_in).delete(login::sign_out))
        .route("/login/oidc", get(oidc::start))
        .route("/login/oidc/callback", get(oidc::callback))
}

struct Bearer;

impl Modify for Bearer {
    fn modify(&self, document: &mut utoipa::openapi::OpenApi) {
        let scheme = SecurityScheme::Http(HttpBuilder::new().scheme(HttpAuthScheme::Bearer).build());
        document.components.get_or_insert_default().add_security_scheme("token", scheme);
    }
}

/// Names operations, which are called as their functions, by their tags too, so that each has a name of its own.
struct Named;

impl Modify for Named {
    fn modify(&self, document: &mut utoipa::openapi::OpenApi) {
        for item in document.paths.paths.values_mut() {
            let all = [&mut item.get, &mut item.put, &mut item.post, &mut item.patch, &mut item.delete];
            for operation in all.into_iter().flatten() {
                let tag = operation.tags.as_ref().and_then(|tags| tags.first());
                if let (Some(tag), Some(name)) = (tag, &operation.operation_id) {
                    operation.operation_id = Some(format!("{tag}_{name}"));
                }
            }
        }
    }
}

/// The description of the API, made of its code.
#[derive(OpenApi)]
#[openapi(
    info(title = "Glasshouse", description = "Many isolated desktops and browsers on one host."),
    modifiers(&Bearer, &Named),
    security(("token" = [])),
    paths(
        sessions::list,
        sessions::create,
        sessions::read,
        sessions::change,
        sessions::end,
        sessions::extend,
        sessions::freeze,
        sessions::thaw,
        sessions::link,
        sessions::cdp,
        sessions::screenshot,
        sessions::logs,
        glance::thumbnail,
        glance::usage,
        share::create,
        share::list,
        share::revoke,
        share::join,
        events::of_session,
        events::all,
        profiles::list,
        profiles::delete,
        profiles::export,
        profiles::import,
        tokens::list,
        tokens::create,
        tokens::revoke,
        tokens::audit,
        login::ways,
        login::sign_in,
        login::sign_out,
        oidc::start,
        oidc::callback,
    )
)]
pub(crate) struct Document;
