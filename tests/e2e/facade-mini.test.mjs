// Mini-Browser-Isolation's page and API against us: its steps, its shapes, its statuses.

import assert from 'node:assert/strict';
import { after, afterEach, before, test } from 'node:test';
import WebSocket from 'ws';
import { serveFront } from './lib/front.mjs';
import { servePages } from './lib/pages.mjs';
import { Fleet } from './lib/serve.mjs';
import { exposed } from './lib/session.mjs';
import { launch } from './lib/viewer.mjs';
import { PATIENCE, until } from './lib/wait.mjs';

const COLORS = [[255, 0, 0], [0, 255, 0], [0, 0, 255], [255, 255, 255], [255, 255, 0], [0, 255, 255], [255, 0, 255], [32, 32, 32]];
const TOLERANCE = 12;
const UUID = /^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/;
const NOBODY = '00000000-0000-4000-8000-000000000000';

let pages, front, fleet, browser;
before(async () => {
  pages = await servePages();
  front = await serveFront();
  fleet = await Fleet.start(['--facade', 'mini-browser-isolation', '--facade-open', '--allowed-origin', front.origin], {
    session: [...exposed].map((port) => `--expose=${port}`), env: { MAX_SESSIONS: '2', STUN_HOST: '' },
  });
  front.target = new URL(fleet.url).host;
  browser = await launch();
});
after(async () => {
  await browser?.close();
  fleet?.kill();
  await front?.stop();
  await pages?.stop();
});

// What a failed test has left would take the place of the next one's.
afterEach(async () => {
  if (fleet.seen.child.exitCode !== null) return;
  const { body } = await fleet.api('GET', 'api/v1/sessions');
  await Promise.all(body.sessions.map(({ id }) => fleet.api('DELETE', `api/v1/sessions/${id}`)));
});

/** The original's API, as any client uses it: status, body and headers. */
async function call(method, path, body, { headers = {}, to = fleet } = {}) {
  const response = await fetch(`${to.origin}${path}`, {
    method, redirect: 'manual', body: typeof body === 'object' ? JSON.stringify(body) : body,
    headers: { ...(body === undefined ? {} : { 'content-type': 'application/json' }), ...headers },
  });
  const text = await response.text();
  let value = text;
  try { value = JSON.parse(text); } catch { /* not JSON */ }
  return { status: response.status, body: value, headers: response.headers };
}

const created = async (url) => {
  const { status, body } = await call('POST', '/api/sessions', { url });
  assert.equal(status, 201, JSON.stringify(body));
  return body.sessionId;
};
const ready = (id) => until('it is ready', async () => (await call('GET', `/api/sessions/${id}`)).body.status === 'ready');
const metric = async (line) => {
  const { body } = await call('GET', '/metrics');
  const found = body.split('\n').find((one) => one.startsWith(`${line} `));
  return found === undefined ? null : Number(found.slice(line.length + 1));
};

/** Opens the page, and starts a session with it. */
async function start(url, { prepare } = {}) {
  const context = await browser.newContext({ viewport: { width: 1280, height: 800 } });
  const page = await context.newPage();
  await prepare?.(page);
  // The original's patience is 15 s, and a busy machine's sessions may need longer.
  await page.goto(`${front.origin}/?patience=${PATIENCE}`);
  await page.fill('input[type="url"]', url);
  await page.click('button:has-text("Start Session")');
  return { context, page, get: (name) => page.evaluate((name) => window.session[name], name) };
}

/** Colours of what the page shows, at eight places. */
const colors = (page) => page.evaluate(() => {
  const image = document.querySelector('#view video:not(.none)') ?? document.querySelector('#view img:not(.none)');
  const [width, height] = image instanceof HTMLVideoElement ? [image.videoWidth, image.videoHeight] : [image.naturalWidth, image.naturalHeight];
  if (!width) return null;
  const canvas = Object.assign(document.createElement('canvas'), { width, height });
  const context = canvas.getContext('2d');
  context.drawImage(image, 0, 0);
  const at = (i) => [...context.getImageData(Math.round(width * (i % 4 + 0.5) / 4), Math.round(height * (i < 4 ? 0.25 : 0.75)), 1, 1).data].slice(0, 3);
  return { size: [width, height], seen: Array.from({ length: 8 }, (_, i) => at(i)) };
});
const hasColors = async (page) => {
  const shown = await colors(page);
  return shown && `${shown.size}` === '1280,720'
    && shown.seen.every((color, i) => color.every((value, c) => Math.abs(value - COLORS[i][c]) <= TOLERANCE));
};

/** Uses pointer, wheel and keys of the page, and sees what arrives in the session's own page. */
async function drive(page) {
  const events = (...types) => pages.reports.filter(({ type }) => types.includes(type));
  const typed = () => pages.reports.findLast(({ type }) => type === 'text')?.text;
  await until('the page in the session has focus', () => events('ready').length > 0);
  const box = await page.locator('#view').boundingBox();
  const point = (x, y) => [box.x + x, box.y + y];
  // Chromium drops input until a page was first painted, and does not say when that is.
  await until('clicks arrive', async () => { await page.mouse.click(...point(200, 100)); return events('mouseup').length > 0; });
  pages.reports.length = 0;

  await page.mouse.move(...point(640, 500));
  await until('the pointer', () => events('mousemove').some(({ screen }) => `${screen}` === '640,500'));
  for (const [button, number] of [['left', 0], ['middle', 1], ['right', 2]]) {
    pages.reports.length = 0;
    await page.mouse.click(...point(400, 600), { button });
    // Clicks of before, made while nobody knew whether one arrives, may still come.
    const here = (type) => events(type).filter(({ screen }) => `${screen}` === '400,600').map((event) => event.button);
    await until(`a ${button} click`, () => here('mouseup').includes(number));
    assert.deepEqual([here('mousedown'), here('mouseup')], [[number], [number]]);
  }
  for (const [x, y] of [[0, 120], [0, -120], [120, 0], [-120, 0]]) {
    pages.reports.length = 0;
    await page.mouse.wheel(x, y);
    await until(`the wheel ${x},${y}`, () => events('wheel').some((event) => Math.sign(event.x) === Math.sign(x) && Math.sign(event.y) === Math.sign(y)));
  }
  await until('the field has the keyboard', async () => {
    pages.reports.length = 0;
    await page.mouse.click(...point(200, 100));
    // Keys overtake clicks inside Chromium, which finds out first whom a click hits.
    await until('the click', () => events('mouseup').length > 0);
    await page.keyboard.press('a');
    return until('a letter', () => typed()?.endsWith('a'), 1_000).catch(() => false);
  });
  await page.keyboard.press('Control+a');
  await page.keyboard.press('Backspace');
  await until('an empty field', () => typed() === '');
  await page.keyboard.type('Hello, World? #42');
  // Both sides' layouts lack these.
  for (const key of ['ö', '€', 'Ж']) await page.evaluate((key) => { for (const type of ['keydown', 'keyup']) window.sendInput({ type, key, code: '' }); }, key);
  await page.keyboard.press('ArrowLeft');
  await page.keyboard.press('Delete');
  await page.keyboard.press('Enter');
  await page.keyboard.type('ok');
  await until('the text', () => typed() === 'Hello, World? #42ö€\nok').catch((error) => {
    throw new Error(`${error.message}; the field has ${JSON.stringify(typed())}`);
  });
  pages.reports.length = 0;
  await page.keyboard.press('Shift+F5');
  await until('a key with a modifier', () => events('keydown').some(({ key, shift }) => key === 'F5' && shift));
  await until('the modifier is let go', () => events('keyup').some(({ key }) => key === 'Shift'));
}

test('the page: picture by WebRTC, input by its data channel, and the end', async () => {
  const before = await metric('browser_sessions_total{result="created"}') ?? 0;
  const { page, context, get } = await start(pages.url('colors.html'));
  await page.locator('#status', { hasText: 'ready' }).waitFor({ timeout: PATIENCE });
  // It asks for the state and for the picture by two ways of their own.
  await until('one picture', async () => await page.locator('video:visible, img[src^="data:image"]:visible').count() === 1);
  assert.equal(await page.evaluate(() => Boolean(document.querySelector('video').srcObject)), true);
  await until('the colours', () => hasColors(page)).catch(async (error) => {
    throw new Error(`${error.message}; seen ${JSON.stringify(await colors(page))}`);
  });
  assert.equal(await get('mode'), 'webrtc');
  assert.deepEqual(await get('offers'), [200]);
  assert.deepEqual(await get('iceServers'), []);
  const answer = await get('created');
  assert.deepEqual(Object.keys(answer), ['sessionId', 'status', 'createdAt']);
  assert.match(answer.sessionId, UUID);
  assert.equal(answer.status, 'starting');
  // Its own test looks for "starting" meanwhile, which two elements say afterwards.
  assert.ok(await get('held') >= 600, 'the answer leaves time for a look');
  assert.ok(Math.abs(Date.parse(answer.createdAt) - Date.now()) < 2 * PATIENCE && answer.createdAt.endsWith('Z'));
  const last = await get('last');
  assert.deepEqual(Object.keys(last), ['sessionId', 'status', 'createdAt', 'url', 'error', 'metrics']);
  assert.deepEqual([last.url, last.error, last.createdAt], [pages.url('colors.html'), '', answer.createdAt]);
  assert.deepEqual(Object.keys(last.metrics), ['uptimeSec', 'cpuPercent', 'memMB']);
  // What it uses is told if it is known in time.
  await until('what it uses', async () => {
    const { uptimeSec, cpuPercent, memMB } = (await call('GET', `/api/sessions/${answer.sessionId}`)).body.metrics;
    return uptimeSec > 0 && cpuPercent >= 0 && memMB > 0;
  });

  // Its development build makes two offers at once, of two connections; a reload makes another.
  const more = await page.evaluate(async () => Promise.all([0, 1, 2].map(async () => {
    const pc = new RTCPeerConnection();
    pc.addTransceiver('video', { direction: 'recvonly' });
    const offer = await pc.createOffer();
    await pc.setLocalDescription(offer);
    const response = await fetch(`/api/sessions/${window.session.id}/offer`, { method: 'POST', body: JSON.stringify(offer) });
    const answer = await response.json();
    await pc.setRemoteDescription(answer);
    return { status: response.status, keys: Object.keys(answer), type: answer.type };
  })));
  assert.deepEqual(more, Array(3).fill({ status: 200, keys: ['type', 'sdp'], type: 'answer' }));
  assert.equal(await metric('browser_sessions_active'), 1);

  await page.click('button:has-text("End Session")');
  await page.locator('button:has-text("Start Session")').waitFor({ timeout: PATIENCE });
  assert.equal(await get('deleted'), 204);
  assert.equal((await call('GET', `/api/sessions/${answer.sessionId}`)).body.status, 'terminated');
  assert.equal(await metric('browser_sessions_total{result="created"}'), before + 1);
  assert.ok(await metric('browser_session_duration_seconds_count') >= 1);
  await context.close();
});

test('pointer, wheel, keys and text by the data channel arrive; junk harms nobody', async () => {
  pages.reports.length = 0;
  const { page, context, get } = await start(pages.url('input.html'));
  await until('the channel is open', () => page.evaluate(() => window.session.channel?.readyState === 'open'));
  await page.evaluate(() => {
    const { channel } = window.session;
    for (const junk of ['', 'x', '{', '[]', 'null', '{"type":5}', '{"type":"mousemove","x":"a"}', '{"type":"nonsense"}', 'x'.repeat(60_000), '\u0000']) channel.send(junk);
    channel.send(new Uint8Array([1, 2, 3, 255]));
    window.sendInput({ type: 'mousemove', x: 1e300, y: -1e300 });
    window.sendInput({ type: 'mousedown', x: 5, y: 5, button: 99 });
  });
  await drive(page);
  assert.equal(await get('mode'), 'webrtc');
  await page.click('button:has-text("End Session")');
  await page.locator('button:has-text("Start Session")').waitFor({ timeout: PATIENCE });
  await context.close();
});

test('without WebRTC: pictures by WebSocket, and input by it', async () => {
  pages.reports.length = 0;
  const fallbacks = await metric('browser_webrtc_fallbacks_total');
  const without = { prepare: (page) => page.route('**/offer', (route) => route.abort()) };
  const { page, context, get } = await start(pages.url('colors.html'), without);
  await page.locator('#view img:visible').waitFor({ timeout: PATIENCE });
  await until('the colours', () => hasColors(page)).catch(async (error) => {
    throw new Error(`${error.message}; seen ${JSON.stringify(await colors(page))}`);
  });
  assert.equal(await get('mode'), 'websocket');
  assert.equal(await metric('browser_webrtc_fallbacks_total'), fallbacks + 1);
  await page.click('button:has-text("End Session")');
  await page.locator('button:has-text("Start Session")').waitFor({ timeout: PATIENCE });
  await context.close();

  const other = await start(pages.url('input.html'), without);
  await other.page.locator('#view img:visible').waitFor({ timeout: PATIENCE });
  await other.page.evaluate(() => { for (const junk of ['', 'x', '{"type":{}}', 'y'.repeat(40_000)]) window.session.socket.send(junk); window.session.socket.send(new Uint8Array([0, 1])); });
  await drive(other.page);
  assert.equal(await other.page.evaluate(() => window.session.closed), undefined);
  await other.page.click('button:has-text("End Session")');
  await other.page.locator('button:has-text("Start Session")').waitFor({ timeout: PATIENCE });
  await other.context.close();
});

test('who reads slowly gets the latest picture, not all of them', async () => {
  // Its caret blinks for ever, and so the picture changes.
  const id = await created(pages.url('input.html'));
  await ready(id);
  const address = `${fleet.origin.replace('http', 'ws')}/ws/sessions/${id}`;
  const reader = (options) => {
    const one = { socket: new WebSocket(address, options), frames: [], pings: [] };
    one.socket.on('message', (data, isBinary) => one.frames.push({ ...JSON.parse(data), isBinary }));
    one.socket.on('ping', (data) => one.pings.push(data));
    return one;
  };
  const [slow, fast] = [reader({ autoPong: false }), reader()];
  await until('the slow one is sent what it may be sent', () => slow.frames.length >= 2);
  await until('the other gets many more', () => fast.frames.length >= 6);
  assert.equal(slow.frames.length, 2);
  for (const { type, data, isBinary } of fast.frames) {
    assert.deepEqual([type, isBinary], ['frame', false]);
    assert.ok(Buffer.from(data, 'base64').subarray(0, 3).equals(Buffer.from([0xff, 0xd8, 0xff])));
  }
  slow.socket.pong(slow.pings.at(-1));
  await until('it goes on', () => slow.frames.length > 2);
  slow.socket.close(); fast.socket.close();
  assert.equal((await call('DELETE', `/api/sessions/${id}`)).status, 204);
});

/** What a WebSocket is refused with. */
const refusal = (path, headers = {}) => new Promise((resolve, reject) => {
  const socket = new WebSocket(`${fleet.origin.replace('http', 'ws')}${path}`, { headers, handshakeTimeout: PATIENCE });
  socket.on('unexpected-response', async (request, response) => {
    let text = '';
    for await (const piece of response) text += piece;
    resolve({ status: response.statusCode, text });
    request.destroy();
  });
  socket.on('open', () => { socket.terminate(); reject(new Error('it was let in')); });
  socket.on('error', () => {});
});

test('statuses, limits and the end are the original\'s', async () => {
  assert.deepEqual((await call('GET', '/healthz')).body, { status: 'ok' });
  const missing = { error: 'session not found' };
  for (const [method, path, body] of [['GET', ''], ['DELETE', ''], ['GET', '/ice'], ['POST', '/offer', { type: 'offer', sdp: 'v=0' }]]) {
    for (const id of [NOBODY, 'nonsense', 'a'.repeat(200)]) {
      const answer = await call(method, `/api/sessions/${id}${path}`, body);
      assert.deepEqual([answer.status, answer.body], [404, missing], `${method} ${id}${path}`);
    }
  }
  assert.deepEqual(await refusal(`/ws/sessions/${NOBODY}`), { status: 404, text: JSON.stringify(missing) });
  for (const [method, path] of [['GET', '/api/sessions'], ['PUT', `/api/sessions/${NOBODY}`], ['GET', '/api/sessions/a/b/c'], ['POST', '/ws/sessions/a'], ['GET', '/ws/sessions']]) {
    const answer = await call(method, path);
    assert.deepEqual([answer.status, answer.body], [404, '404 page not found'], `${method} ${path}`);
  }
  for (const [method, status] of [['GET', 301], ['DELETE', 307], ['POST', 307]]) {
    const answer = await call(method, `/api/sessions/${NOBODY}/?x=1`);
    assert.deepEqual([answer.status, answer.headers.get('location')], [status, `/api/sessions/${NOBODY}?x=1`]);
  }
  for (const body of ['', '{', '{}', '{"url":""}', '{"url":7}', '[]', '{"url":"file:///etc/passwd"}', '{"url":"javascript:alert(1)"}', '{"url":"example.com"}']) {
    const answer = await call('POST', '/api/sessions', body);
    assert.deepEqual([answer.status, Object.keys(answer.body), typeof answer.body.error], [400, ['error'], 'string'], body);
  }
  // Pages of other sites, and names that lead here by accident, stay out.
  const foreign = await call('POST', '/api/sessions', { url: 'https://example.com' }, { headers: { origin: 'http://evil.example' } });
  assert.equal(foreign.status, 403);
  assert.equal((await refusal(`/ws/sessions/${NOBODY}`, { origin: 'http://evil.example' })).status, 403);

  const [one, two] = [await created('http://127.0.0.1:9/nothing-is-there'), await created('about:blank')];
  const third = await call('POST', '/api/sessions', { url: 'about:blank' });
  assert.deepEqual([third.status, third.body], [503, { error: 'max concurrent sessions reached' }]);
  // Ready does not depend on the page.
  await ready(one);
  for (const body of ['', '{', '{"type":"offer"}', JSON.stringify({ type: 'offer', sdp: 'junk' })]) {
    const answer = await call('POST', `/api/sessions/${one}/offer`, body);
    assert.deepEqual([answer.status, Object.keys(answer.body)], [400, ['error']], body);
  }
  assert.equal((await call('GET', `/ws/sessions/${one}`)).status, 400);

  assert.equal((await call('DELETE', `/api/sessions/${one}`)).status, 204);
  assert.equal((await call('DELETE', `/api/sessions/${one}`)).status, 204);
  // Its place is free at once.
  const next = await created('about:blank');
  const offer = await call('POST', `/api/sessions/${one}/offer`, { type: 'offer', sdp: 'v=0' });
  assert.deepEqual([offer.status, offer.body], [409, { error: 'session not ready: terminated' }]);
  assert.equal((await refusal(`/ws/sessions/${one}`)).status, 409);
  assert.equal((await call('GET', `/api/sessions/${one}/ice`)).status, 200);
  const ended = await call('GET', `/api/sessions/${one}`);
  assert.deepEqual([ended.status, ended.body.status, ended.body.metrics.memMB], [200, 'terminated', 0]);
  assert.ok(ended.body.metrics.uptimeSec > 0);

  // Killed from outside, which is an error of its own; another server finds the names again.
  await ready(two);
  const { body } = await fleet.api('GET', 'api/v1/sessions?label=facade%3Dmini-browser-isolation');
  const killed = body.sessions.find(({ labels }) => labels['facade-session'] === two);
  process.kill(fleet.processes(killed.id)[0].pid, 'SIGKILL');
  await until('it failed', async () => (await call('GET', `/api/sessions/${two}`)).body.status === 'error');
  assert.match((await call('GET', `/api/sessions/${two}`)).body.error, /signal 9/);
  await ready(next);
  fleet.seen.child.kill('SIGKILL');
  await fleet.seen.ended;
  await fleet.serve();
  assert.equal((await call('GET', `/api/sessions/${next}`)).body.status, 'ready');
  assert.equal((await call('GET', `/api/sessions/${one}`)).body.status, 'terminated');
  assert.equal((await call('DELETE', `/api/sessions/${next}`)).status, 204);

  const { body: metrics } = await call('GET', '/metrics');
  for (const name of ['browser_sessions_total', 'browser_sessions_active', 'browser_session_duration_seconds_bucket', 'browser_container_spawn_errors_total',
    'browser_signaling_requests_total', 'browser_webrtc_fallbacks_total', 'browser_http_request_duration_seconds_bucket']) {
    if (name !== 'browser_sessions_total' && name !== 'browser_signaling_requests_total') assert.match(metrics, new RegExp(`^${name}[ {]`, 'm'), name);
  }
  assert.match(metrics, /^browser_http_request_duration_seconds_count\{method="GET",path="\/api\/sessions\/:id",status="200"\} \d+$/m);
  assert.equal(await fleet.stop(), 0);
});

test('closed unless it is opened: not served, then with a token only', async () => {
  const plain = await Fleet.start();
  assert.equal((await call('POST', '/api/sessions', { url: 'about:blank' }, { to: plain })).status, 404);
  assert.equal((await call('GET', '/healthz', undefined, { to: plain })).body, 'ok\n');
  assert.equal(await plain.stop(), 0);

  const closed = await Fleet.start(['--facade', 'mini-browser-isolation']);
  const refused = await call('POST', '/api/sessions', { url: 'about:blank' }, { to: closed });
  assert.deepEqual([refused.status, Object.keys(refused.body)], [401, ['error']]);
  assert.equal((await call('GET', `/api/sessions/${NOBODY}`, undefined, { to: closed })).status, 401);
  const { token: watcher } = await closed.grant(['view']);
  const bearer = (token) => ({ headers: { authorization: `Bearer ${token}` }, to: closed });
  assert.equal((await call('POST', '/api/sessions', { url: 'about:blank' }, bearer(watcher))).status, 403);
  const made = await call('POST', '/api/sessions', { url: 'about:blank' }, bearer(closed.token));
  assert.equal(made.status, 201);
  const path = `/api/sessions/${made.body.sessionId}`;
  assert.equal((await call('GET', `${path}?token=${watcher}`, undefined, { to: closed })).status, 200);
  assert.equal((await call('DELETE', `${path}?token=${watcher}`, undefined, { to: closed })).status, 403);
  // A page that knows of no token has it by a cookie.
  const login = await call('GET', `/api/login?token=${closed.token}`, undefined, { to: closed });
  assert.deepEqual([login.status, login.headers.get('location')], [303, '/']);
  const [cookie] = login.headers.get('set-cookie').split(';');
  assert.match(login.headers.get('set-cookie'), /HttpOnly; SameSite=Strict/);
  assert.equal((await call('GET', path, undefined, { headers: { cookie }, to: closed })).status, 200);
  assert.equal((await call('GET', '/api/login?token=gh_wrong', undefined, { to: closed })).status, 401);
  // A token of another session's does not know this one.
  const other = await closed.create();
  const { token: strange } = await closed.grant(['view', 'control'], other.id);
  const unknown = await call('GET', path, undefined, bearer(strange));
  assert.deepEqual([unknown.status, unknown.body], [404, { error: 'session not found' }]);
  assert.equal((await call('DELETE', path, undefined, bearer(closed.token))).status, 204);
  assert.equal(await closed.stop(), 0);
});
