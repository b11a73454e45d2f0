//! Questions that programs put to the people of a room, as a state machine: events with their time in, what became of each
//! question out.

use std::{
    collections::VecDeque,
    time::{Duration, Instant, SystemTime},
};

use glasshouse_room::time::rfc3339;
use serde::Serialize;
use serde_json::Value;
use tokio::sync::watch;

/// Questions that are open at a time in a room, and of one caller.
pub(crate) const MAX_OPEN: usize = 8;
pub(crate) const MAX_OPEN_OF_ONE: usize = 2;
/// Characters of a reason and of a note.
pub(crate) const MAX_REASON: usize = 500;
pub(crate) const MAX_NOTE: usize = 1_000;
/// How long a question waits, if nothing else is asked for, and at most.
pub(crate) const TIMEOUT: Duration = Duration::from_secs(300);
pub(crate) const MAX_TIMEOUT: Duration = Duration::from_secs(3_600);
/// How many ended questions are remembered, and how long.
const MAX_ENDED: usize = 64;
const REMEMBERED: Duration = Duration::from_secs(600);

/// How a question ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Outcome {
    /// A person did what was asked for.
    Done,
    /// A person cannot or will not.
    Declined,
    /// Nobody answered in time.
    Timeout,
    /// It was withdrawn, or the session ends.
    Cancelled,
}

/// The end of a question.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct End {
    pub(crate) outcome: Outcome,
    pub(crate) note: Option<String>,
    /// Name of whoever answered.
    pub(crate) by: Option<String>,
}

impl End {
    pub(crate) fn of_nobody(outcome: Outcome) -> Self {
        Self { outcome, note: None, by: None }
    }
}

/// Somebody who took over for a question.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Taken {
    /// Session id.
    pub(crate) by: String,
    /// The asker had control before, and gets it back.
    pub(crate) from_asker: bool,
}

/// A question.
#[derive(Debug)]
struct Question {
    id: String,
    /// Session id of the asker, and its name.
    asker: String,
    name: String,
    reason: String,
    asked_at: SystemTime,
    deadline: Instant,
    timeout: Duration,
    taken: Option<Taken>,
    /// Set once, by the first of those who answer, and time.
    end: watch::Sender<Option<End>>,
    /// What its caller is told in the end.
    answer: watch::Sender<Option<Value>>,
}

/// A question that has ended, for callers that come back for its answer.
#[derive(Debug)]
struct Ended {
    id: String,
    asker: String,
    answer: watch::Receiver<Option<Value>>,
    forget_at: Instant,
}

/// What a new question is.
#[derive(Debug, Clone)]
pub(crate) struct New {
    pub(crate) id: String,
    pub(crate) asker: String,
    pub(crate) name: String,
    pub(crate) reason: String,
    pub(crate) timeout: Duration,
}

/// What whoever sees to a question needs.
#[derive(Debug)]
pub(crate) struct Opened {
    pub(crate) deadline: Instant,
    pub(crate) end: watch::Receiver<Option<End>>,
    pub(crate) answer: watch::Sender<Option<Value>>,
}

/// An open question as everybody in the room sees it.
#[derive(Debug, Serialize)]
pub(crate) struct Shown<'a> {
    id: &'a str,
    /// Who asks: session id and name.
    by: &'a str,
    name: &'a str,
    reason: &'a str,
    asked_at: String,
    timeout_ms: u64,
    /// Session id of whoever has taken over.
    taken_by: Option<&'a str>,
}

/// Why a question cannot be put.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Full {
    Room,
    Caller,
}

/// All questions of a room.
#[derive(Debug, Default)]
pub(crate) struct Asks {
    open: Vec<Question>,
    ended: VecDeque<Ended>,
}

impl Asks {
    /// Whether a caller may put one more question.
    pub(crate) fn has_room(&self, asker: &str) -> Result<(), Full> {
        if self.open.iter().filter(|question| question.asker == asker).count() >= MAX_OPEN_OF_ONE {
            return Err(Full::Caller);
        }
        if self.open.len() >= MAX_OPEN { Err(Full::Room) } else { Ok(()) }
    }

    /// Puts a question.
    pub(crate) fn open(&mut self, new: New, now: Instant, wall: SystemTime) -> Result<Opened, Full> {
        self.has_room(&new.asker)?;
        let New { id, asker, name, reason, timeout } = new;
        let (end, answer) = (watch::Sender::new(None), watch::Sender::new(None));
        let deadline = now + timeout;
        let opened = Opened { deadline, end: end.subscribe(), answer: answer.clone() };
        let question =
            Question { id, asker, name, reason, asked_at: wall, deadline, timeout, taken: None, end, answer };
        self.open.push(question);
        Ok(opened)
    }

    /// Takes an open question away and tells how it ended; none when there is no such question any more.
    pub(crate) fn end(&mut self, id: &str, end: End, now: Instant) -> Option<(String, Option<Taken>)> {
        let at = self.open.iter().position(|question| question.id == id)?;
        let question = self.open.remove(at);
        question.end.send_replace(Some(end));
        self.forget(now);
        if self.ended.len() >= MAX_ENDED {
            self.ended.pop_front();
        }
        self.ended.push_back(Ended {
            id: question.id,
            asker: question.asker.clone(),
            answer: question.answer.subscribe(),
            forget_at: now + REMEMBERED,
        });
        Some((question.asker, question.taken))
    }

    /// Notes who takes over.
    pub(crate) fn take(&mut self, id: &str, taken: Taken) {
        if let Some(question) = self.open.iter_mut().find(|question| question.id == id) {
            question.taken = Some(taken);
        }
    }

    /// The asker of an open question.
    pub(crate) fn asker(&self, id: &str) -> Option<&str> {
        self.open.iter().find(|question| question.id == id).map(|question| question.asker.as_str())
    }

    /// Where the answer to a question comes, open or ended, and who asked.
    pub(crate) fn answer(&mut self, id: &str, now: Instant) -> Option<(String, watch::Receiver<Option<Value>>)> {
        self.forget(now);
        let open = self.open.iter().find(|question| question.id == id);
        let open = open.map(|question| (question.asker.clone(), question.answer.subscribe()));
        open.or_else(|| {
            let ended = self.ended.iter().find(|ended| ended.id == id)?;
            Some((ended.asker.clone(), ended.answer.clone()))
        })
    }

    /// Ends all.
    pub(crate) fn cancel_all(&mut self, now: Instant) {
        let ids: Vec<_> = self.open.iter().map(|question| question.id.clone()).collect();
        for id in ids {
            self.end(&id, End::of_nobody(Outcome::Cancelled), now);
        }
    }

    /// The open questions, the oldest first.
    pub(crate) fn shown(&self, now: Instant) -> Vec<Shown<'_>> {
        let shown = |question| {
            let Question { id, asker, name, reason, asked_at, deadline, timeout, taken, .. }: &Question = question;
            let left = deadline.saturating_duration_since(now).min(*timeout);
            Shown {
                id,
                by: asker,
                name,
                reason,
                asked_at: rfc3339(*asked_at),
                timeout_ms: u64::try_from(left.as_millis()).unwrap_or(u64::MAX),
                taken_by: taken.as_ref().map(|taken| taken.by.as_str()),
            }
        };
        self.open.iter().map(shown).collect()
    }

    fn forget(&mut self, now: Instant) {
        self.ended.retain(|ended| ended.forget_at > now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn new(id: &str, asker: &str) -> New {
        New { id: id.into(), asker: asker.into(), name: "A".into(), reason: "r".into(), timeout: TIMEOUT }
    }

    #[test]
    fn they_are_bounded_for_each_caller_and_the_room() {
        let (mut asks, now) = (Asks::default(), Instant::now());
        for asker in 0..MAX_OPEN / MAX_OPEN_OF_ONE {
            for one in 0..MAX_OPEN_OF_ONE {
                let new = new(&format!("{asker}-{one}"), &format!("{asker}"));
                assert!(asks.open(new, now, SystemTime::now()).is_ok());
            }
            if asker == 0 {
                assert_eq!(asks.open(new("x", "0"), now, SystemTime::now()).err(), Some(Full::Caller));
            }
        }
        assert_eq!(asks.open(new("x", "other"), now, SystemTime::now()).err(), Some(Full::Room));
        assert_eq!(asks.shown(now).len(), MAX_OPEN);
        asks.cancel_all(now);
        assert!(asks.shown(now).is_empty());
        assert!(asks.open(new("x", "other"), now, SystemTime::now()).is_ok());
    }

    #[test]
    fn the_first_answer_counts_and_is_kept_for_a_while() {
        let (mut asks, now) = (Asks::default(), Instant::now());
        let opened = asks.open(new("a", "p"), now, SystemTime::now()).ok().unwrap();
        asks.take("a", Taken { by: "h".into(), from_asker: true });
        assert_eq!(asks.shown(now)[0].taken_by, Some("h"));
        let end = End { outcome: Outcome::Done, note: Some("ok".into()), by: Some("H".into()) };
        let (asker, taken) = asks.end("a", end.clone(), now).unwrap();
        assert_eq!((asker.as_str(), taken.unwrap().from_asker), ("p", true));
        assert_eq!(*opened.end.borrow(), Some(end));
        assert!(asks.end("a", End::of_nobody(Outcome::Timeout), now).is_none());

        opened.answer.send_replace(Some(Value::Bool(true)));
        let (asker, answer) = asks.answer("a", now).unwrap();
        assert_eq!((asker.as_str(), answer.borrow().clone()), ("p", Some(Value::Bool(true))));
        assert!(asks.answer("a", now + REMEMBERED).is_none());
        assert!(asks.answer("b", now).is_none());
    }

    #[test]
    fn ended_ones_make_room() {
        let (mut asks, now) = (Asks::default(), Instant::now());
        for one in 0..3 * MAX_ENDED {
            asks.open(new(&one.to_string(), "p"), now, SystemTime::now()).ok().unwrap();
            asks.end(&one.to_string(), End::of_nobody(Outcome::Timeout), now);
        }
        assert_eq!(asks.ended.len(), MAX_ENDED);
        assert!(asks.answer("0", now).is_none());
    }
}
