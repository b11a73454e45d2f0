// A WebSocket client down to its frames, so that tests can break the rules: say nothing, say garbage, vanish.

import { randomBytes } from 'node:crypto';
import { connect } from 'node:net';
import { until } from './lib/wait.mjs';

export const TEXT = 1, BINARY = 2, CLOSE = 8, PING = 9, PONG = 10;

function frame(opcode, payload) {
  const length = payload.length;
  const head = length < 126 ? Buffer.from([0, 0]) : length < 65536 ? Buffer.alloc(4) : Buffer.alloc(10);
  head[0] = 0x80 | opcode;
  if (length < 126) head[1] = length;
  else if (length < 65536) { head[1] = 126; head.writeUInt16BE(length, 2); } else { head[1] = 127; head.writeBigUInt64BE(BigInt(length), 2); }
  head[1] |= 0x80;
  // A mask of zeros leaves the payload as it is.
  return Buffer.concat([head, Buffer.alloc(4), payload]);
}

export class RawSocket {
  events = [];
  /** Code of the server's close frame, or 1006 when the connection ended without one. */
  closed = null;

  /** Connects and waits for `system/init`, unless `greeted` is false. */
  static async open(session, token, { answersPings = true, query = '', greeted = true } = {}) {
    const one = new RawSocket();
    one.answersPings = answersPings;
    const { hostname, port, host } = new URL(session.origin);
    one.socket = connect(Number(port), hostname);
    one.socket.on('error', () => {});
    one.socket.on('close', () => { one.closed ??= 1006; });
    one.socket.on('data', (bytes) => one.receive(bytes));
    one.socket.write(`GET /api/ws?token=${token}${query} HTTP/1.1\r\nHost: ${host}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n`
      + `Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: ${randomBytes(16).toString('base64')}\r\n\r\n`);
    await until('the WebSocket opens', () => one.isOpen || one.closed);
    if (greeted) await one.event('system/init');
    return one;
  }

  buffer = Buffer.alloc(0);

  receive(bytes) {
    this.buffer = Buffer.concat([this.buffer, bytes]);
    if (!this.isOpen) {
      const end = this.buffer.indexOf('\r\n\r\n');
      if (end < 0) return;
      this.status = Number(this.buffer.toString('latin1', 9, 12));
      this.isOpen = this.status === 101;
      this.buffer = this.buffer.subarray(end + 4);
      if (!this.isOpen) return;
    }
    while (this.buffer.length >= 2) {
      let length = this.buffer[1] & 0x7f, head = 2;
      if (length === 126) { if (this.buffer.length < 4) return; length = this.buffer.readUInt16BE(2); head = 4; }
      if (length === 127) { if (this.buffer.length < 10) return; length = Number(this.buffer.readBigUInt64BE(2)); head = 10; }
      if (this.buffer.length < head + length) return;
      const opcode = this.buffer[0] & 0x0f, payload = this.buffer.subarray(head, head + length);
      this.buffer = this.buffer.subarray(head + length);
      if (opcode === TEXT) this.events.push(JSON.parse(payload.toString()));
      if (opcode === PING && this.answersPings) this.frame(PONG, payload);
      if (opcode === CLOSE) this.closed = payload.length >= 2 ? payload.readUInt16BE(0) : 1005;
    }
  }

  frame(opcode, payload) { this.socket.write(frame(opcode, Buffer.from(payload))); }
  text(text) { this.frame(TEXT, text); }
  send(event, payload) { this.text(JSON.stringify({ event, payload })); }

  /** Waits for an event at or after index `from` that `test` accepts, and returns its payload. */
  async event(name, test = () => true, from = 0) {
    const found = await until(`the event ${name}`, () => this.events.slice(from).find((one) => one.event === name && test(one.payload))
      ?? (this.closed && !this.events.some((one) => one.event === name) ? { lost: true } : null));
    if (found.lost) throw new Error(`closed with ${this.closed} before ${name}: ${JSON.stringify(this.events.at(-1))}`);
    return found.payload;
  }

  /** Leaves as a client does that means it. */
  async close(code = 1000) {
    this.frame(CLOSE, Buffer.from([code >> 8, code & 0xff]));
    this.socket.end();
    await until('the WebSocket is closed', () => this.closed !== null);
    this.socket.destroy();
  }

  /** Is gone without a word. */
  vanish() { this.socket.resetAndDestroy(); }
}
