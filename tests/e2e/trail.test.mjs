// The trail: what programs did is there, in a stream and in a file, and nothing that is secret.

import assert from 'node:assert/strict';
import { existsSync, mkdtempSync, readFileSync, rmSync, statSync } from 'node:fs';
import { get } from 'node:http';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { after, before, test } from 'node:test';
import WebSocket from 'ws';
import { servePages } from './lib/pages.mjs';
import { Session } from './lib/session.mjs';
import { PATIENCE, until } from './lib/wait.mjs';

let pages, session, admin;
const readers = new Set();
before(async () => {
  pages = await servePages();
  session = await Session.start(['--no-sound', '--url', pages.url('colors.html')]);
  admin = (await session.login('Helper')).token;
});
after(async () => {
  for (const reader of readers) reader.stop();
  await session?.stop();
  await pages?.stop();
});

/** Reads a trail as it comes; `pause` keeps it from reading. */
function read(session, token, { last, pause = false } = {}) {
  const reader = { events: [], ids: [], names: [], text: '', pending: '' };
  const headers = { authorization: `Bearer ${token}`, ...(last === undefined ? {} : { 'last-event-id': String(last) }) };
  const request = get(`${session.origin}/api/trail`, { headers }, (response) => {
    reader.status = response.statusCode;
    reader.response = response;
    response.setEncoding('utf8').on('error', () => {});
    if (pause) response.pause();
    response.on('data', (text) => {
      reader.text += text;
      reader.pending += text;
      for (let end; (end = reader.pending.indexOf('\n\n')) >= 0;) {
        const lines = reader.pending.slice(0, end).split('\n').map((line) => line.split(/: ?(.*)/s));
        reader.pending = reader.pending.slice(end + 2);
        const field = (name) => lines.find(([key]) => key === name)?.[1];
        if (field('data') === undefined) continue;
        reader.names.push(field('event') ?? 'message');
        reader.ids.push(Number(field('id')));
        reader.events.push(JSON.parse(field('data')));
      }
    });
  });
  request.on('error', () => {});
  reader.stop = () => { readers.delete(reader); request.destroy(); };
  readers.add(reader);
  return reader;
}

/** A bare CDP client. */
async function cdp(session, words = '') {
  const socket = new WebSocket(session.cdp.replace('http', 'ws') + words, { perMessageDeflate: false, handshakeTimeout: PATIENCE });
  await new Promise((resolve, reject) => socket.on('open', resolve).on('error', reject));
  let next = 0;
  const waiting = new Map();
  socket.on('message', (data) => {
    const message = JSON.parse(data);
    waiting.get(message.id)?.(message);
    waiting.delete(message.id);
  });
  const call = (method, params = {}, sessionId) => new Promise((done) => {
    waiting.set(++next, done);
    socket.send(JSON.stringify({ id: next, method, params, sessionId }));
  });
  const { result } = await call('Target.getTargets');
  const { targetId } = result.targetInfos.find(({ type }) => type === 'page');
  const { sessionId } = (await call('Target.attachToTarget', { targetId, flatten: true })).result;
  return { socket, call, targetId, page: (method, params) => call(method, params, sessionId) };
}

const use = (session, token, path, body, headers = {}) => fetch(`${session.origin}/v1/desktop/${path}`, {
  method: 'POST', body: JSON.stringify(body), headers: { authorization: `Bearer ${token}`, 'content-type': 'application/json', ...headers },
});

/** Does one of everything, with secrets in all of it. */
async function work(session, token) {
  const robot = await cdp(session, '&name=Robot');
  await robot.page('Page.navigate', { url: `${pages.url('input.html')}?key=SECRETQUERY#SECRETFRAGMENT` });
  for (let i = 0; i < 5; i++) await robot.page('Runtime.evaluate', { expression: '"SECRETCODE"' });
  await robot.page('Input.insertText', { text: 'SECRETTEXT' });
  await use(session, token, 'mouse/click', { x: 400, y: 300 }, { 'x-glasshouse-name': 'Desk' });
  await use(session, token, 'keyboard/type', { text: 'SECRETTYPED' }, { 'x-glasshouse-name': 'Desk' });
  await session.api('POST', '/api/room/control/request', undefined, token);
  await session.api('POST', '/api/glasshouse/programs', { mode: 'person-first' }, token);
  await session.api('POST', '/api/room/control/release', undefined, token);
  await session.api('POST', '/api/glasshouse/programs', { mode: 'together' }, token);
  return robot;
}

test('what programs did, control, modes and addresses are there, and nothing secret', async () => {
  const reader = read(session, admin);
  const robot = await work(session, admin);
  const find = (what) => reader.events.find((event) => Object.entries(what).every(([key, value]) => event[key] === value));
  const seen = (what) => until(JSON.stringify(what), () => find(what));
  const joined = await seen({ kind: 'joined' });
  assert.deepEqual([joined.who.name, joined.who.way], ['Robot', 'cdp']);
  assert.match(joined.who.token, /^[0-9a-f]{8}$/);
  const page = await seen({ kind: 'page', url: pages.url('input.html') });
  assert.equal(page.target, robot.targetId);
  const navigated = await seen({ kind: 'cdp', method: 'Page.navigate' });
  assert.deepEqual([navigated.target, navigated.who.name], [robot.targetId, 'Robot']);
  await until('five evaluations', () => reader.events.filter(({ method }) => method === 'Runtime.evaluate').reduce((sum, { count = 1 }) => sum + count, 0) === 5);
  await seen({ kind: 'cdp', method: 'Input.insertText' });
  const click = await seen({ kind: 'computer', call: 'POST /v1/desktop/mouse/click' });
  assert.deepEqual([click.x, click.y, click.status, click.who.name], [400, 300, 200, 'Desk']);
  await seen({ kind: 'computer', call: 'POST /v1/desktop/keyboard/type' });
  await until('control was taken', () => reader.events.some(({ kind, to }) => kind === 'control' && to?.name === 'Helper'));
  await until('and released', () => reader.events.some(({ kind, from, to }) => kind === 'control' && from?.name === 'Helper' && to === null));
  const changed = await seen({ kind: 'mode', mode: 'person-first' });
  assert.equal(changed.by.name, 'Helper');
  robot.socket.close();
  await until('it left', () => reader.events.some(({ kind, who }) => kind === 'left' && who.name === 'Robot'));

  assert.deepEqual(reader.ids, reader.ids.map((_, index) => reader.ids[0] + index), 'numbers without a gap');
  for (const { at } of reader.events) assert.ok(Math.abs(Date.now() - Date.parse(at)) < 10 * PATIENCE, at);
  const file = join(dirname(dirname(session.xauthority)), 'trail.jsonl');
  const text = await until('the file has it', () => { const text = readFileSync(file, 'utf8'); return text.includes('"left"') && text; });
  assert.equal(statSync(file).mode & 0o777, 0o600);
  for (const secret of ['SECRET', new URL(session.cdp).searchParams.get('token'), admin, session.admin_password]) {
    for (const text_ of [reader.text, text]) assert.ok(!text_.includes(secret), secret);
  }

  const later = read(session, admin, { last: reader.ids[2] });
  await until('the rest', () => later.ids.length > 3);
  assert.equal(later.ids[0], reader.ids[3], 'goes on after the event that was seen last');
  const guest = (await session.login('guest', false)).token;
  const [refused, unknown] = [read(session, guest), read(session, 'nobody')];
  await until('answers', () => refused.status && unknown.status);
  assert.deepEqual([refused.status, unknown.status], [403, 401]);
});

test('it is bounded: a reader that lags hears of the gap, and goes on', async () => {
  const lags = read(session, admin, { pause: true });
  await until('it is connected', () => lags.response);
  const robot = await cdp(session, '&name=Busy');
  for (let i = 0; i < 3_000; i += 100) await Promise.all(Array.from({ length: 100 }, (_, j) => robot.call(`Nothing.x${i + j}`)));
  robot.socket.close();
  const now = read(session, admin);
  await until('the end of it', () => now.events.some(({ kind, who }) => kind === 'left' && who.name === 'Busy'));
  assert.ok(now.ids.length <= 1_024 + 64, 'no more is kept than that');
  lags.response.resume();
  await until('the lagging one is there, too', () => lags.ids.includes(now.ids.at(-1)));
  const early = read(session, admin, { last: 1 });
  await until('it goes on', () => early.ids.includes(now.ids.at(-1)));
  assert.equal(early.names[0], 'gap');
  assert.equal(early.events[0].lost, early.ids[1] - 2);
});

test('the file goes with the session, stays with a profile, or where it is to be kept; contents are there if asked for', async () => {
  assert.ok(existsSync(join(dirname(dirname(session.xauthority)), 'trail.jsonl')));
  const folder = mkdtempSync(join(tmpdir(), 'gh-trail-'));
  try {
    for (const [options, name] of [[['--trail', join(folder, 'kept')], 'kept/trail.jsonl'], [['--profile', join(folder, 'joe')], 'joe~trail.jsonl']]) {
      const kept = await Session.start(['--no-sound', '--trail-contents', '--url', pages.url('colors.html'), ...options]);
      let erased;
      try {
        const token = (await kept.login('Helper')).token;
        erased = join(dirname(dirname(kept.xauthority)), 'trail.jsonl');
        const robot = await work(kept, token);
        robot.socket.close();
      } finally {
        await kept.stop();
      }
      const text = readFileSync(join(folder, name), 'utf8');
      for (const content of ['SECRETQUERY', 'SECRETCODE', 'SECRETTEXT', 'SECRETTYPED']) assert.ok(text.includes(content), `${name} has ${content}`);
      for (const line of text.trim().split('\n')) assert.ok(JSON.parse(line).id > 0);
      assert.ok(!existsSync(erased));
    }
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
  const file = join(dirname(dirname(session.xauthority)), 'trail.jsonl');
  await session.stop();
  assert.ok(!existsSync(file), 'without a profile nothing stays');
});
