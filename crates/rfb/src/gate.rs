//! The gate: of what a client says, that passes which its viewer may do now. Does no I/O.

use crate::{
    client::{Error, Kind, MAX_ENCODINGS, Message, Parser},
    seam::Viewer,
};

/// Keys that one client holds down at a time and that are let go for it; of more, the oldest are not.
const MAX_KEYS: usize = 32;

/// Encodings that would make a client send what is not known here (rfbproto): extended mouse buttons, whose pointer events are
/// longer; QEMU's sound; switching the machine off; general input.
const WITHHELD: [i32; 4] = [-316, -259, -309, -305];

/// Tells of other sizes of the screen. Xvnc 1.12 ends when the size changes while a client has not said that it knows of them, and
/// its display with it. A client that really does not is lost then, as it would be in any case.
const DESKTOP_SIZE: i32 = -223;
/// The list that holds until the client has sent its own: raw, as RFC 6143 has it without one, and that.
const FIRST: [u8; 12] = [2, 0, 0, 2, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0x21];

/// The gate of one client.
#[derive(Debug, Default)]
pub struct Gate {
    parser: Parser,
    /// Messages that let go of the keys that are down.
    keys: Vec<Vec<u8>>,
    /// Buttons that are down, and where the pointer is.
    buttons: u8,
    at: (u16, u16),
}

impl Gate {
    /// Judges what a client says, and appends to `out` what the display is to hear of it.
    ///
    /// # Errors
    /// It cannot be understood; the connection is over then.
    pub fn pass(&mut self, input: &[u8], viewer: &mut dyn Viewer, out: &mut Vec<u8>) -> Result<(), Error> {
        let Self { parser, keys, buttons, at } = self;
        parser.push(input);
        while let Some(Message { kind, bytes }) = parser.next()? {
            let (passes, acts) = match kind {
                Kind::Handshake | Kind::Picture => (true, false),
                Kind::Init => {
                    out.extend_from_slice(bytes);
                    out.extend(FIRST);
                    (false, false)
                }
                Kind::Encodings => {
                    encodings(bytes, out);
                    (false, false)
                }
                Kind::Key { down: true } => {
                    let claimed = viewer.claim();
                    if claimed {
                        press(keys, bytes);
                    }
                    (claimed, true)
                }
                Kind::Key { down: false } => {
                    let had = keys.len();
                    keys.retain(|held| held != bytes);
                    // One with Shift may be let go of without it.
                    (keys.len() < had || viewer.has_control(), true)
                }
                Kind::Pointer { buttons: now, x, y } => {
                    // Who only moves the pointer does not take it from somebody else.
                    let is_press = now & !*buttons != 0;
                    let may = if is_press { viewer.claim() } else { viewer.has_control() };
                    if may {
                        (*buttons, *at) = (now, (x, y));
                        viewer.moved(x, y);
                    }
                    (may, true)
                }
                Kind::CutText => (viewer.may_set_clipboard(), true),
                Kind::Resize { width, height } => (viewer.may_resize(width, height), true),
                Kind::Power => (false, false),
            };
            if passes {
                out.extend_from_slice(bytes);
                if acts {
                    viewer.wake();
                }
            }
        }
        Ok(())
    }

    /// Lets go of every key and button that the client holds down; to be called when it has lost control.
    pub fn release(&mut self, out: &mut Vec<u8>) {
        for key in self.keys.drain(..) {
            out.extend(key);
        }
        if std::mem::take(&mut self.buttons) != 0 {
            let ((x, y), none) = (self.at, [5, 0]);
            out.extend(none);
            out.extend(x.to_be_bytes());
            out.extend(y.to_be_bytes());
        }
    }
}

/// Notes that a key is down, by the message that lets go of it.
fn press(keys: &mut Vec<Vec<u8>>, bytes: &[u8]) {
    let mut up = bytes.to_vec();
    match up.first() {
        // QEMU's has 16 bits for it.
        Some(255) => up[2..4].fill(0),
        _ => up[1] = 0,
    }
    if keys.contains(&up) {
        return;
    }
    if keys.len() >= MAX_KEYS {
        keys.remove(0);
    }
    keys.push(up);
}

/// A list of encodings without those that are withheld, and with the one that every client has to have. Of one that is as long as
/// may be, the last makes way for it.
fn encodings(bytes: &[u8], out: &mut Vec<u8>) {
    let (head, list) = bytes.split_at(4);
    let start = out.len();
    out.extend_from_slice(head);
    let mut count = 0_u16;
    for encoding in list.chunks_exact(4) {
        let number = i32::from_be_bytes([encoding[0], encoding[1], encoding[2], encoding[3]]);
        let has_place = usize::from(count) < MAX_ENCODINGS - 1;
        if has_place && !WITHHELD.contains(&number) && number != DESKTOP_SIZE {
            out.extend_from_slice(encoding);
            count += 1;
        }
    }
    out.extend(DESKTOP_SIZE.to_be_bytes());
    count += 1;
    out[start + 2..start + 4].copy_from_slice(&count.to_be_bytes());
}

#[cfg(test)]
mod tests {
    use std::sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    };

    use super::*;
    use crate::seam::Pending;

    const HELLO: &[u8] = b"RFB 003.008\n\x01\x01";
    const KEY_DOWN: [u8; 8] = [4, 1, 0, 0, 0, 0, 0, 0x61];
    const KEY_UP: [u8; 8] = [4, 0, 0, 0, 0, 0, 0, 0x61];
    const QEMU_DOWN: [u8; 12] = [255, 0, 0, 1, 0, 0, 0, 0x61, 0, 0, 0, 30];
    const QEMU_UP: [u8; 12] = [255, 0, 0, 0, 0, 0, 0, 0x61, 0, 0, 0, 30];
    const MOVE: [u8; 6] = [5, 0, 0, 9, 0, 8];
    const PRESS: [u8; 6] = [5, 1, 0, 9, 0, 8];
    const TEXT: &[u8] = b"\x06\0\0\0\0\0\0\x02hi";
    const EXTENDED: [u8; 12] = [6, 0, 0, 0, 0xff, 0xff, 0xff, 0xfc, 2, 0, 0, 1];
    const UPDATE: [u8; 10] = [3, 1, 0, 0, 0, 0, 5, 0, 2, 0xd0];
    const POWER: [u8; 4] = [250, 0, 1, 2];

    fn resize() -> Vec<u8> {
        [&[251, 0, 4, 0, 3, 0, 1, 0][..], &[0; 16]].concat()
    }

    #[derive(Default)]
    struct Person {
        may_control: bool,
        has_control: bool,
        pointer: Option<(u16, u16)>,
        wakes: Arc<AtomicUsize>,
    }

    impl Viewer for Person {
        fn may_watch(&self) -> Result<(), &'static str> {
            Ok(())
        }
        fn has_control(&self) -> bool {
            self.has_control
        }
        fn claim(&mut self) -> bool {
            self.has_control |= self.may_control;
            self.has_control
        }
        fn may_set_clipboard(&self) -> bool {
            self.has_control
        }
        fn may_resize(&self, width: u16, _height: u16) -> bool {
            self.has_control && width > 320
        }
        fn moved(&mut self, x: u16, y: u16) {
            self.pointer = Some((x, y));
        }
        fn wake(&self) {
            self.wakes.fetch_add(1, Ordering::Relaxed);
        }
        fn changed(&mut self) -> Pending<'_, ()> {
            Box::pin(std::future::pending())
        }
    }

    /// What passes of messages after a handshake.
    fn passed(gate: &mut Gate, person: &mut Person, messages: &[&[u8]]) -> Vec<u8> {
        let mut out = Vec::new();
        gate.pass(&messages.concat(), person, &mut out).unwrap();
        out
    }

    fn greeted() -> Gate {
        let mut gate = Gate::default();
        assert_eq!(passed(&mut gate, &mut Person::default(), &[HELLO]), [HELLO, &FIRST].concat());
        gate
    }

    #[test]
    fn who_only_watches_changes_nothing() {
        let (mut gate, mut person) = (greeted(), Person::default());
        let size = resize();
        let all: [&[u8]; 12] =
            [&UPDATE, &KEY_DOWN, &KEY_UP, &QEMU_DOWN, &QEMU_UP, &MOVE, &PRESS, TEXT, &EXTENDED, &size, &POWER, &UPDATE];
        assert_eq!(passed(&mut gate, &mut person, &all), [UPDATE, UPDATE].concat());
        assert_eq!((person.pointer, person.wakes.load(Ordering::Relaxed)), (None, 0));
        let mut out = Vec::new();
        gate.release(&mut out);
        assert!(out.is_empty());
    }

    #[test]
    fn who_may_control_does_by_pressing_something_and_not_by_moving() {
        let (mut gate, mut person) = (greeted(), Person { may_control: true, ..Person::default() });
        assert!(passed(&mut gate, &mut person, &[&MOVE, TEXT, &KEY_UP]).is_empty());
        assert!(!person.has_control);
        let size = resize();
        let all: [&[u8]; 6] = [&PRESS, &MOVE, &KEY_DOWN, &KEY_UP, TEXT, &size];
        assert_eq!(passed(&mut gate, &mut person, &all), all.concat());
        assert_eq!((person.pointer, person.wakes.load(Ordering::Relaxed)), (Some((9, 8)), 6));
        assert!(passed(&mut gate, &mut person, &[&POWER]).is_empty(), "nobody switches the machine off");
    }

    #[test]
    fn what_is_down_is_let_go_when_control_is_lost() {
        let (mut gate, mut person) = (greeted(), Person { may_control: true, ..Person::default() });
        passed(&mut gate, &mut person, &[&KEY_DOWN, &KEY_DOWN, &QEMU_DOWN, &PRESS]);
        (person.may_control, person.has_control) = (false, false);
        let mut out = Vec::new();
        gate.release(&mut out);
        assert_eq!(out, [&KEY_UP[..], &QEMU_UP, &MOVE].concat());
        assert!(passed(&mut gate, &mut person, &[&KEY_UP, &QEMU_UP, &MOVE]).is_empty(), "once only");
    }

    #[test]
    fn keys_that_are_down_are_remembered_within_bounds() {
        let (mut gate, mut person) = (greeted(), Person { may_control: true, ..Person::default() });
        for key in 0..200_u8 {
            passed(&mut gate, &mut person, &[&[4, 1, 0, 0, 0, 0, 0, key]]);
        }
        assert_eq!(gate.keys.len(), MAX_KEYS);
    }

    #[test]
    fn encodings_that_change_the_protocol_are_withheld() {
        let (mut gate, mut person) = (greeted(), Person::default());
        let list = |numbers: &[i32]| {
            let mut bytes = vec![2, 0];
            bytes.extend(u16::try_from(numbers.len()).unwrap().to_be_bytes());
            bytes.extend(numbers.iter().flat_map(|number| number.to_be_bytes()));
            bytes
        };
        let asked = list(&[7, -316, 16, -309, -258, -259, -305, 0]);
        assert_eq!(
            passed(&mut gate, &mut person, &[&asked, &UPDATE]),
            [list(&[7, 16, -258, 0, -223]), UPDATE.into()].concat()
        );
        let longest: Vec<_> = (0..256).collect();
        let with: Vec<_> = longest[..255].iter().copied().chain([-223]).collect();
        assert_eq!(passed(&mut gate, &mut person, &[&list(&longest)]), list(&with));
    }
}
