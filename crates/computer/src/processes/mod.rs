//! `/v1/processes`: programs within the desktop's walls.

mod log;
mod process;
mod routes;
mod run;
mod signals;
mod table;
mod terminal;

pub(crate) use process::{Owner, Process, Start};
pub(crate) use routes::router;
pub(crate) use table::Table;
