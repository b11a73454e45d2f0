//! Who may do what: tokens, the power that each path needs, and whose turn it is at the wheel.

use std::{pin::Pin, sync::Arc, time::Duration};

use axum::{
    Router,
    body::Body,
    extract::{Request, State},
    http::{HeaderMap, Method, Uri, header},
    middleware::{Next, from_fn_with_state},
    response::{IntoResponse, Response},
};
use parking_lot::Mutex;

use crate::{Shared, problem::Problem};

/// Longest time that input may be asked to wait for a person.
pub const MAX_PATIENCE: Duration = Duration::from_secs(600);
/// Longest body that is noted where contents are asked for, in bytes.
const MAX_NOTED: usize = 4 * 1024;

/// A future that a trait object can return.
pub type Pending<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Who makes a call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    /// Its token, which is good.
    pub token: String,
    /// What it calls itself, by `X-Glasshouse-Name`.
    pub name: Option<String>,
    /// Its `User-Agent`.
    pub agent: Option<String>,
    /// How long its input waits for a person, by `X-Glasshouse-Patience`; zero fails at once.
    pub patience: Option<Duration>,
}

/// Something that a caller does on the screen, for those who watch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Act {
    /// The pointer goes to this place of the screen in pixels.
    Move(i32, i32),
    /// A button goes down there.
    Click(i32, i32),
    /// Keys are pressed.
    Type,
}

/// A call that was answered.
#[derive(Debug)]
pub struct Call<'a> {
    /// `POST`.
    pub method: &'a str,
    /// Its path, without the query.
    pub path: &'a str,
    /// Status of the answer.
    pub status: u16,
    /// Where on the screen it was last.
    pub at: Option<(i32, i32)>,
    /// What it said, where that [is wanted](Wheel::wants_contents).
    pub body: Option<&'a [u8]>,
}

/// Why a caller may not act.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Held {
    /// A person has control, and the caller's patience is over. One line that says who.
    Person(String),
    /// It may not, whoever has control. One line that says why.
    Refused(String),
}

/// Shares the desktop's mouse and keyboard between people and callers.
pub trait Wheel: Send + Sync + 'static {
    /// Waits until a caller may act; it may for as long as it keeps what is returned.
    fn turn<'a>(&'a self, caller: &'a Caller) -> Pending<'a, Result<Box<dyn Send>, Held>>;

    /// Whether a caller may make a call that does not act itself; with `starts`, one that starts programs, which could act in its
    /// place.
    ///
    /// # Errors
    /// It may not.
    fn may_call(&self, caller: &Caller, starts: bool) -> Result<(), Held>;

    /// A caller acts. Must not block.
    fn acted(&self, caller: &Caller, act: Act);

    /// A call was answered. Must not block.
    fn called(&self, caller: &Caller, call: &Call<'_>);

    /// Whether bodies of calls are to be noted.
    fn wants_contents(&self) -> bool {
        false
    }
}

/// The call that a task works on.
struct Present {
    wheel: Arc<dyn Wheel>,
    caller: Caller,
    at: Mutex<Option<(i32, i32)>>,
}

tokio::task_local! {
    static PRESENT: Arc<Present>;
}

/// Tells those who watch what the call at hand does. Without a wheel, or outside of a call, nobody is told.
pub(crate) fn acted(act: Act) {
    // An error says that it is outside of a call.
    let _ = PRESENT.try_with(|present| {
        if let Act::Move(x, y) | Act::Click(x, y) = act {
            *present.at.lock() = Some((x, y));
        }
        present.wheel.acted(&present.caller, act);
    });
}

/// What the holder of a token may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rights {
    /// Run programs and use files.
    pub admin: bool,
    /// See the screen.
    pub watch: bool,
    /// Use mouse, keyboard, clipboard and windows.
    pub control: bool,
}

/// What a path needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Power {
    /// A good token.
    Any,
    Watch,
    /// Control, and for anything but `GET` a turn at the wheel.
    Control,
    /// Control, without a turn: nothing on the screen changes by it.
    Share,
    Admin,
    /// Admin, and for anything that changes something that the wheel lets programs be started.
    Start,
    /// Admin, and a turn at the wheel.
    Open,
}

impl Power {
    fn is_in(self, rights: Rights) -> Result<(), &'static str> {
        match self {
            Self::Watch if !rights.watch => Err("this token may not see the screen: use another member's"),
            Self::Control | Self::Share if !rights.control => {
                Err("this token may not control now: somebody else does, or its member may not at all; use an admin's")
            }
            Self::Admin | Self::Start | Self::Open if !rights.admin => {
                Err("programs and files are for admins: use an admin's token")
            }
            _ => Ok(()),
        }
    }
}

/// Routes that need a power.
pub(crate) fn guarded(routes: Router<Arc<Shared>>, shared: &Arc<Shared>, power: Power) -> Router<Arc<Shared>> {
    routes.route_layer(from_fn_with_state((shared.clone(), power), check))
}

async fn check(State((shared, power)): State<(Arc<Shared>, Power)>, request: Request, next: Next) -> Response {
    let Some(token) = token_of(request.headers(), request.uri()) else {
        return Problem::unauthorized("no token: send Authorization: Bearer with a token of this session")
            .into_response();
    };
    let Some(rights) = (shared.config.rights)(&token) else {
        return Problem::unauthorized("this token is nobody's: log in for a new one").into_response();
    };
    if let Err(text) = power.is_in(rights) {
        return Problem::denied(text).into_response();
    }
    let Some(wheel) = shared.config.wheel.clone() else { return next.run(request).await };
    match caller_of(request.headers(), token) {
        Ok(caller) => take_turn(wheel, caller, power, request, next).await,
        Err(problem) => problem.into_response(),
    }
}

/// Answers a request when it is its caller's turn, and tells of it.
async fn take_turn(wheel: Arc<dyn Wheel>, caller: Caller, power: Power, request: Request, next: Next) -> Response {
    let (method, path) = (request.method().clone(), request.uri().path().to_owned());
    // A terminal's WebSocket is opened by GET.
    let is_act = method != Method::GET || request.headers().contains_key(header::UPGRADE);
    let (request, body) = match wheel.wants_contents() && is_act && is_short(request.headers()) {
        false => (request, None),
        true => {
            let (parts, body) = request.into_parts();
            let Ok(body) = axum::body::to_bytes(body, MAX_NOTED).await else {
                return Problem::invalid("the body is not as long as it says").into_response();
            };
            (Request::from_parts(parts, Body::from(body.clone())), Some(body))
        }
    };
    let present = Arc::new(Present { wheel, caller, at: Mutex::default() });
    let Present { wheel, caller, at } = &*present;
    let turn = match power {
        Power::Control | Power::Open if is_act => wheel.turn(caller).await.map(Some),
        _ => wheel.may_call(caller, power == Power::Start && is_act).map(|()| None),
    };
    let response = match turn {
        Ok(_turn) => PRESENT.scope(present.clone(), next.run(request)).await,
        Err(Held::Person(text)) => Problem::held(text).into_response(),
        Err(Held::Refused(text)) => Problem::denied(text).into_response(),
    };
    let (status, at) = (response.status().as_u16(), *at.lock());
    wheel.called(caller, &Call { method: method.as_str(), path: &path, status, at, body: body.as_deref() });
    response
}

fn is_short(headers: &HeaderMap) -> bool {
    let length = headers.get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse::<usize>().ok());
    length.is_some_and(|length| length <= MAX_NOTED)
}

/// Who makes a request, by its headers.
fn caller_of(headers: &HeaderMap, token: String) -> Result<Caller, Problem> {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
    let patience = match text("x-glasshouse-patience") {
        None => None,
        Some(seconds) => Some(
            seconds.parse().map(Duration::from_secs).ok().filter(|time| *time <= MAX_PATIENCE).ok_or_else(|| {
                Problem::invalid(
                    "X-Glasshouse-Patience: seconds that input waits for a person, from 0 (fails at once) to 600",
                )
            })?,
        ),
    };
    Ok(Caller { token, name: text("x-glasshouse-name"), agent: text("user-agent"), patience })
}

/// The token of a request: a Bearer; for WebSockets, which browsers open without headers, also `?access_token=`.
pub(crate) fn token_of(headers: &HeaderMap, uri: &Uri) -> Option<String> {
    if let Some(value) = headers.get(header::AUTHORIZATION) {
        let (scheme, token) = value.to_str().ok()?.split_once(' ')?;
        return (scheme.eq_ignore_ascii_case("bearer") && !token.trim().is_empty()).then(|| token.trim().to_owned());
    }
    let path = uri.path();
    if !path.ends_with("/terminal/ws") && !path.ends_with("/stream/signaling") {
        return None;
    }
    let pairs = uri.query().unwrap_or_default().split('&');
    // Tokens are of letters that need no escape.
    pairs
        .filter_map(|pair| pair.split_once('='))
        .find(|(name, _)| *name == "access_token")
        .map(|(_, token)| token.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_in_addresses_are_for_websockets_only() {
        let uri = |text: &str| text.parse::<Uri>().unwrap();
        let none = HeaderMap::new();
        assert_eq!(token_of(&none, &uri("/v1/health?access_token=a")), None);
        assert_eq!(token_of(&none, &uri("/v1/processes/proc_1/terminal/ws?x=1&access_token=a")).as_deref(), Some("a"));
        assert_eq!(token_of(&none, &uri("/v1/desktop/stream/signaling?access_token=a")).as_deref(), Some("a"));
        let bearer = HeaderMap::from_iter([(header::AUTHORIZATION, "bearer  b ".parse().unwrap())]);
        assert_eq!(token_of(&bearer, &uri("/v1/health")).as_deref(), Some("b"));
        for wrong in ["Basic b", "Bearer ", "Bearer"] {
            let headers = HeaderMap::from_iter([(header::AUTHORIZATION, wrong.parse().unwrap())]);
            assert_eq!(token_of(&headers, &uri("/v1/desktop/stream/signaling?access_token=a")), None, "{wrong}");
        }
    }

    #[test]
    fn callers_say_who_they_are() {
        let caller = |headers: &[(&'static str, &'static str)]| {
            let headers = headers.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect();
            caller_of(&headers, "t".into())
        };
        let said = caller(&[("x-glasshouse-name", "Agent"), ("user-agent", "node"), ("x-glasshouse-patience", "5")]);
        let said = said.unwrap();
        assert_eq!((said.name.as_deref(), said.agent.as_deref()), (Some("Agent"), Some("node")));
        assert_eq!(said.patience, Some(Duration::from_secs(5)));
        assert_eq!(caller(&[]).unwrap().patience, None);
        for wrong in ["-1", "601", "x", ""] {
            assert!(caller(&[("x-glasshouse-patience", wrong)]).is_err(), "{wrong}");
        }
    }

    #[test]
    fn powers() {
        let all = Rights { admin: true, watch: true, control: true };
        for (power, lacking) in [
            (Power::Watch, Rights { watch: false, ..all }),
            (Power::Control, Rights { control: false, ..all }),
            (Power::Share, Rights { control: false, ..all }),
            (Power::Admin, Rights { admin: false, ..all }),
            (Power::Start, Rights { admin: false, ..all }),
            (Power::Open, Rights { admin: false, ..all }),
        ] {
            assert!(power.is_in(all).is_ok());
            assert!(power.is_in(lacking).is_err());
            assert!(Power::Any.is_in(lacking).is_ok());
        }
    }
}
