// VNC: noVNC in a real browser and a bare client see and drive a session, as far as their tokens and the room let them.

import assert from 'node:assert/strict';
import { existsSync, readFileSync } from 'node:fs';
import { extname, join } from 'node:path';
import { after, before, beforeEach, test } from 'node:test';
import { servePages } from './lib/pages.mjs';
import { RfbClient, refusal } from './lib/rfb.mjs';
import { Session } from './lib/session.mjs';
import { launch } from './lib/viewer.mjs';
import { until } from './lib/wait.mjs';

/** noVNC as Debian packages it, an older one, with all of its own page. */
const STOCK = '/usr/share/novnc';
const TYPES = { '.js': 'text/javascript', '.html': 'text/html', '.css': 'text/css', '.json': 'application/json', '.svg': 'image/svg+xml' };
const SHIFT = 0xffe1, F9 = 0xffc6;
/** Colours of the page: the pad and the field. */
const PAD = [0x88, 0xaa, 0xcc], WHITE = [255, 255, 255];

let pages, session, browser, admin, own;
before(async () => {
  pages = await servePages();
  session = await Session.start(['--no-sound', '--url', pages.url('input.html'), '--app-flag=--kiosk']);
  browser = await launch();
  admin = (await session.login('keeper')).token;
  // Whoever presses something is in control.
  assert.equal(await post('/api/room/settings', { implicit_hosting: true }), 204);
  // Kept open, so that the tests have somebody in control to compare with.
  own = await RfbClient.connect(socket(admin));
  await until('the page has focus', () => pages.reports.some(({ type }) => type === 'ready'));
  // Chromium drops input until a page was first painted, and does not say when that is.
  await until('clicks arrive', () => { own.click(210, 100); return events('mouseup').length > 0; });
  await until('keys arrive', () => { own.press(F9); return events('keyup').length > 0; });
});
after(async () => {
  await browser?.close();
  own?.socket.terminate();
  await session?.stop();
  await pages?.stop();
});
beforeEach(() => mark());

const socket = (token, path = '/websockify') => `${session.origin.replace(/^http/, 'ws')}${path}${token ? `?token=${token}` : ''}`;
const events = (...types) => pages.reports.filter(({ type }) => types.includes(type));
const text = () => pages.reports.findLast(({ type }) => type === 'text')?.text;
const post = async (path, body, token = admin) => (await session.api('POST', path, body, token)).status;
const link = async (options) => (await session.api('POST', '/api/glasshouse/links', { uses: 20, ...options }, admin)).body.token;
const host = async () => (await session.api('GET', '/api/room/control', undefined, admin)).body.host_id;
const members = async () => (await session.api('GET', '/api/sessions', undefined, admin)).body;
const isNear = (color, other) => color.every((value, index) => Math.abs(value - other[index]) <= 12);

/** Empties the field; what was sent before has arrived then, because the page reports in order. */
async function mark() {
  own.click(200, 100);
  await until('the click', () => events('mouseup').some(({ screen }) => screen[0] === 200 && screen[1] === 100));
  own.key(0xffe3, true);
  own.press(0x61);
  own.key(0xffe3, false);
  own.press(0xff08);
  pages.reports.length = 0;
  await passed();
  pages.reports.length = 0;
}

/** Waits until whatever was sent before by anybody would have arrived; what has, without the mark itself. */
async function passed() {
  const marks = () => pages.reports.filter(({ type, key }) => type === 'keyup' && key === 'F9').length;
  const before = marks();
  own.press(F9);
  await until('the mark', () => marks() > before);
  return pages.reports.filter(({ key }) => key !== 'F9');
}

/** A page of noVNC at an address of the session, connected, at full size. */
async function open(path, { prepare } = {}) {
  const context = await browser.newContext({ viewport: { width: 1280, height: 720 } });
  // A page from the disk is not on this machine, as far as Chromium can tell.
  if (prepare) await context.grantPermissions(['local-network-access']);
  const page = await context.newPage();
  await prepare?.(page);
  await page.goto(session.origin + path);
  const canvas = page.locator('canvas').first();
  await canvas.waitFor();
  const pixel = (x, y) => page.evaluate(([x, y]) => {
    const canvas = document.querySelector('canvas');
    return [...canvas.getContext('2d').getImageData(x, y, 1, 1).data].slice(0, 3);
  }, [x, y]);
  await until('the picture is there', async () => isNear(await pixel(640, 600), PAD) && isNear(await pixel(900, 200), WHITE));
  return { page, canvas, pixel, close: () => context.close() };
}

test('noVNC shows the right colours; clicks and keys arrive, and the room knows', async () => {
  const viewer = await open(`/novnc/vnc.html?autoconnect=true&resize=scale#path=websockify%3Ftoken%3D${await link({})}`);
  const size = await viewer.page.evaluate(() => { const { width, height } = document.querySelector('canvas'); return [width, height]; });
  assert.deepEqual(size, [1280, 720]);
  await viewer.page.mouse.click(300, 120);
  await until('the click', () => events('mouseup').some(({ screen }) => screen[0] === 300 && screen[1] === 120));
  await viewer.page.keyboard.type('Hello, VNC!');
  await until('the text', () => text() === 'Hello, VNC!');
  await viewer.page.mouse.wheel(0, 200);
  await until('the wheel', () => events('wheel').length > 0);
  const all = await members();
  const member = all.find(({ profile }) => profile.name === 'VNC');
  assert.ok(member?.state.is_watching && member.state.is_connected && !member.profile.is_admin, JSON.stringify(all));
  assert.equal(await host(), member.id, 'who clicks is host');
  await viewer.close();
  await until('the room knows that it is gone', async () => !(await members()).some(({ id }) => id === member.id));
});

test('its pages are at the names that others know, and scripts from elsewhere are not', async () => {
  for (const path of ['/vnc.html', '/vnc_lite.html', '/novnc/', '/novnc/vnc_lite.html']) {
    const response = await fetch(session.origin + path);
    assert.equal(response.status, 200, path);
    assert.match(response.headers.get('content-security-policy'), /default-src 'self'/);
    assert.match(await response.text(), /app\/ui\.js/);
  }
  for (const path of ['/core/rfb.js', '/novnc/core/rfb.js', '/novnc/LICENSE.txt', '/novnc/docs/LICENSE.MPL-2.0']) {
    assert.equal((await fetch(session.origin + path)).status, 200, path);
  }
  assert.equal((await fetch(`${session.origin}/novnc/nothing`)).status, 404);
  const lite = await open(`/vnc_lite.html?scale=true#path=websockify%3Ftoken%3D${await link({})}`);
  await lite.close();
});

test('the whole of an older noVNC, as Debian has it', { skip: !existsSync(STOCK) && 'novnc is not installed' }, async () => {
  const token = await link({});
  // Its page is not ours to serve: the browser gets it from the disk, as if it came from the session.
  const prepare = (page) => page.route('**/stock/**', (route) => {
    const path = join(STOCK, new URL(route.request().url()).pathname.replace(/^\/stock\//, ''));
    if (!existsSync(path)) return route.fulfill({ status: 404 });
    return route.fulfill({ body: readFileSync(path), contentType: TYPES[extname(path)] ?? 'application/octet-stream' });
  });
  const viewer = await open(`/stock/vnc.html?autoconnect=true&path=websockify%3Ftoken%3D${token}`, { prepare });
  await viewer.page.mouse.click(640, 100);
  await until('the click', () => events('mouseup').length > 0);
  await viewer.page.keyboard.type('stock');
  await until('the text', () => text() === 'stock');
  await viewer.close();
});

test('who only watches sees everything and changes nothing', async () => {
  const token = await link({ view_only: true });
  const watcher = await RfbClient.connect(socket(token), { protocols: ['binary'] });
  assert.equal(watcher.socket.protocol, 'binary');
  assert.deepEqual(watcher.size, [1280, 720]);
  assert.deepEqual(await watcher.pixel(640, 600), PAD);
  const [before, inControl] = [(await session.api('GET', '/v1/desktop/clipboard', undefined, admin)).body, await host()];
  watcher.click(300, 300);
  watcher.press(0x78);
  watcher.send([255, 0, 0, 1, 0, 0, 0, 0x78, 0, 0, 0, 45]);
  watcher.cutText('from a watcher');
  watcher.resize(800, 600);
  watcher.send([250, 0, 1, 2]);
  // In order on its connection: what it has said before was judged.
  assert.deepEqual(await watcher.pixel(640, 600), PAD);
  assert.deepEqual(await passed(), []);
  assert.deepEqual((await session.api('GET', '/v1/desktop/clipboard', undefined, admin)).body, before);
  assert.equal((await session.api('GET', '/api/room/screen', undefined, admin)).body.width, 1280);
  assert.equal(await host(), inControl);
  // Nor does it hear what the others copy.
  assert.equal(await post('/v1/desktop/clipboard', { text: 'a secret of the one in control' }), 200);
  assert.deepEqual(await watcher.pixel(640, 600), PAD, 'nothing else has come before this');
  await watcher.close();

  const viewer = await open(`/vnc.html?autoconnect=true#path=websockify%3Ftoken%3D${token}`);
  await viewer.page.mouse.click(300, 300);
  await viewer.page.keyboard.type('nothing');
  await viewer.page.evaluate(() => new Promise((resolve) => setTimeout(resolve)));
  assert.deepEqual(await passed(), []);
  await viewer.close();
});

test('the clipboard is for the one in control', async () => {
  const client = await RfbClient.connect(socket(admin));
  client.cutText('too early');
  client.click(300, 100);
  client.cutText('from VNC');
  await until('the clipboard', async () => (await session.api('GET', '/v1/desktop/clipboard', undefined, admin)).body.text === 'from VNC');
  await client.close();
});

test('input follows the rules of the room', async () => {
  const guest = await RfbClient.connect(socket(await link({})));
  assert.equal(await post('/api/room/settings', { locked_controls: true }), 204);
  guest.click(300, 300);
  guest.press(0x78);
  await guest.pixel(640, 600);
  assert.deepEqual(await passed(), []);
  assert.equal(await post('/api/room/settings', { locked_controls: false }), 204);
  // Nor does it take control from somebody, unless the room has it so.
  assert.equal(await post('/api/room/settings', { implicit_hosting: false }), 204);
  guest.press(0x78);
  await guest.pixel(640, 600);
  assert.deepEqual(await passed(), []);
  assert.equal(await post('/api/room/settings', { implicit_hosting: true }), 204);
  // Who only moves the pointer does not take control.
  const inControl = await host();
  guest.pointer(0, 5, 5);
  await guest.pixel(640, 600);
  assert.equal(await host(), inControl);
  guest.key(SHIFT, true);
  await until('the key is down', () => events('keydown').some(({ key }) => key === 'Shift'));
  assert.notEqual(await host(), inControl);
  // What it holds is let go of when somebody takes control.
  assert.equal(await post('/api/room/control/take'), 204);
  await until('the key is up', () => events('keyup').some(({ key }) => key === 'Shift'));
  // In private mode only admins see anything.
  assert.equal(await post('/api/room/settings', { private_mode: true }), 204);
  assert.deepEqual(await guest.ended(), { code: 1008, reason: 'private mode is enabled' });
  assert.equal(await refusal(socket(await link({}))), 403);
  assert.equal(await post('/api/room/settings', { private_mode: false }), 204);
});

test('a frozen session wakes for a client and for its input, and keeps the connection', async () => {
  const freeze = async () => assert.equal(await post('/api/glasshouse/freeze'), 204);
  const client = await RfbClient.connect(socket(admin));
  await client.pixel(640, 600);
  await freeze();
  client.click(250, 100);
  await until('the click', () => events('mouseup').some(({ screen }) => screen[0] === 250));
  assert.deepEqual(await client.pixel(640, 600), PAD);
  await freeze();
  const second = await RfbClient.connect(socket(admin));
  assert.deepEqual(await second.pixel(640, 600), PAD);
  await second.close();
  await client.close();
});

test('nobody comes in without a token, from elsewhere, or as one too many', async () => {
  const good = await link({});
  assert.equal(await refusal(socket()), 401);
  assert.equal(await refusal(socket('wrong')), 401);
  assert.equal(await refusal(socket(), { headers: { authorization: 'Bearer wrong' } }), 401);
  assert.equal(await refusal(socket(good), { headers: { origin: 'https://evil.example' } }), 403);
  assert.equal((await fetch(`${session.origin}/websockify?token=${good}`)).status, 426);
  for (const way of [{ headers: { authorization: `Bearer ${good}` } }, { protocols: ['binary', `token.${good}`] }]) {
    const client = await RfbClient.connect(socket(undefined, '/novnc/websockify'), way);
    await client.close();
  }
  const many = [];
  for (let count = 0; count < 15; count += 1) many.push(await until('a place', () => RfbClient.connect(socket(admin))));
  assert.equal(await refusal(socket(admin)), 503);
  await Promise.all(many.map((client) => client.close()));
  await until('there is room again', async () => { const client = await RfbClient.connect(socket(admin)).catch(() => null); await client?.close(); return client; });
  const once = await link({ uses: 1 });
  const first = await RfbClient.connect(socket(once));
  assert.equal(await refusal(socket(once)), 401);
  await first.close();
});

test('a client that is no VNC client is told so, and nobody else is bothered', async () => {
  const wrong = async (bytes) => {
    const client = await RfbClient.connect(socket(admin));
    client.socket.send(bytes);
    return client.ended();
  };
  assert.deepEqual(await wrong(Buffer.from([77])), { code: 1002, reason: 'messages of type 77 are not known here' });
  assert.deepEqual(await wrong('text'), { code: 1003, reason: 'RFB is sent in binary messages' });
  const early = await RfbClient.connect(socket(admin), { greet: false });
  early.send(Buffer.from('GET / HTTP/1.1\r\n\r\n'));
  assert.equal((await early.ended()).code, 1002);
  assert.deepEqual(await own.pixel(640, 600), PAD);
});

test('what was given leave by a link or a member goes with it', async () => {
  const label = 'vnc-test';
  const byLink = await RfbClient.connect(socket(await link({ label })));
  assert.equal((await session.api('DELETE', `/api/glasshouse/links/${label}`, undefined, admin)).status, 204);
  assert.equal((await byLink.ended()).code, 1008);
  const member = await session.login('leaver', false);
  const byMember = await RfbClient.connect(socket(member.token));
  assert.equal(await post('/api/logout', undefined, member.token), 200);
  assert.equal((await byMember.ended()).code, 1008);
});

test('a program of the session has no way to the display but X', { skip: process.getuid() !== 0 && 'the session has no user of its own' }, async () => {
  const script = `
import socket, os
seen = []
for path in ['/run/glasshouse/rfb/socket']:
    one = socket.socket(socket.AF_UNIX)
    try:
        one.connect(path); seen.append('connected')
    except OSError as error: seen.append(type(error).__name__)
ports = [int(line.split()[1].split(':')[1], 16) for name in ('tcp', 'tcp6') if os.path.exists('/proc/net/' + name) for line in list(open('/proc/net/' + name))[1:] if line.split()[3] == '0A']
print(seen, [port for port in ports if 5800 <= port < 6100])`;
  const { status, body } = await session.api('POST', '/v1/processes/run', { command: 'python3', args: ['-c', script] }, admin);
  assert.equal(status, 200, JSON.stringify(body));
  assert.equal(body.stdout.trim(), "['PermissionError'] []", JSON.stringify(body));
});
