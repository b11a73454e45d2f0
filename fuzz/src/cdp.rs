//! What a DevTools client sends: frames, and the messages in them.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| glasshouse_cdp::fuzzing::client(bytes));
