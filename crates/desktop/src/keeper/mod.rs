//! The keeper: a small process that is the parent (sub-reaper) of every program of a desktop and ends them all when
//! our process is gone, however it went.
//!
//! It talks over one `SOCK_SEQPACKET` socket, its standard input: a JSON message a packet, descriptors attached. End of
//! file on it means that our process is gone: the keeper then kills every descendant, removes what it was told to
//! remove, and exits.
//!
//! With walls there are two: one is process 1 within them and starts the programs; the other starts nothing and is there
//! to clear away what the walls leave on the host.

mod client;
mod connect;
mod serve;
mod terminal;
mod wire;

pub(crate) use client::{Keeper, pair};
pub(crate) use connect::wait as wait_for_connection;
pub(crate) use serve::remove_display;
pub(crate) use terminal::wait as wait_for_terminal;
pub(crate) use wire::{FromKeeper, Spawn, ToKeeper};

/// Runs the keeper; `glasshouse keeper` is this.
pub fn main() -> std::process::ExitCode {
    serve::main()
}
