import { describe, expect, it } from 'vitest';
import { decode, encodeButtonDown, encodeButtonUp, encodeFine, encodeKeyDown, encodeKeyUp, encodeMove, encodePing, encodeScroll, encodeTouch } from '../src/channel.ts';

const hex = (data: ArrayBuffer): string => [...new Uint8Array(data)].map((byte) => byte.toString(16).padStart(2, '0')).join(' ');
const bytes = (text: string): ArrayBuffer => Uint8Array.from(text.split(' ').map((byte) => parseInt(byte, 16))).buffer;

describe("the vectors of the contract's appendix A", () => {
  it.each([
    ['MOVE', encodeMove(640, 360), '01 00 04 02 80 01 68'],
    ['SCROLL', encodeScroll(0, -1, false), '02 00 05 00 00 ff ff 00'],
    ['KEY_DOWN', encodeKeyDown(0xffe3), '03 00 04 00 00 ff e3'],
    ['BTN_DOWN', encodeButtonDown(1), '05 00 04 00 00 00 01'],
    ['PING', encodePing(1700000000000), '07 00 08 00 00 01 8b cf e5 69 8b'],
    ['TOUCH_BEGIN', encodeTouch('begin', 0, 640, 360, 128), '08 00 0d 00 00 00 00 00 00 02 80 00 00 01 68 80'],
  ])('%s', (_, made, wanted) => expect(hex(made)).toBe(wanted));

  it('PONG', () => {
    expect(decode(bytes('03 00 13 00 00 01 8b cf e5 69 8b 00 00 01 8b cf e5 69 b5'))).toEqual({ type: 'pong', sent: 1700000000000, server: 1700000000042 });
  });
  it('CURSOR_POSITION', () => expect(decode(bytes('01 00 07 02 80 01 68'))).toEqual({ type: 'position', x: 640, y: 360 }));
  it('CURSOR_IMAGE', () => {
    const header = new Uint8Array(bytes('02 01 37 00 18 00 18 00 04 00 05'));
    const data = new Uint8Array(311).fill(7);
    data.set(header);
    const image = decode(data.buffer);
    expect(image).toMatchObject({ type: 'image', width: 24, height: 24, hotX: 4, hotY: 5 });
    expect(image?.type === 'image' && image.png).toEqual(new Uint8Array(300).fill(7));
  });
});

it('takes releases and limits', () => {
  expect(hex(encodeKeyUp(0x01000000 + 0x1f600))).toBe('04 00 04 01 01 f6 00');
  expect(hex(encodeButtonUp(9))).toBe('06 00 04 00 00 00 09');
  expect(hex(encodeMove(-5, 99999))).toBe('01 00 04 00 00 ff ff');
  expect(hex(encodeScroll(99999, -99999, true))).toBe('02 00 05 7f ff 80 00 01');
  expect(hex(encodeMove(NaN, 1.6))).toBe('01 00 04 00 00 00 02');
});

it('ignores what is short or unknown', () => {
  for (const text of ['01', '01 00 07 00', '02 00 0b 00 01', '03 00 13 00', '99 00 03']) expect(decode(bytes(text))).toBeNull();
  expect(decode(new ArrayBuffer(0))).toBeNull();
});

describe('what is our own', () => {
  it('fine scrolling, with bounds', () => {
    expect(hex(encodeFine(-256, 384, 'scroll'))).toBe('40 00 09 ff ff ff 00 00 00 01 80 00');
    expect(hex(encodeFine(-1e12, 1e12, 'pinch'))).toBe('40 00 09 80 00 00 00 7f ff ff ff 02');
    expect(hex(encodeFine(NaN, 0.4, 'drag'))).toBe('40 00 09 00 00 00 00 00 00 00 00 01');
  });
});
