//! The keyboard's layout: which key and which modifiers make a keysym. No connection is used here but for loading.
//!
//! Terms and rules: "The X Keyboard Extension: Protocol Specification", key types and groups.

use x11rb::protocol::xkb::{ConnectionExt as _, MapPart};

use super::{X, XError, control::CORE_KEYBOARD};

/// Modifier bits.
pub(crate) const SHIFT: u8 = 1;
pub(crate) const LOCK: u8 = 2;
pub(crate) const CONTROL: u8 = 4;
const ALT: u8 = 8;
const SUPER: u8 = 64;

/// With one of these held, a key is a shortcut.
const SHORTCUT: u8 = CONTROL | ALT | SUPER;

/// Modifiers in effect before a key is pressed.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Modifiers {
    pub(crate) effective: u8,
    pub(crate) locked: u8,
    pub(crate) group: u8,
}

/// How to make a keysym.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Press {
    pub(crate) keycode: u8,
    /// Modifiers that must be on and are not.
    pub(crate) add: u8,
    /// Modifiers that must be off and are on.
    pub(crate) remove: u8,
}

/// A key type: which modifiers choose which level.
#[derive(Debug, Clone)]
struct Type {
    mask: u8,
    levels: Vec<(u8, u8)>,
}

impl Type {
    fn level(&self, modifiers: u8) -> u8 {
        let modifiers = modifiers & self.mask;
        self.levels.iter().find(|(mods, _)| *mods == modifiers).map_or(0, |(_, level)| *level)
    }
}

#[derive(Debug, Clone)]
struct Key {
    types: [u8; 4],
    groups: u8,
    width: u8,
    syms: Vec<u32>,
}

impl Key {
    /// Type and keysyms by level in a group; groups beyond the key's wrap around.
    fn group(&self, group: u8) -> Option<(u8, &[u32])> {
        let group = group.checked_rem(self.groups)?;
        let width = usize::from(self.width);
        let from = usize::from(group) * width;
        Some((*self.types.get(usize::from(group))?, self.syms.get(from..from + width)?))
    }
}

/// The layout, as the server has it.
#[derive(Debug, Clone)]
pub(crate) struct Keymap {
    first: u8,
    types: Vec<Type>,
    keys: Vec<Key>,
    modifier_of: Vec<(u8, u8)>,
}

impl Keymap {
    pub(crate) fn load(x: &X) -> Result<Self, XError> {
        let none = MapPart::from(0_u8);
        let full = MapPart::KEY_TYPES | MapPart::KEY_SYMS | MapPart::MODIFIER_MAP;
        let reply = x
            .conn
            .xkb_get_map(CORE_KEYBOARD, full, none, 0, 0, 0, 0, 0, 0, 0, 0, 0_u16.into(), 0, 0, 0, 0, 0, 0)?
            .reply()?;
        let types = reply.map.types_rtrn.unwrap_or_default();
        let types = types
            .iter()
            .map(|kind| Type {
                mask: u16::from(kind.mods_mask) as u8,
                levels: kind
                    .map
                    .iter()
                    .filter(|entry| entry.active)
                    .map(|entry| (u16::from(entry.mods_mask) as u8, entry.level))
                    .collect(),
            })
            .collect();
        let keys = reply.map.syms_rtrn.unwrap_or_default();
        let keys = keys
            .into_iter()
            .map(|key| Key { types: key.kt_index, groups: key.group_info & 0x0f, width: key.width, syms: key.syms })
            .collect();
        let modifier_of = reply.map.modmap_rtrn.unwrap_or_default();
        let modifier_of = modifier_of.iter().map(|entry| (entry.keycode, u16::from(entry.mods) as u8)).collect();
        Ok(Self { first: reply.first_key_sym, types, keys, modifier_of })
    }

    /// Keycodes without any keysym.
    pub(crate) fn unused(&self) -> Vec<u8> {
        self.keycodes().filter(|(_, key)| key.syms.iter().all(|sym| *sym == 0)).map(|(code, _)| code).collect()
    }

    fn keycodes(&self) -> impl Iterator<Item = (u8, &Key)> {
        (self.first..=u8::MAX).zip(&self.keys)
    }

    /// Modifier bits that a key holds while it is down.
    pub(crate) fn modifiers_of(&self, keycode: u8) -> u8 {
        self.modifier_of.iter().filter(|(code, _)| *code == keycode).fold(0, |mask, (_, bits)| mask | bits)
    }

    /// Whether a key makes this keysym at any level.
    pub(crate) fn has(&self, keycode: u8, keysym: u32) -> bool {
        keycode
            .checked_sub(self.first)
            .and_then(|index| self.keys.get(usize::from(index)))
            .is_some_and(|key| key.syms.contains(&keysym))
    }

    /// The key for a keysym that needs the fewest changes of modifiers; `None` when the layout lacks it.
    pub(crate) fn find(&self, keysym: u32, now: Modifiers) -> Option<Press> {
        let mut best: Option<(u32, Press)> = None;
        for (keycode, key) in self.keycodes() {
            let Some((kind, syms)) = key.group(now.group) else { continue };
            let Some(kind) = self.types.get(usize::from(kind)) else { continue };
            for (level, _) in (0_u8..).zip(syms).filter(|(_, sym)| **sym == keysym) {
                let Some((cost, press)) = cheapest(keysym, keycode, kind, level, now) else { continue };
                if best.is_none_or(|(least, _)| cost < least) {
                    best = Some((cost, press));
                }
            }
        }
        best.map(|(_, press)| press)
    }
}

/// Cheapest way to the level of a key, with its cost.
fn cheapest(keysym: u32, keycode: u8, kind: &Type, level: u8, now: Modifiers) -> Option<(u32, Press)> {
    if !makes_text(keysym) {
        // Shift with Tab or F1 is meant as such.
        let cost = if kind.level(now.effective) == level { 0 } else { 1 + u32::from(level) };
        return Some((cost, Press { keycode, add: 0, remove: 0 }));
    }
    let mut best: Option<(u32, Press)> = None;
    let mut subset = kind.mask;
    loop {
        if kind.level(subset) == level {
            let add = subset & !now.effective;
            let remove = kind.mask & now.effective & !subset;
            // To change a lock is what users see least of, to release a key that is held what programs see most of.
            let cost = add.count_ones() * 2 + remove.count_ones() * 3 + u32::from(add & LOCK != 0) * 20;
            if best.is_none_or(|(least, _)| cost < least) {
                best = Some((cost, Press { keycode, add, remove }));
            }
        }
        if subset == 0 {
            break;
        }
        subset = (subset - 1) & kind.mask;
    }
    let (cost, mut press) = best?;
    if now.effective & SHORTCUT != 0 {
        // Control+Shift+T comes as t or T, and Control+C as C when the viewer's Caps Lock is on.
        if is_letter(keysym) {
            press.add &= !(SHIFT | LOCK);
        }
        press.remove = 0;
    }
    Some((cost, press))
}

/// Whether the keysym stands for a character, so that modifiers may be changed to get exactly it.
fn makes_text(keysym: u32) -> bool {
    match keysym {
        // Keypad: navigation and digits share keys, Num Lock chooses.
        0xff95..=0xff9f | 0xffaa..=0xffbd => true,
        // Dead keys.
        0xfe50..=0xfe93 => true,
        0xfd00..=0xffff => false,
        // Vendors' keys, such as volume.
        0x1000_0000.. => false,
        _ => true,
    }
}

/// The character of a keysym in Latin 1 or Unicode.
fn character(keysym: u32) -> Option<char> {
    match keysym {
        0x20..=0x7e | 0xa0..=0xff => char::from_u32(keysym),
        0x0100_0100..=0x0110_ffff => char::from_u32(keysym - 0x0100_0000),
        _ => None,
    }
}

pub(crate) fn is_letter(keysym: u32) -> bool {
    character(keysym).is_some_and(|c| c.is_lowercase() || c.is_uppercase())
}

/// The keysym that is meant when a client says it otherwise: Latin 1 characters have keysyms of their own.
pub(crate) fn canonical(keysym: u32) -> u32 {
    match keysym {
        0x0100_0020..=0x0100_007e | 0x0100_00a0..=0x0100_00ff => keysym - 0x0100_0000,
        _ => keysym,
    }
}

/// Whether X knows such a keysym at all: 29 bits, not zero, and Unicode up to its end.
pub(crate) fn is_valid(keysym: u32) -> bool {
    match keysym {
        0 | 0x00ff_ffff => false,
        0x0100_0000..=0x01ff_ffff => char::from_u32(keysym - 0x0100_0000).is_some(),
        _ => keysym < 0x2000_0000,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOD5: u8 = 128;

    /// Keys: 10 a A, 11 2 @ ² (third level), 12 Tab, 13 NoSymbol.
    fn keymap() -> Keymap {
        let two = Type { mask: SHIFT, levels: vec![(SHIFT, 1)] };
        let alphabetic = Type { mask: SHIFT | LOCK, levels: vec![(SHIFT, 1), (LOCK, 1)] };
        let three = Type { mask: SHIFT | MOD5, levels: vec![(SHIFT, 1), (MOD5, 2), (SHIFT | MOD5, 2)] };
        let key =
            |kind, syms: &[u32]| Key { types: [kind, 0, 0, 0], groups: 1, width: syms.len() as u8, syms: syms.into() };
        let none = Key { types: [0; 4], groups: 0, width: 0, syms: vec![] };
        Keymap {
            first: 10,
            types: vec![two, alphabetic, three],
            keys: vec![key(1, &[0x61, 0x41]), key(2, &[0x32, 0x40, 0xb2]), key(0, &[0xff09, 0xfe20]), none],
            modifier_of: vec![(50, SHIFT)],
        }
    }

    fn find(keysym: u32, effective: u8) -> Option<(u8, u8, u8)> {
        let now = Modifiers { effective, ..Modifiers::default() };
        keymap().find(keysym, now).map(|press| (press.keycode, press.add, press.remove))
    }

    #[test]
    fn levels_are_reached_with_the_fewest_changes() {
        assert_eq!(find(0x61, 0), Some((10, 0, 0)));
        assert_eq!(find(0x41, 0), Some((10, SHIFT, 0)));
        assert_eq!(find(0x41, SHIFT), Some((10, 0, 0)));
        assert_eq!(find(0x61, SHIFT), Some((10, 0, SHIFT)));
        assert_eq!(find(0xb2, 0), Some((11, MOD5, 0)));
        assert_eq!(find(0x40, MOD5), Some((11, SHIFT, MOD5)));
        assert_eq!(find(0x263a, 0), None);
    }

    #[test]
    fn caps_lock_is_taken_into_account() {
        assert_eq!(find(0x41, LOCK), Some((10, 0, 0)));
        assert_eq!(find(0x61, LOCK), Some((10, SHIFT, 0)));
    }

    #[test]
    fn shortcuts_and_function_keys_keep_their_modifiers() {
        assert_eq!(find(0x61, CONTROL | SHIFT), Some((10, 0, 0)));
        assert_eq!(find(0x41, CONTROL), Some((10, 0, 0)));
        assert_eq!(find(0x40, CONTROL), Some((11, SHIFT, 0)));
        assert_eq!(find(0xff09, SHIFT), Some((12, 0, 0)));
        assert_eq!(find(0xfe20, 0), Some((12, 0, 0)));
    }

    #[test]
    fn keys_without_keysyms_are_spare() {
        assert_eq!(keymap().unused(), [13]);
        assert_eq!(canonical(0x0100_00e4), 0xe4);
        assert!(is_valid(0x0101_f600) && !is_valid(0) && !is_valid(0x0111_0000) && !is_valid(u32::MAX));
    }
}
