/** Pixels of a DOM wheel event that make one X wheel click: what browsers report for a notch. */
const PIXELS_PER_CLICK = 100;
const LINES_PER_CLICK = 3;
/** After such a pause (ms) what is left of a gesture does not count for the next one. */
const FORGET = 400;

/** Adds up fine deltas of touchpads until they make wheel clicks. */
export class Wheel {
  #x = 0;
  #y = 0;
  #last = -Infinity;

  /** Whole clicks in X's direction (positive is up and left), or null when there are none yet. `mode` is the event's `deltaMode`. */
  add(deltaX: number, deltaY: number, mode: number, time: number): { x: number; y: number } | null {
    if (time - this.#last > FORGET) this.#x = this.#y = 0;
    this.#last = time;
    this.#x = accumulate(this.#x, clicks(deltaX, mode));
    this.#y = accumulate(this.#y, clicks(deltaY, mode));
    const x = Math.trunc(this.#x);
    const y = Math.trunc(this.#y);
    if (!x && !y) return null;
    this.#x -= x;
    this.#y -= y;
    // neko's direction is the opposite of the DOM's; `0 -` keeps −0 out.
    return { x: 0 - x, y: 0 - y };
  }
}

function clicks(delta: number, mode: number): number {
  if (mode === 1) return delta / LINES_PER_CLICK;
  if (mode === 2) return delta * 8;
  // A notch is 100 or 120 pixels, depending on the system; both are one click.
  if (delta !== 0 && delta % 120 === 0) return delta / 120;
  return delta / PIXELS_PER_CLICK;
}

// A turn back must act at once, so what is left of the other direction goes.
const accumulate = (sum: number, delta: number): number => (sum * delta < 0 ? delta : sum + delta);

/** Pixels that a pinch takes for each e of growth, as in the wheel events that browsers make of touchpads' pinches. */
export const PIXELS_PER_E = 100;
/** Fine deltas follow each other so soon (ms) that one as large as a notch among them is none. */
const GESTURE = 200;
/** Units of the data channel's fine scrolling to a pixel. */
const UNITS = 256;

export type FineKind = 'scroll' | 'drag' | 'pinch';

/** Tells fine deltas from notches of a wheel, and keeps what is less than a unit of the data channel. */
export class FineWheel {
  #last = -Infinity;
  #kind: FineKind = 'scroll';
  #x = 0;
  #y = 0;

  /** Whether an event is of a touchpad or the like. `wheelDelta` is what is 120 for a notch, in browsers that have it. */
  takes({ deltaMode, deltaX, deltaY, timeStamp, wheelDeltaX, wheelDeltaY }: Turn): boolean {
    const goesOn = timeStamp - this.#last < GESTURE;
    const fine = deltaMode === 0 && (goesOn || !isNotch(deltaX, wheelDeltaX) || !isNotch(deltaY, wheelDeltaY));
    if (fine) this.#last = timeStamp;
    return fine;
  }

  /** Whole units to send, or null when there are none yet. */
  units(deltaX: number, deltaY: number, kind: FineKind): { x: number; y: number } | null {
    if (kind !== this.#kind) this.#x = this.#y = 0;
    this.#kind = kind;
    this.#x += deltaX * UNITS;
    this.#y += deltaY * UNITS;
    const x = Math.trunc(this.#x);
    const y = Math.trunc(this.#y);
    this.#x -= x;
    this.#y -= y;
    return x || y ? { x, y } : null;
  }
}

type Turn = Pick<WheelEvent, 'deltaMode' | 'deltaX' | 'deltaY' | 'timeStamp'> & { wheelDeltaX?: number; wheelDeltaY?: number };

// Of a touchpad, `wheelDelta` is the delta times −3. The size of a notch in pixels differs between systems and with zoom.
function isNotch(delta: number, ticks = 0): boolean {
  if (delta % 100 === 0 || delta % 120 === 0) return true;
  return Math.abs(delta) >= 40 && ticks !== 0 && ticks % 120 === 0 && ticks !== -3 * delta;
}
