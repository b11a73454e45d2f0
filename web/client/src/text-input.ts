import type { KeyInput, Keyboard } from './keyboard.ts';

const BACKSPACE = 0xff08;
const DELETE = 0xffff;
const RETURN = 0xff0d;
const INSERT = 0xff63;
const SHIFT = 0xffe1;
const CONTROL = 0xffe3;
/** Longer text goes through the clipboard: typing it would take seconds. */
const TYPE_LIMIT = 64;
/** Soft keyboards delete only what they believe is there. */
const FILLER = '\u200b'.repeat(8);

/**
 * A text field that nobody sees, which has the focus while the desktop is used: keys go to the desktop as keys, and what input methods,
 * dead keys, emoji pickers and soft keyboards make of them goes as text.
 */
export class TextInput {
  readonly element = document.createElement('textarea');
  #composing = false;
  #composed: string | null = null;
  /** What of the present composition has been typed already, where it is typed as it grows. */
  #typed = '';
  #soft = false;
  #pasteKeys: number[] | undefined;

  constructor(
    readonly keyboard: Keyboard,
    readonly actions: { paste(text: string, keys?: number[]): void | Promise<void>; escape(): void },
  ) {
    const { element } = this;
    element.className = 'gh-text';
    element.setAttribute('aria-label', 'Remote desktop. Keys go to the desktop; Ctrl+Alt+Shift+Escape gives the keyboard back to this page.');
    element.autocomplete = 'off';
    element.spellcheck = false;
    for (const [name, value] of [['autocorrect', 'off'], ['autocapitalize', 'off'], ['inputmode', 'none'], ['data-gramm', 'false']] as const) element.setAttribute(name, value);
    element.value = FILLER;
    element.addEventListener('keydown', (event) => this.#down(event));
    element.addEventListener('keyup', (event) => {
      if (this.keyboard.up(event)) event.preventDefault();
    });
    element.addEventListener('blur', () => {
      this.keyboard.releaseAll();
      this.#soft = false;
      element.setAttribute('inputmode', 'none');
    });
    element.addEventListener('compositionstart', () => {
      this.#composing = true;
      this.#typed = '';
    });
    element.addEventListener('compositionupdate', (event) => {
      // Soft keyboards compose whole words, also where nothing needs composing; people want to see each letter.
      if (this.#soft) this.#grow(event.data);
    });
    element.addEventListener('compositionend', (event) => {
      this.#composing = false;
      this.#composed = event.data;
      if (this.#soft) this.#grow(event.data);
      else this.#text(event.data);
      this.#typed = '';
      this.#reset();
    });
    element.addEventListener('beforeinput', (event) => this.#before(event));
    element.addEventListener('input', () => {
      if (!this.#composing) this.#reset();
    });
    element.addEventListener('paste', (event) => {
      event.preventDefault();
      void this.actions.paste(event.clipboardData?.getData('text/plain') ?? '', this.#pasteKeys);
    });
    for (const event of ['copy', 'cut'] as const) element.addEventListener(event, (e) => e.preventDefault());
    this.#reset();
  }

  /** Brings up the soft keyboard; it comes only in a gesture. */
  openKeyboard(): void {
    this.element.blur();
    this.#soft = true;
    this.element.setAttribute('inputmode', 'text');
    this.element.focus({ preventScroll: true });
  }

  #down(event: KeyboardEvent): void {
    if (event.key === 'Escape' && event.ctrlKey && event.altKey && event.shiftKey) {
      event.preventDefault();
      this.actions.escape();
      return;
    }
    this.#composed = null;
    const command = this.keyboard.options.mac ? event.metaKey : event.ctrlKey;
    const other = this.keyboard.options.mac ? event.ctrlKey : event.metaKey;
    // The browser's own paste is the one way to read the clipboard without asking; it comes back as a paste event.
    const v = command && !other && !event.altKey && event.key.toLowerCase() === 'v';
    if (v || (event.key === 'Insert' && event.shiftKey && !event.ctrlKey && !event.altKey && !event.metaKey)) {
      this.#pasteKeys = !v ? [SHIFT, INSERT] : event.shiftKey ? [CONTROL, SHIFT, 0x56] : [CONTROL, 0x76];
      if (event.repeat) event.preventDefault();
      return;
    }
    this.#pasteKeys = undefined;
    if (this.keyboard.down(event as KeyInput)) event.preventDefault();
  }

  #before(event: InputEvent): void {
    if (this.#composing || event.inputType === 'insertCompositionText') return;
    event.preventDefault();
    switch (event.inputType) {
      case 'insertText':
      case 'insertReplacementText':
      case 'insertFromDictation':
      case 'insertFromComposition':
        // Some browsers tell the end of a composition twice.
        if (event.data && event.data !== this.#composed) this.#text(event.data);
        this.#composed = null;
        break;
      case 'insertLineBreak':
      case 'insertParagraph':
        this.keyboard.tap(RETURN);
        break;
      case 'deleteContentBackward':
      case 'deleteWordBackward':
      case 'deleteSoftLineBackward':
        this.keyboard.tap(BACKSPACE);
        break;
      case 'deleteContentForward':
        this.keyboard.tap(DELETE);
        break;
      default:
    }
  }

  #grow(text: string): void {
    const { remove, add } = edit(this.#typed, text);
    for (let i = 0; i < remove; i++) this.keyboard.tap(BACKSPACE);
    this.keyboard.type(add);
    this.#typed = text;
  }

  #text(text: string): void {
    if (!text) return;
    if ([...text].length > TYPE_LIMIT) void this.actions.paste(text);
    else this.keyboard.type(text);
  }

  #reset(): void {
    this.element.value = FILLER;
    this.element.setSelectionRange(FILLER.length, FILLER.length);
  }
}

/** What turns `before` into `after` when only the end can be changed: characters to remove, text to add. */
export function edit(before: string, after: string): { remove: number; add: string } {
  const old = [...before];
  const next = [...after];
  let same = 0;
  while (same < old.length && same < next.length && old[same] === next[same]) same++;
  return { remove: old.length - same, add: next.slice(same).join('') };
}
