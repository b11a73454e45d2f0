//! Who may do what: tokens, and the power that each path needs.

use std::sync::Arc;

use axum::{
    Router,
    extract::{Request, State},
    http::{HeaderMap, Uri, header},
    middleware::{Next, from_fn_with_state},
    response::{IntoResponse, Response},
};

use crate::{Shared, problem::Problem};

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
    Control,
    Admin,
}

impl Power {
    fn is_in(self, rights: Rights) -> Result<(), &'static str> {
        match self {
            Self::Watch if !rights.watch => Err("this token may not see the screen: use another member's"),
            Self::Control if !rights.control => {
                Err("this token may not control now: somebody else does, or its member may not at all; use an admin's")
            }
            Self::Admin if !rights.admin => Err("programs and files are for admins: use an admin's token"),
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
    match power.is_in(rights) {
        Ok(()) => next.run(request).await,
        Err(text) => Problem::denied(text).into_response(),
    }
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
    fn powers() {
        let all = Rights { admin: true, watch: true, control: true };
        for (power, lacking) in [
            (Power::Watch, Rights { watch: false, ..all }),
            (Power::Control, Rights { control: false, ..all }),
            (Power::Admin, Rights { admin: false, ..all }),
        ] {
            assert!(power.is_in(all).is_ok());
            assert!(power.is_in(lacking).is_err());
            assert!(Power::Any.is_in(lacking).is_ok());
        }
    }
}
