//! `/v1/health`.

use std::sync::Arc;

use axum::{Json, Router, routing::get};
use serde_json::json;

use crate::{
    Shared,
    access::{Power, guarded},
};

pub(crate) fn router(shared: &Arc<Shared>) -> Router<Arc<Shared>> {
    let routes = Router::new().route("/v1/health", get(|| async { Json(json!({ "status": "ok" })) }));
    guarded(routes, shared, Power::Any)
}
