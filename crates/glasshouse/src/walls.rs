//! The walls of a session as its options say, and its one way out.

use std::{env, fs, sync::Arc};

use anyhow::{Context, bail};
use glasshouse_desktop::{Desktop, Walls};
use glasshouse_fleet::{Bounds, Reach, Resources};
use glasshouse_sandbox::{
    Limits,
    egress::{Access, Policy, Proxy, ProxyConfig, Rule, Upstream, Verdict},
};

use crate::cli::{Isolation, Network, SessionOptions, WallOptions};

const MIB: u64 = 1 << 20;

/// Limits of a session, unless others are given.
const MEMORY: u64 = 2048 * MIB;
const PIDS: u32 = 1024;
pub(crate) const DISK: u64 = 4096 * MIB;

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
        memory: wanted.memory.unwrap_or(MEMORY),
        pids: wanted.pids.unwrap_or(PIDS),
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
        disk: wanted.disk.unwrap_or(DISK),
        host_network: wanted.network == Network::Host,
    }))
}

/// Serves the way out of a desktop within walls, for as long as the result lives.
pub(crate) fn serve_way_out(
    desktop: &Desktop,
    policy: Policy,
    log_requests: bool,
) -> anyhow::Result<Option<Arc<Proxy>>> {
    let listeners = desktop.take_listeners();
    if listeners.is_empty() {
        return Ok(None);
    }
    let log = log_requests.then(|| Arc::new(log as fn(&Access)) as glasshouse_sandbox::egress::AccessLog);
    Ok(Some(Arc::new(Proxy::start(listeners, ProxyConfig { policy, log, resolve: None })?)))
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

/// Takes over the limits that the creator of a session has asked for.
pub(crate) fn limit(wanted: &mut WallOptions, asked: Resources) {
    let bytes = |mib: Option<u64>| mib.map(|mib| mib.saturating_mul(MIB));
    wanted.memory = bytes(asked.memory_mib).or(wanted.memory);
    wanted.disk = bytes(asked.disk_mib).or(wanted.disk);
    wanted.pids = asked.pids.or(wanted.pids);
    // Within 0.01 to 1024, so that nothing is cut off.
    wanted.cpu = asked.cpu.map(|cpu| (cpu * 100.0).round() as u32).or(wanted.cpu);
}

/// What the session may reach: what our options say, and within that what its creator has asked for.
pub(crate) fn policy(wanted: &WallOptions, asked: Option<&Reach>) -> anyhow::Result<Policy> {
    let mut policy = Policy {
        block_all: wanted.block_all,
        allow: wanted.allow_host.clone(),
        deny: wanted.deny_host.clone(),
        exposed: wanted.expose.iter().map(|port| (*port, *port)).collect(),
        upstream: if wanted.block_all { None } else { upstream(wanted)? },
        ..Policy::default()
    };
    let Some(Reach { egress, is_trusted }) = asked else { return Ok(policy) };
    let rules = |list: &[String]| list.iter().map(|rule| rule.parse::<Rule>()).collect::<Result<Vec<_>, _>>();
    policy.block_all |= egress.block_all;
    policy.deny.extend(rules(&egress.deny).map_err(anyhow::Error::msg)?);
    if policy.allow.is_empty() {
        policy.allow = rules(&egress.allow).map_err(anyhow::Error::msg)?;
    }
    if let (None, Some(url)) = (&policy.upstream, &egress.upstream_proxy) {
        let proxy = url.parse::<Upstream>().map_err(anyhow::Error::msg)?;
        policy.upstream = Some(if *is_trusted { proxy } else { proxy.on_public_address() });
    }
    Ok(policy)
}

/// What the options of all sessions of a server leave to the creator of one.
pub(crate) fn bounds(options: &SessionOptions) -> Bounds {
    let wanted = &options.walls;
    let has_walls = wanted.isolation == Isolation::Walls && options.display.is_none();
    let has_environment = env::var_os(UPSTREAM).is_some_and(|url| !url.is_empty());
    let has_proxy = wanted.upstream_proxy.is_some() || wanted.upstream_proxy_file.is_some() || has_environment;
    Bounds {
        has_walls,
        has_egress: has_walls && wanted.network == Network::Egress,
        may_allow: wanted.allow_host.is_empty() && !wanted.block_all,
        may_proxy: !has_proxy && !wanted.block_all,
        most: Resources {
            memory_mib: wanted.memory.map(|bytes| bytes / MIB),
            pids: wanted.pids,
            cpu: wanted.cpu.map(|hundredths| f64::from(hundredths) / 100.0),
            disk_mib: wanted.disk.map(|bytes| bytes / MIB),
        },
    }
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
