//! Where viewers reach an engine.

use std::{fmt, net::SocketAddr, path::PathBuf, str::FromStr};

/// The ports of an engine.
#[derive(Debug, Clone)]
pub enum Port {
    /// Its own.
    Own {
        /// UDP address for all viewers; port 0 picks a free one. A loopback address is for viewers on this machine, which are
        /// then served at its other addresses too.
        udp: SocketAddr,
        /// Port to announce for ICE over TCP (RFC 6544, passive), if connections are handed to
        /// [`Engine::accept_tcp`](crate::Engine::accept_tcp).
        tcp: Option<u16>,
    },
    /// Those of a [`Door`](crate::Door), UDP and TCP with the same number.
    Shared {
        /// Path of the socket that the door hands sockets over by; it is made, in a directory of ours alone.
        socket: PathBuf,
        /// What the door knows us by: letters and digits, as random as it takes to be unique.
        tag: String,
    },
}

/// Address of a port that is shared. As text: the address, and ` private` behind it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SharedPort {
    /// Address and port, for UDP and for TCP. An unspecified one stands for all of the machine's.
    pub address: SocketAddr,
    /// Programs of this machine, and no others, reach the UDP port at all of the machine's addresses.
    pub is_private: bool,
}

const PRIVATE: &str = " private";

impl fmt::Display for SharedPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.address, if self.is_private { PRIVATE } else { "" })
    }
}

impl FromStr for SharedPort {
    type Err = std::net::AddrParseError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (address, is_private) = match text.strip_suffix(PRIVATE) {
            Some(address) => (address, true),
            None => (text, false),
        };
        Ok(Self { address: address.parse()?, is_private })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text() {
        for is_private in [false, true] {
            for address in ["127.0.0.1:8080", "[::]:1"] {
                let port = SharedPort { address: address.parse().unwrap(), is_private };
                assert_eq!(port.to_string().parse(), Ok(port));
            }
        }
        assert!("127.0.0.1".parse::<SharedPort>().is_err() && "1.2.3.4:5 public".parse::<SharedPort>().is_err());
    }
}
