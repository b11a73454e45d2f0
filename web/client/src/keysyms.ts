/** X11 keysyms (X.org's keysymdef.h) of DOM keys. */

/** `KeyboardEvent.key` names; two numbers are left and right. Compose is missing: the browser composes, and its text is typed. */
const named: Record<string, number | readonly [number, number]> = {
  Backspace: 0xff08, Tab: 0xff09, Enter: 0xff0d, Escape: 0xff1b, Delete: 0xffff, Pause: 0xff13, ScrollLock: 0xff14, PrintScreen: 0xff61,
  Home: 0xff50, ArrowLeft: 0xff51, ArrowUp: 0xff52, ArrowRight: 0xff53, ArrowDown: 0xff54, PageUp: 0xff55, PageDown: 0xff56, End: 0xff57,
  Insert: 0xff63, ContextMenu: 0xff67, NumLock: 0xff7f, CapsLock: 0xffe5, Clear: 0xff0b, Select: 0xff60, Execute: 0xff62, Undo: 0xff65,
  Redo: 0xff66, Find: 0xff68, Cancel: 0xff69, Help: 0xff6a,
  Shift: [0xffe1, 0xffe2], Control: [0xffe3, 0xffe4], Alt: [0xffe9, 0xffea], Meta: [0xffeb, 0xffec], OS: [0xffeb, 0xffec],
  Super: [0xffeb, 0xffec], Hyper: [0xffed, 0xffee], AltGraph: 0xfe03, Fn: 0, FnLock: 0,
  KanjiMode: 0xff21, NonConvert: 0xff22, Convert: 0xff23, Romaji: 0xff24, Hiragana: 0xff25, Katakana: 0xff26, HiraganaKatakana: 0xff27,
  Zenkaku: 0xff28, Hankaku: 0xff29, ZenkakuHankaku: 0xff2a, KanaMode: 0xff2d, Eisu: 0xff2f, Alphanumeric: 0xff30, HangulMode: 0xff31,
  HanjaMode: 0xff34, ModeChange: 0xff7e,
  BrowserBack: 0x1008ff26, BrowserForward: 0x1008ff27, BrowserRefresh: 0x1008ff29, BrowserStop: 0x1008ff28, BrowserSearch: 0x1008ff1b,
  BrowserHome: 0x1008ff18, BrowserFavorites: 0x1008ff30, AudioVolumeMute: 0x1008ff12, AudioVolumeDown: 0x1008ff11, AudioVolumeUp: 0x1008ff13,
  MediaPlayPause: 0x1008ff14, MediaStop: 0x1008ff15, MediaTrackPrevious: 0x1008ff16, MediaTrackNext: 0x1008ff17, LaunchMail: 0x1008ff19,
};

const numpad: Record<string, number> = {
  NumpadEnter: 0xff8d, NumpadMultiply: 0xffaa, NumpadAdd: 0xffab, NumpadSubtract: 0xffad, NumpadDivide: 0xffaf, NumpadEqual: 0xffbd,
};

const numpadKeys: Record<string, number> = {
  Home: 0xff95, ArrowLeft: 0xff96, ArrowUp: 0xff97, ArrowRight: 0xff98, ArrowDown: 0xff99, PageUp: 0xff9a, PageDown: 0xff9b, End: 0xff9c,
  Clear: 0xff9d, Insert: 0xff9e, Delete: 0xff9f, '.': 0xffae, ',': 0xffac,
};

/** What of a keyboard event the table looks at. */
export interface KeyPress {
  key: string;
  code: string;
  location: number;
}

/** The keysym that types a character: Latin-1 is itself, everything else is Unicode plus 0x01000000. */
export function charKeysym(character: string): number {
  const point = character.codePointAt(0) ?? 0;
  if (point === 0x0a || point === 0x0d) return 0xff0d;
  if (point === 0x09) return 0xff09;
  if ((point >= 0x20 && point <= 0x7e) || (point >= 0xa0 && point <= 0xff)) return point;
  return point < 0x20 || (point >= 0x7f && point < 0xa0) ? 0 : 0x01000000 + point;
}

/** The keysym of a key press; 0 when the desktop has no such key, or when it is left to composition (`Dead`, `Process`, …). */
export function keysym(event: KeyPress): number {
  const { key, code, location } = event;
  if (location === 3) {
    const fixed = numpad[code];
    if (fixed !== undefined) return fixed;
    if (/^[0-9]$/.test(key)) return 0xffb0 + Number(key);
    const moved = numpadKeys[key];
    if (moved !== undefined) return moved;
  }
  const entry = Object.hasOwn(named, key) ? named[key] : undefined;
  if (entry !== undefined) return typeof entry === 'number' ? entry : entry[location === 2 ? 1 : 0];
  const f = /^F([0-9]{1,2})$/.exec(key);
  if (f) {
    const n = Number(f[1]);
    return n >= 1 && n <= 35 ? 0xffbd + n : 0;
  }
  // One character, however many UTF-16 units; a longer string is text of an input method.
  if ([...key].length === 1) return charKeysym(key);
  return 0;
}
