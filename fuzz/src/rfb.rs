//! What a VNC client sends, in pieces, through the gate: who may only watch gets nothing else through, whatever it is.
#![no_main]

use glasshouse_rfb::{
    Gate, Pending, Viewer,
    client::{Kind, Parser},
};
use libfuzzer_sys::fuzz_target;

/// One who may control, or not, and never may anything else.
struct Person {
    may_control: bool,
}

impl Viewer for Person {
    fn may_watch(&self) -> Result<(), &'static str> {
        Ok(())
    }
    fn has_control(&self) -> bool {
        self.may_control
    }
    fn claim(&mut self) -> bool {
        self.may_control
    }
    fn may_set_clipboard(&self) -> bool {
        false
    }
    fn may_resize(&self, _width: u16, _height: u16) -> bool {
        false
    }
    fn moved(&mut self, _x: u16, _y: u16) {
        assert!(self.may_control);
    }
    fn wake(&self) {
        assert!(self.may_control);
    }
    fn changed(&mut self) -> Pending<'_, ()> {
        Box::pin(std::future::pending())
    }
}

fuzz_target!(|bytes: &[u8]| {
    let Some((&first, rest)) = bytes.split_first() else { return };
    let (may_control, size) = (first & 1 == 1, usize::from(first >> 1) + 1);
    let (mut gate, mut person) = (Gate::default(), Person { may_control });
    let mut out = Vec::new();
    for piece in rest.chunks(size) {
        if gate.pass(piece, &mut person, &mut out).is_err() {
            break;
        }
    }
    gate.release(&mut out);
    // What has passed is understood again, and is what may pass.
    let mut parser = Parser::default();
    parser.push(&out);
    while let Some(message) = parser.next().expect("only what was understood passes") {
        let is_input = matches!(message.kind, Kind::Key { .. } | Kind::Pointer { .. });
        let is_picture = matches!(message.kind, Kind::Handshake | Kind::Init | Kind::Picture | Kind::Encodings);
        assert!(is_picture || (is_input && may_control), "{:?} has passed", message.kind);
    }
});
