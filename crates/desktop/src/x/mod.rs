//! Our own connections to the X server.

pub(crate) mod clipboard;
pub(crate) mod control;
pub(crate) mod cursor;
mod fine;
pub(crate) mod input;
pub(crate) mod keymap;
mod link;
mod readers;
pub(crate) mod screen;
pub(crate) mod thumbnail;
pub(crate) mod watch;
mod worker;
mod xsettings;

pub(crate) use link::{Link, Waker, X, XError};
pub(crate) use worker::Worker;
