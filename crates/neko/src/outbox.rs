//! What waits to be sent to one WebSocket: bounded, so that a slow client costs its connection and nobody's memory.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use axum::extract::ws::Utf8Bytes;
use tokio::sync::{mpsc, watch};

/// Messages that wait at most.
const MAX_MESSAGES: usize = 512;
/// Bytes that wait at most; one clipboard of 16 MiB, escaped, has to fit.
const MAX_BYTES: usize = 40 * 1024 * 1024;

/// What the writing task does next.
#[derive(Debug)]
pub(crate) enum Item {
    Text(Utf8Bytes),
    /// Send `system/disconnect` with this reason, then close. Holds what keeps the connection's task going until then.
    Close(&'static str, #[allow(dead_code)] watch::Sender<()>),
}

/// Sending end.
#[derive(Debug, Clone)]
pub(crate) struct Outbox {
    queue: mpsc::Sender<Item>,
    waiting: Arc<AtomicUsize>,
}

/// Receiving end.
#[derive(Debug)]
pub(crate) struct Outgoing {
    queue: mpsc::Receiver<Item>,
    waiting: Arc<AtomicUsize>,
}

/// The client does not read fast enough.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Overflow;

pub(crate) fn channel() -> (Outbox, Outgoing) {
    let (sender, receiver) = mpsc::channel(MAX_MESSAGES);
    let waiting = Arc::new(AtomicUsize::new(0));
    (Outbox { queue: sender, waiting: waiting.clone() }, Outgoing { queue: receiver, waiting })
}

impl Outbox {
    /// Queues a message; never blocks. A connection that is closing already takes everything.
    pub(crate) fn send(&self, text: Utf8Bytes) -> Result<(), Overflow> {
        let size = text.len();
        if self.waiting.fetch_add(size, Ordering::Relaxed) + size > MAX_BYTES {
            return Err(Overflow);
        }
        self.push(Item::Text(text))
    }

    /// Queues the end.
    pub(crate) fn close(&self, reason: &'static str, alive: watch::Sender<()>) -> Result<(), Overflow> {
        self.push(Item::Close(reason, alive))
    }

    fn push(&self, item: Item) -> Result<(), Overflow> {
        match self.queue.try_send(item) {
            Ok(()) | Err(mpsc::error::TrySendError::Closed(_)) => Ok(()),
            Err(mpsc::error::TrySendError::Full(_)) => Err(Overflow),
        }
    }
}

impl Outgoing {
    /// The next item; `None` when the room dropped the connection.
    pub(crate) async fn next(&mut self) -> Option<Item> {
        let item = self.queue.recv().await;
        if let Some(Item::Text(text)) = &item {
            self.waiting.fetch_sub(text.len(), Ordering::Relaxed);
        }
        item
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn overflows_by_number_and_by_bytes() {
        let (outbox, mut outgoing) = channel();
        for _ in 0..MAX_MESSAGES {
            outbox.send(Utf8Bytes::from_static("x")).unwrap();
        }
        assert_eq!(outbox.send(Utf8Bytes::from_static("x")), Err(Overflow));
        assert!(matches!(outgoing.next().await, Some(Item::Text(_))));
        assert_eq!(outbox.send(Utf8Bytes::from_static("x")), Ok(()));

        let (outbox, outgoing) = channel();
        let big = Utf8Bytes::from("x".repeat(MAX_BYTES / 2));
        outbox.send(big.clone()).unwrap();
        outbox.send(big.clone()).unwrap();
        assert_eq!(outbox.send(big), Err(Overflow));
        drop(outgoing);
        assert_eq!(outbox.close("gone", watch::Sender::new(())), Ok(()));
    }
}
