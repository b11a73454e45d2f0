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

const CLIPBOARD: &str = "clipboard";

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct Selection {
    selection: Option<String>,
}

#[derive(Deserialize, ToSchema)]
#[schema(as = ClipboardText)]
pub(super) struct Text {
    text: String,
    selection: Option<String>,
}

fn check(selection: Option<&str>, also: &str) -> Result<(), Problem> {
    match selection.unwrap_or(CLIPBOARD) {
        CLIPBOARD => Ok(()),
        other if other == also => Ok(()),
        "primary" => Err(Problem::action("the primary selection is not offered: use the clipboard")),
        _ => Err(Problem::action("selection must be clipboard")),
    }
}

/// Text of the clipboard.
#[utoipa::path(get, path = "/v1/desktop/clipboard", tag = "clipboard", params(Selection), responses((status = 200, description = "The text.", body = super::openapi::Clipboard)))]
pub(super) async fn read(State(shared): State<Arc<Shared>>, Query(asked): Query<Selection>) -> Answer {
    check(asked.selection.as_deref(), CLIPBOARD)?;
    let text = shared.desktop().clipboard_text().await.map_err(|error| Problem::clipboard(&error))?;
    Ok(Json(json!({ "text": text, "selection": CLIPBOARD })).into_response())
}

/// Puts text on the clipboard.
#[utoipa::path(post, path = "/v1/desktop/clipboard", tag = "clipboard", request_body = Text, responses((status = 200, description = "It is done.", body = super::Done)))]
pub(super) async fn write(State(shared): State<Arc<Shared>>, Json(asked): Json<Text>) -> Answer {
    check(asked.selection.as_deref(), "both")?;
    let set = shared.desktop().set_clipboard(Some(asked.text), None).await;
    set.map_err(|error| match error {
        glasshouse_desktop::Error::Invalid(text) => Problem::action(text),
        error => Problem::clipboard(&error),
    })?;
    Ok(Json(DONE).into_response())
}
