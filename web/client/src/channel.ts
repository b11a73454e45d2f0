/**
 * The binary data channel of neko v3 (big endian): `u8 opcode, u16 length, body`. From client to server `length` is the size of the
 * body, from server to client that of the whole message.
 */

const clamp = (value: number, low: number, high: number): number => Math.min(high, Math.max(low, Math.round(value) || 0));

function message(opcode: number, size: number): DataView<ArrayBuffer> {
  const view = new DataView(new ArrayBuffer(3 + size));
  view.setUint8(0, opcode);
  view.setUint16(1, size);
  return view;
}

function number(opcode: number, value: number): ArrayBuffer {
  const view = message(opcode, 4);
  view.setUint32(3, value);
  return view.buffer;
}

/** Moves the pointer to screen pixels, clamped to 0 – 65535. */
export function encodeMove(x: number, y: number): ArrayBuffer {
  const view = message(0x01, 4);
  view.setUint16(3, clamp(x, 0, 0xffff));
  view.setUint16(5, clamp(y, 0, 0xffff));
  return view.buffer;
}

/** Scrolls by wheel clicks, in X's direction (positive is up and left). */
export function encodeScroll(deltaX: number, deltaY: number, control: boolean): ArrayBuffer {
  const view = message(0x02, 5);
  view.setInt16(3, clamp(deltaX, -0x8000, 0x7fff));
  view.setInt16(5, clamp(deltaY, -0x8000, 0x7fff));
  view.setUint8(7, control ? 1 : 0);
  return view.buffer;
}

/** Scrolls finely, in 256ths of a pixel, in the DOM's direction. A message of our own: docs/protocol.md. */
export function encodeFine(x: number, y: number, kind: 'scroll' | 'drag' | 'pinch'): ArrayBuffer {
  const view = message(0x40, 9);
  view.setInt32(3, clamp(x, -0x80000000, 0x7fffffff));
  view.setInt32(7, clamp(y, -0x80000000, 0x7fffffff));
  view.setUint8(11, { scroll: 0, drag: 1, pinch: 2 }[kind]);
  return view.buffer;
}

export const encodeKeyDown = (keysym: number): ArrayBuffer => number(0x03, keysym);
export const encodeKeyUp = (keysym: number): ArrayBuffer => number(0x04, keysym);
export const encodeButtonDown = (button: number): ArrayBuffer => number(0x05, button);
export const encodeButtonUp = (button: number): ArrayBuffer => number(0x06, button);

// neko splits times by 2³² − 1, not by 2³².
const SPLIT = 0xffffffff;

/** Asks for a PONG; `time` is milliseconds since 1970. */
export function encodePing(time: number): ArrayBuffer {
  const view = message(0x07, 8);
  view.setUint32(3, Math.floor(time / SPLIT));
  view.setUint32(7, time % SPLIT);
  return view.buffer;
}

/** Begins, moves or ends a touch. `pressure` is 0 – 255. */
export function encodeTouch(phase: 'begin' | 'update' | 'end', id: number, x: number, y: number, pressure: number): ArrayBuffer {
  const view = message({ begin: 0x08, update: 0x09, end: 0x0a }[phase], 13);
  view.setUint32(3, id);
  view.setInt32(7, Math.round(x));
  view.setInt32(11, Math.round(y));
  view.setUint8(15, clamp(pressure, 0, 255));
  return view.buffer;
}

export type ChannelMessage =
  | { type: 'position'; x: number; y: number }
  | { type: 'image'; width: number; height: number; hotX: number; hotY: number; png: Uint8Array<ArrayBuffer> }
  | { type: 'pong'; sent: number; server: number };

/** Reads a message of the server; null when it is short or unknown. */
export function decode(data: ArrayBuffer): ChannelMessage | null {
  if (data.byteLength < 3) return null;
  const view = new DataView(data);
  switch (view.getUint8(0)) {
    case 0x01:
      return data.byteLength < 7 ? null : { type: 'position', x: view.getUint16(3), y: view.getUint16(5) };
    case 0x02:
      // The length field wraps for large pictures, so the PNG is simply the rest.
      return data.byteLength < 11
        ? null
        : {
            type: 'image',
            width: view.getUint16(3),
            height: view.getUint16(5),
            hotX: view.getUint16(7),
            hotY: view.getUint16(9),
            png: new Uint8Array(data, 11),
          };
    case 0x03:
      return data.byteLength < 19
        ? null
        : {
            type: 'pong',
            sent: view.getUint32(3) * SPLIT + view.getUint32(7),
            server: view.getUint32(11) * SPLIT + view.getUint32(15),
          };
    default:
      return null;
  }
}
