// Many sessions behind one door: the API, the page through the gateway, freezing, limits, and a server that comes back.

import assert from 'node:assert/strict';
import { once } from 'node:events';
import { request } from 'node:http';
import { before, test } from 'node:test';
import { statSync } from 'node:fs';
import { join } from 'node:path';
import WebSocket from 'ws';
import { isAlive } from './lib/process.mjs';
import { Fleet } from './lib/serve.mjs';
import { runToEnd } from './lib/session.mjs';
import { launch } from './lib/viewer.mjs';
import { PATIENCE, until } from './lib/wait.mjs';

let fleet, session;
before(async () => {
  fleet = await Fleet.start();
  session = await fleet.create({ app: 'none', sound: false, name: 'first', labels: { team: 'blue' }, environment: { SECRET: 'hidden' } });
});

/** Asks with any headers, which fetch does not let set. */
const ask = (path, headers, method = 'GET') => new Promise((resolve, reject) => {
  request(fleet.origin + path, { method, headers }, (response) => {
    response.resume();
    resolve(response.statusCode);
  }).on('error', reject).end();
});

test('a session is found, changed and kept from strangers', async () => {
  assert.match(session.id, /^[a-z2-7]{26}$/);
  assert.equal(session.path, `/s/${session.id}/`);
  const listed = await fleet.api('GET', 'api/v1/sessions?label=team%3Dblue&limit=1');
  assert.deepEqual(listed.body.sessions.map(({ id }) => id), [session.id]);
  assert.equal((await fleet.api('GET', 'api/v1/sessions?label=team%3Dred')).body.sessions.length, 0);
  assert.equal(JSON.stringify(listed.body).includes('hidden'), false);
  const changed = await fleet.api('PATCH', `api/v1/sessions/${session.id}`, { labels: { team: null, room: '7' }, idle_timeout_seconds: 0 });
  assert.deepEqual([changed.status, changed.body.labels, changed.body.idle_timeout_seconds], [200, { room: '7' }, 0]);
  const extended = await fleet.api('POST', `api/v1/sessions/${session.id}/extend`, { seconds: 3600 });
  assert.ok(Date.parse(extended.body.expires_at) > Date.now() + 3_000_000, JSON.stringify(extended.body));
  assert.equal((await fleet.api('POST', 'api/v1/sessions', { app: 'none', name: 'first' })).status, 409);
});

test('mistakes are named', async () => {
  const field = async (body, headers) => {
    const answer = await fleet.api('POST', 'api/v1/sessions', body, { headers });
    assert.equal(answer.headers.get('content-type'), 'application/problem+json');
    return [answer.status, answer.body.errors?.[0]?.field];
  };
  assert.deepEqual(await field({ screen: { width: 1, height: 720 } }), [422, 'screen.width']);
  assert.deepEqual(await field({ screen: { width: 'x', height: 720 } }), [422, 'screen.width']);
  assert.deepEqual(await field({ url: 'file:///etc/passwd' }), [422, 'url']);
  assert.deepEqual(await field({ surprise: 1 }), [422, 'surprise']);
  assert.deepEqual(await field('{'), [400, undefined]);
  assert.deepEqual(await field('x', { 'content-type': 'text/plain' }), [415, undefined]);
  assert.equal((await fleet.api('GET', 'api/v1/sessions?limit=0')).body.errors[0].field, 'limit');
  assert.equal((await fleet.api('GET', 'api/v1/sessions?whatever=1')).status, 422);
  assert.equal((await fleet.api('GET', `api/v1/sessions/${'a'.repeat(26)}`)).status, 404);
  assert.equal((await fleet.api('GET', 'api/v1/sessions/..%2f..%2fx')).status, 404);
  assert.equal((await fleet.api('PUT', 'api/v1/sessions')).status, 405);
  assert.equal(await ask(`/s/${'a'.repeat(26)}/`, {}), 404);
});

test('a token does what it is for, until it is revoked', async () => {
  const path = `api/v1/sessions/${session.id}`;
  assert.equal((await fleet.api('GET', 'api/v1/sessions', undefined, { token: null })).status, 401);
  assert.equal((await fleet.api('GET', 'api/v1/sessions', undefined, { token: `gh_${'a'.repeat(52)}` })).status, 401);
  const view = await fleet.grant(['view'], session.id);
  const with_view = (method, path, body) => fleet.api(method, path, body, { token: view.token });
  assert.equal((await with_view('GET', path)).status, 200);
  assert.deepEqual((await with_view('GET', 'api/v1/sessions')).body.sessions.map(({ id }) => id), [session.id]);
  for (const [method, where, body] of [['DELETE', path], ['POST', `${path}/freeze`], ['POST', `${path}/links`, {}], ['POST', 'api/v1/sessions', {}], ['GET', 'api/v1/tokens'], ['GET', 'api/v1/events']]) {
    assert.equal((await with_view(method, where, body)).status, 403, `${method} ${where}`);
  }
  const other = await fleet.create();
  assert.equal((await with_view('GET', `api/v1/sessions/${other.id}`)).status, 404);
  assert.equal((await fleet.api('DELETE', `api/v1/sessions/${other.id}`)).body.state, 'terminated');
  assert.equal((await fleet.api('DELETE', `api/v1/tokens/${view.id}`)).status, 204);
  assert.equal((await with_view('GET', path)).status, 401);
  const audit = (await fleet.api('GET', 'api/v1/audit')).body.entries;
  assert.ok(audit.some(({ action, target, origin }) => action === 'token.revoke' && target === view.id && origin === '127.0.0.1'));
  assert.ok(!JSON.stringify(audit).includes(view.token));
});

test('other hosts, and pages of other sites, are turned away', async () => {
  const host = new URL(fleet.url).host;
  assert.equal(await ask('/healthz', { host: 'rebound.example' }), 421);
  assert.equal(await ask(`/s/${session.id}/`, { host: 'rebound.example' }), 421);
  assert.equal(await ask('/api/v1/sessions', { host, origin: 'http://evil.example', authorization: `Bearer ${fleet.token}` }, 'POST'), 403);
  const socket = { host, connection: 'Upgrade', upgrade: 'websocket', origin: 'http://evil.example', 'sec-websocket-version': '13', 'sec-websocket-key': 'AAAAAAAAAAAAAAAAAAAAAA==' };
  assert.equal(await ask(`/s/${session.id}/api/ws`, socket), 403);
  assert.equal(await ask(`/s/${session.id}/api/ws`, { ...socket, upgrade: 'h2c', origin: `http://${host}` }), 400);
  // What is the session's own is not reached by any path.
  assert.equal(await ask(`/s/${session.id}/../../managed/frozen`, { host }), 404);
  assert.equal(await ask(`/s/${session.id}//managed/frozen`, { host }), 404);
  assert.equal(await ask('/managed/frozen', { host }), 404);
});

test('a viewer sees the picture through the gateway, and events tell of the end', async () => {
  const events = await fetch(`${fleet.url}api/v1/events`, { headers: { authorization: `Bearer ${fleet.token}` }, signal: AbortSignal.timeout(4 * PATIENCE) });
  const reader = events.body.getReader();
  const browser = await launch();
  try {
    const shown = await fleet.create();
    const link = await fleet.api('POST', `api/v1/sessions/${shown.id}/links`, { admin: true });
    assert.equal(link.status, 201);
    assert.ok(link.body.url.startsWith(`${fleet.url}s/${shown.id}/#token=`));
    const page = await browser.newPage();
    await page.goto(link.body.url);
    await page.waitForFunction(() => document.querySelector('video')?.videoWidth > 0, null, { timeout: 60_000 });
    assert.equal(new URL(page.url()).pathname, shown.path);
    await until('the viewer is counted', async () => (await fleet.api('GET', `api/v1/sessions/${shown.id}`)).body.connections === 1);
    const picture = await fetch(`${fleet.url}api/v1/sessions/${shown.id}/screenshot`, { headers: { authorization: `Bearer ${fleet.token}` } });
    assert.deepEqual([...new Uint8Array(await picture.arrayBuffer()).slice(0, 3)], [0xff, 0xd8, 0xff]);
    const processes = fleet.processes(shown.id);
    assert.ok(processes.length > 3, JSON.stringify(processes));
    const ended = await fleet.api('DELETE', `api/v1/sessions/${shown.id}`);
    assert.deepEqual([ended.status, ended.body.state, ended.body.reason], [200, 'terminated', 'deleted']);
    await until('no process is left', () => processes.every((one) => !isAlive(one)));
    assert.equal(await ask(shown.path, {}), 404);
    let told = '';
    // Of other sessions, too.
    const states = () => [...told.matchAll(/^data: (.*)\n\n/gm)].map(([, data]) => JSON.parse(data)).filter((event) => event.session === shown.id).map(({ state }) => state);
    while (!states().includes('terminated')) {
      const { value, done } = await reader.read();
      if (done) break;
      told += new TextDecoder().decode(value);
    }
    assert.deepEqual(states(), ['creating', 'ready', 'terminated']);
  } finally {
    await reader.cancel();
    await browser.close();
  }
});

test('a frozen session goes on when it is used', async () => {
  const frozen = await fleet.api('POST', `api/v1/sessions/${session.id}/freeze`);
  assert.deepEqual([frozen.status, frozen.body.state], [200, 'frozen'], JSON.stringify(frozen.body));
  // Looking at how it is does not wake it.
  assert.equal((await fleet.api('GET', `s/${session.id}/healthz`)).status, 200);
  assert.equal((await fleet.api('GET', `api/v1/sessions/${session.id}`)).body.state, 'frozen');
  assert.equal((await fleet.api('GET', `s/${session.id}/`)).status, 200);
  assert.equal((await fleet.api('GET', `api/v1/sessions/${session.id}`)).body.state, 'ready');
  await fleet.api('POST', `api/v1/sessions/${session.id}/freeze`);
  assert.equal((await fleet.api('POST', `api/v1/sessions/${session.id}/thaw`)).body.state, 'ready');
});

test('a program drives the browser through the gateway, with the power to', async () => {
  const driven = await fleet.create({ sound: false, locale: 'de-DE', timezone: 'Asia/Tokyo', idle_freeze_seconds: 0 });
  const path = `api/v1/sessions/${driven.id}/cdp`;
  const control = await fleet.grant(['control'], driven.id);
  assert.equal((await fleet.api('POST', path, undefined, { token: control.token })).status, 403);
  const { token } = await fleet.grant(['cdp'], driven.id);
  // Chromium starts after the session is ready.
  const { url } = await until('there is a browser', async () => {
    const { status, body } = await fleet.api('POST', path, undefined, { token });
    return status === 200 && body;
  });
  const socket = new WebSocket(url);
  const waiting = new Map();
  socket.on('message', (text) => {
    const { id, result, error } = JSON.parse(text);
    waiting.get(id)?.(result ?? error);
  });
  await once(socket, 'open', { signal: AbortSignal.timeout(PATIENCE) });
  const call = (method, params, sessionId) => new Promise((resolve, reject) => {
    const id = waiting.size + 1;
    setTimeout(() => reject(new Error(`${method} is not answered`)), PATIENCE).unref();
    waiting.set(id, resolve);
    socket.send(JSON.stringify({ id, method, params, sessionId }));
  });
  const { targetId } = await call('Target.createTarget', { url: 'about:blank' });
  const { sessionId } = await call('Target.attachToTarget', { targetId, flatten: true });
  const expression = '[navigator.language, Intl.DateTimeFormat().resolvedOptions().timeZone]';
  const seen = (await call('Runtime.evaluate', { expression, returnByValue: true }, sessionId)).result?.value;
  socket.close();
  assert.deepEqual(seen, ['de-DE', 'Asia/Tokyo']);
  assert.equal((await fleet.api('POST', `api/v1/sessions/${session.id}/cdp`)).status, 409);
  assert.equal((await fleet.api('DELETE', `api/v1/sessions/${driven.id}`)).body.state, 'terminated');
});

test('the same request again makes no second session', async () => {
  const headers = { 'idempotency-key': 'one' };
  const spec = { app: 'none', sound: false };
  const both = await Promise.all([1, 2].map(() => fleet.api('POST', 'api/v1/sessions', spec, { headers })));
  assert.deepEqual(both.map(({ status }) => status).sort(), [200, 201]);
  assert.equal(both[0].body.id, both[1].body.id);
  assert.equal((await fleet.api('POST', 'api/v1/sessions', { app: 'none' }, { headers })).status, 422);
  assert.equal((await fleet.api('DELETE', `api/v1/sessions/${both[0].body.id}`)).body.state, 'terminated');
});

test('a server that is killed comes back to its sessions', async () => {
  const before = fleet.processes(session.id)[0];
  const starting = (await fleet.api('POST', 'api/v1/sessions', { app: 'none', sound: false })).body;
  await until('it has a process', () => { try { return fleet.processes(starting.id).length; } catch { return 0; } });
  fleet.seen.child.kill('SIGKILL');
  await fleet.seen.ended;
  assert.ok(isAlive(before));
  await fleet.serve();
  assert.equal(fleet.first.token, null);
  const found = await fleet.api('GET', `api/v1/sessions/${session.id}`);
  assert.deepEqual([found.body.state, found.body.name, found.body.labels], ['ready', 'first', { room: '7' }]);
  assert.ok(isAlive(before));
  assert.equal((await fleet.api('GET', `api/v1/sessions/${session.id}/screenshot`)).status, 200);
  assert.equal((await fleet.api('GET', `api/v1/sessions/${starting.id}?wait=60`)).body.state, 'ready');
  const taken = fleet.processes(starting.id);
  process.kill(taken[0].pid, 'SIGKILL');
  await until('its end is noticed', async () => (await fleet.api('GET', `api/v1/sessions/${starting.id}`)).body.state === 'failed');
  await until('nothing is left of it', () => taken.every((one) => !isAlive(one)));
});

test('the command line does the same', async () => {
  const made = await fleet.command('new', '--app', 'none', '--name', 'by-hand', '--json');
  assert.equal(made.code, 0, made.err);
  const { id, link } = JSON.parse(made.out);
  assert.ok(link.includes(`/s/${id}/#token=`));
  const listed = await fleet.command('ls', '--json');
  assert.ok(JSON.parse(listed.out).some((one) => one.id === id && one.name === 'by-hand'));
  assert.equal((await fleet.command('freeze', 'by-hand')).out.trim(), `${id} frozen`);
  assert.equal((await fleet.command('thaw', id)).out.trim(), `${id} ready`);
  const ran = await runToEnd(['exec', '--state', fleet.state, 'by-hand', '--', 'sh', '-c', 'echo hello; echo oops >&2; exit 3']);
  assert.deepEqual([ran.code, ran.out, ran.err], [3, 'hello\n', 'oops\n']);
  assert.ok((await fleet.command('open', 'by-hand')).out.includes(`/s/${id}/#token=`));
  assert.equal((await fleet.command('logs', id)).code, 0);
  assert.equal((await fleet.command('rm', 'by-hand')).out.trim(), `${id} terminated`);
  const again = await fleet.command('rm', id);
  assert.deepEqual([again.code, again.err.includes('no such session')], [1, true]);
  for (const file of ['admin-token', 'fleet.db', 'address']) assert.equal(statSync(join(fleet.state, file)).mode & 0o777, 0o600, file);
});

test('it says how it is, and describes itself', async () => {
  for (const path of ['healthz', 'readyz']) assert.equal((await fleet.api('GET', path, undefined, { token: null })).body, 'ok\n');
  const metrics = (await fleet.api('GET', 'metrics', undefined, { token: null })).body;
  assert.match(metrics, /^glasshouse_fleet_sessions\{state="ready"\} 1$/m);
  assert.ok(!metrics.includes(session.id));
  const document = (await fleet.api('GET', 'openapi.json', undefined, { token: null })).body;
  assert.ok(document.paths['/api/v1/sessions/{id}/freeze'].post);
  assert.match((await fleet.api('GET', 'api', undefined, { token: null })).body, /POST \/api\/v1\/sessions/);
});

// A test and not a hook: what a failure leaves is cleared away before hooks of this file.
test('nothing is left at the end', async () => { assert.equal(await fleet.stop(), 0); });
