//! The one way out of a session: a proxy in our process.
//!
//! It accepts on listeners that were bound inside the session's network ([`crate::Config::listeners`]), so that there
//! is no interface, no route and no resolver inside. HTTP (CONNECT and whole URLs) and SOCKS5 are told apart by their
//! first byte. Every host is resolved here, judged by what it leads to, and connected to at the address that was
//! judged: a name that changes its mind in between changes nothing.

mod address;
mod http;
mod page;
mod policy;
mod relay;
mod serve;
mod socks;
mod upstream;

use std::{
    future::Future,
    io,
    net::IpAddr,
    os::fd::OwnedFd,
    pin::Pin,
    sync::{
        Arc, RwLock,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::{net::TcpListener, sync::Semaphore, task::JoinSet};

pub use address::Cidr;
pub use policy::{EXPOSED_HOST, Policy, ProxyLimits, Rule};
pub use upstream::Upstream;

use crate::Error;

/// Finds the addresses of a name and port.
pub type Resolve = Arc<dyn Fn(String, u16) -> Resolving + Send + Sync>;

/// What [`Resolve`] returns.
pub type Resolving = Pin<Box<dyn Future<Output = io::Result<Vec<IpAddr>>> + Send>>;

/// Is told of every request.
pub type AccessLog = Arc<dyn Fn(&Access) + Send + Sync>;

/// One request, when it is over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Access {
    /// How it was asked for: `CONNECT`, `HTTP` or `SOCKS5`.
    pub protocol: &'static str,
    /// The host as it was asked for; empty if the request could not be read.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// Where it led, if a connection was made directly.
    pub address: Option<IpAddr>,
    /// What became of it.
    pub verdict: Verdict,
    /// Bytes to the host.
    pub sent: u64,
    /// Bytes from the host.
    pub received: u64,
    /// From the request to its end.
    pub duration: Duration,
}

/// What became of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// A connection was made.
    Allowed,
    /// The policy refused it.
    Refused(String),
    /// It was allowed, or malformed, and did not work.
    Failed(String),
}

/// Counts since the start.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Bytes to hosts.
    pub sent: u64,
    /// Bytes from hosts.
    pub received: u64,
    /// Requests.
    pub requests: u64,
    /// Of these, refused.
    pub refused: u64,
    /// Connections now.
    pub open: u64,
}

/// How a proxy is set up.
#[derive(Clone, Default)]
pub struct ProxyConfig {
    /// What may be reached.
    pub policy: Policy,
    /// Is told of every request, if there is one.
    pub log: Option<AccessLog>,
    /// Finds addresses; the host's resolver if none.
    pub resolve: Option<Resolve>,
}

/// What all connections of a proxy share.
struct Shared {
    policy: RwLock<Arc<Policy>>,
    log: Option<AccessLog>,
    resolve: Resolve,
    places: Arc<Semaphore>,
    sent: AtomicU64,
    received: AtomicU64,
    requests: AtomicU64,
    refused: AtomicU64,
    open: AtomicU64,
}

/// The proxy of one session. Dropping it closes all its connections.
pub struct Proxy {
    shared: Arc<Shared>,
    // Held, never read: its tasks end with it.
    _tasks: JoinSet<()>,
}

impl Proxy {
    /// Serves the listeners that were bound inside. Must be called within a tokio runtime.
    ///
    /// # Errors
    ///
    /// When a descriptor is no listener.
    pub fn start(listeners: Vec<OwnedFd>, config: ProxyConfig) -> Result<Self, Error> {
        let ProxyConfig { policy, log, resolve } = config;
        let shared = Arc::new(Shared {
            places: Arc::new(Semaphore::new(policy.limits.connections.clamp(1, Semaphore::MAX_PERMITS))),
            policy: RwLock::new(Arc::new(policy)),
            log,
            resolve: resolve.unwrap_or_else(resolver_of_the_host),
            sent: AtomicU64::new(0),
            received: AtomicU64::new(0),
            requests: AtomicU64::new(0),
            refused: AtomicU64::new(0),
            open: AtomicU64::new(0),
        });
        let mut tasks = JoinSet::new();
        for listener in listeners {
            // What is accepted inherits it. Loopback has no bottleneck to probe for: a control that paces, which many hosts have
            // by default, costs a fifth more. Reno is always there; without it the default does.
            let _ = rustix::net::sockopt::set_tcp_congestion(&listener, "reno");
            let listener = std::net::TcpListener::from(listener);
            let listener = listener.set_nonblocking(true).and_then(|()| TcpListener::from_std(listener));
            let listener = listener.map_err(Error::io("cannot serve the session's way out"))?;
            tasks.spawn(serve::accept(Arc::clone(&shared), listener));
        }
        Ok(Self { shared, _tasks: tasks })
    }

    /// Changes what may be reached from now on; connections that stand are not touched. The number of connections
    /// stays what it was.
    pub fn set_policy(&self, policy: Policy) {
        let mut current = self.shared.policy.write().unwrap_or_else(std::sync::PoisonError::into_inner);
        *current = Arc::new(policy);
    }

    /// What went through it.
    #[must_use]
    pub fn counts(&self) -> Counts {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Counts {
            sent: read(&self.shared.sent),
            received: read(&self.shared.received),
            requests: read(&self.shared.requests),
            refused: read(&self.shared.refused),
            open: read(&self.shared.open),
        }
    }
}

impl std::fmt::Debug for Proxy {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Proxy").field("counts", &self.counts()).finish_non_exhaustive()
    }
}

fn resolver_of_the_host() -> Resolve {
    Arc::new(|name, port| {
        Box::pin(async move {
            // With a dot at its end no search list is tried.
            let found = tokio::net::lookup_host((format!("{name}."), port)).await?;
            Ok(found.map(|address| address.ip()).collect())
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn connections_from_inside_are_not_paced() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let kept = listener.try_clone().unwrap();
        let _proxy = Proxy::start(vec![listener.into()], ProxyConfig::default()).unwrap();
        assert_eq!(rustix::net::sockopt::tcp_congestion(&kept).unwrap(), "reno");
    }
}
