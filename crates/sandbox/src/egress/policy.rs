//! What a session may reach.

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    str::FromStr,
    time::Duration,
};

use super::{
    address::{self, Cidr, Host},
    upstream::Upstream,
};

/// The name by which a session reaches ports of the host that are exposed to it.
pub const EXPOSED_HOST: &str = "host.glasshouse";

/// What a session may reach. By default: all of the public internet.
#[derive(Debug, Clone, Default)]
pub struct Policy {
    /// Nothing at all, exposed ports included.
    pub block_all: bool,
    /// If not empty, only this. A range of addresses here also opens it where it is private.
    pub allow: Vec<Rule>,
    /// Never this; stronger than `allow`.
    pub deny: Vec<Rule>,
    /// Ports of [`EXPOSED_HOST`], and the port of the host's loopback that each leads to. `localhost`, `127.0.0.1` and
    /// `[::1]` lead there too, so that addresses of the host can be used as they are.
    pub exposed: BTreeMap<u16, u16>,
    /// The proxy that all but exposed ports goes through.
    pub upstream: Option<Upstream>,
    /// Limits of the proxy itself.
    pub limits: ProxyLimits,
}

/// Limits of the proxy itself.
#[derive(Debug, Clone, Copy)]
pub struct ProxyLimits {
    /// Connections at a time; more wait.
    pub connections: usize,
    /// Size of a request's head, in bytes.
    pub head: usize,
    /// Time for a request's head to arrive.
    pub head_within: Duration,
    /// Time to connect to a host.
    pub connect_within: Duration,
    /// A connection on which nothing moves for this long is closed.
    pub idle: Duration,
}

impl Default for ProxyLimits {
    fn default() -> Self {
        Self {
            connections: 512,
            head: 64 * 1024,
            head_within: Duration::from_secs(30),
            connect_within: Duration::from_secs(20),
            idle: Duration::from_secs(600),
        }
    }
}

/// Hosts and a port.
///
/// `example.com` is that name and every name below it, `*.example.com` only those below, `10.0.0.0/8` a range of
/// addresses, `*` everything; `:443` at the end is that port only.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    pattern: Pattern,
    port: Option<u16>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Pattern {
    Any,
    Name { name: String, itself: bool },
    Range(Cidr),
}

impl FromStr for Rule {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let range = |text: &str| text.parse::<Cidr>().ok().map(Pattern::Range);
        if let Some(pattern) = range(text) {
            return Ok(Self { pattern, port: None });
        }
        let (host, port) = match text.rsplit_once(':') {
            Some((host, port)) => {
                (host, Some(port.parse().map_err(|_| format!("rule {text:?}: {port:?} is not a port"))?))
            }
            None => (text, None),
        };
        if let Some(pattern) = range(host) {
            return Ok(Self { pattern, port });
        }
        if host == "*" {
            return Ok(Self { pattern: Pattern::Any, port });
        }
        let (name, itself) = match host.strip_prefix("*.").or_else(|| host.strip_prefix('.')) {
            Some(name) => (name, false),
            None => (host, true),
        };
        match Host::parse(name) {
            Ok(Host::Name(name)) => Ok(Self { pattern: Pattern::Name { name, itself }, port }),
            Ok(Host::Address(address)) if itself => {
                let pattern = range(&address.to_string()).ok_or_else(|| format!("rule {text:?}: not an address"))?;
                Ok(Self { pattern, port })
            }
            Ok(Host::Address(_)) => Err(format!("rule {text:?}: an address has nothing below it")),
            Err(error) => Err(format!("rule {text:?}: {error}")),
        }
    }
}

impl Rule {
    /// Whether it is about addresses: among what is allowed, it also opens private ones.
    #[must_use]
    pub fn is_range(&self) -> bool {
        matches!(self.pattern, Pattern::Range(_))
    }

    fn matches_host(&self, host: &Host, port: u16) -> bool {
        self.port.is_none_or(|own| own == port)
            && match (&self.pattern, host) {
                (Pattern::Any, _) => true,
                (Pattern::Name { name: own, itself }, Host::Name(name)) => {
                    (*itself && name == own) || name.strip_suffix(own.as_str()).is_some_and(|rest| rest.ends_with('.'))
                }
                (Pattern::Range(range), Host::Address(address)) => range.contains(*address),
                _ => false,
            }
    }

    fn matches_address(&self, address: IpAddr, port: u16) -> bool {
        self.port.is_none_or(|own| own == port)
            && matches!(&self.pattern, Pattern::Range(range) if range.contains(address))
    }
}

/// Where a request goes as far as its host says.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Route {
    /// To this port of the host's loopback.
    Exposed(u16),
    /// Out, if its address may be reached.
    Out,
}

impl Policy {
    /// Judges a host before it is resolved.
    pub(super) fn route(&self, host: &Host, port: u16) -> Result<Route, String> {
        if self.block_all {
            return Err("this session has no network".into());
        }
        if is_loopback(host)
            && let Some(to) = self.exposed.get(&port)
        {
            return Ok(Route::Exposed(*to));
        }
        if let Host::Name(name) = host {
            if name == EXPOSED_HOST {
                return self
                    .exposed
                    .get(&port)
                    .copied()
                    .map(Route::Exposed)
                    .ok_or_else(|| format!("port {port} of the host is not exposed to this session"));
            }
            if name == "localhost" || name.ends_with(".localhost") {
                return Err(format!("{name} is the host itself"));
            }
        }
        if self.deny.iter().any(|rule| rule.matches_host(host, port)) {
            return Err(format!("{host} is on the list of what is denied"));
        }
        let by_address = |rule: &Rule| matches!(rule.pattern, Pattern::Range(_));
        let allowed = self.allow.is_empty()
            || self.allow.iter().any(|rule| rule.matches_host(host, port))
            // A name may lead into an allowed range.
            || (matches!(host, Host::Name(_)) && self.allow.iter().any(by_address));
        if allowed { Ok(Route::Out) } else { Err(format!("{host} is not on the list of what is allowed")) }
    }

    /// Judges an address that a host has led to.
    pub(super) fn check(&self, host: &Host, address: IpAddr, port: u16) -> Result<(), String> {
        // What the kernel would connect to is what is judged.
        let address = address.to_canonical();
        if self.deny.iter().any(|rule| rule.matches_address(address, port)) {
            return Err(format!("{host} leads to {address}, which is on the list of what is denied"));
        }
        if self.allow.iter().any(|rule| rule.matches_address(address, port)) {
            return Ok(());
        }
        if !self.allow.is_empty() && !self.allow.iter().any(|rule| rule.matches_host(host, port)) {
            return Err(format!("{host} leads to {address}, which is not on the list of what is allowed"));
        }
        if let Some(why) = address::refused(address) {
            return Err(format!("{host} leads to {address}, which is {why}"));
        }
        if address::is_own(address) {
            return Err(format!("{host} leads to {address}, which is the host itself"));
        }
        Ok(())
    }
}

/// Whether a host is loopback as people write it; other addresses of loopback have no such meaning.
fn is_loopback(host: &Host) -> bool {
    match host {
        Host::Name(name) => name == "localhost",
        Host::Address(address) => *address == Ipv4Addr::LOCALHOST || *address == Ipv6Addr::LOCALHOST,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(list: &[&str]) -> Vec<Rule> {
        list.iter().map(|text| text.parse().unwrap()).collect()
    }

    fn host(text: &str) -> Host {
        Host::parse(text).unwrap()
    }

    #[test]
    fn suffixes_and_ports() {
        let policy = Policy { allow: rules(&["example.com", "*.below.org:443"]), ..Policy::default() };
        assert!(policy.route(&host("example.com"), 80).is_ok());
        assert!(policy.route(&host("a.b.example.com"), 80).is_ok());
        assert!(policy.route(&host("badexample.com"), 80).is_err());
        assert!(policy.route(&host("below.org"), 443).is_err());
        assert!(policy.route(&host("a.below.org"), 443).is_ok());
        assert!(policy.route(&host("a.below.org"), 80).is_err());
        assert!(policy.route(&host("1.1.1.1"), 80).is_err());
    }

    #[test]
    fn deny_is_stronger_than_allow() {
        let policy = Policy {
            allow: rules(&["*"]),
            deny: rules(&["ads.example.com", "*:25", "93.184.0.0/16"]),
            ..Policy::default()
        };
        assert!(policy.route(&host("example.com"), 443).is_ok());
        assert!(policy.route(&host("x.ads.example.com"), 443).is_err());
        assert!(policy.route(&host("example.com"), 25).is_err());
        assert!(policy.check(&host("example.com"), "93.184.216.34".parse().unwrap(), 443).is_err());
        assert!(policy.check(&host("example.com"), "93.185.216.34".parse().unwrap(), 443).is_ok());
    }

    #[test]
    fn private_ranges_open_only_by_range() {
        let named = Policy { allow: rules(&["intranet.example.com"]), ..Policy::default() };
        assert!(named.check(&host("intranet.example.com"), "10.1.2.3".parse().unwrap(), 80).is_err());
        let ranged = Policy { allow: rules(&["10.1.0.0/16:80"]), ..Policy::default() };
        assert!(ranged.check(&host("intranet.example.com"), "10.1.2.3".parse().unwrap(), 80).is_ok());
        assert!(ranged.check(&host("intranet.example.com"), "10.1.2.3".parse().unwrap(), 22).is_err());
        assert!(ranged.check(&host("intranet.example.com"), "1.1.1.1".parse().unwrap(), 80).is_err());
    }

    #[test]
    fn exposed_ports_and_no_network() {
        let mut policy = Policy { exposed: BTreeMap::from([(3000, 4000)]), ..Policy::default() };
        assert_eq!(policy.route(&host("host.glasshouse"), 3000), Ok(Route::Exposed(4000)));
        assert!(policy.route(&host("host.glasshouse"), 3001).is_err());
        for loopback in ["localhost", "127.0.0.1", "[::1]"] {
            assert_eq!(policy.route(&host(loopback), 3000), Ok(Route::Exposed(4000)), "{loopback}");
        }
        for other in ["localhost", "x.localhost"] {
            assert!(policy.route(&host(other), 3001).is_err(), "{other}");
        }
        // By its address, loopback is judged as an address.
        assert!(policy.check(&host("127.0.0.1"), Ipv4Addr::LOCALHOST.into(), 3001).is_err());
        policy.block_all = true;
        assert!(policy.route(&host("host.glasshouse"), 3000).is_err());
    }

    #[test]
    fn bad_rules_say_what_is_wrong() {
        for text in ["", "a b", "example.com:99999", "*.10.0.0.1", "10.0.0.0/40"] {
            assert!(text.parse::<Rule>().is_err(), "{text}");
        }
    }
}
