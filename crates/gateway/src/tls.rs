//! TLS with a certificate of the operator's, which may change while we run.

use std::{
    fmt, io,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, SystemTime},
};

use parking_lot::Mutex;
use tokio::net::TcpStream;
use tokio_rustls::{
    TlsAcceptor,
    rustls::{
        ServerConfig,
        crypto::ring,
        pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
        server::{ClientHello, ResolvesServerCert},
        sign::CertifiedKey,
    },
    server::TlsStream,
};

/// How long a client may take to agree on keys.
const HANDSHAKE: Duration = Duration::from_secs(10);

/// First byte of a TLS connection: the type of a handshake's record (RFC 8446, 5.1).
const FIRST_BYTE: u8 = 0x16;

/// Which state of the two files was read last.
type Stamp = [Option<(SystemTime, u64)>; 2];

/// A certificate with its key, read again when either file has changed.
struct Kept {
    certificate: PathBuf,
    key: PathBuf,
    known: Mutex<(Stamp, Arc<CertifiedKey>)>,
}

impl fmt::Debug for Kept {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Kept").field("certificate", &self.certificate).finish_non_exhaustive()
    }
}

fn stamp(certificate: &Path, key: &Path) -> Stamp {
    [certificate, key].map(|path| {
        let about = std::fs::metadata(path).ok()?;
        Some((about.modified().ok()?, about.len()))
    })
}

fn load(certificate: &Path, key: &Path) -> Result<CertifiedKey, String> {
    let unreadable = |path: &Path, error: &dyn fmt::Display| format!("cannot use {}: {error}", path.display());
    let chain: Result<Vec<_>, _> = CertificateDer::pem_file_iter(certificate)
        .and_then(Iterator::collect)
        .map_err(|error| unreadable(certificate, &error));
    let chain = chain?;
    if chain.is_empty() {
        return Err(unreadable(certificate, &"there is no certificate in it (PEM)"));
    }
    let secret = PrivateKeyDer::from_pem_file(key).map_err(|error| unreadable(key, &error))?;
    // Refuses a key that is not the certificate's.
    CertifiedKey::from_der(chain, secret, &ring::default_provider()).map_err(|error| unreadable(key, &error))
}

impl ResolvesServerCert for Kept {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let now = stamp(&self.certificate, &self.key);
        let mut known = self.known.lock();
        if known.0 != now {
            known.0 = now;
            match load(&self.certificate, &self.key) {
                Ok(new) => {
                    tracing::info!(certificate = %self.certificate.display(), "a new certificate is used");
                    known.1 = Arc::new(new);
                }
                // One of the two may have been written just now, and the other not yet.
                Err(error) => tracing::warn!(error, "the certificate from before is used on"),
            }
        }
        Some(known.1.clone())
    }
}

/// Our side of TLS.
#[derive(Clone)]
pub struct Tls(TlsAcceptor);

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Tls")
    }
}

impl Tls {
    /// With a certificate, its chain behind it, and its key: files of PEM, looked at whenever somebody connects.
    ///
    /// # Errors
    /// A file cannot be used, or the key is another certificate's.
    pub fn open(certificate: &Path, key: &Path) -> Result<Self, String> {
        let now = stamp(certificate, key);
        let known = Mutex::new((now, Arc::new(load(certificate, key)?)));
        let kept = Kept { certificate: certificate.to_owned(), key: key.to_owned(), known };
        let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(|error| error.to_string())?
            .with_no_client_auth();
        let mut config = config.with_cert_resolver(Arc::new(kept));
        // WebSockets are HTTP/1.1's.
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Self(TlsAcceptor::from(Arc::new(config))))
    }
}

/// A connection whose first byte has said what it is.
pub(crate) enum Agreed {
    Tls(Box<TlsStream<TcpStream>>),
    Plain(TcpStream),
}

/// Agrees on keys with a client that wants to; it may be silent for so long before.
pub(crate) async fn agree(tls: &Tls, stream: TcpStream, silence: Duration) -> io::Result<Agreed> {
    let mut first = [0];
    match tokio::time::timeout(silence, stream.peek(&mut first)).await?? {
        1 if first[0] == FIRST_BYTE => {
            let stream = tokio::time::timeout(HANDSHAKE, tls.0.accept(stream)).await??;
            Ok(Agreed::Tls(Box::new(stream)))
        }
        _ => Ok(Agreed::Plain(stream)),
    }
}
