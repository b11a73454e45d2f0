//! How the desktop is. It runs for as long as its session does.

use std::sync::Arc;

use axum::{
    Json,
    extract::State,
    response::{IntoResponse, Response},
};
use glasshouse_desktop::ProgramState;
use serde_json::{Value, json};

use crate::{
    Shared,
    problem::{Answer, Problem},
    time,
};

/// What toolkits are told, dots an inch.
const DPI: u16 = 96;

fn resolution(shared: &Shared) -> Value {
    let size = shared.desktop().size();
    json!({ "width": size.width, "height": size.height, "dpi": DPI })
}

/// Our programs by the names that clients know.
fn name_of(program: &str) -> &str {
    match program {
        "x-server" => "Xvnc",
        "window-manager" => "openbox",
        "sound" => "pulseaudio",
        other => other,
    }
}

async fn describe(shared: &Shared) -> Value {
    let programs = shared.desktop().programs();
    let display = programs.iter().find(|(name, ..)| *name == "x-server");
    let (state, error) = match display {
        // A display of somebody else's has no programs of ours.
        None | Some((_, ProgramState::Running, _)) => ("active", None),
        Some((_, ProgramState::Starting | ProgramState::Restarting, _)) => ("starting", None),
        Some((_, ProgramState::Failed | ProgramState::Stopped, detail)) => ("failed", Some(detail.clone())),
    };
    let is_running = |state: &ProgramState| matches!(state, ProgramState::Starting | ProgramState::Running);
    let processes: Vec<Value> = programs
        .iter()
        .map(|(name, state, _)| json!({ "name": name_of(name), "running": is_running(state) }))
        .collect();
    let mut status = json!({
        "state": state,
        "display": shared.display.name(),
        "resolution": resolution(shared),
        "startedAt": time::rfc3339(shared.started),
        "missingDependencies": [],
        "processes": processes,
    });
    if let Some(message) = error {
        status["lastError"] = json!({ "code": "desktop_runtime_failed", "message": message });
    }
    // Nobody should have to wake a desktop to hear how it is.
    if state == "active"
        && !shared.desktop().is_asleep()
        && let Ok(windows) = shared.display.with(|eye| eye.windows()).await
        && !windows.is_empty()
    {
        status["windows"] = json!(windows);
    }
    status
}

/// How the desktop is.
#[utoipa::path(get, path = "/v1/desktop/status", tag = "status", responses((status = 200, description = "Its state.", body = super::openapi::DesktopStatus)))]
pub(super) async fn read(State(shared): State<Arc<Shared>>) -> Response {
    Json(describe(&shared).await).into_response()
}

/// How the desktop is. It has started before anybody could ask; what is asked for is ignored then.
#[utoipa::path(post, path = "/v1/desktop/start", tag = "status", responses((status = 200, description = "Its state.", body = super::openapi::DesktopStatus)))]
pub(super) async fn start(State(shared): State<Arc<Shared>>) -> Answer {
    shared.desktop().wake();
    Ok(Json(describe(&shared).await).into_response())
}

/// Always refused: the desktop is the session.
#[utoipa::path(post, path = "/v1/desktop/stop", tag = "status", responses((status = 409, description = "End the session instead.", body = crate::problem::Details, content_type = "application/problem+json")))]
pub(super) async fn stop() -> Problem {
    Problem::conflict("the desktop is the session: end the session instead")
}

/// Name and size of the display.
#[utoipa::path(get, path = "/v1/desktop/display/info", tag = "status", responses((status = 200, description = "The display.", body = super::openapi::DisplayInfo)))]
pub(super) async fn display(State(shared): State<Arc<Shared>>) -> Response {
    Json(json!({ "display": shared.display.name(), "resolution": resolution(&shared) })).into_response()
}
