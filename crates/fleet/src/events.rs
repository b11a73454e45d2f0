//! What happens in the fleet, for those who watch.

use std::collections::VecDeque;

use parking_lot::Mutex;
use serde::Serialize;
use tokio::sync::broadcast;
use utoipa::ToSchema;

use crate::{SessionId, State, time};

/// Events that a slow watcher may be behind, and that one who comes back can still get.
const KEPT: usize = 512;

/// One thing that happened to a session.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct Event {
    /// Counts up; starts anew with the server.
    pub seq: u64,
    /// When (RFC 3339).
    #[schema(format = DateTime)]
    pub at: String,
    /// The session.
    #[schema(value_type = String)]
    pub session: SessionId,
    /// Its state from now on.
    pub state: State,
    /// Why.
    pub reason: Option<String>,
}

/// Sends events to all who watch.
#[derive(Debug)]
pub(crate) struct Events {
    sender: broadcast::Sender<Event>,
    kept: Mutex<(u64, VecDeque<Event>)>,
}

impl Default for Events {
    fn default() -> Self {
        Self { sender: broadcast::channel(KEPT).0, kept: Mutex::default() }
    }
}

impl Events {
    pub(crate) fn send(&self, session: &SessionId, state: State, reason: Option<&str>) {
        // Sent under the lock, so that the order is the one of the numbers.
        let mut kept = self.kept.lock();
        kept.0 += 1;
        let event = Event {
            seq: kept.0,
            at: time::rfc3339(time::now()),
            session: session.clone(),
            state,
            reason: reason.map(str::to_owned),
        };
        if kept.1.len() == KEPT {
            kept.1.pop_front();
        }
        kept.1.push_back(event.clone());
        // Nobody may be watching.
        let _ = self.sender.send(event);
    }

    /// What was kept after a number, and what comes from now on. With `None`, only the latter.
    pub(crate) fn watch(&self, after: Option<u64>) -> (Vec<Event>, broadcast::Receiver<Event>) {
        let kept = self.kept.lock();
        let missed = after.map(|after| kept.1.iter().filter(|event| event.seq > after).cloned().collect());
        (missed.unwrap_or_default(), self.sender.subscribe())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_who_comes_back_misses_nothing() {
        let (events, id) = (Events::default(), SessionId::random());
        for _ in 0..KEPT + 10 {
            events.send(&id, State::Creating, None);
        }
        let (missed, mut next) = events.watch(Some(KEPT as u64 + 8));
        assert_eq!(missed.iter().map(|event| event.seq).collect::<Vec<_>>(), [KEPT as u64 + 9, KEPT as u64 + 10]);
        assert_eq!(events.watch(Some(0)).0.len(), KEPT);
        assert!(events.watch(None).0.is_empty());
        events.send(&id, State::Failed, Some("x"));
        assert_eq!(next.try_recv().unwrap().reason.as_deref(), Some("x"));
    }
}
