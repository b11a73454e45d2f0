//! `/playwright/execute`: code with a page, run by Node within the walls against the browser's own port.

use std::{sync::Arc, time::Duration};

use axum::{Json, extract::State, response::IntoResponse};
use serde::Deserialize;
use serde_json::{Value, json};

use super::answer::{Body, Fail, Reply};
use crate::{
    Shared, answer,
    processes::{
        Start,
        run::{self, Done},
    },
};

/// The program that runs the code. It gets it on its standard input.
const PROGRAM: &str = include_str!("playwright.cjs");
/// Time-outs, in seconds.
const TIMEOUT: u64 = 60;
const MAX_TIMEOUT: u64 = 300;
/// What the program needs before and after the code.
const AROUND: Duration = Duration::from_secs(15);
/// How long the answer is held back for a status that says how it went.
const STATUS_WITHIN: Duration = Duration::from_secs(50);
/// Largest result, in bytes.
const MAX_RESULT: usize = 8 * 1024 * 1024;
/// Exit status that says that something is missing.
const MISSING: i32 = 3;

#[derive(Deserialize)]
pub(super) struct Asked {
    #[serde(default)]
    code: String,
    timeout_sec: Option<u64>,
}

pub(super) async fn execute(State(shared): State<Arc<Shared>>, Body(asked): Body<Asked>) -> Reply {
    if asked.code.is_empty() {
        return Err(Fail::bad("code is required"));
    }
    let timeout = Duration::from_secs(asked.timeout_sec.unwrap_or(TIMEOUT).clamp(1, MAX_TIMEOUT));
    let unready = |why: &str| Fail::failed(format!("failed to start playwright daemon: {why}"));
    let port = shared.desktop().devtools_port();
    let port = port.ok_or_else(|| unready("the session has no Chromium with DevTools (--cdp-clients)"))?;
    let input = json!({
        "code": asked.code,
        "endpoint": format!("http://127.0.0.1:{port}"),
        "timeout": timeout.as_millis(),
    });
    let start = Start {
        command: "node".into(),
        args: vec!["-e".into(), PROGRAM.into()],
        // The way out of the session is a proxy, through which nothing on it is reached.
        env: ["no_proxy", "NO_PROXY"].map(|name| (name.into(), "127.0.0.1,localhost".into())).into(),
        ..Start::default()
    };
    let mut running = Box::pin(async move {
        let _turn = shared.kernel.playwright.lock().await;
        let limit = u64::try_from((timeout + AROUND).as_millis()).unwrap_or(u64::MAX);
        run::to_end(&shared, &start, Some(limit), Some(input.to_string().into_bytes()), MAX_RESULT).await
    });
    match tokio::time::timeout(STATUS_WITHIN, &mut running).await {
        Ok(Ok(done)) if done.exit.and_then(|exit| exit.code) == Some(MISSING) => {
            Err(unready(done.stderr.text().trim()))
        }
        Ok(Ok(done)) => Ok(Json(outcome(&done, timeout)).into_response()),
        Ok(Err(problem)) if problem.is_no_program() => {
            Err(unready("there is no node on this machine: install it there (apt-get install nodejs)"))
        }
        Ok(Err(problem)) => Err(problem.into()),
        Err(_) => Ok(answer::later(async move {
            match running.await {
                Ok(done) => outcome(&done, timeout),
                Err(problem) => json!({ "success": false, "error": format!("execution failed: {problem}") }),
            }
        })),
    }
}

/// What the program said last.
fn outcome(done: &Done, timeout: Duration) -> Value {
    if done.timed_out {
        return json!({ "success": false, "error": format!("Execution timed out after {}ms", timeout.as_millis()) });
    }
    let said = done.stdout.text();
    let last = said.trim_end().rsplit('\n').next().unwrap_or_default();
    serde_json::from_str(last).ok().filter(Value::is_object).unwrap_or_else(|| {
        let stderr: String = done.stderr.text().chars().take(16_384).collect();
        json!({ "success": false, "error": "execution failed: no result came", "stderr": stderr })
    })
}
