//! Archives that are uploaded: tar, and zip. No name leads out of its folder, and nothing is longer than it says.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| glasshouse_computer::fuzzing::archive(bytes));
