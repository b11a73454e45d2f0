//! The options of `serve` about TLS.

use std::{net::SocketAddr, path::PathBuf};

use clap::Args;
use glasshouse_gateway::Tls;

/// TLS of our own.
#[derive(Debug, Args)]
#[command(next_help_heading = "TLS")]
pub(crate) struct TlsOptions {
    /// Certificate with its chain behind it, as PEM; with it, https and wss are spoken on the same port. Read again whenever it
    /// changes. Plain http is then answered to this machine and trusted proxies only; others are led to https.
    #[arg(long, env = "GLASSHOUSE_TLS_CERT", value_name = "FILE", requires = "tls_key")]
    tls_cert: Option<PathBuf>,

    /// Its private key, as PEM.
    #[arg(long, env = "GLASSHOUSE_TLS_KEY", value_name = "FILE", requires = "tls_cert")]
    tls_key: Option<PathBuf>,
}

impl TlsOptions {
    /// The certificate, if there is one.
    ///
    /// # Errors
    /// A file cannot be used.
    pub(crate) fn open(&self) -> anyhow::Result<Option<Tls>> {
        let (Some(certificate), Some(key)) = (&self.tls_cert, &self.tls_key) else { return Ok(None) };
        Tls::open(certificate, key).map(Some).map_err(anyhow::Error::msg)
    }

    /// Where people reach us: a certificate is for a name, so by the first of those that may be used.
    pub(crate) fn origin(&self, listen: SocketAddr, names: &[String]) -> String {
        match (&self.tls_cert, names.iter().find(|name| *name != "*")) {
            (None, _) => format!("http://{listen}"),
            (Some(_), Some(name)) => format!("https://{name}:{}", listen.port()),
            (Some(_), None) => format!("https://{listen}"),
        }
    }
}
