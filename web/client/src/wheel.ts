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
