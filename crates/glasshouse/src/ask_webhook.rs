//! Tells people elsewhere that a program asks for help: a signed POST to an address of the operator's.

use std::{
    env,
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use anyhow::{Context, bail};
use bytes::Bytes;
use glasshouse_neko::AskNotice;
use hmac::{Hmac, KeyInit, Mac};
use http_body_util::Full;
use hyper::{Method, Request, Uri, header};
use serde_json::json;
use sha2::Sha256;
use tokio::sync::Semaphore;

use crate::outgoing::Outgoing;

/// Holds the key that signatures are made with, which must not be on the command line.
const SECRET: &str = "GLASSHOUSE_ASK_WEBHOOK_SECRET";
/// Shortest key that is taken, in bytes.
const MIN_SECRET: usize = 16;
/// Messages on their way at a time; more are dropped, with a line in the log.
const MAX_SENDING: usize = 8;
/// How long one attempt may take, and when the next ones begin.
const ATTEMPT: Duration = Duration::from_secs(10);
const PAUSES: [Duration; 3] = [Duration::ZERO, Duration::from_secs(1), Duration::from_secs(5)];

/// Where questions are told.
pub(crate) struct Webhook {
    address: Uri,
    key: Hmac<Sha256>,
    outgoing: Outgoing,
    /// Id of the session, where it has one.
    session: Option<String>,
    /// Where people find the room; it lets nobody in by itself.
    link: String,
    sending: Arc<Semaphore>,
}

impl Webhook {
    /// Makes it, with the key of the environment.
    ///
    /// # Errors
    /// The address is none, or there is no key.
    pub(crate) fn new(address: &str, session: Option<String>, link: String) -> anyhow::Result<Self> {
        let address: Uri = address.parse().with_context(|| format!("--ask-webhook {address:?} is no address"))?;
        let outgoing = Outgoing::for_address(&address).context("--ask-webhook")?;
        let secret = env::var(SECRET).unwrap_or_default();
        if secret.len() < MIN_SECRET {
            bail!("--ask-webhook needs a key to sign with: set {SECRET} to {MIN_SECRET} characters or more");
        }
        let key = Hmac::new_from_slice(secret.as_bytes()).context("no key")?;
        Ok(Self { address, key, outgoing, session, link, sending: Arc::new(Semaphore::new(MAX_SENDING)) })
    }

    /// Sends it, some time; never waits, and only the log hears of a failure. To be called within a tokio runtime.
    pub(crate) fn tell(&self, notice: &AskNotice) {
        let Ok(permit) = self.sending.clone().try_acquire_owned() else {
            tracing::warn!(id = notice.id, "too many questions at once: the webhook does not hear of this one");
            return;
        };
        let body = self.body(notice).to_string();
        let (outgoing, address, key, id) =
            (self.outgoing.clone(), self.address.clone(), self.key.clone(), notice.id.clone());
        tokio::spawn(async move {
            let _permit = permit;
            for (attempt, pause) in (1..).zip(PAUSES) {
                tokio::time::sleep(pause).await;
                match tokio::time::timeout(ATTEMPT, send(&outgoing, &address, &key, &body)).await {
                    Ok(Ok(())) => return,
                    Ok(Err(error)) => {
                        tracing::warn!(id, attempt, error = %format_args!("{error:#}"), "the webhook failed")
                    }
                    Err(_) => tracing::warn!(id, attempt, "the webhook did not answer in time"),
                }
            }
        });
    }

    fn body(&self, notice: &AskNotice) -> serde_json::Value {
        json!({
            "event": "ask",
            "id": notice.id,
            "session": self.session,
            "by": notice.name,
            "reason": notice.reason,
            "timeoutSeconds": notice.timeout.as_secs(),
            "link": self.link,
        })
    }
}

async fn send(outgoing: &Outgoing, address: &Uri, key: &Hmac<Sha256>, body: &str) -> anyhow::Result<()> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let request = Request::builder()
        .method(Method::POST)
        .uri(address.clone())
        .header(header::CONTENT_TYPE, "application/json")
        .header(header::USER_AGENT, concat!("glasshouse/", env!("CARGO_PKG_VERSION")))
        .header("glasshouse-signature", signature(key.clone(), now, body))
        .body(Full::new(Bytes::copy_from_slice(body.as_bytes())))?;
    let status = outgoing.send(request).await?.status();
    if !status.is_success() {
        bail!("it answers {status}");
    }
    Ok(())
}

/// `t=SECONDS,v1=HEX`: HMAC-SHA256 of `SECONDS.BODY`, so that an old message cannot be sent again as a new one.
fn signature(mut key: Hmac<Sha256>, seconds: u64, body: &str) -> String {
    key.update(format!("{seconds}.{body}").as_bytes());
    let hex: String = key.finalize().into_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
    format!("t={seconds},v1={hex}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signatures_are_what_others_compute() {
        // printf '5.{"a":1}' | openssl dgst -sha256 -hmac 'a key of some length'
        let key = Hmac::new_from_slice(b"a key of some length").unwrap();
        assert_eq!(signature(key, 5, r#"{"a":1}"#), format!("t=5,v1={EXPECTED}"));
    }

    const EXPECTED: &str = "222170ebd87470a27f8163844f942234796dba512102091b07cc43b377531c83";
}
