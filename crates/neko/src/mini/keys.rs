//! X11 keysyms (X.org's keysymdef.h) of DOM keys (W3C, "UI Events KeyboardEvent key Values" and "code Values").

/// What a key press does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Key {
    /// Held until it is let go.
    Modifier(u32),
    /// Pressed and let go at once.
    Tap(u32),
}

/// Keys by their name. Those that lock are missing: characters come as they are meant. `Dead`, `Process` and the like are left
/// to composition.
const NAMED: &[(&str, u32)] = &[
    ("Backspace", 0xff08),
    ("Tab", 0xff09),
    ("Enter", 0xff0d),
    ("Escape", 0xff1b),
    ("Delete", 0xffff),
    ("Pause", 0xff13),
    ("PrintScreen", 0xff61),
    ("Home", 0xff50),
    ("ArrowLeft", 0xff51),
    ("ArrowUp", 0xff52),
    ("ArrowRight", 0xff53),
    ("ArrowDown", 0xff54),
    ("PageUp", 0xff55),
    ("PageDown", 0xff56),
    ("End", 0xff57),
    ("Select", 0xff60),
    ("Execute", 0xff62),
    ("Insert", 0xff63),
    ("Undo", 0xff65),
    ("Redo", 0xff66),
    ("ContextMenu", 0xff67),
    ("Find", 0xff68),
    ("Cancel", 0xff69),
    ("Help", 0xff6a),
    ("Clear", 0xff0b),
    ("BrowserBack", 0x1008_ff26),
    ("BrowserForward", 0x1008_ff27),
    ("BrowserStop", 0x1008_ff28),
    ("BrowserRefresh", 0x1008_ff29),
    ("BrowserHome", 0x1008_ff18),
];

/// Modifiers by their name: left and right.
const MODIFIERS: &[(&str, [u32; 2])] = &[
    ("Shift", [0xffe1, 0xffe2]),
    ("Control", [0xffe3, 0xffe4]),
    ("Alt", [0xffe9, 0xffea]),
    ("Meta", [0xffeb, 0xffec]),
    ("OS", [0xffeb, 0xffec]),
    ("AltGraph", [0xfe03, 0xfe03]),
];

/// Keys of the number pad by their code.
const NUMPAD: &[(&str, u32)] = &[
    ("NumpadEnter", 0xff8d),
    ("NumpadMultiply", 0xffaa),
    ("NumpadAdd", 0xffab),
    ("NumpadSubtract", 0xffad),
    ("NumpadDivide", 0xffaf),
    ("NumpadEqual", 0xffbd),
];

/// The key of a DOM event's `key` and `code`; none when the desktop has no such key.
pub fn key(key: &str, code: &str) -> Option<Key> {
    let find = |table: &[(&str, u32)], name: &str| table.iter().find(|(known, _)| *known == name).map(|(_, sym)| *sym);
    if let Some(keysym) = find(NUMPAD, code) {
        return Some(Key::Tap(keysym));
    }
    if let Some((_, [left, right])) = MODIFIERS.iter().find(|(name, _)| *name == key) {
        return Some(Key::Modifier(if code.ends_with("Right") { *right } else { *left }));
    }
    if let Some(keysym) = find(NAMED, key) {
        return Some(Key::Tap(keysym));
    }
    if let Some(number) = key.strip_prefix('F').and_then(|number| number.parse::<u32>().ok()) {
        return (1..=35).contains(&number).then_some(Key::Tap(0xffbd + number));
    }
    let mut characters = key.chars();
    match (characters.next(), characters.next()) {
        (Some(character), None) => character_keysym(character).map(Key::Tap),
        _ => None,
    }
}

/// Latin-1 is itself, everything else is Unicode plus 0x01000000 (X11 protocol, appendix A).
fn character_keysym(character: char) -> Option<u32> {
    match u32::from(character) {
        0x0a | 0x0d => Some(0xff0d),
        0x09 => Some(0xff09),
        point @ (0x20..=0x7e | 0xa0..=0xff) => Some(point),
        0..=0x1f | 0x7f..=0x9f => None,
        point => Some(0x0100_0000 + point),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_have_their_keysyms() {
        for (name, code, expected) in [
            ("a", "KeyA", Some(Key::Tap(0x61))),
            ("A", "KeyA", Some(Key::Tap(0x41))),
            ("é", "Digit2", Some(Key::Tap(0xe9))),
            ("€", "KeyE", Some(Key::Tap(0x0100_20ac))),
            ("😀", "", Some(Key::Tap(0x0101_f600))),
            (" ", "Space", Some(Key::Tap(0x20))),
            ("Enter", "Enter", Some(Key::Tap(0xff0d))),
            ("Enter", "NumpadEnter", Some(Key::Tap(0xff8d))),
            ("7", "Numpad7", Some(Key::Tap(0x37))),
            ("F", "KeyF", Some(Key::Tap(0x46))),
            ("F5", "F5", Some(Key::Tap(0xffc2))),
            ("Shift", "ShiftLeft", Some(Key::Modifier(0xffe1))),
            ("Control", "ControlRight", Some(Key::Modifier(0xffe4))),
            ("F36", "F36", None),
            ("CapsLock", "CapsLock", None),
            ("Dead", "BracketLeft", None),
            ("Process", "KeyA", None),
            ("ab", "", None),
            ("", "", None),
            ("\u{7}", "", None),
        ] {
            assert_eq!(key(name, code), expected, "{name} {code}");
        }
    }
}
