//! Creations that wait for a place: those of one token in their order, tokens in turn.

use std::{
    collections::VecDeque,
    sync::Arc,
    time::{Duration, Instant},
};

use parking_lot::Mutex;
use tokio::sync::Notify;

/// Creations that wait at a time, of all and of one token.
const MOST: usize = 256;
const MOST_OF_ONE: usize = 32;

/// The creations of one token.
#[derive(Debug)]
struct Turn {
    who: String,
    tickets: VecDeque<u64>,
    /// Its own limits keep it back until then, while others go on.
    held_until: Option<Instant>,
}

impl Turn {
    fn is_held(&self, now: Instant) -> bool {
        self.held_until.is_some_and(|until| now < until)
    }
}

#[derive(Debug, Default)]
struct Line {
    next: u64,
    /// Whoever was served last is at the end.
    turns: VecDeque<Turn>,
}

impl Line {
    /// Whose turn it is.
    fn first(&self, now: Instant) -> Option<u64> {
        self.turns.iter().find(|turn| !turn.is_held(now))?.tickets.front().copied()
    }

    /// When somebody who is held back is so no more.
    fn next_change(&self, now: Instant) -> Option<Instant> {
        self.turns.iter().filter_map(|turn| turn.held_until.filter(|until| now < *until)).min()
    }

    fn enter(&mut self, who: &str) -> Option<u64> {
        let all: usize = self.turns.iter().map(|turn| turn.tickets.len()).sum();
        let turn = self.turns.iter_mut().find(|turn| turn.who == who);
        if all >= MOST || turn.as_ref().is_some_and(|turn| turn.tickets.len() >= MOST_OF_ONE) {
            return None;
        }
        let number = self.next;
        self.next += 1;
        match turn {
            Some(turn) => turn.tickets.push_back(number),
            None => {
                let turn = Turn { who: who.to_owned(), tickets: VecDeque::from([number]), held_until: None };
                self.turns.push_back(turn);
            }
        }
        Some(number)
    }

    fn leave(&mut self, number: u64, served: bool) {
        let Some(at) = self.turns.iter().position(|turn| turn.tickets.contains(&number)) else { return };
        self.turns[at].tickets.retain(|ticket| *ticket != number);
        if (served || self.turns[at].tickets.is_empty())
            && let Some(turn) = self.turns.remove(at)
            && !turn.tickets.is_empty()
        {
            self.turns.push_back(turn);
        }
    }

    fn hold(&mut self, number: u64, until: Instant) {
        if let Some(turn) = self.turns.iter_mut().find(|turn| turn.tickets.contains(&number)) {
            turn.held_until = Some(until);
        }
    }
}

/// The line of those who wait.
#[derive(Debug, Clone, Default)]
pub(crate) struct Waiting(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    line: Mutex<Line>,
    changed: Notify,
}

impl Waiting {
    /// Whether somebody waits who would be served before one that comes now.
    pub(crate) fn is_anybody_before(&self) -> bool {
        self.0.line.lock().first(Instant::now()).is_some()
    }

    /// A place at the end of the line; `None` when there is none.
    pub(crate) fn enter(&self, who: &str) -> Option<Ticket> {
        let number = self.0.line.lock().enter(who)?;
        tracing::debug!(who, number, "a creation waits for a place");
        Some(Ticket { waiting: self.clone(), number, served: false })
    }

    /// Says that there may be a place now.
    pub(crate) fn wake(&self) {
        self.0.changed.notify_waiters();
    }
}

/// A place in the line; given up when it is dropped.
#[derive(Debug)]
pub(crate) struct Ticket {
    waiting: Waiting,
    number: u64,
    served: bool,
}

impl Ticket {
    /// Waits until it is its turn.
    pub(crate) async fn turn(&self) {
        let shared = &self.waiting.0;
        loop {
            let changed = shared.changed.notified();
            tokio::pin!(changed);
            // Before the look, so that nothing is missed after it.
            changed.as_mut().enable();
            let now = Instant::now();
            let next = {
                let line = shared.line.lock();
                if line.first(now) == Some(self.number) {
                    return;
                }
                line.next_change(now)
            };
            match next {
                Some(next) => drop(tokio::time::timeout_at(next.into(), changed).await),
                None => changed.await,
            }
        }
    }

    /// Waits until there may be a place, for so long at most.
    pub(crate) async fn pause(&self, most: Duration) {
        drop(tokio::time::timeout(most, self.waiting.0.changed.notified()).await);
    }

    /// Lets other tokens go first for so long, because of this one's own limits.
    pub(crate) fn hold(&self, time: Duration) {
        self.waiting.0.line.lock().hold(self.number, Instant::now() + time);
        self.waiting.wake();
    }

    /// It has got what it waited for: it is the next token's turn.
    pub(crate) fn served(mut self) {
        self.served = true;
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.waiting.0.line.lock().leave(self.number, self.served);
        tracing::debug!(number = self.number, served = self.served, "a creation waits no more");
        self.waiting.wake();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn first_come_first_served_and_tokens_in_turn() {
        let (mut line, now) = (Line::default(), Instant::now());
        let [a1, a2, a3] = [0; 3].map(|_| line.enter("a").unwrap());
        let [b1, c1] = ["b", "c"].map(|who| line.enter(who).unwrap());
        let mut served = Vec::new();
        while let Some(first) = line.first(now) {
            served.push(first);
            line.leave(first, true);
        }
        assert_eq!(served, [a1, b1, c1, a2, a3]);
        assert!(line.turns.is_empty());
    }

    #[test]
    fn who_leaves_or_is_held_back_is_passed_by() {
        let (mut line, now) = (Line::default(), Instant::now());
        let [a1, b1, b2, c1] = ["a", "b", "b", "c"].map(|who| line.enter(who).unwrap());
        line.hold(a1, now + Duration::from_secs(5));
        assert_eq!(line.first(now), Some(b1));
        assert_eq!(line.next_change(now), Some(now + Duration::from_secs(5)));
        assert_eq!(line.first(now + Duration::from_secs(5)), Some(a1));
        // Gone without having been served: the place is that of the next of the same token.
        line.leave(b1, false);
        assert_eq!(line.first(now), Some(b2));
        line.leave(b2, false);
        assert_eq!(line.first(now), Some(c1));
        line.leave(c1, true);
        assert_eq!(line.first(now), None);
    }

    #[test]
    fn there_are_limits() {
        let mut line = Line::default();
        for _ in 0..MOST_OF_ONE {
            line.enter("a").unwrap();
        }
        assert_eq!(line.enter("a"), None);
        for index in 0..MOST - MOST_OF_ONE {
            line.enter(&format!("{index}")).unwrap();
        }
        assert_eq!(line.enter("late"), None);
        line.leave(0, false);
        assert!(line.enter("late").is_some());
    }

    #[tokio::test]
    async fn a_ticket_that_is_dropped_lets_the_next_go() {
        let waiting = Waiting::default();
        let [first, second] = ["a", "a"].map(|who| waiting.enter(who).unwrap());
        first.turn().await;
        let turn = tokio::spawn(async move { second.turn().await });
        tokio::task::yield_now().await;
        assert!(!turn.is_finished() && waiting.is_anybody_before());
        drop(first);
        turn.await.unwrap();
        assert!(!waiting.is_anybody_before());
    }
}
