//! Programs for the desktop.

use std::{sync::Arc, time::Duration};

use axum::{Json, extract::State, response::IntoResponse};
use serde::Deserialize;
use serde_json::json;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::{Instant, timeout},
};
use utoipa::ToSchema;

use crate::{
    Shared,
    problem::{Answer, Problem},
    processes::{Owner, Process, Start},
};

/// How long a window of a program that was launched is waited for, and how often it is looked for.
const WINDOW_WITHIN: Duration = Duration::from_secs(5);
const LOOK: Duration = Duration::from_millis(50);
/// How long the browser may take to open a page.
const OPEN_WITHIN: Duration = Duration::from_secs(10);
/// Longest address.
const MAX_TARGET: usize = 16 * 1024;

#[derive(Deserialize, ToSchema)]
pub(super) struct Launch {
    app: String,
    #[serde(default)]
    args: Option<Vec<String>>,
    wait: Option<bool>,
}

#[derive(Deserialize, ToSchema)]
pub(super) struct Open {
    target: String,
}

async fn begin(shared: &Shared, start: Start) -> Result<Arc<Process>, Problem> {
    let started = shared.table.start(start, Owner::Desktop).await;
    started.map_err(|problem| if problem.is_no_program() { Problem::no_app(problem.to_string()) } else { problem })
}

/// Starts a program on the desktop.
#[utoipa::path(post, path = "/v1/desktop/launch", tag = "programs", request_body = Launch, responses((status = 200, description = "What was started.", body = super::openapi::Launched)))]
pub(super) async fn launch(State(shared): State<Arc<Shared>>, Json(asked): Json<Launch>) -> Answer {
    if asked.app.is_empty() {
        return Err(Problem::action("app must not be empty"));
    }
    let start = Start { command: asked.app, args: asked.args.unwrap_or_default(), ..Start::default() };
    let process = begin(&shared, start).await?;
    let mut answer = json!({ "processId": process.id(), "pid": process.pid() });
    if asked.wait == Some(true) {
        let deadline = Instant::now() + WINDOW_WITHIN;
        let pid = process.pid().unsigned_abs();
        while Instant::now() < deadline && process.is_running() {
            if let Ok(Some(window)) = shared.display.with(move |eye| eye.window_of(pid)).await {
                answer["windowId"] = window.to_string().into();
                break;
            }
            tokio::time::sleep(LOOK).await;
        }
    }
    Ok(Json(answer).into_response())
}

/// Opens an address in the session's browser, and other things with what there is for them.
#[utoipa::path(post, path = "/v1/desktop/open", tag = "programs", request_body = Open, responses((status = 200, description = "What opens it.", body = super::openapi::Launched)))]
pub(super) async fn open(State(shared): State<Arc<Shared>>, Json(asked): Json<Open>) -> Answer {
    if asked.target.is_empty() || asked.target.len() > MAX_TARGET || asked.target.contains(char::is_control) {
        return Err(Problem::action("target must be an address or a path"));
    }
    // The session's own browser, where there is one: another would have no profile of this session.
    if is_address(&asked.target)
        && let Ok(browser) = shared.desktop().devtools().await
    {
        let browser = TcpStream::from_std(browser).map_err(|error| Problem::input(&error))?;
        let opened = timeout(OPEN_WITHIN, open_page(browser, &asked.target)).await;
        return match opened {
            Ok(Ok(())) => Ok(Json(json!({ "processId": "app" })).into_response()),
            Ok(Err(error)) => Err(Problem::input(&error)),
            Err(_) => Err(Problem::late("the browser did not open the page within 10 s")),
        };
    }
    let start = Start { command: "xdg-open".into(), args: vec![asked.target], ..Start::default() };
    let process = begin(&shared, start).await?;
    Ok(Json(json!({ "processId": process.id(), "pid": process.pid() })).into_response())
}

fn is_address(target: &str) -> bool {
    let scheme = target.split_once(':').map_or("", |(scheme, _)| scheme);
    ["http", "https", "file", "data", "about", "blob"].iter().any(|known| known.eq_ignore_ascii_case(scheme))
}

async fn open_page(mut browser: TcpStream, target: &str) -> std::io::Result<()> {
    let mut address = String::new();
    for byte in target.bytes() {
        // All of it is the query.
        if byte.is_ascii_alphanumeric() || b"-._~:/?[]@!$'()*+,;=&".contains(&byte) {
            address.push(char::from(byte));
        } else {
            address.push_str(&format!("%{byte:02X}"));
        }
    }
    let request = format!("PUT /json/new?{address} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    browser.write_all(request.as_bytes()).await?;
    let mut answer = [0; 64];
    let mut length = 0;
    while length < 12 {
        let read = browser.read(&mut answer[length..]).await?;
        if read == 0 {
            break;
        }
        length += read;
    }
    let status = std::str::from_utf8(&answer[..length]).unwrap_or_default().get(9..12).unwrap_or_default();
    if status == "200" { Ok(()) } else { Err(std::io::Error::other(format!("the browser answered {status:?}"))) }
}
