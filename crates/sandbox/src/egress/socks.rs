//! SOCKS5 as our side speaks it: no login, CONNECT only, names resolved by us (RFC 1928).

use std::{
    io,
    net::{Ipv4Addr, Ipv6Addr},
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use super::address::Host;

/// Answers of RFC 1928 6.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Reply {
    Succeeded = 0,
    Refused = 2,
    Unreachable = 4,
    BadCommand = 7,
    BadAddress = 8,
}

/// What was asked for.
pub(super) enum Request {
    Connect {
        host: Host,
        port: u16,
    },
    /// Refused already, with an answer sent; why.
    Bad(String),
}

/// Reads a request.
pub(super) async fn request(stream: &mut TcpStream) -> io::Result<Request> {
    let mut head = [0; 2];
    stream.read_exact(&mut head).await?;
    let mut methods = [0; 255];
    let methods = &mut methods[..head[1].into()];
    stream.read_exact(methods).await?;
    if !methods.contains(&0) {
        stream.write_all(&[5, 0xff]).await?;
        return Ok(Request::Bad("SOCKS with a login is not offered".into()));
    }
    stream.write_all(&[5, 0]).await?;
    let mut head = [0; 4];
    stream.read_exact(&mut head).await?;
    let host = match head[3] {
        1 => {
            let mut bytes = [0; 4];
            stream.read_exact(&mut bytes).await?;
            Ok(Host::Address(Ipv4Addr::from(bytes).into()))
        }
        4 => {
            let mut bytes = [0; 16];
            stream.read_exact(&mut bytes).await?;
            Ok(Host::Address(Ipv6Addr::from(bytes).into()))
        }
        3 => {
            let mut bytes = vec![0; stream.read_u8().await?.into()];
            stream.read_exact(&mut bytes).await?;
            std::str::from_utf8(&bytes).map_err(|_| "a host that is not text".to_owned()).and_then(Host::parse)
        }
        kind => Err(format!("SOCKS address of kind {kind}")),
    };
    let port = match host {
        Ok(_) => stream.read_u16().await?,
        Err(_) => 0,
    };
    match (head[1], host) {
        (1, Ok(host)) => Ok(Request::Connect { host, port }),
        (1, Err(why)) => {
            reply(stream, Reply::BadAddress).await?;
            Ok(Request::Bad(why))
        }
        // UDP would need a way around our checks; sessions have none.
        (command, _) => {
            reply(stream, Reply::BadCommand).await?;
            Ok(Request::Bad(format!("SOCKS command {command} is not offered")))
        }
    }
}

/// Answers, without telling an address of ours.
pub(super) async fn reply(stream: &mut TcpStream, reply: Reply) -> io::Result<()> {
    stream.write_all(&[5, reply as u8, 0, 1, 0, 0, 0, 0, 0, 0]).await
}
