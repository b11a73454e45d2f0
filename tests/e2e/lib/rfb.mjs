// A bare RFB client on a WebSocket (RFC 6143): says what it is told to, and keeps what it hears.

import WebSocket from 'ws';
import { PATIENCE, until } from './wait.mjs';

/** What the server answers to a client that it does not let in. */
export const refusal = (url, { headers = {}, protocols = [] } = {}) => new Promise((resolve, reject) => {
  const socket = new WebSocket(url, protocols, { headers, handshakeTimeout: PATIENCE });
  socket.on('unexpected-response', (request, response) => { resolve(response.statusCode); request.destroy(); });
  socket.on('open', () => { socket.terminate(); reject(new Error('it was let in')); });
  socket.on('error', () => {});
});

export class RfbClient {
  heard = Buffer.alloc(0);
  closed = null;

  /** Connects and shakes hands; `size` is then the screen's. */
  static async connect(url, { headers = {}, protocols = [], greet = true } = {}) {
    const client = new RfbClient();
    client.socket = new WebSocket(url, protocols, { headers, handshakeTimeout: PATIENCE });
    client.socket.binaryType = 'nodebuffer';
    client.socket.on('message', (bytes) => { client.heard = Buffer.concat([client.heard, bytes]); });
    client.socket.on('close', (code, reason) => { client.closed = { code, reason: reason.toString() }; });
    await new Promise((resolve, reject) => {
      client.socket.on('open', resolve);
      client.socket.on('error', reject);
      client.socket.on('unexpected-response', (request, response) => { request.destroy(); reject(new Error(`refused: ${response.statusCode}`)); });
    });
    if (greet) await client.greet();
    return client;
  }

  async greet() {
    const version = await this.take(12);
    if (!/^RFB 003\.008\n$/.test(version.toString())) throw new Error(`no RFB: ${version}`);
    this.send(version);
    const [count] = await this.take(1);
    const types = await this.take(count);
    if (!types.includes(1)) throw new Error(`security types ${[...types]}`);
    this.send([1]);
    if ((await this.take(4)).readUInt32BE() !== 0) throw new Error('refused by the display');
    this.send([1]);
    const init = await this.take(24);
    this.size = [init.readUInt16BE(0), init.readUInt16BE(2)];
    this.name = (await this.take(init.readUInt32BE(20))).toString();
  }

  send(bytes) { this.socket.send(Buffer.from(bytes)); }

  /** Waits for so many bytes and takes them. */
  async take(count) {
    await until(`${count} bytes`, () => {
      if (this.closed) throw new Error(`closed: ${JSON.stringify(this.closed)}`);
      return this.heard.length >= count;
    });
    const bytes = this.heard.subarray(0, count);
    this.heard = this.heard.subarray(count);
    return bytes;
  }

  /** One pixel of the screen as [red, green, blue]: raw, 32 bits, as the display has it by default. */
  async pixel(x, y) {
    const update = Buffer.alloc(10);
    update.writeUInt8(3, 0);
    update.writeUInt16BE(x, 2);
    update.writeUInt16BE(y, 4);
    update.writeUInt16BE(1, 6);
    update.writeUInt16BE(1, 8);
    this.send(update);
    const head = await this.take(4 + 12);
    if (head[0] !== 0 || head.readUInt16BE(2) !== 1 || head.readInt32BE(12) !== 0) throw new Error(`another answer: ${head.toString('hex')}`);
    const [blue, green, red] = await this.take(4);
    return [red, green, blue];
  }

  key(keysym, down) { const bytes = Buffer.from([4, down ? 1 : 0, 0, 0, 0, 0, 0, 0]); bytes.writeUInt32BE(keysym, 4); this.send(bytes); }
  press(keysym) { this.key(keysym, true); this.key(keysym, false); }
  pointer(buttons, x, y) { const bytes = Buffer.from([5, buttons, 0, 0, 0, 0]); bytes.writeUInt16BE(x, 2); bytes.writeUInt16BE(y, 4); this.send(bytes); }
  click(x, y) { this.pointer(1, x, y); this.pointer(0, x, y); }
  cutText(text) { const head = Buffer.alloc(8); head[0] = 6; head.writeUInt32BE(text.length, 4); this.send(Buffer.concat([head, Buffer.from(text, 'latin1')])); }
  resize(width, height) {
    const bytes = Buffer.alloc(24);
    bytes[0] = 251;
    bytes[6] = 1;
    for (const at of [2, 16]) {
      bytes.writeUInt16BE(width, at);
      bytes.writeUInt16BE(height, at + 2);
    }
    this.send(bytes);
  }

  ended() { return until('the connection ends', () => this.closed); }
  close() { this.socket.close(); return this.ended(); }
}
