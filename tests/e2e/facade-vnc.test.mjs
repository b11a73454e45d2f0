// VNC through a server: tokens of the fleet, and browser-use-vnc's interface for its clients.

import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { RfbClient, refusal } from './lib/rfb.mjs';
import { Fleet } from './lib/serve.mjs';
import { runToEnd } from './lib/session.mjs';
import { launch } from './lib/viewer.mjs';
import { until } from './lib/wait.mjs';

let browser, closed, open;
before(async () => {
  browser = await launch();
  closed = await Fleet.start(['--facade', 'browser-use-vnc', '--idle-freeze', '0'], { session: ['--no-sound'] });
});
after(async () => {
  await browser?.close();
  closed?.kill();
  open?.kill();
});

const isNear = (color, other) => color.every((value, index) => Math.abs(value - other[index]) <= 12);
const call = async (fleet, method, path, { token, body } = {}) => {
  const response = await fetch(fleet.url + path, { method, body, redirect: 'manual', headers: token ? { authorization: `Bearer ${token}` } : {} });
  const text = await response.text();
  return { status: response.status, headers: response.headers, body: text && JSON.parse(text) };
};
const running = async (fleet) => (await fleet.api('GET', 'api/v1/sessions')).body.sessions;

/** Opens an address as a person does, and waits for a colour in the middle of its screen. */
async function see(url, color) {
  const context = await browser.newContext({ viewport: { width: 1280, height: 720 } });
  const page = await context.newPage();
  await page.goto(url);
  await page.locator('canvas').first().waitFor();
  await until(`the colour ${color}`, async () => isNear(await page.evaluate(() => {
    const canvas = document.querySelector('canvas');
    return [...canvas.getContext('2d').getImageData(canvas.width / 2, canvas.height - 100, 1, 1).data].slice(0, 3);
  }), color));
  return context;
}

test('tokens of the fleet let in as far as they go, and out again', async () => {
  const { id } = await closed.create();
  const { id: other } = await closed.create();
  const socket = (token, session = id) => `${closed.origin.replace(/^http/, 'ws')}/s/${session}/websockify${token ? `?token=${token}` : ''}`;
  const share = async (powers) => {
    const { status, body } = await closed.api('POST', `api/v1/sessions/${id}/share`, { powers });
    assert.equal(status, 201, JSON.stringify(body));
    return { ...body, token: new URL(body.url).hash.replace('#token=', '') };
  };
  const [view, control] = [await share(['view']), await share(['control'])];
  const room = async () => {
    const { body } = await closed.api('POST', `api/v1/sessions/${id}/join`);
    const login = await fetch(`${closed.url}s/${id}/api/login`, { method: 'POST', headers: { 'content-type': 'application/json' }, body: JSON.stringify({ username: 'keeper', password: body.token }) });
    return (await login.json()).token;
  };
  const keeper = await room();
  const ask = async (path) => (await fetch(`${closed.url}s/${id}/api/${path}`, { headers: { authorization: `Bearer ${keeper}` } })).json();

  const watcher = await RfbClient.connect(socket(view.token));
  const driver = await RfbClient.connect(socket(undefined), { headers: { authorization: `Bearer ${control.token}` } });
  await until('the fleet counts them', async () => (await closed.api('GET', `api/v1/sessions/${id}`)).body.connections === 2);
  await until('so does its usage', async () => (await closed.api('GET', `api/v1/sessions/${id}/usage`)).body.viewers === 2);
  watcher.click(10, 10);
  await watcher.pixel(1, 1);
  assert.equal((await ask('room/control')).has_host, false);
  driver.click(10, 10);
  await until('the driver is host', async () => (await ask('room/control')).has_host);

  assert.equal(await refusal(socket()), 401);
  assert.equal(await refusal(socket('gh_wrong')), 401);
  assert.equal(await refusal(socket(view.token, other)), 404, 'of another session');
  assert.equal(await refusal(socket(view.token), { headers: { origin: 'https://evil.example' } }), 403);
  const { token: cdp } = await closed.grant(['cdp'], id);
  assert.equal(await refusal(socket(cdp)), 403);

  // Frozen, it stays connected, and goes on for input of who may control.
  assert.equal((await closed.api('POST', `api/v1/sessions/${id}/freeze`)).status, 200);
  watcher.click(20, 20);
  driver.click(20, 20);
  await driver.pixel(1, 1);
  await until('the fleet knows that it goes on', async () => (await closed.api('GET', `api/v1/sessions/${id}`)).body.state === 'ready');

  assert.equal((await closed.api('DELETE', `api/v1/sessions/${id}/share/${view.id}`)).status, 204);
  await watcher.ended();
  assert.equal(await refusal(socket(view.token)), 401);
  await driver.pixel(1, 1);
  for (const { who, action, target } of (await closed.api('GET', 'api/v1/audit')).body.entries.filter(({ action }) => action === 'session.vnc')) {
    assert.ok(who && target === id, `${action} of ${who}`);
  }
  const log = (await closed.api('GET', `api/v1/sessions/${id}/logs`)).body;
  for (const secret of [view.token, control.token]) assert.ok(!`${JSON.stringify(log)}${closed.seen.err}`.includes(secret));
  await Promise.all([id, other].map((one) => closed.api('DELETE', `api/v1/sessions/${one}`)));
  await driver.ended();
});

test('browser-use-vnc, with a token of the fleet: a session, its address, and what else is said', async () => {
  const { token } = closed;
  assert.deepEqual((({ status, body }) => [status, typeof body.detail])(await call(closed, 'POST', 'sessions')), [401, 'string']);
  const made = await call(closed, 'POST', 'sessions', { token, body: 'whatever' });
  assert.equal(made.status, 200, JSON.stringify(made.body));
  assert.deepEqual(Object.keys(made.body), ['session_id', 'novnc_url']);
  const { session_id: id, novnc_url: url } = made.body;
  assert.match(id, /^[0-9a-f]{8}$/);
  assert.match(new URL(url).pathname, /^\/s\/[a-z0-9]+\/vnc\.html$/);
  assert.equal(new URL(url).search, '?autoconnect=true&resize=scale');

  const seen = await call(closed, 'GET', `sessions/${id}`, { token });
  assert.equal(seen.status, 200);
  assert.deepEqual(Object.keys(seen.body).sort(), ['compose_project', 'novnc_port', 'session_id', 'started_at', 'status', 'url']);
  assert.deepEqual([seen.body.session_id, seen.body.compose_project, seen.body.status, seen.body.url], [id, `bu_${id}`, 'running', url]);
  assert.equal(seen.body.novnc_port, Number(new URL(closed.origin).port));
  assert.ok(Math.abs(seen.body.started_at - Date.now() / 1000) < 3600, String(seen.body.started_at));

  assert.deepEqual((({ status, body }) => [status, body])(await call(closed, 'GET', 'sessions/00000000', { token })), [404, { detail: 'Session not found' }]);
  for (const [method, path] of [['GET', 'sessions'], ['DELETE', `sessions/${id}`]]) {
    assert.deepEqual((({ status, body }) => [status, body])(await call(closed, method, path, { token })), [405, { detail: 'Method Not Allowed' }]);
  }
  const redirected = await call(closed, 'POST', 'sessions/', { token });
  assert.deepEqual([redirected.status, redirected.headers.get('location')], [307, '/sessions']);
  assert.equal((await call(closed, 'GET', `sessions/${id}`)).status, 401);

  // An empty tab of Chromium, white or dark as it may be: what counts is that its picture is there.
  const context = await browser.newContext();
  const page = await context.newPage();
  await page.goto(url);
  await page.locator('canvas').first().waitFor();
  await until('the screen', () => page.evaluate(() => document.querySelector('canvas').width === 1280 && document.getElementById('status').hidden));
  await context.close();

  await Promise.all((await running(closed)).map((one) => closed.api('DELETE', `api/v1/sessions/${one.id}`)));
  assert.equal((await call(closed, 'GET', `sessions/${id}`, { token })).status, 404);
});

test('browser-use-vnc, open: the script of the user runs on the display, and the session ends after it', async () => {
  const script = join(closed.state, 'my-agent.sh');
  writeFileSync(script, `[ -n "$DISPLAY" ] && [ "$SECRET_KEY" = "a b" ] || exit 1
chromium --no-first-run --user-data-dir="$TMPDIR/chromium" --kiosk "data:text/html,<body style='background:%23f0f'>" >/dev/null 2>&1 &
while [ ! -e stop ]; do sleep 0.2; done
kill $!
`);
  writeFileSync(join(closed.state, 'agent.env'), '# keys\nSECRET_KEY=a b\n');
  open = await Fleet.start(['--facade', 'browser-use-vnc', '--facade-open', '--agent', script, '--agent-env', join(closed.state, 'agent.env')], { session: ['--no-sound'] });
  const made = await call(open, 'POST', 'sessions');
  assert.equal(made.status, 200, JSON.stringify(made.body));
  const { session_id: id, novnc_url: url } = made.body;
  assert.equal(new URL(url).hash, '', 'whoever has the address is in');
  const context = await see(url, [255, 0, 255]);
  await context.close();
  const [{ id: session, labels }] = await running(open);
  assert.equal(labels.facade, 'browser-use-vnc');
  assert.ok(!JSON.stringify((await open.api('GET', 'api/v1/sessions')).body).includes('a b'));
  assert.equal((await call(open, 'GET', `sessions/${id}`)).status, 200);
  // A server that comes back looks after it too.
  open.seen.child.kill('SIGKILL');
  await open.seen.ended;
  await open.serve();
  assert.equal((await call(open, 'GET', `sessions/${id}`)).status, 200);
  const done = await runToEnd(['exec', '--state', open.state, session, '--', 'touch', 'stop']);
  assert.equal(done.code, 0, done.err);
  await until('the session is over', async () => (await call(open, 'GET', `sessions/${id}`)).status === 404);
  const { reason } = await until('it is written down', async () => {
    const { body } = await open.api('GET', `api/v1/sessions/${session}`);
    return body.state === 'terminated' && body;
  });
  assert.equal(reason, 'its script has ended');
  // Sessions that are not its own are not open.
  const { id: other } = await open.create();
  assert.equal(await refusal(`${open.origin.replace(/^http/, 'ws')}/s/${other}/websockify`), 401);
  assert.equal(await open.stop(), 0);
});

test('a script that nothing runs is refused at the start', async () => {
  const fleet = new Fleet();
  const { code, err } = await fleet.command('serve', '--listen', '127.0.0.1:0', '--facade', 'browser-use-vnc', '--agent', '/bin/true');
  assert.deepEqual([code, /ends in \.py, \.sh, \.js or \.mjs/.test(err)], [1, true], err);
  fleet.kill();
});

// A test and not a hook: what a failure leaves is cleared away before hooks of this file.
test('nothing is left at the end', async () => { assert.equal(await closed.stop(), 0); });
