//! Freezing the session and letting it go on, by admins.

use axum::extract::State;
use glasshouse_desktop::Error;

use super::{Answer, ApiError, Caller, done};
use crate::Server;

pub(super) async fn freeze(State(server): State<Server>, caller: Caller) -> Answer {
    caller.admin()?;
    server.inner.desk.freeze().await.map_err(failed)?;
    done()
}

pub(super) async fn thaw(State(server): State<Server>, caller: Caller) -> Answer {
    caller.admin()?;
    server.inner.desk.thaw().await.map_err(failed)?;
    done()
}

fn failed(error: Error) -> ApiError {
    match error {
        // Such as a session without walls: that is not our fault.
        Error::Invalid(why) => ApiError::unprocessable(why),
        error => ApiError::internal("freeze", &error),
    }
}
