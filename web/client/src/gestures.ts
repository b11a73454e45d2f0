/** What fingers mean. Points are CSS pixels of the viewer. */
export type Gesture =
  | { type: 'move'; x: number; y: number }
  | { type: 'button'; button: number; down: boolean; x: number; y: number }
  /** DOM direction: positive `deltaY` moves the page on. */
  | { type: 'scroll'; deltaX: number; deltaY: number; x: number; y: number }
  /** `growth` is the natural logarithm of how much larger it gets. */
  | { type: 'zoom'; growth: number; x: number; y: number };

const LONG_PRESS = 500;
const SLOP = 10;
/** A second touch so soon after a tap begins a drag instead of a scroll. */
const DOUBLE_TAP = 300;
const DOUBLE_SLOP = 40;
/** Two fingers become a pinch once their distance changed by this share. */
const PINCH = 0.12;

interface Finger {
  x: number;
  y: number;
  startX: number;
  startY: number;
}

interface Clock {
  setTimeout(callback: () => void, ms: number): number;
  clearTimeout(id: number): void;
}

/**
 * Recognises tap (click), double tap (double click), drag (button held), long press (right click, at once when the finger rests),
 * two-finger scroll, two-finger tap (right click), three-finger tap (middle click) and pinch.
 */
export class Gestures {
  readonly #fingers = new Map<number, Finger>();
  #state: 'none' | 'pressed' | 'drag' | 'long' | 'two' | 'scroll' | 'pinch' | 'done' = 'none';
  #timer: number | null = null;
  #most = 0;
  #moved = false;
  #distance = 0;
  #zoomed = 0;
  #centre = { x: 0, y: 0 };
  #lastTap = { time: -Infinity, x: 0, y: 0 };

  constructor(
    readonly emit: (gesture: Gesture) => void,
    readonly clock: Clock,
  ) {}

  start(id: number, x: number, y: number, time: number): void {
    this.#fingers.set(id, { x, y, startX: x, startY: y });
    this.#most = Math.max(this.#most, this.#fingers.size);
    if (this.#fingers.size === 1) {
      this.#moved = false;
      this.#most = 1;
      this.#state = 'pressed';
      const tap = this.#lastTap;
      if (time - tap.time < DOUBLE_TAP && Math.hypot(x - tap.x, y - tap.y) < DOUBLE_SLOP) {
        // The second click of a double tap lands where the first did, or the desktop would see two single ones.
        this.#fingers.set(id, { x, y, startX: tap.x, startY: tap.y });
      }
      this.#timer = this.clock.setTimeout(() => this.#longPress(), LONG_PRESS);
      return;
    }
    this.#cancelTimer();
    if (this.#state === 'drag') this.#endDrag();
    if (this.#state === 'long' || this.#state === 'done') {
      this.#state = 'done';
      return;
    }
    if (this.#fingers.size === 2) {
      this.#state = 'two';
      this.#distance = this.#spread();
      this.#zoomed = 0;
      this.#centre = this.#middle();
    }
  }

  move(id: number, x: number, y: number): void {
    const finger = this.#fingers.get(id);
    if (!finger) return;
    finger.x = x;
    finger.y = y;
    const far = Math.hypot(x - finger.startX, y - finger.startY) > SLOP;
    if (far) this.#moved = true;
    switch (this.#state) {
      case 'pressed':
        if (!far) return;
        this.#cancelTimer();
        this.#state = 'drag';
        this.emit({ type: 'move', x: finger.startX, y: finger.startY });
        this.emit({ type: 'button', button: 1, down: true, x: finger.startX, y: finger.startY });
        this.emit({ type: 'move', x, y });
        return;
      case 'drag':
        this.emit({ type: 'move', x, y });
        return;
      case 'two':
      case 'scroll':
      case 'pinch':
        if (this.#fingers.size === 2) this.#two();
        return;
      default:
    }
  }

  end(id: number, time: number): void {
    const finger = this.#fingers.get(id);
    if (!finger) return;
    this.#fingers.delete(id);
    this.#cancelTimer();
    if (this.#state === 'drag') this.#endDrag(finger);
    else if (this.#state === 'pressed') {
      this.#click(1, finger.startX, finger.startY);
      this.#lastTap = { time, x: finger.startX, y: finger.startY };
      this.#state = 'done';
    } else if (this.#fingers.size === 0 && this.#state === 'two' && !this.#moved) {
      this.#click(this.#most >= 3 ? 2 : 3, this.#centre.x, this.#centre.y);
    }
    if (this.#fingers.size === 0) this.#state = 'none';
  }

  /** Forgets the fingers and lets go of what they hold. */
  cancel(): void {
    this.#cancelTimer();
    if (this.#state === 'drag') this.#endDrag();
    this.#fingers.clear();
    this.#state = 'none';
  }

  #two(): void {
    const spread = this.#spread();
    const centre = this.#middle();
    const ratio = spread / Math.max(1, this.#distance);
    if (this.#state === 'two') {
      if (Math.abs(ratio - 1) > PINCH && Math.abs(spread - this.#distance) > 2 * SLOP) {
        this.#state = 'pinch';
        this.#moved = true;
        this.emit({ type: 'move', ...this.#centre });
      } else if (Math.hypot(centre.x - this.#centre.x, centre.y - this.#centre.y) > SLOP) {
        this.#state = 'scroll';
        this.emit({ type: 'move', ...this.#centre });
      } else return;
    }
    if (this.#state === 'scroll') {
      this.emit({ type: 'scroll', deltaX: this.#centre.x - centre.x, deltaY: this.#centre.y - centre.y, ...centre });
      this.#centre = centre;
    } else {
      const growth = Math.log(Math.max(ratio, Number.MIN_VALUE));
      if (growth !== this.#zoomed) this.emit({ type: 'zoom', growth: growth - this.#zoomed, ...this.#centre });
      this.#zoomed = growth;
    }
  }

  #longPress(): void {
    this.#timer = null;
    const finger = [...this.#fingers.values()][0];
    if (this.#state !== 'pressed' || !finger) return;
    this.#state = 'long';
    this.#click(3, finger.startX, finger.startY);
  }

  #click(button: number, x: number, y: number): void {
    this.emit({ type: 'move', x, y });
    this.emit({ type: 'button', button, down: true, x, y });
    this.emit({ type: 'button', button, down: false, x, y });
  }

  #endDrag(finger = [...this.#fingers.values()][0]): void {
    this.emit({ type: 'button', button: 1, down: false, x: finger?.x ?? 0, y: finger?.y ?? 0 });
    this.#state = 'done';
  }

  #pair(): [Finger, Finger] | null {
    const [a, b] = [...this.#fingers.values()];
    return a && b ? [a, b] : null;
  }

  #spread(): number {
    const pair = this.#pair();
    return pair ? Math.hypot(pair[0].x - pair[1].x, pair[0].y - pair[1].y) : 0;
  }

  #middle(): { x: number; y: number } {
    const pair = this.#pair();
    return pair ? { x: (pair[0].x + pair[1].x) / 2, y: (pair[0].y + pair[1].y) / 2 } : { x: 0, y: 0 };
  }

  #cancelTimer(): void {
    if (this.#timer !== null) this.clock.clearTimeout(this.#timer);
    this.#timer = null;
  }
}
