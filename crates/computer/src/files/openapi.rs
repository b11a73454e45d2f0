//! What of the API's document is about files.

#![expect(dead_code, reason = "these describe answers that are made as JSON")]

use utoipa::{OpenApi, ToSchema};

#[derive(OpenApi)]
#[openapi(paths(
    super::routes::download,
    super::routes::list,
    super::routes::make,
    super::routes::read,
    super::routes::remove,
    super::routes::rename,
    super::routes::stat,
    super::routes::upload,
    super::routes::watched,
    super::routes::write,
))]
pub(crate) struct Document;

/// Where something is.
#[derive(ToSchema)]
pub(super) struct FilePath {
    path: String,
}

/// A file that was written.
#[derive(ToSchema)]
#[schema(rename_all = "camelCase")]
pub(super) struct FileWritten {
    path: String,
    bytes_written: u64,
}

/// What was moved.
#[derive(ToSchema)]
pub(super) struct Moved {
    from: String,
    to: String,
}

/// What an archive has brought.
#[derive(ToSchema)]
pub(super) struct Unpacked {
    /// The first of them.
    paths: Vec<String>,
    /// Whether there are more.
    truncated: bool,
}
