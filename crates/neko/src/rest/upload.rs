//! Uploads, which are disabled.

use axum::extract::State;

use super::{Answer, ApiError, Caller};
use crate::Server;

fn may(server: &Server, caller: &Caller) -> Result<(), ApiError> {
    let implicit = server.inner.state.lock().room.settings().implicit_hosting;
    let right = caller.is_host(server) || (caller.profile.can_host && implicit);
    caller.must(right, "without implicit hosting, only host can upload files")
}

pub(super) async fn drop(State(server): State<Server>, caller: Caller) -> Answer {
    may(&server, &caller)?;
    Err(ApiError::bad("upload drop is disabled"))
}

pub(super) async fn dialog(State(server): State<Server>, caller: Caller) -> Answer {
    may(&server, &caller)?;
    Err(ApiError::bad("file chooser dialog is disabled"))
}
