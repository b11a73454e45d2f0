//! The session's MCP server, and what asking people needs of the session's other parts.

use std::{
    net::SocketAddr,
    sync::{Arc, Weak},
};

use axum::Router;
use glasshouse_cdp::Gate;
use glasshouse_mcp::{Config, Mcp, Rights};
use glasshouse_neko::{AskHooks, Front, FrontPage, Hear, Server};

use crate::{ask_webhook::Webhook, cli::SessionOptions, session};

/// Makes it. `routes` are the session's, without itself.
pub(crate) fn make(options: &SessionOptions, server: &Server, gate: Option<Gate>, routes: Router) -> Mcp {
    let prefix = options.path_prefix.trim_matches('/');
    let slash = if prefix.is_empty() { "" } else { "/" };
    let room = server.clone();
    Mcp::new(Config {
        routes,
        prefix: format!("{slash}{prefix}"),
        gate,
        rights: Arc::new(move |token| {
            let holder = room.holder(token)?;
            Some(Rights { admin: holder.is_admin, watch: holder.may_watch, control: room.may_ask(token) })
        }),
        allowed_hosts: options.allowed_hosts.clone(),
        allowed_origins: options.cors.clone(),
    })
}

/// Keeps the way to the browser that is asked what changed while a person helped.
pub(crate) struct Asks {
    _gate: Option<Arc<Gate>>,
}

/// Lets programs ask: with the front page, and the operator's webhook.
///
/// # Errors
/// The webhook cannot be used as it was given.
pub(crate) fn attach_asks(
    options: &SessionOptions,
    listen: Option<SocketAddr>,
    server: &Server,
    gate: Option<&Gate>,
) -> anyhow::Result<Asks> {
    let gate = gate.cloned().map(Arc::new);
    // The gate may know the room, which is not to keep itself alive.
    let weak = gate.as_ref().map(Arc::downgrade);
    let front = weak.map(|gate| -> Arc<Front> { Arc::new(move || front(gate.clone())) });
    let webhook = options.ask_webhook.as_deref().map(|address| {
        let prefix = options.path_prefix.trim_matches('/');
        // Of a session of a server: /s/ID.
        let id = prefix.rsplit_once("s/").map(|(_, id)| id.to_owned()).filter(|_| options.managed.is_some());
        let folder = if prefix.is_empty() { "/".to_owned() } else { format!("/{prefix}/") };
        let link = match (&options.public_url, listen) {
            (Some(url), _) => format!("{}{folder}", url.trim_end_matches('/')),
            (None, Some(listen)) => session::address(options, listen),
            (None, None) => folder,
        };
        Webhook::new(address, id, link)
    });
    let webhook = webhook.transpose()?.map(Arc::new);
    let opened = webhook.map(|webhook| -> Arc<Hear> { Arc::new(move |notice| webhook.tell(&notice)) });
    server.attach_asks(AskHooks { front, opened });
    Ok(Asks { _gate: gate })
}

fn front(gate: Weak<Gate>) -> glasshouse_neko::seam::Pending<'static, Option<FrontPage>> {
    Box::pin(async move {
        let page = gate.upgrade()?.front_page().await?;
        Some(FrontPage { url: page.url, title: page.title })
    })
}
