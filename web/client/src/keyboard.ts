import { charKeysym, keysym } from './keysyms.ts';

export interface KeyInput {
  key: string;
  code: string;
  location: number;
  repeat: boolean;
  ctrlKey: boolean;
  altKey: boolean;
  shiftKey: boolean;
  metaKey: boolean;
  isComposing: boolean;
  /** 229 while an input method has the key. */
  keyCode: number;
  getModifierState?(name: string): boolean;
}

export interface KeyboardOptions {
  mac: boolean;
  windows: boolean;
  /** On a Mac, Command acts as Control. */
  commandIsControl: boolean;
}

const CONTROL_LEFT = 0xffe3;
const ALT_LEFT = 0xffe9;
const ALT_RIGHT = 0xffea;
const META = new Set(['MetaLeft', 'MetaRight', 'OSLeft', 'OSRight']);
const modifierKeysyms = { ctrlKey: [0xffe3, 0xffe4], altKey: [0xffe9, 0xffea], shiftKey: [0xffe1, 0xffe2], metaKey: [0xffeb, 0xffec] } as const;
const MODIFIERS = new Set<number>([...Object.values(modifierKeysyms).flat(), 0xfe03]);

/**
 * Turns key events into presses and releases of keysyms. What is released is what was pressed by the same physical key, whatever the
 * modifiers have become meanwhile, and nothing stays pressed.
 */
export class Keyboard {
  readonly #held = new Map<string, number>();
  /** Windows sends Control before AltGr; it waits here until it is known whether it is one. */
  #pendingControl: ReturnType<typeof setTimeout> | null = null;

  constructor(
    readonly send: (keysym: number, down: boolean) => void,
    public options: KeyboardOptions,
  ) {}

  /** Keysyms that are pressed. */
  get held(): number[] {
    return [...this.#held.values()];
  }

  /** Handles keydown; false when the key is left to the browser or to composition. */
  down(event: KeyInput): boolean {
    // 229 is the input method's; `Dead` and `Process` come back as composed text.
    if (event.isComposing || event.keyCode === 229 || event.key === 'Process' || event.key === 'Dead' || event.key === 'Unidentified') return false;
    const { mac, windows } = this.options;
    if (this.#pendingControl !== null) {
      if (event.key === 'AltGraph') {
        this.#dropPending();
        this.#press('AltRight', 0xfe03);
        return true;
      }
      this.#flushPending();
    }
    if (windows && event.code === 'ControlLeft' && !event.repeat && !this.#held.has('ControlLeft')) {
      this.#pendingControl = setTimeout(() => this.#flushPending(), 30);
      return true;
    }
    let sym = keysym(event);
    if (sym === 0) return false;
    if (mac && this.options.commandIsControl && META.has(event.code)) sym = event.location === 2 ? 0xffe4 : CONTROL_LEFT;
    // Option makes characters on a Mac; with Command or Control it is Alt, and then the plain key is meant.
    if (mac && event.altKey && (event.metaKey || event.ctrlKey) && /^Key[A-Z]$/.test(event.code)) {
      sym = charKeysym(event.shiftKey ? event.code.slice(3) : event.code.slice(3).toLowerCase());
    }
    const code = event.code || `key:${event.key}`;
    if (mac && event.key === 'CapsLock') {
      // A Mac tells only that the light went on or off.
      this.send(sym, true);
      this.send(sym, false);
      return true;
    }
    const character = sym >= 0x01000000 || (sym >= 0x20 && sym <= 0xff);
    this.#reconcile(event, code);
    // The character was made with Option, or on Windows with Ctrl+Alt in place of AltGr; they must not act a second time.
    const option = mac && character && event.altKey && !event.metaKey && !event.ctrlKey;
    const altGraph = windows && character && event.ctrlKey && event.altKey && (event.getModifierState?.('AltGraph') ?? false);
    if (option || altGraph) {
      const restore = this.#lift((value) => value === ALT_LEFT || value === ALT_RIGHT || (altGraph && value === CONTROL_LEFT));
      this.#press(code, sym);
      restore();
      return true;
    }
    // A Mac tells nothing of a key that is let go while Command is down.
    if (mac && event.metaKey && !MODIFIERS.has(sym)) this.tap(sym);
    else this.#press(code, sym);
    return true;
  }

  /** Presses a chord, such as Ctrl+V, whatever is held; what is held stays so. */
  chord(...syms: number[]): void {
    this.#flushPending();
    const restore = this.#lift(() => true);
    for (const sym of syms) this.send(sym, true);
    for (const sym of syms.reverse()) this.send(sym, false);
    restore();
  }

  /** Lets go of the modifiers that `which` picks, for the time until the returned function is called. */
  #lift(which: (sym: number) => boolean): () => void {
    const lifted = [...new Set(this.#held.values())].filter((sym) => MODIFIERS.has(sym) && which(sym));
    for (const sym of lifted) this.send(sym, false);
    return () => {
      for (const sym of lifted) this.send(sym, true);
    };
  }

  /** Handles keyup; false when nothing was pressed by it. */
  up(event: KeyInput): boolean {
    if (event.code === 'ControlLeft' && this.#pendingControl !== null) this.#flushPending();
    const code = event.code || `key:${event.key}`;
    const sym = this.#held.get(code);
    if (sym === undefined) return false;
    this.#held.delete(code);
    if (![...this.#held.values()].includes(sym)) this.send(sym, false);
    // The same for a key that was down before Command.
    if (this.options.mac && META.has(event.code)) this.#releaseOrdinary();
    return true;
  }

  /** Types text that came from an input method, a soft keyboard or a dead key. */
  type(text: string): void {
    for (const character of text.replace(/\r\n?/g, '\n')) {
      const sym = charKeysym(character);
      if (sym) this.tap(sym);
    }
  }

  /** Whether Control is pressed on the desktop. */
  get control(): boolean {
    return this.held.some((sym) => sym === 0xffe3 || sym === 0xffe4);
  }

  /** Presses and releases a keysym. */
  tap(sym: number): void {
    this.send(sym, true);
    this.send(sym, false);
  }

  /** Lets everything go, the last pressed first. */
  releaseAll(): void {
    this.#dropPending();
    const held = [...new Set(this.#held.values())].reverse();
    this.#held.clear();
    for (const sym of held) this.send(sym, false);
  }

  #press(code: string, sym: number): void {
    const before = this.#held.get(code);
    if (before !== undefined && before !== sym) this.send(before, false);
    this.#held.set(code, sym);
    // Repeats are made by the desktop; a press that repeats is known by its code.
    if (before !== sym) this.send(sym, true);
  }

  /** A modifier whose release was swallowed by the system is released before the next key. */
  #reconcile(event: KeyInput, code: string): void {
    for (const [flag, syms] of Object.entries(modifierKeysyms) as [keyof typeof modifierKeysyms, readonly [number, number]][]) {
      if (event[flag]) continue;
      for (const [held, sym] of [...this.#held]) {
        if (held === code || !(syms as readonly number[]).includes(sym)) continue;
        // Command stands for Control here, so its own flag decides.
        if (META.has(held) && event.metaKey) continue;
        this.#held.delete(held);
        this.send(sym, false);
      }
    }
  }

  #releaseOrdinary(): void {
    for (const [code, sym] of [...this.#held]) {
      if (MODIFIERS.has(sym)) continue;
      this.#held.delete(code);
      this.send(sym, false);
    }
  }

  #flushPending(): void {
    if (this.#pendingControl === null) return;
    this.#dropPending();
    this.#press('ControlLeft', CONTROL_LEFT);
  }

  #dropPending(): void {
    if (this.#pendingControl !== null) clearTimeout(this.#pendingControl);
    this.#pendingControl = null;
  }
}
