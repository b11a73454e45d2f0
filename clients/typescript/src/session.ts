// One session: its life, its browser, and its desktop, used as a person does.

import type { Browser, BrowserType, Download } from 'playwright-core';
import { GlasshouseError, ProblemError } from './errors.js';
import { Files } from './files.js';
import type { Change, Driver, Link, NewShare, Share, Usage, View } from './generated/fleet.js';
import type {
  Clipboard, DesktopStatus, HasChanged, Launched, MouseButton, PictureFormat, Position, Region, RunOutcome, WasStable, Window,
} from './generated/session.js';
import type { Http } from './http.js';
import { Room } from './room.js';

/** How a picture of the screen is wanted. */
export interface ScreenshotOptions {
  /** `png`, if not said. */
  format?: PictureFormat | undefined;
  /** Of JPEG, 1 to 100. */
  quality?: number | undefined;
  /** 0.1 to 1. */
  scale?: number | undefined;
  /** With the pointer in it. */
  cursor?: boolean | undefined;
  /** A part of the screen. */
  region?: Region | undefined;
}

/** A program that runs to its end. */
export interface RunOptions {
  cwd?: string | undefined;
  env?: Readonly<Record<string, string>> | undefined;
  /** 30 s, if not said. */
  timeoutMs?: number | undefined;
  /** Of each stream. */
  maxOutputBytes?: number | undefined;
}

export class Session {
  readonly id: string;
  /** What the server last said of it. */
  view: View;
  readonly files: Files;
  readonly #http: Http;
  readonly #room: Room;

  /** Made by `Glasshouse`. */
  constructor(http: Http, view: View) {
    this.#http = http;
    this.id = view.id;
    this.view = view;
    this.#room = new Room(http, view.id);
    this.files = new Files(this.#room);
  }

  /** Address of everything of the session. */
  get url(): string {
    return `${this.#http.server}/s/${this.id}/`;
  }

  get #path(): string {
    return `api/v1/sessions/${this.id}`;
  }

  /** Asks how it is; with `wait`, when it is no longer being created, or after so many seconds. */
  async refresh(options: { wait?: number | undefined; signal?: AbortSignal | undefined } = {}): Promise<View> {
    return this.view = await this.#http.json<View>('GET', this.#path, { query: { wait: options.wait }, signal: options.signal });
  }

  /** Changes labels and time-outs. */
  async change(change: Change): Promise<View> {
    return this.view = await this.#http.json<View>('PATCH', this.#path, { json: change });
  }

  /** Lets it live for so many seconds from now, or without end. */
  async extend(seconds: number | null): Promise<View> {
    return this.view = await this.#http.json<View>('POST', `${this.#path}/extend`, { json: { seconds } });
  }

  /** Stops its programs until it is used again. */
  async freeze(): Promise<View> {
    return this.view = await this.#http.json<View>('POST', `${this.#path}/freeze`);
  }

  async thaw(): Promise<View> {
    return this.view = await this.#http.json<View>('POST', `${this.#path}/thaw`);
  }

  /** Ends it. One that has ended already is no error. */
  async delete(): Promise<void> {
    try {
      this.view = await this.#http.json<View>('DELETE', this.#path);
    } catch (error) {
      if (!(error instanceof ProblemError) || error.status !== 404) throw error;
    }
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.delete();
  }

  /** The screen as a small JPEG, which neither wakes the session nor counts as use. */
  thumbnail(): Promise<Uint8Array> {
    return this.#http.bytes('GET', `${this.#path}/thumbnail`);
  }

  usage(): Promise<Usage> {
    return this.#http.json('GET', `${this.#path}/usage`);
  }

  /** The end of its log. */
  async logs(bytes?: number): Promise<string> {
    return (await this.#http.ask('GET', `${this.#path}/logs`, { query: { bytes } })).text();
  }

  /** A link that logs somebody in to the room. */
  link(options: { admin?: boolean; expires_in_seconds?: number; uses?: number } = {}): Promise<Link> {
    return this.#http.json('POST', `${this.#path}/links`, { json: options });
  }

  /** A link for others, with powers, an end, and a way back (`unshare`). */
  share(options: NewShare): Promise<Share> {
    return this.#http.json('POST', `${this.#path}/share`, { json: options });
  }

  async shares(): Promise<Share[]> {
    return (await this.#http.json<{ shares: Share[] }>('GET', `${this.#path}/share`)).shares;
  }

  async unshare(share: string): Promise<void> {
    await this.#http.ask('DELETE', `${this.#path}/share/${encodeURIComponent(share)}`);
  }

  /** Where programs drive its Chromium; waits for that to be up. */
  cdp(): Promise<Driver> {
    const ask = (): Promise<Driver> => this.#http.json('POST', `${this.#path}/cdp`);
    return this.view.app === 'chromium' ? this.#http.whenReady(ask) : ask();
  }

  /** A Playwright browser on its Chromium. Its `close()` ends the connection, not the session. */
  async connect(options: { playwright?: Pick<BrowserType, 'connectOverCDP'> | undefined; timeoutMs?: number | undefined } = {}): Promise<Browser> {
    const { url } = await this.cdp();
    const playwright = options.playwright ?? await chromium();
    return playwright.connectOverCDP(url, { timeout: options.timeoutMs ?? 60_000 });
  }

  /**
   * The content of a download. Its file is in the session, by a name that only Playwright knows, so that Playwright's own
   * `saveAs` does not find it on this machine.
   */
  async readDownload(download: Pick<Download, 'path'>): Promise<Uint8Array> {
    const name = (await download.path()).split(/[\\/]/).at(-1) ?? '';
    return this.files.read(`Downloads/${name}`);
  }

  /** What viewers see the program called; to be set before it is first seen. */
  get name(): string { return this.#room.name; }
  set name(name: string) { this.#room.name = name; }

  // Computer use.

  async screenshot(options: ScreenshotOptions = {}): Promise<Uint8Array> {
    return (await this.#look(options)).bytes;
  }

  /** A screenshot with its tag, from which `waitForChange` goes on. */
  async look(options: ScreenshotOptions = {}): Promise<{ bytes: Uint8Array; tag: string }> {
    return this.#look(options);
  }

  async #look({ region, cursor, ...look }: ScreenshotOptions): Promise<{ bytes: Uint8Array; tag: string }> {
    const path = region ? 'v1/desktop/screenshot/region' : 'v1/desktop/screenshot';
    const response = await this.#room.ask('GET', path, { query: { ...look, showCursor: cursor, ...region } });
    return { bytes: new Uint8Array(await response.arrayBuffer()), tag: response.headers.get('etag') ?? '' };
  }

  #do<T = unknown>(path: string, json: object = {}): Promise<T> {
    return this.#room.json('POST', `v1/desktop/${path}`, { json });
  }

  click(x: number, y: number, options: { button?: MouseButton; count?: number } = {}): Promise<Position> {
    return this.#do('mouse/click', { x, y, button: options.button, clickCount: options.count });
  }

  move(x: number, y: number): Promise<Position> {
    return this.#do('mouse/move', { x, y });
  }

  mouseDown(x: number, y: number, button: MouseButton = 'left'): Promise<Position> {
    return this.#do('mouse/down', { x, y, button });
  }

  mouseUp(x: number, y: number, button: MouseButton = 'left'): Promise<Position> {
    return this.#do('mouse/up', { x, y, button });
  }

  drag(startX: number, startY: number, endX: number, endY: number, button: MouseButton = 'left'): Promise<Position> {
    return this.#do('mouse/drag', { startX, startY, endX, endY, button });
  }

  /** Turns the wheel at a place, in its clicks; positive is right and down. */
  scroll(x: number, y: number, deltaX: number, deltaY: number): Promise<Position> {
    return this.#do('mouse/scroll', { x, y, deltaX, deltaY });
  }

  pointer(): Promise<Position> {
    return this.#room.json('GET', 'v1/desktop/mouse/position');
  }

  /** Types text, of any characters. */
  async type(text: string, options: { delayMs?: number } = {}): Promise<void> {
    await this.#do('keyboard/type', { text, delayMs: options.delayMs });
  }

  /** Presses a key or a combination: `Return`, `ctrl+shift+t`. */
  async press(key: string): Promise<void> {
    await this.#do('keyboard/press', { key });
  }

  async keyDown(key: string): Promise<void> {
    await this.#do('keyboard/down', { key });
  }

  async keyUp(key: string): Promise<void> {
    await this.#do('keyboard/up', { key });
  }

  async clipboard(): Promise<string> {
    return (await this.#room.json<Clipboard>('GET', 'v1/desktop/clipboard')).text;
  }

  async setClipboard(text: string): Promise<void> {
    await this.#do('clipboard', { text });
  }

  async windows(): Promise<Window[]> {
    return (await this.#room.json<{ windows: Window[] }>('GET', 'v1/desktop/windows')).windows;
  }

  async focusWindow(id: string): Promise<void> {
    await this.#do(`windows/${encodeURIComponent(id)}/focus`);
  }

  desktop(): Promise<DesktopStatus> {
    return this.#room.json('GET', 'v1/desktop/status');
  }

  /** Opens an address in its browser. */
  open(target: string): Promise<Launched> {
    return this.#do('open', { target });
  }

  /** Starts a program on the desktop, and with `wait` waits for its window. */
  launch(app: string, args: readonly string[] = [], options: { wait?: boolean } = {}): Promise<Launched> {
    return this.#do('launch', { app, args, wait: options.wait ?? false });
  }

  /** Runs a program to its end, within the session's walls. */
  run(command: readonly string[], options: RunOptions = {}): Promise<RunOutcome> {
    const [program, ...args] = command;
    if (!program) throw new GlasshouseError('no command: give a program and its arguments');
    return this.#room.json('POST', 'v1/processes/run', { json: { command: program, args, ...options } });
  }

  /** Waits until nothing was drawn for a while. */
  waitForStable(options: { quietMs?: number; timeoutMs?: number; region?: Region } = {}): Promise<WasStable> {
    return this.#do('wait/stable', options);
  }

  /** Waits until this program may act, when people go first; for what it then does by other ways. */
  waitForTurn(): Promise<void> {
    return this.#do('wait/turn');
  }

  /** Waits until pixels differ from those of `since`, the tag of `look`, or from those now. */
  waitForChange(options: { since?: string; timeoutMs?: number; region?: Region } = {}): Promise<HasChanged> {
    return this.#do('wait/change', options);
  }

  /** Gives the seat in the room back that computer use has taken; the session goes on. */
  leave(): Promise<void> {
    return this.#room.leave();
  }

  /** Any request below the session's own path with the room's token, such as `v1/processes`. */
  request(method: string, path: string, options: { query?: Record<string, string>; json?: unknown } = {}): Promise<Response> {
    return this.#room.ask(method, path, options);
  }
}

async function chromium(): Promise<BrowserType> {
  try {
    return (await import('playwright-core')).chromium;
  } catch {
    throw new GlasshouseError('no Playwright: npm install playwright-core, or give its `chromium` as `playwright`');
  }
}
