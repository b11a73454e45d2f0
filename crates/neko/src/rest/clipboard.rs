//! The clipboard, for the host.

use axum::extract::State;
use glasshouse_room::merge;
use serde::Serialize;

use super::{Answer, ApiError, Body, Caller, done, ok, picture};
use crate::Server;

fn may(server: &Server, caller: &Caller) -> Result<(), ApiError> {
    caller.must(caller.profile.can_access_clipboard, "session cannot access clipboard")?;
    caller.host(server)
}

fn failed(error: glasshouse_desktop::Error) -> ApiError {
    ApiError::internal("clipboard", &error)
}

pub(super) async fn read(State(server): State<Server>, caller: Caller) -> Answer {
    may(&server, &caller)?;
    #[derive(Serialize)]
    struct Clipboard {
        #[serde(skip_serializing_if = "String::is_empty")]
        text: String,
        #[serde(skip_serializing_if = "String::is_empty")]
        html: String,
    }
    let desk = &server.inner.desk;
    ok(&Clipboard {
        text: desk.clipboard_text().await.map_err(failed)?,
        html: desk.clipboard_html().await.map_err(failed)?,
    })
}

pub(super) async fn write(State(server): State<Server>, caller: Caller, body: Body) -> Answer {
    may(&server, &caller)?;
    let (mut text, mut html) = (String::new(), String::new());
    merge::object(&body.json()?, |key, field| match key {
        "text" => field.string(&mut text),
        "html" => field.string(&mut html),
        _ => Ok(()),
    })?;
    // Without HTML the text is set even when it is empty, which clears the clipboard.
    let html = Some(html).filter(|html| !html.is_empty());
    let text = Some(text).filter(|text| !text.is_empty() || html.is_none());
    server.inner.desk.set_clipboard(text, html).await.map_err(failed)?;
    done()
}

pub(super) async fn image(State(server): State<Server>, caller: Caller) -> Answer {
    may(&server, &caller)?;
    match server.inner.desk.clipboard_png().await.map_err(failed)? {
        Some(png) => picture("image/png", png.into()),
        None => Err(ApiError::not_found("there is no picture in the clipboard")),
    }
}
