//! A gate in front of Chromium's DevTools.
//!
//! [`Gate::router`] answers `/json…`, `/devtools/…` and `/cdp` as Chromium does, for holders of a token, with addresses
//! that lead back through the gate, and relays their WebSockets. It opens a byte stream of its own to the browser for
//! each client ([`Upstream`]), so that a message costs no more than being copied; only what a token's [`Policy`] needs to
//! know is read.
//!
//! What must hold:
//!
//! * Nothing of a request reaches the browser before its host, its origin and its token are found good.
//! * Memory of a connection is bounded, whatever the size of its messages: nothing is collected but the beginning of a
//!   client's message until its method is known, see `filter`.
//! * A side that does not read stops the other; nothing is queued in between.

#![forbid(unsafe_code)]

mod access;
mod address;
mod ask;
mod filter;
mod first_page;
mod frame;
mod front;
#[doc(hidden)]
pub mod fuzzing;
mod gate;
mod guard;
mod issue;
mod navigate;
mod pages;
mod policy;
mod problem;
mod relay;
mod rider;
mod routes;
mod scan;
mod scroll;
mod upstream;
mod wheel;

pub use access::{Access, Grant, Refusal, Tokens, random_token};
pub use front::{Page, Target, refuse_foreign};
pub use gate::{Config, Gate};
pub use pages::Watching;
pub use policy::{Policy, Power};
pub use scroll::{Beneath, Distance, Scroller, Way};
pub use upstream::{Stream, Upstream};
pub use wheel::{Act, Call, Client, MAX_PATIENCE, PATIENCE, Pending, Seat, Turn, Wheel};
