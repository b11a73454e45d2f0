//! Programs that drive the session's Chromium: the DevTools gate below the session's own paths.

use std::{env, sync::Arc};

use anyhow::bail;
use axum::{extract::Request, response::Response, routing::MethodRouter};
use glasshouse_cdp::{Config, Gate, Grant, Policy, Tokens, Upstream};
use glasshouse_computer::Computer;
use glasshouse_desktop::Desktop;
use glasshouse_mcp::Mcp;
use glasshouse_rfb::Rfb;
use tokio::net::TcpStream;

use crate::{
    cli::{AppName, Isolation, Network, SessionOptions},
    programs::Programs,
    vnc, web,
};

/// Holds the token of programs, which must not be on the command line.
const TOKEN: &str = "GLASSHOUSE_CDP_TOKEN";

/// Shortest token that is taken, in bytes: there is no brake on guessing.
const MIN_TOKEN: usize = 16;

/// Clients at a time, unless another number is given.
const CLIENTS: u16 = 100;

/// The gate of a session, and its token, to be shown once.
pub(crate) struct Automation {
    pub(crate) gate: Gate,
    pub(crate) token: String,
}

/// How many programs may drive the session's browser at a time.
pub(crate) fn clients(options: &SessionOptions) -> u16 {
    // Without a command, a display that runs gets no browser.
    let is_chromium = options.app == AppName::Chromium && options.command.is_empty() && options.display.is_none();
    if !is_chromium || options.no_default_flags {
        return 0;
    }
    let is_apart = options.walls.isolation == Isolation::Walls && options.walls.network == Network::Egress;
    options.cdp_clients.unwrap_or(if is_apart { CLIENTS } else { 0 })
}

/// Makes the gate, for a token that is given or made up; none when the session has no Chromium of ours, or is to have no gate.
pub(crate) fn gate(
    options: &SessionOptions,
    given: Option<&str>,
    desktop: &Arc<Desktop>,
    programs: &Programs,
) -> anyhow::Result<Option<Automation>> {
    let clients = clients(options);
    if clients == 0 {
        return Ok(None);
    }
    let given = given.map(str::to_owned).or_else(|| env::var(TOKEN).ok().filter(|token| !token.is_empty()));
    let token = match given {
        Some(token) if token.len() < MIN_TOKEN => bail!("{TOKEN} is too short: use {MIN_TOKEN} characters or more"),
        Some(token) => token,
        None => glasshouse_cdp::random_token()?,
    };
    let folder = desktop.downloads_inside().to_owned();
    let tokens = Arc::new(Tokens::default());
    tokens.add(&token, Grant::new(Policy { folder: Some(folder.clone()), ..Policy::full() }, None));
    let upstream = {
        let desktop = desktop.clone();
        Upstream::new(move || {
            let desktop = desktop.clone();
            async move {
                let stream = TcpStream::from_std(desktop.devtools().await?)?;
                stream.set_nodelay(true)?;
                Ok(Box::new(stream) as Box<dyn glasshouse_cdp::Stream>)
            }
        })
    };
    let sleeper = desktop.clone();
    let config = Config {
        allowed_hosts: options.allowed_hosts.clone(),
        allowed_origins: options.cors.clone(),
        path_prefix: options.path_prefix.clone(),
        // A web page cannot send these to us, and others fool only themselves.
        is_forwarded: |_| true,
        max_connections: clients.into(),
        wake: Arc::new(move || sleeper.wake()),
        folder: Some(folder),
        wheel: Some(Arc::new(programs.clone())),
        ..Config::new(upstream, tokens)
    };
    let gate = Gate::new(config);
    programs.attach_gate(gate.clone());
    Ok(Some(Automation { gate, token }))
}

/// Answers what is no route of the room: the gate's paths, computer use's, VNC's, and the page's.
pub(crate) fn page<S: Clone + Send + Sync + 'static>(
    gate: Option<Gate>,
    computer: Computer,
    rfb: Option<Rfb>,
    mcp: Option<Mcp>,
) -> MethodRouter<S> {
    axum::routing::any(move |request: Request| {
        answer(gate.clone(), computer.clone(), rfb.clone(), mcp.clone(), request)
    })
}

async fn answer(
    gate: Option<Gate>,
    computer: Computer,
    rfb: Option<Rfb>,
    mcp: Option<Mcp>,
    request: Request,
) -> Response {
    if let Some(mcp) = mcp.filter(|_| Mcp::has(request.uri().path())) {
        return mcp.answer(request).await;
    }
    if let Some(rfb) = rfb {
        if Rfb::has(request.uri().path()) {
            return rfb.answer(request).await;
        }
        if vnc::is_page(request.uri().path()) {
            return vnc::page(request).await;
        }
    }
    match gate {
        _ if Computer::has(request.uri().path()) => computer.answer(request).await,
        Some(gate) if Gate::has(request.uri().path()) => gate.answer(request).await,
        _ => web::serve(request.method().clone(), request.uri().clone()).await,
    }
}
