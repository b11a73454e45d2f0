//! The clipboard.

use std::sync::Arc;

use axum::{
    Json,
    extract::{Query, State},
    response::IntoResponse,
};
use serde::Deserialize;
use serde_json::json;
use utoipa::{IntoParams, ToSchema};

use super::DONE;
use crate::{
    Shared,
    problem::{Answer, Problem},
};

/// One of the two selections of an X display.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Which {
    Clipboard,
    /// What is marked, and put in with the middle button.
    Primary,
}

impl Which {
    const ALL: [Self; 2] = [Self::Clipboard, Self::Primary];

    fn name(self) -> &'static str {
        match self {
            Self::Clipboard => "clipboard",
            Self::Primary => "primary",
        }
    }

    fn parse(name: Option<&str>) -> Option<Self> {
        let name = name.unwrap_or(Self::Clipboard.name());
        Self::ALL.into_iter().find(|which| which.name() == name)
    }
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct Selection {
    /// `clipboard`, or `primary`: what is marked. The clipboard if not said.
    selection: Option<String>,
}

#[derive(Deserialize, ToSchema)]
#[schema(as = ClipboardText)]
pub(super) struct Text {
    text: String,
    /// `clipboard`, `primary`, or `both`. The clipboard if not said.
    selection: Option<String>,
}

/// Text of the clipboard, or what is marked.
#[utoipa::path(get, path = "/v1/desktop/clipboard", tag = "clipboard", params(Selection), responses((status = 200, description = "The text.", body = super::openapi::Clipboard)))]
pub(super) async fn read(State(shared): State<Arc<Shared>>, Query(asked): Query<Selection>) -> Answer {
    let which = Which::parse(asked.selection.as_deref());
    let which = which.ok_or_else(|| Problem::action("selection must be clipboard or primary"))?;
    let text = match which {
        Which::Clipboard => shared.desktop().clipboard_text().await,
        Which::Primary => shared.desktop().primary_text().await,
    };
    let text = text.map_err(|error| Problem::clipboard(&error))?;
    Ok(Json(json!({ "text": text, "selection": which.name() })).into_response())
}

/// Puts text on the clipboard, or where it is as if it were marked.
#[utoipa::path(post, path = "/v1/desktop/clipboard", tag = "clipboard", request_body = Text, responses((status = 200, description = "It is done.", body = super::Done)))]
pub(super) async fn write(State(shared): State<Arc<Shared>>, Json(asked): Json<Text>) -> Answer {
    let which = match (asked.selection.as_deref(), Which::parse(asked.selection.as_deref())) {
        (_, Some(which)) => vec![which],
        (Some("both"), None) => Which::ALL.to_vec(),
        _ => return Err(Problem::action("selection must be clipboard, primary or both")),
    };
    for which in which {
        let text = Some(asked.text.clone());
        let set = match which {
            Which::Clipboard => shared.desktop().set_clipboard(text, None).await,
            Which::Primary => shared.desktop().set_primary(text).await,
        };
        set.map_err(|error| match error {
            glasshouse_desktop::Error::Invalid(text) => Problem::action(text),
            error => Problem::clipboard(&error),
        })?;
    }
    Ok(Json(DONE).into_response())
}
