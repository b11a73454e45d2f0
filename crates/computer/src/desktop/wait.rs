//! Waiting for the screen, which sandbox-agent has not.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use axum::{Json, extract::State};
use serde::Deserialize;
use serde_json::json;
use utoipa::ToSchema;

use super::screenshot::rect;
use crate::{
    Shared, answer,
    display::{Rect, Trouble, Wanted, wait},
    problem::{Answer, Problem},
};

/// Time-outs, in milliseconds, if none is given, and the longest.
const TIMEOUT_MS: u64 = 10_000;
const MAX_TIMEOUT_MS: u64 = 300_000;
/// How long nothing is drawn, if nothing else is asked for. Carets blink every 500 ms.
const QUIET_MS: u64 = 300;

#[derive(Deserialize, ToSchema)]
struct Region {
    x: i64,
    y: i64,
    width: i64,
    height: i64,
}

#[derive(Deserialize, ToSchema)]
#[schema(as = WaitStable)]
#[serde(rename_all = "camelCase")]
pub(super) struct Stable {
    quiet_ms: Option<u64>,
    timeout_ms: Option<u64>,
    region: Option<Region>,
}

#[derive(Deserialize, ToSchema)]
#[schema(as = WaitChange)]
#[serde(rename_all = "camelCase")]
pub(super) struct Changed {
    /// `ETag` of a picture of the same region.
    since: Option<String>,
    timeout_ms: Option<u64>,
    region: Option<Region>,
}

/// Tells the waiting thread that nobody waits any more.
struct GivesUp(Arc<AtomicBool>);

impl Drop for GivesUp {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Release);
    }
}

fn timeout(asked: Option<u64>) -> Result<Duration, Problem> {
    let asked = asked.unwrap_or(TIMEOUT_MS);
    if asked > MAX_TIMEOUT_MS {
        return Err(Problem::action(format!("timeoutMs must be at most {MAX_TIMEOUT_MS}")));
    }
    Ok(Duration::from_millis(asked))
}

fn part(region: Option<Region>) -> Result<Option<Rect>, Problem> {
    region.map(|region| rect(region.x, region.y, region.width, region.height)).transpose()
}

/// Waits until nothing was drawn for a while.
#[utoipa::path(post, path = "/v1/desktop/wait/stable", tag = "wait", request_body = Stable, responses((status = 200, description = "Whether that came, and after how long.", body = super::openapi::WasStable)))]
pub(super) async fn stable(State(shared): State<Arc<Shared>>, Json(asked): Json<Stable>) -> Answer {
    let quiet = Duration::from_millis(asked.quiet_ms.unwrap_or(QUIET_MS));
    let timeout = timeout(asked.timeout_ms)?;
    if quiet > timeout {
        return Err(Problem::action("quietMs must not be longer than timeoutMs"));
    }
    begin(&shared, Wanted::Stable(quiet), part(asked.region)?, timeout, "stable").await
}

/// Waits until pixels differ from those of a screenshot, or from those now.
#[utoipa::path(post, path = "/v1/desktop/wait/change", tag = "wait", request_body = Changed, responses((status = 200, description = "Whether that came, and after how long.", body = super::openapi::HasChanged)))]
pub(super) async fn change(State(shared): State<Arc<Shared>>, Json(asked): Json<Changed>) -> Answer {
    let tag = |text: &str| {
        let text = text.trim_start_matches("W/").trim_matches('"');
        let wrong = || Problem::action("since must be the ETag of a screenshot");
        u64::from_str_radix(text, 16).ok().filter(|_| text.len() == 16).ok_or_else(wrong)
    };
    let since = asked.since.as_deref().map(tag).transpose()?;
    begin(&shared, Wanted::Change(since), part(asked.region)?, timeout(asked.timeout_ms)?, "changed").await
}

/// Waits until the caller may act: until no person has control, or its patience is over. For programs that act on the browser
/// itself, which knows nothing of turns.
#[utoipa::path(post, path = "/v1/desktop/wait/turn", tag = "wait", responses((status = 200, description = "It may now.", body = super::Done)))]
pub(super) async fn turn() -> Json<super::Done> {
    // Whoever comes here has waited.
    Json(super::DONE)
}

async fn begin(
    shared: &Arc<Shared>,
    wanted: Wanted,
    part: Option<Rect>,
    timeout: Duration,
    name: &'static str,
) -> Answer {
    let permit = shared.waits.clone().try_acquire_owned();
    let permit = permit.map_err(|_| Problem::busy("too many requests wait for the screen: end some"))?;
    shared.desktop().wake();
    let display = shared.display.clone();
    let eye = tokio::task::spawn_blocking(move || display.connect()).await;
    let eye = eye.map_err(|error| Problem::runtime(&error))?.map_err(|trouble| Problem::runtime(&trouble))?;
    let (began, given_up) = (Instant::now(), Arc::<AtomicBool>::default());
    let guard = GivesUp(given_up.clone());
    let closed = shared.closed();
    Ok(answer::later(async move {
        let _guard = guard;
        let deadline = began + timeout;
        let waiting = tokio::task::spawn_blocking(move || {
            let _permit = permit;
            wait(eye, wanted, part, deadline, &given_up)
        });
        let result = tokio::select! {
            result = waiting => result.unwrap_or_else(|error| Err(Trouble::Gone(error.to_string()))),
            () = closed => Ok((false, None)),
        };
        let waited = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
        match result {
            Ok((is_so, tag)) => {
                let mut value = json!({ name: is_so, "waitedMs": waited });
                if let Some(tag) = tag {
                    value["tag"] = format!("{tag:016x}").into();
                }
                value
            }
            // The answer has begun as a good one.
            Err(trouble) => json!({ name: false, "waitedMs": waited, "error": trouble.to_string() }),
        }
    }))
}
