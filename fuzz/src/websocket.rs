//! Messages of clients on the WebSocket.
#![no_main]

use glasshouse_neko::events;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(text) = std::str::from_utf8(bytes)
        && let Err(error) = events::parse(text)
    {
        assert!(error.event().chars().count() <= 64, "the event's name goes back to the client and must be bounded");
    }
});
