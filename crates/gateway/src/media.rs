//! The port for the media of all sessions, as far as the door to them has to do with it: TCP has one port for both.

use std::{fmt, sync::Arc};

use tokio::net::TcpStream;

/// A connection for ICE begins with the 16-bit length (RFC 4571) of a STUN message, which is far shorter than the 5,120 bytes
/// that this allows; HTTP begins with a letter and TLS with 0x16.
const LARGEST_ICE_LENGTH_BYTE: u8 = 0x13;

/// A number for `/metrics`: name, what it means, value.
pub type Count = (&'static str, &'static str, u64);

/// The port for media.
#[derive(Clone)]
pub struct Media {
    /// What sessions are told of it, with every request.
    pub address: String,
    /// Takes connections that speak ICE over TCP (RFC 4571 framing). Nothing of them has been read.
    pub ice: Arc<dyn Fn(TcpStream) + Send + Sync>,
    /// What came in there so far.
    pub counts: Arc<dyn Fn() -> Vec<Count> + Send + Sync>,
}

impl fmt::Debug for Media {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Media").field("address", &self.address).finish_non_exhaustive()
    }
}

/// Whether a connection speaks ICE; `None` when it ended before it said anything.
pub(crate) async fn speaks_ice(stream: &TcpStream) -> Option<bool> {
    let mut first = [0];
    match stream.peek(&mut first).await {
        Ok(1) => Some(first[0] <= LARGEST_ICE_LENGTH_BYTE),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use tokio::{io::AsyncWriteExt, net::TcpListener};

    use super::*;

    #[tokio::test]
    async fn the_first_byte_tells() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let cases: [(&[u8], _); 4] =
            [(&[0, 20, 0, 1], Some(true)), (b"GET / HTTP/1.1", Some(false)), (&[0x16, 3, 1], Some(false)), (b"", None)];
        for (said, expected) in cases {
            let mut client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
            let (stream, _) = listener.accept().await.unwrap();
            client.write_all(said).await.unwrap();
            client.shutdown().await.unwrap();
            assert_eq!(speaks_ice(&stream).await, expected);
        }
    }
}
