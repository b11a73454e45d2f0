//! Many sessions on one host: started, limited, frozen, reaped, taken over after a restart, and written down.
//!
//! A session is a process of its own (`glasshouse session --managed DIRECTORY`) that outlives us. What can be known of it
//! without us is in its directory; what only we know (tokens, idempotency keys, the audit log, ended sessions) is in SQLite.
//! The fleet knows neither rooms nor media.

#![deny(unsafe_code)]

mod access;
mod actor;
mod admission;
mod archive;
mod create;
mod error;
mod events;
mod fleet;
mod inner;
mod lifetime;
mod links;
pub mod managed;
mod media;
mod memory;
mod numbers;
mod pool;
mod process;
mod profiles;
mod restrictions;
mod secret;
pub mod socket;
mod spec;
mod state_dir;
mod store;
mod time;
mod tokens;
mod usage;
mod users;
mod users_file;
mod view;
mod waiting;

pub use admission::Limits;
pub use create::{Created, Idempotency};
pub use error::{Error, FieldError};
pub use events::Event;
pub use fleet::{Config, Fleet};
pub use links::{LinkRole, NewLink};
pub use managed::{Claim, Managed, Reach};
pub use numbers::{Numbers, StartTimes};
pub use pool::{PoolConfig, PoolCounts};
pub use profiles::{Profile, TRAIL_OF_PROFILE};
pub use restrictions::{Bounds, Egress, Resources};
pub use secret::SessionId;
pub use spec::{App, Change, ProgramsMode, Screen, Spec};
pub use store::{Audit, AuditEntry, Filter, Page, TokenInfo};
pub use time::rfc3339;
pub use tokens::{Grant, Login, NewToken, Power, Powers};
pub use usage::Use;
pub use users::{Busy, Users};
pub use users_file::{User, UsersFile, powers_of_role};
pub use view::{State, View};
