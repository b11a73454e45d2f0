//! Settings that the original takes from its environment, under the same names. Those of its Docker and its runner mean nothing
//! here.

use serde_json::{Value, json};

const STUN_HOST: &str = "stun:stun.l.google.com:19302";
const MAX_SESSIONS: usize = 10;
/// In seconds.
const SESSION_TIMEOUT: u64 = 30 * 60;
/// Longest time-out that a session can have, in seconds: a year.
const MAX_TIMEOUT: u64 = 31_536_000;

/// See the module.
#[derive(Debug, PartialEq)]
pub(super) struct Settings {
    /// `MAX_SESSIONS`: sessions of this facade at a time.
    pub(super) max_sessions: usize,
    /// `SESSION_TIMEOUT`: a session that nobody uses ends after so many seconds.
    pub(super) session_timeout: u64,
    /// `STUN_HOST`, a whole address; none when it is set to nothing.
    stun: Option<String>,
    /// `TURN_HOST`, `TURN_PORT`, `TURN_USERNAME`, `TURN_CREDENTIAL`, if `TURN_ENABLED`.
    turn: Option<Turn>,
}

#[derive(Debug, PartialEq)]
struct Turn {
    url: String,
    username: String,
    credential: String,
}

impl Settings {
    /// What cannot be read counts as not set, as in the original.
    pub(super) fn read(variable: impl Fn(&str) -> Option<String>) -> Self {
        let or = |name: &str, default: &str| {
            variable(name).filter(|value| !value.is_empty()).unwrap_or_else(|| default.to_owned())
        };
        let number = |name: &str| variable(name)?.trim().parse().ok();
        let is_turn_on = variable("TURN_ENABLED").is_some_and(|value| {
            // strconv.ParseBool of Go.
            ["1", "t", "T", "true", "TRUE", "True"].contains(&value.as_str())
        });
        let turn = is_turn_on.then(|| Turn {
            url: format!("turn:{}:{}", or("TURN_HOST", "coturn"), or("TURN_PORT", "3478")),
            username: or("TURN_USERNAME", "user"),
            credential: or("TURN_CREDENTIAL", "password"),
        });
        let stun = match variable("STUN_HOST") {
            None => Some(STUN_HOST.to_owned()),
            Some(host) => Some(host).filter(|host| !host.is_empty()),
        };
        let timeout = variable("SESSION_TIMEOUT").and_then(|text| seconds(&text)).unwrap_or(SESSION_TIMEOUT);
        Self {
            max_sessions: number("MAX_SESSIONS").unwrap_or(MAX_SESSIONS),
            session_timeout: timeout.min(MAX_TIMEOUT),
            stun,
            turn,
        }
    }

    /// What a page is to give to its peer connection.
    pub(super) fn ice_servers(&self) -> Vec<Value> {
        let stun = self.stun.iter().map(|url| json!({ "urls": [url] }));
        let turn = self
            .turn
            .iter()
            .map(|turn| json!({ "urls": [turn.url], "username": turn.username, "credential": turn.credential }));
        stun.chain(turn).collect()
    }
}

/// A duration as Go writes it, such as `1h30m` or `1.5h`, in whole seconds, at least one.
fn seconds(text: &str) -> Option<u64> {
    const UNITS: [(&str, f64); 7] =
        [("ns", 1e-9), ("us", 1e-6), ("µs", 1e-6), ("ms", 1e-3), ("h", 3_600.0), ("m", 60.0), ("s", 1.0)];
    let mut rest = text.trim();
    let mut sum = 0.0;
    while !rest.is_empty() {
        let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let number: f64 = rest[..end].parse().ok()?;
        rest = &rest[end..];
        let (unit, factor) = UNITS.iter().find(|(unit, _)| rest.starts_with(unit))?;
        rest = &rest[unit.len()..];
        sum += number * factor;
    }
    // A float is cut to the range of the number.
    (sum > 0.0).then(|| (sum.ceil() as u64).max(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(pairs: &[(&str, &str)]) -> Settings {
        Settings::read(|name| pairs.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned()))
    }

    #[test]
    fn the_originals_defaults() {
        let settings = read(&[]);
        assert_eq!((settings.max_sessions, settings.session_timeout), (10, 1_800));
        assert_eq!(settings.ice_servers(), [json!({ "urls": [STUN_HOST] })]);
        assert_eq!(
            read(&[("MAX_SESSIONS", "many"), ("SESSION_TIMEOUT", "soon"), ("TURN_ENABLED", "perhaps")]),
            settings
        );
    }

    #[test]
    fn its_variables() {
        let settings = read(&[
            ("MAX_SESSIONS", "3"),
            ("SESSION_TIMEOUT", "1h30m"),
            ("STUN_HOST", ""),
            ("TURN_ENABLED", "true"),
            ("TURN_HOST", "turn.example"),
        ]);
        assert_eq!((settings.max_sessions, settings.session_timeout), (3, 5_400));
        let turn = json!({ "urls": ["turn:turn.example:3478"], "username": "user", "credential": "password" });
        assert_eq!(settings.ice_servers(), [turn]);
    }

    #[test]
    fn durations() {
        for (text, expected) in [("30m", 1_800), ("90s", 90), ("1.5h", 5_400), ("10ms", 1), ("1m1s", 61)] {
            assert_eq!(seconds(text), Some(expected), "{text}");
        }
        for wrong in ["", "5", "m", "-5m", "5 m", "1.2.3s", "0s", "5x"] {
            assert_eq!(seconds(wrong), None, "{wrong}");
        }
        assert_eq!(seconds("99999999999999999999h"), Some(u64::MAX));
    }
}
