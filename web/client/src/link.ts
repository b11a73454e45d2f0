/** Why a link does not come back by itself. */
export type Stop = 'signed-out' | 'kicked' | 'asleep' | 'ended' | 'closed';

export type LinkState =
  | { state: 'idle' }
  | { state: 'opening'; attempt: number }
  | { state: 'open' }
  | { state: 'waiting'; attempt: number; retryAt: number }
  | { state: 'stopped'; why: Stop; message: string };

/** What the link needs of its surroundings; replaced in tests. */
export interface LinkShell {
  /** Opens a socket and reports to `opened`, `message` and `closed`. */
  open(): void;
  /** Closes the socket; a `clean` close says goodbye, any other leaves the server its time of grace. */
  close(clean: boolean): void;
  changed(state: LinkState): void;
  now(): number;
  setTimeout(callback: () => void, ms: number): number;
  clearTimeout(id: number): void;
}

const FIRST_DELAY = 250;
const LONGEST_DELAY = 5000;
const OPEN_TIMEOUT = 6000;
/** The server speaks every 10 s at least. */
const SILENCE_TIMEOUT = 13000;

/** The delay before attempt `n` (from 0): 0.25 s doubling up to 5 s. */
export const backoff = (attempt: number): number => Math.min(LONGEST_DELAY, FIRST_DELAY * 2 ** attempt);

const reasons: Record<string, Stop> = {
  'no authentication provided': 'signed-out',
  'session not found': 'signed-out',
  'session login disabled': 'kicked',
  'connection disabled': 'kicked',
  'session deleted': 'kicked',
  'link expired': 'kicked',
  'session disconnected': 'kicked',
  'profile changed': 'kicked',
  'connection replaced': 'asleep',
  'already connected': 'asleep',
  'connection shutdown': 'ended',
};

/** Keeps one WebSocket up: opens it, waits longer after every failure, and gives up only when the server says so. */
export class Link {
  state: LinkState = { state: 'idle' };
  #attempt = 0;
  #timer: number | null = null;

  constructor(readonly shell: LinkShell) {}

  /** Opens now, whatever the state. */
  start(): void {
    this.#attempt = 0;
    this.#open();
  }

  /** Closes for good. */
  stop(why: Stop = 'closed', message = ''): void {
    this.#cancel();
    this.#set({ state: 'stopped', why, message });
    this.shell.close(true);
  }

  /** The network or the page came back: no reason to wait any longer. */
  hurry(): void {
    if (this.state.state === 'waiting') this.#open();
  }

  /** The socket is thought dead though it has not said so. */
  fail(): void {
    if (this.state.state !== 'open' && this.state.state !== 'opening') return;
    this.shell.close(false);
    this.closed();
  }

  /** The first message came: only then is the link of use. */
  opened(): void {
    this.#attempt = 0;
    this.#set({ state: 'open' });
    this.message();
  }

  /** Anything came from the server. */
  message(): void {
    if (this.state.state === 'open') this.#after(SILENCE_TIMEOUT, () => this.fail());
  }

  /** The server says that it is about to close. */
  disconnected(message: string): void {
    this.stop(reasons[message] ?? 'kicked', message);
  }

  closed(): void {
    if (this.state.state !== 'open' && this.state.state !== 'opening') return;
    const delay = backoff(this.#attempt++);
    this.#set({ state: 'waiting', attempt: this.#attempt, retryAt: this.shell.now() + delay });
    this.#after(delay, () => this.#open());
  }

  #open(): void {
    this.#set({ state: 'opening', attempt: this.#attempt });
    this.#after(OPEN_TIMEOUT, () => this.fail());
    this.shell.open();
  }

  #set(state: LinkState): void {
    this.state = state;
    this.shell.changed(state);
  }

  #after(ms: number, callback: () => void): void {
    this.#cancel();
    this.#timer = this.shell.setTimeout(() => {
      this.#timer = null;
      callback();
    }, ms);
  }

  #cancel(): void {
    if (this.#timer !== null) this.shell.clearTimeout(this.#timer);
    this.#timer = null;
  }
}
