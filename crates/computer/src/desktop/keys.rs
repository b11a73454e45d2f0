//! Names of keys, as xdotool and browsers have them, and the keysyms of characters.

use std::{collections::HashMap, sync::OnceLock};

use xkeysym::Keysym;

/// Names that are no X keysyms, or not with this case; compared without case.
const NAMES: [(&str, u32); 47] = [
    ("enter", 0xff0d),
    ("return", 0xff0d),
    ("esc", 0xff1b),
    ("escape", 0xff1b),
    ("tab", 0xff09),
    ("backspace", 0xff08),
    ("del", 0xffff),
    ("delete", 0xffff),
    ("ins", 0xff63),
    ("insert", 0xff63),
    ("home", 0xff50),
    ("end", 0xff57),
    ("left", 0xff51),
    ("up", 0xff52),
    ("right", 0xff53),
    ("down", 0xff54),
    ("arrowleft", 0xff51),
    ("arrowup", 0xff52),
    ("arrowright", 0xff53),
    ("arrowdown", 0xff54),
    ("pageup", 0xff55),
    ("page_up", 0xff55),
    ("pgup", 0xff55),
    ("pagedown", 0xff56),
    ("page_down", 0xff56),
    ("pgdn", 0xff56),
    ("space", 0x20),
    ("spacebar", 0x20),
    ("plus", 0x2b),
    ("ctrl", 0xffe3),
    ("control", 0xffe3),
    ("alt", 0xffe9),
    ("option", 0xffe9),
    ("shift", 0xffe1),
    ("super", 0xffeb),
    ("meta", 0xffeb),
    ("cmd", 0xffeb),
    ("command", 0xffeb),
    ("win", 0xffeb),
    ("windows", 0xffeb),
    ("altgr", 0xfe03),
    ("altgraph", 0xfe03),
    ("capslock", 0xffe5),
    ("numlock", 0xff7f),
    ("scrolllock", 0xff14),
    ("printscreen", 0xff61),
    ("contextmenu", 0xff67),
];

/// Keysym of a character.
pub(crate) fn of_character(character: char) -> Option<u32> {
    match character {
        '\n' | '\r' => Some(0xff0d),
        '\t' => Some(0xff09),
        '\u{8}' => Some(0xff08),
        '\u{1b}' => Some(0xff1b),
        '\u{7f}' => Some(0xffff),
        ' '..='~' | '\u{a0}'..='\u{ff}' => Some(character.into()),
        '\0'..'\u{a0}' => None,
        _ => Some(0x0100_0000 + u32::from(character)),
    }
}

/// Keysym of one key: a character by itself, or a name.
pub(crate) fn of_name(name: &str) -> Option<u32> {
    let mut characters = name.chars();
    if let (Some(character), None) = (characters.next(), characters.next()) {
        return of_character(character);
    }
    if let Some(keysym) = x_names().get(name) {
        return Some(*keysym);
    }
    let lower = name.to_ascii_lowercase();
    if let Some((_, keysym)) = NAMES.iter().find(|(known, _)| *known == lower) {
        return Some(*keysym);
    }
    if let Some(number) = lower.strip_prefix('f').and_then(|number| number.parse::<u32>().ok()) {
        return (1..=35).contains(&number).then(|| 0xffbd + number);
    }
    // "U20ac", as X names characters without a name.
    let hex = name.strip_prefix(['U', 'u'])?;
    let hex = hex.strip_prefix('+').unwrap_or(hex);
    if !(4..=6).contains(&hex.len()) {
        return None;
    }
    char::from_u32(u32::from_str_radix(hex, 16).ok()?).and_then(of_character)
}

/// The keys of a combination, in the order they go down: `ctrl+shift+t`, `plus`, `ctrl++`.
pub(crate) fn of_combination(text: &str) -> Result<Vec<u32>, String> {
    let mut names: Vec<&str> = text.split('+').collect();
    // A plus itself leaves two empty names: "ctrl++", "+".
    if text == "+" {
        names = vec!["+"];
    } else if text.ends_with("++") {
        names.truncate(names.len() - 2);
        names.push("+");
    }
    let key = |name: &str| {
        let short: String = name.chars().take(32).collect();
        of_name(name)
            .ok_or_else(|| format!("there is no key {short:?}: use a character, or a name such as Return or ctrl"))
    };
    names.into_iter().map(key).collect()
}

/// Keysyms of Shift.
const SHIFT: [u32; 2] = [0xffe1, 0xffe2];

/// Whether a key is Shift.
pub(crate) fn is_shift(keysym: u32) -> bool {
    SHIFT.contains(&keysym)
}

/// What a key makes with Shift, on a US keyboard: the desktop makes exactly what it is told, whatever is held.
pub(crate) fn shifted(keysym: u32) -> u32 {
    const PLAIN: &str = "`1234567890-=[]\\;',./";
    const SHIFTED: &str = "~!@#$%^&*()_+{}|:\"<>?";
    let character = match keysym {
        0x20..=0xff => char::from_u32(keysym),
        0x0100_0100..=0x0110_ffff => char::from_u32(keysym - 0x0100_0000),
        _ => None,
    };
    let Some(character) = character else { return keysym };
    if let Some((_, shifted)) = PLAIN.chars().zip(SHIFTED.chars()).find(|(plain, _)| *plain == character) {
        return shifted.into();
    }
    let mut upper = character.to_uppercase();
    match (upper.next(), upper.next()) {
        (Some(upper), None) => of_character(upper).unwrap_or(keysym),
        _ => keysym,
    }
}

/// All names of X keysyms but those of vendors.
fn x_names() -> &'static HashMap<&'static str, u32> {
    static NAMES: OnceLock<HashMap<&'static str, u32>> = OnceLock::new();
    NAMES.get_or_init(|| {
        let named = |raw: u32| {
            let name = Keysym::new(raw).name()?;
            Some((name.strip_prefix("XK_").unwrap_or(name), raw))
        };
        (1..=0xffff).rev().filter_map(named).collect()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        for (name, keysym) in [
            ("a", 0x61),
            ("A", 0x41),
            ("ä", 0xe4),
            ("€", 0x0100_20ac),
            ("Return", 0xff0d),
            ("KP_Enter", 0xff8d),
            ("Page_Up", 0xff55),
            ("Prior", 0xff55),
            ("ArrowLeft", 0xff51),
            ("ENTER", 0xff0d),
            ("F12", 0xffc9),
            ("f1", 0xffbe),
            ("Control_L", 0xffe3),
            ("ctrl", 0xffe3),
            ("ISO_Left_Tab", 0xfe20),
            ("adiaeresis", 0xe4),
            ("underscore", 0x5f),
            ("U20ac", 0x0100_20ac),
            ("U+1F600", 0x0101_f600),
            ("space", 0x20),
            ("minus", 0x2d),
        ] {
            assert_eq!(of_name(name), Some(keysym), "{name}");
        }
        for wrong in ["", "nonsense", "F99", "f0", "\0", "U110000", "U12", "XK_"] {
            assert_eq!(of_name(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn shift() {
        for (plain, with) in [
            ("a", "A"),
            ("ä", "Ä"),
            ("1", "!"),
            ("\\", "|"),
            ("/", "?"),
            ("A", "A"),
            ("Return", "Return"),
            ("ß", "ß"),
            ("я", "Я"),
        ] {
            assert_eq!(shifted(of_name(plain).unwrap()), of_name(with).unwrap(), "{plain}");
        }
    }

    #[test]
    fn combinations() {
        assert_eq!(of_combination("ctrl+shift+t"), Ok(vec![0xffe3, 0xffe1, 0x74]));
        assert_eq!(of_combination("+"), Ok(vec![0x2b]));
        assert_eq!(of_combination("ctrl++"), Ok(vec![0xffe3, 0x2b]));
        assert_eq!(of_combination("l"), Ok(vec![0x6c]));
        assert!(of_combination("ctrl+").is_err());
        assert!(of_combination("").is_err());
        assert!(of_combination("super+nonsense").unwrap_err().contains("nonsense"));
    }
}
