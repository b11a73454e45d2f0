// A session that is made when a program connects to the server itself, and ended when it leaves.

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { chromium } from 'playwright-core';
import WebSocket from 'ws';
import { servePages } from './lib/pages.mjs';
import { isAlive } from './lib/process.mjs';
import { exposed } from './lib/session.mjs';
import { Fleet } from './lib/serve.mjs';
import { PATIENCE, until, within } from './lib/wait.mjs';

let pages, fleet;
before(async () => {
  pages = await servePages();
  fleet = await Fleet.start(['--max-sessions', '2'], { session: [...exposed].map((port) => `--expose=${port}`) });
});
after(async () => {
  fleet?.kill();
  await pages?.stop();
});

const address = (parameters, scheme = 'ws') => `${fleet.origin.replace(/^http/, scheme)}/cdp?${new URLSearchParams(parameters)}`;
const running = async () => (await fleet.api('GET', 'api/v1/sessions')).body.sessions.filter(({ state }) => state === 'ready' || state === 'creating');
const refusal = (url, headers = {}) => new Promise((resolve, reject) => {
  const socket = new WebSocket(url, { headers, handshakeTimeout: PATIENCE });
  socket.on('unexpected-response', async (request, response) => {
    let text = '';
    for await (const piece of response) text += piece;
    resolve({ status: response.statusCode, body: JSON.parse(text), headers: response.headers });
    request.destroy();
  });
  socket.on('open', () => { socket.terminate(); reject(new Error('it was let in')); });
  socket.on('error', () => {});
});

test('one URL makes a session with a page, and ends it; by WebSocket, and over HTTP first', async () => {
  const url = pages.url('colors.html');
  for (const [scheme, options] of [['ws', {}], ['http', { headers: { Authorization: `Bearer ${fleet.token}` } }]]) {
    const browser = await chromium.connectOverCDP(address({ url, ...(options.headers ? {} : { token: fleet.token }) }, scheme), { timeout: PATIENCE, ...options });
    const [session] = await running();
    const processes = fleet.processes(session.id);
    assert.equal(session.state, 'ready');
    const page = browser.contexts()[0].pages()[0];
    assert.equal(page.url(), url);
    assert.equal(await page.evaluate('6 * 7'), 42);
    await browser.close();
    await until('the session is over', async () => (await running()).length === 0 && !processes.some(isAlive));
    const { body } = await fleet.api('GET', `api/v1/sessions/${session.id}`);
    assert.deepEqual([body.state, body.reason], ['terminated', 'its program left']);
  }
});

test('a program without the right token, with wrong words, or one too many is refused, and nothing is made', async () => {
  const token = fleet.token;
  const { token: watcher } = await fleet.grant(['view', 'cdp']);
  const { token: own } = await fleet.grant(['control', 'cdp']);
  assert.equal((await refusal(address({}))).status, 401);
  assert.equal((await refusal(address({ token: 'gh_wrong' }))).status, 401);
  assert.equal((await refusal(address({ token: watcher }))).status, 403);
  for (const [field, value] of [['url', 'file:///etc/passwd'], ['screen', '1x'], ['screen', '5x5'], ['max_lifetime_seconds', '-1'], ['colour', 'red']]) {
    const { status, body } = await refusal(address({ token, [field]: value }));
    assert.equal(status, 422, field);
    assert.ok(body.errors[0].field.startsWith(field), JSON.stringify(body));
  }
  assert.equal((await fetch(address({ token }, 'http'))).status, 426);
  assert.equal((await fetch(`${fleet.origin}/cdp/json/version`)).status, 401);
  assert.deepEqual(await running(), []);
  // A token that is taken back ends what it made.
  const list = (await fleet.api('GET', 'api/v1/tokens')).body.tokens;
  const one = await chromium.connectOverCDP(address({ token: own }), { timeout: PATIENCE });
  const gone = new Promise((resolve) => one.on('disconnected', resolve));
  const other = await chromium.connectOverCDP(address({ token }), { timeout: PATIENCE });
  const third = await refusal(address({ token }));
  assert.equal(third.status, 429);
  assert.ok(third.headers['retry-after']);
  await fleet.api('DELETE', `api/v1/tokens/${list.find(({ powers }) => `${powers}` === 'control,cdp').id}`);
  await within('it is disconnected', gone);
  await other.close();
  await until('the sessions are over', async () => (await running()).length === 0);
});

test('the server leaves nothing', async () => {
  assert.equal(await fleet.stop(), 0);
});
