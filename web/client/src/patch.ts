/** Edge of a tile in pixels. */
const TILE = 16;
const HEADER = 9;
const LITTLE_ENDIAN = new Uint8Array(new Uint32Array([1]).buffer)[0] === 1;

/** What a patch says before its pixels. The format is described in `crates/media/src/patch.rs`. */
export interface Patch {
  /** RTP timestamp: a frame with this one or a later one shows the change itself. */
  readonly time: number;
  /** Of the whole picture in pixels. */
  readonly width: number;
  readonly height: number;
  readonly message: DataView;
}

/** A rectangle in pixels. */
export interface Dirty {
  x: number;
  y: number;
  width: number;
  height: number;
}

/** Reads what comes before the pixels; null when it is no patch of the version known here. */
export function readPatch(data: ArrayBuffer): Patch | null {
  if (data.byteLength < HEADER) return null;
  const message = new DataView(data);
  if (message.getUint8(0) !== 1) return null;
  return { time: message.getUint32(1), width: message.getUint16(5), height: message.getUint16(7), message };
}

/** Whether a frame with the RTP timestamp `frame` shows what a patch of the time `patch` shows; both wrap around. */
export function shows(frame: number, patch: number): boolean {
  return ((frame - patch) | 0) >= 0;
}

/**
 * Writes a patch into the pixels of the whole picture, and returns what it has touched: null if nothing. A patch that ends early or leads
 * out of the picture is written as far as it makes sense.
 */
export function applyPatch({ message, width, height }: Patch, pixels: ImageData): Dirty | null {
  if (pixels.width !== width || pixels.height !== height) return null;
  const words = new Uint32Array(pixels.data.buffer, pixels.data.byteOffset, width * height);
  const columns = Math.ceil(width / TILE);
  const rows = Math.ceil(height / TILE);
  const end = message.byteLength;
  let [left, top, right, bottom] = [width, height, 0, 0];
  let at = HEADER;
  const colour = (from: number): number => {
    const [red, green, blue] = [message.getUint8(from), message.getUint8(from + 1), message.getUint8(from + 2)];
    return (LITTLE_ENDIAN ? 0xff000000 | (blue << 16) | (green << 8) | red : (red << 24) | (green << 16) | (blue << 8) | 0xff) >>> 0;
  };
  const fill = (x: number, y: number, tiles: number, value: number): void => {
    const [from, to] = [x * TILE, Math.min(width, (x + tiles) * TILE)];
    for (let line = y * TILE; line < Math.min(height, (y + 1) * TILE); line++) words.fill(value, line * width + from, line * width + to);
  };
  /** One tile whose pixels are told by `value`, by their number. */
  const draw = (x: number, y: number, value: (pixel: number) => number): void => {
    const cut = Math.min(TILE, width - x * TILE);
    for (let line = 0; line < Math.min(TILE, height - y * TILE); line++) {
      const start = (y * TILE + line) * width + x * TILE;
      for (let column = 0; column < cut; column++) words[start + column] = value(line * TILE + column);
    }
  };
  while (at + 8 <= end) {
    const [x, y, wide, high] = [message.getUint16(at), message.getUint16(at + 2), message.getUint16(at + 4), message.getUint16(at + 6)];
    at += 8;
    if (!wide || !high || x + wide > columns || y + high > rows) break;
    left = Math.min(left, x * TILE);
    top = Math.min(top, y * TILE);
    right = Math.max(right, Math.min(width, (x + wide) * TILE));
    bottom = Math.max(bottom, Math.min(height, (y + high) * TILE));
    for (let done = 0; done < wide * high; ) {
      const operation = at + 3 <= end ? message.getUint8(at) : -1;
      const [column, row] = [x + (done % wide), y + Math.floor(done / wide)];
      if (operation === 0) {
        done += message.getUint16(at + 1);
        at += 3;
      } else if (operation === 1 && at + 6 <= end) {
        const value = colour(at + 3);
        let count = Math.min(message.getUint16(at + 1), wide * high - done);
        at += 6;
        while (count > 0) {
          const tiles = Math.min(count, wide - (done % wide));
          fill(x + (done % wide), y + Math.floor(done / wide), tiles, value);
          done += tiles;
          count -= tiles;
        }
      } else if (operation === 2) {
        const colours = message.getUint8(at + 1) + 1;
        const bits = colours <= 2 ? 1 : colours <= 4 ? 2 : colours <= 16 ? 4 : 8;
        const indices = at + 2 + colours * 3;
        if (indices + TILE * TILE * (bits / 8) > end) return dirty();
        const palette = Array.from({ length: colours }, (_, index) => colour(at + 2 + index * 3));
        draw(column, row, (pixel) => {
          const bit = pixel * bits;
          return palette[(message.getUint8(indices + (bit >> 3)) >> (8 - bits - (bit & 7))) & ((1 << bits) - 1)] ?? 0;
        });
        at = indices + TILE * TILE * (bits / 8);
        done++;
      } else if (operation === 3 && at + 1 + TILE * TILE * 3 <= end) {
        const from = at + 1;
        draw(column, row, (pixel) => colour(from + pixel * 3));
        at = from + TILE * TILE * 3;
        done++;
      } else return dirty();
    }
  }
  return dirty();

  function dirty(): Dirty | null {
    return right > left && bottom > top ? { x: left, y: top, width: right - left, height: bottom - top } : null;
  }
}
