import type { KeyInput, Keyboard } from './keyboard.ts';

const BACKSPACE = 0xff08;
const DELETE = 0xffff;
const RETURN = 0xff0d;
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

  constructor(
    readonly keyboard: Keyboard,
    readonly actions: { paste(text: string): void | Promise<void>; escape(): void },
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
      element.setAttribute('inputmode', 'none');
    });
    element.addEventListener('compositionstart', () => (this.#composing = true));
    element.addEventListener('compositionend', (event) => {
      this.#composing = false;
      this.#composed = event.data;
      this.#text(event.data);
      this.#reset();
    });
    element.addEventListener('beforeinput', (event) => this.#before(event));
    element.addEventListener('input', () => {
      if (!this.#composing) this.#reset();
    });
    element.addEventListener('paste', (event) => {
      event.preventDefault();
      void this.actions.paste(event.clipboardData?.getData('text/plain') ?? '');
    });
    for (const event of ['copy', 'cut'] as const) element.addEventListener(event, (e) => e.preventDefault());
    this.#reset();
  }

  /** Brings up the soft keyboard; it comes only in a gesture. */
  openKeyboard(): void {
    this.element.setAttribute('inputmode', 'text');
    this.element.blur();
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
    if (command && !other && !event.altKey && event.key.toLowerCase() === 'v') {
      if (event.repeat) event.preventDefault();
      return;
    }
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
