import type { Connection } from './connection.ts';
import { Emitter } from './emitter.ts';
import { isHost, self } from './room.ts';

export interface ClipboardEvents {
  /** The session's clipboard text. `written` says whether the own clipboard has it already. */
  text: { text: string; written: boolean };
  image: undefined;
}

/** Keeps the session's clipboard and the local one alike, as far as the browser allows. */
export class Clipboard extends Emitter<ClipboardEvents> {
  /** The session's text as last seen. */
  text = '';
  hasImage = false;
  #pending = false;
  #sent: string | null = null;
  #off: (() => void)[];

  constructor(readonly connection: Connection) {
    super();
    this.#off = [
      connection.on('message', (message) => {
        if (message.event === 'clipboard/updated') void this.#received(message.payload.text);
        if (message.event === 'glasshouse/clipboard') {
          this.hasImage = message.payload.image;
          if (!message.payload.text) this.text = '';
          if (message.payload.image) this.emit('image', undefined);
        }
      }),
    ];
    // Browsers let a page write only while it has the focus, or in a gesture.
    const retry = (): void => {
      if (this.#pending) void this.writeLocal();
    };
    addEventListener('focus', retry);
    addEventListener('pointerdown', retry, true);
    addEventListener('keydown', retry, true);
    this.#off.push(() => {
      removeEventListener('focus', retry);
      removeEventListener('pointerdown', retry, true);
      removeEventListener('keydown', retry, true);
    });
  }

  get allowed(): boolean {
    const room = this.connection.room;
    return isHost(room) && (self(room)?.profile.can_access_clipboard ?? false);
  }

  /** Puts text onto the session's clipboard and resolves once it is there, so that a paste after it pastes this; false without the right. */
  async send(text: string): Promise<boolean> {
    if (!this.allowed) return false;
    if (text === this.text) return true;
    this.#sent = text;
    await this.connection.api.setClipboard({ text });
    this.text = text;
    return true;
  }

  /** Writes the session's text to the local clipboard; false when the browser does not allow it (yet). */
  async writeLocal(): Promise<boolean> {
    try {
      if (!document.hasFocus()) throw new Error('no focus');
      // Pages without TLS have no Clipboard API; in a gesture the old command still works.
      if (navigator.clipboard) await navigator.clipboard.writeText(this.text);
      else if (!copyByCommand(this.text)) throw new Error('not allowed');
      this.#pending = false;
      return true;
    } catch {
      this.#pending = true;
      return false;
    }
  }

  /** Copies the session's picture to the local clipboard, or offers it as a download. */
  async takeImage(): Promise<'copied' | 'downloaded'> {
    const blob = await this.connection.api.clipboardImage();
    try {
      await navigator.clipboard.write([new ClipboardItem({ 'image/png': blob })]);
      return 'copied';
    } catch {
      const link = document.createElement('a');
      link.href = URL.createObjectURL(blob);
      link.download = 'clipboard.png';
      link.click();
      setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
      return 'downloaded';
    }
  }

  close(): void {
    for (const off of this.#off) off();
  }

  async #received(text: string): Promise<void> {
    // What came from here need not go back.
    if (text === this.#sent) {
      this.#sent = null;
      return;
    }
    this.text = text;
    this.emit('text', { text, written: await this.writeLocal() });
  }
}

function copyByCommand(text: string): boolean {
  const fill = (event: ClipboardEvent): void => {
    event.clipboardData?.setData('text/plain', text);
    event.preventDefault();
    event.stopPropagation();
  };
  document.addEventListener('copy', fill, true);
  try {
    return document.execCommand('copy');
  } finally {
    document.removeEventListener('copy', fill, true);
  }
}
