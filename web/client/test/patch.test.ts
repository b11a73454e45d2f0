import { describe, expect, it } from 'vitest';
import { applyPatch, readPatch, shows } from '../src/patch.ts';

/** A patch of a picture of 24×20 pixels (2×2 tiles), from numbers of one byte and, in lists, of two. */
const patch = (...parts: (number | [number])[]) => {
  const bytes = [1, 0, 0, 1, 44, 0, 24, 0, 20, ...parts.flatMap((part) => (typeof part === 'number' ? [part] : [part[0] >> 8, part[0] & 255]))];
  const read = readPatch(new Uint8Array(bytes).buffer);
  if (!read) throw new Error('not a patch');
  return read;
};
const picture = () => ({ width: 24, height: 20, data: new Uint8ClampedArray(24 * 20 * 4) }) as unknown as ImageData;
const pixel = ({ data }: ImageData, x: number, y: number) => [...data.slice((y * 24 + x) * 4, (y * 24 + x) * 4 + 4)];
const WHOLE = [[0], [0], [2], [2]] as [number][];
const zeros = (count: number): number[] => new Array<number>(count).fill(0);

describe('patches', () => {
  it('are read with their time and size, and only those of a known version', () => {
    expect(patch()).toMatchObject({ time: 300, width: 24, height: 20 });
    expect(readPatch(new Uint8Array([2, ...zeros(20)]).buffer)).toBeNull();
    expect(readPatch(new Uint8Array([1, 0, 0]).buffer)).toBeNull();
  });

  it('are shown by frames of their time and later, also around the end of the clock', () => {
    expect([shows(300, 300), shows(301, 300), shows(299, 300)]).toEqual([true, true, false]);
    expect([shows(5, 0xfffffff0), shows(0xfffffff0, 5)]).toEqual([true, false]);
  });

  it('fill runs of tiles over the rows and leave what stays', () => {
    const pixels = picture();
    const dirty = applyPatch(patch(...WHOLE, 0, [1], 1, [2], 9, 8, 7, 1, [1], 1, 2, 3), pixels);
    expect(dirty).toEqual({ x: 0, y: 0, width: 24, height: 20 });
    expect([pixel(pixels, 15, 15), pixel(pixels, 16, 0), pixel(pixels, 23, 15), pixel(pixels, 0, 16), pixel(pixels, 15, 19), pixel(pixels, 16, 16)]).toEqual([
      [0, 0, 0, 0], [9, 8, 7, 255], [9, 8, 7, 255], [9, 8, 7, 255], [9, 8, 7, 255], [1, 2, 3, 255],
    ]);
  });

  it('draw tiles of few and of many colours', () => {
    const pixels = picture();
    // Three colours, two bits for each pixel: the first byte is pixels 0, 1, 2 and 3.
    const indices = [0b00_01_10_00, ...zeros(63)];
    const raw = Array.from({ length: 256 * 3 }, (_, at) => at % 251);
    const dirty = applyPatch(patch([1], [0], [1], [2], 2, 2, 10, 11, 12, 20, 21, 22, 30, 31, 32, ...indices, 3, ...raw), pixels);
    expect(dirty).toEqual({ x: 16, y: 0, width: 8, height: 20 });
    expect([16, 17, 18, 19].map((x) => pixel(pixels, x, 0)[0])).toEqual([10, 20, 30, 10]);
    expect(pixel(pixels, 17, 16)).toEqual([3, 4, 5, 255]);
    expect(pixel(pixels, 17, 17)).toEqual([51, 52, 53, 255]);
    expect(pixel(pixels, 15, 0)).toEqual([0, 0, 0, 0]);
  });

  it('for another size, cut short, or leading out of the picture do no harm', () => {
    const small = { width: 16, height: 16, data: new Uint8ClampedArray(16 * 16 * 4) } as unknown as ImageData;
    expect(applyPatch(patch(...WHOLE, 1, [4], 1, 1, 1), small)).toBeNull();
    const pixels = picture();
    expect(applyPatch(patch([1], [0], [2], [2], 1, [4], 1, 1, 1), pixels)).toBeNull();
    expect(applyPatch(patch([0], [0], [0], [1], 1, [1], 1, 1, 1), pixels)).toBeNull();
    for (const rest of [[], [7, 0, 0, 0], [1, 0, 9, 1, 1], [2, 255, 1, 2, 3], [3, 1, 2]]) applyPatch(patch(...WHOLE, ...rest), pixels);
    expect(pixels.data.every((value) => value === 0)).toBe(true);
    // More tiles than there are end with the rectangle.
    applyPatch(patch(...WHOLE, 1, [60000], 5, 5, 5), pixels);
    expect(pixel(pixels, 23, 19)).toEqual([5, 5, 5, 255]);
  });
});
