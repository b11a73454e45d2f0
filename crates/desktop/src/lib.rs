//! One X desktop: the X server and the programs on it, input, clipboard, cursor, screen size, screenshots, sound device.
//!
//! Knows nothing about people, media or networks. The programs run within the walls of `glasshouse-sandbox`, if told so.

mod config;
mod desktop;
mod error;
mod event;
mod inside;
pub mod keeper;
mod launch;
mod log;
mod primary;
mod programs;
mod session;
mod supervisor;
mod user;
mod walls;
mod x;

pub(crate) use config::DEVTOOLS_PORT;
pub use config::{App, Config, Display, MAX_SIZE, MIN_SIZE, OnExit, PROXY_PORT, Size, Walls};
pub use desktop::Desktop;
pub use error::Error;
pub use event::{
    Beneath, Cursor, Event, Fine, FineKind, Input, KeyboardMap, KeyboardModifiers, ProgramState, Scroller,
};
pub use launch::{Ended, Launch, Launched};
pub use x::thumbnail::Thumbnail;
