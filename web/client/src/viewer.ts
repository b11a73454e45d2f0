import { Clipboard } from './clipboard.ts';
import type { Connection } from './connection.ts';
import { Cursor } from './cursor.ts';
import { Emitter } from './emitter.ts';
import { type Rect, type Scaling, place, toScreen } from './geometry.ts';
import { Gestures } from './gestures.ts';
import { Keyboard } from './keyboard.ts';
import { Player } from './player.ts';
import { PointerQueue } from './pointer-queue.ts';
import { Pointers } from './pointers.ts';
import { isHost, takesControlByUse } from './room.ts';
import { TextInput } from './text-input.ts';
import { type FineKind, FineWheel, PIXELS_PER_E, Wheel } from './wheel.ts';
import { styles } from './viewer-style.ts';

export interface ViewerEvents {
  /** The browser waits for a gesture before it plays sound, or no longer does. */
  blocked: boolean;
  /** The picture's size or place changed. */
  layout: { picture: Rect; screen: { width: number; height: number } };
  /** Something that the person did had no effect; one line why. */
  problem: string;
  /** The keyboard was let go with the escape keys. */
  escape: undefined;
}

const BUTTONS = [1, 2, 3, 8, 9];
/** Wheel clicks of a pinch take so many times less than others. */
const PINCH_GAIN = 6;

/** Shows a connection's picture inside an element and sends what the person does there. */
export class Viewer extends Emitter<ViewerEvents> {
  readonly element = document.createElement('div');
  readonly player: Player;
  readonly keyboard: Keyboard;
  readonly clipboard: Clipboard;
  readonly text: TextInput;
  readonly pointers = new Pointers();
  scaling: Scaling = 'fit';
  #cursor = new Cursor(this.element);
  #picture: Rect = { left: 0, top: 0, width: 0, height: 0 };
  #origin = { x: 0, y: 0 };
  #buttons = new Set<number>();
  #wheel = new Wheel();
  #fine = new FineWheel();
  #gestures: Gestures;
  #queue: PointerQueue;
  #abort = new AbortController();
  #off: (() => void)[] = [];
  #resize: ResizeObserver;

  constructor(
    readonly connection: Connection,
    container: HTMLElement,
  ) {
    super();
    this.player = new Player(
      () => {
        this.layout();
        this.emit('blocked', this.player.blocked);
      },
      () => connection.peer?.takePatches(),
    );
    const platform = navigator.platform;
    this.keyboard = new Keyboard((keysym, down) => {
      if (down) this.#queue.flush();
      connection.key(keysym, down);
    }, { mac: /Mac|iPhone|iPad/.test(platform), windows: /^Win/.test(platform), commandIsControl: true });
    this.clipboard = new Clipboard(connection);
    this.text = new TextInput(this.keyboard, {
      paste: (text, keys) => this.paste(text, keys),
      escape: () => {
        this.release();
        this.text.element.blur();
        this.emit('escape', undefined);
      },
    });
    this.#queue = new PointerQueue(
      (x, y) => connection.move(x, y),
      (callback) => requestAnimationFrame(callback),
    );
    this.#gestures = new Gestures((gesture) => this.#gesture(gesture), {
      setTimeout: (callback, ms) => window.setTimeout(callback, ms),
      clearTimeout: (id) => clearTimeout(id),
    });
    this.element.className = 'gh-viewer';
    const style = document.createElement('style');
    style.textContent = styles;
    this.element.append(style, this.player.video, this.player.canvas, this.player.audio, this.pointers.element, this.text.element);
    container.append(this.element);
    this.#listen();
    this.#resize = new ResizeObserver(() => this.layout());
    this.#resize.observe(this.element);
    for (const track of connection.tracks) this.player.add(track);
    if (connection.cursor) void this.#cursor.set(connection.cursor);
    this.layout();
  }

  /** The picture's place inside the viewer, in CSS pixels. */
  get picture(): Rect {
    return this.#picture;
  }

  setScaling(scaling: Scaling): void {
    this.scaling = scaling;
    this.#origin = { x: 0, y: 0 };
    this.layout();
  }

  focus(): void {
    this.text.element.focus({ preventScroll: true });
  }

  /** Brings up the soft keyboard; to be called in a gesture. */
  openKeyboard(): void {
    this.text.openKeyboard();
  }

  /** Puts text onto the session's clipboard and presses the keys that paste there, Ctrl+V if not said otherwise. */
  async paste(text: string, keys: number[] = [0xffe3, 0x76]): Promise<void> {
    try {
      if (text) await this.clipboard.send(text);
    } catch (error) {
      // Pasting what was there before would be worse than nothing.
      this.emit('problem', `Nothing was pasted: ${error instanceof Error ? error.message : 'the text could not be sent.'}`);
      return;
    }
    this.keyboard.chord(...keys);
  }

  /** Lets go of every key and button. */
  release(): void {
    this.keyboard.releaseAll();
    this.#gestures.cancel();
    for (const button of this.#buttons) this.connection.button(button, false);
    this.#buttons.clear();
  }

  /** Full screen with the keys that the browser would keep for itself, where it allows that. */
  async fullscreen(element: Element = this.element): Promise<void> {
    if (document.fullscreenElement) {
      await document.exitFullscreen();
      return;
    }
    await element.requestFullscreen({ navigationUI: 'hide' });
    const keyboard = (navigator as Navigator & { keyboard?: { lock?(): Promise<void> } }).keyboard;
    await keyboard?.lock?.().catch(() => {});
    this.focus();
  }

  close(): void {
    this.release();
    this.#abort.abort();
    for (const off of this.#off) off();
    this.#resize.disconnect();
    this.clipboard.close();
    this.player.close();
    this.element.remove();
  }

  layout(): void {
    const box = { width: this.element.clientWidth, height: this.element.clientHeight };
    // While the size changes, the picture that is shown counts, not the one that was announced.
    const screen = this.player.size.width ? this.player.size : this.connection.room.screen;
    this.#picture = place(box, screen, this.scaling, devicePixelRatio || 1, this.#origin);
    for (const element of [this.player.video, this.player.canvas]) {
      element.style.left = `${this.#picture.left}px`;
      element.style.top = `${this.#picture.top}px`;
      element.style.width = `${this.#picture.width}px`;
      element.style.height = `${this.#picture.height}px`;
    }
    const size = this.#screen();
    const isSharp = size.width > 0 && this.#picture.width * (devicePixelRatio || 1) >= size.width * 2;
    for (const element of [this.player.video, this.player.canvas]) element.classList.toggle('gh-sharp', isSharp);
    if (size.width) this.#cursor.setScale(this.#picture.width / size.width);
    this.pointers.layout(this.#picture, size);
    this.emit('layout', { picture: this.#picture, screen: size });
  }

  #screen(): { width: number; height: number } {
    return this.connection.room.screen.width ? this.connection.room.screen : this.player.size;
  }

  #listen(): void {
    const { connection } = this;
    let wasHost = isHost(connection.room);
    this.#off.push(
      connection.on('track', (track) => this.player.add(track)),
      connection.on('patch', (data) => this.player.patch(data)),
      connection.on('closing', () => this.player.hold()),
      connection.on('channel', (message) => {
        if (message.type === 'image') void this.#cursor.set(message);
        // The server sends the host's position to everyone but the host.
        else if (message.type === 'position' && connection.room.hostId && !isHost(connection.room)) {
          this.#point(connection.room.hostId, message.x, message.y);
        }
      }),
      connection.on('message', (message) => {
        if (message.event === 'glasshouse/cursors') {
          for (const { id, x, y } of message.payload) if (id !== connection.room.selfId) this.#point(id, x, y);
        } else if (message.event === 'glasshouse/acted') {
          const { id, act, x, y } = message.payload;
          if (act === 'click' && x !== undefined && y !== undefined) this.pointers.ripple(id, x, y);
          else if (act === 'type') this.pointers.typing(id);
        }
      }),
      connection.on('room', (room) => {
        const host = isHost(room);
        if (wasHost && !host) this.release();
        if (host !== wasHost) this.pointers.filter((id) => id !== room.hostId);
        wasHost = host;
        this.pointers.filter((id) => id !== room.selfId && (room.members.get(id)?.state.is_connected ?? false));
        this.#cursor.apply(host || takesControlByUse(room));
        this.layout();
      }),
      connection.on('status', (status) => {
        this.player.live = status.state === 'live';
        if (status.state === 'live') return;
        this.release();
      }),
    );
    const signal = this.#abort.signal;
    const on = <K extends keyof HTMLElementEventMap>(event: K, listener: (event: HTMLElementEventMap[K]) => void): void =>
      this.element.addEventListener(event, listener, { signal, passive: false });
    on('pointerdown', (event) => this.#pointerDown(event));
    on('pointermove', (event) => this.#pointerMove(event));
    on('pointerup', (event) => this.#pointerUp(event));
    on('pointercancel', (event) => (event.pointerType === 'touch' ? this.#gestures.cancel() : this.release()));
    on('pointerleave', (event) => {
      if (event.pointerType !== 'touch' && !this.#buttons.size) connection.send('glasshouse/cursor_leave');
    });
    on('wheel', (event) => this.#wheelTurned(event));
    on('contextmenu', (event) => event.preventDefault());
    // Middle and side buttons would scroll or leave the page.
    on('mousedown', (event) => event.preventDefault());
    on('mouseup', (event) => event.preventDefault());
    on('auxclick', (event) => event.preventDefault());
    on('dragstart', (event) => event.preventDefault());
    on('touchstart', (event) => event.preventDefault());
    addEventListener('blur', () => this.release(), { signal });
    addEventListener('pagehide', () => this.release(), { signal });
    document.addEventListener('visibilitychange', () => document.hidden && this.release(), { signal });
    document.addEventListener('fullscreenchange', () => this.layout(), { signal });
  }

  #point(id: string, x: number, y: number): void {
    this.pointers.set(id, this.connection.room.members.get(id)?.profile.name ?? '', x, y, this.connection.room.actors.has(id));
  }

  #at(event: { clientX: number; clientY: number }): { x: number; y: number; inside: boolean } {
    const box = this.element.getBoundingClientRect();
    return toScreen({ x: event.clientX - box.left, y: event.clientY - box.top }, this.#picture, this.#screen());
  }

  #pointerDown(event: PointerEvent): void {
    event.preventDefault();
    const box = this.element.getBoundingClientRect();
    if (event.pointerType === 'touch') {
      this.focus();
      this.element.setPointerCapture(event.pointerId);
      this.#gestures.start(event.pointerId, event.clientX - box.left, event.clientY - box.top, event.timeStamp);
      return;
    }
    this.focus();
    const at = this.#at(event);
    if (!at.inside) return;
    this.element.setPointerCapture(event.pointerId);
    this.#queue.move(at.x, at.y);
    this.#button(event.button, true);
  }

  #pointerMove(event: PointerEvent): void {
    const box = this.element.getBoundingClientRect();
    if (event.pointerType === 'touch') {
      this.#gestures.move(event.pointerId, event.clientX - box.left, event.clientY - box.top);
      return;
    }
    const at = this.#at(event);
    if (!at.inside && !this.#buttons.size) return;
    this.#queue.move(at.x, at.y);
    this.#edge(event.clientX - box.left, event.clientY - box.top);
    // A second button while one is held comes as a move.
    if (event.button >= 0) {
      const bit = [1, 4, 2, 8, 16][event.button] ?? 0;
      this.#button(event.button, (event.buttons & bit) !== 0);
    }
  }

  #pointerUp(event: PointerEvent): void {
    event.preventDefault();
    if (event.pointerType === 'touch') {
      this.#gestures.end(event.pointerId, event.timeStamp);
      return;
    }
    const at = this.#at(event);
    this.#queue.move(at.x, at.y);
    this.#button(event.button, false);
    // Releases outside the window may be missed; the last one tells that nothing is held.
    if (event.buttons === 0) for (const button of [...this.#buttons]) this.#set(button, false);
  }

  #button(domButton: number, down: boolean): void {
    const button = BUTTONS[domButton];
    if (button !== undefined) this.#set(button, down);
  }

  #set(button: number, down: boolean): void {
    if (down === this.#buttons.has(button)) return;
    this.#queue.flush();
    if (down) this.#buttons.add(button);
    else this.#buttons.delete(button);
    this.connection.button(button, down);
  }

  #wheelTurned(event: WheelEvent): void {
    event.preventDefault();
    // Firefox tells lines only to those who ask for the mode first.
    const mode = event.deltaMode;
    const at = this.#at(event);
    this.#queue.move(at.x, at.y);
    const control = event.ctrlKey || (event.metaKey && this.keyboard.options.mac);
    // A pinch on a touchpad comes as a wheel with Control that nobody pressed, in much smaller steps.
    const pinch = event.ctrlKey && !this.keyboard.control && Math.abs(event.deltaY) < 50;
    if (this.#fine.takes(event) && (pinch || !control) && this.#scrollFinely(event.deltaX, event.deltaY, pinch ? 'pinch' : 'scroll')) return;
    const gain = pinch ? PINCH_GAIN : 1;
    this.#turn(event.deltaX * gain, event.deltaY * gain, mode, event.timeStamp, control);
  }

  /** False when only clicks of a wheel can be sent. */
  #scrollFinely(deltaX: number, deltaY: number, kind: FineKind): boolean {
    if (!this.connection.scrollsFinely) return false;
    const units = this.#fine.units(deltaX, deltaY, kind);
    if (!units) return true;
    this.#queue.flush();
    this.connection.scrollFinely(units.x, units.y, kind);
    return true;
  }

  #turn(deltaX: number, deltaY: number, mode: number, time: number, control: boolean): void {
    const clicks = this.#wheel.add(deltaX, deltaY, mode, time);
    if (!clicks) return;
    this.#queue.flush();
    this.connection.scroll(clicks.x, clicks.y, control);
  }

  #gesture(gesture: Parameters<ConstructorParameters<typeof Gestures>[0]>[0]): void {
    const at = toScreen(gesture, this.#picture, this.#screen());
    if (gesture.type === 'button') {
      this.#queue.move(at.x, at.y);
      this.#set(gesture.button, gesture.down);
    } else if (gesture.type === 'move') {
      this.#queue.move(at.x, at.y);
    } else if (gesture.type === 'scroll') {
      const scale = this.#screen().width / Math.max(1, this.#picture.width);
      if (this.#scrollFinely(gesture.deltaX * scale, gesture.deltaY * scale, 'drag')) return;
      // Fingers move the page itself, so less travel than a wheel's makes a click.
      this.#turn(gesture.deltaX * 1.5, gesture.deltaY * 1.5, 0, performance.now(), false);
    } else {
      const pixels = -gesture.growth * PIXELS_PER_E;
      if (!this.#scrollFinely(0, pixels, 'pinch')) this.#turn(0, pixels * PINCH_GAIN, 0, performance.now(), true);
    }
  }

  /** In 1:1 the picture moves when the pointer comes near an edge. */
  #edge(x: number, y: number): void {
    if (this.scaling !== 'actual') return;
    const { clientWidth, clientHeight } = this.element;
    const along = (position: number, size: number, picture: number): number => {
      const margin = Math.min(48, size / 4);
      return picture <= size ? 0 : Math.max(0, Math.min(1, (position - margin) / (size - 2 * margin))) * (picture - size);
    };
    const origin = { x: along(x, clientWidth, this.#picture.width), y: along(y, clientHeight, this.#picture.height) };
    if (Math.abs(origin.x - this.#origin.x) + Math.abs(origin.y - this.#origin.y) < 1) return;
    this.#origin = origin;
    this.layout();
  }
}
