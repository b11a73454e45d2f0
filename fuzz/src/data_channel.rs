//! Messages of viewers on the data channel.
#![no_main]

use glasshouse_neko::{mini, payload};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    // Whatever it is, it must be a message or an error.
    let _ = payload::decode(bytes);
    let _ = mini::event::parse(bytes);
});
