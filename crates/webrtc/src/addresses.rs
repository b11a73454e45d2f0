//! Which addresses of this machine are announced to a viewer.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
};

/// An address that a viewer is told, for one protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Announced {
    pub(crate) address: SocketAddr,
    pub(crate) tcp: bool,
}

/// What decides about the announced addresses.
#[derive(Debug, Clone)]
pub(crate) struct Plan<'a> {
    pub(crate) udp: SocketAddr,
    /// Programs of this machine reach the UDP port at all of its addresses.
    pub(crate) is_private: bool,
    pub(crate) tcp_port: Option<u16>,
    pub(crate) nat1to1: &'a [IpAddr],
    pub(crate) interfaces: &'a [IpAddr],
    pub(crate) request: Option<IpAddr>,
}

impl Plan<'_> {
    /// The addresses in order of preference, UDP first.
    pub(crate) fn announced(&self) -> Vec<Announced> {
        let request = self.request.map(|address| address.to_canonical());
        let bound = self.udp.ip().to_canonical();
        let reachable = |address: &IpAddr| {
            let family = match bound {
                IpAddr::V4(_) => address.is_ipv4(),
                // Our wildcard IPv6 socket takes IPv4 as well.
                IpAddr::V6(_) => true,
            };
            if bound.is_unspecified() { family } else { *address == bound }
        };
        let mut own: Vec<IpAddr> = Vec::new();
        let mut add = |address: IpAddr| {
            if !own.contains(&address) && usable(address) {
                own.push(address);
            }
        };
        if let Some(request) = request {
            add(request);
        }
        if !self.nat1to1.is_empty() {
            self.nat1to1.iter().for_each(|address| add(address.to_canonical()));
        } else if bound.is_unspecified() {
            let loopback = request.is_some_and(|address| address.is_loopback());
            self.interfaces
                .iter()
                .filter(|address| loopback || !address.is_loopback())
                .for_each(|address| add(*address));
        } else {
            add(bound);
        }
        let mut announced = Vec::new();
        for address in &own {
            if reachable(address) || self.nat1to1.contains(address) {
                announced.push(Announced { address: SocketAddr::new(*address, self.udp.port()), tcp: false });
            }
        }
        if self.is_private && self.nat1to1.is_empty() {
            let others = self.interfaces.iter().filter(|address| {
                !address.is_loopback() && address.is_ipv4() == bound.is_ipv4() && !own.contains(address)
            });
            announced.extend(
                others.map(|address| Announced { address: SocketAddr::new(*address, self.udp.port()), tcp: false }),
            );
        }
        if let Some(port) = self.tcp_port {
            announced
                .extend(own.iter().map(|address| Announced { address: SocketAddr::new(*address, port), tcp: true }));
        }
        announced
    }
}

fn usable(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => !v4.is_unspecified() && !v4.is_multicast() && !v4.is_broadcast() && !v4.is_link_local(),
        IpAddr::V6(v6) => !v6.is_unspecified() && !v6.is_multicast() && !v6.is_unicast_link_local(),
    }
}

/// Addresses of all interfaces that are up, without link-local ones.
pub(crate) fn interfaces() -> io::Result<Vec<IpAddr>> {
    let mut list: *mut libc::ifaddrs = std::ptr::null_mut();
    // SAFETY: getifaddrs fills `list` with a chain that stays valid until freeifaddrs below.
    if unsafe { libc::getifaddrs(&raw mut list) } != 0 {
        return Err(io::Error::last_os_error());
    }
    let mut addresses = Vec::new();
    let mut next = list;
    while !next.is_null() {
        // SAFETY: `next` comes from the chain of getifaddrs, not yet freed.
        let entry = unsafe { &*next };
        next = entry.ifa_next;
        if entry.ifa_addr.is_null() || entry.ifa_flags & libc::IFF_UP as u32 == 0 {
            continue;
        }
        // SAFETY: a non-null ifa_addr points at a socket address of the family it names, aligned by the C library.
        let address: IpAddr = unsafe {
            match i32::from((*entry.ifa_addr).sa_family) {
                libc::AF_INET => {
                    let v4 = &*entry.ifa_addr.cast::<libc::sockaddr_in>();
                    Ipv4Addr::from(u32::from_be(v4.sin_addr.s_addr)).into()
                }
                libc::AF_INET6 => {
                    let v6 = &*entry.ifa_addr.cast::<libc::sockaddr_in6>();
                    Ipv6Addr::from(v6.sin6_addr.s6_addr).into()
                }
                _ => continue,
            }
        };
        if usable(address) && !addresses.contains(&address) {
            addresses.push(address);
        }
    }
    // SAFETY: `list` came from getifaddrs and is freed once; no reference into it is left.
    unsafe { libc::freeifaddrs(list) };
    Ok(addresses)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn texts(announced: &[Announced]) -> Vec<String> {
        announced.iter().map(|a| format!("{}{}", if a.tcp { "tcp " } else { "" }, a.address)).collect()
    }

    #[test]
    fn wildcard_announces_interfaces_and_loopback_only_on_request() {
        let interfaces = [ip("127.0.0.1"), ip("192.0.2.7"), ip("2001:db8::7")];
        let mut plan = Plan {
            udp: "0.0.0.0:9000".parse().unwrap(),
            is_private: false,
            tcp_port: None,
            nat1to1: &[],
            interfaces: &interfaces,
            request: None,
        };
        assert_eq!(texts(&plan.announced()), ["192.0.2.7:9000"]);
        plan.request = Some(ip("::ffff:127.0.0.1"));
        assert_eq!(texts(&plan.announced()), ["127.0.0.1:9000", "192.0.2.7:9000"]);
        plan.udp = "[::]:9000".parse().unwrap();
        plan.request = None;
        assert_eq!(texts(&plan.announced()), ["192.0.2.7:9000", "[2001:db8::7]:9000"]);
    }

    #[test]
    fn one_address_announces_itself_and_tcp_the_request_too() {
        let plan = Plan {
            udp: "192.0.2.7:9000".parse().unwrap(),
            is_private: false,
            tcp_port: Some(8080),
            nat1to1: &[],
            interfaces: &[],
            request: Some(ip("192.0.2.8")),
        };
        assert_eq!(texts(&plan.announced()), ["192.0.2.7:9000", "tcp 192.0.2.8:8080", "tcp 192.0.2.7:8080"]);
    }

    #[test]
    fn a_private_port_announces_what_this_machine_reaches() {
        let interfaces = [ip("127.0.0.1"), ip("192.0.2.7"), ip("2001:db8::7")];
        let mut plan = Plan {
            udp: "127.0.0.1:9000".parse().unwrap(),
            is_private: true,
            tcp_port: Some(9000),
            nat1to1: &[],
            interfaces: &interfaces,
            request: Some(ip("127.0.0.1")),
        };
        assert_eq!(texts(&plan.announced()), ["127.0.0.1:9000", "192.0.2.7:9000", "tcp 127.0.0.1:9000"]);
        plan.is_private = false;
        assert_eq!(texts(&plan.announced()), ["127.0.0.1:9000", "tcp 127.0.0.1:9000"]);
    }

    #[test]
    fn nat1to1_replaces_own_addresses() {
        let interfaces = [ip("10.0.0.2")];
        let plan = Plan {
            udp: "0.0.0.0:9000".parse().unwrap(),
            is_private: false,
            tcp_port: Some(8080),
            nat1to1: &[ip("203.0.113.5")],
            interfaces: &interfaces,
            request: None,
        };
        assert_eq!(texts(&plan.announced()), ["203.0.113.5:9000", "tcp 203.0.113.5:8080"]);
    }

    #[test]
    fn interfaces_have_loopback() {
        assert!(interfaces().unwrap().contains(&ip("127.0.0.1")));
    }
}
