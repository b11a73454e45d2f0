//! `/v1/fs`: files below the desktop's HOME.

mod archive;
mod place;
mod routes;
mod tar;
mod tree;

pub(crate) use routes::router;
