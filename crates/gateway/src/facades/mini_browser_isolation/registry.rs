//! Which sessions of the fleet are this facade's, and under which names: those are UUIDs here, and labels of the sessions, so
//! that a later server finds them again.

use std::{
    collections::HashMap,
    time::{SystemTime, UNIX_EPOCH},
};

use glasshouse_fleet::{Error, Filter, Fleet, Page, SessionId, Spec, State, View};
use parking_lot::Mutex;
use tokio::time::Instant;

use super::answer::Refusal;
use crate::{Shared, caller::Caller, metrics::Result as Outcome, problem::Problem};

/// Labels of a session of this facade: whose it is, and its name.
const FACADE: (&str, &str) = ("facade", "mini-browser-isolation");
const NAME: &str = "facade-session";
/// Names that are remembered; more are looked up.
const MAX_KNOWN: usize = 10_000;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Registry {
    known: Mutex<HashMap<String, Known>>,
    /// Held while a session is created, so that no two take the last place.
    turn: tokio::sync::Mutex<()>,
}

#[derive(Debug)]
struct Known {
    id: SessionId,
    /// Its end was asked for.
    is_ended: bool,
    /// Processor time in seconds when it was looked at last.
    cpu: Option<(Instant, f64)>,
}

impl Registry {
    /// Creates a session with a name of its own.
    pub(super) async fn create(
        &self,
        shared: &Shared,
        caller: &Caller,
        spec: Spec,
        most: usize,
    ) -> Result<(String, View), Refusal> {
        let _turn = self.turn.lock().await;
        if self.running(&shared.fleet) >= most {
            return Err(Refusal::full());
        }
        let name = uuid()?;
        let spec = Spec { labels: labels(&name).into_iter().collect(), ..spec };
        let created = shared.fleet.create(&caller.grant, spec, None).await;
        let count = |result: &str| shared.metrics.creations.get_or_create(&Outcome { result: result.to_owned() }).inc();
        let error = match created {
            Ok(created) => {
                count("created");
                self.remember(&name, &created.view.id);
                return Ok((name, created.view));
            }
            Err(error) => error,
        };
        let is_full = matches!(error, Error::Full(_));
        let problem = Problem::from(error);
        count(problem.name());
        Err(if is_full { Refusal::full() } else { problem.into() })
    }

    fn remember(&self, name: &str, id: &SessionId) {
        let mut known = self.known.lock();
        if known.len() >= MAX_KNOWN {
            known.clear();
        }
        known.entry(name.to_owned()).or_insert_with(|| Known { id: id.clone(), is_ended: false, cpu: None });
    }

    /// The session of a name, also when it has ended.
    pub(super) async fn find(&self, fleet: &Fleet, name: &str) -> Result<Option<SessionId>, Refusal> {
        if let Some(known) = self.known.lock().get(name) {
            return Ok(Some(known.id.clone()));
        }
        if !is_uuid(name) {
            return Ok(None);
        }
        let filter = Filter { states: State::ALL.to_vec(), labels: labels(name), ..Filter::default() };
        let (found, _) = fleet.list(filter, Page { limit: 1, after: None }).await?;
        let id = found.into_iter().next().map(|view| view.id);
        if let Some(id) = &id {
            self.remember(name, id);
        }
        Ok(id)
    }

    /// Number of sessions that have not ended and are not about to.
    pub(super) fn running(&self, fleet: &Fleet) -> usize {
        let running = fleet.running();
        let known = self.known.lock();
        let is_ours = |view: &&View| view.labels.get(FACADE.0).is_some_and(|facade| facade == FACADE.1);
        let is_ending =
            |view: &View| view.labels.get(NAME).and_then(|name| known.get(name)).is_some_and(|it| it.is_ended);
        running.iter().filter(is_ours).filter(|view| !is_ending(view)).count()
    }

    /// Whether the end of a session was asked for.
    pub(super) fn is_ended(&self, name: &str) -> bool {
        self.known.lock().get(name).is_some_and(|known| known.is_ended)
    }

    /// Notes that a session's end was asked for; whether that is news.
    pub(super) fn end(&self, name: &str) -> bool {
        self.known.lock().get_mut(name).is_some_and(|known| !std::mem::replace(&mut known.is_ended, true))
    }

    /// Share of a processor that a session has used since it was looked at last, or since its beginning, in per cent.
    pub(super) fn cpu_percent(&self, name: &str, seconds: f64, age: f64) -> f64 {
        let now = Instant::now();
        let before = self.known.lock().get_mut(name).and_then(|known| known.cpu.replace((now, seconds)));
        let (used, time) = match before {
            Some((at, before)) => (seconds - before, now.duration_since(at).as_secs_f64()),
            None => (seconds, age),
        };
        if time > 0.0 { (100.0 * used / time).max(0.0) } else { 0.0 }
    }
}

/// Labels of the session of a name.
fn labels(name: &str) -> Vec<(String, String)> {
    [FACADE, (NAME, name)].map(|(key, value)| (key.to_owned(), value.to_owned())).into()
}

/// A random UUID (RFC 9562, version 4).
fn uuid() -> Result<String, Refusal> {
    let mut bytes = [0u8; 16];
    getrandom::fill(&mut bytes).map_err(|error| {
        tracing::error!(%error, "the system has no randomness");
        Refusal::new(axum::http::StatusCode::INTERNAL_SERVER_ERROR, "something failed here: see the log of the server")
    })?;
    let number = u128::from_be_bytes(bytes) & !(0xf << 76) & !(0x3 << 62) | 0x4 << 76 | 0x2 << 62;
    let text = format!("{number:032x}");
    Ok([&text[..8], &text[8..12], &text[12..16], &text[16..20], &text[20..]].join("-"))
}

fn is_uuid(text: &str) -> bool {
    text.len() == 36
        && text.bytes().enumerate().all(|(at, byte)| match at {
            8 | 13 | 18 | 23 => byte == b'-',
            _ => byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte),
        })
}

/// Seconds since a time as the fleet writes it.
pub(super) fn age(created_at: &str) -> f64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64();
    seconds(created_at).map_or(0.0, |then| (now - then).max(0.0))
}

/// Seconds since 1970 of `2026-11-21T10:50:41.123Z`.
fn seconds(text: &str) -> Option<f64> {
    let part = |from: usize, to: usize| text.get(from..to)?.parse::<u32>().ok();
    let (year, month, day) = (part(0, 4)?, part(5, 7)?, part(8, 10)?);
    let (hour, minute, second) =
        (part(11, 13)?, part(14, 16)?, text.get(17..)?.strip_suffix('Z')?.parse::<f64>().ok()?);
    // Days of a date of the Gregorian calendar, years beginning in March, as in Howard Hinnant's "chrono-compatible
    // low-level date algorithms".
    let (year, month) = if month > 2 { (year, month - 3) } else { (year.checked_sub(1)?, month + 9) };
    let days = year * 365 + year / 4 - year / 100 + year / 400 + (153 * month + 2) / 5 + day;
    let days = f64::from(days) - 719_469.0;
    Some(days * 86_400.0 + f64::from(hour * 3_600 + minute * 60) + second)
}

#[cfg(test)]
mod tests {
    use glasshouse_fleet::rfc3339;

    use super::*;

    #[test]
    fn names() {
        let name = uuid().unwrap();
        assert!(is_uuid(&name), "{name}");
        assert_eq!(&name[14..15], "4");
        assert!("89ab".contains(&name[19..20]), "{name}");
        assert_ne!(name, uuid().unwrap());
        for wrong in
            ["", "x", "00000000-0000-0000-0000-00000000000", "00000000-0000-0000-0000-00000000000G", "../../etc"]
        {
            assert!(!is_uuid(wrong), "{wrong}");
        }
    }

    #[test]
    fn times_are_read_as_they_are_written() {
        for millis in [0, 951_782_400_123, 1_709_164_800_000, 1_763_722_241_123, 4_102_444_799_999] {
            let read = seconds(&rfc3339(millis)).unwrap();
            assert!((read - millis as f64 / 1_000.0).abs() < 0.001, "{millis}: {read}");
        }
        assert_eq!(seconds("yesterday"), None);
        assert_eq!(age("yesterday"), 0.0);
    }

    #[test]
    fn processor_time_is_told_as_a_share() {
        let registry = Registry::default();
        assert_eq!(registry.cpu_percent("unknown", 5.0, 10.0), 50.0);
        assert_eq!(registry.cpu_percent("unknown", 5.0, 0.0), 0.0);
    }
}
