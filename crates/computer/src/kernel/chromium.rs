//! `/chromium/flags`, and starting the browser again.

use std::{sync::Arc, time::Duration};

use axum::{extract::State, http::StatusCode, response::IntoResponse};
use serde::Deserialize;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::{Instant, timeout},
};

use super::{
    answer::{Body, Fail, Reply},
    flags,
};
use crate::Shared;

/// How long the browser may take until its DevTools answer.
const READY_WITHIN: Duration = Duration::from_secs(45);
/// Between two looks at whether they do, and how long a look may take.
const LOOK: Duration = Duration::from_millis(50);
const LOOK_WITHIN: Duration = Duration::from_secs(5);
/// Most flags, and the longest.
const MAX_FLAGS: usize = 256;
const MAX_FLAG: usize = 4_096;

#[derive(Deserialize)]
pub(super) struct Flags {
    flags: Option<Vec<String>>,
}

pub(super) async fn flags(State(shared): State<Arc<Shared>>, Body(asked): Body<Flags>) -> Reply {
    let new = asked.flags.unwrap_or_default();
    if new.is_empty() {
        return Err(Fail::bad("at least one flag required"));
    }
    for flag in &new {
        if flag.trim().is_empty() {
            return Err(Fail::bad("empty flag provided"));
        }
        if !flag.starts_with("--") || flag.len() > MAX_FLAG || flag.contains('\0') {
            let short: String = flag.chars().take(80).collect();
            return Err(Fail::bad(format!("invalid flag format: {short} (must start with --)")));
        }
        // With this one the gate's tokens would be worth nothing.
        if flag.starts_with("--remote-debugging") || flag.starts_with("--user-data-dir") {
            return Err(Fail::bad(format!("{flag} is not for clients: the session needs its own")));
        }
    }
    add(&shared, new)?;
    restart(&shared).await?;
    Ok(StatusCode::OK.into_response())
}

/// Adds flags to those of the next start.
pub(super) fn add(shared: &Shared, new: Vec<String>) -> Result<(), Fail> {
    let mut flags = shared.kernel.flags.lock();
    if flags.len() + new.len() > MAX_FLAGS {
        return Err(Fail::bad(format!("there are more than {MAX_FLAGS} flags")));
    }
    for flag in new {
        if !flags.contains(&flag) {
            flags.push(flag);
        }
    }
    Ok(())
}

/// Starts the browser again with all flags, and waits until it can be driven.
pub(super) async fn restart(shared: &Shared) -> Result<(), Fail> {
    let _turn = shared.kernel.restarts.lock().await;
    let all = flags::merge(&shared.config.app_flags, &shared.kernel.flags.lock());
    let restarted = shared.desktop().restart_app(all).await;
    restarted.map_err(|error| Fail::failed(format!("the browser cannot be started again: {error}")))?;
    if shared.desktop().devtools_port().is_none() {
        return Ok(());
    }
    let deadline = Instant::now() + READY_WITHIN;
    while Instant::now() < deadline {
        if is_ready(shared).await {
            return Ok(());
        }
        tokio::time::sleep(LOOK).await;
    }
    Err(Fail::failed("devtools not ready in time"))
}

/// Whether the browser's DevTools answer.
pub(super) async fn is_ready(shared: &Shared) -> bool {
    let look = async {
        let mut browser = TcpStream::from_std(shared.desktop().devtools().await?)?;
        browser.write_all(b"GET /json/version HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").await?;
        let mut answer = [0; 12];
        browser.read_exact(&mut answer).await?;
        Ok::<_, std::io::Error>(answer.ends_with(b" 200"))
    };
    matches!(timeout(LOOK_WITHIN, look).await, Ok(Ok(true)))
}
