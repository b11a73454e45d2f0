//! When a session is to be frozen or ended: a function of times only.

use std::time::{Duration, SystemTime};

/// Time-outs of a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Lifetime {
    /// Frozen after so long without use.
    pub(crate) freeze_after: Option<Duration>,
    /// Ended after so long without use.
    pub(crate) end_after: Option<Duration>,
    /// Ended at this time, used or not.
    pub(crate) ends_at: Option<SystemTime>,
}

/// What is due.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Due {
    Freeze,
    EndIdle,
    EndOld,
}

/// What comes next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Next {
    Now(Due),
    At(SystemTime),
    Never,
}

impl Lifetime {
    /// What is due at `now` for a session that has not been used since `idle_since` (`None`: it is in use).
    pub(crate) fn next(&self, can_freeze: bool, idle_since: Option<SystemTime>, now: SystemTime) -> Next {
        let idle = |after: Option<Duration>| idle_since.zip(after).and_then(|(since, after)| since.checked_add(after));
        let freeze = if can_freeze { idle(self.freeze_after) } else { None };
        // The end first: what is over need not be frozen.
        let all = [(self.ends_at, Due::EndOld), (idle(self.end_after), Due::EndIdle), (freeze, Due::Freeze)];
        if let Some((_, due)) = all.iter().find(|(at, _)| at.is_some_and(|at| at <= now)) {
            return Next::Now(*due);
        }
        all.iter().filter_map(|(at, _)| *at).min().map_or(Next::Never, Next::At)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIFETIME: Lifetime = Lifetime {
        freeze_after: Some(Duration::from_secs(10)),
        end_after: Some(Duration::from_secs(60)),
        ends_at: None,
    };

    fn at(seconds: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
    }

    #[test]
    fn idle_sessions_are_frozen_and_then_ended() {
        assert_eq!(LIFETIME.next(true, Some(at(100)), at(100)), Next::At(at(110)));
        assert_eq!(LIFETIME.next(true, Some(at(100)), at(110)), Next::Now(Due::Freeze));
        assert_eq!(LIFETIME.next(false, Some(at(100)), at(110)), Next::At(at(160)));
        assert_eq!(LIFETIME.next(false, Some(at(100)), at(160)), Next::Now(Due::EndIdle));
        assert_eq!(LIFETIME.next(true, Some(at(100)), at(1_000)), Next::Now(Due::EndIdle));
    }

    #[test]
    fn used_ones_only_grow_old() {
        assert_eq!(LIFETIME.next(true, None, at(1_000)), Next::Never);
        let limited = Lifetime { ends_at: Some(at(500)), ..LIFETIME };
        assert_eq!(limited.next(true, None, at(499)), Next::At(at(500)));
        assert_eq!(limited.next(true, None, at(500)), Next::Now(Due::EndOld));
    }
}
