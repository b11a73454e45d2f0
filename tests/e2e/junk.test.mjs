// What no honest client sends: refused, counted, and nobody else notices.

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import WebSocket from 'ws';
import { usage } from './lib/process.mjs';
import { Session } from './lib/session.mjs';
import { joinSession, launch } from './lib/viewer.mjs';
import { until, within } from './lib/wait.mjs';

let session, browser, witness;
before(async () => {
  session = await Session.start(['--', 'xterm', '-fullscreen']);
  browser = await launch();
  witness = await joinSession(browser, session, { name: 'witness' });
});
after(async () => {
  await browser?.close();
  await session?.stop();
});

/** A bare WebSocket of a fresh member. */
async function connect(member) {
  const { token, id } = member ?? await session.login('junk');
  const socket = new WebSocket(`${session.origin.replace('http', 'ws')}/api/ws?glasshouse=1&token=${token}`);
  const seen = [];
  socket.onmessage = ({ data }) => seen.push(JSON.parse(data));
  const closed = new Promise((resolve) => { socket.onclose = resolve; });
  await until('the greeting', () => seen.some(({ event }) => event === 'system/init'));
  return { socket, seen, closed, id, token, send: (event, payload) => socket.send(JSON.stringify({ event, payload })) };
}

const rejected = () => session.metric('glasshouse_rejected_input_total');

/** The session still serves: the witness is connected, and control moves. */
async function works() {
  await witness.until('is connected', (client) => client.peer.connectionState === 'connected');
  await witness.do((client) => client.api('POST', '/api/room/control/take'));
  await witness.until('control', (client) => client.host !== null);
  assert.equal((await session.api('GET', '/healthz')).status, 200);
}

test('junk on the WebSocket', async () => {
  const before = await rejected();
  const one = await connect();
  for (const text of ['', '{', 'null', '[]', '42', '"x"', '{}', '{"event":1}', '{"event":"nobody/knows"}', `{"event":"${'x'.repeat(100_000)}"}`, '['.repeat(50_000)]) one.socket.send(text);
  one.socket.send(new Uint8Array([0, 255, 1, 2, 3]));
  for (const event of ['signal/request', 'signal/answer', 'signal/candidate', 'signal/video', 'control/move', 'control/keydown', 'screen/set', 'clipboard/set', 'keyboard/map', 'glasshouse/resize', 'send/unicast', 'chat/message']) {
    for (const payload of [null, 1, 'x', [], [[]], { x: 'y', sdp: 5, width: {}, code: [], keysym: -1, text: 7, video: 3 }]) one.send(event, payload);
  }
  for (const payload of [{ x: -1, y: -1 }, { x: 1e9, y: 1e9 }, { x: 2 ** 53, y: -(2 ** 53) }]) one.send('control/move', payload);
  for (const payload of [{ keysym: 0 }, { keysym: 4294967295 }, { keysym: 4294967296 }]) one.send('control/keypress', payload);
  for (const payload of [{ code: 0 }, { code: 255 }, { code: 4294967295 }]) one.send('control/buttonpress', payload);
  one.send('screen/set', { width: 1, height: 1, rate: 1 });
  one.send('screen/set', { width: 100000, height: 100000, rate: 60 });
  await until('they are counted', async () => (await rejected()) > before + 20);
  await works();
  one.socket.close();
});

test('SDP garbage', async () => {
  const before = await rejected();
  const one = await connect();
  one.send('signal/request', {});
  const { payload } = await until('an offer', () => one.seen.find(({ event }) => event === 'signal/provide'));
  for (const sdp of ['', 'x', 'v=0', 'v=0\r\n'.repeat(10_000), payload.sdp, payload.sdp.replaceAll('a=', 'b='), payload.sdp.slice(0, 300), payload.sdp.replace(/m=.*/g, 'm=video 99999 X 1 2 3'), '\u0000\ud800'.repeat(100)]) {
    one.send('signal/answer', { sdp });
    one.send('signal/offer', { sdp });
    one.send('signal/candidate', { candidate: sdp, sdpMid: '9', sdpMLineIndex: 9 });
  }
  await until('they are counted', async () => (await rejected()) > before);
  await works();
  one.socket.close();
});

test('an oversized message ends its own connection only', async () => {
  const one = await connect();
  one.socket.send('x'.repeat(3 * 1024 * 1024));
  const { code } = await within('it is closed', one.closed);
  assert.ok([1009, 1006].includes(code), `closed with ${code}`);
  await works();
});

test('junk on the data channel', async () => {
  const before = await rejected();
  const one = await joinSession(browser, session, { name: 'binary' });
  await one.do((client) => {
    client.send('control/request');
    for (const bytes of [[], [0], [1], [1, 0], [1, 0, 4], [1, 0, 4, 255], [42, 0, 0], [255, 255, 255], [3, 0, 4, 255, 255, 255, 255], [5, 0, 4, 255, 255, 255, 255], [1, 0, 4, 255, 255, 255, 255]]) {
      if (bytes.length) client.channel.send(new Uint8Array(bytes));
    }
    client.channel.send(new Uint8Array(60_000).fill(1));
    client.channel.send('text on a binary channel');
  });
  await until('it is counted', async () => (await rejected()) > before + 3);
  await works();
  await one.close();
});

test('requests that make no sense', async () => {
  const { token } = await session.login('rest');
  for (const [method, path, body] of [
    ['POST', '/api/login', null], ['POST', '/api/login', []], ['POST', '/api/login', { username: 5 }],
    ['POST', '/api/room/screen', { width: -1, height: 'x' }], ['POST', '/api/room/settings', []], ['POST', '/api/room/control/give/nobody'],
    ['GET', '/api/no/such/thing'], ['DELETE', '/api/sessions/nobody'], ['POST', '/api/glasshouse/links', { uses: -1 }],
  ]) {
    const { status } = await session.api(method, path, body, token);
    assert.ok(status >= 400 && status < 500, `${method} ${path}: ${status}`);
  }
  const foreign = await fetch(`${session.origin}/api/whoami`, { headers: { authorization: `Bearer ${token}`, origin: 'https://evil.example' } });
  assert.equal(foreign.headers.get('access-control-allow-origin'), null);
  await works();
});

test('1,000 connects and disconnects leak nothing', async () => {
  const member = await session.login('again');
  const once = async (i) => {
    const one = await connect(member);
    if (i % 4 === 0) {
      one.send('signal/request', {});
      await until('an offer', () => one.seen.some(({ event }) => event === 'signal/provide'));
    }
    one.socket.close();
    await within('it is closed', one.closed);
  };
  const quiet = () => until('only the witness is left', async () => (await session.metric('glasshouse_websockets')) === 1 && (await session.metric('glasshouse_viewers')) === 1);
  for (let i = 0; i < 100; i++) await once(i);
  await quiet();
  const before = usage(session.pid);
  for (let i = 0; i < 1000; i++) await once(i);
  await quiet();
  // Connections that the browser or the kernel still closes go within moments.
  const after = await until('descriptors and threads are back', () => {
    const now = usage(session.pid);
    return now.descriptors <= before.descriptors + 4 && now.threads <= before.threads + 1 && now;
  });
  assert.ok(after.resident < before.resident + 16 * 1024, `resident memory grew from ${before.resident} to ${after.resident} kB`);
  await works();
});
