//! What of the API's document is about processes.

#![expect(dead_code, reason = "these describe answers that are made as JSON")]

use utoipa::{OpenApi, ToSchema};

use super::{log::Stream, process::Info, routes::EntryView};

#[derive(OpenApi)]
#[openapi(paths(
    super::routes::input,
    super::routes::kill,
    super::routes::limits,
    super::routes::list,
    super::routes::logs,
    super::routes::read,
    super::routes::remove,
    super::routes::resize,
    super::routes::set_limits,
    super::routes::signal,
    super::routes::start,
    super::routes::stop,
    super::run::run,
    super::terminal::upgrade,
))]
pub(crate) struct Document;

/// Processes that were started here.
#[derive(ToSchema)]
pub(super) struct Processes {
    processes: Vec<Info>,
}

/// What a process has said.
#[derive(ToSchema)]
#[schema(rename_all = "camelCase")]
pub(super) struct Logs {
    process_id: String,
    stream: Stream,
    entries: Vec<EntryView>,
}

/// How much was written to a process.
#[derive(ToSchema)]
#[schema(rename_all = "camelCase")]
pub(super) struct Written {
    bytes_written: u64,
}
