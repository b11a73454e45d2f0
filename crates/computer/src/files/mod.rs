//! `/v1/fs`: files below the desktop's HOME, and in its `/tmp`.

pub(crate) mod archive;
pub(crate) mod memory;
mod openapi;
pub(crate) mod pack;
pub(crate) mod place;
mod routes;
pub(crate) mod tar;
pub(crate) mod tree;
pub(crate) mod watch;
pub(crate) mod zip;

pub(crate) use openapi::Document;
pub(crate) use routes::{content, router};
