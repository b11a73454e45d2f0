/** Sends the first move at once and later ones once a frame, the newest only; `flush` sends what waits before a button or key. */
export class PointerQueue {
  #next: { x: number; y: number } | null = null;
  #last: { x: number; y: number } | null = null;
  #framed = false;

  constructor(
    /** False: the line is busy, try again in the next frame. */
    readonly send: (x: number, y: number) => boolean,
    readonly frame: (callback: () => void) => void,
  ) {}

  move(x: number, y: number): void {
    if (!this.#next && this.#last?.x === x && this.#last.y === y) return;
    this.#next = { x, y };
    if (!this.#framed) this.#sendNext();
  }

  flush(): void {
    const next = this.#next;
    this.#next = null;
    if (!next) return;
    this.#last = next;
    this.send(next.x, next.y);
  }

  #sendNext(): void {
    const next = this.#next;
    if (!next) return;
    if (this.send(next.x, next.y)) {
      this.#next = null;
      this.#last = next;
    }
    this.#framed = true;
    this.frame(() => {
      this.#framed = false;
      this.#sendNext();
    });
  }
}
