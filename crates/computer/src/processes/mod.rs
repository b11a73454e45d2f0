//! `/v1/processes`: programs within the desktop's walls.

pub(crate) mod log;
mod openapi;
mod process;
pub(crate) mod routes;
pub(crate) mod run;
pub(crate) mod signals;
mod table;
pub(crate) mod terminal;

pub(crate) use openapi::Document;
pub(crate) use process::{Owner, Process, Start, watched};
pub(crate) use routes::router;
pub(crate) use table::Table;
