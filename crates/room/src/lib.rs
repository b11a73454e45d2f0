//! Members, capabilities, host control and settings of a room, as a pure state machine: no I/O, no clock.

/// Settings of a room; names and meaning are neko's.
#[derive(Debug, Clone, serde::Serialize, serde::Deserialize)]
pub struct Settings {}
