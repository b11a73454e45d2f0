//! Which addresses a session may not reach, and how a host is spelt.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    str::FromStr,
};

/// A range of addresses, such as `10.0.0.0/8`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cidr {
    address: IpAddr,
    bits: u8,
}

impl Cidr {
    /// Whether an address is in the range. An IPv4 address mapped into IPv6 counts as IPv4.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        match (self.address, address.to_canonical()) {
            (IpAddr::V4(own), IpAddr::V4(other)) => same(own.to_bits().into(), other.to_bits().into(), 32, self.bits),
            (IpAddr::V6(own), IpAddr::V6(other)) => same(own.to_bits(), other.to_bits(), 128, self.bits),
            _ => false,
        }
    }
}

fn same(one: u128, other: u128, width: u8, bits: u8) -> bool {
    bits == 0 || (one ^ other) >> u32::from(width - bits.min(width)) == 0
}

impl FromStr for Cidr {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("{text:?} is not a range of addresses: write 10.0.0.0/8, or one address");
        let (address, bits) = match text.split_once('/') {
            Some((address, bits)) => (address, Some(bits.parse::<u8>().map_err(|_| wrong())?)),
            None => (text, None),
        };
        let address: IpAddr = address.trim_matches(['[', ']']).parse().map_err(|_| wrong())?;
        let width = if address.is_ipv4() { 32 } else { 128 };
        let bits = bits.unwrap_or(width);
        if bits > width { Err(wrong()) } else { Ok(Self { address, bits }) }
    }
}

/// IPv4 ranges that are not the public internet (IANA special-purpose registry, RFC 6890 and its updates).
const REFUSED_V4: &[(u32, u8, &str)] = &[
    (v4(0, 0, 0, 0), 8, "this network"),
    (v4(10, 0, 0, 0), 8, "a private network"),
    (v4(100, 64, 0, 0), 10, "a carrier's private network"),
    (v4(127, 0, 0, 0), 8, "the host itself"),
    (v4(169, 254, 0, 0), 16, "link-local, where clouds keep their metadata"),
    (v4(172, 16, 0, 0), 12, "a private network"),
    (v4(192, 0, 0, 0), 24, "reserved for protocols"),
    (v4(192, 0, 2, 0), 24, "for documentation"),
    (v4(192, 88, 99, 0), 24, "a 6to4 relay"),
    (v4(192, 168, 0, 0), 16, "a private network"),
    (v4(198, 18, 0, 0), 15, "for benchmarks"),
    (v4(198, 51, 100, 0), 24, "for documentation"),
    (v4(203, 0, 113, 0), 24, "for documentation"),
    (v4(224, 0, 0, 0), 4, "multicast"),
    (v4(240, 0, 0, 0), 4, "reserved"),
    // Azure's wire server: public by its number, the virtual machine's host by its use.
    (v4(168, 63, 129, 16), 32, "a cloud's metadata"),
];

const fn v4(a: u8, b: u8, c: u8, d: u8) -> u32 {
    u32::from_be_bytes([a, b, c, d])
}

/// Why an address is refused, if it is.
pub(super) fn refused(address: IpAddr) -> Option<&'static str> {
    match address {
        IpAddr::V4(address) => refused_v4(address),
        IpAddr::V6(address) => refused_v6(address),
    }
}

fn refused_v4(address: Ipv4Addr) -> Option<&'static str> {
    let bits = address.to_bits();
    REFUSED_V4.iter().find(|(range, width, _)| same((*range).into(), bits.into(), 32, *width)).map(|(.., why)| *why)
}

fn refused_v6(address: Ipv6Addr) -> Option<&'static str> {
    let parts = address.segments();
    let embedded = || {
        let [.., high, low] = parts;
        Ipv4Addr::from_bits(u32::from(high) << 16 | u32::from(low))
    };
    match parts {
        [0, 0, 0, 0, 0, 0, 0, 0] => Some("this network"),
        [0, 0, 0, 0, 0, 0, 0, 1] => Some("the host itself"),
        [0, 0, 0, 0, 0, 0xffff, ..] => refused_v4(embedded()),
        // The well-known prefix of NAT64 (RFC 6052): the only one that can lead to the public internet.
        [0x64, 0xff9b, 0, 0, 0, 0, ..] => refused_v4(embedded()),
        [0xfc00..=0xfdff, ..] => Some("a private network"),
        [0xfe80..=0xfebf, ..] => Some("link-local"),
        [0xfec0..=0xfeff, ..] => Some("a site's private network"),
        [0xff00..=0xffff, ..] => Some("multicast"),
        [0x2002, ..] => Some("6to4, which hides an IPv4 address"),
        [0x2001, 0, ..] => Some("Teredo, which hides an IPv4 address"),
        [0x2001, 0xdb8, ..] | [0x3fff, 0..=0x0fff, ..] => Some("for documentation"),
        [0x2001, 0x1..=0x1ff, ..] => Some("reserved for protocols"),
        [0x2000..=0x3fff, ..] => None,
        _ => Some("reserved"),
    }
}

/// The host of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Host {
    /// A literal address.
    Address(IpAddr),
    /// A name in lower case, without a dot at its end.
    Name(String),
}

impl Host {
    /// Reads a host as browsers do (WHATWG URL, "host parsing"), so that no spelling of an address looks like a name:
    /// one to four decimal, octal or hexadecimal numbers are an IPv4 address.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let wrong = |why: &str| Err(format!("{text:?} is not a host: {why}"));
        if let Some(inner) = text.strip_prefix('[') {
            return match inner.strip_suffix(']').map(str::parse::<Ipv6Addr>) {
                Some(Ok(address)) => Ok(Self::Address(address.into())),
                _ => wrong("not an IPv6 address in brackets"),
            };
        }
        if text.contains(':') {
            return match text.parse::<Ipv6Addr>() {
                Ok(address) => Ok(Self::Address(address.into())),
                Err(_) => wrong("a colon does not belong in it"),
            };
        }
        let name = text.strip_suffix('.').unwrap_or(text).to_ascii_lowercase();
        let fine = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
        if name.is_empty() || name.len() > 253 || !name.bytes().all(fine) || name.split('.').any(str::is_empty) {
            return wrong("a name has letters, digits and '-', with dots between");
        }
        let last = name.rsplit('.').next().unwrap_or("");
        if last.bytes().all(|byte| byte.is_ascii_digit()) || number(last).is_some() {
            return match ipv4(&name) {
                Some(address) => Ok(Self::Address(address.into())),
                None => wrong("it ends in a number but is no IPv4 address"),
            };
        }
        Ok(Self::Name(name))
    }
}

impl std::fmt::Display for Host {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Address(IpAddr::V6(address)) => write!(f, "[{address}]"),
            Self::Address(IpAddr::V4(address)) => write!(f, "{address}"),
            Self::Name(name) => f.write_str(name),
        }
    }
}

fn number(text: &str) -> Option<u64> {
    let (digits, radix) = match text.strip_prefix("0x") {
        Some("") => return Some(0),
        Some(hex) => (hex, 16),
        None if text.len() > 1 && text.starts_with('0') => (&text[1..], 8),
        None => (text, 10),
    };
    // `from_str_radix` would take a sign.
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
        return None;
    }
    u64::from_str_radix(digits, radix).ok()
}

fn ipv4(text: &str) -> Option<Ipv4Addr> {
    let parts = text.split('.').map(number).collect::<Option<Vec<u64>>>()?;
    let (last, first) = parts.split_last()?;
    if first.len() > 3 || first.iter().any(|part| *part > 255) {
        return None;
    }
    // The last number fills all the bytes that are left.
    let left = 4 - u32::try_from(first.len()).ok()?;
    if *last >= 256_u64.pow(left) {
        return None;
    }
    let high = first.iter().enumerate().map(|(index, part)| part << (24 - 8 * index)).sum::<u64>();
    u32::try_from(high + last).ok().map(Ipv4Addr::from_bits)
}

/// Whether an address is one of this host's own.
pub(super) fn is_own(address: IpAddr) -> bool {
    let mut list: *mut libc::ifaddrs = std::ptr::null_mut();
    // SAFETY: the list is freed below, after its last use.
    if unsafe { libc::getifaddrs(&raw mut list) } != 0 {
        return false;
    }
    let mut found = false;
    let mut next = list;
    while !next.is_null() && !found {
        // SAFETY: an entry of the list, which lives until it is freed.
        let entry = unsafe { &*next };
        found = !entry.ifa_addr.is_null() && socket_address(entry.ifa_addr) == Some(address.to_canonical());
        next = entry.ifa_next;
    }
    // SAFETY: the list that getifaddrs made.
    unsafe { libc::freeifaddrs(list) };
    found
}

/// The address in a `sockaddr` of `getifaddrs`.
fn socket_address(address: *const libc::sockaddr) -> Option<IpAddr> {
    // SAFETY: not null, and what it points to has the size and shape that its family says.
    unsafe {
        match i32::from((*address).sa_family) {
            libc::AF_INET => {
                let inner = address.cast::<libc::sockaddr_in>().read_unaligned();
                Some(Ipv4Addr::from_bits(u32::from_be(inner.sin_addr.s_addr)).into())
            }
            libc::AF_INET6 => {
                let inner = address.cast::<libc::sockaddr_in6>().read_unaligned();
                Some(Ipv6Addr::from(inner.sin6_addr.s6_addr).into())
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_spelling_of_the_metadata_address_is_refused() {
        let spellings = [
            "169.254.169.254",
            "169.254.169.254.",
            "2852039166",
            "0xa9fea9fe",
            "0XA9FEA9FE",
            "0xa9.0xfe.0xa9.0xfe",
            "0251.0376.0251.0376",
            "025177524776",
            "169.254.43518",
            "169.16689662",
            "0xa9.254.0251.254",
            "[::ffff:169.254.169.254]",
            "[::ffff:a9fe:a9fe]",
            "::ffff:169.254.169.254",
            "[64:ff9b::a9fe:a9fe]",
            "[2002:a9fe:a9fe::1]",
            "[::a9fe:a9fe]",
            "[2001:0:a9fe:a9fe::]",
            "[fd00:ec2::254]",
        ];
        for spelling in spellings {
            match Host::parse(spelling) {
                Ok(Host::Address(address)) => assert!(refused(address).is_some(), "{spelling} is {address}"),
                other => panic!("{spelling} is {other:?}"),
            }
        }
    }

    #[test]
    fn what_is_public_is_not_refused() {
        for text in ["1.1.1.1", "93.184.216.34", "[2606:4700::1111]", "[64:ff9b::101:101]", "0x08.8.8.8", "100.128.0.1"]
        {
            let Ok(Host::Address(address)) = Host::parse(text) else { panic!("{text}") };
            assert_eq!(refused(address), None, "{text}");
        }
    }

    #[test]
    fn what_is_no_host_is_an_error() {
        for text in [
            "",
            ".",
            "a..b",
            "1.2.3.4.5",
            "256.1.1.1",
            "1.2.3.256",
            "4294967296",
            "a b",
            "a/b",
            "[::1",
            "fe80::1%eth0",
            "[fe80::1%25eth0]",
            "exa%6dple.com",
            "08.8.8.8",
            "a.0x",
            "\u{ff11}27.0.0.1",
        ] {
            let host = Host::parse(text);
            let refused = matches!(&host, Ok(Host::Address(address)) if refused(*address).is_some());
            assert!(host.is_err() || refused, "{text:?} is {host:?}");
        }
        assert_eq!(Host::parse("Example.COM."), Ok(Host::Name("example.com".into())));
        assert_eq!(Host::parse("1e100.net"), Ok(Host::Name("1e100.net".into())));
    }

    #[test]
    fn ranges() {
        let range: Cidr = "10.1.0.0/16".parse().unwrap();
        assert!(range.contains("10.1.2.3".parse().unwrap()));
        assert!(range.contains("::ffff:10.1.2.3".parse().unwrap()));
        assert!(!range.contains("10.2.2.3".parse().unwrap()));
        assert!("10.0.0.0/33".parse::<Cidr>().is_err());
        assert!("::/0".parse::<Cidr>().unwrap().contains("fe80::1".parse().unwrap()));
    }

    #[test]
    fn our_own_addresses_are_known() {
        assert!(is_own(Ipv4Addr::LOCALHOST.into()));
        assert!(!is_own("1.1.1.1".parse().unwrap()));
    }
}
