//! What an MCP client sends: bodies of JSON-RPC, and the arguments of tools in them. No tool does what its caller may not.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    // Anew for each input, so that one that is found can be tried again by itself.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    let runtime = runtime.expect("a runtime without sockets needs nothing");
    runtime.block_on(glasshouse_mcp::fuzzing::client(bytes));
});
