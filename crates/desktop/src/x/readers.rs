//! Which programs have read the keyboard's layout since it was changed, seen by the RECORD extension.
//!
//! A program is told of a changed layout, asks the server for it, and reads keys by the old one until it has the answer.
//! How long that takes is up to the program and to how busy the machine is; that it has asked can be seen.

use std::{
    collections::HashMap,
    os::fd::{AsFd, OwnedFd},
    sync::Arc,
    thread::JoinHandle,
    time::{Duration, Instant},
};

use parking_lot::{Condvar, Mutex};
use x11rb::{
    connection::{Connection, RequestConnection},
    protocol::{
        record::{self, ConnectionExt as _, Context},
        xkb, xproto,
    },
};

use super::{Link, X, XError};

/// Category of what clients have sent, in replies of `RecordEnableContext` ("Record Extension Protocol", 4).
const FROM_CLIENT: u8 = 1;

/// Programs remembered; more have come and gone meanwhile, and the oldest are of no use.
const MAX_PROGRAMS: usize = 4_096;

/// Program (its resource ids' base) → number of the request that it made last.
#[derive(Default)]
struct Log {
    count: u64,
    last: HashMap<u32, u64>,
}

#[derive(Default)]
struct Shared {
    log: Mutex<Log>,
    changed: Condvar,
}

/// See the module.
pub(crate) struct Readers {
    shared: Arc<Shared>,
    mask: u32,
    socket: OwnedFd,
    thread: Option<JoinHandle<()>>,
}

impl Readers {
    /// Starts to watch, with a connection and a thread of its own; `None` when the server has no RECORD extension.
    pub(crate) fn start(x: &X, link: &Link) -> Result<Option<Self>, XError> {
        let (Some(_), Some(keyboard)) = (
            x.conn.extension_information(record::X11_EXTENSION_NAME)?,
            x.conn.extension_information(xkb::X11_EXTENSION_NAME)?,
        ) else {
            return Ok(None);
        };
        let none = record::Range8 { first: 0, last: 0 };
        let none_extended = record::ExtRange { major: none, minor: record::Range16 { first: 0, last: 0 } };
        let layout = xproto::GET_KEYBOARD_MAPPING_REQUEST;
        let map = u16::from(xkb::GET_MAP_REQUEST);
        let range = record::Range {
            core_requests: record::Range8 { first: layout, last: layout },
            core_replies: none,
            ext_requests: record::ExtRange {
                major: record::Range8 { first: keyboard.major_opcode, last: keyboard.major_opcode },
                minor: record::Range16 { first: map, last: map },
            },
            ext_replies: none_extended,
            delivered_events: none,
            device_events: none,
            errors: none,
            client_started: false,
            client_died: false,
        };
        let data = link.connect()?;
        data.conn.record_query_version(1, 13)?.reply()?;
        let context: Context = data.conn.generate_id()?;
        data.conn.record_create_context(context, 0, &[record::CS::ALL_CLIENTS.into()], &[range])?.check()?;
        let socket = data.conn.stream().as_fd().try_clone_to_owned()?;
        let shared = Arc::new(Shared::default());
        let thread = {
            let shared = Arc::clone(&shared);
            std::thread::Builder::new().name("x-readers".into()).spawn(move || {
                if let Err(error) = read(&data, context, &shared) {
                    tracing::debug!(%error, "who reads the layout is seen no more");
                }
            })?
        };
        Ok(Some(Self { shared, mask: x.conn.setup().resource_id_mask, socket, thread: Some(thread) }))
    }

    /// What was read so far.
    pub(crate) fn mark(&self) -> u64 {
        self.shared.log.lock().count
    }

    /// The program that a window belongs to.
    pub(crate) fn program_of(&self, window: u32) -> u32 {
        window & !self.mask
    }

    /// Waits until a program has read the layout since `mark`; false when it has not within `limit`.
    pub(crate) fn wait(&self, program: u32, mark: u64, limit: Duration) -> bool {
        let deadline = Instant::now() + limit;
        let mut log = self.shared.log.lock();
        loop {
            if log.last.get(&program).is_some_and(|last| *last > mark) {
                return true;
            }
            if self.shared.changed.wait_until(&mut log, deadline).timed_out() {
                return false;
            }
        }
    }
}

impl Drop for Readers {
    fn drop(&mut self) {
        let _ = rustix::net::shutdown(&self.socket, rustix::net::Shutdown::Both);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn read(data: &X, context: Context, shared: &Shared) -> Result<(), XError> {
    for reply in data.conn.record_enable_context(context)? {
        let reply = reply?;
        if reply.category != FROM_CLIENT {
            continue;
        }
        let mut log = shared.log.lock();
        log.count += 1;
        let count = log.count;
        if log.last.len() >= MAX_PROGRAMS {
            log.last.retain(|_, last| *last + (MAX_PROGRAMS as u64) / 2 > count);
        }
        log.last.insert(reply.xid_base, count);
        shared.changed.notify_all();
    }
    Ok(())
}
