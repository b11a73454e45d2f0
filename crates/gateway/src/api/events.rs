//! Events as they happen (server-sent events, HTML standard 9.2).

use std::{convert::Infallible, sync::Arc, time::Duration};

use axum::{
    extract::State,
    http::HeaderMap,
    response::sse::{Event as Sent, KeepAlive, Sse},
};
use futures_util::{Stream, stream};
use glasshouse_fleet::{Event, Power, SessionId};
use tokio::sync::broadcast::{Receiver, error::RecvError};

use crate::{
    Shared,
    caller::{Caller, Id},
    problem::{Answer, Problem},
};

/// Between signs of life, and looks at whether the token is still good.
const PULSE: Duration = Duration::from_secs(15);

/// Events of all sessions. `Last-Event-ID` brings what was missed, up to 512 events.
#[utoipa::path(get, path = "/api/v1/events", tag = "events", params(
    ("Last-Event-ID" = Option<u64>, Header, description = "Number of the last event that was seen."),
), responses(
    (status = 200, description = "Events without end, each with an Event as data.", content_type = "text/event-stream", body = Event),
    (status = 401, description = "No token.", body = Problem, content_type = "application/problem+json"),
    (status = 403, description = "The token lacks the power `view` over the fleet.", body = Problem, content_type = "application/problem+json"),
    (status = 422, description = "The number is wrong.", body = Problem, content_type = "application/problem+json"),
))]
pub(crate) async fn all(
    State(shared): State<Arc<Shared>>,
    caller: Caller,
    headers: HeaderMap,
) -> Answer<Sse<impl Stream<Item = Result<Sent, Infallible>>>> {
    caller.own(Power::View)?;
    watch(shared, caller, headers, None)
}

/// Events of one session.
#[utoipa::path(get, path = "/api/v1/sessions/{id}/events", tag = "events", params(
    ("id" = String, Path, description = "Id of the session."),
    ("Last-Event-ID" = Option<u64>, Header, description = "Number of the last event that was seen."),
), responses(
    (status = 200, description = "Events without end, each with an Event as data.", content_type = "text/event-stream", body = Event),
    (status = 401, description = "No token.", body = Problem, content_type = "application/problem+json"),
    (status = 403, description = "The token lacks the power `view`.", body = Problem, content_type = "application/problem+json"),
    (status = 404, description = "There is none.", body = Problem, content_type = "application/problem+json"),
    (status = 422, description = "The number is wrong.", body = Problem, content_type = "application/problem+json"),
))]
pub(crate) async fn of_session(
    State(shared): State<Arc<Shared>>,
    caller: Caller,
    Id(id): Id,
    headers: HeaderMap,
) -> Answer<Sse<impl Stream<Item = Result<Sent, Infallible>>>> {
    caller.session(Power::View, &id)?;
    shared.fleet.get(&id).await?;
    watch(shared, caller, headers, Some(id))
}

struct Watch {
    shared: Arc<Shared>,
    caller: Caller,
    only: Option<SessionId>,
    /// Events from before, latest first.
    missed: Vec<Event>,
    next: Receiver<Event>,
}

fn watch(
    shared: Arc<Shared>,
    caller: Caller,
    headers: HeaderMap,
    only: Option<SessionId>,
) -> Answer<Sse<impl Stream<Item = Result<Sent, Infallible>>>> {
    let after = match headers.get("last-event-id") {
        None => None,
        Some(id) => {
            let number = id.to_str().ok().and_then(|id| id.parse().ok());
            Some(number.ok_or_else(|| Problem::field("Last-Event-ID", "the number of an event"))?)
        }
    };
    let (mut missed, next) = shared.fleet.watch(after);
    missed.reverse();
    let watch = Watch { shared, caller, only, missed, next };
    let events = stream::unfold(watch, |mut watch| async move { Some((Ok(watch.next().await?), watch)) });
    Ok(Sse::new(events).keep_alive(KeepAlive::new().interval(PULSE)))
}

impl Watch {
    /// The next event that the caller may see; none when its token is good no more.
    async fn next(&mut self) -> Option<Sent> {
        loop {
            let event = match self.missed.pop() {
                Some(event) => Ok(event),
                None => match tokio::time::timeout(PULSE, self.next.recv()).await {
                    Ok(event) => event,
                    Err(_) if self.may_see() => continue,
                    Err(_) => return None,
                },
            };
            if !self.may_see() {
                return None;
            }
            if self.only.is_none()
                && self.caller.grant.is_own_only()
                && let Ok(event) = &event
                && !self.shared.fleet.owns(&self.caller.grant, &event.session).await.unwrap_or(false)
            {
                continue;
            }
            match event {
                Ok(event) if self.only.as_ref().is_some_and(|only| *only != event.session) => {}
                Ok(event) => {
                    let sent = Sent::default().id(event.seq.to_string()).event("session");
                    return Some(sent.json_data(&event).unwrap_or_default());
                }
                Err(RecvError::Lagged(count)) => {
                    return Some(Sent::default().event("lost").data(count.to_string()));
                }
                Err(RecvError::Closed) => return None,
            }
        }
    }

    fn may_see(&self) -> bool {
        let Some(grant) = self.shared.grant(&self.caller.secret) else { return false };
        match &self.only {
            Some(_) => grant.powers.allow(Power::View),
            None => grant.allows_own(Power::View),
        }
    }
}
