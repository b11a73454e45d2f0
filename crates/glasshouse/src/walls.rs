//! The walls of a session as its options say, and its one way out.

use std::{env, fs, sync::Arc};

use anyhow::{Context, bail};
use glasshouse_desktop::{Desktop, Walls};
use glasshouse_sandbox::{
    Limits,
    egress::{Access, Policy, Proxy, ProxyConfig, Upstream, Verdict},
};

use crate::cli::{Isolation, Network, SessionOptions, WallOptions};

/// Holds a proxy's URL with credentials, which must not be on the command line.
const UPSTREAM: &str = "GLASSHOUSE_UPSTREAM_PROXY";

/// The walls that the options ask for; none on a display that already runs, which is outside of any.
pub(crate) fn walls(options: &SessionOptions) -> anyhow::Result<Option<Walls>> {
    let wanted = &options.walls;
    if options.display.is_some() {
        return Ok(None);
    }
    if wanted.isolation == Isolation::None {
        tracing::warn!("the session's programs are not kept apart from this machine (--isolation=none)");
        return Ok(None);
    }
    let program = env::current_exe().context("cannot find this program's own file")?;
    let limits = Limits {
        memory: wanted.memory,
        pids: wanted.pids,
        cpu_weight: wanted.cpu_weight,
        cpu_percent: wanted.cpu,
        ..Limits::default()
    };
    if wanted.network == Network::Host {
        tracing::warn!("the session can reach what this machine can reach, loopback included (--network=host)");
    }
    Ok(Some(Walls {
        stage: vec![program.into(), "sandbox-stage".into()],
        limits,
        disk: wanted.disk,
        host_network: wanted.network == Network::Host,
    }))
}

/// Serves the way out of a desktop within walls, for as long as the result lives.
pub(crate) fn serve_way_out(desktop: &Desktop, policy: Policy, log_requests: bool) -> anyhow::Result<Option<Proxy>> {
    let listeners = desktop.take_listeners();
    if listeners.is_empty() {
        return Ok(None);
    }
    let log = log_requests.then(|| Arc::new(log as fn(&Access)) as glasshouse_sandbox::egress::AccessLog);
    Ok(Some(Proxy::start(listeners, ProxyConfig { policy, log, resolve: None })?))
}

fn log(access: &Access) {
    let Access { protocol, host, port, address, verdict, sent, received, duration } = access;
    let (verdict, why) = match verdict {
        Verdict::Allowed => ("allowed", ""),
        Verdict::Refused(why) => ("refused", why.as_str()),
        Verdict::Failed(why) => ("failed", why.as_str()),
    };
    let address = address.map(|address| address.to_string()).unwrap_or_default();
    let ms = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    tracing::info!(protocol, host, port, address, verdict, why, sent, received, ms, "request");
}

/// What the session may reach.
pub(crate) fn policy(wanted: &WallOptions) -> anyhow::Result<Policy> {
    Ok(Policy {
        block_all: wanted.block_all,
        allow: wanted.allow_host.clone(),
        deny: wanted.deny_host.clone(),
        exposed: wanted.expose.iter().map(|port| (*port, *port)).collect(),
        upstream: if wanted.block_all { None } else { upstream(wanted)? },
        ..Policy::default()
    })
}

fn upstream(wanted: &WallOptions) -> anyhow::Result<Option<Upstream>> {
    let from_environment = || env::var(UPSTREAM).ok().filter(|url| !url.is_empty());
    let url = match (&wanted.upstream_proxy, &wanted.upstream_proxy_file) {
        (Some(url), _) if url.contains('@') => {
            bail!(
                "--upstream-proxy has credentials, which other users of this machine can see: put the URL into {UPSTREAM} or --upstream-proxy-file"
            )
        }
        (Some(url), _) => Some(url.clone()),
        (None, Some(path)) => Some(
            fs::read_to_string(path)
                .with_context(|| format!("cannot read --upstream-proxy-file {}", path.display()))?
                .trim()
                .to_owned(),
        ),
        (None, None) => from_environment(),
    };
    url.map(|url| url.parse::<Upstream>().map_err(anyhow::Error::msg)).transpose()
}
